//! What a connection is owed: replies in order, ready to send.
//!
//! Small replies lie one after the other in one vector, the tail. A large value is not copied: the
//! bytes before it are set aside as a piece, the value itself is a piece that is sent from where it
//! lives, and the tail goes on after it.

use std::collections::VecDeque;
use std::ops::Range;

use super::fragment::{Fragment, large_bytes};
use crate::limits::{READ_BUFFER_LEN_BYTES, TURN_LEN_BYTES_MAX};
use crate::region::Region;
use crate::resp::{Extern, Protocol, Reply};

/// The unsent replies of one connection.
#[derive(Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    pieces_len_bytes: usize,
    tail: Fragment,
    /// Bytes of the first piece (of the tail, if there are none) that were sent.
    sent: usize,
}

enum Piece {
    Bytes(Vec<u8>),
    Large(Extern),
}

impl Piece {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Large(large) => large.len_bytes,
        }
    }
}

impl Output {
    /// Bytes that wait to be sent.
    pub(super) fn unsent_len_bytes(&self) -> usize {
        self.pieces_len_bytes + self.tail.bytes.len() - self.sent
    }

    /// Memory it holds; large values are not its own.
    pub(super) fn capacity_bytes(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.capacity(),
            Piece::Large(_) => 0,
        });
        self.tail.bytes.capacity() + pieces.sum::<usize>()
    }

    /// A writer at the end; call [`Output::seal`] when it has written.
    pub(super) fn reply(&mut self, protocol: Protocol) -> Reply<'_> {
        self.tail.reply(protocol)
    }

    /// Bytes in the tail: a mark for [`Output::split_off`].
    pub(super) fn tail_len_bytes(&self) -> usize {
        self.tail.bytes.len()
    }

    /// Whether the reply that begins at the mark is an error.
    #[inline]
    pub(super) fn is_error_at(&self, tail_len_bytes: usize) -> bool {
        self.tail.is_error_at(tail_len_bytes)
    }

    /// Takes back what was written since the mark.
    pub(super) fn split_off(&mut self, tail_len_bytes: usize) -> Fragment {
        self.tail.split_off(tail_len_bytes)
    }

    /// Sets large values apart; nothing to do when no reply has any.
    #[inline]
    pub(super) fn seal(&mut self) {
        if !self.tail.externs.is_empty() {
            self.set_large_values_apart();
        }
    }

    /// Appends the part of `fragment` from `range`, and the externs from `first_extern` on that lie
    /// in it; returns the number of externs taken.
    pub(super) fn append(
        &mut self,
        fragment: &Fragment,
        range: Range<usize>,
        first_extern: usize,
    ) -> usize {
        let tail_start = self.tail.bytes.len();
        self.tail
            .bytes
            .extend_from_slice(&fragment.bytes[range.clone()]);
        let mut taken = 0;
        for large in &fragment.externs[first_extern..] {
            if large.at >= range.end {
                break;
            }
            self.tail.externs.push(Extern {
                at: large.at - range.start + tail_start,
                ..*large
            });
            taken += 1;
        }
        self.seal();
        taken
    }

    /// The next bytes to send, maybe not all; empty when there is nothing.
    pub(super) fn unsent<'a>(&'a self, region: &'a Region) -> &'a [u8] {
        let piece = match self.pieces.front() {
            None => &self.tail.bytes,
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Large(large)) => large_bytes(region, large),
        };
        &piece[self.sent..]
    }

    /// Passes over sent bytes; large values that were sent whole go to `released`.
    pub(super) fn sent(&mut self, len_bytes: usize, released: &mut Vec<Extern>) {
        self.sent += len_bytes;
        assert!(self.sent <= self.pieces_len_bytes + self.tail.bytes.len());
        while let Some(piece) = self.pieces.front() {
            let piece_len_bytes = piece.len_bytes();
            if self.sent < piece_len_bytes {
                return;
            }
            self.sent -= piece_len_bytes;
            self.pieces_len_bytes -= piece_len_bytes;
            if let Some(Piece::Large(large)) = self.pieces.pop_front() {
                released.push(large);
            }
        }
        if self.sent == self.tail.bytes.len() {
            self.sent = 0;
            self.tail.clear();
        } else if self.sent >= TURN_LEN_BYTES_MAX {
            // A reader that is always a little behind must not make the tail its whole past.
            self.tail.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Gives the empty tail's memory to `pool`.
    pub(super) fn release(&mut self, pool: &mut TailPool) {
        if self.tail.bytes.is_empty() && self.tail.bytes.capacity() > 0 {
            pool.put(std::mem::take(&mut self.tail));
        }
    }

    /// Takes memory for the tail from `pool`, if it has none.
    pub(super) fn prepare(&mut self, pool: &mut TailPool) {
        if self.tail.bytes.capacity() == 0 {
            self.tail = pool.take();
        }
    }

    /// Forgets everything; large values that were not sent go to `released`.
    pub(super) fn discard(&mut self, released: &mut Vec<Extern>) {
        for piece in self.pieces.drain(..) {
            if let Piece::Large(large) = piece {
                released.push(large);
            }
        }
        *self = Self::default();
    }

    #[cold]
    fn set_large_values_apart(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let mut passed = 0;
        for large in tail.externs {
            self.push_bytes(tail.bytes[passed..large.at].to_vec());
            passed = large.at;
            self.pieces_len_bytes += large.len_bytes;
            self.pieces.push_back(Piece::Large(large));
        }
        self.tail.bytes.extend_from_slice(&tail.bytes[passed..]);
    }

    fn push_bytes(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.pieces_len_bytes += bytes.len();
            self.pieces.push_back(Piece::Bytes(bytes));
        }
    }
}

/// Memory for tails that wait for their next use: an idle connection holds none.
#[derive(Default)]
pub(super) struct TailPool {
    free: Vec<Fragment>,
}

impl TailPool {
    /// Tails kept at most.
    const COUNT_MAX: usize = 64;

    fn take(&mut self) -> Fragment {
        self.free.pop().unwrap_or_default()
    }

    fn put(&mut self, tail: Fragment) {
        let is_usual = tail.bytes.capacity() <= READ_BUFFER_LEN_BYTES;
        if is_usual && self.free.len() < Self::COUNT_MAX {
            self.free.push(tail);
        }
    }
}
