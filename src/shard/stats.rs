//! What one shard counts: plain numbers that its core owns, copied out on request.

use super::{Key, Shard};

macro_rules! stats {
    ($($(#[doc = $description:literal])+ $name:ident: $across:ident;)*) => {
        /// Counters (since start, `_count` and `_total_bytes`) and gauges of one shard, or of several
        /// together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $description])+ pub $name: u64,)*
        }

        impl Stats {
            /// How many numbers there are.
            pub const COUNT: usize = [$(stringify!($name)),*].len();

            /// The numbers, to travel to another core.
            #[must_use]
            pub fn words(&self) -> [u64; Self::COUNT] {
                [$(self.$name,)*]
            }

            /// The numbers that [`words`](Self::words) returned.
            #[must_use]
            pub fn from_words(words: [u64; Self::COUNT]) -> Self {
                let [$($name,)*] = words;
                Self { $($name,)* }
            }

            /// Merges another shard's numbers into these.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name = $across(self.$name, other.$name);)*
            }
        }
    };
}

impl Stats {
    /// Bytes of the budget that is in use here, about.
    #[must_use]
    pub const fn held_bytes(&self, block_len_bytes: u64) -> u64 {
        self.log_bytes(block_len_bytes) + self.index_bytes + self.large_bytes + self.expiry_bytes
    }

    /// Bytes of the log's blocks.
    #[must_use]
    pub const fn log_bytes(&self, block_len_bytes: u64) -> u64 {
        (self.log_block_count + self.log_reserve_block_count) * block_len_bytes
    }
}

impl Shard {
    /// Bytes that a key takes of the budget: its record, its slot, and what its value takes if that is
    /// a large one. Nothing if it is not there. This does not count as a use.
    pub fn footprint_bytes(&mut self, key: Key<'_>, now_ms: u64) -> Option<u64> {
        let place = self.find_place(key, now_ms)?;
        let record = self.log.record(self.table.slot(place).location());
        let run_bytes = record
            .run()
            .map_or(0, |run| self.large.footprint_bytes(run));
        Some(record.shape().len_bytes() as u64 + SLOT_LEN_BYTES + run_bytes)
    }
}

/// Bytes of a slot.
const SLOT_LEN_BYTES: u64 = 8;

/// How numbers of several shards become one: most add up.
const fn sum(one: u64, other: u64) -> u64 {
    one + other
}

/// The largest.
const fn max(one: u64, other: u64) -> u64 {
    if one > other { one } else { other }
}

stats! {
    /// Keys, those not included that lookups have found expired.
    key_count: sum;
    /// Keys with an expiry.
    volatile_key_count: sum;
    /// Keys removed because their time had come.
    expired_count: sum;
    /// Keys removed because memory was short.
    evicted_count: sum;
    /// Segments of the table, those included that wait for readers.
    segment_count: sum;
    /// Segments split since start.
    split_count: sum;
    /// Pairs of segments merged since start.
    merge_count: sum;
    /// Bytes of the blocks that the table's segments are cut from.
    index_bytes: sum;
    /// Log blocks that hold records.
    log_block_count: sum;
    /// Bytes of live records.
    log_live_bytes: sum;
    /// Bytes of dead records that are not yet reclaimed.
    log_dead_bytes: sum;
    /// Bytes of tombstones and the like, which are part of the live ones; in a file only.
    log_grave_bytes: sum;
    /// Blocks kept for compaction.
    log_reserve_block_count: sum;
    /// Large values.
    large_value_count: sum;
    /// Bytes committed to large values.
    large_bytes: sum;
    /// Bytes of live records that compaction has copied since start.
    compacted_total_bytes: sum;
    /// Blocks that compaction has emptied since start.
    compacted_block_count: sum;
    /// Writes that had to compact before they could go on, since start.
    emergency_count: sum;
    /// Writes refused for want of memory since start.
    out_of_memory_count: sum;
    /// Things given up that other cores may still be reading.
    limbo_count: sum;
    /// Entries of the expiry wheel.
    expiry_entry_count: sum;
    /// Bytes of the expiry wheel.
    expiry_bytes: sum;
    /// Milliseconds from when a key expired until background work removed it, at most since start.
    expiry_lag_max_ms: max;
}

impl Shard {
    /// What the shard has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            key_count: self.key_count,
            volatile_key_count: self.volatile_count,
            expired_count: self.expired_count,
            evicted_count: self.evictor.evicted_count,
            segment_count: self.table.segment_count,
            split_count: self.table.split_count,
            merge_count: self.table.merge_count,
            index_bytes: self.table.index_len_bytes(),
            log_block_count: self.log.block_count(),
            log_live_bytes: self.log.live_bytes(),
            log_dead_bytes: self.log.dead_bytes(),
            log_grave_bytes: self.log.grave_bytes(),
            log_reserve_block_count: self.log.reserve_count() as u64,
            large_value_count: self.large.run_count() as u64,
            large_bytes: self.large.committed_bytes(),
            compacted_total_bytes: self.compaction.copied_bytes,
            compacted_block_count: self.compaction.block_count,
            emergency_count: self.emergency_count,
            out_of_memory_count: self.out_of_memory_count,
            limbo_count: self.limbo.len() as u64,
            expiry_entry_count: self.expiry.entry_count(),
            expiry_bytes: self.expiry.len_bytes(),
            expiry_lag_max_ms: self.expiry.lag_max_ms(),
        }
    }
}
