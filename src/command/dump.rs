//! DUMP and RESTORE: a value as bytes that other servers take, and back.
//!
//! The bytes are those of [`rdb`](crate::rdb). A large value is summed up in slices while it is
//! pinned, and then sent from where it lives, between its head and its foot. One that is restored is
//! summed up in slices, too, and then copied or expanded into a draft.
//!
//! ```text
//!   DUMP      Resume::cursor  run + 1     more[0]  bytes summed up            more[1]  the checksum
//!   RESTORE   Resume::cursor  draft + 1   more[0]  bytes summed up, or read   more[1]  the checksum,
//!             Resume::count   1: the checksum was right, 2: it can be expanded         or written
//! ```
//!
//! Memory is taken, and others are evicted for it, only for what is known to be good.

#[cfg(test)]
mod tests;

use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, TURN_LEN_BYTES_MAX};
use crate::rdb::{self, Content, Place};
use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Key, Value};

use super::direct::{Direct, Lookup};
use super::held::{hold, let_go, run_of};
use super::key::DEADLINE_MS_MAX;
use super::number::parse_i64;
use super::refusal::{Refusal, answer};
use super::string::{READ, STORE, on_owner, routed_key, value_len_bytes_max};
use super::{Context, Flags, Row, Status};

pub(super) const ROWS: &[Row] = &[
    Row {
        direct: Some(dump_directly),
        ..on_owner("dump", 2, READ, dump)
    },
    on_owner("restore", -4, STORE.with(Flags::UNSTAGED), restore),
];

/// Longest text of a number of 32 bits.
const NUMBER_LEN_BYTES_MAX: usize = 11;

fn dump(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if context.resume.cursor == 0 {
        let key = routed_key(context, args);
        let run = match context.read(key) {
            None => {
                reply.null();
                return Status::Done;
            }
            Some(Value {
                large: Some(run), ..
            }) => run,
            Some(value) => {
                reply.bulk(&payload_of(value.bytes));
                return Status::Done;
            }
        };
        let pinned = context.shard.pin(run);
        hold(pinned, context.core.id, reply);
        context.resume.cursor = u64::from(run) + 1;
        context.resume.more[1] = rdb::checksum(0, &rdb::head(None, pinned.len_bytes));
    }
    dump_large(context, reply)
}

/// Sums up the next slice of a value that is pinned; after the last one it is sent.
fn dump_large(context: &mut Context<'_>, reply: &mut Reply<'_>) -> Status {
    let run = run_of(context.resume);
    let value = context.shard.pinned_bytes(run).expect("the reply pins it");
    let len_bytes = value.len();
    let [summed, sum] = &mut context.resume.more;
    if sum_up(value, summed, sum) {
        return Status::Again;
    }
    let head = rdb::head(None, len_bytes);
    let foot = rdb::foot(*sum);
    // Pinned once more for the reply before the other pin goes.
    let pinned = context.shard.pin(run);
    let_go(context.shard, run, reply);
    reply.bulk_header(head.len() + len_bytes + foot.len());
    reply.raw(&head);
    hold(pinned, context.core.id, reply);
    reply.raw(&foot);
    reply.raw(b"\r\n");
    Status::Done
}

/// Adds the next slice of `bytes` to a checksum; whether there is more.
fn sum_up(bytes: &[u8], summed_bytes: &mut u64, sum: &mut u64) -> bool {
    let start = usize::try_from(*summed_bytes).expect("a length was kept");
    let end = (start + TURN_LEN_BYTES_MAX).min(bytes.len());
    *sum = rdb::checksum(*sum, &bytes[start..end]);
    *summed_bytes = end as u64;
    end < bytes.len()
}

fn dump_directly(direct: &mut Direct<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(direct, args);
    match direct.read(key) {
        None => reply.null(),
        Some(value) => reply.bulk(&payload_of(value.bytes)),
    }
    Status::Done
}

/// The number that a value is written as, if it is the digits of one.
fn short_number(value: &[u8]) -> Option<i64> {
    let is_short = value.len() <= NUMBER_LEN_BYTES_MAX;
    let number = is_short.then(|| parse_i64(value))??;
    i32::try_from(number).is_ok().then_some(number)
}

/// Bytes of a value as DUMP writes it, without its kind and foot.
pub(super) fn serialized_len_bytes(value: &[u8]) -> usize {
    let number = short_number(value);
    let rest_len_bytes = if number.is_some() { 0 } else { value.len() };
    rdb::head(number, value.len()).len() - 1 + rest_len_bytes
}

fn payload_of(value: &[u8]) -> Vec<u8> {
    let number = short_number(value);
    let mut payload = rdb::head(number, value.len());
    if number.is_none() {
        payload.extend_from_slice(value);
    }
    let foot = rdb::foot(rdb::checksum(0, &payload));
    payload.extend_from_slice(&foot);
    payload
}

/// The options of RESTORE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    is_replacing: bool,
    is_absolute: bool,
}

impl Options {
    /// Reads the options. How recently or often a key was used is for Redis's kinds of eviction; it
    /// is checked and then of no use.
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let (mut has_idle_time, mut has_frequency) = (false, false);
        let mut index = 4;
        while index < args.len() {
            let name = args.get(index);
            let has_more = index + 1 < args.len();
            let number = || parse_i64(args.get(index + 1)).ok_or(Refusal::NOT_AN_INTEGER);
            if name.eq_ignore_ascii_case(b"REPLACE") {
                options.is_replacing = true;
            } else if name.eq_ignore_ascii_case(b"ABSTTL") {
                options.is_absolute = true;
            } else if name.eq_ignore_ascii_case(b"IDLETIME") && has_more && !has_frequency {
                if number()? < 0 {
                    return Err(Refusal::NEGATIVE_IDLETIME);
                }
                has_idle_time = true;
                index += 1;
            } else if name.eq_ignore_ascii_case(b"FREQ") && has_more && !has_idle_time {
                if !(0..=i64::from(u8::MAX)).contains(&number()?) {
                    return Err(Refusal::FREQ_OUT_OF_RANGE);
                }
                has_frequency = true;
                index += 1;
            } else {
                return Err(Refusal::SYNTAX);
            }
            index += 1;
        }
        Ok(options)
    }
}

fn restore(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let restored = restore_slice(context, args, reply);
    if restored == Ok(Status::Again) {
        return Status::Again;
    }
    if let Some(draft) = context.resume.cursor.checked_sub(1) {
        let_go(
            context.shard,
            u32::try_from(draft).expect("a run was kept"),
            reply,
        );
    }
    answer(restored.map(|_| reply.ok()), reply)
}

/// Does a slice of RESTORE. The draft, if there is one, is the caller's.
fn restore_slice(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let options = Options::parse(args)?;
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    if !options.is_replacing && context.shard.find(key, now_ms).is_some() {
        return Err(Refusal::BUSY_KEY);
    }
    let ttl_ms = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let ttl_ms = u64::try_from(ttl_ms).map_err(|_| Refusal::NEGATIVE_TTL)?;
    let base_ms = if options.is_absolute { 0 } else { now_ms };
    let expires_at_ms = (ttl_ms > 0).then(|| (base_ms + ttl_ms).min(DEADLINE_MS_MAX));
    let payload = args.get(3);
    if context.resume.count == 0 {
        if !rdb::has_known_version(payload) {
            return Err(Refusal::BAD_PAYLOAD);
        }
        let [summed, sum] = &mut context.resume.more;
        // The checksum of all, itself included, is zero.
        if sum_up(payload, summed, sum) {
            return Ok(Status::Again);
        }
        if *sum != 0 {
            return Err(Refusal::BAD_PAYLOAD);
        }
        context.resume.count = 1;
        context.resume.more = [0; 2];
    }
    let content = rdb::read(payload).map_err(|_| Refusal::BAD_FORMAT)?;
    if let Content::Other(name) = content {
        return Err(Refusal::unsupported_payload(name));
    }
    let attributes = Attributes {
        expires_at_ms,
        is_raw: false,
    };
    if expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
        context.shard.remove(key, now_ms)?;
        return Ok(Status::Done);
    }
    store(context, key, &content, attributes, reply)
}

/// Makes the content of a payload the value of a key, or does a slice of that.
fn store(
    context: &mut Context<'_>,
    key: Key<'_>,
    content: &Content<'_>,
    attributes: Attributes,
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let now_ms = context.now.ms();
    let len_bytes = match content {
        Content::Plain(bytes) => bytes.len(),
        Content::Packed { len_bytes, .. } => *len_bytes,
        Content::Number(number) => {
            let text = number.to_string();
            context
                .shard
                .store(key, text.as_bytes(), attributes, now_ms)?;
            return Ok(Status::Done);
        }
        Content::Other(_) => unreachable!("it was refused"),
    };
    if len_bytes > value_len_bytes_max(context) {
        return Err(Refusal::TOO_LONG);
    }
    if context.resume.count == 1 {
        if !is_sound(content, &mut context.resume.more)? {
            return Ok(Status::Again);
        }
        context.resume.count = 2;
        context.resume.more = [0; 2];
    }
    let mut place = [0; 2];
    if len_bytes < LARGE_VALUE_LEN_BYTES_MIN {
        let mut value = vec![0; len_bytes];
        fill(&mut value, content, &mut place)?;
        context.shard.store(key, &value, attributes, now_ms)?;
        return Ok(Status::Done);
    }
    if context.resume.cursor == 0 {
        let draft = context.shard.begin_draft(len_bytes)?;
        hold(draft, context.core.id, reply);
        context.resume.cursor = u64::from(draft.run) + 1;
    }
    let run = run_of(context.resume);
    let draft = context.shard.draft_mut(run);
    let is_filled = fill(draft, content, &mut context.resume.more)?;
    let written_bytes = usize::try_from(context.resume.more[1]).expect("a length was kept");
    context.shard.finish_draft_to(run, written_bytes);
    if !is_filled {
        return Ok(Status::Again);
    }
    // The draft's pin ends here, and what hangs on the reply with it.
    reply.truncate(reply.len_bytes());
    context.resume.cursor = 0;
    context.shard.store_draft(key, run, attributes, now_ms)?;
    Ok(Status::Done)
}

/// Looks whether the next slice of a string can be expanded; whether that was the last.
fn is_sound(content: &Content<'_>, place: &mut [u64; 2]) -> Result<bool, Refusal> {
    let Content::Packed { packed, len_bytes } = *content else {
        return Ok(true);
    };
    let end = rdb::check_part(packed, len_bytes, place_of(*place), TURN_LEN_BYTES_MAX);
    let end = end.ok_or(Refusal::BAD_FORMAT)?;
    *place = words_of(end);
    Ok(end.packed_bytes == packed.len())
}

/// Copies or expands the next slice of a string; whether that was the last. The words of `place` are
/// how much was read and written.
fn fill(value: &mut [u8], content: &Content<'_>, place: &mut [u64; 2]) -> Result<bool, Refusal> {
    let at = place_of(*place);
    let (end, source_len_bytes) = match *content {
        Content::Plain(bytes) => {
            let start = at.packed_bytes;
            let end = (start + TURN_LEN_BYTES_MAX).min(bytes.len());
            value[start..end].copy_from_slice(&bytes[start..end]);
            let end = Place {
                packed_bytes: end,
                expanded_bytes: end,
            };
            (Some(end), bytes.len())
        }
        Content::Packed { packed, .. } => {
            let end = rdb::expand_part(packed, value, at, TURN_LEN_BYTES_MAX);
            (end, packed.len())
        }
        Content::Number(_) | Content::Other(_) => unreachable!("these are no strings"),
    };
    let end = end.ok_or(Refusal::BAD_FORMAT)?;
    *place = words_of(end);
    Ok(end.packed_bytes == source_len_bytes)
}

/// Where an expansion is, as two words say that are kept from call to call.
fn place_of(words: [u64; 2]) -> Place {
    let [packed_bytes, expanded_bytes] =
        words.map(|bytes| usize::try_from(bytes).expect("a length was kept"));
    Place {
        packed_bytes,
        expanded_bytes,
    }
}

fn words_of(place: Place) -> [u64; 2] {
    [place.packed_bytes as u64, place.expanded_bytes as u64]
}
