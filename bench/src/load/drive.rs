//! One thread of a run: its connections and its event loop.
//!
//! Closed: a connection sends its next batch when the last reply of the one before has arrived.
//! What a batch took says nothing about requests that would have come meanwhile.
//!
//! Open: commands are due at times that no reply can delay, and go to the connections in turn. A
//! command's latency counts from when it was due. If its connection has too many unanswered
//! commands, or the thread is late, the command is sent late and its wait counts. What was due
//! and is unsent when the run ends counts with the time that it waited so far.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, READ_LEN_BYTES};
use super::pace::Schedule;
use super::record::{NS_PER_S, Recorder};

/// How long an event loop waits at most before it looks around.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// A server that answers nothing for this long is taken for hung.
const SILENCE_NS_MAX: u64 = 30 * NS_PER_S;
/// The system wakes a thread up to a millisecond late: what is due sooner is awaited awake.
const WAKE_NS_MAX: u64 = 2_000_000;

/// One thread's part of a run.
pub(crate) struct Driver<'a> {
    poll: Poll,
    events: Events,
    connections: Vec<Connection<'a>>,
    buffer: Vec<u8>,
    recorder: Recorder,
    /// Most unanswered commands of a connection.
    pipeline: usize,
    /// Commands issued and not yet answered, on all connections.
    unanswered_count: usize,
    heard_at_ns: u64,
    has_failed: &'a AtomicBool,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        mut connections: Vec<Connection<'a>>,
        recorder: Recorder,
        pipeline: usize,
        has_failed: &'a AtomicBool,
    ) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| error.to_string())?;
        for (place, connection) in connections.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut connection.socket, Token(place), interest)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(connections.len().max(1)),
            connections,
            buffer: vec![0; READ_LEN_BYTES],
            heard_at_ns: recorder.window.now_ns(),
            recorder,
            pipeline,
            unanswered_count: 0,
            has_failed,
        })
    }

    /// Batch after batch, until the window ends or every command was issued and answered.
    pub(crate) fn run_closed(mut self) -> Result<(), String> {
        let mut started_ns = vec![0; self.connections.len()];
        for (place, start_ns) in started_ns.iter_mut().enumerate() {
            *start_ns = self.begin_batch(place)?;
        }
        while self.unanswered_count > 0 && !self.has_failed() {
            for place in self.wait(POLL_TIMEOUT)? {
                if self.connections[place].unanswered_count() == 0 {
                    continue;
                }
                let (now_ns, _) = self.receive(place)?;
                if self.connections[place].unanswered_count() == 0 {
                    self.recorder.answered(started_ns[place], now_ns);
                    started_ns[place] = self.begin_batch(place)?;
                }
            }
        }
        self.finish();
        Ok(())
    }

    /// Sends a connection's next batch, if there is one; when that began.
    fn begin_batch(&mut self, place: usize) -> Result<u64, String> {
        let now_ns = self.recorder.window.now_ns();
        if now_ns < self.recorder.window.until_ns {
            self.issue(place, self.pipeline);
            self.connections[place].send()?;
        }
        Ok(now_ns)
    }

    /// Command after command as the schedule says, then the replies that are missing.
    pub(crate) fn run_open(mut self, mut schedule: Schedule) -> Result<(), String> {
        let mut due_ns = vec![VecDeque::new(); self.connections.len()];
        let mut turn = 0;
        let mut is_over = false;
        let until_ns = self.recorder.window.until_ns;
        let mut touched = Vec::new();
        while !self.has_failed() {
            let now_ns = self.recorder.window.now_ns();
            self.recorder.roll(now_ns);
            let mut is_held_back = false;
            while !is_over && schedule.due_ns() <= now_ns.min(until_ns - 1) {
                let Some(place) = self.next_with_room(turn) else {
                    is_held_back = true;
                    break;
                };
                turn = place + 1;
                self.recorder.issued(schedule.due_ns(), now_ns);
                due_ns[place].push_back(schedule.due_ns());
                self.issue(place, 1);
                touched.push(place);
                schedule.advance();
            }
            for place in touched.drain(..) {
                self.connections[place].send()?;
            }
            if !is_over && now_ns >= until_ns {
                while schedule.due_ns() < until_ns {
                    self.recorder.unsent(schedule.due_ns(), now_ns);
                    schedule.advance();
                }
                is_over = true;
            }
            is_over |= is_held_back && self.connections.iter().all(Connection::is_issued);
            if is_over && self.unanswered_count == 0 {
                break;
            }
            let is_waiting = is_over || is_held_back;
            let next_ns = if is_waiting {
                u64::MAX
            } else {
                schedule.due_ns()
            };
            for place in self.wait(time_to_sleep(next_ns, now_ns))? {
                let (now_ns, count) = self.receive(place)?;
                for due_ns in due_ns[place].drain(..count) {
                    self.recorder.answered(due_ns, now_ns);
                }
            }
        }
        self.finish();
        Ok(())
    }

    /// The first connection from `turn` on that may have one more unanswered command.
    fn next_with_room(&self, turn: usize) -> Option<usize> {
        let count = self.connections.len();
        (turn..turn + count)
            .map(|place| place % count)
            .find(|place| self.connections[*place].has_room(self.pipeline))
    }

    fn issue(&mut self, place: usize, wanted_count: usize) {
        self.unanswered_count += self.connections[place].issue(wanted_count);
    }

    /// Waits for events, sends where that is possible again; the connections that have replies.
    fn wait(&mut self, timeout: Duration) -> Result<Vec<usize>, String> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error.to_string());
            }
            _ => {}
        }
        let now_ns = self.recorder.window.now_ns();
        self.recorder.roll(now_ns);
        if !self.events.is_empty() || self.unanswered_count == 0 {
            self.heard_at_ns = now_ns;
        } else if now_ns - self.heard_at_ns > SILENCE_NS_MAX {
            return Err(format!(
                "no reply for {} s to {} commands",
                SILENCE_NS_MAX / NS_PER_S,
                self.unanswered_count
            ));
        }
        if self.events.is_empty() && timeout.is_zero() {
            std::thread::yield_now(); // the server may be on this CPU
        }
        let mut readable = Vec::with_capacity(self.connections.len());
        for event in &self.events {
            let place = event.token().0;
            if event.is_writable() {
                self.connections[place].send()?;
            }
            if event.is_readable() {
                readable.push(place);
            }
        }
        Ok(readable)
    }

    /// Reads what a connection has; when that was, and how many replies it was.
    fn receive(&mut self, place: usize) -> Result<(u64, usize), String> {
        let tally = self.connections[place].receive(&mut self.buffer)?;
        let now_ns = self.recorder.window.now_ns();
        self.recorder.count(now_ns, tally);
        let count = usize::try_from(tally.reply_count).expect("at most a pipeline");
        self.unanswered_count -= count;
        Ok((now_ns, count))
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Hands over the last interval, and shows the first error that was answered.
    fn finish(self) {
        let error = self.connections.iter().find_map(Connection::first_error);
        if let Some(error) = error {
            eprintln!("the server answered {error}");
        }
        self.recorder.finish();
    }
}

/// How long to wait for events before something is due; zero if it must be awaited awake.
fn time_to_sleep(due_ns: u64, now_ns: u64) -> Duration {
    let gap_ns = due_ns.saturating_sub(now_ns);
    if gap_ns < WAKE_NS_MAX {
        Duration::ZERO
    } else {
        Duration::from_nanos(gap_ns - WAKE_NS_MAX).min(POLL_TIMEOUT)
    }
}
