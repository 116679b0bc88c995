//! Sockets that a service manager has opened for this process (sd_listen_fds(3), systemd.socket(5)).
//!
//! The manager keeps its own copy, so the address exists before the server does, while it is restarted and
//! after it: who connects meanwhile waits in the kernel's queue and is refused by nobody. So such a
//! socket is never shut down here, and none is opened where the manager gives one of that kind.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use super::socket;
use crate::error::Error;

/// A listening socket that was there before the server.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(super) socket: OwnedFd,
    pub(super) place: Place,
}

/// Where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Tcp(SocketAddr),
    /// A unix socket, by its path.
    Unix(String),
}

/// The sockets that were opened for this process. To be called once, before it opens descriptors.
pub(crate) fn sockets() -> Result<Vec<Inherited>, Error> {
    let variable = |name| std::env::var(name).ok();
    let count = count(
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_PID").as_deref(),
        std::process::id(),
    );
    let sockets = socket::take_inherited(count)
        .map_err(|error| Error::start("cannot use the sockets of the service manager", &error))?;
    sockets.into_iter().map(placed).collect()
}

/// How many descriptors the variables name, if they mean the process `pid`.
fn count(descriptors: Option<&str>, of_pid: Option<&str>, pid: u32) -> u16 {
    let is_ours = of_pid.is_some_and(|of_pid| of_pid.parse() == Ok(pid));
    let count = descriptors.filter(|_| is_ours).map(str::parse);
    count.and_then(Result::ok).unwrap_or(0)
}

fn placed(socket: OwnedFd) -> Result<Inherited, Error> {
    if let Some(address) = socket::local_address(&socket) {
        let place = Place::Tcp(address);
        return Ok(Inherited { socket, place });
    }
    let listener = UnixListener::from(socket);
    let address = listener.local_addr();
    let path = address.map_err(|error| Error::start("cannot use an inherited socket", &error))?;
    let path = path.as_pathname().map(|path| path.display().to_string());
    Ok(Inherited {
        socket: listener.into(),
        place: Place::Unix(path.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_by_the_process_that_they_are_meant_for() {
        assert_eq!(count(Some("2"), Some("7"), 7), 2);
        for (descriptors, of_pid) in [
            (Some("2"), Some("8")),
            (Some("2"), None),
            (Some("two"), Some("7")),
            (None, Some("7")),
        ] {
            assert_eq!(count(descriptors, of_pid, 7), 0, "{descriptors:?}");
        }
    }

    #[test]
    fn a_socket_tells_where_it_listens() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(placed(tcp.into()).unwrap().place, Place::Tcp(address));
        let path = std::env::temp_dir().join(format!("coremap-inherit-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        let place = placed(unix.into()).unwrap().place;
        std::fs::remove_file(&path).unwrap();
        assert_eq!(place, Place::Unix(path.display().to_string()));
    }
}
