//! Connections that go, or are made to, while other cores still work for them.

use super::*;

/// Stores a value through a connection of the first core.
fn store(lanes: &mut [Lane], id: ConnectionId, key: &str, value: &[u8]) {
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", key.as_bytes(), value]),
    );
    assert_eq!(run_until(lanes, id, 5), b"+OK\r\n");
}

/// A turn of a RENAME, after which it waits for another core.
fn begin_rename(lane: &mut Lane, id: ConnectionId, source: &str, target: &str) {
    let bytes = command(&[b"RENAME", source.as_bytes(), target.as_bytes()]);
    send(lane, id, &bytes);
    assert_eq!(lane.turn(id, NOW), Turn::Waiting);
}

/// Has as many connections ask for another core's key as there is room on the way to it.
fn fill_ring(lane: &mut Lane, key: &str) {
    let ids: Vec<_> = (0..RING_CAPACITY)
        .map(|_| lane.connect(Peer::default(), NOW))
        .collect();
    for id in ids {
        send(lane, id, &command(&[b"STRLEN", key.as_bytes()]));
        lane.turn(id, NOW);
    }
}

#[test]
fn a_connection_that_goes_while_its_batch_is_held_back_leaves_nothing_behind() {
    let (mut lanes, id, key, _) = with_long_value_elsewhere();
    for _ in 0..3000 {
        send(&mut lanes[0], id, &command(&[b"GET", key.as_bytes()]));
    }
    for _ in 0..20 {
        lanes[0].turn(id, NOW);
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
    }
    lanes[0].disconnect(id);
    for _ in 0..20 {
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
    }
    assert!(lanes.iter().all(Lane::is_quiet));
    assert!(lanes[0].core().clients.is_empty());
    let next = lanes[0].connect(Peer::default(), NOW);
    send(&mut lanes[0], next, &command(&[b"STRLEN", key.as_bytes()]));
    assert_eq!(run_until(&mut lanes, next, 9), b":204800\r\n");
}

#[test]
fn an_end_of_input_behind_a_full_ring_closes_too() {
    let mut lanes = lanes(2, 18);
    let ids: Vec<ConnectionId> = (0..RING_CAPACITY * 2)
        .map(|_| lanes[0].connect(Peer::default(), NOW))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let key = key_of(1, number);
        send(&mut lanes[0], *id, &command(&[b"INCR", key.as_bytes()]));
        lanes[0].received_end(*id);
        assert_eq!(lanes[0].turn(*id, NOW), Turn::Waiting);
    }
    let mut open = ids;
    for _ in 0..100 {
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
        let mut ready = Vec::new();
        lanes[0].take_ready(&mut ready);
        open.retain(|id| {
            !ready.contains(id) || {
                let turn = lanes[0].turn(*id, NOW);
                assert!(turn != Turn::Finished || lanes[0].unsent(*id) == b":1\r\n");
                turn != Turn::Finished
            }
        });
    }
    assert_eq!(open, [], "these wait for ever");
}

#[test]
fn a_plan_of_a_client_that_has_gone_finishes_behind_a_full_ring() {
    let mut lanes = lanes(2, 19);
    let (source, target) = (key_of(0, 0), key_of(1, 0));
    let id = lanes[0].connect(Peer::default(), NOW);
    let set = command(&[b"SET", source.as_bytes(), b"v"]);
    send(&mut lanes[0], id, &set);
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
    for number in 1..=RING_CAPACITY {
        let other = lanes[0].connect(Peer::default(), NOW);
        let get = command(&[b"GET", key_of(1, number).as_bytes()]);
        send(&mut lanes[0], other, &get);
        lanes[0].turn(other, NOW);
    }
    let rename = command(&[b"RENAME", source.as_bytes(), target.as_bytes()]);
    send(&mut lanes[0], id, &rename);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Waiting);
    lanes[0].disconnect(id);
    for _ in 0..100 {
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
    }
    assert!(lanes.iter().all(Lane::is_quiet));
    assert_eq!((lanes[0].shard().len(), lanes[1].shard().len()), (0, 1));
}

#[test]
fn an_end_of_input_closes_after_what_was_received_is_answered() {
    let mut lanes = lanes(2, 15);
    let id = lanes[0].connect(Peer::default(), NOW);
    let key = key_of(1, 0);
    send(&mut lanes[0], id, &command(&[b"SET", key.as_bytes(), b"v"]));
    send(&mut lanes[0], id, b"*2\r\n$3\r\nGE");
    lanes[0].received_end(id);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Waiting);
    lanes[1].exchange(NOW);
    lanes[0].exchange(NOW);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Finished);
    assert_eq!(lanes[0].unsent(id), b"+OK\r\n");
}

#[test]
fn a_protocol_error_is_answered_after_everything_before_it_and_closes() {
    let mut lanes = lanes(2, 16);
    let id = lanes[0].connect(Peer::default(), NOW);
    let key = key_of(1, 0);
    send(&mut lanes[0], id, &command(&[b"SET", key.as_bytes(), b"v"]));
    send(&mut lanes[0], id, b"*1\r\n!bad\r\nPING\r\n");
    lanes[0].turn(id, NOW);
    lanes[1].exchange(NOW);
    lanes[0].exchange(NOW);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Finished);
    let mut output = Vec::new();
    take(&mut lanes[0], id, &mut output);
    assert_eq!(
        output,
        b"+OK\r\n-ERR Protocol error: expected '$', got '!'\r\n"
    );
}

#[test]
fn a_rename_to_another_shard_is_finished_although_its_client_has_gone() {
    let mut lanes = lanes(2, 17);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (source, target) = (key_of(0, 0), key_of(1, 0));
    let value = vec![b'r'; 3 << 20];
    send(
        &mut lanes[0],
        id,
        &command(&[b"SET", source.as_bytes(), &value]),
    );
    assert_eq!(run_until(&mut lanes, id, 5), b"+OK\r\n");
    begin_rename(&mut lanes[0], id, &source, &target);
    lanes[0].disconnect(id);
    for _ in 0..20 {
        lanes[1].exchange(NOW);
        lanes[0].exchange(NOW);
    }
    assert!(lanes[0].core().clients.is_empty());
    assert_eq!((lanes[0].shard().len(), lanes[1].shard().len()), (0, 1));
}

#[test]
fn the_gauge_goes_back_when_a_client_leaves_in_the_middle_of_a_command() {
    let mut lanes = lanes(1, 31);
    for _ in 0..10 {
        let id = lanes[0].connect(Peer::default(), NOW);
        send(&mut lanes[0], id, b"*2\r\n$3\r\nGE");
        lanes[0].turn(id, NOW);
        lanes[0].disconnect(id);
    }
    assert_eq!(lanes[0].core().stats.input_buffers_bytes, 0);
}

#[test]
fn a_protocol_error_behind_a_split_command_comes_after_its_reply() {
    let mut lanes = lanes(2, 35);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let mut bytes = command(&[b"MSET", a.as_bytes(), b"1", b.as_bytes(), b"2"]);
    bytes.extend_from_slice(b"*1\r\n!bad\r\n");
    send(&mut lanes[0], id, &bytes);
    let mut output = Vec::new();
    for _ in 0..20 {
        lanes[0].turn(id, NOW);
        exchange_all(&mut lanes, 2);
        take(&mut lanes[0], id, &mut output);
    }
    assert_eq!(
        String::from_utf8_lossy(&output),
        "+OK\r\n-ERR Protocol error: expected '$', got '!'\r\n"
    );
}

#[test]
fn nothing_behind_a_protocol_error_runs_however_often_its_connection_waits_before_it() {
    let errors: [(&[u8], &str); 2] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2\r\n+x\r\n", "expected '$', got '+'"),
    ];
    for (wrong, message) in errors {
        let mut lanes = lanes(2, 29);
        let id = lanes[0].connect(Peer::default(), NOW);
        let (own, other) = (key_of(0, 0), key_of(1, 0));
        send(
            &mut lanes[0],
            id,
            &command(&[b"DEL", own.as_bytes(), other.as_bytes()]),
        );
        send(&mut lanes[0], id, &command(&[b"DBSIZE"]));
        send(&mut lanes[0], id, wrong);
        send(&mut lanes[0], id, &command(&[b"SET", own.as_bytes(), b"v"]));
        let expected = format!(":0\r\n:0\r\n-ERR Protocol error: {message}\r\n");
        let output = run_until(&mut lanes, id, expected.len());
        assert_eq!(String::from_utf8_lossy(&output), expected);
        assert_eq!(lanes[0].shard().len(), 0);
    }
}

#[test]
fn a_protocol_error_behind_a_plan_leaves_nothing_behind() {
    let mut lanes = lanes(2, 36);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (a, b) = (key_of(0, 0), key_of(1, 0));
    let mut bytes = command(&[b"RENAME", a.as_bytes(), b.as_bytes()]);
    bytes.extend_from_slice(b"*1\r\n!bad\r\n");
    send(&mut lanes[0], id, &bytes);
    for _ in 0..5 {
        if lanes[0].turn(id, NOW) == Turn::Finished {
            break;
        }
        exchange_all(&mut lanes, 2);
    }
    lanes[0].disconnect(id);
    exchange_all(&mut lanes, 20);
    assert!(lanes[0].core().clients.is_empty());
}

#[test]
fn the_rename_of_a_killed_client_is_finished() {
    let mut lanes = lanes(2, 37);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (source, target) = (key_of(0, 0), key_of(1, 0));
    store(&mut lanes, id, &source, b"v");
    begin_rename(&mut lanes[0], id, &source, &target);
    let client = lanes[0].core().clients.iter().next().expect("one").0;
    lanes[0].core_mut().clients.kill(client);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Finished);
    lanes[0].disconnect(id);
    exchange_all(&mut lanes, 20);
    assert_eq!((lanes[0].shard().len(), lanes[1].shard().len()), (0, 1));
    assert!(lanes[0].core().clients.is_empty());
}

#[test]
fn a_rename_whose_turn_was_cut_short_here_is_finished_although_its_client_has_gone() {
    let mut lanes = lanes(2, 38);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (source, target) = (key_of(1, 0), key_of(0, 0));
    store(&mut lanes, id, &source, &vec![b'r'; 8 << 20]);
    begin_rename(&mut lanes[0], id, &source, &target);
    exchange_all(&mut lanes, 1);
    exchange_all(&mut lanes, 1);
    assert_eq!(lanes[0].turn(id, NOW), Turn::More);
    lanes[0].disconnect(id);
    exchange_all(&mut lanes, 100);
    assert_eq!((lanes[0].shard().len(), lanes[1].shard().len()), (1, 0));
    assert!(lanes[0].core().clients.is_empty());
}

#[test]
fn a_killed_client_that_had_said_quit_is_closed() {
    let (mut lanes, id, key, _) = with_long_value_elsewhere();
    for _ in 0..20 {
        send(&mut lanes[0], id, &command(&[b"GET", key.as_bytes()]));
    }
    send(&mut lanes[0], id, &command(&[b"QUIT"]));
    for _ in 0..10 {
        lanes[0].turn(id, NOW);
        exchange_all(&mut lanes, 2);
    }
    let client = lanes[0].core().clients.iter().next().expect("one").0;
    lanes[0].core_mut().clients.kill(client);
    assert_eq!(lanes[0].turn(id, NOW), Turn::Finished);
    assert!(lanes[0].unsent(id).is_empty());
}

#[test]
fn a_connection_may_go_while_its_resumed_batch_waits_for_room() {
    let (mut lanes, id, key, _) = with_long_value_elsewhere();
    for _ in 0..3000 {
        send(&mut lanes[0], id, &command(&[b"GET", key.as_bytes()]));
    }
    for _ in 0..20 {
        lanes[0].turn(id, NOW);
        exchange_all(&mut lanes, 1);
    }
    // Others fill the ring.
    fill_ring(&mut lanes[0], &key);
    let mut output = Vec::new();
    take(&mut lanes[0], id, &mut output);
    lanes[0].turn(id, NOW);
    lanes[0].disconnect(id);
    for _ in 0..20 {
        exchange_all(&mut lanes, 1);
        let mut ready = Vec::new();
        lanes[0].take_ready(&mut ready);
        for id in ready {
            lanes[0].turn(id, NOW);
        }
    }
    assert!(lanes[0].is_quiet());
}

#[test]
fn a_plan_that_waits_for_room_is_finished_although_its_client_has_gone() {
    let mut lanes = lanes(2, 42);
    let id = lanes[0].connect(Peer::default(), NOW);
    let (source, target) = (key_of(0, 0), key_of(1, 0));
    store(&mut lanes, id, &source, b"v");
    fill_ring(&mut lanes[0], &target);
    begin_rename(&mut lanes[0], id, &source, &target);
    lanes[0].disconnect(id);
    for _ in 0..20 {
        exchange_all(&mut lanes, 1);
        let mut ready = Vec::new();
        lanes[0].take_ready(&mut ready);
        for other in ready.into_iter().filter(|other| *other != id) {
            lanes[0].turn(other, NOW);
        }
    }
    assert_eq!((lanes[0].shard().len(), lanes[1].shard().len()), (0, 1));
    assert_eq!(lanes[0].core().clients.len(), RING_CAPACITY);
}
