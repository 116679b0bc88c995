//! The commands on single bits of strings: their rows, GETBIT and SETBIT.
//!
//! Bit 0 is the highest of the first byte. What lies beyond the end is zero, and a write there
//! lengthens the value.
//!
//! Not here: counting and searching (`range`), BITFIELD (`field`), BITOP (`operation`).

mod field;
mod operation;
mod range;
#[cfg(test)]
mod tests;

use crate::limits::BULK_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};
use crate::shard::Value;

use super::direct::{Lookup, reading};
use super::key::object::encoding_of;
use super::number::parse_i64;
use super::refusal::{Refusal, answer};
use super::string::{READ, READ_FAST, STORE, on_owner, routed_key, value_len_bytes_max};
use super::{Context, Keys, Row, Run, Scope, Status, gather};

/// The commands on bits.
pub(super) const ROWS: &[Row] = &[
    Row {
        direct: Some(range::bitcount_directly),
        ..on_owner("bitcount", -2, READ, range::bitcount)
    },
    on_owner("bitfield", -2, STORE, field::bitfield),
    reading!(on_owner("bitfield_ro", -2, READ_FAST), field::bitfield_ro),
    Row {
        direct: Some(range::bitpos_directly),
        ..on_owner("bitpos", -3, READ, range::bitpos)
    },
    reading!(on_owner("getbit", 3, READ_FAST), getbit),
    Row {
        name: "bitop",
        arity: -4,
        keys: Keys {
            first: 2,
            ..Keys::ALL
        },
        flags: STORE,
        scope: Scope::Plan,
        run: Run::Shard(gather::run),
        gathering: Some(operation::BITOP),
        ..Row::BLANK
    },
    on_owner("setbit", 4, STORE, setbit),
];

/// Bits of a byte.
const BYTE_BITS: u64 = 8;

/// Reads the offset of a bit in a value that may have `len_bytes_max`.
fn parse_offset(text: &[u8], len_bytes_max: usize) -> Result<u64, Refusal> {
    parse_i64(text)
        .and_then(|offset| check_offset(offset, len_bytes_max))
        .ok_or(Refusal::BIT_OFFSET)
}

/// The offset, if such a bit can be.
fn check_offset(offset: i64, len_bytes_max: usize) -> Option<u64> {
    let offset = u64::try_from(offset).ok()?;
    (offset / BYTE_BITS < len_bytes_max as u64).then_some(offset)
}

/// The byte that a bit is in, and the bit within it.
fn place_of(offset: u64) -> (usize, u8) {
    let byte = usize::try_from(offset / BYTE_BITS).expect("values are addressed by usize");
    (byte, 0x80 >> (offset % BYTE_BITS))
}

fn getbit(lookup: &mut impl Lookup, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let read = parse_offset(args.get(2), BULK_LEN_BYTES_MAX).map(|offset| {
        let key = routed_key(lookup, args);
        let (byte, mask) = place_of(offset);
        let found = lookup.read(key);
        let is_set = found.is_some_and(|value| is_set(value.bytes, byte, mask));
        reply.integer(i64::from(is_set));
    });
    answer(read, reply)
}

fn is_set(bytes: &[u8], byte: usize, mask: u8) -> bool {
    bytes.get(byte).is_some_and(|byte| byte & mask != 0)
}

fn setbit(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(write_bit(context, args, reply), reply)
}

fn write_bit(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let offset = parse_offset(args.get(2), value_len_bytes_max(context))?;
    let is_on = match args.get(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(Refusal::NOT_A_BIT),
    };
    let (byte, mask) = place_of(offset);
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let found = context.shard.find(key, now_ms);
    let value = found.unwrap_or(Value {
        bytes: b"",
        expires_at_ms: None,
        is_raw: false,
        large: None,
    });
    let bytes = value.bytes;
    let was_on = is_set(bytes, byte, mask);
    let is_unchanged = was_on == is_on && byte < bytes.len();
    // What is not written is no change to those who watch the key, as in Redis.
    let is_as_it_was = is_unchanged && encoding_of(&value) == "raw";
    if !is_as_it_was {
        let old = bytes.get(byte).copied().unwrap_or(0);
        let new = if is_on { old | mask } else { old & !mask };
        context.shard.write_range(key, byte, &[new], now_ms)?;
    }
    reply.integer(i64::from(was_on));
    Ok(())
}
