//! An experiment: one question about one knob, as a TOML file says it.
//!
//! ```toml
//! name = "spin-us"
//! question = "Does looking on before a sleep pay for a single client?"
//! measure = ["cpu", "p50", "p99"]     # the first decides
//! rounds = 8                          # each starts a server for each value, in turn
//!
//! [knob]
//! setting = "spin-us"                 # or environment = "NAME", or command = "sysctl -w x={value}"
//! values = [20, 0]                    # the others are compared with the first
//!
//! [server]
//! settings = { log-slack = 25 }
//!
//! [load]                              # what `coremap-bench load` takes
//! operation = "get"
//! connections = 1
//! pipeline = 1
//! ```
//!
//! Everything that cannot work is refused before the first round, also a number of rounds that could
//! prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use argh::FromArgs;
use serde::Deserialize;

use super::verdict;
use crate::load;
use crate::process;
use crate::table::Row;

/// What of `load` is not an experiment's to say.
const OPTIONS_OF_THE_BENCH: &[&str] = &[
    "server",
    "server-pid",
    "dialect",
    "seconds",
    "warm-up-seconds",
    "count",
    "preload",
    "progress",
    "no-header",
    "json",
    "hgrm",
    "interval-csv",
    "interval-seconds",
];

/// A whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Experiment {
    /// The record's folder is called after it.
    pub(crate) name: String,
    pub(crate) question: String,
    /// What people made of the answer; written when it is known.
    #[serde(default)]
    pub(crate) decision: String,
    /// What is measured; the first decides.
    pub(crate) measure: Vec<Measure>,
    /// What change is worth a decision, in percent.
    #[serde(default = "one")]
    pub(crate) matters_percent: f64,
    #[serde(default = "eight")]
    pub(crate) rounds: usize,
    #[serde(default = "two")]
    pub(crate) seconds: u64,
    #[serde(default = "a_second")]
    pub(crate) warm_up_seconds: u64,
    /// How often the data is overwritten before the measurement.
    #[serde(default)]
    pub(crate) overwrite: u64,
    pub(crate) knob: Knob,
    #[serde(default)]
    pub(crate) server: Server,
    #[serde(default)]
    load: BTreeMap<String, Scalar>,
}

/// What is turned: one of three kinds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knob {
    /// A setting of the server.
    pub(crate) setting: Option<String>,
    /// A variable in the server's environment.
    pub(crate) environment: Option<String>,
    /// A command for the shell, which changes the host before a server starts.
    pub(crate) command: Option<String>,
    /// The command that undoes all of it.
    pub(crate) undo: Option<String>,
    /// The first is what the others are compared with.
    pub(crate) values: Vec<Scalar>,
}

/// How servers are started.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Server {
    pub(crate) shards: usize,
    /// One for each shard, or fewer.
    pub(crate) cpus: String,
    pub(crate) maxmemory_bytes: u64,
    /// Other settings, the same for every value.
    pub(crate) settings: BTreeMap<String, Scalar>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            shards: 1,
            cpus: "0".to_owned(),
            maxmemory_bytes: 0,
            settings: BTreeMap::new(),
        }
    }
}

/// A value as one would write it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Settings say it so.
            Self::Bool(is_so) => formatter.write_str(if *is_so { "yes" } else { "no" }),
            Self::Whole(number) => number.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => text.fmt(formatter),
        }
    }
}

/// What a round measures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Measure {
    /// A column of `load`, by its place in [`COLUMNS`].
    Column(usize),
    /// A field of INFO at the end of the round, of which less is better.
    Info(String),
}

/// A measure that is a column of `load`.
struct Column {
    name: &'static str,
    title: &'static str,
    column: &'static str,
    /// What one unit of the title is in that column.
    unit: f64,
    less_is_better: bool,
}

const COLUMNS: &[Column] = &[
    Column::new(
        "cpu",
        "server CPU, ns a command",
        "server_cpu_ns_per_command",
        1.0,
    ),
    Column {
        less_is_better: false,
        ..Column::new("throughput", "commands a second", "commands_per_s", 1.0)
    },
    Column::new("p50", "latency p50, us", "latency_p50_ns", 1e3),
    Column::new("p99", "latency p99, us", "latency_p99_ns", 1e3),
    Column::new("p99.9", "latency p99.9, us", "latency_p999_ns", 1e3),
    Column::new("max", "longest latency, us", "latency_max_ns", 1e3),
    Column::new(
        "rss",
        "resident memory, MiB",
        "server_rss_bytes",
        1_048_576.0,
    ),
];

impl Column {
    const fn new(name: &'static str, title: &'static str, column: &'static str, unit: f64) -> Self {
        Self {
            name,
            title,
            column,
            unit,
            less_is_better: true,
        }
    }
}

impl TryFrom<String> for Measure {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(field) = text.strip_prefix("info:") {
            return Ok(Self::Info(field.to_owned()));
        }
        let place = COLUMNS.iter().position(|column| column.name == text);
        place.map(Self::Column).ok_or_else(|| {
            let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
            format!("`{text}` is none of {} and info:FIELD", names.join(", "))
        })
    }
}

impl Measure {
    /// What stands above its numbers.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Column(place) => COLUMNS[*place].title.to_owned(),
            Self::Info(field) => format!("INFO {field}"),
        }
    }

    pub(super) fn less_is_better(&self) -> bool {
        match self {
            Self::Column(place) => COLUMNS[*place].less_is_better,
            Self::Info(_) => true,
        }
    }

    /// What a round measured, in the unit of the title.
    pub(super) fn of(&self, row: Row<'_>) -> Option<f64> {
        match self {
            Self::Column(place) => {
                let column = &COLUMNS[*place];
                Some(row.number(column.column)? / column.unit)
            }
            Self::Info(field) => row.number(&info_column(field)),
        }
    }
}

/// The column of a field of INFO.
pub(super) fn info_column(field: &str) -> String {
    format!("info_{field}")
}

impl Experiment {
    /// Reads a file's text and checks that it can be run and could prove something.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let experiment: Self = basic_toml::from_str(text).map_err(|error| error.to_string())?;
        experiment.check()?;
        Ok(experiment)
    }

    fn check(&self) -> Result<(), String> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(is_plain) {
            return Err(format!("name: `{}` wants a-z, 0-9 and -", self.name));
        }
        if self.measure.is_empty() {
            return Err("measure: wants at least one".to_owned());
        }
        if !(0.0..=100.0).contains(&self.matters_percent) {
            return Err("matters-percent: wants 0 to 100".to_owned());
        }
        self.knob.check()?;
        let comparisons = self.knob.values.len() - 1;
        let rounds_min = verdict::rounds_min(comparisons);
        if self.rounds < rounds_min {
            return Err(format!(
                "rounds: {comparisons} comparisons want at least {rounds_min}, fewer can prove nothing"
            ));
        }
        if self.seconds == 0 {
            return Err("seconds: wants at least 1".to_owned());
        }
        let cpus = process::cpu_list(&self.server.cpus)?;
        if self.server.shards < cpus.len() {
            return Err("server: every CPU wants a shard".to_owned());
        }
        self.load().map(drop)
    }

    /// The fields of INFO that are wanted.
    pub(super) fn info_fields<'a>(&'a self) -> Vec<&'a str> {
        let field = |measure: &'a Measure| match measure {
            Measure::Info(field) => Some(field.as_str()),
            Measure::Column(_) => None,
        };
        self.measure.iter().filter_map(field).collect()
    }

    /// What `load` is to do, but for the server.
    pub(super) fn load(&self) -> Result<load::Options, String> {
        let mut arguments = Vec::new();
        for (name, value) in &self.load {
            if OPTIONS_OF_THE_BENCH.contains(&name.as_str()) {
                return Err(format!("load: `{name}` is not for an experiment to say"));
            }
            arguments.extend([format!("--{name}"), value.to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let options = load::Options::from_args(&["load"], &arguments)
            .map_err(|exit| format!("load: {}", exit.output.trim()))?;
        Ok(load::Options {
            seconds: self.seconds,
            warm_up_seconds: self.warm_up_seconds,
            cpus: Some(options.cpus.unwrap_or_else(|| "1".to_owned())),
            ..options
        })
    }

    /// The options of `load` as the file has them.
    pub(super) fn load_text(&self) -> String {
        let options: Vec<_> = self
            .load
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        options.join(", ")
    }
}

impl Knob {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        [&self.setting, &self.environment, &self.command]
            .into_iter()
            .flatten()
            .next()
            .map_or("", String::as_str)
    }

    /// What a value is called: `spin-us 20`.
    pub(super) fn label(&self, value: &Scalar) -> String {
        match &self.command {
            Some(command) => command.replace("{value}", &value.to_string()),
            None => format!("{} {value}", self.name()),
        }
    }

    fn check(&self) -> Result<(), String> {
        let kinds = [&self.setting, &self.environment, &self.command];
        if kinds.into_iter().flatten().count() != 1 {
            return Err("knob: wants one of setting, environment and command".to_owned());
        }
        if self.command.is_some() != self.undo.is_some() {
            return Err("knob: a command wants an undo, and nothing else does".to_owned());
        }
        // As they are told to the server: `1` and `1.0` are one value, and so are true and "yes".
        let texts: BTreeSet<String> = self.values.iter().map(Scalar::to_string).collect();
        if self.values.len() < 2 || texts.len() < self.values.len() {
            return Err("knob: wants two values or more, all different".to_owned());
        }
        Ok(())
    }
}

fn one() -> f64 {
    1.0
}

fn eight() -> usize {
    8
}

fn two() -> u64 {
    2
}

fn a_second() -> u64 {
    1
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tune) const TEXT: &str = r#"
name = "spin-us"
question = "Does looking on pay?"
measure = ["cpu", "p99", "info:used_memory"]

[knob]
setting = "spin-us"
values = [20, 0]

[load]
operation = "get"
connections = 1
pipeline = 1
keys = 1000
"#;

    #[test]
    fn a_file_says_what_is_turned_and_how_it_is_loaded() {
        let experiment = Experiment::parse(TEXT).unwrap();
        let load = experiment.load().unwrap();
        assert_eq!((load.connections, load.pipeline, load.seconds), (1, 1, 2));
        assert_eq!(load.cpus.as_deref(), Some("1"));
        assert_eq!(experiment.info_fields(), ["used_memory"]);
        let knob = &experiment.knob;
        assert_eq!(knob.label(&knob.values[1]), "spin-us 0");
    }

    #[test]
    fn what_cannot_be_run_or_could_prove_nothing_is_refused_with_its_place() {
        for (from, to, reason) in [
            ("rounds", "rounds", ""),
            (
                "measure = [\"cpu\"",
                "rounds = 5\nmeasure = [\"cpu\"",
                "at least 6",
            ),
            ("[20, 0]", "[20]", "two values"),
            ("[20, 0]", "[20, 20]", "all different"),
            ("[20, 0]", "[1, 1.0]", "all different"),
            ("[20, 0]", "[true, \"yes\"]", "all different"),
            ("\"p99\"", "\"p98\"", "p98"),
            ("setting = \"spin-us\"", "", "one of setting"),
            ("setting", "undo = \"true\"\nsetting", "undo"),
            ("connections", "conections", "conections"),
            ("pipeline = 1", "seconds = 1", "seconds"),
            ("name = \"spin-us\"", "name = \"../x\"", "a-z"),
            ("question", "quest", "quest"),
        ] {
            match (Experiment::parse(&TEXT.replacen(from, to, 1)), reason) {
                (Ok(_), "") => {}
                (Err(error), reason) if !reason.is_empty() => {
                    assert!(error.contains(reason), "{error}");
                }
                (outcome, _) => panic!("{to}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn values_are_written_as_settings_take_them() {
        let text = TEXT.replace("[20, 0]", "[true, false, \"advise\", 1.5]");
        let experiment = Experiment::parse(&text).unwrap();
        let values: Vec<_> = experiment
            .knob
            .values
            .iter()
            .map(Scalar::to_string)
            .collect();
        assert_eq!(values, ["yes", "no", "advise", "1.5"]);
    }
}
