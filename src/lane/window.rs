//! Commands parsed ahead of the one that runs, so that the memory they need is on its way.
//!
//! ```text
//!   executed │ probed: record on its way │ parsed: bucket on its way │ not parsed
//!            └──► next to run            └──► next to probe          └──► next to parse
//! ```
//!
//! A lookup waits for two cache lines that are rarely in any cache: the bucket, then the record. A
//! core keeps ten and more such misses in flight. So commands are parsed a window ahead, which asks
//! for their buckets; half a window ahead the bucket is looked at, which asks for the record. The
//! window slides on before it is used up, so that the misses in flight never drain, and by some
//! commands at a time: each stage is then a tight loop of its own (measured: a quarter less per GET
//! than by one command at a time).

use super::direct::{self, Aim};
use super::input::Input;
use crate::command::{Row, Scope, lookup};
use crate::hash::{Hasher, KeyHash, cluster_slot, shard_of_slot};
use crate::limits::{
    LARGE_VALUE_LEN_BYTES_MIN, POOLED_SPAN_COUNT_MAX, PROBE_COMMAND_COUNT, TURN_LEN_BYTES_MAX,
    WINDOW_COMMAND_COUNT,
};
use crate::resp::{Args, Head, Limits, ProtocolError, Span, Step};
use crate::shard::{Probe, Shard};

/// Commands that were parsed and not executed yet.
pub(super) struct Window {
    /// Command number n is at `n % WINDOW_COMMAND_COUNT`.
    ring: [Parsed; WINDOW_COMMAND_COUNT],
    /// How many commands have come so far: `executed <= probed <= parsed`.
    executed: usize,
    probed: usize,
    parsed: usize,
    /// The command before which the window is filled again.
    refill_at: usize,
    /// Of commands not executed, and of some that were.
    spans: Vec<Span>,
    /// Spans that came before the first of `spans`.
    spans_dropped: usize,
    heads: Heads,
    /// Whether nothing more can be parsed: no whole command is there, or an error.
    is_starved: bool,
    /// What stands behind the last command instead of another one.
    pub(super) error: Option<ProtocolError>,
}

/// One parsed command.
#[derive(Clone, Copy)]
pub(super) struct Parsed {
    /// None: no such command, or arguments it does not take; looked up again for the error.
    pub(super) row: Option<&'static Row>,
    /// Of the key that decides the owner.
    pub(super) probe: Probe,
    pub(super) len_bytes: usize,
    span_start: usize,
    span_count: u32,
    /// The core whose shard has that key.
    pub(super) owner: u16,
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

/// Rows by how their commands began, of those that came last: a pipeline repeats itself.
#[derive(Default)]
struct Heads([Option<(Head, &'static Row)>; HEAD_COUNT]);

/// Kinds of commands that one pipeline mixes, with room to spare.
const HEAD_COUNT: usize = 16;

impl Heads {
    /// The row of the command that `input` begins with, if one like it was seen lately.
    #[inline]
    fn find(&self, input: &[u8]) -> Option<&(Head, &'static Row)> {
        let input = input.first_chunk()?;
        let known = self.0[Self::place(input)].as_ref()?;
        known.0.begins(input).then_some(known)
    }

    fn remember(&mut self, input: &[u8; Head::LEN_BYTES_MAX], spans: &[Span], row: &'static Row) {
        // What a subcommand's row is depends on bytes behind the head.
        let is_told_by_head = row.subcommands.is_empty() && !row.is_subcommand();
        if is_told_by_head && let Some(head) = Head::of(input, spans) {
            self.0[Self::place(input)] = Some((head, row));
        }
    }

    /// By the number of arguments and the first letter of the name.
    #[inline]
    fn place(input: &[u8; Head::LEN_BYTES_MAX]) -> usize {
        usize::from(input[1] ^ input[8]) % HEAD_COUNT
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            ring: [Parsed::default(); WINDOW_COMMAND_COUNT],
            executed: 0,
            probed: 0,
            parsed: 0,
            refill_at: 0,
            spans: Vec::new(),
            spans_dropped: 0,
            heads: Heads::default(),
            is_starved: false,
            error: None,
        }
    }
}

impl Window {
    /// More input may have come. Behind an error nothing of it is looked at.
    pub(super) fn begin(&mut self) {
        self.is_starved = self.error.is_some();
        self.refill_at = self.executed;
    }

    /// Parses and probes as far ahead as the window reaches, a few commands at a time. The shard is
    /// an argument of its own all the way down: only so does the compiler know that filling the
    /// ring changes nothing of it (measured: 5 ns a command).
    #[inline]
    pub(super) fn slide(
        &mut self,
        input: &mut Input,
        limits: Limits,
        placement: &Placement,
        shard: &Shard,
        reads_others: bool,
    ) {
        if self.executed >= self.refill_at {
            self.parse_ahead(input, limits, placement, shard, reads_others);
            self.probe_ahead(shard, reads_others);
            self.refill_at = self.parsed.min(self.executed + REFILL_COMMAND_COUNT);
        }
    }

    #[inline(never)]
    fn parse_ahead(
        &mut self,
        input: &mut Input,
        limits: Limits,
        placement: &Placement,
        shard: &Shard,
        reads_others: bool,
    ) {
        // Who has yet to authenticate may be allowed more after the next command.
        let width = if limits.is_authenticated {
            WINDOW_COMMAND_COUNT
        } else {
            1
        };
        // What a turn may handle bounds what is parsed for it, however long its commands are.
        let is_far = |input: &Input| input.parsed() - input.start() >= TURN_LEN_BYTES_MAX;
        while self.parsed - self.executed < width && !self.is_starved && !is_far(input) {
            self.parse(input, limits, placement, shard, reads_others);
        }
    }

    #[inline(never)]
    fn probe_ahead(&mut self, shard: &Shard, reads_others: bool) {
        let end = self.parsed.min(self.executed + PROBE_COMMAND_COUNT);
        while self.probed < end {
            let parsed = &mut self.ring[self.probed % WINDOW_COMMAND_COUNT];
            let (owner, hash) = (parsed.owner, parsed.probe.hash);
            let aim = parsed.aim(reads_others);
            parsed.probe = direct::probe(owner, hash, shard, aim);
            self.probed += 1;
        }
    }

    #[inline]
    fn parse(
        &mut self,
        input: &mut Input,
        limits: Limits,
        placement: &Placement,
        shard: &Shard,
        reads_others: bool,
    ) {
        let span_start = self.spans.len();
        let unparsed = input.unparsed();
        // Before authentication fewer arguments are allowed than a head may stand for.
        let may_be_known = limits.is_authenticated && input.is_at_start();
        if may_be_known
            && let Some(&(head, row)) = self.heads.find(unparsed)
            && let Some(len_bytes) = head.parse(unparsed, &mut self.spans)
        {
            let args = Args::new(&unparsed[..len_bytes], &self.spans[span_start..]);
            let parsed = Parsed::new(Some(row), args, len_bytes, placement);
            self.push(parsed, span_start, shard, reads_others);
            input.pass(len_bytes);
        } else {
            self.parse_anew(input, limits, placement, shard, reads_others);
        }
    }

    /// Parses a command of a kind that was not seen lately.
    #[cold]
    fn parse_anew(
        &mut self,
        input: &mut Input,
        limits: Limits,
        placement: &Placement,
        shard: &Shard,
        reads_others: bool,
    ) {
        let span_start = self.spans.len();
        let start = input.parsed();
        let first = input.unparsed().first_chunk().copied();
        match input.parse(limits, &mut self.spans) {
            Ok(Step::Command { len_bytes }) => {
                let spans = &self.spans[span_start..];
                let args = Args::new(input.buffer().received(start, start + len_bytes), spans);
                let row = lookup(args).ok();
                if let (Some(first), Some(row)) = (first, row) {
                    self.heads.remember(&first, spans, row);
                }
                let parsed = Parsed::new(row, args, len_bytes, placement);
                self.push(parsed, span_start, shard, reads_others);
            }
            Ok(Step::Empty { len_bytes }) => {
                let nothing = Parsed {
                    len_bytes,
                    ..Parsed::default()
                };
                self.push(nothing, span_start, shard, reads_others);
            }
            Ok(Step::Incomplete { .. }) => self.is_starved = true,
            Err(error) => {
                self.is_starved = true;
                self.error = Some(error);
            }
        }
    }

    // Always inlined: a `Parsed` handed over in memory is loaded before its stores are through.
    #[inline(always)]
    fn push(&mut self, parsed: Parsed, span_start: usize, shard: &Shard, reads_others: bool) {
        let (owner, hash) = (parsed.owner, parsed.probe.hash);
        direct::prefetch_bucket(owner, hash, shard, reads_others && parsed.is_read());
        self.ring[self.parsed % WINDOW_COMMAND_COUNT] = Parsed {
            span_start: self.spans_dropped + span_start,
            ..parsed
        };
        self.parsed += 1;
        if self.spans.len() >= SPANS_KEPT_COUNT_MAX {
            self.drop_spans();
        }
    }

    /// Forgets the spans of executed commands.
    #[cold]
    fn drop_spans(&mut self) {
        let first = self
            .front()
            .map_or(self.spans_dropped, |parsed| parsed.span_start);
        let count = first - self.spans_dropped;
        // Those of a command of very many arguments do not move for the few before them.
        if count < self.spans.len() / 2 {
            return;
        }
        self.spans.drain(..count);
        self.spans.shrink_to(POOLED_SPAN_COUNT_MAX);
        self.spans_dropped = first;
    }

    /// The next command to execute.
    #[inline]
    pub(super) fn front(&self) -> Option<&Parsed> {
        (self.executed < self.parsed).then(|| &self.ring[self.executed % WINDOW_COMMAND_COUNT])
    }

    /// Passes over the command that [`Window::front`] showed.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.executed += 1;
        // A command that ran before its turn to be probed is not probed any more.
        self.probed = self.probed.max(self.executed);
    }

    /// Whether every command was passed.
    pub(super) fn is_empty(&self) -> bool {
        self.executed == self.parsed && self.error.is_none()
    }

    /// Where the arguments of `parsed` lie, from its first byte on.
    #[inline]
    pub(super) fn spans(&self, parsed: &Parsed) -> &[Span] {
        let start = parsed.span_start - self.spans_dropped;
        &self.spans[start..start + parsed.span_count as usize]
    }

    /// Forgets what was not executed.
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(POOLED_SPAN_COUNT_MAX);
        (self.executed, self.probed, self.parsed) = (0, 0, 0);
        self.refill_at = 0;
        self.spans_dropped = 0;
        self.error = None;
    }
}

/// Commands executed between two fillings of the window: what each stage does in one loop of its own.
const REFILL_COMMAND_COUNT: usize = PROBE_COMMAND_COUNT / 2;
/// Spans after which those of executed commands are forgotten: a few cache lines.
const SPANS_KEPT_COUNT_MAX: usize = 8 * WINDOW_COMMAND_COUNT;

impl Default for Parsed {
    /// A blank line or an empty array: nothing to execute.
    fn default() -> Self {
        Self {
            row: None,
            probe: Probe::NONE,
            len_bytes: 0,
            span_start: 0,
            span_count: 0,
            owner: Self::NOWHERE,
        }
    }
}

impl Parsed {
    /// The owner of a command that no single key sends anywhere.
    const NOWHERE: u16 = u16::MAX;

    #[inline]
    fn new(
        row: Option<&'static Row>,
        args: Args<'_>,
        len_bytes: usize,
        placement: &Placement,
    ) -> Self {
        let (hash, owner) = match row {
            Some(row) if row.scope == Scope::Owner => {
                placement.of(args.get(usize::from(row.keys.first)))
            }
            _ => (KeyHash::from_bits(0), Self::NOWHERE),
        };
        Self {
            row,
            probe: Probe::of(hash),
            len_bytes,
            span_start: 0,
            span_count: u32::try_from(args.len()).expect("arguments are bounded"),
            owner,
        }
    }

    /// Whether it can be answered from any core's table, by its key alone.
    #[inline]
    pub(super) fn is_read(&self) -> bool {
        self.is_routed() && self.row.is_some_and(|row| row.direct.is_some())
    }

    /// What it will do with the record of its key.
    #[inline]
    fn aim(&self, reads_others: bool) -> Aim {
        self.row.map_or(Aim::Read, |row| {
            Aim::of(row, reads_others && self.is_read())
        })
    }

    /// Whether one key decides where it runs.
    #[inline]
    pub(super) fn is_routed(&self) -> bool {
        self.owner != Self::NOWHERE
    }

    /// Whether it is a blank line or an empty array: nothing to execute.
    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        self.span_count == 0
    }

    /// Whether it runs on the shard of `core`, and its arguments are nothing out of the ordinary.
    #[inline]
    pub(super) fn is_plain(&self, core: u16) -> bool {
        self.owner == core && self.len_bytes < LARGE_VALUE_LEN_BYTES_MIN
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::lane::buffer::BufferPool;
    use crate::shard::Options;

    #[test]
    fn no_more_is_parsed_ahead_than_a_turn_may_handle() {
        let options = Options {
            maxmemory_bytes: 64 << 20,
            seeds: [1, 2, 3, 4],
        };
        let shard = Shard::embedded(options).expect("a small region");
        let placement = Placement {
            hasher: shard.hasher().clone(),
            shard_count: 1,
        };
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        let value = "v".repeat(TURN_LEN_BYTES_MAX / 2);
        let command = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n",
            value.len()
        );
        let mut window = Window::default();
        let mut unsent = command.repeat(5).into_bytes();
        while !unsent.is_empty() {
            let room = input.receive_buffer(&mut pool);
            let len_bytes = room.len().min(unsent.len());
            room[..len_bytes].copy_from_slice(&unsent[..len_bytes]);
            input.received(len_bytes);
            unsent.drain(..len_bytes);
        }
        let mut parsed_counts = Vec::new();
        while let Some(front) = {
            window.slide(&mut input, Limits::AUTHENTICATED, &placement, &shard, false);
            window.front()
        } {
            let len_bytes = front.len_bytes;
            parsed_counts.push(window.parsed - window.executed);
            input.consume(len_bytes);
            window.pass();
        }
        assert_eq!(parsed_counts, [2, 1, 2, 1, 1]);
    }
}
