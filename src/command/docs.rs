//! What COMMAND tells of a command beyond its row, from one text: `docs/commands.txt`.
//!
//! ```text
//! getex                                                    a name, and what follows belongs to it
//!   arguments: key ?expiration:oneof(seconds:integer@EX persist@PERSIST)
//!   keys: RW access update                                 what happens to each key
//!   differs: ...                                           from Redis, for docs/COMMANDS.md
//! ```
//!
//! An argument is `name:type@TOKEN(arguments within)`. Before it, `?` says that it may be left out,
//! `*` that it may be repeated and `+` that its token is then, too. Without a type it is a bare token if it has one, else a key.
//!
//! The text is read when a client asks; nothing of it is needed to run a command.

use std::sync::LazyLock;

use crate::resp::Reply;

use super::{Flags, Row};

/// The facts about one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doc {
    /// Lines of `name: value`.
    fields: &'static str,
}

/// The facts about the command called `name`.
pub(super) fn of(name: &str) -> Doc {
    let found = STANZAS.binary_search_by_key(&name, |(name, _)| name);
    Doc {
        fields: found.map_or("", |index| STANZAS[index].1),
    }
}

impl Doc {
    /// Hints for proxies and clusters.
    pub(super) fn tips(&self) -> impl ExactSizeIterator<Item = &'static str> + Clone {
        split_words(self.field("tips"))
    }

    /// What happens to each key: its flags, separated by spaces.
    pub(super) fn key_uses(&self) -> Vec<&'static str> {
        self.field("keys")
            .split(';')
            .map(str::trim)
            .filter(|uses| !uses.is_empty())
            .collect()
    }

    /// Why its keys have the flags they have, where that is not plain.
    pub(super) fn key_notes(&self) -> &'static str {
        self.field("notes")
    }

    /// What follows the name of the command.
    pub(super) fn arguments(&self) -> Vec<Argument> {
        parse_arguments(self.field("arguments"))
    }

    /// The value of a field, or nothing.
    pub(super) fn field(&self, name: &str) -> &'static str {
        let values = self
            .fields
            .lines()
            .filter_map(|line| line.trim_start().split_once(": "));
        values
            .filter(|(field, _)| *field == name)
            .map(|(_, value)| value)
            .next()
            .unwrap_or("")
    }
}

/// Redis's access-control categories of a command, in its order: those its flags imply, and those
/// its document names.
pub(super) fn categories(row: &Row, doc: Doc) -> impl Iterator<Item = &'static str> + Clone {
    let flags = row.flags;
    CATEGORIES.iter().copied().filter(move |category| {
        let is_implied = match *category {
            "read" => flags.contains(Flags::READONLY),
            "write" => flags.contains(Flags::WRITE),
            "admin" | "dangerous" => flags.contains(Flags::ADMIN),
            "fast" => flags.contains(Flags::FAST),
            "slow" => !flags.contains(Flags::FAST),
            "blocking" => flags.contains(Flags::BLOCKING),
            _ => false,
        };
        is_implied || split_words(doc.field("categories")).any(|named| named == *category)
    })
}

/// Writes the document of a command as COMMAND DOCS has it.
pub(super) fn write(row: &Row, reply: &mut Reply<'_>) {
    let doc = of(row.name);
    let plain = ["summary", "since", "group", "complexity"];
    let deprecated = doc.field("deprecated").split_once(' ');
    let arguments = doc.arguments();
    let pair_count = plain.len()
        + deprecated.map_or(0, |_| 3)
        + usize::from(!arguments.is_empty())
        + usize::from(!row.subcommands.is_empty());
    reply.map(pair_count);
    for name in plain {
        reply.bulk(name.as_bytes());
        reply.bulk(doc.field(name).as_bytes());
    }
    if let Some((since, replacement)) = deprecated {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple("deprecated");
        reply.bulk(b"deprecated_since");
        reply.bulk(since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(replacement.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        write_arguments(&arguments, &mut 0, reply);
    }
    if !row.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(row.subcommands.len());
        for sub in row.subcommands {
            reply.bulk(sub.name.as_bytes());
            write(sub, reply);
        }
    }
}

/// One argument of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) token: Option<&'static str>,
    pub(super) flags: Vec<&'static str>,
    /// Arguments within: of a block, or the choices of a oneof.
    pub(super) inner: Vec<Argument>,
}

impl Argument {
    /// Reads an argument: all of its text up to the next space outside of brackets.
    fn parse(text: &'static str) -> Self {
        let (head, inner) = match text.split_once('(') {
            Some((head, inner)) => (head, inner.strip_suffix(')').unwrap_or(inner)),
            None => (text, ""),
        };
        let (head, token) = match head.split_once('@') {
            Some((head, token)) => (head, Some(token)),
            None => (head, None),
        };
        let name = head.trim_start_matches(['?', '*', '+']);
        let marks = &head[..head.len() - name.len()];
        let (name, kind) = match (name.rsplit_once(':'), token) {
            (Some((name, kind)), _) => (name, kind),
            (None, Some(_)) => (name, "pure-token"),
            (None, None) => (name, "key"),
        };
        let flags = marks.chars().map(|mark| match mark {
            '?' => "optional",
            '*' => "multiple",
            _ => "multiple_token",
        });
        Self {
            name,
            kind,
            token,
            flags: flags.collect(),
            inner: parse_arguments(inner),
        }
    }
}

/// Reads arguments separated by spaces.
fn parse_arguments(text: &'static str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut depth = 0_usize;
        let end = rest.find(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ' ' && depth == 0
        });
        let (argument, after) = rest.split_at(end.unwrap_or(rest.len()));
        arguments.push(Argument::parse(argument));
        rest = after.trim_start();
    }
    arguments
}

/// Writes arguments; `key_count` numbers the keys among them.
fn write_arguments(arguments: &[Argument], key_count: &mut i64, reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        let is_key = argument.kind == "key";
        let optional_pairs = [
            is_key,
            argument.token.is_some(),
            !argument.flags.is_empty(),
            !argument.inner.is_empty(),
        ];
        reply.map(2 + optional_pairs.iter().filter(|is_there| **is_there).count());
        reply.bulk(b"name");
        reply.bulk(argument.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(argument.kind.as_bytes());
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer(*key_count);
            *key_count += 1;
        }
        if let Some(token) = argument.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !argument.flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(argument.flags.len());
            argument.flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !argument.inner.is_empty() {
            reply.bulk(b"arguments");
            write_arguments(&argument.inner, key_count, reply);
        }
    }
}

/// The words of a field.
fn split_words(text: &'static str) -> std::vec::IntoIter<&'static str> {
    text.split_whitespace().collect::<Vec<_>>().into_iter()
}

const TEXT: &str = include_str!("docs/commands.txt");

/// Names and fields; the text is sorted by name.
static STANZAS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    TEXT.split("\n\n")
        .filter_map(|stanza| stanza.split_once('\n'))
        .collect()
});

/// In the order in which Redis lists them; those of types that are not there yet have no commands.
pub(super) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

#[cfg(test)]
mod tests;
