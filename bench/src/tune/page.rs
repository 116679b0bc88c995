//! A record as people read it: the question, the answer, the decision, the numbers, the plot.
//!
//! Made from the files of the record alone, so that nobody has to trust it: `raw.csv` and
//! `percentiles.csv`, `experiment.toml` with the decision, `about.txt`.

use std::fmt::Write;

use super::experiment::{Experiment, Measure};
use super::verdict::{self, Change, Verdict};
use crate::plot::{self, Titles};
use crate::report;
use crate::table::{Row, Spread, Table};

/// CPUs that others may keep busy before a reader is warned.
const OTHERS_CPUS_MIN: f64 = 0.1;
const NS_PER_US: f64 = 1e3;

/// What a page is made from.
pub(super) struct Sources<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) raw: &'a Table,
    pub(super) percentiles: &'a Table,
    pub(super) about: &'a [String],
}

impl Sources<'_> {
    /// `README.md`. `number` is that of the record.
    pub(super) fn page(&self, number: &str) -> String {
        let experiment = self.experiment;
        let mut text = format!(
            "# {number}. {}\n\n**{}**\n\n",
            experiment.name,
            experiment.question.trim()
        );
        for value in self.values().skip(1) {
            let _ = writeln!(text, "- {}", self.answer(&value));
        }
        let decision = match experiment.decision.trim() {
            "" => "None yet.",
            decision => decision,
        };
        let _ = write!(text, "\n**Decision.** {decision}\n\n");
        text += &self.method();
        text += "\n## Medians of the rounds (smallest..largest)\n\n";
        text += &self.table(&self.values().collect::<Vec<_>>(), |value, measure| {
            self.spread(value, measure)
        });
        let _ = write!(
            text,
            "\n## Change against {}\n\nEstimate (interval); bold where it is proven and large enough to matter.\n\n",
            self.base()
        );
        text += &self.table(
            &self.values().skip(1).collect::<Vec<_>>(),
            |value, measure| show(&self.verdict(value, measure)),
        );
        if !self.percentiles.is_empty() {
            text += "\n![latency by percentile](percentiles.svg)\n";
        }
        let _ = write!(
            text,
            "\n## How it was made\n\n```\n{}\n```\n",
            self.about.join("\n")
        );
        text
    }

    /// `percentiles.svg`: the latencies of all rounds together.
    pub(super) fn plot(&self) -> Result<String, String> {
        let labels = self.labels();
        let points = |value: &str| {
            let rows = self.percentiles.rows();
            let of_value = rows.filter(|row| row.text("value") == value);
            let point = |row: Row<'_>| {
                let quantile = row.number("quantile").filter(|quantile| *quantile < 1.0)?;
                Some((quantile, row.number("latency_ns")? / NS_PER_US))
            };
            of_value.filter_map(point).collect()
        };
        let series: Vec<_> = labels
            .iter()
            .zip(self.values())
            .map(|(label, value)| (label.as_str(), points(&value)))
            .collect();
        let title = format!("{}: latency of a batch, all rounds", self.experiment.name);
        let titles = Titles {
            title: &title,
            x: "share of batches that took no longer",
            y: "microseconds",
        };
        plot::percentiles(&titles, &series)
    }

    fn values(&self) -> impl Iterator<Item = String> {
        self.experiment.knob.values.iter().map(ToString::to_string)
    }

    fn base(&self) -> String {
        self.values().next().unwrap_or_default()
    }

    fn labels(&self) -> Vec<String> {
        let knob = &self.experiment.knob;
        knob.values.iter().map(|value| knob.label(value)).collect()
    }

    /// What was measured with a value, round by round.
    fn rounds(&self, value: &str, measure: &Measure) -> Vec<f64> {
        let rows = self.raw.rows().filter(|row| row.text("value") == value);
        rows.filter_map(|row| measure.of(row)).collect()
    }

    fn spread(&self, value: &str, measure: &Measure) -> String {
        Spread::of(self.rounds(value, measure)).map_or_else(String::new, |spread| {
            let show = |number| report::count(number, 3);
            format!(
                "{} ({}..{})",
                show(spread.median),
                show(spread.min),
                show(spread.max)
            )
        })
    }

    fn verdict(&self, value: &str, measure: &Measure) -> Verdict {
        let (base, other) = (
            self.rounds(&self.base(), measure),
            self.rounds(value, measure),
        );
        let comparisons = self.experiment.knob.values.len() - 1;
        let change = verdict::change(&base, &other, comparisons);
        let matters = self.experiment.matters_percent / 100.0;
        Verdict::of(change, measure.less_is_better(), matters)
    }

    /// One sentence on the measure that decides.
    fn answer(&self, value: &str) -> String {
        let measure = &self.experiment.measure[0];
        let (base, title) = (self.base(), measure.title());
        let matters = self.experiment.matters_percent;
        match self.verdict(value, measure) {
            Verdict::Better(change) => {
                format!(
                    "`{value}` is better than `{base}`: {title} {}.",
                    interval(&change)
                )
            }
            Verdict::Worse(change) => {
                format!(
                    "`{value}` is worse than `{base}`: {title} {}.",
                    interval(&change)
                )
            }
            Verdict::Alike(change) => format!(
                "`{value}` and `{base}` are alike: {title} {}, within the {matters} % that would matter.",
                interval(&change)
            ),
            Verdict::NoDifference(change) => format!(
                "No difference here between `{value}` and `{base}`: {title} {}.",
                interval(&change)
            ),
            Verdict::Unmeasured => format!("`{value}` cannot be compared with `{base}`: {title}."),
        }
    }

    fn method(&self) -> String {
        let experiment = self.experiment;
        let server = &experiment.server;
        let mut text = format!(
            "## Method\n\n{} rounds, the values in turn, each with a freshly started server; {} s after {} s of \
             warm-up. Server: shards {}, CPUs {}",
            experiment.rounds,
            experiment.seconds,
            experiment.warm_up_seconds,
            server.shards,
            server.cpus
        );
        for (name, value) in &server.settings {
            let _ = write!(text, ", {name} {value}");
        }
        let _ = write!(text, ". Load: {}", experiment.load_text());
        if experiment.overwrite > 0 {
            let _ = write!(
                text,
                ", after {} times as many SETs as keys",
                experiment.overwrite
            );
        }
        let _ = write!(
            text,
            ".\n\nChanges are judged within rounds: Hodges-Lehmann estimate, {} % interval of Wilcoxon's \
             signed-rank test, for all values together. What decides is {}; the other measures are shown as they \
             are. Changes below {} % are not worth a decision.\n",
            verdict::CONFIDENCE * 100.0,
            experiment.measure[0].title(),
            experiment.matters_percent
        );
        let others = self.raw.rows().filter_map(|row| row.number("others_cpus"));
        let busiest = others.fold(0.0, f64::max);
        if busiest >= OTHERS_CPUS_MIN {
            let _ = write!(
                text,
                "\n**The machine was not quiet**: others kept up to {busiest:.2} CPUs busy (`others_cpus` in \
                 raw.csv).\n"
            );
        }
        text
    }

    /// A row for each value, a column for each measure.
    fn table(&self, values: &[String], cell: impl Fn(&str, &Measure) -> String) -> String {
        let measures = &self.experiment.measure;
        let titles: Vec<_> = measures.iter().map(Measure::title).collect();
        let mut text = format!(
            "| {} | {} |\n",
            self.experiment.knob.name(),
            titles.join(" | ")
        );
        text += &format!("|{}\n", "---|".repeat(titles.len() + 1));
        for value in values {
            let cells: Vec<_> = measures
                .iter()
                .map(|measure| cell(value, measure))
                .collect();
            let _ = writeln!(text, "| {value} | {} |", cells.join(" | "));
        }
        text
    }
}

fn show(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Better(change) | Verdict::Worse(change) => format!("**{}**", interval(change)),
        Verdict::Alike(change) | Verdict::NoDifference(change) => interval(change),
        Verdict::Unmeasured => "not measured".to_owned(),
    }
}

/// A change in percent: `+1.2 % (0.4 to 2.0)`.
fn interval(change: &Change) -> String {
    let percent = |factor: f64| (factor - 1.0) * 100.0;
    format!(
        "{:+.1} % ({:+.1} to {:+.1})",
        percent(change.estimate),
        percent(change.low),
        percent(change.high)
    )
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::TEXT;
    use super::*;

    /// Rounds in which the second value costs `percent` more, but for a little noise.
    fn page(percent: f64, decision: &str) -> String {
        let text = TEXT.replace("[knob]", &format!("decision = \"{decision}\"\n[knob]"));
        let experiment = Experiment::parse(&text).unwrap();
        let mut raw = Table::new(
            "round,value,others_cpus,info_used_memory,server_cpu_ns_per_command,latency_p99_ns",
        );
        for (round, noise) in [0.2, -0.1, 0.0, 0.15, -0.2, 0.1, -0.05, 0.05]
            .iter()
            .enumerate()
        {
            let base = 100.0 + f64::from(u32::try_from(round).unwrap());
            let other = base * (1.0 + (percent + noise) / 100.0);
            raw.push(&format!("{round},20,0.01,5,{base},40000"))
                .unwrap();
            raw.push(&format!("{round},0,0.02,5,{other},41000"))
                .unwrap();
        }
        let mut percentiles = Table::new("value,quantile,latency_ns");
        for (value, quantile, ns) in [
            (20, 0.5, 9000),
            (20, 0.99, 40_000),
            (0, 0.5, 9500),
            (0, 1.0, 41_000),
        ] {
            percentiles
                .push(&format!("{value},{quantile},{ns}"))
                .unwrap();
        }
        let sources = Sources {
            experiment: &experiment,
            raw: &raw,
            percentiles: &percentiles,
            about: &["machine: a test".to_owned()],
        };
        assert!(sources.plot().unwrap().contains("spin-us 20"));
        sources.page("007")
    }

    #[test]
    fn a_page_has_question_answer_decision_numbers_and_origin() {
        let page = page(10.0, "It stays.");
        for part in [
            "# 007. spin-us",
            "**Does looking on pay?**",
            "- `0` is worse than `20`: server CPU, ns a command +10.0 % (",
            "**Decision.** It stays.",
            "| 20 | 104 (100..107) | 40.0 (40.0..40.0) | 5.00 (5.00..5.00) |",
            "connections 1, keys 1000, operation get, pipeline 1",
            "![latency by percentile](percentiles.svg)",
            "machine: a test",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("not quiet"));
    }

    #[test]
    fn a_page_can_say_that_there_is_no_difference() {
        assert!(page(0.0, "").contains("`0` and `20` are alike"));
        let page = page(-10.0, "");
        assert!(
            page.contains("- `0` is better than `20`") && page.contains("**Decision.** None yet.")
        );
    }
}
