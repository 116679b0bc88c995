//! What a power loss may leave of a data file: all that was synced, and any part of what came later.
//!
//! A disk keeps what was there when `fdatasync` was called. Of what was written since, each sector of
//! 512 bytes may hold any of its versions, whatever became of the others: pages are written back in
//! any order, and torn between sectors. [`Images`] notes the versions while a test runs, and
//! [`Images::write`] mixes a file of them by a seed.
//!
//! A mapping's stores are seen by reading the file, so nothing in the server knows of this.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use coremap::sys;

use super::Random;

/// What a disk writes at once, in bytes.
pub(crate) const SECTOR_LEN_BYTES: u64 = 512;

type Sector = [u8; 512];

const ZEROS: Sector = [0; 512];
const _: () = assert!(ZEROS.len() as u64 == SECTOR_LEN_BYTES);
/// Sectors read at a time.
const CHUNK_LEN_BYTES: u64 = 2048 * SECTOR_LEN_BYTES;

/// The versions of a file since its last sync.
pub(crate) struct Images {
    file: File,
    /// What is there, without sectors of zeros.
    current: HashMap<u64, Sector>,
    /// Of sectors that changed since the sync: the synced version, and those that were noted.
    changed: HashMap<u64, Vec<Sector>>,
}

impl Images {
    /// Of the data file in a folder, which holds what is synced.
    pub(crate) fn of(folder: &Path) -> Self {
        let path = folder.join("coremap.data");
        let mut images = Self {
            file: File::open(path).expect("a data file"),
            current: HashMap::new(),
            changed: HashMap::new(),
        };
        images.synced();
        images
    }

    /// What is there now is one of the things that may be left. Call this where the order of writes
    /// matters; before a sync and before an image it happens by itself.
    pub(crate) fn note(&mut self) {
        let mut found = HashMap::with_capacity(self.current.len());
        self.for_each_sector(|sector, bytes| {
            found.insert(sector, *bytes);
        });
        for (&sector, bytes) in &found {
            let before = self.current.get(&sector).unwrap_or(&ZEROS);
            if before != bytes {
                let versions = self.changed.entry(sector).or_insert_with(|| vec![*before]);
                versions.push(*bytes);
            }
        }
        for (&sector, before) in &self.current {
            if !found.contains_key(&sector) {
                let versions = self.changed.entry(sector).or_insert_with(|| vec![*before]);
                versions.push(ZEROS);
            }
        }
        self.current = found;
    }

    /// What is there now is on disk: a sync has just returned, and nothing changed meanwhile.
    pub(crate) fn synced(&mut self) {
        self.note();
        self.changed.clear();
    }

    /// Writes a data file into `folder` as a power loss might leave it now.
    pub(crate) fn write(&mut self, random: &mut Random, folder: &Path) {
        self.note();
        let len_bytes = self.file.metadata().expect("an open file").len();
        let image = File::create(folder.join("coremap.data")).expect("a writable folder");
        image.set_len(len_bytes).expect("a sparse file");
        // Sorted, so that a seed always gives the same image.
        let mut changed: Vec<u64> = self.changed.keys().copied().collect();
        changed.sort_unstable();
        let taste = Taste::random(random);
        let mut left = self.current.clone();
        for sector in changed {
            let versions = &self.changed[&sector];
            left.insert(sector, versions[taste.pick(random, versions.len())]);
        }
        let mut sectors: Vec<_> = left
            .into_iter()
            .filter(|(_, bytes)| *bytes != ZEROS)
            .collect();
        sectors.sort_unstable_by_key(|(sector, _)| *sector);
        for run in sectors.chunk_by(|a, b| a.0 + 1 == b.0) {
            let bytes: Vec<u8> = run.iter().flat_map(|(_, bytes)| *bytes).collect();
            let offset = run[0].0 * SECTOR_LEN_BYTES;
            image.write_all_at(&bytes, offset).expect("room on disk");
        }
    }

    /// Visits all sectors that are not zeros.
    fn for_each_sector(&self, mut visit: impl FnMut(u64, &Sector)) {
        let mut offset = 0;
        while let Some(range) = sys::next_data(&self.file, offset).expect("an open file") {
            offset = range.end;
            let mut start = range.start & !(SECTOR_LEN_BYTES - 1);
            while start < range.end {
                let end = range.end.next_multiple_of(SECTOR_LEN_BYTES);
                let len_bytes = (end - start).min(CHUNK_LEN_BYTES);
                let mut bytes = vec![0; usize::try_from(len_bytes).expect("a chunk")];
                self.file
                    .read_exact_at(&mut bytes, start)
                    .expect("whole sectors");
                for (index, bytes) in bytes.chunks_exact(ZEROS.len()).enumerate() {
                    let bytes: &Sector = bytes.try_into().expect("a sector");
                    if *bytes != ZEROS {
                        visit(start / SECTOR_LEN_BYTES + index as u64, bytes);
                    }
                }
                start += len_bytes;
            }
        }
    }
}

/// Which versions an image prefers: without one, an image of many changes would never be the one in
/// which just one sector is missing.
struct Taste {
    /// Of 64 sectors, how many have the last version, and how many the first.
    last_of_64: u64,
    first_of_64: u64,
}

impl Taste {
    fn random(random: &mut Random) -> Self {
        let (last_of_64, first_of_64) = match random.next() % 6 {
            0 => (64, 0),
            1 => (0, 64),
            2 => (62, 1),
            3 => (1, 62),
            4 => (32, 32),
            _ => (16, 16),
        };
        Self {
            last_of_64,
            first_of_64,
        }
    }

    fn pick(&self, random: &mut Random, count: usize) -> usize {
        let roll = random.next() % 64;
        if roll < self.last_of_64 {
            count - 1
        } else if roll < self.last_of_64 + self.first_of_64 {
            0
        } else {
            usize::try_from(random.next() % count as u64).expect("below the count")
        }
    }
}

/// Bytes in a line of a file as text.
const LINE_LEN_BYTES: usize = 32;

/// A sparse file as text: its length, then lines of an offset and the bytes there; what no line
/// mentions is zero. Lines that begin with `#` say what is meant.
pub(crate) fn to_text(path: &Path) -> String {
    use std::fmt::Write;

    let file = File::open(path).expect("the file");
    let len_bytes = file.metadata().expect("an open file").len();
    let mut text = format!("length {len_bytes}\n");
    let mut offset = 0;
    while let Some(range) = sys::next_data(&file, offset).expect("an open file") {
        offset = range.end;
        for start in range.step_by(LINE_LEN_BYTES) {
            let mut line = [0; LINE_LEN_BYTES];
            file.read_exact_at(&mut line, start).expect("whole lines");
            if line.iter().any(|&byte| byte != 0) {
                let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "{start:x} {hex}").expect("memory");
            }
        }
    }
    text
}

/// Makes the file that [`to_text`] has told of.
pub(crate) fn from_text(text: &str, path: &Path) {
    let file = File::create(path).expect("a writable folder");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (first, second) = line.split_once(' ').expect("two words");
        if first == "length" {
            let len_bytes = second.parse().expect("a number");
            file.set_len(len_bytes).expect("a sparse file");
            continue;
        }
        let offset = u64::from_str_radix(first, 16).expect("an offset");
        let digits: Vec<char> = second.chars().collect();
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("digits"))
            .collect();
        file.write_all_at(&bytes, offset).expect("room on disk");
    }
}
