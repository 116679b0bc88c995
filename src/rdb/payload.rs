//! What DUMP gives and RESTORE takes: one value as an RDB file has it, and a foot.
//!
//! ```text
//!   | code | value | version u16 | checksum u64 of all before |       little-endian
//! ```
//!
//! A string is written as it is, or as a number if it is the digits of one of 32 bits; it is not
//! compressed. Nothing that is read is trusted.

use super::crc64::crc64;
use super::shape::{Dialect, type_of};
use super::source::{Fault, Source};
use super::string::{Announced, announced, packed_lengths};
use super::{STRING, VERSION_OF_REDIS_MAX, VERSION_OF_VALKEY};

/// The version that is written: of Redis 7.0, so that it and all since take it.
const VERSION_WRITTEN: u16 = 10;
/// Bytes of the longest head: the code, and a length.
const HEAD_LEN_BYTES_MAX: usize = 10;
/// Bytes of the version and the checksum.
const FOOT_LEN_BYTES: usize = 2 + 8;

/// What a payload holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A string as it is.
    Plain(&'a [u8]),
    /// The digits of a number.
    Number(i32),
    /// A string for [`expand_part`](super::expand_part).
    Packed {
        /// What expands to it.
        packed: &'a [u8],
        /// How long it is.
        len_bytes: usize,
    },
    /// Something else, as TYPE calls it.
    Other(&'static str),
}

/// What stands before the bytes of a string of `len_bytes`; all of it if it is a number.
#[must_use]
pub fn head(number: Option<i64>, len_bytes: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_LEN_BYTES_MAX);
    head.push(STRING);
    if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
        write_number(number, &mut head);
    } else {
        write_length(len_bytes, &mut head);
    }
    head
}

fn write_number(number: i32, out: &mut Vec<u8>) {
    if let Ok(number) = i8::try_from(number) {
        out.push(0xC0);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xC1);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(0xC2);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn write_length(len_bytes: usize, out: &mut Vec<u8>) {
    let mut bytes = (len_bytes as u64).to_le_bytes();
    bytes.reverse();
    let [_, _, _, _, a, b, c, d] = bytes;
    match len_bytes {
        0..=0x3F => out.push(d),
        0x40..=0x3FFF => out.extend_from_slice(&[0x40 | c, d]),
        _ if u32::try_from(len_bytes).is_ok() => out.extend_from_slice(&[0x80, a, b, c, d]),
        _ => {
            out.push(0x81);
            out.extend_from_slice(&bytes);
        }
    }
}

/// The checksum of what `before` is the checksum of, followed by `bytes`. It begins with 0.
#[must_use]
pub fn checksum(before: u64, bytes: &[u8]) -> u64 {
    crc64(before, bytes)
}

/// What stands behind a value whose checksum is `checksum`.
#[must_use]
pub fn foot(checksum: u64) -> [u8; FOOT_LEN_BYTES] {
    let mut foot = [0; FOOT_LEN_BYTES];
    foot[..2].copy_from_slice(&VERSION_WRITTEN.to_le_bytes());
    let checksum = crc64(checksum, &foot[..2]);
    foot[2..].copy_from_slice(&checksum.to_le_bytes());
    foot
}

/// Whether a payload is long enough for one and of a version that is known.
#[must_use]
pub fn has_known_version(payload: &[u8]) -> bool {
    let Some((_, foot)) = payload.split_last_chunk::<FOOT_LEN_BYTES>() else {
        return false;
    };
    let version = u32::from(u16::from_le_bytes([foot[0], foot[1]]));
    version <= VERSION_OF_REDIS_MAX || version == VERSION_OF_VALKEY
}

/// Reads a payload whose checksum is right. What follows the value is not looked at, as in Redis.
///
/// # Errors
/// It is cut short, damaged, or holds what is not known.
pub fn read(payload: &[u8]) -> Result<Content<'_>, Fault> {
    let value = &payload[..payload.len().saturating_sub(FOOT_LEN_BYTES)];
    let mut source = Source::new(value);
    let code = source.byte()?;
    if code != STRING {
        let of = type_of(code, Dialect::Redis);
        return match of {
            Some(of) => Ok(Content::Other(of.name)),
            None => Err(source.fault(format!("{code} is no type of value that is known here"))),
        };
    }
    let cut_short = |source: &Source<&[u8]>| source.fault("the payload ends within its value");
    let rest = |source: &Source<&[u8]>, len_bytes: u64| {
        let start = usize::try_from(source.offset()).ok()?;
        let end = start.checked_add(usize::try_from(len_bytes).ok()?)?;
        value.get(start..end)
    };
    match announced(&mut source)? {
        Announced::Length(len_bytes) => {
            let plain = rest(&source, len_bytes).ok_or_else(|| cut_short(&source))?;
            Ok(Content::Plain(plain))
        }
        Announced::Number(number) => Ok(Content::Number(number)),
        Announced::Packed => {
            let (packed_len_bytes, len_bytes) = packed_lengths(&mut source)?;
            let packed = rest(&source, packed_len_bytes).ok_or_else(|| cut_short(&source))?;
            let len_bytes = usize::try_from(len_bytes).map_err(|_| cut_short(&source))?;
            Ok(Content::Packed { packed, len_bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(value: &[u8], number: Option<i64>) -> Vec<u8> {
        let mut payload = head(number, value.len());
        if number.is_none() {
            payload.extend_from_slice(value);
        }
        let foot = foot(checksum(0, &payload));
        payload.extend_from_slice(&foot);
        payload
    }

    #[test]
    fn a_string_is_dumped_as_redis_does() {
        // From redis-server 7.0.15.
        assert_eq!(
            payload(b"abc", None),
            b"\x00\x03abc\x0a\x00\xd9\xac0=Ar\xa2\xe2"
        );
        assert_eq!(payload(b"", Some(-1))[..3], [0, 0xC0, 0xFF]);
        assert_eq!(payload(b"", Some(300))[..4], [0, 0xC1, 0x2C, 1]);
        assert_eq!(payload(b"", Some(70_000))[..6], [0, 0xC2, 0x70, 0x11, 1, 0]);
    }

    #[test]
    fn what_was_written_is_read() {
        for len_bytes in [0, 1, 63, 64, 0x3FFF, 0x4000, 100_000] {
            let value = vec![7; len_bytes];
            let payload = payload(&value, None);
            assert!(has_known_version(&payload));
            assert_eq!(checksum(0, &payload), 0, "a checksum of itself is zero");
            assert_eq!(read(&payload), Ok(Content::Plain(&value)));
        }
        for number in [0, 127, -129, 32_768, i32::MIN] {
            let payload = payload(b"", Some(number.into()));
            assert_eq!(read(&payload), Ok(Content::Number(number)));
        }
    }

    #[test]
    fn hostile_bytes_are_a_fault_and_never_a_panic() {
        let foot = [0; FOOT_LEN_BYTES];
        for value in [
            &b""[..],
            b"\x00",
            b"\x00\x05abc",
            b"\x00\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            b"\x00\xC3\x01\x80\xFF\xFF\xFF\xFF",
            b"\x00\xC3\x05\x05ab",
            b"\x00\xC2\x00",
            b"\x00\xC5",
            b"\xF0",
        ] {
            assert!(read(&[value, &foot].concat()).is_err(), "{value:?}");
        }
        assert_eq!(
            read(&[b"\x04", &foot[..]].concat()),
            Ok(Content::Other("hash"))
        );
        assert!(read(b"short").is_err());
        assert!(!has_known_version(b"short"));
    }
}
