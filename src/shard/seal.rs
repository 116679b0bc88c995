//! The check of a record in a file: that it was written whole, here, and in this life of its block.
//!
//! ```text
//!   check = crc32c(the record without its check and without its expiry word) ^ seal
//! ```
//!
//! Blocks are used again, and values may hold bytes that look like records. The seal is a number of
//! this file, this life of this block and this place in it (`region::BlockSeal`): a record is good
//! there only, and nobody who does not know the file's secret can make one. A copy is good elsewhere when the two seals are exchanged in its check, which needs
//! no look at its bytes and leaves a bad record bad.
//!
//! The expiry word changes while the record lives and has a check of its own (`record`).
//!
//! crc32c: polynomial 0x1EDC6F41 (Castagnoli 1993), as in iSCSI, which processors have an
//! instruction for.

use crc32c::{crc32c, crc32c_append};

use super::large::RunReference;
use super::record::{HEADER_LEN_BYTES, Kind, NUMBER_LEN_BYTES, Shape, is_expiry_word};

/// What is at a place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record.
    Record(Shape),
    /// The end of what was written to this block.
    End,
}

/// Why there is nothing to trust at a place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing was ever written there.
    Blank,
    /// The header makes no sense.
    Header,
    /// The check does not fit the bytes.
    Checksum,
    /// The expiry word's check does not fit it.
    Expiry,
}

const CHECK_LEN_BYTES: usize = 4;

/// Writes the check of a record that is otherwise complete.
#[inline]
pub(super) fn sign(record: &mut [u8], expiry_start: Option<usize>, seal: u32) {
    let check = sum(record, expiry_start) ^ seal;
    record[..CHECK_LEN_BYTES].copy_from_slice(&check.to_le_bytes());
}

/// Makes the check of a copy that of its new place.
#[inline]
pub(super) fn move_seal(copy: &mut [u8], old: u32, new: u32) {
    let check = check_of(copy) ^ old ^ new;
    copy[..CHECK_LEN_BYTES].copy_from_slice(&check.to_le_bytes());
}

/// What of a record's check is explained by neither its bytes nor its seal: 0 for a good one. Put
/// into the check of a changed copy, it keeps a bad record bad.
pub(super) fn error_of(record: &[u8], expiry_start: Option<usize>, seal: u32) -> u32 {
    check_of(record) ^ sum(record, expiry_start) ^ seal
}

/// Looks at the bytes from some place of a block to its end, which may be anything.
pub(super) fn examine(bytes: &[u8], seal: u32) -> Result<Found, Flaw> {
    let header = bytes.get(..HEADER_LEN_BYTES).ok_or(Flaw::Header)?;
    if header.iter().all(|&byte| byte == 0) {
        return Err(Flaw::Blank);
    }
    let shape = Shape::read(bytes).ok_or(Flaw::Header)?;
    if shape.kind == Kind::END {
        return if error_of(header, None, seal) == 0 {
            Ok(Found::End)
        } else {
            Err(Flaw::Checksum)
        };
    }
    if !is_sensible(shape) {
        return Err(Flaw::Header);
    }
    let record = bytes.get(..shape.len_bytes()).ok_or(Flaw::Header)?;
    let expiry_start = shape.expiry_start();
    if error_of(record, expiry_start, seal) != 0 {
        return Err(Flaw::Checksum);
    }
    match expiry_start.and_then(|start| record[start..].first_chunk()) {
        Some(&word) if !is_expiry_word(u64::from_le_bytes(word)) => Err(Flaw::Expiry),
        _ => Ok(Found::Record(shape)),
    }
}

/// Whether a record may have this shape.
fn is_sensible(shape: Shape) -> bool {
    let has_number = shape.value_len_bytes == NUMBER_LEN_BYTES && !shape.has_expiry;
    match shape.kind {
        Kind::STRING | Kind::VOID => true,
        Kind::LARGE_STRING => RunReference::is_possible_len(shape.value_len_bytes),
        Kind::TOMBSTONE => has_number,
        Kind::CLEAR => has_number && shape.key_len_bytes == 0,
        Kind::COMMIT => has_number && shape.key_len_bytes == 0 && shape.is_member,
        _ => false,
    }
}

/// Of everything but the check and the expiry word.
#[inline]
fn sum(record: &[u8], expiry_start: Option<usize>) -> u32 {
    match expiry_start {
        None => crc32c(&record[CHECK_LEN_BYTES..]),
        Some(start) => {
            let before = crc32c(&record[CHECK_LEN_BYTES..start]);
            crc32c_append(before, &record[start + HEADER_LEN_BYTES..])
        }
    }
}

#[inline]
fn check_of(record: &[u8]) -> u32 {
    let check = record.first_chunk().expect("a record has a header");
    u32::from_le_bytes(*check)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: u32 = 0x1234_5678;

    fn shape(kind: Kind, key: &[u8], value: &[u8], has_expiry: bool) -> Shape {
        Shape {
            key_len_bytes: key.len(),
            value_len_bytes: value.len(),
            has_expiry,
            is_raw: false,
            kind,
            is_member: false,
        }
    }

    fn signed(kind: Kind, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> Vec<u8> {
        let shape = shape(kind, key, value, expires_at_ms.is_some());
        // Words, because records are aligned to them.
        let mut words = vec![[0u8; 8]; shape.len_bytes() / 8];
        let bytes = words.as_flattened_mut();
        shape
            .write(bytes, key, expires_at_ms)
            .copy_from_slice(value);
        sign(bytes, shape.expiry_start(), SEAL);
        bytes.to_vec()
    }

    #[test]
    fn a_record_is_found_where_it_was_signed_and_nowhere_else() {
        let record = signed(Kind::STRING, b"key", b"value", None);
        let expected = shape(Kind::STRING, b"key", b"value", false);
        assert_eq!(examine(&record, SEAL), Ok(Found::Record(expected)));
        assert_eq!(examine(&record, SEAL + 1), Err(Flaw::Checksum));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = signed(Kind::STRING, b"a key", b"and its value", Some(99));
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(examine(&changed, SEAL).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn records_cut_short_and_blank_ones_are_no_records() {
        let record = signed(Kind::STRING, b"key", &[7; 300], None);
        for len_bytes in 0..record.len() {
            assert!(examine(&record[..len_bytes], SEAL).is_err());
        }
        assert_eq!(examine(&[0; 64], SEAL), Err(Flaw::Blank));
    }

    #[test]
    fn a_copy_is_good_in_its_new_place_and_a_bad_one_stays_bad() {
        let mut record = signed(Kind::STRING, b"key", b"value", None);
        move_seal(&mut record, SEAL, 77);
        assert!(examine(&record, 77).is_ok());
        assert!(examine(&record, SEAL).is_err());
        record[9] ^= 1;
        move_seal(&mut record, 77, SEAL);
        assert_eq!(examine(&record, SEAL), Err(Flaw::Checksum));
    }

    #[test]
    fn shapes_that_nobody_writes_are_refused_though_signed() {
        let short_birth = signed(Kind::TOMBSTONE, b"key", b"1234", None);
        assert_eq!(examine(&short_birth, SEAL), Err(Flaw::Header));
        for len_bytes in [0, 3, 23, 25] {
            let large = signed(Kind::LARGE_STRING, b"key", &[0; 32][..len_bytes], None);
            assert_eq!(examine(&large, SEAL), Err(Flaw::Header));
        }
        let keyed_clear = signed(Kind::CLEAR, b"key", &[0; 8], None);
        assert_eq!(examine(&keyed_clear, SEAL), Err(Flaw::Header));
        let lone_commit = signed(Kind::COMMIT, b"", &[0; 8], None);
        assert_eq!(examine(&lone_commit, SEAL), Err(Flaw::Header));
    }
}
