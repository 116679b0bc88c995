//! How the table grows and shrinks: segments from index blocks, splits, merges, the directory.
//!
//! Neither a split nor a merge changes a segment that readers may be in: both build new segments,
//! make the directory name them, and retire the old ones.

use super::{
    AtomicU64, BUCKET_COUNT, BUCKET_LEN_BYTES, BUCKET_SLOT_COUNT, DIRECTORY_BITS_MAX, Directory,
    Entry, HOME_BUCKET_COUNT, IndexBlock, Limbo, Load, Ordering, Retired, SEGMENT_LEN_BYTES,
    SPLIT_SLOT_COUNT_MIN, SPLIT_SLOT_COUNT_SPREAD, STASH_BUCKET_COUNT, Table, bucket_offset,
};
use crate::hash::{KeyHash, TAG_BITS};

/// Why a segment could not be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SplitError {
    /// The region has no block for two more segments; freeing memory may help.
    NoBlock,
    /// The directory has as many bits as it can have.
    TooDeep,
}

/// Two segments that are neighbours of one depth merge when they fill at most this of one.
#[expect(clippy::cast_possible_truncation, reason = "a quarter of 16,352")]
const MERGE_SLOT_COUNT_MAX: u16 = (HOME_BUCKET_COUNT as usize * BUCKET_SLOT_COUNT / 4) as u16;

impl Table {
    /// Splits the segment of `hash` in two.
    #[cold]
    pub(in super::super) fn split(
        &mut self,
        hash: KeyHash,
        limbo: &mut Limbo,
    ) -> Result<(), SplitError> {
        let (entry, first) = self.entry_of(hash);
        if entry.depth() == DIRECTORY_BITS_MAX {
            return Err(SplitError::TooDeep);
        }
        let low = self.take_segment().ok_or(SplitError::NoBlock)?;
        let Some(high) = self.take_segment() else {
            self.return_segment(low);
            return Err(SplitError::NoBlock);
        };
        let first = if entry.depth() == self.depth {
            self.double(limbo);
            first * 2
        } else {
            first
        };
        let depth = entry.depth() + 1;
        let loads = self.distribute(entry.segment(), [low, high], TAG_BITS - depth);
        self.carry_marks(entry.segment(), [low, high]);
        let half = 1u32 << (self.depth - depth);
        for (at, segment, load) in [(first, low, loads[0]), (first + half, high, loads[1])] {
            self.loads[at as usize] = load;
            self.name_segment(at, Entry::new(segment, depth, load.stash > 0));
        }
        limbo.push(&self.region, Retired::Segment(entry.segment()));
        self.split_count += 1;
        Ok(())
    }

    /// Copies the slots of `source` into two fresh segments by bit `bit` of their tags.
    fn distribute(&self, source: u64, targets: [u64; 2], bit: u32) -> [Load; 2] {
        let mut loads = [Load::default(); 2];
        for bucket in 0..BUCKET_COUNT {
            let slots = self.bucket(source, bucket);
            let mut halves = [[0u64; BUCKET_SLOT_COUNT]; 2];
            let mut counts = [0u16; 2];
            for word in slots.into_iter().filter(|&word| word != 0) {
                let half = usize::from(super::Slot::from_word(word).tag() >> bit & 1 != 0);
                halves[half][usize::from(counts[half])] = word;
                counts[half] += 1;
            }
            for half in 0..2 {
                self.write_bucket(targets[half], bucket, halves[half]);
                loads[half].slots += counts[half];
                if bucket >= HOME_BUCKET_COUNT {
                    loads[half].stash += counts[half];
                }
            }
        }
        loads
    }

    /// Twice as many directory entries, each segment named by twice as many.
    fn double(&mut self, limbo: &mut Limbo) {
        let larger: Directory = self
            .directory
            .iter()
            .flat_map(|word| [word.load(Ordering::Relaxed); 2])
            .map(AtomicU64::new)
            .collect();
        self.loads = self
            .loads
            .iter()
            .flat_map(|&load| [load, Load::default()])
            .collect();
        self.depth += 1;
        let old = std::mem::replace(&mut self.directory, larger);
        self.publish_directory();
        limbo.push(&self.region, Retired::Directory(old));
    }

    /// Merges the segment at directory entry `index` with its neighbour of the same parent, if both
    /// together are nearly empty. True: they are one now.
    pub(in super::super) fn merge(&mut self, index: usize, limbo: &mut Limbo) -> bool {
        let entry = self.entry_at(index);
        if entry.depth() == 0 {
            return false;
        }
        let width = 1u32 << (self.depth - entry.depth());
        let first = self.first_of(index, entry) & !width;
        let [low, high] = [first, first + width].map(|at| self.entry_at(at as usize));
        if low.depth() != high.depth() {
            return false;
        }
        let [low_load, high_load] = [first, first + width].map(|at| self.loads[at as usize]);
        if low_load.slots + high_load.slots > MERGE_SLOT_COUNT_MAX {
            return false;
        }
        let Some(target) = self.take_segment() else {
            return false;
        };
        let Some(load) = self.unite([low.segment(), high.segment()], target) else {
            self.return_segment(target);
            return false;
        };
        self.loads[(first + width) as usize] = Load::default();
        self.loads[first as usize] = load;
        self.name_segment(first, Entry::new(target, entry.depth() - 1, load.stash > 0));
        for segment in [low.segment(), high.segment()] {
            limbo.push(&self.region, Retired::Segment(segment));
        }
        self.merge_count += 1;
        true
    }

    /// Copies the slots of two segments into a fresh one, bucket by bucket; what does not fit goes
    /// to the stash. `None`: the stash is too small for it.
    fn unite(&self, sources: [u64; 2], target: u64) -> Option<Load> {
        let mut stash = [0u64; STASH_BUCKET_COUNT as usize * BUCKET_SLOT_COUNT];
        let mut load = Load::default();
        for bucket in 0..BUCKET_COUNT {
            let mut united = [0u64; BUCKET_SLOT_COUNT];
            let mut count = 0;
            let words = sources
                .into_iter()
                .flat_map(|source| self.bucket(source, bucket));
            for word in words.filter(|&word| word != 0) {
                load.slots += 1;
                if bucket < HOME_BUCKET_COUNT && count < BUCKET_SLOT_COUNT {
                    united[count] = word;
                    count += 1;
                } else {
                    *stash.get_mut(usize::from(load.stash))? = word;
                    load.stash += 1;
                }
            }
            if bucket < HOME_BUCKET_COUNT {
                self.write_bucket(target, bucket, united);
            }
        }
        let (buckets, _) = stash.as_chunks::<BUCKET_SLOT_COUNT>();
        for (bucket, slots) in (HOME_BUCKET_COUNT..).zip(buckets) {
            self.write_bucket(target, bucket, *slots);
        }
        Some(load)
    }

    /// Takes a segment, its bytes arbitrary. Prefers the first blocks, so that the last can empty.
    pub(super) fn take_segment(&mut self) -> Option<u64> {
        let at = match self.blocks.iter().position(|block| block.free != 0) {
            Some(at) => at,
            None => self.add_block()?,
        };
        let block = &mut self.blocks[at];
        let number = block.free.trailing_zeros();
        block.free &= block.free - 1;
        self.segment_count += 1;
        Some(self.region.block_start(block.block) + u64::from(number) * SEGMENT_LEN_BYTES as u64)
    }

    /// Takes a block to cut segments from; returns its place among them.
    fn add_block(&mut self) -> Option<usize> {
        let block = self.region.take_index_block()?;
        self.blocks.push(IndexBlock {
            block,
            free: self.all_free(),
            is_marked: false,
        });
        self.charge_marks();
        Some(self.blocks.len() - 1)
    }

    /// One bit for each segment of a block.
    fn all_free(&self) -> u32 {
        let count = self.region.block_len_bytes() / SEGMENT_LEN_BYTES as u64;
        (1 << count) - 1
    }

    /// Sees to it that `count` segments can be taken without fail until
    /// [`release_segments`](Self::release_segments), if none is returned before. False: there is no block.
    pub(in super::super) fn keep_segments(&mut self, count: usize) -> bool {
        let free_count = |block: &IndexBlock| block.free.count_ones() as usize;
        while self.blocks.iter().map(free_count).sum::<usize>() < count {
            if self.add_block().is_none() {
                return false;
            }
            self.has_kept = true;
        }
        true
    }

    /// Gives back the blocks that were taken for segments which nobody took.
    pub(in super::super) fn release_segments(&mut self) {
        if !std::mem::take(&mut self.has_kept) {
            return;
        }
        for at in (0..self.blocks.len()).rev() {
            self.return_if_empty(at);
        }
    }

    /// Whether so many more keys could fill the buckets of a hash in its segment.
    pub(in super::super) fn may_fill(&self, hash: KeyHash, more_count: usize) -> bool {
        let (_, first) = self.entry_of(hash);
        let slot_count = u64::from(self.loads[first as usize].slots) + more_count as u64;
        slot_count >= SPLIT_SLOT_COUNT_MIN + SPLIT_SLOT_COUNT_SPREAD
    }

    /// Returns a segment that nobody can be reading; an index block without segments goes back.
    pub(in super::super) fn return_segment(&mut self, segment: u64) {
        let owner = self.region.block_of(segment);
        let at = self
            .blocks
            .iter()
            .position(|block| block.block == owner)
            .expect("segments are cut from index blocks");
        let number = (segment - self.region.block_start(owner)) / SEGMENT_LEN_BYTES as u64;
        self.blocks[at].free |= 1 << number;
        self.segment_count -= 1;
        self.return_if_empty(at);
    }

    /// Returns an index block that no segment is cut from, unless it is the only one.
    fn return_if_empty(&mut self, at: usize) {
        if self.blocks[at].free == self.all_free() && self.blocks.len() > 1 {
            let block = self.blocks.swap_remove(at);
            if block.is_marked {
                self.region.forget_uses(block.block);
                self.region.refund(self.region.use_marks_len_bytes());
            }
            self.region.return_index_block(block.block);
        }
    }

    /// Returns up to `count` of the segments a detached directory names, from entry `start` on, and
    /// says where to go on.
    pub(in super::super) fn return_detached(
        &mut self,
        directory: &Directory,
        start: usize,
        count: usize,
    ) -> Option<usize> {
        let depth = directory.len().trailing_zeros();
        let mut index = start;
        for _ in 0..count {
            let entry = Entry(directory.get(index)?.load(Ordering::Relaxed));
            self.return_segment(entry.segment());
            index += 1 << (depth - entry.depth());
        }
        (index < directory.len()).then_some(index)
    }

    /// Bytes of the blocks that segments are cut from, and of their use marks.
    pub(in super::super) fn index_len_bytes(&self) -> u64 {
        let marked_count = self.blocks.iter().filter(|block| block.is_marked).count() as u64;
        self.blocks.len() as u64 * self.region.block_len_bytes()
            + marked_count * self.region.use_marks_len_bytes()
    }

    /// Bytes of the segments themselves and of the directory.
    pub(in super::super) fn live_len_bytes(&self) -> u64 {
        self.segment_count * SEGMENT_LEN_BYTES as u64 + self.directory.len() as u64 * 8
    }

    fn write_bucket(&self, segment: u64, bucket: u32, slots: [u64; BUCKET_SLOT_COUNT]) {
        debug_assert!(slots.len() as u64 * 8 == BUCKET_LEN_BYTES);
        for (index, word) in (0u64..).zip(slots) {
            // Relaxed: nobody knows the segment yet; naming it in the directory releases it.
            self.word(bucket_offset(segment, bucket) + index * 8)
                .store(word, Ordering::Relaxed);
        }
    }
}
