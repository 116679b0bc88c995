//! What is asked of a server and what must come back, built before a run begins.
//!
//! A tape holds complete requests in the order they are sent, and beside them the replies of a
//! server that has every key. Sending is writing a range of the one, checking is comparing with a
//! range of the other: neither formats or parses anything while it is measured. Connections begin
//! at different places; where the tape ends they go on at its beginning.
//!
//! A tape is long enough that no cache holds what it touches (`KEY_COUNT_MAX` keys are a gigabyte
//! of cache lines), but a load on more keys than that touches only so many of them.

use std::fmt;
use std::str::FromStr;

use super::dialect::{Command, Content, Dialect};
use super::keys::{Distribution, Keys};
use super::random::Random;

/// Keys that one tape asks for: several times all keys, within these bounds.
const KEY_COUNT_MIN: u64 = 1 << 20;
const KEY_COUNT_MAX: u64 = 1 << 23;
const ROUNDS_OF_ALL_KEYS: u64 = 4;
/// Bytes of requests and replies, at which a tape ends early: long values need fewer commands.
const TAPE_LEN_BYTES_MAX: usize = 512 << 20;
/// The same for a sequence, which must be whole.
const SEQUENCE_LEN_BYTES_MAX: usize = 4 << 30;
/// Keys that one MGET or MSET may name.
const KEYS_PER_COMMAND_MAX: usize = 100_000;

/// Which commands a run sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
    /// SETs in the given share of 100, GETs otherwise.
    Mixed {
        set_percent: u64,
    },
    Incr,
    Del,
    /// SET and DEL of the same key in turn.
    SetDel,
    Mget(usize),
    Mset(usize),
    Ping,
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, number.parse().ok()),
            None => (text, Some(10)),
        };
        let is_plain = !text.contains(':');
        match (name, number) {
            ("get", _) if is_plain => Ok(Self::Get),
            ("set", _) if is_plain => Ok(Self::Set),
            ("incr", _) if is_plain => Ok(Self::Incr),
            ("del", _) if is_plain => Ok(Self::Del),
            ("set-del", _) if is_plain => Ok(Self::SetDel),
            ("ping", _) if is_plain => Ok(Self::Ping),
            ("mixed", Some(percent @ 0..=100)) => Ok(Self::Mixed {
                set_percent: percent as u64,
            }),
            ("mget", Some(count @ 1..=KEYS_PER_COMMAND_MAX)) => Ok(Self::Mget(count)),
            ("mset", Some(count @ 1..=KEYS_PER_COMMAND_MAX)) => Ok(Self::Mset(count)),
            _ => Err(format!(
                "`{text}` is none of get, set, mixed:PERCENT_OF_SETS, incr, del, set-del, \
                 mget:KEYS, mset:KEYS and ping, with up to {KEYS_PER_COMMAND_MAX} KEYS"
            )),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => f.write_str("get"),
            Self::Set => f.write_str("set"),
            Self::Mixed { set_percent } => write!(f, "mixed:{set_percent}"),
            Self::Incr => f.write_str("incr"),
            Self::Del => f.write_str("del"),
            Self::SetDel => f.write_str("set-del"),
            Self::Mget(key_count) => write!(f, "mget:{key_count}"),
            Self::Mset(key_count) => write!(f, "mset:{key_count}"),
            Self::Ping => f.write_str("ping"),
        }
    }
}

impl Operation {
    /// Whether the memcached dialect has it.
    pub(crate) fn is_of_memcached(self) -> bool {
        use Operation::{Get, Mget, Mixed, Ping, Set};
        matches!(self, Get | Set | Mixed { .. } | Mget(_) | Ping)
    }

    fn keys_per_command(self) -> usize {
        match self {
            Self::Mget(key_count) | Self::Mset(key_count) => key_count,
            _ => 1,
        }
    }
}

/// How long keys live: a number of seconds between the two, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TtlSeconds {
    first: u64,
    last: u64,
}

impl TtlSeconds {
    fn draw(self, random: &mut Random) -> u64 {
        self.first + random.below(self.last - self.first + 1)
    }
}

impl FromStr for TtlSeconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= u64::from(u32::MAX) => {
                Ok(Self { first, last })
            }
            _ => Err(format!(
                "`{text}` is not a number of seconds as 60 or a range as 60..90"
            )),
        }
    }
}

impl fmt::Display for TtlSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

/// What a run asks for.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) operation: Operation,
    pub(crate) dialect: Dialect,
    pub(crate) content: Content,
    pub(crate) distribution: Distribution,
    pub(crate) key_count: u64,
    pub(crate) ttl_seconds: Option<TtlSeconds>,
    pub(crate) seed: u64,
}

/// Complete requests, and the replies that they should get.
pub(crate) struct Tape {
    pub(crate) dialect: Dialect,
    /// Whether any whole number answers an integer's place, as for counters.
    pub(crate) takes_any_integer: bool,
    requests: Stream,
    replies: Stream,
}

impl Tape {
    /// Builds the commands of a workload; not many more than `command_count` if that is given.
    pub(crate) fn new(workload: &Workload, command_count: Option<u64>) -> Result<Self, String> {
        let is_sequence = workload.distribution == Distribution::Sequential;
        let (key_count, len_bytes_max) = if is_sequence {
            (workload.key_count, SEQUENCE_LEN_BYTES_MAX)
        } else {
            let rounds = workload.key_count.saturating_mul(ROUNDS_OF_ALL_KEYS);
            (
                rounds.clamp(KEY_COUNT_MIN, KEY_COUNT_MAX),
                TAPE_LEN_BYTES_MAX,
            )
        };
        let commands = key_count
            .div_ceil(workload.operation.keys_per_command() as u64)
            .min(command_count.unwrap_or(u64::MAX));
        let tape = Self::build(workload, 0, commands, len_bytes_max)?;
        if is_sequence && (tape.len() as u64) < commands {
            return Err(format!(
                "a sequence over {} keys needs more than {} MiB of requests and replies",
                workload.key_count,
                SEQUENCE_LEN_BYTES_MAX >> 20
            ));
        }
        Ok(tape)
    }

    /// At most `command_count` commands over keys in order from `first_key` on.
    pub(crate) fn in_order(
        workload: &Workload,
        first_key: u64,
        command_count: u64,
    ) -> Result<Self, String> {
        let workload = Workload {
            distribution: Distribution::Sequential,
            ..workload.clone()
        };
        Self::build(&workload, first_key, command_count, TAPE_LEN_BYTES_MAX)
    }

    fn build(
        workload: &Workload,
        first_key: u64,
        command_count: u64,
        len_bytes_max: usize,
    ) -> Result<Self, String> {
        let mut tape = Self {
            dialect: workload.dialect,
            takes_any_integer: workload.operation == Operation::Incr,
            requests: Stream::default(),
            replies: Stream::default(),
        };
        let mut random = Random::new(workload.seed);
        let mut keys = Keys::new(workload.distribution, workload.key_count, first_key);
        let mut many = Vec::new();
        let mut set_key = None;
        while (tape.len() as u64) < command_count.max(1) {
            let key = set_key.unwrap_or_else(|| keys.next(&mut random));
            let command = match workload.operation {
                Operation::Ping => Command::Ping,
                Operation::Get => Command::Get(key),
                Operation::Mixed { set_percent } if random.below(100) >= set_percent => {
                    Command::Get(key)
                }
                Operation::SetDel if set_key.take().is_some() => Command::Del(key),
                Operation::Set | Operation::Mixed { .. } | Operation::SetDel => {
                    set_key = (workload.operation == Operation::SetDel).then_some(key);
                    Command::Set(key, workload.ttl_seconds.map(|ttl| ttl.draw(&mut random)))
                }
                Operation::Incr => Command::Incr(key),
                Operation::Del => Command::Del(key),
                Operation::Mget(count) | Operation::Mset(count) => {
                    many.clear();
                    many.push(key);
                    many.extend((1..count).map(|_| keys.next(&mut random)));
                    if matches!(workload.operation, Operation::Mget(_)) {
                        Command::Mget(&many)
                    } else {
                        Command::Mset(&many)
                    }
                }
            };
            tape.push(&command, &workload.content)?;
            if tape.requests.bytes.len() + tape.replies.bytes.len() >= len_bytes_max {
                break;
            }
        }
        Ok(tape)
    }

    fn push(&mut self, command: &Command<'_>, content: &Content) -> Result<(), String> {
        if !self.dialect.speaks(command) {
            return Err(format!("{} has no such operation here", self.dialect));
        }
        self.dialect
            .request(&mut self.requests.bytes, command, content);
        self.dialect
            .reply(&mut self.replies.bytes, command, content);
        self.requests.end_item()?;
        self.replies.end_item()
    }

    /// Number of commands.
    pub(crate) fn len(&self) -> usize {
        self.requests.ends.len() - 1
    }

    /// The place after `count` more commands from `place`, beyond the end at the beginning.
    pub(crate) fn after(&self, place: usize, count: usize) -> usize {
        (place + count) % self.len()
    }

    /// Requests from `place` on, at most `count` and not beyond the tape's end.
    pub(crate) fn requests(&self, place: usize, count: usize) -> &[u8] {
        self.requests.items(place, count)
    }

    /// The due replies from `place` on, at most `count` and not beyond the tape's end.
    pub(crate) fn replies(&self, place: usize, count: usize) -> &[u8] {
        self.replies.items(place, count)
    }

    /// How many replies from `place` on, of at most `count`, end within the first `len_bytes`.
    pub(crate) fn whole_replies(&self, place: usize, count: usize, len_bytes: usize) -> usize {
        let ends = &self.replies.ends[place..=(place + count).min(self.len())];
        let limit = ends[0] as usize + len_bytes;
        // Doubling steps first: after few bytes the answer is near.
        let mut reach = 1;
        while reach < ends.len() && ends[reach] as usize <= limit {
            reach *= 2;
        }
        let (near, far) = (reach / 2, reach.min(ends.len()));
        near + ends[near + 1..far].partition_point(|end| *end as usize <= limit)
    }
}

/// Items one after the other, and where each ends.
struct Stream {
    bytes: Vec<u8>,
    /// Begins with the zero at which the first item starts.
    ends: Vec<u32>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: vec![0],
        }
    }
}

impl Stream {
    fn end_item(&mut self) -> Result<(), String> {
        let end = u32::try_from(self.bytes.len());
        self.ends
            .push(end.map_err(|_| "one command is longer than 4 GiB")?);
        Ok(())
    }

    fn items(&self, place: usize, count: usize) -> &[u8] {
        let last = (place + count).min(self.ends.len() - 1);
        &self.bytes[self.ends[place] as usize..self.ends[last] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(operation: &str, distribution: &str) -> Workload {
        Workload {
            operation: operation.parse().unwrap(),
            dialect: Dialect::Resp,
            content: Content {
                key_len_bytes: 16,
                value_lens: "3".parse().unwrap(),
            },
            distribution: distribution.parse().unwrap(),
            key_count: 1000,
            ttl_seconds: None,
            seed: 7,
        }
    }

    fn request(tape: &Tape, place: usize) -> String {
        String::from_utf8(tape.requests(place, 1).to_vec()).unwrap()
    }

    #[test]
    fn operations_are_read_as_they_are_printed() {
        for text in [
            "get", "set", "mixed:30", "incr", "del", "set-del", "mget:7", "mset:1", "ping",
        ] {
            assert_eq!(text.parse::<Operation>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "get:1",
            "mixed:101",
            "mget:0",
            "mget:x",
            "mset:100001",
            "GET",
        ] {
            assert!(text.parse::<Operation>().is_err(), "{text}");
        }
        for (text, read) in [("60", "60..60"), ("60..90", "60..90")] {
            assert_eq!(text.parse::<TtlSeconds>().unwrap().to_string(), read);
        }
        for text in ["", "0", "9..3", "1..2..3"] {
            assert!(text.parse::<TtlSeconds>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tape_in_order_has_every_key_of_its_part_once() {
        let tape = Tape::in_order(&workload("set", "uniform"), 998, 2).unwrap();
        assert_eq!(tape.len(), 2);
        assert!(
            request(&tape, 0).starts_with("*3\r\n$3\r\nSET\r\n$16\r\nk000000000000998\r\n$3\r\n")
        );
        assert!(request(&tape, 1).contains("k000000000000999"));
        assert_eq!(tape.replies(0, 2), b"+OK\r\n+OK\r\n");
    }

    #[test]
    fn one_seed_gives_one_tape() {
        let (workload, other) = (
            workload("mixed:30", "uniform"),
            workload("mixed:30", "zipfian"),
        );
        let tape = Tape::new(&workload, Some(500)).unwrap();
        let again = Tape::new(&workload, Some(500)).unwrap();
        assert_eq!(tape.requests(0, 500), again.requests(0, 500));
        assert_ne!(
            tape.requests(0, 500),
            Tape::new(&other, Some(500)).unwrap().requests(0, 500)
        );
        let is_set = |place: &usize| request(&tape, *place).contains("SET");
        let set_count = (0..500).filter(is_set).count();
        assert!((100..200).contains(&set_count), "{set_count}");
    }

    #[test]
    fn a_set_and_the_del_after_it_have_the_same_key() {
        let tape = Tape::new(&workload("set-del", "uniform"), Some(100)).unwrap();
        for place in (0..100).step_by(2) {
            let (set, del) = (request(&tape, place), request(&tape, place + 1));
            let key = del.split("\r\n").nth(4).unwrap();
            assert!(
                set.contains("SET") && del.contains("DEL") && set.contains(key),
                "{set}{del}"
            );
        }
    }

    #[test]
    fn a_tape_covers_its_keys_and_a_sequence_exactly_once() {
        assert_eq!(
            Tape::new(&workload("get", "sequential"), None)
                .unwrap()
                .len(),
            1000
        );
        let tape = Tape::new(&workload("get", "uniform"), None).unwrap();
        assert_eq!(tape.len() as u64, KEY_COUNT_MIN);
        let mut long = workload("set", "uniform");
        long.content.value_lens = "1000000".parse().unwrap();
        assert!((500..550).contains(&Tape::new(&long, None).unwrap().len()));
    }

    #[test]
    fn replies_are_counted_when_they_are_whole() {
        let tape = Tape::new(&workload("get", "uniform"), Some(50)).unwrap();
        let reply_len = tape.replies(0, 1).len();
        for (count, len_bytes) in [
            (50, 0),
            (50, 1),
            (50, reply_len),
            (50, 10 * reply_len - 1),
            (50, 40 * reply_len),
            (7, 7 * reply_len),
            (1, reply_len),
        ] {
            assert_eq!(
                tape.whole_replies(3, count, len_bytes),
                len_bytes / reply_len
            );
        }
    }

    #[test]
    fn lifetimes_lie_in_their_range() {
        let mut workload = workload("set", "uniform");
        workload.ttl_seconds = Some("60..62".parse().unwrap());
        let tape = Tape::new(&workload, Some(100)).unwrap();
        let seconds = |place| {
            request(&tape, place)
                .split("\r\n")
                .nth(10)
                .unwrap()
                .parse::<u64>()
        };
        let seconds: Vec<_> = (0..100).map(|place| seconds(place).unwrap()).collect();
        assert!(
            (60..=62).all(|wanted| seconds.contains(&wanted)),
            "{seconds:?}"
        );
        assert!(seconds.iter().all(|found| (60..=62).contains(found)));
    }
}
