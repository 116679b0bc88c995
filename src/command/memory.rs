//! MEMORY: what the memory is used for, and whether that is as it should be.
//!
//! The numbers are those of INFO's `# Memory`. There is no allocator below the data to give statistics
//! of or to purge: values live in the region, which gives back what it does not need as it goes.

use std::fmt::Write as _;

use crate::resp::{Args, Reply};

use super::info::{self, Figures};
use super::key::object::MEMORY_USAGE;
use super::settings::format_bytes;
use super::{Flags, Merge, Part, Row, Run, Scope, SessionContext, reply_help};

pub(super) const ROWS: &[Row] = &[Row {
    name: "memory",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "memory|doctor",
        arity: 2,
        scope: Scope::AllShards,
        merge: Merge::With(merge_doctor),
        run: Run::Shard(info::part),
        ..Row::BLANK
    },
    Row {
        name: "memory|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        run: Run::Session(help),
        ..Row::BLANK
    },
    Row {
        name: "memory|malloc-stats",
        arity: 2,
        run: Run::Session(|_, _, reply| {
            reply.bulk(b"Stats not supported for the current allocator");
        }),
        ..Row::BLANK
    },
    Row {
        name: "memory|purge",
        arity: 2,
        run: Run::Session(|_, _, reply| reply.ok()),
        ..Row::BLANK
    },
    Row {
        name: "memory|stats",
        arity: 2,
        scope: Scope::AllShards,
        merge: Merge::With(merge_stats),
        run: Run::Shard(info::part),
        ..Row::BLANK
    },
    MEMORY_USAGE,
];

/// What both subcommands look at, in bytes.
struct Usage {
    used: u64,
    peak: u64,
    resident: u64,
    overhead: u64,
    clients: u64,
    maxmemory: u64,
    key_count: u64,
    log_dead: u64,
    log_live: u64,
}

impl Usage {
    fn of(context: &SessionContext<'_>, parts: &[Part<'_>]) -> Self {
        let all = Figures::of_parts(parts);
        let core = &context.core;
        let used = context.shard.region().used_bytes();
        Self {
            used,
            peak: core.shared.note_used(used),
            resident: core.shared.process_usage().resident_bytes,
            overhead: all.shard.index_bytes + all.shard.expiry_bytes,
            clients: all.stats.input_buffers_bytes + all.stats.output_buffers_bytes,
            maxmemory: core.settings.maxmemory_bytes,
            key_count: all.shard.key_count,
            log_dead: all.shard.log_dead_bytes,
            log_live: all.shard.log_live_bytes,
        }
    }

    fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead)
    }

    /// Memory of the process for each byte in use.
    fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn merge_stats(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let usage = Usage::of(context, parts);
    let counts = [
        ("peak.allocated", usage.peak),
        ("total.allocated", usage.used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", usage.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", usage.overhead),
        ("keys.count", usage.key_count),
        ("keys.bytes-per-key", usage.used / usage.key_count.max(1)),
        ("dataset.bytes", usage.dataset()),
    ];
    let ratios = [
        ("dataset.percentage", percent(usage.dataset(), usage.used)),
        ("peak.percentage", percent(usage.used, usage.peak)),
        ("fragmentation", usage.fragmentation()),
    ];
    reply.map(counts.len() + ratios.len() + 1);
    for (name, value) in counts {
        reply.bulk(name.as_bytes());
        reply.count(value);
    }
    for (name, value) in ratios {
        reply.bulk(name.as_bytes());
        reply.double(value);
    }
    reply.bulk(b"fragmentation.bytes");
    reply.integer(usage.resident.cast_signed() - usage.used.cast_signed());
}

/// Says what is not as it should be, and what to do.
fn merge_doctor(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let usage = Usage::of(context, parts);
    let settings = &context.core.settings;
    if usage.used < LITTLE_BYTES {
        return reply.verbatim(b"There is too little data to say anything about its memory.\n");
    }
    let mut text = String::new();
    let mut advise = |is_so: bool, advice: &dyn Fn() -> String| {
        if is_so {
            writeln!(text, "* {}", advice()).expect("a String takes any text");
        }
    };
    let is_full = usage.used as f64 > NEARLY_FULL * usage.maxmemory as f64;
    advise(
        is_full && settings.maxmemory_policy == "noeviction",
        &|| {
            format!(
                "{} of maxmemory's {} are in use, and maxmemory-policy is noeviction: writes will be \
             refused. Raise maxmemory, choose a policy that evicts, or delete keys.",
                format_bytes(usage.used),
                format_bytes(usage.maxmemory),
            )
        },
    );
    advise(usage.peak as f64 > MUCH * usage.used as f64, &|| {
        format!(
            "At its peak {} were in use, now {}: the process may hold memory that the data does not \
             need. It is used again as data comes.",
            format_bytes(usage.peak),
            format_bytes(usage.used),
        )
    });
    advise(usage.fragmentation() > MUCH, &|| {
        format!(
            "The process has {} resident for {} in use. Buffers of clients have {} of it; the rest is \
             memory that was in use before.",
            format_bytes(usage.resident),
            format_bytes(usage.used),
            format_bytes(usage.clients),
        )
    });
    // Of a little the last block alone may be mostly dead.
    let much_dead = usage.log_live.max(LITTLE_BYTES);
    advise(usage.log_dead > much_dead, &|| {
        format!(
            "{} in the log are dead and {} live: lower log-slack to have dead data cleaned up sooner.",
            format_bytes(usage.log_dead),
            format_bytes(usage.log_live),
        )
    });
    advise(
        usage.clients as f64 > LARGE_SHARE * usage.used as f64,
        &|| {
            format!(
                "Buffers of clients hold {}: look for clients that do not read their replies (CLIENT LIST, \
             omem) or send very large commands (qbuf).",
                format_bytes(usage.clients),
            )
        },
    );
    if text.is_empty() {
        "The memory is used as it should be.\n".clone_into(&mut text);
    }
    reply.verbatim(text.as_bytes());
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "MEMORY", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return what is not as it should be with the memory.",
    "MALLOC-STATS",
    "    Return statistics of the allocator: there are none.",
    "PURGE",
    "    Give back memory that the allocator keeps: there is none.",
    "STATS",
    "    Return what the memory is used for.",
];

/// Less data than this needs no doctor, as in Redis.
const LITTLE_BYTES: u64 = 5 << 20;
/// Ratios from which on Redis's doctor, too, speaks of fragmentation and peaks.
const MUCH: f64 = 1.5;
/// Share of `maxmemory` from which on writes will soon be refused.
const NEARLY_FULL: f64 = 0.95;
/// Share of the data's memory from which on clients' buffers are worth a word.
const LARGE_SHARE: f64 = 0.5;

#[cfg(test)]
mod tests {
    use crate::command::tests::Cores;

    #[test]
    fn stats_are_a_map_of_true_numbers() {
        let mut cores = Cores::new(2);
        cores.run("SET a b");
        let stats = cores.run("MEMORY STATS");
        assert!(
            stats.starts_with("*36\r\n$14\r\npeak.allocated\r\n:"),
            "{stats}"
        );
        assert!(stats.contains("$10\r\nkeys.count\r\n:1\r\n"));
        cores.run("HELLO 3");
        assert!(
            cores
                .run("MEMORY STATS")
                .contains("$15\r\npeak.percentage\r\n,100\r\n")
        );
    }

    #[test]
    fn the_doctor_has_nothing_to_say_of_little_data() {
        let mut cores = Cores::new(1);
        assert!(cores.run("MEMORY DOCTOR").contains("too little data"));
        assert_eq!(cores.run("MEMORY PURGE"), "+OK\r\n");
        assert!(cores.run("MEMORY MALLOC-STATS").contains("not supported"));
    }
}
