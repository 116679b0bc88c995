//! What fills the places of the grammar: pools that hold what succeeds, and pools of edges.
//!
//! Few keys, so that commands meet each other's results. A place is known by its command and its
//! name in COMMAND DOCS; one that has no pool of its own gets words of all kinds, so an argument
//! nobody thought of is tried all the same.

use super::syntax::Place;
use crate::common::Random;

/// Of so many values one is from the pool of edges.
const EDGE_ONE_IN: usize = 8;

/// Fills a place.
pub(crate) fn fill(place: Place<'_>, payloads: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let container = place.command.split('|').next().unwrap_or_default();
    if random.below(EDGE_ONE_IN) == 0 && !place.is_key {
        return random.pick(EDGES).as_bytes().to_vec();
    }
    let pool = match (container, place.name) {
        _ if place.is_key => KEYS,
        ("config", "parameter") => return random.pick(SETTINGS).0.as_bytes().to_vec(),
        ("config", "value") => return random.pick(SETTINGS).1.as_bytes().to_vec(),
        ("setbit", "value") | (_, "bit") => &["0", "1"],
        ("bitfield", "value" | "increment") => NUMBERS,
        ("getbit" | "setbit", "offset") => BIT_OFFSETS,
        ("bitfield" | "bitfield_ro", "offset") => FIELD_OFFSETS,
        ("setrange", "offset") => BYTE_OFFSETS,
        ("restore", "ttl") => return restore_ttl(random),
        ("restore", "serialized-value") => return payload(payloads, random),
        ("client", "timeout") => &["0", "1", "2"],
        ("client", "value") => &["yes", "no"],
        (_, "seconds" | "milliseconds") => return span(random),
        (_, "unix-time-seconds") => return moment(random, 1),
        (_, "unix-time-milliseconds") => return moment(random, 1000),
        (_, "value" | "message" | "element") => return value(random),
        (_, "increment" | "decrement") if container == "incrbyfloat" => return float(random),
        (_, "increment" | "decrement") => NUMBERS,
        (_, "start" | "end" | "count" | "len" | "minmatchlen") => INDICES,
        (_, "pattern") => return pattern(random),
        (_, name) => named(name),
    };
    random.pick(pool).as_bytes().to_vec()
}

fn named(name: &str) -> &'static [&'static str] {
    match name {
        "category" | "categoryname" => &["@read", "read", "string", "nosuch"],
        "client-id" => &["99999999", "88888888"],
        "command" | "command-name" => &["get", "SET", "client|list", "ping", "nosuch", "mset"],
        "connection-name" | "clientname" => &["me", "", "with space", "name"],
        "cursor" => &["0"],
        "destination-db" | "index" | "index1" | "index2" => &["0", "0", "0", "1"],
        "encoding" => ENCODINGS,
        "event" => &["command", "nosuch"],
        "frequency" => &["0", "255", "256", "-1"],
        "ip:port" => &["127.0.0.1:1", "nowhere"],
        "module-name" => &["nosuch"],
        "numreplicas" => &["0", "-1", "1"],
        "offset" => INDICES,
        "operation" => &["and", "OR", "xor", "not"],
        "password" => &["secret", ""],
        "protover" => &["2", "3"],
        "section" => &["server", "clients", "everything", "nosuch"],
        "timeout" => &["1", "2"],
        "type" => &["string", "hash", "list", "nosuch"],
        "username" => &["default", "nosuch"],
        "yes/no" => &["yes", "no"],
        _ => EDGES,
    }
}

pub(crate) const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "{t}a",
    "{t}b",
    "{t}c",
    "long-key-0123456789-0123456789",
    "",
    "k\r\n",
    "[a-c]",
    "a\\b]",
    "^-",
];
/// Words that are wrong nearly everywhere, and on the border elsewhere.
pub(crate) const EDGES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "01",
    "+1",
    " 1",
    "1 ",
    "-0",
    "x",
    "1.5",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "nx",
    "GET",
    "a\0b",
    "two\nlines",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-7",
    "42",
    "3.5",
    "-0.1",
    "abc",
    "ohmytext",
    "mynewtext",
    "9223372036854775807",
    "-9223372036854775808",
    "a longer value, more than 44 bytes of it ...",
    "exactly forty-four bytes, as embstr allows..",
    "\u{ff}\u{f0}",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "10",
    "255",
    "-128",
    "9223372036854775807",
    "-9223372036854775808",
];
const FLOATS: &[&str] = &[
    "0.1",
    "-2.5",
    "1e10",
    "3",
    "1e-5",
    "inf",
    "1e400",
    "0.30000000000000004",
    "5.0e3",
    "1e4000",
    "-0",
    "0x1p-3",
    "0X.8p+2",
    "0x",
    "1e4932",
    "-1e4932",
    "1e-4940",
    "1e4933",
    "1e-5000",
    "4.9e-324",
    "1.18973149535723176502e+4932",
    "9007199254740993",
    "18446744073709551617",
    "infinity",
    "-nan",
    "nan(1)",
    "1e",
    "e5",
    ".",
    ".5",
    "-5.",
    "+.5e-3",
    "1e+-5",
    "\t1",
];
const INDICES: &[&str] = &[
    "0", "1", "2", "3", "-1", "-2", "5", "7", "-100", "100", "40000",
];
const BIT_OFFSETS: &[&str] = &["0", "1", "7", "8", "9", "100", "1000", "70000", "3000000"];
const FIELD_OFFSETS: &[&str] = &[
    "0", "1", "#1", "7", "#3", "100", "#50", "2100000", "#-1", "#x",
];
const BYTE_OFFSETS: &[&str] = &["0", "1", "10", "100", "300000", "536870912"];
const ENCODINGS: &[&str] = &[
    "u8", "i8", "u1", "i1", "u5", "i16", "u32", "i33", "u63", "i64", "u64", "u0", "i65", "x8",
];
const PATTERNS: &[&str] = &[
    "*", "?", "[a-c]", "{t}*", "[^a]*", "nosuch", "\\a", "*a*", "[", "", "get*", "k*\n",
];
/// Settings that both have, each with a value; `Pairs` of them are also mixed up.
const SETTINGS: &[(&str, &str)] = &[
    ("maxmemory", "0"),
    ("maxmemory", "1gb"),
    ("MAXMEMORY", "x"),
    ("maxmemory-policy", "noeviction"),
    ("maxmemory-policy", "nosuch"),
    ("timeout", "0"),
    ("timeout", "-1"),
    ("tcp-keepalive", "300"),
    ("nosuch", "1"),
    ("databases", "1"),
];

/// A time to live, far from now and hardly ever twice the same, so that a millisecond does not
/// decide.
fn span(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.pick(&["0", "-1", "-1000"]).as_bytes().to_vec(),
        _ => far(random).to_string().into_bytes(),
    }
}

/// The time to live of RESTORE; with ABSTTL it is a moment that has passed.
fn restore_ttl(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => b"0".to_vec(),
        1 => moment(random, 1000),
        _ => span(random),
    }
}

/// A moment in the next century, or one that has passed.
fn moment(random: &mut Random, parts_per_second: usize) -> Vec<u8> {
    match random.below(8) {
        0 => b"1000".to_vec(),
        _ => ((4_102_444_800 + far(random)) * parts_per_second)
            .to_string()
            .into_bytes(),
    }
}

fn far(random: &mut Random) -> usize {
    100_000 + random.below(1 << 30)
}

/// A value: from the pool, a number, random bytes, or large enough to live outside the log.
fn value(random: &mut Random) -> Vec<u8> {
    match random.below(90) {
        0 => vec![b'L'; 262_100 + random.below(100)],
        1 => vec![b'M'; 20_000],
        2..8 => (0..random.below(70))
            .map(|_| random.next().to_le_bytes()[0])
            .collect(),
        8..24 => random.below(1000).to_string().into_bytes(),
        80.. => float(random),
        _ => random.pick(VALUES).as_bytes().to_vec(),
    }
}

/// A decimal of up to 44 digits, with a sign, a point and an exponent, or without; or one of the pool.
fn float(random: &mut Random) -> Vec<u8> {
    if random.below(3) == 0 {
        return random.pick(FLOATS).as_bytes().to_vec();
    }
    let digits = |random: &mut Random, len_max: usize| -> String {
        let len = random.below(len_max + 1);
        let digit = |_| char::from(b'0' + random.next().to_le_bytes()[0] % 10);
        (0..len).map(digit).collect()
    };
    let mut text = random.pick(&["", "", "-", "+"]).to_owned();
    text += &digits(random, 22);
    text += random.pick(&[".", ".", ""]);
    text += &digits(random, 22);
    if random.below(3) == 0 {
        text += random.pick(&["e", "E", "e-", "e+"]);
        text += &digits(random, 2);
    }
    text.into_bytes()
}

/// A pattern of stars, classes, ranges and escapes around what keys are made of; or one of the pool.
fn pattern(random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return random.pick(PATTERNS).as_bytes().to_vec();
    }
    let mut pattern = String::new();
    for _ in 0..1 + random.below(5) {
        let [first, last] = [(); 2].map(|()| random.pick(LETTERS));
        pattern += &match random.below(10) {
            0..3 => "*".to_owned(),
            3 => "?".to_owned(),
            4 => format!("[{first}-{last}]"),
            5 => format!("[^{first}{last}]"),
            6 => format!("[{first}\\{last}]"),
            7 => format!("\\{first}"),
            8 => random
                .pick(&["[", "]", "[^", "[a-", "[]", "\\", "**"])
                .to_owned(),
            _ => first.to_string(),
        };
    }
    pattern.into_bytes()
}

/// What keys and odd patterns are made of.
const LETTERS: &[char] = &[
    'a', 'b', 'c', 'd', 't', 'l', '-', '^', ']', '[', '\\', '{', '}', '\n',
];

/// What DUMP gave, or a piece or a changed copy of it.
fn payload(payloads: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut payload = payloads[random.below(payloads.len())].clone();
    match random.below(6) {
        0 => payload.truncate(random.below(payload.len())),
        1 => {
            let place = random.below(payload.len());
            payload[place] ^= 1 << random.below(8);
        }
        _ => {}
    }
    payload
}
