//! BITCOUNT and BITPOS: all bits of a value, or a range of them, in slices.
//!
//! ```text
//!   walk's words   bits of the range behind us │ those of them that are set
//! ```
//!
//! Whole words of eight bytes are counted and compared at once; the bits before and after them, one
//! byte at a time under a mask.

use std::ops::Range;

use crate::command::direct::Direct;
use crate::command::held::{self, Walked};
use crate::command::number::parse_i64;
use crate::command::refusal::{Refusal, answer};
use crate::command::{Context, Status};
use crate::limits::TURN_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};

use super::BYTE_BITS;

/// Bits that one slice looks at.
const SLICE_BITS: u64 = TURN_LEN_BYTES_MAX as u64 * BYTE_BITS;

pub(super) fn bitcount(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let walked = held::walk(context, args, reply, count);
    reply_walked(walked, reply)
}

pub(super) fn bitcount_directly(
    direct: &mut Direct<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    let walked = held::walk_directly(direct, args, count).map(Walked::Done);
    reply_walked(walked, reply)
}

pub(super) fn bitpos(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    if let Err(refusal) = sought_bit(args) {
        return answer(Err(refusal), reply);
    }
    let walked = held::walk(context, args, reply, search);
    reply_walked(walked, reply)
}

pub(super) fn bitpos_directly(
    direct: &mut Direct<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Status {
    if let Err(refusal) = sought_bit(args) {
        return answer(Err(refusal), reply);
    }
    let walked = held::walk_directly(direct, args, search).map(Walked::Done);
    reply_walked(walked, reply)
}

fn reply_walked(walked: Result<Walked<i64>, Refusal>, reply: &mut Reply<'_>) -> Status {
    let done = match walked {
        Ok(Walked::Unfinished) => return Status::Again,
        Ok(Walked::Done(number)) => {
            reply.integer(number);
            Ok(())
        }
        Err(refusal) => Err(refusal),
    };
    answer(done, reply)
}

/// One slice of BITCOUNT.
fn count(
    args: Args<'_>,
    value: Option<&[u8]>,
    place: &mut [u64; 2],
) -> Result<Option<i64>, Refusal> {
    let Some(bytes) = value else {
        return Ok(Some(0));
    };
    let range = counted_range(args, bytes.len())?;
    let [passed, sum] = place;
    let slice = slice_of(&range, *passed);
    *sum += count_ones(bytes, &slice);
    *passed += SLICE_BITS;
    Ok((slice.end == range.end).then_some(sum.cast_signed()))
}

/// The bits that BITCOUNT counts in a value of `len_bytes`.
fn counted_range(args: Args<'_>, len_bytes: usize) -> Result<Range<u64>, Refusal> {
    let unit = match args.len() {
        2 => return Ok(0..len_bytes as u64 * BYTE_BITS),
        4 | 5 => Unit::Bytes,
        _ => return Err(Refusal::SYNTAX),
    };
    let start = parse_i64(args.get(2)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let last = parse_i64(args.get(3)).ok_or(Refusal::NOT_AN_INTEGER)?;
    // Redis looks at such a range before it looks at the unit.
    if start < 0 && last < 0 && start > last {
        return Ok(0..0);
    }
    let unit = if args.len() == 5 {
        Unit::parse(args.get(4))?
    } else {
        unit
    };
    Ok(unit.resolve(start, Some(last), len_bytes))
}

/// The bit that BITPOS looks for.
fn sought_bit(args: Args<'_>) -> Result<bool, Refusal> {
    match parse_i64(args.get(2)) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(Refusal::NO_SUCH_BIT),
        None => Err(Refusal::NOT_AN_INTEGER),
    }
}

/// One slice of BITPOS.
fn search(
    args: Args<'_>,
    value: Option<&[u8]>,
    place: &mut [u64; 2],
) -> Result<Option<i64>, Refusal> {
    let is_one_sought = sought_bit(args)?;
    let Some(bytes) = value else {
        return Ok(Some(if is_one_sought { -1 } else { 0 }));
    };
    let range = searched_range(args, bytes.len())?;
    let slice = slice_of(&range, place[0]);
    place[0] += SLICE_BITS;
    if let Some(found) = find(bytes, &slice, is_one_sought) {
        return Ok(Some(found.cast_signed()));
    }
    if slice.end < range.end {
        return Ok(None);
    }
    // What follows the value is zeros, unless an end was given.
    let is_open = args.len() < 5 && !range.is_empty();
    Ok(Some(if is_open && !is_one_sought {
        range.end.cast_signed()
    } else {
        -1
    }))
}

/// The bits that BITPOS looks at in a value of `len_bytes`.
fn searched_range(args: Args<'_>, len_bytes: usize) -> Result<Range<u64>, Refusal> {
    if args.len() == 3 {
        return Ok(0..len_bytes as u64 * BYTE_BITS);
    }
    if args.len() > 6 {
        return Err(Refusal::SYNTAX);
    }
    let start = parse_i64(args.get(3)).ok_or(Refusal::NOT_AN_INTEGER)?;
    let unit = if args.len() == 6 {
        Unit::parse(args.get(5))?
    } else {
        Unit::Bytes
    };
    let last = if args.len() >= 5 {
        Some(parse_i64(args.get(4)).ok_or(Refusal::NOT_AN_INTEGER)?)
    } else {
        None
    };
    Ok(unit.resolve(start, last, len_bytes))
}

/// What the ends of a range count.
#[derive(Clone, Copy)]
enum Unit {
    Bits,
    Bytes,
}

impl Unit {
    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.eq_ignore_ascii_case(b"BIT") {
            Ok(Self::Bits)
        } else if text.eq_ignore_ascii_case(b"BYTE") {
            Ok(Self::Bytes)
        } else {
            Err(Refusal::SYNTAX)
        }
    }

    /// The bits from `start` to `last`, or to the end; negative ones count from the end.
    fn resolve(self, start: i64, last: Option<i64>, len_bytes: usize) -> Range<u64> {
        let unit_bits = match self {
            Self::Bits => 1,
            Self::Bytes => BYTE_BITS,
        };
        let len = len_bytes as u64 * BYTE_BITS / unit_bits;
        let from_front = |index: i64| {
            if index < 0 {
                len.saturating_sub(index.unsigned_abs())
            } else {
                index.unsigned_abs()
            }
        };
        let start = from_front(start);
        let end = last.map_or(len, |last| from_front(last).saturating_add(1).min(len));
        if start < end {
            start * unit_bits..end * unit_bits
        } else {
            0..0
        }
    }
}

/// The slice of `range` that begins `passed` bits behind its start; all but the first begin, and all
/// but the last end, at a whole byte.
fn slice_of(range: &Range<u64>, passed: u64) -> Range<u64> {
    let base = range.start / BYTE_BITS * BYTE_BITS + passed;
    base.max(range.start)..(base + SLICE_BITS).min(range.end)
}

/// The bytes of `bits`, of which the first and the last may be needed in part: those bits of the
/// first that are, the whole bytes between, and those bits of the last.
struct Cut<'a> {
    head: (u8, u8),
    whole: &'a [u8],
    tail: (u8, u8),
    /// Of the bytes in `whole`.
    start_bits: u64,
}

impl<'a> Cut<'a> {
    /// Bytes with the masks of what is needed of them.
    fn of(bytes: &'a [u8], bits: &Range<u64>) -> Self {
        let index = |bit: u64| usize::try_from(bit / BYTE_BITS).expect("within the value");
        let head_bits = bits.start % BYTE_BITS;
        let tail_bits = bits.end % BYTE_BITS;
        let (first, last) = (index(bits.start), index(bits.end));
        let [head_mask, tail_mask] = [0xFF_u8 >> head_bits, !(0xFF_u8 >> tail_bits)];
        if first == last {
            // All within one byte, or nothing.
            let byte = bytes.get(first).copied().unwrap_or(0);
            return Self {
                head: (byte, head_mask & tail_mask),
                whole: &[],
                tail: (0, 0),
                start_bits: bits.end,
            };
        }
        let skipped = usize::from(head_bits > 0);
        Self {
            head: (bytes[first], if head_bits > 0 { head_mask } else { 0 }),
            whole: &bytes[first + skipped..last],
            tail: (bytes.get(last).copied().unwrap_or(0), tail_mask),
            start_bits: (first + skipped) as u64 * BYTE_BITS,
        }
    }
}

fn count_ones(bytes: &[u8], bits: &Range<u64>) -> u64 {
    let cut = Cut::of(bytes, bits);
    let ends = [cut.head, cut.tail].map(|(byte, mask)| u64::from((byte & mask).count_ones()));
    let (words, rest) = cut.whole.as_chunks::<8>();
    let in_words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_le_bytes(*word).count_ones()))
        .sum();
    let in_rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    ends[0] + in_words + in_rest + ends[1]
}

/// The first bit of `bits` that is one, or zero.
fn find(bytes: &[u8], bits: &Range<u64>, is_one_sought: bool) -> Option<u64> {
    let cut = Cut::of(bytes, bits);
    // What is sought becomes the only one.
    let flip = if is_one_sought { 0 } else { u64::MAX };
    let [low, ..] = flip.to_le_bytes();
    let in_byte = |(byte, mask): (u8, u8), start: u64| {
        let sought = (byte ^ low) & mask;
        (sought != 0).then(|| start + u64::from(sought.leading_zeros()))
    };
    let first_byte = bits.start / BYTE_BITS * BYTE_BITS;
    let last_byte = bits.end / BYTE_BITS * BYTE_BITS;
    in_byte(cut.head, first_byte)
        .or_else(|| find_in_whole(cut.whole, flip).map(|found| cut.start_bits + found))
        .or_else(|| in_byte(cut.tail, last_byte))
}

/// The first bit that is one after `flip`.
fn find_in_whole(bytes: &[u8], flip: u64) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let sought = |word: &[u8; 8]| u64::from_le_bytes(*word) ^ flip;
    if let Some(at) = words.iter().position(|word| sought(word) != 0) {
        // The first byte is the lowest, and its highest bit the first.
        let within = sought(&words[at]).swap_bytes().leading_zeros();
        return Some(at as u64 * u64::from(u64::BITS) + u64::from(within));
    }
    let [low, ..] = flip.to_le_bytes();
    let at = rest.iter().position(|byte| byte ^ low != 0)?;
    let start = (words.len() * 8 + at) as u64 * BYTE_BITS;
    Some(start + u64::from((rest[at] ^ low).leading_zeros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit_of(bytes: &[u8], bit: u64) -> bool {
        bytes[usize::try_from(bit / 8).expect("few")] & (0x80 >> (bit % 8)) != 0
    }

    #[test]
    fn every_range_of_bits_is_counted_and_searched() {
        let bytes: Vec<u8> = (0..21_u8)
            .map(|at| at.wrapping_mul(73) >> (at % 5))
            .collect();
        let all = [&bytes[..], &[0; 21], &[0xFF; 21]];
        for bytes in all {
            let len = bytes.len() as u64 * 8;
            for start in 0..=len {
                for end in start..=len {
                    let range = start..end;
                    let ones = range.clone().filter(|bit| bit_of(bytes, *bit)).count();
                    assert_eq!(count_ones(bytes, &range), ones as u64, "{range:?}");
                    for sought in [false, true] {
                        let first = range.clone().find(|bit| bit_of(bytes, *bit) == sought);
                        assert_eq!(find(bytes, &range, sought), first, "{range:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn slices_meet_at_whole_bytes() {
        let range = 5..3 * SLICE_BITS + 1;
        let slices: Vec<_> = (0..4).map(|at| slice_of(&range, at * SLICE_BITS)).collect();
        assert_eq!(slices[0], 5..SLICE_BITS);
        assert_eq!(slices[3], 3 * SLICE_BITS..range.end);
        assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(slice_of(&(0..0), 0), 0..0);
    }
}
