//! Use marks: one byte for every slot of every table, for deciding whom to evict.
//!
//! ```text
//!   mark of the slot at offset o of the region = byte o / 8 of a reservation beside it
//! ```
//!
//! So whoever has found a slot, on whichever core, has found its mark, without a lookup. Pages appear
//! for parts of the index only, and only once marks are kept. A mark is a hint: two cores that count
//! at once may count one, and a slot's next tenant may find what the last one left.
//!
//! Not here: what a mark says (`shard::evict`).

#![expect(
    unsafe_code,
    reason = "marks are bytes of a mapping that no Rust type owns"
)]

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::atomic::{AtomicPtr, AtomicU8, Ordering, byte_at};
use crate::sys::Reservation;

use super::{BlockIndex, Region, to_usize};

/// Where marks are kept, if they are.
#[derive(Debug)]
pub(super) struct Uses {
    /// The first mark, while marks are kept.
    first: AtomicPtr<u8>,
    /// Made once, and then there as long as the region is.
    reservation: Mutex<Option<Reservation>>,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            first: AtomicPtr::new(std::ptr::null_mut()),
            reservation: Mutex::new(None),
        }
    }
}

/// Bytes of the region for which there is one mark: a slot.
const BYTES_PER_MARK: u64 = 8;

impl Region {
    /// Begins or stops keeping use marks.
    ///
    /// # Errors
    /// If the kernel refuses the address space.
    pub fn keep_uses(&self, is_wanted: bool) -> io::Result<()> {
        let reservation = self.uses.reservation.lock();
        let mut reservation = reservation.unwrap_or_else(PoisonError::into_inner);
        if !is_wanted {
            self.uses
                .first
                .store(std::ptr::null_mut(), Ordering::Release);
            return Ok(());
        }
        let marks = match reservation.take() {
            Some(marks) => marks,
            None => {
                let len_bytes = to_usize(self.plan.len_bytes() / BYTES_PER_MARK);
                let marks = Reservation::new(len_bytes)?;
                // The budget counts the marks of the index and no page more.
                marks.prefer_huge_pages(0, len_bytes, false);
                marks
            }
        };
        let first = reservation.insert(marks).as_ptr();
        self.uses.first.store(first, Ordering::Release);
        Ok(())
    }

    /// Whether use marks are kept.
    #[inline]
    #[must_use]
    pub fn is_keeping_uses(&self) -> bool {
        !self.uses.first.load(Ordering::Relaxed).is_null()
    }

    /// The mark of the slot at `offset`; none unless marks are kept.
    #[inline]
    #[must_use]
    pub fn use_mark(&self, offset: u64) -> Option<&AtomicU8> {
        debug_assert!(offset < self.plan.len_bytes());
        // Acquire: the mapping was made before its address was stored.
        let first = self.uses.first.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY:
        // 1. the reservation has a byte for every word of the region, and lives as long;
        // 2. marks are touched through here only.
        Some(unsafe { byte_at(first.add(to_usize(offset / BYTES_PER_MARK))) })
    }

    /// Bytes of the marks of one block of the index.
    #[must_use]
    pub const fn use_marks_len_bytes(&self) -> u64 {
        self.block_len_bytes() / BYTES_PER_MARK
    }

    /// Gives the pages of a block's marks back: it is no block of the index any more.
    pub fn forget_uses(&self, block: BlockIndex) {
        let reservation = self.uses.reservation.lock();
        let reservation = reservation.unwrap_or_else(PoisonError::into_inner);
        if let Some(marks) = &*reservation {
            let start = to_usize(self.block_start(block) / BYTES_PER_MARK);
            // SAFETY: marks are plain numbers of which any value is good, zero included.
            unsafe { marks.release(start, to_usize(self.use_marks_len_bytes())) };
        }
    }
}
