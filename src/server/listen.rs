//! Making the listeners: every address, every core, and the unix socket.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::accept::Listener;
use super::log;
use super::signal::Signal;
use super::socket::{self, Sharing};
use crate::config::{BindAddress, Config, Settings};
use crate::error::Error;

/// The listeners of all cores.
pub(super) struct Listeners {
    /// By core.
    pub(super) by_core: Vec<Vec<Listener>>,
    /// The TCP addresses, with the port that the system chose if it was left to it.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Listens everywhere that `config` names, once per core.
pub(super) fn open(config: &Config, core_count: usize) -> Result<Listeners, Error> {
    let mut listeners = Listeners {
        by_core: (0..core_count).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
    };
    let settings = &config.settings;
    let mut port = u16::try_from(settings.port).expect("checked: a port");
    for bind in config.bind_addresses() {
        for ip in resolve(&bind)? {
            let address = SocketAddr::new(ip, port);
            match open_address(&mut listeners, address, backlog(settings)) {
                Ok(bound) => port = bound.port(),
                Err(error) if bind.is_optional && is_absent(&error) => {
                    log::line(format_args!(
                        "warning: this host has no address {ip}, not listening there"
                    ));
                }
                Err(error) => {
                    return Err(Error::start(
                        format_args!("cannot listen on {address}"),
                        &error,
                    ));
                }
            }
        }
    }
    if let Some(path) = unix_path(settings) {
        let listener = open_unix(path, settings)?;
        listeners.by_core[0].push(listener);
    }
    Ok(listeners)
}

/// Where the unix socket is to be, if there is to be one.
pub(super) fn unix_path(settings: &Settings) -> Option<&Path> {
    let path = Some(settings.unixsocket.as_str()).filter(|path| !path.is_empty());
    path.map(Path::new)
}

fn backlog(settings: &Settings) -> u32 {
    u32::try_from(settings.tcp_backlog).expect("checked: at most 65,535")
}

fn open_address(
    listeners: &mut Listeners,
    address: SocketAddr,
    backlog: u32,
) -> io::Result<SocketAddr> {
    let first = socket::listen_tcp(address, backlog, Sharing::First)?;
    let bound = socket::local_address(&first).unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..listeners.by_core.len() {
        sockets.push(socket::listen_tcp(bound, backlog, Sharing::Sibling)?);
    }
    for (of_core, socket) in listeners.by_core.iter_mut().zip(sockets) {
        of_core.push(Listener {
            socket,
            unix_path: None,
            arrival: Signal::default(),
        });
    }
    listeners.addresses.push(bound);
    Ok(bound)
}

/// The addresses a `bind` names.
fn resolve(bind: &BindAddress) -> Result<Vec<IpAddr>, Error> {
    if bind.host == "*" {
        return Ok(vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
    }
    if let Ok(ip) = bind.host.parse() {
        return Ok(vec![ip]);
    }
    let mut ips: Vec<IpAddr> = (bind.host.as_str(), 0)
        .to_socket_addrs()
        .map_err(|_| {
            Error::Start(format!(
                "bind: '{}' is not an address of this host",
                bind.host
            ))
        })?
        .map(|address| address.ip())
        .collect();
    ips.dedup();
    Ok(ips)
}

/// Whether the host does not have the address, or the whole family.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPFNOSUPPORT | libc::ENOPROTOOPT)
    )
}

fn open_unix(path: &Path, settings: &Settings) -> Result<Listener, Error> {
    let what = || format!("cannot listen on {}", path.display());
    remove_stale(path).map_err(|error| Error::start(what(), &error))?;
    let mode = u32::try_from(settings.unixsocketperm).expect("checked: nine bits");
    let mode = Some(mode).filter(|mode| *mode != 0);
    let socket = socket::listen_unix(path, backlog(settings), mode)
        .map_err(|error| Error::start(what(), &error))?;
    Ok(Listener {
        socket,
        unix_path: Some(path.display().to_string()),
        arrival: Signal::default(),
    })
}

/// Removes the socket of a server that is gone. One that answers is in use; anything that is no
/// socket is not ours to remove.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("the path exists and is not a socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}
