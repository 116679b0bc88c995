//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: their rows, the queue of a transaction, and what a shard
//! is told of watched keys.
//!
//! ```text
//!   WATCH ──► noted where the keys live          MULTI ──► queue ──► queue ──► EXEC
//!               │ a change marks the watch                                      │
//!               └───────────── marked? ◄─────── all shards held ◄───────────────┘
//!                               │ no: run all   │ yes: null
//! ```
//!
//! Not here: who runs what is queued, and where (`lane::exec`); changes of keys (`shard::watch`).

use crate::limits::{SHARD_COUNT_MAX, TRANSACTION_LEN_BYTES_MAX};
use crate::resp::{Args, Reply, Span};

use super::table::find;
use super::{Context, Core, Flags, Keys, Merge, Row, Run, Scope, Session, SessionContext, Status};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "discard",
        arity: 1,
        flags: AT_ONCE.with(Flags::FAST).with(Flags::ALLOW_BUSY),
        run: Run::Session(discard),
        ..Row::BLANK
    },
    Row {
        name: "exec",
        arity: 1,
        flags: AT_ONCE.with(Flags::SKIP_SLOWLOG),
        scope: Scope::Exec,
        run: Run::Lane,
        ..Row::BLANK
    },
    Row {
        name: "multi",
        arity: 1,
        flags: AT_ONCE.with(Flags::FAST).with(Flags::ALLOW_BUSY),
        run: Run::Session(multi),
        ..Row::BLANK
    },
    Row {
        name: "unwatch",
        arity: 1,
        flags: ANY_TIME.with(Flags::FAST).with(Flags::ALLOW_BUSY),
        run: Run::Session(unwatch),
        ..Row::BLANK
    },
    Row {
        name: "watch",
        arity: -2,
        keys: Keys::ALL,
        flags: AT_ONCE.with(Flags::FAST).with(Flags::ALLOW_BUSY),
        scope: Scope::Watch,
        merge: Merge::Ok,
        run: Run::Lane,
        ..Row::BLANK
    },
];

const ANY_TIME: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);
const AT_ONCE: Flags = ANY_TIME.with(Flags::IMMEDIATE);

/// Notes keys as watched where they live: the watch's number, then the keys.
pub const NOTE: Row = on_shard("(watch)", -3, note);
/// Whether nothing that a watch names has changed: its number. Replies 1, or 0.
pub const CHECK: Row = on_shard("(unchanged)", 2, check);

const fn on_shard(
    name: &'static str,
    arity: i16,
    run: fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Status,
) -> Row {
    Row {
        name,
        arity,
        flags: Flags::HIDDEN,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

/// The commands between MULTI and EXEC, with their arguments.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    commands: Vec<(&'static Row, usize)>,
    is_refused: bool,
}

impl Queue {
    /// Whether a command could not be queued: EXEC will run nothing.
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Adds a command; false: the transaction is too long.
    pub fn push(&mut self, row: &'static Row, args: Args<'_>) -> bool {
        if self.is_refused {
            // Nothing of it will run.
            return true;
        }
        let len_bytes = args.iter().map(<[u8]>::len).sum::<usize>()
            + args.len() * size_of::<Span>()
            + size_of::<(&Row, usize)>();
        if self.len_bytes() + len_bytes > TRANSACTION_LEN_BYTES_MAX {
            return false;
        }
        for argument in args.iter() {
            self.spans.push(Span::new(self.bytes.len(), argument.len()));
            self.bytes.extend_from_slice(argument);
        }
        self.commands.push((row, self.spans.len()));
        true
    }

    /// Whether any of its commands may change keys.
    pub fn is_writing(&self) -> bool {
        self.has(Flags::WRITE)
    }

    /// Whether any of its commands may need memory.
    pub fn is_storing(&self) -> bool {
        self.has(Flags::DENYOOM)
    }

    fn has(&self, flag: Flags) -> bool {
        self.commands
            .iter()
            .any(|(row, _)| row.flags.contains(flag))
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Memory it takes for arguments.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
            + size_of_val(self.spans.as_slice())
            + size_of_val(self.commands.as_slice())
    }

    /// The bytes of all arguments.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The commands, with where their arguments lie.
    pub fn commands(&self) -> impl Iterator<Item = (&'static Row, &[Span])> {
        let mut start = 0;
        self.commands.iter().map(move |&(row, end)| {
            let spans = &self.spans[start..end];
            start = end;
            (row, spans)
        })
    }
}

/// The keys that a connection watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// What the shards know it by; never the same twice.
    pub id: u64,
    /// Those that have keys of it.
    pub shards: Vec<u16>,
}

impl Watching {
    /// What the connection watches, with `shards` from now on.
    pub fn of<'a>(core: &'a mut Core, client: usize, shards: &[u16]) -> &'a Self {
        core.watch_count += 1;
        let id = core.watch_count * SHARD_COUNT_MAX as u64 + u64::from(core.id);
        let none = || Self {
            id,
            shards: Vec::new(),
        };
        let watching = core.clients[client].watching.get_or_insert_with(none);
        watching.shards.extend_from_slice(shards);
        watching.shards.sort_unstable();
        watching.shards.dedup();
        watching
    }
}

/// What becomes of a command while a transaction is being queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It runs: there is no transaction, or it is not queued.
    Not,
    /// It is queued.
    Yes,
    /// The transaction is longer than it may be: the connection is to be closed.
    TooLong,
}

/// The error reply to a command that cannot run within a transaction.
pub(super) const NOT_INSIDE: &str = "ERR Command not allowed inside a transaction";

/// Queues a command if the connection is in a transaction and the command is one that waits.
pub fn queue(session: &mut Session, row: &'static Row, args: Args<'_>) -> Queued {
    match &mut session.queue {
        Some(queue) if !row.flags.contains(Flags::IMMEDIATE) => {
            if queue.push(row, args) {
                Queued::Yes
            } else {
                Queued::TooLong
            }
        }
        _ => Queued::Not,
    }
}

/// The error reply to a command that cannot run: a transaction being queued will not run either, and
/// one whose EXEC this is, is over.
pub fn refuse(core: &mut Core, client: usize, args: Args<'_>, error: &[u8]) -> Vec<u8> {
    let is_exec = find(args.get(0)).is_some_and(|row| row.scope == Scope::Exec);
    if is_exec {
        forget(core, client);
        let reason = error.strip_prefix(b"ERR ").unwrap_or(error);
        return [b"EXECABORT Transaction discarded because of: ", reason].concat();
    }
    if let Some(queue) = &mut core.clients[client].queue {
        queue.is_refused = true;
    }
    error.to_vec()
}

/// Whether EXEC may run what is queued.
///
/// # Errors
/// If it may not: the error reply. The transaction is then over.
pub fn check_exec(core: &mut Core, client: usize) -> Result<(), &'static str> {
    match &core.clients[client].queue {
        None => Err("ERR EXEC without MULTI"),
        Some(queue) if queue.is_refused() => {
            forget(core, client);
            Err("EXECABORT Transaction discarded because of previous errors.")
        }
        Some(_) => Ok(()),
    }
}

/// Forgets a connection's transaction and what it watches.
pub fn forget(core: &mut Core, client: usize) {
    core.clients[client].queue = None;
    unwatch_all(core, client);
}

/// Ends what a connection watches.
pub fn unwatch_all(core: &mut Core, client: usize) {
    let watching = core.clients[client].watching.take();
    core.unwatched.extend(watching);
}

fn multi(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    let session = context.session();
    if session.queue.is_some() {
        return reply.error("ERR MULTI calls can not be nested");
    }
    session.queue = Some(Box::default());
    reply.ok();
}

fn discard(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    if context.session().queue.is_none() {
        return reply.error("ERR DISCARD without MULTI");
    }
    forget(context.core, context.client);
    reply.ok();
}

fn unwatch(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    unwatch_all(context.core, context.client);
    reply.ok();
}

/// The number of a watch among the arguments of [`NOTE`] and [`CHECK`].
fn id_of(args: Args<'_>) -> u64 {
    let bytes = args.get(1).first_chunk().expect("made of eight bytes");
    u64::from_le_bytes(*bytes)
}

fn note(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    for name in args.slice(2..).iter() {
        let key = context.shard.key(name);
        context.shard.watch(key, id_of(args), context.now.ms());
    }
    reply.ok();
    Status::Done
}

fn check(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let is_unchanged = context.shard.is_unchanged(id_of(args), context.now.ms());
    reply.integer(i64::from(is_unchanged));
    Status::Done
}

#[cfg(test)]
mod tests;
