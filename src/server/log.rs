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
//! A process has one stderr, so where lines go and how they look is settled once for the process: in the
//! binary when it starts, in a program that embeds a server never, unless its `Config` says otherwise.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use super::clock::Clock;
use super::json;
use crate::atomic::{AtomicU32, Ordering};
use crate::command::Settings;
use crate::error::Error;
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

/// Where lines go, once it is settled.
static OUTPUT: OnceLock<Output> = OnceLock::new();
/// The least level that is written, by its number.
static LEVEL: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(Level::Notice as u32));
/// What was written of each kind lately.
static BUDGETS: LazyLock<[Mutex<Budget>; Repeated::ALL.len()]> = LazyLock::new(Default::default);

struct Output {
    is_json: bool,
    /// Else stderr.
    file: Option<File>,
}

/// Switches the log on.
pub(super) fn switch_on(settings: &Settings) -> Result<(), Error> {
    let file = match settings.logfile.as_str() {
        "" => None,
        path => {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            let failed = |error| Error::start(format_args!("cannot open logfile {path}"), &error);
            Some(opened.map_err(failed)?)
        }
    };
    // A second server of the process writes where the first one does.
    OUTPUT.get_or_init(|| Output {
        is_json: settings.log_format == "json",
        file,
    });
    set_level(&settings.loglevel);
    Ok(())
}

/// Sets the least level that is written.
pub(super) fn set_level(name: &str) {
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    LEVEL.store(level.unwrap_or(Level::Notice) as u32, Ordering::Relaxed);
}

/// Writes a line that an operator wants to read.
pub(super) fn line(message: fmt::Arguments<'_>) {
    write(Level::Notice, message);
}

/// Writes a line that an operator should do something about.
pub(super) fn warning(message: fmt::Arguments<'_>) {
    write(Level::Warning, message);
}

/// Writes a line of a kind that may come again and again, unless there were too many of it.
pub(super) fn repeated(kind: Repeated, message: fmt::Arguments<'_>) {
    if !is_written(kind.level()) {
        return;
    }
    let (is_free, left_out) = budget(kind, |budget| {
        (budget.take(now_s()), budget.settle(now_s()))
    });
    tell_left_out(kind, left_out);
    if is_free {
        write(kind.level(), message);
    }
}

/// Says how many lines were not written; about once a second.
pub(super) fn settle() {
    for kind in Repeated::ALL {
        let left_out = budget(kind, |budget| budget.settle(now_s()));
        tell_left_out(kind, left_out);
    }
}

fn tell_left_out(kind: Repeated, count: u64) {
    if count > 0 {
        write(
            kind.level(),
            format_args!("{count} more {} in {LOG_WINDOW_S} s", kind.noun()),
        );
    }
}

fn budget<T>(kind: Repeated, run: impl FnOnce(&mut Budget) -> T) -> T {
    let budget = &BUDGETS[kind as usize];
    // A holder that panics has ended the process.
    run(&mut budget.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_written(level: Level) -> bool {
    OUTPUT.get().is_some() && level as u32 >= LEVEL.load(Ordering::Relaxed)
}

fn write(level: Level, message: fmt::Arguments<'_>) {
    let Some(output) = OUTPUT.get().filter(|_| is_written(level)) else {
        return;
    };
    let clock = Clock::new();
    let at = Timestamp(clock.unix_us(clock.moment()));
    let level = level.name();
    let text = if output.is_json {
        let message = json::string(message.to_string().as_bytes());
        format!("{{\"at\":\"{at}\",\"level\":\"{level}\",\"message\":{message}}}\n")
    } else {
        format!("{at} {level} {message}\n")
    };
    // In one call, so that lines of several threads do not mix. There is nowhere to complain.
    _ = match &output.file {
        Some(file) => (&mut &*file).write_all(text.as_bytes()),
        None => std::io::stderr().write_all(text.as_bytes()),
    };
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

/// A time in UTC, to the millisecond, as ISO 8601 has it.
struct Timestamp(u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / US_PER_S;
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let (hour, minute) = (seconds / SECONDS_PER_HOUR % 24, seconds / 60 % 60);
        let (second, ms) = (seconds % 60, self.0 / US_PER_MS % 1_000);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

/// Year, month and day, so many days after 1970 began: `civil_from_days` of Howard Hinnant's
/// "chrono-compatible low-level date algorithms". Years begin in March, so that a leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + DAYS_TO_1970;
    let era = since_march_0000 / DAYS_PER_ERA;
    let day_of_era = since_march_0000 % DAYS_PER_ERA;
    let leap_days = day_of_era / (DAYS_PER_4_YEARS - 1) - day_of_era / DAYS_PER_CENTURY
        + day_of_era / (DAYS_PER_ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

const US_PER_S: u64 = 1_000_000;
const US_PER_MS: u64 = 1_000;
const SECONDS_PER_HOUR: u64 = 3_600;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days from the first of March of the year 0 to 1970.
const DAYS_TO_1970: u64 = 719_468;
/// Days of four years, the leap day included, and of a century without one at its end.
const DAYS_PER_4_YEARS: u64 = 1_461;
const DAYS_PER_CENTURY: u64 = 36_524;
/// Days of 400 years.
const DAYS_PER_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_276_327, "2026-11-21T15:52:07.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(unix_s * US_PER_S).to_string(), text);
        }
        assert_eq!(Timestamp(1_234_567).to_string(), "1970-01-01T00:00:01.234Z");
    }

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
