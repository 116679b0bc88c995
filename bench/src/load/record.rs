//! What threads note while they run, interval by interval, and how it is put together.
//!
//! A thread fills an interval of its own and hands it over when the next one begins, so that
//! nothing is shared while commands are in flight. The collector adds up the threads' parts; an
//! interval is complete when every thread has handed in its own.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::check::Tally;
use crate::clock;

/// Longest time that can be told apart from longer ones: ten minutes.
const LATENCY_NS_MAX: u64 = 600 * NS_PER_S;
pub(crate) const NS_PER_S: u64 = 1_000_000_000;

/// Counts times in nanoseconds, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("these bounds are valid")
}

/// The measured part of a run, in nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) began_at: Instant,
    pub(crate) from_ns: u64,
    /// The first instant after it; `u64::MAX` if only the commands end it.
    pub(crate) until_ns: u64,
    pub(crate) interval_ns: u64,
}

impl Window {
    pub(crate) fn now_ns(&self) -> u64 {
        clock::ns_since(self.began_at)
    }

    /// Its length, if that is known before it ends.
    pub(crate) fn len_s(&self) -> Option<f64> {
        let len = Duration::from_nanos(self.until_ns - self.from_ns);
        (self.until_ns < u64::MAX).then_some(len.as_secs_f64())
    }

    pub(crate) fn holds(&self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }

    /// The interval of an instant; what is outside the window belongs to the nearest.
    fn interval_index(&self, at_ns: u64) -> u64 {
        (at_ns.clamp(self.from_ns, self.until_ns - 1) - self.from_ns) / self.interval_ns
    }
}

/// What happened in one interval.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) index: u64,
    pub(crate) tally: Tally,
    /// From the first byte of a batch, or from when a command was due, to the last reply.
    pub(crate) latency_ns: Histogram<u64>,
    /// Open loop: from when a command was due to when the sender got to it.
    pub(crate) behind_ns: Histogram<u64>,
    /// Open loop: commands that were due and never sent.
    pub(crate) unsent_count: u64,
}

impl Interval {
    pub(crate) fn new(index: u64) -> Self {
        Self {
            index,
            tally: Tally::default(),
            latency_ns: histogram(),
            behind_ns: histogram(),
            unsent_count: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        const ALIKE: &str = "both histograms have the same bounds";
        self.tally.add(other.tally);
        self.latency_ns.add(&other.latency_ns).expect(ALIKE);
        self.behind_ns.add(&other.behind_ns).expect(ALIKE);
        self.unsent_count += other.unsent_count;
    }
}

/// One thread's notes.
pub(crate) struct Recorder {
    pub(crate) window: Window,
    current: Interval,
    finished: Sender<Interval>,
}

impl Recorder {
    pub(crate) fn new(window: Window, finished: Sender<Interval>) -> Self {
        Self {
            window,
            current: Interval::new(0),
            finished,
        }
    }

    /// Hands the current interval over if it has ended.
    pub(crate) fn roll(&mut self, now_ns: u64) {
        let index = self.window.interval_index(now_ns);
        if index > self.current.index {
            let ended = std::mem::replace(&mut self.current, Interval::new(index));
            self.hand_over(ended);
        }
    }

    /// Replies that arrived now.
    pub(crate) fn count(&mut self, now_ns: u64, tally: Tally) {
        if self.window.holds(now_ns) {
            self.current.tally.add(tally);
        }
    }

    /// What began or was due at `start_ns` got its last reply now. It counts if it began within
    /// the window, so that a wait that outlasts the window is not lost.
    pub(crate) fn answered(&mut self, start_ns: u64, now_ns: u64) {
        if self.window.holds(start_ns) {
            self.current.latency_ns.saturating_record(now_ns - start_ns);
        }
    }

    /// The sender got to a command that was due at `due_ns`.
    pub(crate) fn issued(&mut self, due_ns: u64, now_ns: u64) {
        if self.window.holds(due_ns) {
            self.current.behind_ns.saturating_record(now_ns - due_ns);
        }
    }

    /// A command due at `due_ns` was never sent: at least, it waited until now.
    pub(crate) fn unsent(&mut self, due_ns: u64, now_ns: u64) {
        if self.window.holds(due_ns) {
            self.current.unsent_count += 1;
            self.current.behind_ns.saturating_record(now_ns - due_ns);
            self.current.latency_ns.saturating_record(now_ns - due_ns);
        }
    }

    /// Hands over what is left.
    pub(crate) fn finish(mut self) {
        let last = std::mem::replace(&mut self.current, Interval::new(0));
        self.hand_over(last);
    }

    fn hand_over(&self, interval: Interval) {
        // Nobody listens any more only if the run has failed elsewhere.
        let _ = self.finished.send(interval);
    }
}

/// A line of the course of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Where the interval ends, since the measurement began.
    pub(crate) end_s: f64,
    pub(crate) len_s: f64,
    pub(crate) reply_count: u64,
    /// p50, p90, p99, p99.9, p99.99 and the longest.
    pub(crate) latency_ns: [u64; 6],
    pub(crate) behind_max_ns: u64,
    pub(crate) miss_count: u64,
    pub(crate) error_count: u64,
}

/// The quantiles that are reported everywhere, the last being the maximum.
pub(crate) const QUANTILES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// The values at `QUANTILES`.
pub(crate) fn quantiles(times_ns: &Histogram<u64>) -> [u64; 6] {
    QUANTILES.map(|quantile| {
        if quantile < 1.0 {
            times_ns.value_at_quantile(quantile)
        } else {
            times_ns.max()
        }
    })
}

/// Puts the threads' intervals together.
pub(crate) struct Collector {
    thread_count: usize,
    interval_s: f64,
    /// Intervals for which some threads' parts are missing, with how many there are.
    partial: BTreeMap<u64, (usize, Interval)>,
    pub(crate) total: Interval,
    pub(crate) rows: Vec<Row>,
}

impl Collector {
    pub(crate) fn new(thread_count: usize, interval_s: f64) -> Self {
        Self {
            thread_count,
            interval_s,
            partial: BTreeMap::new(),
            total: Interval::new(0),
            rows: Vec::new(),
        }
    }

    /// Takes one thread's part; the row of the interval if that completes it.
    pub(crate) fn take(&mut self, part: &Interval) -> Option<&Row> {
        let (count, sum) = self
            .partial
            .entry(part.index)
            .or_insert_with(|| (0, Interval::new(part.index)));
        *count += 1;
        sum.add(part);
        if *count < self.thread_count {
            return None;
        }
        let (_, whole) = self.partial.remove(&part.index)?;
        self.close(&whole, self.interval_s);
        self.rows.last()
    }

    /// Closes what not every thread had a part in, after a measurement of `seconds`.
    pub(crate) fn finish(&mut self, seconds: f64) {
        for (_, interval) in std::mem::take(&mut self.partial).into_values() {
            self.close(&interval, self.interval_s);
        }
        self.rows.sort_by(|a, b| a.end_s.total_cmp(&b.end_s));
        if let Some(last) = self.rows.last_mut() {
            let start_s = last.end_s - self.interval_s;
            if start_s < seconds && seconds < last.end_s {
                last.end_s = seconds;
                last.len_s = seconds - start_s;
            }
        }
    }

    fn close(&mut self, interval: &Interval, len_s: f64) {
        self.total.add(interval);
        #[expect(clippy::cast_precision_loss, reason = "there are few intervals")]
        let end_s = (interval.index + 1) as f64 * self.interval_s;
        self.rows.push(Row {
            end_s,
            len_s,
            reply_count: interval.tally.reply_count,
            latency_ns: quantiles(&interval.latency_ns),
            behind_max_ns: interval.behind_ns.max(),
            miss_count: interval.tally.miss_count,
            error_count: interval.tally.error_count,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const TALLY: Tally = Tally {
        reply_count: 10,
        miss_count: 1,
        error_count: 0,
    };

    fn window(until_ns: u64) -> Window {
        Window {
            began_at: clock::now(),
            from_ns: 100,
            until_ns,
            interval_ns: 100,
        }
    }

    #[test]
    fn only_what_happens_within_the_window_is_measured() {
        let (sender, parts) = mpsc::channel();
        let mut recorder = Recorder::new(window(400), sender);
        for now_ns in [50, 150, 250, 399, 400] {
            recorder.roll(now_ns);
            recorder.count(now_ns, TALLY);
            recorder.answered(now_ns - 40, now_ns);
        }
        // Due within the window, answered after it; due before it; due after it.
        recorder.answered(390, 1000);
        recorder.answered(90, 150);
        recorder.answered(400, 1000);
        recorder.finish();
        let mut collector = Collector::new(1, 1.0);
        for part in parts {
            collector.take(&part);
        }
        let total = &collector.total;
        assert_eq!(total.tally.reply_count, 30);
        assert_eq!((total.latency_ns.len(), total.latency_ns.max()), (5, 610));
        let counts: Vec<_> = collector.rows.iter().map(|row| row.reply_count).collect();
        assert_eq!(counts, [10, 10, 10]);
    }

    #[test]
    fn what_was_never_sent_counts_with_the_time_it_waited() {
        let (sender, parts) = mpsc::channel();
        let mut recorder = Recorder::new(window(400), sender);
        recorder.issued(150, 160);
        recorder.unsent(300, 400);
        recorder.finish();
        let part = parts.recv().unwrap();
        assert_eq!((part.unsent_count, part.behind_ns.len()), (1, 2));
        assert_eq!((part.latency_ns.max(), part.behind_ns.min()), (100, 10));
    }

    #[test]
    fn an_interval_is_complete_when_every_thread_had_a_part_in_it() {
        let part = |index| Interval {
            tally: TALLY,
            ..Interval::new(index)
        };
        let mut collector = Collector::new(2, 1.0);
        assert!(collector.take(&part(0)).is_none());
        assert!(collector.take(&part(1)).is_none());
        let row = collector.take(&part(0)).unwrap();
        assert_eq!(
            (row.reply_count, row.end_s.to_string()),
            (20, "1".to_owned())
        );
        collector.finish(1.5);
        let last = collector.rows.last().unwrap();
        assert_eq!(
            (last.reply_count, last.len_s.to_string()),
            (10, "0.5".to_owned())
        );
        assert_eq!(collector.total.tally.reply_count, 30);
    }
}
