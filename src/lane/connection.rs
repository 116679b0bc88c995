//! One connection as the lane keeps it between its turns.

use std::collections::VecDeque;

use super::batch::{Batch, ConnectionId};
use super::buffer::Buffer;
use super::disk::Waiting;
use super::exec::Exec;
use super::fanout::Fanout;
use super::forward::Place;
use super::fragment::Fragment;
use super::gather::{Fold, Gather};
use super::holding::Holding;
use super::input::Input;
use super::output::Output;
use super::parts::Parts;
use super::split::Split;
use super::timing::Timing;
use super::transaction::Transaction;
use super::window::Window;
use crate::command::{ClientIndex, Resume, Row};
use crate::resp::{Args, Span};
use crate::shard::Probe;

/// A connection: what it sent, what it is owed, and what it waits for.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) client: ClientIndex,
    pub(super) input: Input,
    pub(super) output: Output,
    /// Commands that were parsed before the connection had to wait.
    pub(super) window: Option<Box<Window>>,
    /// A command that takes more than one turn.
    pub(super) progress: Option<Progress>,
    /// Replies that wait for other cores, oldest first.
    pub(super) gathers: VecDeque<Box<Gather>>,
    /// The number of the oldest gather.
    pub(super) first_gather: u32,
    pub(super) fold: Fold,
    /// The transaction whose parts are under way, here or on other cores.
    pub(super) transaction: Option<Transaction>,
    /// The shards it holds, or is about to.
    pub(super) holding: Option<Holding>,
    /// The commands of an EXEC under way.
    pub(super) exec: Option<Box<Exec>>,
    /// Whether it waits for this core's shard, which another holds.
    pub(super) is_at_gate: bool,
    /// For which hold to end it waits, as the gate counts them.
    pub(super) kept_out_since: Option<u64>,
    /// Batches that found their ring full, with the core they are for.
    pub(super) unposted: VecDeque<(u16, Box<Batch>)>,
    /// Memory of its input and its output as the core's gauges know it.
    pub(super) noted_bytes: (usize, usize),
    /// A command of it waits for the end of a pause.
    pub(super) is_paused: bool,
    /// Whether the next command was tried before, and CLIENT REPLY has had its say about it.
    pub(super) is_muting_settled: bool,
    /// Batches that are out.
    pub(super) outstanding: usize,
    /// Of the turn that runs, for its end.
    pub(super) timing: Timing,
    /// Whether it has received or sent since the last sweep for idle ones.
    pub(super) is_active: bool,
    /// The peer closed its writing half: finish what was received, then close.
    pub(super) is_end_received: bool,
    /// Nothing more is executed: send what is owed, then close.
    pub(super) is_closing: bool,
    /// The socket is gone, but a plan was begun: it goes on without anyone to answer.
    pub(super) is_leaving: bool,
    /// The socket is gone: wait for batches that are out, then forget everything.
    pub(super) is_disconnected: bool,
}

/// A command that runs over several turns; nothing else of its connection runs meanwhile.
pub(super) enum Progress {
    /// On this core's shard, in slices.
    Long(Box<Long>),
    /// One part per key, each on its own shard.
    Split(Box<Split>),
    /// On several cores at once.
    Fanout(Box<Fanout>),
    /// The next commands of an EXEC.
    Exec,
    /// Until the disk has what was done before.
    Waiting(Box<Waiting>),
}

impl Progress {
    /// The arguments of the command, if it is one and they are here.
    pub(super) fn args(&self) -> Option<Args<'_>> {
        match self {
            Self::Long(long) => Some(long.arguments.args()),
            Self::Split(split) => Some(split.args()),
            Self::Fanout(fanout) => fanout.args(),
            Self::Exec | Self::Waiting(_) => None,
        }
    }

    /// Gives the command up, with whatever it holds of the shard.
    pub(super) fn discard(self, parts: &mut Parts) {
        match self {
            Self::Long(long) => {
                parts.give_up(long.arguments.args());
                parts.released.extend(long.reply.externs);
            }
            Self::Split(split) => parts.give_up(split.args()),
            Self::Fanout(fanout) => fanout.discard(parts),
            Self::Exec | Self::Waiting(_) => {}
        }
    }
}

/// A command of this core's shard that is not done.
pub(super) struct Long {
    pub(super) row: &'static Row,
    pub(super) arguments: OwnedArguments,
    pub(super) probe: Probe,
    pub(super) resume: Resume,
    pub(super) reply: Fragment,
}

/// The arguments of a command that outlives its turn, in the buffer they were received in.
#[derive(Clone)]
pub(super) struct OwnedArguments {
    pub(super) buffer: Buffer,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) spans: Vec<Span>,
}

impl OwnedArguments {
    /// Copies arguments that lie elsewhere into a buffer of their own.
    pub(super) fn copy_of(args: Args<'_>) -> Self {
        let len_bytes = args.base().len();
        let mut buffer = Buffer::with_len(len_bytes.max(1));
        buffer
            .private_mut(0, len_bytes)
            .copy_from_slice(args.base());
        Self {
            buffer,
            start: 0,
            end: len_bytes,
            spans: args.spans().to_vec(),
        }
    }

    /// Arguments that nobody sent.
    pub(super) fn made(arguments: &[&[u8]]) -> Self {
        let bytes = arguments.concat();
        let mut start = 0;
        let mut span = |argument: &&[u8]| {
            let span = Span::new(start, argument.len());
            start += argument.len();
            span
        };
        let spans: Vec<Span> = arguments.iter().map(&mut span).collect();
        Self::copy_of(Args::new(&bytes, &spans))
    }

    /// Where they lie.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            buffer: &self.buffer,
            start: self.start,
            end: self.end,
        }
    }

    /// The arguments.
    pub(super) fn args(&self) -> Args<'_> {
        Args::new(self.buffer.received(self.start, self.end), &self.spans)
    }
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(id: ConnectionId, client: ClientIndex) -> Self {
        Self {
            id,
            client,
            input: Input::default(),
            output: Output::default(),
            window: None,
            progress: None,
            gathers: VecDeque::new(),
            first_gather: 0,
            fold: Fold::default(),
            transaction: None,
            holding: None,
            exec: None,
            is_at_gate: false,
            kept_out_since: None,
            unposted: VecDeque::new(),
            noted_bytes: (0, 0),
            is_paused: false,
            is_muting_settled: false,
            outstanding: 0,
            timing: Timing::default(),
            is_active: false,
            is_end_received: false,
            is_closing: false,
            is_leaving: false,
            is_disconnected: false,
        }
    }

    /// Whether no reply waits for another core.
    pub(super) fn is_gathered(&self) -> bool {
        self.gathers.is_empty() && self.unposted.is_empty() && self.outstanding == 0
    }

    /// Whether it waits for the disk or for a time, and nothing else.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_paused || matches!(self.progress, Some(Progress::Waiting(_)))
    }

    /// Whether `core` has yet to run a command of this connection.
    pub(super) fn is_owed_by(&self, core: u16) -> bool {
        self.gathers.iter().any(|gather| gather.is_owed_by(core))
    }

    /// The number that the next gather will have.
    pub(super) fn next_gather(&self) -> u32 {
        let waiting = u32::try_from(self.gathers.len()).expect("gathers are few");
        self.first_gather.wrapping_add(waiting)
    }

    /// The gather with this number.
    pub(super) fn gather_mut(&mut self, number: u32) -> &mut Gather {
        let index = number.wrapping_sub(self.first_gather) as usize;
        &mut self.gathers[index]
    }

    /// Whether it has begun what must be finished even if it goes.
    pub(super) fn must_finish(&self) -> bool {
        self.transaction.is_some()
            || self.holding.is_some()
            || self.exec.is_some()
            || self.unposted.iter().any(|(_, batch)| batch.releases_hold)
            || matches!(&self.progress, Some(Progress::Fanout(fanout)) if fanout.must_finish())
    }

    /// Drops whatever was received and not begun.
    pub(super) fn discard_input(&mut self) {
        self.window = None;
        self.input.discard();
    }
}
