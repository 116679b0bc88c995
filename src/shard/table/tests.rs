//! The table alone: keys are 64-bit hashes, and a key's location stands for the key itself.

use std::collections::BTreeMap;

use super::*;
use crate::limits::MIB;
use crate::region::RegionOptions;

struct Fixture {
    table: Table,
    limbo: Limbo,
    /// What the table should hold: the hash of each location's key.
    keys: BTreeMap<u64, u64>,
    seed: u64,
}

impl Fixture {
    fn new() -> Self {
        let options = RegionOptions {
            maxmemory_bytes: 256 * MIB as u64,
            shard_count: 1,
        };
        let region = Arc::new(Region::anonymous(options).expect("a small region"));
        let table = Table::new(region, 0).expect("a first segment");
        Self {
            table,
            limbo: Limbo::default(),
            keys: BTreeMap::new(),
            seed: 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.seed ^ self.seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB)
    }

    /// Inserts a key of this hash; true if a segment had to split for it.
    fn insert(&mut self, hash: u64) -> bool {
        let number = self.keys.len() as u64 + 1;
        self.keys.insert(number, hash);
        let hash = KeyHash::from_bits(hash);
        let has_split = self.table.is_crowded(hash) || self.table.vacancy(hash).is_none();
        if has_split {
            self.table
                .split(hash, &mut self.limbo)
                .expect("256 MiB are enough");
        }
        let place = self.table.vacancy(hash).expect("a split makes room");
        self.table.insert(
            place,
            Slot::new(hash.tag(), Location::from_offset(number * 8)),
        );
        has_split
    }

    fn place_of(&self, number: u64, hash: u64) -> Option<Place> {
        let location = Location::from_offset(number * 8);
        let hash = KeyHash::from_bits(hash);
        let found = self
            .table
            .find(Probe::of(hash), |candidate| candidate == location)
            .map(|found| found.0);
        assert_eq!(found, self.table.find_location(hash, location));
        found
    }

    fn check_all(&self) {
        for (&number, &hash) in &self.keys {
            assert!(
                self.place_of(number, hash).is_some(),
                "key {number}, hash {hash:x}"
            );
        }
    }

    fn drain_limbo(&mut self) {
        let region = Arc::clone(&self.table.region);
        while let Some((_, retired)) = self.limbo.pop_free(&region, 0) {
            if let Retired::Segment(segment) = retired {
                self.table.return_segment(segment);
            }
        }
    }
}

#[test]
fn every_key_is_found_after_many_splits() {
    let mut fixture = Fixture::new();
    for _ in 0..200_000 {
        let hash = fixture.random();
        fixture.insert(hash);
    }
    fixture.drain_limbo();
    fixture.check_all();
    assert!(fixture.table.split_count > 10);
    assert_eq!(fixture.table.segment_count, fixture.table.split_count + 1);
    assert!(fixture.place_of(1 << 30, 12345).is_none());
}

#[test]
fn segments_split_between_the_thresholds() {
    let mut fixture = Fixture::new();
    let (mut loads, mut since) = (Vec::new(), 0);
    for _ in 0..16_000 {
        let hash = fixture.random();
        if fixture.insert(hash) {
            loads.push(since);
        }
        since += 1;
    }
    let share = f64::from(loads[0]) / HOME_SLOT_COUNT as f64;
    assert!((0.73..0.88).contains(&share), "{share}");
}

#[test]
fn keys_of_one_bucket_overflow_into_the_stash_and_then_split() {
    let mut fixture = Fixture::new();
    // One home bucket and one other: 16 slots, 32 more in the stash, then only a split helps.
    for tag in 0..48u64 {
        assert!(!fixture.insert(tag << 59 | tag << 40), "key {tag}");
    }
    assert!(fixture.table.entry_at(0).has_stash());
    fixture.check_all();
    assert!(fixture.insert(1 << 63));
    fixture.check_all();
    for (&number, &hash) in &fixture.keys.clone() {
        let place = fixture.place_of(number, hash).expect("it is there");
        fixture.table.remove(place);
    }
    assert!(!fixture.table.entry_at(0).has_stash());
    assert!(
        fixture
            .table
            .loads
            .iter()
            .all(|load| load.slots == 0 && load.stash == 0)
    );
}

#[test]
fn nearly_empty_neighbours_merge_back_into_one() {
    let mut fixture = Fixture::new();
    for _ in 0..100_000 {
        let hash = fixture.random();
        fixture.insert(hash);
    }
    let gone: Vec<(u64, u64)> = fixture
        .keys
        .iter()
        .filter(|key| key.0 % 50 != 0)
        .map(|key| (*key.0, *key.1))
        .collect();
    for (number, hash) in gone {
        let place = fixture.place_of(number, hash).expect("it is there");
        fixture.table.remove(place);
        fixture.keys.remove(&number);
    }
    let mut has_merged = true;
    while has_merged {
        has_merged = false;
        for index in 0..1usize << fixture.table.depth() {
            has_merged |= fixture.table.merge(index, &mut fixture.limbo);
        }
    }
    fixture.drain_limbo();
    assert_eq!(fixture.table.segment_count, 1);
    assert_eq!(
        usize::from(fixture.table.loads[0].slots),
        fixture.keys.len()
    );
    fixture.check_all();
}

#[test]
fn a_split_leaves_the_old_segment_as_it_was_until_readers_are_gone() {
    let mut fixture = Fixture::new();
    for _ in 0..1000 {
        let hash = fixture.random();
        fixture.insert(hash);
    }
    let old = fixture.table.entry_at(0).segment();
    let before: Vec<Bucket> = (0..BUCKET_COUNT)
        .map(|bucket| fixture.table.bucket(old, bucket))
        .collect();
    let hash = KeyHash::from_bits(fixture.random());
    fixture
        .table
        .split(hash, &mut fixture.limbo)
        .expect("256 MiB are enough");
    assert_ne!(fixture.table.entry_at(0).segment(), old);
    for (bucket, slots) in (0..BUCKET_COUNT).zip(before) {
        assert_eq!(fixture.table.bucket(old, bucket), slots);
    }
    fixture.check_all();
}
