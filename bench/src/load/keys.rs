//! Which keys a load touches, and how a key is written.
//!
//! A key is a number below the number of keys. On the wire it is one letter and its digits,
//! padded with zeros to the wanted length, so that all keys of a run are equally long.

use std::fmt;
use std::str::FromStr;

use super::random::Random;

/// The exponent of YCSB's zipfian workloads.
const ZIPFIAN_EXPONENT_DEFAULT: f64 = 0.99;
const ZIPFIAN_EXPONENT_MAX: f64 = 10.0;
/// The largest prime below 2^64: a multiplier that has no factor in common with any number of
/// keys, so that ranks and keys correspond one to one.
const RANK_MULTIPLIER: u64 = 18_446_744_073_709_551_557;

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    Uniform,
    /// The key of rank `r` is asked for in proportion to `r` to the power of minus `exponent`.
    Zipfian {
        exponent: f64,
    },
    /// One key after the other, then from the first again.
    Sequential,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = match text {
            "uniform" => return Ok(Self::Uniform),
            "sequential" => return Ok(Self::Sequential),
            "zipfian" => ZIPFIAN_EXPONENT_DEFAULT,
            _ => text
                .strip_prefix("zipfian:")
                .and_then(|exponent| exponent.parse().ok())
                .filter(|exponent| (0.0..=ZIPFIAN_EXPONENT_MAX).contains(exponent))
                .ok_or_else(|| {
                    format!(
                        "`{text}` is none of uniform, sequential, zipfian and zipfian:EXPONENT, \
                         the exponent from 0 to {ZIPFIAN_EXPONENT_MAX}"
                    )
                })?,
        };
        Ok(Self::Zipfian { exponent })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Sequential => f.write_str("sequential"),
            Self::Zipfian { exponent } => write!(f, "zipfian:{exponent}"),
        }
    }
}

/// A stream of keys below `key_count`.
pub(crate) struct Keys {
    key_count: u64,
    /// The key that a sequential stream gives next.
    next: u64,
    distribution: Distribution,
    zipf: Zipf,
}

impl Keys {
    pub(crate) fn new(distribution: Distribution, key_count: u64, first: u64) -> Self {
        let exponent = match distribution {
            Distribution::Zipfian { exponent } => exponent,
            Distribution::Uniform | Distribution::Sequential => 0.0,
        };
        Self {
            key_count,
            next: first,
            distribution,
            zipf: Zipf::new(key_count, exponent),
        }
    }

    pub(crate) fn next(&mut self, random: &mut Random) -> u64 {
        match self.distribution {
            Distribution::Uniform => random.below(self.key_count),
            Distribution::Zipfian { .. } => {
                // Popular keys lie apart, lest a store that sorts its keys finds them together.
                let rank = u128::from(self.zipf.rank(random) - 1);
                let key = rank * u128::from(RANK_MULTIPLIER) % u128::from(self.key_count);
                u64::try_from(key).expect("below the number of keys")
            }
            Distribution::Sequential => {
                let key = self.next;
                self.next = (key + 1) % self.key_count;
                key
            }
        }
    }
}

/// Appends a key: `letter` and its number with as many zeros as `len_bytes` needs.
pub(crate) fn write_key(out: &mut Vec<u8>, letter: u8, key: u64, len_bytes: usize) {
    let start = out.len();
    out.resize(start + len_bytes, b'0');
    out[start] = letter;
    let mut rest = key;
    for digit in out[start + 1..].iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
}

/// Ranks from 1 to `count`, each in proportion to its power of minus the exponent.
///
/// Rejection-inversion after W. Hormann and G. Derflinger, "Rejection-inversion to generate
/// variates from monotone discrete distributions", ACM TOMACS 6(3), 1996: constant time and no
/// table, for any exponent. The density is inverted as if it were continuous; a rank is taken if
/// the point lies below its own bar, which it nearly always does.
struct Zipf {
    exponent: f64,
    count: f64,
    /// The integral at both ends, between which a point is drawn.
    first: f64,
    last: f64,
    /// A rank this close to its point is below its bar without further calculation.
    sure: f64,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "key counts are below 2^53")]
        let count = count as f64;
        let mut zipf = Self {
            exponent,
            count,
            first: 0.0,
            last: 0.0,
            sure: 0.0,
        };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(count + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let point = self.last + random.unit() * (self.first - self.last);
            let exact = self.inverse(point);
            let rank = exact.round().clamp(1.0, self.count);
            if rank - exact <= self.sure || point >= self.integral(rank + 0.5) - self.density(rank)
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to whole numbers from 1 to the number of keys"
                )]
                return rank as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The density's integral from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power == 0.0 {
            x.ln()
        } else {
            (power * x.ln()).exp_m1() / power
        }
    }

    fn inverse(&self, y: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power == 0.0 {
            y.exp()
        } else {
            ((power * y).ln_1p() / power).exp()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_as_they_are_printed() {
        for text in ["uniform", "sequential", "zipfian:0.99", "zipfian:1.2"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("zipfian".parse(), "zipfian:0.99".parse::<Distribution>());
        for text in [
            "",
            "zipf",
            "zipfian:",
            "zipfian:-1",
            "zipfian:nan",
            "zipfian:11",
        ] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranks_follow_the_power_law_for_exponents_around_one() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.5, 0.99, 1.0, 1.3] {
            let zipf = Zipf::new(1000, exponent);
            let total: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-exponent)).sum();
            let mut random = Random::new(1);
            let mut counts = vec![0_u32; 1001];
            for _ in 0..DRAWS {
                counts[usize::try_from(zipf.rank(&mut random)).unwrap()] += 1;
            }
            for rank in [1_u32, 2, 10] {
                let expected = f64::from(DRAWS) * f64::from(rank).powf(-exponent) / total;
                let found = f64::from(counts[rank as usize]);
                let deviation = (found - expected).abs() / expected.sqrt();
                assert!(
                    deviation < 5.0,
                    "rank {rank} of {exponent}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn every_distribution_stays_below_the_number_of_keys() {
        for text in ["uniform", "sequential", "zipfian:0.99"] {
            for key_count in [1, 2, 7, 1024] {
                let mut keys = Keys::new(text.parse().unwrap(), key_count, 0);
                let mut random = Random::new(5);
                assert!(
                    (0..1000).all(|_| keys.next(&mut random) < key_count),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_sequence_begins_where_it_is_told_and_starts_over() {
        let mut keys = Keys::new(Distribution::Sequential, 4, 2);
        let found: Vec<_> = (0..4).map(|_| keys.next(&mut Random::new(0))).collect();
        assert_eq!(found, [2, 3, 0, 1]);
    }

    #[test]
    fn keys_are_padded_to_their_length() {
        let mut out = Vec::new();
        write_key(&mut out, b'k', 1203, 8);
        write_key(&mut out, b'k', 0, 3);
        assert_eq!(out, b"k0001203k00");
    }
}
