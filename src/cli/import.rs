//! `coremap import`: the strings of an RDB file, with their expiries, into a running server.
//!
//! The file is read twice. The first time nothing is sent: a file that is damaged anywhere changes
//! nothing. The second time its strings are sent in pipelines, one on its way while the one before
//! is answered. A key that the server has stays as it is unless `--replace` is given.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;

use argh::{ArgsInfo, FromArgs};

use super::client::{Client, Target, append_request};
use super::progress::Progress;
use super::reply::Reply;
use crate::error::Error;
use crate::limits::{BULK_LEN_BYTES_MAX, MIB};
use crate::rdb::{Entry, Fault, Reader, Value};

/// Bytes of the file read at once.
const READ_LEN_BYTES: usize = MIB;
/// Bytes of requests after which they are sent.
const PIPELINE_LEN_BYTES: usize = 256 << 10;
/// Keys of a file between two looks at the bar.
const KEYS_PER_LOOK: u64 = 256;

/// Bring the strings of an RDB file, with their expiries, into a running server. Keys of other types
/// are counted and left out.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// the RDB file
    #[argh(positional)]
    file: String,
    /// host of the server (127.0.0.1)
    #[argh(option, short = 'h', default = "String::from(\"127.0.0.1\")")]
    host: String,
    /// port of the server (6379)
    #[argh(option, short = 'p', default = "6379")]
    port: u16,
    /// unix socket of the server, instead of host and port
    #[argh(option, short = 's')]
    unixsocket: Option<String>,
    /// password; otherwise that in the environment's REDISCLI_AUTH
    #[argh(option, short = 'a')]
    pass: Option<String>,
    /// the file's database to import (0)
    #[argh(option, short = 'n', default = "0")]
    db: u64,
    /// overwrite keys that the server has
    #[argh(switch)]
    replace: bool,
}

/// What became of the keys of a file.
#[derive(Debug, Default)]
struct Tally {
    imported_count: u64,
    kept_count: u64,
    /// By the name of the type.
    other_counts: BTreeMap<&'static str, u64>,
    too_long_count: u64,
    elsewhere_count: u64,
}

impl Import {
    /// Imports, and says what became of the keys.
    ///
    /// # Errors
    /// The file cannot be read or is damaged, the server cannot be reached or refuses a key.
    pub(super) fn run(&self) -> Result<(), Error> {
        self.walk("checking", |_| Ok(()))?;
        let mut sender = Sender {
            client: self.target().connect()?,
            is_replacing: self.replace,
            requests: Vec::new(),
            waiting_count: 0,
            answers_due_count: 0,
            tally: Tally::default(),
        };
        self.walk("importing", |entry| sender.take(entry, self.db))?;
        sender.flush()?;
        sender.await_answers()?;
        print!("{}", sender.tally);
        Ok(())
    }

    fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            unixsocket: self.unixsocket.as_deref(),
            user: None,
            pass: self.pass.as_deref(),
        }
    }

    /// Gives every key of the file to `take`.
    fn walk(
        &self,
        what: &'static str,
        mut take: impl FnMut(&Entry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let cannot = |reason| Error::failed(format!("cannot read {}", self.file), &reason);
        let file = File::open(&self.file).map_err(cannot)?;
        let mut progress = Progress::new(what, file.metadata().map_err(cannot)?.len());
        let fault = |fault: Fault| Error::Failed(format!("{}: {fault}", self.file));
        let input = BufReader::with_capacity(READ_LEN_BYTES, file);
        let mut reader = Reader::new(input).map_err(fault)?;
        let mut key_count = 0_u64;
        while let Some(entry) = reader.next_entry().map_err(fault)? {
            take(&entry)?;
            key_count += 1;
            if key_count.is_multiple_of(KEYS_PER_LOOK) {
                progress.show(reader.offset());
            }
        }
        Ok(())
    }
}

/// The server's end of an import.
struct Sender {
    client: Client,
    is_replacing: bool,
    /// Requests not sent yet, and how many.
    requests: Vec<u8>,
    waiting_count: u64,
    /// Requests sent and not answered yet.
    answers_due_count: u64,
    tally: Tally,
}

impl Sender {
    /// Sends a key, now or later, or counts why not.
    fn take(&mut self, entry: &Entry<'_>, database: u64) -> Result<(), Error> {
        match entry.value {
            _ if entry.database != database => self.tally.elsewhere_count += 1,
            Value::TooLong => self.tally.too_long_count += 1,
            Value::Other(name) => *self.tally.other_counts.entry(name).or_default() += 1,
            Value::String(value) => {
                self.append(entry, value);
                if self.requests.len() >= PIPELINE_LEN_BYTES {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry<'_>, value: &[u8]) {
        // What has expired is sent as well: the server removes what an import replaces.
        let expiry = entry.expires_at_ms.map(|at_ms| at_ms.max(1).to_string());
        let mut arguments: Vec<&[u8]> = vec![b"SET", entry.key, value];
        if let Some(at_ms) = &expiry {
            arguments.extend([b"PXAT", at_ms.as_bytes()]);
        }
        if !self.is_replacing {
            arguments.push(b"NX");
        }
        append_request(&mut self.requests, &arguments);
        self.waiting_count += 1;
    }

    /// Sends what waits, then takes the answers to what was sent before.
    fn flush(&mut self) -> Result<(), Error> {
        self.client.send(&self.requests)?;
        self.requests.clear();
        self.await_answers()?;
        self.answers_due_count = std::mem::take(&mut self.waiting_count);
        Ok(())
    }

    fn await_answers(&mut self) -> Result<(), Error> {
        for _ in 0..std::mem::take(&mut self.answers_due_count) {
            match self.client.receive()? {
                Reply::Null => self.tally.kept_count += 1,
                Reply::Error(text) => {
                    let stored_count = self.tally.imported_count;
                    return Err(Error::Failed(format!(
                        "the server refused a key after it had taken {stored_count}: {}",
                        String::from_utf8_lossy(&text)
                    )));
                }
                _ => self.tally.imported_count += 1,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "imported {} strings", self.imported_count)?;
        if self.kept_count > 0 {
            writeln!(
                formatter,
                "kept     {} keys that the server had already (--replace overwrites them)",
                self.kept_count
            )?;
        }
        for (name, count) in &self.other_counts {
            writeln!(formatter, "skipped  {count} of type {name}")?;
        }
        if self.too_long_count > 0 {
            writeln!(
                formatter,
                "skipped  {} strings of more than {} MiB",
                self.too_long_count,
                BULK_LEN_BYTES_MAX / MIB
            )?;
        }
        if self.elsewhere_count > 0 {
            writeln!(
                formatter,
                "skipped  {} keys of other databases (--db chooses one)",
                self.elsewhere_count
            )?;
        }
        Ok(())
    }
}
