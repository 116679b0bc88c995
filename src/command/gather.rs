//! Commands over the values of several keys: BITOP, PFCOUNT, PFMERGE and LCS.
//!
//! Such a command has two halves. The values of its source keys are *gathered*; then they are
//! *combined* on the shard of the routed key, in as many calls as that takes. Where all keys live on
//! one shard one function does both ([`run`]); else the steps of a plan do
//! ([`plan::gather`](super::plan)), which fetch the values and send them along.
//!
//! ```text
//!   gathered   │ length u64 │ fetched │ length u64 │ fetched │ ..       one for each source key
//!                             as plan::transfer has it: absent, carried, or pinned
//! ```
//!
//! Large values stay where they are, pinned. Small ones are copied, up to a bound for all of them. What a command of several calls has gathered is kept at
//! the end of its unfinished reply, and what it has pinned hangs there, too: whoever gives the
//! command up takes back both. The combination may fill a draft, as scratch memory or as the value
//! to be; that hangs there as well.
//!
//! ```text
//!   Resume::count    gathered bytes in the reply + 1; 0: this is the first call
//!   Resume::cursor   run of the draft + 1; 0: there is none
//!   Resume::more     the combination's own two words
//! ```

use std::sync::Arc;

use crate::limits::{GATHERED_LEN_BYTES_MAX, TURN_LEN_BYTES_MAX};
use crate::region::Region;
use crate::resp::{Args, Protocol, Reply};
use crate::shard::{Attributes, Key, OutOfMemory, Pinned};

use super::held::hold;
use super::plan::transfer::{Body, Fetched, fetch_key, pinned_bytes};
use super::refusal::{Refusal, answer};
use super::string::value_len_bytes_max;
use super::{Context, Keys, Row, Status, table};

/// What a row says of a command over several values.
#[derive(Clone, Copy, Debug)]
pub struct Gathering {
    /// Which arguments are keys whose values it needs.
    pub(super) sources: Keys,
    pub(super) combine: Combine,
}

/// Combines the values of the source keys, or does a slice of it: `None` is that of an absent key.
/// What it replies counts when it is done.
pub(super) type Combine =
    fn(&mut Bench<'_, '_>, Args<'_>, &[Option<&[u8]>], &mut Reply<'_>) -> Result<Status, Refusal>;

/// What a combination works with.
pub(super) struct Bench<'a, 'b> {
    context: &'a mut Context<'b>,
    /// The routed key.
    target: Key<'a>,
}

impl Bench<'_, '_> {
    /// Two words that are zero at first, and kept from call to call.
    pub(super) fn place(&mut self) -> &mut [u64; 2] {
        &mut self.context.resume.more
    }

    /// The draft, which is made of `len_bytes` zeros if there is none yet.
    pub(super) fn draft(&mut self, len_bytes: usize) -> Result<&mut [u8], OutOfMemory> {
        let run = match draft_of(self.context) {
            Some(run) => run,
            None => {
                let run = self.context.shard.begin_draft(len_bytes)?.run;
                self.context.resume.cursor = u64::from(run) + 1;
                run
            }
        };
        Ok(self.context.shard.draft_mut(run))
    }

    /// Says that the first `end` bytes of the draft are final.
    pub(super) fn finish_draft_to(&mut self, end: usize) {
        let run = draft_of(self.context).expect("there is a draft");
        self.context.shard.finish_draft_to(run, end);
    }

    /// Makes the draft the value of the routed key.
    pub(super) fn store_draft(&mut self, attributes: Attributes) -> Result<(), Refusal> {
        let run = draft_of(self.context).expect("there is a draft");
        self.context.resume.cursor = 0;
        let now_ms = self.context.now.ms();
        self.context
            .shard
            .store_draft(self.target, run, attributes, now_ms)?;
        Ok(())
    }

    /// Sets the value of the routed key.
    pub(super) fn store(&mut self, value: &[u8], attributes: Attributes) -> Result<(), Refusal> {
        let now_ms = self.context.now.ms();
        self.context
            .shard
            .store(self.target, value, attributes, now_ms)?;
        Ok(())
    }

    /// Removes the routed key, if it is there.
    pub(super) fn remove(&mut self) -> Result<(), Refusal> {
        let now_ms = self.context.now.ms();
        self.context.shard.remove(self.target, now_ms)?;
        Ok(())
    }

    /// Length of the longest value that a client could send whole.
    pub(super) fn value_len_bytes_max(&self) -> usize {
        value_len_bytes_max(self.context)
    }

    /// When the routed key expires, if it does.
    pub(super) fn expires_at_ms(&mut self) -> Option<u64> {
        let now_ms = self.context.now.ms();
        let found = self.context.shard.find(self.target, now_ms);
        found.and_then(|value| value.expires_at_ms)
    }
}

/// The error reply to a command over more than [`GATHERED_KEY_COUNT_MAX`](crate::limits::GATHERED_KEY_COUNT_MAX)
/// values.
pub const TOO_MANY_VALUES: &str = "ERR too many source keys";

/// Whether what was gathered is more than may be.
pub(super) const fn is_too_long(gathered: &[u8]) -> bool {
    gathered.len() > GATHERED_LEN_BYTES_MAX
}

fn draft_of(context: &Context<'_>) -> Option<u32> {
    let number = context.resume.cursor.checked_sub(1)?;
    Some(u32::try_from(number).expect("a run was kept"))
}

/// How many bytes of each of `count` values one slice of a combination may look at.
pub(super) fn slice_len_bytes(count: usize) -> usize {
    const LEAST_BYTES: usize = 512;
    (TURN_LEN_BYTES_MAX / count.max(1)).max(LEAST_BYTES)
}

/// The row of a command over several values, and what that says of it.
fn gathering_of(args: Args<'_>) -> (&'static Row, Gathering) {
    let row = table::find(args.get(0)).expect("it was found before");
    (row, row.gathering.expect("a row that gathers says so"))
}

/// Runs a command whose keys all live on this shard.
pub(super) fn run(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let (row, gathering) = gathering_of(args);
    let is_first = context.resume.count == 0;
    let gathered = if is_first {
        gather(context, args, gathering.sources)
    } else {
        Vec::new()
    };
    if is_too_long(&gathered) {
        for pinned in pins(&gathered) {
            context.shard.unpin(pinned.run);
        }
        return answer(Err(Refusal::GATHERED_TOO_LONG), reply);
    }
    let kept_bytes = usize::try_from(context.resume.count.saturating_sub(1));
    let start = reply.len_bytes() - kept_bytes.expect("a length was kept");
    let kept = if is_first {
        &gathered
    } else {
        reply.written_since(start)
    };
    let had_draft = draft_of(context).is_some();
    let target = Key {
        bytes: args.get(usize::from(row.keys.first)),
        probe: context.probe,
    };
    let combined = combine(context, gathering, args, target, kept, reply.protocol());
    match combined {
        Combined::Unfinished => {
            if is_first {
                reply.raw(&gathered);
                context.resume.count = gathered.len() as u64 + 1;
                for pinned in pins(&gathered) {
                    hold(pinned, context.core.id, reply);
                }
            }
            hold_draft(context, had_draft, reply);
            Status::Again
        }
        Combined::Done(bytes) => {
            for pinned in pins(kept) {
                context.shard.unpin(pinned.run);
            }
            reply.truncate(start);
            reply.raw(&bytes);
            Status::Done
        }
    }
}

/// Combines what a plan has gathered: the routed key, what was gathered, and the client's command.
pub(super) fn combine_gathered(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    let command = args.slice(3..);
    let (_, gathering) = gathering_of(command);
    let had_draft = draft_of(context).is_some();
    let target = Key {
        bytes: args.get(1),
        probe: context.probe,
    };
    let protocol = reply.protocol();
    let combined = combine(context, gathering, command, target, args.get(2), protocol);
    match combined {
        Combined::Unfinished => {
            hold_draft(context, had_draft, reply);
            Status::Again
        }
        Combined::Done(bytes) => {
            reply.truncate(reply.len_bytes());
            reply.raw(&bytes);
            Status::Done
        }
    }
}

/// How a call of a combination ended.
enum Combined {
    Unfinished,
    /// With this reply.
    Done(Vec<u8>),
}

/// Does a slice of a combination; when it is done there is no draft any more.
fn combine(
    context: &mut Context<'_>,
    gathering: Gathering,
    args: Args<'_>,
    target: Key<'_>,
    gathered: &[u8],
    protocol: Protocol,
) -> Combined {
    let region = Arc::clone(context.shard.region());
    let values: Vec<Option<&[u8]>> = each(gathered)
        .map(|fetched| value_of(&region, fetched))
        .collect();
    let (mut bytes, mut externs) = (Vec::new(), Vec::new());
    let mut reply = Reply::new(&mut bytes, &mut externs, protocol);
    let mut bench = Bench {
        context: &mut *context,
        target,
    };
    let combined = (gathering.combine)(&mut bench, args, &values, &mut reply);
    if combined == Ok(Status::Again) {
        return Combined::Unfinished;
    }
    answer(combined.map(drop), &mut reply);
    if let Some(run) = draft_of(context) {
        context.shard.unpin(run);
        context.resume.cursor = 0;
    }
    Combined::Done(bytes)
}

fn hold_draft(context: &Context<'_>, is_held: bool, reply: &mut Reply<'_>) {
    if let Some(run) = draft_of(context)
        && !is_held
    {
        let pinned = context.shard.pinned(run);
        hold(pinned, context.core.id, reply);
    }
}

/// Gathers the values of source keys, all of this shard, until they are too long.
fn gather(context: &mut Context<'_>, args: Args<'_>, sources: Keys) -> Vec<u8> {
    let mut gathered = Vec::new();
    let (mut fetched, mut externs) = (Vec::new(), Vec::new());
    for position in sources.positions(args.len()) {
        let key = context.shard.key(args.get(position));
        fetched.clear();
        let mut reply = Reply::new(&mut fetched, &mut externs, Protocol::Resp2);
        fetch_key(context, key, &mut reply);
        append(&mut gathered, &fetched);
        if is_too_long(&gathered) {
            break;
        }
    }
    gathered
}

/// Adds what was fetched to what was gathered.
pub(super) fn append(gathered: &mut Vec<u8>, fetched: &[u8]) {
    gathered.extend_from_slice(&(fetched.len() as u64).to_le_bytes());
    gathered.extend_from_slice(fetched);
}

const LENGTH_LEN_BYTES: usize = 8;

/// What was fetched of each key.
fn each(gathered: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = gathered;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<LENGTH_LEN_BYTES>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("it was one");
        let (fetched, after) = after.split_at(length);
        rest = after;
        Some(fetched)
    })
}

/// The runs that what was gathered holds pinned.
fn pins(gathered: &[u8]) -> Vec<Pinned> {
    let bodies = each(gathered).filter_map(|fetched| Some(Fetched::read(fetched)?.body));
    bodies
        .filter_map(|body| match body {
            Body::Pinned(pinned) => Some(pinned),
            Body::Carried(_) => None,
        })
        .collect()
}

fn value_of<'a>(region: &'a Region, fetched: &'a [u8]) -> Option<&'a [u8]> {
    Some(match Fetched::read(fetched)?.body {
        Body::Carried(bytes) => bytes,
        Body::Pinned(pinned) => pinned_bytes(region, pinned),
    })
}
