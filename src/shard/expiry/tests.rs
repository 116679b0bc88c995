//! What the wheel promises for a shard's keys, and that its litter is bounded.

use std::collections::HashMap;

use super::*;
use crate::limits::{EXPIRY_PAGE_LEN_BYTES, MIB};
use crate::shard::{Attributes, Options};

const NOW_MS: u64 = 1_700_000_000_000;

fn shard(maxmemory_bytes: usize) -> Shard {
    Shard::embedded(Options {
        maxmemory_bytes: maxmemory_bytes as u64,
        seeds: [1, 2, 3, 4],
    })
    .expect("enough memory for a shard")
}

fn set(shard: &mut Shard, name: &str, expires_at_ms: Option<u64>, now_ms: u64) {
    let key = shard.key(name.as_bytes());
    let attributes = Attributes {
        expires_at_ms,
        is_raw: false,
    };
    shard
        .store(key, b"value", attributes, now_ms)
        .expect("room");
}

fn finish(shard: &mut Shard, now_ms: u64) {
    while shard.expire_due(now_ms, 100) {}
}

#[test]
fn keys_are_removed_within_a_tick_of_their_time_and_not_before() {
    let mut shard = shard(64 * MIB);
    for number in 0..20_000u64 {
        let expires_at_ms = NOW_MS + 1 + number * number;
        set(
            &mut shard,
            &format!("k{number}"),
            Some(expires_at_ms),
            NOW_MS,
        );
    }
    set(&mut shard, "stays", None, NOW_MS);
    let mut now_ms = NOW_MS;
    while let Some(next_ms) = shard.next_expiry_ms() {
        assert!(next_ms > now_ms);
        now_ms = next_ms;
        finish(&mut shard, now_ms);
        let left = (0..20_000u64).filter(|number| NOW_MS + 1 + number * number > now_ms);
        assert_eq!(shard.volatile_len(), left.count() as u64);
    }
    assert_eq!((shard.len(), shard.stats().expiry_entry_count), (1, 0));
    assert_eq!(shard.stats().expired_count, 20_000);
    assert!(shard.stats().expiry_lag_max_ms <= EXPIRY_TICK_MS);
}

#[test]
fn an_expiry_that_is_pushed_ahead_has_one_entry() {
    let mut shard = shard(16 * MIB);
    for second in 0..1000 {
        let now_ms = NOW_MS + second * 1000;
        finish(&mut shard, now_ms);
        set(&mut shard, "session", Some(now_ms + 60_000), now_ms);
        let key = shard.key(b"session");
        let renewed = shard.set_expiry(key, Some(now_ms + 60_500), now_ms);
        assert_eq!(renewed, Ok(true));
        assert_eq!(shard.stats().expiry_entry_count, 1);
    }
    finish(&mut shard, NOW_MS + 2_000_000);
    assert!(shard.is_empty());
}

#[test]
fn litter_is_bounded_without_background_work() {
    const KEY_COUNT: u64 = 20_000;
    let mut shard = shard(64 * MIB);
    let mut most = 0;
    // An absolute time, so that every entry goes to the same slot.
    let expires_at_ms = NOW_MS + 86_400_000;
    for round in 0..60 {
        for number in 0..KEY_COUNT {
            let name = format!("k{number}");
            set(&mut shard, &name, Some(expires_at_ms), NOW_MS);
            let key = shard.key(name.as_bytes());
            match round % 3 {
                0 => assert_eq!(shard.remove(key, NOW_MS), Ok(true)),
                1 => set(&mut shard, &name, None, NOW_MS),
                _ => assert_eq!(shard.set_expiry(key, None, NOW_MS), Ok(true)),
            }
            most = most.max(shard.stats().expiry_entry_count);
        }
    }
    let bound = (2 * KEY_COUNT + EXPIRY_LITTER_COUNT) * 5 / 4;
    assert!(most <= bound + KEY_COUNT, "{most} entries, {bound} allowed");
    for number in 0..KEY_COUNT {
        set(
            &mut shard,
            &format!("k{number}"),
            Some(expires_at_ms),
            NOW_MS,
        );
    }
    shard.begin_sweep();
    finish(&mut shard, NOW_MS);
    assert_eq!(shard.stats().expiry_entry_count, KEY_COUNT);
    finish(&mut shard, expires_at_ms + EXPIRY_TICK_MS);
    assert!(shard.is_empty());
}

#[test]
fn no_key_is_forgotten_whatever_happens_to_expiries_and_the_clock() {
    let mut shard = shard(64 * MIB);
    let mut model: HashMap<u64, Option<u64>> = HashMap::new();
    let mut random = 88_172_645_463_325_252u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut now_ms = NOW_MS;
    for step in 0..200_000u64 {
        let number = next() % 3_000;
        let name = format!("k{number}");
        let expires_at_ms = (next() % 8 < 6).then(|| now_ms + 1 + next() % (1 << (next() % 24)));
        match next() % 8 {
            0 => {
                let key = shard.key(name.as_bytes());
                shard.remove(key, now_ms).expect("in memory");
                model.remove(&number);
            }
            1 | 2 => {
                let key = shard.key(name.as_bytes());
                if shard.set_expiry(key, expires_at_ms, now_ms) == Ok(true) {
                    model.insert(number, expires_at_ms);
                }
            }
            _ => {
                set(&mut shard, &name, expires_at_ms, now_ms);
                model.insert(number, expires_at_ms);
            }
        }
        if step % 100 == 0 {
            match next() % 16 {
                0 => now_ms -= next() % 100_000,
                1 => now_ms += next() % 10_000_000,
                _ => now_ms += next() % 1_000,
            }
            if next() % 64 == 0 {
                shard.begin_sweep();
            }
            shard.expire_due(now_ms, 64);
        }
        if step % 5_000 == 0 {
            finish(&mut shard, now_ms);
            let tick_ms = now_ms / EXPIRY_TICK_MS * EXPIRY_TICK_MS;
            for (number, expires_at_ms) in &model {
                if expires_at_ms.is_some_and(|ms| ms < tick_ms) {
                    let name = format!("k{number}");
                    let key = shard.key(name.as_bytes());
                    assert!(shard.lookup(key).is_none(), "{name} is still there");
                }
            }
            model.retain(|_, expires_at_ms| expires_at_ms.is_none_or(|ms| ms > now_ms));
        }
    }
    finish(&mut shard, now_ms + (1 << 25));
    assert_eq!(
        (shard.volatile_len(), shard.stats().expiry_entry_count),
        (0, 0)
    );
}

#[test]
fn entries_that_do_not_fit_into_the_budget_are_refused_like_values() {
    let mut shard = shard(2 * MIB);
    let mut stored = 0u64;
    for number in 0..u64::MAX {
        let name = format!("k{number}");
        let key = shard.key(name.as_bytes());
        let attributes = Attributes {
            expires_at_ms: Some(NOW_MS + 1000 + number),
            is_raw: false,
        };
        if shard.store(key, b"", attributes, NOW_MS).is_err() {
            break;
        }
        stored += 1;
    }
    assert_eq!(shard.len(), stored);
    assert!(shard.region().used_bytes() <= 2 * MIB as u64);
    finish(&mut shard, NOW_MS + 2000 + stored);
    assert!(shard.is_empty());
    set(
        &mut shard,
        "more",
        Some(NOW_MS + 10_000_000),
        NOW_MS + 3000 + stored,
    );
}

#[test]
fn a_shard_that_is_cleared_gives_the_wheel_back() {
    let mut shard = shard(64 * MIB);
    for number in 0..100_000u64 {
        set(
            &mut shard,
            &format!("k{number}"),
            Some(NOW_MS + 1 + number),
            NOW_MS,
        );
    }
    assert!(shard.stats().expiry_bytes >= 800_000);
    shard.clear().expect("in memory");
    finish(&mut shard, NOW_MS);
    assert_eq!(
        (shard.stats().expiry_bytes, shard.next_expiry_ms()),
        (EXPIRY_PAGE_LEN_BYTES as u64, None)
    );
    set(&mut shard, "k", Some(NOW_MS + 1), NOW_MS);
    finish(&mut shard, NOW_MS + 1000);
    assert!(shard.is_empty());
}
