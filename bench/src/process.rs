//! Servers as processes: started on given CPUs, stopped; and the folders they work in.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
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

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        signal_process(self.pid(), signal)
    }

    /// Asks it to end, and waits so long until it has.
    pub(crate) fn end(mut self, patience: Duration) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM)?;
        wait_for(&mut self.child, patience)
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

/// Sends a signal to a process that this one has started.
pub(crate) fn signal_process(pid: u32, signal: Signal) -> Result<(), String> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let id = id.ok_or_else(|| format!("{pid} is no process"))?;
    kill_process(id, signal).map_err(|error| format!("cannot signal process {pid}: {error}"))
}

/// Runs a program to its end, or kills it after `patience`; what it printed.
///
/// # Errors
/// It cannot be started, takes too long, or ends with another status than 0: then with what it
/// complained about. Its output must fit a pipe, 64 KiB.
pub(crate) fn output_of(command: &mut Command, patience: Duration) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let named = |error: String| format!("{name}: {error}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| named(error.to_string()))?;
    wait_for(&mut child, patience).map_err(named)?;
    let output = child.wait_with_output();
    let output = output.map_err(|error| named(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(named(format!("{}: {complaint}", output.status)))
}

/// Waits until a child has ended; kills it after `patience`.
fn wait_for(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let until = clock::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if clock::now() < until => clock::wait(Duration::from_millis(10)),
            Ok(None) => {
                // Both fail only if it has just ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("had not ended after {} s", patience.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// A folder for a server's files; removed, with what is in it, when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder below the system's place for temporary files.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        Self::below(&std::env::temp_dir(), name)
    }

    /// A new folder below another.
    pub(crate) fn below(parent: &Path, name: &str) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coremap-bench-{name}-{}-{number}", std::process::id());
        let path = parent.join(name);
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
    fn a_program_that_fails_or_does_not_end_is_named_with_its_complaint() {
        let shell =
            |script: &str, patience| output_of(Command::new("sh").args(["-c", script]), patience);
        let long = Duration::from_secs(60);
        assert_eq!(shell("echo done", long), Ok("done\n".to_owned()));
        let failed = shell("echo why >&2; exit 3", long).unwrap_err();
        assert!(failed.contains("why") && failed.contains("sh"), "{failed}");
        let hung = shell("exec sleep 60", Duration::from_millis(20)).unwrap_err();
        assert!(hung.contains("had not ended"), "{hung}");
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
