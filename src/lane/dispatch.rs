//! The way of a command: to this core's shard, to another's, to several, or to none.
//!
//! ```text
//!   queued by MULTI ◄── may it run? ──► one key ──► here │ read from here │ there
//!                                       several ──► whole, where all live │ at one moment │ held
//!                                       all     ──► a part for each shard
//! ```
//!
//! Not here: turns and the shortest paths (`turn`), holds (`holding`), what MULTI queued (`exec`).

use super::connection::{OwnedArguments, Progress};
use super::fanout::Fanout;
use super::forward::{Place, Route};
use super::split::Split;
use super::turn::{Flow, Worker};
use crate::command::room::row_for;
use crate::command::transaction::{Queued, queue, refuse};
use crate::command::{Flags, Keys, Merge, Row, Scope, TOO_MANY_VALUES, check, no_room};
use crate::hash::KeyHash;
use crate::limits::{GATHERED_KEY_COUNT_MAX, WHOLE_KEY_COUNT_MAX};
use crate::resp::{Args, Span};
use crate::running;
use crate::shard::Probe;

impl Worker<'_> {
    /// What keeps a command from running now, if anything but held shards does.
    #[cold]
    pub(super) fn admit(&mut self, row: &'static Row, args: Args<'_>) -> Option<Flow> {
        let client = self.connection.client;
        let session = &self.parts.core.clients[client];
        let checked =
            check(row, &self.parts.core, session).and_then(|()| self.check_memory(row, args));
        if let Err(error) = checked {
            self.parts.core.tally.count_rejected(row);
            self.refuse(args, error.as_bytes());
            return Some(Flow::Begun);
        }
        if !self.is_past_pause(row) {
            return Some(Flow::Waits);
        }
        let core = &mut self.parts.core;
        match queue(&mut core.clients[client], row, args) {
            Queued::Not => {}
            Queued::Yes => {
                self.write(false, |_, reply| reply.simple("QUEUED"));
                return Some(Flow::Begun);
            }
            Queued::TooLong => {
                core.clients.kill(client);
                core.stats.query_buffer_disconnections += 1;
                self.connection.is_closing = true;
                return Some(Flow::Begun);
            }
        }
        None
    }

    /// Whether there is memory for a command that is to be queued, or for what EXEC is to run. As in Redis
    /// none is queued without, and a transaction that would store nothing new runs all the same. The shard
    /// that is asked is this core's: that of the keys has its own say when the command runs.
    fn check_memory(&mut self, row: &Row, args: Args<'_>) -> Result<(), &'static str> {
        let parts = &mut *self.parts;
        let Some(queue) = &parts.core.clients[self.connection.client].queue else {
            return Ok(());
        };
        let is_in_need = if row.scope == Scope::Exec {
            queue.is_storing() && !queue.is_refused()
        } else {
            !row.flags.contains(Flags::IMMEDIATE)
        };
        let len_bytes = args.iter().map(<[u8]>::len).sum::<usize>();
        let is_short = is_in_need && parts.region.is_short_of(len_bytes as u64);
        // What is kept while the shard is held is for who holds it.
        if !is_short || parts.gate.is_held() {
            return Ok(());
        }
        parts.shard.find_room(len_bytes).map_err(no_room)
    }

    /// Answers a command that cannot run.
    pub(super) fn refuse(&mut self, args: Args<'_>, error: &[u8]) {
        // Should it have waited for holds or for the end of a pause, it does not now.
        self.end_hold();
        self.end_pause();
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
        self.row = Some(row);
        let is_alone = matches!(row.scope, Scope::Session | Scope::Owner | Scope::Cursor);
        if is_alone && !self.may_run_all && self.must_leave() {
            return Flow::Waits;
        }
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
        if row.gathering.is_some() && key_count > GATHERED_KEY_COUNT_MAX {
            self.write(false, |_, reply| reply.error(TOO_MANY_VALUES));
            return Flow::Begun;
        }
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
            if self.must_leave() || !self.barrier() {
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
        let must_make_room = self.must_make_room(row, args);
        // What was begun before may need the room that is there now.
        if must_make_room && !self.barrier() || !self.begin_together(row, args.len()) {
            return Flow::Waits;
        }
        let arguments = place.owned(spans);
        if must_make_room {
            let parts: Vec<_> = self
                .owners_of(row, args)
                .into_iter()
                .map(|shard| (shard, self.arguments_of(row, &arguments, shard)))
                .collect();
            let fanout = Fanout::make_room(row, arguments, row_for(row), parts);
            self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        } else {
            self.begin_split(row, arguments);
        }
        Flow::Begun
    }

    /// Runs a command on keys of several shards one part at a time.
    pub(super) fn begin_split(&mut self, row: &'static Row, arguments: OwnedArguments) {
        if matches!(row.merge, Merge::InOrder) {
            let key_count = row.keys.positions(arguments.spans.len()).len();
            self.write(false, |_, reply| reply.array(key_count));
        }
        let split = Split::new(row, arguments, self.transaction_number());
        self.connection.progress = Some(Progress::Split(Box::new(split)));
    }

    /// Whether the parts of a command may find no room, and must all be asked first.
    fn must_make_room(&self, row: &Row, args: Args<'_>) -> bool {
        let region = &self.parts.region;
        let is_writing = row.flags.contains(Flags::SEVERAL);
        if !is_writing || region.is_durable() {
            return is_writing;
        }
        let len_bytes: usize = args.iter().map(<[u8]>::len).sum();
        row.flags.contains(Flags::DENYOOM) && region.is_short_of(len_bytes as u64)
    }

    /// Those of a command's arguments that belong to keys of one shard, behind its name.
    fn arguments_of(&self, row: &Row, whole: &OwnedArguments, shard: u16) -> OwnedArguments {
        let args = whole.args();
        let step = usize::from(row.keys.step);
        let mut spans = vec![whole.spans[0]];
        for position in row.keys.positions(args.len()) {
            if self.parts.placement.owner(args.get(position)) == shard {
                spans.extend_from_slice(&whole.spans[position..position + step]);
            }
        }
        OwnedArguments {
            spans,
            buffer: whole.buffer.clone(),
            ..*whole
        }
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
        let shards = if row.keys == Keys::NONE {
            (0..self.parts.placement.shard_count).collect()
        } else {
            self.owners_of(row, place.args(spans))
        };
        let fanout = Fanout::to_each(row, place.owned(spans), shards);
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }
}
