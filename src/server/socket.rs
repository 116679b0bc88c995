//! Sockets: the calls that neither std nor glommio makes the way a server of many cores needs.
//!
//! Everything here is non-blocking, close-on-exec and owned by an `OwnedFd`, so that no path
//! leaks a descriptor. A listener of several cores is made in two steps (`listen_tcp`): the first
//! socket of an address is bound and listens alone, and only then opens the address to its
//! siblings by setting SO_REUSEPORT. A second server's first socket asks for the address without
//! SO_REUSEPORT and is refused by the kernel, at whatever moment it starts.
//!
//! Not here: when to accept or receive (`accept`, `connection`), and `readiness`.
#![expect(unsafe_code, reason = "socket calls that std does not offer")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use glommio::net::TcpStream;

/// How a TCP listener takes part in its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    /// The first of its address: fails when anyone listens there, then lets siblings join.
    First,
    /// Joins the listeners that this process has already made for the address.
    Sibling,
}

/// A listening TCP socket on `address`.
pub(crate) fn listen_tcp(
    address: SocketAddr,
    backlog: u32,
    sharing: Sharing,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let socket = new_socket(family)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        // So that :: and 0.0.0.0 are two addresses, as everywhere in this program.
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if sharing == Sharing::Sibling {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    let (raw, len_bytes) = raw_address(address);
    // SAFETY: `raw` is an initialised address of at least `len_bytes` bytes that outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const raw).cast::<libc::sockaddr>(),
            len_bytes,
        )
    };
    check(result)?;
    listen(&socket, backlog)?;
    if sharing == Sharing::First {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    Ok(socket)
}

/// A listening unix socket at `path`, which must not exist. `mode` is set before it listens.
pub(crate) fn listen_unix(path: &Path, backlog: u32, mode: Option<u32>) -> io::Result<OwnedFd> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all-zero bytes are a valid `sockaddr_un` (integers and a byte array).
    let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
    if bytes.len() >= raw.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    raw.sun_family = family(libc::AF_UNIX);
    for (target, byte) in raw.sun_path.iter_mut().zip(bytes) {
        *target = byte.cast_signed();
    }
    let socket = new_socket(libc::AF_UNIX)?;
    let len_bytes = size_of_address::<libc::sockaddr_un>();
    // SAFETY: `raw` is initialised and `len_bytes` is its size.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const raw).cast::<libc::sockaddr>(),
            len_bytes,
        )
    };
    check(result)?;
    if let Some(mode) = mode {
        // Nobody can connect before listen(), so there is no moment with wider permissions.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    listen(&socket, backlog)?;
    Ok(socket)
}

/// The first descriptor that a service manager passes on (SD_LISTEN_FDS_START).
const FIRST_INHERITED: i32 = 3;

/// The listening sockets that whoever started this process has put behind the standard streams. To be
/// called before anything else is opened; a second call gets none.
pub(crate) fn take_inherited(count: u16) -> io::Result<Vec<OwnedFd>> {
    static IS_TAKEN: std::sync::Once = std::sync::Once::new();
    let mut sockets = Vec::new();
    let mut outcome = Ok(());
    IS_TAKEN.call_once(|| {
        for fd in FIRST_INHERITED..FIRST_INHERITED + i32::from(count) {
            match take_listener(fd) {
                Ok(socket) => sockets.push(socket),
                Err(error) => outcome = Err(error),
            }
        }
    });
    outcome.map(|()| sockets)
}

/// Takes a descriptor that nobody owns yet, if it is a listening socket.
fn take_listener(fd: i32) -> io::Result<OwnedFd> {
    let mut is_listening = 0_i32;
    let mut len_bytes = size_of_address::<i32>();
    // SAFETY: the call writes at most `len_bytes` bytes to an `i32` that outlives it. It fails for a
    // descriptor that is not open or no socket.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut is_listening).cast::<libc::c_void>(),
            &raw mut len_bytes,
        )
    };
    check(result)?;
    if is_listening == 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: these calls take and return plain numbers.
    let result = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK).min(libc::fcntl(
            fd,
            libc::F_SETFD,
            libc::FD_CLOEXEC,
        ))
    };
    check(result)?;
    // SAFETY: it is open, and meant for this process alone, which takes it once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next waiting connection: non-blocking and close-on-exec, in one call.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: null address pointers are allowed and mean that the peer's address is not wanted.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    check(fd)?;
    // SAFETY: the call has just returned `fd`; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Both ends of a doorbell: the ringing end first, the listening end second.
pub(crate) fn doorbell() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ringer, listener) = std::os::unix::net::UnixStream::pair()?;
    ringer.set_nonblocking(true)?;
    listener.set_nonblocking(true)?;
    Ok((ringer.into(), listener.into()))
}

/// Sends `bytes` without waiting and without SIGPIPE; what does not fit is not sent.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of `bytes`, which outlives the call.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast::<libc::c_void>(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives without waiting; 0 is the end of the stream.
pub(crate) fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of `room`, which outlives the call.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            room.as_mut_ptr().cast::<libc::c_void>(),
            room.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel poll the network card for `busy_poll_us` where it would wait for an interrupt, on behalf
/// of every connection that this listener accepts.
pub(crate) fn poll_busily(listener: &OwnedFd, busy_poll_us: u32) -> io::Result<()> {
    let busy_poll_us = i32::try_from(busy_poll_us).unwrap_or(i32::MAX);
    set_option(listener, libc::SOL_SOCKET, libc::SO_BUSY_POLL, busy_poll_us)
}

/// Sends each new connection of an address to the listener whose CPU its packets arrive on, by a filter
/// that the kernel runs. `cpus` has the CPU of each listener, in the order in which they were made; what
/// arrives on another CPU is spread over them by its number. Any one of the listeners will do.
pub(crate) fn steer_by_cpu(listener: &OwnedFd, cpus: &[usize]) -> io::Result<()> {
    let mut filter = steering_filter(cpus);
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    let len_bytes = size_of_address::<libc::sock_fprog>();
    // SAFETY: the kernel reads `len_bytes` bytes of `program` and the instructions it names, all of which
    // outlive the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast::<libc::c_void>(),
            len_bytes,
        )
    };
    check(result)
}

/// `A = cpu; if A == cpus[0] return 0; .. return A % cpus.len()`, in the instructions of the kernel's
/// `filter.txt`.
fn steering_filter(cpus: &[usize]) -> Vec<libc::sock_filter> {
    /// Where the kernel keeps the number of the CPU for filters to load: SKF_AD_OFF + SKF_AD_CPU.
    const CPU_OFFSET: u32 = (-0x1000_i32 + 36).cast_unsigned();
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const REMAINDER: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
    const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;
    let instruction = |code: u32, jump_if_false: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("instructions have 16 bits"),
        jt: 0,
        jf: jump_if_false,
        k,
    };
    let mut filter = vec![instruction(LOAD, 0, CPU_OFFSET)];
    for (listener, &cpu) in (0..).zip(cpus) {
        let cpu = u32::try_from(cpu).unwrap_or(u32::MAX);
        filter.push(instruction(JUMP_IF_EQUAL, 1, cpu));
        filter.push(instruction(RETURN, 0, listener));
    }
    let count = u32::try_from(cpus.len()).expect("limits: at most SHARD_COUNT_MAX");
    filter.push(instruction(REMAINDER, 0, count));
    filter.push(instruction(RETURN_A, 0, 0));
    filter
}

/// What a TCP connection gets: no delay unless it is wanted, and keepalive probes after `keepalive_s`
/// idle seconds (three of them, a third of that apart, as Redis); 0 switches the probes off.
pub(crate) fn tune_tcp(socket: &OwnedFd, is_prompt: bool, keepalive_s: u32) -> io::Result<()> {
    let nodelay = i32::from(is_prompt);
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, nodelay)?;
    if keepalive_s == 0 {
        return Ok(());
    }
    let idle_s = i32::try_from(keepalive_s).unwrap_or(i32::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_s)?;
    set_option(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_KEEPINTVL,
        (idle_s / 3).max(1),
    )?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3)
}

/// Ends both directions now: closing alone would leave the peer waiting while the runtime still
/// holds a poll on the descriptor. A listener stops listening.
pub(crate) fn shutdown(socket: BorrowedFd<'_>) {
    // SAFETY: the call takes no pointers. An error (not connected any more) changes nothing.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Whether a connection waits at a listener to be accepted.
pub(crate) fn has_waiting(listener: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which lives for the call; it does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// The address a TCP socket is bound to; `None` for other families.
pub(crate) fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    address_of(socket, libc::getsockname)
}

/// The address a TCP socket is connected to; `None` for other families, or when it is gone.
pub(crate) fn peer_address(socket: &OwnedFd) -> Option<SocketAddr> {
    address_of(socket, libc::getpeername)
}

/// Hands a descriptor to the executor of this thread, which polls it for readiness.
pub(crate) fn into_stream(descriptor: OwnedFd) -> TcpStream {
    // SAFETY: `into_raw_fd` gives up the ownership that the stream takes.
    unsafe { TcpStream::from_raw_fd(descriptor.into_raw_fd()) }
}

fn new_socket(family: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(family, kind, 0) };
    check(fd)?;
    // SAFETY: the call has just returned `fd`; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len_bytes = size_of_address::<i32>();
    // SAFETY: `value` is an `i32` of `len_bytes` bytes that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<libc::c_void>(),
            len_bytes,
        )
    };
    check(result)
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address_of(socket: &OwnedFd, call: AddressCall) -> Option<SocketAddr> {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
    let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len_bytes = size_of_address::<libc::sockaddr_storage>();
    // SAFETY: `raw` has room for `len_bytes` bytes; both outlive the call.
    let result = unsafe {
        call(
            socket.as_raw_fd(),
            (&raw mut raw).cast::<libc::sockaddr>(),
            &raw mut len_bytes,
        )
    };
    check(result).ok()?;
    match i32::from(raw.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is larger and no less aligned,
            // holds a `sockaddr_in`.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(raw.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let raw = unsafe { &*(&raw const raw).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Some(SocketAddr::new(IpAddr::V6(ip), u16::from_be(raw.sin6_port)))
        }
        _ => None,
    }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is larger than a `sockaddr_in` and no less aligned.
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            raw.sin_family = family(libc::AF_INET);
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = v4.ip().to_bits().to_be();
            (storage, size_of_address::<libc::sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above, for `sockaddr_in6`.
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            raw.sin6_family = family(libc::AF_INET6);
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            (storage, size_of_address::<libc::sockaddr_in6>())
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "families are small numbers"
)]
fn family(family: libc::c_int) -> libc::sa_family_t {
    family as libc::sa_family_t
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "addresses and options are under 200 bytes"
)]
fn size_of_address<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn siblings_join_an_address_that_a_second_first_is_refused() {
        let first = listen_tcp(ANY, 16, Sharing::First).unwrap();
        let address = local_address(&first).unwrap();
        let _second = listen_tcp(address, 16, Sharing::Sibling).unwrap();
        let _third = listen_tcp(address, 16, Sharing::Sibling).unwrap();
        let refused = listen_tcp(address, 16, Sharing::First).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn connections_reach_every_sibling() {
        let first = listen_tcp(ANY, 64, Sharing::First).unwrap();
        let address = local_address(&first).unwrap();
        let second = listen_tcp(address, 64, Sharing::Sibling).unwrap();
        let clients: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let count = |listener| {
            std::iter::repeat_with(|| accept(listener))
                .take_while(Result::is_ok)
                .count()
        };
        let (on_first, on_second) = (count(&first), count(&second));
        assert_eq!(on_first + on_second, clients.len());
        assert!(on_first > 0 && on_second > 0, "{on_first} and {on_second}");
    }

    #[test]
    fn an_accepted_socket_knows_both_addresses() {
        let listener = listen_tcp(ANY, 16, Sharing::First).unwrap();
        let address = local_address(&listener).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let socket = accept(&listener).unwrap();
        assert_eq!(local_address(&socket), Some(address));
        assert_eq!(peer_address(&socket), Some(client.local_addr().unwrap()));
        tune_tcp(&socket, true, 300).unwrap();
        tune_tcp(&socket, false, 0).unwrap();
    }

    #[test]
    fn connections_go_to_the_listener_of_the_cpu_that_they_arrive_on() {
        let first = listen_tcp(ANY, 64, Sharing::First).unwrap();
        let address = local_address(&first).unwrap();
        let second = listen_tcp(address, 64, Sharing::Sibling).unwrap();
        // Over loopback a packet arrives on the CPU of who sends it.
        let here = core_affinity::get_core_ids().unwrap()[0].id;
        let elsewhere = here + 1;
        for (order, is_first) in [([here, elsewhere], true), ([elsewhere, here], false)] {
            steer_by_cpu(&first, &order).unwrap();
            let clients = std::thread::spawn(move || {
                assert!(core_affinity::set_for_current(core_affinity::CoreId {
                    id: here
                }));
                let connect = |_| std::net::TcpStream::connect(address).unwrap();
                (0..16).map(connect).collect::<Vec<_>>()
            });
            let clients = clients.join().unwrap();
            let count = |listener| {
                let accepted = std::iter::repeat_with(|| accept(listener));
                accepted.take_while(Result::is_ok).count()
            };
            let counts = (count(&first), count(&second));
            let expected = if is_first {
                (clients.len(), 0)
            } else {
                (0, clients.len())
            };
            assert_eq!(
                counts, expected,
                "listeners of CPUs {order:?}, packets on {here}"
            );
        }
    }

    #[test]
    fn the_filter_returns_the_listener_of_a_cpu_and_spreads_the_others() {
        let filter = steering_filter(&[2, 5]);
        let codes: Vec<_> = filter.iter().map(|one| (one.code, one.jf, one.k)).collect();
        assert_eq!(
            codes,
            [
                (0x20, 0, 0xffff_f024),
                (0x15, 1, 2),
                (0x06, 0, 0),
                (0x15, 1, 5),
                (0x06, 0, 1),
                (0x94, 0, 2),
                (0x16, 0, 0),
            ]
        );
        assert!(steering_filter(&vec![0; crate::limits::SHARD_COUNT_MAX]).len() <= 4096);
    }

    #[test]
    fn connections_inherit_how_long_their_listener_polls() {
        let listener = listen_tcp(ANY, 16, Sharing::First).unwrap();
        if let Err(refusal) = poll_busily(&listener, 50) {
            assert_eq!(refusal.raw_os_error(), Some(libc::EPERM));
            return; // only the administrator may
        }
        let _client = std::net::TcpStream::connect(local_address(&listener).unwrap()).unwrap();
        let accepted = accept(&listener).unwrap();
        let (mut value, mut len_bytes) = (0_i32, size_of_address::<i32>());
        // SAFETY: the kernel writes at most `len_bytes` bytes to `value`.
        let result = unsafe {
            libc::getsockopt(
                accepted.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BUSY_POLL,
                (&raw mut value).cast::<libc::c_void>(),
                &raw mut len_bytes,
            )
        };
        assert_eq!((result, value), (0, 50));
    }

    #[test]
    fn a_listener_that_is_shut_down_refuses_connections() {
        let listener = listen_tcp(ANY, 16, Sharing::First).unwrap();
        let address = local_address(&listener).unwrap();
        shutdown(listener.as_fd());
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_unix_path_that_is_too_long_is_an_error() {
        let path = "/".repeat(200);
        let error = listen_unix(Path::new(&path), 16, None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
