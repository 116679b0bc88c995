//! How writes wait for memory that others are about to give back.
//!
//! **Before it runs out**, in a file while keys are evicted: what is freed comes back some rounds later. A disk
//! that is slower than the writes must slow them down, and neither have them refused nor keep the core. So
//! while little is left and more is on its way, [`Shard::awaits_disk`] says that writes are to begin later.
//!
//! Work for memory counts against the turn it is done in ([`Shard::take_toil_ns`]), and a turn in which memory
//! becomes so little ends.
//!
//! **When there is none left** a write waits where it is.
//! In memory those are cores in the middle of a turn, which is short: it looks again and again. In a file
//! it is the disk as well: what was freed may be used again when rounds have said so. It waits for
//! some of those, and for [`ROUND_WAIT_MS_MAX`] altogether. What removes has to succeed, and where keys are
//! evicted so has every write: they wait for [`REMOVAL_WAIT_MS_MAX`]. Once a wait was in vain, writes fail at
//! once until the next round has ended; what removes waits all the same.

use std::time::Duration;

use crate::limits::{HELD_BACK_MS_MAX, REMOVAL_WAIT_MS_MAX, ROUND_WAIT_MS_MAX};
use crate::region::Region;

use super::limbo::Limbo;
use super::{Purpose, Shard};

/// How often a write asks whether other cores have left what it waits for: some milliseconds.
const LOOK_COUNT_MAX: u64 = 100_000;
/// For how many rounds it waits at most: after four all that waits is settled, and with a fifth it is free.
const ROUND_COUNT_MAX: u32 = 6;
/// How long it sleeps before it looks at what its own core must do.
const SLICE: Duration = Duration::from_millis(1);
/// What stands for more work than any turn has: the turn is to end.
const WHOLE_TURN_NS: u64 = u64::MAX;

/// What memory costs the turns of a shard.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when writes are held back until the disk has caught up.
    held_back_since_ms: Option<u64>,
    /// What work for memory has taken since somebody asked, as estimated.
    toil_ns: u64,
}

/// How a write has waited.
#[derive(Debug)]
pub(super) struct Wait {
    purpose: Purpose,
    is_patient: bool,
    /// Looks; in a file, slices of time.
    count: u64,
    /// The last durable round that was seen, and how many ended since the first was.
    round: Option<u64>,
    round_count: u32,
}

impl Pace {
    /// Counts work for memory.
    pub(super) const fn toil(&mut self, time_ns: u64) {
        self.toil_ns = self.toil_ns.saturating_add(time_ns);
    }
}

impl Wait {
    /// None yet, of a shard that is evicting or is not.
    pub(super) fn of(purpose: Purpose, is_evicting: bool) -> Self {
        Self {
            purpose,
            is_patient: is_evicting || purpose != Purpose::Write,
            count: 0,
            round: None,
            round_count: 0,
        }
    }

    /// Rounds that have ended while it waited.
    pub(super) const fn round_count(&self) -> u32 {
        self.round_count
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
        if self.purpose == Purpose::Write && limbo.was_in_vain(durable) {
            return false;
        }
        if self
            .round
            .replace(durable)
            .is_some_and(|round| round != durable)
        {
            self.round_count += 1;
        }
        let is_over = if self.is_patient {
            self.count > REMOVAL_WAIT_MS_MAX
        } else {
            self.count > ROUND_WAIT_MS_MAX || self.round_count >= ROUND_COUNT_MAX
        };
        if is_over {
            limbo.note_in_vain(durable);
            return false;
        }
        rounds.wait_for(durable + 1, SLICE);
        true
    }
}

impl Shard {
    /// Nanoseconds of work for memory since this was asked last, as estimated; more than any turn has where
    /// writes should not go on before the disk has caught up.
    #[inline]
    pub fn take_toil_ns(&mut self) -> u64 {
        std::mem::take(&mut self.pace.toil_ns)
    }

    /// Whether writes are to begin later, when the disk has caught up. After [`HELD_BACK_MS_MAX`] in which it
    /// has not, they go on and take what there is.
    #[inline]
    pub fn awaits_disk(&mut self, now_ms: u64) -> bool {
        self.region.is_durable() && self.holds_back(now_ms)
    }

    /// Has the turn end if writes are to be held back.
    pub(super) fn pause_for_disk(&mut self) {
        if self.is_short_of_disk() {
            self.pace.toil(WHOLE_TURN_NS);
        }
    }

    /// Whether little is left that keys are evicted for, and more on its way.
    fn is_short_of_disk(&self) -> bool {
        self.region.owed_bytes() > 0 && self.is_evicting() && self.is_nearly_out_of_memory()
    }

    fn holds_back(&mut self, now_ms: u64) -> bool {
        if !self.is_short_of_disk() {
            self.pace.held_back_since_ms = None;
            return false;
        }
        let rounds = self.region.rounds();
        rounds.request(rounds.needed());
        let since_ms = *self.pace.held_back_since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) < HELD_BACK_MS_MAX
    }
}
