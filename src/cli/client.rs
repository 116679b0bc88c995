//! A connection to a running server, for tools: requests out, replies in.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::error::Error;

/// Bytes of a reply's line or string at most: tools ask for nothing longer.
const REPLY_LEN_BYTES_MAX: u64 = 64 << 10;
/// Elements of an array at most.
const ELEMENT_COUNT_MAX: u64 = 1_000;

/// A server as the options of a tool name it.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The path of a socket, instead of host and port.
    pub(super) unixsocket: Option<&'a str>,
    /// Without one, that of the environment counts.
    pub(super) pass: Option<&'a str>,
}

impl Target<'_> {
    /// A connection to the server, once it is seen to answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the password.
    pub(super) fn connect(&self) -> Result<Client, Error> {
        let address = match self.unixsocket {
            Some(path) => Address::Unix(path.to_owned()),
            None => Address::Tcp(self.host.to_owned(), self.port),
        };
        // The variable is where redis-cli has it from.
        let password = self.pass.map(str::to_owned);
        let password = password.or_else(|| std::env::var("REDISCLI_AUTH").ok());
        Client::connect(address, password.as_deref())
    }
}

/// Where a server listens.
#[derive(Clone, Debug)]
enum Address {
    /// A host by name or number, and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => formatter.write_str(path),
        }
    }
}

/// A reply to one of the commands that tools send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status,
    Null,
    Integer,
    Error(String),
    Bulk(Vec<u8>),
    Array(Vec<Reply>),
}

/// An open connection.
pub(super) struct Client {
    address: Address,
    output: Box<dyn Write>,
    input: BufReader<Box<dyn Read>>,
}

impl Client {
    /// Connects, and authenticates if there is a password.
    fn connect(address: Address, password: Option<&str>) -> Result<Self, Error> {
        let (output, input) = open(&address)
            .map_err(|reason| Error::failed(format!("cannot connect to {address}"), &reason))?;
        let mut client = Self {
            address,
            output,
            input: BufReader::new(input),
        };
        if let Some(password) = password {
            client.ask(&[b"AUTH", password.as_bytes()])?;
        }
        client.ask(&[b"PING"])?;
        Ok(client)
    }

    /// Sends a command; its reply, unless that is an error.
    pub(super) fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        let mut request = Vec::new();
        append_request(&mut request, arguments);
        self.send(&request)?;
        match self.receive()? {
            Reply::Error(text) => Err(Error::Failed(format!("{} says: {text}", self.address))),
            reply => Ok(reply),
        }
    }

    /// Sends requests.
    pub(super) fn send(&mut self, requests: &[u8]) -> Result<(), Error> {
        let outcome = self.output.write_all(requests);
        outcome.map_err(|reason| Error::failed(format!("cannot send to {}", self.address), &reason))
    }

    /// The next reply.
    pub(super) fn receive(&mut self) -> Result<Reply, Error> {
        read_reply(&mut self.input)
            .map_err(|reason| Error::failed(format!("no reply from {}", self.address), &reason))
    }
}

fn open(address: &Address) -> io::Result<(Box<dyn Write>, Box<dyn Read>)> {
    Ok(match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port))?;
            stream.set_nodelay(true)?;
            (Box::new(stream.try_clone()?), Box::new(stream))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            (Box::new(stream.try_clone()?), Box::new(stream))
        }
    })
}

/// Appends a request in the protocol's form.
pub(super) fn append_request(output: &mut Vec<u8>, arguments: &[&[u8]]) {
    let number = |output: &mut Vec<u8>, sign: char, number: usize| {
        write!(output, "{sign}{number}\r\n").expect("memory can be written to");
    };
    number(output, '*', arguments.len());
    for argument in arguments {
        number(output, '$', argument.len());
        output.extend_from_slice(argument);
        output.extend_from_slice(b"\r\n");
    }
}

fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = Vec::new();
    input
        .by_ref()
        .take(REPLY_LEN_BYTES_MAX)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::other("it closed the connection"));
    }
    let no_reply = || io::Error::other("it does not speak Redis's protocol");
    let line = line.strip_suffix(b"\r\n").ok_or_else(no_reply)?;
    let (kind, text) = line.split_first().ok_or_else(no_reply)?;
    let number = || {
        let number = std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        number.filter(|number| *number <= REPLY_LEN_BYTES_MAX)
    };
    match kind {
        b'+' => Ok(Reply::Status),
        b'-' => Ok(Reply::Error(String::from_utf8_lossy(text).into_owned())),
        b':' => Ok(Reply::Integer),
        b'$' | b'*' if text == b"-1" => Ok(Reply::Null),
        b'$' => {
            let len_bytes = number().ok_or_else(no_reply)?;
            let mut bytes = Vec::new();
            input.take(len_bytes + 2).read_to_end(&mut bytes)?;
            let is_whole = bytes.len() as u64 == len_bytes + 2 && bytes.ends_with(b"\r\n");
            bytes.truncate(bytes.len().saturating_sub(2));
            is_whole.then_some(Reply::Bulk(bytes)).ok_or_else(no_reply)
        }
        b'*' => {
            let count = number().filter(|count| *count <= ELEMENT_COUNT_MAX);
            let count = count.ok_or_else(no_reply)?;
            read_elements(input, count).map(Reply::Array)
        }
        _ => Err(no_reply()),
    }
}

/// The elements of an array: strings and the like, no arrays.
fn read_elements(input: &mut impl BufRead, count: u64) -> io::Result<Vec<Reply>> {
    let elements = (0..count).map(|_| match input.fill_buf()?.first() {
        Some(b'*') => Err(io::Error::other("it answers more than was asked for")),
        _ => read_reply(input),
    });
    elements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_have_the_protocol_s_form() {
        let mut request = Vec::new();
        append_request(&mut request, &[b"SET", b"k", b""]);
        assert_eq!(request, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
        let mut input = &b"+OK\r\n$-1\r\n-OOM no\r\n:7\r\n*2\r\n$3\r\ndir\r\n$0\r\n\r\n"[..];
        let mut next = || read_reply(&mut input).expect("a reply");
        assert_eq!(next(), Reply::Status);
        assert_eq!(next(), Reply::Null);
        assert_eq!(next(), Reply::Error("OOM no".to_owned()));
        assert_eq!(next(), Reply::Integer);
        let pair = [b"dir".to_vec(), vec![]].map(Reply::Bulk);
        assert_eq!(next(), Reply::Array(pair.into()));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for input in [
            &b""[..],
            b"\r\n",
            b"HTTP/1.1 400\r\n",
            b"+OK",
            &[b'+'; 100_000],
            b"$3\r\nab\r\n",
            b"$99999999999\r\n",
            b"*1\r\n*1\r\n*1\r\n",
        ] {
            assert!(read_reply(&mut &input[..]).is_err());
        }
    }
}
