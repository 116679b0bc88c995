//! The metrics port: what Prometheus reads there, who may see the page, and what bad input gets.
//!
//! Whether the text is Prometheus's format is asked of Prometheus's own parsers: that of its Python
//! client (installed by `make clients`) and, where it is unpacked beside that, promtool.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::client::request;
use common::process::{Folder, Server, free_port, run};
use common::{PATIENCE, now, skip_because};

/// A server with a metrics port, and that port.
fn start(arguments: &[&str]) -> (Server, u16) {
    let port = free_port();
    let text = port.to_string();
    let all = [&["--shards", "2", "--metrics-port", &text], arguments].concat();
    (Server::start(&all), port)
}

/// The answer to a request: its status line with the headers, and its body.
fn ask(port: u16, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    let text = String::from_utf8(bytes).expect("it answers with text");
    let (head, body) = text.split_once("\r\n\r\n").expect("it answers with a head");
    (head.to_owned(), body.to_owned())
}

fn get(port: u16, path: &str) -> (String, String) {
    ask(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
    )
}

fn scrape(port: u16) -> String {
    let (head, body) = get(port, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body
}

/// The value of the series with exactly this name and labels.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    let value = line.and_then(|rest| rest.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("{series} is not in {metrics}"));
    value.parse().expect("a number")
}

/// The values of all series of a name, added up.
fn total(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    lines
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[test]
fn metrics_tell_what_clients_did() {
    let (server, port) = start(&[]);
    let mut client = server.client();
    for number in 0..100 {
        client.expect(&format!("SET key:{number} x"), "+OK\\r\\n");
    }
    client.expect("GET key:1", "$1\\r\\nx\\r\\n");
    client.expect("GET nosuch", "$-1\\r\\n");
    client.expect("SET gone x PX 1", "+OK\\r\\n");
    client.ask("INCR key:1");
    client.ask("CLIENT LIST");
    let metrics = scrape(port);
    let calls = |name: &str| {
        let series = format!("coremap_command_calls_total{{command=\"{name}\"}}");
        value(&metrics, &series)
    };
    assert_eq!(calls("set"), 101.0);
    assert_eq!(calls("get"), 2.0);
    assert_eq!(calls("client|list"), 1.0);
    let failed = "coremap_command_failed_total{command=\"incr\"}";
    assert_eq!(value(&metrics, failed), 1.0);
    let errors = "coremap_error_replies_total{error=\"ERR\"}";
    assert_eq!(value(&metrics, errors), 1.0);
    let latencies = "coremap_command_duration_seconds";
    let count = value(&metrics, &format!("{latencies}_count{{command=\"set\"}}"));
    let infinite = format!("{latencies}_bucket{{command=\"set\",le=\"+Inf\"}}");
    assert_eq!((count, value(&metrics, &infinite)), (101.0, 101.0));
    assert!(value(&metrics, &format!("{latencies}_sum{{command=\"set\"}}")) > 0.0);
    assert!(total(&metrics, "coremap_keys") >= 100.0);
    assert!(total(&metrics, "coremap_commands_processed_total") >= 105.0);
    assert_eq!(total(&metrics, "coremap_keyspace_hits_total"), 1.0);
    assert_eq!(total(&metrics, "coremap_keyspace_misses_total"), 1.0);
    assert_eq!(total(&metrics, "coremap_core_answers"), 2.0);
    assert!(total(&metrics, "coremap_connections") >= 1.0);
    assert!(value(&metrics, "coremap_cpu_seconds_total{core=\"0\"}") > 0.0);
    assert!(value(&metrics, "coremap_memory_bytes{core=\"1\",kind=\"log\"}") > 0.0);
    assert!(value(&metrics, "process_resident_memory_bytes") > 0.0);
    assert_eq!(value(&metrics, "coremap_fsyncs_total"), 0.0);
}

#[test]
fn rounds_of_writing_to_disk_are_counted() {
    let folder = Folder::new();
    let dir = folder.path().to_str().expect("it is text");
    let (server, port) = start(&["--dir", dir, "--appendfsync", "always"]);
    server.wait_until_loaded();
    server.client().expect("SET a 1", "+OK\\r\\n");
    let metrics = scrape(port);
    assert!(value(&metrics, "coremap_fsyncs_total") >= 1.0);
    assert!(value(&metrics, "coremap_fsync_seconds_total") > 0.0);
}

#[test]
fn the_parsers_of_prometheus_take_every_line() {
    let (server, port) = start(&["--enable-debug-command", "local"]);
    let mut client = server.client();
    for command in [
        "SET a 1",
        "GET a",
        "MSET a 1 b 2 c 3",
        "INCR nonum",
        "NOSUCH",
    ] {
        client.ask(command);
    }
    let metrics = scrape(port);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/metrics.py");
    let script = script.to_str().expect("it is text");
    let python = unpacked("python/bin/python").filter(|_| {
        unpacked("python/installed")
            .and_then(|path| std::fs::read_to_string(path).ok())
            .is_some_and(|installed| installed.contains("prometheus"))
    });
    match python {
        Some(python) => pipe(&python, &[script], &metrics),
        None => skip_because("prometheus_client is not installed (make clients)"),
    }
    if let Some(promtool) = unpacked("prometheus/usr/bin/promtool") {
        pipe(&promtool, &["check", "metrics"], &metrics);
    }
}

/// A file below `target/clients`, if it is there.
fn unpacked(path: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    Some(target.join(path)).filter(|path| path.exists())
}

/// Runs a program that is to be content with its input.
fn pipe(program: &Path, arguments: &[&str], input: &str) {
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = process.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = process.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success(),
        "{}: {said}\n{input}",
        program.display()
    );
}

#[test]
fn there_is_no_port_unless_it_was_asked_for() {
    let (server, metrics_port) = start(&[]);
    let both = BTreeSet::from([server.port, metrics_port]);
    assert_eq!(listening_ports(&server), both);
    let server = Server::start(&["--shards", "1"]);
    assert_eq!(listening_ports(&server), BTreeSet::from([server.port]));
}

/// The TCP ports on which a process listens, as the kernel tells it.
fn listening_ports(server: &Server) -> BTreeSet<u16> {
    let folder = format!("/proc/{}", server.pid());
    let entries = std::fs::read_dir(format!("{folder}/fd")).expect("the server runs");
    let files = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let files: BTreeSet<PathBuf> = files.collect();
    let tables = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("{folder}/net/{table}")).unwrap_or_default());
    let mut ports = BTreeSet::new();
    for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
        // Number, local address, the other's, state (0A listens), six more, inode.
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[3] == "0A" && files.contains(Path::new(&format!("socket:[{}]", words[9]))) {
            let (_, port) = words[1].rsplit_once(':').expect("an address with a port");
            ports.insert(u16::from_str_radix(port, 16).expect("hexadecimal"));
        }
    }
    ports
}

#[test]
fn a_metrics_port_that_another_program_has_is_refused() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = listener.local_addr().expect("it is bound").port();
    let (port, taken) = (free_port().to_string(), taken.to_string());
    let ended = run(&["--port", &port, "--shards", "1", "--metrics-port", &taken]);
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(
        ended
            .said
            .contains(&format!("cannot listen on 127.0.0.1:{taken}")),
        "{}",
        ended.said
    );
}

#[test]
fn the_page_is_for_this_host_and_for_no_name_of_a_stranger() {
    let (_server, port) = start(&[]);
    let (head, page) = get(port, "/");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Security-Policy: default-src 'none'"));
    assert!(page.starts_with("<!doctype html>"));
    let (head, live) = get(port, "/live.json");
    assert!(head.contains("Content-Type: application/json"), "{head}");
    assert!(
        live.starts_with("{\"version\":\"") && live.ends_with("]}"),
        "{live}"
    );
    for host in ["evil.example", "localhost.evil.example:80"] {
        let request = format!("GET /live.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = ask(port, &request);
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    }
    let (_server, port) = start(&["--metrics-page", "no"]);
    assert!(get(port, "/").0.starts_with("HTTP/1.1 403 "));
    assert!(get(port, "/live.json").0.starts_with("HTTP/1.1 403 "));
    scrape(port);
}

#[test]
fn hot_keys_are_found_while_somebody_looks() {
    let (server, port) = start(&[]);
    let mut client = server.client();
    // The last command of the pipeline is another one.
    let keys: [&[u8]; 4] = [b"hot\"\xff", b"hot\"\xff", b"hot\"\xff", b"other"];
    let pipeline = keys.map(|key| request(&[&b"GET"[..], key])).concat();
    let until = now() + PATIENCE;
    loop {
        let (_, live) = get(port, "/live.json");
        if live.contains("\"hot\":[[\"hot\\\"\u{fffd}\",") {
            break;
        }
        assert!(now() < until, "{live}");
        client.send(&pipeline);
        client.expect_bytes(&b"$-1\r\n".repeat(keys.len()));
    }
}

#[test]
fn what_is_no_request_is_refused_in_time() {
    let (server, port) = start(&[]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(10_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    for (request, status) in [
        ("\0\r\n\r\n", "400"),
        ("*1\r\n$4\r\nPING\r\n", "400"),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "405",
        ),
        ("GET /nosuch HTTP/1.1\r\n\r\n", "404"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (&long, "431"),
        (&many, "431"),
    ] {
        let (head, _) = ask(port, request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    let (head, body) = ask(port, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty());

    let before_count = server.descriptor_count();
    let silent: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens"))
        .collect();
    for mut stream in &silent {
        stream.write_all(b"GET / HT").expect("it reads");
    }
    scrape(port);
    drop(silent);
    let until = now() + PATIENCE;
    while server.descriptor_count() > before_count {
        assert!(now() < until, "connections are kept");
    }
    server.client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn a_server_with_readers_at_its_port_ends_in_order() {
    let (server, port) = start(&[]);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.write_all(b"GET /metrics HT").expect("it reads");
    server.signal("TERM");
    let (status, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn the_dashboard_names_only_metrics_that_there_are() {
    let (server, port) = start(&[]);
    let mut client = server.client();
    client.expect("SET a 1", "+OK\\r\\n");
    client.ask("NOSUCH");
    let metrics = scrape(port);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana-dashboard.json");
    let dashboard = std::fs::read_to_string(path).expect("it is there");
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = dashboard.split(|char| !is_part(char));
    let names: BTreeSet<&str> = words
        .filter(|word| word.starts_with("coremap_") || word.starts_with("process_"))
        .collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let is_there = |line: &str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        assert!(metrics.lines().any(is_there), "{name} is not in {metrics}");
    }
}
