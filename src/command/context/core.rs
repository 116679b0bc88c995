//! One core's state that commands may touch besides its shard: settings, connections, counters.

use std::sync::Arc;

use super::{Clients, Facts, Now, Random, Shared};
use crate::command::hot_keys::HotKeys;
use crate::command::latency::{Delay, Delays};
use crate::command::settings::Settings;
use crate::command::slowlog::{Excerpt, SlowLog};
use crate::command::tally::Tally;
use crate::command::transaction::Watching;
use crate::command::{ClientIndex, Flags, Row, Scope};
use crate::limits::{EXACT_BELOW_US, HELD_BACK_STEP_MS, TURN_COMMAND_COUNT_MAX};
use crate::metrics::CoreStats;
use crate::shard::{Eviction, Shard};

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

    /// Has writes wait a moment, as CLIENT PAUSE would, unless that is so already.
    #[cold]
    pub fn hold_writes_back(&mut self, now: Now) {
        self.pause.get_or_insert(Pause {
            until_ms: now.ms() + HELD_BACK_STEP_MS,
            is_of_all: false,
        });
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
        if us >= US_PER_MS {
            self.note_long(us);
        }
    }

    #[cold]
    fn note_long(&mut self, us: u64) {
        self.stats.turns_over_1ms += 1;
        self.stats.turns_over_2ms += u64::from(us >= 2 * US_PER_MS);
        self.stats.turns_over_5ms += u64::from(us >= 5 * US_PER_MS);
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
