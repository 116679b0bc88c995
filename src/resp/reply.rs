//! Replies: values to RESP2 or RESP3 bytes at the end of a connection's output.
//!
//! Integers and lengths are written by hand, two digits at a time; the formatting machinery is used
//! by nothing that runs per key. Text of an error is given whole, with its code (`ERR …`).

use super::parse::ProtocolError;

/// Which protocol a connection speaks: `HELLO 2` or `HELLO 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Redis until 5; what a connection begins with.
    #[default]
    Resp2,
    /// Maps, sets, nulls and verbatim text of their own.
    Resp3,
}

/// Bytes that are sent from where they live instead of being copied: a large value of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Index in the output before which the bytes belong.
    pub at: usize,
    /// The shard whose run it is.
    pub owner: u16,
    /// The run, which stays pinned until the bytes are sent.
    pub run: u32,
    /// Offset of the first byte in the region.
    pub offset: u64,
    /// How many bytes.
    pub len_bytes: usize,
}

/// Appends replies to a connection's output.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    externs: &'a mut Vec<Extern>,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// A reply at the end of `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, externs: &'a mut Vec<Extern>, protocol: Protocol) -> Self {
        Self {
            out,
            externs,
            protocol,
        }
    }

    /// The protocol replied in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Goes on in another protocol: what follows a `HELLO` that switched.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string; `text` holds no line end.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'+', text.as_bytes());
    }

    /// An error; `text` begins with its code and holds no line end.
    pub fn error(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'-', text.as_bytes());
    }

    /// An error that may quote input: line ends within become spaces.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        self.out.push(b'-');
        let end = text
            .iter()
            .rposition(|byte| !is_line_end(byte))
            .map_or(0, |last| last + 1);
        self.out.extend(
            text[..end]
                .iter()
                .map(|b| if is_line_end(b) { b' ' } else { *b }),
        );
        self.out.extend_from_slice(b"\r\n");
    }

    /// The error of bytes that are no request.
    pub fn protocol_error(&mut self, error: ProtocolError) {
        self.error_bytes(&[b"ERR Protocol error: ", error.message().as_slice()].concat());
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A count as an integer.
    #[inline]
    pub fn count(&mut self, value: u64) {
        // Nothing that can be counted here reaches 2^63.
        self.header(b':', i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A number with a fraction: a double, or its digits as a bulk string where there are none.
    pub fn double(&mut self, value: f64) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(value.to_string().as_bytes()),
            Protocol::Resp3 => self.raw(format!(",{value}\r\n").as_bytes()),
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if bytes.len() <= size_of::<u64>() {
            self.short_bulk(bytes);
        } else {
            self.long_bulk(bytes);
        }
    }

    /// A bulk string of at most eight bytes, composed in a register: `$3\r\n`, bytes, `\r\n`.
    #[inline]
    fn short_bulk(&mut self, bytes: &[u8]) {
        let digit = DIGIT_PAIRS[bytes.len() * 2 + 1];
        let header = u128::from(u32::from_le_bytes([b'$', digit, b'\r', b'\n']));
        let line_end = u128::from(u16::from_le_bytes(*b"\r\n")) << (32 + 8 * bytes.len());
        let text = header | u128::from(little_endian(bytes)) << 32 | line_end;
        let end = self.out.len() + 4 + bytes.len() + 2;
        self.out.extend_from_slice(&text.to_le_bytes());
        self.out.truncate(end);
    }

    #[inline]
    fn long_bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + HEADER_LEN_BYTES_MAX + 2);
        self.len_header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string whose bytes are sent from where they live. `value.at` is set here.
    pub fn bulk_extern(&mut self, value: Extern) {
        self.len_header(b'$', value.len_bytes);
        self.externs.push(Extern {
            at: self.out.len(),
            ..value
        });
        self.out.extend_from_slice(b"\r\n");
    }

    /// The head of a bulk string of `len_bytes`; its bytes and a line end follow.
    pub fn bulk_header(&mut self, len_bytes: usize) {
        self.len_header(b'$', len_bytes);
    }

    /// Keeps a large value pinned for as long as the reply is unfinished: whoever gives the reply up
    /// unpins it, and [`Self::truncate`] forgets it. Of a reply that is finished its bytes are a part.
    pub fn hold(&mut self, value: Extern) {
        self.externs.push(Extern {
            at: self.out.len(),
            ..value
        });
    }

    /// What was written since there were `len_bytes` of output.
    pub fn written_since(&self, len_bytes: usize) -> &[u8] {
        &self.out[len_bytes..]
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// No array where one would be.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// An array of `count` elements, which follow.
    pub fn array(&mut self, count: usize) {
        self.len_header(b'*', count);
    }

    /// A map of `pair_count` keys and values, which follow.
    pub fn map(&mut self, pair_count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len_header(b'*', pair_count * 2),
            Protocol::Resp3 => self.len_header(b'%', pair_count),
        }
    }

    /// A set of `count` elements, which follow.
    pub fn set(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.len_header(b'*', count),
            Protocol::Resp3 => self.len_header(b'~', count),
        }
    }

    /// Text for people: `txt` in RESP3, a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.len_header(b'=', VERBATIM_PREFIX.len() + text.len());
                self.raw(VERBATIM_PREFIX);
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// Bytes that are a reply, or part of one, already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes of output so far, replies of earlier commands included.
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything after `len_bytes` of output, and what is held there, to reply something
    /// else.
    pub fn truncate(&mut self, len_bytes: usize) {
        self.out.truncate(len_bytes);
        self.externs.retain(|value| value.at < len_bytes);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn len_header(&mut self, kind: u8, len: usize) {
        if let digit @ 0..10 = len {
            self.out
                .extend_from_slice(&[kind, DIGIT_PAIRS[digit * 2 + 1], b'\r', b'\n']);
            return;
        }
        self.header(
            kind,
            i64::try_from(len).expect("no slice is longer than i64::MAX"),
        );
    }

    #[inline]
    fn header(&mut self, kind: u8, value: i64) {
        let mut digits = [0; DIGITS_MAX];
        let text = format_integer(value, &mut digits);
        self.out.reserve(HEADER_LEN_BYTES_MAX);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes `value` in decimal to the end of `digits` and returns what it wrote.
#[inline]
pub fn format_integer(value: i64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut start = DIGITS_MAX;
    while rest >= 100 {
        let pair = pair_index(rest % 100);
        rest /= 100;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&DIGIT_PAIRS[pair..pair + 2]);
    }
    let pair = pair_index(rest);
    start -= 1;
    digits[start] = DIGIT_PAIRS[pair + 1];
    if rest >= 10 {
        start -= 1;
        digits[start] = DIGIT_PAIRS[pair];
    }
    if value < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    &digits[start..]
}

/// Up to eight bytes as a number, the first the lowest, without a copy through the C library.
#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match bytes {
        [] => 0,
        [only] => u64::from(*only),
        [first, .., last] if bytes.len() < 4 => {
            let middle = u64::from(bytes[1]) << 8;
            u64::from(*first) | middle | u64::from(*last) << (8 * (bytes.len() - 1))
        }
        _ => {
            let (first, last) = (bytes.first_chunk(), bytes.last_chunk());
            let shift = 8 * (bytes.len() - 4);
            first.map_or(0, half) | last.map_or(0, half) << shift
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 100")]
fn pair_index(two_digits: u64) -> usize {
    two_digits as usize * 2
}

/// Bytes of the longest integer: `-9223372036854775808`.
pub const DIGITS_MAX: usize = 20;
/// Type byte, integer, line end.
const HEADER_LEN_BYTES_MAX: usize = 1 + DIGITS_MAX + 2;
/// What marks verbatim text as plain.
const VERBATIM_PREFIX: &[u8] = b"txt:";
/// `00` to `99`.
const DIGIT_PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number as usize * 2] = b'0' + number / 10;
        pairs[number as usize * 2 + 1] = b'0' + number % 10;
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests;
