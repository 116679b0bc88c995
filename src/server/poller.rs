//! The task of a core that looks: at its sockets, and at what other cores sent. It also is where
//! the core sleeps.
//!
//! ```text
//!        ┌───────────── something happened: wake who it is for ◄───────────┐
//!        ▼                                                                 │
//!   let the others run ──► exchange ──► has anybody run? ── yes ──► look ──┤
//!        ▲                                   │ no                          │
//!        │                                   ▼                             │
//!        │                     arm the doorbell, sleep in the look ────────┤
//!        │                                   │ silence                     │
//!        └───── ready ◄── sleep in the runtime, which knows of timers      │
//!                                            └─────────────────────────────┘
//! ```
//!
//! **Why not the runtime.** It can do all this, at the price of a poll per receive and of about ten
//! system calls and one interrupt to every other core for a sleep. A core that shares the work with
//! others sleeps every few requests, and then that is most of what a request costs (the figures are
//! in `bench/results/2026-11-21-wakes`). So while a core has work it sleeps here, in one call. After
//! [`SILENCE_MS`] without any it leaves the sleeping to the runtime, where its timers can wake it.
//!
//! **Nobody waits behind a sleep.** The run queue is first in, first out. This task puts itself at
//! its end; if no other task was polled until it is its turn again, the queue is empty. Only a
//! socket, a doorbell or a timer can change that, and timers are late by the silence at most.
//!
//! **A doorbell is armed only for a sleep**, so that a core that is awake is never woken. Other
//! threads must ring it: the runtime's own way of waking a task from another thread is not seen in
//! time by a core that sleeps here. A core that spins (`spin-us`) is awake, too.

use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_io::AsyncRead;

use super::clock::{self, Moment};
use super::connection::ConnectionTask;
use super::control::Mail;
use super::engine::{Engine, Stage};
use super::readiness::{Events, Look};
use super::socket;
use crate::limits::{ROUND_PATIENCE_MS, SILENCE_MS};

/// Looks and sleeps until the core ends.
pub(super) async fn run(engine: Rc<Engine>) {
    let mut events = Events::new();
    let mut spin = Spin::default();
    let linger = Duration::from_micros(engine.lane.borrow().core().settings.linger_us);
    loop {
        let polls = engine.poll_count();
        engine.yield_now().await;
        read_mail(&engine);
        let is_busy = engine.exchange() || engine.poll_count() != polls;
        let may_sleep =
            !spin.goes_on(&engine, is_busy) && !is_busy && engine.lane.borrow_mut().arm_doorbell();
        let wants_round = may_sleep && engine.lane.borrow().wants_round();
        let patience_ms = match (may_sleep, wants_round) {
            (false, _) => 0,
            (true, true) => ROUND_PATIENCE_MS,
            (true, false) => SILENCE_MS,
        };
        let look = engine
            .readiness
            .look(&mut events, Duration::from_millis(patience_ms));
        if may_sleep {
            if look != Look::Found && !wants_round {
                something(&engine).await;
            }
            let mut lane = engine.lane.borrow_mut();
            lane.disarm_doorbell();
            if look != Look::Found {
                lane.ask_for_round();
            }
            lane.core_mut().stats.sleeps += 1;
        }
        for event in events.iter() {
            engine.tell(event);
        }
        if !linger.is_zero() && may_sleep && look == Look::Found {
            wait_for_more(&engine, &mut events, linger);
        }
    }
}

/// Lets some time pass after the core was woken, and takes what arrived meanwhile, so that one wake serves
/// all of it (`linger-us`). Nobody is served before that: a core with little to do adds as much to the
/// latency of every request.
fn wait_for_more(engine: &Engine, events: &mut Events, linger: Duration) {
    clock::rest(linger);
    engine.readiness.look(events, Duration::ZERO);
    for event in events.iter() {
        engine.tell(event);
    }
}

/// Looking on without work for a moment, at most what `spin-us` says: to sleep and to be woken takes
/// longer than the next request where many are on their way.
///
/// It goes on only while it pays. A silence that ended in time earns credit and one that did not takes
/// half as much away: to look on in vain costs about half of the sleep that is saved otherwise.
/// Without credit one silence in [`Self::PROBE_SILENCE_COUNT`] is tried, so a core with little to do sleeps
/// as if there were none of this. Each look lets other threads of the CPU run: where the client
/// shares it, that is who has the next request.
#[derive(Default)]
struct Spin {
    /// When the core was first seen without work, if it is to look on.
    since: Option<Moment>,
    is_idle: bool,
    credit: u32,
    silence_count: u32,
}

impl Spin {
    const CREDIT_MAX: u32 = 16;
    const PROBE_SILENCE_COUNT: u32 = 16;

    /// Whether a core that has nothing to do should look again instead of sleeping.
    fn goes_on(&mut self, engine: &Engine, is_busy: bool) -> bool {
        let spin_us = engine.lane.borrow().core().settings.spin_us;
        if is_busy {
            if self.since.take().is_some() {
                self.credit = (self.credit + 2).min(Self::CREDIT_MAX);
            }
            self.is_idle = false;
            return false;
        }
        if !self.is_idle {
            self.is_idle = true;
            self.silence_count = self.silence_count.wrapping_add(1);
            let is_tried =
                self.credit > 0 || self.silence_count.is_multiple_of(Self::PROBE_SILENCE_COUNT);
            self.since = (spin_us > 0 && is_tried).then(|| engine.moment());
        }
        let Some(since) = self.since else {
            return false;
        };
        if engine.moment().us_since(since) >= spin_us {
            self.credit = self.credit.saturating_sub(1);
            self.since = None;
            return false;
        }
        std::thread::yield_now();
        true
    }
}

/// Takes what other threads handed over, and the order to stop.
fn read_mail(engine: &Rc<Engine>) {
    for mail in engine.control.take_mail(engine.id) {
        match mail {
            Mail::Connection(handed) => ConnectionTask::spawn(engine, handed),
            Mail::Shard { shard, installed } => {
                engine.lane.borrow_mut().install(*shard);
                // Nobody waits any more when the start was given up.
                _ = installed.send(engine.id);
            }
            // Nobody waits for answers any more once the server stops.
            Mail::Question { is_watched, answer } => {
                _ = answer.send(engine.answer(is_watched));
            }
            Mail::Settings { settings, taken } => engine.reload(&settings, &taken),
        }
    }
    if engine.control.is_stopping() {
        engine.enter(Stage::Stopping);
    }
}

/// Waits, in the runtime, until a look would find something or a task of this core asks for one.
async fn something(engine: &Engine) {
    // A stream polls for readiness as soon as it is made. Receiving from a set then fails, which
    // is fine: that it was tried says that the poll has fired.
    let Ok(watched) = engine.readiness.as_fd().try_clone_to_owned() else {
        return; // Out of descriptors: look again instead, a silence at a time.
    };
    let mut stream = socket::into_stream(watched);
    std::future::poll_fn(
        |context| match Pin::new(&mut stream).poll_read(context, &mut [0]) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => engine.attention.poll(context),
        },
    )
    .await;
}
