//! When memory that other cores may still be reading can be used again.
//!
//! A reader pins its core before its first load and unpins it after its last; what it could reach
//! then is not reused before. A writer first makes a thing unreachable, then retires it, which
//! yields an epoch; the thing is free once every core is unpinned or was pinned later than that.
//!
//! ```text
//!   reader:  pin word <- global, fence, load slots and records, pin word <- UNPINNED
//!   writer:  unlink, fence, epoch = global++, ..., free when all pin words > epoch
//! ```
//!
//! Why it holds: the pin's fence and the writer's fence are totally ordered. If the pin is first,
//! the writer sees it and waits. If the unlink is first, the reader cannot reach the thing.
//! A core that sleeps pins nothing, so an idle server never holds memory back.

use crate::atomic::{AtomicU64, CachePadded, Ordering, fence};

/// The pin words of all cores and the epoch they are compared with.
#[derive(Debug)]
pub struct Epochs {
    global: CachePadded<AtomicU64>,
    pins: Box<[CachePadded<AtomicU64>]>,
}

/// A pin word that holds nothing back: later than every epoch.
const UNPINNED: u64 = u64::MAX;

impl Epochs {
    /// Epochs for `core_count` cores, none pinned.
    #[must_use]
    pub fn new(core_count: usize) -> Self {
        let pins = (0..core_count)
            .map(|_| CachePadded(AtomicU64::new(UNPINNED)))
            .collect();
        Self {
            global: CachePadded(AtomicU64::new(0)),
            pins,
        }
    }

    /// From here until [`unpin`](Self::unpin), nothing `core` can reach is reused.
    pub fn pin(&self, core: u16) {
        let now = self.global.0.load(Ordering::Relaxed);
        // Release: who sees this pin instead of the one before knows that its reads have ended.
        self.pins[usize::from(core)].0.store(now, Ordering::Release);
        // The pin must be visible before any load it protects; see the module's proof.
        fence(Ordering::SeqCst);
    }

    /// `core` holds no reference into the region any more.
    pub fn unpin(&self, core: u16) {
        // Release: the reads under the pin happen before memory is seen as free.
        self.pins[usize::from(core)]
            .0
            .store(UNPINNED, Ordering::Release);
    }

    /// Whether `core`, which must be the caller, is pinned.
    #[inline]
    #[must_use]
    pub fn is_pinned(&self, core: u16) -> bool {
        // Relaxed: only `core` itself writes its pin.
        self.pins[usize::from(core)].0.load(Ordering::Relaxed) != UNPINNED
    }

    /// If `core` is pinned, pins it anew: what it could reach before, it no longer uses.
    pub fn renew(&self, core: u16) {
        if self.is_pinned(core) {
            self.pin(core);
        }
    }

    /// The epoch of something that has just been made unreachable.
    #[must_use]
    pub fn retire(&self) -> u64 {
        // The unlinking store must be visible before the pins are read; see the module's proof.
        fence(Ordering::SeqCst);
        self.global.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether nobody but `owner` can still see what was retired at `epoch`. The owner's own pin
    /// does not count: it protects what the owner reads of other cores.
    #[must_use]
    pub fn is_free(&self, epoch: u64, owner: u16) -> bool {
        fence(Ordering::SeqCst);
        self.pins.iter().enumerate().all(|(core, pin)| {
            // A reader that pinned at `epoch` or before may have loaded before the unlink.
            core == usize::from(owner) || pin.0.load(Ordering::Acquire) > epoch
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retired_under_a_pin_stays_until_the_pin_goes() {
        let epochs = Epochs::new(2);
        epochs.pin(1);
        let epoch = epochs.retire();
        assert!(!epochs.is_free(epoch, 0));
        epochs.unpin(1);
        assert!(epochs.is_free(epoch, 0));
    }

    #[test]
    fn a_later_pin_holds_nothing_back() {
        let epochs = Epochs::new(2);
        let epoch = epochs.retire();
        epochs.pin(1);
        assert!(epochs.is_free(epoch, 0));
        assert!(!epochs.is_free(epochs.retire(), 0));
    }

    #[test]
    fn a_renewed_pin_lets_go_of_what_was_retired_before() {
        let epochs = Epochs::new(2);
        epochs.pin(1);
        let epoch = epochs.retire();
        epochs.renew(1);
        assert!(epochs.is_free(epoch, 0));
        assert!(!epochs.is_free(epochs.retire(), 0));
        epochs.unpin(1);
        epochs.renew(1);
        assert!(
            epochs.is_free(epochs.retire(), 0),
            "who was not pinned is not"
        );
    }

    #[test]
    fn the_owners_own_pin_does_not_count() {
        let epochs = Epochs::new(2);
        epochs.pin(0);
        assert!(epochs.is_free(epochs.retire(), 0));
    }
}
