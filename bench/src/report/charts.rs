//! Which plots a record has: one for each swept dimension and command, latencies by percentile, or
//! bars where nothing was swept.

use super::view::{
    Case, DIMENSIONS, Dimension, QUANTILES, View, commands_per_s, cpu_ns, latency_us,
};
use crate::plot::{self, Series, Titles};
use crate::table::{Row, Spread};

/// A plot with its place in the summary.
pub(super) struct Chart {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) svg: String,
}

/// What is drawn over a sweep: file name, axis, measure.
type Measure = (&'static str, &'static str, fn(Row<'_>) -> Option<f64>);
const MEASURES: &[Measure] = &[
    ("cpu", "CPU time of the server per command, ns", cpu_ns),
    ("rate", "commands a second", commands_per_s),
];

pub(super) fn charts(view: &View<'_>) -> Result<Vec<Chart>, String> {
    let mut charts = Vec::new();
    for measure in MEASURES {
        for swept in view
            .varied
            .iter()
            .filter(|dimension| is_swept(view, dimension))
        {
            sweeps(view, swept, measure, &mut charts)?;
        }
    }
    if charts.is_empty() && !view.cases.is_empty() {
        charts.push(bars(view)?);
    }
    profiles(view, &mut charts)?;
    Ok(charts)
}

/// Whether a dimension's values are numbers above 0: those have a place on a logarithmic axis.
fn is_swept(view: &View<'_>, dimension: &Dimension) -> bool {
    let is_number = |case: &Case<'_>| number(case, dimension).is_some_and(|value| value > 0.0);
    view.cases.iter().all(is_number)
}

fn number(case: &Case<'_>, dimension: &Dimension) -> Option<f64> {
    case.value(dimension).parse().ok()
}

/// One plot for each combination of the other dimensions that has two points or more.
fn sweeps(
    view: &View<'_>,
    swept: &Dimension,
    (measure_name, axis, measure): &Measure,
    charts: &mut Vec<Chart>,
) -> Result<(), String> {
    for (name, cases) in families(view, swept) {
        if cases.len() < 2 {
            continue;
        }
        let series = series(view, |server| {
            let point =
                |case: &&Case<'_>| Some((number(case, swept)?, case.spread(server, measure)?));
            cases.iter().filter_map(point).collect()
        });
        let title = format!("{}: {axis}", name.title);
        let titles = Titles {
            title: &title,
            x: swept.name,
            y: axis,
        };
        charts.push(Chart {
            file: format!("{measure_name}-by-{}-{}.svg", swept.column, name.file),
            svg: plot::sweep(&titles, &series)?,
            title,
        });
    }
    Ok(())
}

/// What tells a family of cases from others, for a reader and for a file's name.
struct Name {
    title: String,
    file: String,
}

/// The cases that differ only in one dimension, with what they share.
fn families<'a, 'b>(view: &'b View<'a>, but: &Dimension) -> Vec<(Name, Vec<&'b Case<'a>>)> {
    let others: Vec<_> = view.varied.iter().filter(|other| **other != but).collect();
    let key = |case: &Case<'a>| others.iter().map(|d| case.value(d)).collect::<Vec<_>>();
    let mut found: Vec<(Vec<&str>, Vec<&Case<'_>>)> = Vec::new();
    for case in &view.cases {
        match found.iter_mut().find(|(shared, _)| *shared == key(case)) {
            Some((_, cases)) => cases.push(case),
            None => found.push((key(case), vec![case])),
        }
    }
    let name = |values: &[&str]| {
        let title: Vec<_> = values
            .iter()
            .zip(&others)
            .map(|(value, dimension)| match dimension.column {
                "operation" => value.to_uppercase(),
                _ => format!("{} {value}", dimension.name),
            })
            .collect();
        Name {
            title: title.join(", "),
            file: values.join("-").replace([':', '.', ',', '/'], "_"),
        }
    };
    found
        .into_iter()
        .map(|(values, cases)| (name(&values), cases))
        .collect()
}

fn series<'a>(view: &View<'a>, points: impl Fn(&'a str) -> Vec<(f64, Spread)>) -> Vec<Series<'a>> {
    let of = |server: &&'a str| Series {
        name: server,
        points: points(server),
    };
    view.servers.iter().map(of).collect()
}

/// CPU time as bars, a group for each case.
fn bars(view: &View<'_>) -> Result<Chart, String> {
    let title = "CPU time of the server per command".to_owned();
    let groups: Vec<String> = view
        .cases
        .iter()
        .map(|case| case.value(&DIMENSIONS[0]).to_uppercase())
        .collect();
    let series = series(view, |server| {
        let spread = |(index, case): (u32, &Case<'_>)| {
            Some((f64::from(index), case.spread(server, cpu_ns)?))
        };
        (0..).zip(&view.cases).filter_map(spread).collect()
    });
    let titles = Titles {
        title: &title,
        x: "",
        y: "ns",
    };
    Ok(Chart {
        file: "cpu.svg".to_owned(),
        svg: plot::bars(&titles, &groups, &series)?,
        title,
    })
}

/// Latencies by percentile of each command, at the smallest batch: where a single request waits.
fn profiles(view: &View<'_>, charts: &mut Vec<Chart>) -> Result<(), String> {
    let operation = &DIMENSIONS[0];
    let mut operations: Vec<&str> = Vec::new();
    for case in &view.cases {
        let name = case.value(operation);
        if operations.contains(&name) {
            continue;
        }
        operations.push(name);
        let batch = |case: &&Case<'_>| case.value(&DIMENSIONS[1]).parse().unwrap_or(u64::MAX);
        let of_operation = view
            .cases
            .iter()
            .filter(|case| case.value(operation) == name);
        let Some(case) = of_operation.min_by_key(batch) else {
            continue;
        };
        let is_measured = |quantile: &&(&str, &str)| {
            let measured = |server| case.spread(server, |row| latency_us(row, quantile.0));
            view.servers.iter().any(|server| measured(server).is_some())
        };
        let quantiles: Vec<_> = QUANTILES.iter().filter(is_measured).collect();
        if quantiles.is_empty() {
            continue;
        }
        let series = series(view, |server| {
            let point = |(x, (quantile, _)): (u32, &&(&str, &str))| {
                let spread = case.spread(server, |row| latency_us(row, quantile))?;
                Some((f64::from(x), spread))
            };
            (0..).zip(&quantiles).filter_map(point).collect()
        });
        let title = format!(
            "{}, {}: latency of a batch, us",
            name.to_uppercase(),
            others(view, case)
        );
        let places: Vec<&str> = quantiles.iter().map(|(_, place)| *place).collect();
        let titles = Titles {
            title: &title,
            x: "share of batches that took no longer",
            y: "microseconds",
        };
        charts.push(Chart {
            file: format!("latency-{}.svg", name.replace([':', '.', ',', '/'], "_")),
            svg: plot::profile(&titles, &places, &series)?,
            title,
        });
    }
    Ok(())
}

/// What is asked in a case beside its command.
fn others(view: &View<'_>, case: &Case<'_>) -> String {
    let mut shown = vec![&DIMENSIONS[1]];
    shown.extend(view.varied.iter().skip(1).filter(|d| **d != &DIMENSIONS[1]));
    let texts: Vec<_> = shown
        .iter()
        .map(|d| format!("{} {}", d.name, case.value(d)))
        .collect();
    texts.join(", ")
}
