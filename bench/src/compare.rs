//! `compare`: Coremap and redis-server in turn on one core, under the same load from another.
//!
//! Rounds go A B A B, each with freshly started and preloaded servers, so that whatever drifts
//! on the machine drifts under both. A cell of the table is the median of its rounds.

use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::load::{self, Operation, Outcome, ValueLens};
use crate::process::Server;
use crate::record;

/// Measure Coremap and redis-server side by side and write a record.
#[derive(FromArgs)]
#[argh(subcommand, name = "compare")]
pub(crate) struct Options {
    /// the coremap binary; default: beside this one
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// the redis-server binary
    #[argh(option, default = "PathBuf::from(\"redis-server\")")]
    redis: PathBuf,
    /// the servers' CPU
    #[argh(option, default = "0")]
    server_cpu: usize,
    /// the client's CPU
    #[argh(option, default = "1")]
    client_cpu: usize,
    /// how often each server is measured
    #[argh(option, default = "5")]
    rounds: usize,
    /// length of one measurement
    #[argh(option, default = "3")]
    seconds: u64,
    /// batch sizes, as 20000,100,1
    #[argh(option, default = "String::from(\"20000,100,1\")")]
    pipelines: String,
    /// number of keys
    #[argh(option, default = "1_000_000")]
    keys: u64,
    /// bytes of a value
    #[argh(option, default = "3")]
    value_len: usize,
    /// number of connections
    #[argh(option, default = "50")]
    connections: usize,
    /// last part of the record's name
    #[argh(option, default = "String::from(\"compare-redis\")")]
    name: String,
    /// where records are kept
    #[argh(option, default = "PathBuf::from(\"bench/results\")")]
    results: PathBuf,
}

/// A server of the table.
struct Peer {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
}

/// One measurement of one server.
struct Sample {
    peer: usize,
    operation: Operation,
    pipeline: usize,
    cpu_ns_per_command: f64,
    commands_per_s: f64,
    rss_bytes: u64,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let pipelines = options
        .pipelines
        .split(',')
        .map(|text| {
            text.parse::<usize>()
                .map_err(|_| format!("`{text}` is not a batch size"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let peers = peers(options)?;
    let mut samples = Vec::new();
    let mut lines = Vec::new();
    for round in 1..=options.rounds {
        for (index, peer) in peers.iter().enumerate() {
            eprintln!("round {round} of {}: {}", options.rounds, peer.name);
            let server = Server::start(&peer.program, peer.arguments, options.server_cpu)?;
            let load = load_options(options, &server);
            load::preload(&load)?;
            for operation in [Operation::Get, Operation::Set] {
                for &pipeline in &pipelines {
                    let load = load::Options {
                        operation,
                        pipeline,
                        ..load.clone()
                    };
                    let outcome = load::run(&load)?;
                    lines.push(record::csv_line(peer.name, &load, &outcome));
                    samples.push(sample(index, &load, &outcome)?);
                }
            }
        }
    }
    let summary = summary(options, &peers, &pipelines, &samples);
    let programs: Vec<&Path> = peers.iter().map(|peer| peer.program.as_path()).collect();
    let folder = record::write(&options.results, &options.name, &summary, &lines, &programs)?;
    println!("{summary}\nrecord: {}", folder.display());
    Ok(())
}

/// The servers to measure; redis-server is left out, with a word, where it is not installed.
fn peers(options: &Options) -> Result<Vec<Peer>, String> {
    let beside = std::env::current_exe()
        .map_err(|error| error.to_string())?
        .with_file_name("coremap");
    let coremap = options.coremap.clone().unwrap_or(beside);
    let mut peers = vec![Peer {
        name: "coremap",
        program: coremap,
        arguments: &["--shards", "1"],
    }];
    if std::process::Command::new(&options.redis)
        .arg("--version")
        .output()
        .is_ok()
    {
        let arguments = &["--save", "", "--appendonly", "no"];
        peers.push(Peer {
            name: "redis",
            program: options.redis.clone(),
            arguments,
        });
    } else {
        eprintln!(
            "{} is not there: coremap is measured alone",
            options.redis.display()
        );
    }
    Ok(peers)
}

fn load_options(options: &Options, server: &Server) -> load::Options {
    load::Options {
        server: server.address.clone(),
        keys: options.keys,
        value_len: ValueLens::fixed(options.value_len),
        connections: options.connections,
        seconds: options.seconds,
        server_pid: Some(server.pid()),
        cpus: Some(options.client_cpu.to_string()),
        ..load::Options::default()
    }
}

fn sample(peer: usize, load: &load::Options, outcome: &Outcome) -> Result<Sample, String> {
    if outcome.tally.error_count > 0 || outcome.tally.miss_count > 0 {
        return Err(format!(
            "a run must hit every key without an error: {:?}",
            outcome.tally
        ));
    }
    Ok(Sample {
        peer,
        operation: load.operation,
        pipeline: load.pipeline,
        cpu_ns_per_command: outcome.cpu_ns_per_command().unwrap_or(f64::NAN),
        commands_per_s: outcome.commands_per_s(),
        rss_bytes: outcome.server_rss_bytes.unwrap_or(0),
    })
}

/// The table, with a ratio where there are two servers.
fn summary(options: &Options, peers: &[Peer], pipelines: &[usize], samples: &[Sample]) -> String {
    let mut text = format!(
        "Server on CPU {}, client on CPU {}; {} keys of 16 bytes, values of {} bytes, {} connections; \
         medians of {} runs of {} s.\n\n| command, batch |",
        options.server_cpu,
        options.client_cpu,
        options.keys,
        options.value_len,
        options.connections,
        options.rounds,
        options.seconds,
    );
    for peer in peers {
        text += &format!(" {} CPU ns/command | {} commands/s |", peer.name, peer.name);
    }
    text += " CPU, others over coremap |\n|---|";
    text += &"---|".repeat(2 * peers.len() + 1);
    for operation in [Operation::Get, Operation::Set] {
        for &pipeline in pipelines {
            text += &format!("\n| {}, {pipeline} |", operation.to_string().to_uppercase());
            let of = |peer: usize, value: fn(&Sample) -> f64| {
                let is_cell = |s: &&Sample| {
                    s.peer == peer && s.operation == operation && s.pipeline == pipeline
                };
                median(samples.iter().filter(is_cell).map(value).collect())
            };
            let cpu_ns: Vec<f64> = (0..peers.len())
                .map(|peer| of(peer, |s| s.cpu_ns_per_command))
                .collect();
            for (peer, ns) in cpu_ns.iter().enumerate() {
                text += &format!(" {ns:.0} | {:.0} |", of(peer, |s| s.commands_per_s));
            }
            let ratios: Vec<String> = cpu_ns[1..]
                .iter()
                .map(|ns| format!("{:.1}x", ns / cpu_ns[0]))
                .collect();
            text += &format!(" {} |", ratios.join(", "));
        }
    }
    text += "\n\nResident memory at the end, largest of all runs:";
    for (index, peer) in peers.iter().enumerate() {
        let bytes = samples
            .iter()
            .filter(|s| s.peer == index)
            .map(|s| s.rss_bytes)
            .max()
            .unwrap_or(0);
        text += &format!(" {} {} MiB;", peer.name, bytes >> 20);
    }
    text.trim_end_matches(';').to_owned() + ".\n"
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_value() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_string(), "2");
        assert!(median(Vec::new()).is_nan());
    }
}
