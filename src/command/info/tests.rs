//! INFO over several cores.

use crate::command::tests::Cores;
use crate::shard::Attributes;

/// The text of a reply to INFO.
fn info(cores: &mut Cores, command: &str) -> String {
    let reply = cores.run(command);
    let (header, text) = reply.split_once("\r\n").unwrap();
    let len: usize = header.strip_prefix('$').unwrap().parse().unwrap();
    assert_eq!(text.len(), len + 2);
    text[..len].to_owned()
}

fn titles(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# "))
        .collect()
}

#[test]
fn sections_come_as_asked_for() {
    let mut cores = Cores::new(1);
    let all = info(&mut cores, "INFO");
    assert_eq!(titles(&all).first(), Some(&"Server"));
    assert_eq!(titles(&all).last(), Some(&"Keyspace"));
    assert_eq!(titles(&info(&mut cores, "INFO default")), titles(&all));
    let everything = info(&mut cores, "INFO everything");
    assert_eq!(titles(&everything).len(), titles(&all).len() + 2);
    for command in [
        "INFO ALL",
        "INFO cpu all",
        "INFO default commandstats latencystats",
    ] {
        assert_eq!(titles(&info(&mut cores, command)), titles(&everything));
    }
    assert_eq!(
        titles(&info(&mut cores, "INFO Stats SERVER nosuch")),
        ["Server", "Stats"]
    );
    assert_eq!(info(&mut cores, "INFO nosuch"), "");
    assert_eq!(info(&mut cores, "INFO keyspace"), "# Keyspace\r\n");
    let two = info(&mut cores, "INFO cluster keyspace");
    assert_eq!(two, "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n");
}

#[test]
fn every_line_is_a_title_a_field_or_a_gap() {
    let mut cores = Cores::new(2);
    let text = info(&mut cores, "INFO");
    assert!(text.ends_with("\r\n"));
    let mut names = std::collections::HashSet::new();
    for line in text
        .split("\r\n")
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
    {
        let (name, _) = line.split_once(':').expect("a field has a value");
        assert!(names.insert(name), "{name} comes twice");
    }
    for name in [
        "redis_version",
        "coremap_version",
        "run_id",
        "tcp_port",
        "uptime_in_seconds",
        "connected_clients",
        "blocked_clients",
        "used_memory",
        "used_memory_rss",
        "maxmemory",
        "maxmemory_policy",
        "loading",
        "aof_enabled",
        "rdb_bgsave_in_progress",
        "total_connections_received",
        "total_commands_processed",
        "instantaneous_ops_per_sec",
        "total_net_input_bytes",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "role",
        "connected_slaves",
        "used_cpu_sys",
        "used_cpu_user",
        "cluster_enabled",
        "core0",
        "core1",
        "coremap_turn_longest_us",
    ] {
        assert!(names.contains(name), "{name} is missing");
    }
}

#[test]
fn numbers_are_of_all_cores() {
    let mut cores = Cores::new(3);
    cores.connect(2, 8);
    for (shard, number) in cores.shards.iter_mut().zip([1_u64, 2, 3]) {
        for key in 0..number {
            let name = format!("key:{key}");
            let key = shard.key(name.as_bytes());
            shard
                .store(key, b"value", Attributes::default(), 0)
                .unwrap();
        }
    }
    for (core, number) in cores.cores.iter_mut().zip([10, 20, 30]) {
        core.stats.commands_processed = number;
        core.stats.turn_longest_us = number;
    }
    let text = info(&mut cores, "INFO");
    for line in [
        "connected_clients:2",
        "total_commands_processed:60",
        "coremap_turn_longest_us:30",
        "db0:keys=6,expires=0,avg_ttl=0",
        "core1:cpu=any,keys=2,connections=0,load_permille=0,ops_per_sec=0,turn_longest_us=20",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in {text}"
        );
    }
}

#[test]
fn long_turns_are_counted_by_how_long_they_were() {
    let mut cores = Cores::new(2);
    for (core, us) in [(0, 999), (0, 1_000), (1, 2_000), (1, 4_999), (1, 5_000)] {
        cores.cores[core].note_busy(us * 1_000);
    }
    let text = info(&mut cores, "INFO");
    for line in [
        "coremap_turns_over_1ms:4",
        "coremap_turns_over_2ms:3",
        "coremap_turns_over_5ms:1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn in_resp3_info_is_verbatim_text() {
    let mut cores = Cores::new(1);
    cores.run("HELLO 3");
    assert_eq!(cores.run("INFO keyspace"), "=16\r\ntxt:# Keyspace\r\n\r\n");
}

#[test]
fn the_average_time_to_live_is_of_the_keys_that_expire() {
    let mut cores = Cores::new(1);
    cores.run("SET a x PX 100000");
    cores.run("SET b x PX 300000");
    cores.run("SET c x");
    let text = info(&mut cores, "INFO keyspace");
    assert_eq!(
        text,
        "# Keyspace\r\ndb0:keys=3,expires=2,avg_ttl=200000\r\n"
    );
}
