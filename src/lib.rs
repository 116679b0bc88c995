//! Coremap: a Redis-protocol key-value server with one shard and one pinned executor per core.
//!
//! The binary is a thin shell around this library: a [`Config`] says what is wanted, a [`Server`]
//! runs it until it is stopped. A program can hold one too:
//!
//! ```
//! let mut config = coremap::Config::default();
//! config.settings.port = 0; // any free port
//! config.settings.shards = 1;
//! config.settings.maxmemory_bytes = 64 << 20;
//! let server = coremap::Server::start(config)?;
//! println!("listening on {}", server.local_addrs()[0]);
//! server.stop();
//! server.wait()?;
//! # Ok::<(), coremap::Error>(())
//! ```
//!
//! A [`shard::Shard`] can also be used alone, without a network and without threads.
//!
//! A request's path through the modules: [`server`] receives bytes and hands them to the core's
//! [`lane`], which parses them in place ([`resp`]), finds the command's row ([`command`]), and runs it
//! on its own [`shard`] or sends it to another core's. Everything below [`server`] is
//! synchronous, reads no clock and makes no system call.

pub mod atomic;
pub mod cli;
pub mod command;
pub mod config;
pub mod epoch;
pub mod error;
pub mod hash;
pub mod json;
pub mod lane;
pub mod limits;
pub mod metrics;
pub mod rdb;
pub mod region;
pub mod resp;
pub mod running;
pub mod server;
pub mod shard;
pub mod sys;

pub use config::Config;
pub use error::Error;
pub use server::Server;
