//! A client that shows every byte: requests as written, replies as received.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// Most bytes read at once.
const READ_LEN_BYTES: usize = 64 * 1024;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection. Reads give up after `PATIENCE`, which fails the test.
pub(crate) struct Client {
    stream: Stream,
    received: Vec<u8>,
}

/// A reply taken apart, for tests that look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bytes(Vec<u8>),
    Null,
    /// Arrays, sets, pushes, and maps as keys and values in turn.
    List(Vec<Value>),
    /// RESP3's doubles, booleans, big numbers: their text.
    Other(String),
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: Stream::Tcp(stream),
            received: Vec::new(),
        })
    }

    pub(crate) fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the socket is there");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        Self {
            stream: Stream::Unix(stream),
            received: Vec::new(),
        }
    }

    /// A second handle of the same connection, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> Self {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("it can be cloned")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("it can be cloned")),
        };
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Closes the writing half.
    pub(crate) fn finish_sending(&self) {
        self.try_finish_sending().expect("the connection is open");
    }

    /// Closes the writing half, if the connection is open.
    pub(crate) fn try_finish_sending(&self) -> Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Sends a command given as words and returns the exact bytes of its reply.
    pub(crate) fn ask(&mut self, command: &str) -> Vec<u8> {
        self.send(&request(&words(command)));
        self.reply()
    }

    /// Sends a command given as arguments and returns the exact bytes of its reply.
    pub(crate) fn ask_with<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Vec<u8> {
        self.send(&request(arguments));
        self.reply()
    }

    /// Sends a command and takes its reply apart.
    pub(crate) fn value(&mut self, command: &str) -> Value {
        let reply = self.ask(command);
        decode(&reply).expect("it is whole").0
    }

    /// Sends a command and fails unless its reply is `expected`, where `\r\n` ends are written so.
    #[track_caller]
    pub(crate) fn expect(&mut self, command: &str, expected: &str) {
        let reply = shown(&self.ask(command));
        assert_eq!(reply, expected, "reply to {command}");
    }

    /// The exact bytes of the next reply.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some((_, len)) = decode(&self.received) {
                return self.received.drain(..len).collect();
            }
            let len = self
                .receive()
                .unwrap_or_else(|error| panic!("no reply: {error}"));
            assert!(len > 0, "closed after {:?}", shown(&self.received));
        }
    }

    /// The exact bytes of each of the next `count` replies; fewer if the connection ends first.
    #[track_caller]
    pub(crate) fn replies(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut at = 0;
        while found.len() < count {
            if let Some((_, len)) = decode(&self.received[at..]) {
                found.push(self.received[at..at + len].to_vec());
                at += len;
                continue;
            }
            match self.receive() {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("reply {} does not come: {error}", found.len()),
                Ok(_) => {}
            }
        }
        self.received.drain(..at);
        found
    }

    /// The exact bytes of the next reply, or nothing if the connection ends first.
    pub(crate) fn try_reply(&mut self) -> Option<Vec<u8>> {
        while decode(&self.received).is_none() {
            self.receive().ok().filter(|len| *len > 0)?;
        }
        Some(self.reply())
    }

    /// Reads exactly as many bytes as `expected` has and compares.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, expected: &[u8]) {
        while self.received.len() < expected.len() {
            let len = self.receive().unwrap_or_else(|error| {
                panic!(
                    "{} bytes missing: {error}",
                    expected.len() - self.received.len()
                )
            });
            assert!(
                len > 0,
                "closed {} bytes early",
                expected.len() - self.received.len()
            );
        }
        let found: Vec<u8> = self.received.drain(..expected.len()).collect();
        if found != expected {
            let at = found
                .iter()
                .zip(expected)
                .position(|(a, b)| a != b)
                .expect("they differ");
            let part = |bytes: &[u8]| shown(&bytes[at..bytes.len().min(at + 80)]);
            panic!(
                "at byte {at}: {} instead of {}",
                part(&found),
                part(expected)
            );
        }
    }

    /// Everything up to the close.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(0) => return std::mem::take(&mut self.received),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.received);
                }
                Err(error) => panic!("not closed: {error}; {}", shown(&self.received)),
                Ok(_) => {}
            }
        }
    }

    /// Whether the server answers this connection, with whatever but that it is loading.
    pub(crate) fn is_served(&mut self) -> bool {
        self.try_send(b"PING\r\n").is_ok()
            && self.receive().is_ok_and(|len| len > 0)
            && !self.received.starts_with(b"-LOADING")
    }

    fn receive(&mut self) -> Result<usize> {
        let filled = self.received.len();
        // Large replies are read in large pieces.
        self.received
            .resize(filled + READ_LEN_BYTES.max(filled / 4), 0);
        // The runtime of a server within this process may interrupt the read with a signal.
        let outcome = loop {
            let outcome = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut self.received[filled..]),
                Stream::Unix(stream) => stream.read(&mut self.received[filled..]),
            };
            if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::Interrupted) {
                break outcome;
            }
        };
        self.received
            .truncate(filled + outcome.as_ref().copied().unwrap_or(0));
        outcome
    }
}

impl Value {
    /// The bytes of a bulk string.
    #[track_caller]
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("{other:?} is not a string"),
        }
    }

    /// The text of a bulk or verbatim string.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.bytes()).expect("it is text")
    }

    #[track_caller]
    pub(crate) fn integer(self) -> i64 {
        match self {
            Self::Integer(number) => number,
            other => panic!("{other:?} is not an integer"),
        }
    }

    #[track_caller]
    pub(crate) fn list(self) -> Vec<Value> {
        match self {
            Self::List(values) => values,
            other => panic!("{other:?} is not a list"),
        }
    }
}

/// The bytes of a request.
pub(crate) fn request<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Splits a command at spaces; `"..."` holds spaces and the escapes `\n \r \t \\ \" \xHH`.
pub(crate) fn words(command: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = command.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            None => rest
                .split_once(' ')
                .map_or((rest.into(), ""), |(word, after)| (word.into(), after)),
            Some(quoted) => unquoted(quoted),
        };
        found.push(word);
        rest = after.trim_start();
    }
    found
}

/// The bytes up to the closing quote and what follows it.
fn unquoted(text: &str) -> (Vec<u8>, &str) {
    let mut bytes = Vec::new();
    let mut places = text.char_indices();
    while let Some((place, c)) = places.next() {
        match c {
            '"' => return (bytes, &text[place + 1..]),
            '\\' => match places.next().expect("a backslash escapes something").1 {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits = text.get(place + 2..place + 4).expect("two digits follow");
                    bytes.push(u8::from_str_radix(digits, 16).expect("they are hexadecimal"));
                    places.nth(1);
                }
                other => bytes.extend(other.to_string().bytes()),
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    panic!("no closing quote in {text}");
}

/// Bytes as a transcript shows them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// The reply that `input` begins with and its length; none while it is incomplete.
pub(crate) fn decode(input: &[u8]) -> Option<(Value, usize)> {
    let line_len = input.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&input[1..line_len]).unwrap_or("");
    let after = line_len + 2;
    let count = || line.parse::<usize>().ok();
    Some(match input[0] {
        b'+' => (Value::Status(line.to_owned()), after),
        b'-' => (
            Value::Error(String::from_utf8_lossy(&input[1..line_len]).into_owned()),
            after,
        ),
        b':' => (
            Value::Integer(line.parse().expect("an integer reply is a number")),
            after,
        ),
        b'_' => (Value::Null, after),
        b'$' | b'*' if line == "-1" => (Value::Null, after),
        b'$' | b'=' | b'!' => {
            let end = after + count().expect("a length is a number");
            let bytes = input.get(after..end + 2)?;
            (Value::Bytes(bytes[..bytes.len() - 2].to_vec()), end + 2)
        }
        b'*' | b'~' | b'>' => list(input, after, count().expect("a length is a number"))?,
        b'%' => list(input, after, 2 * count().expect("a length is a number"))?,
        b',' | b'#' | b'(' => (Value::Other(line.to_owned()), after),
        other => panic!("a reply cannot begin with {:?}", char::from(other)),
    })
}

fn list(input: &[u8], start: usize, count: usize) -> Option<(Value, usize)> {
    let mut at = start;
    let mut values = Vec::new();
    for _ in 0..count {
        let (value, len) = decode(&input[at..])?;
        values.push(value);
        at += len;
    }
    Some((Value::List(values), at))
}
