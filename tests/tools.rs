//! The tools that come with Redis against a server: redis-benchmark and redis-cli in the ways people
//! run them, and the exporter that Prometheus scrapes.
//!
//! redis-benchmark writes its whole pipeline before it reads a reply, so it hangs with servers that
//! stop reading while their output is blocked. Where the tools are missing the tests say so.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::process::{Folder, Server, free_port, run_program};
use common::{PATIENCE, now, scale, skip_because};

/// Runs redis-benchmark against a server with these arguments; fails on errors and hangs.
fn benchmark(shards: &str, arguments: &[&str]) {
    if Command::new("redis-benchmark")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip_because("redis-benchmark is not installed");
    }
    let server = Server::start(&["--shards", shards]);
    let port = server.port.to_string();
    let all = [
        &["-p", &port, "-q", "-t", "set,get", "-r", "1000000"],
        arguments,
    ]
    .concat();
    let ended = run_program(Path::new("redis-benchmark"), &all);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let results = ended.said.matches("requests per second, p50=").count();
    let has_error = ended.said.contains("rror") || ended.said.contains("WARNING");
    assert!(results >= 2 && !has_error, "{}", ended.said);
    server.client().expect("PING", "+PONG\\r\\n");
}

#[test]
fn redis_benchmark_runs_huge_pipelines_with_any_number_of_shards() {
    let count = scale("1000000", "4000000");
    for shards in ["1", "2", "8"] {
        benchmark(shards, &["-n", count, "-c", "50", "-P", "20000"]);
    }
}

#[test]
fn redis_benchmark_runs_huge_pipelines_from_several_threads() {
    let count = scale("1000000", "4000000");
    benchmark(
        "2",
        &["-n", count, "-c", "50", "-P", "20000", "--threads", "2"],
    );
}

#[test]
fn redis_benchmark_runs_without_pipelines() {
    for shards in ["1", "2", "8"] {
        benchmark(
            shards,
            &["-n", scale("20000", "1000000"), "-c", "50", "-P", "1"],
        );
    }
}

#[test]
fn redis_benchmark_runs_with_large_values() {
    for shards in ["1", "2", "8"] {
        benchmark(
            shards,
            &[
                "-r",
                "1000",
                "-n",
                scale("4000", "100000"),
                "-P",
                "100",
                "-d",
                "100000",
            ],
        );
    }
}

#[test]
fn redis_cli_runs_commands_and_pipes() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        return skip_because("redis-cli is not installed");
    }
    let server = Server::start(&["--shards", "2"]);
    let port = server.port.to_string();
    let run = |line: &str| {
        let command = format!("redis-cli -p {port} {line}");
        let ended = run_program(Path::new("sh"), &["-c", &command]);
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.said);
        ended.said
    };
    assert_eq!(run("SET greeting hello").trim(), "OK");
    assert_eq!(run("GET greeting").trim(), "hello");
    assert_eq!(run("-3 GET nokey").trim(), "");
    assert!(run("INFO server").contains("redis_version:"));
    assert_eq!(run("--scan --pattern 'greet*'").trim(), "greeting");
    let piped = run("--pipe < /dev/null");
    assert!(piped.contains("errors: 0"), "{piped}");
    assert!(
        run("--bigkeys").contains("Sampled 1 keys"),
        "the key is found"
    );
    assert_eq!(run("-n 0 DEL greeting").trim(), "1");
}

#[test]
fn redis_cli_looks_at_a_server_in_all_its_ways() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        return skip_because("redis-cli is not installed");
    }
    let server = Server::start(&["--shards", "2"]);
    let port = server.port.to_string();
    let type_into = |line: &str| {
        let command = format!("{line} | timeout 3 redis-cli -p {port}");
        run_program(Path::new("sh"), &["-c", &command]).said
    };
    let typed = type_into("printf 'SET a 1\\nINCR a\\nGET nosuch\\nHSET h f v\\n'");
    assert!(typed.starts_with("OK\n2\n\n"), "{typed}");
    assert!(typed.contains("ERR 'HSET' is not supported"), "{typed}");
    // What is killed by the timeout must have written its lines.
    let command = |options: &str| format!("timeout 3 stdbuf -oL redis-cli -p {port} {options}");
    let say = |options: &str| run_program(Path::new("sh"), &["-c", &command(options)]).said;
    let stat = say("--stat -i 0.5");
    assert!(stat.contains("keys") && !stat.contains("ERR"), "{stat}");
    let latency = say("--latency -i 1");
    let numbers: Vec<f64> = latency
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    assert!(numbers.len() >= 4 && numbers[3] > 10.0, "{latency}");
    let memory = say("--memkeys");
    assert!(memory.contains("Sampled 1 keys"), "{memory}");
    let many = "for i in $(seq 1000); do printf '*3\\r\\n$3\\r\\nSET\\r\\n$4\\r\\n%04d\\r\\n$1\\r\\nv\\r\\n' $i; done";
    let pipe = format!("{many} | redis-cli -p {port} --pipe");
    let piped = run_program(Path::new("sh"), &["-c", &pipe]).said;
    assert!(piped.contains("errors: 0, replies: 1000"), "{piped}");
    server.client().expect("DBSIZE", ":1001\\r\\n");
}

#[test]
fn redis_benchmark_runs_every_string_test_over_both_protocols_and_a_unix_socket() {
    if Command::new("redis-benchmark")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip_because("redis-benchmark is not installed");
    }
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    let socket = socket.to_str().expect("it is text");
    let server = Server::start(&["--shards", "2", "--unixsocket", socket]);
    let port = server.port.to_string();
    let tests = [
        "-q",
        "-n",
        scale("4000", "100000"),
        "-t",
        "ping,set,get,incr,mset",
    ];
    for place in [&["-p", &port][..], &["-p", &port, "-3"], &["-s", socket]] {
        let ended = run_program(Path::new("redis-benchmark"), &[place, &tests].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        let results = ended.said.matches("requests per second, p50=").count();
        let has_error = ended.said.contains("rror") || ended.said.contains("WARNING");
        assert!(results == 6 && !has_error, "{}", ended.said);
    }
}

#[test]
fn the_exporter_of_prometheus_scrapes_without_an_error() {
    let Some(program) = exporter() else {
        return skip_because("prometheus-redis-exporter is not installed");
    };
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.expect("SET a 1 EX 1000", "+OK\\r\\n");
    client.expect("CONFIG SET slowlog-log-slower-than 0", "+OK\\r\\n");
    client.expect("CONFIG SET latency-monitor-threshold 1", "+OK\\r\\n");
    let exporter = Exporter::start(&program, server.port);
    let metrics = exporter.scrape();
    for line in [
        "redis_up 1",
        "redis_exporter_last_scrape_error{err=\"\"} 0",
        "redis_db_keys{db=\"db0\"} 1",
        "redis_db_keys_expiring{db=\"db0\"} 1",
        "redis_connected_slaves 0",
        "redis_commands_total{cmd=\"set\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is missing in {metrics}"
        );
    }
    for name in [
        "redis_memory_used_bytes ",
        "redis_memory_max_bytes ",
        "redis_memory_used_peak_bytes ",
        "redis_commands_duration_seconds_total{cmd=\"set\"} ",
        "redis_keyspace_hits_total ",
        "redis_cpu_sys_seconds_total ",
        "redis_slowlog_length ",
        "redis_latency_percentiles_usec{cmd=\"set\",quantile=\"50\"} ",
    ] {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    let said = exporter.end();
    assert!(!said.contains("level=error"), "{said}");
}

/// Debian's exporter, installed, or unpacked below `target/clients`.
fn exporter() -> Option<PathBuf> {
    let unpacked = "target/clients/exporter/usr/bin/prometheus-redis-exporter";
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(unpacked);
    let places = [
        PathBuf::from("/usr/bin/prometheus-redis-exporter"),
        unpacked,
    ];
    places.into_iter().find(|place| place.exists())
}

/// A running exporter, killed when dropped.
struct Exporter {
    process: Child,
    port: u16,
}

impl Exporter {
    fn start(program: &Path, server_port: u16) -> Self {
        let port = free_port();
        let process = Command::new(program)
            .arg(format!("--redis.addr=redis://127.0.0.1:{server_port}"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self { process, port }
    }

    /// The text of its metrics, as soon as it listens.
    fn scrape(&self) -> String {
        let until = now() + PATIENCE;
        let mut stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(now() < until, "it does not listen: {error}"),
            }
        };
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it reads");
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .expect("it answers with text");
        text
    }

    /// What it wrote.
    fn end(mut self) -> String {
        self.process.kill().expect("it runs");
        let mut said = String::new();
        let errors = self.process.stderr.as_mut().expect("it is piped");
        errors.read_to_string(&mut said).expect("it writes text");
        said
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
