//! Reply bytes with the places where a large value belongs between them.
#![expect(
    unsafe_code,
    reason = "large values are read where they live, while they are pinned"
)]

use crate::region::Region;
use crate::resp::{Extern, Protocol, Reply};

/// The bytes of a large value that a reply refers to.
///
/// An [`Extern`] is made when its run is pinned and handed back to be unpinned when it is dropped
/// from a fragment or an output, so whoever has one may read it.
pub(super) fn large_bytes<'a>(region: &'a Region, large: &'a Extern) -> &'a [u8] {
    // SAFETY:
    // 1. from a pin of this region: commands make externs of nothing else;
    // 2. held as long as the slice: the borrow of `large` outlives it.
    unsafe { region.bytes_at(large.offset, large.len_bytes) }
}

/// Replies as they were written: bytes, and large values that are sent from where they live.
#[derive(Default)]
pub(super) struct Fragment {
    pub(super) bytes: Vec<u8>,
    /// In the order of their places.
    pub(super) externs: Vec<Extern>,
}

impl Fragment {
    /// A writer that appends here.
    pub(super) fn reply(&mut self, protocol: Protocol) -> Reply<'_> {
        Reply::new(&mut self.bytes, &mut self.externs, protocol)
    }

    /// Whether the reply that begins there is an error.
    #[inline]
    pub(super) fn is_error_at(&self, bytes_len: usize) -> bool {
        self.bytes.get(bytes_len) == Some(&b'-')
    }

    /// Empties it; a capacity that one huge reply left behind is given back.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes
            .shrink_to(crate::limits::BATCH_REPLY_LEN_BYTES_MAX);
        self.externs.clear();
    }

    /// Adds what `other` holds at the end.
    pub(super) fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        let moved = other.externs.iter().map(|large| Extern {
            at: large.at + start,
            ..*large
        });
        self.externs.extend(moved);
    }

    /// Cuts off what was written since `bytes_len`, with the externs that belong to it.
    pub(super) fn split_off(&mut self, bytes_len: usize) -> Self {
        let first = self.externs.partition_point(|large| large.at < bytes_len);
        let mut externs = self.externs.split_off(first);
        for large in &mut externs {
            large.at -= bytes_len;
        }
        Self {
            bytes: self.bytes.split_off(bytes_len),
            externs,
        }
    }
}
