//! Turns and passes that end before their commands do, because they have taken their time or worked long for
//! memory.

use std::sync::Arc;

use super::super::Lane;
use super::{NOW, command, key_of, lanes, lanes_in, run_until, send, take};
use crate::command::Shared;
use crate::lane::{Peer, Turn};
use crate::limits::{CLOCK_COMMAND_COUNT, TURN_NS_MAX};
use crate::region::{Region, RegionOptions};
use crate::shard::Eviction;

#[test]
fn a_turn_that_has_taken_its_time_leaves_the_rest_to_the_next() {
    let mut lanes = lanes(1, 52);
    let lane = &mut lanes[0];
    let id = lane.connect(Peer::default(), NOW);
    let ping_count = 3 * CLOCK_COMMAND_COUNT;
    send(lane, id, &b"PING\r\n".repeat(ping_count));
    let mut output = Vec::new();
    assert_eq!(lane.timed_turn(id, NOW, &|| TURN_NS_MAX), Turn::More);
    take(lane, id, &mut output);
    assert_eq!(output, b"+PONG\r\n".repeat(CLOCK_COMMAND_COUNT));
    assert_eq!(lane.timed_turn(id, NOW, &|| TURN_NS_MAX - 1), Turn::Idle);
    take(lane, id, &mut output);
    assert_eq!(output, b"+PONG\r\n".repeat(ping_count));
}

#[test]
fn a_transaction_is_cut_as_well_and_answers_whole() {
    let mut lanes = lanes(1, 53);
    let lane = &mut lanes[0];
    let id = lane.connect(Peer::default(), NOW);
    let ping_count = 3 * CLOCK_COMMAND_COUNT;
    let queued = b"PING\r\n".repeat(ping_count);
    send(lane, id, &[&b"MULTI\r\n"[..], &queued].concat());
    assert_eq!(lane.turn(id, NOW), Turn::Idle);
    send(lane, id, b"EXEC\r\n");
    let mut turn_count = 1;
    while lane.timed_turn(id, NOW, &|| TURN_NS_MAX) == Turn::More {
        turn_count += 1;
    }
    assert!(turn_count > 2, "{turn_count} turns");
    let mut output = Vec::new();
    take(lane, id, &mut output);
    assert!(output.ends_with(&b"+PONG\r\n".repeat(ping_count)));
}

#[test]
fn a_batch_goes_on_when_the_pass_has_taken_its_time() {
    let mut lanes = lanes(2, 54);
    let id = lanes[0].connect(Peer::default(), NOW);
    let set_count = 3 * CLOCK_COMMAND_COUNT;
    for number in 0..set_count {
        let key = key_of(1, number);
        send(&mut lanes[0], id, &command(&[b"SET", key.as_bytes(), b"v"]));
    }
    lanes[0].turn(id, NOW);
    // What is left of a batch may have its slice in the same pass.
    for slice_count in 2..=3 {
        lanes[1].timed_exchange(NOW, &|| TURN_NS_MAX);
        let done_count = slice_count * CLOCK_COMMAND_COUNT as u64;
        assert_eq!(lanes[1].parts.shard.len(), done_count);
    }
    let output = run_until(&mut lanes, id, set_count * 5);
    assert_eq!(output, b"+OK\r\n".repeat(set_count));
}

/// Lanes in a small region in memory, whose shards evict.
fn evicting_lanes(count: u16) -> Vec<Lane> {
    let options = RegionOptions {
        maxmemory_bytes: 8 << 20,
        shard_count: usize::from(count),
    };
    let region = Region::anonymous(options).expect("memory for a test");
    let mut lanes = lanes_in(&Arc::new(region), 51, &Arc::new(Shared::new(count)));
    for lane in &mut lanes {
        let shard = &mut lane.parts.shard;
        shard.set_eviction(Eviction::Any { by_use: false });
    }
    lanes
}

#[test]
fn a_turn_that_works_for_memory_ends_before_its_commands_do() {
    let mut lanes = evicting_lanes(1);
    let lane = &mut lanes[0];
    let id = lane.connect(Peer::default(), NOW);
    let mut output = Vec::new();
    let mut cut_count = 0;
    for batch in 0..200 {
        for number in 0..1000 {
            let key = format!("key:{batch}:{number}");
            send(lane, id, &command(&[b"SET", key.as_bytes(), &[7; 600]]));
        }
        let evicted_before = lane.parts.shard.stats().evicted_count;
        while lane.turn(id, NOW) == Turn::More {
            // Neither so many commands nor so many bytes are a turn.
            let evicted_count = lane.parts.shard.stats().evicted_count;
            assert!(evicted_count > evicted_before);
            cut_count += 1;
        }
        output.clear();
        take(lane, id, &mut output);
        assert!(output.ends_with(b"+OK\r\n"));
    }
    assert!(cut_count > 0);
}

#[test]
fn a_batch_that_works_for_memory_goes_on_in_the_next_pass() {
    let mut lanes = evicting_lanes(2);
    let id = lanes[0].connect(Peer::default(), NOW);
    let mut cut_count = 0;
    for batch in 0..200 {
        for number in 0..1000 {
            let key = key_of(1, batch * 1000 + number);
            let set = command(&[b"SET", key.as_bytes(), &[7; 600]]);
            send(&mut lanes[0], id, &set);
        }
        lanes[0].turn(id, NOW);
        lanes[1].exchange(NOW);
        let owner = &lanes[1];
        cut_count += usize::from(!owner.service.is_idle(&owner.parts.gate));
        let output = run_until(&mut lanes, id, 1000 * 5);
        assert_eq!(output, b"+OK\r\n".repeat(1000));
    }
    assert!(cut_count > 0);
}
