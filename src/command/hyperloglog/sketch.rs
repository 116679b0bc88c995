//! A sketch as Redis stores it: a string, so that it moves between servers.
//!
//! ```text
//!   0        4          5      8               16
//!   +--------+----------+------+---------------+------------------ ..
//!   | "HYLL" | encoding | 0    | count, u64    | registers
//!   +--------+----------+------+---------------+------------------ ..
//!              0 dense            highest bit: is not up to date
//!              1 sparse
//!
//!   dense     16,384 registers of 6 bits, the lowest bits of a byte first
//!   sparse    00LLLLLL            L + 1 registers are 0
//!             01LLLLLL LLLLLLLL   L + 1 registers are 0
//!             1VVVVVLL            L + 1 registers are V + 1
//! ```
//!
//! A sparse sketch becomes dense when a register passes 32 or its bytes pass a bound. Which bytes
//! stand for the same registers depends on how they came to be; this does what Redis does, so that
//! both make the same bytes of the same commands.
//!
//! What is read may be anything a client has SET: [`Sketch::read`] looks at the head alone, and all
//! that goes through the registers answers [`Corrupt`] if they are not exactly 16,384.

use crate::limits::HLL_SPARSE_LEN_BYTES_MAX;

use super::registers::{Histogram, REGISTER_COUNT, Registers};

const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const HEAD_LEN_BYTES: usize = 16;
const REGISTER_BITS: usize = 6;
const REGISTER_MASK: u16 = 0x3F;
const DENSE_LEN_BYTES: usize = HEAD_LEN_BYTES + REGISTER_COUNT * REGISTER_BITS / 8;
/// Where the byte is whose highest bit says that the count is not up to date.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
/// Greatest value of a register in the sparse form.
const SPARSE_VALUE_MAX: u8 = 32;
/// Most registers that one byte of zeros, two bytes of zeros, and one value stand for.
const ZEROS_MAX: usize = 64;
const MANY_ZEROS_MAX: usize = REGISTER_COUNT;
const SAME_MAX: usize = 4;
/// Codes that are looked at for values that can be joined after a change.
const JOINED_COUNT: usize = 5;

/// The registers are not what the head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// A sketch that is being changed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sketch<B> {
    bytes: B,
}

/// What a code of the sparse form stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code {
    value: u8,
    /// Registers.
    count: usize,
    len_bytes: usize,
}

impl Code {
    /// The code at the start of `bytes`.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let low = usize::from(first & 0x3F);
        let (value, count, len_bytes) = match first >> 6 {
            0 => (0, low + 1, 1),
            1 => (0, (low << 8 | usize::from(*bytes.get(1)?)) + 1, 2),
            _ => ((first >> 2 & 0x1F) + 1, usize::from(first & 0b11) + 1, 1),
        };
        Some(Self {
            value,
            count,
            len_bytes,
        })
    }

    /// Appends the code of so many registers of a value, if there are any.
    fn write(value: u8, count: usize, out: &mut Vec<u8>) {
        let Some(more) = count.checked_sub(1) else {
            return;
        };
        debug_assert!(value <= SPARSE_VALUE_MAX && more < MANY_ZEROS_MAX);
        let more = u16::try_from(more).expect("fewer registers than that");
        let [low, high] = more.to_le_bytes();
        match value {
            0 if count <= ZEROS_MAX => out.push(low),
            0 => out.extend_from_slice(&[0x40 | high, low]),
            _ => out.push(0x80 | (value - 1) << 2 | low),
        }
    }
}

impl<B: AsRef<[u8]>> Sketch<B> {
    /// A value as a sketch; nothing if it is none.
    pub(super) fn read(bytes: B) -> Option<Self> {
        let head = bytes.as_ref().first_chunk::<HEAD_LEN_BYTES>()?;
        let is_one = head.starts_with(MAGIC)
            && match head[4] {
                DENSE => bytes.as_ref().len() == DENSE_LEN_BYTES,
                encoding => encoding == SPARSE,
            };
        is_one.then_some(Self { bytes })
    }

    pub(super) fn is_dense(&self) -> bool {
        self.bytes.as_ref()[4] == DENSE
    }

    /// The count that was stored, if it is up to date.
    pub(super) fn stored_count(&self) -> Option<u64> {
        let (_, count) = self.bytes.as_ref()[..HEAD_LEN_BYTES].split_last_chunk::<8>()?;
        (count[7] & STALE == 0).then_some(u64::from_le_bytes(*count))
    }

    /// The count of what was added.
    ///
    /// # Errors
    /// If the registers are not what they should be.
    pub(super) fn estimate(&self) -> Result<u64, Corrupt> {
        let mut histogram = Histogram::EMPTY;
        self.each(|_, value, count| {
            let count = u32::try_from(count).expect("no more than there are registers");
            histogram.0[usize::from(value)] += count;
        })?;
        Ok(histogram.estimate())
    }

    /// Raises registers to those of this sketch.
    ///
    /// # Errors
    /// If the registers are not what they should be; some may have been raised.
    pub(super) fn merge_into(&self, registers: &mut Registers) -> Result<(), Corrupt> {
        self.each(|first, value, count| {
            for register in &mut registers[first..first + count] {
                *register = (*register).max(value);
            }
        })
    }

    /// Calls `with` for stretches of registers: the first, their value, and how many.
    fn each(&self, mut with: impl FnMut(usize, u8, usize)) -> Result<(), Corrupt> {
        let body = &self.bytes.as_ref()[HEAD_LEN_BYTES..];
        if self.is_dense() {
            let (groups, _) = body.as_chunks::<3>();
            for (at, [a, b, c]) in groups.iter().enumerate() {
                let four = [
                    a & 0x3F,
                    a >> 6 | (b & 0x0F) << 2,
                    b >> 4 | (c & 0x03) << 4,
                    c >> 2,
                ];
                for (within, value) in four.into_iter().enumerate() {
                    with(at * 4 + within, value, 1);
                }
            }
            return Ok(());
        }
        let mut register = 0;
        let mut rest = body;
        while let Some(code) = Code::read(rest) {
            if register + code.count > REGISTER_COUNT {
                return Err(Corrupt);
            }
            with(register, code.value, code.count);
            register += code.count;
            rest = &rest[code.len_bytes..];
        }
        let is_whole = register == REGISTER_COUNT && rest.is_empty();
        is_whole.then_some(()).ok_or(Corrupt)
    }
}

impl Sketch<Vec<u8>> {
    /// A sketch of nothing.
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; HEAD_LEN_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[4] = SPARSE;
        Code::write(0, REGISTER_COUNT, &mut bytes);
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Says that the stored count is not up to date.
    pub(super) fn set_stale(&mut self) {
        self.bytes[STALE_AT] |= STALE;
    }

    /// Stores the count.
    pub(super) fn store_count(&mut self, count: u64) {
        self.bytes[8..HEAD_LEN_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// Raises a register to `value`; whether it was lower.
    ///
    /// # Errors
    /// If the registers are not what they should be.
    pub(super) fn raise(&mut self, register: usize, value: u8) -> Result<bool, Corrupt> {
        if self.is_dense() {
            Ok(self.raise_dense(register, value))
        } else {
            self.raise_sparse(register, value)
        }
    }

    fn raise_dense(&mut self, register: usize, value: u8) -> bool {
        let at = HEAD_LEN_BYTES + register * REGISTER_BITS / 8;
        let shift = register * REGISTER_BITS % 8;
        let next = self.bytes.get(at + 1).copied().unwrap_or(0);
        let both = u16::from_le_bytes([self.bytes[at], next]);
        if both >> shift & REGISTER_MASK >= u16::from(value) {
            return false;
        }
        let both = both & !(REGISTER_MASK << shift) | u16::from(value) << shift;
        let [low, high] = both.to_le_bytes();
        self.bytes[at] = low;
        // The last register ends with its byte.
        if let Some(next) = self.bytes.get_mut(at + 1) {
            *next = high;
        }
        true
    }

    fn raise_sparse(&mut self, register: usize, value: u8) -> Result<bool, Corrupt> {
        if value > SPARSE_VALUE_MAX {
            return self.raise_denser(register, value);
        }
        let mut first = 0;
        let mut at = HEAD_LEN_BYTES;
        let mut before = HEAD_LEN_BYTES;
        let code = loop {
            let code = Code::read(&self.bytes[at..]).ok_or(Corrupt)?;
            if register < first + code.count {
                break code;
            }
            before = at;
            first += code.count;
            at += code.len_bytes;
        };
        if code.value >= value {
            return Ok(false);
        }
        let mut codes = Vec::with_capacity(2 * JOINED_COUNT);
        Code::write(code.value, register - first, &mut codes);
        Code::write(value, 1, &mut codes);
        Code::write(code.value, first + code.count - register - 1, &mut codes);
        let len_bytes = self.bytes.len() - code.len_bytes + codes.len();
        if codes.len() > code.len_bytes && len_bytes > HLL_SPARSE_LEN_BYTES_MAX {
            return self.raise_denser(register, value);
        }
        self.bytes.splice(at..at + code.len_bytes, codes);
        self.join_values(before);
        self.set_stale();
        Ok(true)
    }

    /// Joins neighbours of the same value among the few codes from `at` on.
    fn join_values(&mut self, mut at: usize) {
        for _ in 0..JOINED_COUNT {
            let Some(code) = Code::read(&self.bytes[at..]) else {
                return;
            };
            let next = Code::read(&self.bytes[at + code.len_bytes..]);
            let count = code.count + next.map_or(0, |next| next.count);
            let is_same = next.is_some_and(|next| next.value == code.value);
            if code.value > 0 && is_same && count <= SAME_MAX {
                let mut joined = Vec::with_capacity(1);
                Code::write(code.value, count, &mut joined);
                self.bytes.splice(at..at + 2, joined);
            } else {
                at += code.len_bytes;
            }
        }
    }

    fn raise_denser(&mut self, register: usize, value: u8) -> Result<bool, Corrupt> {
        self.make_dense()?;
        Ok(self.raise_dense(register, value))
    }

    /// Turns the sparse form into the dense one.
    ///
    /// # Errors
    /// If the registers are not what they should be.
    pub(super) fn make_dense(&mut self) -> Result<(), Corrupt> {
        if self.is_dense() {
            return Ok(());
        }
        let mut dense = Self {
            bytes: vec![0; DENSE_LEN_BYTES],
        };
        dense.bytes[..HEAD_LEN_BYTES].copy_from_slice(&self.bytes[..HEAD_LEN_BYTES]);
        dense.bytes[4] = DENSE;
        self.each(|first, value, count| {
            for register in first..first + count {
                dense.raise_dense(register, value);
            }
        })?;
        *self = dense;
        Ok(())
    }
}
