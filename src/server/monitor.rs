//! The thread that tells a service manager how the server is: readiness, a line of status, and that
//! every core makes progress.
//!
//! ```text
//!   ask every core ──► doorbell, mail ──► its poller answers ──► heard by all ──► WATCHDOG=1, ask again
//!                                            └─ none from one core: silence, and the manager acts
//! ```
//!
//! **What progress is.** A question is mail, which a core's poller reads, and the poller stands at the end
//! of the core's run queue: who answers has let every task that was runnable run. So a core in an
//! endless turn is silent, and an idle one answers: the question wakes it, once a second at most.
//! What waits for others is no failure: a client that does not read, a sync that is slow.
//!
//! A server without a manager has no such thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::control::{Answer, Control};
use super::notify::Notifier;
use crate::atomic::{AtomicBool, Ordering};
use crate::command::{Figures, Shared};
use crate::error::Error;
use crate::limits::{BEAT_MS_MAX, BEATS_PER_WATCHDOG, EXTEND_TIMEOUT_US, MIB, SILENT_BEATS_MAX};
use crate::sys;

/// The thread; dropping this ends it.
#[derive(Debug)]
pub(super) struct Monitor {
    notifier: Arc<Notifier>,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Begins to tell: that data is being loaded, before [`Self::announce_ready`], and then how it goes.
    pub(super) fn start(
        notifier: Arc<Notifier>,
        control: Arc<Control>,
        shared: Arc<Shared>,
        core_cpus: Vec<usize>,
    ) -> Result<Self, Error> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let (answer, answers) = channel();
        let work = Work {
            notifier: Arc::clone(&notifier),
            answers: (0..control.core_count()).map(|_| None).collect(),
            control: Arc::clone(&control),
            shared,
            is_ending: Arc::clone(&is_ending),
            answer,
            incoming: answers,
            is_asked: false,
            silent_beats: 0,
            loaded_bytes: 0,
            status: String::new(),
        };
        let thread = Builder::new()
            .name("monitor".to_owned())
            .spawn(move || {
                sys::keep_off(&core_cpus);
                sys::wake_without_preempting();
                work.run();
            })
            .map_err(|error| Error::start("cannot start the monitoring thread", &error))?;
        control.unpark_at_stop(thread.thread().clone());
        Ok(Self {
            notifier,
            is_ending,
            thread: Some(thread),
        })
    }

    /// Says that the server serves.
    pub(super) fn announce_ready(&self) {
        // The status line comes with the next beat.
        self.notifier.tell_ready();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It holds nothing that anyone needs any more.
            _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Work {
    notifier: Arc<Notifier>,
    control: Arc<Control>,
    shared: Arc<Shared>,
    is_ending: Arc<AtomicBool>,
    /// Goes with each question.
    answer: Sender<Answer>,
    incoming: Receiver<Answer>,
    /// What each core answered to the last question, if it has.
    answers: Vec<Option<Answer>>,
    is_asked: bool,
    /// Beats since the question that not every core has answered.
    silent_beats: u32,
    loaded_bytes: u64,
    /// What was told last.
    status: String,
}

impl Work {
    fn run(mut self) {
        let most = Duration::from_millis(BEAT_MS_MAX);
        let beat = match self.notifier.watchdog() {
            Some(watchdog) => most.min(watchdog / BEATS_PER_WATCHDOG),
            None => most,
        };
        while !self.is_ending.load(Ordering::Acquire) && !self.control.is_stopping() {
            self.beat();
            std::thread::park_timeout(beat);
        }
        if self.control.is_stopping() {
            self.notifier.tell("STOPPING=1\nSTATUS=stopping");
        }
    }

    /// Hears what came in since the last beat, passes it on, and asks again.
    fn beat(&mut self) {
        for answer in self.incoming.try_iter() {
            let core = usize::from(answer.core);
            self.answers[core] = Some(answer);
        }
        let is_loading = self.shared.loading.is_under_way();
        if is_loading {
            self.tell_loading();
        }
        if self.is_asked {
            if self.answers.iter().any(Option::is_none) {
                return self.note_silence();
            }
            if self.notifier.watchdog().is_some() {
                self.notifier.tell("WATCHDOG=1");
            }
            if !is_loading {
                self.tell_work();
            }
        }
        self.ask();
    }

    fn ask(&mut self) {
        self.answers.fill_with(|| None);
        self.is_asked = true;
        self.silent_beats = 0;
        self.control.ask(false, self.answer.clone());
    }

    /// Says once which cores do not answer: the manager may be about to end the process.
    fn note_silence(&mut self) {
        self.silent_beats += 1;
        if self.silent_beats == SILENT_BEATS_MAX {
            let silent = (0..).zip(&self.answers).filter(|(_, it)| it.is_none());
            let silent: Vec<String> = silent.map(|(core, _): (u16, _)| core.to_string()).collect();
            self.control.log.warning(format_args!(
                "no progress for {SILENT_BEATS_MAX} beats on core {}",
                silent.join(", ")
            ));
        }
    }

    /// Loading may take as long as it likes while there is more of it each time.
    fn tell_loading(&mut self) {
        let progress = &self.shared.loading.progress;
        let (done_bytes, total_bytes) = (progress.done_bytes(), progress.total_bytes());
        if done_bytes != self.loaded_bytes {
            self.loaded_bytes = done_bytes;
            self.notifier
                .tell(&format!("EXTEND_TIMEOUT_USEC={EXTEND_TIMEOUT_US}"));
        }
        let mib = MIB as u64;
        self.tell_status(format!(
            "loading: {} of {} MiB",
            done_bytes / mib,
            total_bytes / mib
        ));
    }

    fn tell_work(&mut self) {
        let mut all = Figures::default();
        let answers = self.answers.iter().flatten();
        answers.for_each(|answer| all.merge(&answer.report.figures));
        let (key_count, rate) = (all.shard.key_count, all.stats.commands_per_second);
        self.tell_status(format!("{key_count} keys, {rate} ops/s"));
    }

    /// Tells what is new.
    fn tell_status(&mut self, status: String) {
        if status != self.status {
            self.notifier.tell(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}
