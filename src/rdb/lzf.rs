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

/// Appends what `packed` expands to, which is to be exactly `len_bytes` long, to `output`;
/// none if it is not LZF or has another length.
#[must_use]
pub(super) fn expand(packed: &[u8], len_bytes: usize, output: &mut Vec<u8>) -> Option<()> {
    let start = output.len();
    let end = start.checked_add(len_bytes)?;
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        if control < 1 << 5 {
            let (literal, after) = rest.split_at_checked(usize::from(control) + 1)?;
            if literal.len() > end - output.len() {
                return None;
            }
            output.extend_from_slice(literal);
            rest = after;
            continue;
        }
        let mut copy_len = usize::from(control >> 5) + 2;
        if control >> 5 == 7 {
            let (&more, after) = rest.split_first()?;
            copy_len += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first()?;
        rest = after;
        let distance = (usize::from(control & 0x1F) << 8 | usize::from(low)) + 1;
        let from = output.len().checked_sub(distance)?;
        if from < start || copy_len > end - output.len() {
            return None;
        }
        for place in from..from + copy_len {
            output.push(output[place]);
        }
    }
    (output.len() == end).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(packed: &[u8], len_bytes: usize) -> Option<Vec<u8>> {
        let mut output = b"kept".to_vec();
        expand(packed, len_bytes, &mut output)?;
        Some(output.split_off(4))
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
