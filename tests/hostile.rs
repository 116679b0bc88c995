//! Hostile streams on several connections at once: parser, router and transactions get what no
//! honest client sends, in pieces, from clients that vanish, stop reading or hang up half.
//!
//! Two worlds. Lanes in this thread, where a seed decides everything, so that a failure comes again;
//! and a server process, which has sockets, timers and several threads, and is watched from outside.
//! In both: no panic, nothing that never ends, only well-formed replies, and nothing left behind.
//!
//! `COREMAP_TEST_FUZZ_SECONDS` sets how long each of the two goes on: 5, or 1,200 at full size.

mod common;
#[path = "hostile/lanes.rs"]
mod lanes;
#[path = "hostile/process.rs"]
mod process;
#[path = "hostile/streams.rs"]
mod streams;
#[path = "differential/syntax.rs"]
#[allow(dead_code, reason = "the differential test uses the rest")]
mod syntax;
#[path = "differential/values.rs"]
mod values;

use std::time::{Duration, Instant};

use common::client::decode;
use common::{Random, now, scale, seed, tell_tried};
use lanes::World;
use streams::Streams;

/// When a test that goes on for a given time has to end.
fn deadline() -> Instant {
    let given = std::env::var("COREMAP_TEST_FUZZ_SECONDS").ok();
    let seconds = given.and_then(|text| text.parse().ok());
    now() + Duration::from_secs(seconds.unwrap_or(scale(5, 1200)))
}

fn tell(round_count: u64, target: &str, started: Instant) {
    let seconds = now().duration_since(started).as_secs();
    tell_tried(&format!(
        "{round_count} sets of hostile streams against {target} in {seconds} s"
    ));
}

/// Seeds whose streams have found a fault that is mended: a muted connection that shards kept out sent what was
/// to be dropped.
const FOUND: &[u64] = &[10_029_078_692_634_221_301];

fn streams() -> Streams {
    let docs = World::new(0).ask(&["COMMAND", "DOCS"]);
    Streams::new(decode(&docs).expect("it is whole").0)
}

#[test]
fn hostile_streams_that_once_found_a_fault_find_none() {
    let streams = streams();
    for &seed in FOUND {
        World::new(seed).play(&streams, &mut Random(seed));
    }
}

#[test]
fn hostile_streams_leave_lanes_as_they_were() {
    let (seed, started, until) = (seed(), now(), deadline());
    let streams = streams();
    let mut round = 0;
    while now() < until {
        // The first of a failing run is found again with this seed alone.
        let seed = seed.wrapping_add(round);
        println!("COREMAP_TEST_SEED={seed}");
        World::new(seed).play(&streams, &mut Random(seed));
        round += 1;
    }
    tell(round, "lanes", started);
    assert!(round > 0, "nothing was tried");
}

#[test]
fn hostile_streams_leave_a_server_as_it_was() {
    let started = now();
    let round_count = process::play(seed(), deadline());
    tell(round_count, "a server", started);
    assert!(round_count > 0, "nothing was tried");
}
