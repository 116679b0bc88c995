//! Commands over values of several shards ([`gather`](crate::command::gather)), in steps.
//!
//! ```text
//!   fetch each source ──► combine, where the routed key lives ──► finish what was pinned
//! ```

use crate::command::gather::{self, Gathering};
use crate::command::{Part, Row};
use crate::resp::{Args, Reply};

use super::transfer::{FETCH, FINISH, KEEP, hidden, is_pinned};
use super::{Next, Step};

/// Combines what was gathered: the routed key, that, and the client's command.
pub(super) const COMBINE: Row = hidden("(combine)", -4, gather::combine_gathered);

/// A command over values of several shards, under way.
#[derive(Debug)]
pub(super) struct Plan {
    gathering: Gathering,
    routed: usize,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Begin,
    Fetched,
    /// With what is pinned, by the position of its key.
    Combined(Vec<(usize, Vec<u8>)>),
    /// With the reply.
    Finished(Vec<u8>),
}

impl Plan {
    /// The plan of a command of `row`, if it is of this kind.
    pub(super) fn of(row: &Row) -> Option<Self> {
        Some(Self {
            gathering: row.gathering?,
            routed: usize::from(row.keys.first),
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
        let phase = std::mem::replace(&mut self.phase, Phase::Begin);
        match phase {
            Phase::Begin => {
                self.phase = Phase::Fetched;
                let fetch = |source| Step::given(&FETCH, source..source + 1);
                Next::Steps(self.sources(args).map(fetch).collect())
            }
            Phase::Fetched => self.combine(args, replies),
            Phase::Combined(pinned) if pinned.is_empty() => {
                reply.raw(replies[0].reply);
                Next::Done
            }
            Phase::Combined(pinned) => {
                let finish = |(source, fetched): &(usize, Vec<u8>)| {
                    let name = FINISH.name.as_bytes();
                    Step::made(&FINISH, &[name, args.get(*source), KEEP, fetched])
                };
                self.phase = Phase::Finished(replies[0].reply.to_vec());
                Next::Steps(pinned.iter().map(finish).collect())
            }
            Phase::Finished(bytes) => {
                reply.raw(&bytes);
                Next::Done
            }
        }
    }

    fn combine(&mut self, args: Args<'_>, replies: &[Part<'_>]) -> Next {
        let mut gathered = Vec::new();
        for part in replies {
            gather::append(&mut gathered, part.reply);
        }
        let pinned = self.sources(args).zip(replies);
        let pinned = pinned.filter(|(_, part)| is_pinned(part.reply));
        self.phase = Phase::Combined(
            pinned
                .map(|(source, part)| (source, part.reply.to_vec()))
                .collect(),
        );
        let name = COMBINE.name.as_bytes();
        let mut arguments = vec![name, args.get(self.routed), &gathered];
        arguments.extend(args.iter());
        Next::Steps(vec![Step::made(&COMBINE, &arguments)])
    }

    fn sources(&self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        self.gathering.sources.positions(args.len())
    }
}
