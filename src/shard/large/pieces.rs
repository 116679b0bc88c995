//! Changing a few pieces of a large value in a file: copies of those are written elsewhere, and the
//! addresses of the value show them.
//!
//! ```text
//!   addresses    ┌────────┬────────┬────────┬────────┐
//!   of the value │ 0      │ 1      │ 2      │ 3      │       contiguous, as all who read it expect
//!                └───┬────┴───┬────┴───┬────┴───┬────┘
//!   the file     ┌───▼────┬───┼────┬───▼────┬───▼────┐   ┌────────┐
//!                │ 0      │   │    │ 2      │ 3      │   │ 1'     │
//!                └────────┴───┼────┴────────┴────────┘   └───▲────┘
//!                             └──────────────────────────────┘
//! ```
//!
//! What is in the file does not change, so a crash finds the value of the last record that is whole:
//! the record of a change names the pieces that are not in the run ([`RunReference`]), those that came
//! with it marked. The pages of the pieces that were replaced wait in limbo like a run.
//!
//! The checksum of the whole value follows the change without a look at the rest: CRCs are linear, so
//! that of a value with a piece exchanged differs by what the two pieces' differ, moved over the bytes
//! behind it (`crc32c_combine`, as in zlib). A bad value stays bad.
//!
//! Addresses shown elsewhere are mappings of their own, of which a process may have 65,530
//! (`vm.max_map_count`): with too many of them, or if much of a value changes, it is copied as a whole.

use std::collections::BTreeSet;
use std::ops::Range;

use crc32c::{crc32c, crc32c_append, crc32c_combine};

use super::reference::{Piece, RunReference, pages_of};
use super::{Extent, Large, len_of};
use crate::limits::{LARGE_PIECE_LEN_BYTES, LARGE_SHOWN_PIECES_MAX, PAGE_LEN_BYTES};

/// A change of some pieces, on its way.
#[derive(Debug)]
pub(in super::super) struct Revision {
    run: u32,
    len_bytes: u64,
    /// Of the whole value, as far as it goes.
    check: u32,
    checked_bytes: u64,
    /// The new ones, in order.
    pieces: Vec<Piece>,
}

const PIECE_LEN: u64 = LARGE_PIECE_LEN_BYTES as u64;
/// What is copied of a value at most before all of it is.
const COPIED_DIVISOR: usize = 2;

impl Large {
    /// Which pieces change when `changed` bytes of a value do and its length becomes `len_bytes`.
    /// `None`: the value is to be copied, because it is pinned, it has outgrown its address space, or
    /// copying pieces would save little.
    pub(in super::super) fn pieces_of(
        &self,
        number: u32,
        changed: impl Iterator<Item = Range<usize>>,
        len_bytes: usize,
    ) -> Option<BTreeSet<u32>> {
        let run = self.run(number);
        if run.pin_count > 0 || len_bytes as u64 > run.reserved_bytes {
            return None;
        }
        let len_before = len_of(run);
        let grown = (len_before < len_bytes).then_some(len_before..len_bytes);
        let most = len_bytes.div_ceil(LARGE_PIECE_LEN_BYTES) / COPIED_DIVISOR;
        let mut indices = BTreeSet::new();
        for range in changed.chain(grown).filter(|range| !range.is_empty()) {
            let pieces =
                range.start / LARGE_PIECE_LEN_BYTES..=(range.end - 1) / LARGE_PIECE_LEN_BYTES;
            if pieces.clone().count() > most {
                return None;
            }
            indices.extend(pieces.filter_map(|index| u32::try_from(index).ok()));
        }
        let fresh = indices.iter().filter(|&&index| !run.has_piece(index));
        let is_shown = self.shown_count + fresh.count() <= self.shown_count_max();
        (indices.len() <= most && is_shown).then_some(indices)
    }

    /// Bytes of the reference to a value once pieces were replaced.
    pub(in super::super) fn reference_len_bytes(
        &self,
        number: u32,
        indices: &BTreeSet<u32>,
    ) -> usize {
        let run = self.run(number);
        let kept = run
            .pieces
            .iter()
            .filter(|piece| !indices.contains(&piece.index));
        RunReference::len_bytes_with(indices.len() + kept.count())
    }

    /// A change of pieces that leaves a value with `len_bytes`.
    pub(in super::super) fn begin_revision(&self, number: u32, len_bytes: usize) -> Revision {
        let run = self.run(number);
        debug_assert_eq!(run.checked_bytes, run.len_bytes);
        Revision {
            run: number,
            len_bytes: len_bytes as u64,
            check: run.check,
            checked_bytes: run.len_bytes,
            pieces: Vec::new(),
        }
    }

    /// Makes a copy of the next piece that changes; `change` is given its first byte's offset in the
    /// value, and its bytes. Indices come in order. `None` when over budget.
    pub(in super::super) fn revise(
        &mut self,
        revision: &mut Revision,
        index: u32,
        change: impl FnOnce(usize, &mut [u8]),
    ) -> Option<()> {
        let mut piece = Piece {
            index,
            check: 0,
            offset: 0,
            is_fresh: true,
        };
        let pages = piece.pages(revision.len_bytes);
        let committed_bytes = pages.end - pages.start;
        let (offset, reserved_bytes) = self.extents.take(PIECE_LEN)?;
        if !self.region.commit(offset, committed_bytes) {
            self.extents.give_back(offset, reserved_bytes);
            return None;
        }
        self.committed_bytes += committed_bytes;
        piece.offset = offset;

        let start = piece.start();
        let len_before = self.run(revision.run).len_bytes;
        let kept_bytes = bytes_of(piece.len_bytes(len_before));
        let after_bytes = bytes_of(piece.len_bytes(revision.len_bytes));
        let (before, after) = self.piece_bytes(revision.run, piece, kept_bytes, after_bytes);
        after[..kept_bytes].copy_from_slice(before);
        change(bytes_of(start), after);
        let check_before = crc32c(before);
        let (kept, grown) = after.split_at(kept_bytes);
        let kept_check = crc32c(kept);
        piece.check = crc32c_append(kept_check, grown);
        let behind_bytes = bytes_of(len_before.saturating_sub(start + kept_bytes as u64));
        revision.check ^= crc32c_combine(check_before ^ kept_check, 0, behind_bytes);
        revision.check = crc32c_combine(revision.check, crc32c(grown), grown.len());
        revision.checked_bytes += grown.len() as u64;
        revision.pieces.push(piece);
        Some(())
    }

    /// Lets the addresses of the value show its new pieces. False: the kernel refuses, and nothing
    /// has changed.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the borrow is what makes the addresses ours"
    )]
    pub(in super::super) fn show(&mut self, revision: &Revision) -> bool {
        let offset = self.run(revision.run).offset;
        for (done, piece) in revision.pieces.iter().enumerate() {
            if !self
                .region
                .show(offset + piece.start(), piece.offset, PIECE_LEN)
            {
                for piece in &revision.pieces[..done] {
                    let before = self.place_of(revision.run, piece.index);
                    let is_back = self.region.show(offset + piece.start(), before, PIECE_LEN);
                    assert!(
                        is_back,
                        "a mapping can be replaced by one of the same length"
                    );
                }
                return false;
            }
        }
        true
    }

    /// What a record says of the value with its new pieces.
    pub(in super::super) fn revised(&self, revision: &Revision) -> RunReference {
        debug_assert_eq!(revision.checked_bytes, revision.len_bytes);
        let run = self.run(revision.run);
        let is_kept = |piece: &&Piece| !revision.has_piece(piece.index);
        let kept = run.pieces.iter().filter(is_kept).map(|&piece| Piece {
            is_fresh: false,
            ..piece
        });
        let mut pieces: Vec<Piece> = kept.chain(revision.pieces.iter().copied()).collect();
        pieces.sort_unstable_by_key(|piece| piece.index);
        RunReference {
            number: revision.run,
            check: revision.check,
            offset: run.offset,
            len_bytes: revision.len_bytes,
            pieces,
        }
    }

    /// Makes the change part of the value, whose record says so and whose addresses show it; returns
    /// what it has replaced.
    pub(in super::super) fn apply(&mut self, revision: Revision) -> Extent {
        let RunReference { pieces, .. } = self.revised(&revision);
        let run = self.run_mut(revision.run);
        let len_before = run.len_bytes;
        let mut replaced = Extent::default();
        let mut added_bytes = 0;
        for piece in &revision.pieces {
            let pages = piece.pages(revision.len_bytes);
            added_bytes += pages.end - pages.start;
            match run.pieces.iter().find(|old| old.index == piece.index) {
                Some(old) => {
                    replaced.spaces.push((old.offset, PIECE_LEN));
                    replaced.add(old.pages(len_before));
                }
                None => {
                    let hole = Piece {
                        offset: run.offset + piece.start(),
                        ..*piece
                    };
                    replaced.add(hole.pages(len_before));
                }
            }
        }
        let shown_before = run.pieces.len();
        run.committed_bytes = run.committed_bytes + added_bytes - replaced.committed_bytes;
        run.len_bytes = revision.len_bytes;
        run.check = revision.check;
        run.checked_bytes = revision.len_bytes;
        self.shown_count += pieces.len() - shown_before;
        self.run_mut(revision.run).pieces = pieces;
        replaced
    }

    /// Gives up what was made for a change that does not come.
    pub(in super::super) fn give_up_revision(revision: Revision) -> Extent {
        let mut extent = Extent::default();
        for piece in revision.pieces {
            extent.spaces.push((piece.offset, PIECE_LEN));
            extent.add(piece.pages(revision.len_bytes));
        }
        extent
    }

    /// Shows the pieces of a run that was found. False: the kernel refuses.
    pub(super) fn show_found(&self, offset: u64, pieces: &[Piece]) -> bool {
        let show = |piece: &Piece| {
            self.region
                .show(offset + piece.start(), piece.offset, PIECE_LEN)
        };
        pieces.iter().all(show)
    }

    /// Gives back the places in runs whose pieces lie elsewhere: what is there belongs to records
    /// that are dead.
    pub(super) fn clear_holes(&self) {
        for run in self.runs.values() {
            for piece in &run.pieces {
                self.region
                    .clear_large(run.offset + piece.start(), PIECE_LEN);
            }
        }
    }

    /// The pages of a run.
    pub(super) fn pages(&self, number: u32) -> Vec<Range<u64>> {
        let run = self.run(number);
        pages_of(run.offset, run.len_bytes, &run.pieces)
    }

    /// Address space of the pieces of a run.
    pub(super) fn piece_spaces(&self, number: u32) -> impl Iterator<Item = (u64, u64)> {
        let pieces = self.run(number).pieces.iter();
        pieces.map(|piece| (piece.offset, PIECE_LEN))
    }

    /// Where in the file a piece of a run is.
    fn place_of(&self, number: u32, index: u32) -> u64 {
        let run = self.run(number);
        let piece = run.pieces.iter().find(|piece| piece.index == index);
        piece.map_or(run.offset + u64::from(index) * PIECE_LEN, |piece| {
            piece.offset
        })
    }

    const fn shown_count_max(&self) -> usize {
        LARGE_SHOWN_PIECES_MAX / self.shard_count
    }
}

impl Revision {
    fn has_piece(&self, index: u32) -> bool {
        self.pieces.iter().any(|piece| piece.index == index)
    }
}

fn bytes_of(len_bytes: u64) -> usize {
    usize::try_from(len_bytes).expect("part of a value")
}

const _: () = assert!((LARGE_PIECE_LEN_BYTES as u64).is_multiple_of(PAGE_LEN_BYTES));
