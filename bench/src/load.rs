//! `load`: drives one running server and prints what it did and cost.
//!
//! A tape of requests and due replies is built first (`tape`, from `keys`, `values`, `dialect`);
//! then every thread drives its connections along it (`drive`, `connection`), compares every byte
//! that comes back (`check`) and notes times by interval (`record`); `run` keeps the phases and
//! reads what the server spent; `output` writes it down. Nothing is shared between threads while
//! they run.

mod check;
mod connection;
mod dialect;
mod drive;
mod keys;
mod output;
mod pace;
mod random;
mod record;
mod run;
mod tape;
mod values;

use std::io::IsTerminal;
use std::path::PathBuf;

use argh::FromArgs;

pub(crate) use dialect::Dialect;
pub(crate) use keys::{Distribution, Keys, write_key};
pub(crate) use output::{csv_header, csv_line, interval_csv};
pub(crate) use pace::Arrivals;
pub(crate) use random::Random;
pub(crate) use record::histogram;
pub(crate) use run::Outcome;
pub(crate) use tape::{Operation, TtlSeconds};
pub(crate) use values::ValueLens;

use dialect::Content;
use record::Row;
use tape::{Tape, Workload};

/// Commands of a batch, or unanswered on one connection, at most.
const PIPELINE_MAX: usize = 100_000;
/// Keys that are set from one tape when all are.
const PRELOAD_KEY_COUNT: u64 = 1 << 18;
const PRELOAD_PIPELINE: usize = 1000;
const PRELOAD_CONNECTION_COUNT_MAX: usize = 16;
/// Parts of a preload between two lines of progress.
const PRELOAD_SHOWN_PART_COUNT: u64 = 16;
/// The longest key that memcached accepts.
const MEMCACHED_KEY_LEN_BYTES_MAX: usize = 250;

/// Drive a running server and print one CSV line. Without --rate the loop is closed: every
/// connection sends a batch, waits for all its replies, and sends the next. With --rate it is
/// open: commands are due at that rate whatever the server does, and latency counts from when
/// a command was due.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "load")]
pub(crate) struct Options {
    /// address of the server, host:port (default 127.0.0.1:6379)
    #[argh(option, default = "String::from(\"127.0.0.1:6379\")")]
    pub(crate) server: String,
    /// protocol: resp or memcached (default resp)
    #[argh(option, default = "Dialect::Resp")]
    pub(crate) dialect: Dialect,
    /// what to send: get, set, mixed:PERCENT_OF_SETS, incr, del, set-del (in turn on the same
    /// key), mget:KEYS, mset:KEYS or ping (default get)
    #[argh(option, default = "Operation::Get")]
    pub(crate) operation: Operation,
    /// number of keys (default 1000000)
    #[argh(option, default = "1_000_000")]
    pub(crate) keys: u64,
    /// which of them: uniform, zipfian:EXPONENT or sequential (default uniform)
    #[argh(option, default = "Distribution::Uniform")]
    pub(crate) keys_distribution: Distribution,
    /// bytes of a key (default 16)
    #[argh(option, default = "16")]
    pub(crate) key_len: usize,
    /// bytes of a value: 3, a range as 16..1024, or several with weights as
    /// 16:90+1000..2000:10; a key's value is always the same (default 3)
    #[argh(option, default = "ValueLens::fixed(3)")]
    pub(crate) value_len: ValueLens,
    /// lifetime given by every SET: 60, or a range as 60..90
    #[argh(option)]
    pub(crate) ttl_seconds: Option<TtlSeconds>,
    /// seed of every choice (default 1)
    #[argh(option, default = "1")]
    pub(crate) seed: u64,
    /// number of connections (default 50)
    #[argh(option, default = "50")]
    pub(crate) connections: usize,
    /// number of threads, which share the connections (default 1)
    #[argh(option, default = "1")]
    pub(crate) threads: usize,
    /// CPUs of the threads, as 1 or 2,3
    #[argh(option)]
    pub(crate) cpus: Option<String>,
    /// commands of one batch, from 1 to 100000; with --rate, commands that may be unanswered
    /// on one connection (default 100)
    #[argh(option, default = "100")]
    pub(crate) pipeline: usize,
    /// open loop: commands per second on all connections together
    #[argh(option)]
    pub(crate) rate: Option<f64>,
    /// times between the commands of an open loop: even or poisson (default even)
    #[argh(option)]
    pub(crate) arrivals: Option<Arrivals>,
    /// length of the measurement (default 5)
    #[argh(option, default = "5")]
    pub(crate) seconds: u64,
    /// length of the warm-up (default 1)
    #[argh(option, default = "1")]
    pub(crate) warm_up_seconds: u64,
    /// send this many commands, without warm-up, instead of measuring for a time
    #[argh(option)]
    pub(crate) count: Option<u64>,
    /// send the keys in order once before the run: SETs, or INCRs for incr
    #[argh(switch)]
    pub(crate) preload: bool,
    /// process id of the server, to read its CPU time and memory
    #[argh(option)]
    pub(crate) server_pid: Option<u32>,
    /// write the result to this file as JSON too
    #[argh(option)]
    pub(crate) json: Option<PathBuf>,
    /// write all percentiles of the latency, in milliseconds, to this file, as HdrHistogram's
    /// plotters read them
    #[argh(option)]
    pub(crate) hgrm: Option<PathBuf>,
    /// write the course of the run to this file, one line for each interval
    #[argh(option)]
    pub(crate) interval_csv: Option<PathBuf>,
    /// length of an interval (default 1)
    #[argh(option, default = "1")]
    pub(crate) interval_seconds: u64,
    /// show the course of the run although stderr is not a terminal
    #[argh(switch)]
    pub(crate) progress: bool,
    /// leave out the line that names the columns
    #[argh(switch)]
    pub(crate) no_header: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self::from_args(&["load"], &[]).expect("no option is required")
    }
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let is_shown = options.progress || std::io::stderr().is_terminal();
    let mut show = |line: &str| {
        if is_shown {
            eprintln!("{line}");
        }
    };
    let outcome = run_shown(options, &mut show)?;
    output::write_files(options, &outcome)?;
    if !options.no_header {
        println!("{}", csv_header());
    }
    println!("{}", csv_line("", options, &outcome));
    Ok(())
}

/// Preloads if asked to, then runs the load.
///
/// # Errors
/// Options that contradict each other, a server that cannot be reached, is silent or answers
/// wrongly.
pub(crate) fn run(options: &Options) -> Result<Outcome, String> {
    run_shown(options, &mut |_| {})
}

/// Like [`run`]; `show` gets lines for a person who waits, one for each interval.
pub(crate) fn run_shown(options: &Options, show: &mut dyn FnMut(&str)) -> Result<Outcome, String> {
    options.check()?;
    if options.preload {
        preload_shown(options, show)?;
    }
    let tape = Tape::new(&options.workload(), options.count)?;
    let mut show_row = |row: &Row| show(&output::progress_line(row));
    run::run(options, &tape, options.count, &mut show_row)
}

/// Sends every key once, roughly in order: SETs, or INCRs where counters are measured.
pub(crate) fn preload(options: &Options) -> Result<(), String> {
    options.check()?;
    preload_shown(options, &mut |_| {})
}

fn preload_shown(options: &Options, show: &mut dyn FnMut(&str)) -> Result<(), String> {
    let operation = match options.operation {
        Operation::Incr => Operation::Incr,
        Operation::Ping => return Ok(()),
        _ => Operation::Set,
    };
    let options = Options {
        operation,
        connections: options.connections.min(PRELOAD_CONNECTION_COUNT_MAX),
        threads: 1,
        pipeline: PRELOAD_PIPELINE,
        rate: None,
        ..options.clone()
    };
    let mut done = 0;
    for part in 1.. {
        if done == options.keys {
            break;
        }
        let wanted = PRELOAD_KEY_COUNT.min(options.keys - done);
        let tape = Tape::in_order(&options.workload(), done, wanted)?;
        let count = tape.len() as u64;
        let tally = run::run(&options, &tape, Some(count), &mut |_| {})?.tally;
        if tally.error_count > 0 {
            return Err("the server refused to be preloaded".to_owned());
        }
        done += count;
        if part % PRELOAD_SHOWN_PART_COUNT == 0 {
            show(&format!("{done} of {} keys are there", options.keys));
        }
    }
    Ok(())
}

impl Options {
    /// What is asked for, without how fast.
    fn workload(&self) -> Workload {
        Workload {
            operation: self.operation,
            dialect: self.dialect,
            content: Content {
                key_len_bytes: self.key_len,
                value_lens: self.value_len.clone(),
            },
            distribution: self.keys_distribution,
            key_count: self.keys,
            ttl_seconds: self.ttl_seconds,
            seed: self.seed,
        }
    }

    /// Refuses what makes no sense, with a sentence.
    fn check(&self) -> Result<(), String> {
        let digit_count = self.keys.to_string().len();
        let is_memcached = self.dialect == Dialect::Memcached;
        let sets_lifetimes = matches!(
            self.operation,
            Operation::Set | Operation::SetDel | Operation::Mixed { .. }
        );
        let complaints = [
            (
                !(1..=PIPELINE_MAX).contains(&self.pipeline),
                format!("--pipeline wants 1 to {PIPELINE_MAX}"),
            ),
            (
                self.threads == 0 || self.connections < self.threads,
                "--threads wants at least 1, and --connections one for each thread".to_owned(),
            ),
            (
                self.keys == 0 || digit_count >= self.key_len,
                format!(
                    "--keys {} does not fit --key-len {}: a key is a letter and {digit_count} \
                     digits",
                    self.keys, self.key_len
                ),
            ),
            (
                self.rate
                    .is_some_and(|rate| !(rate > 0.0 && rate.is_finite())),
                "--rate wants commands per second, more than none".to_owned(),
            ),
            (
                self.arrivals.is_some() && self.rate.is_none(),
                "--arrivals is for open loops: it wants --rate".to_owned(),
            ),
            (
                self.ttl_seconds.is_some() && !sets_lifetimes && !self.preload,
                format!("--ttl-seconds: {} sets no lifetimes", self.operation),
            ),
            (
                (self.seconds == 0 && self.count.is_none()) || self.interval_seconds == 0,
                "--seconds and --interval-seconds want at least 1".to_owned(),
            ),
            (self.count == Some(0), "--count wants at least 1".to_owned()),
            (
                is_memcached && self.key_len > MEMCACHED_KEY_LEN_BYTES_MAX,
                format!("memcached takes keys of at most {MEMCACHED_KEY_LEN_BYTES_MAX} bytes"),
            ),
            (
                is_memcached && !self.operation.is_of_memcached(),
                format!(
                    "--dialect memcached has get, set, mixed, mget and ping, not {}",
                    self.operation
                ),
            ),
        ];
        let first = complaints.into_iter().find(|(is_wrong, _)| *is_wrong);
        first.map_or(Ok(()), |(_, complaint)| Err(complaint))
    }
}
