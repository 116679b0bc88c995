//! `coremap cli`: commands to a running server, one or many, typed or from a script.
//!
//! ```text
//!   coremap cli GET key             one command, its reply on stdout
//!   coremap cli                     a prompt; or, if stdin is no terminal, a command a line
//!   coremap cli --scan ..           a tool: --pipe, --scan, --stat, --latency, --bigkeys, ..
//! ```
//!
//! Options, quoting and output are those of redis-cli, so that fingers and scripts need not learn
//! anything. What differs: a failure is one line that begins with `coremap: error: ` and the exit
//! code is 1 also where redis-cli goes on with what it has, as after a refused password; and keys are
//! walked a hundred at a time and not ten, because most of the time went into round trips.
//!
//! Not here: clusters, TLS, Lua's debugger, replication.

mod address;
mod docs;
mod format;
mod history;
mod latency;
pub(super) mod pace;
mod pipe;
mod prompt;
mod scan;
mod session;
mod stat;
mod survey;
mod words;

use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write, stdin, stdout};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::client::Target;
use crate::error::Error;
use address::Address;
use format::{Form, Style};
use pace::pause;
use scan::Selection;
use session::{Protocol, Session};
use survey::Measure;

/// Send commands to a running server: the one that is given, or what is typed. Options, quoting and
/// output are those of redis-cli.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(help_triggers("--help"))]
pub(super) struct Shell {
    /// host of the server (127.0.0.1)
    #[argh(option, short = 'h', default = "String::from(\"127.0.0.1\")")]
    host: String,
    /// port of the server (6379)
    #[argh(option, short = 'p', default = "6379")]
    port: u16,
    /// unix socket of the server, instead of host and port
    #[argh(option, short = 's')]
    unixsocket: Option<String>,
    /// the server as redis://user:password@host:port/database; its parts come before other options
    #[argh(option, short = 'u')]
    uri: Option<String>,
    /// password; otherwise that in the environment's REDISCLI_AUTH
    #[argh(option, short = 'a')]
    pass: Option<String>,
    /// ask for the password; on a terminal it is not shown
    #[argh(switch)]
    askpass: bool,
    /// user of the password
    #[argh(option)]
    user: Option<String>,
    /// says nothing of passwords on command lines; neither does this program without it
    #[argh(switch, hidden_help)]
    no_auth_warning: bool,
    /// database (0)
    #[argh(option, short = 'n', default = "0")]
    db: i64,
    /// speak RESP2, also with --json
    #[argh(switch, short = '2')]
    resp2: bool,
    /// speak RESP3
    #[argh(switch, short = '3')]
    resp3: bool,
    /// run the command so many times; -1 is without end
    #[argh(option, short = 'r', default = "1")]
    repeat: i64,
    /// seconds between repetitions, lines of --stat, pages of --scan, a hundred pages of --bigkeys;
    /// the span of --latency
    #[argh(option, short = 'i', from_str_fn(seconds))]
    interval: Option<Duration>,
    /// exit with 1 if the reply is an error
    #[argh(switch, short = 'e')]
    exit_on_error: bool,
    /// take the last argument from stdin
    #[argh(switch, short = 'x')]
    stdin_last: bool,
    /// take the argument that is this tag from stdin
    #[argh(option, short = 'X')]
    stdin_tag: Option<String>,
    /// arguments are quoted as at the prompt: "\\x00"
    #[argh(switch)]
    quoted_input: bool,
    /// replies as they are (the default if stdout is no terminal)
    #[argh(switch)]
    raw: bool,
    /// replies with their types, also if stdout is no terminal
    #[argh(switch)]
    no_raw: bool,
    /// replies as lines of CSV
    #[argh(switch)]
    csv: bool,
    /// replies as JSON; speaks RESP3 if the server does
    #[argh(switch)]
    json: bool,
    /// replies as JSON in ASCII
    #[argh(switch)]
    quoted_json: bool,
    /// what stands between elements of a raw reply (a new line)
    #[argh(option, short = 'd', default = "String::from(\"\\n\")")]
    element_delimiter: String,
    /// what stands behind a raw reply (a new line)
    #[argh(option, short = 'D', default = "String::from(\"\\n\")")]
    reply_delimiter: String,
    /// whether to show messages nobody asked for: yes or no (yes on a terminal)
    #[argh(option, from_str_fn(yes_or_no))]
    show_pushes: Option<bool>,
    /// send what comes from stdin in the protocol's form, and count replies and errors
    #[argh(switch)]
    pipe: bool,
    /// seconds without a reply after which --pipe gives up; 0 is never (30)
    #[argh(option, from_str_fn(seconds), default = "Duration::from_secs(30)")]
    pipe_timeout: Duration,
    /// list all keys
    #[argh(switch)]
    scan: bool,
    /// only keys that match, for --scan, --bigkeys, --memkeys, --hotkeys
    #[argh(option)]
    pattern: Option<String>,
    /// the same, quoted as at the prompt
    #[argh(option)]
    quoted_pattern: Option<String>,
    /// keys looked at per page (100)
    #[argh(option, default = "100")]
    count: u64,
    /// find the largest key of each type
    #[argh(switch)]
    bigkeys: bool,
    /// find the key of each type that takes most memory
    #[argh(switch)]
    memkeys: bool,
    /// the same, with so many samples of a nested value
    #[argh(option)]
    memkeys_samples: Option<u64>,
    /// find the keys used most; the server's maxmemory-policy has to be an -lfu one
    #[argh(switch)]
    hotkeys: bool,
    /// figures of the server, a line a second
    #[argh(switch)]
    stat: bool,
    /// how long a PING takes, in milliseconds
    #[argh(switch)]
    latency: bool,
    /// the same, a line each 15 seconds
    #[argh(switch)]
    latency_history: bool,
    /// the command and its arguments
    #[argh(positional, greedy)]
    command: Vec<String>,
}

/// Why there is nothing more to do.
#[derive(Debug)]
pub(super) enum Stop {
    /// Whoever read the output has gone: `| head`.
    Unread,
    Failed(Error),
}

/// What one gets, or why not.
type Outcome<T = ()> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(reason: io::Error) -> Self {
        match reason.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(Error::failed("cannot read or write", &reason)),
        }
    }
}

impl Shell {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// They contradict each other, the server cannot be reached, or the connection is lost.
    pub(super) fn run(&self) -> Result<(), Error> {
        match self.run_until_stopped() {
            Ok(()) | Err(Stop::Unread) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn run_until_stopped(&self) -> Outcome {
        // A terminal gets each line when it is there; a file, or another program, more at once.
        let mut output: Box<dyn Write> = match stdout().is_terminal() {
            true => Box::new(stdout()),
            false => Box::new(BufWriter::new(stdout())),
        };
        let mut address = match &self.uri {
            Some(uri) => Address::parse(uri)?,
            None => Address::default(),
        };
        if self.askpass {
            address.pass = Some(prompt::ask_password()?);
        }
        let mut session = self.session(&address);
        let pattern = self.pattern()?;
        let selection = Selection {
            pattern: pattern.as_deref(),
            count: self.count,
            pause: self.interval.unwrap_or_default(),
        };
        if self.pipe {
            let patience = Some(self.pipe_timeout).filter(|patience| !patience.is_zero());
            return pipe::send_all(session, patience, &mut output);
        }
        if self.latency || self.latency_history {
            let has_history = self.latency_history;
            return latency::watch(&mut session, has_history, self.interval, &mut output);
        }
        if self.stat {
            return stat::watch(&mut session, self.interval, &mut output);
        }
        if self.scan {
            return scan::list(&mut session, selection, &mut output);
        }
        if self.hotkeys {
            return survey::hottest(session.client()?, selection, &mut output);
        }
        if self.bigkeys {
            return survey::largest(session.client()?, selection, Measure::Length, &mut output);
        }
        if self.memkeys || self.memkeys_samples.is_some() {
            let measure = Measure::Memory(self.memkeys_samples);
            return survey::largest(session.client()?, selection, measure, &mut output);
        }
        if !self.command.is_empty() || self.stdin_last {
            return self.run_command(&mut session, &mut output);
        }
        prompt::run(&mut session, &mut output)
    }

    fn session<'a>(&'a self, address: &'a Address) -> Session<'a> {
        let target = Target {
            host: address.host.as_ref().unwrap_or(&self.host),
            port: address.port.unwrap_or(self.port),
            unixsocket: self.unixsocket.as_deref(),
            user: address
                .user
                .as_ref()
                .or(self.user.as_ref())
                .map(String::as_str),
            pass: address
                .pass
                .as_ref()
                .or(self.pass.as_ref())
                .map(String::as_str),
        };
        let protocol = match (self.resp2, self.resp3, self.json || self.quoted_json) {
            (true, _, _) => Protocol::Resp2,
            (_, true, _) => Protocol::Resp3,
            (_, _, true) => Protocol::Resp3Preferred,
            _ => Protocol::Resp2,
        };
        let style = Style {
            form: self.form(),
            element_delimiter: self.element_delimiter.clone().into(),
            reply_delimiter: self.reply_delimiter.clone().into(),
        };
        let shows_pushes = self.show_pushes.unwrap_or_else(|| stdout().is_terminal());
        let database = address.db.unwrap_or(self.db);
        Session::new(target, protocol, database, style, shows_pushes)
    }

    fn form(&self) -> Form {
        if self.quoted_json {
            Form::QuotedJson
        } else if self.json {
            Form::Json
        } else if self.csv {
            Form::Csv
        } else if self.raw || !(self.no_raw || stdout().is_terminal()) {
            Form::Raw
        } else {
            Form::Standard
        }
    }

    fn pattern(&self) -> Result<Option<Vec<u8>>, Error> {
        let quoted = self.quoted_pattern.as_deref();
        match quoted {
            Some(quoted) => unquoted(quoted).map(Some),
            None => Ok(self.pattern.as_ref().map(|pattern| pattern.clone().into())),
        }
    }

    fn run_command(&self, session: &mut Session<'_>, output: &mut impl Write) -> Outcome {
        let words = self.words()?;
        if self.exit_on_error {
            session.return_errors();
        }
        let mut left = self.repeat;
        while left != 0 {
            session.run(&words, output)?;
            pause(self.interval.unwrap_or_default());
            // Below zero it goes on for ever.
            left = if left < 0 { left } else { left - 1 };
        }
        Ok(())
    }

    /// The words of the command, with what comes from stdin in its place.
    fn words(&self) -> Outcome<Vec<Vec<u8>>> {
        let mut words = Vec::new();
        for word in &self.command {
            words.push(match self.quoted_input {
                true => unquoted(word)?,
                false => word.clone().into_bytes(),
            });
        }
        let from_stdin = || {
            let mut bytes = Vec::new();
            stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
        };
        if self.stdin_last {
            words.push(from_stdin()?);
        } else if let Some(tag) = &self.stdin_tag {
            let place = words.iter_mut().find(|word| **word == tag.as_bytes());
            let place = place.ok_or_else(|| {
                Error::Usage(format!("-X {tag}: no argument of the command is this tag"))
            })?;
            *place = from_stdin()?;
        }
        Ok(words)
    }
}

/// The word that an argument in quotes is.
fn unquoted(text: &str) -> Result<Vec<u8>, Error> {
    let word = words::unquote(text.as_bytes());
    word.ok_or_else(|| Error::Usage(format!("'{text}' is not one word in quotes")))
}

/// A server that answers something else than Redis does.
fn unexpected(command: &str) -> Error {
    Error::Failed(format!("the server's reply to {command} makes no sense"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned());
    Duration::try_from_secs_f64(seconds?).map_err(|reason| reason.to_string())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "y" => Ok(true),
        "no" | "n" => Ok(false),
        _ => Err("yes or no".to_owned()),
    }
}
