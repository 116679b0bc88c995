//! Values: how long they are and what is in them.
//!
//! A key always has the same value, whoever wrote it last: length and bytes both follow from the
//! key's number. So every reply of a run is known before it begins, with many connections that
//! write the same keys too, and a server that mixes keys up is noticed.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::random::{mix, scale};

/// The longest value that a Redis server accepts.
const VALUE_LEN_BYTES_MAX: usize = 512 << 20;
/// Keeps the hash that chooses a length apart from the one that makes the bytes.
const LENGTH_SALT: u64 = 0x6c65_6e67_7468_2121;

/// How long values are: one range, or several with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueLens {
    parts: Vec<(RangeInclusive<usize>, u64)>,
}

impl ValueLens {
    /// Every value has this length.
    pub(crate) fn fixed(len_bytes: usize) -> Self {
        Self {
            parts: vec![(len_bytes..=len_bytes, 1)],
        }
    }

    /// The length of a key's value.
    pub(crate) fn of(&self, key: u64) -> usize {
        let spread = mix(key ^ LENGTH_SALT);
        let mut ticket = scale(spread, self.parts.iter().map(|(_, weight)| weight).sum());
        for (range, weight) in &self.parts {
            if ticket < *weight {
                let width = (range.end() - range.start() + 1) as u64;
                let above = scale(mix(spread), width);
                return range.start() + usize::try_from(above).expect("within the range");
            }
            ticket -= weight;
        }
        unreachable!("a ticket is below the sum of the weights")
    }
}

impl FromStr for ValueLens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (range, weight) = part.split_once(':').unwrap_or((part, "1"));
            let (first, last) = range.split_once("..").unwrap_or((range, range));
            let range = first.parse().ok()?..=last.parse().ok()?;
            let weight = weight.parse().ok()?;
            let is_sound =
                range.start() <= range.end() && *range.end() <= VALUE_LEN_BYTES_MAX && weight > 0;
            (is_sound && weight <= u64::from(u32::MAX)).then_some((range, weight))
        };
        let parts = text.split('+').map(part).collect::<Option<Vec<_>>>();
        parts.map(|parts| Self { parts }).ok_or_else(|| {
            format!(
                "`{text}` is not a length as 3, a range as 16..1024, or a sum of such with \
                 weights as 16:90+1000..2000:10, of at most {VALUE_LEN_BYTES_MAX} bytes"
            )
        })
    }
}

impl fmt::Display for ValueLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (range, weight)) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            write!(f, "{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "..{}", range.end())?;
            }
            if self.parts.len() > 1 {
                write!(f, ":{weight}")?;
            }
        }
        Ok(())
    }
}

/// Appends the first `len_bytes` of a key's value: printable characters that its number gives.
pub(crate) fn write_value(out: &mut Vec<u8>, key: u64, len_bytes: usize) {
    const LOW_SIX_BITS: u64 = 0x3f3f_3f3f_3f3f_3f3f;
    const FIRST_CHARACTERS: u64 = 0x3030_3030_3030_3030;
    let end = out.len() + len_bytes;
    let mut word = mix(key);
    while out.len() < end {
        let characters = (word & LOW_SIX_BITS) + FIRST_CHARACTERS;
        let missing = (end - out.len()).min(size_of::<u64>());
        out.extend_from_slice(&characters.to_le_bytes()[..missing]);
        word = word.rotate_left(29).wrapping_add(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_printed() {
        for text in ["0", "3", "16..1024", "16:90+1000..2000:10"] {
            assert_eq!(text.parse::<ValueLens>().unwrap().to_string(), text);
        }
        for text in ["", "x", "9..3", "3:0", "3:", "1+", "1..2..3", "600000000"] {
            assert!(text.parse::<ValueLens>().is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_keep_to_their_ranges_and_weights() {
        let lens: ValueLens = "16:90+100..200:10".parse().unwrap();
        let found: Vec<_> = (0..10_000).map(|key| lens.of(key)).collect();
        assert!(
            found
                .iter()
                .all(|len| *len == 16 || (100..=200).contains(len))
        );
        let long_count = found.iter().filter(|len| **len > 16).count();
        assert!((850..1150).contains(&long_count), "{long_count}");
        assert!((100..=200).all(|len| found.contains(&len)));
    }

    #[test]
    fn values_differ_between_keys_and_never_for_one() {
        let value = |key, len_bytes| {
            let mut out = Vec::new();
            write_value(&mut out, key, len_bytes);
            out
        };
        assert_eq!(value(7, 20), value(7, 20));
        assert_eq!(value(7, 20)[..9], value(7, 9));
        assert!((1..1000).all(|key| value(key, 3) != value(key + 1, 3) || value(key, 9) != value(key + 1, 9)));
        assert!(
            value(1, 1000)
                .iter()
                .all(|byte| (b'0'..=b'o').contains(byte))
        );
    }
}
