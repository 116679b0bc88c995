//! Every interleaving of owners that change their shards and a core that reads keys of several at one
//! moment.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::{Attributes, Key, Moment, Shard};
use crate::hash::Hasher;
use crate::region::{Region, RegionOptions};

const NOW_MS: u64 = 1_000;

/// Runs `test` in every interleaving, but for those with many switches that nothing asks for.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = Some(4);
    builder.check(test);
}

/// Two shards to change and one to read them from. They are boxed because the stack of a model is small.
fn shards() -> [Box<Shard>; 3] {
    let region = Region::anonymous(RegionOptions {
        maxmemory_bytes: 96 * 512,
        shard_count: 3,
    });
    let region = Arc::new(region.expect("a small region"));
    [0, 1, 2].map(|id| {
        let shard = Shard::new(Arc::clone(&region), id, Hasher::new([1, 2, 3, 4]));
        Box::new(shard.expect("first blocks"))
    })
}

fn store(shard: &mut Shard, key: &[u8], value: &[u8]) {
    let key = shard.key(key);
    let stored = shard.store(key, value, Attributes::default(), NOW_MS);
    stored.expect("enough memory");
}

fn remove(shard: &mut Shard, key: &[u8]) {
    assert_eq!(shard.remove(shard.key(key), NOW_MS), Ok(true));
}

/// The values of two keys at one moment, if there was one.
fn at_one_moment(shard: &mut Shard, keys: [(u16, &[u8]); 2]) -> Option<[Option<Vec<u8>>; 2]> {
    let mut moment = Moment::default();
    let mut found = [None, None];
    let mut is_sure = true;
    for (position, (owner, bytes)) in keys.into_iter().enumerate() {
        let reader = shard.reader(owner);
        let value = moment
            .see(reader, reader.key(bytes), position)
            .and_then(|probe| reader.find(Key { bytes, probe }, NOW_MS));
        match value {
            Ok(value) => found[position] = value.map(|value| value.bytes.to_vec()),
            Err(_) => is_sure = false,
        }
    }
    let is_one = is_sure && moment.is_one(shard, |position| keys[position].1);
    shard.end_reads();
    is_one.then_some(found)
}

#[test]
fn keys_written_one_after_the_other_are_not_seen_the_other_way_round() {
    model(|| {
        let [mut owner, _second, mut other] = shards();
        store(&mut owner, b"first", b"old");
        store(&mut owner, b"later", b"old");
        let reader = thread::spawn(move || {
            let found = at_one_moment(&mut other, [(0, b"first"), (0, b"later")]);
            if let Some([first, later]) = found {
                let is_late_only =
                    first.as_deref() == Some(b"old") && later.as_deref() == Some(b"new");
                assert!(!is_late_only, "no such moment");
            }
        });
        store(&mut owner, b"first", b"new");
        store(&mut owner, b"later", b"new");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn of_two_keys_that_take_turns_at_being_there_one_is_seen() {
    model(|| {
        let [mut owner, _second, mut other] = shards();
        store(&mut owner, b"this", b"1");
        let reader = thread::spawn(move || {
            let found = at_one_moment(&mut other, [(0, b"that"), (0, b"this")]);
            assert_ne!(found, Some([None, None]), "one of them was always there");
        });
        store(&mut owner, b"that", b"1");
        remove(&mut owner, b"this");
        reader.join().expect("the reader does not panic");
    });
}

#[test]
fn shards_that_are_held_together_are_seen_before_or_after() {
    model(|| {
        let [mut low, mut high, mut other] = shards();
        store(&mut low, b"a", b"old");
        store(&mut high, b"b", b"old");
        let reader = thread::spawn(move || {
            let found = at_one_moment(&mut other, [(0, b"a"), (1, b"b")]);
            if let Some([a, b]) = found {
                assert_eq!(a, b, "half of a command was seen");
            }
        });
        // As when the last hold travels with the work: the higher shard is free again before the
        // lower one has changed.
        low.begin_publish();
        high.begin_publish();
        store(&mut high, b"b", b"new");
        high.end_publish();
        store(&mut low, b"a", b"new");
        low.end_publish();
        reader.join().expect("the reader does not panic");
    });
}
