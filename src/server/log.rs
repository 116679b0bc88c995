//! The log: one line for what an operator wants to know, nothing per request.
//!
//! ```text
//!   text   2026-11-21T15:52:07.123Z notice ready on 127.0.0.1:6379
//!   json   {"at":"2026-11-21T15:52:07.123Z","level":"notice","message":"ready on 127.0.0.1:6379"}
//! ```
//!
//! What clients or the network can bring about again and again is of a [`Repeated`] kind: of each at most
//! [`LOG_BURST_COUNT`] lines are written in [`LOG_WINDOW_S`] seconds, and then how many there were more.
//!
//! Whoever has something to say hands it to a thread (`writer`) and goes on.

use std::fmt;
use std::fs::OpenOptions;
use std::sync::{Arc, Mutex, PoisonError};

mod timestamp;
mod writer;

pub(super) use writer::wait_until_written;

use timestamp::{Timestamp, US_PER_S};
use writer::Writer;

use super::clock::Clock;
use crate::atomic::{AtomicU32, Ordering};
use crate::command::Settings;
use crate::config::Config;
use crate::error::Error;
use crate::json;
use crate::limits::{LOG_BURST_COUNT, LOG_WINDOW_S};

/// How much a line matters, in the words of Redis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    /// For who looks for an error of the program.
    Debug,
    /// What every client does.
    Verbose,
    /// What an operator wants to know.
    Notice,
    /// What an operator should do something about.
    Warning,
}

impl Level {
    const ALL: [Self; 4] = [Self::Debug, Self::Verbose, Self::Notice, Self::Warning];

    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "verbose",
            Self::Notice => "notice",
            Self::Warning => "warning",
        }
    }
}

/// Lines that can come again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repeated {
    /// A client connected.
    Connected,
    /// One was turned away.
    Refused,
    /// Connections cannot be accepted.
    NotAccepted,
}

impl Repeated {
    const ALL: [Self; 3] = [Self::Connected, Self::Refused, Self::NotAccepted];

    const fn level(self) -> Level {
        match self {
            Self::Connected => Level::Verbose,
            Self::Refused | Self::NotAccepted => Level::Warning,
        }
    }

    /// What a line says of those that were not written.
    const fn noun(self) -> &'static str {
        match self {
            Self::Connected => "connections",
            Self::Refused => "refusals",
            Self::NotAccepted => "failures to accept",
        }
    }
}

/// The log of one server.
#[derive(Debug)]
pub(super) struct Log {
    /// None: nothing is written.
    writer: Option<Writer>,
    look: Look,
    /// The least level that is written, by its number.
    level: AtomicU32,
    /// What was written of each kind lately.
    budgets: [Mutex<Budget>; Repeated::ALL.len()],
}

impl Log {
    /// Opens the log that a server is configured to have.
    pub(super) fn open(config: &Config) -> Result<Arc<Self>, Error> {
        if !config.log {
            return Ok(Self::none());
        }
        let settings = &config.settings;
        let file = match settings.logfile.as_str() {
            "" => None,
            path => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                let failed =
                    |error| Error::start(format_args!("cannot open logfile {path}"), &error);
                Some(opened.map_err(failed)?)
            }
        };
        let look = Look::of(settings);
        let left_out = move |count| {
            let message = format_args!("{count} lines were left out: nobody took them in time");
            look.line(Level::Warning, message)
        };
        let log = Self::new(Some(Writer::start(file, left_out)?), look);
        log.set_level(&settings.loglevel);
        Ok(Arc::new(log))
    }

    /// A log in which nothing is written.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self::new(None, Look { is_json: false }))
    }

    fn new(writer: Option<Writer>, look: Look) -> Self {
        Self {
            writer,
            look,
            level: AtomicU32::new(Level::Notice as u32),
            budgets: Default::default(),
        }
    }

    /// Sets the least level that is written.
    pub(super) fn set_level(&self, name: &str) {
        let level = Level::ALL.into_iter().find(|level| level.name() == name);
        let level = level.unwrap_or(Level::Notice);
        self.level.store(level as u32, Ordering::Relaxed);
    }

    /// Writes a line that an operator wants to read.
    pub(super) fn line(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Notice, message);
    }

    /// Writes a line that an operator should do something about.
    pub(super) fn warning(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Warning, message);
    }

    /// Ends the process, and says why: in the log, or on stderr if there is none.
    pub(super) fn end(&self, reason: fmt::Arguments<'_>) -> ! {
        if self.writer.is_some() {
            self.warning(reason);
            wait_until_written();
        } else {
            eprintln!("coremap: error: {reason}");
        }
        std::process::exit(1);
    }

    /// Writes a line of a kind that may come again and again, unless there were too many of it.
    pub(super) fn repeated(&self, kind: Repeated, message: fmt::Arguments<'_>) {
        if !self.is_written(kind.level()) {
            return;
        }
        let (is_free, left_out) = self.budget(kind, |budget| {
            (budget.take(now_s()), budget.settle(now_s()))
        });
        self.tell_left_out(kind, left_out);
        if is_free {
            self.write(kind.level(), message);
        }
    }

    /// Says how many lines were not written; about once a second.
    pub(super) fn settle(&self) {
        for kind in Repeated::ALL {
            let left_out = self.budget(kind, |budget| budget.settle(now_s()));
            self.tell_left_out(kind, left_out);
        }
    }

    fn tell_left_out(&self, kind: Repeated, count: u64) {
        if count > 0 {
            self.write(
                kind.level(),
                format_args!("{count} more {} in {LOG_WINDOW_S} s", kind.noun()),
            );
        }
    }

    fn budget<T>(&self, kind: Repeated, run: impl FnOnce(&mut Budget) -> T) -> T {
        let budget = &self.budgets[kind as usize];
        // A holder that panics has ended the process.
        run(&mut budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_written(&self, level: Level) -> bool {
        self.writer.is_some() && level as u32 >= self.level.load(Ordering::Relaxed)
    }

    fn write(&self, level: Level, message: fmt::Arguments<'_>) {
        if let Some(writer) = self.writer.as_ref().filter(|_| self.is_written(level)) {
            writer.push(self.look.line(level, message));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            wait_until_written();
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug)]
struct Look {
    is_json: bool,
}

impl Look {
    fn of(settings: &Settings) -> Self {
        Self {
            is_json: settings.log_format == "json",
        }
    }

    fn line(self, level: Level, message: fmt::Arguments<'_>) -> String {
        let clock = Clock::new();
        let at = Timestamp(clock.unix_us(clock.moment()));
        let level = level.name();
        if self.is_json {
            let message = json::string(message.to_string().as_bytes());
            format!("{{\"at\":\"{at}\",\"level\":\"{level}\",\"message\":{message}}}\n")
        } else {
            format!("{at} {level} {message}\n")
        }
    }
}

fn now_s() -> u64 {
    let clock = Clock::new();
    clock.unix_us(clock.moment()) / US_PER_S
}

/// How many lines of one kind may still be written.
#[derive(Debug, Default)]
struct Budget {
    /// When the first of the lines was written that count.
    began_s: u64,
    count: u64,
    left_out: u64,
}

impl Budget {
    /// Whether one more may be written.
    fn take(&mut self, now_s: u64) -> bool {
        if self.left_out == 0 && now_s.saturating_sub(self.began_s) >= LOG_WINDOW_S {
            (self.began_s, self.count) = (now_s, 0);
        }
        self.count += 1;
        let is_free = self.count <= LOG_BURST_COUNT;
        self.left_out += u64::from(!is_free);
        is_free
    }

    /// How many were not written, once their time is over.
    fn settle(&mut self, now_s: u64) -> u64 {
        if now_s.saturating_sub(self.began_s) < LOG_WINDOW_S {
            return 0;
        }
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_some_are_written_and_the_rest_is_counted() {
        let mut budget = Budget::default();
        let written = (0..LOG_BURST_COUNT + 5).filter(|_| budget.take(1_000));
        assert_eq!(written.count() as u64, LOG_BURST_COUNT);
        assert_eq!(budget.settle(1_001), 0);
        assert_eq!(budget.settle(1_000 + LOG_WINDOW_S), 5);
        assert_eq!(budget.settle(1_000 + LOG_WINDOW_S), 0);
        assert!(budget.take(1_000 + LOG_WINDOW_S));
    }
}
