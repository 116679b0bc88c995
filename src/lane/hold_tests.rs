//! Who may write when: holds that end in the middle of a turn, pauses, replies that are dropped, and
//! memory that runs out, each where it meets another.

use std::sync::Arc;

use super::exec_tests::{assert_free, run_ready, two_lanes};
use super::tests::{NOW, answer, command, exchange_all, key_of, lanes, lanes_in, send, take};
use super::{ConnectionId, Lane, Peer};
use crate::command::{Now, Shared};
use crate::hash::{cluster_slot, shard_of_slot};
use crate::region::{Region, RegionOptions};
use crate::shard::Eviction;

/// A key that `shard` of three owns.
fn key_of_three(shard: u16) -> String {
    let mut keys = (0..).map(|salt| format!("key:{salt}"));
    let is_its = |key: &String| shard_of_slot(cluster_slot(key.as_bytes()), 3) == shard;
    keys.find(is_its).expect("a third of all keys are")
}

/// What was answered so far and is not sent.
fn taken(lane: &mut Lane, id: ConnectionId) -> String {
    let mut output = Vec::new();
    take(lane, id, &mut output);
    String::from_utf8(output).expect("text")
}

/// Two lanes over a region of so many bytes.
fn small_lanes(maxmemory_bytes: u64) -> Vec<Lane> {
    let options = RegionOptions {
        maxmemory_bytes,
        shard_count: 2,
    };
    let region = Arc::new(Region::anonymous(options).expect("memory for a test"));
    lanes_in(&region, 5, &Arc::new(Shared::new(2)))
}

#[test]
fn a_connection_whose_hold_ends_in_the_middle_of_a_turn_keeps_off_a_shard_that_another_holds() {
    let mut lanes = lanes(3, 7);
    let [mine, second, third] = [0, 1, 2].map(key_of_three);
    let id = lanes[0].connect(Peer::default(), NOW);
    let other = lanes[2].connect(Peer::default(), NOW);
    // It holds the second shard and waits for no other when the first is given away.
    let sets = format!("SET {mine} early\r\n").repeat(3);
    let commands = format!("MSET {second} 1 {third} 1\r\n{sets}GET {mine}\r\n");
    send(&mut lanes[0], id, commands.as_bytes());
    lanes[0].turn(id, NOW);
    lanes[1].exchange(NOW);
    let mset = format!("MSET {mine} late {second} late\r\n");
    send(&mut lanes[2], other, mset.as_bytes());
    lanes[2].turn(other, NOW);
    lanes[0].exchange(NOW);
    assert!(lanes[0].parts.gate.is_held());
    for _ in 0..10 {
        exchange_all(&mut lanes, 1);
        lanes[0].turn(id, NOW);
        assert_eq!(lanes[0].shard().len(), 0, "it wrote to a shard of another");
    }
    for _ in 0..10 {
        lanes[2].turn(other, NOW);
        exchange_all(&mut lanes, 1);
        lanes[0].turn(id, NOW);
    }
    assert_eq!(taken(&mut lanes[2], other), "+OK\r\n");
    let replies = format!("{}$5\r\nearly\r\n", "+OK\r\n".repeat(4));
    assert_eq!(taken(&mut lanes[0], id), replies);
    assert_free(&mut lanes);
}

#[test]
fn a_batch_that_was_kept_out_is_let_in_before_the_next_hold() {
    let mut lanes = lanes(3, 7);
    let [second, third] = [1, 2].map(key_of_three);
    let holder = lanes[0].connect(Peer::default(), NOW);
    let kept_out = lanes[2].connect(Peer::default(), NOW);
    let own = [0, 1].map(|_| lanes[1].connect(Peer::default(), NOW));
    let mset = format!("MSET {second} 1 {third} 1\r\n");
    send(&mut lanes[0], holder, mset.as_bytes());
    lanes[0].turn(holder, NOW);
    lanes[1].exchange(NOW);
    let set = format!("SET {second} 2\r\n");
    send(&mut lanes[2], kept_out, set.as_bytes());
    lanes[2].turn(kept_out, NOW);
    lanes[1].exchange(NOW);
    // Two on the spot hold the shard by turns, each as soon as the other has let go.
    let mut own = own.into_iter().cycle();
    let mut running = None;
    let mut holds_left = 20;
    while taken(&mut lanes[2], kept_out).is_empty() {
        exchange_all(&mut lanes, 1);
        lanes[0].turn(holder, NOW);
        lanes[2].turn(kept_out, NOW);
        if let Some(id) = running {
            lanes[1].turn(id, NOW);
        }
        if !lanes[1].parts.gate.is_held() {
            holds_left -= 1;
            assert!(holds_left > 0, "it is kept out for ever");
            let next = own.next().expect("two");
            send(&mut lanes[1], next, mset.as_bytes());
            lanes[1].turn(next, NOW);
            running = Some(next);
        }
    }
}

#[test]
fn a_parked_batch_that_a_hold_keeps_out_asks_for_a_pass_to_be_known() {
    let mut lanes = lanes(3, 7);
    let [second, third] = [1, 2].map(key_of_three);
    let reader = lanes[0].connect(Peer::default(), NOW);
    let holder = lanes[1].connect(Peer::default(), NOW);
    let value = vec![b'v'; 3 << 20];
    let set = command(&[b"SET", second.as_bytes(), &value]);
    send(&mut lanes[1], holder, &set);
    while taken(&mut lanes[1], holder).is_empty() {
        lanes[1].turn(holder, NOW);
    }
    // A slice of it is done when the shard is given to another.
    let digest = format!("DIGEST {second}\r\n");
    send(&mut lanes[0], reader, digest.as_bytes());
    lanes[0].turn(reader, NOW);
    lanes[1].exchange(NOW);
    let mset = format!("MSET {second} 1 {third} 1\r\n");
    send(&mut lanes[1], holder, mset.as_bytes());
    lanes[1].turn(holder, NOW);
    let is_idle = |lane: &Lane| lane.service.is_idle(&lane.parts.gate);
    assert!(lanes[1].parts.gate.is_held());
    assert!(!is_idle(&lanes[1]));
    lanes[1].exchange(NOW);
    assert!(lanes[1].parts.gate.is_held() && is_idle(&lanes[1]));
}

#[test]
fn of_commands_that_come_together_none_takes_the_room_of_another() {
    let mut lanes = small_lanes(24 << 20);
    let id = lanes[0].connect(Peer::default(), NOW);
    let value = vec![b'v'; 30_000];
    let mut refused_count = 0;
    for round in 0..120 {
        let numbers = round * 6..(round + 1) * 6;
        let keys = |number| [key_of(0, number), key_of(1, number)];
        for [a, b] in numbers.clone().map(keys) {
            let mset = [b"MSET", a.as_bytes(), &value, b.as_bytes(), &value];
            send(&mut lanes[0], id, &command(&mset));
        }
        let replies = answer(&mut lanes, id, "");
        for (reply, [a, b]) in replies.split_terminator("\r\n").zip(numbers.map(keys)) {
            let exists = answer(&mut lanes, id, &format!("EXISTS {a} {b}\r\n"));
            let is_done = reply == "+OK";
            assert!(is_done || reply.starts_with("-OOM"), "{reply}");
            let expected = if is_done { ":2\r\n" } else { ":0\r\n" };
            assert_eq!(exists, expected, "half of a command was done");
            refused_count += u32::from(!is_done);
        }
    }
    assert!(refused_count > 10, "{refused_count}");
    assert_free(&mut lanes);
}

#[test]
fn commands_over_shards_that_keep_room_evict_ahead_like_others() {
    let mut lanes = small_lanes(24 << 20);
    for lane in &mut lanes {
        lane.parts
            .shard
            .set_eviction(Eviction::Any { by_use: false });
    }
    let id = lanes[0].connect(Peer::default(), NOW);
    let value = [b'v'; 20_000];
    for number in 0..1500 {
        let [a, b] = [key_of(0, number), key_of(1, number)];
        let mset = [b"MSET", a.as_bytes(), &value, b.as_bytes(), &value];
        send(&mut lanes[0], id, &command(&mset));
        assert_eq!(answer(&mut lanes, id, ""), "+OK\r\n");
    }
    let counts = lanes
        .iter()
        .map(|lane| lane.shard().stats().emergency_count);
    assert!(counts.sum::<u64>() <= 8);
    assert_free(&mut lanes);
}

#[test]
fn a_pause_does_not_stop_who_waits_for_shards_or_holds_some() {
    let mut lanes = lanes(2, 77);
    let [operator, id] = [(); 2].map(|()| lanes[1].connect(Peer::default(), NOW));
    let mset = format!("MSET {} 1 {} 1\r\n", key_of(0, 0), key_of(1, 0));
    send(&mut lanes[1], id, mset.as_bytes());
    lanes[1].turn(id, NOW);
    lanes[0].exchange(NOW);
    assert!(lanes[0].parts.gate.is_held());
    send(&mut lanes[1], operator, b"CLIENT PAUSE 10000 WRITE\r\n");
    lanes[1].turn(operator, NOW);
    assert!(lanes[1].core().pause.is_some());
    run_ready(&mut lanes);
    assert_eq!(taken(&mut lanes[1], id), "+OK\r\n");
    // The next one waits.
    send(&mut lanes[1], id, mset.as_bytes());
    lanes[1].turn(id, NOW);
    run_ready(&mut lanes);
    assert_eq!(taken(&mut lanes[1], id), "");
    assert_free(&mut lanes);
}

#[test]
fn a_transaction_that_writes_waits_for_the_end_of_a_pause_of_writes() {
    let (mut lanes, id) = two_lanes();
    let [reader, operator] = [(); 2].map(|()| lanes[0].connect(Peer::default(), NOW));
    let key = key_of(1, 0);
    answer(&mut lanes, id, &format!("MULTI\r\nINCR {key}\r\n"));
    answer(&mut lanes, reader, &format!("MULTI\r\nGET {key}\r\n"));
    answer(&mut lanes, operator, "CLIENT PAUSE 10000 WRITE\r\n");
    assert_eq!(answer(&mut lanes, id, "EXEC\r\n"), "");
    assert_eq!(answer(&mut lanes, reader, "EXEC\r\n"), "*1\r\n$-1\r\n");
    answer(&mut lanes, operator, "CLIENT UNPAUSE\r\n");
    assert_eq!(answer(&mut lanes, id, ""), "*1\r\n:1\r\n");
}

#[test]
fn what_is_refused_whatever_happens_does_not_wait_for_the_end_of_a_pause() {
    let (mut lanes, id) = two_lanes();
    let operator = lanes[0].connect(Peer::default(), NOW);
    answer(&mut lanes, id, "MULTI\r\n");
    answer(&mut lanes, operator, "CLIENT PAUSE 10000 ALL\r\n");
    let reply = answer(&mut lanes, id, "SAVE\r\nNOSUCH\r\nSET a 1\r\n");
    assert_eq!(reply.matches("-ERR").count(), 2, "{reply}");
    assert!(!reply.contains("QUEUED"), "{reply}");
}

#[test]
fn who_is_refused_while_it_is_paused_waits_for_the_pause_no_more() {
    let (mut lanes, id) = two_lanes();
    let operator = lanes[0].connect(Peer::default(), NOW);
    answer(&mut lanes, operator, "CLIENT PAUSE 10000 ALL\r\n");
    let waiting_count = |lanes: &[Lane]| {
        let clients = lanes[0].core().clients.iter();
        clients.filter(|(_, session)| session.is_waiting()).count()
    };
    assert_eq!(answer(&mut lanes, id, "SET a 1\r\n"), "");
    assert_eq!(waiting_count(&lanes), 1);
    let core = lanes[0].core_mut();
    core.shared.loading.begin(NOW.ms());
    core.is_loading = true;
    assert!(answer(&mut lanes, id, "").starts_with("-LOADING"));
    assert_eq!(waiting_count(&lanes), 0);
}

#[test]
fn who_is_paused_is_not_idle() {
    let (mut lanes, id) = two_lanes();
    let operator = lanes[0].connect(Peer::default(), NOW);
    answer(&mut lanes, operator, "CLIENT PAUSE 10000 ALL\r\n");
    assert_eq!(answer(&mut lanes, id, "SET a 1\r\n"), "");
    lanes[0].core_mut().settings.timeout_s = 1;
    for second in 1..4 {
        lanes[0].sweep(Now {
            unix_us: NOW.unix_us + second * 1_000_000,
        });
    }
    assert_eq!(lanes[0].core().stats.idle_disconnections, 1);
    let operator = lanes[0].connect(Peer::default(), NOW);
    answer(&mut lanes, operator, "CLIENT UNPAUSE\r\n");
    assert_eq!(answer(&mut lanes, id, ""), "+OK\r\n");
}

#[test]
fn a_command_that_waits_for_shards_is_the_one_whose_reply_is_skipped() {
    let (mut lanes, _) = two_lanes();
    let id = lanes[1].connect(Peer::default(), NOW);
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    // The hold of the first shard takes a way there and back.
    let commands = format!(
        "SET {b} 0\r\nCLIENT REPLY SKIP\r\nMSET {a} 1 {b} 1\r\nGET {a}\r\n\
         MULTI\r\nINCR {a}\r\nINCR {b}\r\nCLIENT REPLY SKIP\r\nNOSUCH\r\nPING\r\n"
    );
    send(&mut lanes[1], id, commands.as_bytes());
    lanes[1].turn(id, NOW);
    run_ready(&mut lanes);
    let queued = "+QUEUED\r\n".repeat(3);
    let replies = taken(&mut lanes[1], id);
    let expected = format!("+OK\r\n$1\r\n1\r\n+OK\r\n{queued}");
    let rest = replies.strip_prefix(&expected).expect("one is skipped");
    assert!(rest.starts_with("-ERR unknown command"), "{rest}");
    send(
        &mut lanes[1],
        id,
        b"DISCARD\r\nCLIENT REPLY SKIP\r\nNOSUCH\r\nPING\r\n",
    );
    lanes[1].turn(id, NOW);
    run_ready(&mut lanes);
    assert_eq!(taken(&mut lanes[1], id), "+OK\r\n+PONG\r\n");
    assert_free(&mut lanes);
}

#[test]
fn a_client_that_goes_while_it_begins_to_watch_leaves_no_watch_behind() {
    for turn_count in 1..4 {
        let (mut lanes, id) = two_lanes();
        let watch = format!("WATCH {} {}\r\n", key_of(0, 0), key_of(1, 0));
        send(&mut lanes[0], id, watch.as_bytes());
        for _ in 0..turn_count {
            lanes[0].turn(id, NOW);
        }
        lanes[0].disconnect(id);
        run_ready(&mut lanes);
        assert!(lanes.iter().all(|lane| !lane.shard().has_watches()));
        assert_free(&mut lanes);
    }
}

#[test]
fn a_command_of_more_parts_than_a_word_can_number_does_all_of_them() {
    let (mut lanes, id) = two_lanes();
    let count = 70_000;
    let names: Vec<String> = (0..count).map(|number| format!("n:{number}")).collect();
    let mut msetnx = vec![&b"MSETNX"[..]];
    msetnx.extend(names.iter().flat_map(|name| [name.as_bytes(), b"1"]));
    send(&mut lanes[0], id, &command(&msetnx));
    let mut reply = String::new();
    for _ in 0..100 {
        reply += &answer(&mut lanes, id, "");
        if !reply.is_empty() {
            break;
        }
    }
    assert_eq!(reply, ":1\r\n");
    assert_eq!(
        answer(&mut lanes, id, "DBSIZE\r\n"),
        format!(":{count}\r\n")
    );
    assert_free(&mut lanes);
}

#[test]
fn without_memory_nothing_is_queued_and_nothing_of_the_queue_runs() {
    let mut lanes = small_lanes(8 << 20);
    let id = lanes[0].connect(Peer::default(), NOW);
    let queueing = lanes[0].connect(Peer::default(), NOW);
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    answer(&mut lanes, queueing, &format!("MULTI\r\nSET {b} 1\r\n"));
    let value = "v".repeat(30_000);
    for number in 0..400 {
        for shard in 0..2 {
            let key = key_of(shard, number);
            answer(&mut lanes, id, &format!("SET {key} {value}\r\n"));
        }
    }
    // Smaller and smaller ones, so that no rest of a block is left.
    for len_bytes in [1000, 30] {
        let value = "v".repeat(len_bytes);
        for number in 1000..2500 {
            answer(
                &mut lanes,
                id,
                &format!("SET s:{len_bytes}:{number} {value}\r\n"),
            );
        }
    }
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    let queued = answer(
        &mut lanes,
        id,
        &format!("MULTI\r\nSET {a} 1\r\nEXEC\r\nPING\r\n"),
    );
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(queued, format!("+OK\r\n-{oom}\r\n{aborted}\r\n+PONG\r\n"));
    let late = answer(&mut lanes, queueing, "EXEC\r\nPING\r\n");
    let aborted = "-EXECABORT Transaction discarded because of:";
    assert_eq!(late, format!("{aborted} {oom}\r\n+PONG\r\n"));
    // A transaction of commands that need no memory can still be given up, and queued once there is some.
    let freed = answer(&mut lanes, id, "FLUSHALL\r\nMULTI\r\nGET x\r\nEXEC\r\n");
    assert_eq!(freed, "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    assert_free(&mut lanes);
}

#[test]
fn who_is_paused_is_not_unblocked_and_who_waits_for_replicas_is() {
    let (mut lanes, id) = two_lanes();
    let [waiting, operator] = [(); 2].map(|()| lanes[0].connect(Peer::default(), NOW));
    let name = |lanes: &mut Vec<Lane>, id| {
        let reply = answer(lanes, id, "CLIENT ID\r\n");
        reply[1..].trim_end().to_owned()
    };
    let ids = [id, waiting].map(|id| name(&mut lanes, id));
    // Its last command was one that waits, which is over.
    assert_eq!(answer(&mut lanes, id, "WAIT 0 0\r\n"), ":0\r\n");
    assert_eq!(answer(&mut lanes, waiting, "WAIT 1 0\r\n"), "");
    answer(&mut lanes, operator, "CLIENT PAUSE 10000 WRITE\r\n");
    assert_eq!(answer(&mut lanes, id, "SET a 1\r\n"), "");
    let list = answer(&mut lanes, operator, "CLIENT LIST\r\n");
    assert_eq!(list.matches("flags=b").count(), 2, "{list}");
    let unblock = |id: &str| format!("CLIENT UNBLOCK {id}\r\n");
    assert_eq!(answer(&mut lanes, operator, &unblock(&ids[0])), ":0\r\n");
    assert_eq!(answer(&mut lanes, operator, &unblock(&ids[1])), ":1\r\n");
    assert_eq!(answer(&mut lanes, waiting, ""), ":0\r\n");
    // A time that is over is over for good.
    let later = Now {
        unix_us: NOW.unix_us + 11_000_000,
    };
    lanes[0].turn(id, later);
    run_ready(&mut lanes);
    assert_eq!(answer(&mut lanes, id, ""), "+OK\r\n");
}

#[test]
fn what_a_client_looks_up_that_does_not_touch_is_no_use_of_the_key() {
    let (mut lanes, id) = two_lanes();
    for lane in &mut lanes {
        lane.parts
            .shard
            .set_eviction(Eviction::Any { by_use: true });
    }
    let keys = [key_of(0, 0), key_of(1, 0)];
    let [a, b] = &keys;
    let uses = |lanes: &mut [Lane]| {
        let shards = lanes.iter_mut().map(|lane| &mut lane.parts.shard);
        let uses = shards.zip(&keys).map(|(shard, key)| {
            let key = shard.key(key.as_bytes());
            shard.use_count(key, NOW.ms())
        });
        uses.collect::<Option<Vec<_>>>().expect("both are there")
    };
    answer(&mut lanes, id, &format!("SET {a} 1\r\nSET {b} 1\r\n"));
    assert_eq!(uses(&mut lanes), [0, 0]);
    // The first is sent before the switch, whenever it runs.
    let quiet = format!(
        "INCR {b}\r\nCLIENT NO-TOUCH on\r\nGET {a}\r\nGET {b}\r\nMGET {a} {b}\r\nINCR {a}\r\nINCR {b}\r\n"
    );
    answer(&mut lanes, id, &quiet);
    let before = uses(&mut lanes);
    assert_eq!(before[0], 0);
    answer(
        &mut lanes,
        id,
        &quiet[quiet.find("GET").expect("it has one")..],
    );
    assert_eq!(uses(&mut lanes), before);
    let others = lanes[0].connect(Peer::default(), NOW);
    let touch = format!("TOUCH {a}\r\nTOUCH {b}\r\n");
    answer(&mut lanes, id, &touch);
    let touched = uses(&mut lanes);
    assert_eq!(touched, [before[0] + 1, before[1] + 1]);
    answer(&mut lanes, others, &format!("GET {a}\r\nGET {b}\r\n"));
    assert!(
        uses(&mut lanes)
            .iter()
            .zip(&touched)
            .all(|(now, then)| now >= then)
    );
    assert!(uses(&mut lanes)[0] > touched[0]);
}
