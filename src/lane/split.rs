//! A command of several keys that live on different shards: one part per key.
//!
//! The parts are ordinary single-key commands: they run in request order with everything else,
//! need no barrier, and a million of them take as many turns as they need. Their replies are
//! the elements of an array (MGET), or are folded into a sum (DEL) or one `+OK` (MSET).

use super::Turn;
use super::connection::{OwnedArguments, Progress};
use super::forward::{Place, Route};
use super::fragment::Fragment;
use super::gather::Emit;
use super::parts::Call;
use super::turn::Worker;
use crate::command::{Merge, Resume, Row, Status};
use crate::resp::{Args, Span};
use crate::shard::Probe;

/// Most arguments of one part: name, key, value.
const PART_SPAN_COUNT_MAX: usize = 3;

/// A multi-key command on its way through its keys.
pub(super) struct Split {
    row: &'static Row,
    part: &'static Row,
    arguments: OwnedArguments,
    /// Keys whose parts were begun.
    begun: usize,
    /// The part that is not done.
    unfinished: Option<(Resume, Fragment)>,
}

impl Split {
    /// The command of `row` with these arguments.
    pub(super) fn new(row: &'static Row, arguments: OwnedArguments) -> Self {
        let part = row.part.expect("a per-key row names its part");
        assert!(usize::from(row.keys.step) < PART_SPAN_COUNT_MAX);
        Self {
            row,
            part,
            arguments,
            begun: 0,
            unfinished: None,
        }
    }

    /// Begins as many parts as the turn allows.
    pub(super) fn go_on(mut self: Box<Self>, worker: &mut Worker<'_>) -> Option<Turn> {
        let count = self.arguments.spans.len();
        for position in self.row.keys.positions(count).skip(self.begun) {
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
        let (hash, owner) = worker.parts.placement.of(args.get(1));
        if owner != worker.parts.core.id {
            let route = Route {
                row: self.part,
                hash,
                core: owner,
            };
            if !worker.read_directly(route, Probe::of(hash), args, self.is_folded()) {
                worker.forward(route, &place, spans, self.is_folded());
            }
            return;
        }
        let call = Call {
            row: self.part,
            args,
            probe: Probe::of(hash),
            caller: Some(worker.connection.client),
        };
        let (now, protocol, is_folded) = (worker.now, worker.protocol, self.is_folded());
        let Some((mut resume, mut begun)) = self.unfinished.take() else {
            let mut resume = Resume::default();
            let unfinished = worker.write_or_set_aside(is_folded, |parts, reply| {
                parts.run(call, now, &mut resume, reply)
            });
            self.unfinished = unfinished.map(|fragment| (resume, fragment));
            return;
        };
        match worker
            .parts
            .run(call, now, &mut resume, &mut begun.reply(protocol))
        {
            Status::Again => self.unfinished = Some((resume, begun)),
            Status::Done => worker.write_fragment(&begun, is_folded),
        }
    }
}
