//! Every bound in the program: its unit, its reason, and what must hold between neighbours.
//!
//! A limit that a client can meet names the error it answers with. The README's table of limits
//! is taken from this file. Nothing here is computed at run time; what depends on the host
//! (the default of `maxmemory`, the number of shards) is resolved in `config`.

/// 1024 bytes.
pub const KIB: usize = 1024;
/// 1024 KiB.
pub const MIB: usize = 1024 * KIB;
/// 1024 MiB.
pub const GIB: usize = 1024 * MIB;

// ── protocol ────────────────────────────────────────────────────────────────────────────────────

/// Longest key, value or other argument, as Redis's `proto-max-bulk-len`.
/// Beyond: `-ERR Protocol error: invalid bulk length`, then close.
pub const BULK_LEN_BYTES_MAX: usize = 512 * MIB;
/// Most arguments of one command, as Redis.
/// Beyond: `-ERR Protocol error: invalid multibulk length`, then close.
pub const ARGUMENT_COUNT_MAX: usize = 1024 * 1024;
/// Longest inline command, and longest line of a multibulk header, as Redis.
/// Beyond: `-ERR Protocol error: too big inline request` (or mbulk count, or bulk count string).
pub const INLINE_LEN_BYTES_MAX: usize = 64 * KIB;
/// Arguments a client may send before it has authenticated, as Redis.
/// Beyond: `-ERR Protocol error: unauthenticated multibulk length`, then close.
pub const UNAUTHENTICATED_ARGUMENT_COUNT_MAX: usize = 10;
/// Longest argument a client may send before it has authenticated, as Redis.
/// Beyond: `-ERR Protocol error: unauthenticated bulk length`, then close.
pub const UNAUTHENTICATED_BULK_LEN_BYTES_MAX: usize = 16 * KIB;

// ── region, log, table ──────────────────────────────────────────────────────────────────────────

/// Largest unit the region hands out: one huge page.
pub const BLOCK_LEN_BYTES_MAX: usize = 2 * MIB;
/// Smallest unit, for a small `maxmemory` over many shards: two table segments.
pub const BLOCK_LEN_BYTES_MIN: usize = 256 * KIB;
/// Blocks each shard should be able to own before blocks shrink below the maximum.
pub const BLOCKS_PER_SHARD_WANTED: usize = 64;
/// Blocks a shard keeps for its compaction, so that deletes succeed at `maxmemory`.
pub const COMPACTION_RESERVE_BLOCKS: usize = 2;
/// Records and large values start at multiples of this; a slot's location counts in it.
pub const RECORD_ALIGN_BYTES: usize = 8;
/// Slots of one table segment.
pub const SEGMENT_SLOT_COUNT: usize = 16_384;
/// Slots of one bucket: one cache line.
pub const BUCKET_SLOT_COUNT: usize = 8;
/// Buckets of one segment.
pub const SEGMENT_BUCKET_COUNT: usize = SEGMENT_SLOT_COUNT / BUCKET_SLOT_COUNT;
/// Bytes of one segment.
pub const SEGMENT_LEN_BYTES: usize = SEGMENT_SLOT_COUNT * 8;
/// Values from this length live outside the log, in a run of their own.
pub const LARGE_VALUE_LEN_BYTES_MIN: usize = 256 * KIB;
/// Bits of the directory at most: 24 tag bits less the 8 that stay a fingerprint.
pub const DIRECTORY_BITS_MAX: u32 = 16;
/// Shards at most: what a SCAN cursor and a batch's source field can name.
pub const SHARD_COUNT_MAX: usize = 1024;

// ── lanes, turns, batches ───────────────────────────────────────────────────────────────────────

/// Commands parsed and prefetched together.
pub const WAVE_COMMAND_COUNT: usize = 32;
/// Commands one connection may run before others get their turn: about 1 ms of small ones.
pub const TURN_COMMAND_COUNT_MAX: usize = 4096;
/// Bytes of input and output one turn may handle: about 1 ms of copying.
pub const TURN_LEN_BYTES_MAX: usize = MIB;
/// Commands of one batch to another core (measured: 1,024 beats 256 and 20,000).
pub const BATCH_COMMAND_COUNT_MAX: usize = 1024;
/// Reply bytes after which the executing core returns a batch unfinished.
pub const BATCH_REPLY_LEN_BYTES_MAX: usize = MIB;
/// Batches outstanding per ordered pair of cores.
pub const RING_CAPACITY: usize = 64;
/// Bytes of one pooled read buffer.
pub const READ_BUFFER_LEN_BYTES: usize = 256 * KIB;
/// Unsent output after which a connection stops executing (it goes on receiving).
pub const OUTPUT_PAUSE_LEN_BYTES: usize = MIB;
/// Unread input after which a connection is closed, as Redis's `client-query-buffer-limit`.
pub const QUERY_BUFFER_LEN_BYTES_MAX: usize = GIB;

const _: () = assert!(BLOCK_LEN_BYTES_MAX.is_power_of_two());
const _: () = assert!(BLOCK_LEN_BYTES_MIN.is_power_of_two());
const _: () = assert!(SEGMENT_LEN_BYTES <= BLOCK_LEN_BYTES_MIN);
const _: () = assert!(LARGE_VALUE_LEN_BYTES_MIN <= BLOCK_LEN_BYTES_MAX);
const _: () = assert!(SEGMENT_BUCKET_COUNT == 2048);
const _: () = assert!(RING_CAPACITY.is_power_of_two());
const _: () = assert!(WAVE_COMMAND_COUNT <= BATCH_COMMAND_COUNT_MAX);
const _: () = assert!(BULK_LEN_BYTES_MAX < QUERY_BUFFER_LEN_BYTES_MAX);
