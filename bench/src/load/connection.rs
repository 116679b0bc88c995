//! One connection of the load: sends commands from the tape and has every reply checked.
//!
//! Both directions are non-blocking, so the client cannot deadlock with a server that answers
//! while it is still being written to. The connection knows how many commands were issued and
//! answered; when to issue them is for `drive` to say.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::check::{Checker, Tally};
use super::tape::Tape;

/// Bytes read at once: small enough for a core's own cache.
pub(crate) const READ_LEN_BYTES: usize = 64 << 10;

/// One socket and its place on the tape.
pub(crate) struct Connection<'a> {
    pub(crate) socket: TcpStream,
    tape: &'a Tape,
    checker: Checker<'a>,
    /// The first command of which not every byte was sent, and how many were.
    place: usize,
    sent_bytes: usize,
    /// Commands issued and not all sent, counted from `place`.
    unsent_count: usize,
    /// Commands issued and not yet answered.
    unanswered_count: usize,
    /// Commands that may still be issued.
    unissued_count: u64,
}

impl<'a> Connection<'a> {
    /// Connects; waits until the server's system has accepted. Begins at `place` of the tape and
    /// goes on for `unissued_count` commands.
    pub(crate) fn open(
        address: SocketAddr,
        tape: &'a Tape,
        place: usize,
        unissued_count: u64,
    ) -> Result<Self, String> {
        let socket =
            std::net::TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_nonblocking(true))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            socket: TcpStream::from_std(socket),
            tape,
            checker: Checker::new(tape, place),
            place,
            sent_bytes: 0,
            unsent_count: 0,
            unanswered_count: 0,
            unissued_count,
        })
    }

    /// Adds the tape's next commands, at most `wanted_count`, to those that `send` sends; how many.
    pub(crate) fn issue(&mut self, wanted_count: usize) -> usize {
        let left_count = usize::try_from(self.unissued_count).unwrap_or(usize::MAX);
        let count = wanted_count.min(left_count);
        self.unissued_count -= count as u64;
        self.unsent_count += count;
        self.unanswered_count += count;
        count
    }

    /// Whether one more command may be issued while at most `pipeline` are unanswered.
    pub(crate) fn has_room(&self, pipeline: usize) -> bool {
        self.unanswered_count < pipeline && self.unissued_count > 0
    }

    /// Whether every command was issued.
    pub(crate) fn is_issued(&self) -> bool {
        self.unissued_count == 0
    }

    /// Commands issued and not yet answered.
    pub(crate) fn unanswered_count(&self) -> usize {
        self.unanswered_count
    }

    /// The first error that the server answered here.
    pub(crate) fn first_error(&self) -> Option<&str> {
        self.checker.first_error.as_deref()
    }

    /// Sends what is issued, as far as the socket takes it.
    pub(crate) fn send(&mut self) -> Result<(), String> {
        while self.unsent_count > 0 {
            let requests = self.tape.requests(self.place, self.unsent_count);
            match self.socket.write(&requests[self.sent_bytes..]) {
                Ok(len) => {
                    self.sent_bytes += len;
                    if self.sent_bytes == requests.len() {
                        // All of it, or all up to the tape's end.
                        let count = self.unsent_count.min(self.tape.len() - self.place);
                        self.place = self.tape.after(self.place, count);
                        self.unsent_count -= count;
                        self.sent_bytes = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot send: {error}")),
            }
        }
        Ok(())
    }

    /// Reads what has arrived, until everything issued is answered or the socket is empty; what
    /// it was.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Tally, String> {
        let mut tally = Tally::default();
        while self.unanswered_count > 0 {
            match self.socket.read(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(len) => {
                    let new = self.checker.take(&buffer[..len], self.unanswered_count)?;
                    self.unanswered_count -= usize::try_from(new.reply_count).unwrap_or(0);
                    tally.add(new);
                    if len < buffer.len() {
                        break; // emptied: epoll(7) takes a short read for that, and tells of more
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
        Ok(tally)
    }
}
