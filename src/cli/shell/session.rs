//! A conversation with a server: commands go out, what comes back is shown.
//!
//! The session remembers what the server would forget with the connection: protocol and database.
//! If the server has closed the connection since the last command, as after a restart, the next one
//! goes out over a new one; a command that was sent is never sent again, for it may have run. A
//! transaction that was open does not survive: what was meant for it is not run outside of it.

use std::io::Write;

use super::Outcome;
use super::format::Style;
use crate::cli::client::{Client, Target, append_request};
use crate::cli::reply::Reply;
use crate::error::Error;

/// The protocol that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Resp2,
    Resp3,
    /// If the server has it.
    Resp3Preferred,
}

/// A conversation, connected or about to be.
#[derive(Debug)]
pub(super) struct Session<'a> {
    target: Target<'a>,
    /// Host and port of another server that somebody has changed to.
    elsewhere: Option<(String, u16)>,
    protocol: Protocol,
    /// The database in use, and the one to go back to if a transaction fails.
    database: i64,
    database_before_multi: i64,
    style: Style,
    /// Whether messages that nobody asked for are shown.
    shows_pushes: bool,
    /// Whether errors are replies like others.
    shows_errors: bool,
    client: Option<Client>,
    is_in_multi: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        target: Target<'a>,
        protocol: Protocol,
        database: i64,
        style: Style,
        shows_pushes: bool,
    ) -> Self {
        Self {
            target,
            elsewhere: None,
            protocol,
            database,
            database_before_multi: database,
            style,
            shows_pushes,
            shows_errors: true,
            client: None,
            is_in_multi: false,
        }
    }

    /// From now on errors end a command without being shown.
    pub(super) fn return_errors(&mut self) {
        self.shows_errors = false;
    }

    pub(super) fn style(&self) -> &Style {
        &self.style
    }

    /// What stands before the line of somebody who types.
    pub(super) fn prompt(&self) -> String {
        if self.client.is_none() {
            return "not connected> ".to_owned();
        }
        let database = match self.database {
            0 => String::new(),
            database => format!("[{database}]"),
        };
        let transaction = if self.is_in_multi { "(TX)" } else { "" };
        format!("{}{database}{transaction}> ", self.target())
    }

    fn target(&self) -> Target<'_> {
        let target = self.target.clone();
        match &self.elsewhere {
            None => target,
            Some((host, port)) => Target {
                host,
                port: *port,
                unixsocket: None,
                ..target
            },
        }
    }

    /// Connects to another server, with the same password and database.
    ///
    /// # Errors
    /// As [`Self::connect`]. The session is for that server all the same.
    pub(super) fn change_to(&mut self, host: String, port: u16) -> Result<(), Error> {
        self.elsewhere = Some((host, port));
        self.is_in_multi = false;
        self.disconnect();
        self.connect()
    }

    /// Connects, unless it is connected.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses password, database or protocol; or a transaction was
    /// open on a connection that is gone.
    pub(super) fn connect(&mut self) -> Result<(), Error> {
        if self
            .client
            .as_mut()
            .is_some_and(|client| !client.is_closed())
        {
            return Ok(());
        }
        self.client = None;
        if std::mem::take(&mut self.is_in_multi) {
            self.database = self.database_before_multi;
            return Err(Error::Failed(
                "the connection was lost, and the transaction with it".to_owned(),
            ));
        }
        let mut client = self.target().open()?;
        if self.database != 0 {
            client.ask(&[b"SELECT", self.database.to_string().as_bytes()])?;
        }
        match self.protocol {
            Protocol::Resp2 => {}
            Protocol::Resp3 => {
                client.ask(&[b"HELLO", b"3"])?;
            }
            // An old server goes on with the protocol it has.
            Protocol::Resp3Preferred => drop(client.ask(&[b"HELLO", b"3"])),
        }
        self.client = Some(client);
        Ok(())
    }

    /// The connection, for tools that show what is said themselves.
    pub(super) fn client(&mut self) -> Result<&mut Client, Error> {
        self.connect()?;
        Ok(self.client.as_mut().expect("it has just connected"))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Gives the connection up, so that the next command makes a new one.
    pub(super) fn disconnect(&mut self) {
        self.client = None;
    }

    /// The same, for good.
    pub(super) fn into_client(mut self) -> Result<Client, Error> {
        self.connect()?;
        Ok(self.client.expect("it has just connected"))
    }

    /// Runs a command and shows its reply.
    ///
    /// # Errors
    /// The connection is lost, the reply cannot be shown, or it is an error and those are returned.
    pub(super) fn run(&mut self, words: &[Vec<u8>], output: &mut impl Write) -> Outcome {
        let mut request = Vec::new();
        append_request(&mut request, words);
        let sent = self.client()?.send(&request);
        sent.inspect_err(|_| self.disconnect())?;
        let is_feed = FEEDS.iter().any(|feed| is(words, &[feed]));
        loop {
            let reply = match self.receive() {
                Err(_) if is(words, &["shutdown"]) => return Ok(()),
                reply => reply?,
            };
            let is_error = match &reply {
                Reply::Error(text) if !self.shows_errors => {
                    return Err(Error::Failed(String::from_utf8_lossy(text).into()).into());
                }
                Reply::Push(_) if !is_feed => {
                    if self.shows_pushes {
                        output.write_all(&self.style.shown(&reply))?;
                    }
                    continue;
                }
                reply => matches!(reply, Reply::Error(_)),
            };
            output.write_all(&self.shown(words, &reply))?;
            output.flush()?;
            self.follow(words, &reply);
            // What follows a feed's confirmation comes until somebody ends this process.
            if is_error || !is_feed {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> Result<Reply, Error> {
        let reply = self.client.as_mut().expect("it is connected").receive();
        reply.inspect_err(|_| self.disconnect())
    }

    fn shown(&self, words: &[Vec<u8>], reply: &Reply) -> Vec<u8> {
        if TEXTS.iter().any(|text| is(words, text)) {
            self.style.shown_as_text(reply)
        } else {
            self.style.shown(reply)
        }
    }

    /// Keeps up with what a command has changed on the connection.
    fn follow(&mut self, words: &[Vec<u8>], reply: &Reply) {
        let is_error = matches!(reply, Reply::Error(_));
        if is(words, &["multi"]) && !is_error {
            self.is_in_multi = true;
            self.database_before_multi = self.database;
        } else if is(words, &["exec"]) && self.is_in_multi {
            self.is_in_multi = false;
            if is_error || *reply == Reply::Null {
                self.database = self.database_before_multi;
            }
        } else if is(words, &["discard"]) && !is_error {
            self.is_in_multi = false;
            self.database = self.database_before_multi;
        } else if is(words, &["reset"]) && !is_error {
            self.is_in_multi = false;
            self.database = 0;
            self.protocol = Protocol::Resp2;
        } else if is(words, &["select"]) && !is_error {
            let number = words.get(1).and_then(|word| std::str::from_utf8(word).ok());
            self.database = number.and_then(|text| text.parse().ok()).unwrap_or(0);
        } else if is(words, &["hello"]) {
            match reply {
                Reply::Map(_) => self.protocol = Protocol::Resp3,
                Reply::Array(_) => self.protocol = Protocol::Resp2,
                _ => {}
            }
        }
    }
}

/// Commands whose reply is a text for people, shown as it is in every form.
const TEXTS: &[&[&str]] = &[
    &["info"],
    &["lolwut"],
    &["client", "info"],
    &["client", "list"],
    &["cluster", "info"],
    &["cluster", "nodes"],
    &["debug", "htstats"],
    &["debug", "htstats-key"],
    &["latency", "doctor"],
    &["latency", "graph"],
    &["memory", "doctor"],
    &["memory", "malloc-stats"],
];

/// Commands that are answered for as long as the connection lives.
const FEEDS: &[&str] = &["monitor", "psubscribe", "ssubscribe", "subscribe"];

/// Whether a command begins with these words, given in lower case.
pub(super) fn is(words: &[Vec<u8>], expected: &[&str]) -> bool {
    words.len() >= expected.len()
        && expected
            .iter()
            .zip(words)
            .all(|(expected, word)| word.eq_ignore_ascii_case(expected.as_bytes()))
}
