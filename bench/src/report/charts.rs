//! Which plots a record has: one for each swept dimension and command, latencies by percentile, or
//! bars where nothing was swept.

use super::view::{
    BATCH, Case, Dimension, OPERATION, QUANTILES, View, commands_per_s, cpu_ns, latency_us,
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
            file: in_file_name(&values.join("-")),
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
        .map(|case| case.value(OPERATION).to_uppercase())
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
    let batch = |case: &Case<'_>| case.value(BATCH).parse().unwrap_or(u64::MAX);
    let mut chosen: Vec<&Case<'_>> = Vec::new();
    for case in &view.cases {
        let rival = chosen
            .iter_mut()
            .find(|other| other.value(OPERATION) == case.value(OPERATION));
        match rival {
            Some(other) if batch(case) < batch(other) => *other = case,
            Some(_) => {}
            None => chosen.push(case),
        }
    }
    for case in chosen {
        charts.extend(profile(view, case)?);
    }
    Ok(())
}

/// The latencies of one case, if they were measured.
fn profile(view: &View<'_>, case: &Case<'_>) -> Result<Option<Chart>, String> {
    let latency = |server, quantile| case.spread(server, |row| latency_us(row, quantile));
    let is_measured = |(quantile, _): &&(&'static str, _)| {
        let mut servers = view.servers.iter();
        servers.any(|server| latency(server, quantile).is_some())
    };
    let quantiles: Vec<_> = QUANTILES.iter().filter(is_measured).collect();
    if quantiles.is_empty() {
        return Ok(None);
    }
    let series = series(view, |server| {
        let spreads = quantiles
            .iter()
            .map(|(quantile, _)| latency(server, quantile));
        let points = (0..).map(f64::from).zip(spreads);
        points
            .filter_map(|(x, spread)| Some((x, spread?)))
            .collect()
    });
    let operation = case.value(OPERATION);
    let mut asked = vec![
        operation.to_uppercase(),
        format!("batch {}", case.value(BATCH)),
    ];
    let others = view
        .varied
        .iter()
        .filter(|d| !matches!(d.column, "operation" | "pipeline"));
    asked.extend(others.map(|d| format!("{} {}", d.name, case.value(d))));
    let title = format!("{}: latency of a batch, us", asked.join(", "));
    let titles = Titles {
        title: &title,
        x: "share of batches that took no longer",
        y: "microseconds",
    };
    let places: Vec<&str> = quantiles.iter().map(|(_, place)| *place).collect();
    Ok(Some(Chart {
        file: format!("latency-{}.svg", in_file_name(operation)),
        svg: plot::profile(&titles, &places, &series)?,
        title,
    }))
}

/// A text with what file names should not have replaced.
fn in_file_name(text: &str) -> String {
    text.replace([':', '.', ',', '/', '+'], "_")
}
