//! A full disk: writes get an error, everything else goes on, and space that returns is used. And one that
//! takes nothing any more.
//!
//! The disk is a small tmpfs in a mount namespace of its own, which a process holds open and the servers
//! enter; it needs no rights beyond those to make a namespace, and is gone with that process. Where
//! the system allows no namespaces the tests say so.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::client::{Client, Value, decode, request};
use common::process::{Folder, Server, coremap, run_program};
use common::{PATIENCE, now, skip_because};

/// What the small disk holds, in MiB.
const DISK_MIB: usize = 64;
/// What lies on it at first besides the data, in MiB.
const BALLAST_MIB: usize = 24;
/// Bytes of a value.
const VALUE_LEN_BYTES: usize = 1_000;
/// Commands of a pipeline.
const BATCH_LEN: usize = 100;

/// A small disk, mounted at `folder` for those who enter.
struct Disk {
    holder: Child,
    folder: Folder,
}

impl Disk {
    /// None where the system does not allow it.
    fn mount() -> Option<Self> {
        let folder = Folder::new();
        let path = folder.path().to_str().expect("the path is text");
        let script = format!(
            "mount -t tmpfs -o size={DISK_MIB}m tmpfs {path} && \
             head -c {BALLAST_MIB}M /dev/zero > {path}/ballast && echo mounted && exec sleep 600"
        );
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let output = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(output).read_line(&mut line);
        let disk = Self { holder, folder };
        (read.is_ok() && line == "mounted\n").then_some(disk)
    }

    /// The arguments that run a program where the disk is mounted.
    fn entering(&self, program: &Path, arguments: &[&str]) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let entry = ["--preserve-credentials", "--user", "--mount", "--target"];
        let program = program.to_str().expect("the path is text");
        let words = entry.iter().copied().chain([holder.as_str(), program]);
        words
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    fn start(&self) -> Server {
        let path = self.folder.path().to_str().expect("the path is text");
        let arguments = ["--dir", path, "--shards", "2", "--maxmemory", "512mb"];
        let arguments = self.entering(&coremap(), &arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::start_program(Path::new("nsenter"), &arguments);
        server.wait_until_loaded();
        server
    }

    /// Takes the ballast away.
    fn make_room(&self) {
        let ballast = self.folder.path().join("ballast");
        let ballast = ballast.to_str().expect("the path is text");
        let arguments = self.entering(Path::new("rm"), &[ballast]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = run_program(Path::new("nsenter"), &arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Which keys are known to be there: those from `first` on, but for those before `next`.
struct Written {
    first: usize,
    next: usize,
}

fn key(number: usize) -> String {
    format!("key:{number:08}")
}

fn value(number: usize) -> Vec<u8> {
    let mark = format!("{number}.");
    mark.bytes().cycle().take(VALUE_LEN_BYTES).collect()
}

impl Written {
    /// Writes new keys until one is refused; the refusal.
    fn write_until_refused(&mut self, client: &mut Client) -> String {
        loop {
            let batch = self.next..self.next + BATCH_LEN;
            let requests = batch
                .clone()
                .flat_map(|number| request(&[&b"SET"[..], key(number).as_bytes(), &value(number)]));
            client.send(&requests.collect::<Vec<u8>>());
            let replies: Vec<Vec<u8>> = batch.map(|_| client.reply()).collect();
            let taken_count = replies.iter().filter(|reply| *reply == b"+OK\r\n").count();
            let is_prefix = replies[..taken_count]
                .iter()
                .all(|reply| reply == b"+OK\r\n");
            if taken_count < BATCH_LEN {
                // The two shards need not fill up at once; keys behind the first refusal are not counted.
                let refusal = replies.iter().find(|reply| reply[0] == b'-');
                let refusal = refusal.expect("one was refused").escape_ascii().to_string();
                let kept = replies.iter().take_while(|reply| reply[0] == b'+').count();
                self.forget_from(client, self.next + kept, self.next + BATCH_LEN);
                self.next += kept;
                assert!(is_prefix || kept < taken_count);
                return refusal;
            }
            self.next += BATCH_LEN;
        }
    }

    /// Removes what was written behind a refusal.
    fn forget_from(&self, client: &mut Client, from: usize, until: usize) {
        for number in from..until {
            let reply = client.ask_with(&["DEL", &key(number)]);
            assert!(reply[0] == b':', "{}", reply.escape_ascii());
        }
    }

    /// Removes the oldest keys.
    fn remove(&mut self, client: &mut Client, count: usize) {
        for number in self.first..self.first + count {
            assert_eq!(client.ask_with(&["DEL", &key(number)]), b":1\r\n");
        }
        self.first += count;
    }

    /// Reads everything.
    fn check(&self, client: &mut Client) {
        for first in (0..self.next).step_by(BATCH_LEN) {
            let batch = first..self.next.min(first + BATCH_LEN);
            let requests = batch
                .clone()
                .flat_map(|number| request(&["GET", &key(number)]));
            client.send(&requests.collect::<Vec<u8>>());
            for number in batch {
                let due = match number >= self.first {
                    true => Value::Bytes(value(number)),
                    false => Value::Null,
                };
                let found = decode(&client.reply()).expect("it is whole").0;
                assert!(found == due, "{} is wrong: {found:?}", key(number));
            }
        }
        client.expect("DBSIZE", &format!(":{}\\r\\n", self.next - self.first));
    }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_room() {
    let Some(disk) = Disk::mount() else {
        return skip_because("there are no namespaces to mount a small disk in");
    };
    let server = disk.start();
    let mut client = server.client();
    let mut written = Written { first: 0, next: 0 };
    let refusal = written.write_until_refused(&mut client);
    assert!(refusal.starts_with("-MISCONF "), "{refusal}");
    let taken_mib = written.next * VALUE_LEN_BYTES / (1 << 20);
    assert!(taken_mib > (DISK_MIB - BALLAST_MIB) / 2, "{taken_mib} MiB");
    written.check(&mut client);

    // Removing needs no room that is not kept for it.
    written.remove(&mut client, 2_000);
    written.check(&mut client);

    // What was refused left nothing behind, and what was removed makes room or at least no trouble.
    written.write_until_refused(&mut client);
    written.check(&mut client);

    // Room that others leave is used.
    disk.make_room();
    let before = written.next;
    let until = now() + PATIENCE;
    while written.next < before + 5_000 {
        assert!(now() < until, "it does not heal");
        written.write_until_refused(&mut client);
    }
    written.check(&mut client);

    // Neither is anything lost by the next server, which finds the disk full again.
    drop(server);
    let server = disk.start();
    let mut client = server.client();
    written.check(&mut client);
    written.remove(&mut client, 5_000);
    drop(server);
    written.check(&mut disk.start().client());
}

/// Changes what system calls of the server do, as strace's `inject=` says; none, and the test is skipped,
/// where that is not possible. The tracer ends with the server.
fn tamper(server: &Server, inject: &str) -> Option<Child> {
    let tracer = Command::new("strace")
        .args(["-f", "-e", &format!("inject={inject}"), "-e"])
        .args(["trace=fdatasync,msync,sync_file_range", "-p"])
        .arg(server.pid().to_string())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tracer) = tracer else {
        skip_because("strace is not installed");
        return None;
    };
    let said = tracer.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(said).lines();
    let is_attached = lines.any(|line| line.is_ok_and(|line| line.contains(" attached")));
    if !is_attached {
        // It has ended: there is nobody to wait for but itself.
        let _ = tracer.wait();
        skip_because("strace may not attach");
        return None;
    }
    // It writes a line for each call, and ends with the server.
    std::thread::spawn(move || lines.for_each(drop));
    Some(tracer)
}

/// They were refused as if eviction were off, or kept the core for as long as they could wait.
#[test]
fn writes_that_are_faster_than_the_disk_wait_for_it_while_keys_are_evicted() {
    let folder = Folder::new();
    let path = folder.path().to_str().expect("the path is text");
    let arguments = ["--dir", path, "--shards", "2", "--maxmemory", "64mb"];
    let policy = ["--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&[&arguments[..], &policy].concat());
    server.wait_until_loaded();
    let Some(mut tracer) = tamper(&server, "fdatasync,msync:delay_enter=100000") else {
        return;
    };
    let (mut client, value) = (server.client(), "v".repeat(VALUE_LEN_BYTES));
    for first in (0..200_000).step_by(BATCH_LEN) {
        let set = |number: usize| request(&["SET", &format!("key:{number}"), &value]);
        let batch: Vec<u8> = (first..first + BATCH_LEN).flat_map(set).collect();
        client.send(&batch);
        client.expect_bytes(&b"+OK\r\n".repeat(BATCH_LEN));
    }
    // Who reads does not wait.
    client.send(b"PING\r\n");
    client.expect_bytes(b"+PONG\r\n");
    drop(server);
    let _ = tracer.wait();
}

/// The server ended with a crash report, as if the fault were its own.
#[test]
fn a_disk_that_takes_nothing_ends_the_server_with_the_reason() {
    let folder = Folder::new();
    let path = folder.path().to_str().expect("the path is text");
    let arguments = ["--dir", path, "--appendfsync", "always", "--shards", "2"];
    let server = Server::start(&[&arguments[..], &["--maxmemory", "512mb"]].concat());
    server.wait_until_loaded();
    let mut client = server.client();
    client.expect("SET kept 1", "+OK\\r\\n");
    let Some(mut tracer) = tamper(&server, "fdatasync,msync,sync_file_range:error=EROFS") else {
        return;
    };
    client.send(b"SET lost 1\r\n");
    assert_eq!(client.rest(), b"", "it is not acknowledged");
    let (status, said) = server.wait();
    let _ = tracer.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    let line = " warning the disk did not take what was written: Read-only file system";
    assert!(said.contains(line) && !said.contains("crashed"), "{said}");
    let server = Server::start(&[&arguments[..], &["--maxmemory", "512mb"]].concat());
    server.wait_until_loaded();
    server.client().expect("GET kept", "$1\\r\\n1\\r\\n");
}
