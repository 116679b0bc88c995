//! Every bound in the program: its unit, its reason, and what must hold between neighbours.
//!
//! A limit that a client can meet names the error it answers with. The README's table of limits
//! is taken from this file. Nothing here is computed at run time; what depends on the host
//! (the default of `maxmemory`, the number of shards) is resolved when the server starts. Defaults
//! of settings stand in their table (`command::settings`).

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
/// Most arguments of one command, as Redis before 7.0; it takes 2,147,483,647 since.
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

// ── what is slow ────────────────────────────────────────────────────────────────────────────────

/// Arguments that an entry of the slow log keeps, as Redis.
pub const SLOW_ARGUMENT_COUNT_MAX: usize = 32;
/// Bytes of each of them, as Redis.
pub const SLOW_ARGUMENT_LEN_BYTES_MAX: usize = 128;
/// Thresholds of the slow log below this let every command have a turn of its own: pipelines' turns
/// are about as long.
pub const EXACT_BELOW_US: u64 = 1_000;
/// Samples that LATENCY keeps of an event, as Redis.
pub const LATENCY_SAMPLE_COUNT_MAX: usize = 160;

// ── metrics and the live page ───────────────────────────────────────────────────────────────────

/// Keys that a core counts at a time to find those used most.
pub const HOT_KEY_COUNT_MAX: usize = 64;
/// Bytes of each that are kept: longer keys that begin alike count as one.
pub const HOT_KEY_LEN_BYTES_MAX: usize = 128;
/// Commands that a core looks at in a second, about, for its hot keys.
pub const HOT_KEY_SAMPLES_PER_SECOND: u64 = 500;
/// Seconds after which a core stops to do so unless somebody has asked again.
pub const HOT_KEY_PATIENCE_S: u32 = 10;
/// Commands from the start of a pipeline among which the one to look at is chosen.
pub const HOT_KEY_CHOICE_COUNT_MAX: u64 = 64;
/// Slow commands of each core that the live page is told.
pub const PAGE_SLOW_COUNT: usize = 32;
/// Hot keys that it is told.
pub const PAGE_HOT_KEY_COUNT: usize = 10;
/// Threads for each address of the metrics port, and so requests served at a time. More wait in the
/// kernel's queue.
pub const METRICS_THREAD_COUNT: usize = 2;
/// Connections that wait there at most; the kernel refuses more.
pub const METRICS_BACKLOG: u32 = 16;
/// Bytes of a request's head. Beyond: `431 Request Header Fields Too Large`.
pub const METRICS_REQUEST_LEN_BYTES_MAX: usize = 8 * KIB;
/// Header lines of a request. Beyond: the same.
pub const METRICS_HEADER_COUNT_MAX: usize = 64;
/// Milliseconds that a request may take to arrive, then that its client may take to read, and then to close.
pub const METRICS_PATIENCE_MS: u64 = 2_000;
/// The same while others wait for a thread.
pub const METRICS_PATIENCE_PRESSED_MS: u64 = 300;
/// Milliseconds between looks at whether the server stops.
pub const METRICS_POLL_MS: u64 = 100;
/// Milliseconds that cores have to hand in their numbers; who has not by then is told of as such.
pub const METRICS_ANSWER_MS: u64 = 1_000;
/// Milliseconds for which the same answer is given again: however many ask, cores are asked so often.
pub const METRICS_FRESH_MS: u64 = 100;

/// Lines of one kind that the log takes in so many seconds, of those that can come again and again.
pub const LOG_BURST_COUNT: u64 = 10;
/// The seconds.
pub const LOG_WINDOW_S: u64 = 10;
/// Lines that wait to be written at most: some 100 KiB.
pub const LOG_QUEUE_LEN: usize = 1_000;
/// Milliseconds that a process which ends waits for its last lines to be written, at most.
pub const LOG_FLUSH_MS: u64 = 500;
/// Seconds that a crash report may take, should nobody read it.
pub const CRASH_REPORT_S: u32 = 20;

// ── commands ────────────────────────────────────────────────────────────────────────────────────

/// Values that one BITOP, PFCOUNT or PFMERGE combines. Beyond: `-ERR too many source keys`.
pub const GATHERED_KEY_COUNT_MAX: usize = 4096;
/// Bytes of the values that one BITOP, PFCOUNT, PFMERGE or LCS copies to one place: those below
/// [`LARGE_VALUE_LEN_BYTES_MIN`], the others stay where they are. They are no part of `maxmemory`; 64 MiB take
/// some 10 ms to copy. Beyond: `-ERR source values are too long together`.
pub const GATHERED_LEN_BYTES_MAX: usize = 64 * MIB;
/// Keys that are fetched from other shards at a time for such a command: together within that bound.
pub const GATHERED_ROUND_KEY_COUNT: usize = GATHERED_LEN_BYTES_MAX / LARGE_VALUE_LEN_BYTES_MIN;
/// Bytes of a HyperLogLog from which it is dense, as Redis's `hll-sparse-max-bytes` by default.
pub const HLL_SPARSE_LEN_BYTES_MAX: usize = 3000;

// ── region, log, table ──────────────────────────────────────────────────────────────────────────

/// Bytes of the pages that the kernel maps: what a large value is committed in.
pub const PAGE_LEN_BYTES: u64 = 4096;
/// Largest unit the region hands out: one huge page.
pub const BLOCK_LEN_BYTES_MAX: usize = 2 * MIB;
/// Smallest unit, for a small `maxmemory` over many shards: two table segments. The model checker
/// follows every word, so its blocks, segments and buckets are tiny.
pub const BLOCK_LEN_BYTES_MIN: usize = if cfg!(loom) { 512 } else { 256 * KIB };
/// Blocks each shard should be able to own before blocks shrink below the maximum.
pub const BLOCKS_PER_SHARD_WANTED: usize = 64;
/// Blocks a shard keeps for its compaction, so that deletes succeed at `maxmemory`.
pub const COMPACTION_RESERVE_BLOCKS: usize = 2;
/// Records and large values start at multiples of this; a slot's location counts in it.
pub const RECORD_ALIGN_BYTES: usize = 8;
/// Length of a record at least, so that each starts in a unit of its own.
pub const RECORD_LEN_BYTES_MIN: usize = 2 * RECORD_ALIGN_BYTES;
/// Slots of one table segment.
pub const SEGMENT_SLOT_COUNT: usize = if cfg!(loom) { 8 } else { 16_384 };
/// Slots of one bucket: one cache line.
pub const BUCKET_SLOT_COUNT: usize = if cfg!(loom) { 2 } else { 8 };
/// Buckets of one segment.
pub const SEGMENT_BUCKET_COUNT: usize = SEGMENT_SLOT_COUNT / BUCKET_SLOT_COUNT;
/// Bytes of one segment.
pub const SEGMENT_LEN_BYTES: usize = SEGMENT_SLOT_COUNT * 8;
/// Values from this length live outside the log, in a run of their own.
pub const LARGE_VALUE_LEN_BYTES_MIN: usize = 256 * KIB;
/// Segments that may be full at once in just those buckets where a command's new keys belong: so many
/// are prepared for.
pub const PREPARED_SPLIT_COUNT_MAX: usize = 8;
/// Bits of the directory at most: 24 tag bits less the 8 that stay a fingerprint.
pub const DIRECTORY_BITS_MAX: u32 = 16;
/// Blocks a shard takes at start: its first index block, its first log block, its reserve.
pub const BLOCKS_PER_SHARD_MIN: usize = 2 + COMPACTION_RESERVE_BLOCKS;
/// Returned blocks that keep their pages for the next taker; all others go back to the kernel.
pub const RESIDENT_FREE_BLOCKS_MAX: usize = 8;
/// Free blocks that a preparing thread keeps backed by pages, so that no turn waits for the kernel:
/// half as many as are used, within these bounds. (Measured while 20M keys were loaded on a host where
/// a block takes 5 ms: with 4 the last was taken up to 33 times, with 8 never.)
pub const PREPARED_BLOCKS_MIN: usize = 4;
/// See [`PREPARED_BLOCKS_MIN`].
pub const PREPARED_BLOCKS_MAX: usize = RESIDENT_FREE_BLOCKS_MAX;
/// Log space of a data file, in multiples of the host's memory or `maxmemory`: it is fixed when the
/// file is made, and costs nothing before it is used.
pub const FILE_CAPACITY_FACTOR: u64 = 4;
/// Log space of a data file at most, so that its large values have some, too.
pub const FILE_LOG_LEN_BYTES_MAX: u64 = 2 << 40;
/// Address space for large values in a data file at least: for 64 shards or fewer, later.
pub const FILE_LARGE_LEN_BYTES_MIN: u64 = 128 * GIB as u64;
/// Address space for large values in a data file at most.
pub const FILE_LARGE_LEN_BYTES_MAX: u64 = 4 << 40;
/// Address space of the region: what a slot's 40 bits of 8-byte units can name.
pub const REGION_LEN_BYTES_MAX: u64 = 1 << 43;
/// Address space for one shard's large values at least: some values of the greatest length.
pub const LARGE_SLICE_LEN_BYTES_MIN: u64 = 2 * GIB as u64;
/// Unit of address space of a large value.
pub const LARGE_EXTENT_LEN_BYTES_MIN: usize = 64 * KIB;
/// What of a large value in a file is written again when a byte of it changes.
pub const LARGE_PIECE_LEN_BYTES: usize = MIB;
/// Pieces that are shown elsewhere than where they are: each may be two mappings more, of which Linux
/// lets a process have 65,530 (`vm.max_map_count`). With more, a change copies the value.
pub const LARGE_SHOWN_PIECES_MAX: usize = 16 * KIB;
/// A large value that outgrows its address space gets this many times its length, so that it
/// moves once per three doublings. Address space is free.
pub const LARGE_EXTENT_GROWTH: u64 = 8;
/// A record of the log is at most a block divided by this, which bounds the end of a block that
/// no record fits into. Longer values are large values, longer keys get a run of their own.
pub const RECORDS_PER_BLOCK_MIN: usize = 8;
/// Dead bytes the log tolerates, in percent of everything live: memory against compaction's CPU.
/// (Measured: bench/results/2026-11-21-log-slack.)
pub const LOG_SLACK_PERCENT_DEFAULT: u32 = 50;
/// Least of `log-slack`: below, a byte written costs ten copied and more.
pub const LOG_SLACK_PERCENT_MIN: u32 = 5;
/// Most of `log-slack`: five of six bytes dead.
pub const LOG_SLACK_PERCENT_MAX: u32 = 500;
/// Dead blocks the log tolerates beyond the percentage, so that a small shard need not compact.
pub const LOG_SLACK_BLOCKS: u64 = 8;
/// Part of the live bytes that graves (`shard::stream`) may be before the oldest blocks are compacted
/// for their sake.
pub const GRAVES_DIVISOR: u64 = 8;
/// Blocks of graves tolerated beyond that.
pub const GRAVES_TOLERATED_BLOCKS: u64 = 2;
/// Blocks emptied between two syncs when a start changes the number of shards.
pub const RESPLIT_BATCH_BLOCKS_MAX: usize = 16;
/// Work for memory that one write may do at once, evicting and compacting each, in nanoseconds as estimated.
pub const MEMORY_STEP_NS_MAX: u64 = 300_000;
/// Bytes of what waits in limbo that one write frees on its way: one block, or a part of a run.
pub const LIMBO_STEP_LEN_BYTES: u64 = 256 * KIB as u64;
/// Bytes a write adds before compaction is paid for: a batch large enough to prefetch.
pub const COMPACTION_DEBT_LEN_BYTES_MIN: u64 = 4096;
/// Milliseconds that one write at the budget waits for the disk before it gives up with `-OOM`: some
/// rounds of a disk that is not slow. Nothing else runs on its core meanwhile.
pub const ROUND_WAIT_MS_MAX: u64 = 25;
/// The same for what removes, which must not fail as long as the disk answers.
pub const REMOVAL_WAIT_MS_MAX: u64 = 1_000;
/// Milliseconds for which writes of clients are held back while keys are evicted and the disk has not yet given
/// back what they need: longer than the rounds of a slow disk, and an end if memory does not come back.
pub const HELD_BACK_MS_MAX: u64 = 5_000;
/// Milliseconds after which a connection whose write was held back looks again.
pub const HELD_BACK_STEP_MS: u64 = 2;
/// Blocks one write at the budget may compact before it gives up with `-OOM`.
pub const EMERGENCY_COMPACTION_BLOCKS_MAX: usize = 256;
/// Bytes of a large value that background work releases or copies at a time: about 0.5 ms.
pub const LARGE_STEP_LEN_BYTES: u64 = 2 * MIB as u64;
/// Milliseconds of a tick of the expiry wheel: how late a key is removed if the core has time.
pub const EXPIRY_TICK_MS: u64 = 128;
/// Memory of the expiry wheel is taken and given back in pages of this (tiny as blocks are for the model
/// checker).
pub const EXPIRY_PAGE_LEN_BYTES: usize = if cfg!(loom) { 512 } else { 64 * KIB };
/// Entries of the expiry wheel without a key that are tolerated, besides one for each key.
pub const EXPIRY_LITTER_COUNT: u64 = 64 * KIB as u64;
/// Keys that one step of background work looks at for whether they have expired: about 0.3 ms.
pub const BACKGROUND_EXPIRY_COUNT: usize = 2048;
/// Milliseconds after which turns help background work with what has expired.
pub const EXPIRY_PATIENCE_MS: u64 = 2 * EXPIRY_TICK_MS;
/// Keys that a turn looks at when background work does not keep up: about 0.05 ms.
pub const TURN_EXPIRY_COUNT: usize = 256;
/// Blocks for each shard that stay free while keys are evicted, so that writes need not wait.
pub const EVICTION_HEADROOM_BLOCKS: u64 = 4;
/// Part of `maxmemory` that stays free at most for that.
pub const EVICTION_HEADROOM_DIVISOR: u64 = 32;
/// How much more of both stays free in a file, where memory comes back some rounds after it was freed.
/// (Measured: bench/results/2026-11-21-turns-at-the-budget.)
pub const EVICTION_HEADROOM_IN_FILE_FACTOR: u64 = 4;
/// Part of that headroom below which writes are held back until more has come back.
pub const HELD_BACK_DIVISOR: u64 = 4;
/// Part of the live bytes that is dead while keys are evicted: compaction then finds blocks with much
/// dead in them, and few bytes hold nothing.
pub const EVICTED_DIVISOR: u64 = 12;
/// Part of the log that is young: unused keys in it are evicted first.
pub const YOUNG_DIVISOR: u64 = 10;
/// Blocks one write may compact that evicts for its memory.
pub const EVICTING_COMPACTION_BLOCKS_MAX: usize = 16 * 1024;
/// Shards at most: what a SCAN cursor and a batch's source field can name.
pub const SHARD_COUNT_MAX: usize = 1024;

// ── lanes, turns, batches ───────────────────────────────────────────────────────────────────────

/// Commands parsed ahead of the one that runs, their buckets on the way.
pub const WINDOW_COMMAND_COUNT: usize = 32;
/// Commands probed ahead of the one that runs, their records on the way.
pub const PROBE_COMMAND_COUNT: usize = WINDOW_COMMAND_COUNT / 2;
/// Commands one connection may run before others get their turn: about 1 ms of small ones.
pub const TURN_COMMAND_COUNT_MAX: usize = 4096;
/// Nanoseconds after which a turn leaves the rest of its commands to the next one.
pub const TURN_NS_MAX: u64 = 1_000_000;
/// Commands from one look at the clock to the next within a turn: about 0.1 ms of slow ones.
pub const CLOCK_COMMAND_COUNT: usize = 64;
/// Bytes of input and output one turn may handle: about 1 ms of copying.
pub const TURN_LEN_BYTES_MAX: usize = MIB;
/// So many of them a nanosecond of work for memory stands for: it may have half a turn.
pub const TOIL_LEN_BYTES_PER_NS: u64 = 2;
/// Most of `batch-commands`, and its default (measured: bench/results/2026-11-21-forwarding).
pub const BATCH_COMMAND_COUNT_MAX: usize = 1024;
/// Reply bytes after which the executing core returns a batch unfinished.
pub const BATCH_REPLY_LEN_BYTES_MAX: usize = MIB;
/// Batches outstanding per ordered pair of cores.
pub const RING_CAPACITY: usize = 64;
/// Stretches of replies that may wait for other cores before a connection executes no more: with
/// [`BATCH_REPLY_LEN_BYTES_MAX`] this bounds what it is owed.
pub const GATHER_COUNT_MAX: usize = 8;
/// Keys of one command that run in one go, and thus atomically, when they live on one shard: about
/// 3 ms. Beyond, the command runs in parts.
pub const WHOLE_KEY_COUNT_MAX: usize = 16 * 1024;
/// Bytes of arguments that MULTI queues for one connection, which is closed beyond.
pub const TRANSACTION_LEN_BYTES_MAX: usize = GIB;
/// Bytes of the budget that are free, besides four times what a command over several shards writes,
/// when it need not ask for room: nobody uses them up in the time that it takes.
pub const PLENTY_LEN_BYTES: u64 = 64 * MIB as u64;
/// Commands over several shards that share one hold of them, before others get their turn.
pub const HOLD_COMMAND_COUNT_MAX: usize = 256;
/// Bytes of compaction and the like in one slice of background work.
pub const BACKGROUND_LEN_BYTES: usize = 256 * KIB;
/// Microseconds that a busy core lets pass before it asks for the round that replies wait for.
pub const ROUND_DELAY_US_MAX: u64 = 200;
/// Milliseconds that a core sleeps on a round it has not asked for, because batches are out whose
/// replies will wait for it, too.
pub const ROUND_PATIENCE_MS: u64 = 1;
/// How long a round waits for connections that the last one served, in multiples of what that one took.
pub const ROUND_GATHER_FACTOR: u64 = 2;
/// Microseconds at most that it does.
pub const ROUND_GATHER_US_MAX: u64 = 1_000;
/// Argument positions that memory kept for its next use has room for.
pub const POOLED_SPAN_COUNT_MAX: usize = 16 * BATCH_COMMAND_COUNT_MAX;
/// Larger read buffers are multiples of this: whole pages.
pub const READ_BUFFER_ALIGN_BYTES: usize = 4096;
/// Bytes of one pooled read buffer by default (`read-buffer`), and of memory for replies that is kept
/// for its next use.
pub const READ_BUFFER_LEN_BYTES: usize = 256 * KIB;
/// Least of `read-buffer`: below, a buffer has no room for a receive behind what it holds.
pub const READ_BUFFER_LEN_BYTES_MIN: usize = 16 * KIB;
/// Most of `read-buffer`: what one turn may handle.
pub const READ_BUFFER_LEN_BYTES_MAX: usize = TURN_LEN_BYTES_MAX;
/// Unsent output after which a connection stops executing (it goes on receiving).
pub const OUTPUT_PAUSE_LEN_BYTES: usize = MIB;
/// Part of the host's memory that connections' buffers may take, unless `maxmemory-clients` says
/// otherwise. Beyond: the connection that holds most is closed.
pub const MAXMEMORY_CLIENTS_DEFAULT_DIVISOR: u64 = 10;
/// What a server has resident at most besides `maxmemory`, a 128th of that for the marks of dead records, and
/// the buffers that INFO counts: the program, its tables, and free blocks at hand (for the log, and in a file
/// as many for the index). Checked by `tests/memory.rs` over mixes of writes.
pub const RESIDENT_BASE_LEN_BYTES: u64 = 64 * MIB as u64;
/// Unread input after which a connection is closed, as Redis's `client-query-buffer-limit`.
pub const QUERY_BUFFER_LEN_BYTES_MAX: usize = GIB;
/// What `maxclients` may be at most: what Redis accepts for it.
/// Beyond `maxclients`: `-ERR max number of clients reached`, then close.
pub const CLIENT_COUNT_MAX: u32 = u32::MAX;

// ── listing keys ────────────────────────────────────────────────────────────────────────────────

/// Keys that one call of SCAN looks at, whatever its COUNT: about 1 ms.
pub const SCAN_KEY_COUNT_MAX: u64 = 8192;
/// Slots that one call of SCAN visits at most, however few keys they hold: about 0.1 ms if none.
/// As many as the smallest table has, so that a shard with few keys is done in one call.
pub const SCAN_SLOT_COUNT_MAX: u64 = SEGMENT_SLOT_COUNT as u64;
/// Slots that KEYS visits before others have their turn.
pub const KEYS_SLICE_SLOT_COUNT: usize = 2048;

const _: () = assert!(SCAN_KEY_COUNT_MAX <= SCAN_SLOT_COUNT_MAX || cfg!(loom));
const _: () = assert!(SCAN_SLOT_COUNT_MAX.is_multiple_of(BUCKET_SLOT_COUNT as u64));

// ── server ──────────────────────────────────────────────────────────────────────────────────────

/// Descriptors besides those of clients: per core three rings, listeners, doorbell, eventfd,
/// the epoll set and its copy for the runtime.
pub const DESCRIPTORS_PER_CORE: u64 = 24;
/// Descriptors of the process besides clients and cores: standard streams, files read in passing.
pub const DESCRIPTORS_OF_PROCESS: u64 = 32;
/// Smallest `maxmemory` that is worth an answer; the region has its own bound per shard.
pub const MAXMEMORY_BYTES_MIN: usize = MIB;
/// Share of the host's or container's memory that `maxmemory` is by default, in percent.
pub const MAXMEMORY_DEFAULT_PERCENT: u64 = 80;
/// Most of `ring-depth`, and its default: calls to the kernel that an executor makes in one go.
pub const RING_DEPTH_MAX: u32 = 1024;
/// Entries of an io_uring when little memory may be locked.
pub const RING_DEPTH_MIN: u32 = 128;
/// Slower ticks of the guard, in multiples of its period, for when all faster ones were lost.
pub const GUARD_RESERVE_FACTORS: [u32; 2] = [8, 64];
/// Ticks without work after which the guard's period doubles.
pub const GUARD_IDLE_TICKS_MAX: u32 = 4;
/// Microseconds of uninterrupted work after which a core looks at its sockets.
pub const REACTOR_PASS_INTERVAL_US: u64 = 1_000;
/// Milliseconds without work after which a core leaves its sleep to the runtime, which is dearer
/// but knows of timers: those are late by this at most.
pub const SILENCE_MS: u64 = 10;
/// Microseconds at most that a core without work may be told to look on before it sleeps.
pub const SPIN_US_MAX: u64 = 100_000;
/// Microseconds at most that a core may be told to let pass after it woke: all its clients wait.
pub const LINGER_US_MAX: u64 = 10_000;
/// Microseconds at most that the kernel may be told to poll a network card for.
pub const BUSY_POLL_US_MAX: u64 = 100_000;
/// Milliseconds to wait when the process or the system is out of descriptors.
pub const ACCEPT_BACKOFF_MS: u64 = 20;
/// Seconds a client that is to be disconnected has to take its last replies.
pub const LINGER_S: u64 = 10;
/// Milliseconds a stopping server gives its clients to take their replies.
pub const STOP_DEADLINE_MS: u64 = 5_000;
/// Milliseconds between looks at whether a stopping server is done.
pub const STOP_POLL_MS: u64 = 5;
/// Milliseconds at most between two questions to each core, where a service manager listens.
pub const BEAT_MS_MAX: u64 = 1_000;
/// Questions within the time in which the manager must hear that all is well: one may be answered late.
pub const BEATS_PER_WATCHDOG: u32 = 4;
/// Beats without an answer after which the log names the core.
pub const SILENT_BEATS_MAX: u32 = 2;
/// Microseconds that a manager is asked to wait for more of a load that goes on.
pub const EXTEND_TIMEOUT_US: u64 = 60_000_000;
/// Milliseconds between tries to listen where somebody still does: the last server may be about to end.
pub const BIND_RETRY_MS: u64 = 20;
/// Tries at most.
pub const BIND_RETRY_COUNT: u32 = 50;

const _: () = assert!(BLOCK_LEN_BYTES_MAX.is_power_of_two());
const _: () =
    assert!(2 * FILE_LOG_LEN_BYTES_MAX + FILE_LARGE_LEN_BYTES_MAX <= REGION_LEN_BYTES_MAX);
const _: () = assert!(BLOCK_LEN_BYTES_MIN.is_power_of_two());
const _: () = assert!(PREPARED_BLOCKS_MIN <= PREPARED_BLOCKS_MAX);
const _: () = assert!(SEGMENT_LEN_BYTES <= BLOCK_LEN_BYTES_MIN);
const _: () = assert!(LARGE_VALUE_LEN_BYTES_MIN <= BLOCK_LEN_BYTES_MAX);
const _: () = assert!(SEGMENT_BUCKET_COUNT == 2048 || cfg!(loom));
const _: () = assert!(RING_CAPACITY.is_power_of_two());
const _: () = assert!(WINDOW_COMMAND_COUNT <= BATCH_COMMAND_COUNT_MAX);
const _: () = assert!(READ_BUFFER_LEN_BYTES_MIN.is_multiple_of(READ_BUFFER_ALIGN_BYTES));
const _: () = assert!(BULK_LEN_BYTES_MAX < QUERY_BUFFER_LEN_BYTES_MAX);
const _: () = assert!(RING_DEPTH_MIN.is_power_of_two());
const _: () = assert!(RING_DEPTH_MAX.is_power_of_two());
