//! What a number was measured on: lines for a record, from the files the kernel offers.

use std::path::Path;
use std::process::Command;

/// The machine, one fact a line.
pub(crate) fn describe() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let huge_pages = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    [
        format!("CPU: {} x {}", count, field(&cpus, "model name")),
        format!("memory: {}", field(&memory, "MemTotal")),
        format!("kernel: {}", first_line(Command::new("uname").arg("-sr"))),
        format!(
            "transparent huge pages: {}",
            huge_pages.unwrap_or_default().trim()
        ),
    ]
    .join("\n")
}

/// The first line a program says about its version.
pub(crate) fn version(program: &Path) -> String {
    first_line(Command::new(program).arg("--version"))
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown", |(_, value)| value.trim())
}

fn first_line(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output)
        .lines()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}
