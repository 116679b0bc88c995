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
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

use super::accept::Listener;
use super::clock::{Clock, Moment};
use super::control::{Answer, Control, Mail, Taken};
use super::readiness::{Event, Interest, Readiness, Watched};
use super::signal::Signal;
use super::socket;
use crate::command::{self, Delay, Now, Settings};
use crate::lane::{self, ConnectionId, Lane, Turn};
use crate::limits::REACTOR_PASS_INTERVAL_US;
use crate::sys;

/// One core, shared by its tasks.
pub(super) struct Engine {
    pub(super) id: u16,
    pub(super) control: Arc<Control>,
    pub(super) lane: RefCell<Lane>,
    clock: RefCell<Clock>,
    /// The sockets of the core: listeners, connections, the end of its doorbell that listens.
    pub(super) readiness: Readiness,
    doorbell: OwnedFd,
    /// By the index of the connection.
    reaches: RefCell<Vec<Option<Reach>>>,
    connection_count: Cell<usize>,
    /// Calls for an exchange.
    pub(super) attention: Signal,
    /// How often tasks were polled, the poller not counted.
    poll_count: Cell<u64>,
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
    timers: RefCell<Vec<lane::Timer>>,
}

/// What the rest of the server gives an engine.
pub(super) struct EngineParts {
    pub(super) id: u16,
    pub(super) control: Arc<Control>,
    /// Watches the doorbell and the listeners.
    pub(super) readiness: Readiness,
    /// The end of the core's doorbell that listens.
    pub(super) doorbell: OwnedFd,
    pub(super) listeners: Vec<Listener>,
}

/// How to reach a connection's task, and what its socket has told.
struct Reach {
    waker: Waker,
    /// Something arrived since a receive last took all there was.
    is_readable: bool,
    /// The peer has ended the connection.
    is_ended: bool,
    /// What wakes it at the time it asked for last, and ends with it.
    timer: Option<glommio::Task<()>>,
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
    pub(super) fn new(parts: EngineParts, lane: Lane) -> Rc<Self> {
        let clock = Clock::new();
        let EngineParts {
            id,
            control,
            readiness,
            doorbell,
            listeners,
        } = parts;
        Rc::new(Self {
            readiness,
            doorbell,
            id,
            control,
            lane: RefCell::new(lane),
            last_pass: Cell::new(clock.moment()),
            clock: RefCell::new(clock),
            reaches: RefCell::default(),
            connection_count: Cell::new(0),
            attention: Signal::default(),
            poll_count: Cell::new(0),
            background: Signal::default(),
            work: Signal::default(),
            has_worked: Cell::new(false),
            stop: Signal::default(),
            stage: Cell::new(Stage::Running),
            listeners: RefCell::new(listeners.into_iter().map(Rc::new).collect()),
            pacer: Signal::default(),
            paused: RefCell::default(),
            is_pass_due: Cell::new(false),
            ready: RefCell::default(),
            second: Cell::new(0),
            lingering: RefCell::default(),
            rings: RefCell::default(),
            timers: RefCell::default(),
        })
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn moment(&self) -> Moment {
        self.clock.borrow().moment()
    }

    pub(super) fn now(&self) -> Now {
        let clock = self.clock.borrow();
        clock.now(clock.moment())
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

    /// Runs one connection's turn.
    pub(super) fn turn(&self, id: ConnectionId) -> Turn {
        let clock = self.clock.borrow();
        let started = clock.moment();
        let now = clock.now(started);
        let elapsed_ns = || clock.moment().ns_since(started);
        self.lane.borrow_mut().timed_turn(id, now, &elapsed_ns)
    }

    /// Serves other cores and takes what came back; true if anything was done.
    pub(super) fn exchange(&self) -> bool {
        let has_worked = self.exchange_if_due();
        if has_worked {
            self.note_work();
        }
        self.pass_on();
        has_worked
    }

    /// Nearly always nothing is due, and then the clock is not read either.
    fn exchange_if_due(&self) -> bool {
        let is_due = self.lane.borrow_mut().must_exchange();
        is_due && self.timed(Delay::Exchange, Lane::timed_exchange)
    }

    /// After a turn: messages of other cores, wakes, doorbells.
    pub(super) fn after_turn(&self) {
        let wants_round = self.lane.borrow().wants_round();
        if self.exchange_if_due() || wants_round {
            // There will be more: the poller goes on and the peers need not ring. It also is who
            // asks for a round, when there is nothing else to do.
            self.attention.set();
        }
        self.pass_on();
    }

    /// Runs one step of background work; true if there is more.
    pub(super) fn background_step(&self) -> bool {
        self.timed(Delay::Background, |lane, now, _| lane.background(now))
    }

    /// How long until a key expires, about; none if none will.
    pub(super) fn until_expiry(&self) -> Option<Duration> {
        let due_ms = self.lane.borrow().next_expiry_ms()?;
        Some(Duration::from_millis(
            due_ms.saturating_sub(self.now().ms()),
        ))
    }

    /// How the core is.
    pub(super) fn answer(&self, is_watched: bool) -> Answer {
        let now = self.now();
        Answer {
            core: self.id,
            report: self.lane.borrow_mut().report(is_watched, now),
            cpu_ns: sys::thread_cpu_ns(),
        }
    }

    /// Takes settings, and has the other cores do so if this is the first that does.
    pub(super) fn reload(&self, settings: &Arc<Settings>, taken: &Sender<Taken>) {
        let outcome = self.lane.borrow_mut().reload(settings);
        let hands_on = command::is_leader(self.lane.borrow().core()) && outcome.is_ok();
        // Its answer is the first. Nobody waits any more once the server stops, or when a core is late.
        _ = taken.send((self.id, outcome));
        if hands_on {
            for core in 1..self.control.core_count() {
                let (settings, taken) = (Arc::clone(settings), taken.clone());
                let mail = Mail::Settings { settings, taken };
                self.control.hand_over(core, mail);
            }
        }
    }

    /// Disconnects who was silent for too long.
    pub(super) fn sweep(&self) {
        let now = self.now();
        self.lane.borrow_mut().sweep(now);
        self.pass_on();
    }

    /// Runs something else than a turn, which may ask how long it has taken so far, and notes how long it took.
    fn timed(
        &self,
        event: Delay,
        run: impl FnOnce(&mut Lane, Now, &dyn Fn() -> u64) -> bool,
    ) -> bool {
        let clock = self.clock.borrow();
        let started = clock.moment();
        let now = clock.now(started);
        let elapsed_ns = || clock.moment().ns_since(started);
        let mut lane = self.lane.borrow_mut();
        let result = run(&mut lane, now, &elapsed_ns);
        lane.note_time(event, now, elapsed_ns());
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
            lane.take_timers(&mut self.timers.borrow_mut());
            if std::mem::take(&mut lane.core_mut().wants_stop) {
                self.control.stop();
            }
        }
        self.set_timers();
        for core in rings.drain(..) {
            self.control.ring(core);
        }
        for id in ready.drain(..) {
            self.wake(id);
        }
    }

    /// Wakes the connections that asked for it when it is time.
    fn set_timers(&self) {
        for timer in self.timers.borrow_mut().drain(..) {
            let mut reaches = self.reaches.borrow_mut();
            let Some(Some(reach)) = reaches.get_mut(timer.connection.index()) else {
                continue;
            };
            let waker = reach.waker.clone();
            // A millisecond more than is left, of which a part is over: not before it is due.
            let left_ms = timer.due_ms.saturating_sub(self.now().ms()) + 1;
            reach.timer = Some(glommio::spawn_local(async move {
                Timer::new(Duration::from_millis(left_ms)).await;
                waker.wake();
            }));
        }
    }

    fn wake(&self, id: ConnectionId) {
        if let Some(Some(reach)) = self.reaches.borrow().get(id.index()) {
            reach.waker.wake_by_ref();
        }
    }

    // ── connections ─────────────────────────────────────────────────────────────────────────────

    /// Counts a connection of this core.
    pub(super) fn add_connection(&self) {
        self.connection_count.set(self.connection_count.get() + 1);
    }

    /// Remembers how to wake a connection, and watches its socket; once, when its task first runs.
    pub(super) fn watch_connection(
        &self,
        id: ConnectionId,
        socket: BorrowedFd<'_>,
        waker: &Waker,
    ) -> io::Result<()> {
        let mut reaches = self.reaches.borrow_mut();
        if reaches.len() <= id.index() {
            reaches.resize_with(id.index() + 1, || None);
        }
        reaches[id.index()] = Some(Reach {
            waker: waker.clone(),
            is_readable: false,
            is_ended: false,
            timer: None,
        });
        self.readiness
            .watch(socket, Watched::Connection(id.index()))
    }

    /// Changes what a connection's socket is watched for.
    pub(super) fn rewatch_connection(
        &self,
        id: ConnectionId,
        socket: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        let watched = Watched::Connection(id.index());
        self.readiness.rewatch(socket, watched, interest)
    }

    /// Whether a receive would bring something: bytes or the end.
    pub(super) fn is_readable(&self, id: ConnectionId) -> bool {
        let reaches = self.reaches.borrow();
        let reach = reaches[id.index()].as_ref();
        reach.is_some_and(|reach| reach.is_readable || reach.is_ended)
    }

    /// Takes note that a receive took all there was.
    pub(super) fn clear_readable(&self, id: ConnectionId) {
        if let Some(reach) = &mut self.reaches.borrow_mut()[id.index()] {
            reach.is_readable = false;
        }
    }

    /// Passes on what has happened at a socket.
    pub(super) fn tell(&self, event: Event) {
        match event.watched {
            Watched::Connection(index) => {
                if let Some(Some(reach)) = self.reaches.borrow_mut().get_mut(index) {
                    reach.is_readable |= event.is_readable;
                    reach.is_ended |= event.is_ended;
                    reach.waker.wake_by_ref();
                }
            }
            Watched::Listener(index) => {
                if let Some(listener) = self.listeners.borrow().get(index) {
                    listener.arrival.set();
                }
            }
            Watched::Doorbell => {
                // All rings, or a bell that stays full would ring no more.
                let mut rings = [0; 64];
                while socket::receive(self.doorbell.as_fd(), &mut rings).is_ok_and(|len| len > 0) {}
            }
        }
    }

    /// Forgets a connection whose socket is about to close.
    pub(super) fn remove_connection(&self, id: ConnectionId) {
        self.reaches.borrow_mut()[id.index()] = None;
        {
            let mut lane = self.lane.borrow_mut();
            lane.disconnect(id);
            lane.core().shared.release(self.id);
        }
        self.connection_count.set(self.connection_count.get() - 1);
        // It may have left work: batches to be given up, values to unpin, a plan to finish.
        self.attention.set();
        self.note_work();
    }

    pub(super) fn connection_count(&self) -> usize {
        self.connection_count.get()
    }

    /// Wakes every connection, to look at the stage.
    fn wake_connections(&self) {
        for reach in self.reaches.borrow().iter().flatten() {
            reach.waker.wake_by_ref();
        }
    }

    // ── stopping ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The listeners; none once the core stops.
    pub(super) fn listeners(&self) -> Vec<Rc<Listener>> {
        self.listeners.borrow().clone()
    }

    /// Goes to a later stage.
    pub(super) fn enter(&self, stage: Stage) {
        if stage <= self.stage.get() {
            return;
        }
        self.stage.set(stage);
        // Now, and not when its task has let go of it. An inherited one goes on to queue connections
        // for whoever is next.
        for listener in self.listeners.take() {
            if !listener.is_inherited {
                socket::shutdown(listener.socket.as_fd());
            }
            listener.arrival.set();
        }
        self.wake_connections();
        self.stop.set();
    }

    // ── tasks ───────────────────────────────────────────────────────────────────────────────────

    /// Starts a task of this core.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(self.counted(task)).detach();
    }

    /// Counts how often a future is polled, so that the poller knows whether it is alone.
    pub(super) fn counted<F: Future>(
        self: &Rc<Self>,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let engine = Rc::clone(self);
        let mut future = Box::pin(future);
        std::future::poll_fn(move |context| {
            engine.poll_count.set(engine.poll_count.get() + 1);
            future.as_mut().poll(context)
        })
    }

    pub(super) fn poll_count(&self) -> u64 {
        self.poll_count.get()
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
