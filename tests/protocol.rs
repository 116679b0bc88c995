//! Bytes in, bytes out: requests cut anywhere, pipelined, malformed, unfinished.
//!
//! The inputs and the answers stand in `common/malformed.rs`; `tests/compat.rs` asks Redis the same.

mod common;

use common::client::{Client, request, shown};
use common::malformed;
use common::process::Server;

#[test]
fn bad_input_gets_redis_errors_and_harms_no_other_connection() {
    let server = Server::start(&["--shards", "2"]);
    let mut bystander = server.client();
    bystander.expect("SET k v", "+OK\\r\\n");
    malformed::check(&server);
    bystander.expect("GET k", "$1\\r\\nv\\r\\n");
}

#[test]
fn requests_may_be_cut_at_any_byte() {
    let server = Server::start(&["--shards", "2"]);
    let mut fence = server.client();
    let mut found = Vec::new();
    for case in malformed::cases()
        .iter()
        .filter(|case| case.input.len() < 200)
    {
        let stream = case.stream();
        for cut in 1..stream.len() {
            let mut client = server.client();
            let _ = client.try_send(&stream[..cut]);
            // By the time another connection has its answer the first part has been read.
            fence.expect("PING", "+PONG\\r\\n");
            let _ = client.try_send(&stream[cut..]);
            let received = case.received(&mut client);
            if received != case.expected() {
                let input = shown(&case.input);
                found.push(format!(
                    "{input} cut at {cut}\n  expected {}\n  received {received}",
                    case.expected()
                ));
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn requests_may_arrive_byte_by_byte() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\0\r\nGET k\r\n*2\r\n$6\r\nSTRLEN\r\n$1\r\nk\r\n";
    for byte in stream {
        client.send(&[*byte]);
    }
    client.expect_bytes(b"+OK\r\n$5\r\na\r\nb\0\r\n:5\r\n");
}

#[test]
fn a_pipeline_is_answered_in_order_whatever_its_size() {
    let server = Server::start(&["--shards", "4"]);
    for command_count in [1, 2, 31, 32, 33, 100, 1_000, 20_000, 100_000] {
        let mut client = server.client();
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for i in 0..command_count {
            let (key, value) = (format!("key:{}", i % 1000), i.to_string());
            stream.extend(request(&["SET", &key, &value]));
            stream.extend(request(&["GET", &key]));
            expected.extend(format!("+OK\r\n${}\r\n{value}\r\n", value.len()).into_bytes());
        }
        let mut writer = client.writer();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.send(&stream));
            client.expect_bytes(&expected);
        });
    }
}

#[test]
fn an_error_inside_a_pipeline_leaves_the_rest_alone() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.send(b"SET a 1\r\nINCR a b\r\nSET b x\r\nINCR b\r\nnosuch\r\nGET a\r\nGET b\r\n");
    client.expect_bytes(
        b"+OK\r\n-ERR wrong number of arguments for 'incr' command\r\n+OK\r\n\
          -ERR value is not an integer or out of range\r\n\
          -ERR unknown command 'nosuch', with args beginning with: \r\n$1\r\n1\r\n$1\r\nx\r\n",
    );
}

#[test]
fn what_was_sent_before_the_half_close_is_answered() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let count = 10_000;
    client.send(&b"PING\r\nGET nokey\r\n".repeat(count));
    client.send(b"*2\r\n$3\r\nGET\r\n$10\r\nunfin");
    client.finish_sending();
    client.expect_bytes(&b"+PONG\r\n$-1\r\n".repeat(count));
    assert_eq!(client.rest(), b"");
}

#[test]
fn resp3_is_spoken_by_the_connection_that_asked_for_it() {
    let server = Server::start(&["--shards", "2"]);
    let (mut old, mut new) = (server.client(), server.client());
    assert!(new.ask("HELLO 3").starts_with(b"%7\r\n"));
    new.expect("GET nokey", "_\\r\\n");
    old.expect("GET nokey", "$-1\\r\\n");
    new.expect("MGET nokey also", "*2\\r\\n_\\r\\n_\\r\\n");
    assert!(new.ask("HELLO 2").starts_with(b"*14\r\n"));
    new.expect("GET nokey", "$-1\\r\\n");
}

#[test]
fn values_of_every_size_come_back_as_they_were_sent() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    let sizes = [
        0, 1, 7, 8, 9, 254, 255, 256, 65_534, 65_535, 65_536, 262_143, 262_144, 262_145, 1_048_576,
        5_000_000,
    ];
    for size in sizes {
        let value: Vec<u8> = (0..size).map(|i: u32| (i % 251).to_le_bytes()[0]).collect();
        store_and_compare(&mut client, b"k", &value);
        store_and_compare(&mut client, &value, b"v");
        client.expect("FLUSHALL", "+OK\\r\\n");
    }
}

fn store_and_compare(client: &mut Client, key: &[u8], value: &[u8]) {
    assert_eq!(client.ask_with(&[b"SET", key, value]), b"+OK\r\n");
    client.send(&request(&[b"GET", key]));
    client.expect_bytes(&[format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat());
}
