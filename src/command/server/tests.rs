//! Commands about the whole data set.

use crate::command::tests::Cores;
use crate::shard::Attributes;

fn with_keys() -> Cores {
    let mut cores = Cores::new(3);
    for (shard, count) in cores.shards.iter_mut().zip([3, 0, 39]) {
        for number in 0..count {
            let name = format!("key:{number}");
            let key = shard.key(name.as_bytes());
            shard
                .store(key, b"value", Attributes::default(), 0)
                .unwrap();
        }
    }
    cores
}

#[test]
fn dbsize_adds_up_the_shards() {
    assert_eq!(with_keys().run("DBSIZE"), ":42\r\n");
}

#[test]
fn a_flush_empties_every_shard() {
    for command in ["FLUSHALL", "FLUSHDB", "flushall ASYNC", "FLUSHDB sync"] {
        let mut cores = with_keys();
        assert_eq!(cores.run(command), "+OK\r\n");
        assert_eq!(cores.run("DBSIZE"), ":0\r\n");
    }
}

#[test]
fn a_flush_with_nonsense_does_nothing() {
    let mut cores = with_keys();
    for command in ["FLUSHALL x", "FLUSHDB SYNC x", "FLUSHALL ASYNC ASYNC"] {
        assert_eq!(cores.run(command), "-ERR syntax error\r\n");
    }
    assert_eq!(cores.run("DBSIZE"), ":42\r\n");
}

#[test]
fn the_server_is_a_standalone_master_without_modules() {
    let mut cores = Cores::new(2);
    let cases = [
        ("TIME", "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        ("MODULE LIST", "*0\r\n"),
        (
            "MODULE LOAD",
            "-ERR 'MODULE LOAD' is not supported: modules cannot be loaded\r\n",
        ),
    ];
    for (command, reply) in cases {
        assert_eq!(cores.run(command), reply, "{command}");
    }
}
