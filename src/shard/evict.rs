//! Eviction: whom to remove when memory is short and the policy allows it.
//!
//! ```text
//!   oldest block                                              young blocks, a tenth     active
//!   ┌────────┐┌────────┐┌────────┐┌────────┐┌────────┐     ┌────────┐┌────────┐     ┌────────┐
//!   │        ││ main ──►        ││        ││        │     │ young ─►         │     │ ◄ tail │
//!   └────────┘└────────┘└────────┘└────────┘└────────┘     └────────┘└────────┘     └────────┘
//! ```
//!
//! Two hands walk over the log, in which position is time. The **young hand** follows the tail at a
//! tenth of the log: what was never used since it was written goes, so a scan passes through a
//! tenth of the memory; what was used is proven. The **main hand** goes round over all that is
//! older: what was used since its last look stays and loses one use, what was not goes. Compaction
//! copies what stays to the tail, but its mark stays with its slot, so the young hand knows it.
//! After S3-FIFO (Yang et al., SOSP 2023), without its list of ghosts.
//!
//! | `maxmemory-policy`          | here                                                        |
//! |-----------------------------|-------------------------------------------------------------|
//! | allkeys-lru, allkeys-lfu    | both hands                                                  |
//! | volatile-lru, volatile-lfu  | both hands, which pass over keys without an expiry          |
//! | allkeys-random              | one hand: the oldest goes, no marks are kept                |
//! | volatile-random             | the same, passing over keys without an expiry               |
//! | volatile-ttl                | what expires first, to a slot of the expiry wheel           |
//!
//! **When.** Writes evict about what they add while memory is nearly used up, and a write that finds
//! none evicts until there is some. With several shards the one that holds most begins. A block that is
//! dead as a whole is given up at once; what is dead elsewhere gathers until compaction is worth it.
//!
//! Not here: what comes after, which is compaction, and marks (`table::mark`).

use crate::atomic::Ordering;
use crate::hash::KeyHash;
use crate::limits::{
    EVICTED_DIVISOR, EVICTION_HEADROOM_BLOCKS, EVICTION_HEADROOM_DIVISOR,
    EVICTION_HEADROOM_IN_FILE_FACTOR, HELD_BACK_DIVISOR, YOUNG_DIVISOR,
};

use super::compact::{BATCH_COUNT, Met, Victim};
use super::durable::tombstone_of;
use super::table::{Mark, Probe};
use super::{Key, Purpose, Shard};

/// Whom to evict when memory is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Nobody: writes are refused.
    #[default]
    Never,
    /// Any key; by use, or the oldest.
    Any {
        /// Whether uses count.
        by_use: bool,
    },
    /// Keys with an expiry; by use, or the oldest.
    Volatile {
        /// Whether uses count.
        by_use: bool,
    },
    /// Keys with an expiry, those first that expire first.
    SoonestToExpire,
}

/// Where the hands are.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    policy: Eviction,
    /// Numbers of the blocks that the hands were in last.
    young: u64,
    main: u64,
    look: Option<Look>,
    /// The key that a command is about to write, which stays.
    spared: Option<KeyHash>,
    /// Room for what says in a file that a key is gone is made without evicting.
    is_at_it: bool,
    pub(super) evicted_count: u64,
}

/// Estimate of a look at a key.
const LOOK_NS: u64 = 150;
/// Estimate of what it takes to let go of a key, and in a file to write that it is gone.
const EVICTED_NS: u64 = 400;

/// A block that is being walked over.
#[derive(Clone, Copy, Debug)]
struct Look {
    is_young: bool,
    number: u64,
    rest: Victim,
}

impl Eviction {
    const fn is_by_use(self) -> bool {
        matches!(
            self,
            Self::Any { by_use: true } | Self::Volatile { by_use: true }
        )
    }
}

impl Shard {
    /// Sets whom to evict.
    pub fn set_eviction(&mut self, policy: Eviction) {
        self.evictor.policy = policy;
        // Without address space for marks nobody is known to be used, and the oldest go.
        if self.region.keep_uses(policy.is_by_use()).is_ok() {
            self.table.charge_marks();
        }
    }

    /// How often a key was used since the hands last looked at it, three at most; nothing if it is
    /// not there. This does not count as a use.
    pub fn use_count(&mut self, key: Key<'_>, now_ms: u64) -> Option<u8> {
        let place = self.find_place(key, now_ms)?;
        Some(self.table.mark(place).count())
    }

    /// Says whether what is looked up from now on counts as a use that eviction knows of; whether it did
    /// not before. Readers on other cores count all the same.
    pub fn set_quiet(&mut self, is_quiet: bool) -> bool {
        self.table.set_quiet(is_quiet)
    }

    /// Whether what is looked up counts as no use.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.table.is_quiet()
    }

    /// Keeps a key from being evicted until another is named.
    #[inline]
    pub(super) fn spare(&mut self, key: Key<'_>) {
        self.evictor.spared = Some(key.hash());
    }

    /// Whether anything may be evicted.
    pub(super) fn is_evicting(&self) -> bool {
        match self.evictor.policy {
            Eviction::Never => false,
            Eviction::Any { .. } => true,
            Eviction::Volatile { .. } | Eviction::SoonestToExpire => self.volatile_count > 0,
        }
    }

    /// Whether memory is so short that keys must go before it is used up.
    pub(super) fn is_short_of_memory(&self) -> bool {
        let headroom_bytes = self.headroom_bytes();
        // What is on its way need not be freed a second time.
        let expected_bytes = self.region.expected_bytes();
        if expected_bytes >= headroom_bytes {
            return false;
        }
        let held_bytes = self.region.door(self.id).held_bytes.load(Ordering::Relaxed);
        expected_bytes < headroom_bytes / 2
            || held_bytes + self.region.block_len_bytes() >= self.region.held_bytes_max()
    }

    /// Whether so little is left that what is freed now may come too late.
    pub(super) fn is_nearly_out_of_memory(&self) -> bool {
        self.region.available_bytes() < self.headroom_bytes() / HELD_BACK_DIVISOR
    }

    /// Evicts for writes of `len_bytes`, if it is time to; whether any key went.
    pub(super) fn evict_ahead(&mut self, len_bytes: u64, time_ns: u64) -> bool {
        if !self.is_evicting() {
            return false;
        }
        let held_bytes = self.stats().held_bytes(self.region.block_len_bytes());
        let door = self.region.door(self.id);
        door.held_bytes.store(held_bytes, Ordering::Relaxed);
        self.is_short_of_memory() && !self.has_enough_dead() && self.evict(len_bytes, time_ns)
    }

    /// Whether compaction finds enough without evicting more.
    pub(super) fn has_enough_dead(&self) -> bool {
        let wanted_bytes = self.log.live_bytes() / EVICTED_DIVISOR;
        self.log.dead_bytes() >= wanted_bytes.max(self.region.block_len_bytes())
    }

    /// Evicts keys of about `len_bytes` in about `time_ns`; false when there are none.
    pub(super) fn evict(&mut self, len_bytes: u64, mut time_ns: u64) -> bool {
        if std::mem::replace(&mut self.evictor.is_at_it, true) {
            return false;
        }
        let mut evicted_bytes = 0;
        let mut fruitless_count = 0;
        while evicted_bytes < len_bytes && time_ns > 0 && self.can_evict() {
            let before_count = self.evictor.evicted_count;
            let batch_bytes = match self.evictor.policy {
                Eviction::SoonestToExpire => self.evict_soonest(),
                _ => self.evict_batch(),
            };
            evicted_bytes += batch_bytes;
            fruitless_count = if batch_bytes == 0 {
                fruitless_count + 1
            } else {
                0
            };
            // Every key is met five times before that, even if each was used three times.
            if fruitless_count > self.key_count + 5 * self.log.block_count() + 64 {
                break;
            }
            let gone_count = self.evictor.evicted_count - before_count;
            let batch_ns = LOOK_NS * BATCH_COUNT as u64 + EVICTED_NS * gone_count;
            self.pace.toil(batch_ns);
            time_ns = time_ns.saturating_sub(batch_ns);
        }
        self.evictor.is_at_it = false;
        evicted_bytes > 0
    }

    /// Whether there may be a key to let go, and there is room to say in a file that it is gone.
    fn can_evict(&mut self) -> bool {
        let tombstone_len_bytes = tombstone_of(&[]).len_bytes();
        let has_room =
            !self.log.is_durable() || self.log.has_room(tombstone_len_bytes, Purpose::Bound);
        has_room && self.is_evicting()
    }

    /// Bytes that stay free while keys are evicted.
    pub(super) fn headroom_bytes(&self) -> u64 {
        let shard_count = self.region.shard_count() as u64;
        let wanted_bytes = self.region.block_len_bytes() * EVICTION_HEADROOM_BLOCKS * shard_count;
        let most_bytes = self.region.maxmemory_bytes() / EVICTION_HEADROOM_DIVISOR;
        let factor = if self.region.is_durable() {
            EVICTION_HEADROOM_IN_FILE_FACTOR
        } else {
            1
        };
        wanted_bytes.min(most_bytes) * factor
    }

    /// Looks at some records under a hand; returns how many bytes went.
    fn evict_batch(&mut self) -> u64 {
        let Some(look) = self.current_look() else {
            return 0;
        };
        let mut batch = [None; BATCH_COUNT];
        let next = self.meet(look.rest, u64::MAX, &mut batch);
        let mut rest = look.rest;
        rest.next = next;
        self.evictor.look = (next < rest.end).then_some(Look { rest, ..look });
        let met = batch.into_iter().flatten();
        met.map(|met| self.judge(met, look.is_young)).sum()
    }

    /// What a hand is over: where it was, or the next block of the hand whose turn it is.
    fn current_look(&mut self) -> Option<Look> {
        if let Some(look) = self.evictor.look
            && self.log.block_begun_as(look.number) == Some(look.rest.block)
        {
            return Some(look);
        }
        let young_count = usize::try_from(self.log.block_count() / YOUNG_DIVISOR).ok()? + 1;
        let young = self.log.block_after(self.evictor.young);
        let young = young.filter(|&(number, _)| {
            self.evictor.policy.is_by_use() && self.log.is_followed_by(number, young_count)
        });
        let (number, block) = if let Some((number, block)) = young {
            self.evictor.young = number;
            (number, block)
        } else {
            // Round and round over what the young hand has passed, which is all if there is none.
            let last = match self.evictor.young {
                0 => u64::MAX,
                number => number,
            };
            let next = self.log.block_after(self.evictor.main);
            let (number, block) = next
                .filter(|&(number, _)| number <= last)
                .or_else(|| self.log.block_after(0))?;
            self.evictor.main = number;
            (number, block)
        };
        let (next, end) = self.log.extent_of(block);
        let look = Look {
            is_young: young.is_some(),
            number,
            rest: Victim::new(block, next, end),
        };
        self.evictor.look = Some(look);
        Some(look)
    }

    /// Lets a key go or marks it as looked at; returns how many bytes went.
    fn judge(&mut self, met: Met, is_young: bool) -> u64 {
        if met.shape.kind.is_grave() || Some(met.hash) == self.evictor.spared {
            return 0;
        }
        let is_volatile_only = matches!(self.evictor.policy, Eviction::Volatile { .. });
        let record = self.log.record(met.location);
        if is_volatile_only && record.expires_at_ms().is_none() {
            return 0;
        }
        let Some(place) = self.table.find_location(met.hash, met.location) else {
            return 0;
        };
        let mark = self.table.mark(place);
        let stays_as = match (is_young, mark.is_proven(), mark.is_used()) {
            (true, true, _) => Some(mark),
            (true, false, true) => Some(Mark::PROVEN),
            (false, _, true) => Some(mark.looked_at()),
            (_, _, false) => None,
        };
        match stays_as {
            Some(mark) => {
                self.table.set_mark(place, mark);
                0
            }
            None => self.take_out_evicted(place),
        }
    }

    /// Evicts the key that expires first, about.
    fn evict_soonest(&mut self) -> u64 {
        let Some(hash) = self.expiry.take_soonest() else {
            return 0;
        };
        let mut expires_at_ms = None;
        let log = &self.log;
        let found = self.table.find(Probe::of(hash), |location| {
            expires_at_ms = log.record(location).expires_at_ms();
            expires_at_ms.is_some()
        });
        let (Some((place, _)), Some(expires_at_ms)) = (found, expires_at_ms) else {
            if Some(hash) == self.evictor.spared {
                // Its record is about to be published.
                self.expiry.look_soon(hash);
            }
            return 0;
        };
        // An entry may be earlier than its key, and then goes back.
        let is_first = self.expiry.is_soonest(expires_at_ms);
        let freed_bytes = if is_first && Some(hash) != self.evictor.spared {
            self.take_out_evicted(place)
        } else {
            0
        };
        if freed_bytes == 0 {
            self.expiry.put_back(hash, expires_at_ms);
        }
        freed_bytes
    }

    fn take_out_evicted(&mut self, place: super::Place) -> u64 {
        let record = self.log.record(self.table.slot(place).location());
        let large_bytes = record.run().map_or(0, |run| self.large.len_bytes(run));
        let len_bytes = record.shape().len_bytes() + large_bytes;
        if !self.take_out_at_once(place) {
            return 0;
        }
        self.evictor.evicted_count += 1;
        len_bytes as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
