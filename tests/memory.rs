//! What a server keeps in memory after long writing, seen from outside: its resident pages.
//!
//! Old values must be found again as space wherever they lay: in the log, which compaction cleans
//! while writes go on, and in the runs of large values. The bound is 1.3 times the live data and
//! a constant for the program, its buffers and blocks that are kept at hand.

mod common;

use std::path::Path;

use common::client::{Client, request};
use common::process::{Forbidden, Server};
use common::{Random, scale, seed, skip_because};

const MIB: u64 = 1024 * 1024;
/// Program, index at its emptiest, read buffers and blocks kept resident, for the servers here.
const CONSTANT_BYTES: u64 = 160 * MIB;
/// Commands of one batch.
const BATCH_LEN: usize = 1000;

#[test]
fn overwriting_for_long_keeps_memory_near_the_live_data() {
    let server = Server::start(&["--shards", "2", "--maxmemory", "2gb"]);
    let mut client = server.client();
    let mut random = Random(seed());
    let (key_count, round_count) = (scale(200_000, 1_000_000), scale(20, 100));
    let value = "v".repeat(100);
    for _ in 0..round_count {
        for _ in 0..key_count / BATCH_LEN {
            let key = |_| format!("key:{:012}", random.below(key_count));
            let keys: Vec<String> = (0..BATCH_LEN).map(key).collect();
            store(&mut client, &keys, &value);
        }
    }
    let live_bytes = u64::try_from(key_count * (16 + 100)).expect("it fits");
    expect_resident_near(&server, live_bytes);
}

#[test]
fn values_that_grow_and_shrink_a_thousandfold_leave_no_holes() {
    let server = Server::start(&["--shards", "2", "--maxmemory", "2gb"]);
    let mut client = server.client();
    let key_count = scale(1_000, 5_000);
    let keys: Vec<String> = (0..key_count).map(|i| format!("key:{i:012}")).collect();
    for _ in 0..scale(4, 40) {
        for len in [100_000, 100, 400_000, 100] {
            for part in keys.chunks(50) {
                store(&mut client, part, &"v".repeat(len));
            }
            let live_bytes = u64::try_from(key_count * (16 + len)).expect("it fits");
            expect_resident_near(&server, live_bytes);
        }
    }
}

#[test]
fn flushing_gives_memory_back() {
    let server = Server::start(&["--shards", "2", "--maxmemory", "2gb"]);
    let mut client = server.client();
    for round in 0..3 {
        for first in (0..scale(400_000, 4_000_000)).step_by(BATCH_LEN) {
            let keys: Vec<String> = (first..first + BATCH_LEN)
                .map(|i| format!("key:{round}:{i}"))
                .collect();
            store(&mut client, &keys, &"v".repeat(200));
        }
        client.expect("FLUSHALL", "+OK\\r\\n");
        client.expect("DBSIZE", ":0\\r\\n");
    }
    let until = common::now() + common::PATIENCE;
    while server.rss_bytes() > CONSTANT_BYTES {
        assert!(
            common::now() < until,
            "{} MiB after FLUSHALL",
            server.rss_bytes() / MIB
        );
        client.expect("PING", "+PONG\\r\\n");
    }
}

/// Sets every key to the value, in one pipeline.
#[test]
fn a_kernel_that_cannot_prepare_pages_has_each_touched_at_the_start() {
    // Linux before 5.14 does not know the advice.
    let without_populate = Forbidden {
        call: libc::SYS_madvise,
        third: Some(libc::MADV_POPULATE_WRITE),
        error: libc::EINVAL,
    };
    let arguments = ["--shards", "1", "--maxmemory", "128mb", "--prefault", "yes"];
    let Some(arguments) = without_populate.arguments(&arguments) else {
        skip_because("python3 is not installed");
        return;
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start_program(Path::new("python3"), &arguments);
    assert!(server.rss_bytes() >= 128 * MIB);
    server.client().expect("SET a 1", "+OK\\r\\n");
}

fn store(client: &mut Client, keys: &[String], value: &str) {
    let stream: Vec<u8> = keys
        .iter()
        .flat_map(|key| request(&["SET", key, value]))
        .collect();
    client.send(&stream);
    client.expect_bytes(&b"+OK\r\n".repeat(keys.len()));
}

#[track_caller]
fn expect_resident_near(server: &Server, live_bytes: u64) {
    let allowed_bytes = live_bytes + live_bytes * 3 / 10 + CONSTANT_BYTES;
    // What was freed a moment ago may still be on its way back to the system.
    let until = common::now() + common::PATIENCE;
    let mut client = server.client();
    while server.rss_bytes() > allowed_bytes {
        let resident_bytes = server.rss_bytes();
        assert!(
            common::now() < until,
            "{} MiB for {} MiB of live data",
            resident_bytes / MIB,
            live_bytes / MIB
        );
        client.expect("PING", "+PONG\\r\\n");
    }
}
