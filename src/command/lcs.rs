//! LCS: the longest common subsequence of two strings.
//!
//! A table with a row for each byte of `a` and a column for each byte of `b` holds one bit for each
//! cell: clear where the sequence of all that is above grows with the column. Sixty-four cells are
//! made at once, from those above (Crochemore, Iliopoulos, Pinzon, Reid, "A fast and practical
//! bit-vector algorithm for the longest common subsequence problem", 2001, in the form of Hyyro,
//! 2004). These bits are all that the way back from the last cell needs: two equal bytes are a pair
//! of the sequence; else it goes up where the bit is clear, and left where it is set, which is the
//! way Redis goes by lengths of 32 bits each.
//!
//! ```text
//!   memory   │ rows of bits, or the last row if only the length is wanted │ pairs, 2 x u32 each │
//! ```
//!
//! The memory is a draft unless all is done in one call. Both the table and the way back are done in
//! slices:
//!
//! ```text
//!   place[0]   words of the table that are done           place[1]   the carry of the last one
//!   place[0]   1 << 63 | row << 31 | column, from 1       place[1]   pairs found
//! ```

use std::ops::Range;

use crate::limits::TURN_LEN_BYTES_MAX;
use crate::resp::{Args, Reply};

use super::gather::{self, Bench, Gathering};
use super::number::parse_i64;
use super::refusal::Refusal;
use super::string::READ;
use super::{Keys, Row, Run, Scope, Status};

pub(super) const ROWS: &[Row] = &[Row {
    name: "lcs",
    arity: -3,
    keys: Keys::TWO,
    flags: READ,
    scope: Scope::Plan,
    run: Run::Shard(gather::run),
    gathering: Some(Gathering {
        sources: Keys::TWO,
        combine,
    }),
    ..Row::BLANK
}];

/// Bytes of a cell in Redis, which bounds how many there may be.
const REDIS_CELL_LEN_BYTES: u64 = 4;
/// Columns of a word.
const WORD_COLUMNS: usize = 64;
/// Words of the table that one call makes: about half a millisecond.
const SLICE_WORDS: usize = TURN_LEN_BYTES_MAX / WORD_COLUMNS;
/// Cells of the way back that one call passes: about half a millisecond.
const SLICE_CELLS: usize = TURN_LEN_BYTES_MAX / 8;
/// Memory that is not worth a draft.
const SMALL_LEN_BYTES: usize = TURN_LEN_BYTES_MAX / 8;
const PAIR_LEN_BYTES: usize = 8;
/// Marks the way back.
const IS_BACK: u64 = 1 << 63;
/// Bits of a column.
const COLUMN_BITS: u32 = 31;

/// The options of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    is_length: bool,
    is_index: bool,
    has_match_lengths: bool,
    match_len_min: u64,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            let name = args.get(index);
            if name.eq_ignore_ascii_case(b"IDX") {
                options.is_index = true;
            } else if name.eq_ignore_ascii_case(b"LEN") {
                options.is_length = true;
            } else if name.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.has_match_lengths = true;
            } else if name.eq_ignore_ascii_case(b"MINMATCHLEN") && index + 1 < args.len() {
                index += 1;
                let least = parse_i64(args.get(index)).ok_or(Refusal::NOT_AN_INTEGER)?;
                options.match_len_min = u64::try_from(least).unwrap_or(0);
            } else {
                return Err(Refusal::SYNTAX);
            }
            index += 1;
        }
        if options.is_length && options.is_index {
            return Err(Refusal::LCS_LENGTH_AND_INDEX);
        }
        Ok(options)
    }
}

fn combine(
    bench: &mut Bench<'_, '_>,
    args: Args<'_>,
    values: &[Option<&[u8]>],
    reply: &mut Reply<'_>,
) -> Result<Status, Refusal> {
    let options = Options::parse(args)?;
    let [a, b] = [values[0], values[1]].map(Option::unwrap_or_default);
    let cells = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1);
    let transient_bytes = cells.saturating_mul(REDIS_CELL_LEN_BYTES);
    if transient_bytes > bench.value_len_bytes_max() as u64 {
        return Err(Refusal::LCS_TOO_LARGE);
    }
    let table = Table {
        a,
        b,
        is_whole: !options.is_length,
    };
    let mut place = *bench.place();
    let is_small = table.len_bytes() <= SMALL_LEN_BYTES && table.words() <= SLICE_WORDS;
    let pairs = if is_small {
        let mut memory = vec![0; table.len_bytes()];
        while !table.go_on(&mut memory, &mut place) {}
        table.found(&memory, place)
    } else {
        let draft = bench.draft(table.len_bytes());
        let memory = draft.map_err(|_| Refusal::LCS_OUT_OF_MEMORY)?;
        if !table.go_on(memory, &mut place) {
            *bench.place() = place;
            return Ok(Status::Again);
        }
        table.found(memory, place)
    };
    write(options, a, &pairs, reply);
    Ok(Status::Done)
}

/// What was found.
enum Found {
    Length(u64),
    /// Positions of equal bytes in both, the last first.
    Pairs(Vec<(u32, u32)>),
}

/// The shape of a table in its memory.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// Whether all rows are kept, for the way back; else only the last.
    is_whole: bool,
}

impl Table<'_> {
    fn row_len_bytes(&self) -> usize {
        self.b.len().div_ceil(8)
    }

    fn rows_len_bytes(&self) -> usize {
        self.row_len_bytes() * if self.is_whole { self.a.len() } else { 1 }
    }

    fn len_bytes(&self) -> usize {
        let pairs = if self.is_whole {
            self.a.len().min(self.b.len())
        } else {
            0
        };
        self.rows_len_bytes() + pairs * PAIR_LEN_BYTES
    }

    fn row_words(&self) -> usize {
        self.b.len().div_ceil(WORD_COLUMNS)
    }

    fn words(&self) -> usize {
        self.a.len() * self.row_words()
    }

    /// Does the next slice; whether it was the last.
    fn go_on(&self, memory: &mut [u8], place: &mut [u64; 2]) -> bool {
        if place[0] & IS_BACK == 0 {
            let start = usize::try_from(place[0]).expect("a count was kept");
            let end = self.words().min(start + SLICE_WORDS);
            place[1] = self.make(memory, start..end, place[1]);
            place[0] = end as u64;
            if end < self.words() {
                return false;
            }
            if !self.is_whole {
                return true;
            }
            *place = [IS_BACK | back_at(self.a.len(), self.b.len()), 0];
        }
        self.go_back(memory, place)
    }

    /// Where a word of a row is, and the columns it has.
    fn word(&self, row: usize, word: usize) -> (Range<usize>, Range<usize>) {
        let row_start = if self.is_whole {
            row * self.row_len_bytes()
        } else {
            0
        };
        let start = row_start + word * 8;
        let columns = word * WORD_COLUMNS..self.b.len().min((word + 1) * WORD_COLUMNS);
        (start..start + columns.len().div_ceil(8), columns)
    }

    /// Makes words of the table, given the carry of the word before; returns that of the last.
    fn make(&self, memory: &mut [u8], words: Range<usize>, carry: u64) -> u64 {
        let mut carry = carry != 0;
        let (mut row, mut word) = (0, 0);
        if let Some(rows) = words.start.checked_div(self.row_words()) {
            (row, word) = (rows, words.start % self.row_words());
        }
        // A slice may end where a row does, and nothing is carried into the next.
        carry &= word > 0;
        for _ in words {
            if word == self.row_words() {
                (row, word, carry) = (row + 1, 0, false);
            }
            let (at, columns) = self.word(row, word);
            let mut above = [0xFF; 8];
            if row > 0 {
                let (at, _) = self.word(row - 1, word);
                above[..at.len()].copy_from_slice(&memory[at]);
            }
            let above = u64::from_le_bytes(above);
            let equal = equal_to(self.a[row], &self.b[columns]);
            let (sum, is_over) = above.overflowing_add(above & equal);
            let (sum, is_still_over) = sum.overflowing_add(u64::from(carry));
            carry = is_over | is_still_over;
            let made = (sum | (above & !equal)).to_le_bytes();
            let len_bytes = at.len();
            memory[at].copy_from_slice(&made[..len_bytes]);
            word += 1;
        }
        u64::from(carry)
    }

    /// Goes a part of the way back; whether it was the last.
    fn go_back(&self, memory: &mut [u8], place: &mut [u64; 2]) -> bool {
        let at = place[0] & !IS_BACK;
        let number = |bits: u64| usize::try_from(bits).expect("a position was kept");
        let mut row = number(at >> COLUMN_BITS);
        let mut column = number(at & ((1 << COLUMN_BITS) - 1));
        let mut count = number(place[1]);
        let (rows, pairs) = memory.split_at_mut(self.rows_len_bytes());
        let (pairs, _) = pairs.as_chunks_mut::<PAIR_LEN_BYTES>();
        for _ in 0..SLICE_CELLS {
            if row == 0 || column == 0 {
                break;
            }
            let (i, j) = (row - 1, column - 1);
            if self.a[i] == self.b[j] {
                let pair = (i as u64) << u32::BITS | j as u64;
                pairs[count] = pair.to_le_bytes();
                count += 1;
                (row, column) = (i, j);
            } else if rows[i * self.row_len_bytes() + j / 8] >> (j % 8) & 1 == 0 {
                row = i;
            } else {
                column = j;
            }
        }
        *place = [IS_BACK | back_at(row, column), count as u64];
        row == 0 || column == 0
    }

    /// What was found when all is done.
    fn found(&self, memory: &[u8], place: [u64; 2]) -> Found {
        let (rows, pairs) = memory.split_at(self.rows_len_bytes());
        if self.is_whole {
            let count = usize::try_from(place[1]).expect("a count was kept");
            let (pairs, _) = pairs.as_chunks::<PAIR_LEN_BYTES>();
            let pair = |bytes: &[u8; PAIR_LEN_BYTES]| {
                let [j, i] = halves(*bytes);
                (i, j)
            };
            return Found::Pairs(pairs[..count].iter().map(pair).collect());
        }
        if self.a.is_empty() {
            return Found::Length(0);
        }
        // Bits past the last column are set.
        Found::Length(rows.iter().map(|byte| u64::from(byte.count_zeros())).sum())
    }
}

fn halves(bytes: [u8; 8]) -> [u32; 2] {
    let (words, _) = bytes.as_chunks::<4>();
    [words[0], words[1]].map(u32::from_le_bytes)
}

fn back_at(row: usize, column: usize) -> u64 {
    (row as u64) << COLUMN_BITS | column as u64
}

/// One bit for each of up to 64 bytes: whether it is `sought`.
fn equal_to(sought: u8, bytes: &[u8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7F * ONES;
    // Moves the highest bits of eight bytes next to each other.
    const COLLECT: u64 = 0x0102_0408_1020_4080;
    let pattern = u64::from(sought) * ONES;
    let mut equal = 0;
    for (at, eight) in bytes.chunks(8).enumerate() {
        // What lacks is not equal.
        let mut word = [!sought; 8];
        word[..eight.len()].copy_from_slice(eight);
        let differing = u64::from_le_bytes(word) ^ pattern;
        // The highest bit of a byte that is zero, and no other.
        let zeros = !(((differing & LOW) + LOW) | differing | LOW);
        equal |= ((zeros >> 7).wrapping_mul(COLLECT) >> 56) << (at * 8);
    }
    equal
}

fn write(options: Options, a: &[u8], found: &Found, reply: &mut Reply<'_>) {
    let pairs = match found {
        Found::Length(length) => return reply.count(*length),
        Found::Pairs(pairs) => pairs,
    };
    if !options.is_index {
        let text: Vec<u8> = pairs.iter().rev().map(|(i, _)| a[*i as usize]).collect();
        return reply.bulk(&text);
    }
    let matches: Vec<&[(u32, u32)]> = pairs
        .chunk_by(|later, earlier| later.0 == earlier.0 + 1 && later.1 == earlier.1 + 1)
        .filter(|range| range.len() as u64 >= options.match_len_min)
        .collect();
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.len());
    for range in matches {
        let (last, first) = (range[0], range[range.len() - 1]);
        reply.array(2 + usize::from(options.has_match_lengths));
        for (first, last) in [(first.0, last.0), (first.1, last.1)] {
            reply.array(2);
            reply.integer(first.into());
            reply.integer(last.into());
        }
        if options.has_match_lengths {
            reply.count(range.len() as u64);
        }
    }
    reply.bulk(b"len");
    reply.count(pairs.len() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Random;
    use crate::command::harness::Harness;

    /// The lengths of Redis's table, and its way back.
    fn plainly(a: &[u8], b: &[u8]) -> Vec<(u32, u32)> {
        let mut lengths = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
        for (i, one) in a.iter().enumerate() {
            for (j, other) in b.iter().enumerate() {
                lengths[i + 1][j + 1] = if one == other {
                    lengths[i][j] + 1
                } else {
                    lengths[i][j + 1].max(lengths[i + 1][j])
                };
            }
        }
        let (mut i, mut j, mut pairs) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                let narrow = |at| u32::try_from(at).expect("short");
                pairs.push((narrow(i), narrow(j)));
            } else if lengths[i - 1][j] > lengths[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        pairs
    }

    #[test]
    fn the_way_is_that_of_the_plain_table() {
        let mut random = Random::new(3);
        for round in 0..2000 {
            let letters = 1 + round % 5;
            let mut text = |len_max| -> Vec<u8> {
                let len = random.below(len_max);
                (0..len)
                    .map(|_| random.below(letters).to_le_bytes()[0])
                    .collect()
            };
            let (a, b) = (text(150), text(200));
            let due = plainly(&a, &b);
            for is_whole in [true, false] {
                let table = Table {
                    a: &a,
                    b: &b,
                    is_whole,
                };
                let mut memory = vec![0; table.len_bytes()];
                let mut place = [0; 2];
                while !table.go_on(&mut memory, &mut place) {}
                match table.found(&memory, place) {
                    Found::Pairs(pairs) => assert_eq!(pairs, due),
                    Found::Length(length) => assert_eq!(length, due.len() as u64),
                }
            }
        }
    }

    #[test]
    fn long_strings_are_compared_in_slices() {
        for shard_count in [1, 2] {
            let mut harness = Harness::new(shard_count);
            let mut random = Random::new(4);
            let mut text = || -> Vec<u8> {
                (0..5000)
                    .map(|_| b'a' + random.below(3).to_le_bytes()[0])
                    .collect()
            };
            let (a, b) = (text(), text());
            harness.run(&[b"SET", b"k0", &a]);
            harness.run(&[b"SET", b"k1", &b]);
            let length = plainly(&a, &b).len();
            harness.expect(&[("LCS k0 k1 LEN", &format!(":{length}"))]);
            assert!(harness.again_count > 5);
            let reply = harness.run(&[b"LCS", b"k0", b"k1"]);
            assert!(reply.starts_with(format!("${length}\r\n").as_bytes()));
        }
    }

    #[test]
    fn what_would_take_redis_too_much_memory_is_refused() {
        let mut harness = Harness::new(1);
        harness.run(&[b"SET", b"a", &vec![b'x'; 20_000]]);
        harness.expect(&[(
            "LCS a a",
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        )]);
    }

    #[test]
    fn nothing_is_carried_into_the_next_row_where_a_slice_ends_with_one() {
        let mut harness = Harness::new(1);
        let long = vec![b'L'; SLICE_WORDS / 4 * WORD_COLUMNS];
        harness.run(&[b"SET", b"a", b"HYLL."]);
        harness.run(&[b"SET", b"b", &long]);
        assert_eq!(harness.run(&[b"LCS", b"a", b"b", b"LEN"]), b":2\r\n");
        assert!(harness.again_count > 0);
    }
}
