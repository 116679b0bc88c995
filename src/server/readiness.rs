//! Which sockets of a core can be received from: an epoll set.
//!
//! The runtime would ask its io_uring for one poll per receive, and needs about ten calls for a
//! sleep. A set is told of a socket once, answers for all of them in one call, and that call is
//! the sleep, too.
//!
//! Edges, not levels: a socket is named when something arrives, not for as long as it is there. So
//! who is named remembers it until a receive came back with less than it had room for. The peer's
//! end is no arrival of bytes: [`Event::is_ended`] says that receives bring it in any case.
//!
//! Not here: when to look and when to sleep (`poller`).
#![expect(unsafe_code, reason = "epoll has no safe wrapper in std")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events taken in one call; what is left comes with the next.
const EVENT_COUNT: usize = 256;

/// What a socket is to its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watched {
    /// A connection, by the index of its place in the lane.
    Connection(usize),
    /// A listener, by its index.
    Listener(usize),
    /// The end of the doorbell that listens.
    Doorbell,
}

/// A set of watched sockets.
#[derive(Debug)]
pub(super) struct Readiness {
    epoll: OwnedFd,
}

/// Room for the events of one call.
pub(super) struct Events {
    raw: Vec<libc::epoll_event>,
}

/// Something happened at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// What it was watched as.
    pub(super) watched: Watched,
    /// Something arrived, or the end.
    pub(super) is_readable: bool,
    /// The peer sends no more, or the connection is broken: receives go on to that.
    pub(super) is_ended: bool,
}

/// How a look at the set ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// There are events.
    Found,
    /// Nothing happened in the time given.
    Silent,
    /// The kernel has other work for this thread, such as completions of the runtime's rings.
    Interrupted,
}

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interest {
    /// Bytes, connections, the end.
    Receive,
    /// The same, and that there is room to send again.
    ReceiveAndSend,
}

impl Watched {
    /// The bit that tells listeners from connections.
    const LISTENER: u64 = 1 << 63;

    fn token(self) -> u64 {
        match self {
            Watched::Connection(index) => index as u64,
            Watched::Listener(index) => Self::LISTENER | index as u64,
            Watched::Doorbell => u64::MAX,
        }
    }

    fn of(token: u64) -> Self {
        let index = usize::try_from(token & !Self::LISTENER).unwrap_or(usize::MAX);
        match token {
            u64::MAX => Watched::Doorbell,
            _ if token & Self::LISTENER != 0 => Watched::Listener(index),
            _ => Watched::Connection(index),
        }
    }
}

impl Readiness {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned `fd`; nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll })
    }

    /// Has looks that would sleep poll the network cards of the watched sockets for `busy_poll_us` first.
    /// A kernel before 6.9 cannot.
    pub(super) fn poll_busily(&self, busy_poll_us: u32) -> io::Result<()> {
        /// `struct epoll_params` of the kernel.
        #[repr(C)]
        struct Params {
            busy_poll_us: u32,
            /// Packets of one poll; 0 leaves it to the kernel.
            busy_poll_budget: u16,
            prefers_busy_poll: u8,
            zero: u8,
        }
        /// `_IOW(0x8a, 1, struct epoll_params)`.
        const SET_PARAMS: libc::Ioctl = 0x4008_8a01;
        let params = Params {
            busy_poll_us,
            busy_poll_budget: 0,
            prefers_busy_poll: 0,
            zero: 0,
        };
        // SAFETY: the kernel reads the struct, whose size is part of the request.
        let result = unsafe { libc::ioctl(self.epoll.as_raw_fd(), SET_PARAMS, &raw const params) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Watches a socket for arrivals until it is closed. What is there already is one.
    pub(super) fn watch(&self, socket: BorrowedFd<'_>, watched: Watched) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, watched, Interest::Receive)
    }

    /// Changes what a watched socket is watched for.
    pub(super) fn rewatch(
        &self,
        socket: BorrowedFd<'_>,
        watched: Watched,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, watched, interest)
    }

    fn control(
        &self,
        operation: i32,
        socket: BorrowedFd<'_>,
        watched: Watched,
        interest: Interest,
    ) -> io::Result<()> {
        let mut events = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
        if interest == Interest::ReceiveAndSend {
            events |= libc::EPOLLOUT;
        }
        let mut event = libc::epoll_event {
            events: events.cast_unsigned(),
            u64: watched.token(),
        };
        // SAFETY: both descriptors are open, and the kernel copies `event`.
        let result = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                operation,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes what has happened; if nothing has, sleeps until something does, for `patience` at
    /// most (whole milliseconds, zero: does not sleep).
    pub(super) fn look(&self, events: &mut Events, patience: Duration) -> Look {
        let patience_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        events.raw.clear();
        let capacity = i32::try_from(events.raw.capacity()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `capacity` events to memory that has room for them.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.raw.as_mut_ptr(),
                capacity,
                patience_ms,
            )
        };
        match usize::try_from(count) {
            Ok(0) => Look::Silent,
            Ok(count) => {
                // SAFETY: the kernel has written that many, and no more than there is room for.
                unsafe { events.raw.set_len(count) };
                Look::Found
            }
            // The arguments are right, so this is EINTR.
            Err(_) => Look::Interrupted,
        }
    }
}

impl AsFd for Readiness {
    /// Readable while there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            raw: Vec::with_capacity(EVENT_COUNT),
        }
    }

    /// The events of the last look.
    pub(super) fn iter(&self) -> impl Iterator<Item = Event> {
        self.raw.iter().map(|raw| {
            let flags = raw.events.cast_signed();
            let is_ended = flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
            Event {
                watched: Watched::of(raw.u64),
                is_readable: is_ended || flags & libc::EPOLLIN != 0,
                is_ended,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    const NOW: Duration = Duration::ZERO;
    const IT: Watched = Watched::Connection(7);

    fn watched() -> (Readiness, Events, UnixStream, UnixStream) {
        let readiness = Readiness::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        readiness.watch(ours.as_fd(), IT).unwrap();
        (readiness, Events::new(), ours, theirs)
    }

    #[test]
    fn what_was_watched_comes_back_from_its_token() {
        for watched in [
            IT,
            Watched::Listener(0),
            Watched::Listener(3),
            Watched::Doorbell,
        ] {
            assert_eq!(Watched::of(watched.token()), watched);
        }
    }

    #[test]
    fn an_arrival_is_told_once() {
        let (readiness, mut events, _ours, mut theirs) = watched();
        assert_eq!(readiness.look(&mut events, NOW), Look::Silent);
        theirs.write_all(b"1").unwrap();
        assert_eq!(readiness.look(&mut events, NOW), Look::Found);
        let told: Vec<_> = events.iter().collect();
        let event = Event {
            watched: IT,
            is_readable: true,
            is_ended: false,
        };
        assert_eq!(told, [event]);
        assert_eq!(readiness.look(&mut events, NOW), Look::Silent);
        assert_eq!(events.iter().count(), 0);
        theirs.write_all(b"2").unwrap();
        assert_eq!(readiness.look(&mut events, NOW), Look::Found);
    }

    #[test]
    fn the_end_that_comes_with_the_last_bytes_is_told_with_them() {
        let (readiness, mut events, _ours, mut theirs) = watched();
        theirs.write_all(b"bye").unwrap();
        drop(theirs);
        assert_eq!(readiness.look(&mut events, NOW), Look::Found);
        assert!(
            events
                .iter()
                .all(|event| event.is_readable && event.is_ended)
        );
    }

    #[test]
    fn room_to_send_is_told_to_who_asked_for_it() {
        let (readiness, mut events, ours, mut theirs) = watched();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        readiness
            .rewatch(ours.as_fd(), IT, Interest::ReceiveAndSend)
            .unwrap();
        assert_eq!(readiness.look(&mut events, NOW), Look::Silent);
        theirs.set_nonblocking(true).unwrap();
        while theirs.read(&mut [0; 4096]).is_ok() {}
        assert_eq!(readiness.look(&mut events, NOW), Look::Found);
        assert!(events.iter().all(|event| !event.is_readable));
    }

    #[test]
    fn a_closed_socket_is_not_watched_any_more() {
        let (readiness, mut events, ours, mut theirs) = watched();
        drop(ours);
        assert!(theirs.write_all(b"1").is_err());
        assert_eq!(readiness.look(&mut events, NOW), Look::Silent);
    }

    #[test]
    fn a_look_with_patience_sleeps_until_something_arrives() {
        let (readiness, mut events, _ours, mut theirs) = watched();
        let writer = std::thread::spawn(move || {
            theirs.write_all(b"1").unwrap();
            theirs
        });
        assert_eq!(
            readiness.look(&mut events, Duration::from_secs(20)),
            Look::Found
        );
        writer.join().unwrap();
    }
}
