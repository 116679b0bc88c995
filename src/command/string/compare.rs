//! DELEX and DIGEST, of Redis 8.4: to remove a value if it is the expected one, and what stands for
//! a value when it is compared.
//!
//! The digest of a large value is computed in slices, while the value is pinned; between them its
//! state stands at the end of the unfinished reply. (IFDEQ and IFDNE of a large value are not sliced:
//! what they decide must be decided in the call that stores.)

use crate::command::direct::{Direct, Lookup};
use crate::command::held::{hold, let_go};
use crate::command::refusal::{Refusal, answer};
use crate::command::{Context, Status};
use crate::limits::TURN_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};
use crate::shard::Value;

use super::options::{Condition, digest_of};
use super::routed_key;
use super::xxh3::{BLOCK_LEN_BYTES, Blocks, xxh3};

/// Blocks that one call reads: about half a millisecond.
const SLICE_BLOCK_COUNT: usize = TURN_LEN_BYTES_MAX / BLOCK_LEN_BYTES;
/// Bytes of the state that stands in an unfinished reply.
const STATE_LEN_BYTES: usize = 9 * 8;

pub(super) fn delex(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(remove_if(context, args, reply), reply)
}

fn remove_if(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    if args.len() != 2 && args.len() != 4 {
        return Err(Refusal::arity(args));
    }
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let is_removed = match context.shard.find(key, now_ms) {
        None => false,
        Some(_) if args.len() == 2 => true,
        Some(value) => Condition::parse_comparison(args.get(2), 3)
            .ok_or(Refusal::NOT_A_CONDITION)?
            .is_met(args, Some(value.bytes))?,
    };
    if is_removed {
        context.shard.remove(key, now_ms)?;
    }
    reply.integer(i64::from(is_removed));
    Ok(())
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
    if context.resume.cursor > 0 {
        let start = reply.len_bytes() - STATE_LEN_BYTES;
        let (words, _) = reply.written_since(start).as_chunks::<8>();
        let mut state = [0; 9];
        for (to, word) in state.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*word);
        }
        reply.truncate(start);
        return digest_large(context, Blocks::from_words(state), reply);
    }
    let key = routed_key(context, args);
    let run = match context.read(key) {
        Some(Value {
            large: Some(run), ..
        }) => run,
        found => {
            reply_digest(found.map(|value| xxh3(value.bytes)), reply);
            return Status::Done;
        }
    };
    context.shard.pin(run);
    context.resume.cursor = u64::from(run) + 1;
    digest_large(context, Blocks::default(), reply)
}

/// Reads the next slice of a large value that is pinned, and hangs the pin on the reply if there is
/// more.
fn digest_large(context: &mut Context<'_>, mut blocks: Blocks, reply: &mut Reply<'_>) -> Status {
    let run = u32::try_from(context.resume.cursor - 1).expect("a run was kept");
    let value = context.shard.pinned_bytes(run).expect("it is pinned");
    if blocks.go_on(value, SLICE_BLOCK_COUNT) {
        let hash = blocks.finish(value);
        let_go(context.shard, run, reply);
        reply_digest(Some(hash), reply);
        return Status::Done;
    }
    hold(context.shard.pinned(run), context.core.id, reply);
    for word in blocks.words() {
        reply.raw(&word.to_le_bytes());
    }
    Status::Again
}

fn reply_digest(hash: Option<u64>, reply: &mut Reply<'_>) {
    match hash {
        Some(hash) => reply.bulk(&digest_of(hash)),
        None => reply.null(),
    }
}
