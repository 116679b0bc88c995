//! A timer that repeats, and that can lose a tick without stopping.
//!
//! The runtime can put an executor to sleep with runnable tasks (see `executor`, "The guard"), and
//! the task that a timer has just woken may be among them. A timer that is set again only when its
//! task runs would then never fire again. So several ticks ahead are set at any time: the sleep
//! ends with the next of them. The number of wakes per second stays the same.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::timer::Timer;

/// Ticks set ahead: that many must be lost in a row to stop the ticker.
const AHEAD_COUNT: u32 = 4;

/// Fires every `period` while it is awaited.
pub(super) struct Ticker {
    period: Duration,
    /// Earliest first.
    timers: VecDeque<Timer>,
}

impl Ticker {
    pub(super) fn new(period: Duration) -> Self {
        Self {
            period,
            timers: VecDeque::new(),
        }
    }

    /// Waits for the next tick; ticks that are late come as one.
    pub(super) async fn tick(&mut self) {
        std::future::poll_fn(|context| self.poll_tick(context)).await;
    }

    /// [`Self::tick`] for who waits for something else too.
    pub(super) fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let count_before = self.timers.len();
        while let Some(first) = self.timers.front_mut() {
            if Pin::new(first).poll(context).is_pending() {
                break;
            }
            self.timers.pop_front();
        }
        let has_fired = self.timers.len() < count_before;
        for place in (1..=AHEAD_COUNT).skip(self.timers.len()) {
            let mut timer = Timer::new(self.period * place);
            // Polled once, so that the reactor knows it.
            _ = Pin::new(&mut timer).poll(context);
            self.timers.push_back(timer);
        }
        if has_fired {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
