//! The beginnings of commands that were seen before: most of a parse, done by one comparison.
//!
//! A pipeline repeats itself: thousands of commands begin with the same `*3\r\n$3\r\nSET\r\n`. Who keeps
//! the [`Head`] of the first recognises the others without reading numbers or looking names up.

use super::request::{LINE_END_LEN_BYTES, Span};

/// How a command began, up to the end of its name.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: u128,
    mask: u128,
    len_bytes: usize,
    name: Span,
    argument_count: usize,
}

impl Head {
    /// Bytes of input that [`Head::begins`] looks at: heads are no longer.
    pub const LEN_BYTES_MAX: usize = 16;

    /// The head of the command that `input` begins with and that was parsed into `spans`, if it is
    /// short enough.
    #[must_use]
    pub fn of(input: &[u8; Self::LEN_BYTES_MAX], spans: &[Span]) -> Option<Self> {
        let name = *spans.first()?;
        let len_bytes = (name.start + name.len) as usize + LINE_END_LEN_BYTES;
        if input[0] != b'*' || len_bytes > Self::LEN_BYTES_MAX {
            return None;
        }
        let mask = u128::MAX >> (8 * (Self::LEN_BYTES_MAX - len_bytes));
        Some(Self {
            bytes: u128::from_le_bytes(*input) & mask,
            mask,
            len_bytes,
            name,
            argument_count: spans.len(),
        })
    }

    /// Whether `input` begins like this.
    #[inline]
    #[must_use]
    pub fn begins(&self, input: &[u8; Self::LEN_BYTES_MAX]) -> bool {
        u128::from_le_bytes(*input) & self.mask == self.bytes
    }

    /// Parses a command that [begins](Self::begins) like this one: appends its arguments to `spans`
    /// and returns its length. `None`, and nothing appended: it is not complete, or an argument has a
    /// hundred bytes or more; shorter ones no limit forbids.
    #[inline]
    #[must_use]
    pub fn parse(&self, input: &[u8], spans: &mut Vec<Span>) -> Option<usize> {
        let spans_before = spans.len();
        spans.push(self.name);
        let end = short_arguments(input, self.len_bytes, self.argument_count - 1, spans);
        if end.is_none() {
            spans.truncate(spans_before);
        }
        end
    }
}

/// Appends `count` arguments of less than a hundred bytes each and returns where the last one ends.
/// `None`: they are not all there, or not all so short; spans may have been appended.
#[inline]
fn short_arguments(
    input: &[u8],
    start: usize,
    count: usize,
    spans: &mut Vec<Span>,
) -> Option<usize> {
    let mut at = start;
    for _ in 0..count {
        let header: &[u8; LONGEST_HEADER_LEN_BYTES] = input.get(at..)?.first_chunk()?;
        let (len_bytes, header_len_bytes) = match *header {
            [b'$', ones @ b'0'..=b'9', b'\r', ..] => (ones - b'0', LONGEST_HEADER_LEN_BYTES - 1),
            [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _] => {
                ((tens - b'0') * 10 + (ones - b'0'), LONGEST_HEADER_LEN_BYTES)
            }
            _ => return None,
        };
        spans.push(Span::new(at + header_len_bytes, usize::from(len_bytes)));
        at += header_len_bytes + usize::from(len_bytes) + LINE_END_LEN_BYTES;
    }
    (at <= input.len()).then_some(at)
}

/// `$99\r\n`
const LONGEST_HEADER_LEN_BYTES: usize = 5;
