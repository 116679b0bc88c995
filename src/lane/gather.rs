//! Replies of commands that ran on several cores, put back into request order.
//!
//! While a batch is out, later replies of the connection cannot be sent. They collect in a gather:
//! a list of runs, each "so many bytes of what this core wrote" or "so many replies of that batch".
//! When the batches are back the runs are copied out one after the other.
//!
//! ```text
//!   requests   a1 a2 B1 a3 B2 B3 C1 a4             a: here   B, C: batches for two other cores
//!   runs       here:2  B:1  here:1  B:2  C:1  here:1
//! ```
//!
//! A command whose keys lie on several cores has one reply made of many. Its parts are folded:
//! summed up, or the first error among them kept, until an `Emit` run writes the one reply.

use super::batch::Batch;
use super::fragment::Fragment;
use super::output::Output;
use crate::resp::{Extern, Protocol};

/// The replies of one stretch of a connection's commands.
#[derive(Default)]
pub(super) struct Gather {
    runs: Vec<Run>,
    /// What this core wrote.
    local: Fragment,
    local_taken_bytes: usize,
    local_taken_externs: usize,
    /// Batches by place: being filled, or back. Empty while out.
    batches: Vec<Option<Box<Batch>>>,
    /// The cores that the batches are for.
    cores: Vec<u16>,
    /// Runs passed on.
    taken_runs: usize,
    /// Commands and parts in it.
    pub(super) command_count: usize,
    /// Whether its batches were posted and nothing more is added.
    pub(super) is_closed: bool,
}

/// A stretch of replies from one source.
#[derive(Clone, Copy, Debug)]
enum Run {
    Local {
        len_bytes: usize,
        is_folded: bool,
    },
    Batch {
        place: u16,
        count: usize,
        is_folded: bool,
    },
    Emit {
        emit: Emit,
        protocol: Protocol,
    },
}

/// How folded parts become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emit {
    /// Their sum.
    Sum,
    /// `+OK`.
    Ok,
}

/// What was folded so far.
#[derive(Default)]
pub(super) struct Fold {
    sum: i64,
    error: Option<Vec<u8>>,
}

/// How far a gather could be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// To its end.
    Whole,
    /// To a batch that is out.
    Waits,
    /// To the end of a batch that came back unfinished, by place.
    Unfinished(u16),
}

impl Gather {
    /// Empties it for its next use; its batches must have been taken.
    pub(super) fn clear(&mut self) {
        assert!(self.batches.iter().all(Option::is_none));
        let mut empty = Self::default();
        std::mem::swap(&mut empty.runs, &mut self.runs);
        std::mem::swap(&mut empty.local, &mut self.local);
        std::mem::swap(&mut empty.batches, &mut self.batches);
        std::mem::swap(&mut empty.cores, &mut self.cores);
        empty.runs.clear();
        empty.local.clear();
        empty.batches.clear();
        empty.cores.clear();
        *self = empty;
    }

    /// What this core writes into.
    pub(super) fn local(&mut self) -> &mut Fragment {
        &mut self.local
    }

    /// Takes note of bytes written to [`Gather::local`].
    pub(super) fn push_local(&mut self, added_bytes: usize, folded: bool) {
        if added_bytes == 0 {
            return;
        }
        if let Some(Run::Local {
            len_bytes,
            is_folded,
        }) = self.runs.last_mut()
            && *is_folded == folded
        {
            *len_bytes += added_bytes;
            return;
        }
        self.runs.push(Run::Local {
            len_bytes: added_bytes,
            is_folded: folded,
        });
    }

    /// Takes note of one command pushed to the batch at `place`.
    pub(super) fn push_batch(&mut self, batch_place: u16, folded: bool) {
        if let Some(Run::Batch {
            place,
            count,
            is_folded,
        }) = self.runs.last_mut()
            && *place == batch_place
            && *is_folded == folded
        {
            *count += 1;
            return;
        }
        self.runs.push(Run::Batch {
            place: batch_place,
            count: 1,
            is_folded: folded,
        });
    }

    /// Ends a command whose parts were folded.
    pub(super) fn push_emit(&mut self, emit: Emit, protocol: Protocol) {
        self.runs.push(Run::Emit { emit, protocol });
    }

    /// The place of the batch for `core`, if there is one.
    pub(super) fn place_of(&self, core: u16) -> Option<u16> {
        let place = self.cores.iter().position(|other| *other == core)?;
        Some(u16::try_from(place).expect("no more places than cores"))
    }

    /// Whether `core` has yet to run one of its commands.
    pub(super) fn is_owed_by(&self, core: u16) -> bool {
        self.place_of(core).is_some_and(|place| {
            let batch = &self.batches[usize::from(place)];
            !batch.as_ref().is_some_and(|batch| batch.is_finished())
        })
    }

    /// The place that the next batch will have.
    pub(super) fn next_place(&self) -> u16 {
        u16::try_from(self.batches.len()).expect("no more places than cores")
    }

    /// Adds a batch to fill for `core`.
    pub(super) fn add_batch(&mut self, core: u16, batch: Box<Batch>) {
        self.batches.push(Some(batch));
        self.cores.push(core);
    }

    /// The batch at `place`, which is not out.
    pub(super) fn batch_mut(&mut self, place: u16) -> &mut Batch {
        self.batches[usize::from(place)]
            .as_mut()
            .expect("the batch is not out")
    }

    /// Takes the batch at `place` out, with the core it is for.
    pub(super) fn take_batch(&mut self, place: u16) -> Option<(u16, Box<Batch>)> {
        let batch = self.batches[usize::from(place)].take()?;
        Some((self.cores[usize::from(place)], batch))
    }

    /// Places in use.
    pub(super) fn place_count(&self) -> u16 {
        self.next_place()
    }

    /// Puts a batch that came back into its place.
    pub(super) fn put_batch(&mut self, batch: Box<Batch>) {
        let place = batch.ticket.place as usize;
        assert!(self.batches[place].is_none());
        self.batches[place] = Some(batch);
    }

    /// Moves the large values that were not passed on to `released`.
    pub(super) fn give_up_externs(&mut self, released: &mut Vec<Extern>) {
        released.extend(self.local.externs.drain(self.local_taken_externs..));
    }

    /// Reply bytes this core wrote into it.
    pub(super) fn local_len_bytes(&self) -> usize {
        self.local.bytes.len()
    }

    /// Passes on as many replies as are there, in order. Before the one reply of parts is written,
    /// `complete` may make it an error.
    pub(super) fn drain(
        &mut self,
        fold: &mut Fold,
        output: &mut Output,
        mut complete: impl FnMut() -> Result<(), &'static str>,
    ) -> Drained {
        while self.taken_runs < self.runs.len() {
            match self.runs[self.taken_runs] {
                Run::Emit { emit, protocol } => {
                    if let Err(error) = complete() {
                        fold.error = Some(format!("-{error}\r\n").into_bytes());
                    }
                    fold.emit(emit, output, protocol);
                }
                Run::Local {
                    len_bytes,
                    is_folded,
                } => self.drain_local(len_bytes, is_folded, fold, output),
                Run::Batch {
                    place,
                    count,
                    is_folded,
                } => {
                    let Some(batch) = &mut self.batches[usize::from(place)] else {
                        return Drained::Waits;
                    };
                    let taken = batch.drain(count, is_folded, fold, output);
                    if taken < count {
                        self.runs[self.taken_runs] = Run::Batch {
                            place,
                            count: count - taken,
                            is_folded,
                        };
                        return Drained::Unfinished(place);
                    }
                }
            }
            self.taken_runs += 1;
        }
        Drained::Whole
    }

    fn drain_local(
        &mut self,
        len_bytes: usize,
        folded: bool,
        fold: &mut Fold,
        output: &mut Output,
    ) {
        let range = self.local_taken_bytes..self.local_taken_bytes + len_bytes;
        self.local_taken_bytes = range.end;
        if folded {
            fold.add_replies(&self.local.bytes[range]);
        } else {
            self.local_taken_externs += output.append(&self.local, range, self.local_taken_externs);
        }
    }
}

impl Batch {
    /// Passes on up to `count` replies; returns how many there were.
    fn drain(&mut self, count: usize, folded: bool, fold: &mut Fold, output: &mut Output) -> usize {
        let taken = count.min(self.ran - self.taken);
        if taken == 0 {
            return 0;
        }
        let range = self.taken_bytes..self.ends[self.taken + taken - 1];
        self.taken += taken;
        self.taken_bytes = range.end;
        if folded {
            fold.add_replies(&self.replies.bytes[range]);
        } else {
            self.taken_externs += output.append(&self.replies, range, self.taken_externs);
        }
        taken
    }
}

impl Fold {
    /// Adds part replies: integers are summed, the first error is kept, `+OK` counts nothing.
    fn add_replies(&mut self, replies: &[u8]) {
        for line in replies.split_inclusive(|byte| *byte == b'\n') {
            match line.split_first() {
                Some((b':', digits)) => self.sum += parse_integer(digits),
                Some((b'-', _)) if self.error.is_none() => self.error = Some(line.to_vec()),
                _ => {}
            }
        }
    }

    /// Writes the one reply and starts afresh.
    fn emit(&mut self, emit: Emit, output: &mut Output, protocol: Protocol) {
        let folded = std::mem::take(self);
        let mut reply = output.reply(protocol);
        match (folded.error, emit) {
            (Some(error), _) => reply.raw(&error),
            (None, Emit::Sum) => reply.integer(folded.sum),
            (None, Emit::Ok) => reply.ok(),
        }
    }
}

/// The value of `digits`, which one of our own cores wrote.
pub(super) fn parse_integer(digits: &[u8]) -> i64 {
    let text = std::str::from_utf8(digits).ok().map(str::trim_ascii_end);
    text.and_then(|text| text.parse().ok())
        .expect("a part replies with an integer")
}
