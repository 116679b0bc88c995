//! Servers as child processes: started on a free port, waited for, asked what they use, ended.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::Client;
use super::{PATIENCE, now, scale};

/// The server under test.
pub(crate) fn coremap() -> PathBuf {
    let given = std::env::var_os("COREMAP_TEST_BIN").map(PathBuf::from);
    let built = option_env!("CARGO_BIN_EXE_coremap").map(PathBuf::from);
    given
        .or(built)
        .expect("the package has a binary, or COREMAP_TEST_BIN names one")
}

/// The oracle for replies, if it is installed: a redis-server of version 7.0.
pub(crate) fn redis() -> Option<PathBuf> {
    let output = Command::new("redis-server")
        .arg("--version")
        .output()
        .ok()?;
    let version = String::from_utf8_lossy(&output.stdout);
    version
        .contains("v=7.0.")
        .then(|| PathBuf::from("redis-server"))
}

/// A small program that lets one system call fail by a seccomp filter, as containers do, and then
/// becomes another program. Its arguments: the call's number, the third argument with which it fails (or
/// any), the error's number, and the other program with its own.
const WITHOUT_CALL: &str = r#"
import ctypes, os, struct, sys
call, third, error = sys.argv[1:4]
# unless the call's number, and its third argument, are these: allow; else the error
code = [(0x20, 0, 0, 0), (0x15, 0, 1 if third == "any" else 3, int(call))]
if third != "any":
    code += [(0x20, 0, 0, 32), (0x15, 0, 1, int(third))]
code += [(0x06, 0, 0, 0x00050000 | int(error)), (0x06, 0, 0, 0x7fff0000)]
filter = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(filter)
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0
os.execv(sys.argv[4], sys.argv[4:])
"#;

/// A system call that is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forbidden {
    pub(crate) call: libc::c_long,
    /// Only with this third argument.
    pub(crate) third: Option<libc::c_int>,
    pub(crate) error: libc::c_int,
}

impl Forbidden {
    /// io_uring, as the default profile of Docker forbids it.
    pub(crate) const IO_URING: Self = Self {
        call: libc::SYS_io_uring_setup,
        third: None,
        error: libc::EPERM,
    };

    /// Taking locked pages back, as on kernels before 5.18.
    pub(crate) const RELEASE_LOCKED: Self = Self {
        call: libc::SYS_madvise,
        third: Some(libc::MADV_DONTNEED_LOCKED),
        error: libc::EINVAL,
    };

    /// Arguments of python3 by which it becomes the program under test, without that call; `None` if
    /// there is no python3.
    pub(crate) fn arguments(self, arguments: &[&str]) -> Option<Vec<String>> {
        if Command::new("python3").arg("--version").output().is_err() {
            return None;
        }
        let third = self
            .third
            .map_or("any".to_owned(), |third| third.to_string());
        let (call, error) = (self.call.to_string(), self.error.to_string());
        let program = coremap();
        let program = program.to_str().expect("its path is text");
        let first = ["-c", WITHOUT_CALL, &call, &third, &error, program];
        let all = [&first, arguments].concat();
        Some(all.into_iter().map(str::to_owned).collect())
    }
}

/// A folder that is removed with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(format!("coremap-test-{name}"));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server. Killed when dropped; what it wrote is shown if the test fails.
pub(crate) struct Server {
    process: Process,
    pub(crate) port: u16,
    pub(crate) folder: Folder,
}

impl Server {
    /// Starts the server under test with `--port` and these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_program(&coremap(), arguments)
    }

    /// Starts the oracle, or says that there is none.
    pub(crate) fn start_redis(arguments: &[&str]) -> Option<Self> {
        let Some(program) = redis() else {
            super::skip_because("redis-server 7.0 is not installed");
            return None;
        };
        let own = ["--save", "", "--appendonly", "no", "--databases", "1"];
        Some(Self::start_program(&program, &[&own, arguments].concat()))
    }

    /// Starts the server under test on a given port.
    pub(crate) fn start_on(port: &str, arguments: &[&str]) -> Self {
        let port = port.parse().expect("a port is a number");
        Self::start_program_on(port, &coremap(), arguments)
    }

    /// Starts `program` on a given port.
    pub(crate) fn start_program_on(port: u16, program: &Path, arguments: &[&str]) -> Self {
        Self::try_start(program, port, arguments)
            .unwrap_or_else(|said| panic!("it does not start:\n{said}"))
    }

    /// Starts `program`. A port can be taken between choosing and binding it: then another try.
    pub(crate) fn start_program(program: &Path, arguments: &[&str]) -> Self {
        let mut said = String::new();
        for _ in 0..3 {
            match Self::try_start(program, free_port(), arguments) {
                Ok(server) => return server,
                Err(reason) => said = reason,
            }
        }
        panic!(
            "{} {arguments:?} does not start:\n{said}",
            program.display()
        );
    }

    /// Starts `program` and kills it after `life`, ready or not.
    pub(crate) fn start_in_vain(program: &Path, arguments: &[&str], life: Duration) {
        let folder = Folder::new();
        let port_text = free_port().to_string();
        let all = [arguments, &["--port", &port_text]].concat();
        let mut process = Process::spawn(program, &all, folder.path());
        let until = now() + life;
        while now() < until && process.listen(until.saturating_duration_since(now())) {}
    }

    /// Starts `program` on a given port, or says what it said instead.
    pub(crate) fn try_start(program: &Path, port: u16, arguments: &[&str]) -> Result<Self, String> {
        let folder = Folder::new();
        let port_text = port.to_string();
        let all = [arguments, &["--port", &port_text]].concat();
        let mut process = Process::spawn(program, &all, folder.path());
        let until = now() + PATIENCE;
        loop {
            if Client::try_connect(loopback(port)).is_ok_and(|mut client| client.is_served()) {
                return Ok(Self {
                    process,
                    port,
                    folder,
                });
            }
            if process.has_ended() || now() > until {
                return Err(process.said());
            }
            process.listen(Duration::from_millis(5));
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Waits until a server that answers answers with data.
    pub(crate) fn wait_until_loaded(&self) {
        let mut client = self.client();
        let until = now() + PATIENCE;
        while client.ask("PING") != b"+PONG\r\n" {
            assert!(now() < until, "it is still loading");
            super::pass(Duration::from_millis(1));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Resident memory.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the server runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("it has memory");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("VmRSS is in kB");
        kib * 1024
    }

    /// Open descriptors.
    pub(crate) fn descriptor_count(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("the server runs")
            .count()
    }

    /// CPU time of all threads.
    pub(crate) fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(path).expect("the server runs");
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
        let ticks = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a count"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Sends a signal by name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.pid());
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .is_ok_and(|status| status.success())
        );
    }

    /// Waits for the end; what was written and the exit status.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        self.process.wait()
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the server on port {} said:\n{}",
                self.port,
                self.process.said()
            );
        }
    }
}

/// What a program that ended by itself left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

/// Runs the server under test with exactly these arguments until it ends by itself.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    run_program(&coremap(), arguments)
}

/// Runs a program until it ends by itself.
pub(crate) fn run_program(program: &Path, arguments: &[&str]) -> Ended {
    let folder = Folder::new();
    let (status, said) = Process::spawn(program, arguments, folder.path()).wait();
    Ended {
        code: status.code(),
        said,
    }
}

/// A child whose output is collected.
struct Process {
    child: Child,
    output: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
    said: String,
}

impl Process {
    fn spawn(program: &Path, arguments: &[&str], folder: &Path) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let (sender, output) = channel();
        let mut readers = Vec::new();
        let pipes: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it is piped")),
            Box::new(child.stderr.take().expect("it is piped")),
        ];
        for mut pipe in pipes {
            let sender = sender.clone();
            readers.push(std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = pipe.read(&mut buffer) {
                    // The receiver goes first only when the test is over.
                    let _ = sender.send(String::from_utf8_lossy(&buffer[..len]).into_owned());
                }
            }));
        }
        Self {
            child,
            output,
            readers,
            said: String::new(),
        }
    }

    /// Takes in what the child writes, for at most `patience`; false when its pipes are closed.
    fn listen(&mut self, patience: Duration) -> bool {
        match self.output.recv_timeout(patience) {
            Ok(text) => self.said += &text,
            Err(error) => return error == RecvTimeoutError::Timeout,
        }
        true
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Everything the child has written so far.
    fn said(&mut self) -> String {
        self.said.extend(self.output.try_iter());
        self.said.clone()
    }

    fn wait(&mut self) -> (ExitStatus, String) {
        let until = now() + scale(PATIENCE, 20 * PATIENCE);
        while self.listen(Duration::from_millis(100)) {
            assert!(
                now() < until,
                "the process does not end; it said:\n{}",
                self.said
            );
        }
        let status = self.child.wait().expect("the child can be waited for");
        (status, self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// A port below the range that outgoing connections use, free a moment ago.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500).expect("below 500") * 20;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
