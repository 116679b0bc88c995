//! The commands on keys whatever their value: their rows, and those that ask, remove and
//! rename.
//!
//! Several keys of one shard are served in one call; keys of several shards one part at a time,
//! or, where the parts depend on each other, by a [`plan`](super::plan).
//!
//! Not here: COPY (`copy`), times to live (`expire`), OBJECT and MEMORY USAGE (`object`), listing
//! keys (`scan`).

mod copy;
mod expire;
pub(super) mod object;
#[cfg(test)]
mod tests;

use crate::resp::{Args, Reply};
use crate::shard::{Change, OutOfMemory};

use super::ahead::KeysAhead;
use super::direct::{Lookup, reading};
use super::refusal::{Refusal, answer};
use super::string::{READ_FAST, STORE, ShardRun, WRITE_FAST, on_owner, routed_key};
use super::{Context, Flags, Keys, Merge, Row, Run, Scope, Status};

pub(super) use copy::parse_copy;
pub(super) use expire::DEADLINE_MS_MAX;

pub(super) const DEL: Row = counting("del", Flags::WRITE, None, del);
pub(super) const EXISTS: Row = reading!(counting("exists", READ_FAST, None), exists);
const TOUCH: Row = touching(None);
const UNLINK: Row = counting("unlink", WRITE_FAST, None, del);

/// The key commands.
pub(super) const ROWS: &[Row] = &[
    counting("del", Flags::WRITE.with(Flags::SEVERAL), Some(&DEL), del),
    reading!(counting("exists", READ_FAST, Some(&EXISTS)), exists),
    touching(Some(&TOUCH)),
    counting(
        "unlink",
        WRITE_FAST.with(Flags::SEVERAL),
        Some(&UNLINK),
        del,
    ),
    on_owner("expire", -3, WRITE_FAST, expire::expire),
    on_owner("expireat", -3, WRITE_FAST, expire::expireat),
    reading!(on_owner("expiretime", 2, READ_FAST), expire::expiretime),
    on_owner("persist", 2, WRITE_FAST, expire::persist),
    on_owner("pexpire", -3, WRITE_FAST, expire::pexpire),
    on_owner("pexpireat", -3, WRITE_FAST, expire::pexpireat),
    reading!(on_owner("pexpiretime", 2, READ_FAST), expire::pexpiretime),
    reading!(on_owner("pttl", 2, READ_FAST), expire::pttl),
    reading!(on_owner("ttl", 2, READ_FAST), expire::ttl),
    reading!(on_owner("type", 2, READ_FAST), type_of),
    on_two("copy", -3, STORE, copy::copy),
    on_two("rename", 3, Flags::WRITE.with(Flags::SEVERAL), rename),
    on_two("renamenx", 3, WRITE_FAST.with(Flags::SEVERAL), renamenx),
    Row {
        name: "object",
        arity: -2,
        subcommands: object::SUBCOMMANDS,
        ..Row::BLANK
    },
];

/// TOUCH, whose lookups are uses whatever CLIENT NO-TOUCH says.
const fn touching(part: Option<&'static Row>) -> Row {
    Row {
        direct: Some(|lookup, args, reply| exists(lookup, args, reply)),
        ..counting("touch", READ_FAST, part, touch)
    }
}

/// A command that counts the keys it did something to.
const fn counting(
    name: &'static str,
    flags: Flags,
    part: Option<&'static Row>,
    run: ShardRun,
) -> Row {
    Row {
        name,
        arity: -2,
        keys: Keys::ALL,
        flags,
        scope: Scope::PerKey,
        merge: Merge::Sum,
        part,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

/// A command from one key to another.
const fn on_two(name: &'static str, arity: i16, flags: Flags, run: ShardRun) -> Row {
    Row {
        name,
        arity,
        keys: Keys::TWO,
        flags,
        scope: Scope::Plan,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

fn del(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let now_ms = context.now.ms();
    let first = routed_key(context, args);
    let removed = if args.len() == 2 {
        context.shard.remove(first, now_ms).map(u64::from)
    } else {
        context.shard.begin_publish();
        let removed = remove_all(context, args);
        context.shard.end_publish();
        removed
    };
    let replied = removed.map(|count| reply.count(count));
    answer(replied.map_err(Refusal::from), reply)
}

fn remove_all(context: &mut Context<'_>, args: Args<'_>) -> Result<u64, OutOfMemory> {
    let removals = (1..args.len()).map(|at| Change::Remove { key: args.get(at) });
    context.shard.prepare(removals)?;
    let mut keys = KeysAhead::new(args, 1);
    let removed = std::iter::from_fn(|| {
        let (_, key) = keys.next(context)?;
        Some(context.shard.remove(key, context.now.ms()))
    })
    .try_fold(0, |count, removed| Ok(count + u64::from(removed?)));
    context.shard.release_room();
    removed
}

fn exists(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if args.len() == 2 {
        let only = routed_key(lookup, args);
        reply.count(u64::from(lookup.read(only).is_some()));
        return Status::Done;
    }
    let mut count = 0;
    let mut keys = KeysAhead::new(args, 1);
    while let Some((_, key)) = keys.next(lookup) {
        count += u64::from(lookup.read(key).is_some());
    }
    reply.count(count);
    Status::Done
}

fn type_of(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(lookup, args);
    reply.simple(if lookup.read(key).is_some() {
        "string"
    } else {
        "none"
    });
    Status::Done
}

fn touch(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let was_quiet = context.shard.set_quiet(false);
    let status = exists(context, args, reply);
    context.shard.set_quiet(was_quiet);
    status
}

fn rename(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let renamed = rename_within(context, args, false).map(|_| reply.ok());
    answer(renamed, reply)
}

fn renamenx(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let renamed = rename_within(context, args, true);
    answer(
        renamed.map(|is_renamed| reply.integer(i64::from(is_renamed))),
        reply,
    )
}

/// Renames a key within its shard; whether it has the new name alone.
fn rename_within(
    context: &mut Context<'_>,
    args: Args<'_>,
    is_kept_target: bool,
) -> Result<bool, Refusal> {
    let now_ms = context.now.ms();
    let source = routed_key(context, args);
    let target = context.shard.key(args.get(2));
    if context.shard.find(source, now_ms).is_none() {
        return Err(Refusal::NO_SUCH_KEY);
    }
    if source.bytes == target.bytes {
        return Ok(false);
    }
    if is_kept_target && context.shard.find(target, now_ms).is_some() {
        return Ok(false);
    }
    Ok(context.shard.rename(source, target, now_ms)?)
}
