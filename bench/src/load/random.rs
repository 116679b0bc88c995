//! A small seeded generator: one seed gives one load, on every machine.
//!
//! splitmix64 (Steele, Lea and Flood, 2014): one addition and one mix per number, which also
//! serves as the hash from which a key's value is derived.

/// A stream of numbers that its seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let mixed = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        mixed
    }

    /// Uniform below `bound`; the bias of the multiplication is far below what a run can see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        scale(self.next(), bound)
    }

    /// Uniform in (0, 1]: never zero, so that it has a logarithm.
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a float")]
        let steps = ((self.next() >> 11) + 1) as f64;
        steps / (1_u64 << 53) as f64
    }
}

/// The distance of two states of the generator: 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number over all 64 bits, always the same way.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Maps a number spread over 64 bits to one below `bound`.
pub(crate) fn scale(spread: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(spread) * u128::from(bound)) >> 64).expect("below a u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_repeat_with_their_seed() {
        let (mut random, mut again) = (Random::new(3), Random::new(3));
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            let number = random.below(10);
            assert_eq!(number, again.below(10));
            counts[usize::try_from(number).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
        assert!((0..1000).all(|_| (f64::MIN_POSITIVE..=1.0).contains(&random.unit())));
    }
}
