//! The data file: how it is found or made, and everything that can be wrong with it.
//!
//! ```text
//!   DIR/coremap.lock    held by the one process that uses DIR
//!   DIR/coremap.data    0        64 KiB    128 KiB       first block    large area          end
//!                       ┌────────┬─────────┬───────────┬──────────────┬───────────────────┐
//!                       │ superblock, twice│ an entry  │ blocks of    │ large values      │
//!                       │                  │ per block │ the log      │                   │
//!                       └────────┴─────────┴───────────┴──────────────┴───────────────────┘
//! ```
//!
//! The file is mapped from its first byte to its last, so offsets in the region are offsets in the
//! file. It is sparse: its length is address space, room on disk is taken when a block or a large value
//! needs it. It gets its name when it is complete, so a crash while it is made leaves nothing.
//!
//! | what is found | what happens |
//! |---|---|
//! | no directory, no right to it | refused: says what to do |
//! | a lock that another process holds | refused: names the process |
//! | no file | a new one |
//! | something else, an empty file | refused: not ours, left alone |
//! | another version of the format | refused: names both |
//! | one superblock torn or damaged | the other one counts |
//! | both damaged | refused as damage |
//! | shorter than its header says | refused as damage; to salvage, lengthened by zeros |
//! | longer than its header says | refused as damage |
//! | a bad entry, two entries for one place | reported in [`Found`]; recovery decides |
//!
//! Opening for service takes the mark of an orderly end off both superblocks, and makes what was free
//! read as zero, before any block is handed out: what a process that crashed left behind in blocks
//! whose entries never reached the disk would otherwise carry sequences that will be used again.
//!
//! Not here: the bytes of a superblock (`superblock`) and of an entry (`entry`), and the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::census::{BadEntry, FoundBlock};
use super::entry::Entry;
use super::plan::Geometry;
use super::superblock::{Generation, Refusal, SUPERBLOCK_LEN_BYTES_MAX, Superblock, VERSION};
use super::{BlockIndex, FileOptions};
use crate::error::Error;
use crate::sys::{self, Sharing};

/// Where the second copy of the superblock begins, and how far copies lie apart.
pub(super) const COPY_STRIDE_BYTES: u64 = 64 * 1024;
/// Where the entries begin.
pub(super) const ENTRIES_AT: u64 = 2 * COPY_STRIDE_BYTES;
/// Bytes of an entry.
pub(super) const ENTRY_LEN_BYTES: u64 = 8;
/// What the file is called.
pub(super) const DATA_NAME: &str = "coremap.data";
/// What it is called until it is complete.
pub(super) const DRAFT_NAME: &str = "coremap.data.new";
/// The rights of what is made: the owner's alone.
pub(super) const MODE: u32 = 0o600;

const _: () = assert!(SUPERBLOCK_LEN_BYTES_MAX as u64 <= COPY_STRIDE_BYTES);

/// What may be done to a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Serve it; make one if there is none; refuse a damaged one.
    Serve,
    /// Serve what is intact of a damaged one.
    Salvage,
    /// Look at it: what is written to the region stays in memory.
    Inspect,
}

impl Access {
    /// How a file is mapped for it.
    pub(super) const fn sharing(self) -> Sharing {
        match self {
            Self::Inspect => Sharing::Private,
            Self::Serve | Self::Salvage => Sharing::Shared,
        }
    }
}

/// An open data file, locked.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) file: File,
    pub(super) access: Access,
    path: PathBuf,
    on_sync: Option<fn(bool)>,
    /// Held, never used.
    _lock: File,
}

/// What an opened file says of itself.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Whether it was made just now.
    pub is_new: bool,
    /// Whether the last process ended in order: nothing lies beyond what is synced.
    pub is_clean: bool,
    /// The round of the superblock that counts.
    pub round: u64,
    /// Oldest first; the logs of all but the last are being replaced.
    pub generations: Vec<Generation>,
    /// For each shard of the last generation, the position before which every record is on disk. Of
    /// earlier generations everything is.
    pub synced: Vec<u64>,
    /// For each shard of the last generation, the position before which every transaction is complete.
    pub settled: Vec<u64>,
    /// By owner and sequence; those of different generations differ in sequence.
    pub blocks: Vec<FoundBlock>,
    /// Entries that cannot be trusted. Their blocks are not handed out.
    pub bad_entries: Vec<BadEntry>,
    /// Copies of the superblock that are no use: one, after a crash in the wrong moment.
    pub bad_superblock_count: usize,
}

impl DataFile {
    /// Opens the file of a directory, or makes it. The second value says whether it is new.
    pub(super) fn open(
        dir: &Path,
        options: FileOptions,
    ) -> Result<(Self, Superblock, Found), Error> {
        check_directory(dir)?;
        let lock = lock(dir)?;
        let path = dir.join(DATA_NAME);
        let is_writing = options.access != Access::Inspect;
        let opened = OpenOptions::new().read(true).write(is_writing).open(&path);
        let (file, is_new) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_writing => {
                (create(dir, &path, options)?, true)
            }
            opened => (
                opened.map_err(|error| cannot("open", &path, &error))?,
                false,
            ),
        };
        let data = Self {
            file,
            access: options.access,
            path,
            on_sync: options.on_sync,
            _lock: lock,
        };
        let (superblock, bad_superblock_count) = data.read_superblock()?;
        data.check_len(&superblock)?;
        let found = Found {
            is_new,
            is_clean: superblock.is_clean,
            round: superblock.round,
            generations: superblock.generations.clone(),
            synced: superblock.synced.clone(),
            settled: superblock.settled.clone(),
            bad_superblock_count,
            ..Found::default()
        };
        Ok((data, superblock, found))
    }

    /// Writes a superblock where the older one is.
    pub(super) fn write_superblock(&self, superblock: &Superblock) -> io::Result<()> {
        let at = superblock.serial % 2 * COPY_STRIDE_BYTES;
        self.file.write_all_at(&superblock.encode(), at)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self.access {
            Access::Inspect => Ok(()),
            Access::Serve | Access::Salvage => {
                let tell = |is_done| {
                    if let Some(on_sync) = self.on_sync {
                        on_sync(is_done);
                    }
                };
                tell(false);
                let synced = self.file.sync_data();
                tell(true);
                synced
            }
        }
    }

    /// A failure to use the file.
    pub(super) fn cannot(&self, what: &str, error: &io::Error) -> Error {
        cannot(what, &self.path, error)
    }

    /// The newest good superblock, and how many are not good.
    fn read_superblock(&self) -> Result<(Superblock, usize), Error> {
        let copies = [0, COPY_STRIDE_BYTES].map(|at| self.read_copy(at));
        let mut refusals = Vec::new();
        let mut newest: Option<Superblock> = None;
        for copy in copies {
            match copy.map_err(|error| self.cannot("read", &error))? {
                Err(refusal) => refusals.push(refusal),
                Ok(other) => {
                    newest = newest
                        .filter(|newest| newest.serial > other.serial)
                        .or(Some(other));
                }
            }
        }
        newest
            .map(|newest| (newest, refusals.len()))
            .ok_or_else(|| self.refuse(&refusals))
    }

    fn read_copy(&self, at: u64) -> io::Result<Result<Superblock, Refusal>> {
        let mut bytes = Vec::with_capacity(SUPERBLOCK_LEN_BYTES_MAX);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))?;
        file.take(SUPERBLOCK_LEN_BYTES_MAX as u64)
            .read_to_end(&mut bytes)?;
        Ok(Superblock::decode(&bytes))
    }

    /// The error for a file without a good superblock.
    fn refuse(&self, refusals: &[Refusal]) -> Error {
        let path = self.path.display();
        let version = refusals.iter().find_map(|refusal| match refusal {
            Refusal::Version(version) => Some(version),
            Refusal::Foreign | Refusal::Damaged => None,
        });
        if let Some(version) = version {
            return Error::Start(format!(
                "{path} has version {version} of the format, this program reads version {VERSION}: \
                 use the program that wrote it"
            ));
        }
        if refusals.contains(&Refusal::Damaged) {
            return self.damaged(
                0,
                "both copies of the superblock are bad, without which nothing can be read"
                    .to_owned(),
            );
        }
        Error::Start(format!(
            "{path} is not a data file of coremap: move it away or use another directory"
        ))
    }

    /// Whether the file is as long as its superblock says. To salvage it is made so.
    fn check_len(&self, superblock: &Superblock) -> Result<(), Error> {
        let read = self.file.metadata();
        let len_bytes = read.map_err(|error| self.cannot("read", &error))?.len();
        let expected_bytes = superblock.geometry.file_len_bytes();
        let first_block_at =
            u64::from(superblock.geometry.first_block) * superblock.geometry.block_len_bytes;
        if first_block_at < header_len_bytes(u64::from(superblock.geometry.block_count)) {
            return Err(self.damaged(0, "the header has no room for all entries".to_owned()));
        }
        if len_bytes == expected_bytes {
            return Ok(());
        }
        if len_bytes > expected_bytes {
            return Err(self.damaged(
                expected_bytes,
                format!("it should end here and goes on to {len_bytes}"),
            ));
        }
        if self.access == Access::Salvage {
            let lengthened = self.file.set_len(expected_bytes);
            return lengthened.map_err(|error| self.cannot("lengthen", &error));
        }
        Err(self.damaged(
            len_bytes,
            format!("it ends here instead of at {expected_bytes}: what lay beyond is lost"),
        ))
    }

    fn damaged(&self, offset: u64, reason: String) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset,
            reason,
        }
    }
}

impl Geometry {
    /// Bytes of the whole file.
    pub(super) const fn file_len_bytes(&self) -> u64 {
        self.block_count as u64 * self.block_len_bytes + self.large_len_bytes
    }
}

/// Where the entry of a block is in the file, in bytes.
pub(super) fn entry_offset(block: BlockIndex) -> u64 {
    ENTRIES_AT + u64::from(block.0) * ENTRY_LEN_BYTES
}

/// Bytes before the first block, for a file with `block_count` entries.
pub(super) const fn header_len_bytes(block_count: u64) -> u64 {
    ENTRIES_AT + block_count * ENTRY_LEN_BYTES
}

fn check_directory(dir: &Path) -> Result<(), Error> {
    let path = dir.display();
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::Start(format!("{path} is not a directory"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Start(format!(
            "there is no directory {path}: make it, or correct `dir`"
        ))),
        Err(error) => Err(cannot("use", dir, &error)),
    }
}

/// Holds the directory for this process.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("coremap.lock");
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(&path);
    let mut file = opened.map_err(|error| cannot("open", &path, &error))?;
    let is_ours = sys::try_lock(&file).map_err(|error| cannot("lock", &path, &error))?;
    if !is_ours {
        let mut holder = String::new();
        // Only a name for the message; an unreadable one names nobody.
        let _ = file.read_to_string(&mut holder);
        return Err(Error::Start(format!(
            "another process uses {} (process {})",
            dir.display(),
            holder.trim()
        )));
    }
    let noted = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|error| cannot("write", &path, &error))?;
    Ok(file)
}

/// Makes a data file under another name, completes it, and gives it its name.
fn create(dir: &Path, path: &Path, options: FileOptions) -> Result<File, Error> {
    let draft = dir.join(DRAFT_NAME);
    let superblock = new_superblock(options)?;
    let len_bytes = superblock.geometry.file_len_bytes();
    if len_bytes > sys::file_len_limit_bytes() {
        return Err(Error::Start(format!(
            "{} would be {len_bytes} bytes long (most of them never used), and this process may \
             write {} at most: raise `ulimit -f`, or LimitFSIZE= in the service file",
            path.display(),
            sys::file_len_limit_bytes()
        )));
    }
    let write = || -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&draft)?;
        file.set_len(len_bytes)?;
        let header_len = header_len_bytes(u64::from(superblock.geometry.block_count));
        sys::allocate(&file, 0, header_len)?;
        for serial in [0, 1] {
            let copy = Superblock {
                serial,
                ..superblock.clone()
            };
            file.write_all_at(&copy.encode(), serial * COPY_STRIDE_BYTES)?;
        }
        file.write_all_at(&free_entries(&superblock), ENTRIES_AT)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(dir)?.sync_all()?;
        Ok(file)
    };
    write().map_err(|error| {
        // What is left of it helps nobody; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&draft);
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Error::Start(format!(
                "the file system of {} cannot reserve space: use ext4, xfs or tmpfs",
                dir.display()
            )),
            _ => cannot("make", path, &error),
        }
    })
}

fn new_superblock(options: FileOptions) -> Result<Superblock, Error> {
    let secret = match options.secret {
        Some(secret) => secret,
        None => getrandom::u64()
            .map_err(|error| Error::Start(format!("no random numbers from the system: {error}")))?,
    };
    let shard_count = options.region.shard_count;
    Ok(Superblock {
        serial: 0,
        secret,
        round: 0,
        geometry: Geometry::for_new_file(
            options.region,
            options.capacity_bytes(),
            header_len_bytes,
        )?,
        is_clean: false,
        generations: vec![Generation {
            number: 1,
            shard_count,
            first_sequence: 1,
        }],
        synced: vec![0; shard_count],
        settled: vec![0; shard_count],
    })
}

fn free_entries(superblock: &Superblock) -> Vec<u8> {
    (0..superblock.geometry.block_count)
        .flat_map(|block| {
            Entry::Free
                .encode(BlockIndex(block), superblock.secret)
                .to_le_bytes()
        })
        .collect()
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::start(format_args!("cannot {what} {}", path.display()), error)
}
