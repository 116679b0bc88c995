//! The server around the lanes: unix sockets, addresses, connections over cores, signals, hosts
//! that refuse, crashes, and embedding.
//!
//! Method: child processes where a process is needed (signals, limits), else the library's own
//! `Server` within the test.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use common::client::{Client, request};
use common::process::{Folder, Forbidden, Server, coremap, free_port, run, run_program};
use common::skip_because;
use coremap::Config;

/// A small server inside this process.
fn embedded(shards: u64) -> coremap::Server {
    let mut config = Config::default();
    config.settings.port = 0;
    config.settings.shards = shards;
    config.settings.maxmemory_bytes = 64 << 20;
    coremap::Server::start(config).expect("it starts")
}

#[test]
fn servers_start_and_stop_within_one_process() {
    let (one, other) = (embedded(1), embedded(3));
    assert_ne!(one.local_addrs()[0].port(), other.local_addrs()[0].port());
    for server in [one, other] {
        let address = server.local_addrs()[0];
        assert!(
            server
                .local_addrs()
                .iter()
                .all(|other| other.port() == address.port())
        );
        Client::connect(address).expect("PING", "+PONG\\r\\n");
        let stopper = server.stopper();
        stopper.stop();
        server.wait().expect("it ends in order");
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_dropped_server_is_gone() {
    let server = embedded(2);
    let address = server.local_addrs()[0];
    let mut client = Client::connect(address);
    client.expect("PING", "+PONG\\r\\n");
    drop(server);
    assert!(client.rest().is_empty());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn connections_are_spread_evenly_over_the_cores() {
    let server = Server::start(&["--shards", "4"]);
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    for client in &mut clients {
        client.expect("PING", "+PONG\\r\\n");
    }
    let text = clients[0].value("INFO cores").text();
    let counts: Vec<u32> = text
        .lines()
        .filter_map(|line| {
            line.split("connections=")
                .nth(1)?
                .split(',')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert_eq!(counts.len(), 4, "{text}");
    // One more for a connection that is just being accepted or closed.
    assert!(
        counts.iter().all(|count| (9..=11).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_unix_socket_is_served_and_removed() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.sock");
    let text = path.to_str().expect("it is text");
    let server = Server::start(&["--unixsocket", text, "--unixsocketperm", "700"]);
    Client::connect_unix(&path).expect("PING", "+PONG\\r\\n");
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    let port = free_port().to_string();
    let second = run(&["--port", &port, "--unixsocket", text]);
    assert_eq!(second.code, Some(1), "{}", second.said);
    assert!(
        second.said.contains("address already in use"),
        "{}",
        second.said
    );
    Client::connect_unix(&path).expect("PING", "+PONG\\r\\n");

    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_a_dead_server_left_is_replaced_and_a_file_is_not() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.sock");
    let text = path.to_str().expect("it is text");
    drop(UnixListener::bind(&path).expect("it can be bound"));
    let server = Server::start(&["--unixsocket", text]);
    Client::connect_unix(&path).expect("PING", "+PONG\\r\\n");
    drop(server);

    let file = folder.path().join("file");
    std::fs::write(&file, "mine").expect("it can be written");
    let port = free_port().to_string();
    let ended = run(&[
        "--port",
        &port,
        "--unixsocket",
        file.to_str().expect("it is text"),
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"mine");
}

#[test]
fn an_optional_address_may_be_missing_and_another_may_not() {
    let server = Server::start(&["--bind", "127.0.0.1", "-192.0.2.1"]);
    server.client().expect("PING", "+PONG\\r\\n");
    drop(server);
    let port = free_port().to_string();
    let ended = run(&["--port", &port, "--bind", "127.0.0.1", "192.0.2.1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
}

#[test]
fn a_file_can_be_named_without_an_option() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.conf");
    std::fs::write(&path, "timeout 77\nhz 10\n").expect("it can be written");
    let text = path.to_str().expect("it is text");
    let server = Server::start(&["serve", text]);
    server.client().expect(
        "CONFIG GET timeout",
        "*2\\r\\n$7\\r\\ntimeout\\r\\n$2\\r\\n77\\r\\n",
    );
    server.signal("TERM");
    let (_, said) = server.wait();
    assert!(
        said.contains(":2: hz is a setting of Redis that has no effect here"),
        "{said}"
    );
}

#[test]
fn a_second_signal_ends_at_once_what_a_client_holds_up() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.ask_with(&["SET", "k", &"x".repeat(1 << 20)]);
    // More replies than the sockets' buffers take: stopping waits for the client to read them.
    client.send(&request(&["GET", "k"]).repeat(64));
    client.expect_bytes(b"$1048576\r\n");
    server.signal("TERM");
    // Nobody listens any more, so the first signal has been taken.
    while TcpStream::connect(server.address()).is_ok() {}
    server.signal("TERM");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(1), "{said}");
}

#[test]
fn hangups_are_ignored() {
    let server = Server::start(&[]);
    server.signal("HUP");
    server.client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn a_memory_fault_leaves_one_line_and_takes_its_default_action() {
    let server = Server::start(&[]);
    server.signal("SEGV");
    let (status, said) = server.wait();
    assert_eq!(status.signal(), Some(11), "{said}");
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("crashed"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("SIGSEGV") && lines[0].contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn few_descriptors_lower_maxclients_and_too_few_are_refused() {
    let port = free_port().to_string();
    let limited = |limit: &str, rest: &str| {
        let program = coremap();
        let line = format!(
            "ulimit -n {limit} && exec {} --port {port} {rest}",
            program.display()
        );
        let shell = std::path::Path::new("sh");
        run_program(shell, &["-c", &line])
    };
    let ended = limited("60", "--shards 2");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(
        ended
            .said
            .contains("60 open files are too few for 2 shards"),
        "{}",
        ended.said
    );

    let script = format!(
        "ulimit -n 200 && exec {} --shards 1 \"$@\"",
        coremap().display()
    );
    let folder = Folder::new();
    let wrapper = folder.path().join("limited");
    std::fs::write(&wrapper, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let server = Server::start_program(&wrapper, &[]);
    server.client().expect(
        "CONFIG GET maxclients",
        "*2\\r\\n$10\\r\\nmaxclients\\r\\n$3\\r\\n144\\r\\n",
    );
}

#[test]
fn too_little_lockable_memory_is_refused_with_the_fix() {
    let line = format!(
        "ulimit -l 64 && exec {} --port {}",
        coremap().display(),
        free_port()
    );
    let ended = run_program(std::path::Path::new("sh"), &["-c", &line]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(
        ended.said.contains("64 KiB of lockable memory"),
        "{}",
        ended.said
    );
    assert!(ended.said.contains("ulimit -l"), "{}", ended.said);
}

#[test]
fn a_host_without_io_uring_is_refused_with_the_cause_and_the_fix() {
    let port = free_port().to_string();
    let Some(arguments) = Forbidden::IO_URING.arguments(&["--port", &port]) else {
        skip_because("python3 is not installed");
        return;
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = run_program(std::path::Path::new("python3"), &arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    let lines: Vec<_> = ended.said.lines().collect();
    assert_eq!(lines.len(), 1, "{}", ended.said);
    assert!(lines[0].contains("cannot use io_uring"), "{}", ended.said);
    assert!(lines[0].contains("seccomp"), "{}", ended.said);
}

#[test]
fn a_server_that_is_out_of_descriptors_recovers_with_the_cause() {
    let script = format!(
        "ulimit -n 200 && exec {} --shards 1 --maxclients 1000 \"$@\"",
        coremap().display()
    );
    let folder = Folder::new();
    let wrapper = folder.path().join("limited");
    std::fs::write(&wrapper, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let server = Server::start_program(&wrapper, &[]);
    let mut first = server.client();
    first.expect("PING", "+PONG\\r\\n");
    // It knows how many clients its limit allows, so the limit is lowered behind its back.
    let lowered = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--nofile=100:100"])
        .status();
    if !lowered.is_ok_and(|status| status.success()) {
        skip_because("prlimit is not installed");
        return;
    }

    let mut crowd: Vec<TcpStream> = Vec::new();
    let mut refused_count = 0;
    for _ in 0..300 {
        let mut client = TcpStream::connect(server.address()).expect("it is accepted or queued");
        client
            .set_read_timeout(Some(common::PATIENCE))
            .expect("a timeout can be set");
        let mut reply = [0; 7];
        let is_served =
            client.write_all(b"PING\r\n").is_ok() && client.read_exact(&mut reply).is_ok();
        refused_count += u32::from(!is_served);
        if is_served {
            crowd.push(client);
        }
    }
    assert!(refused_count > 0, "{} were served", crowd.len());
    first.expect("PING", "+PONG\\r\\n");
    drop(crowd);
    // Descriptors come back as the server sees the ends; a new client is served then.
    let until = common::now() + common::PATIENCE;
    while !Client::try_connect(server.address()).is_ok_and(|mut client| client.is_served()) {
        assert!(common::now() < until, "it does not recover");
    }
}
