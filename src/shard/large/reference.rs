//! What a record says of the run that holds its value, and of the pieces that lie elsewhere.
//!
//! ```text
//!   0          4          8                   16                  24
//!   ┌──────────┬──────────┬───────────────────┬───────────────────┬─────────────────┐
//!   │ run, u32 │ crc, u32 │ offset, u64       │ length, u64       │ pieces          │
//!   └──────────┴──────────┴───────────────────┴───────────────────┴─────────────────┘
//!   a piece:   ┌────────────────────┬──────────┬───────────────────┐
//!              │ index and flag, u32│ crc, u32 │ offset, u64       │     in the order of their indices
//!              └────────────────────┴──────────┴───────────────────┘
//! ```
//!
//! The first checksum is that of the whole value. A piece has its own, so that a start can tell
//! whether what a change brought is there without reading the whole value for each change: the flag,
//! the index's highest bit, says that the piece came with this record.
//!
//! Not here: runs in use (`large`), and how pieces are changed (`pieces`).

#![expect(unsafe_code, reason = "recovery reads values before anybody owns them")]

use std::ops::Range;

use crate::limits::{BULK_LEN_BYTES_MAX, LARGE_PIECE_LEN_BYTES, PAGE_LEN_BYTES};
use crate::region::Region;

use super::taken_bytes;

/// What a record says of the run that holds its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct RunReference {
    pub(in super::super) number: u32,
    /// crc32c of the value; 0 in anonymous memory.
    pub(in super::super) check: u32,
    pub(in super::super) offset: u64,
    /// Of the value when the record was written.
    pub(in super::super) len_bytes: u64,
    /// Those that are not in the run, in order.
    pub(super) pieces: Vec<Piece>,
}

/// A piece of a value that is not in its run: it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which one of the value's.
    pub(super) index: u32,
    /// crc32c of it.
    pub(super) check: u32,
    /// Where it is.
    pub(super) offset: u64,
    /// Whether it was written for the record that says so.
    pub(super) is_fresh: bool,
}

const PIECE_LEN: u64 = LARGE_PIECE_LEN_BYTES as u64;
const IS_FRESH: u32 = 1 << 31;
/// Bytes of what is said of a piece.
const PIECE_ENTRY_LEN_BYTES: usize = 16;

impl Piece {
    /// Where in the value it begins.
    pub(super) fn start(self) -> u64 {
        u64::from(self.index) * PIECE_LEN
    }

    /// Bytes it has of a value of `len_bytes`.
    pub(super) fn len_bytes(self, len_bytes: u64) -> u64 {
        len_bytes.saturating_sub(self.start()).min(PIECE_LEN)
    }

    /// The pages it takes of a value of `len_bytes`.
    pub(super) fn pages(self, len_bytes: u64) -> Range<u64> {
        let len_bytes = self.len_bytes(len_bytes);
        self.offset..self.offset + len_bytes.next_multiple_of(PAGE_LEN_BYTES)
    }

    fn to_bytes(self) -> [u8; PIECE_ENTRY_LEN_BYTES] {
        let flag = if self.is_fresh { IS_FRESH } else { 0 };
        let mut bytes = [0; PIECE_ENTRY_LEN_BYTES];
        bytes[..4].copy_from_slice(&(self.index | flag).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.check.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; PIECE_ENTRY_LEN_BYTES]) -> Option<Self> {
        let word = u64::from_le_bytes(*bytes.first_chunk()?);
        let index = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        Some(Self {
            index: index & !IS_FRESH,
            check: u32::try_from(word >> 32).ok()?,
            offset: u64::from_le_bytes(*bytes.last_chunk()?),
            is_fresh: index & IS_FRESH != 0,
        })
    }
}

impl RunReference {
    /// Of a value without pieces elsewhere.
    pub(in super::super) const LEN_BYTES: usize = 24;

    /// Bytes of one with so many pieces elsewhere.
    pub(super) const fn len_bytes_with(piece_count: usize) -> usize {
        Self::LEN_BYTES + piece_count * PIECE_ENTRY_LEN_BYTES
    }

    /// Whether a reference can have this length.
    pub(in super::super) const fn is_possible_len(len_bytes: usize) -> bool {
        match len_bytes.checked_sub(Self::LEN_BYTES) {
            Some(rest) => rest.is_multiple_of(PIECE_ENTRY_LEN_BYTES),
            None => false,
        }
    }

    pub(in super::super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::len_bytes_with(self.pieces.len()));
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.check.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.len_bytes.to_le_bytes());
        bytes.extend(self.pieces.iter().flat_map(|piece| piece.to_bytes()));
        bytes
    }

    pub(in super::super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(Self::LEN_BYTES)?;
        let (numbers, _) = head.as_chunks::<4>();
        let (words, _) = head.as_chunks::<8>();
        let (pieces, odd) = rest.as_chunks::<PIECE_ENTRY_LEN_BYTES>();
        let pieces = pieces.iter().map(Piece::from_bytes);
        Some(Self {
            number: u32::from_le_bytes(*numbers.first()?),
            check: u32::from_le_bytes(*numbers.get(1)?),
            offset: u64::from_le_bytes(*words.get(1)?),
            len_bytes: u64::from_le_bytes(*words.get(2)?),
            pieces: pieces.collect::<Option<_>>()?,
        })
        .filter(|_| odd.is_empty())
    }

    /// Whether what came with this record is there: all of a value without pieces elsewhere, else
    /// the pieces that are fresh. Of a value that nobody writes.
    pub(in super::super) fn is_written(&self, region: &Region) -> bool {
        if self.pieces.is_empty() {
            return self.is_whole(region);
        }
        let mut fresh = self.pieces.iter().filter(|piece| piece.is_fresh);
        self.is_possible(region)
            && fresh.all(|piece| {
                let range = piece.offset..piece.offset + piece.len_bytes(self.len_bytes);
                check_over(region, [range]) == piece.check
            })
    }

    /// Whether the value is there, with this checksum. Of a value that nobody writes.
    pub(in super::super) fn is_whole(&self, region: &Region) -> bool {
        self.is_possible(region) && check_over(region, self.ranges()) == self.check
    }

    /// Whether such a value can be.
    pub(super) fn is_possible(&self, region: &Region) -> bool {
        let is_inside = |offset: u64, len_bytes: u64| {
            let end = offset.checked_add(len_bytes.max(1));
            region.is_large(offset) && end.is_some_and(|end| region.is_large(end - 1))
        };
        let is_there = |(offset, len_bytes): (u64, u64)| {
            offset.is_multiple_of(PAGE_LEN_BYTES)
                && is_inside(offset, len_bytes)
                && is_inside(offset, taken_bytes(len_bytes))
        };
        let is_ordered = self
            .pieces
            .is_sorted_by(|one, other| one.index < other.index);
        // The shortest that has pieces has two.
        let may_have_pieces = self.pieces.is_empty() || self.len_bytes > PIECE_LEN;
        let is_within = |piece: &Piece| piece.start() < self.len_bytes;
        // To sum up what no value can be would touch as much memory, or take as long, as a forger likes.
        let is_short_enough = self.len_bytes <= BULK_LEN_BYTES_MAX as u64;
        is_short_enough
            && is_ordered
            && may_have_pieces
            && self.pieces.iter().all(is_within)
            && self.wanted().all(is_there)
    }

    /// Address space that was asked for: offsets with lengths, the run's first.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u64, u64)> {
        let pieces = self.pieces.iter().map(|piece| (piece.offset, PIECE_LEN));
        [(self.offset, self.len_bytes)].into_iter().chain(pieces)
    }

    /// Address space that the value has, if it is a possible one.
    pub(in super::super) fn claims(&self, region: &Region) -> Vec<Range<u64>> {
        let taken = |(offset, len_bytes)| offset..offset + taken_bytes(len_bytes);
        let is_possible = self.is_possible(region);
        self.wanted().filter(|_| is_possible).map(taken).collect()
    }

    /// Where the value is, in order.
    fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges = pages_of(self.offset, self.len_bytes, &self.pieces);
        // The last one ends with the value.
        let excess = self.len_bytes.next_multiple_of(PAGE_LEN_BYTES) - self.len_bytes;
        if let Some(last) = ranges.last_mut() {
            last.end -= excess;
        }
        ranges
    }
}

/// The pages of a value, in order: its run's where it has no piece elsewhere.
pub(super) fn pages_of(offset: u64, len_bytes: u64, pieces: &[Piece]) -> Vec<Range<u64>> {
    let mut pages = Vec::with_capacity(2 * pieces.len() + 1);
    let mut next = 0;
    for piece in pieces {
        if piece.start() > next {
            pages.push(offset + next..offset + piece.start());
        }
        pages.push(piece.pages(len_bytes));
        next = piece.start() + PIECE_LEN;
    }
    let end = len_bytes.next_multiple_of(PAGE_LEN_BYTES);
    if end > next {
        pages.push(offset + next..offset + end);
    }
    pages
}

/// crc32c of ranges of the large area together, that nobody writes.
fn check_over(region: &Region, ranges: impl IntoIterator<Item = Range<u64>>) -> u32 {
    ranges.into_iter().fold(0, |check, range| {
        let len_bytes = usize::try_from(range.end - range.start).expect("less than the region");
        // SAFETY: within the large area, as the callers have checked, and not written by anyone, as
        // recovery sees to.
        let bytes = unsafe { std::slice::from_raw_parts(region.address(range.start), len_bytes) };
        crc32c::crc32c_append(check, bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(pieces: &[(u32, u64)]) -> RunReference {
        let piece = |&(index, offset): &(u32, u64)| Piece {
            index,
            check: 7 * index,
            offset,
            is_fresh: index % 2 == 1,
        };
        RunReference {
            number: 3,
            check: 0xABCD_EF01,
            offset: 1 << 40,
            len_bytes: 3 * PIECE_LEN + 5000,
            pieces: pieces.iter().map(piece).collect(),
        }
    }

    #[test]
    fn references_are_read_as_they_were_written() {
        for pieces in [vec![], vec![(0, 4096)], vec![(1, 4096), (3, 1 << 41)]] {
            let reference = reference(&pieces);
            let bytes = reference.to_bytes();
            assert_eq!(bytes.len(), RunReference::len_bytes_with(pieces.len()));
            assert_eq!(RunReference::from_bytes(&bytes), Some(reference));
            assert_eq!(RunReference::from_bytes(&bytes[1..]), None);
        }
        assert_eq!(RunReference::from_bytes(&[0; 23]), None);
    }

    #[test]
    fn a_value_is_in_its_run_but_for_the_pieces_elsewhere() {
        let far = 1 << 41;
        let base = 1 << 40;
        let ranges = |pieces: &[(u32, u64)]| reference(pieces).ranges();
        let end = base + 3 * PIECE_LEN + 5000;
        assert_eq!(ranges(&[]).as_slice(), std::slice::from_ref(&(base..end)));
        assert_eq!(
            ranges(&[(1, far)]),
            [
                base..base + PIECE_LEN,
                far..far + PIECE_LEN,
                base + 2 * PIECE_LEN..end
            ]
        );
        assert_eq!(
            ranges(&[(3, far)]),
            [base..base + 3 * PIECE_LEN, far..far + 5000]
        );
    }
}
