//! What a whole lane costs: parse, route, run and reply, without sockets.
//!
//! One iteration is a pipeline of 20,000 commands, received in buffers as from a socket, its replies
//! taken and compared. In `own` the keys are the lane's; in `foreign` they are another core's, whose
//! lane runs in the same thread: GETs read there directly, SETs travel in batches over the rings and
//! back, and the figure is what both cores do together. `mget` asks for 1,000 keys with each
//! command, of one core, where it runs whole, or of two, where it runs in parts.

#[path = "../../tests/common/lanes.rs"]
mod lanes;

use divan::Bencher;
use divan::counter::ItemsCount;
use lanes::{Lanes, keys_of, pipeline};

fn main() {
    divan::main();
}

/// Commands of a pipeline.
const COUNT: usize = 20_000;
/// Keys of one MGET.
const MGET_KEY_COUNT: usize = 1000;
/// A prime that divides no key count, so the order of keys is a permutation.
const STRIDE: usize = 7_368_787;
/// Of all lanes: room for a million keys and for what overwriting them leaves dead.
const MAXMEMORY_BYTES: u64 = 512 << 20;
const VALUE: &str = "a value of thirty-two characters";

/// Key counts. Under `cargo test` each benchmark runs once, and on the small size alone.
fn key_counts() -> Vec<usize> {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let sizes = [COUNT, 1_000_000];
    sizes[..if is_measured { 2 } else { 1 }].to_vec()
}

#[divan::bench]
fn ping(bencher: Bencher<'_, '_>) {
    let mut lanes = Lanes::new(1, MAXMEMORY_BYTES);
    let requests = b"*1\r\n$4\r\nPING\r\n".repeat(COUNT);
    let replies = b"+PONG\r\n".repeat(COUNT);
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench_local(|| lanes.run(&requests, &replies));
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn own_get(bencher: Bencher<'_, '_>, key_count: usize) {
    measure(bencher, 1, key_count, "GET");
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn own_set(bencher: Bencher<'_, '_>, key_count: usize) {
    measure(bencher, 1, key_count, "SET");
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn foreign_get(bencher: Bencher<'_, '_>, key_count: usize) {
    measure(bencher, 2, key_count, "GET");
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn foreign_set(bencher: Bencher<'_, '_>, key_count: usize) {
    measure(bencher, 2, key_count, "SET");
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn own_mget(bencher: Bencher<'_, '_>, key_count: usize) {
    measure_mget(bencher, 1, key_count);
}

#[divan::bench(args = key_counts(), sample_size = 1)]
fn split_mget(bencher: Bencher<'_, '_>, key_count: usize) {
    measure_mget(bencher, 2, key_count);
}

/// Measures MGETs of keys of all cores, on each part of them in turn.
fn measure_mget(bencher: Bencher<'_, '_>, core_count: u16, key_count: usize) {
    let mut lanes = Lanes::new(core_count, MAXMEMORY_BYTES);
    let share = key_count / usize::from(core_count);
    let keys: Vec<_> = (0..core_count)
        .flat_map(|owner| keys_of(owner, core_count, share))
        .collect();
    let order: Vec<_> = (0..key_count)
        .map(|place| keys[place * STRIDE % key_count])
        .collect();
    let mut pipelines = Vec::new();
    for part in order.chunks_exact(COUNT) {
        lanes.run(
            &pipeline(part, "SET", Some(VALUE)),
            &b"+OK\r\n".repeat(COUNT),
        );
        pipelines.push(
            part.chunks_exact(MGET_KEY_COUNT)
                .flat_map(mget)
                .collect::<Vec<u8>>(),
        );
    }
    let values = format!("${}\r\n{VALUE}\r\n", VALUE.len()).repeat(MGET_KEY_COUNT);
    let replies = format!("*{MGET_KEY_COUNT}\r\n{values}").repeat(COUNT / MGET_KEY_COUNT);
    let mut turn = 0;
    bencher
        .counter(ItemsCount::new(COUNT))
        .with_inputs(|| {
            turn += 1;
            turn % pipelines.len()
        })
        .bench_local_values(|index| lanes.run(&pipelines[index], replies.as_bytes()));
}

/// One MGET of `keys`.
fn mget(keys: &[[u8; 16]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n$4\r\nMGET\r\n", keys.len() + 1).into_bytes();
    for key in keys {
        bytes.extend_from_slice(b"$16\r\n");
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Measures a pipeline of `name` on each part of the last core's keys in turn, all of them set.
fn measure(bencher: Bencher<'_, '_>, core_count: u16, key_count: usize, name: &str) {
    let owner = core_count - 1;
    let mut lanes = Lanes::new(core_count, MAXMEMORY_BYTES);
    let keys = keys_of(owner, core_count, key_count);
    let order: Vec<_> = (0..key_count)
        .map(|place| keys[place * STRIDE % key_count])
        .collect();
    let set_replies = b"+OK\r\n".repeat(COUNT);
    let get_replies = format!("${}\r\n{VALUE}\r\n", VALUE.len()).repeat(COUNT);
    let (value, replies) = match name {
        "SET" => (Some(VALUE), &set_replies[..]),
        _ => (None, get_replies.as_bytes()),
    };
    let mut pipelines = Vec::new();
    for part in order.chunks_exact(COUNT) {
        lanes.run(&pipeline(part, "SET", Some(VALUE)), &set_replies);
        pipelines.push(pipeline(part, name, value));
    }
    assert_eq!(
        lanes.lane(usize::from(owner)).shard().len(),
        key_count as u64
    );
    // Until the log is in its steady state, in which writes compact what they leave dead.
    let is_steady = |lanes: &Lanes| {
        let stats = lanes.lane(usize::from(owner)).shard().stats();
        name != "SET" || stats.compacted_block_count > 0
    };
    let mut turn = 0;
    while !is_steady(&lanes) {
        lanes.run(&pipelines[turn % pipelines.len()], replies);
        turn += 1;
    }
    bencher
        .counter(ItemsCount::new(COUNT))
        .with_inputs(|| {
            turn += 1;
            turn % pipelines.len()
        })
        .bench_local_values(|index| lanes.run(&pipelines[index], replies));
}
