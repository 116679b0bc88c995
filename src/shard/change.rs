//! Writes that change a part of a value, and those that move one to another key.
//!
//! A value in the log is written again, changed. A large one is changed where it is, so that a small
//! change costs what it changes; unless it is pinned or has outgrown its address space, then it is
//! copied once. In a file nothing may change in place, because a crash could leave a half of it: the
//! pieces that change are written elsewhere (`large::pieces`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::durable::tombstone_of;
use super::{
    Attributes, Key, Kind, Large, OutOfMemory, Place, Purpose, Retired, Shape, Shard, Slot, Space,
    shape_of,
};

/// A change of one key's value: bytes that go to offsets, zeros before them if it was shorter.
struct Patch<'a> {
    pieces: &'a [(usize, &'a [u8])],
    /// Of the value after the change.
    len_bytes: usize,
}

/// A large value that is to be changed.
#[derive(Clone, Copy)]
struct Target {
    place: Place,
    run: u32,
}

impl Patch<'_> {
    fn write(&self, value: &mut [u8]) {
        for (offset_bytes, bytes) in self.pieces {
            value[*offset_bytes..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Writes what of it falls into a part of the value that begins at `start`.
    fn write_within(&self, start: usize, part: &mut [u8]) {
        let end = start + part.len();
        for (offset_bytes, bytes) in self.pieces {
            let from = start.max(*offset_bytes);
            let to = end.min(offset_bytes + bytes.len());
            if from < to {
                part[from - start..to - start]
                    .copy_from_slice(&bytes[from - offset_bytes..to - offset_bytes]);
            }
        }
    }

    /// What it changes.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let pieces = self.pieces.iter();
        pieces.map(|(offset_bytes, bytes)| *offset_bytes..offset_bytes + bytes.len())
    }
}

impl Shard {
    /// Adds bytes at the end of a value, or makes it; returns its length. The expiry stays.
    /// The caller has checked that the new length is allowed.
    ///
    /// # Errors
    /// If there is no memory for it; the value is then as it was.
    pub fn append(&mut self, key: Key<'_>, tail: &[u8], now_ms: u64) -> Result<u64, OutOfMemory> {
        let Some(place) = self.find_place(key, now_ms) else {
            self.store(key, tail, Attributes::default(), now_ms)?;
            return Ok(tail.len() as u64);
        };
        let offset_bytes = self.value_len_bytes(place);
        let len_bytes = offset_bytes + tail.len();
        self.patch(
            key,
            place,
            &Patch {
                pieces: &[(offset_bytes, tail)],
                len_bytes,
            },
            now_ms,
        )
    }

    /// Overwrites a part of a value: [`Self::write_ranges`] with one piece.
    ///
    /// # Errors
    /// If there is no memory for it; the value is then as it was.
    pub fn write_range(
        &mut self,
        key: Key<'_>,
        offset_bytes: usize,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        self.write_ranges(key, &[(offset_bytes, bytes)], now_ms)
    }

    /// Overwrites parts of a value by pieces, each with its offset. The value is lengthened by zeros
    /// as needed, or made; returns its length. The expiry stays. All pieces are seen at once, or, if
    /// it cannot be, none. The caller has checked that the new length is allowed.
    ///
    /// # Errors
    /// If there is no memory for it; the value is then as it was.
    pub fn write_ranges(
        &mut self,
        key: Key<'_>,
        pieces: &[(usize, &[u8])],
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        let ends = pieces.iter().map(|(offset, bytes)| offset + bytes.len());
        let end = ends.max().unwrap_or(0);
        let made = Patch {
            pieces,
            len_bytes: end,
        };
        let attributes = Attributes {
            is_raw: true,
            ..Attributes::default()
        };
        let place = match self.find_place(key, now_ms) {
            Some(place) => place,
            None if self.is_large(key, end, attributes) => {
                let run = self.with_room(|shard| shard.large.create(end))?;
                made.write(self.large.bytes_mut(run));
                return self.store_changed(key, run, attributes, now_ms);
            }
            None => {
                let mut value = vec![0; end];
                made.write(&mut value);
                self.store(key, &value, attributes, now_ms)?;
                return Ok(end as u64);
            }
        };
        let len_bytes = self.value_len_bytes(place).max(end);
        self.patch(key, place, &Patch { pieces, len_bytes }, now_ms)
    }

    /// Moves a value with its expiry to another key of this shard, replacing what that had; false
    /// when there is nothing to move. Other cores see both keys change at once.
    ///
    /// # Errors
    /// If there is no memory for the target's record; both keys are then as they were.
    pub fn rename(
        &mut self,
        source: Key<'_>,
        target: Key<'_>,
        now_ms: u64,
    ) -> Result<bool, OutOfMemory> {
        if self.find_place(source, now_ms).is_none() {
            return Ok(false);
        }
        if source.bytes == target.bytes {
            return Ok(true);
        }
        let target_place = self.place_for(target)?;
        // Looked up again: making room for the target may have split the table.
        let source_place = self
            .find_place(source, now_ms)
            .expect("it was there a moment ago");
        let record = self.log.record(self.table.slot(source_place).location());
        let expires_at_ms = record.expires_at_ms();
        let shape = Shape {
            key_len_bytes: target.bytes.len(),
            has_expiry: expires_at_ms.is_some(),
            is_member: false,
            ..record.shape()
        };
        if let Some(expires_at_ms) = expires_at_ms {
            self.arm(
                target_place,
                target.hash(),
                expires_at_ms,
                now_ms,
                Purpose::Write,
            )?;
        }
        if self.log.is_durable() {
            // Both records or none: after this neither can fail.
            self.make_room(&[shape, tombstone_of(source.bytes)], Purpose::Write)?;
        }
        let space = self.reserve(shape, Purpose::Write)?;
        let moved = self.table.slot(source_place).location();
        let (record, out) = match &space {
            Space::Log(reserved) => self.log.fill_from(moved, reserved),
            Space::Run(run, _) => (self.log.record(moved), self.large.record_mut(*run)),
        };
        shape
            .write(out, target.bytes, expires_at_ms)
            .copy_from_slice(record.value());
        self.complete(&space);
        if self.log.is_durable() {
            self.entomb(source_place)?;
        }
        self.begin_publish();
        self.mark_change(source.hash());
        self.put(target_place, target.hash(), space.location(), now_ms);
        self.table.remove(source_place);
        self.end_publish();
        self.volatile_count += u64::from(expires_at_ms.is_some());
        self.key_count -= 1;
        self.removals += 1;
        self.bury(moved);
        self.pay_for(shape.len_bytes());
        Ok(true)
    }

    fn value_len_bytes(&self, place: Place) -> usize {
        let record = self.log.record(self.table.slot(place).location());
        record
            .run()
            .map_or(record.value().len(), |run| self.large.len_bytes(run))
    }

    fn patch(
        &mut self,
        key: Key<'_>,
        place: Place,
        patch: &Patch<'_>,
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        let record = self.log.record(self.table.slot(place).location());
        let expires_at_ms = record.expires_at_ms();
        let attributes = Attributes {
            expires_at_ms,
            is_raw: true,
        };
        if let Some(run) = record.run() {
            self.patch_large(key, Target { place, run }, patch, attributes, now_ms)
        } else if self.is_large(key, patch.len_bytes, attributes) {
            let len_bytes = patch.len_bytes;
            let run = self.with_room(|shard| shard.large.create_growing(len_bytes))?;
            let record = self.log.record(self.table.slot(place).location());
            let value = self.large.bytes_mut(run);
            value[..record.value().len()].copy_from_slice(record.value());
            patch.write(value);
            self.store_changed(key, run, attributes, now_ms)
        } else {
            self.patch_small(key, place, patch, attributes, now_ms)
        }
    }

    /// Writes a changed copy of a value in the log.
    fn patch_small(
        &mut self,
        key: Key<'_>,
        place: Place,
        patch: &Patch<'_>,
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        let shape = super::shape_of(key, patch.len_bytes, attributes);
        let space = self.reserve(shape, Purpose::Write)?;
        let source = self.table.slot(place).location();
        let (record, out) = match &space {
            Space::Log(reserved) => self.log.fill_from(source, reserved),
            Space::Run(run, _) => (self.log.record(source), self.large.record_mut(*run)),
        };
        let old = record.value();
        let value = shape.write(out, key.bytes, attributes.expires_at_ms);
        value[..old.len()].copy_from_slice(old);
        value[old.len()..].fill(0);
        patch.write(value);
        self.complete(&space);
        self.put(place, key.hash(), space.location(), now_ms);
        self.volatile_count += u64::from(attributes.expires_at_ms.is_some());
        self.pay_for(shape.len_bytes());
        Ok(patch.len_bytes as u64)
    }

    /// Changes a large value where it is, or copies of the pieces that change, or a copy of it.
    fn patch_large(
        &mut self,
        key: Key<'_>,
        target: Target,
        patch: &Patch<'_>,
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        let run = target.run;
        let len_bytes = patch.len_bytes;
        let may_change = !self.log.is_durable() && !self.large.is_pinned(run);
        if may_change && self.large.has_space(run, len_bytes) {
            self.with_room(|shard| shard.large.grow(run, len_bytes))?;
            patch.write(self.large.bytes_mut(run));
            self.mark_change(key.hash());
            return Ok(len_bytes as u64);
        }
        if self.log.is_durable()
            && let Some(indices) = self.large.pieces_of(run, patch.ranges(), len_bytes)
            && self.patch_pieces(key, target, patch, &indices, attributes)?
        {
            return Ok(len_bytes as u64);
        }
        let copy = self.with_room(|shard| shard.large.copy(run, len_bytes))?;
        patch.write(self.large.bytes_mut(copy));
        self.store_changed(key, copy, attributes, now_ms)
    }

    /// Writes the pieces of a large value anew that change, and a record that names them; false: the
    /// value has to be copied.
    fn patch_pieces(
        &mut self,
        key: Key<'_>,
        target: Target,
        patch: &Patch<'_>,
        indices: &BTreeSet<u32>,
        attributes: Attributes,
    ) -> Result<bool, OutOfMemory> {
        let Target { place, run } = target;
        let reference_len_bytes = self.large.reference_len_bytes(run, indices);
        let mut shape = shape_of(key, reference_len_bytes, attributes);
        shape.kind = Kind::LARGE_STRING;
        if self.log.is_too_long(shape) {
            return Ok(false);
        }
        let mut revision = self.large.begin_revision(run, patch.len_bytes);
        let mut made = Ok(());
        for &index in indices {
            made = made.and_then(|()| {
                self.with_room(|shard| {
                    let write = |start: usize, piece: &mut [u8]| patch.write_within(start, piece);
                    shard.large.revise(&mut revision, index, write)
                })
            });
        }
        // The last that can fail for want of memory, and then the kernel's mappings.
        let made = made.and_then(|()| self.make_room(&[shape], Purpose::Write));
        if made.is_err() || !self.large.show(&revision) {
            self.give_up(Retired::Extent(Large::give_up_revision(revision)));
            return made.map(|()| false);
        }
        let space = self.reserve(shape, Purpose::Write);
        let space = space.expect("room was made for it, and nothing was written since");
        let reference = self.large.revised(&revision).to_bytes();
        shape
            .write(self.fill(&space), key.bytes, attributes.expires_at_ms)
            .copy_from_slice(&reference);
        self.complete(&space);
        self.mark_change(key.hash());
        let old = self.table.slot(place).location();
        self.table
            .replace(place, Slot::new(key.hash().tag(), space.location()));
        self.table.touch(place);
        let replaced = self.large.apply(revision);
        self.bury(old);
        self.volatile_count += u64::from(attributes.expires_at_ms.is_some());
        self.give_up(Retired::Extent(replaced));
        self.pay_for(shape.len_bytes());
        Ok(true)
    }

    /// Makes a run the value of a key, or gives it up; returns the value's length.
    fn store_changed(
        &mut self,
        key: Key<'_>,
        run: u32,
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<u64, OutOfMemory> {
        let len_bytes = self.large.len_bytes(run) as u64;
        let stored = self.store_run(key, run, attributes, now_ms);
        if stored.is_err() {
            self.condemn(run);
        }
        stored.map(|_| len_bytes)
    }
}
