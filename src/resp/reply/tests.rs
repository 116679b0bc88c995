//! Reply bytes in both protocols.

use super::*;

fn reply_in(protocol: Protocol, write: impl Fn(&mut Reply<'_>)) -> String {
    let (mut out, mut externs) = (Vec::new(), Vec::new());
    write(&mut Reply::new(&mut out, &mut externs, protocol));
    assert!(externs.is_empty());
    out.escape_ascii().to_string()
}

#[test]
fn each_kind_of_reply_has_its_bytes_in_both_protocols() {
    type Case = (fn(&mut Reply<'_>), &'static str, &'static str);
    let cases: [Case; 16] = [
        (|r| r.ok(), r"+OK\r\n", r"+OK\r\n"),
        (|r| r.simple("PONG"), r"+PONG\r\n", r"+PONG\r\n"),
        (|r| r.error("ERR no"), r"-ERR no\r\n", r"-ERR no\r\n"),
        (
            |r| r.error_bytes(b"ERR '\r\n\xff'\r\n"),
            r"-ERR \'  \xff\'\r\n",
            r"-ERR \'  \xff\'\r\n",
        ),
        (|r| r.integer(-7), r":-7\r\n", r":-7\r\n"),
        (
            |r| r.count(u64::MAX),
            r":9223372036854775807\r\n",
            r":9223372036854775807\r\n",
        ),
        (|r| r.bulk(b""), r"$0\r\n\r\n", r"$0\r\n\r\n"),
        (
            |r| r.bulk(b"123456789"),
            r"$9\r\n123456789\r\n",
            r"$9\r\n123456789\r\n",
        ),
        (
            |r| r.bulk(b"1234567890"),
            r"$10\r\n1234567890\r\n",
            r"$10\r\n1234567890\r\n",
        ),
        (|r| r.null(), r"$-1\r\n", r"_\r\n"),
        (|r| r.array(0), r"*0\r\n", r"*0\r\n"),
        (|r| r.array(1_048_576), r"*1048576\r\n", r"*1048576\r\n"),
        (|r| r.map(7), r"*14\r\n", r"%7\r\n"),
        (|r| r.set(3), r"*3\r\n", r"~3\r\n"),
        (
            |r| r.verbatim(b"a b"),
            r"$3\r\na b\r\n",
            r"=7\r\ntxt:a b\r\n",
        ),
        (|r| r.raw(b":1\r\n"), r":1\r\n", r":1\r\n"),
    ];
    for (write, resp2, resp3) in cases {
        assert_eq!(reply_in(Protocol::Resp2, write), resp2);
        assert_eq!(reply_in(Protocol::Resp3, write), resp3);
    }
}

#[test]
fn a_protocol_error_quotes_the_byte_without_breaking_its_line() {
    let reply = |error| reply_in(Protocol::Resp2, |reply| reply.protocol_error(error));
    assert_eq!(
        reply(ProtocolError::ExpectedBulk(b'\r')),
        r"-ERR Protocol error: expected \'$\', got \' \'\r\n"
    );
    assert_eq!(
        reply(ProtocolError::InvalidBulkLength),
        r"-ERR Protocol error: invalid bulk length\r\n"
    );
}

#[test]
fn an_extern_is_noted_where_its_bytes_belong() {
    let value = Extern {
        at: 0,
        owner: 3,
        run: 9,
        offset: 4096,
        len_bytes: 300_000,
    };
    let (mut out, mut externs) = (b"+OK\r\n".to_vec(), Vec::new());
    let mut reply = Reply::new(&mut out, &mut externs, Protocol::Resp2);
    reply.bulk_extern(value);
    let first_end = reply.len_bytes();
    reply.bulk_extern(value);
    reply.truncate(first_end);
    assert_eq!(out, b"+OK\r\n$300000\r\n\r\n");
    let at = b"+OK\r\n$300000\r\n".len();
    assert_eq!(externs, [Extern { at, ..value }]);
}

#[test]
fn what_follows_a_switch_of_protocol_is_in_the_new_one() {
    let bytes = reply_in(Protocol::Resp2, |reply| {
        reply.null();
        reply.set_protocol(Protocol::Resp3);
        reply.null();
    });
    assert_eq!(bytes, r"$-1\r\n_\r\n");
}

#[test]
fn integers_are_written_as_the_standard_library_writes_them() {
    let powers = (0..19).map(|digits| 10_i64.pow(digits));
    let near = powers.flat_map(|power| [power - 1, power, power + 1, -power, 1 - power]);
    let mut scrambled = 1_i64;
    let random = std::iter::repeat_with(|| {
        scrambled = scrambled
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        scrambled >> (scrambled & 63)
    });
    for value in near.chain([i64::MIN, i64::MAX]).chain(random.take(100_000)) {
        let mut digits = [0; DIGITS_MAX];
        assert_eq!(
            format_integer(value, &mut digits),
            value.to_string().as_bytes()
        );
    }
}

#[test]
fn bulks_of_every_short_length_are_written_whole() {
    for len_bytes in 0..=20 {
        let bytes: Vec<u8> = (b'a'..).take(len_bytes).collect();
        let text = reply_in(Protocol::Resp2, |reply| {
            reply.bulk(&bytes);
            reply.ok();
        });
        let expected = format!(r"${len_bytes}\r\n{}\r\n+OK\r\n", bytes.escape_ascii());
        assert_eq!(text, expected);
    }
}
