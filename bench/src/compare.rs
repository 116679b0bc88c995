//! `compare`: Coremap and its peers in turn, pinned the same way, under the same load.
//!
//! What is varied is a list: every option that takes several values is swept, and every combination
//! is a case with its row in the tables. The record's folder holds the raw lines, and the tables and
//! plots made from them (`report`).

pub(crate) mod engine;

use std::path::PathBuf;
use std::str::FromStr;

use argh::FromArgs;

use crate::load::{Distribution, Operation, ValueLens};
use crate::peers::{self, Peer};
use crate::record::{self, Record};
use crate::{process, report};
use engine::{Case, Data, Setting};

/// Measure Coremap and other servers side by side and write a record. Options that take several
/// values take a list, as --batches 1,100,20k: every combination is measured.
#[derive(FromArgs)]
#[argh(subcommand, name = "compare")]
pub(crate) struct Options {
    /// the coremap binary (default: beside this one)
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// another coremap binary, measured after the first: two builds side by side
    #[argh(option)]
    baseline: Option<PathBuf>,
    /// servers to measure, of coremap, redis, memcached and lsm (an LSM tree behind Redis's
    /// protocol); those that are not installed are named in the record, ratios are with the
    /// first (default coremap,redis,memcached,lsm)
    #[argh(option, default = "String::from(\"coremap,redis,memcached,lsm\")")]
    peers: String,
    /// one more server as name=command with {port} in it, and {shards}, {maxmemory}, {dir} or
    /// {empty} if it has a use for them; may be repeated
    #[argh(option)]
    peer: Vec<String>,
    /// what to send, each as `load` takes it: get, set, ping, mixed:PERCENT_OF_SETS,
    /// mget:KEYS and others (default get,set)
    #[argh(option, default = "String::from(\"get,set\")")]
    operations: String,
    /// commands of a batch (default 20000,100,1)
    #[argh(option, default = "String::from(\"20000,100,1\")")]
    batches: String,
    /// numbers of keys, as 1k or 50M; all are set before the measurement (default 1M)
    #[argh(option, default = "String::from(\"1M\")")]
    keys: String,
    /// which of them are asked for: uniform, zipfian:EXPONENT or sequential
    /// (default uniform)
    #[argh(option, default = "Distribution::Uniform")]
    keys_distribution: Distribution,
    /// bytes of a value: each a number or what `load` takes (default 3)
    #[argh(option, default = "String::from(\"3\")")]
    value_lens: String,
    /// numbers of connections (default 50)
    #[argh(option, default = "String::from(\"50\")")]
    connections: String,
    /// numbers of cores a server may use: shards of coremap, threads of memcached (default 1)
    #[argh(option, default = "String::from(\"1\")")]
    shards: String,
    /// memory bound of coremap in bytes, or as 512M; 0 for none (default 0)
    #[argh(option, default = "String::from(\"0\")")]
    maxmemory: String,
    /// how many times all data is overwritten before a command that writes is measured
    /// (default 0)
    #[argh(option, default = "0")]
    overwrite: u64,
    /// how often each server is measured (default 5)
    #[argh(option, default = "5")]
    rounds: usize,
    /// length of one measurement (default 3)
    #[argh(option, default = "3")]
    seconds: u64,
    /// length of the warm-up before each (default 1)
    #[argh(option, default = "1")]
    warm_up_seconds: u64,
    /// the servers' CPUs, one for each shard (default 0)
    #[argh(option, default = "String::from(\"0\")")]
    server_cpus: String,
    /// the client's CPUs, a thread on each (default 1)
    #[argh(option, default = "String::from(\"1\")")]
    client_cpus: String,
    /// last part of the record's name (default compare)
    #[argh(option, default = "String::from(\"compare\")")]
    name: String,
    /// where records are kept (default bench/results)
    #[argh(option, default = "PathBuf::from(\"bench/results\")")]
    results: PathBuf,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let setting = options.setting()?;
    let cases = options.cases(setting.server_cpus.len())?;
    let (peers, absent) = options.peers()?;
    let folder = record::create(&options.results, &options.name)?;
    let mut raw = engine::table();
    // What was measured before a failure is kept: an hour of rounds is not thrown away.
    let outcome = engine::run(&setting, &peers, &cases, &mut raw);
    let record = Record {
        about: record::about(&peers, &absent),
        raw,
        ..Record::default()
    };
    record.write(&folder)?;
    report::write(&folder)?;
    println!("record: {}", folder.display());
    outcome
}

impl Options {
    fn setting(&self) -> Result<Setting, String> {
        if self.rounds == 0 || self.seconds == 0 {
            return Err("rounds and seconds want at least 1".to_owned());
        }
        Ok(Setting {
            rounds: self.rounds,
            seconds: self.seconds,
            warm_up_seconds: self.warm_up_seconds,
            server_cpus: process::cpu_list(&self.server_cpus)?,
            client_cpus: process::cpu_list(&self.client_cpus)?,
        })
    }

    /// Every combination, with cases that want the same data next to each other.
    fn cases(&self, server_cpu_count: usize) -> Result<Vec<Case>, String> {
        let [maxmemory_bytes] = numbers(&self.maxmemory)?[..] else {
            return Err("maxmemory is one number".to_owned());
        };
        let mut cases = Vec::new();
        for &shards in &sizes(&self.shards)? {
            if !(1..=server_cpu_count).contains(&shards) {
                return Err(format!(
                    "{shards} shards want as many CPUs: --server-cpus {}",
                    self.server_cpus
                ));
            }
            for &keys in &numbers(&self.keys)? {
                for value_len in list(&self.value_lens, ValueLens::from_str)? {
                    let data = Data {
                        keys,
                        keys_distribution: self.keys_distribution,
                        value_len,
                        shards,
                        maxmemory_bytes,
                        overwrite_factor: self.overwrite,
                    };
                    self.cases_of(&data, &mut cases)?;
                }
            }
        }
        Ok(cases)
    }

    fn cases_of(&self, data: &Data, cases: &mut Vec<Case>) -> Result<(), String> {
        for operation in list(&self.operations, Operation::from_str)? {
            for &batch in &sizes(&self.batches)? {
                for &connections in &sizes(&self.connections)? {
                    cases.push(Case {
                        operation,
                        batch,
                        connections,
                        data: data.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Those who are measured, and a line for each who is not there.
    fn peers(&self) -> Result<(Vec<Peer>, Vec<String>), String> {
        let mut found = Vec::new();
        let mut absent = Vec::new();
        for name in self.peers.split(',') {
            if name == "coremap" {
                let program = self.coremap.clone().map_or_else(peers::beside_this, Ok)?;
                found.push(Peer::coremap(name, &program)?);
                continue;
            }
            match Peer::adapter(name)? {
                Ok(peer) => found.push(peer),
                Err(reason) => absent.push(format!("{name}: {reason}")),
            }
        }
        if let Some(program) = &self.baseline {
            found.insert(found.len().min(1), Peer::coremap("baseline", program)?);
        }
        for text in &self.peer {
            found.push(Peer::parse(text)?);
        }
        for line in &absent {
            eprintln!("absent: {line}");
        }
        Ok((found, absent))
    }
}

/// The parts of a list, each read by `read`.
fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|part| read(part.trim())).collect()
}

/// A list of numbers as 100, 20k or 50M.
fn numbers(text: &str) -> Result<Vec<u64>, String> {
    list(text, |part| {
        let (digits, factor) = match part.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1_000),
            None => part
                .strip_suffix('M')
                .map_or((part, 1), |digits| (digits, 1_000_000)),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor));
        number.ok_or_else(|| format!("`{part}` is not a number such as 100, 20k or 50M"))
    })
}

fn sizes(text: &str) -> Result<Vec<usize>, String> {
    let numbers = numbers(text)?.into_iter();
    numbers
        .map(|number| usize::try_from(number).map_err(|error| error.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::from_args(&["compare"], arguments).unwrap()
    }

    #[test]
    fn every_combination_is_a_case_and_equal_data_stays_together() {
        let options = options(&[
            "--batches",
            "1,20k",
            "--keys",
            "1k,2M",
            "--operations",
            "get,set",
        ]);
        let cases = options.cases(1).unwrap();
        assert_eq!(cases.len(), 8);
        let groups: Vec<_> = cases.chunk_by(|one, next| one.data == next.data).collect();
        assert_eq!((groups.len(), groups[0].len()), (2, 4));
        assert_eq!(
            (groups[1][3].data.keys, groups[1][3].batch),
            (2_000_000, 20_000)
        );
    }

    #[test]
    fn more_shards_than_cpus_and_what_is_no_number_are_refused() {
        assert!(
            options(&["--shards", "2"])
                .cases(1)
                .unwrap_err()
                .contains("--server-cpus")
        );
        assert!(
            options(&["--keys", "many"])
                .cases(1)
                .unwrap_err()
                .contains("`many`")
        );
        assert!(options(&["--rounds", "0"]).setting().is_err());
    }

    #[test]
    fn numbers_may_be_thousands_and_millions() {
        assert_eq!(numbers("1, 20k,50M"), Ok(vec![1, 20_000, 50_000_000]));
        assert!(numbers("99999999999999999M").is_err());
    }
}
