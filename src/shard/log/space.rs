//! Where the next record goes: the tail, the next block, and the blocks that are kept for those who
//! must not fail.
//!
//! | who appends (`Purpose`)                     | goes on with, when the active block is full        |
//! |---------------------------------------------|----------------------------------------------------|
//! | `Write`: may fail when memory is short      | a block of the region; while the reserve lacks one |
//! |                                             | nothing, not even the rest of the active block     |
//! | `Bound`: bounds memory (EXPIRE, tombstones) | the same, else the reserve but for its last block  |
//! | `Compact`, `Own`                            | the same, else the whole reserve                   |
//! | all, while room is kept                     | the room, then the same, else the whole reserve    |
//!
//! **Reserve.** A victim's live records fit into one block, and its own block comes back to the
//! reserve, so compaction can always go on. While the reserve lacks a block, what is left of the active
//! one is for those who have taken it, and while it is empty that is compaction alone. In a file another
//! block comes for it, when its return is on disk if need be, and that is nobody else's meanwhile.
//!
//! **Room** ([`Log::keep_room`]) is the rest of the active block, or blocks beside it, for records that
//! were announced. Its owner sees to it that nobody else appends meanwhile, but for the few bytes of the
//! log's own, for which the reserve is there.

use crate::limits::{COMPACTION_RESERVE_BLOCKS, RECORDS_PER_BLOCK_MIN};

use super::{BlockIndex, HEADER_LEN_BYTES, Location, Log, Purpose, Reserved, u32_of};

/// Blocks without records that nobody may take who may fail.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// For compaction, and for writes that must not fail for want of memory.
    pub(super) reserve: Vec<BlockIndex>,
    /// Blocks that the region owes to the reserve, in a file: they were returned and are not yet free.
    owed_count: usize,
    /// For what was announced, while anything is.
    room: Option<Vec<BlockIndex>>,
}

impl Kept {
    pub(super) const fn of(reserve: Vec<BlockIndex>) -> Self {
        Self {
            reserve,
            owed_count: 0,
            room: None,
        }
    }

    /// The next block for who may have one of these.
    fn take(&mut self, purpose: Purpose) -> Option<BlockIndex> {
        if let Some(room) = &mut self.room {
            return room.pop().or_else(|| self.reserve.pop());
        }
        let stay_count = match purpose {
            Purpose::Write => return None,
            Purpose::Bound => 1,
            Purpose::Compact | Purpose::Own => 0,
        };
        if self.reserve.len() > stay_count {
            self.reserve.pop()
        } else {
            None
        }
    }

    /// Whether `purpose` may have what is left of the active block.
    const fn lets(&self, purpose: Purpose) -> bool {
        let needed_count = match purpose {
            // Of a block that the reserve has given nothing: what may not fail has to find it.
            Purpose::Write => COMPACTION_RESERVE_BLOCKS,
            Purpose::Bound => 1,
            Purpose::Compact | Purpose::Own => 0,
        };
        self.reserve.len() >= needed_count || self.room.is_some()
    }
}

impl Log {
    /// Space for a record at the tail; `None` when a block is needed and there is none. Unless it is
    /// for compaction, the log makes it a member of the transaction, if one is under way.
    #[inline]
    pub(in super::super) fn reserve(
        &mut self,
        body_len_bytes: usize,
        purpose: Purpose,
    ) -> Option<Reserved> {
        // A key that barely fits has a tombstone that is a little longer.
        debug_assert!(
            body_len_bytes as u64 <= self.record_len_bytes_max() + GRAVE_EXCESS_LEN_BYTES
        );
        let len_bytes = if purpose == Purpose::Compact {
            body_len_bytes
        } else {
            body_len_bytes + self.member_len_bytes
        };
        let end = self.end_for(purpose);
        if self.tail + len_bytes as u64 > end && !self.make_space(len_bytes as u64, purpose) {
            return None;
        }
        let location = Location::from_offset(self.tail);
        self.tail += len_bytes as u64;
        self.live_bytes += len_bytes as u64;
        Some(Reserved {
            location,
            body_len_bytes,
            len_bytes,
        })
    }

    /// Whether records of `len_bytes` together fit into one block's rest, which is begun if need be:
    /// space for them can then be reserved without anything being appended in between.
    pub(in super::super) fn has_room(&mut self, len_bytes: usize, purpose: Purpose) -> bool {
        let len_bytes = (len_bytes + self.member_len_bytes) as u64;
        self.tail + len_bytes <= self.end_for(purpose) || self.make_space(len_bytes, purpose)
    }

    /// Keeps room for records of `len_bytes` together, each of them one that may be in the log: they
    /// will be appended without fail, if nobody else appends before [`release_room`](Self::release_room).
    /// False: there are not enough blocks, and nothing is kept.
    pub(in super::super) fn keep_room(&mut self, len_bytes: u64, purpose: Purpose) -> bool {
        debug_assert!(!self.keeps_room(), "one room at a time");
        if !self.may_append(purpose) {
            return false;
        }
        // What is left of a block may be too short for two records that go together.
        let block_yield_bytes =
            self.region.block_len_bytes() / RECORDS_PER_BLOCK_MIN as u64 * YIELDED_PARTS;
        let block_count = if self.tail + len_bytes <= self.end_for(purpose) {
            0
        } else {
            len_bytes.div_ceil(block_yield_bytes)
        };
        let mut room = Vec::new();
        while (room.len() as u64) < block_count {
            let Some(block) = self.next_block(purpose) else {
                self.put_back(room);
                return false;
            };
            room.push(block);
        }
        self.kept.room = Some(room);
        self.limit_writes();
        true
    }

    /// Gives back what was kept and not used.
    pub(in super::super) fn release_room(&mut self) {
        if let Some(room) = self.kept.room.take() {
            self.put_back(room);
        }
    }

    /// Whether room is kept.
    #[inline]
    pub(in super::super) const fn keeps_room(&self) -> bool {
        self.kept.room.is_some()
    }

    /// Takes back a retired block that nobody can be reading: for the reserve, else for the region.
    pub(in super::super) fn recycle(&mut self, block: BlockIndex) {
        if let Some(stream) = &mut self.stream {
            stream.disown(block);
            // What the reserve lacks no other shard may have.
            if self.kept.reserve.len() + self.kept.owed_count < COMPACTION_RESERVE_BLOCKS {
                self.kept.owed_count += 1;
                self.region.return_block_for(block, stream.owner());
            } else {
                self.region.return_block(block);
            }
            self.refill_reserve();
            self.bury_graves();
        } else {
            self.put_back([block]);
        }
    }

    /// Takes blocks for the reserve while it lacks any and the region has some.
    pub(in super::super) fn refill_reserve(&mut self) {
        while self.kept.owed_count > 0
            && let Some(stream) = &self.stream
            && let Some(block) = self.region.take_granted_block(stream.owner())
        {
            self.kept.owed_count -= 1;
            self.put_back([block]);
        }
        while self.kept.reserve.len() < COMPACTION_RESERVE_BLOCKS
            && let Some(block) = self.region.take_block()
        {
            self.kept.reserve.push(block);
        }
        self.limit_writes();
    }

    /// Whether a block was returned for the reserve that has yet to come.
    pub(in super::super) const fn is_owed_a_block(&self) -> bool {
        self.kept.owed_count > 0
    }

    /// Blocks kept for compaction.
    pub(in super::super) const fn reserve_count(&self) -> usize {
        self.kept.reserve.len()
    }

    /// Makes room for a record at the tail, if the purpose may have it.
    #[cold]
    pub(super) fn make_space(&mut self, len_bytes: u64, purpose: Purpose) -> bool {
        if !self.kept.lets(purpose) {
            if !self.may_append(purpose) {
                return false;
            }
            if self.active.is_some() && self.tail + len_bytes <= self.end {
                return true;
            }
        }
        let room = self.kept.room.as_mut().and_then(Vec::pop);
        let fresh = room.or_else(|| self.next_block(purpose));
        fresh.map(|fresh| self.begin_block(fresh)).is_some()
    }

    /// A block of the region, or of the reserve if the purpose may have one.
    fn next_block(&mut self, purpose: Purpose) -> Option<BlockIndex> {
        let block = self.region.take_block();
        block.or_else(|| self.kept.take(purpose)).or_else(|| {
            // What the reserve lacks may have become free, or there may be more of it than it lacks.
            self.refill_reserve();
            let block = self.region.take_block();
            block.or_else(|| self.kept.take(purpose))
        })
    }

    /// Stops appending to the active block; in a file, what is left of it says so.
    pub(super) fn leave_active(&mut self) -> Option<BlockIndex> {
        let active = self.active.take()?;
        if self.stream.is_some() && self.tail + HEADER_LEN_BYTES as u64 <= self.end {
            self.write_end_record(self.tail);
        }
        Some(active)
    }

    /// Seals the active block and begins another.
    fn begin_block(&mut self, fresh: BlockIndex) {
        if let Some(full) = self.leave_active() {
            let used_bytes = u32_of(self.tail - self.region.block_start(full));
            let state = &mut self.blocks[full.get()];
            state.used_bytes = used_bytes;
            self.list(full);
            self.know_graves(full);
        }
        self.active = Some(fresh);
        self.know(fresh);
        if let Some(stream) = &mut self.stream {
            stream.begin_block(fresh);
        }
        self.tail = self.region.block_start(fresh);
        self.end = self.tail + self.region.block_len_bytes();
        self.limit_writes();
    }

    /// Where appending to the active block ends for `purpose`.
    #[inline]
    const fn end_for(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Write => self.write_end,
            Purpose::Bound if !self.kept.lets(Purpose::Bound) => 0,
            Purpose::Bound | Purpose::Compact | Purpose::Own => self.end,
        }
    }

    /// Whether `purpose` may append, with blocks that the reserve can be given now.
    fn may_append(&mut self, purpose: Purpose) -> bool {
        if !self.kept.lets(purpose) {
            self.refill_reserve();
        }
        self.kept.lets(purpose)
    }

    /// Puts blocks without records back, into the reserve while that lacks any.
    fn put_back(&mut self, blocks: impl IntoIterator<Item = BlockIndex>) {
        for block in blocks {
            if self.kept.reserve.len() < COMPACTION_RESERVE_BLOCKS {
                self.kept.reserve.push(block);
            } else {
                self.region.return_block(block);
            }
        }
        self.limit_writes();
    }

    /// Lets writes have the active block to its end, or nothing of it.
    const fn limit_writes(&mut self) {
        self.write_end = if self.kept.lets(Purpose::Write) {
            self.end
        } else {
            0
        };
    }
}

/// What a key's tombstone may be longer than its shortest record.
const GRAVE_EXCESS_LEN_BYTES: u64 = 32;
/// Of [`RECORDS_PER_BLOCK_MIN`] parts of a block, those that are filled for sure.
const YIELDED_PARTS: u64 = RECORDS_PER_BLOCK_MIN as u64 - 3;
