//! Runs cases on servers in turn and keeps every measurement.
//!
//! Rounds go A B A B, each with freshly started and filled servers, so that whatever drifts on the
//! machine drifts under all. Within a turn a server meets its cases in the order in which they are
//! given; cases that want other data, another number of cores or another memory bound get a new
//! server. Before the first case that writes, the data is overwritten as often as was asked for,
//! because a store that appends is at its best before it must clean up. Once its data is set a
//! server may finish what that left to do (an LSM tree compacts), since GETs are no part of it.
//!
//! A run in which a key was missed or an error answered ends the comparison: what a server does
//! fast must be what it was asked for.

use std::time::{Duration, Instant};

use crate::clock;
use crate::load::{self, Distribution, Operation, Outcome, ValueLens};
use crate::peers::{Peer, Running};
use crate::table::Table;
use crate::usage::{self, Usage};

/// Batch and connections of the overwrites before a measurement.
const OVERWRITE_BATCH: usize = 1_000;
const OVERWRITE_CONNECTIONS: usize = 4;

/// How long a server may go on working after its data is set.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
const SETTLE_STEP: Duration = Duration::from_millis(100);
/// CPU time of a step in which a server counts as idle: Redis's timers take less.
const IDLE_NS_PER_STEP: u64 = 5_000_000;

/// What is asked alike of every server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) operation: Operation,
    /// Commands of a batch.
    pub(crate) batch: usize,
    pub(crate) connections: usize,
    pub(crate) data: Data,
}

/// What a server holds and on how many cores.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Data {
    pub(crate) keys: u64,
    pub(crate) keys_distribution: Distribution,
    pub(crate) value_len: ValueLens,
    pub(crate) shards: usize,
    /// Bound of Coremap; 0 for none.
    pub(crate) maxmemory_bytes: u64,
    /// How often the data is overwritten before the first case that writes.
    pub(crate) overwrite_factor: u64,
}

/// How cases are measured.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up_seconds: u64,
    pub(crate) server_cpus: Vec<usize>,
    pub(crate) client_cpus: Vec<usize>,
}

/// Columns that stand before those of `load`.
const COLUMNS: &str = "round,shards,maxmemory_bytes,overwrite,empty_rss_bytes,loaded_rss_bytes,\
loaded_turn_longest_us,others_cpus";

/// An empty table for what `run` measures.
pub(crate) fn table() -> Table {
    Table::new(&format!("{COLUMNS},{}", load::csv_header()))
}

/// Measures every case on every peer that can run it, round after round.
pub(crate) fn run(
    setting: &Setting,
    peers: &[Peer],
    cases: &[Case],
    table: &mut Table,
) -> Result<(), String> {
    for round in 1..=setting.rounds {
        for group in cases.chunk_by(|one, next| one.data == next.data) {
            for peer in peers {
                eprintln!("round {round} of {}: {}", setting.rounds, peer.name);
                let turn = Turn {
                    setting,
                    peer,
                    round,
                    data: &group[0].data,
                };
                turn.run(group, table)
                    .map_err(|error| format!("{}: {error}", peer.name))?;
            }
        }
    }
    Ok(())
}

/// One server's share of a round.
struct Turn<'a> {
    setting: &'a Setting,
    peer: &'a Peer,
    round: usize,
    data: &'a Data,
}

impl Turn<'_> {
    fn run(&self, cases: &[Case], table: &mut Table) -> Result<(), String> {
        let data = self.data;
        let running =
            self.peer
                .start(data.shards, data.maxmemory_bytes, &self.setting.server_cpus)?;
        let pid = running.server.pid();
        let empty_bytes = usage::rss_bytes(pid)?;
        load::preload(&self.load(&running, Operation::Set))?;
        let loaded_bytes = usage::rss_bytes(pid)?;
        settle(pid)?;
        let turn_us = self.peer.longest_turn_us(&running.server.address);
        let turn_us = turn_us.map_or(String::new(), |us| us.to_string());
        let mut is_overwritten = data.overwrite_factor == 0;
        for case in cases.iter().filter(|case| self.peer.can(case.operation)) {
            if !is_overwritten && writes(case.operation) {
                overwrite(&self.load(&running, Operation::Set), data.overwrite_factor)?;
                is_overwritten = true;
            }
            let load = load::Options {
                pipeline: case.batch,
                connections: case.connections,
                ..self.load(&running, case.operation)
            };
            let others = Others::begin(pid)?;
            let outcome = load::run(&load)?;
            let others_cpus = others.cpus()?;
            check(case.operation, &outcome)?;
            eprintln!(
                "  {}, batch {}, {} connections: {:.1} ns of CPU, {:.0} commands/s",
                case.operation,
                case.batch,
                case.connections,
                outcome.cpu_ns_per_command().unwrap_or(f64::NAN),
                outcome.commands_per_s()
            );
            table.push(&format!(
                "{},{},{},{},{empty_bytes},{loaded_bytes},{turn_us},{others_cpus:.2},{}",
                self.round,
                data.shards,
                data.maxmemory_bytes,
                data.overwrite_factor,
                load::csv_line(&self.peer.name, &load, &outcome)
            ))?;
            if !hits(case.operation) {
                load::preload(&self.load(&running, Operation::Set))?;
            }
        }
        Ok(())
    }

    fn load(&self, running: &Running, operation: Operation) -> load::Options {
        let cpus: Vec<String> = self
            .setting
            .client_cpus
            .iter()
            .map(usize::to_string)
            .collect();
        load::Options {
            server: running.server.address.clone(),
            dialect: self.peer.dialect,
            operation,
            keys: self.data.keys,
            keys_distribution: self.data.keys_distribution,
            value_len: self.data.value_len.clone(),
            connections: cpus.len(),
            threads: cpus.len(),
            cpus: Some(cpus.join(",")),
            seconds: self.setting.seconds,
            warm_up_seconds: self.setting.warm_up_seconds,
            server_pid: Some(running.server.pid()),
            ..load::Options::default()
        }
    }
}

/// Sets random keys until as many have been set as the data has, so and so often.
pub(crate) fn overwrite(load: &load::Options, factor: u64) -> Result<(), String> {
    let options = load::Options {
        operation: Operation::Set,
        pipeline: OVERWRITE_BATCH,
        connections: OVERWRITE_CONNECTIONS,
        threads: load.threads.min(OVERWRITE_CONNECTIONS),
        rate: None,
        arrivals: None,
        count: Some(factor * load.keys),
        ..load.clone()
    };
    check(Operation::Set, &load::run(&options)?)
}

/// What this machine does beside the server and its client while a case is measured.
pub(crate) struct Others {
    server_pid: u32,
    began_at: Instant,
    /// CPU time of all others together since the machine began.
    ns: u64,
}

impl Others {
    pub(crate) fn begin(server_pid: u32) -> Result<Self, String> {
        Ok(Self {
            server_pid,
            began_at: clock::now(),
            ns: Self::ns(server_pid)?,
        })
    }

    /// How many CPUs they have kept busy.
    pub(crate) fn cpus(&self) -> Result<f64, String> {
        let spent_ns = Self::ns(self.server_pid)?.saturating_sub(self.ns);
        let spent = Duration::from_nanos(spent_ns).as_secs_f64();
        Ok(spent / clock::now().duration_since(self.began_at).as_secs_f64())
    }

    fn ns(server_pid: u32) -> Result<u64, String> {
        let measured =
            usage::cpu_ns_in_ticks(server_pid)? + usage::cpu_ns_in_ticks(std::process::id())?;
        Ok(usage::machine_cpu_ns()?.saturating_sub(measured))
    }
}

/// Waits until a server has become idle, or has been given enough time.
pub(crate) fn settle(pid: u32) -> Result<(), String> {
    let until = clock::now() + SETTLE_TIME_MAX;
    loop {
        let before = Usage::of(pid)?;
        clock::wait(SETTLE_STEP);
        let spent_ns = Usage::of(pid)?.since(&before).cpu_ns;
        if spent_ns < IDLE_NS_PER_STEP || clock::now() > until {
            return Ok(());
        }
    }
}

fn writes(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::Get | Operation::Mget(_) | Operation::Ping
    )
}

/// Whether every key that is asked for is there: not once some are deleted.
fn hits(operation: Operation) -> bool {
    !matches!(operation, Operation::Del | Operation::SetDel)
}

/// Refuses a run in which a key was missed or an error answered.
pub(crate) fn check(operation: Operation, outcome: &Outcome) -> Result<(), String> {
    let tally = &outcome.tally;
    if tally.error_count > 0 || (hits(operation) && tally.miss_count > 0) {
        return Err(format!(
            "{operation} must hit every key without an error: {tally:?}"
        ));
    }
    Ok(())
}
