//! Too much, too long, too many, gone too early: the exact error and what is left afterwards.
//!
//! Every limit of the README's table has a test here or in `protocol.rs`. Tests that fill or
//! starve a server watch the process from outside: its resident memory and its descriptors.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::client::{Client, request, shown};
use common::process::Server;
use common::{PATIENCE, now, pass, scale};

const MIB: u64 = 1024 * 1024;

#[test]
fn one_connection_too_many_is_told_so_and_closed() {
    let server = Server::start(&["--maxclients", "20", "--shards", "2"]);
    let mut clients: Vec<Client> = Vec::new();
    while clients.len() < 20 {
        clients.extend(served(&server));
    }
    let mut refused = server.client();
    assert_eq!(refused.rest(), b"-ERR max number of clients reached\r\n");
    clients[19].expect("PING", "+PONG\\r\\n");
    clients.pop();
    let until = now() + PATIENCE;
    while served(&server).is_none() {
        assert!(
            now() < until,
            "the place that became free is not given away"
        );
    }
}

#[test]
fn maxclients_is_raised_as_far_as_descriptors_go() {
    let server = Server::start(&["--maxclients", "20", "--shards", "2"]);
    let mut client = server.client();
    let refusal = shown(&client.ask("CONFIG SET maxclients 4000000000"));
    let words = "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating \
                 system is not able to handle the specified number of clients, try with ";
    let possible = refusal
        .strip_prefix(words)
        .and_then(|rest| rest.strip_suffix("\\r\\n"))
        .unwrap_or_else(|| panic!("{refusal}"));
    client.expect(&format!("CONFIG SET maxclients {possible}"), "+OK\\r\\n");
    client.expect("CONFIG SET maxclients 30", "+OK\\r\\n");
    let clients: Vec<Client> = std::iter::from_fn(|| served(&server)).take(29).collect();
    assert_eq!(clients.len(), 29);
    assert!(served(&server).is_none());
}

/// A connection, if the server takes it.
fn served(server: &Server) -> Option<Client> {
    let mut client = server.client();
    let _ = client.try_send(b"PING\r\n");
    client
        .try_reply()
        .filter(|reply| reply == b"+PONG\r\n")
        .map(|_| client)
}

#[test]
fn a_million_arguments_are_taken_and_more_than_the_limit_refused() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let keys: Vec<String> = (0..1_000_000).map(|i| format!("k{i}")).collect();
    let arguments: Vec<&str> = std::iter::once("EXISTS")
        .chain(keys.iter().map(String::as_str))
        .collect();
    assert_eq!(client.ask_with(&arguments), b":0\r\n");
    let pairs: Vec<&str> = std::iter::once("MSET")
        .chain(keys[..400_000].iter().flat_map(|key| [key.as_str(), "v"]))
        .collect();
    assert_eq!(client.ask_with(&pairs), b"+OK\r\n");
    client.expect("DBSIZE", ":400000\\r\\n");
    assert_eq!(client.ask_with(&arguments), b":400000\r\n");
    client.send(b"*1048577\r\n");
    assert_eq!(
        client.rest(),
        b"-ERR Protocol error: invalid multibulk length\r\n"
    );
}

#[test]
fn the_largest_value_is_kept_and_no_command_makes_a_larger_one() {
    let server = Server::start(&["--shards", "2", "--maxmemory", "2gb"]);
    let mut client = server.client();
    let len = scale(64 * 1024 * 1024, 512 * 1024 * 1024);
    let value = vec![b'v'; len];
    assert_eq!(
        client.ask_with(&[b"SET", b"k".as_slice(), &value]),
        b"+OK\r\n"
    );
    client.expect("STRLEN k", &format!(":{len}\\r\\n"));
    client.send(&request(&["GET", "k"]));
    client.expect_bytes(format!("${len}\r\n").as_bytes());
    client.expect_bytes(&value);
    client.expect_bytes(b"\r\n");
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\\r\\n";
    client.expect("SETRANGE k 536870912 x", too_long);
    client.expect("SETRANGE k 536870911 x", ":536870912\\r\\n");
    client.expect("APPEND k x", too_long);
    client.expect(
        "GETRANGE k 536870910 -1",
        "$2\\r\\n\\x00x\\r\\n"
            .replace("\\x00", if len < 1 << 29 { "\\x00" } else { "v" })
            .as_str(),
    );
    client.expect("DEL k", ":1\\r\\n");
}

#[test]
fn a_full_server_refuses_writes_serves_reads_and_recovers() {
    let server = Server::start(&["--maxmemory", "64mb", "--shards", "2"]);
    let mut client = server.client();
    let value = "x".repeat(10_000);
    let mut stored = 0;
    let refusal = loop {
        let reply = client.ask_with(&["SET", &format!("key:{stored}"), &value]);
        if reply != b"+OK\r\n" {
            break reply;
        }
        stored += 1;
        assert!(stored < 10_000, "64 MiB hold no 100 MB");
    };
    assert_eq!(
        shown(&refusal),
        "-OOM command not allowed when used memory > 'maxmemory'.\\r\\n"
    );
    assert!(stored > 3000, "only {stored} values of 10 kB fit 64 MiB");
    for i in 0..stored {
        let reply = client.ask_with(&["STRLEN", &format!("key:{i}")]);
        assert_eq!(reply, b":10000\r\n", "key {i}");
    }
    client.expect("EXPIRE key:0 1000", ":1\\r\\n");
    let mut removed = 0;
    for i in (0..stored).step_by(2) {
        assert_eq!(client.ask(&format!("DEL key:{i}")), b":1\r\n");
        removed += 1;
    }
    // Half of the space was freed in holes: nearly as much can be stored again.
    let again = (0..removed * 8 / 10)
        .all(|i| client.ask_with(&["SET", &format!("again:{i}"), &value]) == b"+OK\r\n");
    assert!(again, "space that deletes freed is not found again");
    client.expect("FLUSHALL", "+OK\\r\\n");
    client.expect("SET k v", "+OK\\r\\n");
    assert!(
        server.rss_bytes() < 64 * MIB + 150 * MIB,
        "{} MiB",
        server.rss_bytes() / MIB
    );
}

#[test]
fn a_client_that_reads_late_gets_everything_in_order() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let values: Vec<String> = (0..1000).map(|i| format!("{i:04}").repeat(256)).collect();
    for (i, value) in values.iter().enumerate() {
        client.ask_with(&["SET", &format!("key:{i}"), value]);
    }
    let before_bytes = server.rss_bytes();
    let count = scale(200_000, 1_000_000);
    let stream: Vec<u8> = (0..count)
        .flat_map(|i| request(&["GET", &format!("key:{}", i % 1000)]))
        .collect();
    client.send(&stream);
    // All is sent and nothing read: what the server holds is the requests and a bounded output.
    let held_bytes = server.rss_bytes().saturating_sub(before_bytes);
    let allowed_bytes = 2 * u64::try_from(stream.len()).expect("it fits") + 64 * MIB;
    assert!(
        held_bytes < allowed_bytes,
        "{} MiB for {} MiB of requests",
        held_bytes / MIB,
        stream.len() / 1_048_576
    );
    server.client().expect("PING", "+PONG\\r\\n");
    for i in 0..count {
        client.expect_bytes(format!("$1024\r\n{}\r\n", values[i % 1000]).as_bytes());
    }
}

#[test]
fn a_client_that_never_reads_is_closed_at_its_bound() {
    let server = Server::start(&["--shards", "2", "--client-query-buffer-limit", "4mb"]);
    let mut client = server.client();
    client.ask_with(&["SET", "k", &"x".repeat(10_000)]);
    let before_bytes = server.rss_bytes();
    let stream = request(&["GET", "k"]).repeat(10_000);
    let error = loop {
        if let Err(error) = client.try_send(&stream) {
            break error;
        }
    };
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    let held_bytes = server.rss_bytes().saturating_sub(before_bytes);
    assert!(held_bytes < 100 * MIB, "{} MiB", held_bytes / MIB);
    server.client().expect("PING", "+PONG\\r\\n");
}

/// A read buffer is as long as its value's header says; its pages must not be touched before the
/// value comes. They were, when an alignment made the allocator write the zeroes itself.
#[test]
fn lengths_that_are_only_announced_take_no_memory() {
    let server = Server::start(&["--shards", "2"]);
    let before = server.rss_bytes();
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    // The header, then the first bytes of the value: room is made when those are received.
    for bytes in [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"[..], b"abc"] {
        clients.iter_mut().for_each(|client| client.send(bytes));
        // Answered by either core, so both have met them.
        for _ in 0..10 {
            server.client().expect("PING", "+PONG\\r\\n");
        }
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
}

#[test]
fn clients_that_vanish_inside_a_command_leave_nothing_behind() {
    let server = Server::start(&["--shards", "4"]);
    let before = descriptors_at_rest(&server);
    for round in 0..scale(100, 2000) {
        let mut client = server.client();
        client.send(b"SET before v\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000000\r\n");
        client.send(&vec![b'x'; 1000 * (round % 100)]);
    }
    server.client().expect("EXISTS k", ":0\\r\\n");
    wait_for_descriptors(&server, before);
}

#[test]
fn clients_that_vanish_with_work_on_other_cores_leave_nothing_behind() {
    let server = Server::start(&["--shards", "8"]);
    let before = descriptors_at_rest(&server);
    let stream = |name: &str| -> Vec<u8> {
        (0..5000)
            .flat_map(|i| request(&["INCR", &format!("{name}:{}", i % 100)]))
            .collect()
    };
    let vanishing = stream("key");
    for _ in 0..scale(1000, 5000) {
        server.client().send(&vanishing);
    }
    wait_for_descriptors(&server, before);
    // Of what the others sent some may still run: this one has keys of its own.
    let mut client = server.client();
    client.send(&stream("last"));
    for _ in 0..5000 {
        assert!(client.reply().starts_with(b":"));
    }
    client.expect("GET last:0", "$2\\r\\n50\\r\\n");
}

#[test]
fn connections_that_come_and_go_in_waves_leave_nothing_behind() {
    let server = Server::start(&["--shards", "2"]);
    let wave = |count: usize| {
        let mut clients: Vec<Client> = (0..count).map(|_| server.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.expect(&format!("SET key:{i} v"), "+OK\\r\\n");
        }
    };
    let before = descriptors_at_rest(&server);
    let count = scale(400, 10_000);
    wave(count);
    wait_for_descriptors(&server, before);
    let after_one_bytes = server.rss_bytes();
    for _ in 0..5 {
        wave(count);
    }
    wait_for_descriptors(&server, before);
    let grown_bytes = server.rss_bytes().saturating_sub(after_one_bytes);
    assert!(
        grown_bytes < 16 * MIB,
        "{} MiB more after five more waves",
        grown_bytes / MIB
    );
}

#[test]
fn clients_that_go_while_they_wait_for_a_time_leave_nothing_behind() {
    let server = Server::start(&["--shards", "2"]);
    let wave = |count: usize| {
        for _ in 0..count {
            let mut client = server.client();
            // Eleven days: whoever remembers that long remembers all of them.
            client.send(b"PING\r\nWAIT 1 1000000000\r\n");
            client.expect_bytes(b"+PONG\r\n");
        }
    };
    let before = descriptors_at_rest(&server);
    wave(1_000);
    wait_for_descriptors(&server, before);
    let after_one_bytes = server.rss_bytes();
    wave(scale(8_000, 50_000));
    wait_for_descriptors(&server, before);
    let grown_bytes = server.rss_bytes().saturating_sub(after_one_bytes);
    assert!(grown_bytes < 4 * MIB, "{} KiB more", grown_bytes >> 10);
}

#[test]
fn more_values_than_one_command_combines_are_refused() {
    for shards in ["1", "2"] {
        let server = Server::start(&["--shards", shards]);
        let mut client = server.client();
        let names: Vec<String> = (0..4097).map(|number| format!("key:{number}")).collect();
        let most = names[1..].join(" ");
        client.expect(&format!("PFCOUNT {most}"), ":0\\r\\n");
        let all = names.join(" ");
        client.expect(&format!("PFCOUNT {all}"), "-ERR too many source keys\\r\\n");
    }
}

#[test]
fn idle_connections_are_closed_after_the_timeout() {
    let server = Server::start(&["--timeout", "1", "--shards", "2"]);
    let mut client = server.client();
    client.expect("PING", "+PONG\\r\\n");
    assert_eq!(client.rest(), b"");
}

#[test]
fn an_idle_server_costs_next_to_nothing() {
    // Also when its cores look on for a while before they sleep.
    let servers = ["0", "1000"].map(|spin| Server::start(&["--shards", "4", "--spin-us", spin]));
    let mut clients = servers.each_ref().map(Server::client);
    for client in &mut clients {
        client.expect("SET k v", "+OK\\r\\n");
    }
    // What it prepares for the next writes, and the guard's ticks after the last one.
    pass(Duration::from_secs(5));
    let before = servers.each_ref().map(Server::cpu_time);
    pass(Duration::from_secs(3));
    for ((server, before), mut client) in servers.iter().zip(before).zip(clients) {
        let spent = server.cpu_time() - before;
        assert!(
            spent <= Duration::from_millis(30),
            "{spent:?} of CPU in three idle seconds"
        );
        client.expect("GET k", "$1\\r\\nv\\r\\n");
    }
}

/// Descriptors once all cores run: the first to serve is not the last to start.
fn descriptors_at_rest(server: &Server) -> usize {
    loop {
        let count = server.descriptor_count();
        pass(Duration::from_millis(500));
        if server.descriptor_count() == count {
            return count;
        }
    }
}

fn wait_for_descriptors(server: &Server, count: usize) {
    let until = now() + PATIENCE;
    while server.descriptor_count() > count {
        assert!(
            now() < until,
            "{} descriptors instead of {count}",
            server.descriptor_count()
        );
        server.client().expect("PING", "+PONG\\r\\n");
    }
}
