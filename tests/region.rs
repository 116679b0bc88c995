//! The data file as its users meet it: what is found again, what is refused, and in which words.
//!
//! Goal: every row of the table in `region::file`, and the life of a block over restarts. Method:
//! small files in folders of their own, changed from outside at the offsets of docs/FORMAT.md.

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use common::process::Folder;
use coremap::error::Error;
use coremap::limits::{KIB, MIB};
use coremap::region::{Access, FileOptions, Found, Region, RegionOptions};

const BLOCK_LEN_BYTES: u64 = 256 * KIB as u64;
const ENTRIES_AT: u64 = 128 * KIB as u64;
const COPY_STRIDE_BYTES: u64 = 64 * KIB as u64;

/// A folder with a data file, or without one yet.
struct Store(Folder);

impl Store {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn options(shard_count: usize, access: Access) -> FileOptions {
        FileOptions {
            capacity_bytes: Some(4 * MIB as u64),
            secret: Some(7),
            ..FileOptions::new(
                RegionOptions {
                    maxmemory_bytes: 4 * MIB as u64,
                    shard_count,
                },
                access,
            )
        }
    }

    fn try_open(&self, access: Access) -> Result<(Region, Found), Error> {
        Region::open(self.0.path(), Self::options(2, access))
    }

    fn open(&self) -> (Region, Found) {
        self.try_open(Access::Serve).expect("a file in order")
    }

    /// Opens and goes on as recovery of an intact file would.
    fn serve(&self) -> (Region, Found) {
        let (region, found) = self.open();
        region.finish_recovery().expect("a disk in order");
        (region, found)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("coremap.data")
    }

    fn file(&self) -> File {
        let file = OpenOptions::new().read(true).write(true).open(self.path());
        file.expect("the data file")
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.file().write_all_at(bytes, offset).expect("writable");
    }

    fn byte(&self, offset: u64) -> u8 {
        let mut byte = [0];
        self.file()
            .read_exact_at(&mut byte, offset)
            .expect("readable");
        byte[0]
    }

    fn flip(&self, offset: u64) {
        self.write(offset, &[self.byte(offset) ^ 0x10]);
    }

    /// The message that opening ends with.
    fn refusal(&self) -> String {
        let error = self.try_open(Access::Serve).expect_err("a refusal");
        assert_eq!(error.exit_code(), 1);
        error.to_string()
    }
}

/// What was found of each block: owner, sequence, freed.
fn blocks(found: &Found) -> Vec<(u16, u64, bool)> {
    let blocks = found.blocks.iter();
    blocks
        .map(|block| (block.owner, block.sequence, block.is_freed))
        .collect()
}

#[test]
fn a_new_file_is_empty_private_and_found_again() {
    let store = Store::new();
    let (region, found) = store.serve();
    assert!(region.is_durable());
    assert!(found.is_new);
    assert_eq!(found.synced, [0, 0]);
    let rights = fs::metadata(store.path()).expect("made").permissions();
    assert_eq!(rights.mode() & 0o777, 0o600);
    drop(region);
    let (_region, found) = store.serve();
    assert!(!found.is_new);
    assert!(!found.is_clean, "nobody closed it");
    assert_eq!(found.blocks, []);
    assert_eq!(found.bad_superblock_count, 0);
}

#[test]
fn bytes_and_owners_of_blocks_survive_a_process_that_never_synced() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_block().expect("room");
    region.assign_block(block, 1, 1);
    let offset = region.block_start(block);
    let position = region.position_of(offset + 8);
    assert_eq!(position, BLOCK_LEN_BYTES + 8);
    let seal = region.block_seal(block);
    store.write(offset, b"value");
    drop(region);
    let (region, found) = store.open();
    assert_eq!(blocks(&found), [(1, 1, false)]);
    assert_eq!(found.blocks[0].block, block);
    assert_eq!(region.block_seal(block), seal);
    assert_eq!(region.used_bytes(), BLOCK_LEN_BYTES);
    assert_eq!(store.byte(offset), b'v');
}

#[test]
fn a_block_that_was_taken_again_and_not_used_can_be_returned_and_is_free_at_once() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_block().expect("room");
    region.assign_block(block, 1, 1);
    region.return_block(block);
    assert!(region.is_awaiting_round());
    assert!(region.sync().is_ok());
    let taken: Vec<_> = std::iter::from_fn(|| region.take_block()).collect();
    assert!(taken.contains(&block));
    region.return_block(block);
    assert!(!region.is_awaiting_round());
    assert_eq!(region.take_block(), Some(block));
}

#[test]
fn what_is_written_to_the_region_is_in_the_file_at_once_and_in_no_file_when_inspected() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_block().expect("room");
    region.assign_block(block, 0, 1);
    drop(region);
    let (region, found) = store.try_open(Access::Inspect).expect("in order");
    assert_eq!(blocks(&found), [(0, 1, false)]);
    region.return_block(block);
    assert!(region.sync().is_ok());
    assert!(region.close_clean().is_ok());
    drop(region);
    let (_, found) = store.open();
    assert_eq!(
        blocks(&found),
        [(0, 1, false)],
        "inspecting changes nothing"
    );
}

#[test]
fn a_superblock_tells_positions_one_round_later_and_a_clean_end_tells_all() {
    let store = Store::new();
    let (region, _) = store.serve();
    region.rounds().publish(0, 1000);
    let first = region.sync().expect("a disk in order");
    assert!(region.rounds().is_durable(first));
    drop(region);
    let (region, found) = store.serve();
    assert_eq!(found.synced, [0, 0]);
    region.rounds().publish(0, 1000);
    region.sync().expect("a disk in order");
    region.sync().expect("a disk in order");
    drop(region);
    let (region, found) = store.serve();
    assert_eq!(found.synced, [1000, 0]);
    region.rounds().publish(1, 2000);
    region.close_clean().expect("a disk in order");
    drop(region);
    let (region, found) = store.serve();
    assert!(found.is_clean);
    assert_eq!(found.synced, [1000, 2000]);
    assert_eq!(found.settled, [1000, 2000]);
    drop(region);
    let (_region, found) = store.open();
    assert!(!found.is_clean, "opening takes the mark away");
}

#[test]
fn rounds_count_on_over_restarts() {
    let store = Store::new();
    let (region, _) = store.serve();
    let last = region.sync().expect("a disk in order");
    assert_eq!(region.rounds().needed(), last + 1);
    region.close_clean().expect("a disk in order");
    drop(region);
    let (region, found) = store.serve();
    assert!(found.round > last);
    assert!(region.sync().expect("a disk in order") > found.round);
}

#[test]
fn a_returned_block_is_used_again_only_when_its_return_is_on_disk() {
    let store = Store::new();
    let (region, _) = store.serve();
    let mut taken = Vec::new();
    while let Some(block) = region.take_block() {
        taken.push(block);
        region.assign_block(block, 0, taken.len() as u64);
    }
    for block in &taken {
        region.return_block(*block);
    }
    let returned = taken.len() as u64 * BLOCK_LEN_BYTES;
    assert!(region.used_bytes() > 0, "most still count");
    assert!(region.used_bytes() < returned, "a few do not");
    let mut others = Vec::new();
    while let Some(block) = region.take_block() {
        assert!(!taken.contains(&block), "its return is not yet on disk");
        others.push(block);
    }
    for block in others {
        region.return_block(block);
    }
    region.sync().expect("a disk in order");
    assert_eq!(region.used_bytes(), 0);
    let again: Vec<_> = std::iter::from_fn(|| region.take_block()).collect();
    assert!(again.iter().any(|block| taken.contains(block)));
}

#[test]
fn a_freed_block_keeps_its_place_until_it_is_used_again() {
    let store = Store::new();
    let (region, _) = store.serve();
    for sequence in 1..=2 {
        let block = region.take_block().expect("room");
        region.assign_block(block, 1, sequence);
        if sequence == 1 {
            region.return_block(block);
        }
    }
    drop(region);
    let (region, found) = store.open();
    assert_eq!(blocks(&found), [(1, 1, true), (1, 2, false)]);
    let freed = found.blocks[0].block;
    while let Some(block) = region.take_block() {
        assert_ne!(block, freed, "recovery has not ended");
    }
}

#[test]
fn free_blocks_read_as_zero_after_a_restart() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_block().expect("room");
    let offset = region.block_start(block);
    store.write(offset, b"left by a crash");
    drop(region);
    let (_region, _) = store.open();
    assert_eq!(store.byte(offset), 0);
}

#[test]
fn index_blocks_are_not_in_the_file() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_index_block().expect("room");
    let len_bytes = fs::metadata(store.path()).expect("made").len();
    assert!(region.block_start(block) >= len_bytes);
    assert_eq!(region.used_bytes(), BLOCK_LEN_BYTES);
    region.return_index_block(block);
    assert_eq!(region.used_bytes(), 0);
}

#[test]
fn another_number_of_shards_begins_a_generation() {
    let store = Store::new();
    let (region, _) = store.serve();
    let block = region.take_block().expect("room");
    region.assign_block(block, 1, 5);
    drop(region);
    let options = Store::options(3, Access::Serve);
    let (region, found) = Region::open(store.0.path(), options).expect("in order");
    assert_eq!(found.generations.len(), 1);
    assert_eq!(found.synced.len(), 2);
    let first_sequence = region.finish_recovery().expect("a disk in order");
    assert!(first_sequence > 5);
    drop(region);
    let (region, found) = Region::open(store.0.path(), options).expect("in order");
    let numbers: Vec<_> = found.generations.iter().map(|found| found.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(found.synced, [first_sequence * BLOCK_LEN_BYTES; 3]);
    assert_eq!(region.finish_recovery().expect("a disk in order"), 0);
    region.return_block(block);
    drop(region);
    let (_region, found) = Region::open(store.0.path(), options).expect("in order");
    assert_eq!(
        found.generations.len(),
        2,
        "as it was when the file was opened"
    );
    drop(_region);
    let (_region, found) = Region::open(store.0.path(), options).expect("in order");
    assert_eq!(found.generations.len(), 1, "no block is left of the other");
}

#[test]
fn a_missing_directory_and_a_file_in_its_place_are_refused() {
    let store = Store::new();
    let open = |path: PathBuf| {
        let error = Region::open(&path, Store::options(1, Access::Serve)).expect_err("a refusal");
        error.to_string()
    };
    let missing = store.0.path().join("no");
    assert!(open(missing).contains("there is no directory"));
    let file = store.0.path().join("file");
    fs::write(&file, b"").expect("writable");
    assert!(open(file).contains("is not a directory"));
}

#[test]
fn a_directory_in_use_is_refused_and_its_user_named() {
    let store = Store::new();
    let (_region, _) = store.open();
    let expected = format!("(process {})", std::process::id());
    assert!(store.refusal().contains(&expected));
}

#[test]
fn nothing_to_inspect_is_refused_and_nothing_is_made() {
    let store = Store::new();
    let error = store.try_open(Access::Inspect).expect_err("a refusal");
    assert!(error.to_string().contains("cannot open"), "{error}");
    assert!(!store.path().exists());
}

#[test]
fn foreign_and_empty_files_are_refused_and_left_alone() {
    for content in [&b"something else"[..], &b""[..], &[0; 300_000][..]] {
        let store = Store::new();
        fs::write(store.path(), content).expect("writable");
        let refusal = store.refusal();
        assert!(
            refusal.contains("is not a data file of coremap"),
            "{refusal}"
        );
        assert_eq!(fs::read(store.path()).expect("readable"), content);
    }
}

#[test]
fn another_version_is_refused_and_both_are_named() {
    let store = Store::new();
    drop(store.open());
    for copy in [0, COPY_STRIDE_BYTES] {
        store.write(copy + 8, &2u32.to_le_bytes());
    }
    let refusal = store.refusal();
    assert!(refusal.contains("has version 2"), "{refusal}");
    assert!(refusal.contains("reads version 1"), "{refusal}");
}

#[test]
fn one_bad_superblock_is_made_good_by_the_other() {
    for copy in [0, COPY_STRIDE_BYTES] {
        let store = Store::new();
        let (region, _) = store.serve();
        region.rounds().publish(0, 1000);
        region.close_clean().expect("a disk in order");
        drop(region);
        store.flip(copy + 40);
        let (_region, found) = store.open();
        assert_eq!(found.bad_superblock_count, 1);
    }
}

#[test]
fn two_bad_superblocks_are_damage() {
    let store = Store::new();
    drop(store.open());
    for copy in [0, COPY_STRIDE_BYTES] {
        store.flip(copy + 40);
    }
    let refusal = store.refusal();
    assert!(refusal.contains("is damaged at offset 0"), "{refusal}");
}

#[test]
fn a_file_of_another_length_is_damage_and_a_short_one_can_be_salvaged() {
    let store = Store::new();
    drop(store.open());
    let len_bytes = fs::metadata(store.path()).expect("made").len();
    store.file().set_len(len_bytes + 1).expect("writable");
    assert!(store.refusal().contains("it should end here"));
    store.file().set_len(BLOCK_LEN_BYTES + 5).expect("writable");
    let refusal = store.refusal();
    let expected = format!("is damaged at offset {}", BLOCK_LEN_BYTES + 5);
    assert!(refusal.contains(&expected), "{refusal}");
    assert!(store.try_open(Access::Salvage).is_ok());
    store.serve();
}

#[test]
fn a_file_cut_within_its_superblocks_is_damage_or_not_ours() {
    for len_bytes in [5, 100, COPY_STRIDE_BYTES, ENTRIES_AT] {
        let store = Store::new();
        drop(store.open());
        store.file().set_len(len_bytes).expect("writable");
        let refusal = store.refusal();
        let is_named = ["is not a data file", "is damaged at offset"];
        assert!(
            is_named.iter().any(|text| refusal.contains(text)),
            "{refusal}"
        );
    }
}

#[test]
fn bad_entries_and_twins_are_reported_and_their_blocks_never_handed_out() {
    let store = Store::new();
    let (region, _) = store.serve();
    let taken: Vec<_> = std::iter::from_fn(|| region.take_block()).take(3).collect();
    for (index, block) in taken.iter().enumerate() {
        region.assign_block(*block, 0, [1, 2, 2][index]);
    }
    let entry = |index: usize| ENTRIES_AT + 8 * taken[index].get() as u64;
    drop(region);
    store.flip(entry(0) + 2);
    let (region, found) = store.open();
    assert_eq!(blocks(&found), []);
    let offsets: Vec<u64> = found.bad_entries.iter().map(|bad| bad.offset).collect();
    assert_eq!(offsets, [entry(0), entry(1), entry(2)]);
    assert_eq!(region.used_bytes(), 3 * BLOCK_LEN_BYTES);
    let handed_out: Vec<_> = std::iter::from_fn(|| region.take_block()).collect();
    assert!(taken.iter().all(|block| !handed_out.contains(block)));
    region.finish_recovery().expect("a disk in order");
    // What was taken before passes the budget.
    let returned = handed_out.into_iter().chain([taken[0]]);
    returned.for_each(|block| region.return_block(block));
    region.sync().expect("a disk in order");
    region.sync().expect("a disk in order");
    assert!(std::iter::from_fn(|| region.take_block()).any(|block| block == taken[0]));
}

#[test]
fn the_remains_of_a_file_that_was_never_completed_are_no_hindrance() {
    let store = Store::new();
    fs::write(store.0.path().join("coremap.data.new"), b"half").expect("writable");
    let (_region, found) = store.serve();
    assert!(found.is_new);
    assert!(!store.0.path().join("coremap.data.new").exists());
}

#[test]
fn budgets_and_shards_that_the_file_has_no_room_for_are_refused() {
    let store = Store::new();
    drop(store.open());
    let mut options = Store::options(2, Access::Serve);
    options.region.maxmemory_bytes = 1 << 40;
    let error = Region::open(store.0.path(), options).expect_err("a refusal");
    assert!(matches!(error, Error::MaxmemoryTooLarge { .. }), "{error}");
    let mut options = Store::options(100, Access::Serve);
    options.region.maxmemory_bytes = 1 << 40;
    let error = Region::open(store.0.path(), options).expect_err("a refusal");
    assert!(error.to_string().contains("at most 64 shards"), "{error}");
}
