//! Room on disk: taken before it is used, given back when it is not, and refused when there is none.
//!
//! Method: the file's blocks as the file system counts them, and a disk of three MiB of its own where
//! the system lets an ordinary user mount one.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::process::Folder;
use coremap::limits::{KIB, MIB};
use coremap::region::{Access, BlockIndex, FileOptions, Region, RegionOptions};
use coremap::sys;

const BLOCK_LEN_BYTES: u64 = 256 * KIB as u64;

/// A region in a small file.
fn serve(folder: &Path) -> Region {
    let region = RegionOptions {
        maxmemory_bytes: 4 * MIB as u64,
        shard_count: 2,
    };
    serve_with(folder, region)
}

/// A region in a file that its budget fills.
fn serve_with(folder: &Path, region: RegionOptions) -> Region {
    let options = FileOptions {
        capacity_bytes: Some(region.maxmemory_bytes),
        ..FileOptions::new(region, Access::Serve)
    };
    let (region, _) = Region::open(folder, options).expect("room for a header");
    region.finish_recovery().expect("a disk in order");
    region
}

/// What the data file takes of its disk.
fn room_bytes(folder: &Path) -> u64 {
    let found = fs::metadata(folder.join("coremap.data")).expect("made");
    found.blocks() * 512
}

/// Ends the preparing thread with the test, also where that fails.
struct Preparing<'a>(&'a Region);

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.stop_preparing();
    }
}

/// All blocks there are, those of one log.
fn take_all(region: &Region) -> Vec<BlockIndex> {
    let taken: Vec<_> = std::iter::from_fn(|| region.take_block()).collect();
    for (block, sequence) in taken.iter().zip(1..) {
        region.assign_block(*block, 0, sequence);
    }
    taken
}

#[test]
fn returned_blocks_are_owed_until_a_round_has_their_return() {
    let folder = Folder::new();
    let region = Arc::new(serve(folder.path()));
    let taken = take_all(&region);
    region.sync().expect("a disk in order");
    assert_eq!(region.owed_bytes(), 0);
    for block in taken {
        region.return_block(block);
    }
    assert!(region.used_bytes() > 0, "more than may wait free of charge");
    assert_eq!(region.owed_bytes(), region.used_bytes());
    region.sync().expect("a disk in order");
    assert_eq!((region.owed_bytes(), region.used_bytes()), (0, 0));
}

#[test]
fn large_values_take_room_on_disk_and_give_it_back() {
    let folder = Folder::new();
    let region = serve(folder.path());
    let before = room_bytes(folder.path());
    let (offset, _) = region.large_slice(1);
    assert!(region.commit(offset, MIB as u64));
    assert!(room_bytes(folder.path()) >= before + MIB as u64);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(folder.path().join("coremap.data"))
        .expect("made");
    file.write_all_at(b"value", offset).expect("writable");
    region.uncommit(offset, MIB as u64);
    assert!(room_bytes(folder.path()) < before + MIB as u64);
    let mut byte = [1];
    file.read_exact_at(&mut byte, offset).expect("readable");
    assert_eq!(byte, [0]);
}

/// Runs a test of this file once more, alone, with a disk of three MiB mounted where it says.
fn on_a_small_disk(test: &str) {
    let folder = Folder::new();
    let script = "mount -t tmpfs -o size=3m tmpfs \"$SMALL_DISK\" && exec \"$0\" --exact \"$1\"";
    let program = std::env::current_exe().expect("this test has a file");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(program)
        .arg(test)
        .env("SMALL_DISK", folder.path())
        .output();
    let Ok(output) = output else {
        return common::skip_because("unshare is not installed");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let reason = String::from_utf8_lossy(&output.stderr);
    if !text.contains("running 1 test") {
        return common::skip_because(&format!("no disk can be mounted here: {reason}"));
    }
    assert!(output.status.success(), "{text}{reason}");
}

#[test]
fn a_full_disk_fails_takes_and_commits_and_heals_when_room_comes_back() {
    let Some(disk) = std::env::var_os("SMALL_DISK") else {
        return on_a_small_disk(
            "a_full_disk_fails_takes_and_commits_and_heals_when_room_comes_back",
        );
    };
    let disk = PathBuf::from(disk);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; MIB]).expect("room for one MiB");
    let region = serve(&disk);
    let mut taken: Vec<_> = std::iter::from_fn(|| region.take_block()).collect();
    assert!(region.is_disk_full());
    assert!(region.available_bytes() > 0, "it is not the budget");
    let used_bytes = region.used_bytes();
    let (large, _) = region.large_slice(0);
    assert!(!region.commit(large, MIB as u64));
    assert_eq!(region.used_bytes(), used_bytes, "a failure costs nothing");
    for (index, block) in taken.iter().enumerate() {
        region.assign_block(*block, 0, index as u64 + 1);
    }
    region.sync().expect("what is there can be synced");
    fs::remove_file(&ballast).expect("it is there");
    let more: Vec<_> = std::iter::from_fn(|| region.take_block()).take(3).collect();
    assert_eq!(more.len(), 3);
    assert!(!region.is_disk_full());
    taken.extend(more);
    while region.take_block().is_some() {}
    region.return_block(taken[0]);
    assert!(
        region.take_block().is_none(),
        "its return is not yet on disk"
    );
    region.sync().expect("a disk in order");
    assert!(region.take_block().is_some());
}

#[test]
fn prepared_blocks_of_a_file_have_room_on_disk_and_surplus_ones_give_it_back() {
    let folder = Folder::new();
    let region = serve(folder.path());
    let room = || room_bytes(folder.path());
    let before = room();
    std::thread::scope(|scope| {
        scope.spawn(|| region.prepare_blocks(sys::monotonic_us));
        let _preparing = Preparing(&region);
        while room() < before + 4 * BLOCK_LEN_BYTES {
            std::thread::yield_now();
        }
        assert_eq!(region.used_bytes(), 0);
        let taken = take_all(&region);
        assert!(taken.len() > 8);
        for block in taken {
            region.return_block(block);
        }
        region.sync().expect("a disk in order");
        // Eight are kept, and what the file system needs for itself, when nobody has taken any for a while.
        let until = common::now() + common::PATIENCE;
        while room() > before + 9 * BLOCK_LEN_BYTES {
            assert!(common::now() < until, "{} bytes are kept", room() - before);
            region.sync().expect("a disk in order");
        }
    });
}

#[test]
fn what_was_kept_to_be_taken_soon_goes_when_nobody_takes_it() {
    let folder = Folder::new();
    let region = serve(folder.path());
    let room = || room_bytes(folder.path());
    let before = room();
    std::thread::scope(|scope| {
        scope.spawn(|| region.prepare_blocks(sys::monotonic_us));
        let _preparing = Preparing(&region);
        let taken = take_all(&region);
        region.sync().expect("a disk in order");
        for block in taken {
            region.return_block(block);
        }
        while region.wants_round() {
            region.sync().expect("a disk in order");
        }
        let until = common::now() + common::PATIENCE;
        while room() > before + 9 * BLOCK_LEN_BYTES {
            assert!(common::now() < until, "{} bytes are kept", room() - before);
            std::thread::yield_now();
        }
    });
}

#[test]
fn without_a_preparing_thread_a_round_gives_back_what_is_too_much() {
    let folder = Folder::new();
    let region = serve(folder.path());
    let room = || room_bytes(folder.path());
    let before = room();
    let taken = take_all(&region);
    assert!(room() >= before + taken.len() as u64 * BLOCK_LEN_BYTES);
    for block in taken {
        region.return_block(block);
    }
    region.sync().expect("a disk in order");
    assert!(room() <= before + 9 * BLOCK_LEN_BYTES);
}

#[test]
fn huge_folios_are_asked_for_while_rounds_find_whole_blocks_to_write() {
    let flags = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() || !flags.contains("VmFlags:") {
        eprintln!("skipped: this kernel has no huge pages, or does not say who asked for them");
        return;
    }
    let folder = Folder::new();
    let options = RegionOptions {
        maxmemory_bytes: 512 * MIB as u64,
        shard_count: 1,
    };
    let region = serve_with(folder.path(), options);
    let now_us = AtomicU64::new(0);
    let clock = || now_us.load(Ordering::Relaxed);
    let is_advised = |flag| is_mapped_with(flag, folder.path());
    std::thread::scope(|scope| {
        scope.spawn(|| region.prepare_blocks(clock));
        let _preparing = Preparing(&region);
        let until = common::now() + common::PATIENCE;
        let second = |block_count: usize, sequence: u64| {
            assert!(common::now() < until, "{block_count} blocks in a second");
            let take = |_| region.take_block().expect("all come back");
            let taken: Vec<BlockIndex> = (0..block_count).map(take).collect();
            for (block, sequence) in taken.into_iter().zip(sequence..) {
                region.assign_block(block, 0, sequence);
                region.return_block(block);
            }
            region.sync().expect("a disk in order");
            now_us.fetch_add(1_000_000, Ordering::Relaxed);
        };
        let mut sequence = 1;
        while !is_advised("hg") {
            second(3, sequence);
            sequence += 3;
        }
        while !is_advised("nh") {
            second(0, sequence);
        }
    });
}

/// Whether a part of the data file is mapped with a flag, as the kernel abbreviates it.
fn is_mapped_with(flag: &str, folder: &Path) -> bool {
    let maps = fs::read_to_string("/proc/self/smaps").expect("Linux");
    let folder = fs::canonicalize(folder).expect("it is there");
    let data = folder.join("coremap.data").display().to_string();
    let mut is_data = false;
    maps.lines().any(|line| {
        // The line that begins a mapping has no colon behind its first word, and the file's name at its end.
        let first = line.split_whitespace().next().unwrap_or_default();
        match first {
            "VmFlags:" => is_data && line.split_whitespace().any(|found| found == flag),
            _ if first.ends_with(':') => false,
            _ => {
                is_data = line.ends_with(&data);
                false
            }
        }
    })
}
