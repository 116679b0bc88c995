//! What operators do to a running server: pause it, mute and unblock clients, look for what is slow,
//! change and keep settings, end it. With two shards, so that every core has to hear of it.

mod common;

use std::time::Duration;

use common::client::{Client, request};
use common::process::{Folder, Server};
use common::{PATIENCE, now, scale};

fn info_field(client: &mut Client, section: &str, name: &str) -> String {
    let text = client.value(&format!("INFO {section}")).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.strip_prefix(':'))
        .unwrap_or_else(|| panic!("{name} is not in {text}"))
        .to_owned()
}

#[test]
fn a_pause_lets_writes_wait_and_ends_by_time_or_by_command() {
    let server = Server::start(&["--shards", "2"]);
    let (mut operator, mut writer) = (server.client(), server.client());
    operator.expect("CLIENT PAUSE 60000 WRITE", "+OK\\r\\n");
    writer.send(b"SET a 1\r\nSET b 2\r\nGET a\r\n");
    operator.expect("GET a", "$-1\\r\\n");
    let until = now() + PATIENCE;
    while info_field(&mut operator, "clients", "blocked_clients") != "1" {
        assert!(now() < until, "the writer does not wait");
    }
    operator.expect("CLIENT UNPAUSE", "+OK\\r\\n");
    writer.expect_bytes(b"+OK\r\n+OK\r\n$1\r\n1\r\n");
    operator.expect("GET b", "$1\\r\\n2\\r\\n");

    let began = now();
    operator.expect("CLIENT PAUSE 300", "+OK\\r\\n");
    writer.expect("GET a", "$1\\r\\n1\\r\\n");
    assert!(now() - began >= Duration::from_millis(300));
    operator.expect("PING", "+PONG\\r\\n");
}

#[test]
fn who_is_muted_is_not_answered_and_served_all_the_same() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    client.send(
        b"SET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nSET b 2\r\nGET b\r\nNOSUCH\r\nMGET a b c d\r\n",
    );
    client.send(b"CLIENT REPLY ON\r\nGET b\r\n");
    client.expect_bytes(b"+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
    client.send(b"CLIENT REPLY SKIP\r\nMSET a 3 b 4 c 5 d 6\r\nGET b\r\nGET c\r\n");
    client.expect_bytes(b"$1\r\n4\r\n$1\r\n5\r\n");
    client.expect(
        "CLIENT REPLY",
        "-ERR wrong number of arguments for 'client|reply' command\\r\\n",
    );
    client.expect("CLIENT REPLY x", "-ERR syntax error\\r\\n");
    client.send(b"CLIENT REPLY OFF\r\n");
    client.send(&request(&[&b"SET"[..], b"large", &[b'v'; 1 << 20]]));
    client.send(b"GET large\r\nCLIENT REPLY ON\r\nSTRLEN large\r\n");
    client.expect_bytes(b"+OK\r\n:1048576\r\n");
    client.send(b"CLIENT REPLY OFF\r\nRESET\r\nPING\r\n");
    client.expect_bytes(b"+RESET\r\n+PONG\r\n");
}

#[test]
fn who_waits_can_be_unblocked_with_or_without_an_error() {
    let server = Server::start(&["--shards", "2"]);
    let (mut operator, mut waiting) = (server.client(), server.client());
    let id = waiting.value("CLIENT ID").integer();
    operator.expect(&format!("CLIENT UNBLOCK {id}"), ":0\\r\\n");
    let unblocked = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    for (command, how, reply) in [
        ("WAITAOF 0 1 0", "", &b"*2\r\n:0\r\n:0\r\n"[..]),
        ("WAITAOF 0 1 0", " ERROR", unblocked),
        ("WAIT 1 0", "", b":0\r\n"),
        ("WAIT 1 1000000", " ERROR", unblocked),
    ] {
        waiting.send(format!("{command}\r\n").as_bytes());
        let until = now() + PATIENCE;
        while operator
            .value(&format!("CLIENT UNBLOCK {id}{how}"))
            .integer()
            == 0
        {
            assert!(now() < until, "it does not wait");
        }
        waiting.expect_bytes(reply);
        waiting.expect("PING", "+PONG\\r\\n");
    }
}

#[test]
fn debug_says_how_a_value_is_kept_where_it_is_allowed() {
    let server = Server::start(&["--shards", "2", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    for (value, kept) in [
        ("12345", "encoding:int serializedlength:3"),
        ("99999999999", "encoding:int serializedlength:12"),
        ("abc", "encoding:embstr serializedlength:4"),
    ] {
        for key in ["a", "b"] {
            client.expect(&format!("SET {key} {value}"), "+OK\\r\\n");
            let reply = format!("+Value at:0x0 refcount:1 {kept}\\r\\n");
            client.expect(&format!("DEBUG OBJECT {key}"), &reply);
        }
    }
    client.expect("DEBUG OBJECT none", "-ERR no such key\\r\\n");
    let server = Server::start(&["--shards", "2"]);
    let reply = server.client().ask("DEBUG OBJECT none");
    assert!(reply.starts_with(b"-ERR DEBUG command not allowed"));
}

#[test]
fn every_command_is_noted_when_everything_is_slow() {
    let server = Server::start(&["--shards", "2"]);
    let (mut operator, mut client) = (server.client(), server.client());
    operator.expect("CONFIG SET slowlog-log-slower-than 0", "+OK\\r\\n");
    client.send(b"SET a 1\r\nMSET a 2 b 3 c 4\r\nGET a\r\n");
    client.expect_bytes(b"+OK\r\n+OK\r\n$1\r\n2\r\n");
    operator.expect("CONFIG SET slowlog-log-slower-than -1", "+OK\\r\\n");
    let log = String::from_utf8_lossy(&operator.ask("SLOWLOG GET 100")).into_owned();
    for command in [
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
        "*7\r\n$4\r\nMSET\r\n$1\r\na\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    ] {
        assert_eq!(log.matches(command).count(), 1, "{command} in {log}");
    }
    operator.expect("SLOWLOG RESET", "+OK\\r\\n");
    operator.expect("SLOWLOG LEN", ":0\\r\\n");
}

#[test]
fn what_commands_cost_is_counted_wherever_they_ran() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = server.client();
    for number in 0..100 {
        client.expect(&format!("SET key:{number} x"), "+OK\\r\\n");
    }
    client.ask("INCR key:1");
    client.ask("NOSUCH");
    let set = info_field(&mut client, "commandstats", "cmdstat_set");
    assert!(set.starts_with("calls=100,usec="), "{set}");
    assert!(set.ends_with("rejected_calls=0,failed_calls=0"), "{set}");
    let incr = info_field(&mut client, "all", "cmdstat_incr");
    assert!(
        incr.starts_with("calls=1,") && incr.ends_with("failed_calls=1"),
        "{incr}"
    );
    assert_eq!(
        info_field(&mut client, "errorstats", "errorstat_ERR"),
        "count=2"
    );
    let percentiles = info_field(&mut client, "latencystats", "latency_percentiles_usec_set");
    assert!(percentiles.starts_with("p50="), "{percentiles}");
    let histogram = client.value("LATENCY HISTOGRAM set").list();
    assert_eq!(histogram.len(), 2);
    client.expect("CONFIG RESETSTAT", "+OK\\r\\n");
    let text = client.value("INFO commandstats").text();
    assert!(!text.contains("cmdstat_set"), "{text}");
}

/// Whether clients of several cores see one value of a setting.
fn agree(clients: &mut [Client], name: &str) -> bool {
    let mut values = clients
        .iter_mut()
        .map(|client| client.ask(&format!("CONFIG GET {name}")));
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// Two cores could take two changes in two orders, and keep different values for ever.
#[test]
fn changes_that_meet_leave_all_cores_with_the_same_settings() {
    let folder = Folder::new();
    let file = folder.path().join("coremap.conf");
    std::fs::write(&file, "timeout 0\n").expect("it is writable");
    let path = file.to_str().expect("it is text");
    let server = Server::start(&[path, "--shards", "2"]);
    let mut clients = [server.client(), server.client()];
    for round in 0..scale(300, 5_000) {
        let is_reloaded = round % 2 == 0;
        if is_reloaded {
            server.signal("HUP");
        }
        for (number, client) in (1..).zip(&mut clients) {
            client.send(format!("CONFIG SET timeout {}\r\n", 1_000 * number + round).as_bytes());
        }
        for client in &mut clients {
            client.expect_bytes(b"+OK\r\n");
        }
        if is_reloaded {
            let until = now() + PATIENCE;
            while !agree(&mut clients, "timeout") {
                assert!(now() < until, "they disagree after a reload, round {round}");
            }
        } else {
            assert!(
                agree(&mut clients, "timeout"),
                "they disagree, round {round}"
            );
        }
    }
    server.signal("TERM");
    let (_, said) = server.wait();
    assert!(!said.contains(" warning "), "{said}");
}

#[test]
fn a_rewritten_file_gives_the_same_settings_at_the_next_start() {
    let folder = Folder::new();
    let file = folder.path().join("coremap.conf");
    std::fs::write(&file, "# mine\ntimeout 5\nmaxclients 100\n").expect("it is writable");
    let path = file.to_str().expect("it is text");
    let server = Server::start(&[path, "--shards", "2"]);
    let mut client = server.client();
    client.expect(
        "CONFIG SET timeout 9 maxmemory-policy allkeys-lru",
        "+OK\\r\\n",
    );
    client.expect("CONFIG REWRITE", "+OK\\r\\n");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let expected = "# mine\ntimeout 9\nmaxclients 100\n\n# Generated by CONFIG REWRITE\n\
        maxmemory-policy allkeys-lru\n";
    assert_eq!(text, expected);
    drop(server);
    let server = Server::start(&[path, "--shards", "2"]);
    let mut client = server.client();
    client.expect(
        "CONFIG GET timeout",
        "*2\\r\\n$7\\r\\ntimeout\\r\\n$1\\r\\n9\\r\\n",
    );
    let server = Server::start(&["--shards", "1"]);
    let without = "-ERR The server is running without a config file\\r\\n";
    server.client().expect("CONFIG REWRITE", without);
}

#[test]
fn a_rewrite_touches_no_file_that_others_have_made_and_leaves_no_draft() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    let [file, other, trap] =
        ["coremap.conf", "other", "coremap.rewrite"].map(|name| folder.path().join(name));
    std::fs::write(&file, "requirepass secret\n").expect("it is writable");
    let secret = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, secret).expect("it is ours");
    std::fs::write(&other, "another's").expect("it is writable");
    symlink(&other, &trap).expect("it is not there");
    let server = Server::start(&[file.to_str().expect("it is text"), "--shards", "2"]);
    let mut client = server.client();
    client.expect("AUTH secret", "+OK\\r\\n");
    for _ in 0..2 {
        client.expect("CONFIG REWRITE", "+OK\\r\\n");
    }
    let text = std::fs::read_to_string(&other).expect("it is there");
    assert_eq!(text, "another's");
    let metadata = std::fs::metadata(&file).expect("it is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let entries = std::fs::read_dir(folder.path()).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["coremap.conf", "coremap.rewrite", "other"]);
}

#[test]
fn shutdown_ends_the_server_in_order() {
    for options in ["", " NOSAVE", " NOW FORCE"] {
        let server = Server::start(&["--shards", "2"]);
        let (mut operator, mut client) = (server.client(), server.client());
        operator.expect("SHUTDOWN ABORT", "-ERR No shutdown in progress.\\r\\n");
        operator.expect("SHUTDOWN SAVE NOSAVE", "-ERR syntax error\\r\\n");
        client.expect("SET a 1", "+OK\\r\\n");
        operator.send(format!("SHUTDOWN{options}\r\n").as_bytes());
        assert_eq!(operator.rest(), b"");
        let (status, said) = server.wait();
        assert!(status.success(), "{said}");
    }
}

#[test]
fn debug_sleep_keeps_nobody_else_waiting() {
    let server = Server::start(&["--shards", "2", "--enable-debug-command", "local"]);
    let (mut sleeper, mut client) = (server.client(), server.client());
    let began = now();
    sleeper.send(b"DEBUG SLEEP 0.3\r\n");
    client.expect("SET a 1", "+OK\\r\\n");
    client.expect("GET a", "$1\\r\\n1\\r\\n");
    sleeper.expect_bytes(b"+OK\r\n");
    assert!(now() - began >= Duration::from_millis(300));
}
