//! Servers killed at random instants: nothing acknowledged is lost, nothing that was removed comes
//! back, nothing is half done.
//!
//! Several connections write all the time, transactions among it, each to keys of its own
//! (`kill/oracle.rs` says what those may hold) and to one counter that all share. At a random instant the server gets SIGKILL; on the same
//! directory another is started, sometimes killed again while it loads, and everything is read.
//! Then the writing goes on, so that a server lives with the traces of all that came before.
//!
//! `COREMAP_TEST_KILLS` sets the number of kills. redis-server with an append-only file has to pass
//! as well, which says that the oracle asks for what can be had.

#[path = "kill/load.rs"]
mod load;
#[path = "kill/oracle.rs"]
mod oracle;

mod common;

use std::time::Duration;

use common::client::{Client, Value, decode, request};
use common::process::{Folder, Server, coremap, run};
use common::{Random, pass, scale, seed, tell_tried};
use load::{Load, SHARED_KEY, Shared, now_ms};
use oracle::{Held, Span, States, Unit};

/// Connections that write.
const CONNECTION_COUNT: usize = 4;
/// Milliseconds from the start of the writing to the kill, at most.
const LIFE_MS_MAX: usize = 400;

/// A directory that one server after the other works on, and what must be in it.
struct Trial<'a> {
    start: &'a dyn Fn() -> Server,
    /// Starts a server and kills it after so long, ready or not.
    start_in_vain: &'a dyn Fn(Duration),
    loads: Vec<Load>,
    shared: Shared,
    random: Random,
    is_evicting: bool,
    /// Keys that servers have evicted before they were killed.
    evicted_count: u64,
}

impl<'a> Trial<'a> {
    fn new(start: &'a dyn Fn() -> Server, start_in_vain: &'a dyn Fn(Duration)) -> Self {
        Self::of(start, start_in_vain, false)
    }

    /// Of servers that may have evicted any key.
    fn evicting(start: &'a dyn Fn() -> Server, start_in_vain: &'a dyn Fn(Duration)) -> Self {
        Self::of(start, start_in_vain, true)
    }

    fn of(
        start: &'a dyn Fn() -> Server,
        start_in_vain: &'a dyn Fn(Duration),
        is_evicting: bool,
    ) -> Self {
        let mut random = Random(seed());
        Self {
            start,
            start_in_vain,
            loads: (0..CONNECTION_COUNT)
                .map(|name| Load::new(name, random.next(), is_evicting))
                .collect(),
            shared: Shared::default(),
            random,
            is_evicting,
            evicted_count: 0,
        }
    }

    /// Kills `count` servers, each after some work, and checks what the next one has.
    fn run(&mut self, count: usize) {
        let mut server = (self.start)();
        server.wait_until_loaded();
        for round in 0..count {
            let life = self.some_ms(LIFE_MS_MAX);
            let address = server.address();
            let shared = &self.shared;
            std::thread::scope(|scope| {
                for load in &mut self.loads {
                    scope.spawn(move || load.run(address, shared));
                }
                pass(life);
                if self.is_evicting {
                    self.evicted_count += evicted_keys(&server);
                }
                // Dropping it kills it.
                drop(server);
            });
            while self.random.below(4) == 0 {
                (self.start_in_vain)(self.some_ms(100));
            }
            server = (self.start)();
            server.wait_until_loaded();
            self.check(&server, round);
            if self.random.below(8) == 0 {
                server = self.flush(server);
            }
        }
    }

    /// Reads everything and compares.
    fn check(&mut self, server: &Server, round: usize) {
        let mut client = server.client();
        let is_evicting = self.is_evicting;
        for unit in self.loads.iter_mut().flat_map(|load| &mut load.units) {
            let (found, span) = read(&mut client, unit);
            let outcome = unit.check(&found, span, is_evicting);
            outcome.unwrap_or_else(|wrong| panic!("after kill {round}: {wrong}"));
        }
        let counted = match client.value(&format!("GET {SHARED_KEY}")) {
            Value::Null => 0,
            other => other.text().parse().expect("a counter is a number"),
        };
        let [least, most] = [&self.shared.highest_reply, &self.shared.sent_count]
            .map(|count| count.load(std::sync::atomic::Ordering::SeqCst));
        let least = if is_evicting { 0 } else { least };
        assert!(
            (least..=most).contains(&counted),
            "after kill {round}: counted {counted}, not {least} to {most}"
        );
        // What was counted in vain does not count.
        self.shared = Shared {
            sent_count: counted.into(),
            highest_reply: counted.into(),
        };
    }

    /// Kills the server while it forgets everything: all of it is there afterwards, or nothing.
    fn flush(&mut self, server: Server) -> Server {
        let mut client = server.client();
        client.send(b"FLUSHALL\r\n");
        pass(self.some_ms(4));
        let is_done = self.random.below(2) == 0;
        if is_done {
            assert_eq!(client.reply(), b"+OK\r\n");
        }
        drop(server);
        let server = (self.start)();
        server.wait_until_loaded();
        let mut client = server.client();
        let mut found = Vec::new();
        for unit in self.loads.iter().flat_map(|load| &load.units) {
            found.push(read(&mut client, unit));
        }
        let is_empty = found
            .iter()
            .all(|(states, _)| states.iter().all(Option::is_none));
        assert!(is_empty || !is_done, "FLUSHALL was acknowledged");
        let units = self.loads.iter_mut().flat_map(|load| &mut load.units);
        for (unit, (states, span)) in units.zip(found) {
            if is_empty {
                unit.known.fill(None);
            }
            let outcome = unit.check(&states, span, self.is_evicting);
            outcome.unwrap_or_else(|wrong| panic!("after half a FLUSHALL: {wrong}"));
        }
        if is_empty {
            client.expect(&format!("GET {SHARED_KEY}"), "$-1\\r\\n");
            self.shared = Shared::default();
        }
        server
    }

    fn some_ms(&mut self, most: usize) -> Duration {
        Duration::from_millis(self.random.below(most) as u64)
    }
}

/// Keys that a server has evicted so far.
fn evicted_keys(server: &Server) -> u64 {
    let info = server.client().value("INFO stats").text();
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix("evicted_keys:"));
    let count = count.expect("INFO says how many");
    count.trim().parse().expect("it is a number")
}

/// What a unit's keys hold.
fn read(client: &mut Client, unit: &Unit) -> (States, Span) {
    let from_ms = now_ms();
    let mut requests = Vec::new();
    for key in &unit.keys {
        requests.extend(request(&["GET", key]));
        requests.extend(request(&["PEXPIRETIME", key]));
    }
    client.send(&requests);
    let found = unit.keys.iter().map(|_| {
        let [value, expiry] = [(); 2].map(|()| {
            let reply = client.reply();
            decode(&reply).expect("it is whole").0
        });
        match (value, expiry.integer()) {
            // It may expire between the two.
            (Value::Null, _) | (_, -2) => None,
            (value, at_ms) => Some(Held {
                value: value.bytes(),
                expires_at_ms: u64::try_from(at_ms).ok(),
            }),
        }
    });
    let found = found.collect();
    let until_ms = now_ms();
    (found, Span { from_ms, until_ms })
}

/// Kills per mode.
fn kill_count() -> usize {
    let given = std::env::var("COREMAP_TEST_KILLS").ok();
    given.map_or(scale(17, 167), |text| text.parse().expect("a count"))
}

/// Kills servers on one directory, under a mode of `appendfsync`.
fn kill_under(mode: &str) {
    // Little memory, so that compaction is always under way.
    let options = ["--appendfsync", mode, "--maxmemory", "64mb"];
    kill_with(&options, |start, start_in_vain| {
        Trial::new(start, start_in_vain).run(kill_count());
    });
    tell_tried(&format!("{} kills under {mode}", kill_count()));
}

/// Lets servers with these options be killed on one directory.
fn kill_with(options: &[&str], kill: impl FnOnce(&dyn Fn() -> Server, &dyn Fn(Duration))) {
    let folder = Folder::new();
    let path = folder.path().to_str().expect("the path is text");
    let arguments = [&["--dir", path, "--shards", "2"], options].concat();
    let start = || Server::start(&arguments);
    let start_in_vain = |life| Server::start_in_vain(&coremap(), &arguments, life);
    kill(&start, &start_in_vain);
    // What is left after all of that is a file in order.
    let ended = run(&["check", path]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn kills_lose_nothing_when_every_write_is_synced() {
    kill_under("always");
}

#[test]
fn kills_lose_nothing_when_writes_are_synced_every_second() {
    kill_under("everysec");
}

#[test]
fn kills_lose_nothing_when_writes_are_not_synced() {
    kill_under("no");
}

#[test]
fn kills_bring_nothing_back_that_was_evicted_and_change_nothing_else() {
    let options = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"];
    kill_with(&options, |start, start_in_vain| {
        let mut trial = Trial::evicting(start, start_in_vain);
        trial.run(kill_count());
        assert!(trial.evicted_count > 0, "there was memory for all");
    });
}

#[test]
fn the_oracle_asks_for_no_more_than_redis_server_gives() {
    let Some(program) = common::process::redis() else {
        return common::skip_because("redis-server 7.0 is not installed");
    };
    let folder = Folder::new();
    let path = folder.path().to_str().expect("the path is text");
    // Under everysec it may keep what it has answered to itself for two seconds.
    let policy = ["--appendonly", "yes", "--appendfsync", "always"];
    let arguments = [&policy[..], &["--save", "", "--dir", path]].concat();
    let start = || Server::start_program(&program, &arguments);
    let start_in_vain = |life| Server::start_in_vain(&program, &arguments, life);
    Trial::new(&start, &start_in_vain).run(scale(3, 20));
}

#[test]
fn the_oracle_finds_out_a_server_that_forgets() {
    let start = || Server::start(&["--shards", "2"]);
    let start_in_vain = |_| ();
    let outcome = std::panic::catch_unwind(|| Trial::new(&start, &start_in_vain).run(1));
    assert!(outcome.is_err());
}
