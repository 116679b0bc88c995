//! Memory coming back: limbo, background work, and what a write does when there is none left.
//!
//! Background work runs between turns with a budget and does, in this order: free what no reader
//! can be in, find what FLUSHALL left, complete the reserve, compact, merge segments.
//!
//! A write that finds no memory takes steps until there is some, each time the first of these that does
//! anything; it fails when none does.
//!
//! ```text
//!   free what limbo holds ─► evict about a block ─► empty a block ─► wait for readers and the disk
//! ```

use crate::atomic::note_write;
use crate::limits::{
    BUCKET_SLOT_COUNT, EMERGENCY_COMPACTION_BLOCKS_MAX, EVICTING_COMPACTION_BLOCKS_MAX,
    LARGE_STEP_LEN_BYTES, MEMORY_STEP_NS_MAX, SEGMENT_SLOT_COUNT,
};

use super::wait::Wait;
use super::{OutOfMemory, Purpose, Retired, Shard};

/// What freeing something small counts as: some cache lines are touched.
const SMALL_COST_BYTES: u64 = 4096;
/// Segments of a detached directory returned at a time.
const DETACHED_STEP_COUNT: usize = 64;
/// Runs looked at per step for those that FLUSHALL left.
const SWEEP_STEP_COUNT: usize = 256;
/// Directory entries looked at per step for segments to merge.
const MERGE_STEP_COUNT: usize = 64;
/// Part of the memory that is left which may wait for the disk before a round is asked for.
const ROUND_WANTED_DIVISOR: u64 = 4;
/// How often what a write wants to be on its way doubles: then it is more than any budget.
const WANTED_DOUBLINGS_MAX: u32 = 24;

/// What a write has done for its room, and may still do.
#[derive(Debug)]
struct Effort {
    compaction_count_left: usize,
    wait: Wait,
}

impl Shard {
    /// Does up to about `budget_bytes` of work that nobody waits for; true when more is left. What
    /// waits for the disk is not: a round comes first.
    pub fn background(&mut self, budget_bytes: usize) -> bool {
        if self.keeps_room() {
            return false;
        }
        let left_bytes = self.free(budget_bytes as u64);
        self.ask_for_a_round();
        self.sweep();
        self.log.refill_reserve();
        let is_evicting = self.evict_ahead(left_bytes, MEMORY_STEP_NS_MAX);
        self.retire_dead_block();
        let is_compacting = self.compact_in_background(left_bytes);
        let is_merging = self.merge_step();
        let is_draining = self.limbo.is_draining(&self.region, self.id);
        is_draining || self.large.is_sweeping() || is_evicting || is_compacting || is_merging
    }

    /// Frees what waits in limbo, as far as the budget goes and readers allow; returns what is left
    /// of the budget.
    pub(super) fn free(&mut self, mut budget_bytes: u64) -> u64 {
        while budget_bytes > 0 {
            match self.free_step(budget_bytes.min(LARGE_STEP_LEN_BYTES)) {
                Some(cost_bytes) => budget_bytes = budget_bytes.saturating_sub(cost_bytes),
                None => break,
            }
        }
        budget_bytes
    }

    /// Tries until `attempt` succeeds, reclaiming memory in between.
    pub(super) fn with_room<T>(
        &mut self,
        attempt: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, OutOfMemory> {
        self.with_room_for(Purpose::Write, attempt)
    }

    /// The same for what may have to wait longer.
    #[cold]
    pub(super) fn with_room_for<T>(
        &mut self,
        purpose: Purpose,
        mut attempt: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, OutOfMemory> {
        if let Some(done) = attempt(self) {
            return Ok(done);
        }
        if self.keeps_room() {
            // What it was kept for would have succeeded, so that is done.
            self.release_room();
            if let Some(done) = attempt(self) {
                return Ok(done);
            }
        }
        self.emergency_count += 1;
        let mut effort = Effort {
            compaction_count_left: EMERGENCY_COMPACTION_BLOCKS_MAX,
            wait: Wait::of(purpose, self.is_evicting()),
        };
        while self.reclaim(&mut effort) {
            if let Some(done) = attempt(self) {
                return Ok(done);
            }
        }
        self.out_of_memory_count += 1;
        Err(OutOfMemory::of(&self.region))
    }

    /// One step towards more memory, the cheapest that there is; false: there is none.
    fn reclaim(&mut self, effort: &mut Effort) -> bool {
        if self.free_step(LARGE_STEP_LEN_BYTES).is_some() || self.sweep() {
            return true;
        }
        if self.region.owed_bytes() < self.wanted_bytes(effort) {
            if self.evict_for_room() {
                effort.compaction_count_left = EVICTING_COMPACTION_BLOCKS_MAX;
                return true;
            }
            if effort.compaction_count_left > 0 && self.compact_block() {
                effort.compaction_count_left -= 1;
                return true;
            }
        }
        if !self.is_owed() {
            return false;
        }
        // Another core that is in the middle of a turn may be waiting for this one as well; here nothing
        // of its keys is in use.
        self.region.epochs().renew(self.id);
        effort.wait.goes_on(&self.region, &mut self.limbo)
    }

    /// What is to be on its way before a write waits: twice as much after each round that did not bring
    /// enough.
    fn wanted_bytes(&self, effort: &Effort) -> u64 {
        (self.headroom_bytes() / 2) << effort.wait.round_count().min(WANTED_DOUBLINGS_MAX)
    }

    /// Evicts about a block's worth, unless compaction has enough to do; false: do something else.
    fn evict_for_room(&mut self) -> bool {
        self.is_evicting()
            && !self.has_enough_dead()
            && self.evict(self.region.block_len_bytes(), u64::MAX)
    }

    /// Whether memory will come back without anything being done here.
    pub(super) fn is_owed(&self) -> bool {
        let is_owed = self.limbo.len() > 0
            || self.log.has_unsettled()
            || self.log.is_owed_a_block()
            || self.region.owed_bytes() > 0
            || self.region.is_awaiting_round();
        // Nobody runs rounds while the shards are being recovered.
        is_owed && !self.region.is_recovering()
    }

    /// Asks for a round when what waits for the disk is much of the memory that is left.
    pub(super) fn ask_for_a_round(&self) {
        let waiting_bytes = self.limbo.stored_bytes();
        // In anonymous memory nothing waits.
        if waiting_bytes > 0 && waiting_bytes > self.region.available_bytes() / ROUND_WANTED_DIVISOR
        {
            let rounds = self.region.rounds();
            rounds.request(rounds.needed());
        }
    }

    /// Puts what lies in blocks or runs into limbo.
    pub(super) fn give_up(&mut self, retired: Retired) {
        if self.log.is_durable() {
            let position = self.log.position();
            self.limbo.push_stored(&self.region, position, retired);
        } else {
            self.limbo.push(&self.region, retired);
        }
    }

    /// Frees a part of what waits in limbo, about `budget_bytes` of it; returns how much, or `None`
    /// when nothing there is free of readers.
    fn free_step(&mut self, budget_bytes: u64) -> Option<u64> {
        let (epoch, retired) = self.limbo.pop_free(&self.region, self.id)?;
        let mut cost_bytes = SMALL_COST_BYTES;
        let rest = match retired {
            Retired::Block(block) => {
                self.log.recycle(block);
                cost_bytes = self.region.block_len_bytes() / 8;
                None
            }
            Retired::Chain(first, block_count) => {
                cost_bytes = self.region.block_len_bytes() / 8;
                let rest = self.log.recycle_chain(first);
                rest.map(|next| Retired::Chain(next, block_count - 1))
            }
            Retired::Segment(segment) => {
                self.table.return_segment(segment);
                None
            }
            Retired::Directory(directory) => {
                note_write(directory.as_ptr().cast(), size_of_val(&*directory));
                drop(directory);
                None
            }
            Retired::Index(directory, start) => {
                cost_bytes = self.region.block_len_bytes();
                let rest = self
                    .table
                    .return_detached(&directory, start, DETACHED_STEP_COUNT);
                rest.map(|start| Retired::Index(directory, start))
            }
            Retired::Extent(extent) => {
                cost_bytes = budget_bytes;
                self.large
                    .release(extent, budget_bytes)
                    .map(Retired::Extent)
            }
        };
        if let Some(rest) = rest {
            self.limbo.put_back(&self.region, epoch, rest);
        }
        Some(cost_bytes)
    }

    /// Looks for large values that FLUSHALL left; true when there was something to look at.
    fn sweep(&mut self) -> bool {
        let was_sweeping = self.large.is_sweeping();
        if let Some(extent) = self.large.sweep(SWEEP_STEP_COUNT) {
            self.give_up(Retired::Extent(extent));
        }
        was_sweeping
    }

    /// Looks at some segments for neighbours to merge; true when the search should go on.
    fn merge_step(&mut self) -> bool {
        if self.removals < SEGMENT_SLOT_COUNT as u64 / BUCKET_SLOT_COUNT as u64 {
            return false;
        }
        let entry_count = 1usize << self.table.depth();
        for _ in 0..MERGE_STEP_COUNT {
            if self.merge_at >= entry_count {
                self.merge_at = 0;
                self.removals = 0;
                return false;
            }
            let entry = self.table.entry_at(self.merge_at);
            if self.table.merge(self.merge_at, &mut self.limbo) {
                // The pair may be half of another pair now.
                self.merge_at &= !((1 << (self.table.depth() - entry.depth() + 2)) - 1);
                return true;
            }
            let width = 1 << (self.table.depth() - entry.depth());
            self.merge_at = (self.merge_at & !(width - 1)) + width;
        }
        true
    }
}
