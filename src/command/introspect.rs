//! COMMAND: the table as clients see it.
//!
//! Cluster clients read INFO to find keys, `redis-cli` reads DOCS for its hints. Both are written
//! from the row and from the facts that `docs` adds to it.

use crate::resp::{Args, Reply};

use super::docs::{self, Doc};
use super::table::{find, find_subcommand, rows};
use super::{Flags, Keys, Row, Run, SessionContext, glob, reply_help};

pub(super) const ROWS: &[Row] = &[Row {
    name: "command",
    arity: -1,
    run: Run::Session(all),
    subcommands: SUBCOMMANDS,
    ..ANY_TIME
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "command|count",
        arity: 2,
        run: Run::Session(count),
        ..ANY_TIME
    },
    Row {
        name: "command|docs",
        arity: -2,
        run: Run::Session(describe),
        ..ANY_TIME
    },
    Row {
        name: "command|getkeys",
        arity: -4,
        run: Run::Session(keys),
        ..ANY_TIME
    },
    Row {
        name: "command|getkeysandflags",
        arity: -4,
        run: Run::Session(keys_and_flags),
        ..ANY_TIME
    },
    Row {
        name: "command|help",
        arity: 2,
        run: Run::Session(help),
        ..ANY_TIME
    },
    Row {
        name: "command|info",
        arity: -2,
        run: Run::Session(info),
        ..ANY_TIME
    },
    Row {
        name: "command|list",
        arity: -2,
        run: Run::Session(list),
        ..ANY_TIME
    },
];

const ANY_TIME: Row = Row {
    flags: Flags::LOADING.with(Flags::STALE),
    ..Row::BLANK
};

fn all(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.array(rows().len());
    rows().for_each(|row| write_info(row, reply));
}

fn count(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.count(rows().len() as u64);
}

fn info(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 2 {
        return all(context, args, reply);
    }
    reply.array(args.len() - 2);
    for name in args.slice(2..).iter() {
        match find_by_full_name(name) {
            Some(row) => write_info(row, reply),
            None => reply.null(),
        }
    }
}

fn describe(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let named: Vec<&'static Row> = match args.len() {
        2 => rows().collect(),
        _ => args
            .slice(2..)
            .iter()
            .filter_map(find_by_full_name)
            .collect(),
    };
    reply.map(named.len());
    for row in named {
        reply.bulk(row.name.as_bytes());
        docs::write(row, reply);
    }
}

fn keys(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let command = args.slice(2..);
    match row_with_keys(command) {
        Ok(row) => {
            let keys = keys_of(row, command);
            reply.array(keys.len());
            keys.iter()
                .for_each(|(position, _)| reply.bulk(command.get(*position)));
        }
        Err(error) => reply.error(error),
    }
}

/// The keys of a command, each with what happens to it.
fn keys_and_flags(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let command = args.slice(2..);
    let row = match row_with_keys(command) {
        Ok(row) => row,
        Err(error) => return reply.error(error),
    };
    let keys = keys_of(row, command);
    reply.array(keys.len());
    for (position, key_use) in keys {
        reply.array(2);
        reply.bulk(command.get(position));
        let is_fixed = |flag: &&str| *flag != "variable_flags";
        write_set(key_use.split(' ').filter(is_fixed), reply);
    }
}

/// Where the keys of a request are, and what happens to each: flags, separated by spaces.
fn keys_of(row: &Row, command: Args<'_>) -> Vec<(usize, &'static str)> {
    let uses = docs::of(row.name).key_uses();
    let positions = row.keys.positions(command.len()).enumerate();
    let with_uses = positions.map(|(number, position)| {
        // One specification stands for all keys, several for one each.
        let key_use = uses.get(number).or(uses.last());
        (position, key_use.copied().unwrap_or_default())
    });
    let mut keys: Vec<_> = with_uses.collect();
    match row.name {
        "set" if !has_get(command) => keys[0].1 = "OW update",
        "bitfield" if only_gets(command) => keys[0].1 = "RO access",
        "sort" => keys.extend(sort_destination(command).map(|position| (position, "OW update"))),
        _ => {}
    }
    keys
}

/// Whether a SET returns what was there.
fn has_get(command: Args<'_>) -> bool {
    let mut options = command.slice(3..).iter();
    options.any(|option| option.eq_ignore_ascii_case(b"get"))
}

/// Whether a BITFIELD leaves its key alone: all of it is GET and OVERFLOW, and whole.
fn only_gets(command: Args<'_>) -> bool {
    let mut at = 2;
    while at < command.len() {
        let len = match command.get(at).to_ascii_lowercase().as_slice() {
            b"get" => 3,
            b"overflow" => 2,
            _ => return false,
        };
        at += len;
    }
    at == command.len()
}

/// Where a SORT names the key that it stores at; the last counts.
fn sort_destination(command: Args<'_>) -> Option<usize> {
    let mut found = None;
    let mut at = 2;
    while at < command.len() {
        at += match command.get(at).to_ascii_lowercase().as_slice() {
            b"limit" => 3,
            b"get" | b"by" => 2,
            b"store" if at + 1 < command.len() => {
                found = Some(at + 1);
                1
            }
            _ => 1,
        };
    }
    found
}

/// The row of a request that has keys, if its number of arguments is right.
fn row_with_keys(command: Args<'_>) -> Result<&'static Row, &'static str> {
    let row = find_of_request(command).ok_or("ERR Invalid command specified")?;
    if row.keys == Keys::NONE {
        return Err("ERR The command has no key arguments");
    }
    if !row.has_arity(command.len()) {
        return Err("ERR Invalid number of arguments specified for command");
    }
    // PFMERGE without a source: Redis looks for keys in each place where there may be some.
    let key_count = row.keys.positions(command.len()).len();
    if row.name == "pfmerge" && key_count < docs::of(row.name).key_uses().len() {
        return Err("ERR Invalid arguments specified for command");
    }
    Ok(row)
}

/// The names of all commands and subcommands, or of those that a filter takes.
fn list(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let filter = match args.len() {
        2 => Filter::All,
        5 if args.get(2).eq_ignore_ascii_case(b"filterby") => {
            match args.get(3).to_ascii_lowercase().as_slice() {
                b"aclcat" => Filter::Category(args.get(4)),
                b"module" => Filter::Module,
                b"pattern" => Filter::Pattern(args.get(4)),
                _ => return reply.error("ERR syntax error"),
            }
        }
        _ => return reply.error("ERR syntax error"),
    };
    let with_subcommands = rows().flat_map(|row| std::iter::once(row).chain(row.subcommands));
    let names: Vec<&str> = with_subcommands
        .filter(|row| filter.takes(row))
        .map(|row| row.name)
        .collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
}

enum Filter<'a> {
    All,
    Category(&'a [u8]),
    /// Of a module: there are none.
    Module,
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn takes(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => docs::categories(row, docs::of(row.name))
                .any(|name| name.as_bytes().eq_ignore_ascii_case(category)),
            Self::Module => false,
            Self::Pattern(pattern) => glob::matches_ignoring_case(pattern, row.name.as_bytes()),
        }
    }
}

/// The row of `get` or of `config|get`.
fn find_by_full_name(name: &[u8]) -> Option<&'static Row> {
    match name.iter().position(|byte| *byte == b'|') {
        None => find(name),
        Some(bar) => find_subcommand(find(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The row of a request, whatever the number of its arguments.
fn find_of_request(args: Args<'_>) -> Option<&'static Row> {
    let row = find(args.get(0))?;
    if row.subcommands.is_empty() || args.len() == 1 {
        return Some(row);
    }
    find_subcommand(row, args.get(1))
}

/// The ten elements of COMMAND INFO.
fn write_info(row: &Row, reply: &mut Reply<'_>) {
    let doc = docs::of(row.name);
    reply.array(10);
    reply.bulk(row.name.as_bytes());
    reply.integer(row.arity.into());
    write_set(row.flags.names(), reply);
    reply.integer(row.keys.first.into());
    reply.integer(row.keys.last.into());
    reply.integer(row.keys.step.into());
    let categories: Vec<String> = docs::categories(row, doc)
        .map(|category| format!("@{category}"))
        .collect();
    write_set(categories.iter().map(String::as_str), reply);
    reply.set(doc.tips().count());
    doc.tips().for_each(|tip| reply.bulk(tip.as_bytes()));
    write_key_specs(row, doc, reply);
    reply.set(row.subcommands.len());
    row.subcommands
        .iter()
        .for_each(|sub| write_info(sub, reply));
}

/// Where the keys are once more, with what happens to them.
fn write_key_specs(row: &Row, doc: Doc, reply: &mut Reply<'_>) {
    let Keys { first, last, step } = row.keys;
    let uses = doc.key_uses();
    reply.set(uses.len());
    // Two keys of different use are two specifications of one key each.
    let last_from_first = if uses.len() > 1 || last > 0 { 0 } else { last };
    for (index, key_use) in (i64::from(first)..).zip(uses) {
        let notes = doc.key_notes();
        reply.map(if notes.is_empty() { 3 } else { 4 });
        if !notes.is_empty() {
            reply.bulk(b"notes");
            reply.bulk(notes.as_bytes());
        }
        reply.bulk(b"flags");
        write_set(key_use.split(' '), reply);
        reply.bulk(b"begin_search");
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(b"index");
        reply.bulk(b"spec");
        reply.map(1);
        reply.bulk(b"index");
        reply.integer(index);
        reply.bulk(b"find_keys");
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(b"range");
        reply.bulk(b"spec");
        reply.map(3);
        reply.bulk(b"lastkey");
        reply.integer(last_from_first.into());
        reply.bulk(b"keystep");
        reply.integer(step.into());
        reply.bulk(b"limit");
        reply.integer(0);
    }
}

fn write_set<'a>(names: impl Iterator<Item = &'a str> + Clone, reply: &mut Reply<'_>) {
    reply.set(names.clone().count());
    names.for_each(|name| reply.simple(name));
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "COMMAND", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "(no subcommand)",
    "    Return the properties of all commands.",
    "COUNT",
    "    Return how many commands there are.",
    "DOCS [<command-name> ...]",
    "    Return what commands do and take; of all if none is named.",
    "GETKEYS <full-command>",
    "    Return the keys in a command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys in a command and what happens to them.",
    "INFO [<command-name> ...]",
    "    Return the properties of commands; of all if none is named.",
    "LIST [FILTERBY (ACLCAT <category>|MODULE <module-name>|PATTERN <pattern>)]",
    "    Return the names of commands.",
];

#[cfg(test)]
mod tests;
