//! The lists of free blocks, what shards were granted of them, and what of them waits for a round.
//!
//! Two kinds, each with a list of what is free: blocks of the log, and blocks of the index. In memory
//! they are the same blocks and share one list.
//!
//! Not here: who takes and returns them (`blocks`), and who makes them ready (`preparing`).

use std::collections::VecDeque;

use super::demand::Demand;
use super::folios::Folios;
use crate::limits::RESIDENT_FREE_BLOCKS_MAX;

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Log,
    Index,
}

/// The free blocks of both kinds.
#[derive(Debug)]
pub(super) struct FreeLists {
    pub(super) log: FreeBlocks,
    /// Empty in memory, where the index has its blocks from the list of the log.
    pub(super) index: FreeBlocks,
    /// Returned blocks of a file, until their return is on disk; in the order of their rounds.
    pub(super) pending: VecDeque<Pending>,
    /// By shard: blocks it may take that count against the budget already. As many of those that are
    /// free are nobody else's: on a full disk there are no others.
    pub(super) granted: Vec<u32>,
    pub(super) preparation: Preparation,
    /// Free blocks of the log that keep their pages, besides what is soon used again.
    pub(super) resident_max: usize,
    pub(super) demand: Demand,
    pub(super) folios: Folios,
    /// Whether something changed since the preparing thread looked.
    pub(super) is_rung: bool,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) block: u32,
    /// The round that has its return on disk.
    pub(super) round: u64,
    /// Whether it counts against the budget until then.
    pub(super) is_charged: bool,
    /// Whose its part of the budget is then, if not everybody's.
    pub(super) heir: Option<u16>,
}

/// The free blocks of one kind.
#[derive(Debug, Default)]
pub(super) struct FreeBlocks {
    /// Free and backed by pages; used first.
    pub(super) resident: Vec<u32>,
    /// Of a file: backed by pages that are read-only until they are made ready, so that the first change of
    /// each one costs a page fault.
    pub(super) written: Vec<u32>,
    /// Returned and given back to the kernel.
    pub(super) released: Vec<u32>,
    /// Blocks from here to the end were never taken.
    pub(super) fresh: u32,
    pub(super) end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preparation {
    Idle,
    Running,
    /// For good, even if the preparing thread has yet to begin.
    Stopped,
}

impl FreeLists {
    /// Lists of blocks that were never taken: two ranges of block numbers, the ends not included.
    pub(super) fn new(
        log: std::ops::Range<u32>,
        index: std::ops::Range<u32>,
        shard_count: usize,
    ) -> Self {
        Self {
            log: FreeBlocks::new(log),
            index: FreeBlocks::new(index),
            pending: VecDeque::new(),
            granted: vec![0; shard_count],
            preparation: Preparation::Idle,
            resident_max: RESIDENT_FREE_BLOCKS_MAX,
            demand: Demand::default(),
            folios: Folios::default(),
            is_rung: false,
        }
    }

    pub(super) fn note_taken(&mut self, kind: Use) {
        if kind == Use::Log && self.preparation == Preparation::Running {
            self.demand.note_taken();
        }
    }

    /// A round has written what was made ready before. That is made ready again if as much as is kept ready
    /// is taken from round to round; where they follow each other faster it would be in vain, and written for
    /// nothing.
    pub(super) fn note_round(&mut self, wanted_count: usize) {
        if self.preparation == Preparation::Running {
            self.demand.note_round();
        }
        if self.demand.outruns_rounds(wanted_count) {
            self.log.written.append(&mut self.log.resident);
        }
    }

    /// A free block that is not cached as it should be, of those that came back.
    pub(super) fn pop_unsuited(&mut self) -> Option<u32> {
        let FreeLists { log, folios, .. } = self;
        let place = log.written.iter().position(|&block| !folios.suits(block))?;
        Some(log.written.swap_remove(place))
    }

    /// Lets `heir`, if it is one, take a block that counts against the budget.
    pub(super) fn grant(&mut self, heir: Option<u16>) {
        if let Some(heir) = heir {
            self.granted[usize::from(heir)] += 1;
        }
    }

    /// It has taken one.
    pub(super) fn redeem(&mut self, heir: Option<u16>) {
        if let Some(heir) = heir {
            self.granted[usize::from(heir)] -= 1;
        }
    }

    /// Blocks that shards may take and that nobody else may have.
    pub(super) fn granted_count(&self) -> usize {
        self.granted.iter().map(|&count| count as usize).sum()
    }

    pub(super) const fn of(&mut self, kind: Use) -> &mut FreeBlocks {
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

    /// Free blocks that are backed by pages.
    pub(super) fn backed_count(&self) -> usize {
        self.resident.len() + self.written.len()
    }

    /// A block without pages: one given back to the kernel, else one that was never taken.
    pub(super) fn pop_untouched(&mut self) -> Option<u32> {
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

    #[test]
    fn what_was_ready_before_a_round_is_made_ready_again_where_as_much_is_taken_in_each() {
        let mut free = FreeLists::new(0..8, 0..0, 1);
        free.preparation = Preparation::Running;
        free.log.resident = vec![0, 1];
        free.demand.note_round();
        free.note_taken(Use::Log);
        free.demand.look(1_000_000);
        free.note_round(2);
        assert_eq!(free.log.resident, [0, 1]);
        (0..2).for_each(|_| free.note_taken(Use::Log));
        free.demand.look(2_000_000);
        free.note_round(2);
        assert_eq!(free.log.written, [0, 1]);
        assert!(free.log.resident.is_empty());
    }

    #[test]
    fn free_blocks_that_are_cached_otherwise_are_found_once() {
        let mut free = FreeLists::new(0..8, 0..0, 1);
        free.log.written = vec![3, 4];
        assert_eq!(free.pop_unsuited(), None);
        free.folios.note(3);
        assert!(free.folios.turn(true));
        free.folios.note(3);
        assert_eq!(free.pop_unsuited(), Some(4));
        assert_eq!(free.pop_unsuited(), None);
        assert_eq!(free.log.written, [3]);
    }
}
