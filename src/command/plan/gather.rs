//! Commands over values of several shards ([`gather`](crate::command::gather)), in steps.
//!
//! ```text
//!   fetch sources ──► fetch more .. ──► combine, where the routed key lives ──► finish what was pinned
//!                          └─ too long together: refuse ──────────────────────────────────▲
//! ```
//!
//! The sources are fetched so many at a time, so that no more of them is here than may be.

use crate::command::gather::{self, Gathering};
use crate::command::refusal::Refusal;
use crate::command::{Part, Row};
use crate::limits::GATHERED_ROUND_KEY_COUNT;
use crate::resp::{Args, Protocol, Reply};

use super::transfer::{FETCH, FINISH, KEEP, hidden, is_pinned};
use super::{Next, Step};

/// Combines what was gathered: the routed key, that, and the client's command.
pub(super) const COMBINE: Row = hidden("(combine)", -4, gather::combine_gathered);

/// A command over values of several shards, under way.
#[derive(Debug)]
pub(super) struct Plan {
    gathering: Gathering,
    routed: usize,
    /// What was fetched so far.
    gathered: Vec<u8>,
    /// How many sources that are.
    fetched_count: usize,
    /// What of it is pinned, by the position of its key.
    pinned: Vec<(usize, Vec<u8>)>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Begin,
    Fetched,
    Combined,
    /// With the reply.
    Finished(Vec<u8>),
}

impl Plan {
    /// The plan of a command of `row`, if it is of this kind.
    pub(super) fn of(row: &Row) -> Option<Self> {
        Some(Self {
            gathering: row.gathering?,
            routed: usize::from(row.keys.first),
            gathered: Vec::new(),
            fetched_count: 0,
            pinned: Vec::new(),
            phase: Phase::Begin,
        })
    }

    /// Goes on, given what the last steps replied.
    pub(super) fn next(
        &mut self,
        args: Args<'_>,
        replies: &[Part<'_>],
        reply: &mut Reply<'_>,
    ) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Begin) {
            Phase::Begin => self.fetch(args),
            Phase::Fetched => {
                self.take(args, replies);
                if gather::is_too_long(&self.gathered) {
                    let (mut bytes, mut externs) = (Vec::new(), Vec::new());
                    let mut refused = Reply::new(&mut bytes, &mut externs, Protocol::Resp2);
                    Refusal::GATHERED_TOO_LONG.write(&mut refused);
                    self.finish(args, bytes, reply)
                } else if self.fetched_count < self.sources(args).len() {
                    self.fetch(args)
                } else {
                    self.combine(args)
                }
            }
            Phase::Combined => self.finish(args, replies[0].reply.to_vec(), reply),
            Phase::Finished(bytes) => {
                reply.raw(&bytes);
                Next::Done
            }
        }
    }

    /// Fetches the next sources.
    fn fetch(&mut self, args: Args<'_>) -> Next {
        self.phase = Phase::Fetched;
        let fetch = |source| Step::given(&FETCH, source..source + 1);
        let sources = self.sources(args).skip(self.fetched_count);
        Next::Steps(sources.take(GATHERED_ROUND_KEY_COUNT).map(fetch).collect())
    }

    /// Takes what was fetched.
    fn take(&mut self, args: Args<'_>, replies: &[Part<'_>]) {
        let sources = self.sources(args).skip(self.fetched_count);
        for (source, part) in sources.zip(replies) {
            gather::append(&mut self.gathered, part.reply);
            if is_pinned(part.reply) {
                self.pinned.push((source, part.reply.to_vec()));
            }
        }
        self.fetched_count += replies.len();
    }

    fn combine(&mut self, args: Args<'_>) -> Next {
        self.phase = Phase::Combined;
        let gathered = std::mem::take(&mut self.gathered);
        let name = COMBINE.name.as_bytes();
        let mut arguments = vec![name, args.get(self.routed), &gathered];
        arguments.extend(args.iter());
        Next::Steps(vec![Step::made(&COMBINE, &arguments)])
    }

    /// Lets go of what is pinned, and replies `bytes`.
    fn finish(&mut self, args: Args<'_>, bytes: Vec<u8>, reply: &mut Reply<'_>) -> Next {
        if self.pinned.is_empty() {
            reply.raw(&bytes);
            return Next::Done;
        }
        self.phase = Phase::Finished(bytes);
        let finish = |(source, fetched): &(usize, Vec<u8>)| {
            let name = FINISH.name.as_bytes();
            Step::made(&FINISH, &[name, args.get(*source), KEEP, fetched])
        };
        Next::Steps(self.pinned.iter().map(finish).collect())
    }

    fn sources(&self, args: Args<'_>) -> impl ExactSizeIterator<Item = usize> + use<> {
        self.gathering.sources.positions(args.len())
    }
}
