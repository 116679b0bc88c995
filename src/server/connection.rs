//! One connection's task: receive, let the lane take its turn, send; both directions at once.
//!
//! ```text
//!   woken ──► receive into the lane's buffer ──► turn ──► send ──► more to do? yield : wait
//! ```
//!
//! It never stops receiving because sending is blocked: a client may write its whole pipeline
//! before it reads the first reply. Only when the lane has no room does it stop.
//!
//! At one request at a time this costs two system calls: it receives only when the core's poller
//! has told that something arrived, and a receive that did not fill the buffer has taken all of it.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::control::{Address, Handed};
use super::engine::{Engine, Stage};
use super::readiness::Interest;
use super::socket;
use crate::lane::{ConnectionId, Peer, Turn};
use crate::limits::LINGER_S;

/// Serves one connection to its end.
pub(super) struct ConnectionTask {
    engine: Rc<Engine>,
    id: ConnectionId,
    socket: OwnedFd,
    has_begun: bool,
    /// The socket is watched for room to send.
    awaits_room: bool,
    /// The peer will send no more.
    is_at_end: bool,
    /// The second since which nothing is left to do but to send, and nothing was sent.
    lingers_since_s: Option<u64>,
}

/// What a receive brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    /// There may be more: the buffer is full, or the peer's end is to come.
    Full,
    /// Nothing more now, or no room.
    Part,
    /// The connection is broken.
    Failed,
}

/// What a send achieved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The socket takes no more for now; the task is woken when it does.
    Blocked,
    /// What is left waits for the disk; the lane wakes the task when it need not.
    Held,
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
            socket,
            has_begun: false,
            awaits_room: false,
            is_at_end: false,
            lingers_since_s: None,
        };
        engine.spawn(task);
    }

    fn step(&mut self) -> Next {
        if self.engine.stage() == Stage::Closing {
            return Next::Close;
        }
        let received = self.receive();
        if received == Received::Failed {
            return Next::Close;
        }
        let turn = self.engine.turn(self.id);
        let sent = self.send();
        self.engine.after_turn();
        match (turn, sent) {
            (_, Sent::Failed) | (Turn::Finished, Sent::All) => Next::Close,
            (Turn::Finished, Sent::Blocked) => self.linger(),
            (Turn::Finished, Sent::Held) => Next::Wait,
            (Turn::More, _) | (Turn::OutputFull, Sent::All) => Next::Yield,
            (Turn::Idle | Turn::Waiting | Turn::OutputFull, _) => {
                self.after_receive(received, turn, sent)
            }
        }
    }

    /// The lane can do nothing without more input, other cores, or room for output.
    fn after_receive(&self, received: Received, turn: Turn, sent: Sent) -> Next {
        match received {
            Received::Full => Next::Yield,
            _ if self.engine.stage() == Stage::Stopping => {
                let is_done = turn == Turn::Idle && sent == Sent::All;
                if is_done { Next::Close } else { Next::Wait }
            }
            Received::Part | Received::Failed => Next::Wait,
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

    fn receive(&mut self) -> Received {
        // What a stopping core's connections have sent is served, told or not.
        let is_told = self.engine.is_readable(self.id) || self.engine.stage() != Stage::Running;
        if self.is_at_end || !is_told {
            return Received::Part;
        }
        let mut lane = self.engine.lane.borrow_mut();
        let room = lane.receive_buffer(self.id);
        let room_len_bytes = room.len();
        if room_len_bytes == 0 {
            return Received::Part;
        }
        match socket::receive(self.socket.as_fd(), room) {
            Ok(0) => {
                self.is_at_end = true;
                lane.received_end(self.id);
                Received::Part
            }
            Ok(len_bytes) => {
                lane.received(self.id, len_bytes);
                if len_bytes == room_len_bytes {
                    return Received::Full;
                }
                self.took_all()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                lane.received_nothing(self.id);
                self.engine.clear_readable(self.id);
                Received::Part
            }
            Err(_) => Received::Failed,
        }
    }

    fn took_all(&self) -> Received {
        self.engine.clear_readable(self.id);
        if self.engine.is_readable(self.id) {
            Received::Full
        } else {
            Received::Part
        }
    }

    fn send(&mut self) -> Sent {
        let engine = Rc::clone(&self.engine);
        let mut lane = engine.lane.borrow_mut();
        loop {
            let unsent = lane.unsent(self.id);
            if unsent.is_empty() {
                let is_held = lane.is_held(self.id);
                return self.await_room(false, if is_held { Sent::Held } else { Sent::All });
            }
            match socket::send(&self.socket, unsent) {
                Ok(len_bytes) => {
                    lane.sent(self.id, len_bytes);
                    self.lingers_since_s = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.await_room(true, Sent::Blocked);
                }
                Err(_) => return Sent::Failed,
            }
        }
    }

    /// Watches for room to send, or does not any more.
    fn await_room(&mut self, is_wanted: bool, sent: Sent) -> Sent {
        if self.awaits_room == is_wanted {
            return sent;
        }
        self.awaits_room = is_wanted;
        let interest = if is_wanted {
            Interest::ReceiveAndSend
        } else {
            Interest::Receive
        };
        match self
            .engine
            .rewatch_connection(self.id, self.socket.as_fd(), interest)
        {
            Ok(()) => sent,
            Err(_) => Sent::Failed,
        }
    }

    fn close(&self) {
        self.engine.remove_connection(self.id);
        socket::shutdown(self.socket.as_fd());
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
            let socket = this.socket.as_fd();
            let watched = this
                .engine
                .watch_connection(this.id, socket, context.waker());
            if watched.is_err() {
                this.close();
                return Poll::Ready(());
            }
        }
        this.engine.note_work();
        match this.step() {
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
