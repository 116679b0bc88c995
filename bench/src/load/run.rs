//! A whole run: threads started, phases kept, the server's CPU read at their ends, parts added up.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Options;
use super::check::Tally;
use super::connection::Connection;
use super::drive::Driver;
use super::pace::{Arrivals, Schedule};
use super::record::{Collector, Interval, NS_PER_S, Recorder, Row, Window};
use super::tape::{Operation, Tape};
use crate::usage::{self, ThreadUsage, Usage};
use crate::{clock, process};

/// What a run measured.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
    /// CPU time the server spent in that time, if its process is known.
    pub(crate) server_cpu_ns: Option<u64>,
    /// The same for each of its threads, where the kernel tells.
    pub(crate) server_threads: Vec<ThreadUsage>,
    pub(crate) server_rss_bytes: Option<u64>,
    /// CPU time of this process, in hundredths of a second.
    pub(crate) client_cpu_ns: u64,
    /// Closed loop: from the first byte of a batch to its last reply. Open loop: from when a
    /// command was due to its reply.
    pub(crate) latency_ns: Histogram<u64>,
    /// Open loop: from when a command was due to when the sender got to it.
    pub(crate) behind_ns: Histogram<u64>,
    /// Open loop: commands that were due and never sent; they are in both histograms with the
    /// time they had waited.
    pub(crate) unsent_count: u64,
    /// The course of the run.
    pub(crate) rows: Vec<Row>,
}

/// Runs a tape against the server. With `count`, all connections together send so many commands,
/// each an equal part, and all is measured; if that is the tape's length, each command is sent
/// exactly once. `show` sees each interval as it ends.
pub(crate) fn run(
    options: &Options,
    tape: &Tape,
    count: Option<u64>,
    show: &mut dyn FnMut(&Row),
) -> Result<Outcome, String> {
    let cpus = options
        .cpus
        .as_deref()
        .map(process::cpu_list)
        .transpose()?
        .unwrap_or_default();
    let mut connections = connect(options, tape, count)?.into_iter();
    let window = window(options, count);
    let has_failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut threads = Vec::new();
        for index in 0..options.threads {
            let own_count = part(options.connections, index, options.threads);
            let own: Vec<_> = connections.by_ref().take(own_count).collect();
            let recorder = Recorder::new(window, sender.clone());
            let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
            let has_failed = &has_failed;
            threads.push(scope.spawn(move || {
                let drive = || {
                    cpu.map_or(Ok(()), |cpu| process::pin(&[cpu]))?;
                    let driver = Driver::new(own, recorder, options.pipeline, has_failed)?;
                    match schedule(options, index) {
                        Some(schedule) => driver.run_open(schedule),
                        None => driver.run_closed(),
                    }
                };
                let ended = drive();
                has_failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                ended
            }));
        }
        drop(sender);
        let measured = measure(options, &window, &receiver, show);
        has_failed.fetch_or(measured.is_err(), Ordering::Relaxed);
        for thread in threads {
            thread
                .join()
                .map_err(|_| "a thread of the client panicked")??;
        }
        measured
    })
}

/// The part of a run that is measured: all of it, if its length is a number of commands.
fn window(options: &Options, count: Option<u64>) -> Window {
    let from_ns = match count {
        Some(_) => 0,
        None => options.warm_up_seconds * NS_PER_S,
    };
    Window {
        began_at: clock::now(),
        from_ns,
        until_ns: match count {
            Some(_) => u64::MAX,
            None => from_ns + options.seconds * NS_PER_S,
        },
        interval_ns: options.interval_seconds * NS_PER_S,
    }
}

fn schedule(options: &Options, index: usize) -> Option<Schedule> {
    let arrivals = options.arrivals.unwrap_or(Arrivals::Even);
    let new = |rate| Schedule::new(arrivals, rate, index, options.threads, options.seed);
    options.rate.map(new)
}

/// Opens all connections, each at the beginning of its part of the tape. SETs of a pair stay with
/// their DELs.
fn connect<'a>(
    options: &Options,
    tape: &'a Tape,
    count: Option<u64>,
) -> Result<Vec<Connection<'a>>, String> {
    let address = address(&options.server)?;
    let pair_len = if options.operation == Operation::SetDel {
        2
    } else {
        1
    };
    (0..options.connections)
        .map(|index| {
            let place = index * tape.len() / options.connections;
            let unissued_count = count.map_or(u64::MAX, |count| {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                part(count, index, options.connections) as u64
            });
            Connection::open(address, tape, place / pair_len * pair_len, unissued_count)
        })
        .collect()
}

fn address(server: &str) -> Result<SocketAddr, String> {
    let mut found = server
        .to_socket_addrs()
        .map_err(|error| format!("{server}: {error}"))?;
    found
        .next()
        .ok_or_else(|| format!("{server}: no such address"))
}

/// The length of part `index` if `total` is cut into `part_count` equal ones.
fn part(total: usize, index: usize, part_count: usize) -> usize {
    let end = |index: usize| total as u128 * index as u128 / part_count as u128;
    usize::try_from(end(index + 1) - end(index)).expect("no more than the total")
}

/// Reads what was spent at both ends of the window and collects what the threads hand over.
fn measure(
    options: &Options,
    window: &Window,
    finished: &Receiver<Interval>,
    show: &mut dyn FnMut(&Row),
) -> Result<Outcome, String> {
    let own_pid = std::process::id();
    let server_usage = || options.server_pid.map(Usage::of).transpose();
    #[expect(clippy::cast_precision_loss, reason = "an interval is seconds long")]
    let interval_s = options.interval_seconds as f64;
    let mut collector = Collector::new(options.threads, interval_s);
    let mut collect_until = |until_ns: Option<u64>| {
        while let Some(part) = receive(window, until_ns, finished) {
            if let Some(row) = collector.take(&part) {
                show(row);
            }
        }
    };
    collect_until(Some(window.from_ns));
    let (server_before, client_before) = (server_usage()?, usage::cpu_ns_in_ticks(own_pid)?);
    let from = clock::now();
    if window.until_ns < u64::MAX {
        collect_until(Some(window.until_ns));
    } else {
        collect_until(None);
    }
    let (server_after, client_after) = (server_usage()?, usage::cpu_ns_in_ticks(own_pid)?);
    let read_s = clock::now().duration_since(from).as_secs_f64();
    // The system wakes this thread a little late: what was spent is scaled to the window.
    let seconds = window.len_s().unwrap_or(read_s);
    let scaled = |ns| scale_ns(ns, seconds / read_s);
    let server_rss_bytes = options.server_pid.map(usage::rss_bytes).transpose()?;
    collect_until(None);
    collector.finish(seconds);
    let server = server_after
        .zip(server_before)
        .map(|(after, before)| after.since(&before));
    let total = collector.total;
    Ok(Outcome {
        tally: total.tally,
        seconds,
        server_cpu_ns: server.as_ref().map(|server| scaled(server.cpu_ns)),
        server_threads: server.map(|server| server.threads).unwrap_or_default(),
        server_rss_bytes,
        client_cpu_ns: scaled(client_after - client_before),
        latency_ns: total.latency_ns,
        behind_ns: total.behind_ns,
        unsent_count: total.unsent_count,
        rows: collector.rows,
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the CPU time of a run is positive and below 2^53 ns"
)]
fn scale_ns(ns: u64, factor: f64) -> u64 {
    (ns as f64 * factor) as u64
}

/// The next part that a thread hands over; none at `until_ns`, or once every thread has ended.
fn receive(
    window: &Window,
    until_ns: Option<u64>,
    finished: &Receiver<Interval>,
) -> Option<Interval> {
    let Some(until_ns) = until_ns else {
        return finished.recv().ok();
    };
    loop {
        let left_ns = until_ns.saturating_sub(window.now_ns());
        if left_ns == 0 {
            return None;
        }
        match finished.recv_timeout(Duration::from_nanos(left_ns)) {
            Ok(part) => return Some(part),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_and_join_where_connections_begin() {
        for (total, part_count) in [(10, 3), (3, 10), (1000, 7), (usize::MAX, 2)] {
            let lens: Vec<_> = (0..part_count)
                .map(|index| part(total, index, part_count))
                .collect();
            assert_eq!(lens.iter().sum::<usize>(), total);
            assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 1);
        }
        assert_eq!(part(10, 0, 3), 10 / 3);
        assert_eq!(part(10, 0, 3) + part(10, 1, 3), 2 * 10 / 3);
    }
}
