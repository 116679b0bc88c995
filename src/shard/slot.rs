//! One slot of the table: where a record is and 24 bits of its key's hash, in one word.
//!
//! ```text
//!   63                    40 39                                       0
//!   ┌───────────────────────┬──────────────────────────────────────────┐
//!   │ tag                   │ location: offset in the region / 8       │
//!   └───────────────────────┴──────────────────────────────────────────┘
//! ```
//!
//! The word 0 is an empty slot: offset 0 is never handed out. A slot is read and written whole, so
//! another core sees the old record or the new one and nothing between.

#![expect(unsafe_code, reason = "eight tags are compared in vector registers")]

use crate::hash::TAG_BITS;
use crate::limits::{BUCKET_SLOT_COUNT, RECORD_ALIGN_BYTES, REGION_LEN_BYTES_MAX};

/// A slot's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// Where a record starts. Only the log and the large area make locations, of records they have
/// written or are about to write: a location in a slot always points to a whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location(u64);

/// One bucket as its owner reads it: a cache line.
pub(super) type Bucket = [u64; BUCKET_SLOT_COUNT];

const LOCATION_BITS: u32 = 64 - TAG_BITS;
const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;

impl Slot {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) const fn new(tag: u32, location: Location) -> Self {
        Self((tag as u64) << LOCATION_BITS | location.0)
    }

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn location(self) -> Location {
        debug_assert!(!self.is_empty());
        Location(self.0 & LOCATION_MASK)
    }

    /// Where the record would be, whatever the word: something to prefetch.
    pub(super) const fn offset(self) -> u64 {
        (self.0 & LOCATION_MASK) * RECORD_ALIGN_BYTES as u64
    }

    pub(super) const fn tag(self) -> u32 {
        (self.0 >> LOCATION_BITS) as u32
    }

    /// The same key, moved.
    pub(super) const fn moved_to(self, location: Location) -> Self {
        Self(self.0 & !LOCATION_MASK | location.0)
    }
}

impl Location {
    pub(super) const fn from_offset(offset: u64) -> Self {
        debug_assert!(offset > 0);
        debug_assert!(offset < REGION_LEN_BYTES_MAX);
        debug_assert!(offset.is_multiple_of(RECORD_ALIGN_BYTES as u64));
        Self(offset / RECORD_ALIGN_BYTES as u64)
    }

    pub(super) const fn offset(self) -> u64 {
        self.0 * RECORD_ALIGN_BYTES as u64
    }
}

/// Bit i is set when slot i of the bucket is taken and has this tag.
#[inline]
pub(super) fn tag_matches(bucket: &Bucket, tag: u32) -> u32 {
    let matches = words_tagged(bucket, tag);
    if tag == 0 {
        matches & !slot_matches(bucket, Slot::EMPTY)
    } else {
        matches
    }
}

/// Bit i is set when the top bits of word i are this tag: four comparisons at a time of the words'
/// upper halves, with what every x86-64 has.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "bits, not numbers"
)]
fn words_tagged(bucket: &Bucket, tag: u32) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32,
        _mm_loadu_si128, _mm_movemask_ps, _mm_set1_epi32, _mm_shuffle_ps,
    };
    const UPPER_HALVES: i32 = 0b11_01_11_01;
    const TAG_SHIFT_OF_UPPER_HALF: u32 = LOCATION_BITS - 32;
    const TAG_OF_UPPER_HALF: u32 = u32::MAX << TAG_SHIFT_OF_UPPER_HALF;
    let four = |words: &[u64; 4]| {
        let pairs = words.as_ptr().cast::<__m128i>();
        // SAFETY: SSE2 is part of x86-64; four words are two vectors, which need no alignment.
        unsafe {
            let low = _mm_castsi128_ps(_mm_loadu_si128(pairs));
            let high = _mm_castsi128_ps(_mm_loadu_si128(pairs.add(1)));
            let upper = _mm_castps_si128(_mm_shuffle_ps::<UPPER_HALVES>(low, high));
            let tags = _mm_and_si128(upper, _mm_set1_epi32(TAG_OF_UPPER_HALF as i32));
            let wanted = _mm_set1_epi32((tag << TAG_SHIFT_OF_UPPER_HALF) as i32);
            _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(tags, wanted))) as u32
        }
    };
    let (fours, _) = bucket.as_chunks::<4>();
    four(&fours[0]) | four(&fours[1]) << 4
}

/// Bit i is set when the top bits of word i are this tag.
#[cfg(any(not(target_arch = "x86_64"), loom))]
#[inline]
fn words_tagged(bucket: &Bucket, tag: u32) -> u32 {
    let is_tagged = |word: u64| word >> LOCATION_BITS == u64::from(tag);
    let bits = bucket.iter().enumerate();
    bits.fold(0, |matches, (index, &word)| {
        matches | u32::from(is_tagged(word)) << index
    })
}

/// Bit i is set when slot i of the bucket holds exactly `slot`.
#[inline]
pub(super) fn slot_matches(bucket: &Bucket, slot: Slot) -> u32 {
    bucket
        .iter()
        .enumerate()
        .fold(0, |matches, (index, &word)| {
            matches | u32::from(word == slot.0) << index
        })
}

const _: () = assert!(REGION_LEN_BYTES_MAX / RECORD_ALIGN_BYTES as u64 == 1 << LOCATION_BITS);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_tag_and_location_apart() {
        let last = Location::from_offset(REGION_LEN_BYTES_MAX - 8);
        let slot = Slot::new(0xABCDEF, last);
        assert_eq!((slot.tag(), slot.location()), (0xABCDEF, last));
        let moved = slot.moved_to(Location::from_offset(8));
        assert_eq!((moved.tag(), moved.location().offset()), (0xABCDEF, 8));
    }

    #[test]
    fn tags_match_taken_slots_only() {
        let location = Location::from_offset(64);
        let mut bucket: Bucket = [0; 8];
        assert_eq!(tag_matches(&bucket, 0), 0);
        bucket[1] = Slot::new(0, location).word();
        bucket[6] = Slot::new(0xFF_FFFF, Location::from_offset(REGION_LEN_BYTES_MAX - 8)).word();
        bucket[7] = Slot::new(1, location).word();
        assert_eq!(tag_matches(&bucket, 0), 1 << 1);
        assert_eq!(tag_matches(&bucket, 0xFF_FFFF), 1 << 6);
        assert_eq!(tag_matches(&bucket, 1), 1 << 7);
        assert_eq!(tag_matches(&bucket, 2), 0);
        assert_eq!(slot_matches(&bucket, Slot::new(1, location)), 1 << 7);
    }
}
