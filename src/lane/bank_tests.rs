//! Money that many clients move between accounts on three lanes, in an order that dice throw: whoever
//! sums all accounts finds what there was at the beginning. Clients vanish at any moment.

use super::tests::{NOW, answer, lanes, send, take};
use super::{ConnectionId, Lane, Peer};
use crate::command::Random;

const ACCOUNT_COUNT: usize = 9;
const EACH: i64 = 100;

/// One client: what it waits for.
struct Client {
    lane: usize,
    connection: ConnectionId,
    received: Vec<u8>,
    /// Lines of the reply that it waits for; 0: none.
    line_count: usize,
    is_summing: bool,
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("below a usize")
}

fn connect(lanes: &mut [Lane], random: &mut Random) -> Client {
    let lane = below(random, lanes.len());
    Client {
        lane,
        connection: lanes[lane].connect(Peer::default(), NOW),
        received: Vec::new(),
        line_count: 0,
        is_summing: false,
    }
}

/// All accounts as arguments.
fn accounts() -> String {
    let names = (0..ACCOUNT_COUNT).map(|number| format!("account:{number}"));
    names.collect::<Vec<_>>().join(" ")
}

/// What a client does next, and how many lines it is answered.
fn next(random: &mut Random, is_summing: bool) -> (String, usize) {
    if !is_summing {
        let (from, to) = (below(random, ACCOUNT_COUNT), below(random, ACCOUNT_COUNT));
        let amount = below(random, 30);
        let commands = format!(
            "MULTI\r\nDECRBY account:{from} {amount}\r\nINCRBY account:{to} {amount}\r\nEXEC\r\n"
        );
        return (commands, 6);
    }
    if below(random, 2) == 0 {
        return (format!("MGET {}\r\n", accounts()), 1 + 2 * ACCOUNT_COUNT);
    }
    let gets: String = (0..ACCOUNT_COUNT)
        .map(|number| format!("GET account:{number}\r\n"))
        .collect();
    let line_count = 1 + ACCOUNT_COUNT + 1 + 2 * ACCOUNT_COUNT;
    (format!("MULTI\r\n{gets}EXEC\r\n"), line_count)
}

/// The sum of the last `ACCOUNT_COUNT` values of a reply.
fn sum(reply: &[u8]) -> i64 {
    let text = std::str::from_utf8(reply).expect("replies are text");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    let values = lines[lines.len() - 2 * ACCOUNT_COUNT..]
        .iter()
        .skip(1)
        .step_by(2);
    values
        .map(|value| value.parse::<i64>().expect("a balance"))
        .sum()
}

/// Lets clients work for a while; returns how often accounts were summed.
fn work(seed: u64, reads_directly: bool) -> usize {
    let mut random = Random::new(seed);
    let mut lanes = lanes(3, seed);
    for lane in &mut lanes {
        lane.core_mut().settings.direct_reads = reads_directly;
    }
    let first = lanes[0].connect(Peer::default(), NOW);
    let names = accounts();
    let pairs: String = names
        .split(' ')
        .map(|name| format!(" {name} {EACH}"))
        .collect();
    assert_eq!(
        answer(&mut lanes, first, &format!("MSET{pairs}\r\n")),
        "+OK\r\n"
    );
    let mut clients: Vec<Client> = (0..9).map(|_| connect(&mut lanes, &mut random)).collect();
    let mut sum_count = 0;
    for step in 0..300_000 {
        let index = below(&mut random, clients.len());
        let client = &mut clients[index];
        let lane = &mut lanes[client.lane];
        match below(&mut random, 8) {
            0 if client.line_count == 0 => {
                let (commands, line_count) = next(&mut random, index.is_multiple_of(3));
                (client.line_count, client.is_summing) = (line_count, index.is_multiple_of(3));
                send(lane, client.connection, commands.as_bytes());
            }
            0..4 => {
                lane.turn(client.connection, NOW);
            }
            4..7 => {
                let lane = below(&mut random, lanes.len());
                lanes[lane].exchange(NOW);
            }
            _ => take(lane, client.connection, &mut client.received),
        }
        let line_count = client
            .received
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        if client.line_count > 0 && line_count == client.line_count {
            if client.is_summing {
                assert_eq!(
                    sum(&client.received),
                    EACH * ACCOUNT_COUNT as i64,
                    "step {step}"
                );
                sum_count += 1;
            }
            client.received.clear();
            client.line_count = 0;
        }
        if below(&mut random, 500) == 0 {
            let gone = std::mem::replace(client, connect(&mut lanes, &mut random));
            lanes[gone.lane].disconnect(gone.connection);
        }
    }
    sum_count
}

#[test]
fn sums_of_accounts_never_differ_whoever_reads_and_whoever_vanishes() {
    for seed in 1..4 {
        let sum_count = work(seed, true);
        assert!(sum_count > 300, "{sum_count} with seed {seed}");
    }
}

#[test]
fn sums_of_accounts_never_differ_where_nothing_is_read_directly() {
    let sum_count = work(4, false);
    assert!(sum_count > 300, "{sum_count}");
}
