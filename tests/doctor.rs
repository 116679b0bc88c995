//! `coremap doctor` as a user runs it: on this host as it is, with little lockable memory, without
//! io_uring, and on a tree of files with a CPU quota.
//!
//! The verdicts of every check on hosts of all kinds are unit tests (`src/cli/doctor/tests.rs`).

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::process::{Folder, Forbidden, coremap, run};
use common::skip_because;

/// The line of a check, which begins with its verdict.
#[track_caller]
fn line<'a>(report: &'a str, name: &str) -> &'a str {
    let mut lines = report.lines();
    lines
        .find(|line| line.split_whitespace().nth(1) == Some(name))
        .unwrap_or_else(|| panic!("no line of {name} in:\n{report}"))
}

#[track_caller]
fn expect_bad(output: &Output, name: &str, value: &str, fix: &str) {
    let report = String::from_utf8_lossy(&output.stdout);
    let line = line(&report, name);
    assert!(line.starts_with("bad ") && line.contains(value), "{report}");
    assert!(report.contains(fix), "{report}");
    assert_eq!(output.status.code(), Some(1), "{report}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("coremap: error: bad: "), "{said}");
    assert!(said.contains(name) && said.lines().count() == 1, "{said}");
}

fn doctor(arguments: &[&str]) -> Output {
    let output = Command::new(coremap())
        .arg("doctor")
        .args(arguments)
        .output();
    output.expect("it is built")
}

#[test]
fn a_host_that_runs_the_tests_can_make_a_ring() {
    let folder = Folder::new();
    let output = doctor(&["--dir", folder.path().to_str().expect("it is text")]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(line(&report, "io-uring").starts_with("good"), "{report}");
    assert!(line(&report, "kernel").starts_with("good"), "{report}");
    assert!(line(&report, "sync").contains(" ms for a page"), "{report}");
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("it is there")
            .count(),
        0
    );
    let has_bad = report.lines().any(|line| line.starts_with("bad "));
    assert_eq!(output.status.code(), Some(i32::from(has_bad)), "{report}");
    assert!(!report.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn little_lockable_memory_is_bad_and_measured() {
    let script = format!("ulimit -l 64 && exec {} doctor", coremap().display());
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("there is a shell");
    expect_bad(&output, "memlock", "64 KiB", "ulimit -l ");
}

#[test]
fn lock_memory_is_tried_and_bad_where_the_addresses_may_not_be_locked() {
    let folder = Folder::new();
    let config = folder.path().join("coremap.conf");
    std::fs::write(&config, "lock-memory yes\n").expect("it is ours");
    // Without the capability by which root may lock whatever the limit says; who may not drop it has none.
    let script = "drop='setpriv --bounding-set -ipc_lock'; $drop true 2>/dev/null || drop=
        ulimit -l 4096 && exec $drop \"$0\" doctor --config \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .args([&coremap(), &config])
        .output();
    let output = output.expect("there is a shell");
    let value = "4096 KiB; lock-memory fails, for which all addresses count: ";
    expect_bad(&output, "memlock", value, "LimitMEMLOCK=infinity");
}

#[test]
fn a_kernel_too_old_to_lock_memory_is_bad_whatever_the_limit() {
    let folder = Folder::new();
    let config = folder.path().join("coremap.conf");
    let text = "lock-memory yes\nmaxmemory 64mb\n";
    std::fs::write(&config, text).expect("it is ours");
    let config = config.to_str().expect("it is text");
    let Some(arguments) = Forbidden::RELEASE_LOCKED.arguments(&["doctor", "--config", config])
    else {
        skip_because("python3 is not installed");
        return;
    };
    let output = Command::new("python3").args(arguments).output();
    let output = output.expect("it runs");
    let report = String::from_utf8_lossy(&output.stdout);
    // Who may not lock so much does not come so far.
    if line(&report, "memlock").contains("invalid argument") {
        expect_bad(
            &output,
            "memlock",
            "invalid argument",
            "Linux 5.18 or newer",
        );
    }
}

#[test]
fn a_filter_that_forbids_io_uring_is_bad_and_named() {
    let Some(arguments) = Forbidden::IO_URING.arguments(&["doctor"]) else {
        skip_because("python3 is not installed");
        return;
    };
    let output = Command::new("python3").args(arguments).output();
    let output = output.expect("it runs");
    expect_bad(&output, "io-uring", "seccomp", "io_uring_setup");
}

#[test]
fn a_cpu_quota_below_the_shards_is_bad() {
    let folder = Folder::new();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it is ours");
        std::fs::write(path, text).expect("it is ours");
    };
    write("proc/self/cgroup", "0::/\n");
    write("proc/self/status", "Cpus_allowed_list:\t0-7\n");
    write("sys/fs/cgroup/cpu.max", "150000 100000\n");
    let root = folder.path().to_str().expect("it is text");
    let output = doctor(&["--root", root]);
    expect_bad(&output, "cpu-quota", "1.50 CPUs", "CPUQuota=200%");
}

#[test]
fn the_limits_of_another_process_are_looked_at_by_its_number() {
    let output = doctor(&["--pid", &std::process::id().to_string()]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(line(&report, "io-uring").starts_with("unknown"), "{report}");
    assert!(!line(&report, "nofile").starts_with("unknown"), "{report}");
    let output = doctor(&["--pid", "4000000000"]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(line(&report, "nofile").starts_with("unknown"), "{report}");
}

#[test]
fn the_json_is_an_object_that_a_parser_reads() {
    const READ: &str = "import json, sys
report = json.load(sys.stdin)
verdicts = [check['verdict'] for check in report['checks']]
assert all(report[name] == verdicts.count(name) for name in ('bad', 'advice', 'unknown', 'good'))
assert all(set(check) == {'name', 'verdict', 'value', 'why', 'fix'} for check in report['checks'])
print(*(check['name'] for check in report['checks']))
";
    if Command::new("python3").arg("--version").output().is_err() {
        skip_because("python3 is not installed");
        return;
    }
    let script = "\"$0\" doctor --json --dir 'a \"b\"' | python3 -c \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(coremap())
        .arg(READ)
        .output();
    let output = output.expect("there is a shell");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DOCTOR.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    for name in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        assert!(
            document.contains(&format!("| `{name}` |")),
            "docs/DOCTOR.md lacks {name}"
        );
    }
}

#[test]
fn bad_usage_is_refused_with_code_two() {
    for arguments in [
        &["doctor", "--cpus", "many"][..],
        &["doctor", "--quux"],
        &["doctor", "--pid", "x"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.said);
    }
}
