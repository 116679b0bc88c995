//! Use marks of the table's slots: what eviction knows of a key.
//!
//! ```text
//!   bit 2: has survived its first look        bits 1, 0: uses since the last, three at most
//! ```
//!
//! Counted by every lookup, also of other cores, which write the byte only until it says three.
//!
//! Not here: who looks and when (`evict`).

use crate::atomic::Ordering;
use crate::region::Region;

use super::{BUCKET_COUNT, BUCKET_SLOT_COUNT, Place, Table, bucket_offset};

/// What a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Mark(u8);

impl Mark {
    /// Of a key that was just written for the first time.
    pub(in super::super) const FRESH: Self = Self(0);
    /// After the first look that a key survived.
    pub(in super::super) const PROVEN: Self = Self(Self::IS_PROVEN);

    const COUNT: u8 = 0b11;
    const IS_PROVEN: u8 = 0b100;

    /// How often the key was used since the last look, three at most.
    pub(in super::super) const fn count(self) -> u8 {
        self.0 & Self::COUNT
    }

    /// Whether the key was used since the last look.
    pub(in super::super) const fn is_used(self) -> bool {
        self.count() > 0
    }

    /// Whether the key has survived a look.
    pub(in super::super) const fn is_proven(self) -> bool {
        self.0 & Self::IS_PROVEN != 0
    }

    /// After another look at a key that was used: one use less.
    pub(in super::super) const fn looked_at(self) -> Self {
        Self((self.0 | Self::IS_PROVEN) - 1)
    }
}

/// Counts a use of the slot at `offset`, if marks are kept, unless it `is_quiet`.
#[inline]
pub(super) fn touch(region: &Region, offset: u64, is_quiet: bool) {
    let Some(word) = region.use_mark(offset).filter(|_| !is_quiet) else {
        return;
    };
    let mark = word.load(Ordering::Relaxed);
    if mark & Mark::COUNT != Mark::COUNT {
        word.store(mark + 1, Ordering::Relaxed);
    }
}

impl Table {
    /// Counts a use of the key at `place`, if marks are kept.
    #[inline]
    pub(in super::super) fn touch(&self, place: Place) {
        touch(&self.region, place.offset, self.is_quiet);
    }

    /// Says whether lookups count as no use from now on; whether they did not before.
    pub(in super::super) fn set_quiet(&mut self, is_quiet: bool) -> bool {
        std::mem::replace(&mut self.is_quiet, is_quiet)
    }

    /// Whether lookups count as no use.
    pub(in super::super) const fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The use mark of a slot; that of a fresh key if none are kept.
    #[inline]
    pub(in super::super) fn mark(&self, place: Place) -> Mark {
        let word = self.region.use_mark(place.offset);
        word.map_or(Mark::FRESH, |word| Mark(word.load(Ordering::Relaxed)))
    }

    /// Sets the use mark of a slot, if marks are kept.
    #[inline]
    pub(in super::super) fn set_mark(&self, place: Place, mark: Mark) {
        if let Some(word) = self.region.use_mark(place.offset) {
            word.store(mark.0, Ordering::Relaxed);
        }
    }

    /// Makes the budget count the use marks of blocks for which it does not yet, if marks are kept.
    pub(in super::super) fn charge_marks(&mut self) {
        if !self.region.is_keeping_uses() {
            return;
        }
        for block in self.blocks.iter_mut().filter(|block| !block.is_marked) {
            block.is_marked = true;
            self.region.overdraw(self.region.use_marks_len_bytes());
        }
    }

    /// Gives the slots of two new segments the marks they have in `source`, where each is in the
    /// bucket of the same number.
    pub(super) fn carry_marks(&self, source: u64, targets: [u64; 2]) {
        if !self.region.is_keeping_uses() {
            return;
        }
        for bucket in 0..BUCKET_COUNT {
            let words = self.bucket(source, bucket);
            for target in targets {
                let carried = self.bucket(target, bucket);
                for (to, word) in (0..BUCKET_SLOT_COUNT as u64).zip(carried) {
                    let from = words.iter().position(|&other| other == word);
                    let from = from.unwrap_or_default() as u64;
                    let [from, to] = [(source, from), (target, to)].map(|(segment, index)| {
                        self.region
                            .use_mark(bucket_offset(segment, bucket) + index * 8)
                    });
                    if let (Some(from), Some(to)) = (from, to) {
                        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                }
            }
        }
    }
}
