//! `goals`: where every figure that this project has promised stands, found out by running it.
//!
//! A goal is a figure somebody promised, a bound, and what this run measured under the conditions
//! that stand beside it. Those about an embedded store are measured on the library (`embedded`),
//! those about a server through its sockets by the engine of `compare` (`served`, `figures`), or in ways of
//! their own (`latency`, `reload`, `durable`). What a
//! run left out says so: nothing stands in for it.
//!
//! The result is a record like any other: `goals.csv` beside the `raw.csv` of its measurements.

mod durable;
mod embedded;
mod figures;
mod latency;
mod reload;
mod served;

use std::path::PathBuf;

use argh::FromArgs;

use crate::compare::engine;
use crate::peers::{self, Peer};
use crate::record::{self, Record};
use crate::report;
use crate::table::{Row, Spread, Table, line};

/// Measure every figure this project has promised and write a record of where each stands.
#[derive(FromArgs)]
#[argh(subcommand, name = "goals")]
pub(crate) struct Options {
    /// the coremap binary (default: beside this one)
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// one short round on little data, to see that everything works
    #[argh(switch)]
    quick: bool,
    /// which parts to run, of embedded, one-core, two-cores, many-keys, memory, waits, reload,
    /// durable (default: all)
    #[argh(
        option,
        default = "String::from(\"embedded,one-core,two-cores,many-keys,memory,waits,reload,durable\")"
    )]
    parts: String,
    /// the CPU of servers that have one; with the client's, the two of those that have two
    /// (default 0)
    #[argh(option, default = "0")]
    server_cpu: usize,
    /// the client's CPU, where it has one of its own (default 1)
    #[argh(option, default = "1")]
    client_cpu: usize,
    /// last part of the record's name (default goals)
    #[argh(option, default = "String::from(\"goals\")")]
    name: String,
    /// where records are kept (default bench/results)
    #[argh(option, default = "PathBuf::from(\"bench/results\")")]
    results: PathBuf,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    rounds: usize,
    seconds: u64,
    warm_up_seconds: u64,
    /// Operations of one pass over an embedded shard.
    embedded_count: u64,
    keys: u64,
    many_keys: u64,
    /// Keys when the memory of one is measured, and when the longest turn is.
    memory_keys: u64,
    loaded_keys: u64,
    overwrite_factor: u64,
    /// Of the longest wait: rounds, and the length of each.
    wait_rounds: usize,
    wait_seconds: u64,
    /// Rounds where all keys must be set again for each.
    many_keys_rounds: usize,
    /// `maxmemory` where keys are evicted.
    evicting_bytes: u64,
}

impl Scale {
    const FULL: Self = Self {
        rounds: 5,
        seconds: 3,
        warm_up_seconds: 1,
        embedded_count: 1_000_000,
        keys: 1_000_000,
        many_keys: 50_000_000,
        memory_keys: 10_000_000,
        loaded_keys: 20_000_000,
        overwrite_factor: 20,
        wait_rounds: 5,
        wait_seconds: 60,
        many_keys_rounds: 2,
        evicting_bytes: 256 << 20,
    };
    const QUICK: Self = Self {
        rounds: 1,
        seconds: 1,
        warm_up_seconds: 0,
        embedded_count: 200_000,
        keys: 100_000,
        many_keys: 400_000,
        memory_keys: 200_000,
        loaded_keys: 300_000,
        overwrite_factor: 2,
        wait_rounds: 1,
        wait_seconds: 1,
        many_keys_rounds: 1,
        evicting_bytes: 32 << 20,
    };
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A promised figure.
#[derive(Clone, Debug)]
struct Goal {
    source: &'static str,
    figure: &'static str,
    bound: Bound,
    unit: &'static str,
    /// What was measured, and under which conditions.
    measured: Option<(Spread, String)>,
}

/// Columns of `goals.csv`.
const COLUMNS: &str = "source,figure,direction,bound,unit,median,min,max,conditions,not_yet";
const AT_LEAST: &str = "at least";
const NOT_MEASURED: &str = "not measured in this run";

impl Goal {
    fn new(source: &'static str, figure: &'static str, bound: Bound, unit: &'static str) -> Self {
        Self {
            source,
            figure,
            bound,
            unit,
            measured: None,
        }
    }

    fn measured(mut self, value: Spread, conditions: impl Into<String>) -> Self {
        self.measured = Some((value, conditions.into()));
        self
    }

    /// `measured`, if there is anything.
    fn measured_if(self, value: Option<Spread>, conditions: impl Into<String>) -> Self {
        match value {
            Some(value) => self.measured(value, conditions),
            None => self,
        }
    }

    #[cfg(test)]
    fn value(&self) -> Option<f64> {
        self.measured.as_ref().map(|(value, _)| value.median)
    }

    fn csv_line(&self) -> String {
        let (direction, bound) = match self.bound {
            Bound::AtLeast(bound) => (AT_LEAST, bound),
            Bound::AtMost(bound) => ("at most", bound),
        };
        let mut fields = [self.source, self.figure, direction]
            .map(str::to_owned)
            .to_vec();
        fields.extend([bound.to_string(), self.unit.to_owned()]);
        fields.extend(match &self.measured {
            Some((value, conditions)) => {
                let [median, min, max] =
                    [value.median, value.min, value.max].map(|n| n.to_string());
                [median, min, max, conditions.clone(), String::new()]
            }
            None => {
                let none = String::new;
                [none(), none(), none(), none(), NOT_MEASURED.to_owned()]
            }
        });
        line(&fields)
    }
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let scale = if options.quick {
        Scale::QUICK
    } else {
        Scale::FULL
    };
    let parts: Vec<&str> = options.parts.split(',').collect();
    let is_known = |part: &&str| {
        served::PARTS.contains(part) || ["embedded", reload::PART, durable::PART].contains(part)
    };
    if let Some(unknown) = parts.iter().find(|part| !is_known(part)) {
        return Err(format!("`{unknown}` is no part of the goals"));
    }
    let coremap = options
        .coremap
        .clone()
        .map_or_else(peers::beside_this, Ok)?;
    let (peers, absent) = peers(&Peer::coremap("coremap", &coremap)?)?;
    let folder = record::create(&options.results, &options.name)?;
    let mut raw = engine::table();
    let mut goals = Table::new(COLUMNS);
    if parts.contains(&"embedded") {
        for goal in embedded::measure(&scale)? {
            goals.push(&goal.csv_line())?;
        }
    }
    let cpus = [options.server_cpu, options.client_cpu];
    // As in `compare`: what was measured before a failure is kept.
    let mut outcome = served::measure(&scale, &peers, cpus, &parts, &mut raw);
    let mut special = figures::Special::default();
    if outcome.is_ok() && parts.contains(&"two-cores") {
        let measured = latency::remote_over_local(&peers[0], &cpus, &scale);
        outcome = measured.map(|ratio| special.remote_over_local = ratio);
    }
    if outcome.is_ok() && parts.contains(&reload::PART) {
        let measured = reload::keys_per_s(&peers[0], &cpus, &scale);
        outcome = measured.map(|rate| special.reloaded_keys_per_s = rate);
    }
    let mut durable = durable::table();
    if outcome.is_ok() && parts.contains(&durable::PART) {
        outcome = durable::measure(&scale, &peers, &cpus, &mut durable);
    }
    let served = figures::goals(&scale, &raw, &special);
    for goal in served.into_iter().chain(durable::goals(&scale, &durable)) {
        goals.push(&goal.csv_line())?;
    }
    let record = Record {
        about: record::about(&peers, &absent),
        raw,
        durable,
        goals,
    };
    record.write(&folder)?;
    report::write(&folder)?;
    println!("{}\nrecord: {}", render(&record.goals), folder.display());
    outcome
}

/// Coremap and who is measured beside it.
fn peers(coremap: &Peer) -> Result<(Vec<Peer>, Vec<String>), String> {
    let (mut found, mut absent) = (vec![coremap.clone()], Vec::new());
    for name in ["redis", "lsm"] {
        match Peer::adapter(name)? {
            Ok(peer) => found.push(peer),
            Err(reason) => absent.push(format!("{name}: {reason}")),
        }
    }
    Ok((found, absent))
}

/// The table of a record's goals.
pub(crate) fn render(goals: &Table) -> String {
    let mut text = String::from(
        "# Where the promised figures stand\n\nMedians (smallest..largest). Met or not is said of the median, \
         and only of the conditions beside it. Keys have 16 bytes and values 3, unless a row says otherwise; \
         every GET hits.\n\n| source | figure | promised | measured | | conditions |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in goals.rows() {
        text += &render_row(row);
    }
    text
}

fn render_row(row: Row<'_>) -> String {
    let show = |column| {
        row.number(column)
            .map(|value| report::count(value, 3))
            .unwrap_or_default()
    };
    let unit = row.text("unit");
    let promised = format!("{} {} {unit}", row.text("direction"), show("bound"));
    let (measured, verdict) = match (row.number("median"), row.number("bound")) {
        (Some(value), Some(bound)) => {
            let is_met = match row.text("direction") {
                AT_LEAST => value >= bound,
                _ => value <= bound,
            };
            let spread = match row.text("min") == row.text("max") {
                true => String::new(),
                false => format!(" ({}..{})", show("min"), show("max")),
            };
            let measured = format!("{}{spread} {unit}", show("median"));
            (measured, if is_met { "met" } else { "**not met**" })
        }
        _ => (String::new(), "not yet"),
    };
    let conditions = format!("{}{}", row.text("conditions"), row.text("not_yet"));
    format!(
        "| {} | {} | {} | {} | {verdict} | {conditions} |\n",
        row.text("source"),
        row.text("figure"),
        promised.trim(),
        measured.trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_by_its_median_or_not_or_was_not_measured() {
        let spread = Spread::of([9.0, 10.0, 12.0]).unwrap();
        let mut table = Table::new(COLUMNS);
        for goal in [
            Goal::new("A", "rate", Bound::AtLeast(10.0), "/s").measured(spread, "one core, idle"),
            Goal::new("B", "time", Bound::AtMost(9.5), "ns").measured(spread, "one core"),
            Goal::new("C", "reload", Bound::AtLeast(1e5), "/s"),
        ] {
            table.push(&goal.csv_line()).unwrap();
        }
        let text = render(&Table::parse(&table.to_text()).unwrap());
        let rows: Vec<_> = text.lines().rev().take(3).collect();
        assert_eq!(
            rows[2],
            "| A | rate | at least 10.0 /s | 10.0 (9.00..12.0) /s | met | one core, idle |"
        );
        assert!(rows[1].contains("| **not met** | one core |"));
        assert!(rows[0].ends_with("| not yet | not measured in this run |"));
    }
}
