//! Comparisons, of Redis 8.4: what IFEQ and its kin say of a value for SET and DELEX, and DIGEST, which
//! stands for a value when it is compared.
//!
//! A large value is read in slices, while it is pinned:
//!
//! ```text
//!   Resume::cursor   run + 1; 0: nothing begun
//!   Resume::count    1: the state of its hash stands at the end of the unfinished reply
//!   Resume::more     bytes found equal so far │ 1: it is compared for the second time
//! ```
//!
//! Between the slices others may change the value, which is then in another run. What was found out
//! decides only if the value is still the one that was pinned; else the new one is compared, and that
//! in one call, so that a value which others keep changing is compared in the end.

use crate::command::direct::{Direct, Lookup};
use crate::command::held::{hold, let_go, run_of};
use crate::command::refusal::{Refusal, answer_slice};
use crate::command::{Context, Resume, Status};
use crate::limits::TURN_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};
use crate::shard::Value;

use super::options::{Comparison, Condition, digest_of};
use super::routed_key;
use super::xxh3::{BLOCK_LEN_BYTES, Blocks, xxh3};

/// Blocks that one call reads: about half a millisecond.
const SLICE_BLOCK_COUNT: usize = TURN_LEN_BYTES_MAX / BLOCK_LEN_BYTES;
/// Bytes of the state that stands in an unfinished reply.
const STATE_LEN_BYTES: usize = 9 * 8;

pub(super) fn delex(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let done = remove_if(context, args, reply);
    answer_slice(done, reply)
}

fn remove_if(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let condition = match args.len() {
        2 => Condition::IfPresent,
        4 => match Condition::parse_comparison(args.get(2), 3) {
            Some(condition) => condition,
            // Redis looks at it only if there is something to compare.
            None if context.shard.find(key, now_ms).is_some() => {
                return Err(Refusal::NOT_A_CONDITION);
            }
            None => Condition::IfPresent,
        },
        _ => return Err(Refusal::arity(args)),
    };
    let Some(is_met) = judge(context, args, condition, reply)? else {
        return Ok(Status::Again);
    };
    // What is not there differs from everything, and there is nothing to remove.
    let is_removed = is_met && context.shard.remove(key, now_ms)?;
    reply.integer(i64::from(is_removed));
    Ok(Status::Done)
}

/// Whether the value of the routed key meets a condition; nothing if that takes another call. What is
/// met is met until the command returns.
pub(super) fn judge(
    context: &mut Context<'_>,
    args: Args<'_>,
    condition: Condition,
    reply: &mut Reply<'_>,
) -> Result<Option<bool>, Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    if condition == Condition::Always {
        return Ok(Some(true));
    }
    let found = context.shard.find(key, now_ms);
    let large = found.and_then(|value| value.large);
    if context.resume.cursor == 0 {
        let value = found.map(|value| value.bytes);
        let must_read =
            |comparison: Comparison| value.is_some_and(|value| comparison.must_read(value, args));
        match large {
            Some(run) if condition.comparison().is_some_and(must_read) => begin(context, run),
            _ => return condition.is_met(args, value).map(Some),
        }
    }
    let comparison = condition.comparison().expect("only a comparison is begun");
    let run = run_of(context.resume);
    let is_still_it = large == Some(run);
    let Some(is_same) = compare(context, args, comparison, reply) else {
        return Ok(None);
    };
    if is_still_it {
        return Ok(Some(comparison.is_met(is_same)));
    }
    *context.resume = Resume {
        more: [0, 1],
        ..Resume::default()
    };
    Ok(None)
}

/// Compares the next slice of the value that is pinned; whether it is the same, if that is known, and
/// then there is no pin any more.
fn compare(
    context: &mut Context<'_>,
    args: Args<'_>,
    comparison: Comparison,
    reply: &mut Reply<'_>,
) -> Option<bool> {
    let [_, is_second] = context.resume.more;
    let slice_count = if is_second == 0 { 1 } else { usize::MAX };
    let given = args.get(comparison.index);
    if comparison.is_of_digest {
        let block_count_max = slice_count.saturating_mul(SLICE_BLOCK_COUNT);
        let hash = hash_slice(context, block_count_max, reply)?;
        return Some(digest_of(hash).eq_ignore_ascii_case(given));
    }
    let run = run_of(context.resume);
    let value = context.shard.pinned_bytes(run).expect("it is pinned");
    let start = usize::try_from(context.resume.more[0]).expect("a length was kept");
    let end = start.saturating_add(slice_count.saturating_mul(TURN_LEN_BYTES_MAX));
    let end = end.min(value.len());
    let is_same = value[start..end] == given[start..end];
    if is_same && end < value.len() {
        reply.truncate(reply.len_bytes());
        hold(context.shard.pinned(run), context.core.id, reply);
        context.resume.more[0] = end as u64;
        return None;
    }
    let_go(context.shard, run, reply);
    Some(is_same)
}

pub(super) fn digest_directly(
    direct: &mut Direct<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    let key = routed_key(direct, args);
    reply_digest(direct.read(key).map(|value| xxh3(value.bytes)), reply);
    Status::Done
}

pub(super) fn digest(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if context.resume.cursor == 0 {
        let key = routed_key(context, args);
        match context.read(key) {
            Some(Value {
                large: Some(run), ..
            }) => begin(context, run),
            found => {
                reply_digest(found.map(|value| xxh3(value.bytes)), reply);
                return Status::Done;
            }
        }
    }
    match hash_slice(context, SLICE_BLOCK_COUNT, reply) {
        None => Status::Again,
        hash => {
            reply_digest(hash, reply);
            Status::Done
        }
    }
}

/// Pins a large value, to be read in slices.
fn begin(context: &mut Context<'_>, run: u32) {
    context.shard.pin(run);
    context.resume.cursor = u64::from(run) + 1;
}

/// Reads the next slice of the value that is pinned. Its hash, if that was the last, and the pin is
/// gone; else the pin and the state of the hash hang on the reply.
fn hash_slice(
    context: &mut Context<'_>,
    block_count_max: usize,
    reply: &mut Reply<'_>,
) -> Option<u64> {
    let run = run_of(context.resume);
    let mut blocks = if context.resume.count == 0 {
        Blocks::default()
    } else {
        take_state(reply)
    };
    let value = context.shard.pinned_bytes(run).expect("it is pinned");
    if blocks.go_on(value, block_count_max) {
        let hash = blocks.finish(value);
        let_go(context.shard, run, reply);
        return Some(hash);
    }
    hold(context.shard.pinned(run), context.core.id, reply);
    for word in blocks.words() {
        reply.raw(&word.to_le_bytes());
    }
    context.resume.count = 1;
    None
}

/// Takes the state of a hash, and the pin, from the end of an unfinished reply.
fn take_state(reply: &mut Reply<'_>) -> Blocks {
    let start = reply.len_bytes() - STATE_LEN_BYTES;
    let (words, _) = reply.written_since(start).as_chunks::<8>();
    let mut state = [0; 9];
    for (to, word) in state.iter_mut().zip(words) {
        *to = u64::from_le_bytes(*word);
    }
    reply.truncate(start);
    Blocks::from_words(state)
}

fn reply_digest(hash: Option<u64>, reply: &mut Reply<'_>) {
    match hash {
        Some(hash) => reply.bulk(&digest_of(hash)),
        None => reply.null(),
    }
}
