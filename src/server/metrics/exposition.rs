//! The metrics in Prometheus's text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats>).
//!
//! Names follow its conventions: base units (seconds, bytes, ratios), `_total` for what counts up. What is
//! of one core carries its number, so that skew is visible and sums are the reader's; what is of one
//! command carries its name. A command's latencies are those of LATENCY HISTOGRAM, cut at bounds that
//! people read easily: each count is true to within a sixteenth of its bound.

use std::fmt::Write as _;

use super::collect::Snapshot;
use crate::command::tally::{Cost, Histogram};
use crate::command::{Figures, Row};
use crate::metrics::{Kind, METRICS, Metric, Unit};
use crate::server::control::Answer;

/// One row: a number that each core has.
struct OfCore {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Answer) -> f64,
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// A number of a core's figures.
const fn of_core(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Answer) -> f64,
) -> OfCore {
    OfCore {
        name,
        kind,
        help,
        value,
    }
}

fn figures(answer: &Answer) -> &Figures {
    &answer.report.figures
}

/// Besides those of [`METRICS`].
const OF_CORES: &[OfCore] = &[
    of_core(
        "coremap_cpu_seconds_total",
        COUNTER,
        "CPU time of the core's thread.",
        |it| seconds(it.cpu_ns, NS_PER_S),
    ),
    of_core(
        "coremap_connections",
        GAUGE,
        "Connections that live on the core.",
        |it| figures(it).connection_count as f64,
    ),
    of_core(
        "coremap_connections_blocked",
        GAUGE,
        "Connections that wait for a time or for the disk.",
        |it| figures(it).blocked_count as f64,
    ),
    of_core("coremap_keys", GAUGE, "Keys.", |it| {
        figures(it).shard.key_count as f64
    }),
    of_core(
        "coremap_keys_with_expiry",
        GAUGE,
        "Keys that expire.",
        |it| figures(it).shard.volatile_key_count as f64,
    ),
    of_core(
        "coremap_keys_expired_total",
        COUNTER,
        "Keys removed because their time had come.",
        |it| figures(it).shard.expired_count as f64,
    ),
    of_core(
        "coremap_keys_evicted_total",
        COUNTER,
        "Keys removed because memory was short.",
        |it| figures(it).shard.evicted_count as f64,
    ),
    of_core(
        "coremap_expiry_lag_seconds",
        GAUGE,
        "Since when a key has been due that is not removed yet.",
        |it| seconds(figures(it).expiry_lag_ms, MS_PER_S),
    ),
    of_core(
        "coremap_log_live_bytes",
        GAUGE,
        "Bytes of records in use.",
        |it| figures(it).shard.log_live_bytes as f64,
    ),
    of_core(
        "coremap_log_dead_bytes",
        GAUGE,
        "Bytes of records that compaction will reclaim.",
        |it| figures(it).shard.log_dead_bytes as f64,
    ),
    of_core(
        "coremap_compacted_bytes_total",
        COUNTER,
        "Bytes that compaction has copied.",
        |it| figures(it).shard.compacted_total_bytes as f64,
    ),
    of_core(
        "coremap_compacted_blocks_total",
        COUNTER,
        "Blocks that compaction has emptied.",
        |it| figures(it).shard.compacted_block_count as f64,
    ),
    of_core(
        "coremap_emergency_compactions_total",
        COUNTER,
        "Writes that had to compact before they could go on.",
        |it| figures(it).shard.emergency_count as f64,
    ),
    of_core(
        "coremap_writes_refused_total",
        COUNTER,
        "Writes refused for want of memory.",
        |it| figures(it).shard.out_of_memory_count as f64,
    ),
];

/// All metrics.
pub(super) fn write(snapshot: &Snapshot) -> String {
    let mut out = Exposition::default();
    out.family(
        "coremap_build_info",
        GAUGE,
        "The version that runs; the value is 1.",
    );
    out.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    write_process(&mut out, snapshot);
    write_memory(&mut out, snapshot);
    write_cores(&mut out, snapshot);
    write_commands(&mut out, snapshot);
    out.text
}

fn write_process(out: &mut Exposition, snapshot: &Snapshot) {
    let process = &snapshot.process;
    let cpu_us = process.cpu_user_us + process.cpu_system_us;
    let rows = [
        (
            "process_start_time_seconds",
            GAUGE,
            "When the server started, since 1970.",
            seconds(snapshot.facts.started_at_ms, MS_PER_S),
        ),
        (
            "process_cpu_seconds_total",
            COUNTER,
            "CPU time of all threads.",
            seconds(cpu_us, US_PER_S),
        ),
        (
            "process_resident_memory_bytes",
            GAUGE,
            "Memory of the process that is resident.",
            process.resident_bytes as f64,
        ),
        (
            "coremap_loading",
            GAUGE,
            "Whether data is on its way from the disk.",
            f64::from(u8::from(snapshot.is_loading)),
        ),
        (
            "coremap_connections_max",
            GAUGE,
            "`maxclients`.",
            snapshot.maxclients as f64,
        ),
        (
            "coremap_fsyncs_total",
            COUNTER,
            "Rounds of writing to disk, each one fdatasync.",
            snapshot.round_count as f64,
        ),
        (
            "coremap_fsync_seconds_total",
            COUNTER,
            "Time they took.",
            seconds(snapshot.rounds_total_us, US_PER_S),
        ),
    ];
    for (name, kind, help, value) in rows {
        out.family(name, kind, help);
        out.sample("", &[], value);
    }
}

fn write_memory(out: &mut Exposition, snapshot: &Snapshot) {
    let rows = [
        (
            "coremap_memory_used_bytes",
            "Memory of keys, values and index.",
            snapshot.used_bytes,
        ),
        (
            "coremap_memory_used_peak_bytes",
            "The most that was seen.",
            snapshot.used_peak_bytes,
        ),
        (
            "coremap_memory_max_bytes",
            "`maxmemory`.",
            snapshot.maxmemory_bytes,
        ),
        (
            "coremap_memory_limbo_bytes",
            "Part of the used memory that was given up and may still be read, about.",
            snapshot.limbo_bytes(),
        ),
    ];
    for (name, help, value) in rows {
        out.family(name, GAUGE, help);
        out.sample("", &[], value as f64);
    }
    out.family(
        "coremap_memory_bytes",
        GAUGE,
        "Memory that a core holds, by kind; buffers are no part of the used memory.",
    );
    for answer in snapshot.answers() {
        let core = answer.core.to_string();
        for (kind, bytes) in memory_kinds(figures(answer), snapshot.block_len_bytes) {
            out.sample("", &[("core", &core), ("kind", kind)], bytes as f64);
        }
    }
}

/// What memory is used for, in bytes.
pub(super) fn memory_kinds(figures: &Figures, block_len_bytes: u64) -> [(&'static str, u64); 5] {
    let (shard, stats) = (&figures.shard, &figures.stats);
    [
        ("index", shard.index_bytes),
        ("log", shard.log_bytes(block_len_bytes)),
        ("large_values", shard.large_bytes),
        ("expiry", shard.expiry_bytes),
        (
            "buffers",
            stats.input_buffers_bytes + stats.output_buffers_bytes + stats.waiting_buffers_bytes,
        ),
    ]
}

fn write_cores(out: &mut Exposition, snapshot: &Snapshot) {
    out.family(
        "coremap_core_answers",
        GAUGE,
        "Whether the core handed in its numbers in time; if not, it has none here.",
    );
    for (core, answer) in snapshot.cores.iter().enumerate() {
        let core = core.to_string();
        let value = f64::from(u8::from(answer.is_some()));
        out.sample("", &[("core", &core)], value);
    }
    for row in OF_CORES {
        out.family(row.name, row.kind, row.help);
        for answer in snapshot.answers() {
            let core = answer.core.to_string();
            out.sample("", &[("core", &core)], (row.value)(answer));
        }
    }
    for (place, metric) in METRICS.iter().enumerate() {
        // Rates are the reader's to compute.
        if metric.kind == Kind::Rate {
            continue;
        }
        let (name, per_unit) = name_of(metric);
        let kind = if metric.kind == Kind::Counter {
            COUNTER
        } else {
            GAUGE
        };
        out.family(&name, kind, metric.description);
        for answer in snapshot.answers() {
            let core = answer.core.to_string();
            let value = figures(answer).stats.words()[place] as f64 / per_unit;
            out.sample("", &[("core", &core)], value);
        }
    }
}

/// A metric's name here, and how many of its unit make a base unit.
fn name_of(metric: &Metric) -> (String, f64) {
    let (ending, base, per_unit) = match metric.unit {
        Unit::Count => ("", "", 1.0),
        Unit::Bytes => ("_bytes", "_bytes", 1.0),
        Unit::Microseconds => ("_us", "_seconds", US_PER_S),
        Unit::Permille => ("_permille", "_ratio", 1e3),
    };
    let stem = metric.name.strip_suffix(ending).unwrap_or(metric.name);
    let total = if metric.kind == Kind::Counter {
        "_total"
    } else {
        ""
    };
    (format!("coremap_{stem}{base}{total}"), per_unit)
}

/// A row of a number that each command has: name, help, value.
type OfCommand = (&'static str, &'static str, fn(&Cost) -> f64);

fn write_commands(out: &mut Exposition, snapshot: &Snapshot) {
    let tally = &snapshot.all.tally;
    let rows: [OfCommand; 4] = [
        ("coremap_command_calls_total", "Commands run.", |cost| {
            cost.calls as f64
        }),
        (
            "coremap_command_seconds_total",
            "Time that cores spent on commands.",
            |cost| seconds(cost.ns, NS_PER_S),
        ),
        (
            "coremap_command_rejected_total",
            "Commands refused before they ran.",
            |cost| cost.rejected as f64,
        ),
        (
            "coremap_command_failed_total",
            "Commands that replied an error.",
            |cost| cost.failed as f64,
        ),
    ];
    for (name, help, value) in rows {
        out.family(name, COUNTER, help);
        for (row, cost) in tally.costs() {
            out.sample("", &[("command", row.name)], value(cost));
        }
    }
    out.family(
        "coremap_command_duration_seconds",
        "histogram",
        "How long commands took, from the turn they began in to the one they ended in.",
    );
    for (row, cost) in tally.costs() {
        if let Some(latencies) = &cost.latencies {
            write_latencies(out, row, latencies);
        }
    }
    out.family(
        "coremap_error_replies_total",
        COUNTER,
        "Error replies by their first word.",
    );
    for (error, count) in tally.errors() {
        out.sample("", &[("error", error)], count as f64);
    }
}

/// Bounds of the histograms' buckets: 1, 2, 5, 10, .. microseconds to a second.
const BOUNDS_US: [u64; 19] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000,
];

fn write_latencies(out: &mut Exposition, row: &Row, latencies: &Histogram) {
    let command = ("command", row.name);
    for us in BOUNDS_US {
        let bound = seconds(us, US_PER_S).to_string();
        let count = latencies.count_up_to(us * NS_PER_US);
        out.sample("_bucket", &[command, ("le", &bound)], count as f64);
    }
    let count = latencies.count() as f64;
    out.sample("_bucket", &[command, ("le", "+Inf")], count);
    out.sample("_sum", &[command], seconds(latencies.sum_ns(), NS_PER_S));
    out.sample("_count", &[command], count);
}

const NS_PER_US: u64 = 1_000;
const MS_PER_S: f64 = 1e3;
const US_PER_S: f64 = 1e6;
const NS_PER_S: f64 = 1e9;

fn seconds(count: u64, per_second: f64) -> f64 {
    count as f64 / per_second
}

/// The text, family by family.
#[derive(Default)]
struct Exposition {
    text: String,
    /// Of the family that is being written.
    name: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, ending: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.name);
        self.text.push_str(ending);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            let before = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_base_units() {
        let name = |wanted: &str| {
            let metric = METRICS.iter().find(|metric| metric.name == wanted);
            name_of(metric.unwrap())
        };
        assert_eq!(
            name("busy_us"),
            ("coremap_busy_seconds_total".to_owned(), 1e6)
        );
        assert_eq!(
            name("input_bytes"),
            ("coremap_input_bytes_total".to_owned(), 1.0)
        );
        assert_eq!(
            name("turn_longest_us"),
            ("coremap_turn_longest_seconds".to_owned(), 1e6)
        );
        assert_eq!(name("turns").0, "coremap_turns_total");
    }

    #[test]
    fn labels_hold_any_text() {
        let mut out = Exposition::default();
        out.family("a", GAUGE, "b\\c");
        out.sample("", &[("l", "x\"y\\z")], 0.5);
        let text = "# HELP a b\\\\c\n# TYPE a gauge\na{l=\"x\\\"y\\\\z\"} 0.5\n";
        assert_eq!(out.text, text);
    }

    #[test]
    fn buckets_count_up_to_their_bounds() {
        let mut latencies = Histogram::default();
        latencies.add(3_000, 2);
        latencies.add(2_000_000_000, 1);
        let mut out = Exposition::default();
        out.family("t", "histogram", "");
        let row = crate::command::rows().next().unwrap();
        write_latencies(&mut out, row, &latencies);
        assert!(out.text.contains(",le=\"0.000002\"} 0\n"), "{}", out.text);
        assert!(out.text.contains(",le=\"0.000005\"} 2\n"));
        assert!(out.text.contains(",le=\"1\"} 2\n"));
        assert!(out.text.contains(",le=\"+Inf\"} 3\n"));
    }
}
