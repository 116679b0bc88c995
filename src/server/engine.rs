//! One core's lane with what its tasks need around it: clock, wakers, doorbells, turns to yield.
//!
//! All tasks of a core share one `Engine` through an `Rc`. The lane is borrowed for one call at a
//! time and never across an await.
//!
//! **Yielding.** The executor looks at its sockets only when no task is runnable, or when the preempt
//! timer fires. A task that has more to do therefore does not just wake itself: once a core has
//! worked for [`REACTOR_PASS_INTERVAL_US`] without a look, every task that yields waits in `paused`,
//! the run queue drains, the executor looks, and the pacer wakes them all.

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

use super::accept::Listener;
use super::clock::{Clock, Moment};
use super::control::Control;
use super::signal::Signal;
use super::socket;
use crate::command::Now;
use crate::lane::{ConnectionId, Lane, Turn};
use crate::limits::REACTOR_PASS_INTERVAL_US;

/// One core, shared by its tasks.
pub(super) struct Engine {
    pub(super) id: u16,
    pub(super) control: Arc<Control>,
    pub(super) lane: RefCell<Lane>,
    clock: RefCell<Clock>,
    /// By the index of the connection.
    wakers: RefCell<Vec<Option<Waker>>>,
    connection_count: Cell<usize>,
    /// Wakes the inbox task.
    pub(super) inbox: Signal,
    /// Wakes the background task.
    pub(super) background: Signal,
    /// Wakes the guard at the first work after a silence.
    pub(super) work: Signal,
    has_worked: Cell<bool>,
    /// Set once when the server stops.
    pub(super) stop: Signal,
    stage: Cell<Stage>,
    /// Shut down when the core stops.
    listeners: RefCell<Vec<Rc<Listener>>>,
    /// Wakes the pacer.
    pacer: Signal,
    paused: RefCell<Vec<Waker>>,
    is_pass_due: Cell<bool>,
    last_pass: Cell<Moment>,
    ready: RefCell<Vec<ConnectionId>>,
    /// Seconds since the start, as the once-a-second task counts them.
    second: Cell<u64>,
    /// To be woken at the next second.
    lingering: RefCell<Vec<ConnectionId>>,
    rings: RefCell<Vec<u16>>,
}

/// How far a core is on its way to the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    /// Serves.
    Running,
    /// Finishes what was received, then closes each connection.
    Stopping,
    /// Closes connections whatever they still have to send.
    Closing,
}

impl Engine {
    pub(super) fn new(id: u16, control: Arc<Control>, lane: Lane) -> Rc<Self> {
        let clock = Clock::new();
        Rc::new(Self {
            id,
            control,
            lane: RefCell::new(lane),
            last_pass: Cell::new(clock.moment()),
            clock: RefCell::new(clock),
            wakers: RefCell::default(),
            connection_count: Cell::new(0),
            inbox: Signal::default(),
            background: Signal::default(),
            work: Signal::default(),
            has_worked: Cell::new(false),
            stop: Signal::default(),
            stage: Cell::new(Stage::Running),
            listeners: RefCell::default(),
            pacer: Signal::default(),
            paused: RefCell::default(),
            is_pass_due: Cell::new(false),
            ready: RefCell::default(),
            second: Cell::new(0),
            lingering: RefCell::default(),
            rings: RefCell::default(),
        })
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn now(&self) -> Now {
        let clock = self.clock.borrow();
        Now {
            unix_us: clock.unix_us(clock.moment()),
        }
    }

    /// A second has passed: takes the wall clock anew, and wakes those who wait for it.
    pub(super) fn begin_second(&self) {
        self.clock.borrow_mut().synchronize();
        self.second.set(self.second.get() + 1);
        for id in self.lingering.take() {
            self.wake(id);
        }
    }

    pub(super) fn second(&self) -> u64 {
        self.second.get()
    }

    /// Wakes a connection when the next second begins.
    pub(super) fn wake_next_second(&self, id: ConnectionId) {
        self.lingering.borrow_mut().push(id);
    }

    // ── turns ───────────────────────────────────────────────────────────────────────────────────

    /// Runs one connection's turn and notes how long it took.
    pub(super) fn turn(&self, id: ConnectionId) -> Turn {
        self.timed(|lane, now| {
            let turn = lane.turn(id, now);
            lane.core_mut().stats.turns += 1;
            turn
        })
    }

    /// Serves other cores and takes what came back; true if anything was done.
    pub(super) fn exchange(&self) -> bool {
        let has_worked = self.timed(Lane::exchange);
        if has_worked {
            self.note_work();
        }
        self.pass_on();
        has_worked
    }

    /// After a turn: messages of other cores, wakes, doorbells.
    pub(super) fn after_turn(&self) {
        if self.timed(Lane::exchange) {
            // There will be more: the inbox takes over and the peers need not ring.
            self.inbox.set();
        }
        self.pass_on();
    }

    /// Runs one step of background work; true if there is more.
    pub(super) fn background_step(&self) -> bool {
        self.timed(|lane, _now| lane.background())
    }

    /// Disconnects who was silent for too long.
    pub(super) fn sweep(&self) {
        let now = self.now();
        self.lane.borrow_mut().sweep(now);
        self.pass_on();
    }

    fn timed<T>(&self, run: impl FnOnce(&mut Lane, Now) -> T) -> T {
        let clock = self.clock.borrow();
        let started = clock.moment();
        let mut lane = self.lane.borrow_mut();
        let result = run(
            &mut lane,
            Now {
                unix_us: clock.unix_us(started),
            },
        );
        let us = clock.moment().us_since(started);
        let stats = &mut lane.core_mut().stats;
        stats.busy_us += us;
        stats.turn_longest_us = stats.turn_longest_us.max(us);
        result
    }

    /// Wakes connections that can go on and rings cores that sleep on messages.
    fn pass_on(&self) {
        let mut ready = self.ready.borrow_mut();
        let mut rings = self.rings.borrow_mut();
        {
            let mut lane = self.lane.borrow_mut();
            lane.take_ready(&mut ready);
            lane.take_doorbells(&mut rings);
        }
        for core in rings.drain(..) {
            self.control.ring(core);
        }
        for id in ready.drain(..) {
            self.wake(id);
        }
    }

    fn wake(&self, id: ConnectionId) {
        if let Some(Some(waker)) = self.wakers.borrow().get(id.index()) {
            waker.wake_by_ref();
        }
    }

    // ── connections ─────────────────────────────────────────────────────────────────────────────

    /// Counts a connection of this core.
    pub(super) fn add_connection(&self) {
        self.connection_count.set(self.connection_count.get() + 1);
    }

    /// Remembers how to wake a connection; once, when its task first runs.
    pub(super) fn set_waker(&self, id: ConnectionId, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() <= id.index() {
            wakers.resize(id.index() + 1, None);
        }
        wakers[id.index()] = Some(waker.clone());
    }

    /// Forgets a connection whose socket is about to close.
    pub(super) fn remove_connection(&self, id: ConnectionId) {
        self.wakers.borrow_mut()[id.index()] = None;
        {
            let mut lane = self.lane.borrow_mut();
            lane.disconnect(id);
            lane.core().shared.release(self.id);
        }
        self.connection_count.set(self.connection_count.get() - 1);
        // It may have left work: batches to be given up, values to unpin, a plan to finish.
        self.inbox.set();
        self.note_work();
    }

    pub(super) fn connection_count(&self) -> usize {
        self.connection_count.get()
    }

    /// Wakes every connection, to look at the stage.
    fn wake_connections(&self) {
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    // ── stopping ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Keeps a listener, to shut it down when the core stops.
    pub(super) fn add_listener(&self, listener: Listener) -> Rc<Listener> {
        let listener = Rc::new(listener);
        self.listeners.borrow_mut().push(Rc::clone(&listener));
        listener
    }

    /// Goes to a later stage.
    pub(super) fn enter(&self, stage: Stage) {
        if stage <= self.stage.get() {
            return;
        }
        self.stage.set(stage);
        // Closing would not do: the runtime may still hold a poll on the descriptor.
        for listener in self.listeners.take() {
            socket::shutdown(listener.socket.as_fd());
        }
        self.wake_connections();
        self.stop.set();
    }

    // ── work and yielding ───────────────────────────────────────────────────────────────────────

    /// Tells the guard that there is work.
    pub(super) fn note_work(&self) {
        if !self.has_worked.replace(true) {
            self.work.set();
        }
    }

    /// Whether there was work since the last call.
    pub(super) fn take_worked(&self) -> bool {
        self.has_worked.replace(false)
    }

    /// Lets other tasks run, and now and then the reactor, before the task goes on.
    pub(super) fn pause(&self, context: &Context<'_>) {
        if !self.is_pass_due.get() {
            let moment = self.clock.borrow().moment();
            if moment.us_since(self.last_pass.get()) < REACTOR_PASS_INTERVAL_US {
                context.waker().wake_by_ref();
                return;
            }
            self.is_pass_due.set(true);
            self.pacer.set();
        }
        self.paused.borrow_mut().push(context.waker().clone());
    }

    /// [`Self::pause`] for an async function.
    pub(super) async fn yield_now(&self) {
        let mut has_paused = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut has_paused, true) {
                return Poll::Ready(());
            }
            self.pause(context);
            Poll::Pending
        })
        .await;
    }

    /// Wakes the paused tasks once the reactor has had its turn.
    pub(super) async fn pace(&self) {
        loop {
            self.pacer.wait().await;
            // Too short to wait for, long enough not to have passed already: the executor runs
            // out of tasks, looks at its rings, and finds the timer due.
            Timer::new(Duration::from_micros(1)).await;
            self.is_pass_due.set(false);
            self.last_pass.set(self.clock.borrow().moment());
            for waker in self.paused.take() {
                waker.wake();
            }
        }
    }
}
