//! One connection's turn: parse what arrived, run or forward it, collect what came back.
//!
//! ```text
//!   what waits ──► in progress? ──► window ──► each: here | one other core | several | all
//!        ▲                                             │
//!        └───────── until input, budget or patience ends
//! ```
//!
//! A turn ends when the input is used up, when its budget is (others want their turn too), when
//! enough output waits to be sent, or when the next command must wait for other cores. It never
//! blocks. Whatever it began is kept in the connection and goes on in the next turn.
//!
//! Order: replies leave in request order (gather.rs). Commands for one core go there in request
//! order, over one ring, so commands on one key run in request order. A command that needs all
//! shards, or several in steps, first waits for all before it, and nothing after it starts
//! until it is done.

use super::Turn;
use super::connection::{Connection, Long, Progress};
use super::forward::Place;
use super::parts::{Call, Parts};
use super::window::{Parsed, Window};
use crate::command::{
    Context, Muting, Now, Resume, Row, Run, SessionContext, Status, lookup, may_run_all,
    request_limits,
};
use crate::limits::{
    CLOCK_COMMAND_COUNT, GATHER_COUNT_MAX, OUTPUT_PAUSE_LEN_BYTES, TURN_LEN_BYTES_MAX, TURN_NS_MAX,
};
use crate::resp::{Args, Limits, Protocol, Span};
use crate::running;
use crate::shard::Probe;

/// Runs one connection's turn.
pub(super) struct Worker<'a> {
    pub(super) parts: &'a mut Parts,
    pub(super) connection: &'a mut Connection,
    pub(super) now: Now,
    pub(super) protocol: Protocol,
    /// Whether nothing keeps any command from running: a password that is owed, data on its way, a
    /// transaction being queued, shards that are held.
    pub(super) may_run_all: bool,
    limits: Limits,
    /// The command that runs, as far as it is known.
    pub(super) row: Option<&'static Row>,
    /// The transaction that the parts being begun are members of.
    pub(super) transaction: Option<u64>,
    commands_left: usize,
    bytes_left: usize,
    /// Nanoseconds since the turn began.
    elapsed_ns: &'a dyn Fn() -> u64,
}

/// Whether a command was begun.
#[derive(PartialEq, Eq)]
pub(super) enum Flow {
    Begun,
    Waits,
}

impl<'a> Worker<'a> {
    /// A worker with a full budget, whose turn began at `now`.
    pub(super) fn new(
        parts: &'a mut Parts,
        connection: &'a mut Connection,
        now: Now,
        elapsed_ns: &'a dyn Fn() -> u64,
    ) -> Self {
        parts.core.look_around(now);
        // What others have worked for memory is not this turn's.
        parts.take_toil_len_bytes();
        if parts.shard.awaits_disk(now.ms()) {
            parts.core.hold_writes_back(now);
        }
        let session = &parts.core.clients[connection.client];
        parts.shard.set_quiet(session.is_no_touch);
        Self {
            now,
            protocol: session.protocol,
            may_run_all: may_run_all(&parts.core, session) && connection.holding.is_none(),
            limits: request_limits(&parts.core, session),
            row: None,
            transaction: None,
            commands_left: parts.core.turn_command_count_max(),
            bytes_left: TURN_LEN_BYTES_MAX,
            elapsed_ns,
            parts,
            connection,
        }
    }

    /// Runs the turn.
    pub(super) fn run(mut self) -> Turn {
        // Others may wait for a release among it: it waits for nobody.
        self.post_waiting();
        self.drain_gathers();
        let Connection {
            timing, progress, ..
        } = &mut *self.connection;
        timing.begin(progress.as_ref(), self.parts, self.now);
        self.settle_hold();
        self.connection.is_at_gate = false;
        if self.connection.holding.is_none() && self.is_kept_out() {
            self.drop_muted();
            return Turn::Waiting;
        }
        let turn = self.work();
        self.leave_holds();
        self.close_gather();
        self.drain_gathers();
        // What was just committed may have been the last thing to wait for.
        self.settle_hold();
        self.drop_muted();
        let is_full = self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES;
        if is_full && !self.connection.is_gathered() && self.connection.holding.is_none() {
            // What other cores still owe may be held back until there is room for it.
            return Turn::OutputFull;
        }
        let waits_for_cores =
            turn == Turn::Waiting && !self.connection.is_waiting() && !self.connection.is_at_gate;
        if waits_for_cores && self.connection.is_gathered() {
            // What it waited for was here already.
            return Turn::More;
        }
        turn
    }

    fn work(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.obstacle() {
                return turn;
            }
            let turn = match self.connection.progress.take() {
                Some(progress) => self.go_on(progress),
                None if self.connection.exec.is_some() => self.go_on_exec(),
                None => self.run_window(),
            };
            if self.connection.progress.is_none() && self.connection.exec.is_none() {
                self.connection.timing.finish();
            }
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    /// Why the connection cannot go on now, if it cannot.
    pub(super) fn obstacle(&mut self) -> Option<Turn> {
        if !self.post_waiting() {
            return Some(Turn::Waiting);
        }
        // Others do not wait for a client that does not read, or is about to go.
        let is_awaited = self.connection.holding.is_some() || self.connection.exec.is_some();
        if self.connection.is_closing && !is_awaited {
            return Some(if self.barrier() {
                Turn::Finished
            } else {
                Turn::Waiting
            });
        }
        if !is_awaited && self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES {
            return Some(Turn::OutputFull);
        }
        if self.connection.gathers.len() >= GATHER_COUNT_MAX {
            return Some(Turn::Waiting);
        }
        (self.commands_left == 0 || self.bytes_left == 0).then_some(Turn::More)
    }

    fn go_on(&mut self, progress: Progress) -> Option<Turn> {
        self.row = self.parts.core.clients[self.connection.client].last_command;
        match progress {
            Progress::Long(long) => self.go_on_long(long),
            Progress::Split(split) => split.go_on(self),
            Progress::Fanout(fanout) => fanout.go_on(self),
            Progress::Exec => self.go_on_exec(),
            Progress::Waiting(waiting) => self.go_on_waiting(waiting),
        }
    }

    /// Executes what the window holds and the input brings, until something is in the way.
    fn run_window(&mut self) -> Option<Turn> {
        let mut window = match self.connection.window.take() {
            Some(window) => window,
            None => self.parts.windows.take().unwrap_or_default(),
        };
        window.begin();
        let turn = self.run_commands(&mut window);
        if window.is_empty() || self.connection.is_closing {
            window.clear();
            self.parts.windows.put(window);
        } else {
            self.connection.window = Some(window);
        }
        turn
    }

    fn out_of_input(&mut self) -> Turn {
        self.connection.is_closing |= self.connection.is_end_received;
        if !self.connection.is_closing {
            return Turn::Idle;
        }
        // Nobody asks for another turn, so it must not end with holds to be released.
        self.end_hold();
        if self.barrier() && self.connection.holding.is_none() {
            Turn::Finished
        } else {
            Turn::Waiting
        }
    }

    fn run_commands(&mut self, window: &mut Window) -> Option<Turn> {
        let mut last = None;
        let mut last_len_bytes = 0;
        let turn = loop {
            self.slide(window);
            let Some(parsed) = window.front() else {
                break self.end_of_input(window);
            };
            let (row, len_bytes) = (parsed.row, parsed.len_bytes);
            if !self.run_plain(window, parsed) {
                if self.execute(window, parsed) == Flow::Waits {
                    break Some(Turn::Waiting);
                }
                self.connection.is_muting_settled = false;
            }
            self.parts.core.stats.commands_processed += u64::from(!parsed.is_nothing());
            if let Some(row) = row {
                self.parts.core.tally.count(row);
            }
            window.pass();
            last = row.or(last);
            last_len_bytes = len_bytes;
            if self.connection.is_closing {
                self.connection.discard_input();
                break None;
            }
            self.connection.input.consume(len_bytes);
            self.spend(len_bytes);
            if self.connection.progress.is_some() || self.must_pause() {
                break None;
            }
        };
        running::set_command("");
        if let Some(row) = last {
            self.note_command(row);
            self.connection.timing.last = Some(row);
            self.connection.timing.last_len_bytes = last_len_bytes;
        }
        turn
    }

    #[inline]
    fn slide(&mut self, window: &mut Window) {
        let Parts {
            core,
            shard,
            placement,
            ..
        } = &*self.parts;
        // With anything sent before it, a read is probably sent as well.
        let reads_others = placement.shard_count > 1
            && core.settings.direct_reads
            && self.connection.gathers.is_empty();
        let input = &mut self.connection.input;
        window.slide(input, self.limits, placement, shard, reads_others);
    }

    /// Nothing is left to execute: is there an error behind it, or nothing at all?
    fn end_of_input(&mut self, window: &mut Window) -> Option<Turn> {
        let Some(error) = window.error.take() else {
            return Some(self.out_of_input());
        };
        self.parts.core.stats.protocol_errors += 1;
        self.write(false, |_, reply| reply.protocol_error(error));
        self.connection.discard_input();
        self.connection.is_closing = true;
        None
    }

    /// Whether replies go straight to the output and nothing keeps commands from running.
    #[inline]
    fn can_run_plain(&self) -> bool {
        self.may_run_all && self.connection.gathers.is_empty()
    }

    /// Runs a plain command of a connection that waits for nothing: the shortest paths there are.
    /// False: it is none.
    #[inline]
    fn run_plain(&mut self, window: &Window, parsed: &Parsed) -> bool {
        if !self.can_run_plain() {
            return false;
        }
        if parsed.is_plain(self.parts.core.id) {
            self.run_own(window, parsed);
            return true;
        }
        self.read_plain(window, parsed)
    }

    /// Runs a plain command of this core's shard.
    #[inline]
    fn run_own(&mut self, window: &Window, parsed: &Parsed) {
        let row = parsed.row.expect("a command without a row has no owner");
        let Run::Shard(run) = row.run else {
            unreachable!("only shard rows are routed")
        };
        let Connection {
            input,
            output,
            client,
            ..
        } = &mut *self.connection;
        let place = Place {
            buffer: input.buffer(),
            start: input.start(),
            end: input.start() + parsed.len_bytes,
        };
        let spans = window.spans(parsed);
        output.prepare(&mut self.parts.tails);
        let before = output.tail_len_bytes();
        let mut resume = Resume::default();
        let mut context = Context {
            shard: &mut self.parts.shard,
            core: &mut self.parts.core,
            now: self.now,
            probe: parsed.probe,
            resume: &mut resume,
            caller: Some(*client),
        };
        running::set_command(row.name);
        if run(
            &mut context,
            place.args(spans),
            &mut output.reply(self.protocol),
        ) == Status::Again
        {
            let long = Long {
                row,
                arguments: place.owned(spans),
                probe: parsed.probe,
                resume,
                reply: output.split_off(before),
            };
            self.connection.progress = Some(Progress::Long(Box::new(long)));
            return;
        }
        if output.is_error_at(before) {
            self.parts
                .core
                .note_error(Some(row), output.tail_from(before));
        }
        output.seal();
    }

    /// Whether enough was done for now; cheap, asked after every command.
    #[inline]
    fn must_pause(&self) -> bool {
        self.bytes_left == 0
            || self.commands_left == 0
            || self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES
            || self.connection.gathers.len() >= GATHER_COUNT_MAX
    }

    fn execute(&mut self, window: &Window, parsed: &Parsed) -> Flow {
        if parsed.is_nothing() {
            return Flow::Begun;
        }
        let buffer = self.connection.input.buffer().clone();
        let start = self.connection.input.start();
        let place = Place {
            buffer: &buffer,
            start,
            end: start + parsed.len_bytes,
        };
        let spans = window.spans(parsed);
        let args = place.args(spans);
        if !self.may_run_all && !self.settle_muting() {
            return Flow::Waits;
        }
        let Some(row) = parsed.row else {
            self.row = None;
            let error = lookup(args).expect_err("looked up without success before");
            self.refuse(args, &error);
            return Flow::Begun;
        };
        if !self.may_run_all
            && let Some(flow) = self.admit(row, args)
        {
            return flow;
        }
        self.dispatch(row, parsed.owner, parsed.probe, &place, spans)
    }

    /// Notes what the connection asked last, for CLIENT LIST; commands that may show it note it
    /// before they run, others when the window pauses.
    pub(super) fn note_command(&mut self, row: &'static Row) {
        let session = &mut self.parts.core.clients[self.connection.client];
        session.last_command = Some(row);
        session.last_active_ms = self.now.ms();
    }

    pub(super) fn run_session(&mut self, row: &'static Row, args: Args<'_>) {
        self.note_command(row);
        let Run::Session(run) = row.run else {
            unreachable!("session rows run on sessions")
        };
        let client = self.connection.client;
        let now = self.now;
        self.write(false, |parts, reply| {
            let (core, shard) = (&mut parts.core, &mut parts.shard);
            run(
                &mut SessionContext {
                    core,
                    client,
                    shard,
                    now,
                },
                args,
                reply,
            );
        });
        self.refresh_session();
    }

    /// Takes note of what a command may have changed about the session.
    pub(super) fn refresh_session(&mut self) {
        let core = &self.parts.core;
        let session = &core.clients[self.connection.client];
        self.connection.is_closing |= session.close_after_reply || session.is_killed;
        self.limits = request_limits(core, session);
        self.connection
            .output
            .set_muted(session.muting != Muting::Off);
        let is_quiet = session.is_no_touch;
        let was_quiet = self.parts.shard.set_quiet(is_quiet);
        if session.protocol != self.protocol || is_quiet != was_quiet {
            self.protocol = session.protocol;
            self.close_gather();
        }
        self.refresh_path();
    }

    /// Looks again whether anything keeps commands from running: another may have been given this
    /// core's shard since the turn began.
    pub(super) fn refresh_path(&mut self) {
        let core = &self.parts.core;
        self.may_run_all = may_run_all(core, &core.clients[self.connection.client])
            && self.connection.holding.is_none()
            && !self.parts.gate.is_closed_to(self.holder());
    }

    /// Runs a command on this core's shard.
    pub(super) fn run_here(
        &mut self,
        row: &'static Row,
        place: &Place<'_>,
        spans: &[Span],
        probe: Probe,
    ) {
        let args = place.args(spans);
        let mut resume = Resume::default();
        let (now, client) = (self.now, self.connection.client);
        let call = Call {
            row,
            args,
            probe,
            caller: Some(client),
            transaction: self.exec_transaction(),
        };
        let unfinished = self.write_or_set_aside(false, |parts, reply| {
            parts.run(call, now, &mut resume, reply)
        });
        self.count_members();
        if let Some(reply) = unfinished {
            let arguments = place.owned(spans);
            let long = Long {
                row,
                arguments,
                probe,
                resume,
                reply,
            };
            self.connection.progress = Some(Progress::Long(Box::new(long)));
        }
    }

    fn go_on_long(&mut self, mut long: Box<Long>) -> Option<Turn> {
        let (now, client) = (self.now, Some(self.connection.client));
        let args = long.arguments.args();
        let call = Call {
            row: long.row,
            args,
            probe: long.probe,
            caller: client,
            transaction: self.exec_transaction(),
        };
        let mut reply = long.reply.reply(self.protocol);
        let status = self.parts.run(call, now, &mut long.resume, &mut reply);
        self.count_members();
        if status == Status::Again {
            self.connection.progress = Some(Progress::Long(long));
            return Some(Turn::More);
        }
        self.write_fragment(&long.reply, false);
        None
    }

    /// Takes one command of work from the budget.
    pub(super) fn count_command(&mut self) {
        self.spend(0);
    }

    /// Takes a command from the budget, the bytes it had as input and what it has worked for memory. How
    /// long the commands really took is asked now and then: where a first touch of memory, a miss or the disk
    /// makes them slow, a turn has fewer.
    #[inline]
    fn spend(&mut self, len_bytes: usize) {
        let spent_bytes = len_bytes.saturating_add(self.parts.take_toil_len_bytes());
        self.bytes_left = self.bytes_left.saturating_sub(spent_bytes);
        self.commands_left = self.commands_left.saturating_sub(1);
        if self.commands_left.is_multiple_of(CLOCK_COMMAND_COUNT)
            && (self.elapsed_ns)() >= TURN_NS_MAX
        {
            self.commands_left = 0;
        }
    }
}
