//! The log: one line on stderr for what an operator wants to know, nothing per request.
//!
//! A process has one stderr, so whether it is written to is one switch of the process: on in the
//! binary, off in a program that embeds a server unless its `Config` says otherwise.

use std::fmt;

use crate::atomic::{AtomicBool, Ordering};

static IS_ON: std::sync::LazyLock<AtomicBool> = std::sync::LazyLock::new(|| AtomicBool::new(false));

/// Switches the log on.
pub(super) fn switch_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Writes one line.
pub(super) fn line(message: fmt::Arguments<'_>) {
    if IS_ON.load(Ordering::Relaxed) {
        eprintln!("coremap: {message}");
    }
}
