//! The thread that writes changes to disk, beside the executors: group commit.
//!
//! ```text
//!   asked for a round, or a second is over and something is left to do ──► round ──► wake who waits
//! ```
//!
//! One round is one `fdatasync` and serves everybody who had asked before it began, however many
//! connections those are; who asks while it runs is served by the next one. Before it begins, the
//! thread waits a moment for the connections that the last one served (`Work::gather`).
//! No core ever waits for it: the system calls are here.
//!
//! A round that fails ends the process. What the kernel could not write it may have dropped, and a
//! second try can succeed without the bytes: nothing that is acknowledged after that would be true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::clock::Clock;
use super::control::Control;
use crate::command::Shared;
use crate::error::Error;
use crate::limits::{ROUND_GATHER_FACTOR, ROUND_GATHER_US_MAX};
use crate::region::Region;
use crate::sys;

/// The pace of rounds that nobody asks for.
const EVERY_SECOND_US: u64 = 1_000_000;

/// The thread; it runs until [`Self::finish`].
#[derive(Debug)]
pub(super) struct Syncer {
    region: Arc<Region>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(
        region: Arc<Region>,
        control: Arc<Control>,
        shared: Arc<Shared>,
        core_cpus: Vec<usize>,
    ) -> Result<Self, Error> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let work = Work {
            region: Arc::clone(&region),
            control,
            shared,
            is_stopping: Arc::clone(&is_stopping),
            clock: Clock::new(),
            covered_count: 0,
            company: 0,
            last_us: 0,
        };
        let thread = Builder::new()
            .name("syncer".to_owned())
            .spawn(move || {
                sys::keep_off(&core_cpus);
                work.run();
            })
            .map_err(|error| Error::start("cannot start the syncing thread", &error))?;
        Ok(Self {
            region,
            is_stopping,
            thread: Some(thread),
        })
    }

    /// Ends the thread, writes what is left and notes that nothing is missing. To be called when no
    /// core runs any more.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.stop();
        self.region
            .close_clean()
            .map_err(|error| Error::start("cannot write the last changes", &error))
    }

    fn stop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        self.region.rounds().wake();
        if let Some(thread) = self.thread.take() {
            // It only ends when told to; a panic there has ended the process.
            _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread works with.
struct Work {
    region: Arc<Region>,
    control: Arc<Control>,
    shared: Arc<Shared>,
    is_stopping: Arc<AtomicBool>,
    clock: Clock,
    /// Connections that had begun to wait when the last round began.
    covered_count: u64,
    /// Those that it and the next one have to do with: who is likely to wait soon.
    company: u64,
    last_us: u64,
}

impl Work {
    fn run(mut self) {
        self.shared.saving.set_thread();
        let region = Arc::clone(&self.region);
        let rounds = region.rounds();
        let mut last = self.clock.moment();
        while !self.is_stopping.load(Ordering::Acquire) {
            let now = self.clock.moment();
            let left_us = EVERY_SECOND_US.saturating_sub(now.us_since(last));
            if left_us == 0 {
                last = now;
            }
            let is_unasked = left_us == 0 && self.shared.saving.is_unasked();
            if rounds.is_requested() {
                self.gather();
                self.round();
            } else if is_unasked && region.wants_round() {
                self.round();
            } else {
                rounds.wait(Duration::from_micros(left_us.max(1)));
            }
        }
    }

    /// Lets those come who were served a moment ago, for about as long as a round takes: a client that
    /// waits for each reply has its next request ready soon, and then one round serves both halves
    /// of those who would else take turns.
    fn gather(&self) {
        let saving = &self.shared.saving;
        let enough_count = self.covered_count + self.company;
        saving.set_enough_count(enough_count);
        let started = self.clock.moment();
        let delay_us = (ROUND_GATHER_FACTOR * self.last_us).min(ROUND_GATHER_US_MAX);
        loop {
            let spent_us = self.clock.moment().us_since(started);
            if saving.awaited_count() >= enough_count || spent_us >= delay_us {
                break;
            }
            std::thread::park_timeout(Duration::from_micros(delay_us - spent_us));
        }
        saving.set_enough_count(0);
    }

    fn round(&mut self) {
        let before_count = self.covered_count;
        self.covered_count = self.shared.saving.awaited_count();
        let started = self.clock.moment();
        if let Err(error) = self.region.sync() {
            let log = &self.control.log;
            log.end(format_args!(
                "the disk did not take what was written: {error}; ending, as nothing could be kept after that"
            ));
        }
        let ended = self.clock.moment();
        self.company = self.shared.saving.awaited_count() - before_count;
        self.clock.synchronize();
        self.last_us = ended.us_since(started);
        let now_ms = self.clock.unix_us(ended) / 1_000;
        self.shared.saving.note_round(now_ms, self.last_us);
        for core in self.shared.awaiting() {
            self.control.ring(core);
        }
    }
}
