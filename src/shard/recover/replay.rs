//! Building a shard from its blocks: every record in order, as if it were written again.
//!
//! Records are met in batches, so that the buckets of a batch are on their way before the first of
//! them is needed. What a record replaces is dead from then on; what a batch holds takes effect in
//! order. Large values are taken over at the end, when it is known which records of them live:
//! numbers of runs are used again, and in the middle of a replay two records may name one run.

#![expect(
    unsafe_code,
    reason = "recovery reads blocks through walks that trust nothing"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::large::RunReference;
use super::super::log::Log;
use super::super::record::{Kind, Shape};
use super::super::seal::Flaw;
use super::super::slot::{Location, Slot};
use super::super::table::Table;
use super::super::{OutOfMemory, Place, Probe, Shard};
use super::survey::{Kept, Stream, Survey};
use super::walk::{Step, Walk};
use super::{Damage, Progress};
use crate::hash::{Hasher, KeyHash, cluster_slot, shard_of_slot};
use crate::limits::LIMBO_STEP_LEN_BYTES;
use crate::region::Region;

/// Records whose buckets are fetched together.
const BATCH_COUNT: usize = 32;

/// One log being replayed.
pub(super) struct Replay<'a> {
    pub(super) shard: Shard,
    /// Transactions whose members do not count.
    lost: &'a BTreeSet<u64>,
    /// Live records of large values, by their places.
    large: BTreeMap<u64, RunReference>,
    origin: Origin,
    pub(super) block_count: u64,
    pub(super) record_count: u64,
    pub(super) damage: Vec<Damage>,
}

/// Whose blocks are being replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// This shard's log, in which all records are that were met.
    Own,
    /// Another log's, which is about to be emptied: only keys that are this shard's now count.
    Foreign,
    /// This shard's log, after others.
    OwnAfterForeign,
}

impl Origin {
    /// What comes after it.
    const fn then(self, is_own: bool) -> Self {
        match self {
            _ if !is_own => Self::Foreign,
            Self::Own => Self::Own,
            Self::Foreign | Self::OwnAfterForeign => Self::OwnAfterForeign,
        }
    }

    const fn is_own(self) -> bool {
        matches!(self, Self::Own | Self::OwnAfterForeign)
    }
}

/// A record on its way into the table.
#[derive(Clone, Copy)]
struct Met {
    location: Location,
    shape: Shape,
    hash: KeyHash,
}

/// A place in the file that a large value claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    start: u64,
    end: u64,
    /// Which replay, and where in the file the record is.
    replay: usize,
    record: u64,
}

/// How a walk over a part of a block went on.
enum Then {
    /// There are more records.
    More,
    /// The block is done.
    Done,
}

impl<'a> Replay<'a> {
    /// A shard without records, whose next block gets the number after `sequence`.
    pub(super) fn begin(
        region: &Arc<Region>,
        id: u16,
        hasher: &Hasher,
        sequence: u64,
        lost: &'a BTreeSet<u64>,
    ) -> Result<Self, OutOfMemory> {
        let table = Table::new(Arc::clone(region), id).ok_or(OutOfMemory::Budget)?;
        let log = Log::without_tail(Arc::clone(region), id, sequence).ok_or(OutOfMemory::Budget)?;
        Ok(Self {
            shard: Shard::of_parts(Arc::clone(region), id, hasher.clone(), table, log),
            lost,
            large: BTreeMap::new(),
            origin: Origin::Own,
            block_count: 0,
            record_count: 0,
            damage: Vec::new(),
        })
    }

    /// Replays all blocks of a log.
    pub(super) fn run(
        &mut self,
        stream: &Stream,
        survey: &Survey,
        progress: &Progress,
    ) -> Result<(), OutOfMemory> {
        self.origin = self.origin.then(stream.is_kept);
        let mut ahead = survey.kept.iter().skip(1);
        for kept in &survey.kept {
            if let Some(next) = ahead.next() {
                self.shard.region.preload_block(next.block);
            }
            self.replay_block(survey, kept)?;
            progress.add(self.shard.region.block_len_bytes());
        }
        Ok(())
    }

    /// Takes the large values over that records of this shard's log name.
    pub(super) fn adopt_large(&mut self) {
        for (offset, reference) in std::mem::take(&mut self.large) {
            let location = Location::from_offset(offset);
            if self.is_of_log(location) && !self.shard.large.adopt(&reference) {
                self.lose(
                    location,
                    &reference,
                    "a large value is not where its record says",
                );
            }
        }
    }

    /// Looks at every byte of the large values; those that are damaged go, or are only counted.
    pub(super) fn check_large(&mut self) {
        let region = Arc::clone(&self.shard.region);
        let is_bad = |reference: &RunReference| !reference.is_whole(&region);
        let bad: Vec<(u64, RunReference)> = self
            .large
            .iter()
            .filter(|(_, reference)| is_bad(reference))
            .map(|(&offset, reference)| (offset, reference.clone()))
            .collect();
        for (offset, reference) in bad {
            let location = Location::from_offset(offset);
            self.lose(
                location,
                &reference,
                "a large value does not fit its checksum",
            );
        }
    }

    fn lose(&mut self, location: Location, reference: &RunReference, reason: &'static str) {
        self.damage.push(Damage {
            offset: reference.offset,
            len_bytes: reference.len_bytes,
            reason,
        });
        let hash = self.hash_at(location);
        self.forget(hash, location);
    }

    fn replay_block(&mut self, survey: &Survey, kept: &Kept) -> Result<(), OutOfMemory> {
        if self.origin.is_own() {
            self.shard.log.adopt(kept.block);
        }
        let mut at = 0;
        let mut batch = Vec::with_capacity(BATCH_COUNT);
        loop {
            batch.clear();
            let then = self.meet(kept, &mut at, &mut batch);
            for met in &batch {
                self.apply(survey, met)?;
            }
            if self.shard.limbo.len() > 0 {
                self.shard.free(LIMBO_STEP_LEN_BYTES);
            }
            if matches!(then, Then::Done) {
                break;
            }
        }
        if self.origin.is_own() {
            self.shard.log.seal_adopted(kept.block);
        }
        self.block_count += 1;
        Ok(())
    }

    /// Reads a batch of records from `at` on and begins to fetch what they need.
    fn meet(&mut self, kept: &Kept, at: &mut usize, batch: &mut Vec<Met>) -> Then {
        let region = Arc::clone(&self.shard.region);
        let start = region.block_start(kept.block);
        // SAFETY: this thread has the block to itself and writes nothing while it walks.
        let mut walk = unsafe { Walk::over(&region, kept.block, *at) };
        while batch.len() < BATCH_COUNT {
            if walk.at() >= kept.end {
                return Then::Done;
            }
            match walk.step() {
                Step::End => return Then::Done,
                Step::Flaw(flawed, flaw) => {
                    if flawed >= kept.synced_len_bytes {
                        return Then::Done;
                    }
                    let len_bytes = walk.pass_flaw();
                    self.note_damage(start + flawed as u64, len_bytes, flaw);
                }
                Step::Record(record, shape) => {
                    let bytes = walk.record(record, shape);
                    let location = Location::from_offset(start + record as u64);
                    if self.counts(kept, walk.at(), location, shape, bytes) {
                        let hash = self.shard.hasher.hash(shape.key_in(bytes));
                        self.shard.table.prefetch(hash);
                        batch.push(Met {
                            location,
                            shape,
                            hash,
                        });
                    }
                }
            }
            *at = walk.at();
        }
        Then::More
    }

    /// Takes note of a record; true if it has an effect here.
    fn counts(
        &mut self,
        kept: &Kept,
        end: usize,
        location: Location,
        shape: Shape,
        record: &[u8],
    ) -> bool {
        let number = shape.transaction_in(record);
        if let Some(number) = number {
            self.shard.region.rounds().note_transaction(number);
        }
        let is_lost = number.is_some_and(|number| self.lost.contains(&number));
        let is_void = is_lost || matches!(shape.kind, Kind::VOID | Kind::COMMIT);
        if self.origin.is_own() {
            let log = &mut self.shard.log;
            log.count_adopted(kept.block, end, shape.len_bytes());
            if is_void {
                log.kill(location, shape.len_bytes());
            }
        }
        let is_here =
            self.origin.is_own() || shape.kind == Kind::CLEAR || self.owns(shape.key_in(record));
        self.record_count += u64::from(is_here);
        is_here && !is_void
    }

    fn owns(&self, key: &[u8]) -> bool {
        let count = u16::try_from(self.shard.region.shard_count()).expect("counted in 16 bits");
        shard_of_slot(cluster_slot(key), count) == self.shard.id
    }

    fn note_damage(&mut self, offset: u64, len_bytes: usize, flaw: Flaw) {
        self.damage.push(Damage {
            offset,
            len_bytes: len_bytes as u64,
            reason: match flaw {
                Flaw::Blank => "zeros where a record was written",
                Flaw::Header => "what should be a record has an impossible header",
                Flaw::Checksum => "a record does not fit its checksum",
                Flaw::Expiry => "an expiry time does not fit its check",
            },
        });
    }

    fn apply(&mut self, survey: &Survey, met: &Met) -> Result<(), OutOfMemory> {
        if met.shape.kind.is_grave() && self.origin.is_own() {
            self.shard
                .log
                .count_grave(met.location, met.shape.len_bytes());
        }
        match met.shape.kind {
            Kind::TOMBSTONE => {
                // Positions of a generation are beyond all of earlier ones, and a key has one log in
                // each, so they say what was written first also when it is in another log.
                let birth = self.shard.log.record(met.location).number();
                if let Some((location, _)) = self.find(met)
                    && self.shard.log.position_of(location) < birth
                {
                    self.forget(met.hash, location);
                }
            }
            Kind::CLEAR => {
                let last = self.shard.log.record(met.location).number();
                self.forget_up_to(survey, last);
            }
            _ => self.put(met)?,
        }
        Ok(())
    }

    fn put(&mut self, met: &Met) -> Result<(), OutOfMemory> {
        let slot = Slot::new(met.hash.tag(), met.location);
        let mut was_volatile = false;
        if let Some((location, place)) = self.find(met) {
            was_volatile = self.shard.log.record(location).expires_at_ms().is_some();
            self.shard.table.replace(place, slot);
            self.bury(location);
        } else {
            let place = self.vacancy_for(met.hash)?;
            self.shard.table.insert(place, slot);
            self.shard.key_count += 1;
        }
        let record = self.shard.log.record(met.location);
        let is_volatile = record.expires_at_ms().is_some();
        self.shard.volatile_count += u64::from(is_volatile);
        if is_volatile && !was_volatile {
            self.shard.expiry.look_soon(met.hash);
        }
        if met.shape.kind == Kind::LARGE_STRING
            && let Some(reference) = RunReference::from_bytes(record.value())
        {
            self.large.insert(met.location.offset(), reference);
        }
        Ok(())
    }

    /// An empty slot. Nothing is reclaimed for it: compaction would copy records that later ones may
    /// yet replace, into a file that is only read so far.
    fn vacancy_for(&mut self, hash: KeyHash) -> Result<Place, OutOfMemory> {
        let shard = &mut self.shard;
        while shard.table.is_crowded(hash) || shard.table.vacancy(hash).is_none() {
            if shard.table.split(hash, &mut shard.limbo).is_err() {
                // A crowded segment goes on as long as it has room.
                let vacancy = shard.table.vacancy(hash);
                return vacancy.ok_or(OutOfMemory::Budget);
            }
        }
        Ok(shard.table.vacancy(hash).expect("the loop has seen one"))
    }

    fn find(&self, met: &Met) -> Option<(Location, Place)> {
        let shard = &self.shard;
        let key = shard.log.record(met.location).key();
        let is_key = |location| shard.log.record(location).has_key(key);
        let (place, slot) = shard.table.find(Probe::of(met.hash), is_key)?;
        Some((slot.location(), place))
    }

    fn hash_at(&self, location: Location) -> KeyHash {
        let key = self.shard.log.record(location).key();
        self.shard.hasher.hash(key)
    }

    /// Takes the key of a record out of the table.
    fn forget(&mut self, hash: KeyHash, location: Location) {
        let place = self.shard.table.find_location(hash, location);
        self.shard
            .table
            .remove(place.expect("a live record has a slot"));
        self.shard.key_count -= 1;
        self.bury(location);
    }

    /// Takes everything out that is in blocks of a log numbered up to `last`.
    fn forget_up_to(&mut self, survey: &Survey, last: u64) {
        let kept = survey.kept.iter();
        let cleared: BTreeSet<usize> = kept
            .filter(|kept| kept.sequence <= last)
            .map(|kept| kept.block.get())
            .collect();
        for (hash, location) in self.shard.records() {
            let block = self.shard.region.block_of(location.offset());
            if cleared.contains(&block.get()) {
                self.forget(hash, location);
            }
        }
    }

    fn bury(&mut self, location: Location) {
        let record = self.shard.log.record(location);
        let shape = record.shape();
        self.shard.volatile_count -= u64::from(record.expires_at_ms().is_some());
        if shape.kind == Kind::LARGE_STRING {
            self.large.remove(&location.offset());
        }
        if self.is_of_log(location) {
            self.shard.log.kill(location, shape.len_bytes());
        }
    }

    /// Whether a record is in the shard's own log.
    fn is_of_log(&self, location: Location) -> bool {
        self.origin == Origin::Own || self.shard.log.owns(location)
    }
}

/// Loses the large values that claim the same place: which of them it belongs to is not known, and a
/// change of one would change the other.
pub(super) fn lose_overlapping(replays: &mut [Replay<'_>]) {
    let mut claims = Vec::new();
    for (replay, found) in replays.iter().enumerate() {
        for (&record, reference) in &found.large {
            let ranges = reference.claims(&found.shard.region).into_iter();
            claims.extend(ranges.map(|range| Claim {
                start: range.start,
                end: range.end,
                replay,
                record,
            }));
        }
    }
    claims.sort_unstable();
    let mut lost = BTreeSet::new();
    let mut widest: Option<Claim> = None;
    for claim in claims {
        if let Some(other) = widest.filter(|other| claim.start < other.end) {
            lost.extend([claim, other].map(|claim| (claim.replay, claim.record)));
        }
        widest = widest.filter(|other| other.end > claim.end).or(Some(claim));
    }
    for (replay, record) in lost {
        let replay = &mut replays[replay];
        if let Some(reference) = replay.large.get(&record).cloned() {
            let location = Location::from_offset(record);
            replay.lose(location, &reference, "two large values are at one place");
        }
    }
}
