//! The units that are shipped, under systemd's own tools.
//!
//! Goal: what a package installs has no fault that systemd finds, and exposes as little as a network server
//! can. Method: `systemd-analyze`, without a running systemd.

mod common;

use std::path::Path;
use std::process::Command;

use common::process::{Folder, coremap};

/// Runs a tool of systemd; none where there is none.
fn systemd_analyze(arguments: &[&str]) -> Option<std::process::Output> {
    let outcome = Command::new("systemd-analyze").args(arguments).output();
    if outcome.is_err() {
        common::skip_because("systemd-analyze is not installed");
    }
    outcome.ok()
}

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd");

#[test]
fn the_units_that_are_shipped_have_no_fault_that_systemd_finds() {
    let folder = Folder::new();
    let program = coremap();
    let program = program.to_str().expect("its path is text");
    let dropins = folder.path().join("coremap.service.d");
    std::fs::create_dir(&dropins).expect("it is writable");
    let copy = |name: &str| {
        let unit = std::fs::read_to_string(Path::new(UNITS).join(name)).expect("it is there");
        // The program is not installed here.
        let unit = unit.replace("=/usr/bin/coremap ", &format!("={program} "));
        std::fs::write(folder.path().join(name), unit).expect("it is writable");
    };
    let units = ["coremap.service", "coremap.socket"];
    units.iter().for_each(|unit| copy(unit));
    for entry in std::fs::read_dir(Path::new(UNITS).join("coremap.service.d")).expect("it is there")
    {
        let name = entry.expect("it can be read").file_name();
        copy(&format!("coremap.service.d/{}", name.display()));
    }
    for name in units {
        let path = folder.path().join(name);
        let path = path.to_str().expect("it is text");
        let Some(output) = systemd_analyze(&["verify", "--man=no", path]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn the_unit_that_is_shipped_exposes_as_little_as_a_network_server_can() {
    let unit = format!("{UNITS}/coremap.service");
    let arguments = [
        "security",
        "--offline=yes",
        "--threshold=15",
        "--no-pager",
        &unit,
    ];
    let Some(output) = systemd_analyze(&arguments) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let overall = said.lines().last().unwrap_or_default();
    assert!(output.status.success(), "{overall}");
    println!("{overall}");
}
