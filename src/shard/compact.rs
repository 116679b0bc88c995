//! Compaction: copies the live records out of the blocks with most dead ones, a little at a time.
//!
//! A victim's records are walked in order, the dead ones passed over by their marks. Live ones are
//! appended to the log like any write and their slots replaced by one store each; then the block
//! waits for its readers and is free.
//!
//! **Pace.** A write that adds n bytes leaves at most n bytes dead, so it owes the walk of n / d
//! bytes in a block of which the share d is dead: then dead bytes do not grow. Writes pay this, in
//! batches large enough to prefetch, while dead bytes exceed what is tolerated (a percentage of
//! everything live and a constant) or the budget is nearly used up. They also free some of what
//! waits in limbo, so memory is bounded even if background work never runs.
//!
//! Greedy choice of the deadest block under uniform overwrites: with 50 % slack a byte written costs half
//! a byte copied, with 25 % one, with 5 % more than two (`examples/budget_figures.rs`).

use crate::hash::KeyHash;
use crate::limits::{
    COMPACTION_DEBT_LEN_BYTES_MIN, GRAVES_DIVISOR, LIMBO_STEP_LEN_BYTES, LOG_SLACK_BLOCKS,
    MEMORY_STEP_NS_MAX,
};
use crate::region::BlockIndex;

use super::record::{Kind, Shape};
use super::slot::Location;
use super::{Probe, Purpose, Retired, Shard};

/// The block being emptied, and what is owed.
#[derive(Debug)]
pub(super) struct Compaction {
    victim: Option<Victim>,
    slack_percent: u32,
    /// Bytes added by writes that have not paid yet.
    debt_bytes: u64,
    /// The same of those for which keys were evicted, if need be, and that have yet to be compacted for.
    arrears_bytes: u64,
    pub(super) copied_bytes: u64,
    pub(super) block_count: u64,
    /// The number of compacted blocks until which everything dead is to go.
    rewrite_until_block_count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) block: BlockIndex,
    /// What of it was dead when it was chosen, in 32nds, 1 at least: what emptying it is worth. Records
    /// that are copied away are dead here as well from then on, and bring nothing.
    worth: u64,
    /// Of the next record to look at, and of the end of the last.
    pub(super) next: u64,
    pub(super) end: u64,
}

/// What a step may cost: the bytes it walks over, and an estimate of its time.
#[derive(Clone, Copy, Debug)]
struct Budget {
    walk_bytes: u64,
    time_ns: u64,
}

/// A record met on the walk.
#[derive(Clone, Copy)]
pub(super) struct Met {
    pub(super) location: Location,
    pub(super) shape: Shape,
    pub(super) hash: KeyHash,
}

/// Records whose buckets are fetched together.
pub(super) const BATCH_COUNT: usize = 16;
/// Estimate of one live record's hash, lookup and accounting, its bucket prefetched.
const RECORD_NS: u64 = 250;
/// Estimate of passing over dead records: bytes in a nanosecond.
const PASSED_BYTES_PER_NS: u64 = 8;
/// Estimate of copying: bytes in a nanosecond.
const COPY_BYTES_PER_NS: u64 = 4;
/// What emptying a block of a sweep is worth at least, in 32nds: its share of graves.
const SWEPT_WORTH: u64 = 32 / GRAVES_DIVISOR;
/// A block of which less than this many 32nds are dead is not worth copying.
const CLASS_MIN: usize = 1;

impl Victim {
    /// A block from the record at `next` to the end of the last.
    pub(super) const fn new(block: BlockIndex, next: u64, end: u64) -> Self {
        Self {
            block,
            worth: 1,
            next,
            end,
        }
    }
}

impl Compaction {
    pub(super) const fn new(slack_percent: u32) -> Self {
        Self {
            victim: None,
            slack_percent,
            debt_bytes: 0,
            arrears_bytes: 0,
            copied_bytes: 0,
            block_count: 0,
            rewrite_until_block_count: 0,
        }
    }

    /// Forgets the victim, whose block is given up with all others.
    pub(super) fn abandon(&mut self) -> Option<BlockIndex> {
        self.debt_bytes = 0;
        self.arrears_bytes = 0;
        self.victim.take().map(|victim| victim.block)
    }
}

impl Shard {
    /// Sets how many dead bytes compaction tolerates, in percent of everything live.
    pub fn set_slack_percent(&mut self, slack_percent: u32) {
        self.compaction.slack_percent = slack_percent;
    }

    /// Asks for every block that is worth it to be compacted in the background, once.
    pub fn compact_all(&mut self) {
        let all = self.region.block_count() as u64;
        self.compaction.rewrite_until_block_count = self.compaction.block_count + all;
    }

    /// Whether blocks are compacted because somebody asked for it.
    #[must_use]
    pub fn is_compacting_all(&self) -> bool {
        self.compaction.block_count < self.compaction.rewrite_until_block_count
    }

    /// Counts what a write has added, and compacts for it when it is due.
    #[inline]
    pub(super) fn pay_for(&mut self, len_bytes: usize) {
        self.compaction.debt_bytes += len_bytes as u64;
        if self.compaction.debt_bytes >= COMPACTION_DEBT_LEN_BYTES_MIN {
            self.pay_debt();
        }
    }

    /// Counts what a write has added, to be paid for by the next that can.
    #[inline]
    pub(super) fn owe(&mut self, len_bytes: usize) {
        self.compaction.debt_bytes += len_bytes as u64;
    }

    #[cold]
    fn pay_debt(&mut self) {
        if self.keeps_room() {
            return;
        }
        let debt_bytes = std::mem::take(&mut self.compaction.debt_bytes);
        let arrears_bytes = std::mem::take(&mut self.compaction.arrears_bytes);
        self.free(LIMBO_STEP_LEN_BYTES);
        self.ask_for_a_round();
        self.evict_ahead(debt_bytes * 5 / 4, MEMORY_STEP_NS_MAX);
        self.retire_dead_block();
        if !self.should_compact() || !self.has_victim() {
            self.pause_for_disk();
            return;
        }
        let victim = self.compaction.victim.expect("has_victim has chosen one");
        // A quarter more than is owed: what was above the limit comes down.
        let walk_bytes = (debt_bytes + arrears_bytes) * 40 / victim.worth;
        let left = self.compact(Budget {
            walk_bytes,
            time_ns: MEMORY_STEP_NS_MAX,
        });
        self.compaction.arrears_bytes = left.walk_bytes * victim.worth / 40;
        self.pause_for_disk();
    }

    /// Compacts while more is dead than is tolerated; true when it should go on.
    pub(super) fn compact_in_background(&mut self, budget_bytes: u64) -> bool {
        if !self.should_compact() {
            return false;
        }
        let left = self.compact(Budget {
            walk_bytes: budget_bytes,
            time_ns: MEMORY_STEP_NS_MAX,
        });
        let has_stopped_early = left.walk_bytes > 0 && left.time_ns > 0;
        !has_stopped_early && self.should_compact()
    }

    /// Gives up a block without live records when memory is short of what eviction keeps free: that
    /// costs nothing, so it does not wait until enough else is dead.
    pub(super) fn retire_dead_block(&mut self) {
        if self.is_evicting()
            && self.is_short_of_memory()
            && let Some(block) = self.log.take_dead()
        {
            self.compaction.block_count += 1;
            self.log.retire(block);
            self.give_up(Retired::Block(block));
        }
    }

    /// Empties one block, whatever it takes; false when none is dead enough or there is no room for
    /// its live records.
    pub(super) fn compact_block(&mut self) -> bool {
        let block_count = self.compaction.block_count;
        let whole = self.region.block_len_bytes() + 1;
        while self.compaction.block_count == block_count {
            if !self.has_victim() {
                return false;
            }
            let left = self.compact_batch(Budget {
                walk_bytes: whole,
                time_ns: u64::MAX,
            });
            if left.is_none() {
                return false;
            }
        }
        true
    }

    /// Whether more is dead than is tolerated, or memory is nearly used up.
    fn should_compact(&mut self) -> bool {
        let live_bytes =
            self.log.live_bytes() + self.table.live_len_bytes() + self.large.committed_bytes();
        let block_bytes = self.region.block_len_bytes() * LOG_SLACK_BLOCKS;
        let tolerated_bytes =
            live_bytes / 100 * u64::from(self.compaction.slack_percent) + block_bytes;
        let is_much_dead = self.log.dead_bytes() > tolerated_bytes
            || self.is_sweeping()
            || self.is_compacting_all();
        if self.is_evicting() {
            return is_much_dead || self.is_short_of_memory() && self.has_enough_dead();
        }
        is_much_dead
            || self.region.expected_bytes() < block_bytes * self.region.shard_count() as u64
    }

    /// Whether graves are too many and a block that may hold the sweep up is being emptied, or can be.
    fn is_sweeping(&mut self) -> bool {
        self.log.has_many_graves() && (self.compaction.victim.is_some() || self.log.has_sweep())
    }

    /// Chooses a victim unless there is one.
    fn has_victim(&mut self) -> bool {
        if self.compaction.victim.is_none() {
            let swept = self.log.take_swept();
            let worth_min = swept.map_or(CLASS_MIN as u64, |_| SWEPT_WORTH);
            let victim = swept.or_else(|| self.log.take_victim(CLASS_MIN));
            self.compaction.victim = victim.map(|block| {
                let (next, end) = self.log.extent_of(block);
                Victim {
                    block,
                    worth: self.log.deadness(block).max(worth_min),
                    next,
                    end,
                }
            });
        }
        if self.compaction.victim.is_none() {
            self.compaction.rewrite_until_block_count = 0;
        }
        self.compaction.victim.is_some()
    }

    /// Works until the budget is used up or nothing is left to do; returns what is left of it.
    fn compact(&mut self, mut budget: Budget) -> Budget {
        while budget.walk_bytes > 0 && budget.time_ns > 0 && self.has_victim() {
            match self.compact_batch(budget) {
                Some(left) => budget = left,
                None => break,
            }
        }
        budget
    }

    /// One batch of the victim's records. `None`: there is no room for a live one.
    fn compact_batch(&mut self, mut budget: Budget) -> Option<Budget> {
        let victim = self.compaction.victim.expect("chosen by the caller");
        if victim.next == victim.end || self.log.is_dead(victim.block) {
            self.finish_victim(victim);
            return Some(budget);
        }
        let mut batch = [None; BATCH_COUNT];
        let next = self.meet(victim, budget.walk_bytes, &mut batch);
        let walked_bytes = next - victim.next;
        let mut spent_ns = walked_bytes / PASSED_BYTES_PER_NS;
        let mut reached = next;
        for met in batch.into_iter().flatten() {
            if self.move_record(victim.block, met).is_none() {
                reached = met.location.offset();
                break;
            }
            spent_ns += RECORD_NS + met.shape.len_bytes() as u64 / COPY_BYTES_PER_NS;
        }
        self.compaction.victim = Some(Victim {
            next: reached,
            ..victim
        });
        self.pace.toil(spent_ns);
        budget.walk_bytes = budget.walk_bytes.saturating_sub(walked_bytes);
        budget.time_ns = budget.time_ns.saturating_sub(spent_ns);
        (reached == next).then_some(budget)
    }

    /// Walks on until `batch` is full of live records, the block ends, or enough was walked over;
    /// begins to fetch their buckets. Returns where it stopped.
    pub(super) fn meet(&self, victim: Victim, walk_bytes: u64, batch: &mut [Option<Met>]) -> u64 {
        let mut next = victim.next;
        let end = victim.end.min(next.saturating_add(walk_bytes));
        let mut room = batch.iter_mut();
        while next < end {
            let location = Location::from_offset(next);
            let record = self.log.record(location);
            let shape = record.shape();
            if !self.log.is_record_dead(victim.block, location, shape.kind) {
                let Some(met) = room.next() else {
                    break;
                };
                let hash = self.hasher.hash(record.key());
                self.table.prefetch(hash);
                *met = Some(Met {
                    location,
                    shape,
                    hash,
                });
            }
            next += shape.len_bytes() as u64;
        }
        next
    }

    /// Copies a live record to the tail; `None`: there is no room for it.
    fn move_record(&mut self, block: BlockIndex, met: Met) -> Option<()> {
        if met.shape.kind.is_grave() {
            return self.move_grave(block, met);
        }
        let place = self
            .table
            .find_location(met.hash, met.location)
            .expect("a record that is not marked dead has a slot");
        let copy = self.copy_record(met)?;
        let slot = self.table.slot(place).moved_to(copy);
        self.table.replace(place, slot);
        self.log.kill(met.location, met.shape.len_bytes());
        Some(())
    }

    /// Copies a grave to the tail if what it hides may still be there.
    fn move_grave(&mut self, block: BlockIndex, met: Met) -> Option<()> {
        let record = self.log.record(met.location);
        let last = self.log.last_hidden_by(met.location);
        let is_hidden = met.shape.kind == Kind::TOMBSTONE && {
            let is_key = |location| self.log.record(location).has_key(record.key());
            self.table.find(Probe::of(met.hash), is_key).is_some()
        };
        if !is_hidden && self.log.is_grave_needed(last, block) {
            self.copy_record(met)?;
        }
        self.log.kill_grave(met.location, met.shape.len_bytes());
        Some(())
    }

    fn copy_record(&mut self, met: Met) -> Option<Location> {
        let len_bytes = met.shape.body_len_bytes();
        let reserved = self.log.reserve(len_bytes, Purpose::Compact)?;
        let (record, target) = self.log.fill_from(met.location, &reserved);
        record.copy_to(target);
        self.log.complete_copy(met.location, &reserved);
        self.compaction.copied_bytes += len_bytes as u64;
        Some(reserved.location)
    }

    fn finish_victim(&mut self, victim: Victim) {
        self.compaction.victim = None;
        self.compaction.block_count += 1;
        self.log.retire(victim.block);
        self.give_up(Retired::Block(victim.block));
    }
}
