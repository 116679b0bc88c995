//! One connection's turn: parse what arrived, run or forward it, collect what came back.
//!
//! ```text
//!   what waits ──► in progress? ──► wave of 32 ──► each: here | one other core | several | all
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
use super::wave::{Parsed, Wave};
use crate::command::{
    Flags, Merge, NOAUTH, Now, Resume, Row, Run, Scope, SessionContext, Status, lookup,
    owes_password, request_limits,
};
use crate::hash::KeyHash;
use crate::limits::{
    GATHER_COUNT_MAX, OUTPUT_PAUSE_LEN_BYTES, TURN_COMMAND_COUNT_MAX, TURN_LEN_BYTES_MAX,
    WHOLE_KEY_COUNT_MAX,
};
use crate::resp::{Args, Protocol, Span};

/// Runs one connection's turn.
pub(super) struct Worker<'a> {
    pub(super) parts: &'a mut Parts,
    pub(super) connection: &'a mut Connection,
    pub(super) now: Now,
    pub(super) protocol: Protocol,
    is_authenticated: bool,
    commands_left: usize,
    bytes_left: usize,
}

/// Whether a command was begun.
#[derive(PartialEq, Eq)]
enum Flow {
    Begun,
    Waits,
}

impl<'a> Worker<'a> {
    /// A worker with a full budget.
    pub(super) fn new(parts: &'a mut Parts, connection: &'a mut Connection, now: Now) -> Self {
        let session = &parts.core.clients[connection.client];
        Self {
            now,
            protocol: session.protocol,
            is_authenticated: !owes_password(&parts.core, session),
            commands_left: TURN_COMMAND_COUNT_MAX,
            bytes_left: TURN_LEN_BYTES_MAX,
            parts,
            connection,
        }
    }

    /// Runs the turn.
    pub(super) fn run(mut self) -> Turn {
        self.drain_gathers();
        let turn = self.work();
        self.close_gather();
        self.drain_gathers();
        self.connection.input.release(&mut self.parts.buffers);
        let is_full = self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES;
        if is_full && !self.connection.is_gathered() {
            // What other cores still owe may be held back until there is room for it.
            return Turn::OutputFull;
        }
        if turn == Turn::Waiting && self.connection.is_gathered() {
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
                None => self.next_wave(),
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
        if self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES {
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
        }
    }

    /// Executes the wave that waits, or else the next one.
    fn next_wave(&mut self) -> Option<Turn> {
        let mut wave = match self.connection.wave.take() {
            Some(wave) => wave,
            None => {
                let mut wave = self.parts.waves.pop().unwrap_or_default();
                let core = &self.parts.core;
                let limits = request_limits(core, &core.clients[self.connection.client]);
                let here = (self.parts.core.id, &self.parts.shard);
                let input = &mut self.connection.input;
                if !wave.fill(input, limits, &self.parts.placement, here) {
                    self.parts.waves.push(wave);
                    return Some(self.out_of_input());
                }
                wave
            }
        };
        let turn = self.run_wave(&mut wave);
        if wave.is_empty() || self.connection.is_closing {
            self.parts.waves.push(wave);
        } else {
            self.connection.wave = Some(wave);
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

    fn run_wave(&mut self, wave: &mut Wave) -> Option<Turn> {
        let mut last = None;
        while let Some(parsed) = wave.peek() {
            if self.execute(wave, parsed) == Flow::Waits {
                return Some(Turn::Waiting);
            }
            wave.pass();
            self.parts.core.stats.commands_processed += u64::from(!parsed.is_nothing());
            last = parsed.row.or(last);
            if self.connection.is_closing {
                self.connection.discard_input();
                return None;
            }
            self.connection.input.consume(parsed.len_bytes);
            self.commands_left = self.commands_left.saturating_sub(1);
            self.bytes_left = self.bytes_left.saturating_sub(parsed.len_bytes);
            if self.connection.progress.is_some() || self.must_pause() {
                break;
            }
        }
        if let Some(row) = last {
            self.note_command(row);
        }
        if self.connection.progress.is_none()
            && wave.peek().is_none()
            && let Some(error) = wave.error.take()
        {
            self.parts.core.stats.protocol_errors += 1;
            self.write(false, |_, reply| reply.protocol_error(error));
            self.connection.discard_input();
            self.connection.is_closing = true;
        }
        None
    }

    /// Whether enough was done for now; cheap, asked after every command.
    #[inline]
    fn must_pause(&self) -> bool {
        self.bytes_left == 0
            || self.connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES
            || self.connection.gathers.len() >= GATHER_COUNT_MAX
    }

    fn execute(&mut self, wave: &Wave, parsed: Parsed) -> Flow {
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
        let spans = wave.spans(parsed);
        let args = place.args(spans);
        let Some(row) = parsed.row else {
            let error = lookup(args).expect_err("looked up without success before");
            self.write(false, |_, reply| reply.error_bytes(error.as_ref()));
            return Flow::Begun;
        };
        if !self.is_authenticated && !row.flags.contains(Flags::NO_AUTH) {
            self.write(false, |_, reply| reply.error(NOAUTH));
            return Flow::Begun;
        }
        match row.scope {
            Scope::Owner if parsed.owner == self.parts.core.id => {
                self.run_here(row, &place, spans, parsed.hash);
            }
            Scope::Owner => {
                let route = Route {
                    row,
                    hash: parsed.hash,
                    core: parsed.owner,
                };
                self.forward(route, &place, spans, false);
            }
            Scope::Session => self.run_session(row, args),
            Scope::Cursor => self.run_cursor(row, &place, spans),
            Scope::PerKey | Scope::Plan => return self.run_keys(row, &place, spans),
            Scope::AllShards => return self.fan_out(row, &place, spans),
        }
        Flow::Begun
    }

    /// Notes what the connection asked last, for CLIENT LIST; commands that may show it note it
    /// before they run, others once a wave.
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
        self.is_authenticated = !owes_password(core, session);
        if session.protocol != self.protocol {
            self.protocol = session.protocol;
            self.close_gather();
        }
    }

    /// Runs a command whose cursor names the shard.
    fn run_cursor(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) {
        let cursor = place.args(spans).get(1);
        let core = crate::command::shard_of_cursor(cursor, self.parts.placement.shard_count);
        let hash = KeyHash::from_bits(0);
        if core == self.parts.core.id {
            self.run_here(row, place, spans, hash);
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
            let hash = placement.hasher.hash(args.get(usize::from(row.keys.first)));
            if first == self.parts.core.id {
                self.run_here(row, place, spans, hash);
            } else {
                self.forward(
                    Route {
                        row,
                        hash,
                        core: first,
                    },
                    place,
                    spans,
                    false,
                );
            }
            return Flow::Begun;
        }
        if row.scope == Scope::Plan {
            return self.follow_plan(row, place, spans);
        }
        let split = Box::new(Split::new(row, place.owned(spans)));
        if matches!(row.merge, Merge::InOrder) {
            self.write(false, |_, reply| reply.array(key_count));
        }
        self.connection.progress = Some(Progress::Split(split));
        Flow::Begun
    }

    fn follow_plan(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        if !self.barrier() {
            return Flow::Waits;
        }
        let fanout = Fanout::follow(row, place.owned(spans));
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }

    fn fan_out(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        if !self.barrier() {
            return Flow::Waits;
        }
        self.note_command(row);
        let count = self.parts.placement.shard_count;
        let fanout = Fanout::to_all(row, place.owned(spans), count);
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }

    /// Runs a command on this core's shard.
    fn run_here(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span], hash: KeyHash) {
        let args = place.args(spans);
        let mut resume = Resume::default();
        let (now, client) = (self.now, self.connection.client);
        let unfinished = self.write_or_set_aside(false, |parts, reply| {
            parts.run(
                Call {
                    row,
                    args,
                    hash,
                    caller: Some(client),
                },
                now,
                &mut resume,
                reply,
            )
        });
        if let Some(reply) = unfinished {
            let arguments = place.owned(spans);
            let long = Long {
                row,
                arguments,
                hash,
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
            hash: long.hash,
            caller: client,
        };
        let mut reply = long.reply.reply(self.protocol);
        let status = self.parts.run(call, now, &mut long.resume, &mut reply);
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
