//! What was prepared cannot fail, whatever others take.

use std::sync::Arc;

use super::*;
use crate::hash::Hasher;
use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, MIB};
use crate::region::{Region, RegionOptions};
use crate::shard::Eviction;

const VALUE: [u8; 1000] = [7; 1000];

fn shards(maxmemory_bytes: usize) -> [Shard; 2] {
    let options = RegionOptions {
        maxmemory_bytes: maxmemory_bytes as u64,
        shard_count: 2,
    };
    let region = Arc::new(Region::anonymous(options).expect("a small region"));
    [0, 1].map(|id| {
        let hasher = Hasher::new([1, 2, 3, 4]);
        Shard::new(Arc::clone(&region), id, hasher).expect("room for two shards")
    })
}

fn name(number: usize) -> String {
    format!("key {number}")
}

const fn store_of<'a>(key: &'a [u8], value: &'a [u8]) -> Change<'a> {
    Change::Store {
        key,
        value,
        attributes: Attributes {
            expires_at_ms: None,
            is_raw: false,
        },
    }
}

fn store(shard: &mut Shard, name: &str, value: &[u8]) -> Result<(), OutOfMemory> {
    let key = shard.key(name.as_bytes());
    shard.store(key, value, Attributes::default(), 1).map(drop)
}

/// Stores keys of its own until there is no memory for another.
fn fill(shard: &mut Shard, prefix: &str) {
    for number in 0.. {
        if store(shard, &format!("{prefix} {number}"), &VALUE).is_err() {
            break;
        }
    }
}

#[test]
fn what_was_prepared_is_stored_though_another_shard_took_the_last_block() {
    let [mut shard, mut other] = shards(16 * MIB);
    let names: Vec<String> = (0..2000).map(name).collect();
    let changes = names.iter().map(|name| store_of(name.as_bytes(), &VALUE));
    assert_eq!(shard.prepare(changes), Ok(()));
    fill(&mut other, "other");
    for name in &names {
        assert_eq!(store(&mut shard, name, &VALUE), Ok(()));
    }
    shard.release_room();
    assert_eq!(shard.len(), 2000);
    let maxmemory_bytes = shard.region().maxmemory_bytes();
    assert!(shard.region().used_bytes() <= maxmemory_bytes);
}

#[test]
fn without_room_for_all_nothing_is_kept() {
    let [mut shard, mut other] = shards(8 * MIB);
    fill(&mut other, "other");
    let used_bytes = shard.region().used_bytes();
    let names: Vec<String> = (0..4000).map(name).collect();
    let changes = names.iter().map(|name| store_of(name.as_bytes(), &VALUE));
    assert_eq!(shard.prepare(changes), Err(OutOfMemory::Budget));
    assert!(!shard.keeps_room());
    assert!(shard.is_empty());
    assert!(shard.region().used_bytes() <= used_bytes);
}

#[test]
fn room_that_was_not_used_comes_back() {
    let [mut shard, _] = shards(16 * MIB);
    let used_bytes = shard.region().used_bytes();
    let large = vec![1; 2 * LARGE_VALUE_LEN_BYTES_MIN];
    let long = vec![b'k'; LARGE_VALUE_LEN_BYTES_MIN];
    let names: Vec<String> = (0..2000).map(name).collect();
    let small = names.iter().map(|name| store_of(name.as_bytes(), &VALUE));
    let others = [store_of(b"large", &large), store_of(&long, b"")];
    assert_eq!(shard.prepare(small.chain(others)), Ok(()));
    assert!(shard.region().used_bytes() > used_bytes);
    shard.release_room();
    while shard.background(MIB) {}
    assert_eq!(shard.region().used_bytes(), used_bytes);
}

#[test]
fn large_values_and_long_keys_are_stored_as_prepared() {
    let [mut shard, mut other] = shards(16 * MIB);
    let large = vec![1; 2 * LARGE_VALUE_LEN_BYTES_MIN];
    let long = "k".repeat(LARGE_VALUE_LEN_BYTES_MIN);
    let changes = [store_of(b"large", &large), store_of(long.as_bytes(), b"v")];
    assert_eq!(shard.prepare(changes), Ok(()));
    fill(&mut other, "other");
    assert_eq!(store(&mut shard, "large", &large), Ok(()));
    assert_eq!(store(&mut shard, &long, b"v"), Ok(()));
    shard.release_room();
    let found = shard.key(b"large");
    assert_eq!(
        shard.find(found, 1).map(|found| found.bytes),
        Some(&large[..])
    );
    assert_eq!(shard.len(), 2);
}

#[test]
fn new_keys_find_slots_in_a_table_that_could_not_split() {
    let [mut shard, mut other] = shards(8 * MIB);
    fill(&mut other, "other");
    for number in 0.. {
        if store(&mut shard, &format!("own {number}"), b"").is_err() {
            break;
        }
    }
    // Some memory comes back, and all of it is taken again but for what is prepared.
    assert!(other.clear().is_ok());
    while other.background(MIB) {}
    let names: Vec<String> = (0..500).map(name).collect();
    let changes = names.iter().map(|name| store_of(name.as_bytes(), b"value"));
    assert_eq!(shard.prepare(changes), Ok(()));
    fill(&mut other, "other");
    for name in &names {
        assert_eq!(store(&mut shard, name, b"value"), Ok(()));
    }
    shard.release_room();
}

#[test]
fn nobody_else_appends_while_room_is_kept() {
    let [mut shard, _] = shards(8 * MIB);
    shard.set_eviction(Eviction::Any { by_use: false });
    fill_some(&mut shard);
    assert_eq!(shard.prepare([store_of(b"last", &VALUE)]), Ok(()));
    let before = shard.stats();
    assert!(!shard.background(MIB));
    assert!(!shard.expire_due(1_000_000, 1000));
    assert_eq!(shard.stats(), before);
    assert_eq!(store(&mut shard, "last", &VALUE), Ok(()));
    shard.release_room();
    assert_eq!(shard.stats().evicted_count, before.evicted_count);
}

/// More than half of the budget.
fn fill_some(shard: &mut Shard) {
    for number in 0..5000 {
        assert_eq!(store(shard, &name(number), &VALUE), Ok(()));
    }
}

#[test]
fn a_write_that_room_was_not_kept_for_ends_it_and_evicts_for_its_own() {
    let [mut shard, mut other] = shards(16 * MIB);
    shard.set_eviction(Eviction::Any { by_use: false });
    let names: Vec<String> = (0..8000).map(name).collect();
    for name in &names[..4000] {
        assert_eq!(store(&mut shard, name, &VALUE), Ok(()));
    }
    fill(&mut other, "other");
    let first = [store_of(names[4000].as_bytes(), &VALUE)];
    assert_eq!(shard.prepare(first), Ok(()));
    assert!(shard.keeps_room());
    // All of them run while the shard is held, so nobody ends it for them.
    for name in &names[4000..] {
        assert_eq!(store(&mut shard, name, &VALUE), Ok(()), "{name}");
    }
    assert!(!shard.keeps_room());
}

#[test]
fn room_is_made_where_something_can_be_given_up_and_only_there() {
    let [mut shard, mut other] = shards(16 * MIB);
    fill_some(&mut shard);
    fill(&mut other, "other");
    fill(&mut shard, "own");
    assert_eq!(shard.find_room(VALUE.len()), Err(OutOfMemory::Budget));
    // More than a record can have is asked for as much as that.
    shard.set_eviction(Eviction::Any { by_use: false });
    assert_eq!(shard.find_room(usize::MAX), Ok(()));
}
