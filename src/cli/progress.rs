//! How far a tool is, for somebody who watches: a bar on stderr if that is a terminal.
//!
//! It is drawn anew per percent, needs no clock, and leaves nothing behind. Where nobody knows how
//! much there is to do, it says how much is done.

use std::io::{IsTerminal as _, Write as _, stderr};

use crate::limits::MIB;

/// Columns of the bar itself.
const BAR_COLUMN_COUNT: u64 = 40;
/// Bytes of work of unknown length between two drawings.
const STEP_LEN_BYTES: u64 = 8 * MIB as u64;

/// A bar. It is gone when dropped.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    /// Bytes, if anybody knows.
    whole: Option<u64>,
    is_shown: bool,
    /// What was drawn last, in percent or in steps.
    drawn: Option<u64>,
}

impl Progress {
    /// A bar for work that is done at `whole` bytes.
    pub(super) fn new(what: &'static str, whole: impl Into<Option<u64>>) -> Self {
        Self {
            what,
            whole: whole.into(),
            is_shown: stderr().is_terminal(),
            drawn: None,
        }
    }

    /// Shows that the work is at `done`.
    pub(super) fn show(&mut self, done: u64) {
        if !self.is_shown {
            return;
        }
        let state = match self.whole {
            Some(whole) => percent(done, whole),
            None => done / STEP_LEN_BYTES,
        };
        if self.drawn == Some(state) {
            return;
        }
        self.drawn = Some(state);
        let line = match self.whole {
            Some(_) => line(self.what, state),
            None => format!("{} {} MiB", self.what, done / MIB as u64),
        };
        // A bar that cannot be written is no reason to stop.
        let _ = write!(stderr(), "\r{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            // Back to the line's start, and the rest of it blank.
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn percent(done: u64, whole: u64) -> u64 {
    let percent = u128::from(done) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).map_or(100, |percent| percent.min(100))
}

fn line(what: &str, percent: u64) -> String {
    let filled_count = percent * BAR_COLUMN_COUNT / 100;
    let bar: String = (0..BAR_COLUMN_COUNT)
        .map(|column| if column < filled_count { '#' } else { '.' })
        .collect();
    format!("{what} [{bar}] {percent:3} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_the_work_is_done() {
        assert_eq!(percent(0, 3), 0);
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(9, 3), 100);
        assert_eq!(percent(u64::MAX, 1), 100);
        let half = format!("checking [{}{}]  50 %", "#".repeat(20), ".".repeat(20));
        assert_eq!(line("checking", 50), half);
    }
}
