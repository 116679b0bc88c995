//! The rows of the table of settings, by name.
//!
//! Not here: what a row means (`settings`), what values are (`value`), and the rows of the knobs that
//! experiments turn (`expert`).

use super::{Field, Group, Lens, Setting, expert};
use crate::limits;

/// The two ways to a field of [`Settings`].
macro_rules! lens {
    ($field:ident) => {
        Lens {
            read: |settings| &settings.$field,
            write: |settings| &mut settings.$field,
        }
    };
}
pub(super) use lens;

/// A setting that only the command line and the file can change.
pub(super) const fn setting(
    name: &'static str,
    group: Group,
    placeholder: &'static str,
    default: &'static str,
    field: Field,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        group: Some(group),
        placeholder,
        default,
        default_meaning: "",
        help,
        field,
        is_live: false,
    }
}

/// What this server does in one way only, for tools that ask, or set it to what it is.
const fn constant(
    name: &'static str,
    default: &'static str,
    field: Field,
    help: &'static str,
) -> Setting {
    Setting {
        group: None,
        ..setting(name, Group::Expert, "", default, field, help)
    }
}

/// Redis's names in its order, which errors show; what they mean here is told where they are taken (`Core::configure`).
const EVICTION_POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    setting(
        "appendfsync",
        Group::Durability,
        "WHEN",
        "everysec",
        Field::Choice {
            lens: lens!(appendfsync),
            choices: &["always", "everysec", "no"],
        },
        "when changes reach the disk: always (before the reply), everysec, or no (when asked)",
    )
    .live(),
    setting(
        "appendonly",
        Group::Durability,
        "yes|no",
        "no",
        Field::Bool(lens!(appendonly)),
        "for files of Redis: yes asks for dir, which alone decides",
    )
    .live(),
    expert::BATCH_COMMANDS,
    setting(
        "bind",
        Group::Basic,
        "ADDR...",
        "127.0.0.1 -::1",
        Field::Addresses(lens!(bind)),
        "addresses to listen on; * is every IPv4 address, a - in front makes one optional",
    ),
    expert::BUSY_POLL_US,
    setting(
        "client-query-buffer-limit",
        Group::Network,
        "SIZE",
        "1gb",
        Field::Bytes {
            lens: lens!(client_query_buffer_limit_bytes),
            min: limits::MIB as u64,
            max: limits::QUERY_BUFFER_LEN_BYTES_MAX as u64,
            is_zero_default: false,
        },
        "disconnect a client with more unread input than this",
    )
    .live(),
    setting(
        "cpus",
        Group::Resources,
        "LIST",
        "",
        Field::Cpus(lens!(cpus)),
        "CPUs to run on, as 0,2-5; empty is the default",
    )
    .meaning("all allowed, within the quota"),
    constant(
        "databases",
        "1",
        Field::Number {
            lens: lens!(databases),
            min: 1,
            max: 1,
        },
        "databases; there is one",
    ),
    setting(
        "dir",
        Group::Durability,
        "DIR",
        "",
        Field::Text(lens!(dir)),
        "directory that keeps the data; a server that starts there has it again",
    )
    .meaning("none: in memory only"),
    expert::DIRECT_READS,
    setting(
        "enable-debug-command",
        Group::Monitoring,
        "no|yes|local",
        "no",
        Field::Choice {
            lens: lens!(enable_debug_command),
            choices: &["no", "yes", "local"],
        },
        "who may send DEBUG: nobody, everybody, or clients of this host",
    ),
    expert::GUARD_TIMER_US,
    expert::HUGE_PAGES,
    setting(
        "latency-monitor-threshold",
        Group::Monitoring,
        "MILLISECONDS",
        "0",
        Field::Number {
            lens: lens!(latency_monitor_threshold_ms),
            min: 0,
            max: i64::MAX as u64,
        },
        "note for LATENCY what takes so long or longer; 0 nothing",
    )
    .live(),
    setting(
        "latency-tracking",
        Group::Monitoring,
        "yes|no",
        "yes",
        Field::Bool(lens!(latency_tracking)),
        "keep a histogram of each command's latencies",
    )
    .live(),
    setting(
        "latency-tracking-info-percentiles",
        Group::Monitoring,
        "PERCENTILE...",
        "50 99 99.9",
        Field::Percentiles(lens!(latency_tracking_info_percentiles)),
        "percentiles of them that INFO latencystats shows",
    )
    .live(),
    expert::LINGER_US,
    expert::LOCK_MEMORY,
    setting(
        "log-format",
        Group::Monitoring,
        "text|json",
        "text",
        Field::Choice {
            lens: lens!(log_format),
            choices: &["text", "json"],
        },
        "how lines of the log are written",
    ),
    setting(
        "log-slack",
        Group::Resources,
        "PERCENT",
        "50",
        Field::Number {
            lens: lens!(log_slack_percent),
            min: limits::LOG_SLACK_PERCENT_MIN as u64,
            max: limits::LOG_SLACK_PERCENT_MAX as u64,
        },
        "dead data kept at most, in percent of the live, beside 16 MiB a shard; less memory costs more CPU",
    )
    .live(),
    setting(
        "logfile",
        Group::Monitoring,
        "PATH",
        "",
        Field::Text(lens!(logfile)),
        "file that the log is appended to",
    )
    .meaning("stderr"),
    setting(
        "loglevel",
        Group::Monitoring,
        "LEVEL",
        "notice",
        Field::Choice {
            lens: lens!(loglevel),
            choices: &["debug", "verbose", "notice", "warning"],
        },
        "least level of what is logged: debug, verbose (connections too), notice or warning",
    )
    .live(),
    setting(
        "maxclients",
        Group::Network,
        "COUNT",
        "10000",
        Field::Number {
            lens: lens!(maxclients),
            min: 1,
            max: limits::CLIENT_COUNT_MAX as u64,
        },
        "connections at most",
    )
    .live(),
    setting(
        "maxmemory",
        Group::Resources,
        "SIZE",
        "0",
        Field::Bytes {
            lens: lens!(maxmemory_bytes),
            min: limits::MAXMEMORY_BYTES_MIN as u64,
            max: limits::REGION_LEN_BYTES_MAX,
            is_zero_default: true,
        },
        "memory for keys, values and index; 0 is the default",
    )
    .meaning("80 % of the host's or container's")
    .live(),
    setting(
        "maxmemory-clients",
        Group::Resources,
        "SIZE",
        "0",
        Field::Bytes {
            lens: lens!(maxmemory_clients_bytes),
            min: limits::MIB as u64,
            max: limits::REGION_LEN_BYTES_MAX,
            is_zero_default: true,
        },
        "memory for connections' buffers; 0 is the default",
    )
    .meaning("a tenth of the host's or container's")
    .live(),
    setting(
        "maxmemory-policy",
        Group::Resources,
        "POLICY",
        "noeviction",
        Field::Choice {
            lens: lens!(maxmemory_policy),
            choices: EVICTION_POLICIES,
        },
        "what to do at maxmemory: refuse writes, or evict which keys",
    )
    .live(),
    setting(
        "metrics-bind",
        Group::Monitoring,
        "ADDR...",
        "127.0.0.1 -::1",
        Field::Addresses(lens!(metrics_bind)),
        "addresses of the metrics port, as for bind",
    ),
    setting(
        "metrics-page",
        Group::Monitoring,
        "no|yes|local",
        "local",
        Field::Choice {
            lens: lens!(metrics_page),
            choices: &["no", "yes", "local"],
        },
        "who may see the live page, keys included: nobody, everybody, or clients of this host",
    ),
    setting(
        "metrics-port",
        Group::Monitoring,
        "PORT",
        "0",
        Field::Number {
            lens: lens!(metrics_port),
            min: 0,
            max: u16::MAX as u64,
        },
        "port of the metrics for Prometheus and of the live page (HTTP)",
    )
    .meaning("none"),
    setting(
        "port",
        Group::Basic,
        "PORT",
        "6379",
        Field::Number {
            lens: lens!(port),
            min: 0,
            max: u16::MAX as u64,
        },
        "TCP port; 0 lets the system choose one",
    ),
    expert::PREEMPT_TIMER_US,
    expert::PREFAULT,
    setting(
        "protected-mode",
        Group::Network,
        "yes|no",
        "yes",
        Field::Bool(lens!(protected_mode)),
        "without requirepass, refuse clients of other hosts",
    )
    .live(),
    setting(
        "proto-max-bulk-len",
        Group::Network,
        "SIZE",
        "512mb",
        Field::Bytes {
            lens: lens!(proto_max_bulk_len_bytes),
            min: limits::MIB as u64,
            max: limits::BULK_LEN_BYTES_MAX as u64,
            is_zero_default: false,
        },
        "longest argument of a command",
    )
    .live(),
    expert::READ_BUFFER,
    setting(
        "requirepass",
        Group::Basic,
        "PASSWORD",
        "",
        Field::Text(lens!(requirepass)),
        "password that clients must give (AUTH, HELLO)",
    )
    .meaning("none")
    .live(),
    expert::RING_DEPTH,
    setting(
        "salvage",
        Group::Durability,
        "yes|no",
        "no",
        Field::Bool(lens!(salvage)),
        "serve what is intact of a damaged data file, instead of refusing to start",
    ),
    constant(
        "save",
        "",
        Field::Choice {
            lens: lens!(save),
            choices: &[""],
        },
        "snapshot points; there are none, dir makes every write durable",
    )
    .live(),
    setting(
        "shards",
        Group::Resources,
        "COUNT",
        "0",
        Field::Number {
            lens: lens!(shards),
            min: 0,
            max: limits::SHARD_COUNT_MAX as u64,
        },
        "shards, each with a pinned thread; 0 is the default",
    )
    .meaning("one per CPU"),
    setting(
        "slowlog-log-slower-than",
        Group::Monitoring,
        "MICROSECONDS",
        "10000",
        Field::NumberOrNever(lens!(slowlog_log_slower_than_us)),
        "note in SLOWLOG what takes longer; below 1000 no pipelines are timed as one; -1 nothing",
    )
    .live(),
    setting(
        "slowlog-max-len",
        Group::Monitoring,
        "COUNT",
        "128",
        Field::Number {
            lens: lens!(slowlog_max_len),
            min: 0,
            max: i64::MAX as u64,
        },
        "entries that SLOWLOG keeps",
    )
    .live(),
    expert::SPIN_US,
    expert::STEERING,
    setting(
        "tcp-backlog",
        Group::Network,
        "COUNT",
        "511",
        Field::Number {
            lens: lens!(tcp_backlog),
            min: 1,
            max: u16::MAX as u64,
        },
        "connections that may wait to be accepted, per core and address",
    ),
    setting(
        "tcp-keepalive",
        Group::Network,
        "SECONDS",
        "300",
        Field::Number {
            lens: lens!(tcp_keepalive_s),
            min: 0,
            max: i32::MAX as u64,
        },
        "ask after so long a silence whether the peer lives; 0 never",
    )
    .live(),
    expert::TCP_NODELAY,
    setting(
        "timeout",
        Group::Network,
        "SECONDS",
        "0",
        Field::Number {
            lens: lens!(timeout_s),
            min: 0,
            max: i32::MAX as u64,
        },
        "disconnect a client that is silent for so long; 0 never",
    )
    .live(),
    setting(
        "unixsocket",
        Group::Basic,
        "PATH",
        "",
        Field::Text(lens!(unixsocket)),
        "unix socket to listen on besides",
    )
    .meaning("none"),
    setting(
        "unixsocketperm",
        Group::Network,
        "MODE",
        "0",
        Field::Octal {
            lens: lens!(unixsocketperm),
            max: 0o777,
        },
        "permissions of the unix socket, in octal; 0 leaves them to the umask",
    )
    .meaning("by umask"),
];
