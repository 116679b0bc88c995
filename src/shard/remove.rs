//! Keys that go: removed, expired, all of them at once.
//!
//! In memory nothing of this can fail. In a file what goes must not come back, so each removal first
//! writes a tombstone, and clearing a clear (`stream`): without room for it nothing happens.

use super::durable::tombstone_of;
use super::record::Kind;
use super::{Key, OutOfMemory, Place, Purpose, Retired, Shard};

impl Shard {
    /// Removes a key; false when it is not there.
    ///
    /// # Errors
    /// In a file only: if there is no room to say that the key is gone, and even the reserve is used
    /// up. The key is then as it was.
    pub fn remove(&mut self, key: Key<'_>, now_ms: u64) -> Result<bool, OutOfMemory> {
        let Some((place, slot)) = self.lookup(key) else {
            return Ok(false);
        };
        if self.log.record(slot.location()).is_expired(now_ms) {
            self.expire(place);
            return Ok(false);
        }
        self.take_out(place)?;
        // Within a transaction later: compaction would fill the room that was made for all of it.
        if self.log.is_durable() && !self.log.is_in_transaction() {
            self.pay_for(0);
        }
        Ok(true)
    }

    /// Removes every key. Takes no time that depends on their number of bytes; the memory comes
    /// back by background work, or to writes that need it.
    ///
    /// # Errors
    /// In a file only: if there is no block to say so in. Everything is then as it was.
    pub fn clear(&mut self) -> Result<(), OutOfMemory> {
        if self.log.is_durable() && !self.log.has_next_block() {
            self.with_room(|shard| shard.log.has_next_block().then_some(()))?;
        }
        let victim = self.compaction.abandon();
        let last = self.log.sequence();
        let block_count = self.log.block_count();
        let detached = self.log.detach(victim);
        if self.log.is_durable() {
            // In a block of its own, which is numbered after all it says are dead.
            let clear = self.log.append_number(Kind::CLEAR, last);
            assert!(clear.is_some(), "there is a next block");
        }
        self.mark_all_changes();
        self.begin_publish();
        self.table.clear(&mut self.limbo);
        self.end_publish();
        if let Some(first) = detached {
            self.give_up(Retired::Chain(first, block_count));
        }
        self.large.clear();
        self.expiry.clear();
        // What is on its way in belongs to writes that come after.
        for staged in &self.staged {
            self.large.spare(staged.run);
        }
        self.key_count = 0;
        self.volatile_count = 0;
        self.merge_at = 0;
        Ok(())
    }

    /// Removes a key whose time has come. Without room to say so it stays, and stays expired; room that
    /// is kept for others is none.
    #[cold]
    pub(super) fn expire(&mut self, place: Place) -> bool {
        let is_out = self.take_out_at_once(place);
        self.expired_count += u64::from(is_out);
        is_out
    }

    /// Removes the key at `place` unless that would have to wait for room: for reads and eviction, which
    /// do not. False: it is still there.
    pub(super) fn take_out_at_once(&mut self, place: Place) -> bool {
        let record = self.log.record(self.table.slot(place).location());
        let len_bytes = tombstone_of(record.key()).len_bytes();
        let has_room = !self.log.is_durable()
            || !self.keeps_room() && self.log.has_room(len_bytes, Purpose::Bound);
        has_room && self.take_out(place).is_ok()
    }

    /// Removes the key at `place` with its value.
    pub(super) fn take_out(&mut self, place: Place) -> Result<(), OutOfMemory> {
        if self.log.is_durable() {
            self.entomb(place)?;
        }
        self.mark_change_at(place);
        let location = self.table.slot(place).location();
        self.table.remove(place);
        self.key_count -= 1;
        self.removals += 1;
        self.give_up_value(location);
        self.bury(location);
        Ok(())
    }
}
