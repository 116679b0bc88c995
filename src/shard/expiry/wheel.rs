//! When keys fall due: a timing wheel of key hashes.
//!
//! ```text
//!   level 0   256 slots of a tick       ┐  a slot is a list of hashes; when the wheel's position
//!   level 1   256 slots of 256 ticks    ├─ reaches the first tick of a slot, all of it is due:
//!   level 2   256 slots of 2^16 ticks   │  to be looked at, and put back where it belongs now
//!   level 3   256 slots of 2^24 ticks   ┘
//! ```
//!
//! An entry is 8 bytes and does not know its tick: whoever takes it looks its key up, which says
//! when the key expires, and whether it is still there. So going down a level and coming due are
//! the same thing, and entries of keys that were deleted vanish on the way. After the hierarchical
//! wheels of Varghese and Lauck (SOSP 1987), without timers that are cancelled.
//!
//! **Invariant**: an entry comes up at its tick or before, never later, also when the clock is set
//! back or jumps. Before is harmless: it is put back.
//!
//! Not here: keys, and what entries are worth (`expiry`).

use std::sync::Arc;

use crate::hash::KeyHash;
use crate::limits::EXPIRY_TICK_MS;
use crate::region::Region;

use super::lists::{List, Lists};

/// The entries of one shard, by when they come up.
#[derive(Debug)]
pub(super) struct Wheel {
    lists: Lists,
    slots: Box<[[List; SLOT_COUNT]; LEVEL_COUNT]>,
    /// By level, bit n: slot n is not empty.
    filled: [[u64; SLOT_COUNT / WORD_BITS]; LEVEL_COUNT],
    /// The tick that was reached: slots that begin here or before were taken.
    position: u64,
    /// The first tick after `position` at which a slot comes up; `u64::MAX` if there is none.
    next: u64,
    /// What has come up and was not yet looked at.
    due: List,
    /// The last tick of the slot that was taken for it.
    due_until: u64,
    entry_count: u64,
}

/// A slot taken out as a whole.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) list: List,
    /// The tick at which it would have come up.
    pub(super) first_tick: u64,
}

const LEVEL_COUNT: usize = 4;
const SLOT_BITS: usize = 8;
const SLOT_COUNT: usize = 1 << SLOT_BITS;
const WORD_BITS: usize = 64;

/// The tick at which everything that expires at `expires_at_ms` has expired.
pub(super) const fn tick_of(expires_at_ms: u64) -> u64 {
    expires_at_ms / EXPIRY_TICK_MS + 1
}

/// The tick that is reached at `now_ms`.
pub(super) const fn tick_at(now_ms: u64) -> u64 {
    now_ms / EXPIRY_TICK_MS
}

impl Wheel {
    pub(super) fn new(region: Arc<Region>) -> Self {
        Self {
            lists: Lists::new(region),
            slots: Box::new([[List::EMPTY; SLOT_COUNT]; LEVEL_COUNT]),
            filled: Default::default(),
            position: 0,
            next: u64::MAX,
            due: List::EMPTY,
            due_until: 0,
            entry_count: 0,
        }
    }

    /// Adds an entry that comes up at `tick`, or as soon as possible after that.
    #[inline]
    pub(super) fn insert(&mut self, hash: KeyHash, tick: u64) {
        let tick = tick.clamp(self.position + 1, self.position + TICK_SPAN);
        let distance_at = |level: usize| {
            let shift = SLOT_BITS * level;
            (tick >> shift) - (self.position >> shift)
        };
        let mut level = 0;
        while distance_at(level) >= SLOT_COUNT as u64 {
            level += 1;
        }
        let slot = slot_at(tick, level);
        self.lists.push(&mut self.slots[level][slot], hash);
        self.filled[level][slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        let shift = SLOT_BITS * level;
        self.next = self.next.min(tick >> shift << shift);
        self.entry_count += 1;
    }

    /// Adds an entry that has come up.
    pub(super) fn insert_due(&mut self, hash: KeyHash) {
        self.lists.push(&mut self.due, hash);
        self.entry_count += 1;
    }

    /// The next entry that has come up by the tick `now`.
    #[inline]
    pub(super) fn take_due(&mut self, now: u64) -> Option<KeyHash> {
        if self.due.is_empty() && !self.advance(now) {
            return None;
        }
        if self.next == u64::MAX {
            // Nothing is in the slots that could be passed over.
            self.position = self.position.max(now);
        }
        self.pop_due()
    }

    fn pop_due(&mut self) -> Option<KeyHash> {
        let hash = self.lists.pop(&mut self.due)?;
        self.entry_count -= 1;
        Some(hash)
    }

    /// An entry of the slot that comes up first, whatever the time is. Its other entries come up with
    /// it: early, which is harmless.
    pub(super) fn take_soonest(&mut self) -> Option<KeyHash> {
        if self.due.is_empty() {
            let slots = (0..LEVEL_COUNT).filter_map(|level| {
                let slot = self.next_filled(level)?;
                Some((self.comes_up_at(level, slot), level, slot))
            });
            let (first_tick, level, slot) = slots.min()?;
            self.due = self.empty_slot(level, slot);
            self.due_until = first_tick + (1 << (SLOT_BITS * level)) - 1;
            self.next = self.find_next();
        }
        self.pop_due()
    }

    /// The last tick of the slot from which entries were taken last.
    pub(super) const fn due_until(&self) -> u64 {
        self.due_until
    }

    /// The tick at which something comes up, or since which it waits to be taken.
    pub(super) fn next_tick(&self) -> Option<u64> {
        if !self.due.is_empty() {
            return Some(self.position);
        }
        (self.next != u64::MAX).then_some(self.next)
    }

    /// Goes on to `now` without looking for entries: there are none, or they may come up early.
    pub(super) fn set_position(&mut self, now: u64) {
        self.position = now;
        self.next = self.find_next();
    }

    pub(super) const fn entry_count(&self) -> u64 {
        self.entry_count
    }

    /// Bytes of the lists.
    pub(super) const fn len_bytes(&self) -> u64 {
        self.lists.len_bytes()
    }

    /// Makes sure that the next insert stays within the budget; false when it cannot.
    #[inline]
    pub(super) fn make_room(&mut self) -> bool {
        self.lists.make_room()
    }

    /// As [`make_room`](Self::make_room), with what is kept for those who must not fail.
    #[inline]
    pub(super) fn make_room_of_reserve(&mut self) -> bool {
        self.lists.make_room_of_reserve()
    }

    /// Forgets every entry.
    pub(super) fn clear(&mut self) {
        self.lists.clear();
        *self.slots = [[List::EMPTY; SLOT_COUNT]; LEVEL_COUNT];
        self.filled = Default::default();
        self.next = u64::MAX;
        self.due = List::EMPTY;
        self.entry_count = 0;
    }

    /// Frees some of what was forgotten; true when there is more.
    pub(super) fn free_forgotten(&mut self) -> bool {
        self.lists.free_retired()
    }

    // ── taking entries out whenever they are due ────────────────────────────────────────────────

    /// Takes all of the first slot that is not empty, from `cursor` on; moves `cursor` behind it.
    pub(super) fn take_slot(&mut self, cursor: &mut usize) -> Option<Taken> {
        while *cursor < LEVEL_COUNT * SLOT_COUNT {
            let (level, slot) = (*cursor / SLOT_COUNT, *cursor % SLOT_COUNT);
            *cursor += 1;
            if !self.slots[level][slot].is_empty() {
                let first_tick = self.comes_up_at(level, slot);
                let list = self.empty_slot(level, slot);
                return Some(Taken { list, first_tick });
            }
        }
        None
    }

    /// Takes an entry out of a list that was taken.
    #[inline]
    pub(super) fn pop(&mut self, list: &mut List) -> Option<KeyHash> {
        let hash = self.lists.pop(list)?;
        self.entry_count -= 1;
        Some(hash)
    }

    /// Adds an entry to a list of the caller's.
    #[inline]
    pub(super) fn push(&mut self, list: &mut List, hash: KeyHash) {
        self.lists.push(list, hash);
        self.entry_count += 1;
    }

    /// Moves on until something is due; false when nothing is by `now`.
    #[cold]
    fn advance(&mut self, now: u64) -> bool {
        if now < self.position {
            // The clock was set back. What is in the slots comes up at its tick or earlier.
            self.set_position(now);
        }
        while self.next <= now {
            self.position = self.next;
            // All slots that begin at this tick, from one level at a time.
            for level in 0..LEVEL_COUNT {
                let is_first = self.position.trailing_zeros() as usize >= SLOT_BITS * level;
                let slot = slot_at(self.position, level);
                if is_first && !self.slots[level][slot].is_empty() {
                    self.due = self.empty_slot(level, slot);
                    self.next = self.find_next_or_here();
                    return true;
                }
            }
            self.next = self.find_next();
        }
        self.position = now;
        false
    }

    fn empty_slot(&mut self, level: usize, slot: usize) -> List {
        self.filled[level][slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
        std::mem::take(&mut self.slots[level][slot])
    }

    /// As [`find_next`](Self::find_next), but another level's slot may begin at the position itself.
    fn find_next_or_here(&self) -> u64 {
        let is_here = |level: usize| {
            let is_first = self.position.trailing_zeros() as usize >= SLOT_BITS * level;
            is_first && !self.slots[level][slot_at(self.position, level)].is_empty()
        };
        if (0..LEVEL_COUNT).any(is_here) {
            return self.position;
        }
        self.find_next()
    }

    fn find_next(&self) -> u64 {
        let levels = (0..LEVEL_COUNT).filter_map(|level| {
            let slot = self.next_filled(level)?;
            Some(self.comes_up_at(level, slot))
        });
        levels.min().unwrap_or(u64::MAX)
    }

    /// The first slot of a level that is not empty, counted from the one after the position.
    fn next_filled(&self, level: usize) -> Option<usize> {
        let start = (slot_at(self.position, level) + 1) % SLOT_COUNT;
        let words = self.filled[level];
        let before_start = (1u64 << (start % WORD_BITS)) - 1;
        let word_count = words.len();
        // The word of `start` comes twice: its upper bits first, its lower bits last.
        (0..=word_count).find_map(|step| {
            let index = (start / WORD_BITS + step) % word_count;
            let word = match step {
                0 => words[index] & !before_start,
                _ if step == word_count => words[index] & before_start,
                _ => words[index],
            };
            (word != 0).then(|| index * WORD_BITS + word.trailing_zeros() as usize)
        })
    }

    /// The first tick after the position at which a slot begins.
    fn comes_up_at(&self, level: usize, slot: usize) -> u64 {
        let shift = SLOT_BITS * level;
        let here = self.position >> shift;
        let ahead = (slot + SLOT_COUNT - slot_at(self.position, level) - 1) % SLOT_COUNT + 1;
        (here + ahead as u64) << shift
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "masked to eight bits")]
const fn slot_at(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS * level)) as usize % SLOT_COUNT
}

/// How far ahead an entry can be put: what is due later comes up early, and is put back.
const TICK_SPAN: u64 = (SLOT_COUNT as u64 - 1) << (SLOT_BITS * (LEVEL_COUNT - 1));

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use crate::region::RegionOptions;

    fn wheel() -> Wheel {
        let options = RegionOptions {
            maxmemory_bytes: 64 * MIB as u64,
            shard_count: 1,
        };
        Wheel::new(Arc::new(
            Region::anonymous(options).expect("a small region"),
        ))
    }

    /// Runs the wheel as the shard does: what comes up early is put back. Returns what came up at
    /// its tick or later, with when that was.
    fn run(wheel: &mut Wheel, now: u64, tick_of: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
        let mut up = Vec::new();
        while let Some(hash) = wheel.take_due(now) {
            let number = hash.bits();
            if tick_of(number) <= now {
                up.push((number, now));
            } else {
                wheel.insert(hash, tick_of(number));
            }
        }
        up
    }

    #[test]
    fn entries_come_up_at_their_tick() {
        let mut wheel = wheel();
        let start = 13_281_250_000;
        wheel.set_position(start);
        // From one tick to beyond what four levels span.
        let tick_of = |number: u64| start + 1 + number * number * number * 40;
        for number in 0..800 {
            wheel.insert(KeyHash::from_bits(number), tick_of(number));
        }
        let mut seen = 0;
        while let Some(next) = wheel.next_tick() {
            assert!(run(&mut wheel, next - 1, tick_of).is_empty());
            for (number, now) in run(&mut wheel, next, tick_of) {
                assert_eq!(tick_of(number), now);
                seen += 1;
            }
        }
        assert_eq!((seen, wheel.entry_count()), (800, 0));
    }

    #[test]
    fn nothing_is_late_when_the_clock_jumps_ahead_or_back() {
        let mut wheel = wheel();
        wheel.set_position(1_000_000);
        let tick_of = |number: u64| 1_000_001 + number * 97 % 300_000;
        for number in 0..10_000 {
            wheel.insert(KeyHash::from_bits(number), tick_of(number));
        }
        let mut seen = 0;
        for now in [
            1_000_100, 1_100_000, 1_000_050, 1_000_700, 999_000, 1_200_000, 1_100_001, 1_250_000,
            1_400_000,
        ] {
            seen += run(&mut wheel, now, tick_of).len();
            let is_left = |number: &u64| tick_of(*number) > now;
            let left_at_least = (0..10_000).filter(is_left).count() as u64;
            assert!(wheel.entry_count() <= left_at_least.max(10_000 - seen as u64));
        }
        assert_eq!((seen, wheel.entry_count()), (10_000, 0));
    }

    #[test]
    fn an_overdue_entry_comes_up_at_the_next_tick() {
        let mut wheel = wheel();
        wheel.set_position(500);
        wheel.insert(KeyHash::from_bits(1), 3);
        assert_eq!(wheel.take_due(500), None);
        assert_eq!(wheel.take_due(501), Some(KeyHash::from_bits(1)));
        assert_eq!(wheel.take_due(502), None);
        assert_eq!(wheel.next_tick(), None);
    }

    #[test]
    fn slots_taken_out_hold_every_entry_not_yet_due() {
        let mut wheel = wheel();
        wheel.set_position(77);
        for number in 0..5_000 {
            wheel.insert(KeyHash::from_bits(number), 78 + number * number);
        }
        let mut cursor = 0;
        let mut popped = Vec::new();
        while let Some(mut taken) = wheel.take_slot(&mut cursor) {
            while let Some(hash) = wheel.pop(&mut taken.list) {
                assert!(taken.first_tick <= 78 + hash.bits() * hash.bits());
                popped.push(hash.bits());
            }
        }
        popped.sort_unstable();
        assert!(popped.into_iter().eq(0..5_000));
        assert_eq!(wheel.entry_count(), 0);
        assert_eq!(wheel.take_due(u64::from(u32::MAX)), None);
    }
}
