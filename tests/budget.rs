//! Goal: what a shard needs to go on at the budget no other shard can take. Method: two shards in one
//! file use up the budget; one of them is emptied again and again, so that many blocks wait for the disk,
//! and takes whatever becomes free, before the other one is asked to remove its keys.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::process::Folder;
use common::store::{Opening, Store};
use coremap::shard::Eviction;

const MIB: u64 = 1 << 20;

/// Keys of one shard, from a number on.
fn keys(shard_count: usize, shard: usize) -> impl Iterator<Item = Vec<u8>> {
    let count = u16::try_from(shard_count).expect("few");
    let names = (0u32..).map(|number| format!("key:{number}").into_bytes());
    names.filter(move |key| {
        let slot = coremap::hash::cluster_slot(key);
        usize::from(coremap::hash::shard_of_slot(slot, count)) == shard
    })
}

/// Stores keys of a shard until there is no more room; returns them.
fn fill(store: &mut Store, shard: usize) -> Vec<Vec<u8>> {
    let keys = keys(store.shards.len(), shard);
    keys.take_while(|key| store.set(key, &[7; 1000]).is_ok())
        .collect()
}

/// A store of one shard that evicts.
fn evicting(folder: &Path, maxmemory_bytes: u64) -> Store {
    let opened = Opening::new(maxmemory_bytes, 1).open(folder);
    let mut store = opened.expect("a new file");
    store.shards[0].set_eviction(Eviction::Any { by_use: false });
    store
}

fn work(store: &mut Store, shard: usize) {
    for _ in 0..10_000 {
        if !store.shards[shard].background(1 << 20) {
            break;
        }
    }
}

fn sync(store: &Store) {
    for _ in 0..3 {
        store.region.sync().expect("a disk");
    }
}

/// Does something with each of `items`, while rounds go on beside as in a server. Each must succeed.
fn with_rounds<T>(
    store: &mut Store,
    mut items: impl Iterator<Item = T>,
    mut step: impl FnMut(&mut Store, T) -> bool,
) {
    let region = Arc::clone(&store.region);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                region.sync().expect("a disk");
            }
        });
        let has_succeeded = items.all(|item| step(store, item));
        is_done.store(true, Ordering::Relaxed);
        assert!(has_succeeded, "{:?}", store.shards[0].stats());
    });
}

#[test]
fn a_write_that_waits_for_the_disk_evicts_no_more_than_will_do() {
    let folder = Folder::new();
    let mut store = evicting(folder.path(), 64 * MIB);
    let is_full = |store: &Store| store.region.available_bytes() < 16 * MIB;
    let before = keys(1, 0).position(|key| {
        store.set(&key, &[7; 1000]).expect("room");
        is_full(&store)
    });
    let before_count = store.shards[0].len();
    assert_eq!(before.map(|number| number as u64 + 1), Some(before_count));
    // No round comes, so nothing that is evicted gives any room.
    let refused =
        (0..).map(|number: u32| store.set(format!("new:{number}").as_bytes(), &[7; 1000]));
    let new_count = refused.take_while(Result::is_ok).count() as u64;
    let evicted_count = before_count + new_count - store.shards[0].len();
    assert!(evicted_count > 0);
    assert!(
        evicted_count < before_count / 2,
        "{evicted_count} of {before_count}"
    );
    // With rounds there is room again, and for as much as is evicted.
    sync(&store);
    work(&mut store, 0);
    sync(&store);
    work(&mut store, 0);
    assert!(store.set(b"last", &[7; 1000]).is_ok());
}

#[test]
fn what_another_shard_owes_is_waited_for() {
    let folder = Folder::new();
    let mut store = Opening::new(64 * MIB, 2)
        .open(folder.path())
        .expect("a new file");
    let large = keys(2, 1).next().expect("there are keys");
    store.set(&large, &vec![1; 8 << 20]).expect("room");
    let mut stored = Vec::new();
    for key in keys(2, 0) {
        if store.region.available_bytes() < 2 * MIB {
            break;
        }
        store.set(&key, &[7; 1000]).expect("room");
        stored.push(key);
    }
    for shard in [0, 1, 0] {
        sync(&store);
        work(&mut store, shard);
    }
    store.shards[0].set_eviction(Eviction::Any { by_use: false });
    // The other shard does nothing more: what it has given up stays in its limbo.
    assert_eq!(store.remove(&large), Ok(true));
    assert!(store.region.owed_bytes() >= 8 * MIB);
    let again = stored.iter().cycle().take(10_000);
    with_rounds(&mut store, again, |store, key| {
        store.set(key, &[8; 1000]).is_ok()
    });
}

#[test]
fn eviction_in_a_file_copies_little() {
    let folder = Folder::new();
    let mut store = evicting(folder.path(), 32 * MIB);
    let mut written_bytes = 0;
    with_rounds(&mut store, 0..1_500_000, |store, number| {
        // A key of 12 bytes, a value of 8: a tombstone is as long as the record, and to empty all
        // older blocks for its sake would copy four times what is written.
        let key = format!("{number:012}");
        let is_stored = store.set(key.as_bytes(), &[7; 8]).is_ok();
        written_bytes += 32;
        if number % 1000 == 0 {
            work(store, 0);
        }
        is_stored
    });
    let stats = store.shards[0].stats();
    assert!(stats.evicted_count > 500_000, "{stats:?}");
    assert!(stats.compacted_total_bytes < 2 * written_bytes, "{stats:?}");
}

#[test]
fn a_shard_that_takes_all_memory_leaves_the_others_what_compaction_needs() {
    let folder = Folder::new();
    let opening = Opening::new(24 * MIB, 2);
    let mut store = opening.open(folder.path()).expect("a new file");
    let victims: Vec<Vec<u8>> = keys(2, 0).take(8_000).collect();
    for key in &victims {
        store.set(key, &[7; 1000]).expect("room");
    }
    fill(&mut store, 1);
    let mut removed = victims.iter();
    for _ in 0..6 {
        // Compaction of the one has to use its reserve, and what it empties waits for the disk.
        for key in removed.by_ref().take(700) {
            assert_eq!(store.remove(key), Ok(true));
        }
        work(&mut store, 0);
        store.shards[1].clear().expect("a few bytes");
        sync(&store);
        // The other one returns many blocks first, and takes what does not wait.
        work(&mut store, 1);
        fill(&mut store, 1);
        work(&mut store, 0);
        sync(&store);
        fill(&mut store, 1);
    }
    with_rounds(&mut store, removed, |store, key| {
        store.remove(key) == Ok(true)
    });
    assert_eq!(store.shards[0].len(), 0);
}
