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

mod client;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ConnectionId, Lane, Peer, Turn};
use crate::command::{Now, Random, Shared};
use crate::limits::TURN_NS_MAX;
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

    /// What a look at the clock within a turn tells: one in four finds it too long already.
    fn elapsed_ns(&mut self) -> u64 {
        self.0.below(4 * TURN_NS_MAX / 3)
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
            let elapsed_ns = self.dice.elapsed_ns();
            let lane = &mut self.lanes[client.lane];
            let turn = lane.timed_turn(client.connection, NOW, &|| elapsed_ns);
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
        let elapsed_ns = self.dice.elapsed_ns();
        let has_worked = self.lanes[lane].timed_exchange(NOW, &|| elapsed_ns);
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
