//! Servers with a data directory: what is there after an end in order and after one without, what the
//! commands about the disk say, and what a server refuses to start on.
//!
//! Kills at random instants are in `kill.rs`, power losses in `power.rs`.

mod common;

use std::time::Duration;

use common::client::{Client, Value, request};
use common::process::{Folder, Server, free_port, run};
use common::{PATIENCE, now, pass};

/// A directory that servers are started on, one after the other.
struct Data(Folder);

impl Data {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("it is text")
    }

    fn start(&self, arguments: &[&str]) -> Server {
        let own = ["--dir", self.path(), "--shards", "2", "--maxmemory", "64mb"];
        Server::start(&[&own, arguments].concat())
    }
}

fn kill(server: Server) {
    server.signal("KILL");
    let (status, _) = server.wait();
    assert_eq!(status.code(), None, "it was killed");
}

fn stop(server: Server) -> String {
    server.signal("TERM");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    said
}

/// Asks until nothing is left to be written.
fn wait_until_synced(client: &mut Client) {
    let until = now() + PATIENCE;
    while info(client, "coremap_sync_pending") != 0 {
        assert!(now() < until, "it is not written");
    }
}

/// The number in a field of INFO.
fn info(client: &mut Client, field: &str) -> u64 {
    let Value::Bytes(text) = client.value("INFO persistence") else {
        panic!("INFO is text")
    };
    let text = String::from_utf8(text).expect("INFO is text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    let value = line.unwrap_or_else(|| panic!("no {field} in {text}"));
    value.parse().expect("a number")
}

#[test]
fn what_was_acknowledged_is_there_after_any_end_and_what_was_removed_is_not() {
    for policy in ["always", "everysec", "no"] {
        let data = Data::new();
        for (round, end) in [kill as fn(Server), |server| drop(stop(server)), kill]
            .into_iter()
            .enumerate()
        {
            let server = data.start(&["--appendfsync", policy]);
            let mut client = server.client();
            let count = 2000 * (round + 1);
            let old = format!("*{count}\r\n");
            for number in 2000 * round..count {
                let (key, value) = (format!("key:{number}"), format!("value {number}"));
                client.send(&request(&["SET", &key, &value]));
            }
            (2000 * round..count).for_each(|_| client.expect_bytes(b"+OK\r\n"));
            client.expect("MSET a 1 b 2 c 3", "+OK\\r\\n");
            client.expect("SET volatile 1 EX 1000", "+OK\\r\\n");
            client.expect("RENAME a moved", "+OK\\r\\n");
            client.expect("DEL b nothing", ":1\\r\\n");
            client.expect("INCRBY counter 7", &format!(":{}\\r\\n", 7 * (round + 1)));
            end(server);

            let server = data.start(&["--appendfsync", policy]);
            let mut client = server.client();
            client.expect(
                "MGET a b c moved",
                "*4\\r\\n$-1\\r\\n$-1\\r\\n$1\\r\\n3\\r\\n$1\\r\\n1\\r\\n",
            );
            client.expect("DBSIZE", &format!(":{}\\r\\n", count + 4));
            let Value::Integer(ttl_s) = client.value("TTL volatile") else {
                panic!("TTL is a number")
            };
            assert!((900..=1000).contains(&ttl_s), "{ttl_s}");
            let mut keys = vec!["MGET".to_owned()];
            keys.extend((0..count).map(|number| format!("key:{number}")));
            let values = client.ask_with(&keys);
            let mut expected = old.into_bytes();
            for number in 0..count {
                let value = format!("value {number}");
                expected.extend_from_slice(format!("${}\r\n{value}\r\n", value.len()).as_bytes());
            }
            assert!(values == expected, "{policy}, end {round}");
            stop(server);
        }
    }
}

#[test]
fn flushall_and_large_values_survive_the_end_of_the_process() {
    let data = Data::new();
    let server = data.start(&[]);
    let mut client = server.client();
    client.expect("MSET old 1 older 2", "+OK\\r\\n");
    client.expect("FLUSHALL", "+OK\\r\\n");
    let value = "x".repeat(1 << 20);
    client.expect(&format!("SET large {value}"), "+OK\\r\\n");
    client.expect("APPEND large tail", &format!(":{}\\r\\n", (1 << 20) + 4));
    kill(server);
    let server = data.start(&[]);
    let mut client = server.client();
    client.expect("DBSIZE", ":1\\r\\n");
    let expected = format!("${}\r\n{value}tail\r\n", value.len() + 4);
    assert!(client.ask("GET large") == expected.as_bytes());
}

#[test]
fn under_always_a_round_stands_behind_every_acknowledgement() {
    let data = Data::new();
    let server = data.start(&["--appendfsync", "always"]);
    let mut client = server.client();
    for number in 0..20 {
        let before = info(&mut client, "coremap_sync_rounds");
        client.expect(&format!("SET key:{number} 1"), "+OK\\r\\n");
        assert!(info(&mut client, "coremap_sync_rounds") > before);
        assert_eq!(info(&mut client, "coremap_sync_pending"), 0);
    }
    // One round serves a whole pipeline, whatever its length.
    let before = info(&mut client, "coremap_sync_rounds");
    let pipeline: Vec<u8> = (0..1000)
        .flat_map(|number| request(&["SET", &format!("key:{number}"), "2"]))
        .collect();
    client.send(&pipeline);
    (0..1000).for_each(|_| client.expect_bytes(b"+OK\r\n"));
    let rounds = info(&mut client, "coremap_sync_rounds") - before;
    assert!((1..100).contains(&rounds), "{rounds} rounds");
    // What changes nothing waits for nothing.
    let before = info(&mut client, "coremap_sync_rounds");
    client.expect("GET key:1", "$1\\r\\n2\\r\\n");
    assert_eq!(info(&mut client, "coremap_sync_rounds"), before);
}

#[test]
fn every_second_changes_reach_the_disk_unasked_and_otherwise_when_asked() {
    let data = Data::new();
    let server = data.start(&["--appendfsync", "no"]);
    let mut client = server.client();
    client.expect("SET a 1", "+OK\\r\\n");
    assert_eq!(info(&mut client, "coremap_sync_pending"), 1);
    client.expect("WAITAOF 1 0 0", "*2\\r\\n:1\\r\\n:0\\r\\n");
    assert_eq!(info(&mut client, "coremap_sync_pending"), 0);
    client.expect("SET a 2", "+OK\\r\\n");
    client.expect("SAVE", "+OK\\r\\n");
    assert_eq!(info(&mut client, "coremap_sync_pending"), 0);
    client.expect("SET a 3", "+OK\\r\\n");
    client.expect("BGSAVE", "+Background saving started\\r\\n");
    wait_until_synced(&mut client);
    client.expect("WAITAOF 1 1 20", "*2\\r\\n:1\\r\\n:0\\r\\n");
    client.expect("CONFIG SET appendfsync everysec", "+OK\\r\\n");
    client.expect("SET a 4", "+OK\\r\\n");
    wait_until_synced(&mut client);
    client.expect(
        "BGREWRITEAOF",
        "+Background append only file rewriting started\\r\\n",
    );
    client.expect("CONFIG SET appendonly no", "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - dir decides, which is set at start\\r\\n");
    let Value::Integer(saved_at_s) = client.value("LASTSAVE") else {
        panic!("LASTSAVE is a number")
    };
    assert!(saved_at_s > 1_700_000_000);
}

#[test]
fn waiting_for_the_disk_keeps_the_order_of_a_pipeline() {
    let data = Data::new();
    let server = data.start(&["--appendfsync", "no"]);
    let mut client = server.client();
    let pipeline = ["SET a 1", "WAITAOF 1 1 30", "GET a", "SAVE", "ECHO end"];
    pipeline
        .iter()
        .for_each(|command| client.send(&request(&command.split(' ').collect::<Vec<_>>())));
    client.expect_bytes(b"+OK\r\n*2\r\n:1\r\n:0\r\n$1\r\n1\r\n+OK\r\n$3\r\nend\r\n");
}

#[test]
fn a_second_server_on_a_directory_is_refused() {
    let data = Data::new();
    let server = data.start(&[]);
    let port = free_port().to_string();
    let ended = run(&["--dir", data.path(), "--port", &port]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    let pid = server.pid().to_string();
    assert!(
        ended.said.contains(data.path()) && ended.said.contains(&pid),
        "{}",
        ended.said
    );
    server.client().expect("PING", "+PONG\\r\\n");
    stop(server);
    data.start(&[]).client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn a_directory_that_is_not_there_and_promises_without_one_are_refused() {
    let port = free_port().to_string();
    for (arguments, code, part) in [
        (
            &["--dir", "/nonexistent/coremap"][..],
            1,
            "/nonexistent/coremap",
        ),
        (&["--appendonly", "yes"], 2, "appendonly: 'yes' needs dir"),
        (&["--appendfsync", "always"], 2, "needs dir"),
    ] {
        let ended = run(&[&["--port", &port], arguments].concat());
        assert_eq!(ended.code, Some(code), "{}", ended.said);
        assert!(ended.said.contains(part), "{}", ended.said);
    }
}

#[test]
fn an_end_in_order_leaves_nothing_to_check_and_idle_servers_write_nothing() {
    let data = Data::new();
    let server = data.start(&[]);
    let mut client = server.client();
    client.expect("SET a 1", "+OK\\r\\n");
    client.expect("SAVE", "+OK\\r\\n");
    // Some more rounds settle what the last one wrote; then there are none.
    let mut counts = (0..6).map(|_| {
        pass(Duration::from_millis(1500));
        info(&mut client, "coremap_sync_rounds")
    });
    let mut before = counts.next();
    let is_silent = counts.any(|count| before.replace(count) == Some(count));
    assert!(is_silent, "rounds for nothing");
    stop(server);
    let server = data.start(&[]);
    server.client().expect("GET a", "$1\\r\\n1\\r\\n");
    let said = stop(server);
    assert!(said.contains("1 keys in "), "{said}");
    assert!(!said.contains("torn"), "{said}");
}

/// What the kernel counts as written for a process: nothing where files are in memory.
fn written_bytes(server: &Server) -> u64 {
    let path = format!("/proc/{}/io", server.pid());
    let text = std::fs::read_to_string(path).expect("it runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok())
        .expect("the kernel counts")
}

/// What the kernel counts for each of many small writes.
fn bytes_of_a_write(server: &Server, client: &mut Client) -> u64 {
    const WRITE_COUNT: u64 = 300;
    let before_bytes = written_bytes(server);
    for number in 0..WRITE_COUNT {
        let answer = client.value(&format!("SET key{number} v"));
        assert_eq!(answer, Value::Status("OK".into()));
    }
    (written_bytes(server) - before_bytes) / WRITE_COUNT
}

#[test]
fn a_small_write_under_always_has_some_pages_written_and_not_blocks() {
    // Blocks may be made ready meanwhile, whose pages count, each of them once.
    const WITH_BLOCKS_BYTES_MAX: u64 = 64 << 10;
    // A page of the log, one of each of two headers, and as much again to spare.
    const PAGES_BYTES_MAX: u64 = 24 << 10;
    let data = Data::new();
    let server = data.start(&["--appendfsync", "always", "--maxmemory", "256mb"]);
    let mut client = server.client();
    let bytes = bytes_of_a_write(&server, &mut client);
    assert!(bytes < WITH_BLOCKS_BYTES_MAX, "{bytes} bytes a write");
    let mut later_bytes = (0..10).map(|_| bytes_of_a_write(&server, &mut client));
    assert!(later_bytes.any(|bytes| bytes < PAGES_BYTES_MAX));
    stop(server);
}
