//! The sections of INFO and their fields.
//!
//! Fields carry Redis's names where the meaning is Redis's. What this server does not have and Redis
//! counts (forks, replicas, scripts) is zero, which is true; what would have to be made up is left
//! out. `# Cores` has a line for each core, `# Coremap` every metric (prefixed) of
//! [`METRICS`](crate::metrics::METRICS) merged.

use std::fmt::Write as _;

use crate::command::connection::REDIS_VERSION;
use crate::command::persistence;
use crate::command::settings::format_bytes;
use crate::metrics::METRICS;
use crate::shard::Stats;

use super::{Report, Section};

/// In the order of the reply.
pub(super) const SECTIONS: &[Section] = &[
    section("server", "Server", server),
    section("clients", "Clients", clients),
    section("memory", "Memory", memory),
    section("persistence", "Persistence", persistence),
    section("stats", "Stats", stats),
    section("replication", "Replication", replication),
    section("cpu", "CPU", cpu),
    section("modules", "Modules", |_, _| {}),
    Section {
        is_long: true,
        ..section("commandstats", "Commandstats", command_stats)
    },
    section("errorstats", "Errorstats", error_stats),
    Section {
        is_long: true,
        ..section("latencystats", "Latencystats", latency_stats)
    },
    section("cores", "Cores", cores),
    section("coremap", "Coremap", coremap),
    section("cluster", "Cluster", cluster),
    section("keyspace", "Keyspace", keyspace),
];

const fn section(
    name: &'static str,
    title: &'static str,
    write: fn(&Report<'_>, &mut String),
) -> Section {
    Section {
        name,
        title,
        is_long: false,
        write,
    }
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    write!(out, "{name}:{value}\r\n").expect("a String takes any text");
}

/// Bytes, and the same for people.
fn line_bytes(out: &mut String, name: &str, bytes: u64) {
    line(out, name, bytes);
    line(out, &format!("{name}_human"), format_bytes(bytes));
}

/// What Redis counts and this server does not have.
fn zeros(out: &mut String, names: &[&str]) {
    names.iter().for_each(|name| line(out, name, 0));
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
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
    let supervisor = if facts.is_supervised { "systemd" } else { "no" };
    line(out, "process_supervised", supervisor);
    line(out, "run_id", &facts.run_id);
    line(out, "tcp_port", facts.port);
    line(out, "server_time_usec", report.now.unix_us);
    line(out, "uptime_in_seconds", uptime_seconds);
    line(out, "uptime_in_days", uptime_seconds / SECONDS_PER_DAY);
    line(out, "cores", facts.core_count);
    line(out, "executable", &facts.executable);
    line(out, "config_file", &facts.config_file);
    line(out, "io_threads_active", 0);
}

fn clients(report: &Report<'_>, out: &mut String) {
    line(out, "connected_clients", report.all.connection_count);
    line(out, "cluster_connections", 0);
    line(out, "maxclients", report.context.core.settings.maxclients);
    line(
        out,
        "client_recent_max_input_buffer",
        report.all.input_max_bytes,
    );
    line(
        out,
        "client_recent_max_output_buffer",
        report.all.output_max_bytes,
    );
    line(out, "blocked_clients", report.all.blocked_count);
    line(out, "tracking_clients", 0);
    line(out, "clients_in_timeout_table", report.all.blocked_count);
}

fn memory(report: &Report<'_>, out: &mut String) {
    let core = &report.context.core;
    let region = report.context.shard.region();
    let used_bytes = region.used_bytes();
    let peak_bytes = core.shared.note_used(used_bytes);
    let resident_bytes = core.shared.process_usage().resident_bytes;
    let stats = &report.all.stats;
    let shards = &report.all.shard;
    let clients_bytes = stats.input_buffers_bytes + stats.output_buffers_bytes;
    let overhead_bytes = shards.index_bytes + shards.expiry_bytes;
    let dataset_bytes = used_bytes.saturating_sub(overhead_bytes);
    line_bytes(out, "used_memory", used_bytes);
    line_bytes(out, "used_memory_rss", resident_bytes);
    line_bytes(out, "used_memory_peak", peak_bytes);
    line(
        out,
        "used_memory_peak_perc",
        percent(used_bytes, peak_bytes),
    );
    line_bytes(
        out,
        "used_memory_rss_peak",
        core.shared.resident_peak_bytes(),
    );
    line(out, "used_memory_overhead", overhead_bytes);
    line(out, "used_memory_startup", 0);
    line(out, "used_memory_dataset", dataset_bytes);
    line(
        out,
        "used_memory_dataset_perc",
        percent(dataset_bytes, used_bytes),
    );
    for (name, bytes) in parts_of_used(shards, used_bytes, region.block_len_bytes()) {
        line(out, name, bytes);
    }
    line(out, "log_live_bytes", shards.log_live_bytes);
    line(out, "log_dead_bytes", shards.log_dead_bytes);
    line(out, "log_slack_percent", core.settings.log_slack_percent);
    line_bytes(out, "total_system_memory", core.facts.total_memory_bytes);
    line_bytes(out, "used_memory_lua", 0);
    line_bytes(out, "used_memory_scripts", 0);
    zeros(out, &["number_of_cached_scripts", "number_of_functions"]);
    line_bytes(out, "maxmemory", core.settings.maxmemory_bytes);
    line(out, "maxmemory_policy", &core.settings.maxmemory_policy);
    let ratio = resident_bytes as f64 / used_bytes.max(1) as f64;
    line(out, "mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    let fragmentation = i128::from(resident_bytes) - i128::from(used_bytes);
    line(out, "mem_fragmentation_bytes", fragmentation);
    zeros(
        out,
        &[
            "mem_not_counted_for_evict",
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "mem_clients_slaves",
        ],
    );
    line(out, "mem_clients_normal", clients_bytes);
    zeros(
        out,
        &[
            "mem_cluster_links",
            "mem_aof_buffer",
            "active_defrag_running",
        ],
    );
    line(out, "mem_allocator", "region");
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
    for (name, value) in persistence::fields(report.context, report.now) {
        line(out, name, value);
    }
}

fn stats(report: &Report<'_>, out: &mut String) {
    let stats = &report.all.stats;
    let shard = &report.all.shard;
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
    zeros(
        out,
        &["total_net_repl_input_bytes", "total_net_repl_output_bytes"],
    );
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
    zeros(out, &["sync_full", "sync_partial_ok", "sync_partial_err"]);
    line(out, "expired_keys", shard.expired_count);
    line(out, "expiry_lag_ms", report.all.expiry_lag_ms);
    line(out, "expiry_lag_max_ms", shard.expiry_lag_max_ms);
    line(out, "evicted_keys", shard.evicted_count);
    line(out, "evicted_clients", stats.evicted_clients);
    line(out, "keyspace_hits", stats.keyspace_hits);
    line(out, "keyspace_misses", stats.keyspace_misses);
    zeros(
        out,
        &[
            "pubsub_channels",
            "pubsub_patterns",
            "pubsubshard_channels",
            "latest_fork_usec",
            "total_forks",
            "migrate_cached_sockets",
            "slave_expires_tracked_keys",
            "tracking_total_keys",
            "tracking_total_items",
            "tracking_total_prefixes",
            "unexpected_error_replies",
        ],
    );
    line(out, "total_error_replies", stats.command_errors);
    line(out, "total_reads_processed", stats.receives);
    line(out, "total_writes_processed", stats.sends);
    line(
        out,
        "client_query_buffer_limit_disconnections",
        stats.query_buffer_disconnections,
    );
}

fn replication(report: &Report<'_>, out: &mut String) {
    line(out, "role", "master");
    line(out, "connected_slaves", 0);
    line(out, "master_failover_state", "no-failover");
    line(out, "master_replid", &report.context.core.facts.run_id);
    line(out, "master_replid2", "0".repeat(RUN_ID_LEN));
    line(out, "master_repl_offset", 0);
    line(out, "second_repl_offset", -1);
    zeros(
        out,
        &[
            "repl_backlog_active",
            "repl_backlog_size",
            "repl_backlog_first_byte_offset",
            "repl_backlog_histlen",
        ],
    );
}

fn cpu(report: &Report<'_>, out: &mut String) {
    let usage = report.context.core.shared.process_usage();
    let seconds = |us: u64| format!("{}.{:06}", us / US_PER_SECOND, us % US_PER_SECOND);
    line(out, "used_cpu_sys", seconds(usage.cpu_system_us));
    line(out, "used_cpu_user", seconds(usage.cpu_user_us));
    line(out, "used_cpu_sys_children", seconds(0));
    line(out, "used_cpu_user_children", seconds(0));
}

/// What each command cost (see [`tally`](crate::command::tally)).
fn command_stats(report: &Report<'_>, out: &mut String) {
    for (row, cost) in report.all.tally.costs() {
        let us_per_call = cost.ns as f64 / NS_PER_US as f64 / cost.calls.max(1) as f64;
        let value = format!(
            "calls={},usec={},usec_per_call={us_per_call:.2},rejected_calls={},failed_calls={}",
            cost.calls,
            cost.ns / NS_PER_US,
            cost.rejected,
            cost.failed,
        );
        line(out, &format!("cmdstat_{}", row.name), value);
    }
}

fn error_stats(report: &Report<'_>, out: &mut String) {
    for (code, count) in report.all.tally.errors() {
        line(
            out,
            &format!("errorstat_{code}"),
            format_args!("count={count}"),
        );
    }
}

fn latency_stats(report: &Report<'_>, out: &mut String) {
    let settings = &report.context.core.settings;
    let percentiles = settings
        .latency_tracking_info_percentiles
        .split_whitespace();
    let percentiles: Vec<(&str, f64)> = percentiles
        .filter_map(|text| Some((text, text.parse().ok()?)))
        .collect();
    for (row, cost) in report.all.tally.costs() {
        let Some(latencies) = &cost.latencies else {
            continue;
        };
        let value = |(text, percentile): &(&str, f64)| {
            let us = latencies.percentile_ns(*percentile) as f64 / NS_PER_US as f64;
            format!("p{text}={us:.3}")
        };
        let values: Vec<String> = percentiles.iter().map(value).collect();
        let name = format!("latency_percentiles_usec_{}", row.name);
        line(out, &name, values.join(","));
    }
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

fn cluster(_: &Report<'_>, out: &mut String) {
    line(out, "cluster_enabled", 0);
}

fn keyspace(report: &Report<'_>, out: &mut String) {
    let Stats {
        key_count,
        volatile_key_count,
        ..
    } = report.all.shard;
    if key_count > 0 {
        let ttl_ms = report.all.ttl_ms;
        line(
            out,
            "db0",
            format_args!("keys={key_count},expires={volatile_key_count},avg_ttl={ttl_ms}"),
        );
    }
}

const SECONDS_PER_DAY: u64 = 86_400;
const US_PER_SECOND: u64 = 1_000_000;
const NS_PER_US: u64 = 1_000;
/// Digits of a run id, and of one that there is not.
const RUN_ID_LEN: usize = 40;
