//! The commands on strings: their rows, and those that read or replace whole values.
//!
//! GET and plain SET are what the server is for: one lookup or one store, no allocation, options
//! looked at only when there are any. A value is copied into the reply, or, from
//! `LARGE_VALUE_LEN_BYTES_MIN` on, pinned and sent from where it lives; a command that fails after
//! it replied a value takes the reply and the pin back.
//!
//! Not here: counters (`counter`), parts of values (`range`), the options of SET and GETEX
//! (`options`), comparisons and digests (`compare`).

mod compare;
mod counter;
mod options;
mod range;
#[cfg(test)]
mod tests;
mod xxh3;

use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Change, Key, OutOfMemory, Value};

use super::ahead::KeysAhead;
use super::direct::{Lookup, reading};
use super::refusal::{Refusal, answer, answer_slice};
use super::{Context, Flags, Keys, Merge, Row, Run, Scope, Status};
use compare::judge;
use options::{Expiry, Options};

pub(super) use range::value_len_bytes_max;

/// A function that runs a command on a shard.
pub(super) type ShardRun = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Status;

pub(super) const READ: Flags = Flags::READONLY;
pub(super) const READ_FAST: Flags = READ.with(Flags::FAST);
pub(super) const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
/// A write that may need memory.
pub(super) const STORE: Flags = Flags::WRITE.with(Flags::DENYOOM);
pub(super) const STORE_FAST: Flags = STORE.with(Flags::FAST);

/// A command on one key.
pub(super) const fn on_owner(name: &'static str, arity: i16, flags: Flags, run: ShardRun) -> Row {
    Row {
        name,
        arity,
        keys: Keys::ONE,
        flags,
        scope: Scope::Owner,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

/// Arguments of MSET with one pair.
const PAIR_ARGUMENT_COUNT: usize = 3;

/// A command whose reply is an array with an element for each of its keys.
const fn collecting(name: &'static str, flags: Flags, part: &'static Row, run: ShardRun) -> Row {
    Row {
        name,
        arity: -2,
        keys: Keys::ALL,
        flags,
        scope: Scope::PerKey,
        merge: Merge::InOrder,
        part: Some(part),
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

pub(super) const GET: Row = reading!(on_owner("get", 2, READ_FAST), get);
pub(super) const SET: Row = on_owner("set", -3, STORE, set);

/// The string commands.
pub(super) const ROWS: &[Row] = &[
    GET,
    SET,
    on_owner("append", 3, STORE_FAST, range::append),
    on_owner("decr", 2, STORE_FAST, counter::decr),
    on_owner("decrby", 3, STORE_FAST, counter::decrby),
    on_owner("delex", -2, WRITE_FAST, compare::delex),
    Row {
        direct: Some(compare::digest_directly),
        ..on_owner("digest", 2, READ_FAST, compare::digest)
    },
    on_owner("getdel", 2, WRITE_FAST, getdel),
    on_owner("getex", -2, WRITE_FAST, getex),
    reading!(on_owner("getrange", 4, READ), range::getrange),
    on_owner("getset", 3, STORE_FAST, getset),
    on_owner("incr", 2, STORE_FAST, counter::incr),
    on_owner("incrby", 3, STORE_FAST, counter::incrby),
    on_owner("incrbyfloat", 3, STORE_FAST, counter::incrbyfloat),
    on_owner("psetex", 4, STORE, psetex),
    on_owner("setex", 4, STORE, setex),
    on_owner("setnx", 3, STORE_FAST, setnx),
    on_owner("setrange", 4, STORE, range::setrange),
    reading!(on_owner("strlen", 2, READ_FAST), range::strlen),
    reading!(on_owner("substr", 4, READ), range::getrange),
    reading!(collecting("mget", READ_FAST, &GET), mget),
    Row {
        name: "mset",
        arity: -3,
        keys: Keys::PAIRS,
        flags: STORE.with(Flags::SEVERAL),
        scope: Scope::PerKey,
        merge: Merge::Ok,
        part: Some(&SET),
        run: Run::Shard(mset),
        ..Row::BLANK
    },
    Row {
        name: "msetnx",
        arity: -3,
        keys: Keys::PAIRS,
        flags: STORE.with(Flags::SEVERAL),
        scope: Scope::Plan,
        run: Run::Shard(msetnx),
        ..Row::BLANK
    },
];

/// The first key, which the router has hashed.
#[inline]
pub(super) fn routed_key<'a>(lookup: &impl Lookup, args: Args<'a>) -> Key<'a> {
    Key {
        bytes: args.get(1),
        probe: lookup.routed_probe(),
    }
}

/// What was replied of a key, to be taken back if the command fails after all.
struct Replied {
    /// Whether there was a value.
    is_found: bool,
    /// Its time to live.
    expires_at_ms: Option<u64>,
    start: usize,
    pinned_run: Option<u32>,
}

impl Replied {
    #[inline]
    fn nothing(reply: &Reply<'_>) -> Self {
        Self {
            is_found: false,
            expires_at_ms: None,
            start: reply.len_bytes(),
            pinned_run: None,
        }
    }

    /// Takes the reply back.
    #[cold]
    fn undo(self, context: &mut Context<'_>, reply: &mut Reply<'_>) {
        reply.truncate(self.start);
        if let Some(run) = self.pinned_run {
            context.shard.unpin(run);
        }
    }
}

/// Replies the value of `key`, or null.
#[inline]
fn reply_value(lookup: &mut impl Lookup, key: Key<'_>, reply: &mut Reply<'_>) -> Replied {
    let nothing = Replied::nothing(reply);
    let Some(Value {
        bytes,
        expires_at_ms,
        large,
        ..
    }) = lookup.read(key)
    else {
        reply.null();
        return nothing;
    };
    match large {
        None => reply.bulk(bytes),
        Some(run) => {
            let all = 0..bytes.len();
            lookup.reply_large(run, all, reply);
        }
    }
    Replied {
        is_found: true,
        expires_at_ms,
        pinned_run: large,
        ..nothing
    }
}

fn get(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(lookup, args);
    match lookup.read(key) {
        Some(Value {
            bytes, large: None, ..
        }) => reply.bulk(bytes),
        Some(Value {
            bytes,
            large: Some(run),
            ..
        }) => {
            let all = 0..bytes.len();
            lookup.reply_large(run, all, reply);
        }
        None => reply.null(),
    }
    Status::Done
}

fn set(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if args.len() > 3 {
        let done = set_with_options(context, args, reply);
        return answer_slice(done, reply);
    }
    let key = routed_key(context, args);
    let stored = context
        .shard
        .store(key, args.get(2), Attributes::default(), context.now.ms());
    match stored {
        Ok(_) => reply.ok(),
        Err(error) => Refusal::from(error).write(reply),
    }
    Status::Done
}

fn set_with_options(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let options = Options::parse_set(args)?;
    let now_ms = context.now.ms();
    let deadline = options.expiry.deadline_ms(args, now_ms);
    if context.resume.cursor == 0 {
        // Later calls must first let go of what they hold.
        deadline.clone()?;
    }
    let Some(is_met) = judge(context, args, options.condition, reply)? else {
        return Ok(Status::Again);
    };
    let deadline_ms = deadline?;
    let key = routed_key(context, args);
    let replied = if options.is_get {
        reply_value(context, key, reply)
    } else {
        Replied::nothing(reply)
    };
    if !is_met {
        if !options.is_get {
            reply.null();
        }
        return Ok(Status::Done);
    }
    let expires_at_ms = match options.expiry {
        Expiry::Keep => {
            let found = context.shard.find(key, now_ms);
            found.and_then(|value| value.expires_at_ms)
        }
        _ => deadline_ms,
    };
    if expires_at_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
        if let Err(error) = context.shard.remove(key, now_ms) {
            replied.undo(context, reply);
            return Err(error.into());
        }
    } else {
        let attributes = Attributes {
            expires_at_ms,
            ..Attributes::default()
        };
        store_or_undo(context, key, args.get(2), attributes, replied, reply)?;
    }
    if !options.is_get {
        reply.ok();
    }
    Ok(Status::Done)
}

/// Stores what replaces the value that was just replied, or null; without memory for it that reply
/// is taken back.
fn store_or_undo(
    context: &mut Context<'_>,
    key: Key<'_>,
    value: &[u8],
    attributes: Attributes,
    replied: Replied,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let stored = context
        .shard
        .store(key, value, attributes, context.now.ms());
    if let Err(error) = stored {
        replied.undo(context, reply);
        return Err(error.into());
    }
    Ok(())
}

fn setnx(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(store_if_absent(context, args, reply), reply)
}

fn store_if_absent(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let is_absent = context.shard.find(key, now_ms).is_none();
    if is_absent {
        context
            .shard
            .store(key, args.get(2), Attributes::default(), now_ms)?;
    }
    reply.integer(i64::from(is_absent));
    Ok(())
}

fn setex(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(
        store_until(context, args, Expiry::InSeconds(2), reply),
        reply,
    )
}

fn psetex(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(
        store_until(context, args, Expiry::InMillis(2), reply),
        reply,
    )
}

fn store_until(
    context: &mut Context<'_>,
    args: Args<'_>,
    expiry: Expiry,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let now_ms = context.now.ms();
    let expires_at_ms = expiry.deadline_ms(args, now_ms)?;
    let attributes = Attributes {
        expires_at_ms,
        ..Attributes::default()
    };
    let key = routed_key(context, args);
    context.shard.store(key, args.get(3), attributes, now_ms)?;
    reply.ok();
    Ok(())
}

fn getset(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(context, args);
    let replied = reply_value(context, key, reply);
    let stored = store_or_undo(
        context,
        key,
        args.get(2),
        Attributes::default(),
        replied,
        reply,
    );
    answer(stored, reply)
}

fn getdel(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(context, args);
    let replied = reply_value(context, key, reply);
    if replied.is_found
        && let Err(error) = context.shard.remove(key, context.now.ms())
    {
        replied.undo(context, reply);
        return answer(Err(error.into()), reply);
    }
    Status::Done
}

fn getex(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(read_and_expire(context, args, reply), reply)
}

fn read_and_expire(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let expiry = Options::parse_getex(args)?;
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    // Redis looks for the key before it looks at the time.
    let deadline = expiry.deadline_ms(args, now_ms);
    if deadline.is_err() && context.shard.find(key, now_ms).is_some() {
        return deadline.map(drop);
    }
    let replied = reply_value(context, key, reply);
    if !replied.is_found {
        return Ok(());
    }
    let deadline_ms = deadline?;
    let changed = match (expiry, deadline_ms) {
        (Expiry::None, _) => Ok(true),
        (_, Some(deadline_ms)) if deadline_ms <= now_ms => context.shard.remove(key, now_ms),
        _ if deadline_ms == replied.expires_at_ms => Ok(true),
        _ => context.shard.set_expiry(key, deadline_ms, now_ms),
    };
    if let Err(error) = changed {
        replied.undo(context, reply);
        return Err(error.into());
    }
    Ok(())
}

fn mget(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    reply.array(args.len() - 1);
    let mut keys = KeysAhead::new(args, 1);
    while let Some((_, key)) = keys.next(lookup) {
        reply_value(lookup, key, reply);
    }
    Status::Done
}

/// The keys and values of MSET and MSETNX.
fn pairs(args: Args<'_>) -> impl Iterator<Item = (&[u8], &[u8])> {
    (1..args.len() / 2 * 2)
        .step_by(2)
        .map(move |at| (args.get(at), args.get(at + 1)))
}

fn mset(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(store_pairs(context, args, reply), reply)
}

fn store_pairs(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    if args.len().is_multiple_of(2) {
        return Err(Refusal::arity(args));
    }
    store_all(context, args)?;
    reply.ok();
    Ok(())
}

fn msetnx(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(store_pairs_if_absent(context, args, reply), reply)
}

fn store_pairs_if_absent(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    if args.len().is_multiple_of(2) {
        return Err(Refusal::arity(args));
    }
    let now_ms = context.now.ms();
    let exists = |(bytes, _)| {
        let key = context.shard.key(bytes);
        context.shard.find(key, now_ms).is_some()
    };
    if pairs(args).any(exists) {
        reply.integer(0);
        return Ok(());
    }
    store_all(context, args)?;
    reply.integer(1);
    Ok(())
}

/// Stores pairs, all of them or none.
fn store_all(context: &mut Context<'_>, args: Args<'_>) -> Result<(), OutOfMemory> {
    // One pair alone may be a part, for which there is room already.
    let is_several = args.len() > PAIR_ARGUMENT_COUNT;
    let must_make_room = is_several && {
        let len_bytes: usize = args.iter().map(<[u8]>::len).sum();
        let region = context.shard.region();
        region.is_durable() || region.is_short_of(len_bytes as u64)
    };
    if must_make_room {
        let changes = pairs(args).map(|(key, value)| Change::Store {
            key,
            value,
            attributes: Attributes::default(),
        });
        context.shard.prepare(changes)?;
    }
    let now_ms = context.now.ms();
    context.shard.begin_publish();
    let mut keys = KeysAhead::new(args, 2);
    let stored = std::iter::from_fn(|| {
        let (position, key) = keys.next(context)?;
        let value = args.get(position + 1);
        let shard = &mut context.shard;
        Some(shard.store(key, value, Attributes::default(), now_ms))
    })
    .try_for_each(|stored| stored.map(drop));
    context.shard.end_publish();
    if must_make_room {
        context.shard.end_room();
    }
    stored
}
