//! A program at a terminal, as somebody sees and types it: util-linux's `script` makes the terminal.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::common::process::coremap;
use crate::common::{PATIENCE, now};

/// A program with a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    output: Receiver<String>,
    /// What has been shown and not been looked for yet.
    shown: String,
}

impl Terminal {
    /// Whether there can be one.
    pub(crate) fn is_available() -> bool {
        Command::new("script").arg("--version").output().is_ok()
    }

    /// Starts `coremap cli` with these arguments and `home` as its home.
    pub(crate) fn start(arguments: &str, home: &Path) -> Self {
        let command = format!("'{}' cli {arguments}", coremap().display());
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                &command,
                "/dev/null",
            ])
            .env("HOME", home)
            .env("TERM", "xterm")
            .env_remove("XDG_STATE_HOME")
            .env_remove("COREMAP_HISTFILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script can be started");
        let keyboard = child.stdin.take().expect("it is piped");
        let mut screen = child.stdout.take().expect("it is piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut buffer) {
                // The receiver goes first when the test is over.
                let _ = sender.send(String::from_utf8_lossy(&buffer[..len]).into_owned());
            }
        });
        Self {
            child,
            keyboard,
            output,
            shown: String::new(),
        }
    }

    /// Types keys.
    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is there");
    }

    /// Waits until a text is shown. Before a control key that is the prompt: without one the terminal
    /// itself would act on it.
    pub(crate) fn expect(&mut self, text: &str) {
        let until = now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let is_open = self.listen();
            assert!(is_open && now() < until, "no {text:?} in {:?}", self.shown);
        }
    }

    /// Takes in what is shown; false when there will be no more.
    fn listen(&mut self) -> bool {
        match self.output.recv_timeout(Duration::from_millis(100)) {
            Ok(more) => self.shown += &more,
            Err(reason) => return reason == RecvTimeoutError::Timeout,
        }
        true
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        self.type_keys(&format!("{line}\r"));
    }

    /// Waits for the end; its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let until = now() + PATIENCE;
        while self.listen() {
            assert!(now() < until, "it does not end: {:?}", self.shown);
        }
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
