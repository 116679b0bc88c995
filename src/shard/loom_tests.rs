//! Every interleaving of an owner that changes its shard and another core that reads it: the shipped
//! shard and reader, over blocks and segments made tiny.
//!
//! Loom shows each load every value that the orderings of the stores allow, and fails a model in
//! which bytes are written, or freed, that the other thread may be reading (`atomic::modelled`).

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::table::HOME_BUCKET_COUNT;
use super::{Attributes, Key, Shard, Unsure};
use crate::atomic::{AtomicBool, Ordering, note_read};
use crate::hash::Hasher;
use crate::region::{Region, RegionOptions};

const NOW_MS: u64 = 1_000;

/// Runs `test` in every interleaving.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 100_000;
    builder.check(test);
}

/// A shard to change and one to read it from.
fn shards() -> (Shard, Shard) {
    let region = Region::anonymous(RegionOptions {
        maxmemory_bytes: 64 * 512,
        shard_count: 2,
    });
    let region = Arc::new(region.expect("a small region"));
    let shard = |id| Shard::new(Arc::clone(&region), id, Hasher::new([1, 2, 3, 4]));
    (
        shard(0).expect("first blocks"),
        shard(1).expect("first blocks"),
    )
}

fn store(shard: &mut Shard, key: &[u8], value: &[u8]) {
    let key = shard.key(key);
    shard
        .store(key, value, Attributes::default(), NOW_MS)
        .expect("enough memory");
}

fn remove(shard: &mut Shard, key: &[u8]) {
    let key = shard.key(key);
    assert_eq!(shard.remove(key, NOW_MS), Ok(true));
}

/// Takes every block and every segment; an empty table then has four.
fn use_up_memory(shard: &mut Shard) {
    while shard.region.take_block().is_some() {}
    let hash = shard.key(b"key").hash();
    let Shard { table, limbo, .. } = shard;
    assert_eq!(table.split(hash, limbo), Ok(()));
    assert!(
        table.merge(0, limbo),
        "one segment, so that the rest is even"
    );
    while table.split(hash, limbo).is_ok() {}
}

/// Reads keys of shard 0 at one moment, each as its value.
fn read_all<const COUNT: usize>(
    shard: &mut Shard,
    keys: [&[u8]; COUNT],
) -> Result<[Option<Vec<u8>>; COUNT], Unsure> {
    let reader = shard.reader(0);
    let mut found = [const { None }; COUNT];
    for (key, found) in keys.into_iter().zip(&mut found) {
        *found = reader.find(reader.key(key), NOW_MS)?;
    }
    // Used at the end only: whatever was found is there until the reads end.
    let values = found.map(|value| {
        value.map(|value| {
            note_read(value.bytes.as_ptr(), value.bytes.len());
            value.bytes.to_vec()
        })
    });
    Ok(values)
}

/// Reads one key of shard 0 and ends the read.
fn read(shard: &mut Shard, key: &[u8]) -> Option<Vec<u8>> {
    let [value] = read_all(shard, [key]).expect("one slot changes at a time");
    shard.end_reads();
    value
}

/// Keys of which `choose` says yes, by number, as many as wanted.
fn keys<const COUNT: usize>(
    shard: &Shard,
    choose: impl Fn(usize, Key<'_>) -> bool,
) -> [Vec<u8>; COUNT] {
    let mut number = 0;
    std::array::from_fn(|index| {
        loop {
            number += 1;
            let key = format!("key{number:05}").into_bytes();
            if choose(index, shard.key(&key)) {
                return key;
            }
        }
    })
}

#[test]
fn a_first_value_is_seen_whole_or_not_at_all() {
    model(|| {
        let (mut owner, mut other) = shards();
        let reader = thread::spawn(move || {
            let first = read(&mut other, b"key");
            let second = read(&mut other, b"key");
            for value in [&first, &second] {
                assert!(value.as_deref().is_none_or(|value| value == b"value"));
            }
            assert!(first.is_none() || second.is_some(), "what was seen stays");
        });
        store(&mut owner, b"key", b"value");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn an_overwritten_value_is_the_old_or_the_new_one() {
    model(|| {
        let (mut owner, mut other) = shards();
        store(&mut owner, b"key", b"old");
        let reader = thread::spawn(move || {
            let first = read(&mut other, b"key").expect("always there");
            let second = read(&mut other, b"key").expect("always there");
            assert!(matches!(
                (&*first, &*second),
                (b"old", b"old" | b"new") | (b"new", b"new")
            ));
        });
        store(&mut owner, b"key", b"new");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn what_was_probed_is_looked_at_again() {
    model(|| {
        let (mut owner, mut other) = shards();
        store(&mut owner, b"key", b"old");
        let is_stored = Arc::new(AtomicBool::new(false));
        let was_stored = Arc::clone(&is_stored);
        let reader = thread::spawn(move || {
            let reader = other.reader(0);
            let probe = reader.probe(reader.key(b"key").hash());
            let is_stored = was_stored.load(Ordering::Acquire);
            // As a command later in the pipeline: with a reader of its own.
            let key = Key {
                bytes: b"key",
                probe,
            };
            let value = other.reader(0).find(key, NOW_MS);
            let value = value.expect("one slot changes").expect("always there");
            assert!(value.bytes == b"new" || !is_stored && value.bytes == b"old");
            other.end_reads();
        });
        store(&mut owner, b"key", b"new");
        is_stored.store(true, Ordering::Release);
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_deleted_key_goes_once_and_takes_no_other_with_it() {
    model(|| {
        let (mut owner, mut other) = shards();
        // The first and the last are neighbours in one bucket.
        let [gone, between, kept] = keys(&owner, |_, key| {
            key.hash().buckets(HOME_BUCKET_COUNT) == [0, 1]
        });
        store(&mut owner, &gone, b"1");
        store(&mut owner, &between, b"");
        store(&mut owner, &kept, b"2");
        let name = gone.clone();
        let reader = thread::spawn(move || {
            let first = read(&mut other, &gone);
            assert_eq!(read(&mut other, &kept).as_deref(), Some(&b"2"[..]));
            let second = read(&mut other, &gone);
            assert!(first.is_some() || second.is_none());
        });
        remove(&mut owner, &name);
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_key_that_expires_is_there_until_its_last_time_and_then_its_owners_to_tell() {
    model(|| {
        let (mut owner, mut other) = shards();
        let attributes = Attributes {
            expires_at_ms: Some(NOW_MS + 1),
            ..Attributes::default()
        };
        let key = owner.key(b"key");
        owner.store(key, b"1", attributes, NOW_MS).expect("memory");
        let reader = thread::spawn(move || {
            let reader = other.reader(0);
            let key = reader.key(b"key");
            for now_ms in [NOW_MS, NOW_MS + 2] {
                let found = reader.find(key, now_ms);
                let expires_at_ms = found.map(|value| value.expect("it is there").expires_at_ms);
                match now_ms {
                    NOW_MS => assert!(matches!(expires_at_ms, Ok(Some(1_001 | 1_005)))),
                    _ => assert!(matches!(expires_at_ms, Err(Unsure) | Ok(Some(1_005)))),
                }
            }
            other.end_reads();
        });
        assert_eq!(owner.set_expiry(key, Some(NOW_MS + 5), NOW_MS), Ok(true));
        reader.join().expect("the reader does not panic");
        // The owner finds it expired, too: nothing was changed by the reader.
        assert!(owner.find(key, NOW_MS + 5).is_none());
        assert_eq!(owner.stats().expired_count, 1);
    });
}

#[test]
fn a_split_hides_no_key() {
    model(|| {
        let (mut owner, mut other) = shards();
        let keys: [Vec<u8>; 5] = keys(&owner, |index, key| {
            usize::try_from(key.hash().tag() >> 23) == Ok(index % 2)
        });
        for key in &keys[..4] {
            store(&mut owner, key, key);
        }
        let [first, second, .., last] = keys;
        let reader = thread::spawn(move || {
            for key in [first, second] {
                assert_eq!(read(&mut other, &key).as_ref(), Some(&key));
            }
        });
        assert_eq!(owner.stats().split_count, 0);
        store(&mut owner, &last, &last);
        assert_eq!(owner.stats().split_count, 1);
        reader.join().expect("the reader does not panic");
        // What the split left is used again only when the reader is gone.
        owner.background(1 << 20);
        assert_eq!(owner.stats().limbo_count, 0);
    });
}

#[test]
fn what_a_split_gave_up_is_not_used_again_under_a_reader() {
    model(|| {
        let (mut owner, mut other) = shards();
        let keys: [Vec<u8>; 6] = keys(&owner, |_, key| key.hash().tag() >> 23 == 0);
        for key in &keys[..4] {
            store(&mut owner, key, key);
        }
        let [first, .., fifth, sixth] = keys;
        let reader = thread::spawn(move || {
            assert_eq!(read(&mut other, &first).as_ref(), Some(&first));
        });
        store(&mut owner, &fifth, &fifth);
        // The old segment and the old directory go, if the reader lets them, and the second split
        // fills the segment with something else.
        owner.free(1 << 20);
        store(&mut owner, &sixth, &sixth);
        assert_eq!(owner.stats().split_count, 2);
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_merge_hides_no_key() {
    model(|| {
        let (mut owner, mut other) = shards();
        let keys: [Vec<u8>; 5] = keys(&owner, |index, key| {
            usize::try_from(key.hash().tag() >> 23) == Ok(index % 2)
        });
        keys.iter().for_each(|key| store(&mut owner, key, key));
        // The last key was never in the segment that the merge fills.
        keys[..4].iter().for_each(|key| remove(&mut owner, key));
        owner.free(1 << 20);
        let [.., last] = keys;
        let reader = thread::spawn(move || {
            assert_eq!(read(&mut other, &last).as_ref(), Some(&last));
        });
        let Shard { table, limbo, .. } = &mut owner;
        assert!(table.merge(0, limbo));
        owner.free(1 << 20);
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn compaction_hides_no_key_and_reuses_no_block_under_a_reader() {
    model(|| {
        let (mut owner, mut other) = shards();
        let value = [b'v'; 40];
        store(&mut owner, b"live", &value);
        // The rest of the first block and the beginning of the second: versions of one key.
        (0..9).for_each(|_| store(&mut owner, b"dead", &value));
        let reader = thread::spawn(move || {
            // Twice: what the second pin lets go, the first read may have been in.
            for _ in 0..2 {
                assert_eq!(read(&mut other, b"live").as_deref(), Some(&value[..]));
            }
        });
        assert!(owner.compact_block());
        owner.free(1 << 20);
        // As many as fill a block: the one given up, if the reader lets it go.
        (0..9).for_each(|_| store(&mut owner, b"dead", &value));
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_flush_takes_all_keys_at_once() {
    model(|| {
        let (mut owner, mut other) = shards();
        store(&mut owner, b"one", b"1");
        store(&mut owner, b"two", b"2");
        let reader = thread::spawn(move || {
            if let Ok([one, two]) = read_all(&mut other, [b"one", b"two"]) {
                assert_eq!(one.is_some(), two.is_some());
            }
            other.end_reads();
        });
        owner.clear().expect("in memory");
        owner.free(1 << 20);
        store(&mut owner, b"six", b"6");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_flush_without_memory_empties_its_segment_at_once() {
    model(|| {
        let (mut owner, mut other) = shards();
        use_up_memory(&mut owner);
        store(&mut owner, b"one", b"1");
        store(&mut owner, b"two", b"2");
        let reader = thread::spawn(move || {
            if let Ok([one, two]) = read_all(&mut other, [b"one", b"two"]) {
                assert_eq!(one.is_some(), two.is_some());
            }
            other.end_reads();
        });
        owner.clear().expect("in memory");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_renamed_value_has_one_name() {
    model(|| {
        let (mut owner, mut other) = shards();
        store(&mut owner, b"source", b"1");
        let reader = thread::spawn(move || {
            for names in [[b"source", b"target"], [b"target", b"source"]] {
                if let Ok([one, two]) = read_all(&mut other, names.map(|name| &name[..])) {
                    assert!(one.is_some() != two.is_some());
                }
                other.end_reads();
            }
        });
        let (source, target) = (owner.key(b"source"), owner.key(b"target"));
        assert_eq!(owner.rename(source, target, NOW_MS), Ok(true));
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn a_shard_that_ends_takes_nothing_from_under_a_reader() {
    model(|| {
        let (mut owner, mut other) = shards();
        store(&mut owner, b"key", b"value");
        let reader = thread::spawn(move || {
            if let Ok([value]) = read_all(&mut other, [b"key"]) {
                assert_eq!(value.as_deref(), Some(&b"value"[..]));
            }
            other.end_reads();
        });
        drop(owner);
        reader.join().expect("the reader does not panic");
    });
}
