//! A shard from its file: what a start does before anything is served.
//!
//! ```text
//!   found blocks ─► survey: where each log ends, which transactions are whole     per shard, parallel
//!                      │
//!                      ▼
//!                   replay: every record in order into a new table                per shard, parallel
//!                      │        damage: nothing was changed, nothing is served
//!                      ▼
//!                   mark:   lost members void, blocks beyond the end freed; sync
//!                           END where a log ends, a new block for each; finish
//! ```
//!
//! Until the marks, the file is only read. Each of them says what a second recovery would find out
//! for itself, and one that would make it find out less (the END of a log whose later blocks are still
//! there) is written when the others are on disk; so a crash at any moment of it loses nothing more.
//!
//! Not here: how the file is opened and what of its header can be wrong (`region`).

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use super::{OutOfMemory, Shard};
use crate::atomic::{AtomicU64, Ordering};
use crate::hash::Hasher;
use crate::region::{Found, FoundBlock, Region};

mod replay;
mod resplit;
mod survey;
mod walk;

use replay::Replay;
use resplit::Resplit;
use survey::{Member, Stream, Survey};

/// How far a recovery is: for those who wait for it.
#[derive(Debug, Default)]
pub struct Progress {
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
}

impl Progress {
    /// Bytes of the blocks that have to be read; 0 before that is known.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of those that were read.
    #[must_use]
    pub fn done_bytes(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed)
    }

    fn expect(&self, region: &Region, logs: &[(&Stream, &Survey)]) {
        let readers = |stream: &Stream| {
            if stream.is_kept {
                1
            } else {
                region.shard_count()
            }
        };
        let counts = logs
            .iter()
            .map(|(stream, survey)| survey.kept.len() * readers(stream));
        let total_bytes = counts.sum::<usize>() as u64 * region.block_len_bytes();
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    fn add(&self, len_bytes: u64) {
        self.done_bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }
}

/// What to do about damage, and how hard to look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse a damaged file, and leave it as it is.
    Refuse,
    /// Serve what is intact of it.
    Salvage,
    /// Look at every byte and change nothing that lasts: the region was opened to be inspected.
    Inspect,
}

/// What a recovery has met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks read.
    pub block_count: u64,
    /// Records read, dead ones included.
    pub record_count: u64,
    /// Keys there are.
    pub key_count: u64,
    /// Bytes of live records and graves.
    pub live_bytes: u64,
    /// Bytes of dead records.
    pub dead_bytes: u64,
    /// Bytes of tombstones and the like, part of the live ones.
    pub grave_bytes: u64,
    /// Large values.
    pub large_value_count: u64,
    /// Logs that end with something torn: what was not yet on disk when the power went.
    pub torn_count: u64,
    /// Blocks beyond such an end.
    pub discarded_block_count: u64,
    /// Records of transactions that never became whole.
    pub void_count: u64,
    /// What should be there and is not.
    pub damage: Vec<Damage>,
}

/// A stretch of the file that cannot be trusted though it was on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is.
    pub len_bytes: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why there are no shards.
#[derive(Debug)]
pub enum RecoverError {
    /// The file is damaged, and it was not asked to serve the rest.
    Damaged(Box<Report>),
    /// The budget has no room for the index of what was found.
    OutOfMemory(OutOfMemory),
    /// What the kernel said.
    Io(io::Error),
}

impl From<OutOfMemory> for RecoverError {
    fn from(cause: OutOfMemory) -> Self {
        Self::OutOfMemory(cause)
    }
}

impl From<io::Error> for RecoverError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(report) => {
                let lost_bytes: u64 = report.damage.iter().map(|damage| damage.len_bytes).sum();
                write!(
                    f,
                    "{} places of the data file are damaged, {lost_bytes} bytes",
                    report.damage.len()
                )?;
                match report.damage.first() {
                    Some(first) => write!(
                        f,
                        "; the first at offset {}: {}",
                        first.offset, first.reason
                    ),
                    None => Ok(()),
                }
            }
            Self::OutOfMemory(OutOfMemory::Disk) => f.write_str(
                "the disk has no room for one more block per shard, which a start needs",
            ),
            Self::OutOfMemory(OutOfMemory::Budget) => f.write_str(
                "maxmemory has no room for the index of the keys that were found; raise it",
            ),
            Self::OutOfMemory(OutOfMemory::LongKey) => {
                f.write_str("a key is too long to be kept in a file")
            }
            Self::Io(error) => write!(f, "the data file cannot be written: {error}"),
        }
    }
}

impl std::error::Error for RecoverError {}

impl Damage {
    fn of_entry(offset: u64, block_len_bytes: u64) -> Self {
        Self {
            offset,
            len_bytes: block_len_bytes,
            reason: "the entry that says what a block holds is bad",
        }
    }
}

/// Makes the shards of a region from what was found in its file, and the file ready to be written.
///
/// # Errors
/// If the file is damaged and `mode` does not ask for what is left; if the budget has no room for
/// the index; if the file cannot be written. Nothing may be served then.
pub fn recover(
    region: &Arc<Region>,
    found: &Found,
    hasher: &Hasher,
    progress: &Progress,
    mode: Mode,
) -> Result<(Vec<Shard>, Report), RecoverError> {
    let streams = streams_of(region, found, mode);
    let surveys = in_parallel(&streams, |stream| stream.survey(region));
    let (lost, members) = survey::incomplete(region, &streams, &surveys);
    let logs: Vec<(&Stream, &Survey)> = streams.iter().zip(&surveys).collect();
    progress.expect(region, &logs);

    let owners = 0..u16::try_from(region.shard_count()).expect("shards are counted in 16 bits");
    let owners: Vec<u16> = owners.collect();
    let replays = in_parallel(&owners, |&owner| {
        let mut replay = Replay::begin(region, owner, hasher, last_of(&streams, owner), &lost)?;
        for (stream, survey) in logs.iter().filter(|(stream, _)| stream.is_for(owner)) {
            replay.run(stream, survey, progress)?;
        }
        // After an orderly end a start is to be fast; then only who inspects reads every value.
        if mode != Mode::Refuse || !found.is_clean {
            replay.check_large();
        }
        Ok::<_, OutOfMemory>(replay)
    });
    let mut replays = replays.into_iter().collect::<Result<Vec<_>, _>>()?;
    replay::lose_overlapping(&mut replays);
    replays.iter_mut().for_each(Replay::adopt_large);

    let mut report = summary(region, found, &surveys, &mut replays);
    report.void_count = members.len() as u64;
    if !report.damage.is_empty() && mode == Mode::Refuse {
        return Err(RecoverError::Damaged(Box::new(report)));
    }
    let mut shards: Vec<Shard> = replays.into_iter().map(|replay| replay.shard).collect();
    if mode != Mode::Inspect {
        mark(region, &surveys, &members, &mut shards)?;
        for bad in &found.bad_entries {
            region.return_block(bad.block);
        }
        go_on(region, &logs, &mut shards)?;
    }
    Ok((shards, report))
}

/// All logs there are, those of older generations first.
fn streams_of(region: &Region, found: &Found, mode: Mode) -> Vec<Stream> {
    let mut streams = Vec::new();
    let mut end = u64::MAX;
    for (age, generation) in found.generations.iter().rev().enumerate() {
        let is_last = age == 0;
        let is_todays = is_last && generation.shard_count == region.shard_count();
        // What is intact of a damaged log is copied, so that no damage is left for later.
        let is_kept = is_todays && mode != Mode::Salvage;
        let position = |positions: &[u64], owner: u16| {
            // Of older generations everything is on disk and as it should be.
            let position = positions.get(usize::from(owner)).filter(|_| is_last);
            position
                .copied()
                .unwrap_or(if is_last { 0 } else { u64::MAX })
        };
        let owners = 0..u16::try_from(generation.shard_count).expect("counted in 16 bits");
        streams.extend(owners.rev().map(|owner| Stream {
            owner,
            is_todays,
            is_kept,
            blocks: blocks_of(found, owner, generation.first_sequence..end),
            first_sequence: generation.first_sequence,
            synced: position(&found.synced, owner),
            settled: position(&found.settled, owner),
        }));
        end = generation.first_sequence;
    }
    streams.reverse();
    streams
}

fn blocks_of(found: &Found, owner: u16, sequences: Range<u64>) -> Vec<FoundBlock> {
    let is_of = |found: &&FoundBlock| found.owner == owner && sequences.contains(&found.sequence);
    let mut blocks: Vec<FoundBlock> = found.blocks.iter().filter(is_of).copied().collect();
    blocks.sort_unstable_by_key(|found| (found.sequence, found.is_freed));
    blocks
}

/// The last number a block of today's log of `owner` has.
fn last_of(streams: &[Stream], owner: u16) -> u64 {
    let is_it = |stream: &&Stream| stream.is_todays && stream.owner == owner;
    let stream = streams.iter().find(is_it);
    stream.map_or(0, |stream| {
        let last = stream.blocks.last().map(|found| found.sequence);
        last.unwrap_or(0).max(stream.first_sequence - 1)
    })
}

fn summary(
    region: &Region,
    found: &Found,
    surveys: &[Survey],
    replays: &mut [Replay<'_>],
) -> Report {
    let mut report = Report::default();
    let bad = found.bad_entries.iter();
    report.damage = bad
        .map(|bad| Damage::of_entry(bad.offset, region.block_len_bytes()))
        .collect();
    for survey in surveys {
        report.torn_count += u64::from(survey.cut.is_some_and(|cut| cut.is_torn));
        report.discarded_block_count += survey.discarded.len() as u64;
    }
    for replay in replays {
        let stats = replay.shard.stats();
        report.block_count += replay.block_count;
        report.record_count += replay.record_count;
        report.key_count += stats.key_count;
        report.live_bytes += stats.log_live_bytes;
        report.dead_bytes += stats.log_dead_bytes;
        report.grave_bytes += stats.log_grave_bytes;
        report.large_value_count += stats.large_value_count;
        report.damage.append(&mut replay.damage);
    }
    report.damage.sort_unstable();
    report.damage.dedup();
    report
}

/// Writes into the file what was decided.
fn mark(
    region: &Region,
    surveys: &[Survey],
    members: &[Member],
    shards: &mut [Shard],
) -> Result<(), RecoverError> {
    // Any log can do it: the places say what the checks are made from.
    let Some(first) = shards.first_mut() else {
        return Ok(());
    };
    for member in members {
        first.log.make_void(member.offset);
    }
    for &block in surveys.iter().flat_map(|survey| &survey.discarded) {
        region.return_block(block);
    }
    for cut in surveys.iter().filter_map(|survey| survey.cut) {
        first.log.blank_from(cut.offset);
    }
    // An END is written when nothing beyond it is left to be found.
    region.sync()?;
    for cut in surveys.iter().filter_map(|survey| survey.cut) {
        first.log.write_end_record(cut.offset);
    }
    Ok(())
}

/// Begins a new block in every log, and empties the logs of another number of shards.
fn go_on(
    region: &Arc<Region>,
    logs: &[(&Stream, &Survey)],
    shards: &mut [Shard],
) -> Result<(), RecoverError> {
    // Without them each start would take blocks that were never used, and one day there are none left.
    let forgotten = logs.iter().flat_map(|(stream, _)| stream.forgotten(region));
    region.release_found(&forgotten.collect());
    let is_same_count = logs.iter().any(|(stream, _)| stream.is_todays);
    if is_same_count {
        shards.iter_mut().try_for_each(Shard::begin_block)?;
        // Until recovery ends the budget may be passed, and only with a reserve can keys be removed.
        for shard in &mut *shards {
            shard.log.refill_reserve();
        }
    }
    let first_sequence = region.finish_recovery()?;
    if !is_same_count {
        for shard in &mut *shards {
            shard.log.begin_at(first_sequence);
            shard.begin_block()?;
        }
    }
    let mut resplit = Resplit::new(region, shards);
    for (_, survey) in logs.iter().filter(|(stream, _)| !stream.is_kept) {
        resplit.empty(survey)?;
    }
    share_slices(shards);
    shards.iter_mut().for_each(Shard::finish_recovery);
    Ok(())
}

/// Runs that are in another shard's slice: that shard must not use their places.
fn share_slices(shards: &mut [Shard]) {
    let foreign: Vec<(u64, u64)> = shards
        .iter_mut()
        .flat_map(|shard| shard.large.take_foreign())
        .collect();
    for shard in shards {
        for &(offset, len_bytes) in &foreign {
            shard.large.leave(offset, len_bytes);
        }
    }
}

/// Does something for each item on a thread of its own.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
