//! The tools that come with Redis against a server: redis-benchmark in the ways people run it, and
//! redis-cli with a command and with a pipe.
//!
//! redis-benchmark writes its whole pipeline before it reads a reply, so it hangs with servers that
//! stop reading while their output is blocked. Where the tools are missing the tests say so.

mod common;

use std::path::Path;
use std::process::Command;

use common::process::{Server, run_program};
use common::{scale, skip_because};

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
