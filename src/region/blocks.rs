//! Taking, returning and preparing blocks.
//!
//! Two kinds, each with a list of what is free: blocks of the log, and blocks of the index. In memory
//! they are the same blocks and share one list.
//!
//! Taking and returning are rare (one for megabytes of writes), so a small mutex guards the lists.
//!
//! **Preparing.** The first touch of a huge page makes the kernel clear it: 0.1 ms, and on a virtual
//! machine whose host has to find the memory first, 5 ms. So that no core waits for that in the
//! middle of a turn, a thread of its own can keep a few blocks ready
//! ([`Region::prepare_blocks`]).

use std::sync::{MutexGuard, PoisonError};

use super::{BlockIndex, Region, to_usize};
use crate::limits::{PREPARED_BLOCKS_MAX, PREPARED_BLOCKS_MIN, RESIDENT_FREE_BLOCKS_MAX};

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Log,
    Index,
}

/// The free blocks of both kinds.
#[derive(Debug)]
pub(super) struct FreeLists {
    log: FreeBlocks,
    /// Empty in memory, where the index has its blocks from the list of the log.
    index: FreeBlocks,
    preparation: Preparation,
}

/// The free blocks of one kind.
#[derive(Debug, Default)]
struct FreeBlocks {
    /// Free and backed by pages; used first.
    resident: Vec<u32>,
    /// Returned and given back to the kernel.
    released: Vec<u32>,
    /// Blocks from here to the end were never taken.
    fresh: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preparation {
    Idle,
    Running,
    /// For good, even if the preparing thread has yet to begin.
    Stopped,
}

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
        self.put_back(block, Use::Log);
    }

    /// Returns a block of the index that nobody can be reading any more.
    pub fn return_index_block(&self, block: BlockIndex) {
        self.put_back(block, self.index_use());
    }

    /// Keeps some free blocks backed by pages, until [`stop_preparing`](Self::stop_preparing).
    /// Meant for a thread of its own; without one, blocks get their pages where they are first used.
    pub fn prepare_blocks(&self) {
        let mut free = self.lock_free();
        if free.preparation == Preparation::Idle {
            free.preparation = Preparation::Running;
        }
        while free.preparation == Preparation::Running {
            let wanted_count = self.prepared_wanted();
            let untouched = [Use::Log, Use::Index].into_iter().find_map(|kind| {
                let list = free.of(kind);
                let held_bytes = self.block_len_bytes() * list.resident.len() as u64;
                let is_wanted = list.resident.len() < wanted_count
                    && self.available_bytes() > held_bytes;
                let index = is_wanted.then(|| list.pop_untouched()).flatten()?;
                Some((kind, index))
            });
            if let Some((kind, index)) = untouched {
                drop(free);
                self.touch(BlockIndex(index));
                free = self.lock_free();
                free.of(kind).resident.push(index);
            } else {
                free = self
                    .taken
                    .wait(free)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Lets [`prepare_blocks`](Self::prepare_blocks) return, now or as soon as it is called.
    pub fn stop_preparing(&self) {
        self.lock_free().preparation = Preparation::Stopped;
        self.taken.notify_all();
    }

    /// Blocks to keep ready: few in a region that has hardly been used.
    fn prepared_wanted(&self) -> usize {
        let used_count = to_usize(self.used_bytes() >> self.block_shift);
        (used_count / 2).clamp(PREPARED_BLOCKS_MIN, PREPARED_BLOCKS_MAX)
    }

    const fn index_use(&self) -> Use {
        if self.is_durable() {
            Use::Index
        } else {
            Use::Log
        }
    }

    fn take(&self, kind: Use) -> Option<BlockIndex> {
        if !self.charge(self.block_len_bytes()) {
            return None;
        }
        let mut free = self.lock_free();
        let list = free.of(kind);
        let index = list.resident.pop().or_else(|| list.pop_untouched());
        let is_preparing = free.preparation == Preparation::Running;
        drop(free);
        if index.is_none() {
            self.refund(self.block_len_bytes());
        }
        if is_preparing {
            self.taken.notify_one();
        }
        index.map(BlockIndex)
    }

    fn put_back(&self, block: BlockIndex, kind: Use) {
        let mut free = self.lock_free();
        if free.of(kind).resident.len() < RESIDENT_FREE_BLOCKS_MAX {
            free.of(kind).resident.push(block.0);
        } else {
            drop(free);
            self.release_pages(self.block_start(block), self.block_len_bytes());
            self.lock_free().of(kind).released.push(block.0);
        }
        self.refund(self.block_len_bytes());
    }

    fn lock_free(&self) -> MutexGuard<'_, FreeLists> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FreeLists {
    /// Lists of blocks that were never taken: two ranges of block numbers, the ends not included.
    pub(super) fn new(log: std::ops::Range<u32>, index: std::ops::Range<u32>) -> Self {
        Self {
            log: FreeBlocks::new(log),
            index: FreeBlocks::new(index),
            preparation: Preparation::Idle,
        }
    }

    const fn of(&mut self, kind: Use) -> &mut FreeBlocks {
        match kind {
            Use::Log => &mut self.log,
            Use::Index => &mut self.index,
        }
    }
}

impl FreeBlocks {
    fn new(blocks: std::ops::Range<u32>) -> Self {
        Self {
            fresh: blocks.start,
            end: blocks.end,
            ..Self::default()
        }
    }

    /// A block without pages: one given back to the kernel, else one that was never taken.
    fn pop_untouched(&mut self) -> Option<u32> {
        self.released.pop().or_else(|| {
            (self.fresh < self.end).then(|| {
                self.fresh += 1;
                self.fresh - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use crate::region::RegionOptions;

    #[test]
    fn prepared_blocks_are_taken_first_and_replaced() {
        let region = Region::anonymous(RegionOptions {
            maxmemory_bytes: 64 * MIB as u64,
            shard_count: 1,
        })
        .expect("a small region");
        std::thread::scope(|scope| {
            let preparer = scope.spawn(|| region.prepare_blocks());
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
