//! What a service manager is told: systemd's protocol, datagrams of `NAME=value` lines to a socket that
//! the environment names (sd_notify(3), systemd.service(5)).
//!
//! A server that no manager has started has no such socket, and then none of this exists. Messages are
//! small and never wait for long: a manager that does not read loses what is too much, and is told
//! again with the next beat (`monitor`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::log::Log;
use crate::sys;

/// How long a message may wait for a manager that does not read.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to the manager.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: UnixDatagram,
    /// The manager takes action when it has heard nothing for so long.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The manager that has started this process, if it wants to hear of it.
    pub(super) fn from_environment(log: &Log) -> Option<Self> {
        let place = place()?;
        let variable = |name| std::env::var(name).ok();
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        match connect(&place) {
            Ok(socket) => Some(Self { socket, watchdog }),
            Err(error) => {
                log.warning(format_args!(
                    "cannot reach the service manager at {}: {error}",
                    place.display()
                ));
                None
            }
        }
    }

    /// How often it must be told that all is well, at the latest; none if it does not ask for that.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it something.
    pub(super) fn tell(&self, lines: &str) {
        // A manager that is gone, or that does not read, misses it; the server goes on.
        _ = self.socket.send(lines.as_bytes());
    }

    /// Tells it that the settings are being read again; [`Self::tell_ready`] says when that is over.
    pub(super) fn tell_reloading(&self) {
        // The time lets it tell this reload from an older one.
        let now_us = sys::monotonic_us();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// Tells it that the server serves as before.
    pub(super) fn tell_ready(&self) {
        self.tell("READY=1");
    }
}

/// Where the manager that has started this process listens, if one has.
pub(super) fn place() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty())
}

/// A socket that sends to `place`: a path, or an abstract name behind an `@`.
fn connect(place: &OsStr) -> io::Result<UnixDatagram> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// What the variables say of a watchdog, if they mean the process `pid`.
fn watchdog(period_us: Option<&str>, of_pid: Option<&str>, pid: u32) -> Option<Duration> {
    if of_pid.is_some_and(|of_pid| of_pid.parse() != Ok(pid)) {
        return None;
    }
    let period_us: u64 = period_us?.parse().ok().filter(|period_us| *period_us > 0)?;
    Some(Duration::from_micros(period_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let period = Some(Duration::from_secs(2));
        assert_eq!(watchdog(Some("2000000"), None, 7), period);
        assert_eq!(watchdog(Some("2000000"), Some("7"), 7), period);
        for (period_us, of_pid) in [
            (Some("2000000"), Some("8")),
            (Some("2000000"), Some("x")),
            (Some("0"), None),
            (Some("soon"), None),
            (None, Some("7")),
        ] {
            assert_eq!(watchdog(period_us, of_pid, 7), None, "{period_us:?}");
        }
    }

    #[test]
    fn a_manager_is_reached_by_an_abstract_name() {
        let name = format!("coremap-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(OsStr::new(&format!("@{name}"))).unwrap();
        let notifier = Notifier {
            socket,
            watchdog: None,
        };
        notifier.tell_ready();
        let mut heard = [0; 64];
        let len = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..len], b"READY=1");
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_no_end() {
        assert!(connect(OsStr::new("/nonexistent/notify")).is_err());
    }
}
