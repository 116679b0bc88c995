//! The same random commands to a real Redis and to us: every reply byte for byte the same,
//! first in RESP2 and then in RESP3.
//!
//! Needs `redis-server` 7.0 in the path and is skipped without. Known differences are allowed by
//! name: how a sum of INCRBYFLOAT that is whole is encoded, and the clock's advance between the
//! two servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::Random;
use super::harness::Harness;
use crate::resp::Protocol;

const SEED: u64 = 7;
const BATCH_COUNT: usize = 300;
const BATCH_LEN: usize = 200;

/// Words in capitals stand for something random.
const TEMPLATES: &[&str] = &[
    "get KEY",
    "GET KEY",
    "get",
    "set KEY VALUE",
    "SET KEY VALUE",
    "set KEY VALUE SETOPTION",
    "set KEY VALUE SETOPTION SETOPTION",
    "set KEY VALUE SETOPTION SETOPTION SETOPTION",
    "set KEY",
    "setnx KEY VALUE",
    "setex KEY SPAN VALUE",
    "psetex KEY SPAN VALUE",
    "getset KEY VALUE",
    "getdel KEY",
    "getex KEY",
    "getex KEY GETOPTION",
    "getex KEY GETOPTION GETOPTION",
    "mget KEY KEY KEY",
    "mset KEY VALUE KEY VALUE KEY VALUE",
    "mset KEY VALUE KEY",
    "msetnx KEY VALUE KEY VALUE",
    "append KEY VALUE",
    "strlen KEY",
    "getrange KEY INTEGER INTEGER",
    "substr KEY INTEGER INTEGER",
    "setrange KEY INTEGER VALUE",
    "incr KEY",
    "incr KEY",
    "decr KEY",
    "incrby KEY INTEGER",
    "decrby KEY INTEGER",
    "incrbyfloat KEY FLOAT",
    "incrbyfloat KEY FLOAT",
    "incrbyfloat KEY INTEGER",
    "del KEY",
    "del KEY KEY",
    "unlink KEY KEY",
    "exists KEY KEY KEY",
    "touch KEY KEY",
    "type KEY",
    "ttl KEY",
    "pttl KEY",
    "expiretime KEY",
    "pexpiretime KEY",
    "persist KEY",
    "expire KEY SPAN",
    "expire KEY SPAN ALWAYS",
    "pexpire KEY SPAN",
    "expireat KEY SECOND",
    "expireat KEY SECOND CONDITION",
    "pexpireat KEY MILLISECOND CONDITION CONDITION",
    "rename KEY KEY",
    "renamenx KEY KEY",
    "copy KEY KEY",
    "copy KEY KEY COPYOPTION",
    "copy KEY KEY COPYOPTION COPYOPTION",
    "object encoding KEY",
    "object encoding",
    "keys PATTERN",
    "keys PATTERN",
    "scan INTEGER what 5",
    "scan what",
    "scan 0 count 0",
    "scan 0 count x",
    "scan 0 match",
];

const KEYS: &[&str] = &[
    "a", "b", "ab", "ba", "abc", "a^b", "[a]", "a-b", "b\\", "{a}b",
];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "5",
    "7",
    "-3",
    "10",
    "44",
    "-44",
    "+1",
    "01",
    "-0",
    "x",
    "",
    "1.5",
    " 1",
    "536870912",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
];
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "12345",
    "01",
    "1.5",
    "abc",
    "9223372036854775807",
    "3.0e3",
    " 2",
    "-9223372036854775808",
    "99999999999999999999",
    "x234567890123456789012345678901234567890123",
    "inf",
    "a\r\nb",
];
const SPANS: &[&str] = &[
    "100000",
    "200000",
    "0",
    "-1",
    "x",
    "9223372036854775807",
    "-9223372036854775808",
];
const SECONDS: &[&str] = &["4000000000", "5000000000", "6000000000", "1", "-5", "x"];
const MILLISECONDS: &[&str] = &["4000000000000", "5000000000000", "6000000000000", "1", "x"];
const CONDITIONS: &[&str] = &["NX", "xx", "GT", "lt", "what\n"];
const SET_OPTIONS: &[&str] = &[
    "NX",
    "xx",
    "get",
    "KEEPTTL",
    "PERSIST",
    "what",
    "ex 100000",
    "PX 90000000",
    "EXAT 4000000000",
    "pxat 5000000000000",
    "EXAT 1",
    "ex 0",
    "px x",
    "EX",
    "ex 9223372036854775807",
];
const GET_OPTIONS: &[&str] = &[
    "PERSIST",
    "persist",
    "ex 100000",
    "px 90000000",
    "EXAT 4000000000",
    "PXAT 1",
    "ex 0",
    "ex x",
    "KEEPTTL",
    "nx",
    "PX",
];
const COPY_OPTIONS: &[&str] = &[
    "REPLACE",
    "db 0",
    "DB x",
    "db",
    "db 99",
    "db 99999999999",
    "what",
];

/// Around what a long double holds and what its parser takes.
const BORDERLINE_FLOATS: &[&str] = &[
    "1e4932",
    "-1e4932",
    "1e4933",
    "1e-4940",
    "1e-5000",
    "1.18973149535723176502e+4932",
    "4.9e-324",
    "9007199254740993",
    "18446744073709551617",
    "0x1p-3",
    "0X.8P+2",
    "0x",
    "inf",
    "-infinity",
    "nan",
    "nan(1)",
    "1e",
    "e5",
    ".",
    ".5",
    "-5.",
    "+.5e-3",
    "-0",
    "0.00000000000000001",
    "0.000000000000000005",
];

fn pick(random: &mut Random, choices: &[&'static str]) -> &'static str {
    let count = u64::try_from(choices.len()).expect("few");
    choices[usize::try_from(random.below(count)).expect("few")]
}

fn random_text(random: &mut Random, alphabet: &[u8], len_max: u64) -> Vec<u8> {
    let len = random.below(len_max) + 1;
    let count = u64::try_from(alphabet.len()).expect("few");
    let byte = |_| alphabet[usize::try_from(random.below(count)).expect("few")];
    (0..len).map(byte).collect()
}

/// A decimal with a sign, a point and an exponent, or without; or one on the border.
fn random_float(random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return pick(random, BORDERLINE_FLOATS).as_bytes().to_vec();
    }
    let mut text = Vec::new();
    text.extend_from_slice(pick(random, &["", "", "-", "+"]).as_bytes());
    text.extend(random_text(random, b"0123456789", 22));
    text.extend_from_slice(pick(random, &[".", ".", "", "x"]).as_bytes());
    text.extend(random_text(random, b"0123456789", 22));
    if random.below(3) == 0 {
        let exponent = format!("e{}", random.below(80).cast_signed() - 40);
        text.extend_from_slice(exponent.as_bytes());
    }
    text
}

fn random_command(random: &mut Random) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for word in pick(random, TEMPLATES).split(' ') {
        let choices = match word {
            "KEY" => KEYS,
            "VALUE" => VALUES,
            "INTEGER" => INTEGERS,
            "SPAN" => SPANS,
            "SECOND" => SECONDS,
            "MILLISECOND" => MILLISECONDS,
            "CONDITION" => CONDITIONS,
            "ALWAYS" => &["xx", "NX"],
            "SETOPTION" => SET_OPTIONS,
            "GETOPTION" => GET_OPTIONS,
            "COPYOPTION" => COPY_OPTIONS,
            "FLOAT" => {
                words.push(random_float(random));
                continue;
            }
            "PATTERN" => {
                words.push(random_text(random, b"abc{}*?[]^-\\", 9));
                continue;
            }
            word => &[word],
        };
        let chosen = pick(random, choices);
        if word.ends_with("OPTION") {
            words.extend(chosen.split(' ').map(|part| part.as_bytes().to_vec()));
        } else {
            words.push(chosen.as_bytes().to_vec());
        }
    }
    words
}

/// A Redis of our own.
struct Redis {
    process: Child,
    directory: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Redis {
    fn start() -> Option<Self> {
        let version = Command::new("redis-server")
            .arg("--version")
            .output()
            .ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("v=7.0.") {
            return None;
        }
        let directory = std::env::temp_dir().join(format!("coremap-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let socket = directory.join("redis");
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was there a moment ago");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let is_ready =
            |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("ready to accept"));
        assert!(lines.any(is_ready), "redis-server ended");
        // Whatever else it prints is read until it ends.
        std::thread::spawn(move || lines.for_each(drop));
        let stream = UnixStream::connect(&socket).expect("it listens");
        Some(Self {
            process,
            directory,
            stream: BufReader::new(stream),
        })
    }

    fn send(&mut self, command: &[Vec<u8>]) {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes).expect("it reads");
    }

    /// The bytes of the next reply.
    fn receive(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.stream
            .read_until(b'\n', &mut reply)
            .expect("it replies");
        let text = std::str::from_utf8(&reply[1..]).ok();
        let number: Option<i64> = text.and_then(|text| text.trim().parse().ok());
        match (reply[0], number) {
            (b'$', Some(len @ 0..)) => {
                let start = reply.len();
                reply.resize(start + usize::try_from(len).expect("fits") + 2, 0);
                self.stream
                    .read_exact(&mut reply[start..])
                    .expect("it replies");
            }
            (b'*', Some(count)) => (0..count).for_each(|_| reply.extend(self.receive())),
            (b'%', Some(count)) => (0..2 * count).for_each(|_| reply.extend(self.receive())),
            _ => {}
        }
        reply
    }

    /// Its clock.
    fn now_ms(&mut self) -> u64 {
        self.send(&[b"time".to_vec()]);
        let reply = String::from_utf8(self.receive()).expect("digits");
        let lines: Vec<&str> = reply.lines().collect();
        let [seconds, micros] =
            [lines[2], lines[4]].map(|text| text.parse::<u64>().expect("digits"));
        seconds * 1000 + micros / 1000
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .expect("it was running");
        std::fs::remove_dir_all(&self.directory).expect("it was there");
    }
}

/// Whether two replies to `command` mean the same.
fn is_same(command: &[Vec<u8>], redis: &[u8], ours: &[u8]) -> bool {
    if redis == ours {
        return true;
    }
    let name = command[0].to_ascii_lowercase();
    let number = |reply: &[u8]| -> Option<i64> {
        std::str::from_utf8(reply)
            .ok()?
            .strip_prefix(':')?
            .trim()
            .parse()
            .ok()
    };
    let is_near = |tolerance: u64| match (number(redis), number(ours)) {
        (Some(redis @ 0..), Some(ours @ 0..)) => redis.abs_diff(ours) <= tolerance,
        _ => false,
    };
    let sorted = |reply: &[u8]| {
        let mut lines: Vec<Vec<u8>> = reply
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    match name.as_slice() {
        b"ttl" | b"expiretime" => is_near(30),
        b"pttl" | b"pexpiretime" => is_near(30_000),
        b"object" => redis == b"$6\r\nembstr\r\n" && ours == b"$3\r\nint\r\n",
        b"keys" => sorted(redis) == sorted(ours),
        _ => false,
    }
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let Some(mut redis) = Redis::start() else {
        eprintln!("skipped: no redis-server 7.0 here");
        return;
    };
    let mut random = Random::new(SEED);
    let mut harnesses = [1, 3].map(Harness::new);
    for batch in 0..BATCH_COUNT {
        if batch == BATCH_COUNT / 2 {
            redis.send(&[b"hello".to_vec(), b"3".to_vec()]);
            redis.receive();
            harnesses
                .iter_mut()
                .for_each(|harness| harness.protocol = Protocol::Resp3);
        }
        let now_ms = redis.now_ms();
        let commands: Vec<_> = (0..BATCH_LEN)
            .map(|_| random_command(&mut random))
            .collect();
        commands.iter().for_each(|command| redis.send(command));
        for (number, command) in commands.iter().enumerate() {
            let expected = redis.receive();
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            for harness in &mut harnesses {
                harness.now_ms = now_ms;
                let reply = harness.run(&words);
                assert!(
                    is_same(command, &expected, &reply),
                    "seed {SEED}, batch {batch}, command {number}, {} shards: {}\n{}\n{}",
                    harness.shards.len(),
                    words.join(&b' ').escape_ascii(),
                    expected.escape_ascii(),
                    reply.escape_ascii(),
                );
            }
        }
    }
}
