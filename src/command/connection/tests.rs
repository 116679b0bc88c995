//! PING to SELECT, byte for byte.

use crate::command::tests::Cores;
use crate::resp::Protocol;

#[test]
fn small_commands_reply_as_redis_does() {
    let mut cores = Cores::new(1);
    let cases = [
        ("PING", "+PONG\r\n"),
        ("ping hi", "$2\r\nhi\r\n"),
        (
            "PING a b",
            "-ERR wrong number of arguments for 'ping' command\r\n",
        ),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        ("SELECT -1", "-ERR DB index is out of range\r\n"),
        (
            "SELECT x",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "SELECT 99999999999",
            "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
        ),
        ("AUTH a b c", "-ERR syntax error\r\n"),
        ("AUTH default anything", "+OK\r\n"),
        (
            "AUTH other x",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
}

#[test]
fn quit_and_exit_answer_before_the_connection_closes() {
    for command in ["QUIT", "EXIT", "quit now"] {
        let mut cores = Cores::new(1);
        assert_eq!(cores.run(command), "+OK\r\n");
        assert!(cores.session().close_after_reply);
    }
}

#[test]
fn an_http_request_closes_the_connection_without_a_word() {
    for command in ["POST / HTTP/1.1", "Host: localhost"] {
        let mut cores = Cores::new(1);
        assert_eq!(cores.run(command), "");
        assert!(cores.session().close_after_reply);
    }
}

#[test]
fn hello_switches_the_protocol_from_its_own_reply_on() {
    let mut cores = Cores::new(1);
    let resp2 = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.5\r\n$5\r\nproto\r\n\
        :2\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
        $7\r\nmodules\r\n*0\r\n";
    let resp3 = resp2.replace("*14", "%7").replace(":2\r", ":3\r");
    assert_eq!(cores.run("HELLO"), resp2);
    assert_eq!(cores.run("HELLO 3"), resp3);
    assert_eq!(cores.run("HELLO"), resp3);
    assert_eq!(cores.run("CLIENT GETNAME"), "_\r\n");
    assert_eq!(cores.run("hello 2 setname me auth default x"), resp2);
    assert_eq!(cores.run("CLIENT GETNAME"), "$2\r\nme\r\n");
}

#[test]
fn a_hello_that_is_wrong_somewhere_keeps_the_version_and_what_came_before() {
    let mut cores = Cores::new(1);
    let cases = [
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        (
            "HELLO x",
            "-ERR Protocol version is not an integer or out of range\r\n",
        ),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n"),
        (
            "HELLO 3 AUTH default",
            "-ERR Syntax error in HELLO option 'AUTH'\r\n",
        ),
        (
            "HELLO 3 SETNAME a SETNAME",
            "-ERR Syntax error in HELLO option 'SETNAME'\r\n",
        ),
        (
            "HELLO 3 SETNAME n AUTH other x",
            "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
    let reply = cores.run_args(&[b"HELLO", b"3", b"SETNAME", b"a b"]);
    let refusal = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(reply, refusal.as_bytes());
    assert_eq!(cores.session().protocol, Protocol::Resp2);
    assert_eq!(cores.session().name, b"n");
}

#[test]
fn the_password_is_needed_whole() {
    let mut cores = Cores::new(1);
    cores.cores[0].settings.requirepass = "secret".to_owned();
    cores.session().is_authenticated = false;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for password in ["secre", "secrets", "Secret", "x", "secretsecret"] {
        assert_eq!(cores.run(&format!("AUTH {password}")), wrong);
    }
    assert_eq!(cores.run("AUTH "), wrong);
    assert_eq!(cores.run("AUTH other secret"), wrong);
    assert!(
        cores
            .run("HELLO 3")
            .starts_with("-NOAUTH HELLO must be called with the client")
    );
    assert_eq!(cores.session().protocol, Protocol::Resp2);
    assert!(
        cores
            .run("HELLO 3 AUTH default secret")
            .starts_with("%7\r\n")
    );
    assert!(cores.session().is_authenticated);
    // A wrong password later does not take away what the right one gave.
    assert_eq!(cores.run("AUTH wrong"), wrong);
    assert_eq!(cores.run("PING"), "+PONG\r\n");
}

#[test]
fn reset_makes_the_connection_new() {
    let mut cores = Cores::new(1);
    cores.run("HELLO 3 SETNAME me");
    cores.run("CLIENT NO-EVICT on");
    cores.run("CLIENT NO-TOUCH on");
    cores.cores[0].settings.requirepass = "secret".to_owned();
    assert_eq!(cores.run("RESET"), "+RESET\r\n");
    let session = cores.session();
    assert_eq!(session.protocol, Protocol::Resp2);
    assert!(session.name.is_empty());
    assert!(!session.is_no_evict);
    assert!(!session.is_no_touch);
    assert!(!session.is_authenticated);
}
