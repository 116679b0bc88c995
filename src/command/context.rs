//! What a command may touch: its shard, its core, its connection, and the time.
//!
//! One core owns everything here; nothing is shared but [`Facts`], which never change, and
//! [`Shared`], a handful of words that every core reads and few write. A command is given the time
//! and the random numbers it uses, so that a run with the same inputs has the same outputs.
//!
//! Files: the core (`core`), its connections (`clients`), what all cores know (`shared`), random numbers
//! (`random`).

use crate::shard::{Probe, Shard};

mod clients;
mod core;
mod random;
mod shared;

pub use self::core::{Core, Pause};
pub use clients::{ClientIndex, Clients, Muting, Session};
pub use random::Random;
pub use shared::{Facts, ProcessUsage, Shared};

/// The time a command runs at: one reading per turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Microseconds since 1970.
    pub unix_us: u64,
}

impl Now {
    /// Milliseconds since 1970.
    #[inline]
    pub const fn ms(self) -> u64 {
        self.unix_us / 1_000
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.unix_us / 1_000_000
    }
}

/// What a command that runs on a shard is given.
#[derive(Debug)]
pub struct Context<'a> {
    /// The shard of the core it runs on.
    pub shard: &'a mut Shard,
    /// That core.
    pub core: &'a mut Core,
    /// The time of the turn.
    pub now: Now,
    /// Of the routed key; of no meaning to a command without keys.
    pub probe: Probe,
    /// Where a command that takes several calls goes on.
    pub resume: &'a mut Resume,
    /// The client that sent it, if its connection lives on this core.
    pub caller: Option<ClientIndex>,
}

/// What a command that runs where its connection lives is given.
#[derive(Debug)]
pub struct SessionContext<'a> {
    /// The connection's core.
    pub core: &'a mut Core,
    /// The connection, in `core.clients`.
    pub client: ClientIndex,
    /// The shard of the connection's core.
    pub shard: &'a mut Shard,
    /// The time of the turn.
    pub now: Now,
}

impl SessionContext<'_> {
    /// The connection that sent the command.
    pub fn session(&mut self) -> &mut Session {
        &mut self.core.clients[self.client]
    }
}

/// Where a command that takes several calls goes on; zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Whatever the command wants to remember.
    pub cursor: u64,
    /// Array elements written so far.
    pub count: u64,
    /// More to remember.
    pub more: [u64; 2],
}
