//! The region as a file: opening, rounds, the life of a block on disk, an orderly end.
//!
//! **A block's life.** Its entry is written when it becomes part of a log, and rewritten when all it
//! held is dead or copied. It may be used again only when that is on disk, and the superblock on disk
//! says that its log goes on beyond it:
//!
//! ```text
//!   free ── take ──► taken ── assign ──► used ── return, round N needed ──► freed ── round N ──► free
//! ```
//!
//! So whatever is on disk after a power loss, the log of a shard has no gap where blocks were used
//! again: each such block had a sequence before the synced position.
//!
//! **Recovery.** Until [`Region::finish_recovery`] superblocks repeat what was found, whatever the
//! shards publish, and blocks that were found freed stay so: a crash in the middle of it finds what
//! this start found.
//!
//! Not here: what can be wrong with a file (`file`), rounds and positions (`rounds`), and when a
//! thing is safe to return (`shard::limbo`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::census::Census;
use super::entry::{BlockSeal, Entry};
use super::file::{Access, DataFile, Found};
use super::plan::{Plan, host_capacity_bytes};
use super::rounds::Vectors;
use super::superblock::{GENERATION_COUNT_MAX, Generation, Superblock};
use super::{BlockIndex, Region, RegionOptions};
use crate::atomic::{AtomicBool, Ordering};
use crate::error::Error;
use crate::limits::PAGE_LEN_BYTES;
use crate::sys::{self, Sharing};

/// What a file is opened for.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// The budget and the shards.
    pub region: RegionOptions,
    /// What may be done to it.
    pub access: Access,
    /// Bytes that `maxmemory` can be raised to, at least; `None`: the host's memory.
    pub capacity_bytes: Option<u64>,
    /// What a new file's checks and seals are mixed with; `None`: a random number.
    pub secret: Option<u64>,
    /// Called before each sync of the file with false, and after it with true: for tests, which look at
    /// what a power loss would leave.
    pub on_sync: Option<fn(bool)>,
}

/// Zeros written at a time: a page.
#[expect(clippy::cast_possible_truncation, reason = "a page")]
const BLANK_LEN_BYTES: usize = PAGE_LEN_BYTES as usize;

/// What makes a region durable.
#[derive(Debug)]
pub(super) struct Durable {
    data: DataFile,
    secret: u64,
    state: Mutex<State>,
    is_disk_full: AtomicBool,
    is_recovering: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// As it was written last.
    superblock: Superblock,
    vectors: Vectors,
    /// Above the sequences of all blocks that were found.
    next_sequence: u64,
}

impl FileOptions {
    /// For a file as the host suggests.
    #[must_use]
    pub const fn new(region: RegionOptions, access: Access) -> Self {
        Self {
            region,
            access,
            capacity_bytes: None,
            secret: None,
            on_sync: None,
        }
    }

    pub(super) fn capacity_bytes(self) -> u64 {
        self.capacity_bytes
            .unwrap_or_else(|| host_capacity_bytes(self.region))
    }
}

impl Region {
    /// The region in the file of a directory, which is made if there is none. The blocks that were
    /// found belong to whoever recovers; [`finish_recovery`](Self::finish_recovery) comes next.
    ///
    /// # Errors
    /// The table in `region::file`: no such directory, one that is in use, a file that is foreign, of
    /// another version or damaged; or a budget or number of shards that the file does not allow.
    pub fn open(dir: &Path, options: FileOptions) -> Result<(Self, Found), Error> {
        let (data, superblock, found) = DataFile::open(dir, options)?;
        Self::over(data, superblock, found, options)
    }

    /// The region in the file of a directory that nobody serves, to be looked at only: with the shards
    /// that the file has and a budget for all that can be in it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn inspect(dir: &Path) -> Result<(Self, Found), Error> {
        let region = RegionOptions {
            maxmemory_bytes: 0,
            shard_count: 1,
        };
        let mut options = FileOptions::new(region, Access::Inspect);
        let (data, superblock, found) = DataFile::open(dir, options)?;
        options.region = RegionOptions {
            maxmemory_bytes: superblock.geometry.log_len_bytes(),
            shard_count: superblock.generation().shard_count,
        };
        Self::over(data, superblock, found, options)
    }

    /// The region in an open file.
    fn over(
        data: DataFile,
        superblock: Superblock,
        mut found: Found,
        options: FileOptions,
    ) -> Result<(Self, Found), Error> {
        let plan = Plan::for_file(
            superblock.geometry,
            options.region,
            options.capacity_bytes(),
        )?;
        let mut region = Self::new(plan, options.region, true)?;
        region
            .map_file(&data.file, data.access.sharing())
            .map_err(|error| data.cannot("map", &error))?;
        let secret = superblock.secret;
        let census = Census::take(&superblock, plan.first_block, |block| {
            region.entry_word(block)
        });
        let next_sequence = census.next_sequence;
        region.overdraw(census.held_count() * plan.block_len_bytes);
        region.set_free_blocks(census.free, census.freed);
        found.blocks = census.blocks;
        found.bad_entries = census.bad;
        let has_shards = superblock.generation().shard_count == options.region.shard_count;
        let vectors = if has_shards {
            Vectors::settled_at(superblock.synced.clone(), superblock.settled.clone())
        } else {
            Vectors::settled_at(
                vec![0; options.region.shard_count],
                vec![0; options.region.shard_count],
            )
        };
        region.rounds.resume(superblock.round, &vectors);
        region.durable = Some(Durable {
            data,
            secret,
            state: Mutex::new(State {
                superblock,
                vectors,
                next_sequence,
            }),
            is_disk_full: AtomicBool::new(false),
            is_recovering: AtomicBool::new(true),
        });
        if !found.is_new && options.access != Access::Inspect {
            region.take_over(&found)?;
        }
        Ok((region, found))
    }

    /// Ends recovery: everything the shards have published is what a later recovery will take as it
    /// is. If their number differs from the last generation's, the next one begins, and each shard's
    /// first block has the sequence that this returns; else 0.
    ///
    /// Each shard of an old generation has published where its next block will begin, so that sequences
    /// that were lost with a crash are no gap.
    ///
    /// # Errors
    /// What the kernel says; nothing may be served then.
    pub fn finish_recovery(&self) -> io::Result<u64> {
        let Some(durable) = &self.durable else {
            return Ok(0);
        };
        // What recovery has cut off and made void, before any superblock says so.
        let round = self.sync()?;
        let mut state = durable.lock();
        let mut first_sequence = 0;
        let newest = state.superblock.generation();
        if newest.shard_count != self.shard_count() {
            if state.superblock.generations.len() == GENERATION_COUNT_MAX {
                return Err(io::Error::other(
                    "the number of shards was changed too often before the last change was done",
                ));
            }
            first_sequence = state.next_sequence;
            state.superblock.generations.push(Generation {
                number: newest.number + 1,
                shard_count: self.shard_count(),
                first_sequence,
            });
            self.rounds.begin_all_at(first_sequence << self.block_shift);
        }
        let positions = self.rounds.positions();
        let vectors = Vectors::settled_at(positions.clone(), positions);
        durable.is_recovering.store(false, Ordering::Relaxed);
        durable.write_superblock(&mut state, &vectors, round, false)?;
        durable.data.sync()?;
        self.rounds.resume(round, &vectors);
        state.vectors = vectors;
        drop(state);
        self.release_pending(u64::MAX);
        Ok(first_sequence)
    }

    /// Runs a round: when this returns, all that was done before it was called is on disk. Returns
    /// the round's number; 0 in memory.
    ///
    /// # Errors
    /// What the kernel says. What was not synced may be lost then, whatever a later round says.
    pub fn sync(&self) -> io::Result<u64> {
        let Some(durable) = &self.durable else {
            return Ok(0);
        };
        let mut state = durable.lock();
        let mut vectors = std::mem::take(&mut state.vectors);
        let began = self.rounds.begin(&vectors);
        let round = began.round;
        durable.write_superblock(&mut state, &vectors, round - 1, false)?;
        durable.data.sync()?;
        self.rounds.complete(began, &mut vectors);
        state.vectors = vectors;
        drop(state);
        if !self.is_recovering() {
            self.release_pending(round);
        }
        Ok(round)
    }

    /// Whether a round would bring anything about: make durable what is not, settle what is durable, or
    /// free what was returned.
    #[must_use]
    pub fn wants_round(&self) -> bool {
        let has_more = || self.rounds.is_settling() || self.is_awaiting_round();
        self.rounds.has_changes() || self.is_durable() && !self.is_recovering() && has_more()
    }

    /// The last round, after the last change: marks the file as complete, which the next start need
    /// not check. With a transaction still open the file is as after a crash, so that nothing of it
    /// counts. Does nothing in memory or before recovery has ended.
    ///
    /// # Errors
    /// What the kernel says; the next start will then recover as from a crash.
    pub fn close_clean(&self) -> io::Result<()> {
        let round = self.sync()?;
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let mut state = durable.lock();
        if self.is_recovering() || self.rounds.has_open_transaction() {
            return Ok(());
        }
        let synced = state.vectors.synced.clone();
        let vectors = Vectors::settled_at(synced.clone(), synced);
        durable.write_superblock(&mut state, &vectors, round, true)?;
        durable.data.sync()
    }

    /// Whether what was found is not yet what is served.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| durable.is_recovering.load(Ordering::Relaxed))
    }

    /// Whether the last attempt to take space found the disk full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| durable.is_disk_full.load(Ordering::Relaxed))
    }

    /// Names the next block of a log: its first byte is position `sequence` times the length of a
    /// block. Sequences of an owner only grow, and none is left out. In memory nothing is noted.
    pub fn assign_block(&self, block: BlockIndex, owner: u16, sequence: u64) {
        assert!(usize::from(owner) < self.shard_count());
        self.set_entry(block, Entry::Used { owner, sequence });
    }

    /// The place in its owner's log of a block that is assigned to one; 0 of others and in memory.
    #[must_use]
    pub fn sequence_of(&self, block: BlockIndex) -> u64 {
        match self.entry(block) {
            Some(Entry::Used { sequence, .. } | Entry::Freed { sequence, .. }) => sequence,
            Some(Entry::Free) | None => 0,
        }
    }

    /// What the checksums of the records in an assigned block are mixed with.
    #[must_use]
    pub fn block_seal(&self, block: BlockIndex) -> BlockSeal {
        let secret = self.durable.as_ref().map_or(0, |durable| durable.secret);
        match self.entry(block) {
            Some(Entry::Used { owner, sequence } | Entry::Freed { owner, sequence }) => {
                BlockSeal::new(secret, owner, sequence)
            }
            Some(Entry::Free) | None => BlockSeal::new(secret, 0, 0),
        }
    }

    /// The position in its owner's log of an offset in an assigned block.
    #[must_use]
    pub fn position_of(&self, offset: u64) -> u64 {
        let within = offset & (self.block_len_bytes() - 1);
        self.sequence_of(self.block_of(offset)) << self.block_shift | within
    }

    /// Reads a block from disk ahead of its use.
    pub fn preload_block(&self, block: BlockIndex) {
        let start = self.reservation_offset(self.block_start(block));
        self.reservation
            .preload(start, super::to_usize(self.block_len_bytes()));
    }

    /// Counts pages of a large value that was found, whether or not the budget allows it.
    pub fn adopt_large(&self, len_bytes: u64) {
        self.overdraw(len_bytes);
    }

    /// Makes a part of the large area that no value uses read as zero, after recovery.
    pub fn clear_large(&self, offset: u64, len_bytes: u64) {
        assert!(self.is_large(offset));
        self.release_pages(offset, len_bytes);
    }

    /// Makes sure that the disk has room for a part of the file. False: it has not.
    pub(super) fn reserve_space(&self, offset: u64, len_bytes: u64) -> bool {
        let Some(durable) = &self.durable else {
            return true;
        };
        let is_there = durable.data.access == Access::Inspect
            || sys::allocate(&durable.data.file, offset, len_bytes).is_ok();
        self.note_space(is_there);
        is_there
    }

    /// Notes whether the disk had room for what was taken last.
    pub(super) fn note_space(&self, is_there: bool) {
        if let Some(durable) = &self.durable {
            durable.is_disk_full.store(!is_there, Ordering::Relaxed);
        }
    }

    /// Gives room on disk back. False: nothing changed.
    pub(super) fn punch(&self, offset: u64, len_bytes: u64) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| {
            durable.data.access != Access::Inspect
                && sys::punch(&durable.data.file, offset, len_bytes).is_ok()
        })
    }

    /// Writes zeros where room on disk cannot be given back. Through the file: addresses of the large
    /// area may show other parts of it.
    /// False: the file cannot be written.
    pub(super) fn blank(&self, offset: u64, len_bytes: u64) -> bool {
        let zeros = [0; BLANK_LEN_BYTES];
        let mut pages = (offset..offset + len_bytes).step_by(BLANK_LEN_BYTES);
        let write = |durable: &Durable, page| durable.data.file.write_all_at(&zeros, page);
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| pages.all(|page| write(durable, page).is_ok()))
    }

    /// The file behind the region, and how it is mapped.
    pub(super) fn backing(&self) -> Option<(&File, Sharing)> {
        let data = &self.durable.as_ref()?.data;
        Some((&data.file, data.access.sharing()))
    }

    /// Marks a block as one that holds nothing any more. Returns the round that makes this certain,
    /// or `None` if it can be used at once because no log has had it since it was taken.
    pub(super) fn free_entry(&self, block: BlockIndex) -> Option<u64> {
        match self.entry(block) {
            // Taken again after the round that made its last return certain, and not used since.
            Some(Entry::Free | Entry::Freed { .. }) => None,
            Some(Entry::Used { owner, sequence }) => {
                self.set_entry(block, Entry::Freed { owner, sequence });
                Some(self.rounds.needed())
            }
            None => {
                // Damaged, and given up by whoever salvages: what it holds may carry any sequence.
                self.release_pages(self.block_start(block), self.block_len_bytes());
                self.set_entry(block, Entry::Free);
                None
            }
        }
    }

    fn entry(&self, block: BlockIndex) -> Option<Entry> {
        let Some(durable) = &self.durable else {
            return Some(Entry::Free);
        };
        Entry::load(self.entry_word(block), block, durable.secret)
    }

    fn set_entry(&self, block: BlockIndex, entry: Entry) {
        if let Some(durable) = &self.durable {
            entry.store(self.entry_word(block), block, durable.secret);
        }
    }

    /// Makes the file this process's: no longer marked as complete, and zero where it is free.
    fn take_over(&self, found: &Found) -> Result<(), Error> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let taken = || -> io::Result<()> {
            let mut state = durable.lock();
            state.superblock.forget_generations_without(found);
            // What was freed must be so on disk before its bytes go, and those must be gone before
            // anything is written there.
            durable.repeat_superblock(&mut state)?;
            durable.data.sync()?;
            self.punch_free_blocks(found)?;
            durable.repeat_superblock(&mut state)?;
            durable.data.sync()
        };
        taken().map_err(|error| durable.data.cannot("write", &error))
    }

    fn punch_free_blocks(&self, found: &Found) -> io::Result<()> {
        let held = found
            .blocks
            .iter()
            .filter(|found| !found.is_freed)
            .map(|found| found.block)
            .chain(found.bad_entries.iter().map(|bad| bad.block));
        let mut ends: Vec<u32> = held.map(|block| block.0).collect();
        ends.push(self.plan.block_count);
        ends.sort_unstable();
        let mut start = self.plan.first_block;
        for end in ends {
            if start < end {
                let len_bytes = u64::from(end - start) * self.block_len_bytes();
                let Some(durable) = &self.durable else {
                    return Ok(());
                };
                sys::punch(
                    &durable.data.file,
                    self.block_start(BlockIndex(start)),
                    len_bytes,
                )?;
            }
            start = end + 1;
        }
        Ok(())
    }
}

impl Superblock {
    /// Drops generations, but the last, that no block belongs to any more.
    fn forget_generations_without(&mut self, found: &Found) {
        let newest = self.generation().number;
        let held = found.blocks.iter().filter(|found| !found.is_freed);
        let numbers: BTreeSet<u32> = held
            .filter_map(|found| self.generation_of(found.sequence))
            .map(|generation| generation.number)
            .chain([newest])
            .collect();
        self.generations
            .retain(|generation| numbers.contains(&generation.number));
    }
}

impl Durable {
    /// Writes the next superblock; during recovery, with the positions that were found.
    fn write_superblock(
        &self,
        state: &mut State,
        vectors: &Vectors,
        round: u64,
        is_clean: bool,
    ) -> io::Result<()> {
        if !self.is_recovering.load(Ordering::Relaxed) {
            state.superblock.synced.clone_from(&vectors.synced);
            state.superblock.settled.clone_from(&vectors.settled);
            state.superblock.round = round;
        }
        state.superblock.is_clean = is_clean;
        state.superblock.serial += 1;
        self.put_superblock(state)
    }

    /// Writes what is known once more, without the mark of an orderly end.
    fn repeat_superblock(&self, state: &mut State) -> io::Result<()> {
        state.superblock.is_clean = false;
        state.superblock.serial += 1;
        self.put_superblock(state)
    }

    fn put_superblock(&self, state: &State) -> io::Result<()> {
        match self.data.access {
            Access::Inspect => Ok(()),
            Access::Serve | Access::Salvage => self.data.write_superblock(&state.superblock),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
