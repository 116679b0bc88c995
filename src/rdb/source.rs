//! Bytes of an RDB file or a DUMP payload, read in order: where one is, and the checksum so far.
//!
//! A length in the file is a claim. Nothing is allocated because of it: buffers grow with the
//! bytes that really come.

use std::fmt;
use std::io::BufRead;

use super::crc64::crc64;

/// Why an input cannot be read on, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes from the start of the input.
    pub offset: u64,
    /// One lower-case line.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "offset {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Fault {}

/// An input with its place and checksum.
#[derive(Debug)]
pub(super) struct Source<B> {
    input: B,
    offset: u64,
    checksum: u64,
}

impl<B: BufRead> Source<B> {
    /// Reads from the start of `input`.
    pub(super) fn new(input: B) -> Self {
        Self {
            input,
            offset: 0,
            checksum: 0,
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The checksum of all bytes read so far.
    #[must_use]
    pub(super) fn checksum(&self) -> u64 {
        self.checksum
    }

    /// A fault at this place.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            offset: self.offset,
            reason: reason.into(),
        }
    }

    /// Whether nothing follows.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Fault> {
        let ahead = self.input.fill_buf().map(<[u8]>::is_empty);
        ahead.map_err(|error| self.fault(error.to_string()))
    }

    /// The next byte.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        let mut filled = 0;
        self.pass(N as u64, |piece| {
            array[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(array)
    }

    /// Appends the next `len_bytes` to `output`.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(super) fn append(&mut self, len_bytes: u64, output: &mut Vec<u8>) -> Result<(), Fault> {
        self.pass(len_bytes, |piece| output.extend_from_slice(piece))
    }

    /// Passes over the next `len_bytes`.
    ///
    /// # Errors
    /// The input ends or cannot be read.
    pub(super) fn skip(&mut self, len_bytes: u64) -> Result<(), Fault> {
        self.pass(len_bytes, |_| {})
    }

    /// Gives the next `len_bytes` to `take`, in the pieces in which they come.
    fn pass(&mut self, len_bytes: u64, mut take: impl FnMut(&[u8])) -> Result<(), Fault> {
        let mut left_bytes = len_bytes;
        while left_bytes > 0 {
            let ahead = match self.input.fill_buf() {
                Ok(ahead) => ahead,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.fault(error.to_string())),
            };
            if ahead.is_empty() {
                return Err(self.fault(format!("the file ends, {left_bytes} bytes are missing")));
            }
            let piece_len = usize::try_from(left_bytes).map_or(ahead.len(), |l| l.min(ahead.len()));
            let piece = &ahead[..piece_len];
            take(piece);
            self.checksum = crc64(self.checksum, piece);
            self.input.consume(piece_len);
            self.offset += piece_len as u64;
            left_bytes -= piece_len as u64;
        }
        Ok(())
    }
}
