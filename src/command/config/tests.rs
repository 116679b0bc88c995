//! CONFIG on several cores.

use crate::command::tests::Cores;

#[test]
fn get_replies_each_matching_setting_once() {
    let mut cores = Cores::new(1);
    let cases = [
        ("CONFIG GET port", "*2\r\n$4\r\nport\r\n$4\r\n6379\r\n"),
        ("CONFIG GET PORT port", "*2\r\n$4\r\nPORT\r\n$4\r\n6379\r\n"),
        (
            "CONFIG GET save appendonly",
            "*4\r\n$4\r\nsave\r\n$0\r\n\r\n$10\r\nappendonly\r\n$2\r\nno\r\n",
        ),
        (
            "CONFIG GET m*ory *policy",
            "*4\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n",
        ),
        ("CONFIG GET nosuch", "*0\r\n"),
        (
            "CONFIG GET",
            "-ERR wrong number of arguments for 'config|get' command\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
    cores.run("HELLO 3");
    assert_eq!(cores.run("CONFIG GET nosuch"), "%0\r\n");
    assert_eq!(
        cores.run("CONFIG GET timeout"),
        "%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"
    );
}

#[test]
fn set_reaches_every_core() {
    let mut cores = Cores::new(3);
    assert_eq!(
        cores.run("CONFIG SET timeout 10 MaxMemory 100mb requirepass x"),
        "+OK\r\n"
    );
    for core in &cores.cores {
        assert_eq!(core.settings.timeout_s, 10);
        assert_eq!(core.settings.maxmemory_bytes, 100 << 20);
        assert_eq!(core.settings.requirepass, "x");
    }
    // Who was there before the password stays in.
    assert_eq!(
        cores.run("CONFIG GET maxmemory"),
        "*2\r\n$9\r\nmaxmemory\r\n$9\r\n104857600\r\n"
    );
}

/// Checks each reply, and that no core's settings changed.
fn assert_refused(cases: &[(&str, String)]) {
    let mut cores = Cores::new(2);
    let before = cores.cores[1].settings.clone();
    for (command, reply) in cases {
        assert_eq!(&cores.run(command), reply, "{command}");
        assert!(
            cores.cores.iter().all(|core| core.settings == before),
            "{command}"
        );
    }
}

fn failed(name: &str, reason: &str) -> String {
    format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}\r\n")
}

#[test]
fn set_changes_nothing_if_one_name_is_wrong() {
    let unknown = |name: &str| {
        format!("-ERR Unknown option or number of arguments for CONFIG SET - '{name}'\r\n")
    };
    let arity = "-ERR wrong number of arguments for 'config|set' command\r\n".to_owned();
    let immutable = "can't set immutable config";
    assert_refused(&[
        ("CONFIG SET timeout 5 foo bar", unknown("foo")),
        ("CONFIG SET foo bar", unknown("foo")),
        ("CONFIG SET timeout 5 port 1", failed("port", immutable)),
        (
            "CONFIG SET timeout 5 unixsocketperm 700",
            failed("unixsocketperm", immutable),
        ),
        (
            "CONFIG SET timeout 5 tcp-backlog 7",
            failed("tcp-backlog", immutable),
        ),
        (
            "CONFIG SET timeout 5 timeout 6",
            failed("timeout", "duplicate parameter"),
        ),
        (
            "CONFIG SET timeout 5 maxmemory",
            "-ERR syntax error\r\n".to_owned(),
        ),
        ("CONFIG SET foo", arity),
    ]);
}

#[test]
fn set_changes_nothing_if_one_value_is_wrong() {
    let between =
        |min: u64, max: u64| format!("argument must be between {min} and {max} inclusive");
    let no_integer = "argument couldn't be parsed into an integer";
    let no_memory_value = "argument must be a memory value";
    let no_bool = "argument must be 'yes' or 'no'";
    let no_policy = "argument(s) must be one of the following: volatile-lru, volatile-lfu, \
                     volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, \
                     noeviction";
    assert_refused(&[
        (
            "CONFIG SET timeout 5 maxclients x",
            failed("maxclients", no_integer),
        ),
        (
            "CONFIG SET timeout 5 tcp-keepalive 5x",
            failed("tcp-keepalive", no_integer),
        ),
        (
            "CONFIG SET timeout 5 maxclients 0",
            failed("maxclients", &between(1, 4_294_967_295)),
        ),
        (
            "CONFIG SET tcp-keepalive 5 timeout -1",
            failed("timeout", &between(0, 2_147_483_647)),
        ),
        (
            "CONFIG SET timeout 5 maxmemory 4zb",
            failed("maxmemory", no_memory_value),
        ),
        (
            "CONFIG SET timeout 5 maxmemory -1",
            failed("maxmemory", no_memory_value),
        ),
        (
            "CONFIG SET timeout 5 protected-mode maybe",
            failed("protected-mode", no_bool),
        ),
        (
            "CONFIG SET timeout 5 maxmemory-policy allkeys",
            failed("maxmemory-policy", no_policy),
        ),
    ]);
}

#[test]
fn a_setting_with_one_value_may_be_set_to_it() {
    let mut cores = Cores::new(1);
    assert_eq!(cores.run("CONFIG SET appendonly no"), "+OK\r\n");
    assert_eq!(
        cores.run_args(&[b"CONFIG", b"SET", b"save", b""]),
        b"+OK\r\n"
    );
    assert!(
        cores
            .run("CONFIG SET appendonly yes")
            .starts_with("-ERR CONFIG SET failed")
    );
}

#[test]
fn a_budget_the_region_cannot_have_is_refused() {
    let mut cores = Cores::new(2);
    let before = cores.cores[0].settings.clone();
    let reply = cores.run("CONFIG SET timeout 5 maxmemory 1");
    let refusal = "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - ";
    assert!(reply.starts_with(refusal), "{reply}");
    assert!(cores.cores.iter().all(|core| core.settings == before));
}

#[test]
fn resetstat_begins_every_core_anew() {
    let mut cores = Cores::new(2);
    cores.cores[1].stats.commands_processed = 5;
    assert_eq!(cores.run("CONFIG RESETSTAT"), "+OK\r\n");
    assert_eq!(cores.cores[1].stats.commands_processed, 0);
}

#[test]
fn resetstat_forgets_the_keys_that_expired() {
    let mut cores = Cores::new(1);
    for expired_count in [1, 2] {
        cores.run("SET k v PX 10");
        cores.now.unix_us += 20_000;
        cores.run("GET k");
        let expected = format!("\r\nexpired_keys:{expired_count}\r\n");
        assert!(cores.run("INFO stats").contains(&expected));
    }
    cores.run("CONFIG RESETSTAT");
    let info = cores.run("INFO stats");
    assert!(info.contains("\r\nexpired_keys:0\r\n"), "{info}");
}
