//! Power losses, as far as the region itself promises something: images of a file while blocks are
//! taken, assigned, returned and used again, opened as a restart would.
//!
//! Promised of every image: it opens without damage; no block that was synced and not given up is
//! missing; synced positions never fall back; and from the synced position on, no place in a log is
//! missing that was synced, which recovery would take for the log's end.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use common::images::Images;
use common::process::Folder;
use common::{Random, scale, seed};
use coremap::limits::{KIB, MIB};
use coremap::region::{Access, BlockIndex, FileOptions, Found, Region, RegionOptions};

const BLOCK_LEN_BYTES: u64 = 256 * KIB as u64;
/// Enough that a superblock takes more than one sector.
const SHARD_COUNT: u16 = 20;
/// Shards that are written to: of the first and of the last sector.
const BUSY_SHARDS: [u16; 2] = [0, SHARD_COUNT - 1];

/// A region in use, and what must be true of every image of its file.
struct World {
    region: Region,
    images: Images,
    folder: Folder,
    shards: [Shard; SHARD_COUNT as usize],
    limbo: VecDeque<(u64, BlockIndex)>,
    /// As of the last sync.
    promised: Promise,
}

#[derive(Clone, Default)]
struct Shard {
    sequence: u64,
    blocks: VecDeque<(BlockIndex, u64)>,
}

#[derive(Clone, Default)]
struct Promise {
    /// Blocks that are on disk, by owner and sequence.
    blocks: BTreeMap<(u16, u64), BlockIndex>,
    /// Highest sequence on disk, by owner.
    sequences: Vec<u64>,
    /// Positions on disk, and those that the superblock on disk tells.
    positions: Vec<u64>,
    told: Vec<u64>,
}

fn options() -> FileOptions {
    let region = RegionOptions {
        maxmemory_bytes: 20 * MIB as u64,
        shard_count: usize::from(SHARD_COUNT),
    };
    FileOptions {
        capacity_bytes: Some(20 * MIB as u64),
        secret: Some(7),
        ..FileOptions::new(region, Access::Serve)
    }
}

fn open(folder: &Path) -> (Region, Found) {
    Region::open(folder, options()).expect("a power loss is no damage")
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        let (region, _) = open(folder.path());
        region.finish_recovery().expect("a disk in order");
        let images = Images::of(folder.path());
        Self {
            region,
            images,
            folder,
            shards: Default::default(),
            limbo: VecDeque::new(),
            promised: Promise {
                sequences: vec![0; usize::from(SHARD_COUNT)],
                positions: vec![0; usize::from(SHARD_COUNT)],
                told: vec![0; usize::from(SHARD_COUNT)],
                ..Promise::default()
            },
        }
    }

    fn step(&mut self, random: &mut Random) {
        let owner = random.pick(&BUSY_SHARDS);
        match random.next() % 8 {
            0..=3 => self.assign(owner),
            4..=5 => self.retire(owner),
            6 => self.give_back(),
            _ => self.sync(random),
        }
        if random.next().is_multiple_of(4) {
            self.images.note();
        }
    }

    fn assign(&mut self, owner: u16) {
        let Some(block) = self.region.take_block() else {
            return;
        };
        let shard = &mut self.shards[usize::from(owner)];
        shard.sequence += 1;
        self.region.assign_block(block, owner, shard.sequence);
        shard.blocks.push_back((block, shard.sequence));
        let position = shard.sequence * BLOCK_LEN_BYTES + 8;
        self.region.rounds().publish(owner, position);
    }

    /// Gives up a shard's oldest block but one: the last is being written.
    fn retire(&mut self, owner: u16) {
        let shard = &mut self.shards[usize::from(owner)];
        if shard.blocks.len() > 1 {
            let (block, sequence) = shard.blocks.pop_front().expect("two or more");
            self.promised.blocks.remove(&(owner, sequence));
            let round = self.region.rounds().needed();
            self.limbo.push_back((round, block));
        }
    }

    fn give_back(&mut self) {
        let rounds = self.region.rounds();
        while let Some(&(round, block)) = self.limbo.front() {
            if !rounds.is_durable(round) {
                return;
            }
            self.limbo.pop_front();
            self.region.return_block(block);
        }
    }

    fn sync(&mut self, random: &mut Random) {
        self.region.sync().expect("a disk in order");
        if random.next().is_multiple_of(4) {
            // As if it had not yet returned: the superblock is among what is written.
            self.lose_power(random);
        }
        self.images.synced();
        let promised = &mut self.promised;
        promised.told = std::mem::take(&mut promised.positions);
        for (owner, shard) in (0..).zip(&self.shards) {
            let blocks = shard.blocks.iter();
            promised
                .blocks
                .extend(blocks.map(|&(block, sequence)| ((owner, sequence), block)));
            promised.sequences[usize::from(owner)] = shard.sequence;
            let position = if shard.sequence == 0 {
                0
            } else {
                shard.sequence * BLOCK_LEN_BYTES + 8
            };
            promised.positions.push(position);
        }
    }

    /// Opens what a power loss might leave, and once more what is left when that start is cut short.
    fn lose_power(&mut self, random: &mut Random) {
        let folder = Folder::new();
        self.images.write(random, folder.path());
        let mut restarted = Images::of(folder.path());
        let (region, found) = open(folder.path());
        self.check(&found);
        if random.next().is_multiple_of(2) {
            return;
        }
        drop(region);
        let second = Folder::new();
        restarted.write(random, second.path());
        let (_region, found) = open(second.path());
        self.check(&found);
    }

    fn check(&self, found: &Found) {
        assert_eq!(found.bad_entries, []);
        assert!(found.bad_superblock_count <= 1);
        assert!(!found.is_clean);
        let used = found.blocks.iter().filter(|found| !found.is_freed);
        let used: BTreeMap<_, _> = used
            .map(|found| ((found.owner, found.sequence), found.block))
            .collect();
        for (place, block) in &self.promised.blocks {
            assert_eq!(used.get(place), Some(block), "block {place:?}");
        }
        for owner in 0..SHARD_COUNT {
            let index = usize::from(owner);
            assert!(found.synced[index] >= self.promised.told[index]);
            let first = found.synced[index] / BLOCK_LEN_BYTES;
            for sequence in first.max(1)..=self.promised.sequences[index] {
                let mut places = found.blocks.iter();
                let is_there =
                    places.any(|found| found.owner == owner && found.sequence == sequence);
                assert!(is_there, "a gap at block {sequence} of shard {owner}");
            }
        }
    }
}

#[test]
fn no_power_loss_makes_a_gap_in_a_log_or_takes_back_what_was_synced() {
    let first_seed = seed();
    for seed in first_seed..first_seed.saturating_add(scale(20, 400)) {
        println!("image of COREMAP_TEST_SEED={seed}");
        let mut random = Random(seed);
        let mut world = World::new();
        for _ in 0..8 {
            for _ in 0..random.below(80) {
                world.step(&mut random);
            }
            world.lose_power(&mut random);
        }
        drop(world.folder);
    }
}
