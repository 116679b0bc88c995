//! Answering a command from another core's table instead of sending it there.
//!
//! The route of a command is chosen before its first load: it is read directly only if its
//! connection waits for nothing from that core. What follows an unfinished command goes with it, so
//! commands on one key keep the order in which one connection sent them; what is read directly has
//! run before anything later is sent.
//!
//! A reader pins the core; [`Lane::turn`](super::Lane::turn) ends that, so a core that sleeps pins
//! nothing and holds no other's memory back.

use super::connection::Connection;
use super::forward::{Place, Route};
use super::parts::Parts;
use super::turn::Worker;
use super::window::{Parsed, Window};
use crate::command::{Direct, Flags, Now, Row, Status};
use crate::hash::KeyHash;
use crate::resp::{Args, Reply};
use crate::running;
use crate::shard::{Probe, Shard};

/// Begins to fetch where the slot of a key of `owner` is, for a command that can be answered from any
/// core's table (`reads_any`) or runs on its owner's alone.
///
/// Where the core reads other shards it looks at its own in the same way: whose a key is nobody can
/// predict, so a branch on it would cost more than it saves.
#[inline(always)]
pub(super) fn prefetch_bucket(owner: u16, hash: KeyHash, shard: &Shard, reads_any: bool) {
    if reads_any {
        shard.reader(owner).prefetch_bucket(hash);
    } else if owner == shard.id() {
        shard.prefetch_bucket(hash);
    }
}

/// What a command will do with the record of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Read it where it is, whichever core's it is.
    ReadAnywhere,
    /// Read it on the core it belongs to.
    Read,
    /// Replace or remove it, there too.
    Write,
}

impl Aim {
    /// Of a command that may read another core's table or not.
    #[inline(always)]
    pub(super) fn of(row: &Row, reads_any: bool) -> Self {
        if reads_any {
            Self::ReadAnywhere
        } else if row.flags.contains(Flags::WRITE) {
            Self::Write
        } else {
            Self::Read
        }
    }
}

/// Looks for a key whose bucket has arrived, and begins to fetch what its command will touch next.
#[inline(always)]
pub(super) fn probe(owner: u16, hash: KeyHash, shard: &Shard, aim: Aim) -> Probe {
    if aim == Aim::ReadAnywhere {
        shard.reader(owner).probe(hash)
    } else if owner == shard.id() {
        match aim {
            Aim::Write => shard.probe_to_write(hash),
            _ => shard.probe(hash),
        }
    } else {
        Probe::of(hash)
    }
}

impl Worker<'_> {
    /// Answers a command from the table of the core it would go to; false: it has to go there.
    pub(super) fn read_directly(
        &mut self,
        route: Route,
        probe: Probe,
        args: Args<'_>,
        is_folded: bool,
    ) -> bool {
        let may_read = route.row.direct.is_some()
            && self.parts.core.settings.direct_reads
            && !self.parts.shard.is_quiet();
        // Who holds shards asks their owners, who answer when the hold is given.
        let is_holding = self.connection.holding.is_some();
        if !may_read || is_holding || self.connection.is_owed_by(route.core) {
            return false;
        }
        let now = self.now;
        let unanswered = self.write_or_set_aside(is_folded, |parts, reply| {
            let is_answered = answer(parts, route, now, probe, args, reply);
            running::set_command("");
            if is_answered {
                Status::Done
            } else {
                Status::Again
            }
        });
        unanswered.is_none()
    }

    /// The same for a command of a connection that waits for nothing: without the detours of
    /// replies that may have to wait.
    #[inline]
    pub(super) fn read_plain(&mut self, window: &Window, parsed: &Parsed) -> bool {
        let Some(row) = parsed.row else {
            return false;
        };
        let is_elsewhere = parsed.is_read() && parsed.owner != self.parts.core.id;
        if !is_elsewhere || !self.parts.core.settings.direct_reads {
            return false;
        }
        let Connection { input, output, .. } = &mut *self.connection;
        let place = Place {
            buffer: input.buffer(),
            start: input.start(),
            end: input.start() + parsed.len_bytes,
        };
        output.prepare(&mut self.parts.tails);
        let before = output.tail_len_bytes();
        let route = Route {
            row,
            hash: parsed.probe.hash,
            core: parsed.owner,
        };
        let args = place.args(window.spans(parsed));
        let mut reply = output.reply(self.protocol);
        if !answer(self.parts, route, self.now, parsed.probe, args, &mut reply) {
            output.split_off(before);
            return false;
        }
        if output.is_error_at(before) {
            self.parts
                .core
                .note_error(Some(row), output.tail_from(before));
        }
        true
    }
}

/// Runs a command on the table of the core it would go to, and counts it. False: it has to go there,
/// and what was replied is void.
#[inline]
pub(super) fn answer(
    parts: &mut Parts,
    route: Route,
    now: Now,
    probe: Probe,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> bool {
    let Some(run) = route.row.direct else {
        return false;
    };
    let mut direct = Direct::new(parts.shard.reader(route.core), now, probe);
    running::set_command(route.row.name);
    run(&mut direct, args, reply);
    if !direct.is_sure() {
        return false;
    }
    let (hit_count, miss_count) = direct.counts();
    let stats = &mut parts.core.stats;
    stats.keyspace_hits += hit_count;
    stats.keyspace_misses += miss_count;
    stats.commands_read_directly += 1;
    true
}
