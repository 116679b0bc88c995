//! Commands of Redis that are not here, by name.
//!
//! Who sends HSET is told that hashes are not there, not that nobody knows the command; and before
//! anything else is looked at, whatever the arguments. These names are no rows: COMMAND lists what
//! works, and a client that asks there is not lied to.

/// Commands that are missing for one reason.
pub(super) struct Family {
    /// What they are, for the document.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the document is written by a test")
    )]
    pub title: &'static str,
    /// The error, after `ERR 'NAME' is not supported: `; or all of it, if it is Redis's own.
    reason: Reason,
    /// Their names in lower case, sorted; a subcommand's with its container and a bar.
    pub names: &'static [&'static str],
}

enum Reason {
    /// Why there is no such command.
    Ours(&'static str),
    /// What Redis itself answers where the feature is off.
    AsRedis(&'static str),
}

impl Family {
    /// The error for the command called `name`.
    pub(super) fn error(&self, name: &str) -> String {
        match self.reason {
            Reason::AsRedis(text) => format!("ERR {text}"),
            Reason::Ours(text) => {
                let name = name.replace('|', " ").to_ascii_uppercase();
                format!("ERR '{name}' is not supported: {text}")
            }
        }
    }
}

/// The error for a command that is none here, if Redis has it.
#[cold]
pub(super) fn refusal(name: &[u8]) -> Option<Vec<u8>> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    let has = |family: &&Family| family.names.binary_search(&name.as_str()).is_ok();
    let family = FAMILIES.iter().find(has)?;
    Some(family.error(&name).into_bytes())
}

/// The same for a subcommand of a command that is here.
#[cold]
pub(super) fn refusal_of_subcommand(container: &str, name: &[u8]) -> Option<Vec<u8>> {
    refusal(&[container.as_bytes(), b"|", name].concat())
}

/// Every family.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        title: "Several strings with options",
        reason: Reason::Ours(
            "MSET and MSETNX take no options; MULTI with a SET for each key does the same",
        ),
        names: &["msetex"],
    },
    Family {
        title: "Hashes",
        reason: Reason::Ours("Coremap stores strings only so far, no hashes"),
        names: &[
            "hdel",
            "hexists",
            "hexpire",
            "hexpireat",
            "hexpiretime",
            "hget",
            "hgetall",
            "hgetdel",
            "hgetex",
            "hincrby",
            "hincrbyfloat",
            "hkeys",
            "hlen",
            "hmget",
            "hmset",
            "hpersist",
            "hpexpire",
            "hpexpireat",
            "hpexpiretime",
            "hpttl",
            "hrandfield",
            "hscan",
            "hset",
            "hsetex",
            "hsetnx",
            "hstrlen",
            "httl",
            "hvals",
        ],
    },
    Family {
        title: "Lists",
        reason: Reason::Ours("Coremap stores strings only so far, no lists"),
        names: &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
        ],
    },
    Family {
        title: "Sets",
        reason: Reason::Ours("Coremap stores strings only so far, no sets"),
        names: &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
    },
    Family {
        title: "Sorted sets",
        reason: Reason::Ours("Coremap stores strings only so far, no sorted sets"),
        names: &[
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
    },
    Family {
        title: "Streams",
        reason: Reason::Ours("Coremap stores strings only so far, no streams"),
        names: &[
            "xack",
            "xackdel",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xdelex",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
    },
    Family {
        title: "Places on earth",
        reason: Reason::Ours("Coremap stores strings only so far, no places"),
        names: &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
    },
    Family {
        title: "Publish and subscribe",
        reason: Reason::Ours("messages between clients are not there yet"),
        names: &[
            "psubscribe",
            "publish",
            "pubsub",
            "punsubscribe",
            "spublish",
            "ssubscribe",
            "subscribe",
            "sunsubscribe",
            "unsubscribe",
        ],
    },
    Family {
        title: "Scripts and functions",
        reason: Reason::Ours(
            "there are no scripts; SET with IFEQ or NX, DELEX with IFEQ, and MULTI with WATCH \
             compare and change atomically",
        ),
        names: &[
            "eval",
            "eval_ro",
            "evalsha",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
            "function",
            "script",
        ],
    },
    Family {
        title: "Users",
        reason: Reason::Ours("there is one user, 'default', whose password is requirepass"),
        names: &[
            "acl|deluser",
            "acl|dryrun",
            "acl|genpass",
            "acl|getuser",
            "acl|load",
            "acl|log",
            "acl|save",
            "acl|setuser",
        ],
    },
    Family {
        title: "Watching others",
        reason: Reason::Ours(
            "the commands of other connections cannot be watched; INFO commandstats, SLOWLOG and \
             CLIENT LIST show what they do",
        ),
        names: &["monitor"],
    },
    Family {
        title: "Caching on the client",
        reason: Reason::Ours("clients are not told of changes yet"),
        names: &[
            "client|caching",
            "client|getredir",
            "client|tracking",
            "client|trackinginfo",
        ],
    },
    Family {
        title: "Cluster",
        reason: Reason::AsRedis("This instance has cluster support disabled"),
        names: &["asking", "cluster", "readonly", "readwrite"],
    },
    Family {
        title: "Replication",
        reason: Reason::Ours("there is no replication yet"),
        names: &[
            "failover",
            "psync",
            "replconf",
            "replicaof",
            "slaveof",
            "sync",
        ],
    },
    Family {
        title: "Modules",
        reason: Reason::Ours("modules cannot be loaded"),
        names: &["module|load", "module|loadex", "module|unload"],
    },
    Family {
        title: "Moving data between servers",
        reason: Reason::Ours(
            "Coremap connects to no other server; DUMP and RESTORE, or 'coremap import', move data",
        ),
        names: &["migrate", "restore-asking"],
    },
    Family {
        title: "Redis's own tests",
        reason: Reason::Ours("it tests parts of Redis that are not here"),
        names: &["pfdebug", "pfselftest"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::{find, find_subcommand};
    use crate::command::tests::Cores;

    #[test]
    fn what_is_not_supported_is_no_row_and_has_one_family() {
        let mut names: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.names)
            .copied()
            .collect();
        assert!(FAMILIES.iter().all(|family| family.names.is_sorted()));
        assert!(FAMILIES.iter().all(|family| !family.title.is_empty()));
        for name in &names {
            let row = match name.split_once('|') {
                None => find(name.as_bytes()),
                Some((container, sub)) => {
                    let container = find(container.as_bytes()).expect("a command that is here");
                    find_subcommand(container, sub.as_bytes())
                }
            };
            assert!(row.is_none(), "{name} is supported");
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn an_unsupported_command_says_why_whatever_its_arguments() {
        let mut cores = Cores::new(1);
        let hash =
            "-ERR 'HSET' is not supported: Coremap stores strings only so far, no hashes\r\n";
        for command in ["HSET", "hset a", "HSet a b c", "hset a b c d e"] {
            assert_eq!(cores.run(command), hash);
        }
        let script = "-ERR 'EVAL' is not supported: there are no scripts; SET with IFEQ or NX, DELEX \
            with IFEQ, and MULTI with WATCH compare and change atomically\r\n";
        assert_eq!(cores.run("EVAL return 0"), script);
        let tracking =
            "-ERR 'CLIENT TRACKING' is not supported: clients are not told of changes yet\r\n";
        assert_eq!(cores.run("client tracking on"), tracking);
        let disabled = "-ERR This instance has cluster support disabled\r\n";
        assert_eq!(cores.run("CLUSTER SLOTS"), disabled);
        assert_eq!(cores.run("cluster"), disabled);
        let long = cores.run("GEORADIUSBYMEMBER_RO k");
        assert!(
            long.starts_with("-ERR 'GEORADIUSBYMEMBER_RO' is not supported: "),
            "{long}"
        );
        assert_eq!(
            cores.run("COMMAND INFO hset cluster"),
            "*2\r\n$-1\r\n$-1\r\n"
        );
    }
}
