//! `coremap-bench soak` as users run it, for seconds: a real server, every job beside the load, and the
//! record that is left.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The server's program beside the instrument's; built if only this crate's tests were asked for.
fn coremap() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_coremap-bench")).with_file_name("coremap");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", "coremap", "--bin", "coremap"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo is there").success());
    }
    path
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).expect("the record has this file")
}

#[test]
fn a_soak_of_seconds_runs_every_job_and_leaves_a_record() {
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
    let _ = std::fs::remove_dir_all(&results); // of an earlier run
    let command = "soak --minutes 0.1 --share 0.3 --shards 1 --server-cpus 0 --keys 5000 \
                   --connections 8 --name try";
    let output = Command::new(env!("CARGO_BIN_EXE_coremap-bench"))
        .args(command.split_whitespace())
        .arg("--coremap")
        .arg(coremap())
        .arg("--dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("--results")
        .arg(&results)
        .output()
        .expect("the program is built");
    let said = String::from_utf8_lossy(&output.stderr);
    let mut folders = std::fs::read_dir(&results).unwrap_or_else(|_| panic!("no record: {said}"));
    let folder = folders.next().expect("a record").expect("its name").path();

    // On a machine with other work the rate may not be served; nothing else may fail.
    let checks = text(&folder, "checks.csv");
    for check in checks.lines().skip(1) {
        let is_about_speed = check.starts_with("rate that was served");
        assert!(
            check.ends_with(",yes") || is_about_speed,
            "{checks}\n{said}"
        );
    }
    for job in ["samples", "scrapes", "reloads", "backups", "kills"] {
        let found = checks.lines().any(|check| check.starts_with(job));
        assert!(found, "no {job} in {checks}");
    }
    assert_eq!(output.status.success(), !checks.contains(",no\n"), "{said}");
    assert!(text(&folder, "samples.csv").lines().count() > 10);
    assert!(text(&folder, "latency.csv").lines().count() > 5);
    assert!(text(&folder, "summary.md").contains("latency.svg"));
    for plot in ["latency.svg", "memory.svg", "descriptors.svg"] {
        assert!(text(&folder, plot).ends_with("</svg>\n"), "{plot}");
    }
    let left = std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).expect("the folder");
    let is_of_soak = |name: &str| {
        name.starts_with("coremap-bench-soak") || name.starts_with("coremap-bench-backup")
    };
    let names = left
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<_> = names.filter(|name| is_of_soak(name)).collect();
    assert_eq!(
        names,
        Vec::<String>::new(),
        "the server's files are removed"
    );
}
