//! Expiry as a user sees it: memory that comes back although nobody asks for the keys.
//!
//! Method: a server with two shards gets many keys with an expiry, and is then left alone: only
//! its own timers can remove them. INFO says how late that was.

mod common;

use std::time::Duration;

use common::client::Client;
use common::process::Server;
use common::{now, pass, scale};

const LIFETIME_MS: u64 = 1500;

/// A number that INFO prints.
fn figure(client: &mut Client, name: &str) -> u64 {
    let text = client.value("INFO all").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.strip_prefix(':'));
    number
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .expect("a number")
}

fn fill(client: &mut Client, key_count: usize) {
    for start in (0..key_count).step_by(1000) {
        let request = |number: usize| format!("SET key:{number} value PX {LIFETIME_MS}\r\n");
        let requests: String = (start..start + 1000).map(request).collect();
        client.send(requests.as_bytes());
        client.expect_bytes(&b"+OK\r\n".repeat(1000));
    }
}

#[test]
fn keys_expire_within_a_second_while_nobody_asks() {
    let key_count = scale(50_000, 1_000_000);
    let server = Server::start(&["--shards", "2", "--maxmemory", "512mb"]);
    let mut client = server.client();
    let started = now();
    fill(&mut client, key_count);
    // Some of them have expired meanwhile if this took long.
    let is_quick = started.elapsed() < Duration::from_millis(LIFETIME_MS);
    assert!(!is_quick || figure(&mut client, "used_memory_expiry") > 0);
    pass(Duration::from_millis(LIFETIME_MS + 1000));
    client.expect("DBSIZE", ":0\\r\\n");
    assert_eq!(figure(&mut client, "expired_keys"), key_count as u64);
    assert!(figure(&mut client, "expiry_lag_max_ms") < 1000);
    assert_eq!(figure(&mut client, "expiry_lag_ms"), 0);
    assert_eq!(figure(&mut client, "log_live_bytes"), 0);
}
