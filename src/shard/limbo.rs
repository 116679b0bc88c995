//! What a shard has given up but another core may still be reading, in the order it was given up.
//!
//! A thing enters when nothing refers to it any more, with the epoch of that moment, and leaves
//! when no core can have a reference left. The queue is drained from its front by background work
//! and, when memory is short, by the writer that needs some.

use std::collections::VecDeque;

use crate::region::{BlockIndex, Region};

use super::large::Extent;
use super::table::Directory;

/// A thing that waits for its readers.
#[derive(Debug)]
pub(super) enum Retired {
    /// One log block.
    Block(BlockIndex),
    /// A chain of log blocks, linked through their side array: all that FLUSHALL detached.
    Chain(BlockIndex),
    /// A segment of the table, by its offset.
    Segment(u64),
    /// A directory that was replaced by a larger one; its segments live on.
    Directory(Directory),
    /// A directory with all of its segments, from an index on: what FLUSHALL detached.
    Index(Directory, usize),
    /// Address space of a large value whose pages are still committed.
    Extent(Extent),
}

#[derive(Debug, Default)]
pub(super) struct Limbo {
    queue: VecDeque<(u64, Retired)>,
}

impl Limbo {
    /// Takes what has just been made unreachable.
    pub(super) fn push(&mut self, region: &Region, retired: Retired) {
        self.queue.push_back((region.epochs().retire(), retired));
    }

    /// The next thing that no other core can be reading.
    pub(super) fn pop_free(&mut self, region: &Region, shard: u16) -> Option<(u64, Retired)> {
        let &(epoch, _) = self.queue.front()?;
        if region.epochs().is_free(epoch, shard) {
            self.queue.pop_front()
        } else {
            None
        }
    }

    /// Puts back the rest of a thing that is freed in steps.
    pub(super) fn put_back(&mut self, epoch: u64, rest: Retired) {
        self.queue.push_front((epoch, rest));
    }

    /// Forgets everything. What some core may still be reading is leaked.
    pub(super) fn abandon(&mut self, region: &Region, shard: u16) {
        let queue = std::mem::take(&mut self.queue);
        let is_free = |&(epoch, _): &(u64, Retired)| region.epochs().is_free(epoch, shard);
        if !queue.back().is_none_or(is_free) {
            std::mem::forget(queue);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
