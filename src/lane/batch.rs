//! The commands of one turn for one other core, and the replies it fills in.
//!
//! The core that makes a batch allocates it, frees it and owns the buffer its arguments were
//! received in; the core that serves it reads the arguments where they are and writes replies into
//! vectors that keep their capacity from use to use. Between the push of the request and the pop of
//! the completion the serving core alone touches the batch.
//!
//! A batch comes back when all its commands ran, or earlier, when its replies have grown past its
//! bound: then `ran` is less than the number of commands, and the serving core keeps later batches
//! of the same connection waiting until this one is posted again (`is_resumed`) or given up
//! (`is_abandoned`).
#![expect(
    unsafe_code,
    reason = "arguments are read in the buffer of another core"
)]

use std::ptr::NonNull;

use super::buffer::Buffer;
use super::forward::Place;
use super::fragment::Fragment;
use crate::command::{Resume, Row};
use crate::hash::KeyHash;
use crate::limits::POOLED_SPAN_COUNT_MAX;
use crate::resp::{Args, Protocol, Span};

/// Names a connection of one lane: a place, and which of its successive tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// The connection's place among those of its lane, from zero; used again when it has gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Who waits for a batch: which replies of which connection it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) connection: ConnectionId,
    /// The gather's number within the connection; none for a part of a fan-out.
    pub(super) gather: Option<u32>,
    /// The batch's place in its gather or fan-out.
    pub(super) place: u32,
}

/// What one core tells another without waiting for an answer.
#[derive(Default)]
pub(super) struct Notice {
    /// Runs of large values that are no longer sent from.
    pub(super) released_runs: Vec<u32>,
    /// Watches that are over.
    pub(super) unwatched: Vec<u64>,
}

impl Notice {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.released_runs.is_empty() && self.unwatched.is_empty()
    }
}

/// One command of a batch.
#[derive(Clone, Copy)]
pub(super) struct Command {
    pub(super) row: &'static Row,
    pub(super) hash: KeyHash,
    pub(super) span_start: u32,
    pub(super) span_count: u32,
}

/// Commands for one other core, with their replies once they ran.
pub(crate) struct Batch {
    pub(super) ticket: Ticket,
    pub(super) protocol: Protocol,
    /// Reply bytes after which the batch is sent back unfinished.
    pub(super) reply_len_bytes_max: usize,
    pub(super) commands: Vec<Command>,
    spans: Vec<Span>,
    /// Bytes of all arguments.
    pub(super) arguments_len_bytes: usize,
    arguments: Option<Arguments>,
    /// What it tells instead of commands.
    pub(super) notice: Notice,
    pub(super) is_resumed: bool,
    /// The number of the transaction that all its commands are parts of.
    pub(super) transaction: Option<u64>,
    pub(super) is_abandoned: bool,
    /// Whether the connection is to hold the serving shard before its commands run.
    pub(super) takes_hold: bool,
    /// Whether the hold ends when they have run.
    pub(super) releases_hold: bool,
    /// Whether the origin waits for nothing of it.
    pub(super) is_unanswered: bool,
    /// Whether its lookups count as no use of the keys.
    pub(super) is_quiet: bool,

    /// Commands that ran.
    pub(super) ran: usize,
    pub(super) resume: Resume,
    pub(super) replies: Fragment,
    /// Where each reply ends in `replies`.
    pub(super) ends: Vec<usize>,
    /// Array elements a part of a fan-out wrote.
    pub(super) element_count: u64,
    /// Records that its commands wrote as members of the transaction.
    pub(super) member_count: u64,

    /// Replies that were passed on, and where the next one starts.
    pub(super) taken: usize,
    pub(super) taken_bytes: usize,
    pub(super) taken_externs: usize,
}

/// The bytes that spans point into, and the handle that keeps them in place.
struct Arguments {
    base: NonNull<u8>,
    len_bytes: usize,
    /// Touched by the origin alone.
    _pin: Buffer,
}

// SAFETY:
// 1. `arguments` is the only part that is not Send by itself. Its bytes were received before the
//    batch was posted and do not change while it is out (buffer.rs);
// 2. its handle is cloned and dropped by the origin alone: the serving core only reads through
//    `base`, and never drops a batch but sends it back.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty batch.
    pub(super) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            protocol: Protocol::Resp2,
            reply_len_bytes_max: usize::MAX,
            commands: Vec::new(),
            spans: Vec::new(),
            arguments_len_bytes: 0,
            arguments: None,
            notice: Notice::default(),
            is_resumed: false,
            transaction: None,
            is_abandoned: false,
            takes_hold: false,
            releases_hold: false,
            is_unanswered: false,
            is_quiet: false,
            ran: 0,
            resume: Resume::default(),
            replies: Fragment::default(),
            ends: Vec::new(),
            element_count: 0,
            member_count: 0,
            taken: 0,
            taken_bytes: 0,
            taken_externs: 0,
        }
    }

    /// Empties the batch for its next use and keeps its vectors.
    pub(super) fn clear(&mut self) {
        let mut empty = Self::new(self.ticket);
        std::mem::swap(&mut empty.commands, &mut self.commands);
        std::mem::swap(&mut empty.spans, &mut self.spans);
        std::mem::swap(&mut empty.replies, &mut self.replies);
        std::mem::swap(&mut empty.ends, &mut self.ends);
        empty.commands.clear();
        empty.spans.clear();
        empty.spans.shrink_to(POOLED_SPAN_COUNT_MAX);
        empty.replies.clear();
        empty.ends.clear();
        *self = empty;
    }

    /// Says which buffer the arguments are in.
    pub(super) fn pin(&mut self, buffer: &Buffer) {
        self.arguments = Some(Arguments {
            base: buffer.address(),
            len_bytes: 0,
            _pin: buffer.clone(),
        });
    }

    /// Whether the arguments of this batch lie in `buffer`.
    pub(super) fn is_pinned_to(&self, buffer: &Buffer) -> bool {
        self.arguments
            .as_ref()
            .is_none_or(|arguments| arguments.base == buffer.address())
    }

    /// Adds a command whose arguments' `spans` count from `place`'s start in the pinned buffer.
    pub(super) fn push(
        &mut self,
        row: &'static Row,
        hash: KeyHash,
        spans: &[Span],
        place: &Place<'_>,
    ) {
        let arguments = self
            .arguments
            .as_mut()
            .expect("pinned before commands are added");
        assert!(place.buffer.address() == arguments.base && place.end <= place.buffer.len_bytes());
        arguments.len_bytes = arguments.len_bytes.max(place.end);
        let span_start = self.spans.len();
        self.arguments_len_bytes += spans.iter().map(|span| span.len as usize).sum::<usize>();
        let offset = u32::try_from(place.start).expect("buffers are below 4 GiB");
        self.spans.extend(spans.iter().map(|span| Span {
            start: span.start + offset,
            len: span.len,
        }));
        let narrow = |count: usize| u32::try_from(count).expect("a batch's spans are bounded");
        self.commands.push(Command {
            row,
            hash,
            span_start: narrow(span_start),
            span_count: narrow(self.spans.len() - span_start),
        });
    }

    /// The arguments of one of its commands, in place.
    pub(super) fn args(&self, command: Command) -> Args<'_> {
        let arguments = self
            .arguments
            .as_ref()
            .expect("pinned before it was posted");
        // SAFETY:
        // 1. in bounds and initialised: `push` compared `len_bytes` with the buffer's length;
        // 2. alive and unchanged: `_pin` keeps the buffer, and what was received does not change.
        let base =
            unsafe { std::slice::from_raw_parts(arguments.base.as_ptr(), arguments.len_bytes) };
        let start = command.span_start as usize;
        Args::new(
            base,
            &self.spans[start..start + command.span_count as usize],
        )
    }

    /// Gets a batch that came back unfinished ready to be posted again.
    pub(super) fn resume_after_replies(&mut self) {
        assert!(self.taken == self.ran);
        self.replies.clear();
        self.ends.clear();
        self.commands.drain(..self.ran);
        (self.ran, self.taken) = (0, 0);
        (self.taken_bytes, self.taken_externs) = (0, 0);
        self.is_resumed = true;
    }

    /// Whether it has no commands.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether every command has run.
    pub(super) fn is_finished(&self) -> bool {
        self.ran == self.commands.len()
    }
}
