//! The directory that keeps the data: opened before anyone can connect, loaded while they do.
//!
//! ```text
//!   open ─► cores serve, with empty shards, what needs no data ─► load ─► each core gets its shard
//!                                                                  ─► all have theirs: keys too
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::build::Plan;
use super::clock::Clock;
use super::control::{Control, Mail};
use super::log::Log;
use crate::command::{Settings, Shared};
use crate::error::Error;
use crate::hash::Hasher;
use crate::region::{Access, FileOptions, Found, Region, RegionOptions};
use crate::shard::{Mode, Progress, RecoverError, Report, Shard, recover};

/// An open data directory that is still to be loaded.
#[derive(Debug)]
pub(super) struct Data {
    dir: PathBuf,
    region: Arc<Region>,
    found: Found,
    hasher: Hasher,
    shared: Arc<Shared>,
    is_salvaging: bool,
}

/// The pace at which the log says how far loading is.
const TELL_EVERY: Duration = Duration::from_secs(2);

impl Data {
    /// Opens `dir`, or makes its files; from here on no other server can.
    pub(super) fn open(
        settings: &Settings,
        plan: &Plan,
        hasher: Hasher,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let options = RegionOptions {
            maxmemory_bytes: plan.maxmemory_bytes,
            shard_count: plan.core_count(),
        };
        let access = if settings.salvage {
            Access::Salvage
        } else {
            Access::Serve
        };
        let dir = Path::new(&settings.dir);
        let (region, found) = Region::open(dir, FileOptions::new(options, access))?;
        if !settings.huge_pages {
            region.refuse_huge_pages();
        }
        shared.saving.set_unasked(settings.syncs_unasked());
        let clock = Clock::new();
        shared.loading.begin(clock.unix_us(clock.moment()) / 1_000);
        Ok(Self {
            dir: dir.to_owned(),
            region: Arc::new(region),
            found,
            hasher,
            shared,
            is_salvaging: settings.salvage,
        })
    }

    /// The region that the data is loaded into.
    pub(super) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Loads the data and gives each core its shard; returns when all cores answer for their keys.
    pub(super) fn load(self, control: &Control) -> Result<(), Error> {
        let clock = Clock::new();
        let started = clock.moment();
        let log = &control.log;
        let (shards, report) = self.recover(log)?;
        install(shards, control);
        self.shared.loading.end();
        let took_us = clock.moment().us_since(started);
        log.line(format_args!(
            "{} keys in {}, loaded in {}.{:03} s",
            report.key_count,
            self.dir.display(),
            took_us / 1_000_000,
            took_us / 1_000 % 1_000,
        ));
        self.log_losses(&report, log);
        Ok(())
    }

    fn recover(&self, log: &Log) -> Result<(Vec<Shard>, Report), Error> {
        let mode = if self.is_salvaging {
            Mode::Salvage
        } else {
            Mode::Refuse
        };
        let progress = &self.shared.loading.progress;
        let recovered = std::thread::scope(|scope| {
            let (done, is_done) = mpsc::channel::<()>();
            scope.spawn(move || tell(log, progress, &is_done));
            let recovered = recover(&self.region, &self.found, &self.hasher, progress, mode);
            drop(done);
            recovered
        });
        recovered.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &RecoverError) -> Error {
        let dir = self.dir.display();
        Error::Start(match error {
            RecoverError::Damaged(_) => format!(
                "{dir}: {error}; nothing was changed; `coremap check {dir}` lists the places, \
                 `--salvage yes` serves the rest"
            ),
            RecoverError::OutOfMemory(_) | RecoverError::Io(_) => format!("{dir}: {error}"),
        })
    }

    /// Says what the last process left unfinished, if it ended out of order.
    fn log_losses(&self, report: &Report, log: &Log) {
        if report.torn_count > 0 || report.discarded_block_count > 0 || report.void_count > 0 {
            log.line(format_args!(
                "the last process ended before all was on disk: {} logs were cut at a torn record, \
                 {} blocks behind that were given up, {} records of unfinished commands removed",
                report.torn_count, report.discarded_block_count, report.void_count,
            ));
        }
        for damage in &report.damage {
            log.warning(format_args!(
                "lost {} bytes at offset {} of the data file: {}",
                damage.len_bytes, damage.offset, damage.reason
            ));
        }
    }
}

/// Says now and then how far it is, until the other end of `is_done` is dropped.
fn tell(log: &Log, progress: &Progress, is_done: &mpsc::Receiver<()>) {
    while is_done.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
        let (done_bytes, total_bytes) = (progress.done_bytes(), progress.total_bytes());
        log.line(format_args!(
            "loading: {} of {} MiB",
            done_bytes >> 20,
            total_bytes >> 20
        ));
    }
}

/// Gives each core its shard, and waits until all have taken theirs.
fn install(shards: Vec<Shard>, control: &Control) {
    let (sender, installed) = mpsc::channel();
    for (core, shard) in (0..).zip(shards) {
        let mail = Mail::Shard {
            shard: Box::new(shard),
            installed: sender.clone(),
        };
        control.hand_over(core, mail);
    }
    drop(sender);
    // Ends when every core has dropped its sender: a core that has ended had no need of a shard.
    while installed.recv().is_ok() {}
}
