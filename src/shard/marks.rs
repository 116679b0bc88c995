//! Which records of a block are dead: one bit for each place where a record can start.
//!
//! Compaction walks blocks of which most is dead. With the marks it passes over a dead record at the
//! cost of its header, and looks only live ones up in the table.

use crate::limits::{BLOCK_LEN_BYTES_MAX, RECORD_LEN_BYTES_MIN};
use crate::region::prefetch;

/// The marks of one block: at most 16 KiB, 0.8 % of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Box<[u64]>);

impl Marks {
    /// No mark in a block of `block_len_bytes`.
    pub(super) fn new(block_len_bytes: usize) -> Self {
        let word_count = (block_len_bytes / RECORD_LEN_BYTES_MIN).div_ceil(BITS);
        let mut words = Vec::with_capacity(word_count);
        // Written here and not left to the kernel to clear when marked: the first overwrites after
        // a load would meet a page without memory each (measured: up to 6 ms in one turn).
        std::hint::black_box(&mut words).resize(word_count, 0);
        Self(words.into())
    }

    /// Takes all marks back.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Marks the record that starts at `offset` in the block.
    #[inline]
    pub(super) fn mark(&mut self, offset: usize) {
        let bit = offset / RECORD_LEN_BYTES_MIN;
        self.0[bit / BITS] |= 1 << (bit % BITS);
    }

    /// Begins to fetch the mark of the record that starts at `offset`, if there is one.
    #[inline(always)]
    pub(super) fn prefetch(&self, offset: u64) {
        let word = offset / (RECORD_LEN_BYTES_MIN * BITS) as u64;
        if let Some(word) = usize::try_from(word).ok().and_then(|word| self.0.get(word)) {
            prefetch(word);
        }
    }

    /// Whether the record that starts at `offset` in the block is marked.
    #[inline]
    pub(super) fn is_marked(&self, offset: usize) -> bool {
        let bit = offset / RECORD_LEN_BYTES_MIN;
        self.0[bit / BITS] >> (bit % BITS) & 1 != 0
    }
}

/// Bits of a word.
const BITS: usize = 64;

const _: () = assert!(BLOCK_LEN_BYTES_MAX / RECORD_LEN_BYTES_MIN / 8 == 16 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_record() {
        let mut marks = Marks::new(BLOCK_LEN_BYTES_MAX);
        let last = BLOCK_LEN_BYTES_MAX - RECORD_LEN_BYTES_MIN;
        for offset in [0, 24, 1000, last] {
            assert!(!marks.is_marked(offset));
            marks.mark(offset);
            assert!(marks.is_marked(offset));
        }
        assert!(!marks.is_marked(RECORD_LEN_BYTES_MIN * 2));
    }
}
