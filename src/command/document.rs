//! docs/COMMANDS.md, written from the table: every command with its arguments and where it runs,
//! each difference from Redis, and what is not here.
//!
//! The test below fails when the file is not what the table says. To write it anew:
//!
//! ```text
//! COREMAP_WRITE_DOCS=1 cargo test --lib the_document_of_commands
//! ```
//!
//! What cannot be said of one command stands in `docs/differences.md` beside this file; what can, in
//! the field `differs` of `docs/commands.txt`.

use std::fmt::Write as _;

use super::docs::{self, Argument};
use super::unsupported::FAMILIES;
use super::{Keys, Row, Scope, rows};

/// Groups of Redis and their headings, in the order of the document.
const GROUPS: &[(&str, &str)] = &[
    ("string", "Strings"),
    ("bitmap", "Bits"),
    ("hyperloglog", "HyperLogLogs"),
    ("generic", "Keys"),
    ("transactions", "Transactions"),
    ("connection", "Connection"),
    ("server", "Server"),
];

const INTRODUCTION: &str = "\
# Commands

Replies and errors are those of redis-server 7.0.15, to the byte, unless a difference is named here.
*Runs on* says where: on the shard of its key, on each shard its keys live on, on all shards, or on the
connection itself. This file is written from the table of commands by a test (`src/command/document.rs`).
";

fn render() -> String {
    let mut text = String::from(INTRODUCTION);
    for (group, title) in GROUPS {
        let rows: Vec<&Row> = all_rows()
            .filter(|row| docs::of(row.name).field("group") == *group)
            .collect();
        if rows.is_empty() {
            continue;
        }
        write!(text, "\n## {title}\n\n| command | runs on |\n|---|---|\n").unwrap();
        for row in &rows {
            let usage = usage(row).replace('|', "\\|");
            writeln!(text, "| `{usage}` | {} |", place(row)).unwrap();
        }
        let differences: Vec<String> = rows.iter().filter_map(|row| difference(row)).collect();
        if !differences.is_empty() {
            write!(
                text,
                "\nDifferences from Redis:\n\n{}",
                differences.concat()
            )
            .unwrap();
        }
    }
    text.push_str("\n## Differences from Redis in general\n\n");
    text.push_str(include_str!("docs/differences.md"));
    text.push_str(
        "\n## Not supported\n\nKnown by name, each with one error, whatever its arguments:\n",
    );
    for family in FAMILIES {
        let names: Vec<String> = family.names.iter().map(|name| upper(name)).collect();
        let error = family.error(family.names[0]);
        write!(
            text,
            "\n**{}**: {}.\n`-{error}`\n",
            family.title,
            names.join(", ")
        )
        .unwrap();
    }
    text
}

/// Commands without subcommands, and subcommands.
fn all_rows() -> impl Iterator<Item = &'static Row> {
    rows().flat_map(|row| {
        let is_shown = row.subcommands.is_empty() || row.name == "command";
        is_shown.then_some(row).into_iter().chain(row.subcommands)
    })
}

fn upper(name: &str) -> String {
    name.replace('|', " ").to_ascii_uppercase()
}

fn usage(row: &Row) -> String {
    let arguments = docs::of(row.name).arguments();
    let words: Vec<String> = std::iter::once(upper(row.name))
        .chain(arguments.iter().map(describe))
        .collect();
    words.join(" ")
}

/// An argument as people write it: `[EX seconds | PX milliseconds]`, `key [key ...]`.
fn describe(argument: &Argument) -> String {
    let inner = |separator: &str| {
        let inner: Vec<String> = argument.inner.iter().map(describe).collect();
        inner.join(separator)
    };
    let value = match argument.kind {
        "oneof" => inner(" | "),
        "block" => inner(" "),
        "pure-token" => String::new(),
        _ => argument.name.to_owned(),
    };
    let token = argument.token.unwrap_or_default();
    let mut text = [token, &value].join(" ").trim().to_owned();
    let has = |flag| argument.flags.contains(&flag);
    if has("multiple") {
        text = format!("{text} [{text} ...]");
    }
    match (has("optional"), argument.kind) {
        (true, _) => format!("[{text}]"),
        (false, "oneof") => format!("({text})"),
        (false, _) => text,
    }
}

fn place(row: &Row) -> &'static str {
    match row.scope {
        Scope::Session => "the connection",
        Scope::Owner => "the key's shard",
        Scope::PerKey | Scope::Watch => "each key's shard",
        Scope::AllShards if row.keys != Keys::NONE => "the key's shard",
        Scope::AllShards => "all shards",
        Scope::Cursor => "the shard its cursor is in",
        Scope::Plan => "the keys' shards",
        Scope::Exec => "the shards of what was queued",
        Scope::Disk => "the connection, after all before it",
    }
}

fn difference(row: &Row) -> Option<String> {
    let differs = docs::of(row.name).field("differs");
    (!differs.is_empty()).then(|| wrap(&format!("- {}: {differs}", upper(row.name))))
}

/// Breaks an item of a list into lines.
fn wrap(item: &str) -> String {
    let (mut text, mut line_len) = (String::new(), 0);
    for word in item.split(' ') {
        if line_len + word.len() > LINE_LEN_MAX {
            text.push_str("\n ");
            line_len = 1;
        }
        if line_len > 0 {
            text.push(' ');
        }
        text.push_str(word);
        line_len += 1 + word.len();
    }
    text + "\n"
}

const LINE_LEN_MAX: usize = 98;

#[test]
fn the_document_of_commands_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMMANDS.md");
    let rendered = render();
    if std::env::var_os("COREMAP_WRITE_DOCS").is_some() {
        std::fs::write(path, &rendered).expect("the file can be written");
    }
    let written = std::fs::read_to_string(path).expect("it is there");
    assert!(
        rendered == written,
        "docs/COMMANDS.md is not what the table says; src/command/document.rs tells how to write it"
    );
}

#[test]
fn every_group_of_commands_has_its_heading() {
    for row in all_rows() {
        let group = docs::of(row.name).field("group");
        assert!(
            GROUPS.iter().any(|(known, _)| *known == group),
            "{}: {group}",
            row.name
        );
    }
}

#[test]
fn arguments_are_written_as_people_write_them() {
    let usage = |name: &str| usage(all_rows().find(|row| row.name == name).expect("a command"));
    assert_eq!(usage("mget"), "MGET key [key ...]");
    assert_eq!(usage("client|reply"), "CLIENT REPLY (ON | OFF | SKIP)");
    assert_eq!(usage("expire"), "EXPIRE key seconds [NX | XX | GT | LT]");
}
