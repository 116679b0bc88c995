//! What one shard counts: plain numbers that its core owns, copied out on request.

/// Counters (since start, `_count` and `_total_bytes`) and gauges of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys, those not included that lookups have found expired.
    pub key_count: u64,
    /// Keys with an expiry.
    pub volatile_key_count: u64,
    /// Keys removed because their time had come.
    pub expired_count: u64,
    /// Segments of the table, those included that wait for readers.
    pub segment_count: u64,
    /// Segments split since start.
    pub split_count: u64,
    /// Pairs of segments merged since start.
    pub merge_count: u64,
    /// Bytes of the blocks that the table's segments are cut from.
    pub index_bytes: u64,
    /// Log blocks that hold records.
    pub log_block_count: u64,
    /// Bytes of live records.
    pub log_live_bytes: u64,
    /// Bytes of dead records that are not yet reclaimed.
    pub log_dead_bytes: u64,
    /// Bytes of tombstones and the like, which are part of the live ones; in a file only.
    pub log_grave_bytes: u64,
    /// Blocks kept for compaction.
    pub log_reserve_block_count: u64,
    /// Large values.
    pub large_value_count: u64,
    /// Bytes committed to large values.
    pub large_bytes: u64,
    /// Bytes of live records that compaction has copied since start.
    pub compacted_total_bytes: u64,
    /// Blocks that compaction has emptied since start.
    pub compacted_block_count: u64,
    /// Writes that had to compact before they could go on, since start.
    pub emergency_count: u64,
    /// Writes refused for want of memory since start.
    pub out_of_memory_count: u64,
    /// Things given up that other cores may still be reading.
    pub limbo_count: u64,
    /// Entries of the expiry wheel.
    pub expiry_entry_count: u64,
    /// Bytes of the expiry wheel.
    pub expiry_bytes: u64,
    /// Milliseconds from when a key expired until background work removed it, at most since start.
    pub expiry_lag_max_ms: u64,
}
