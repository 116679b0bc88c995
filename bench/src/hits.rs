//! `hits`: how often a cache finds what it is asked for, beside another of the same memory.
//!
//! One client asks for keys of a trace, in batches, and writes those that were not there: what a
//! read-through cache does. The first half of the trace fills the cache, the second is counted. Both
//! servers get the same trace, the same values and the same `maxmemory`; what a server needs for
//! itself within it is part of the answer.
//!
//! - `zipfian`: keys by popularity, the exponent 0.99.
//! - `scan`: the same, and every fourth request is for a key that is never asked for again.
//!
//! Not here: speed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use argh::FromArgs;

use crate::load::{Distribution, Keys, Random, write_key};
use crate::peers::Peer;
use crate::record::{self, Record};
use crate::table::Table;

/// GETs that are sent together.
const BATCH_COUNT: usize = 128;
const KEY_LEN_BYTES: usize = 16;
const ZIPFIAN_EXPONENT: f64 = 0.99;
/// Of the scan's keys: beyond those of the popular ones.
const SCAN_EVERY: usize = 4;
const SEED: u64 = 7;
const BYTES_PER_MIB: u64 = 1 << 20;

/// Compare hit ratios of Coremap, with one and two shards, and redis-server under allkeys-lru.
#[derive(FromArgs)]
#[argh(subcommand, name = "hits")]
pub(crate) struct Options {
    /// memory of each server in MiB (default 64)
    #[argh(option, default = "64")]
    maxmemory_mib: u64,
    /// keys of the zipfian trace (default 1000000)
    #[argh(option, default = "1_000_000")]
    keys: u64,
    /// requests of each trace (default 4000000)
    #[argh(option, default = "4_000_000")]
    requests: u64,
    /// bytes of a value (default 200)
    #[argh(option, default = "200")]
    value_bytes: usize,
    /// the server to measure (default: the one beside this program)
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// CPUs of the servers, as 0,1 (default 0,1)
    #[argh(option, default = "String::from(\"0,1\")")]
    cpus: String,
    /// the record's name; without it nothing is written
    #[argh(option)]
    name: Option<String>,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let cpus = crate::process::cpu_list(&options.cpus)?;
    let program = match &options.coremap {
        Some(program) => program.clone(),
        None => crate::peers::beside_this()?,
    };
    let coremap = Peer::parse(&format!(
        "coremap={} --port {{port}} --shards {{shards}} --maxmemory {{maxmemory}} \
         --maxmemory-policy allkeys-lru",
        program.display()
    ))?;
    let redis = Peer::parse(
        "redis=redis-server --port {port} --save {empty} --maxmemory {maxmemory} \
         --maxmemory-policy allkeys-lru",
    );
    let mut raw =
        Table::new("server,shards,trace,maxmemory_mib,keys,requests,value_bytes,hit_ratio");
    let mut absent = Vec::new();
    let mut contestants = vec![(&coremap, 1), (&coremap, 2)];
    match &redis {
        Ok(redis) => contestants.push((redis, 1)),
        Err(reason) => absent.push(reason.clone()),
    }
    for trace in ["zipfian", "scan"] {
        for &(peer, shards) in &contestants {
            let running = peer.start(shards, options.maxmemory_mib * BYTES_PER_MIB, &cpus)?;
            let ratio = replay(&running.server.address, options, trace == "scan")
                .map_err(|error| format!("{}: {error}", peer.name))?;
            let line = format!(
                "{},{shards},{trace},{},{},{},{},{ratio:.4}",
                peer.name,
                options.maxmemory_mib,
                options.keys,
                options.requests,
                options.value_bytes
            );
            println!("{line}");
            raw.push(&line)?;
        }
    }
    let Some(name) = &options.name else {
        return Ok(());
    };
    let folder = record::create(std::path::Path::new("bench/results"), name)?;
    let peers: Vec<Peer> = std::iter::once(coremap).chain(redis.ok()).collect();
    let about = record::about(&peers, &absent);
    Record {
        about,
        raw,
        ..Record::default()
    }
    .write(&folder)
}

/// Plays a trace against a server; returns the share of the second half that was found.
fn replay(address: &str, options: &Options, is_scanned: bool) -> std::io::Result<f64> {
    let mut server = TcpStream::connect(address)?;
    let mut replies = BufReader::new(server.try_clone()?);
    let distribution = Distribution::Zipfian {
        exponent: ZIPFIAN_EXPONENT,
    };
    let mut keys = Keys::new(distribution, options.keys, 0);
    let mut random = Random::new(SEED);
    let mut scanned = options.keys;
    let value = vec![b'v'; options.value_bytes];
    let (mut found_count, mut asked_count) = (0u64, 0u64);
    let batch_count = options.requests / BATCH_COUNT as u64;
    for batch in 0..batch_count {
        let mut asked = Vec::with_capacity(BATCH_COUNT);
        for place in 0..BATCH_COUNT {
            asked.push(if is_scanned && place % SCAN_EVERY == 0 {
                scanned += 1;
                scanned
            } else {
                keys.next(&mut random)
            });
        }
        let mut requests = Vec::new();
        for &key in &asked {
            requests.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
            push_key(&mut requests, key);
        }
        server.write_all(&requests)?;
        let mut missing = Vec::new();
        for &key in &asked {
            if !read_value(&mut replies, options.value_bytes)? {
                missing.push(key);
            }
        }
        if batch >= batch_count / 2 {
            asked_count += BATCH_COUNT as u64;
            found_count += (BATCH_COUNT - missing.len()) as u64;
        }
        requests.clear();
        for &key in &missing {
            requests.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
            push_key(&mut requests, key);
            requests.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
            requests.extend_from_slice(&value);
            requests.extend_from_slice(b"\r\n");
        }
        server.write_all(&requests)?;
        let mut line = String::new();
        for _ in &missing {
            line.clear();
            replies.read_line(&mut line)?;
            if line != "+OK\r\n" {
                return Err(std::io::Error::other(format!("reply to SET: {line}")));
            }
        }
    }
    Ok(found_count as f64 / asked_count as f64)
}

fn push_key(requests: &mut Vec<u8>, key: u64) {
    requests.extend_from_slice(format!("${KEY_LEN_BYTES}\r\n").as_bytes());
    write_key(requests, b'k', key, KEY_LEN_BYTES);
    requests.extend_from_slice(b"\r\n");
}

/// Reads the reply to a GET; false: nothing was there.
fn read_value(replies: &mut impl BufRead, len_bytes: usize) -> std::io::Result<bool> {
    let mut line = String::new();
    replies.read_line(&mut line)?;
    if line == "$-1\r\n" {
        return Ok(false);
    }
    if line != format!("${len_bytes}\r\n") {
        return Err(std::io::Error::other(format!("reply to GET: {line}")));
    }
    let mut value = vec![0; len_bytes + 2];
    replies.read_exact(&mut value)?;
    Ok(true)
}
