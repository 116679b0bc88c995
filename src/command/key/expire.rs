//! Times to live: EXPIRE and its kin set, TTL and its kin tell, PERSIST ends them.
//!
//! A key whose deadline has come counts as absent everywhere, so a deadline that is not in the
//! future simply removes the key.

use crate::command::direct::Lookup;
use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::{Context, Status};
use crate::resp::{Args, Reply};

use super::routed_key;

/// Latest deadline that a record's expiry word holds, in the year 10889. Later ones, which Redis
/// would keep, become this one.
pub(in crate::command) const DEADLINE_MS_MAX: u64 = (1 << 48) - 1;

/// What the number of an EXPIRE counts.
#[derive(Clone, Copy, Debug)]
struct Clock {
    unit_ms: i64,
    is_relative: bool,
}

const IN_SECONDS: Clock = Clock {
    unit_ms: 1000,
    is_relative: true,
};
const IN_MILLIS: Clock = Clock {
    unit_ms: 1,
    is_relative: true,
};
const AT_SECONDS: Clock = Clock {
    unit_ms: 1000,
    is_relative: false,
};
const AT_MILLIS: Clock = Clock {
    unit_ms: 1,
    is_relative: false,
};

/// When EXPIRE may change anything.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    is_nx: bool,
    is_xx: bool,
    is_gt: bool,
    is_lt: bool,
}

impl Conditions {
    /// Reads the options, from the fourth argument on.
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let mut conditions = Self::default();
        for option in args.slice(3..).iter() {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            match () {
                () if is(b"NX") => conditions.is_nx = true,
                () if is(b"XX") => conditions.is_xx = true,
                () if is(b"GT") => conditions.is_gt = true,
                () if is(b"LT") => conditions.is_lt = true,
                () => return Err(Refusal::unsupported_option(option)),
            }
        }
        let Self {
            is_nx,
            is_xx,
            is_gt,
            is_lt,
        } = conditions;
        if is_nx && (is_xx || is_gt || is_lt) {
            return Err(Refusal::EXPIRE_NX_AND_OTHERS);
        }
        if is_gt && is_lt {
            return Err(Refusal::EXPIRE_GT_AND_LT);
        }
        Ok(conditions)
    }

    /// Whether `deadline_ms` may take the place of `current_ms`; none is later than any.
    fn allow(self, deadline_ms: i64, current_ms: Option<u64>) -> bool {
        let current_ms = current_ms.map(u64::cast_signed);
        let is_later = current_ms.is_some_and(|current_ms| deadline_ms > current_ms);
        let is_earlier = current_ms.is_none_or(|current_ms| deadline_ms < current_ms);
        !(self.is_nx && current_ms.is_some()
            || self.is_xx && current_ms.is_none()
            || self.is_gt && !is_later
            || self.is_lt && !is_earlier)
    }
}

pub(super) fn expire(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(set_deadline(context, args, IN_SECONDS, reply), reply)
}

pub(super) fn pexpire(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(set_deadline(context, args, IN_MILLIS, reply), reply)
}

pub(super) fn expireat(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(set_deadline(context, args, AT_SECONDS, reply), reply)
}

pub(super) fn pexpireat(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    answer(set_deadline(context, args, AT_MILLIS, reply), reply)
}

fn set_deadline(
    context: &mut Context<'_>,
    args: Args<'_>,
    clock: Clock,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let conditions = Conditions::parse(args)?;
    let now_ms = context.now.ms();
    let given = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let base_ms = if clock.is_relative {
        now_ms.cast_signed()
    } else {
        0
    };
    let deadline_ms = given
        .checked_mul(clock.unit_ms)
        .and_then(|given| given.checked_add(base_ms))
        .ok_or_else(|| Refusal::expire_time(args))?;
    let key = routed_key(context, args);
    let is_changed = match context.shard.find(key, now_ms) {
        None => false,
        Some(value) if !conditions.allow(deadline_ms, value.expires_at_ms) => false,
        Some(_) => match u64::try_from(deadline_ms) {
            Ok(deadline_ms) if deadline_ms > now_ms => {
                let deadline_ms = deadline_ms.min(DEADLINE_MS_MAX);
                context.shard.set_expiry(key, Some(deadline_ms), now_ms)?
            }
            _ => context.shard.remove(key, now_ms)?,
        },
    };
    reply.integer(i64::from(is_changed));
    Ok(())
}

pub(super) fn persist(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let found = context.shard.find(key, now_ms);
    let is_volatile = found.is_some_and(|value| value.expires_at_ms.is_some());
    let persisted = if is_volatile {
        context.shard.set_expiry(key, None, now_ms)
    } else {
        Ok(false)
    };
    let persisted = persisted.map_err(Refusal::from);
    answer(
        persisted.map(|is_changed| reply.integer(i64::from(is_changed))),
        reply,
    )
}

pub(super) fn ttl(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    tell(lookup, args, reply, |deadline_ms, now_ms| {
        round_to_seconds(deadline_ms - now_ms)
    })
}

pub(super) fn pttl(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    tell(lookup, args, reply, |deadline_ms, now_ms| {
        deadline_ms - now_ms
    })
}

pub(super) fn expiretime(
    lookup: &mut impl Lookup,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    tell(lookup, args, reply, |deadline_ms, _| {
        round_to_seconds(deadline_ms)
    })
}

pub(super) fn pexpiretime(
    lookup: &mut impl Lookup,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    tell(lookup, args, reply, |deadline_ms, _| deadline_ms)
}

/// Replies what `figure` makes of the deadline and the time; -1 without one, -2 without the key.
fn tell(
    lookup: &mut impl Lookup,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    figure: fn(u64, u64) -> u64,
) -> Status {
    let now_ms = lookup.now().ms();
    let key = routed_key(lookup, args);
    match lookup.read(key).map(|value| value.expires_at_ms) {
        None => reply.integer(-2),
        Some(None) => reply.integer(-1),
        Some(Some(deadline_ms)) => reply.count(figure(deadline_ms.max(now_ms), now_ms)),
    }
    Status::Done
}

fn round_to_seconds(millis: u64) -> u64 {
    (millis + 500) / 1000
}
