//! What a log knows in addition when it is kept in a file: the order of its blocks, transactions,
//! graves.
//!
//! ```text
//!   sequence:    17       19       20       24              25
//!             ┌──────┐ ┌──────┐ ┌──────┐ ┌──────┐        ┌──────┐
//!             │      │ │    T │ │      │ │    T │ ...    │ END  │   position = sequence * block
//!             └──────┘ └──────┘ └──────┘ └──────┘        └──────┘              length + offset
//!              floor                                      active
//! ```
//!
//! Blocks are numbered in the order in which they became the active one, and a start replays them in
//! that order. The position is published after each record, so that a round knows what it made
//! durable (`region`).
//!
//! **Graves.** What was removed must not come back from an older block. A **tombstone** says that a
//! key is gone, a **clear** that everything is. A tombstone keeps its **birth**, the position where the
//! record ended that was removed, and hides what is before that, wherever a copy of it stands: a newer record
//! may come before the copy, and what hid that one as well may never have become whole. (Every older record
//! of the key is before the one that was removed.) A clear keeps
//! the number of the last block before it. Both are needed while the shard owns another block numbered
//! up to that, counting those that wait in limbo: only in such a block can be what they hide. A
//! tombstone is not needed, either, when the key is there again: what is newer hides as well.
//!
//! Graves of a block are dead when the last of them is not needed any more; with eviction, which takes the
//! oldest, that is soon. Else they are live until compaction meets them, drops those that are not needed and
//! copies the others, births included. When they exceed a share of what is live, compaction takes the oldest
//! blocks instead of the deadest, up to the one that was active then: a **sweep**. When all of those are
//! freed, no grave made before is needed. A sweep copies what is live once and is worth a fixed share
//! of it in graves, so a grave costs at most the inverse of that share, a constant.
//!
//! **Members** of a transaction are good only when its commit is. Copies are not members. So a block
//! with members is compacted only when it is wholly before the settled position: what is before it
//! is good, whatever became of commits.
//!
//! Not here: the bytes (`log`, `record`, `seal`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::limits::{GRAVES_DIVISOR, GRAVES_TOLERATED_BLOCKS};
use crate::region::{BlockIndex, BlockSeal, Region};

/// The file's side of one log.
#[derive(Debug)]
pub(super) struct Stream {
    region: Arc<Region>,
    owner: u16,
    /// Of the active block, and what its seals are made from.
    sequence: u64,
    seal: Option<BlockSeal>,
    /// Blocks with records, those in limbo included, by their numbers.
    owned: BTreeMap<u64, BlockIndex>,
    /// Full blocks with members that may not be settled, in order.
    pub(super) unsettled: VecDeque<BlockIndex>,
    grave_bytes: u64,
    /// Full blocks with graves: the last block in which there can be what one of them hides, and their own
    /// numbers.
    graves: BTreeSet<(u64, u64)>,
    /// The last block of the sweep that goes on or was the last.
    sweep_end: u64,
    transaction: Option<Transaction>,
}

#[derive(Clone, Copy, Debug)]
struct Transaction {
    number: u64,
    member_count: u64,
}

impl Stream {
    /// Of a shard whose last block, if it ever had one, had the number `sequence`.
    pub(super) fn new(region: Arc<Region>, owner: u16, sequence: u64) -> Self {
        Self {
            region,
            owner,
            sequence,
            seal: None,
            owned: BTreeMap::new(),
            unsettled: VecDeque::new(),
            grave_bytes: 0,
            graves: BTreeSet::new(),
            sweep_end: 0,
            transaction: None,
        }
    }

    /// Numbers the next active block.
    pub(super) fn begin_block(&mut self, block: BlockIndex) {
        self.sequence += 1;
        self.region.assign_block(block, self.owner, self.sequence);
        self.seal = Some(self.region.block_seal(block));
        self.owned.insert(self.sequence, block);
        self.publish(0);
    }

    /// Takes a block over that was found in the file.
    pub(super) fn adopt(&mut self, block: BlockIndex) {
        let sequence = self.region.sequence_of(block);
        debug_assert!(sequence <= self.sequence);
        self.owned.insert(sequence, block);
    }

    /// Whether a block is part of this log.
    pub(super) fn owns(&self, block: BlockIndex) -> bool {
        let owned = self.owned.get(&self.region.sequence_of(block));
        owned == Some(&block)
    }

    /// Lets the next block have the number `sequence`.
    pub(super) fn begin_at(&mut self, sequence: u64) {
        debug_assert!(self.owned.is_empty());
        self.sequence = sequence - 1;
    }

    /// A block is the region's again.
    pub(super) fn disown(&mut self, block: BlockIndex) {
        self.owned.remove(&self.region.sequence_of(block));
    }

    /// What was appended up to `offset` of the active block is complete.
    #[inline]
    pub(super) fn publish(&self, offset: u64) {
        self.region
            .rounds()
            .publish(self.owner, self.position(offset));
    }

    /// The position of `offset` of the active block.
    pub(super) fn position(&self, offset: u64) -> u64 {
        self.sequence * self.region.block_len_bytes() + offset
    }

    /// The shard whose log it is.
    pub(super) const fn owner(&self) -> u16 {
        self.owner
    }

    /// The number of the active block.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The seal of the record that begins at `offset` of the active block.
    #[inline]
    pub(super) fn seal_at(&self, offset: u64) -> u32 {
        self.seal.expect("there is an active block").at(offset)
    }

    /// Whether members in a block are good, whatever became of their commits.
    pub(super) fn is_settled(&self, block: BlockIndex) -> bool {
        let end = (self.region.sequence_of(block) + 1) * self.region.block_len_bytes();
        self.region.rounds().settled(self.owner) >= end
    }

    /// From now on records are members of a transaction.
    pub(super) fn begin_transaction(&mut self, number: u64) {
        debug_assert!(self.transaction.is_none());
        self.transaction = Some(Transaction {
            number,
            member_count: 0,
        });
    }

    /// Ends that; returns how many members there are.
    pub(super) fn end_transaction(&mut self) -> u64 {
        let transaction = self.transaction.take();
        transaction.map_or(0, |transaction| transaction.member_count)
    }

    /// Counts one more member; returns the transaction's number.
    pub(super) fn count_member(&mut self) -> Option<u64> {
        let transaction = self.transaction.as_mut()?;
        transaction.member_count += 1;
        Some(transaction.number)
    }

    pub(super) fn count_grave(&mut self, len_bytes: u64) {
        self.grave_bytes += len_bytes;
    }

    pub(super) fn discount_grave(&mut self, len_bytes: u64) {
        self.grave_bytes -= len_bytes;
    }

    /// Takes note of a full block whose graves hide what is in blocks up to number `last`.
    pub(super) fn know_graves(&mut self, block: BlockIndex, last: u64) {
        self.graves.insert((last, self.region.sequence_of(block)));
    }

    /// A block that was full has no graves any more.
    pub(super) fn forget_graves_of(&mut self, block: BlockIndex, last: u64) {
        self.graves.remove(&(last, self.region.sequence_of(block)));
    }

    /// A block none of whose graves hides anything any more, once.
    pub(super) fn pop_needless(&mut self) -> Option<BlockIndex> {
        let (&floor, _) = self.owned.first_key_value()?;
        while self.graves.first().is_some_and(|&(last, _)| last < floor) {
            let (_, sequence) = self.graves.pop_first()?;
            if let Some(&block) = self.owned.get(&sequence) {
                return Some(block);
            }
        }
        None
    }

    /// Every record is dead, graves included.
    pub(super) fn forget_graves(&mut self) {
        self.grave_bytes = 0;
        self.graves.clear();
    }

    /// Bytes of graves that may be needed.
    pub(super) const fn grave_bytes(&self) -> u64 {
        self.grave_bytes
    }

    /// Whether a grave of what is in blocks up to number `last`, met in `block`, may still hide
    /// something in another.
    pub(super) fn is_needed(&self, last: u64, block: BlockIndex) -> bool {
        let mut others = self.owned.iter().filter(|&(_, &other)| other != block);
        others.next().is_some_and(|(&floor, _)| floor <= last)
    }

    /// Whether there are so many graves that the oldest blocks should go.
    pub(super) fn has_many_graves(&self, live_bytes: u64) -> bool {
        let tolerated_bytes = GRAVES_TOLERATED_BLOCKS * self.region.block_len_bytes();
        self.grave_bytes > live_bytes / GRAVES_DIVISOR + tolerated_bytes
    }

    /// Begins a sweep if the last one is over.
    pub(super) fn continue_sweep(&mut self) {
        let floor = self.owned.first_key_value().map(|(&sequence, _)| sequence);
        if floor.is_some_and(|floor| floor > self.sweep_end) {
            self.sweep_end = self.sequence - 1;
        }
    }

    /// The blocks of the sweep, the oldest first.
    pub(super) fn swept(&self) -> impl Iterator<Item = BlockIndex> {
        self.owned.range(..=self.sweep_end).map(|(_, &block)| block)
    }
}
