//! Hostile streams against a server process, which is watched from outside.

use std::time::Instant;

use super::streams::Streams;
use crate::common::client::Client;
use crate::common::process::Server;
use crate::common::{PATIENCE, Random, now};

/// Most connections at once.
const CLIENT_COUNT_MAX: usize = 12;
/// Most bytes of one send.
const PIECE_LEN_BYTES_MAX: usize = 5_000;
/// How much more memory the process may hold after all than after its first rounds.
const GROWTH_LEN_BYTES_MAX: u64 = 64 << 20;
/// Rounds after which memory has been used for everything once.
const WARM_ROUND_COUNT: u64 = 20;

/// What is left of a stream, and how its client behaves.
struct Hostile {
    client: Client,
    unsent: Vec<u8>,
    /// Whether it is gone when all is sent, whatever it is owed.
    vanishes: bool,
}

/// Plays sets of streams until `until`; how many.
pub(crate) fn play(seed: u64, until: Instant) -> u64 {
    let server = Server::start(&["--shards", "2", "--maxmemory", "256mb"]);
    let mut witness = server.client();
    let streams = Streams::new(witness.value("COMMAND DOCS"));
    let descriptor_count = server.descriptor_count();
    let mut resident_bytes = u64::MAX;
    let mut round = 0;
    while now() < until {
        let mut random = Random(seed.wrapping_add(round));
        play_once(&server, &streams, &mut random);
        // Another connection is served as if nothing had been.
        let text = format!("$5\\r\\n{:05}\\r\\n", round % 100_000);
        witness.expect(&format!("ECHO {:05}", round % 100_000), &text);
        round += 1;
        if round == WARM_ROUND_COUNT {
            resident_bytes = server.rss_bytes();
        }
    }
    witness.expect("FLUSHALL", "+OK\\r\\n");
    expect_nothing_left(&mut witness);
    wait_for("descriptors are left", || {
        server.descriptor_count() == descriptor_count
    });
    let growth_bytes = server.rss_bytes().saturating_sub(resident_bytes);
    assert!(
        growth_bytes < GROWTH_LEN_BYTES_MAX,
        "{growth_bytes} bytes more are resident"
    );
    round
}

fn play_once(server: &Server, streams: &Streams, random: &mut Random) {
    let mut all: Vec<_> = (0..=random.below(CLIENT_COUNT_MAX))
        .map(|_| Hostile {
            client: server.client(),
            unsent: streams.stream(random, |_| true),
            vanishes: random.below(3) == 0,
        })
        .collect();
    while !all.is_empty() {
        let index = random.below(all.len());
        let one = &mut all[index];
        let len = one.unsent.len().min(1 + random.below(PIECE_LEN_BYTES_MAX));
        let is_open = one.client.try_send(&one.unsent[..len]).is_ok();
        one.unsent.drain(..len);
        if !is_open || one.unsent.is_empty() {
            let one = all.swap_remove(index);
            if !one.vanishes {
                read_to_the_end(one.client);
            }
        }
    }
}

/// Hangs up the sending half and takes what comes; a reply that is not well-formed is a panic.
fn read_to_the_end(mut client: Client) {
    // Fails if the server has hung up already.
    let _ = client.try_finish_sending();
    client.replies(usize::MAX);
}

/// Every gauge that counts something of clients and keys is back at what one witness makes it.
fn expect_nothing_left(witness: &mut Client) {
    let until = now() + PATIENCE;
    loop {
        let info = witness.value("INFO everything").text();
        let is_over = |line: &&str| match line.split_once(':') {
            Some(("connected_clients", count)) => count == "1",
            Some((name, value)) => !GAUGES.contains(&name) || value == "0",
            None => true,
        };
        let mut left = info.lines().filter(|line| !is_over(line)).peekable();
        if left.peek().is_none() {
            return;
        }
        if now() > until {
            let left: Vec<_> = left.collect();
            let clients = witness.value("CLIENT LIST").text();
            panic!("left behind: {left:?}\n{clients}");
        }
    }
}

/// What INFO counts of things under way, and the keys.
const GAUGES: &[&str] = &[
    "db0",
    "blocked_clients",
    "tracking_clients",
    "watching_clients",
    "total_watched_keys",
    "clients_in_timeout_table",
];

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = now() + PATIENCE;
    while !is_so() {
        assert!(now() < until, "{what}");
    }
}
