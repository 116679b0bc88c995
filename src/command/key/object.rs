//! OBJECT and MEMORY USAGE: how a value is kept.
//!
//! There are no objects that keys share, and no clock of their uses: REFCOUNT is 1, FREQ is the use
//! mark that eviction goes by (0 to 3), and IDLETIME has no answer.

use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::string::READ;
use crate::command::{Context, Flags, Keys, Row, Run, Scope, SessionContext, Status};
use crate::resp::{Args, Reply};
use crate::shard::{Key, Value};

/// Longest value that Redis keeps beside its header.
const EMBEDDED_LEN_BYTES_MAX: usize = 44;

pub(super) const SUBCOMMANDS: &[Row] = &[
    on_key("object|encoding", 3, encoding),
    on_key("object|freq", 3, frequency),
    Row {
        name: "object|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        run: Run::Session(help),
        ..Row::BLANK
    },
    on_key("object|idletime", 3, idle_time),
    on_key("object|refcount", 3, reference_count),
];

/// `MEMORY USAGE`.
pub(in crate::command) const MEMORY_USAGE: Row = on_key("memory|usage", -3, memory_usage);

const fn on_key(name: &'static str, arity: i16, run: crate::command::string::ShardRun) -> Row {
    Row {
        name,
        arity,
        keys: Keys::SECOND,
        flags: READ,
        scope: Scope::Owner,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

/// The key, which follows the subcommand.
fn key_of<'a>(context: &Context<'_>, args: Args<'a>) -> Key<'a> {
    Key {
        bytes: args.get(2),
        probe: context.probe,
    }
}

fn encoding(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = key_of(context, args);
    match context.shard.find(key, context.now.ms()) {
        None => reply.null(),
        Some(value) => reply.bulk(encoding_of(&value).as_bytes()),
    }
    Status::Done
}

/// What Redis would say of the same value. It calls a whole number that INCRBYFLOAT made a string; here
/// it is the number it reads as.
pub(in crate::command) fn encoding_of(value: &Value<'_>) -> &'static str {
    if value.is_raw {
        "raw"
    } else if parse_i64(value.bytes).is_some() {
        "int"
    } else if value.bytes.len() <= EMBEDDED_LEN_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    }
}

fn frequency(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = key_of(context, args);
    match context.shard.use_count(key, context.now.ms()) {
        None => reply.null(),
        Some(count) if is_counting_uses(context) => reply.integer(count.into()),
        Some(_) => return answer(Err(Refusal::FREQUENCY_UNKNOWN), reply),
    }
    Status::Done
}

fn idle_time(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = key_of(context, args);
    if context.shard.use_count(key, context.now.ms()).is_none() {
        reply.null();
        return Status::Done;
    }
    answer(Err(Refusal::IDLE_TIME_UNKNOWN), reply)
}

/// Whether `maxmemory-policy` is one under which clients expect frequencies.
fn is_counting_uses(context: &Context<'_>) -> bool {
    context.core.settings.maxmemory_policy.ends_with("-lfu")
}

fn reference_count(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = key_of(context, args);
    match context.shard.use_count(key, context.now.ms()) {
        None => reply.null(),
        Some(_) => reply.integer(1),
    }
    Status::Done
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    const LINES: &[&str] = &[
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    ];
    crate::command::reply_help(reply, "OBJECT", LINES);
}

/// Bytes that a key takes: its record, its slot, and the pages of a large value.
fn memory_usage(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let mut index = 3;
    while index < args.len() {
        if !args.get(index).eq_ignore_ascii_case(b"SAMPLES") || index + 1 == args.len() {
            return answer(Err(Refusal::SYNTAX), reply);
        }
        // A string has nothing to sample; the number is checked and then of no use.
        match parse_i64(args.get(index + 1)) {
            None => return answer(Err(Refusal::NOT_AN_INTEGER), reply),
            Some(count) if count < 0 => return answer(Err(Refusal::SYNTAX), reply),
            Some(_) => {}
        }
        index += 2;
    }
    let key = key_of(context, args);
    match context.shard.footprint_bytes(key, context.now.ms()) {
        None => reply.null(),
        Some(bytes) => reply.count(bytes),
    }
    Status::Done
}
