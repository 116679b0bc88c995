//! What a shard has given up but another core may still be reading, in the order it was given up.
//!
//! A thing enters when nothing refers to it any more, with the epoch of that moment, and leaves
//! when no core can have a reference left. The queues are drained from their fronts by background
//! work and, when memory is short, by the writer that needs some.
//!
//! **In a file** what holds records or values waits for the disk, too, in a queue of its own. Its end
//! may only be seen by a later start together with its reason: the copies, newer records and graves
//! that made it useless. So it waits until the log as it was then is settled, and until a round that
//! began later is durable; the latter puts the ends of blocks in the order in which they came, on
//! which the life of graves depends (`stream`). While somebody copies the file it waits as well, however
//! long that takes; so it counts against no budget meanwhile, only the disk has to have room for it.

use std::collections::VecDeque;

use crate::region::{BlockIndex, Region};

use super::large::Extent;
use super::table::Directory;

/// A thing that waits for its readers.
#[derive(Debug)]
pub(super) enum Retired {
    /// One log block.
    Block(BlockIndex),
    /// A chain of so many log blocks, linked through their side array: all that FLUSHALL detached.
    Chain(BlockIndex, u64),
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
    /// What waits for the disk as well.
    stored: VecDeque<(Moment, u64, Retired)>,
    /// What that holds of the budget.
    stored_bytes: u64,
    /// The round that was durable when a write had waited for more room in vain.
    in_vain: Option<u64>,
}

/// When something was given up, as the disk will know it.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    /// The first round that covers everything done before.
    round: u64,
    /// How far the shard's log had been written.
    position: u64,
    /// Taken off the budget until it leaves.
    lent_bytes: u64,
    /// Counted as owed until it leaves.
    owed_bytes: u64,
}

impl Limbo {
    /// Takes what has just been made unreachable.
    pub(super) fn push(&mut self, region: &Region, retired: Retired) {
        self.queue.push_back((region.epochs().retire(), retired));
    }

    /// The same for what lies in the file, of a shard whose log was written up to `position`.
    pub(super) fn push_stored(&mut self, region: &Region, position: u64, retired: Retired) {
        debug_assert!(retired.is_stored());
        let epoch = region.epochs().retire();
        let charged_bytes = retired.charged_bytes(region);
        let (lent_bytes, owed_bytes) = if region.is_held() {
            (charged_bytes, 0)
        } else {
            (0, charged_bytes)
        };
        region.lend(lent_bytes);
        region.owe(owed_bytes);
        let moment = Moment {
            round: region.rounds().needed(),
            position,
            lent_bytes,
            owed_bytes,
        };
        self.stored_bytes += charged_bytes;
        self.stored.push_back((moment, epoch, retired));
    }

    /// The next thing that no other core can be reading, and that the disk does not need.
    pub(super) fn pop_free(&mut self, region: &Region, shard: u16) -> Option<(u64, Retired)> {
        let is_free = |epoch: u64| region.epochs().is_free(epoch, shard);
        if self.queue.front().is_some_and(|&(epoch, _)| is_free(epoch)) {
            return self.queue.pop_front();
        }
        let &(moment, epoch, _) = self.stored.front()?;
        if !moment.is_past(region, shard) || !is_free(epoch) {
            return None;
        }
        let (moment, epoch, retired) = self.stored.pop_front()?;
        self.stored_bytes -= retired.charged_bytes(region);
        region.take_back(moment.lent_bytes);
        region.settle(moment.owed_bytes);
        Some((epoch, retired))
    }

    /// Puts back the rest of a thing that is freed in steps.
    pub(super) fn put_back(&mut self, region: &Region, epoch: u64, rest: Retired) {
        if region.is_durable() && rest.is_stored() {
            let owed_bytes = rest.charged_bytes(region);
            region.owe(owed_bytes);
            self.stored_bytes += owed_bytes;
            let moment = Moment {
                owed_bytes,
                ..Moment::default()
            };
            self.stored.push_front((moment, epoch, rest));
        } else {
            self.queue.push_front((epoch, rest));
        }
    }

    /// Notes that a write has waited in vain, with `round` durable.
    pub(super) const fn note_in_vain(&mut self, round: u64) {
        self.in_vain = Some(round);
    }

    /// Whether one has since `round` is durable.
    pub(super) fn was_in_vain(&self, round: u64) -> bool {
        self.in_vain == Some(round)
    }

    /// Bytes that wait for the disk.
    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Whether something waits for readers at most, which are soon gone; not for the disk.
    pub(super) fn is_draining(&self, region: &Region, shard: u16) -> bool {
        let is_on_disk = |(moment, ..): &(Moment, u64, Retired)| moment.is_past(region, shard);
        !self.queue.is_empty() || self.stored.front().is_some_and(is_on_disk)
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
        self.queue.len() + self.stored.len()
    }
}

impl Moment {
    fn is_past(self, region: &Region, shard: u16) -> bool {
        let rounds = region.rounds();
        let is_on_disk = rounds.is_durable(self.round) && rounds.settled(shard) >= self.position;
        is_on_disk && !region.is_held()
    }
}

impl Retired {
    /// Whether it lies in the file, if there is one.
    const fn is_stored(&self) -> bool {
        matches!(self, Self::Block(_) | Self::Chain(..) | Self::Extent(_))
    }

    /// What counts against the budget because of it, if it lies in the file.
    const fn charged_bytes(&self, region: &Region) -> u64 {
        match self {
            Self::Block(_) => region.block_len_bytes(),
            Self::Chain(_, block_count) => *block_count * region.block_len_bytes(),
            Self::Extent(extent) => extent.committed_bytes(),
            _ => 0,
        }
    }
}
