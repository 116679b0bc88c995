//! BITFIELD: numbers of 1 to 64 bits at any place of a string.
//!
//! ```text
//!   offset 13, u5     byte 1          byte 2
//!                 │. . . . . a b c│d e . . . . . .│      a is the highest bit
//! ```
//!
//! All operations of a command work on copies of the few bytes they touch (the windows), so that
//! later ones see what earlier ones did; then all windows are written at once. So a field in a
//! large value costs the field, and nobody sees half of a command.

use crate::command::direct::Lookup;
use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::string::{routed_key, value_len_bytes_max};
use crate::command::{Context, Status};
use crate::limits::BULK_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};

use super::{BYTE_BITS, check_offset};

/// Bytes that a field of 64 bits reaches into at most.
const FIELD_LEN_BYTES_MAX: usize = 9;

/// What kind of number a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    is_signed: bool,
    bits: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Option<Self> {
        let (is_signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let bits_max = if is_signed { 64 } else { 63 };
        let bits = parse_i64(digits).and_then(|bits| u32::try_from(bits).ok())?;
        (1..=bits_max)
            .contains(&bits)
            .then_some(Self { is_signed, bits })
    }

    /// The least and the greatest number.
    fn bounds(self) -> (i128, i128) {
        let count = 1_i128 << self.bits;
        if self.is_signed {
            (-count / 2, count / 2 - 1)
        } else {
            (0, count - 1)
        }
    }

    /// The number whose bits are the lowest of `raw`.
    fn number_of(self, raw: u128) -> i128 {
        let count = 1_i128 << self.bits;
        let low = raw.cast_signed() & (count - 1);
        if low > self.bounds().1 {
            low - count
        } else {
            low
        }
    }
}

/// What becomes of a number that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.eq_ignore_ascii_case(b"WRAP") {
            Ok(Self::Wrap)
        } else if text.eq_ignore_ascii_case(b"SAT") {
            Ok(Self::Saturate)
        } else if text.eq_ignore_ascii_case(b"FAIL") {
            Ok(Self::Fail)
        } else {
            Err(Refusal::OVERFLOW_KIND)
        }
    }

    /// What is stored for `number`, if anything.
    fn fit(self, number: i128, kind: Kind) -> Option<i128> {
        let (least, greatest) = kind.bounds();
        match self {
            _ if (least..=greatest).contains(&number) => Some(number),
            Self::Wrap => Some(kind.number_of(number.cast_unsigned())),
            Self::Saturate => Some(number.clamp(least, greatest)),
            Self::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// One operation of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    kind: Kind,
    offset: u64,
    action: Action,
}

impl Operation {
    /// The bytes it touches: the first, and the one after the last.
    fn bytes(self) -> (usize, usize) {
        let index = |bit: u64| usize::try_from(bit / BYTE_BITS).expect("offsets were checked");
        let last = self.offset + u64::from(self.kind.bits) - 1;
        (index(self.offset), index(last) + 1)
    }

    fn is_write(self) -> bool {
        self.action != Action::Get
    }
}

/// Reads all operations of a command.
fn parse(args: Args<'_>, len_bytes_max: usize) -> Result<Vec<Operation>, Refusal> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < args.len() {
        let name = args.get(index);
        let left = args.len() - index - 1;
        if name.eq_ignore_ascii_case(b"OVERFLOW") && left >= 1 {
            overflow = Overflow::parse(args.get(index + 1))?;
            index += 2;
            continue;
        }
        let is_get = name.eq_ignore_ascii_case(b"GET") && left >= 2;
        let is_set = name.eq_ignore_ascii_case(b"SET") && left >= 3;
        let is_add = name.eq_ignore_ascii_case(b"INCRBY") && left >= 3;
        if !(is_get || is_set || is_add) {
            return Err(Refusal::SYNTAX);
        }
        let kind = Kind::parse(args.get(index + 1)).ok_or(Refusal::BITFIELD_TYPE)?;
        let offset = parse_offset(args.get(index + 2), kind, len_bytes_max)?;
        let action = if is_get {
            Action::Get
        } else {
            let number = parse_i64(args.get(index + 3)).ok_or(Refusal::NOT_AN_INTEGER)?;
            if is_set {
                Action::Set(number, overflow)
            } else {
                Action::Add(number, overflow)
            }
        };
        operations.push(Operation {
            kind,
            offset,
            action,
        });
        index += if is_get { 3 } else { 4 };
    }
    Ok(operations)
}

/// Reads the offset of a field: in bits, or after `#` in fields of its kind.
fn parse_offset(text: &[u8], kind: Kind, len_bytes_max: usize) -> Result<u64, Refusal> {
    let (digits, unit_bits) = match text {
        [b'#', digits @ ..] => (digits, i64::from(kind.bits)),
        digits => (digits, 1),
    };
    parse_i64(digits)
        .and_then(|count| check_offset(count.wrapping_mul(unit_bits), len_bytes_max))
        .ok_or(Refusal::BIT_OFFSET)
}

/// Copies of parts of a value: those that operations touch.
struct Windows {
    /// In order, and apart from each other.
    windows: Vec<(usize, Vec<u8>)>,
}

impl Windows {
    fn of(operations: &[Operation], value: &[u8]) -> Self {
        let mut ranges: Vec<(usize, usize)> = operations.iter().map(|of| of.bytes()).collect();
        ranges.sort_unstable();
        let mut windows: Vec<(usize, Vec<u8>)> = Vec::new();
        for (start, end) in ranges {
            let window = match windows.last_mut() {
                Some(last) if start <= last.0 + last.1.len() => last,
                _ => {
                    windows.push((start, Vec::new()));
                    windows.last_mut().expect("just pushed")
                }
            };
            let from = window.0 + window.1.len();
            window
                .1
                .extend((from..end).map(|at| value.get(at).copied().unwrap_or(0)));
        }
        Self { windows }
    }

    /// The bytes that an operation touches.
    fn bytes_mut(&mut self, operation: Operation) -> &mut [u8] {
        let (start, end) = operation.bytes();
        let after = self.windows.partition_point(|window| window.0 <= start);
        let (at, bytes) = &mut self.windows[after - 1];
        &mut bytes[start - *at..end - *at]
    }

    /// The number in a field.
    fn read(&mut self, operation: Operation) -> i128 {
        let shift = shift_of(operation);
        operation
            .kind
            .number_of(assemble(self.bytes_mut(operation)) >> shift)
    }

    fn write(&mut self, operation: Operation, number: i128) {
        let shift = shift_of(operation);
        let mask = ((1_u128 << operation.kind.bits) - 1) << shift;
        let bytes = self.bytes_mut(operation);
        let mut all = assemble(bytes) & !mask | number.cast_unsigned() << shift & mask;
        for byte in bytes.iter_mut().rev() {
            let [low, ..] = all.to_le_bytes();
            *byte = low;
            all >>= BYTE_BITS;
        }
    }
}

/// Bits of the last byte that are behind the field.
fn shift_of(operation: Operation) -> u64 {
    let (_, end) = operation.bytes();
    end as u64 * BYTE_BITS - operation.offset - u64::from(operation.kind.bits)
}

/// The number whose bytes these are, the highest first.
fn assemble(bytes: &[u8]) -> u128 {
    debug_assert!(bytes.len() <= FIELD_LEN_BYTES_MAX);
    let join = |number: u128, byte: &u8| number << BYTE_BITS | u128::from(*byte);
    bytes.iter().fold(0, join)
}

/// Runs operations one after the other and replies what each has to say.
fn run(operations: &[Operation], windows: &mut Windows, reply: &mut Reply<'_>) {
    reply.array(operations.len());
    for operation in operations {
        let old = windows.read(*operation);
        let (stored, replied) = match operation.action {
            Action::Get => (None, Some(old)),
            Action::Set(number, overflow) => {
                // An unsigned field takes a negative number for a very large one.
                let given = if operation.kind.is_signed {
                    i128::from(number)
                } else {
                    i128::from(number.cast_unsigned())
                };
                let stored = overflow.fit(given, operation.kind);
                (stored, stored.map(|_| old))
            }
            Action::Add(summand, overflow) => {
                let stored = overflow.fit(old + i128::from(summand), operation.kind);
                (stored, stored)
            }
        };
        if let Some(number) = stored {
            windows.write(*operation, number);
        }
        match replied.map(i64::try_from) {
            Some(number) => reply.integer(number.expect("fields have at most 64 bits")),
            None => reply.null(),
        }
    }
}

pub(super) fn bitfield(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    answer(run_bitfield(context, args, reply), reply)
}

fn run_bitfield(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Refusal> {
    let operations = parse(args, value_len_bytes_max(context))?;
    let writes = operations.iter().filter(|operation| operation.is_write());
    let Some(end) = writes.map(|operation| operation.bytes().1).max() else {
        read(context, args, &operations, reply);
        return Ok(());
    };
    let key = routed_key(context, args);
    let now_ms = context.now.ms();
    let found = context.shard.find(key, now_ms);
    let value = found.map_or(&b""[..], |value| value.bytes);
    let mut windows = Windows::of(&operations, value);
    let start = reply.len_bytes();
    run(&operations, &mut windows, reply);
    let len_bytes = value.len().max(end);
    for (at, bytes) in &mut windows.windows {
        // What only reads looked at, behind the end, is no part of the value.
        bytes.truncate(len_bytes.saturating_sub(*at));
    }
    let pieces: Vec<(usize, &[u8])> = windows
        .windows
        .iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(at, bytes)| (*at, &bytes[..]))
        .collect();
    if let Err(error) = context.shard.write_ranges(key, &pieces, now_ms) {
        reply.truncate(start);
        return Err(error.into());
    }
    Ok(())
}

/// BITFIELD_RO.
pub(super) fn bitfield_ro(
    lookup: &mut impl Lookup,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    let operations = parse(args, BULK_LEN_BYTES_MAX);
    let read = operations.and_then(|operations| {
        if operations.iter().any(|operation| operation.is_write()) {
            return Err(Refusal::BITFIELD_READ_ONLY);
        }
        read(lookup, args, &operations, reply);
        Ok(())
    });
    answer(read, reply)
}

/// Runs operations that only read.
fn read(lookup: &mut impl Lookup, args: Args<'_>, operations: &[Operation], reply: &mut Reply<'_>) {
    let key = routed_key(lookup, args);
    let found = lookup.read(key);
    let value = found.map_or(&b""[..], |value| value.bytes);
    run(operations, &mut Windows::of(operations, value), reply);
}
