//! What a run leaves behind: a CSV line, JSON, a percentile file, the course by intervals.
//!
//! One list of columns makes both the CSV and the JSON, so that they cannot differ.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::record::{Row, quantiles};
use super::{Options, Outcome};

/// Nanoseconds of the unit in which percentile files are written.
const NS_PER_MS: f64 = 1e6;

/// A value of a column.
enum Field {
    Text(String),
    Number(String),
    /// Was not measured.
    Absent,
}

impl Field {
    fn number(number: impl ToString) -> Self {
        Self::Number(number.to_string())
    }

    fn float(number: Option<f64>) -> Self {
        number
            .filter(|number| number.is_finite())
            .map_or(Self::Absent, |number| Self::Number(format!("{number:.1}")))
    }
}

/// A run, column by column: what was asked for, then what was measured.
fn columns(server: &str, options: &Options, outcome: &Outcome) -> Vec<(&'static str, Field)> {
    use Field::{Absent, Text};
    let text = |value: &dyn ToString| Text(value.to_string());
    let latency = quantiles(&outcome.latency_ns).map(|ns| {
        if outcome.latency_ns.is_empty() {
            Absent // nothing was answered
        } else {
            Field::number(ns)
        }
    });
    let [p50, p90, p99, p999, p9999, max] = latency;
    let is_open = options.rate.is_some();
    let if_open = |number: u64| {
        if is_open {
            Field::number(number)
        } else {
            Absent
        }
    };
    vec![
        ("server", text(&server)),
        ("operation", text(&options.operation)),
        ("keys", Field::number(options.keys)),
        ("keys_distribution", text(&options.keys_distribution)),
        ("key_len_bytes", Field::number(options.key_len)),
        ("value_len_bytes", text(&options.value_len)),
        ("connections", Field::number(options.connections)),
        ("threads", Field::number(options.threads)),
        ("pipeline", Field::number(options.pipeline)),
        ("rate_per_s", Field::float(options.rate)),
        ("seconds", Field::Number(format!("{:.3}", outcome.seconds))),
        ("commands", Field::number(outcome.tally.reply_count)),
        (
            "commands_per_s",
            Field::float(Some(outcome.commands_per_s())),
        ),
        (
            "server_cpu_ns_per_command",
            Field::float(outcome.cpu_ns_per_command()),
        ),
        (
            "client_cpu_ns_per_command",
            Field::float(Some(outcome.per_command(outcome.client_cpu_ns))),
        ),
        (
            "server_rss_bytes",
            outcome.server_rss_bytes.map_or(Absent, Field::number),
        ),
        ("latency_p50_ns", p50),
        ("latency_p90_ns", p90),
        ("latency_p99_ns", p99),
        ("latency_p999_ns", p999),
        ("latency_p9999_ns", p9999),
        ("latency_max_ns", max),
        (
            "behind_p99_ns",
            if_open(outcome.behind_ns.value_at_quantile(0.99)),
        ),
        ("behind_max_ns", if_open(outcome.behind_ns.max())),
        ("unsent", if_open(outcome.unsent_count)),
        ("misses", Field::number(outcome.tally.miss_count)),
        ("errors", Field::number(outcome.tally.error_count)),
    ]
}

/// The names of `csv_line`'s columns. Empty fields were not measured.
pub(crate) fn csv_header() -> String {
    let names = columns("", &Options::default(), &Outcome::empty());
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    names.join(",")
}

/// One run as a line under `csv_header`.
pub(crate) fn csv_line(server: &str, options: &Options, outcome: &Outcome) -> String {
    let fields = columns(server, options, outcome).into_iter();
    let texts = fields.map(|(_, field)| match field {
        Field::Text(text) | Field::Number(text) => text,
        Field::Absent => String::new(),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// Writes the files that the options ask for.
pub(crate) fn write_files(options: &Options, outcome: &Outcome) -> Result<(), String> {
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => write_file(path, &text()),
        None => Ok(()),
    };
    write(&options.json, &|| json(options, outcome))?;
    write(&options.hgrm, &|| hgrm(outcome))?;
    write(&options.interval_csv, &|| interval_csv(&outcome.rows))
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The columns, then the CPU time of the server's threads and the course of the run.
fn json(options: &Options, outcome: &Outcome) -> String {
    let mut text = String::from("{\n");
    for (name, field) in columns(&options.server, options, outcome) {
        let value = match field {
            Field::Text(text) => quoted(&text),
            Field::Number(number) => number,
            Field::Absent => "null".to_owned(),
        };
        let _ = writeln!(text, "  \"{name}\": {value},");
    }
    let threads = outcome.server_threads.iter().map(|thread| {
        let name = quoted(&thread.name);
        format!(
            "{{\"id\": {}, \"name\": {name}, \"cpu_ns\": {}}}",
            thread.id, thread.cpu_ns
        )
    });
    let names: Vec<_> = INTERVAL_HEADER.split(',').collect();
    let intervals = outcome.rows.iter().map(|row| {
        let line = interval_line(row);
        let pairs = names.iter().zip(line.split(','));
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    });
    let _ = writeln!(text, "  \"server_threads\": {},", list(threads));
    let _ = writeln!(text, "  \"intervals\": {}\n}}", list(intervals));
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.map(|item| format!("\n    {item}")).collect();
    if items.is_empty() {
        "[]".to_owned()
    } else {
        format!("[{}\n  ]", items.join(","))
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}

/// All percentiles of the latency, in milliseconds, in the text format that HdrHistogram's
/// `outputPercentileDistribution` writes and its plotters read.
fn hgrm(outcome: &Outcome) -> String {
    const TICKS_PER_HALF_DISTANCE: u32 = 5;
    let latency = &outcome.latency_ns;
    let mut text = format!(
        "{:>14} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let value_ms = milliseconds(step.value_iterated_to());
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value_ms:14.6} {quantile:14.12} {count:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let _ = write!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n\
         #[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        latency.mean() / NS_PER_MS,
        latency.stdev() / NS_PER_MS,
        milliseconds(latency.max()),
        latency.len(),
        latency.buckets(),
        (2 * 10_u32.pow(latency.sigfig().into())).next_power_of_two(),
    );
    text
}

const INTERVAL_HEADER: &str = "end_s,length_s,commands,commands_per_s,latency_p50_ns,latency_p90_ns,\
latency_p99_ns,latency_p999_ns,latency_p9999_ns,latency_max_ns,behind_max_ns,misses,errors";

/// The course of a run as a CSV file, a line for each interval.
pub(crate) fn interval_csv(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| interval_line(row) + "\n");
    format!("{INTERVAL_HEADER}\n{}", lines.collect::<String>())
}

fn interval_line(row: &Row) -> String {
    let latencies = row.latency_ns.map(|ns| ns.to_string()).join(",");
    format!(
        "{:.3},{:.3},{},{:.1},{latencies},{},{},{}",
        row.end_s,
        row.len_s,
        row.reply_count,
        row.commands_per_s(),
        row.behind_max_ns,
        row.miss_count,
        row.error_count
    )
}

/// One interval for a person who waits.
pub(crate) fn progress_line(row: &Row) -> String {
    let [p50, _, p99, .., max] = row.latency_ns.map(milliseconds);
    let mut line = format!(
        "{:5.0} s  {:11.0} commands/s  p50 {p50:.3} ms  p99 {p99:.3} ms  max {max:.3} ms",
        row.end_s,
        row.commands_per_s(),
    );
    for (count, name) in [(row.miss_count, "misses"), (row.error_count, "errors")] {
        if count > 0 {
            let _ = write!(line, "  {count} {name}");
        }
    }
    line
}

fn milliseconds(ns: u64) -> f64 {
    float(ns) / NS_PER_MS
}

impl Row {
    fn commands_per_s(&self) -> f64 {
        float(self.reply_count) / self.len_s
    }
}

impl Outcome {
    /// Nanoseconds of the server's CPU per command, if its process is known.
    pub(crate) fn cpu_ns_per_command(&self) -> Option<f64> {
        self.server_cpu_ns.map(|ns| self.per_command(ns))
    }

    pub(crate) fn commands_per_s(&self) -> f64 {
        float(self.tally.reply_count) / self.seconds
    }

    fn per_command(&self, total: u64) -> f64 {
        float(total) / float(self.tally.reply_count)
    }

    /// Nothing, measured for no time.
    fn empty() -> Self {
        use super::record::histogram;
        Self {
            tally: super::check::Tally::default(),
            seconds: 0.0,
            server_cpu_ns: None,
            server_threads: Vec::new(),
            server_rss_bytes: None,
            client_cpu_ns: 0,
            latency_ns: histogram(),
            behind_ns: histogram(),
            unsent_count: 0,
            rows: Vec::new(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times of a run are below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut outcome = Outcome {
            seconds: 2.0,
            ..Outcome::empty()
        };
        outcome.tally.reply_count = 1000;
        outcome.server_cpu_ns = Some(90_000);
        for ns in 1..=1000 {
            outcome.latency_ns.saturating_record(ns * 1_000_000);
        }
        outcome
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let options = Options {
            rate: Some(500.0),
            ..Options::default()
        };
        let line = csv_line("", &options, &outcome());
        let header = csv_header();
        let json = json(&options, &outcome());
        for (name, value) in header.split(',').zip(line.split(',')).skip(1) {
            let plain = format!("\"{name}\": {value},");
            let quoted = format!("\"{name}\": \"{value}\",");
            let absent = format!("\"{name}\": null,");
            let is_there = json.contains(&plain) || json.contains(&quoted);
            assert!(
                is_there || (value.is_empty() && json.contains(&absent)),
                "{name}: {value}"
            );
        }
        assert!(line.contains(",500.0,90.0,"), "{line}");
    }

    #[test]
    fn what_was_not_measured_is_left_empty() {
        let line = csv_line("", &Options::default(), &Outcome::empty());
        assert!(line.ends_with(",,,,,,,,,,0,0"), "{line}");
    }

    #[test]
    fn strings_of_json_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn a_percentile_file_has_the_lines_that_plotters_look_for() {
        let text = hgrm(&outcome());
        let mut lines = text.lines();
        let names: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(
            names,
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|field| field.parse().unwrap())
                    .collect()
            })
            .collect();
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((499.0..502.0).contains(&median[0]), "{median:?}");
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[2].to_string()), (3, "1000".to_owned()));
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1])
        );
        assert!(text.contains("#[Mean    =") && text.contains("Total count    =         1000]"));
    }

    #[test]
    fn progress_names_misses_and_errors_only_where_there_are_some() {
        let mut row = Row {
            end_s: 3.0,
            len_s: 1.0,
            reply_count: 5,
            latency_ns: [1_000_000; 6],
            behind_max_ns: 0,
            miss_count: 0,
            error_count: 0,
        };
        let clean = progress_line(&row);
        assert!(clean.contains("5 commands/s  p50 1.000 ms") && clean.ends_with("max 1.000 ms"));
        row.miss_count = 2;
        assert!(progress_line(&row).ends_with("2 misses"));
    }
}
