//! What a lane does in situations that dice rarely throw: bounds reached, batches held back, large
//! values on their way. (Connections that go meanwhile: `departures`; turns that are cut short: `cuts`.)

mod cuts;
mod departures;

use std::sync::Arc;

use super::{ConnectionId, Lane, Links, Options, Peer, Turn};
use crate::command::{Core, Facts, Now, Settings, Shared};
use crate::hash::{Hasher, cluster_slot, shard_of_slot};
use crate::limits::{BATCH_REPLY_LEN_BYTES_MAX, OUTPUT_PAUSE_LEN_BYTES, RING_CAPACITY};
use crate::region::{Region, RegionOptions};
use crate::shard::Shard;

pub(super) const NOW: Now = Now {
    unix_us: 1_700_000_000_000_000,
};

/// `count` lanes with their shards in a region of 256 MiB.
pub(super) fn lanes(count: u16, seed: u64) -> Vec<Lane> {
    lanes_with(count, seed, &Arc::new(Shared::new(count)))
}

fn lanes_with(count: u16, seed: u64, shared: &Arc<Shared>) -> Vec<Lane> {
    let options = RegionOptions {
        maxmemory_bytes: 256 << 20,
        shard_count: usize::from(count),
    };
    let region = Region::anonymous(options).expect("memory for a test");
    lanes_in(&Arc::new(region), seed, shared)
}

/// Lanes with their empty shards in `region`.
pub(super) fn lanes_in(region: &Arc<Region>, seed: u64, shared: &Arc<Shared>) -> Vec<Lane> {
    let count = u16::try_from(region.shard_count()).expect("few");
    let hasher = Hasher::new([seed, 2, 3, 4]);
    let facts = Arc::new(Facts {
        core_count: count,
        ..Facts::default()
    });
    let lane = |(id, links)| {
        let shard = Shard::new(Arc::clone(region), id, hasher.clone()).expect("room");
        let (facts, shared) = (Arc::clone(&facts), Arc::clone(shared));
        let core = Core::new(id, Settings::default(), facts, shared, seed + u64::from(id));
        Lane::new(Options {
            shard,
            core,
            links,
            region: Arc::clone(region),
            hasher: hasher.clone(),
        })
    };
    (0u16..).zip(Links::mesh(count)).map(lane).collect()
}

/// A key that `shard` of two owns.
pub(super) fn key_of(shard: u16, number: usize) -> String {
    (0..)
        .map(|salt| format!("key:{number}:{salt}"))
        .find(|key| shard_of_slot(cluster_slot(key.as_bytes()), 2) == shard)
        .expect("half of all keys are")
}

pub(super) fn send(lane: &mut Lane, id: ConnectionId, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let room = lane.receive_buffer(id);
        let len_bytes = room.len().min(bytes.len());
        assert!(len_bytes > 0, "a connection goes on receiving");
        room[..len_bytes].copy_from_slice(&bytes[..len_bytes]);
        lane.received(id, len_bytes);
        bytes = &bytes[len_bytes..];
    }
}

pub(super) fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Takes all output there is.
pub(super) fn take(lane: &mut Lane, id: ConnectionId, into: &mut Vec<u8>) {
    loop {
        let len_bytes = lane.unsent(id).len();
        if len_bytes == 0 {
            return;
        }
        into.extend_from_slice(lane.unsent(id));
        lane.sent(id, len_bytes);
    }
}

/// Runs everything, taking the output of `id` of the first lane, until it has `len_bytes`.
fn run_until(lanes: &mut [Lane], id: ConnectionId, len_bytes: usize) -> Vec<u8> {
    let mut output = Vec::new();
    for _ in 0..100_000 {
        lanes[0].turn(id, NOW);
        take(&mut lanes[0], id, &mut output);
        lanes.iter_mut().for_each(|lane| {
            lane.exchange(NOW);
        });
        if output.len() >= len_bytes {
            return output;
        }
    }
    panic!("{} of {len_bytes} bytes after 100,000 rounds", output.len());
}

/// Two lanes, a connection to the first, and a value of 200 KiB on the second.
fn with_long_value_elsewhere() -> (Vec<Lane>, ConnectionId, String, Vec<u8>) {
    let mut lanes = lanes(2, 11);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (key, value) = (key_of(1, 0), vec![b'v'; 200 << 10]);
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", key.as_bytes(), &value]),
    );
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
    (lanes, id, key, value)
}

#[test]
fn replies_past_the_bound_of_a_batch_come_in_several_and_all_of_them() {
    let (mut lanes, id, key, value) = with_long_value_elsewhere();
    let request = command(&[b"GET", key.as_bytes()]);
    let mut expected = format!("${}\r\n", value.len()).into_bytes();
    expected.extend_from_slice(&value);
    expected.extend_from_slice(b"\r\n");
    for _ in 0..100 {
        send(&mut lanes[0], id, &request);
    }
    let output = run_until(&mut lanes, id, expected.len() * 100);
    assert!(output.chunks(expected.len()).all(|reply| reply == expected));
    assert_eq!(output.len(), expected.len() * 100);
}

#[test]
fn a_client_that_does_not_read_is_owed_a_bounded_amount() {
    let (mut lanes, id, key, value) = with_long_value_elsewhere();
    let request = command(&[b"GET", key.as_bytes()]);
    for _ in 0..2000 {
        send(&mut lanes[0], id, &request);
    }
    let mut turn = Turn::More;
    for _ in 0..1000 {
        turn = lanes[0].turn(id, NOW);
        lanes.iter_mut().for_each(|lane| {
            lane.exchange(NOW);
        });
    }
    assert_eq!(turn, Turn::OutputFull);
    let owed = lanes[0]
        .core()
        .clients
        .iter()
        .map(|(_, session)| session.output_len_bytes);
    let owed: usize = owed.sum();
    assert!(owed >= OUTPUT_PAUSE_LEN_BYTES);
    assert!(owed <= OUTPUT_PAUSE_LEN_BYTES + BATCH_REPLY_LEN_BYTES_MAX + 2 * value.len());
    let output = run_until(&mut lanes, id, 2000 * value.len());
    assert!(output.len() > 2000 * value.len());
}

#[test]
fn more_batches_than_a_ring_holds_wait_for_room() {
    let mut lanes = lanes(2, 12);
    let count = RING_CAPACITY * 3;
    let ids: Vec<ConnectionId> = (0..count)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let key = key_of(1, number);
        send(
            &mut lanes[0],
            *id,
            &command(&[b"SET", key.as_bytes(), b"v"]),
        );
        assert!(matches!(
            lanes[0].turn(*id, NOW),
            Turn::Idle | Turn::Waiting
        ));
    }
    lanes[0].disconnect(ids[count - 1]);
    let mut answered = vec![Vec::new(); count];
    for _ in 0..100 {
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
        let mut ready = Vec::new();
        lanes[0].take_ready(&mut ready);
        for id in ready {
            lanes[0].turn(id, NOW);
        }
    }
    for (id, output) in ids.iter().zip(&mut answered).take(count - 1) {
        take(&mut lanes[0], *id, output);
        assert_eq!(output, b"+OK\r\n");
    }
    assert!(lanes[0].is_quiet());
}

#[test]
fn a_large_value_for_another_shard_is_copied_in_slices_and_later_commands_wait_for_it() {
    let mut lanes = lanes(2, 13);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (key, other) = (key_of(1, 0), key_of(1, 1));
    let value: Vec<u8> = (0..5 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", key.as_bytes(), &value]),
    );
    send(&mut lanes[0], id, &command(&[b"STRLEN", key.as_bytes()]));
    let second = lanes[0].connect(Peer::default(), NOW);
    send(
        &mut lanes[0],
        second,
        &command(&[b"SET", other.as_bytes(), b"small"]),
    );
    lanes[0].turn(id, NOW);
    lanes[1].exchange(NOW);
    lanes[0].turn(second, NOW);
    lanes[1].exchange(NOW);
    lanes[0].exchange(NOW);
    lanes[0].turn(second, NOW);
    assert_eq!(
        lanes[0].unsent(second),
        b"+OK\r\n",
        "others pass a long command by"
    );
    assert_eq!(run_until(&mut lanes, id, 15), b"+OK\r\n:5242880\r\n");
    send(&mut lanes[0], id, &command(&[b"GET", key.as_bytes()]));
    let output = run_until(&mut lanes, id, value.len() + 12);
    assert!(output[10..].starts_with(&value));
    assert!(output.ends_with(b"\r\n"));
}

#[test]
fn a_large_value_is_compared_and_replaced_by_another_in_slices() {
    for shard in [0, 1] {
        let mut lanes = lanes(2, 19);
        let id = lanes[0].connect(Peer::default(), NOW);
        let key = key_of(shard, 0);
        let [old, new] = [b'o', b'n'].map(|byte| vec![byte; 5 << 20]);
        let set = |value, more: &[&[u8]]| {
            command(&[&[&b"SET"[..], key.as_bytes(), value], more].concat())
        };
        send(&mut lanes[0], id, &set(&old, &[]));
        assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
        send(&mut lanes[0], id, &set(&new, &[b"IFEQ", &old]));
        let mut turn_count = 0;
        while lanes[0].unsent(id).is_empty() {
            lanes[0].turn(id, NOW);
            lanes.iter_mut().for_each(|lane| {
                lane.exchange(NOW);
            });
            turn_count += 1;
            assert!(turn_count < 100, "what was copied was copied again");
        }
        // A slice for each MiB of both; the last copied and the first compared share a turn.
        assert!(turn_count >= 9, "{turn_count}");
        assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
        send(&mut lanes[0], id, &command(&[b"GET", key.as_bytes()]));
        let output = run_until(&mut lanes, id, new.len() + 12);
        assert!(output[10..].starts_with(&new));
    }
}

#[test]
fn what_a_command_in_slices_keeps_is_no_reply_that_fills_a_batch() {
    let mut lanes = lanes(2, 21);
    let id = lanes[0].connect(Peer::default(), NOW);
    let tag = key_of(1, 0);
    let keys: Vec<String> = (0..7).map(|number| format!("{{{tag}}}{number}")).collect();
    // Six values that are copied to one place come to more than the bound.
    let value = vec![b'v'; 200_000];
    for key in &keys[1..] {
        send(
            &mut lanes[0],
            id,
            &command(&[b"SET", key.as_bytes(), &value]),
        );
    }
    assert_eq!(run_until(&mut lanes, id, 30), b"+OK\r\n".repeat(6));
    let mut words: Vec<&[u8]> = vec![b"BITOP", b"OR"];
    words.extend(keys.iter().map(String::as_bytes));
    send(&mut lanes[0], id, &command(&words));
    assert_eq!(run_until(&mut lanes, id, 9), b":200000\r\n");
}

#[test]
fn a_value_is_summed_up_in_slices_behind_replies_that_all_but_reach_the_bound() {
    let mut lanes = lanes(2, 20);
    let id = lanes[0].connect(Peer::default(), NOW);
    let [large, small] = [0, 1].map(|number| key_of(1, number));
    let [large, small] = [&large, &small].map(String::as_bytes);
    let value = vec![b'l'; 3 << 20];
    send(&mut lanes[0], id, &command(&[b"SET", large, &value]));
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
    send(&mut lanes[0], id, &command(&[b"DIGEST", large]));
    let digest = run_until(&mut lanes, id, 1);

    // The state of a sum has more bytes than are left to the bound; nothing else has.
    let filler_len_bytes = 1 << 14;
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", small, &value[..filler_len_bytes - 10]]),
    );
    let mut replies_len_bytes = 5;
    while replies_len_bytes < BATCH_REPLY_LEN_BYTES_MAX - filler_len_bytes {
        send(&mut lanes[0], id, &command(&[b"GET", small]));
        replies_len_bytes += filler_len_bytes;
    }
    let rest_len_bytes = BATCH_REPLY_LEN_BYTES_MAX - 1 - replies_len_bytes;
    let last = (rest_len_bytes - 10 - 1).to_string();
    send(
        &mut lanes[0],
        id,
        &command(&[b"GETRANGE", small, b"0", last.as_bytes()]),
    );
    send(&mut lanes[0], id, &command(&[b"DIGEST", large]));
    let output = run_until(&mut lanes, id, BATCH_REPLY_LEN_BYTES_MAX - 1 + digest.len());
    assert!(output.ends_with(&digest));
    assert_eq!(output.len(), BATCH_REPLY_LEN_BYTES_MAX - 1 + digest.len());
}

#[test]
fn two_large_values_on_their_way_to_one_shard_both_arrive() {
    let mut lanes = lanes(2, 14);
    let ids: Vec<_> = (0..2)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    let value = vec![b'x'; 4 << 20];
    for (number, id) in ids.iter().enumerate() {
        let key = key_of(0, number);
        send(
            &mut lanes[0],
            *id,
            &command(&[b"SET", key.as_bytes(), &value]),
        );
    }
    for _ in 0..20 {
        for id in &ids {
            lanes[0].turn(*id, NOW);
        }
    }
    assert!(ids.iter().all(|id| lanes[0].unsent(*id) == b"+OK\r\n"));
}

// ── review ──────────────────────────────────────────────────────────────────────────────────────

pub(super) fn exchange_all(lanes: &mut [Lane], rounds: usize) {
    for _ in 0..rounds {
        lanes.iter_mut().for_each(|lane| {
            lane.exchange(NOW);
        });
    }
}

#[test]
fn a_large_value_in_a_partly_drained_batch_is_unpinned_once() {
    let mut lanes = lanes(2, 32);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (big, small) = (key_of(1, 0), key_of(1, 1));
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", big.as_bytes(), &vec![b'x'; 2 << 20]]),
    );
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", small.as_bytes(), &vec![b'y'; 4 << 10]]),
    );
    assert_eq!(run_until(&mut lanes, id, 10), b"+OK\r\n+OK\r\n");
    send(&mut lanes[0], id, &command(&[b"GET", big.as_bytes()]));
    for _ in 0..400 {
        send(&mut lanes[0], id, &command(&[b"GET", small.as_bytes()]));
    }
    for _ in 0..4 {
        lanes[0].turn(id, NOW);
        exchange_all(&mut lanes, 2);
    }
    assert_eq!(lanes[0].turn(id, NOW), Turn::OutputFull);
    lanes[0].disconnect(id);
    exchange_all(&mut lanes, 10);
}

#[test]
fn output_that_is_never_empty_does_not_grow() {
    let mut lanes = lanes(1, 33);
    let id = lanes[0].connect(Peer::default(), NOW);
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", b"k", &vec![b'v'; 100 << 10]]),
    );
    lanes[0].turn(id, NOW);
    let request = command(&[b"GET", b"k"]);
    for _ in 0..2000 {
        send(&mut lanes[0], id, &request);
        lanes[0].turn(id, NOW);
        let len_bytes = lanes[0].unsent(id).len().min(100 << 10);
        lanes[0].sent(id, len_bytes);
        assert!(
            lanes[0].core().stats.output_buffers_bytes < 16 << 20,
            "{} MiB for {} unsent",
            lanes[0].core().stats.output_buffers_bytes >> 20,
            lanes[0].unsent(id).len()
        );
    }
}

#[test]
fn many_slow_readers_do_not_deadlock_a_pair_of_cores() {
    let mut lanes = lanes(2, 34);
    let key = key_of(1, 0);
    let ids: Vec<_> = (0..12)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    send(
        &mut lanes[0],
        ids[0],
        &command(&[b"SET", key.as_bytes(), &vec![b'v'; 4 << 10]]),
    );
    assert_eq!(run_until(&mut lanes, ids[0], 5), b"+OK\r\n");
    let request = command(&[b"GET", key.as_bytes()]).repeat(1024 * 8);
    for id in &ids {
        send(&mut lanes[0], *id, &request);
    }
    for _ in 0..200 {
        for id in &ids {
            lanes[0].turn(*id, NOW);
        }
        exchange_all(&mut lanes, 2);
    }

    let other = lanes[0].connect(Peer::default(), NOW);
    send(&mut lanes[0], other, &command(&[b"STRLEN", key.as_bytes()]));
    for _ in 0..200 {
        lanes[0].turn(other, NOW);
        exchange_all(&mut lanes, 2);
    }
    let served_others = lanes[0].unsent(other).len();
    // Now all of them read whatever there is.
    let reply = 4 + 2 + 1 + (4 << 10) + 2;
    let mut totals = vec![0; ids.len()];
    for _ in 0..5000 {
        for (id, total) in ids.iter().zip(&mut totals) {
            lanes[0].turn(*id, NOW);
            let mut output = Vec::new();
            take(&mut lanes[0], *id, &mut output);
            *total += output.len();
        }
        exchange_all(&mut lanes, 2);
    }
    assert!(
        totals.iter().all(|total| *total == reply * 1024 * 8),
        "{totals:?} others: {served_others}"
    );
    assert!(served_others > 0);
}

#[test]
fn protocol_switches_behind_a_split_command_do_not_wait_for_ever() {
    let mut lanes = lanes(1, 40);
    let id = lanes[0].connect(Peer::default(), NOW);
    let keys: Vec<String> = (0..16 * 1024 + 1).map(|n| format!("k{n}")).collect();
    let arguments: Vec<&[u8]> = std::iter::once(&b"DEL"[..])
        .chain(keys.iter().map(String::as_bytes))
        .collect();
    send(&mut lanes[0], id, &command(&arguments));
    for round in 0..20 {
        send(
            &mut lanes[0],
            id,
            &command(&[b"HELLO", if round % 2 == 0 { b"3" } else { b"2" }]),
        );
    }
    send(&mut lanes[0], id, &command(&[b"PING"]));
    let mut output = Vec::new();
    for _ in 0..20 {
        let turn = lanes[0].turn(id, NOW);
        take(&mut lanes[0], id, &mut output);
        lanes[0].exchange(NOW);
        let mut ready = Vec::new();
        lanes[0].take_ready(&mut ready);
        assert!(
            turn != Turn::Waiting || !ready.is_empty(),
            "waits for nobody"
        );
        if turn == Turn::Idle {
            break;
        }
    }
    assert!(output.ends_with(b"+PONG\r\n"));
}

#[test]
fn a_key_read_after_its_time_is_removed_by_its_owner_whoever_reads_it() {
    let mut lanes = lanes(2, 43);
    lanes[0].core_mut().settings.direct_reads = true;
    let id = lanes[0].connect(Peer::default(), NOW);
    let key = key_of(1, 0);
    let set = command(&[b"SET", key.as_bytes(), b"v", b"PXAT", b"1700000000001"]);
    send(&mut lanes[0], id, &set);
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
    let get = command(&[b"GET", key.as_bytes()]);
    send(&mut lanes[0], id, &get);
    assert_eq!(run_until(&mut lanes, id, 7), b"$1\r\nv\r\n");
    assert_eq!(lanes[0].core().stats.commands_read_directly, 1);
    let later = Now {
        unix_us: NOW.unix_us + 1000,
    };
    send(&mut lanes[0], id, &get);
    lanes[0].turn(id, later);
    lanes[1].exchange(later);
    lanes[0].exchange(later);
    lanes[0].turn(id, later);
    assert_eq!(lanes[0].unsent(id), b"$-1\r\n");
    assert!(lanes[1].shard().is_empty());
}

#[test]
fn commands_that_begin_alike_are_told_apart() {
    let mut lanes = lanes(1, 3);
    let id = lanes[0].connect(Peer::default(), NOW);
    let requests: [&[&[u8]]; 6] = [
        &[b"CLIENT", b"ID"],
        &[b"CLIENT", b"GETNAME"],
        &[b"GET", b"a"],
        &[b"get", b"a"],
        &[b"GET", b"a", b"b"],
        &[b"CLIENT", b"ID"],
    ];
    // Twice, so that what was remembered of the first time is used.
    for request in requests.iter().chain(&requests) {
        send(&mut lanes[0], id, &command(request));
    }
    let expected = ":1\r\n$-1\r\n$-1\r\n$-1\r\n\
        -ERR wrong number of arguments for 'get' command\r\n:1\r\n"
        .repeat(2);
    let output = run_until(&mut lanes, id, expected.len());
    assert_eq!(
        output.escape_ascii().to_string(),
        expected.as_bytes().escape_ascii().to_string()
    );
}

#[test]
fn keys_of_a_long_command_change_before_it_or_after_it() {
    let mut lanes = lanes(2, 31);
    let [id, other] = [(), ()].map(|()| lanes[0].connect(Peer::default(), NOW));
    let keys: Vec<String> = (0..20_000u16)
        .map(|number| key_of(number % 2, usize::from(number)))
        .collect();
    let mut mset: Vec<&[u8]> = vec![b"MSET"];
    mset.extend(keys.iter().flat_map(|key| [key.as_bytes(), b"old"]));
    send(&mut lanes[0], id, &command(&mset));
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");

    let mut mget: Vec<&[u8]> = vec![b"MGET"];
    mget.extend(keys.iter().map(|key| key.as_bytes()));
    send(&mut lanes[0], id, &command(&mget));
    assert_eq!(lanes[0].turn(id, NOW), Turn::More);
    // The shards are held until all of them were read.
    send(
        &mut lanes[0],
        other,
        &command(&[b"SET", keys[19_998].as_bytes(), b"new"]),
    );
    assert_eq!(lanes[0].turn(other, NOW), Turn::Waiting);

    let mut expected = b"*20000\r\n".to_vec();
    expected.extend(b"$3\r\nold\r\n".repeat(20_000));
    let output = run_until(&mut lanes, id, expected.len());
    assert!(output == expected, "all keys are read as they were");
    assert_eq!(run_until(&mut lanes, other, 5), b"+OK\r\n");
}

/// What `id` of the first lane is answered to these commands, sent together.
pub(super) fn answer(lanes: &mut [Lane], id: ConnectionId, commands: &str) -> String {
    send(&mut lanes[0], id, commands.as_bytes());
    let mut output = Vec::new();
    for _ in 0..100 {
        lanes[0].turn(id, NOW);
        take(&mut lanes[0], id, &mut output);
        lanes.iter_mut().for_each(|lane| {
            lane.exchange(NOW);
        });
    }
    String::from_utf8(output).expect("text")
}

#[test]
fn keys_are_refused_until_every_core_has_the_shard_that_was_loaded_for_it() {
    let shared = Arc::new(Shared::new(2));
    shared.loading.begin(NOW.ms());
    let mut lanes = lanes_with(2, 5, &shared);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (here, there) = (key_of(0, 0), key_of(1, 0));
    let refused = "-LOADING Redis is loading the dataset in memory\r\n";
    let commands =
        format!("SET {here} 1\r\nGET {there}\r\nDBSIZE\r\nMGET {here} {there}\r\nPING\r\n");
    assert_eq!(answer(&mut lanes, id, &commands), refused.repeat(5));
    assert_eq!(
        answer(&mut lanes, id, "NOSUCH\r\nGET\r\n")
            .matches("-ERR")
            .count(),
        2
    );
    assert!(answer(&mut lanes, id, "INFO\r\n").contains("\r\nloading:1\r\n"));

    let mut loaded = lanes_with(2, 5, &Arc::new(Shared::new(2)));
    let other = loaded[0].connect(Peer::default(), NOW);
    let stored = format!("SET {here} 1\r\nSET {there} 2\r\n");
    assert_eq!(answer(&mut loaded, other, &stored), "+OK\r\n+OK\r\n");
    for (lane, loaded) in lanes.iter_mut().zip(loaded) {
        lane.install(loaded.parts.shard);
        assert!(lane.parts.core.is_loading);
    }
    assert_eq!(answer(&mut lanes, id, &format!("GET {here}\r\n")), refused);
    shared.loading.end();
    let read = format!("GET {there}\r\nMGET {here} {there}\r\nDBSIZE\r\n");
    let replies = "$1\r\n2\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n:2\r\n";
    assert_eq!(answer(&mut lanes, id, &read), replies);
    assert!(answer(&mut lanes, id, "INFO\r\n").contains("\r\nloading:0\r\n"));
}
