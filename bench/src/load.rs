//! `load`: drives one server with closed-loop batches and prints what it did and cost.
//!
//! Every thread owns its connections and its event loop; nothing is shared while it runs but one
//! word that says which phase it is: warm-up, measurement, end. A reply counts if it arrives during
//! the measurement, a batch's latency if its last reply does. With `--count` there is no warm-up
//! and everything counts.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use argh::FromArgs;
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Connection, Tally};
use crate::workload::{Operation, Script, Shape};
use crate::{clock, process, record};

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const END: u8 = 2;

/// Longest latency that can be told apart from longer ones.
const LATENCY_US_MAX: u64 = 10 * 60 * 1_000_000;
/// How long an event loop waits before it looks at the phase again.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// A server that answers nothing for this long is taken for hung.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Drive a running server and print one CSV line.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "load")]
pub(crate) struct Options {
    /// address of the server, host:port
    #[argh(option, default = "String::from(\"127.0.0.1:6379\")")]
    pub(crate) server: String,
    /// what to send: get, set, ping, mixed or mixed:PERCENT_OF_SETS
    #[argh(option, default = "Operation::Get")]
    pub(crate) operation: Operation,
    /// number of keys, chosen uniformly
    #[argh(option, default = "1_000_000")]
    pub(crate) keys: u64,
    /// bytes of a key
    #[argh(option, default = "16")]
    pub(crate) key_len: usize,
    /// bytes of a value
    #[argh(option, default = "3")]
    pub(crate) value_len: usize,
    /// seed of the choice of keys
    #[argh(option, default = "1")]
    pub(crate) seed: u64,
    /// number of connections
    #[argh(option, default = "50")]
    pub(crate) connections: usize,
    /// number of threads
    #[argh(option, default = "1")]
    pub(crate) threads: usize,
    /// commands of one batch, from 1 to 100000
    #[argh(option, default = "100")]
    pub(crate) pipeline: usize,
    /// length of the measurement
    #[argh(option, default = "5")]
    pub(crate) seconds: u64,
    /// length of the warm-up
    #[argh(option, default = "1")]
    pub(crate) warm_up_seconds: u64,
    /// send this many commands instead of measuring for a time
    #[argh(option)]
    pub(crate) count: Option<u64>,
    /// set every key once before the run
    #[argh(switch)]
    pub(crate) preload: bool,
    /// process id of the server, to read its CPU time and memory
    #[argh(option)]
    pub(crate) server_pid: Option<u32>,
    /// CPUs of the client's threads, as 1 or 2,3
    #[argh(option)]
    pub(crate) cpus: Option<String>,
    /// leave out the line that names the columns
    #[argh(switch)]
    pub(crate) no_header: bool,
}

/// What a run measured.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
    /// CPU time the server spent, if its process is known.
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) server_rss_bytes: Option<u64>,
    /// Microseconds from the first byte of a batch to its last reply.
    pub(crate) batch_us: Histogram<u64>,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let outcome = run(options)?;
    if !options.no_header {
        println!("{}", record::CSV_HEADER);
    }
    println!("{}", record::csv_line("", options, &outcome));
    Ok(())
}

/// Preloads if asked to, then runs the load.
pub(crate) fn run(options: &Options) -> Result<Outcome, String> {
    if !(1..=100_000).contains(&options.pipeline)
        || options.connections == 0
        || options.threads == 0
    {
        return Err("pipeline wants 1 to 100000; connections and threads at least 1".to_owned());
    }
    if options.preload {
        preload(options)?;
    }
    let script = Script::new(options.operation, options.shape(), options.count)?;
    measure(options, &script)
}

/// Sets every key once, over one connection.
pub(crate) fn preload(options: &Options) -> Result<(), String> {
    let script = Script::new(Operation::Preload, options.shape(), None)?;
    let options = Options {
        operation: Operation::Preload,
        connections: 1,
        threads: 1,
        pipeline: 1000,
        count: Some(options.keys),
        ..options.clone()
    };
    let tally = measure(&options, &script)?.tally;
    if tally.error_count > 0 {
        Err("the server refused to be preloaded".to_owned())
    } else {
        Ok(())
    }
}

impl Options {
    fn shape(&self) -> Shape {
        Shape {
            key_count: self.keys,
            key_len_bytes: self.key_len,
            value_len_bytes: self.value_len,
            seed: self.seed,
        }
    }

    fn address(&self) -> Result<SocketAddr, String> {
        let mut found = self
            .server
            .to_socket_addrs()
            .map_err(|error| format!("{}: {error}", self.server))?;
        found
            .next()
            .ok_or_else(|| format!("{}: no such address", self.server))
    }
}

/// What the threads of one run have in common.
struct Run<'a> {
    options: &'a Options,
    script: &'a Script,
    address: SocketAddr,
    phase: AtomicU8,
    has_failed: AtomicBool,
}

/// Runs the threads through the phases and reads what the server spent meanwhile.
fn measure(options: &Options, script: &Script) -> Result<Outcome, String> {
    let run = Run {
        options,
        script,
        address: options.address()?,
        phase: AtomicU8::new(if options.count.is_some() {
            MEASURE
        } else {
            WARM_UP
        }),
        has_failed: AtomicBool::new(false),
    };
    let cpus = options
        .cpus
        .as_deref()
        .map(process::cpu_list)
        .transpose()?
        .unwrap_or_default();
    let server_cpu_ns = || options.server_pid.map(process::cpu_ns).transpose();
    std::thread::scope(|scope| {
        let begin_ns = server_cpu_ns()?;
        let started_at = clock::now();
        let threads: Vec<_> = (0..options.threads)
            .map(|index| {
                let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
                let run = &run;
                scope.spawn(move || {
                    cpu.map_or(Ok(()), process::pin)?;
                    let outcome = drive(run, index);
                    run.has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        let (begin_ns, started_at) = if options.count.is_none() {
            wait_unless_failed(&run, options.warm_up_seconds);
            run.phase.store(MEASURE, Ordering::Relaxed);
            (server_cpu_ns()?, clock::now())
        } else {
            (begin_ns, started_at)
        };
        if options.count.is_none() {
            wait_unless_failed(&run, options.seconds);
            run.phase.store(END, Ordering::Relaxed);
        }
        let timed = options
            .count
            .is_none()
            .then(|| (clock::now(), server_cpu_ns()));
        let mut tally = Tally::default();
        let mut batch_us = latency_histogram();
        for thread in threads {
            let (counted, latencies) = thread
                .join()
                .map_err(|_| "a thread of the client panicked")??;
            tally.add(counted);
            batch_us.add(latencies).map_err(|error| error.to_string())?;
        }
        let (ended_at, end_ns) = timed.unwrap_or_else(|| (clock::now(), server_cpu_ns()));
        Ok(Outcome {
            tally,
            seconds: ended_at.duration_since(started_at).as_secs_f64(),
            server_cpu_ns: begin_ns.zip(end_ns?).map(|(begin, end)| end - begin),
            server_rss_bytes: options.server_pid.map(process::rss_bytes).transpose()?,
            batch_us,
        })
    })
}

fn wait_unless_failed(run: &Run<'_>, seconds: u64) {
    let until = clock::now() + Duration::from_secs(seconds);
    while clock::now() < until && !run.has_failed.load(Ordering::Relaxed) {
        clock::wait(until.duration_since(clock::now()).min(POLL_TIMEOUT));
    }
}

/// One thread: its connections, from the first batch to the last reply.
fn drive(run: &Run<'_>, index: usize) -> Result<(Tally, Histogram<u64>), String> {
    let options = run.options;
    let own = |total: usize| total / options.threads + usize::from(index < total % options.threads);
    let connection_count = own(options.connections);
    let mut unsent_count = options
        .count
        .map(|count| own(usize::try_from(count).unwrap_or(usize::MAX)));
    let mut poll = Poll::new().map_err(|error| error.to_string())?;
    let mut connections = Vec::with_capacity(connection_count);
    for place in 0..connection_count {
        // Connections start at different places of the script.
        let first =
            (index + place * options.threads) * run.script.command_count() / options.connections;
        let first = if options.operation == Operation::Preload {
            0
        } else {
            first
        };
        let mut connection = Connection::open(run.address, run.script, first, options.value_len)?;
        poll.registry()
            .register(
                &mut connection.socket,
                Token(place),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(|error| error.to_string())?;
        connections.push(connection);
    }
    let mut busy_count = 0;
    for connection in &mut connections {
        busy_count += usize::from(begin(run, connection, &mut unsent_count)?);
    }
    let mut tally = Tally::default();
    let mut batch_us = latency_histogram();
    let mut events = Events::with_capacity(connection_count.max(1));
    let mut heard_at = clock::now();
    while busy_count > 0 {
        match poll.poll(&mut events, Some(POLL_TIMEOUT)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error.to_string());
            }
            _ if events.is_empty() && clock::now().duration_since(heard_at) > SILENCE_MAX => {
                return Err(format!(
                    "no reply for {SILENCE_MAX:?} on {busy_count} busy connections"
                ));
            }
            _ => {}
        }
        for event in &events {
            heard_at = clock::now();
            let connection = &mut connections[event.token().0];
            if event.is_writable() {
                connection.send()?;
            }
            while connection.batch_len() > 0 {
                let took = connection.receive()?;
                let counted = connection.take_counted();
                let is_measured = run.phase.load(Ordering::Relaxed) == MEASURE;
                if is_measured {
                    tally.add(counted);
                }
                let Some(took) = took else { break };
                if is_measured {
                    batch_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                }
                if !begin(run, connection, &mut unsent_count)? {
                    busy_count -= 1;
                }
            }
        }
    }
    Ok((tally, batch_us))
}

/// Begins a connection's next batch; false if there is nothing more to send.
fn begin(
    run: &Run<'_>,
    connection: &mut Connection<'_>,
    unsent_count: &mut Option<usize>,
) -> Result<bool, String> {
    let is_over =
        run.phase.load(Ordering::Relaxed) == END || run.has_failed.load(Ordering::Relaxed);
    let wanted = if is_over {
        0
    } else {
        unsent_count.unwrap_or(usize::MAX).min(run.options.pipeline)
    };
    connection.begin(wanted)?;
    if let Some(count) = unsent_count {
        *count -= connection.batch_len();
    }
    Ok(connection.batch_len() > 0)
}

fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("these bounds are valid")
}
