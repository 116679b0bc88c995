//! What the live page plots, as JSON: counts as they stand, from which the page takes differences, and
//! what is shown as it is.
//!
//! ```text
//!   { version, at_ms, started_at_ms, loading, keys, expiring, hits, misses, expired, evicted,
//!     connections_max, maxmemory, used, resident, memory: [[kind, bytes], ..],
//!     cores: [{ cpu, commands, busy_us, cpu_us, connections, keys, forwarded, direct } or null, ..],
//!     latencies: [[up to ns, count], ..], commands: [[name, calls, ns], ..],
//!     hot: [[key, share], ..], slow: [{ id, at_s, us, command, client }, ..] }
//! ```
//!
//! Keys and arguments are any bytes: what is no text is replaced, and the page sets them as text, never
//! as markup.

use super::collect::Snapshot;
use super::exposition::memory_kinds;
use crate::command::tally::Histogram;
use crate::command::{HotKeys, SlowCommand, Watched};
use crate::json;
use crate::limits::{PAGE_HOT_KEY_COUNT, PAGE_SLOW_COUNT};
use crate::server::control::Answer;

/// Everything.
pub(super) fn write(snapshot: &Snapshot) -> String {
    let all = &snapshot.all;
    let memory = memory_kinds(all, snapshot.block_len_bytes)
        .into_iter()
        .chain([("limbo", snapshot.limbo_bytes())])
        .map(|(kind, bytes)| format!("[\"{kind}\",{bytes}]"));
    let cores = snapshot.cores.iter().enumerate();
    let cores = cores.map(|(core, answer)| match answer {
        Some(answer) => core_object(answer, snapshot.facts.cpus.get(core)),
        None => "null".to_owned(),
    });
    let commands = all.tally.costs().map(|(row, cost)| {
        let name = json::string(row.name.as_bytes());
        format!("[{name},{},{}]", cost.calls, cost.ns)
    });
    let fields = [
        (
            "version",
            json::string(env!("CARGO_PKG_VERSION").as_bytes()),
        ),
        ("at_ms", (snapshot.unix_us / US_PER_MS).to_string()),
        ("started_at_ms", snapshot.facts.started_at_ms.to_string()),
        ("loading", snapshot.is_loading.to_string()),
        ("keys", all.shard.key_count.to_string()),
        ("expiring", all.shard.volatile_key_count.to_string()),
        ("hits", all.stats.keyspace_hits.to_string()),
        ("misses", all.stats.keyspace_misses.to_string()),
        ("expired", all.shard.expired_count.to_string()),
        ("evicted", all.shard.evicted_count.to_string()),
        ("connections_max", snapshot.maxclients.to_string()),
        ("maxmemory", snapshot.maxmemory_bytes.to_string()),
        ("used", snapshot.used_bytes.to_string()),
        ("resident", snapshot.process.resident_bytes.to_string()),
        ("memory", list(memory)),
        ("cores", list(cores)),
        ("latencies", latencies(snapshot)),
        ("commands", list(commands)),
        ("hot", hot_keys(snapshot)),
        ("slow", slow_commands(snapshot)),
    ];
    object(fields)
}

fn object<const COUNT: usize>(fields: [(&str, String); COUNT]) -> String {
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.join(","))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn core_object(answer: &Answer, cpu: Option<&usize>) -> String {
    let figures = &answer.report.figures;
    let stats = &figures.stats;
    object([
        ("cpu", cpu.map_or("null".to_owned(), ToString::to_string)),
        ("commands", stats.commands_processed.to_string()),
        ("busy_us", stats.busy_us.to_string()),
        ("cpu_us", (answer.cpu_ns / NS_PER_US).to_string()),
        ("connections", figures.connection_count.to_string()),
        ("keys", figures.shard.key_count.to_string()),
        ("forwarded", stats.commands_forwarded.to_string()),
        ("direct", stats.commands_read_directly.to_string()),
    ])
}

/// Of all commands together.
fn latencies(snapshot: &Snapshot) -> String {
    let mut all = Histogram::default();
    let costs = snapshot.all.tally.costs();
    costs
        .filter_map(|(_, cost)| cost.latencies.as_deref())
        .for_each(|latencies| all.merge(latencies));
    list(all.buckets().map(|(ns, count)| format!("[{ns},{count}]")))
}

fn watched(snapshot: &Snapshot) -> impl Iterator<Item = &Watched> {
    let reports = snapshot.answers().map(|answer| &answer.report);
    reports.filter_map(|report| report.watched.as_ref())
}

fn hot_keys(snapshot: &Snapshot) -> String {
    let mut all = HotKeys::default();
    watched(snapshot).for_each(|watched| all.merge(&watched.hot_keys));
    let keys = all.top(PAGE_HOT_KEY_COUNT);
    list(
        keys.into_iter()
            .map(|(key, share)| format!("[{},{share:.4}]", json::string(key))),
    )
}

/// The newest of all cores, newest first.
fn slow_commands(snapshot: &Snapshot) -> String {
    let mut all: Vec<&SlowCommand> = watched(snapshot).flat_map(|it| &it.slow).collect();
    all.sort_unstable_by_key(|command| std::cmp::Reverse(command.id));
    all.truncate(PAGE_SLOW_COUNT);
    list(all.into_iter().map(|command| {
        object([
            ("id", command.id.to_string()),
            ("at_s", command.at_s.to_string()),
            ("us", command.us.to_string()),
            ("command", json::string(&command.arguments.join(&b' '))),
            ("client", json::string(command.address.as_bytes())),
        ])
    }))
}

const NS_PER_US: u64 = 1_000;
const US_PER_MS: u64 = 1_000;
