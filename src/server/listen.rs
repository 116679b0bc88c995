//! Making the listeners: every address, every core, and the unix socket; or taking those that a service
//! manager has made.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accept::Listener;
use super::inherit::{Inherited, Place};
use super::log::Log;
use super::signal::Signal;
use super::socket::{self, Sharing};
use crate::config::{BindAddress, Config, Settings};
use crate::error::Error;
use crate::limits::{BIND_RETRY_COUNT, BIND_RETRY_MS, METRICS_BACKLOG};

/// The `steering` by which the kernel chooses the core whose CPU a connection's packets arrive on.
const BY_CPU: &str = "incoming-cpu";

/// The listeners of all cores.
pub(super) struct Listeners {
    /// By core.
    pub(super) by_core: Vec<Vec<Listener>>,
    /// The TCP addresses, with the port that the system chose if it was left to it.
    pub(super) addresses: Vec<SocketAddr>,
    /// The unix socket that was made, to be removed at the end.
    pub(super) unixsocket: Option<PathBuf>,
}

/// Listens everywhere that `config` names, once per core, of which `cpus` has the CPU of each; where
/// sockets of a kind are inherited, at those instead.
pub(super) fn open(
    config: &Config,
    cpus: &[usize],
    inherited: Vec<Inherited>,
    log: &Log,
) -> Result<Listeners, Error> {
    let mut listeners = Listeners {
        by_core: cpus.iter().map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
        unixsocket: None,
    };
    let has = |kind: fn(&Place) -> bool| inherited.iter().any(|it| kind(&it.place));
    let has_tcp = has(|place| matches!(place, Place::Tcp(_)));
    let has_unix = has(|place| matches!(place, Place::Unix(_)));
    listeners.take(inherited);
    let settings = &config.settings;
    if !has_tcp {
        open_addresses(&mut listeners, config, cpus, log)?;
    }
    if let Some(path) = unix_path(settings).filter(|_| !has_unix) {
        let listener = open_unix(path, settings)?;
        listeners.by_core[0].push(listener);
        listeners.unixsocket = Some(path.to_owned());
    }
    Ok(listeners)
}

impl Listeners {
    /// Gives inherited sockets to the cores in turn: a single one to the first, which hands connections
    /// over as every core does, several of one address to several.
    fn take(&mut self, inherited: Vec<Inherited>) {
        let core_count = self.by_core.len();
        for (index, Inherited { socket, place }) in inherited.into_iter().enumerate() {
            let unix_path = match place {
                Place::Tcp(address) => {
                    if !self.addresses.contains(&address) {
                        self.addresses.push(address);
                    }
                    None
                }
                Place::Unix(path) => Some(path),
            };
            self.by_core[index % core_count].push(Listener {
                socket,
                unix_path,
                is_inherited: true,
                arrival: Signal::default(),
            });
        }
    }
}

fn open_addresses(
    listeners: &mut Listeners,
    config: &Config,
    cpus: &[usize],
    log: &Log,
) -> Result<(), Error> {
    let settings = &config.settings;
    let port = u16::try_from(settings.port).expect("checked: a port");
    let before = listeners.addresses.len();
    open_each(&config.bind_addresses(), port, log, |address| {
        open_address(listeners, address, backlog(settings))
    })?;
    let opened_count = listeners.addresses.len() - before;
    (1..=opened_count).try_for_each(|nth_last| tune(listeners, nth_last, cpus, settings))
}

/// The listeners of the metrics port: one for each of its addresses.
pub(super) fn open_metrics(config: &Config, log: &Log) -> Result<Vec<OwnedFd>, Error> {
    let port = u16::try_from(config.settings.metrics_port).expect("checked: a port");
    let mut listeners = Vec::new();
    if port > 0 {
        open_each(&config.metrics_bind_addresses(), port, log, |address| {
            listeners.push(listen_first(address, METRICS_BACKLOG)?);
            Ok(address)
        })?;
    }
    Ok(listeners)
}

/// Opens every address that `binds` name, but for those that may be missing and are. A port that is
/// left to the system is the same for all.
fn open_each(
    binds: &[BindAddress],
    mut port: u16,
    log: &Log,
    mut open: impl FnMut(SocketAddr) -> io::Result<SocketAddr>,
) -> Result<(), Error> {
    for bind in binds {
        for ip in resolve(bind)? {
            let address = SocketAddr::new(ip, port);
            match open(address) {
                Ok(bound) => port = bound.port(),
                Err(error) if bind.is_optional && is_absent(&error) => {
                    log.warning(format_args!(
                        "this host has no address {ip}, not listening there"
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
    Ok(())
}

/// Where the unix socket is to be, if there is to be one.
fn unix_path(settings: &Settings) -> Option<&Path> {
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
    let first = listen_first(address, backlog)?;
    let bound = socket::local_address(&first).unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..listeners.by_core.len() {
        sockets.push(socket::listen_tcp(bound, backlog, Sharing::Sibling)?);
    }
    for (of_core, socket) in listeners.by_core.iter_mut().zip(sockets) {
        of_core.push(Listener {
            socket,
            unix_path: None,
            is_inherited: false,
            arrival: Signal::default(),
        });
    }
    listeners.addresses.push(bound);
    Ok(bound)
}

/// The first socket of an address. One that somebody has is tried again for a moment: whoever starts the
/// server anew may not have waited for the end of the last one, which keeps its sockets until the
/// kernel has taken its memory back. (Who has waited finds the port free: 7,527 kills and starts in a row.)
fn listen_first(address: SocketAddr, backlog: u32) -> io::Result<OwnedFd> {
    let mut listened = socket::listen_tcp(address, backlog, Sharing::First);
    for _ in 0..BIND_RETRY_COUNT {
        match &listened {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
                std::thread::park_timeout(Duration::from_millis(BIND_RETRY_MS));
                listened = socket::listen_tcp(address, backlog, Sharing::First);
            }
            _ => break,
        }
    }
    listened
}

/// What the settings ask of the listeners of one address, the last that each core got, or the last but
/// one, and so on.
fn tune(
    listeners: &Listeners,
    nth_last: usize,
    cpus: &[usize],
    settings: &Settings,
) -> Result<(), Error> {
    let sockets: Vec<&OwnedFd> = listeners
        .by_core
        .iter()
        .map(|of_core| &of_core[of_core.len() - nth_last].socket)
        .collect();
    if settings.steering == BY_CPU && sockets.len() > 1 {
        socket::steer_by_cpu(sockets[0], cpus).map_err(|error| {
            Error::start(
                format_args!("steering: the kernel refuses {BY_CPU}"),
                &error,
            )
        })?;
    }
    if settings.busy_poll_us > 0 {
        let busy_poll_us = u32::try_from(settings.busy_poll_us).expect("checked: at most 100,000");
        for socket in sockets {
            socket::poll_busily(socket, busy_poll_us).map_err(|error| {
                let what = "busy-poll-us: only who has CAP_NET_ADMIN may raise it";
                Error::start(what, &error)
            })?;
        }
    }
    Ok(())
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
        is_inherited: false,
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
