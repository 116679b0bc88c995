//! Time in the tools that measure or repeat: what took how long, and pauses somebody asked for.
#![expect(
    clippy::disallowed_methods,
    reason = "a tool measures the time that its user sees, and pauses because its user said so"
)]

use std::time::{Duration, Instant};

/// Since when.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Stopwatch(Instant);

impl Stopwatch {
    pub(in crate::cli) fn start() -> Self {
        Self(Instant::now())
    }

    pub(in crate::cli) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Lets time pass.
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
