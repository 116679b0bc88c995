//! The one door to words that two cores touch.
//!
//! Everything shared between threads is declared with the types of this module, so that a build
//! with `cfg(loom)` model-checks the shipped code and not a copy of it. Words that live inside the
//! region cannot be loom's (those have no fixed layout); they are reached through [`word_at`].

#![expect(
    unsafe_code,
    reason = "a word inside the region has no Rust owner to borrow it from"
)]

#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
/// A byte that is mapped memory. The models keep none.
pub use std::sync::atomic::AtomicU8;
#[cfg(not(loom))]
pub use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(loom)]
mod modelled;
#[cfg(loom)]
pub use modelled::{MappedWord, note_read, note_write};

/// A word that is mapped memory: a slot of the table, a record's expiry.
#[cfg(not(loom))]
pub type MappedWord = std::sync::atomic::AtomicU64;

/// The shared word at `address`.
///
/// # Safety
/// 1. `address` is aligned to 8 and valid for reads and writes as long as `'a`;
/// 2. while the reference lives, no one writes the word except through [`MappedWord`].
#[inline]
pub unsafe fn word_at<'a>(address: *mut u64) -> &'a MappedWord {
    #[cfg(loom)]
    // SAFETY: the caller's duties are the same.
    return unsafe { modelled::word_at(address) };
    #[cfg(not(loom))]
    // SAFETY: the caller's duties are those of `from_ptr`.
    return unsafe { MappedWord::from_ptr(address) };
}

/// The shared byte at `address`.
///
/// # Safety
/// 1. `address` is valid for reads and writes as long as `'a`;
/// 2. while the reference lives, no one writes the byte except through such references.
#[inline]
pub unsafe fn byte_at<'a>(address: *mut u8) -> &'a AtomicU8 {
    // SAFETY: the caller's duties are those of `from_ptr`.
    unsafe { AtomicU8::from_ptr(address) }
}

/// Tells the model checker that plain bytes which another core may write are read; else nothing.
#[cfg(not(loom))]
#[inline]
pub fn note_read(_: *const u8, _: usize) {}

/// Tells the model checker that plain bytes which another core may read are written or freed; else
/// nothing.
#[cfg(not(loom))]
#[inline]
pub fn note_write(_: *const u8, _: usize) {}

/// Keeps a value on cache lines of its own, so that cores do not disturb each other's words
/// (two lines: the hardware fetches them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);
