//! What the file says of one block: one word, so that no crash leaves half of it.
//!
//! ```text
//!   63           48 47                                  12 11         2 1   0
//!   ┌──────────────┬──────────────────────────────────────┬────────────┬─────┐
//!   │ check, 16    │ sequence, 36                         │ owner, 10  │state│
//!   └──────────────┴──────────────────────────────────────┴────────────┴─────┘
//! ```
//!
//! The sequence is the block's place in the log of its owner. It never repeats for an owner, over all
//! generations, so it also tells the generation. The check is the low half of a CRC-32C over the other
//! 48 bits, the block's number and the file's secret: zeros and words from elsewhere are no entries. A
//! word is stored at once and sectors are written at once, so an entry that fails its check was
//! damaged, never torn.
//!
//! **Seal.** Every record's checksum is mixed with a number made of the secret, the owner, the
//! sequence and the record's place in the block, so that what an earlier use of the block left there,
//! or bytes of a value that look like a record, are never taken for one.

use super::BlockIndex;
use crate::atomic::{MappedWord, Ordering};
use crate::limits::SHARD_COUNT_MAX;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nobody's; what it holds means nothing.
    Free,
    /// Block number `sequence` of the log of `owner`.
    Used { owner: u16, sequence: u64 },
    /// Was that, and everything it held lives elsewhere or is dead.
    Freed { owner: u16, sequence: u64 },
}

const OWNER_SHIFT: u32 = 2;
const OWNER_BITS: u32 = 10;
const SEQUENCE_SHIFT: u32 = OWNER_SHIFT + OWNER_BITS;
const SEQUENCE_BITS: u32 = 36;
const CHECK_SHIFT: u32 = SEQUENCE_SHIFT + SEQUENCE_BITS;
/// The first sequence that an entry cannot hold: 16 PiB of the smallest blocks.
pub(super) const SEQUENCE_END: u64 = 1 << SEQUENCE_BITS;
/// The first that is not believed when it is read: nobody gets there, and who starts with a lower
/// one has as many to go.
pub(super) const SEQUENCE_FOUND_END: u64 = SEQUENCE_END / 2;

const _: () = assert!(SHARD_COUNT_MAX <= 1 << OWNER_BITS);
const _: () = assert!(CHECK_SHIFT == 48);

impl Entry {
    const FREE: u64 = 1;
    const USED: u64 = 2;
    const FREED: u64 = 3;

    /// What the mapped word of `block` says; `None` if it is no entry.
    pub(super) fn load(word: &MappedWord, block: BlockIndex, secret: u64) -> Option<Self> {
        // Only the owner of a block and, before that, its taker write the word.
        let stored = u64::from_le(word.load(Ordering::Relaxed));
        Self::decode(stored, block, secret)
    }

    /// Makes the mapped word of `block` say this, at once.
    pub(super) fn store(self, word: &MappedWord, block: BlockIndex, secret: u64) {
        word.store(self.encode(block, secret).to_le(), Ordering::Release);
    }

    /// The word that stands for this in the entry of `block`.
    pub(super) fn encode(self, block: BlockIndex, secret: u64) -> u64 {
        let (state, owner, sequence) = match self {
            Self::Free => (Self::FREE, 0, 0),
            Self::Used { owner, sequence } => (Self::USED, owner, sequence),
            Self::Freed { owner, sequence } => (Self::FREED, owner, sequence),
        };
        assert!(
            sequence < SEQUENCE_END,
            "a log has used up its sequence numbers"
        );
        let body = state | u64::from(owner) << OWNER_SHIFT | sequence << SEQUENCE_SHIFT;
        body | check(body, block, secret) << CHECK_SHIFT
    }

    /// What the word in the entry of `block` says; `None` if it is no such word.
    #[expect(clippy::cast_possible_truncation, reason = "masked to its bits")]
    pub(super) fn decode(word: u64, block: BlockIndex, secret: u64) -> Option<Self> {
        let body = word & ((1 << CHECK_SHIFT) - 1);
        if word >> CHECK_SHIFT != check(body, block, secret) {
            return None;
        }
        let owner = (body >> OWNER_SHIFT) as u16 & ((1 << OWNER_BITS) - 1);
        let sequence = body >> SEQUENCE_SHIFT;
        let is_possible = (1..SEQUENCE_FOUND_END).contains(&sequence);
        match body & ((1 << OWNER_SHIFT) - 1) {
            Self::FREE => Some(Self::Free),
            Self::USED if is_possible => Some(Self::Used { owner, sequence }),
            Self::FREED if is_possible => Some(Self::Freed { owner, sequence }),
            _ => None,
        }
    }
}

fn check(body: u64, block: BlockIndex, secret: u64) -> u64 {
    let crc = crc32c::crc32c(&body.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &block.0.to_le_bytes());
    u64::from(crc32c::crc32c_append(crc, &secret.to_le_bytes()) & 0xffff)
}

/// What the checksums of a block's records are mixed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSeal(u64);

impl BlockSeal {
    pub(super) const fn new(secret: u64, owner: u16, sequence: u64) -> Self {
        Self(mix(secret ^ mix(sequence << OWNER_BITS | owner as u64)))
    }

    /// The seal of the record that begins at this offset within the block, in bytes.
    #[inline]
    #[must_use]
    pub const fn at(self, offset_within: u64) -> u32 {
        (mix(self.0 ^ offset_within) >> 32) as u32
    }
}

/// One step of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014, in the variant of Vigna's splitmix64.c): each bit of the input changes half of the output.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u64 = 0x0123_4567_89ab_cdef;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let last = SEQUENCE_FOUND_END - 1;
        for entry in [
            Entry::Free,
            Entry::Used {
                owner: 0,
                sequence: 1,
            },
            Entry::Used {
                owner: 1023,
                sequence: last,
            },
            Entry::Freed {
                owner: 7,
                sequence: last,
            },
        ] {
            let word = entry.encode(BlockIndex(9), SECRET);
            assert_eq!(Entry::decode(word, BlockIndex(9), SECRET), Some(entry));
        }
    }

    #[test]
    fn numbers_that_no_block_gets_are_refused_though_their_check_is_good() {
        for sequence in [0, SEQUENCE_FOUND_END, SEQUENCE_END - 1] {
            let entry = Entry::Used { owner: 0, sequence };
            let word = entry.encode(BlockIndex(9), SECRET);
            assert_eq!(Entry::decode(word, BlockIndex(9), SECRET), None);
        }
    }

    #[test]
    fn zeros_flipped_bits_and_words_from_elsewhere_are_no_entries() {
        let entry = Entry::Used {
            owner: 3,
            sequence: 77,
        };
        let word = entry.encode(BlockIndex(9), SECRET);
        assert_eq!(Entry::decode(0, BlockIndex(9), SECRET), None);
        assert_eq!(Entry::decode(word, BlockIndex(8), SECRET), None);
        assert_eq!(Entry::decode(word, BlockIndex(9), SECRET + 1), None);
        for bit in 0..64 {
            assert_eq!(Entry::decode(word ^ 1 << bit, BlockIndex(9), SECRET), None);
        }
    }

    #[test]
    fn seals_differ_by_owner_sequence_and_place() {
        let seal = BlockSeal::new(SECRET, 1, 1).at(0);
        assert_ne!(seal, BlockSeal::new(SECRET, 1, 1).at(8));
        assert_ne!(seal, BlockSeal::new(SECRET, 2, 1).at(0));
        assert_ne!(seal, BlockSeal::new(SECRET, 1, 2).at(0));
        assert_ne!(seal, BlockSeal::new(SECRET + 1, 1, 1).at(0));
    }
}
