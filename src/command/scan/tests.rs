use std::collections::{BTreeMap, BTreeSet};

use super::{parse_cursor, shard_of_cursor};
use crate::command::harness::Harness;
use crate::limits::SCAN_KEY_COUNT_MAX;

/// One call: the next cursor and the keys.
fn scan(harness: &mut Harness, cursor: &str, options: &str) -> (String, Vec<String>) {
    let reply = harness.text(&format!("SCAN {cursor}{options}"));
    let mut lines = reply
        .split("\r\n")
        .skip(1)
        .filter(|line| !line.starts_with('$'));
    let next = lines.next().expect("a cursor").to_owned();
    let count: usize = lines
        .next()
        .and_then(|line| line[1..].parse().ok())
        .expect("a count");
    let keys: Vec<String> = lines.take(count).map(str::to_owned).collect();
    assert_eq!(keys.len(), count);
    (next, keys)
}

/// All calls; how often each key came.
fn scan_all(harness: &mut Harness, options: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys) = scan(harness, &cursor, options);
        keys.into_iter()
            .for_each(|key| *found.entry(key).or_default() += 1);
        if next == "0" {
            return found;
        }
        assert!(next.parse::<u64>().is_ok_and(|next| next < 1 << 53));
        cursor = next;
    }
}

fn fill(harness: &mut Harness, prefix: &str, count: usize) {
    for number in 0..count {
        harness.text(&format!("SET {prefix}{number} x"));
    }
}

#[test]
fn a_scan_returns_every_key_of_every_shard_once() {
    for shard_count in [1, 3] {
        let mut harness = Harness::new(shard_count);
        fill(&mut harness, "key", 20_000);
        for options in ["", " COUNT 1000", " count 1"] {
            let found = scan_all(&mut harness, options);
            assert_eq!(found.len(), 20_000);
            assert!(found.values().all(|count| *count == 1));
        }
    }
}

#[test]
fn a_key_that_stays_is_returned_while_others_come_and_go() {
    let mut harness = Harness::new(2);
    fill(&mut harness, "stays", 5_000);
    let mut missing: BTreeSet<String> = (0..5_000).map(|number| format!("stays{number}")).collect();
    let (mut cursor, mut round) = ("0".to_owned(), 0);
    loop {
        let (next, keys) = scan(&mut harness, &cursor, " COUNT 100");
        for key in keys {
            missing.remove(&key);
        }
        if next == "0" {
            break;
        }
        cursor = next;
        // The table grows to eight times its keys, then shrinks.
        for number in 0..2_000 {
            match round {
                0..20 => harness.text(&format!("SET comes{} x", round * 2_000 + number)),
                _ => harness.text(&format!("DEL comes{}", (round - 20) * 2_000 + number)),
            };
        }
        round += 1;
    }
    assert!(
        missing.is_empty(),
        "{} keys were not returned",
        missing.len()
    );
}

#[test]
fn options_choose_what_is_returned() {
    let mut harness = Harness::new(2);
    fill(&mut harness, "key", 100);
    fill(&mut harness, "other", 100);
    assert_eq!(scan_all(&mut harness, " MATCH key*").len(), 100);
    assert_eq!(scan_all(&mut harness, " match key?5 type STRING").len(), 9);
    assert_eq!(scan_all(&mut harness, " MATCH * TYPE string").len(), 200);
    assert_eq!(scan_all(&mut harness, " TYPE hash").len(), 0);
    harness.expect(&[
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        (
            "SCAN 0 COUNT x",
            "-ERR value is not an integer or out of range",
        ),
        ("SCAN 0 COUNT", "-ERR syntax error"),
        ("SCAN 0 WHAT x", "-ERR syntax error"),
        ("SCAN x COUNT 0", "-ERR invalid cursor"),
    ]);
}

#[test]
fn few_keys_take_one_call_a_shard() {
    for shard_count in [1, 3] {
        let mut harness = Harness::new(shard_count);
        fill(&mut harness, "key", 5);
        for options in ["", " COUNT 6", " COUNT 1000 MATCH x*"] {
            let mut cursor = "0".to_owned();
            for _ in 0..shard_count {
                cursor = scan(&mut harness, &cursor, options).0;
            }
            assert_eq!(cursor, "0", "{shard_count} shards, SCAN 0{options}");
        }
        // A small COUNT is kept, to within a bucket.
        let (_, keys) = scan(&mut harness, "0", " COUNT 1");
        assert!(keys.len() <= 8, "{keys:?}");
    }
}

#[test]
fn one_call_is_bounded_whatever_its_count() {
    let mut harness = Harness::new(1);
    fill(&mut harness, "key", 20_000);
    let (next, keys) = scan(&mut harness, "0", " COUNT 9223372036854775807");
    assert_ne!(next, "0");
    assert!(keys.len() as u64 <= SCAN_KEY_COUNT_MAX + 8);
}

#[test]
fn expired_keys_are_not_listed() {
    let mut harness = Harness::new(1);
    harness.expect(&[("SET a 1 PX 10", "+OK"), ("SET b 1", "+OK")]);
    harness.now_ms += 11;
    assert_eq!(
        scan_all(&mut harness, "").into_keys().collect::<Vec<_>>(),
        ["b"]
    );
    harness.expect(&[("KEYS *", "*1\r\n$1\r\nb"), ("RANDOMKEY", "$1\r\nb")]);
}

#[test]
fn cursors_are_read_as_redis_reads_them() {
    for (text, expected) in [
        ("0", Some(0)),
        ("", Some(0)),
        ("+7", Some(7)),
        ("-1", Some(u64::MAX)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-", None),
        (" 1", None),
        ("1x", None),
        ("1.0", None),
    ] {
        assert_eq!(parse_cursor(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(shard_of_cursor(b"4294967296", 2), 1);
    assert_eq!(shard_of_cursor(b"4294967296", 1), 0);
    assert_eq!(shard_of_cursor(b"what", 2), 0);
}

#[test]
fn cursors_that_never_were_end_the_scan_or_go_on() {
    let mut harness = Harness::new(2);
    fill(&mut harness, "key", 1_000);
    for cursor in [
        "-1",
        "8589934592",
        "18446744073709551615",
        "4294967295",
        "12345678",
        "8589934591",
    ] {
        let (mut next, _) = scan(&mut harness, cursor, "");
        for _ in 0..1_000 {
            if next == "0" {
                break;
            }
            next = scan(&mut harness, &next, " COUNT 1000").0;
        }
        assert_eq!(next, "0", "after {cursor}");
    }
}

#[test]
fn keys_lists_all_shards_in_slices() {
    let mut harness = Harness::new(3);
    fill(&mut harness, "key", 30_000);
    let reply = harness.text("KEYS *");
    assert!(reply.starts_with("*30000\r\n"));
    assert_eq!(reply.matches("\r\nkey").count(), 30_000);
    assert!(harness.again_count > 10);
    assert!(harness.text("KEYS key1?").starts_with("*10\r\n"));
    assert_eq!(harness.text("KEYS nothing"), "*0\r\n");
}

#[test]
fn random_keys_come_from_every_shard() {
    let mut harness = Harness::new(4);
    harness.expect(&[("RANDOMKEY", "$-1")]);
    fill(&mut harness, "key", 20);
    let found: BTreeSet<String> = (0..2_000).map(|_| harness.text("RANDOMKEY")).collect();
    let owners: BTreeSet<u16> = found
        .iter()
        .map(|reply| harness.owner(reply.lines().nth(1).expect("a key").as_bytes()))
        .collect();
    assert_eq!(owners.len(), 4);
    assert!(found.len() > 10, "only {} of 20 keys", found.len());
}
