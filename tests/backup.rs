//! `coremap backup` of a server that is being written to, and `coremap check` of what came of it.
//!
//! Each connection writes rows of keys in order, so that what a copy may hold is easily said: of each
//! row everything that was acknowledged before the copy began, and nothing behind a gap. Overwrites
//! under little memory keep compaction going, which must not take anything from the copy that it needs.

mod common;

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::client::{Client, Value, request};
use common::process::{Ended, Folder, Server, run};
use common::{Random, scale, seed};
use coremap::sys::next_data;

/// Connections that write.
const WRITER_COUNT: usize = 2;
/// Keys of a pipeline.
const BATCH_LEN: u64 = 50;
/// Keys that are overwritten again and again.
const CHURN_KEY_COUNT: usize = 2_000;

/// The path of a folder as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn start(folder: &Folder) -> Server {
    let dir = text(folder.path());
    let arguments = ["--dir", dir, "--shards", "2", "--maxmemory", "64mb"];
    let server = Server::start(&arguments);
    server.wait_until_loaded();
    server
}

fn backup(server: &Server, target: &Path) -> Ended {
    let port = server.port.to_string();
    run(&["backup", text(target), "-p", &port])
}

/// Writes row `name` in order, and other keys over and over, until told to stop.
fn write(address: SocketAddr, name: usize, acknowledged: &AtomicU64, is_over: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut random = Random(name as u64);
    let mut first = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        for number in first..first + BATCH_LEN {
            let key = format!("row:{name}:{number}");
            requests.extend(request(&["SET", &key, &number.to_string()]));
            let churned = format!("churn:{name}:{}", random.below(CHURN_KEY_COUNT));
            requests.extend(request(&[
                "SET",
                &churned,
                &"c".repeat(random.below(2_000)),
            ]));
        }
        client.send(&requests);
        client.expect_bytes(&b"+OK\r\n".repeat(2 * requests_per_batch()));
        first += BATCH_LEN;
        acknowledged.store(first, Ordering::SeqCst);
    }
}

fn requests_per_batch() -> usize {
    usize::try_from(BATCH_LEN).expect("it is small")
}

/// Checks that a copy has the row up to some key at least, and nothing of it behind a gap per shard.
fn expect_row(client: &mut Client, name: usize, at_least: u64, at_most: u64) {
    let mut found_count = 0;
    for number in 0..at_most {
        match client.value(&format!("GET row:{name}:{number}")) {
            Value::Null => assert!(
                number >= at_least,
                "row {name} lacks {number} of {at_least}"
            ),
            value => {
                assert_eq!(value.text(), number.to_string());
                found_count += 1;
            }
        }
    }
    assert!(found_count >= at_least);
}

#[test]
fn a_copy_made_under_writes_is_what_was_there_when_it_began() {
    let folder = Folder::new();
    let server = start(&folder);
    let mut client = server.client();
    // Removed keys must stay so in every copy, large values be whole.
    for number in 0..1_000 {
        client.expect(&format!("SET gone:{number} x"), "+OK\\r\\n");
    }
    for number in 0..1_000 {
        client.expect(&format!("DEL gone:{number}"), ":1\\r\\n");
    }
    let large = "L".repeat(3_000_000);
    client.expect(&format!("SET large {large}"), "+OK\\r\\n");
    let acknowledged: [AtomicU64; WRITER_COUNT] = Default::default();
    let is_over = AtomicBool::new(false);
    let mut copies = Vec::new();
    std::thread::scope(|scope| {
        for (name, acknowledged) in acknowledged.iter().enumerate() {
            let (address, is_over) = (server.address(), &is_over);
            scope.spawn(move || write(address, name, acknowledged, is_over));
        }
        for _ in 0..scale(3, 20) {
            let target = Folder::new();
            let load = || [0, 1].map(|name: usize| acknowledged[name].load(Ordering::SeqCst));
            let before = load();
            let ended = backup(&server, target.path());
            assert_eq!(ended.code, Some(0), "{}", ended.said);
            copies.push((target, before, load()));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop(server);
    for (target, before, after) in copies {
        let checked = run(&["check", text(target.path())]);
        assert_eq!(checked.code, Some(0), "{}", checked.said);
        let copy = start(&target);
        let mut client = copy.client();
        for name in 0..WRITER_COUNT {
            // One batch may have been on its way.
            expect_row(&mut client, name, before[name], after[name] + BATCH_LEN);
        }
        assert_eq!(client.value("GET large").text(), large);
        for number in 0..1_000 {
            client.expect(&format!("EXISTS gone:{number}"), ":0\\r\\n");
        }
        client.expect("SET new 1", "+OK\\r\\n");
    }
}

#[test]
fn a_copy_ends_with_its_server_and_leaves_what_is_there_alone() {
    let folder = Folder::new();
    let server = start(&folder);
    let target = Folder::new();
    assert_eq!(backup(&server, target.path()).code, Some(0));
    let again = backup(&server, target.path());
    assert_eq!(again.code, Some(1));
    assert!(again.said.contains("is there already"), "{}", again.said);
    let own = backup(&server, folder.path());
    assert_eq!(own.code, Some(1), "a server's own directory is in use");
    let memory = Server::start(&[]);
    let nothing = backup(&memory, &target.path().join("new"));
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.said.contains("nothing to copy"), "{}", nothing.said);
}

#[test]
fn check_refuses_what_is_in_use_or_missing_and_finds_damage_with_its_place() {
    let folder = Folder::new();
    let server = start(&folder);
    let mut client = server.client();
    for number in 0..1_000 {
        client.expect(&format!("SET key:{number} value:{number}"), "+OK\\r\\n");
    }
    client.expect("DEL key:1 key:2", ":2\\r\\n");
    client.expect(&format!("SET large {}", "L".repeat(500_000)), "+OK\\r\\n");
    let busy = run(&["check", text(folder.path())]);
    assert_eq!(busy.code, Some(1));
    assert!(busy.said.contains("another process uses"), "{}", busy.said);
    client.expect("SAVE", "+OK\\r\\n");
    client.expect("SAVE", "+OK\\r\\n");
    drop(server);

    let whole = run(&["check", text(folder.path())]);
    assert_eq!(whole.code, Some(0), "{}", whole.said);
    for line in [
        "2 shards, and was not ended in order",
        "999 keys",
        "1 large values",
    ] {
        assert!(whole.said.contains(line), "{}", whole.said);
    }

    let mut random = Random(seed());
    let path = folder.path().join("coremap.data");
    for needle in [&b"value:7"[..], b"LLLLLLLL"] {
        let place = find(&path, needle) + random.below(needle.len()) as u64;
        flip(&path, place);
        let damaged = run(&["check", text(folder.path())]);
        assert_eq!(damaged.code, Some(1), "{}", damaged.said);
        assert!(damaged.said.contains("bytes at offset"), "{}", damaged.said);
        assert!(
            damaged.said.contains("damaged in 1 places"),
            "{}",
            damaged.said
        );
        flip(&path, place);
    }
    assert_eq!(
        run(&["check", text(folder.path())]).code,
        Some(0),
        "it is as it was"
    );

    let nothing = run(&["check", "/nonexistent"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.said.contains("/nonexistent"), "{}", nothing.said);
}

/// Where some bytes are in a sparse file.
fn find(path: &Path, needle: &[u8]) -> u64 {
    let file = File::open(path).expect("it is there");
    let mut at = 0;
    while let Some(part) = next_data(&file, at).expect("it can be read") {
        let len = usize::try_from(part.end - part.start).expect("it is short");
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, part.start)
            .expect("it can be read");
        let mut places = bytes.windows(needle.len());
        if let Some(place) = places.position(|bytes| bytes == needle) {
            return part.start + place as u64;
        }
        at = part.end;
    }
    panic!("it is nowhere");
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("it can be written");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is there");
    file.write_all_at(&[byte[0] ^ 1], at)
        .expect("it can be written");
}
