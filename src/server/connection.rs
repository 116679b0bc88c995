//! One connection's task: receive, let the lane take its turn, send; both directions at once.
//!
//! ```text
//!   woken ──► receive into the lane's buffer ──► turn ──► send ──► more to do? yield : wait
//! ```
//!
//! It never stops receiving because sending is blocked: a client may write its whole pipeline
//! before it reads the first reply. Only when the lane has no room does it stop.
//!
//! At one request at a time this costs two system calls: after a receive that did not fill the
//! buffer the stream has a readiness poll under way already, so the task registers for that
//! instead of receiving again.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;

use super::control::{Address, Handed};
use super::engine::{Engine, Stage};
use super::socket;
use crate::lane::{ConnectionId, Peer, Turn};
use crate::limits::LINGER_S;

/// Serves one connection to its end.
pub(super) struct ConnectionTask {
    engine: Rc<Engine>,
    id: ConnectionId,
    stream: TcpStream,
    has_begun: bool,
    /// The peer will send no more.
    is_at_end: bool,
    /// The second since which nothing is left to do but to send, and nothing was sent.
    lingers_since_s: Option<u64>,
}

/// What a receive brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    /// The buffer is full: there may be more.
    Full,
    /// Less than a buffer: nothing more now, a readiness poll is under way.
    Part,
    /// Nothing now, or no room.
    Nothing,
    /// The connection is broken.
    Failed,
}

/// What a send achieved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The socket takes no more for now; the task is woken when it does.
    Blocked,
    /// The connection is broken.
    Failed,
}

/// What the task does next.
enum Next {
    Wait,
    Yield,
    Close,
}

impl ConnectionTask {
    /// Starts the task of a connection that was counted for this core.
    pub(super) fn spawn(engine: &Rc<Engine>, handed: Handed) {
        engine.add_connection();
        let Handed { socket, address } = handed;
        let peer = peer(socket.as_raw_fd(), address);
        let id = engine.lane.borrow_mut().connect(peer, engine.now());
        let task = ConnectionTask {
            engine: Rc::clone(engine),
            id,
            stream: socket::into_stream(socket),
            has_begun: false,
            is_at_end: false,
            lingers_since_s: None,
        };
        glommio::spawn_local(task).detach();
    }

    fn step(&mut self, context: &mut Context<'_>) -> Next {
        if self.engine.stage() == Stage::Closing {
            return Next::Close;
        }
        let received = self.receive(context);
        if received == Received::Failed {
            return Next::Close;
        }
        let turn = self.engine.turn(self.id);
        let sent = self.send(context);
        self.engine.after_turn();
        match (turn, sent) {
            (_, Sent::Failed) | (Turn::Finished, Sent::All) => Next::Close,
            (Turn::Finished, Sent::Blocked) => self.linger(),
            (Turn::More, _) | (Turn::OutputFull, Sent::All) => Next::Yield,
            (Turn::Idle | Turn::Waiting | Turn::OutputFull, _) => {
                self.after_receive(context, received, turn, sent)
            }
        }
    }

    /// The lane can do nothing without more input, other cores, or room for output.
    fn after_receive(
        &mut self,
        context: &mut Context<'_>,
        received: Received,
        turn: Turn,
        sent: Sent,
    ) -> Next {
        match received {
            Received::Full => Next::Yield,
            _ if self.engine.stage() == Stage::Stopping => {
                let is_done = turn == Turn::Idle && sent == Sent::All;
                if is_done { Next::Close } else { Next::Wait }
            }
            Received::Part => {
                // A poll is under way, so this registers the task and receives nothing.
                let ready = self.poll_receive(context, &mut []);
                debug_assert!(
                    ready.is_pending(),
                    "the stream polls after a partial receive"
                );
                Next::Wait
            }
            Received::Nothing | Received::Failed => Next::Wait,
        }
    }

    /// The last replies wait for the peer, which must take some of them every few seconds.
    fn linger(&mut self) -> Next {
        let now_s = self.engine.second();
        let since_s = *self.lingers_since_s.get_or_insert(now_s);
        if now_s - since_s >= LINGER_S {
            return Next::Close;
        }
        self.engine.wake_next_second(self.id);
        Next::Wait
    }

    fn receive(&mut self, context: &mut Context<'_>) -> Received {
        if self.is_at_end {
            return Received::Nothing;
        }
        let engine = Rc::clone(&self.engine);
        let mut lane = engine.lane.borrow_mut();
        let room = lane.receive_buffer(self.id);
        if room.is_empty() {
            return Received::Nothing;
        }
        let room_len_bytes = room.len();
        let result = if engine.stage() == Stage::Running {
            self.poll_receive(context, room)
        } else {
            // What has arrived is still served, without waiting for more.
            match socket::receive(self.descriptor(), room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                result => Poll::Ready(result),
            }
        };
        match result {
            Poll::Pending => {
                lane.received_nothing(self.id);
                Received::Nothing
            }
            Poll::Ready(Ok(0)) => {
                self.is_at_end = true;
                lane.received_end(self.id);
                Received::Nothing
            }
            Poll::Ready(Ok(len_bytes)) => {
                lane.received(self.id, len_bytes);
                if len_bytes == room_len_bytes {
                    Received::Full
                } else {
                    Received::Part
                }
            }
            Poll::Ready(Err(_)) => Received::Failed,
        }
    }

    fn send(&mut self, context: &mut Context<'_>) -> Sent {
        let engine = Rc::clone(&self.engine);
        let mut lane = engine.lane.borrow_mut();
        loop {
            let unsent = lane.unsent(self.id);
            if unsent.is_empty() {
                return Sent::All;
            }
            match Pin::new(&mut self.stream).poll_write(context, unsent) {
                Poll::Ready(Ok(len_bytes)) => {
                    lane.sent(self.id, len_bytes);
                    self.lingers_since_s = None;
                }
                Poll::Ready(Err(_)) => return Sent::Failed,
                Poll::Pending => return Sent::Blocked,
            }
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        socket::borrow(&self.stream)
    }

    fn close(&self) {
        self.engine.remove_connection(self.id);
        socket::shutdown(self.descriptor());
    }
}

fn peer(fd: RawFd, address: Address) -> Peer {
    Peer {
        address: address.peer,
        local_address: address.local,
        fd,
        is_unix: address.is_unix,
    }
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.has_begun {
            this.has_begun = true;
            this.engine.set_waker(this.id, context.waker());
        }
        this.engine.note_work();
        match this.step(context) {
            Next::Wait => Poll::Pending,
            Next::Yield => {
                this.engine.pause(context);
                Poll::Pending
            }
            Next::Close => {
                this.close();
                Poll::Ready(())
            }
        }
    }
}
