//! The only clock of the program.
//!
//! A turn needs two times: the wall clock for expiries, and a monotonic one for its own length.
//! Reading both costs two calls at its start and one at its end; instead the wall clock is kept
//! as an offset from the monotonic clock, which the once-a-second task takes anew, so that a
//! step of the wall clock is seen within a second and a turn reads one clock: at its start, at its end, and in
//! between once in many commands.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads clocks and waits by them"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::command::Now;

/// Lets time pass on this thread.
pub(crate) fn rest(duration: Duration) {
    std::thread::sleep(duration);
}

/// A moment that somebody waits for, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// How long until then; nothing once it is over.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// One core's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// Wall-clock microseconds at `started`.
    unix_us: u64,
}

/// A moment on the monotonic clock: nanoseconds since the clock was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Moment {
    ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let mut clock = Self {
            started: Instant::now(),
            unix_us: 0,
        };
        clock.synchronize();
        clock
    }

    /// Takes the wall clock anew.
    pub(crate) fn synchronize(&mut self) {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.unix_us = micros(unix).saturating_sub(self.moment().ns / NS_PER_US);
    }

    /// Now, monotonic.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            ns: nanos(self.started.elapsed()),
        }
    }

    /// The wall clock at a moment, in microseconds since 1970.
    pub(crate) fn unix_us(&self, moment: Moment) -> u64 {
        self.unix_us + moment.ns / NS_PER_US
    }

    /// The wall clock at a moment, for a lane.
    pub(crate) fn now(&self, moment: Moment) -> Now {
        Now {
            unix_us: self.unix_us(moment),
        }
    }
}

impl Moment {
    /// Microseconds from `earlier` to this moment.
    pub(crate) fn us_since(self, earlier: Moment) -> u64 {
        self.ns_since(earlier) / NS_PER_US
    }

    /// Nanoseconds from `earlier` to this moment.
    pub(crate) fn ns_since(self, earlier: Moment) -> u64 {
        self.ns.saturating_sub(earlier.ns)
    }
}

const NS_PER_US: u64 = 1_000;

#[expect(
    clippy::cast_possible_truncation,
    reason = "nanoseconds fit 64 bits for 500 years"
)]
fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "microseconds fit 64 bits for 500,000 years"
)]
fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_monotonic_one() {
        let clock = Clock::new();
        let moment = clock.moment();
        let unix_us = micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        assert!(unix_us.abs_diff(clock.unix_us(moment)) < 1_000_000);
        let later = clock.moment();
        let passed_us = clock.unix_us(later) - clock.unix_us(moment);
        assert!(passed_us.abs_diff(later.us_since(moment)) <= 1);
        assert_eq!(moment.us_since(later), 0);
    }
}
