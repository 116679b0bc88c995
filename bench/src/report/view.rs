//! Raw lines as cases and servers: what was varied, what was not, and the rounds of each cell.
//!
//! A case is everything that was asked alike of every server: command, batch, keys and so on. The
//! dimensions that differ between cases become the columns that name a row and the axes of plots;
//! those that do not are said once. Cases and servers keep the order in which they were measured.

use crate::table::{Row, Spread, Table};

/// Something a comparison can vary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dimension {
    /// Its column in `raw.csv`.
    pub(crate) column: &'static str,
    /// What a reader calls it.
    pub(crate) name: &'static str,
}

pub(crate) const OPERATION: &Dimension = &DIMENSIONS[0];
pub(crate) const BATCH: &Dimension = &DIMENSIONS[1];

/// All of them, the command first.
pub(crate) const DIMENSIONS: &[Dimension] = &[
    dimension("operation", "command"),
    dimension("pipeline", "batch"),
    dimension("keys", "keys"),
    dimension("keys_distribution", "choice of keys"),
    dimension("key_len_bytes", "bytes of a key"),
    dimension("value_len_bytes", "bytes of a value"),
    dimension("connections", "connections"),
    dimension("threads", "client threads"),
    dimension("shards", "cores"),
    dimension("rate_per_s", "commands due a second"),
    dimension("maxmemory_bytes", "memory bound of coremap in bytes"),
    dimension("overwrite", "times overwritten before writes"),
];

const fn dimension(column: &'static str, name: &'static str) -> Dimension {
    Dimension { column, name }
}

/// A record's measurements, in order.
pub(crate) struct View<'a> {
    pub(crate) servers: Vec<&'a str>,
    pub(crate) cases: Vec<Case<'a>>,
    /// Dimensions in which cases differ; the command is always one.
    pub(crate) varied: Vec<&'static Dimension>,
    /// The others that were measured at all, with their one value.
    pub(crate) fixed: Vec<(&'static Dimension, &'a str)>,
    pub(crate) round_count: usize,
}

/// What was asked alike of every server.
pub(crate) struct Case<'a> {
    rows: Vec<Row<'a>>,
}

impl<'a> View<'a> {
    pub(crate) fn new(table: &'a Table) -> Self {
        let mut servers: Vec<&str> = Vec::new();
        let mut cases: Vec<Case<'_>> = Vec::new();
        for row in table.rows() {
            let server = row.text("server");
            if !servers.contains(&server) {
                servers.push(server);
            }
            match cases.iter_mut().find(|case| is_alike(case.rows[0], row)) {
                Some(case) => case.rows.push(row),
                None => cases.push(Case { rows: vec![row] }),
            }
        }
        let (mut varied, mut fixed) = (Vec::new(), Vec::new());
        for dimension in DIMENSIONS {
            let mut values = cases.iter().map(|case| case.value(dimension));
            let first = values.next().unwrap_or_default();
            if values.any(|value| value != first) || dimension.column == "operation" {
                varied.push(dimension);
            } else if !first.is_empty() {
                fixed.push((dimension, first));
            }
        }
        let of_one = |case: &Case<'_>| {
            let count = |server: &&str| {
                case.rows
                    .iter()
                    .filter(|r| r.text("server") == *server)
                    .count()
            };
            servers.iter().map(count).max()
        };
        Self {
            round_count: cases.iter().filter_map(of_one).max().unwrap_or(0),
            servers,
            cases,
            varied,
            fixed,
        }
    }
}

impl<'a> Case<'a> {
    pub(crate) fn value(&self, dimension: &Dimension) -> &'a str {
        self.rows[0].text(dimension.column)
    }

    /// The rounds of one server; `measure` says what of them.
    pub(crate) fn spread(
        &self,
        server: &str,
        measure: impl Fn(Row<'a>) -> Option<f64>,
    ) -> Option<Spread> {
        let of_server = self.rows.iter().filter(|row| row.text("server") == server);
        Spread::of(of_server.filter_map(|row| measure(*row)))
    }
}

/// Nanoseconds of the server's CPU time for each command.
pub(crate) fn cpu_ns(row: Row<'_>) -> Option<f64> {
    row.number("server_cpu_ns_per_command")
}

pub(crate) fn commands_per_s(row: Row<'_>) -> Option<f64> {
    row.number("commands_per_s")
}

/// What of a latency can be asked for: the part of its column's name, and of the plot's axis.
pub(crate) const QUANTILES: &[(&str, &str)] = &[
    ("p50", "50 %"),
    ("p90", "90 %"),
    ("p99", "99 %"),
    ("p999", "99.9 %"),
    ("p9999", "99.99 %"),
    ("max", "longest"),
];

/// Microseconds of a batch, from its begin to its last reply. The first records had whole ones.
pub(crate) fn latency_us(row: Row<'_>, quantile: &str) -> Option<f64> {
    let ns = row.number(&format!("latency_{quantile}_ns"));
    ns.map(|ns| ns / 1e3)
        .or_else(|| row.number(&format!("batch_{quantile}_us")))
}

fn is_alike(one: Row<'_>, other: Row<'_>) -> bool {
    DIMENSIONS
        .iter()
        .all(|dimension| one.text(dimension.column) == other.text(dimension.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "round,server,operation,pipeline,keys,server_cpu_ns_per_command\n\
        1,coremap,get,1,9,100\n1,coremap,get,10,9,50\n1,redis,get,1,9,300\n\
        2,coremap,get,1,9,110\n2,coremap,get,10,9,60\n2,redis,get,1,9,280\n";

    #[test]
    fn rounds_of_one_case_are_one_cell() {
        let table = Table::parse(RAW).unwrap();
        let view = View::new(&table);
        assert_eq!(view.servers, ["coremap", "redis"]);
        assert_eq!((view.cases.len(), view.round_count), (2, 2));
        let cell = view.cases[0].spread("redis", cpu_ns).unwrap();
        assert_eq!((cell.median, cell.min, cell.max), (290.0, 280.0, 300.0));
        assert_eq!(view.cases[1].spread("redis", cpu_ns), None);
    }

    #[test]
    fn what_varies_is_told_from_what_does_not() {
        let table = Table::parse(RAW).unwrap();
        let view = View::new(&table);
        let varied: Vec<_> = view.varied.iter().map(|d| d.name).collect();
        assert_eq!(varied, ["command", "batch"]);
        assert_eq!(view.fixed.len(), 1);
        assert_eq!((view.fixed[0].0.name, view.fixed[0].1), ("keys", "9"));
    }
}
