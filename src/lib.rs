//! Coremap: a Redis-protocol key-value server with one shard and one pinned executor per core.

pub mod atomic;
pub mod command;
pub mod epoch;
pub mod error;
pub mod hash;
pub mod lane;
pub mod limits;
pub mod metrics;
pub mod region;
pub mod resp;
pub mod running;
pub mod shard;
pub mod sys;
