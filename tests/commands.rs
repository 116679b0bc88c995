//! What commands answer, over sockets.
//!
//! Replies that are the same every time stand in `tests/transcripts/`, recorded from Redis and
//! played here to servers of one, two and eight shards: where keys live must not show. Below them,
//! what a transcript cannot say: replies that depend on time, chance, order or the connection.

mod common;

use std::collections::BTreeSet;

use common::client::{Client, Value};
use common::process::{Folder, Server};
use common::{PATIENCE, now, transcript};

fn play_transcripts(shards: &str) {
    let server = Server::start(&["--shards", shards]);
    let all = transcript::all();
    let found: Vec<_> = all
        .iter()
        .flat_map(|transcript| transcript.differences(&server, false))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn transcripts_hold_with_one_shard() {
    play_transcripts("1");
}

#[test]
fn transcripts_hold_with_two_shards() {
    play_transcripts("2");
}

#[test]
fn transcripts_hold_with_more_shards_than_cores() {
    play_transcripts("8");
}

#[test]
fn a_key_is_gone_when_its_time_has_passed() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.expect("SET k v PX 30", "+OK\\r\\n");
    client.expect("SET stays v", "+OK\\r\\n");
    let until = now() + PATIENCE;
    while client.value("EXISTS k") == Value::Integer(1) {
        assert!(now() < until, "the key does not expire");
    }
    client.expect("GET k", "$-1\\r\\n");
    client.expect("TTL k", ":-2\\r\\n");
    client.expect("SET k w NX", "+OK\\r\\n");
    client.expect("GET stays", "$1\\r\\nv\\r\\n");
}

#[test]
fn keys_and_scan_find_every_key_once_where_nothing_changes() {
    let server = Server::start(&["--shards", "8"]);
    let mut client = server.client();
    let expected: BTreeSet<Vec<u8>> = (0..5000).map(|i| format!("key:{i}").into_bytes()).collect();
    for key in &expected {
        client.ask_with(&[b"SET", key.as_slice(), b"v"]);
    }
    client.expect("DBSIZE", ":5000\\r\\n");
    let listed: Vec<_> = client
        .value("KEYS *")
        .list()
        .into_iter()
        .map(Value::bytes)
        .collect();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
    for arguments in ["", "COUNT 1", "COUNT 1000", "MATCH key:* TYPE string"] {
        let found = scan(&mut client, arguments);
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "SCAN {arguments}"
        );
    }
    assert_eq!(scan(&mut client, "MATCH key:12?4 COUNT 100").len(), 10);
    assert!(scan(&mut client, "TYPE list COUNT 1000").is_empty());
}

#[test]
fn random_keys_come_from_every_shard() {
    let server = Server::start(&["--shards", "4"]);
    let mut client = server.client();
    for i in 0..64 {
        client.ask(&format!("SET key:{i} v"));
    }
    let mut found = BTreeSet::new();
    let until = now() + PATIENCE;
    while found.len() < 48 {
        found.insert(client.value("RANDOMKEY").bytes());
        assert!(
            now() < until,
            "RANDOMKEY gave only {} of 64 keys",
            found.len()
        );
    }
}

#[test]
fn time_is_now_in_seconds_and_microseconds() {
    let server = Server::start(&[]);
    let time = server.client().value("TIME").list();
    let numbers: Vec<u64> = time
        .into_iter()
        .map(|value| value.text().parse().expect("a number"))
        .collect();
    assert!(
        numbers[0] > 1_700_000_000 && numbers[1] < 1_000_000,
        "{numbers:?}"
    );
}

#[test]
fn hello_says_who_answers_in_the_protocol_it_was_asked_for() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (protocol, opening) in [("2", "*14\\r\\n"), ("3", "%7\\r\\n")] {
        let reply = common::client::shown(&client.ask(&format!("HELLO {protocol} SETNAME me")));
        assert!(reply.starts_with(opening), "{reply}");
        for part in [
            "$6\\r\\nserver\\r\\n",
            "$5\\r\\nproto\\r\\n:",
            "$4\\r\\nmode\\r\\n$10\\r\\nstandalone\\r\\n",
        ] {
            assert!(reply.contains(part), "{reply}");
        }
    }
    client.expect("CLIENT GETNAME", "$2\\r\\nme\\r\\n");
}

#[test]
fn clients_have_numbers_names_and_can_be_ended_by_others() {
    let server = Server::start(&["--shards", "2"]);
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let ids: BTreeSet<i64> = clients
        .iter_mut()
        .map(|client| client.value("CLIENT ID").integer())
        .collect();
    assert_eq!(ids.len(), 8, "every connection has a number of its own");
    clients[3].ask("CLIENT SETNAME victim");
    let list = clients[0].value("CLIENT LIST").text();
    let line = list
        .lines()
        .find(|line| line.contains("name=victim"))
        .expect("it is listed");
    assert!(list.lines().count() >= 8, "{list}");
    let id = line
        .split_once("id=")
        .and_then(|(_, rest)| rest.split(' ').next())
        .expect("it has an id");
    assert!(
        clients[3]
            .value("CLIENT INFO")
            .text()
            .contains(&format!("id={id} "))
    );
    clients[0].expect(&format!("CLIENT KILL ID {id}"), ":1\\r\\n");
    assert_eq!(clients[3].rest(), b"");
    clients[0].expect("PING", "+PONG\\r\\n");
    let own = clients[1].value("CLIENT ID").integer();
    clients[1].expect(&format!("CLIENT KILL ID {own} SKIPME no"), ":1\\r\\n");
}

#[test]
fn quit_answers_what_came_before_it_and_closes() {
    let server = Server::start(&[]);
    for word in ["QUIT", "quit"] {
        let mut client = server.client();
        client.send(format!("SET k v\r\nGET k\r\n{word}\r\nGET k\r\n").as_bytes());
        assert_eq!(client.rest(), b"+OK\r\n$1\r\nv\r\n+OK\r\n");
    }
}

#[test]
fn info_has_the_fields_that_tools_read() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.ask("SET k v EX 1000");
    let info = client.value("INFO").text();
    let fields = [
        "redis_version:",
        "process_id:",
        "tcp_port:",
        "uptime_in_seconds:",
        "connected_clients:",
        "used_memory:",
        "used_memory_human:",
        "maxmemory:",
        "total_commands_processed:",
        "instantaneous_ops_per_sec:",
        "keyspace_hits:",
        "keyspace_misses:",
        "expired_keys:",
        "evicted_keys:",
        "role:master",
        "cluster_enabled:0",
        "# Server\r\n",
        "# Clients\r\n",
        "# Memory\r\n",
        "# Stats\r\n",
        "# Replication\r\n",
        "# Keyspace\r\n",
        "db0:keys=1,expires=1,avg_ttl=",
    ];
    for field in fields {
        assert!(info.contains(field), "INFO lacks {field}:\n{info}");
    }
    assert!(info.contains(&format!("tcp_port:{}\r\n", server.port)));
    assert!(info.contains(&format!("process_id:{}\r\n", server.pid())));
    let section = client.value("INFO keyspace").text();
    assert!(
        section.starts_with("# Keyspace\r\n") && !section.contains("redis_version"),
        "{section}"
    );
}

#[test]
fn info_counts_hits_misses_and_commands_of_all_cores() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let hits_and_misses = |client: &mut Client| {
        let info = client.value("INFO stats").text();
        ["keyspace_hits:", "keyspace_misses:"].map(|name| {
            let line = info
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("it is there");
            line.parse::<u64>().expect("a count")
        })
    };
    let before = hits_and_misses(&mut client);
    for i in 0..20 {
        client.ask(&format!("SET k{i} v"));
        client.ask(&format!("GET k{i}"));
        client.ask(&format!("GET absent{i}"));
    }
    let after = hits_and_misses(&mut client);
    assert_eq!([after[0] - before[0], after[1] - before[1]], [20, 20]);
}

#[test]
fn command_lists_what_the_server_knows() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let count = client.value("COMMAND COUNT").integer();
    let all = client.value("COMMAND").list();
    assert_eq!(i64::try_from(all.len()), Ok(count));
    let list = client.value("COMMAND LIST").list();
    let names: BTreeSet<String> = list.into_iter().map(|name| name.text()).collect();
    let wanted = "append auth client command config copy dbsize decr decrby del echo exists expire \
                  expireat expiretime flushall flushdb get getdel getex getrange getset hello incr incrby \
                  incrbyfloat info keys mget module mset msetnx object persist pexpire pexpireat pexpiretime \
                  ping psetex pttl quit randomkey rename renamenx reset role scan select set setex setnx \
                  setrange strlen substr time touch ttl type unlink";
    for name in wanted.split_whitespace() {
        assert!(names.contains(name), "COMMAND LIST lacks {name}");
        let docs = client.value(&format!("COMMAND DOCS {name}")).list();
        assert_eq!(docs[0], Value::Bytes(name.into()));
    }
}

#[test]
fn every_command_is_documented() {
    let documents = include_str!("../docs/COMMANDS.md").to_uppercase();
    let documented: BTreeSet<&str> = documents
        .split(|c: char| !c.is_ascii_alphanumeric() && !['-', '_'].contains(&c))
        .collect();
    let list = Server::start(&[]).client().value("COMMAND LIST").list();
    for name in list {
        let name = name.text().to_uppercase();
        for part in name.split('|') {
            assert!(documented.contains(part), "docs/COMMANDS.md lacks {name}");
        }
    }
}

#[test]
fn a_password_is_wanted_before_anything_else() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut client = server.client();
    client.expect("GET k", "-NOAUTH Authentication required.\\r\\n");
    client.expect("PING", "-NOAUTH Authentication required.\\r\\n");
    client.expect("HELLO 3", "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\\r\\n");
    client.expect(
        "AUTH wrong",
        "-WRONGPASS invalid username-password pair or user is disabled.\\r\\n",
    );
    client.expect(
        "AUTH nobody secret",
        "-WRONGPASS invalid username-password pair or user is disabled.\\r\\n",
    );
    client.expect("AUTH secret", "+OK\\r\\n");
    client.expect("GET k", "$-1\\r\\n");
    client.expect("RESET", "+RESET\\r\\n");
    client.expect("GET k", "-NOAUTH Authentication required.\\r\\n");
    client.expect("AUTH default secret", "+OK\\r\\n");
    client.expect("SET k v", "+OK\\r\\n");
    let mut other = server.client();
    assert!(
        other
            .ask("HELLO 3 AUTH default secret")
            .starts_with(b"%7\r\n")
    );
    other.expect("GET k", "$1\\r\\nv\\r\\n");
    client.expect("CONFIG SET requirepass \"\"", "+OK\\r\\n");
    server.client().expect("GET k", "$1\\r\\nv\\r\\n");
}

#[test]
fn a_unix_socket_serves_like_a_port() {
    let folder = Folder::new();
    let path = folder.path().join("socket");
    let server = Server::start(&[
        "--unixsocket",
        path.to_str().expect("it is text"),
        "--shards",
        "2",
    ]);
    let mut client = Client::connect_unix(&path);
    client.expect("SET k v", "+OK\\r\\n");
    server.client().expect("GET k", "$1\\r\\nv\\r\\n");
}

/// All keys of a full iteration.
fn scan(client: &mut Client, arguments: &str) -> Vec<Vec<u8>> {
    let mut cursor = "0".to_owned();
    let mut found = Vec::new();
    loop {
        let mut reply = client.value(&format!("SCAN {cursor} {arguments}")).list();
        found.extend(
            reply
                .pop()
                .expect("keys")
                .list()
                .into_iter()
                .map(Value::bytes),
        );
        cursor = reply.pop().expect("a cursor").text();
        assert!(
            cursor.parse::<u64>().is_ok_and(|number| number < 1 << 53),
            "cursor {cursor}"
        );
        if cursor == "0" {
            return found;
        }
    }
}
