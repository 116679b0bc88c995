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
    AtomicU64, BUCKET_COUNT, DIRECTORY_ADDRESS_BITS, Entry, HOME_BUCKET_COUNT, Ordering,
    bucket_offset,
};
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

    /// The location of the key of `hash`, for which `is_key` says yes.
    #[inline]
    pub(in super::super) fn find(
        self,
        hash: KeyHash,
        mut is_key: impl FnMut(Location) -> bool,
    ) -> Option<Location> {
        let entry = self.entry_of(hash);
        let stash = if entry.has_stash() {
            HOME_BUCKET_COUNT
        } else {
            BUCKET_COUNT
        };
        hash.buckets(HOME_BUCKET_COUNT)
            .into_iter()
            .chain(stash..BUCKET_COUNT)
            .find_map(|bucket| {
                let slots = self.bucket(entry, bucket);
                matches_of(&slots, hash).find(|&location| is_key(location))
            })
    }

    /// Begins to fetch the buckets of `hash`.
    #[inline]
    pub(in super::super) fn prefetch_buckets(self, hash: KeyHash) {
        let entry = self.entry_of(hash);
        for bucket in hash.buckets(HOME_BUCKET_COUNT) {
            self.region.prefetch(bucket_offset(entry.segment(), bucket));
        }
    }

    /// Begins to fetch the records in the buckets of `hash` that may be its key's.
    #[inline]
    pub(in super::super) fn prefetch_records(self, hash: KeyHash) {
        let entry = self.entry_of(hash);
        for bucket in hash.buckets(HOME_BUCKET_COUNT) {
            let slots = self.bucket(entry, bucket);
            matches_of(&slots, hash).for_each(|location| self.region.prefetch(location.offset()));
        }
    }

    #[inline]
    fn entry_of(self, hash: KeyHash) -> Entry {
        let index = hash.tag() >> (TAG_BITS - self.directory.len().trailing_zeros());
        Entry(self.directory[index as usize].load(Ordering::Acquire))
    }

    #[inline]
    fn bucket(self, entry: Entry, bucket: u32) -> Bucket {
        let start = bucket_offset(entry.segment(), bucket);
        std::array::from_fn(|slot_index| {
            let address = self.region.address(start + slot_index as u64 * 8);
            // SAFETY:
            // 1. an aligned word of a segment, which the pin keeps from being used otherwise;
            // 2. its owner writes it through the same door.
            unsafe { word_at(address.cast()) }.load(Ordering::Acquire)
        })
    }
}

/// The locations in a bucket whose tag is that of `hash`.
#[inline]
fn matches_of(slots: &Bucket, hash: KeyHash) -> impl Iterator<Item = Location> {
    let mut matches = tag_matches(slots, hash.tag());
    std::iter::from_fn(move || {
        let index = (matches != 0).then(|| matches.trailing_zeros())?;
        matches &= matches - 1;
        Some(Slot::from_word(slots[index as usize]).location())
    })
}
