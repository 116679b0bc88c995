//! What a full memory and a file cost: turns that let others wait, CPU, writes a second.
//!
//! Fresh servers take turns. Where turns are counted, by the server itself and from the end of the warm-up on, its
//! core has the first CPU, and the client shares the second with the threads that sync and prepare memory.
//! (Batches of other cores and background steps count as turns.) At the end of each round a control runs as
//! long: a loop on the first CPU that only reads the clock, with a second one on the other. What keeps that
//! from its CPU is the machine's.
//!
//! The file lies where temporary files do (`TMPDIR`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::reload::wait_until_loaded;
use super::{Bound, Goal, Scale};
use crate::compare::engine;
use crate::load::{self, Operation, ValueLens};
use crate::peers::Peer;
use crate::table::{Spread, Table};
use crate::{clock, process};

pub(super) const PART: &str = "durable";
/// One line a run; of a trial that has no turns those are empty, of the loop they are its gaps.
const COLUMNS: &str = "round,trial,keys,value_len_bytes,batch,connections,seconds,commands_per_s,\
    server_cpu_ns_per_command,turns_over_1ms,turns_over_2ms,turns_over_5ms,turn_longest_us";
/// What the server calls its turns in INFO.
const TURN_FIELDS: [&str; 4] = [
    "coremap_turns_over_1ms",
    "coremap_turns_over_2ms",
    "coremap_turns_over_5ms",
    "coremap_turn_longest_us",
];
/// Trials that goals look up: at the budget by place and length of values.
const AT_BUDGET: [(&str, bool, usize, &str); 4] = [
    (
        "memory, 8",
        false,
        8,
        "turns of 2 ms and more a second at maxmemory, in memory, values of 8",
    ),
    (
        "memory, 1000",
        false,
        1_000,
        "turns of 2 ms and more a second at maxmemory, in memory, values of 1,000",
    ),
    (
        "file, 8",
        true,
        8,
        "turns of 2 ms and more a second at maxmemory, in a file, values of 8",
    ),
    (
        "file, 1000",
        true,
        1_000,
        "turns of 2 ms and more a second at maxmemory, in a file, values of 1,000",
    ),
];
const IN_MEMORY: &str = "memory";
const NO: &str = "no";
const EVERYSEC: &str = "everysec";
const ALWAYS_ONE: &str = "always, one shard";
const ALWAYS_TWO: &str = "always, two shards";
const ALWAYS_REDIS: &str = "always, redis";
const LOOP: &str = "loop";
const KEY_LEN_BYTES: u64 = 16;
/// What a record has beyond key and value, about.
const OVERHEAD_LEN_BYTES: u64 = 8;
const MAXMEMORY_BYTES: u64 = 4 << 30;
const US_PER_MS: f64 = 1e3;

/// A server and what it is asked.
struct Trial {
    name: &'static str,
    server: Peer,
    keys: u64,
    value_len_bytes: usize,
    batch: usize,
    connections: usize,
    /// Where the client runs: the system's choice if nowhere.
    client_cpu: Option<usize>,
}

/// An empty table for runs.
pub(super) fn table() -> Table {
    Table::new(COLUMNS)
}

/// Runs every trial in every round, and adds a line for each to `runs`.
pub(super) fn measure(
    scale: &Scale,
    peers: &[Peer],
    cpus: &[usize; 2],
    runs: &mut Table,
) -> Result<(), String> {
    let trials = trials(scale, peers, cpus);
    for round in 1..=scale.rounds {
        for trial in &trials {
            eprintln!("round {round} of {}: {}", scale.rounds, trial.name);
            let run = trial.run(scale, cpus);
            let run = run.map_err(|error| format!("{}: {error}", trial.name))?;
            runs.push(&format!("{round},{run}"))?;
        }
        runs.push(&format!("{round},{}", run_loop(scale, cpus)?))?;
    }
    Ok(())
}

/// The goals, with what `runs` has for them.
pub(super) fn goals(scale: &Scale, runs: &Table) -> Vec<Goal> {
    Runs { scale, runs }.goals()
}

// ── trials ──────────────────────────────────────────────────────────────────────────────────────

fn trials(scale: &Scale, peers: &[Peer], cpus: &[usize; 2]) -> Vec<Trial> {
    let mut trials = at_maxmemory(scale, &peers[0], cpus);
    for name in [IN_MEMORY, NO, EVERYSEC] {
        let mut server = one_shard(&peers[0], cpus);
        if name != IN_MEMORY {
            keep_in_file(&mut server, name);
        }
        trials.push(Trial {
            name,
            server,
            keys: scale.keys,
            value_len_bytes: 8,
            batch: 20_000,
            connections: 1,
            client_cpu: Some(cpus[1]),
        });
    }
    trials.extend(under_always(scale, peers, cpus));
    trials
}

/// Keys for one and a half times the memory, so that they are evicted all the time.
fn at_maxmemory(scale: &Scale, coremap: &Peer, cpus: &[usize; 2]) -> Vec<Trial> {
    let trial = |(name, is_in_file, value_len_bytes, _)| {
        let mut server = one_shard(coremap, cpus);
        server.set_option("maxmemory", &scale.evicting_bytes.to_string());
        server.set_option("maxmemory-policy", "allkeys-lru");
        if is_in_file {
            keep_in_file(&mut server, EVERYSEC);
        }
        let key_bytes = KEY_LEN_BYTES + OVERHEAD_LEN_BYTES + value_len_bytes as u64;
        Trial {
            name,
            server,
            keys: scale.evicting_bytes * 3 / 2 / key_bytes,
            value_len_bytes,
            batch: 1_000,
            connections: 1,
            client_cpu: Some(cpus[1]),
        }
    };
    AT_BUDGET.map(trial).into()
}

/// 64 clients that wait for every reply; the servers and the client have both CPUs, a core of Coremap one.
fn under_always(scale: &Scale, peers: &[Peer], cpus: &[usize; 2]) -> Vec<Trial> {
    let mut two_shards = peers[0].clone();
    two_shards.set_option("maxmemory", &MAXMEMORY_BYTES.to_string());
    keep_in_file(&mut two_shards, "always");
    let mut single = one_shard(&peers[0], cpus);
    keep_in_file(&mut single, "always");
    let mut servers = vec![(ALWAYS_ONE, single), (ALWAYS_TWO, two_shards)];
    if let Some(redis) = peers.iter().find(|peer| peer.name == "redis") {
        let mut redis = redis.clone();
        redis.set_option("appendonly", "yes");
        redis.set_option("appendfsync", "always");
        redis.set_option("dir", "{dir}");
        servers.push((ALWAYS_REDIS, redis));
    }
    let trial = |(name, server)| Trial {
        name,
        server,
        keys: scale.keys.min(100_000),
        value_len_bytes: 8,
        batch: 1,
        connections: 64,
        client_cpu: None,
    };
    servers.into_iter().map(trial).collect()
}

/// Coremap with its core on the first CPU.
fn one_shard(coremap: &Peer, cpus: &[usize; 2]) -> Peer {
    let mut server = coremap.clone();
    server.set_option("shards", "1");
    server.set_option("cpus", &cpus[0].to_string());
    server.set_option("maxmemory", &MAXMEMORY_BYTES.to_string());
    server
}

fn keep_in_file(server: &mut Peer, mode: &str) {
    server.set_option("dir", "{dir}");
    server.set_option("appendfsync", mode);
}

impl Trial {
    /// Starts the server, loads it, warms up and measures; the line of the run without its round.
    fn run(&self, scale: &Scale, cpus: &[usize; 2]) -> Result<String, String> {
        let running = self.server.start(cpus.len(), 0, cpus)?;
        let address = &running.server.address;
        wait_until_loaded(address)?;
        let load = load::Options {
            server: address.clone(),
            operation: Operation::Set,
            keys: self.keys,
            value_len: ValueLens::fixed(self.value_len_bytes),
            connections: self.connections,
            pipeline: self.batch,
            cpus: self.client_cpu.map(|cpu| cpu.to_string()),
            seconds: scale.seconds,
            // What the server counts is to be what is measured.
            warm_up_seconds: 0,
            server_pid: Some(running.server.pid()),
            ..load::Options::default()
        };
        load::preload(&load)?;
        let warm_up = load::Options {
            seconds: scale.warm_up_seconds.max(1),
            ..load.clone()
        };
        load::run(&warm_up)?;
        reset_counts(address).map_err(|error| error.to_string())?;
        let outcome = load::run(&load)?;
        engine::check(Operation::Set, &outcome)?;
        let cpu_ns = outcome.cpu_ns_per_command();
        let turns = TURN_FIELDS.map(|field| {
            let number = self.server.info(address, field);
            number.map_or(String::new(), |number| number.to_string())
        });
        Ok(format!(
            "\"{}\",{},{},{},{},{},{:.0},{},{}",
            self.name,
            self.keys,
            self.value_len_bytes,
            self.batch,
            self.connections,
            scale.seconds,
            outcome.commands_per_s(),
            cpu_ns.map_or(String::new(), |ns| format!("{ns:.1}")),
            turns.join(",")
        ))
    }
}

/// What INFO counts begins anew.
fn reset_counts(address: &str) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(b"CONFIG RESETSTAT\r\nQUIT\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.starts_with("+OK") {
        return Ok(());
    }
    Err(std::io::Error::other(format!("CONFIG RESETSTAT: {answer}")))
}

// ── the control ─────────────────────────────────────────────────────────────────────────────────

/// Times between two looks at the clock that were long.
#[derive(Default)]
struct Gaps {
    /// Of 1, 2 and 5 ms and more.
    counts: [u64; 3],
    longest_us: u64,
}

impl Gaps {
    fn note(&mut self, us: u64) {
        for (count, bound_us) in self.counts.iter_mut().zip([1_000, 2_000, 5_000]) {
            *count += u64::from(us >= bound_us);
        }
        self.longest_us = self.longest_us.max(us);
    }
}

/// A line for the loop, as for a trial.
fn run_loop(scale: &Scale, cpus: &[usize; 2]) -> Result<String, String> {
    let is_over = AtomicBool::new(false);
    let gaps = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            process::pin(&cpus[1..])?;
            while !is_over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            Ok::<(), String>(())
        });
        let gaps = scope.spawn(|| watch_clock(cpus[0], Duration::from_secs(scale.seconds)));
        let gaps = gaps.join();
        is_over.store(true, Ordering::Relaxed);
        let other = other.join();
        other.map_err(|_| "a loop panicked".to_owned())??;
        gaps.map_err(|_| "a loop panicked".to_owned())?
    })?;
    let counts = gaps.counts.map(|count| count.to_string()).join(",");
    Ok(format!(
        "{LOOP},,,,,{},,,{counts},{}",
        scale.seconds, gaps.longest_us
    ))
}

fn watch_clock(cpu: usize, duration: Duration) -> Result<Gaps, String> {
    process::pin(&[cpu])?;
    let mut gaps = Gaps::default();
    let until = clock::now() + duration;
    let mut last = clock::now();
    while last < until {
        let now = clock::now();
        let us = u64::try_from(now.duration_since(last).as_micros()).unwrap_or(u64::MAX);
        gaps.note(us);
        last = now;
    }
    Ok(gaps)
}

// ── goals ───────────────────────────────────────────────────────────────────────────────────────

struct Runs<'a> {
    scale: &'a Scale,
    runs: &'a Table,
}

impl Runs<'_> {
    fn goals(&self) -> Vec<Goal> {
        let turns = AT_BUDGET.map(|(trial, _, _, figure)| self.turns_at_maxmemory(trial, figure));
        let mut goals = Vec::from(turns);
        goals.extend(self.under_everysec());
        for (trial, figure) in [
            (ALWAYS_ONE, "writes/s under always: one shard over Redis"),
            (ALWAYS_TWO, "writes/s under always: two shards over Redis"),
        ] {
            goals.push(
                Goal::new("Redis", figure, Bound::AtLeast(1.0), "x").measured_if(
                    self.over(trial, ALWAYS_REDIS, "commands_per_s"),
                    "64 connections, batch 1; a core for each shard, the client and all other threads on both",
                ),
            );
        }
        goals
    }

    fn turns_at_maxmemory(&self, trial: &str, figure: &'static str) -> Goal {
        let rates = self.numbers(trial, "turns_over_2ms", self.per_s());
        Goal::new("Coremap", figure, Bound::AtMost(0.0), "").measured_if(
            Spread::of(rates),
            format!("one core, allkeys-lru, batch 1000; {}", self.control()),
        )
    }

    fn under_everysec(&self) -> [Goal; 2] {
        let longest_ms = self.numbers(EVERYSEC, "turn_longest_us", 1.0 / US_PER_MS);
        let cpu = "server_cpu_ns_per_command";
        let in_memory = self.over(EVERYSEC, IN_MEMORY, cpu);
        let in_memory = in_memory.map_or(f64::NAN, |ratio| ratio.median);
        let bound = Bound::AtMost(5.0);
        [
            Goal::new("Coremap", "longest turn under everysec", bound, "ms").measured_if(
                Spread::of(longest_ms),
                format!("one core, batch 20000; {}", self.control()),
            ),
            Goal::new(
                "Coremap",
                "CPU per SET, everysec over no",
                Bound::AtMost(1.1),
                "x",
            )
            .measured_if(
                self.over(EVERYSEC, NO, cpu),
                format!(
                    "one core, the client on another; batch 20000, all of the server's threads; \
                     over a server in memory {in_memory:.2} x"
                ),
            ),
        ]
    }

    /// What the machine did to a loop that was as long.
    fn control(&self) -> String {
        let most = |column, factor| {
            let spread = Spread::of(self.numbers(LOOP, column, factor));
            spread.map_or(0.0, |spread| spread.max)
        };
        format!(
            "a loop that only reads the clock was kept from its CPU for 2 ms and more up to {:.1} times a second, \
             for up to {:.1} ms",
            most("turns_over_2ms", self.per_s()),
            most("turn_longest_us", 1.0 / US_PER_MS)
        )
    }

    /// What makes a count of a run one of a second.
    fn per_s(&self) -> f64 {
        1.0 / as_f64(self.scale.seconds)
    }

    /// A number of each round, times `factor`.
    fn numbers(&self, trial: &str, column: &str, factor: f64) -> Vec<f64> {
        let rows = self.runs.rows().filter(|row| row.text("trial") == trial);
        rows.filter_map(|row| row.number(column).map(|number| number * factor))
            .collect()
    }

    /// Quotients of the same rounds.
    fn over(&self, above: &str, below: &str, column: &str) -> Option<Spread> {
        let (above, below) = (
            self.numbers(above, column, 1.0),
            self.numbers(below, column, 1.0),
        );
        Spread::of(above.iter().zip(below).map(|(above, below)| above / below))
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
const fn as_f64(seconds: u64) -> f64 {
    seconds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_follow_from_the_lines_of_runs() {
        let mut runs = table();
        for line in [
            "1,\"file, 8\",9,8,1000,1,3,700000,1300.0,9,6,1,7000",
            "1,no,9,8,20000,1,3,5000000,200.0,9,6,1,4000",
            "1,everysec,9,8,20000,1,3,5000000,210.0,9,6,1,4500",
            "1,\"always, one shard\",9,8,1,64,3,70000,9000.0,0,0,0,900",
            "1,\"always, redis\",9,8,1,64,3,56000,9000.0,,,,",
            "1,loop,,,,,3,,,4,3,1,8000",
        ] {
            runs.push(line).unwrap();
        }
        let scale = Scale {
            seconds: 3,
            ..Scale::QUICK
        };
        let goals = goals(&scale, &runs);
        let values: Vec<_> = goals.iter().map(Goal::value).collect();
        let expected = [
            None,
            None,
            Some(2.0),
            None,
            Some(4.5),
            Some(1.05),
            Some(1.25),
            None,
        ];
        assert_eq!(values, expected);
        assert!(
            goals[2]
                .csv_line()
                .contains("up to 1.0 times a second, for up to 8.0 ms")
        );
    }

    #[test]
    fn the_loop_notes_what_lies_between_two_looks() {
        let mut gaps = Gaps::default();
        for us in [999, 1_000, 2_000, 9_000] {
            gaps.note(us);
        }
        assert_eq!((gaps.counts, gaps.longest_us), ([3, 2, 1], 9_000));
        // In a thread of its own, which stays where it is pinned.
        let watched = std::thread::spawn(|| watch_clock(0, Duration::from_millis(1)));
        assert!(watched.join().unwrap().unwrap().longest_us < 60_000_000);
    }
}
