//! Whom eviction keeps, and that writes go on at the budget.

use super::*;
use crate::limits::MIB;
use crate::shard::{Attributes, Options};

const VALUE: [u8; 100] = [7; 100];

fn shard(maxmemory_bytes: usize, policy: Eviction) -> Shard {
    let mut shard = Shard::embedded(Options {
        maxmemory_bytes: maxmemory_bytes as u64,
        seeds: [1, 2, 3, 4],
    })
    .expect("enough memory for a shard");
    shard.set_eviction(policy);
    shard
}

fn set(shard: &mut Shard, name: &str, expires_at_ms: Option<u64>) -> bool {
    let key = shard.key(name.as_bytes());
    let attributes = Attributes {
        expires_at_ms,
        is_raw: false,
    };
    shard.store(key, &VALUE, attributes, 1).is_ok()
}

fn has(shard: &mut Shard, name: &str) -> bool {
    let key = shard.key(name.as_bytes());
    shard.find(key, 1).is_some()
}

#[test]
fn writes_go_on_at_the_budget_and_stay_within_it() {
    for by_use in [false, true] {
        let mut shard = shard(8 * MIB, Eviction::Any { by_use });
        for number in 0..400_000 {
            assert!(set(&mut shard, &format!("k{number}"), None), "{number}");
            assert!(shard.region().used_bytes() <= 8 * MIB as u64 + 256 * 1024);
        }
        let stats = shard.stats();
        assert_eq!(stats.key_count + stats.evicted_count, 400_000);
        assert!(stats.key_count > 30_000, "{stats:?}");
    }
}

#[test]
fn keys_that_are_used_survive_a_scan() {
    let mut shard = shard(8 * MIB, Eviction::Any { by_use: true });
    for number in 0..10_000 {
        set(&mut shard, &format!("hot{number}"), None);
    }
    for number in 0..400_000 {
        set(&mut shard, &format!("scan{number}"), None);
        assert!(
            number < 1000 || number % 2 == 0 || {
                let hot = number / 2 % 10_000;
                has(&mut shard, &format!("hot{hot}"));
                true
            }
        );
    }
    let left = (0..10_000).filter(|number| has(&mut shard, &format!("hot{number}")));
    let left_count = left.count();
    assert!(left_count > 9_900, "{left_count} left");
}

#[test]
fn volatile_policies_leave_keys_without_an_expiry_alone() {
    for policy in [
        Eviction::Volatile { by_use: true },
        Eviction::Volatile { by_use: false },
        Eviction::SoonestToExpire,
    ] {
        let mut shard = shard(8 * MIB, policy);
        for number in 0..10_000 {
            assert!(set(&mut shard, &format!("stays{number}"), None));
        }
        for number in 0..100_000u64 {
            let expires_at_ms = Some(1_000_000 + number * 1000);
            assert!(set(&mut shard, &format!("goes{number}"), expires_at_ms));
        }
        assert!((0..10_000).all(|number| has(&mut shard, &format!("stays{number}"))));
        assert!(shard.stats().evicted_count > 10_000, "{policy:?}");
        // Without any left that may go, writes are refused.
        let refused = (0..200_000).find(|number| !set(&mut shard, &format!("more{number}"), None));
        assert!(refused.is_some());
        assert_eq!(shard.volatile_len(), 0);
    }
}

#[test]
fn what_expires_first_goes_first() {
    let mut shard = shard(8 * MIB, Eviction::SoonestToExpire);
    // Written in the opposite order, so that it is not age that decides.
    for number in (0..100_000u64).rev() {
        let expires_at_ms = Some(1_000_000_000 + number * 1000);
        assert!(set(&mut shard, &format!("k{number}"), expires_at_ms));
    }
    let kept: Vec<u64> = (0..100_000)
        .filter(|number| has(&mut shard, &format!("k{number}")))
        .collect();
    let first = 100_000 - kept.len() as u64;
    let early = kept.iter().filter(|&&number| number < first).count();
    // A slot of the wheel that is a day ahead spans a twelfth of these keys.
    assert!(early * 7 < kept.len(), "{early} of {} kept", kept.len());
}

#[test]
fn a_value_that_is_changed_is_not_evicted_for_it() {
    let mut shard = shard(4 * MIB, Eviction::Any { by_use: true });
    for number in 0..20_000 {
        let name = format!("k{}", number % 3000);
        let key = shard.key(name.as_bytes());
        let len_bytes = shard.append(key, &VALUE, 1).expect("room by eviction");
        assert!(len_bytes >= VALUE.len() as u64);
        let key = shard.key(name.as_bytes());
        let value = shard.find(key, 1).expect("just written");
        assert_eq!(value.bytes.len() as u64, len_bytes);
    }
}

#[test]
fn large_values_make_room_for_each_other() {
    let mut shard = shard(16 * MIB, Eviction::Any { by_use: true });
    let value = vec![1; MIB];
    for number in 0..100 {
        let name = format!("large{number}");
        let key = shard.key(name.as_bytes());
        let stored = shard.store(key, &value, Attributes::default(), 1);
        assert!(stored.is_ok(), "{number}");
    }
    assert!(shard.stats().large_value_count >= 8, "{:?}", shard.stats());
}
