//! In how large folios the kernel caches the blocks of a file.
//!
//! A folio is what the kernel's cache has of a file in one piece: a page, or more where the file system
//! can (XFS, ext4 since Linux 6.16), at most a huge page. A round makes what it writes read-only, so that
//! the next change is noticed. Of a block in small pages that is an interrupt of every core for each of
//! 512, with the lock held that a page fault there waits for, and then 512 page faults; of a huge folio
//! one and one. But when one byte of it changes, the next round writes all of it. So blocks are cached in
//! huge folios where rounds find whole blocks of every shard to write anyway. Where each has some records,
//! under `appendfsync always` or when little is written, a round would write 2 MiB for them: there they are
//! as the kernel likes at first, and once huge ones were asked for, any but those.
//! (Measured: bench/results/2026-11-22-folios.)
//!
//! The kernel is told how to cache what it has not cached. A free block that it has otherwise is dropped
//! from the cache before it is used again. Which block it has how is an estimate: it may keep what it is
//! about to write, or read more than it was asked for.
//!
//! Not here: when that is asked (`preparing`), and how much is written (`demand`).

use std::collections::BTreeSet;

use super::{BlockIndex, Region};
use crate::limits::BLOCK_LEN_BYTES_MAX;
use crate::sys;

/// What folios blocks of the log should have, and have.
#[derive(Debug, Default)]
pub(super) struct Folios {
    are_huge: bool,
    /// Whether they are never to be huge.
    are_refused: bool,
    /// Blocks that were to be cached so when they last were.
    huge: BTreeSet<u32>,
}

impl Folios {
    /// From now on none is to be huge.
    pub(super) const fn refuse(&mut self) {
        self.are_refused = true;
    }

    /// Says what they should be from now on; whether that is another thing.
    pub(super) const fn turn(&mut self, are_huge: bool) -> bool {
        let are_huge = are_huge && !self.are_refused;
        let has_turned = self.are_huge != are_huge;
        self.are_huge = are_huge;
        has_turned
    }

    pub(super) const fn are_huge(&self) -> bool {
        self.are_huge
    }

    /// Whether a block is cached as it should be, if it is.
    pub(super) fn suits(&self, block: u32) -> bool {
        self.huge.contains(&block) == self.are_huge
    }

    /// A block will be cached as it should be.
    pub(super) fn note(&mut self, block: u32) {
        if self.are_huge {
            self.huge.insert(block);
        } else {
            self.huge.remove(&block);
        }
    }
}

impl Region {
    /// Whether huge folios are those of single blocks of a file.
    pub(super) const fn can_have_huge_folios(&self) -> bool {
        self.is_durable() && self.block_len_bytes() == BLOCK_LEN_BYTES_MAX as u64
    }

    /// Tells the kernel in what folios to cache blocks of the log.
    pub(super) fn advise_folios(&self, are_huge: bool) {
        let first = self.block_start(BlockIndex(self.plan.first_block));
        self.prefer_huge_pages(first, self.plan.large_start() - first, are_huge);
    }

    /// Has the kernel cache a block of a file in single pages, before it is first touched, if rounds will come while
    /// it is being filled.
    pub(super) fn cache_pages(&self, block: BlockIndex) {
        let free = self.lock_free();
        if free.folios.are_huge() || free.demand.has_filled_rounds(self.shard_count()) {
            return;
        }
        drop(free);
        if let Some((file, _)) = self.backing() {
            sys::cache_pages(file, self.block_start(block), self.block_len_bytes());
        }
    }

    /// Has the kernel cache a free block anew when it is used next.
    pub(super) fn drop_cached(&self, block: BlockIndex) {
        let Some((file, _)) = self.backing() else {
            return;
        };
        self.unmap_block(block);
        sys::drop_cached(file, self.block_start(block), self.block_len_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_suit_that_were_cached_as_they_should_be_now() {
        let mut folios = Folios::default();
        assert!(folios.suits(1));
        assert!(folios.turn(true) && !folios.turn(true));
        assert!(!folios.suits(1));
        folios.note(1);
        assert!(folios.suits(1) && !folios.suits(2));
        assert!(folios.turn(false));
        assert!(!folios.suits(1) && folios.suits(2));
        folios.note(1);
        assert!(folios.suits(1));
        folios.refuse();
        assert!(!folios.turn(true) && !folios.are_huge());
    }
}
