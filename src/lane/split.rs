//! A command of several keys that live on different shards: one part per key.
//!
//! The parts are ordinary single-key commands: they run in request order with everything else,
//! need no barrier, and a million of them take as many turns as they need. Their replies are
//! the elements of an array (MGET), or are folded into a sum (DEL) or one `+OK` (MSET).
//!
//! Keys are looked at before their turn, as a window looks at the commands of a pipeline; those that
//! other cores will run, there.

use super::Turn;
use super::connection::{OwnedArguments, Progress};
use super::direct::{self, Aim};
use super::forward::{Place, Route};
use super::fragment::Fragment;
use super::gather::Emit;
use super::parts::{Call, Parts};
use super::turn::Worker;
use crate::command::{Merge, Resume, Row, Status};
use crate::resp::{Args, Span};
use crate::shard::{Ahead, Probe};

/// Most arguments of one part: name, key, value.
const PART_SPAN_COUNT_MAX: usize = 3;

/// A multi-key command on its way through its keys.
pub(super) struct Split {
    row: &'static Row,
    part: &'static Row,
    arguments: OwnedArguments,
    /// Keys whose parts were begun.
    begun: usize,
    /// The keys after them, with their owners.
    ahead: Ahead<u16>,
    /// Keys that are, or were, on their way.
    fetched: usize,
    /// The part that is not done.
    unfinished: Option<Unfinished>,
    /// The number of the transaction that its parts are members of.
    transaction: Option<u64>,
}

/// A part of this core's shard that is not done.
struct Unfinished {
    probe: Probe,
    resume: Resume,
    reply: Fragment,
}

impl Split {
    /// The command of `row` with these arguments, in a transaction if it has a number.
    pub(super) fn new(
        row: &'static Row,
        arguments: OwnedArguments,
        transaction: Option<u64>,
    ) -> Self {
        let part = row.part.expect("a per-key row names its part");
        assert!(usize::from(row.keys.step) < PART_SPAN_COUNT_MAX);
        Self {
            row,
            part,
            arguments,
            begun: 0,
            ahead: Ahead::default(),
            fetched: 0,
            unfinished: None,
            transaction,
        }
    }

    /// Begins as many parts as the turn allows.
    pub(super) fn go_on(self: Box<Self>, worker: &mut Worker<'_>) -> Option<Turn> {
        let before = std::mem::replace(&mut worker.transaction, self.transaction);
        let turn = self.begin_parts(worker);
        if std::mem::replace(&mut worker.transaction, before) != before {
            // What comes behind it is no part of it.
            worker.close_gather();
        }
        turn
    }

    fn begin_parts(mut self: Box<Self>, worker: &mut Worker<'_>) -> Option<Turn> {
        let count = self.arguments.spans.len();
        while let Some(position) = self.row.keys.position(count, self.begun) {
            if let Some(turn) = worker.obstacle() {
                worker.connection.progress = Some(Progress::Split(self));
                return Some(turn);
            }
            self.run_part(worker, position);
            if self.unfinished.is_some() {
                worker.connection.progress = Some(Progress::Split(self));
                return Some(Turn::More);
            }
            self.begun += 1;
            worker.count_command();
        }
        let emit = match self.row.merge {
            Merge::Sum => Emit::Sum,
            Merge::Ok => Emit::Ok,
            Merge::InOrder | Merge::None | Merge::With(_) => return None,
        };
        let protocol = worker.protocol;
        worker.open_gather().push_emit(emit, protocol);
        None
    }

    /// The arguments of the whole command.
    pub(super) fn args(&self) -> Args<'_> {
        self.arguments.args()
    }

    fn is_folded(&self) -> bool {
        !matches!(self.row.merge, Merge::InOrder)
    }

    fn run_part(&mut self, worker: &mut Worker<'_>, position: usize) {
        let here = worker.parts.core.id;
        let (owner, probe, begun) = match self.unfinished.take() {
            Some(part) => (here, part.probe, Some((part.resume, part.reply))),
            None => {
                let (owner, probe) = self.look_ahead(worker);
                (owner, probe, None)
            }
        };
        let arguments = &self.arguments;
        let step = usize::from(self.row.keys.step);
        let mut spans = [Span::new(0, 0); PART_SPAN_COUNT_MAX];
        spans[0] = arguments.spans[0];
        spans[1..=step].copy_from_slice(&arguments.spans[position..position + step]);
        let spans = &spans[..=step];
        let place = Place {
            buffer: &arguments.buffer,
            start: arguments.start,
            end: arguments.end,
        };
        let args = place.args(spans);
        let is_folded = self.is_folded();
        if owner != here {
            let route = Route {
                row: self.part,
                hash: probe.hash,
                core: owner,
            };
            if !worker.read_directly(route, probe, args, is_folded) {
                worker.forward(route, &place, spans, is_folded);
            }
            return;
        }
        let call = Call {
            row: self.part,
            args,
            probe,
            caller: Some(worker.connection.client),
            transaction: self.transaction,
        };
        let (now, protocol) = (worker.now, worker.protocol);
        let Some((mut resume, mut reply)) = begun else {
            let mut resume = Resume::default();
            let unfinished = worker.write_or_set_aside(is_folded, |parts, reply| {
                parts.run(call, now, &mut resume, reply)
            });
            self.unfinished = unfinished.map(|reply| Unfinished {
                probe,
                resume,
                reply,
            });
            worker.count_members();
            return;
        };
        let mut writer = reply.reply(protocol);
        match worker.parts.run(call, now, &mut resume, &mut writer) {
            Status::Again => {
                self.unfinished = Some(Unfinished {
                    probe,
                    resume,
                    reply,
                });
            }
            Status::Done => worker.write_fragment(&reply, is_folded),
        }
        worker.count_members();
    }

    /// The owner of the next key whose part has not begun, and what its buckets held; asks for the
    /// buckets and records of those after it.
    #[inline]
    fn look_ahead(&mut self, worker: &Worker<'_>) -> (u16, Probe) {
        let Parts {
            core,
            shard,
            placement,
            ..
        } = &*worker.parts;
        let is_read = self.part.direct.is_some();
        // With anything sent before it, a read is probably sent as well.
        let reads_any =
            is_read && core.settings.direct_reads && worker.connection.gathers.is_empty();
        let (row, args, fetched) = (self.row, self.arguments.args(), &mut self.fetched);
        let aim = Aim::of(row, reads_any);
        let source = || {
            let position = row.keys.position(args.len(), *fetched)?;
            *fetched += 1;
            let (hash, owner) = placement.of(args.get(position));
            Some((owner, hash))
        };
        let next = self.ahead.next(
            source,
            |owner, hash| direct::prefetch_bucket(owner, hash, shard, reads_any),
            |owner, hash| direct::probe(owner, hash, shard, aim),
        );
        next.expect("each key is looked at once")
    }
}
