//! All registers of a sketch in memory of their own, and the count they stand for.
//!
//! The estimate is that of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches" (arXiv:1702.01284), algorithm 6, which Redis uses since 5.0; the same steps in the
//! same order, so that both say the same number.

/// How many registers there are: 2^14, for a standard error of 0.81 %.
pub(super) const REGISTER_COUNT: usize = 1 << REGISTER_BITS;
/// Bits of a hash that choose the register.
pub(super) const REGISTER_BITS: u32 = 14;
/// Bits of a hash of which zeros are counted.
const COUNTED_BITS: usize = 64 - REGISTER_BITS as usize;
/// Values that a register of six bits can have.
const VALUE_COUNT: usize = 64;
/// 1 / (2 ln 2), the bias of infinitely many registers.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// One value for each register.
pub(super) type Registers = [u8; REGISTER_COUNT];

/// How many registers have each value.
pub(super) struct Histogram(pub(super) [u32; VALUE_COUNT]);

impl Histogram {
    pub(super) const EMPTY: Self = Self([0; VALUE_COUNT]);

    pub(super) fn of(registers: &Registers) -> Self {
        let mut histogram = Self::EMPTY;
        for value in registers {
            histogram.0[usize::from(*value) % VALUE_COUNT] += 1;
        }
        histogram
    }

    /// How many different elements were added, about.
    pub(super) fn estimate(&self) -> u64 {
        let count = REGISTER_COUNT as f64;
        let counts = self.0.map(f64::from);
        let full = counts[COUNTED_BITS + 1];
        let mut z = count * tau((count - full) / count);
        for value in (1..=COUNTED_BITS).rev() {
            z = (z + counts[value]) * 0.5;
        }
        z += count * sigma(counts[0] / count);
        let estimate = (ALPHA * count * count / z).round();
        // An empty sketch divides by infinity; none comes near 2^64.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded, not negative"
        )]
        let estimate = estimate as u64;
        estimate
    }
}

fn sigma(x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut x, mut y, mut z) = (x, 1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut x, mut y, mut z) = (x, 1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The register of an element, and the value it gives that: one more than the zeros at the end of
/// what is left of its hash.
pub(super) fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let register = usize::try_from(hash).expect("a 64-bit platform") % REGISTER_COUNT;
    let counted = hash >> REGISTER_BITS | 1 << COUNTED_BITS;
    let value = u8::try_from(counted.trailing_zeros() + 1).expect("at most 51");
    (register, value)
}

/// What Redis seeds the hash of elements with.
const SEED: u64 = 0xadc8_3b19;

/// MurmurHash64A (Austin Appleby, public domain) over little-endian words.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word = (word ^ (word >> SHIFT)).wrapping_mul(FACTOR);
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> SHIFT)).wrapping_mul(FACTOR);
    hash ^ (hash >> SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near_what_was_added() {
        let mut registers: Registers = [0; REGISTER_COUNT];
        assert_eq!(Histogram::of(&registers).estimate(), 0);
        let mut added = 0_u32;
        for wanted in [1, 10, 1000, 100_000, 1_000_000] {
            while added < wanted {
                let (register, value) = place_of(&added.to_le_bytes());
                registers[register] = registers[register].max(value);
                added += 1;
            }
            let estimate = Histogram::of(&registers).estimate() as f64;
            let error = (estimate / f64::from(wanted) - 1.0).abs();
            assert!(error < 0.03, "{wanted} became {estimate}");
        }
    }

    #[test]
    fn registers_of_any_value_have_an_estimate() {
        for value in [50, 51, 63] {
            assert!(Histogram::of(&[value; REGISTER_COUNT]).estimate() > 1 << 50);
        }
    }
}
