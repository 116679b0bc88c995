//! The log of one shard: blocks that records are appended to, and what of them is dead.
//!
//! ```text
//!   sealed block          sealed block            active block
//!   ┌──┬────┬─┬─────┬──┐  ┌────┬────┬───┬─────┐   ┌───┬──┬─────┐············
//!   │  │dead│ │dead │//│  │    │dead│   │/////│   │   │  │     │ ◄ tail
//!   └──┴────┴─┴─────┴──┘  └────┴────┴───┴─────┘   └───┴──┴─────┘············
//!                    // end that no record fitted into
//! ```
//!
//! One stream, compaction's copies included, so that position is time. A writer reserves space,
//! fills it, and publishes the record by its slot. Sealed blocks are linked in lists by how much of
//! them is dead, so that the block with most is found at once; the links and counts live in a side
//! array, not in the blocks.
//!
//! **Reserve.** The log keeps blocks that only compaction (and writes that must not fail for want of
//! memory, `Purpose::Bound`) may append to. A victim's live records fit into one block, and its
//! own block comes back to the reserve, so compaction can always go on (`space`).
//!
//! **In a file** each record is signed when it is complete (`seal`), blocks are numbered (`stream`),
//! and a block that is left before it is full ends with an END record. A block that is given up goes
//! back to the region at once, which hands it out again when that is on disk; the reserve is refilled
//! from there. In anonymous memory none of this happens.
//!
//! Not here: which records are live (the table knows) and when to compact (`compact`).

#![expect(unsafe_code, reason = "records are bytes of blocks that this log owns")]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::atomic::note_write;
use crate::limits::{COMPACTION_RESERVE_BLOCKS, LOG_SLACK_BLOCKS, RECORDS_PER_BLOCK_MIN};
use crate::region::{BlockIndex, Region};

use super::marks::Marks;
use super::record::{HEADER_LEN_BYTES, Kind, MEMBER_LEN_BYTES, NUMBER_LEN_BYTES, Record, Shape};
use super::seal;
use super::slot::Location;
use super::stream::Stream;

mod file;
mod space;

use space::Kept;

/// Marks kept for later blocks, 16 KiB each at most. Blocks that died as a whole are retired at once,
/// and those are about as many as compaction tolerates dead ones.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const SPARE_MARKS_COUNT_MAX: usize = 2 * LOG_SLACK_BLOCKS as usize;

/// The log of one shard.
#[derive(Debug)]
pub(super) struct Log {
    region: Arc<Region>,
    /// By block number, up to the highest this log has owned.
    blocks: Vec<BlockState>,
    /// First sealed block of each class of deadness, and which lists are not empty.
    heads: [Link; CLASS_COUNT],
    classes: u64,
    active: Option<BlockIndex>,
    tail: u64,
    end: u64,
    /// `end` for writes, or 0 while the reserve lacks a block: then what is left of the active one is for
    /// what bounds memory and for the live records of compaction's victim, whose block comes back.
    write_end: u64,
    kept: Kept,
    /// Of retired blocks, for the next ones.
    spare_marks: Vec<Marks>,
    /// Blocks with records in the order they were begun, each after how many had been.
    order: VecDeque<(u64, BlockIndex)>,
    begun_count: u64,
    /// Blocks with records, the active one included.
    block_count: u64,
    live_bytes: u64,
    dead_bytes: u64,
    /// What members of a transaction have more: 0 outside of one.
    member_len_bytes: usize,
    /// What there is only in a file.
    stream: Option<Stream>,
}

/// Space for one record, to be filled and then published.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) location: Location,
    /// Without what the log adds for a member of a transaction.
    body_len_bytes: usize,
    len_bytes: usize,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A write, which may fail when memory is short.
    Write,
    /// A write that bounds memory (EXPIRE): may use the reserve but for the last block.
    Bound,
    /// A copy of compaction: may use the whole reserve.
    Compact,
    /// A record of the log's own, small and rare: likewise.
    Own,
}

/// What the log knows of one of its blocks. All zero: none of its blocks.
#[derive(Clone, Debug, Default)]
struct BlockState {
    /// Which of its records are dead.
    dead: Marks,
    used_bytes: u32,
    dead_bytes: u32,
    /// Of `dead_bytes`, what was never written: the rest of a block that the last process had not
    /// filled when it ended.
    gap_bytes: u32,
    previous: Link,
    next: Link,
    is_sealed: bool,
    /// Where it is in the order of all blocks.
    number: u64,
    /// Whether it holds members of transactions.
    has_members: bool,
    /// Graves that count as live, and the last block in which there can be what one of them hides.
    grave_bytes: u32,
    graves_last: u64,
    /// Whether all its graves count as dead, though none is marked.
    are_graves_dead: bool,
}

/// A block's number plus one; 0: none.
type Link = u32;

/// Classes of deadness: 32nds of a block, completely dead ones last.
const CLASS_COUNT: usize = 33;
const CLASS_SHIFT: u32 = 5;

impl Log {
    /// An empty log with its reserve; `None` if the region has no blocks for it.
    pub(super) fn new(region: Arc<Region>, owner: u16) -> Option<Self> {
        let mut log = Self::without_tail(region, owner, 0)?;
        log.make_space(0, Purpose::Write).then_some(log)
    }

    /// A log with its reserve and no block to append to. In a file its next block gets the number
    /// after `sequence`, and comes before the reserve: on a disk that is nearly full there may be
    /// room for no more.
    pub(super) fn without_tail(region: Arc<Region>, owner: u16, sequence: u64) -> Option<Self> {
        let reserve_count = if region.is_durable() {
            0
        } else {
            COMPACTION_RESERVE_BLOCKS
        };
        let reserve: Vec<BlockIndex> = (0..reserve_count)
            .map_while(|_| region.take_block())
            .collect();
        let is_complete = reserve.len() == reserve_count;
        let stream = region
            .is_durable()
            .then(|| Stream::new(Arc::clone(&region), owner, sequence));
        let log = Self {
            region,
            blocks: Vec::new(),
            heads: [0; CLASS_COUNT],
            classes: 0,
            active: None,
            tail: 0,
            end: 0,
            write_end: 0,
            kept: Kept::of(reserve),
            spare_marks: Vec::with_capacity(SPARE_MARKS_COUNT_MAX),
            order: VecDeque::new(),
            begun_count: 0,
            block_count: 0,
            live_bytes: 0,
            dead_bytes: 0,
            member_len_bytes: 0,
            stream,
        };
        is_complete.then_some(log)
    }

    /// The longest record that goes into blocks.
    pub(super) fn record_len_bytes_max(&self) -> u64 {
        self.region.block_len_bytes() / RECORDS_PER_BLOCK_MIN as u64
    }

    /// Whether a record is too long for blocks, or would be with an expiry, which any of a key may be given.
    #[inline]
    pub(super) fn is_too_long(&self, shape: Shape) -> bool {
        shape.volatile_len_bytes() as u64 > self.record_len_bytes_max()
    }

    /// The bytes of reserved space, for its writer.
    #[inline]
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the borrow is what makes the bytes ours"
    )]
    pub(super) fn fill(&mut self, reserved: &Reserved) -> &mut [u8] {
        let address = self.region.address(reserved.location.offset());
        note_write(address, reserved.len_bytes);
        // SAFETY: within a block of this log, and not published: the token that names the space is
        // made once, by `reserve`, and no slot points there before its record is complete.
        unsafe { std::slice::from_raw_parts_mut(address, reserved.body_len_bytes) }
    }

    /// Makes a filled record one that a later start finds. Before any slot names it.
    #[inline]
    pub(super) fn complete(&mut self, reserved: &Reserved) {
        if self.stream.is_some() {
            self.sign(reserved);
        }
    }

    /// As [`complete`](Self::complete), for a copy of the record at `source`, which is no member.
    #[inline]
    pub(super) fn complete_copy(&mut self, source: Location, reserved: &Reserved) {
        if self.stream.is_some() {
            self.sign_copy(source, reserved);
        }
    }

    /// Bytes of a block of this log.
    pub(super) fn bytes(&self, start: u64, len_bytes: usize) -> &[u8] {
        // SAFETY: blocks of this log are written through `&mut self` only, but for expiry words, whose
        // bytes are looked at by their own core alone.
        unsafe { std::slice::from_raw_parts(self.region.address(start), len_bytes) }
    }

    /// Bytes of a block of this log that no slot names.
    fn bytes_mut(&mut self, start: u64, len_bytes: usize) -> &mut [u8] {
        // SAFETY: as in `fill`.
        unsafe { std::slice::from_raw_parts_mut(self.region.address(start), len_bytes) }
    }

    /// The record at `location`, which a slot or the walk over a block has named.
    #[inline]
    pub(super) fn record(&self, location: Location) -> Record<'_> {
        // SAFETY:
        // 1. locations are made for whole records (`Location`);
        // 2. freeing a block or a run takes the shard mutably, which this borrow prevents.
        unsafe { Record::at(&self.region, location) }
    }

    /// The bytes of reserved space together with a record to copy from.
    #[inline]
    pub(super) fn fill_from(
        &mut self,
        source: Location,
        reserved: &Reserved,
    ) -> (Record<'_>, &mut [u8]) {
        debug_assert_ne!(source, reserved.location);
        // SAFETY: as in `record`. The reserved space is no published record, so the record and
        // the bytes below do not overlap, and both are borrowed from this log mutably.
        let record = unsafe { Record::at(&self.region, source) };
        let address = self.region.address(reserved.location.offset());
        note_write(address, reserved.len_bytes);
        // SAFETY: as in `fill`.
        let target = unsafe { std::slice::from_raw_parts_mut(address, reserved.body_len_bytes) };
        (record, target)
    }

    /// Begins to fetch what [`kill`](Self::kill) will change for the record at `offset`, if one is
    /// there.
    #[inline(always)]
    pub(super) fn prefetch_mark(&self, offset: u64) {
        if self.region.is_large(offset) {
            return;
        }
        let block = self.region.block_of(offset);
        if let Some(state) = self.blocks.get(block.get()) {
            state.dead.prefetch(offset - self.region.block_start(block));
        }
    }

    /// Counts the record at `location` as dead.
    #[inline]
    pub(super) fn kill(&mut self, location: Location, len_bytes: usize) {
        let block = self.region.block_of(location.offset());
        let start = self.region.block_start(block);
        let marks = &mut self.blocks[block.get()].dead;
        marks.mark(offset_within(start, location));
        self.count_dead(block, u32_of(len_bytes as u64));
    }

    #[inline]
    fn count_dead(&mut self, block: BlockIndex, len_bytes: u32) {
        self.live_bytes -= u64::from(len_bytes);
        self.dead_bytes += u64::from(len_bytes);
        let state = &mut self.blocks[block.get()];
        let before = state.dead_bytes;
        state.dead_bytes += len_bytes;
        let is_sealed = state.is_sealed;
        let after = state.dead_bytes;
        let shift = self.class_shift();
        if is_sealed && before >> shift != after >> shift {
            self.unlink(block, (before >> shift) as usize);
            self.link(block);
        }
    }

    /// Takes the sealed block with the most dead bytes out of its list, if at least `class_min`
    /// 32nds of it are dead. Its records stay readable.
    pub(super) fn take_victim(&mut self, class_min: usize) -> Option<BlockIndex> {
        self.link_settled();
        let class = self.classes.checked_ilog2()? as usize;
        if class < class_min {
            return None;
        }
        let victim = self.block_at(self.heads[class])?;
        self.unlink(victim, class);
        self.blocks[victim.get()].is_sealed = false;
        Some(victim)
    }

    /// Takes a sealed block without live records out of its list, if the deadest is one.
    pub(super) fn take_dead(&mut self) -> Option<BlockIndex> {
        self.link_settled();
        let class = self.classes.checked_ilog2()? as usize;
        let block = self.block_at(self.heads[class])?;
        if !self.is_dead(block) {
            return None;
        }
        self.unlink(block, class);
        self.blocks[block.get()].is_sealed = false;
        Some(block)
    }

    /// How dead a block is, in 32nds.
    pub(super) fn deadness(&self, block: BlockIndex) -> u64 {
        u64::from(self.blocks[block.get()].dead_bytes >> self.class_shift())
    }

    /// Where the records of a block begin and end.
    pub(super) fn extent_of(&self, block: BlockIndex) -> (u64, u64) {
        let start = self.region.block_start(block);
        if self.active == Some(block) {
            return (start, self.tail);
        }
        (
            start,
            start + u64::from(self.blocks[block.get()].used_bytes),
        )
    }

    /// Whether the record at `location` of `block`, of this kind, is dead.
    #[inline]
    pub(super) fn is_record_dead(&self, block: BlockIndex, location: Location, kind: Kind) -> bool {
        let start = self.region.block_start(block);
        let state = &self.blocks[block.get()];
        let is_marked = state.dead.is_marked(offset_within(start, location));
        is_marked || state.are_graves_dead && kind.is_grave()
    }

    /// Whether no record of a block is live.
    pub(super) fn is_dead(&self, block: BlockIndex) -> bool {
        let state = &self.blocks[block.get()];
        state.dead_bytes == state.used_bytes + state.gap_bytes
    }

    /// Gives up a victim whose records are all dead or copied.
    pub(super) fn retire(&mut self, block: BlockIndex) {
        debug_assert!(self.is_dead(block));
        let state = std::mem::take(&mut self.blocks[block.get()]);
        if let Some(stream) = &mut self.stream {
            stream.forget_graves_of(block, state.graves_last);
        }
        let at = self.place_after(state.number - 1);
        self.order.remove(at);
        self.dead_bytes -= u64::from(state.dead_bytes);
        self.block_count -= 1;
        if self.spare_marks.len() < SPARE_MARKS_COUNT_MAX {
            let mut marks = state.dead;
            marks.clear();
            self.spare_marks.push(marks);
        }
    }

    /// Gives up every block, the active one and `victim` too, as one chain.
    pub(super) fn detach(&mut self, victim: Option<BlockIndex>) -> Option<BlockIndex> {
        let mut chain: Link = 0;
        let mut unlisted: Vec<BlockIndex> = victim.into_iter().collect();
        unlisted.extend(self.leave_active());
        if let Some(stream) = &mut self.stream {
            unlisted.extend(stream.unsettled.drain(..));
            stream.forget_graves();
        }
        for block in unlisted {
            chain = self.prepend(block, chain);
        }
        while let Some(class) = self.classes.checked_ilog2() {
            // The lists are doubly linked and not circular: walking to each list's end would cost
            // its length, so blocks move one by one, which is a few words each.
            while let Some(block) = self.block_at(self.heads[class as usize]) {
                self.unlink(block, class as usize);
                chain = self.prepend(block, chain);
            }
        }
        (self.tail, self.end, self.write_end, self.block_count) = (0, 0, 0, 0);
        (self.live_bytes, self.dead_bytes) = (0, 0);
        self.order.clear();
        self.block_at(chain)
    }

    /// Frees the first block of a detached chain and returns the next.
    pub(super) fn recycle_chain(&mut self, first: BlockIndex) -> Option<BlockIndex> {
        let state = std::mem::take(&mut self.blocks[first.get()]);
        self.recycle(first);
        self.block_at(state.next)
    }

    /// The block begun first after `number`, and its number.
    pub(super) fn block_after(&self, number: u64) -> Option<(u64, BlockIndex)> {
        self.order.get(self.place_after(number)).copied()
    }

    /// The block that was begun as `number`, if it is still there.
    pub(super) fn block_begun_as(&self, number: u64) -> Option<BlockIndex> {
        let (found, block) = *self.order.get(self.place_after(number.checked_sub(1)?))?;
        (found == number).then_some(block)
    }

    /// Whether at least `count` blocks were begun after `number`.
    pub(super) fn is_followed_by(&self, number: u64, count: usize) -> bool {
        self.order.len() - self.place_after(number) >= count
    }

    /// Where in the order the first block is that was begun after `number`.
    fn place_after(&self, number: u64) -> usize {
        self.order.partition_point(|&(begun, _)| begun <= number)
    }

    /// Bytes of live records.
    pub(super) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of dead records in blocks that are not yet freed.
    pub(super) const fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Blocks with records.
    pub(super) const fn block_count(&self) -> u64 {
        self.block_count
    }

    /// Makes a block one of this log's, its records yet to be counted.
    fn know(&mut self, block: BlockIndex) {
        if block.get() >= self.blocks.len() {
            self.blocks.resize(block.get() + 1, BlockState::default());
        }
        self.blocks[block.get()].dead = self
            .spare_marks
            .pop()
            .unwrap_or_else(|| Marks::new(u32_of(self.region.block_len_bytes()) as usize));
        self.block_count += 1;
        self.begun_count += 1;
        self.blocks[block.get()].number = self.begun_count;
        self.order.push_back((self.begun_count, block));
    }

    /// Makes a full block one that compaction may choose, at once or when its members are settled.
    fn list(&mut self, block: BlockIndex) {
        let state = &mut self.blocks[block.get()];
        match &mut self.stream {
            Some(stream) if state.has_members && !stream.is_settled(block) => {
                stream.unsettled.push_back(block);
            }
            _ => {
                state.is_sealed = true;
                self.link(block);
            }
        }
    }

    /// Lists the blocks whose members have become settled.
    fn link_settled(&mut self) {
        while let Some(stream) = &mut self.stream
            && let Some(&block) = stream.unsettled.front()
            && stream.is_settled(block)
        {
            stream.unsettled.pop_front();
            self.blocks[block.get()].is_sealed = true;
            self.link(block);
        }
    }

    fn class_shift(&self) -> u32 {
        self.region.block_len_bytes().trailing_zeros() - CLASS_SHIFT
    }

    fn link(&mut self, block: BlockIndex) {
        let class = (self.blocks[block.get()].dead_bytes >> self.class_shift()) as usize;
        let next = self.heads[class];
        let link = link_to(block);
        if let Some(next) = self.block_at(next) {
            self.blocks[next.get()].previous = link;
        }
        let state = &mut self.blocks[block.get()];
        (state.previous, state.next) = (0, next);
        self.heads[class] = link;
        self.classes |= 1 << class;
    }

    fn unlink(&mut self, block: BlockIndex, class: usize) {
        let &BlockState { previous, next, .. } = &self.blocks[block.get()];
        match self.block_at(previous) {
            Some(previous) => self.blocks[previous.get()].next = next,
            None => self.heads[class] = next,
        }
        if let Some(next) = self.block_at(next) {
            self.blocks[next.get()].previous = previous;
        }
        if self.heads[class] == 0 {
            self.classes &= !(1 << class);
        }
    }

    fn prepend(&mut self, block: BlockIndex, chain: Link) -> Link {
        self.blocks[block.get()] = BlockState {
            next: chain,
            ..BlockState::default()
        };
        link_to(block)
    }

    fn block_at(&self, link: Link) -> Option<BlockIndex> {
        let number = u64::from(link.checked_sub(1)?);
        Some(self.region.block_of(number * self.region.block_len_bytes()))
    }
}

fn link_to(block: BlockIndex) -> Link {
    u32_of(block.get() as u64 + 1)
}

/// Where in a block that starts at `start` a record is.
#[inline]
fn offset_within(start: u64, location: Location) -> usize {
    u32_of(location.offset() - start) as usize
}

/// Lengths within a block and numbers of blocks fit into 32 bits.
fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("blocks are short and few")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BLOCK_LEN_BYTES_MIN, MIB};
    use crate::region::RegionOptions;

    const LEN: usize = BLOCK_LEN_BYTES_MIN / 16;

    fn log() -> Log {
        let options = RegionOptions {
            maxmemory_bytes: 4 * MIB as u64,
            shard_count: 1,
        };
        let region = Arc::new(Region::anonymous(options).expect("a small region"));
        Log::new(region, 0).expect("blocks for a log")
    }

    fn write(log: &mut Log) -> Option<Location> {
        log.reserve(LEN, Purpose::Write)
            .map(|reserved| reserved.location)
    }

    fn block_of(log: &Log, location: Location) -> BlockIndex {
        log.region.block_of(location.offset())
    }

    #[test]
    fn the_sealed_block_with_most_dead_bytes_is_the_victim() {
        let mut log = log();
        let records: Vec<Location> = (0..64).map_while(|_| write(&mut log)).collect();
        assert!(log.take_victim(1).is_none());
        for (index, &location) in records.iter().enumerate() {
            // Of the four blocks the third loses most: one, two, eight, one of sixteen.
            if index % 16 < [1, 2, 8, 1][index / 16] {
                log.kill(location, LEN);
            }
        }
        let victim = log.take_victim(1).expect("three blocks are sealed");
        assert_eq!(victim, block_of(&log, records[32]));
        assert_eq!(log.deadness(victim), 16);
        assert_eq!(log.take_victim(1), Some(block_of(&log, records[16])));
        assert_eq!(log.take_victim(3), None);
        assert_eq!(log.live_bytes(), 52 * LEN as u64);
        assert_eq!(log.dead_bytes(), 12 * LEN as u64);
    }

    #[test]
    fn writes_stop_before_the_reserve_and_compaction_goes_on() {
        let mut log = log();
        while write(&mut log).is_some() {}
        assert_eq!(log.reserve_count(), COMPACTION_RESERVE_BLOCKS);
        assert!(log.reserve(LEN, Purpose::Bound).is_some());
        assert_eq!(log.reserve_count(), 1);
        // What is left of that block is for what bounds memory, the last block of the reserve is not.
        assert!(write(&mut log).is_none());
        let left = std::iter::from_fn(|| log.reserve(LEN, Purpose::Bound)).count();
        assert_eq!(left, 15);
        assert!(log.reserve(LEN, Purpose::Compact).is_some());
        assert_eq!(log.reserve_count(), 0);
        assert!(write(&mut log).is_none());
        assert!(log.reserve(LEN, Purpose::Bound).is_none());
        assert!(log.reserve(LEN, Purpose::Compact).is_some());
    }

    #[test]
    fn room_that_is_not_found_leaves_writes_what_completed_the_reserve() {
        let mut log = log();
        while write(&mut log).is_some() {}
        assert!(log.reserve(LEN, Purpose::Bound).is_some());
        let block_len_bytes = log.region.block_len_bytes();
        let budget_bytes = log.region.maxmemory_bytes() + block_len_bytes;
        log.region
            .set_maxmemory(budget_bytes)
            .expect("less than was reserved");
        // It takes the block there is, and lacks more of them.
        assert!(!log.keep_room(3 * block_len_bytes, Purpose::Bound));
        assert_eq!(log.reserve_count(), COMPACTION_RESERVE_BLOCKS);
        assert!(write(&mut log).is_some());
    }

    #[test]
    fn a_block_given_back_completes_the_reserve_first() {
        let mut log = log();
        let first = write(&mut log).expect("an empty log");
        while write(&mut log).is_some() {}
        while log.reserve_count() > 0 {
            assert!(log.reserve(LEN, Purpose::Compact).is_some());
        }
        for (count, at) in (1..=COMPACTION_RESERVE_BLOCKS).zip([0, 16 * LEN as u64]) {
            assert!(write(&mut log).is_none(), "the reserve lacks a block");
            let records = (0..16).map(|index| first.offset() + at + index * LEN as u64);
            records.for_each(|offset| log.kill(Location::from_offset(offset), LEN));
            let block = block_of(&log, Location::from_offset(first.offset() + at));
            assert_eq!(log.take_victim(1), Some(block));
            assert!(log.is_dead(block));
            log.retire(block);
            log.recycle(block);
            assert_eq!(log.reserve_count(), count);
        }
        assert!(
            write(&mut log).is_some(),
            "the rest of the active block is for writes again"
        );
    }

    #[test]
    fn detaching_forgets_every_record_and_returns_every_block() {
        let mut log = log();
        let used_bytes = log.region.used_bytes() - log.region.block_len_bytes();
        for location in (0..100).map_while(|_| write(&mut log)).collect::<Vec<_>>() {
            if location.offset() % 3 == 0 {
                log.kill(location, LEN);
            }
        }
        let mut chain = log.detach(None);
        assert_eq!(
            (log.live_bytes(), log.dead_bytes(), log.block_count()),
            (0, 0, 0)
        );
        while let Some(block) = chain {
            chain = log.recycle_chain(block);
        }
        assert_eq!(log.region.used_bytes(), used_bytes);
        assert!(write(&mut log).is_some());
    }
}
