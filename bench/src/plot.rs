//! Plots as SVG text: lines over a swept dimension or over time, latencies by percentile, bars.
//!
//! A plot is a pure function of its numbers. Every server keeps its colour in all plots of a
//! record. Whiskers reach from the smallest round to the largest; a line goes through the medians.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::table::Spread;

const SIZE_PIXELS: (u32, u32) = (860, 480);
/// Colours that people who see few colours can tell apart (Okabe and Ito, 2008).
const COLOURS: &[RGBColor] = &[
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
/// How far a logarithmic axis reaches beyond its data, as a factor.
const MARGIN_FACTOR: f64 = 1.3;

/// What a plot says around its data.
pub(crate) struct Titles<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
}

/// The measurements of one server.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    /// Place on the x axis, and the rounds measured there.
    pub(crate) points: Vec<(f64, Spread)>,
}

/// Lines over a number, both axes logarithmic.
pub(crate) fn sweep(titles: &Titles<'_>, series: &[Series<'_>]) -> Result<String, String> {
    let all = || series.iter().flat_map(|one| &one.points);
    let x = log_range(all().map(|(x, _)| *x));
    let y = log_range(all().flat_map(|(_, y)| [y.min, y.max]));
    draw(|root| {
        let mut chart = frame(root, titles).build_cartesian_2d(x.log_scale(), y.log_scale())?;
        grid(&mut chart, titles, short)?;
        lines(&mut chart, series, SeriesLabelPosition::UpperRight)
    })
}

/// Lines over named places, the y axis logarithmic: latencies by percentile.
pub(crate) fn profile(
    titles: &Titles<'_>,
    places: &[&str],
    series: &[Series<'_>],
) -> Result<String, String> {
    let y = log_range(
        series
            .iter()
            .flat_map(|one| &one.points)
            .flat_map(|(_, y)| [y.min, y.max]),
    );
    draw(|root| {
        let mut chart = frame(root, titles)
            .build_cartesian_2d(-0.3..float(places.len()) - 0.7, y.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(titles.x)
            .y_desc(titles.y)
            .x_labels(places.len() * 2)
            .x_label_formatter(&|x| place(places, *x))
            .y_label_formatter(&short)
            .light_line_style(WHITE)
            .disable_x_mesh()
            .draw()?;
        lines(&mut chart, series, SeriesLabelPosition::UpperLeft)
    })
}

/// Latencies by percentile as HdrHistogram's plotters show them: each step to the right is a tenth of
/// what was left. A point is a quantile below 1 and its latency.
pub(crate) fn percentiles(
    titles: &Titles<'_>,
    series: &[(&str, Vec<(f64, f64)>)],
) -> Result<String, String> {
    let place = |(quantile, latency): &(f64, f64)| (1.0 / (1.0 - quantile), *latency);
    let all = || series.iter().flat_map(|(_, points)| points).map(place);
    let x = 1.0..all().fold(10.0, |most: f64, (x, _)| most.max(x));
    let y = log_range(all().map(|(_, y)| y));
    draw(|root| {
        let mut chart = frame(root, titles).build_cartesian_2d(x.log_scale(), y.log_scale())?;
        grid(&mut chart, titles, percentile)?;
        paths(&mut chart, series, place)?;
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}

/// How the y axis of a course is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Height {
    Logarithmic,
    FromZero,
}

/// Lines over time, which begins at 0. A point is an instant and a value.
pub(crate) fn course(
    titles: &Titles<'_>,
    height: Height,
    series: &[(&str, Vec<(f64, f64)>)],
) -> Result<String, String> {
    let all = || series.iter().flat_map(|(_, points)| points);
    let values = || all().map(|(_, value)| *value);
    let end = all().fold(f64::MIN_POSITIVE, |most, (x, _)| most.max(*x));
    let highest = values().fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    draw(|root| match height {
        Height::Logarithmic => {
            draw_course(root, titles, end, log_range(values()).log_scale(), series)
        }
        Height::FromZero => draw_course(root, titles, end, 0.0..highest, series),
    })
}

fn draw_course<Y>(
    root: &Area<'_>,
    titles: &Titles<'_>,
    end: f64,
    y: Y,
    series: &[(&str, Vec<(f64, f64)>)],
) -> Outcome
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = frame(root, titles).build_cartesian_2d(0.0..end, y)?;
    grid(&mut chart, titles, short)?;
    paths(&mut chart, series, |point| *point)?;
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

/// Bars in groups, one of each server; the y axis begins at 0.
pub(crate) fn bars(
    titles: &Titles<'_>,
    groups: &[String],
    series: &[Series<'_>],
) -> Result<String, String> {
    let highest = series
        .iter()
        .flat_map(|one| &one.points)
        .map(|(_, y)| y.max);
    let highest = highest.fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    let width = 0.8 / float(series.len().max(1));
    draw(|root| {
        let mut chart = frame(root, titles)
            .build_cartesian_2d(-0.5..float(groups.len()) - 0.5, 0.0..highest)?;
        chart
            .configure_mesh()
            .x_desc(titles.x)
            .y_desc(titles.y)
            .x_labels(groups.len() * 2 + 1)
            .x_label_formatter(&|x| place(groups, *x))
            .y_label_formatter(&short)
            .light_line_style(WHITE)
            .disable_x_mesh()
            .draw()?;
        for (index, one) in series.iter().enumerate() {
            let colour = colour(index);
            let left = |x: f64| x - 0.4 + float(index) * width;
            chart
                .draw_series(one.points.iter().map(|(x, y)| {
                    let corners = [(left(*x), 0.0), (left(*x) + width * 0.92, y.median)];
                    Rectangle::new(corners, colour.filled())
                }))?
                .label(one.name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
                });
            chart.draw_series(one.points.iter().map(|(x, y)| {
                let middle = left(*x) + width * 0.46;
                PathElement::new(vec![(middle, y.min), (middle, y.max)], BLACK)
            }))?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// An SVG of the usual size, drawn by `paint`.
fn draw(paint: impl FnOnce(&Area<'_>) -> Outcome) -> Result<String, String> {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, SIZE_PIXELS).into_drawing_area();
    let painted = root
        .fill(&WHITE)
        .map_err(Into::into)
        .and_then(|()| paint(&root))
        .and_then(|()| root.present().map_err(Into::into));
    painted.map_err(|error| format!("cannot draw a plot: {error}"))?;
    drop(root);
    Ok(text)
}

fn frame<'a, 'b>(
    root: &'a Area<'b>,
    titles: &Titles<'_>,
) -> ChartBuilder<'a, 'static, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder
        .caption(titles.title, ("sans-serif", 17))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(46)
        .y_label_area_size(68);
    builder
}

/// A line through the medians of each series, with a dot and a whisker at every point.
fn lines<'a, 'b: 'a, X>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, LogCoord<f64>>>,
    series: &[Series<'_>],
    position: SeriesLabelPosition,
) -> Outcome
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    for (index, one) in series.iter().enumerate() {
        let colour = colour(index);
        let medians = one.points.iter().map(|(x, y)| (*x, y.median));
        chart
            .draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2)))?
            .label(one.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        chart.draw_series(medians.map(|at| Circle::new(at, 3, colour.filled())))?;
        chart.draw_series(
            one.points
                .iter()
                .map(|(x, y)| PathElement::new([(*x, y.min), (*x, y.max)], colour)),
        )?;
    }
    legend(chart, position)
}

/// The axes of a chart of numbers over numbers, with their titles.
fn grid<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    titles: &Titles<'_>,
    x_label: fn(&f64) -> String,
) -> Outcome
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(titles.x)
        .y_desc(titles.y)
        .x_label_formatter(&x_label)
        .y_label_formatter(&short)
        .light_line_style(WHITE)
        .draw()?;
    Ok(())
}

/// A line through the points of each series, which `place` puts on the axes.
fn paths<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    series: &[(&str, Vec<(f64, f64)>)],
    place: impl Fn(&(f64, f64)) -> (f64, f64),
) -> Outcome
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (index, (name, points)) in series.iter().enumerate() {
        let style = colour(index).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().map(&place), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
    }
    Ok(())
}

fn legend<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Outcome
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// The numbers an axis must show, and a little more on both sides.
fn log_range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let positive = values.filter(|value| *value > 0.0);
    let (low, high) = positive.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return 1.0..10.0; // nothing to show
    }
    low / MARGIN_FACTOR..high * MARGIN_FACTOR
}

/// The name of a place on an axis; nothing between two places.
fn place<T: AsRef<str>>(places: &[T], x: f64) -> String {
    let named = places
        .iter()
        .enumerate()
        .find(|(index, _)| (float(*index) - x).abs() < 0.01);
    named.map_or_else(String::new, |(_, name)| name.as_ref().to_owned())
}

/// A place on the axis of [`percentiles`]: 1,000 is 99.9 %.
fn percentile(place: &f64) -> String {
    let text = format!("{:.6}", 100.0 - 100.0 / place);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number on an axis: 20k, 1.5M.
fn short(value: &f64) -> String {
    let (scaled, unit) = match *value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    format!("{}{unit}", (scaled * 100.0).round() / 100.0)
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: Titles<'_> = Titles {
        title: "GET",
        x: "batch",
        y: "CPU ns",
    };

    fn series() -> Vec<Series<'static>> {
        let spread = |median: f64| Spread {
            median,
            min: median * 0.9,
            max: median * 1.2,
        };
        vec![
            Series {
                name: "coremap",
                points: vec![
                    (0.0, spread(8000.0)),
                    (1.0, spread(120.0)),
                    (2.0, spread(90.0)),
                ],
            },
            Series {
                name: "redis",
                points: vec![(0.0, spread(7000.0)), (2.0, spread(800.0))],
            },
        ]
    }

    #[test]
    fn every_kind_of_plot_names_its_servers_and_is_the_same_each_time() {
        let mut swept = series();
        for (x, _) in swept.iter_mut().flat_map(|one| &mut one.points) {
            *x = 10f64.powf(*x);
        }
        let groups = ["GET, 1", "GET, 100", "GET, 20000"].map(str::to_owned);
        let plots = || {
            [
                sweep(&TITLES, &swept).unwrap(),
                profile(&TITLES, &["50 %", "99 %", "longest"], &series()).unwrap(),
                bars(&TITLES, &groups, &series()).unwrap(),
            ]
        };
        for (plot, again) in plots().iter().zip(plots()) {
            assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
            assert!(plot.contains("coremap") && plot.contains("redis") && plot.contains("CPU ns"));
            assert_eq!(*plot, again);
        }
        assert!(plots()[1].contains("99 %") && plots()[2].contains("GET, 20000"));
    }

    #[test]
    fn percentiles_stand_where_a_tenth_of_the_rest_is_left() {
        let texts = [1.0, 10.0, 1000.0, 100_000.0].map(|place| percentile(&place));
        assert_eq!(texts, ["0 %", "90 %", "99.9 %", "99.999 %"]);
        let points = vec![(0.0, 10.0), (0.9, 20.0), (0.99999, 900.0)];
        let plot = percentiles(&TITLES, &[("spin-us 0", points)]).unwrap();
        assert!(
            plot.contains("spin-us 0") && plot.contains("99 %"),
            "{plot}"
        );
    }

    #[test]
    fn a_course_is_drawn_on_either_height() {
        let series = [("p99", vec![(1.0, 0.2), (40.0, 90.0)])];
        for height in [Height::Logarithmic, Height::FromZero] {
            let plot = course(&TITLES, height, &series).unwrap();
            assert!(plot.contains("p99") && plot.contains("40"), "{plot}");
            assert!(course(&TITLES, height, &[]).unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn a_plot_of_nothing_is_an_empty_frame() {
        assert!(percentiles(&TITLES, &[]).unwrap().contains("</svg>"));
        assert!(sweep(&TITLES, &[]).unwrap().contains("</svg>"));
        assert!(bars(&TITLES, &[], &[]).unwrap().contains("</svg>"));
    }

    #[test]
    fn numbers_on_axes_are_short() {
        let texts = [1.0, 0.25, 20_000.0, 1_500_000.0].map(|value| short(&value));
        assert_eq!(texts, ["1", "0.25", "20k", "1.5M"]);
    }
}
