//! Taking a value from one shard to another: the rows a plan's steps run, and what they send.
//!
//! ```text
//!   absent    │ 0 │
//!   carried   │ 1 │ flags u8 │ expires at u64 │ the value
//!   pinned    │ 2 │ flags u8 │ expires at u64 │ run u32 │ offset u64 │ length u64 │
//! ```
//!
//! FETCH replies one of these; STORE and FINISH are given it back. None begins like an error. A
//! large value is pinned by FETCH and stays where it is: STORE copies it from there in slices,
//! and FINISH, which always follows, unpins it. Integers are little-endian.

#![expect(
    unsafe_code,
    reason = "a pinned value is read where it lives, by another shard's core"
)]

use std::sync::Arc;

use crate::command::refusal::{Refusal, answer};
use crate::command::string::routed_key;
use crate::command::{Context, Flags, Keys, Row, Run, Scope, Status};
use crate::limits::TURN_LEN_BYTES_MAX;
use crate::region::Region;
use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Key, OutOfMemory, Pinned, Shard, Value};

pub(super) const fn hidden(
    name: &'static str,
    arity: i16,
    run: crate::command::string::ShardRun,
) -> Row {
    Row {
        name,
        arity,
        keys: Keys::ONE,
        flags: Flags::HIDDEN,
        scope: Scope::Owner,
        run: Run::Shard(run),
        ..Row::BLANK
    }
}

/// Replies the value of a key with all that belongs to it.
pub(super) const FETCH: Row = hidden("(fetch)", 2, fetch);
/// Stores what was fetched: key, condition, fetched. Replies 1, or 0 if the key was taken.
pub(super) const STORE: Row = hidden("(store)", 4, store);
/// Ends a transfer at the source: key, fate, fetched without the value.
pub(super) const FINISH: Row = hidden("(finish)", 4, finish);

/// Conditions of STORE.
pub(super) const ALWAYS: &[u8] = b"always";
pub(super) const IF_ABSENT: &[u8] = b"if absent";
/// Fates of the source's key.
pub(super) const KEEP: &[u8] = b"keep";
pub(super) const REMOVE: &[u8] = b"remove";

const ABSENT: u8 = b'0';
const CARRIED: u8 = b'1';
const PINNED: u8 = b'2';
const IS_RAW: u8 = 1;
const HAS_EXPIRY: u8 = 2;
const HEAD_LEN_BYTES: usize = 1 + 1 + 8;

/// Whether there was nothing to fetch.
pub(super) fn is_absent(fetched: &[u8]) -> bool {
    fetched == [ABSENT]
}

/// Whether the value is pinned at its source.
pub(super) fn is_pinned(fetched: &[u8]) -> bool {
    fetched.first() == Some(&PINNED)
}

/// What FINISH needs of what was fetched.
pub(super) fn without_value(fetched: &[u8]) -> &[u8] {
    if is_pinned(fetched) {
        fetched
    } else {
        &fetched[..HEAD_LEN_BYTES]
    }
}

/// A value on its way.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) struct Fetched<'a> {
    attributes: Attributes,
    pub(in crate::command) body: Body<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) enum Body<'a> {
    Carried(&'a [u8]),
    Pinned(Pinned),
}

impl<'a> Fetched<'a> {
    fn write(&self, reply: &mut Reply<'_>) {
        let Attributes {
            expires_at_ms,
            is_raw,
        } = self.attributes;
        let flags = if is_raw { IS_RAW } else { 0 }
            | if expires_at_ms.is_some() {
                HAS_EXPIRY
            } else {
                0
            };
        let is_carried = matches!(self.body, Body::Carried(_));
        reply.raw(&[if is_carried { CARRIED } else { PINNED }, flags]);
        reply.raw(&expires_at_ms.unwrap_or(0).to_le_bytes());
        match self.body {
            Body::Carried(bytes) => reply.raw(bytes),
            Body::Pinned(Pinned {
                run,
                offset,
                len_bytes,
            }) => {
                reply.raw(&run.to_le_bytes());
                reply.raw(&offset.to_le_bytes());
                reply.raw(&(len_bytes as u64).to_le_bytes());
            }
        }
    }

    /// Reads what FETCH replied; nothing if the key was absent.
    pub(in crate::command) fn read(bytes: &'a [u8]) -> Option<Self> {
        let ([tag, flags], rest) = bytes.split_first_chunk()?;
        let (expires_at, body) = rest.split_first_chunk()?;
        let expires_at_ms = (flags & HAS_EXPIRY != 0).then_some(u64::from_le_bytes(*expires_at));
        let attributes = Attributes {
            expires_at_ms,
            is_raw: flags & IS_RAW != 0,
        };
        if *tag == CARRIED {
            return Some(Self {
                attributes,
                body: Body::Carried(body),
            });
        }
        let (run, rest) = body.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (len_bytes, _) = rest.split_first_chunk()?;
        let pinned = Pinned {
            run: u32::from_le_bytes(*run),
            offset: u64::from_le_bytes(*offset),
            len_bytes: usize::try_from(u64::from_le_bytes(*len_bytes)).ok()?,
        };
        Some(Self {
            attributes,
            body: Body::Pinned(pinned),
        })
    }

    fn of_args(args: Args<'a>) -> Self {
        Self::read(args.get(3)).expect("plans hand over what FETCH replied")
    }
}

fn fetch(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(context, args);
    fetch_key(context, key, reply);
    Status::Done
}

/// Writes the value of a key of this shard; a large one is pinned.
pub(in crate::command) fn fetch_key(
    context: &mut Context<'_>,
    key: Key<'_>,
    reply: &mut Reply<'_>,
) {
    let Some(value) = context.shard.find(key, context.now.ms()) else {
        return reply.raw(&[ABSENT]);
    };
    let Value {
        bytes,
        expires_at_ms,
        is_raw,
        large,
    } = value;
    let attributes = Attributes {
        expires_at_ms,
        is_raw,
    };
    if let Some(run) = large {
        let pinned = context.shard.pin(run);
        Fetched {
            attributes,
            body: Body::Pinned(pinned),
        }
        .write(reply);
    } else {
        Fetched {
            attributes,
            body: Body::Carried(bytes),
        }
        .write(reply);
    }
}

fn store(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let now_ms = context.now.ms();
    let key = routed_key(context, args);
    if args.get(2) == IF_ABSENT && context.shard.find(key, now_ms).is_some() {
        if let Body::Pinned(pinned) = Fetched::of_args(args).body {
            with_pinned(context.shard, pinned, Shard::unstage);
        }
        reply.integer(0);
        return Status::Done;
    }
    let Fetched { attributes, body } = Fetched::of_args(args);
    let stored = match body {
        Body::Carried(bytes) => context
            .shard
            .store(key, bytes, attributes, now_ms)
            .map(|_| true),
        Body::Pinned(pinned) => store_pinned(context.shard, key, pinned, attributes, now_ms),
    };
    if stored == Ok(false) {
        return Status::Again;
    }
    answer(
        stored.map(|_| reply.integer(1)).map_err(Refusal::from),
        reply,
    )
}

/// Copies the next slice of a large value that this or another shard holds pinned; the last one
/// makes it the value of `key`. Whether it was the last.
pub(in crate::command) fn store_pinned(
    shard: &mut Shard,
    key: Key<'_>,
    pinned: Pinned,
    attributes: Attributes,
    now_ms: u64,
) -> Result<bool, OutOfMemory> {
    with_pinned(shard, pinned, |shard, bytes| {
        if !shard.stage(bytes, TURN_LEN_BYTES_MAX)? {
            return Ok(false);
        }
        shard.store(key, bytes, attributes, now_ms)?;
        Ok(true)
    })
}

/// Runs `with` on a shard and the bytes of a large value that it or another shard holds pinned.
fn with_pinned<T>(
    shard: &mut Shard,
    pinned: Pinned,
    with: impl FnOnce(&mut Shard, &[u8]) -> T,
) -> T {
    let region = Arc::clone(shard.region());
    with(shard, pinned_bytes(&region, pinned))
}

/// The bytes of a large value that a shard of this region holds pinned, for the step at hand.
pub(in crate::command) fn pinned_bytes(region: &Region, pinned: Pinned) -> &[u8] {
    // SAFETY:
    // 1. A `Pinned` comes from a shard of the same region: a server has one region.
    // 2. Who pinned it unpins it after the last step of its plan, copy or combination, and the
    //    slice ends with the step at hand.
    unsafe { region.bytes_at(pinned.offset, pinned.len_bytes) }
}

fn finish(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if let Body::Pinned(pinned) = Fetched::of_args(args).body {
        context.shard.unpin(pinned.run);
    }
    if args.get(2) == REMOVE {
        let key = routed_key(context, args);
        if let Err(error) = context.shard.remove(key, context.now.ms()) {
            return answer(Err(error.into()), reply);
        }
    }
    reply.ok();
    Status::Done
}
