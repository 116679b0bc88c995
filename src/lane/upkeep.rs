//! What a lane does when no client waits for it: expiry, compaction and the like in bounded slices,
//! connections that were silent for too long, and reports.

use super::Lane;
use crate::command::{Now, Report};
use crate::limits::{
    BACKGROUND_EXPIRY_COUNT, BACKGROUND_LEN_BYTES, EXPIRY_PATIENCE_MS, TURN_EXPIRY_COUNT,
};

impl Lane {
    /// A bounded slice of work nobody waits for; true: there is more.
    pub fn background(&mut self, now: Now) -> bool {
        let shard = &mut self.parts.shard;
        let is_expiring = shard.expire_due(now.ms(), BACKGROUND_EXPIRY_COUNT);
        shard.background(BACKGROUND_LEN_BYTES) || is_expiring
    }

    /// When a key expires next, about: then [`background`](Self::background) should be called.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.parts.shard.next_expiry_ms()
    }

    /// The core's numbers; with `is_watched` also what only people look at.
    pub fn report(&mut self, is_watched: bool, now: Now) -> Report {
        Report::of(&mut self.parts.core, &self.parts.shard, is_watched, now)
    }

    /// Closes connections that were idle for longer than `timeout`, and gives memory back that is kept for
    /// its next use and has had none; about once a second. A connection is
    /// idle that has neither received nor sent since the last sweep and waits for no reply.
    pub fn sweep(&mut self, now: Now) {
        let core = &mut self.parts.core;
        let timeout_ms = core.settings.timeout_s * 1000;
        let connections = self.connections.iter_mut();
        let connections = connections.filter_map(|place| place.connection.as_mut());
        for connection in connections.filter(|connection| !connection.is_disconnected) {
            let is_active = std::mem::take(&mut connection.is_active)
                || connection.progress.is_some()
                || connection.is_paused
                || connection.exec.is_some()
                || connection.outstanding > 0;
            let Some(session) = core.clients.get_mut(connection.client) else {
                continue;
            };
            if is_active {
                session.last_active_ms = session.last_active_ms.max(now.ms());
            }
            let idle_ms = now.ms().saturating_sub(session.last_active_ms);
            if timeout_ms > 0 && idle_ms > timeout_ms {
                core.clients.kill(connection.client);
                core.stats.idle_disconnections += 1;
            }
        }
        self.take_killed();
        self.parts.give_back();
    }

    /// Does a part of what background work should have done by now: connections leave it too little
    /// time.
    #[inline]
    pub(super) fn catch_up_with_expiry(&mut self, now: Now) {
        let shard = &mut self.parts.shard;
        if shard
            .next_expiry_ms()
            .is_some_and(|due_ms| due_ms + EXPIRY_PATIENCE_MS < now.ms())
        {
            shard.expire_due(now.ms(), TURN_EXPIRY_COUNT);
        }
    }
}
