//! Real client libraries against a server: their handshakes, their pipelines, both protocols.
//!
//! What a library sends when it connects is not in any specification, so the libraries are run:
//! redis-py and ioredis by the scripts in `tests/clients/`, installed by `make test` below
//! `target/clients`, and the `redis` crate here. A script gets the server's port and its unix
//! socket and ends with an error if anything is not as it should be.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::process::{Folder, Server};
use redis::{Commands, ConnectionLike};

#[test]
fn redis_py_works_with_its_defaults_over_both_protocols() {
    let python = installed("python/bin/python");
    run_script(
        python,
        "redis_py.py",
        "redis-py is not installed (make clients)",
    );
}

#[test]
fn ioredis_works_with_its_defaults() {
    let modules = installed("node/node_modules/ioredis").and(node());
    run_script(
        modules,
        "ioredis.js",
        "ioredis is not installed (make clients)",
    );
}

#[test]
fn the_redis_crate_works_with_its_defaults_over_both_protocols() {
    let server = Server::start(&["--shards", "2"]);
    for query in ["", "?protocol=resp3"] {
        let url = format!("redis://127.0.0.1:{}/{query}", server.port);
        let client = redis::Client::open(url).expect("the address is valid");
        let mut connection = client.get_connection().expect("the handshake succeeds");
        assert!(connection.check_connection());
        redis::cmd("FLUSHALL")
            .exec(&mut connection)
            .expect("it is emptied");
        strings_and_expiries(&mut connection)
            .expect("the commands are answered as the crate expects");
        a_large_pipeline(&mut connection).expect("a pipeline of ten thousand is answered");
    }
}

fn strings_and_expiries(connection: &mut redis::Connection) -> redis::RedisResult<()> {
    let () = connection.set("k", "v")?;
    assert_eq!(
        connection.get::<_, Option<String>>("k")?,
        Some("v".to_owned())
    );
    assert_eq!(connection.get::<_, Option<String>>("nokey")?, None);
    let () = connection.mset(&[("a", 1), ("b", 2), ("c", 3)])?;
    assert_eq!(
        connection.mget::<_, Vec<Option<i64>>>(&["a", "nokey", "c"])?,
        [Some(1), None, Some(3)]
    );
    assert_eq!(connection.incr::<_, _, i64>("a", 41)?, 42);
    let half: f64 = connection.incr("b", 0.5)?;
    assert!((half - 2.5).abs() < 1e-9);
    assert!(connection.expire::<_, bool>("k", 100)?);
    assert!((99..=100).contains(&connection.ttl::<_, i64>("k")?));
    assert!(connection.persist::<_, bool>("k")?);
    let (): () = connection.rename("k", "moved")?;
    assert_eq!(connection.del::<_, i64>(&["moved", "nokey"])?, 1);
    let error = connection
        .incr::<_, _, i64>("b", 1)
        .expect_err("2.5 is not an integer");
    assert!(error.to_string().contains("not an integer"), "{error}");
    let found: Vec<String> = connection
        .scan_match::<_, String>("[abc]")?
        .collect::<Result<_, _>>()?;
    assert_eq!(found.len(), 3, "{found:?}");
    Ok(())
}

fn a_large_pipeline(connection: &mut redis::Connection) -> redis::RedisResult<()> {
    let mut pipeline = redis::pipe();
    for i in 0..5_000 {
        pipeline
            .set(format!("key:{i}"), i)
            .ignore()
            .get(format!("key:{i}"));
    }
    let found: Vec<i64> = pipeline.query(connection)?;
    assert!(found.into_iter().eq(0..5_000));
    Ok(())
}

/// Runs a script of `tests/clients/` against a server of its own, or says why not.
fn run_script(interpreter: Option<PathBuf>, script: &str, missing: &str) {
    let Some(interpreter) = interpreter else {
        return common::skip_because(missing);
    };
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    let server = Server::start(&[
        "--shards",
        "2",
        "--unixsocket",
        socket.to_str().expect("it is text"),
    ]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script);
    let output = Command::new(interpreter)
        .arg(script)
        .arg(server.port.to_string())
        .arg(&socket)
        .env("NODE_PATH", target().join("node/node_modules"))
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients")
}

/// A file below `target/clients`, if it is there.
fn installed(path: &str) -> Option<PathBuf> {
    Some(target().join(path)).filter(|path| path.exists())
}

fn node() -> Option<PathBuf> {
    Command::new("node")
        .arg("--version")
        .output()
        .ok()
        .map(|_| PathBuf::from("node"))
}
