//! Drafts: runs that a command fills in slices before they become a value, or never do.
//!
//! BITOP makes a value of 512 MiB that no client sent, a slice at a time; LCS and PFCOUNT need
//! memory for a while that the budget should know of. A draft is a run that is no key's value. It is
//! pinned once, by whoever fills it, and ends with that pin, or when it is stored.
//!
//! In a file the checksum follows what was filled, so that storing a draft does not read it all.

use super::{Attributes, Key, OutOfMemory, Pinned, Shard, Written};

impl Shard {
    /// A draft of `len_bytes` zeros, pinned.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn begin_draft(&mut self, len_bytes: usize) -> Result<Pinned, OutOfMemory> {
        let run = self.with_room(|shard| shard.large.create(len_bytes))?;
        Ok(self.large.draft(run))
    }

    /// A run as whoever pinned it knows it.
    #[must_use]
    pub fn pinned(&self, run: u32) -> Pinned {
        self.large.pinned(run)
    }

    /// The bytes of a draft.
    ///
    /// # Panics
    /// If the run is none.
    pub fn draft_mut(&mut self, run: u32) -> &mut [u8] {
        self.large.draft_mut(run)
    }

    /// Says that the first `end` bytes of a draft are final, which makes storing it cheaper.
    pub fn finish_draft_to(&mut self, run: u32, end: usize) {
        self.large.check_to(run, end);
    }

    /// Makes a draft the value of a key. It is no draft any more, whether it could be stored or not.
    ///
    /// # Errors
    /// If there is no memory for the record; the key then has the value it had.
    pub fn store_draft(
        &mut self,
        key: Key<'_>,
        run: u32,
        attributes: Attributes,
        now_ms: u64,
    ) -> Result<Written, OutOfMemory> {
        if self.large.len_bytes(run) < self.large_len_bytes_min {
            let value = self.large.bytes(run).to_vec();
            self.unpin(run);
            return self.store(key, &value, attributes, now_ms);
        }
        self.large.undraft(run);
        let stored = self.store_run(key, run, attributes, now_ms);
        if stored.is_err() {
            self.condemn(run);
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::{LARGE_VALUE_LEN_BYTES_MIN, MIB};
    use crate::shard::{Attributes, Options, Shard};

    fn shard() -> Shard {
        let options = Options {
            maxmemory_bytes: 32 * MIB as u64,
            seeds: [1, 2, 3, 4],
        };
        Shard::embedded(options).expect("a small region")
    }

    #[test]
    fn a_draft_becomes_a_value() {
        let mut shard = shard();
        let draft = shard.begin_draft(MIB).expect("there is room").run;
        assert!(shard.draft_mut(draft).iter().all(|byte| *byte == 0));
        shard.draft_mut(draft).fill(7);
        shard.finish_draft_to(draft, LARGE_VALUE_LEN_BYTES_MIN);
        let key = shard.key(b"key");
        let stored = shard.store_draft(key, draft, Attributes::default(), 0);
        assert!(stored.is_ok());
        let value = shard.find(key, 0).expect("it was stored");
        assert!(value.bytes.len() == MIB && value.bytes.iter().all(|byte| *byte == 7));
        assert_eq!(shard.remove(key, 0), Ok(true));
    }

    #[test]
    fn a_short_draft_becomes_a_record_of_the_log() {
        let mut shard = shard();
        let draft = shard.begin_draft(100).expect("there is room").run;
        shard.draft_mut(draft).fill(7);
        let key = shard.key(b"key");
        let stored = shard.store_draft(key, draft, Attributes::default(), 0);
        assert!(stored.is_ok());
        let value = shard.find(key, 0).expect("it was stored");
        assert_eq!((value.bytes, value.large), (&[7; 100][..], None));
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_nothing() {
        let mut shard = shard();
        for _ in 0..100 {
            let draft = shard
                .begin_draft(20 * MIB)
                .expect("the last one is gone")
                .run;
            shard.draft_mut(draft)[0] = 1;
            shard.unpin(draft);
        }
        let key = shard.key(b"key");
        let all = vec![1; 20 * MIB];
        assert!(shard.store(key, &all, Attributes::default(), 0).is_ok());
    }
}
