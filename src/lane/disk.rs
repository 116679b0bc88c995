//! Replies and commands that wait for the disk.
//!
//! ```text
//!   turn ──► output held until round N ──► round N is durable ──► free, connection ready
//!                    │ asks for it               ▲ rings the doorbell of cores that wait
//!                    └──────► syncing thread ────┘
//! ```
//!
//! Under `appendfsync always` a turn's replies are held until a round that began after the turn is
//! durable, unless everything that any shard has published is durable already. So a reply tells
//! of nothing, written or read, that a power loss could take back. Which shards a turn has looked at
//! is not noted: keys are spread over all, so under writes they are all unsynced anyway. The
//! connection goes on executing behind held replies, within the usual bound of unsent output.
//!
//! **Group commit.** A round is asked for when the core has nothing else to do and no batch out, or when
//! the first who waits has waited for [`ROUND_DELAY_US_MAX`]: so it serves what all connections have sent
//! by then, whichever core their keys are on.
//!
//! Commands that wait for a round (SAVE, WAITAOF) first wait for all before them. They are run again
//! when the round is durable or their time is over.
//!
//! A core that waits says so in a word before it sleeps and looks at the rounds once more; who
//! completes a round looks at the word afterwards. A fence stands between the two on each side.

use super::connection::{Connection, OwnedArguments, Progress};
use super::forward::Place;
use super::parts::Parts;
use super::turn::Worker;
use super::{ConnectionId, Lane, Turn};
use crate::command::{Now, Resume, Row, Run, SessionContext, UNBLOCKED, Wait};
use crate::limits::ROUND_DELAY_US_MAX;
use crate::resp::Span;

/// A command that waits for a round.
pub(super) struct Waiting {
    row: &'static Row,
    arguments: OwnedArguments,
    resume: Resume,
}

/// A connection that is to have a turn when a round is durable.
pub(super) struct Awaited {
    round: u64,
    connection: ConnectionId,
}

/// A connection that is to have a turn at a time.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    /// The connection.
    pub connection: ConnectionId,
    /// When, in milliseconds since 1970.
    pub due_ms: u64,
}

impl Lane {
    /// Holds what a turn replied until what it did and saw is on disk.
    #[inline]
    pub(super) fn hold_replies(&mut self, connection: &mut Connection, now: Now) {
        if !self.parts.region.is_durable() {
            return;
        }
        if self.parts.core.settings.syncs_always() {
            self.hold_until_synced(connection, now);
        }
        let is_overdue =
            |since: Now| now.unix_us.saturating_sub(since.unix_us) >= ROUND_DELAY_US_MAX;
        if self.parts.wish.is_some_and(is_overdue) {
            self.parts.ask_for_round();
        }
    }

    fn hold_until_synced(&mut self, connection: &mut Connection, now: Now) {
        let rounds = self.parts.region.rounds();
        if !rounds.has_changes() {
            return;
        }
        let round = rounds.needed();
        if connection.output.hold(round) {
            self.parts.await_round(round, connection.id, now);
        }
    }

    /// Frees what waited for rounds that are durable now; true if there was anything.
    pub(super) fn take_durable(&mut self) -> bool {
        let durable = match self.parts.awaited.front() {
            Some(first) if self.is_durable(first) => self.parts.region.rounds().durable(),
            _ => return false,
        };
        while let Some(first) = self.parts.awaited.front()
            && first.round <= durable
        {
            let id = first.connection;
            self.parts.awaited.pop_front();
            if let Some(connection) = self.connection(id) {
                connection.output.free_until(durable);
                self.ready.push(id);
            }
        }
        let core = &self.parts.core;
        core.shared
            .set_awaits(core.id, !self.parts.awaited.is_empty());
        true
    }

    /// Whether [`Lane::take_durable`] would find something.
    pub(super) fn has_durable(&self) -> bool {
        self.parts
            .awaited
            .front()
            .is_some_and(|first| self.is_durable(first))
    }

    /// Whether a round is waited for that nobody has asked for.
    #[must_use]
    pub fn wants_round(&self) -> bool {
        self.parts.wish.is_some()
    }

    /// Asks for the round that is waited for, whatever else is on its way.
    pub fn ask_for_round(&mut self) {
        self.parts.ask_for_round();
    }

    /// Moves the times at which connections are to have a turn to `into`.
    pub fn take_timers(&mut self, into: &mut Vec<Timer>) {
        into.append(&mut self.parts.timers);
    }

    /// Whether replies of the connection wait for the disk, and nothing can be sent meanwhile.
    #[must_use]
    pub fn is_held(&self, id: ConnectionId) -> bool {
        let place = &self.connections[id.index()];
        let connection = place.connection.as_deref();
        connection.is_some_and(|connection| connection.output.is_held())
    }

    fn is_durable(&self, awaited: &Awaited) -> bool {
        self.parts.region.rounds().is_durable(awaited.round)
    }
}

impl Parts {
    /// Gives a connection a turn when `round` is durable. Rounds that are asked for only grow.
    fn await_round(&mut self, round: u64, connection: ConnectionId, now: Now) {
        self.awaited.push_back(Awaited { round, connection });
        self.core.shared.set_awaits(self.core.id, true);
        self.core.shared.saving.note_awaited();
        self.wish.get_or_insert(now);
    }

    /// Asks for the round that is waited for.
    pub(super) fn ask_for_round(&mut self) {
        if self.wish.take().is_some()
            && let Some(last) = self.awaited.back()
        {
            self.region.rounds().request(last.round);
        }
    }
}

impl Worker<'_> {
    /// Begins a command that waits for a round; everything before it has been answered.
    pub(super) fn begin_waiting(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) {
        let waiting = Waiting {
            row,
            arguments: place.owned(spans),
            resume: Resume::default(),
        };
        self.go_on_waiting(Box::new(waiting));
        if let Some(Progress::Waiting(waiting)) = &self.connection.progress {
            let wait = Wait::of(waiting.resume);
            if let Some(round) = wait.round {
                self.parts.await_round(round, self.connection.id, self.now);
            }
            if let Some(due_ms) = wait.due_ms {
                self.parts.timers.push(Timer {
                    connection: self.connection.id,
                    due_ms,
                });
            }
        }
    }

    /// Runs a command that waits once more.
    pub(super) fn go_on_waiting(&mut self, mut waiting: Box<Waiting>) -> Option<Turn> {
        let Run::Wait(run) = waiting.row.run else {
            unreachable!("only rows that wait are begun as such")
        };
        let (client, now) = (self.connection.client, self.now);
        if let Some(is_error) = self.parts.core.clients[client].unblocked.take() {
            if is_error {
                self.parts.core.clients[client].is_blocked = false;
                self.write(false, |_, reply| reply.error(UNBLOCKED));
                return None;
            }
            Wait::give_up(&mut waiting.resume);
        }
        let (resume, args) = (&mut waiting.resume, waiting.arguments.args());
        let unfinished = self.write_or_set_aside(false, |parts, reply| {
            let mut context = SessionContext {
                core: &mut parts.core,
                client,
                shard: &mut parts.shard,
                now,
            };
            run(&mut context, args, resume, reply)
        });
        self.parts.core.clients[client].is_blocked = unfinished.is_some();
        if unfinished.is_none() {
            // Nothing is out, so this costs nothing that matters; CLIENT REPLY changes the session.
            self.refresh_session();
            return None;
        }
        if self.connection.is_end_received && !self.waits_for_disk(Wait::of(waiting.resume)) {
            // The peer has hung up, and time alone can pass for years.
            self.connection.discard_input();
            self.connection.is_closing = true;
            return Some(Turn::Finished);
        }
        self.connection.progress = Some(Progress::Waiting(waiting));
        Some(Turn::Waiting)
    }

    /// Whether a round is to come that may end a wait.
    fn waits_for_disk(&self, wait: Wait) -> bool {
        let rounds = self.parts.region.rounds();
        wait.round.is_some_and(|round| !rounds.is_durable(round))
    }
}
