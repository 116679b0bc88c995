//! Taking and returning blocks.
//!
//! Both are rare (one for megabytes of writes), so a small mutex guards the lists of what is free
//! (`free`).

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use super::free::{FreeLists, Pending, Preparation, Use};
use super::{BlockIndex, Region};

impl Region {
    /// Takes a block for the log, its bytes arbitrary; `None` when the budget, the reservation or
    /// the disk is used up.
    #[must_use]
    pub fn take_block(&self) -> Option<BlockIndex> {
        self.take(Use::Log)
    }

    /// Takes a block for the index, which is never part of a file; `None` as for
    /// [`take_block`](Self::take_block).
    #[must_use]
    pub fn take_index_block(&self) -> Option<BlockIndex> {
        self.take(self.index_use())
    }

    /// Returns a block of the log that nobody can be reading any more.
    pub fn return_block(&self, block: BlockIndex) {
        self.put_back(block, Use::Log, None);
    }

    /// The same, but its part of the budget stays with a shard, which may take another block for it
    /// ([`take_granted_block`](Self::take_granted_block)): at once, or, if many wait for the disk, when
    /// its return is there.
    pub fn return_block_for(&self, block: BlockIndex, heir: u16) {
        self.put_back(block, Use::Log, Some(heir));
    }

    /// Takes a block for the log for one that `owner` has returned in this way. `None`: there is none
    /// yet, or the disk is full.
    #[must_use]
    pub fn take_granted_block(&self, owner: u16) -> Option<BlockIndex> {
        self.take_paid(Use::Log, Some(owner))
    }

    /// Whether blocks were returned that a later round makes free.
    #[must_use]
    pub fn is_awaiting_round(&self) -> bool {
        !self.lock_free().pending.is_empty()
    }

    /// Returns a block of the index that nobody can be reading any more.
    pub fn return_index_block(&self, block: BlockIndex) {
        self.put_back(block, self.index_use(), None);
    }

    pub(super) const fn index_use(&self) -> Use {
        if self.is_durable() {
            Use::Index
        } else {
            Use::Log
        }
    }

    fn take(&self, kind: Use) -> Option<BlockIndex> {
        if !self.charge(self.block_len_bytes()) {
            // What was found may be more than the budget, and needs an index all the same: that
            // there is room again is for later, when there is somebody to compact and evict.
            if !self.is_recovering() {
                return None;
            }
            self.overdraw(self.block_len_bytes());
        }
        let taken = self.take_paid(kind, None);
        if taken.is_none() {
            self.refund(self.block_len_bytes());
        }
        taken
    }

    /// Takes a block that counts against the budget already, for `heir` if it was granted one. Nobody else
    /// takes those that were, though one without pages costs more: on a disk that is full, or about to be,
    /// there are no others.
    fn take_paid(&self, kind: Use, heir: Option<u16>) -> Option<BlockIndex> {
        let mut free = self.lock_free();
        let others_count = match heir {
            Some(heir) if free.granted[usize::from(heir)] == 0 => return None,
            Some(_) => 0,
            None => free.granted_count(),
        };
        // A full disk takes long to say so; while it is full, only the preparing thread asks it.
        let is_asked =
            kind == Use::Index || free.preparation != Preparation::Running || !self.is_disk_full();
        let list = free.of(kind);
        let is_spare = kind == Use::Index || list.backed_count() > others_count;
        let resident = if is_spare {
            list.resident.pop().or_else(|| list.written.pop())
        } else {
            None
        };
        let untouched = || is_asked.then(|| list.pop_untouched()).flatten();
        let index = resident.or_else(untouched);
        if resident.is_some() {
            free.redeem(heir);
            free.note_taken(kind);
        }
        self.ring(&mut free);
        drop(free);
        let is_there = match (resident, index) {
            (Some(_), _) => true,
            (None, Some(index)) => {
                let is_there = self.back(kind, index);
                if is_there {
                    let mut free = self.lock_free();
                    free.redeem(heir);
                    free.note_taken(kind);
                }
                is_there
            }
            (None, None) => false,
        };
        index.filter(|_| is_there).map(BlockIndex)
    }

    fn put_back(&self, block: BlockIndex, kind: Use, heir: Option<u16>) {
        let is_in_file = kind == Use::Log && self.is_durable();
        if let Some(round) = is_in_file.then(|| self.free_entry(block)).flatten() {
            self.defer(block, round, heir);
            return;
        }
        let mut free = self.lock_free();
        free.grant(heir);
        if free.of(kind).resident.len() < free.resident_max {
            free.of(kind).resident.push(block.0);
            drop(free);
        } else {
            drop(free);
            self.release_block(kind, block.0);
        }
        if heir.is_none() {
            self.refund(self.block_len_bytes());
        }
    }

    /// Keeps a returned block until `round` is durable. A few need not count against the budget
    /// meanwhile.
    fn defer(&self, block: BlockIndex, round: u64, heir: Option<u16>) {
        let mut free = self.lock_free();
        let held_count = free.pending.len() + free.log.backed_count();
        let is_charged = held_count >= free.resident_max;
        if is_charged && heir.is_none() {
            self.owe(self.block_len_bytes());
        }
        free.pending.push_back(Pending {
            block: block.0,
            round,
            is_charged,
            heir,
        });
        if !is_charged {
            free.grant(heir);
        }
        drop(free);
        if !is_charged && heir.is_none() {
            self.refund(self.block_len_bytes());
        }
    }

    /// Makes blocks free whose return is on disk with `round`.
    pub(super) fn release_pending(&self, round: u64) {
        let mut free = self.lock_free();
        let mut charged_count = 0;
        free.note_round(self.prepared_wanted());
        while free
            .pending
            .front()
            .is_some_and(|pending| pending.round <= round)
        {
            let Some(pending) = free.pending.pop_front() else {
                break;
            };
            if pending.is_charged {
                free.grant(pending.heir);
                charged_count += u64::from(pending.heir.is_none());
            }
            free.log.written.push(pending.block);
        }
        self.ring(&mut free);
        let is_prepared = free.preparation == Preparation::Running;
        drop(free);
        self.refund(charged_count * self.block_len_bytes());
        self.settle(charged_count * self.block_len_bytes());
        if !is_prepared {
            self.release_surplus();
        }
    }

    pub(super) fn release_surplus(&self) {
        loop {
            let surplus = self.pop_surplus(&mut self.lock_free());
            let Some(surplus) = surplus else {
                return;
            };
            self.release_block(Use::Log, surplus);
        }
    }

    /// Blocks of a file that was opened: free for use, or when recovery has ended.
    pub(super) fn set_free_blocks(&self, free: Vec<u32>, freed: Vec<u32>) {
        let mut lists = self.lock_free();
        lists.log.fresh = lists.log.end;
        lists.log.released = free;
        // The lowest first: what is in use stays together.
        lists.log.released.reverse();
        lists.pending = freed
            .into_iter()
            .map(|block| Pending {
                block,
                round: u64::MAX,
                is_charged: false,
                heir: None,
            })
            .collect();
    }

    /// Makes blocks free, during recovery, that were found freed and that no start needs to know of: their
    /// return is on disk, and the synced position behind them.
    pub fn release_found(&self, blocks: &BTreeSet<usize>) {
        let mut free = self.lock_free();
        let FreeLists { pending, log, .. } = &mut *free;
        pending.retain(|found| {
            let is_released = blocks.contains(&BlockIndex(found.block).get());
            if is_released {
                log.written.push(found.block);
            }
            !is_released
        });
    }

    /// From now on no block loses its pages when it is returned.
    pub(super) fn keep_all_pages(&self) {
        self.lock_free().resident_max = usize::MAX;
    }

    /// Tells the preparing thread, if there is one, to look again.
    pub(super) fn ring(&self, free: &mut FreeLists) {
        if free.preparation == Preparation::Running {
            free.is_rung = true;
            self.taken.notify_one();
        }
    }

    /// Makes sure of room on disk for a block without pages; puts it back if there is none.
    pub(super) fn back(&self, kind: Use, index: u32) -> bool {
        let is_in_file = kind == Use::Log && self.is_durable();
        let start = self.block_start(BlockIndex(index));
        let is_there = !is_in_file || self.reserve_space(start, self.block_len_bytes());
        if !is_there {
            self.lock_free().of(kind).released.push(index);
        } else if is_in_file {
            self.lock_free().folios.note(index);
        }
        is_there
    }

    pub(super) fn release_block(&self, kind: Use, index: u32) {
        self.release_pages(self.block_start(BlockIndex(index)), self.block_len_bytes());
        self.lock_free().of(kind).released.push(index);
    }

    pub(super) fn lock_free(&self) -> MutexGuard<'_, FreeLists> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MIB, RESIDENT_FREE_BLOCKS_MAX};
    use crate::region::RegionOptions;

    fn region() -> Region {
        Region::anonymous(RegionOptions {
            maxmemory_bytes: 64 * MIB as u64,
            shard_count: 1,
        })
        .expect("a small region")
    }

    /// How many of the blocks that were taken and returned have lost their pages.
    fn released_count(region: &Region) -> usize {
        let take = |_| region.take_block().expect("there is room");
        let blocks: Vec<BlockIndex> = (0..RESIDENT_FREE_BLOCKS_MAX + 4).map(take).collect();
        for block in blocks {
            region.return_block(block);
        }
        region.lock_free().log.released.len()
    }

    #[test]
    fn a_region_that_is_there_from_the_start_keeps_the_pages_of_returned_blocks() {
        assert_eq!(released_count(&region()), 4);
        let mut prefaulted = region();
        prefaulted.prefault().expect("64 MiB");
        assert_eq!(released_count(&prefaulted), 0);
    }

    #[test]
    fn a_locked_region_gives_blocks_back_like_any_other() {
        let mut locked = region();
        locked.refuse_huge_pages();
        // Where nothing may be locked there is nothing to show.
        if locked.lock().is_ok() {
            assert_eq!(released_count(&locked), 4);
        }
    }

    #[test]
    fn a_block_that_was_granted_is_nobody_elses() {
        let region = region();
        let block = region.take_block().expect("there is room");
        // As on a full disk: no block can be had but this one.
        region.lock_free().log.end = 0;
        region.return_block_for(block, 0);
        assert_eq!(region.take_block(), None);
        assert_eq!(region.take_granted_block(0), Some(block));
        assert_eq!(region.take_granted_block(0), None);
        region.return_block(block);
        assert_eq!(region.take_block(), Some(block));
    }
}
