//! Lengths and strings as RDB files and DUMP payloads hold them.
//!
//! ```text
//!   00LLLLLL                          length, 6 bits
//!   01LLLLLL LLLLLLLL                 length, 14 bits, high bits first
//!   10000000, 4 bytes                 length, 32 bits, big-endian
//!   10000001, 8 bytes                 length, 64 bits, big-endian
//!   11000000, 1 byte                  a string: the digits of an 8-bit number
//!   11000001, 2 bytes                 a string: the digits of a 16-bit number, little-endian
//!   11000010, 4 bytes                 a string: the digits of a 32-bit number, little-endian
//!   11000011, length, length, bytes   a string: LZF; its packed and its true length
//! ```
//!
//! A length alone is a number; a string is a length and so many bytes, or one of the last four.

use std::io::{BufRead, Write as _};

use super::lzf;
use super::source::{Fault, Source};

/// What a first byte announces.
pub(super) enum Announced {
    Length(u64),
    Number(i32),
    Packed,
}

/// What became of a string that was to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StringRead {
    /// It is in the buffer.
    Whole,
    /// It is longer than allowed and was passed over.
    TooLong,
}

/// Reads a length.
///
/// # Errors
/// The input ends, or has something else there.
pub(super) fn read_length<B: BufRead>(source: &mut Source<B>) -> Result<u64, Fault> {
    match announced(source)? {
        Announced::Length(length) => Ok(length),
        _ => Err(source.fault("a string where a length is due")),
    }
}

/// Reads a string into `output`, which is emptied first, unless it is longer than `len_bytes_max`.
///
/// # Errors
/// The input ends, or has something else there.
pub(super) fn read_string<B: BufRead>(
    source: &mut Source<B>,
    len_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<StringRead, Fault> {
    output.clear();
    let is_too_long = |len_bytes: u64| len_bytes > len_bytes_max as u64;
    match announced(source)? {
        Announced::Length(len_bytes) if is_too_long(len_bytes) => {
            source.skip(len_bytes)?;
            return Ok(StringRead::TooLong);
        }
        Announced::Length(len_bytes) => source.append(len_bytes, output)?,
        Announced::Number(number) => {
            write!(output, "{number}").expect("memory can be written to");
        }
        Announced::Packed => {
            let (packed_len_bytes, len_bytes) = packed_lengths(source)?;
            if is_too_long(len_bytes) {
                source.skip(packed_len_bytes)?;
                return Ok(StringRead::TooLong);
            }
            let mut packed = Vec::new();
            source.append(packed_len_bytes, &mut packed)?;
            let is_whole = usize::try_from(len_bytes)
                .ok()
                .and_then(|len_bytes| lzf::expand(&packed, len_bytes, output))
                .is_some();
            if !is_whole {
                return Err(source.fault("a compressed string does not expand to its length"));
            }
        }
    }
    Ok(StringRead::Whole)
}

/// Passes over a string.
///
/// # Errors
/// The input ends, or has something else there.
pub(super) fn skip_string<B: BufRead>(source: &mut Source<B>) -> Result<(), Fault> {
    match announced(source)? {
        Announced::Length(len_bytes) => source.skip(len_bytes),
        Announced::Number(_) => Ok(()),
        Announced::Packed => {
            let (packed_len_bytes, _) = packed_lengths(source)?;
            source.skip(packed_len_bytes)
        }
    }
}

pub(super) fn announced<B: BufRead>(source: &mut Source<B>) -> Result<Announced, Fault> {
    let first = source.byte()?;
    let low = u64::from(first & 0x3F);
    Ok(match (first >> 6, first) {
        (0, _) => Announced::Length(low),
        (1, _) => Announced::Length(low << 8 | u64::from(source.byte()?)),
        (_, 0x80) => Announced::Length(big_endian(source.array::<4>()?)),
        (_, 0x81) => Announced::Length(big_endian(source.array::<8>()?)),
        (_, 0xC0) => Announced::Number(i32::from(i8::from_le_bytes(source.array()?))),
        (_, 0xC1) => Announced::Number(i32::from(i16::from_le_bytes(source.array()?))),
        (_, 0xC2) => Announced::Number(i32::from_le_bytes(source.array()?)),
        (_, 0xC3) => Announced::Packed,
        _ => return Err(source.fault(format!("no length or string begins with 0x{first:02x}"))),
    })
}

/// The number whose bytes these are, highest first.
fn big_endian<const N: usize>(bytes: [u8; N]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The packed and the true length of a compressed string.
pub(super) fn packed_lengths<B: BufRead>(source: &mut Source<B>) -> Result<(u64, u64), Fault> {
    let packed_len_bytes = read_length(source)?;
    let len_bytes = read_length(source)?;
    if len_bytes > packed_len_bytes.saturating_mul(lzf::EXPANSION_MAX) {
        return Err(source.fault(format!(
            "{packed_len_bytes} compressed bytes cannot be {len_bytes}"
        )));
    }
    Ok((packed_len_bytes, len_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut source = Source::new(bytes);
        let mut output = b"old".to_vec();
        let read = read_string(&mut source, 1000, &mut output)?;
        assert_eq!(read, StringRead::Whole);
        assert!(source.is_at_end()?, "all of it was read");
        let mut source = Source::new(bytes);
        skip_string(&mut source)?;
        assert!(source.is_at_end()?, "skipping reads as much");
        Ok(output)
    }

    fn length(bytes: &[u8]) -> Result<u64, Fault> {
        read_length(&mut Source::new(bytes))
    }

    #[test]
    fn lengths_of_every_width_are_read() {
        assert_eq!(length(&[0x3F]), Ok(63));
        assert_eq!(length(&[0x7F, 0xFE]), Ok(0x3FFE));
        assert_eq!(length(&[0x80, 1, 2, 3, 4]), Ok(0x0102_0304));
        assert_eq!(
            length(&[0x81, 1, 2, 3, 4, 5, 6, 7, 8]),
            Ok(0x0102_0304_0506_0708)
        );
    }

    #[test]
    fn strings_of_every_form_are_read() {
        assert_eq!(string(b"\0"), Ok(vec![]));
        assert_eq!(string(b"\x03abc"), Ok(b"abc".to_vec()));
        assert_eq!(string(b"\x40\x03abc"), Ok(b"abc".to_vec()));
        assert_eq!(string(b"\xC0\x80"), Ok(b"-128".to_vec()));
        assert_eq!(string(b"\xC1\xFF\x7F"), Ok(b"32767".to_vec()));
        assert_eq!(string(b"\xC2\0\0\0\x80"), Ok(b"-2147483648".to_vec()));
        assert_eq!(
            string(b"\xC3\x06\x07\x02abc\x40\x02"),
            Ok(b"abcabca".to_vec())
        );
    }

    #[test]
    fn what_is_neither_is_a_fault_with_its_place() {
        for (bytes, offset) in [
            (&b""[..], 0),
            (b"\x03ab", 3),
            (b"\x82", 1),
            (b"\xC4", 1),
            (b"\xC3\xC0", 2),
            (b"\xC3\x01\x80\xFF\xFF\xFF\xFF", 7),
            (b"\xC3\x02\x05\x00a", 5),
            (b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8),
        ] {
            let fault = string(bytes).expect_err("it is no string");
            assert_eq!(fault.offset, offset, "{fault}");
        }
        assert!(length(b"\xC0\x01").is_err(), "a number is no length");
    }

    #[test]
    fn a_string_that_is_too_long_is_passed_over() {
        let mut source = Source::new(&b"\x03abcX"[..]);
        let mut output = Vec::new();
        let read = read_string(&mut source, 2, &mut output);
        assert_eq!((read, output.len()), (Ok(StringRead::TooLong), 0));
        assert_eq!(source.byte(), Ok(b'X'));
    }

    #[test]
    fn a_length_allocates_nothing_before_its_bytes_come() {
        let mut source = Source::new(&b"\x80\x1F\xFF\xFF\xFFab"[..]);
        let mut output = Vec::new();
        let fault = read_string(&mut source, usize::MAX, &mut output).expect_err("it is cut short");
        assert_eq!(fault.offset, 7);
        assert!(output.capacity() < 100, "{}", output.capacity());
    }
}
