//! The index of one shard: extendible hashing over segments of cache-line buckets.
//!
//! ```text
//!   tag ─► directory (top bits) ─► segment, 2048 buckets of 8 slots, 128 KiB
//!
//!            0 ....... home ........ other ... 2043 │ 2044 .. 2047
//!          ┌─────────┬──────┬──────┬───────┬────────┬──────────────┐
//!          │         │      │      │       │        │ stash        │
//!          └─────────┴──────┴──────┴───────┴────────┴──────────────┘
//! ```
//!
//! A key sits in its home bucket or its other one, whichever was emptier, else in the stash. When
//! none has room, or the segment is full enough, it splits: each slot goes to the bucket of the
//! same number in one of two new segments, chosen by the next bit of its tag. No record is touched.
//!
//! **Invariants**, for other cores that read while the owner writes:
//! - a slot is published by one store and never moves within a segment that is in the directory;
//! - a new segment is complete before the directory names it, the old one is left as it was;
//! - address and depth of the directory are one word (`region::Door`);
//! - a directory entry says whether its segment's stash holds anything, set before the first slot
//!   of the stash is.
//!
//! Not here: what a location points to. Callers compare keys.

#![expect(
    unsafe_code,
    reason = "segments are addressed by their offset in the region"
)]

use std::hint::select_unpredictable;
use std::sync::Arc;

use crate::atomic::{AtomicU64, MappedWord, Ordering, word_at};
use crate::hash::{KeyHash, TAG_BITS};
use crate::limits::{
    BUCKET_SLOT_COUNT, DIRECTORY_BITS_MAX, SEGMENT_BUCKET_COUNT, SEGMENT_LEN_BYTES,
};
use crate::region::{BlockIndex, Region};

use super::limbo::{Limbo, Retired};
use super::slot::{Bucket, Location, Slot, slot_matches, tag_matches};

mod mark;
mod split;
mod view;

pub(super) use mark::Mark;
pub(super) use split::SplitError;
pub(super) use view::View;

/// The table of one shard.
#[derive(Debug)]
pub(super) struct Table {
    region: Arc<Region>,
    shard: u16,
    directory: Directory,
    depth: u32,
    /// What only the owner needs to know of a segment, at the first of its directory entries.
    loads: Vec<Load>,
    blocks: Vec<IndexBlock>,
    /// Whether some of them were taken for segments that may not be needed.
    has_kept: bool,
    /// Whether what the owner looks up counts as no use.
    is_quiet: bool,
    pub(super) segment_count: u64,
    pub(super) split_count: u64,
    pub(super) merge_count: u64,
}

/// Directory entries, each a segment's offset, its depth and whether its stash is in use.
pub(super) type Directory = Box<[AtomicU64]>;

/// A slot's place: valid until the table splits or merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    /// First directory entry of the segment.
    first: u32,
    is_stash: bool,
}

/// A key's hash, and what its buckets held when they were looked at ahead of time: the slot that is
/// the key's if the key is there. Nothing of it is believed without a second look.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The hash.
    pub hash: KeyHash,
    /// The slot's word; 0 if there was no candidate, or no look.
    word: u64,
    offset: u64,
}

/// One directory entry. Offsets of segments are multiples of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) slots: u16,
    pub(super) stash: u16,
}

/// A block that segments are cut from.
#[derive(Debug)]
struct IndexBlock {
    block: BlockIndex,
    /// Bit i: segment i of the block is free.
    free: u32,
    /// Whether the budget counts the block's use marks.
    is_marked: bool,
}

impl Probe {
    /// Whether there was a candidate.
    pub(super) const fn is_empty(self) -> bool {
        self.word == 0
    }

    /// Where the candidate's record is in the region; meaningless without one.
    #[inline(always)]
    pub(super) fn record_offset(self) -> u64 {
        Slot::from_word(self.word).offset()
    }

    /// A hash whose buckets nobody has looked at.
    #[inline]
    #[must_use]
    pub const fn of(hash: KeyHash) -> Self {
        Self {
            hash,
            word: 0,
            offset: 0,
        }
    }

    /// Of a command without a key.
    pub const NONE: Self = Self::of(KeyHash::from_bits(0));
}

/// Buckets a key can be at home in; the others are the stash.
pub(super) const HOME_BUCKET_COUNT: u32 = BUCKET_COUNT - STASH_BUCKET_COUNT;
/// Buckets of a segment.
#[expect(clippy::cast_possible_truncation, reason = "2048, asserted in limits")]
pub(super) const BUCKET_COUNT: u32 = SEGMENT_BUCKET_COUNT as u32;
const STASH_BUCKET_COUNT: u32 = if cfg!(loom) { 1 } else { 4 };
/// Bits of a door's directory word that hold the address; the depth is above.
const DIRECTORY_ADDRESS_BITS: u32 = 48;
const BUCKET_LEN_BYTES: u64 = BUCKET_SLOT_COUNT as u64 * 8;

impl Entry {
    const DEPTH_MASK: u64 = 0x1F;
    const HAS_STASH: u64 = 0x20;
    /// Segments begin at multiples of this.
    const ALIGN_BYTES: u64 = 64;

    const fn new(segment: u64, depth: u32, has_stash: bool) -> Self {
        debug_assert!(segment.is_multiple_of(Self::ALIGN_BYTES));
        Self(segment | depth as u64 | if has_stash { Self::HAS_STASH } else { 0 })
    }

    pub(super) const fn segment(self) -> u64 {
        self.0 & !(Self::ALIGN_BYTES - 1)
    }

    pub(super) const fn depth(self) -> u32 {
        (self.0 & Self::DEPTH_MASK) as u32
    }

    const fn has_stash(self) -> bool {
        self.0 & Self::HAS_STASH != 0
    }

    /// The buckets of the segment that may hold the key of `hash`.
    #[inline]
    fn buckets(self, hash: KeyHash) -> impl Iterator<Item = u32> {
        let stash = if self.has_stash() {
            HOME_BUCKET_COUNT
        } else {
            BUCKET_COUNT
        };
        let own = hash.buckets(HOME_BUCKET_COUNT);
        own.into_iter().chain(stash..BUCKET_COUNT)
    }
}

impl Table {
    /// An empty table of one segment; `None` if the region has no block for it.
    pub(super) fn new(region: Arc<Region>, shard: u16) -> Option<Self> {
        let mut table = Self {
            region,
            shard,
            directory: Box::default(),
            depth: 0,
            loads: Vec::new(),
            blocks: Vec::new(),
            has_kept: false,
            is_quiet: false,
            segment_count: 0,
            split_count: 0,
            merge_count: 0,
        };
        let segment = table.take_segment()?;
        table.begin(segment);
        Some(table)
    }

    /// Replaces everything by one empty segment and returns the old directory.
    fn begin(&mut self, segment: u64) -> Directory {
        self.zero_segment(segment);
        let entry = AtomicU64::new(Entry::new(segment, 0, false).0);
        let old = std::mem::replace(&mut self.directory, Box::new([entry]));
        self.depth = 0;
        self.loads = vec![Load::default()];
        self.publish_directory();
        old
    }

    /// Detaches all segments. They are freed later; without memory for a new one the first is
    /// emptied in place instead.
    pub(super) fn clear(&mut self, limbo: &mut Limbo) {
        let fresh = self.take_segment();
        let segment = fresh.unwrap_or_else(|| self.entry_at(0).segment());
        let kept_depth = self.entry_at(0).depth();
        // The kept segment's entries, when there is one, are skipped by the freeing.
        let start = if fresh.is_some() {
            0
        } else {
            1 << (self.depth - kept_depth)
        };
        let old = self.begin(segment);
        limbo.push(&self.region, Retired::Index(old, start));
    }

    /// The place of the key of `hash` for whose location `is_key` says yes. What `probe` found is
    /// tried first.
    #[inline]
    pub(super) fn find(
        &self,
        probe: Probe,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<(Place, Slot)> {
        if let Some((place, slot)) = self.confirm(probe)
            && is_key(slot.location())
        {
            return Some((place, slot));
        }
        self.search(probe.hash, is_key)
    }

    /// What a probe found, if the slot is still the key's and holds the same.
    #[inline]
    fn confirm(&self, probe: Probe) -> Option<(Place, Slot)> {
        let (entry, first) = self.entry_of(probe.hash);
        let is_here = probe.offset.wrapping_sub(entry.segment()) < SEGMENT_LEN_BYTES as u64;
        if probe.word == 0 || !is_here {
            return None;
        }
        let place = Place {
            offset: probe.offset,
            first,
            is_stash: false,
        };
        let slot = self.slot(place);
        (slot.word() == probe.word).then_some((place, slot))
    }

    fn search(
        &self,
        hash: KeyHash,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<(Place, Slot)> {
        let (entry, first) = self.entry_of(hash);
        for bucket in entry.buckets(hash) {
            let slots = self.bucket(entry.segment(), bucket);
            let mut matches = tag_matches(&slots, hash.tag());
            while matches != 0 {
                let index = matches.trailing_zeros();
                let slot = Slot::from_word(slots[index as usize]);
                if is_key(slot.location()) {
                    return Some((Place::new(entry, first, bucket, u64::from(index)), slot));
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// The place of the slot that points to `location`, if one does.
    pub(super) fn find_location(&self, hash: KeyHash, location: Location) -> Option<Place> {
        let (entry, first) = self.entry_of(hash);
        let wanted = Slot::new(hash.tag(), location);
        entry.buckets(hash).find_map(|bucket| {
            let matches = slot_matches(&self.bucket(entry.segment(), bucket), wanted);
            (matches != 0)
                .then(|| Place::new(entry, first, bucket, u64::from(matches.trailing_zeros())))
        })
    }

    /// An empty place for a key that is not in the table; `None`: the segment must split.
    #[inline]
    pub(super) fn vacancy(&self, hash: KeyHash) -> Option<Place> {
        let (entry, first) = self.entry_of(hash);
        let [home, other] = hash.buckets(HOME_BUCKET_COUNT).map(|bucket| {
            let empty = slot_matches(&self.bucket(entry.segment(), bucket), Slot::EMPTY);
            (bucket, empty)
        });
        let (bucket, empty) = if other.1.count_ones() > home.1.count_ones() {
            other
        } else {
            home
        };
        if empty != 0 {
            return Some(Place::new(
                entry,
                first,
                bucket,
                u64::from(empty.trailing_zeros()),
            ));
        }
        (HOME_BUCKET_COUNT..BUCKET_COUNT).find_map(|bucket| {
            let empty = slot_matches(&self.bucket(entry.segment(), bucket), Slot::EMPTY);
            (empty != 0)
                .then(|| Place::new(entry, first, bucket, u64::from(empty.trailing_zeros())))
        })
    }

    /// Whether the segment of `hash` holds so many keys that it should split before the next one.
    /// The threshold differs from segment to segment, or all of them would split at once.
    #[inline]
    pub(super) fn is_crowded(&self, hash: KeyHash) -> bool {
        let (entry, first) = self.entry_of(hash);
        let prefix = u64::from(first) << (DIRECTORY_BITS_MAX - self.depth);
        let mixed = (prefix + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let threshold = SPLIT_SLOT_COUNT_MIN + ((mixed * SPLIT_SLOT_COUNT_SPREAD) >> 32);
        u64::from(self.loads[first as usize].slots) >= threshold
            && entry.depth() < DIRECTORY_BITS_MAX
    }

    /// Publishes a key's first slot.
    #[inline]
    pub(super) fn insert(&mut self, place: Place, slot: Slot) {
        debug_assert!(self.slot(place).is_empty());
        let load = &mut self.loads[place.first as usize];
        load.slots += 1;
        if place.is_stash {
            load.stash += 1;
            if load.stash == 1 {
                self.mark_stash(place.first, true);
            }
        }
        self.store(place, slot);
    }

    /// Publishes another record for a key that is in the table.
    #[inline]
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "only the owner writes slots"
    )]
    pub(super) fn replace(&mut self, place: Place, slot: Slot) {
        debug_assert_eq!(self.slot(place).tag(), slot.tag());
        self.store(place, slot);
    }

    /// Empties a slot.
    #[inline]
    pub(super) fn remove(&mut self, place: Place) {
        debug_assert!(!self.slot(place).is_empty());
        // Before the slot: who sees it empty sees that something went.
        let removals = &self.region.door(self.shard).removals.0;
        removals.store(removals.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.store(place, Slot::EMPTY);
        let load = &mut self.loads[place.first as usize];
        load.slots -= 1;
        if place.is_stash {
            load.stash -= 1;
            if load.stash == 0 {
                self.mark_stash(place.first, false);
            }
        }
    }

    /// What the slot at `place` holds now.
    #[inline]
    pub(super) fn slot(&self, place: Place) -> Slot {
        // Relaxed: only this core writes slots.
        Slot::from_word(self.word(place.offset).load(Ordering::Relaxed))
    }

    /// Begins to fetch the buckets of `hash`.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        let (entry, _) = self.entry_of(hash);
        for bucket in hash.buckets(HOME_BUCKET_COUNT) {
            self.region.prefetch(bucket_offset(entry.segment(), bucket));
        }
    }

    /// Looks at the buckets of `hash` and begins to fetch the record that may be the key's. Without
    /// a branch that depends on what is there: which of two buckets a key is in, nobody can predict.
    #[inline(always)]
    pub(super) fn probe(&self, hash: KeyHash) -> Probe {
        let (entry, _) = self.entry_of(hash);
        let [home, other] = hash.buckets(HOME_BUCKET_COUNT);
        // Not `[home, other].map(..)`, which is not inlined everywhere: 2 ns of a GET.
        let matches = |bucket| tag_matches(&self.bucket(entry.segment(), bucket), hash.tag());
        let (of_home, of_other) = (matches(home), matches(other));
        let bucket = select_unpredictable(of_home != 0, home, other);
        let offset = bucket_offset(entry.segment(), bucket) + first_match(of_home, of_other);
        let word = self.word(offset).load(Ordering::Relaxed);
        let word = select_unpredictable(of_home | of_other != 0, word, 0);
        self.region.prefetch(Slot::from_word(word).offset());
        Probe { hash, word, offset }
    }

    /// Bits of the directory's index.
    pub(super) const fn depth(&self) -> u32 {
        self.depth
    }

    /// Entry `index` of the directory.
    #[inline]
    pub(super) fn entry_at(&self, index: usize) -> Entry {
        Entry(self.directory[index].load(Ordering::Relaxed))
    }

    /// The slots of one bucket.
    #[inline]
    pub(super) fn bucket(&self, segment: u64, bucket: u32) -> Bucket {
        let address = self.region.address(bucket_offset(segment, bucket));
        // SAFETY: buckets lie within a segment of this shard and are aligned to cache lines; only
        // this core, which is here, ever writes them.
        unsafe { address.cast::<Bucket>().read() }
    }

    /// What all slots name.
    pub(super) fn locations(&self) -> Vec<Location> {
        let mut locations = Vec::new();
        let mut index = 0;
        loop {
            let segment = self.entry_at(index).segment();
            let buckets = (0..BUCKET_COUNT).map(|bucket| self.bucket(segment, bucket));
            let words = buckets.flatten().filter(|&word| word != 0);
            locations.extend(words.map(|word| Slot::from_word(word).location()));
            index = self.next_segment(index);
            if index == 0 {
                return locations;
            }
        }
    }

    /// A place by its directory entry, bucket and slot.
    pub(super) fn place_at(&self, index: usize, bucket: u32, slot_index: u64) -> Place {
        let entry = self.entry_at(index);
        Place::new(entry, self.first_of(index, entry), bucket, slot_index)
    }

    /// The first directory entry of the segment after that of entry `index`, wrapping around.
    pub(super) fn next_segment(&self, index: usize) -> usize {
        let width = 1 << (self.depth - self.entry_at(index).depth());
        ((index & !(width - 1)) + width) % self.directory.len()
    }

    #[inline]
    fn entry_of(&self, hash: KeyHash) -> (Entry, u32) {
        // A shift of the whole tag is its whole width, which a depth of 0 asks for.
        let index = hash.tag() >> (TAG_BITS - self.depth);
        let entry = self.entry_at(index as usize);
        (entry, self.first_of(index as usize, entry))
    }

    /// The first of the directory entries that name the segment of `entry`.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "directories have 2^16 entries at most"
    )]
    fn first_of(&self, index: usize, entry: Entry) -> u32 {
        index as u32 >> (self.depth - entry.depth()) << (self.depth - entry.depth())
    }

    #[inline]
    fn word(&self, offset: u64) -> &MappedWord {
        let address = self.region.address(offset).cast::<u64>();
        // SAFETY:
        // 1. slots are aligned words within a segment of this shard;
        // 2. published slots are written through here only.
        unsafe { word_at(address) }
    }

    #[inline]
    fn store(&self, place: Place, slot: Slot) {
        // Release: who sees the slot sees the record it points to.
        self.word(place.offset)
            .store(slot.word(), Ordering::Release);
    }

    /// Sets whether readers must look into the stash. Set before its first slot is stored; a reader
    /// that missed the mark began before the key was there.
    #[cold]
    fn mark_stash(&self, first: u32, has_stash: bool) {
        let entry = self.entry_at(first as usize);
        self.name_segment(first, Entry::new(entry.segment(), entry.depth(), has_stash));
    }

    /// Makes the directory name `entry` wherever its segment belongs.
    fn name_segment(&self, first: u32, entry: Entry) {
        let count = 1usize << (self.depth - entry.depth());
        for word in &self.directory[first as usize..][..count] {
            // Release: who sees the entry sees the segment it names.
            word.store(entry.0, Ordering::Release);
        }
    }

    fn publish_directory(&self) {
        let address = self.directory.as_ptr().expose_provenance() as u64;
        assert!(
            address >> DIRECTORY_ADDRESS_BITS == 0,
            "user space addresses have 47 bits"
        );
        self.open_door(u64::from(self.depth) << DIRECTORY_ADDRESS_BITS | address);
    }

    /// Takes the table away from other cores' readers, for good.
    pub(super) fn withdraw(&mut self, limbo: &mut Limbo) {
        self.open_door(0);
        let directory = std::mem::take(&mut self.directory);
        limbo.push(&self.region, Retired::Directory(directory));
    }

    fn open_door(&self, word: u64) {
        // Release: who sees the directory sees its entries.
        self.region
            .door(self.shard)
            .directory
            .store(word, Ordering::Release);
    }

    fn zero_segment(&self, segment: u64) {
        for slot_index in 0..(SEGMENT_LEN_BYTES as u64 / 8) {
            self.word(segment + slot_index * 8)
                .store(0, Ordering::Relaxed);
        }
    }
}

/// Slots at which a segment splits at the earliest, and how many later at the latest: 74 to 86 %.
/// Up to there hardly any key is in the stash.
const SPLIT_SLOT_COUNT_MIN: u64 = HOME_SLOT_COUNT * 74 / 100;
const SPLIT_SLOT_COUNT_SPREAD: u64 = HOME_SLOT_COUNT * 12 / 100;
const HOME_SLOT_COUNT: u64 = HOME_BUCKET_COUNT as u64 * BUCKET_SLOT_COUNT as u64;

impl Place {
    #[inline]
    const fn new(entry: Entry, first: u32, bucket: u32, slot_index: u64) -> Self {
        let offset = bucket_offset(entry.segment(), bucket) + slot_index * 8;
        Self {
            offset,
            first,
            is_stash: bucket >= HOME_BUCKET_COUNT,
        }
    }
}

/// Where in its bucket the slot is that matched first, of a home and another bucket; any slot if
/// none did.
#[inline(always)]
fn first_match(of_home: u32, of_other: u32) -> u64 {
    let matches = of_home | of_other << BUCKET_SLOT_COUNT;
    u64::from(matches.trailing_zeros()) % BUCKET_SLOT_COUNT as u64 * 8
}

#[inline]
const fn bucket_offset(segment: u64, bucket: u32) -> u64 {
    segment + bucket as u64 * BUCKET_LEN_BYTES
}

const _: () = assert!(SEGMENT_LEN_BYTES as u64 == BUCKET_COUNT as u64 * BUCKET_LEN_BYTES);
const _: () = assert!(size_of::<Bucket>() as u64 == BUCKET_LEN_BYTES);
const _: () = assert!((SEGMENT_LEN_BYTES as u64).is_multiple_of(Entry::ALIGN_BYTES));
const _: () = assert!(DIRECTORY_BITS_MAX as u64 <= Entry::DEPTH_MASK);

#[cfg(test)]
mod tests;
