//! Memory that a core keeps for its next use, and gives back when that does not come.
//!
//! How much is kept is what was in use at one time, and one moment in which all clients of a core spoke
//! at once would have it kept for good: those that wait are used again last first, so most of them are
//! never used again, and nobody else can have their memory. So a pool counts the fewest that waited in it
//! since it was looked at last ([`Pool::give_back`]): nothing missed those. Half of them go, each time.
//!
//! Not here: what makes a thing that is used again as good as new.

use std::collections::VecDeque;

/// Things that wait for their next use; the oldest first.
#[derive(Debug)]
pub(super) struct Pool<T> {
    waiting: VecDeque<T>,
    /// The fewest that have waited since the last look.
    idle_count: usize,
    count_max: usize,
}

/// Things that stay however long nobody wants one: a core that hardly does anything makes none anew.
const STAYING_COUNT: usize = 4;
/// Things given back at once: the kernel takes about 10 us for the pages of a read buffer.
const GIVEN_BACK_COUNT_MAX: usize = 32;

impl<T> Pool<T> {
    /// An empty pool for so many.
    pub(super) const fn new(count_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            idle_count: 0,
            count_max,
        }
    }

    /// The one that came last, which is in the caches.
    #[inline]
    pub(super) fn take(&mut self) -> Option<T> {
        self.take_if(0, |_| true)
    }

    /// The one that came last, or one of the `looked_at` that came first, if it is as wanted.
    #[inline]
    pub(super) fn take_if(
        &mut self,
        looked_at: usize,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let taken = if self.waiting.back().is_some_and(&is_wanted) {
            self.waiting.pop_back()
        } else {
            self.take_of_first(looked_at, is_wanted)
        };
        self.idle_count = self.idle_count.min(self.waiting.len());
        taken
    }

    fn take_of_first(&mut self, looked_at: usize, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        for _ in 0..looked_at {
            let first = self.waiting.pop_front()?;
            if is_wanted(&first) {
                return Some(first);
            }
            self.waiting.push_back(first);
        }
        None
    }

    /// Keeps one, unless there are enough.
    #[inline]
    pub(super) fn put(&mut self, thing: T) {
        if self.waiting.len() < self.count_max {
            self.waiting.push_back(thing);
        }
    }

    /// Gives half of those back that nobody has missed since the last call. To be called once in a while.
    pub(super) fn give_back(&mut self) {
        let idle_count = self.idle_count.saturating_sub(STAYING_COUNT);
        self.waiting
            .drain(..idle_count.div_ceil(2).min(GIVEN_BACK_COUNT_MAX));
        self.idle_count = self.waiting.len();
    }

    /// What waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Pool<usize> {
        let mut pool = Pool::new(count);
        (0..count).for_each(|number| pool.put(number));
        pool.give_back();
        pool
    }

    #[test]
    fn what_nobody_misses_is_given_back_and_some_stay() {
        let mut pool = filled(100);
        assert_eq!(pool.iter().count(), 100, "they have only come");
        for _ in 0..20 {
            pool.give_back();
        }
        assert_eq!(pool.iter().count(), STAYING_COUNT);
        assert_eq!(pool.take(), Some(99), "the oldest have gone");
    }

    #[test]
    fn what_was_in_use_at_once_stays() {
        let mut pool = filled(100);
        for _ in 0..20 {
            let taken: Vec<usize> = (0..98).filter_map(|_| pool.take()).collect();
            taken.into_iter().for_each(|number| pool.put(number));
            pool.give_back();
        }
        assert_eq!(pool.iter().count(), 100);
    }

    #[test]
    fn no_more_are_kept_than_the_pool_is_for() {
        let mut pool = filled(2);
        pool.put(7);
        assert_eq!(
            [pool.take(), pool.take(), pool.take()],
            [Some(1), Some(0), None]
        );
    }
}
