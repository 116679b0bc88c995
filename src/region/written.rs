//! Which blocks of a file the next round will write, and how it finds them mapped.
//!
//! Before the kernel writes a page it makes it read-only, so that it notices the next change; and as any
//! core may have cached that the page can be written, it interrupts them all. For every page anew: a
//! round of 20 MiB interrupts each core 5,000 times. So before a round the written blocks are unmapped,
//! some at a time for one interrupt. What was written stays with the pages of the file, and the next
//! access maps them again; for blocks that will only be read from now on this is done at once.
//! (Measured: bench/results/2026-11-21-turns-at-the-budget.)
//!
//! Not here: when a round is run (`durable`), and who makes free blocks ready (`blocks`).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::Entry;
use super::{BlockIndex, Region};

/// Blocks with pages that were written since the last round began.
#[derive(Debug)]
pub(super) struct Written(Mutex<Lists>);

#[derive(Debug)]
struct Lists {
    blocks: BTreeSet<u32>,
    /// By shard: the block that its log ends in, which goes on being written.
    active: Vec<Option<u32>>,
}

impl Written {
    pub(super) fn new(shard_count: usize) -> Self {
        Self(Mutex::new(Lists {
            blocks: BTreeSet::new(),
            active: vec![None; shard_count],
        }))
    }

    /// A free block was made ready, which writes to it.
    pub(super) fn note_ready(&self, block: BlockIndex) {
        self.lock().blocks.insert(block.0);
    }

    /// The log of `owner` goes on in a block.
    pub(super) fn note_active(&self, block: BlockIndex, owner: u16) {
        let mut lists = self.lock();
        lists.blocks.insert(block.0);
        lists.active[usize::from(owner)] = Some(block.0);
    }

    /// All of them, and those that go on being written. Where there are no others, as with small rounds one
    /// after the other, none: to unmap a block for a page of it costs more than that page.
    fn take(&self) -> Option<(BTreeSet<u32>, BTreeSet<u32>)> {
        let mut lists = self.lock();
        let active: BTreeSet<u32> = lists.active.iter().copied().flatten().collect();
        if lists.blocks.is_subset(&active) {
            return None;
        }
        let blocks = std::mem::replace(&mut lists.blocks, active.clone());
        Some((blocks, active))
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Region {
    /// Unmaps what the round that is about to begin will write.
    pub(super) fn unmap_written(&self, written: &Written) {
        let Some((blocks, active)) = written.take() else {
            return;
        };
        for (first, count) in runs(&blocks) {
            self.unmap_blocks(BlockIndex(first), count);
        }
        for &block in blocks.difference(&active) {
            let block = BlockIndex(block);
            if matches!(self.entry(block), Some(Entry::Used { .. })) {
                self.preload_block(block);
            }
        }
    }
}

/// First number and length of each run of numbers that follow one another.
fn runs(numbers: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_that_a_log_ends_in_goes_with_others_that_were_written() {
        let written = Written::new(2);
        written.note_active(BlockIndex(3), 0);
        written.note_active(BlockIndex(4), 1);
        assert_eq!(written.take(), None);
        written.note_ready(BlockIndex(5));
        written.note_active(BlockIndex(7), 0);
        let taken = written.take();
        assert_eq!(taken, Some(([3, 4, 5, 7].into(), [4, 7].into())));
        assert_eq!(written.take(), None);
        written.note_active(BlockIndex(5), 1);
        let taken = written.take();
        assert_eq!(taken, Some(([4, 5, 7].into(), [5, 7].into())));
    }

    #[test]
    fn neighbours_are_unmapped_together() {
        assert_eq!(runs(&[1, 2, 3, 5, 8, 9].into()), [(1, 3), (5, 1), (8, 2)]);
        assert_eq!(runs(&BTreeSet::new()), []);
    }
}
