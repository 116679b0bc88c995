//! The superblock: what a data file is, and how far it can be trusted.
//!
//! ```text
//!    0  magic, 8             8  version, u32        12  crc32c, u32
//!   16  serial, u64         24  secret, u64         32  round, u64
//!   40  block length, u32   44  first block, u32    48  block count, u32    52  flags, u32
//!   56  large area, u64     64  generations, u32    68  zero, u32
//!   72  8 generations, oldest first:  number, u32 | shards, u32 | first sequence, u64
//!  200  zeros
//!  256  one pair for each shard of the last generation:  synced, u64 | settled, u64
//! ```
//!
//! Two copies, written in turns, so that one is whole whatever happens to the other; of two good ones
//! the one with the higher serial counts. All numbers are little-endian. The checksum is a CRC-32C
//! over everything but itself, up to the end of the last pair.
//!
//! Not here: where the copies lie (`file`), and what positions mean (`rounds`).

use super::entry::SEQUENCE_FOUND_END;
use super::plan::Geometry;
use crate::limits::SHARD_COUNT_MAX;

/// The first bytes of a data file.
pub(super) const MAGIC: [u8; 8] = *b"COREMAP\n";
/// The version of the format that this program writes and reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of the longest superblock.
pub(super) const SUPERBLOCK_LEN_BYTES_MAX: usize =
    HEAD_LEN_BYTES + SHARD_COUNT_MAX * PAIR_LEN_BYTES;
/// Generations a file can hold blocks of.
pub(super) const GENERATION_COUNT_MAX: usize = 8;

const HEAD_LEN_BYTES: usize = 256;
const GENERATIONS_AT: usize = 72;
const GENERATION_LEN_BYTES: usize = 16;
const PAIR_LEN_BYTES: usize = 16;
const CHECKSUM_AT: usize = 12;
const FLAG_CLEAN: u32 = 1;

const _: () =
    assert!(GENERATIONS_AT + GENERATION_COUNT_MAX * GENERATION_LEN_BYTES <= HEAD_LEN_BYTES);

/// One copy, as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Raised with every write.
    pub(super) serial: u64,
    /// What checks and seals are mixed with.
    pub(super) secret: u64,
    /// The round that made what is synced durable.
    pub(super) round: u64,
    pub(super) geometry: Geometry,
    /// Whether the last process ended in order: then nothing lies beyond what is synced.
    pub(super) is_clean: bool,
    /// Oldest first; the last is the one that is written.
    pub(super) generations: Vec<Generation>,
    /// By shard of the last generation.
    pub(super) synced: Vec<u64>,
    pub(super) settled: Vec<u64>,
}

/// A number of shards that the file was served with. Sequences of a generation begin where those of
/// the one before have ended, so a sequence tells its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Counts up from 1.
    pub number: u32,
    /// Shards whose logs it holds.
    pub shard_count: usize,
    /// The least sequence of its blocks.
    pub first_sequence: u64,
}

/// Why bytes are not a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Something else altogether.
    Foreign,
    /// A later, or never used, version of the format.
    Version(u32),
    /// The checksum, or what it covers, is wrong.
    Damaged,
}

impl Superblock {
    /// The bytes of a copy.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Geometry {
            block_len_bytes,
            first_block,
            block_count,
            large_len_bytes,
        } = self.geometry;
        let mut bytes = Vec::with_capacity(SUPERBLOCK_LEN_BYTES_MAX);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        for number in [self.serial, self.secret, self.round] {
            bytes.extend(number.to_le_bytes());
        }
        let flags = if self.is_clean { FLAG_CLEAN } else { 0 };
        for number in [u32_of(block_len_bytes), first_block, block_count, flags] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(large_len_bytes.to_le_bytes());
        bytes.extend(u32_of(self.generations.len() as u64).to_le_bytes());
        bytes.extend([0; 4]);
        debug_assert_eq!(bytes.len(), GENERATIONS_AT);
        for generation in &self.generations {
            bytes.extend(generation.number.to_le_bytes());
            bytes.extend(u32_of(generation.shard_count as u64).to_le_bytes());
            bytes.extend(generation.first_sequence.to_le_bytes());
        }
        bytes.resize(HEAD_LEN_BYTES, 0);
        for (synced, settled) in self.synced.iter().zip(&self.settled) {
            bytes.extend(synced.to_le_bytes());
            bytes.extend(settled.to_le_bytes());
        }
        let crc = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What `bytes`, which may go on behind it, say.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Refusal::Foreign);
        }
        if bytes.len() < HEAD_LEN_BYTES {
            return Err(Refusal::Damaged);
        }
        // The version first: a later one may have its checksum elsewhere.
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        Self::decode_checked(bytes).ok_or(Refusal::Damaged)
    }

    fn decode_checked(bytes: &[u8]) -> Option<Self> {
        let generation_count = u32_at(bytes, 64) as usize;
        if !(1..=GENERATION_COUNT_MAX).contains(&generation_count) {
            return None;
        }
        let generations: Vec<Generation> = (0..generation_count)
            .map(|index| GENERATIONS_AT + index * GENERATION_LEN_BYTES)
            .map(|at| Generation {
                number: u32_at(bytes, at),
                shard_count: u32_at(bytes, at + 4) as usize,
                first_sequence: u64_at(bytes, at + 8),
            })
            .collect();
        let shards = 1..=SHARD_COUNT_MAX;
        let shard_count = generations.last()?.shard_count;
        if generations
            .iter()
            .any(|generation| !shards.contains(&generation.shard_count))
        {
            return None;
        }
        let bytes = bytes.get(..HEAD_LEN_BYTES + shard_count * PAIR_LEN_BYTES)?;
        if u32_at(bytes, CHECKSUM_AT) != checksum(bytes) {
            return None;
        }
        let geometry = Geometry {
            block_len_bytes: u64::from(u32_at(bytes, 40)),
            first_block: u32_at(bytes, 44),
            block_count: u32_at(bytes, 48),
            large_len_bytes: u64_at(bytes, 56),
        };
        let in_order = generations
            .is_sorted_by(|a, b| a.number < b.number && a.first_sequence < b.first_sequence);
        let pairs = |at: usize| {
            let pairs = bytes[HEAD_LEN_BYTES..].chunks_exact(PAIR_LEN_BYTES);
            pairs.map(|pair| u64_at(pair, at)).collect()
        };
        let first = generations.first()?.first_sequence;
        let last = generations.last()?.first_sequence;
        if !in_order || first == 0 || last >= SEQUENCE_FOUND_END || !geometry.is_possible() {
            return None;
        }
        let [synced, settled]: [Vec<u64>; 2] = [0, 8].map(pairs);
        let position_end = SEQUENCE_FOUND_END * geometry.block_len_bytes;
        let mut positions = synced.iter().zip(&settled);
        let is_possible =
            positions.all(|(synced, settled)| settled <= synced && *synced < position_end);
        is_possible.then(|| Self {
            serial: u64_at(bytes, 16),
            secret: u64_at(bytes, 24),
            round: u64_at(bytes, 32),
            geometry,
            is_clean: u32_at(bytes, 52) & FLAG_CLEAN != 0,
            synced,
            settled,
            generations,
        })
    }

    /// The generation that is written.
    pub(super) fn generation(&self) -> Generation {
        *self.generations.last().expect("there is always one")
    }

    /// The generation that a sequence belongs to.
    pub(super) fn generation_of(&self, sequence: u64) -> Option<Generation> {
        let mut newest_first = self.generations.iter().rev();
        newest_first
            .find(|generation| generation.first_sequence <= sequence)
            .copied()
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
    crc32c::crc32c_append(crc, &bytes[CHECKSUM_AT + 4..])
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("lengths of blocks and counts of shards are small")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{GIB, KIB};

    fn superblock() -> Superblock {
        Superblock {
            serial: 5,
            secret: 0x0123_4567_89ab_cdef,
            round: 41,
            geometry: Geometry {
                block_len_bytes: 256 * KIB as u64,
                first_block: 1,
                block_count: 64,
                large_len_bytes: 4 * GIB as u64,
            },
            is_clean: false,
            generations: vec![
                Generation {
                    number: 3,
                    shard_count: 4,
                    first_sequence: 1,
                },
                Generation {
                    number: 4,
                    shard_count: 2,
                    first_sequence: 90,
                },
            ],
            synced: vec![100, 200],
            settled: vec![90, 180],
        }
    }

    #[test]
    fn a_superblock_comes_back_as_it_was_written() {
        let mut bytes = superblock().encode();
        bytes.extend([7; 100]);
        assert_eq!(Superblock::decode(&bytes), Ok(superblock()));
        assert_eq!(
            superblock().generation_of(89).map(|found| found.number),
            Some(3)
        );
        assert_eq!(
            superblock().generation_of(90).map(|found| found.number),
            Some(4)
        );
        assert_eq!(superblock().generation_of(0), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = superblock().encode();
        for index in 0..bytes.len() {
            assert!(
                Superblock::decode(&bytes[..index]).is_err(),
                "cut at {index}"
            );
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << (index % 8);
            assert!(Superblock::decode(&flipped).is_err(), "flipped at {index}");
        }
    }

    #[test]
    fn what_never_was_a_superblock_and_what_will_be_one_are_told_apart() {
        let mut bytes = superblock().encode();
        bytes[8] = 2;
        assert_eq!(Superblock::decode(&bytes), Err(Refusal::Version(2)));
        assert_eq!(Superblock::decode(&[0; 4096]), Err(Refusal::Foreign));
        assert_eq!(Superblock::decode(b""), Err(Refusal::Foreign));
    }

    #[test]
    fn a_good_checksum_does_not_excuse_impossible_positions() {
        let change: [fn(&mut Superblock); 4] = [
            |changed| changed.settled[1] = changed.synced[1] + 1,
            |changed| changed.synced[0] = u64::MAX,
            |changed| changed.generations[0].first_sequence = 0,
            |changed| changed.generations[1].first_sequence = SEQUENCE_FOUND_END,
        ];
        for change in change {
            let mut impossible = superblock();
            change(&mut impossible);
            let decoded = Superblock::decode(&impossible.encode());
            assert_eq!(decoded, Err(Refusal::Damaged));
        }
    }

    #[test]
    fn a_good_checksum_does_not_excuse_impossible_geometry() {
        for block_count in [0, 1, u32::MAX] {
            let mut impossible = superblock();
            impossible.geometry.block_count = block_count;
            assert_eq!(
                Superblock::decode(&impossible.encode()),
                Err(Refusal::Damaged)
            );
        }
    }
}
