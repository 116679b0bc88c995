//! `summary.md` and the plots of a soak, made from the files of its record alone.

use std::fmt::Write;

use crate::plot::{self, Height, Titles};
use crate::record::Record;
use crate::report;
use crate::table::{Row, Table};

const S_PER_MINUTE: f64 = super::run::S_PER_MINUTE;
const NS_PER_MS: f64 = 1e6;
const US_PER_MS: f64 = 1e3;
const MIB: f64 = 1_048_576.0;
/// Percentiles of the plot: name and column.
const PERCENTILES: &[(&str, &str)] = &[
    ("longest", "latency_max_ns"),
    ("99.9 %", "latency_p999_ns"),
    ("99 %", "latency_p99_ns"),
    ("50 %", "latency_p50_ns"),
];
const MEMORY: &[(&str, &str)] = &[
    ("resident", "resident_bytes"),
    ("of it anonymous: no file's pages", "anonymous_bytes"),
    ("used_memory", "used_memory_bytes"),
];
const WAITS: &[(&str, &str)] = &[
    ("longest turn", "turn_longest_us"),
    ("longest sync, beside the cores", "sync_longest_us"),
    ("a thread's waits for a CPU, together", "cpu_wait_us"),
];
const CONNECTIONS: &[(&str, &str)] = &[
    ("descriptors", "descriptors"),
    ("connected clients", "connected_clients"),
];

/// The files of a record.
pub(super) struct Sources {
    pub(super) record: Record,
    pub(super) latency: Table,
    pub(super) samples: Table,
    pub(super) checks: Table,
}

impl Sources {
    /// Names and texts of all that is made from them.
    pub(super) fn render(&self) -> Result<Vec<(&'static str, String)>, String> {
        let titles = |title, y| Titles {
            title,
            x: "minutes",
            y,
        };
        Ok(vec![
            ("summary.md", self.summary()),
            (
                "latency.svg",
                plot::course(
                    &titles("Latency from when a command was due", "ms"),
                    Height::Logarithmic,
                    &lines(&self.latency, "end_s", PERCENTILES, NS_PER_MS),
                )?,
            ),
            (
                "memory.svg",
                plot::course(
                    &titles("Memory of the server", "MiB"),
                    Height::FromZero,
                    &lines(&self.samples, "at_s", MEMORY, MIB),
                )?,
            ),
            (
                "waits.svg",
                plot::course(
                    &titles("What held the server up, between two samples", "ms"),
                    Height::Logarithmic,
                    &lines(&self.samples, "at_s", WAITS, US_PER_MS),
                )?,
            ),
            (
                "descriptors.svg",
                plot::course(
                    &titles("Descriptors and clients of the server", "open"),
                    Height::FromZero,
                    &lines(&self.samples, "at_s", CONNECTIONS, 1.0),
                )?,
            ),
        ])
    }

    fn summary(&self) -> String {
        let is_good = self.checks.rows().all(|row| row.text("holds") == "yes");
        let verdict = if is_good { "passed" } else { "failed" };
        let mut text = format!("# Soak: {verdict}\n\n");
        for row in self.record.raw.rows() {
            text += &load_line(row);
        }
        text += "\n| what must hold | found | bound | holds |\n|---|---|---|---|\n";
        for row in self.checks.rows() {
            let cells = ["check", "found", "bound", "holds"].map(|column| row.text(column));
            let _ = writeln!(text, "| {} |", cells.map(cell).join(" | "));
        }
        text += "\n![latency](latency.svg)\n\n![waits](waits.svg)\n\n![memory](memory.svg)\n\n![descriptors](descriptors.svg)\n";
        text += "\nLatency counts from when a command was due; a point is an interval of `latency.csv`.\n";
        let _ = write!(
            text,
            "\n## How it was made\n\n```\n{}\n```\n",
            self.record.about.join("\n")
        );
        text
    }
}

/// What one load did, as a line of a list.
fn load_line(row: Row<'_>) -> String {
    let number = |column: &str| row.number(column).unwrap_or(f64::NAN);
    let kind = match row.number("rate_per_s") {
        Some(rate) => format!("open loop at {} commands/s", report::count(rate, 3)),
        None => "closed loop, a command of each connection at a time".to_owned(),
    };
    format!(
        "- {}: {kind}, {} s: {} commands/s of {} on {} connections, {} keys with values of {} bytes; \
         p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, longest {:.1} ms\n",
        row.text("server"),
        report::count(number("seconds"), 3),
        report::count(number("commands_per_s"), 3),
        row.text("operation"),
        row.text("connections"),
        report::count(number("keys"), 3),
        row.text("value_len_bytes"),
        number("latency_p50_ns") / NS_PER_MS,
        number("latency_p99_ns") / NS_PER_MS,
        number("latency_p999_ns") / NS_PER_MS,
        number("latency_max_ns") / NS_PER_MS,
    )
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Columns over minutes, in a unit.
fn lines<'a>(
    table: &Table,
    at: &str,
    columns: &[(&'a str, &str)],
    unit: f64,
) -> Vec<(&'a str, Vec<(f64, f64)>)> {
    let line = |column: &str| {
        let point =
            |row: Row<'_>| Some((row.number(at)? / S_PER_MINUTE, row.number(column)? / unit));
        table.rows().filter_map(point).collect()
    };
    columns
        .iter()
        .map(|(name, column)| (*name, line(column)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(holds: &str) -> Sources {
        let table = |text: &str| Table::parse(text).unwrap();
        Sources {
            record: Record {
                about: vec!["commit: abc".to_owned()],
                raw: table(
                    "server,operation,rate_per_s,commands_per_s\nsoak,mixed:20,700.0,699.9\n",
                ),
                ..Record::default()
            },
            latency: table("end_s,latency_p50_ns,latency_max_ns\n60.000,100000,9000000\n120,1,2\n"),
            samples: table(
                "at_s,resident_bytes,descriptors,turn_longest_us\n60.0,1048576,50,9\n90.0,2097152,50,7\n",
            ),
            checks: table(&format!(
                "check,found,bound,holds\nscrapes,a|b,none,{holds}\n"
            )),
        }
    }

    #[test]
    fn the_page_says_what_its_files_say() {
        let files = sources("yes").render().unwrap();
        let text = |wanted: &str| &files.iter().find(|(name, _)| *name == wanted).unwrap().1;
        assert!(text("summary.md").starts_with("# Soak: passed"));
        for part in [
            "| scrapes | a\\|b | none | yes |",
            "commit: abc",
            "open loop at 700",
        ] {
            assert!(text("summary.md").contains(part), "{}", text("summary.md"));
        }
        assert!(text("latency.svg").contains("99.9 %") && text("memory.svg").contains("resident"));
        assert!(
            sources("no").render().unwrap()[0]
                .1
                .starts_with("# Soak: failed")
        );
    }
}
