//! INFO: the state of the server as `name:value` lines in sections.
//!
//! Every core hands in its numbers as words; the core of the caller adds them up and writes the
//! text, which is in `sections`.

use crate::metrics::CoreStats;
use crate::resp::{Args, Reply};
use crate::shard::{Shard, Stats};

use super::tally::Tally;
use super::{
    Context, Core, Flags, Merge, Now, Part, Row, Run, Scope, Session, SessionContext, Status,
};

mod sections;

use sections::SECTIONS;

pub(super) const ROWS: &[Row] = &[Row {
    name: "info",
    arity: -1,
    flags: Flags::LOADING.with(Flags::STALE),
    scope: Scope::AllShards,
    merge: Merge::With(merge),
    run: Run::Shard(part),
    ..Row::BLANK
}];

/// The numbers of one core, as they travel; or of all, added up.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What the core counted.
    pub stats: CoreStats,
    /// What its shard counted.
    pub shard: Stats,
    /// Connections that live there.
    pub connection_count: u64,
    /// Since when a key has been due that nobody has removed yet, in milliseconds.
    pub expiry_lag_ms: u64,
    /// What keys that expire have left, on average.
    pub ttl_ms: u64,
    /// Connections that wait for a time or for the disk.
    pub blocked_count: u64,
    /// The most that one connection's input holds.
    pub input_max_bytes: u64,
    /// The most that one connection's output holds.
    pub output_max_bytes: u64,
    /// What each command cost.
    pub tally: Tally,
}

impl Figures {
    /// Of one core, now.
    pub fn of(core: &mut Core, of_core: &Shard, now: Now) -> Self {
        let mut shard = of_core.stats();
        shard.expired_count -= core.expired_count_at_reset;
        shard.evicted_count -= core.evicted_count_at_reset;
        let now_ms = now.ms();
        let due_ms = of_core.next_expiry_ms().unwrap_or(now_ms);
        let sessions = || core.clients.iter().map(|(_, session)| session);
        let most = |held: fn(&Session) -> usize| sessions().map(held).max().unwrap_or(0) as u64;
        Self {
            stats: core.stats.clone(),
            shard,
            connection_count: core.clients.len() as u64,
            expiry_lag_ms: now_ms.saturating_sub(due_ms),
            ttl_ms: of_core.average_ttl_ms(core.random.next_u64(), now_ms),
            blocked_count: sessions().filter(|session| session.is_waiting()).count() as u64,
            input_max_bytes: most(|session| session.input_len_bytes + session.input_free_bytes),
            output_max_bytes: most(|session| session.output_capacity_bytes),
            tally: core.tally.clone(),
        }
    }

    /// Of all cores, added up, from what each wrote.
    pub(super) fn of_parts(parts: &[Part<'_>]) -> Self {
        let mut all = Self::default();
        let cores = parts.iter().filter_map(|part| Self::read(part.reply));
        cores.for_each(|figures| all.merge(&figures));
        all
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.stats.write(out);
        let rest = [
            self.connection_count,
            self.expiry_lag_ms,
            self.ttl_ms,
            self.blocked_count,
            self.input_max_bytes,
            self.output_max_bytes,
        ];
        for word in self.shard.words().into_iter().chain(rest) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        self.tally.write(out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (stats, rest) = CoreStats::read(bytes)?;
        let (shard, rest) = read_words(rest)?;
        let (numbers, rest) = read_words(rest)?;
        let [
            connection_count,
            expiry_lag_ms,
            ttl_ms,
            blocked_count,
            input_max_bytes,
            output_max_bytes,
        ] = numbers;
        Some(Self {
            stats,
            shard: Stats::from_words(shard),
            connection_count,
            expiry_lag_ms,
            ttl_ms,
            blocked_count,
            input_max_bytes,
            output_max_bytes,
            tally: Tally::read(rest)?,
        })
    }

    /// Adds another core's.
    pub fn merge(&mut self, other: &Self) {
        let [own, others] = [self, other].map(|figures: &Self| {
            let count = u128::from(figures.shard.volatile_key_count);
            (count, count * u128::from(figures.ttl_ms))
        });
        let ttl_ms = (own.1 + others.1) / (own.0 + others.0).max(1);
        self.ttl_ms = u64::try_from(ttl_ms).unwrap_or(u64::MAX);
        self.stats.merge(&other.stats);
        self.shard.merge(&other.shard);
        self.connection_count += other.connection_count;
        self.expiry_lag_ms = self.expiry_lag_ms.max(other.expiry_lag_ms);
        self.blocked_count += other.blocked_count;
        self.input_max_bytes = self.input_max_bytes.max(other.input_max_bytes);
        self.output_max_bytes = self.output_max_bytes.max(other.output_max_bytes);
        self.tally.merge(&other.tally);
    }
}

/// Some little-endian words, and what follows them.
fn read_words<const COUNT: usize>(bytes: &[u8]) -> Option<([u64; COUNT], &[u8])> {
    let (head, rest) = bytes.split_at_checked(COUNT * size_of::<u64>())?;
    let (words, _) = head.as_chunks();
    let mut numbers = [0; COUNT];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = u64::from_le_bytes(*word);
    }
    Some((numbers, rest))
}

pub(super) fn part(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut bytes = Vec::new();
    Figures::of(context.core, context.shard, context.now).write(&mut bytes);
    reply.raw(&bytes);
    Status::Done
}

fn merge(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let cores: Vec<Figures> = parts
        .iter()
        .filter_map(|part| Figures::read(part.reply))
        .collect();
    let mut all = Figures::default();
    cores.iter().for_each(|figures| all.merge(figures));
    let report = Report {
        context,
        cores: &cores,
        all: &all,
        now: context.now,
    };
    let mut text = String::new();
    for section in SECTIONS
        .iter()
        .filter(|section| is_asked_for(section, args))
    {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(section.title);
        text.push_str("\r\n");
        (section.write)(&report, &mut text);
    }
    reply.verbatim(text.as_bytes());
}

/// No argument and `default` mean every section but the long ones; `all` and `everything` mean all.
fn is_asked_for(section: &Section, args: Args<'_>) -> bool {
    let is_meant = |arg: &[u8]| {
        let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
        is(section.name) || is("all") || is("everything") || (is("default") && !section.is_long)
    };
    match args.len() {
        1 => !section.is_long,
        _ => args.slice(1..).iter().any(is_meant),
    }
}

/// What the sections are written from.
struct Report<'a> {
    context: &'a SessionContext<'a>,
    cores: &'a [Figures],
    all: &'a Figures,
    now: Now,
}

/// One section of the reply.
struct Section {
    /// What INFO's argument calls it.
    name: &'static str,
    /// What the reply calls it.
    title: &'static str,
    /// Whether it has a line for each command, so that only who asks is given it.
    is_long: bool,
    write: fn(&Report<'_>, &mut String),
}

#[cfg(test)]
mod tests;
