//! Whose time a turn was: what each command cost, and which were slow.
//!
//! The time comes from outside, at the end of a turn; it is shared out by `command::tally`. Only
//! when it passed a threshold is anything else looked at. Arguments are then read where they still
//! lie: those of the last command of a turn just before the first byte that was not executed, those
//! of a command that takes several turns where it holds them.

use super::Lane;
use super::connection::{Connection, Progress};
use super::parts::Parts;
use crate::command::tally::Spent;
use crate::command::{ClientIndex, Delay, Excerpt, Flags, Now, Row, lookup};
use crate::limits::HOT_KEY_CHOICE_COUNT_MAX;
use crate::resp::{Args, Span};

/// A command that was not done at the end of a turn.
pub(super) struct Open {
    row: &'static Row,
    began_us: u64,
    /// Taken once it has been slow for a while: when it is done its arguments are gone.
    excerpt: Option<Excerpt>,
}

/// What a connection remembers for the end of its turn.
#[derive(Default)]
pub(super) struct Timing {
    /// The command that it went on with, or will.
    open: Option<Open>,
    /// Whether that was done in this turn.
    is_done: bool,
    /// The last command that this turn took from the input.
    pub(super) last: Option<&'static Row>,
    /// Where the last command of this turn lay, counted back from the first byte not executed.
    pub(super) last_len_bytes: usize,
}

impl Timing {
    /// A turn begins: the command that it goes on with takes its share of it.
    #[inline]
    pub(super) fn begin(&mut self, progress: Option<&Progress>, parts: &mut Parts, now: Now) {
        self.last = None;
        self.last_len_bytes = 0;
        if let Some(open) = &mut self.open {
            parts.core.tally.count(open.row);
            open.take_excerpt(progress, parts, now.unix_us);
        }
    }

    /// The command that it went on with is done.
    pub(super) fn finish(&mut self) {
        self.is_done = self.open.is_some();
    }
}

impl Open {
    fn elapsed_ns(&self, end_us: u64) -> u64 {
        end_us.saturating_sub(self.began_us) * NS_PER_US
    }

    /// Takes the arguments while they are there, of what is slow already or half so.
    fn take_excerpt(&mut self, progress: Option<&Progress>, parts: &Parts, end_us: u64) {
        let is_slow = parts
            .core
            .is_slow(self.elapsed_ns(end_us).saturating_mul(2));
        if is_slow && self.excerpt.is_none() {
            let args = progress.and_then(Progress::args);
            self.excerpt = args.map(|args| Excerpt::of(self.row, args.iter()));
        }
    }
}

impl Lane {
    /// Takes note of how long other cores' commands, or background work, took.
    pub fn note_time(&mut self, event: Delay, now: Now, ns: u64) {
        let core = &mut self.parts.core;
        core.note_busy(ns);
        if event == Delay::Exchange {
            core.tally.end_service(ns);
        }
        if core.is_slow(ns) {
            core.note_event(event, now, ns);
        }
    }

    /// Shares out the time of a connection's turn.
    pub(super) fn end_turn(&mut self, connection: &mut Connection, now: Now, ns: u64) {
        let parts = &mut self.parts;
        let core = &mut parts.core;
        core.stats.turns += 1;
        core.note_busy(ns);
        let timing = &mut connection.timing;
        let open = timing.open.take();
        let is_done = std::mem::take(&mut timing.is_done);
        // An EXEC goes on between its commands, too.
        let goes_on = connection.progress.is_some() || connection.exec.is_some();
        let is_new = open.is_none() || is_done;
        let begun = timing.last.filter(|_| goes_on && is_new);
        let keeps_latencies = core.settings.latency_tracking;
        let count = core.tally.end_turn(Spent {
            ns,
            resumed: open.as_ref().map(|open| open.row),
            unfinished: begun,
            keeps_latencies,
        });
        let end_us = now.unix_us + ns / NS_PER_US;
        // Without a command it only took replies of other cores.
        let is_plain = open.is_none() && begun.is_none() && count > 0;
        match open {
            Some(open) if !is_done => timing.open = Some(open),
            Some(open) => note_done(parts, open, connection.client, now, end_us),
            None if is_plain && core.is_slow(ns) => note_slow(parts, connection, now, ns, count),
            None => {}
        }
        if let Some(row) = begun {
            connection.timing.open = Some(Open {
                row,
                began_us: now.unix_us,
                excerpt: None,
            });
        }
        if let Some(open) = &mut connection.timing.open {
            open.take_excerpt(connection.progress.as_ref(), parts, end_us);
        }
        if count > 0 && parts.core.hot_keys.is_due() {
            note_key(parts, connection, count);
        }
    }
}

/// A command that took several turns is done.
fn note_done(parts: &mut Parts, open: Open, client: ClientIndex, now: Now, end_us: u64) {
    let core = &mut parts.core;
    let ns = open.elapsed_ns(end_us);
    if open.row.flags.contains(Flags::PATIENT) {
        // It waited because it was asked to.
        return;
    }
    if core.settings.latency_tracking {
        core.tally.sample(open.row, ns);
    }
    if core.is_slow(ns) {
        let Open { row, excerpt, .. } = open;
        core.note_slow(row, client, now, ns, || {
            excerpt.unwrap_or_else(|| Excerpt::of_name(row))
        });
    }
}

/// A turn of `count` commands took long.
#[cold]
fn note_slow(parts: &mut Parts, connection: &Connection, now: Now, ns: u64, count: u64) {
    let client = connection.client;
    let Some(row) = parts.core.clients[client].last_command else {
        return;
    };
    let last = connection.input.executed(connection.timing.last_len_bytes);
    let excerpt = || {
        let (spans, _) = spans_of(last).unwrap_or_default();
        let excerpt = if spans.is_empty() {
            Excerpt::of_name(row)
        } else {
            Excerpt::of(row, Args::new(last, &spans).iter())
        };
        excerpt.of_several(count)
    };
    parts.core.note_slow(row, client, now, ns, excerpt);
}

/// Looks at one of the `count` commands of a turn, for its key: the last of a pipeline would always be
/// the same one of a client's script.
#[cold]
fn note_key(parts: &mut Parts, connection: &Connection, count: u64) {
    let chosen = parts.core.random.below(count.min(HOT_KEY_CHOICE_COUNT_MAX));
    let mut rest = connection.input.all_executed();
    for _ in 0..chosen {
        let passed = spans_of(rest).map_or(rest.len(), |(_, len_bytes)| len_bytes);
        rest = &rest[passed..];
    }
    let (spans, _) = spans_of(rest).unwrap_or_default();
    let args = Args::new(rest, &spans);
    if args.is_empty() {
        return;
    }
    let key = lookup(args).ok().and_then(|row| {
        let mut positions = row.keys.positions(args.len());
        let chosen = parts.core.random.below(positions.len() as u64);
        Some(args.get(positions.nth(usize::try_from(chosen).ok()?)?))
    });
    parts.core.hot_keys.add(key, count);
}

/// Where the arguments lie of the first command of `bytes`, which was parsed before, and its length.
fn spans_of(bytes: &[u8]) -> Option<(Vec<Span>, usize)> {
    let offset_of = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
    if bytes.first() != Some(&b'*') {
        let line_len = bytes.iter().position(|byte| *byte == b'\n')?;
        let words = bytes[..line_len].split(u8::is_ascii_whitespace);
        let words = words.filter(|word| !word.is_empty());
        let spans = words.map(|word| Span::new(offset_of(word), word.len()));
        return Some((spans.collect(), line_len + 1));
    }
    let (count, mut rest) = header(bytes)?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let (len_bytes, after) = header(rest)?;
        spans.push(Span::new(offset_of(after), len_bytes));
        rest = after.get(len_bytes.checked_add(LINE_END.len())?..)?;
    }
    Some((spans, offset_of(rest)))
}

/// The number in a line such as `*3` or `$10`, and what follows the line.
fn header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == LINE_END[0])?;
    let number = std::str::from_utf8(bytes.get(1..end)?).ok()?;
    Some((number.parse().ok()?, bytes.get(end + LINE_END.len()..)?))
}

const LINE_END: &[u8; 2] = b"\r\n";
const NS_PER_US: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(command: &[u8]) -> Option<Vec<String>> {
        let (spans, _) = spans_of(command)?;
        let arguments = Args::new(command, &spans);
        let texts = arguments.iter().map(String::from_utf8_lossy);
        Some(texts.map(|text| text.into_owned()).collect())
    }

    #[test]
    fn the_arguments_of_an_executed_command_are_found_again() {
        let command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n";
        assert_eq!(
            arguments_of(command),
            Some(["SET", "k", "a\r\nb"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            arguments_of(b"SET  k v\r\n"),
            Some(["SET", "k", "v"].map(str::to_owned).to_vec())
        );
        assert_eq!(arguments_of(&command[..20]), None);
        assert_eq!(arguments_of(b""), None);
    }

    #[test]
    fn what_follows_a_command_is_found_behind_it() {
        for command in [
            &b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"[..],
            b"GET k\r\n",
            b"\r\n",
        ] {
            let several = [command, b"PING\r\n"].concat();
            assert_eq!(spans_of(&several).unwrap().1, command.len());
        }
    }
}
