//! The memory of connections' buffers, and its bound.
//!
//! Keys and values have `maxmemory`; what clients have sent and not read has a budget of its own,
//! `maxmemory-clients`, shared out to the cores. When a core's connections hold more than its
//! share, the one that holds most is closed, as Redis does. Large values that are being sent are
//! no buffers: they are part of the keys' memory.

use super::Lane;
use super::connection::Connection;
use crate::limits::MAXMEMORY_CLIENTS_DEFAULT_DIVISOR;

impl Lane {
    /// Takes note of what a connection's buffers hold now.
    pub(super) fn note_buffers(&mut self, connection: &mut Connection) {
        let usual_len_bytes = self.parts.buffers.len_bytes();
        let stats = &mut self.parts.core.stats;
        let session = &mut self.parts.core.clients[connection.client];
        let (input, output) = (
            connection.input.resident_bytes(usual_len_bytes),
            connection.output.capacity_bytes(),
        );
        let noted = std::mem::replace(&mut connection.noted_bytes, (input, output));
        let change = |gauge: u64, new: usize, old: usize| gauge + new as u64 - old as u64;
        stats.input_buffers_bytes = change(stats.input_buffers_bytes, input, noted.0);
        stats.output_buffers_bytes = change(stats.output_buffers_bytes, output, noted.1);
        session.input_len_bytes = connection.input.len_bytes();
        session.input_free_bytes = connection
            .input
            .capacity_bytes()
            .saturating_sub(session.input_len_bytes);
        session.output_len_bytes = connection.output.unsent_len_bytes();
        session.output_capacity_bytes = output;
        if stats.input_buffers_bytes + stats.output_buffers_bytes > self.share_bytes() {
            self.close_largest();
        }
    }

    /// This core's share of the budget.
    fn share_bytes(&self) -> u64 {
        let core = &self.parts.core;
        let budget_bytes = match core.settings.maxmemory_clients_bytes {
            0 => core.facts.total_memory_bytes / MAXMEMORY_CLIENTS_DEFAULT_DIVISOR,
            bytes => bytes,
        };
        match budget_bytes {
            0 => u64::MAX,
            bytes => bytes / u64::from(core.core_count.max(1)),
        }
    }

    #[cold]
    fn close_largest(&mut self) {
        let core = &mut self.parts.core;
        let living = core
            .clients
            .iter()
            .filter(|(_, session)| !session.is_killed && !session.is_no_evict);
        let largest = living.max_by_key(|(_, session)| {
            session.input_len_bytes + session.input_free_bytes + session.output_capacity_bytes
        });
        if let Some((client, _)) = largest {
            core.clients.kill(client);
            core.stats.evicted_clients += 1;
        }
    }
}
