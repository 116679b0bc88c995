//! The table of settings and the values they take.

use super::*;

#[test]
fn every_default_is_a_value_of_its_setting() {
    let mut settings = Settings::default();
    for setting in SETTINGS {
        assert_eq!(
            settings.set(setting, setting.default),
            Ok(()),
            "{}",
            setting.name
        );
        let printed = settings.get(setting);
        assert_eq!(settings.set(setting, &printed), Ok(()), "{}", setting.name);
        assert_eq!(settings.get(setting), printed, "{}", setting.name);
        let shown = settings.show(setting);
        assert!(!shown.is_empty() && !setting.help.is_empty());
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn settings_are_sorted_and_found_in_any_case() {
    assert!(SETTINGS.is_sorted_by(|left, right| left.name < right.name));
    for setting in SETTINGS {
        let found = find(&setting.name.to_ascii_uppercase());
        assert_eq!(found.map(|setting| setting.name), Some(setting.name));
    }
    assert!(find("nosuch").is_none());
}

#[test]
fn bytes_have_the_units_of_redis() {
    let cases = [
        ("0", Some(0)),
        ("17b", Some(17)),
        ("1k", Some(1_000)),
        ("1kb", Some(1_024)),
        ("2M", Some(2_000_000)),
        ("2Mb", Some(2 << 20)),
        ("4g", Some(4_000_000_000)),
        ("4GB", Some(4 << 30)),
        ("4GiB", Some(4 << 30)),
        ("", None),
        ("gb", None),
        ("-1", None),
        ("1.5gb", None),
        ("1tb", None),
        ("1 gb", None),
        ("99999999999999999999", None),
        ("99999999999gb", None),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_bytes(text), bytes, "{text}");
    }
}

#[test]
fn bytes_are_printed_for_people_as_redis_prints_them() {
    let cases = [
        (0, "0B"),
        (1_023, "1023B"),
        (1_024, "1.00K"),
        (1_686_576, "1.61M"),
        (25_276_510_208, "23.54G"),
        (1 << 41, "2.00T"),
    ];
    for (bytes, text) in cases {
        assert_eq!(format_bytes(bytes), text);
    }
}

#[test]
fn lists_of_cpus_name_each_once() {
    let mut settings = Settings::default();
    let cpus = find("cpus").unwrap();
    for text in ["a", "1-", "3-1", "1,1", "0-100000", "1,,2"] {
        assert!(settings.set(cpus, text).is_err(), "{text}");
    }
}

#[test]
fn sizes_are_shown_in_the_largest_unit_that_fits() {
    for (bytes, text) in [(4 << 30, "4gb"), (1_000_000, "1000000"), (0, "0")] {
        assert_eq!(value::format_size(bytes), text);
    }
}

#[test]
fn values_are_read_and_printed_in_their_kind() {
    let cases = [
        ("bind", "10.0.0.1  ::1", "10.0.0.1 ::1"),
        ("unixsocketperm", "0770", "770"),
        ("protected-mode", "NO", "no"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory-policy", "NoEviction", "noeviction"),
        ("port", "0", "0"),
        ("cpus", "3,0-2", "3,0,1,2"),
        ("cpus", "", ""),
        ("requirepass", "a b", "a b"),
    ];
    let mut settings = Settings::default();
    for (name, text, printed) in cases {
        let setting = find(name).unwrap();
        settings.set(setting, text).unwrap();
        assert_eq!(settings.get(setting), printed);
    }
}

#[test]
fn a_value_out_of_its_kind_is_refused_and_changes_nothing() {
    let cases = [
        (
            "port",
            "65536",
            "argument must be between 0 and 65535 inclusive",
        ),
        (
            "port",
            "http",
            "argument couldn't be parsed into an integer",
        ),
        (
            "unixsocketperm",
            "1000",
            "argument must be between 0 and 777 inclusive",
        ),
        (
            "unixsocketperm",
            "8",
            "argument must be between 0 and 777 inclusive",
        ),
        (
            "databases",
            "16",
            "argument must be between 1 and 1 inclusive",
        ),
        (
            "proto-max-bulk-len",
            "5",
            "argument must be between 1048576 and 536870912 inclusive",
        ),
        (
            "appendfsync",
            "sometimes",
            "argument(s) must be one of the following: always, everysec, no",
        ),
        ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
    ];
    let mut settings = Settings::default();
    for (name, text, reason) in cases {
        assert_eq!(
            settings
                .set(find(name).unwrap(), text)
                .map_err(Misfit::for_client),
            Err(reason.to_owned()),
            "{name}"
        );
    }
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_guard_looks_more_often_than_the_executor_is_made_to() {
    let settings = Settings::default();
    assert!(settings.guard_timer_us < settings.preempt_timer_us);
}
