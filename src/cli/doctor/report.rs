//! What was found, for people and as JSON.
//!
//! For people a good row is one line; the others say why they matter and have the fix on lines of its
//! own, to be copied. The JSON is one object, stable: names and verdicts are those of the table.

use std::fmt::Write as _;

use super::checks::{CHECKS, Finding, Verdict};
use super::host::{Host, cpus_text};
use crate::json::append_string;

/// Columns of verdicts and names.
const VERDICT_WIDTH: usize = 8;
const NAME_WIDTH: usize = 16;

pub(super) fn text(host: &Host, findings: &[Finding], is_colourful: bool) -> String {
    let mut text = format!("coremap doctor: {}\n\n", subject(host));
    let indent = " ".repeat(VERDICT_WIDTH + 1);
    for (check, finding) in CHECKS.iter().zip(findings) {
        let (on, off) = match finding.verdict {
            _ if !is_colourful => ("", ""),
            Verdict::Good => ("\x1b[32m", "\x1b[0m"),
            Verdict::Advice => ("\x1b[33m", "\x1b[0m"),
            Verdict::Bad => ("\x1b[1;31m", "\x1b[0m"),
            Verdict::Unknown => ("\x1b[2m", "\x1b[0m"),
        };
        let verdict = finding.verdict.name();
        let (name, value) = (check.name, &finding.value);
        let _ = writeln!(
            text,
            "{on}{verdict:<VERDICT_WIDTH$}{off} {name:<NAME_WIDTH$} {value}"
        );
        if matches!(finding.verdict, Verdict::Advice | Verdict::Bad) {
            let _ = writeln!(text, "{indent}{}", check.why);
            for line in finding.fix.lines() {
                let _ = writeln!(text, "{indent}    {line}");
            }
        }
    }
    let _ = writeln!(text, "\n{}", summary(findings));
    text
}

/// One object: docs/DOCTOR.md describes it.
pub(super) fn json(host: &Host, findings: &[Finding]) -> String {
    let mut output = Vec::from(&b"{\"version\":"[..]);
    append_string(&mut output, env!("CARGO_PKG_VERSION").as_bytes());
    let cpus = host.cpus().unwrap_or_default();
    let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    output.extend_from_slice(format!(",\"cpus\":[{}]", cpus.join(",")).as_bytes());
    for verdict in Verdict::ALL {
        let count = count(findings, verdict);
        output.extend_from_slice(format!(",\"{}\":{count}", verdict.name()).as_bytes());
    }
    output.extend_from_slice(b",\"checks\":[");
    for (index, (check, finding)) in CHECKS.iter().zip(findings).enumerate() {
        output.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
        let fields = [
            ("{\"name\":", check.name),
            (",\"verdict\":", finding.verdict.name()),
            (",\"value\":", &finding.value),
            (",\"why\":", check.why),
            (",\"fix\":", &finding.fix),
        ];
        for (key, value) in fields {
            output.extend_from_slice(key.as_bytes());
            append_string(&mut output, value.as_bytes());
        }
        output.push(b'}');
    }
    output.extend_from_slice(b"\n]}\n");
    String::from_utf8(output).expect("strings and ASCII")
}

/// What server the report is about.
fn subject(host: &Host) -> String {
    let shards = host.shards_text();
    let cpus = match host.cpus() {
        Ok(cpus) => cpus_text(cpus),
        Err(_) => "unknown".to_owned(),
    };
    let data = match host.settings.dir.as_str() {
        "" => "in memory".to_owned(),
        dir => format!("in {dir}"),
    };
    format!("{shards} on CPUs {cpus}, data {data}")
}

/// How many there are of each verdict.
fn summary(findings: &[Finding]) -> String {
    let counts = Verdict::ALL.map(|verdict| {
        let count = count(findings, verdict);
        format!("{count} {}", verdict.name())
    });
    counts.join(", ")
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    let found = findings.iter().filter(|finding| finding.verdict == verdict);
    found.count()
}
