//! Transactions as a client sees them, and what they leave behind.

use super::tests::{NOW, answer, command, key_of, lanes, lanes_in, send};
use super::{ConnectionId, Lane, Peer, Turn};
use crate::command::Shared;
use crate::limits::RING_CAPACITY;
use crate::region::{Region, RegionOptions};
use std::sync::Arc;

pub(super) fn two_lanes() -> (Vec<Lane>, ConnectionId) {
    let mut lanes = lanes(2, 77);
    let id = lanes[0].connect(Peer::default(), NOW);
    (lanes, id)
}

/// Sends each command alone and compares what it is answered, line ends left out.
fn expect(lanes: &mut [Lane], id: ConnectionId, dialogue: &[(&str, &str)]) {
    for (command, expected) in dialogue {
        let reply = answer(lanes, id, &format!("{command}\r\n"));
        let reply = reply.replace("\r\n", " ");
        assert_eq!(reply.trim_end(), *expected, "{command}");
    }
}

/// Whether nobody holds or waits for anything.
pub(super) fn assert_free(lanes: &mut [Lane]) {
    assert!(lanes.iter().all(Lane::is_quiet));
    for lane in lanes {
        assert!(!lane.must_exchange());
        assert!(!lane.parts.gate.is_held(), "a shard is still held");
    }
}

#[test]
fn transactions_are_queued_run_and_discarded_in_the_words_of_redis() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let set_both = (format!("SET {a} 1"), format!("INCR {b}"));
    let discarded = "-EXECABORT Transaction discarded because of previous errors.";
    expect(
        &mut lanes,
        id,
        &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH x", "-ERR WATCH inside MULTI is not allowed"),
            (&set_both.0, "+QUEUED"),
            (&set_both.1, "+QUEUED"),
            ("PING", "+QUEUED"),
            ("DBSIZE", "+QUEUED"),
            ("EXEC", "*4 +OK :1 +PONG :2"),
            ("MULTI", "+OK"),
            ("EXEC", "*0"),
            ("MULTI", "+OK"),
            (
                "NOSUCH",
                "-ERR unknown command 'NOSUCH', with args beginning with: ",
            ),
            (&set_both.0, "+QUEUED"),
            ("EXEC", discarded),
            ("MULTI", "+OK"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("EXEC", discarded),
            ("MULTI", "+OK"),
            ("SAVE", "-ERR Command not allowed inside a transaction"),
            ("DISCARD", "+OK"),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("MULTI", "+OK"),
            (
                "EXEC 1",
                "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' \
                 command",
            ),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("MULTI", "+OK"),
            ("RESET", "+RESET"),
            ("EXEC", "-ERR EXEC without MULTI"),
        ]
        .map(|(command, reply)| (command, reply.trim_end())),
    );
    assert_free(&mut lanes);
}

#[test]
fn a_command_that_fails_in_a_transaction_fails_alone() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let commands = format!("SET {a} x\r\nMULTI\r\nINCR {a}\r\nINCR {b}\r\nEXEC\r\nGET {b}\r\n");
    let reply = answer(&mut lanes, id, &commands);
    let error = "-ERR value is not an integer or out of range";
    let expected =
        format!("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{error}\r\n:1\r\n$1\r\n1\r\n");
    assert_eq!(reply, expected);
}

#[test]
fn a_transaction_whose_watched_key_has_changed_runs_nothing() {
    let (mut lanes, id) = two_lanes();
    let other = lanes[0].connect(Peer::default(), NOW);
    for shard in 0..2 {
        let key = key_of(shard, 0);
        answer(
            &mut lanes,
            id,
            &format!("WATCH {key}\r\nMULTI\r\nSET {key} mine\r\n"),
        );
        answer(&mut lanes, other, &format!("SET {key} theirs\r\n"));
        let commands = format!("EXEC\r\nGET {key}\r\n");
        assert_eq!(answer(&mut lanes, id, &commands), "*-1\r\n$6\r\ntheirs\r\n");
        // A watch is for one EXEC, and UNWATCH ends it as well.
        answer(
            &mut lanes,
            id,
            &format!("WATCH {key}\r\nUNWATCH\r\nMULTI\r\nGET {key}\r\n"),
        );
        answer(&mut lanes, other, &format!("DEL {key}\r\n"));
        assert_eq!(answer(&mut lanes, id, "EXEC\r\n"), "*1\r\n$-1\r\n");
    }
    answer(&mut lanes, id, "HELLO 3\r\nWATCH x\r\nSET x 1\r\nMULTI\r\n");
    assert_eq!(answer(&mut lanes, id, "EXEC\r\n"), "_\r\n");
    assert_free(&mut lanes);
}

#[test]
fn a_client_that_goes_in_a_transaction_leaves_nothing_held_or_watched() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let begun = format!("WATCH {a} {b}\r\nMULTI\r\nINCR {a}\r\nINCR {b}\r\n");
    for turn_count in 0..6 {
        let client = lanes[0].connect(Peer::default(), NOW);
        answer(&mut lanes, client, &begun);
        send(&mut lanes[0], client, b"EXEC\r\n");
        for _ in 0..turn_count {
            lanes[0].turn(client, NOW);
            lanes[1].exchange(NOW);
        }
        lanes[0].disconnect(client);
        answer(&mut lanes, id, "PING\r\n");
        assert_free(&mut lanes);
        let reply = answer(&mut lanes, id, &format!("MGET {a} {b}\r\n"));
        let lines: Vec<&str> = reply.split("\r\n").collect();
        let [first, second] = [&lines[1..3], &lines[lines.len() - 3..lines.len() - 1]];
        assert!(
            first == second || reply == "*2\r\n$-1\r\n$-1\r\n",
            "{reply:?}"
        );
    }
}

#[test]
fn a_transaction_goes_on_behind_a_command_that_closes_its_connection() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let commands = format!("MULTI\r\nEXIT\r\nINCR {a}\r\nINCR {b}\r\nEXEC\r\nPING\r\n");
    let replies = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:1\r\n:1\r\n";
    assert_eq!(answer(&mut lanes, id, &commands), replies);
    lanes[0].disconnect(id);
    assert_free(&mut lanes);
}

#[test]
fn a_client_that_does_not_read_holds_nothing() {
    let (mut lanes, id) = two_lanes();
    let other = lanes[0].connect(Peer::default(), NOW);
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let value = vec![b'v'; 100_000];
    send(&mut lanes[0], id, &command(&[b"SET", b.as_bytes(), &value]));
    answer(&mut lanes, id, "");
    let gets = format!("GET {b}\r\n").repeat(100);
    send(
        &mut lanes[0],
        id,
        format!("MULTI\r\n{gets}INCR {a}\r\nEXEC\r\n").as_bytes(),
    );
    for _ in 0..100 {
        lanes[0].turn(id, NOW);
        lanes.iter_mut().for_each(|lane| {
            lane.exchange(NOW);
        });
    }
    assert_eq!(
        answer(&mut lanes, other, &format!("INCR {a}\r\n")),
        ":2\r\n"
    );
    assert!(answer(&mut lanes, id, "").ends_with(":1\r\n"));
    assert_free(&mut lanes);
}

#[test]
fn a_client_that_goes_while_it_waits_for_a_hold_is_forgotten() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let mset = format!("MSET {a} 1 {b} 1\r\n");
    let far = lanes[1].connect(Peer::default(), NOW);
    // The first has shard 0 and is on its way to shard 1, the others wait behind it.
    send(&mut lanes[0], id, mset.as_bytes());
    lanes[0].turn(id, NOW);
    let waiting: Vec<_> = (0..3)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    for client in &waiting {
        send(&mut lanes[0], *client, mset.as_bytes());
        lanes[0].turn(*client, NOW);
    }
    send(&mut lanes[1], far, mset.as_bytes());
    lanes[1].turn(far, NOW);
    lanes[1].disconnect(far);
    lanes[0].disconnect(waiting[1]);
    assert_eq!(answer(&mut lanes, id, ""), "+OK\r\n");
    assert_eq!(answer(&mut lanes, waiting[0], ""), "+OK\r\n");
    assert_eq!(answer(&mut lanes, waiting[2], ""), "+OK\r\n");
    assert_free(&mut lanes);
}

#[test]
fn an_mset_over_two_shards_of_which_one_is_full_changes_neither() {
    let options = RegionOptions {
        maxmemory_bytes: 24 << 20,
        shard_count: 2,
    };
    let region = Arc::new(Region::anonymous(options).expect("memory for a test"));
    let mut lanes = lanes_in(&region, 5, &Arc::new(Shared::new(2)));
    let id = lanes[0].connect(Peer::default(), NOW);
    let value = vec![b'v'; 60_000];
    let mut refused_count = 0;
    for number in 0..400 {
        let (a, b) = (key_of(0, number), key_of(1, number));
        let mset = [b"MSET", a.as_bytes(), &value, b.as_bytes(), &value];
        send(&mut lanes[0], id, &command(&mset));
        let reply = answer(&mut lanes, id, "");
        let exists = answer(&mut lanes, id, &format!("EXISTS {a} {b}\r\n"));
        if reply == "+OK\r\n" {
            assert_eq!(exists, ":2\r\n");
        } else {
            assert!(reply.starts_with("-OOM"), "{reply}");
            assert_eq!(exists, ":0\r\n", "half of a command was done");
            refused_count += 1;
        }
    }
    assert!(refused_count > 10, "{refused_count}");
    // What is removed makes room again, and nothing is kept for those that were refused.
    let keys: Vec<String> = (0..400)
        .flat_map(|number| [key_of(0, number), key_of(1, number)])
        .collect();
    answer(&mut lanes, id, &format!("DEL {}\r\n", keys.join(" ")));
    assert_eq!(
        answer(
            &mut lanes,
            id,
            &format!("MSET {} 1 {} 1\r\n", keys[0], keys[1])
        ),
        "+OK\r\n"
    );
    assert_free(&mut lanes);
}

#[test]
fn keys_of_two_shards_are_read_without_a_hold_unless_they_change_meanwhile() {
    let (mut lanes, id) = two_lanes();
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    answer(&mut lanes, id, &format!("MSET {a} 1 {b} 2\r\n"));
    let holds = |lanes: &[Lane]| {
        lanes
            .iter()
            .map(|lane| lane.core().stats.holds)
            .sum::<u64>()
    };
    let before = holds(&lanes);
    let reply = answer(
        &mut lanes,
        id,
        &format!("MGET {a} {b} none\r\nEXISTS {a} {b} none\r\n"),
    );
    assert_eq!(reply, "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n:2\r\n");
    assert_eq!(holds(&lanes), before);
    // Nobody but its owner reads a large value.
    let large = "v".repeat(300_000);
    let set = [b"SET", b.as_bytes(), large.as_bytes()];
    send(&mut lanes[0], id, &command(&set));
    answer(&mut lanes, id, "");
    let reply = answer(&mut lanes, id, &format!("MGET {a} {b}\r\n"));
    assert_eq!(reply, format!("*2\r\n$1\r\n1\r\n$300000\r\n{large}\r\n"));
    assert_eq!(holds(&lanes), before + 2);
    assert_free(&mut lanes);
}

#[test]
fn a_connection_that_closes_while_it_holds_shards_is_told_to_be_finished() {
    for lane_count in [1, 2] {
        for begun in ["FLUSHALL\r\n", "MULTI\r\nPING\r\nDBSIZE\r\nEXEC\r\n"] {
            let mut lanes = lanes(lane_count, 77);
            let id = lanes[0].connect(Peer::default(), NOW);
            send(&mut lanes[0], id, format!("{begun}*x\r\n").as_bytes());
            let turns = (0..20).map(|_| {
                lanes.iter_mut().for_each(|lane| {
                    lane.exchange(NOW);
                });
                lanes[0].turn(id, NOW)
            });
            let turns: Vec<_> = turns.take_while(|turn| *turn != Turn::Finished).collect();
            // A connection that is idle is given no turn until more comes, and then nothing does.
            assert!(!turns.contains(&Turn::Idle), "{begun:?}: {turns:?}");
            assert!(turns.len() < 20, "{begun:?}: {turns:?}");
            run_ready(&mut lanes);
            assert_free(&mut lanes);
        }
    }
}

/// A connection whose release of shard 1 finds no room: the ring is full of batches that wait for it,
/// of the other connections. It is owed nothing.
fn with_release_held_back() -> (Vec<Lane>, ConnectionId, Vec<ConnectionId>) {
    let (mut lanes, id) = two_lanes();
    let key = key_of(1, 0);
    let held = format!("WATCH {key}\r\nMULTI\r\nPING\r\n");
    answer(&mut lanes, id, &held);
    send(&mut lanes[0], id, b"EXEC\r\n");
    lanes[0].turn(id, NOW);
    for _ in 0..3 {
        lanes[1].exchange(NOW);
    }
    assert!(lanes[1].parts.gate.is_held());
    let others: Vec<_> = (0..RING_CAPACITY)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    for other in &others {
        send(&mut lanes[0], *other, format!("INCR {key}\r\n").as_bytes());
        lanes[0].turn(*other, NOW);
    }
    lanes[0].exchange(NOW);
    lanes[0].turn(id, NOW);
    (lanes, id, others)
}

/// Runs both lanes as cores do that sleep when nothing is due: only who is ready has a turn.
pub(super) fn run_ready(lanes: &mut [Lane]) {
    let mut ready = Vec::new();
    while lanes.iter_mut().any(Lane::must_exchange) {
        for lane in &mut *lanes {
            lane.exchange(NOW);
            lane.take_ready(&mut ready);
            for id in ready.drain(..) {
                while lane.turn(id, NOW) == Turn::More {}
            }
        }
    }
}

#[test]
fn a_release_without_room_is_sent_although_its_client_is_gone() {
    let (mut lanes, id, others) = with_release_held_back();
    lanes[0].disconnect(id);
    run_ready(&mut lanes);
    for (number, other) in others.iter().enumerate() {
        let reply = format!(":{}\r\n", number + 1);
        assert_eq!(answer(&mut lanes, *other, ""), reply);
    }
    assert_free(&mut lanes);
}

#[test]
fn a_release_without_room_is_sent_as_soon_as_there_is_some_although_nothing_comes_back() {
    let (mut lanes, id, others) = with_release_held_back();
    // Another holds shard 0 meanwhile, and waits for shard 1: it keeps out who has yet to release it.
    let last = lanes[0].connect(Peer::default(), NOW);
    let mset = format!("MSET {} 1 {} 1\r\n", key_of(0, 1), key_of(1, 1));
    send(&mut lanes[0], last, mset.as_bytes());
    lanes[0].turn(last, NOW);
    send(&mut lanes[0], id, b"PING\r\n");
    run_ready(&mut lanes);
    assert_eq!(answer(&mut lanes, last, ""), "+OK\r\n");
    assert!(answer(&mut lanes, id, "").ends_with("+PONG\r\n+PONG\r\n"));
    for (number, other) in others.iter().enumerate() {
        let reply = format!(":{}\r\n", number + 1);
        assert_eq!(answer(&mut lanes, *other, ""), reply);
    }
    assert_free(&mut lanes);
}

#[test]
fn a_command_that_is_refused_after_it_waited_for_shards_lets_go_of_them() {
    let (mut lanes, _) = two_lanes();
    let id = lanes[1].connect(Peer::default(), NOW);
    let mset = format!("MSET {} 1 {} 1\r\n", key_of(0, 0), key_of(1, 0));
    send(&mut lanes[1], id, mset.as_bytes());
    lanes[1].turn(id, NOW);
    // What a connection may do can change while it waits.
    let client = lanes[1].by_client.iter().position(|it| *it == id);
    let core = lanes[1].core_mut();
    core.settings.requirepass = "secret".into();
    core.clients[client.expect("it is there")].is_authenticated = false;
    run_ready(&mut lanes);
    assert!(lanes[1].unsent(id).starts_with(b"-NOAUTH"));
    assert_free(&mut lanes);
}

#[test]
fn a_core_does_not_sleep_on_what_a_client_that_has_gone_released() {
    let (mut lanes, id) = two_lanes();
    let far = lanes[1].connect(Peer::default(), NOW);
    let mset = format!("MSET {} 1 {} 1\r\n", key_of(0, 0), key_of(1, 0));
    send(&mut lanes[0], id, mset.as_bytes());
    lanes[0].turn(id, NOW);
    lanes[1].exchange(NOW);
    lanes[0].exchange(NOW);
    // The first has yet to release shard 0 when it goes, and the other waits for that.
    send(&mut lanes[1], far, mset.as_bytes());
    lanes[1].turn(far, NOW);
    lanes[0].exchange(NOW);
    lanes[0].disconnect(id);
    assert!(lanes[0].exchange(NOW), "there is a hold to give");
    run_ready(&mut lanes);
    assert_eq!(lanes[1].unsent(far), b"+OK\r\n");
    assert_free(&mut lanes);
}
