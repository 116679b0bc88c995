//! What a connection is owed: replies in order, ready to send.
//!
//! Small replies lie one after the other in one vector, the tail. A large value is not copied: the
//! bytes before it are set aside as a piece, the value itself is a piece that is sent from where it
//! lives, and the tail goes on after it.
//!
//! **Held replies.** Where a reply must not leave before the change it tells of is on disk, a mark
//! says up to where the output waits for which round of writing (`region::rounds`). Nothing past
//! what is free is shown to the sender; replies go on collecting behind it, within the usual bound.

use std::collections::VecDeque;
use std::ops::Range;

use super::fragment::{Fragment, large_bytes};
use super::pool::Pool;
use crate::limits::{READ_BUFFER_LEN_BYTES, TURN_LEN_BYTES_MAX};
use crate::region::Region;
use crate::resp::{Extern, Protocol, Reply};

/// Tails kept for their next use at most.
pub(super) const TAIL_COUNT_MAX: usize = 64;

/// The unsent replies of one connection.
#[derive(Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    pieces_len_bytes: usize,
    tail: Fragment,
    /// Bytes of the first piece (of the tail, if there are none) that were sent.
    sent: usize,
    /// Bytes that may be sent although there are marks.
    free_len_bytes: usize,
    /// Whether what is written is dropped: all before it is in pieces.
    is_muted: bool,
    /// What the bytes after those wait for, in order. None: everything may be sent.
    marks: VecDeque<Mark>,
}

/// A stretch of output that waits.
struct Mark {
    len_bytes: usize,
    /// The round after which it may be sent.
    round: u64,
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

    /// What was written since the mark.
    pub(super) fn tail_from(&self, tail_len_bytes: usize) -> &[u8] {
        &self.tail.bytes[tail_len_bytes..]
    }

    /// Takes back what was written since the mark.
    pub(super) fn split_off(&mut self, tail_len_bytes: usize) -> Fragment {
        self.tail.split_off(tail_len_bytes)
    }

    /// Begins, or ends, to tell what is written from what was written before, to be dropped.
    pub(super) fn set_muted(&mut self, is_muted: bool) {
        if is_muted && !self.is_muted {
            let bytes = std::mem::take(&mut self.tail.bytes);
            self.push_bytes(bytes);
        }
        self.is_muted = is_muted;
    }

    /// Drops what was written since the output was muted; its large values go to `released`.
    pub(super) fn drop_muted(&mut self, released: &mut Vec<Extern>) {
        if self.is_muted {
            self.tail.bytes.clear();
            released.append(&mut self.tail.externs);
        }
    }

    /// Sets large values apart; nothing to do when no reply has any.
    #[inline]
    pub(super) fn seal(&mut self) {
        if !self.tail.externs.is_empty() && !self.is_muted {
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

    /// Holds all that is not held yet until `round` is durable; false if there is nothing to hold,
    /// or the last of it waits for that round already.
    pub(super) fn hold(&mut self, round: u64) -> bool {
        let marked_len_bytes = self.marks.iter().map(|mark| mark.len_bytes).sum::<usize>();
        if self.marks.is_empty() {
            // What was written before is as new as what is held now: it was not sent.
            self.free_len_bytes = 0;
        }
        let len_bytes = self.unsent_len_bytes() - self.free_len_bytes - marked_len_bytes;
        if len_bytes == 0 {
            return false;
        }
        if let Some(last) = self.marks.back_mut()
            && last.round == round
        {
            last.len_bytes += len_bytes;
            return false;
        }
        self.marks.push_back(Mark { len_bytes, round });
        true
    }

    /// Frees what waited for `round` or an earlier one.
    pub(super) fn free_until(&mut self, round: u64) {
        while let Some(mark) = self.marks.front()
            && mark.round <= round
        {
            self.free_len_bytes += mark.len_bytes;
            self.marks.pop_front();
        }
    }

    /// Whether anything waits.
    pub(super) fn is_held(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The next bytes to send, maybe not all; empty when there is nothing.
    pub(super) fn unsent<'a>(&'a self, region: &'a Region) -> &'a [u8] {
        let piece = match self.pieces.front() {
            None => &self.tail.bytes,
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::Large(large)) => large_bytes(region, large),
        };
        let unsent = &piece[self.sent..];
        if self.is_held() {
            &unsent[..unsent.len().min(self.free_len_bytes)]
        } else {
            unsent
        }
    }

    /// Passes over sent bytes; large values that were sent whole go to `released`.
    pub(super) fn sent(&mut self, len_bytes: usize, released: &mut Vec<Extern>) {
        if self.is_held() {
            self.free_len_bytes -= len_bytes;
        }
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
    pub(super) fn release(&mut self, pool: &mut Pool<Fragment>) {
        if self.tail.bytes.is_empty() && self.tail.bytes.capacity() > 0 {
            let tail = std::mem::take(&mut self.tail);
            if tail.bytes.capacity() <= READ_BUFFER_LEN_BYTES {
                pool.put(tail);
            }
        }
    }

    /// Takes memory for the tail from `pool`, if it has none.
    pub(super) fn prepare(&mut self, pool: &mut Pool<Fragment>) {
        if self.tail.bytes.capacity() == 0 {
            self.tail = pool.take().unwrap_or_default();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::RegionOptions;

    fn region() -> Region {
        let options = RegionOptions {
            maxmemory_bytes: 64 << 20,
            shard_count: 1,
        };
        Region::anonymous(options).expect("address space")
    }

    fn write(output: &mut Output, text: &str) {
        output.reply(Protocol::Resp2).raw(text.as_bytes());
    }

    #[test]
    fn held_bytes_are_shown_once_their_round_is_durable_and_in_order() {
        let (region, mut output, mut released) = (region(), Output::default(), Vec::new());
        write(&mut output, "ab");
        assert!(output.hold(5));
        assert!(!output.hold(5), "nothing new");
        write(&mut output, "cd");
        assert!(output.hold(6));
        write(&mut output, "ef");
        assert!(!output.hold(6), "the same round");
        write(&mut output, "gh");
        assert_eq!(output.unsent(&region), b"");
        assert_eq!(output.unsent_len_bytes(), 8);
        output.free_until(5);
        assert_eq!(output.unsent(&region), b"ab");
        output.sent(1, &mut released);
        assert_eq!(output.unsent(&region), b"b");
        assert!(output.hold(7));
        output.free_until(6);
        assert_eq!(output.unsent(&region), b"bcdef");
        output.sent(5, &mut released);
        assert!(output.unsent(&region).is_empty() && output.is_held());
        output.free_until(7);
        assert_eq!(output.unsent(&region), b"gh");
        output.sent(2, &mut released);
        assert!(!output.is_held());
        write(&mut output, "ij");
        assert!(output.hold(8));
        assert_eq!(output.unsent(&region), b"");
    }

    #[test]
    fn a_large_value_behind_held_bytes_waits_with_them() {
        let (region, mut output, mut released) = (region(), Output::default(), Vec::new());
        write(&mut output, "$9\r\n");
        let large = Extern {
            at: 4,
            owner: 0,
            run: 1,
            offset: region.large_slice(0).0,
            len_bytes: 9,
        };
        output.tail.externs.push(large);
        output.seal();
        write(&mut output, "\r\n");
        assert!(output.hold(3));
        assert_eq!(output.unsent(&region), b"");
        output.free_until(3);
        for len_bytes in [4, 9, 2] {
            assert_eq!(output.unsent(&region).len(), len_bytes);
            output.sent(len_bytes, &mut released);
        }
        assert_eq!(released.len(), 1);
    }
}
