use super::*;
use crate::command::harness::Harness;
use crate::command::{Scope, rows};
use crate::resp::Protocol;

/// Two keys of different shards.
fn keys_apart(harness: &Harness) -> [String; 2] {
    let other = (0..).map(|number| format!("b{number}"));
    let is_apart = |key: &String| harness.owner(key.as_bytes()) != harness.owner(b"a");
    [
        "a".to_owned(),
        { other }.find(is_apart).expect("there are two shards"),
    ]
}

#[test]
fn every_row_that_may_need_a_plan_has_one() {
    for row in rows().filter(|row| row.scope == Scope::Plan) {
        let argument_count = usize::from(row.arity.unsigned_abs()).max(3);
        let arguments = &b"abcdef"[..argument_count - 1];
        let bytes = [row.name.as_bytes(), arguments].concat();
        let mut spans = vec![Span::new(0, row.name.len())];
        spans.extend((0..argument_count - 1).map(|at| Span::new(row.name.len() + at, 1)));
        let mut plan = Plan::start(row, Args::new(&bytes, &spans));
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        let mut reply = Reply::new(&mut out, &mut externs, Protocol::Resp2);
        let next = plan.next(Args::new(&bytes, &spans), &[], &mut reply);
        assert!(
            matches!(next, Next::Steps(steps) if !steps.is_empty()),
            "{}",
            row.name
        );
        assert!(out.is_empty());
    }
}

#[test]
fn rows_of_steps_cannot_be_named() {
    let mut harness = Harness::new(1);
    for row in [&FETCH, &STORE, &FINISH] {
        assert!(harness.text(row.name).starts_with("-ERR unknown command"));
    }
}

#[test]
fn a_refused_command_takes_no_steps() {
    let words: [&[u8]; 4] = [b"copy", b"a", b"b", b"what"];
    let bytes = words.concat();
    let spans = [
        Span::new(0, 4),
        Span::new(4, 1),
        Span::new(5, 1),
        Span::new(6, 4),
    ];
    let args = Args::new(&bytes, &spans);
    let row = rows().find(|row| row.name == "copy").expect("it is there");
    let (mut out, mut externs) = (Vec::new(), Vec::new());
    let mut reply = Reply::new(&mut out, &mut externs, Protocol::Resp2);
    assert!(matches!(
        Plan::start(row, args).next(args, &[], &mut reply),
        Next::Done
    ));
    assert_eq!(out, b"-ERR syntax error\r\n");
}

#[test]
fn pairs_on_several_shards_are_all_stored_or_none() {
    let mut harness = Harness::with_memory(2, 16 << 20);
    let [near, far] = keys_apart(&harness);
    let (near, far) = (near.as_bytes(), far.as_bytes());
    let too_much = vec![b'x'; 32 << 20];

    let reply = harness.run(&[b"MSETNX", near, b"1", far, &too_much]);
    assert!(reply.starts_with(b"-OOM"));
    assert_eq!(harness.text("DBSIZE"), ":0\r\n");
    let reply = harness.run(&[b"MSETNX", near, &too_much, far, &too_much]);
    assert!(reply.starts_with(b"-OOM"));
    assert_eq!(harness.run(&[b"MSETNX", near, b"1", far, b"2"]), b":1\r\n");
    assert_eq!(
        harness.run(&[b"MGET", near, far]),
        b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"
    );
}

#[test]
fn a_value_taken_to_another_shard_keeps_what_belongs_to_it() {
    let mut harness = Harness::new(2);
    let [near, far] = keys_apart(&harness);
    let dialogue = [
        (format!("APPEND {near} 1"), ":1"),
        (format!("APPEND {near} 2"), ":2"),
        (format!("PEXPIREAT {near} 1900000000000"), ":1"),
        (format!("RENAME {near} {far}"), "+OK"),
        (format!("OBJECT ENCODING {far}"), "$3\r\nraw"),
        (format!("PEXPIRETIME {far}"), ":1900000000000"),
        (format!("GET {far}"), "$2\r\n12"),
        (format!("SET {far} "), "+OK"),
        (format!("COPY {far} {near}"), ":1"),
        (format!("GET {near}"), "$0\r\n"),
    ];
    for (command, expected) in &dialogue {
        harness.expect(&[(command, expected)]);
    }
}
