//! INFO: the state of the server as `name:value` lines in sections.
//!
//! Every core hands in its numbers as words; the core of the caller adds them up and writes the
//! text. Fields carry Redis's names where the meaning is Redis's; fields that would have to be made
//! up are left out. `# Cores` has a line for each core, `# Coremap` every metric (prefixed) of
//! [`METRICS`](crate::metrics::METRICS) merged.

use std::fmt::Write as _;

use crate::metrics::{CoreStats, METRICS};
use crate::resp::{Args, Reply};
use crate::shard::Stats;

use super::connection::REDIS_VERSION;
use super::settings::format_bytes;
use super::{Context, Flags, Merge, Now, Part, Row, Run, Scope, SessionContext, Status};

pub(super) const ROWS: &[Row] = &[Row {
    name: "info",
    arity: -1,
    flags: Flags::LOADING.with(Flags::STALE),
    scope: Scope::AllShards,
    merge: Merge::With(merge),
    run: Run::Shard(part),
    ..Row::BLANK
}];

/// The numbers of one core, as they travel; or of all, added up.
#[derive(Clone, Debug, Default)]
struct Figures {
    stats: CoreStats,
    shard: Stats,
    connection_count: u64,
    /// Since when a key has been due that nobody has removed yet, in milliseconds.
    expiry_lag_ms: u64,
}

impl Figures {
    fn of(context: &Context<'_>) -> Self {
        let mut shard = context.shard.stats();
        shard.expired_count -= context.core.expired_count_at_reset;
        shard.evicted_count -= context.core.evicted_count_at_reset;
        let now_ms = context.now.ms();
        let due_ms = context.shard.next_expiry_ms().unwrap_or(now_ms);
        Self {
            stats: context.core.stats.clone(),
            shard,
            connection_count: context.core.clients.len() as u64,
            expiry_lag_ms: now_ms.saturating_sub(due_ms),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.stats.write(out);
        let rest = [self.connection_count, self.expiry_lag_ms];
        for word in self.shard.words().into_iter().chain(rest) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (stats, rest) = CoreStats::read(bytes)?;
        let (words, _) = rest.as_chunks();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (shard, rest) = words.split_first_chunk()?;
        let &[connection_count, expiry_lag_ms] = rest.first_chunk()?;
        Some(Self {
            stats,
            shard: Stats::from_words(*shard),
            connection_count,
            expiry_lag_ms,
        })
    }

    fn merge(&mut self, other: &Self) {
        self.stats.merge(&other.stats);
        self.shard.merge(&other.shard);
        self.connection_count += other.connection_count;
        self.expiry_lag_ms = self.expiry_lag_ms.max(other.expiry_lag_ms);
    }
}

fn part(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut bytes = Vec::new();
    Figures::of(context).write(&mut bytes);
    reply.raw(&bytes);
    Status::Done
}

fn merge(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let cores: Vec<Figures> = parts
        .iter()
        .filter_map(|part| Figures::read(part.reply))
        .collect();
    let mut all = Figures::default();
    cores.iter().for_each(|figures| all.merge(figures));
    let report = Report {
        context,
        cores: &cores,
        all: &all,
        now: context.now,
    };
    let mut text = String::new();
    for section in SECTIONS
        .iter()
        .filter(|section| is_asked_for(section.name, args))
    {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(section.title);
        text.push_str("\r\n");
        (section.write)(&report, &mut text);
    }
    reply.verbatim(text.as_bytes());
}

/// No argument, `default`, `all` and `everything` mean every section.
fn is_asked_for(name: &str, args: Args<'_>) -> bool {
    let names = [name, "default", "all", "everything"];
    let is_meant = |arg: &[u8]| {
        names
            .iter()
            .any(|name| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    args.len() == 1 || args.slice(1..).iter().any(is_meant)
}

/// What the sections are written from.
struct Report<'a> {
    context: &'a SessionContext<'a>,
    cores: &'a [Figures],
    all: &'a Figures,
    now: Now,
}

struct Section {
    /// What INFO's argument calls it.
    name: &'static str,
    /// What the reply calls it.
    title: &'static str,
    write: fn(&Report<'_>, &mut String),
}

/// In the order of the reply.
const SECTIONS: &[Section] = &[
    Section {
        name: "server",
        title: "Server",
        write: server,
    },
    Section {
        name: "clients",
        title: "Clients",
        write: clients,
    },
    Section {
        name: "memory",
        title: "Memory",
        write: memory,
    },
    Section {
        name: "persistence",
        title: "Persistence",
        write: persistence,
    },
    Section {
        name: "stats",
        title: "Stats",
        write: stats,
    },
    Section {
        name: "replication",
        title: "Replication",
        write: replication,
    },
    Section {
        name: "cpu",
        title: "CPU",
        write: cpu,
    },
    Section {
        name: "modules",
        title: "Modules",
        write: |_, _| {},
    },
    Section {
        name: "cores",
        title: "Cores",
        write: cores,
    },
    Section {
        name: "coremap",
        title: "Coremap",
        write: coremap,
    },
    Section {
        name: "cluster",
        title: "Cluster",
        write: |_, out| line(out, "cluster_enabled", 0),
    },
    Section {
        name: "keyspace",
        title: "Keyspace",
        write: keyspace,
    },
];

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}:{value}\r\n").expect("a String takes any text");
}

/// Bytes, and the same for people.
fn line_bytes(out: &mut String, name: &str, bytes: u64) {
    line(out, name, bytes);
    line(out, &format!("{name}_human"), format_bytes(bytes));
}

fn server(report: &Report<'_>, out: &mut String) {
    let facts = &report.context.core.facts;
    let uptime_seconds = report.now.ms().saturating_sub(facts.started_at_ms) / 1_000;
    line(out, "redis_version", REDIS_VERSION);
    line(out, "redis_mode", "standalone");
    line(out, "coremap_version", env!("CARGO_PKG_VERSION"));
    line(out, "os", &facts.operating_system);
    line(out, "arch_bits", usize::BITS);
    line(out, "multiplexing_api", "io_uring");
    line(out, "process_id", facts.process_id);
    line(out, "run_id", &facts.run_id);
    line(out, "tcp_port", facts.port);
    line(out, "server_time_usec", report.now.unix_us);
    line(out, "uptime_in_seconds", uptime_seconds);
    line(out, "uptime_in_days", uptime_seconds / SECONDS_PER_DAY);
    line(out, "cores", facts.core_count);
    line(out, "executable", &facts.executable);
    line(out, "config_file", &facts.config_file);
}

fn clients(report: &Report<'_>, out: &mut String) {
    line(out, "connected_clients", report.all.connection_count);
    line(out, "maxclients", report.context.core.settings.maxclients);
    line(out, "blocked_clients", 0);
    line(out, "tracking_clients", 0);
}

fn memory(report: &Report<'_>, out: &mut String) {
    let core = &report.context.core;
    let region = report.context.shard.region();
    let used_bytes = region.used_bytes();
    let resident_bytes = core.shared.process_usage().resident_bytes;
    let stats = &report.all.stats;
    let shards = &report.all.shard;
    line_bytes(out, "used_memory", used_bytes);
    line_bytes(out, "used_memory_rss", resident_bytes);
    line_bytes(
        out,
        "used_memory_rss_peak",
        core.shared.resident_peak_bytes(),
    );
    line_bytes(out, "total_system_memory", core.facts.total_memory_bytes);
    line_bytes(out, "maxmemory", core.settings.maxmemory_bytes);
    line(out, "maxmemory_policy", &core.settings.maxmemory_policy);
    let ratio = resident_bytes as f64 / used_bytes.max(1) as f64;
    line(out, "mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    for (name, bytes) in parts_of_used(shards, used_bytes, region.block_len_bytes()) {
        line(out, name, bytes);
    }
    line(out, "log_live_bytes", shards.log_live_bytes);
    line(out, "log_dead_bytes", shards.log_dead_bytes);
    line(out, "log_slack_percent", core.settings.log_slack_percent);
    line(
        out,
        "mem_clients_normal",
        stats.input_buffers_bytes + stats.output_buffers_bytes,
    );
}

/// What `used_memory` consists of. Besides what cores hold there is what they have given up and
/// others may still be reading; the cores' numbers are not of one moment, so that is about so much.
fn parts_of_used(
    shards: &Stats,
    used_bytes: u64,
    block_len_bytes: u64,
) -> [(&'static str, u64); 5] {
    let log_bytes = shards.log_bytes(block_len_bytes);
    let held_bytes = shards.held_bytes(block_len_bytes);
    [
        ("used_memory_index", shards.index_bytes),
        ("used_memory_log", log_bytes),
        ("used_memory_large_values", shards.large_bytes),
        ("used_memory_expiry", shards.expiry_bytes),
        ("used_memory_limbo", used_bytes.saturating_sub(held_bytes)),
    ]
}

fn persistence(report: &Report<'_>, out: &mut String) {
    for (name, value) in super::persistence::fields(report.context, report.now) {
        line(out, name, value);
    }
}

fn stats(report: &Report<'_>, out: &mut String) {
    let stats = &report.all.stats;
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    line(
        out,
        "total_connections_received",
        stats.connections_received,
    );
    line(out, "total_commands_processed", stats.commands_processed);
    line(out, "instantaneous_ops_per_sec", stats.commands_per_second);
    line(out, "total_net_input_bytes", stats.input_bytes);
    line(out, "total_net_output_bytes", stats.output_bytes);
    line(
        out,
        "instantaneous_input_kbps",
        kib(stats.input_bytes_per_second),
    );
    line(
        out,
        "instantaneous_output_kbps",
        kib(stats.output_bytes_per_second),
    );
    line(out, "rejected_connections", stats.connections_rejected);
    line(out, "expired_keys", report.all.shard.expired_count);
    line(out, "expiry_lag_ms", report.all.expiry_lag_ms);
    line(out, "expiry_lag_max_ms", report.all.shard.expiry_lag_max_ms);
    line(out, "evicted_keys", report.all.shard.evicted_count);
    line(out, "keyspace_hits", stats.keyspace_hits);
    line(out, "keyspace_misses", stats.keyspace_misses);
    line(out, "pubsub_channels", 0);
    line(out, "pubsub_patterns", 0);
    line(out, "total_error_replies", stats.command_errors);
    line(out, "evicted_clients", stats.evicted_clients);
}

fn replication(_: &Report<'_>, out: &mut String) {
    line(out, "role", "master");
    line(out, "connected_slaves", 0);
    line(out, "master_failover_state", "no-failover");
    line(out, "master_repl_offset", 0);
    line(out, "repl_backlog_active", 0);
}

fn cpu(report: &Report<'_>, out: &mut String) {
    let usage = report.context.core.shared.process_usage();
    let seconds = |us: u64| format!("{}.{:06}", us / US_PER_SECOND, us % US_PER_SECOND);
    line(out, "used_cpu_sys", seconds(usage.cpu_system_us));
    line(out, "used_cpu_user", seconds(usage.cpu_user_us));
}

/// One line per core: where keys and connections are, and which core is short of time.
fn cores(report: &Report<'_>, out: &mut String) {
    for (id, figures) in report.cores.iter().enumerate() {
        let cpu = report.context.core.facts.cpus.get(id);
        let value = format!(
            "cpu={},keys={},connections={},load_permille={},ops_per_sec={},turn_longest_us={}",
            cpu.map_or_else(|| "any".to_owned(), ToString::to_string),
            figures.shard.key_count,
            figures.connection_count,
            figures.stats.load_permille,
            figures.stats.commands_per_second,
            figures.stats.turn_longest_us,
        );
        line(out, &format!("core{id}"), value);
    }
}

fn coremap(report: &Report<'_>, out: &mut String) {
    for (metric, value) in METRICS.iter().zip(report.all.stats.words()) {
        line(out, &format!("coremap_{}", metric.name), value);
    }
}

fn keyspace(report: &Report<'_>, out: &mut String) {
    let Stats {
        key_count,
        volatile_key_count,
        ..
    } = report.all.shard;
    if key_count > 0 {
        line(
            out,
            "db0",
            format_args!("keys={key_count},expires={volatile_key_count},avg_ttl=0"),
        );
    }
}

const SECONDS_PER_DAY: u64 = 86_400;
const US_PER_SECOND: u64 = 1_000_000;

#[cfg(test)]
mod tests;
