//! The live page in a real browser: Chromium without a screen, looking at a server under load.
//!
//! What is looked for is in `tests/clients/page.js`. `COREMAP_PAGE_PICTURE` names a file for a picture of
//! what was seen, `COREMAP_PAGE_SECONDS` how long to look, `COREMAP_PAGE_SCHEME` light or dark.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::client::{Client, request};
use common::process::{Server, free_port};
use common::{Random, skip_because};

#[test]
fn a_browser_shows_a_server_under_load() {
    let Some(browser) = browser() else {
        return skip_because("chromium is not installed");
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("target/clients/node/node_modules");
    if !modules.join("playwright-core").exists() {
        return skip_because("playwright-core is not installed (make clients)");
    }
    let port = free_port().to_string();
    let arguments = [
        "--shards",
        "2",
        "--maxmemory",
        "256mb",
        "--metrics-port",
        &port,
    ];
    let slow = ["--slowlog-log-slower-than", "3000"];
    let server = Server::start(&[&arguments[..], &slow].concat());
    let option = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let url = format!("http://127.0.0.1:{port}/");
    let is_over = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        for seed in 0..6 {
            let (client, is_over) = (server.client(), &is_over);
            scope.spawn(move || load(client, seed, is_over));
        }
        let output = Command::new("node")
            .arg(root.join("tests/clients/page.js"))
            .arg(browser)
            .args([url, option("COREMAP_PAGE_SECONDS", "4")])
            .arg(option("COREMAP_PAGE_PICTURE", ""))
            .arg(option("COREMAP_PAGE_SCHEME", "light"))
            .env("NODE_PATH", &modules)
            .output();
        is_over.store(true, Ordering::Relaxed);
        output.expect("node is there if its modules are")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Where Debian and others put it.
fn browser() -> Option<PathBuf> {
    let places = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ];
    places
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// What a mixed day looks like, in small: many keys read, some written, one of them hot, a slow command
/// now and then.
fn load(mut client: Client, seed: u64, is_over: &AtomicBool) {
    let mut random = Random(seed);
    client.ask_with(&[&b"MSET"[..], b"a", &[b'x'; 4_000], b"b", &[b'y'; 4_000]]);
    let mut round = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut pipeline = Vec::new();
        let count = 1 + random.below(12);
        for _ in 0..count {
            let key = match random.below(10) {
                0..2 => "<b>hot</b>".to_owned(),
                2..4 => format!("user:{}", random.below(5)),
                _ => format!("session:{:08}", random.below(60_000)),
            };
            let command: Vec<Vec<u8>> = match random.below(10) {
                0..3 => vec![
                    b"SET".into(),
                    key.into(),
                    vec![b'v'; 40 + random.below(900)],
                ],
                3 => vec![b"EXPIRE".into(), key.into(), b"100".into()],
                4 => vec![b"EXISTS".into(), key.into()],
                _ => vec![b"GET".into(), key.into()],
            };
            pipeline.extend(request(&command));
        }
        client.send(&pipeline);
        for _ in 0..count {
            client.reply();
        }
        if seed == 0 && round % 3_000 == 0 {
            client.ask("LCS a b LEN");
        }
        round += 1;
    }
}
