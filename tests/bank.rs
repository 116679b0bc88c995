//! Goal: money is neither made nor lost, however many move it at once.
//! Method: accounts on two shards of a real server. Some clients move money between them, by WATCH and
//! EXEC, by EXEC of counters, and by MSET within WATCH; others sum all accounts, by MGET and by EXEC,
//! and must always find the same. Readers and movers live on both cores, and some movers vanish
//! in the middle. Two more hammer the shards with MSET in opposite orders: all must get on.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::client::{Client, Value, decode, request};
use common::process::Server;
use common::{Random, now, scale, seed};

const ACCOUNT_COUNT: usize = 10;
const EACH: i64 = 1_000;

fn account(number: usize) -> String {
    format!("account:{number}")
}

/// The name of MGET and all accounts.
fn all_accounts() -> Vec<String> {
    let names = (0..ACCOUNT_COUNT).map(account);
    std::iter::once("MGET".to_owned()).chain(names).collect()
}

fn balance(value: Value) -> i64 {
    value.text().parse().expect("accounts hold numbers")
}

fn sum(values: Vec<Value>) -> i64 {
    values.into_iter().map(balance).sum()
}

/// Sends commands in one piece and takes all replies.
fn pipeline(client: &mut Client, commands: &[Vec<String>]) -> Vec<Value> {
    let bytes: Vec<u8> = commands.iter().flat_map(|words| request(words)).collect();
    client.send(&bytes);
    let reply = |_| decode(&client.reply()).expect("it is whole").0;
    commands.iter().map(reply).collect()
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

/// Moves money by one transaction of two counters.
fn move_by_counters(client: &mut Client, from: usize, to: usize, amount: i64) {
    let commands = [
        words("MULTI"),
        words(&format!("DECRBY {} {amount}", account(from))),
        words(&format!("INCRBY {} {amount}", account(to))),
        words("EXEC"),
    ];
    pipeline(client, &commands);
}

/// Moves money by a transaction that runs only if both accounts are still as they were read; whether
/// it ran.
fn move_if_unchanged(client: &mut Client, from: usize, to: usize, amount: i64) -> bool {
    let (from, to) = (account(from), account(to));
    let read = [
        words(&format!("WATCH {from} {to}")),
        words(&format!("MGET {from} {to}")),
    ];
    let found = pipeline(client, &read).pop().expect("two replies").list();
    let [a, b]: [i64; 2] = found
        .into_iter()
        .map(balance)
        .collect::<Vec<_>>()
        .try_into()
        .expect("two accounts");
    let (a, b) = (a - amount, b + amount);
    let write = [
        words("MULTI"),
        words(&format!("MSET {from} {a} {to} {b}")),
        words("EXEC"),
    ];
    let outcome = pipeline(client, &write).pop().expect("three replies");
    !matches!(outcome, Value::Null)
}

fn two_accounts(random: &mut Random) -> (usize, usize) {
    let from = random.below(ACCOUNT_COUNT);
    let to = (from + 1 + random.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
    (from, to)
}

/// One who moves money until told to stop; returns how often it did.
fn mover(address: SocketAddr, mut random: Random, has_ended: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let mut moved_count = 0;
    while !has_ended.load(Ordering::Relaxed) {
        let (from, to) = two_accounts(&mut random);
        let amount = i64::try_from(random.below(50)).expect("small");
        match random.below(10) {
            0..5 => {
                move_by_counters(&mut client, from, to, amount);
                moved_count += 1;
            }
            5..9 => moved_count += usize::from(move_if_unchanged(&mut client, from, to, amount)),
            _ => {
                // Gone before the answer, maybe before the whole transaction has arrived.
                let commands = format!(
                    "MULTI\r\nDECRBY {0} {2}\r\nINCRBY {1} {2}\r\nEXEC\r\n",
                    account(from),
                    account(to),
                    amount
                );
                let end = commands.len() - random.below(4) * random.below(12);
                client.send(&commands.as_bytes()[..end]);
                client = Client::connect(address);
            }
        }
    }
    moved_count
}

/// One who sums all accounts until told to stop; returns how often.
fn reader(address: SocketAddr, by_exec: bool, has_ended: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let mut sum_count = 0;
    while !has_ended.load(Ordering::Relaxed) {
        let found = if by_exec {
            let gets = (0..ACCOUNT_COUNT).map(|number| words(&format!("GET {}", account(number))));
            let commands: Vec<_> = std::iter::once(words("MULTI"))
                .chain(gets)
                .chain([words("EXEC")])
                .collect();
            pipeline(&mut client, &commands)
                .pop()
                .expect("the last reply")
                .list()
        } else {
            pipeline(&mut client, &[all_accounts()]).remove(0).list()
        };
        let expected = EACH * i64::try_from(ACCOUNT_COUNT).expect("few");
        assert_eq!(sum(found), expected, "money was made or lost");
        sum_count += 1;
    }
    sum_count
}

#[test]
fn money_is_neither_made_nor_lost() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    for number in 0..ACCOUNT_COUNT {
        client.expect(&format!("SET {} {EACH}", account(number)), "+OK\\r\\n");
    }
    let (seed, has_ended) = (seed(), AtomicBool::new(false));
    let (has_ended, address) = (&has_ended, server.address());
    let counts = std::thread::scope(|scope| {
        let movers = (0..6)
            .map(|number| scope.spawn(move || mover(address, Random(seed + number), has_ended)));
        let movers: Vec<_> = movers.collect();
        let readers =
            (0..6).map(|number| scope.spawn(move || reader(address, number % 2 == 0, has_ended)));
        let readers: Vec<_> = readers.collect();
        common::pass(Duration::from_secs(scale(3, 60)));
        has_ended.store(true, Ordering::Relaxed);
        [movers, readers].map(|threads| {
            let counts = threads
                .into_iter()
                .map(|thread| thread.join().expect("no sum differs"));
            counts.collect::<Vec<usize>>()
        })
    });
    println!("moved {:?}, summed {:?}", counts[0], counts[1]);
    assert!(
        counts.iter().flatten().all(|count| *count > 10),
        "all got on"
    );
}

#[test]
fn commands_that_need_the_same_shards_in_opposite_orders_all_get_on() {
    let server = Server::start(&["--shards", "2"]);
    let deadline = now() + Duration::from_secs(scale(2, 30));
    let address = server.address();
    let work = |commands: Vec<String>| {
        let (bytes, count) = (commands.concat(), commands.len());
        move || {
            let mut client = Client::connect(address);
            let mut done_count = 0;
            while now() < deadline {
                client.send(bytes.as_bytes());
                (0..count).for_each(|_| drop(client.reply()));
                done_count += count;
            }
            done_count
        }
    };
    // Keys 1 and 2 are on different shards, whichever is which.
    let there = "MSET account:1 1 account:2 1\r\n".to_owned();
    let back = "MSET account:2 2 account:1 2\r\n".to_owned();
    let single = "INCR account:3\r\n".to_owned();
    let exec = "MULTI\r\nINCR account:2\r\nINCR account:1\r\nEXEC\r\n";
    let exec: Vec<String> = exec.split_inclusive('\n').map(str::to_owned).collect();
    let flows = [
        vec![there.clone(); 20],
        vec![back.clone(); 20],
        vec![there],
        vec![back],
        vec![single.clone()],
        vec![single; 50],
        exec,
        vec!["MGET account:1 account:2\r\n".to_owned(); 3],
    ];
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let twice = flows.iter().chain(&flows);
        let threads: Vec<_> = twice.map(|flow| scope.spawn(work(flow.clone()))).collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("it gets on"));
        counts.collect()
    });
    println!("{counts:?}");
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}
