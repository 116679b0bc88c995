//! Goal: a power loss in the middle of a start loses nothing that the start would have served: not
//! while it recovers, nor while it changes the number of shards, nor while it salvages. Method: a seeded
//! life ends with a power loss; what is left is opened with a witness of every sync of the file, who
//! keeps images of what a power loss at that moment may leave (`common::images`). Each of them is opened
//! again, and must hold what the undisturbed start has found. So must what a power loss in the middle of
//! that second start leaves.
//!
//! A failure prints its seed; `COREMAP_TEST_SEED=n cargo test --test recovery_power` repeats it.

mod common;

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::images::Images;
use common::process::Folder;
use common::store::{Content, Opening, Store};
use common::{Random, scale, seed, tell_tried};

const SHARD_COUNT: usize = 2;
/// Bytes of values that are changed in pieces.
const PIECED_LEN: usize = 5 << 18;

/// Whoever looks at the file when it is synced.
struct Witness {
    images: Images,
    random: Random,
    /// What a power loss may have left at those moments.
    left: Vec<Folder>,
}

thread_local! {
    static WITNESS: RefCell<Option<Witness>> = const { RefCell::new(None) };
}

fn on_sync(is_done: bool) {
    WITNESS.with_borrow_mut(|witness| {
        if let Some(witness) = witness {
            if is_done {
                witness.images.synced();
            } else {
                witness.cut();
            }
        }
    });
}

impl Witness {
    fn cut(&mut self) {
        let folder = Folder::new();
        self.images.write(&mut self.random, folder.path());
        self.left.push(folder);
    }
}

fn opening(shard_count: usize) -> Opening {
    Opening::new(16 << 20, shard_count)
}

/// Opens a folder; returns what was found, and images of each moment of it.
fn open_watched(opening: Opening, folder: &Path, seed: u64) -> (Content, Vec<Folder>) {
    let witness = Witness {
        images: Images::of(folder),
        random: Random(seed),
        left: Vec::new(),
    };
    WITNESS.set(Some(witness));
    let opened = opening.witnessed_by(on_sync).open(folder);
    let witness = WITNESS.take();
    let mut store = opened.expect("a power loss is no damage");
    let mut witness = witness.expect("still there");
    witness.cut();
    (store.content(), witness.left)
}

/// A life that ends with a power loss, which leaves this.
fn live(random: &mut Random) -> Folder {
    let folder = Folder::new();
    let mut store = opening(SHARD_COUNT)
        .open(folder.path())
        .expect("a new file");
    let mut images = Images::of(folder.path());
    for number in 0..1 + random.below(6_000) as u64 {
        let key = format!("key:{}", random.below(500)).into_bytes();
        match random.below(100) {
            0..60 => {
                let len = if random.below(80) == 0 {
                    40_000
                } else {
                    random.below(400)
                };
                let value = vec![random.next().to_le_bytes()[0]; len];
                // What was replaced waits for a round, so that there may be no room.
                if store.set(&key, &value).is_err() {
                    sync(&mut store, &mut images);
                }
            }
            60..90 => {
                let _ = store.remove(&key);
            }
            90..95 => transact(&mut store, &key, number + 1, random),
            95 => change_piece(&mut store, random),
            96 if random.below(60) == 0 => {
                let shard = random.below(SHARD_COUNT);
                store.shards[shard].clear().expect("room");
            }
            97 if random.below(8) == 0 => sync(&mut store, &mut images),
            _ => {
                store.shard(&key).background(1 << 20);
            }
        }
    }
    let left = Folder::new();
    images.write(random, left.path());
    left
}

/// A round, and what it brings.
fn sync(store: &mut Store, images: &mut Images) {
    images.note();
    store.region.sync().expect("a disk");
    images.synced();
    for shard in &mut store.shards {
        shard.background(1 << 20);
    }
}

fn transact(store: &mut Store, key: &[u8], number: u64, random: &mut Random) {
    let opened = store.region.rounds().open_transaction(0);
    store.shard(key).begin_transaction(number);
    let is_set = store.set(key, b"of a transaction").is_ok();
    let count = store.shard(key).end_transaction();
    if is_set && random.below(4) > 0 {
        store.shards[0].append_commit(number, count).expect("room");
        store.region.rounds().close_transaction(0, opened);
    } else {
        store.region.rounds().close_uncommitted(0, opened);
    }
}

fn change_piece(store: &mut Store, random: &mut Random) {
    let offset = random.below(PIECED_LEN);
    let shard = store.shard(b"pieces");
    let key = shard.key(b"pieces");
    if shard.find(key, 0).is_none() {
        let _ = store.set(b"pieces", &vec![1; PIECED_LEN]);
        return;
    }
    // What was replaced waits for a round, so that there may be no room.
    let _ = shard.write_range(key, offset, &[random.next().to_le_bytes()[0]], 0);
}

fn copy(from: &Path) -> Folder {
    let folder = Folder::new();
    Images::of(from).write(&mut Random(0), folder.path());
    folder
}

/// Flips a bit in some places that hold something. False: none does.
fn damage(folder: &Path, random: &mut Random) -> bool {
    let path = folder.join("coremap.data");
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("a data file");
    let mut ranges = Vec::new();
    // Behind the header: what is damaged there may leave nothing to open.
    let mut offset = 256 << 10;
    while let Some(range) = coremap::sys::next_data(&file, offset).expect("open") {
        offset = range.end;
        ranges.push(range);
    }
    if ranges.is_empty() {
        return false;
    }
    for _ in 0..1 + random.below(3) {
        let range = &ranges[random.below(ranges.len())];
        let len = usize::try_from(range.end - range.start).expect("small");
        let at = range.start + random.below(len) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("there");
        byte[0] ^= 1 << random.below(8);
        file.write_all_at(&byte, at).expect("room");
    }
    true
}

/// Starts with `opening` and loses power at every sync of that; one of the starts after that loses it at
/// every sync as well.
fn lose_power_within(opening: Opening, folder: &Path, random: &mut Random) -> usize {
    let (expected, left) = open_watched(opening, copy(folder).path(), random.next());
    let is_as_expected = |image: &Folder| {
        let store = opening.open(image.path());
        store.expect("a power loss is no damage").content() == expected
    };
    let twice = &left[random.below(left.len())];
    let (content, left_again) = open_watched(opening, twice.path(), random.next());
    assert!(content == expected, "after a start that was cut short");
    assert!(left.iter().all(is_as_expected), "after another one");
    assert!(left_again.iter().all(is_as_expected), "after two");
    left.len() + left_again.len()
}

#[test]
fn a_power_loss_during_recovery_takes_nothing() {
    let mut random = Random(seed());
    let mut image_count = 0;
    for _ in 0..scale(4, 300) {
        let folder = live(&mut random);
        image_count += lose_power_within(opening(SHARD_COUNT), folder.path(), &mut random);
    }
    tell_tried(&format!("{image_count} images of recoveries cut short"));
}

#[test]
fn a_power_loss_while_the_number_of_shards_changes_takes_nothing() {
    let mut random = Random(seed());
    let mut image_count = 0;
    for _ in 0..scale(1, 100) {
        let folder = live(&mut random);
        for shard_count in [1, 3] {
            let opening = opening(shard_count);
            image_count += lose_power_within(opening, folder.path(), &mut random);
        }
    }
    tell_tried(&format!("{image_count} images of re-splits cut short"));
}

#[test]
fn a_power_loss_while_damage_is_salvaged_takes_nothing_that_was_intact() {
    let mut random = Random(seed());
    let (mut image_count, mut damaged_count) = (0, 0);
    while damaged_count < scale(1, 100) {
        let folder = live(&mut random);
        // Of a short life a power loss may leave nothing.
        if !damage(folder.path(), &mut random) {
            continue;
        }
        damaged_count += 1;
        for shard_count in [SHARD_COUNT, 1] {
            let opening = opening(shard_count).salvaging();
            image_count += lose_power_within(opening, folder.path(), &mut random);
        }
    }
    tell_tried(&format!("{image_count} images of salvages cut short"));
}
