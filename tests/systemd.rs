//! Under a service manager: the tests play its side of the socket, and restart the server as it would.
//!
//! Goal: the manager hears that the server is ready when it is, that all is well while every core makes
//! progress and never otherwise; what can change while it runs changes at SIGHUP, and nobody who connects
//! during a restart is refused. Method: a real server with the environment that systemd gives it
//! (sd_notify(3), sd_listen_fds(3)). A core is stuck as a bug would have it: the debugger's interface
//! stops its thread, and that one only.

#![expect(unsafe_code, reason = "ptrace has no safe wrapper")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::client::{Client, request};
use common::process::{Folder, Server, coremap, free_port};
use common::{PATIENCE, now, scale};

/// A manager that listens: every message, in the order in which they came.
struct Manager {
    place: String,
    messages: Receiver<String>,
    _folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let place = folder.path().join("notify");
        let socket = UnixDatagram::bind(&place).expect("a socket in a folder of our own");
        let (sender, messages) = channel();
        // Ends with the process: the kernel queues ten messages, and whoever sends more waits.
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(len) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..len]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            place: format!("NOTIFY_SOCKET={}", place.display()),
            messages,
            _folder: folder,
        }
    }

    /// Starts a server that is to notify it, and to be heard of every `watchdog`.
    fn start(&self, watchdog: Duration, arguments: &[&str]) -> Server {
        let watchdog = format!("WATCHDOG_USEC={}", watchdog.as_micros());
        let program = coremap();
        let program = program.to_str().expect("its path is text");
        let first = [self.place.as_str(), watchdog.as_str(), program];
        Server::start_program(Path::new("/usr/bin/env"), &[&first, arguments].concat())
    }

    /// All messages until one has the line `wanted`, that one included.
    #[track_caller]
    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|_| panic!("no {wanted} after {heard:?}"));
            let is_it = message.lines().any(|line| line == wanted);
            heard.push(message);
            if is_it {
                return heard;
            }
        }
    }

    /// What comes within a time.
    fn hear_for(&self, duration: Duration) -> Vec<String> {
        let until = now() + duration;
        let mut heard = Vec::new();
        while let Ok(message) = self
            .messages
            .recv_timeout(until.saturating_duration_since(now()))
        {
            heard.push(message);
        }
        heard
    }
}

/// Long enough for a machine under load, and a beat of a quarter of it.
const WATCHDOG: Duration = Duration::from_secs(2);

/// A thread of another process that does not run until this is dropped; all its others do.
struct Stuck(i32);

impl Stuck {
    fn stop(thread: i32) -> Self {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: neither request reads or writes memory of this process.
        let results = unsafe {
            [
                libc::ptrace(libc::PTRACE_SEIZE, thread, none, none),
                libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none),
            ]
        };
        assert_eq!(results, [0, 0], "{}", std::io::Error::last_os_error());
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert_eq!(stopped, thread);
        Self(thread)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: as above. It fails only if the thread is gone.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) };
    }
}

/// The threads of a server's cores: those that may use one CPU only.
fn core_threads(server: &Server) -> Vec<i32> {
    let tasks = format!("/proc/{}/task", server.pid());
    let tasks = std::fs::read_dir(tasks).expect("the server runs");
    let mut threads = Vec::new();
    for task in tasks {
        let path = task.expect("it can be read").path();
        let text = |file| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        let status = text("status");
        let mut lines = status.lines();
        let cpus = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let is_pinned = cpus.is_some_and(|cpus| cpus.trim().parse::<u32>().is_ok());
        if is_pinned && text("comm").starts_with("coremap-") {
            let id = path.file_name().and_then(|name| name.to_str());
            threads.push(id.expect("a number").parse().expect("a number"));
        }
    }
    threads.sort_unstable();
    threads
}

#[test]
fn a_manager_hears_of_readiness_when_the_data_is_loaded_and_not_before() {
    let manager = Manager::new();
    let data = Folder::new();
    let dir = data.path().to_str().expect("it is text");
    let arguments = ["--shards", "2", "--dir", dir, "--maxmemory", "1gb"];
    let key_count = scale(200_000, 2_000_000);
    {
        let server = Server::start(&arguments);
        let mut client = server.client();
        for first in (0..key_count).step_by(10_000) {
            let keys = first..first + 10_000;
            let batch: Vec<u8> = keys
                .flat_map(|key| request(&["SET", &format!("key:{key}"), "0123456789abcdef"]))
                .collect();
            client.send(&batch);
            client.replies(10_000);
        }
    }
    let port = free_port();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            let program = coremap();
            let program = program.to_str().expect("its path is text");
            let all = [&[manager.place.as_str(), program][..], &arguments].concat();
            Server::start_program_on(port, Path::new("/usr/bin/env"), &all)
        });
        let before = manager.hear_until("READY=1");
        Client::connect(address).expect("DBSIZE", &format!(":{key_count}\\r\\n"));
        let is_loading = |message: &String| message.contains("STATUS=loading: ");
        assert!(before.iter().any(is_loading), "{before:?}");
        let server = started.join().expect("it has started");
        let status = format!("STATUS={key_count} keys, 0 ops/s");
        manager.hear_until(&status);
        drop(server);
    });
}

#[test]
fn the_watchdog_is_fed_while_all_cores_run_busy_or_idle() {
    let manager = Manager::new();
    let server = manager.start(WATCHDOG, &["--shards", "2"]);
    manager.hear_until("READY=1");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut client = server.client();
        let is_over = &is_over;
        scope.spawn(move || {
            let batch: Vec<u8> = (0..1_000)
                .flat_map(|key| request(&["SET", &format!("key:{key}"), "x"]))
                .collect();
            while !is_over.load(Ordering::Relaxed) {
                client.send(&batch);
                client.replies(1_000);
            }
        });
        for _ in 0..6 {
            manager.hear_until("WATCHDOG=1");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    manager.hear_until("STATUS=1000 keys, 0 ops/s");
}

#[test]
fn the_watchdog_starves_while_any_one_core_is_stuck() {
    let manager = Manager::new();
    let server = manager.start(WATCHDOG, &["--shards", "2"]);
    manager.hear_until("WATCHDOG=1");
    let threads = core_threads(&server);
    assert_eq!(threads.len(), 2);
    for thread in threads {
        manager.hear_until("WATCHDOG=1");
        let stuck = Stuck::stop(thread);
        // The question before may have been answered by all.
        let heard = manager.hear_for(2 * WATCHDOG);
        let fed_count = heard.iter().filter(|it| *it == "WATCHDOG=1").count();
        assert!(fed_count <= 1, "{heard:?}");
        drop(stuck);
    }
    manager.hear_until("WATCHDOG=1");
    server.signal("TERM");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    for core in ["core 0", "core 1"] {
        let line = format!("no progress for 2 beats on {core}\n");
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn the_end_is_announced_whoever_asks_for_it() {
    for command in [None, Some("SHUTDOWN")] {
        let manager = Manager::new();
        let server = manager.start(WATCHDOG, &["--shards", "2"]);
        manager.hear_until("READY=1");
        match command {
            None => server.signal("TERM"),
            Some(command) => server.client().send(format!("{command}\r\n").as_bytes()),
        }
        manager.hear_until("STOPPING=1");
        let (status, said) = server.wait();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

#[test]
fn a_server_without_a_manager_has_no_thread_for_it_and_info_says_so() {
    let names = |server: &Server| -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()));
        let tasks = tasks.expect("the server runs").flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
            .collect()
    };
    let has_monitor = |server: &Server| names(server).iter().any(|name| name == "monitor\n");
    let says = |server: &Server, supervisor: &str| {
        let info = server.client().value("INFO server").text();
        let line = format!("\r\nprocess_supervised:{supervisor}\r\n");
        assert!(info.contains(&line), "{info}");
    };
    let server = Server::start(&[]);
    assert!(!has_monitor(&server));
    says(&server, "no");
    let manager = Manager::new();
    let server = manager.start(WATCHDOG, &[]);
    manager.hear_until("WATCHDOG=1");
    assert!(has_monitor(&server));
    says(&server, "systemd");
}

#[test]
fn a_reload_changes_what_can_change_and_names_the_rest() {
    let folder = Folder::new();
    let file = folder.path().join("coremap.conf");
    let write = |text: &str| std::fs::write(&file, text).expect("it is writable");
    write("timeout 5\ntcp-backlog 100\n");
    let manager = Manager::new();
    let path = file.to_str().expect("it is text");
    let server = manager.start(WATCHDOG, &[path, "--shards", "2", "--maxclients", "99"]);
    manager.hear_until("READY=1");
    let mut clients = [server.client(), server.client(), server.client()];
    clients[0].expect("CONFIG SET slowlog-max-len 7", "+OK\\r\\n");
    let mut reload = |text: &str, settings: &[(&str, &str)]| {
        write(text);
        server.signal("HUP");
        let heard = manager.hear_until("READY=1");
        let is_reloading = |it: &String| it.starts_with("RELOADING=1\nMONOTONIC_USEC=");
        assert!(heard.iter().any(is_reloading), "{heard:?}");
        for client in &mut clients {
            for (name, value) in settings {
                let reply = client.value(&format!("CONFIG GET {name}")).list();
                let value_now = reply[1].clone().text();
                assert_eq!(value_now, *value, "{name}");
            }
        }
    };
    let text = "timeout 9\ntcp-backlog 200\nmaxclients 50\nmaxmemory-policy allkeys-lru\n";
    let settings = [
        ("timeout", "9"),
        ("tcp-backlog", "100"),
        ("maxclients", "99"),
        ("maxmemory-policy", "allkeys-lru"),
        ("slowlog-max-len", "128"),
    ];
    reload(text, &settings);
    reload(text, &settings);
    reload("timeout 1\nmaxmemroy 1gb\n", &settings);
    reload("timeout 1\nmaxmemory 1pb\n", &settings);
    std::fs::remove_file(&file).expect("it is there");
    server.signal("HUP");
    manager.hear_until("READY=1");
    server.signal("TERM");
    let (_, said) = server.wait();
    let missing = format!("SIGHUP: nothing was changed: cannot read {path}: no such file");
    assert!(said.contains(&missing), "no `{missing}` in: {said}");
    for line in [
        "SIGHUP: settings read again, changed: maxmemory-policy, slowlog-max-len, timeout\n",
        " warning tcp-backlog cannot change while the server runs; it will at the next start\n",
        "SIGHUP: settings read again, nothing has changed\n",
        ":2: unknown setting 'maxmemroy', did you mean 'maxmemory'?\n",
        "SIGHUP: nothing was changed: ",
    ] {
        assert!(said.contains(line), "no `{line}` in: {said}");
    }
}

/// The log said that nothing was changed, and then the cores changed it all the same.
#[test]
fn what_a_stuck_core_makes_of_a_reload_is_said_and_comes_true() {
    let folder = Folder::new();
    let file = folder.path().join("coremap.conf");
    let manager = Manager::new();
    std::fs::write(&file, "timeout 5\n").expect("it is writable");
    let path = file.to_str().expect("it is text");
    let server = manager.start(Duration::from_secs(60), &[path, "--shards", "2"]);
    manager.hear_until("READY=1");
    let mut clients = [server.client(), server.client()];
    for (timeout, thread) in (6..).zip(core_threads(&server)) {
        let stuck = Stuck::stop(thread);
        std::fs::write(&file, format!("timeout {timeout}\n")).expect("it is writable");
        server.signal("HUP");
        manager.hear_until("READY=1");
        drop(stuck);
        let value = format!("*2\r\n$7\r\ntimeout\r\n$1\r\n{timeout}\r\n");
        let until = now() + PATIENCE;
        while !clients
            .iter_mut()
            .all(|client| client.ask("CONFIG GET timeout") == value.as_bytes())
        {
            assert!(now() < until, "not all cores have changed it");
        }
    }
    server.signal("TERM");
    let (_, said) = server.wait();
    for line in [
        "core 0 does not answer: no core has changed them yet\n",
        "SIGHUP: settings read again, changed: timeout\n",
        "SIGHUP: core 1 does not answer, it changes them once it goes on\n",
    ] {
        assert!(said.contains(line), "no `{line}` in: {said}");
    }
}

#[test]
fn the_status_shows_keys_and_commands_per_second_also_when_there_are_none() {
    let manager = Manager::new();
    let server = manager.start(WATCHDOG, &["--shards", "2"]);
    manager.hear_until("READY=1");
    manager.hear_until("STATUS=0 keys, 0 ops/s");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mut client, is_over) = (server.client(), &is_over);
        scope.spawn(move || {
            // One key, ten thousand commands a second.
            while !is_over.load(Ordering::Relaxed) {
                client.send(&request(&["SET", "key", "x"]).repeat(100));
                client.replies(100);
                common::pass(Duration::from_millis(10));
            }
        });
        let heard = manager.hear_for(Duration::from_secs(4));
        is_over.store(true, Ordering::Relaxed);
        let rates = heard.iter().filter_map(|message| {
            let rate = message.strip_prefix("STATUS=1 keys, ")?;
            rate.strip_suffix(" ops/s")?.parse::<u64>().ok()
        });
        let most = rates.max();
        assert!(
            most.is_some_and(|rate| (1_000..=10_000).contains(&rate)),
            "{heard:?}"
        );
    });
}

/// A server at a socket that was there before it, as `systemd.socket` would start it.
struct Activated(Child);

impl Activated {
    /// The shell puts the socket where systemd does and names the process that is to have it.
    fn start(listener: &TcpListener, arguments: &[&str]) -> Self {
        let socket = listener.try_clone().expect("descriptors are left");
        let child = Command::new("/bin/sh")
            .args([
                "-c",
                "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null",
            ])
            .arg("sh")
            .arg(coremap())
            .args(["--shards", "2", "--port", "1", "--bind", "192.0.2.1"])
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("there is a shell"))
    }

    fn stop(mut self, signal: &str) {
        let command = format!("kill -{signal} {}", self.0.id());
        let status = Command::new("/bin/sh").args(["-c", &command]).status();
        assert!(status.is_ok_and(|status| status.success()));
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How clients fared who connect, send one command, wait for its reply and leave.
#[derive(Default, Debug)]
struct Fared {
    answered_count: usize,
    refused_count: usize,
    /// Accepted, then closed without a reply.
    closed_count: usize,
}

impl Fared {
    fn visit(&mut self, address: SocketAddr) {
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.refused_count += 1;
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let patience = stream.set_read_timeout(Some(PATIENCE));
        patience.expect("it can be set");
        let mut reply = [0; 7];
        let asked = stream.write_all(b"PING\r\n");
        match asked.and_then(|()| stream.read_exact(&mut reply)) {
            Ok(()) => {
                assert_eq!(&reply, b"+PONG\r\n");
                self.answered_count += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no reply"),
            Err(_) => self.closed_count += 1,
        }
    }
}

#[test]
fn nobody_who_connects_during_a_restart_is_refused_at_an_inherited_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let is_over = AtomicBool::new(false);
    let mut server = Activated::start(&listener, &[]);
    let fared = std::thread::scope(|scope| {
        let visits = scope.spawn(|| {
            let mut fared = Fared::default();
            while !is_over.load(Ordering::Relaxed) {
                fared.visit(address);
            }
            fared
        });
        for signal in ["TERM", "KILL", "TERM", "KILL"] {
            let mut own = Fared::default();
            while own.answered_count < 20 {
                own.visit(address);
            }
            server.stop(signal);
            server = Activated::start(&listener, &[]);
        }
        Fared::default().visit(address);
        is_over.store(true, Ordering::Relaxed);
        visits.join().expect("it ends")
    });
    assert_eq!(fared.refused_count, 0, "{fared:?}");
    // A restart can close the connection that is being served.
    assert!(fared.closed_count <= 4, "{fared:?}");
    assert!(fared.answered_count > 4, "{fared:?}");
}

#[test]
fn all_cores_serve_an_inherited_socket_whatever_steers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let _server = Activated::start(&listener, &["--steering", "hash"]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.expect("PING", "+PONG\\r\\n");
    }
    let cores = clients[0].value("INFO cores").text();
    assert_eq!(cores.matches("connections=2,").count(), 2, "{cores}");
}

#[test]
fn a_killed_server_is_followed_by_one_on_the_same_port_at_once() {
    let port = free_port().to_string();
    for _ in 0..scale(5, 100) {
        let server = Server::start_on(&port, &["--shards", "2"]);
        let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
        for client in &mut clients {
            client.expect("SET key value", "+OK\\r\\n");
        }
        server.signal("KILL");
        let (status, _) = server.wait();
        assert_eq!(status.code(), None);
    }
}
