//! Which command this thread runs now, for the crash report.
//!
//! A report is written from a panic hook or a signal handler, which can borrow nothing; so whoever
//! runs a command leaves its name where the report finds it. That costs one store to thread-local
//! memory per command.

use std::cell::Cell;

thread_local! {
    /// Const-initialised and without a destructor, so that a signal handler may read it.
    static COMMAND: Cell<&'static str> = const { Cell::new("") };
}

/// Notes the command that is about to run; "" when it is done.
#[inline]
pub fn set_command(name: &'static str) {
    COMMAND.set(name);
}

/// The name last noted on this thread.
#[must_use]
pub fn command() -> &'static str {
    COMMAND.get()
}
