//! COPY within one shard.
//!
//! A value of the log is copied in one call. A large one is pinned and copied in slices, so that
//! the copy is of the value as it was when it began. Between the slices, the pin hangs on the
//! unfinished reply ([`held`](crate::command::held)).
//!
//! ```text
//!   Resume::cursor   │ has expiry │ is raw │ run + 1, 32 bits │     0: nothing begun
//!   Resume::count    │ expires at                                             │
//!   Resume::more     │ offset in the region │, │ length                        │
//! ```

use crate::command::direct::Lookup;
use crate::command::held::{hold, let_go};
use crate::command::number::parse_i64;
use crate::command::plan::transfer::store_pinned;
use crate::command::refusal::Refusal;
use crate::command::string::routed_key;
use crate::command::{Context, Resume, Status};
use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Pinned, Value};

const RUN_MASK: u64 = (1 << 32) - 1;
const IS_RAW: u64 = 1 << 32;
const HAS_EXPIRY: u64 = 1 << 33;

pub(super) fn copy(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let copied = if context.resume.cursor == 0 {
        copy_within(context, args, reply)
    } else {
        copy_large(context, args, reply)
    };
    match copied {
        Ok(None) => return Status::Again,
        Ok(Some(is_copied)) => reply.integer(i64::from(is_copied)),
        Err(refusal) => refusal.write(reply),
    }
    Status::Done
}

/// Copies a key within its shard; whether it did, or nothing if it is to go on.
fn copy_within(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<bool>, Refusal> {
    let is_replacing = parse_copy(args)?;
    let now_ms = context.now.ms();
    let source = routed_key(context, args);
    let target = context.shard.key(args.get(2));
    let Some(Value {
        bytes,
        expires_at_ms,
        is_raw,
        large,
    }) = context.read(source)
    else {
        return Ok(Some(false));
    };
    let attributes = Attributes {
        expires_at_ms,
        is_raw,
    };
    if let Some(run) = large {
        let pinned = context.shard.pin(run);
        hold(pinned, context.core.id, reply);
        *context.resume = pack(pinned, attributes);
        return copy_large(context, args, reply);
    }
    // The shard may move what it holds to make room.
    let value = bytes.to_vec();
    if !is_replacing && context.shard.find(target, now_ms).is_some() {
        return Ok(Some(false));
    }
    context.shard.store(target, &value, attributes, now_ms)?;
    Ok(Some(true))
}

/// Copies the next slice of a large value that hangs on the reply; the last one unpins it.
fn copy_large(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Option<bool>, Refusal> {
    let (pinned, attributes) = unpack(*context.resume);
    let now_ms = context.now.ms();
    let target = context.shard.key(args.get(2));
    let is_taken = !parse_copy(args)? && context.shard.find(target, now_ms).is_some();
    let stored = if is_taken {
        Ok(true)
    } else {
        store_pinned(context.shard, target, pinned, attributes, now_ms)
    };
    if stored == Ok(false) {
        return Ok(None);
    }
    let_go(context.shard, pinned.run, reply);
    stored?;
    Ok(Some(!is_taken))
}

fn pack(pinned: Pinned, attributes: Attributes) -> Resume {
    let is_raw = if attributes.is_raw { IS_RAW } else { 0 };
    let has_expiry = if attributes.expires_at_ms.is_some() {
        HAS_EXPIRY
    } else {
        0
    };
    Resume {
        cursor: (u64::from(pinned.run) + 1) | is_raw | has_expiry,
        count: attributes.expires_at_ms.unwrap_or(0),
        more: [pinned.offset, pinned.len_bytes as u64],
    }
}

/// What is pinned, and its attributes.
fn unpack(resume: Resume) -> (Pinned, Attributes) {
    let [offset, len_bytes] = resume.more;
    let pinned = Pinned {
        run: u32::try_from((resume.cursor & RUN_MASK) - 1).expect("32 bits were kept"),
        offset,
        len_bytes: usize::try_from(len_bytes).expect("it was one"),
    };
    let expires_at_ms = (resume.cursor & HAS_EXPIRY != 0).then_some(resume.count);
    let attributes = Attributes {
        expires_at_ms,
        is_raw: resume.cursor & IS_RAW != 0,
    };
    (pinned, attributes)
}

/// Reads the options of COPY; whether it replaces the target.
pub(in crate::command) fn parse_copy(args: Args<'_>) -> Result<bool, Refusal> {
    let mut is_replacing = false;
    let mut index = 3;
    while index < args.len() {
        let option = args.get(index);
        if option.eq_ignore_ascii_case(b"REPLACE") {
            is_replacing = true;
        } else if option.eq_ignore_ascii_case(b"DB") && index + 1 < args.len() {
            index += 1;
            let given = parse_i64(args.get(index)).ok_or(Refusal::NOT_AN_INTEGER)?;
            let database = i32::try_from(given).map_err(|_| Refusal::NOT_A_DATABASE)?;
            if database != 0 {
                return Err(Refusal::DATABASE_OUT_OF_RANGE);
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
        index += 1;
    }
    if args.get(1) == args.get(2) {
        return Err(Refusal::SAME_OBJECT);
    }
    Ok(is_replacing)
}
