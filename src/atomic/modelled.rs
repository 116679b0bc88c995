//! Mapped memory as the model checker sees it (`cfg(loom)` only).
//!
//! Loom's types have no fixed layout and cannot lie in mapped memory. So each word that two cores
//! touch there gets one of loom's words beside it, found by its address, and each word of plain bytes
//! a cell that notes who has read and written it. The memory itself always holds what was written
//! last: what only its owner reads needs no detour.
//!
//! Everything here lives as long as one execution of a model.

#![expect(
    unsafe_code,
    reason = "stands for mapped memory, which has no Rust owner"
)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;

use super::Ordering;

/// A word that is mapped memory.
#[derive(Debug)]
pub struct MappedWord {
    word: AtomicU64,
    memory: *mut u64,
}

impl MappedWord {
    /// As of `AtomicU64`.
    pub fn load(&self, order: Ordering) -> u64 {
        self.word.load(order)
    }

    /// As of `AtomicU64`.
    pub fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, order);
        // SAFETY: `word_at`'s callers vouch for the address; loom runs one thread at a time.
        unsafe { self.memory.write(value) };
    }
}

/// What stands for the memory of one execution.
#[derive(Default)]
struct Memory {
    words: HashMap<usize, Box<MappedWord>>,
    /// Words whose memory was given another use: some thread may still hold one.
    replaced: Vec<Box<MappedWord>>,
    cells: HashMap<usize, Box<UnsafeCell<()>>>,
}

/// Loom's threads are one thread of the system, and none is switched while this is held.
struct Shared(Mutex<Memory>);

// SAFETY: only ever used by the one thread of the system that runs the model.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

loom::lazy_static! {
    static ref MEMORY: Shared = Shared(Mutex::new(Memory::default()));
}

fn memory() -> MutexGuard<'static, Memory> {
    MEMORY.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The word that stands for the one at `address`.
///
/// # Safety
/// As of the shipped one; and `'a` ends with the execution.
pub(super) unsafe fn word_at<'a>(address: *mut u64) -> &'a MappedWord {
    let mut memory = memory();
    let word = memory.words.entry(address.addr()).or_insert_with(|| {
        // SAFETY: the caller's first duty.
        let value = unsafe { address.read() };
        Box::new(MappedWord {
            word: AtomicU64::new(value),
            memory: address,
        })
    });
    let word: *const MappedWord = &raw const **word;
    // SAFETY: boxed, and kept until the execution ends.
    unsafe { &*word }
}

/// The cells of the bytes at `start`, made as needed.
fn for_each_cell(start: *const u8, len_bytes: usize, visit: impl Fn(&UnsafeCell<()>)) {
    for address in (start.addr() & !7..start.addr() + len_bytes).step_by(8) {
        let mut memory = memory();
        let cell = memory.cells.entry(address).or_default();
        let cell: *const UnsafeCell<()> = &raw const **cell;
        drop(memory);
        // SAFETY: boxed, and never removed while the execution runs.
        visit(unsafe { &*cell });
    }
}

/// Notes that plain bytes are read: fails the model if they may be written at the same time.
pub fn note_read(start: *const u8, len_bytes: usize) {
    for_each_cell(start, len_bytes, |cell| cell.with(|_| ()));
}

/// Notes that plain bytes are written or given another use: fails the model if they may be in use.
pub fn note_write(start: *const u8, len_bytes: usize) {
    for_each_cell(start, len_bytes, |cell| cell.with_mut(|_| ()));
    let mut memory = memory();
    for address in (start.addr() & !7..start.addr() + len_bytes).step_by(8) {
        if let Some(word) = memory.words.remove(&address) {
            memory.replaced.push(word);
        }
    }
}
