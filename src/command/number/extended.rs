//! The 80-bit floating point that INCRBYFLOAT computes in, done in integers.
//!
//! Redis reads a number with `strtold`, adds in the x87 format (64 significant bits, 15 bits of
//! exponent) and prints `%.17Lf` without its trailing zeros. Rust has no such type, and the
//! rounding of a 64-bit `double` would answer `3.0000000000000004` where clients know `3`. So
//! the three steps are done here exactly: a decimal becomes the nearest 64-bit significand by
//! long division, sums round once to the nearest even, and printing rounds the exact value.
//! Replies are the same bytes as those of Redis on x86-64, on every machine.
//!
//! Not here: the long numbers in between ([`Natural`]).

use std::cmp::Ordering;

use super::natural::Natural;

/// Longest text that is read as a number, as in Redis.
const TEXT_LEN_BYTES_MAX: usize = 5 * 1024 - 1;
/// The exponent of the smallest number: significands count in units of two to this power there.
const EXPONENT_MIN: i32 = -16_445;
/// The exponent of the largest numbers, with all 64 bits in use.
const EXPONENT_MAX: i32 = 16_320;
/// No finite number has more decimal digits before the point.
const DECIMAL_EXPONENT_MAX: i64 = 4_933;
/// Every number whose first digit stands further behind the point rounds to zero.
const DECIMAL_EXPONENT_MIN: i64 = -4_951;
/// Digits behind the point in a reply.
const FRACTION_DIGIT_COUNT: usize = 17;
/// Ten to the power of that.
const FRACTION_SCALE: u128 = 10u128.pow(17);

/// A number as the x87 holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extended {
    is_negative: bool,
    size: Size,
}

/// The magnitude: `significand` times two to the power of `exponent`.
///
/// The top bit of the significand is set, except at `EXPONENT_MIN` and for zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Finite { exponent: i32, significand: u64 },
    Infinite,
}

const ZERO: Size = Size::Finite {
    exponent: EXPONENT_MIN,
    significand: 0,
};

impl Extended {
    /// The number zero.
    pub(crate) const ZERO: Self = Self {
        is_negative: false,
        size: ZERO,
    };

    /// Reads what `strtold` reads: decimal or hexadecimal, with an exponent or not, or an infinity.
    ///
    /// Refused, as in Redis: spaces, anything left over, NaN, what overflows, and what is so
    /// small that it becomes zero.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_LEN_BYTES_MAX {
            return None;
        }
        let (is_negative, text) = match text {
            [b'-', text @ ..] => (true, text),
            [b'+', text @ ..] => (false, text),
            text => (false, text),
        };
        let size = match text {
            [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(digits)?,
            _ if text.eq_ignore_ascii_case(b"inf") => Size::Infinite,
            _ if text.eq_ignore_ascii_case(b"infinity") => Size::Infinite,
            _ => parse_decimal(text)?,
        };
        Some(Self { is_negative, size })
    }

    /// The sum, rounded to the nearest number and to the even one of two; nothing if it is not
    /// finite.
    pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
        let (Size::Finite { .. }, Size::Finite { .. }) = (self.size, other.size) else {
            return None;
        };
        let (large, small) = if self.order() >= other.order() {
            (self, other)
        } else {
            (other, self)
        };
        let ((exponent, large_significand), (small_exponent, small_significand)) =
            (large.order(), small.order());
        // Both in units of 2^(exponent - 63). What falls off the smaller one is far below the
        // rounding position, so one bit says all about it.
        let wide = u128::from(large_significand) << 63;
        let shift = exponent.abs_diff(small_exponent);
        let narrow = shift_right_sticky(u128::from(small_significand) << 63, shift);
        let sum = if large.is_negative == small.is_negative {
            wide + narrow
        } else {
            wide - narrow
        };
        let size = round(sum, i64::from(exponent) - 63);
        let is_negative = large.is_negative && sum != 0;
        (size != Size::Infinite).then_some(Self { is_negative, size })
    }

    /// What orders magnitudes of finite numbers.
    fn order(self) -> (i32, u64) {
        match self.size {
            Size::Finite {
                exponent,
                significand,
            } => (exponent, significand),
            Size::Infinite => (i32::MAX, 0),
        }
    }

    /// Appends the number as `%.17Lf` prints it, without trailing zeros; `-0` becomes `0`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let Size::Finite {
            exponent,
            significand,
        } = self.size
        else {
            out.extend_from_slice(if self.is_negative { b"-inf" } else { b"inf" });
            return;
        };
        let start = out.len();
        if self.is_negative {
            out.push(b'-');
        }
        if exponent >= 0 {
            let mut whole = Natural::from(significand);
            whole.shift_left(exponent.unsigned_abs());
            whole.write_decimal(out);
        } else {
            write_fraction(significand, exponent.unsigned_abs(), out);
        }
        if &out[start..] == b"-0" {
            out.remove(start);
        }
    }
}

/// Appends `significand / 2^shift` with at most 17 digits behind the point.
fn write_fraction(significand: u64, shift: u32, out: &mut Vec<u8>) {
    // Below 2^121; what lies beyond the 17th digit only decides the rounding.
    let scaled = u128::from(significand) * FRACTION_SCALE;
    let kept = scaled.checked_shr(shift).unwrap_or(0);
    let lost = if shift < 128 {
        scaled & ((1 << shift) - 1)
    } else {
        scaled
    };
    let is_up = match shift {
        1..=127 => {
            let half = 1u128 << (shift - 1);
            lost > half || (lost == half && kept & 1 == 1)
        }
        _ => false, // less than 2^121 / 2^128 of the last digit
    };
    let rounded = kept + u128::from(is_up);
    out.extend_from_slice((rounded / FRACTION_SCALE).to_string().as_bytes());
    let mut fraction = rounded % FRACTION_SCALE;
    if fraction == 0 {
        return;
    }
    let mut digit_count = FRACTION_DIGIT_COUNT;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        digit_count -= 1;
    }
    out.extend_from_slice(format!(".{fraction:0digit_count$}").as_bytes());
}

/// Reads digits, a point and a decimal exponent.
fn parse_decimal(text: &[u8]) -> Option<Size> {
    let literal = Literal::parse(text, 10, b'e')?;
    let mut digits = literal.digits.as_slice();
    let mut exponent = literal
        .exponent
        .saturating_sub(literal.fraction_digit_count);
    while let [rest @ .., 0] = digits {
        digits = rest;
        exponent = exponent.saturating_add(1);
    }
    if digits.is_empty() {
        return Some(ZERO);
    }
    let magnitude = exponent.saturating_add(i64::try_from(digits.len()).ok()?);
    if !(DECIMAL_EXPONENT_MIN..=DECIMAL_EXPONENT_MAX).contains(&magnitude) {
        return None;
    }
    let power = u32::try_from(exponent.unsigned_abs()).ok()?;
    let mut numerator = Natural::from_digits(digits, 10);
    let mut denominator = Natural::from(1);
    if exponent >= 0 {
        numerator.multiply_power_of_ten(power);
    } else {
        denominator.multiply_power_of_ten(power);
    }
    finite_nonzero(quotient(numerator, denominator))
}

/// Reads what follows `0x`: digits, a point and a binary exponent.
fn parse_hexadecimal(text: &[u8]) -> Option<Size> {
    let literal = Literal::parse(text, 16, b'p')?;
    if literal.digits.is_empty() {
        return Some(ZERO);
    }
    let number = Natural::from_digits(&literal.digits, 16);
    let (top, exponent) = number.top_bits();
    let shift = literal
        .exponent
        .saturating_sub(4 * literal.fraction_digit_count);
    finite_nonzero(round(top, exponent.saturating_add(shift)))
}

fn finite_nonzero(size: Size) -> Option<Size> {
    (size != Size::Infinite && size != ZERO).then_some(size)
}

/// A number's digits without leading zeros, how many of them stand behind the point, and the
/// exponent that follows.
struct Literal {
    digits: Vec<u8>,
    fraction_digit_count: i64,
    exponent: i64,
}

impl Literal {
    fn parse(text: &[u8], radix: u32, exponent_mark: u8) -> Option<Self> {
        let mut digits = Vec::with_capacity(text.len());
        let mut fraction_digit_count = 0;
        let (mut has_digit, mut has_point) = (false, false);
        let mut rest = text;
        while let [byte, after @ ..] = rest {
            if let Some(digit) = char::from(*byte).to_digit(radix) {
                has_digit = true;
                fraction_digit_count += i64::from(has_point);
                if digit != 0 || !digits.is_empty() {
                    digits.push(u8::try_from(digit).expect("a digit is below sixteen"));
                }
            } else if *byte == b'.' && !has_point {
                has_point = true;
            } else {
                break;
            }
            rest = after;
        }
        let exponent = match rest {
            [] => 0,
            [mark, exponent @ ..] if mark.eq_ignore_ascii_case(&exponent_mark) => {
                parse_exponent(exponent)?
            }
            _ => return None,
        };
        has_digit.then_some(Self {
            digits,
            fraction_digit_count,
            exponent,
        })
    }
}

/// Reads a signed run of digits; beyond a million all are alike.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0i64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10)?;
        exponent = (exponent * 10 + i64::from(digit)).min(1_000_000);
    }
    Some(if is_negative { -exponent } else { exponent })
}

/// `numerator / denominator`, rounded once.
fn quotient(mut numerator: Natural, mut denominator: Natural) -> Size {
    // Scaled so that the quotient lies between a half and two; then one bit per step.
    let shift = i64::from(numerator.bit_len()) - i64::from(denominator.bit_len());
    let amount = u32::try_from(shift.unsigned_abs()).expect("texts are short");
    if shift < 0 {
        numerator.shift_left(amount);
    } else {
        denominator.shift_left(amount);
    }
    let mut bits = 0u128;
    for _ in 0..67 {
        bits <<= 1;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            bits |= 1;
        }
        numerator.shift_left(1);
    }
    let sticky = u128::from(!numerator.is_zero());
    round(bits << 1 | sticky, shift - 67)
}

/// The nearest number to `value * 2^exponent`, the even one of two; the lowest bit may stand for
/// anything that was below it.
fn round(value: u128, exponent: i64) -> Size {
    if value == 0 {
        return ZERO;
    }
    let spare = 64 - i64::from(value.leading_zeros());
    let target = (exponent + spare).max(i64::from(EXPONENT_MIN));
    let shift = target - exponent;
    let (mut significand, mut target) = if shift <= 0 {
        (value << shift.unsigned_abs().min(127), target)
    } else {
        let shift = u32::try_from(shift).unwrap_or(u32::MAX);
        // Two bits more than wanted: the next one, and whether anything lies below. By one place
        // only 65 bits shift, so there is room on the left.
        let kept = match shift {
            1 => value << 1,
            _ => shift_right_sticky(value, shift - 2),
        };
        let is_up = kept & 0b10 != 0 && kept & 0b101 != 0;
        ((kept >> 2) + u128::from(is_up), target)
    };
    if significand >> 64 != 0 {
        significand >>= 1; // rounding up made it 2^64
        target += 1;
    }
    match i32::try_from(target) {
        _ if significand == 0 => ZERO,
        Ok(exponent) if exponent <= EXPONENT_MAX => Size::Finite {
            exponent,
            significand: u64::try_from(significand).expect("64 bits were kept"),
        },
        _ => Size::Infinite,
    }
}

/// `value >> shift`, with the lowest bit set if any bit fell off.
fn shift_right_sticky(value: u128, shift: u32) -> u128 {
    let kept = value.checked_shr(shift).unwrap_or(0);
    let is_exact = kept.checked_shl(shift).unwrap_or(0) == value;
    kept | u128::from(!is_exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(left: &str, right: &str) -> String {
        let [left, right] = [left, right].map(|text| Extended::parse(text.as_bytes()));
        let sum = left
            .expect("a number")
            .checked_add(right.expect("a number"))
            .expect("finite");
        let mut out = Vec::new();
        sum.write(&mut out);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn sums_of_short_decimals_are_what_one_expects() {
        for (left, right, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-0", "0", "0"),
            ("1", "1e-30", "1"),
            ("-1e-20", "0", "0"),
            ("0x10", "0x.8p1", "17"),
            ("+.5", "5.", "5.5"),
            ("1e19", "1", "10000000000000000001"),
            ("1e20", "1", "100000000000000000000"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("9223372036854775807", "0.5", "9223372036854775807.5"),
        ] {
            assert_eq!(sum(left, right), expected, "{left} + {right}");
        }
    }

    #[test]
    fn the_largest_and_smallest_numbers_are_kept() {
        let largest = "1.18973149535723176502e+4932";
        assert!(sum(largest, "0").starts_with("118973149535723176502126385303"));
        let largest = Extended::parse(largest.as_bytes()).expect("a number");
        assert_eq!(largest.checked_add(largest), None);
        assert!(Extended::parse(b"1.2e4932").is_none());
        assert!(Extended::parse(b"3.7e-4951").is_some());
        assert!(Extended::parse(b"1.8e-4951").is_none());
        assert!(Extended::parse(b"0e999999999999").is_some());
    }

    #[test]
    fn infinities_are_read_but_not_added() {
        for text in ["inf", "-inf", "+Infinity", "INF"] {
            let infinite = Extended::parse(text.as_bytes()).expect("a number");
            assert_eq!(infinite.checked_add(Extended::ZERO), None);
        }
    }

    #[test]
    fn other_texts_are_not_numbers() {
        for text in [
            "",
            ".",
            "-",
            "e5",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "abc",
            "nan",
            "1.2.3",
            "0x",
            "0x.",
            "--1",
            "1e400000",
            "1e-400000",
            "1\0",
            "infinit",
            "1,5",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(Extended::parse(&b"1".repeat(TEXT_LEN_BYTES_MAX + 1)).is_none());
    }
}
