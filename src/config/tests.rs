//! The table of settings as users meet it.

use super::*;

fn set(config: &mut Config, name: &str, value: &str) -> Result<Applied, Error> {
    config.set(name, &[value.to_owned()])
}

#[test]
fn what_print_config_shows_reads_back_as_the_same_configuration() {
    let mut config = Config::default();
    for (name, value) in [
        ("port", "7001"),
        ("bind", "10.0.0.1 -::1"),
        ("requirepass", "a b\"c"),
        ("maxmemory", "3gb"),
        ("maxmemory-clients", "100mb"),
        ("shards", "3"),
        ("cpus", "1,0"),
        ("unixsocket", "/tmp/a socket"),
        ("unixsocketperm", "770"),
        ("protected-mode", "no"),
    ] {
        assert_eq!(set(&mut config, name, value).unwrap(), Applied::Set);
    }
    let mut read_back = Config::default();
    let path = std::env::temp_dir().join(format!("coremap-config-{}", std::process::id()));
    std::fs::write(&path, config.to_string()).unwrap();
    assert_eq!(read_back.read_file(&path).unwrap(), Vec::<String>::new());
    std::fs::remove_file(&path).unwrap();
    config.config_file = read_back.config_file.clone();
    assert_eq!(read_back, config);
}

#[test]
fn the_defaults_read_back_as_the_defaults() {
    let mut config = Config::default();
    for line in Config::default().to_string().lines() {
        let (name, value) = line.split_once(' ').unwrap();
        let values: Vec<_> = value
            .split(' ')
            .map(|word| word.trim_matches('"').to_owned())
            .collect();
        config.set(name, &values).unwrap();
    }
    assert_eq!(config, Config::default());
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let mut config = Config::default();
    for (name, value, reason) in [
        (
            "port",
            "65536",
            "port: '65536' is not a number from 0 to 65535",
        ),
        (
            "maxclients",
            "0",
            "maxclients: '0' is not a number from 1 to",
        ),
        ("maxmemory", "1kb", "maxmemory: 1kb is not from"),
        (
            "protected-mode",
            "maybe",
            "protected-mode: 'maybe' is neither yes nor no",
        ),
        (
            "maxmemory-policy",
            "allkeys",
            "maxmemory-policy: 'allkeys' is none of: volatile-lru, volatile-lfu, ",
        ),
        (
            "unixsocketperm",
            "8",
            "unixsocketperm: '8' is not an octal permission",
        ),
        ("bind", "", "bind: needs an address"),
        (
            "cpus",
            "1-",
            "cpus: '1-' is not a list of CPUs such as 0,2-5",
        ),
        ("cpus", "1,0-2", "cpus: CPU 1 is named twice"),
    ] {
        let error = set(&mut config, name, value).unwrap_err();
        assert!(error.to_string().starts_with(reason), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = config
        .set("port", &["1".to_owned(), "2".to_owned()])
        .unwrap_err();
    assert_eq!(error.to_string(), "port: takes one value, not 2");
}

#[test]
fn a_misspelt_name_gets_the_nearest_one_and_nonsense_gets_none() {
    assert_eq!(nearest_name("maxclient"), Some("maxclients"));
    assert_eq!(nearest_name("max-memory"), Some("maxmemory"));
    assert_eq!(nearest_name("quux"), None);
    assert_eq!(edit_distance("kitten", "sitting"), 3);
}

#[test]
fn values_that_a_program_wrote_are_checked() {
    let mut config = Config::default();
    config.check().unwrap();
    config.settings.requirepass = "a b\"c".to_owned();
    config.check().unwrap();
    config.settings.shards = 5000;
    let error = config.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "shards: '5000' is not a number from 0 to 1024"
    );
}

#[test]
fn the_file_that_is_shipped_has_every_setting_with_its_default() {
    let text = include_str!("../../deploy/coremap.conf");
    let (mut config, mut examples) = (Config::default(), Config::default());
    for setting in choices() {
        let names = |line: &&str| line.split(' ').next() == Some(setting.name);
        let in_force = text.lines().find(names);
        let mut commented = text.lines().filter_map(|line| line.strip_prefix("# "));
        let (line, target) = match in_force {
            Some(line) => (line, &mut config),
            None => (commented.find(names).expect(setting.name), &mut examples),
        };
        let values: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
        let applied = target.set(setting.name, &values).unwrap();
        assert_eq!(applied, Applied::Set, "{line}");
    }
    assert_eq!(config, Config::default());
}

#[test]
fn promises_of_durability_are_refused_without_a_directory_to_keep_them_in() {
    for (name, value) in [("appendonly", "yes"), ("appendfsync", "always")] {
        let mut config = Config::default();
        set(&mut config, name, value).unwrap();
        let refused = config.check().unwrap_err().to_string();
        let reason =
            format!("{name}: '{value}' needs dir, without which all data is in memory only");
        assert_eq!(refused, reason);
        set(&mut config, "dir", "/var/lib/coremap").unwrap();
        config.check().unwrap();
    }
    let mut config = Config::default();
    for (name, value) in [("appendonly", "no"), ("appendfsync", "everysec")] {
        set(&mut config, name, value).unwrap();
    }
    config.check().unwrap();
}

#[test]
fn what_is_for_memory_alone_is_refused_with_a_directory() {
    for name in ["lock-memory", "prefault"] {
        let mut config = Config::default();
        set(&mut config, name, "yes").unwrap();
        config.check().unwrap();
        set(&mut config, "dir", "/var/lib/coremap").unwrap();
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.starts_with(name), "{refused}");
    }
}
