//! Counters: values that are the text of a number.
//!
//! A counter is stored as its text, so that GET and a later APPEND need not know of it. Its time
//! to live stays.

use crate::command::number::extended::Extended;
use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::{Context, Status};
use crate::resp::{Args, DIGITS_MAX, Reply, format_integer};
use crate::shard::Attributes;

use super::routed_key;

pub(super) fn incr(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(add(context, args, 1, reply), reply)
}

pub(super) fn decr(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(add(context, args, -1, reply), reply)
}

pub(super) fn incrby(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let summand = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER);
    answer(
        summand.and_then(|summand| add(context, args, summand, reply)),
        reply,
    )
}

pub(super) fn decrby(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let given = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER);
    let summand = given.and_then(|given| given.checked_neg().ok_or(Refusal::DECREMENT_OVERFLOW));
    answer(
        summand.and_then(|summand| add(context, args, summand, reply)),
        reply,
    )
}

fn add(
    context: &mut Context<'_>,
    args: Args<'_>,
    summand: i64,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let (value, expires_at_ms) = match context.shard.find(key, now_ms) {
        Some(value) => (
            parse_i64(value.bytes).ok_or(Refusal::NOT_AN_INTEGER)?,
            value.expires_at_ms,
        ),
        None => (0, None),
    };
    let sum = value.checked_add(summand).ok_or(Refusal::OVERFLOW)?;
    let mut digits = [0; DIGITS_MAX];
    let text = format_integer(sum, &mut digits);
    let attributes = Attributes {
        expires_at_ms,
        ..Attributes::default()
    };
    context.shard.store(key, text, attributes, now_ms)?;
    reply.integer(sum);
    Ok(())
}

pub(super) fn incrbyfloat(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    answer(add_float(context, args, reply), reply)
}

fn add_float(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let (value, expires_at_ms) = match context.shard.find(key, now_ms) {
        Some(value) => (
            Extended::parse(value.bytes).ok_or(Refusal::NOT_A_FLOAT)?,
            value.expires_at_ms,
        ),
        None => (Extended::ZERO, None),
    };
    let summand = Extended::parse(args.get(2)).ok_or(Refusal::NOT_A_FLOAT)?;
    let sum = value.checked_add(summand).ok_or(Refusal::NOT_FINITE)?;
    let mut text = Vec::new();
    sum.write(&mut text);
    let attributes = Attributes {
        expires_at_ms,
        ..Attributes::default()
    };
    context.shard.store(key, &text, attributes, now_ms)?;
    reply.bulk(&text);
    Ok(())
}
