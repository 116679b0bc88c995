//! `tuning/apply.sh` on a tree of its own: it says what it would do, does it once, and takes it back.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::process::Folder;

/// A host of four CPUs with a network device of two queues, where everything wants to be changed.
const HOST: &[(&str, &str)] = &[
    ("proc/sys/net/core/somaxconn", "128"),
    ("proc/sys/vm/swappiness", "60"),
    (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/sda2 partition 9 0 -2",
    ),
    ("proc/sys/kernel/numa_balancing", "1"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "never"),
    ("sys/devices/system/cpu/online", "0-3"),
    (
        "proc/interrupts",
        "  CPU0 CPU1 CPU2 CPU3\n 40: 7 0 0 0 PCI eth0-0\n 41: 0 0 8 0 PCI eth0-1\n 42: 0 0 0 0 PCI eth0-2",
    ),
    ("proc/irq/40/smp_affinity_list", "0-3"),
    ("proc/irq/41/smp_affinity_list", "0-3"),
    ("proc/irq/42/smp_affinity_list", "0-3"),
    ("sys/class/net/eth0/device/msi_irqs/40", "msix"),
    ("sys/class/net/eth0/device/msi_irqs/41", "msix"),
    ("sys/class/net/eth0/device/msi_irqs/42", "msix"),
    (
        "sys/class/net/eth0/queues/rx-0/rps_cpus",
        "00000000,00000000",
    ),
    (
        "sys/class/net/eth0/queues/rx-1/rps_cpus",
        "00000000,00000000",
    ),
    ("sys/class/net/lo/queues/rx-0/rps_cpus", "0"),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "powersave",
    ),
    (
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "performance",
    ),
    (
        "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
        "schedutil",
    ),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "133"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0"),
];

/// What becomes of it for shards on CPUs 0 to 2.
const CHANGES: &str = "\
/proc/sys/net/core/somaxconn: 128 -> 4096
/proc/sys/vm/swappiness: 60 -> 1
/sys/kernel/mm/transparent_hugepage/enabled: never -> madvise
/proc/sys/kernel/numa_balancing: 1 -> 0
/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor: powersave -> performance
/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor: schedutil -> performance
/proc/irq/40/smp_affinity_list: 0-3 -> 3
/proc/irq/41/smp_affinity_list: 0-3 -> 3
/sys/class/net/eth0/queues/rx-0/rps_cpus: 0 -> 7
/sys/class/net/eth0/queues/rx-1/rps_cpus: 0 -> 7
";

/// A host that is a folder.
struct Host(Folder);

impl Host {
    fn new() -> Self {
        let host = Self(Folder::new());
        for (path, text) in HOST {
            host.write(path, text);
        }
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it is ours");
        std::fs::write(path, format!("{text}\n")).expect("it is ours");
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("run/coremap-tuning")
    }

    /// Exit code, and what went to both outputs.
    fn apply(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply.sh");
        let mut command = Command::new("sh");
        command
            .arg(script)
            .args(arguments)
            .env("ROOT", self.0.path())
            .env_remove("STATE");
        let output = command.output().expect("there is a shell");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Every file of the host but the notes, with its text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut folders = vec![self.0.path().to_owned()];
        let mut files = BTreeMap::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).expect("it is text");
                    files.insert(path, text);
                }
            }
        }
        files.remove(&self.state());
        files
    }
}

fn said(text: &str) -> (Option<i32>, String, String) {
    (Some(0), text.to_owned(), String::new())
}

#[test]
fn a_dry_run_prints_each_change_and_makes_none() {
    let host = Host::new();
    let before = host.files();
    assert_eq!(host.apply(&["--dry-run", "--cpus", "0-2"]), said(CHANGES));
    assert_eq!(host.files(), before);
    assert!(!host.state().exists());
}

#[test]
fn changes_are_made_once_and_undone_as_a_whole() {
    let host = Host::new();
    let before = host.files();
    assert_eq!(host.apply(&["--cpus=0-2"]), said(CHANGES));
    let after = host.files();
    assert_ne!(after, before);
    assert_eq!(
        host.apply(&["--cpus=0-2"]),
        said(""),
        "a second run has nothing to do"
    );
    assert_eq!(host.files(), after);
    let (code, dry, _) = host.apply(&["--undo", "--dry-run"]);
    assert_eq!((code, host.files()), (Some(0), after));
    assert_eq!(host.apply(&["--undo"]), said(&dry));
    assert_eq!(dry.lines().count(), CHANGES.lines().count(), "{dry}");
    // Masks come back as the kernel would print them, whatever their zeros.
    host.write(
        "sys/class/net/eth0/queues/rx-0/rps_cpus",
        "00000000,00000000",
    );
    host.write(
        "sys/class/net/eth0/queues/rx-1/rps_cpus",
        "00000000,00000000",
    );
    assert_eq!(host.files(), before);
    assert!(!host.state().exists());
    assert_eq!(host.apply(&["--undo"]), said("nothing to undo\n"));
}

#[test]
fn a_second_run_with_other_cpus_can_still_be_undone_to_the_first_values() {
    let host = Host::new();
    host.apply(&["irq", "--cpus", "0-2"]);
    let (_, output, _) = host.apply(&["irq", "--cpus", "0-1"]);
    assert!(
        output.contains("/proc/irq/40/smp_affinity_list: 3 -> 2\n"),
        "{output}"
    );
    let (_, output, errors) = host.apply(&["--undo"]);
    assert!(
        output.contains("/proc/irq/40/smp_affinity_list: 2 -> 0-3\n"),
        "{output}{errors}"
    );
}

#[test]
fn a_second_run_for_fewer_cpus_puts_back_what_only_the_others_needed() {
    const BACK: &str = "\
/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor: performance -> schedutil
/proc/irq/40/smp_affinity_list: 3 -> 2
/sys/class/net/eth0/queues/rx-0/rps_cpus: 7 -> 0
/sys/class/net/eth0/queues/rx-1/rps_cpus: 7 -> 0
";
    let host = Host::new();
    let before = host.files();
    host.apply(&["--cpus", "0-2"]);
    // Two queues are enough for two shards.
    assert_eq!(host.apply(&["--dry-run", "--cpus", "0-1"]), said(BACK));
    assert_eq!(host.apply(&["--cpus", "0-1"]), said(BACK));
    assert_eq!(host.apply(&["--cpus", "0-1"]), said(""));
    // What the run was not about stays as it is.
    assert_eq!(host.apply(&["memory", "--cpus", "0"]), said(""));
    let (code, _, errors) = host.apply(&["--undo"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for queue in 0..2 {
        // As the kernel would print it, whatever its zeros.
        let mask = format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus");
        host.write(&mask, "00000000,00000000");
    }
    assert_eq!(host.files(), before);
}

#[test]
fn only_the_groups_that_are_named_are_touched() {
    let host = Host::new();
    assert_eq!(
        host.apply(&["net", "idle"]),
        said(
            "/proc/sys/net/core/somaxconn: 128 -> 4096\n\
             /sys/devices/system/cpu/cpu0/cpuidle/state2/disable: 0 -> 1\n"
        )
    );
}

#[test]
fn without_spare_cpus_interrupts_take_turns() {
    let host = Host::new();
    let (_, output, _) = host.apply(&["irq"]);
    assert!(output.starts_with(
        "/proc/irq/40/smp_affinity_list: 0-3 -> 0\n/proc/irq/41/smp_affinity_list: 0-3 -> 1\n"
    ));
}

#[test]
fn what_somebody_else_changed_meanwhile_is_left() {
    let host = Host::new();
    host.apply(&["memory"]);
    host.write("proc/sys/vm/swappiness", "10");
    let (code, output, errors) = host.apply(&["--undo"]);
    assert_eq!(code, Some(0));
    assert!(!output.contains("swappiness"), "{output}");
    assert_eq!(
        errors,
        "/proc/sys/vm/swappiness: stays 10, which was not set here\n"
    );
    assert!(!host.state().exists());
}

#[test]
fn what_the_kernel_refuses_is_said_and_not_noted() {
    let host = Host::new();
    // What is written there is not there afterwards.
    let path = host.0.path().join("proc/irq/40/smp_affinity_list");
    std::fs::remove_file(&path).expect("it is ours");
    std::os::unix::fs::symlink("/dev/null", &path).expect("it is ours");
    let (code, output, errors) = host.apply(&["irq", "--cpus", "0-2"]);
    assert_eq!(code, Some(1), "{output}{errors}");
    assert!(
        errors.contains("/proc/irq/40/smp_affinity_list: stays"),
        "{errors}"
    );
    assert!(
        output.contains("/proc/irq/41/smp_affinity_list: 0-3 -> 3\n"),
        "{output}"
    );
    let notes = std::fs::read_to_string(host.state()).expect("there are notes");
    assert!(!notes.contains("/proc/irq/40"), "{notes}");
}

#[test]
fn what_the_kernel_refuses_the_second_time_can_still_be_undone_to_the_first_value() {
    let host = Host::new();
    let name = "proc/irq/40/smp_affinity_list";
    host.apply(&["irq", "--cpus", "0-2"]);
    let path = host.0.path().join(name);
    std::fs::remove_file(&path).expect("it is ours");
    // Nobody may write there.
    std::os::unix::fs::symlink("/proc/sys/kernel/ostype", &path).expect("it is ours");
    let (code, output, errors) = host.apply(&["irq", "--cpus", "0-1"]);
    assert_eq!(code, Some(1), "{output}{errors}");
    std::fs::remove_file(&path).expect("it is ours");
    host.write(name, "Linux");
    let (_, output, errors) = host.apply(&["--undo"]);
    assert!(
        output.contains("/proc/irq/40/smp_affinity_list: Linux -> 0-3\n"),
        "{output}{errors}"
    );
}

#[test]
fn masks_of_many_cpus_are_written_in_groups_as_the_kernel_reads_them() {
    let host = Host::new();
    host.write("sys/devices/system/cpu/online", "0-67");
    let (code, output, errors) = host.apply(&["irq"]);
    assert_eq!(code, Some(0), "{output}{errors}");
    let path = "sys/class/net/eth0/queues/rx-0/rps_cpus";
    let mask = std::fs::read_to_string(host.0.path().join(path)).expect("it is there");
    assert_eq!(mask, "f,ffffffff,ffffffff\n");
    assert_eq!(host.apply(&["irq"]), said(""), "it is known again");
}

#[test]
fn the_package_has_the_script_where_the_unit_of_the_guide_runs_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("it is there");
    assert!(read("tuning/README.md").contains("ExecStart=/usr/share/coremap/apply.sh"));
    assert!(read("Cargo.toml").contains("[\"tuning/apply.sh\", \"usr/share/coremap/\", \"755\"]"));
}

#[test]
fn wrong_arguments_are_refused_with_code_two() {
    let host = Host::new();
    for arguments in [
        &["--cpus", "2-"][..],
        &["--cpus"],
        &["disk"],
        &["--cpus", "a"],
    ] {
        let (code, output, errors) = host.apply(arguments);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(errors.starts_with("apply.sh: "), "{errors}");
    }
    let (code, output, _) = host.apply(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(output.contains("--undo"), "{output}");
}

/// The value of a line `name = value` of an experiment, as a configuration file would have it.
fn told(experiment: &str, name: &str) -> Option<String> {
    let mut lines = experiment.lines().filter_map(|line| line.split_once(" = "));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    let first = value.trim_start_matches('[').split(',').next()?;
    Some(match first.trim_matches(['"', ']']) {
        "true" => "yes".to_owned(),
        "false" => "no".to_owned(),
        text => text.replace('_', ""),
    })
}

#[test]
fn every_record_has_its_row_and_every_default_is_what_was_decided() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("it is there");
    let (table, defaults) = (read("tuning/README.md"), read("deploy/coremap.conf"));
    let entries = std::fs::read_dir(root.join("tuning")).expect("it is there");
    let mut records: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    records.sort_unstable();
    assert!(records.len() >= 10, "{records:?}");
    // A later record of a knob overrides an earlier one.
    let mut decided = BTreeMap::new();
    for record in &records {
        let number = &record[..3];
        let row = format!("\n| [{number}]({record}/README.md) | ");
        assert!(table.contains(&row), "tuning/README.md lacks {record}");
        let experiment = read(&format!("tuning/{record}/experiment.toml"));
        let decision = told(&experiment, "decision").expect("somebody decided");
        let Some(setting) = told(&experiment, "setting") else {
            continue;
        };
        // What the others were compared with is the default of that time.
        let value = match decision.strip_prefix("The default becomes ") {
            Some(rest) => rest.split([' ', ':', '.']).next().map(str::to_owned),
            None if decision.starts_with("The default stays ") => told(&experiment, "values"),
            None => None,
        };
        let value = value.unwrap_or_else(|| panic!("{record}: 'The default stays/becomes ..'"));
        decided.insert(setting, value);
    }
    for (setting, value) in decided {
        let line = format!("\n{setting} {value}\n");
        assert!(
            defaults.contains(&line),
            "coremap.conf lacks '{setting} {value}'"
        );
    }
}
