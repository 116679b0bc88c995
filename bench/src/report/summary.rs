//! `summary.md`: the tables of a record in Markdown.

use std::fmt::Write;

use super::charts::Chart;
use super::view::{Case, DIMENSIONS, View, commands_per_s, cpu_ns, latency_us};
use crate::goals;
use crate::record::{ABSENT, Record};
use crate::table::{Row, Spread};

/// CPUs that others may keep busy before a reader is warned.
const OTHERS_CPUS_MIN: f64 = 0.1;
const MIB: f64 = 1_048_576.0;

pub(super) fn summary(record: &Record, view: &View<'_>, charts: &[Chart]) -> String {
    let mut text = String::new();
    if !record.goals.is_empty() {
        text += &goals::render(&record.goals);
    }
    if !view.cases.is_empty() {
        text += &conditions(record, view);
        let first = view.servers[0];
        text += &format!(
            "\n## CPU time of the server per command, ns\n\nMedian (smallest..largest round), and how \
             many times that of {first} it is.\n\n"
        );
        text += &rows(view, |case, server| cpu_cell(case, first, server));
        text += "\n## Commands a second\n\n";
        text += &rows(view, |case, server| {
            cell(case.spread(server, commands_per_s), |value| count(value, 3))
        });
        text += "\n## Latency of a batch, us\n\n50 % / 99 % / 99.9 %, medians of the rounds, and the longest of \
                 all rounds.\n\n";
        text += &rows(view, latency_cell);
        text += &memory(view);
    }
    for chart in charts {
        let _ = write!(text, "\n![{}]({})\n", chart.title, chart.file);
    }
    text += "\n## How it was made\n\n```\n";
    text += &record.about.join("\n");
    text += "\n```\n";
    text
}

/// What all cases have in common, and who is not in the tables.
fn conditions(record: &Record, view: &View<'_>) -> String {
    // Bounds and overwrites of 0 are none.
    let stated = view.fixed.iter().filter(|(_, value)| *value != "0");
    let fixed: Vec<_> = stated
        .map(|(dimension, value)| format!("{}: {}", dimension.name, grouped(value)))
        .collect();
    let mut text = format!(
        "# Servers side by side\n\n{} rounds, servers in turn. ",
        view.round_count
    );
    text += &fixed.join("; ");
    text += ".\n";
    let others =
        |case: &Case<'_>, server: &&str| case.spread(server, |row| row.number("others_cpus"));
    let busiest = view.cases.iter().flat_map(|case| {
        let spreads = view
            .servers
            .iter()
            .filter_map(move |server| others(case, server));
        spreads.map(|spread| spread.max)
    });
    let busiest = busiest.fold(0.0, f64::max);
    if busiest >= OTHERS_CPUS_MIN {
        let _ = writeln!(
            text,
            "\n**The machine was not quiet**: during a measurement others kept up to {busiest:.2} CPUs busy \
             (`others_cpus` in raw.csv)."
        );
    }
    for line in record
        .about
        .iter()
        .filter_map(|line| line.strip_prefix(ABSENT))
    {
        let _ = write!(text, "\nAbsent: {line}.\n");
    }
    text
}

/// A table with a row for each case and a column for each server.
fn rows<'a>(view: &View<'a>, cell: impl Fn(&Case<'a>, &str) -> String) -> String {
    let mut text = String::from("|");
    for name in view
        .varied
        .iter()
        .map(|dimension| dimension.name)
        .chain(view.servers.iter().copied())
    {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(
        text,
        "\n|{}\n",
        "---|".repeat(view.varied.len() + view.servers.len())
    );
    for case in &view.cases {
        text += "|";
        for dimension in &view.varied {
            let value = case.value(dimension);
            let _ = match dimension.column {
                "operation" => write!(text, " {} |", value.to_uppercase()),
                _ => write!(text, " {} |", grouped(value)),
            };
        }
        for server in &view.servers {
            let _ = write!(text, " {} |", cell(case, server));
        }
        text += "\n";
    }
    text
}

fn cell(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| {
            if (spread.max - spread.min).abs() < f64::EPSILON {
                return show(spread.median);
            }
            let [median, min, max] = [spread.median, spread.min, spread.max].map(&show);
            format!("{median} ({min}..{max})")
        },
    )
}

fn cpu_cell(case: &Case<'_>, first: &str, server: &str) -> String {
    let own = case.spread(server, cpu_ns);
    let text = cell(own, |ns| {
        if ns < 100.0 {
            format!("{ns:.1}")
        } else {
            format!("{ns:.0}")
        }
    });
    match (own, case.spread(first, cpu_ns)) {
        (Some(own), Some(base)) if server != first => {
            format!("{text}, {:.2}x", own.median / base.median)
        }
        _ => text,
    }
}

fn latency_cell(case: &Case<'_>, server: &str) -> String {
    let us = |quantile| case.spread(server, |row| latency_us(row, quantile));
    let medians: Vec<String> = ["p50", "p99", "p999"]
        .into_iter()
        .filter_map(us)
        .map(|spread| count(spread.median, 3))
        .collect();
    match us("max") {
        Some(longest) => format!("{}, {}", medians.join(" / "), count(longest.max, 3)),
        None => "-".to_owned(),
    }
}

/// Resident memory of each server for each set of data.
fn memory(view: &View<'_>) -> String {
    let mut text = String::from(
        "\n## Memory\n\nMiB resident once all keys are set / largest after any run, and the bytes that a key \
         costs beyond its own and its value's.\n\n| keys, bytes of a key, of a value |",
    );
    for server in &view.servers {
        let _ = write!(text, " {server} |");
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(view.servers.len() + 1));
    let data = |case: &Case<'_>| {
        let columns = ["keys", "key_len_bytes", "value_len_bytes"];
        let values = DIMENSIONS.iter().filter(|d| columns.contains(&d.column));
        values
            .map(|d| grouped(case.value(d)))
            .collect::<Vec<_>>()
            .join(" x ")
    };
    let mut seen = Vec::new();
    for case in &view.cases {
        if seen.contains(&data(case)) {
            continue;
        }
        let _ = write!(text, "| {} |", data(case));
        for server in &view.servers {
            let alike = view.cases.iter().filter(|other| data(other) == data(case));
            let of = |measure: fn(Row<'_>) -> Option<f64>| {
                Spread::of(
                    alike
                        .clone()
                        .filter_map(|case| Some(case.spread(server, measure)?.max)),
                )
            };
            let mib = |spread: Option<Spread>| {
                spread.map_or("-".to_owned(), |spread| format!("{:.0}", spread.max / MIB))
            };
            let loaded = mib(of(|row| row.number("loaded_rss_bytes")));
            let largest = mib(of(|row| row.number("server_rss_bytes")));
            let overhead =
                of(overhead_bytes).map_or("-".to_owned(), |bytes| format!("{:.1}", bytes.median));
            let _ = write!(text, " {loaded} / {largest}, {overhead} bytes |");
        }
        text += "\n";
        seen.push(data(case));
    }
    text
}

/// Bytes of a key beyond key and value: what the process grew by while the keys were set.
pub(crate) fn overhead_bytes(row: Row<'_>) -> Option<f64> {
    let grown = row.number("loaded_rss_bytes")? - row.number("empty_rss_bytes")?;
    let own = row.number("key_len_bytes")? + row.number("value_len_bytes")?;
    Some(grown / row.number("keys")? - own)
}

/// A number of so many digits that count: 7,765,108 with 3 is 7.77M.
pub(crate) fn count(value: f64, digits: i32) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let before_point = if scaled >= 1.0 {
        scaled.log10().floor()
    } else {
        0.0
    };
    let decimals = (0..digits).filter(|n| f64::from(*n) > before_point).count();
    format!("{scaled:.decimals$}{unit}")
}

/// A whole number with commas; other texts as they are.
fn grouped(text: &str) -> String {
    if text.parse::<u64>().is_err() {
        return text.to_owned();
    }
    let mut grouped = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn who_wins_or_is_absent_is_told_of_every_server_and_case() {
        let raw = "round,others_cpus,server,operation,pipeline,server_cpu_ns_per_command\n\
            1,0.02,coremap,get,1,9000\n1,0.40,redis,get,1,6000\n\
            1,0.01,coremap,get,100,150\n1,0.01,redis,get,100,750\n1,0,coremap,ping,100,40\n";
        let record = Record {
            about: vec![format!("{ABSENT}memcached: memcached is not there")],
            raw: Table::parse(raw).unwrap(),
            ..Record::default()
        };
        let text = summary(&record, &View::new(&record.raw), &[]);
        assert!(text.contains("| GET | 1 | 9000 | 6000, 0.67x |"), "{text}");
        assert!(text.contains("| GET | 100 | 150 | 750, 5.00x |"));
        assert!(text.contains("| PING | 100 | 40.0 | - |"));
        assert!(text.contains("\nAbsent: memcached: memcached is not there.\n"));
        assert!(text.contains("others kept up to 0.40 CPUs busy"));
    }

    #[test]
    fn numbers_are_shown_with_as_many_digits_as_count() {
        let texts =
            [7_765_108.0, 95_636.0, 9_992.0, 416.0, 12.34, 0.5].map(|value| count(value, 3));
        assert_eq!(texts, ["7.77M", "95.6k", "9992", "416", "12.3", "0.50"]);
        assert_eq!(
            (grouped("20000"), grouped("50"), grouped("get")),
            ("20,000".into(), "50".into(), "get".into())
        );
    }
}
