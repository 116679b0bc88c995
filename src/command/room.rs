//! Room for a command over several shards, made on each before any part of it runs.
//!
//! A part that finds no memory when others have run would leave the command half done. So where memory
//! is short each shard is asked first (`shard::room`); what was asked for cannot fail any more.
//!
//! Not here: when to ask (`lane::dispatch`), and giving room back, which the end of a hold does.

use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Change};

use super::refusal::{Refusal, answer};
use super::{Context, Flags, Row, Run, Status};

/// Makes room for the keys and values that follow.
const FOR_PAIRS: Row = Row {
    name: "(room for pairs)",
    arity: -3,
    flags: Flags::HIDDEN,
    run: Run::Shard(make_for_pairs),
    ..Row::BLANK
};

/// Makes room to remove the keys that follow.
const FOR_REMOVALS: Row = Row {
    name: "(room for removals)",
    arity: -2,
    flags: Flags::HIDDEN,
    run: Run::Shard(make_for_removals),
    ..Row::BLANK
};

/// The row that makes room for the keys of `row`, which stores or removes them.
pub fn row_for(row: &Row) -> &'static Row {
    if row.keys.step > 1 {
        &FOR_PAIRS
    } else {
        &FOR_REMOVALS
    }
}

fn make_for_pairs(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let changes = (1..args.len()).step_by(2).map(|at| Change::Store {
        key: args.get(at),
        value: args.get(at + 1),
        attributes: Attributes::default(),
    });
    let prepared = context.shard.prepare(changes).map(|()| reply.ok());
    answer(prepared.map_err(Refusal::from), reply)
}

fn make_for_removals(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let changes = (1..args.len()).map(|at| Change::Remove { key: args.get(at) });
    let prepared = context.shard.prepare(changes).map(|()| reply.ok());
    answer(prepared.map_err(Refusal::from), reply)
}
