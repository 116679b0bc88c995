//! Which cases are measured for the figures of servers.

use super::Scale;
use crate::compare::engine::{self, Case, Data, Setting};
use crate::load::{Distribution, Operation, ValueLens};
use crate::peers::Peer;
use crate::table::Table;

pub(super) const PARTS: &[&str] = &["one-core", "two-cores", "many-keys", "memory", "waits"];

pub(super) const LARGE_BATCH: usize = 20_000;
/// Batch of the figures at many keys: with 50 connections about as many commands are under way as
/// the promised rates and latencies come to.
pub(super) const MANY_KEYS_BATCH: usize = 32;
pub(super) const CONNECTIONS: usize = 50;
/// Connections of the two figures at large batches that have a latency: 8 x 20,000 commands are
/// under way, about as many as the promised rates and latencies come to.
pub(super) const LARGE_BATCH_CONNECTIONS: usize = 8;
/// Keys that fit every cache, to see what misses cost.
pub(super) const FEW_KEYS: u64 = 1_000;
/// Measures the cases of the wanted parts.
pub(super) fn measure(
    scale: &Scale,
    peers: &[Peer],
    cpus: [usize; 2],
    wanted: &[&str],
    raw: &mut Table,
) -> Result<(), String> {
    for part in parts(scale, cpus) {
        if !wanted.contains(&part.name) {
            continue;
        }
        eprintln!("part {}", part.name);
        let is_in = |peer: &&Peer| part.servers.contains(&peer.name.as_str());
        let peers: Vec<Peer> = peers.iter().filter(is_in).cloned().collect();
        engine::run(&part.setting, &peers, &part.cases, raw)?;
    }
    Ok(())
}

/// Cases that are measured together.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) servers: &'static [&'static str],
    setting: Setting,
    pub(super) cases: Vec<Case>,
}

const ALONE: &[&str] = &["coremap"];
const WITH_REDIS: &[&str] = &["coremap", "redis"];
const WITH_LSM: &[&str] = &["coremap", "lsm"];

pub(super) fn parts(scale: &Scale, cpus: [usize; 2]) -> Vec<Part> {
    let apart = Setting {
        rounds: scale.rounds,
        seconds: scale.seconds,
        warm_up_seconds: scale.warm_up_seconds,
        server_cpus: vec![cpus[0]],
        client_cpus: vec![cpus[1]],
    };
    let shared = Setting {
        server_cpus: cpus.to_vec(),
        client_cpus: cpus.to_vec(),
        ..apart.clone()
    };
    let mut parts = parts_on_usual_keys(scale, &apart, &shared);
    parts.extend(parts_on_other_keys(scale, &apart, &shared));
    parts
}

fn parts_on_usual_keys(scale: &Scale, apart: &Setting, shared: &Setting) -> Vec<Part> {
    use Operation::{Get, Mixed, Ping, Set};
    let overwritten = |shards| Data {
        overwrite_factor: scale.overwrite_factor,
        ..data(scale.keys, shards)
    };
    let usual = [LARGE_BATCH, 100, 1].map(|batch| (batch, CONNECTIONS));
    let with_latency = (LARGE_BATCH, LARGE_BATCH_CONNECTIONS);
    let on_both = [usual.as_slice(), &[with_latency]].concat();
    let half = Mixed { set_percent: 50 };
    let long = Setting {
        rounds: scale.wait_rounds,
        seconds: scale.wait_seconds,
        ..shared.clone()
    };
    vec![
        Part {
            name: "one-core",
            servers: WITH_REDIS,
            setting: apart.clone(),
            cases: cases(&[Get, Ping, Set], &usual, &overwritten(1)),
        },
        Part {
            name: "two-cores",
            servers: ALONE,
            setting: shared.clone(),
            cases: cases(&[Get, Set], &on_both, &overwritten(2)),
        },
        Part {
            name: "waits",
            servers: WITH_REDIS,
            setting: long,
            cases: cases(&[half], &[(1, 2), (1, CONNECTIONS)], &data(scale.keys, 2)),
        },
    ]
}

/// All keys must be set again in every round, so there are fewer.
fn parts_on_other_keys(scale: &Scale, apart: &Setting, shared: &Setting) -> Vec<Part> {
    use Operation::{Get, Set};
    let fewer_rounds = |setting: &Setting| Setting {
        rounds: scale.many_keys_rounds,
        ..setting.clone()
    };
    let part = |name, servers, data: Data| Part {
        name,
        servers,
        setting: fewer_rounds(apart),
        cases: cases(&[Get], &[(LARGE_BATCH, CONNECTIONS)], &data),
    };
    let longer = |keys| Data {
        value_len: ValueLens::fixed(8),
        ..data(keys, 1)
    };
    vec![
        part("many-keys", WITH_REDIS, data(scale.many_keys, 1)),
        part("many-keys", ALONE, data(FEW_KEYS, 1)),
        Part {
            setting: fewer_rounds(shared),
            cases: cases(
                &[Get, Set],
                &[(MANY_KEYS_BATCH, CONNECTIONS)],
                &data(scale.many_keys, 2),
            ),
            ..part("many-keys", WITH_LSM, data(scale.many_keys, 2))
        },
        part("memory", WITH_REDIS, longer(scale.memory_keys)),
        part("memory", ALONE, longer(scale.loaded_keys)),
    ]
}

fn data(keys: u64, shards: usize) -> Data {
    Data {
        keys,
        keys_distribution: Distribution::Uniform,
        value_len: ValueLens::fixed(3),
        shards,
        maxmemory_bytes: 0,
        overwrite_factor: 0,
    }
}

/// Every operation with every pair of batch and connections.
fn cases(operations: &[Operation], loads: &[(usize, usize)], data: &Data) -> Vec<Case> {
    let case = |operation: Operation, (batch, connections): (usize, usize)| Case {
        operation,
        batch,
        connections,
        data: data.clone(),
    };
    let of = |operation: &Operation| {
        loads
            .iter()
            .map(|load| case(*operation, *load))
            .collect::<Vec<_>>()
    };
    operations.iter().flat_map(of).collect()
}
