//! Many shards, many connections: the right answer wherever keys live, and nothing lost between.
//!
//! Servers here have more shards than the machine may have cores, so that most commands of a
//! pipeline are another core's. Each connection's replies are checked against a plain map that
//! runs the same commands; connections use keys of their own where their order must be known, and
//! common keys where only sums can be.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use common::client::{Client, Value, request};
use common::process::Server;
use common::{Random, scale, seed};

#[test]
fn random_pipelines_of_many_connections_agree_with_a_map() {
    check_against_a_map(&["--shards", "8"], scale(30, 300));
}

#[test]
fn knobs_change_what_answers_cost_and_never_the_answers() {
    let smallest = "--shards 4 --batch-commands 1 --read-buffer 16kb --linger-us 20 \
                    --spin-us 0 --huge-pages no --tcp-nodelay no --steering hash --ring-depth 128";
    let odd = "--shards 3 --batch-commands 100 --read-buffer 20kb --prefault yes \
               --maxmemory 128mb --steering incoming-cpu --ring-depth 300";
    let largest = "--shards 2 --read-buffer 1mb --spin-us 100 --steering least-loaded";
    for options in [smallest, odd, largest] {
        let options: Vec<&str> = options.split_whitespace().collect();
        check_against_a_map(&options, scale(4, 40));
    }
}

/// Runs so many random pipelines on each of eight connections to a server started with `options`.
fn check_against_a_map(options: &[&str], pipeline_count: usize) {
    let server = Server::start(options);
    let seed = seed();
    std::thread::scope(|scope| {
        for connection in 0..8_u64 {
            let mut client = server.client();
            scope.spawn(move || {
                let mut oracle = Oracle::new(connection, Random(seed.wrapping_add(connection)));
                for _ in 0..pipeline_count {
                    let count = 1 + oracle.random.below(2000);
                    let (stream, expected) = oracle.pipeline(count);
                    let mut writer = client.writer();
                    std::thread::scope(|scope| {
                        scope.spawn(move || writer.send(&stream));
                        client.expect_bytes(&expected);
                    });
                }
            });
        }
    });
}

#[test]
fn increments_of_one_key_from_everywhere_are_all_counted() {
    let server = Server::start(&["--shards", "4"]);
    let (connection_count, round_count, pipeline_len) = (16, scale(20, 200), 500);
    std::thread::scope(|scope| {
        for _ in 0..connection_count {
            let mut client = server.client();
            scope.spawn(move || {
                let stream = request(&["INCR", "counter"]).repeat(pipeline_len);
                let mut last = 0;
                for _ in 0..round_count {
                    client.send(&stream);
                    for _ in 0..pipeline_len {
                        let (value, _) =
                            common::client::decode(&client.reply()).expect("it is whole");
                        let count = value.integer();
                        assert!(count > last, "{count} after {last}");
                        last = count;
                    }
                }
            });
        }
    });
    let total = connection_count * round_count * pipeline_len;
    server.client().expect(
        "GET counter",
        &format!("${}\\r\\n{total}\\r\\n", total.to_string().len()),
    );
}

#[test]
fn what_one_connection_was_told_another_one_sees() {
    let server = Server::start(&["--shards", "4"]);
    let (mut writer, mut reader) = (server.client(), server.client());
    for i in 0..scale(2_000, 50_000) {
        let (key, value) = (format!("key:{}", i % 97), i.to_string());
        assert_eq!(writer.ask_with(&["SET", &key, &value]), b"+OK\r\n");
        let expected = format!("${}\r\n{value}\r\n", value.len());
        assert_eq!(
            reader.ask_with(&["GET", &key]),
            expected.as_bytes(),
            "round {i}"
        );
    }
}

#[test]
fn commands_of_many_keys_find_them_on_every_shard() {
    let server = Server::start(&["--shards", "8"]);
    let mut client = server.client();
    let keys: Vec<String> = (0..1000).map(|i| format!("key:{i}")).collect();
    let with_values: Vec<String> = keys
        .iter()
        .flat_map(|key| [key.clone(), format!("value of {key}")])
        .collect();
    assert_eq!(client.ask_with(&command("MSET", &with_values)), b"+OK\r\n");
    let mut expected = format!("*{}\r\n", keys.len());
    for pair in with_values.chunks(2) {
        write!(expected, "${}\r\n{}\r\n", pair[1].len(), pair[1]).expect("a string takes any text");
    }
    assert_eq!(
        client.ask_with(&command("MGET", &keys)),
        expected.as_bytes()
    );
    for (name, count) in [("EXISTS", 1000), ("TOUCH", 1000)] {
        assert_eq!(
            client.ask_with(&command(name, &keys)),
            format!(":{count}\r\n").as_bytes()
        );
    }
    assert_eq!(client.ask_with(&command("DEL", &keys[..400])), b":400\r\n");
    assert_eq!(client.ask_with(&command("UNLINK", &keys)), b":600\r\n");
    client.expect("DBSIZE", ":0\\r\\n");
}

#[test]
fn msetnx_writes_all_or_nothing_wherever_the_keys_live() {
    let server = Server::start(&["--shards", "8"]);
    let mut client = server.client();
    let pairs: Vec<String> = (0..50)
        .flat_map(|i| [format!("key:{i}"), "v".to_owned()])
        .collect();
    client.expect("SET key:49 other", "+OK\\r\\n");
    assert_eq!(client.ask_with(&command("MSETNX", &pairs)), b":0\r\n");
    client.expect("DBSIZE", ":1\\r\\n");
    client.expect("DEL key:49", ":1\\r\\n");
    assert_eq!(client.ask_with(&command("MSETNX", &pairs)), b":1\r\n");
    client.expect("DBSIZE", ":50\\r\\n");
}

#[test]
fn values_and_expiries_move_between_shards_whole() {
    let server = Server::start(&["--shards", "8"]);
    let mut client = server.client();
    for len in [0, 10, 70_000, 3_000_000] {
        let value = "x".repeat(len);
        let expected = format!("${len}\r\n{value}\r\n");
        assert_eq!(
            client.ask_with(&["SET", "a", &value, "PXAT", "4102444800123"]),
            b"+OK\r\n"
        );
        // Twelve keys over eight shards: most moves change the shard.
        for target in "bcdefghijkl".chars() {
            let source = char::from(u8::try_from(target).expect("a letter") - 1);
            client.expect(&format!("COPY {source} {target} REPLACE"), ":1\\r\\n");
            client.expect(&format!("RENAME {target} moved"), "+OK\\r\\n");
            client.expect(&format!("RENAMENX moved {target}"), ":1\\r\\n");
            assert_eq!(
                client.ask_with(&["GET", &target.to_string()]),
                expected.as_bytes()
            );
            client.expect(&format!("PEXPIRETIME {target}"), ":4102444800123\\r\\n");
        }
        client.expect("DBSIZE", ":12\\r\\n");
        client.expect("FLUSHALL", "+OK\\r\\n");
    }
}

#[test]
fn commands_for_all_shards_stand_where_they_were_sent() {
    let server = Server::start(&["--shards", "8"]);
    let mut client = server.client();
    let (mut stream, mut expected) = (Vec::new(), String::new());
    for round in 0..50 {
        for i in 0..100 {
            stream.extend(request(&["SET", &format!("key:{round}:{i}"), "v"]));
            expected += "+OK\r\n";
        }
        stream.extend(b"DBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n");
        expected += ":100\r\n+OK\r\n:0\r\n";
    }
    client.send(&stream);
    client.expect_bytes(expected.as_bytes());
}

#[test]
fn scan_returns_every_key_that_stays_while_others_come_and_go() {
    let server = Server::start(&["--shards", "4"]);
    let seed = seed();
    let stays: BTreeSet<Vec<u8>> = (0..2000)
        .map(|i| format!("stays:{i}").into_bytes())
        .collect();
    let mut client = server.client();
    for key in &stays {
        assert_eq!(client.ask_with(&[b"SET", key.as_slice(), b"v"]), b"+OK\r\n");
    }
    std::thread::scope(|scope| {
        let other = server.client();
        let churn = scope.spawn(move || grow_and_shrink(other, seed));
        let mut scan_count = 0;
        while !churn.is_finished() || scan_count == 0 {
            let mut found = BTreeSet::new();
            let mut cursor = "0".to_owned();
            loop {
                let mut reply = client
                    .value(&format!("SCAN {cursor} COUNT 200 MATCH stays:*"))
                    .list();
                found.extend(
                    reply
                        .pop()
                        .expect("keys")
                        .list()
                        .into_iter()
                        .map(Value::bytes),
                );
                cursor = reply.pop().expect("a cursor").text();
                if cursor == "0" {
                    break;
                }
            }
            let missing: Vec<_> = stays.difference(&found).collect();
            assert!(
                missing.is_empty(),
                "{} keys were not returned, seed {seed}",
                missing.len()
            );
            scan_count += 1;
        }
    });
}

/// Adds and removes tens of thousands of keys, so that tables split and merge under a scan.
fn grow_and_shrink(mut client: Client, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..scale(4, 100) {
        let count = 20_000 + random.below(60_000);
        for name in ["SET", "DEL"] {
            for first in (0..count).step_by(1000) {
                let mut stream = Vec::new();
                for i in first..first + 1000 {
                    let key = format!("goes:{i}");
                    let arguments = [name, &key, "v"];
                    stream.extend(request(if name == "SET" {
                        &arguments
                    } else {
                        &arguments[..2]
                    }));
                }
                client.send(&stream);
                for _ in 0..1000 {
                    client.reply();
                }
            }
        }
    }
}

fn command<'a>(name: &'a str, arguments: &'a [String]) -> Vec<&'a str> {
    std::iter::once(name)
        .chain(arguments.iter().map(String::as_str))
        .collect()
}

/// A connection's own keys in a plain map, and the commands that are run on both.
struct Oracle {
    prefix: u64,
    random: Random,
    map: HashMap<String, String>,
}

impl Oracle {
    fn new(prefix: u64, random: Random) -> Self {
        Self {
            prefix,
            random,
            map: HashMap::new(),
        }
    }

    /// Requests and the bytes they must be answered with.
    fn pipeline(&mut self, count: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut stream, mut expected) = (Vec::new(), String::new());
        for _ in 0..count {
            let (arguments, reply) = self.command();
            stream.extend(request(&arguments));
            expected += &reply;
        }
        (stream, expected.into_bytes())
    }

    fn key(&mut self) -> String {
        format!("own:{}:{}", self.prefix, self.random.below(300))
    }

    /// One random command and its reply.
    fn command(&mut self) -> (Vec<String>, String) {
        let (key, other) = (self.key(), self.key());
        let value = format!("{:x}", self.random.next()).repeat(1 + self.random.below(4));
        let own = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        match self.random.below(12) {
            0..3 => (own(&["GET", &key]), bulk(self.map.get(&key))),
            3..6 => {
                self.map.insert(key.clone(), value.clone());
                (own(&["SET", &key, &value]), "+OK\r\n".to_owned())
            }
            6 => {
                let count = usize::from(self.map.remove(&key).is_some())
                    + usize::from(self.map.remove(&other).is_some());
                (own(&["DEL", &key, &other]), format!(":{count}\r\n"))
            }
            7 => {
                let reply = format!(
                    "*2\r\n{}{}",
                    bulk(self.map.get(&key)),
                    bulk(self.map.get(&other))
                );
                (own(&["MGET", &key, &other]), reply)
            }
            8 => {
                self.map.insert(key.clone(), value.clone());
                self.map.insert(other.clone(), "1".to_owned());
                (
                    own(&["MSET", &key, &value, &other, "1"]),
                    "+OK\r\n".to_owned(),
                )
            }
            9 => {
                let text = self.map.entry(key.clone()).or_default();
                text.push_str(&value);
                (
                    own(&["APPEND", &key, &value]),
                    format!(":{}\r\n", text.len()),
                )
            }
            10 => {
                let reply = match self.map.get(&key).map_or(Ok(0), |text| integer(text)) {
                    Ok(number) => {
                        self.map.insert(key.clone(), (number + 1).to_string());
                        format!(":{}\r\n", number + 1)
                    }
                    Err(reply) => reply,
                };
                (own(&["INCR", &key]), reply)
            }
            _ => {
                let reply = match self.map.remove(&key) {
                    Some(value) => {
                        self.map.insert(other.clone(), value);
                        "+OK\r\n".to_owned()
                    }
                    None => "-ERR no such key\r\n".to_owned(),
                };
                (own(&["RENAME", &key, &other]), reply)
            }
        }
    }
}

fn bulk(value: Option<&String>) -> String {
    value.map_or("$-1\r\n".to_owned(), |value| {
        format!("${}\r\n{value}\r\n", value.len())
    })
}

/// What INCR takes for a number: as Redis, without signs, spaces or zeros in front.
fn integer(text: &str) -> Result<i64, String> {
    let number = text
        .parse::<i64>()
        .ok()
        .filter(|number| number.to_string() == text);
    match number {
        Some(i64::MAX) => Err("-ERR increment or decrement would overflow\r\n".to_owned()),
        Some(number) => Ok(number),
        None => Err("-ERR value is not an integer or out of range\r\n".to_owned()),
    }
}
