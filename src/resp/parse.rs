//! Bytes to arguments, in place, and resumable at any byte.
//!
//! The whole command is usually there: then its spans go straight to the caller's list. When it is
//! not, the parser keeps what it found (spans relative to the command's first byte, the place it
//! stopped, the length of the bulk it waits for) and goes on from there, so that a value of half a
//! gigabyte or a command of a million arguments is looked at once, however many pieces it comes in.
//!
//! Invariants:
//! - what a call answers depends on the bytes alone, never on how they were split;
//! - no byte of an argument is read, only headers and inline lines;
//! - what is kept between calls is bounded by the bytes received.
//!
//! As Redis does, the two bytes that end a header or a bulk are skipped, not compared. Unlike Redis,
//! a zero byte does not hide the rest of a line.

use crate::limits;

use super::request::{LINE_END_LEN_BYTES, Span};

/// Resumable parser of one connection's requests.
#[derive(Debug, Default)]
pub struct Parser {
    progress: Progress,
    /// Arguments of a command that has begun and is not complete.
    pending: Vec<Span>,
}

impl Parser {
    /// A parser at the start of a command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the command that begins at `input`'s first byte.
    ///
    /// On [`Step::Incomplete`], call again with the same bytes and more behind them; they may have
    /// moved. On [`Step::Command`] its arguments have been appended to `spans`, relative to `input`;
    /// otherwise `spans` is as it was. Quotes and escapes of an inline command are resolved by
    /// rewriting its line, which is why `input` is mutable. After an error the connection is beyond
    /// help: reply and close.
    #[inline]
    pub fn next(
        &mut self,
        input: &mut [u8],
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Step, ProtocolError> {
        // Spans are 32 bits wide. A command beyond them stays incomplete and meets the bound of the
        // query buffer, which is smaller.
        let readable = input.len().min(u32::MAX as usize);
        let input = &mut input[..readable];
        if self.progress.arguments_left > 0 {
            return self.resume(input, limits, spans);
        }
        let spans_before = spans.len();
        match input.first() {
            None => return Ok(Step::Incomplete { need_bytes: 0 }),
            Some(b'*') => {}
            Some(_) => return self.inline(input, spans),
        }
        match self.progress.multibulk_header(input, limits)? {
            None => return Ok(Step::Incomplete { need_bytes: 0 }),
            Some(0) => {
                return Ok(Step::Empty {
                    len_bytes: self.finish(),
                });
            }
            Some(_) => {}
        }
        match self.progress.arguments(input, limits, spans) {
            Ok(None) => Ok(Step::Command {
                len_bytes: self.finish(),
            }),
            Ok(Some(need_bytes)) => {
                self.pending.extend(spans.drain(spans_before..));
                Ok(Step::Incomplete { need_bytes })
            }
            Err(error) => {
                spans.truncate(spans_before);
                Err(error)
            }
        }
    }

    /// Whether nothing is known of the command that comes next.
    #[inline]
    pub fn is_at_start(&self) -> bool {
        self.progress.arguments_left == 0 && self.progress.scanned_bytes == 0
    }

    /// Forgets a command that has begun.
    pub fn reset(&mut self) {
        self.progress = Progress::default();
        self.pending = Vec::new();
    }

    fn resume(
        &mut self,
        input: &[u8],
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Step, ProtocolError> {
        if let Some(need_bytes) = self.progress.arguments(input, limits, &mut self.pending)? {
            return Ok(Step::Incomplete { need_bytes });
        }
        spans.append(&mut self.pending);
        // The list of a command of a million arguments is not kept for the connection's life.
        self.pending.shrink_to(KEPT_SPAN_COUNT_MAX);
        Ok(Step::Command {
            len_bytes: self.finish(),
        })
    }

    fn inline(&mut self, input: &mut [u8], spans: &mut Vec<Span>) -> Result<Step, ProtocolError> {
        let error = ProtocolError::InlineTooLong;
        let Some(newline) = self.progress.find(b'\n', input, error)? else {
            return Ok(Step::Incomplete { need_bytes: 0 });
        };
        let line = &mut input[..newline];
        let line_len = line.strip_suffix(b"\r").unwrap_or(line).len();
        let spans_before = spans.len();
        if !split_words(&mut input[..line_len], spans) {
            spans.truncate(spans_before);
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.progress = Progress::default();
        let len_bytes = newline + 1;
        let is_blank = spans.len() == spans_before;
        Ok(if is_blank {
            Step::Empty { len_bytes }
        } else {
            Step::Command { len_bytes }
        })
    }

    /// Ends the command and returns its length.
    fn finish(&mut self) -> usize {
        std::mem::take(&mut self.progress).at
    }
}

/// What the input held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole command.
    Command {
        /// Bytes of input it took.
        len_bytes: usize,
    },
    /// Nothing to run and nothing to answer: a blank line, `*0` or `*-1`.
    Empty {
        /// Bytes of input it took.
        len_bytes: usize,
    },
    /// The start of a command.
    Incomplete {
        /// Length of input at which the argument being received will be complete; 0 if its length
        /// is not known yet. A hint for the growth of the buffer.
        need_bytes: usize,
    },
}

/// Arguments of a command in pieces for which a connection keeps space: more than most commands have.
const KEPT_SPAN_COUNT_MAX: usize = 16;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments of a command.
    pub argument_count_max: usize,
    /// Longest argument: `proto-max-bulk-len`.
    pub bulk_len_bytes_max: usize,
    /// Whether the tighter bounds of connections that have yet to authenticate are off.
    pub is_authenticated: bool,
}

impl Limits {
    /// Of a connection that may run commands.
    pub const AUTHENTICATED: Self = Self {
        argument_count_max: limits::ARGUMENT_COUNT_MAX,
        bulk_len_bytes_max: limits::BULK_LEN_BYTES_MAX,
        is_authenticated: true,
    };
    /// Of a connection that owes the password.
    pub const UNAUTHENTICATED: Self = Self {
        is_authenticated: false,
        ..Self::AUTHENTICATED
    };
}

/// Why the bytes are not a request; the connection is closed after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline command without an end.
    InlineTooLong,
    /// Quotes of an inline command that do not close, or close in the middle of a word.
    UnbalancedQuotes,
    /// An argument count without an end.
    MultibulkCountTooLong,
    /// An argument count that is no number or too large.
    InvalidMultibulkLength,
    /// More arguments than are allowed before authentication.
    UnauthenticatedMultibulkLength,
    /// An argument length without an end.
    BulkCountTooLong,
    /// Something else where an argument must begin.
    ExpectedBulk(u8),
    /// An argument length that is no number, negative or too large.
    InvalidBulkLength,
    /// A longer argument than is allowed before authentication.
    UnauthenticatedBulkLength,
}

impl ProtocolError {
    /// Redis's words, which follow `ERR Protocol error: `; bytes, because one quotes the input.
    pub fn message(self) -> Vec<u8> {
        let text: &[u8] = match self {
            Self::InlineTooLong => b"too big inline request",
            Self::UnbalancedQuotes => b"unbalanced quotes in request",
            Self::MultibulkCountTooLong => b"too big mbulk count string",
            Self::InvalidMultibulkLength => b"invalid multibulk length",
            Self::UnauthenticatedMultibulkLength => b"unauthenticated multibulk length",
            Self::BulkCountTooLong => b"too big bulk count string",
            Self::ExpectedBulk(found) => {
                return [b"expected '$', got '", &[found][..], b"'"].concat();
            }
            Self::InvalidBulkLength => b"invalid bulk length",
            Self::UnauthenticatedBulkLength => b"unauthenticated bulk length",
        };
        text.to_vec()
    }
}

/// How far into a command the parser is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Bytes understood, from the command's first.
    at: usize,
    /// Bytes after `at` that are known not to hold the end of the line.
    scanned_bytes: usize,
    /// Arguments not found yet; 0 before the count is known.
    arguments_left: usize,
    /// Length of the argument whose header has been read.
    bulk_len_bytes: Option<usize>,
}

impl Progress {
    /// Reads `*count`; `None` if its line is not complete.
    #[inline]
    fn multibulk_header(
        &mut self,
        input: &[u8],
        limits: Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let error = ProtocolError::MultibulkCountTooLong;
        let Some(count) = self.count(input, error)? else {
            return Ok(None);
        };
        let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
        let count = usize::try_from(count).unwrap_or(0);
        if count > limits.argument_count_max {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if !limits.is_authenticated && count > limits::UNAUTHENTICATED_ARGUMENT_COUNT_MAX {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.arguments_left = count;
        Ok(Some(count))
    }

    /// Appends the arguments to `spans` until all are there. Else how much input would complete
    /// the one it stopped in, 0 if that is not known.
    #[inline]
    fn arguments(
        &mut self,
        input: &[u8],
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Option<usize>, ProtocolError> {
        while self.arguments_left > 0 {
            let len_bytes = match self.bulk_len_bytes {
                Some(len_bytes) => len_bytes,
                None => match self.bulk_header(input, limits)? {
                    Some(len_bytes) => len_bytes,
                    None => return Ok(Some(0)),
                },
            };
            let next = self.at + len_bytes + LINE_END_LEN_BYTES;
            if next > input.len() {
                self.bulk_len_bytes = Some(len_bytes);
                return Ok(Some(next));
            }
            spans.push(Span::new(self.at, len_bytes));
            self.at = next;
            self.bulk_len_bytes = None;
            self.arguments_left -= 1;
        }
        Ok(None)
    }

    /// Reads `$len`; `None` if its line is not complete.
    #[inline]
    fn bulk_header(
        &mut self,
        input: &[u8],
        limits: Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let line_start = self.at;
        let Some(len) = self.count(input, ProtocolError::BulkCountTooLong)? else {
            return Ok(None);
        };
        if input[line_start] != b'$' {
            return Err(ProtocolError::ExpectedBulk(input[line_start]));
        }
        let len_bytes = len
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len_bytes| *len_bytes <= limits.bulk_len_bytes_max)
            .ok_or(ProtocolError::InvalidBulkLength)?;
        if !limits.is_authenticated && len_bytes > limits::UNAUTHENTICATED_BULK_LEN_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        Ok(Some(len_bytes))
    }

    /// Reads the line at `at`, whose first byte is a type and whose rest should be a number, and
    /// moves past it. Outer `None`: the line is not complete. Inner `None`: it is no number.
    #[inline]
    fn count(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        if let Some((count, len_bytes)) = short_count(&input[self.at..]) {
            self.at += len_bytes;
            self.scanned_bytes = 0;
            return Ok(Some(Some(count)));
        }
        self.count_of_any_line(input, too_long)
    }

    #[cold]
    fn count_of_any_line(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let Some(line_end) = self.find(b'\r', input, too_long)? else {
            return Ok(None);
        };
        if line_end + LINE_END_LEN_BYTES > input.len() {
            return Ok(None);
        }
        // An empty line has no type byte either: its `\r` stands where the type should.
        let digits = input.get(self.at + 1..line_end).unwrap_or_default();
        self.at = line_end + LINE_END_LEN_BYTES;
        self.scanned_bytes = 0;
        Ok(Some(parse_count(digits)))
    }

    /// The index of the first `end` from `at` on; `None` if it is not there yet.
    fn find(
        &mut self,
        end: u8,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line = &input[self.at..];
        let line = &line[..line.len().min(limits::INLINE_LEN_BYTES_MAX + 1)];
        let unseen = &line[self.scanned_bytes..];
        if let Some(index) = unseen.iter().position(|byte| *byte == end) {
            self.scanned_bytes += index;
            return Ok(Some(self.at + self.scanned_bytes));
        }
        if line.len() > limits::INLINE_LEN_BYTES_MAX {
            return Err(too_long);
        }
        self.scanned_bytes = line.len();
        Ok(None)
    }
}

/// The number of a complete, well-formed, short header line and the line's length: nearly all of
/// them, most of one digit or two. `None` says nothing about the line.
#[inline]
fn short_count(line: &[u8]) -> Option<(i64, usize)> {
    match line {
        [_, ones @ b'0'..=b'9', b'\r', _, ..] => Some((i64::from(ones - b'0'), 4)),
        [_, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] => {
            Some((i64::from((tens - b'0') * 10 + (ones - b'0')), 5))
        }
        _ => longer_count(line),
    }
}

/// The same for more digits.
fn longer_count(line: &[u8]) -> Option<(i64, usize)> {
    let mut count = 0;
    let mut at = 1;
    while at <= SHORT_COUNT_DIGITS_MAX {
        let digit = line.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        count = count * 10 + i64::from(digit);
        at += 1;
    }
    let has_leading_zero = line[1] == b'0';
    let is_complete = line.len() >= at + LINE_END_LEN_BYTES && line[at] == b'\r';
    (at > 1 && is_complete && !has_leading_zero).then_some((count, at + LINE_END_LEN_BYTES))
}

/// A decimal number as Redis takes it: no plus, no leading zero, no `-0`, no space.
fn parse_count(digits: &[u8]) -> Option<i64> {
    let (is_negative, magnitude) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    match magnitude {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut count = 0_i64;
    for byte in magnitude {
        let digit = i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        // Built on the negative side, whose range is the larger by one.
        count = count.checked_mul(10)?.checked_sub(digit)?;
    }
    if is_negative {
        Some(count)
    } else {
        count.checked_neg()
    }
}

/// Splits an inline command into words, resolving quotes and escapes within the line. A word is
/// never longer than its source, so that writing stays behind reading. False if quotes are
/// unbalanced.
fn split_words(line: &mut [u8], spans: &mut Vec<Span>) -> bool {
    let mut read = 0;
    loop {
        while line.get(read).is_some_and(|byte| is_space(*byte)) {
            read += 1;
        }
        if read == line.len() {
            return true;
        }
        let Some(word) = split_word(line, read) else {
            return false;
        };
        spans.push(Span::new(read, word.len_bytes));
        read = word.next;
    }
}

struct Word {
    /// Bytes of the word, once resolved.
    len_bytes: usize,
    /// Where reading goes on.
    next: usize,
}

/// Resolves the word that begins at `start` in place.
fn split_word(line: &mut [u8], start: usize) -> Option<Word> {
    let mut read = start;
    let mut write = start;
    let mut quote = None;
    loop {
        let byte = match (line.get(read), quote) {
            (None, Some(_)) => return None,
            (None, None) => break,
            (Some(byte), _) => *byte,
        };
        read += 1;
        match (quote, byte) {
            (None, b' ' | b'\n' | b'\r' | b'\t') => break,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                continue;
            }
            (Some(open), _) if byte == open => {
                let ends_word = line.get(read).is_none_or(|next| is_space(*next));
                if !ends_word {
                    return None;
                }
                break;
            }
            _ => {}
        }
        let (decoded, len_bytes) = match quote {
            Some(b'"') if byte == b'\\' => decode_escape(&line[read..]),
            Some(b'\'') if byte == b'\\' && line.get(read) == Some(&b'\'') => (b'\'', 1),
            _ => (byte, 0),
        };
        read += len_bytes;
        line[write] = decoded;
        write += 1;
    }
    Some(Word {
        len_bytes: write - start,
        next: read,
    })
}

/// What a backslash within double quotes stands for, and how many bytes after it belong to it.
fn decode_escape(after: &[u8]) -> (u8, usize) {
    if let [b'x', high, low, ..] = after
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        return (high << 4 | low, 3);
    }
    match after.first() {
        None => (b'\\', 0),
        Some(b'n') => (b'\n', 1),
        Some(b'r') => (b'\r', 1),
        Some(b't') => (b'\t', 1),
        Some(b'b') => (0x08, 1),
        Some(b'a') => (0x07, 1),
        Some(byte) => (*byte, 1),
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// What C's `isspace` takes: a superset of what ends a word, as in Redis.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Digits the fast path reads: enough for the longest argument there may be.
const SHORT_COUNT_DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests;
