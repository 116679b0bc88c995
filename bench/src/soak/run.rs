//! The phases of a soak: a server on a file, its capacity, the long load with the jobs beside it, the end.
//!
//! Capacity is measured with one command of each connection under way (`CAPACITY_PIPELINE`), because
//! the open loop sends every command by itself, when it is due: both pay for one receive and one send of
//! each command, on both sides. In a closed loop of large batches the server would do many times as
//! much, and an open loop at a share of that would drown the client and not the server.
//!
//! What follows from the length (how often a job runs, how long an interval is) is a fixed time in a
//! long soak and a part of the whole in a short one, so that a short one runs every job too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checks::{self, Check};
use super::client::{self, Client};
use super::jobs::{self, Job, Reloads, Sampler};
use super::victims;
use crate::compare::engine;
use crate::load::{self, Arrivals, Operation, Outcome, ValueLens};
use crate::process::{self, Folder, Server};
use crate::table::Table;
use crate::{clock, usage};

pub(super) const S_PER_MINUTE: f64 = 60.0;
const OPERATION: Operation = Operation::Mixed { set_percent: 20 };
const CAPACITY_PIPELINE: usize = 1;
const CAPACITY_SECONDS_MAX: u64 = 10;
/// Commands that may be unanswered on a connection: over all, seconds of the load. A server that stalls
/// for less does not slow the schedule down.
const PIPELINE: usize = 5_000;
/// Points of the plots over time, where intervals are not a minute.
const INTERVAL_COUNT: u64 = 40;
const INTERVAL_SECONDS_MAX: u64 = 60;
/// How long the server may take to read its empty file, and to notice that its clients have gone.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_STEP: Duration = Duration::from_millis(20);
/// How long the server may take to end.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// The data fits: no key may ever be missed.
const SETTINGS: &str = "bind 127.0.0.1\nappendfsync everysec\nmaxmemory 1gb\nloglevel notice\n";
/// The setting that reloads change back and forth: every core takes it, and it changes no latency.
const RELOADED: (&str, [&str; 2]) = ("slowlog-max-len", ["128", "256"]);

/// What is to be done.
pub(super) struct Plan {
    pub(super) program: PathBuf,
    /// What the program says it is.
    pub(super) version: String,
    /// Where the server's folder and the backups are made.
    pub(super) parent: PathBuf,
    pub(super) seconds: u64,
    pub(super) share: f64,
    pub(super) server_cpus: Vec<usize>,
    pub(super) client_cpus: Option<String>,
    pub(super) client_threads: usize,
    pub(super) key_count: u64,
    pub(super) value_len: ValueLens,
    pub(super) connections: usize,
}

/// What a soak leaves.
pub(super) struct Measured {
    /// Two lines of `load`: the capacity, then the soak, which is missing if it failed.
    pub(super) raw: Table,
    /// Latency by intervals, as `load` writes it.
    pub(super) latency: String,
    pub(super) samples: Table,
    pub(super) checks: Vec<Check>,
}

/// Runs it all.
///
/// # Errors
/// The server cannot be started or filled. Whatever fails after that is a check that does not hold.
pub(super) fn run(plan: &Plan) -> Result<Measured, String> {
    let started = Started::new(plan)?;
    let fill = plan.load(&started.server);
    load::preload(&fill)?;
    let capacity = load::Options {
        pipeline: CAPACITY_PIPELINE,
        seconds: (plan.seconds / 4).clamp(1, CAPACITY_SECONDS_MAX),
        ..fill.clone()
    };
    let reached = load::run(&capacity)?;
    engine::check(OPERATION, &reached)?;
    let soak = load::Options {
        pipeline: PIPELINE,
        rate: Some(reached.commands_per_s() * plan.share),
        arrivals: Some(Arrivals::Poisson),
        seconds: plan.seconds,
        interval_seconds: (plan.seconds / INTERVAL_COUNT).clamp(1, INTERVAL_SECONDS_MAX),
        ..fill
    };
    eprintln!(
        "capacity {:.0} commands/s; {} s at {:.0} %",
        reached.commands_per_s(),
        plan.seconds,
        plan.share * 100.0
    );
    let mut raw = Table::new(&load::csv_header());
    raw.push(&load::csv_line("capacity", &capacity, &reached))?;
    let mut measured = started.soak(plan, &soak, raw)?;
    measured.checks.extend(started.end(plan));
    Ok(measured)
}

impl Plan {
    /// What all loads have in common.
    fn load(&self, server: &Server) -> load::Options {
        load::Options {
            server: server.address.clone(),
            server_pid: Some(server.pid()),
            operation: OPERATION,
            keys: self.key_count,
            value_len: self.value_len.clone(),
            connections: self.connections,
            threads: self.client_threads,
            cpus: self.client_cpus.clone(),
            ..load::Options::default()
        }
    }

    /// The settings of the server as a record shows them.
    pub(super) fn setting_lines(&self) -> impl Iterator<Item = String> {
        let (reloaded, [first, other]) = RELOADED;
        let more = [
            format!("shards {}", self.server_cpus.len()),
            format!("{reloaded} {first}, and {other} in turn"),
        ];
        let lines = SETTINGS.lines().map(str::to_owned).chain(more);
        lines.map(|line| format!("setting: {line}"))
    }

    /// So often in a long soak, and so many times in a short one.
    fn every(&self, seconds: u64, count: u32) -> Duration {
        Duration::from_secs(seconds).min(Duration::from_secs(self.seconds) / count)
    }
}

/// Waits until a server that was just started runs commands.
fn wait_until_loaded(address: &str) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    let until = clock::now() + PATIENCE;
    loop {
        match client.ask(&["PING"]) {
            Err(error) if error.contains("LOADING") && clock::now() < until => {
                clock::wait(LOOK_STEP);
            }
            answer => return answer.map(|_| ()),
        }
    }
}

/// The server under its load.
struct Started {
    server: Server,
    port: u16,
    metrics_address: String,
    data: PathBuf,
    log: PathBuf,
    reloads: Reloads,
    /// Holds all the server's files.
    _folder: Folder,
}

impl Started {
    fn new(plan: &Plan) -> Result<Self, String> {
        let folder = Folder::below(&plan.parent, "soak")?;
        let [data, log, file] =
            ["data", "coremap.log", "coremap.conf"].map(|name| folder.path().join(name));
        let (port, metrics_port) = (process::free_port()?, process::free_port()?);
        let text = format!(
            "{SETTINGS}port {port}\nmetrics-port {metrics_port}\nmetrics-bind 127.0.0.1\n\
             dir {}\nlogfile {}\nshards {}\n",
            data.display(),
            log.display(),
            plan.server_cpus.len()
        );
        let mut reloads = Reloads {
            pid: 0,
            address: format!("127.0.0.1:{port}"),
            file,
            text,
            setting: RELOADED.0,
            values: RELOADED.1,
        };
        std::fs::create_dir(&data).map_err(|error| error.to_string())?;
        reloads.write()?;
        let words = [&plan.program, &reloads.file].map(|path| path.display().to_string());
        let server = Server::start(&words, port, &plan.server_cpus)?;
        reloads.pid = server.pid();
        wait_until_loaded(&server.address)?;
        Ok(Self {
            server,
            port,
            metrics_address: format!("127.0.0.1:{metrics_port}"),
            data,
            log,
            reloads,
            _folder: folder,
        })
    }

    /// The long load with everything beside it.
    fn soak(&self, plan: &Plan, load: &load::Options, mut raw: Table) -> Result<Measured, String> {
        let descriptors = self.settled_descriptors()?;
        let warning_count = self.warnings().len();
        let mut samples = jobs::samples();
        let jobs = self.jobs(plan, &mut samples)?;
        let show = &mut |line: &str| eprintln!("{line}");
        let (outcome, accounts) = jobs::beside(jobs, || load::run_shown(load, show));
        let mut checks = checks::of_load(load, &outcome);
        checks.extend(accounts.iter().map(checks::of_job));
        checks.extend(checks::of_growth(&samples));
        let left = self.settled_descriptors();
        checks.push(checks::of_leftovers(descriptors, left));
        checks.push(checks::of_warnings(&self.warnings()[warning_count..]));
        if let Ok(outcome) = &outcome {
            raw.push(&load::csv_line("soak", load, outcome))?;
        }
        let rows = outcome.map_or_else(|_| Vec::new(), |outcome: Outcome| outcome.rows);
        Ok(Measured {
            raw,
            latency: load::interval_csv(&rows),
            samples,
            checks,
        })
    }

    fn jobs<'a>(&'a self, plan: &'a Plan, samples: &'a mut Table) -> Result<Vec<Job<'a>>, String> {
        let address = self.server.address.as_str();
        let (pid, port) = (self.server.pid(), self.port.to_string());
        let mut sampler = Sampler::new(pid, Client::connect(address)?, samples);
        let began_at = clock::now();
        let sample = move || {
            let at_s = clock::now().duration_since(began_at).as_secs_f64();
            sampler.sample(at_s)
        };
        let mut reloads = self.reloads.clone();
        let job = |name, every, run| Job { name, every, run };
        Ok(vec![
            job("samples", plan.every(10, 40), Box::new(sample)),
            job(
                "scrapes",
                plan.every(1, 10),
                Box::new(|| jobs::scrape(&self.metrics_address)),
            ),
            job(
                "reloads",
                plan.every(30, 5),
                Box::new(move || reloads.next()),
            ),
            job(
                "backups",
                plan.every(180, 5),
                Box::new(move || jobs::back_up(&plan.program, &port, &plan.parent)),
            ),
            job(
                "kills",
                plan.every(2, 10),
                Box::new(|| victims::kill_some(address)),
            ),
        ])
    }

    /// Waits until nobody is connected but who asks; the server's descriptors then.
    fn settled_descriptors(&self) -> Result<usize, String> {
        let mut client = Client::connect(&self.server.address)?;
        let until = clock::now() + PATIENCE;
        loop {
            let count = client::field(&client.ask(&["INFO"])?, "connected_clients")?;
            if count == 1 {
                return usage::descriptor_count(self.server.pid());
            }
            if clock::now() > until {
                return Err(format!("{} clients have not gone", count - 1));
            }
            clock::wait(LOOK_STEP);
        }
    }

    /// What the server warned of so far.
    fn warnings(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let is_warning = |line: &&str| line.split(' ').nth(1) == Some("warning");
        log.lines().filter(is_warning).map(str::to_owned).collect()
    }

    /// Ends the server and verifies what it leaves.
    fn end(self, plan: &Plan) -> [Check; 2] {
        let ended = self.server.end(END_PATIENCE).and_then(|status| {
            if status.success() {
                return Ok(());
            }
            Err(status.to_string())
        });
        let is_whole = jobs::verify(&plan.program, Path::new(&self.data));
        [
            checks::of_step("the server ends when it is told to", &ended),
            checks::of_step("the data it leaves is whole", &is_whole),
        ]
    }
}
