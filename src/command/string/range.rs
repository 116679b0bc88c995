//! Parts of values: APPEND, STRLEN, GETRANGE and SETRANGE.
//!
//! A large value is read and changed where it lives, so that a small part costs the part.

use std::ops::Range;

use crate::command::direct::Lookup;
use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::{Context, Status};
use crate::limits::{BULK_LEN_BYTES_MAX, LARGE_VALUE_LEN_BYTES_MIN};
use crate::resp::{Args, Reply};
use crate::shard::Attributes;

use super::routed_key;

pub(super) fn strlen(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(lookup, args);
    let len_bytes = lookup.read(key).map_or(0, |value| value.bytes.len());
    reply.count(len_bytes as u64);
    Status::Done
}

pub(super) fn append(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(append_or_store(context, args, reply), reply)
}

fn append_or_store(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let tail = args.get(2);
    let found_len_bytes = context
        .shard
        .find(key, now_ms)
        .map(|value| value.bytes.len());
    let len_bytes = if let Some(found_len_bytes) = found_len_bytes {
        check_len(context, found_len_bytes, tail.len())?;
        context.shard.append(key, tail, now_ms)?
    } else {
        context
            .shard
            .store(key, tail, Attributes::default(), now_ms)?;
        tail.len() as u64
    };
    reply.count(len_bytes);
    Ok(())
}

pub(super) fn setrange(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(overwrite(context, args, reply), reply)
}

fn overwrite(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let offset = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let offset_bytes = usize::try_from(offset).map_err(|_| Refusal::OFFSET_OUT_OF_RANGE)?;
    let bytes = args.get(3);
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let len_bytes = if bytes.is_empty() {
        let found = context.shard.find(key, now_ms);
        found.map_or(0, |value| value.bytes.len() as u64)
    } else {
        check_len(context, offset_bytes, bytes.len())?;
        context
            .shard
            .write_range(key, offset_bytes, bytes, now_ms)?
    };
    reply.count(len_bytes);
    Ok(())
}

/// Refuses a value that no client could send whole.
fn check_len(context: &Context<'_>, head_bytes: usize, tail_bytes: usize) -> Result<(), Refusal> {
    match head_bytes.checked_add(tail_bytes) {
        Some(len_bytes) if len_bytes <= value_len_bytes_max(context) => Ok(()),
        _ => Err(Refusal::TOO_LONG),
    }
}

/// Length of the longest value that a client could send whole.
pub(in crate::command) fn value_len_bytes_max(context: &Context<'_>) -> usize {
    let setting_bytes = context.core.settings.proto_max_bulk_len_bytes;
    usize::try_from(setting_bytes).map_or(BULK_LEN_BYTES_MAX, |setting_bytes| {
        setting_bytes.min(BULK_LEN_BYTES_MAX)
    })
}

pub(super) fn getrange(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(read_range(lookup, args, reply), reply)
}

fn read_range(
    lookup: &mut impl Lookup,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let start = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let last = parse_i64(args.get(3)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let key = routed_key(lookup, args);
    let Some(value) = lookup.read(key) else {
        reply.bulk(b"");
        return Ok(());
    };
    let range = resolve_range(start, last, value.bytes.len());
    match value.large {
        Some(run) if range.len() >= LARGE_VALUE_LEN_BYTES_MIN => {
            lookup.reply_large(run, range, reply);
        }
        _ => reply.bulk(&value.bytes[range]),
    }
    Ok(())
}

/// The bytes from `start` to `last` of `len`; negative ones count from the end.
fn resolve_range(start: i64, last: i64, len: usize) -> Range<usize> {
    if start < 0 && last < 0 && start > last {
        return 0..0;
    }
    let from_front = |index: i64| {
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 {
            len.saturating_sub(distance)
        } else {
            distance
        }
    };
    let start = from_front(start);
    let end = from_front(last).saturating_add(1).min(len);
    if start < end { start..end } else { 0..0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_either_end() {
        for (start, last, expected) in [
            (0, 3, 0..4),
            (-3, -1, 7..10),
            (0, -1, 0..10),
            (5, 3, 0..0),
            (9, 100, 9..10),
            (10, 100, 0..0),
            (-100, 2, 0..3),
            (-100, -50, 0..1),
            (-1, -5, 0..0),
            (i64::MIN, i64::MAX, 0..10),
            (i64::MAX, i64::MAX, 0..0),
        ] {
            assert_eq!(resolve_range(start, last, 10), expected, "{start} {last}");
            assert_eq!(resolve_range(start, last, 0), 0..0);
        }
    }
}
