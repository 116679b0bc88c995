//! Commands that only look keys up run on the owner's shard or, without it, from another core.
//!
//! Their functions are written once, over [`Lookup`]: the shard itself answers with a [`Context`],
//! and a reader of its table with a [`Direct`]. A row that has such a function says so
//! ([`Row::direct`](super::Row::direct), made by the macro `reading!`).
//!
//! A reader may be unsure. The command then goes on as if the key were absent, and what it replied is
//! thrown away: the lane asks [`Direct::is_sure`] and has the owner run the command.

use std::ops::Range;

use crate::hash::KeyHash;
use crate::resp::{Args, Extern, Reply};
use crate::shard::{Key, Probe, Reader, Value};

use super::{Context, Now, Status};

/// A function that runs a command on a reader.
pub type DirectRun = fn(&mut Direct<'_>, Args<'_>, &mut Reply<'_>) -> Status;

/// What a command that only reads asks of wherever it runs.
pub(super) trait Lookup {
    /// The value of a key, counted as a hit or a miss.
    fn read(&mut self, key: Key<'_>) -> Option<Value<'_>>;

    /// `bytes` as a key.
    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a>;

    /// The routed key, as far as it was looked at ahead of time.
    fn routed_probe(&self) -> Probe;

    /// Begins to fetch where the slot of a key is.
    fn prefetch_bucket(&self, hash: KeyHash);

    /// Looks at the slots of a key and begins to fetch its record.
    fn probe(&self, hash: KeyHash) -> Probe;

    /// The time of the turn.
    fn now(&self) -> Now;

    /// Replies `range` of the large value in `run`, which stays there until it is sent.
    fn reply_large(&mut self, run: u32, range: Range<usize>, reply: &mut Reply<'_>);
}

/// What a command that runs on another core's table is given.
#[derive(Debug)]
pub struct Direct<'a> {
    reader: Reader<'a>,
    now: Now,
    probe: Probe,
    hit_count: u64,
    miss_count: u64,
    is_sure: bool,
}

impl<'a> Direct<'a> {
    /// For one command at `now`; `probe` is that of the routed key.
    #[inline]
    #[must_use]
    pub fn new(reader: Reader<'a>, now: Now, probe: Probe) -> Self {
        Self {
            reader,
            now,
            probe,
            hit_count: 0,
            miss_count: 0,
            is_sure: true,
        }
    }

    /// Whether what was replied is the answer; else the owner has to give it.
    #[inline]
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// Leaves the answer to the owner.
    pub(super) fn leave_to_owner(&mut self) {
        self.is_sure = false;
    }

    /// Lookups that found a key, and those that found none.
    #[inline]
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.hit_count, self.miss_count)
    }
}

impl Lookup for Direct<'_> {
    #[inline]
    fn read(&mut self, key: Key<'_>) -> Option<Value<'_>> {
        match self.reader.find(key, self.now.ms()) {
            Ok(Some(value)) => {
                self.hit_count += 1;
                Some(value)
            }
            Ok(None) => {
                self.miss_count += 1;
                None
            }
            Err(_) => {
                self.is_sure = false;
                None
            }
        }
    }

    #[inline]
    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.reader.key(bytes)
    }

    #[inline]
    fn routed_probe(&self) -> Probe {
        self.probe
    }

    #[inline]
    fn prefetch_bucket(&self, hash: KeyHash) {
        self.reader.prefetch_bucket(hash);
    }

    #[inline]
    fn probe(&self, hash: KeyHash) -> Probe {
        self.reader.probe(hash)
    }

    #[inline]
    fn now(&self) -> Now {
        self.now
    }

    fn reply_large(&mut self, _: u32, _: Range<usize>, _: &mut Reply<'_>) {
        unreachable!("a reader is unsure of large values")
    }
}

impl Lookup for Context<'_> {
    #[inline]
    fn read(&mut self, key: Key<'_>) -> Option<Value<'_>> {
        let found = self.shard.find(key, self.now.ms());
        let stats = &mut self.core.stats;
        match found {
            Some(_) => stats.keyspace_hits += 1,
            None => stats.keyspace_misses += 1,
        }
        found
    }

    #[inline]
    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.shard.key(bytes)
    }

    #[inline]
    fn routed_probe(&self) -> Probe {
        self.probe
    }

    #[inline]
    fn prefetch_bucket(&self, hash: KeyHash) {
        self.shard.prefetch_bucket(hash);
    }

    #[inline]
    fn probe(&self, hash: KeyHash) -> Probe {
        self.shard.probe(hash)
    }

    #[inline]
    fn now(&self) -> Now {
        self.now
    }

    #[cold]
    fn reply_large(&mut self, run: u32, range: Range<usize>, reply: &mut Reply<'_>) {
        let pinned = self.shard.pin(run);
        reply.bulk_extern(Extern {
            at: 0,
            owner: self.core.id,
            run,
            offset: pinned.offset + range.start as u64,
            len_bytes: range.len(),
        });
    }
}

/// A row whose function only looks keys up, over any [`Lookup`]: `make`, given its arguments and
/// then what runs on the shard, makes the rest of it.
macro_rules! reading {
    ($make:ident($($argument:expr),*), $function:path) => {
        Row {
            direct: Some(|lookup, args, reply| $function(lookup, args, reply)),
            ..$make($($argument,)* |lookup, args, reply| $function(lookup, args, reply))
        }
    };
}

pub(super) use reading;
