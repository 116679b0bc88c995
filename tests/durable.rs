//! Goal: what a shard in a file has written is there after a crash, and nothing else. Method: a
//! process that is killed leaves the file as its stores have made it, so dropping a region and
//! opening its folder again is a kill; rounds run where the test says so.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::Random;
use coremap::hash::{Hasher, cluster_slot, shard_of_slot};
use coremap::region::{Access, FileOptions, Region, RegionOptions};
use coremap::shard::{Attributes, Mode, Progress, RecoverError, Report, Shard, recover};

const MIB: u64 = 1 << 20;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("coremap-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The shards of one region in a file.
struct Store {
    region: Arc<Region>,
    shards: Vec<Shard>,
    report: Report,
}

fn options(maxmemory_bytes: u64, shard_count: usize, access: Access) -> FileOptions {
    let region = RegionOptions {
        maxmemory_bytes,
        shard_count,
    };
    FileOptions {
        capacity_bytes: Some(maxmemory_bytes),
        secret: Some(7),
        ..FileOptions::new(region, access)
    }
}

impl Store {
    fn open(folder: &Path, maxmemory_bytes: u64, shard_count: usize) -> Self {
        Self::try_open(
            folder,
            options(maxmemory_bytes, shard_count, Access::Serve),
            Mode::Refuse,
        )
        .expect("an undamaged file")
    }

    fn try_open(folder: &Path, options: FileOptions, mode: Mode) -> Result<Self, RecoverError> {
        let (region, found) = Region::open(folder, options).expect("a file");
        let region = Arc::new(region);
        let hasher = Hasher::new([1, 2, 3, 4]);
        let (shards, report) = recover(&region, &found, &hasher, &Progress::default(), mode)?;
        Ok(Self {
            region,
            shards,
            report,
        })
    }

    fn shard(&mut self, key: &[u8]) -> &mut Shard {
        let count = u16::try_from(self.shards.len()).expect("few shards");
        &mut self.shards[usize::from(shard_of_slot(cluster_slot(key), count))]
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let shard = self.shard(key);
        let stored = shard.store(shard.key(key), value, Attributes::default(), 0);
        stored.expect("room");
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard(key);
        shard
            .find(shard.key(key), 0)
            .map(|value| value.bytes.to_vec())
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let shard = self.shard(key);
        shard.remove(shard.key(key), 0).expect("room")
    }

    /// Everything there is.
    fn content(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut content = BTreeMap::new();
        for shard in &mut self.shards {
            let mut cursor = 0;
            loop {
                cursor = shard.scan(cursor, 1000, 0, &mut |key, value| {
                    content.insert(key.to_vec(), value.bytes.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            let counted = u64::try_from(content.len()).expect("few keys");
            assert!(counted >= shard.len());
        }
        content
    }
}

#[test]
fn what_was_written_is_there_after_a_kill() {
    let folder = Folder::new("kill");
    let mut store = Store::open(&folder.0, 64 * MIB, 2);
    for number in 0..20_000u32 {
        store.set(format!("key:{number}").as_bytes(), &number.to_le_bytes());
    }
    for number in (0..20_000u32).step_by(3) {
        assert!(store.remove(format!("key:{number}").as_bytes()));
    }
    store.set(b"large", &vec![9; 3 << 20]);
    let before = store.content();
    drop(store);
    let mut store = Store::open(&folder.0, 64 * MIB, 2);
    println!("{:?}", store.report);
    assert!(store.content() == before);
    assert_eq!(store.report.key_count, before.len() as u64);
    assert_eq!(store.get(b"key:3"), None);
    store.set(b"key:3", b"again");
    drop(store);
    let mut store = Store::open(&folder.0, 64 * MIB, 2);
    assert_eq!(store.get(b"key:3").as_deref(), Some(&b"again"[..]));
    assert_eq!(store.content().len(), before.len() + 1);
}

/// A long life with crashes: after each, everything is as it was.
fn live(folder: &Path, maxmemory_bytes: u64, shard_count: usize, seed: u64, rounds: u32) {
    println!("SEED={seed}");
    let mut random = Random(seed);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut store = Store::open(folder, maxmemory_bytes, shard_count);
    for round in 0..rounds {
        for _ in 0..random.below(20_000) {
            let key = format!("key:{}", random.below(3_000)).into_bytes();
            match random.below(100) {
                0..55 => {
                    let is_large = random.below(2_000) == 0;
                    let len = if is_large { 300_000 } else { random.below(400) };
                    let value = vec![random.next().to_le_bytes()[0]; usize::try_from(len).unwrap()];
                    store.set(&key, &value);
                    model.insert(key, value);
                }
                55..95 => {
                    assert_eq!(store.remove(&key), model.remove(&key).is_some());
                }
                95..98 => {
                    let shard = store.shard(&key);
                    shard.background(1 << 20);
                }
                98 => {
                    store.region.sync().expect("a disk");
                }
                _ => {
                    if random.below(400) == 0 {
                        for shard in &mut store.shards {
                            shard.clear().expect("room");
                        }
                        model.clear();
                    }
                }
            }
        }
        assert!(store.content() == model, "before crash {round}");
        let stats: Vec<_> = store.shards.iter().map(Shard::stats).collect();
        drop(store);
        store = Store::open(folder, maxmemory_bytes, shard_count);
        println!("{round}: {:?}\n{stats:?}", store.report);
        assert!(store.content() == model, "after crash {round}");
        for (shard, before) in store.shards.iter().zip(&stats) {
            assert_eq!(shard.stats().key_count, before.key_count);
            assert_eq!(shard.stats().large_value_count, before.large_value_count);
        }
    }
}

#[test]
fn a_shard_that_compacts_and_crashes_again_and_again_loses_nothing() {
    let folder = Folder::new("again");
    live(&folder.0, 24 * MIB, 1, 11, 20);
}

#[test]
fn two_shards_that_crash_again_and_again_lose_nothing() {
    let folder = Folder::new("two");
    live(&folder.0, 32 * MIB, 2, 12, 12);
}
