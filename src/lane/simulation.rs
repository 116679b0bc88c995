//! Many lanes in one thread, driven by a seed: the code that ships, with the scheduler, the network
//! and the clients replaced by dice.
//!
//! Each client has keys of its own, spread over all shards, and sends random commands about them in
//! random pieces. What it must be answered, byte for byte and in order, a map that runs the same
//! commands one after the other knows. Lanes exchange, connections get turns, output is taken in
//! pieces of random size, background work runs, clients vanish and others come, all in random order.
//! A failure prints its seed; `COREMAP_SEED=n cargo test --lib simulation` repeats it.
//!
//! Where memory runs out nobody knows beforehand which command is refused. So there each client has one
//! command on its way at a time, and one that is refused must have changed nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ConnectionId, Lane, Peer, Turn};
use crate::command::{Now, Random, Shared};
use crate::region::{Region, RegionOptions};

const KEY_COUNT: usize = 40;
/// All simulated time: far from every expiry the clients set.
const NOW: Now = Now {
    unix_us: 1_700_000_000_000_000,
};
const EXPIRES_AT_MS: u64 = 4_000_000_000_000;

/// The dice.
struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).expect("below a usize")
    }

    fn is_one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// A value as the oracle keeps it.
#[derive(Clone, Default)]
struct Entry {
    value: Vec<u8>,
    expires_at_ms: Option<u64>,
}

/// One client: its connection, what it has yet to send and what it must be answered.
struct Client {
    name: usize,
    lane: usize,
    connection: ConnectionId,
    unsent: Vec<u8>,
    expected: Vec<u8>,
    answered: Vec<u8>,
    keys: BTreeMap<Vec<u8>, Entry>,
    is_due: bool,
    long_value_chances: usize,
    /// Commands invented so far.
    command_count: usize,
}

struct World {
    dice: Dice,
    lanes: Vec<Lane>,
    clients: Vec<Client>,
    next_name: usize,
    /// One value in so many is long.
    long_value_chances: usize,
}

fn world(seed: u64, lane_count: u16, client_count: usize) -> World {
    world_of(super::tests::lanes(lane_count, seed), seed, client_count)
}

fn world_of(lanes: Vec<Lane>, seed: u64, client_count: usize) -> World {
    let mut world = World {
        dice: Dice(Random::new(seed)),
        lanes,
        clients: Vec::new(),
        next_name: 0,
        long_value_chances: 20,
    };
    for _ in 0..client_count {
        let client = world.new_client();
        world.clients.push(client);
    }
    world
}

impl World {
    fn new_client(&mut self) -> Client {
        let lane = self.dice.below(self.lanes.len());
        self.next_name += 1;
        Client {
            name: self.next_name,
            lane,
            connection: self.lanes[lane].connect(Peer::default(), NOW),
            unsent: Vec::new(),
            expected: Vec::new(),
            answered: Vec::new(),
            keys: BTreeMap::new(),
            is_due: false,
            long_value_chances: self.long_value_chances,
            command_count: 0,
        }
    }

    /// One random thing happens.
    fn step(&mut self) {
        let client = self.dice.below(self.clients.len());
        match self.dice.below(20) {
            0..5 => self.send(client),
            5..10 => self.turn(client),
            10..14 => self.take_output(client),
            14..19 => {
                let lane = self.dice.below(self.lanes.len());
                self.exchange(lane);
            }
            _ => {
                let lane = self.dice.below(self.lanes.len());
                self.lanes[lane].background(NOW);
            }
        }
    }

    fn send(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let piece_max = if self.dice.is_one_in(3) { 20 } else { 20_000 };
        let piece = 1 + self.dice.below(piece_max);
        let room = self.lanes[client.lane].receive_buffer(client.connection);
        let len_bytes = piece.min(room.len()).min(client.unsent.len());
        room[..len_bytes].copy_from_slice(&client.unsent[..len_bytes]);
        self.lanes[client.lane].received(client.connection, len_bytes);
        client.unsent.drain(..len_bytes);
        client.is_due = true;
    }

    fn turn(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.is_due {
            let turn = self.lanes[client.lane].turn(client.connection, NOW);
            assert_ne!(turn, Turn::Finished, "a valid stream is not closed");
            client.is_due = matches!(turn, Turn::More | Turn::OutputFull);
        }
    }

    fn take_output(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let lane = &mut self.lanes[client.lane];
        let piece = 1 + self.dice.below(100_000);
        let unsent = lane.unsent(client.connection);
        let len_bytes = piece.min(unsent.len());
        client.answered.extend_from_slice(&unsent[..len_bytes]);
        lane.sent(client.connection, len_bytes);
    }

    fn exchange(&mut self, lane: usize) {
        let is_due = self.lanes[lane].must_exchange();
        let has_worked = self.lanes[lane].exchange(NOW);
        assert!(is_due || !has_worked, "a core that is told so sleeps on it");
        let mut ready = Vec::new();
        self.lanes[lane].take_ready(&mut ready);
        for client in &mut self.clients {
            client.is_due |= client.lane == lane && ready.contains(&client.connection);
        }
    }

    /// Lets everything finish, then compares what was answered with what had to be.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            for index in 0..self.clients.len() {
                self.send(index);
                self.turn(index);
                self.take_output(index);
            }
            (0..self.lanes.len()).for_each(|lane| self.exchange(lane));
            let is_done = |client: &Client| {
                client.unsent.is_empty() && client.answered.len() >= client.expected.len()
            };
            if self.clients.iter().all(is_done) && self.lanes.iter().all(Lane::is_quiet) {
                break;
            }
        }
        for client in &mut self.clients {
            client.check();
            client.answered.clear();
            client.expected.clear();
        }
    }

    /// A client disappears, whatever it waits for; another one comes.
    fn replace(&mut self, index: usize) {
        let client = self.new_client();
        let gone = std::mem::replace(&mut self.clients[index], client);
        self.lanes[gone.lane].disconnect(gone.connection);
    }
}

impl Client {
    /// Compares what was answered with what had to be.
    fn check(&self) {
        let length = self.answered.len().min(self.expected.len());
        let differs = (0..length).find(|i| self.answered[*i] != self.expected[*i]);
        if let Some(at) = differs {
            let around = at.saturating_sub(100)..(at + 100).min(length);
            panic!(
                "client {} was answered {:?} instead of {:?}",
                self.name,
                String::from_utf8_lossy(&self.answered[around.clone()]),
                String::from_utf8_lossy(&self.expected[around]),
            );
        }
        assert_eq!(
            self.answered.len(),
            self.expected.len(),
            "client {}",
            self.name
        );
    }

    /// Adds a random command or transaction to what is to be sent, and its answer to what is expected.
    fn invent(&mut self, dice: &mut Dice) {
        if dice.is_one_in(12) {
            self.transaction(dice);
        } else {
            self.invent_command(dice);
        }
    }

    /// Some commands in a transaction, which runs, is discarded, or is off for what was watched.
    fn transaction(&mut self, dice: &mut Dice) {
        let is_watching = dice.is_one_in(2);
        let is_off = is_watching && dice.is_one_in(2);
        if is_watching {
            let mut keys = self.keys_of(dice);
            self.many(b"WATCH", &keys);
            self.expected.extend_from_slice(b"+OK\r\n");
            if is_off {
                let key = keys.swap_remove(dice.below(keys.len()));
                self.set(&key, dice);
            }
        }
        self.command(&[b"MULTI"]);
        self.expected.extend_from_slice(b"+OK\r\n");
        let keys = self.keys.clone();
        let mut expected = std::mem::take(&mut self.expected);
        let first = self.command_count;
        (0..dice.below(6)).for_each(|_| self.invent_command(dice));
        let count = self.command_count - first;
        let replies = std::mem::take(&mut self.expected);
        expected.extend(b"+QUEUED\r\n".repeat(count));
        let is_discarded = dice.is_one_in(8);
        if is_discarded {
            self.command(&[b"DISCARD"]);
            expected.extend_from_slice(b"+OK\r\n");
        } else {
            self.command(&[b"EXEC"]);
            let header = format!("*{}\r\n", count);
            expected.extend(if is_off {
                b"*-1\r\n"
            } else {
                header.as_bytes()
            });
        }
        self.expected = expected;
        if is_discarded || is_off {
            self.keys = keys;
        } else {
            self.expected.extend(replies);
        }
    }

    fn invent_command(&mut self, dice: &mut Dice) {
        let key = self.key(dice);
        match dice.below(18) {
            0..3 => self.set(&key, dice),
            3 => self.get(&key),
            16 => self.length(&key),
            17 => self.kind(&key),
            4 => self.increment(&key),
            5 => self.append(&key, dice),
            6 => self.delete(dice),
            7 => self.get_many(dice),
            8 => self.set_many(dice),
            9 => self.set_many_if_none(dice),
            10 => self.rename(&key, dice),
            11 => self.copy(&key, dice),
            12 => self.expire(&key),
            13 => self.get_range(&key, dice),
            14 => self.exists(dice),
            _ => {
                self.command(&[b"ECHO", &key]);
                bulk(&mut self.expected, Some(&key));
            }
        }
    }

    fn key(&self, dice: &mut Dice) -> Vec<u8> {
        format!("client:{}:{}", self.name, dice.below(KEY_COUNT)).into_bytes()
    }

    fn keys_of(&self, dice: &mut Dice) -> Vec<Vec<u8>> {
        (0..=dice.below(6)).map(|_| self.key(dice)).collect()
    }

    fn value(&self, dice: &mut Dice) -> Vec<u8> {
        let len_bytes = match dice.below(self.long_value_chances * 10) {
            0 => 262_000 + dice.below(400_000),
            1 => 100_000 + dice.below(162_000),
            2..10 => dice.below(30_000),
            _ => dice.below(40),
        };
        (b'a'..=b'z').cycle().take(len_bytes).collect()
    }

    fn command(&mut self, arguments: &[&[u8]]) {
        self.command_count += 1;
        self.unsent
            .extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
        arguments
            .iter()
            .for_each(|argument| bulk(&mut self.unsent, Some(argument)));
    }

    fn set(&mut self, key: &[u8], dice: &mut Dice) {
        let value = if dice.is_one_in(3) {
            b"41".to_vec()
        } else {
            self.value(dice)
        };
        self.command(&[b"SET", key, &value]);
        self.expected.extend_from_slice(b"+OK\r\n");
        self.keys.insert(
            key.to_vec(),
            Entry {
                value,
                expires_at_ms: None,
            },
        );
    }

    fn get(&mut self, key: &[u8]) {
        self.command(&[b"GET", key]);
        bulk(
            &mut self.expected,
            self.keys.get(key).map(|entry| entry.value.as_slice()),
        );
    }

    fn length(&mut self, key: &[u8]) {
        self.command(&[b"STRLEN", key]);
        let length = self.keys.get(key).map_or(0, |entry| entry.value.len());
        self.expected
            .extend_from_slice(format!(":{length}\r\n").as_bytes());
    }

    fn kind(&mut self, key: &[u8]) {
        self.command(&[b"TYPE", key]);
        let is_there = self.keys.contains_key(key);
        self.expected.extend_from_slice(if is_there {
            b"+string\r\n"
        } else {
            b"+none\r\n"
        });
    }

    fn increment(&mut self, key: &[u8]) {
        self.command(&[b"INCR", key]);
        let entry = self.keys.entry(key.to_vec()).or_insert(Entry {
            value: b"0".to_vec(),
            expires_at_ms: None,
        });
        let text = String::from_utf8_lossy(&entry.value);
        match text.parse::<i64>() {
            Ok(number) => {
                entry.value = (number + 1).to_string().into_bytes();
                self.expected
                    .extend_from_slice(format!(":{}\r\n", number + 1).as_bytes());
            }
            Err(_) => self
                .expected
                .extend_from_slice(b"-ERR value is not an integer or out of range\r\n"),
        }
    }

    fn append(&mut self, key: &[u8], dice: &mut Dice) {
        let tail = self.value(dice);
        self.command(&[b"APPEND", key, &tail]);
        let entry = self.keys.entry(key.to_vec()).or_default();
        entry.value.extend_from_slice(&tail);
        self.expected
            .extend_from_slice(format!(":{}\r\n", entry.value.len()).as_bytes());
    }

    fn delete(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(if dice.is_one_in(2) { b"DEL" } else { b"UNLINK" }, &keys);
        let count = keys
            .iter()
            .filter(|key| self.keys.remove(*key).is_some())
            .count();
        self.expected
            .extend_from_slice(format!(":{count}\r\n").as_bytes());
    }

    fn exists(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(b"EXISTS", &keys);
        let count = keys
            .iter()
            .filter(|key| self.keys.contains_key(*key))
            .count();
        self.expected
            .extend_from_slice(format!(":{count}\r\n").as_bytes());
    }

    fn get_many(&mut self, dice: &mut Dice) {
        let keys = self.keys_of(dice);
        self.many(b"MGET", &keys);
        self.expected
            .extend_from_slice(format!("*{}\r\n", keys.len()).as_bytes());
        for key in &keys {
            bulk(
                &mut self.expected,
                self.keys.get(key).map(|entry| entry.value.as_slice()),
            );
        }
    }

    fn set_many(&mut self, dice: &mut Dice) {
        let pairs: Vec<_> = self
            .keys_of(dice)
            .into_iter()
            .map(|key| (key, self.value(dice)))
            .collect();
        self.pairs(b"MSET", &pairs);
        self.expected.extend_from_slice(b"+OK\r\n");
        self.insert_all(pairs);
    }

    fn set_many_if_none(&mut self, dice: &mut Dice) {
        let pairs: Vec<_> = self
            .keys_of(dice)
            .into_iter()
            .map(|key| (key, b"fresh".to_vec()))
            .collect();
        self.pairs(b"MSETNX", &pairs);
        let is_fresh = pairs.iter().all(|(key, _)| !self.keys.contains_key(key));
        self.expected
            .extend_from_slice(if is_fresh { b":1\r\n" } else { b":0\r\n" });
        if is_fresh {
            self.insert_all(pairs);
        }
    }

    fn rename(&mut self, source: &[u8], dice: &mut Dice) {
        let target = self.key(dice);
        let only_new = dice.is_one_in(2);
        self.command(&[
            if only_new { b"RENAMENX" } else { b"RENAME" },
            source,
            &target,
        ]);
        if !self.keys.contains_key(source) {
            self.expected.extend_from_slice(b"-ERR no such key\r\n");
        } else if only_new && self.keys.contains_key(&target) {
            self.expected.extend_from_slice(b":0\r\n");
        } else {
            let entry = self.keys.remove(source).expect("looked at");
            self.keys.insert(target, entry);
            self.expected
                .extend_from_slice(if only_new { b":1\r\n" } else { b"+OK\r\n" });
        }
    }

    fn copy(&mut self, source: &[u8], dice: &mut Dice) {
        let target = self.key(dice);
        if target == source {
            return;
        }
        self.command(&[b"COPY", source, &target, b"REPLACE"]);
        match self.keys.get(source).cloned() {
            None => self.expected.extend_from_slice(b":0\r\n"),
            Some(entry) => {
                self.keys.insert(target, entry);
                self.expected.extend_from_slice(b":1\r\n");
            }
        }
    }

    fn expire(&mut self, key: &[u8]) {
        let at = EXPIRES_AT_MS.to_string();
        self.command(&[b"PEXPIREAT", key, at.as_bytes()]);
        self.command(&[b"PEXPIRETIME", key]);
        match self.keys.get_mut(key) {
            None => self.expected.extend_from_slice(b":0\r\n:-2\r\n"),
            Some(entry) => {
                entry.expires_at_ms = Some(EXPIRES_AT_MS);
                self.expected
                    .extend_from_slice(format!(":1\r\n:{at}\r\n").as_bytes());
            }
        }
    }

    fn get_range(&mut self, key: &[u8], dice: &mut Dice) {
        let (start, end) = (dice.below(50), dice.below(500_000));
        let (first, last) = (start.to_string(), end.to_string());
        self.command(&[b"GETRANGE", key, first.as_bytes(), last.as_bytes()]);
        let value = self.keys.get(key).map_or(&[][..], |entry| &entry.value);
        let end = (end + 1).min(value.len());
        bulk(
            &mut self.expected,
            Some(value.get(start..end).unwrap_or_default()),
        );
    }

    fn many(&mut self, name: &[u8], keys: &[Vec<u8>]) {
        let arguments: Vec<&[u8]> = std::iter::once(name)
            .chain(keys.iter().map(Vec::as_slice))
            .collect();
        self.command(&arguments);
    }

    fn pairs(&mut self, name: &[u8], pairs: &[(Vec<u8>, Vec<u8>)]) {
        let flat = pairs
            .iter()
            .flat_map(|(key, value)| [key.as_slice(), value.as_slice()]);
        let arguments: Vec<&[u8]> = std::iter::once(name).chain(flat).collect();
        self.command(&arguments);
    }

    fn insert_all(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) {
        for (key, value) in pairs {
            self.keys.insert(
                key,
                Entry {
                    value,
                    expires_at_ms: None,
                },
            );
        }
    }
}

fn bulk(into: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => into.extend_from_slice(b"$-1\r\n"),
        Some(value) => {
            into.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
            into.extend_from_slice(value);
            into.extend_from_slice(b"\r\n");
        }
    }
}

/// The seed to use, printed so that a failure can be repeated.
fn seed(default: u64) -> u64 {
    let seed = std::env::var("COREMAP_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(default);
    println!("COREMAP_SEED={seed}");
    seed
}

fn simulate(mut world: World, command_count: usize) -> World {
    let client_count = world.clients.len();
    let mut invented = 0;
    while invented < command_count {
        let burst = 1 + world.dice.below(300);
        let index = world.dice.below(client_count);
        let client = &mut world.clients[index];
        if client.unsent.len() < 1 << 20 {
            (0..burst).for_each(|_| client.invent(&mut world.dice));
            invented += burst;
        }
        let steps = world.dice.below(200);
        (0..steps).for_each(|_| world.step());
        if world.dice.is_one_in(100) {
            world.replace(index);
        }
        if world.dice.is_one_in(50) {
            world.settle();
        }
    }
    world.settle();
    world
}

/// One command at a time of each client, where there is not memory for all; how many were refused.
fn starve(world: &mut World, command_count: usize) -> usize {
    let client_count = world.clients.len();
    let mut befores = vec![(BTreeMap::new(), 0); client_count];
    let (mut invented, mut refused_count) = (0, 0);
    while invented < command_count {
        (0..20).for_each(|_| world.step());
        let index = world.dice.below(client_count);
        let client = &mut world.clients[index];
        let (keys, command_count) = &mut befores[index];
        if client.answered.starts_with(b"-OOM") {
            if count_lines(&client.answered) < client.command_count - *command_count {
                continue;
            }
            client.keys.clone_from(keys);
            refused_count += 1;
        } else if client.answered.len() < client.expected.len() {
            continue;
        } else {
            client.check();
        }
        client.answered.clear();
        client.expected.clear();
        keys.clone_from(&client.keys);
        *command_count = client.command_count;
        client.invent_command(&mut world.dice);
        invented += 1;
    }
    refused_count
}

#[test]
fn a_command_that_is_refused_for_want_of_memory_has_changed_nothing() {
    let seed = seed(7);
    let options = RegionOptions {
        maxmemory_bytes: 6 << 20,
        shard_count: 3,
    };
    let region = Arc::new(Region::anonymous(options).expect("memory for a test"));
    let lanes = super::tests::lanes_in(&region, seed, &Arc::new(Shared::new(3)));
    let mut world = world_of(lanes, seed, 6);
    for client in &mut world.clients {
        client.long_value_chances = 2;
    }
    let refused_count = starve(&mut world, 20_000);
    assert!(refused_count > 500, "{refused_count} were refused");
    (0..world.clients.len()).for_each(|index| world.replace(index));
    world.settle();
    while world.lanes.iter_mut().any(Lane::must_exchange) {
        (0..3).for_each(|lane| world.exchange(lane));
    }
    let mut gates = world.lanes.iter().map(|lane| &lane.parts.gate);
    assert!(gates.all(|gate| !gate.is_held()), "a shard is still held");
}

/// Commands that were answered from another lane's table, and those that were sent there.
fn ways(world: &World) -> (u64, u64) {
    let stats = world.lanes.iter().map(|lane| &lane.core().stats);
    stats.fold((0, 0), |(read, sent), stats| {
        (
            read + stats.commands_read_directly,
            sent + stats.commands_forwarded,
        )
    })
}

#[test]
fn random_commands_of_many_clients_on_three_lanes_are_answered_as_one_map_would() {
    let world = simulate(world(seed(1), 3, 7), 400_000);
    let (read, sent) = ways(&world);
    assert!(read > 10_000 && sent > 10_000, "{read} read, {sent} sent");
}

#[test]
fn lanes_that_only_send_commands_to_each_other_answer_as_one_map_would() {
    let mut world = world(seed(6), 3, 7);
    for lane in &mut world.lanes {
        lane.core_mut().settings.direct_reads = false;
    }
    let world = simulate(world, 200_000);
    assert_eq!(ways(&world).0, 0);
}

#[test]
fn one_lane_alone_answers_as_one_map_would() {
    simulate(world(seed(2), 1, 3), 200_000);
}

#[test]
fn eight_lanes_answer_as_one_map_would() {
    simulate(world(seed(3), 8, 12), 400_000);
}

#[test]
fn replies_past_every_bound_still_come_whole_and_in_order() {
    let mut world = world(seed(5), 3, 4);
    world.long_value_chances = 2;
    world
        .clients
        .iter_mut()
        .for_each(|client| client.long_value_chances = 2);
    simulate(world, 20_000);
}

#[test]
fn increments_of_one_key_from_every_lane_are_all_counted() {
    let mut world = world(seed(4), 4, 8);
    for client in &mut world.clients {
        for _ in 0..500 {
            client.command(&[b"INCRBY", b"shared", b"1"]);
        }
    }
    while world
        .clients
        .iter()
        .any(|client| count_lines(&client.answered) < 500)
    {
        world.step();
    }
    let last = |client: &Client| {
        let numbers = client
            .answered
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let numbers: Vec<i64> = numbers
            .map(|line| super::gather::parse_integer(&line[1..]))
            .collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "a client sees its counter grow"
        );
        *numbers.last().expect("500 answers")
    };
    assert_eq!(world.clients.iter().map(last).max(), Some(8 * 500));
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
