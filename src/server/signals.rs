//! Signals: the first SIGTERM or SIGINT stops the server in order, the second one at once.
//!
//! The signals are blocked before any other thread exists, so that every thread inherits the
//! mask, and one thread takes them with sigwait: no handler runs, nothing has to be
//! async-signal-safe. SIGHUP is ignored (there is nothing to reload), SIGPIPE too.
//!
//! Only the binary uses this: a program that embeds a server keeps its own signals.
#![expect(unsafe_code, reason = "signal masks and sigwait have no safe wrapper")]

use std::io;
use std::mem;

/// The signals that end the server, blocked in the calling thread and all it will start.
#[derive(Debug)]
pub(crate) struct EndSignals(libc::sigset_t);

/// Which signal came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndSignal {
    /// A service manager or `kill` asks.
    Terminate,
    /// Control-C.
    Interrupt,
}

impl EndSignal {
    /// Its name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EndSignal::Terminate => "SIGTERM",
            EndSignal::Interrupt => "SIGINT",
        }
    }
}

impl EndSignals {
    /// Blocks the signals. Call it before the first thread is started.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid `sigset_t`, and sigemptyset makes it the empty set.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` outlives the calls, and both numbers are valid signals.
        unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
        }
        // SAFETY: `set` is initialised; a null pointer means that the old mask is not wanted.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: SIG_IGN is a disposition, not a handler: no code of ours runs.
        unsafe {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        }
        Ok(Self(set))
    }

    /// Waits for the next of them.
    pub(crate) fn wait(&self) -> EndSignal {
        loop {
            let mut signal = 0;
            // SAFETY: the set is initialised and `signal` outlives the call.
            let result = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
            match (result, signal) {
                (0, libc::SIGTERM) => return EndSignal::Terminate,
                (0, libc::SIGINT) => return EndSignal::Interrupt,
                // Interrupted (a debugger attached): wait again.
                _ => {}
            }
        }
    }
}
