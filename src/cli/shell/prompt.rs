//! Commands as they are typed: a prompt with history, completion and hints; or, where stdin is no
//! terminal, a command a line and nothing but the replies.
//!
//! A connection that is lost is one message and another prompt; the next command tries again. Ctrl-C
//! gives up the line, twice the session; while a command runs it ends the program.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal as _, Write, stdin};
use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, Helper};

use super::docs::{Docs, is_help};
use super::format::Form;
use super::pace::Stopwatch;
use super::session::{Session, is};
use super::{Outcome, Stop, history, words};
use crate::error::Error;

/// A command that took longer is told so.
const SLOW: Duration = Duration::from_millis(500);

/// Runs what is typed, or what comes in, until it ends.
///
/// # Errors
/// The terminal cannot be used; without one, the connection is lost.
pub(super) fn run(session: &mut Session<'_>, output: &mut impl Write) -> Outcome {
    if stdin().is_terminal() {
        run_typed(session, output)
    } else {
        run_lines(session, output)
    }
}

fn run_lines(session: &mut Session<'_>, output: &mut impl Write) -> Outcome {
    let mut docs = Docs::default();
    for line in stdin().lock().split(b'\n') {
        if Line::of(&line?).run(session, &mut docs, output)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn run_typed(session: &mut Session<'_>, output: &mut impl Write) -> Outcome {
    let mut editor = editor()?;
    let file = history::file();
    if let Some(file) = &file {
        // It is not there the first time.
        let _ = editor.load_history(file);
    }
    show_failure(session.connect().map_err(Stop::from), output)?;
    let mut was_interrupted = false;
    loop {
        let docs = &mut editor.helper_mut().expect("it was given one").docs;
        if docs.is_empty() {
            *docs = docs_of(session);
        }
        let text = match editor.readline(&session.prompt()) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) if !was_interrupted => {
                was_interrupted = true;
                continue;
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Io(reason)) => return Err(reason.into()),
            Err(reason) => {
                return Err(Error::Failed(format!("cannot read a line: {reason}")).into());
            }
        };
        was_interrupted = false;
        let line = Line::of(text.as_bytes());
        let is_kept = !matches!(line, Line::Empty | Line::Exit);
        if is_kept
            && !history::is_secret(text.as_bytes())
            && editor.add_history_entry(&text).unwrap_or(false)
        {
            // A history that cannot be written is kept for this session only.
            let _ = file.as_ref().map(|file| editor.append_history(file));
        }
        let docs = &mut editor.helper_mut().expect("it was given one").docs;
        let started = Stopwatch::start();
        match line.run(session, docs, output) {
            Ok(flow) if flow.is_break() => return Ok(()),
            Ok(_) => {}
            failed => show_failure(failed.map(|_| ()), output)?,
        }
        let took = started.elapsed();
        if took >= SLOW && session.style().form == Form::Standard {
            writeln!(output, "({:.2}s)", took.as_secs_f64())?;
            output.flush()?;
        }
    }
}

/// Asks for a password. On a terminal there are asterisks for what is typed.
///
/// # Errors
/// The terminal cannot be used, or nothing comes.
pub(super) fn ask_password() -> Outcome<String> {
    const QUESTION: &str = "Please input password: ";
    if !stdin().is_terminal() {
        let mut line = String::new();
        stdin().lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let config = Config::builder().color_mode(ColorMode::Forced).build();
    let mut editor = Editor::with_config(config).map_err(cannot_use_terminal)?;
    editor.set_helper(Some(Mask));
    let password: Result<String, ReadlineError> = editor.readline(QUESTION);
    Ok(password.map_err(cannot_use_terminal)?)
}

fn cannot_use_terminal(reason: ReadlineError) -> Error {
    Error::Failed(format!("cannot use the terminal: {reason}"))
}

fn editor() -> Result<Editor<Assistant, FileHistory>, Error> {
    let cannot = cannot_use_terminal;
    let config = Config::builder()
        .max_history_size(history::LINE_COUNT_MAX)
        .map_err(cannot)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config).map_err(cannot)?;
    editor.set_helper(Some(Assistant::default()));
    Ok(editor)
}

/// What the server says of its commands; nothing if it says nothing.
fn docs_of(session: &mut Session<'_>) -> Docs {
    if !session.is_connected() {
        return Docs::default();
    }
    let reply = session
        .client()
        .and_then(|client| client.ask(&[b"COMMAND", b"DOCS"]));
    reply.map_or_else(|_| Docs::default(), |reply| Docs::of(&reply))
}

/// Says why something failed, and goes on.
fn show_failure(outcome: Outcome, output: &mut impl Write) -> Outcome {
    match outcome {
        Err(Stop::Failed(error)) => {
            output.flush()?;
            eprintln!("error: {error}");
            Ok(())
        }
        other => other,
    }
}

type Flow = std::ops::ControlFlow<()>;

/// A line, understood.
enum Line {
    Empty,
    /// A quote is not closed.
    Broken,
    /// A count before the command that is none.
    BadCount,
    Exit,
    Clear,
    /// To another server.
    Connect {
        host: String,
        port: u16,
    },
    Help(Vec<String>),
    Command {
        words: Vec<Vec<u8>>,
        count: u64,
    },
}

impl Line {
    fn of(text: &[u8]) -> Self {
        let Some(mut words) = words::split(text) else {
            return Self::Broken;
        };
        let Some(first) = words.first() else {
            return Self::Empty;
        };
        let first = String::from_utf8_lossy(first).into_owned();
        if is(&words, &["exit"]) || is(&words, &["quit"]) {
            return Self::Exit;
        }
        if is(&words, &["clear"]) && words.len() == 1 {
            return Self::Clear;
        }
        if is(&words, &["connect"])
            && let [_, host, port] = &words[..]
            && let Ok(host) = String::from_utf8(host.clone())
            && let Some(port) = std::str::from_utf8(port)
                .ok()
                .and_then(|it| it.parse().ok())
        {
            return Self::Connect { host, port };
        }
        if is_help(&first) {
            let topic = words.iter().skip(1);
            return Self::Help(
                topic
                    .map(|word| String::from_utf8_lossy(word).into())
                    .collect(),
            );
        }
        let mut count = 1;
        if words.len() > 1
            && let Ok(given) = first.parse::<i64>()
        {
            match u64::try_from(given) {
                Ok(given @ 1..) => count = given,
                _ => return Self::BadCount,
            }
            words.remove(0);
        }
        Self::Command { words, count }
    }

    /// Does what the line says; a break if that is to end.
    fn run(
        &self,
        session: &mut Session<'_>,
        docs: &mut Docs,
        output: &mut impl Write,
    ) -> Outcome<Flow> {
        match self {
            Self::Empty => {}
            Self::Broken => writeln!(output, "Invalid argument(s)")?,
            Self::BadCount => writeln!(output, "Invalid redis-cli repeat command option value.")?,
            Self::Exit => return Ok(Flow::Break(())),
            // Home, and everything from there on.
            Self::Clear => write!(output, "\x1b[H\x1b[2J")?,
            Self::Connect { host, port } => session.change_to(host.clone(), *port)?,
            Self::Help(topic) => {
                if docs.is_empty() {
                    session.connect()?;
                    *docs = docs_of(session);
                }
                output.write_all(docs.help(topic).as_bytes())?;
            }
            Self::Command { words, count } => {
                for _ in 0..*count {
                    session.run(words, output)?;
                }
            }
        }
        output.flush()?;
        Ok(Flow::Continue(()))
    }
}

/// What the editor asks while somebody types.
#[derive(Debug, Default)]
struct Assistant {
    docs: Docs,
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.docs.completions(&line[..position]))
    }
}

impl Hinter for Assistant {
    type Hint = Usage;

    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<Usage> {
        (position == line.len())
            .then(|| self.docs.hint(line))?
            .map(Usage)
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        // Grey.
        format!("\x1b[90m{hint}\x1b[0m").into()
    }
}

/// What shows asterisks while somebody types.
struct Mask;

impl Helper for Mask {}

impl Validator for Mask {}

impl Completer for Mask {
    type Candidate = String;
}

impl Hinter for Mask {
    type Hint = String;
}

impl Highlighter for Mask {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        "*".repeat(line.chars().count()).into()
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

/// Arguments to come. They are shown, never typed for somebody.
#[derive(Debug)]
struct Usage(String);

impl Hint for Usage {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_with_a_count_or_words_to_the_shell() {
        assert!(matches!(Line::of(b" "), Line::Empty));
        assert!(matches!(Line::of(b"GET \"a"), Line::Broken));
        assert!(matches!(Line::of(b"0 GET a"), Line::BadCount));
        assert!(matches!(Line::of(b"QUIT now"), Line::Exit));
        assert!(matches!(Line::of(b"clear"), Line::Clear));
        let line = Line::of(b"CONNECT ::1 7000");
        assert!(matches!(line, Line::Connect { host, port: 7000 } if host == "::1"));
        assert!(matches!(Line::of(b"connect host x"), Line::Command { .. }));
        assert!(matches!(Line::of(b"? set"), Line::Help(topic) if topic == ["set"]));
        for (text, expected) in [(&b"3 GET a"[..], 3), (b"GET a", 1), (b"12", 1)] {
            let Line::Command { count, .. } = Line::of(text) else {
                panic!("it is a command");
            };
            assert_eq!(count, expected);
        }
    }
}
