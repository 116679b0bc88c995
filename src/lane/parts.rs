//! What a lane has besides its connections: the shard, the core's state, the links, and memory that
//! is used again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, ConnectionId, Ticket};
use super::buffer::BufferPool;
use super::disk::{Awaited, Timer};
use super::fragment::Fragment;
use super::gate::Gate;
use super::gather::Gather;
use super::links::Links;
use super::pool::Pool;
use super::transaction::writes_several;
use super::window::{Placement, Window};
use crate::command::{ClientIndex, Context, Core, Flags, Now, Resume, Row, Run, Status};
use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, TOIL_LEN_BYTES_PER_NS, TURN_LEN_BYTES_MAX};
use crate::region::Region;
use crate::resp::{Args, Extern, Reply};
use crate::running;
use crate::shard::{Moment, Probe, Shard};

/// Everything of a lane that a connection's turn uses.
pub(super) struct Parts {
    pub(super) shard: Shard,
    pub(super) core: Core,
    pub(super) links: Links,
    /// The way to the shard.
    pub(super) gate: Gate,
    pub(super) region: Arc<Region>,
    pub(super) placement: Placement,
    pub(super) buffers: BufferPool,
    /// For replies: a connection that is owed none holds none.
    pub(super) tails: Pool<Fragment>,
    pub(super) windows: Pool<Box<Window>>,
    pub(super) gathers: Pool<Box<Gather>>,
    pub(super) batches: Pool<Box<Batch>>,
    /// Large values of any shard that are no longer sent from.
    pub(super) released: Vec<Extern>,
    /// What several keys of other shards were found to be.
    pub(super) moment: Moment,
    /// Connections that wait for room in a ring.
    pub(super) starved: Vec<ConnectionId>,
    /// Connections that wait for a round, by round.
    pub(super) awaited: VecDeque<Awaited>,
    /// When a round was first waited for that was not asked for yet.
    pub(super) wish: Option<Now>,
    /// Connections that wait for a time.
    pub(super) timers: Vec<Timer>,
    /// What the last transaction was numbered by.
    pub(super) transaction_count: u64,
    /// Records that parts of transactions wrote.
    pub(super) member_count: u64,
}

/// One command to run on this core's shard.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) row: &'static Row,
    pub(super) args: Args<'a>,
    pub(super) probe: Probe,
    /// The client, if its connection lives here.
    pub(super) caller: Option<ClientIndex>,
    /// The number of the transaction that it is a part of.
    pub(super) transaction: Option<u64>,
}

/// Kept for their next use at most.
pub(super) const WINDOW_COUNT_MAX: usize = 256;
pub(super) const GATHER_COUNT_MAX: usize = 256;
pub(super) const BATCH_COUNT_MAX: usize = 64;

impl Parts {
    /// Runs one command, or the next slice of one.
    #[inline]
    pub(super) fn run(
        &mut self,
        call: Call<'_>,
        now: Now,
        resume: &mut Resume,
        reply: &mut Reply<'_>,
    ) -> Status {
        if call.transaction.is_some() {
            self.run_member(call, now, resume, reply)
        } else if writes_several(call.row, call.args.len()) && self.region.is_durable() {
            self.run_whole(call, now, resume, reply)
        } else {
            self.run_alone(call, now, resume, reply)
        }
    }

    /// Runs one command whose records, if it writes any, need no others.
    #[inline]
    pub(super) fn run_alone(
        &mut self,
        call: Call<'_>,
        now: Now,
        resume: &mut Resume,
        reply: &mut Reply<'_>,
    ) -> Status {
        let Run::Shard(run) = call.row.run else {
            unreachable!("only shard rows are routed")
        };
        let large = large_argument(call);
        if let Some(value) = large
            && self.shard.stage(value, TURN_LEN_BYTES_MAX) == Ok(false)
        {
            return Status::Again;
        }
        let mut context = Context {
            shard: &mut self.shard,
            core: &mut self.core,
            now,
            probe: call.probe,
            resume,
            caller: call.caller,
        };
        running::set_command(call.row.name);
        let status = run(&mut context, call.args, reply);
        running::set_command("");
        if let Some(value) = large.filter(|_| status == Status::Done) {
            self.shard.unstage(value);
        }
        status
    }

    /// What was worked for memory since this was asked last, as bytes of a turn's budget.
    #[inline]
    pub(super) fn take_toil_len_bytes(&mut self) -> usize {
        let toil_len_bytes = self
            .shard
            .take_toil_ns()
            .saturating_mul(TOIL_LEN_BYTES_PER_NS);
        usize::try_from(toil_len_bytes).unwrap_or(usize::MAX)
    }

    /// Gives up what was copied beforehand for a command that was not done.
    pub(super) fn give_up(&mut self, args: Args<'_>) {
        args.iter()
            .for_each(|argument| self.shard.unstage(argument));
    }

    /// An empty batch.
    pub(super) fn take_batch(&mut self, ticket: Ticket) -> Box<Batch> {
        match self.batches.take() {
            Some(mut batch) => {
                batch.ticket = ticket;
                batch
            }
            None => Box::new(Batch::new(ticket)),
        }
    }

    /// Keeps a batch of this core for its next use.
    pub(super) fn put_batch(&mut self, mut batch: Box<Batch>) {
        batch.clear();
        self.batches.put(batch);
    }

    /// Gives back what has waited for its next use since the last call; about once a second.
    pub(super) fn give_back(&mut self) {
        self.buffers.give_back();
        self.tails.give_back();
        self.windows.give_back();
        self.gathers.give_back();
        self.batches.give_back();
        let replies = self.batches.iter().map(|batch| &batch.replies);
        let replies = replies.chain(self.tails.iter());
        let replies_bytes: usize = replies.map(|it| it.bytes.capacity()).sum();
        let waiting_bytes = self.buffers.waiting_bytes() + replies_bytes;
        self.core.stats.waiting_buffers_bytes = waiting_bytes as u64;
    }
}

/// The argument that is copied, a slice at a time, to where the command will store it before it
/// runs: the first behind the key, as what SET compares stands behind what it stores. Should there be no
/// memory for it, the command finds out itself.
#[inline]
fn large_argument(call: Call<'_>) -> Option<&[u8]> {
    if !call.row.flags.contains(Flags::DENYOOM) || call.row.flags.contains(Flags::UNSTAGED) {
        return None;
    }
    let is_large = |argument: &&[u8]| argument.len() >= LARGE_VALUE_LEN_BYTES_MIN;
    call.args.iter().skip(2).find(is_large)
}
