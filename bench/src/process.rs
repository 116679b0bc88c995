//! Servers as processes: started on a given CPU, stopped.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::clock;

/// How long a server may take to answer after it was started.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts `program` with `arguments` and a free port on `cpu` and waits until it answers.
    pub(crate) fn start(program: &Path, arguments: &[&str], cpu: usize) -> Result<Self, String> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(arguments).args(["--port", &port.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A child inherits the CPUs of the thread that starts it, so one is started that is pinned.
        let spawned = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                pin(cpu)?;
                command
                    .spawn()
                    .map_err(|error| format!("cannot start {}: {error}", program.display()))
            });
            starter
                .join()
                .map_err(|_| "the starting thread panicked".to_owned())?
        });
        let mut server = Self {
            child: spawned?,
            address: format!("127.0.0.1:{port}"),
        };
        server.wait_until_it_answers(program)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_answers(&mut self, program: &Path) -> Result<(), String> {
        let until = clock::now() + START_TIME_MAX;
        while TcpStream::connect(&self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended at once: {status}", program.display()));
            }
            if clock::now() > until {
                return Err(format!(
                    "{} does not answer on {}",
                    program.display(),
                    self.address
                ));
            }
            clock::wait(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) -> Result<(), String> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(format!("cannot run on CPU {cpu}"))
    }
}

/// The CPUs of a list such as `1` or `0,2`.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    text.split(',')
        .map(|cpu| {
            cpu.trim()
                .parse()
                .map_err(|_| format!("`{text}` is not a list of CPUs"))
        })
        .collect()
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_or_refused() {
        assert_eq!(cpu_list("0, 3"), Ok(vec![0, 3]));
        assert!(cpu_list("a").is_err());
    }
}
