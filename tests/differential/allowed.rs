//! What may differ between Coremap and redis-server 7.0.15, each with its reason; and what is not
//! sent because it could not be compared.
//!
//! This is the whole list. Every other reply must be the same to the byte, and errors always.

use super::script::name;

/// How alike two replies must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Likeness {
    Bytes,
    /// Integers that are at most so far apart.
    Near(i64),
    /// The same elements in any order.
    AnyOrder,
    /// The same type, null being one; errors to the byte.
    Kind,
}

/// Milliseconds that may pass between the same command on two servers.
const TOLERANCE_MS: i64 = 10_000;

/// How alike the replies to a command must be, and why not to the byte.
const RULES: &[(&str, Likeness, &str)] = &[
    ("pttl", Likeness::Near(TOLERANCE_MS), TIME),
    ("ttl", Likeness::Near(TOLERANCE_MS / 1000), TIME),
    ("pexpiretime", Likeness::Near(TOLERANCE_MS), TIME),
    ("expiretime", Likeness::Near(TOLERANCE_MS / 1000), TIME),
    ("time", Likeness::Kind, TIME),
    ("lastsave", Likeness::Kind, TIME),
    ("keys", Likeness::AnyOrder, "tables have different orders"),
    ("randomkey", Likeness::Kind, "it is random"),
    (
        "scan",
        Likeness::Kind,
        "tables and cursors differ; whole iterations have a test",
    ),
    (
        "dbsize",
        Likeness::Near(KEY_COUNT),
        "Redis counts an expired key until it looks at it",
    ),
    (
        "dump",
        Likeness::Kind,
        "Redis compresses what it dumps; either restores what the other dumped",
    ),
    (
        "object|freq",
        Likeness::Kind,
        "use is counted in another way",
    ),
    (
        "object|refcount",
        Likeness::Kind,
        "Redis shares small integers; a value here has one owner",
    ),
    ("lolwut", Likeness::Kind, "art of its own: a version"),
    ("acl|cat", Likeness::Kind, COMMANDS),
    (
        "memory|usage",
        Likeness::Kind,
        "memory is used in another way",
    ),
    ("memory|stats", Likeness::Kind, ITSELF),
    ("memory|doctor", Likeness::Kind, ITSELF),
    ("client|id", Likeness::Kind, ITSELF),
    ("client|info", Likeness::Kind, ITSELF),
    ("client|list", Likeness::Kind, ITSELF),
    ("hello", Likeness::Kind, ITSELF),
    ("info", Likeness::Kind, ITSELF),
    (
        "config|get",
        Likeness::Kind,
        "settings and defaults are a server's own",
    ),
    ("latency|histogram", Likeness::Kind, TIME),
    ("latency|history", Likeness::Kind, TIME),
    ("latency|latest", Likeness::Kind, TIME),
    ("latency|reset", Likeness::Kind, TIME),
    ("latency|doctor", Likeness::Kind, ITSELF),
    ("latency|graph", Likeness::Kind, ITSELF),
    ("slowlog|get", Likeness::Kind, TIME),
    ("slowlog|len", Likeness::Kind, TIME),
    ("command", Likeness::Kind, COMMANDS),
    (
        "command|docs",
        Likeness::Kind,
        "in words of its own; grammars have a test",
    ),
    ("command|count", Likeness::Kind, COMMANDS),
    ("command|list", Likeness::Kind, COMMANDS),
];
const TIME: &str = "the servers are asked one after the other";
const ITSELF: &str = "a server tells about itself";
const COMMANDS: &str = "Coremap lists what it supports, and some commands of later versions";
/// Keys of a script that may have expired unseen.
const KEY_COUNT: i64 = 40;

/// Commands that no script contains.
const UNSENT: &[(&str, &str)] = &[
    ("quit", "ends the connection: sent after each script"),
    ("shutdown", "ends the server: tests/startup.rs"),
    ("debug", "not enabled by default"),
    ("client|reply", "takes replies away: a test of its own"),
    (
        "save",
        "another meaning without a folder: tests/durability.rs",
    ),
    (
        "bgsave",
        "another meaning without a folder: tests/durability.rs",
    ),
    (
        "bgrewriteaof",
        "another meaning without a folder: tests/durability.rs",
    ),
    ("config|rewrite", "writes a file: tests of the settings"),
    ("role", "names a replication offset: tests/commands.rs"),
];

/// Commands with subcommands.
pub(crate) const CONTAINERS: &[&str] = &[
    "acl", "client", "cluster", "command", "config", "debug", "latency", "memory", "module",
    "object", "slowlog",
];

/// Whether a command is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Yes,
    /// Why not.
    No(&'static str),
}

/// Commands with options of later versions, whose grammar is therefore not that of Redis 7.0.
const EXTENDED: &[(&str, &str)] = &[
    (
        "command|getkeysandflags",
        "its arguments, which only later versions document",
    ),
    ("set", "IFEQ and its kin, of Redis 8.4"),
];

/// Whether a command may document another grammar than Redis 7.0 does.
pub(crate) fn has_grammar_of_its_own(name: &str) -> bool {
    EXTENDED.iter().any(|(extended, _)| *extended == name)
}

/// Whether the command called `name` is tried at all.
pub(crate) fn is_tried(name: &str) -> bool {
    !UNSENT.iter().any(|(unsent, _)| *unsent == name)
}

/// Whether a command is sent with these arguments.
pub(crate) fn sending(words: &[Vec<u8>]) -> Sending {
    let name = name(words);
    if let Some((_, reason)) = UNSENT.iter().find(|(unsent, _)| *unsent == name) {
        return Sending::No(reason);
    }
    let number = |index: usize| words.get(index).and_then(|word| integer(word));
    let numbers = || words.iter().skip(2).filter_map(|word| integer(word));
    if let Some(reason) = expiry(&name, words) {
        return Sending::No(reason);
    }
    match name.as_str() {
        "setbit" | "setrange" | "bitfield"
            if numbers().any(|offset| (4_000_000..4_294_967_296).contains(&offset))
                && !(name == "setrange" && number(2) == Some(536_870_912)) =>
        {
            Sending::No("makes a value of hundreds of megabytes")
        }
        "bitfield" if sets_near_least(words) => {
            Sending::No("SAT: Redis's own check overflows; docs/COMMANDS.md")
        }
        "sort" if stores_elsewhere(words) => {
            Sending::No("Coremap does not store on another shard: docs/COMMANDS.md")
        }
        "wait" if number(1) > Some(0) && !(1..=5).contains(&number(2).unwrap_or(1)) => {
            Sending::No("waits long or for ever")
        }
        "client|pause" if number(2).is_some_and(|span| span > 5) => Sending::No("pauses long"),
        "client|kill" if !kills_nobody(&words[2..]) => {
            Sending::No("may kill the connections of the test")
        }
        "config|set" if has_odd_limit(words) => Sending::No(
            "too little for either, more than Coremap addresses, or a size of no digits",
        ),
        _ => Sending::Yes,
    }
}

/// Why the expiry that a command sets, if it sets one, is not sent.
fn expiry(name: &str, words: &[Vec<u8>]) -> Option<&'static str> {
    let second = words.get(2).map(|word| (name, word));
    let options = words.windows(2).skip(1).map(|pair| {
        let token = std::str::from_utf8(&pair[0]).unwrap_or_default();
        (token, &pair[1])
    });
    second.into_iter().chain(options).find_map(|(form, span)| {
        let form = form.to_ascii_lowercase();
        let (unit_ms, is_span) = match form.as_str() {
            "restore" if has(words, b"absttl") => (1, false),
            "expire" | "setex" | "ex" => (1000, true),
            "pexpire" | "psetex" | "restore" | "px" => (1, true),
            "expireat" | "exat" => (1000, false),
            "pexpireat" | "pxat" => (1, false),
            _ => return None,
        };
        let span = integer(span)?;
        if is_span && (1..100_000).contains(&span) {
            return Some("expires meanwhile");
        }
        // What does not fit Redis's 64 bits is an error, which both must give; but RESTORE takes it.
        let is_beyond_redis =
            form != "restore" && span > (i64::MAX - if is_span { FAR_MS } else { 0 }) / unit_ms;
        let is_beyond_us = span > FAR_MS / unit_ms;
        (is_beyond_us && !is_beyond_redis)
            .then_some("Coremap keeps expiries up to the year 10889: docs/COMMANDS.md")
    })
}

fn has(words: &[Vec<u8>], option: &[u8]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(option))
}

/// About eight thousand years.
const FAR_MS: i64 = 250_000_000_000_000;

/// Whether a BITFIELD sets a field to a number so low that Redis takes it for too great.
fn sets_near_least(words: &[Vec<u8>]) -> bool {
    words.windows(4).any(|write| {
        let value = integer(&write[3]);
        write[0].eq_ignore_ascii_case(b"set") && value.is_some_and(|value| value < i64::MIN / 2)
    })
}

/// Whether a SORT stores at a key that may be on another shard than the key it sorts.
fn stores_elsewhere(words: &[Vec<u8>]) -> bool {
    fn hashed(key: &[u8]) -> &[u8] {
        let tag_len = key.iter().position(|byte| *byte == b'}');
        tag_len.map_or(key, |len| &key[..len])
    }
    words
        .windows(2)
        .any(|pair| pair[0].eq_ignore_ascii_case(b"store") && hashed(&pair[1]) != hashed(&words[1]))
}

/// What both take for `maxmemory`.
const SENSIBLE_LIMITS: std::ops::Range<i128> = 1_000_000_000..1_000_000_000_000;

/// Whether one of the filters of a CLIENT KILL fits no connection; of two of a kind the last counts.
fn kills_nobody(filters: &[Vec<u8>]) -> bool {
    let is_one_of = |word: &[u8], names: &[&str]| {
        names
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let last = |kinds: &[&str]| {
        let mut pairs = filters.chunks(2).rev();
        pairs
            .find(|pair| is_one_of(&pair[0], kinds))
            .and_then(|pair| pair.get(1))
    };
    let nobody = &["99999999", "88888888", "127.0.0.1:1", "nowhere"];
    let others = &["pubsub", "master", "replica", "slave"];
    match filters {
        [address] => is_one_of(address, nobody),
        _ => {
            ["id", "addr", "laddr"]
                .iter()
                .any(|kind| last(&[kind]).is_some_and(|value| is_one_of(value, nobody)))
                || last(&["type"]).is_some_and(|value| is_one_of(value, others))
        }
    }
}

fn has_odd_limit(words: &[Vec<u8>]) -> bool {
    words.windows(2).any(|pair| {
        let limit = std::str::from_utf8(&pair[1]).ok();
        let limit = limit.and_then(|text| text.parse::<i128>().ok());
        pair[0].eq_ignore_ascii_case(b"maxmemory")
            && (pair[1].is_empty()
                || limit.is_some_and(|limit| limit != 0 && !SENSIBLE_LIMITS.contains(&limit)))
    })
}

fn integer(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.trim().parse().ok()
}

/// How alike the replies to `words` must be.
pub(crate) fn likeness(words: &[Vec<u8>]) -> Likeness {
    let name = name(words);
    let is_help = name.ends_with("|help");
    let is_list_of_all =
        words.len() == 2 && matches!(name.as_str(), "command|docs" | "command|info");
    let rule = RULES.iter().find(|(command, ..)| *command == name);
    match rule {
        Some((_, likeness, _)) => *likeness,
        // Coremap names the commands and subcommands that it has.
        None if is_help || is_list_of_all => Likeness::Kind,
        None => Likeness::Bytes,
    }
}

/// Differences in a single reply that docs/COMMANDS.md names.
pub(crate) fn is_documented(words: &[Vec<u8>], found: &[u8], expected: &[u8]) -> bool {
    match name(words).as_str() {
        // Eviction here counts uses and keeps no times.
        "object|idletime" => {
            found.starts_with(b"-ERR idle time is not tracked") && expected.starts_with(b":")
        }
        // What Redis says, too, without jemalloc.
        "memory|malloc-stats" => {
            found == b"$45\r\nStats not supported for the current allocator\r\n"
                && matches!(expected.first(), Some(b'$' | b'='))
        }
        // Redis forgets that a sum is an integer when INCRBYFLOAT made it.
        "object|encoding" => found == b"$3\r\nint\r\n" && expected == b"$6\r\nembstr\r\n",
        _ => false,
    }
}
