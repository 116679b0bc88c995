//! Watched keys: whether any of a set of keys has changed since somebody asked to be told.
//!
//! A watch is a number with some keys of this shard. Whatever changes a key's value or expiry, or lets
//! it come or go, marks the watches that name it; a copy made by compaction changes nothing. As long
//! as nothing is watched a write asks one word.
//!
//! Keys are told apart by their whole hash: should two ever share one, a watch is marked once too
//! often, and who watches tries again.
//!
//! Time changes keys, too: whoever asks whether a watch is unmarked first has the keys looked at.
//!
//! Not here: who watches, and what follows from a mark (`command::transaction`).

use std::collections::HashMap;

use super::{Key, Place, Shard};
use crate::hash::KeyHash;

/// The watches of one shard.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Numbers of watches, by the hash of a key that they name.
    by_key: HashMap<u64, Vec<u64>>,
    by_id: HashMap<u64, Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    keys: Vec<Box<[u8]>>,
    is_marked: bool,
}

impl Shard {
    /// Adds a key to the watch `id`.
    pub fn watch(&mut self, key: Key<'_>, id: u64, now_ms: u64) {
        // If its time has come it goes now, so that its going is no change.
        let _ = self.find(key, now_ms);
        let watches = self.watches.get_or_insert_default();
        let watch = watches.by_id.entry(id).or_default();
        if watch.keys.iter().any(|known| **known == *key.bytes) {
            return;
        }
        watch.keys.push(key.bytes.into());
        watches
            .by_key
            .entry(key.hash().bits())
            .or_default()
            .push(id);
    }

    /// Whether nothing of the watch `id` has changed. One that is not known has.
    pub fn is_unchanged(&mut self, id: u64, now_ms: u64) -> bool {
        let watch = self
            .watches
            .as_mut()
            .and_then(|watches| watches.by_id.get_mut(&id));
        let keys = watch.map(|watch| std::mem::take(&mut watch.keys));
        let mut has_expired = false;
        for name in keys.iter().flatten() {
            // Lets what has expired go, which marks the watch, unless there is no room for its tombstone.
            let is_found = self.find(self.key(name), now_ms).is_some();
            has_expired |= !is_found && self.lookup(self.key(name)).is_some();
        }
        let watch = self
            .watches
            .as_mut()
            .and_then(|watches| watches.by_id.get_mut(&id));
        watch.is_some_and(|watch| {
            watch.keys = keys.unwrap_or_default();
            !watch.is_marked && !has_expired
        })
    }

    /// Forgets the watch `id`.
    pub fn unwatch(&mut self, id: u64) {
        let Some(watches) = &mut self.watches else {
            return;
        };
        for name in watches
            .by_id
            .remove(&id)
            .into_iter()
            .flat_map(|watch| watch.keys)
        {
            let hash = self.hasher.hash(&name).bits();
            if let Some(ids) = watches.by_key.get_mut(&hash) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    watches.by_key.remove(&hash);
                }
            }
        }
        if watches.by_id.is_empty() {
            self.watches = None;
        }
    }

    /// Whether any key is watched.
    #[must_use]
    pub const fn has_watches(&self) -> bool {
        self.watches.is_some()
    }

    /// Marks the watches of a key that changes.
    #[inline]
    pub(super) fn mark_change(&mut self, hash: KeyHash) {
        if self.watches.is_some() {
            self.mark_watches(hash);
        }
    }

    /// The same for the key at `place`.
    #[inline]
    pub(super) fn mark_change_at(&mut self, place: Place) {
        if self.watches.is_some() {
            let record = self.log.record(self.table.slot(place).location());
            self.mark_watches(self.hasher.hash(record.key()));
        }
    }

    /// Marks the watches of all keys that are there: they are about to go.
    pub(super) fn mark_all_changes(&mut self) {
        let Some(watches) = &self.watches else {
            return;
        };
        let names = watches.by_id.values().flat_map(|watch| &watch.keys);
        let keys = names.map(|name| self.key(name));
        let hashes: Vec<KeyHash> = keys
            .filter(|key| self.lookup(*key).is_some())
            .map(Key::hash)
            .collect();
        for hash in hashes {
            self.mark_watches(hash);
        }
    }

    #[cold]
    fn mark_watches(&mut self, hash: KeyHash) {
        let Some(watches) = &mut self.watches else {
            return;
        };
        for id in watches.by_key.get(&hash.bits()).into_iter().flatten() {
            if let Some(watch) = watches.by_id.get_mut(id) {
                watch.is_marked = true;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
