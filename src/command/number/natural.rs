//! Natural numbers of any length: the few operations that reading and writing floating-point
//! numbers exactly takes, and no more.
//!
//! They are long only when a client writes a number so; texts are bounded, and so are these.

use std::cmp::Ordering;

/// A natural number of any length: limbs of 32 bits, the lowest first, none of them zero on top.
#[derive(Debug)]
pub(super) struct Natural {
    limbs: Vec<u32>,
}

impl From<u64> for Natural {
    fn from(value: u64) -> Self {
        let mut number = Self {
            limbs: vec![low_limb(value), low_limb(value >> 32)],
        };
        number.trim();
        number
    }
}

/// The low 32 bits.
fn low_limb(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("32 bits were kept")
}

impl Natural {
    pub(super) fn from_digits(digits: &[u8], radix: u32) -> Self {
        let mut number = Self { limbs: Vec::new() };
        // Seven digits at a time fit a limb in either radix.
        for group in digits.chunks(7) {
            let (mut factor, mut summand) = (1, 0);
            for &digit in group {
                factor *= radix;
                summand = summand * radix + u32::from(digit);
            }
            number.multiply_add(factor, summand);
        }
        number
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    pub(super) fn bit_len(&self) -> u32 {
        let count = u32::try_from(self.limbs.len()).expect("texts are short");
        count * 32 - self.limbs.last().map_or(0, |limb| limb.leading_zeros())
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.limbs {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = low_limb(carry);
            carry >>= 32;
        }
        if carry != 0 {
            self.limbs.push(low_limb(carry));
        }
    }

    pub(super) fn multiply_power_of_ten(&mut self, power: u32) {
        for _ in 0..power / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow(power % 9), 0);
    }

    pub(super) fn shift_left(&mut self, shift: u32) {
        let bits = shift % 32;
        let mut carry = 0;
        for limb in &mut self.limbs {
            let wide = u64::from(*limb) << bits | carry;
            *limb = low_limb(wide);
            carry = wide >> 32;
        }
        if carry != 0 {
            self.limbs.push(low_limb(carry));
        }
        if !self.is_zero() {
            let whole = usize::try_from(shift / 32).expect("a limb count fits");
            self.limbs.splice(0..0, std::iter::repeat_n(0, whole));
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }

    /// Takes away `other`, which is not larger.
    pub(super) fn subtract(&mut self, other: &Self) {
        let mut has_borrow = false;
        let others = other.limbs.iter().copied().chain(std::iter::repeat(0));
        for (limb, other) in self.limbs.iter_mut().zip(others) {
            let (difference, first) = limb.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(u32::from(has_borrow));
            *limb = difference;
            has_borrow = first || second;
        }
        self.trim();
    }

    /// The highest 96 to 128 bits and the exponent they count in; the lowest one also says
    /// whether anything lies below.
    pub(super) fn top_bits(&self) -> (u128, i64) {
        let below = self.limbs.len().saturating_sub(4);
        let mut top = 0u128;
        for &limb in self.limbs[below..].iter().rev() {
            top = top << 32 | u128::from(limb);
        }
        let is_exact = self.limbs[..below].iter().all(|&limb| limb == 0);
        (
            top | u128::from(!is_exact),
            32 * i64::try_from(below).expect("texts are short"),
        )
    }

    fn divide(&mut self, divisor: u32) -> u32 {
        let mut remainder = 0u64;
        for limb in self.limbs.iter_mut().rev() {
            let wide = remainder << 32 | u64::from(*limb);
            *limb = low_limb(wide / u64::from(divisor));
            remainder = wide % u64::from(divisor);
        }
        self.trim();
        low_limb(remainder)
    }

    pub(super) fn write_decimal(mut self, out: &mut Vec<u8>) {
        let mut groups = Vec::new();
        while !self.is_zero() {
            groups.push(self.divide(1_000_000_000));
        }
        let first = groups.pop().unwrap_or(0);
        out.extend_from_slice(first.to_string().as_bytes());
        for group in groups.into_iter().rev() {
            out.extend_from_slice(format!("{group:09}").as_bytes());
        }
    }
}
