//! Address space for large values: a buddy allocator over one shard's slice of the large area.
//!
//! Extents are powers of two of [`LARGE_EXTENT_LEN_BYTES_MIN`], aligned to their own length
//! relative to the slice. Only address space is handed out; what is committed, the owner counts.
//! Rare by design (one call for at least a large value's worth of bytes), so sorted sets do.

use std::collections::BTreeSet;

use crate::limits::LARGE_EXTENT_LEN_BYTES_MIN;

/// The free extents of a slice.
#[derive(Debug)]
pub(super) struct Extents {
    start: u64,
    /// Free extents of each order by their index: extent i of order n is units i << n onwards.
    free: Vec<BTreeSet<u64>>,
}

const UNIT: u64 = LARGE_EXTENT_LEN_BYTES_MIN as u64;
/// Larger than any order.
const ORDER_MAX: usize = 40;

impl Extents {
    /// All of a slice, whose length is a power of two.
    pub(super) fn new(start: u64, len_bytes: u64) -> Self {
        assert!(len_bytes.is_power_of_two());
        assert!(len_bytes >= UNIT);
        let orders = (len_bytes / UNIT).ilog2() as usize + 1;
        let mut free = vec![BTreeSet::new(); orders];
        free[orders - 1].insert(0);
        Self { start, free }
    }

    /// Takes address space for `len_bytes`: its offset and its length, which may be more.
    pub(super) fn take(&mut self, len_bytes: u64) -> Option<(u64, u64)> {
        let order = order_of(len_bytes);
        let found = (order..self.free.len()).find(|&order| !self.free[order].is_empty())?;
        let mut index = self.free[found].pop_first().expect("the set was not empty");
        for order in (order..found).rev() {
            index *= 2;
            self.free[order].insert(index + 1);
        }
        Some((self.start + (index << order) * UNIT, UNIT << order))
    }

    /// Takes the address space that [`take`](Self::take) once gave for `len_bytes` at `offset`: its
    /// length. `None`: it was never given, or is taken.
    pub(super) fn take_at(&mut self, offset: u64, len_bytes: u64) -> Option<u64> {
        let order = order_of(len_bytes);
        let unit = offset.checked_sub(self.start)? / UNIT;
        let is_aligned = (offset - self.start).is_multiple_of(UNIT << order.min(ORDER_MAX));
        if !is_aligned || order >= self.free.len() {
            return None;
        }
        let holds = |order: &usize| self.free[*order].contains(&(unit >> *order));
        let found = (order..self.free.len()).find(holds)?;
        self.free[found].remove(&(unit >> found));
        for order in order..found {
            self.free[order].insert(unit >> order ^ 1);
        }
        Some(UNIT << order)
    }

    /// All free extents, as offsets and lengths.
    pub(super) fn free_extents(&self) -> impl Iterator<Item = (u64, u64)> {
        let start = self.start;
        (0..).zip(&self.free).flat_map(move |(order, indices)| {
            let len_bytes = UNIT << order;
            let extent = move |&index: &u64| (start + index * len_bytes, len_bytes);
            indices.iter().map(extent)
        })
    }

    /// Gives address space back, as it was taken.
    pub(super) fn give_back(&mut self, offset: u64, len_bytes: u64) {
        let mut order = order_of(len_bytes);
        debug_assert_eq!(UNIT << order, len_bytes);
        let mut index = (offset - self.start) / (UNIT << order);
        while order + 1 < self.free.len() && self.free[order].remove(&(index ^ 1)) {
            index /= 2;
            order += 1;
        }
        let is_new = self.free[order].insert(index);
        debug_assert!(is_new, "an extent is given back once");
    }
}

/// Address space that is taken for `len_bytes`.
pub(super) fn taken_bytes(len_bytes: u64) -> u64 {
    UNIT << order_of(len_bytes)
}

fn order_of(len_bytes: u64) -> usize {
    let units = len_bytes.div_ceil(UNIT).max(1);
    units.next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_do_not_overlap_and_merge_when_given_back() {
        let mut extents = Extents::new(1 << 40, UNIT * 64);
        let mut taken = Vec::new();
        while let Some(extent) = extents.take(UNIT * (1 + taken.len() as u64 % 3)) {
            taken.push(extent);
        }
        taken.sort_unstable();
        assert!(
            taken
                .windows(2)
                .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
        );
        assert!(taken.iter().all(|&(offset, _)| offset >= 1 << 40));
        for (offset, len_bytes) in taken {
            extents.give_back(offset, len_bytes);
        }
        assert_eq!(extents.take(UNIT * 64), Some((1 << 40, UNIT * 64)));
        assert_eq!(extents.take(1), None);
    }

    #[test]
    fn an_extent_taken_at_its_place_is_as_if_it_had_been_given() {
        let mut first = Extents::new(1 << 40, UNIT * 64);
        let given: Vec<_> = (1..6)
            .filter_map(|count| first.take(UNIT * count))
            .collect();
        let mut second = Extents::new(1 << 40, UNIT * 64);
        for (count, &(offset, len_bytes)) in (1..).zip(&given) {
            assert_eq!(second.take_at(offset, UNIT * count), Some(len_bytes));
            assert_eq!(second.take_at(offset, UNIT * count), None, "taken");
        }
        assert!(first.free_extents().eq(second.free_extents()));
        assert_eq!(second.take_at((1 << 40) + 1, 1), None, "between units");
        assert_eq!(second.take_at(0, 1), None, "before the slice");
        assert_eq!(second.take_at(1 << 40, u64::MAX), None, "longer than it");
    }

    #[test]
    fn lengths_are_rounded_up_to_powers_of_two_units() {
        let mut extents = Extents::new(0, UNIT * 8);
        assert_eq!(extents.take(1).map(|extent| extent.1), Some(UNIT));
        assert_eq!(
            extents.take(UNIT + 1).map(|extent| extent.1),
            Some(UNIT * 2)
        );
        assert_eq!(extents.take(UNIT * 9), None);
    }
}
