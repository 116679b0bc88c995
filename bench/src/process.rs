//! Servers as processes: started on given CPUs, stopped; and the folders they work in.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::clock;

/// How long a server may take to answer after it was started.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a command line on `cpus` and waits until something listens on `port` of loopback.
    pub(crate) fn start(words: &[String], port: u16, cpus: &[usize]) -> Result<Self, String> {
        let (program, arguments) = words.split_first().ok_or("a server needs a command")?;
        let mut command = Command::new(program);
        command.args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A child inherits the CPUs of the thread that starts it, so one is started that is pinned.
        let spawned = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                pin(cpus)?;
                command
                    .spawn()
                    .map_err(|error| format!("cannot start {program}: {error}"))
            });
            starter
                .join()
                .map_err(|_| "the starting thread panicked".to_owned())?
        });
        let mut server = Self {
            child: spawned?,
            address: format!("127.0.0.1:{port}"),
        };
        server.wait_until_it_answers(words)?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_answers(&mut self, words: &[String]) -> Result<(), String> {
        let until = clock::now() + START_TIME_MAX;
        while TcpStream::connect(&self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("`{}` ended at once: {status}", words.join(" ")));
            }
            if clock::now() > until {
                return Err(format!(
                    "`{}` does not answer on {}",
                    words.join(" "),
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

/// A folder for a server's files; removed, with what is in it, when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder below the system's place for temporary files.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coremap-bench-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Restricts the calling thread, and what it will start, to some CPUs.
pub(crate) fn pin(cpus: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(format!("there is no CPU {cpu}"));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| format!("cannot run on CPUs {cpus:?}: {error}"))
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
pub(crate) fn free_port() -> Result<u16, String> {
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
    fn a_folder_goes_away_with_what_is_in_it() {
        let folder = Folder::new("test").unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), b"text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_thread_can_be_pinned_and_no_cpu_is_invented() {
        let pinned = std::thread::spawn(|| (pin(&[0]), pin(&[1 << 20]), pin(&[])));
        let (first, beyond, none) = pinned.join().unwrap();
        assert_eq!(first, Ok(()));
        assert!(beyond.is_err() && none.is_err());
    }

    #[test]
    fn lists_of_cpus_are_read_or_refused() {
        assert_eq!(cpu_list("0, 3"), Ok(vec![0, 3]));
        assert!(cpu_list("a").is_err());
    }
}
