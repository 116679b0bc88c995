//! How writes wait for memory that others are about to give back.
//!
//! **Before it runs out**, in a file while keys are evicted: what is freed comes back some rounds later. A disk
//! that is slower than the writes must slow them down, and neither have them refused nor keep the core. So
//! while little is left and more is on its way, [`Shard::awaits_disk`] says that writes are to begin later.
//!
//! **When there is none left** a write waits where it is.
//! In memory those are cores in the middle of a turn, which is short: it looks again and again. In a file
//! it is the disk as well: what was freed may be used again when rounds have said so. It waits for
//! some of those, and for [`ROUND_WAIT_MS_MAX`] altogether; once that was in vain, writes fail at once until
//! the next round has ended. What removes has to succeed: it waits for [`REMOVAL_WAIT_MS_MAX`], also where
//! another has waited in vain.

use std::time::Duration;

use crate::limits::{HELD_BACK_MS_MAX, REMOVAL_WAIT_MS_MAX, ROUND_WAIT_MS_MAX};
use crate::region::Region;

use super::limbo::Limbo;
use super::{Purpose, Shard};

/// How often a write asks whether other cores have left what it waits for: some milliseconds.
const LOOK_COUNT_MAX: usize = 100_000;
/// For how many rounds it waits: after four all that waits is settled, and with a fifth it is free.
const ROUND_COUNT_MAX: usize = 6;
/// How long it sleeps before it looks at what its own core must do.
const SLICE: Duration = Duration::from_millis(1);

/// How a write has waited.
#[derive(Debug)]
pub(super) struct Wait {
    purpose: Purpose,
    /// Looks; in a file, slices of time.
    count: usize,
    /// The last durable round, and how many there were.
    round: Option<u64>,
    round_count: usize,
}

impl Wait {
    /// None yet.
    pub(super) const fn of(purpose: Purpose) -> Self {
        Self {
            purpose,
            count: 0,
            round: None,
            round_count: 0,
        }
    }

    /// Waits a moment; false: it was long enough.
    pub(super) fn goes_on(&mut self, region: &Region, limbo: &mut Limbo) -> bool {
        self.count += 1;
        if region.is_durable() {
            return self.waits_for_a_round(region, limbo);
        }
        std::hint::spin_loop();
        self.count <= LOOK_COUNT_MAX
    }

    fn waits_for_a_round(&mut self, region: &Region, limbo: &mut Limbo) -> bool {
        let rounds = region.rounds();
        let durable = rounds.durable();
        rounds.request(rounds.needed());
        let may_fail = self.purpose == Purpose::Write;
        let patience_ms = if may_fail {
            ROUND_WAIT_MS_MAX
        } else {
            REMOVAL_WAIT_MS_MAX
        };
        if may_fail && limbo.was_in_vain(durable) {
            return false;
        }
        if self.round.replace(durable) != Some(durable) {
            self.round_count += 1;
        }
        if self.round_count > ROUND_COUNT_MAX || self.count as u64 > patience_ms {
            limbo.note_in_vain(durable);
            return false;
        }
        rounds.wait_for(durable + 1, SLICE);
        true
    }
}

impl Shard {
    /// Whether writes are to begin later, when the disk has caught up. After [`HELD_BACK_MS_MAX`] in which it
    /// has not, they go on and take what there is.
    #[inline]
    pub fn awaits_disk(&mut self, now_ms: u64) -> bool {
        self.region.is_durable() && self.holds_back(now_ms)
    }

    fn holds_back(&mut self, now_ms: u64) -> bool {
        let is_short = self.is_evicting() && self.is_nearly_out_of_memory() && self.is_owed();
        if !is_short {
            self.held_back_since_ms = None;
            return false;
        }
        let rounds = self.region.rounds();
        rounds.request(rounds.needed());
        let since_ms = *self.held_back_since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) < HELD_BACK_MS_MAX
    }
}
