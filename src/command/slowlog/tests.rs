//! What is kept of slow commands, over several cores.

use super::*;
use crate::command::Now;
use crate::command::table::find;
use crate::command::tests::Cores;

fn row(name: &str) -> &'static Row {
    find(name.as_bytes()).expect("a command")
}

/// Notes that the client of core 0, or another core's, sent `words`, which took `us`.
fn note(cores: &mut Cores, core: usize, words: &[&[u8]], us: u64) {
    let now = Now {
        unix_us: cores.now.unix_us,
    };
    let client = cores.client;
    let row = row(std::str::from_utf8(words[0]).unwrap());
    let excerpt = || Excerpt::of(row, words.iter().copied());
    cores.cores[core].note_slow(row, client, now, us * 1_000, excerpt);
}

#[test]
fn the_newest_of_all_cores_come_first() {
    let mut cores = Cores::new(2);
    cores.connect(1, 9);
    note(&mut cores, 0, &[b"get", b"a"], 20_000);
    note(&mut cores, 1, &[b"get", b"b"], 30_000);
    note(&mut cores, 0, &[b"get", b"quick"], 9_999);
    assert_eq!(cores.run("SLOWLOG LEN"), ":2\r\n");
    let newest = "*6\r\n:1\r\n:1700000000\r\n:30000\r\n*2\r\n$3\r\nget\r\n$1\r\nb\r\n$10\r\n10.0.0.1:9\r\n$0\r\n\r\n";
    assert_eq!(cores.run("SLOWLOG GET 1"), format!("*1\r\n{newest}"));
    for command in ["SLOWLOG GET", "SLOWLOG GET -1", "slowlog get 100"] {
        assert!(cores.run(command).starts_with(&format!("*2\r\n{newest}")));
    }
    for command in ["SLOWLOG GET -2", "SLOWLOG GET x"] {
        let error = "-ERR count should be greater than or equal to -1\r\n";
        assert_eq!(cores.run(command), error);
    }
    assert_eq!(cores.run("SLOWLOG RESET"), "+OK\r\n");
    assert_eq!(cores.run("SLOWLOG GET"), "*0\r\n");
}

#[test]
fn the_log_is_as_long_as_its_setting() {
    let mut cores = Cores::new(2);
    for number in 0..100_u64 {
        note(
            &mut cores,
            0,
            &[b"get", number.to_string().as_bytes()],
            10_000,
        );
    }
    cores.run("CONFIG SET slowlog-max-len 3");
    assert_eq!(cores.run("SLOWLOG LEN"), ":3\r\n");
    assert!(cores.run("SLOWLOG GET").starts_with("*3\r\n*6\r\n:99\r\n"));
    cores.run("CONFIG SET slowlog-log-slower-than -1");
    note(&mut cores, 0, &[b"get", b"x"], 1_000_000);
    assert!(
        cores
            .run("SLOWLOG GET 1")
            .starts_with("*1\r\n*6\r\n:99\r\n")
    );
}

#[test]
fn arguments_are_cut_as_redis_cuts_them_and_secrets_are_not_kept() {
    let long = vec![b'v'; 200];
    let excerpt = Excerpt::of(row("set"), [&b"set"[..], b"k", &long].into_iter());
    let cut = [&[b'v'; 128][..], b"... (72 more bytes)"].concat();
    assert_eq!(excerpt.arguments, [b"set".to_vec(), b"k".to_vec(), cut]);

    let many = vec![&b"a"[..]; 40];
    let excerpt = Excerpt::of(row("del"), many.into_iter());
    assert_eq!(excerpt.arguments.len(), 32);
    assert_eq!(excerpt.arguments[31], b"... (9 more arguments)");

    let excerpt = Excerpt::of(row("auth"), [&b"auth"[..], b"secret"].into_iter());
    assert_eq!(excerpt.arguments[1], b"(redacted)");
    let excerpt = Excerpt::of(row("get"), [&b"get"[..], b"k"].into_iter()).of_several(7);
    assert_eq!(
        excerpt.arguments[2],
        b"... (the last of 7 commands in one turn)"
    );
}
