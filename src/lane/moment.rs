//! Several keys of several shards read at one moment, without holding the shards.
//!
//! This core's own keys cannot change during a turn, nor can its shard become held; what other cores
//! own is read twice (`shard::Moment`). If that fails, for a change in between, a large value, or a key
//! whose time has come, the command holds the shards (`holding`).

use super::direct::{self, Aim, answer};
use super::forward::Route;
use super::fragment::Fragment;
use super::gather::parse_integer;
use super::parts::{Call, Parts};
use super::turn::Worker;
use crate::command::{ClientIndex, Merge, Now, Resume, Row, Status};
use crate::limits::WHOLE_KEY_COUNT_MAX;
use crate::resp::{Args, Protocol, Reply, Span};
use crate::shard::{Ahead, Key, Moment, Probe};

/// A command on several keys that only reads.
struct Reading<'a> {
    row: &'static Row,
    part: &'static Row,
    args: Args<'a>,
    now: Now,
    protocol: Protocol,
    client: ClientIndex,
}

impl Worker<'_> {
    /// Whether a command of so many keys may be read without holds; what its connection is owed must
    /// have come.
    pub(super) fn may_read_at_once(&self, row: &Row, key_count: usize) -> bool {
        let is_reading = row.part.is_some_and(|part| part.direct.is_some());
        is_reading
            && key_count <= WHOLE_KEY_COUNT_MAX
            && self.parts.core.settings.direct_reads
            && !self.parts.shard.is_quiet()
            && self.connection.holding.is_none()
    }

    /// Answers a command on keys of several shards as they are at one moment. False: there was no such
    /// moment, and nothing was answered.
    pub(super) fn read_at_once(&mut self, row: &'static Row, args: Args<'_>) -> bool {
        let reading = Reading {
            row,
            part: row.part.expect("asked by `may_read_at_once`"),
            args,
            now: self.now,
            protocol: self.protocol,
            client: self.connection.client,
        };
        let stats = &self.parts.core.stats;
        let counts = (stats.keyspace_hits, stats.keyspace_misses);
        let unanswered = self.write_or_set_aside(false, |parts, reply| reading.run(parts, reply));
        if let Some(fragment) = &unanswered {
            self.parts.released.extend_from_slice(&fragment.externs);
            let stats = &mut self.parts.core.stats;
            (stats.keyspace_hits, stats.keyspace_misses) = counts;
        }
        unanswered.is_none()
    }
}

impl Reading<'_> {
    fn run(&self, parts: &mut Parts, reply: &mut Reply<'_>) -> Status {
        let mut moment = std::mem::take(&mut parts.moment);
        let is_read = match self.row.merge {
            Merge::InOrder => {
                reply.array(self.row.keys.positions(self.args.len()).len());
                self.read(parts, &mut moment, |reading, parts, key| {
                    reading.answer(parts, key, reply)
                })
            }
            _ => self.sum(parts, &mut moment, reply),
        };
        let is_one = is_read && moment.is_one(&parts.shard, |position| self.args.get(position));
        moment.clear();
        parts.moment = moment;
        if is_one { Status::Done } else { Status::Again }
    }

    fn sum(&self, parts: &mut Parts, moment: &mut Moment, reply: &mut Reply<'_>) -> bool {
        let mut scratch = Fragment::default();
        let mut sum = 0;
        let is_read = self.read(parts, moment, |reading, parts, key| {
            scratch.clear();
            let is_answered = reading.answer(parts, key, &mut scratch.reply(reading.protocol));
            if is_answered {
                sum += parse_integer(&scratch.bytes[1..]);
            }
            is_answered
        });
        reply.integer(sum);
        is_read
    }

    /// Has each key answered, with its owner and where it is; false as soon as one cannot be.
    fn read(
        &self,
        parts: &mut Parts,
        moment: &mut Moment,
        mut answer: impl FnMut(&Self, &mut Parts, (usize, u16, Probe)) -> bool,
    ) -> bool {
        let mut positions = self.row.keys.positions(self.args.len());
        let mut ahead = Ahead::<(usize, u16)>::default();
        loop {
            let (shard, placement) = (&parts.shard, &parts.placement);
            let source = || {
                let position = positions.next()?;
                let (hash, owner) = placement.of(self.args.get(position));
                Some(((position, owner), hash))
            };
            let next = ahead.next(
                source,
                |(_, owner), hash| direct::prefetch_bucket(owner, hash, shard, true),
                |(_, owner), hash| direct::probe(owner, hash, shard, Aim::ReadAnywhere),
            );
            let Some(((position, owner), mut probe)) = next else {
                return true;
            };
            if owner != parts.core.id {
                let bytes = self.args.get(position);
                let seen = moment.see(shard.reader(owner), Key { bytes, probe }, position);
                let Ok(seen) = seen else {
                    return false;
                };
                probe = seen;
            }
            if !answer(self, parts, (position, owner, probe)) {
                return false;
            }
        }
    }

    fn answer(&self, parts: &mut Parts, key: (usize, u16, Probe), reply: &mut Reply<'_>) -> bool {
        let (position, owner, probe) = key;
        let spans: [Span; 2] = [self.args.spans()[0], self.args.spans()[position]];
        let args = Args::new(self.args.base(), &spans);
        if owner != parts.core.id {
            let route = Route {
                row: self.part,
                hash: probe.hash,
                core: owner,
            };
            return answer(parts, route, self.now, probe, args, reply);
        }
        let call = Call {
            row: self.part,
            args,
            probe,
            caller: Some(self.client),
            transaction: None,
        };
        parts.run(call, self.now, &mut Resume::default(), reply) == Status::Done
    }
}
