//! Real client libraries against a server: their handshakes, both protocols, pipelines,
//! transactions, iterations, pools, passwords, unix sockets, and what strings are used for every day.
//!
//! What a library sends when it connects is not in any specification, so the libraries are run: by
//! the programs in `tests/clients/`, installed by `make clients` below `target/clients`. A program gets
//! the port and the unix socket of a server and the port of one that has a password, and ends with
//! an error if anything is not as it should be. Where redis-server 7.0 is installed it is asked first: what
//! it does not pass is no test of Coremap.

mod common;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::process::{Folder, Server, redis};

#[test]
fn redis_py_does_what_its_users_do() {
    run("redis-py", "python/bin/python", source("redis_py.py"));
}

#[test]
fn ioredis_does_what_its_users_do() {
    run_node("ioredis", "ioredis.js");
}

#[test]
fn node_redis_does_what_its_users_do() {
    run_node("redis", "node_redis.js");
}

#[test]
fn the_redis_crate_does_what_its_users_do() {
    run("redis", RUST_PROGRAM, "redis");
}

#[test]
fn the_fred_crate_does_what_its_users_do() {
    run("fred", RUST_PROGRAM, "fred");
}

/// The program with both crates; its first argument names one.
const RUST_PROGRAM: &str = "rust/debug/coremap-clients";

fn run_node(package: &str, script: &str) {
    // The folder of the package tells whether it is installed; node itself comes from the system.
    let folder = format!("node/node_modules/{package}");
    match installed(&folder) {
        Some(_) => run_program(Path::new("node"), source(script).as_os_str()),
        None => skip(package),
    }
}

fn run(library: &str, program: &str, argument: impl AsRef<OsStr>) {
    match installed(program) {
        Some(program) => run_program(&program, argument.as_ref()),
        None => skip(library),
    }
}

fn skip(library: &str) {
    common::skip_because(&format!("{library} is not installed (make clients)"));
}

fn run_program(program: &Path, argument: &OsStr) {
    let folder = Folder::new();
    let with_password = ["--requirepass", "secret"];
    let socket = |name: &str| folder.path().join(name).display().to_string();
    if redis().is_some() {
        let path = socket("oracle");
        let server = Server::start_redis(&["--unixsocket", &path]);
        let secret = Server::start_redis(&with_password);
        if let (Some(server), Some(secret)) = (server, secret) {
            play(program, argument, &server, &path, &secret);
        }
    }
    let path = socket("ours");
    let server = Server::start(&["--shards", "2", "--unixsocket", &path]);
    let secret = Server::start(&with_password);
    play(program, argument, &server, &path, &secret);
}

fn play(program: &Path, argument: &OsStr, server: &Server, socket: &str, secret: &Server) {
    let output = Command::new(program)
        .arg(argument)
        .args([&server.port.to_string(), socket, &secret.port.to_string()])
        .env("NODE_PATH", target().join("node/node_modules"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "on port {}: {said}", server.port);
}

fn source(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script)
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

/// A file below `target/clients`, if it is there.
fn installed(path: &str) -> Option<PathBuf> {
    Some(target().join(path)).filter(|path| path.exists())
}
