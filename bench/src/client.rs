//! One connection of the load: sends batches from a script and checks every reply.
//!
//! Both directions are non-blocking and a batch is written while its first replies are read, so
//! the client cannot deadlock with a server that answers while it is still being written to.
//! Replies are told apart by their first byte; a value of the expected length is recognised by
//! comparing its header and its end, without parsing a number. At the end of a batch the number
//! of statuses and values must be what the script asked for.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::clock;
use crate::workload::Script;

/// Bytes read at once.
const READ_LEN_BYTES: usize = 256 << 10;

/// What the replies of a run were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) status_count: u64,
    pub(crate) value_count: u64,
    pub(crate) miss_count: u64,
    pub(crate) error_count: u64,
}

impl Tally {
    pub(crate) fn reply_count(&self) -> u64 {
        self.status_count + self.value_count + self.miss_count + self.error_count
    }

    fn less(self, other: Self) -> Self {
        Self {
            status_count: self.status_count - other.status_count,
            value_count: self.value_count - other.value_count,
            miss_count: self.miss_count - other.miss_count,
            error_count: self.error_count - other.error_count,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.status_count += other.status_count;
        self.value_count += other.value_count;
        self.miss_count += other.miss_count;
        self.error_count += other.error_count;
    }
}

/// One socket and the batch it is busy with.
pub(crate) struct Connection<'a> {
    pub(crate) socket: TcpStream,
    script: &'a Script,
    /// Commands of the current batch, as places in the script.
    first: usize,
    last: usize,
    sent_bytes: usize,
    started_at: Instant,
    tally: Tally,
    /// What of `tally` has been taken by `take_counted`.
    taken: Tally,
    replies: Replies,
}

impl<'a> Connection<'a> {
    /// Connects; waits until the server has accepted.
    pub(crate) fn open(
        address: SocketAddr,
        script: &'a Script,
        first: usize,
        value_len_bytes: usize,
    ) -> Result<Self, String> {
        let socket =
            std::net::TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_nonblocking(true))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            socket: TcpStream::from_std(socket),
            script,
            first,
            last: first,
            sent_bytes: 0,
            started_at: clock::now(),
            tally: Tally::default(),
            taken: Tally::default(),
            replies: Replies::new(value_len_bytes),
        })
    }

    /// Begins the next batch of at most `command_count` and sends what the socket takes.
    pub(crate) fn begin(&mut self, command_count: usize) -> Result<(), String> {
        self.first = if self.last == self.script.command_count() {
            0
        } else {
            self.last
        };
        self.last = self.script.command_count().min(self.first + command_count);
        self.sent_bytes = 0;
        self.tally = Tally::default();
        self.taken = Tally::default();
        self.started_at = clock::now();
        self.send()
    }

    /// Commands of the current batch.
    pub(crate) fn batch_len(&self) -> usize {
        self.last - self.first
    }

    /// Sends what the socket takes.
    pub(crate) fn send(&mut self) -> Result<(), String> {
        let requests = self.script.requests(self.first, self.last);
        while self.sent_bytes < requests.len() {
            match self.socket.write(&requests[self.sent_bytes..]) {
                Ok(len) => self.sent_bytes += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot send: {error}")),
            }
        }
        Ok(())
    }

    /// The replies that arrived since this was last called.
    pub(crate) fn take_counted(&mut self) -> Tally {
        let new = self.tally.less(self.taken);
        self.taken = self.tally;
        new
    }

    /// Reads what has arrived; how long the batch took, if that was its end.
    pub(crate) fn receive(&mut self) -> Result<Option<Duration>, String> {
        let expected = self.batch_len() as u64;
        while self.tally.reply_count() < expected {
            match self.socket.read(self.replies.space()) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(len) => self.replies.scan(len, &mut self.tally)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
        self.check(expected)?;
        Ok(Some(clock::now().duration_since(self.started_at)))
    }

    /// A finished batch has exactly the replies that were asked for.
    fn check(&self, expected: u64) -> Result<(), String> {
        let found = self.tally;
        let statuses = self.script.status_count(self.first, self.last);
        if found.reply_count() != expected || self.replies.filled_bytes > 0 {
            return Err(format!(
                "{} replies to {expected} commands",
                found.reply_count()
            ));
        }
        if found.error_count == 0 && found.status_count != statuses {
            return Err(format!(
                "{} statuses where {statuses} were due",
                found.status_count
            ));
        }
        Ok(())
    }
}

/// The bytes of replies that have arrived and are not counted yet.
struct Replies {
    buffer: Vec<u8>,
    filled_bytes: usize,
    /// `$3\r\n` and how long the whole reply is.
    value_header: Vec<u8>,
    value_reply_len_bytes: usize,
    has_shown_error: bool,
}

impl Replies {
    fn new(value_len_bytes: usize) -> Self {
        let value_header = format!("${value_len_bytes}\r\n").into_bytes();
        let value_reply_len_bytes = value_header.len() + value_len_bytes + 2;
        let buffer = vec![0; READ_LEN_BYTES.max(2 * value_reply_len_bytes)];
        Self {
            buffer,
            filled_bytes: 0,
            value_header,
            value_reply_len_bytes,
            has_shown_error: false,
        }
    }

    /// Room for bytes to come.
    fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled_bytes..]
    }

    /// Counts the replies that are whole after `len_bytes` more have arrived.
    fn scan(&mut self, len_bytes: usize, tally: &mut Tally) -> Result<(), String> {
        let filled = &self.buffer[..self.filled_bytes + len_bytes];
        let mut rest = filled;
        let value_len = self.value_reply_len_bytes;
        loop {
            if rest.len() >= value_len
                && rest.starts_with(&self.value_header)
                && rest[value_len - 2..value_len] == *b"\r\n"
            {
                tally.value_count += 1;
                rest = &rest[value_len..];
            } else if rest.starts_with(b"+OK\r\n") {
                tally.status_count += 1;
                rest = &rest[5..];
            } else if rest.starts_with(&self.value_header) && rest.len() < value_len {
                break;
            } else if let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
                let line = &rest[..end];
                rest = &rest[end + 2..];
                match line {
                    b"+PONG" => tally.status_count += 1,
                    b"$-1" | b"_" => tally.miss_count += 1,
                    [b'-', ..] => {
                        tally.error_count += 1;
                        if !self.has_shown_error {
                            eprintln!("the server answered {}", String::from_utf8_lossy(line));
                            self.has_shown_error = true;
                        }
                    }
                    _ => {
                        return Err(format!(
                            "unexpected reply {:?}",
                            String::from_utf8_lossy(line)
                        ));
                    }
                }
            } else {
                break;
            }
        }
        let (kept, start) = (rest.len(), filled.len() - rest.len());
        self.buffer.copy_within(start..start + kept, 0);
        self.filled_bytes = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_alike_wherever_the_stream_is_cut() {
        let stream = b"$3\r\nabc\r\n+OK\r\n$-1\r\n$3\r\n\r\n-\r\n+PONG\r\n-ERR no\r\n";
        let expected = Tally {
            status_count: 2,
            value_count: 2,
            miss_count: 1,
            error_count: 1,
        };
        for cut in 0..=stream.len() {
            let (mut replies, mut tally) = (Replies::new(3), Tally::default());
            for part in [&stream[..cut], &stream[cut..]] {
                replies.space()[..part.len()].copy_from_slice(part);
                replies.scan(part.len(), &mut tally).unwrap();
            }
            assert_eq!((tally, replies.filled_bytes), (expected, 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        let (mut replies, mut tally) = (Replies::new(3), Tally::default());
        replies.space()[..8].copy_from_slice(b"$2\r\nab\r\n");
        assert!(replies.scan(8, &mut tally).is_err());
    }
}
