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

/// Adds a large value of which a piece was changed.
fn add_pieces(folder: &Path) {
    let mut store = opening().open(folder).expect("an undamaged file");
    let key = b"key:0900";
    store.set(key, &key.repeat(5 << 15)).expect("room");
    let shard = store.shard(key);
    let changed = shard.write_range(shard.key(key), 1 << 20, b"changed", 0);
    assert!(changed.is_ok());
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

/// A reference to a run in a file: where its record is, and the record.
type Found = (u64, Vec<u8>);

/// The records of large values that a file holds, live or not: eight bytes of key, no expiry, and a
/// reference of 24 bytes and 16 for each piece elsewhere.
fn references(folder: &Path, ranges: &[std::ops::Range<u64>]) -> Vec<Found> {
    let file = File::open(folder.join("coremap.data")).expect("a data file");
    let mut found = Vec::new();
    for range in ranges {
        let len = usize::try_from(range.end - range.start).expect("small");
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, range.start).expect("there");
        for at in (0..len.saturating_sub(40)).step_by(8) {
            let value_len = usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]));
            let is_large = bytes[at + 4] & 0b1011_1111 == 2 && bytes[at + 5] == 8;
            let end = at + 16 + value_len;
            let has_key = bytes[at + 8..].starts_with(b"key:");
            if is_large && has_key && value_len >= 24 && value_len % 16 == 8 && end <= len {
                found.push((range.start + at as u64, bytes[at..end].to_vec()));
            }
        }
    }
    found
}

/// Writes a record with another reference, its check as it has to be: checksums are linear, so that
/// nobody needs to know what they are mixed with.
fn forge(folder: &Path, found: &Found, change: impl FnOnce(&mut [u8])) {
    let (at, before) = found;
    let mut after = before.clone();
    change(&mut after[16..]);
    let check = u32::from_le_bytes(before[..4].try_into().expect("four"));
    let check = check ^ crc32c::crc32c(&before[4..]) ^ crc32c::crc32c(&after[4..]);
    after[..4].copy_from_slice(&check.to_le_bytes());
    let path = folder.join("coremap.data");
    let file = OpenOptions::new().write(true).open(path).expect("there");
    file.write_all_at(&after, *at).expect("room");
}

/// Makes a reference say something else: a word of it is another, a random one, or one like others'.
fn forge_any(folder: &Path, found: &[Found], random: &mut Random) {
    let one = &found[random.below(found.len())];
    let other = &found[random.below(found.len())].1;
    forge(folder, one, |reference| {
        let at = 4 * random.below(reference.len() / 4);
        let word = match random.below(4) {
            0 => random.next().to_le_bytes(),
            1 => (1u64 << random.below(50)).to_le_bytes(),
            2 => u64::MAX.to_le_bytes(),
            _ => other[16..24].try_into().expect("eight"),
        };
        match random.below(3) {
            0 => reference[at..at + 4].copy_from_slice(&word[..4]),
            1 if at + 8 <= reference.len() => reference[at..at + 8].copy_from_slice(&word),
            // The whole reference of another, or a part of it.
            _ => {
                let len = reference.len().min(other.len() - 16);
                let start = if random.below(2) == 0 { 0 } else { 4 };
                reference[start..len].copy_from_slice(&other[16 + start..16 + len]);
            }
        }
    });
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
    is_usable(store, random);
}

/// What is stored is there.
fn is_usable(store: &mut Store, random: &mut Random) {
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

/// Where a file first holds `what`.
fn find(folder: &Path, what: &[u8]) -> Option<u64> {
    let file = File::open(folder.join("coremap.data")).expect("a data file");
    ranges(folder).into_iter().find_map(|range| {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("small")];
        file.read_exact_at(&mut bytes, range.start).expect("there");
        let found = bytes
            .windows(what.len())
            .position(|window| window == what)?;
        Some(range.start + found as u64)
    })
}

/// What was behind a torn record would be found again, should the END in its place be damaged.
#[test]
fn what_a_start_cuts_off_is_in_the_file_no_more() {
    let folder = Folder::new();
    let mut store = opening().open(folder.path()).expect("a new file");
    store.set(b"key", b"the value that stays").expect("room");
    store.region.sync().expect("a disk");
    store.region.sync().expect("a disk");
    for value in [&b"torn"[..], b"behind the torn"] {
        store.set(b"key", value).expect("room");
    }
    drop(store);
    let torn = find(folder.path(), b"torn").expect("written");
    let path = folder.path().join("coremap.data");
    let file = OpenOptions::new().write(true).open(path).expect("there");
    file.write_all_at(b"T", torn).expect("room");
    let mut store = opening().open(folder.path()).expect("a power loss");
    assert_eq!(store.get(b"key"), Some(b"the value that stays".to_vec()));
    assert_eq!(find(folder.path(), b"behind the torn"), None);
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
    let at = find(folder.path(), b"key:0500").expect("the key is in the file");
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

#[test]
fn crafted_references_to_large_values_are_damage_at_most() {
    let mut random = Random(seed());
    let folder = Folder::new();
    make(folder.path(), &mut random);
    add_pieces(folder.path());
    let found = references(folder.path(), &ranges(folder.path()));
    assert!(found.iter().any(|(_, record)| record.len() > 40));
    let mut refused_count = 0;
    for _ in 0..scale(60, 3_000) {
        let image = Folder::new();
        copy(folder.path(), image.path());
        for _ in 0..1 + random.below(3) {
            forge_any(image.path(), &found, &mut random);
        }
        let inspected = opening().inspecting().open(image.path());
        let is_damaged = inspected.map_or(true, |store| !store.report.damage.is_empty());
        let served = opening().open(image.path());
        match served {
            Ok(mut store) => {
                assert!(!is_damaged);
                is_usable(&mut store, &mut random);
            }
            Err(RecoverError::Damaged(_)) => refused_count += 1,
            Err(error) => panic!("{error}"),
        }
        let salvaged = opening().salvaging().open(image.path());
        is_usable(&mut salvaged.expect("the rest"), &mut random);
    }
    assert!(refused_count > 0);
}

/// A closed file with two large values.
fn two_large_values(folder: &Path) -> Vec<Found> {
    let mut store = opening().open(folder).expect("a new file");
    for key in [b"key:0001", b"key:0002"] {
        store.set(key, &[key[7]; 40_000]).expect("room");
    }
    store.region.close_clean().expect("a disk");
    drop(store);
    references(folder, &ranges(folder))
}

#[test]
fn two_large_values_at_one_place_are_both_lost() {
    let folder = Folder::new();
    let found = two_large_values(folder.path());
    let [one, other] = &found[..] else {
        panic!("{found:?}");
    };
    forge(folder.path(), other, |reference| {
        reference[4..24].copy_from_slice(&one.1[20..40]);
    });
    let Err(RecoverError::Damaged(report)) = opening().open(folder.path()).map(|_| ()) else {
        panic!("served");
    };
    assert!(
        report.damage[0].reason.contains("at one place"),
        "{report:?}"
    );
    let salvaged = opening().salvaging().open(folder.path());
    assert!(salvaged.expect("the rest").content().is_empty());
}

/// To look whether it is whole took minutes, or all memory where files lie in it.
#[test]
fn a_value_longer_than_any_can_be_is_damage_that_nobody_reads() {
    let folder = Folder::new();
    let found = two_large_values(folder.path());
    let last = found
        .iter()
        .max_by_key(|(_, record)| record[24..32].to_vec());
    forge(folder.path(), last.expect("two"), |reference| {
        reference[16..24].copy_from_slice(&(600 * MIB).to_le_bytes());
    });
    let Err(RecoverError::Damaged(report)) = opening().open(folder.path()).map(|_| ()) else {
        panic!("served");
    };
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let salvaged = opening().salvaging().open(folder.path());
    assert_eq!(salvaged.expect("the rest").content().len(), 1);
}

#[test]
fn the_number_of_a_run_in_a_file_decides_no_allocation() {
    let folder = Folder::new();
    let found = two_large_values(folder.path());
    let peak_kib = || {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
    };
    let before_kib = peak_kib();
    for (found, number) in found.iter().zip([(1 << 25) - 1, u32::MAX]) {
        forge(folder.path(), found, |reference| {
            reference[..4].copy_from_slice(&number.to_le_bytes());
        });
    }
    let mut store = opening()
        .open(folder.path())
        .expect("nothing is wrong with it");
    assert_eq!(store.content().len(), 2);
    store.set(b"key:0003", &[3; 40_000]).expect("room");
    assert_eq!(store.remove(b"key:0001"), Ok(true));
    assert!(
        peak_kib() < before_kib + (1 << 20),
        "a gigabyte for a number"
    );
}
