//! Who may use this core's shard: everybody in turn, or for a while one connection that holds it.
//!
//! ```text
//!   free ──► held by one connection, of this core or another ──► free, for all who waited ──► ..
//!                     │ others: turns of this core and batches of others wait
//!                     └ asking for a hold: in order, one after the other
//! ```
//!
//! A command over several shards holds all of them while it runs (`holding`): so others see all of it
//! or nothing. While a shard is held its sequence word is odd, so that readers on other cores are
//! unsure and come here, where they wait.
//!
//! Nobody starves: holds are given in the order in which they were asked for, and between two of
//! them everyone else who waited is let in. Nobody waits for ever: who holds a shard waits for
//! nothing but holds of shards with higher numbers (and for room in a ring, which there always is
//! soon), so of all who wait, those who wait for the highest shard go on.
//!
//! Not here: batches that wait (`serve`), and how a connection comes by its holds (`holding`).

use std::collections::VecDeque;

use super::batch::ConnectionId;
use super::parts::Parts;

/// A connection of any core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) core: u16,
    pub(super) connection: ConnectionId,
}

/// The way to one core's shard.
#[derive(Default)]
pub(super) struct Gate {
    holder: Option<Holder>,
    /// Who asked for a hold, in this order.
    queue: VecDeque<Holder>,
    /// Own connections whose turn waits.
    kept_out: Vec<ConnectionId>,
    /// Own connections that can go on.
    woken: Vec<ConnectionId>,
    /// Whether batches of other cores wait that ask for no hold.
    has_batches: bool,
    /// Passes until the next hold is given: others come first.
    rest_count: usize,
    /// Holds that have ended.
    release_count: u64,
}

impl Gate {
    /// Whether another than `who` holds the shard.
    #[inline]
    pub(super) fn is_closed_to(&self, who: Holder) -> bool {
        self.holder.is_some_and(|holder| holder != who)
    }

    /// Whether anybody holds the shard.
    pub(super) const fn is_held(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether `who` holds the shard.
    pub(super) fn is_held_by(&self, who: Holder) -> bool {
        self.holder == Some(who)
    }

    /// Puts `who` in line for a hold.
    pub(super) fn ask(&mut self, who: Holder) {
        if !self.queue.contains(&who) {
            self.queue.push_back(who);
        }
    }

    /// Lets a connection of this core wait until the shard is free. `since` is its note of the hold for
    /// which it waits already, however often it asks.
    pub(super) fn keep_out(&mut self, connection: ConnectionId, since: &mut Option<u64>) {
        if since.replace(self.release_count) != Some(self.release_count) {
            self.kept_out.push(connection);
        }
    }

    /// Takes note that a batch of another core waits until the shard is free.
    pub(super) fn keep_batch_out(&mut self) {
        self.has_batches = true;
    }

    /// Whether it was told so since the shard was free.
    pub(super) const fn knows_of_batches(&self) -> bool {
        self.has_batches
    }

    /// Whether a pass has to give a hold, or to count down to one.
    pub(super) fn has_next(&self) -> bool {
        self.holder.is_none() && (self.rest_count > 0 || !self.queue.is_empty())
    }

    /// Moves the names of own connections that can go on to `into`.
    pub(super) fn take_woken(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.woken);
    }
}

impl Parts {
    /// Gives `who` the hold if nobody is before it; else puts it in line. True when it has it.
    pub(super) fn claim(&mut self, who: Holder) -> bool {
        let gate = &mut self.gate;
        if gate.is_held_by(who) {
            return true;
        }
        if gate.holder.is_some() || gate.rest_count > 0 || !gate.queue.is_empty() {
            gate.ask(who);
            return false;
        }
        self.give(who);
        true
    }

    /// Gives the hold to the next in line, when those who waited were let in. Called once a pass.
    pub(super) fn give_next(&mut self) {
        let gate = &mut self.gate;
        if gate.holder.is_some() {
            return;
        }
        if gate.rest_count > 0 {
            gate.rest_count -= 1;
            return;
        }
        let Some(next) = gate.queue.pop_front() else {
            return;
        };
        self.give(next);
        if next.core == self.core.id {
            self.gate.woken.push(next.connection);
        }
    }

    /// Takes `who` out of the line, or ends the hold that it was given since it asked.
    pub(super) fn withdraw(&mut self, who: Holder) {
        self.gate.queue.retain(|other| *other != who);
        if self.gate.is_held_by(who) {
            self.release(who);
        }
    }

    fn give(&mut self, who: Holder) {
        self.gate.holder = Some(who);
        self.shard.begin_publish();
        self.core.stats.holds += 1;
    }

    /// Ends a hold: all who waited meanwhile are let in.
    pub(super) fn release(&mut self, who: Holder) {
        assert!(self.gate.is_held_by(who), "who releases a shard holds it");
        self.shard.end_publish();
        self.shard.end_room();
        let gate = &mut self.gate;
        gate.holder = None;
        gate.release_count += 1;
        // A pass lets in what waits there, for as long as a pass may take, and each connection has its turn
        // before another pass.
        gate.rest_count = gate.kept_out.len() + usize::from(std::mem::take(&mut gate.has_batches));
        gate.woken.append(&mut gate.kept_out);
    }
}
