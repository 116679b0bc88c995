//! How a write without room waits for memory that others are about to give back.
//!
//! In memory those are cores in the middle of a turn, which is short: it looks again and again. In a file
//! it is the disk as well: what was freed may be used again when rounds have said so. It waits for
//! some of those, and for [`ROUND_WAIT_MS_MAX`] altogether; once that was in vain, writes fail at once until
//! the next round has ended.

use std::time::Duration;

use crate::limits::ROUND_WAIT_MS_MAX;
use crate::region::Region;

use super::limbo::Limbo;

/// How often a write asks whether other cores have left what it waits for: some milliseconds.
const LOOK_COUNT_MAX: usize = 100_000;
/// For how many rounds it waits: after four all that waits is settled, and with a fifth it is free.
const ROUND_COUNT_MAX: usize = 6;
/// How long it sleeps before it looks at what its own core must do.
const SLICE: Duration = Duration::from_millis(1);

/// How a write has waited.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// Looks; in a file, slices of time.
    count: usize,
    /// The last durable round, and how many there were.
    round: Option<u64>,
    round_count: usize,
}

impl Wait {
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
        if limbo.was_in_vain(durable) {
            return false;
        }
        if self.round.replace(durable) != Some(durable) {
            self.round_count += 1;
        }
        if self.round_count > ROUND_COUNT_MAX || self.count as u64 > ROUND_WAIT_MS_MAX {
            limbo.note_in_vain(durable);
            return false;
        }
        rounds.wait_for(durable + 1, SLICE);
        true
    }
}
