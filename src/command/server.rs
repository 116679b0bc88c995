//! Commands about the whole data set and the server's place in the world.
//!
//! There is one database, so FLUSHDB is FLUSHALL. Both return at once: what they detach is freed in
//! the background, with `SYNC` too. The server is a standalone master without modules; tools that
//! ask get the answers of a Redis that is.

use crate::resp::{Args, Reply};

use super::persistence::NOWHERE;
use super::refusal::{Refusal, answer};
use super::{
    Context, Flags, Keys, Merge, Row, Run, Scope, SessionContext, Status, number, reply_help,
};

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
        name: "lolwut",
        arity: -1,
        flags: Flags::READONLY.with(Flags::FAST),
        run: Run::Session(version),
        ..Row::BLANK
    },
    Row {
        name: "module",
        arity: -2,
        subcommands: MODULE,
        ..Row::BLANK
    },
    Row {
        name: "move",
        arity: 3,
        keys: Keys::ONE,
        flags: Flags::WRITE.with(Flags::FAST),
        run: Run::Session(move_key),
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
        name: "shutdown",
        arity: -1,
        flags: Flags::ADMIN
            .with(Flags::NOSCRIPT)
            .with(Flags::STALE)
            .with(Flags::ALLOW_BUSY)
            .with(Flags::NO_MULTI),
        run: Run::Session(shut_down),
        ..Row::BLANK
    },
    Row {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.with(Flags::FAST),
        run: Run::Session(swap_databases),
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

/// LOLWUT: the version, whatever picture was asked for.
fn version(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if !has_picture_of_numbers(args) {
        return Refusal::NOT_AN_INTEGER.write(reply);
    }
    reply.verbatim(concat!("Coremap ver. ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
}

/// Whether what LOLWUT is told is numbers where Redis reads numbers: the version, and the measures of
/// the pictures that versions 4 to 6 have.
fn has_picture_of_numbers(args: Args<'_>) -> bool {
    if args.len() < 3 || !args.get(1).eq_ignore_ascii_case(b"version") {
        return true;
    }
    let measure_count = match number::parse_i64(args.get(2)) {
        None => return false,
        Some(4 | 5) => 3,
        Some(6) => 2,
        Some(_) => 0,
    };
    let mut measures = args.slice(3..).iter().take(measure_count);
    measures.all(|measure| number::parse_i64(measure).is_some())
}

/// A key cannot go to another database: there is none.
fn move_key(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match number::parse_i64(args.get(2)) {
        None => Refusal::NOT_AN_INTEGER.write(reply),
        Some(0) => Refusal::SAME_OBJECT.write(reply),
        Some(index) if i32::try_from(index).is_err() => Refusal::NOT_A_DATABASE.write(reply),
        Some(_) => Refusal::DATABASE_OUT_OF_RANGE.write(reply),
    }
}

/// The one database can be swapped with itself.
fn swap_databases(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let index = |at| number::parse_i64(args.get(at)).and_then(|index| i32::try_from(index).ok());
    match (index(1), index(2)) {
        (None, _) => reply.error("ERR invalid first DB index"),
        (_, None) => reply.error("ERR invalid second DB index"),
        (Some(0), Some(0)) => reply.ok(),
        _ => Refusal::DATABASE_OUT_OF_RANGE.write(reply),
    }
}

/// Ends the server as a signal does: what was received is served first. Everything written is in the
/// file by then, and on disk before the process ends, with SAVE and without.
fn shut_down(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let has = |name: &str| {
        let is_it = |arg: &[u8]| arg.eq_ignore_ascii_case(name.as_bytes());
        args.slice(1..).iter().any(is_it)
    };
    let known = ["abort", "force", "nosave", "now", "save"];
    let is_known = |arg: &[u8]| {
        known
            .iter()
            .any(|name| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    let is_nonsense = !args.slice(1..).iter().all(is_known)
        || (has("abort") && args.len() > 2)
        || (has("save") && has("nosave"));
    if is_nonsense {
        return Refusal::SYNTAX.write(reply);
    }
    if has("abort") {
        return reply.error("ERR No shutdown in progress.");
    }
    if has("save") && !context.shard.region().is_durable() && !has("force") {
        return reply.error(NOWHERE);
    }
    context.session().close_after_reply = true;
    context.core.wants_stop = true;
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
