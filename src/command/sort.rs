//! SORT and SORT_RO: what can be sorted is lists and sets, which are not here.
//!
//! So a key that is there has the wrong type, and one that is not has no elements. To STORE those is
//! to remove the target. That is done where the source lives; at a target that lives elsewhere it is
//! refused.

use crate::hash::{cluster_slot, shard_of_slot};
use crate::resp::{Args, Reply};

use super::direct::{Lookup, reading};
use super::number::parse_i64;
use super::refusal::{Refusal, answer};
use super::string::{READ, STORE, on_owner, routed_key};
use super::{Context, Flags, Row, Status};

pub(super) const ROWS: &[Row] = &[
    on_owner("sort", -2, STORE.with(Flags::MOVABLE_KEYS), sort),
    reading!(
        on_owner("sort_ro", -2, READ.with(Flags::MOVABLE_KEYS)),
        sort_ro
    ),
];

fn sort(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let sorted = parse(args, true).and_then(|target| {
        check_absent(context, args)?;
        match target {
            Some(target) => store_nothing(context, args.get(target), reply),
            None => {
                reply.array(0);
                Ok(())
            }
        }
    });
    answer(sorted, reply)
}

fn sort_ro(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let sorted = parse(args, false).and_then(|_| check_absent(lookup, args));
    answer(sorted.map(|()| reply.array(0)), reply)
}

/// Reads the options; where the key is that STORE names.
fn parse(args: Args<'_>, may_store: bool) -> Result<Option<usize>, Refusal> {
    let mut target = None;
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        let is = |name: &[u8]| args.get(index).eq_ignore_ascii_case(name);
        if is(b"ASC") || is(b"DESC") || is(b"ALPHA") {
            index += 1;
        } else if is(b"LIMIT") && left >= 2 {
            for bound in [index + 1, index + 2] {
                parse_i64(args.get(bound)).ok_or(Refusal::NOT_AN_INTEGER)?;
            }
            index += 3;
        } else if (is(b"BY") || is(b"GET")) && left >= 1 {
            index += 2;
        } else if may_store && is(b"STORE") && left >= 1 {
            target = Some(index + 1);
            index += 2;
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    Ok(target)
}

fn check_absent(lookup: &mut impl Lookup, args: Args<'_>) -> Result<(), Refusal> {
    let key = routed_key(lookup, args);
    match lookup.read(key) {
        Some(_) => Err(Refusal::WRONG_TYPE),
        None => Ok(()),
    }
}

fn store_nothing(
    context: &mut Context<'_>,
    target: &[u8],
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let owner = shard_of_slot(cluster_slot(target), context.core.core_count);
    if owner != context.core.id {
        return Err(Refusal::SORT_INTO_ANOTHER_SHARD);
    }
    let key = context.shard.key(target);
    context.shard.remove(key, context.now.ms())?;
    reply.count(0);
    Ok(())
}
