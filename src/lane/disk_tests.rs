//! What leaves a lane, and when, where there is a file: held replies, commands that wait, transactions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::exec_tests::{assert_free, run_ready};
use super::tests::{NOW, answer, key_of, lanes_in, send, take};
use super::{ConnectionId, Lane, Peer, Turn};
use crate::command::{Now, Shared};
use crate::limits::ROUND_DELAY_US_MAX;
use crate::region::{Access, FileOptions, Region, RegionOptions};
use crate::shard::{Attributes, Change};

/// A region in a directory that is removed with it.
struct Disk {
    region: Arc<Region>,
    dir: PathBuf,
}

impl Disk {
    fn new(shard_count: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("coremap-lane-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let options = RegionOptions {
            maxmemory_bytes: 64 << 20,
            shard_count,
        };
        let (region, _) =
            Region::open(&dir, FileOptions::new(options, Access::Serve)).expect("a new file");
        Self {
            region: Arc::new(region),
            dir,
        }
    }

    /// Lanes on it, with one connection to the first.
    fn lanes(&self, policy: &str) -> (Vec<Lane>, ConnectionId) {
        let count = u16::try_from(self.region.shard_count()).expect("few");
        let mut lanes = lanes_in(&self.region, 7, &Arc::new(Shared::new(count)));
        self.region.finish_recovery().expect("room on disk");
        for lane in &mut lanes {
            lane.core_mut().settings.appendfsync = policy.to_owned();
        }
        let id = lanes[0].connect(Peer::default(), NOW);
        (lanes, id)
    }

    fn sync(&self) {
        self.region.sync().expect("the disk takes it");
    }

    /// How far the logs are settled once nothing changes any more.
    fn settled(&self) -> Vec<u64> {
        (0..4).for_each(|_| self.sync());
        let shards = 0..u16::try_from(self.region.shard_count()).expect("few");
        shards
            .map(|shard| self.region.rounds().settled(shard))
            .collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What is sent once the first lane has looked at the rounds.
fn released(lanes: &mut [Lane], id: ConnectionId) -> String {
    let mut ready = Vec::new();
    lanes[0].exchange(NOW);
    lanes[0].take_ready(&mut ready);
    assert!(ready.contains(&id), "it is told");
    answer(lanes, id, "")
}

#[test]
fn under_always_what_was_written_is_acknowledged_when_it_is_on_disk() {
    let disk = Disk::new(2);
    let (mut lanes, id) = disk.lanes("always");
    for shard in 0..2 {
        let set = format!("SET {} 1\r\n", key_of(shard, 0));
        assert_eq!(answer(&mut lanes, id, &set), "");
        assert!(lanes[0].is_held(id));
        assert!(lanes[0].arm_doorbell(), "nothing to do before the round");
        assert!(disk.region.rounds().is_requested());
        disk.sync();
        assert!(!lanes[0].arm_doorbell(), "the round is to be looked at");
        assert_eq!(released(&mut lanes, id), "+OK\r\n");
        assert!(!lanes[0].is_held(id));
    }
}

#[test]
fn under_always_nothing_is_shown_that_a_power_loss_could_take_back() {
    let disk = Disk::new(2);
    let (mut lanes, writer) = disk.lanes("always");
    let reader = lanes[0].connect(Peer::default(), NOW);
    for shard in 0..2 {
        let key = key_of(shard, 0);
        let get = format!("GET {key}\r\n");
        assert_eq!(
            answer(&mut lanes, reader, &get),
            "$-1\r\n",
            "all is on disk"
        );
        answer(&mut lanes, writer, &format!("SET {key} 1\r\n"));
        assert_eq!(answer(&mut lanes, reader, &get), "");
        answer(&mut lanes, writer, &format!("EXPIRE {key} 100\r\n"));
        disk.sync();
        assert_eq!(released(&mut lanes, reader), "$1\r\n1\r\n");
        assert_eq!(answer(&mut lanes, writer, ""), "+OK\r\n:1\r\n");
        // A change in place moves no log.
        answer(&mut lanes, writer, &format!("EXPIRE {key} 200\r\n"));
        let ttl = format!("TTL {key}\r\n");
        assert_eq!(answer(&mut lanes, reader, &ttl), "");
        disk.sync();
        assert_eq!(released(&mut lanes, reader), ":200\r\n");
        assert_eq!(answer(&mut lanes, writer, ""), ":1\r\n");
    }
}

#[test]
fn a_pipeline_goes_on_behind_held_replies_and_leaves_in_order() {
    let disk = Disk::new(1);
    let (mut lanes, id) = disk.lanes("always");
    let count_to = |lanes: &mut [Lane], number: u32| {
        let command = format!("INCR counter\r\nECHO {number}\r\n");
        send(&mut lanes[0], id, command.as_bytes());
        lanes[0].turn(id, NOW);
        assert!(lanes[0].unsent(id).is_empty());
    };
    (0..3).for_each(|number| count_to(&mut lanes, number));
    disk.sync();
    (3..5).for_each(|number| count_to(&mut lanes, number));
    let first = released(&mut lanes, id);
    assert_eq!(first, ":1\r\n$1\r\n0\r\n:2\r\n$1\r\n1\r\n:3\r\n$1\r\n2\r\n");
    disk.sync();
    assert_eq!(
        released(&mut lanes, id),
        ":4\r\n$1\r\n3\r\n:5\r\n$1\r\n4\r\n"
    );
}

#[test]
fn a_core_that_is_never_idle_asks_for_its_round_after_a_while() {
    let disk = Disk::new(1);
    let (mut lanes, id) = disk.lanes("always");
    let after_us = |us: u64| Now {
        unix_us: NOW.unix_us + us,
    };
    for us in (0..ROUND_DELAY_US_MAX).step_by(50) {
        send(&mut lanes[0], id, b"INCR counter\r\n");
        lanes[0].turn(id, after_us(us));
        assert!(!disk.region.rounds().is_requested(), "{us}");
    }
    lanes[0].turn(id, after_us(ROUND_DELAY_US_MAX));
    assert!(disk.region.rounds().is_requested());
}

#[test]
fn every_second_and_on_request_nothing_is_held() {
    for policy in ["everysec", "no"] {
        let disk = Disk::new(1);
        let (mut lanes, id) = disk.lanes(policy);
        assert_eq!(answer(&mut lanes, id, "SET a 1\r\n"), "+OK\r\n");
        assert!(!disk.region.rounds().is_requested());
    }
}

#[test]
fn save_and_waitaof_wait_for_the_disk_and_what_is_behind_them_for_both() {
    let disk = Disk::new(2);
    let (mut lanes, id) = disk.lanes("everysec");
    for (command, reply) in [("SAVE", "+OK\r\n"), ("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n")] {
        let key = key_of(1, 0);
        let pipeline = format!("SET {key} 1\r\n{command}\r\nPING\r\n");
        assert_eq!(answer(&mut lanes, id, &pipeline), "+OK\r\n", "{command}");
        assert!(lanes[0].arm_doorbell());
        assert!(disk.region.rounds().is_requested());
        assert_eq!(lanes[0].turn(id, NOW), Turn::Waiting);
        disk.sync();
        assert_eq!(released(&mut lanes, id), format!("{reply}+PONG\r\n"));
    }
    // Everything is on disk by now.
    assert_eq!(
        answer(&mut lanes, id, "WAITAOF 1 0 0\r\n"),
        "*2\r\n:1\r\n:0\r\n"
    );
}

#[test]
fn waitaof_gives_up_when_its_time_is_over() {
    let disk = Disk::new(1);
    let (mut lanes, id) = disk.lanes("no");
    assert_eq!(
        answer(&mut lanes, id, "SET a 1\r\nWAITAOF 1 1 50\r\n"),
        "+OK\r\n"
    );
    let mut timers = Vec::new();
    lanes[0].take_timers(&mut timers);
    assert_eq!(timers.len(), 1);
    assert_eq!(
        (timers[0].connection, timers[0].due_ms),
        (id, NOW.ms() + 50)
    );
    let due = Now {
        unix_us: timers[0].due_ms * 1_000,
    };
    lanes[0].turn(id, due);
    let mut output = Vec::new();
    take(&mut lanes[0], id, &mut output);
    assert_eq!(output, b"*2\r\n:0\r\n:0\r\n");
}

#[test]
fn who_has_hung_up_waits_for_nothing_that_never_comes() {
    let disk = Disk::new(1);
    let (mut lanes, id) = disk.lanes("no");
    let command = "WAITAOF 0 1 1000000000000\r\nPING\r\n";
    assert_eq!(answer(&mut lanes, id, command), "");
    lanes[0].received_end(id);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Finished);
    assert!(lanes[0].unsent(id).is_empty());
}

#[test]
fn what_is_written_together_is_settled_together() {
    let disk = Disk::new(2);
    let (mut lanes, id) = disk.lanes("everysec");
    let [here, there] = [key_of(0, 0), key_of(1, 0)];
    for (commands, reply) in [
        (format!("MSET {here} 1 {there} 2\r\n"), "+OK\r\n"),
        (format!("MSETNX {here}x 1 {there}x 2\r\n"), ":1\r\n"),
        (format!("RENAME {here} {there}\r\n"), "+OK\r\n"),
        (format!("DEL {here} {there}\r\n"), ":1\r\n"),
        ("FLUSHALL\r\n".to_owned(), "+OK\r\n"),
    ] {
        let before = disk.settled();
        // The other core has not run its part: the transaction is open.
        send(&mut lanes[0], id, commands.as_bytes());
        lanes[0].turn(id, NOW);
        let open = disk.settled();
        assert_eq!(answer(&mut lanes, id, ""), reply, "{commands}");
        let closed = disk.settled();
        assert_eq!(before[1], open[1], "{commands}");
        assert!(closed[0] > open[0] && closed[1] > open[1], "{commands}");
        assert_eq!(disk.settled(), closed, "no transaction is open");
    }
}

#[test]
fn what_was_begun_together_is_finished_although_the_client_has_gone() {
    let disk = Disk::new(2);
    let (mut lanes, other) = disk.lanes("everysec");
    let keys: Vec<String> = (0..3000)
        .map(|number| key_of(number % 2, usize::from(number)))
        .collect();
    let mut mset = String::from("MSET");
    keys.iter()
        .for_each(|key| mset.push_str(&format!(" {key} v")));
    mset.push_str("\r\n");
    let settled = disk.settled();
    for turn_count in 0..4 {
        let id = lanes[0].connect(Peer::default(), NOW);
        send(&mut lanes[0], id, mset.as_bytes());
        (0..turn_count).for_each(|_| _ = lanes[0].turn(id, NOW));
        lanes[0].disconnect(id);
        assert_eq!(answer(&mut lanes, other, "PING\r\n"), "+PONG\r\n");
        assert!(lanes.iter().all(Lane::is_quiet));
        let expected = if turn_count == 0 {
            ":0\r\n"
        } else {
            ":3000\r\n"
        };
        assert_eq!(answer(&mut lanes, other, "DBSIZE\r\n"), expected);
    }
    let all_settled = disk.settled();
    assert!(
        all_settled
            .iter()
            .zip(&settled)
            .all(|(now, before)| now > before)
    );
    assert_eq!(disk.settled(), all_settled);
}

#[test]
fn a_transaction_over_two_shards_is_one_of_the_log() {
    let disk = Disk::new(2);
    let (mut lanes, id) = disk.lanes("no");
    let [a, b] = [0, 1].map(|shard| key_of(shard, 0));
    let before = disk.settled();
    send(
        &mut lanes[0],
        id,
        format!("MULTI\r\nSET {a} 1\r\nMSET {a} 2 {b} 2\r\nEXPIRE {b} 100\r\nEXEC\r\n").as_bytes(),
    );
    for _ in 0..3 {
        lanes[0].turn(id, NOW);
        lanes[1].exchange(NOW);
    }
    // Its client goes, and not all has come back.
    lanes[0].disconnect(id);
    let other = lanes[0].connect(Peer::default(), NOW);
    let reply = answer(&mut lanes, other, &format!("MGET {a} {b}\r\n"));
    assert_eq!(reply, "*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
    let after = disk.settled();
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before < after),
        "no transaction is left open: {before:?}, {after:?}"
    );
}

#[test]
fn a_transaction_that_is_committed_at_the_end_of_a_turn_leaves_nothing_held() {
    let disk = Disk::new(2);
    let (mut lanes, _) = disk.lanes("no");
    let id = lanes[1].connect(Peer::default(), NOW);
    let both = format!("{} 1 {} 1", key_of(0, 0), key_of(1, 0));
    let commands = [
        format!("MSET {both}\r\n"),
        format!("MSET {both}\r\nGET {}\r\n", key_of(1, 0)),
        format!("MULTI\r\nMSET {both}\r\nEXEC\r\n"),
    ];
    for commands in commands {
        send(&mut lanes[1], id, commands.as_bytes());
        while lanes[1].turn(id, NOW) == Turn::More {}
        // Who is not woken has no turn.
        run_ready(&mut lanes);
        let mut output = Vec::new();
        take(&mut lanes[1], id, &mut output);
        assert!(output.starts_with(b"+OK\r\n"), "{commands}");
        assert_free(&mut lanes);
    }
}

#[test]
fn a_watched_key_that_expires_without_room_to_say_so_has_changed() {
    let disk = Disk::new(1);
    let (mut lanes, id) = disk.lanes("no");
    answer(&mut lanes, id, "SET timed v PX 10\r\n");
    let shard = &mut lanes[0].parts.shard;
    shard.watch(shard.key(b"timed"), 7, NOW.ms());
    // Room that is kept for another write is none for a tombstone.
    let change = Change::Store {
        key: b"other",
        value: b"v",
        attributes: Attributes::default(),
    };
    assert_eq!(shard.prepare([change]), Ok(()));
    assert!(shard.is_unchanged(7, NOW.ms()));
    assert!(!shard.is_unchanged(7, NOW.ms() + 10));
    shard.release_room();
}
