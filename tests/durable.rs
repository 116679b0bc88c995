//! Goal: what a shard in a file has written is there after a crash, and nothing else. Method: a
//! process that is killed leaves the file as its stores have made it, so dropping a region and
//! opening its folder again is a kill; rounds run where the test says so.

mod common;

use std::path::Path;

use common::Random;
use common::process::Folder;
use common::store::{Content, Opening, Store};
use coremap::shard::{Attributes, Change, Shard};

const MIB: u64 = 1 << 20;

fn open(folder: &Path, maxmemory_bytes: u64, shard_count: usize) -> Store {
    let opening = Opening::new(maxmemory_bytes, shard_count);
    opening.open(folder).expect("an undamaged file")
}

fn set(store: &mut Store, key: &[u8], value: &[u8]) {
    store.set(key, value).expect("room");
}

#[test]
fn what_was_written_is_there_after_a_kill() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 2);
    for number in 0..20_000u32 {
        set(
            &mut store,
            format!("key:{number}").as_bytes(),
            &number.to_le_bytes(),
        );
    }
    for number in (0..20_000u32).step_by(3) {
        assert!(
            store
                .remove(format!("key:{number}").as_bytes())
                .expect("room")
        );
    }
    set(&mut store, b"large", &vec![9; 3 << 20]);
    let before = store.content();
    drop(store);
    let mut store = open(folder.path(), 64 * MIB, 2);
    println!("{:?}", store.report);
    assert!(store.content() == before);
    assert_eq!(store.report.key_count, before.len() as u64);
    assert_eq!(store.get(b"key:3"), None);
    set(&mut store, b"key:3", b"again");
    drop(store);
    let mut store = open(folder.path(), 64 * MIB, 2);
    assert_eq!(store.get(b"key:3").as_deref(), Some(&b"again"[..]));
    assert_eq!(store.content().len(), before.len() + 1);
}

/// A long life with crashes: after each, everything is as it was.
fn live(folder: &Path, maxmemory_bytes: u64, shard_count: usize, seed: u64, rounds: u32) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut model = Content::new();
    let mut store = open(folder, maxmemory_bytes, shard_count);
    for round in 0..rounds {
        for _ in 0..random.below(20_000) {
            let key = format!("key:{}", random.below(3_000)).into_bytes();
            match random.below(100) {
                0..55 => {
                    let is_large = random.below(2_000) == 0;
                    let len = if is_large { 300_000 } else { random.below(400) };
                    let value = vec![random.next().to_le_bytes()[0]; len];
                    set(&mut store, &key, &value);
                    model.insert(key, value);
                }
                55..95 => {
                    assert_eq!(store.remove(&key), Ok(model.remove(&key).is_some()));
                }
                95..98 => {
                    let shard = store.shard(&key);
                    shard.background(1 << 20);
                }
                98 => {
                    store.region.sync().expect("a disk");
                }
                _ => {
                    if random.below(400) == 0 {
                        for shard in &mut store.shards {
                            shard.clear().expect("room");
                        }
                        model.clear();
                    }
                }
            }
        }
        assert!(store.content() == model, "before crash {round}");
        let stats: Vec<_> = store.shards.iter().map(Shard::stats).collect();
        drop(store);
        store = open(folder, maxmemory_bytes, shard_count);
        println!("{round}: {:?}\n{stats:?}", store.report);
        assert!(store.content() == model, "after crash {round}");
        for (shard, before) in store.shards.iter().zip(&stats) {
            assert_eq!(shard.stats().key_count, before.key_count);
            assert_eq!(shard.stats().large_value_count, before.large_value_count);
        }
    }
}

#[test]
fn a_shard_that_compacts_and_crashes_again_and_again_loses_nothing() {
    let folder = Folder::new();
    live(folder.path(), 24 * MIB, 1, 11, 20);
}

#[test]
fn a_file_all_of_whose_blocks_were_used_is_started_from_again_and_again() {
    let folder = Folder::new();
    // The file has 80 blocks, and each start takes some that are free.
    for number in 0..100u32 {
        let mut store = open(folder.path(), 5 * MIB, 2);
        assert_eq!(
            store.shards.iter().map(Shard::len).sum::<u64>(),
            u64::from(number)
        );
        set(&mut store, format!("key:{number}").as_bytes(), b"value");
        for _ in 0..4 {
            store.region.sync().expect("a disk");
            for shard in &mut store.shards {
                while shard.background(1 << 20) {}
            }
        }
    }
}

#[test]
fn two_shards_that_crash_again_and_again_lose_nothing() {
    let folder = Folder::new();
    live(folder.path(), 32 * MIB, 2, 12, 12);
}

#[test]
fn another_number_of_shards_takes_everything_over_again_and_again() {
    let folder = Folder::new();
    let mut random = Random(13);
    let mut model = Content::new();
    for (round, shard_count) in [2, 3, 1, 1, 4, 2, 2].into_iter().enumerate() {
        let mut store = open(folder.path(), 48 * MIB, shard_count);
        assert!(store.content() == model, "round {round}");
        for _ in 0..8_000 {
            let key = format!("key:{}", random.below(3_000)).into_bytes();
            if random.below(3) == 0 {
                assert_eq!(store.remove(&key), Ok(model.remove(&key).is_some()));
                continue;
            }
            let is_large = random.below(500) == 0;
            let len = if is_large { 300_000 } else { random.below(400) };
            let value = vec![random.next().to_le_bytes()[0]; len];
            set(&mut store, &key, &value);
            model.insert(key, value);
        }
        assert!(store.content() == model);
    }
}

/// Runs rounds and background work until nothing waits.
fn settle(store: &mut Store) {
    for _ in 0..100 {
        store.region.sync().expect("a disk");
        let is_busy = store.shards.iter_mut().fold(false, |is_busy, shard| {
            shard.background(1 << 20) | (shard.stats().limbo_count > 0) | is_busy
        });
        if !is_busy {
            return;
        }
    }
    let stats: Vec<_> = store.shards.iter().map(Shard::stats).collect();
    panic!("never settles: {stats:?}");
}

#[test]
fn a_transaction_without_its_commit_never_happened() {
    for commits in [false, true] {
        let folder = Folder::new();
        let mut store = open(folder.path(), 16 * MIB, 2);
        let keys: Vec<Vec<u8>> = (0..8).map(|n| format!("key:{n}").into_bytes()).collect();
        for key in &keys {
            set(&mut store, key, b"old");
        }
        let opened = store.region.rounds().open_transaction(0);
        let mut member_count = 0;
        for (index, key) in keys.iter().enumerate() {
            store.shard(key).begin_transaction(77);
            if index % 2 == 0 {
                set(&mut store, key, b"new");
            } else {
                assert_eq!(store.remove(key), Ok(true));
            }
            member_count += store.shard(key).end_transaction();
        }
        assert_eq!(member_count, 8);
        if commits {
            store.shards[0]
                .append_commit(77, member_count)
                .expect("room");
            store.region.rounds().close_transaction(0, opened);
        }
        drop(store);
        for _ in 0..2 {
            let mut store = open(folder.path(), 16 * MIB, 2);
            for (index, key) in keys.iter().enumerate() {
                let expected = match (commits, index % 2) {
                    (false, _) => Some(&b"old"[..]),
                    (true, 0) => Some(&b"new"[..]),
                    (true, _) => None,
                };
                assert_eq!(store.get(key).as_deref(), expected);
            }
            store.region.sync().expect("a disk");
        }
    }
}

#[test]
fn a_tombstone_that_compaction_copies_hides_nothing_newer_than_itself() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 1);
    store.shards[0].set_slack_percent(1_000_000);
    let value = vec![1u8; 8000];
    let put = |store: &mut Store, name: &str, number: u32| {
        set(store, format!("{name}:{number}").as_bytes(), &value);
    };
    set(&mut store, b"k", b"first");
    for number in 0..200 {
        put(&mut store, "old", number);
    }
    // The block of the tombstone: the rest of it will be dead.
    for number in 0..90 {
        put(&mut store, "doomed", number);
    }
    assert_eq!(store.remove(b"k"), Ok(true));
    for number in (0..200).chain(0..200) {
        put(&mut store, "doomed", number);
    }
    // Blocks of which three quarters will be dead.
    for number in 0..3000 {
        put(&mut store, "mixed", number);
    }
    for number in 0..3000 {
        if number % 4 != 0 {
            put(&mut store, "again", number % 4);
            let key = format!("mixed:{number}").into_bytes();
            assert_eq!(store.remove(&key), Ok(true));
        }
    }
    set(&mut store, b"k", b"second");
    for _ in 0..5 {
        store.region.sync().expect("a disk");
    }
    let copied_bytes = store.shards[0].stats().compacted_total_bytes;
    // A transaction whose commit is never written removes the key.
    let _never_closed = store.region.rounds().open_transaction(0);
    store.shards[0].begin_transaction(77);
    assert_eq!(store.remove(b"k"), Ok(true));
    assert_eq!(store.shards[0].end_transaction(), 1);
    store.shards[0].set_slack_percent(0);
    for _ in 0..200 {
        store.shards[0].background(1 << 20);
    }
    let copied_bytes = store.shards[0].stats().compacted_total_bytes - copied_bytes;
    assert!(copied_bytes > 0);
    drop(store);
    let mut store = open(folder.path(), 64 * MIB, 1);
    assert_eq!(store.report.void_count, 1, "the removal never happened");
    assert_eq!(store.get(b"k").as_deref(), Some(&b"second"[..]));
}

#[test]
fn tombstones_go_when_what_they_hide_is_gone() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 1);
    for round in 0..6 {
        for number in 0..60_000 {
            set(
                &mut store,
                format!("key:{round}:{number}").as_bytes(),
                b"value",
            );
        }
        for number in 0..60_000 {
            let key = format!("key:{round}:{number}").into_bytes();
            assert_eq!(store.remove(&key), Ok(true));
        }
        settle(&mut store);
    }
    let stats = store.shards[0].stats();
    let tolerated_bytes = 4 * store.region.block_len_bytes();
    assert!(stats.log_grave_bytes <= tolerated_bytes, "{stats:?}");
    assert!(stats.log_block_count < 24, "{stats:?}");
    drop(store);
    let mut store = open(folder.path(), 64 * MIB, 1);
    assert!(store.content().is_empty());
}

#[test]
fn keys_removed_together_go_together_when_there_is_no_room() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 8 * MIB, 1);
    let keys = (0u32..).map(|number| format!("key:{number}").into_bytes());
    let written: Vec<Vec<u8>> = keys
        .take_while(|key| store.set(key, &[7; 100]).is_ok())
        .collect();
    let mut refused_count = 0;
    // No rounds: what is removed gives no room back.
    for (number, together) in (1u64..).zip(written.chunks(300)) {
        let shard = &mut store.shards[0];
        shard.begin_transaction(number);
        if shard
            .prepare(together.iter().map(|key| Change::Remove { key }))
            .is_ok()
        {
            for key in together {
                assert_eq!(shard.remove(shard.key(key), 0), Ok(true));
            }
        } else {
            refused_count += 1;
        }
        shard.release_room();
        shard.end_transaction();
        if refused_count > 3 {
            break;
        }
    }
    assert!(refused_count > 0, "there was room for all");
}

#[test]
fn what_was_prepared_is_written_though_the_budget_is_used_up() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 8 * MIB, 1);
    let names: Vec<Vec<u8>> = (0u32..)
        .map(|number| format!("key:{number}").into_bytes())
        .take_while(|key| store.set(key, &[7; 100]).is_ok())
        .collect();
    for some in names.chunks(1000) {
        for key in some.iter().step_by(2) {
            store.remove(key).expect("the reserve has room");
        }
        settle(&mut store);
    }
    let mut prepared_count = 0;
    for (number, together) in (1u64..).zip(names.chunks(700)) {
        let shard = &mut store.shards[0];
        let attributes = Attributes::default();
        let value = [8; 100];
        let changes = together.iter().map(|key| Change::Store {
            key,
            value: &value,
            attributes,
        });
        if shard.prepare(changes).is_err() {
            break;
        }
        prepared_count += 1;
        shard.begin_transaction(number);
        for key in together {
            let stored = shard.store(shard.key(key), &value, attributes, 0);
            assert!(stored.is_ok(), "{number}");
        }
        shard.end_transaction();
        shard.release_room();
    }
    assert!(prepared_count > 0, "there was room for none");
}

#[test]
fn expiries_and_clears_are_kept() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 16 * MIB, 1);
    set(&mut store, b"before", b"value");
    store.shards[0].clear().expect("room");
    set(&mut store, b"after", b"value");
    for time_ms in [5_000, 7_000] {
        let shard = store.shard(b"after");
        let changed = shard.set_expiry(shard.key(b"after"), Some(time_ms), 1);
        assert_eq!(changed, Ok(true));
    }
    drop(store);
    let mut store = open(folder.path(), 16 * MIB, 1);
    assert_eq!(store.get(b"before"), None);
    let shard = store.shard(b"after");
    assert_eq!(shard.volatile_len(), 1);
    let found = shard.find(shard.key(b"after"), 1).expect("it is there");
    assert_eq!(found.expires_at_ms, Some(7_000));
    assert!(shard.find(shard.key(b"after"), 7_000).is_none());
    drop(store);
    let mut store = open(folder.path(), 16 * MIB, 1);
    assert_eq!(
        store.get(b"after"),
        None,
        "an expired key does not come back"
    );
}

#[test]
fn a_shard_that_was_killed_at_its_budget_starts_and_goes_on() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 8 * MIB, 2);
    let keys = (0u32..).map(|number| format!("key:{number}").into_bytes());
    let written: Vec<Vec<u8>> = keys
        .take_while(|key| store.set(key, &[7; 1000]).is_ok())
        .collect();
    for _ in 0..3 {
        drop(store);
        store = open(folder.path(), 8 * MIB, 2);
        assert_eq!(store.report.key_count, written.len() as u64);
    }
    for key in &written[..written.len() / 2] {
        assert_eq!(store.remove(key), Ok(true));
        store.region.sync().expect("a disk");
    }
    settle(&mut store);
    for key in &written[..written.len() / 4] {
        set(&mut store, key, &[8; 1000]);
    }
    drop(store);
    let mut store = open(folder.path(), 8 * MIB, 2);
    let left = written.len() - written.len() / 2 + written.len() / 4;
    assert_eq!(store.content().len(), left);
}

#[test]
fn an_orderly_end_in_the_middle_of_a_transaction_keeps_none_of_it() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 1);
    set(&mut store, b"a", b"old");
    for _ in 0..5 {
        store.region.sync().expect("a disk");
    }
    let _opened = store.region.rounds().open_transaction(0);
    store.shards[0].begin_transaction(77);
    set(&mut store, b"a", b"half");
    store.shards[0].end_transaction();
    store.region.close_clean().expect("a disk");
    drop(store);
    let mut store = open(folder.path(), 64 * MIB, 1);
    assert_eq!(store.get(b"a").as_deref(), Some(&b"old"[..]));
}

#[test]
fn what_waits_for_the_disk_is_done_when_nothing_changes_any_more() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 1);
    set(&mut store, b"large", &vec![1; 1 << 20]);
    let used_bytes = store.region.used_bytes();
    set(&mut store, b"large", &vec![2; 1 << 20]);
    assert!(
        !store.shards[0].background(1 << 20),
        "there is nothing to do but to wait"
    );
    // What the syncing thread does.
    let mut round_count = 0;
    for _ in 0..100 {
        if store.region.wants_round() || store.region.rounds().is_requested() {
            store.region.sync().expect("a disk");
            round_count += 1;
        }
        while store.shards[0].background(1 << 20) {}
    }
    assert!(store.region.used_bytes() <= used_bytes);
    assert_eq!(store.shards[0].stats().limbo_count, 0);
    assert!(round_count < 10, "{round_count} rounds");
}

#[test]
fn a_transaction_without_a_commit_is_never_settled_in_part() {
    // Rounds begin before, between and after its members; the process ends after any number of more.
    for round_count in 0..6 {
        let folder = Folder::new();
        let mut store = open(folder.path(), 64 * MIB, 2);
        let keys = [0, 1].map(|shard| {
            let mut names = (0u32..).map(|number| format!("key:{number}").into_bytes());
            names
                .find(|key| store.shard_of(key) == shard)
                .expect("many")
        });
        let opened = store.region.rounds().open_transaction(0);
        for (shard, key) in keys.iter().enumerate() {
            store.shards[shard].begin_transaction(77);
            set(&mut store, key, b"half");
            assert_eq!(store.shards[shard].end_transaction(), 1);
            if shard == 0 {
                for _ in 0..5 {
                    store.region.sync().expect("a disk");
                }
            }
        }
        store.region.rounds().close_uncommitted(0, opened);
        for _ in 0..round_count {
            store.region.sync().expect("a disk");
        }
        drop(store);
        let mut store = open(folder.path(), 64 * MIB, 2);
        let [first, second] = keys.map(|key| store.get(&key));
        assert_eq!(first, second, "after {round_count} rounds");
        assert_eq!(first.is_some(), round_count >= 3, "settled, and said so");
    }
}

#[test]
fn numbers_of_transactions_that_are_in_the_file_are_known_after_a_start() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 64 * MIB, 1);
    let opened = store.region.rounds().open_transaction(0);
    store.shards[0].begin_transaction(77);
    set(&mut store, b"key", b"value");
    let member_count = store.shards[0].end_transaction();
    store.shards[0]
        .append_commit(77, member_count)
        .expect("room");
    store.region.rounds().close_transaction(0, opened);
    store.region.close_clean().expect("a disk");
    drop(store);
    let store = open(folder.path(), 64 * MIB, 1);
    assert_eq!(store.region.rounds().transaction_floor(), 77);
}

#[test]
fn a_write_without_room_waits_once_when_no_round_ends() {
    let folder = Folder::new();
    let mut store = open(folder.path(), 16 * MIB, 1);
    // What was overwritten waits for rounds, and there are none.
    let is_refused = |store: &mut Store| store.set(b"large", &vec![1; 1 << 20]).is_err();
    while !is_refused(&mut store) {}
    // If each waited this would take minutes.
    for _ in 0..10_000 {
        assert!(is_refused(&mut store));
    }
    for _ in 0..5 {
        store.region.sync().expect("a disk");
    }
    assert!(!is_refused(&mut store), "rounds bring room");
}
