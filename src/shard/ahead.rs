//! Keys looked at before their turn, so that the memory they need is on its way.
//!
//! ```text
//!   taken │ probed: record on its way │ fetched: bucket on its way │ not asked for
//!         └──► next to take           └──► next to probe           └──► next to hash
//! ```
//!
//! The same for the keys of one long command (MGET, MSET, DEL) as `lane::window` does for the
//! commands of a pipeline, and with the same widths: a core keeps ten and more cache misses in flight,
//! and one that looks keys up one after the other uses one of them.
//!
//! Where a key's buckets are is the caller's to say: they may be another core's. Those of a shard itself
//! are asked for at the end of this file.

use crate::hash::KeyHash;
use crate::limits::{PROBE_COMMAND_COUNT, WINDOW_COMMAND_COUNT};

use super::{Probe, Shard};

/// Keys of one sequence on their way, each with whatever the caller wants to know again of it.
#[derive(Debug)]
pub struct Ahead<T> {
    /// Key number n is at `n % WINDOW_COMMAND_COUNT`.
    ring: [(T, Probe); WINDOW_COMMAND_COUNT],
    /// How many there were so far: `taken <= probed <= fetched`.
    taken: usize,
    probed: usize,
    fetched: usize,
    /// The key before which the ring is filled again.
    refill_at: usize,
}

/// Keys taken between two fillings: what each stage does in one loop of its own.
const REFILL_KEY_COUNT: usize = PROBE_COMMAND_COUNT / 2;

impl<T: Copy + Default> Default for Ahead<T> {
    fn default() -> Self {
        Self {
            ring: [(T::default(), Probe::NONE); WINDOW_COMMAND_COUNT],
            taken: 0,
            probed: 0,
            fetched: 0,
            refill_at: 0,
        }
    }
}

impl<T: Copy + Default> Ahead<T> {
    /// The next key: what `source` said of it, and what looking at its buckets found. `source` is
    /// asked for keys in their order until it has no more; `prefetch` begins to fetch a key's
    /// buckets, `probe` looks at them.
    #[inline]
    pub fn next(
        &mut self,
        source: impl FnMut() -> Option<(T, KeyHash)>,
        prefetch: impl Fn(T, KeyHash),
        probe: impl Fn(T, KeyHash) -> Probe,
    ) -> Option<(T, Probe)> {
        if self.taken >= self.refill_at {
            self.refill(source, prefetch, probe);
        }
        if self.taken == self.fetched {
            return None;
        }
        self.taken += 1;
        Some(self.ring[(self.taken - 1) % WINDOW_COMMAND_COUNT])
    }

    fn refill(
        &mut self,
        mut source: impl FnMut() -> Option<(T, KeyHash)>,
        prefetch: impl Fn(T, KeyHash),
        probe: impl Fn(T, KeyHash) -> Probe,
    ) {
        while self.fetched - self.taken < WINDOW_COMMAND_COUNT
            && let Some((of_key, hash)) = source()
        {
            prefetch(of_key, hash);
            self.ring[self.fetched % WINDOW_COMMAND_COUNT] = (of_key, Probe::of(hash));
            self.fetched += 1;
        }
        let end = self.fetched.min(self.taken + PROBE_COMMAND_COUNT);
        while self.probed < end {
            let (of_key, found) = &mut self.ring[self.probed % WINDOW_COMMAND_COUNT];
            *found = probe(*of_key, found.hash);
            self.probed += 1;
        }
        self.refill_at = self.fetched.min(self.taken + REFILL_KEY_COUNT);
    }
}

impl Shard {
    /// Begins to fetch where the slot of a key is.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: KeyHash) {
        self.table.prefetch(hash);
    }

    /// Looks at the slots of a key whose bucket has arrived and begins to fetch its record. What it
    /// returns, put into the [`Key`], saves the search for the slot.
    #[inline(always)]
    #[must_use]
    pub fn probe(&self, hash: KeyHash) -> Probe {
        self.table.probe(hash)
    }

    /// As [`probe`](Self::probe), for a command that may replace or remove the record: begins to
    /// fetch too what counts it as dead.
    #[inline(always)]
    #[must_use]
    pub fn probe_to_write(&self, hash: KeyHash) -> Probe {
        let probe = self.table.probe(hash);
        self.log.prefetch_mark(probe.record_offset());
        probe
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn each_key_is_fetched_then_probed_then_taken_and_few_at_a_time() {
        for count in [0, 1, 8, WINDOW_COMMAND_COUNT, 1000] {
            let (mut ahead, mut sent) = (Ahead::default(), 0);
            let (fetched, probed) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
            for number in 0..=count {
                let source = || {
                    sent += 1;
                    (sent <= count).then(|| (sent, KeyHash::from_bits(sent as u64)))
                };
                let probe = |of_key, hash| {
                    assert!(fetched.borrow().contains(&of_key));
                    probed.borrow_mut().push(of_key);
                    Probe::of(hash)
                };
                let next = ahead.next(source, |key, _| fetched.borrow_mut().push(key), probe);
                let expected = (number < count).then_some((number + 1, number as u64 + 1));
                let found = next.map(|(of_key, probe)| (of_key, probe.hash.bits()));
                assert_eq!(found, expected);
                assert!(number == count || probed.borrow().contains(&(number + 1)));
                assert!(fetched.borrow().len() <= number + WINDOW_COMMAND_COUNT);
            }
            assert_eq!(*fetched.borrow(), (1..=count).collect::<Vec<_>>());
            assert_eq!(*probed.borrow(), *fetched.borrow());
        }
    }
}
