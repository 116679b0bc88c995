//! Running the batches of other cores.
//!
//! A batch runs in one go unless it holds a long command, its replies pass their bound, or the pass has taken
//! as long as a turn may, by the clock or by what its commands have worked for memory. Then it is parked,
//! and so are later batches of the same connection, so that its commands keep their order; batches of other
//! connections pass by.
//!
//! | a batch that                    | is                                                      |
//! |---------------------------------|---------------------------------------------------------|
//! | ran to its end                  | sent back                                               |
//! | holds a command not done yet    | kept, and goes on in the next pass                      |
//! | is cut: the pass is over        | the same                                                |
//! | has replies past its bound      | sent back unfinished; its connection is stalled until it|
//! |                                 | comes again (`is_resumed`) or is given up               |
//! | follows one of those            | queued behind it                                        |
//! | finds the shard held by another | kept, and runs when it is free                          |
//! | asks for a hold                 | kept, and runs when the hold is given (`gate`)          |

use std::collections::VecDeque;

use super::batch::{Batch, ConnectionId, Notice};
use super::gate::{Gate, Holder};
use super::parts::{Call, Parts};
use crate::command::{Now, Status};
use crate::limits::{
    CLOCK_COMMAND_COUNT, PROBE_COMMAND_COUNT, TURN_LEN_BYTES_MAX, TURN_NS_MAX, WINDOW_COMMAND_COUNT,
};
use crate::shard::Probe;

/// Batches of one core taken in one pass, so that own connections get their turn.
const PASS_BATCH_COUNT_MAX: usize = 8;

/// Batches of other cores that wait here.
#[derive(Default)]
pub(super) struct Service {
    parked: Vec<Parked>,
    /// The core that the last pass began with.
    first: u16,
}

/// The batches of one connection of another core, in their order.
struct Parked {
    core: u16,
    connection: ConnectionId,
    /// Its unfinished batch is with its origin.
    is_stalled: bool,
    queue: VecDeque<Box<Batch>>,
}

/// How a batch left off.
#[derive(PartialEq, Eq)]
enum Left {
    /// Every command ran.
    Finished,
    /// A command wants another slice, or the pass is over.
    Unfinished,
    /// The replies are past their bound.
    Full,
}

/// One pass over what waits.
struct Pass<'a> {
    now: Now,
    /// Bytes of arguments it has run.
    arguments_len_bytes: usize,
    /// What it may still work for memory, as bytes of a turn's budget.
    toil_left_len_bytes: usize,
    /// Whether the clock has said that its time is over.
    is_late: bool,
    command_count: usize,
    /// Nanoseconds since it began.
    elapsed_ns: &'a dyn Fn() -> u64,
    /// How many it may take.
    ns_max: u64,
}

impl<'a> Pass<'a> {
    fn begin(parts: &mut Parts, now: Now, elapsed_ns: &'a dyn Fn() -> u64) -> Self {
        // What others have worked for memory is not this pass's.
        parts.take_toil_len_bytes();
        Self {
            now,
            arguments_len_bytes: 0,
            // What comes over the rings leaves as much for what is parked.
            toil_left_len_bytes: TURN_LEN_BYTES_MAX / 2,
            is_late: false,
            command_count: 0,
            elapsed_ns,
            ns_max: TURN_NS_MAX / 2,
        }
    }

    /// From now on parked batches run.
    const fn turn_to_parked(&mut self) {
        self.toil_left_len_bytes += TURN_LEN_BYTES_MAX / 2;
        self.is_late = false;
        self.ns_max = TURN_NS_MAX;
    }

    /// Whether it is to take no more batches.
    const fn takes_no_more(&self) -> bool {
        self.arguments_len_bytes >= TURN_LEN_BYTES_MAX || self.is_over()
    }

    /// Whether the batch that runs is to stop.
    const fn is_over(&self) -> bool {
        self.is_late || self.toil_left_len_bytes == 0
    }

    /// Counts a command, what it has worked for memory, and now and then the time.
    #[inline]
    fn count_command(&mut self, parts: &mut Parts) {
        let toil_len_bytes = parts.take_toil_len_bytes();
        self.toil_left_len_bytes = self.toil_left_len_bytes.saturating_sub(toil_len_bytes);
        self.command_count += 1;
        if self.command_count.is_multiple_of(CLOCK_COMMAND_COUNT)
            && (self.elapsed_ns)() >= self.ns_max
        {
            self.is_late = true;
        }
    }
}

impl Service {
    /// Takes and runs what other cores sent, within a bound of batches, of bytes and of time; true if there
    /// was anything. Each pass begins with another core, so that none is always behind the bound.
    pub(super) fn pass(
        &mut self,
        parts: &mut Parts,
        now: Now,
        elapsed_ns: &dyn Fn() -> u64,
    ) -> bool {
        let count = parts.links.count();
        let mut pass = Pass::begin(parts, now, elapsed_ns);
        let mut is_busy = false;
        self.first = (self.first + 1) % count;
        for core in (self.first..count).chain(0..self.first) {
            if core == parts.core.id {
                continue;
            }
            for _ in 0..PASS_BATCH_COUNT_MAX {
                if pass.takes_no_more() {
                    break;
                }
                let Some(batch) = parts.links.take_request(core) else {
                    break;
                };
                is_busy = true;
                pass.arguments_len_bytes += batch.arguments_len_bytes;
                self.accept(parts, core, batch, &mut pass);
            }
        }
        is_busy |= parts.gate.has_next();
        // Before parked batches run: who waits for the end of a hold that one of them ends is let in by
        // the next pass, and has to be before another hold is given.
        parts.give_next();
        pass.turn_to_parked();
        is_busy |= self.go_on(parts, &mut pass);
        is_busy
    }

    /// Whether the next pass has something to do besides what comes over the rings: batches that can go on,
    /// and those of which the gate has yet to be told that they wait.
    pub(super) fn is_idle(&self, gate: &Gate) -> bool {
        let has_work = |parked: &Parked| {
            parked.may_go_on(gate) || !gate.knows_of_batches() && parked.is_kept_out(gate)
        };
        !gate.has_next() && !self.parked.iter().any(has_work)
    }

    fn accept(&mut self, parts: &mut Parts, core: u16, batch: Box<Batch>, pass: &mut Pass<'_>) {
        if !batch.notice.is_empty() {
            let Notice {
                released_runs,
                unwatched,
            } = &batch.notice;
            released_runs.iter().for_each(|run| parts.shard.unpin(*run));
            unwatched.iter().for_each(|id| parts.shard.unwatch(*id));
            parts.links.complete(core, batch);
            return;
        }
        let connection = batch.ticket.connection;
        let is_same = |parked: &Parked| parked.core == core && parked.connection == connection;
        let Some(index) = self.parked.iter().position(is_same) else {
            let mut parked = Parked {
                core,
                connection,
                is_stalled: false,
                queue: VecDeque::new(),
            };
            let holder = parked.holder();
            if batch.takes_hold {
                parts.gate.ask(holder);
                parked.queue.push_back(batch);
                self.parked.push(parked);
            } else if parts.gate.is_closed_to(holder) {
                parts.gate.keep_batch_out();
                parked.queue.push_back(batch);
                self.parked.push(parked);
            } else if !parked.run(batch, parts, pass) {
                // Nearly always all of it ran: then nothing is queued, and nothing allocated.
                self.parked.push(parked);
            }
            return;
        };
        let parked = &mut self.parked[index];
        if batch.is_abandoned {
            let mut parked = self.parked.swap_remove(index);
            parked.queue.push_front(batch);
            parked.give_up(parts);
        } else if batch.is_resumed {
            assert!(parked.is_stalled);
            parked.is_stalled = false;
            parked.queue.push_front(batch);
        } else {
            if batch.takes_hold {
                parts.gate.ask(parked.holder());
            }
            parked.queue.push_back(batch);
        }
    }

    /// Gives every parked connection that can go on one slice, of which the first may have all the time there
    /// is: then another is first in the next pass.
    fn go_on(&mut self, parts: &mut Parts, pass: &mut Pass<'_>) -> bool {
        let mut is_busy = false;
        self.parked.retain_mut(|parked| {
            if !parked.may_go_on(&parts.gate) {
                if parked.is_kept_out(&parts.gate) {
                    parts.gate.keep_batch_out();
                }
                return true;
            }
            is_busy = true;
            !parked.go_on(parts, pass)
        });
        if pass.is_over() && !self.parked.is_empty() {
            self.parked.rotate_left(1);
        }
        is_busy
    }
}

impl Parked {
    fn holder(&self) -> Holder {
        Holder {
            core: self.core,
            connection: self.connection,
        }
    }

    /// Whether its next batch may run now.
    fn may_go_on(&self, gate: &Gate) -> bool {
        let is_let_in = !gate.is_closed_to(self.holder()) && !self.asks_for_hold();
        !self.is_stalled && (is_let_in || gate.is_held_by(self.holder()))
    }

    /// Whether nothing keeps its next batch from running but the hold of another.
    fn is_kept_out(&self, gate: &Gate) -> bool {
        !self.is_stalled && gate.is_closed_to(self.holder()) && !self.asks_for_hold()
    }

    fn asks_for_hold(&self) -> bool {
        self.queue.front().is_some_and(|batch| batch.takes_hold)
    }

    /// Runs batches in order until one is not finished or the pass is over; true when none is left.
    fn go_on(&mut self, parts: &mut Parts, pass: &mut Pass<'_>) -> bool {
        while self.may_go_on(&parts.gate)
            && let Some(batch) = self.queue.pop_front()
        {
            if !self.run(batch, parts, pass) {
                return false;
            }
            if pass.is_over() {
                break;
            }
        }
        self.queue.is_empty()
    }

    /// Runs the next batch; true when it is finished.
    fn run(&mut self, mut batch: Box<Batch>, parts: &mut Parts, pass: &mut Pass<'_>) -> bool {
        let left = batch.run(parts, pass);
        self.is_stalled = left == Left::Full;
        if left == Left::Unfinished {
            self.queue.push_front(batch);
        } else {
            if left == Left::Finished && batch.releases_hold {
                parts.release(self.holder());
            }
            parts.core.stats.batches_served += u64::from(left == Left::Finished);
            parts.links.complete(self.core, batch);
        }
        left == Left::Finished
    }

    /// Sends everything back as it is: the connection is gone.
    fn give_up(mut self, parts: &mut Parts) {
        for mut batch in self.queue.drain(..) {
            batch.is_abandoned = true;
            parts.links.complete(self.core, batch);
        }
    }
}

impl Batch {
    /// Runs commands until the end, a long command, the bound of the replies or that of the pass. One command
    /// at least, unless the replies are full.
    fn run(&mut self, parts: &mut Parts, pass: &mut Pass<'_>) -> Left {
        parts.shard.set_quiet(self.is_quiet);
        let mut ahead = Ahead::of(self.ran);
        while self.ran < self.commands.len() {
            // What a command that is not done keeps behind the replies comes back to nobody else.
            if self.finished_len_bytes() >= self.reply_len_bytes_max {
                return Left::Full;
            }
            ahead.slide(self, parts);
            let status = self.run_next(ahead.probe(self.ran), parts, pass.now);
            pass.count_command(parts);
            let is_cut = pass.is_over() && self.ran < self.commands.len();
            if status == Status::Again || is_cut {
                return Left::Unfinished;
            }
        }
        Left::Finished
    }

    fn run_next(&mut self, probe: Probe, parts: &mut Parts, now: Now) -> Status {
        let command = self.commands[self.ran];
        let mut replies = std::mem::take(&mut self.replies);
        let mut resume = self.resume;
        let call = Call {
            row: command.row,
            args: self.args(command),
            probe,
            caller: None,
            transaction: self.transaction,
        };
        let status = parts.run(call, now, &mut resume, &mut replies.reply(self.protocol));
        parts.core.tally.count(command.row);
        if self.transaction.is_some() {
            self.member_count += parts.take_member_count();
        }
        self.replies = replies;
        self.resume = resume;
        if status == Status::Done {
            let start = self.finished_len_bytes();
            if self.replies.is_error_at(start) {
                let reply = &self.replies.bytes[start..];
                parts.core.note_error(Some(command.row), reply);
            }
            self.ran += 1;
            self.ends.push(self.replies.bytes.len());
            self.element_count = std::mem::take(&mut self.resume).count;
        }
        status
    }

    /// Where the replies of the commands that ran end.
    fn finished_len_bytes(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

/// The commands of a batch that are looked at before they run, as in a connection's window.
struct Ahead {
    /// Of command number n at `n % PROBE_COMMAND_COUNT`.
    probes: [Probe; PROBE_COMMAND_COUNT],
    probed: usize,
    prefetched: usize,
}

impl Ahead {
    /// Nothing was looked at from command `first` on.
    const fn of(first: usize) -> Self {
        Self {
            probes: [Probe::NONE; PROBE_COMMAND_COUNT],
            probed: first,
            prefetched: first,
        }
    }

    /// Asks for the buckets and records of the commands that come after the one that runs next.
    #[inline]
    fn slide(&mut self, batch: &Batch, parts: &Parts) {
        let end = batch.commands.len();
        while self.prefetched < end.min(batch.ran + WINDOW_COMMAND_COUNT) {
            parts
                .shard
                .prefetch_bucket(batch.commands[self.prefetched].hash);
            self.prefetched += 1;
        }
        while self.probed < end.min(batch.ran + PROBE_COMMAND_COUNT) {
            // Commands that only read seldom come this way.
            let hash = batch.commands[self.probed].hash;
            let probe = parts.shard.probe_to_write(hash);
            self.probes[self.probed % PROBE_COMMAND_COUNT] = probe;
            self.probed += 1;
        }
    }

    /// What was found for command `number`, which runs next.
    #[inline]
    fn probe(&self, number: usize) -> Probe {
        self.probes[number % PROBE_COMMAND_COUNT]
    }
}
