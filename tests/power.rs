//! Goal: a power loss takes nothing that was synced, leaves of the rest what was done up to some
//! moment, and of a transaction all or nothing. Method: seeded operations on small shards, with rounds
//! in between; now and then images of the file as a power loss might leave it (`common::images`) are
//! opened. What each shard then holds must be what it held after one of the operations since the last
//! round, less the transactions that are not whole. Now and then life goes on with such an image.
//!
//! A failure prints its seed; `COREMAP_TEST_SEED=n cargo test --test power` repeats it.

mod common;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use common::images::Images;
use common::process::Folder;
use common::store::{Content, Opening, Store};
use common::{Random, scale, seed, tell_tried};
use coremap::shard::OutOfMemory;

const MIB: u64 = 1 << 20;
const SHARD_COUNT: usize = 2;
/// Lives side by side, each with a seed of its own: the machine's cores share the work.
const WORLD_COUNT: u64 = 4;

/// What one operation did to one shard.
#[derive(Clone, Debug)]
struct Effect {
    change: Change,
    /// The transaction it is part of.
    transaction: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Clear,
    /// The transaction is whole.
    Commit,
}

/// What a shard held once, and what was done since.
#[derive(Clone, Default)]
struct History {
    base: Content,
    since: Vec<Effect>,
    /// How much of that is on disk.
    synced_len: usize,
}

/// A part of a transaction.
type Part = Box<dyn Fn(&mut World, u64) -> Result<(), OutOfMemory>>;

struct World {
    random: Random,
    folder: Folder,
    opening: Opening,
    store: Store,
    images: Images,
    histories: [History; SHARD_COUNT],
    next_transaction: u64,
    is_open: bool,
    hashes: RandomState,
    refused_count: u64,
}

#[test]
fn a_power_loss_leaves_what_was_synced_and_a_moment_of_the_rest() {
    let seed = seed();
    let image_count = scale(1_000, 10_000);
    std::thread::scope(|scope| {
        for world in 0..WORLD_COUNT {
            scope.spawn(move || {
                World::new(seed.wrapping_add(world)).live(image_count / WORLD_COUNT);
            });
        }
    });
    tell_tried(&format!("{image_count} images of a power loss"));
}

impl World {
    fn new(seed: u64) -> Self {
        let folder = Folder::new();
        let opening = Opening::new(5 * MIB, SHARD_COUNT);
        let store = opening.open(folder.path()).expect("a new file");
        let images = Images::of(folder.path());
        Self {
            random: Random(seed),
            folder,
            opening,
            store,
            images,
            histories: Default::default(),
            next_transaction: 1,
            is_open: false,
            hashes: RandomState::new(),
            refused_count: 0,
        }
    }

    fn live(mut self, image_count: u64) {
        let mut images_left = image_count;
        while images_left > 0 {
            for _ in 0..self.random.below(120) {
                self.step();
            }
            match self.random.below(4) {
                0 => self.sync(),
                1 => self.images.note(),
                _ => {
                    self.fail_power();
                    images_left -= 1;
                }
            }
            if self.random.below(30) == 0 {
                self.restart();
            }
        }
        println!("{} operations were refused", self.refused_count);
    }

    fn step(&mut self) {
        let key = self.key();
        let done = match self.random.below(100) {
            0..45 => self.set(&key, None),
            45..70 => self.remove(&key, None),
            70..78 => self.set_many(),
            78..84 => self.rename(&key),
            84 => self.clear(),
            _ => {
                let budget_bytes = self.random.below(1 << 18);
                self.store.shard(&key).background(budget_bytes);
                Ok(())
            }
        };
        self.refused_count += u64::from(done.is_err());
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key:{}", self.random.below(400)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(200) {
            0 => 40_000,
            1..4 => 5_000,
            _ => self.random.below(300),
        };
        let number = self.random.next().to_le_bytes();
        number.into_iter().cycle().take(len).collect()
    }

    fn set(&mut self, key: &[u8], transaction: Option<u64>) -> Result<(), OutOfMemory> {
        let value = self.value();
        self.store.set(key, &value)?;
        self.note(key, Change::Set(key.to_vec(), value), transaction);
        Ok(())
    }

    fn remove(&mut self, key: &[u8], transaction: Option<u64>) -> Result<(), OutOfMemory> {
        if self.store.remove(key)? {
            self.note(key, Change::Remove(key.to_vec()), transaction);
        }
        Ok(())
    }

    fn note(&mut self, key: &[u8], change: Change, transaction: Option<u64>) {
        let shard = self.store.shard_of(key);
        let effect = Effect {
            change,
            transaction,
        };
        self.histories[shard].since.push(effect);
    }

    /// Runs `parts` as a transaction, with rounds, images and other operations in the middle of it.
    fn transact(&mut self, parts: Vec<Part>) -> Result<(), OutOfMemory> {
        let lane = u16::try_from(self.random.below(2)).expect("a bit");
        let number = self.next_transaction;
        self.next_transaction += 1;
        let opened = self.store.region.rounds().open_transaction(lane);
        self.is_open = true;
        let mut member_count = 0;
        for part in parts {
            self.store
                .shards
                .iter_mut()
                .for_each(|shard| shard.begin_transaction(number));
            let done = part(self, number);
            let counts = self
                .store
                .shards
                .iter_mut()
                .map(coremap::shard::Shard::end_transaction);
            member_count += counts.sum::<u64>();
            done.expect("room is kept in this test");
            match self.random.below(12) {
                0 => self.sync(),
                1 => self.fail_power(),
                2 => {
                    let key = self.key();
                    let _ = self.set(&key, None);
                }
                _ => {}
            }
        }
        let shard = usize::from(lane);
        self.store.shards[shard].append_commit(number, member_count)?;
        self.histories[shard].since.push(Effect {
            change: Change::Commit,
            transaction: Some(number),
        });
        self.store.region.rounds().close_transaction(lane, opened);
        self.is_open = false;
        Ok(())
    }

    fn set_many(&mut self) -> Result<(), OutOfMemory> {
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let key = self.key();
            parts.push(Box::new(move |world, number| world.set(&key, Some(number))));
        }
        self.transact(parts)
    }

    fn rename(&mut self, source: &[u8]) -> Result<(), OutOfMemory> {
        let target = self.key();
        let same = self.store.shard_of(source) == self.store.shard_of(&target);
        if !same || source == target || self.store.get(source).is_none() {
            return Ok(());
        }
        let source = source.to_vec();
        self.transact(vec![Box::new(move |world, number| {
            let value = world.store.get(&source).unwrap_or_default();
            let shard = world.store.shard(&source);
            let [from, to] = [&source, &target].map(|key| shard.key(key));
            if shard.rename(from, to, 0)? {
                world.note(&target, Change::Set(target.clone(), value), Some(number));
                world.note(&source, Change::Remove(source.clone()), Some(number));
            }
            Ok(())
        })])
    }

    fn clear(&mut self) -> Result<(), OutOfMemory> {
        if self.random.below(30) > 0 {
            return Ok(());
        }
        let part = |shard: usize| -> Part {
            Box::new(move |world, number| {
                world.store.shards[shard].clear()?;
                world.histories[shard].since.push(Effect {
                    change: Change::Clear,
                    transaction: Some(number),
                });
                Ok(())
            })
        };
        self.transact((0..SHARD_COUNT).map(part).collect())
    }

    fn sync(&mut self) {
        self.images.note();
        self.store.region.sync().expect("a disk");
        self.images.synced();
        for shard in 0..SHARD_COUNT {
            self.histories[shard].settle(self.is_open);
        }
    }

    /// Goes on with what a power loss leaves.
    fn restart(&mut self) {
        let image = Folder::new();
        self.images.write(&mut self.random, image.path());
        self.store = self
            .opening
            .open(image.path())
            .expect("a power loss is no damage");
        self.images = Images::of(image.path());
        for shard in 0..SHARD_COUNT {
            let base = self.store.content_of(shard);
            self.histories[shard] = History {
                base,
                ..History::default()
            };
        }
        self.folder = image;
    }

    /// Opens what may be left if the power failed now.
    fn fail_power(&mut self) {
        let image = Folder::new();
        self.images.write(&mut self.random, image.path());
        let mut store = self
            .opening
            .open(image.path())
            .expect("a power loss is no damage");
        let left: Vec<Content> = (0..SHARD_COUNT)
            .map(|shard| store.content_of(shard))
            .collect();
        self.check(&left);
        drop(store);
        let mut store = self.opening.open(image.path()).expect("nor is a kill");
        for (shard, left) in left.iter().enumerate() {
            assert!(store.content_of(shard) == *left, "a second start differs");
        }
    }

    /// Each shard holds what it held at some moment, transactions that are not whole left out.
    fn check(&self, left: &[Content]) {
        let wanted: Vec<u64> = left.iter().map(|content| self.hash_of(content)).collect();
        let ends = self.ends_of_transactions();
        // Which transactions are whole depends only on which of their ends each shard has reached.
        let mut tried = BTreeSet::new();
        for reached in ends.values().chain([&[0, 0], &[usize::MAX, usize::MAX]]) {
            for other in ends.values().chain([&[0, 0], &[usize::MAX, usize::MAX]]) {
                let lost = lost_at(&ends, [reached[0], other[1]]);
                if !tried.insert(lost.clone()) {
                    continue;
                }
                let moments = [0, 1].map(|shard| {
                    self.histories[shard].moments_like(wanted[shard], &lost, &self.hashes)
                });
                let pairs = moments[0]
                    .iter()
                    .flat_map(|&one| moments[1].iter().map(move |&two| [one, two]));
                if pairs.into_iter().any(|pair| lost_at(&ends, pair) == lost) {
                    return;
                }
            }
        }
        panic!("no moment explains what is left");
    }

    /// How much of each shard's history a transaction needs; those that are open need more than
    /// there is.
    fn ends_of_transactions(&self) -> BTreeMap<u64, [usize; SHARD_COUNT]> {
        let mut ends: BTreeMap<u64, [usize; SHARD_COUNT]> = BTreeMap::new();
        let mut committed = BTreeSet::new();
        for (shard, history) in self.histories.iter().enumerate() {
            for (index, effect) in history.since.iter().enumerate() {
                if let Some(number) = effect.transaction {
                    ends.entry(number).or_default()[shard] = index + 1;
                    if matches!(effect.change, Change::Commit) {
                        committed.insert(number);
                    }
                }
            }
        }
        for (number, ends) in &mut ends {
            if !committed.contains(number) {
                ends[0] = usize::MAX;
            }
        }
        ends
    }

    fn hash_of(&self, content: &Content) -> u64 {
        let hashes = content
            .iter()
            .map(|(key, value)| hash_of_pair(&self.hashes, key, value));
        hashes.fold(0, |sum, hash| sum ^ hash)
    }
}

impl History {
    /// All so far is on disk; it is the base of what comes when no transaction is open.
    fn settle(&mut self, is_open: bool) {
        self.synced_len = self.since.len();
        if is_open {
            return;
        }
        for effect in self.since.drain(..) {
            effect.change.apply(&mut self.base);
        }
        self.synced_len = 0;
    }

    /// How many effects lead to content of this hash, if those of lost transactions are left out.
    fn moments_like(&self, wanted: u64, lost: &BTreeSet<u64>, hashes: &RandomState) -> Vec<usize> {
        let mut content = self.base.clone();
        let of = |content: &Content, key: &Vec<u8>| {
            content
                .get(key)
                .map_or(0, |value| hash_of_pair(hashes, key, value))
        };
        let pairs = content
            .iter()
            .map(|(key, value)| hash_of_pair(hashes, key, value));
        let mut hash = pairs.fold(0, |sum, hash| sum ^ hash);
        let mut moments = Vec::new();
        for index in 0..=self.since.len() {
            if index >= self.synced_len && hash == wanted {
                moments.push(index);
            }
            let Some(effect) = self.since.get(index) else {
                break;
            };
            if effect
                .transaction
                .is_some_and(|number| lost.contains(&number))
            {
                continue;
            }
            match &effect.change {
                Change::Set(key, _) | Change::Remove(key) => {
                    hash ^= of(&content, key);
                    effect.change.apply(&mut content);
                    hash ^= of(&content, key);
                }
                Change::Clear => {
                    content.clear();
                    hash = 0;
                }
                Change::Commit => {}
            }
        }
        moments
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Set(key, value) => {
                content.insert(key.clone(), value.clone());
            }
            Self::Remove(key) => {
                content.remove(key);
            }
            Self::Clear => content.clear(),
            Self::Commit => {}
        }
    }
}

/// The transactions that are not whole when each shard has reached a moment.
fn lost_at(
    ends: &BTreeMap<u64, [usize; SHARD_COUNT]>,
    reached: [usize; SHARD_COUNT],
) -> BTreeSet<u64> {
    let is_lost = |ends: &[usize; SHARD_COUNT]| {
        ends[0] == usize::MAX || ends[0] > reached[0] || ends[1] > reached[1]
    };
    let lost = ends.iter().filter(|(_, ends)| is_lost(ends));
    lost.map(|(&number, _)| number).collect()
}

fn hash_of_pair(hashes: &RandomState, key: &[u8], value: &[u8]) -> u64 {
    hashes.hash_one((key, value))
}
