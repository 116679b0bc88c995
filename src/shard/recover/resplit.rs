//! Emptying the logs of another number of shards into today's.
//!
//! ```text
//!   tables name records in old blocks
//!      copy a batch of old blocks' live records ─► sync ─► mark the batch freed ─► next batch
//! ```
//!
//! Nothing is served meanwhile. A crash at any moment finds both: a record of the newer generation
//! is later than all of the older one, and only live ones are copied, so the next start goes on where
//! this one was. The blocks of an old log are freed oldest first, and what a grave hides is older than
//! the grave: a batch ends before a block with graves, and is freed on disk before the next one is.

#![expect(
    unsafe_code,
    reason = "recovery reads blocks through walks that trust nothing"
)]

use std::sync::Arc;

use super::super::large::RunReference;
use super::super::log::Purpose;
use super::super::record::Kind;
use super::super::slot::{Location, Slot};
use super::super::{OutOfMemory, Shard};
use super::RecoverError;
use super::survey::{Kept, Survey};
use super::walk::{Step, Walk};
use crate::hash::{cluster_slot, shard_of_slot};
use crate::limits::RESPLIT_BATCH_BLOCKS_MAX;
use crate::region::{BlockIndex, Region};

/// Old blocks that are being emptied.
pub(super) struct Resplit<'a> {
    region: Arc<Region>,
    shards: &'a mut [Shard],
    /// Copied, to be freed with the next sync.
    batch: Vec<BlockIndex>,
}

impl<'a> Resplit<'a> {
    pub(super) fn new(region: &Arc<Region>, shards: &'a mut [Shard]) -> Self {
        Self {
            region: Arc::clone(region),
            shards,
            batch: Vec::new(),
        }
    }

    /// Copies what is live in a log and frees its blocks.
    pub(super) fn empty(&mut self, survey: &Survey) -> Result<(), RecoverError> {
        for kept in &survey.kept {
            let is_full = self.batch.len() >= RESPLIT_BATCH_BLOCKS_MAX;
            if is_full || self.has_graves(kept) {
                self.free_batch()?;
            }
            self.copy_block(kept)?;
            self.batch.push(kept.block);
        }
        self.free_batch()
    }

    /// The copies are on disk, then the ends of the blocks they came from.
    fn free_batch(&mut self) -> Result<(), RecoverError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.region.sync()?;
        for block in self.batch.drain(..) {
            self.region.return_block(block);
        }
        // Not needed for the copies, but for the order in which blocks are freed on disk.
        self.region.sync()?;
        Ok(())
    }

    fn has_graves(&self, kept: &Kept) -> bool {
        let mut has_graves = false;
        self.visit(kept, |_, kind| has_graves |= kind.is_grave());
        has_graves
    }

    fn visit(&self, kept: &Kept, mut each: impl FnMut(Location, Kind)) {
        let start = self.region.block_start(kept.block);
        // SAFETY: the block belongs to no log that is written.
        let mut walk = unsafe { Walk::over(&self.region, kept.block, 0) };
        while walk.at() < kept.end {
            match walk.step() {
                Step::End => return,
                Step::Record(at, shape) => {
                    each(Location::from_offset(start + at as u64), shape.kind);
                }
                Step::Flaw(at, _) if at >= kept.synced_len_bytes => return,
                Step::Flaw(..) => {
                    walk.pass_flaw();
                }
            }
        }
    }

    fn copy_block(&mut self, kept: &Kept) -> Result<(), RecoverError> {
        let mut locations = Vec::new();
        self.visit(kept, |location, kind| {
            if matches!(kind, Kind::STRING | Kind::LARGE_STRING) {
                locations.push(location);
            }
        });
        for location in locations {
            if self.copy_record(location).is_err() {
                // What was freed last is free on disk with the next round.
                self.free_batch()?;
                self.region.sync()?;
                self.copy_record(location)?;
            }
        }
        Ok(())
    }

    /// Copies a record if its key's slot names it.
    fn copy_record(&mut self, location: Location) -> Result<(), OutOfMemory> {
        let count = u16::try_from(self.shards.len()).expect("counted in 16 bits");
        let key = self.shards[0].log.record(location).key();
        let owner = shard_of_slot(cluster_slot(key), count);
        self.shards[usize::from(owner)].take_in(location)
    }
}

impl Shard {
    /// Copies a record of a log that is given up, if it is live.
    fn take_in(&mut self, location: Location) -> Result<(), OutOfMemory> {
        let record = self.log.record(location);
        let hash = self.hasher.hash(record.key());
        let shape = record.shape();
        let Some(place) = self.table.find_location(hash, location) else {
            return Ok(());
        };
        let len_bytes = shape.body_len_bytes();
        if !self.log.has_room(len_bytes, Purpose::Bound) {
            return Err(OutOfMemory::Budget);
        }
        let mut adopted = None;
        if shape.kind == Kind::LARGE_STRING {
            let found = RunReference::from_bytes(self.log.record(location).value());
            adopted = found.and_then(|reference| self.large.adopt_anew(reference));
            if adopted.is_none() {
                // Two records cannot name one run, unless somebody has made them.
                self.table.remove(place);
                self.key_count -= 1;
                return Ok(());
            }
        }
        let reserved = self.log.reserve(len_bytes, Purpose::Bound);
        let reserved = reserved.ok_or(OutOfMemory::Budget)?;
        let (record, target) = self.log.fill_from(location, &reserved);
        record.copy_to(target);
        self.log.complete_copy(location, &reserved);
        if let Some(adopted) = adopted {
            self.log.change_value(&reserved, &adopted.to_bytes());
        }
        self.table
            .replace(place, Slot::new(hash.tag(), reserved.location));
        Ok(())
    }
}
