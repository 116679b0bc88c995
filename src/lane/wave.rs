//! Commands parsed together, so that the memory they need is on its way before the first one runs.
//!
//! ```text
//!   parse ×32 ── hash, owner, bucket prefetch ──► record prefetch ×32 ──► run ×32
//! ```
//!
//! A lookup waits for two cache lines that are rarely in any cache: the bucket, then the record. A
//! core keeps about ten such misses in flight, so asking for a wave's worth of lines before using
//! the first hides most of the waiting.

use super::input::Input;
use crate::command::{Row, Scope, lookup};
use crate::hash::{Hasher, KeyHash, cluster_slot, shard_of_slot};
use crate::limits::{POOLED_SPAN_COUNT_MAX, TURN_LEN_BYTES_MAX, WAVE_COMMAND_COUNT};
use crate::resp::{Args, Limits, ProtocolError, Span, Step};
use crate::shard::Shard;

/// Commands that were parsed and not executed yet.
#[derive(Default)]
pub(super) struct Wave {
    commands: Vec<Parsed>,
    spans: Vec<Span>,
    /// The next command to execute.
    next: usize,
    /// What stands behind the last command instead of another one.
    pub(super) error: Option<ProtocolError>,
}

/// One parsed command.
#[derive(Clone, Copy)]
pub(super) struct Parsed {
    /// None: no such command, or arguments it does not take; looked up again for the error.
    pub(super) row: Option<&'static Row>,
    /// Of the key that decides the owner.
    pub(super) hash: KeyHash,
    /// The core whose shard has that key.
    pub(super) owner: u16,
    pub(super) len_bytes: usize,
    span_start: u32,
    span_count: u32,
}

/// How keys find their core.
pub(super) struct Placement {
    pub(super) hasher: Hasher,
    pub(super) shard_count: u16,
}

impl Placement {
    /// The hash and the owner of `key`.
    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> (KeyHash, u16) {
        (self.hasher.hash(key), self.owner(key))
    }

    /// The core whose shard has `key`.
    #[inline]
    pub(super) fn owner(&self, key: &[u8]) -> u16 {
        if self.shard_count == 1 {
            0
        } else {
            shard_of_slot(cluster_slot(key), self.shard_count)
        }
    }
}

impl Wave {
    /// Parses the next commands and asks for the memory of those that `here` owns.
    ///
    /// Returns whether there is anything to execute.
    pub(super) fn fill(
        &mut self,
        input: &mut Input,
        limits: Limits,
        placement: &Placement,
        here: (u16, &Shard),
    ) -> bool {
        self.clear();
        // Who has yet to authenticate may be allowed more after the next command.
        let count_max = if limits.is_authenticated {
            WAVE_COMMAND_COUNT
        } else {
            1
        };
        while self.commands.len() < count_max && input.parsed() - input.start() < TURN_LEN_BYTES_MAX
        {
            let span_start = self.spans.len();
            let start = input.parsed();
            match input.parse(limits, &mut self.spans) {
                Ok(Step::Command { len_bytes }) => {
                    let spans = &self.spans[span_start..];
                    let args = Args::new(input.buffer().received(start, start + len_bytes), spans);
                    let parsed = Parsed::new(args, len_bytes, span_start, placement);
                    if parsed.owner == here.0 {
                        here.1.prefetch_bucket(parsed.hash);
                    }
                    self.commands.push(parsed);
                }
                Ok(Step::Empty { len_bytes }) => self.commands.push(Parsed::nothing(len_bytes)),
                Ok(Step::Incomplete { .. }) => break,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        for parsed in &self.commands {
            if parsed.owner == here.0 && parsed.row.is_some() {
                here.1.prefetch_record(parsed.hash);
            }
        }
        !self.commands.is_empty() || self.error.is_some()
    }

    /// The next command to execute.
    #[inline]
    pub(super) fn peek(&self) -> Option<Parsed> {
        self.commands.get(self.next).copied()
    }

    /// Passes over the command that [`Wave::peek`] showed.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.next += 1;
    }

    /// Whether every command was passed.
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.commands.len() && self.error.is_none()
    }

    /// Where the arguments of `parsed` lie, from its first byte on.
    #[inline]
    pub(super) fn spans(&self, parsed: Parsed) -> &[Span] {
        let start = parsed.span_start as usize;
        &self.spans[start..start + parsed.span_count as usize]
    }

    /// Forgets what was not executed.
    pub(super) fn clear(&mut self) {
        self.commands.clear();
        self.spans.clear();
        self.spans.shrink_to(POOLED_SPAN_COUNT_MAX);
        self.next = 0;
        self.error = None;
    }
}

impl Parsed {
    #[inline]
    fn new(args: Args<'_>, len_bytes: usize, span_start: usize, placement: &Placement) -> Self {
        let narrow = |count: usize| u32::try_from(count).expect("spans of a wave are bounded");
        let row = lookup(args).ok();
        let (hash, owner) = match row {
            Some(row) if row.scope == Scope::Owner => {
                placement.of(args.get(usize::from(row.keys.first)))
            }
            _ => (KeyHash::from_bits(0), u16::MAX),
        };
        Self {
            row,
            hash,
            owner,
            len_bytes,
            span_start: narrow(span_start),
            span_count: narrow(args.len()),
        }
    }

    fn nothing(len_bytes: usize) -> Self {
        let hash = KeyHash::from_bits(0);
        Self {
            row: None,
            hash,
            owner: u16::MAX,
            len_bytes,
            span_start: 0,
            span_count: 0,
        }
    }

    /// Whether it is a blank line or an empty array: nothing to execute.
    #[inline]
    pub(super) fn is_nothing(self) -> bool {
        self.span_count == 0
    }
}
