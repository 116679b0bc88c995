//! What goes on beside the load: each job in a thread of its own, again and again until the load ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::Signal;

use super::client::{self, Client};
use crate::process::{self, Folder};
use crate::table::Table;
use crate::{clock, usage};

/// How long a program may take to copy or to verify the data.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(120);
/// How long the cores may take to have new settings.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_STEP: Duration = Duration::from_millis(10);

/// Something that is done over and over.
pub(super) struct Job<'a> {
    pub(super) name: &'static str,
    pub(super) every: Duration,
    pub(super) run: Box<dyn FnMut() -> Result<(), String> + Send + 'a>,
}

/// What became of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: &'static str,
    pub(super) done_count: u64,
    pub(super) failed_count: u64,
    pub(super) first_failure: Option<String>,
}

/// Runs the jobs for as long as `load` takes; a job that is at it then is let finish.
pub(super) fn beside<T>(jobs: Vec<Job<'_>>, load: impl FnOnce() -> T) -> (T, Vec<Account>) {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        // Nothing is ever sent: a job ends when its sender is gone.
        let mut senders = Vec::new();
        for job in jobs {
            let (sender, ended) = mpsc::channel();
            senders.push(sender);
            threads.push(scope.spawn(move || job.repeat(&ended)));
        }
        let loaded = load();
        drop(senders);
        let join = |thread: std::thread::ScopedJoinHandle<'_, Account>| {
            thread.join().expect("a job returns its failures")
        };
        (loaded, threads.into_iter().map(join).collect())
    })
}

impl Job<'_> {
    /// Again and again at even distances, at once when it is late; until `ended`.
    fn repeat(mut self, ended: &Receiver<()>) -> Account {
        let mut account = Account {
            name: self.name,
            ..Account::default()
        };
        let mut next_at = clock::now() + self.every;
        loop {
            let left = next_at.saturating_duration_since(clock::now());
            if ended.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return account;
            }
            account.done_count += 1;
            if let Err(error) = (self.run)() {
                eprintln!("{}: {error}", self.name);
                account.failed_count += 1;
                account.first_failure.get_or_insert(error);
            }
            next_at = (next_at + self.every).max(clock::now());
        }
    }
}

/// Columns of what a sample notes. A wait for the disk and one for a CPU look alike to a client; the last
/// three tell them apart.
const SAMPLE_COLUMNS: &str = "at_s,resident_bytes,anonymous_bytes,used_memory_bytes,descriptors,\
    connected_clients,turn_longest_us,sync_longest_us,cpu_wait_us";
const NS_PER_US: u64 = 1_000;

/// An empty table for [`Sampler::sample`].
pub(super) fn samples() -> Table {
    Table::new(SAMPLE_COLUMNS)
}

/// Notes what a server holds, and how long it was held up since it was asked last.
pub(super) struct Sampler<'a> {
    pid: u32,
    client: Client,
    samples: &'a mut Table,
    /// By thread: how long it had waited for a CPU until then.
    waited: BTreeMap<u32, u64>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(pid: u32, client: Client, samples: &'a mut Table) -> Self {
        Self {
            pid,
            client,
            samples,
            waited: usage::cpu_waits_ns(pid),
        }
    }

    /// One line, `at_s` seconds since the load began. The server's longest waits begin anew.
    pub(super) fn sample(&mut self, at_s: f64) -> Result<(), String> {
        let info = self.client.ask(&["INFO"])?;
        self.client.ask(&["CONFIG", "RESETSTAT"])?;
        let waited = usage::cpu_waits_ns(self.pid);
        let since = |(thread, ns): (&u32, &u64)| ns - self.waited.get(thread).unwrap_or(ns);
        let wait_ns = waited.iter().map(since).max().unwrap_or(0);
        self.waited = waited;
        let number = |name| client::field(&info, name);
        self.samples.push(&format!(
            "{at_s:.1},{},{},{},{},{},{},{},{}",
            usage::rss_bytes(self.pid)?,
            usage::anonymous_bytes(self.pid)?,
            number("used_memory")?,
            usage::descriptor_count(self.pid)?,
            number("connected_clients")?,
            number("coremap_turn_longest_us")?,
            number("coremap_sync_longest_us")?,
            wait_ns / NS_PER_US,
        ))
    }
}

/// Fetches the metrics, which must come whole.
pub(super) fn scrape(address: &str) -> Result<(), String> {
    let fetch = || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(client::PATIENCE))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    };
    let text: String = fetch().map_err(|error: std::io::Error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let is_whole = head.lines().any(|line| {
        let len = line.strip_prefix("Content-Length: ");
        len.is_some_and(|len| len.parse() == Ok(body.len()))
    });
    if head.starts_with("HTTP/1.1 200 ") && is_whole && !body.is_empty() {
        return Ok(());
    }
    Err(format!("{} bytes under {head:?}", body.len()))
}

/// Changes a setting in the file back and forth, tells the server, and waits until it has it.
#[derive(Clone, Debug)]
pub(super) struct Reloads {
    pub(super) pid: u32,
    pub(super) address: String,
    pub(super) file: PathBuf,
    /// The file without the setting.
    pub(super) text: String,
    pub(super) setting: &'static str,
    /// The value that is in force, and the other.
    pub(super) values: [&'static str; 2],
}

impl Reloads {
    /// Writes the file with the value that is to be in force.
    pub(super) fn write(&self) -> Result<(), String> {
        let text = format!("{}{} {}\n", self.text, self.setting, self.values[0]);
        let named = |error| format!("{}: {error}", self.file.display());
        std::fs::write(&self.file, text).map_err(named)
    }

    pub(super) fn next(&mut self) -> Result<(), String> {
        self.values.swap(0, 1);
        self.write()?;
        process::signal_process(self.pid, Signal::HUP)?;
        let mut client = Client::connect(&self.address)?;
        let wanted = format!("{}\n{}", self.setting, self.values[0]);
        let until = clock::now() + RELOAD_PATIENCE;
        while client.ask(&["CONFIG", "GET", self.setting])? != wanted {
            if clock::now() > until {
                return Err(format!("SIGHUP has not brought {wanted:?}"));
            }
            clock::wait(LOOK_STEP);
        }
        Ok(())
    }
}

/// Copies the data of the running server, verifies the copy, and removes it.
pub(super) fn back_up(program: &Path, port: &str, parent: &Path) -> Result<(), String> {
    let folder = Folder::below(parent, "backup")?;
    let copy = folder.path().join("copy");
    let mut backup = Command::new(program);
    backup.arg("backup").arg(&copy).args(["--port", port]);
    process::output_of(&mut backup, PROGRAM_PATIENCE)?;
    verify(program, &copy)
}

/// Verifies a data directory that no server uses.
pub(super) fn verify(program: &Path, directory: &Path) -> Result<(), String> {
    let mut check = Command::new(program);
    process::output_of(check.arg("check").arg(directory), PROGRAM_PATIENCE).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_go_on_for_as_long_as_the_load_and_their_failures_are_counted() {
        let (sender, done) = mpsc::channel();
        let failing = Job {
            name: "failing",
            every: Duration::from_millis(1),
            run: Box::new(move || {
                sender.send(()).map_err(|error| error.to_string())?;
                Err("first".to_owned())
            }),
        };
        let idle = Job {
            name: "idle",
            every: Duration::from_secs(3600),
            run: Box::new(|| Ok(())),
        };
        let wait_for_three = || (0..3).filter(|_| done.recv().is_ok()).count();
        let (count, accounts) = beside(vec![failing, idle], wait_for_three);
        assert_eq!(count, 3);
        let [failing, idle] = &accounts[..] else {
            panic!("{accounts:?}");
        };
        assert!(failing.failed_count >= 3 && failing.failed_count == failing.done_count);
        assert_eq!(failing.first_failure.as_deref(), Some("first"));
        assert_eq!((idle.done_count, idle.failed_count), (0, 0));
    }

    #[test]
    fn a_scrape_that_is_cut_or_refused_is_a_failure() {
        let answered = |answer: &'static str| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let _ = socket.read(&mut request).unwrap();
                socket.write_all(answer.as_bytes()).unwrap();
            });
            let outcome = scrape(&address);
            server.join().unwrap();
            outcome
        };
        assert_eq!(
            answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\n"),
            Ok(())
        );
        assert!(answered("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na\n").is_err());
        assert!(answered("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\na\n").is_err());
        assert!(answered("").is_err());
    }
}
