//! The settings, as one table: CONFIG, the configuration file and the command line all read it.
//!
//! A row says what a setting is called (Redis's name wherever Redis has it), what values it takes,
//! its default, whether it can change while the server runs, where its value lives, and how
//! `--help` presents it. Each core has its own copy of the values, so that reading one costs
//! nothing; CONFIG SET changes them all.
//!
//! Not here: which of file and command line wins (`config`), and what depends on the host
//! (`server`).

mod expert;
mod misfit;
mod rewrite;
mod rows;
mod value;

pub use misfit::Misfit;
pub use rewrite::rewrite;
pub use rows::SETTINGS;
pub use value::{Field, Lens, format_bytes, parse_bytes, parse_cpus};

/// The values in force. [`SETTINGS`] has their names, units and meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `appendfsync`
    pub appendfsync: String,
    /// `appendonly`; once the server runs, whether there is a `dir`
    pub appendonly: bool,
    /// `batch-commands`
    pub batch_commands: u64,
    /// `bind`; a `-` in front means that the address may be missing
    pub bind: Vec<String>,
    /// `busy-poll-us`
    pub busy_poll_us: u64,
    /// `client-query-buffer-limit`
    pub client_query_buffer_limit_bytes: u64,
    /// `cpus`; once the server runs, those it runs on
    pub cpus: Vec<usize>,
    /// `databases`
    pub databases: u64,
    /// `dir`; empty: the data is in memory only
    pub dir: String,
    /// `direct-reads`
    pub direct_reads: bool,
    /// `enable-debug-command`
    pub enable_debug_command: String,
    /// `guard-timer-us`
    pub guard_timer_us: u64,
    /// `huge-pages`
    pub huge_pages: bool,
    /// `latency-monitor-threshold`
    pub latency_monitor_threshold_ms: u64,
    /// `latency-tracking`
    pub latency_tracking: bool,
    /// `latency-tracking-info-percentiles`
    pub latency_tracking_info_percentiles: String,
    /// `linger-us`
    pub linger_us: u64,
    /// `lock-memory`
    pub lock_memory: bool,
    /// `log-format`
    pub log_format: String,
    /// `log-slack`
    pub log_slack_percent: u64,
    /// `logfile`; empty: stderr
    pub logfile: String,
    /// `loglevel`
    pub loglevel: String,
    /// `maxclients`
    pub maxclients: u64,
    /// `maxmemory`; once the server runs, what 0 means on this host
    pub maxmemory_bytes: u64,
    /// `maxmemory-clients`
    pub maxmemory_clients_bytes: u64,
    /// `maxmemory-policy`
    pub maxmemory_policy: String,
    /// `metrics-bind`
    pub metrics_bind: Vec<String>,
    /// `metrics-page`
    pub metrics_page: String,
    /// `metrics-port`; 0: none
    pub metrics_port: u64,
    /// `port`; once the server runs, the one it listens on
    pub port: u64,
    /// `preempt-timer-us`
    pub preempt_timer_us: u64,
    /// `prefault`
    pub prefault: bool,
    /// `protected-mode`
    pub protected_mode: bool,
    /// `proto-max-bulk-len`
    pub proto_max_bulk_len_bytes: u64,
    /// `read-buffer`
    pub read_buffer_bytes: u64,
    /// `requirepass`
    pub requirepass: String,
    /// `ring-depth`
    pub ring_depth: u64,
    /// `salvage`
    pub salvage: bool,
    /// `save`
    pub save: String,
    /// `shards`; once the server runs, how many there are
    pub shards: u64,
    /// `slowlog-log-slower-than`; the largest number there is: never
    pub slowlog_log_slower_than_us: u64,
    /// `slowlog-max-len`
    pub slowlog_max_len: u64,
    /// `spin-us`
    pub spin_us: u64,
    /// `steering`
    pub steering: String,
    /// `tcp-backlog`
    pub tcp_backlog: u64,
    /// `tcp-keepalive`
    pub tcp_keepalive_s: u64,
    /// `tcp-nodelay`
    pub tcp_nodelay: bool,
    /// `timeout`
    pub timeout_s: u64,
    /// `unixsocket`
    pub unixsocket: String,
    /// `unixsocketperm`
    pub unixsocketperm: u64,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What CONFIG, the file and (after `--`) the command line call it.
    pub name: &'static str,
    /// Where `--help` shows it; none if there is nothing to choose.
    pub group: Option<Group>,
    /// What stands for its value in `--help`.
    pub placeholder: &'static str,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// What its default comes to, where the default itself does not say.
    pub default_meaning: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Where its value lives and what values it takes.
    pub field: Field,
    /// Whether CONFIG SET may change it.
    pub is_live: bool,
}

/// The parts of `--help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// What every user sets.
    Basic,
    /// Connections and addresses.
    Network,
    /// Memory and CPUs.
    Resources,
    /// Data that outlives the process.
    Durability,
    /// What is slow, and what helps to find out.
    Monitoring,
    /// Nobody should need these.
    Expert,
}

impl Group {
    /// All, in the order of `--help`.
    pub const ALL: [Group; 6] = [
        Group::Basic,
        Group::Network,
        Group::Resources,
        Group::Durability,
        Group::Monitoring,
        Group::Expert,
    ];

    /// Its heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Group::Basic => "Basic",
            Group::Network => "Network",
            Group::Resources => "Memory and CPUs",
            Group::Durability => "Durability",
            Group::Monitoring => "Monitoring",
            Group::Expert => "Expert",
        }
    }
}

impl Setting {
    /// Its default for people: what it comes to, or else the value.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        if self.default_meaning.is_empty() {
            self.default
        } else {
            self.default_meaning
        }
    }

    /// CONFIG SET may change it.
    const fn live(self) -> Self {
        Self {
            is_live: true,
            ..self
        }
    }

    /// What the default comes to.
    const fn meaning(self, default_meaning: &'static str) -> Self {
        Self {
            default_meaning,
            ..self
        }
    }
}

impl Settings {
    /// Reads `text` as the value of `setting`; else why it is none, and nothing changes.
    pub fn set(&mut self, setting: &Setting, text: &str) -> Result<(), Misfit> {
        setting.field.set(self, text)
    }

    /// The value of `setting`, as CONFIG GET prints it.
    pub fn get(&self, setting: &Setting) -> String {
        setting.field.get(self)
    }

    /// Whether no reply may tell of what is not on disk.
    #[inline]
    pub fn syncs_always(&self) -> bool {
        self.appendfsync == "always"
    }

    /// Whether what changed reaches the disk without anyone asking for it.
    pub fn syncs_unasked(&self) -> bool {
        self.appendfsync != "no"
    }

    /// The value of `setting`, as a configuration file has it: with units, and quoted where needed.
    pub fn show(&self, setting: &Setting) -> String {
        setting.field.show(self)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            appendfsync: String::new(),
            appendonly: false,
            batch_commands: 0,
            bind: Vec::new(),
            busy_poll_us: 0,
            client_query_buffer_limit_bytes: 0,
            cpus: Vec::new(),
            databases: 0,
            dir: String::new(),
            direct_reads: false,
            enable_debug_command: String::new(),
            guard_timer_us: 0,
            huge_pages: false,
            latency_monitor_threshold_ms: 0,
            latency_tracking: false,
            latency_tracking_info_percentiles: String::new(),
            linger_us: 0,
            lock_memory: false,
            log_format: String::new(),
            log_slack_percent: 0,
            logfile: String::new(),
            loglevel: String::new(),
            maxclients: 0,
            maxmemory_bytes: 0,
            maxmemory_clients_bytes: 0,
            maxmemory_policy: String::new(),
            metrics_bind: Vec::new(),
            metrics_page: String::new(),
            metrics_port: 0,
            port: 0,
            preempt_timer_us: 0,
            prefault: false,
            protected_mode: false,
            proto_max_bulk_len_bytes: 0,
            read_buffer_bytes: 0,
            requirepass: String::new(),
            ring_depth: 0,
            salvage: false,
            save: String::new(),
            shards: 0,
            slowlog_log_slower_than_us: 0,
            slowlog_max_len: 0,
            spin_us: 0,
            steering: String::new(),
            tcp_backlog: 0,
            tcp_keepalive_s: 0,
            tcp_nodelay: false,
            timeout_s: 0,
            unixsocket: String::new(),
            unixsocketperm: 0,
        };
        for setting in SETTINGS {
            settings
                .set(setting, setting.default)
                .expect("a test sets every default");
        }
        settings
    }
}

/// The setting called `name`, in any case.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
