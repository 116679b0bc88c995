//! The table as other cores read it while its owner writes.
//!
//! ```text
//!   door ─► directory ─► entry ─► slots of a bucket ─► location        each one atomic load
//! ```
//!
//! Every load is an acquire: what a word names is complete when the word is seen. A key that is in
//! the table during the whole lookup is found: its slot does not move, and a reader that is still in
//! a segment that was split or merged meanwhile finds there what was true at that moment. So a
//! lookup that finds nothing has met a moment at which the key was absent.
//!
//! Not here: what makes several slots change at once, and whose record a location is (`reader`).

#![expect(
    unsafe_code,
    reason = "what a directory and a segment hold is found by address"
)]

use super::{
    AtomicU64, DIRECTORY_ADDRESS_BITS, Entry, HOME_BUCKET_COUNT, Ordering, Probe,
    SEGMENT_LEN_BYTES, bucket_offset, first_match, mark::touch,
};
use std::hint::select_unpredictable;

use crate::atomic::{note_read, word_at};
use crate::hash::{KeyHash, TAG_BITS};
use crate::region::Region;
use crate::shard::slot::{Bucket, Location, Slot, tag_matches};

/// One shard's table, seen from another core.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct View<'a> {
    region: &'a Region,
    directory: &'a [AtomicU64],
}

impl<'a> View<'a> {
    /// The table of `shard`; none before it is made and after it is gone.
    ///
    /// # Safety
    /// The calling core is pinned, and stays so as long as `'a`.
    #[inline]
    pub(in super::super) unsafe fn of(region: &'a Region, shard: u16) -> Option<Self> {
        let word = region.door(shard).directory.load(Ordering::Acquire);
        if word == 0 {
            return None;
        }
        let address = usize::try_from(word & ((1 << DIRECTORY_ADDRESS_BITS) - 1));
        let start = std::ptr::with_exposed_provenance::<AtomicU64>(address.expect("an address"));
        let entry_count = 1 << (word >> DIRECTORY_ADDRESS_BITS);
        note_read(start.cast(), entry_count * size_of::<AtomicU64>());
        // SAFETY:
        // 1. address and depth are one word, so they are of one directory, which is complete;
        // 2. a directory that is replaced is freed when no core is pinned that may have seen it.
        let directory = unsafe { std::slice::from_raw_parts(start, entry_count) };
        Some(Self { region, directory })
    }

    /// The location of a key, for which `is_key` says yes. What `probe` found is tried first.
    #[inline]
    pub(in super::super) fn find(
        self,
        probe: Probe,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<Location> {
        let entry = self.entry_of(probe.hash);
        if let Some(location) = self.confirm(entry, probe)
            && is_key(location)
        {
            touch(self.region, probe.offset, false);
            return Some(location);
        }
        let found = self.search(entry, probe.hash, is_key)?;
        touch(self.region, found.offset, false);
        Some(Slot::from_word(found.word).location())
    }

    /// The same, as a probe of the key's slot; one without a word if the key is not there.
    #[inline]
    pub(in super::super) fn locate(
        self,
        probe: Probe,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Probe {
        let entry = self.entry_of(probe.hash);
        match self.confirm(entry, probe) {
            Some(location) if is_key(location) => probe,
            _ => self
                .search(entry, probe.hash, is_key)
                .unwrap_or(Probe::of(probe.hash)),
        }
    }

    /// Whether the slot that a probe names is still the key's and holds the same.
    #[inline]
    pub(in super::super) fn is_same(self, probe: Probe) -> bool {
        self.confirm(self.entry_of(probe.hash), probe).is_some()
    }

    /// What a probe found, if the slot is still the key's and holds the same.
    #[inline]
    fn confirm(self, entry: Entry, probe: Probe) -> Option<Location> {
        let is_here = probe.offset.wrapping_sub(entry.segment()) < SEGMENT_LEN_BYTES as u64;
        let is_same = probe.word != 0 && is_here && self.slot(probe.offset) == probe.word;
        is_same.then(|| Slot::from_word(probe.word).location())
    }

    fn search(
        self,
        entry: Entry,
        hash: KeyHash,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<Probe> {
        entry.buckets(hash).find_map(|bucket| {
            let slots = self.bucket(entry, bucket);
            let mut matches = tag_matches(&slots, hash.tag());
            while matches != 0 {
                let index = matches.trailing_zeros();
                let word = slots[index as usize];
                if is_key(Slot::from_word(word).location()) {
                    let offset = bucket_offset(entry.segment(), bucket) + u64::from(index) * 8;
                    return Some(Probe { hash, word, offset });
                }
                matches &= matches - 1;
            }
            None
        })
    }

    /// Begins to fetch the buckets of `hash`.
    #[inline(always)]
    pub(in super::super) fn prefetch_buckets(self, hash: KeyHash) {
        let entry = self.entry_of(hash);
        for bucket in hash.buckets(HOME_BUCKET_COUNT) {
            self.region.prefetch(bucket_offset(entry.segment(), bucket));
        }
    }

    /// Looks at the buckets of `hash` and begins to fetch the record that may be the key's; without
    /// a branch that depends on what is there, as the owner does (`Table::probe`).
    #[inline(always)]
    pub(in super::super) fn probe(self, hash: KeyHash) -> Probe {
        let entry = self.entry_of(hash);
        let [home, other] = hash.buckets(HOME_BUCKET_COUNT);
        let matches = |bucket| tag_matches(&self.bucket(entry, bucket), hash.tag());
        let (of_home, of_other) = (matches(home), matches(other));
        let bucket = select_unpredictable(of_home != 0, home, other);
        let offset = bucket_offset(entry.segment(), bucket) + first_match(of_home, of_other);
        let word = select_unpredictable(of_home | of_other != 0, self.slot(offset), 0);
        self.region.prefetch(Slot::from_word(word).offset());
        Probe { hash, word, offset }
    }

    #[inline]
    fn entry_of(self, hash: KeyHash) -> Entry {
        let index = hash.tag() >> (TAG_BITS - self.directory.len().trailing_zeros());
        Entry(self.directory[index as usize].load(Ordering::Acquire))
    }

    #[inline]
    fn bucket(self, entry: Entry, bucket: u32) -> Bucket {
        let start = bucket_offset(entry.segment(), bucket);
        std::array::from_fn(|index| self.slot(start + index as u64 * 8))
    }

    /// The word of the slot at `offset`.
    #[inline]
    fn slot(self, offset: u64) -> u64 {
        let address = self.region.address(offset).cast();
        // SAFETY:
        // 1. an aligned word of a segment, which the pin keeps from being used otherwise;
        // 2. its owner writes it through the same door.
        unsafe { word_at(address) }.load(Ordering::Acquire)
    }
}
