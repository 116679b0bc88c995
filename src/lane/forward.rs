//! Sending a connection's commands to other cores, and its replies on their way out.
//!
//! Commands for other cores collect in the batches of the open gather; so do, in their place, the
//! replies that this core writes meanwhile. A gather is closed, and its batches posted, when it is
//! long enough to be worth the way, when the turn ends, or when something must wait for it.

use super::batch::Ticket;
use super::buffer::Buffer;
use super::connection::OwnedArguments;
use super::fragment::Fragment;
use super::gather::{Drained, Gather};
use super::parts::Parts;
use super::turn::Worker;
use crate::command::{Row, Status};
use crate::hash::KeyHash;
use crate::limits::{BATCH_REPLY_LEN_BYTES_MAX, OUTPUT_PAUSE_LEN_BYTES, TURN_LEN_BYTES_MAX};
use crate::resp::{Args, Reply, Span};

/// A command for another core.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) row: &'static Row,
    pub(super) hash: KeyHash,
    pub(super) core: u16,
}

/// Where the arguments of a command lie: `start..end` of the input's (or a split's) buffer.
pub(super) struct Place<'a> {
    pub(super) buffer: &'a Buffer,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Worker<'_> {
    /// Adds a command to the batch for `core`.
    pub(super) fn forward(
        &mut self,
        route: Route,
        place: &Place<'_>,
        spans: &[Span],
        is_folded: bool,
    ) {
        let batch_place = self.batch_for(route.core, place);
        let gather = self
            .connection
            .gathers
            .back_mut()
            .expect("batch_for opened one");
        gather
            .batch_mut(batch_place)
            .push(route.row, route.hash, spans, place);
        gather.push_batch(batch_place, is_folded);
        gather.command_count += 1;
        self.parts.core.stats.commands_forwarded += 1;
        if gather.command_count as u64 >= self.parts.core.settings.batch_commands {
            self.close_gather();
        }
    }

    /// The place in the open gather of a batch for `core` that may borrow from `place`'s buffer.
    fn batch_for(&mut self, core: u16, place: &Place<'_>) -> u16 {
        let gather = self.open_gather();
        if let Some(batch_place) = gather.place_of(core) {
            if gather.batch_mut(batch_place).is_pinned_to(place.buffer) {
                return batch_place;
            }
            self.close_gather();
        }
        let number = {
            self.open_gather();
            self.connection.next_gather().wrapping_sub(1)
        };
        let protocol = self.protocol;
        let transaction = self.transaction;
        let batch_place = self.open_gather().next_place();
        let ticket = Ticket {
            connection: self.connection.id,
            gather: Some(number),
            place: u32::from(batch_place),
        };
        let mut batch = self.parts.take_batch(ticket);
        batch.protocol = protocol;
        batch.reply_len_bytes_max = BATCH_REPLY_LEN_BYTES_MAX;
        batch.transaction = transaction;
        batch.is_quiet = self.parts.shard.is_quiet();
        batch.pin(place.buffer);
        self.mark_batch(core, &mut batch);
        self.open_gather().add_batch(core, batch);
        batch_place
    }

    /// The gather that replies are added to, opened if there is none.
    pub(super) fn open_gather(&mut self) -> &mut Gather {
        let is_open = self
            .connection
            .gathers
            .back()
            .is_some_and(|gather| !gather.is_closed);
        if !is_open {
            let gather = self.parts.gathers.take().unwrap_or_default();
            self.connection.gathers.push_back(gather);
        }
        self.connection
            .gathers
            .back_mut()
            .expect("there is one now")
    }

    /// Posts the batches of the open gather; nothing more is added to it.
    pub(super) fn close_gather(&mut self) {
        let Some(gather) = self
            .connection
            .gathers
            .back_mut()
            .filter(|gather| !gather.is_closed)
        else {
            return;
        };
        gather.is_closed = true;
        for place in 0..gather.place_count() {
            if let Some((core, batch)) = gather.take_batch(place) {
                self.connection.unposted.push_back((core, batch));
            }
        }
        self.post_waiting();
    }

    /// Posts batches that wait for room in their ring; false if some still do.
    pub(super) fn post_waiting(&mut self) -> bool {
        while let Some((core, batch)) = self.connection.unposted.pop_front() {
            let is_answered = !batch.is_unanswered;
            if let Err(batch) = self.parts.links.post(core, batch) {
                self.connection.unposted.push_front((core, batch));
                self.parts.starved.push(self.connection.id);
                return false;
            }
            self.connection.outstanding += usize::from(is_answered);
            self.parts.core.stats.batches_sent += 1;
        }
        true
    }

    /// Whether every command before has been answered.
    pub(super) fn barrier(&mut self) -> bool {
        self.close_gather();
        self.drain_gathers();
        self.connection.is_gathered()
    }

    /// Moves replies that are there, in order, to the output.
    pub(super) fn drain_gathers(&mut self) {
        let connection = &mut *self.connection;
        while let Some(gather) = connection
            .gathers
            .front_mut()
            .filter(|gather| gather.is_closed)
        {
            connection.output.prepare(&mut self.parts.tails);
            // It was begun when nothing was owed, so it is the first with one reply for many.
            let transaction = &mut connection.transaction;
            let is_executing = connection.exec.is_some();
            let commit = || {
                let transaction = transaction.take_if(|_| !is_executing);
                transaction.map_or(Ok(()), |transaction| self.parts.commit(transaction))
            };
            match gather.drain(&mut connection.fold, &mut connection.output, commit) {
                Drained::Whole => {
                    let mut gather = connection.gathers.pop_front().expect("looked at");
                    connection.first_gather = connection.first_gather.wrapping_add(1);
                    for place in 0..gather.place_count() {
                        let batch = gather.take_batch(place);
                        self.parts
                            .put_batch(batch.expect("drained, so it is back").1);
                    }
                    gather.clear();
                    self.parts.gathers.put(gather);
                }
                Drained::Unfinished(place) => {
                    let is_full = connection.output.unsent_len_bytes() >= OUTPUT_PAUSE_LEN_BYTES;
                    if !is_full && let Some((core, mut batch)) = gather.take_batch(place) {
                        batch.resume_after_replies();
                        connection.unposted.push_back((core, batch));
                        self.post_waiting();
                    }
                    return;
                }
                Drained::Waits => return,
            }
        }
    }

    /// Writes a reply to where the next one belongs; `is_folded` makes it part of a larger one.
    pub(super) fn write(
        &mut self,
        is_folded: bool,
        write: impl FnOnce(&mut Parts, &mut Reply<'_>),
    ) {
        self.write_or_set_aside(is_folded, |parts, reply| {
            write(parts, reply);
            Status::Done
        });
    }

    /// Like [`Worker::write`]; the beginning of a reply that is not done is returned instead.
    pub(super) fn write_or_set_aside(
        &mut self,
        is_folded: bool,
        write: impl FnOnce(&mut Parts, &mut Reply<'_>) -> Status,
    ) -> Option<Fragment> {
        if self.connection.gathers.is_empty() && !is_folded {
            let output = &mut self.connection.output;
            output.prepare(&mut self.parts.tails);
            let before = output.tail_len_bytes();
            if write(self.parts, &mut output.reply(self.protocol)) == Status::Again {
                return Some(output.split_off(before));
            }
            if output.is_error_at(before) {
                self.parts
                    .core
                    .note_error(self.row, output.tail_from(before));
            }
            output.seal();
            return None;
        }
        self.open_gather();
        let gather = self.connection.gathers.back_mut().expect("just opened");
        let before = gather.local_len_bytes();
        if write(self.parts, &mut gather.local().reply(self.protocol)) == Status::Again {
            return Some(gather.local().split_off(before));
        }
        if gather.local().is_error_at(before) {
            let reply = &gather.local().bytes[before..];
            self.parts.core.note_error(self.row, reply);
        }
        gather.push_local(gather.local_len_bytes() - before, is_folded);
        gather.command_count += 1;
        let is_long = gather.local_len_bytes() >= TURN_LEN_BYTES_MAX;
        let is_full = gather.command_count as u64 >= self.parts.core.settings.batch_commands;
        if is_long || is_full {
            self.close_gather();
        }
        None
    }

    /// Appends a reply that was written elsewhere.
    pub(super) fn write_fragment(&mut self, fragment: &Fragment, is_folded: bool) {
        if self.connection.gathers.is_empty() && !is_folded {
            let output = &mut self.connection.output;
            output.prepare(&mut self.parts.tails);
            output.append(fragment, 0..fragment.bytes.len(), 0);
            return;
        }
        let gather = self.open_gather();
        gather.local().append(fragment);
        gather.push_local(fragment.bytes.len(), is_folded);
    }
}

impl Place<'_> {
    /// The arguments at `spans`, which count from the start.
    pub(super) fn args<'b>(&'b self, spans: &'b [Span]) -> Args<'b> {
        Args::new(self.buffer.received(self.start, self.end), spans)
    }

    /// The arguments for a command that outlives the turn.
    pub(super) fn owned(&self, spans: &[Span]) -> OwnedArguments {
        OwnedArguments {
            buffer: self.buffer.clone(),
            start: self.start,
            end: self.end,
            spans: spans.to_vec(),
        }
    }
}
