//! Numbers in text, exactly as Redis reads and writes them.
//!
//! Integers have one accepted spelling: no plus sign, no leading zeros, no spaces, no `-0`. That
//! is what lets a counter's text be compared, stored and written back without a flag; integers are
//! written by [`format_integer`](crate::resp::format_integer). The floating-point numbers of
//! INCRBYFLOAT are in [`extended`].

pub(super) mod extended;
mod natural;

/// Bytes of the longest integer: a sign and 19 digits.
const INTEGER_LEN_BYTES_MAX: usize = 20;

/// Seconds with a fraction, from 0 on.
pub(super) fn parse_seconds(text: &[u8]) -> Option<std::time::Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    std::time::Duration::try_from_secs_f64(seconds).ok()
}

/// The integer that `text` spells, if it is the one spelling of an `i64`.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() < INTEGER_LEN_BYTES_MAX => {}
        _ => return None,
    }
    // At most 19 digits stay below 10^19, which a u64 holds.
    let mut magnitude = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if is_negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_has_one_spelling() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            99,
            100,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }

    #[test]
    fn other_spellings_are_not_integers() {
        for text in [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "--1",
            "a",
            "9223372036854775808",
            "-9223372036854775809",
            "10000000000000000000",
            "99999999999999999999",
            "1\0",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }
}
