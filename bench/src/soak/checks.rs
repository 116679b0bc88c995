//! What must hold at the end of a soak, and whether it does.
//!
//! Growth is told from medians, since a backup or a client that asks for much is seen in single samples:
//! the first tenth of the samples, and the first half minute, is the warm-up, in which the log fills up to
//! its slack and every connection has had a buffer; of the rest the median of the last fifth is compared
//! with that of the first fifth.

use super::jobs::Account;
use super::victims;
use crate::load::{self, Outcome};
use crate::table::{Spread, Table, line};

/// The columns of `checks.csv`.
const COLUMNS: &str = "check,found,bound,holds";
/// The open loop must have got replies to this share of what was due.
const SERVED_SHARE_MIN: f64 = 0.99;
/// How much more memory the last fifth may show than the first: a share, and what an allocator and
/// a block of each kind come to.
const GROWTH_SHARE_MAX: f64 = 0.05;
const GROWTH_BYTES_MAX: f64 = 16.0 * MIB;
/// Descriptors that may come and go: a backup's connection, or a scrape.
const DESCRIPTOR_GROWTH_MAX: f64 = 2.0;
/// The part of the samples that is the warm-up, and that which is compared, of the rest.
const WARM_UP_PART: usize = 10;
/// Seconds that it lasts at least, unless that were more than half.
const WARM_UP_S: f64 = 30.0;
const COMPARED_PART: usize = 5;
const MIB: f64 = 1_048_576.0;
/// Warnings that are shown.
const SHOWN_COUNT_MAX: usize = 3;

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    what: String,
    found: String,
    bound: String,
    holds: bool,
}

/// All checks as a file.
pub(super) fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(COLUMNS);
    for check in checks {
        let holds = if check.holds { "yes" } else { "no" };
        let fields = [&check.what, &check.found, &check.bound, holds];
        let plain = fields.map(|text| text.replace('"', "'").replace(['\n', '\r'], " "));
        let pushed = table.push(&line(&plain));
        pushed.expect("quotes and ends of lines are gone");
    }
    table
}

/// An error that names the checks that do not hold, if there are any.
pub(super) fn verdict(checks: &[Check]) -> Result<(), String> {
    let failed = checks.iter().filter(|check| !check.holds);
    let failed: Vec<_> = failed
        .map(|check| format!("{}: {}", check.what, check.found))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("the soak failed: {}", failed.join("; ")))
}

/// Every reply of the load as it was due, and as many as were due.
pub(super) fn of_load(options: &load::Options, outcome: &Result<Outcome, String>) -> Vec<Check> {
    let what = "replies of the load";
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return vec![Check {
                what: what.to_owned(),
                found: error.clone(),
                bound: "each as due".to_owned(),
                holds: false,
            }];
        }
    };
    let tally = &outcome.tally;
    let rate = options.rate.unwrap_or(f64::NAN);
    let served = outcome.commands_per_s() / rate;
    vec![
        Check {
            what: what.to_owned(),
            found: format!(
                "{} replies, {} errors, {} misses",
                tally.reply_count, tally.error_count, tally.miss_count
            ),
            bound: "no error and no miss".to_owned(),
            holds: tally.reply_count > 0 && tally.error_count + tally.miss_count == 0,
        },
        Check {
            what: "rate that was served".to_owned(),
            found: format!("{:.2} % of {rate:.0} commands/s", served * 100.0),
            bound: format!("at least {:.0} %", SERVED_SHARE_MIN * 100.0),
            holds: served >= SERVED_SHARE_MIN,
        },
    ]
}

/// A job ran, and never failed.
pub(super) fn of_job(account: &Account) -> Check {
    let mut found = format!(
        "{} done, {} failed",
        account.done_count, account.failed_count
    );
    if let Some(failure) = &account.first_failure {
        found += &format!(", first: {failure}");
    }
    let what = match account.name {
        "kills" => format!("kills of {} clients each", victims::COUNT),
        name => name.to_owned(),
    };
    Check {
        what,
        found,
        bound: "one or more and no failure".to_owned(),
        holds: account.done_count > 0 && account.failed_count == 0,
    }
}

/// Memory and descriptors are what they were.
pub(super) fn of_growth(samples: &Table) -> [Check; 4] {
    [
        of_memory(samples, "resident memory", "resident_bytes"),
        of_memory(samples, "anonymous memory", "anonymous_bytes"),
        of_memory(samples, "used_memory", "used_memory_bytes"),
        of_column(samples, "descriptors", "descriptors", |first, last| {
            (
                format!("{first:.0}, then {last:.0}"),
                format!("{DESCRIPTOR_GROWTH_MAX:.0} more"),
                last - first <= DESCRIPTOR_GROWTH_MAX,
            )
        }),
    ]
}

fn of_memory(samples: &Table, what: &str, column: &str) -> Check {
    of_column(samples, what, column, |first, last| {
        (
            format!(
                "{:.1} MiB, then {:.1}: {:+.1} MiB",
                first / MIB,
                last / MIB,
                (last - first) / MIB
            ),
            format!(
                "{:.0} % and {:.0} MiB more",
                GROWTH_SHARE_MAX * 100.0,
                GROWTH_BYTES_MAX / MIB
            ),
            last <= first * (1.0 + GROWTH_SHARE_MAX) + GROWTH_BYTES_MAX,
        )
    })
}

/// Compares the ends of a column; the comparison says what it found, its bound, and whether it holds.
fn of_column(
    samples: &Table,
    what: &str,
    column: &str,
    compare: impl Fn(f64, f64) -> (String, String, bool),
) -> Check {
    let values: Vec<f64> = samples
        .rows()
        .filter_map(|row| row.number(column))
        .collect();
    let is_early = |at_s: &f64| *at_s < WARM_UP_S;
    let at_s = samples.rows().filter_map(|row| row.number("at_s"));
    let warm_up_count = at_s.take_while(is_early).count();
    let warm_up_count = warm_up_count.min(values.len() / 2);
    let (found, bound, holds) = match ends(&values, warm_up_count) {
        Some((first, last)) => compare(first, last),
        None => ("too few samples".to_owned(), String::new(), false),
    };
    Check {
        what: format!("{what} in the first fifth after the warm-up and in the last"),
        found,
        bound,
        holds,
    }
}

/// The medians of the first and the last fifth after the warm-up, of so many samples at least.
fn ends(values: &[f64], warm_up_count: usize) -> Option<(f64, f64)> {
    let warm = &values[warm_up_count.max(values.len() / WARM_UP_PART)..];
    let len = warm.len() / COMPARED_PART;
    let median = |part: &[f64]| Some(Spread::of(part.iter().copied())?.median);
    Some((median(&warm[..len])?, median(&warm[warm.len() - len..])?))
}

/// No connection and no descriptor is left once all clients have gone.
pub(super) fn of_leftovers(before: usize, after: Result<usize, String>) -> Check {
    let holds = after.as_ref().is_ok_and(|after| *after <= before);
    Check {
        what: "descriptors without clients before and after".to_owned(),
        found: match after {
            Ok(after) => format!("{before}, then {after}"),
            Err(error) => error,
        },
        bound: "none more".to_owned(),
        holds,
    }
}

/// The server found nothing to warn of.
pub(super) fn of_warnings(warnings: &[String]) -> Check {
    let shown: Vec<_> = warnings
        .iter()
        .take(SHOWN_COUNT_MAX)
        .map(String::as_str)
        .collect();
    Check {
        what: "warnings in the server's log".to_owned(),
        found: format!("{} {}", warnings.len(), shown.join("; "))
            .trim_end()
            .to_owned(),
        bound: "none".to_owned(),
        holds: warnings.is_empty(),
    }
}

/// A step at the end succeeds.
pub(super) fn of_step(what: &str, outcome: &Result<(), String>) -> Check {
    Check {
        what: what.to_owned(),
        found: outcome.clone().err().unwrap_or_else(|| "yes".to_owned()),
        bound: "yes".to_owned(),
        holds: outcome.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::jobs;
    use super::*;

    /// A hundred samples of so many descriptors and MiB.
    fn samples(at: impl Fn(u32) -> (u32, f64)) -> Table {
        let mut table = jobs::samples();
        for index in 0..100 {
            let (descriptors, mib) = at(index);
            let bytes = mib * MIB;
            table
                .push(&format!(
                    "{index},{bytes},{bytes},{bytes},{descriptors},1,0,0,0"
                ))
                .unwrap();
        }
        table
    }

    fn holds(checks: &[Check]) -> Vec<bool> {
        checks.iter().map(|check| check.holds).collect()
    }

    #[test]
    fn what_grows_is_told_from_what_fills_up_or_comes_and_goes() {
        let fills_up = samples(|index| (60, f64::from(index.min(10)) * 100.0));
        assert_eq!(holds(&of_growth(&fills_up)), [true; 4]);
        let spikes = samples(|index| (60 + 40 * (index % 3 / 2), 100.0));
        assert_eq!(holds(&of_growth(&spikes)), [true; 4]);
        let leaks = samples(|index| (60 + index / 10, 100.0 + f64::from(index)));
        assert_eq!(holds(&of_growth(&leaks)), [false; 4]);
        assert_eq!(holds(&of_growth(&jobs::samples())), [false; 4]);
    }

    #[test]
    fn a_job_that_never_ran_or_ever_failed_does_not_hold() {
        let of = |done_count, failed_count| {
            of_job(&Account {
                name: "kills",
                done_count,
                failed_count,
                first_failure: None,
            })
        };
        assert_eq!(holds(&[of(3, 0), of(0, 0), of(3, 1)]), [true, false, false]);
    }

    #[test]
    fn the_verdict_names_what_does_not_hold_and_any_text_fits_the_file() {
        let good = of_step("it ends", &Ok(()));
        assert_eq!(verdict(std::slice::from_ref(&good)), Ok(()));
        let bad = of_step("it is whole", &Err("a \"b\",\nc".to_owned()));
        assert!(
            verdict(&[good, bad.clone()])
                .unwrap_err()
                .contains("it is whole")
        );
        let text = table(&[bad]).to_text();
        assert_eq!(
            text,
            format!("{COLUMNS}\nit is whole,\"a 'b', c\",yes,no\n")
        );
    }

    #[test]
    fn a_load_that_breaks_off_or_falls_behind_does_not_hold() {
        let options = load::Options::default();
        assert_eq!(
            holds(&of_load(&options, &Err("a wrong reply".to_owned()))),
            [false]
        );
        assert!(!of_leftovers(9, Ok(10)).holds && of_leftovers(9, Ok(9)).holds);
        assert!(!of_warnings(&["slow".to_owned()]).holds && of_warnings(&[]).holds);
    }
}
