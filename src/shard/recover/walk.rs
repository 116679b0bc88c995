//! From one record of a block to the next, when the bytes may be anything.

#![expect(
    unsafe_code,
    reason = "recovery reads blocks that no log has taken over yet"
)]

use super::super::record::{HEADER_LEN_BYTES, Shape};
use super::super::seal::{Flaw, Found, examine};
use crate::limits::RECORD_ALIGN_BYTES;
use crate::region::{BlockIndex, BlockSeal, Region};

/// A walk over one block.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    seal: BlockSeal,
    at: usize,
}

/// What a step of the walk has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record, at this offset in the block.
    Record(usize, Shape),
    /// Nothing more was written to the block.
    End,
    /// Something else, at this offset; the walk is over unless it is told to go on.
    Flaw(usize, Flaw),
}

impl<'a> Walk<'a> {
    /// A walk over `block` from an offset where a record begins.
    ///
    /// # Safety
    /// Nobody writes to the block, but for expiry words, as long as the walk lives.
    pub(super) unsafe fn over(region: &'a Region, block: BlockIndex, at: usize) -> Self {
        let len_bytes = usize::try_from(region.block_len_bytes()).expect("a block is short");
        let start = region.address(region.block_start(block));
        // SAFETY: a block lies within the region; the rest is the caller's duty.
        let bytes = unsafe { std::slice::from_raw_parts(start, len_bytes) };
        Self {
            bytes,
            seal: region.block_seal(block),
            at,
        }
    }

    /// The next record, which the walk then goes past.
    pub(super) fn step(&mut self) -> Step {
        let at = self.at;
        if at == self.bytes.len() {
            return Step::End;
        }
        match examine(&self.bytes[at..], self.seal.at(at as u64)) {
            Ok(Found::Record(shape)) => {
                self.at += shape.len_bytes();
                Step::Record(at, shape)
            }
            Ok(Found::End) => Step::End,
            Err(flaw) => Step::Flaw(at, flaw),
        }
    }

    /// Goes on behind a flaw, at the next place where a record is; returns the bytes passed over.
    pub(super) fn pass_flaw(&mut self) -> usize {
        let start = self.at;
        self.at += RECORD_ALIGN_BYTES;
        while self.at < self.bytes.len() && matches!(self.clone_step(), Step::Flaw(..)) {
            self.at += RECORD_ALIGN_BYTES;
        }
        self.at - start
    }

    /// Where the walk is.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The bytes of a record that the walk has met.
    pub(super) fn record(&self, at: usize, shape: Shape) -> &'a [u8] {
        &self.bytes[at..][..shape.len_bytes()]
    }

    fn clone_step(&self) -> Step {
        Self { ..*self }.step()
    }
}

const _: () = assert!(HEADER_LEN_BYTES == RECORD_ALIGN_BYTES);
