//! PFADD, PFCOUNT and PFMERGE: how many different elements there were, in 12 KiB at most.
//!
//! A sketch is a string with a head of its own (`sketch`); what it says is in `registers`.
//!
//! PFCOUNT of one key stores the count it found beside the registers, as Redis does: the next one
//! need not count again, and can be answered by another core.

mod registers;
mod sketch;
#[cfg(test)]
mod tests;

use crate::resp::{Args, Reply};
use crate::shard::{Attributes, Key, Value};

use super::direct::{Direct, Lookup};
use super::gather::{self, Bench, Gathering};
use super::refusal::{Refusal, answer};
use super::string::{READ, STORE, STORE_FAST, on_owner, routed_key};
use super::{Context, Keys, Row, Run, Scope, Status};
use registers::{Histogram, REGISTER_COUNT, Registers, place_of};
use sketch::{Corrupt, Sketch};

/// The commands on sketches.
pub(super) const ROWS: &[Row] = &[
    on_owner("pfadd", -2, STORE_FAST, pfadd),
    Row {
        name: "pfcount",
        arity: -2,
        keys: Keys::ALL,
        flags: READ,
        scope: Scope::Plan,
        run: Run::Shard(pfcount),
        direct: Some(pfcount_directly),
        gathering: Some(Gathering {
            sources: Keys::ALL,
            combine: count_all,
        }),
        ..Row::BLANK
    },
    Row {
        name: "pfmerge",
        arity: -2,
        keys: Keys::ALL,
        flags: STORE,
        scope: Scope::Plan,
        run: Run::Shard(gather::run),
        gathering: Some(Gathering {
            sources: Keys::ALL,
            combine: merge,
        }),
        ..Row::BLANK
    },
];

/// Sketches that one call merges: about half a millisecond.
const SLICE_SKETCH_COUNT: usize = 32;

impl From<Corrupt> for Refusal {
    fn from(_: Corrupt) -> Self {
        Self::CORRUPT_SKETCH
    }
}

fn read<B: AsRef<[u8]>>(bytes: B) -> Result<Sketch<B>, Refusal> {
    Sketch::read(bytes).ok_or(Refusal::NOT_A_SKETCH)
}

fn pfadd(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(add(context, args, reply), reply)
}

fn add(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let (mut sketch, expires_at_ms, mut is_changed) = match context.shard.find(key, now_ms) {
        Some(value) => {
            // Looked at before it is copied: it may be any string.
            read(value.bytes)?;
            (read(value.bytes.to_vec())?, value.expires_at_ms, false)
        }
        None => (Sketch::new(), None, true),
    };
    for element in args.slice(2..).iter() {
        let (register, value) = place_of(element);
        is_changed |= sketch.raise(register, value)?;
    }
    if is_changed {
        sketch.set_stale();
        store(context, key, &sketch, expires_at_ms)?;
    }
    reply.integer(i64::from(is_changed));
    Ok(())
}

fn store(
    context: &mut Context<'_>,
    key: Key<'_>,
    sketch: &Sketch<Vec<u8>>,
    expires_at_ms: Option<u64>,
) -> Result<(), Refusal> {
    let attributes = Attributes {
        expires_at_ms,
        is_raw: true,
    };
    let now_ms = context.now.ms();
    context
        .shard
        .store(key, sketch.bytes(), attributes, now_ms)?;
    Ok(())
}

fn pfcount(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if args.len() > 2 {
        return gather::run(context, args, reply);
    }
    answer(count_one(context, args, reply), reply)
}

fn count_one(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let key = routed_key(context, args);
    let Some(Value {
        bytes,
        expires_at_ms,
        ..
    }) = context.read(key)
    else {
        reply.count(0);
        return Ok(());
    };
    let sketch = read(bytes)?;
    let count = match sketch.stored_count() {
        Some(count) => count,
        None => {
            let count = sketch.estimate()?;
            let mut counted = read(bytes.to_vec())?;
            counted.store_count(count);
            // Without memory for it the next one counts again.
            let _ = store(context, key, &counted, expires_at_ms);
            count
        }
    };
    reply.count(count);
    Ok(())
}

/// PFCOUNT of one key on another core's reader: the count, if it is stored.
fn pfcount_directly(direct: &mut Direct<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = routed_key(direct, args);
    let count = match direct.read(key) {
        None => Ok(Some(0)),
        Some(value) => read(value.bytes).map(|sketch| sketch.stored_count()),
    };
    let counted = count.map(|count| match count {
        Some(count) => reply.count(count),
        None => direct.leave_to_owner(),
    });
    answer(counted, reply)
}

fn count_all(
    bench: &mut Bench<'_, '_>,
    _: Args<'_>,
    values: &[Option<&[u8]>],
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let Some(merged) = merge_all(bench, values)? else {
        return Ok(Status::Again);
    };
    reply.count(Histogram::of(&merged.registers).estimate());
    Ok(Status::Done)
}

fn merge(
    bench: &mut Bench<'_, '_>,
    _: Args<'_>,
    values: &[Option<&[u8]>],
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let Some(merged) = merge_all(bench, values)? else {
        return Ok(Status::Again);
    };
    // The first source is the target as it was.
    let mut sketch = match values.first().copied().flatten() {
        Some(bytes) => read(bytes.to_vec())?,
        None => Sketch::new(),
    };
    if merged.is_dense {
        sketch.make_dense()?;
    }
    for (register, value) in merged.registers.iter().enumerate() {
        if *value > 0 {
            sketch.raise(register, *value)?;
        }
    }
    sketch.set_stale();
    let attributes = Attributes {
        expires_at_ms: bench.expires_at_ms(),
        is_raw: true,
    };
    bench.store(sketch.bytes(), attributes)?;
    reply.ok();
    Ok(Status::Done)
}

/// Several sketches as one.
struct Merged {
    registers: Box<Registers>,
    /// Whether one of them is dense.
    is_dense: bool,
}

/// Merges the sketches that there are, or some of them: nothing says that it is not done. Between
/// calls the registers are kept in a draft, and the two words say how many there are in it and
/// whether one was dense.
fn merge_all(
    bench: &mut Bench<'_, '_>,
    values: &[Option<&[u8]>],
) -> Result<Option<Merged>, Refusal> {
    let [merged_count, is_dense] = *bench.place();
    let start = usize::try_from(merged_count).expect("a count was kept");
    let end = values.len().min(start + SLICE_SKETCH_COUNT);
    let mut merged = Merged {
        registers: Box::new([0; REGISTER_COUNT]),
        is_dense: is_dense != 0,
    };
    if start > 0 {
        let kept = bench.draft(REGISTER_COUNT)?;
        merged.registers.copy_from_slice(kept);
    }
    for bytes in values[start..end].iter().flatten() {
        let sketch = read(bytes)?;
        merged.is_dense |= sketch.is_dense();
        sketch.merge_into(&mut merged.registers)?;
    }
    if end == values.len() {
        return Ok(Some(merged));
    }
    *bench.place() = [end as u64, u64::from(merged.is_dense)];
    bench
        .draft(REGISTER_COUNT)?
        .copy_from_slice(&merged.registers[..]);
    Ok(None)
}
