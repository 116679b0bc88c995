//! Coremap: a Redis-protocol key-value server with one shard and one pinned executor per core.

pub mod limits;
