//! Where the numbers come from: each core is asked for its own, the rest is shared.
//!
//! A core answers when it next looks at its mail: at once if it sleeps, after a turn of each connection
//! if it is busy. One that does not answer in time is missing from what is told, and said to be.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::command::{Facts, Figures, ProcessUsage, Shared};
use crate::limits::{METRICS_ANSWER_MS, METRICS_FRESH_MS};
use crate::region::Region;
use crate::server::clock::{Clock, Deadline, Moment};
use crate::server::control::{Answer, Control};
use crate::server::process;

/// Where the numbers come from.
#[derive(Debug)]
pub(in crate::server) struct Sources {
    pub(in crate::server) control: Arc<Control>,
    pub(in crate::server) shared: Arc<Shared>,
    pub(in crate::server) facts: Arc<Facts>,
    pub(in crate::server) region: Arc<Region>,
}

/// The server at about one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) unix_us: u64,
    /// By core; none: it did not answer.
    pub(super) cores: Vec<Option<Answer>>,
    /// The numbers of those that did, together.
    pub(super) all: Figures,
    pub(super) facts: Arc<Facts>,
    pub(super) is_loading: bool,
    pub(super) used_bytes: u64,
    pub(super) used_peak_bytes: u64,
    pub(super) maxmemory_bytes: u64,
    pub(super) block_len_bytes: u64,
    pub(super) maxclients: u64,
    /// Rounds of writing to disk, and how long they took together.
    pub(super) round_count: u64,
    pub(super) rounds_total_us: u64,
    pub(super) process: ProcessUsage,
}

impl Snapshot {
    /// The cores that answered, with their numbers.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.cores.iter().flatten()
    }

    /// Bytes in use that no core holds: given up, while others may still be reading them. The cores'
    /// numbers are not of one moment, so this is about so much.
    pub(super) fn limbo_bytes(&self) -> u64 {
        let held_bytes = self.all.shard.held_bytes(self.block_len_bytes);
        self.used_bytes.saturating_sub(held_bytes)
    }
}

impl Sources {
    /// Asks for everything; with `is_watched` for keys and slow commands, too.
    pub(super) fn collect(&self, is_watched: bool) -> Snapshot {
        let cores = self.ask(is_watched);
        let mut all = Figures::default();
        let answers = || cores.iter().flatten();
        answers().for_each(|answer| all.merge(&answer.report.figures));
        let clock = Clock::new();
        let used_bytes = self.region.used_bytes();
        let (round_count, rounds_total_us) = self.shared.saving.rounds();
        Snapshot {
            unix_us: clock.unix_us(clock.moment()),
            all,
            facts: Arc::clone(&self.facts),
            is_loading: self.shared.loading.is_under_way(),
            used_bytes,
            used_peak_bytes: self.shared.note_used(used_bytes),
            maxmemory_bytes: self.region.maxmemory_bytes(),
            block_len_bytes: self.region.block_len_bytes(),
            maxclients: answers().map(|it| it.report.maxclients).max().unwrap_or(0),
            round_count,
            rounds_total_us,
            process: process::usage(),
            cores,
        }
    }

    fn ask(&self, is_watched: bool) -> Vec<Option<Answer>> {
        let core_count = self.facts.core_count;
        let mut cores: Vec<Option<Answer>> = (0..core_count).map(|_| None).collect();
        if self.control.is_stopping() {
            return cores;
        }
        let (answer, answers) = mpsc::channel();
        self.control.ask(is_watched, answer);
        let deadline = Deadline::after(Duration::from_millis(METRICS_ANSWER_MS));
        for _ in 0..core_count {
            match answers.recv_timeout(deadline.left()) {
                Ok(answer) => {
                    let place = usize::from(answer.core);
                    cores[place] = Some(answer);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        cores
    }
}

/// A text that is made anew when it is wanted and the last one is too old.
#[derive(Debug)]
pub(super) struct Fresh {
    clock: Clock,
    last: Mutex<Option<(Moment, Arc<String>)>>,
}

impl Default for Fresh {
    fn default() -> Self {
        Self {
            clock: Clock::new(),
            last: Mutex::default(),
        }
    }
}

impl Fresh {
    /// The text; who asks while it is being made waits for it.
    pub(super) fn get(&self, make: impl FnOnce() -> String) -> Arc<String> {
        // A holder that panics has ended the process.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.moment();
        match &*last {
            Some((made_at, text)) if now.us_since(*made_at) < METRICS_FRESH_MS * US_PER_MS => {
                Arc::clone(text)
            }
            _ => {
                let text = Arc::new(make());
                *last = Some((self.clock.moment(), Arc::clone(&text)));
                text
            }
        }
    }
}

const US_PER_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::RegionOptions;
    use crate::server::log::Log;

    #[test]
    fn who_asks_again_at_once_is_given_the_same() {
        let fresh = Fresh::default();
        let first = fresh.get(|| "made".to_owned());
        let second = fresh.get(|| unreachable!("it is fresh"));
        assert_eq!(first, second);
    }

    #[test]
    fn a_core_that_does_not_answer_is_missing() {
        let (ringer, _listener) = crate::server::socket::doorbell().unwrap();
        let options = RegionOptions {
            maxmemory_bytes: 64 << 20,
            shard_count: 1,
        };
        let sources = Sources {
            control: Arc::new(Control::new(vec![ringer], Log::none())),
            shared: Arc::new(Shared::new(1)),
            facts: Arc::new(Facts {
                core_count: 1,
                ..Facts::default()
            }),
            region: Arc::new(Region::anonymous(options).unwrap()),
        };
        let snapshot = sources.collect(false);
        assert!(snapshot.cores.iter().all(Option::is_none));
        let text = super::super::exposition::write(&snapshot);
        assert!(
            text.contains("\ncoremap_core_answers{core=\"0\"} 0\n"),
            "{text}"
        );
    }
}
