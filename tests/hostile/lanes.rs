//! Hostile streams against lanes in this thread: the code that ships, with the sockets and the
//! scheduler replaced by dice. The same seed does the same.

use std::sync::Arc;

use coremap::command::{Core, Facts, Now, Settings, Shared};
use coremap::hash::Hasher;
use coremap::lane::{ConnectionId, Lane, Links, Options, Peer, Turn};
use coremap::region::{Region, RegionOptions};
use coremap::shard::Shard;

use super::streams::Streams;
use crate::common::Random;
use crate::common::client::{decode, request};

/// Connections at once.
const CLIENT_COUNT: usize = 6;
/// Random things that happen to one set of streams.
const STEP_COUNT: usize = 4_000;
/// Rounds after which whatever is under way must be over.
const SETTLE_ROUND_COUNT_MAX: usize = 200_000;
/// Memory of the lanes: little, so that it runs out.
const MEMORY_LEN_BYTES: u64 = 64 << 20;
const LANE_COUNT: u16 = 2;

/// The lanes and who is connected to them.
pub(crate) struct World {
    lanes: Vec<Lane>,
    clients: Vec<Client>,
    now: Now,
}

struct Client {
    lane: usize,
    id: ConnectionId,
    unsent: Vec<u8>,
    /// What is no whole reply yet.
    received: Vec<u8>,
    last_reply: Vec<u8>,
    is_due: bool,
    is_over: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let options = RegionOptions {
            maxmemory_bytes: MEMORY_LEN_BYTES,
            shard_count: usize::from(LANE_COUNT),
        };
        let region = Arc::new(Region::anonymous(options).expect("memory for a test"));
        let shared = Arc::new(Shared::new(LANE_COUNT));
        let hasher = Hasher::new([seed, 2, 3, 4]);
        let facts = Arc::new(Facts {
            core_count: LANE_COUNT,
            ..Facts::default()
        });
        let lane = |(id, links)| {
            let shard = Shard::new(Arc::clone(&region), id, hasher.clone()).expect("room");
            let (facts, shared) = (Arc::clone(&facts), Arc::clone(&shared));
            let core = Core::new(id, Settings::default(), facts, shared, seed + u64::from(id));
            Lane::new(Options {
                shard,
                core,
                links,
                region: Arc::clone(&region),
                hasher: hasher.clone(),
            })
        };
        Self {
            lanes: (0..).zip(Links::mesh(LANE_COUNT)).map(lane).collect(),
            clients: Vec::new(),
            now: Now {
                unix_us: 1_700_000_000_000_000,
            },
        }
    }

    /// The reply to one command on a connection of its own.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        self.connect(0, request(words));
        self.settle();
        let client = self.clients.pop().expect("it has just come");
        self.lanes[client.lane].disconnect(client.id);
        client.last_reply
    }

    /// Plays one set of streams, then checks that nothing of them is left.
    pub(crate) fn play(&mut self, streams: &Streams, random: &mut Random) {
        for _ in 0..CLIENT_COUNT {
            let lane = random.below(self.lanes.len());
            self.connect(lane, stream(streams, random));
        }
        for _ in 0..STEP_COUNT {
            self.step(streams, random);
        }
        self.settle();
        for client in std::mem::take(&mut self.clients) {
            self.lanes[client.lane].disconnect(client.id);
        }
        self.settle();
        assert!(
            self.lanes.iter().all(|lane| lane.core().clients.is_empty()),
            "a connection is left"
        );
        assert_eq!(self.ask(&["FLUSHALL"]), b"+OK\r\n");
        assert_eq!(self.ask(&["DBSIZE"]), b":0\r\n");
    }

    fn connect(&mut self, lane: usize, unsent: Vec<u8>) {
        self.clients.push(Client {
            lane,
            id: self.lanes[lane].connect(Peer::default(), self.now),
            unsent,
            received: Vec::new(),
            last_reply: Vec::new(),
            is_due: false,
            is_over: false,
        });
    }

    /// One random thing happens.
    fn step(&mut self, streams: &Streams, random: &mut Random) {
        let index = random.below(self.clients.len());
        let lane = random.below(self.lanes.len());
        match random.below(40) {
            0..12 => {
                let piece_max = random.pick(&[8, 4_000, 4_000]);
                let piece = 1 + random.below(piece_max);
                self.send(index, piece);
            }
            12..22 => self.turn(index),
            22..28 => self.take_output(index, 1 + random.below(10_000)),
            28..36 => self.exchange(lane),
            36 => {
                self.lanes[lane].background(self.now);
            }
            37 => self.now.unix_us += 1 + u64::from(random.below(2) == 0) * 100_000_000,
            38 if random.below(8) == 0 => self.replace(index, streams, random),
            38 => self.lanes[lane].sweep(self.now),
            _ => {
                let client = &mut self.clients[index];
                if random.below(8) == 0 && client.unsent.is_empty() {
                    self.lanes[client.lane].received_end(client.id);
                    client.is_due = true;
                }
            }
        }
    }

    fn send(&mut self, index: usize, piece: usize) {
        let client = &mut self.clients[index];
        let room = self.lanes[client.lane].receive_buffer(client.id);
        let len = piece.min(room.len()).min(client.unsent.len());
        room[..len].copy_from_slice(&client.unsent[..len]);
        self.lanes[client.lane].received(client.id, len);
        client.unsent.drain(..len);
        client.is_due |= len > 0;
    }

    fn turn(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.is_due && !client.is_over {
            let turn = self.lanes[client.lane].turn(client.id, self.now);
            client.is_due = matches!(turn, Turn::More | Turn::OutputFull);
            client.is_over = turn == Turn::Finished;
        }
    }

    fn take_output(&mut self, index: usize, piece: usize) {
        let client = &mut self.clients[index];
        let lane = &mut self.lanes[client.lane];
        let unsent = lane.unsent(client.id);
        let len = piece.min(unsent.len());
        client.received.extend_from_slice(&unsent[..len]);
        lane.sent(client.id, len);
        // What a client is sent is well-formed, whatever it sends.
        let mut at = 0;
        while let Some((_, len)) = decode(&client.received[at..]) {
            client.last_reply = client.received[at..at + len].to_vec();
            at += len;
        }
        client.received.drain(..at);
    }

    fn exchange(&mut self, lane: usize) {
        self.lanes[lane].exchange(self.now);
        let mut ready = Vec::new();
        self.lanes[lane].take_ready(&mut ready);
        for client in &mut self.clients {
            client.is_due |= client.lane == lane && ready.contains(&client.id);
        }
    }

    /// A client vanishes, whatever it waits for; another one comes.
    fn replace(&mut self, index: usize, streams: &Streams, random: &mut Random) {
        let gone = self.clients.swap_remove(index);
        self.lanes[gone.lane].disconnect(gone.id);
        self.connect(random.below(self.lanes.len()), stream(streams, random));
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..SETTLE_ROUND_COUNT_MAX {
            for index in 0..self.clients.len() {
                self.send(index, usize::MAX);
                self.turn(index);
                self.take_output(index, usize::MAX);
            }
            (0..self.lanes.len()).for_each(|lane| self.exchange(lane));
            let is_done = |client: &Client| {
                let is_idle = client.is_over || (client.unsent.is_empty() && !client.is_due);
                is_idle && self.lanes[client.lane].unsent(client.id).is_empty()
            };
            if self.clients.iter().all(is_done) && self.lanes.iter().all(Lane::is_quiet) {
                return;
            }
        }
        panic!("something never ends");
    }
}

/// A stream for lanes, which know no timers: nothing that waits for time to pass.
fn stream(streams: &Streams, random: &mut Random) -> Vec<u8> {
    streams.stream(random, |name| name != "wait")
}
