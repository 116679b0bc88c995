//! Once a lane has warmed up, it serves pipelines of 20,000 commands without allocating.
//!
//! A counter of this thread stands before the system's allocator, and a lane runs in this thread
//! as it does on a core. What a warm-up may allocate, pools and spans, is kept; whatever allocates
//! again does so for ever.
#![expect(unsafe_code, reason = "an allocator is unsafe by its signature")]

#[path = "common/lanes.rs"]
mod lanes;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lanes::{Lanes, keys_of, pipeline};

/// Commands of a pipeline, and keys.
const COUNT: usize = 20_000;
/// Small, so that the log of a core fills its slack, and compaction begins, within a warm-up.
const MAXMEMORY_BYTES: u64 = 16 << 20;
const WARM_UP_ROUND_COUNT: usize = 20;
const ROUND_COUNT: usize = 20;

thread_local! {
    // Constant and without a destructor: reaching it never allocates and never fails.
    static ALLOCATION_COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATION_COUNT.set(ALLOCATION_COUNT.get() + 1);
        // SAFETY: the caller keeps the promises, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATION_COUNT.set(ALLOCATION_COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len_bytes: usize) -> *mut u8 {
        ALLOCATION_COUNT.set(ALLOCATION_COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, len_bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Allocations of this thread while `work` runs.
fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATION_COUNT.get();
    work();
    ALLOCATION_COUNT.get() - before
}

/// Runs the pipeline of each round, the first ones to warm up, and fails if a later one allocates.
fn assert_allocates_nothing(lanes: &mut Lanes, pipelines: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) {
    let mut counts = [0; WARM_UP_ROUND_COUNT + ROUND_COUNT];
    for (round, count) in counts.iter_mut().enumerate() {
        let (requests, replies) = pipelines(round);
        *count = allocations_of(|| lanes.run(&requests, &replies));
    }
    let after_warm_up = &counts[WARM_UP_ROUND_COUNT..];
    assert!(
        after_warm_up.iter().all(|count| *count == 0),
        "allocations of each round: {counts:?}"
    );
}

/// Overwrites all keys with a value that is another one each round.
fn set(keys: &[[u8; 16]], round: usize) -> (Vec<u8>, Vec<u8>) {
    let value = format!("{round:032}");
    (
        pipeline(keys, "SET", Some(&value)),
        b"+OK\r\n".repeat(keys.len()),
    )
}

/// All keys but every fourth.
fn three_quarters(keys: &[[u8; 16]]) -> Vec<[u8; 16]> {
    let wanted = keys.iter().enumerate().filter(|(index, _)| index % 4 != 0);
    wanted.map(|(_, key)| *key).collect()
}

fn get(keys: &[[u8; 16]], round: usize) -> (Vec<u8>, Vec<u8>) {
    let reply = format!("$32\r\n{round:032}\r\n");
    (
        pipeline(keys, "GET", None),
        reply.repeat(keys.len()).into_bytes(),
    )
}

#[test]
fn an_allocation_is_counted_and_its_end_is_not() {
    let count = allocations_of(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(count, 1);
}

#[test]
fn pings_allocate_nothing() {
    let mut lanes = Lanes::new(1, MAXMEMORY_BYTES);
    assert_allocates_nothing(&mut lanes, |_| {
        let request = b"*1\r\n$4\r\nPING\r\n";
        (request.repeat(COUNT), b"+PONG\r\n".repeat(COUNT))
    });
}

#[test]
fn gets_that_hit_and_gets_that_miss_allocate_nothing() {
    let mut lanes = Lanes::new(1, MAXMEMORY_BYTES);
    let (keys, absent) = (
        keys_of(0, 1, COUNT),
        keys_of(0, 1, 2 * COUNT).split_off(COUNT),
    );
    let (requests, replies) = set(&keys, 0);
    lanes.run(&requests, &replies);
    assert_allocates_nothing(&mut lanes, |round| match round % 2 {
        0 => get(&keys, 0),
        _ => (pipeline(&absent, "GET", None), b"$-1\r\n".repeat(COUNT)),
    });
}

#[test]
fn sets_of_keys_that_are_there_allocate_nothing_while_the_log_is_compacted() {
    let mut lanes = Lanes::new(1, MAXMEMORY_BYTES);
    let keys = keys_of(0, 1, COUNT / 3 * 4);
    let overwritten = three_quarters(&keys);
    // The quarter that stays is scattered over blocks that die around it.
    assert_allocates_nothing(&mut lanes, |round| match round {
        0 => set(&keys, round),
        _ => set(&overwritten, round),
    });
    let stats = lanes.lane(0).shard().stats();
    assert!(stats.compacted_block_count > 0 && stats.compacted_total_bytes > 0);
}

#[test]
fn counters_allocate_nothing() {
    let mut lanes = Lanes::new(1, MAXMEMORY_BYTES);
    let keys = keys_of(0, 1, COUNT);
    assert_allocates_nothing(&mut lanes, |round| {
        let reply = format!(":{}\r\n", round + 1);
        (
            pipeline(&keys, "INCR", None),
            reply.repeat(COUNT).into_bytes(),
        )
    });
}

#[test]
fn gets_of_another_cores_keys_allocate_nothing() {
    let mut lanes = Lanes::new(2, 2 * MAXMEMORY_BYTES);
    let keys = keys_of(1, 2, COUNT);
    let (requests, replies) = set(&keys, 0);
    lanes.run(&requests, &replies);
    assert_allocates_nothing(&mut lanes, |_| get(&keys, 0));
    assert_eq!(lanes.lane(0).shard().len(), 0);
}

#[test]
fn sets_of_another_cores_keys_allocate_nothing_while_its_log_is_compacted() {
    let mut lanes = Lanes::new(2, 2 * MAXMEMORY_BYTES);
    let keys = keys_of(1, 2, COUNT / 3 * 4);
    let overwritten = three_quarters(&keys);
    // The quarter that stays is scattered over blocks that die around it.
    assert_allocates_nothing(&mut lanes, |round| match round {
        0 => set(&keys, round),
        _ => set(&overwritten, round),
    });
    let stats = lanes.lane(1).shard().stats();
    assert!(stats.compacted_block_count > 0 && stats.compacted_total_bytes > 0);
}

#[test]
fn pipelines_of_keys_of_both_cores_allocate_nothing() {
    let mut lanes = Lanes::new(2, 2 * MAXMEMORY_BYTES);
    let keys = [keys_of(0, 2, COUNT / 2), keys_of(1, 2, COUNT / 2)];
    let keys: Vec<_> = keys[0]
        .iter()
        .zip(&keys[1])
        .flat_map(|(a, b)| [*a, *b])
        .collect();
    assert_allocates_nothing(&mut lanes, |round| match round % 2 {
        0 => set(&keys, round),
        _ => get(&keys, round - 1),
    });
}
