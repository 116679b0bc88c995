//! Files made by hand: every way a walk can end. Files that Redis made: `tests/import.rs`.

use super::*;

/// A head, what follows it, and the checksum of both.
fn file(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = [head, body].concat();
    bytes.extend(crc64::crc64(0, &bytes).to_le_bytes());
    bytes
}

/// Every key of a file as one line.
fn walk(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let mut reader = Reader::new(bytes)?;
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let value = match entry.value {
            Value::String(value) => value.escape_ascii().to_string(),
            other => format!("{other:?}"),
        };
        let key = entry.key.escape_ascii();
        let expiry = entry
            .expires_at_ms
            .map_or(String::new(), |at| format!(" at {at}"));
        lines.push(format!("{}: {key} = {value}{expiry}", entry.database));
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(lines)
}

#[track_caller]
fn expect_fault(bytes: &[u8], offset: u64, part: &str) {
    let fault = walk(bytes).expect_err("it is not whole");
    assert_eq!(fault.offset, offset, "{fault}");
    assert!(fault.to_string().contains(part), "{fault}");
}

#[test]
fn strings_come_with_database_and_expiry_and_others_with_their_type() {
    let body = b"\xFA\x03ver\x05abcde\xFE\0\xFB\x03\x01\
        \0\x01a\x02xy\
        \xFC\x01\0\0\0\0\0\0\0\xF8\x05\0\x01b\xC0\x07\
        \x01\x01l\x02\x01x\x01y\
        \xFE\x03\xFD\x02\0\0\0\0\x01c\0\xFF";
    let found = walk(&file(b"REDIS0010", body));
    let expected = [
        "0: a = xy",
        "0: b = 7 at 1",
        "0: l = Other(\"list\")",
        "3: c =  at 2000",
    ];
    assert_eq!(found, Ok(expected.map(str::to_owned).to_vec()));
}

#[test]
fn an_expiry_belongs_to_one_key_only() {
    let body = b"\xFC\x01\0\0\0\0\0\0\0\0\x01a\x01x\0\x01b\x01y\xFF";
    let found = walk(&file(b"VALKEY080", body)).expect("it is whole");
    assert_eq!(found, ["0: a = x at 1", "0: b = y"]);
}

#[test]
fn the_checksum_is_verified_where_there_is_one() {
    let mut bytes = file(b"REDIS0011", b"\0\x01a\x01x\xFF");
    let end = bytes.len();
    bytes[11] ^= 1;
    expect_fault(&bytes, end as u64, "the file is damaged");
    bytes[end - 8..].fill(0);
    assert!(walk(&bytes).is_ok(), "0 says that there is none");
    assert_eq!(walk(b"REDIS0004\xFF"), Ok(vec![]), "old files have none");
}

#[test]
fn what_is_no_rdb_file_is_said_to_be_none() {
    for bytes in [
        &b""[..],
        b"REDIS",
        b"REDIS00x1\xFF",
        b"REDIS+001\xFF",
        b"*3\r\n$3\r\nSET\r\n",
    ] {
        let fault = walk(bytes).expect_err("it is none");
        assert!(fault.to_string().contains("no RDB file"), "{fault}");
    }
    expect_fault(b"REDIS0015\xFF", 9, "version 15");
    expect_fault(b"REDIS0000\xFF", 9, "version 0");
    expect_fault(b"VALKEY011\xFF", 9, "version 11");
}

#[test]
fn a_file_ends_where_it_says_so() {
    let whole = file(b"REDIS0010", b"\0\x01a\x01x\x01\x01l\x01\x01x\xFF");
    for len in 9..whole.len() {
        expect_fault(&whole[..len], len as u64, "bytes are missing");
    }
    let longer = [&whole[..], b"*1\r\n"].concat();
    expect_fault(&longer, whole.len() as u64, "something follows the end");
}

#[test]
fn what_is_not_known_is_named() {
    expect_fault(b"REDIS0014\x1C\x01k", 10, "28 is no type of value");
    expect_fault(b"REDIS0004\x06\x01k", 10, "6 is no type of value");
}

#[test]
fn counts_and_lengths_that_are_claims_cost_nothing() {
    for body in [
        &b"\x01\x01l\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"[..],
        b"\0\x01k\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\0\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\0\x01k\xC3\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    ] {
        let bytes = [&b"REDIS0012"[..], body].concat();
        expect_fault(&bytes, bytes.len() as u64, "missing");
    }
}
