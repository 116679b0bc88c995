//! Waking a task of the same core.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// One task waits, others of the same core wake it. A wake before the wait is not lost.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    /// Wakes the waiting task, or the next one to wait.
    pub(super) fn set(&self) {
        if !self.is_set.replace(true)
            && let Some(waiter) = self.waiter.take()
        {
            waiter.wake();
        }
    }

    /// Ready once per (one or more) calls of [`Self::set`].
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_set.replace(false) {
            return Poll::Ready(());
        }
        let mut waiter = self.waiter.borrow_mut();
        if !waiter
            .as_ref()
            .is_some_and(|waiter| waiter.will_wake(context.waker()))
        {
            *waiter = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for [`Self::set`].
    pub(super) async fn wait(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_counts_once() {
        let signal = Signal::default();
        let context = Context::from_waker(Waker::noop());
        signal.set();
        signal.set();
        assert_eq!(signal.poll(&context), Poll::Ready(()));
        assert_eq!(signal.poll(&context), Poll::Pending);
        signal.set();
        assert_eq!(signal.poll(&context), Poll::Ready(()));
    }
}
