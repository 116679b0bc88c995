//! Settings of Redis that this server does not have.
//!
//! People come with the redis.conf they have. A line that only tunes something which does not
//! exist here is ignored with a warning; a line whose loss would give them less safety than they
//! believe to have (access control, encryption, durability, replication) is refused.

use super::{Applied, nearest_name};
use crate::error::Error;

/// Judges a name that is not a setting here.
pub(super) fn ignore(name: &str, values: &[String]) -> Result<Applied, Error> {
    if let Some(reason) = refusal(name, values) {
        return Err(Error::Usage(format!("{name}: {reason}")));
    }
    if is_same_here(name, values) {
        return Ok(Applied::Set);
    }
    if is_known(name) {
        return Ok(Applied::Ignored(format!(
            "{name} is a setting of Redis that has no effect here"
        )));
    }
    Err(Error::Usage(match nearest_name(name) {
        Some(nearest) => format!("unknown setting '{name}', did you mean '{nearest}'?"),
        None => format!("unknown setting '{name}'"),
    }))
}

/// Whether Redis has a setting of that name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name).is_ok()
        || KNOWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || REFUSED.iter().any(|(refused, _)| name == *refused)
}

/// Why a setting cannot be ignored; `None` when it can.
fn refusal(name: &str, values: &[String]) -> Option<String> {
    let value = values.first().map_or("", String::as_str);
    if name.starts_with("tls-") {
        return Some("encryption is not there yet; a proxy can add it".to_owned());
    }
    if name == "cluster-enabled" && value.eq_ignore_ascii_case("no") {
        return None;
    }
    if matches!(name, "aclfile" | "replicaof" | "slaveof") && value.is_empty() {
        return None;
    }
    REFUSED
        .iter()
        .find(|(refused, _)| name == *refused)
        .map(|(_, reason)| (*reason).to_owned())
}

/// Whether the value asks for what this server does anyway, so that no warning is due.
fn is_same_here(name: &str, values: &[String]) -> bool {
    let value = values.first().map_or("", String::as_str);
    match name {
        "save" => values.iter().all(String::is_empty),
        "cluster-enabled" | "daemonize" => value.eq_ignore_ascii_case("no"),
        "databases" => value == "1",
        "aclfile" | "replicaof" | "slaveof" => value.is_empty(),
        _ => false,
    }
}

/// Refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "aclfile",
        "access control lists are not there yet; requirepass is",
    ),
    ("cluster-enabled", "cluster mode is not there yet"),
    ("include", "put all settings into one file"),
    ("loadmodule", "modules are not supported"),
    (
        "rename-command",
        "commands cannot be renamed; requirepass keeps strangers out",
    ),
    ("replicaof", "replication is not there yet"),
    ("slaveof", "replication is not there yet"),
    (
        "user",
        "access control lists are not there yet; requirepass is",
    ),
];

/// Families of settings of Redis.
const KNOWN_PREFIXES: &[&str] = &[
    "active-defrag-",
    "aof-",
    "cluster-",
    "hash-max-",
    "io-threads",
    "lazyfree-",
    "list-",
    "lua-",
    "min-replicas-",
    "min-slaves-",
    "oom-score-adj",
    "rdb-",
    "repl-",
    "replica-",
    "slave-",
    "stream-node-",
    "syslog-",
    "zset-max-",
];

/// The other settings of Redis 7.0, sorted.
const KNOWN: &[&str] = &[
    "acl-pubsub-default",
    "acllog-max-len",
    "active-expire-effort",
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "aof_rewrite_cpulist",
    "appenddirname",
    "appendfilename",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "bgsave_cpulist",
    "bind-source-addr",
    "bio_cpulist",
    "busy-reply-threshold",
    "client-output-buffer-limit",
    "crash-log-enabled",
    "crash-memcheck-enabled",
    "daemonize",
    "databases",
    "dbfilename",
    "disable-thp",
    "dynamic-hz",
    "enable-module-command",
    "enable-protected-configs",
    "hll-sparse-max-bytes",
    "hz",
    "ignore-warnings",
    "jemalloc-bg-thread",
    "lfu-decay-time",
    "lfu-log-factor",
    "locale-collate",
    "masterauth",
    "masteruser",
    "maxmemory-eviction-tenacity",
    "maxmemory-samples",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "pidfile",
    "proc-title-template",
    "propagation-error-behavior",
    "rdbchecksum",
    "rdbcompression",
    "replica-announced",
    "sanitize-dump-payload",
    "save",
    "server_cpulist",
    "set-max-intset-entries",
    "set-max-listpack-entries",
    "set-max-listpack-value",
    "set-proc-title",
    "shutdown-on-sigint",
    "shutdown-on-sigterm",
    "shutdown-timeout",
    "socket-mark-id",
    "stop-writes-on-bgsave-error",
    "supervised",
    "tracking-table-max-keys",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_names_are_sorted_for_the_search() {
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn what_weakens_safety_is_refused_and_what_only_tunes_is_not() {
        let judge = |name: &str, value: &str| ignore(name, &[value.to_owned()]);
        for (name, value) in [
            ("rename-command", "FLUSHALL"),
            ("tls-port", "6380"),
            ("replicaof", "10.0.0.1"),
            ("user", "default"),
            ("aclfile", "/etc/acl"),
            ("cluster-enabled", "yes"),
        ] {
            assert!(judge(name, value).is_err(), "{name}");
        }
        for (name, value) in [("save", ""), ("databases", "1")] {
            assert_eq!(judge(name, value).unwrap(), Applied::Set, "{name}");
        }
        for (name, value) in [
            ("save", "900"),
            ("databases", "16"),
            ("hz", "10"),
            ("io-threads", "4"),
        ] {
            assert!(
                matches!(judge(name, value).unwrap(), Applied::Ignored(_)),
                "{name}"
            );
        }
    }
}
