//! What a shard promises beyond behaving like a map (`tests/model.rs`): scans that miss nothing,
//! memory that stays bounded and comes back, large values that are changed in place.

use std::collections::BTreeSet;
use std::sync::Arc;

use coremap::hash::Hasher;
use coremap::limits::LOG_SLACK_BLOCKS;
use coremap::region::{Region, RegionOptions};
use coremap::shard::{Attributes, Options, OutOfMemory, Shard, Written};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn shard(maxmemory_bytes: usize) -> Shard {
    let options = Options {
        maxmemory_bytes: maxmemory_bytes as u64,
        seeds: [11, 12, 13, 14],
    };
    Shard::embedded(options).expect("a small shard")
}

fn set(shard: &mut Shard, key: &str, value: &[u8]) -> Result<Written, OutOfMemory> {
    shard.store(shard.key(key.as_bytes()), value, Attributes::default(), 0)
}

fn get<'a>(shard: &'a mut Shard, key: &str) -> Option<&'a [u8]> {
    shard
        .find(shard.key(key.as_bytes()), 0)
        .map(|value| value.bytes)
}

fn remove(shard: &mut Shard, key: &str) -> bool {
    let removed = shard.remove(shard.key(key.as_bytes()), 0);
    removed.expect("in memory")
}

fn settle(shard: &mut Shard) {
    for _ in 0..1_000_000 {
        if !shard.background(MIB) {
            return;
        }
    }
    panic!("background work never ends: {:?}", shard.stats());
}

fn fill(shard: &mut Shard, numbers: std::ops::Range<u64>) {
    for number in numbers {
        set(shard, &format!("key:{number}"), b"value").expect("enough memory");
    }
}

#[test]
fn two_million_keys_are_all_found_and_all_removed() {
    let mut shard = shard(512 * MIB);
    fill(&mut shard, 0..2_000_000);
    assert_eq!(shard.len(), 2_000_000);
    assert!(shard.stats().split_count > 100);
    for number in 0..2_000_000 {
        assert_eq!(
            get(&mut shard, &format!("key:{number}")),
            Some(&b"value"[..]),
            "{number}"
        );
    }
    assert_eq!(get(&mut shard, "key:2000000"), None);
    for number in 0..2_000_000 {
        assert!(remove(&mut shard, &format!("key:{number}")), "{number}");
    }
    settle(&mut shard);
    let stats = shard.stats();
    assert_eq!(
        (stats.key_count, stats.log_live_bytes, stats.segment_count),
        (0, 0, 1)
    );
}

#[test]
fn segments_split_late_and_evenly() {
    let mut shard = shard(512 * MIB);
    let mut least_load = f64::MAX;
    for number in 0..1_000_000 {
        set(&mut shard, &format!("key:{number}"), b"").expect("enough memory");
        if number > 100_000 && number % 500 == 0 {
            settle(&mut shard);
            let stats = shard.stats();
            let load = stats.key_count as f64 / (stats.segment_count * 16_384) as f64;
            least_load = least_load.min(load);
        }
    }
    // Just after all segments have split the load is half of what made them split.
    assert!(least_load > 0.40, "{least_load}");
}

/// Keys 0 to 999 are there all the time; others come and go in bulk between the steps of the scan,
/// so that segments split and merge under it and compaction moves records.
#[test]
fn a_scan_returns_every_key_that_was_there_all_the_time() {
    for steps_between in [1u64, 7, 40] {
        let mut shard = shard(128 * MIB);
        fill(&mut shard, 0..1000);
        let mut found = BTreeSet::new();
        let (mut cursor, mut step, mut others) = (0, 0u64, 0u64);
        loop {
            cursor = shard.scan(cursor, 300, 0, &mut |key, _| {
                found.insert(key.to_vec());
            });
            if cursor == 0 {
                break;
            }
            step += 1;
            if step.is_multiple_of(steps_between) {
                if others == 0 {
                    others = 60_000;
                    fill(&mut shard, 1000..1000 + others);
                } else {
                    for number in 1000..1000 + others {
                        remove(&mut shard, &format!("key:{number}"));
                    }
                    others = 0;
                    settle(&mut shard);
                }
            }
            assert!(step < 10_000, "the scan never ends");
        }
        let stats = shard.stats();
        assert!(stats.split_count > 0, "{stats:?}");
        for number in 0..1000 {
            assert!(
                found.contains(format!("key:{number}").as_bytes()),
                "{number} {stats:?}"
            );
        }
    }
}

#[test]
fn a_scan_of_a_table_that_rests_returns_each_key_once() {
    let mut shard = shard(128 * MIB);
    fill(&mut shard, 0..100_000);
    let (mut cursor, mut count) = (0, 0);
    loop {
        cursor = shard.scan(cursor, 100, 0, &mut |_, _| count += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(count, 100_000);
}

#[test]
fn any_cursor_is_taken_without_a_panic() {
    let mut shard = shard(16 * MIB);
    fill(&mut shard, 0..20_000);
    let mut cursor = 1u64;
    for _ in 0..10_000 {
        cursor = cursor
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        assert!(shard.scan(cursor, 10, 0, &mut |_, _| {}) < 1 << 32);
    }
}

#[test]
fn a_full_shard_heals_when_keys_are_removed() {
    let mut shard = shard(8 * MIB);
    for round in 0..5 {
        let mut count = 0;
        while set(&mut shard, &format!("key:{count}"), &[round; 500]).is_ok() {
            count += 1;
            assert!(shard.region().used_bytes() <= 8 * MIB as u64);
        }
        // At least three quarters of the budget are live data when a write is refused.
        assert!(count * 520 > 6 * MIB, "{count} {:?}", shard.stats());
        for number in 0..count {
            let key = format!("key:{number}");
            assert_eq!(
                get(&mut shard, &key),
                Some(&[round; 500][..]),
                "round {round}"
            );
        }
        for number in (0..count).filter(|number| number % 10 > 0) {
            assert!(remove(&mut shard, &format!("key:{number}")));
        }
        for number in 0..count / 2 {
            set(&mut shard, &format!("new:{number}"), &[9; 500]).expect("most was removed");
        }
        for number in 0..count {
            remove(&mut shard, &format!("key:{number}"));
            remove(&mut shard, &format!("new:{number}"));
        }
        assert!(shard.is_empty());
    }
}

#[test]
fn a_full_shard_still_takes_overwrites_removals_and_expiries() {
    let mut shard = shard(8 * MIB);
    let mut count = 0;
    while set(&mut shard, &format!("key:{count}"), &[1; 100]).is_ok() {
        count += 1;
    }
    let expiring = shard.key(b"key:0");
    assert_eq!(shard.set_expiry(expiring, Some(10), 0), Ok(true));
    assert!(shard.find(expiring, 10).is_none());
    // Room for a hundredth makes endless overwrites possible.
    for number in 1..count / 20 {
        assert!(remove(&mut shard, &format!("key:{number}")));
    }
    for round in 0..3u8 {
        for number in count / 20..count {
            set(&mut shard, &format!("key:{number}"), &[round; 100])
                .expect("it frees what it takes");
        }
    }
    shard.clear().expect("in memory");
    set(&mut shard, "after", &[0; 1000]).expect("everything is free");
}

#[test]
fn random_overwrites_keep_memory_within_the_slack_whatever_that_is() {
    for slack_percent in [5, 25, 50, 100] {
        let mut shard = shard(512 * MIB);
        shard.set_slack_percent(slack_percent);
        let keys = 60_000;
        // Marsaglia's xorshift: every number below 2^64 but 0, in no order that matters here.
        let mut random = 1u64;
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % keys
        };
        for number in (0..keys).chain((0..10 * keys).map(|_| draw())) {
            set(&mut shard, &format!("key:{number}"), &[7; 1000]).expect("enough memory");
        }
        let stats = shard.stats();
        let live_bytes = stats.log_live_bytes + stats.index_bytes;
        // The block that is being emptied, and the one that is being filled.
        let blocks_bytes = (LOG_SLACK_BLOCKS + 2) * shard.region().block_len_bytes();
        let tolerated_bytes = live_bytes / 100 * u64::from(slack_percent) + blocks_bytes;
        assert!(
            stats.log_dead_bytes < tolerated_bytes,
            "{slack_percent}: {stats:?}"
        );
        let used_bytes = shard.region().used_bytes();
        assert!(used_bytes < live_bytes + tolerated_bytes + blocks_bytes);
    }
}

#[test]
fn values_that_become_long_and_short_again_give_their_memory_back() {
    let mut shard = shard(256 * MIB);
    let long = vec![1; 100 * KIB];
    let large = vec![2; 700 * KIB];
    for round in 0..4000usize {
        let key = format!("key:{}", round * 37 % 100);
        let value = [&long[..100], &long, &large][round / 7 % 3];
        set(&mut shard, &key, value).expect("enough memory");
        assert_eq!(get(&mut shard, &key), Some(value));
    }
    for number in 0..100 {
        set(&mut shard, &format!("key:{number}"), b"short").expect("enough memory");
    }
    settle(&mut shard);
    let stats = shard.stats();
    assert_eq!(stats.large_bytes, 0);
    assert!(shard.region().used_bytes() < 32 * MIB as u64, "{stats:?}");
}

#[test]
fn a_small_change_to_a_large_value_is_made_in_place() {
    let mut shard = shard(1200 * MIB);
    let key = shard.key(b"large");
    assert_eq!(
        shard.write_range(key, 500 * MIB, b"end", 0),
        Ok(500 * MIB as u64 + 3)
    );
    let run = shard
        .find(key, 0)
        .expect("it was made")
        .large
        .expect("it is large");
    // Copying 500 MiB each time would take minutes.
    for at in 0..2000 {
        shard
            .write_range(key, at * 1000, b"x", 0)
            .expect("no more memory than it has");
        shard.append(key, b"tail", 0).expect("a little more memory");
    }
    let value = shard.find(key, 0).expect("it is there");
    assert_eq!(value.large, Some(run));
    assert_eq!(value.bytes.len(), 500 * MIB + 3 + 8000);
    assert_eq!(&value.bytes[1999 * 1000..][..2], b"x\0");
    assert!(value.bytes.ends_with(b"tailtail"));
}

#[test]
fn a_refused_large_value_costs_nothing_and_is_possible_after_removals() {
    let mut shard = shard(64 * MIB);
    let value = vec![5; 20 * MIB];
    for name in ["a", "b"] {
        set(&mut shard, name, &value).expect("three fit");
    }
    let used_bytes = shard.region().used_bytes();
    assert_eq!(
        set(&mut shard, "c", &vec![6; 40 * MIB]),
        Err(OutOfMemory::Budget)
    );
    assert_eq!(shard.region().used_bytes(), used_bytes);
    assert_eq!(get(&mut shard, "c"), None);
    assert!(remove(&mut shard, "a"));
    set(&mut shard, "c", &vec![6; 30 * MIB]).expect("limbo is drained by the write");
    assert_eq!(get(&mut shard, "b"), Some(&value[..]));
}

#[test]
fn keys_too_long_for_the_log_work_like_others() {
    let mut shard = shard(256 * MIB);
    let long = "k".repeat(60 * MIB);
    assert_eq!(set(&mut shard, &long, b"short"), Ok(Written::Fresh));
    assert_eq!(set(&mut shard, &long, &vec![1; MIB]), Ok(Written::Replaced));
    assert_eq!(get(&mut shard, &long).map(<[u8]>::len), Some(MIB));
    let [source, target] = [&long[..], "short"].map(|key| shard.key(key.as_bytes()));
    assert_eq!(shard.rename(source, target, 0), Ok(true));
    assert_eq!(get(&mut shard, &long), None);
    assert_eq!(get(&mut shard, "short").map(<[u8]>::len), Some(MIB));
    assert!(remove(&mut shard, "short"));
    settle(&mut shard);
    assert_eq!(shard.stats().large_bytes, 0);
}

#[test]
fn clear_frees_everything_in_bounded_steps() {
    let mut shard = shard(256 * MIB);
    fill(&mut shard, 0..300_000);
    let value = vec![1; MIB];
    for number in 0..20 {
        set(&mut shard, &format!("large:{number}"), &value).expect("enough memory");
    }
    let run = shard
        .find(shard.key(b"large:3"), 0)
        .expect("it is there")
        .large
        .expect("large");
    let pinned = shard.pin(run);
    assert_eq!(pinned.len_bytes, MIB);
    shard.clear().expect("in memory");
    assert_eq!((shard.len(), shard.volatile_len()), (0, 0));
    assert_eq!(get(&mut shard, "key:1"), None);
    fill(&mut shard, 0..1000);
    settle(&mut shard);
    assert_eq!(
        shard.stats().large_bytes,
        MIB as u64,
        "the pinned value stays"
    );
    shard.unpin(run);
    settle(&mut shard);
    let stats = shard.stats();
    assert_eq!(
        (stats.large_bytes, stats.segment_count, stats.limbo_count),
        (0, 1, 0)
    );
    assert_eq!(shard.len(), 1000);
    assert!(shard.region().used_bytes() < 16 * MIB as u64, "{stats:?}");
}

#[test]
fn a_staged_value_is_adopted_without_another_copy() {
    let mut shard = shard(64 * MIB);
    let value = vec![3; 5 * MIB];
    let mut steps = 1;
    while !shard.stage(&value, MIB).expect("enough memory") {
        steps += 1;
    }
    assert_eq!(steps, 5);
    let used_bytes = shard.region().used_bytes();
    set(&mut shard, "key", &value).expect("it is already there");
    assert_eq!(shard.region().used_bytes(), used_bytes);
    assert_eq!(get(&mut shard, "key"), Some(&value[..]));
    // What is staged for a write that never comes is given up.
    shard.stage(&value[1..], MIB).expect("enough memory");
    shard.unstage(&value[1..]);
    settle(&mut shard);
    assert_eq!(shard.region().used_bytes(), used_bytes);
}

#[test]
fn shards_of_one_region_share_the_budget() {
    let options = RegionOptions {
        maxmemory_bytes: 16 * MIB as u64,
        shard_count: 2,
    };
    let region = Arc::new(Region::anonymous(options).expect("a small region"));
    let hasher = Hasher::new([1, 2, 3, 4]);
    let [mut first, mut second] = [0, 1].map(|id| {
        Shard::new(Arc::clone(&region), id, hasher.clone()).expect("room for two shards")
    });
    let mut count = 0;
    while set(&mut first, &format!("key:{count}"), &[1; 1000]).is_ok() {
        count += 1;
    }
    assert!(count > 10_000, "{count}");
    // The other has its first blocks, and what the first gives back.
    set(&mut second, "mine", b"value").expect("every shard has its first blocks");
    first.clear().expect("in memory");
    settle(&mut first);
    for number in 0..count / 2 {
        set(&mut second, &format!("key:{number}"), &[2; 1000]).expect("the first is empty");
    }
    assert!(region.used_bytes() <= 16 * MIB as u64);
}

/// The region asks whether a core may still be reading; here core 1 does, for a while.
#[test]
fn nothing_is_reused_while_another_core_is_pinned() {
    let options = RegionOptions {
        maxmemory_bytes: 32 * MIB as u64,
        shard_count: 2,
    };
    let region = Arc::new(Region::anonymous(options).expect("a small region"));
    let mut shard =
        Shard::new(Arc::clone(&region), 0, Hasher::new([1, 2, 3, 4])).expect("room for it");
    set(&mut shard, "large", &vec![1; MIB]).expect("enough memory");
    region.epochs().pin(1);
    assert!(remove(&mut shard, "large"));
    for _ in 0..10 {
        shard.background(64 * MIB);
    }
    assert_eq!(shard.stats().large_bytes, MIB as u64);
    region.epochs().unpin(1);
    settle(&mut shard);
    assert_eq!(shard.stats().large_bytes, 0);
}

#[test]
fn an_expiry_is_changed_in_place_once_a_record_has_one() {
    let mut shard = shard(16 * MIB);
    let key = shard.key(b"key");
    set(&mut shard, "key", b"value").expect("enough memory");
    assert_eq!(shard.set_expiry(key, Some(100), 0), Ok(true));
    let dead_bytes = shard.stats().log_dead_bytes;
    for expires_at_ms in [Some(200), None, Some(300)] {
        assert_eq!(shard.set_expiry(key, expires_at_ms, 0), Ok(true));
        assert_eq!(
            shard.find(key, 0).expect("not yet").expires_at_ms,
            expires_at_ms
        );
        assert_eq!(shard.volatile_len(), u64::from(expires_at_ms.is_some()));
    }
    assert_eq!(shard.stats().log_dead_bytes, dead_bytes);
    assert!(shard.find(key, 299).is_some());
    assert!(shard.find(key, 300).is_none());
    assert_eq!(
        (
            shard.len(),
            shard.volatile_len(),
            shard.stats().expired_count
        ),
        (0, 0, 1)
    );
    assert_eq!(shard.set_expiry(key, Some(400), 300), Ok(false));
}

#[test]
fn a_random_key_is_any_key_sooner_or_later() {
    let mut shard = shard(16 * MIB);
    fill(&mut shard, 0..50);
    let mut found = BTreeSet::new();
    let mut random = 1u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        let mixed = random ^ random.rotate_left(27);
        found.insert(shard.random_key(mixed, 0).expect("there are keys").to_vec());
    }
    assert_eq!(found.len(), 50);
    shard.clear().expect("in memory");
    assert_eq!(shard.random_key(1, 0), None);
}

#[test]
fn the_sequence_word_is_odd_only_while_slots_change_together() {
    use std::sync::atomic::Ordering;
    let mut shard = shard(16 * MIB);
    let region = Arc::clone(shard.region());
    let sequence = || region.door(0).sequence.load(Ordering::SeqCst);
    set(&mut shard, "source", b"value").expect("enough memory");
    assert_eq!(sequence(), 0);
    shard.begin_publish();
    assert_eq!(sequence(), 1);
    let [source, target] = ["source", "target"].map(|key| shard.key(key.as_bytes()));
    assert_eq!(shard.rename(source, target, 0), Ok(true));
    assert_eq!(sequence(), 1, "a rename within a publication is part of it");
    shard.end_publish();
    assert_eq!(sequence(), 2);
    shard.clear().expect("in memory");
    assert_eq!(sequence(), 4);
}

#[test]
fn a_shard_can_be_made_in_one_thread_and_used_in_another() {
    let mut shard = shard(16 * MIB);
    let len = std::thread::spawn(move || {
        fill(&mut shard, 0..10);
        shard.len()
    });
    assert_eq!(len.join().expect("it does not panic"), 10);
}
