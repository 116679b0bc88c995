//! Commands that wait, and replies that are not sent: CLIENT PAUSE and CLIENT REPLY.
//!
//! Both are rare, so nothing asks for them on the way of a command: a session that is paused or muted
//! is one of those for which `command::may_run_all` is false, and only then this is looked at.
//!
//! **Pause.** A command that is to wait stays where it is, parsed; its connection has a turn again when
//! the pause is over or ended.
//!
//! **Muted replies** are written as ever and dropped at the end of the turn. Before each command of a
//! muted connection all before it is waited for, so that what is dropped is what it should be.

use super::Lane;
use super::disk::Timer;
use super::turn::Worker;
use crate::command::{Muting, Row};

impl Worker<'_> {
    /// Whether a command may begin now; false: it has to wait.
    #[cold]
    pub(super) fn may_begin(&mut self, row: &'static Row) -> bool {
        let client = self.connection.client;
        let core = &mut self.parts.core;
        // Who waits for shards was let through before, and what is held meanwhile others wait for.
        let until_ms = core.paused_until_ms(row, client, self.now);
        if let Some(until_ms) = until_ms.filter(|_| self.connection.holding.is_none()) {
            let session = &mut core.clients[client];
            self.connection.is_paused = true;
            session.is_blocked = true;
            if session.paused_until_ms != until_ms {
                session.paused_until_ms = until_ms;
                self.parts.timers.push(Timer {
                    connection: self.connection.id,
                    due_ms: until_ms,
                });
            }
            return false;
        }
        if std::mem::take(&mut self.connection.is_paused) {
            let session = &mut core.clients[client];
            session.is_blocked = false;
            session.paused_until_ms = 0;
        }
        self.parts.core.clients[client].muting == Muting::Off || self.mute()
    }

    /// Drops what a muted connection was replied so far, once all of it is here.
    fn mute(&mut self) -> bool {
        if !self.barrier() {
            return false;
        }
        self.drop_muted();
        let session = &mut self.parts.core.clients[self.connection.client];
        session.muting = match session.muting {
            Muting::Next => Muting::This,
            Muting::This => Muting::Off,
            muting => muting,
        };
        self.connection
            .output
            .set_muted(session.muting != Muting::Off);
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
