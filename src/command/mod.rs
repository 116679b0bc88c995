//! The command table: one row says everything about a command that others need to know.
//!
//! ```text
//! name    arity  keys   scope      merge    run
//! get         2  one    Owner      -        Shard(string::read)
//! mget       -2  all    PerKey     InOrder  Shard(...), part: get
//! dbsize      1  none   AllShards  Sum      Shard(...)
//! ping       -1  none   Session    -        Session(connection::ping)
//! ```
//!
//! The router reads the row and never the command: adding a command is a row and a function in one
//! of the files here, its description in `docs.rs`, and a test. A command with subcommands is a row
//! that has rows of its own, each with its own scope.
//!
//! [`lookup`] folds a name to lower case in two registers and finds its row through a perfect hash
//! that is computed when this is compiled.
//!
//! Not here: how commands reach their shard and replies their connection (`lane`).

use crate::limits;
use crate::resp::{Args, Limits, Reply};

mod acl;
mod ahead;
mod bits;
mod client;
#[cfg(test)]
mod compat;
mod config;
mod connection;
mod context;
mod debug;
mod direct;
mod docs;
#[cfg(test)]
mod document;
mod dump;
mod gather;
#[cfg(test)]
mod gather_tests;
mod glob;
#[cfg(test)]
mod harness;
mod held;
mod hot_keys;
mod hyperloglog;

mod info;
mod introspect;
mod key;
mod latency;
mod lcs;
mod memory;
mod number;
mod persistence;
pub mod plan;
mod refusal;
mod report;
pub mod room;
mod scan;
mod server;
pub mod settings;
mod slowlog;
mod sort;
mod string;
mod table;
pub mod tally;
pub mod transaction;
mod unsupported;

pub use client::UNBLOCKED;
pub use config::{is_leader, reload};
pub use connection::{DENIED, MAXCLIENTS_REACHED, NOAUTH, REDIS_VERSION, owes_password};
pub use context::{
    ClientIndex, Clients, Context, Core, Facts, Muting, Now, Pause, ProcessUsage, Random, Resume,
    Session, SessionContext, Shared,
};
pub use direct::{Direct, DirectRun};
pub use gather::{Gathering, TOO_MANY_VALUES};
pub use hot_keys::HotKeys;
pub use info::Figures;
pub use latency::Delay;
pub use persistence::{LOADING, Loading, Saving, Wait};
pub use refusal::no_room;
pub use report::{Report, Watched};
pub use scan::shard_of_cursor;
pub use settings::Settings;
pub use slowlog::{Excerpt, SlowCommand};
pub use table::{lookup, rows};
pub use transaction::{Queue, Watching};

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its place among all rows and subcommands that clients can name, from 1; the table gives it.
    pub number: u16,
    /// Name in lower case; a subcommand's follows its container's and a bar: `client|list`.
    pub name: &'static str,
    /// How many arguments, the name included; negative: at least that many.
    pub arity: i16,
    /// Which arguments are keys.
    pub keys: Keys,
    /// What else Redis tells clients about it.
    pub flags: Flags,
    /// Where it runs.
    pub scope: Scope,
    /// How the replies of its parts become one.
    pub merge: Merge,
    /// The row that runs one key (or pair) of a [`Scope::PerKey`] command on its own. Its arguments
    /// are the command's name and that key or pair.
    pub part: Option<&'static Row>,
    /// What runs.
    pub run: Run,
    /// The same on a reader of the shard, if the command only looks keys up: another core than the
    /// owner can run it.
    pub direct: Option<DirectRun>,
    /// What there is to know of a command that needs the values of several keys.
    pub gathering: Option<Gathering>,
    /// The rows of its subcommands.
    pub subcommands: &'static [Row],
}

impl Row {
    /// A row that the fields of real ones are laid over: `Row { name, arity, …, ..Row::BLANK }`.
    pub const BLANK: Self = Self {
        number: 0,
        name: "",
        arity: 0,
        keys: Keys::NONE,
        flags: Flags::NONE,
        scope: Scope::Session,
        merge: Merge::None,
        part: None,
        run: Run::Session(|_, _, _| {}),
        direct: None,
        gathering: None,
        subcommands: &[],
    };

    /// Whether it is the row of a subcommand.
    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }

    /// Whether `count` arguments, the name included, are as many as it takes.
    #[inline]
    pub const fn takes(&self, count: usize) -> bool {
        self.has_arity(count) && (self.keys.step < 2 || self.keys.are_whole(count))
    }

    /// The same, but for keys that lack what belongs to them.
    #[inline]
    const fn has_arity(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 {
            count >= arity
        } else {
            count == arity
        }
    }
}

/// Where keys are among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Index of the first key; 0 if there is none.
    pub first: u8,
    /// Index of the last; negative: counted from the end.
    pub last: i8,
    /// From one to the next.
    pub step: u8,
}

impl Keys {
    /// No key.
    pub const NONE: Self = Self {
        first: 0,
        last: 0,
        step: 0,
    };
    /// The first argument.
    pub const ONE: Self = Self {
        first: 1,
        last: 1,
        step: 1,
    };
    /// The first two arguments.
    pub const TWO: Self = Self {
        first: 1,
        last: 2,
        step: 1,
    };
    /// The second argument, after a subcommand.
    pub const SECOND: Self = Self {
        first: 2,
        last: 2,
        step: 1,
    };
    /// All arguments.
    pub const ALL: Self = Self {
        first: 1,
        last: -1,
        step: 1,
    };
    /// All arguments in pairs of key and value.
    pub const PAIRS: Self = Self {
        first: 1,
        last: -1,
        step: 2,
    };

    /// Whether each key among `count` arguments comes with what belongs to it.
    const fn are_whole(self, count: usize) -> bool {
        (count - self.first as usize).is_multiple_of(self.step as usize)
    }

    /// The indices of the keys among `count` arguments.
    pub fn positions(self, count: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        let end = self.end(count);
        (usize::from(self.first).min(end)..end).step_by(usize::from(self.step.max(1)))
    }

    /// The index of key number `key`, from 0, among `count` arguments. (To skip so many positions
    /// can take as many steps.)
    #[inline]
    pub fn position(self, count: usize, key: usize) -> Option<usize> {
        let position = usize::from(self.first) + key * usize::from(self.step.max(1));
        (position < self.end(count)).then_some(position)
    }

    /// The index after that of the last key, and what belongs to it, among `count` arguments.
    fn end(self, count: usize) -> usize {
        match usize::try_from(self.last) {
            _ if self.first == 0 => 0,
            Ok(last) => (last + 1).min(count),
            Err(_) => (count + 1).saturating_sub(usize::from(self.last.unsigned_abs())),
        }
    }
}

/// What Redis tells clients about a command in `COMMAND INFO`; some decide here too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// It may change keys.
    pub const WRITE: Self = Self(1);
    /// It reads keys and changes none.
    pub const READONLY: Self = Self(1 << 1);
    /// It may need memory: refused when there is none.
    pub const DENYOOM: Self = Self(1 << 2);
    /// For operators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Not within scripts.
    pub const NOSCRIPT: Self = Self(1 << 4);
    /// It may wait.
    pub const BLOCKING: Self = Self(1 << 15);
    /// Also while the data is being loaded.
    pub const LOADING: Self = Self(1 << 5);
    /// Also on a replica that has lost its master.
    pub const STALE: Self = Self(1 << 6);
    /// Not shown by MONITOR.
    pub const SKIP_MONITOR: Self = Self(1 << 7);
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: Self = Self(1 << 8);
    /// Takes constant time, or nearly.
    pub const FAST: Self = Self(1 << 9);
    /// Also before authentication.
    pub const NO_AUTH: Self = Self(1 << 10);
    /// Has positions of keys, yet may come without any.
    pub const NO_MANDATORY_KEYS: Self = Self(1 << 11);
    /// Not while a replica loads in the background.
    pub const NO_ASYNC_LOADING: Self = Self(1 << 12);
    /// Also in a transaction that is to be refused, or not queued by one.
    pub const ALLOW_BUSY: Self = Self(1 << 13);
    /// Where its keys are depends on its arguments.
    pub const MOVABLE_KEYS: Self = Self(1 << 14);
    /// Not within transactions.
    pub const NO_MULTI: Self = Self(1 << 16);
    /// Runs at once within a transaction that is being queued.
    pub const IMMEDIATE: Self = Self(1 << 29);
    /// It may write several records, which survive the end of the process together or not at all.
    pub const SEVERAL: Self = Self(1 << 30);
    /// Of its parts, that of the first shard runs before the others begin.
    pub const LED: Self = Self(1 << 26);
    /// It waits because its client asks it to: CLIENT UNBLOCK ends that, and it costs nobody anything.
    pub const PATIENT: Self = Self(1 << 27);
    /// Its large arguments are no values: copying them beforehand is of no use.
    pub const UNSTAGED: Self = Self(1 << 28);
    /// Known to the server and to no client.
    pub const HIDDEN: Self = Self(1 << 31);

    /// These flags and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is here.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Redis's names of the flags, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        FLAG_NAMES
            .iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// In the order in which Redis lists them.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::ALLOW_BUSY, "allow_busy"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
];

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Where its connection lives.
    Session,
    /// On the shard of its key.
    Owner,
    /// On the shard of its keys if they share one; else one part per key (see [`Row::part`]).
    PerKey,
    /// On every shard, or if it has keys on theirs, once all earlier commands of the connection are done.
    AllShards,
    /// On the shard that its cursor names.
    Cursor,
    /// On the shard of its keys if they share one; else in the steps of a [`plan`].
    Plan,
    /// What MULTI has queued, on all shards it needs at once.
    Exec,
    /// On the shards of its keys, on behalf of its connection.
    Watch,
    /// Where its connection lives, once all earlier commands of it are done; what they did may have
    /// to reach the disk first.
    Disk,
}

/// How the replies of the parts of a command become one reply.
#[derive(Clone, Copy, Debug)]
pub enum Merge {
    /// There are no parts.
    None,
    /// Integers are added; the first error wins.
    Sum,
    /// All are `+OK`; the first error wins.
    Ok,
    /// An array of them, in the order of the keys.
    InOrder,
    /// By the command itself: the parts of all shards, in the order of the shards.
    With(fn(&mut SessionContext<'_>, Args<'_>, &[Part<'_>], &mut Reply<'_>)),
}

/// What one shard replied to its part of an [`Scope::AllShards`] command.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The shard.
    pub shard: u16,
    /// The bytes it wrote.
    pub reply: &'a [u8],
    /// Its [`Resume::count`] at the end: array elements written.
    pub count: u64,
}

/// The function of a command.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// Runs where the connection lives.
    Session(fn(&mut SessionContext<'_>, Args<'_>, &mut Reply<'_>)),
    /// Runs on a shard.
    Shard(fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Status),
    /// Nothing of its own: its scope says what happens.
    Lane,
    /// Runs where the connection lives, again and again until it is done: at first, and when what
    /// it has put into its [`Resume`] as a [`Wait`] is over.
    Wait(fn(&mut SessionContext<'_>, Args<'_>, &mut Resume, &mut Reply<'_>) -> Status),
}

/// Whether a command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The reply is complete.
    Done,
    /// Call it again with the same arguments and [`Resume`], after others had their turn.
    Again,
}

/// Merges the parts of a command whose row says [`Merge::Sum`], [`Merge::Ok`] or [`Merge::With`];
/// [`Merge::InOrder`] is an array header and the parts as they are, which needs no merging.
pub fn merge(
    row: &Row,
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let is_error = |part: &&Part<'_>| part.reply.first() == Some(&b'-');
    match row.merge {
        Merge::With(merge) => merge(context, args, parts, reply),
        Merge::InOrder => {
            reply.array(parts.len());
            parts.iter().for_each(|part| reply.raw(part.reply));
        }
        Merge::Sum | Merge::Ok | Merge::None if parts.iter().any(|part| is_error(&part)) => {
            reply.raw(parts.iter().find(is_error).map_or(&[], |part| part.reply));
        }
        Merge::Sum => reply.integer(parts.iter().map(|part| sum_term(part.reply)).sum()),
        Merge::Ok | Merge::None => reply.raw(parts.first().map_or(&[], |part| part.reply)),
    }
}

/// The integer of `:n\r\n`.
fn sum_term(reply: &[u8]) -> i64 {
    let digits = reply
        .strip_prefix(b":")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    text.and_then(|text| text.parse().ok())
        .expect("a part whose row says Sum replies an integer")
}

/// Whether the connection may run `row` now; else the error.
pub fn check(row: &Row, core: &Core, session: &Session) -> Result<(), &'static str> {
    if !row.flags.contains(Flags::NO_AUTH) && connection::owes_password(core, session) {
        return Err(NOAUTH);
    }
    if session.queue.is_some() && row.flags.contains(Flags::NO_MULTI) {
        return Err(transaction::NOT_INSIDE);
    }
    if core.is_loading && !row.flags.contains(Flags::LOADING) {
        return Err(LOADING);
    }
    Ok(())
}

/// Whether [`check`] lets the connection run any row.
#[inline]
pub fn may_run_all(core: &Core, session: &Session) -> bool {
    !core.is_loading
        && session.queue.is_none()
        && !connection::owes_password(core, session)
        && core.pause.is_none()
        && session.muting == Muting::Off
        && !session.is_no_touch
}

/// What the connection may send.
pub fn request_limits(core: &Core, session: &Session) -> Limits {
    Limits {
        argument_count_max: limits::ARGUMENT_COUNT_MAX,
        bulk_len_bytes_max: usize::try_from(core.settings.proto_max_bulk_len_bytes)
            .unwrap_or(limits::BULK_LEN_BYTES_MAX),
        is_authenticated: !connection::owes_password(core, session),
    }
}

/// The error of a subcommand whose number of arguments its row cannot judge.
fn subcommand_arity(args: Args<'_>) -> Vec<u8> {
    let container = args.get(0).to_ascii_uppercase();
    [
        b"ERR unknown subcommand or wrong number of arguments for '",
        args.get(1),
        b"'. Try ",
        &container,
        b" HELP.",
    ]
    .concat()
}

/// The reply of a container's HELP.
fn reply_help(reply: &mut Reply<'_>, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!(
        "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}

#[cfg(test)]
mod tests;
