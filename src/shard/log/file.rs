//! The log in a file: signed records, END records, transactions, which block a sweep takes.

use super::{
    BlockIndex, HEADER_LEN_BYTES, Kind, Location, Log, MEMBER_LEN_BYTES, NUMBER_LEN_BYTES, Purpose,
    Reserved, Shape, seal, u32_of,
};

impl Log {
    /// Whether the log is kept in a file.
    #[inline]
    pub(in super::super) const fn is_durable(&self) -> bool {
        self.stream.is_some()
    }

    /// Completes a record: its membership, its check, and its place in what rounds make durable.
    #[inline(never)]
    pub(super) fn sign(&mut self, reserved: &Reserved) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let member = stream.count_member();
        let start = reserved.location.offset();
        let block = self.region.block_of(start);
        let seal = stream.seal_at(start - self.region.block_start(block));
        let record = self.bytes_mut(start, reserved.len_bytes);
        if let Some(number) = member {
            Shape::make_member(record, number);
        }
        let shape = Shape::read(record).expect("a record that was written whole");
        seal::sign(record, shape.expiry_start(), seal);
        self.blocks[block.get()].has_members |= member.is_some();
        self.note_complete(shape.kind, reserved);
    }

    /// Completes a copy: a good record becomes a good one, a bad one stays bad.
    #[inline(never)]
    pub(super) fn sign_copy(&mut self, source: Location, reserved: &Reserved) {
        let [old, new] = [source, reserved.location].map(|location| self.seal_of(location));
        let shape = self.record(source).shape();
        if shape.is_member {
            let original = self.bytes(source.offset(), shape.len_bytes());
            let error = seal::error_of(original, shape.expiry_start(), old);
            let copy = self.bytes_mut(reserved.location.offset(), reserved.len_bytes);
            seal::sign(copy, shape.expiry_start(), new ^ error);
        } else {
            let copy = self.bytes_mut(reserved.location.offset(), reserved.len_bytes);
            seal::move_seal(copy, old, new);
        }
        self.note_complete(shape.kind, reserved);
    }

    /// The seal of the record at `location` of a block of this log.
    fn seal_of(&self, location: Location) -> u32 {
        let block = self.region.block_of(location.offset());
        let offset = location.offset() - self.region.block_start(block);
        self.region.block_seal(block).at(offset)
    }

    #[inline]
    fn note_complete(&mut self, kind: Kind, reserved: &Reserved) {
        if kind.is_grave() {
            self.count_grave(reserved.location, reserved.len_bytes);
        }
        let Some(stream) = &self.stream else {
            return;
        };
        let start = self.end - self.region.block_len_bytes();
        stream.publish(self.tail - start);
    }

    /// Says that nothing follows in a block from `end` on.
    pub(in super::super) fn write_end_record(&mut self, end: u64) {
        let seal = self.seal_of(Location::from_offset(end));
        let record = self.bytes_mut(end, HEADER_LEN_BYTES);
        record.copy_from_slice(&Shape::of(Kind::END, 0, 0).header_bytes());
        seal::sign(record, None, seal);
    }

    /// Blanks the rest of a block, in which nothing counts from `start` on: a tombstone of what was cut off
    /// need not be behind it.
    pub(in super::super) fn blank_from(&mut self, start: u64) {
        let block_start = self.region.block_start(self.region.block_of(start));
        let end = block_start + self.region.block_len_bytes();
        let rest_len_bytes = usize::try_from(end - start).expect("less than a block");
        self.bytes_mut(start, rest_len_bytes).fill(0);
    }

    /// Appends a record without a key. `None`: there is no room, not even in the reserve.
    pub(in super::super) fn append_number(&mut self, kind: Kind, number: u64) -> Option<Reserved> {
        let shape = Shape::of(kind, 0, NUMBER_LEN_BYTES);
        let reserved = self.reserve(shape.len_bytes(), Purpose::Own)?;
        shape
            .write(self.fill(&reserved), &[], None)
            .copy_from_slice(&number.to_le_bytes());
        self.complete(&reserved);
        Some(reserved)
    }

    /// Whether there is a block to begin, if need be one of the reserve.
    pub(in super::super) fn has_next_block(&mut self) -> bool {
        self.refill_reserve();
        self.reserve_count() > 0
    }

    /// From now on records are members of transaction `number`.
    pub(in super::super) fn begin_transaction(&mut self, number: u64) {
        if let Some(stream) = &mut self.stream {
            stream.begin_transaction(number);
            self.member_len_bytes = MEMBER_LEN_BYTES;
        }
    }

    /// Ends that; returns how many members there are.
    pub(in super::super) fn end_transaction(&mut self) -> u64 {
        self.member_len_bytes = 0;
        self.stream
            .as_mut()
            .map_or(0, super::Stream::end_transaction)
    }

    /// Whether records are members of a transaction.
    pub(in super::super) const fn is_in_transaction(&self) -> bool {
        self.member_len_bytes > 0
    }

    /// How far the log has been written, as rounds count it.
    pub(in super::super) fn position(&self) -> u64 {
        let begins = self.end - self.region.block_len_bytes().min(self.end);
        let stream = self.stream.as_ref();
        stream.map_or(0, |stream| stream.position(self.tail - begins))
    }

    /// The number of the active block.
    pub(in super::super) fn sequence(&self) -> u64 {
        self.stream.as_ref().map_or(0, super::Stream::sequence)
    }

    /// The position of a record, of this log or of another.
    pub(in super::super) fn position_of(&self, location: Location) -> u64 {
        let block = self.region.block_of(location.offset());
        let within = location.offset() - self.region.block_start(block);
        self.region.sequence_of(block) * self.region.block_len_bytes() + within
    }

    /// The position behind all that the tombstone of a record is to hide: no older record of its key is
    /// behind it. Of a record in another's log that is where this log ends, for it does not know when the
    /// other's blocks go.
    pub(in super::super) fn birth_of_tombstone(&self, removed: Location) -> u64 {
        if !self.owns(removed) {
            return self.position();
        }
        let len_bytes = self.record(removed).shape().len_bytes();
        self.position_of(removed) + len_bytes as u64
    }

    /// Whether a grave of what is in blocks up to number `last`, met in `block`, may still hide
    /// something.
    pub(in super::super) fn is_grave_needed(&self, last: u64, block: BlockIndex) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.is_needed(last, block))
    }

    /// Counts a record of the log's own as dead.
    pub(in super::super) fn kill_own(&mut self, reserved: &Reserved) {
        self.kill(reserved.location, reserved.len_bytes);
    }

    /// Counts a grave, as live.
    pub(in super::super) fn count_grave(&mut self, location: Location, len_bytes: usize) {
        let last = self.last_hidden_by(location);
        let state = &mut self.blocks[self.region.block_of(location.offset()).get()];
        state.grave_bytes += u32_of(len_bytes as u64);
        state.graves_last = state.graves_last.max(last);
        if let Some(stream) = &mut self.stream {
            stream.count_grave(len_bytes as u64);
        }
    }

    /// Counts a grave as dead that is not needed, or that was copied.
    pub(in super::super) fn kill_grave(&mut self, location: Location, len_bytes: usize) {
        let state = &mut self.blocks[self.region.block_of(location.offset()).get()];
        if state.are_graves_dead {
            return;
        }
        state.grave_bytes -= u32_of(len_bytes as u64);
        self.kill(location, len_bytes);
        if let Some(stream) = &mut self.stream {
            stream.discount_grave(len_bytes as u64);
        }
    }

    /// The number of the last block in which there can be what a grave hides.
    pub(in super::super) fn last_hidden_by(&self, grave: Location) -> u64 {
        let record = self.record(grave);
        match record.shape().kind {
            Kind::TOMBSTONE => record.number().saturating_sub(1) / self.region.block_len_bytes(),
            _ => record.number(),
        }
    }

    /// Takes note of the graves in a full block.
    pub(super) fn know_graves(&mut self, block: BlockIndex) {
        let state = &self.blocks[block.get()];
        if let Some(stream) = &mut self.stream
            && state.grave_bytes > 0
        {
            stream.know_graves(block, state.graves_last);
        }
    }

    /// Counts graves as dead that hide nothing any more, those of a block together.
    pub(super) fn bury_graves(&mut self) {
        while let Some(stream) = &mut self.stream
            && let Some(block) = stream.pop_needless()
        {
            let state = &mut self.blocks[block.get()];
            let len_bytes = std::mem::take(&mut state.grave_bytes);
            stream.discount_grave(u64::from(len_bytes));
            // Of a block that was emptied meanwhile nothing is known any more.
            if len_bytes > 0 {
                state.are_graves_dead = true;
                self.count_dead(block, len_bytes);
            }
        }
    }

    /// Bytes of graves, which count as live.
    pub(in super::super) fn grave_bytes(&self) -> u64 {
        self.stream.as_ref().map_or(0, super::Stream::grave_bytes)
    }

    /// Whether graves are so many that the oldest blocks should go.
    pub(in super::super) fn has_many_graves(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.has_many_graves(self.live_bytes))
    }

    /// Whether one of the oldest blocks can go.
    pub(in super::super) fn has_sweep(&mut self) -> bool {
        self.next_swept().is_some()
    }

    fn next_swept(&mut self) -> Option<BlockIndex> {
        let stream = self.stream.as_mut()?;
        if !stream.has_many_graves(self.live_bytes) {
            return None;
        }
        stream.continue_sweep();
        let is_sealed = |block: &BlockIndex| self.blocks[block.get()].is_sealed;
        stream.swept().find(is_sealed)
    }

    /// Takes the next block of a sweep out of its list.
    pub(in super::super) fn take_swept(&mut self) -> Option<BlockIndex> {
        self.stream.as_ref()?;
        self.link_settled();
        let victim = self.next_swept()?;
        let class = self.blocks[victim.get()].dead_bytes >> self.class_shift();
        self.unlink(victim, class as usize);
        self.blocks[victim.get()].is_sealed = false;
        Some(victim)
    }

    /// Whether a block of this log waits until its members are settled.
    pub(in super::super) fn has_unsettled(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| !stream.unsettled.is_empty())
    }

    /// Takes a block over that was found in the file, its records yet to be counted.
    pub(in super::super) fn adopt(&mut self, block: BlockIndex) {
        self.know(block);
        if let Some(stream) = &mut self.stream {
            stream.adopt(block);
        }
    }

    /// Counts a record of an adopted block as live.
    pub(in super::super) fn count_adopted(
        &mut self,
        block: BlockIndex,
        end: usize,
        len_bytes: usize,
    ) {
        self.blocks[block.get()].used_bytes = u32_of(end as u64);
        self.live_bytes += len_bytes as u64;
    }

    /// Whether a record is in a block of this log, which in anonymous memory nobody asks.
    pub(in super::super) fn owns(&self, location: Location) -> bool {
        let block = self.region.block_of(location.offset());
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.owns(block))
    }

    /// Lets the next block have the number `sequence`, of a log that has none yet.
    pub(in super::super) fn begin_at(&mut self, sequence: u64) {
        if let Some(stream) = &mut self.stream {
            stream.begin_at(sequence);
        }
    }

    /// Gives a record that no slot names yet another value of the same length.
    pub(in super::super) fn change_value(&mut self, reserved: &Reserved, value: &[u8]) {
        let seal = self.seal_of(reserved.location);
        let record = self.bytes_mut(reserved.location.offset(), reserved.len_bytes);
        let shape = Shape::read(record).expect("a record that was written whole");
        shape.value_in_mut(record).copy_from_slice(value);
        seal::sign(record, shape.expiry_start(), seal);
    }

    /// Makes a record one that means nothing, whatever comes of its transaction.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the borrow is what makes the record ours"
    )]
    pub(in super::super) fn make_void(&mut self, offset: u64) {
        let location = Location::from_offset(offset);
        let seal = self.seal_of(location);
        let record = self.record(location);
        let shape = record.shape();
        let mut copy = self.bytes(offset, shape.len_bytes()).to_vec();
        Shape::make_void(&mut copy);
        seal::sign(&mut copy, shape.expiry_start(), seal);
        // Kind and check are in one word, which is stored at once: there is no half of it.
        let header = copy.first_chunk().expect("a record has a header");
        record.replace_header(*header);
    }

    /// Begins a block to append to; false: there is none.
    pub(in super::super) fn begin_tail(&mut self) -> bool {
        self.make_space(0, Purpose::Own)
    }

    /// All records of an adopted block were counted. What it has no records in counts as dead, or each
    /// start would leave a block that is nearly empty and never worth compacting.
    pub(in super::super) fn seal_adopted(&mut self, block: BlockIndex) {
        let block_len_bytes = u32_of(self.region.block_len_bytes());
        let state = &mut self.blocks[block.get()];
        state.is_sealed = true;
        state.gap_bytes = block_len_bytes - state.used_bytes;
        state.dead_bytes += state.gap_bytes;
        self.dead_bytes += u64::from(state.gap_bytes);
        self.link(block);
        self.know_graves(block);
    }
}
