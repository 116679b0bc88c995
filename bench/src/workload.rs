//! What is asked of a server: the requests of a run, built before it begins.
//!
//! A script is one buffer of complete requests in the order they are sent, so that sending a
//! batch is writing one range of it. Keys are uniform over `key_count`, from a seed; a run that
//! is longer than its script starts over. The script is long enough (`SCRIPT_COMMAND_COUNT`) that
//! no server meets a key again while it is still in a cache.

use std::io::Write;
use std::str::FromStr;

/// Commands of one script, unless the run is shorter.
const SCRIPT_COMMAND_COUNT: u64 = 1 << 21;
/// Bytes of one script at most: large values need fewer commands.
const SCRIPT_LEN_BYTES_MAX: u64 = 256 << 20;

/// Which commands a run sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
    /// SETs in the given share of 100, GETs otherwise.
    Mixed {
        set_percent: u64,
    },
    Ping,
    /// One SET for each key in order.
    Preload,
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "get" => Ok(Self::Get),
            "set" => Ok(Self::Set),
            "ping" => Ok(Self::Ping),
            "mixed" => Ok(Self::Mixed { set_percent: 10 }),
            _ => match text.strip_prefix("mixed:").map(str::parse) {
                Some(Ok(set_percent @ 0..=100)) => Ok(Self::Mixed { set_percent }),
                _ => Err(format!(
                    "`{text}` is none of get, set, ping, mixed, mixed:PERCENT_OF_SETS"
                )),
            },
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Get => f.write_str("get"),
            Self::Set => f.write_str("set"),
            Self::Mixed { set_percent } => write!(f, "mixed:{set_percent}"),
            Self::Ping => f.write_str("ping"),
            Self::Preload => f.write_str("preload"),
        }
    }
}

/// The keys and values of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) key_count: u64,
    pub(crate) key_len_bytes: usize,
    pub(crate) value_len_bytes: usize,
    pub(crate) seed: u64,
}

/// Complete requests, one after the other.
pub(crate) struct Script {
    bytes: Vec<u8>,
    /// Where each command begins, and the end of the last.
    starts: Vec<usize>,
    /// Commands before each that are answered by a status and not by a value.
    statuses_before: Vec<u64>,
}

impl Script {
    /// Builds the requests of `operation`; at most `command_count` if that is given.
    pub(crate) fn new(
        operation: Operation,
        shape: Shape,
        command_count: Option<u64>,
    ) -> Result<Self, String> {
        let digits = shape.key_count.to_string().len();
        if shape.key_count == 0 || digits >= shape.key_len_bytes {
            return Err(format!(
                "{} keys do not fit {} bytes",
                shape.key_count, shape.key_len_bytes
            ));
        }
        let mut script = Self {
            bytes: Vec::new(),
            starts: vec![0],
            statuses_before: vec![0],
        };
        let mut random = Random(shape.seed);
        let value = vec![b'x'; shape.value_len_bytes];
        let wanted = match operation {
            Operation::Preload => shape.key_count,
            _ => command_count
                .unwrap_or(SCRIPT_COMMAND_COUNT)
                .min(SCRIPT_COMMAND_COUNT),
        };
        for index in 0..wanted {
            let is_full = script.bytes.len() as u64 >= SCRIPT_LEN_BYTES_MAX;
            if is_full && operation != Operation::Preload {
                break;
            }
            match operation {
                Operation::Get => script.get(random.below(shape.key_count), shape),
                Operation::Set => script.set(random.below(shape.key_count), shape, &value),
                Operation::Preload => script.set(index, shape, &value),
                Operation::Ping => script.push(b"*1\r\n$4\r\nPING\r\n", true),
                Operation::Mixed { set_percent } => {
                    let key = random.below(shape.key_count);
                    if random.below(100) < set_percent {
                        script.set(key, shape, &value);
                    } else {
                        script.get(key, shape);
                    }
                }
            }
        }
        Ok(script)
    }

    pub(crate) fn command_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The bytes of the commands from `first` to `last`, that one excluded.
    pub(crate) fn requests(&self, first: usize, last: usize) -> &[u8] {
        &self.bytes[self.starts[first]..self.starts[last]]
    }

    /// How many of these commands are answered by a status.
    pub(crate) fn status_count(&self, first: usize, last: usize) -> u64 {
        self.statuses_before[last] - self.statuses_before[first]
    }

    fn get(&mut self, key: u64, shape: Shape) {
        let width = shape.key_len_bytes - 1;
        self.write(format_args!(
            "*2\r\n$3\r\nGET\r\n${}\r\nk{key:0width$}\r\n",
            shape.key_len_bytes
        ));
        self.push(b"", false);
    }

    fn set(&mut self, key: u64, shape: Shape, value: &[u8]) {
        let width = shape.key_len_bytes - 1;
        self.write(format_args!(
            "*3\r\n$3\r\nSET\r\n${}\r\nk{key:0width$}\r\n${}\r\n",
            shape.key_len_bytes,
            value.len()
        ));
        self.bytes.extend_from_slice(value);
        self.push(b"\r\n", true);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.bytes
            .write_fmt(text)
            .expect("a vector takes any bytes");
    }

    fn push(&mut self, tail: &[u8], is_status: bool) {
        self.bytes.extend_from_slice(tail);
        self.starts.push(self.bytes.len());
        let before = self.statuses_before.last().copied().unwrap_or(0);
        self.statuses_before.push(before + u64::from(is_status));
    }
}

/// splitmix64: small, seeded, good enough to spread keys.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `bound`; the bias of the multiplication is far below what a run can see.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).expect("below a u64")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        key_count: 1000,
        key_len_bytes: 16,
        value_len_bytes: 3,
        seed: 7,
    };

    #[test]
    fn a_preload_sets_every_key_once_in_order() {
        let script = Script::new(Operation::Preload, SHAPE, None).unwrap();
        assert_eq!(script.command_count(), 1000);
        assert_eq!(
            script.requests(999, 1000),
            b"*3\r\n$3\r\nSET\r\n$16\r\nk000000000000999\r\n$3\r\nxxx\r\n"
        );
        assert_eq!(script.status_count(10, 20), 10);
    }

    #[test]
    fn one_seed_gives_one_script() {
        let operation: Operation = "mixed:30".parse().unwrap();
        let script = Script::new(operation, SHAPE, Some(500)).unwrap();
        let again = Script::new(operation, SHAPE, Some(500)).unwrap();
        assert_eq!(script.requests(0, 500), again.requests(0, 500));
        assert!((100..200).contains(&script.status_count(0, 500)));
    }

    #[test]
    fn more_keys_than_the_key_has_room_for_are_refused() {
        let shape = Shape {
            key_len_bytes: 4,
            ..SHAPE
        };
        assert!(Script::new(Operation::Get, shape, None).is_err());
    }
}
