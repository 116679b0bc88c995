//! One record: a key with its value as stored.
//!
//! ```text
//!   0         4       5         6           8              16             ..
//!   ┌─────────┬───────┬─────────┬───────────┬──────────────┬──────────────┬───────┬───────┬─────┬─────────┐
//!   │ check   │ kind  │ key_len │ value_len │ long lengths │ expiry word  │ key   │ value │ pad │ member  │
//!   │ u32     │ u8    │ u8      │ u16       │ 2 x u32, opt.│ u64, optional│ bytes │ bytes │ to 8│ u64, opt│
//!   └─────────┴───────┴─────────┴───────────┴──────────────┴──────────────┴───────┴───────┴─────┴─────────┘
//!   check        in a file: see `seal`; 0 in a region of anonymous memory
//!   kind         low 4 bits, see [`Kind`]; 0: no record
//!                bit 4: long lengths follow; bit 5: an expiry word follows; bit 6: raw encoding;
//!                bit 7: the number of a transaction is the record's last word
//!   pad          to a multiple of 8, and to 16 at least
//!   key_len      255 and value_len 65535 when the long lengths (key, value) follow
//!   expiry word  low 48 bits: unix milliseconds, 0 = none; high 16 bits: a check of those 48
//! ```
//!
//! All integers are little-endian. A record never changes once its slot was published, except for
//! the expiry word, which is one aligned word replaced by one atomic store. What only a file needs
//! stands behind what a read looks at: the word of a transaction is the last one.

#![expect(
    unsafe_code,
    reason = "a record is found by its offset, its length is in its header"
)]

use std::marker::PhantomData;

use crate::atomic::{MappedWord, Ordering, note_read, word_at};
use crate::limits::{BULK_LEN_BYTES_MAX, RECORD_ALIGN_BYTES, RECORD_LEN_BYTES_MIN};
use crate::region::Region;

use super::slot::Location;

/// What a record will hold: everything that decides its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) key_len_bytes: usize,
    /// Of the value as stored: the length of a run's reference for a large one.
    pub(super) value_len_bytes: usize,
    pub(super) has_expiry: bool,
    pub(super) is_raw: bool,
    pub(super) kind: Kind,
    /// Whether the number of a transaction is the last word. Writers leave it to the log.
    pub(super) is_member: bool,
}

/// What a record is. All but the first two are in files only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    /// A key and its value.
    pub(super) const STRING: Self = Self(1);
    /// A key whose value is a large one; the value here is the reference to its run.
    pub(super) const LARGE_STRING: Self = Self(2);
    /// A key that is gone. The value is the birth, a position, u64: see `stream`.
    pub(super) const TOMBSTONE: Self = Self(3);
    /// Everything is gone that is in blocks up to the number that is the value, u64.
    pub(super) const CLEAR: Self = Self(4);
    /// All members of a transaction were written; the value is their number, u64.
    pub(super) const COMMIT: Self = Self(5);
    /// What was a member of a transaction that never became whole.
    pub(super) const VOID: Self = Self(6);
    /// No record: nothing follows in this block. A header only.
    pub(super) const END: Self = Self(15);

    /// Whether it is a tombstone or a clear: live as long as what it hides may come back.
    pub(super) const fn is_grave(self) -> bool {
        matches!(self, Self::TOMBSTONE | Self::CLEAR)
    }
}

/// Expiry times are kept in 48 bits of milliseconds: until the year 10889.
pub(super) const EXPIRES_AT_MS_MAX: u64 = (1 << 48) - 1;

/// Bytes of a header, which is all of an [`Kind::END`].
pub(super) const HEADER_LEN_BYTES: usize = 8;
/// Bytes of the word that a member of a transaction has more.
pub(super) const MEMBER_LEN_BYTES: usize = WORD;
/// Bytes of the value of graves and commits.
pub(super) const NUMBER_LEN_BYTES: usize = WORD;
const WORD: usize = 8;
const LEN_BYTES_OF_TWO_WORDS: usize = 2 * WORD;
/// Which byte of a record is its kind.
const KIND_AT: usize = 4;
const KIND_MASK: u64 = 0xF;
const HAS_LONG_LENGTHS: u64 = 1 << 4;
const HAS_EXPIRY: u64 = 1 << 5;
const IS_RAW: u64 = 1 << 6;
const IS_MEMBER: u64 = 1 << 7;
const KEY_LEN_LONG: u64 = 0xFF;
const VALUE_LEN_LONG: u64 = 0xFFFF;

impl Shape {
    /// What a header says, with the word that follows it if that holds long lengths.
    #[inline]
    fn decode(header: u64, lengths: impl FnOnce() -> u64) -> Self {
        let kind = header >> 32;
        let (key_len_bytes, value_len_bytes) = if kind & HAS_LONG_LENGTHS == 0 {
            (
                (header >> 40 & KEY_LEN_LONG) as usize,
                (header >> 48) as usize,
            )
        } else {
            let lengths = lengths();
            ((lengths & 0xFFFF_FFFF) as usize, (lengths >> 32) as usize)
        };
        Self {
            key_len_bytes,
            value_len_bytes,
            has_expiry: kind & HAS_EXPIRY != 0,
            is_raw: kind & IS_RAW != 0,
            kind: Kind((kind & KIND_MASK) as u8),
            is_member: kind & IS_MEMBER != 0,
        }
    }

    /// What the bytes from a record's start on say it is, whether that is so or not. `None`: they
    /// do not hold all of a header.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<WORD>();
        let header = u64::from_le_bytes(*words.first()?);
        let lengths = u64::from_le_bytes(words.get(1).copied().unwrap_or_default());
        let shape = Self::decode(header, || lengths);
        // A length that is escaped without need would be laid out differently when it is copied.
        let is_escaped = header >> 32 & HAS_LONG_LENGTHS != 0;
        (is_escaped == shape.has_long_lengths()).then_some(shape)
    }

    /// Of a record without expiry that only a file holds.
    pub(super) const fn of(kind: Kind, key_len_bytes: usize, value_len_bytes: usize) -> Self {
        Self {
            key_len_bytes,
            value_len_bytes,
            has_expiry: false,
            is_raw: false,
            kind,
            is_member: false,
        }
    }

    /// The header, its check yet to be written.
    pub(super) const fn header_bytes(self) -> [u8; HEADER_LEN_BYTES] {
        self.header().to_le_bytes()
    }

    /// Makes a record, which has room for it, a member of a transaction.
    pub(super) fn make_member(record: &mut [u8], number: u64) {
        record[KIND_AT] |= IS_MEMBER.to_le_bytes()[0];
        let word = record.len() - MEMBER_LEN_BYTES;
        record[word..].copy_from_slice(&number.to_le_bytes());
    }

    /// Makes a record void, its check yet to be written.
    pub(super) fn make_void(record: &mut [u8]) {
        record[KIND_AT] = record[KIND_AT] & !KIND_MASK.to_le_bytes()[0] | Kind::VOID.0;
    }

    /// The transaction whose member a whole record is.
    pub(super) fn transaction_in(self, record: &[u8]) -> Option<u64> {
        let number = record.last_chunk().filter(|_| self.is_member);
        number.map(|number| u64::from_le_bytes(*number))
    }

    /// The number that is the value of a whole record, if it has that length.
    pub(super) fn number_in(self, record: &[u8]) -> Option<u64> {
        let number = self.value_in(record).try_into().ok();
        number.map(u64::from_le_bytes)
    }

    /// Where the expiry word is.
    pub(super) const fn expiry_start(self) -> Option<usize> {
        if self.has_expiry {
            Some(self.key_start() - WORD)
        } else {
            None
        }
    }

    /// The key in the bytes of a whole record.
    pub(super) fn key_in(self, record: &[u8]) -> &[u8] {
        &record[self.key_start()..][..self.key_len_bytes]
    }

    /// The value, as stored, in the bytes of a whole record.
    pub(super) fn value_in(self, record: &[u8]) -> &[u8] {
        &record[self.value_start()..][..self.value_len_bytes]
    }

    /// The place of the value in the bytes of a whole record.
    pub(super) fn value_in_mut(self, record: &mut [u8]) -> &mut [u8] {
        &mut record[self.value_start()..][..self.value_len_bytes]
    }

    const fn has_long_lengths(self) -> bool {
        self.key_len_bytes as u64 >= KEY_LEN_LONG || self.value_len_bytes as u64 >= VALUE_LEN_LONG
    }

    const fn key_start(self) -> usize {
        HEADER_LEN_BYTES
            + if self.has_long_lengths() { WORD } else { 0 }
            + if self.has_expiry { WORD } else { 0 }
    }

    const fn value_start(self) -> usize {
        self.key_start() + self.key_len_bytes
    }

    /// Bytes of the whole record.
    pub(super) const fn len_bytes(self) -> usize {
        let end = self.value_start() + self.value_len_bytes;
        let body = if end < RECORD_LEN_BYTES_MIN {
            RECORD_LEN_BYTES_MIN
        } else {
            end.next_multiple_of(RECORD_ALIGN_BYTES)
        };
        body + self.member_len_bytes()
    }

    /// The same once it has an expiry, which any record of a key may be given.
    pub(super) const fn volatile_len_bytes(self) -> usize {
        Self {
            has_expiry: true,
            ..self
        }
        .len_bytes()
    }

    /// Bytes of a copy, which is no member.
    pub(super) const fn body_len_bytes(self) -> usize {
        self.len_bytes() - self.member_len_bytes()
    }

    const fn member_len_bytes(self) -> usize {
        if self.is_member { MEMBER_LEN_BYTES } else { 0 }
    }

    const fn header(self) -> u64 {
        let kind = self.kind.0 as u64;
        let (flag, key_len, value_len) = if self.has_long_lengths() {
            (HAS_LONG_LENGTHS, KEY_LEN_LONG, VALUE_LEN_LONG)
        } else {
            (0, self.key_len_bytes as u64, self.value_len_bytes as u64)
        };
        let expiry = if self.has_expiry { HAS_EXPIRY } else { 0 };
        let raw = if self.is_raw { IS_RAW } else { 0 };
        let member = if self.is_member { IS_MEMBER } else { 0 };
        (kind | flag | expiry | raw | member) << 32 | key_len << 40 | value_len << 48
    }

    /// Writes everything but the value into `out`, whose length is [`len_bytes`](Self::len_bytes),
    /// and returns the place of the value for the caller to fill.
    pub(super) fn write<'a>(
        self,
        out: &'a mut [u8],
        key: &[u8],
        expires_at_ms: Option<u64>,
    ) -> &'a mut [u8] {
        debug_assert_eq!(out.len(), self.len_bytes());
        debug_assert_eq!(key.len(), self.key_len_bytes);
        debug_assert!(self.has_expiry || expires_at_ms.is_none());
        let pad = out.len() - WORD;
        out[pad..].fill(0);
        out[..WORD].copy_from_slice(&self.header().to_le_bytes());
        let mut at = HEADER_LEN_BYTES;
        if self.has_long_lengths() {
            let lengths = (self.value_len_bytes as u64) << 32 | self.key_len_bytes as u64;
            out[at..at + WORD].copy_from_slice(&lengths.to_le_bytes());
            at += WORD;
        }
        if self.has_expiry {
            let word = out[at..at + WORD].as_mut_ptr().cast();
            // SAFETY: aligned as the record is, and nobody else's before it is published.
            let word = unsafe { word_at(word) };
            word.store(expiry_word(expires_at_ms).to_le(), Ordering::Relaxed);
        }
        copy(&mut out[self.key_start()..self.value_start()], key);
        &mut out[self.value_start()..][..self.value_len_bytes]
    }
}

/// A published record, or one that its writer has completed.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    start: *mut u8,
    header: u64,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// The record at `location`.
    ///
    /// # Safety
    /// 1. a whole record lies at `location` in `region`;
    /// 2. it is neither freed nor overwritten as long as `'a`.
    #[inline]
    pub(super) unsafe fn at(region: &'a Region, location: Location) -> Self {
        let start = region.address(location.offset());
        note_read(start, HEADER_LEN_BYTES);
        // SAFETY: a record begins with its header, aligned to 8, by the caller's first duty.
        let header = u64::from_le(unsafe { start.cast::<u64>().read() });
        Self {
            start,
            header,
            borrow: PhantomData,
        }
    }

    #[inline]
    pub(super) fn shape(self) -> Shape {
        let shape = Shape::decode(self.header, || {
            // SAFETY: the flag says that the lengths follow the header.
            u64::from_le(unsafe { self.start.cast::<u64>().add(1).read() })
        });
        debug_assert!(shape.key_len_bytes <= BULK_LEN_BYTES_MAX);
        shape
    }

    #[inline]
    pub(super) const fn kind(self) -> Kind {
        Kind((self.header >> 32 & KIND_MASK) as u8)
    }

    /// Whether this is the record of `key`.
    #[inline]
    pub(super) fn has_key(self, key: &[u8]) -> bool {
        same_bytes(self.key(), key)
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.key_start(), shape.key_len_bytes)
    }

    /// The value as stored: for a large one the reference to its run.
    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.value_start(), shape.value_len_bytes)
    }

    /// Copies the record, no member any more, to a place that has exactly that length.
    pub(super) fn copy_to(self, target: &mut [u8]) {
        let shape = self.shape();
        target.copy_from_slice(self.bytes(0, shape.body_len_bytes()));
        if shape.is_member {
            target[KIND_AT] &= !IS_MEMBER.to_le_bytes()[0];
        }
        if let Some(word) = self.expiry() {
            let index = word_index(self.header >> 32) * WORD;
            let copy = target[index..index + WORD].as_mut_ptr().cast();
            // SAFETY: aligned as the record is, and nobody else's before it is published.
            let copy = unsafe { word_at(copy) };
            copy.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The number that is the value of a grave.
    pub(super) fn number(self) -> u64 {
        let number = self.value().first_chunk();
        number.map_or(0, |number| u64::from_le_bytes(*number))
    }

    /// The run of a large value.
    #[inline]
    pub(super) fn run(self) -> Option<u32> {
        if self.kind() != Kind::LARGE_STRING {
            return None;
        }
        let number = self
            .value()
            .first_chunk::<4>()
            .expect("a reference begins with the number");
        Some(u32::from_le_bytes(*number))
    }

    #[inline]
    pub(super) fn expires_at_ms(self) -> Option<u64> {
        let word = u64::from_le(self.expiry()?.load(Ordering::Relaxed));
        Some(word & EXPIRES_AT_MS_MAX).filter(|&ms| ms != 0)
    }

    #[inline]
    pub(super) fn is_expired(self, now_ms: u64) -> bool {
        self.expires_at_ms()
            .is_some_and(|expires_at_ms| expires_at_ms <= now_ms)
    }

    /// Changes the expiry in place; false when the record has no word for it.
    pub(super) fn set_expires_at_ms(self, expires_at_ms: Option<u64>) -> bool {
        let Some(word) = self.expiry() else {
            return false;
        };
        word.store(expiry_word(expires_at_ms).to_le(), Ordering::Relaxed);
        true
    }

    /// Changes the header in the file by one store, of a record that nobody else reads.
    pub(super) fn replace_header(self, header: [u8; HEADER_LEN_BYTES]) {
        // SAFETY: aligned as the record is, and nobody else's, says the caller.
        let word = unsafe { word_at(self.start.cast()) };
        word.store(u64::from_le_bytes(header).to_le(), Ordering::Release);
    }

    #[inline]
    fn expiry(self) -> Option<&'a MappedWord> {
        let kind = self.header >> 32;
        if kind & HAS_EXPIRY == 0 {
            return None;
        }
        // SAFETY:
        // 1. aligned and within the record: the flags say that the word is there;
        // 2. after publication it is only touched through this method.
        Some(unsafe { word_at(self.start.cast::<u64>().add(word_index(kind))) })
    }

    #[inline]
    fn bytes(self, start: usize, len_bytes: usize) -> &'a [u8] {
        // SAFETY: within the record, by its header.
        let start = unsafe { self.start.add(start) };
        note_read(start, len_bytes);
        // SAFETY: within the record and unchanged as long as `'a`. The expiry word, which may
        // change, is read through here only by compaction, on the core that changes it.
        unsafe { std::slice::from_raw_parts(start, len_bytes) }
    }
}

/// Which word of a record of this kind is its expiry.
const fn word_index(kind: u64) -> usize {
    if kind & HAS_LONG_LENGTHS == 0 { 1 } else { 2 }
}

/// Milliseconds with their check; a time in the far future is kept as the last that fits, a time
/// of 0 as the first, since 0 says that there is none.
fn expiry_word(expires_at_ms: Option<u64>) -> u64 {
    checked_ms(expires_at_ms.map_or(0, |ms| ms.clamp(1, EXPIRES_AT_MS_MAX)))
}

/// Whether an expiry word is one that was written whole.
pub(super) const fn is_expiry_word(word: u64) -> bool {
    checked_ms(word & EXPIRES_AT_MS_MAX) == word
}

const fn checked_ms(ms: u64) -> u64 {
    let check = (ms ^ ms >> 16 ^ ms >> 32 ^ 0xA5C3) & 0xFFFF;
    check << 48 | ms
}

/// Copies a slice to one of the same length. Up to 16 bytes, without a call into the C library.
#[inline]
pub(super) fn copy(target: &mut [u8], source: &[u8]) {
    assert_eq!(target.len(), source.len());
    let len_bytes = source.len();
    match len_bytes {
        WORD..=LEN_BYTES_OF_TWO_WORDS => {
            let last = len_bytes - WORD;
            target[..WORD].copy_from_slice(&source[..WORD]);
            target[last..].copy_from_slice(&source[last..]);
        }
        0..WORD => target
            .iter_mut()
            .zip(source)
            .for_each(|(target, source)| *target = *source),
        _ => target.copy_from_slice(source),
    }
}

/// Whether two keys are the same. Up to 16 bytes, without a call into the C library: as two words,
/// the second overlapping the first.
#[inline]
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() || one.len() > LEN_BYTES_OF_TWO_WORDS {
        return one == other;
    }
    let words = |bytes: &[u8]| {
        let (first, last) = (bytes.first_chunk::<WORD>()?, bytes.last_chunk::<WORD>()?);
        Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)))
    };
    match (words(one), words(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.iter().eq(other),
    }
}

const _: () = assert!(HEADER_LEN_BYTES == RECORD_ALIGN_BYTES);
const _: () = assert!(BULK_LEN_BYTES_MAX < u32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use crate::region::RegionOptions;

    fn round_trip(key: &[u8], value: &[u8], expires_at_ms: Option<u64>) {
        let options = RegionOptions {
            maxmemory_bytes: 8 * MIB as u64,
            shard_count: 1,
        };
        let region = Region::anonymous(options).expect("a small region");
        let offset = region.block_start(region.take_block().expect("a first block"));
        let shape = Shape {
            key_len_bytes: key.len(),
            value_len_bytes: value.len(),
            has_expiry: expires_at_ms.is_some(),
            is_raw: false,
            kind: Kind::STRING,
            is_member: false,
        };
        // SAFETY: the block was just taken and is larger than the record.
        let out =
            unsafe { std::slice::from_raw_parts_mut(region.address(offset), shape.len_bytes()) };
        out.fill(0xEE);
        shape.write(out, key, expires_at_ms).copy_from_slice(value);
        // SAFETY: the record was just written and the block is never returned.
        let record = unsafe { Record::at(&region, Location::from_offset(offset)) };
        assert_eq!(record.shape(), shape);
        assert_eq!((record.key(), record.value()), (key, value));
        assert_eq!(record.expires_at_ms(), expires_at_ms);
        assert_eq!(record.shape().len_bytes() % RECORD_ALIGN_BYTES, 0);
        assert_eq!(record.set_expires_at_ms(Some(77)), expires_at_ms.is_some());
        assert_eq!(record.expires_at_ms(), expires_at_ms.map(|_| 77));
        assert_eq!((record.key(), record.value()), (key, value));
    }

    #[test]
    fn lengths_around_the_escapes_read_back_as_written() {
        for key_len in [0, 1, 7, 8, 254, 255, 256] {
            for value_len in [0, 1, 8, 65_534, 65_535, 65_536] {
                round_trip(&vec![b'k'; key_len], &vec![b'v'; value_len], None);
                round_trip(
                    &vec![b'k'; key_len],
                    &vec![b'v'; value_len],
                    Some(1_700_000_000_000),
                );
            }
        }
    }

    #[test]
    fn times_outside_the_word_are_kept_as_the_nearest_that_fits() {
        assert_eq!(expiry_word(None) & EXPIRES_AT_MS_MAX, 0);
        assert_eq!(expiry_word(Some(0)) & EXPIRES_AT_MS_MAX, 1);
        assert_eq!(
            expiry_word(Some(u64::MAX)) & EXPIRES_AT_MS_MAX,
            EXPIRES_AT_MS_MAX
        );
    }

    #[test]
    fn a_small_record_costs_eight_bytes_over_its_payload() {
        let shape = Shape {
            key_len_bytes: 16,
            value_len_bytes: 8,
            has_expiry: false,
            is_raw: false,
            kind: Kind::STRING,
            is_member: false,
        };
        assert_eq!(shape.len_bytes(), 32);
    }
}
