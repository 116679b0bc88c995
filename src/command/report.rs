//! What one core tells whoever watches the server beside the protocol: the metrics and the live page.

use super::hot_keys::HotKeys;
use super::slowlog::SlowCommand;
use super::{Core, Figures, Now};
use crate::limits::PAGE_SLOW_COUNT;
use crate::shard::Shard;

/// One core, now.
#[derive(Debug)]
pub struct Report {
    /// Its numbers.
    pub figures: Figures,
    /// `maxclients`, as it stands.
    pub maxclients: u64,
    /// What only people look at, if one does.
    pub watched: Option<Watched>,
}

/// What only people look at: it names keys and clients.
#[derive(Debug)]
pub struct Watched {
    /// The keys used most, as far as was seen.
    pub hot_keys: HotKeys,
    /// Slow commands, oldest first.
    pub slow: Vec<SlowCommand>,
}

impl Report {
    /// Of `core` and its shard. With `is_watched` its hot keys are looked for from now on, for a few
    /// seconds.
    pub fn of(core: &mut Core, shard: &Shard, is_watched: bool, now: Now) -> Self {
        if is_watched {
            core.hot_keys.watch();
        }
        Self {
            watched: is_watched.then(|| Watched {
                hot_keys: core.hot_keys.clone(),
                slow: core.slow_log.newest(PAGE_SLOW_COUNT).cloned().collect(),
            }),
            maxclients: core.settings.maxclients,
            figures: Figures::of(core, shard, now),
        }
    }
}
