//! Signals: the first SIGTERM or SIGINT stops the server in order, the second one at once; SIGHUP has
//! it read its settings again (`reload`).
//!
//! The signals are blocked before any other thread exists, so that every thread inherits the
//! mask, and one thread takes them with sigwait: no handler runs, nothing has to be
//! async-signal-safe. SIGPIPE is ignored.
//!
//! Only the binary uses this: a program that embeds a server keeps its own signals.
#![expect(unsafe_code, reason = "signal masks and sigwait have no safe wrapper")]

use std::io;
use std::mem;

/// The signals that the server obeys, blocked in the calling thread and all it will start.
#[derive(Debug)]
pub(crate) struct Signals(libc::sigset_t);

/// Which signal came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caught {
    /// The end: a service manager or `kill` asks, or somebody has typed control-C. With the signal's
    /// name for the log.
    End(&'static str),
    /// The settings are to be read again.
    Reload,
}

impl Signals {
    /// Blocks the signals. Call it before the first thread is started.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid `sigset_t`, and sigemptyset makes it the empty set.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` outlives the calls, and both numbers are valid signals.
        unsafe {
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::sigaddset(&raw mut set, libc::SIGHUP);
        }
        // SAFETY: `set` is initialised; a null pointer means that the old mask is not wanted.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: SIG_IGN is a disposition, not a handler: no code of ours runs.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        Ok(Self(set))
    }

    /// Waits for the next of them.
    pub(crate) fn wait(&self) -> Caught {
        loop {
            let mut signal = 0;
            // SAFETY: the set is initialised and `signal` outlives the call.
            let result = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
            match (result, signal) {
                (0, libc::SIGTERM) => return Caught::End("SIGTERM"),
                (0, libc::SIGINT) => return Caught::End("SIGINT"),
                (0, libc::SIGHUP) => return Caught::Reload,
                // Interrupted (a debugger attached): wait again.
                _ => {}
            }
        }
    }
}
