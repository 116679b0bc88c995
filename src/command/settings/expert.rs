//! The rows of the knobs that experiments turn (`tuning/`): nobody should need them.
//!
//! Each is read once at start, or once a turn, into where it is used, so that it costs the same
//! whatever its value.
//!
//! Not here: the other rows (`rows`) and what a row means (`settings`).

use super::rows::{lens, setting};
use super::{Field, Group, Lens, Setting};
use crate::limits;

pub(super) const BATCH_COMMANDS: Setting = setting(
    "batch-commands",
    Group::Expert,
    "COUNT",
    "1024",
    Field::Number {
        lens: lens!(batch_commands),
        min: 1,
        max: limits::BATCH_COMMAND_COUNT_MAX as u64,
    },
    "commands of a connection that travel to other cores at once",
)
.live();

pub(super) const BUSY_POLL_US: Setting = setting(
    "busy-poll-us",
    Group::Expert,
    "MICROSECONDS",
    "0",
    Field::Number {
        lens: lens!(busy_poll_us),
        min: 0,
        max: limits::BUSY_POLL_US_MAX,
    },
    "have the kernel poll the network card for so long when nothing has arrived; 0 never",
);

pub(super) const DIRECT_READS: Setting = setting(
    "direct-reads",
    Group::Expert,
    "yes|no",
    "yes",
    Field::Bool(lens!(direct_reads)),
    "read keys of other cores from their tables instead of asking them",
)
.live();

pub(super) const GUARD_TIMER_US: Setting = setting(
    "guard-timer-us",
    Group::Expert,
    "MICROSECONDS",
    "2000",
    Field::Number {
        lens: lens!(guard_timer_us),
        min: 0,
        max: 1_000_000,
    },
    "while there is work, look this often whether an executor sleeps on it; 0 never",
);

pub(super) const HUGE_PAGES: Setting = setting(
    "huge-pages",
    Group::Expert,
    "yes|no",
    "yes",
    Field::Bool(lens!(huge_pages)),
    "ask the kernel for huge pages for keys, values and index",
);

pub(super) const LINGER_US: Setting = setting(
    "linger-us",
    Group::Expert,
    "MICROSECONDS",
    "0",
    Field::Number {
        lens: lens!(linger_us),
        min: 0,
        max: limits::LINGER_US_MAX,
    },
    "let so much time pass after a core woke, so that one wake serves more; 0 none",
);

pub(super) const LOCK_MEMORY: Setting = setting(
    "lock-memory",
    Group::Expert,
    "yes|no",
    "no",
    Field::Bool(lens!(lock_memory)),
    "never let the kernel swap keys, values and index out; in memory only",
);

pub(super) const PREFAULT: Setting = setting(
    "prefault",
    Group::Expert,
    "yes|no",
    "no",
    Field::Bool(lens!(prefault)),
    "take maxmemory from the kernel at the start, and keep it; in memory only",
);

// Long, because the timer itself can make an executor sleep on its work (ARCHITECTURE.md, "The
// guard").
pub(super) const PREEMPT_TIMER_US: Setting = setting(
    "preempt-timer-us",
    Group::Expert,
    "MICROSECONDS",
    "100000",
    Field::Number {
        lens: lens!(preempt_timer_us),
        min: 50,
        max: 1_000_000,
    },
    "longest time between an executor's looks at its rings; shorter is not faster",
);

pub(super) const READ_BUFFER: Setting = setting(
    "read-buffer",
    Group::Expert,
    "SIZE",
    "256kb",
    Field::Bytes {
        lens: lens!(read_buffer_bytes),
        min: limits::READ_BUFFER_LEN_BYTES_MIN as u64,
        max: limits::READ_BUFFER_LEN_BYTES_MAX as u64,
        is_zero_default: false,
    },
    "what one receive takes from a connection at most",
);

pub(super) const RING_DEPTH: Setting = setting(
    "ring-depth",
    Group::Expert,
    "COUNT",
    "1024",
    Field::Number {
        lens: lens!(ring_depth),
        min: limits::RING_DEPTH_MIN as u64,
        max: limits::RING_DEPTH_MAX as u64,
    },
    "entries of an executor's io_uring; fewer where little memory may be locked",
);

pub(super) const SPIN_US: Setting = setting(
    "spin-us",
    Group::Expert,
    "MICROSECONDS",
    "20",
    Field::Number {
        lens: lens!(spin_us),
        min: 0,
        max: limits::SPIN_US_MAX,
    },
    "look on for so long without work before a core sleeps, where that pays; 0 never",
)
.live();

pub(super) const STEERING: Setting = setting(
    "steering",
    Group::Expert,
    "WAY",
    "least-loaded",
    Field::Choice {
        lens: lens!(steering),
        choices: &["least-loaded", "hash", "incoming-cpu"],
    },
    "who serves a new connection: the core with the fewest, one by hash, or that of its packets",
);

pub(super) const TCP_NODELAY: Setting = setting(
    "tcp-nodelay",
    Group::Expert,
    "yes|no",
    "yes",
    Field::Bool(lens!(tcp_nodelay)),
    "send replies at once instead of waiting for the acknowledgement of the last (Nagle)",
)
.live();
