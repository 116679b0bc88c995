//! How long something took, as counts in buckets of nearly the same relative width.
//!
//! ```text
//!   0 1 2 .. 31 | 32 34 36 .. 62 | 64 68 72 .. 124 | 128 ..     sixteen buckets for each power of two
//! ```
//!
//! The idea is HdrHistogram's (Tene): a bucket is found by the place of the highest bit and the four
//! bits below it, so that what is read from it differs from the truth by at most a thirty-second.

/// Counts of nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; Self::BUCKET_COUNT],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; Self::BUCKET_COUNT],
        }
    }
}

impl Histogram {
    /// Bits below the highest one that tell buckets apart.
    const FINE_BITS: u32 = 4;
    /// Longer times than two to this power, about two minutes, count as that.
    const NS_BITS: u32 = 37;
    const BUCKET_COUNT: usize = ((Self::NS_BITS - Self::FINE_BITS + 1) << Self::FINE_BITS) as usize;

    /// Counts `count` times of `ns` each.
    pub fn add(&mut self, ns: u64, count: u64) {
        self.counts[Self::place(ns)] += count;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that `percent` of all times do not exceed; 0 if there is none.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        let wanted = (self.count() as f64 * percent / 100.0).ceil().max(1.0);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return Self::highest_ns(place);
            }
        }
        0
    }

    /// How many times did not exceed `ns`, to within the width of a bucket.
    pub fn count_up_to(&self, ns: u64) -> u64 {
        self.counts[..=Self::place(ns)].iter().sum()
    }

    /// The times that were counted, each as the longest its bucket holds, with how often; the shortest
    /// first.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let used = self.counts.iter().enumerate();
        used.filter(|(_, count)| **count > 0)
            .map(|(place, count)| (Self::highest_ns(place), *count))
    }

    /// All times added up, each taken for the middle of its bucket.
    pub fn sum_ns(&self) -> u64 {
        let sum = |(place, count): (usize, &u64)| {
            let below_ns = place.checked_sub(1).map_or(0, Self::highest_ns);
            count * (below_ns + Self::highest_ns(place)).div_ceil(2)
        };
        self.counts.iter().enumerate().map(sum).sum()
    }

    /// The longest time, as its bucket tells it.
    pub fn longest_ns(&self) -> u64 {
        let last = self.counts.iter().rposition(|count| *count > 0);
        last.map_or(0, Self::highest_ns)
    }

    /// Appends how many buckets are not empty, and each with its place.
    pub(super) fn write(&self, words: &mut Vec<u64>) {
        let used = (0..).zip(&self.counts).filter(|(_, count)| **count > 0);
        words.push(used.clone().count() as u64);
        words.extend(used.flat_map(|(place, count)| [place, *count]));
    }

    /// Reads what [`Self::write`] wrote; the inner `None` is an empty histogram.
    pub(super) fn read(words: &mut impl Iterator<Item = u64>) -> Option<Option<Self>> {
        let used = words.next()?;
        let mut histogram = Self::default();
        for _ in 0..used {
            let place = usize::try_from(words.next()?).ok()?;
            *histogram.counts.get_mut(place)? = words.next()?;
        }
        Some((used > 0).then_some(histogram))
    }

    fn place(ns: u64) -> usize {
        let ns = ns.min((1 << Self::NS_BITS) - 1);
        let bits = (u64::BITS - ns.leading_zeros()).max(Self::FINE_BITS + 1);
        let coarse = bits - Self::FINE_BITS - 1;
        // The highest bit, which is always there, makes the next power's buckets follow.
        (coarse << Self::FINE_BITS) as usize + (ns >> coarse) as usize
    }

    /// The longest time that a bucket holds.
    fn highest_ns(place: usize) -> u64 {
        let coarse = (place >> Self::FINE_BITS).saturating_sub(1);
        let fine = (place - (coarse << Self::FINE_BITS)) as u64;
        ((fine + 1) << coarse) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_bucket_no_wider_than_a_sixteenth_of_it() {
        let powers = (0..Histogram::NS_BITS).map(|bits| 1_u64 << bits);
        let mut last = 0;
        for ns in powers.flat_map(|power| [power - 1, power, power + power / 3]) {
            let place = Histogram::place(ns);
            let highest_ns = Histogram::highest_ns(place);
            assert!(highest_ns >= ns, "{ns} in {place}");
            assert!(
                highest_ns - ns <= ns / 16,
                "{ns} in {place} up to {highest_ns}"
            );
            assert!(place >= last || ns < 4, "{ns}");
            assert!(place < Histogram::BUCKET_COUNT);
            last = place;
        }
        assert_eq!(Histogram::place(u64::MAX), Histogram::BUCKET_COUNT - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_ns(50.0), 0);
        histogram.add(10, 98);
        histogram.add(1_000, 1);
        histogram.add(1_000_000, 1);
        assert_eq!(histogram.percentile_ns(50.0), 10);
        assert_eq!(histogram.percentile_ns(98.0), 10);
        assert!(histogram.percentile_ns(99.0).abs_diff(1_000) <= 1_000 / 16);
        assert!(histogram.percentile_ns(100.0).abs_diff(1_000_000) <= 1_000_000 / 16);
        assert_eq!(histogram.percentile_ns(100.0), histogram.longest_ns());
        let sum_ns = 98 * 10 + 1_000 + 1_000_000;
        assert!(histogram.sum_ns().abs_diff(sum_ns) <= sum_ns / 16);
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [98, 1, 1]);
        assert_eq!(histogram.count_up_to(20), 98);
        assert_eq!(
            (histogram.count_up_to(1 << 20), histogram.count()),
            (100, 100)
        );
    }
}
