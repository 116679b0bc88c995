//! What a shard at its budget does to the writes that come to it: time per store and the longest, bytes
//! copied for a byte written. `cargo run --release --example budget_figures [stores_in_millions]`, or with
//! `slack` instead of the number for nothing but the bytes written against `log-slack`.

mod common;

use std::error::Error;
use std::time::Duration;

use common::{Random, now, sum_ahead};
use coremap::shard::{Attributes, Eviction, Key, Options, Shard};

const MIB: u64 = 1 << 20;
/// Stores that take longer are counted.
const BOUNDS_US: [u64; 5] = [100, 250, 500, 1_000, 2_000];

/// Keys whose overwriting is counted, and how often all of them are, on average: until nothing changes any
/// more, and then for the figure.
const AMPLIFIED_KEY_COUNT: u64 = 1_000_000;
const SETTLING_ROUNDS: u64 = 8;
const COUNTED_ROUNDS: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("slack") {
        println!("log_slack_percent,amplification,dead_percent_of_live");
        return [5, 10, 25, 50, 100, 200, 500]
            .into_iter()
            .try_for_each(amplify);
    }
    let stores: u64 = argument.map_or(Ok(20), |text| text.parse())? * 1_000_000;
    for value_len_bytes in [8, 100, 1000] {
        for policy in [
            Eviction::Any { by_use: true },
            Eviction::Any { by_use: false },
        ] {
            evict(policy, value_len_bytes, stores)?;
        }
    }
    for slack_percent in [10, 20, 25, 30, 40, 50] {
        overwrite(slack_percent, stores)?;
    }
    Ok(())
}

fn shard(maxmemory_mib: u64) -> Result<Shard, Box<dyn Error>> {
    Ok(Shard::embedded(Options {
        maxmemory_bytes: maxmemory_mib * MIB,
        seeds: [7, 8, 9, 10],
    })?)
}

/// Stores of ever new keys, far more than there is memory for.
fn evict(policy: Eviction, value_len_bytes: usize, stores: u64) -> Result<(), Box<dyn Error>> {
    let mut shard = shard(256)?;
    shard.set_eviction(policy);
    let value = vec![7; value_len_bytes];
    let mut random = Random(1);
    // Until all blocks have been used: their first touch is the kernel's time.
    while shard.stats().evicted_count < stores / 10 {
        sum_ahead(
            &mut shard,
            random.numbers(1 << 40, 100_000),
            |shard, key| u64::from(shard.store(key, &value, Attributes::default(), 1).is_ok()),
        );
    }
    let before = shard.stats();
    let mut longest = Duration::ZERO;
    let mut counts = [0u64; BOUNDS_US.len()];
    let start = now();
    sum_ahead(&mut shard, random.numbers(1 << 40, stores), |shard, key| {
        let begin = now();
        let stored = shard.store(key, &value, Attributes::default(), 1);
        let spent = begin.elapsed();
        longest = longest.max(spent);
        for (count, bound_us) in counts.iter_mut().zip(BOUNDS_US) {
            *count += u64::from(spent >= Duration::from_micros(bound_us));
        }
        u64::from(stored.is_ok())
    });
    let stats = shard.stats();
    println!(
        "{policy:?}, values of {value_len_bytes}: {:.0} ns each (a look at the clock included), longest \
         {longest:?}, {counts:?} over {BOUNDS_US:?} us; {} evicted, {} emergencies, {} refused, {} MiB \
         copied",
        start.elapsed().as_nanos() as f64 / stores as f64,
        stats.evicted_count - before.evicted_count,
        stats.emergency_count - before.emergency_count,
        stats.out_of_memory_count,
        (stats.compacted_total_bytes - before.compacted_total_bytes) / MIB,
    );
    Ok(())
}

/// Overwrites of random keys, with room to spare: what the tolerated dead bytes cost and save.
fn overwrite(slack_percent: u32, stores: u64) -> Result<(), Box<dyn Error>> {
    let mut shard = shard(2048)?;
    shard.set_slack_percent(slack_percent);
    let store = |shard: &mut Shard, key: Key<'_>| {
        let stored = shard.store(key, b"valuesix", Attributes::default(), 1);
        u64::from(stored.is_ok())
    };
    let key_count = 4_000_000;
    sum_ahead(&mut shard, 0..key_count, store);
    let mut random = Random(1);
    sum_ahead(&mut shard, random.numbers(key_count, key_count), store);
    let copied_bytes = shard.stats().compacted_total_bytes;
    let start = now();
    sum_ahead(&mut shard, random.numbers(key_count, stores), store);
    let stats = shard.stats();
    let written_bytes = stores * stats.log_live_bytes / key_count;
    println!(
        "log-slack {slack_percent}: {:.1} ns each, {:.2} bytes copied for a byte written, {} MiB live, {} \
         MiB dead",
        start.elapsed().as_nanos() as f64 / stores as f64,
        (stats.compacted_total_bytes - copied_bytes) as f64 / written_bytes as f64,
        stats.log_live_bytes / MIB,
        stats.log_dead_bytes / MIB,
    );
    Ok(())
}

/// Bytes written, compaction's included, for a byte stored, when keys are overwritten at random.
fn amplify(slack_percent: u32) -> Result<(), Box<dyn Error>> {
    let mut shard = shard(2048)?;
    shard.set_slack_percent(slack_percent);
    let value = [7; 100];
    let store = |shard: &mut Shard, key: Key<'_>| {
        let stored = shard.store(key, &value, Attributes::default(), 1);
        u64::from(stored.is_ok())
    };
    let mut random = Random(1);
    let key_count = AMPLIFIED_KEY_COUNT;
    sum_ahead(&mut shard, 0..key_count, store);
    let settling = random.numbers(key_count, SETTLING_ROUNDS * key_count);
    sum_ahead(&mut shard, settling, store);
    let before = shard.stats();
    let counted = random.numbers(key_count, COUNTED_ROUNDS * key_count);
    let stored_count = sum_ahead(&mut shard, counted, store);
    let stats = shard.stats();
    let written_bytes = stored_count * stats.log_live_bytes / key_count;
    let copied_bytes = stats.compacted_total_bytes - before.compacted_total_bytes;
    println!(
        "{slack_percent},{:.2},{}",
        (written_bytes + copied_bytes) as f64 / written_bytes as f64,
        100 * stats.log_dead_bytes / stats.log_live_bytes,
    );
    Ok(())
}
