//! Commands about the whole data set and the server's place in the world.
//!
//! There is one database, so FLUSHDB is FLUSHALL. Both return at once: what they detach is freed in
//! the background, with `SYNC` too. The server is a standalone master without modules; tools that
//! ask get the answers of a Redis that is.

use crate::resp::{Args, Reply};

use super::refusal::{Refusal, answer};
use super::{Context, Flags, Merge, Row, Run, Scope, SessionContext, Status, reply_help};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.with(Flags::FAST),
        scope: Scope::AllShards,
        merge: Merge::Sum,
        run: Run::Shard(count_keys),
        ..Row::BLANK
    },
    Row {
        name: "flushall",
        ..FLUSH
    },
    Row {
        name: "flushdb",
        ..FLUSH
    },
    Row {
        name: "module",
        arity: -2,
        subcommands: MODULE,
        ..Row::BLANK
    },
    Row {
        name: "role",
        arity: 1,
        flags: Flags::NOSCRIPT.with(ANY_TIME).with(Flags::FAST),
        run: Run::Session(role),
        ..Row::BLANK
    },
    Row {
        name: "time",
        arity: 1,
        flags: ANY_TIME.with(Flags::FAST),
        run: Run::Session(time),
        ..Row::BLANK
    },
];

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);

const FLUSH: Row = Row {
    arity: -1,
    flags: Flags::WRITE.with(Flags::SEVERAL),
    scope: Scope::AllShards,
    merge: Merge::Ok,
    run: Run::Shard(flush),
    ..Row::BLANK
};

const MODULE: &[Row] = &[
    Row {
        name: "module|help",
        arity: 2,
        flags: ANY_TIME,
        run: Run::Session(module_help),
        ..Row::BLANK
    },
    Row {
        name: "module|list",
        arity: 2,
        flags: Flags::ADMIN.with(Flags::NOSCRIPT),
        run: Run::Session(|_, _, reply| reply.array(0)),
        ..Row::BLANK
    },
];

fn count_keys(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    reply.count(context.shard.len());
    Status::Done
}

fn flush(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let is_mode = |arg: &[u8]| {
        [&b"async"[..], b"sync"]
            .iter()
            .any(|m| arg.eq_ignore_ascii_case(m))
    };
    if args.len() > 2 || (args.len() == 2 && !is_mode(args.get(1))) {
        reply.error("ERR syntax error");
        return Status::Done;
    }
    let cleared = context.shard.clear().map(|()| reply.ok());
    answer(cleared.map_err(Refusal::from), reply)
}

fn time(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    let now = context.now;
    reply.array(2);
    reply.bulk(now.seconds().to_string().as_bytes());
    reply.bulk((now.unix_us % 1_000_000).to_string().as_bytes());
}

/// A master at offset 0 without replicas.
fn role(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
}

fn module_help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(
        reply,
        "MODULE",
        &["LIST", "    Return the loaded modules: none."],
    );
}

#[cfg(test)]
mod tests;
