//! What a server answers, in both protocols: RESP2, and RESP3 with its maps, sets and the rest.
//!
//! ```text
//!   + - :  status, error, integer        # , (    boolean, double, big number
//!   $ = !  bytes behind their length     _        nothing; so are $-1 and *-1
//!   * ~ >  as many replies as the line says; % pairs of them; | pairs about the next reply
//! ```
//!
//! A reply is read whole, and memory grows only with what has arrived. Its bounds are those of the
//! server, so that whatever it sends can be shown.
//!
//! Not here: requests and the connection (`client`), how a reply looks (`shell/format`).

use std::io::{self, BufRead, Read};

use crate::limits::{BULK_LEN_BYTES_MAX, KIB};

/// Bytes of a line at most: statuses and errors are short.
const LINE_LEN_BYTES_MAX: u64 = 64 * KIB as u64;
/// Replies within replies at most.
const DEPTH_MAX: usize = 64;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    /// What nobody asked for.
    Push(Vec<Reply>),
    Boolean(bool),
    /// A number as the server wrote it.
    Double(Vec<u8>),
    /// A number beyond 64 bits, in decimal.
    BigNumber(Vec<u8>),
    /// Text for people.
    Verbatim(Vec<u8>),
}

impl Reply {
    /// Reads the next reply.
    ///
    /// # Errors
    /// The connection's, `UnexpectedEof` where it ends, and `InvalidData` for what is no reply.
    pub(super) fn read(input: &mut impl BufRead) -> io::Result<Self> {
        read_within(input, 0)
    }

    /// The bytes of a reply that is text of any kind.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Status(text) | Self::Bulk(text) | Self::Verbatim(text) => Some(text),
            _ => None,
        }
    }

    /// The replies within, without their order's meaning: none if it is a single thing.
    pub(super) fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => elements,
            _ => &[],
        }
    }

    /// The pairs of a map, or of the flat array that stands for one in RESP2.
    pub(super) fn pairs(&self) -> Vec<(&Self, &Self)> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
            _ => {
                let pairs = self.elements().chunks_exact(2);
                pairs.map(|pair| (&pair[0], &pair[1])).collect()
            }
        }
    }
}

fn read_within(input: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    if depth > DEPTH_MAX {
        return Err(no_reply());
    }
    let mut text = read_line(input)?;
    if text.is_empty() {
        return Err(no_reply());
    }
    let kind = text.remove(0);
    let mut elements = |factor: u64| -> io::Result<Vec<Reply>> {
        let count = count(&text)?.checked_mul(factor).ok_or_else(no_reply)?;
        (0..count).map(|_| read_within(input, depth + 1)).collect()
    };
    Ok(match kind {
        b'$' | b'*' if text == b"-1" => Reply::Null,
        b'_' if text.is_empty() => Reply::Null,
        b'+' => Reply::Status(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(number(&text)?),
        b'#' => match text.as_slice() {
            b"t" => Reply::Boolean(true),
            b"f" => Reply::Boolean(false),
            _ => return Err(no_reply()),
        },
        b',' => Reply::Double(text),
        b'(' => Reply::BigNumber(text),
        b'$' => Reply::Bulk(read_bytes(input, count(&text)?)?),
        b'!' => Reply::Error(read_bytes(input, count(&text)?)?),
        b'=' => {
            // The first four bytes name its format: "txt:".
            let bytes = read_bytes(input, count(&text)?)?;
            Reply::Verbatim(bytes.get(4..).ok_or_else(no_reply)?.to_vec())
        }
        b'*' => Reply::Array(elements(1)?),
        b'~' => Reply::Set(elements(1)?),
        b'>' => Reply::Push(elements(1)?),
        b'%' => Reply::Map(paired(elements(2)?)),
        b'|' => {
            elements(2)?;
            read_within(input, depth + 1)?
        }
        _ => return Err(no_reply()),
    })
}

fn paired(elements: Vec<Reply>) -> Vec<(Reply, Reply)> {
    let mut elements = elements.into_iter();
    std::iter::from_fn(|| Some((elements.next()?, elements.next()?))).collect()
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut within_bound = input.by_ref().take(LINE_LEN_BYTES_MAX);
    within_bound.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        ));
    }
    if !line.ends_with(b"\r\n") {
        return Err(no_reply());
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn read_bytes(input: &mut impl BufRead, len_bytes: u64) -> io::Result<Vec<u8>> {
    if len_bytes > BULK_LEN_BYTES_MAX as u64 {
        return Err(no_reply());
    }
    let mut bytes = Vec::new();
    input.take(len_bytes + 2).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len_bytes + 2 || !bytes.ends_with(b"\r\n") {
        return Err(no_reply());
    }
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

fn count(text: &[u8]) -> io::Result<u64> {
    u64::try_from(number(text)?).map_err(|_| no_reply())
}

fn number(text: &[u8]) -> io::Result<i64> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(no_reply)
}

fn no_reply() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it does not speak Redis's protocol",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> io::Result<Reply> {
        Reply::read(&mut &input[..])
    }

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.into())
    }

    #[test]
    fn replies_of_both_protocols_are_read() {
        let cases = [
            ("+OK\r\n", Reply::Status(b"OK".into())),
            ("-OOM no\r\n", Reply::Error(b"OOM no".into())),
            (":-7\r\n", Reply::Integer(-7)),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            ("_\r\n", Reply::Null),
            ("$0\r\n\r\n", bulk("")),
            ("$2\r\n\r\n\r\n", bulk("\r\n")),
            ("#t\r\n", Reply::Boolean(true)),
            (",1e3\r\n", Reply::Double(b"1e3".into())),
            ("(123\r\n", Reply::BigNumber(b"123".into())),
            ("=5\r\ntxt:a\r\n", Reply::Verbatim(b"a".into())),
            ("!5\r\nERR a\r\n", Reply::Error(b"ERR a".into())),
            ("~1\r\n:1\r\n", Reply::Set(vec![Reply::Integer(1)])),
            ("|1\r\n+a\r\n+b\r\n:1\r\n", Reply::Integer(1)),
            (
                "%1\r\n$1\r\na\r\n*1\r\n:1\r\n",
                Reply::Map(vec![(bulk("a"), Reply::Array(vec![Reply::Integer(1)]))]),
            ),
        ];
        for (input, reply) in cases {
            assert_eq!(read(input.as_bytes()).expect(input), reply);
        }
    }

    #[test]
    fn a_map_and_a_flat_array_have_the_same_pairs() {
        let map = read(b"%1\r\n+a\r\n:1\r\n").expect("a map");
        let array = read(b"*2\r\n+a\r\n:1\r\n").expect("an array");
        assert_eq!(map.pairs(), array.pairs());
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let deep = b"*1\r\n".repeat(100_000);
        for input in [
            &b""[..],
            b"\r\n",
            b"HTTP/1.1 400\r\n",
            b"+OK",
            &[b'+'; 100_000],
            b"$3\r\nab\r\n",
            b"$99999999999\r\n",
            b"$-2\r\n",
            b"*3\r\n:1\r\n",
            b"%9223372036854775807\r\n",
            b"=2\r\nab\r\n",
            &deep,
        ] {
            assert!(read(input).is_err());
        }
    }
}
