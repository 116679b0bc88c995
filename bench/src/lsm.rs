//! `lsm`: a log-structured merge tree behind Redis's protocol, the peer of the comparison that
//! Coremap's design invites: everything mapped in memory against sorted runs on disk.
//!
//! The tree is the fjall crate as its documentation recommends it (its own background threads,
//! compression off since the values compared are not compressible to any use, a cache given by
//! option, journal without fsync: nobody in the comparison is durable). The front is kept as cheap as
//! such a front can be, so that what is measured is the tree: Coremap's own parser, one event loop
//! per thread, every command that has arrived is run before its replies are sent in one write, and
//! SETs that follow each other are one batch of the tree.
//!
//! Not here: bounds. A client that never reads makes its output buffer grow; this server is for
//! measurements on loopback and is started by `compare`.

mod store;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use argh::FromArgs;
use coremap::resp::{Args, Limits, Parser, Step};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use store::Store;

/// Bytes read at once.
const READ_LEN_BYTES: usize = 256 << 10;
/// The token of a thread's waker; connections have their places in its list.
const WAKE: Token = Token(usize::MAX);
const BYTES_PER_MIB: u64 = 1 << 20;

/// Serve an LSM tree (fjall) on a port of loopback: the peer that `compare` starts.
#[derive(FromArgs)]
#[argh(subcommand, name = "lsm")]
pub(crate) struct Options {
    /// the port
    #[argh(option)]
    port: u16,
    /// folder of the tree's files; made if it is not there
    #[argh(option)]
    dir: PathBuf,
    /// number of threads that serve connections (default 1)
    #[argh(option, default = "1")]
    threads: usize,
    /// size of the tree's block cache in MiB (default 1024)
    #[argh(option, default = "1024")]
    cache_mib: u64,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let store = Store::open(&options.dir, options.cache_mib * BYTES_PER_MIB)?;
    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .map_err(|error| format!("port {}: {error}", options.port))?;
    serve(&listener, &store, options.threads.max(1))
}

/// Accepts for ever and deals connections out to the threads in turn.
fn serve(listener: &TcpListener, store: &Store, threads: usize) -> Result<(), String> {
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (sender, arrivals) = channel();
            let poll = Poll::new().map_err(|error| error.to_string())?;
            let waker = Waker::new(poll.registry(), WAKE).map_err(|error| error.to_string())?;
            scope.spawn(move || work(poll, &arrivals, store));
            workers.push((sender, waker));
        }
        for index in (0..threads).cycle() {
            hand_over(listener, &workers[index]).map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

fn hand_over(
    listener: &TcpListener,
    (sender, waker): &(Sender<TcpStream>, Waker),
) -> std::io::Result<()> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    sender
        .send(TcpStream::from_std(socket))
        .map_err(|_| std::io::Error::other("a thread has ended"))?;
    waker.wake()
}

/// One thread: serves its connections until the process ends.
fn work(mut poll: Poll, arrivals: &Receiver<TcpStream>, store: &Store) {
    let mut events = Events::with_capacity(1 << 10);
    let mut clients: Vec<Option<Client>> = Vec::new();
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            assert_eq!(error.kind(), ErrorKind::Interrupted, "poll failed: {error}");
            continue;
        }
        for event in &events {
            if event.token() == WAKE {
                for mut socket in arrivals.try_iter() {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let token = Token(clients.len());
                    let registered = poll.registry().register(&mut socket, token, both);
                    clients.push(registered.is_ok().then(|| Client::new(socket)));
                }
                continue;
            }
            let place = &mut clients[event.token().0];
            if let Some(client) = place
                && client.turn(store).is_err()
            {
                *place = None; // closing the socket ends its registration
            }
        }
    }
}

/// One connection.
struct Client {
    socket: TcpStream,
    parser: Parser,
    /// What was received; the first `filled_bytes` are not run yet.
    input: Vec<u8>,
    filled_bytes: usize,
    /// Replies; those before `sent_bytes` have left.
    output: Vec<u8>,
    sent_bytes: usize,
}

impl Client {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            parser: Parser::new(),
            input: vec![0; READ_LEN_BYTES],
            filled_bytes: 0,
            output: Vec::new(),
            sent_bytes: 0,
        }
    }

    /// Receives, runs and answers until the socket has nothing more. An error ends the connection.
    fn turn(&mut self, store: &Store) -> std::io::Result<()> {
        self.send()?;
        loop {
            if self.filled_bytes == self.input.len() {
                self.input.resize(2 * self.filled_bytes, 0);
            }
            match self.socket.read(&mut self.input[self.filled_bytes..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len_bytes) => {
                    self.filled_bytes += len_bytes;
                    self.run(store)?;
                    self.send()?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs every command that is whole.
    fn run(&mut self, store: &Store) -> std::io::Result<()> {
        let input = &mut self.input[..self.filled_bytes];
        let mut spans = Vec::with_capacity(4);
        let mut done_bytes = 0;
        let mut run = store.run(&mut self.output);
        loop {
            let rest = &mut input[done_bytes..];
            spans.clear();
            match self.parser.next(rest, Limits::AUTHENTICATED, &mut spans) {
                Ok(Step::Command { len_bytes }) => {
                    run.command(Args::new(rest, &spans));
                    done_bytes += len_bytes;
                }
                Ok(Step::Empty { len_bytes }) => done_bytes += len_bytes,
                Ok(Step::Incomplete { .. }) => break,
                Err(_) => return Err(ErrorKind::InvalidData.into()),
            }
        }
        run.finish();
        input.copy_within(done_bytes.., 0);
        self.filled_bytes -= done_bytes;
        Ok(())
    }

    /// Sends what the socket takes.
    fn send(&mut self) -> std::io::Result<()> {
        while self.sent_bytes < self.output.len() {
            match self.socket.write(&self.output[self.sent_bytes..]) {
                Ok(len_bytes) => self.sent_bytes += len_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent_bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Folder;

    #[test]
    fn a_client_is_answered_in_order_however_its_requests_are_cut() {
        let folder = Folder::new("lsm-test").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = folder.path().to_owned();
        // Ends with the process: a server that is measured is never asked to stop.
        std::thread::spawn(move || {
            let store = Store::open(&dir, BYTES_PER_MIB).unwrap();
            serve(&listener, &store, 2)
        });
        let requests = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\none\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n\
            *2\r\n$3\r\nget\r\n$1\r\nb\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$0\r\n\r\n*1\r\n$6\r\nDBSIZE\r\n\
            *2\r\n$3\r\nDEL\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n\
            *1\r\n$5\r\nMAGIC\r\n";
        let replies = b"+OK\r\n$3\r\none\r\n$-1\r\n+OK\r\n:2\r\n:1\r\n$-1\r\n+PONG\r\n\
            -ERR unknown command\r\n";
        for cut in [0, 1, 30, 57, 100, requests.len()] {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.set_nodelay(true).unwrap();
            for part in [&requests[..cut], &requests[cut..]] {
                client.write_all(part).unwrap();
            }
            let mut answer = vec![0; replies.len()];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&answer),
                String::from_utf8_lossy(replies),
                "cut at {cut}"
            );
            client.write_all(b"*2\r\n$3\r\nDEL\r\n$1\r\nb\r\n").unwrap();
            let mut deleted = [0; 4];
            client.read_exact(&mut deleted).unwrap();
            assert_eq!(&deleted, b":1\r\n");
        }
    }
}
