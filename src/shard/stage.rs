//! Large values on their way in: copied into their run in slices before the write runs.
//!
//! A value of 500 MiB is received over many turns but its command runs in one call. So that this
//! call does not copy it all, the lane stages the argument beforehand, some bytes a turn, and the
//! store that follows adopts the run. Whoever stages keeps the argument where it is; address and
//! length are how the store knows it again. Several commands may stage at once; one that is given
//! up must say so, or its run would wait for a store that never comes.

use super::large::RunReference;
use super::{Attributes, Key, Kind, OutOfMemory, Purpose, Shape, Shard, Written};

/// A run that is being filled.
#[derive(Debug)]
pub(super) struct Staged {
    address: usize,
    len_bytes: usize,
    copied_bytes: usize,
    pub(super) run: u32,
}

impl Shard {
    /// Copies up to `budget_bytes` of a large argument into a run; true when nothing is left to
    /// copy. The next store of a value of this address and length adopts the run. Values that are
    /// not large need no staging.
    ///
    /// # Errors
    /// If there is no memory for the value.
    pub fn stage(&mut self, value: &[u8], budget_bytes: usize) -> Result<bool, OutOfMemory> {
        if value.len() < self.large_len_bytes_min {
            return Ok(true);
        }
        self.stage_part(value, budget_bytes)
    }

    /// The same for any value.
    pub(super) fn stage_part(
        &mut self,
        value: &[u8],
        budget_bytes: usize,
    ) -> Result<bool, OutOfMemory> {
        let mut staged = match self.take_staged(value) {
            Some(staged) => staged,
            None => Staged {
                address: value.as_ptr().addr(),
                len_bytes: value.len(),
                copied_bytes: 0,
                run: self.with_room(|shard| shard.large.create(value.len()))?,
            },
        };
        let is_complete = self.copy_staged(&mut staged, value, budget_bytes);
        self.staged.push(staged);
        Ok(is_complete)
    }

    /// Gives up what was staged of `value`, if anything.
    pub fn unstage(&mut self, value: &[u8]) {
        if let Some(staged) = self.take_staged(value) {
            self.condemn(staged.run);
        }
    }

    /// Gives up what was staged of a value at `address`: a copy that goes on starts over.
    pub(super) fn unstage_at(&mut self, address: usize) {
        while let Some(index) = self
            .staged
            .iter()
            .position(|staged| staged.address == address)
        {
            let staged = self.staged.swap_remove(index);
            self.condemn(staged.run);
        }
    }

    fn take_staged(&mut self, value: &[u8]) -> Option<Staged> {
        let index = self.staged.iter().position(|staged| staged.is_of(value))?;
        Some(self.staged.swap_remove(index))
    }

    /// Stores a value in a run of its own, the staged one if it is this value's.
    #[cold]
    pub(super) fn store_large(
        &mut self,
        key: Key<'_>,
        value: &[u8],
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<Written, OutOfMemory> {
        let run = self.run_of(value)?;
        let stored = self.store_run(key, run, attributes, now_ms);
        if stored.is_err() {
            self.condemn(run);
        }
        stored
    }

    /// Whether a value becomes a large one: because it is, or because its record would be too long for a
    /// file, were it given an expiry.
    pub(super) fn is_large(&self, key: Key<'_>, len_bytes: usize, attributes: Attributes) -> bool {
        let is_too_long = || self.log.is_too_long(shape_of(key, len_bytes, attributes));
        let is_shortened = len_bytes > RunReference::LEN_BYTES && self.log.is_durable();
        len_bytes >= self.large_len_bytes_min || is_shortened && is_too_long()
    }

    /// Makes a filled run the value of a key. On failure the run is still the caller's.
    pub(super) fn store_run(
        &mut self,
        key: Key<'_>,
        run: u32,
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<Written, OutOfMemory> {
        let mut shape = shape_of(key, RunReference::LEN_BYTES, attributes);
        shape.kind = Kind::LARGE_STRING;
        let place = self.place_for(key)?;
        if let Some(expires_at_ms) = attributes.expires_at_ms {
            self.arm(place, key.hash(), expires_at_ms, now_ms, Purpose::Write)?;
        }
        let space = self.reserve(shape, Purpose::Write)?;
        let reference = self.large.reference(run).to_bytes();
        shape
            .write(self.fill(&space), key.bytes, attributes.expires_at_ms)
            .copy_from_slice(&reference);
        self.complete(&space);
        let written = self.put(place, key.hash(), space.location(), now_ms);
        self.volatile_count += u64::from(attributes.expires_at_ms.is_some());
        self.pay_for(shape.len_bytes());
        Ok(written)
    }

    /// A run with the bytes of `value`.
    fn run_of(&mut self, value: &[u8]) -> Result<u32, OutOfMemory> {
        if let Some(mut staged) = self.take_staged(value) {
            self.copy_staged(&mut staged, value, value.len());
            return Ok(staged.run);
        }
        let run = self.with_room(|shard| shard.large.create(value.len()))?;
        self.large.bytes_mut(run).copy_from_slice(value);
        Ok(run)
    }

    fn copy_staged(&mut self, staged: &mut Staged, value: &[u8], budget_bytes: usize) -> bool {
        let start = staged.copied_bytes;
        let end = start.saturating_add(budget_bytes).min(value.len());
        self.large.bytes_mut(staged.run)[start..end].copy_from_slice(&value[start..end]);
        self.large.check_to(staged.run, end);
        staged.copied_bytes = end;
        end == value.len()
    }
}

impl Staged {
    fn is_of(&self, value: &[u8]) -> bool {
        (self.address, self.len_bytes) == (value.as_ptr().addr(), value.len())
    }
}

/// The record of a key and a value that is stored as it is.
#[inline]
pub(super) const fn shape_of(
    key: Key<'_>,
    value_len_bytes: usize,
    attributes: Attributes,
) -> Shape {
    Shape {
        key_len_bytes: key.bytes.len(),
        value_len_bytes,
        has_expiry: attributes.expires_at_ms.is_some(),
        is_raw: attributes.is_raw,
        kind: Kind::STRING,
        is_member: false,
    }
}
