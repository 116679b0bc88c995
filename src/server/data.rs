//! The directory that keeps the data: opened before anyone can connect, loaded while they do.
//!
//! ```text
//!   open ─► cores serve, with empty shards, what needs no data ─► load ─► each core gets its shard
//!                                                                  ─► all have theirs: keys too
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use super::build::Plan;
use super::clock::Clock;
use super::control::{Control, Mail};
use super::log;
use crate::command::{Settings, Shared};
use crate::error::Error;
use crate::hash::Hasher;
use crate::region::{Access, FileOptions, Found, Region, RegionOptions};
use crate::shard::Shard;

/// An open data directory that is still to be loaded.
#[derive(Debug)]
pub(super) struct Data {
    dir: PathBuf,
    region: Arc<Region>,
    found: Found,
    hasher: Hasher,
    shared: Arc<Shared>,
}

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
        shared.saving.set_unasked(settings.syncs_unasked());
        let clock = Clock::new();
        shared.loading.begin(clock.unix_us(clock.moment()) / 1_000);
        Ok(Self {
            dir: dir.to_owned(),
            region: Arc::new(region),
            found,
            hasher,
            shared,
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
        let shards = self.shards()?;
        let key_count: u64 = shards.iter().map(Shard::len).sum();
        install(shards, control);
        // The budget may have been changed meanwhile.
        self.shared.loading.end();
        let took_us = clock.moment().us_since(started);
        log::line(format_args!(
            "{key_count} keys in {}, loaded in {}.{:03} s",
            self.dir.display(),
            took_us / 1_000_000,
            took_us / 1_000 % 1_000,
        ));
        Ok(())
    }

    fn shards(&self) -> Result<Vec<Shard>, Error> {
        let shard = |id| Shard::new(Arc::clone(&self.region), id, self.hasher.clone());
        let count = u16::try_from(self.region.shard_count()).expect("limits: fits 16 bits");
        let shards: Result<Vec<Shard>, _> = (0..count).map(shard).collect();
        if !self.found.is_new {
            return Err(Error::Start("loading is not there yet".to_owned()));
        }
        self.region
            .finish_recovery()
            .map_err(|error| Error::start("cannot write to the data file", &error))?;
        shards.map_err(|_| Error::Start("maxmemory is too little".to_owned()))
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
