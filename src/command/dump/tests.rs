//! Payloads there and back, and hostile ones.

use crate::command::Random;
use crate::command::harness::{Harness, bulk};
use crate::shard::Eviction;

#[test]
fn a_value_of_any_length_is_dumped_and_restored() {
    let mut harness = Harness::with_memory(1, 128 << 20);
    for len_bytes in [0, 1, 63, 64, 20_000, 262_143, 262_144, 5 << 20] {
        let value: Vec<u8> = (0..len_bytes).map(|at: u32| at.to_le_bytes()[1]).collect();
        harness.run(&[b"SET", b"k", &value]);
        let reply = harness.run(&[b"DUMP", b"k"]);
        let payload = bulk(&reply);
        let restored = harness.run(&[b"RESTORE", b"r", b"0", payload, b"REPLACE"]);
        assert_eq!(restored, b"+OK\r\n", "{len_bytes}");
        assert!(harness.again_count > 4 || len_bytes < 5 << 20);
        assert!(bulk(&harness.run(&[b"GET", b"r"])) == value);
    }
    for number in ["0", "-1", "300", "70000", "2147483647", "2147483648"] {
        harness.text(&format!("SET k {number}"));
        let reply = harness.run(&[b"DUMP", b"k"]);
        harness.run(&[b"RESTORE", b"r", b"0", bulk(&reply), b"REPLACE"]);
        harness.expect(&[
            ("GET r", &format!("${}\r\n{number}", number.len())),
            ("OBJECT ENCODING r", "$3\r\nint"),
        ]);
    }
    harness.expect(&[("DUMP none", "$-1")]);
}

/// The payload of a value that is announced to be `len_bytes` long, and is so if that is one more
/// than `copy_count` times 264.
fn compressed(copy_count: usize, len_bytes: u32) -> Vec<u8> {
    // 264 bytes of the first, again and again.
    let mut packed = b"\0a".to_vec();
    packed.extend(b"\xe0\xff\0".repeat(copy_count));
    let mut payload = b"\0\xC3\x80".to_vec();
    let big_endian = |number: u32| number.swap_bytes().to_le_bytes();
    payload.extend(big_endian(u32::try_from(packed.len()).expect("short")));
    payload.push(0x80);
    payload.extend(big_endian(len_bytes));
    payload.extend(&packed);
    let foot = crate::rdb::foot(crate::rdb::checksum(0, &payload));
    payload.extend(foot);
    payload
}

#[test]
fn a_payload_that_proves_bad_costs_no_other_key_its_place() {
    let mut harness = Harness::with_memory(1, 16 << 20);
    harness.shards[0].set_eviction(Eviction::Any { by_use: false });
    for number in 0..40 {
        let name = format!("k{number}");
        harness.run(&[b"SET", name.as_bytes(), &[b'v'; 250_000]]);
    }
    let before = harness.text("DBSIZE");
    // All of it is right but the length, which is as much as the memory there is.
    let payload = compressed(40_000, 264 * 40_000);
    let reply = harness.run(&[b"RESTORE", b"r", b"0", &payload]);
    assert_eq!(reply, b"-ERR Bad data format\r\n");
    assert_eq!(harness.text("DBSIZE"), before);
}

#[test]
fn a_compressed_value_is_expanded_in_slices() {
    let mut harness = Harness::with_memory(1, 64 << 20);
    let len_bytes = 1 + 264 * 12_000_u32;
    let payload = compressed(12_000, len_bytes);
    assert_eq!(harness.run(&[b"RESTORE", b"k", b"0", &payload]), b"+OK\r\n");
    assert!(harness.again_count >= 3);
    let value = harness.run(&[b"GET", b"k"]);
    assert!(bulk(&value).len() == len_bytes as usize && bulk(&value).iter().all(|b| *b == b'a'));
    // Given up half-way, it leaves nothing.
    for _ in 0..50 {
        harness.between = Some(Box::new(|_| false));
        harness.run(&[b"RESTORE", b"k", b"0", &payload, b"REPLACE"]);
    }
}

#[test]
fn options_are_checked_in_the_order_of_redis() {
    let mut harness = Harness::new(1);
    harness.expect(&[("SET k v", "+OK")]);
    let reply = harness.run(&[b"DUMP", b"k"]);
    let payload = bulk(&reply).to_vec();
    let mut ask = |words: &[&[u8]]| {
        let mut all: Vec<&[u8]> = vec![b"RESTORE"];
        all.extend(words);
        String::from_utf8(harness.run(&all)).expect("text")
    };
    let busy = "-BUSYKEY Target key name already exists.\r\n";
    assert_eq!(ask(&[b"k", b"x", &payload]), busy);
    assert_eq!(
        ask(&[b"n", b"-1", &payload]),
        "-ERR Invalid TTL value, must be >= 0\r\n"
    );
    assert_eq!(
        ask(&[b"n", b"0", b"bad"]),
        "-ERR DUMP payload version or checksum are wrong\r\n"
    );
    assert_eq!(
        ask(&[b"n", b"0", &payload, b"FREQ", b"1", b"IDLETIME", b"1"]),
        "-ERR syntax error\r\n"
    );
    assert_eq!(ask(&[b"n", b"1", &payload, b"ABSTTL"]), "+OK\r\n");
    assert_eq!(
        ask(&[b"n", b"5000", &payload, b"IDLETIME", b"7"]),
        "+OK\r\n"
    );
    harness.expect(&[("PTTL n", ":5000"), ("GET n", "$1\r\nv")]);
}

#[test]
fn hostile_payloads_are_an_error_and_never_a_panic() {
    let mut random = Random::new(5);
    let mut harness = Harness::new(1);
    for _ in 0..5000 {
        let len = random.below(40);
        let mut payload: Vec<u8> = (0..len)
            .map(|_| random.next_u64().to_le_bytes()[3])
            .collect();
        if let Some(first) = payload.first_mut()
            && random.below(2) == 0
        {
            *first = 0;
        }
        let foot = crate::rdb::foot(crate::rdb::checksum(0, &payload));
        payload.extend(foot);
        let reply = harness.run(&[b"RESTORE", b"k", b"0", &payload, b"REPLACE"]);
        let is_known = reply == b"+OK\r\n"
            || reply == b"-ERR Bad data format\r\n"
            || reply.ends_with(b"cannot be restored: Coremap stores strings only so far\r\n");
        assert!(is_known, "{payload:?}: {reply:?}");
    }
}

#[test]
fn nothing_longer_than_a_client_may_send_is_restored() {
    let mut harness = Harness::with_memory(1, 64 << 20);
    let payload = compressed(12_000, 1 + 264 * 12_000);
    harness.cores[0].settings.proto_max_bulk_len_bytes = 1 << 20;
    let refusal = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(harness.run(&[b"RESTORE", b"k", b"0", &payload]), refusal);
    harness.expect(&[("EXISTS k", ":0")]);
}
