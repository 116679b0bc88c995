//! Lanes without a server: made, fed and emptied in one thread, in the order in which the server
//! does it: receive, turn, send what is unsent, exchange with the other cores.
//!
//! Shared by what counts allocations and what measures a lane (`bench/benches/lane.rs`), so it
//! allocates nothing itself once it is made, and compares every byte of every reply.

use std::sync::Arc;

use coremap::command::{Core, Facts, Now, Settings, Shared};
use coremap::hash::{Hasher, cluster_slot, shard_of_slot};
use coremap::lane::{ConnectionId, Lane, Links, Options, Peer};
use coremap::region::{Region, RegionOptions};
use coremap::shard::Shard;

/// Time is an argument, and stands still.
const NOW: Now = Now {
    unix_us: 1_700_000_000_000_000,
};
/// Rounds without a byte of a reply after which a lane counts as hung.
const IDLE_ROUND_COUNT_MAX: u32 = 1000;

/// Lanes that know each other, and one connection to the first.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    id: ConnectionId,
    ready: Vec<ConnectionId>,
}

impl Lanes {
    /// `count` lanes with empty shards in a region of `maxmemory_bytes`.
    pub(crate) fn new(count: u16, maxmemory_bytes: u64) -> Self {
        let region = Region::anonymous(RegionOptions {
            maxmemory_bytes,
            shard_count: usize::from(count),
        });
        let region = Arc::new(region.expect("address space"));
        let hasher = Hasher::new([1, 2, 3, 4]);
        let facts = Arc::new(Facts {
            core_count: count,
            ..Facts::default()
        });
        let shared = Arc::new(Shared::new(count));
        let lane = |(id, links)| {
            let settings = Settings::default();
            let (facts, shared) = (Arc::clone(&facts), Arc::clone(&shared));
            Lane::new(Options {
                shard: Shard::new(Arc::clone(&region), id, hasher.clone()).expect("room"),
                core: Core::new(id, settings, facts, shared, u64::from(id)),
                links,
                region: Arc::clone(&region),
                hasher: hasher.clone(),
            })
        };
        let mut lanes: Vec<Lane> = (0..).zip(Links::mesh(count)).map(lane).collect();
        let id = lanes[0].connect(Peer::default(), NOW);
        Self {
            lanes,
            id,
            ready: Vec::with_capacity(1024),
        }
    }

    /// Sends `requests` to the first lane and lets all lanes work until they are answered.
    ///
    /// # Panics
    /// If the replies are not `replies`.
    pub(crate) fn run(&mut self, mut requests: &[u8], mut replies: &[u8]) {
        let mut idle_round_count = 0;
        while !replies.is_empty() {
            requests = self.receive(requests);
            self.lanes[0].turn(self.id, NOW);
            let left_len_bytes = replies.len();
            replies = self.send(replies);
            for lane in &mut self.lanes {
                lane.exchange(NOW);
                lane.background(NOW);
                lane.take_ready(&mut self.ready);
                self.ready.clear();
            }
            let is_idle = replies.len() == left_len_bytes;
            idle_round_count = if is_idle { idle_round_count + 1 } else { 0 };
            assert!(idle_round_count < IDLE_ROUND_COUNT_MAX, "no replies");
        }
        assert!(self.lanes[0].unsent(self.id).is_empty(), "a reply too many");
        self.lanes[0].received_nothing(self.id);
    }

    /// The lane of core `index`.
    pub(crate) fn lane(&self, index: usize) -> &Lane {
        &self.lanes[index]
    }

    /// As one receive: what there is room for. Returns the rest.
    fn receive<'a>(&mut self, requests: &'a [u8]) -> &'a [u8] {
        let room = if requests.is_empty() {
            return requests;
        } else {
            self.lanes[0].receive_buffer(self.id)
        };
        let (now, later) = requests.split_at(room.len().min(requests.len()));
        room[..now.len()].copy_from_slice(now);
        self.lanes[0].received(self.id, now.len());
        later
    }

    /// As sends until nothing is unsent. Returns the replies that have not come.
    fn send<'a>(&mut self, mut replies: &'a [u8]) -> &'a [u8] {
        loop {
            let unsent = self.lanes[0].unsent(self.id);
            let len_bytes = unsent.len();
            if len_bytes == 0 {
                return replies;
            }
            replies = replies.strip_prefix(unsent).expect("the replies due");
            self.lanes[0].sent(self.id, len_bytes);
        }
    }
}

/// The first `count` keys of 16 bytes that core `owner` of `core_count` owns.
pub(crate) fn keys_of(owner: u16, core_count: u16, count: usize) -> Vec<[u8; 16]> {
    let keys = (0u64..).map(|number| {
        let mut key = *b"key:............";
        key[4..].copy_from_slice(format!("{number:012}").as_bytes());
        key
    });
    keys.filter(|key| shard_of_slot(cluster_slot(key), core_count) == owner)
        .take(count)
        .collect()
}

/// Commands of the same shape, one for each key: `SET key value`.
pub(crate) fn pipeline(keys: &[[u8; 16]], name: &str, value: Option<&str>) -> Vec<u8> {
    let argument_count = 2 + usize::from(value.is_some());
    let mut bytes = Vec::new();
    for key in keys {
        let head = format!("*{argument_count}\r\n${}\r\n{name}\r\n$16\r\n", name.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(key);
        let tail = value.map(|value| format!("\r\n${}\r\n{value}", value.len()));
        bytes.extend_from_slice(tail.unwrap_or_default().as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
