//! Commands that wait, and replies that are not sent: CLIENT PAUSE and CLIENT REPLY.
//!
//! Both are rare, so nothing asks for them on the way of a command: a session that is paused or muted
//! is one of those for which `command::may_run_all` is false, and only then this is looked at.
//!
//! **Pause.** A command that is to wait stays where it is, parsed; its connection has a turn again when
//! the pause is over or ended. What is refused whatever happens does not wait.
//!
//! **Muted replies** are written as ever and dropped at the end of the turn. Before each command of a
//! muted connection all before it is waited for, so that what is dropped is what it should be. A
//! command that has to wait for something else is the same command when it is tried again: CLIENT REPLY
//! SKIP counts it once.

use super::Lane;
use super::disk::Timer;
use super::turn::Worker;
use crate::command::{Muting, Row};

impl Worker<'_> {
    /// Whether a command may begin now; false: it has to wait for the end of a pause.
    pub(super) fn is_past_pause(&mut self, row: &'static Row) -> bool {
        let client = self.connection.client;
        let core = &mut self.parts.core;
        // Who waits for shards was let through before, and what is held meanwhile others wait for.
        let until_ms = core.paused_until_ms(row, client, self.now);
        if let Some(until_ms) = until_ms.filter(|_| self.connection.holding.is_none()) {
            let session = &mut core.clients[client];
            self.connection.is_paused = true;
            if session.paused_until_ms != until_ms {
                session.paused_until_ms = until_ms;
                self.parts.timers.push(Timer {
                    connection: self.connection.id,
                    due_ms: until_ms,
                });
            }
            return false;
        }
        self.end_pause();
        true
    }

    /// The command at hand waits for the end of a pause no more: it begins, or is refused.
    pub(super) fn end_pause(&mut self) {
        if std::mem::take(&mut self.connection.is_paused) {
            self.parts.core.clients[self.connection.client].paused_until_ms = 0;
        }
    }

    /// Settles whether the reply to the command at hand is dropped, once however often it is tried: before,
    /// all that came before it has to be here and, as far as it is muted, dropped. False: call again.
    #[cold]
    pub(super) fn settle_muting(&mut self) -> bool {
        let client = self.connection.client;
        let is_muted = self.parts.core.clients[client].muting != Muting::Off;
        if !is_muted || self.connection.is_muting_settled {
            return true;
        }
        if !self.barrier() {
            return false;
        }
        self.drop_muted();
        let session = &mut self.parts.core.clients[client];
        session.muting = match session.muting {
            Muting::Next => Muting::This,
            Muting::This => Muting::Off,
            muting => muting,
        };
        let connection = &mut *self.connection;
        connection.output.set_muted(session.muting != Muting::Off);
        connection.is_muting_settled = true;
        true
    }

    /// Drops the replies of a muted connection.
    pub(super) fn drop_muted(&mut self) {
        self.connection.output.drop_muted(&mut self.parts.released);
    }
}

impl Lane {
    /// Gives connections a turn that a command of another one woke.
    pub(super) fn take_woken(&mut self) {
        for client in self.parts.core.clients.take_woken() {
            self.ready.push(self.by_client[client]);
        }
    }
}
