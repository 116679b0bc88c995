//! A connection to a running server, for tools: requests out, replies in.
//!
//! It blocks, and gives up on the first failure: who wants to go on connects anew. Before a request
//! goes out one can look whether the server has closed the connection meanwhile, as it does when it
//! is restarted; then nothing has been sent yet that could have been run.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::reply::Reply;
use crate::error::Error;

/// A server as the options of a tool name it.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The path of a socket, instead of host and port.
    pub(super) unixsocket: Option<&'a str>,
    /// Whose password it is, if not the default user's.
    pub(super) user: Option<&'a str>,
    /// Without one, that of the environment counts.
    pub(super) pass: Option<&'a str>,
}

impl Target<'_> {
    /// A connection to the server, once it is seen to answer.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the password, or refuses to work, as while it loads.
    pub(super) fn connect(&self) -> Result<Client, Error> {
        let mut client = self.open()?;
        client.ask(&[b"PING"])?;
        Ok(client)
    }

    /// A connection to the server, authenticated if there is a password.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the password.
    pub(super) fn open(&self) -> Result<Client, Error> {
        let stream = self
            .stream()
            .map_err(|reason| Error::failed(format!("cannot connect to {self}"), &reason))?;
        let cannot =
            |reason| Error::failed(format!("cannot use the connection to {self}"), &reason);
        let mut client = Client {
            name: self.to_string(),
            output: stream.try_clone().map_err(cannot)?,
            input: BufReader::new(stream),
        };
        // The variable is where redis-cli has it from.
        let password = self.pass.map(str::to_owned);
        let password = password.or_else(|| std::env::var("REDISCLI_AUTH").ok());
        if let Some(password) = password {
            let user = self.user.map(str::as_bytes);
            let words = [Some(&b"AUTH"[..]), user, Some(password.as_bytes())];
            client.ask(&words.into_iter().flatten().collect::<Vec<_>>())?;
        }
        Ok(client)
    }

    fn stream(&self) -> io::Result<Stream> {
        if let Some(path) = self.unixsocket {
            return UnixStream::connect(path).map(Stream::Unix);
        }
        let stream = TcpStream::connect((self.host, self.port))?;
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unixsocket {
            Some(path) => formatter.write_str(path),
            None if self.host.contains(':') => write!(formatter, "[{}]:{}", self.host, self.port),
            None => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Client {
    /// What the server is called in messages.
    name: String,
    output: Stream,
    input: BufReader<Stream>,
}

impl Client {
    /// Sends a command; its reply, unless that is an error.
    pub(super) fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        let mut request = Vec::new();
        append_request(&mut request, arguments);
        self.send(&request)?;
        match self.receive()? {
            Reply::Error(text) => Err(Error::Failed(format!(
                "{} says: {}",
                self.name,
                String::from_utf8_lossy(&text)
            ))),
            reply => Ok(reply),
        }
    }

    /// Sends requests.
    pub(super) fn send(&mut self, requests: &[u8]) -> Result<(), Error> {
        let outcome = self.output.write_all(requests);
        outcome.map_err(|reason| Error::failed(format!("cannot send to {}", self.name), &reason))
    }

    /// The next reply.
    pub(super) fn receive(&mut self) -> Result<Reply, Error> {
        Reply::read(&mut self.input)
            .map_err(|reason| Error::failed(format!("no reply from {}", self.name), &reason))
    }

    /// Whether the server has closed the connection. What has arrived unasked stays to be read.
    pub(super) fn is_closed(&mut self) -> bool {
        if self.output.set_nonblocking(true).is_err() {
            return true;
        }
        let is_closed = match self.input.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(reason) => reason.kind() != io::ErrorKind::WouldBlock,
        };
        is_closed || self.output.set_nonblocking(false).is_err()
    }

    /// The two directions, for who sends and receives at once.
    pub(super) fn split(self) -> (Stream, BufReader<Stream>) {
        (self.output, self.input)
    }
}

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Bounds how long a receive waits; it fails with `WouldBlock` then.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(is_nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(is_nonblocking),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a request in the protocol's form.
pub(super) fn append_request(output: &mut Vec<u8>, arguments: &[impl AsRef<[u8]>]) {
    let number = |output: &mut Vec<u8>, sign: char, number: usize| {
        write!(output, "{sign}{number}\r\n").expect("memory can be written to");
    };
    number(output, '*', arguments.len());
    for argument in arguments.iter().map(AsRef::as_ref) {
        number(output, '$', argument.len());
        output.extend_from_slice(argument);
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_protocol_s_form() {
        let mut request = Vec::new();
        append_request(&mut request, &[&b"SET"[..], b"k", b""]);
        assert_eq!(request, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn a_closed_connection_is_seen_without_sending() {
        let (ours, mut theirs) = UnixStream::pair().expect("there are sockets");
        let mut client = Client {
            name: "test".to_owned(),
            output: Stream::Unix(ours.try_clone().expect("it is open")),
            input: BufReader::new(Stream::Unix(ours)),
        };
        assert!(!client.is_closed());
        theirs.write_all(b"+late\r\n").expect("it is open");
        drop(theirs);
        assert!(!client.is_closed(), "there is something to read first");
        assert_eq!(
            client.receive().expect("it arrived"),
            Reply::Status(b"late".into())
        );
        assert!(client.is_closed());
    }
}
