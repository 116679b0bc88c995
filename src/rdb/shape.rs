//! What stands in an RDB file besides strings, as two tables: how far each kind of value, and
//! each note between the keys, extends.
//!
//! Only strings are read; everything else is passed over, for which its shape is enough: a
//! sequence of parts, some of them repeated. The tables are the whole of what is known about it.
//!
//! Sources: `rdb.h` and `rdb.c` of Redis 2.4 to 7.2 (types to 21), librdb's and Redis's
//! descriptions for 7.4 to 8 (22 to 27, note 243), `rdb.h` of Valkey 9.

use std::io::BufRead;

use super::source::{Fault, Source};
use super::string::{read_length, skip_string};

/// Redis and Valkey went apart after version 11 and gave some codes different meanings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// The file begins with `REDIS`.
    Redis,
    /// The file begins with `VALKEY`.
    Valkey,
}

/// A kind of value that is passed over.
#[derive(Debug)]
pub(super) struct Type {
    code: u8,
    /// What Redis's TYPE calls it.
    pub(super) name: &'static str,
    shape: &'static [Part],
}

/// A part of a shape.
#[derive(Debug)]
enum Part {
    Length,
    String,
    Bytes(u64),
    /// A score as text: its length, or one of three codes that stand for themselves; its digits.
    Score,
    /// A length, and the parts so many times.
    Many(&'static [Part]),
    /// The parts once.
    All(&'static [Part]),
    /// What a module wrote, part by part, each with its kind before it; the end has a kind, too.
    Module,
}

use Part::{All, Bytes, Length, Many, Module, Score, String};

const STREAM_ID: Part = Bytes(16);
const TIME: Part = Bytes(8);
/// Nodes of entries; how many entries, and the last one's two numbers.
const ENTRIES: Part = All(&[Many(&[String, String]), Length, Length, Length]);
/// The first and the highest removed entry's numbers, and how many were ever added.
const HISTORY: Part = All(&[Length, Length, Length, Length, Length]);
const NAME_AND_LAST_ID: Part = All(&[String, Length, Length]);
const PENDING: Part = Many(&[STREAM_ID, TIME, Length]);
const ENTRY_IDS: Part = Many(&[STREAM_ID]);
const CONSUMERS: Part = Many(&[String, TIME, ENTRY_IDS]);
/// With the time of the last success beside that of the last attempt.
const ACTIVE_CONSUMERS: Part = Many(&[String, TIME, TIME, ENTRY_IDS]);
/// How long and how many are remembered; by producer what it sent; two counters.
const PRODUCERS: Part = All(&[
    Length,
    Length,
    Many(&[String, Many(&[String, Length, Length])]),
    Length,
    Length,
]);

const fn of(code: u8, name: &'static str, shape: &'static [Part]) -> Type {
    Type { code, name, shape }
}

/// The types that both dialects have. Strings have code 0. Code 6, modules as release candidates
/// of Redis 4.0 wrote them, tells no lengths and cannot be passed over.
static TYPES: &[Type] = &[
    of(1, "list", &[Many(&[String])]),
    of(2, "set", &[Many(&[String])]),
    of(3, "zset", &[Many(&[String, Score])]),
    of(4, "hash", &[Many(&[String, String])]),
    of(5, "zset", &[Many(&[String, Bytes(8)])]),
    of(7, "module", &[Length, Module]),
    of(9, "hash", &[String]),
    of(10, "list", &[String]),
    of(11, "set", &[String]),
    of(12, "zset", &[String]),
    of(13, "hash", &[String]),
    of(14, "list", &[Many(&[String])]),
    of(
        15,
        "stream",
        &[ENTRIES, Many(&[NAME_AND_LAST_ID, PENDING, CONSUMERS])],
    ),
    of(16, "hash", &[String]),
    of(17, "zset", &[String]),
    of(18, "list", &[Many(&[Length, String])]),
    of(
        19,
        "stream",
        &[
            ENTRIES,
            HISTORY,
            Many(&[NAME_AND_LAST_ID, Length, PENDING, CONSUMERS]),
        ],
    ),
    of(20, "set", &[String]),
    of(
        21,
        "stream",
        &[
            ENTRIES,
            HISTORY,
            Many(&[NAME_AND_LAST_ID, Length, PENDING, ACTIVE_CONSUMERS]),
        ],
    ),
];

/// Redis 7.4 and later: hashes whose fields expire, streams that know what was sent twice.
static TYPES_OF_REDIS: &[Type] = &[
    of(22, "hash", &[Many(&[Length, String, String])]),
    of(23, "hash", &[String]),
    of(24, "hash", &[TIME, Many(&[Length, String, String])]),
    of(25, "hash", &[TIME, String]),
    of(
        26,
        "stream",
        &[
            ENTRIES,
            HISTORY,
            Many(&[NAME_AND_LAST_ID, Length, PENDING, ACTIVE_CONSUMERS]),
            PRODUCERS,
        ],
    ),
    of(
        27,
        "stream",
        &[
            ENTRIES,
            HISTORY,
            Many(&[
                NAME_AND_LAST_ID,
                Length,
                PENDING,
                ACTIVE_CONSUMERS,
                ENTRY_IDS,
            ]),
            PRODUCERS,
        ],
    ),
];

/// Valkey 9: hashes whose fields expire.
static TYPES_OF_VALKEY: &[Type] = &[of(22, "hash", &[Many(&[String, String, TIME])])];

/// What may stand between keys and says nothing about strings. Code 246, functions as release
/// candidates of Redis 7.0 wrote them, is not among them.
static NOTES: &[Type] = &[
    of(244, "size of a cluster slot", &[Length, Length, Length]),
    of(245, "function library", &[String]),
    of(247, "data of a module", &[Length, Length, Length, Module]),
    of(248, "idle seconds", &[Length]),
    of(249, "frequency of use", &[Bytes(1)]),
    of(250, "named property", &[String, String]),
    of(251, "sizes of tables", &[Length, Length]),
];
static NOTES_OF_REDIS: &[Type] = &[of(243, "metadata", &[Many(&[Bytes(4), Module])])];
static NOTES_OF_VALKEY: &[Type] = &[of(
    243,
    "cluster slots on their way",
    &[String, Many(&[Length, Length])],
)];

/// The type of that code, unless it is a string's or unknown.
#[must_use]
pub(super) fn type_of(code: u8, dialect: Dialect) -> Option<&'static Type> {
    let own = match dialect {
        Dialect::Redis => TYPES_OF_REDIS,
        Dialect::Valkey => TYPES_OF_VALKEY,
    };
    TYPES.iter().chain(own).find(|known| known.code == code)
}

/// The note of that code, unless it is unknown.
#[must_use]
pub(super) fn note_of(code: u8, dialect: Dialect) -> Option<&'static Type> {
    let own = match dialect {
        Dialect::Redis => NOTES_OF_REDIS,
        Dialect::Valkey => NOTES_OF_VALKEY,
    };
    NOTES.iter().chain(own).find(|known| known.code == code)
}

/// Passes over what has the shape of `of`. Every repeated part takes bytes, so a false count ends
/// where the input does.
///
/// # Errors
/// The input ends, or has something else there.
pub(super) fn skip<B: BufRead>(source: &mut Source<B>, of: &Type) -> Result<(), Fault> {
    skip_parts(source, of.shape)
}

fn skip_parts<B: BufRead>(source: &mut Source<B>, parts: &[Part]) -> Result<(), Fault> {
    for part in parts {
        match part {
            Length => _ = read_length(source)?,
            String => skip_string(source)?,
            Bytes(len_bytes) => source.skip(*len_bytes)?,
            Score => skip_score(source)?,
            Module => skip_module_parts(source)?,
            All(parts) => skip_parts(source, parts)?,
            Many(parts) => {
                for _ in 0..read_length(source)? {
                    skip_parts(source, parts)?;
                }
            }
        }
    }
    Ok(())
}

fn skip_score<B: BufRead>(source: &mut Source<B>) -> Result<(), Fault> {
    match source.byte()? {
        // Not a number, and the two infinities.
        253..=255 => Ok(()),
        len_bytes => source.skip(u64::from(len_bytes)),
    }
}

fn skip_module_parts<B: BufRead>(source: &mut Source<B>) -> Result<(), Fault> {
    loop {
        match read_length(source)? {
            0 => return Ok(()),
            1 | 2 => _ = read_length(source)?,
            3 => source.skip(4)?,
            4 => source.skip(8)?,
            5 => skip_string(source)?,
            other => return Err(source.fault(format!("a module's data has kind {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect_skipped(code: u8, dialect: Dialect, bytes: &[u8]) {
        let found = type_of(code, dialect).or_else(|| note_of(code, dialect));
        let mut source = Source::new(bytes);
        skip(&mut source, found.expect("it is known")).expect("it has this shape");
        assert_eq!(source.offset(), bytes.len() as u64);
        for len in 0..bytes.len() {
            let cut = skip(&mut Source::new(&bytes[..len]), found.expect("it is known"));
            assert!(cut.is_err(), "cut to {len} bytes it cannot be whole");
        }
    }

    #[test]
    fn values_are_passed_over_to_their_last_byte() {
        use Dialect::{Redis, Valkey};
        expect_skipped(1, Redis, b"\x02\x01a\xC0\x07");
        expect_skipped(3, Redis, b"\x03\x01a\x031.5\x01b\xFE\x01c\xFD");
        expect_skipped(5, Valkey, b"\x01\x01a12345678");
        expect_skipped(
            7,
            Redis,
            b"\x81\0\0\0\0\0\0\0\x09\x02\x05\x01\x40\xFF\x03abcd\x04abcdefgh\x05\x01z\0",
        );
        expect_skipped(18, Redis, b"\x01\x02\x04pack");
        // One group with one pending entry of one consumer.
        let id = b"0123456789abcdef";
        let start = b"\x01\x03key\x04pack\x01\x05\x06";
        let pending = [&b"\x01"[..], id, b"deliverd\x01"].concat();
        let owned = [&b"\x01"[..], id].concat();
        let old = [
            start,
            &b"\x01\x01g\x05\x06"[..],
            &pending,
            b"\x01\x01c12345678",
            &owned,
        ];
        expect_skipped(15, Redis, &old.concat());
        let new = [
            start,
            &b"\x01\x02\x03\x04\x05\x01\x01g\x05\x06\x07"[..],
            &pending,
            b"\x01\x01c1234567812345678",
            &owned,
        ]
        .concat();
        expect_skipped(21, Valkey, &new);
        let producers = b"\x40\x64\x0A\x01\x03pid\x01\x03iid\x05\x06\x01\x00";
        expect_skipped(26, Redis, &[&new, &producers[..]].concat());
        expect_skipped(27, Redis, &[&new, &owned[..], &producers[..]].concat());
        expect_skipped(22, Redis, b"\x01\x05\x01f\x01v");
        expect_skipped(22, Valkey, b"\x01\x01f\x01v12345678");
        expect_skipped(24, Redis, b"12345678\x01\x05\x01f\x01v");
        expect_skipped(243, Redis, b"\x01spec\x02\x05\0");
        expect_skipped(243, Valkey, b"\x03job\x01\x01\x02");
    }

    #[test]
    fn codes_without_a_shape_are_unknown() {
        for code in [0, 6, 8, 28, 200] {
            assert!(type_of(code, Dialect::Redis).is_none(), "{code}");
        }
        assert!(type_of(23, Dialect::Valkey).is_none());
        assert!(note_of(246, Dialect::Redis).is_none());
    }
}
