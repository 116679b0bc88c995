//! Large values that a command of several calls holds on to, and walks over them in slices.
//!
//! A value of 512 MiB cannot be walked over in one call: a core would be held for as long as that
//! takes. So a large value is pinned, which keeps it as it is, and the command comes back for slice
//! after slice. Between the slices the pin hangs on the unfinished reply: whoever gives the command
//! up takes back what its reply holds, and the last slice lets go before it writes the true reply.
//!
//! ```text
//!   Resume::cursor   run + 1, 0: nothing begun       Resume::more   the walk's own two words
//! ```
//!
//! Not here: commands over several values ([`gather`](super::gather)).

use crate::resp::{Args, Extern, Reply};
use crate::shard::{Pinned, Shard, Value};

use super::direct::{Direct, Lookup};
use super::refusal::Refusal;
use super::string::routed_key;
use super::{Context, Resume};

/// One slice of a walk over the value of the routed key, if that has one. The two words are zero at
/// first and for the walk to remember where it is. Nothing: the walk is not over.
pub(super) type Slice<T> = fn(Args<'_>, Option<&[u8]>, &mut [u64; 2]) -> Result<Option<T>, Refusal>;

/// What became of a walk.
pub(super) enum Walked<T> {
    Unfinished,
    Done(T),
}

/// Goes on with a walk over the value of the routed key.
pub(super) fn walk<T>(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    slice: Slice<T>,
) -> Result<Walked<T>, Refusal> {
    if context.resume.cursor == 0 {
        let key = routed_key(context, args);
        let run = match context.read(key) {
            Some(Value {
                large: Some(run), ..
            }) => run,
            found => return walk_whole(args, found, slice).map(Walked::Done),
        };
        hold(context.shard.pin(run), context.core.id, reply);
        context.resume.cursor = u64::from(run) + 1;
    }
    let run = run_of(context.resume);
    let value = context.shard.pinned_bytes(run).expect("the reply pins it");
    let walked = slice(args, Some(value), &mut context.resume.more);
    if let Ok(None) = walked {
        return Ok(Walked::Unfinished);
    }
    let_go(context.shard, run, reply);
    walked.map(|done| Walked::Done(done.expect("looked at")))
}

/// Walks over the value of the routed key on another core's reader, which finds no large ones.
pub(super) fn walk_directly<T>(
    direct: &mut Direct<'_>,
    args: Args<'_>,
    slice: Slice<T>,
) -> Result<T, Refusal> {
    let key = routed_key(direct, args);
    walk_whole(args, direct.read(key), slice)
}

fn walk_whole<T>(args: Args<'_>, found: Option<Value<'_>>, slice: Slice<T>) -> Result<T, Refusal> {
    let value = found.map(|value| value.bytes);
    let mut place = [0; 2];
    loop {
        if let Some(done) = slice(args, value, &mut place)? {
            return Ok(done);
        }
    }
}

/// The run that a command of several calls has begun to read.
pub(super) fn run_of(resume: &Resume) -> u32 {
    u32::try_from(resume.cursor - 1).expect("a run was kept")
}

/// Hangs a run of this core's shard that was pinned on an unfinished reply.
pub(super) fn hold(pinned: Pinned, core: u16, reply: &mut Reply<'_>) {
    reply.hold(Extern {
        at: 0,
        owner: core,
        run: pinned.run,
        offset: pinned.offset,
        len_bytes: pinned.len_bytes,
    });
}

/// Ends the pin that hangs on the end of an unfinished reply.
pub(super) fn let_go(shard: &mut Shard, run: u32, reply: &mut Reply<'_>) {
    reply.truncate(reply.len_bytes());
    shard.unpin(run);
}
