//! Starting and stopping: options, files, ports, and one clear line when it cannot be.
//!
//! A server that cannot run says why in one line on stderr and exits with 1; one that was called
//! wrongly exits with 2. Names of options that are nearly right are answered with the right one.

mod common;

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::client::{Client, request};
use common::process::{Ended, Folder, Forbidden, Server, coremap, free_port, run, run_program};

/// Fails unless the server ended with `code`, saying one line that names every one of `parts`.
#[track_caller]
fn expect_refusal(ended: &Ended, codes: &[i32], parts: &[&str]) {
    assert!(
        ended.code.is_some_and(|code| codes.contains(&code)),
        "code {:?}: {}",
        ended.code,
        ended.said
    );
    let said = ended.said.trim_end();
    assert!(
        said.starts_with("coremap: ") && !said.contains('\n'),
        "one line says why: {said}"
    );
    for part in parts {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn help_that_nobody_reads_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().expect("descriptors are left");
    drop(reader);
    let ended = Command::new(coremap())
        .arg("--help")
        .stdout(writer)
        .output()
        .expect("it is built");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    let server = Server::start(&["--shards", "2"]);
    let port = server.port.to_string();
    expect_refusal(&run(&["--port", &port]), &[1], &[&port]);
    server.client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn a_port_that_another_program_has_is_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = listener
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    expect_refusal(&run(&["--port", &port]), &[1], &[&port]);
}

#[test]
fn a_port_that_its_owner_gives_up_a_moment_later_is_waited_for() {
    let port = free_port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it was free");
    std::thread::scope(|scope| {
        let started = scope.spawn(|| Server::start_on(&port.to_string(), &[]));
        // By then the server has tried once, and who looks whether it serves has found this one.
        drop(listener.accept().expect("somebody looks"));
        common::pass(Duration::from_millis(200));
        drop(listener);
        let server = started.join().expect("it starts");
        server.client().expect("PING", "+PONG\\r\\n");
    });
}

#[test]
fn a_metrics_port_that_its_owner_gives_up_is_waited_for_as_well() {
    let [port, metrics_port] = [free_port(), free_port()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, metrics_port)).expect("it was free");
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let metrics_port = metrics_port.to_string();
            Server::start_on(&port.to_string(), &["--metrics-port", &metrics_port])
        });
        common::pass(Duration::from_millis(500));
        drop(listener);
        let _server = started.join().expect("it starts");
        TcpStream::connect((Ipv4Addr::LOCALHOST, metrics_port)).expect("it listens");
    });
}

#[test]
fn addresses_that_are_none_or_not_here_are_refused() {
    let port = free_port().to_string();
    expect_refusal(
        &run(&["--port", &port, "--bind", "nonsense"]),
        &[1, 2],
        &["nonsense"],
    );
    expect_refusal(
        &run(&["--port", &port, "--bind", "192.0.2.1"]),
        &[1],
        &["192.0.2.1"],
    );
}

#[test]
fn options_that_are_wrong_are_named() {
    for (arguments, parts) in [
        (&["--port", "x"][..], &["port", "x"][..]),
        (&["--port", "70000"], &["port", "70000"]),
        (&["--prot", "6379"], &["prot", "port"]),
        (&["--maxmemory", "lots"], &["maxmemory", "lots"]),
        (&["--shards", "5000"], &["shards", "5000"]),
        (&["--maxclients", "-1"], &["maxclients", "-1"]),
        (&["--port"], &["port"]),
        (
            &["--maxmemory-policy", "bogus"],
            &["maxmemory-policy", "bogus"],
        ),
    ] {
        expect_refusal(&run(arguments), &[2], parts);
    }
}

#[test]
fn config_files_are_read_and_their_mistakes_named_with_the_line() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.conf");
    let text = path.to_str().expect("it is text");
    std::fs::write(
        &path,
        "# a comment\n\ntimeout 77\nmaxclients 123\nmaxmemory-clients 100mb\n",
    )
    .expect("it can be written");
    let server = Server::start(&["--config", text, "--maxclients", "99"]);
    let mut client = server.client();
    client.expect(
        "CONFIG GET timeout",
        "*2\\r\\n$7\\r\\ntimeout\\r\\n$2\\r\\n77\\r\\n",
    );
    client.expect(
        "CONFIG GET maxclients",
        "*2\\r\\n$10\\r\\nmaxclients\\r\\n$2\\r\\n99\\r\\n",
    );
    client.expect(
        "CONFIG GET maxmemory-clients",
        "*2\\r\\n$17\\r\\nmaxmemory-clients\\r\\n$9\\r\\n104857600\\r\\n",
    );
    let port = free_port().to_string();
    for (file, parts) in [
        (
            "timeout 1\nmaxcleints 5\n",
            &["2", "maxcleints", "maxclients"][..],
        ),
        ("timeout 1\n\nmaxmemory lots\n", &["3", "maxmemory", "lots"]),
        ("rename-command FLUSHALL \"\"\n", &["1", "rename-command"]),
    ] {
        std::fs::write(&path, file).expect("it can be written");
        expect_refusal(&run(&["--config", text, "--port", &port]), &[1, 2], parts);
    }
    expect_refusal(
        &run(&["--config", "/nonexistent", "--port", &port]),
        &[1, 2],
        &["/nonexistent"],
    );
}

#[test]
fn the_config_file_that_is_shipped_is_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/coremap.conf");
    Server::start(&["--config", path])
        .client()
        .expect("PING", "+PONG\\r\\n");
}

#[test]
fn help_and_version_are_answered() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for word in ["--port", "--maxmemory", "--shards", "--bind"] {
        assert!(help.said.contains(word), "{}", help.said);
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(
        version.said.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        version.said
    );
}

/// Resident or locked memory of a server, as the kernel counts it.
fn memory_bytes(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    1024 * kib.expect("it is there").parse::<u64>().expect("a number")
}

#[test]
fn what_asks_the_kernel_for_something_is_given_it_or_says_what_is_missing() {
    let maxmemory_bytes = 64 << 20;
    for (setting, value, kept) in [
        ("--busy-poll-us", "50", None),
        ("--lock-memory", "yes", Some("VmLck:")),
        ("--prefault", "yes", Some("VmRSS:")),
        ("--huge-pages", "no", None),
        ("--steering", "hash", None),
        ("--steering", "least-loaded", None),
        ("--steering", "incoming-cpu", None),
    ] {
        let maxmemory = maxmemory_bytes.to_string();
        let arguments = ["--shards", "2", "--maxmemory", &maxmemory, setting, value];
        let server = match Server::try_start(&coremap(), free_port(), &arguments) {
            Ok(server) => server,
            Err(said) => {
                let name = setting.trim_start_matches('-');
                let reason = format!("{name}: the kernel refuses");
                // Which is as good: it depends on the rights of who runs the tests.
                assert!(said.contains(&reason) && said.contains("error: "), "{said}");
                continue;
            }
        };
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect(&format!("SET key:{number} {number}"), "+OK\\r\\n");
            client.expect(&format!("STRLEN key:{number}"), ":1\\r\\n");
        }
        if let Some(kind) = kept {
            let kept_bytes = memory_bytes(&server, kind);
            assert!(
                kept_bytes >= maxmemory_bytes,
                "{setting}: {kept_bytes} bytes"
            );
        }
        server.signal("TERM");
        let (status, said) = server.wait();
        assert_eq!(status.code(), Some(0), "{setting} {value}: {said}");
    }
}

/// It asked for a higher limit instead.
#[test]
fn a_kernel_that_cannot_take_locked_pages_back_is_refused_with_the_one_that_can() {
    let port = free_port().to_string();
    let arguments = ["--port", &port, "--maxmemory", "64mb", "--lock-memory"];
    let Some(arguments) = Forbidden::RELEASE_LOCKED.arguments(&[&arguments[..], &["yes"]].concat())
    else {
        common::skip_because("python3 is not installed");
        return;
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = run_program(Path::new("python3"), &arguments);
    // Who may not lock so much does not come so far.
    let fix = if ended.said.contains("invalid argument") {
        "Linux 5.18 or newer is needed: "
    } else {
        "raise `ulimit -l`"
    };
    let reason = format!("lock-memory: the kernel refuses, {fix}");
    expect_refusal(&ended, &[1], &[&reason]);
}

#[test]
fn sigterm_finishes_what_was_received_and_exits_cleanly() {
    let server = Server::start(&["--shards", "4"]);
    let mut client = server.client();
    let stream: Vec<u8> = (0..10_000)
        .flat_map(|i| request(&["SET", &format!("key:{i}"), "v"]))
        .collect();
    client.send(&stream);
    // The first reply has come: the rest has been received, or is on its way into the socket.
    client.expect_bytes(b"+OK\r\n");
    server.signal("TERM");
    let rest = client.rest();
    assert!(
        rest.chunks(5).all(|reply| reply == b"+OK\r\n"),
        "a reply was cut"
    );
    let address = server.address();
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(
        Client::try_connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn a_port_can_be_used_again_at_once() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let mut client = server.client();
    client.expect("PING", "+PONG\\r\\n");
    server.signal("INT");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    drop(client);
    // Taken: no port is chosen, so this start is not tried again.
    let again = Server::start_on(&port, &[]);
    again.client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn strangers_are_refused_while_there_is_no_password() {
    let Some(address) = outward_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let server = Server::start(&["--bind", "0.0.0.0", "--shards", "2"]);
    let mut stranger = Client::connect((address, server.port).into());
    let told = stranger.rest();
    assert!(
        told.starts_with(b"-DENIED "),
        "{}",
        String::from_utf8_lossy(&told)
    );
    server
        .client()
        .expect("CONFIG SET requirepass secret", "+OK\\r\\n");
    let mut stranger = Client::connect((address, server.port).into());
    stranger.expect("AUTH secret", "+OK\\r\\n");
}

/// An address of this machine that is not loopback. Connecting a datagram socket sends nothing.
fn outward_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}
