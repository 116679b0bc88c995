//! Every verdict of every check, on trees made for it.
//!
//! A case is a healthy host of four CPUs with some of its files replaced; what the check says then
//! must begin with the words given, and a fix must name what to type.

mod cpus;
mod disk;
mod memory;
mod network;
mod process;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::checks::{CHECKS, Finding, Verdict};
use super::host::Host;
use super::*;
use Verdict::{Advice, Bad, Good, Unknown};

/// A host on which nothing is to be said against.
const HEALTHY: &[(&str, &str)] = &[
    ("proc/self/status", "CapEff:\t0\nCpus_allowed_list:\t0-3\n"),
    (
        "proc/self/limits",
        "Limit   Soft Limit  Hard Limit  Units\n\
         Max open files            1024                 20000                files\n\
         Max locked memory         8388608              unlimited            bytes\n",
    ),
    ("proc/self/cgroup", "0::/system.slice/coremap.service\n"),
    (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
         23 22 8:2 / /data rw,relatime - xfs /dev/sdb1 rw\n",
    ),
    ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    (
        "proc/stat",
        "cpu  9 9 9 9 9 9 9 9\ncpu0 900 0 100 9000 0 0 0 10 0 0\n\
         cpu1 900 0 100 9000 0 0 0 10 0 0\ncpu2 900 0 100 9000 0 0 0 10 0 0\n\
         cpu3 900 0 100 9000 0 0 0 10 0 0\n",
    ),
    ("sys/devices/system/cpu/online", "0-3\n"),
    (
        "sys/devices/system/cpu/cpuidle/current_driver",
        "intel_idle\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet acpi_pm\n",
    ),
    ("sys/devices/system/node/online", "0\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    (
        "proc/interrupts",
        "     CPU0  CPU1  CPU2  CPU3\n 40:  10  0  0  0  IR-PCI  eth0-rx-0\n \
         41:  0  10  0  0  IR-PCI  eth0-rx-1\n 42:  0  0  10  0  IR-PCI  eth0-rx-2\n \
         43:  0  0  0  10  IR-PCI  eth0-rx-3\n 44: 900 0 0 0 IR-PCI  nvme0\nLOC: 9 9 9 9  timer\n",
    ),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    (
        "proc/meminfo",
        "MemTotal:  16777216 kB\nMemAvailable:  15728640 kB\nSwapTotal:  1048576 kB\n\
         CommitLimit:  8388608 kB\nCommitted_AS:  1048576 kB\n",
    ),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    ),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n"),
];

const GROUP: &str = "sys/fs/cgroup/system.slice";
const RX: &str = "sys/class/net/eth0/queues";

/// A tree that is removed with the test.
struct Tree(PathBuf);

impl Tree {
    /// The healthy host, with files that replace its own; those without text are missing.
    fn new(changes: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coremap-host-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        for cpu in 0..4 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            tree.write(
                &format!("{folder}/cpufreq/scaling_governor"),
                "performance\n",
            );
            for (state, name, latency_us, is_off) in
                [(0, "POLL", 0, 0), (1, "C1", 2, 0), (2, "C6", 133, 1)]
            {
                let folder = format!("{folder}/cpuidle/state{state}");
                tree.write(&format!("{folder}/name"), name);
                tree.write(&format!("{folder}/latency"), &latency_us.to_string());
                tree.write(&format!("{folder}/disable"), &is_off.to_string());
            }
            tree.write(&format!("{RX}/rx-{cpu}/rps_cpus"), "00000000,00000000\n");
            tree.write(
                &format!("sys/class/net/eth0/device/msi_irqs/4{cpu}"),
                "msix\n",
            );
        }
        tree.write("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n");
        for (path, text) in HEALTHY.iter().chain(changes) {
            if text.is_empty() {
                let path = tree.0.join(path);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            } else {
                tree.write(path, text);
            }
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    /// What the check of that name finds, for a server with these options.
    fn look(&self, name: &str, options: &[(&str, &str)]) -> Finding {
        let mut config = Config::default();
        for (name, value) in options {
            config.set(name, &[(*value).to_owned()]).expect("it is one");
        }
        let host = Host::new(&self.0, None, config.settings);
        let check = CHECKS.iter().find(|check| check.name == name);
        check.expect("there is such a check").run(&host)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Name, options, files, verdict, how the value begins, what the fix contains.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    Verdict,
    &'static str,
    &'static str,
);

#[track_caller]
fn expect(cases: &[Case]) {
    for (name, options, changes, verdict, value, fix) in cases {
        let found = Tree::new(changes).look(name, options);
        assert_eq!(
            found.verdict, *verdict,
            "{name} {options:?} {changes:?}: {found:?}"
        );
        assert!(
            found.value.starts_with(value),
            "{name} {options:?} {changes:?}: {found:?}"
        );
        assert!(
            found.fix.contains(fix),
            "{name} {options:?} {changes:?}: {found:?}"
        );
        let wants_fix = matches!(verdict, Advice | Bad);
        assert_eq!(!found.fix.is_empty(), wants_fix, "{name}: {found:?}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_judged() {
    expect(process::PROCESS);
}

#[test]
fn cpus_are_judged() {
    expect(cpus::CPUS);
}

#[test]
fn the_network_is_judged() {
    expect(network::NETWORK);
}

#[test]
fn memory_is_judged() {
    expect(memory::MEMORY);
}

#[test]
fn the_place_of_the_data_is_judged() {
    expect(disk::DISK);
}

#[test]
fn every_check_has_a_case_that_is_good_and_one_that_is_not() {
    for check in CHECKS {
        let verdicts: Vec<Verdict> = [
            process::PROCESS,
            cpus::CPUS,
            network::NETWORK,
            memory::MEMORY,
            disk::DISK,
        ]
        .concat()
        .iter()
        .filter(|case| case.0 == check.name)
        .map(|case| case.3)
        .collect();
        // Only a process can try io_uring: tests/doctor.rs does.
        let is_shown = check.name == "io-uring" || verdicts.contains(&Good);
        assert!(
            is_shown && verdicts.iter().any(|verdict| *verdict != Good),
            "{}",
            check.name
        );
    }
}

#[test]
fn a_host_that_cannot_be_read_is_unknown_and_never_good() {
    let tree = Tree(std::env::temp_dir().join("coremap-host-of-nobody"));
    for check in CHECKS
        .iter()
        .filter(|check| !["file-system", "sync"].contains(&check.name))
    {
        let found = tree.look(check.name, &[]);
        assert_eq!(found.verdict, Unknown, "{}: {found:?}", check.name);
        assert!(!found.value.is_empty(), "{}", check.name);
    }
}

#[test]
fn names_are_used_once_and_reasons_are_sentences() {
    for (index, check) in CHECKS.iter().enumerate() {
        assert!(CHECKS[..index].iter().all(|other| other.name != check.name));
        assert!(
            check.why.ends_with('.') && !check.why.contains('\n'),
            "{}",
            check.why
        );
    }
}

#[test]
fn the_report_has_a_line_per_check_and_fixes_to_copy() {
    let tree = Tree::new(&[(&format!("{GROUP}/cpu.max"), "150000 100000")]);
    let host = Host::new(&tree.0, None, Config::default().settings);
    let findings: Vec<Finding> = CHECKS.iter().map(|check| check.run(&host)).collect();
    let text = report::text(&host, &findings, false);
    assert!(
        text.starts_with("coremap doctor: 2 shards on CPUs 0-1, data in memory\n"),
        "{text}"
    );
    assert!(
        text.contains("\nbad      cpu-quota        1.50 CPUs"),
        "{text}"
    );
    assert!(
        text.contains("\n             systemctl set-property"),
        "{text}"
    );
    assert!(
        text.ends_with("\n1 bad, 0 advice, 1 unknown, 17 good\n"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
    assert!(report::text(&host, &findings, true).contains("\x1b[1;31mbad"));
    let json = report::json(&host, &findings);
    assert!(json.starts_with("{\"version\":\""), "{json}");
    assert!(
        json.contains(",\"cpus\":[0,1],\"bad\":1,\"advice\":0,"),
        "{json}"
    );
    assert!(
        json.contains("{\"name\":\"cpu-quota\",\"verdict\":\"bad\",\"value\":\"1.50 CPUs"),
        "{json}"
    );
}
