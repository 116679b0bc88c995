//! A parsed request: where its arguments lie in the bytes it arrived in.
//!
//! Spans are 32-bit offsets rather than slices, so that a window of parsed commands holds no borrow of
//! the buffer, halves its memory, and survives the buffer's move while a long command arrives.

use std::ops::RangeFrom;

/// Where one argument lies within the input it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of its first byte.
    pub start: u32,
    /// How many bytes it has.
    pub len: u32,
}

impl Span {
    /// The span of `len_bytes` bytes at `start`; the parser reads no input past `u32::MAX`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the parser clamps its input to 4 GiB"
    )]
    pub fn new(start: usize, len_bytes: usize) -> Self {
        debug_assert!(start <= u32::MAX as usize);
        debug_assert!(len_bytes <= u32::MAX as usize);
        Self {
            start: start as u32,
            len: len_bytes as u32,
        }
    }
}

/// The arguments of one command, its name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    base: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments at `spans` of `base`.
    pub fn new(base: &'a [u8], spans: &'a [Span]) -> Self {
        Self { base, spans }
    }

    /// How many arguments there are, the name included.
    #[inline]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there is none, not even a name.
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of argument `index`; the command's name is argument 0.
    ///
    /// # Panics
    ///
    /// If there are not that many: a command's arity is checked before it runs.
    #[inline]
    pub fn get(self, index: usize) -> &'a [u8] {
        let Span { start, len } = self.spans[index];
        &self.base[start as usize..][..len as usize]
    }

    /// The arguments in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let base = self.base;
        self.spans
            .iter()
            .map(move |span| &base[span.start as usize..][..span.len as usize])
    }

    /// The arguments from `range.start` on.
    ///
    /// # Panics
    ///
    /// If there are fewer than `range.start`.
    pub fn slice(self, range: RangeFrom<usize>) -> Self {
        Self {
            base: self.base,
            spans: &self.spans[range],
        }
    }

    /// Where the arguments lie, for a caller that hands them on without copying.
    pub fn spans(self) -> &'a [Span] {
        self.spans
    }

    /// The bytes the spans refer to.
    pub fn base(self) -> &'a [u8] {
        self.base
    }
}

/// `\r\n` after a header and after an argument.
pub(super) const LINE_END_LEN_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_the_bytes_at_their_spans() {
        let spans = [Span::new(1, 3), Span::new(4, 0), Span::new(5, 2)];
        let args = Args::new(b"-get-hi-", &spans);

        assert_eq!(args.len(), 3);
        assert!(!args.is_empty());
        assert_eq!(args.get(0), b"get");
        assert_eq!(args.get(1), b"");
        assert_eq!(args.get(2), b"hi");
        assert_eq!(args.iter().collect::<Vec<_>>(), [&b"get"[..], b"", b"hi"]);
        assert_eq!(args.slice(2..).get(0), b"hi");
        assert_eq!(args.slice(3..).len(), 0);
    }
}
