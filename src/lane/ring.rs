//! A bounded queue between two cores: one producer, one consumer, no lock, no waiting.
//!
//! ```text
//!   producer ──push──► [ p | p | p |   |   |   |   |   ] ──pop──► consumer
//!                        ▲ head          ▲ tail
//! ```
//!
//! What travels is a boxed message, so a push moves eight bytes and the message itself never
//! moves. `tail` counts pushes and is written by the producer alone, `head` counts pops and is
//! written by the consumer alone; each side keeps a copy of the other's counter and reads the
//! shared word only when its copy says full or empty, so in the common case a push and a pop touch
//! no line that the other side writes but the slot itself.
//!
//! Whether a full ring parks a connection or a message is tried again is the caller's business:
//! `push` gives the message back.
#![expect(unsafe_code, reason = "a slot owns a box between its push and its pop")]

use std::sync::Arc;

use crate::atomic::{AtomicPtr, AtomicUsize, CachePadded, Ordering};

/// Makes a ring that holds up to `capacity` messages (a power of two).
pub(crate) fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two());
    let shared = Arc::new(Shared {
        slots: (0..capacity)
            .map(|_| AtomicPtr::new(std::ptr::null_mut()))
            .collect(),
        head: CachePadded(AtomicUsize::new(0)),
        tail: CachePadded(AtomicUsize::new(0)),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: 0,
        head_seen: 0,
    };
    (
        producer,
        Consumer {
            shared,
            head: 0,
            tail_seen: 0,
        },
    )
}

struct Shared<T> {
    slots: Box<[AtomicPtr<T>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

impl<T> Shared<T> {
    /// The slot of the message with this number.
    fn slot(&self, number: usize) -> &AtomicPtr<T> {
        &self.slots[number & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    /// Frees what was pushed and never popped.
    fn drop(&mut self) {
        let (head, tail) = (
            self.head.0.load(Ordering::Acquire),
            self.tail.0.load(Ordering::Acquire),
        );
        for number in head..tail {
            let message = self.slot(number).load(Ordering::Relaxed);
            // SAFETY:
            // 1. from a box: only `push` stores here, and it stores what `Box::into_raw` gave;
            // 2. owned by nobody else: numbers from `head` to `tail` were pushed and not popped,
            //    and both ends are gone.
            drop(unsafe { Box::from_raw(message) });
        }
    }
}

/// The end that pushes.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

impl<T: Send> Producer<T> {
    /// Appends `message`; gives it back when the ring is full.
    pub(crate) fn push(&mut self, message: Box<T>) -> Result<(), Box<T>> {
        if self.tail - self.head_seen == self.shared.slots.len() {
            // Acquire: the consumer is done with the slots it has passed.
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail - self.head_seen == self.shared.slots.len() {
                return Err(message);
            }
        }
        let slot = self.shared.slot(self.tail);
        slot.store(Box::into_raw(message), Ordering::Relaxed);
        self.tail += 1;
        // Release: whoever sees the new tail sees the slot and the message behind it.
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

/// The end that pops.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

impl<T: Send> Consumer<T> {
    /// Whether there is nothing to pop.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            // Acquire: pairs with the push, see there.
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&mut self) -> Option<Box<T>> {
        if self.is_empty() {
            return None;
        }
        let message = self.shared.slot(self.head).load(Ordering::Relaxed);
        self.head += 1;
        // Release: the producer may reuse the slot once it sees the new head.
        self.shared.head.0.store(self.head, Ordering::Release);
        // SAFETY:
        // 1. from a box: only `push` stores into slots, and it stores what `Box::into_raw` gave;
        // 2. owned by nobody else: this number was below `tail`, and `head` has just passed it,
        //    so it is popped once.
        Some(unsafe { Box::from_raw(message) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::ring;

    #[test]
    fn messages_come_out_in_the_order_they_went_in_and_a_full_ring_gives_back() {
        let (mut producer, mut consumer) = ring::<usize>(4);
        for round in 0..5 {
            for number in 0..4 {
                assert!(producer.push(Box::new(round * 4 + number)).is_ok());
            }
            assert_eq!(
                *producer.push(Box::new(99)).expect_err("the ring is full"),
                99
            );
            for number in 0..4 {
                assert_eq!(
                    *consumer.pop().expect("four were pushed"),
                    round * 4 + number
                );
            }
            assert!(consumer.pop().is_none());
        }
    }

    #[test]
    fn a_dropped_ring_frees_what_was_never_popped() {
        let witness = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(8);
        for _ in 0..6 {
            producer
                .push(Box::new(std::sync::Arc::clone(&witness)))
                .expect("there is room");
        }
        drop(consumer.pop());
        drop((producer, consumer));
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    #[test]
    fn two_threads_lose_and_reorder_nothing() {
        const COUNT: usize = 100_000;
        let (mut producer, mut consumer) = ring::<usize>(16);
        let pusher = std::thread::spawn(move || {
            for number in 0..COUNT {
                let mut message = Box::new(number);
                while let Err(back) = producer.push(message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        for number in 0..COUNT {
            let popped = loop {
                match consumer.pop() {
                    Some(popped) => break popped,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(*popped, number);
        }
        pusher.join().expect("the pusher does not panic");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::ring;

    /// Every interleaving of three pushes through a ring of two against as many pops.
    #[test]
    fn every_interleaving_keeps_order_and_loses_nothing() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<usize>(2);
            let pusher = loom::thread::spawn(move || {
                for number in 0..3 {
                    let mut message = Box::new(number);
                    while let Err(back) = producer.push(message) {
                        message = back;
                        loom::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < 3 {
                match consumer.pop() {
                    Some(popped) => {
                        assert_eq!(*popped, expected);
                        expected += 1;
                    }
                    None => loom::thread::yield_now(),
                }
            }
            pusher.join().expect("the pusher does not panic");
        });
    }
}
