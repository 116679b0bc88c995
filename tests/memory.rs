//! What a server keeps in memory after long writing, seen from outside: its resident pages.
//!
//! Old values must be found again as space wherever they lay: in the log, which compaction cleans
//! while writes go on, and in the runs of large values. The bound is 1.3 times the live data and
//! a constant for the program, its buffers and blocks that are kept at hand. Where keys are evicted it is
//! the budget, whatever is written (`MIXES`).

mod common;

use std::path::Path;

use common::client::{Client, request};
use common::process::{Folder, Forbidden, Server};
use common::{Random, scale, seed, skip_because, tell_tried};
use coremap::limits::RESIDENT_BASE_LEN_BYTES;

const MIB: u64 = 1024 * 1024;
/// Program, index at its emptiest, read buffers and blocks kept resident, for the servers here.
const CONSTANT_BYTES: u64 = 160 * MIB;
/// Bytes of commands between two looks at the memory.
const BATCH_BYTES: usize = 1 << 20;
/// By how much the budget may be passed: marks of use for segments that were split, pages of expiry.
const PASSED_BYTES_MAX: u64 = MIB;
/// By how much used_memory and its parts may differ: what blocks a core takes while others answer.
const APART_BYTES_MAX: u64 = 16 * MIB;
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

#[test]
fn whatever_is_written_at_the_budget_in_memory_resident_memory_stays_within_the_law() {
    obey_the_law("memory", &[]);
}

#[test]
fn whatever_is_written_at_the_budget_in_a_file_resident_memory_stays_within_the_law() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("the folder is writable");
    obey_the_law("a file", &["--dir", data.to_str().expect("plain text")]);
}

/// What a mix writes: a name, and one command of it.
type Mix = (&'static str, fn(&mut Random) -> Vec<u8>);

const MIXES: &[Mix] = &[
    // The budget is used up with the second.
    ("new keys", new_key),
    ("more new keys", new_key),
    ("overwrites", |random| {
        request(&["SET", &key(random, 300_000), &value(100)])
    }),
    ("deletes", |random| match random.below(2) {
        0 => request(&["DEL", &key(random, 300_000)]),
        _ => request(&["SET", &key(random, 300_000), &value(100)]),
    }),
    ("growth", |random| {
        request(&["APPEND", &key(random, 2_000), &value(4_000)])
    }),
    ("lengths", |random| {
        let len = random.pick(&[10, 10, 10, 1_000, 30_000, 300_000]);
        request(&["SET", &key(random, 5_000), &value(len)])
    }),
    ("large values", |random| {
        let key = format!("large:{}", random.below(60));
        match random.below(4) {
            0 => request(&["SET", &key, &value(1_000_000)]),
            1 => request(&["DEL", &key]),
            _ => request(&["SETRANGE", &key, "700000", &value(20_000)]),
        }
    }),
    ("expiry", |random| {
        let lifetime_ms = (1 + random.below(300)).to_string();
        let key = key(random, 300_000);
        request(&["SET", &key, &value(300), "PX", &lifetime_ms])
    }),
    ("overwrites once more", |random| {
        request(&["SET", &key(random, 300_000), &value(100)])
    }),
];

fn new_key(random: &mut Random) -> Vec<u8> {
    let key = format!("new:{}", random.next());
    request(&["SET", &key, &value(200)])
}

fn key(random: &mut Random, count: usize) -> String {
    format!("key:{}", random.below(count))
}

fn value(len: usize) -> String {
    "v".repeat(len)
}

/// Writes one mix after the other to a server that evicts keys, and looks at its memory all the while.
fn obey_the_law(place: &str, arguments: &[&str]) {
    let maxmemory_bytes = 128 * MIB;
    let settings = ["--shards", "2", "--maxmemory", "128mb"];
    let policy = ["--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&[&settings[..], &policy, arguments].concat());
    server.wait_until_loaded();
    let (mut client, mut watcher) = (server.client(), server.client());
    let mut random = Random(seed());
    let written_len = scale(80, 1_000) * usize::try_from(MIB).expect("small");
    for (mix, command) in MIXES {
        let (mut written, mut excess_max) = (0, 0);
        while written < written_len {
            let (mut stream, mut count) = (Vec::new(), 0);
            while stream.len() < BATCH_BYTES {
                stream.extend(command(&mut random));
                count += 1;
            }
            written += stream.len();
            client.send(&stream);
            // Some may be refused: a file gives room back when the disk has caught up.
            client.replies(count);
            excess_max = excess_max.max(excess_bytes(&server, &mut watcher, maxmemory_bytes));
        }
        tell_tried(&format!(
            "{mix} in {place}: resident at most {} MiB above the budget and buffers",
            excess_max / MIB
        ));
        assert!(
            excess_max <= RESIDENT_BASE_LEN_BYTES,
            "{mix}: {}",
            client.value("INFO memory").text()
        );
    }
}

/// What of the resident memory neither the budget nor the buffers account for; that the kinds of memory
/// add up is checked beside.
fn excess_bytes(server: &Server, client: &mut Client, maxmemory_bytes: u64) -> u64 {
    let resident_bytes = server.rss_bytes();
    let info = client.value("INFO everything").text();
    let field = |name: &str| -> u64 {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok();
        info.lines().find_map(value).expect(name)
    };
    let used_bytes = field("used_memory");
    assert!(used_bytes <= maxmemory_bytes + PASSED_BYTES_MAX, "{info}");
    let kinds = ["index", "log", "large_values", "expiry", "limbo"];
    let parts_bytes: u64 = kinds
        .iter()
        .map(|kind| field(&format!("used_memory_{kind}")))
        .sum();
    // The cores' numbers are of moments that lie a little apart.
    assert!(
        parts_bytes.abs_diff(used_bytes) <= APART_BYTES_MAX,
        "{info}"
    );
    assert!(
        field("log_live_bytes") + field("log_dead_bytes") <= field("used_memory_log"),
        "{info}"
    );
    let buffers = ["input_buffers", "output_buffers", "waiting_buffers"];
    let buffers_bytes: u64 = buffers
        .iter()
        .map(|name| field(&format!("coremap_{name}_bytes")))
        .sum();
    resident_bytes.saturating_sub(maxmemory_bytes + maxmemory_bytes / 128 + buffers_bytes)
}

/// The memory for the replies of a turn went back to the kernel after each one, and a GET cost three times the CPU.
#[test]
fn pipelines_are_answered_from_memory_that_is_there_already() {
    let server = Server::start(&["--shards", "1", "--maxmemory", "64mb"]);
    let mut client = server.client();
    let keys: Vec<String> = (0..100).map(|i| format!("key:{i}")).collect();
    store(&mut client, &keys, &value(3_000));
    let stream: Vec<u8> = keys.iter().flat_map(|key| request(&["GET", key])).collect();
    let mut ask = |round_count: u64| {
        for _ in 0..round_count {
            client.send(&stream);
            client.replies(keys.len());
        }
        page_fault_count(&server)
    };
    let round_count = 200;
    let before_count = ask(20);
    let fault_count = ask(round_count) - before_count;
    // The replies of one round fill 75 pages.
    assert!(fault_count < 10 * round_count, "{fault_count} page faults");
}

/// Page faults of a server so far for which nothing was read.
fn page_fault_count(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid()));
    let stat = stat.expect("the server runs");
    // The tenth field; the second is a name in parentheses.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let field = fields.split(' ').nth(7).expect("it is there");
    field.parse().expect("a number")
}

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

/// Sets every key to the value, in one pipeline.
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
