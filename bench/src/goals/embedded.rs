//! The figures of embedded stores, measured on one shard in one thread, without a server.
//!
//! An operation is timed by the wall clock over a pass of many, and a figure is the median of its
//! passes. Nothing is prefetched: an embedded caller has one key at a time. CMap's figures are named
//! after benchmarks of maps in Go; their access patterns here are those of the benchmarks by these
//! names in Go's own `sync` package.

use coremap::shard::{Attributes, Options, Shard};

use super::{Bound, Goal, Scale};
use crate::table::Spread;
use crate::{allocations, clock};

const VALUE: &[u8] = b"valuesix";
/// Time is an argument; these keys never end.
const NOW_MS: u64 = 1;
/// Keys of the small figures: they fit the second-level cache.
const SMALL_KEY_COUNT: u64 = 1_024;
const MANY_KEY_COUNT: u64 = 65_536;
/// Keys of `balanced` that are there.
const BALANCED_HIT_COUNT: u64 = 128;
const MAXMEMORY_BYTES: u64 = 2 << 30;
/// Secrets of the hash; any will do where keys are trusted.
const SEEDS: [u64; 4] = [7, 8, 9, 10];
const NS_PER_S: f64 = 1e9;
const PASS_COUNT: usize = 9;

pub(super) fn measure(scale: &Scale) -> Result<Vec<Goal>, String> {
    let mut goals = cmap(scale.embedded_count)?;
    goals.extend(cmap_of_many()?);
    goals.extend(zap_store(scale.embedded_count)?);
    Ok(goals)
}

/// CMap's times for one operation.
fn cmap(count: u64) -> Result<Vec<Goal>, String> {
    let goal = |figure, ns| Goal::new("CMap", figure, Bound::AtMost(ns), "ns");
    let mut small = new_shard()?;
    fill(&mut small, SMALL_KEY_COUNT);
    let gets = spread(|| {
        Ok(each(count, |number| {
            get(&mut small, number % SMALL_KEY_COUNT);
        }))
    })?;
    let balanced = spread(|| {
        let mut shard = new_shard()?;
        fill(&mut shard, BALANCED_HIT_COUNT);
        Ok(each(count, |number| {
            let place = number % (2 * BALANCED_HIT_COUNT);
            let is_there = place < BALANCED_HIT_COUNT;
            get_or_insert(&mut shard, if is_there { place } else { number });
        }))
    })?;
    let unique = spread(|| {
        let mut shard = new_shard()?;
        Ok(each(count, |number| get_or_insert(&mut shard, number)))
    })?;
    let adversarial = spread(|| {
        let mut shard = new_shard()?;
        let (mut gets_since_insert, mut inserts) = (0, 0);
        Ok(each(count, |number| {
            get(&mut shard, number);
            gets_since_insert += 1;
            if gets_since_insert > inserts {
                get_or_insert(&mut shard, number);
                gets_since_insert = 0;
                inserts += 1;
            }
        }))
    })?;
    Ok(vec![
        goal("get", 27.7).measured(
            gets,
            format!("embedded, {SMALL_KEY_COUNT} keys of 8 bytes, all hit, one thread"),
        ),
        goal("balanced", 18.7).measured(
            balanced,
            "embedded, get-or-insert, half of keys that are there, half of new ones, one thread",
        ),
        goal("get-or-insert", 130.0).measured(
            unique,
            format!("embedded, {count} new keys of 8 bytes, one thread"),
        ),
        goal("adversarial insert", 38.9).measured(
            adversarial,
            "embedded, gets that miss with inserts ever farther apart, one thread",
        ),
    ])
}

/// CMap's rates on 65,536 items.
fn cmap_of_many() -> Result<Vec<Goal>, String> {
    let goal = |figure, rate| Goal::new("CMap", figure, Bound::AtLeast(rate), "/s");
    let per_s = |ns: f64| NS_PER_S / ns;
    let inserts = spread(|| {
        let mut shard = new_shard()?;
        Ok(per_s(each(MANY_KEY_COUNT, |number| {
            set(&mut shard, number);
        })))
    })?;
    let mut shard = new_shard()?;
    fill(&mut shard, MANY_KEY_COUNT);
    let gets = spread(|| {
        Ok(per_s(each(MANY_KEY_COUNT, |number| {
            get(&mut shard, number);
        })))
    })?;
    Ok(vec![
        goal("65,536 inserts", 13.5e6).measured(
            inserts,
            "embedded, keys of 8 bytes, into an empty shard, one thread",
        ),
        goal("65,536 gets", 34.5e6)
            .measured(gets, "embedded, keys of 8 bytes, all hit, one thread"),
    ])
}

/// ZapStore's times, and that no operation allocates.
fn zap_store(count: u64) -> Result<Vec<Goal>, String> {
    let goal = |figure, ns| Goal::new("ZapStore", figure, Bound::AtMost(ns), "ns");
    let mut shard = new_shard()?;
    fill(&mut shard, SMALL_KEY_COUNT);
    let gets = spread(|| {
        Ok(each(count, |number| {
            get(&mut shard, number % SMALL_KEY_COUNT);
        }))
    })?;
    let sets = spread(|| {
        Ok(each(count, |number| {
            set(&mut shard, number % SMALL_KEY_COUNT);
        }))
    })?;
    let deletes = spread(|| {
        let rounds = count.div_ceil(SMALL_KEY_COUNT);
        let mut sum_ns = 0.0;
        for _ in 0..rounds {
            sum_ns += each(SMALL_KEY_COUNT, |number| delete(&mut shard, number));
            fill(&mut shard, SMALL_KEY_COUNT);
        }
        Ok(sum_ns / float(rounds))
    })?;
    let before = allocations::count();
    each(SMALL_KEY_COUNT, |number| {
        get(&mut shard, number);
        set(&mut shard, number);
        delete(&mut shard, number);
    });
    let made = Spread::of([float(allocations::count() - before)]);
    let conditions = format!("embedded, {SMALL_KEY_COUNT} keys and values of 8 bytes, one thread");
    Ok(vec![
        goal("get", 21.1).measured(gets, conditions.clone()),
        goal("set", 22.8).measured(sets, conditions.clone()),
        goal("delete", 42.9).measured(deletes, conditions),
        Goal::new("ZapStore", "heap allocations", Bound::AtMost(0.0), "").measured(
            made.expect("one number"),
            format!("embedded, {SMALL_KEY_COUNT} gets, sets and deletes, counted by the allocator"),
        ),
    ])
}

fn new_shard() -> Result<Shard, String> {
    let options = Options {
        maxmemory_bytes: MAXMEMORY_BYTES,
        seeds: SEEDS,
    };
    Shard::embedded(options).map_err(|error| error.to_string())
}

fn fill(shard: &mut Shard, key_count: u64) {
    for number in 0..key_count {
        set(shard, number);
    }
}

fn get(shard: &mut Shard, number: u64) {
    let found = shard.find(shard.key(&number.to_le_bytes()), NOW_MS);
    std::hint::black_box(found);
}

fn set(shard: &mut Shard, number: u64) {
    let key = number.to_le_bytes();
    let stored = shard.store(shard.key(&key), VALUE, Attributes::default(), NOW_MS);
    stored.expect("the bound is far");
}

fn delete(shard: &mut Shard, number: u64) {
    let is_gone = shard.remove(shard.key(&number.to_le_bytes()), NOW_MS);
    assert_eq!(is_gone, Ok(true), "every key was there");
}

fn get_or_insert(shard: &mut Shard, number: u64) {
    let key = number.to_le_bytes();
    let key = shard.key(&key);
    if std::hint::black_box(shard.find(key, NOW_MS)).is_none() {
        let stored = shard.store(key, VALUE, Attributes::default(), NOW_MS);
        stored.expect("the bound is far");
    }
}

/// Nanoseconds of each of `count` operations.
fn each(count: u64, mut operation: impl FnMut(u64)) -> f64 {
    let began_at = clock::now();
    for number in 0..count {
        operation(number);
    }
    float(clock::ns_since(began_at)) / float(count)
}

/// What the passes say together, after one that only warms up.
fn spread(mut pass: impl FnMut() -> Result<f64, String>) -> Result<Spread, String> {
    pass()?;
    let values = (0..PASS_COUNT)
        .map(|_| pass())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Spread::of(values).expect("there are passes"))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a pass are below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_figure_is_measured_and_nothing_allocates() {
        let scale = Scale {
            embedded_count: 2_000,
            ..Scale::QUICK
        };
        let goals = measure(&scale).unwrap();
        assert_eq!(goals.len(), 10);
        assert!(
            goals
                .iter()
                .all(|goal| goal.value().is_some_and(|value| value >= 0.0))
        );
        let allocations = goals.iter().find(|goal| goal.figure == "heap allocations");
        assert_eq!(allocations.unwrap().value(), Some(0.0));
    }
}
