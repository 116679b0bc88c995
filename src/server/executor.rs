//! What one core's thread runs, from its first task to its last.
//!
//! ```text
//!   poller   looks and sleeps      accept   per listener      connection   per client
//!   guard    while there is work   cron     once a second     background   while there is any   pacer
//! ```
//!
//! **The guard.** The runtime can put an executor to sleep although a task is runnable: when a
//! completion on its latency ring arrives in the moment between its look at the rings and its look at
//! the run queue, it takes "interrupted" for "nothing to run". If a client waits for the reply and
//! the server for the client, nothing ever wakes it. So while a core has work, a ticker fires every
//! two milliseconds, which bounds such a sleep. Without work it slows down by halves until the
//! once-a-second task is as good, so an idle core does not pay for it, and a sleep is never longer
//! than a fraction of the silence before it. `tests/park.rs` fails without the guard.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement};

use super::accept;
use super::engine::{Engine, EngineParts, Stage};
use super::ticker::Ticker;
use super::{crash, poller, process};
use crate::lane::{Lane, Options};
use crate::limits::{GUARD_IDLE_TICKS_MAX, GUARD_RESERVE_FACTORS, STOP_DEADLINE_MS, STOP_POLL_MS};
use crate::metrics::Sampler;
use crate::sys;

/// The pace of what is done now and then.
const EVERY_SECOND: Duration = Duration::from_secs(1);

/// When a core looks for expired keys, in milliseconds after they are due: once, should no look be
/// lost.
const EXPIRY_TIMERS_MS: [u64; 3] = [0, 8, 64];

/// What a core's thread is given.
pub(super) struct Seat {
    pub(super) cpu: usize,
    pub(super) lane: Options,
    pub(super) engine: EngineParts,
    pub(super) timing: Timing,
    /// Where it says that it serves.
    pub(super) ready: Sender<u16>,
}

/// How an executor is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) ring_depth: u32,
    pub(super) preempt_timer: Duration,
    /// Zero: no guard.
    pub(super) guard_timer: Duration,
}

/// Starts a core's thread.
pub(super) fn spawn(seat: Seat) -> glommio::Result<ExecutorJoinHandle<()>, ()> {
    LocalExecutorBuilder::new(Placement::Fixed(seat.cpu))
        .name("coremap")
        // No file I/O goes through the runtime's buffers; zero is rounded up to what it needs.
        .io_memory(0)
        .ring_depth(seat.timing.ring_depth as usize)
        .preempt_timer(seat.timing.preempt_timer)
        // Or the pool's thread would share the core's CPU.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || run(seat))
}

async fn run(seat: Seat) {
    let core = seat.engine.id;
    crash::set_core(core);
    if seat.lane.core.settings.linger_us > 0 {
        sys::wake_in_time();
    }
    let engine = Engine::new(seat.engine, Lane::new(seat.lane));
    glommio::spawn_local(poller::run(Rc::clone(&engine))).detach();
    engine.spawn(guard(Rc::clone(&engine), seat.timing.guard_timer));
    engine.spawn(once_a_second(Rc::clone(&engine)));
    engine.spawn(work_in_background(Rc::clone(&engine)));
    engine.spawn(pace(Rc::clone(&engine)));
    for listener in engine.listeners() {
        engine.spawn(accept::accept_all(Rc::clone(&engine), listener));
    }
    // Tasks first run in the order they were spawned, so by then all accept and hold what
    // descriptors they keep.
    engine.spawn(async move {
        // Nobody listens any more when the start was given up.
        _ = seat.ready.send(core);
    });
    let end = async {
        engine.stop.wait().await;
        drain(&engine).await;
    };
    engine.counted(end).await;
}

/// Bounds how long the executor can sleep on its work (see above).
async fn guard(engine: Rc<Engine>, period: Duration) {
    if period.is_zero() {
        return;
    }
    loop {
        engine.work.wait().await;
        watch(&engine, period).await;
    }
}

/// Ticks from the first work until a second after the last.
async fn watch(engine: &Engine, base: Duration) {
    let mut period = base;
    let mut ticker = Ticker::new(base);
    // Should the executor fall asleep on every tick that is set, these come later.
    let mut reserves = GUARD_RESERVE_FACTORS.map(|factor| Ticker::new(base * factor));
    let mut idle_ticks = 0;
    while period < EVERY_SECOND {
        let has_ticked = std::future::poll_fn(|context| {
            for reserve in &mut reserves {
                _ = reserve.poll_tick(context);
            }
            if ticker.poll_tick(context).is_ready() {
                return Poll::Ready(true);
            }
            engine.work.poll(context).map(|()| false)
        })
        .await;
        if !has_ticked || engine.take_worked() {
            idle_ticks = 0;
            engine.background.set();
            if period > base {
                period = base;
                ticker = Ticker::new(period);
            }
            continue;
        }
        idle_ticks += 1;
        if idle_ticks == GUARD_IDLE_TICKS_MAX {
            idle_ticks = 0;
            period *= 2;
            ticker = Ticker::new(period);
        }
    }
}

async fn once_a_second(engine: Rc<Engine>) {
    let mut sampler = Sampler::default();
    let mut ticker = Ticker::new(EVERY_SECOND);
    loop {
        ticker.tick().await;
        engine.begin_second();
        engine.sweep();
        engine.background.set();
        let now = engine.now();
        let mut lane = engine.lane.borrow_mut();
        let core = lane.core_mut();
        sampler.sample(&mut core.stats, now.unix_us);
        core.hot_keys.begin_second(core.stats.turns);
        if engine.id == 0 {
            let shared = &lane.core().shared;
            shared.set_process_usage(process::usage());
            shared.note_used(lane.shard().region().used_bytes());
            let log = &engine.control.log;
            log.set_level(&lane.core().settings.loglevel);
            log.settle();
        }
    }
}

async fn work_in_background(engine: Rc<Engine>) {
    loop {
        wait_for_background_work(&engine).await;
        while engine.background_step() {
            engine.yield_now().await;
        }
    }
}

/// Waits until somebody asks for background work or a key expires. The executor may sleep on the
/// timer that has fired (see `ticker`), so others follow it; in the end the once-a-second task asks.
async fn wait_for_background_work(engine: &Engine) {
    let timer_after = |until: Duration, more_ms| Timer::new(until + Duration::from_millis(more_ms));
    let mut timers = engine
        .until_expiry()
        .map(|until| EXPIRY_TIMERS_MS.map(|more_ms| timer_after(until, more_ms)));
    std::future::poll_fn(|context| {
        // All are polled, so that the reactor knows them.
        let mut is_due = false;
        for timer in timers.iter_mut().flatten() {
            is_due |= Pin::new(timer).poll(context).is_ready();
        }
        if is_due {
            return Poll::Ready(());
        }
        engine.background.poll(context)
    })
    .await;
}

async fn pace(engine: Rc<Engine>) {
    engine.pace().await;
}

/// Ends in order: connections finish what was received, then this core's batches come back, and
/// then it serves the others until theirs have.
async fn drain(engine: &Rc<Engine>) {
    wait_for(|| engine.connection_count() == 0).await;
    engine.enter(Stage::Closing);
    wait_for(|| engine.connection_count() == 0 && engine.lane.borrow().is_quiet()).await;
    engine.control.note_drained();
    wait_for(|| engine.control.are_all_drained()).await;
}

/// Waits until something is so, for a few seconds at most.
async fn wait_for(is_so: impl Fn() -> bool) {
    for _ in 0..STOP_DEADLINE_MS / STOP_POLL_MS {
        if is_so() {
            return;
        }
        Timer::new(Duration::from_millis(STOP_POLL_MS)).await;
    }
}
