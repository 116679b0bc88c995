//! What a command may touch: its shard, its core, its connection, and the time.
//!
//! One core owns everything here; nothing is shared but [`Facts`], which never change, and
//! [`Shared`], a handful of words that every core reads and few write. A command is given the time
//! and the random numbers it uses, so that a run with the same inputs has the same outputs.
//!
//! Not here: buffers, routing and the life of a connection (`lane`), which fill in the figures of
//! [`Session`] that `CLIENT LIST` prints.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::metrics::CoreStats;
use crate::region::Hold;
use crate::resp::Protocol;
use crate::shard::{Eviction, Probe, Shard};

use super::hot_keys::HotKeys;
use super::latency::{Delay, Delays};
use super::persistence::{Loading, Saving};
use super::settings::Settings;
use super::slowlog::{Excerpt, SlowLog};
use super::tally::Tally;
use super::transaction::{Queue, Watching};
use super::{Flags, Row, Scope};
use crate::limits::{EXACT_BELOW_US, TURN_COMMAND_COUNT_MAX};

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

/// One core's state that commands may touch besides its shard.
#[derive(Debug)]
pub struct Core {
    /// This core among `core_count`; also the number of its shard.
    pub id: u16,
    /// How many cores there are.
    pub core_count: u16,
    /// This core's copy of the settings; CONFIG SET changes every core's.
    pub settings: Settings,
    /// The connections that live here.
    pub clients: Clients,
    /// Counters, merged by INFO.
    pub stats: CoreStats,
    /// What each command cost, for the same.
    pub tally: Tally,
    /// Commands that took long.
    pub slow_log: SlowLog,
    /// What else took long.
    pub latency: Delays,
    /// Keys that are used most, while somebody looks.
    pub hot_keys: HotKeys,
    /// What takes so long is to be looked at: the lower of the thresholds.
    slow_ns: u64,
    /// Time spent that makes no whole microsecond yet.
    busy_rest_ns: u64,
    /// Keys that the shard had seen expire when the counts last began anew: it counts on.
    pub expired_count_at_reset: u64,
    /// The same of keys that were evicted.
    pub evicted_count_at_reset: u64,
    /// What does not change while the process runs.
    pub facts: Arc<Facts>,
    /// The few words all cores share.
    pub shared: Arc<Shared>,
    /// Random numbers of this core.
    pub random: Random,
    /// Whether the data is not there yet, as the core last looked.
    pub is_loading: bool,
    /// Watches that connections of this core have begun.
    pub watch_count: u64,
    /// Watches that are over, of which the shards are to be told.
    pub unwatched: Vec<Watching>,
    /// Since and until when commands wait.
    pub pause: Option<Pause>,
    /// Whether a command has asked for the end of the server.
    pub wants_stop: bool,
}

/// Commands that wait: CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, in milliseconds since 1970.
    pub until_ms: u64,
    /// Whether all commands wait, or only those that may write.
    pub is_of_all: bool,
}

/// Which replies are not sent: CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Muting {
    /// All are.
    #[default]
    Off,
    /// That of the next command is not.
    Next,
    /// That of the command that runs is not.
    This,
    /// None is.
    All,
}

impl Core {
    /// Core `id` of `facts.core_count`, without connections.
    pub fn new(
        id: u16,
        settings: Settings,
        facts: Arc<Facts>,
        shared: Arc<Shared>,
        seed: u64,
    ) -> Self {
        Self {
            id,
            core_count: facts.core_count,
            settings,
            clients: Clients::default(),
            stats: CoreStats::default(),
            tally: Tally::default(),
            slow_log: SlowLog::default(),
            latency: Delays::default(),
            hot_keys: HotKeys::default(),
            slow_ns: u64::MAX,
            busy_rest_ns: 0,
            expired_count_at_reset: 0,
            evicted_count_at_reset: 0,
            facts,
            is_loading: shared.loading.is_under_way(),
            watch_count: 0,
            unwatched: Vec::new(),
            shared,
            random: Random::new(seed),
            pause: None,
            wants_stop: false,
        }
    }

    /// Looks whether the data has come meanwhile and a pause is over; nearly always there is nothing
    /// to look for.
    #[inline]
    pub fn look_around(&mut self, now: Now) {
        if self.is_loading {
            self.is_loading = self.shared.loading.is_under_way();
        }
        if self.pause.is_some_and(|pause| pause.until_ms <= now.ms()) {
            self.pause = None;
        }
    }

    /// Until when a command of `row` waits, if it does. What ends a pause does not wait for it.
    pub fn paused_until_ms(&self, row: &Row, client: ClientIndex, now: Now) -> Option<u64> {
        let pause = self.pause.filter(|pause| pause.until_ms > now.ms())?;
        let is_exec = row.scope == Scope::Exec;
        let queue = self.clients[client].queue.as_ref().filter(|_| is_exec);
        let may_write = row.flags.contains(Flags::WRITE) || queue.is_some_and(|it| it.is_writing());
        let waits = (pause.is_of_all || may_write) && row.name != "client|unpause";
        waits.then_some(pause.until_ms)
    }
}

impl Core {
    /// Makes the core's shard follow the settings.
    pub fn configure(&mut self, shard: &mut Shard) {
        let settings = &self.settings;
        let latency_us = match settings.latency_monitor_threshold_ms {
            0 => u64::MAX,
            threshold_ms => threshold_ms.saturating_mul(US_PER_MS),
        };
        let slow_us = latency_us.min(settings.slowlog_log_slower_than_us);
        self.slow_ns = slow_us.saturating_mul(NS_PER_US);
        self.slow_log.shorten(settings.slowlog_max_len);
        let slack_percent = u32::try_from(self.settings.log_slack_percent);
        shard.set_slack_percent(slack_percent.expect("the setting has its bounds"));
        shard.set_eviction(match self.settings.maxmemory_policy.as_str() {
            "allkeys-lru" | "allkeys-lfu" => Eviction::Any { by_use: true },
            "allkeys-random" => Eviction::Any { by_use: false },
            "volatile-lru" | "volatile-lfu" => Eviction::Volatile { by_use: true },
            "volatile-random" => Eviction::Volatile { by_use: false },
            "volatile-ttl" => Eviction::SoonestToExpire,
            _ => Eviction::Never,
        });
    }
}

impl Core {
    /// Whether what took `ns` is to be looked at.
    #[inline]
    pub fn is_slow(&self, ns: u64) -> bool {
        ns >= self.slow_ns
    }

    /// Commands that a turn may run: one, if each is to be timed alone.
    pub fn turn_command_count_max(&self) -> usize {
        if self.settings.slowlog_log_slower_than_us < EXACT_BELOW_US {
            1
        } else {
            TURN_COMMAND_COUNT_MAX
        }
    }

    /// Counts time spent.
    pub fn note_busy(&mut self, ns: u64) {
        let ns = ns + self.busy_rest_ns;
        self.busy_rest_ns = ns % NS_PER_US;
        let us = ns / NS_PER_US;
        self.stats.busy_us += us;
        self.stats.turn_longest_us = self.stats.turn_longest_us.max(us);
    }

    /// Notes that `event` took `ns`, if that is long.
    #[cold]
    pub fn note_event(&mut self, event: Delay, now: Now, ns: u64) {
        let ms = ns / NS_PER_US / US_PER_MS;
        let threshold_ms = self.settings.latency_monitor_threshold_ms;
        if threshold_ms > 0 && ms >= threshold_ms {
            self.latency.note(event, now, ms);
        }
    }

    /// Notes a command, or a turn, of a client that took `ns`, if that is long.
    #[cold]
    pub fn note_slow(
        &mut self,
        row: &Row,
        client: ClientIndex,
        now: Now,
        ns: u64,
        excerpt: impl FnOnce() -> Excerpt,
    ) {
        let is_fast = row.flags.contains(Flags::FAST);
        let event = if is_fast {
            Delay::FastCommand
        } else {
            Delay::Command
        };
        self.note_event(event, now, ns);
        let us = ns / NS_PER_US;
        let count_max = self.settings.slowlog_max_len;
        if us >= self.settings.slowlog_log_slower_than_us
            && count_max > 0
            && !row.flags.contains(Flags::SKIP_SLOWLOG)
            && let Some(session) = self.clients.get(client)
        {
            let id = self.shared.next_slow_id();
            self.slow_log
                .push(id, now.seconds(), us, excerpt(), session);
            self.slow_log.shorten(count_max);
        }
    }

    /// Counts an error reply of a command, given with its `-`.
    #[cold]
    pub fn note_error(&mut self, row: Option<&Row>, reply: &[u8]) {
        self.stats.command_errors += 1;
        self.tally
            .count_error(row, reply.get(1..).unwrap_or_default());
    }
}

const NS_PER_US: u64 = 1_000;
const US_PER_MS: u64 = 1_000;

/// One connection, as far as commands see it.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Unique in this process, ascending.
    pub id: u64,
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: Vec<u8>,
    /// What `HELLO` chose.
    pub protocol: Protocol,
    /// Whether it gave the password, or there was none when it connected.
    pub is_authenticated: bool,
    /// The lane sends what is unsent, then closes.
    pub close_after_reply: bool,
    /// The lane closes at once: `CLIENT KILL`. Set it through [`Clients::kill`].
    pub is_killed: bool,
    /// Which replies are not sent.
    pub muting: Muting,
    /// Until when its next command waits; 0: it does not.
    pub paused_until_ms: u64,
    /// Another client has ended what it waits for: with an error, or as if its time were over.
    pub unblocked: Option<bool>,
    /// Whether a command of it that has begun waits for a time or for the disk.
    pub is_blocked: bool,
    /// Whose evictions `CLIENT NO-EVICT on` exempts.
    pub is_no_evict: bool,
    /// Whose reads `CLIENT NO-TOUCH on` keeps out of the use marks.
    pub is_no_touch: bool,
    /// Keeps the data file as it is, for `coremap backup`.
    pub hold: Option<Arc<Hold>>,
    /// What MULTI has queued, if it was called.
    pub queue: Option<Box<Queue>>,
    /// What WATCH named.
    pub watching: Option<Watching>,
    /// Whether the socket is a unix socket.
    pub is_unix: bool,
    /// `address:port` of the peer, or the path of the socket and `:0`.
    pub address: String,
    /// `address:port` of our end.
    pub local_address: String,
    /// The socket.
    pub fd: i32,
    /// When it connected.
    pub created_at_ms: u64,
    /// When it last sent something.
    pub last_active_ms: u64,
    /// The command it sent last.
    pub last_command: Option<&'static Row>,
    /// Unread input.
    pub input_len_bytes: usize,
    /// Room left in its input buffer.
    pub input_free_bytes: usize,
    /// Arguments of a command that is not complete.
    pub arguments_len_bytes: usize,
    /// Unsent output.
    pub output_len_bytes: usize,
    /// Capacity of its output buffer.
    pub output_capacity_bytes: usize,
    /// Pieces of output sent from where they live.
    pub output_extern_count: usize,
}

impl Session {
    /// Whether a command of it waits, or waits to begin.
    pub const fn is_waiting(&self) -> bool {
        self.is_blocked || self.paused_until_ms > 0
    }
}

/// A connection of one core: its index in [`Clients`].
pub type ClientIndex = usize;

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Vec<Option<Session>>,
    free: Vec<ClientIndex>,
    killed: Vec<ClientIndex>,
    woken: Vec<ClientIndex>,
}

impl Clients {
    /// Adds a connection.
    pub fn insert(&mut self, session: Session) -> ClientIndex {
        if let Some(index) = self.free.pop() {
            self.slots[index] = Some(session);
            return index;
        }
        self.slots.push(Some(session));
        self.slots.len() - 1
    }

    /// Takes a connection out.
    pub fn remove(&mut self, index: ClientIndex) -> Option<Session> {
        let session = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        self.killed.retain(|killed| *killed != index);
        self.woken.retain(|woken| *woken != index);
        Some(session)
    }

    /// The connection at `index`.
    pub fn get(&self, index: ClientIndex) -> Option<&Session> {
        self.slots.get(index)?.as_ref()
    }

    /// The connection at `index`, to change it.
    pub fn get_mut(&mut self, index: ClientIndex) -> Option<&mut Session> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// Every connection with its index, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (ClientIndex, &Session)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, slot.as_ref()?)))
    }

    /// The connections at the indices of `range`, in order.
    pub fn within(&self, range: Range<ClientIndex>) -> impl Iterator<Item = &Session> {
        self.slots.get(range).unwrap_or_default().iter().flatten()
    }

    /// One more than the largest index there may be.
    pub fn index_end(&self) -> ClientIndex {
        self.slots.len()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks a connection for closing; the lane learns of it from [`Self::take_killed`].
    pub fn kill(&mut self, index: ClientIndex) {
        if let Some(session) = self.get_mut(index)
            && !session.is_killed
        {
            session.is_killed = true;
            self.killed.push(index);
        }
    }

    /// Gives a connection a turn; the lane learns of it from [`Self::take_woken`].
    pub fn wake(&mut self, index: ClientIndex) {
        self.woken.push(index);
    }

    /// Takes the connections that were woken since the last call.
    pub fn take_woken(&mut self) -> Vec<ClientIndex> {
        std::mem::take(&mut self.woken)
    }

    /// Moves the connections marked since the last call to `into`.
    pub fn take_killed(&mut self, into: &mut Vec<ClientIndex>) {
        into.append(&mut self.killed);
    }
}

impl std::ops::Index<ClientIndex> for Clients {
    type Output = Session;

    fn index(&self, index: ClientIndex) -> &Session {
        self.get(index).expect("the lane names connections it has")
    }
}

impl std::ops::IndexMut<ClientIndex> for Clients {
    fn index_mut(&mut self, index: ClientIndex) -> &mut Session {
        self.get_mut(index)
            .expect("the lane names connections it has")
    }
}

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

/// Random numbers for choices that need no secrecy: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, nearly uniform; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_a_closed_connection_is_used_again() {
        let mut clients = Clients::default();
        let first = clients.insert(Session {
            id: 1,
            ..Session::default()
        });
        let second = clients.insert(Session {
            id: 2,
            ..Session::default()
        });
        assert_eq!(clients.remove(first).map(|session| session.id), Some(1));
        assert_eq!(clients.len(), 1);
        assert!(clients.remove(first).is_none());

        let third = clients.insert(Session {
            id: 3,
            ..Session::default()
        });
        assert_eq!(third, first);
        assert_eq!(
            clients.iter().map(|(_, s)| s.id).collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!(clients[second].id, 2);
    }

    #[test]
    fn a_killed_connection_is_reported_once() {
        let mut clients = Clients::default();
        let index = clients.insert(Session::default());
        clients.kill(index);
        clients.kill(index);
        let mut killed = Vec::new();
        clients.take_killed(&mut killed);
        clients.take_killed(&mut killed);
        assert_eq!(killed, [index]);
    }

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

    #[test]
    fn random_numbers_stay_below_their_bound() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| random.below(10) < 10));
        assert_eq!(random.below(0), 0);
    }
}
