use crate::command::harness::{Harness, START_MS, bulk};
use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, MIB};
use crate::shard::Eviction;

const OUT_OF_MEMORY: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

#[test]
fn a_value_set_is_the_value_got() {
    Harness::new(1).expect(&[
        ("GET a", "$-1"),
        ("SET a 1", "+OK"),
        ("get a", "$1\r\n1"),
        ("GETSET a 2", "$1\r\n1"),
        ("GETSET b 3", "$-1"),
        ("GETDEL a", "$1\r\n2"),
        ("GETDEL a", "$-1"),
        ("GET b", "$1\r\n3"),
        ("SETNX b 4", ":0"),
        ("SETNX a 5", ":1"),
        (
            "MGET a nothing b a",
            "*4\r\n$1\r\n5\r\n$-1\r\n$1\r\n3\r\n$1\r\n5",
        ),
    ]);
}

#[test]
fn set_stores_only_under_its_condition() {
    Harness::new(1).expect(&[
        ("SET a 1 XX", "$-1"),
        ("SET a 1 NX", "+OK"),
        ("SET a 2 NX", "$-1"),
        ("SET a 2 XX GET", "$1\r\n1"),
        ("SET a 3 NX GET", "$1\r\n2"),
        ("SET b 1 NX GET", "$-1"),
        ("SET c 1 XX GET", "$-1"),
        ("MGET a b c", "*3\r\n$1\r\n2\r\n$1\r\n1\r\n$-1"),
        ("SET a 1 NX XX", "-ERR syntax error"),
        ("SET a 1 FOO", "-ERR syntax error"),
    ]);
}

#[test]
fn set_gives_keeps_or_drops_the_time_to_live() {
    let mut harness = Harness::new(1);
    harness.expect(&[
        ("SET a 1 EX 10", "+OK"),
        ("PTTL a", ":10000"),
        ("SET a 2 KEEPTTL", "+OK"),
        ("PTTL a", ":10000"),
        ("SET a 2", "+OK"),
        ("PTTL a", ":-1"),
        ("SET a 2 PX 5 PX 7", "+OK"),
        ("PTTL a", ":7"),
        ("SET a 2 PXAT 1800000000100", "+OK"),
        ("PEXPIRETIME a", ":1800000000100"),
        ("SET a 2 EXAT 1800000001", "+OK"),
        ("PTTL a", ":1000"),
        ("SETEX a 3 x", "+OK"),
        ("PTTL a", ":3000"),
        ("PSETEX a 4 x", "+OK"),
        ("PTTL a", ":4"),
        ("APPEND a y", ":2"),
        ("PTTL a", ":4"),
        ("GETSET a 1", "$2\r\nxy"),
        ("PTTL a", ":-1"),
        ("PSETEX a 4 x", "+OK"),
        ("SET b 1 EXAT 1", "+OK"),
        ("GET b", "$-1"),
    ]);
    harness.now_ms = START_MS + 5;
    harness.expect(&[("GET a", "$-1"), ("SET a 1 XX", "$-1"), ("DBSIZE", ":0")]);
}

#[test]
fn times_that_are_no_times_are_refused() {
    Harness::new(1).expect(&[
        ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
        ("set a 1 px -5", "-ERR invalid expire time in 'set' command"),
        (
            "SET a 1 EX 9223372036854775807",
            "-ERR invalid expire time in 'set' command",
        ),
        (
            "SET a 1 PX 9223372036854775807",
            "-ERR invalid expire time in 'set' command",
        ),
        (
            "SET a 1 EX x",
            "-ERR value is not an integer or out of range",
        ),
        ("SET a 1 EX", "-ERR syntax error"),
        ("SET a 1 EX 5 PX 5", "-ERR syntax error"),
        ("SET a 1 KEEPTTL EX 5", "-ERR syntax error"),
        ("SET a 1 PERSIST", "-ERR syntax error"),
        ("SETEX a 0 1", "-ERR invalid expire time in 'setex' command"),
        (
            "PSETEX a -1 1",
            "-ERR invalid expire time in 'psetex' command",
        ),
        ("GETEX missing EX 0", "$-1"),
        ("EXISTS a", ":0"),
        ("SET a 1 PXAT 9223372036854775807", "+OK"),
        ("PEXPIRETIME a", ":281474976710655"),
    ]);
}

#[test]
fn getex_changes_the_time_to_live_and_nothing_else() {
    Harness::new(1).expect(&[
        ("SET a 1", "+OK"),
        ("GETEX a EX 10", "$1\r\n1"),
        ("PTTL a", ":10000"),
        ("GETEX a", "$1\r\n1"),
        ("PTTL a", ":10000"),
        (
            "GETEX a PX 0",
            "-ERR invalid expire time in 'getex' command",
        ),
        ("GETEX a PERSIST EX 1", "-ERR syntax error"),
        ("GETEX a NX", "-ERR syntax error"),
        ("GETEX a PERSIST", "$1\r\n1"),
        ("PTTL a", ":-1"),
        ("GETEX a EXAT 1", "$1\r\n1"),
        ("EXISTS a", ":0"),
    ]);
}

#[test]
fn counters_count_within_64_bits() {
    Harness::new(1).expect(&[
        ("INCR a", ":1"),
        ("INCRBY a 41", ":42"),
        ("DECR a", ":41"),
        ("DECRBY a 50", ":-9"),
        (
            "DECRBY a -9223372036854775808",
            "-ERR decrement would overflow",
        ),
        ("GET a", "$2\r\n-9"),
        ("SET a 9223372036854775807 EX 100", "+OK"),
        ("INCR a", "-ERR increment or decrement would overflow"),
        ("DECR a", ":9223372036854775806"),
        ("TTL a", ":100"),
        ("SET a 01", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        (
            "INCRBY a 1.5",
            "-ERR value is not an integer or out of range",
        ),
    ]);
}

#[test]
fn float_counters_add_as_redis_does() {
    Harness::new(1).expect(&[
        ("SET a 10.50", "+OK"),
        ("INCRBYFLOAT a 0.1", "$4\r\n10.6"),
        ("INCRBYFLOAT a -5", "$3\r\n5.6"),
        ("INCRBYFLOAT b 5.0e3", "$4\r\n5000"),
        (
            "INCRBYFLOAT b inf",
            "-ERR increment would produce NaN or Infinity",
        ),
        ("INCRBYFLOAT b abc", "-ERR value is not a valid float"),
        ("SET c abc", "+OK"),
        ("INCRBYFLOAT c 1", "-ERR value is not a valid float"),
    ]);
}

#[test]
fn parts_of_values_are_read_and_written() {
    Harness::new(1).expect(&[
        ("APPEND a Hello", ":5"),
        ("APPEND a ,World", ":11"),
        ("STRLEN a", ":11"),
        ("STRLEN b", ":0"),
        ("GETRANGE a 0 4", "$5\r\nHello"),
        ("SUBSTR a -5 -1", "$5\r\nWorld"),
        ("GETRANGE a 5 3", "$0\r\n"),
        ("GETRANGE b 0 -1", "$0\r\n"),
        (
            "GETRANGE a x 1",
            "-ERR value is not an integer or out of range",
        ),
        ("SETRANGE a 6 Redis", ":11"),
        ("GET a", "$11\r\nHello,Redis"),
        ("SETRANGE b 2 x", ":3"),
        ("GET b", "$3\r\n\0\0x"),
        ("SETRANGE c 5 ", ":0"),
        ("EXISTS c", ":0"),
        ("SETRANGE a -1 x", "-ERR offset is out of range"),
        (
            "SETRANGE a 536870912 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "SETRANGE a 9223372036854775807 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
    ]);
}

#[test]
fn several_pairs_are_set_wherever_their_keys_live() {
    for shard_count in [1, 3] {
        Harness::new(shard_count).expect(&[
            ("MSET a 1 b 2 c 3 a 4", "+OK"),
            ("MGET a b c d", "*4\r\n$1\r\n4\r\n$1\r\n2\r\n$1\r\n3\r\n$-1"),
            (
                "MSET a 1 b",
                "-ERR wrong number of arguments for 'mset' command",
            ),
            ("MSETNX d 1 a 2", ":0"),
            ("EXISTS d", ":0"),
            ("MSETNX d 1 e 2 f 3 d 4", ":1"),
            ("MGET d e f", "*3\r\n$1\r\n4\r\n$1\r\n2\r\n$1\r\n3"),
            (
                "MSETNX g 1 h",
                "-ERR wrong number of arguments for 'msetnx' command",
            ),
        ]);
    }
}

#[test]
fn a_large_value_is_replied_from_where_it_lives() {
    let mut harness = Harness::new(2);
    let value: Vec<u8> = (0..=u8::MAX)
        .cycle()
        .take(LARGE_VALUE_LEN_BYTES_MIN + 1000)
        .collect();
    let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    // Not assert_eq: nobody reads a failure of this length.
    let mut is = |command: &[&[u8]], expected: &[u8]| assert!(harness.run(command) == expected);
    is(&[b"SET", b"a", &value], b"+OK\r\n");
    is(&[b"GET", b"a"], &bulk(&value));
    is(&[b"GETRANGE", b"a", b"10", b"-1"], &bulk(&value[10..]));
    is(&[b"GETRANGE", b"a", b"10", b"19"], &bulk(&value[10..20]));
    is(&[b"SET", b"a", b"x", b"GET"], &bulk(&value));
    is(&[b"APPEND", b"a", &value], b":263145\r\n");
    let changed = [b"x", value.as_slice()].concat();
    is(
        &[b"MGET", b"a"],
        &[b"*1\r\n", bulk(&changed).as_slice()].concat(),
    );
    is(&[b"GETDEL", b"a"], &bulk(&changed));
    assert_eq!(harness.text("EXISTS a"), ":0\r\n");
}

#[test]
fn a_write_without_memory_changes_nothing_and_says_so() {
    let mut harness = Harness::with_memory(1, 8 * MIB as u64);
    let too_much = vec![b'x'; 16 * MIB];
    harness.expect(&[("SET a 1 EX 100", "+OK")]);
    for command in [
        &[&b"SET"[..], b"a", &too_much][..],
        &[b"SET", b"a", &too_much, b"GET"],
        &[b"SET", b"missing", &too_much, b"GET"],
        &[b"GETSET", b"a", &too_much],
        &[b"SETEX", b"a", b"10", &too_much],
        &[b"SETNX", b"missing", &too_much],
        &[b"APPEND", b"a", &too_much],
        &[b"SETRANGE", b"a", b"16000000", b"x"],
        &[b"MSETNX", b"c", b"1", b"d", &too_much],
        &[b"MSET", b"b", &too_much],
    ] {
        let reply = harness.run(command);
        assert_eq!(String::from_utf8_lossy(&reply), OUT_OF_MEMORY);
    }
    harness.expect(&[("GET a", "$1\r\n1"), ("TTL a", ":100"), ("DBSIZE", ":1")]);
}

#[test]
fn pairs_for_which_room_is_kept_evict_ahead_like_single_keys() {
    const PAIR_COUNT: usize = 40_000;
    let emergency_count = |pair_count: usize| {
        let mut harness = Harness::with_memory(1, 32 * MIB as u64);
        harness.shards[0].set_eviction(Eviction::Any { by_use: false });
        let names: Vec<String> = (0..PAIR_COUNT).map(|number| format!("k{number}")).collect();
        for names in names.chunks(pair_count) {
            let mut mset = vec![&b"MSET"[..]];
            mset.extend(names.iter().flat_map(|name| [name.as_bytes(), &[7; 2000]]));
            assert_eq!(harness.run(&mset), b"+OK\r\n");
        }
        harness.shards[0].stats().emergency_count
    };
    let (single, several) = (emergency_count(1), emergency_count(4));
    assert!(several <= 2 * single + 8, "{several} against {single}");
}

/// Four slices of a comparison.
fn long_value() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(4 * MIB).collect()
}

#[test]
fn a_large_value_is_compared_in_slices() {
    let mut harness = Harness::new(1);
    let value = long_value();
    let mut other = value.clone();
    *other.last_mut().expect("it is long") = 0;
    harness.run(&[b"SET", b"a", &value]);
    let digest = bulk(&harness.run(&[b"DIGEST", b"a"])).to_vec();
    let old = harness.run(&[b"GET", b"a"]);
    for (condition, given, is_met) in [
        (&b"IFEQ"[..], &value, true),
        (b"IFEQ", &other, false),
        (b"IFNE", &value, false),
        (b"IFNE", &other, true),
        (b"IFDEQ", &digest, true),
        (b"IFDNE", &digest, false),
    ] {
        let met: &[u8] = if is_met { b"+OK\r\n" } else { b"$-1\r\n" };
        let reply = harness.run(&[b"SET", b"a", &value, condition, given]);
        assert!(reply == met, "{}", condition.escape_ascii());
        assert!(harness.again_count >= 3);
        let reply = harness.run(&[b"SET", b"a", &value, condition, given, b"GET"]);
        assert!(reply == old, "{}", condition.escape_ascii());
        let removed: &[u8] = if is_met { b":1\r\n" } else { b":0\r\n" };
        assert_eq!(harness.run(&[b"DELEX", b"a", condition, given]), removed);
        assert!(harness.again_count >= 3);
        harness.run(&[b"SET", b"a", &value]);
    }
    // What another length, or no digest, decides is decided at once.
    harness.run(&[b"DELEX", b"a", b"IFEQ", b"x"]);
    assert_eq!(harness.again_count, 0);
    harness.expect(&[(
        "DELEX a IFDEQ x",
        "-ERR must be exactly 16 hexadecimal characters",
    )]);
}

#[test]
fn a_value_that_others_change_while_it_is_compared_is_compared_again() {
    let value = long_value();
    let compare: [&[&[u8]]; 2] = [
        &[b"SET", b"a", b"won", b"IFEQ", &value],
        &[b"DELEX", b"a", b"IFEQ", &value],
    ];
    for command in compare {
        for (change, is_met) in [
            ("SETRANGE a 0 x", false),
            ("DEL a", false),
            ("SET a x", false),
            // What it was before, byte for byte, in another run.
            ("COPY b a REPLACE", true),
        ] {
            let mut harness = Harness::new(1);
            harness.run(&[b"SET", b"a", &value]);
            harness.run(&[b"SET", b"b", &value]);
            harness.between = Some(Box::new(move |harness| {
                harness.text(change);
                true
            }));
            let reply = harness.run(command);
            let is_done = reply == b"+OK\r\n" || reply == b":1\r\n";
            assert_eq!(is_done, is_met, "{change}");
        }
    }
}

#[test]
fn a_comparison_that_is_given_up_lets_the_value_go() {
    let mut harness = Harness::with_memory(1, 16 * MIB as u64);
    let value = long_value();
    harness.run(&[b"SET", b"a", &value]);
    let digest = bulk(&harness.run(&[b"DIGEST", b"a"])).to_vec();
    let long: [&[&[u8]]; 2] = [
        &[b"SET", b"a", b"x", b"IFEQ", &value],
        &[b"DELEX", b"a", b"IFDEQ", &digest],
    ];
    for command in long {
        harness.between = Some(Box::new(|_| false));
        harness.run(command);
        harness.between = None;
        // There would be no room if what was compared were still kept.
        for _ in 0..4 {
            assert_eq!(harness.run(&[b"SET", b"a", &value]), b"+OK\r\n");
        }
    }
}
