//! The runtime can put an executor to sleep although a task is runnable (`src/server/executor.rs`,
//! "The guard"). This provokes it: two cores that wake each other for every request, clients that
//! wait for each reply, and a preempt timer so short that it often fires in the wrong moment.
//!
//! Without the guard this test fails within its first seconds:
//! `COREMAP_PARK_GUARD_US=0 cargo test --release --test park` reports replies that took up to a
//! second, which is when the once-a-second task ends the sleep.

mod common;

use std::thread;
use std::time::Duration;

use common::client::Client;
use common::process::Server;
use common::{now, scale};

/// A reply that takes longer than this has waited for the server to wake. The guard wakes it
/// within milliseconds; the rest is for a machine that is busy with other things.
const REPLY_MS_MAX: u128 = 500;

/// Answers are waited for one by one; the slowest, in milliseconds.
fn slowest_reply_ms(mut client: Client, keys: &[String], duration: Duration) -> u128 {
    let until = now() + duration;
    let mut slowest_ms = 0;
    while now() < until {
        for key in keys {
            let sent = now();
            client.ask_with(&["INCR", key]);
            slowest_ms = slowest_ms.max(sent.elapsed().as_millis());
        }
    }
    slowest_ms
}

#[test]
fn executors_that_wake_each_other_never_sleep_on_their_work() {
    let guard_us = std::env::var("COREMAP_PARK_GUARD_US").unwrap_or_else(|_| "2000".to_owned());
    let server = Server::start(&[
        "--shards",
        "2",
        "--preempt-timer-us",
        "100",
        "--guard-timer-us",
        &guard_us,
    ]);
    // Keys of both cores: every second request goes to the other one, whichever serves the client.
    let keys: Vec<String> = (0..64).map(|i| format!("key:{i}")).collect();
    let duration = Duration::from_secs(scale(6, 60));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (client, keys) = (server.client(), keys.clone());
            thread::spawn(move || slowest_reply_ms(client, &keys, duration))
        })
        .collect();
    let slowest_ms: Vec<u128> = threads
        .into_iter()
        .map(|thread| thread.join().expect("it counts"))
        .collect();
    println!("slowest replies: {slowest_ms:?} ms");
    assert!(
        slowest_ms.iter().all(|ms| *ms < REPLY_MS_MAX),
        "{slowest_ms:?} ms"
    );
}
