//! What of `maxmemory` is used, and what comes back.
//!
//! ```text
//!   │ used                                             │ available      │
//!   │ in use                           │ owed          │                │
//!   0                                                          maxmemory
//! ```
//!
//! **Owed** is what nobody uses any more and later rounds give back: memory of a file that waits for the
//! disk in a shard's limbo, and returned blocks whose return is not on disk. Who is short of memory need
//! not free more while enough is owed: what it frees would come later still. In memory nothing is owed.
//!
//! Not here: the pages behind it (`blocks`).

use super::Region;
use crate::atomic::{AtomicU64, CachePadded, Ordering};
use crate::error::Error;
use crate::limits::{BLOCKS_PER_SHARD_MIN, PLENTY_LEN_BYTES};

/// The counters. Each is a sum of its own: nobody needs two of them as of one moment.
#[derive(Debug)]
pub(super) struct Budget {
    used_bytes: CachePadded<AtomicU64>,
    maxmemory_bytes: AtomicU64,
    /// Changes as rarely as blocks come and go.
    owed_bytes: AtomicU64,
}

impl Budget {
    pub(super) fn new(maxmemory_bytes: u64) -> Self {
        Self {
            used_bytes: CachePadded(AtomicU64::new(0)),
            maxmemory_bytes: AtomicU64::new(maxmemory_bytes),
            owed_bytes: AtomicU64::new(0),
        }
    }
}

impl Region {
    /// Changes the budget.
    ///
    /// # Errors
    /// If more is asked for than was reserved at start, or less than the shards need.
    pub fn set_maxmemory(&self, maxmemory_bytes: u64) -> Result<(), Error> {
        let capacity_bytes = self.capacity_bytes();
        if maxmemory_bytes > capacity_bytes {
            return Err(Error::MaxmemoryTooLarge {
                maxmemory_bytes,
                capacity_bytes,
            });
        }
        let needed_bytes =
            self.block_len_bytes() * (self.shard_count() * BLOCKS_PER_SHARD_MIN) as u64;
        if maxmemory_bytes < needed_bytes {
            return Err(Error::MaxmemoryTooSmall {
                maxmemory_bytes,
                needed_bytes,
            });
        }
        self.budget
            .maxmemory_bytes
            .store(maxmemory_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The budget.
    #[must_use]
    pub fn maxmemory_bytes(&self) -> u64 {
        self.budget.maxmemory_bytes.load(Ordering::Relaxed)
    }

    /// Bytes the budget counts as used.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.budget.used_bytes.0.load(Ordering::Relaxed)
    }

    /// Bytes that can still be taken.
    #[must_use]
    pub fn available_bytes(&self) -> u64 {
        self.maxmemory_bytes().saturating_sub(self.used_bytes())
    }

    /// Used bytes that the next rounds give back; 0 while none of them would.
    #[must_use]
    pub fn owed_bytes(&self) -> u64 {
        if self.is_held() || self.is_recovering() {
            return 0;
        }
        self.budget.owed_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that can be taken when all that is owed has been given back.
    #[must_use]
    pub fn expected_bytes(&self) -> u64 {
        (self.maxmemory_bytes() + self.owed_bytes()).saturating_sub(self.used_bytes())
    }

    /// Whether memory may run out for a command that brings `len_bytes`.
    #[must_use]
    pub fn is_short_of(&self, len_bytes: u64) -> bool {
        self.available_bytes() < PLENTY_LEN_BYTES + 4 * len_bytes
    }

    /// Counts `len_bytes` of memory outside the region against the budget. False: over budget.
    #[must_use]
    pub fn charge(&self, len_bytes: u64) -> bool {
        let limit_bytes = self.maxmemory_bytes();
        let used_bytes = &self.budget.used_bytes.0;
        used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used_bytes| {
                used_bytes
                    .checked_add(len_bytes)
                    .filter(|&sum| sum <= limit_bytes)
            })
            .is_ok()
    }

    /// Counts `len_bytes` even if the budget is passed, as what was there before it was asked: then takes
    /// fail until enough was given back.
    pub fn overdraw(&self, len_bytes: u64) {
        let used_bytes = &self.budget.used_bytes.0;
        used_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Counts `len_bytes` no longer.
    pub fn refund(&self, len_bytes: u64) {
        let used_bytes = &self.budget.used_bytes.0;
        let before = used_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        debug_assert!(before >= len_bytes);
    }

    /// Takes bytes off the budget that are in use, because a hold keeps them from being given back.
    pub fn lend(&self, len_bytes: u64) {
        self.refund(len_bytes);
    }

    /// Ends [`lend`](Self::lend), whether or not the budget has room for it: they are about to be
    /// given back.
    pub fn take_back(&self, len_bytes: u64) {
        self.overdraw(len_bytes);
    }

    /// Counts used bytes as owed.
    pub fn owe(&self, len_bytes: u64) {
        let owed_bytes = &self.budget.owed_bytes;
        owed_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Ends [`owe`](Self::owe): they are given back, or about to be.
    pub fn settle(&self, len_bytes: u64) {
        let owed_bytes = &self.budget.owed_bytes;
        let before = owed_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        debug_assert!(before >= len_bytes);
    }
}
