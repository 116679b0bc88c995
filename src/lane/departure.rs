//! Connections that go: their socket closes while other cores still work for them.
//!
//! | what the connection has         | what happens                                               |
//! |---------------------------------|------------------------------------------------------------|
//! | nothing out                     | its place is free at once                                  |
//! | batches out                     | its place is kept until they are back                      |
//! | a batch that came back unfinished | it is posted once more, to be given up by the other core |
//! | a batch held back here for room | it is posted when there is some, to be given up as well    |
//! | a plan or an EXEC begun         | it goes on to its end, for nobody                          |
//! | shards held, or about to be     | the same; then they are released                           |
//! | a release held back for room    | it stays until that is posted: others wait for the shard   |
//!
//! Its input, its output and its name among the clients go at once, except in the last case.

use super::batch::Batch;
use super::connection::Connection;
use super::{ConnectionId, Lane, Turn};
use crate::command::Now;

impl Lane {
    /// Forgets a connection whose socket is gone; batches that are out are waited for.
    pub fn disconnect(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.take(id) else {
            return;
        };
        connection.output.discard(&mut self.parts.released);
        connection.discard_input();
        if connection.must_finish() {
            connection.is_leaving = true;
            // Killed or not: what was begun goes on.
            connection.is_closing = false;
            self.leaving.push(id);
            self.connections[id.index as usize].connection = Some(connection);
            return;
        }
        connection.input.release(&mut self.parts.buffers);
        self.note_buffers(&mut connection);
        let session = self.parts.core.clients.remove(connection.client);
        let watching = session.and_then(|session| session.watching);
        self.parts.core.unwatched.extend(watching);
        if let Some(progress) = connection.progress.take() {
            progress.discard(&mut self.parts);
        }
        connection.is_disconnected = true;
        for (core, batch) in std::mem::take(&mut connection.unposted) {
            if batch.is_resumed {
                self.bury(&mut connection, core, batch);
            } else {
                self.parts.put_batch(batch);
            }
        }
        while let Some(mut gather) = connection.gathers.pop_front() {
            gather.give_up_externs(&mut self.parts.released);
            for place in 0..gather.place_count() {
                if let Some((core, batch)) = gather.take_batch(place) {
                    self.bury(&mut connection, core, batch);
                }
            }
        }
        self.put_or_free(connection);
    }

    /// Puts a disconnected connection back, or frees its place when nothing of it is out.
    pub(super) fn put_or_free(&mut self, connection: Box<Connection>) {
        let index = connection.id.index;
        let place = &mut self.connections[index as usize];
        if connection.outstanding > 0 || !connection.unposted.is_empty() {
            if !connection.unposted.is_empty() {
                self.gone.push(connection.id);
            }
            place.connection = Some(connection);
            return;
        }
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// Disposes of a batch whose connection is gone. One that came back unfinished is posted once
    /// more, for the other core to give up what it holds back for it.
    pub(super) fn bury(&mut self, connection: &mut Connection, core: u16, mut batch: Box<Batch>) {
        // Those that were passed on are the output's to release.
        let taken = std::mem::take(&mut batch.taken_externs);
        self.parts
            .released
            .extend(batch.replies.externs.drain(taken..));
        batch.replies.externs.clear();
        if batch.is_finished() || batch.is_abandoned {
            self.parts.put_batch(batch);
            return;
        }
        batch.is_abandoned = true;
        match self.parts.links.post(core, batch) {
            Ok(()) => connection.outstanding += 1,
            Err(batch) => connection.unposted.push_back((core, batch)),
        }
    }

    /// Lets plans go on whose client is gone, and forgets the connection when they are done.
    /// True if there was any: what they release is for another exchange to give.
    pub(super) fn see_off(&mut self, now: Now) -> bool {
        let is_busy = !self.leaving.is_empty();
        for id in std::mem::take(&mut self.leaving) {
            let turn = self.turn(id, now);
            let Some(connection) = self.connection(id) else {
                continue;
            };
            if turn == Turn::More || !connection.unposted.is_empty() {
                self.leaving.push(id);
            } else if !connection.must_finish() {
                self.disconnect(id);
            }
        }
        is_busy
    }

    /// Posts what disconnected connections could not post for want of room.
    pub(super) fn post_for_the_gone(&mut self) {
        for id in std::mem::take(&mut self.gone) {
            let place = &mut self.connections[id.index as usize];
            let is_it = place.generation == id.generation;
            let Some(mut connection) = place.connection.take_if(|_| is_it) else {
                continue;
            };
            for (core, mut batch) in std::mem::take(&mut connection.unposted) {
                batch.is_abandoned = false;
                self.bury(&mut connection, core, batch);
            }
            self.put_or_free(connection);
        }
    }
}
