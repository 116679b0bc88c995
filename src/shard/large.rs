//! Large values: each in a run of its own, outside the log, changed in place by its owner.
//!
//! ```text
//!   record ─► run number ─► Run { offset, reserved, committed, len }
//!
//!             offset         len        committed                 reserved
//!             ├──────────────┼──────────┼─────────────────────────┤
//!             │ value        │ zeros    │ address space only      │
//!             └──────────────┴──────────┴─────────────────────────┘
//! ```
//!
//! Address space is taken in powers of two and costs nothing; pages are counted against the budget
//! as the value reaches them, so APPEND pays for what it adds. Bytes of the address space past the
//! value read as zero, always: extents are released to the kernel before they are used again, and a
//! value never shrinks in place.
//!
//! **Pins.** A core that sends a value from where it lives pins the run. A pinned run neither
//! changes nor goes away: a write to it copies, a delete condemns it until the last pin is gone.
//!
//! **In a file** the record says where the run is, how long its value and what its checksum: a start
//! needs nothing else (`reference`). So nothing of a value in a file is ever changed in place, which a
//! crash could leave half done: the pieces that change are written elsewhere (`pieces`).
//!
//! A key too long for a block of the log has its whole record in a run (`Owner::Key`); the run's
//! number stands in the eight bytes before the record.

#![expect(
    unsafe_code,
    reason = "runs are bytes of address space that this shard owns"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::limits::{LARGE_EXTENT_GROWTH, PAGE_LEN_BYTES, RECORD_ALIGN_BYTES};
use crate::region::Region;

use super::extents::{Extents, taken_bytes};
use super::slot::Location;

mod pieces;
mod reference;

use reference::Piece;

pub(super) use reference::RunReference;

/// The runs of one shard.
#[derive(Debug)]
pub(super) struct Large {
    region: Arc<Region>,
    slice: Range<u64>,
    extents: Extents,
    /// Runs that were found in other slices, for the shards of those to know.
    foreign: Vec<(u64, u64)>,
    /// By their numbers; a file may hold any.
    runs: BTreeMap<u32, Run>,
    free_numbers: Vec<u32>,
    /// No higher number was given out, and those below are in use or free.
    next_number: u32,
    /// Runs in limbo.
    retired_count: usize,
    shard_count: usize,
    /// Pieces that are shown elsewhere than where they are.
    shown_count: usize,
    committed_bytes: u64,
    /// Raised by FLUSHALL: older runs are garbage.
    generation: u32,
    /// Where the search for garbage goes on; `None`: there is none left.
    sweep_at: Option<u32>,
}

/// Pages and address space that are being given up.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Of the run if it is all of one, which keeps it until the extent is given back.
    number: Option<u32>,
    /// Pages that still count against the budget.
    pages: Vec<Range<u64>>,
    committed_bytes: u64,
    /// Address space, as it was taken; of a run its own first, then that of its pieces.
    spaces: Vec<(u64, u64)>,
}

impl Extent {
    /// Adds pages that count.
    fn add(&mut self, pages: Range<u64>) {
        self.committed_bytes += pages.end - pages.start;
        self.pages.push(pages);
    }

    /// Bytes that count against the budget.
    pub(super) const fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }
}

/// A run pinned for a core that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The run's number, for `Shard::unpin`.
    pub run: u32,
    /// Offset of the value's first byte in the region.
    pub offset: u64,
    /// Bytes of the value.
    pub len_bytes: usize,
}

#[derive(Debug)]
struct Run {
    offset: u64,
    reserved_bytes: u64,
    committed_bytes: u64,
    len_bytes: u64,
    pin_count: u32,
    generation: u32,
    state: State,
    /// In a file: the checksum of the first bytes, and of how many.
    check: u32,
    checked_bytes: u64,
    /// In a file: those that are not in the run, in order. Its addresses show them.
    pieces: Vec<Piece>,
}

impl Run {
    fn has_piece(&self, index: u32) -> bool {
        self.pieces.iter().any(|piece| piece.index == index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// No value yet, and pinned by whoever fills it.
    Draft,
    /// Given up, and pinned.
    Condemned,
    /// Given up; in limbo.
    Retired,
}

/// Bytes before the record in a run that holds one: the run's number.
const KEY_RUN_PREFIX_BYTES: usize = RECORD_ALIGN_BYTES;

impl Large {
    pub(super) fn new(region: Arc<Region>, shard: u16) -> Self {
        let (start, len_bytes) = region.large_slice(shard);
        let shard_count = region.shard_count();
        Self {
            region,
            slice: start..start + len_bytes,
            extents: Extents::new(start, len_bytes),
            foreign: Vec::new(),
            runs: BTreeMap::new(),
            free_numbers: Vec::new(),
            next_number: 0,
            retired_count: 0,
            shard_count,
            shown_count: 0,
            committed_bytes: 0,
            generation: 0,
            sweep_at: None,
        }
    }

    /// A run of `len_bytes` zeros; `None` when over budget. The budget is asked before anything is
    /// touched, so a failure costs nothing.
    pub(super) fn create(&mut self, len_bytes: usize) -> Option<u32> {
        self.create_within(len_bytes as u64, len_bytes as u64)
    }

    /// A run of `len_bytes` zeros that is expected to grow.
    pub(super) fn create_growing(&mut self, len_bytes: usize) -> Option<u32> {
        if self.region.is_durable() {
            return self.create(len_bytes);
        }
        let reserve_bytes = (len_bytes as u64).saturating_mul(LARGE_EXTENT_GROWTH);
        self.create_within(len_bytes as u64, reserve_bytes)
    }

    fn create_within(&mut self, len_bytes: u64, reserve_bytes: u64) -> Option<u32> {
        let committed_bytes = len_bytes.next_multiple_of(PAGE_LEN_BYTES);
        let taken = self
            .extents
            .take(reserve_bytes)
            .or_else(|| self.extents.take(len_bytes));
        let (offset, reserved_bytes) = taken?;
        if !self.region.commit(offset, committed_bytes) {
            self.extents.give_back(offset, reserved_bytes);
            return None;
        }
        self.committed_bytes += committed_bytes;
        let run = Run {
            offset,
            reserved_bytes,
            committed_bytes,
            len_bytes,
            pin_count: 0,
            generation: self.generation,
            state: State::Live,
            check: 0,
            checked_bytes: 0,
            pieces: Vec::new(),
        };
        let number = self.next_free_number();
        self.runs.insert(number, run);
        Some(number)
    }

    /// A number that no run has.
    fn next_free_number(&mut self) -> u32 {
        let returned = self.free_numbers.pop();
        returned.unwrap_or_else(|| {
            while self.runs.contains_key(&self.next_number) {
                self.next_number += 1;
            }
            self.next_number
        })
    }

    /// A run for a record that is too long for the log, and where the record goes.
    pub(super) fn create_for_record(&mut self, len_bytes: usize) -> Option<(u32, Location)> {
        let number = self.create(len_bytes + KEY_RUN_PREFIX_BYTES)?;
        self.bytes_mut(number)[..4].copy_from_slice(&number.to_le_bytes());
        let offset = self.run(number).offset + KEY_RUN_PREFIX_BYTES as u64;
        Some((number, Location::from_offset(offset)))
    }

    /// The bytes of the record in a run made for one.
    pub(super) fn record_mut(&mut self, number: u32) -> &mut [u8] {
        &mut self.bytes_mut(number)[KEY_RUN_PREFIX_BYTES..]
    }

    /// The run that holds the record at `location`, which lies in the large area.
    pub(super) fn run_of_record(&self, location: Location) -> u32 {
        let address = self
            .region
            .address(location.offset() - KEY_RUN_PREFIX_BYTES as u64);
        // SAFETY: records in the large area are preceded by their run's number.
        u32::from_le(unsafe { address.cast::<u32>().read() })
    }

    /// Takes a run over that a record in the file refers to; false: it cannot be, or is another's.
    pub(super) fn adopt(&mut self, reference: &RunReference) -> bool {
        let number = reference.number;
        if self.runs.contains_key(&number) || !reference.is_possible(&self.region) {
            return false;
        }
        let mut reserved_bytes = 0;
        for (index, (offset, len_bytes)) in reference.wanted().enumerate() {
            match self.take_over(offset, len_bytes) {
                // What was taken before stays taken: it is not known whose it is.
                None => return false,
                Some(taken_bytes) if index == 0 => reserved_bytes = taken_bytes,
                Some(_) => {}
            }
        }
        if !self.show_found(reference.offset, &reference.pieces) {
            return false;
        }
        self.runs.insert(
            number,
            Run {
                offset: reference.offset,
                reserved_bytes,
                committed_bytes: 0,
                len_bytes: reference.len_bytes,
                pin_count: 0,
                generation: self.generation,
                state: State::Live,
                check: reference.check,
                checked_bytes: reference.len_bytes,
                pieces: reference.pieces.clone(),
            },
        );
        let lens = self.pages(number);
        let committed_bytes = lens.iter().map(|pages| pages.end - pages.start).sum();
        self.run_mut(number).committed_bytes = committed_bytes;
        self.region.adopt_large(committed_bytes);
        self.committed_bytes += committed_bytes;
        self.shown_count += reference.pieces.len();
        true
    }

    /// Takes over a run that another number of shards has made, under a number of its own.
    pub(super) fn adopt_anew(&mut self, reference: RunReference) -> Option<RunReference> {
        let reference = RunReference {
            number: self.next_free_number(),
            ..reference
        };
        self.adopt(&reference).then_some(reference)
    }

    /// Address space for a run that was found. Of another shard's slice, where it stays when the
    /// number of shards was changed, it is not given back before the next start.
    fn take_over(&mut self, offset: u64, len_bytes: u64) -> Option<u64> {
        if self.is_own(offset) {
            return self.extents.take_at(offset, len_bytes);
        }
        self.foreign.push((offset, len_bytes));
        Some(len_bytes)
    }

    fn is_own(&self, offset: u64) -> bool {
        self.slice.contains(&offset)
    }

    /// The runs of this shard in slices of others, which must not use those places.
    pub(super) fn take_foreign(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.foreign)
    }

    /// Leaves a place in the slice of this shard to a run of another, if it is in this slice.
    pub(super) fn leave(&mut self, offset: u64, len_bytes: u64) {
        if self.is_own(offset) {
            self.extents.take_at(offset, len_bytes);
        }
    }

    /// All runs were taken over: what lies between them is free.
    pub(super) fn finish_adopting(&self) {
        for (offset, len_bytes) in self.extents.free_extents() {
            self.region.clear_large(offset, len_bytes);
        }
        self.clear_holes();
    }

    /// The value in a run.
    #[inline]
    pub(super) fn bytes(&self, number: u32) -> &[u8] {
        let run = self.run(number);
        // SAFETY: within the run's address space, which this shard owns and whose changes and end
        // take `&mut self`.
        unsafe { std::slice::from_raw_parts(self.region.address(run.offset), len_of(run)) }
    }

    /// The value in a run that nobody else sees: fresh, or not pinned.
    pub(super) fn bytes_mut(&mut self, number: u32) -> &mut [u8] {
        let run = self.run(number);
        assert!(run.state == State::Live && run.pin_count == 0);
        // SAFETY: as in `bytes`; no other core reads a run that is not pinned.
        unsafe { std::slice::from_raw_parts_mut(self.region.address(run.offset), len_of(run)) }
    }

    /// Whether the value may be changed where it is.
    pub(super) fn is_pinned(&self, number: u32) -> bool {
        self.run(number).pin_count > 0
    }

    pub(super) fn len_bytes(&self, number: u32) -> usize {
        len_of(self.run(number))
    }

    /// Lengthens a value by zeros where it is; `None` when over budget or out of address space.
    pub(super) fn grow(&mut self, number: u32, len_bytes: usize) -> Option<()> {
        let run = self.run(number);
        debug_assert!(run.pin_count == 0);
        let len_bytes = len_bytes as u64;
        if len_bytes > run.reserved_bytes {
            return None;
        }
        let wanted_bytes = len_bytes
            .next_multiple_of(PAGE_LEN_BYTES)
            .max(run.committed_bytes);
        let added_bytes = wanted_bytes - run.committed_bytes;
        let added_start = run.offset + run.committed_bytes;
        if added_bytes > 0 && !self.region.commit(added_start, added_bytes) {
            return None;
        }
        let run = self.run_mut(number);
        run.committed_bytes = wanted_bytes;
        run.len_bytes = run.len_bytes.max(len_bytes);
        self.committed_bytes += added_bytes;
        Some(())
    }

    /// Whether a value of `len_bytes` fits into the address space of its run.
    pub(super) fn has_space(&self, number: u32, len_bytes: usize) -> bool {
        len_bytes as u64 <= self.run(number).reserved_bytes
    }

    /// In a file: extends the checksum of a value to its first `end` bytes, which are final.
    pub(super) fn check_to(&mut self, number: u32, end: usize) {
        if self.region.is_durable() {
            let run = self.run(number);
            let start = usize::try_from(run.checked_bytes).expect("part of a value");
            let check = crc32c::crc32c_append(run.check, &self.bytes(number)[start..end]);
            let run = self.run_mut(number);
            (run.check, run.checked_bytes) = (check, end as u64);
        }
    }

    /// What a record says of a run that is complete.
    pub(super) fn reference(&mut self, number: u32) -> RunReference {
        self.check_to(number, self.len_bytes(number));
        let run = self.run(number);
        RunReference {
            number,
            check: run.check,
            offset: run.offset,
            len_bytes: run.len_bytes,
            pieces: run.pieces.clone(),
        }
    }

    /// A copy of a value, lengthened by zeros, with address space to grow.
    pub(super) fn copy(&mut self, number: u32, len_bytes: usize) -> Option<u32> {
        let copy = self.create_growing(len_bytes)?;
        let source = self.run(number);
        let target = self.run(copy);
        debug_assert!(target.len_bytes >= source.len_bytes);
        // SAFETY: two extents that do not overlap, each at least as long as the source's value.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.region.address(source.offset),
                self.region.address(target.offset),
                len_of(source),
            );
        }
        Some(copy)
    }

    /// Gives a run up. Its address space comes back when it is not pinned, else with its last pin.
    pub(super) fn condemn(&mut self, number: u32) -> Option<Extent> {
        let run = self.run_mut(number);
        debug_assert_eq!(run.state, State::Live);
        if run.pin_count > 0 {
            run.state = State::Condemned;
            return None;
        }
        Some(self.retire(number))
    }

    /// Keeps a run as it is until it is unpinned.
    pub(super) fn pin(&mut self, number: u32) -> Pinned {
        let run = self.run_mut(number);
        assert_eq!(run.state, State::Live, "only live values are pinned");
        run.pin_count += 1;
        self.pinned(number)
    }

    /// Where a pinned run is.
    pub(super) fn pinned(&self, number: u32) -> Pinned {
        let run = self.run(number);
        Pinned {
            run: number,
            offset: run.offset,
            len_bytes: len_of(run),
        }
    }

    /// Makes a fresh run a draft, with its one pin.
    pub(super) fn draft(&mut self, number: u32) -> Pinned {
        let pinned = self.pin(number);
        self.run_mut(number).state = State::Draft;
        pinned
    }

    /// The bytes of a draft, which nobody else looks at.
    pub(super) fn draft_mut(&mut self, number: u32) -> &mut [u8] {
        let run = self.run(number);
        assert!(run.state == State::Draft);
        // SAFETY: as in `bytes`; the only pin is of the command that fills it.
        unsafe { std::slice::from_raw_parts_mut(self.region.address(run.offset), len_of(run)) }
    }

    /// Ends a draft's pin; what is in it is final.
    pub(super) fn undraft(&mut self, number: u32) {
        let generation = self.generation;
        let run = self.run_mut(number);
        assert!(run.state == State::Draft && run.pin_count == 1);
        (run.state, run.pin_count, run.generation) = (State::Live, 0, generation);
    }

    /// Ends one pin; the last pin of a draft or of a run that was given up yields its address space.
    pub(super) fn unpin(&mut self, number: u32) -> Option<Extent> {
        let run = self.run_mut(number);
        assert!(
            run.pin_count > 0,
            "a run is unpinned as often as it was pinned"
        );
        run.pin_count -= 1;
        let is_over = matches!(run.state, State::Condemned | State::Draft) && run.pin_count == 0;
        is_over.then(|| self.retire(number))
    }

    /// Makes every run garbage, to be found by [`sweep`](Self::sweep).
    pub(super) const fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.sweep_at = Some(0);
    }

    /// Spares a run from the clearing that has just begun.
    pub(super) fn spare(&mut self, number: u32) {
        let generation = self.generation;
        self.run_mut(number).generation = generation;
    }

    /// Whether [`sweep`](Self::sweep) has more to look at.
    pub(super) const fn is_sweeping(&self) -> bool {
        self.sweep_at.is_some()
    }

    /// The next run that was made before the last [`clear`](Self::clear), given up. Looks at
    /// `count` runs at most.
    pub(super) fn sweep(&mut self, count: usize) -> Option<Extent> {
        for _ in 0..count {
            let Some((&number, run)) = self.runs.range(self.sweep_at?..).next() else {
                self.sweep_at = None;
                return None;
            };
            self.sweep_at = number.checked_add(1);
            if run.state == State::Live && run.generation != self.generation {
                let given_up = self.condemn(number);
                if given_up.is_some() {
                    return given_up;
                }
            }
        }
        None
    }

    /// Releases up to `budget_bytes` of an extent nobody can be reading; returns what is left.
    pub(super) fn release(&mut self, mut extent: Extent, budget_bytes: u64) -> Option<Extent> {
        let mut left_bytes = budget_bytes.next_multiple_of(PAGE_LEN_BYTES);
        while left_bytes > 0
            && let Some(pages) = extent.pages.last_mut()
        {
            let step_bytes = left_bytes.min(pages.end - pages.start);
            pages.end -= step_bytes;
            if step_bytes > 0 {
                self.region.uncommit(pages.end, step_bytes);
            }
            left_bytes -= step_bytes;
            extent.committed_bytes -= step_bytes;
            self.committed_bytes -= step_bytes;
            if pages.is_empty() {
                extent.pages.pop();
            }
        }
        if !extent.pages.is_empty() {
            return Some(extent);
        }
        self.give_back(&extent);
        None
    }

    /// Gives the address space of an extent back, whose pages are gone.
    fn give_back(&mut self, extent: &Extent) {
        let mut spaces = &extent.spaces[..];
        if let Some(number) = extent.number
            && let Some(run) = self.runs.remove(&number)
        {
            self.shown_count -= run.pieces.len();
            self.retired_count -= 1;
            self.free_numbers.push(number);
            if !run.pieces.is_empty()
                && !self.region.show(run.offset, run.offset, run.reserved_bytes)
            {
                // The kernel has no memory for a mapping less: these addresses are not used again.
                spaces = &spaces[1..];
            }
        }
        for &(offset, reserved_bytes) in spaces {
            if self.is_own(offset) {
                self.extents.give_back(offset, reserved_bytes);
            }
        }
    }

    /// Bytes of one run that count against the budget.
    pub(super) fn footprint_bytes(&self, number: u32) -> u64 {
        self.run(number).committed_bytes
    }

    /// Bytes of all runs that count against the budget.
    pub(super) const fn committed_bytes(&self) -> u64 {
        self.committed_bytes
    }

    /// Runs in use.
    pub(super) fn run_count(&self) -> usize {
        self.runs.len() - self.retired_count
    }

    fn retire(&mut self, number: u32) -> Extent {
        self.retired_count += 1;
        let run = self.run_mut(number);
        run.state = State::Retired;
        let mut extent = Extent {
            number: Some(number),
            spaces: vec![(run.offset, run.reserved_bytes)],
            ..Extent::default()
        };
        extent.spaces.extend(self.piece_spaces(number));
        self.pages(number)
            .into_iter()
            .for_each(|pages| extent.add(pages));
        extent
    }

    /// A piece of a value as it is, its first bytes, and the place of the new one.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the borrow is what makes the bytes ours"
    )]
    fn piece_bytes(
        &mut self,
        number: u32,
        piece: Piece,
        kept_bytes: usize,
        len_bytes: usize,
    ) -> (&[u8], &mut [u8]) {
        let run = self.run(number);
        debug_assert!(kept_bytes as u64 <= run.len_bytes - piece.start().min(run.len_bytes));
        let before = self.region.address(run.offset + piece.start());
        let after = self.region.address(piece.offset);
        // SAFETY: the first as in `bytes`, which these are a part of; the second is address space that
        // was just taken, and nobody else knows of.
        unsafe {
            (
                std::slice::from_raw_parts(before, kept_bytes),
                std::slice::from_raw_parts_mut(after, len_bytes),
            )
        }
    }

    fn run(&self, number: u32) -> &Run {
        self.runs
            .get(&number)
            .expect("a run is known by its number")
    }

    fn run_mut(&mut self, number: u32) -> &mut Run {
        self.runs
            .get_mut(&number)
            .expect("a run is known by its number")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "values were slices of this address space"
)]
const fn len_of(run: &Run) -> usize {
    run.len_bytes as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{KIB, MIB};
    use crate::region::RegionOptions;

    fn large() -> Large {
        let options = RegionOptions {
            maxmemory_bytes: 8 * MIB as u64,
            shard_count: 1,
        };
        Large::new(
            Arc::new(Region::anonymous(options).expect("a small region")),
            0,
        )
    }

    #[test]
    fn a_run_grows_in_place_and_pays_for_what_it_adds() {
        let mut large = large();
        let run = large.create_growing(300 * KIB).expect("8 MiB are enough");
        let committed_bytes = large.committed_bytes();
        assert_eq!(committed_bytes, 300 * KIB as u64);
        assert_eq!(large.grow(run, 300 * KIB + 1), Some(()));
        assert_eq!(large.committed_bytes(), committed_bytes + PAGE_LEN_BYTES);
        assert_eq!(large.grow(run, 9 * MIB), None, "over its address space");
        assert_eq!(large.bytes(run).len(), 300 * KIB + 1);
        assert!(large.bytes(run).iter().all(|&byte| byte == 0));
    }

    #[test]
    fn runs_stop_at_the_budget() {
        let mut large = large();
        assert!(large.create(5 * MIB).is_some());
        assert!(large.create(5 * MIB).is_none());
        assert_eq!(large.region.used_bytes(), 5 * MIB as u64);
        assert_eq!(large.run_count(), 1);
    }

    #[test]
    fn a_pinned_run_outlives_its_value() {
        let mut large = large();
        let run = large.create(MIB).expect("8 MiB are enough");
        large.bytes_mut(run).fill(7);
        large.pin(run);
        large.pin(run);
        assert!(large.condemn(run).is_none());
        assert!(large.bytes(run).iter().all(|&byte| byte == 7));
        assert!(large.unpin(run).is_none());
        let extent = large.unpin(run).expect("the last pin ends it");
        assert!(large.release(extent, u64::MAX - PAGE_LEN_BYTES).is_none());
        assert_eq!(large.region.used_bytes(), 0);
    }

    #[test]
    fn released_address_space_reads_as_zero_when_it_is_used_again() {
        let mut large = large();
        let run = large.create(MIB).expect("8 MiB are enough");
        large.bytes_mut(run).fill(7);
        let mut extent = large.condemn(run);
        let mut step_count = 0;
        while let Some(rest) = extent {
            extent = large.release(rest, 100 * KIB as u64);
            step_count += 1;
        }
        assert_eq!(step_count, 11);
        let again = large.create(MIB).expect("8 MiB are enough");
        assert_eq!(again, run);
        assert!(large.bytes(again).iter().all(|&byte| byte == 0));
    }

    #[test]
    fn runs_made_before_a_clear_are_swept_and_later_ones_stay() {
        let mut large = large();
        let old = large.create(MIB).expect("8 MiB are enough");
        large.clear();
        let new = large.create(MIB).expect("8 MiB are enough");
        assert!(large.sweep(10).is_some());
        assert!(large.sweep(10).is_none());
        assert!(!large.is_sweeping());
        assert_ne!(old, new);
        assert_eq!(large.len_bytes(new), MIB);
    }
}
