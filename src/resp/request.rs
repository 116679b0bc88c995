//! A parsed request: where its arguments lie in the bytes it arrived in.
//!
//! Spans are 32-bit offsets rather than slices, so that a wave of parsed commands holds no borrow of
//! the buffer, halves its memory, and survives the buffer's move while a long command arrives.

use std::ops::RangeFrom;

/// `\r\n` after a header and after an argument.
pub(super) const LINE_END_LEN_BYTES: usize = 2;

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

/// How a command began: `*3\r\n$3\r\nSET\r\n`. One comparison recognises the next that begins so, and
/// saves the parse of these bytes and the search for the name.
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

    /// Bytes of input it stands for.
    pub(super) const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Where the name is.
    pub(super) const fn name(&self) -> Span {
        self.name
    }

    /// Arguments of such a command, the name included.
    pub(super) const fn argument_count(&self) -> usize {
        self.argument_count
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
