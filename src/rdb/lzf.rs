//! LZF, the compression of strings in RDB files and DUMP payloads.
//!
//! ```text
//!   000LLLLL  then L + 1 bytes as they are
//!   LLLddddd dddddddd           copy L + 2 bytes from d + 1 bytes back     (L is 1 to 6)
//!   111ddddd LLLLLLLL dddddddd  copy L + 9 bytes from d + 1 bytes back
//! ```
//!
//! A copy may overlap what it writes. The input is not trusted: whatever it holds, the output is
//! never longer than announced and no byte outside it is read.

/// Bytes of output that one byte of input can give at most: three bytes make 264.
pub(super) const EXPANSION_MAX: u64 = 88;

/// How far an expansion has come: bytes of the input and of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes read.
    pub packed_bytes: usize,
    /// Bytes written.
    pub expanded_bytes: usize,
}

/// Appends what `packed` expands to, which is to be exactly `len_bytes` long, to `output`;
/// none if it is not LZF or has another length.
#[must_use]
pub(super) fn expand(packed: &[u8], len_bytes: usize, output: &mut Vec<u8>) -> Option<()> {
    let start = output.len();
    output.resize(start.checked_add(len_bytes)?, 0);
    let expanded = expand_part(packed, &mut output[start..], Place::default(), usize::MAX);
    expanded.map(drop)
}

/// Goes on expanding `packed` to `output`, which it is to fill, from `place` on; stops after about
/// `budget_bytes` of output. Where it stopped: at both ends when it is done; none if `packed` is not
/// LZF or does not fill the output.
#[must_use]
pub fn expand_part(
    packed: &[u8],
    output: &mut [u8],
    place: Place,
    budget_bytes: usize,
) -> Option<Place> {
    walk(
        packed,
        output.len(),
        place,
        budget_bytes,
        |at, token| match token {
            Token::Literal(bytes) => output[at..at + bytes.len()].copy_from_slice(bytes),
            Token::Copy {
                distance,
                len_bytes,
            } => {
                for to in at..at + len_bytes {
                    output[to] = output[to - distance];
                }
            }
        },
    )
}

/// Goes on looking whether `packed` expands to exactly `len_bytes`, as [`expand_part`] would find out
/// with an output to fill.
#[must_use]
pub fn check_part(
    packed: &[u8],
    len_bytes: usize,
    place: Place,
    budget_bytes: usize,
) -> Option<Place> {
    walk(packed, len_bytes, place, budget_bytes, |_, _| ())
}

/// What a piece of the input stands for.
enum Token<'a> {
    Literal(&'a [u8]),
    /// So many bytes from so far back.
    Copy {
        distance: usize,
        len_bytes: usize,
    },
}

impl<'a> Token<'a> {
    /// The first of `packed`, which is not empty, and what follows it.
    fn split_first(packed: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&control, rest) = packed.split_first()?;
        if control < 1 << 5 {
            let (literal, rest) = rest.split_at_checked(usize::from(control) + 1)?;
            return Some((Self::Literal(literal), rest));
        }
        let mut len_bytes = usize::from(control >> 5) + 2;
        let mut rest = rest;
        if control >> 5 == 7 {
            let (&more, after) = rest.split_first()?;
            len_bytes += usize::from(more);
            rest = after;
        }
        let (&low, rest) = rest.split_first()?;
        let distance = (usize::from(control & 0x1F) << 8 | usize::from(low)) + 1;
        Some((
            Self::Copy {
                distance,
                len_bytes,
            },
            rest,
        ))
    }

    fn len_bytes(&self) -> usize {
        match self {
            Self::Literal(bytes) => bytes.len(),
            Self::Copy { len_bytes, .. } => *len_bytes,
        }
    }
}

/// Hands each token to `write`, with its place in an output of `len_bytes` that it stays within.
fn walk(
    packed: &[u8],
    len_bytes: usize,
    place: Place,
    budget_bytes: usize,
    mut write: impl FnMut(usize, Token<'_>),
) -> Option<Place> {
    let mut rest = packed.get(place.packed_bytes..)?;
    let mut at = place.expanded_bytes;
    let stop = at.saturating_add(budget_bytes);
    while !rest.is_empty() && at < stop {
        let (token, after) = Token::split_first(rest)?;
        let token_len_bytes = token.len_bytes();
        let is_known = !matches!(token, Token::Copy { distance, .. } if distance > at);
        if !is_known || token_len_bytes > len_bytes - at {
            return None;
        }
        write(at, token);
        at += token_len_bytes;
        rest = after;
    }
    if rest.is_empty() && at != len_bytes {
        return None;
    }
    Some(Place {
        packed_bytes: packed.len() - rest.len(),
        expanded_bytes: at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(packed: &[u8], len_bytes: usize) -> Option<Vec<u8>> {
        let mut output = b"kept".to_vec();
        let expanded = expand(packed, len_bytes, &mut output);
        let checked = check_part(packed, len_bytes, Place::default(), usize::MAX);
        assert_eq!(checked.is_some(), expanded.is_some(), "{packed:?}");
        expanded.map(|()| output.split_off(4))
    }

    #[test]
    fn literals_and_copies_expand() {
        assert_eq!(expanded(b"", 0), Some(vec![]));
        assert_eq!(expanded(b"\x02abc", 3), Some(b"abc".to_vec()));
        // Three back, four bytes: it overlaps itself.
        assert_eq!(expanded(b"\x02abc\x40\x02", 7), Some(b"abcabca".to_vec()));
        // The longest copy, of one byte back.
        let mut long = vec![b'a'; 265];
        assert_eq!(expanded(b"\0a\xe0\xff\0", 265), Some(long.clone()));
        long.pop();
        assert_eq!(expanded(b"\0a\xe0\xff\0", 264), None);
    }

    #[test]
    fn parts_expand_to_the_whole() {
        let packed = b"\x02abc\x40\x02\xe0\x50\x06\x00x";
        let mut whole = vec![0; 97];
        let end = expand_part(packed, &mut whole, Place::default(), usize::MAX);
        assert_eq!(end.map(|end| end.expanded_bytes), Some(97));
        let mut parts = vec![0; 97];
        let mut place = Place::default();
        while place.packed_bytes < packed.len() {
            place = expand_part(packed, &mut parts, place, 1).expect("it is LZF");
        }
        assert_eq!(parts, whole);
    }

    #[test]
    fn what_is_not_lzf_is_refused() {
        for packed in [
            &b"\x02ab"[..], // a literal cut short
            b"\x40",        // a copy cut short
            b"\xe0\x01",    // a long copy cut short
            b"\x40\x00",    // a copy from before the start, where other bytes are
            b"\0a\x40\x01", // the same, later
            b"\x02abc",     // too long for what is announced
        ] {
            assert_eq!(expanded(packed, 2), None, "{packed:?}");
        }
        assert_eq!(expanded(b"\0a", 2), None, "shorter than announced");
    }
}
