//! Names to rows, and Redis's words for what is no command.

use super::*;
use crate::resp::Span;

fn lookup_words(words: &[&[u8]]) -> Result<&'static Row, String> {
    let base = words.concat();
    let starts = words.iter().scan(0, |at, word| {
        *at += word.len();
        Some(*at - word.len())
    });
    let spans: Vec<Span> = starts
        .zip(words)
        .map(|(at, word)| Span::new(at, word.len()))
        .collect();
    lookup(Args::new(&base, &spans)).map_err(|error| String::from_utf8(error).unwrap())
}

fn error_of(words: &[&[u8]]) -> String {
    lookup_words(words).map(|row| row.name).unwrap_err()
}

#[test]
fn every_row_is_found_by_its_name_in_any_case() {
    for row in rows() {
        let lower = row.name.as_bytes();
        let upper = lower.to_ascii_uppercase();
        let mixed: Vec<u8> = (0..)
            .zip(lower)
            .map(|(at, byte)| {
                if at % 2 == 0 {
                    byte.to_ascii_uppercase()
                } else {
                    *byte
                }
            })
            .collect();
        for name in [lower, &upper, &mixed] {
            assert_eq!(find(name).map(|row| row.name), Some(row.name));
        }
        for sub in row.subcommands {
            let (container, name) = sub.name.split_once('|').expect("a bar after the container");
            assert_eq!(container, row.name);
            let found = find_subcommand(row, &name.as_bytes().to_ascii_uppercase());
            assert_eq!(found.map(|row| row.name), Some(sub.name));
        }
    }
}

#[test]
fn names_that_only_look_like_a_row_are_not_found() {
    for row in rows() {
        let name = row.name.as_bytes();
        assert!(find(&name[..name.len() - 1]).is_none_or(|found| found.name != row.name));
        assert!(find(&[name, b"x"].concat()).is_none());
        for at in 0..name.len() {
            for byte in 0..=u8::MAX {
                let mut other = name.to_vec();
                other[at] = byte;
                let is_same = other.eq_ignore_ascii_case(name);
                assert_eq!(
                    find(&other).is_some_and(|found| found.name == row.name),
                    is_same
                );
            }
        }
    }
    assert!(find(b"").is_none());
    assert!(find(&[b'g'; 17]).is_none());
    assert!(find(&[0; 16]).is_none());
}

#[test]
fn rows_are_sorted_and_their_numbers_make_sense() {
    let names: Vec<&str> = rows().map(|row| row.name).collect();
    assert!(names.is_sorted_by(|left, right| left < right));
    for row in rows().flat_map(|row| std::iter::once(row).chain(row.subcommands)) {
        assert_ne!(row.arity, 0, "{}", row.name);
        let keys = row.keys;
        assert_eq!(
            keys.first == 0,
            keys.step == 0 || keys.last == 0,
            "{}",
            row.name
        );
        let is_routed = matches!(row.scope, super::super::Scope::Owner);
        assert!(
            !is_routed || keys.first > 0,
            "{} has no key to go by",
            row.name
        );
        assert_eq!(
            row.scope == super::super::Scope::PerKey,
            row.part.is_some(),
            "{}",
            row.name
        );
    }
}

#[test]
fn a_subcommand_has_a_row_of_its_own() {
    let row = lookup_words(&[b"Client", b"LIST"]).unwrap();
    assert_eq!(row.name, "client|list");
    assert_eq!(lookup_words(&[b"command"]).unwrap().name, "command");
    assert_eq!(
        lookup_words(&[b"command", b"count"]).unwrap().name,
        "command|count"
    );
}

#[test]
fn the_wrong_number_of_arguments_names_the_command() {
    let cases: [(&[&[u8]], &str); 4] = [
        (&[b"ECHO"], "echo"),
        (&[b"echo", b"a", b"b"], "echo"),
        (&[b"CLIENT"], "client"),
        (&[b"CLIENT", b"ID", b"x"], "client|id"),
    ];
    for (words, name) in cases {
        let expected = format!("ERR wrong number of arguments for '{name}' command");
        assert_eq!(error_of(words), expected);
    }
}

#[test]
fn an_unknown_command_is_quoted_with_128_bytes_of_arguments() {
    let unknown =
        |args: &str| format!("ERR unknown command 'nosuch', with args beginning with: {args}");
    let long = |letter: &str, count| letter.repeat(count);
    assert_eq!(error_of(&[b"nosuch"]), unknown(""));
    assert_eq!(error_of(&[b"nosuch", b"a", b"b"]), unknown("'a' 'b' "));
    let words = [&b"nosuch"[..], &[b'a'; 50], &[b'b'; 60], &[b'c'; 40], b"d"];
    let args = format!(
        "'{}' '{}' '{}' ",
        long("a", 50),
        long("b", 60),
        long("c", 12)
    );
    assert_eq!(error_of(&words), unknown(&args));
    for (count, rest) in [(126, ""), (125, ""), (124, "'b' ")] {
        let first = vec![b'a'; count];
        let args = format!("'{}' {rest}", long("a", count));
        assert_eq!(error_of(&[b"nosuch", &first, b"b", b"c"]), unknown(&args));
    }
    assert_eq!(error_of(&[b"nosuch", b"a\0b"]), unknown("'a' "));
    let expected = format!(
        "ERR unknown command '{}', with args beginning with: 'x' ",
        long("n", 128)
    );
    assert_eq!(error_of(&[&[b'n'; 200], b"x"]), expected);
}

#[test]
fn an_unknown_subcommand_is_quoted_and_help_offered() {
    assert_eq!(
        error_of(&[b"cLient", b"Foo"]),
        "ERR unknown subcommand 'Foo'. Try CLIENT HELP."
    );
    let expected = format!(
        "ERR unknown subcommand '{}'. Try CONFIG HELP.",
        "x".repeat(128)
    );
    assert_eq!(error_of(&[b"CONFIG", &[b'x'; 140]]), expected);
}

#[test]
fn an_http_request_gets_no_further_than_its_first_line() {
    for name in [&b"POST"[..], b"Host:", b"host:"] {
        let row = lookup_words(&[name, b"/"]).unwrap();
        assert!(row.flags.contains(super::super::Flags::HIDDEN));
    }
    assert!(rows().all(|row| row.name != "post"));
}
