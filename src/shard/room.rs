//! Room that is made for all of a command before any of it is done.
//!
//! A command over several shards prepares on each of them and then runs on each of them. What was
//! prepared cannot fail any more for want of memory, whoever took the last block meanwhile; so either all
//! of it happens or, when one shard has no room, none.
//!
//! | a store or a removal needs     | kept as                                                     |
//! |--------------------------------|-------------------------------------------------------------|
//! | space for its record           | the rest of a block, or blocks ([`super::log`])             |
//! | a slot, if the key is new      | an empty one now, and segments for splits that need two     |
//! | a run for a large value        | the run, filled ([`super::stage`])                          |
//! | a run for a very long key      | the run                                                     |
//! | an entry in the expiry wheel   | nothing: that cannot fail for the few that one command adds |
//!
//! While room is kept nobody else appends: no compaction, no eviction, no removal of what has expired
//! (which is hidden all the same). What writes owe is paid after the end. So room is for moments: it ends
//! with the hold it was asked for in, or when a later command of that hold finds no memory. That one is
//! none of those it was kept for, because they cannot fail.

use super::durable::tombstone_of;
use super::large::RunReference;
use super::record::{Kind, MEMBER_LEN_BYTES, Shape};
use super::slot::Location;
use super::stage::shape_of;
use super::{Attributes, OutOfMemory, Purpose, Shard};
use crate::limits::{PREPARED_SPLIT_COUNT_MAX, SEGMENT_SLOT_COUNT};

/// What a command is about to do to one key.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// It stores `value`, which stays where it is until then.
    Store {
        /// The key.
        key: &'a [u8],
        /// Its value to be.
        value: &'a [u8],
        /// What the value will be stored with.
        attributes: Attributes,
    },
    /// It removes the key.
    Remove {
        /// The key.
        key: &'a [u8],
    },
}

/// What is kept besides blocks and segments.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Addresses of large values whose runs were made for it.
    staged: Vec<usize>,
    /// Runs for records that are too long for the log.
    runs: Vec<PreparedRun>,
}

#[derive(Debug)]
struct PreparedRun {
    len_bytes: usize,
    run: u32,
    location: Location,
}

/// What the log and the table must have.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    log_len_bytes: u64,
    fresh_count: usize,
    /// Of new keys, those whose buckets may be full when they come.
    crowded_count: usize,
    is_storing: bool,
}

impl Shard {
    /// Makes room for all of `changes`. Until [`release_room`](Self::release_room) each of them succeeds,
    /// in any order; nothing else may be written meanwhile. Room that was kept before is given back.
    ///
    /// # Errors
    /// If there is no memory for all of them. Nothing is kept then, and nothing has changed.
    pub fn prepare<'a>(
        &mut self,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<(), OutOfMemory> {
        self.release_room();
        let mut need = Need::default();
        let prepared = changes
            .into_iter()
            .try_for_each(|change| self.prepare_change(change, &mut need))
            .and_then(|()| self.keep(need));
        if prepared.is_err() {
            self.release_room();
        }
        prepared
    }

    /// Ends what [`prepare`](Self::prepare) began, and gives back what was not used of it.
    pub fn release_room(&mut self) {
        self.log.release_room();
        self.table.release_segments();
        for address in std::mem::take(&mut self.room.staged) {
            self.unstage_at(address);
        }
        for prepared in std::mem::take(&mut self.room.runs) {
            self.condemn(prepared.run);
        }
    }

    /// The same where what room was made for is done: pays for what its writes have added.
    pub fn end_room(&mut self) {
        self.release_room();
        self.pay_for(0);
    }

    /// Reclaims memory, if need be, until a record of `len_bytes`, or of the most that the log takes, could
    /// be appended. None of it is kept.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn find_room(&mut self, len_bytes: usize) -> Result<(), OutOfMemory> {
        let most_bytes = usize::try_from(self.log.record_len_bytes_max());
        let len_bytes = most_bytes.map_or(len_bytes, |most_bytes| len_bytes.min(most_bytes));
        self.with_room(|shard| shard.log.has_room(len_bytes, Purpose::Write).then_some(()))
    }

    /// Whether room is kept, so that nobody but its owner may append.
    #[inline]
    pub(super) const fn keeps_room(&self) -> bool {
        self.log.keeps_room()
    }

    /// A run for a record of `len_bytes` that was prepared.
    pub(super) fn take_prepared_run(&mut self, len_bytes: usize) -> Option<(u32, Location)> {
        let runs = &mut self.room.runs;
        let index = runs.iter().position(|run| run.len_bytes == len_bytes)?;
        let PreparedRun { run, location, .. } = runs.swap_remove(index);
        Some((run, location))
    }

    fn prepare_change(&mut self, change: Change<'_>, need: &mut Need) -> Result<(), OutOfMemory> {
        match change {
            Change::Store {
                key,
                value,
                attributes,
            } => self.prepare_store(key, value, attributes, need),
            Change::Remove { key } => {
                // In memory nothing is written, and of a key that is not there nowhere.
                if self.log.is_durable() && self.lookup(self.key(key)).is_some() {
                    need.add_record(tombstone_of(key));
                }
                Ok(())
            }
        }
    }

    fn prepare_store(
        &mut self,
        key: &[u8],
        value: &[u8],
        attributes: Attributes,
        need: &mut Need,
    ) -> Result<(), OutOfMemory> {
        let key = self.key(key);
        let mut shape = shape_of(key, value.len(), attributes);
        if self.is_large(key, value.len(), attributes) {
            self.room.staged.push(value.as_ptr().addr());
            self.stage_part(value, value.len())?;
            shape = Shape {
                kind: Kind::LARGE_STRING,
                value_len_bytes: RunReference::LEN_BYTES,
                ..shape
            };
        }
        if self.lookup(key).is_none() {
            self.vacancy_for(key.hash())?;
            need.fresh_count += 1;
            need.crowded_count += usize::from(self.table.may_fill(key.hash(), need.fresh_count));
        }
        need.is_storing = true;
        if self.log.is_too_long(shape) {
            let len_bytes = shape.len_bytes();
            let (run, location) = self.make_run_for_record(len_bytes)?;
            self.room.runs.push(PreparedRun {
                len_bytes,
                run,
                location,
            });
        } else {
            need.add_record(shape);
        }
        Ok(())
    }

    /// Keeps blocks and segments, reclaiming memory if need be.
    fn keep(&mut self, need: Need) -> Result<(), OutOfMemory> {
        let purpose = if need.is_storing {
            Purpose::Write
        } else {
            Purpose::Bound
        };
        self.with_room_for(purpose, |shard| {
            let has_segments = shard.table.keep_segments(need.segment_count());
            (has_segments && shard.log.keep_room(need.log_len_bytes, purpose)).then_some(())
        })
    }
}

impl Need {
    fn add_record(&mut self, shape: Shape) {
        self.log_len_bytes += (shape.len_bytes() + MEMBER_LEN_BYTES) as u64;
    }

    /// Segments for the splits that new keys may need, though each found an empty slot: others may take
    /// that one. Only segments that are nearly full, for want of memory, have buckets without one, and
    /// a split makes room for a quarter of a segment of keys and more.
    fn segment_count(self) -> usize {
        let split_count = self.crowded_count.min(PREPARED_SPLIT_COUNT_MAX)
            + self.fresh_count / (SEGMENT_SLOT_COUNT / 4);
        2 * split_count
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
