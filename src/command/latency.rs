//! LATENCY: what kept clients waiting, and how long each command takes.
//!
//! Two sources. *Delays* are stretches of a core's work that took `latency-monitor-threshold` or longer:
//!
//! | event          | what took so long                                                      |
//! |----------------|------------------------------------------------------------------------|
//! | `command`      | a command, or a turn of several                                        |
//! | `fast-command` | the same, of a command that should take constant time                  |
//! | `exchange`     | serving other cores' commands                                          |
//! | `background`   | a step of expiry, eviction or compaction                               |
//!
//! Each core keeps its own; whoever asks is given all of them by time. *Histograms* are the latencies that
//! [`tally`](super::tally) keeps of every command.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::limits::LATENCY_SAMPLE_COUNT_MAX;
use crate::resp::{Args, Reply};

use super::refusal::printed;
use super::tally::{Histogram, Tally};
use super::{
    Context, Flags, Merge, Now, Part, Row, Run, Scope, SessionContext, Status, reply_help,
};

pub(super) const ROWS: &[Row] = &[Row {
    name: "latency",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "latency|doctor",
        arity: 2,
        merge: Merge::With(merge_doctor),
        run: Run::Shard(events),
        ..EVERYWHERE
    },
    Row {
        name: "latency|graph",
        arity: 3,
        merge: Merge::With(merge_graph),
        run: Run::Shard(events),
        ..EVERYWHERE
    },
    Row {
        name: "latency|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        run: Run::Session(help),
        ..Row::BLANK
    },
    Row {
        name: "latency|histogram",
        arity: -2,
        merge: Merge::With(merge_histograms),
        run: Run::Shard(tally),
        ..EVERYWHERE
    },
    Row {
        name: "latency|history",
        arity: 3,
        merge: Merge::With(merge_history),
        run: Run::Shard(events),
        ..EVERYWHERE
    },
    Row {
        name: "latency|latest",
        arity: 2,
        merge: Merge::With(merge_latest),
        run: Run::Shard(events),
        ..EVERYWHERE
    },
    Row {
        name: "latency|reset",
        arity: -2,
        merge: Merge::With(merge_reset),
        run: Run::Shard(reset),
        ..EVERYWHERE
    },
];

const EVERYWHERE: Row = Row {
    flags: Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::LOADING)
        .with(Flags::STALE),
    scope: Scope::AllShards,
    ..Row::BLANK
};

/// What took so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// A command, or a turn of several.
    Command,
    /// A command that should take constant time.
    FastCommand,
    /// Commands of other cores.
    Exchange,
    /// Work that nobody waits for.
    Background,
}

impl Delay {
    const ALL: [Self; 4] = [
        Self::Background,
        Self::Command,
        Self::Exchange,
        Self::FastCommand,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::Exchange => "exchange",
            Self::Background => "background",
        }
    }

    fn find(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|event| event.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// What helps against it.
    const fn advice(self) -> &'static str {
        match self {
            Self::Command => {
                "SLOWLOG GET tells which commands took long: large values, many keys at once, KEYS."
            }
            Self::FastCommand => {
                "These need no time of their own: look for other processes on the server's CPUs, for \
                 swapping, and at the hypervisor (redis-cli --intrinsic-latency measures it)."
            }
            Self::Exchange => {
                "Commands for keys of other cores took long there: SLOWLOG GET tells which."
            }
            Self::Background => {
                "Expiry, eviction and compaction run in small steps; a long one points to the same \
                 causes as fast-command."
            }
        }
    }
}

/// What took long on one core, or on all.
#[derive(Clone, Debug, Default)]
pub struct Delays([History; Delay::ALL.len()]);

/// When an event took how long.
#[derive(Clone, Debug, Default)]
struct History {
    samples: VecDeque<Sample>,
    longest_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    at_s: u64,
    ms: u64,
}

impl Delays {
    /// Notes that `event` took `ms`. Of one second the longest is kept.
    pub fn note(&mut self, event: Delay, now: Now, ms: u64) {
        let at_s = now.seconds();
        self.history_mut(event).add(Sample { at_s, ms });
    }

    fn history(&self, event: Delay) -> &History {
        &self.0[event as usize]
    }

    fn history_mut(&mut self, event: Delay) -> &mut History {
        &mut self.0[event as usize]
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut words = Vec::new();
        for history in &self.0 {
            words.extend([history.samples.len() as u64, history.longest_ms]);
            words.extend(
                history
                    .samples
                    .iter()
                    .flat_map(|sample| [sample.at_s, sample.ms]),
            );
        }
        out.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
    }

    /// Those of all cores, from what each wrote.
    fn of_parts(parts: &[Part<'_>]) -> Self {
        let mut all = Self::default();
        for part in parts {
            let (words, _) = part.reply.as_chunks();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            let mut next = || words.next().unwrap_or_default();
            for history in &mut all.0 {
                let count = next();
                history.longest_ms = history.longest_ms.max(next());
                for _ in 0..count {
                    let (at_s, ms) = (next(), next());
                    history.samples.push_back(Sample { at_s, ms });
                }
            }
        }
        all.0.iter_mut().for_each(History::put_in_order);
        all
    }
}

impl History {
    fn add(&mut self, sample: Sample) {
        self.longest_ms = self.longest_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => self.samples.push_back(sample),
        }
        if self.samples.len() > LATENCY_SAMPLE_COUNT_MAX {
            self.samples.pop_front();
        }
    }

    /// Merges the samples of several cores.
    fn put_in_order(&mut self) {
        let longest_ms = self.longest_ms;
        let mut samples = Vec::from(std::mem::take(&mut self.samples));
        samples.sort_unstable();
        samples.into_iter().for_each(|sample| self.add(sample));
        self.longest_ms = longest_ms;
    }
}

fn events(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut bytes = Vec::new();
    context.core.latency.write(&mut bytes);
    reply.raw(&bytes);
    Status::Done
}

fn merge_latest(
    _: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let events = Delays::of_parts(parts);
    let latest: Vec<_> = Delay::ALL
        .into_iter()
        .filter_map(|event| Some((event, events.history(event).samples.back()?)))
        .collect();
    reply.array(latest.len());
    for (event, sample) in latest {
        reply.array(4);
        reply.bulk(event.name().as_bytes());
        reply.count(sample.at_s);
        reply.count(sample.ms);
        reply.count(events.history(event).longest_ms);
    }
}

fn merge_history(
    _: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let events = Delays::of_parts(parts);
    let Some(event) = Delay::find(args.get(2)) else {
        return reply.array(0);
    };
    let samples = &events.history(event).samples;
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        reply.count(sample.at_s);
        reply.count(sample.ms);
    }
}

/// A column for each sample, as high as it is long, over how long ago it was.
fn merge_graph(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let events = Delays::of_parts(parts);
    let event = Delay::find(args.get(2)).map(|event| (event, events.history(event)));
    let Some((event, history)) = event.filter(|(_, history)| !history.samples.is_empty()) else {
        let name = printed(args.get(2));
        let text = [b"ERR No samples available for event '", name, b"'"].concat();
        return reply.error_bytes(&text);
    };
    let samples: Vec<Sample> = history.samples.iter().copied().collect();
    let shown = &samples[samples.len().saturating_sub(GRAPH_COLUMN_COUNT)..];
    let (low, high) = shown.iter().fold((u64::MAX, 0), |(low, high), sample| {
        (low.min(sample.ms), high.max(sample.ms))
    });
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.name(),
        history.longest_ms,
        "-".repeat(GRAPH_RULE_LEN),
    );
    let step = |sample: &Sample| {
        (sample.ms - low) * (GRAPH_LINE_COUNT * GRAPH_STEPS_PER_LINE - 1) / (high - low).max(1)
    };
    for line in (0..GRAPH_LINE_COUNT).rev() {
        for sample in shown {
            let above = step(sample) + 1;
            let filled = above.saturating_sub(line * GRAPH_STEPS_PER_LINE);
            let place = usize::try_from(filled.min(GRAPH_STEPS_PER_LINE)).unwrap_or_default();
            text.push(GRAPH_LETTERS[place]);
        }
        text.push('\n');
    }
    text.push('\n');
    write_ages(shown, context.now.seconds(), &mut text);
    reply.verbatim(text.as_bytes());
}

/// How long ago each sample was, read downwards: `15s`, `3m`.
fn write_ages(samples: &[Sample], now_s: u64, text: &mut String) {
    let age = |sample: &Sample| {
        let age_s = now_s.saturating_sub(sample.at_s);
        match age_s {
            0..60 => format!("{age_s}s"),
            60..HOUR_S => format!("{}m", age_s / 60),
            HOUR_S..DAY_S => format!("{}h", age_s / HOUR_S),
            _ => format!("{}d", age_s / DAY_S),
        }
    };
    let ages: Vec<Vec<char>> = samples
        .iter()
        .map(|sample| age(sample).chars().collect())
        .collect();
    let longest = ages.iter().map(Vec::len).max().unwrap_or_default();
    for line in 0..longest {
        let column = ages.iter().map(|age| age.get(line).copied().unwrap_or(' '));
        text.extend(column);
        text.push('\n');
    }
}

fn merge_doctor(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let threshold_ms = context.core.settings.latency_monitor_threshold_ms;
    if threshold_ms == 0 {
        return reply.verbatim(
            b"Latency events are not kept: latency-monitor-threshold is 0. Set it to the number of \
              milliseconds that are too long for you, with CONFIG SET.\n",
        );
    }
    let events = Delays::of_parts(parts);
    let mut text = String::new();
    for event in Delay::ALL {
        let history = events.history(event);
        let (Some(first), Some(last)) = (history.samples.front(), history.samples.back()) else {
            continue;
        };
        let count = history.samples.len() as u64;
        let sum_ms: u64 = history.samples.iter().map(|sample| sample.ms).sum();
        let period_s = (last.at_s - first.at_s) / (count - 1).max(1);
        writeln!(
            text,
            "{}: {count} seconds with spikes of {threshold_ms} ms or more (average {} ms, one in {period_s} s, \
             worst {} ms). {}",
            event.name(),
            sum_ms / count,
            history.longest_ms,
            event.advice(),
        )
        .expect("a String takes any text");
    }
    if text.is_empty() {
        text =
            format!("Nothing took {threshold_ms} ms or longer since the events were last reset.\n");
    }
    reply.verbatim(text.as_bytes());
}

/// Forgets the named events of this core, or all: which, as bits.
fn reset(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut bits = 0_u64;
    for event in Delay::ALL {
        let is_named = args.len() == 2
            || args
                .slice(2..)
                .iter()
                .any(|name| Delay::find(name) == Some(event));
        let history = context.core.latency.history_mut(event);
        if is_named && !history.samples.is_empty() {
            *history = History::default();
            bits |= 1 << event as u32;
        }
    }
    reply.raw(&bits.to_le_bytes());
    Status::Done
}

/// How many events were forgotten on any core.
fn merge_reset(_: &mut SessionContext<'_>, _: Args<'_>, parts: &[Part<'_>], reply: &mut Reply<'_>) {
    let bits = parts.iter().filter_map(|part| part.reply.first_chunk());
    let all = bits.fold(0, |all, bits| all | u64::from_le_bytes(*bits));
    reply.count(all.count_ones().into());
}

fn tally(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut bytes = Vec::new();
    context.core.tally.write(&mut bytes);
    reply.raw(&bytes);
    Status::Done
}

/// The latencies of the commands that are named, or of all: how many calls took up to so many
/// microseconds, by powers of two.
fn merge_histograms(
    _: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let mut all = Tally::default();
    parts
        .iter()
        .filter_map(|part| Tally::read(part.reply))
        .for_each(|tally| all.merge(&tally));
    let is_named = |row: &Row| {
        let container = row.name.split('|').next().unwrap_or_default();
        let names = [row.name, container];
        let is_it = |arg: &[u8]| {
            names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(arg))
        };
        args.len() == 2 || args.slice(2..).iter().any(is_it)
    };
    let costs: Vec<_> = all
        .costs()
        .filter(|(row, cost)| cost.latencies.is_some() && is_named(row))
        .collect();
    reply.map(costs.len());
    for (row, cost) in costs {
        reply.bulk(row.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.count(cost.calls);
        reply.bulk(b"histogram_usec");
        let steps = cost.latencies.as_deref().map(steps).unwrap_or_default();
        reply.map(steps.len());
        for (us, count) in steps {
            reply.count(us);
            reply.count(count);
        }
    }
}

/// The counts up to 1, 2, 4, .. microseconds that differ from the one before.
fn steps(latencies: &Histogram) -> Vec<(u64, u64)> {
    let mut steps = Vec::new();
    let (mut ns, mut before) = (FIRST_STEP_NS, 0);
    while before < latencies.count() {
        let count = if ns >= latencies.longest_ns() {
            latencies.count()
        } else {
            latencies.count_up_to(ns)
        };
        if count > before {
            steps.push((ns / NS_PER_US, count));
            before = count;
        }
        ns *= 2;
    }
    steps
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "LATENCY", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return what took long and what to do about it.",
    "GRAPH <event>",
    "    Return an ASCII graph of how long an event took.",
    "HISTORY <event>",
    "    Return when an event took how many milliseconds.",
    "LATEST",
    "    Return of each event when it came last, how long it took then, and the longest.",
    "RESET [<event> ...]",
    "    Forget events; all if none is named.",
    "HISTOGRAM [<command> ...]",
    "    Return how many calls took up to so many microseconds; of all commands if none is named.",
];

const NS_PER_US: u64 = 1_000;
const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
/// A microsecond as Redis's histograms begin with it, so that steps are powers of two.
const FIRST_STEP_NS: u64 = 1 << 10;
/// Columns, lines and heights of a graph, as Redis draws it.
const GRAPH_COLUMN_COUNT: usize = 80;
const GRAPH_RULE_LEN: usize = 80;
const GRAPH_LINE_COUNT: u64 = 4;
const GRAPH_STEPS_PER_LINE: u64 = 3;
/// Nothing, a third, two thirds and all of a line.
const GRAPH_LETTERS: [char; 4] = [' ', '_', 'o', '#'];

#[cfg(test)]
mod tests;
