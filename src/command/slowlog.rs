//! SLOWLOG: commands that took longer than `slowlog-log-slower-than`.
//!
//! Each core notes those of its connections; whoever asks is given the newest of all. A command that
//! takes several turns is timed from its beginning to its end. A turn of several commands is timed
//! as one: its entry shows the last of them and says how many there were. With a threshold below
//! [`EXACT_BELOW_US`](crate::limits::EXACT_BELOW_US) every command has a turn of its own, so that each is
//! timed alone, at the price of the pipeline's speed.
//!
//! What nobody should read is not kept: arguments of AUTH and HELLO, and passwords in CONFIG SET.

use std::collections::VecDeque;

use crate::limits::{SLOW_ARGUMENT_COUNT_MAX, SLOW_ARGUMENT_LEN_BYTES_MAX};
use crate::resp::{Args, Protocol, Reply};

use super::{
    Context, Flags, Merge, Part, Row, Run, Scope, Session, SessionContext, Status, number,
    reply_help, subcommand_arity,
};

pub(super) const ROWS: &[Row] = &[Row {
    name: "slowlog",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "slowlog|get",
        arity: -2,
        merge: Merge::With(merge_entries),
        run: Run::Shard(entries),
        ..EVERYWHERE
    },
    Row {
        name: "slowlog|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        run: Run::Session(help),
        ..Row::BLANK
    },
    Row {
        name: "slowlog|len",
        arity: 2,
        merge: Merge::With(merge_count),
        run: Run::Shard(count),
        ..EVERYWHERE
    },
    Row {
        name: "slowlog|reset",
        arity: 2,
        merge: Merge::Ok,
        run: Run::Shard(reset),
        ..EVERYWHERE
    },
];

const EVERYWHERE: Row = Row {
    flags: Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE),
    scope: Scope::AllShards,
    ..Row::BLANK
};

/// The slow commands of one core, oldest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowCommand>,
}

/// A slow command.
#[derive(Clone, Debug)]
pub struct SlowCommand {
    /// Its number among all of the process.
    pub id: u64,
    /// When it was done, in seconds since 1970.
    pub at_s: u64,
    /// How long it took, in microseconds.
    pub us: u64,
    /// What is kept of its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Of the client.
    pub address: String,
    /// Of the client.
    pub name: Vec<u8>,
}

/// What an entry says of a command.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    arguments: Vec<Vec<u8>>,
}

impl Excerpt {
    /// The arguments of a command of `row`, as many and as much of each as Redis keeps.
    pub fn of<'a>(row: &Row, arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let count = arguments.len();
        let kept = if count > SLOW_ARGUMENT_COUNT_MAX {
            SLOW_ARGUMENT_COUNT_MAX - 1
        } else {
            count
        };
        let mut excerpt = Self::default();
        let mut before: &[u8] = b"";
        for (index, argument) in arguments.take(kept).enumerate() {
            let is_secret = match row.name {
                "auth" | "hello" => index > 0,
                "config|set" => before.eq_ignore_ascii_case(b"requirepass"),
                _ => false,
            };
            excerpt.arguments.push(if is_secret {
                b"(redacted)".to_vec()
            } else {
                shorten(argument)
            });
            before = argument;
        }
        if kept < count {
            let rest = format!("... ({} more arguments)", count - kept);
            excerpt.arguments.push(rest.into_bytes());
        }
        excerpt
    }

    /// A command of which only the name is known any more.
    pub fn of_name(row: &Row) -> Self {
        let words = row.name.split('|').map(|word| word.as_bytes().to_vec());
        Self {
            arguments: words.collect(),
        }
    }

    /// Says that it is the last of `count` commands that were timed together.
    #[must_use]
    pub fn of_several(mut self, count: u64) -> Self {
        if count > 1 {
            let others = format!("... (the last of {count} commands in one turn)");
            self.arguments.push(others.into_bytes());
        }
        self
    }
}

fn shorten(argument: &[u8]) -> Vec<u8> {
    match argument.split_at_checked(SLOW_ARGUMENT_LEN_BYTES_MAX) {
        Some((head, tail)) if !tail.is_empty() => {
            [head, format!("... ({} more bytes)", tail.len()).as_bytes()].concat()
        }
        _ => argument.to_vec(),
    }
}

impl SlowLog {
    /// Notes a command of `session` that took `us`.
    pub fn push(&mut self, id: u64, at_s: u64, us: u64, excerpt: Excerpt, session: &Session) {
        self.entries.push_back(SlowCommand {
            id,
            at_s,
            us,
            arguments: excerpt.arguments,
            address: session.address.clone(),
            name: session.name.clone(),
        });
    }

    /// The last `count_max` entries, oldest first.
    pub fn newest(&self, count_max: usize) -> impl Iterator<Item = &SlowCommand> {
        let rest = self.entries.len().saturating_sub(count_max);
        self.entries.range(rest..)
    }

    /// Forgets the oldest until at most `count_max` are left.
    pub fn shorten(&mut self, count_max: u64) {
        let excess = (self.entries.len() as u64).saturating_sub(count_max);
        self.entries.drain(
            ..usize::try_from(excess)
                .unwrap_or(usize::MAX)
                .min(self.entries.len()),
        );
    }
}

impl SlowCommand {
    fn write(&self, reply: &mut Reply<'_>) {
        reply.array(6);
        reply.count(self.id);
        reply.count(self.at_s);
        reply.count(self.us);
        reply.array(self.arguments.len());
        self.arguments
            .iter()
            .for_each(|argument| reply.bulk(argument));
        reply.bulk(self.address.as_bytes());
        reply.bulk(&self.name);
    }
}

/// This core's entries, each behind its number and its length.
fn entries(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    for entry in &context.core.slow_log.entries {
        let (mut bytes, mut externs) = (Vec::new(), Vec::new());
        entry.write(&mut Reply::new(&mut bytes, &mut externs, Protocol::Resp2));
        reply.raw(&entry.id.to_le_bytes());
        reply.raw(&(bytes.len() as u64).to_le_bytes());
        reply.raw(&bytes);
    }
    Status::Done
}

/// The newest entries of all cores, newest first.
fn merge_entries(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let wanted = match args.len() {
        2 => Some(LISTED_COUNT),
        3 => match number::parse_i64(args.get(2)) {
            Some(-1) => Some(u64::MAX),
            count => count.and_then(|count| u64::try_from(count).ok()),
        },
        _ => return reply.error_bytes(&subcommand_arity(args)),
    };
    let Some(wanted) = wanted else {
        return reply.error("ERR count should be greater than or equal to -1");
    };
    let mut entries: Vec<NumberedEntry<'_>> = Vec::new();
    for part in parts {
        let mut rest = part.reply;
        while let Some((entry, after)) = next_entry(rest) {
            entries.push(entry);
            rest = after;
        }
    }
    entries.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    let count_max = wanted.min(context.core.settings.slowlog_max_len);
    entries.truncate(usize::try_from(count_max).unwrap_or(usize::MAX));
    reply.array(entries.len());
    entries.iter().for_each(|(_, entry)| reply.raw(entry));
}

/// An entry as it is replied, with its number.
type NumberedEntry<'a> = (u64, &'a [u8]);

/// The first entry that [`entries`] wrote, with its number, and what follows it.
fn next_entry(bytes: &[u8]) -> Option<(NumberedEntry<'_>, &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let (entry, rest) = rest.split_at_checked(len)?;
    Some(((u64::from_le_bytes(*id), entry), rest))
}

fn count(context: &mut Context<'_>, _: Args<'_>, _: &mut Reply<'_>) -> Status {
    context.resume.count = context.core.slow_log.entries.len() as u64;
    Status::Done
}

fn merge_count(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let count: u64 = parts.iter().map(|part| part.count).sum();
    reply.count(count.min(context.core.settings.slowlog_max_len));
}

fn reset(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    context.core.slow_log.entries.clear();
    reply.ok();
    Status::Done
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "SLOWLOG", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "GET [<count>]",
    "    Return the newest entries of the slow log (default: 10, -1 means all), newest first:",
    "    number, time, microseconds, arguments, address and name of the client.",
    "LEN",
    "    Return how many entries there are.",
    "RESET",
    "    Forget all entries.",
];

/// Entries that GET lists unless told otherwise.
const LISTED_COUNT: u64 = 10;

#[cfg(test)]
mod tests;
