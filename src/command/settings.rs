//! The settings, as one table: CONFIG, the configuration file and the command line all read it.
//!
//! A row says what a setting is called (Redis's name wherever Redis has it), what values it takes,
//! its default, whether it can change while the server runs, and where its value lives. Each core
//! has its own copy of the values, so that reading one costs nothing; CONFIG SET changes them all.
//!
//! Not here: which of file and command line wins, and what depends on the host (`config`).

use crate::limits;

mod value;

pub use value::{Field, Lens, format_bytes, parse_bytes};

/// The values in force. [`SETTINGS`] has their names, units and meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `bind`
    pub bind: Vec<String>,
    /// `port`
    pub port: u64,
    /// `unixsocket`
    pub unixsocket: String,
    /// `unixsocketperm`
    pub unixsocketperm: u64,
    /// `tcp-backlog`
    pub tcp_backlog: u64,
    /// `tcp-keepalive`
    pub tcp_keepalive_s: u64,
    /// `timeout`
    pub timeout_s: u64,
    /// `maxclients`
    pub maxclients: u64,
    /// `protected-mode`
    pub protected_mode: bool,
    /// `requirepass`
    pub requirepass: String,
    /// `client-query-buffer-limit`
    pub client_query_buffer_limit_bytes: u64,
    /// `proto-max-bulk-len`
    pub proto_max_bulk_len_bytes: u64,
    /// `maxmemory`; what it means on this host, once the server runs
    pub maxmemory_bytes: u64,
    /// `maxmemory-clients`
    pub maxmemory_clients_bytes: u64,
    /// `maxmemory-policy`
    pub maxmemory_policy: String,
    /// `shards`
    pub shards: u64,
    /// `cpus`
    pub cpus: String,
    /// `databases`
    pub databases: u64,
    /// `save`
    pub save: String,
    /// `appendonly`
    pub appendonly: bool,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What CONFIG, the file and (after `--`) the command line call it.
    pub name: &'static str,
    /// Where its value lives and what values it takes.
    pub field: Field,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// Whether CONFIG SET may change it.
    pub is_live: bool,
    /// One line for people.
    pub help: &'static str,
}

impl Settings {
    /// Reads `text` as the value of `setting`; else why it is none, in the words of CONFIG SET.
    pub fn set(&mut self, setting: &Setting, text: &str) -> Result<(), String> {
        setting.field.set(self, text)
    }

    /// The value of `setting`, as CONFIG GET prints it.
    pub fn get(&self, setting: &Setting) -> String {
        setting.field.get(self)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            bind: Vec::new(),
            port: 0,
            unixsocket: String::new(),
            unixsocketperm: 0,
            tcp_backlog: 0,
            tcp_keepalive_s: 0,
            timeout_s: 0,
            maxclients: 0,
            protected_mode: false,
            requirepass: String::new(),
            client_query_buffer_limit_bytes: 0,
            proto_max_bulk_len_bytes: 0,
            maxmemory_bytes: 0,
            maxmemory_clients_bytes: 0,
            maxmemory_policy: String::new(),
            shards: 0,
            cpus: String::new(),
            databases: 0,
            save: String::new(),
            appendonly: false,
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

/// The two ways to a field of [`Settings`].
macro_rules! lens {
    ($field:ident) => {
        Lens {
            read: |settings| &settings.$field,
            write: |settings| &mut settings.$field,
        }
    };
}

/// A setting that only the command line and the file can change.
const fn at_start(
    name: &'static str,
    field: Field,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        field,
        default,
        is_live: false,
        help,
    }
}

/// A setting that CONFIG SET can change.
const fn live(
    name: &'static str,
    field: Field,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        is_live: true,
        ..at_start(name, field, default, help)
    }
}

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    live(
        "appendonly",
        Field::Never(lens!(appendonly)),
        "no",
        "append-only file; this server keeps its data in memory",
    ),
    at_start(
        "bind",
        Field::Words(lens!(bind)),
        "127.0.0.1 -::1",
        "addresses to listen on; one after a minus may be missing",
    ),
    live(
        "client-query-buffer-limit",
        Field::Bytes {
            lens: lens!(client_query_buffer_limit_bytes),
            min: limits::MIB as u64,
            max: limits::QUERY_BUFFER_LEN_BYTES_MAX as u64,
        },
        "1gb",
        "unread input after which a connection is closed",
    ),
    at_start(
        "cpus",
        Field::Text(lens!(cpus)),
        "",
        "CPUs to run on, as 0,2-5; empty: those the process may use",
    ),
    at_start(
        "databases",
        Field::Number {
            lens: lens!(databases),
            min: 1,
            max: 1,
        },
        "1",
        "databases; there is one",
    ),
    live(
        "maxclients",
        Field::Number {
            lens: lens!(maxclients),
            min: 1,
            max: limits::CLIENT_COUNT_MAX as u64,
        },
        "10000",
        "connections at most",
    ),
    live(
        "maxmemory",
        Field::Bytes {
            lens: lens!(maxmemory_bytes),
            min: 0,
            max: u64::MAX,
        },
        "0",
        "memory for keys, values and their index; 0: 80 % of what the host allows",
    ),
    live(
        "maxmemory-clients",
        Field::Bytes {
            lens: lens!(maxmemory_clients_bytes),
            min: 0,
            max: u64::MAX,
        },
        "0",
        "memory for connections' buffers; 0: a tenth of the host's",
    ),
    live(
        "maxmemory-policy",
        Field::Choice {
            lens: lens!(maxmemory_policy),
            choices: &["noeviction"],
        },
        "noeviction",
        "what happens at maxmemory; noeviction: writes that need memory are refused",
    ),
    at_start(
        "port",
        Field::Number {
            lens: lens!(port),
            min: 0,
            max: u16::MAX as u64,
        },
        "6379",
        "TCP port; 0: none",
    ),
    live(
        "protected-mode",
        Field::Bool(lens!(protected_mode)),
        "yes",
        "refuse other hosts while there is no password and no address was bound on purpose",
    ),
    live(
        "proto-max-bulk-len",
        Field::Bytes {
            lens: lens!(proto_max_bulk_len_bytes),
            min: limits::MIB as u64,
            max: limits::BULK_LEN_BYTES_MAX as u64,
        },
        "512mb",
        "longest argument",
    ),
    live(
        "requirepass",
        Field::Text(lens!(requirepass)),
        "",
        "password; empty: none",
    ),
    live(
        "save",
        Field::Choice {
            lens: lens!(save),
            choices: &[""],
        },
        "",
        "snapshot points; this server keeps its data in memory",
    ),
    at_start(
        "shards",
        Field::Number {
            lens: lens!(shards),
            min: 0,
            max: limits::SHARD_COUNT_MAX as u64,
        },
        "0",
        "shards, each with a thread; 0: one per CPU",
    ),
    at_start(
        "tcp-backlog",
        Field::Number {
            lens: lens!(tcp_backlog),
            min: 0,
            max: i32::MAX as u64,
        },
        "511",
        "connections that may wait to be accepted",
    ),
    live(
        "tcp-keepalive",
        Field::Number {
            lens: lens!(tcp_keepalive_s),
            min: 0,
            max: i32::MAX as u64,
        },
        "300",
        "seconds of silence before a peer is probed; 0: never",
    ),
    live(
        "timeout",
        Field::Number {
            lens: lens!(timeout_s),
            min: 0,
            max: i32::MAX as u64,
        },
        "0",
        "seconds after which an idle connection is closed; 0: never",
    ),
    at_start(
        "unixsocket",
        Field::Text(lens!(unixsocket)),
        "",
        "path of a unix socket to listen on; empty: none",
    ),
    at_start(
        "unixsocketperm",
        Field::Octal {
            lens: lens!(unixsocketperm),
            max: 0o777,
        },
        "0",
        "permissions of the unix socket, in octal; 0: what the umask leaves",
    ),
];

#[cfg(test)]
mod tests;
