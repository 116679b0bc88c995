//! When an open loop's commands are due: a schedule that no reply can delay.

use std::fmt;
use std::str::FromStr;

use super::random::Random;

const NS_PER_S: f64 = 1e9;

/// How the times between commands vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// All alike.
    Even,
    /// As from many clients that know nothing of each other: exponentially distributed.
    Poisson,
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "even" => Ok(Self::Even),
            "poisson" => Ok(Self::Poisson),
            _ => Err(format!("`{text}` is neither even nor poisson")),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        })
    }
}

/// The times at which one thread's commands are due.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    gap_ns: f64,
    due_ns: f64,
    random: Random,
}

impl Schedule {
    /// The schedule of thread `index` of `thread_count`, which together make `rate` commands a
    /// second: even schedules interleave.
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: f64,
        index: usize,
        thread_count: usize,
        seed: u64,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "there are few threads")]
        let (index_share, count) = (index as f64, thread_count as f64);
        Self {
            arrivals,
            gap_ns: NS_PER_S * count / rate,
            due_ns: NS_PER_S * index_share / rate,
            random: Random::new(seed ^ (index as u64) << 32),
        }
    }

    /// When the next command is due, in nanoseconds since the run began.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and a century before 2^63"
    )]
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns as u64
    }

    /// Goes on to the command after that one.
    pub(crate) fn advance(&mut self) {
        self.due_ns += match self.arrivals {
            Arrivals::Even => self.gap_ns,
            Arrivals::Poisson => -self.random.unit().ln() * self.gap_ns,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(arrivals: &str, index: usize, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals.parse().unwrap(), 1000.0, index, 2, 1);
        let due = |_| {
            let due_ns = schedule.due_ns();
            schedule.advance();
            due_ns
        };
        (0..count).map(due).collect()
    }

    #[test]
    fn even_schedules_of_two_threads_interleave() {
        assert_eq!(due_times("even", 0, 3), [0, 2_000_000, 4_000_000]);
        assert_eq!(due_times("even", 1, 2), [1_000_000, 3_000_000]);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_but_not_the_distance() {
        let due = due_times("poisson", 0, 10_001);
        let mean_ns = due[10_000] / 10_000;
        assert!((1_900_000..2_100_000).contains(&mean_ns), "{mean_ns}");
        // A third of exponential gaps is longer than the mean; the share is e to the minus one.
        let long_count = due
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 2_000_000)
            .count();
        assert!((3400..3950).contains(&long_count), "{long_count}");
        assert_ne!(due, due_times("poisson", 1, 10_001));
    }
}
