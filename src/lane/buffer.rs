//! Read buffers: where requests are received, parsed and, by other cores too, read in place.
//!
//! ```text
//!   0            start              end              capacity
//!   ├── executed ──┼── not executed ──┼── receive here ──┤
//!        read-only: batches on other cores     ▲ written by this core alone
//!        may still read arguments here         │
//! ```
//!
//! A [`Buffer`] neither moves nor is freed while anyone holds a handle to it: each batch that
//! borrows arguments carries one. Handles are cloned and dropped by the core that made the buffer
//! only; another core sees no handle, just the bytes a batch names. Bytes below `end` never change
//! (but for inline commands, unquoted in place before anyone else may see them), bytes above are
//! touched by the owner alone, so no byte is ever written and read at once.
#![expect(
    unsafe_code,
    reason = "several views of one allocation, kept apart by position"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::rc::Rc;

use super::pool::Pool;
use crate::limits::READ_BUFFER_LEN_BYTES;

/// Buffers a core keeps for the next connection that has something to say. As many single requests
/// can be with other cores at a time before a buffer is made for one and thrown away after it.
const POOLED_BUFFER_COUNT_MAX: usize = 256;
/// Buffers the pool looks at for one that nobody reads any more.
const LOOKED_AT_COUNT_MAX: usize = 4;

/// One allocation that requests are received into. Cloning makes another handle to it.
#[derive(Clone)]
pub(crate) struct Buffer {
    memory: Rc<Memory>,
}

struct Memory {
    bytes: NonNull<u8>,
    len_bytes: usize,
}

impl Buffer {
    /// A zeroed buffer; the pages of a large one are not touched before they are used.
    pub(crate) fn with_len(len_bytes: usize) -> Self {
        assert!(len_bytes > 0);
        let layout = layout_of(len_bytes);
        // SAFETY: 1. the layout's size is not zero, asserted above.
        let bytes = unsafe { alloc_zeroed(layout) };
        let Some(bytes) = NonNull::new(bytes) else {
            handle_alloc_error(layout)
        };
        Self {
            memory: Rc::new(Memory { bytes, len_bytes }),
        }
    }

    /// Bytes it can hold.
    pub(crate) fn len_bytes(&self) -> usize {
        self.memory.len_bytes
    }

    /// Whether a batch (or a command in progress) holds a handle too.
    pub(crate) fn is_pinned(&self) -> bool {
        Rc::strong_count(&self.memory) > 1
    }

    /// Bytes that were received: everything below `end`.
    pub(crate) fn received(&self, start: usize, end: usize) -> &[u8] {
        assert!(start <= end);
        assert!(end <= self.memory.len_bytes);
        // SAFETY:
        // 1. in bounds: asserted above;
        // 2. initialised: allocated zeroed;
        // 3. not written meanwhile: callers pass positions below `end` (module header).
        unsafe { std::slice::from_raw_parts(self.memory.bytes.as_ptr().add(start), end - start) }
    }

    /// The bytes from `start` to `end` for the owner to write: to receive into, or to unquote
    /// an inline command that nobody has seen yet.
    ///
    /// `&mut self` is one handle of several; what keeps the views apart is the position: no other
    /// view may reach beyond the executed part, and `start` is not below it.
    pub(crate) fn private_mut(&mut self, start: usize, end: usize) -> &mut [u8] {
        assert!(start <= end);
        assert!(end <= self.memory.len_bytes);
        // SAFETY:
        // 1. in bounds: asserted above;
        // 2. initialised: allocated zeroed;
        // 3. unaliased: other handles only read executed bytes, which lie below `start`.
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.bytes.as_ptr().add(start), end - start)
        }
    }

    /// The address of the first byte, for a batch that names arguments by position.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.memory.bytes
    }

    /// Moves the bytes from `start` to `end` to the front. Only while nobody else holds a handle.
    pub(crate) fn move_to_front(&mut self, start: usize, end: usize) {
        assert!(!self.is_pinned());
        self.private_mut(0, end).copy_within(start..end, 0);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY:
        // 1. from this allocator with this layout: `with_len`;
        // 2. last handle: an `Rc` drops its content once.
        unsafe { dealloc(self.bytes.as_ptr(), layout_of(self.len_bytes)) };
    }
}

/// With an alignment that the allocator has anyway: for a larger one it would write the zeroes
/// itself, and touch every page of a buffer that was only announced.
fn layout_of(len_bytes: usize) -> Layout {
    Layout::from_size_align(len_bytes, align_of::<u64>())
        .expect("a read buffer is far below isize::MAX")
}

/// Buffers of the usual size that wait for their next use, or first for the batches that read them.
pub(crate) struct BufferPool {
    waiting: Pool<Buffer>,
    len_bytes: usize,
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new(READ_BUFFER_LEN_BYTES)
    }
}

impl BufferPool {
    /// A pool of buffers of `len_bytes`, none of which was made yet.
    pub(crate) const fn new(len_bytes: usize) -> Self {
        Self {
            waiting: Pool::new(POOLED_BUFFER_COUNT_MAX),
            len_bytes,
        }
    }

    /// The usual size.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// A buffer of the usual size: the last one given back, which is in the caches, or one of the
    /// first, which batches are the likeliest to be done with.
    pub(crate) fn take(&mut self) -> Buffer {
        let is_free = |buffer: &Buffer| !buffer.is_pinned();
        let waiting = self.waiting.take_if(LOOKED_AT_COUNT_MAX, is_free);
        waiting.unwrap_or_else(|| Buffer::with_len(self.len_bytes))
    }

    /// Gives a buffer back, which may still be pinned; one of unusual size or too many is dropped
    /// instead.
    pub(crate) fn put(&mut self, buffer: Buffer) {
        if buffer.len_bytes() == self.len_bytes {
            self.waiting.put(buffer);
        }
    }

    /// Gives the memory back of those that nobody has missed; about once a second.
    pub(super) fn give_back(&mut self) {
        self.waiting.give_back();
    }

    /// Length of what waits, whether or not all of it was ever touched.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().count() * self.len_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, BufferPool};
    use crate::limits::READ_BUFFER_LEN_BYTES;

    #[test]
    fn a_handle_pins_the_buffer_until_it_is_dropped() {
        let mut buffer = Buffer::with_len(64);
        buffer.private_mut(0, 3).copy_from_slice(b"abc");
        let handle = buffer.clone();
        assert!(buffer.is_pinned());
        assert_eq!(handle.received(0, 3), b"abc");
        drop(handle);
        assert!(!buffer.is_pinned());
        buffer.move_to_front(1, 3);
        assert_eq!(buffer.received(0, 2), b"bc");
    }

    #[test]
    fn the_pool_uses_again_what_is_of_the_usual_size_and_not_pinned_any_more() {
        let mut pool = BufferPool::default();
        let buffer = pool.take();
        let address = buffer.address();
        let handle = buffer.clone();
        pool.put(buffer);
        assert_ne!(pool.take().address(), address, "it is pinned");
        drop(handle);
        assert_eq!(pool.take().address(), address);
        pool.put(Buffer::with_len(READ_BUFFER_LEN_BYTES * 2));
        assert_eq!(pool.take().len_bytes(), READ_BUFFER_LEN_BYTES);
    }
}
