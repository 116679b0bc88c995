//! How a connection holds the shards of a command while it runs.
//!
//! ```text
//!   owed nothing ──► hold the first shard ──► the next .. ──► run ──► release all
//!                    └── in ascending order, one after the other ──┘
//! ```
//!
//! **Order.** Shards are held in ascending order, and a connection that holds any waits for nothing
//! else: so no two wait for each other. It begins when it is owed nothing, its replies are not held
//! back however long they are, and it goes on when its client is gone.
//!
//! **One way less.** A hold on another core is a batch that comes back when it is given. That of the
//! last shard travels with the first batch of work for it, and a batch that ends the work on its core
//! takes the release along, if all holds are given by then: from then on nothing is asked for any
//! more, so each shard may go on for itself (two-phase locking). A release alone has no answer.
//!
//! **Sharing.** Commands over several shards that follow each other in one turn share their holds,
//! up to a number of commands.
//!
//! Not here: who is given a hold when (`gate`).

use super::batch::{Batch, Ticket};
use super::gate::Holder;
use super::turn::Worker;
use crate::limits::HOLD_COMMAND_COUNT_MAX;

/// What a connection holds, or is about to.
pub(super) struct Holding {
    /// The shards, ascending.
    shards: Vec<u16>,
    /// How many of them were asked for.
    asked_count: usize,
    /// Whether a batch is out that brings nothing but a hold.
    is_asking: bool,
    /// The last shard, if it is another core's.
    last: Last,
    /// Whether no further command shares it.
    is_ending: bool,
    command_count: usize,
}

/// How far the hold of the last shard is, if it travels with work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Given, or not asked for in this way.
    Settled,
    /// To be asked for with the next batch to this core.
    Wanted(u16),
    /// On its way.
    Out(u16),
}

impl Holding {
    fn new(shards: Vec<u16>) -> Self {
        Self {
            shards,
            asked_count: 0,
            is_asking: false,
            last: Last::Settled,
            is_ending: false,
            command_count: 0,
        }
    }

    fn covers(&self, shards: &[u16]) -> bool {
        shards.iter().all(|shard| self.shards.contains(shard))
    }

    /// Whether work may begin.
    fn is_begun(&self) -> bool {
        self.asked_count == self.shards.len() && !self.is_asking
    }

    /// Takes note that a batch of the connection is back which asked for a hold.
    pub(super) fn note_given(&mut self) {
        self.is_asking = false;
        self.last = Last::Settled;
    }
}

impl Worker<'_> {
    pub(super) fn holder(&self) -> Holder {
        Holder {
            core: self.parts.core.id,
            connection: self.connection.id,
        }
    }

    /// Whether the connection has to wait because another holds this core's shard; it will be woken.
    pub(super) fn is_kept_out(&mut self) -> bool {
        let is_kept_out = self.parts.gate.is_closed_to(self.holder());
        if is_kept_out {
            self.wait_at_gate();
            let connection = &mut *self.connection;
            self.parts
                .gate
                .keep_out(connection.id, &mut connection.kept_out_since);
        }
        is_kept_out
    }

    fn wait_at_gate(&mut self) {
        self.connection.is_at_gate = true;
    }

    /// Holds `shards`, which are sorted, for the command at hand. False: call again when the
    /// connection is ready.
    pub(super) fn hold(&mut self, shards: Vec<u16>) -> bool {
        if let Some(holding) = &mut self.connection.holding {
            let is_shared = holding.is_begun() && !holding.is_ending;
            if is_shared {
                holding.command_count += 1;
            }
            let has_had_enough = holding.command_count > HOLD_COMMAND_COUNT_MAX;
            if is_shared && (has_had_enough || !holding.covers(&shards)) {
                self.end_hold();
            }
        }
        if self
            .connection
            .holding
            .as_ref()
            .is_some_and(|it| it.is_ending)
        {
            // It is released when what is out for it is back.
            self.barrier();
            self.settle_hold();
        }
        if self.connection.holding.is_none() {
            if !self.barrier() {
                return false;
            }
            self.connection.holding = Some(Holding::new(shards));
            self.may_run_all = false;
        }
        self.take_next()
    }

    /// Takes the holds that can be taken at once; true when work may begin.
    fn take_next(&mut self) -> bool {
        let (here, who) = (self.parts.core.id, self.holder());
        loop {
            let Some(holding) = &mut self.connection.holding else {
                return false;
            };
            if holding.is_ending || holding.is_asking {
                return false;
            }
            let Some(&core) = holding.shards.get(holding.asked_count) else {
                return true;
            };
            if core == here {
                if !self.parts.claim(who) {
                    self.wait_at_gate();
                    return false;
                }
            } else if holding.asked_count + 1 == holding.shards.len() {
                holding.last = Last::Wanted(core);
            } else {
                holding.is_asking = true;
                self.post_alone(core, |batch| batch.takes_hold = true);
            }
            if let Some(holding) = &mut self.connection.holding {
                holding.asked_count += 1;
            }
        }
    }

    /// Sends a batch without commands.
    fn post_alone(&mut self, core: u16, mark: impl FnOnce(&mut Batch)) {
        let ticket = Ticket {
            connection: self.connection.id,
            gather: None,
            place: 0,
        };
        let mut batch = self.parts.take_batch(ticket);
        mark(&mut batch);
        self.connection.unposted.push_back((core, batch));
        self.post_waiting();
    }

    /// Makes a new batch for `core` ask for the hold that travels with work, if it is that core's,
    /// and lets it come back whole.
    pub(super) fn mark_batch(&mut self, core: u16, batch: &mut Batch) {
        let Some(holding) = &mut self.connection.holding else {
            return;
        };
        batch.reply_len_bytes_max = usize::MAX;
        if holding.last == Last::Wanted(core) {
            holding.last = Last::Out(core);
            batch.takes_hold = true;
        }
    }

    /// Ends sharing before a command that needs no hold. True if the connection has to wait, because
    /// another holds this core's shard by now.
    pub(super) fn must_leave(&mut self) -> bool {
        if self.connection.exec.is_some() {
            return false;
        }
        if self.connection.holding.is_some() {
            self.end_hold();
        }
        self.is_kept_out()
    }

    /// The same before a command that needs `shard` alone, unless that is held.
    pub(super) fn must_leave_for(&mut self, shard: u16) -> bool {
        let holding = self.connection.holding.as_ref();
        let is_held = holding.is_some_and(|it| !it.is_ending && it.covers(&[shard]));
        !is_held && self.must_leave()
    }

    /// No further command shares the holds: sends the releases along with what is to be sent. Those
    /// that the command waits for are given up: it will not run.
    pub(super) fn end_hold(&mut self) {
        let (here, who) = (self.parts.core.id, self.holder());
        let Some(holding) = &mut self.connection.holding else {
            return;
        };
        if holding.is_ending {
            return self.settle_hold();
        }
        holding.is_ending = true;
        if !holding.is_begun() {
            let is_asking_here = holding.shards.get(holding.asked_count) == Some(&here);
            holding.shards.truncate(holding.asked_count);
            if is_asking_here {
                self.parts.withdraw(who);
            }
        }
        if let Last::Wanted(core) = holding.last {
            // There was no work for it.
            holding.shards.retain(|shard| *shard != core);
            holding.last = Last::Settled;
        }
        // Members of a transaction are to be seen when it is committed.
        let gather = self.connection.gathers.back_mut();
        if self.connection.transaction.is_none()
            && let Some(gather) = gather.filter(|gather| !gather.is_closed)
        {
            let last = holding.last;
            holding.shards.retain(|core| {
                let goes_along = last == Last::Settled || last == Last::Out(*core);
                let place = gather.place_of(*core).filter(|_| goes_along);
                if let Some(place) = place {
                    gather.batch_mut(place).releases_hold = true;
                }
                place.is_none()
            });
        }
        self.close_gather();
        self.settle_hold();
    }

    /// Releases what is held, unless something is out that asks for a hold.
    pub(super) fn settle_hold(&mut self) {
        let is_ending = |holding: &Holding| {
            holding.is_ending && !holding.is_asking && !matches!(holding.last, Last::Out(_))
        };
        let is_free = self.connection.transaction.is_none();
        let holding = self
            .connection
            .holding
            .take_if(|it| is_free && is_ending(it));
        let Some(holding) = holding else {
            return;
        };
        for core in holding.shards {
            if core == self.parts.core.id {
                self.parts.release(self.holder());
            } else {
                self.post_alone(core, |batch| {
                    batch.releases_hold = true;
                    batch.is_unanswered = true;
                });
            }
        }
        self.refresh_path();
    }

    /// At the end of a turn: what no command under way needs any more is released.
    pub(super) fn leave_holds(&mut self) {
        let connection = &*self.connection;
        let Some(holding) = &connection.holding else {
            return;
        };
        let is_running = connection.progress.is_some() || connection.exec.is_some();
        let is_going = connection.is_leaving || connection.is_closing;
        let is_wanted = !holding.is_begun() && !holding.is_ending && !is_going;
        if !is_running && !is_wanted {
            self.end_hold();
        }
    }
}
