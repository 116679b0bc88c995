//! A command that needs several cores at once: one part on each shard, or the steps of a plan.
//!
//! The connection has waited for everything before it and runs nothing else until this is done, so
//! the parts need no place among other replies: they are kept until all are there, then merged
//! into the one reply, or given to the plan, which replies or names its next steps.

use super::Turn;
use super::batch::{Batch, Ticket};
use super::connection::{OwnedArguments, Progress};
use super::fragment::Fragment;
use super::parts::{Call, Parts};
use super::turn::Worker;
use crate::command::plan::{Next, Plan, Step};
use crate::command::transaction::NOTE;
use crate::command::{Flags, Part, Resume, Row, SessionContext, Status, merge};
use crate::hash::KeyHash;
use crate::resp::Args;
use crate::shard::Probe;

/// A command that runs on several cores.
pub(super) struct Fanout {
    goal: Goal,
    errands: Vec<Errand>,
}

/// What becomes of the parts.
enum Goal {
    /// The one reply of this row for these arguments.
    Merge(&'static Row, OwnedArguments),
    /// Whatever the plan says of this command.
    Plan(Plan, OwnedArguments),
    /// Whether EXEC may run.
    Check,
    /// Whether the parts of this command have room; then they run.
    Room(&'static Row, OwnedArguments),
}

/// One part: a command for one core.
struct Errand {
    core: u16,
    row: &'static Row,
    hash: KeyHash,
    arguments: OwnedArguments,
    state: State,
}

enum State {
    New,
    /// Runs on this core.
    Here {
        resume: Resume,
        reply: Fragment,
    },
    /// In a batch that is out.
    Out,
    Done {
        reply: Fragment,
        element_count: u64,
    },
}

impl Fanout {
    /// The whole command of `row` on each of these shards.
    pub(super) fn to_each(row: &'static Row, arguments: OwnedArguments, shards: Vec<u16>) -> Self {
        let parts = shards.into_iter().map(|core| (core, arguments.clone()));
        let errands = Errand::on_some(row, parts);
        Self {
            goal: Goal::Merge(row, arguments),
            errands,
        }
    }

    /// The command of `row`, as one part of row `part` on each of some shards.
    pub(super) fn to_some(
        row: &'static Row,
        arguments: OwnedArguments,
        part: &'static Row,
        parts: impl IntoIterator<Item = (u16, OwnedArguments)>,
    ) -> Self {
        Self {
            goal: Goal::Merge(row, arguments),
            errands: Errand::on_some(part, parts),
        }
    }

    /// Asks some shards whether EXEC may run: by parts of row `part`, which say 1 if it may.
    pub(super) fn check(
        part: &'static Row,
        parts: impl IntoIterator<Item = (u16, OwnedArguments)>,
    ) -> Self {
        Self {
            goal: Goal::Check,
            errands: Errand::on_some(part, parts),
        }
    }

    /// Asks some shards for room by parts of row `part`; then the parts of the command of `row` run.
    pub(super) fn make_room(
        row: &'static Row,
        arguments: OwnedArguments,
        part: &'static Row,
        parts: impl IntoIterator<Item = (u16, OwnedArguments)>,
    ) -> Self {
        Self {
            goal: Goal::Room(row, arguments),
            errands: Errand::on_some(part, parts),
        }
    }

    /// The steps of `plan`, one round after the other.
    pub(super) fn follow(row: &'static Row, arguments: OwnedArguments) -> Self {
        let plan = Plan::start(row, arguments.args());
        Self {
            goal: Goal::Plan(plan, arguments),
            errands: Vec::new(),
        }
    }

    /// Whether it must go on although its client is gone: a plan holds on to what it fetched, and what the
    /// first shard has begun the others have to hear of.
    pub(super) fn must_finish(&self) -> bool {
        let goes_on = |row: &Row| row.name == NOTE.name || row.flags.contains(Flags::LED);
        matches!(self.goal, Goal::Plan(..)) || self.errands.iter().any(|it| goes_on(it.row))
    }

    /// The arguments of the command, if it is one.
    pub(super) fn args(&self) -> Option<Args<'_>> {
        match &self.goal {
            Goal::Merge(_, arguments) | Goal::Plan(_, arguments) | Goal::Room(_, arguments) => {
                Some(arguments.args())
            }
            Goal::Check => None,
        }
    }

    /// Sends what is new, runs a slice of what is here, and finishes when all parts are there.
    pub(super) fn go_on(mut self: Box<Self>, worker: &mut Worker<'_>) -> Option<Turn> {
        loop {
            self.send(worker);
            let is_busy = self.run_here(worker);
            if self.sendable().any(Errand::is_new) {
                continue; // Their leader is done.
            }
            let is_waiting = self.errands.iter().any(|errand| !errand.is_done());
            if is_busy || is_waiting {
                worker.connection.progress = Some(Progress::Fanout(self));
                return Some(if is_busy { Turn::More } else { Turn::Waiting });
            }
            let parts = parts_of(&self.errands);
            let (plan, arguments) = match &mut self.goal {
                Goal::Merge(row, arguments) => {
                    match worker.commit() {
                        Ok(()) => merge_parts(worker, row, arguments.args(), &parts),
                        Err(error) => worker.write(false, |_, reply| reply.error(error)),
                    }
                    return None;
                }
                Goal::Plan(plan, arguments) => (plan, arguments),
                Goal::Room(row, arguments) => {
                    let refusal = parts.iter().find(|part| part.reply != b"+OK\r\n");
                    match refusal {
                        None => worker.begin_split(row, arguments.clone()),
                        Some(part) => {
                            worker.write(false, |_, reply| reply.raw(part.reply));
                            // Nothing was written that it could lack.
                            let _ = worker.commit();
                        }
                    }
                    return None;
                }
                Goal::Check => {
                    let is_off = parts.iter().any(|part| part.reply != b":1\r\n");
                    if let Some(exec) = &mut worker.connection.exec {
                        exec.is_off = is_off;
                    }
                    return None;
                }
            };
            let mut next = Next::Done;
            let is_executing = worker.connection.exec.is_some();
            let transaction = &mut worker.connection.transaction.take();
            worker.write(false, |lane, reply| {
                let start = reply.len_bytes();
                next = plan.next(arguments.args(), &parts, reply);
                if matches!(next, Next::Done)
                    && !is_executing
                    && let Some(transaction) = transaction.take()
                    && let Err(error) = lane.commit(transaction)
                {
                    reply.truncate(start);
                    reply.error(error);
                }
            });
            worker.connection.transaction = transaction.take();
            let Next::Steps(steps) = next else {
                return None;
            };
            let errand = |step: &Step| Errand::of(step, arguments, worker);
            self.errands = steps.iter().map(errand).collect();
        }
    }

    /// Takes the part that came back.
    pub(super) fn put_batch(&mut self, batch: &mut Batch) {
        let errand = &mut self.errands[batch.ticket.place as usize];
        errand.state = State::Done {
            reply: std::mem::take(&mut batch.replies),
            element_count: batch.element_count,
        };
    }

    /// Gives it up, with what its parts hold of the shard.
    pub(super) fn discard(self, parts: &mut Parts) {
        for errand in self.errands {
            if let State::Here { .. } = errand.state {
                parts.give_up(errand.arguments.args());
            }
        }
    }

    /// How many of the parts may begin: all, or the first alone if it leads.
    fn sendable_count(&self) -> usize {
        match self.errands.first() {
            Some(first) if first.row.flags.contains(Flags::LED) && !first.is_done() => 1,
            _ => self.errands.len(),
        }
    }

    fn sendable(&self) -> impl Iterator<Item = &Errand> {
        self.errands.iter().take(self.sendable_count())
    }

    fn send(&mut self, worker: &mut Worker<'_>) {
        let count = self.sendable_count();
        for (place, errand) in (0u32..).zip(&mut self.errands[..count]) {
            if !errand.is_new() {
                continue;
            }
            if errand.core == worker.parts.core.id {
                errand.state = State::Here {
                    resume: Resume::default(),
                    reply: Fragment::default(),
                };
                continue;
            }
            let ticket = Ticket {
                connection: worker.connection.id,
                gather: None,
                place,
            };
            let mut batch = worker.parts.take_batch(ticket);
            batch.protocol = worker.protocol;
            batch.transaction = worker.transaction_number();
            batch.is_quiet = worker.parts.shard.is_quiet();
            batch.pin(&errand.arguments.buffer);
            worker.mark_batch(errand.core, &mut batch);
            batch.push(
                errand.row,
                errand.hash,
                &errand.arguments.spans,
                &errand.arguments.place(),
            );
            worker.connection.unposted.push_back((errand.core, batch));
            errand.state = State::Out;
        }
        worker.post_waiting();
    }

    /// Runs one slice of each part that is here; true if one is not done.
    fn run_here(&mut self, worker: &mut Worker<'_>) -> bool {
        let mut is_busy = false;
        for errand in &mut self.errands {
            let State::Here { resume, reply } = &mut errand.state else {
                continue;
            };
            let call = Call {
                row: errand.row,
                args: errand.arguments.args(),
                probe: Probe::of(errand.hash),
                caller: Some(worker.connection.client),
                transaction: worker.transaction_number(),
            };
            let mut to = reply.reply(worker.protocol);
            let status = worker.parts.run(call, worker.now, resume, &mut to);
            worker.count_members();
            if status == Status::Again {
                is_busy = true;
            } else {
                let (reply, element_count) = (std::mem::take(reply), resume.count);
                errand.state = State::Done {
                    reply,
                    element_count,
                };
            }
        }
        is_busy
    }
}

impl Errand {
    /// Parts of one row on some shards.
    fn on_some(
        row: &'static Row,
        parts: impl IntoIterator<Item = (u16, OwnedArguments)>,
    ) -> Vec<Self> {
        let errand = |(core, arguments)| Self {
            core,
            row,
            hash: KeyHash::from_bits(0),
            arguments,
            state: State::New,
        };
        parts.into_iter().map(errand).collect()
    }

    /// The part that runs `step` of the command with these arguments.
    fn of(step: &Step, arguments: &OwnedArguments, worker: &Worker<'_>) -> Self {
        let command = arguments.args();
        let mut spans = Vec::new();
        let args = step.args(command, &mut spans);
        let (hash, core) = worker
            .parts
            .placement
            .of(args.get(usize::from(step.row.keys.first)));
        let is_given = std::ptr::eq(args.base(), command.base());
        let arguments = if is_given {
            OwnedArguments {
                spans: args.spans().to_vec(),
                ..arguments.clone()
            }
        } else {
            OwnedArguments::copy_of(args)
        };
        Self {
            core,
            row: step.row,
            hash,
            arguments,
            state: State::New,
        }
    }

    fn is_new(&self) -> bool {
        matches!(self.state, State::New)
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// Its reply and how many elements that counts.
    fn reply(&self) -> (&Fragment, u64) {
        match &self.state {
            State::Done {
                reply,
                element_count,
            } => (reply, *element_count),
            State::New | State::Here { .. } | State::Out => {
                unreachable!("asked for when all are done")
            }
        }
    }
}

/// What the errands replied, in their order.
fn parts_of(errands: &[Errand]) -> Vec<Part<'_>> {
    let mut parts = Vec::with_capacity(errands.len());
    for errand in errands {
        let (reply, count) = errand.reply();
        parts.push(Part {
            shard: errand.core,
            reply: &reply.bytes,
            count,
        });
    }
    parts
}

fn merge_parts(worker: &mut Worker<'_>, row: &'static Row, args: Args<'_>, replies: &[Part<'_>]) {
    let (client, now) = (worker.connection.client, worker.now);
    worker.write(false, |parts, reply| {
        let (core, shard) = (&mut parts.core, &mut parts.shard);
        let mut context = SessionContext {
            core,
            client,
            shard,
            now,
        };
        merge(row, &mut context, args, replies, reply);
    });
    worker.refresh_session();
}
