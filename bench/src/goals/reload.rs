//! How fast a server that was killed has its keys again.
//!
//! A server with two shards keeps its keys in a file. It is killed, not stopped, so that nothing was
//! made ready for the next start, and started again on the same folder. The time runs from the start
//! of the process to its first answer that is not `-LOADING`, which tells how many keys there are.
//! The file is still in the page cache: a disk's speed is not measured.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::Scale;
use crate::clock;
use crate::load::{self, Operation, ValueLens};
use crate::peers::Peer;
use crate::process::Folder;
use crate::table::Spread;

pub(super) const PART: &str = "reload";
const SHARD_COUNT: usize = 2;
/// Pause between two questions to a server that loads.
const ASK_STEP: Duration = Duration::from_millis(2);
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
const NS_PER_S: f64 = 1e9;

/// Keys a second, over as many starts as there are rounds.
pub(super) fn keys_per_s(
    coremap: &Peer,
    cpus: &[usize; 2],
    scale: &Scale,
) -> Result<Option<Spread>, String> {
    let folder = Folder::new("reload")?;
    fill(coremap, folder.path(), cpus, scale.memory_keys)?;
    let mut rates = Vec::new();
    for _ in 0..scale.rounds {
        rates.push(reload(coremap, folder.path(), cpus, scale.memory_keys)?);
    }
    Ok(Spread::of(rates))
}

fn fill(coremap: &Peer, folder: &Path, cpus: &[usize; 2], key_count: u64) -> Result<(), String> {
    let server = coremap.start_on(folder, SHARD_COUNT, cpus)?;
    wait_until_loaded(&server.address)?;
    load::preload(&load::Options {
        server: server.address.clone(),
        operation: Operation::Set,
        keys: key_count,
        value_len: ValueLens::fixed(8),
        ..load::Options::default()
    })
}

fn reload(coremap: &Peer, folder: &Path, cpus: &[usize; 2], key_count: u64) -> Result<f64, String> {
    let began_at = clock::now();
    let server = coremap.start_on(folder, SHARD_COUNT, cpus)?;
    let found_count = wait_until_loaded(&server.address)?;
    let ns = clock::ns_since(began_at);
    if found_count != key_count {
        return Err(format!("of {key_count} keys the server has {found_count}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read")]
    Ok(key_count as f64 / ns as f64 * NS_PER_S)
}

/// How many keys there are, once the server says so.
pub(super) fn wait_until_loaded(address: &str) -> Result<u64, String> {
    let until = clock::now() + LOAD_TIME_MAX;
    loop {
        let answer = ask_for_size(address).map_err(|error| error.to_string())?;
        let count = answer.strip_prefix(':').and_then(|text| text.parse().ok());
        match count {
            Some(count) => return Ok(count),
            None if answer.starts_with("-LOADING") && clock::now() < until => {}
            None => return Err(format!("asked for the number of keys: `{answer}`")),
        }
        clock::wait(ASK_STEP);
    }
}

fn ask_for_size(address: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(b"DBSIZE\r\n")?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
