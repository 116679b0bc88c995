//! What a number was measured on and with: lines for a record, from what the kernel and the
//! programs say of themselves.

use std::path::Path;
use std::process::{Command, Output};

/// The versions this program was built with.
const LOCK_FILE: &str = include_str!("../../Cargo.lock");

/// The machine, one fact a line.
pub(crate) fn describe() -> Vec<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let huge_pages = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!("CPU: {} x {}", count, field(&cpus, "model name")),
        format!("memory: {}", field(&memory, "MemTotal")),
        format!("kernel: Linux {}", kernel.trim()),
        format!(
            "transparent huge pages: {}",
            huge_pages.unwrap_or_default().trim()
        ),
        format!("load average at the end: {}", load.trim()),
    ]
}

/// The first line a program says about its version; none if it cannot be started.
pub(crate) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(first_line(&output).unwrap_or_else(|| "of a version it does not tell".to_owned()))
}

/// The commit of the repository around the working directory, and whether files differ from it.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| Command::new("git").args(arguments).output().ok();
    let revision = first_line(&git(&["rev-parse", "--short=12", "HEAD"])?)?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let suffix = if changes.stdout.is_empty() {
        ""
    } else {
        ", with changes"
    };
    Some(revision + suffix)
}

/// The version of a crate this program was built with.
pub(crate) fn locked_version(name: &str) -> &'static str {
    let line = format!("name = \"{name}\"");
    LOCK_FILE
        .lines()
        .skip_while(|found| *found != line)
        .find_map(|found| found.strip_prefix("version = \""))
        .map_or("unknown", |version| version.trim_end_matches('"'))
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown", |(_, value)| value.trim())
}

/// The first line a program printed, if it printed one.
fn first_line(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_known_by_the_version_they_were_locked_to() {
        assert!(locked_version("fjall").starts_with("2."));
        assert_eq!(locked_version("no such crate"), "unknown");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version(Path::new("/not/there")), None);
    }
}
