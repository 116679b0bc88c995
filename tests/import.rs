//! `coremap import` with files that redis-server wrote, and with what is left of them when bytes
//! change.
//!
//! The oracle for a file's strings is the server that wrote it: every string with its expiry must
//! be in the importing server exactly as it is there. A damaged file must end in one line that
//! names an offset, must have changed nothing, and takes neither long nor much memory.

mod common;

use std::path::PathBuf;

use common::client::{Client, request};
use common::process::{Ended, Folder, Server, run};
use common::{Random, scale, seed};
use coremap::rdb::{Reader, Value};

/// Far enough away that nothing expires during a test: the year 2100.
const LATER_MS: u64 = 4_102_444_800_000;

/// Commands that make a value of every type in every encoding that Redis 7.0 writes.
const OTHER_TYPES: &[&str] = &[
    "RPUSH list:small a b 12345",
    "SADD set:numbers 1 2 300000",
    "SADD set:words a b c",
    "ZADD zset:small 1.5 a -inf b",
    "HSET hash:small f v g 12",
    "XADD stream 1-1 f v",
    "XADD stream 2-1 f w",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >",
    "GEOADD geo 13.361389 38.115556 Palermo",
    "PFADD hyperloglog a b c",
    "SELECT 3",
    "SET elsewhere 1",
    "SELECT 0",
];

/// What redis-server wrote, and the strings that are in it.
struct Written {
    redis: Server,
    file: PathBuf,
}

/// A redis-server with data of every kind, and its file; none where it is not installed.
fn written() -> Option<Written> {
    let mut redis = Server::start_redis(&["--databases", "4", "--dbfilename", "all.rdb"])?;
    let mut client = redis.client();
    fill(&mut client);
    client.expect("SAVE", "+OK\\r\\n");
    let file = redis.folder.path().join("all.rdb");
    assert!(redis.is_running() && file.is_file());
    Some(Written { redis, file })
}

fn fill(client: &mut Client) {
    let mut requests = Vec::new();
    let mut count = 0;
    let mut add = |arguments: &[&[u8]]| {
        requests.extend(request(arguments));
        count += 1;
    };
    for (i, len) in [0, 1, 20, 63, 64, 1000, 16_383, 16_384, 300_000]
        .into_iter()
        .enumerate()
    {
        // Compressible, and not.
        add(&[b"SET", format!("same:{i}").as_bytes(), &vec![b'x'; len]]);
        let mut random = Random(7);
        let noise: Vec<u8> = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
        add(&[b"SET", format!("noise:{i}").as_bytes(), &noise]);
        add(&[b"SET", &noise[..len.min(1000)], format!("{i}").as_bytes()]);
    }
    for number in [
        0,
        -1,
        127,
        -128,
        128,
        32_767,
        -32_769,
        i64::from(i32::MAX),
        i64::MIN,
    ] {
        let text = number.to_string();
        add(&[b"SET", text.as_bytes(), text.as_bytes()]);
    }
    for i in 0..2000_u64 {
        let key = format!("key:{i}");
        let expiry = (LATER_MS + i).to_string();
        match i % 2 {
            0 => add(&[b"SET", key.as_bytes(), key.as_bytes()]),
            _ => add(&[
                b"SET",
                key.as_bytes(),
                key.as_bytes(),
                b"PXAT",
                expiry.as_bytes(),
            ]),
        }
        let [member, score] = [format!("m{i}"), (i * 3).to_string()];
        let [member, score] = [member.as_bytes(), score.as_bytes()];
        add(&[b"RPUSH", b"list:large", &[member; 20].concat()]);
        add(&[b"SADD", b"set:large", member]);
        add(&[b"ZADD", b"zset:large", score, member]);
        add(&[b"HSET", b"hash:large", member, score]);
        add(&[b"SADD", b"set:integers", score]);
    }
    add(&[
        b"FUNCTION",
        b"LOAD",
        b"#!lua name=lib\nredis.register_function('f', function() return 1 end)",
    ]);
    for command in OTHER_TYPES {
        requests.extend(request(&common::client::words(command)));
        count += 1;
    }
    client.send(&requests);
    for _ in 0..count {
        let reply = client.reply();
        assert!(reply[0] != b'-', "{}", reply.escape_ascii());
    }
}

/// Every string of a server's database 0, with when it expires.
fn strings(client: &mut Client) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let keys = client.value("KEYS *").list();
    let mut found = Vec::new();
    for key in keys {
        let key = key.bytes();
        let kind = client.ask_with(&[&b"TYPE"[..], &key]);
        if kind == b"+string\r\n" {
            let value = client.ask_with(&[&b"GET"[..], &key]);
            client.send(&request(&[&b"PEXPIRETIME"[..], &key]));
            let expiry = String::from_utf8(client.reply()).expect("it is a number");
            let expiry = expiry.trim_start_matches(':').trim_end();
            found.push((key, value, expiry.parse().expect("it is a number")));
        }
    }
    found.sort();
    found
}

fn import(server: &Server, file: &std::path::Path, more: &[&str]) -> Ended {
    let port = server.port.to_string();
    let file = file.to_str().expect("the path is text");
    run(&[&["import", file, "-p", &port], more].concat())
}

#[test]
fn strings_and_their_expiries_arrive_and_everything_else_is_counted() {
    let Some(Written { redis, file }) = written() else {
        return;
    };
    let server = Server::start(&["--shards", "2"]);
    let ended = import(&server, &file, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let due = strings(&mut redis.client());
    assert!(due.len() > 2000);
    let found = strings(&mut server.client());
    assert!(
        due == found,
        "{} strings, {} arrived",
        due.len(),
        found.len()
    );
    let said = [
        format!("imported {} strings\n", due.len()),
        "skipped  2 of type hash\n".to_owned(),
        "skipped  2 of type list\n".to_owned(),
        "skipped  4 of type set\n".to_owned(),
        "skipped  1 of type stream\n".to_owned(),
        "skipped  3 of type zset\n".to_owned(),
        "skipped  1 keys of other databases (--db chooses one)\n".to_owned(),
    ];
    assert_eq!(ended.said, said.concat());
    let other = import(&server, &file, &["--db", "3"]);
    assert!(
        other.said.starts_with("imported 1 strings\n"),
        "{}",
        other.said
    );
}

#[test]
fn keys_that_are_there_stay_unless_they_are_to_be_replaced() {
    let Some(Written {
        file,
        redis: _redis,
    }) = written()
    else {
        return;
    };
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.expect("SET key:0 mine", "+OK\\r\\n");
    let ended = import(&server, &file, &[]);
    let kept = "kept     1 keys that the server had already";
    assert!(ended.said.contains(kept), "{}", ended.said);
    client.expect("GET key:0", "$4\\r\\nmine\\r\\n");
    let ended = import(&server, &file, &["--replace"]);
    assert!(!ended.said.contains("kept"), "{}", ended.said);
    client.expect("GET key:0", "$5\\r\\nkey:0\\r\\n");
}

#[test]
fn servers_with_a_password_or_a_socket_are_reached() {
    let Some(Written {
        file,
        redis: _redis,
    }) = written()
    else {
        return;
    };
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    let socket = socket.to_str().expect("the path is text");
    let server = Server::start(&["--requirepass", "secret", "--unixsocket", socket]);
    let ended = import(&server, &file, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.said.contains("NOAUTH"), "{}", ended.said);
    let ended = import(&server, &file, &["--unixsocket", socket, "-a", "secret"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn what_the_server_refuses_ends_the_import_with_its_reason() {
    let Some(Written { redis, file }) = written() else {
        return;
    };
    redis.client().expect("CONFIG SET maxmemory 1", "+OK\\r\\n");
    redis.client().expect("FLUSHALL", "+OK\\r\\n");
    let ended = import(&redis, &file, &[]);
    assert_eq!(ended.code, Some(1));
    let line = "coremap: error: the server refused a key after it had taken 0: OOM ";
    assert!(ended.said.starts_with(line), "{}", ended.said);
    let nobody = run(&["import", file.to_str().expect("it is text"), "-p", "1"]);
    assert_eq!(nobody.code, Some(1));
    assert_eq!(
        nobody.said,
        "coremap: error: cannot connect to 127.0.0.1:1: connection refused\n"
    );
}

#[test]
fn a_damaged_file_is_named_with_its_place_and_changes_nothing() {
    let Some(Written {
        file,
        redis: _redis,
    }) = written()
    else {
        return;
    };
    let server = Server::start(&["--shards", "1"]);
    let whole = std::fs::read(&file).expect("it was written");
    let damaged = file.with_file_name("damaged.rdb");
    let cut = &whole[..whole.len() / 2];
    let mut changed = whole.clone();
    changed[whole.len() - 100] ^= 0x40;
    for bytes in [cut, &changed, b"something else"] {
        std::fs::write(&damaged, bytes).expect("it can be written");
        let ended = import(&server, &damaged, &[]);
        assert_eq!(ended.code, Some(1), "{}", ended.said);
        assert!(
            ended.said.contains("damaged.rdb: offset "),
            "{}",
            ended.said
        );
        assert_eq!(ended.said.lines().count(), 1, "{}", ended.said);
        server.client().expect("DBSIZE", ":0\\r\\n");
    }
}

/// Mutations of a real file, walked through within this process: every walk ends, none panics, and
/// nothing larger than the file is ever held.
#[test]
fn changed_files_end_in_a_fault_and_never_in_a_panic() {
    let Some(Written {
        file,
        redis: _redis,
    }) = written()
    else {
        return;
    };
    let whole = std::fs::read(&file).expect("it was written");
    let mut random = Random(seed());
    let mut fault_count = 0;
    let round_count = scale(300, 20_000);
    for _ in 0..round_count {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(8) {
            let place = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[place] = random.pick(&[0, 0x3F, 0x7F, 0x80, 0x81, 0xC3, 0xFE, 0xFF]),
                1 => bytes[place] ^= 1 << random.below(8),
                2 => bytes.truncate(place.max(1)),
                _ => {
                    let until = bytes.len().min(place + random.below(64));
                    bytes.drain(place..until);
                }
            }
        }
        fault_count += usize::from(!is_walked(&bytes));
    }
    assert!(
        fault_count + 3 > round_count,
        "the checksum finds nearly all: {fault_count} of {round_count}"
    );
}

/// Whether a file is whole.
fn is_walked(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(bytes) else {
        return false;
    };
    loop {
        match reader.next_entry() {
            Ok(None) => return true,
            Ok(Some(entry)) => {
                assert!(entry.key.len() <= 88 * bytes.len());
                if let Value::String(value) = entry.value {
                    assert!(value.len() <= 88 * bytes.len());
                }
            }
            Err(fault) => {
                assert!(fault.offset <= bytes.len() as u64, "{fault}");
                return false;
            }
        }
    }
}

#[test]
fn usage_is_explained() {
    let help = run(&["import", "--help"]);
    assert_eq!(help.code, Some(0));
    for word in ["--replace", "--unixsocket", "REDISCLI_AUTH"] {
        assert!(help.said.contains(word), "{}", help.said);
    }
    for arguments in [
        &["import"][..],
        &["import", "a", "b"],
        &["import", "a", "--port=x"],
    ] {
        let wrong = run(arguments);
        assert_eq!(wrong.code, Some(2), "{}", wrong.said);
        assert_eq!(wrong.said.lines().count(), 1, "{}", wrong.said);
    }
}
