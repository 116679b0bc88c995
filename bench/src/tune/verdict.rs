//! What rounds prove about two values of a knob, and what they do not.
//!
//! Round `i` measures both values within seconds of each other, so what drifts on the machine is in
//! both. The differences of the logarithms, one a round, are what is judged: the estimate is their
//! Hodges-Lehmann median, and its confidence interval is that of Wilcoxon's signed-rank test, exact for
//! any number of rounds (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition,
//! sections 3.1 to 3.3). It asks of the rounds that their differences are independent and lie
//! symmetrically around what is estimated, and not that they are normal: one round that somebody
//! disturbed moves it little.
//!
//! Not here: which measure decides (`experiment`) and how it is said (`page`).

/// What is said with a confidence of less is not said.
pub(super) const CONFIDENCE: f64 = 0.95;

/// How a measure changes from one value of a knob to another, as factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) estimate: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What a change is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Better(Change),
    Worse(Change),
    /// Too small to care about, and it is known to be.
    Alike(Change),
    /// The rounds cannot tell, or what they tell is too little to care about.
    NoDifference(Change),
    /// There is nothing to compare.
    Unmeasured,
}

/// Rounds without which nothing can be said of `comparisons` changes at once.
pub(super) fn rounds_min(comparisons: usize) -> usize {
    let tail = tail(comparisons);
    (1..64)
        .find(|rounds| interval_rank(*rounds, tail).is_some())
        .expect("64 rounds prove nearly anything")
}

/// The change from `base` to `other`, round by round, with the confidence that `comparisons` such
/// statements hold together (Bonferroni). None if the rounds are too few, or a value is not above 0.
pub(super) fn change(base: &[f64], other: &[f64], comparisons: usize) -> Option<Change> {
    let is_positive = |values: &[f64]| values.iter().all(|value| *value > 0.0);
    if base.len() != other.len() || !is_positive(base) || !is_positive(other) {
        return None;
    }
    let rank = interval_rank(base.len(), tail(comparisons))?;
    let steps: Vec<f64> = base.iter().zip(other).map(|(a, b)| (b / a).ln()).collect();
    let averages = walsh_averages(&steps);
    let count = averages.len();
    let median = f64::midpoint(averages[(count - 1) / 2], averages[count / 2]);
    Some(Change {
        estimate: median.exp(),
        low: averages[rank - 1].exp(),
        high: averages[count - rank].exp(),
    })
}

impl Verdict {
    /// Judges a change of a measure of which less is better, or more. Changes smaller than `matters`
    /// (0.01 is a hundredth) are not worth a decision.
    pub(super) fn of(change: Option<Change>, less_is_better: bool, matters: f64) -> Self {
        let Some(change) = change else {
            return Self::Unmeasured;
        };
        let is_small = |factor: f64| factor.ln().abs() < matters.ln_1p();
        if is_small(change.low) && is_small(change.high) {
            return Self::Alike(change);
        }
        let is_proven = change.low > 1.0 || change.high < 1.0;
        if !is_proven || is_small(change.estimate) {
            return Self::NoDifference(change);
        }
        if (change.estimate < 1.0) == less_is_better {
            Self::Better(change)
        } else {
            Self::Worse(change)
        }
    }
}

/// What may lie on each side of an interval.
fn tail(comparisons: usize) -> f64 {
    let comparisons = u32::try_from(comparisons.max(1)).unwrap_or(u32::MAX);
    (1.0 - CONFIDENCE) / 2.0 / f64::from(comparisons)
}

/// The averages of every pair of values, each with itself too, in ascending order.
fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut averages: Vec<f64> = values
        .iter()
        .enumerate()
        .flat_map(|(index, one)| {
            values[index..]
                .iter()
                .map(|other| f64::midpoint(*one, *other))
        })
        .collect();
    averages.sort_by(f64::total_cmp);
    averages
}

/// Which Walsh average, counted from 1 and from either end, bounds the interval: the last before which
/// the signed-rank statistic lies with a probability of `tail` at most. None if the first is too
/// far in already.
fn interval_rank(rounds: usize, tail: f64) -> Option<usize> {
    let mut below = 0.0;
    let mut rank = 0;
    for probability in signed_rank_probabilities(rounds) {
        below += probability;
        if below > tail {
            break;
        }
        rank += 1;
    }
    (rank > 0).then_some(rank)
}

/// The probability of each value of the signed-rank statistic, from 0 on, if there is no difference:
/// every rank from 1 to `rounds` is in its sum or not, with even chances.
fn signed_rank_probabilities(rounds: usize) -> Vec<f64> {
    let highest = rounds * (rounds + 1) / 2;
    let mut probabilities = vec![0.0; highest + 1];
    probabilities[0] = 1.0;
    for rank in 1..=rounds {
        for sum in (0..=highest).rev() {
            let without = probabilities[sum];
            let with = if sum >= rank {
                probabilities[sum - rank]
            } else {
                0.0
            };
            probabilities[sum] = f64::midpoint(without, with);
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds around 100 that all go up and down together, as on a machine that drifts.
    const BASE: [f64; 8] = [100.0, 103.0, 98.0, 110.0, 95.0, 101.0, 120.0, 99.0];
    /// What each round adds by chance, in percent.
    const NOISE: [f64; 8] = [0.4, -0.6, 0.2, -0.3, 0.7, -0.2, 0.1, -0.5];

    fn shifted(percent: f64) -> Vec<f64> {
        let rounds = BASE.iter().zip(NOISE);
        rounds
            .map(|(base, noise)| base * (1.0 + (percent + noise) / 100.0))
            .collect()
    }

    fn judged(percent: f64, less_is_better: bool) -> Verdict {
        Verdict::of(change(&BASE, &shifted(percent), 1), less_is_better, 0.01)
    }

    #[test]
    fn a_real_difference_is_found_under_a_drift_that_is_larger() {
        let Verdict::Worse(change) = judged(5.0, true) else {
            panic!("{:?}", judged(5.0, true));
        };
        assert!(change.low < 1.05 && 1.05 < change.high, "{change:?}");
        assert!(change.high - change.low < 0.012, "{change:?}");
        assert!(matches!(judged(-5.0, true), Verdict::Better(_)));
        assert!(matches!(judged(5.0, false), Verdict::Better(_)));
        assert!(matches!(judged(-5.0, false), Verdict::Worse(_)));
    }

    #[test]
    fn no_difference_and_one_too_small_to_matter_are_said_to_be_none() {
        assert!(matches!(judged(0.0, true), Verdict::Alike(_)));
        assert!(matches!(judged(0.3, true), Verdict::Alike(_)));
        // Proven, but the interval reaches beyond what matters and the estimate does not.
        assert!(matches!(judged(0.9, true), Verdict::NoDifference(_)));
    }

    #[test]
    fn rounds_that_contradict_each_other_prove_nothing() {
        let other = [120.0, 90.0, 115.0, 96.0, 104.0, 92.0, 131.0, 88.0];
        let verdict = Verdict::of(change(&BASE, &other, 1), true, 0.01);
        let Verdict::NoDifference(change) = verdict else {
            panic!("{verdict:?}");
        };
        assert!(change.low < 1.0 && 1.0 < change.high);
    }

    #[test]
    fn one_disturbed_round_does_not_decide() {
        let mut other = shifted(0.0);
        other[3] *= 3.0;
        let verdict = Verdict::of(change(&BASE, &other, 1), true, 0.01);
        assert!(matches!(verdict, Verdict::NoDifference(_)), "{verdict:?}");
        let mut other = shifted(-8.0);
        other[3] *= 3.0;
        let verdict = Verdict::of(change(&BASE, &other, 1), true, 0.01);
        // One of eight rounds against the others: proven all the same, or left open, never turned round.
        assert!(!matches!(verdict, Verdict::Worse(_)), "{verdict:?}");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        for (base, other) in [
            (&BASE[..], &BASE[..7]),
            (&[0.0; 8][..], &BASE[..]),
            (&BASE[..5], &BASE[..5]),
            (&[][..], &[][..]),
        ] {
            let verdict = Verdict::of(change(base, other, 1), true, 0.01);
            assert_eq!(verdict, Verdict::Unmeasured);
        }
    }

    #[test]
    fn intervals_are_those_of_the_printed_tables() {
        // Critical values of the signed-rank test at 0.025 on each side: 0, 2, 3, 5, 8, 52.
        for (rounds, critical) in [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (20, 52)] {
            assert_eq!(
                interval_rank(rounds, 0.025),
                Some(critical + 1),
                "{rounds} rounds"
            );
        }
        assert_eq!(interval_rank(5, 0.025), None);
    }

    #[test]
    fn more_comparisons_want_more_rounds_and_wider_intervals() {
        assert_eq!([1, 2, 4].map(rounds_min), [6, 7, 8]);
        let one = change(&BASE, &shifted(5.0), 1).unwrap();
        let four = change(&BASE, &shifted(5.0), 4).unwrap();
        assert!(four.low < one.low && one.high < four.high);
        assert_eq!(four.estimate, one.estimate);
    }

    #[test]
    fn the_chances_of_the_statistic_add_up_to_one() {
        for rounds in [1, 6, 12] {
            let sum: f64 = signed_rank_probabilities(rounds).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
