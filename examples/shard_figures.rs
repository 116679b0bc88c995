//! Figures of one shard without a server: time per operation, bytes per key, longest pause,
//! memory under overwrites. `cargo run --release --example shard_figures [overwrites_in_millions]`

mod common;

use std::error::Error;
use std::sync::Arc;

use common::{Random, now, sum_ahead};
use coremap::shard::{Attributes, Key, Options, Shard};
use coremap::sys;

const MIB: f64 = 1048576.0;

fn main() -> Result<(), Box<dyn Error>> {
    let overwrites: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(20), |text| text.parse())?
        * 1_000_000;
    time_per_operation()?;
    overwrite(overwrites)?;
    swap_short_and_long(200_000)?;
    overwrite_at_the_budget(3_000_000)?;
    bytes_per_key(10_000_000)?;
    longest_store(20_000_000)?;
    Ok(())
}

fn shard(maxmemory_gib: u64) -> Result<Shard, Box<dyn Error>> {
    Ok(Shard::embedded(Options {
        maxmemory_bytes: maxmemory_gib << 30,
        seeds: [7, 8, 9, 10],
    })?)
}

/// Random finds and stores among a million keys of 16 bytes with values of 8, looked at before
/// their turn.
fn time_per_operation() -> Result<(), Box<dyn Error>> {
    let mut shard = shard(2)?;
    let keys = 1_000_000;
    fill(&mut shard, keys);
    for round in 0..3 {
        let mut random = Random(round);
        let start = now();
        let count = 4_000_000;
        let numbers = random.numbers(keys, count);
        let hits = sum_ahead(&mut shard, numbers, |shard, key| {
            u64::from(shard.find(key, 1).is_some())
        });
        println!(
            "find  {:6.1} ns, {hits} hits",
            start.elapsed().as_nanos() as f64 / count as f64
        );
        let start = now();
        let numbers = random.numbers(keys, count);
        sum_ahead(&mut shard, numbers, store);
        let stats = shard.stats();
        println!(
            "store {:6.1} ns, {} MiB copied by compaction so far",
            start.elapsed().as_nanos() as f64 / count as f64,
            stats.compacted_total_bytes >> 20
        );
    }
    Ok(())
}

/// Memory stays within its bound however often keys are overwritten.
fn overwrite(overwrites: u64) -> Result<(), Box<dyn Error>> {
    let before = resident_bytes()?;
    let mut shard = shard(2)?;
    let keys = 1_000_000;
    fill(&mut shard, keys);
    let filled = resident_bytes()? - before;
    let mut random = Random(1);
    let start = now();
    sum_ahead(&mut shard, random.numbers(keys, overwrites), store);
    let stats = shard.stats();
    println!(
        "{overwrites} overwrites: {:.1} ns each, resident {:.1} MiB when filled, {:.1} MiB after; \
         live {:.1} MiB log + {:.1} MiB segments; copied {:.2} bytes per byte",
        start.elapsed().as_nanos() as f64 / overwrites as f64,
        filled as f64 / MIB,
        (resident_bytes()? - before) as f64 / MIB,
        stats.log_live_bytes as f64 / MIB,
        stats.segment_count as f64 / 8.0,
        stats.compacted_total_bytes as f64 / (overwrites as f64 * 32.0),
    );
    Ok(())
}

/// Overwrites with values of 8 to 200 bytes in a shard that is full: how long and how often refused.
fn overwrite_at_the_budget(overwrites: u64) -> Result<(), Box<dyn Error>> {
    for free_percent in [2, 5, 10] {
        let mut shard = Shard::embedded(Options {
            maxmemory_bytes: 512 << 20,
            seeds: [1, 2, 3, 4],
        })?;
        let mut random = Random(5);
        let value = [7u8; 200];
        let mut keys = 0u64;
        loop {
            let text = format!("key:{keys:012}");
            let len = 8 + usize::try_from(random.next() % 192)?;
            let key = shard.key(text.as_bytes());
            if shard
                .store(key, &value[..len], Attributes::default(), 1)
                .is_err()
            {
                break;
            }
            keys += 1;
        }
        for number in 0..keys * free_percent / 100 {
            let text = format!("key:{:012}", number * 100 / free_percent);
            let _ = shard.remove(shard.key(text.as_bytes()), 1);
        }
        let (mut refused, mut longest_us, mut over_1_ms) = (0, 0, 0);
        let start = now();
        for _ in 0..overwrites {
            let number = random.next() % keys;
            if (number * free_percent % 100) < free_percent {
                continue;
            }
            let text = format!("key:{number:012}");
            let len = 8 + usize::try_from(random.next() % 192)?;
            let key = shard.key(text.as_bytes());
            let begin = now();
            let stored = shard.store(key, &value[..len], Attributes::default(), 1);
            refused += u64::from(stored.is_err());
            let us = begin.elapsed().as_micros();
            longest_us = longest_us.max(us);
            over_1_ms += u64::from(us > 1000);
        }
        println!(
            "{overwrites} overwrites of {keys} keys, {free_percent} % of the budget free: {:.1} us each, \
             longest {longest_us} us, {over_1_ms} over 1 ms, {refused} refused, copied {} MiB",
            start.elapsed().as_micros() as f64 / overwrites as f64,
            shard.stats().compacted_total_bytes >> 20,
        );
    }
    Ok(())
}

/// Values of 100 bytes become 100 KiB and back.
fn swap_short_and_long(operations: u64) -> Result<(), Box<dyn Error>> {
    let before = resident_bytes()?;
    let mut shard = shard(4)?;
    let keys = 5_000;
    let long = vec![1u8; 100 * 1024];
    let mut random = Random(3);
    let mut longest_us = 0;
    let mut most_live = 0;
    let start = now();
    for _ in 0..operations {
        let text = format!("key:{:012}", random.next() % keys);
        let value = if random.next().is_multiple_of(2) {
            &long[..]
        } else {
            &long[..100]
        };
        let begin = now();
        shard
            .store(shard.key(text.as_bytes()), value, Attributes::default(), 1)
            .expect("4 GiB are enough");
        longest_us = longest_us.max(begin.elapsed().as_micros());
        most_live = most_live.max(shard.stats().log_live_bytes);
    }
    println!(
        "{operations} swaps of 100 B and 100 KiB: {:.1} us each, longest {longest_us} us, live {:.1} MiB \
         (at most {:.1}), dead {:.1} MiB, resident {:.1} MiB",
        start.elapsed().as_micros() as f64 / operations as f64,
        shard.stats().log_live_bytes as f64 / MIB,
        most_live as f64 / MIB,
        shard.stats().log_dead_bytes as f64 / MIB,
        (resident_bytes()? - before) as f64 / MIB,
    );
    Ok(())
}

fn bytes_per_key(keys: u64) -> Result<(), Box<dyn Error>> {
    let before = resident_bytes()?;
    let mut shard = shard(4)?;
    fill(&mut shard, keys);
    println!(
        "{keys} keys of 16 + 8 bytes: {:.1} bytes a key resident, {:.1} in the budget",
        (resident_bytes()? - before) as f64 / keys as f64,
        shard.region().used_bytes() as f64 / keys as f64,
    );
    println!("{:?}", shard.stats());
    Ok(())
}

/// Growing never stops for long.
fn longest_store(keys: u64) -> Result<(), Box<dyn Error>> {
    let mut shard = shard(8)?;
    let region = Arc::clone(shard.region());
    let preparer = std::thread::spawn(move || region.prepare_blocks(sys::monotonic_us));
    let mut longest_ns: Vec<u128> = vec![0];
    let (mut split_count, mut splits_ns) = (0, Vec::new());
    let start = now();
    for number in 0..keys {
        let text = format!("key:{number:012}");
        let begin = now();
        shard
            .store(
                shard.key(text.as_bytes()),
                b"valuesix",
                Attributes::default(),
                1,
            )
            .expect("8 GiB are enough");
        let ns = begin.elapsed().as_nanos();
        if split_count != shard.stats().split_count {
            split_count = shard.stats().split_count;
            splits_ns.push(ns);
        }
        if ns > *longest_ns.last().expect("never empty") {
            longest_ns.push(ns);
            longest_ns.sort_unstable_by(|a, b| b.cmp(a));
            longest_ns.truncate(8);
        }
    }
    println!(
        "growing to {keys} keys: {:.0} ns each, longest stores {longest_ns:?} ns",
        start.elapsed().as_nanos() as f64 / keys as f64,
    );
    splits_ns.sort_unstable();
    println!(
        "{split_count} stores that split a segment: {} ns in the middle, {} ns the hundredth longest",
        splits_ns[splits_ns.len() / 2],
        splits_ns[splits_ns.len() - 100],
    );
    shard.region().stop_preparing();
    preparer
        .join()
        .map_err(|_| "the preparing thread panicked")?;
    let begin = now();
    shard.clear().map_err(|_| "no memory")?;
    let clear_us = begin.elapsed().as_micros();
    let mut longest_us = 0;
    loop {
        let begin = now();
        let more = shard.background(1 << 20);
        longest_us = longest_us.max(begin.elapsed().as_micros());
        if !more {
            break;
        }
    }
    println!("clear: {clear_us} us, longest background step after it {longest_us} us");
    Ok(())
}

fn fill(shard: &mut Shard, keys: u64) {
    for number in 0..keys {
        let text = format!("key:{number:012}");
        shard
            .store(
                shard.key(text.as_bytes()),
                b"valuesix",
                Attributes::default(),
                1,
            )
            .expect("enough memory");
    }
}

fn store(shard: &mut Shard, key: Key<'_>) -> u64 {
    let stored = shard.store(key, b"valuesix", Attributes::default(), 1);
    u64::from(stored.is_ok())
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .ok_or("statm has a second field")?
        .parse()?;
    Ok(pages * 4096)
}
