//! A copy of the data file while a server goes on writing to it.
//!
//! ```text
//!   hold ── every shard has seen it ── round A ── round B ── read header ── copy ── end of hold
//!    │ nothing given up from here on is used again             │ says what A made durable
//! ```
//!
//! A log only grows: what it held up to a position stays as it was for as long as none of its blocks
//! is used again. So a copy is the header as it is after two rounds, the blocks it speaks of, cut off
//! where they were synced, and all large values. It is what a power loss at the moment of
//! round A would have left, with everything that was done before the hold, and a start recovers it
//! as such: each shard as it was at one moment, those of different shards less than a round apart,
//! transactions whole or not at all. Only an expiry may be one that was set later.
//!
//! The hold is this process's ([`Region::hold`]); the copying may be another's, which reads the file.
//! While it lasts, what is given up costs room on disk, but no part of the budget
//! (`shard::limbo`).
//!
//! Not here: how the two processes talk (`cli::backup`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::Entry;
use super::file::{
    COPY_STRIDE_BYTES, DATA_NAME, DRAFT_NAME, ENTRIES_AT, ENTRY_LEN_BYTES, MODE, header_len_bytes,
    lock,
};
use super::superblock::{SUPERBLOCK_LEN_BYTES_MAX, Superblock};
use super::{BlockIndex, Region, to_usize};
use crate::atomic::Ordering;
use crate::error::Error;
use crate::sys;

/// Looks at a header that is being written before it counts as damaged.
const LOOK_COUNT_MAX: usize = 100;
/// Bytes copied between two reports of progress.
const STEP_LEN_BYTES: u64 = 8 << 20;

/// While one lives, nothing that shards give up is used again.
#[derive(Debug)]
pub struct Hold(Arc<Region>);

impl Region {
    /// Keeps what is in the file from being used for anything else, until the hold is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.hold_count.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(self))
    }

    /// Whether somebody copies the file.
    #[inline]
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold_count.load(Ordering::Acquire) > 0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.hold_count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is to be copied: a data file's header as of one moment under a hold.
#[derive(Debug)]
pub struct Original {
    path: PathBuf,
    file: File,
    superblock: Superblock,
    blocks: Vec<(BlockIndex, Entry)>,
    /// Parts of the file, in bytes: blocks as far as they were synced, and large values.
    parts: Vec<Range<u64>>,
}

/// A copy that is complete and has no name yet.
#[derive(Debug)]
pub struct Draft {
    dir: PathBuf,
    file: File,
    /// Held until the copy has its name.
    _lock: File,
}

impl Original {
    /// Reads the header of the data file of `dir`, under a hold and after two rounds.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is damaged.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(DATA_NAME);
        let cannot =
            |error: io::Error| Error::failed(format!("cannot read {}", path.display()), &error);
        let file = File::open(&path).map_err(cannot)?;
        let superblock = read_superblock(&file).map_err(cannot)?;
        let superblock = superblock.ok_or_else(|| damaged(&path, 0, "both superblocks are bad"))?;
        let mut original = Self {
            path: path.clone(),
            file,
            superblock,
            blocks: Vec::new(),
            parts: Vec::new(),
        };
        original.find_blocks().map_err(cannot)?;
        original.find_large_values().map_err(cannot)?;
        Ok(original)
    }

    /// Bytes to copy.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.end - part.start).sum()
    }

    /// Copies everything into `dir`, which is made if it is not there and must not have a data
    /// file, and reports how many bytes were copied; what that returns may end it.
    ///
    /// # Errors
    /// The directory is in use, or the system refuses something; then no file is left behind.
    pub fn copy_to(
        &self,
        dir: &Path,
        mut report: impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<Draft, Error> {
        let path = dir.join(DATA_NAME);
        let cannot =
            |error: io::Error| Error::failed(format!("cannot write {}", path.display()), &error);
        fs::create_dir_all(dir).map_err(cannot)?;
        let held = lock(dir)?;
        if path.exists() {
            return Err(Error::Failed(format!(
                "{} is there already: choose another directory",
                path.display()
            )));
        }
        let draft = dir.join(DRAFT_NAME);
        let written = self.write(&draft, cannot, &mut report);
        let file = written.inspect_err(|_| {
            // What is left of it helps nobody.
            let _ = fs::remove_file(&draft);
        })?;
        Ok(Draft {
            dir: dir.to_owned(),
            file,
            _lock: held,
        })
    }

    fn write(
        &self,
        draft: &Path,
        cannot: impl Fn(io::Error) -> Error,
        report: &mut impl FnMut(u64) -> Result<(), Error>,
    ) -> Result<File, Error> {
        let mut file = self.make(draft).map_err(&cannot)?;
        let mut copied_bytes = 0;
        for part in &self.parts {
            let mut at = part.start;
            while at < part.end {
                let len_bytes = STEP_LEN_BYTES.min(part.end - at);
                copy_range(&self.file, &mut file, at, len_bytes).map_err(&cannot)?;
                at += len_bytes;
                copied_bytes += len_bytes;
                report(copied_bytes)?;
            }
        }
        self.write_header(&file).map_err(&cannot)?;
        Ok(file)
    }

    /// Makes a file as long as the original, with room for all of its blocks: the server that starts
    /// from it writes through a mapping.
    fn make(&self, draft: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(draft)?;
        file.set_len(self.superblock.geometry.file_len_bytes())?;
        let block_len_bytes = self.superblock.geometry.block_len_bytes;
        for (block, _) in &self.blocks {
            sys::allocate(&file, u64::from(block.0) * block_len_bytes, block_len_bytes)?;
        }
        Ok(file)
    }

    fn write_header(&self, file: &File) -> io::Result<()> {
        let block_count = self.superblock.geometry.block_count;
        let secret = self.superblock.secret;
        sys::allocate(file, 0, header_len_bytes(u64::from(block_count)))?;
        let mut entries = vec![Entry::Free; block_count as usize];
        for (block, entry) in &self.blocks {
            entries[block.get()] = *entry;
        }
        let words = entries.iter().zip(0..);
        let words =
            words.flat_map(|(entry, block)| entry.encode(BlockIndex(block), secret).to_le_bytes());
        file.write_all_at(&words.collect::<Vec<u8>>(), ENTRIES_AT)?;
        for serial in [0, 1] {
            let copy = Superblock {
                serial,
                is_clean: false,
                ..self.superblock.clone()
            };
            file.write_all_at(&copy.encode(), serial * COPY_STRIDE_BYTES)?;
        }
        Ok(())
    }

    /// Finds the blocks that the synced positions speak of.
    fn find_blocks(&mut self) -> io::Result<()> {
        let geometry = self.superblock.geometry;
        let mut words = vec![0; to_usize(u64::from(geometry.block_count) * ENTRY_LEN_BYTES)];
        self.file.read_exact_at(&mut words, ENTRIES_AT)?;
        let (words, _) = words.as_chunks::<8>();
        for (word, block) in words.iter().zip(0..).skip(geometry.first_block as usize) {
            let block = BlockIndex(block);
            let word = u64::from_le_bytes(*word);
            let Some(entry) = Entry::decode(word, block, self.superblock.secret) else {
                let at = ENTRIES_AT + u64::from(block.0) * ENTRY_LEN_BYTES;
                return Err(io::Error::other(format!(
                    "the entry at offset {at} is damaged"
                )));
            };
            let Entry::Used { owner, sequence } = entry else {
                continue;
            };
            let synced_bytes = self.synced_bytes(owner, sequence);
            if synced_bytes > 0 {
                let start = u64::from(block.0) * geometry.block_len_bytes;
                self.blocks.push((block, entry));
                self.parts.push(start..start + synced_bytes);
            }
        }
        Ok(())
    }

    /// How many bytes of a block were synced; all of one of an earlier generation.
    fn synced_bytes(&self, owner: u16, sequence: u64) -> u64 {
        let block_len_bytes = self.superblock.geometry.block_len_bytes;
        if sequence < self.superblock.generation().first_sequence {
            return block_len_bytes;
        }
        let synced = self.superblock.synced.get(usize::from(owner));
        let start = sequence * block_len_bytes;
        synced.map_or(0, |synced| {
            synced.saturating_sub(start).min(block_len_bytes)
        })
    }

    /// Finds what large values take of the file: the rest of it is holes.
    fn find_large_values(&mut self) -> io::Result<()> {
        let geometry = self.superblock.geometry;
        let mut at = u64::from(geometry.block_count) * geometry.block_len_bytes;
        while let Some(part) = sys::next_data(&self.file, at)? {
            at = part.end;
            self.parts.push(part);
        }
        Ok(())
    }

    /// The file that is copied.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Draft {
    /// Makes the copy durable and gives it its name.
    ///
    /// # Errors
    /// What the system says; then there is no copy.
    pub fn finish(self) -> Result<(), Error> {
        let path = self.dir.join(DATA_NAME);
        let draft = self.dir.join(DRAFT_NAME);
        let finish = || {
            self.file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        finish().map_err(|error| {
            let _ = fs::remove_file(&draft);
            Error::failed(format!("cannot write {}", path.display()), &error)
        })
    }

    /// Removes what was copied.
    pub fn discard(self) {
        // If it cannot be removed, the next copy overwrites it.
        let _ = fs::remove_file(self.dir.join(DRAFT_NAME));
    }
}

/// The newest good superblock of a file that is being written to.
fn read_superblock(file: &File) -> io::Result<Option<Superblock>> {
    let mut newest = None;
    for _ in 0..LOOK_COUNT_MAX {
        let mut copies = Vec::new();
        for at in [0, COPY_STRIDE_BYTES] {
            let mut bytes = Vec::with_capacity(SUPERBLOCK_LEN_BYTES_MAX);
            let mut file = file;
            file.seek(SeekFrom::Start(at))?;
            file.take(SUPERBLOCK_LEN_BYTES_MAX as u64)
                .read_to_end(&mut bytes)?;
            copies.extend(Superblock::decode(&bytes).ok());
        }
        let are_both_good = copies.len() == 2;
        newest = copies.into_iter().max_by_key(|copy| copy.serial);
        if are_both_good {
            break;
        }
    }
    Ok(newest)
}

fn copy_range(from: &File, to: &mut File, at: u64, len_bytes: u64) -> io::Result<()> {
    let mut from = from;
    from.seek(SeekFrom::Start(at))?;
    to.seek(SeekFrom::Start(at))?;
    // The standard library hands this to the kernel, which need not show the bytes to anybody.
    let copied_bytes = io::copy(&mut from.take(len_bytes), to)?;
    if copied_bytes < len_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    to.flush()
}

fn damaged(path: &Path, offset: u64, reason: &str) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        offset,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, FileOptions, RegionOptions};
    use super::*;
    use crate::limits::{KIB, MIB};

    const BLOCK_LEN_BYTES: u64 = 256 * KIB as u64;

    fn options(access: Access) -> FileOptions {
        let region = RegionOptions {
            maxmemory_bytes: 4 * MIB as u64,
            shard_count: 1,
        };
        FileOptions {
            capacity_bytes: Some(4 * MIB as u64),
            ..FileOptions::new(region, access)
        }
    }

    /// A folder that is gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("coremap-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("the temporary folder is writable");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What cannot be removed is left to the system's cleaning of temporary files.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Opens a region and gives it two blocks, the second one written up to its byte 100, and a page
    /// of a large value.
    fn filled(folder: &Folder) -> Arc<Region> {
        let (region, _) = Region::open(&folder.0, options(Access::Serve)).expect("a new file");
        region.finish_recovery().expect("the disk takes it");
        for sequence in [1, 2] {
            let block = region.take_block().expect("there is room");
            region.assign_block(block, 0, sequence);
            fill(folder, region.block_start(block), &[b'b'; 200]);
        }
        let (large, _) = region.large_slice(0);
        assert!(region.commit(large, 4096));
        fill(folder, large, &[b'l'; 4096]);
        region.rounds().publish(0, 2 * BLOCK_LEN_BYTES + 100);
        Arc::new(region)
    }

    /// Offsets in the region are offsets in its file, which is mapped.
    fn fill(folder: &Folder, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new()
            .write(true)
            .open(folder.0.join(DATA_NAME));
        let written = file.and_then(|file| file.write_all_at(bytes, offset));
        written.expect("it can be written");
    }

    fn bytes<const N: usize>(folder: &Folder, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let file = File::open(folder.0.join(DATA_NAME));
        let read = file.and_then(|file| file.read_exact_at(&mut bytes, offset));
        read.expect("it can be read");
        bytes
    }

    #[test]
    fn a_copy_is_a_file_cut_off_at_what_was_synced() {
        let [source, target] = ["source", "target"].map(Folder::new);
        let region = filled(&source);
        let hold = region.hold();
        assert!(region.is_held());
        for _ in 0..2 {
            region.sync().expect("the disk takes it");
        }
        // What comes later is not in it.
        let later = region.take_block().expect("there is room");
        region.assign_block(later, 0, 3);
        region.rounds().publish(0, 3 * BLOCK_LEN_BYTES + 8);

        let original = Original::read(&source.0).expect("it can be read");
        let mut reported_bytes = 0;
        let draft = original.copy_to(&target.0, |bytes| {
            reported_bytes = bytes;
            Ok(())
        });
        draft.expect("it can be written").finish().expect("as well");
        assert_eq!(reported_bytes, original.len_bytes());
        drop(hold);
        assert!(!region.is_held());

        let (copy, found) =
            Region::open(&target.0, options(Access::Inspect)).expect("a whole file");
        let sequences: Vec<u64> = found.blocks.iter().map(|block| block.sequence).collect();
        assert_eq!(sequences, [1, 2]);
        assert_eq!(found.synced, [2 * BLOCK_LEN_BYTES + 100]);
        assert!(!found.is_clean && found.bad_superblock_count == 0);
        let [first, last] = [0, 1].map(|place| copy.block_start(found.blocks[place].block));
        assert_eq!(bytes(&target, first), [b'b'; 200]);
        assert_eq!(bytes(&target, last), [b'b'; 100]);
        assert_eq!(bytes(&target, last + 100), [0; 100]);
        let (large, _) = copy.large_slice(0);
        assert_eq!(bytes(&target, large), [b'l'; 4096]);
    }

    #[test]
    fn a_copy_replaces_nothing_and_leaves_nothing_behind() {
        let [source, target] = ["kept", "full"].map(Folder::new);
        drop(filled(&source));
        let original = Original::read(&source.0).expect("it can be read");
        let draft = original
            .copy_to(&target.0, |_| Ok(()))
            .expect("it can be written");
        let second = original.copy_to(&target.0, |_| Ok(())).map(|_| ());
        assert!(second.is_err(), "the folder is in use");
        draft.discard();
        let names = || fs::read_dir(&target.0).expect("it is there").count();
        assert_eq!(names(), 1, "the lock file");
        let draft = original
            .copy_to(&target.0, |_| Ok(()))
            .expect("it can be written");
        draft.finish().expect("as well");
        let third = original
            .copy_to(&target.0, |_| Ok(()))
            .map(|_| ())
            .unwrap_err();
        assert!(third.to_string().contains("is there already"), "{third}");
    }
}
