//! Listing keys: SCAN, KEYS and RANDOMKEY.
//!
//! SCAN visits one shard after the other. Its cursor holds the shard and where to go on in that
//! shard's table, which promises that a key present throughout is returned:
//!
//! ```text
//!   bit 63      42 41     32 31                    0
//!      ┌──────────┬─────────┬───────────────────────┐
//!      │    0     │  shard  │   cursor of its table │     below 2^53: exact as a double
//!      └──────────┴─────────┴───────────────────────┘
//! ```
//!
//! A call looks at COUNT keys, or visits as many slots as a table has at first, whichever comes
//! first: a small database takes one call a shard. COUNT is a hint, a cursor of zero the only end.
//! KEYS walks all shards at once, each in slices.

use crate::limits::{
    BUCKET_SLOT_COUNT, KEYS_SLICE_SLOT_COUNT, SCAN_KEY_COUNT_MAX, SCAN_SLOT_COUNT_MAX,
};
use crate::resp::{Args, DIGITS_MAX, Extern, Protocol, Reply, format_integer};

use super::number::parse_i64;
use super::refusal::{Refusal, answer};
use super::string::READ;
use super::{Context, Merge, Part, Row, Run, Scope, SessionContext, Status, glob};

/// The commands that list keys.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "keys",
        arity: 2,
        flags: READ,
        scope: Scope::AllShards,
        merge: Merge::With(merge_keys),
        run: Run::Shard(keys),
        ..Row::BLANK
    },
    Row {
        name: "randomkey",
        arity: 1,
        flags: READ,
        scope: Scope::AllShards,
        merge: Merge::With(merge_random_keys),
        run: Run::Shard(random_key),
        ..Row::BLANK
    },
    Row {
        name: "scan",
        arity: -2,
        flags: READ,
        scope: Scope::Cursor,
        run: Run::Shard(scan),
        ..Row::BLANK
    },
];

/// Bits of a cursor that belong to the shard's table.
const TABLE_CURSOR_BITS: u32 = 32;
/// Keys that SCAN looks at unless COUNT says otherwise.
const COUNT_DEFAULT: u64 = 10;

/// The shard that serves SCAN with this cursor: the one it names, or the first if it names none,
/// which then says so.
pub fn shard_of_cursor(cursor: &[u8], shard_count: u16) -> u16 {
    let shard = parse_cursor(cursor).unwrap_or(0) >> TABLE_CURSOR_BITS;
    u16::try_from(shard)
        .ok()
        .filter(|shard| *shard < shard_count)
        .unwrap_or(0)
}

/// Reads a cursor as Redis does, with `strtoul`: a sign may lead, nothing at all is zero.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// The options of SCAN.
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: u64,
    /// Whether TYPE, if given, is one that keys here can have.
    is_type_known: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options, from the third argument on.
    fn parse(args: Args<'a>) -> Result<Self, Refusal> {
        let mut options = Self {
            pattern: None,
            count: COUNT_DEFAULT,
            is_type_known: true,
        };
        let mut index = 2;
        while index < args.len() {
            let name = args.get(index);
            if index + 1 == args.len() {
                return Err(Refusal::SYNTAX);
            }
            let value = args.get(index + 1);
            if name.eq_ignore_ascii_case(b"COUNT") {
                let count = parse_i64(value).ok_or(Refusal::NOT_AN_INTEGER)?;
                options.count = u64::try_from(count).unwrap_or(0);
                if options.count == 0 {
                    return Err(Refusal::SYNTAX);
                }
            } else if name.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if name.eq_ignore_ascii_case(b"TYPE") {
                options.is_type_known = value.eq_ignore_ascii_case(b"string");
            } else {
                return Err(Refusal::SYNTAX);
            }
            index += 2;
        }
        Ok(options)
    }

    fn takes(&self, key: &[u8]) -> bool {
        self.is_type_known
            && self
                .pattern
                .is_none_or(|pattern| glob::matches(pattern, key))
    }
}

fn scan(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(scan_shard(context, args, reply), reply)
}

fn scan_shard(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let cursor = parse_cursor(args.get(1)).ok_or(Refusal::INVALID_CURSOR)?;
    let options = ScanOptions::parse(args)?;
    let mut found = Elements::default();
    // A cursor that never was one of ours may name a shard that is not here: nothing is there.
    let next = if cursor >> TABLE_CURSOR_BITS == u64::from(context.core.id) {
        collect(context, cursor, &options, &mut found)
    } else {
        0
    };
    reply.array(2);
    let mut digits = [0; DIGITS_MAX];
    reply.bulk(format_integer(next.cast_signed(), &mut digits));
    reply.array(found.count);
    reply.raw(&found.bytes);
    Ok(())
}

/// Bulk strings that wait for their number to be known.
#[derive(Default)]
struct Elements {
    bytes: Vec<u8>,
    count: usize,
}

impl Elements {
    fn push(&mut self, element: &[u8]) {
        let mut externs: Vec<Extern> = Vec::new();
        Reply::new(&mut self.bytes, &mut externs, Protocol::Resp2).bulk(element);
        self.count += 1;
    }
}

/// Visits this core's shard from `cursor` on, within the bounds of one call; returns where to go
/// on, which is the next shard when this one is done.
fn collect(
    context: &mut Context<'_>,
    cursor: u64,
    options: &ScanOptions<'_>,
    found: &mut Elements,
) -> u64 {
    let now_ms = context.now.ms();
    let shard_bits = u64::from(context.core.id) << TABLE_CURSOR_BITS;
    let key_count_max = options.count.min(SCAN_KEY_COUNT_MAX);
    let mut slots_left = SCAN_SLOT_COUNT_MAX;
    let mut seen_count = 0;
    let mut table_cursor = cursor - shard_bits;
    loop {
        // Were all of these slots full, no more keys than wanted would come, but for a bucket's.
        let wanted_count = (key_count_max - seen_count).next_multiple_of(BUCKET_SLOT_COUNT as u64);
        let visit_count = wanted_count.min(slots_left);
        let visit_slots = usize::try_from(visit_count).expect("bounded by a limit");
        table_cursor = context
            .shard
            .scan(table_cursor, visit_slots, now_ms, &mut |key, _| {
                seen_count += 1;
                if options.takes(key) {
                    found.push(key);
                }
            });
        slots_left -= visit_count;
        if table_cursor == 0 {
            let is_last = context.core.id + 1 == context.core.core_count;
            return if is_last {
                0
            } else {
                shard_bits + (1 << TABLE_CURSOR_BITS)
            };
        }
        if seen_count >= key_count_max || slots_left == 0 {
            return shard_bits | table_cursor;
        }
    }
}

fn keys(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let pattern = Some(args.get(1)).filter(|pattern| *pattern != b"*");
    let now_ms = context.now.ms();
    let count = &mut context.resume.count;
    let next = context.shard.scan(
        context.resume.cursor,
        KEYS_SLICE_SLOT_COUNT,
        now_ms,
        &mut |key, _| {
            if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                reply.bulk(key);
                *count += 1;
            }
        },
    );
    context.resume.cursor = next;
    if next == 0 {
        Status::Done
    } else {
        Status::Again
    }
}

fn merge_keys(_: &mut SessionContext<'_>, _: Args<'_>, parts: &[Part<'_>], reply: &mut Reply<'_>) {
    let count: u64 = parts.iter().map(|part| part.count).sum();
    reply.array(usize::try_from(count).expect("as many keys are in memory"));
    parts.iter().for_each(|part| reply.raw(part.reply));
}

fn random_key(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key_count = context.shard.len();
    let random = context.core.random.next_u64();
    if let Some(key) = context.shard.random_key(random, context.now.ms()) {
        reply.bulk(key);
        context.resume.count = key_count.max(1);
    }
    Status::Done
}

/// One of the shards' keys, each shard as likely as it has keys.
fn merge_random_keys(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let total = parts.iter().map(|part| part.count).sum();
    let mut chosen = context.core.random.below(total);
    for part in parts {
        if chosen < part.count {
            return reply.raw(part.reply);
        }
        chosen -= part.count;
    }
    reply.null();
}

#[cfg(test)]
mod tests;
