//! Goal: a small change to a large value in a file costs a piece of it, and after a kill, a power loss
//! or another number of shards the value is what it was after one of the changes, never a mixture.
//! Method: seeded changes of values of some MiB against a model, with rounds in between; dropping a
//! store is a kill, `common::images` makes what a power loss may leave.
//!
//! A failure prints its seed; `COREMAP_TEST_SEED=n cargo test --test large_values` repeats it.

mod common;

use common::images::Images;
use common::process::Folder;
use common::store::{Content, Opening, Store};
use common::{Random, scale, seed, tell_tried};
use coremap::shard::{Attributes, OutOfMemory};

const MIB: usize = 1 << 20;

fn opening(shard_count: usize) -> Opening {
    Opening::new(96 << 20, shard_count)
}

fn write(store: &mut Store, key: &[u8], offset: usize, bytes: &[u8]) {
    let shard = store.shard(key);
    let key = shard.key(key);
    let written = shard.write_range(key, offset, bytes, 0);
    assert!(written.is_ok(), "{written:?}");
}

fn large_bytes(store: &Store) -> u64 {
    let shards = store.shards.iter();
    shards.map(|shard| shard.stats().large_bytes).sum()
}

/// Lets rounds and background work give back what nobody needs.
fn settle(store: &mut Store) {
    for _ in 0..3 {
        store.region.sync().expect("a disk");
        for shard in &mut store.shards {
            while shard.background(16 * MIB) {}
        }
    }
}

/// Changes something of a value, and the model's with it.
fn change(store: &mut Store, model: &mut Content, random: &mut Random) {
    let key = format!("large:{}", random.below(3)).into_bytes();
    let value = model.entry(key.clone()).or_default();
    let bytes = vec![random.next().to_le_bytes()[0]; 1 + random.below(3000)];
    match random.below(12) {
        0 => {
            *value = vec![bytes[0]; 2 * MIB + random.below(2 * MIB)];
            store.set(&key, value).expect("room");
        }
        1 if !value.is_empty() => {
            assert_eq!(store.remove(&key), Ok(true));
            model.remove(&key);
        }
        2 | 3 if value.len() < 6 * MIB => {
            let tail = vec![bytes[0]; random.below(MIB + 5000)];
            let shard = store.shard(&key);
            assert!(shard.append(shard.key(&key), &tail, 0).is_ok());
            value.extend_from_slice(&tail);
            if value.is_empty() {
                model.remove(&key);
                assert_eq!(store.remove(&key), Ok(true));
            }
        }
        // Around the borders of pieces, too.
        kind => {
            let offset = if kind < 7 {
                (random.below(5) * MIB).saturating_sub(random.below(2000))
            } else {
                random.below(5 * MIB)
            };
            let end = offset + bytes.len();
            value.resize(value.len().max(end), 0);
            value[offset..end].copy_from_slice(&bytes);
            write(store, &key, offset, &bytes);
        }
    }
}

#[test]
fn a_small_change_to_a_large_value_costs_a_piece() {
    let folder = Folder::new();
    let opening = Opening::new(512 << 20, 1);
    let mut store = opening.open(folder.path()).expect("a new file");
    let mut value = vec![7; 100 * MIB];
    store.set(b"large", &value).expect("room");
    settle(&mut store);
    let before = large_bytes(&store);
    for (count, offset) in (1..).zip([5, 50 * MIB + 17, 100 * MIB - 1, 100 * MIB]) {
        write(&mut store, b"large", offset, b"x");
        value.resize(value.len().max(offset + 1), 0);
        value[offset] = b'x';
        // Nothing is given back before a round, so this is all that was copied.
        let copied_bytes = large_bytes(&store) - before;
        assert!(copied_bytes <= count * MIB as u64, "{copied_bytes}");
    }
    assert!(store.get(b"large").as_deref() == Some(&value[..]));
    settle(&mut store);
    assert!(
        large_bytes(&store) <= before + MIB as u64,
        "what was replaced is given back"
    );
    drop(store);
    let mut store = opening.open(folder.path()).expect("an undamaged file");
    assert!(store.get(b"large").as_deref() == Some(&value[..]));
    assert_eq!(store.remove(b"large"), Ok(true));
    settle(&mut store);
    assert_eq!(large_bytes(&store), 0);
}

#[test]
fn a_value_that_is_being_sent_does_not_change() {
    let folder = Folder::new();
    let mut store = opening(1).open(folder.path()).expect("a new file");
    store.set(b"large", &vec![1; 4 * MIB]).expect("room");
    write(&mut store, b"large", 9, b"one");
    let shard = &mut store.shards[0];
    let run = shard
        .find(shard.key(b"large"), 0)
        .and_then(|value| value.large);
    let run = run.expect("a large value");
    shard.pin(run);
    let sent = shard.pinned_bytes(run).expect("pinned").to_vec();
    write(&mut store, b"large", 2 * MIB, b"two");
    assert!(store.shards[0].pinned_bytes(run) == Some(&sent[..]));
    store.shards[0].unpin(run);
    let value = store.get(b"large").expect("there");
    assert_eq!(
        (&value[9..12], &value[2 * MIB..][..3]),
        (&b"one"[..], &b"two"[..])
    );
}

#[test]
fn changed_values_survive_kills_and_other_numbers_of_shards() {
    let mut random = Random(seed());
    let folder = Folder::new();
    let mut model = Content::new();
    let mut store = opening(1).open(folder.path()).expect("a new file");
    for _ in 0..scale(12, 200) {
        for _ in 0..random.below(30) {
            change(&mut store, &mut model, &mut random);
            match random.below(6) {
                0 => drop(store.region.sync().expect("a disk")),
                1 => settle(&mut store),
                _ => {}
            }
        }
        assert!(store.content() == model);
        if random.below(3) == 0 {
            store.region.close_clean().expect("a disk");
        }
        drop(store);
        let shard_count = 1 + random.below(3);
        let inspected = opening(shard_count).inspecting().open(folder.path());
        assert_eq!(inspected.expect("undamaged").report.damage, []);
        store = opening(shard_count).open(folder.path()).expect("undamaged");
        assert!(store.content() == model, "with {shard_count} shards");
    }
    for key in model.keys() {
        assert_eq!(store.remove(key), Ok(true));
    }
    settle(&mut store);
    assert_eq!(large_bytes(&store), 0, "no piece is forgotten");
}

#[test]
fn a_power_loss_leaves_a_value_as_it_was_after_one_of_its_changes() {
    let mut random = Random(seed());
    let mut folder = Folder::new();
    let mut store = opening(1).open(folder.path()).expect("a new file");
    let mut images = Images::of(folder.path());
    let mut model = Content::new();
    // What the store held after each change since the last round.
    let mut moments = vec![model.clone()];
    let mut image_count = 0;
    while image_count < scale(12, 500) {
        for _ in 0..1 + random.below(5) {
            change(&mut store, &mut model, &mut random);
            moments.push(model.clone());
            if random.below(3) == 0 {
                store.shards[0].background(MIB);
            }
        }
        // What was replaced waits for a round, so that there may soon be no room.
        let is_half_full = store.region.used_bytes() > store.region.maxmemory_bytes() / 2;
        match random.below(4) {
            0 if !is_half_full => images.note(),
            kind if kind == 1 || is_half_full => {
                images.note();
                store.region.sync().expect("a disk");
                images.synced();
                moments = vec![model.clone()];
                while store.shards[0].background(MIB) {}
            }
            _ => {
                image_count += 1;
                let left = Folder::new();
                images.write(&mut random, left.path());
                let opened = opening(1).open(left.path());
                let mut found = opened.expect("a power loss is no damage");
                let content = found.content();
                assert!(moments.contains(&content), "a value of no moment");
                if random.below(3) == 0 {
                    images = Images::of(left.path());
                    (store, folder) = (found, left);
                    moments = vec![content.clone()];
                    model = content;
                }
            }
        }
    }
    drop(folder);
    tell_tried(&format!("{image_count} images of changed large values"));
}

#[test]
fn values_that_are_hardly_small_are_kept_beside_long_keys() {
    let folder = Folder::new();
    let mut store = opening(1).open(folder.path()).expect("a new file");
    let record_len = usize::try_from(store.region.block_len_bytes() / 8).expect("small");
    let value = vec![7; record_len - 20];
    let long = vec![b'k'; record_len - 100];
    store.set(&[b'k'; 100], &value).expect("room");
    store.set(&long, b"value").expect("room");
    store.set(&long, &[8; 1000]).expect("room");
    write(&mut store, &long, 2000, b"more");
    write(&mut store, b"a key", value.len() - 4, b"tail");
    let shard = &mut store.shards[0];
    let change = coremap::shard::Change::Store {
        key: b"prepared",
        value: &value,
        attributes: Attributes::default(),
    };
    assert_eq!(shard.prepare([change]), Ok(()));
    let key = shard.key(b"prepared");
    assert!(shard.store(key, &value, Attributes::default(), 0).is_ok());
    shard.release_room();
    let before = store.content();
    assert_eq!(before.len(), 4);
    drop(store);
    let mut store = opening(1).open(folder.path()).expect("undamaged");
    assert!(store.content() == before);
    let longer = vec![b'k'; record_len];
    assert_eq!(store.set(&longer, b""), Err(OutOfMemory::LongKey));
}

#[test]
fn an_expiry_can_be_added_to_a_record_as_long_as_the_log_takes() {
    let folder = Folder::new();
    let mut store = opening(1).open(folder.path()).expect("a new file");
    let longest = usize::try_from(store.region.block_len_bytes() / 8).expect("small");
    for len_bytes in longest - 64..=longest {
        store.set(b"key", &vec![7; len_bytes]).expect("room");
        let shard = store.shard(b"key");
        let key = shard.key(b"key");
        assert_eq!(shard.set_expiry(key, Some(1_000), 0), Ok(true));
    }
}
