//! How many blocks of the log are likely to be taken soon.
//!
//! Counted by time and not by round: where rounds follow each other fast, few are taken in each, and what
//! came back would be given away one moment and missed the next. For the preparing thread, on whose
//! clock this is; without one nothing is counted.

use std::time::Duration;

/// Takes are counted over so long: the pace of rounds that nobody asks for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Fewer blocks than these in two intervals takes a shard that begins, or that is hardly written to.
const FEW: usize = 8;

/// What was taken of late, and how many rounds there were.
#[derive(Debug, Default)]
pub(super) struct Demand {
    began_us: u64,
    /// Since then.
    now: Counts,
    /// In the interval before.
    last: Counts,
    /// In the one before that.
    earlier: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    taken: usize,
    rounds: usize,
}

impl Counts {
    /// Whether each round had a block of each shard to write.
    const fn fill_rounds(self, shard_count: usize) -> bool {
        self.rounds > 0 && self.taken >= shard_count * self.rounds
    }

    /// Whether few had.
    const fn starve_rounds(self, shard_count: usize) -> bool {
        4 * self.taken < shard_count * self.rounds
    }
}

impl Demand {
    pub(super) const fn note_taken(&mut self) {
        self.now.taken += 1;
    }

    pub(super) const fn note_round(&mut self) {
        self.now.rounds += 1;
    }

    /// Begins the next interval when it is time to.
    pub(super) fn look(&mut self, now_us: u64) {
        if Duration::from_micros(now_us.saturating_sub(self.began_us)) >= INTERVAL {
            self.began_us = now_us;
            self.earlier = self.last;
            self.last = std::mem::take(&mut self.now);
        }
    }

    /// Blocks that were taken in an interval.
    pub(super) fn recent_count(&self) -> usize {
        self.last.taken.max(self.now.taken)
    }

    /// Whether rounds find whole blocks of all shards to write. As before, `was_so`, unless two intervals say
    /// otherwise: shards that are filled evenly begin their blocks in the same moment, however rarely.
    pub(super) const fn fills_rounds(&self, shard_count: usize, was_so: bool) -> bool {
        let (last, earlier) = (self.last, self.earlier);
        if was_so {
            !(last.starve_rounds(shard_count) && earlier.starve_rounds(shard_count))
        } else {
            last.fill_rounds(shard_count) && earlier.fill_rounds(shard_count)
        }
    }

    /// Whether rounds of late had a block of each shard to write. Not where few blocks are taken at all.
    pub(super) const fn has_filled_rounds(&self, shard_count: usize) -> bool {
        let taken = self.last.taken + self.now.taken;
        let rounds = self.last.rounds + self.now.rounds;
        taken >= shard_count * rounds && taken >= shard_count * FEW
    }

    /// Whether `count` blocks are likely to be taken before the next round. Not where nothing is taken: what is
    /// made ready then is written by each round, for nothing.
    pub(super) const fn outruns_rounds(&self, count: usize) -> bool {
        let taken = self.last.taken + self.now.taken;
        let rounds = self.last.rounds + self.now.rounds;
        // So many stretches lie between them, and takes before the first round count as if they came after it: what
        // is made ready for too few is written once, within two intervals.
        let stretches = if rounds > 1 { rounds - 1 } else { 1 };
        taken > 0 && taken >= count * stretches
    }

    /// How long until this may have changed although nobody took anything.
    pub(super) fn patience(&self) -> Duration {
        if self.recent_count() > 0 {
            INTERVAL
        } else {
            Duration::MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_US: u64 = 1_000_000;

    fn demand(taken: usize, rounds: usize) -> Demand {
        let mut demand = Demand::default();
        (0..taken).for_each(|_| demand.note_taken());
        (0..rounds).for_each(|_| demand.note_round());
        demand
    }

    #[test]
    fn demand_is_what_was_taken_lately_and_is_forgotten() {
        assert_eq!(demand(0, 5).patience(), Duration::MAX);
        let mut demand = demand(20, 5);
        demand.look(INTERVAL_US);
        demand.note_taken();
        demand.look(INTERVAL_US + 1);
        assert_eq!(demand.recent_count(), 20);
        assert_eq!(demand.patience(), INTERVAL);
        demand.look(2 * INTERVAL_US);
        assert_eq!(demand.recent_count(), 1);
        demand.look(3 * INTERVAL_US);
        assert_eq!(demand.recent_count(), 0);
    }

    #[test]
    fn rounds_are_filled_by_blocks_and_not_by_records() {
        let fills = |earlier: (usize, usize), last: (usize, usize), was_so| {
            let mut demand = demand(earlier.0, earlier.1);
            demand.look(INTERVAL_US);
            (0..last.0).for_each(|_| demand.note_taken());
            (0..last.1).for_each(|_| demand.note_round());
            demand.look(2 * INTERVAL_US);
            demand.fills_rounds(2, was_so)
        };
        assert!(fills((160, 50), (140, 50), false) && fills((2, 1), (2, 1), false));
        assert!(!fills((0, 1), (9, 1), false) && !fills((9, 0), (9, 0), false));
        assert!(!fills((80, 50), (80, 50), false) && fills((80, 50), (80, 50), true));
        assert!(!fills((4, 900), (4, 900), true) && !fills((0, 1), (0, 1), true));
        assert!(fills((0, 1), (1, 1), true) && fills((0, 0), (0, 0), true));
    }

    #[test]
    fn blocks_are_taken_before_the_next_round_where_rounds_are_rare() {
        let mut demand = demand(100, 2);
        assert!(demand.outruns_rounds(100) && !demand.outruns_rounds(101));
        demand.look(INTERVAL_US);
        demand.note_round();
        assert!(demand.outruns_rounds(50) && !demand.outruns_rounds(51));
    }

    #[test]
    fn rounds_of_a_server_that_takes_nothing_are_neither_outrun_nor_filled() {
        let mut demand = Demand::default();
        let is_idle = |demand: &Demand| !demand.outruns_rounds(1) && !demand.has_filled_rounds(1);
        assert!(is_idle(&demand));
        for _ in 0..3 {
            demand.note_round();
            assert!(is_idle(&demand));
        }
        (0..FEW).for_each(|_| demand.note_taken());
        assert!(demand.has_filled_rounds(1) && !demand.has_filled_rounds(2));
        (0..FEW).for_each(|_| demand.note_round());
        assert!(!demand.has_filled_rounds(1));
        demand.look(INTERVAL_US);
        demand.look(2 * INTERVAL_US);
        assert!(is_idle(&demand));
    }
}
