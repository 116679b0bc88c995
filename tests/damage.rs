//! Goal: whatever a data file holds, a start ends, serves no bad record, and says what is wrong.
//! Method: a file with all kinds of records in it is made once; then, by seed, bytes of it are
//! flipped, zeroed, copied elsewhere or cut off, and it is opened: to be served, to be salvaged and
//! to be inspected. Values carry their key, so that one in the wrong place is known.
//!
//! A failure prints its seed; `COREMAP_TEST_SEED=n cargo test --test damage` repeats it.

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::process::Folder;
use common::store::{Content, Opening, Store};
use common::{Random, scale, seed};
use coremap::region::Region;
use coremap::shard::RecoverError;

const MIB: u64 = 1 << 20;
const SHARD_COUNT: usize = 2;

fn opening() -> Opening {
    Opening::new(8 * MIB, SHARD_COUNT)
}

/// A value that tells its key.
fn value_of(key: &[u8], random: &mut Random) -> Vec<u8> {
    let len = if random.below(60) == 0 {
        40_000
    } else {
        20 + random.below(200)
    };
    let mut value = key.to_vec();
    value.resize(len, random.next().to_le_bytes()[0]);
    value
}

/// Makes a file with some of everything; returns what it holds.
fn make(folder: &Path, random: &mut Random) -> Content {
    let mut store = opening().open(folder).expect("a new file");
    let mut content = Content::new();
    for step in 0..6_000u64 {
        let key = format!("key:{:04}", random.below(700)).into_bytes();
        if random.below(3) == 0 {
            store.remove(&key).expect("room");
            content.remove(&key);
        } else if random.below(30) == 0 {
            transact(&mut store, &key, step, random, &mut content);
        } else {
            let value = value_of(&key, random);
            store.set(&key, &value).expect("room");
            content.insert(key, value);
        }
        match random.below(200) {
            0 => {
                store.region.sync().expect("a disk");
            }
            1 => {
                store.shards.iter_mut().for_each(|shard| {
                    shard.background(1 << 20);
                });
            }
            _ => {}
        }
    }
    content
}

fn transact(
    store: &mut Store,
    key: &[u8],
    number: u64,
    random: &mut Random,
    content: &mut Content,
) {
    let opened = store.region.rounds().open_transaction(0);
    let value = value_of(key, random);
    let shard = store.shard(key);
    shard.begin_transaction(number);
    store.set(key, &value).expect("room");
    let count = store.shard(key).end_transaction();
    // One in four never ends.
    if random.below(4) > 0 {
        store.shards[0].append_commit(number, count).expect("room");
        content.insert(key.to_vec(), value);
    } else {
        store.set(key, &value).expect("room");
        content.insert(key.to_vec(), value);
    }
    store.region.rounds().close_transaction(0, opened);
}

fn copy(from: &Path, to: &Path) {
    // Sparse: only what holds data.
    let source = File::open(from.join("coremap.data")).expect("a data file");
    let target = File::create(to.join("coremap.data")).expect("a writable folder");
    target
        .set_len(source.metadata().expect("open").len())
        .expect("a sparse file");
    let mut offset = 0;
    while let Some(range) = coremap::sys::next_data(&source, offset).expect("open") {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("small")];
        source
            .read_exact_at(&mut bytes, range.start)
            .expect("there");
        target.write_all_at(&bytes, range.start).expect("room");
        offset = range.end;
    }
}

/// Where a file holds data.
fn ranges(folder: &Path) -> Vec<std::ops::Range<u64>> {
    let file = File::open(folder.join("coremap.data")).expect("a data file");
    let mut offset = 0;
    std::iter::from_fn(|| {
        let range = coremap::sys::next_data(&file, offset).expect("open")?;
        offset = range.end;
        Some(range)
    })
    .collect()
}

fn place(ranges: &[std::ops::Range<u64>], random: &mut Random) -> u64 {
    let range = &ranges[random.below(ranges.len())];
    let len = usize::try_from(range.end - range.start).expect("small");
    range.start + random.below(len) as u64
}

/// Damages a file.
fn hurt(folder: &Path, ranges: &[std::ops::Range<u64>], random: &mut Random) {
    let path = folder.join("coremap.data");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a data file");
    for _ in 0..1 + random.below(4) {
        let at = place(ranges, random);
        let mut bytes = vec![0; 1 + random.below(64)];
        match random.below(5) {
            0 | 1 => {
                file.read_exact_at(&mut bytes[..1], at).expect("there");
                bytes.truncate(1);
                bytes[0] ^= 1 << random.below(8);
            }
            2 => {}
            3 => bytes.fill_with(|| random.next().to_le_bytes()[0]),
            _ => {
                bytes.resize(512 * (1 + random.below(8)), 0);
                let from = place(ranges, random) & !511;
                let _ = file.read_at(&mut bytes, from);
            }
        }
        file.write_all_at(&bytes, at).expect("room");
    }
    if random.below(12) == 0 {
        file.set_len(place(ranges, random)).expect("a shorter file");
    }
}

/// Every value there is belongs to its key, and can be changed.
fn is_sound(store: &mut Store, random: &mut Random) {
    for (key, value) in store.content() {
        assert!(value.starts_with(&key), "a value of another key");
    }
    for number in 0..200 {
        let key = format!("key:{number:04}").into_bytes();
        let value = value_of(&key, random);
        store.set(&key, &value).expect("room");
        assert_eq!(store.get(&key), Some(value));
    }
    for shard in &mut store.shards {
        for _ in 0..50 {
            shard.background(1 << 20);
        }
    }
}

#[test]
fn no_damage_makes_a_start_panic_hang_or_serve_a_bad_record() {
    let mut random = Random(seed());
    let original = Folder::new();
    let content = make(original.path(), &mut random);
    let ranges = ranges(original.path());
    let (mut refused_count, mut whole_count) = (0, 0);
    for _ in 0..scale(200, 4_000) {
        let image = Folder::new();
        copy(original.path(), image.path());
        hurt(image.path(), &ranges, &mut random);
        if opening().inspecting().region(image.path()).is_ok() {
            let _ = opening().inspecting().open(image.path());
        }
        if let Ok((region, _)) = opening().region(image.path()) {
            drop::<std::sync::Arc<Region>>(region);
            match opening().open(image.path()) {
                Ok(mut store) => {
                    whole_count += u64::from(store.content() == content);
                    is_sound(&mut store, &mut random);
                }
                Err(RecoverError::Damaged(report)) => {
                    refused_count += 1;
                    assert!(!report.damage.is_empty());
                }
                Err(error) => panic!("{error}"),
            }
        }
        if opening().salvaging().region(image.path()).is_ok()
            && let Ok(mut store) = opening().salvaging().open(image.path())
        {
            is_sound(&mut store, &mut random);
            drop(store);
            let again = opening().salvaging().open(image.path());
            let mut store = again.expect("salvaged once");
            is_sound(&mut store, &mut random);
        }
    }
    println!("{refused_count} were refused, {whole_count} had lost nothing");
    assert!(refused_count > 0);
    assert!(whole_count > 0);
}

#[test]
fn a_damaged_record_is_refused_with_its_place_and_the_rest_can_be_salvaged() {
    let folder = Folder::new();
    let mut store = opening().open(folder.path()).expect("a new file");
    for number in 0..1_000 {
        let key = format!("key:{number:04}").into_bytes();
        store
            .set(&key, &[&key[..], b" is the key"].concat())
            .expect("room");
    }
    store.region.sync().expect("a disk");
    store.region.sync().expect("a disk");
    let before = store.content();
    drop(store);
    let path = folder.path().join("coremap.data");
    let bytes = ranges(folder.path()).into_iter().find_map(|range| {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("small")];
        let file = File::open(&path).expect("there");
        file.read_exact_at(&mut bytes, range.start).expect("there");
        let found = bytes.windows(8).position(|window| window == b"key:0500")?;
        Some(range.start + found as u64)
    });
    let at = bytes.expect("the key is in the file");
    let file = OpenOptions::new().write(true).open(&path).expect("there");
    file.write_all_at(b"X", at + 1).expect("room");
    let unhurt = fs::metadata(&path).expect("there").len();
    let Err(RecoverError::Damaged(report)) = opening().open(folder.path()).map(|_| ()) else {
        panic!("served");
    };
    let [damage] = report.damage[..] else {
        panic!("{report:?}");
    };
    assert!(
        (damage.offset..damage.offset + damage.len_bytes).contains(&at),
        "{damage:?} {at}"
    );
    assert_eq!(fs::metadata(&path).expect("there").len(), unhurt);
    let inspected = opening().inspecting().open(folder.path());
    assert_eq!(inspected.expect("only looked at").report.damage.len(), 1);
    let salvaged = opening().salvaging().open(folder.path());
    let mut left = before;
    left.remove(&b"key:0500"[..]);
    assert!(salvaged.expect("the rest").content() == left);
    let mut store = opening().open(folder.path()).expect("no damage is left");
    assert!(store.content() == left);
}
