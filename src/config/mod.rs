//! What a server is told when it starts: every setting with its default, in units.
//!
//! Settings come from three places, the later ones winning: the defaults, a configuration file in
//! redis.conf's form (`file`), and the command line (`cli`). All three go through one table
//! (`settings`), so a name is spelled, parsed, checked and shown in one way. Names are Redis's
//! wherever the concept is.
//!
//! Not here: what the host grants (how many CPUs and how much memory an absent setting means) is
//! resolved when the server starts, and what CONFIG SET changes later is `command`'s.

use std::fmt;
use std::path::PathBuf;

mod file;
mod redis;
mod settings;
mod value;

pub use settings::{Group, SETTINGS, Setting};

use crate::error::Error;
use crate::limits::{
    GUARD_TIMER_US_DEFAULT, MAXCLIENTS_DEFAULT, PORT_DEFAULT, PREEMPT_TIMER_US_DEFAULT,
    QUERY_BUFFER_LEN_BYTES_MAX, TCP_BACKLOG_DEFAULT, TCP_KEEPALIVE_S_DEFAULT,
};

/// What a server is told when it starts.
///
/// ```
/// let mut config = coremap::Config::default();
/// config.port = 0; // any free port
/// config.shards = Some(2);
/// config.maxmemory_bytes = Some(64 << 20);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Addresses to listen on; `None` is 127.0.0.1 and, where the host has it, ::1.
    pub bind: Option<Vec<BindAddress>>,
    /// TCP port of every address; 0 lets the system choose one.
    pub port: u16,
    /// Path of a unix socket to listen on besides.
    pub unixsocket: Option<PathBuf>,
    /// Permission bits of the unix socket; `None` leaves them to the umask.
    pub unixsocketperm: Option<u32>,
    /// Connections that may wait to be accepted, per core and address.
    pub tcp_backlog: u32,
    /// Seconds of silence after which TCP asks whether the peer lives; 0 never.
    pub tcp_keepalive_s: u32,
    /// Seconds of silence after which a client is disconnected; 0 never.
    pub timeout_s: u32,
    /// Connections at most.
    pub maxclients: u32,
    /// The password of the default user; empty is none.
    pub requirepass: String,
    /// Whether, without a password, only this host may connect.
    pub protected_mode: bool,
    /// Bytes of unread input after which a client is disconnected.
    pub client_query_buffer_limit_bytes: u64,
    /// Shards, and therefore cores; `None` is one per CPU.
    pub shards: Option<u16>,
    /// CPUs to run on; `None` is those this process may use, as far as its quota pays for them.
    pub cpus: Option<Vec<usize>>,
    /// Bytes for keys, values and their index; `None` is 80 % of the host's or container's memory.
    pub maxmemory_bytes: Option<u64>,
    /// Microseconds between looks at whether an executor sleeps although it has work; 0 never.
    pub guard_timer_us: u32,
    /// Microseconds a task queue may run before the executor looks at its rings.
    pub preempt_timer_us: u32,
    /// Whether to write start, stop and trouble to stderr, one line each.
    pub log: bool,
    /// The file that was read, for INFO and CONFIG GET.
    pub config_file: Option<PathBuf>,
}

/// One address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindAddress {
    /// An address of this host or a name for one; `*` is every IPv4 address, `::` every IPv6 one.
    pub host: String,
    /// Whether to go on without it when the host has no such address (`-` in front, as in Redis).
    pub is_optional: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: None,
            port: PORT_DEFAULT,
            unixsocket: None,
            unixsocketperm: None,
            tcp_backlog: TCP_BACKLOG_DEFAULT,
            tcp_keepalive_s: TCP_KEEPALIVE_S_DEFAULT,
            timeout_s: 0,
            maxclients: MAXCLIENTS_DEFAULT,
            requirepass: String::new(),
            protected_mode: true,
            client_query_buffer_limit_bytes: QUERY_BUFFER_LEN_BYTES_MAX as u64,
            shards: None,
            cpus: None,
            maxmemory_bytes: None,
            guard_timer_us: GUARD_TIMER_US_DEFAULT,
            preempt_timer_us: PREEMPT_TIMER_US_DEFAULT,
            log: false,
            config_file: None,
        }
    }
}

impl Config {
    /// Sets one setting from text, as an option or a line of a file does. `name` is in lower case.
    /// Settings of Redis that are not settings here give a [`Applied::Ignored`] to warn of, or an
    /// error where ignoring them would give the user less safety than asked for.
    ///
    /// ```
    /// let mut config = coremap::Config::default();
    /// config.set("maxmemory", &["4gb".to_owned()])?;
    /// assert_eq!(config.maxmemory_bytes, Some(4 << 30));
    /// # Ok::<(), coremap::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[String]) -> Result<Applied, Error> {
        let Some(setting) = settings::find(name) else {
            return redis::ignore(name, values);
        };
        let applied = (setting.apply)(self, values);
        applied.map_err(|reason| Error::Usage(format!("{name}: {reason}")))?;
        Ok(Applied::Set)
    }

    /// Reads a configuration file: what it sets, and the warnings it gave. An error names the
    /// line.
    pub fn read_file(&mut self, path: &std::path::Path) -> Result<Vec<String>, Error> {
        file::read(self, path)
    }

    /// The value of a setting, as a file would have it; empty if there is no such setting.
    #[must_use]
    pub fn show(&self, name: &str) -> String {
        settings::find(name).map_or_else(String::new, |setting| (setting.show)(self))
    }

    /// Every address to listen on, defaults resolved.
    #[must_use]
    pub fn bind_addresses(&self) -> Vec<BindAddress> {
        self.bind.clone().unwrap_or_else(|| {
            vec![
                BindAddress {
                    host: "127.0.0.1".to_owned(),
                    is_optional: false,
                },
                BindAddress {
                    host: "::1".to_owned(),
                    is_optional: true,
                },
            ]
        })
    }
}

/// The settings as a configuration file that gives the same configuration.
impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in SETTINGS {
            writeln!(formatter, "{} {}", setting.name, (setting.show)(self))?;
        }
        Ok(())
    }
}

/// What became of a setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It is in the configuration now.
    Set,
    /// Redis has it, this server does not; the line says so.
    Ignored(String),
}

/// The name nearest to a misspelt one among the settings, for the error.
#[must_use]
pub fn nearest_name(name: &str) -> Option<&'static str> {
    let (nearest, distance) = SETTINGS
        .iter()
        .map(|setting| (setting.name, edit_distance(name, setting.name)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= 1 + name.len() / 4).then_some(nearest)
}

/// Whether a name is a setting, here or in Redis.
#[must_use]
pub fn is_known(name: &str) -> bool {
    settings::find(name).is_some() || redis::is_known(name)
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn edit_distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;
