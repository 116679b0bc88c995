//! The text of facts, and what becomes of it.

use std::collections::HashSet;

use super::*;
use crate::command::rows;
use crate::command::tests::Cores;

fn all_rows() -> impl Iterator<Item = &'static Row> {
    rows().flat_map(|row| std::iter::once(row).chain(row.subcommands))
}

#[test]
fn every_row_has_its_facts_and_every_facts_a_row() {
    let names: HashSet<&str> = all_rows().map(|row| row.name).collect();
    for row in all_rows() {
        let doc = of(row.name);
        for field in ["summary", "since", "group", "complexity"] {
            assert!(
                !doc.field(field).is_empty(),
                "{} lacks its {field}",
                row.name
            );
        }
        assert!(doc.field("summary").ends_with('.'), "{}", row.name);
        assert_eq!(
            doc.key_uses().is_empty(),
            row.keys.first == 0,
            "{}",
            row.name
        );
    }
    let documented: Vec<&str> = TEXT
        .split("\n\n")
        .filter_map(|s| s.lines().next())
        .collect();
    assert!(documented.is_sorted());
    for name in documented {
        assert!(names.contains(name), "{name} has facts and no row");
    }
}

#[test]
fn every_line_of_the_text_is_a_name_or_a_known_field() {
    const FIELDS: &[&str] = &[
        "summary",
        "since",
        "group",
        "complexity",
        "deprecated",
        "arguments",
        "categories",
        "keys",
        "notes",
        "tips",
        "differs",
    ];
    for stanza in TEXT.trim_end().split("\n\n") {
        for line in stanza.lines().skip(1) {
            let (field, value) = line
                .trim_start()
                .split_once(": ")
                .expect("a field has a value");
            assert!(line.starts_with("  "), "{line}");
            assert!(FIELDS.contains(&field), "{line}");
            assert_eq!(value, value.trim(), "{line}");
        }
    }
    for row in all_rows() {
        for named in split_words(of(row.name).field("categories")) {
            assert!(CATEGORIES.contains(&named), "{named}");
        }
    }
}

#[test]
fn arguments_are_read_with_what_is_within_them() {
    let arguments = parse_arguments("key ?*when:oneof(ex:integer@EX keep@KEEPTTL) ip:port:string");
    let plain = |name, kind| Argument {
        name,
        kind,
        ..Argument::default()
    };
    let token = |name, kind, token| Argument {
        token: Some(token),
        ..plain(name, kind)
    };
    let when = Argument {
        flags: vec!["optional", "multiple"],
        inner: vec![
            token("ex", "integer", "EX"),
            token("keep", "pure-token", "KEEPTTL"),
        ],
        ..plain("when", "oneof")
    };
    assert_eq!(
        arguments,
        [plain("key", "key"), when, plain("ip:port", "string")]
    );
    assert_eq!(parse_arguments(""), []);
}

#[test]
fn docs_have_the_shape_of_redis() {
    let mut cores = Cores::new(1);
    let summary = of("ping").field("summary");
    let len = summary.len();
    let resp2 = format!(
        "*2\r\n$4\r\nping\r\n*10\r\n$7\r\nsummary\r\n${len}\r\n{summary}\r\n$5\r\nsince\r\n\
         $5\r\n1.0.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n\
         $9\r\narguments\r\n*1\r\n*6\r\n$4\r\nname\r\n$7\r\nmessage\r\n$4\r\ntype\r\n\
         $6\r\nstring\r\n$5\r\nflags\r\n*1\r\n+optional\r\n"
    );
    assert_eq!(cores.run("COMMAND DOCS PING"), resp2);
    assert_eq!(cores.run("COMMAND DOCS nosuch"), "*0\r\n");
    assert!(
        cores
            .run("COMMAND DOCS config|get")
            .starts_with("*2\r\n$10\r\nconfig|get\r\n*10\r\n")
    );
    cores.run("HELLO 3");
    assert!(
        cores
            .run("COMMAND DOCS ping")
            .starts_with("%1\r\n$4\r\nping\r\n%5\r\n")
    );
    assert!(
        cores
            .run("COMMAND DOCS module")
            .contains("$11\r\nsubcommands\r\n%2\r\n")
    );
}
