//! `coremap-bench compare` and `report` as users run them, on the one server that is always there:
//! the LSM tree that the program serves itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coremap-bench"))
        .args(arguments)
        .output()
        .expect("the program is built")
}

/// An empty folder for the records of one test.
fn results(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path); // of an earlier run
    path
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).expect("the record has this file")
}

#[test]
fn a_comparison_leaves_a_record_that_can_be_reported_again() {
    let results = results("compare");
    let command = "compare --peers lsm --operations set --batches 1,100 --keys 2k \
                   --connections 4 --rounds 2 --seconds 1 --warm-up-seconds 0 --overwrite 1 \
                   --server-cpus 0 --client-cpus 0 --name try --results";
    let mut arguments: Vec<&str> = command.split(' ').collect();
    let path = results.to_string_lossy();
    arguments.push(&path);
    let output = bench(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut folders = std::fs::read_dir(&results).expect("a folder of records");
    let folder = folders.next().expect("a record").expect("its name").path();

    let raw = text(&folder, "raw.csv");
    assert_eq!(
        raw.lines().count(),
        1 + 2 * 2,
        "a line for each case and round"
    );
    let summary = text(&folder, "summary.md");
    assert!(summary.contains("| SET | 100 |") && summary.contains("lsm: fjall "));
    assert!(
        !summary.contains(env!("CARGO_MANIFEST_DIR")),
        "no folder of this machine"
    );

    let plot = "cpu-by-pipeline-set.svg";
    let drawn = text(&folder, plot);
    for file in ["summary.md", plot] {
        std::fs::remove_file(folder.join(file)).expect("it was there");
    }
    assert!(
        bench(&["report", &folder.to_string_lossy()])
            .status
            .success()
    );
    assert_eq!(
        (text(&folder, "summary.md"), text(&folder, plot)),
        (summary, drawn)
    );
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    for (arguments, reason) in [
        (&["compare", "--peers", "oracle"][..], "oracle"),
        (
            &["compare", "--peers", "lsm", "--shards", "2"][..],
            "--server-cpus",
        ),
        (&["goals", "--parts", "everything"][..], "everything"),
        (&["report", "not/there"][..], "not/there"),
        (&["tune", "not/there.toml"][..], "not/there.toml"),
        (&["tune", "Cargo.toml"][..], "unknown field"),
    ] {
        let output = bench(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }
}
