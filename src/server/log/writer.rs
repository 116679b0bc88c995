//! The thread that writes the log's lines, so that nobody else waits for a disk or for a reader of stderr.
//!
//! ```text
//!   a core, a signal, a thread ──► queue, bounded ──► thread ──► stderr or a file
//!                                    └─ full: the line is counted, and the count written later
//! ```
//!
//! **Nothing is lost at the end.** Who ends the process, in order or with a crash report, first lets a
//! moment pass until all is written ([`wait_until_written`]). Only what nobody takes is given up then.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::error::Error;
use crate::limits::{LOG_FLUSH_MS, LOG_QUEUE_LEN};
use crate::server::clock::rest;
use crate::sys;

/// Lines of the process that wait to be written. Of all its logs: who reports a crash knows none of them.
static UNWRITTEN_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Waits until every line is written, for [`LOG_FLUSH_MS`] at most. It takes no lock and allocates
/// nothing, so a signal handler may wait, too.
pub(in crate::server) fn wait_until_written() {
    for _ in 0..LOG_FLUSH_MS {
        if UNWRITTEN_COUNT.load(Ordering::Acquire) == 0 {
            return;
        }
        rest(Duration::from_millis(1));
    }
}

/// The way to the thread, which ends when this is dropped and all is written.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// Lines that found no room.
    left_out_count: u64,
    is_closed: bool,
}

impl Writer {
    /// Starts the thread. `left_out` makes the line that says how many were not written.
    pub(super) fn start(
        file: Option<File>,
        left_out: impl Fn(u64) -> String + Send + 'static,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::default());
        let reader = Arc::clone(&queue);
        let run = move || {
            sys::wake_without_preempting();
            while let Some((line, left_out_count)) = reader.next() {
                put(file.as_ref(), &line);
                if left_out_count > 0 {
                    put(file.as_ref(), &left_out(left_out_count));
                }
                UNWRITTEN_COUNT.fetch_sub(1, Ordering::Release);
            }
        };
        Builder::new()
            .name("log".to_owned())
            .spawn(run)
            .map_err(|error| Error::start("cannot start the log's thread", &error))?;
        Ok(Self { queue })
    }

    /// Has a line written, unless too many wait already.
    pub(super) fn push(&self, line: String) {
        let mut state = self.queue.lock();
        if state.lines.len() >= LOG_QUEUE_LEN {
            state.left_out_count += 1;
            return;
        }
        UNWRITTEN_COUNT.fetch_add(1, Ordering::Relaxed);
        state.lines.push_back(line);
        drop(state);
        self.queue.arrived.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.arrived.notify_one();
    }
}

impl Queue {
    /// The next line, and how many were left out behind those that wait; none at the end.
    fn next(&self) -> Option<(String, u64)> {
        let is_idle = |state: &mut State| state.lines.is_empty() && !state.is_closed;
        let state = self.arrived.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.pop_front()?;
        let is_last = state.lines.is_empty();
        let left_out_count = if is_last {
            std::mem::take(&mut state.left_out_count)
        } else {
            0
        };
        Some((line, left_out_count))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A holder that panics has ended the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line in one call, so that those of several writers do not mix. There is nowhere to complain.
fn put(file: Option<&File>, line: &str) {
    _ = match file {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    #[test]
    fn whoever_writes_to_a_log_that_nobody_reads_goes_on_and_the_reader_hears_how_much_is_missing()
    {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let pipe = File::from(OwnedFd::from(pipe));
        let writer = Writer::start(Some(pipe), |count| format!("{count} left out\n")).unwrap();
        // More than the pipe and the queue hold.
        let line_count = 4 * LOG_QUEUE_LEN;
        for number in 0..line_count {
            writer.push(format!("{number:0>200}\n"));
        }
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        // How much the thread has taken before the pipe was full is its own affair.
        let (numbers, notes): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.len() == 200);
        let numbers: Vec<usize> = numbers.iter().map(|line| line.parse().unwrap()).collect();
        assert!(numbers[0] == 0 && numbers.is_sorted_by(|a, b| a < b));
        let left_out = |note: &&str| -> usize {
            let count = note.strip_suffix(" left out").unwrap();
            count.parse().unwrap()
        };
        let missing_count: usize = notes.iter().map(left_out).sum();
        assert!(missing_count > 0);
        assert_eq!(missing_count + numbers.len(), line_count);
    }
}
