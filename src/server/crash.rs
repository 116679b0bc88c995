//! The last words of a process that has a bug.
//!
//! A panic prints version, core, the command that ran and a backtrace, and ends the process: a
//! shard whose thread is gone must not leave a server that answers for the other half of the
//! keys. A memory fault prints what is safe to print inside a signal handler (signal, address,
//! core, command), then lets the default action make the core dump. Keys and values are never
//! printed.
//!
//! Only the binary installs this: a program that embeds a server keeps its own hooks.
#![expect(unsafe_code, reason = "a SIGSEGV handler is installed and runs here")]

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io;
use std::mem;
use std::panic::PanicHookInfo;

use super::log;
use crate::limits::CRASH_REPORT_S;
use crate::running;

thread_local! {
    /// The core this thread is; -1 elsewhere. Const-initialised and without a destructor, so that
    /// a signal handler may read it.
    static CORE: Cell<i32> = const { Cell::new(-1) };
}

/// Tells the report which core this thread is.
pub(crate) fn set_core(core: u16) {
    CORE.set(i32::from(core));
}

/// Installs the panic hook and the fault handlers.
pub(crate) fn install() -> io::Result<()> {
    std::panic::set_hook(Box::new(report_panic));
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        install_handler(signal)?;
    }
    Ok(())
}

/// Lets the log have its last lines, and makes sure that the process ends although nobody reads stderr.
/// For signal handlers, too.
fn begin_report() {
    log::wait_until_written();
    // SAFETY: alarm is async-signal-safe; nobody catches its signal, which ends the process.
    unsafe { libc::alarm(CRASH_REPORT_S) };
}

fn report_panic(info: &PanicHookInfo<'_>) {
    begin_report();
    eprintln!(
        "coremap: crashed: version {}, {}, command {}: {info}\n{}",
        env!("CARGO_PKG_VERSION"),
        match CORE.get() {
            -1 => "no core".to_owned(),
            core => format!("core {core}"),
        },
        command_text(),
        Backtrace::force_capture(),
    );
    std::process::abort();
}

fn command_text() -> &'static str {
    match running::command() {
        "" => "none",
        name => name,
    }
}

fn install_handler(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sigaction`: no handler, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = report_fault;
    action.sa_sigaction = handler as libc::sighandler_t;
    // ONSTACK: a stack overflow leaves no room on the faulting stack; std gives each thread
    // another. RESETHAND: the signal that the handler raises again takes the default action.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
    // SAFETY: `action` is initialised, and its handler makes async-signal-safe calls only.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn report_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    begin_report();
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    let mut line = Line::new();
    line.text("coremap: crashed: version ");
    line.text(env!("CARGO_PKG_VERSION"));
    line.text(", ");
    line.text(match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        _ => "SIGFPE",
    });
    if info.si_code > 0 {
        // SAFETY: with a positive code the signal comes from a fault, which has an address.
        let address = unsafe { info.si_addr() };
        line.text(" at address 0x");
        line.number(address as usize, 16);
    } else {
        line.text(" sent by a process");
    }
    match usize::try_from(CORE.get()) {
        Ok(core) => {
            line.text(", core ");
            line.number(core, 10);
        }
        Err(_) => line.text(", no core"),
    }
    line.text(", command ");
    line.text(command_text());
    line.text("\n");
    // SAFETY: write is async-signal-safe; pointer and length are those of initialised bytes.
    unsafe {
        libc::write(2, line.bytes.as_ptr().cast::<libc::c_void>(), line.len);
    }
    // SAFETY: raise is async-signal-safe; the signal waits until the handler returns, and then
    // takes the default action, which SA_RESETHAND has restored.
    unsafe { libc::raise(signal) };
}

/// A line put together without allocating: what does not fit is left out.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }

    fn text(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            if let Some(target) = self.bytes.get_mut(self.len) {
                *target = byte;
                self.len += 1;
            }
        }
    }

    fn number(&mut self, mut value: usize, base: usize) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = DIGITS[value % base];
            value /= base;
            if value == 0 {
                break;
            }
        }
        if let Ok(text) = std::str::from_utf8(&digits[start..]) {
            self.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_line_writes_numbers_and_cuts_what_is_too_long() {
        let mut line = Line::new();
        line.text("at 0x");
        line.number(0xdead_beef, 16);
        line.text(" core ");
        line.number(0, 10);
        assert_eq!(&line.bytes[..line.len], b"at 0xdeadbeef core 0");
        line.number(usize::MAX, 10);
        line.text(&"x".repeat(1000));
        assert_eq!(line.len, line.bytes.len());
    }
}
