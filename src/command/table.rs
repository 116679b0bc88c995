//! The table itself and the way from a name to its row.
//!
//! Rows are gathered from the files that own them when this is compiled. So is the hash: the first
//! multiplier under which no two names collide. A name of up to 16 letters fits two words; folding
//! them to lower case is one `or` each, which is exact for letters. The few names that are longer or
//! have a `_` or `-` are looked for one by one, when the hash knew nothing.

use crate::resp::Args;

use super::refusal::printed;
use super::{
    Flags, Row, Run, acl, bits, client, config, connection, debug, dump, hyperloglog, info,
    introspect, key, latency, lcs, memory, persistence, scan, server, slowlog, sort, string,
    transaction, unsupported,
};

/// Every command clients can name, without subcommands.
pub fn rows() -> impl ExactSizeIterator<Item = &'static Row> {
    ROWS.iter()
}

/// Every command and subcommand clients can name, in the order of their numbers.
pub(super) fn tallied() -> impl Iterator<Item = &'static Row> {
    rows().chain(SUBCOMMANDS)
}

/// The row of a request, subcommand resolved and arguments counted; else the error, in the words
/// of Redis 7.0.
#[inline]
pub fn lookup(args: Args<'_>) -> Result<&'static Row, Vec<u8>> {
    let Some(row) = find(args.get(0)) else {
        return hidden(args);
    };
    if row.subcommands.is_empty() && row.takes(args.len()) {
        return Ok(row);
    }
    lookup_subcommand(row, args)
}

/// The row named `name`, in any case.
#[inline]
pub(super) fn find(name: &[u8]) -> Option<&'static Row> {
    if let Some(folded) = Folded::of(name) {
        let row_number = usize::from(INDEX[folded.hash(MULTIPLIER)]);
        // Empty places of the index point at row 0, which then differs.
        if FOLDED[row_number] == folded {
            return Some(&ROWS[row_number]);
        }
    }
    find_unhashed(name)
}

/// The row of a name that two words do not hold.
#[cold]
fn find_unhashed(name: &[u8]) -> Option<&'static Row> {
    let mut unhashed = rows().filter(|row| !is_hashed(row.name));
    unhashed.find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The subcommand of `row` called `name`, in any case.
pub(super) fn find_subcommand(row: &'static Row, name: &[u8]) -> Option<&'static Row> {
    row.subcommands.iter().find(|sub| {
        sub.name
            .split_once('|')
            .is_some_and(|(_, sub)| sub.as_bytes().eq_ignore_ascii_case(name))
    })
}

#[cold]
fn lookup_subcommand(row: &'static Row, args: Args<'_>) -> Result<&'static Row, Vec<u8>> {
    let mut row = row;
    if !row.subcommands.is_empty() && args.len() > 1 {
        row = find_subcommand(row, args.get(1)).ok_or_else(|| {
            unsupported::refusal_of_subcommand(row.name, args.get(1))
                .unwrap_or_else(|| unknown_subcommand(args))
        })?;
    }
    if row.takes(args.len()) {
        return Ok(row);
    }
    if row.has_arity(args.len()) {
        return Ok(&UNEVEN);
    }
    Err(wrong_count(row.name).into_bytes())
}

/// What runs in the place of a command whose last key lacks what belongs to it. Redis too finds that
/// out only when it runs, so a transaction queues such a command and goes on without it.
static UNEVEN: Row = Row {
    name: "(uneven)",
    arity: -1,
    flags: Flags::HIDDEN,
    run: Run::Session(|_, args, reply| {
        let name = find(args.get(0)).map_or("", |row| row.name);
        reply.error(&wrong_count(name));
    }),
    ..Row::BLANK
};

fn wrong_count(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// The row of a name that is not in the table.
#[cold]
fn hidden(args: Args<'_>) -> Result<&'static Row, Vec<u8>> {
    let is_http = [&b"host:"[..], b"post"]
        .iter()
        .any(|n| args.get(0).eq_ignore_ascii_case(n));
    if is_http {
        Ok(&connection::CROSS_PROTOCOL)
    } else {
        Err(unsupported::refusal(args.get(0)).unwrap_or_else(|| unknown_command(args)))
    }
}

/// Quotes the name and the first arguments, up to 128 bytes of each, as Redis does.
#[cold]
fn unknown_command(args: Args<'_>) -> Vec<u8> {
    let mut quoted = Vec::new();
    for arg in args.slice(1..).iter() {
        if quoted.len() >= QUOTED_LEN_BYTES_MAX {
            break;
        }
        let room = QUOTED_LEN_BYTES_MAX - quoted.len();
        quoted.push(b'\'');
        quoted.extend_from_slice(quotable(arg, room));
        quoted.extend_from_slice(b"' ");
    }
    let name = quotable(args.get(0), QUOTED_LEN_BYTES_MAX);
    [
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &quoted,
    ]
    .concat()
}

#[cold]
fn unknown_subcommand(args: Args<'_>) -> Vec<u8> {
    let name = quotable(args.get(1), QUOTED_LEN_BYTES_MAX);
    let container = args.get(0).to_ascii_uppercase();
    [
        b"ERR unknown subcommand '",
        name,
        b"'. Try ",
        &container,
        b" HELP.",
    ]
    .concat()
}

/// What Redis prints of an argument: a C string of at most `len_bytes_max` bytes.
fn quotable(arg: &[u8], len_bytes_max: usize) -> &[u8] {
    printed(&arg[..arg.len().min(len_bytes_max)])
}

/// Whether a row of that name is found by its hash.
const fn is_hashed(name: &str) -> bool {
    let name = name.as_bytes();
    let mut at = 0;
    while at < name.len() {
        if !name[at].is_ascii_lowercase() {
            return false;
        }
        at += 1;
    }
    name.len() <= HASHED_LEN_BYTES_MAX
}

/// A name of letters as two words in lower case: the first and the last eight bytes of up to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Folded {
    head: u64,
    tail: u64,
    len_bytes: usize,
}

impl Folded {
    /// Equal to no name.
    const NOTHING: Self = Self {
        head: 0,
        tail: 0,
        len_bytes: 0,
    };

    #[inline]
    const fn of(name: &[u8]) -> Option<Self> {
        let len = name.len();
        let (head, tail) = if let (Some(head), Some(tail)) =
            (name.first_chunk::<8>(), name.last_chunk::<8>())
        {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (
                u32::from_le_bytes(*head) as u64,
                u32::from_le_bytes(*tail) as u64,
            )
        } else if len > 0 {
            let ends = (name[0] as u64) | ((name[len - 1] as u64) << 8);
            (ends, name[len / 2] as u64)
        } else {
            return None;
        };
        if len > HASHED_LEN_BYTES_MAX {
            return None;
        }
        Some(Self {
            head: head | LOWER_CASE,
            tail: tail | LOWER_CASE,
            len_bytes: len,
        })
    }

    #[inline]
    const fn hash(self, multiplier: u64) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29)).wrapping_mul(multiplier);
        (mixed >> (64 - INDEX_BITS)) as usize
    }
}

/// Gathers the rows of all files, without numbers.
const fn gather<const COUNT: usize>() -> [Row; COUNT] {
    let mut rows = [Row::BLANK; COUNT];
    let mut count = 0;
    let mut source = 0;
    while source < SOURCES.len() {
        let mut at = 0;
        while at < SOURCES[source].len() {
            rows[count] = SOURCES[source][at];
            count += 1;
            at += 1;
        }
        source += 1;
    }
    assert!(count == COUNT);
    sort_by_name(rows)
}

const fn sort_by_name<const COUNT: usize>(mut rows: [Row; COUNT]) -> [Row; COUNT] {
    let mut sorted = 1;
    while sorted < COUNT {
        let mut at = sorted;
        while at > 0 && is_before(rows[at].name, rows[at - 1].name) {
            let row = rows[at];
            rows[at] = rows[at - 1];
            rows[at - 1] = row;
            at -= 1;
        }
        sorted += 1;
    }
    rows
}

/// Gathers the subcommands of all rows, and numbers them from `first` on.
const fn gather_subcommands<const COUNT: usize>(first: usize) -> [Row; COUNT] {
    let mut subcommands = [Row::BLANK; COUNT];
    let mut count = 0;
    let mut container = 0;
    while container < ROW_COUNT {
        let mut at = 0;
        while at < ROWS_SORTED[container].subcommands.len() {
            subcommands[count] = ROWS_SORTED[container].subcommands[at];
            subcommands[count].number = as_number(first + count);
            count += 1;
            at += 1;
        }
        container += 1;
    }
    assert!(count == COUNT);
    subcommands
}

/// Numbers the rows from 1 on, and gives containers their numbered subcommands.
const fn number(mut rows: [Row; ROW_COUNT]) -> [Row; ROW_COUNT] {
    let mut rest: &'static [Row] = SUBCOMMANDS;
    let mut at = 0;
    while at < ROW_COUNT {
        rows[at].number = as_number(1 + at);
        (rows[at].subcommands, rest) = rest.split_at(rows[at].subcommands.len());
        at += 1;
    }
    rows
}

#[expect(clippy::cast_possible_truncation, reason = "asserted: rows are few")]
const fn as_number(index: usize) -> u16 {
    assert!(index <= u16::MAX as usize);
    index as u16
}

const fn is_before(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return left[at] < right[at];
        }
        at += 1;
    }
    left.len() < right.len()
}

const fn fold_all() -> [Folded; ROW_COUNT] {
    let mut folded = [Folded::NOTHING; ROW_COUNT];
    let mut row_number = 0;
    while row_number < ROW_COUNT {
        let name = ROWS[row_number].name;
        assert_is_name(name.as_bytes());
        if is_hashed(name) {
            folded[row_number] = match Folded::of(name.as_bytes()) {
                Some(folded) => folded,
                None => panic!("two words hold it"),
            };
        }
        row_number += 1;
    }
    folded
}

const fn assert_is_name(name: &[u8]) {
    assert!(!name.is_empty() && name.len() <= NAME_LEN_BYTES_MAX);
    let mut at = 0;
    while at < name.len() {
        assert!(name[at].is_ascii_lowercase() || name[at] == b'_' || name[at] == b'-');
        at += 1;
    }
}

/// The index under `multiplier`, unless two names collide.
#[expect(
    clippy::cast_possible_truncation,
    reason = "asserted: rows are counted in a u8"
)]
const fn index_under(multiplier: u64) -> Option<[u8; 1 << INDEX_BITS]> {
    let mut index = [0; 1 << INDEX_BITS];
    let mut is_taken = [false; 1 << INDEX_BITS];
    let mut row_number = 0;
    while row_number < ROW_COUNT {
        if is_hashed(ROWS[row_number].name) {
            let place = FOLDED[row_number].hash(multiplier);
            if is_taken[place] {
                return None;
            }
            is_taken[place] = true;
            index[place] = row_number as u8;
        }
        row_number += 1;
    }
    Some(index)
}

const fn search_multiplier() -> u64 {
    let mut multiplier = 0x9E37_79B9_7F4A_7C15_u64;
    while index_under(multiplier).is_none() {
        multiplier = multiplier
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            .wrapping_add(2)
            | 1;
    }
    multiplier
}

const SOURCES: &[&[Row]] = &[
    acl::ROWS,
    bits::ROWS,
    client::ROWS,
    config::ROWS,
    connection::ROWS,
    debug::ROWS,
    dump::ROWS,
    hyperloglog::ROWS,
    info::ROWS,
    introspect::ROWS,
    key::ROWS,
    latency::ROWS,
    lcs::ROWS,
    memory::ROWS,
    persistence::ROWS,
    scan::ROWS,
    server::ROWS,
    slowlog::ROWS,
    sort::ROWS,
    string::ROWS,
    transaction::ROWS,
];
const ROW_COUNT: usize = {
    let mut count = 0;
    let mut source = 0;
    while source < SOURCES.len() {
        count += SOURCES[source].len();
        source += 1;
    }
    count
};
const SUBCOMMAND_COUNT: usize = {
    let mut count = 0;
    let mut row_number = 0;
    while row_number < ROW_COUNT {
        count += ROWS_SORTED[row_number].subcommands.len();
        row_number += 1;
    }
    count
};
const ROWS_SORTED: [Row; ROW_COUNT] = gather();
static ROWS: [Row; ROW_COUNT] = number(ROWS_SORTED);
const SUBCOMMANDS: &[Row] = &gather_subcommands::<SUBCOMMAND_COUNT>(1 + ROW_COUNT);
/// One more than the largest number of a row. No client can name row number 0.
pub(super) const TALLIED_COUNT: usize = 1 + ROW_COUNT + SUBCOMMAND_COUNT;
static FOLDED: [Folded; ROW_COUNT] = fold_all();
const MULTIPLIER: u64 = search_multiplier();
static INDEX: [u8; 1 << INDEX_BITS] = match index_under(MULTIPLIER) {
    Some(index) => index,
    None => panic!("the search ended with a multiplier that fits"),
};
/// 1,024 places for about a hundred names: a few hundred multipliers are tried.
const INDEX_BITS: u32 = 10;
const _: () = assert!(ROW_COUNT <= u8::MAX as usize);
/// Longest name that is hashed: two words.
const HASHED_LEN_BYTES_MAX: usize = 16;
/// Longest name of a row.
const NAME_LEN_BYTES_MAX: usize = 24;
/// Sets the bit that makes a letter lower-case in each byte.
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;
/// What an error quotes of a name, and of all arguments together.
const QUOTED_LEN_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests;
