//! The region: one reservation of address space that all shards live in, and the memory budget.
//!
//! ```text
//!  0            block_len                        large_start                               len
//!  ┌────────────┬──────────────────────────────┬──────────────────┬───┬──────────────────┐
//!  │ block 0:   │ blocks 1 .. block_count:     │ large values of  │ … │ large values of  │
//!  │ never used │ log and index, one owner each│ shard 0          │   │ the last shard   │
//!  └────────────┴──────────────────────────────┴──────────────────┴───┴──────────────────┘
//! ```
//!
//! Everything is addressed by offsets from the start, never by addresses. Offset 0 is never handed
//! out, so an empty slot of a table can be 0. The whole region lies within 8 TiB, what a slot's 40
//! bits of 8-byte units can name.
//!
//! **Budget.** Bytes of blocks taken plus bytes committed to large values never pass `maxmemory`;
//! a take or a commit that would pass it fails. The budget may change while the server runs; when
//! it drops below what is used, takes fail until enough was given back. A returned block keeps its
//! pages only while few others do (`RESIDENT_FREE_BLOCKS_MAX`), so that memory the budget no
//! longer counts is bounded by a constant.
//!
//! **Two backings, one code.** Without a file all of this is anonymous memory. With one, the blocks of
//! the log and the large values are a file, mapped at the same offsets, and the index has anonymous
//! blocks behind them (`plan`). Whoever uses the region asks [`Region::is_durable`] only where it has
//! more to do: naming blocks, sealing records, publishing positions, waiting for rounds. In memory
//! those calls do nothing and need no file.
//!
//! **Room on disk** is reserved before it is used, a block's when it is taken and a large value's when
//! it is committed. So a full disk is a failed take, and never a signal.
//!
//! Not here: what a block holds (`shard::log`, `shard::table`), and who may still be reading it
//! (`epoch`).

#![expect(
    unsafe_code,
    reason = "hands out addresses of one mapping that no Rust type owns"
)]

mod backup;
mod blocks;
mod budget;
mod census;
mod demand;
mod durable;
mod entry;
mod file;
mod folios;
mod free;

/// Begins to fetch the cache line of `address`, which may be any: a prefetch cannot fault.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads nothing and cannot fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(all(test, loom))]
mod loom_tests;
mod pages;
mod plan;
mod preparing;
mod rounds;
mod superblock;
mod uses;

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex};

use crate::atomic::{AtomicU64, CachePadded, MappedWord, Ordering, word_at};
use crate::epoch::Epochs;
use crate::error::Error;
use crate::limits::{BLOCK_LEN_BYTES_MAX, PAGE_LEN_BYTES};
use crate::sys::{Reservation, Sharing};

use self::budget::Budget;
use self::durable::Durable;
use self::file::entry_offset;
use self::free::FreeLists;
use self::plan::Plan;
use uses::Uses;

pub use self::backup::{Draft, Hold, Original};
pub use self::census::{BadEntry, FoundBlock};
pub use self::durable::FileOptions;
pub use self::entry::BlockSeal;
pub use self::file::{Access, Found};
pub use self::rounds::Rounds;
pub use self::superblock::Generation;

/// What a region is made for.
#[derive(Clone, Copy, Debug)]
pub struct RegionOptions {
    /// The budget: bytes of blocks and large values together.
    pub maxmemory_bytes: u64,
    /// Shards that will share the region.
    pub shard_count: usize,
}

/// The memory of all shards. Shared by reference counting; every method takes `&self`.
#[derive(Debug)]
pub struct Region {
    reservation: Reservation,
    /// The first byte, aligned to a huge page.
    base: *mut u8,
    block_shift: u32,
    plan: Plan,
    free: Mutex<FreeLists>,
    /// Told when a block was taken or preparing is to end.
    taken: Condvar,
    budget: Budget,
    epochs: Epochs,
    doors: Box<[CachePadded<Door>]>,
    uses: Uses,
    rounds: Rounds,
    /// What there is of it with a file.
    durable: Option<Durable>,
    /// Copies of the file under way.
    hold_count: AtomicU64,
}

// SAFETY: the pointer is the start of a mapping that lives as long as the region; every use of it
// is argued where it happens, by ownership of blocks and by epochs.
unsafe impl Send for Region {}
// SAFETY: as above; the region's own state is atomics and a mutex.
unsafe impl Sync for Region {}

/// A block's number. Whoever took it owns the bytes of [`Region::block_start`] onwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockIndex(u32);

impl BlockIndex {
    /// The number, below [`Region::block_count`].
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// The words of one shard that other cores read.
#[derive(Debug, Default)]
pub struct Door {
    /// Address (48 bits) and depth (6 bits) of the directory, one word so that both change at once.
    pub directory: AtomicU64,
    /// Odd while a command that changes several slots publishes them.
    pub sequence: AtomicU64,
    /// Slots that were emptied. On a line of its own: readers need it for keys alone that are absent.
    pub removals: CachePadded<AtomicU64>,
    /// About how many bytes of the budget the shard holds: who holds most evicts first.
    pub held_bytes: AtomicU64,
}

impl Region {
    /// A region of anonymous memory.
    ///
    /// # Errors
    /// If the budget is too small for the shards, or the kernel refuses the address space.
    pub fn anonymous(options: RegionOptions) -> Result<Self, Error> {
        let plan = Plan::for_memory(options)?;
        let region = Self::new(plan, options, false)?;
        // Huge pages pay for blocks that are huge pages; elsewhere they would make the kernel
        // commit memory that the budget does not count.
        let is_huge = plan.block_len_bytes == BLOCK_LEN_BYTES_MAX as u64;
        region.prefer_huge_pages(0, plan.large_start(), is_huge);
        region.prefer_huge_pages(plan.large_start(), plan.large_len_bytes, false);
        Ok(region)
    }

    /// A region of anonymous memory, of which a file may become a part.
    fn new(plan: Plan, options: RegionOptions, is_for_file: bool) -> Result<Self, Error> {
        let reservation = plan.reserve()?;
        let misaligned = reservation.as_ptr().align_offset(BLOCK_LEN_BYTES_MAX);
        // SAFETY: the plan reserves one alignment more than it uses.
        let base = unsafe { reservation.as_ptr().add(misaligned) };
        let log = plan.first_block..plan.block_count;
        let first_index_block = plan.first_index_block();
        let index = first_index_block..first_index_block + plan.index_block_count;
        Ok(Self {
            reservation,
            base,
            block_shift: plan.block_len_bytes.trailing_zeros(),
            plan,
            free: Mutex::new(FreeLists::new(log, index, options.shard_count)),
            taken: Condvar::new(),
            budget: Budget::new(options.maxmemory_bytes),
            epochs: Epochs::new(options.shard_count),
            doors: (0..options.shard_count)
                .map(|_| CachePadded(Door::default()))
                .collect(),
            uses: Uses::default(),
            rounds: Rounds::new(options.shard_count, is_for_file),
            hold_count: AtomicU64::new(0),
            durable: None,
        })
    }

    /// Whether the region is a file, which a restart finds again.
    #[inline]
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// What a power loss can no longer take back.
    #[inline]
    #[must_use]
    pub const fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// Counts whole pages of the large area against the budget and makes sure that the disk has
    /// room for them. False: over budget, or the disk is full.
    #[must_use]
    pub fn commit(&self, offset: u64, len_bytes: u64) -> bool {
        debug_assert!(self.is_large(offset));
        debug_assert!(len_bytes.is_multiple_of(PAGE_LEN_BYTES));
        if !self.charge(len_bytes) {
            return false;
        }
        let is_there = self.reserve_space(offset, len_bytes);
        if !is_there {
            self.refund(len_bytes);
        }
        is_there
    }

    /// Gives the pages of a part of the large area back to the kernel and to the budget.
    pub fn uncommit(&self, offset: u64, len_bytes: u64) {
        assert!(self.is_large(offset));
        self.release_pages(offset, len_bytes);
        self.refund(len_bytes);
    }

    /// The largest budget this region can be given.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.plan.large_start() - self.block_len_bytes()
    }

    /// Bytes of one block, a power of two.
    #[must_use]
    pub const fn block_len_bytes(&self) -> u64 {
        1 << self.block_shift
    }

    /// Blocks that exist, the unused first included.
    #[must_use]
    pub const fn block_count(&self) -> usize {
        self.plan.block_count as usize
    }

    /// Shards the region was made for.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.doors.len()
    }

    /// Offset of a block's first byte.
    #[must_use]
    pub const fn block_start(&self, block: BlockIndex) -> u64 {
        (block.0 as u64) << self.block_shift
    }

    /// The block that holds `offset`, which must lie before the large area.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "blocks are counted in a u32"
    )]
    pub const fn block_of(&self, offset: u64) -> BlockIndex {
        debug_assert!(!self.is_large(offset));
        BlockIndex((offset >> self.block_shift) as u32)
    }

    /// Whether `offset` lies in the large area, outside all blocks.
    #[must_use]
    pub const fn is_large(&self, offset: u64) -> bool {
        offset >= self.plan.large_start() && offset < self.plan.file_len_bytes()
    }

    /// Offset and length of the address space for the large values of `shard`.
    #[must_use]
    pub const fn large_slice(&self, shard: u16) -> (u64, u64) {
        (
            self.plan.large_start() + shard as u64 * self.plan.slice_len_bytes,
            self.plan.slice_len_bytes,
        )
    }

    /// About how many bytes the shard holds that holds most.
    #[must_use]
    pub fn held_bytes_max(&self) -> u64 {
        let held_bytes = |door: &CachePadded<Door>| door.0.held_bytes.load(Ordering::Relaxed);
        self.doors.iter().map(held_bytes).max().unwrap_or(0)
    }

    /// The epochs of the cores that read this region.
    #[must_use]
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The words of `shard` that other cores read.
    #[must_use]
    pub fn door(&self, shard: u16) -> &Door {
        &self.doors[usize::from(shard)].0
    }

    /// The address of `offset`. What may be done with it depends on who owns the bytes.
    #[inline]
    #[must_use]
    pub fn address(&self, offset: u64) -> *mut u8 {
        debug_assert!(offset < self.plan.len_bytes());
        // SAFETY: offsets lie within the reservation, checked above and by those who make them.
        unsafe { self.base.add(to_usize(offset)) }
    }

    /// The bytes of a pinned large value, for the core that sends them.
    ///
    /// # Safety
    /// 1. `offset` and `len_bytes` come from a `shard::Pinned` of this region;
    /// 2. that pin is held as long as the slice is.
    #[must_use]
    pub unsafe fn bytes_at(&self, offset: u64, len_bytes: usize) -> &[u8] {
        // SAFETY: a pinned run is neither written nor released.
        unsafe { std::slice::from_raw_parts(self.address(offset), len_bytes) }
    }

    /// Begins to fetch the cache line of `offset`.
    #[inline]
    pub fn prefetch(&self, offset: u64) {
        prefetch(self.address(offset).cast_const());
    }

    /// Gives the pages of returned blocks and freed runs back; they read as zero afterwards.
    fn release_pages(&self, offset: u64, len_bytes: u64) {
        let is_in_file = self.is_durable() && offset < self.plan.file_len_bytes();
        if is_in_file {
            if !self.punch(offset, len_bytes) && !self.blank(offset, len_bytes) {
                // SAFETY: as below, and the room on disk is there: it could not be given back.
                unsafe { self.address(offset).write_bytes(0, to_usize(len_bytes)) };
            }
            return;
        }
        let start = self.reservation_offset(offset);
        // SAFETY: called for returned blocks and freed runs only, which nobody can be reading.
        unsafe { self.reservation.release(start, to_usize(len_bytes)) };
    }

    /// Unmaps a free block of a shared file: what it holds stays in the file. Not one that may be written
    /// meanwhile: a core whose address cache has the old entry could change a page that counts as written.
    fn unmap_block(&self, block: BlockIndex) {
        if !matches!(self.backing(), Some((_, Sharing::Shared))) {
            return;
        }
        let (start, len_bytes) = (self.block_start(block), self.block_len_bytes());
        assert!(start + len_bytes <= self.plan.large_start(), "of the log");
        // SAFETY: all blocks of the log are the file's, shared as just checked.
        unsafe {
            let start = self.reservation_offset(start);
            self.reservation.unmap_shared(start, to_usize(len_bytes));
        }
    }

    /// Where an offset of the region is in the reservation.
    fn reservation_offset(&self, offset: u64) -> usize {
        self.base.addr() - self.reservation.as_ptr().addr() + to_usize(offset)
    }

    fn prefer_huge_pages(&self, offset: u64, len_bytes: u64, prefer: bool) {
        let start = self.reservation_offset(offset);
        self.reservation
            .prefer_huge_pages(start, to_usize(len_bytes), prefer);
    }

    /// Makes the file a part of the region: all but the blocks of the index.
    fn map_file(&self, file: &File, sharing: Sharing) -> io::Result<()> {
        let len_bytes = to_usize(self.plan.file_len_bytes());
        // SAFETY:
        // 1. the region is new, so nobody knows an address of it;
        // 2. the file is locked, so no process that respects the lock makes it shorter.
        unsafe {
            self.reservation
                .map_file(self.reservation_offset(0), len_bytes, file, 0, sharing)
        }
    }

    /// Lets whole pages of the large area, from `offset` on, show those of the file from `shown` on,
    /// which need not be theirs. The caller owns both and holds no reference into the first. False: the
    /// kernel refuses.
    #[must_use]
    pub fn show(&self, offset: u64, shown: u64, len_bytes: u64) -> bool {
        let is_inside =
            |offset: u64| self.is_large(offset) && self.is_large(offset + len_bytes - 1);
        assert!(is_inside(offset) && is_inside(shown));
        let Some((file, sharing)) = self.backing() else {
            return false;
        };
        let start = self.reservation_offset(offset);
        // SAFETY:
        // 1. the caller holds no reference into the range, and what it showed is in the file;
        // 2. as in `map_file`.
        let mapped = unsafe {
            self.reservation
                .map_file(start, to_usize(len_bytes), file, shown, sharing)
        };
        mapped.is_ok()
    }

    /// The word in the file that says whose a block is.
    fn entry_word(&self, block: BlockIndex) -> &MappedWord {
        assert!(block.0 < self.plan.block_count);
        let address = self.address(entry_offset(block)).cast();
        // SAFETY: in the header, which is mapped as long as the region lives, aligned because the
        // offset is a multiple of eight, and written by no other means once the file is complete.
        unsafe { word_at(address) }
    }

    /// Makes the kernel back a block that is in nobody's hands.
    fn touch(&self, block: BlockIndex) {
        let start = self.block_start(block);
        if self.is_durable() && start < self.plan.large_start() {
            let len_bytes = to_usize(self.block_len_bytes());
            // Where the kernel cannot, the block's pages come with its first use.
            let _ = self
                .reservation
                .populate(self.reservation_offset(start), len_bytes);
            return;
        }
        self.touch_pages(start, self.block_len_bytes());
    }

    /// Writes to every page of blocks that are in nobody's hands.
    fn touch_pages(&self, start: u64, len_bytes: u64) {
        for page in 0..len_bytes / PAGE_LEN_BYTES {
            let address = self.address(start + page * PAGE_LEN_BYTES);
            // SAFETY: within blocks that nobody else can take meanwhile, as the caller knows.
            unsafe { address.write_volatile(0) };
        }
    }
}

/// Offsets are u64 wherever they are stored; a mapping is addressed by usize.
#[expect(
    clippy::cast_possible_truncation,
    reason = "64-bit targets only, asserted below"
)]
const fn to_usize(number: u64) -> usize {
    number as usize
}

const _: () = assert!(
    size_of::<usize>() == 8,
    "the region needs a 64-bit address space"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LARGE_SLICE_LEN_BYTES_MIN, MIB, REGION_LEN_BYTES_MAX, SHARD_COUNT_MAX};

    fn region(maxmemory_bytes: usize, shard_count: usize) -> Region {
        Region::anonymous(RegionOptions {
            maxmemory_bytes: maxmemory_bytes as u64,
            shard_count,
        })
        .expect("a small region")
    }

    #[test]
    fn blocks_shrink_when_a_shard_would_own_too_few() {
        assert_eq!(region(1024 * MIB, 1).block_len_bytes(), 2 * MIB as u64);
        assert_eq!(region(64 * MIB, 1).block_len_bytes(), MIB as u64);
        assert_eq!(region(64 * MIB, 64).block_len_bytes(), 256 * 1024);
    }

    #[test]
    fn takes_stop_at_the_budget_and_go_on_after_a_return() {
        let region = region(4 * MIB, 1);
        let blocks: Vec<BlockIndex> = std::iter::from_fn(|| region.take_block()).collect();
        assert_eq!(
            blocks.len() as u64 * region.block_len_bytes(),
            region.maxmemory_bytes()
        );
        assert!(!region.commit(region.large_slice(0).0, 4096));
        region.return_block(blocks[3]);
        assert_eq!(region.take_block(), Some(blocks[3]));
    }

    #[test]
    fn offset_zero_and_blocks_of_others_are_never_handed_out() {
        let region = region(4 * MIB, 1);
        let mut starts: Vec<u64> = std::iter::from_fn(|| region.take_block())
            .map(|block| region.block_start(block))
            .collect();
        starts.sort_unstable();
        let count = starts.len();
        starts.dedup();
        assert_eq!(starts.len(), count);
        assert!(starts[0] > 0);
    }

    #[test]
    fn a_budget_below_what_is_used_stops_takes_only() {
        let region = region(8 * MIB, 1);
        let blocks: Vec<BlockIndex> = std::iter::from_fn(|| region.take_block()).collect();
        region
            .set_maxmemory(4 * MIB as u64)
            .expect("enough for one shard");
        region.return_block(blocks[0]);
        assert_eq!(region.take_block(), None);
        region
            .set_maxmemory(8 * MIB as u64)
            .expect("what was reserved");
        assert!(region.take_block().is_some());
    }

    #[test]
    fn budgets_outside_the_reservation_are_refused() {
        let region = region(8 * MIB, 1);
        assert!(region.set_maxmemory(region.capacity_bytes()).is_ok());
        assert!(region.set_maxmemory(region.capacity_bytes() + 1).is_err());
        assert!(region.set_maxmemory(1).is_err());
        let options = RegionOptions {
            maxmemory_bytes: 1000,
            shard_count: 1,
        };
        assert!(matches!(
            Region::anonymous(options),
            Err(Error::MaxmemoryTooSmall { .. })
        ));
    }

    #[test]
    fn committed_pages_count_until_they_are_released() {
        let region = region(8 * MIB, 1);
        let (start, _) = region.large_slice(0);
        assert!(region.is_large(start));
        assert!(region.commit(start, 8192));
        assert_eq!(region.used_bytes(), 8192);
        region.uncommit(start, 8192);
        assert_eq!(region.used_bytes(), 0);
    }

    #[test]
    fn the_most_shards_still_get_address_space() {
        let region = region(1024 * MIB, SHARD_COUNT_MAX);
        let (start, len) = region.large_slice(1023);
        assert!(start + len <= REGION_LEN_BYTES_MAX);
        assert!(len >= LARGE_SLICE_LEN_BYTES_MIN);
    }
}
