//! Reading the keys of another core's shard, without that core.
//!
//! ```text
//!   sequence, even ─► directory ─► entry ─► slots ─► record ─► expiry ─► sequence, the same
//! ```
//!
//! A record never changes once its slot names it, and neither it nor the table's parts are used for
//! anything else while a core is pinned that may have seen them (`epoch`). So a lookup is a few
//! loads, and its answer was true at some moment between the first and the last.
//!
//! A command that changes several slots makes the shard's sequence word odd meanwhile. A reader that
//! finds it odd, or changed when it is done, has perhaps seen a part of the change: it is unsure, and
//! the owner must be asked. So it must for a large value, which its owner may change in place, and for
//! a key whose time has come: the owner removes it, and its clock alone decides when that is. All
//! lookups of one reader compare with the word as it was when the reader was made: those that were
//! answered saw none or all of every such command.
//!
//! Here, too, is what an owner does for its readers; not here: the walk through the table
//! (`table::view`).

#![expect(
    unsafe_code,
    reason = "a pin, not a borrow, keeps what other cores own"
)]

use super::record::{Kind, Record};
use super::table::View;
use super::{Key, Probe, Shard, Value};
use crate::atomic::{Ordering, fence};
use crate::hash::{Hasher, KeyHash};
use crate::region::Region;

/// Looks keys of another shard up; borrows this core's own shard, which is pinned meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub(super) region: &'a Region,
    hasher: &'a Hasher,
    pub(super) shard: u16,
    /// The shard's sequence word when the reader was made.
    pub(super) sequence: u64,
}

/// Only the owner can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

impl Shard {
    /// A reader of the keys of `shard` in the same region. The first one pins this core, until
    /// [`end_reads`](Self::end_reads): meanwhile no shard can use the memory again that it gives up.
    #[inline]
    #[must_use]
    pub fn reader(&self, shard: u16) -> Reader<'_> {
        if !self.region.epochs().is_pinned(self.id) {
            self.region.epochs().pin(self.id);
        }
        // Acquire: what the command before has changed is seen.
        let sequence = self.region.door(shard).sequence.load(Ordering::Acquire);
        Reader {
            region: &self.region,
            hasher: &self.hasher,
            shard,
            sequence,
        }
    }

    /// Lets other shards use again what they have given up.
    #[inline]
    pub fn end_reads(&mut self) {
        if self.region.epochs().is_pinned(self.id) {
            self.region.epochs().unpin(self.id);
        }
    }

    /// Several slots are about to change together: other cores must not read between. May be nested.
    pub fn begin_publish(&mut self) {
        if self.publish_depth == 0 {
            self.region
                .door(self.id)
                .sequence
                .fetch_add(1, Ordering::Relaxed);
            // Who sees one of the changes sees that the word was odd.
            fence(Ordering::Release);
        }
        self.publish_depth += 1;
    }

    /// The slots that change together have changed.
    pub fn end_publish(&mut self) {
        self.publish_depth -= 1;
        if self.publish_depth == 0 {
            // Release: who sees the word even again sees all of the changes.
            self.region
                .door(self.id)
                .sequence
                .fetch_add(1, Ordering::Release);
        }
    }
}

impl Drop for Shard {
    /// Other cores may be looking at the directory, which is not part of the region.
    fn drop(&mut self) {
        self.end_reads();
        self.table.withdraw(&mut self.limbo);
        self.limbo.abandon(&self.region, self.id);
    }
}

impl<'a> Reader<'a> {
    /// The value of a key that is there.
    ///
    /// # Errors
    /// If its time has come, if the value is a large one, or if a command is changing several keys.
    #[inline]
    pub fn find(&self, key: Key<'_>, now_ms: u64) -> Result<Option<Value<'a>>, Unsure> {
        if !self.sequence.is_multiple_of(2) {
            return Err(Unsure);
        }
        let found = self.lookup(key)?;
        // After the acquiring loads of the lookup: had one of them seen a part of a change of
        // several slots, then this one would see that the word was odd.
        let sequence = &self.region.door(self.shard).sequence;
        if sequence.load(Ordering::Relaxed) != self.sequence {
            return Err(Unsure);
        }
        let Some(record) = found else {
            return Ok(None);
        };
        let shape = record.shape();
        let expires_at_ms = record.expires_at_ms();
        let is_expired = expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms);
        if shape.kind != Kind::STRING || is_expired {
            return Err(Unsure);
        }
        Ok(Some(Value {
            bytes: record.value(),
            expires_at_ms,
            is_raw: shape.is_raw,
            large: None,
        }))
    }

    /// `bytes` as a key.
    #[inline]
    #[must_use]
    pub fn key<'b>(&self, bytes: &'b [u8]) -> Key<'b> {
        Key::new(bytes, self.hasher.hash(bytes))
    }

    /// Begins to fetch where the slot of a key is.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: KeyHash) {
        if let Some(view) = self.view() {
            view.prefetch_buckets(hash);
        }
    }

    /// Looks at the slots of a key whose bucket has arrived and begins to fetch its record. What it
    /// returns, put into the [`Key`], saves the search for the slot; the slot is looked at again.
    #[inline(always)]
    #[must_use]
    pub fn probe(&self, hash: KeyHash) -> Probe {
        self.view()
            .map_or_else(|| Probe::of(hash), |view| view.probe(hash))
    }

    #[inline]
    fn lookup(&self, key: Key<'_>) -> Result<Option<Record<'a>>, Unsure> {
        let view = self.view().ok_or(Unsure)?;
        let location = view.find(key.probe, |location| {
            // SAFETY: as below.
            unsafe { Record::at(self.region, location) }.has_key(key.bytes)
        });
        // SAFETY:
        // 1. a slot named the location, so a whole record was there;
        // 2. this core is pinned, so neither its block nor its run is used again meanwhile.
        Ok(location.map(|location| unsafe { Record::at(self.region, location) }))
    }

    /// The slot of a key, as a probe; one of nothing if the key is not there.
    #[inline]
    pub(super) fn locate(&self, key: Key<'_>) -> Result<Probe, Unsure> {
        let view = self.view().ok_or(Unsure)?;
        Ok(view.locate(key.probe, |location| {
            // SAFETY: as in `lookup`.
            unsafe { Record::at(self.region, location) }.has_key(key.bytes)
        }))
    }

    /// Whether a slot still holds what a probe found there.
    #[inline]
    pub(super) fn is_same(&self, probe: Probe) -> bool {
        self.view().is_some_and(|view| view.is_same(probe))
    }

    #[inline]
    fn view(&self) -> Option<View<'a>> {
        // SAFETY: `Shard::reader` has pinned the core, and the borrow of the shard keeps it from
        // ending that, in `end_reads` or by renewing the pin in a write.
        unsafe { View::of(self.region, self.shard) }
    }
}
