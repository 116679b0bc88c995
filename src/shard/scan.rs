//! Walking over all keys in steps that survive the table's growing and shrinking.
//!
//! ```text
//!   cursor, 32 bits:   31          16 15   11 10          0
//!                      ┌─────────────┬───────┬─────────────┐
//!                      │ tag prefix  │ depth │ bucket      │
//!                      └─────────────┴───────┴─────────────┘
//! ```
//!
//! Segments are visited in the order of their tags, the buckets of each from 0 to the stash. The
//! cursor says which part of the tags is being visited, as a prefix of so many bits, and which
//! bucket of it is next. When the segment there has changed since:
//! - it has split: slots keep their bucket, so go on in the lower half at the same bucket; the upper
//!   half is visited whole later;
//! - it has merged: slots keep their bucket or are now in the stash, so go on at the same bucket, and
//!   leave out the slots whose tags lie outside the part being visited.
//!
//! So a key that is there all the time is returned at least once, and seldom twice; and the cursor
//! only ever moves forward. Cursor 0 is the start and the end.

use crate::hash::TAG_BITS;
use crate::limits::{BUCKET_SLOT_COUNT, DIRECTORY_BITS_MAX};

use super::slot::{Location, Slot};
use super::table::BUCKET_COUNT;
use super::{Shard, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// The first bits of the tags, as many as a directory can have.
    prefix: u32,
    depth: u32,
    bucket: u32,
}

const BUCKET_BITS: u32 = BUCKET_COUNT.ilog2();
const DEPTH_BITS: u32 = 5;
const PREFIX_COUNT: u32 = 1 << DIRECTORY_BITS_MAX;

/// The tags that begin with `prefix`'s first `depth` bits.
#[derive(Clone, Copy)]
struct Part {
    prefix: u32,
    depth: u32,
}

impl Part {
    fn contains(self, tag: u32) -> bool {
        let shift = DIRECTORY_BITS_MAX - self.depth;
        tag >> (TAG_BITS - DIRECTORY_BITS_MAX + shift) == self.prefix >> shift
    }
}

impl Cursor {
    /// The part of the tags to visit, in a segment of `segment_depth`: all of the segment, or what
    /// the cursor has begun, or what begins at the cursor.
    fn part(&mut self, segment_depth: u32) -> Part {
        let begun = if self.bucket > 0 {
            self.depth
        } else {
            DIRECTORY_BITS_MAX.saturating_sub(self.prefix.trailing_zeros())
        };
        let depth = segment_depth.max(begun);
        // Only a cursor that was never handed out begins in the middle of a part.
        self.prefix &= !((PREFIX_COUNT >> depth) - 1);
        Part {
            prefix: self.prefix,
            depth,
        }
    }

    /// Any number is a cursor: bits that mean nothing are taken for the nearest that do.
    fn from_number(number: u64) -> Self {
        let field = |shift: u32, bits: u32| {
            u32::try_from(number >> shift & ((1 << bits) - 1)).expect("fewer than 32 bits")
        };
        Self {
            prefix: field(BUCKET_BITS + DEPTH_BITS, DIRECTORY_BITS_MAX),
            depth: field(BUCKET_BITS, DEPTH_BITS).min(DIRECTORY_BITS_MAX),
            bucket: field(0, BUCKET_BITS),
        }
    }

    fn number(self) -> u64 {
        u64::from(
            self.prefix << (BUCKET_BITS + DEPTH_BITS) | self.depth << BUCKET_BITS | self.bucket,
        )
    }
}

/// Keys that a sample of times to live looks at, or those of one segment if they are fewer.
const TTL_SAMPLE_COUNT: usize = 256;

impl Shard {
    /// Calls `each` with keys and values from `cursor` on, after looking at no more than about
    /// `visit_slots_max` slots; returns where to go on, 0 at the end. Values whose time has come
    /// are left out.
    pub fn scan(
        &mut self,
        cursor: u64,
        visit_slots_max: usize,
        now_ms: u64,
        each: &mut dyn FnMut(&[u8], &Value<'_>),
    ) -> u64 {
        let mut cursor = Cursor::from_number(cursor);
        let mut left_buckets = visit_slots_max.div_ceil(BUCKET_SLOT_COUNT).max(1);
        while left_buckets > 0 {
            let index = cursor.prefix >> (DIRECTORY_BITS_MAX - self.table.depth());
            let entry = self.table.entry_at(index as usize);
            let part = cursor.part(entry.depth());
            while left_buckets > 0 && cursor.bucket < BUCKET_COUNT {
                self.prefetch_records(entry.segment(), cursor.bucket + 1);
                self.visit_bucket(entry.segment(), cursor.bucket, part, now_ms, each);
                cursor.bucket += 1;
                left_buckets -= 1;
            }
            cursor.depth = part.depth;
            if cursor.bucket == BUCKET_COUNT {
                let prefix = cursor.prefix + (PREFIX_COUNT >> part.depth);
                if prefix == PREFIX_COUNT {
                    return 0;
                }
                cursor = Cursor {
                    prefix,
                    depth: 0,
                    bucket: 0,
                };
            }
        }
        cursor.number()
    }

    /// Some key, roughly evenly chosen by `random`. Those whose time has come are removed on the way.
    pub fn random_key(&mut self, random: u64, now_ms: u64) -> Option<&[u8]> {
        let entry_count = 1u64 << self.table.depth();
        let mut index = usize::try_from(random >> 32 & (entry_count - 1)).expect("16 bits");
        let bucket_start = u32::try_from(random >> 3 & (u64::from(BUCKET_COUNT) - 1));
        let bucket_start = bucket_start.expect("11 bits");
        // What is met is either live or removed; in a file without room for tombstones it may stay, so
        // that one round has to do.
        for _ in 0..entry_count {
            if self.key_count == 0 {
                break;
            }
            for offset in 0..BUCKET_COUNT {
                let bucket = (bucket_start + offset) % BUCKET_COUNT;
                if let Some(location) = self.live_in_bucket(index, bucket, random, now_ms) {
                    return Some(self.log.record(location).key());
                }
            }
            index = self.table.next_segment(index);
        }
        None
    }

    /// How long keys that expire have left on average, by a sample of some from a random place on.
    #[must_use]
    pub fn average_ttl_ms(&self, random: u64, now_ms: u64) -> u64 {
        let index = usize::try_from(random >> 32 & ((1u64 << self.table.depth()) - 1));
        let segment = self.table.entry_at(index.expect("16 bits")).segment();
        let start = u32::try_from(random & (u64::from(BUCKET_COUNT) - 1)).expect("11 bits");
        let (mut seen_count, mut count, mut sum_ms) = (0_usize, 0_u64, 0_u128);
        for offset in 0..BUCKET_COUNT {
            if seen_count >= TTL_SAMPLE_COUNT {
                break;
            }
            let bucket = (start + offset) % BUCKET_COUNT;
            for word in self.table.bucket(segment, bucket) {
                let slot = Slot::from_word(word);
                if slot.is_empty() {
                    continue;
                }
                seen_count += 1;
                let expires_at_ms = self.log.record(slot.location()).expires_at_ms();
                if let Some(left_ms) = expires_at_ms.and_then(|at_ms| at_ms.checked_sub(now_ms)) {
                    count += 1;
                    sum_ms += u128::from(left_ms);
                }
            }
        }
        u64::try_from(sum_ms / u128::from(count.max(1))).unwrap_or(u64::MAX)
    }

    /// The first live record of a bucket from a random slot on.
    fn live_in_bucket(
        &mut self,
        index: usize,
        bucket: u32,
        random: u64,
        now_ms: u64,
    ) -> Option<Location> {
        let slots = self
            .table
            .bucket(self.table.entry_at(index).segment(), bucket);
        for offset in 0..BUCKET_SLOT_COUNT {
            let at = usize::try_from(random).map_or(0, |random| random.wrapping_add(offset))
                % BUCKET_SLOT_COUNT;
            let slot = Slot::from_word(slots[at]);
            if slot.is_empty() {
                continue;
            }
            if !self.log.record(slot.location()).is_expired(now_ms) {
                return Some(slot.location());
            }
            self.expire(self.table.place_at(index, bucket, at as u64));
        }
        None
    }

    fn visit_bucket(
        &self,
        segment: u64,
        bucket: u32,
        part: Part,
        now_ms: u64,
        each: &mut dyn FnMut(&[u8], &Value<'_>),
    ) {
        for word in self
            .table
            .bucket(segment, bucket)
            .into_iter()
            .filter(|&word| word != 0)
        {
            let slot = Slot::from_word(word);
            let record = self.log.record(slot.location());
            if part.contains(slot.tag()) && !record.is_expired(now_ms) {
                each(record.key(), &self.value_of(record));
            }
        }
    }

    fn prefetch_records(&self, segment: u64, bucket: u32) {
        if bucket < BUCKET_COUNT {
            for word in self
                .table
                .bucket(segment, bucket)
                .into_iter()
                .filter(|&word| word != 0)
            {
                self.region
                    .prefetch(Slot::from_word(word).location().offset());
            }
        }
    }
}
