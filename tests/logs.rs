//! The log: which lines are written, how they look, where they go, how many of one kind, and that nobody
//! waits for them.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::process::{Folder, Server, coremap, free_port, run};
use common::{PATIENCE, now};

/// What a server has logged by its end.
fn said(server: Server) -> String {
    server.signal("TERM");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    said
}

#[test]
fn lines_have_a_time_and_a_level() {
    let said = said(Server::start(&["--shards", "1"]));
    let line = said.lines().find(|line| line.contains("ready on "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = line.split(' ').collect();
    let is_time = |char: char| char.is_ascii_digit() || "-T:.Z".contains(char);
    assert!(
        words[0].len() == 24 && words[0].chars().all(is_time),
        "{line}"
    );
    assert_eq!(words[1], "notice", "{line}");
}

#[test]
fn lines_of_json_hold_the_same() {
    let said = said(Server::start(&["--shards", "1", "--log-format", "json"]));
    let is_object = |line: &str| {
        line.starts_with("{\"at\":\"20")
            && line.contains("\"level\":\"notice\",\"message\":\"")
            && line.ends_with("\"}")
    };
    assert!(!said.is_empty() && said.lines().all(is_object), "{said}");
    assert!(said.contains("\"message\":\"ready on "), "{said}");
}

#[test]
fn a_level_hides_what_matters_less_and_can_change() {
    let server = Server::start(&["--shards", "1", "--loglevel", "warning"]);
    let mut client = server.client();
    client.expect("CONFIG SET loglevel verbose", "+OK\\r\\n");
    client.expect(
        "CONFIG GET loglevel",
        "*2\\r\\n$8\\r\\nloglevel\\r\\n$7\\r\\nverbose\\r\\n",
    );
    // Within a second.
    let until = now() + Duration::from_millis(1_500);
    while now() < until {
        drop(server.client());
    }
    let said = said(server);
    assert!(!said.contains("ready on"), "{said}");
    assert!(said.contains(" verbose 127.0.0.1:"), "{said}");
    assert!(said.contains(" connected, core 0 serves it"), "{said}");
}

#[test]
fn of_many_lines_of_one_kind_some_are_written_and_the_rest_is_counted() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.log");
    let file = path.to_str().expect("it is text");
    let arguments = [
        "--maxclients",
        "1",
        "--loglevel",
        "warning",
        "--logfile",
        file,
    ];
    let server = Server::start(&[&["--shards", "1"], &arguments[..]].concat());
    // Whoever looked whether the server is there may not have gone yet.
    let until = now() + PATIENCE;
    let _keeper = loop {
        let mut client = server.client();
        if client.try_send(b"PING\r\n").is_ok()
            && client.try_reply().as_deref() == Some(b"+PONG\r\n")
        {
            break client;
        }
        assert!(now() < until, "it serves nobody");
    };
    for _ in 0..100 {
        let told = server.client().rest();
        assert!(told.starts_with(b"-ERR max number of clients"));
    }
    let until = now() + PATIENCE;
    let said = loop {
        let said = std::fs::read_to_string(&path).expect("it is there");
        if said.contains(" more refusals in 10 s\n") {
            break said;
        }
        assert!(now() < until, "{said}");
        common::pass(Duration::from_millis(100));
    };
    let count = said.matches(" warning refused 127.0.0.1:").count();
    assert!((1..=20).contains(&count), "{count} lines: {said}");
    assert!(said.contains(": maxclients"), "{said}");
}

#[test]
fn a_metrics_port_without_descriptors_does_not_fill_the_log() {
    let port = free_port();
    let text = port.to_string();
    let server = Server::start(&["--shards", "1", "--metrics-port", &text]);
    let limits = std::process::Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--nofile=3:"])
        .status();
    assert!(limits.is_ok_and(|status| status.success()));
    let waiting = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    common::pass(Duration::from_secs(2));
    drop(waiting);
    let said = said(server);
    let count = said.matches("cannot accept on the metrics port").count();
    assert!((1..=20).contains(&count), "{count} lines: {said}");
}

#[test]
fn the_log_can_go_to_a_file_to_which_it_is_appended() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.log");
    std::fs::write(&path, "before\n").expect("it is writable");
    let path = path.to_str().expect("it is text");
    let said = said(Server::start(&["--shards", "1", "--logfile", path]));
    assert_eq!(said, "");
    let text = std::fs::read_to_string(path).expect("it is there");
    assert!(text.starts_with("before\n"), "{text}");
    assert!(text.contains(" notice ready on "), "{text}");
    assert!(text.contains("SIGTERM: stopping"), "{text}");

    let ended = run(&["--logfile", "/nonexistent/log", "--port", "0"]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    let line = "coremap: error: cannot open logfile /nonexistent/log: ";
    assert!(ended.said.starts_with(line), "{}", ended.said);
}

#[test]
fn warnings_of_the_configuration_are_in_the_log() {
    let folder = Folder::new();
    let path = folder.path().join("coremap.log");
    let path = path.to_str().expect("it is text");
    let said = said(Server::start(&[
        "--logfile",
        path,
        "--rdbcompression",
        "yes",
    ]));
    assert_eq!(said, "");
    let text = std::fs::read_to_string(path).expect("it is there");
    assert!(text.contains(" warning --rdbcompression"), "{text}");
}

/// A pipe that is full kept the core that had something to say.
#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let (mut reader, mut writer) = std::io::pipe().expect("descriptors are left");
    // What a pipe holds on Linux.
    writer.write_all(&[b'\n'; 1 << 16]).expect("it is empty");
    let port = free_port();
    let mut child = Command::new(coremap())
        .args(["--shards", "1", "--loglevel", "debug"])
        .args(["--port", &port.to_string()])
        .stderr(writer)
        .spawn()
        .expect("it is built");
    let until = now() + PATIENCE;
    let connect = || TcpStream::connect(("127.0.0.1", port));
    let mut stream = loop {
        match connect() {
            Ok(stream) => break stream,
            Err(error) => assert!(now() < until, "it does not start: {error}"),
        }
    };
    for _ in 0..20 {
        drop(connect().expect("it listens"));
    }
    let patience = stream.set_read_timeout(Some(PATIENCE));
    patience.expect("it can be set");
    let mut reply = [0; 7];
    let asked = stream.write_all(b"PING\r\n");
    let answered = asked.and_then(|()| stream.read_exact(&mut reply));
    let kill = format!("kill -TERM {}", child.id());
    let told = Command::new("sh").args(["-c", &kill]).status();
    let mut status = child.try_wait();
    while matches!(status, Ok(None)) && now() < until {
        common::pass(Duration::from_millis(10));
        status = child.try_wait();
    }
    // Both fail only if it is gone already.
    let _ = (child.kill(), child.wait());
    answered.expect("it answers");
    assert!(told.is_ok_and(|status| status.success()));
    let code = status.expect("it is our child").and_then(|it| it.code());
    assert_eq!(code, Some(0));
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it is text");
}

#[test]
fn two_servers_of_one_process_have_a_log_each() {
    let folder = Folder::new();
    let text = |name: &str, loglevel: &str| {
        let path = folder.path().join(name);
        let mut config = coremap::Config::default();
        config.log = true;
        config.settings.port = 0;
        config.settings.shards = 1;
        config.settings.maxmemory_bytes = 64 << 20;
        config.settings.loglevel = loglevel.to_owned();
        config.settings.logfile = path.to_str().expect("it is text").to_owned();
        let server = coremap::Server::start(config).expect("it starts");
        (server, path)
    };
    let (quiet, loud) = (text("quiet", "warning"), text("loud", "notice"));
    for (server, _) in [&quiet, &loud] {
        server.stop();
    }
    let [quiet, loud] = [quiet, loud].map(|(server, path)| {
        server.wait().expect("it ends");
        std::fs::read_to_string(path).expect("it is there")
    });
    assert_eq!(quiet, "");
    assert!(loud.contains(" notice ready on 127.0.0.1:"), "{loud}");
}
