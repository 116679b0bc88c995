//! How the address space of a region is cut, for memory and for a file.
//!
//! ```text
//!  memory   │ block 0 │ blocks: log and index      │ large values, a slice per shard │
//!           │ unused  │                            │                                 │
//!
//!  file     │ header  │ blocks: log                │ large values, a slice per shard │ blocks: index
//!           ├─────────────── mapped from the file, offsets are the file's ───────────┤ anonymous
//! ```
//!
//! Address space is free, pages and disk are not: everything is cut generously, because what a file
//! has been cut into stays so on other hosts and with other budgets.

use super::{RegionOptions, to_usize};
use crate::error::Error;
use crate::limits::{
    BLOCK_LEN_BYTES_MAX, BLOCK_LEN_BYTES_MIN, BLOCKS_PER_SHARD_MIN, BLOCKS_PER_SHARD_WANTED,
    FILE_CAPACITY_FACTOR, FILE_LARGE_LEN_BYTES_MAX, FILE_LARGE_LEN_BYTES_MIN,
    FILE_LOG_LEN_BYTES_MAX, LARGE_SLICE_LEN_BYTES_MIN, REGION_LEN_BYTES_MAX, SHARD_COUNT_MAX,
};
use crate::sys::{self, Reservation};

/// The parts of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) block_len_bytes: u64,
    /// Blocks below are never handed out: the unused one, or the file's header.
    pub(super) first_block: u32,
    /// One past the last block below the large area.
    pub(super) block_count: u32,
    pub(super) large_len_bytes: u64,
    /// Large area of one shard.
    pub(super) slice_len_bytes: u64,
    /// Blocks of the index beyond the large area; none in memory.
    pub(super) index_block_count: u32,
}

/// What a file keeps of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) block_len_bytes: u64,
    pub(super) first_block: u32,
    pub(super) block_count: u32,
    pub(super) large_len_bytes: u64,
}

impl Plan {
    /// For memory only.
    pub(super) fn for_memory(options: RegionOptions) -> Result<Self, Error> {
        let shard_count = check(options, BLOCK_LEN_BYTES_MIN as u64)?;
        let maxmemory_bytes = options.maxmemory_bytes;
        let block_len_bytes = block_len_bytes_for(maxmemory_bytes, shard_count);
        let capacity_bytes = host_capacity_bytes(options);
        let block_count = blocks_for(capacity_bytes, block_len_bytes);
        let left_bytes = REGION_LEN_BYTES_MAX.saturating_sub(block_count * block_len_bytes);
        let slice_len_bytes = previous_power_of_two(left_bytes / shard_count)
            .min((4 * capacity_bytes).next_power_of_two())
            .max(LARGE_SLICE_LEN_BYTES_MIN.min(left_bytes / shard_count));
        let too_large = Error::MaxmemoryTooLarge {
            maxmemory_bytes,
            capacity_bytes: REGION_LEN_BYTES_MAX - shard_count * LARGE_SLICE_LEN_BYTES_MIN,
        };
        if slice_len_bytes < LARGE_SLICE_LEN_BYTES_MIN {
            return Err(too_large);
        }
        let Ok(block_count) = u32::try_from(block_count) else {
            return Err(too_large);
        };
        Ok(Self {
            block_len_bytes,
            first_block: 1,
            block_count,
            large_len_bytes: slice_len_bytes * shard_count,
            slice_len_bytes,
            index_block_count: 0,
        })
    }

    /// For a file that was cut before.
    pub(super) fn for_file(
        geometry: Geometry,
        options: RegionOptions,
        capacity_bytes: u64,
    ) -> Result<Self, Error> {
        let shard_count = check(options, geometry.block_len_bytes)?;
        let slice_len_bytes = previous_power_of_two(geometry.large_len_bytes / shard_count);
        if slice_len_bytes < LARGE_SLICE_LEN_BYTES_MIN {
            return Err(Error::Start(format!(
                "the data file was made for at most {} shards, not for {shard_count}",
                geometry.large_len_bytes / LARGE_SLICE_LEN_BYTES_MIN
            )));
        }
        let log_len_bytes = geometry.log_len_bytes();
        let too_large = Error::MaxmemoryTooLarge {
            maxmemory_bytes: options.maxmemory_bytes,
            capacity_bytes: log_len_bytes,
        };
        if options.maxmemory_bytes > log_len_bytes {
            return Err(too_large);
        }
        let capacity_bytes = capacity_bytes.max(options.maxmemory_bytes);
        let index_block_count =
            blocks_for(capacity_bytes.min(log_len_bytes), geometry.block_len_bytes);
        let Ok(index_block_count) = u32::try_from(index_block_count) else {
            return Err(too_large);
        };
        Ok(Self {
            block_len_bytes: geometry.block_len_bytes,
            first_block: geometry.first_block,
            block_count: geometry.block_count,
            large_len_bytes: geometry.large_len_bytes,
            slice_len_bytes,
            index_block_count,
        })
    }

    /// Bytes of the blocks below the large area.
    pub(super) const fn large_start(&self) -> u64 {
        self.block_count as u64 * self.block_len_bytes
    }

    /// Bytes that a file backs: all but the index.
    pub(super) const fn file_len_bytes(&self) -> u64 {
        self.large_start() + self.large_len_bytes
    }

    pub(super) const fn len_bytes(&self) -> u64 {
        self.file_len_bytes() + self.index_block_count as u64 * self.block_len_bytes
    }

    /// The first block of the index beyond the large area.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "8 TiB of the smallest blocks are fewer than 2^32"
    )]
    pub(super) const fn first_index_block(&self) -> u32 {
        (self.file_len_bytes() / self.block_len_bytes) as u32
    }

    /// Asks for the address space, with one alignment more than is used.
    pub(super) fn reserve(&self) -> Result<Reservation, Error> {
        let len_bytes = self.len_bytes() + BLOCK_LEN_BYTES_MAX as u64;
        Reservation::new(to_usize(len_bytes))
            .map_err(|source| Error::CannotMapRegion { len_bytes, source })
    }
}

impl Geometry {
    /// Bytes of all blocks that a log can have.
    pub(super) const fn log_len_bytes(&self) -> u64 {
        (self.block_count - self.first_block) as u64 * self.block_len_bytes
    }

    /// For a new file whose header needs `header_len(block_count)` bytes.
    pub(super) fn for_new_file(
        options: RegionOptions,
        capacity_bytes: u64,
        header_len_bytes: impl Fn(u64) -> u64,
    ) -> Result<Self, Error> {
        let shard_count = check(options, BLOCK_LEN_BYTES_MIN as u64)?;
        let capacity_bytes = capacity_bytes.max(options.maxmemory_bytes);
        let block_len_bytes = block_len_bytes_for(options.maxmemory_bytes, shard_count);
        let log_len_bytes = (FILE_CAPACITY_FACTOR * capacity_bytes).min(FILE_LOG_LEN_BYTES_MAX);
        if options.maxmemory_bytes > log_len_bytes {
            return Err(Error::MaxmemoryTooLarge {
                maxmemory_bytes: options.maxmemory_bytes,
                capacity_bytes: log_len_bytes,
            });
        }
        let log_block_count = blocks_for(log_len_bytes, block_len_bytes);
        let header_block_count = header_len_bytes(2 * log_block_count).div_ceil(block_len_bytes);
        // Whole huge pages, so that the large area begins at one.
        let block_count = blocks_for(
            (header_block_count + log_block_count) * block_len_bytes,
            block_len_bytes,
        );
        let slices = (shard_count.next_power_of_two() * LARGE_SLICE_LEN_BYTES_MIN)
            .max((FILE_CAPACITY_FACTOR * capacity_bytes).next_power_of_two())
            .max(FILE_LARGE_LEN_BYTES_MIN);
        let counted = "2 TiB of the smallest blocks are fewer than 2^32";
        Ok(Self {
            block_len_bytes,
            first_block: u32::try_from(header_block_count).expect(counted),
            block_count: u32::try_from(block_count).expect(counted),
            large_len_bytes: slices.min(FILE_LARGE_LEN_BYTES_MAX),
        })
    }

    /// Whether a region can have been cut like this.
    pub(super) fn is_possible(&self) -> bool {
        let blocks = BLOCK_LEN_BYTES_MIN as u64..=BLOCK_LEN_BYTES_MAX as u64;
        let len_bytes = u64::from(self.block_count)
            .checked_mul(self.block_len_bytes)
            .and_then(|large_start| large_start.checked_add(self.large_len_bytes));
        self.block_len_bytes.is_power_of_two()
            && blocks.contains(&self.block_len_bytes)
            && self.first_block > 0
            && self.first_block < self.block_count
            && self.large_len_bytes.is_power_of_two()
            && self.large_len_bytes >= LARGE_SLICE_LEN_BYTES_MIN
            && len_bytes.is_some_and(|len_bytes| len_bytes <= REGION_LEN_BYTES_MAX)
    }
}

/// Room for CONFIG SET maxmemory to grow up to the host.
pub(super) fn host_capacity_bytes(options: RegionOptions) -> u64 {
    options.maxmemory_bytes.max(sys::host_memory_bytes())
}

/// The count of shards, if there may be so many within this budget.
fn check(options: RegionOptions, block_len_bytes: u64) -> Result<u64, Error> {
    let RegionOptions {
        maxmemory_bytes,
        shard_count,
    } = options;
    if shard_count == 0 || shard_count > SHARD_COUNT_MAX {
        return Err(Error::ShardCountOutOfRange { shard_count });
    }
    let needed_bytes = (shard_count * BLOCKS_PER_SHARD_MIN) as u64 * block_len_bytes;
    if maxmemory_bytes < needed_bytes {
        return Err(Error::MaxmemoryTooSmall {
            maxmemory_bytes,
            needed_bytes,
        });
    }
    Ok(shard_count as u64)
}

fn block_len_bytes_for(maxmemory_bytes: u64, shard_count: u64) -> u64 {
    let wanted = maxmemory_bytes / (shard_count * BLOCKS_PER_SHARD_WANTED as u64);
    previous_power_of_two(wanted.max(1))
        .clamp(BLOCK_LEN_BYTES_MIN as u64, BLOCK_LEN_BYTES_MAX as u64)
}

/// Blocks of whole huge pages for a capacity, and one huge page more, of which one block is never used.
const fn blocks_for(capacity_bytes: u64, block_len_bytes: u64) -> u64 {
    (capacity_bytes.div_ceil(BLOCK_LEN_BYTES_MAX as u64) + 1)
        * (BLOCK_LEN_BYTES_MAX as u64 / block_len_bytes)
}

const fn previous_power_of_two(number: u64) -> u64 {
    if number == 0 { 0 } else { 1 << number.ilog2() }
}
