//! BITOP: strings combined bit by bit into another.
//!
//! The result is as long as the longest source; what shorter ones lack is zeros. It is made a slice
//! at a time where it will stay.

use crate::command::gather::{Bench, Gathering, slice_len_bytes};
use crate::command::refusal::Refusal;
use crate::command::{Keys, Status};
use crate::resp::{Args, Reply};
use crate::shard::Attributes;

/// How BITOP goes about it: `BITOP operation target source ..`.
pub(super) const BITOP: Gathering = Gathering {
    sources: Keys {
        first: 3,
        ..Keys::ALL
    },
    combine,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let name = args.get(1);
        if name.eq_ignore_ascii_case(b"AND") {
            Ok(Self::And)
        } else if name.eq_ignore_ascii_case(b"OR") {
            Ok(Self::Or)
        } else if name.eq_ignore_ascii_case(b"XOR") {
            Ok(Self::Xor)
        } else if !name.eq_ignore_ascii_case(b"NOT") {
            Err(Refusal::SYNTAX)
        } else if args.len() == 4 {
            Ok(Self::Not)
        } else {
            Err(Refusal::BITOP_NOT)
        }
    }

    /// Writes the result for the bytes from `start` on, as many as `out` has.
    fn apply(self, values: &[Option<&[u8]>], start: usize, out: &mut [u8]) {
        let out_end = start + out.len();
        let mut parts = values.iter().map(|value| {
            let bytes = value.unwrap_or_default();
            let end = bytes.len().min(out_end);
            bytes.get(start..end).unwrap_or_default()
        });
        let first = parts.next().expect("the arity asks for a source");
        let (there, missing) = out.split_at_mut(first.len());
        there.copy_from_slice(first);
        missing.fill(0);
        if self == Self::Not {
            out.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for part in parts {
            let (there, missing) = out.split_at_mut(part.len());
            let pairs = there.iter_mut().zip(part);
            match self {
                Self::And => {
                    pairs.for_each(|(byte, other)| *byte &= other);
                    missing.fill(0);
                }
                Self::Or => pairs.for_each(|(byte, other)| *byte |= other),
                Self::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
                Self::Not => unreachable!("it has one source"),
            }
        }
    }
}

fn combine(
    bench: &mut Bench<'_, '_>,
    args: Args<'_>,
    values: &[Option<&[u8]>],
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let operation = Operation::parse(args)?;
    let lengths = values.iter().flatten().map(|value| value.len());
    let len_bytes = lengths.max().unwrap_or(0);
    let slice_len_bytes = slice_len_bytes(values.len());
    let attributes = Attributes {
        expires_at_ms: None,
        is_raw: true,
    };
    if len_bytes == 0 {
        bench.remove()?;
    } else if len_bytes <= slice_len_bytes {
        let mut result = vec![0; len_bytes];
        operation.apply(values, 0, &mut result);
        bench.store(&result, attributes)?;
    } else {
        let start = usize::try_from(bench.place()[0]).expect("an offset was kept");
        let end = (start + slice_len_bytes).min(len_bytes);
        let draft = bench.draft(len_bytes)?;
        operation.apply(values, start, &mut draft[start..end]);
        bench.finish_draft_to(end);
        bench.place()[0] = end as u64;
        if end < len_bytes {
            return Ok(Status::Again);
        }
        bench.store_draft(attributes)?;
    }
    reply.count(len_bytes as u64);
    Ok(Status::Done)
}
