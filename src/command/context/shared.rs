//! What all cores know: facts that never change, and a handful of words that every core reads and few
//! write.

use std::sync::Mutex;

use crate::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::command::persistence::{Loading, Saving};
use crate::command::settings::Settings;

/// What does not change while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Cores, and therefore shards.
    pub core_count: u16,
    /// The CPU each core is pinned to.
    pub cpus: Vec<usize>,
    /// 40 random hexadecimal digits.
    pub run_id: String,
    /// The process.
    pub process_id: u32,
    /// Whether a service manager listens to it.
    pub is_supervised: bool,
    /// The port that was bound; 0 if there is only a unix socket.
    pub port: u16,
    /// Absolute path of the configuration file, or nothing.
    pub config_file: String,
    /// Absolute path of the executable.
    pub executable: String,
    /// Kernel name, release and machine.
    pub operating_system: String,
    /// When the process began to serve.
    pub started_at_ms: u64,
    /// Memory of the host, or what its cgroup allows.
    pub total_memory_bytes: u64,
    /// What `maxmemory 0` means on this host.
    pub maxmemory_default_bytes: u64,
    /// The most that `maxclients` can be raised to: what the limit of open files leaves for clients.
    pub clients_possible: u64,
}

/// The few words that all cores read and write; none of them per command.
#[derive(Debug, Default)]
pub struct Shared {
    /// Connections of each core.
    connection_counts: Vec<AtomicU64>,
    next_client_id: AtomicU64,
    next_slow_id: AtomicU64,
    resident_bytes: AtomicU64,
    resident_peak_bytes: AtomicU64,
    used_peak_bytes: AtomicU64,
    cpu_user_us: AtomicU64,
    cpu_system_us: AtomicU64,
    /// Cores with a connection that waits for a round.
    await_rounds: Vec<AtomicBool>,
    /// The settings as the first core has last changed them, if it has.
    settings: Mutex<Option<Settings>>,
    /// The data on its way from the disk.
    pub loading: Loading,
    /// The data on its way to the disk.
    pub saving: Saving,
}

/// What the system says of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// CPU time in user mode.
    pub cpu_user_us: u64,
    /// CPU time in the kernel.
    pub cpu_system_us: u64,
}

impl Shared {
    /// Words for `core_count` cores.
    pub fn new(core_count: u16) -> Self {
        Self {
            connection_counts: (0..core_count).map(|_| AtomicU64::new(0)).collect(),
            await_rounds: (0..core_count).map(|_| AtomicBool::new(false)).collect(),
            ..Self::default()
        }
    }

    /// The number of the next connection; the first is 1.
    pub fn next_client_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the next entry of the slow log; the first is 0.
    pub fn next_slow_id(&self) -> u64 {
        self.next_slow_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a connection of `core`, unless there are `count_max` on all cores already. The count
    /// of others may move meanwhile: the bound holds to within the cores that accept at once.
    pub fn admit(&self, core: u16, count_max: u64) -> bool {
        let is_admitted = self.client_count() < count_max;
        if is_admitted {
            self.connection_counts[usize::from(core)].fetch_add(1, Ordering::Relaxed);
        }
        is_admitted
    }

    /// Takes back one connection of `core`.
    pub fn release(&self, core: u16) {
        self.connection_counts[usize::from(core)].fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections of one core.
    pub fn connection_count(&self, core: u16) -> u64 {
        self.connection_counts[usize::from(core)].load(Ordering::Relaxed)
    }

    /// Connections of all cores.
    pub fn client_count(&self) -> u64 {
        self.connection_counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// The core with the fewest connections; the lowest of several.
    pub fn least_loaded_core(&self) -> u16 {
        let counts = (0..).zip(&self.connection_counts);
        counts
            .min_by_key(|(_, count)| count.load(Ordering::Relaxed))
            .map_or(0, |(core, _)| core)
    }

    /// Leaves changed settings for the other cores. For the first core.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.lock().expect("no holder panics") = Some(settings);
    }

    /// The settings that were left last; none if none were ever changed.
    pub fn settings(&self) -> Option<Settings> {
        self.settings.lock().expect("no holder panics").clone()
    }

    /// Says whether a connection of `core` waits for a round. For that core.
    pub fn set_awaits(&self, core: u16, is_so: bool) {
        self.await_rounds[usize::from(core)].store(is_so, Ordering::Relaxed);
    }

    /// The cores that wait, after a round. Its number must have been published before.
    pub fn awaiting(&self) -> impl Iterator<Item = u16> {
        // Pairs with the fence with which a core goes to sleep: it sees the round, or this sees
        // that it waits.
        fence(Ordering::SeqCst);
        let cores = (0..).zip(&self.await_rounds);
        cores
            .filter(|(_, awaits)| awaits.load(Ordering::Relaxed))
            .map(|(core, _)| core)
    }

    /// Notes what the system said; the server asks it about once a second.
    pub fn set_process_usage(&self, usage: ProcessUsage) {
        self.resident_bytes
            .store(usage.resident_bytes, Ordering::Relaxed);
        self.resident_peak_bytes
            .fetch_max(usage.resident_bytes, Ordering::Relaxed);
        self.cpu_user_us.store(usage.cpu_user_us, Ordering::Relaxed);
        self.cpu_system_us
            .store(usage.cpu_system_us, Ordering::Relaxed);
    }

    /// What the system said last.
    pub fn process_usage(&self) -> ProcessUsage {
        ProcessUsage {
            resident_bytes: self.resident_bytes.load(Ordering::Relaxed),
            cpu_user_us: self.cpu_user_us.load(Ordering::Relaxed),
            cpu_system_us: self.cpu_system_us.load(Ordering::Relaxed),
        }
    }

    /// Notes what the region has in use, about once a second and whenever somebody asks; returns the
    /// most that was noted.
    pub fn note_used(&self, used_bytes: u64) -> u64 {
        let before = self
            .used_peak_bytes
            .fetch_max(used_bytes, Ordering::Relaxed);
        before.max(used_bytes)
    }

    /// The most resident memory noted.
    pub fn resident_peak_bytes(&self) -> u64 {
        self.resident_peak_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_core_with_the_fewest() {
        let shared = Shared::new(3);
        assert_eq!(shared.least_loaded_core(), 0);
        assert!(shared.admit(0, 2));
        assert!(shared.admit(1, 2));
        assert_eq!(shared.least_loaded_core(), 2);
        assert!(!shared.admit(2, 2));
        shared.release(0);
        assert_eq!(shared.least_loaded_core(), 0);
        assert_eq!(shared.client_count(), 1);
    }
}
