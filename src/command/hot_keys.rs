//! The keys that are used most, found by looking at a command now and then while somebody watches.
//!
//! A core counts at most [`HOT_KEY_COUNT_MAX`] keys. One that is not among them takes the place of the
//! one with the least, and its count with it ("space saving": Metwally, Agrawal, El Abbadi, 2005): so
//! a key that is used more than that is never missed, and a count is too high by the least at most.
//! Counts fade, by half in ten seconds, so that the list is of now.
//!
//! Commands pay nothing for it: once a turn it is asked whether to look ([`HotKeys::is_due`]), and as
//! many turns are passed over as it takes for about [`HOT_KEY_SAMPLES_PER_SECOND`] samples. A sample
//! stands for all commands of the turns passed over.
//!
//! Not here: which command of a turn is looked at (`lane::timing`).

use crate::limits::{
    HOT_KEY_COUNT_MAX, HOT_KEY_LEN_BYTES_MAX, HOT_KEY_PATIENCE_S, HOT_KEY_SAMPLES_PER_SECOND,
};

/// The keys used most on one core, or on all.
#[derive(Clone, Debug, Default)]
pub struct HotKeys {
    /// Turns from one sample to the next; 0: nobody watches.
    stride: u64,
    /// What that is, or would be if somebody watched.
    pace: u64,
    /// Turns until the next one.
    left: u64,
    /// Seconds until nobody watches any more.
    patience_s: u32,
    /// Turns of the core a second ago.
    turn_count: u64,
    /// Commands that the samples stand for.
    total: f64,
    counts: Vec<(Box<[u8]>, f64)>,
}

/// What is left of a count after a second: half in ten.
const FADE: f64 = 0.933;
/// Counts below this are forgotten.
const FORGOTTEN: f64 = 0.01;

impl HotKeys {
    /// Somebody looks.
    pub fn watch(&mut self) {
        self.patience_s = HOT_KEY_PATIENCE_S;
        self.stride = self.pace.max(1);
    }

    /// Whether the turn that ends is one to look at.
    #[inline]
    pub fn is_due(&mut self) -> bool {
        if self.stride == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.left = self.stride;
        true
    }

    /// A second is over, at whose end the core has had `turn_count` turns.
    pub fn begin_second(&mut self, turn_count: u64) {
        let gained = turn_count.saturating_sub(self.turn_count);
        self.turn_count = turn_count;
        self.pace = (gained / HOT_KEY_SAMPLES_PER_SECOND).max(1);
        if self.stride == 0 {
            return;
        }
        self.patience_s = self.patience_s.saturating_sub(1);
        if self.patience_s == 0 {
            *self = Self {
                turn_count,
                pace: self.pace,
                ..Self::default()
            };
            return;
        }
        self.stride = self.pace;
        // What was to be passed over when there was more to do would last too long now.
        self.left = self.left.min(self.stride);
        self.total *= FADE;
        self.counts.iter_mut().for_each(|(_, count)| *count *= FADE);
        self.counts.retain(|(_, count)| *count > FORGOTTEN);
    }

    /// Counts a sample: a command of a turn of `command_count`, with its key if it has one.
    pub fn add(&mut self, key: Option<&[u8]>, command_count: u64) {
        let weight = (self.stride.max(1) * command_count.max(1)) as f64;
        self.total += weight;
        if let Some(key) = key {
            self.count(&key[..key.len().min(HOT_KEY_LEN_BYTES_MAX)], weight);
        }
    }

    fn count(&mut self, key: &[u8], weight: f64) {
        let known = self.counts.iter_mut().find(|(known, _)| **known == *key);
        if let Some((_, count)) = known {
            *count += weight;
        } else if self.counts.len() < HOT_KEY_COUNT_MAX {
            self.counts.push((key.into(), weight));
        } else {
            let least = self
                .counts
                .iter_mut()
                .min_by(|(_, a), (_, b)| a.total_cmp(b));
            let (place, count) = least.expect("there are as many as there can be");
            *place = key.into();
            *count += weight;
        }
    }

    /// Adds another core's.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for (key, count) in &other.counts {
            match self.counts.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known += count,
                None => self.counts.push((key.clone(), *count)),
            }
        }
    }

    /// The keys used most, most first, at most `count_max`; each with its share of all commands.
    pub fn top(&self, count_max: usize) -> Vec<(&[u8], f64)> {
        let total = self.total.max(1.0);
        let shares = self
            .counts
            .iter()
            .map(|(key, count)| (&**key, count / total));
        let mut keys: Vec<(&[u8], f64)> = shares.collect();
        keys.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        keys.truncate(count_max);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_unless_somebody_watches() {
        let mut keys = HotKeys::default();
        assert!(!keys.is_due());
        keys.watch();
        assert!(keys.is_due());
        for _ in 0..HOT_KEY_PATIENCE_S {
            keys.begin_second(0);
        }
        assert!(!keys.is_due());
    }

    #[test]
    fn samples_become_rarer_as_turns_become_more() {
        let mut keys = HotKeys::default();
        keys.watch();
        keys.begin_second(HOT_KEY_SAMPLES_PER_SECOND * 8);
        let due_count = (0..800).filter(|_| keys.is_due()).count();
        assert_eq!(due_count, 100);
    }

    #[test]
    fn samples_are_rare_from_the_first_one_on() {
        let mut keys = HotKeys::default();
        keys.begin_second(HOT_KEY_SAMPLES_PER_SECOND * 8);
        keys.watch();
        let due_count = (0..800).filter(|_| keys.is_due()).count();
        assert_eq!(due_count, 100);
    }

    #[test]
    fn samples_become_frequent_again_when_turns_become_few() {
        let mut keys = HotKeys::default();
        keys.watch();
        keys.begin_second(HOT_KEY_SAMPLES_PER_SECOND * 1_000);
        assert!(keys.is_due());
        assert!(!keys.is_due());
        keys.begin_second(HOT_KEY_SAMPLES_PER_SECOND * 1_000 + 1);
        assert!(keys.is_due());
    }

    #[test]
    fn a_key_used_more_than_others_is_found_among_many() {
        let mut keys = HotKeys::default();
        keys.watch();
        for number in 0..10_000_u64 {
            let key = if number.is_multiple_of(5) {
                "hot".to_owned()
            } else {
                format!("key:{number}")
            };
            keys.add(Some(key.as_bytes()), 1);
        }
        let top = keys.top(1);
        assert_eq!(top[0].0, b"hot");
        assert!((0.2..0.22).contains(&top[0].1), "{top:?}");
        assert_eq!(keys.counts.len(), HOT_KEY_COUNT_MAX);
    }

    #[test]
    fn shares_are_of_all_commands_of_all_cores() {
        let (mut one, mut other) = (HotKeys::default(), HotKeys::default());
        one.add(Some(b"a"), 1);
        one.add(None, 1);
        other.add(Some(b"a"), 2);
        one.merge(&other);
        assert_eq!(one.top(5), [(&b"a"[..], 0.75)]);
    }

    #[test]
    fn what_is_used_no_more_fades() {
        let mut keys = HotKeys::default();
        keys.watch();
        keys.add(Some(b"old"), 1);
        for _ in 0..100 {
            keys.watch();
            keys.begin_second(0);
        }
        assert!(keys.top(1).is_empty());
    }

    #[test]
    fn long_keys_are_cut() {
        let mut keys = HotKeys::default();
        keys.add(Some(&[b'x'; 1_000]), 1);
        assert_eq!(keys.top(1)[0].0.len(), HOT_KEY_LEN_BYTES_MAX);
    }
}
