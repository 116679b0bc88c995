use crate::command::harness::{Harness, START_MS};
use crate::limits::LARGE_VALUE_LEN_BYTES_MIN;

#[test]
fn keys_are_counted_and_removed_wherever_they_live() {
    for shard_count in [1, 4] {
        Harness::new(shard_count).expect(&[
            ("MSET a 1 b 2 c 3 d 4", "+OK"),
            ("EXISTS a b a nothing", ":3"),
            ("TOUCH a b nothing", ":2"),
            ("DEL a a nothing", ":1"),
            ("UNLINK b c nothing", ":2"),
            ("EXISTS a b c d", ":1"),
            ("DEL d", ":1"),
            ("TYPE d", "+none"),
            ("SET d 1", "+OK"),
            ("TYPE d", "+string"),
        ]);
    }
}

#[test]
fn times_to_live_are_set_told_and_ended() {
    let mut harness = Harness::new(1);
    harness.expect(&[
        ("EXPIRE a 10", ":0"),
        ("TTL a", ":-2"),
        ("PERSIST a", ":0"),
        ("SET a 1", "+OK"),
        ("TTL a", ":-1"),
        ("EXPIRETIME a", ":-1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 10", ":1"),
        ("TTL a", ":10"),
        ("PEXPIRE a 1499", ":1"),
        ("TTL a", ":1"),
        ("PTTL a", ":1499"),
        ("PEXPIRE a 1500", ":1"),
        ("TTL a", ":2"),
        ("EXPIREAT a 1800000010", ":1"),
        ("EXPIRETIME a", ":1800000010"),
        ("PEXPIREAT a 1800000010500", ":1"),
        ("EXPIRETIME a", ":1800000011"),
        ("PEXPIRETIME a", ":1800000010500"),
        ("PERSIST a", ":1"),
        ("TTL a", ":-1"),
        ("EXPIRE a -1", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("PEXPIRE a 10", ":1"),
    ]);
    harness.now_ms = START_MS + 11;
    harness.expect(&[
        ("TTL a", ":-2"),
        ("EXPIRE a 5", ":0"),
        ("RENAME a b", "-ERR no such key"),
    ]);
}

#[test]
fn expire_heeds_its_conditions() {
    const MIXED: &str = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    Harness::new(1).expect(&[
        ("SET a 1", "+OK"),
        ("EXPIRE a 10 XX", ":0"),
        ("EXPIRE a 10 GT", ":0"),
        ("EXPIRE a 10 NX", ":1"),
        ("EXPIRE a 20 NX", ":0"),
        ("EXPIRE a 20 LT", ":0"),
        ("EXPIRE a 20 xx gt", ":1"),
        ("EXPIRE a 20 GT", ":0"),
        ("EXPIRE a 15 LT", ":1"),
        ("PERSIST a", ":1"),
        ("EXPIRE a 15 LT", ":1"),
        ("TTL a", ":15"),
        ("EXPIRE a 1 NX XX", MIXED),
        ("EXPIRE a 1 NX GT", MIXED),
        (
            "EXPIRE a 1 GT LT",
            "-ERR GT and LT options at the same time are not compatible",
        ),
        ("EXPIRE a 1 WHAT", "-ERR Unsupported option WHAT"),
        ("EXPIRE a x", "-ERR value is not an integer or out of range"),
        (
            "EXPIRE a 9223372036854775807",
            "-ERR invalid expire time in 'expire' command",
        ),
        (
            "EXPIRE a -9223372036854775808",
            "-ERR invalid expire time in 'expire' command",
        ),
        (
            "PEXPIRE a 9223372036854775807",
            "-ERR invalid expire time in 'pexpire' command",
        ),
        ("PEXPIREAT a 9223372036854775807", ":1"),
        ("PEXPIRETIME a", ":281474976710655"),
        ("EXPIRE a -1 LT", ":1"),
        ("EXISTS a", ":0"),
    ]);
}

#[test]
fn encodings_are_named_as_redis_names_them() {
    let mut harness = Harness::new(2);
    let (short, long) = ("x".repeat(44), "x".repeat(45));
    harness.expect(&[
        ("OBJECT ENCODING a", "$-1"),
        ("SET a 12", "+OK"),
        ("OBJECT ENCODING a", "$3\r\nint"),
        ("APPEND a 3", ":3"),
        ("OBJECT ENCODING a", "$3\r\nraw"),
        ("INCR a", ":124"),
        ("object encoding a", "$3\r\nint"),
        ("SET a 012", "+OK"),
        ("OBJECT ENCODING a", "$6\r\nembstr"),
        (&format!("SET a {short}"), "+OK"),
        ("OBJECT ENCODING a", "$6\r\nembstr"),
        (&format!("SET a {long}"), "+OK"),
        ("OBJECT ENCODING a", "$3\r\nraw"),
        ("SETRANGE b 0 1", ":1"),
        ("OBJECT ENCODING b", "$3\r\nraw"),
        ("COPY b c", ":1"),
        ("RENAME c d", "+OK"),
        ("OBJECT ENCODING d", "$3\r\nraw"),
        (
            "OBJECT ENCODING",
            "-ERR wrong number of arguments for 'object|encoding' command",
        ),
        (
            "OBJECT WHAT",
            "-ERR unknown subcommand 'WHAT'. Try OBJECT HELP.",
        ),
    ]);
    assert!(
        harness
            .text("OBJECT HELP")
            .starts_with("*15\r\n+OBJECT <subcommand>")
    );
}

/// Names for two keys: on one shard, or on two.
fn key_pairs(harness: &Harness) -> [(String, String); 2] {
    let other = |is_same: bool| {
        let names = (0..).map(|number| format!("target{number}"));
        let is_wanted =
            |name: &String| (harness.owner(name.as_bytes()) == harness.owner(b"source")) == is_same;
        (
            "source".to_owned(),
            { names }.find(is_wanted).expect("there are two shards"),
        )
    };
    [other(true), other(false)]
}

#[test]
fn a_key_is_renamed_wherever_both_names_live() {
    for pair in 0..2 {
        let mut harness = Harness::new(2);
        let (source, target) = &key_pairs(&harness)[pair];
        let mut expect = |command: &str, expected: &str| {
            let command = command.replace('S', source).replace('T', target);
            harness.expect(&[(&command, expected)]);
        };
        expect("rename S T", "-ERR no such key");
        expect("renamenx S T", "-ERR no such key");
        expect("rename S S", "-ERR no such key");
        expect("set S 1 pxat 1900000000000", "+OK");
        expect("set T 2", "+OK");
        expect("renamenx S T", ":0");
        expect("renamenx S S", ":0");
        expect("rename S S", "+OK");
        expect("rename S T", "+OK");
        expect("mget S T", "*2\r\n$-1\r\n$1\r\n1");
        expect("pexpiretime T", ":1900000000000");
        expect("renamenx T S", ":1");
        expect("mget S T", "*2\r\n$1\r\n1\r\n$-1");
        expect("pexpiretime S", ":1900000000000");
        expect("dbsize", ":1");
    }
}

#[test]
fn a_key_is_copied_wherever_both_names_live() {
    for pair in 0..2 {
        let mut harness = Harness::new(2);
        let (source, target) = &key_pairs(&harness)[pair];
        let mut expect = |command: &str, expected: &str| {
            let command = command.replace('S', source).replace('T', target);
            harness.expect(&[(&command, expected)]);
        };
        expect("copy S T", ":0");
        expect("set S 1 pxat 1900000000000", "+OK");
        expect("copy S T", ":1");
        expect("mget S T", "*2\r\n$1\r\n1\r\n$1\r\n1");
        expect("pexpiretime T", ":1900000000000");
        expect("set S 2", "+OK");
        expect("copy S T", ":0");
        expect("copy S T db 0 replace", ":1");
        expect("get T", "$1\r\n2");
        expect("ttl T", ":-1");
        expect(
            "copy S S",
            "-ERR source and destination objects are the same",
        );
        expect("copy S T db 1", "-ERR DB index is out of range");
        expect(
            "copy S T db x",
            "-ERR value is not an integer or out of range",
        );
        expect(
            "copy S T db 99999999999",
            "-ERR value is out of range, value must between -2147483648 and 2147483647",
        );
        expect("copy S T db", "-ERR syntax error");
        expect("copy S T what", "-ERR syntax error");
    }
}

#[test]
fn large_values_move_in_slices_and_leave_nothing_pinned() {
    for pair in 0..2 {
        let mut harness = Harness::new(2);
        let (source, target) = &key_pairs(&harness)[pair];
        let (source, target) = (source.as_bytes(), target.as_bytes());
        let value: Vec<u8> = (0..=u8::MAX)
            .cycle()
            .take(5 * LARGE_VALUE_LEN_BYTES_MIN)
            .collect();
        let is_value = |harness: &mut Harness, key: &[u8]| {
            harness
                .run(&[b"GETRANGE", key, b"0", b"-1"])
                .ends_with(&[&value, &b"\r\n"[..]].concat())
        };
        harness.run(&[b"SET", source, &value, b"PXAT", b"1900000000000"]);
        assert_eq!(harness.run(&[b"COPY", source, target]), b":1\r\n");
        assert!(harness.again_count > 0);
        assert!(is_value(&mut harness, source) && is_value(&mut harness, target));
        assert_eq!(
            harness.run(&[b"PEXPIRETIME", target]),
            b":1900000000000\r\n"
        );
        assert_eq!(harness.run(&[b"COPY", source, target]), b":0\r\n");
        assert_eq!(harness.run(&[b"RENAMENX", source, target]), b":0\r\n");

        assert_eq!(harness.run(&[b"SET", target, b"x"]), b"+OK\r\n");
        assert_eq!(harness.run(&[b"RENAME", source, target]), b"+OK\r\n");
        assert!(is_value(&mut harness, target));
        assert_eq!(harness.run(&[b"EXISTS", source]), b":0\r\n");
        assert_eq!(harness.run(&[b"DEL", target]), b":1\r\n");
        for shard in &mut harness.shards {
            while shard.background(1 << 20) {}
            assert_eq!(shard.stats().large_value_count, 0);
        }
    }
}

/// A shard with a large value at `source`.
fn with_large_source() -> (Harness, Vec<u8>) {
    let mut harness = Harness::new(1);
    let value: Vec<u8> = (0..=u8::MAX)
        .cycle()
        .take(10 * LARGE_VALUE_LEN_BYTES_MIN)
        .collect();
    harness.run(&[b"SET", b"source", &value]);
    (harness, value)
}

#[test]
fn a_copy_given_up_leaves_nothing_pinned() {
    let (mut harness, _) = with_large_source();
    harness.between = Some(Box::new(|_| false));
    harness.run(&[b"COPY", b"source", b"target"]);
    harness.expect(&[("EXISTS target", ":0"), ("DEL source", ":1")]);
    while harness.shards[0].background(1 << 20) {}
    assert_eq!(harness.shards[0].stats().large_value_count, 0);
}

#[test]
fn a_copy_is_of_the_value_as_it_was() {
    let (mut harness, value) = with_large_source();
    harness.between = Some(Box::new(|harness| {
        let shard = &mut harness.shards[0];
        let source = shard.key(b"source");
        shard.write_range(source, 0, b"changed", 0).is_ok()
    }));
    assert_eq!(harness.run(&[b"COPY", b"source", b"target"]), b":1\r\n");
    assert!(
        harness
            .run(&[b"GET", b"target"])
            .ends_with(&[&value, &b"\r\n"[..]].concat())
    );
    assert_eq!(
        harness.run(&[b"GETRANGE", b"source", b"0", b"6"]),
        b"$7\r\nchanged\r\n"
    );
}

#[test]
fn a_copy_survives_flushall() {
    let (mut harness, value) = with_large_source();
    harness.between = Some(Box::new(|harness| {
        harness.shards[0].clear().expect("in memory");
        while harness.shards[0].background(1 << 20) {}
        true
    }));
    assert_eq!(harness.run(&[b"COPY", b"source", b"target"]), b":1\r\n");
    assert!(
        harness
            .run(&[b"GET", b"target"])
            .ends_with(&[&value, &b"\r\n"[..]].concat())
    );
    harness.expect(&[("EXISTS source", ":0"), ("DEL target", ":1")]);
    while harness.shards[0].background(1 << 20) {}
    assert_eq!(harness.shards[0].stats().large_value_count, 0);
}

#[test]
fn a_copy_goes_on_beside_others_that_are_being_copied() {
    let (mut harness, value) = with_large_source();
    let other = value.clone();
    harness.between = Some(Box::new(move |harness| {
        harness.shards[0].stage(&other, 1) == Ok(false)
    }));
    assert_eq!(harness.run(&[b"COPY", b"source", b"target"]), b":1\r\n");
    assert!(harness.again_count <= 3);
    assert!(
        harness
            .run(&[b"GET", b"target"])
            .ends_with(&[&value, &b"\r\n"[..]].concat())
    );
}

#[test]
fn without_memory_at_the_target_the_source_stays() {
    let mut harness = Harness::with_memory(2, 16 << 20);
    let [_, (source, target)] = key_pairs(&harness);
    let value = vec![b'x'; 5 << 20];
    harness.run(&[b"SET", source.as_bytes(), &value]);
    let filler = (0..).map(|number| format!("filler{number}"));
    for key in filler.take(16) {
        harness.run(&[b"SET", key.as_bytes(), &value[..1 << 20]]);
    }
    let reply = harness.run(&[b"RENAME", source.as_bytes(), target.as_bytes()]);
    assert!(
        reply.starts_with(b"-OOM"),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    assert_eq!(
        harness.run(&[b"STRLEN", source.as_bytes()]),
        b":5242880\r\n"
    );
    assert_eq!(harness.run(&[b"EXISTS", target.as_bytes()]), b":0\r\n");
    assert_eq!(harness.run(&[b"DEL", source.as_bytes()]), b":1\r\n");
}
