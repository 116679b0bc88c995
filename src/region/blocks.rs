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
//! ([`Region::prepare_blocks`]). In a file a round makes every page read-only once more, so where rounds
//! are rare it does the same again for blocks that one has written. Of those that come back it keeps as
//! many as are likely to be taken soon (`demand`), cached as suits what is written (`folios`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::demand::Demand;
use super::folios::Folios;
use super::{BlockIndex, Region, to_usize};
use crate::limits::{PREPARED_BLOCKS_MAX, PREPARED_BLOCKS_MIN, RESIDENT_FREE_BLOCKS_MAX};

/// The pace at which a preparing thread gives blocks back to the kernel. For one of a file that is about
/// half a millisecond in which no page fault of the file is served, so it must not come to many in a row.
const SURPLUS_BLOCK_INTERVAL: Duration = Duration::from_millis(5);

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
    /// Returned blocks of a file, until their return is on disk; in the order of their rounds.
    pending: VecDeque<Pending>,
    /// By shard: blocks it may take that count against the budget already. As many of those that are
    /// free are nobody else's: on a full disk there are no others.
    granted: Vec<u32>,
    preparation: Preparation,
    /// Free blocks of the log that keep their pages, besides what is soon used again.
    resident_max: usize,
    demand: Demand,
    folios: Folios,
    /// Whether something changed since the preparing thread looked.
    is_rung: bool,
}

#[derive(Debug)]
struct Pending {
    block: u32,
    /// The round that has its return on disk.
    round: u64,
    /// Whether it counts against the budget until then.
    is_charged: bool,
    /// Whose its part of the budget is then, if not everybody's.
    heir: Option<u16>,
}

/// The free blocks of one kind.
#[derive(Debug, Default)]
struct FreeBlocks {
    /// Free and backed by pages; used first.
    resident: Vec<u32>,
    /// Of a file: backed by pages that are read-only until they are made ready, so that the first change of
    /// each one costs a page fault.
    written: Vec<u32>,
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

    fn release_surplus(&self) {
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
    fn ring(&self, free: &mut FreeLists) {
        if free.preparation == Preparation::Running {
            free.is_rung = true;
            self.taken.notify_one();
        }
    }

    /// A block of the log, backed by pages, beyond those that are kept so. Those that are about to be used
    /// again are kept: to give the kernel a block of a file back and take another stops every page
    /// fault of the file meanwhile, for milliseconds.
    fn pop_surplus(&self, free: &mut FreeLists) -> Option<u32> {
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

    /// Makes sure of room on disk for a block without pages; puts it back if there is none.
    fn back(&self, kind: Use, index: u32) -> bool {
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

    fn release_block(&self, kind: Use, index: u32) {
        self.release_pages(self.block_start(BlockIndex(index)), self.block_len_bytes());
        self.lock_free().of(kind).released.push(index);
    }

    fn lock_free(&self) -> MutexGuard<'_, FreeLists> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    fn note_taken(&mut self, kind: Use) {
        if kind == Use::Log && self.preparation == Preparation::Running {
            self.demand.note_taken();
        }
    }

    /// A round has written what was made ready before. That is made ready again if as much as is kept ready
    /// is taken from round to round; where they follow each other faster it would be in vain, and written for
    /// nothing.
    fn note_round(&mut self, wanted_count: usize) {
        if self.preparation == Preparation::Running {
            self.demand.note_round();
        }
        if self.demand.outruns_rounds(wanted_count) {
            self.log.written.append(&mut self.log.resident);
        }
    }

    /// A free block that is not cached as it should be, of those that came back.
    fn pop_unsuited(&mut self) -> Option<u32> {
        let FreeLists { log, folios, .. } = self;
        let place = log.written.iter().position(|&block| !folios.suits(block))?;
        Some(log.written.swap_remove(place))
    }

    /// Lets `heir`, if it is one, take a block that counts against the budget.
    fn grant(&mut self, heir: Option<u16>) {
        if let Some(heir) = heir {
            self.granted[usize::from(heir)] += 1;
        }
    }

    /// It has taken one.
    fn redeem(&mut self, heir: Option<u16>) {
        if let Some(heir) = heir {
            self.granted[usize::from(heir)] -= 1;
        }
    }

    /// Blocks that shards may take and that nobody else may have.
    fn granted_count(&self) -> usize {
        self.granted.iter().map(|&count| count as usize).sum()
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

    /// Free blocks that are backed by pages.
    fn backed_count(&self) -> usize {
        self.resident.len() + self.written.len()
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
