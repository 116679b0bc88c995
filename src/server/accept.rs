//! Accepting connections: who may connect, and which core serves whom.
//!
//! Every core has a listener of its own for each address, and the kernel spreads connections over
//! them by a hash, which is bad at few connections: two of them share a core every second time. So
//! whoever accepts hands the socket to the core with the fewest, unless `steering` leaves the choice to
//! the kernel.
//!
//! Readiness comes from the poller; the accepting is done here: the runtime's own accept takes four
//! calls, and hides why it failed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use glommio::timer::Timer;

use super::connection::ConnectionTask;
use super::control::{Address, Handed, Mail};
use super::engine::{Engine, Stage};
use super::log::{Log, Repeated};
use super::signal::Signal;
use super::socket;
use crate::command::{DENIED, MAXCLIENTS_REACHED};
use crate::limits::ACCEPT_BACKOFF_MS;

/// The `steering` by which a new connection goes to the core with the fewest.
const BALANCED: &str = "least-loaded";

/// A listener, with the path of its socket if it is a unix one.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) unix_path: Option<String>,
    /// Others listen at the same socket, now or after this process.
    pub(super) is_inherited: bool,
    /// Set when connections have arrived, or when it was shut down.
    pub(super) arrival: Signal,
}

/// Accepts until the server stops.
pub(super) async fn accept_all(engine: Rc<Engine>, listener: Rc<Listener>) {
    let mut spare = Spare::new();
    while engine.stage() == Stage::Running {
        match socket::accept(&listener.socket) {
            Ok(socket) => admit(&engine, socket, &listener),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => listener.arrival.wait().await,
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    spare.refuse_one(&listener.socket, &error, &engine.control.log);
                    Timer::new(Duration::from_millis(ACCEPT_BACKOFF_MS)).await;
                }
                // The connection died while it waited, or the network hiccuped: the next, please.
                Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO | libc::ENETDOWN) => {}
                _ if engine.stage() != Stage::Running => return,
                _ => {
                    engine.control.log.repeated(
                        Repeated::NotAccepted,
                        format_args!("cannot accept connections: {error}"),
                    );
                    Timer::new(Duration::from_millis(ACCEPT_BACKOFF_MS)).await;
                }
            },
        }
    }
}

/// Checks a new connection and gives it to a core.
fn admit(engine: &Rc<Engine>, socket: OwnedFd, listener: &Listener) {
    let Some(address) = address(&socket, listener) else {
        return; // Gone already.
    };
    let lane = engine.lane.borrow();
    let core = lane.core();
    let settings = &core.settings;
    let refusal =
        if settings.protected_mode && settings.requirepass.is_empty() && !address.is_loopback {
            Some((DENIED, "protected-mode"))
        } else if core.shared.client_count() >= settings.maxclients {
            Some((MAXCLIENTS_REACHED, "maxclients"))
        } else {
            None
        };
    // Behind a socket that has one listener only, the kernel has no choice.
    let is_balanced = address.is_unix || listener.is_inherited || settings.steering == BALANCED;
    let target = if is_balanced {
        core.shared.least_loaded_core()
    } else {
        engine.id
    };
    if refusal.is_none() {
        core.shared.admit(target, u64::MAX);
        if !address.is_unix {
            let keepalive_s = u32::try_from(settings.tcp_keepalive_s).unwrap_or(u32::MAX);
            // Fails only when the peer has gone already, which the first receive will tell.
            _ = socket::tune_tcp(&socket, settings.tcp_nodelay, keepalive_s);
        }
    }
    drop(lane);
    let (peer, log) = (&address.peer, &engine.control.log);
    if let Some((text, setting)) = refusal {
        log.repeated(Repeated::Refused, format_args!("refused {peer}: {setting}"));
        return refuse(engine, &socket, text);
    }
    log.repeated(
        Repeated::Connected,
        format_args!("{peer} connected, core {target} serves it"),
    );
    let handed = Handed { socket, address };
    if target == engine.id {
        ConnectionTask::spawn(engine, handed);
    } else {
        engine.control.hand_over(target, Mail::Connection(handed));
    }
}

fn refuse(engine: &Engine, socket: &OwnedFd, text: &str) {
    engine
        .lane
        .borrow_mut()
        .core_mut()
        .stats
        .connections_rejected += 1;
    _ = socket::send(socket, format!("-{text}\r\n").as_bytes());
    socket::shutdown(socket.as_fd());
}

fn address(socket: &OwnedFd, listener: &Listener) -> Option<Address> {
    if let Some(path) = &listener.unix_path {
        let text = format!("{path}:0");
        return Some(Address {
            peer: text.clone(),
            local: text,
            is_unix: true,
            is_loopback: true,
        });
    }
    let peer = socket::peer_address(socket)?;
    let local = socket::local_address(socket)?;
    Some(Address {
        peer: peer.to_string(),
        local: local.to_string(),
        is_unix: false,
        is_loopback: peer.ip().is_loopback(),
    })
}

/// A descriptor kept in reserve. When there is none left, it is given up for a moment to accept
/// and close one connection: the client learns that it was refused, instead of waiting in a queue
/// that nobody serves.
struct Spare {
    file: Option<File>,
}

impl Spare {
    fn new() -> Self {
        Self {
            file: File::open("/dev/null").ok(),
        }
    }

    fn refuse_one(&mut self, listener: &OwnedFd, error: &io::Error, log: &Log) {
        log.repeated(
            Repeated::NotAccepted,
            format_args!("refusing connections: {error}; raise `ulimit -n`"),
        );
        self.file = None;
        drop(socket::accept(listener));
        self.file = File::open("/dev/null").ok();
    }
}
