//! `--pipe`: mass insertion. What comes in goes to the server as it is; replies are only counted.
//!
//! ```text
//!   stdin ==> socket            a thread: as fast as the server takes it
//!   socket ==> count, errors    this one, at the same time: nothing fills up and waits for itself
//! ```
//!
//! The end is recognized by the reply to a command of our own behind the last one: an ECHO of bytes
//! that no other reply has. It begins with an empty line, which ends an unfinished inline command.

use std::fs::File;
use std::io::{self, BufReader, Read, Write, stderr, stdin};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pace::Stopwatch;
use super::session::Session;
use super::{Outcome, Stop};
use crate::cli::client::{Stream, append_request};
use crate::cli::progress::Progress;
use crate::cli::reply::Reply;
use crate::error::Error;
use crate::limits::KIB;

/// Bytes read and sent at once.
const CHUNK_LEN_BYTES: usize = 64 * KIB;
/// How often a wait for replies looks whether it has lasted too long.
const TICK: Duration = Duration::from_millis(250);
/// Bytes of the last command's reply.
const MARK_LEN_BYTES: usize = 20;

/// Sends what comes in, and says what came back.
///
/// # Errors
/// The connection is lost, nothing is answered for `patience`, or replies were errors.
pub(super) fn send_all(
    session: Session<'_>,
    patience: Option<Duration>,
    output: &mut impl Write,
) -> Outcome {
    let (stream, input) = session.into_client()?.split();
    let mark = random_mark()?;
    let is_sent = Arc::new(AtomicBool::new(false));
    stream.set_read_timeout(TICK)?;
    let mut input = BufReader::new(Patient {
        input,
        is_sent: Arc::clone(&is_sent),
        patience,
        heard: Stopwatch::start(),
    });
    let sender = std::thread::spawn(move || {
        let sent = send(stream, &mark);
        is_sent.store(true, Ordering::Release);
        sent
    });
    let mut tally = Tally::default();
    let mut ended = tally.count(&mut input, &mark);
    match &ended {
        Ok(()) => writeln!(output, "Last reply received from server.")?,
        // Why it could not be sent says more than that no more was answered. A sender that still
        // waits for its input ends with this process.
        Err(_) if sender.is_finished() => {
            ended = sender.join().expect("sending does not panic").and(ended);
        }
        Err(_) => {}
    }
    writeln!(
        output,
        "errors: {}, replies: {}",
        tally.error_count, tally.reply_count
    )?;
    output.flush()?;
    ended.map_err(|reason| Stop::Failed(Error::failed("cannot go on", &reason)))?;
    match tally.error_count {
        0 => Ok(()),
        count => Err(Stop::Failed(Error::Failed(format!(
            "{count} of {} commands failed",
            tally.reply_count
        )))),
    }
}

/// Copies stdin to the server, and the command that marks the end.
fn send(mut stream: Stream, mark: &[u8]) -> io::Result<()> {
    let mut input = stdin().lock();
    let mut progress = Progress::new("sending", len_of_stdin());
    let mut chunk = vec![0; CHUNK_LEN_BYTES];
    let mut sent_bytes = 0;
    loop {
        let len = input.read(&mut chunk)?;
        if len == 0 {
            break;
        }
        stream.write_all(&chunk[..len])?;
        sent_bytes += len as u64;
        progress.show(sent_bytes);
    }
    let mut last = b"\r\n".to_vec();
    append_request(&mut last, &[b"ECHO", mark]);
    println!("All data transferred. Waiting for the last reply...");
    stream.write_all(&last)
}

/// The length of stdin if it is a file, else nothing.
fn len_of_stdin() -> Option<u64> {
    let file = File::from(stdin().as_fd().try_clone_to_owned().ok()?);
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}

fn random_mark() -> Result<[u8; MARK_LEN_BYTES], Error> {
    let mut mark = [0; MARK_LEN_BYTES];
    getrandom::fill(&mut mark)
        .map_err(|reason| Error::Failed(format!("the system has no random numbers: {reason}")))?;
    Ok(mark)
}

/// What was answered.
#[derive(Debug, Default)]
struct Tally {
    reply_count: u64,
    error_count: u64,
}

impl Tally {
    /// Counts replies up to that to the last command, and shows errors.
    fn count(&mut self, input: &mut impl io::BufRead, mark: &[u8]) -> io::Result<()> {
        loop {
            match Reply::read(input)? {
                Reply::Bulk(text) if text == mark => return Ok(()),
                Reply::Push(_) => continue,
                Reply::Error(text) => {
                    self.error_count += 1;
                    // An error that cannot be shown is counted all the same.
                    let _ = stderr().write_all(&[&text[..], b"\n"].concat());
                }
                _ => {}
            }
            self.reply_count += 1;
        }
    }
}

/// Replies, waited for as long as there is something to send, and then no longer than `patience`.
struct Patient {
    input: BufReader<Stream>,
    is_sent: Arc<AtomicBool>,
    patience: Option<Duration>,
    /// When something came last, or there still was something to send.
    heard: Stopwatch,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(reason) if reason.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.heard = Stopwatch::start();
                    return outcome;
                }
            }
            if !self.is_sent.load(Ordering::Acquire) {
                self.heard = Stopwatch::start();
            } else if self
                .patience
                .is_some_and(|most| self.heard.elapsed() > most)
            {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no replies for too long",
                ));
            }
        }
    }
}
