use crate::shard::{Attributes, Options, Shard};

const NOW_MS: u64 = 1_000_000;

fn shard() -> Shard {
    let options = Options {
        maxmemory_bytes: 64 << 20,
        seeds: [1, 2, 3, 4],
    };
    let mut shard = Shard::embedded(options).expect("a small region");
    set(&mut shard, b"key", b"value", None);
    shard
}

fn set(shard: &mut Shard, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) {
    let attributes = Attributes {
        expires_at_ms,
        ..Attributes::default()
    };
    let stored = shard.store(shard.key(key), value, attributes, NOW_MS);
    stored.expect("64 MiB are enough");
}

/// Whether a watch of `key` sees what `change` does.
fn sees(key: &[u8], change: impl FnOnce(&mut Shard)) -> bool {
    let mut shard = shard();
    shard.watch(shard.key(key), 7, NOW_MS);
    assert!(shard.is_unchanged(7, NOW_MS));
    change(&mut shard);
    let is_unchanged = shard.is_unchanged(7, NOW_MS);
    assert_eq!(
        shard.is_unchanged(7, NOW_MS),
        is_unchanged,
        "it is asked again"
    );
    shard.unwatch(7);
    assert!(shard.watches.is_none(), "nothing is left behind");
    !is_unchanged
}

#[test]
fn every_change_of_a_key_is_seen() {
    assert!(sees(b"key", |shard| set(shard, b"key", b"value", None)));
    assert!(sees(b"key", |shard| {
        let _ = shard.remove(shard.key(b"key"), NOW_MS);
    }));
    assert!(sees(b"key", |shard| {
        let _ = shard.append(shard.key(b"key"), b"more", NOW_MS);
    }));
    assert!(sees(b"key", |shard| {
        let _ = shard.write_range(shard.key(b"key"), 2, b"x", NOW_MS);
    }));
    assert!(sees(b"key", |shard| {
        let _ = shard.set_expiry(shard.key(b"key"), Some(NOW_MS + 1), NOW_MS);
    }));
    assert!(sees(b"key", |shard| {
        let _ = shard.rename(shard.key(b"key"), shard.key(b"other"), NOW_MS);
    }));
    assert!(sees(b"key", |shard| shard.clear().expect("memory")));
}

#[test]
fn a_key_that_comes_is_seen() {
    assert!(sees(b"new", |shard| set(shard, b"new", b"value", None)));
    assert!(sees(b"new", |shard| {
        let _ = shard.rename(shard.key(b"key"), shard.key(b"new"), NOW_MS);
    }));
}

#[test]
fn what_happens_to_other_keys_is_not_seen() {
    assert!(!sees(b"key", |shard| set(shard, b"other", b"value", None)));
    assert!(!sees(b"new", |shard| {
        let _ = shard.remove(shard.key(b"key"), NOW_MS);
    }));
    assert!(!sees(b"new", |shard| shard.clear().expect("memory")));
    assert!(!sees(b"key", |shard| {
        let _ = shard.find(shard.key(b"key"), NOW_MS);
    }));
}

#[test]
fn a_large_value_changed_in_place_is_seen() {
    let mut shard = shard();
    set(&mut shard, b"large", &vec![b'v'; 1 << 20], None);
    shard.watch(shard.key(b"large"), 7, NOW_MS);
    let _ = shard.write_range(shard.key(b"large"), 9, b"x", NOW_MS);
    assert!(!shard.is_unchanged(7, NOW_MS));
}

#[test]
fn a_second_expiry_in_place_and_its_end_are_seen() {
    let mut shard = shard();
    set(&mut shard, b"timed", b"value", Some(NOW_MS + 10));
    shard.watch(shard.key(b"timed"), 7, NOW_MS);
    let _ = shard.set_expiry(shard.key(b"timed"), Some(NOW_MS + 20), NOW_MS);
    assert!(!shard.is_unchanged(7, NOW_MS));
    let _ = shard.set_expiry(shard.key(b"timed"), None, NOW_MS);
    shard.watch(shard.key(b"timed"), 8, NOW_MS);
    let _ = shard.set_expiry(shard.key(b"timed"), Some(NOW_MS + 20), NOW_MS);
    assert!(!shard.is_unchanged(8, NOW_MS));
}

#[test]
fn a_key_that_expires_while_watched_has_changed_and_one_that_had_expired_has_not() {
    let mut shard = shard();
    set(&mut shard, b"timed", b"value", Some(NOW_MS + 10));
    shard.watch(shard.key(b"timed"), 7, NOW_MS);
    shard.watch(shard.key(b"timed"), 8, NOW_MS + 10);
    assert!(!shard.is_unchanged(7, NOW_MS + 10));
    assert!(shard.is_unchanged(8, NOW_MS + 10));
}

#[test]
fn a_watch_that_nobody_knows_has_changed() {
    assert!(!shard().is_unchanged(7, NOW_MS));
}

#[test]
fn watches_of_one_key_do_not_end_each_other() {
    let mut shard = shard();
    shard.watch(shard.key(b"key"), 7, NOW_MS);
    shard.watch(shard.key(b"key"), 8, NOW_MS);
    shard.unwatch(7);
    set(&mut shard, b"key", b"new", None);
    assert!(!shard.is_unchanged(8, NOW_MS));
}
