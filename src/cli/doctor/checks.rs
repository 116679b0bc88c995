//! The checks, as one table: what each is called, why it matters, and the function that looks.
//!
//! Names and verdicts are part of the JSON that others read: they stay.

use super::host::Host;
use super::{cpus, disk, memory, network, process};

/// How what was found bears on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Good,
    /// It works; latency or throughput may suffer.
    Advice,
    /// The server does not start, loses what it promised to keep, or is stopped for long.
    Bad,
    /// It could not be found out.
    Unknown,
}

impl Verdict {
    /// In the order of the summary.
    pub(super) const ALL: [Self; 4] = [Self::Bad, Self::Advice, Self::Unknown, Self::Good];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Advice => "advice",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What was measured; for an unknown, why it could not be.
    pub(super) value: String,
    /// Commands for a root shell, a line each; empty if there is nothing to do.
    pub(super) fix: String,
}

impl Finding {
    pub(super) fn good(value: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Good,
            value: value.into(),
            fix: String::new(),
        }
    }

    pub(super) fn advice(value: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Advice,
            value: value.into(),
            fix: fix.into(),
        }
    }

    pub(super) fn bad(value: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::advice(value, fix)
        }
    }
}

/// Why something could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown(pub(super) String);

/// What looks at a host.
type Look = fn(&Host) -> Result<Finding, Unknown>;

/// One row.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    /// One sentence.
    pub(super) why: &'static str,
    look: Look,
}

impl Check {
    const fn new(name: &'static str, look: Look, why: &'static str) -> Self {
        Self { name, why, look }
    }

    pub(super) fn run(&self, host: &Host) -> Finding {
        (self.look)(host).unwrap_or_else(|Unknown(reason)| Finding {
            verdict: Verdict::Unknown,
            ..Finding::good(reason)
        })
    }
}

/// Every check: first what keeps the server from starting, then CPUs, memory, network and disk.
pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "kernel",
        process::kernel,
        "The runtime needs the io_uring of Linux 5.8, and 5.14 lets the server prepare pages of its file ahead of their first use.",
    ),
    Check::new(
        "io-uring",
        process::io_uring,
        "Every core's executor is built on io_uring; without it the server does not start.",
    ),
    Check::new(
        "memlock",
        process::memlock,
        "The rings' memory counts against the lockable memory; with too little of it the server refuses to start or makes shallow rings. With lock-memory all reserved addresses count too.",
    ),
    Check::new(
        "nofile",
        process::nofile,
        "Each client is an open file; with fewer files than maxclients the server lowers maxclients.",
    ),
    Check::new(
        "cpu-quota",
        cpus::quota,
        "When a control group has used up its quota the kernel stops all its threads for the rest of the period: every shard is silent for tens of milliseconds.",
    ),
    Check::new(
        "cpu-steal",
        cpus::steal,
        "While the hypervisor runs somebody else on a CPU, the keys of its shard wait.",
    ),
    Check::new(
        "cpu-governor",
        cpus::governor,
        "A governor that follows the load lets a core that was idle begin its next request at a low frequency.",
    ),
    Check::new(
        "cpu-idle",
        cpus::idle,
        "A core that fell into a deep idle state takes that state's exit latency before it looks at the request that woke it.",
    ),
    Check::new(
        "clock-source",
        cpus::clock_source,
        "Turns are timed; with these clock sources a thread reads the time without a system call, with others each look is one.",
    ),
    Check::new(
        "numa",
        cpus::numa,
        "Memory of another node is farther away, and shards are read by all cores.",
    ),
    Check::new(
        "interrupts",
        network::interrupts,
        "The CPU that takes the network's interrupts works for all clients in the time of its own shard.",
    ),
    Check::new(
        "packet-steering",
        network::packet_steering,
        "With fewer receive queues than shards some CPUs do the receive work of the others, unless the kernel spreads it (RPS).",
    ),
    Check::new(
        "somaxconn",
        network::somaxconn,
        "The kernel silently cuts the queue of new connections to this; when many clients come at once some are not let in.",
    ),
    Check::new(
        "memory",
        memory::budget,
        "maxmemory is a promise about keys and values only; when the system has less memory than that, the kernel kills the server.",
    ),
    Check::new(
        "huge-pages",
        memory::huge_pages,
        "Table and log ask for huge pages; with small ones most lookups miss the TLB as well as the cache.",
    ),
    Check::new(
        "overcommit",
        memory::overcommit,
        "The server reserves address space for all memory of the host and fills it as needed; strict accounting (2) counts the reservation as used.",
    ),
    Check::new(
        "swap",
        memory::swap,
        "A key whose page was swapped out is read from the disk, and its core's other clients wait meanwhile.",
    ),
    Check::new(
        "file-system",
        disk::file_system,
        "What was acknowledged is as durable as the file system under --dir.",
    ),
    Check::new(
        "sync",
        disk::sync,
        "With `appendfsync always` a write is acknowledged after such a sync, which all waiting connections share.",
    ),
];
