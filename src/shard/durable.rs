//! What a shard in a file does in addition: graves for what goes, transactions.

use crate::hash::KeyHash;

use super::record::{Kind, MEMBER_LEN_BYTES, NUMBER_LEN_BYTES, Shape};
use super::slot::Location;
use super::{OutOfMemory, Place, Purpose, Shard};

impl Shard {
    /// From now on, until [`end_transaction`](Self::end_transaction), what is written here counts
    /// after a crash only if the commit of transaction `number` does. No number is used twice in a
    /// file. In anonymous memory this does nothing.
    pub fn begin_transaction(&mut self, number: u64) {
        self.log.begin_transaction(number);
    }

    /// Ends that; returns how many records were written, which the commit must say.
    pub fn end_transaction(&mut self) -> u64 {
        let member_count = self.log.end_transaction();
        if member_count > 0 {
            // What its removals have left to be paid.
            self.pay_for(0);
        }
        member_count
    }

    /// Makes a transaction whole, which has `member_count` records on all shards together.
    ///
    /// # Errors
    /// If even the reserve has no room for the few bytes of it.
    pub fn append_commit(&mut self, number: u64, member_count: u64) -> Result<(), OutOfMemory> {
        if !self.log.is_durable() {
            return Ok(());
        }
        self.log.begin_transaction(number);
        let appended = self.with_room(|shard| shard.log.append_number(Kind::COMMIT, member_count));
        self.log.end_transaction();
        // Needed until it is settled, and a block with members stays until then.
        self.log.kill_own(&appended?);
        Ok(())
    }

    /// Begins the block that what is written next goes to, after a recovery.
    pub(super) fn begin_block(&mut self) -> Result<(), OutOfMemory> {
        self.with_room(|shard| shard.log.begin_tail().then_some(()))
    }

    /// What was recovered is on disk: what it has no use for can go.
    pub(super) fn finish_recovery(&mut self) {
        self.large.finish_adopting();
    }

    /// All records that slots name, and their hashes.
    pub(super) fn records(&self) -> Vec<(KeyHash, Location)> {
        let locations = self.table.locations().into_iter();
        let hash = |location| self.hasher.hash(self.log.record(location).key());
        locations
            .map(|location| (hash(location), location))
            .collect()
    }

    /// Says that something changed that no position tells of.
    #[inline]
    pub(super) fn note_change(&self) {
        if self.log.is_durable() {
            self.region.rounds().note_change(self.id);
        }
    }

    /// Makes room for some records to be written one after the other.
    pub(super) fn make_room(
        &mut self,
        shapes: &[Shape],
        purpose: Purpose,
    ) -> Result<(), OutOfMemory> {
        let members = shapes.len() * MEMBER_LEN_BYTES;
        let len_bytes = shapes.iter().map(|shape| shape.len_bytes()).sum::<usize>() + members;
        self.with_room(|shard| shard.log.has_room(len_bytes, purpose).then_some(()))
    }

    /// Writes the tombstone of the key at `place`.
    pub(super) fn entomb(&mut self, place: Place) -> Result<(), OutOfMemory> {
        let record = self.log.record(self.table.slot(place).location());
        let shape = tombstone_of(record.key());
        let len_bytes = shape.len_bytes();
        let reserved = match self.log.reserve(len_bytes, Purpose::Bound) {
            Some(reserved) => reserved,
            None => self.with_room_for(Purpose::Bound, |shard| {
                shard.log.reserve(len_bytes, Purpose::Bound)
            })?,
        };
        let source = self.table.slot(place).location();
        let birth = self.log.birth_of_tombstone(source).to_le_bytes();
        let (record, target) = self.log.fill_from(source, &reserved);
        shape
            .write(target, record.key(), None)
            .copy_from_slice(&birth);
        self.log.complete(&reserved);
        self.owe(len_bytes);
        Ok(())
    }
}

/// The shape of a key's tombstone.
pub(super) const fn tombstone_of(key: &[u8]) -> Shape {
    Shape::of(Kind::TOMBSTONE, key.len(), NUMBER_LEN_BYTES)
}
