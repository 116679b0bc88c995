//! Expiry in the background: what has expired is removed although nobody asks for it.
//!
//! ```text
//!   SET k v EX 60 ─► entry in the wheel, due in 60 s ─► comes up ─► look k up ─► expired: remove
//!                                                         ▲            │ later:   put back
//!                                                         └────────────┘ gone:    forget
//! ```
//!
//! The wheel holds hashes of keys, so nothing scans the table. An entry names all keys with its hash's
//! tag and buckets, which is nearly always one; to remove what has expired is right whichever it is.
//!
//! **Invariant**: for every key with an expiry there is an entry that comes up at its tick or before.
//! So a write adds an entry only if the key had no expiry, or a later one: a session whose expiry is
//! pushed ahead with every request has one entry, which is put back about once per lifetime.
//!
//! **Litter.** Entries of keys that were deleted or persisted stay behind, and a key that comes back
//! gets another. When they outnumber the keys with an expiry by more than a constant, every slot of
//! the wheel is gone through: an entry whose key is gone, or is due before the slot, is dropped, and
//! so is the second of one hash in a slot, found in a set of a 64th of the slot's hashes at a time.
//! What is left is one entry for each key. This costs a lookup per entry, paid by the writes that
//! add entries and by background work, so the wheel is bounded without the latter: about two and a
//! half entries of 8 bytes for each key with an expiry, and a constant.
//!
//! **Budget.** The wheel counts against it. A write that finds no memory for an entry fails; EXPIRE,
//! which bounds memory, has a reserve. Entries that move on never fail: should they need more lists
//! than there is memory for, they pass the budget, by four pages at most.
//!
//! Not here: the clock, and lookups, which expire the key they find (`Shard::find`).

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::hash::KeyHash;
use crate::limits::{EXPIRY_LITTER_COUNT, EXPIRY_TICK_MS};
use crate::region::Region;

use super::table::{Place, Probe};
use super::{OutOfMemory, Purpose, Shard};

mod lists;
mod wheel;

use lists::List;
use wheel::{Taken, Wheel, tick_at, tick_of};

/// What one shard knows of when its keys expire.
#[derive(Debug)]
pub(super) struct Expiry {
    wheel: Wheel,
    sweep: Option<Box<Sweep>>,
    /// Entries to look at that writes owe the sweep.
    debt_count: usize,
    /// When somebody first knew the time: what had expired before is not late.
    began_at_ms: u64,
    lag_max_ms: u64,
}

/// Going through the wheel for litter, one slot after the other.
#[derive(Debug)]
struct Sweep {
    /// The slot to take next.
    cursor: usize,
    slot: Taken,
    /// The slot's entries, by some bits of their hash.
    parts: [List; PART_COUNT],
    part: usize,
    /// Hashes of this part that were met.
    seen: HashSet<u64, BuildHasherDefault<Unhashed>>,
}

/// Parts that a slot is cut into, so that the set of its hashes is small.
const PART_COUNT: usize = 64;
/// Entries that are looked at together, their buckets and records on the way.
const BATCH_COUNT: usize = 16;
/// Entries that the sweep looks at for each that is added.
const SWEPT_PER_ADDED: usize = 4;
/// Hashes that the set of a sweep has room for from one slot to the next.
const SEEN_COUNT_KEPT: usize = 512;

/// Hashes are random bits already.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a set of u64");
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
}

impl Expiry {
    pub(super) fn new(region: Arc<Region>) -> Self {
        Self {
            wheel: Wheel::new(region),
            sweep: None,
            debt_count: 0,
            began_at_ms: 0,
            lag_max_ms: 0,
        }
    }

    /// Forgets every entry; the memory comes back by background work.
    pub(super) fn clear(&mut self) {
        self.sweep = None;
        self.wheel.clear();
    }

    pub(super) const fn len_bytes(&self) -> u64 {
        self.wheel.len_bytes()
    }

    pub(super) const fn entry_count(&self) -> u64 {
        self.wheel.entry_count()
    }

    /// How late a key was removed at most, in milliseconds.
    pub(super) const fn lag_max_ms(&self) -> u64 {
        self.lag_max_ms
    }

    /// Adds an entry that comes up as soon as somebody knows the time: for keys found in a file.
    pub(super) fn look_soon(&mut self, hash: KeyHash) {
        self.wheel.insert_due(hash);
    }

    /// Takes an entry of what comes up first, for eviction.
    pub(super) fn take_soonest(&mut self) -> Option<KeyHash> {
        self.wheel.take_soonest()
    }

    /// Whether a key comes up with what was taken last.
    pub(super) const fn is_soonest(&self, expires_at_ms: u64) -> bool {
        tick_of(expires_at_ms) <= self.wheel.due_until()
    }

    /// Puts an entry where it belongs.
    pub(super) fn put_back(&mut self, hash: KeyHash, expires_at_ms: u64) {
        self.wheel.insert(hash, tick_of(expires_at_ms));
    }

    fn is_littered(&self, volatile_count: u64) -> bool {
        self.wheel.entry_count() > 2 * volatile_count + EXPIRY_LITTER_COUNT
    }
}

impl Shard {
    /// Removes keys that have expired by `now_ms`; looks at up to about `key_count`. True when more
    /// wait to be looked at.
    pub fn expire_due(&mut self, now_ms: u64, key_count: usize) -> bool {
        if self.expiry.began_at_ms == 0 {
            self.expiry.began_at_ms = now_ms;
        }
        if self.keeps_room() {
            return false;
        }
        let mut left_count = key_count;
        loop {
            let mut batch = [KeyHash::from_bits(0); BATCH_COUNT];
            let mut count = 0;
            while count < BATCH_COUNT
                && let Some(hash) = self.expiry.wheel.take_due(tick_at(now_ms))
            {
                batch[count] = hash;
                count += 1;
            }
            self.look_at(&batch[..count], now_ms, 0);
            left_count = left_count.saturating_sub(count);
            if left_count == 0 || count < BATCH_COUNT {
                break;
            }
        }
        if self.expiry.is_littered(self.volatile_count) {
            self.begin_sweep();
        }
        self.sweep_wheel(left_count.max(BATCH_COUNT), now_ms);
        let is_freeing = self.expiry.wheel.free_forgotten();
        left_count == 0 || is_freeing || self.expiry.sweep.is_some()
    }

    /// When [`expire_due`](Self::expire_due) has something to do, or since when it has.
    #[inline]
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        Some(self.expiry.wheel.next_tick()? * EXPIRY_TICK_MS)
    }

    /// Sees to it that a key is removed when its time comes. Called before a record with this expiry
    /// is published at `place`, and before its space is reserved: keys are removed here, and what
    /// says so in a file must stand before the record.
    ///
    /// # Errors
    /// If there is no memory for the entry.
    pub(super) fn arm(
        &mut self,
        place: Place,
        hash: KeyHash,
        expires_at_ms: u64,
        now_ms: u64,
        purpose: Purpose,
    ) -> Result<(), OutOfMemory> {
        let has_room = |shard: &mut Self| match purpose {
            Purpose::Write => shard.expiry.wheel.make_room(),
            _ => shard.expiry.wheel.make_room_of_reserve(),
        };
        // A push that finds no room passes the budget by a page, which is for those who must not fail.
        if !has_room(self) && !self.keeps_room() {
            self.with_room(|shard| has_room(shard).then_some(()))?;
        }
        let slot = self.table.slot(place);
        if !slot.is_empty()
            && let Some(before_ms) = self.log.record(slot.location()).expires_at_ms()
            && tick_of(before_ms) <= tick_of(expires_at_ms)
        {
            return Ok(());
        }
        let expiry = &mut self.expiry;
        if expiry.wheel.entry_count() == 0 {
            expiry.wheel.set_position(tick_at(now_ms));
        }
        expiry.wheel.insert(hash, tick_of(expires_at_ms));
        if expiry.sweep.is_some() || expiry.is_littered(self.volatile_count) {
            self.pay_for_entry(now_ms);
        }
        Ok(())
    }

    #[cold]
    fn pay_for_entry(&mut self, now_ms: u64) {
        self.begin_sweep();
        self.expiry.debt_count += SWEPT_PER_ADDED;
        if self.expiry.debt_count >= BATCH_COUNT {
            let count = std::mem::take(&mut self.expiry.debt_count);
            self.sweep_wheel(count, now_ms);
        }
    }

    fn begin_sweep(&mut self) {
        self.expiry.sweep.get_or_insert_with(|| {
            Box::new(Sweep {
                cursor: 0,
                slot: Taken {
                    list: List::EMPTY,
                    first_tick: 0,
                },
                parts: [List::EMPTY; PART_COUNT],
                part: PART_COUNT,
                seen: HashSet::default(),
            })
        });
    }

    /// Goes on with the sweep, if there is one: looks at up to about `entry_count` entries.
    fn sweep_wheel(&mut self, entry_count: usize, now_ms: u64) {
        let Some(mut sweep) = self.expiry.sweep.take() else {
            return;
        };
        let mut left_count = entry_count;
        while left_count > 0 {
            let mut batch = [KeyHash::from_bits(0); BATCH_COUNT];
            let mut count = 0;
            let wheel = &mut self.expiry.wheel;
            while left_count > 0 && count < BATCH_COUNT {
                left_count -= 1;
                match sweep.step(wheel) {
                    Swept::Kept(hash) => {
                        batch[count] = hash;
                        count += 1;
                    }
                    Swept::Nothing => {}
                    // The batch's entries are of this slot.
                    Swept::SlotDone if count > 0 => break,
                    Swept::SlotDone => {
                        if !sweep.take_slot(wheel) {
                            return;
                        }
                    }
                }
            }
            self.look_at(&batch[..count], now_ms, sweep.slot.first_tick);
        }
        self.expiry.sweep = Some(sweep);
    }

    /// Looks keys up that came out of the wheel: removes what has expired and puts back what will,
    /// unless that is before `first_tick`: then another entry is there.
    fn look_at(&mut self, hashes: &[KeyHash], now_ms: u64, first_tick: u64) {
        for &hash in hashes {
            self.table.prefetch(hash);
        }
        let mut probes = [Probe::NONE; BATCH_COUNT];
        for (probe, &hash) in probes.iter_mut().zip(hashes) {
            *probe = self.table.probe(hash);
        }
        for &probe in &probes[..hashes.len()] {
            let Some(expires_at_ms) = self.expire_if_due(probe, now_ms) else {
                continue;
            };
            let tick = tick_of(expires_at_ms);
            if tick >= first_tick {
                self.expiry.wheel.insert(probe.hash, tick);
            }
        }
    }

    /// Removes a key of this hash that has expired. Else says when one will first, or has, if there
    /// is no room in the file to say that it is gone.
    fn expire_if_due(&mut self, probe: Probe, now_ms: u64) -> Option<u64> {
        let mut first_ms: Option<u64> = None;
        let log = &self.log;
        let found = self.table.find(probe, |location| {
            let Some(expires_at_ms) = log.record(location).expires_at_ms() else {
                return false;
            };
            first_ms = Some(first_ms.map_or(expires_at_ms, |ms| ms.min(expires_at_ms)));
            expires_at_ms <= now_ms
        });
        let Some((place, _)) = found else {
            return first_ms;
        };
        if !self.expire(place) {
            return first_ms;
        }
        let since_ms = first_ms.unwrap_or(now_ms).max(self.expiry.began_at_ms);
        let lag_ms = now_ms.saturating_sub(since_ms);
        self.expiry.lag_max_ms = self.expiry.lag_max_ms.max(lag_ms);
        None
    }
}

/// What a step of the sweep met.
enum Swept {
    /// An entry to look at, the first of its hash.
    Kept(KeyHash),
    /// Something that took as long.
    Nothing,
    /// The end of the slot.
    SlotDone,
}

impl Sweep {
    /// Takes the next slot that is not empty; false at the end of the wheel.
    fn take_slot(&mut self, wheel: &mut Wheel) -> bool {
        let Some(slot) = wheel.take_slot(&mut self.cursor) else {
            return false;
        };
        self.slot = slot;
        self.part = 0;
        self.seen.clear();
        self.seen.shrink_to(SEEN_COUNT_KEPT);
        true
    }

    /// First all entries of the slot go to their parts, then part by part each hash comes once.
    fn step(&mut self, wheel: &mut Wheel) -> Swept {
        if let Some(hash) = wheel.pop(&mut self.slot.list) {
            wheel.push(&mut self.parts[part_of(hash)], hash);
            return Swept::Nothing;
        }
        if self.part == PART_COUNT {
            return Swept::SlotDone;
        }
        let Some(hash) = wheel.pop(&mut self.parts[self.part]) else {
            self.part += 1;
            self.seen.clear();
            return Swept::Nothing;
        };
        if self.seen.insert(hash.bits()) {
            Swept::Kept(hash)
        } else {
            Swept::Nothing
        }
    }
}

/// Of bits that choose neither the set's bucket nor its fingerprint: those of the other bucket.
const fn part_of(hash: KeyHash) -> usize {
    (hash.bits() >> 32) as usize % PART_COUNT
}

#[cfg(all(test, not(loom)))]
mod tests;
