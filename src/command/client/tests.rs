//! CLIENT over several cores.

use crate::command::tests::Cores;

#[test]
fn a_connection_knows_itself() {
    let mut cores = Cores::new(2);
    let cases = [
        ("CLIENT ID", ":7\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("CLIENT GETNAME", "$2\r\nme\r\n"),
        ("CLIENT SETNAME ", "+OK\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT NO-EVICT x", "-ERR syntax error\r\n"),
        ("CLIENT NO-EVICT on", "+OK\r\n"),
        ("CLIENT NO-TOUCH ON", "+OK\r\n"),
        ("CLIENT NO-EVICT off", "+OK\r\n"),
        ("CLIENT SETINFO lib-name redis-py", "+OK\r\n"),
        ("CLIENT SETINFO LIB-VER 5.0.1", "+OK\r\n"),
        (
            "CLIENT SETINFO lib-color red",
            "-ERR Unrecognized option 'lib-color'\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
    let reply = cores.run_args(&[b"CLIENT", b"SETINFO", b"Lib-Name", b"a b"]);
    let refusal = "-ERR Lib-Name cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(reply, refusal.as_bytes());
    let reply = cores.run_args(&[b"CLIENT", b"SETNAME", b"a\nb"]);
    let refusal = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(reply, refusal.as_bytes());
}

#[test]
fn info_has_the_fields_of_redis_in_its_order() {
    let mut cores = Cores::new(1);
    cores.run("CLIENT SETNAME me");
    cores.run("CLIENT SETINFO lib-name rs");
    cores.now.unix_us += 3_000_000;
    let line = cores.run("CLIENT INFO");
    let line = line.split("\r\n").nth(1).unwrap();
    assert!(line.starts_with(
        "id=7 addr=10.0.0.1:7 laddr=10.0.0.9:6379 fd=0 name=me age=3 idle=3 flags=N db=0 sub=0 \
         psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 \
         omem=0 tot-mem="
    ));
    assert!(line.ends_with(
        " events=r cmd=client|info user=default redir=-1 resp=2 lib-name=rs lib-ver=\n"
    ));
}

/// The numbers of the clients in a reply of LIST.
fn listed(reply: &str) -> Vec<&str> {
    let (_, lines) = reply.split_once("\r\n").unwrap();
    lines
        .lines()
        .filter_map(|line| line.strip_prefix("id=")?.split(' ').next())
        .collect()
}

#[test]
fn list_has_the_clients_of_all_cores_by_number() {
    let mut cores = Cores::new(3);
    cores.connect(2, 3);
    cores.connect(1, 12);
    cores.connect(0, 5);
    assert_eq!(listed(&cores.run("CLIENT LIST")), ["3", "5", "7", "12"]);
    assert_eq!(
        listed(&cores.run("CLIENT LIST TYPE Normal")),
        ["3", "5", "7", "12"]
    );
    assert_eq!(
        listed(&cores.run("CLIENT LIST ID 12 3 99 12")),
        ["12", "3", "12"]
    );
    assert_eq!(cores.run("CLIENT LIST TYPE replica"), "$0\r\n\r\n");
    let cases = [
        ("CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'\r\n"),
        ("CLIENT LIST TYPE", "-ERR syntax error\r\n"),
        ("CLIENT LIST ID", "-ERR syntax error\r\n"),
        ("CLIENT LIST ID 1 x", "-ERR Invalid client ID\r\n"),
        ("CLIENT LIST foo", "-ERR syntax error\r\n"),
        ("CLIENT LIST TYPE normal ID 3", "-ERR syntax error\r\n"),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
    cores.run("HELLO 3");
    assert!(cores.run("CLIENT LIST").starts_with('='));
}

#[test]
fn a_long_list_is_made_in_several_calls() {
    let mut cores = Cores::new(2);
    for id in 100..1_100 {
        cores.connect(usize::from(id % 3 == 0), id);
    }
    let reply = cores.run("CLIENT LIST");
    let listed = listed(&reply);
    assert_eq!(listed.len(), 1_001);
    assert!(
        listed
            .iter()
            .map(|id| id.parse::<u64>().unwrap())
            .is_sorted()
    );
    assert_eq!(cores.run("CLIENT LIST ID 700").matches("id=").count(), 1);
}

#[test]
fn kill_closes_what_all_conditions_hold_for() {
    let mut cores = Cores::new(2);
    let other = cores.connect(1, 12);
    cores.connect(1, 13);
    assert_eq!(cores.run("CLIENT KILL 10.0.0.1:12"), "+OK\r\n");
    assert!(cores.cores[1].clients[other].is_killed);
    assert_eq!(
        cores.run("CLIENT KILL 1.2.3.4:5"),
        "-ERR No such client\r\n"
    );
    assert_eq!(cores.run("CLIENT KILL ID 13 ADDR 10.0.0.1:12"), ":0\r\n");
    assert_eq!(
        cores.run("CLIENT KILL ID 13 TYPE normal USER default"),
        ":1\r\n"
    );
    assert_eq!(cores.run("CLIENT KILL TYPE pubsub"), ":0\r\n");
    let mut killed = Vec::new();
    cores.cores[1].clients.take_killed(&mut killed);
    assert_eq!(killed.len(), 2);
}

#[test]
fn kill_spares_the_caller_unless_told_otherwise() {
    let mut cores = Cores::new(2);
    cores.connect(1, 12);
    assert_eq!(cores.run("CLIENT KILL LADDR 10.0.0.9:6379"), ":1\r\n");
    assert!(!cores.session().close_after_reply);
    assert_eq!(cores.run("CLIENT KILL ID 7 SKIPME no"), ":1\r\n");
    // It still gets the reply.
    assert!(cores.session().close_after_reply);
    assert!(!cores.session().is_killed);

    let mut cores = Cores::new(1);
    assert_eq!(cores.run("CLIENT KILL 10.0.0.1:7"), "+OK\r\n");
    assert!(cores.session().close_after_reply);
}

#[test]
fn kill_refuses_what_redis_refuses() {
    let mut cores = Cores::new(2);
    let cases = [
        (
            "CLIENT KILL",
            "-ERR wrong number of arguments for 'client|kill' command\r\n",
        ),
        (
            "CLIENT KILL ID x",
            "-ERR client-id should be greater than 0\r\n",
        ),
        (
            "CLIENT KILL ID 0",
            "-ERR client-id should be greater than 0\r\n",
        ),
        ("CLIENT KILL ADDR 1:2 SKIPME", "-ERR syntax error\r\n"),
        ("CLIENT KILL ADDR 1:2 SKIPME x", "-ERR syntax error\r\n"),
        ("CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'\r\n"),
        ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'\r\n"),
        ("CLIENT KILL FOO bar", "-ERR syntax error\r\n"),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
}

#[test]
fn help_begins_and_ends_as_that_of_redis() {
    let reply = Cores::new(1).run("CLIENT HELP");
    let lines: Vec<&str> = reply.split("\r\n").collect();
    assert_eq!(lines[0], format!("*{}", lines.len() - 2));
    assert_eq!(
        lines[1],
        "+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    );
    assert_eq!(
        lines[lines.len() - 3..],
        ["+HELP", "+    Prints this help.", ""]
    );
}
