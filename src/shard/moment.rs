//! Keys of several shards as they were at one moment, without holding any.
//!
//! ```text
//!   look at each key and note its slot ──► the moment ──► look at each slot again, and at the words
//! ```
//!
//! The keys are read twice under one pin. If a slot holds the same both times it held it in between,
//! because a place in the log or in a segment is not used again meanwhile. A key that was absent both
//! times was absent in between if nothing was removed from its shard. So each key was as it was found
//! at the moment between the two passes. And if no shard's sequence word has changed, none was held
//! at that moment, so that no command over several of them was half done.
//!
//! Large values and keys whose time has come make it fail, as in [`Reader::find`](super::Reader::find).

use super::{Key, Probe, Reader, Shard, Unsure};
use crate::atomic::Ordering;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Moment {
    /// By shard: its words before the first of its keys was looked at.
    marks: Vec<Option<Mark>>,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    sequence: u64,
    removals: u64,
    has_absent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    probe: Probe,
    shard: u16,
    position: u32,
}

impl Moment {
    /// Forgets what was found, and keeps the memory.
    pub fn clear(&mut self) {
        self.marks.clear();
        self.seen.clear();
    }

    /// Looks for the key at `position` of some list, in another shard; what it returns finds the slot
    /// at once.
    ///
    /// # Errors
    /// If the shard is being changed.
    #[inline]
    pub fn see(
        &mut self,
        reader: Reader<'_>,
        key: Key<'_>,
        position: usize,
    ) -> Result<Probe, Unsure> {
        let shard = usize::from(reader.shard);
        if self.marks.len() <= shard {
            self.marks.resize(shard + 1, None);
        }
        let mark = self.marks[shard].get_or_insert_with(|| Mark {
            sequence: reader.sequence,
            removals: reader.removals(),
            has_absent: false,
        });
        if !mark.sequence.is_multiple_of(2) {
            return Err(Unsure);
        }
        let probe = reader.locate(key)?;
        mark.has_absent |= probe.is_empty();
        self.seen.push(Seen {
            probe,
            shard: reader.shard,
            position: u32::try_from(position).map_err(|_| Unsure)?,
        });
        Ok(probe)
    }

    /// Whether all that was seen was so at one moment. `name` says which key is at a position, and
    /// `shard` is the own one, which has been pinned since before the first was looked at.
    pub fn is_one<'a>(&self, shard: &Shard, name: impl Fn(usize) -> &'a [u8]) -> bool {
        let is_same = |seen: &Seen| {
            let reader = shard.reader(seen.shard);
            if seen.probe.is_empty() {
                let key = Key::new(name(seen.position as usize), seen.probe.hash);
                reader.locate(key).is_ok_and(Probe::is_empty)
            } else {
                reader.is_same(seen.probe)
            }
        };
        // The words last: each load of a slot is an acquire.
        self.seen.iter().all(is_same)
            && (0..).zip(&self.marks).all(|(other, mark)| {
                mark.is_none_or(|mark| {
                    let reader = shard.reader(other);
                    let has_kept = !mark.has_absent || reader.removals() == mark.removals;
                    reader.sequence == mark.sequence && has_kept
                })
            })
    }
}

impl Reader<'_> {
    /// How many slots of the shard were emptied so far.
    fn removals(&self) -> u64 {
        self.region
            .door(self.shard)
            .removals
            .0
            .load(Ordering::Acquire)
    }
}
