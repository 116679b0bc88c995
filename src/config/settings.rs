//! The table of settings: name, place in `--help`, how it is read and shown.

use super::value;
use super::{BindAddress, Config};
use crate::limits::{
    CLIENT_COUNT_MAX, MAXMEMORY_BYTES_MIN, QUERY_BUFFER_LEN_BYTES_MAX, SHARD_COUNT_MAX,
};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in files and, after `--`, on the command line.
    pub name: &'static str,
    /// Where `--help` shows it.
    pub group: Group,
    /// What stands for its value in `--help`.
    pub placeholder: &'static str,
    /// Its default as `--help` shows it.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    pub(super) apply: fn(&mut Config, &[String]) -> Result<(), String>,
    pub(super) show: fn(&Config) -> String,
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
    /// Nobody should need these.
    Expert,
}

impl Group {
    /// All, in the order of `--help`.
    pub const ALL: [Group; 4] = [
        Group::Basic,
        Group::Network,
        Group::Resources,
        Group::Expert,
    ];

    /// Its heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Group::Basic => "Basic",
            Group::Network => "Network",
            Group::Resources => "Memory and CPUs",
            Group::Expert => "Expert",
        }
    }
}

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "port",
        group: Group::Basic,
        placeholder: "PORT",
        default: "6379",
        help: "TCP port; 0 lets the system choose one",
        apply: |config, values| {
            store(&mut config.port, values, |text| {
                value::number(text, 0, u16::MAX)
            })
        },
        show: |config| config.port.to_string(),
    },
    Setting {
        name: "bind",
        group: Group::Basic,
        placeholder: "ADDR...",
        default: "127.0.0.1 -::1",
        help: "addresses to listen on; * is every IPv4 address, a - in front makes one optional",
        apply: set_bind,
        show: show_bind,
    },
    Setting {
        name: "unixsocket",
        group: Group::Basic,
        placeholder: "PATH",
        default: "none",
        help: "unix socket to listen on besides",
        apply: |config, values| {
            store(&mut config.unixsocket, values, |text| {
                Ok(non_empty(text).map(Into::into))
            })
        },
        show: |config| {
            value::quoted(
                &config
                    .unixsocket
                    .as_ref()
                    .map_or_else(String::new, |path| path.display().to_string()),
            )
        },
    },
    Setting {
        name: "unixsocketperm",
        group: Group::Network,
        placeholder: "MODE",
        default: "by umask",
        help: "permissions of the unix socket, in octal; 0 leaves them to the umask",
        apply: |config, values| {
            store(&mut config.unixsocketperm, values, |text| {
                value::permissions(text).map(|bits| (bits != 0).then_some(bits))
            })
        },
        show: |config| format!("{:o}", config.unixsocketperm.unwrap_or(0)),
    },
    Setting {
        name: "requirepass",
        group: Group::Basic,
        placeholder: "PASSWORD",
        default: "none",
        help: "password that clients must give (AUTH, HELLO)",
        apply: |config, values| store(&mut config.requirepass, values, |text| Ok(text.to_owned())),
        show: |config| value::quoted(&config.requirepass),
    },
    Setting {
        name: "protected-mode",
        group: Group::Network,
        placeholder: "yes|no",
        default: "yes",
        help: "without requirepass, refuse clients of other hosts",
        apply: |config, values| store(&mut config.protected_mode, values, value::switch),
        show: |config| value::switch_text(config.protected_mode).to_owned(),
    },
    Setting {
        name: "maxclients",
        group: Group::Network,
        placeholder: "COUNT",
        default: "10000",
        help: "connections at most",
        apply: |config, values| {
            store(&mut config.maxclients, values, |text| {
                value::number(text, 1, CLIENT_COUNT_MAX)
            })
        },
        show: |config| config.maxclients.to_string(),
    },
    Setting {
        name: "timeout",
        group: Group::Network,
        placeholder: "SECONDS",
        default: "0",
        help: "disconnect a client that is silent for so long; 0 never",
        apply: |config, values| store(&mut config.timeout_s, values, seconds),
        show: |config| config.timeout_s.to_string(),
    },
    Setting {
        name: "tcp-keepalive",
        group: Group::Network,
        placeholder: "SECONDS",
        default: "300",
        help: "ask after so long a silence whether the peer lives; 0 never",
        apply: |config, values| store(&mut config.tcp_keepalive_s, values, seconds),
        show: |config| config.tcp_keepalive_s.to_string(),
    },
    Setting {
        name: "tcp-backlog",
        group: Group::Network,
        placeholder: "COUNT",
        default: "511",
        help: "connections that may wait to be accepted, per core and address",
        apply: |config, values| {
            store(&mut config.tcp_backlog, values, |text| {
                value::number(text, 1, 65_535)
            })
        },
        show: |config| config.tcp_backlog.to_string(),
    },
    Setting {
        name: "client-query-buffer-limit",
        group: Group::Network,
        placeholder: "SIZE",
        default: "1gb",
        help: "disconnect a client with more unread input than this",
        apply: |config, values| {
            store(
                &mut config.client_query_buffer_limit_bytes,
                values,
                |text| {
                    in_range(
                        value::size_bytes(text)?,
                        1 << 20,
                        QUERY_BUFFER_LEN_BYTES_MAX as u64,
                    )
                },
            )
        },
        show: |config| value::size_text(config.client_query_buffer_limit_bytes),
    },
    Setting {
        name: "maxmemory",
        group: Group::Resources,
        placeholder: "SIZE",
        default: "80 % of the host's or container's",
        help: "memory for keys, values and index; 0 is the default",
        apply: |config, values| {
            store(
                &mut config.maxmemory_bytes,
                values,
                |text| match value::size_bytes(text)? {
                    0 => Ok(None),
                    bytes => in_range(bytes, MAXMEMORY_BYTES_MIN as u64, 1 << 43).map(Some),
                },
            )
        },
        show: |config| value::size_text(config.maxmemory_bytes.unwrap_or(0)),
    },
    Setting {
        name: "maxmemory-policy",
        group: Group::Resources,
        placeholder: "POLICY",
        default: "noeviction",
        help: "what to do at maxmemory; only noeviction (refuse writes) for now",
        apply: |_config, values| match one(values)? {
            "noeviction" => Ok(()),
            other => Err(format!("'{other}' is not there yet, only noeviction is")),
        },
        show: |_config| "noeviction".to_owned(),
    },
    Setting {
        name: "shards",
        group: Group::Resources,
        placeholder: "COUNT",
        default: "one per CPU",
        help: "shards, each with a pinned thread; 0 is the default",
        apply: |config, values| {
            store(&mut config.shards, values, |text| {
                value::number(text, 0, shard_count_max()).map(|count| (count > 0).then_some(count))
            })
        },
        show: |config| config.shards.unwrap_or(0).to_string(),
    },
    Setting {
        name: "cpus",
        group: Group::Resources,
        placeholder: "LIST",
        default: "all allowed, within the quota",
        help: "CPUs to run on, as 0,2-5; empty is the default",
        apply: |config, values| {
            store(&mut config.cpus, values, |text| {
                non_empty(text).map(value::cpus).transpose()
            })
        },
        show: |config| {
            value::quoted(&value::cpus_text(
                config.cpus.as_deref().unwrap_or_default(),
            ))
        },
    },
    Setting {
        name: "guard-timer-us",
        group: Group::Expert,
        placeholder: "MICROSECONDS",
        default: "2000",
        help: "while there is work, look this often whether an executor sleeps on it; 0 never",
        apply: |config, values| {
            store(&mut config.guard_timer_us, values, |text| {
                value::number(text, 0, 1_000_000)
            })
        },
        show: |config| config.guard_timer_us.to_string(),
    },
    Setting {
        name: "preempt-timer-us",
        group: Group::Expert,
        placeholder: "MICROSECONDS",
        default: "100000",
        help: "longest time between an executor's looks at its rings; shorter is not faster",
        apply: |config, values| {
            store(&mut config.preempt_timer_us, values, |text| {
                value::number(text, 50, 1_000_000)
            })
        },
        show: |config| config.preempt_timer_us.to_string(),
    },
];

/// Sets a field from the only value.
fn store<T>(
    field: &mut T,
    values: &[String],
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<(), String> {
    *field = parse(one(values)?)?;
    Ok(())
}

fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        [] => Err("needs a value".to_owned()),
        _ => Err(format!("takes one value, not {}", values.len())),
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn seconds(text: &str) -> Result<u32, String> {
    value::number(text, 0, i32::MAX as u32)
}

fn in_range(bytes: u64, min: u64, max: u64) -> Result<u64, String> {
    if bytes < min || bytes > max {
        let (min, max) = (value::size_text(min), value::size_text(max));
        return Err(format!(
            "{} is not from {min} to {max}",
            value::size_text(bytes)
        ));
    }
    Ok(bytes)
}

fn shard_count_max() -> u16 {
    u16::try_from(SHARD_COUNT_MAX).expect("limits: a shard's number fits 16 bits")
}

fn set_bind(config: &mut Config, values: &[String]) -> Result<(), String> {
    let mut addresses = Vec::new();
    for text in values.iter().flat_map(|value| value.split_whitespace()) {
        let host = text.strip_prefix('-').unwrap_or(text);
        if host.is_empty() {
            return Err(format!("'{text}' is not an address"));
        }
        addresses.push(BindAddress {
            host: host.to_owned(),
            is_optional: host != text,
        });
    }
    if addresses.is_empty() {
        return Err("needs an address".to_owned());
    }
    config.bind = Some(addresses);
    Ok(())
}

fn show_bind(config: &Config) -> String {
    let show = |address: BindAddress| {
        format!(
            "{}{}",
            if address.is_optional { "-" } else { "" },
            address.host
        )
    };
    config
        .bind_addresses()
        .into_iter()
        .map(show)
        .collect::<Vec<_>>()
        .join(" ")
}
