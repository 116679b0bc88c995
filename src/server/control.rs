//! What the cores' threads and the one that started them share: mailboxes, doorbells, the order
//! to stop. None of it is on a request's path.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;

use super::log::Log;
use super::socket;
use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::command::{Report, Settings};
use crate::shard::Shard;

/// What a core is given by another thread.
#[derive(Debug)]
pub(super) enum Mail {
    /// A connection to serve.
    Connection(Handed),
    /// The keys it owns, loaded.
    Shard {
        shard: Box<Shard>,
        /// Where it says that it has them.
        installed: Sender<u16>,
    },
    /// Settings, of which those that can change now are to be in force: for the first core, which hands
    /// the order on to the others.
    Settings {
        settings: Arc<Settings>,
        /// Where it says which it had otherwise, or why it has taken none.
        taken: Sender<Taken>,
    },
    /// The question how it is.
    Question {
        /// Whether people look, and want to see keys.
        is_watched: bool,
        answer: Sender<Answer>,
    },
}

/// What a core says of itself.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) core: u16,
    pub(super) report: Report,
    /// CPU time of its thread.
    pub(super) cpu_ns: u64,
}

/// The core, and the names of the settings that it had otherwise, or why it has taken none.
pub(super) type Taken = (u16, Result<Vec<&'static str>, String>);

/// A connection on its way to the core that will serve it.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) socket: OwnedFd,
    pub(super) address: Address,
}

/// Who connected, and where.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) peer: String,
    pub(super) local: String,
    pub(super) is_unix: bool,
    pub(super) is_loopback: bool,
}

/// Shared by all threads of one server.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) log: Arc<Log>,
    cores: Vec<Core>,
    is_stopping: AtomicBool,
    /// Cores without connections and batches, while stopping.
    drained_count: AtomicU64,
    /// Woken when the server begins to stop.
    watcher: OnceLock<Thread>,
}

#[derive(Debug)]
struct Core {
    mail: Mutex<VecDeque<Mail>>,
    has_mail: AtomicBool,
    doorbell: OwnedFd,
}

impl Control {
    /// Control of the cores that listen at the other ends of `doorbells`.
    pub(super) fn new(doorbells: Vec<OwnedFd>, log: Arc<Log>) -> Self {
        let core = |doorbell| Core {
            mail: Mutex::default(),
            has_mail: AtomicBool::new(false),
            doorbell,
        };
        Self {
            log,
            cores: doorbells.into_iter().map(core).collect(),
            is_stopping: AtomicBool::new(false),
            drained_count: AtomicU64::new(0),
            watcher: OnceLock::new(),
        }
    }

    /// How many cores there are.
    pub(super) fn core_count(&self) -> u16 {
        u16::try_from(self.cores.len()).expect("limits: a core's number fits 16 bits")
    }

    /// Wakes a core. A doorbell that is full of rings already needs no other.
    pub(super) fn ring(&self, core: u16) {
        _ = socket::send(&self.cores[usize::from(core)].doorbell, &[0]);
    }

    /// Gives a core something.
    pub(super) fn hand_over(&self, core: u16, mail: Mail) {
        let target = &self.cores[usize::from(core)];
        target
            .mail
            .lock()
            .expect("no holder panics")
            .push_back(mail);
        target.has_mail.store(true, Ordering::Release);
        self.ring(core);
    }

    /// Asks every core for its numbers.
    pub(super) fn ask(&self, is_watched: bool, answer: Sender<Answer>) {
        for core in 0..self.core_count() {
            let answer = answer.clone();
            self.hand_over(core, Mail::Question { is_watched, answer });
        }
    }

    /// What a core was given since it last asked.
    pub(super) fn take_mail(&self, core: u16) -> VecDeque<Mail> {
        let core = &self.cores[usize::from(core)];
        if !core.has_mail.swap(false, Ordering::AcqRel) {
            return VecDeque::new();
        }
        std::mem::take(&mut *core.mail.lock().expect("no holder panics"))
    }

    /// Orders all cores to stop.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        for core in 0..self.core_count() {
            self.ring(core);
        }
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }

    /// Has a thread unparked when the server begins to stop; for one thread.
    pub(super) fn unpark_at_stop(&self, thread: Thread) {
        // A second one would be woken late, which nobody asks for.
        _ = self.watcher.set(thread);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Says that a stopping core has nothing left of its own; it still serves the others.
    pub(super) fn note_drained(&self) {
        self.drained_count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether every core has said so.
    pub(super) fn are_all_drained(&self) -> bool {
        self.drained_count.load(Ordering::Acquire) >= self.cores.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_handed_connection_arrives_once_with_a_ring() {
        let (ringer, listener) = socket::doorbell().unwrap();
        let control = Control::new(vec![ringer], Log::none());
        let (socket, _peer) = socket::doorbell().unwrap();
        let address = Address {
            peer: "10.0.0.1:1".to_owned(),
            local: "10.0.0.2:6379".to_owned(),
            is_unix: false,
            is_loopback: false,
        };
        control.hand_over(0, Mail::Connection(Handed { socket, address }));
        assert_eq!(socket::receive(listener.as_fd(), &mut [0; 8]).unwrap(), 1);
        assert_eq!(control.take_mail(0).len(), 1);
        assert_eq!(control.take_mail(0).len(), 0);
    }

    #[test]
    fn a_full_doorbell_does_not_block_who_rings() {
        let (ringer, _listener) = socket::doorbell().unwrap();
        let control = Control::new(vec![ringer], Log::none());
        for _ in 0..100_000 {
            control.ring(0);
        }
        control.stop();
        assert!(control.is_stopping());
    }
}
