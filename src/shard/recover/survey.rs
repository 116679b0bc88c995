//! Where the log of a shard ends, and which transactions are whole.
//!
//! ```text
//!      settled          synced                   cut
//!   ──────┼────────────────┼──────────────────────┼───────
//!    taken│ members are    │ a bad record ends    │ discarded
//!    as is│ counted        │ the log              │
//! ```
//!
//! Before the synced position every record is on disk, so a bad one is damage, which is left to the
//! replay to report. Beyond it a power loss has left some sectors and not others: the log ends at
//! the first record that is not whole, or at the first block whose number is missing. What a record
//! brought of a large value is part of it.
//!
//! A member of a transaction counts if the commit does. A commit before the synced position says that
//! all members are on disk. For one beyond it they are counted, and all lie beyond what is settled
//! (`region::Rounds`). A commit may also lie before what is settled of its shard while a member lies
//! beyond what is settled of another, because positions are loaded one after the other: only when
//! members are found without a commit, all of the log is searched for it.

#![expect(
    unsafe_code,
    reason = "recovery reads blocks that no log has taken over yet"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::super::large::RunReference;
use super::super::record::Kind;
use super::super::seal::Flaw;
use super::walk::{Step, Walk};
use crate::region::{BlockIndex, FoundBlock, Region};

/// The log of one shard, as it was found.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) owner: u16,
    /// Whether the owner is that shard today.
    pub(super) is_todays: bool,
    /// Whether its records stay where they are.
    pub(super) is_kept: bool,
    /// In order, freed ones included.
    pub(super) blocks: Vec<FoundBlock>,
    /// The least number a block of it can have.
    pub(super) first_sequence: u64,
    pub(super) synced: u64,
    pub(super) settled: u64,
}

/// What a survey has found.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Blocks before the cut, in order, with where in them their records end.
    pub(super) kept: Vec<Kept>,
    /// Blocks with records beyond the cut.
    pub(super) discarded: Vec<BlockIndex>,
    /// Where the log ends, if that is neither a block's end nor an END record.
    pub(super) cut: Option<Cut>,
    /// Members beyond what is settled.
    members: Vec<Member>,
    /// Commits beyond what is settled: member counts by number; `None`: all members are on disk.
    commits: BTreeMap<u64, Option<u64>>,
}

/// A block that is replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) block: BlockIndex,
    pub(super) sequence: u64,
    /// Flaws from this offset on are no damage: the end.
    pub(super) synced_len_bytes: usize,
    /// Nothing from this offset on counts.
    pub(super) end: usize,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Offset in the region.
    pub(super) offset: u64,
    /// Whether something was there that is lost.
    pub(super) is_torn: bool,
}

/// A member of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) number: u64,
    /// Offset in the region.
    pub(super) offset: u64,
}

impl Stream {
    /// Whether shard `shard` looks at it.
    pub(super) const fn is_for(&self, shard: u16) -> bool {
        !self.is_kept || self.owner == shard
    }

    /// The freed blocks wholly before the synced position, where a missing one is no end of the log.
    pub(super) fn forgotten(&self, region: &Region) -> impl Iterator<Item = usize> {
        let synced_end = self.synced / region.block_len_bytes();
        let freed = self.blocks.iter().filter(|found| found.is_freed);
        freed
            .filter(move |found| found.sequence < synced_end)
            .map(|found| found.block.get())
    }

    /// Finds the log's end and what is beyond the settled position.
    pub(super) fn survey(&self, region: &Region) -> Survey {
        let mut survey = Survey::default();
        let block_len_bytes = region.block_len_bytes();
        // A number that is missing before this one is of a block that was freed and used again.
        let mut expected = self.first_sequence;
        let synced_end = self.synced.div_ceil(block_len_bytes);
        let mut is_over = false;
        for found in &self.blocks {
            is_over |= found.sequence > expected.max(synced_end);
            expected = found.sequence + 1;
            if found.is_freed {
                continue;
            }
            if is_over {
                survey.discarded.push(found.block);
                continue;
            }
            let start = found.sequence * block_len_bytes;
            let within = |position: u64| {
                let len_bytes = position.saturating_sub(start).min(block_len_bytes);
                usize::try_from(len_bytes).expect("within a block")
            };
            let mut kept = Kept {
                block: found.block,
                sequence: found.sequence,
                synced_len_bytes: within(self.synced),
                end: within(u64::MAX),
            };
            if within(self.settled) < kept.end {
                is_over = survey.visit(region, &mut kept, within(self.settled));
            }
            survey.kept.push(kept);
        }
        survey
    }

    /// Which of `wanted` have a commit before what is settled.
    fn find_commits(&self, region: &Region, wanted: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        for block in self.blocks.iter().filter(|block| !block.is_freed) {
            let start = block.sequence * region.block_len_bytes();
            // SAFETY: recovery has the blocks to itself, and nothing is written before it is over.
            let mut walk = unsafe { Walk::over(region, block.block, 0) };
            while let Step::Record(at, shape) = walk.step() {
                if start + at as u64 >= self.settled {
                    break;
                }
                if shape.kind == Kind::COMMIT {
                    let number = shape.transaction_in(walk.record(at, shape));
                    found.extend(number.filter(|number| wanted.contains(number)));
                }
            }
        }
        found
    }
}

impl Survey {
    /// Looks at a block from a record's offset on; true when the log ends in it.
    fn visit(&mut self, region: &Region, kept: &mut Kept, settled: usize) -> bool {
        let start = region.block_start(kept.block);
        // SAFETY: as in `find_commits`.
        let mut walk = unsafe { Walk::over(region, kept.block, settled) };
        loop {
            let is_synced = walk.at() < kept.synced_len_bytes;
            match walk.step() {
                Step::End => return false,
                Step::Flaw(..) if is_synced => {
                    walk.pass_flaw();
                }
                Step::Flaw(at, flaw) => {
                    self.end_at(kept, start, at, flaw != Flaw::Blank);
                    return true;
                }
                Step::Record(at, shape) => {
                    let record = walk.record(at, shape);
                    if shape.kind == Kind::LARGE_STRING && !is_synced {
                        let reference = RunReference::from_bytes(shape.value_in(record));
                        if !reference.is_some_and(|reference| reference.is_written(region)) {
                            self.end_at(kept, start, at, true);
                            return true;
                        }
                    }
                    let Some(number) = shape.transaction_in(record) else {
                        continue;
                    };
                    if shape.kind == Kind::COMMIT {
                        let count = shape.number_in(record).filter(|_| !is_synced);
                        self.commits.insert(number, count);
                    } else if shape.kind != Kind::VOID {
                        self.members.push(Member {
                            number,
                            offset: start + at as u64,
                        });
                    }
                }
            }
        }
    }

    fn end_at(&mut self, kept: &mut Kept, start: u64, at: usize, is_torn: bool) {
        kept.end = at;
        self.cut = Some(Cut {
            offset: start + at as u64,
            is_torn,
        });
    }
}

/// The members of transactions that are not whole, of all logs.
pub(super) fn incomplete(
    region: &Region,
    streams: &[Stream],
    surveys: &[Survey],
) -> (BTreeSet<u64>, Vec<Member>) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for member in surveys.iter().flat_map(|survey| &survey.members) {
        *counts.entry(member.number).or_default() += 1;
    }
    let mut lost: BTreeSet<u64> = counts.keys().copied().collect();
    for (number, count) in surveys.iter().flat_map(|survey| &survey.commits) {
        if count.is_none_or(|count| counts.get(number) == Some(&count)) {
            lost.remove(number);
        }
    }
    if !lost.is_empty() {
        // One beyond the synced position was among those above, and its members were counted.
        let beyond: BTreeSet<u64> = surveys
            .iter()
            .flat_map(|survey| survey.commits.keys().copied())
            .collect();
        let wanted: BTreeSet<u64> = lost.difference(&beyond).copied().collect();
        for stream in streams.iter().filter(|_| !wanted.is_empty()) {
            for number in stream.find_commits(region, &wanted) {
                lost.remove(&number);
            }
        }
    }
    let members = surveys.iter().flat_map(|survey| &survey.members);
    let members = members.filter(|member| lost.contains(&member.number));
    let members = members.copied().collect();
    (lost, members)
}
