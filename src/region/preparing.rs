//! The thread that makes free blocks ready, so that no core waits for the kernel in the middle of a turn.
//!
//! The first touch of a huge page makes the kernel clear it: 0.1 ms, and on a virtual machine whose host has
//! to find the memory first, 5 ms. So a thread of its own can keep a few blocks ready
//! ([`Region::prepare_blocks`]). In a file a round makes every page read-only once more, so where rounds
//! are rare it does the same again for blocks that one has written. Of those that come back it keeps as
//! many as are likely to be taken soon (`demand`), cached as suits what is written (`folios`).

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::free::{FreeLists, Preparation, Use};
use super::{BlockIndex, Region, to_usize};
use crate::limits::{PREPARED_BLOCKS_MAX, PREPARED_BLOCKS_MIN};

/// The pace at which a preparing thread gives blocks back to the kernel. For one of a file that is about
/// half a millisecond in which no page fault of the file is served, so it must not come to many in a row.
const SURPLUS_BLOCK_INTERVAL: Duration = Duration::from_millis(5);

impl Region {
    /// Keeps some free blocks backed by pages, and gives those back that are too many, until
    /// [`stop_preparing`](Self::stop_preparing). Meant for a thread of its own, with microseconds on a
    /// clock that never goes back; without one, blocks get their pages where they are first used.
    pub fn prepare_blocks(&self, now_us: impl Fn() -> u64) {
        let mut free = self.lock_free();
        if free.preparation == Preparation::Idle {
            free.preparation = Preparation::Running;
        }
        while free.preparation == Preparation::Running {
            free.demand.look(now_us());
            free = self.suit_folios(free);
            if let Some((kind, index, is_backed)) = self.pop_wanted(&mut free) {
                drop(free);
                let is_done = self.prepare_block(kind, index, is_backed);
                free = self.lock_free();
                if is_done {
                    continue;
                }
                free = self.wait_for_ring(free, Duration::MAX);
            } else if let Some(index) = self.pop_surplus(&mut free) {
                drop(free);
                self.release_block(Use::Log, index);
                free = self.wait_for_ring(self.lock_free(), SURPLUS_BLOCK_INTERVAL);
            } else if let Some(index) = free.pop_unsuited() {
                drop(free);
                self.suit_block(index);
                self.cache_pages(BlockIndex(index));
                self.preload_block(BlockIndex(index));
                free = self.lock_free();
                free.log.written.push(index);
                continue;
            } else {
                let patience = free.demand.patience();
                free = self.wait_for_ring(free, patience);
            }
            free.is_rung = false;
        }
    }

    /// Has the kernel cache blocks from now on as suits what rounds find to write.
    fn suit_folios<'a>(&'a self, mut free: MutexGuard<'a, FreeLists>) -> MutexGuard<'a, FreeLists> {
        let was_so = free.folios.are_huge();
        let are_filled = free.demand.fills_rounds(self.shard_count(), was_so);
        let are_huge = self.can_have_huge_folios() && are_filled;
        if free.folios.turn(are_huge) {
            drop(free);
            self.advise_folios(are_huge);
            free = self.lock_free();
        }
        free
    }

    /// Has the kernel cache no block in a huge folio.
    pub(super) fn refuse_huge_folios(&self) {
        self.lock_free().folios.refuse();
    }

    /// Waits until something changes or `timeout` is over. For the preparing thread.
    fn wait_for_ring<'a>(
        &self,
        free: MutexGuard<'a, FreeLists>,
        timeout: Duration,
    ) -> MutexGuard<'a, FreeLists> {
        let waited = self
            .taken
            .wait_timeout_while(free, timeout, |free| !free.is_rung);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets [`prepare_blocks`](Self::prepare_blocks) return, now or as soon as it is called.
    pub fn stop_preparing(&self) {
        let mut free = self.lock_free();
        free.preparation = Preparation::Stopped;
        free.is_rung = true;
        drop(free);
        self.taken.notify_all();
    }

    /// Blocks to keep ready: few in a region that has hardly been used.
    pub(super) fn prepared_wanted(&self) -> usize {
        let used_count = to_usize(self.used_bytes() >> self.block_shift);
        (used_count / 2).clamp(PREPARED_BLOCKS_MIN, PREPARED_BLOCKS_MAX)
    }

    /// A block of the log, backed by pages, beyond those that are kept so. Those that are about to be used
    /// again are kept: to give the kernel a block of a file back and take another stops every page
    /// fault of the file meanwhile, for milliseconds.
    pub(super) fn pop_surplus(&self, free: &mut FreeLists) -> Option<u32> {
        let kept_count = self.kept_count(free);
        let list = &mut free.log;
        let is_surplus = list.backed_count() > kept_count;
        is_surplus.then(|| {
            list.written
                .pop()
                .unwrap_or_else(|| list.resident.swap_remove(0))
        })
    }

    /// Free blocks of the log that keep their pages: some always, and as many more as are likely to be taken
    /// soon and the budget has room for.
    fn kept_count(&self, free: &FreeLists) -> usize {
        let room_count = to_usize(self.available_bytes() >> self.block_shift);
        let granted_count = free.granted_count();
        let most_count = free.resident_max.saturating_add(room_count + granted_count);
        let soon_count = (2 * free.demand.recent_count()).min(most_count);
        free.resident_max.max(soon_count).max(granted_count)
    }

    /// What the preparing thread is to make ready next, and whether it has pages already.
    fn pop_wanted(&self, free: &mut FreeLists) -> Option<(Use, u32, bool)> {
        let wanted_count = self.prepared_wanted();
        let are_rounds_rare = free.demand.outruns_rounds(wanted_count);
        [Use::Log, Use::Index].into_iter().find_map(|kind| {
            let list = free.of(kind);
            let ready_count = if are_rounds_rare {
                list.resident.len()
            } else {
                list.backed_count()
            };
            if ready_count >= wanted_count {
                return None;
            }
            if are_rounds_rare && let Some(index) = list.written.pop() {
                return Some((kind, index, true));
            }
            let held_bytes = self.block_len_bytes() * ready_count as u64;
            let has_room = self.available_bytes() > held_bytes;
            let index = has_room.then(|| list.pop_untouched()).flatten()?;
            Some((kind, index, false))
        })
    }

    /// Makes the kernel back a block that is in nobody's hands, unless it does, and touches it. False: there
    /// is no room.
    fn prepare_block(&self, kind: Use, index: u32, is_backed: bool) -> bool {
        if is_backed {
            self.suit_block(index);
        } else if !self.back(kind, index) {
            return false;
        }
        if kind == Use::Log {
            self.cache_pages(BlockIndex(index));
        }
        self.touch(BlockIndex(index));
        self.lock_free().of(kind).resident.push(index);
        true
    }

    /// Has a free block of a file cached as it should be.
    fn suit_block(&self, index: u32) {
        let mut free = self.lock_free();
        if !free.folios.suits(index) {
            free.folios.note(index);
            drop(free);
            self.drop_cached(BlockIndex(index));
        }
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

    #[test]
    fn what_is_likely_to_be_taken_keeps_its_pages_within_the_budget() {
        let region = region();
        let mut free = region.lock_free();
        let room_count = to_usize(region.available_bytes() >> region.block_shift);
        assert_eq!(region.kept_count(&free), RESIDENT_FREE_BLOCKS_MAX);
        (0..10).for_each(|_| free.demand.note_taken());
        assert_eq!(region.kept_count(&free), 20);
        (0..room_count).for_each(|_| free.demand.note_taken());
        let most_count = room_count + RESIDENT_FREE_BLOCKS_MAX;
        assert_eq!(region.kept_count(&free), most_count);
    }

    #[test]
    fn prepared_blocks_are_taken_first_and_replaced() {
        let region = region();
        std::thread::scope(|scope| {
            let preparer = scope.spawn(|| region.prepare_blocks(|| 0));
            let wait_for = |count: usize| {
                while region.lock_free().log.resident.len() < count {
                    std::thread::yield_now();
                }
            };
            wait_for(PREPARED_BLOCKS_MIN);
            assert_eq!(region.used_bytes(), 0);
            assert!(region.take_block().is_some());
            wait_for(PREPARED_BLOCKS_MIN);
            region.stop_preparing();
            preparer.join().expect("the preparer ends");
        });
    }
}
