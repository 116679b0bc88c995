//! What the entries of an opened file add up to: whose blocks there are, which are free, which are bad.

use super::BlockIndex;
use super::entry::Entry;
use super::file::entry_offset;
use super::superblock::Superblock;
use crate::atomic::MappedWord;

/// A block that belonged to a log when the file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundBlock {
    /// Which block.
    pub block: BlockIndex,
    /// The shard, of its generation, whose log it is part of.
    pub owner: u16,
    /// Its place in that log.
    pub sequence: u64,
    /// Whether it was given up: it is no gap in the log, and holds nothing.
    pub is_freed: bool,
}

/// An entry that says nothing, or what cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// Whose entry.
    pub block: BlockIndex,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// The blocks of a file by what their entries say.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) free: Vec<u32>,
    /// Given up; also among `blocks`.
    pub(super) freed: Vec<u32>,
    /// By owner and sequence.
    pub(super) blocks: Vec<FoundBlock>,
    pub(super) bad: Vec<BadEntry>,
    /// Above the sequences of all blocks.
    pub(super) next_sequence: u64,
}

impl Census {
    /// Reads the entries from `first_block` on.
    pub(super) fn take<'a>(
        superblock: &Superblock,
        first_block: u32,
        word_of: impl Fn(BlockIndex) -> &'a MappedWord,
    ) -> Self {
        let mut census = Self::default();
        let mut blocks = Vec::new();
        for block in (first_block..superblock.geometry.block_count).map(BlockIndex) {
            match Entry::load(word_of(block), block, superblock.secret) {
                None => census.report(block, "its checksum is wrong".to_owned()),
                Some(Entry::Free) => census.free.push(block.0),
                Some(Entry::Freed { owner, sequence }) => {
                    census.freed.push(block.0);
                    blocks.push(FoundBlock {
                        block,
                        owner,
                        sequence,
                        is_freed: true,
                    });
                }
                Some(Entry::Used { owner, sequence }) => blocks.push(FoundBlock {
                    block,
                    owner,
                    sequence,
                    is_freed: false,
                }),
            }
        }
        let highest = blocks.iter().map(|found| found.sequence).max().unwrap_or(0);
        census.next_sequence = highest.max(superblock.generation().first_sequence) + 1;
        blocks.sort_unstable_by_key(|found| (found.owner, found.sequence));
        for same in blocks.chunk_by(|a, b| (a.owner, a.sequence) == (b.owner, b.sequence)) {
            census.judge(superblock, same);
        }
        census
    }

    /// Blocks that somebody has, and bad ones.
    pub(super) fn held_count(&self) -> u64 {
        (self.blocks.len() - self.freed.len() + self.bad.len()) as u64
    }

    /// Takes blocks with one place in one log: it must be a possible one, and only one may be used.
    fn judge(&mut self, superblock: &Superblock, same: &[FoundBlock]) {
        let used_count = same.iter().filter(|found| !found.is_freed).count();
        for found in same {
            let FoundBlock {
                block,
                owner,
                sequence,
                is_freed,
            } = *found;
            let generation = superblock.generation_of(sequence);
            let is_possible =
                generation.is_some_and(|generation| usize::from(owner) < generation.shard_count);
            if is_freed || (is_possible && used_count == 1) {
                self.blocks.push(*found);
            } else if is_possible {
                let reason = format!("several are block {sequence} of shard {owner}");
                self.report(block, reason);
            } else {
                self.report(block, format!("no shard {owner} has a block {sequence}"));
            }
        }
    }

    fn report(&mut self, block: BlockIndex, reason: String) {
        self.bad.push(BadEntry {
            block,
            offset: entry_offset(block),
            reason,
        });
    }
}
