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
use super::fanout::Fanout;
use super::forward::{Place, Route};
use super::parts::{Call, Parts};
use super::split::Split;
use super::window::{Parsed, Window};
use crate::command::transaction::{Queued, queue, refuse};
use crate::command::{
    Context, Flags, Merge, Now, Resume, Row, Run, Scope, SessionContext, Status, check, lookup,
    may_run_all, request_limits,
};
use crate::hash::KeyHash;
use crate::limits::{
    GATHER_COUNT_MAX, OUTPUT_PAUSE_LEN_BYTES, TURN_COMMAND_COUNT_MAX, TURN_LEN_BYTES_MAX,
    WHOLE_KEY_COUNT_MAX,
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
    /// The transaction that the parts being begun are members of.
    pub(super) transaction: Option<u64>,
    commands_left: usize,
    bytes_left: usize,
}

/// Whether a command was begun.
#[derive(PartialEq, Eq)]
pub(super) enum Flow {
    Begun,
    Waits,
}

impl<'a> Worker<'a> {
    /// A worker with a full budget.
    pub(super) fn new(parts: &'a mut Parts, connection: &'a mut Connection, now: Now) -> Self {
        parts.core.look_for_data();
        let session = &parts.core.clients[connection.client];
        Self {
            now,
            protocol: session.protocol,
            may_run_all: may_run_all(&parts.core, session) && connection.holding.is_none(),
            limits: request_limits(&parts.core, session),
            transaction: None,
            commands_left: TURN_COMMAND_COUNT_MAX,
            bytes_left: TURN_LEN_BYTES_MAX,
            parts,
            connection,
        }
    }

    /// Runs the turn.
    pub(super) fn run(mut self) -> Turn {
        self.drain_gathers();
        self.settle_hold();
        self.connection.is_at_gate = false;
        if self.connection.holding.is_none() && self.is_kept_out() {
            return Turn::Waiting;
        }
        let turn = self.work();
        self.leave_holds();
        self.close_gather();
        self.drain_gathers();
        self.connection.input.release(&mut self.parts.buffers);
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
        if self.connection.is_closing {
            return Some(if self.barrier() {
                Turn::Finished
            } else {
                Turn::Waiting
            });
        }
        // Others do not wait for a client that does not read.
        let must_go_on = self.connection.holding.is_some() || self.connection.exec.is_some();
        if !must_go_on && self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES {
            return Some(Turn::OutputFull);
        }
        if self.connection.gathers.len() >= GATHER_COUNT_MAX {
            return Some(Turn::Waiting);
        }
        (self.commands_left == 0 || self.bytes_left == 0).then_some(Turn::More)
    }

    fn go_on(&mut self, progress: Progress) -> Option<Turn> {
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
            None => self.parts.windows.pop().unwrap_or_default(),
        };
        window.begin();
        let turn = self.run_commands(&mut window);
        if window.is_empty() || self.connection.is_closing {
            window.clear();
            self.parts.windows.push(window);
        } else {
            self.connection.window = Some(window);
        }
        turn
    }

    fn out_of_input(&mut self) -> Turn {
        if !self.connection.is_end_received {
            return Turn::Idle;
        }
        self.connection.is_closing = true;
        if self.barrier() {
            Turn::Finished
        } else {
            Turn::Waiting
        }
    }

    fn run_commands(&mut self, window: &mut Window) -> Option<Turn> {
        let mut last = None;
        let turn = loop {
            self.slide(window);
            let Some(parsed) = window.front() else {
                break self.end_of_input(window);
            };
            let (row, len_bytes) = (parsed.row, parsed.len_bytes);
            if !self.run_plain(window, parsed) && self.execute(window, parsed) == Flow::Waits {
                break Some(Turn::Waiting);
            }
            self.parts.core.stats.commands_processed += u64::from(!parsed.is_nothing());
            window.pass();
            last = row.or(last);
            if self.connection.is_closing {
                self.connection.discard_input();
                break None;
            }
            self.connection.input.consume(len_bytes);
            self.commands_left = self.commands_left.saturating_sub(1);
            self.bytes_left = self.bytes_left.saturating_sub(len_bytes);
            if self.connection.progress.is_some() || self.must_pause() {
                break None;
            }
        };
        running::set_command("");
        if let Some(row) = last {
            self.note_command(row);
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
        self.parts.core.stats.command_errors += u64::from(output.is_error_at(before));
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
        let Some(row) = parsed.row else {
            let error = lookup(args).expect_err("looked up without success before");
            self.refuse(args, &error);
            return Flow::Begun;
        };
        if !self.may_run_all {
            if let Some(flow) = self.admit(row, args) {
                return flow;
            }
        }
        self.dispatch(row, parsed.owner, parsed.probe, &place, spans)
    }

    /// What keeps a command from running now, if anything does.
    #[cold]
    fn admit(&mut self, row: &'static Row, args: Args<'_>) -> Option<Flow> {
        let (core, client) = (&mut self.parts.core, self.connection.client);
        let queued = match check(row, core, &core.clients[client]) {
            Ok(()) => queue(&mut core.clients[client], row, args),
            Err(error) => Err(error),
        };
        match queued {
            Ok(Queued::Not) => {}
            Ok(Queued::Yes) => {
                self.write(false, |_, reply| reply.simple("QUEUED"));
                return Some(Flow::Begun);
            }
            Ok(Queued::TooLong) => {
                core.clients.kill(client);
                core.stats.query_buffer_disconnections += 1;
                self.connection.is_closing = true;
                return Some(Flow::Begun);
            }
            Err(error) => {
                self.refuse(args, error.as_bytes());
                return Some(Flow::Begun);
            }
        }
        let holds_itself = !matches!(row.scope, Scope::Session | Scope::Owner | Scope::Cursor);
        (!holds_itself && self.must_leave()).then_some(Flow::Waits)
    }

    /// Answers a command that cannot run.
    fn refuse(&mut self, args: Args<'_>, error: &[u8]) {
        let client = self.connection.client;
        self.write(false, |parts, reply| {
            reply.error_bytes(&refuse(&mut parts.core, client, args, error));
        });
        self.refresh_session();
    }

    /// Begins a command of `row` whose first key, if it has any, is at home on `owner`.
    pub(super) fn dispatch(
        &mut self,
        row: &'static Row,
        owner: u16,
        probe: Probe,
        place: &Place<'_>,
        spans: &[Span],
    ) -> Flow {
        let args = place.args(spans);
        running::set_command(row.name);
        match row.scope {
            Scope::Owner if owner == self.parts.core.id => {
                self.run_here(row, place, spans, probe);
            }
            Scope::Owner => {
                let hash = probe.hash;
                let route = Route {
                    row,
                    hash,
                    core: owner,
                };
                if !self.read_directly(route, probe, args, false) {
                    self.forward(route, place, spans, false);
                }
            }
            Scope::Session => self.run_session(row, args),
            Scope::Cursor => self.run_cursor(row, place, spans),
            Scope::PerKey | Scope::Plan => return self.run_keys(row, place, spans),
            Scope::AllShards => return self.fan_out(row, place, spans),
            Scope::Exec => return self.begin_exec(),
            Scope::Watch => return self.watch(row, place, spans),
            Scope::Disk if self.must_leave() || !self.barrier() => return Flow::Waits,
            Scope::Disk => self.begin_waiting(row, place, spans),
        }
        Flow::Begun
    }

    /// Notes what the connection asked last, for CLIENT LIST; commands that may show it note it
    /// before they run, others when the window pauses.
    fn note_command(&mut self, row: &'static Row) {
        let session = &mut self.parts.core.clients[self.connection.client];
        session.last_command = Some(row);
        session.last_active_ms = self.now.ms();
    }

    fn run_session(&mut self, row: &'static Row, args: Args<'_>) {
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
        self.may_run_all = may_run_all(core, session) && self.connection.holding.is_none();
        self.limits = request_limits(core, session);
        if session.protocol != self.protocol {
            self.protocol = session.protocol;
            self.close_gather();
        }
    }

    /// Takes note that no shard is held any more.
    pub(super) fn refresh_path(&mut self) {
        let core = &self.parts.core;
        self.may_run_all = may_run_all(core, &core.clients[self.connection.client]);
    }

    /// The owner and the hash of a command's first key.
    pub(super) fn route_of(&self, row: &Row, args: Args<'_>) -> (u16, KeyHash) {
        if row.scope == Scope::Owner {
            let (hash, owner) = self
                .parts
                .placement
                .of(args.get(usize::from(row.keys.first)));
            (owner, hash)
        } else {
            (self.parts.core.id, KeyHash::from_bits(0))
        }
    }

    /// The shards of a command's keys, ascending.
    pub(super) fn owners_of(&self, row: &Row, args: Args<'_>) -> Vec<u16> {
        let count = self.parts.placement.shard_count;
        let mut is_owner = vec![false; usize::from(count)];
        self.note_owners(row, args, &mut is_owner);
        (0..count)
            .filter(|shard| is_owner[usize::from(*shard)])
            .collect()
    }

    /// Marks the shards of a command's keys.
    pub(super) fn note_owners(&self, row: &Row, args: Args<'_>, is_owner: &mut [bool]) {
        for position in row.keys.positions(args.len()) {
            is_owner[usize::from(self.parts.placement.owner(args.get(position)))] = true;
        }
    }

    /// Runs a command whose cursor names the shard.
    fn run_cursor(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) {
        let cursor = place.args(spans).get(1);
        let core = crate::command::shard_of_cursor(cursor, self.parts.placement.shard_count);
        let hash = KeyHash::from_bits(0);
        if core == self.parts.core.id {
            self.run_here(row, place, spans, Probe::of(hash));
        } else {
            self.forward(Route { row, hash, core }, place, spans, false);
        }
    }

    /// Runs a command of several keys: whole where all of them live, or in parts.
    fn run_keys(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        let args = place.args(spans);
        let positions = row.keys.positions(args.len());
        let key_count = positions.len();
        let placement = &self.parts.placement;
        let mut owners = positions.map(|position| placement.owner(args.get(position)));
        let first = owners.next().expect("the arity asks for a key");
        let is_whole = (row.part.is_none() || key_count <= WHOLE_KEY_COUNT_MAX)
            && owners.all(|owner| owner == first);
        if is_whole {
            if self.must_leave_for(first) {
                return Flow::Waits;
            }
            let placement = &self.parts.placement;
            let hash = placement.hasher.hash(args.get(usize::from(row.keys.first)));
            let route = Route {
                row,
                hash,
                core: first,
            };
            if first == self.parts.core.id {
                self.run_here(row, place, spans, Probe::of(hash));
            } else if key_count > 1 || !self.read_directly(route, Probe::of(hash), args, false) {
                // Several keys are read at one moment by their owner alone.
                self.forward(route, place, spans, false);
            }
            return Flow::Begun;
        }
        if self.may_read_at_once(row, key_count) {
            if !self.barrier() {
                return Flow::Waits;
            }
            if self.read_at_once(row, args) {
                return Flow::Begun;
            }
        }
        if !self.hold_for(row, args) {
            return Flow::Waits;
        }
        if row.scope == Scope::Plan {
            return self.follow_plan(row, place, spans);
        }
        if !self.begin_together(row, args.len()) {
            return Flow::Waits;
        }
        let number = self.transaction_number();
        let split = Box::new(Split::new(row, place.owned(spans), number));
        if matches!(row.merge, Merge::InOrder) {
            self.write(false, |_, reply| reply.array(key_count));
        }
        self.connection.progress = Some(Progress::Split(split));
        Flow::Begun
    }

    /// Holds the shards of a command's keys; those of an EXEC are held already.
    fn hold_for(&mut self, row: &Row, args: Args<'_>) -> bool {
        self.connection.exec.is_some() || self.hold(self.owners_of(row, args))
    }

    fn follow_plan(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        if !self.barrier() || !self.begin_together(row, spans.len()) {
            return Flow::Waits;
        }
        let fanout = Fanout::follow(row, place.owned(spans));
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }

    fn fan_out(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        let is_ready = if row.flags.contains(Flags::SEVERAL) && self.connection.exec.is_none() {
            self.hold((0..self.parts.placement.shard_count).collect())
        } else {
            !self.must_leave()
        };
        if !is_ready || !self.barrier() || !self.begin_together(row, spans.len()) {
            return Flow::Waits;
        }
        self.note_command(row);
        let count = self.parts.placement.shard_count;
        let fanout = Fanout::to_all(row, place.owned(spans), count);
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }

    /// Runs a command on this core's shard.
    fn run_here(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span], probe: Probe) {
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
        self.commands_left = self.commands_left.saturating_sub(1);
    }
}
