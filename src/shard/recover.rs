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

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use super::{OutOfMemory, Shard};
use crate::atomic::{AtomicU64, Ordering};
use crate::hash::Hasher;
use crate::region::{Found, FoundBlock, Region};

mod replay;
mod survey;
mod walk;

use replay::Replay;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    OutOfMemory,
    /// What the kernel said.
    Io(io::Error),
}

impl From<OutOfMemory> for RecoverError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
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
            Self::OutOfMemory => f.write_str(
                "maxmemory has no room for the index of the keys that were found; raise it",
            ),
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
    let streams = streams_of(region, found);
    let held = found.blocks.iter().filter(|found| !found.is_freed).count() as u64;
    let total_bytes = held * region.block_len_bytes();
    progress.total_bytes.store(total_bytes, Ordering::Relaxed);

    let surveys = in_parallel(&streams, |stream| stream.survey(region));
    let (lost, members) = survey::incomplete(region, &streams, &surveys);
    let both: Vec<(&Stream, &Survey)> = streams.iter().zip(&surveys).collect();
    let replays = in_parallel(&both, |(stream, survey)| {
        replay(region, stream, survey, hasher, &lost, progress, mode)
    });
    let mut replays = replays.into_iter().collect::<Result<Vec<_>, _>>()?;

    let mut report = summary(region, found, &surveys, &mut replays);
    report.void_count = members.len() as u64;
    if !report.damage.is_empty() && mode == Mode::Refuse {
        return Err(RecoverError::Damaged(Box::new(report)));
    }
    let mut shards: Vec<Shard> = replays.into_iter().map(|replay| replay.shard).collect();
    if mode != Mode::Inspect {
        mark(region, &surveys, &members, &mut shards)?;
        region.finish_recovery()?;
        shards.iter_mut().for_each(Shard::finish_recovery);
    }
    Ok((shards, report))
}

/// The logs of the last generation.
fn streams_of(region: &Region, found: &Found) -> Vec<Stream> {
    let owners = 0..u16::try_from(region.shard_count()).expect("shards are counted in 16 bits");
    let first_sequence = found
        .generations
        .last()
        .map_or(1, |generation| generation.first_sequence);
    let position = |positions: &[u64], owner: u16| {
        let position = positions.get(usize::from(owner));
        position.copied().unwrap_or(0)
    };
    owners
        .map(|owner| Stream {
            owner,
            blocks: blocks_of(found, owner, first_sequence),
            first_sequence,
            synced: position(&found.synced, owner),
            settled: position(&found.settled, owner),
        })
        .collect()
}

fn blocks_of(found: &Found, owner: u16, first_sequence: u64) -> Vec<FoundBlock> {
    let is_of = |found: &&FoundBlock| found.owner == owner && found.sequence >= first_sequence;
    let mut blocks: Vec<FoundBlock> = found.blocks.iter().filter(is_of).copied().collect();
    blocks.sort_unstable_by_key(|found| (found.sequence, found.is_freed));
    blocks
}

fn replay<'a>(
    region: &Arc<Region>,
    stream: &Stream,
    survey: &Survey,
    hasher: &Hasher,
    lost: &'a BTreeSet<u64>,
    progress: &Progress,
    mode: Mode,
) -> Result<Replay<'a>, OutOfMemory> {
    let last = stream.blocks.last().map(|found| found.sequence);
    let sequence = last.unwrap_or(0).max(stream.first_sequence - 1);
    let mut replay = Replay::begin(region, stream.owner, hasher, sequence, lost)?;
    replay.run(survey, progress)?;
    if mode == Mode::Inspect {
        replay.check_large();
    }
    replay.adopt_large();
    Ok(replay)
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
    report
}

/// Writes into the file what was decided.
fn mark(
    region: &Region,
    surveys: &[Survey],
    members: &[Member],
    shards: &mut [Shard],
) -> Result<(), RecoverError> {
    for (survey, shard) in surveys.iter().zip(&mut *shards) {
        let is_own = |member: &&Member| {
            let block = region.block_of(member.offset);
            survey.kept.iter().any(|kept| kept.block == block)
        };
        for member in members.iter().filter(is_own) {
            shard.log.make_void(member.offset);
        }
        for &block in &survey.discarded {
            region.return_block(block);
        }
    }
    // An END is written when nothing beyond it is left to be found.
    region.sync()?;
    for (survey, shard) in surveys.iter().zip(shards) {
        if let Some(cut) = survey.cut {
            shard.log.end_adopted(cut.offset);
        }
        shard.begin_block()?;
    }
    Ok(())
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
