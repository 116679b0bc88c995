//! Bits of strings, small and large.

use crate::command::harness::Harness;

#[test]
fn a_bit_is_set_and_read_and_lengthens_the_value() {
    Harness::new(1).expect(&[
        ("GETBIT k 100", ":0"),
        ("SETBIT k 7 1", ":0"),
        ("GET k", "$1\r\n\u{1}"),
        ("SETBIT k 7 1", ":1"),
        ("GETBIT k 7", ":1"),
        ("GETBIT k 8", ":0"),
        ("SETBIT k 15 0", ":0"),
        ("STRLEN k", ":2"),
        ("SETBIT k 7 0", ":1"),
        ("GET k", "$2\r\n\0\0"),
        ("OBJECT ENCODING k", "$3\r\nraw"),
        ("SET n 12", "+OK"),
        ("SETBIT n 0 0", ":0"),
        ("OBJECT ENCODING n", "$3\r\nraw"),
    ]);
}

#[test]
fn a_bit_that_is_as_it_was_makes_no_record() {
    let mut harness = Harness::new(1);
    harness.run(&[b"SET", b"long", &[0xFF; 45]]);
    let before = harness.shards[0].stats().log_dead_bytes;
    harness.expect(&[
        ("SETBIT long 3 1", ":1"),
        ("OBJECT ENCODING long", "$3\r\nraw"),
    ]);
    assert_eq!(harness.shards[0].stats().log_dead_bytes, before);
    harness.expect(&[
        ("SET short 0", "+OK"),
        ("SETBIT short 2 1", ":1"),
        ("OBJECT ENCODING short", "$3\r\nraw"),
    ]);
}

#[test]
fn a_bit_beyond_the_longest_value_is_refused() {
    let error = "-ERR bit offset is not an integer or out of range";
    Harness::with_memory(1, 2 << 30).expect(&[
        ("SETBIT k 4294967295 0", ":0"),
        ("STRLEN k", ":536870912"),
        ("SETBIT k 4294967296 0", error),
        ("GETBIT k 4294967296", error),
        ("GETBIT k -1", error),
        ("GETBIT k x", error),
        ("SETBIT k 0 2", "-ERR bit is not an integer or out of range"),
        ("BITFIELD k SET u8 #536870912 1", error),
        ("BITFIELD k SET u8 4294967295 1", "*1\r\n:0"),
    ]);
}

#[test]
fn a_large_value_is_counted_and_searched_in_slices() {
    let mut harness = Harness::with_memory(1, 64 << 20);
    let mut value = vec![0; 5 << 20];
    value[4 << 20] = 0b0101_0000;
    harness.run(&[b"SET", b"k", &value]);
    harness.expect(&[("BITCOUNT k", ":2")]);
    assert_eq!(harness.again_count, 4);
    harness.expect(&[
        ("BITPOS k 1", ":33554433"),
        ("BITPOS k 1 4194304 -1", ":33554433"),
        ("BITPOS k 1 33554434 -1 BIT", ":33554435"),
        ("BITCOUNT k 33554434 33554436 BIT", ":1"),
        ("BITPOS k 1 0 1000", ":-1"),
        ("BITPOS k 0", ":0"),
        ("BITCOUNT k 0 -1 WHAT", "-ERR syntax error"),
        ("SETBIT k 0 1", ":0"),
        ("BITCOUNT k", ":3"),
    ]);
}

#[test]
fn what_is_walked_over_stays_as_it_was_and_is_let_go() {
    let mut harness = Harness::with_memory(1, 64 << 20);
    harness.run(&[b"SET", b"k", &vec![0xFF; 4 << 20]]);
    let mut is_first = true;
    harness.between = Some(Box::new(move |harness| {
        if std::mem::take(&mut is_first) {
            assert_eq!(harness.text("SETBIT k 33554431 0"), ":1\r\n");
        }
        true
    }));
    assert_eq!(harness.text("BITCOUNT k"), ":33554432\r\n");
    harness.between = None;
    assert_eq!(harness.text("BITCOUNT k"), ":33554431\r\n");
    // Given up: the pin goes with the reply.
    harness.between = Some(Box::new(|_| false));
    harness.run(&[b"BITCOUNT", b"k"]);
    harness.between = None;
    for _ in 0..100 {
        assert_eq!(harness.run(&[b"SET", b"k", &vec![0; 4 << 20]]), b"+OK\r\n");
    }
}

#[test]
fn fields_of_any_width_wrap_saturate_or_fail() {
    Harness::new(1).expect(&[
        (
            "BITFIELD k SET i8 0 -1 GET u8 0 GET i4 0",
            "*3\r\n:0\r\n:255\r\n:-1",
        ),
        ("BITFIELD k INCRBY u2 6 1", "*1\r\n:0"),
        (
            "BITFIELD k OVERFLOW SAT INCRBY u2 0 100 OVERFLOW FAIL INCRBY u2 0 1",
            "*2\r\n:3\r\n$-1",
        ),
        (
            "BITFIELD k OVERFLOW SAT INCRBY i64 3 -9223372036854775808",
            "*1\r\n:-9223372036854775808",
        ),
        ("BITFIELD k SET u63 1 -1", "*1\r\n:8070450532247928832"),
        ("BITFIELD k GET i64 0 GET i64 1000", "*2\r\n:-1\r\n:0"),
        ("BITFIELD new OVERFLOW FAIL SET u1 9 2", "*1\r\n$-1"),
        ("STRLEN new", ":2"),
        ("BITFIELD absent GET u8 0", "*1\r\n:0"),
        ("BITFIELD absent", "*0"),
        ("EXISTS absent", ":0"),
        ("BITFIELD_RO k GET u8 0", "*1\r\n:255"),
        (
            "BITFIELD_RO k SET u8 0 1",
            "-ERR BITFIELD_RO only supports the GET subcommand",
        ),
    ]);
}

#[test]
fn fields_of_a_large_value_are_changed_where_they_are() {
    let mut harness = Harness::with_memory(1, 16 << 20);
    harness.run(&[b"SET", b"k", &vec![0; 9 << 20]]);
    // There is no room for a second one.
    harness.expect(&[
        (
            "BITFIELD k SET u16 #0 258 SET u16 75497456 772 INCRBY u8 0 1",
            "*3\r\n:0\r\n:0\r\n:2",
        ),
        ("GETRANGE k 0 1", "$2\r\n\u{2}\u{2}"),
        ("GETRANGE k -5 -1", "$5\r\n\0\0\0\u{3}\u{4}"),
        ("STRLEN k", ":9437184"),
    ]);
}
