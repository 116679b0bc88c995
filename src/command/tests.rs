//! A few cores and a client, enough to run commands as a lane does, and what all rows must keep.

use std::sync::Arc;

use super::*;
use crate::resp::{Protocol, Span};
use crate::shard::Probe;
use crate::shard::{Options, Shard};

/// Cores with a shard each, and one client on the first.
pub(super) struct Cores {
    pub(super) cores: Vec<Core>,
    pub(super) shards: Vec<Shard>,
    pub(super) client: ClientIndex,
    pub(super) now: Now,
}

impl Cores {
    /// `count` cores, and a client with number 7.
    pub(super) fn new(count: u16) -> Self {
        let facts = Facts {
            core_count: count,
            run_id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            port: 6379,
            total_memory_bytes: 1 << 30,
            maxmemory_default_bytes: 1 << 29,
            ..Facts::default()
        };
        let (facts, shared) = (Arc::new(facts), Arc::new(Shared::new(count)));
        let core = |id| {
            let settings = Settings::default();
            Core::new(
                id,
                settings,
                Arc::clone(&facts),
                Arc::clone(&shared),
                u64::from(id),
            )
        };
        let options = || Options {
            maxmemory_bytes: 64 << 20,
            seeds: [1, 2, 3, 4],
        };
        let mut cores = Self {
            cores: (0..count).map(core).collect(),
            shards: (0..count)
                .map(|_| Shard::embedded(options()).unwrap())
                .collect(),
            client: 0,
            now: Now {
                unix_us: 1_700_000_000_123_456,
            },
        };
        cores.client = cores.connect(0, 7);
        cores
    }

    /// One more client on `core`.
    pub(super) fn connect(&mut self, core: usize, id: u64) -> ClientIndex {
        let is_authenticated = self.cores[core].settings.requirepass.is_empty();
        self.cores[core].clients.insert(Session {
            id,
            address: format!("10.0.0.1:{id}"),
            local_address: "10.0.0.9:6379".to_owned(),
            created_at_ms: self.now.ms(),
            last_active_ms: self.now.ms(),
            is_authenticated,
            ..Session::default()
        })
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.cores[0].clients[self.client]
    }

    /// The reply to words separated by spaces.
    pub(super) fn run(&mut self, command: &str) -> String {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        String::from_utf8(self.run_args(&words)).expect("the reply is text")
    }

    /// The reply to a command.
    pub(super) fn run_args(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let (base, spans) = join(words);
        let args = Args::new(&base, &spans);
        let protocol = self.session().protocol;
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        let mut reply = Reply::new(&mut out, &mut externs, protocol);
        match lookup(args) {
            Ok(row) => self.dispatch(row, args, &mut reply),
            Err(error) => reply.error_bytes(&error),
        }
        out
    }

    fn dispatch(&mut self, row: &'static Row, args: Args<'_>, reply: &mut Reply<'_>) {
        if let Err(error) = check(row, &self.cores[0], &self.cores[0].clients[self.client]) {
            return reply.error(error);
        }
        self.session().last_command = Some(row);
        match (row.run, row.scope) {
            (Run::Session(run), _) => run(&mut self.session_context(), args, reply),
            (Run::Shard(_), Scope::AllShards) => {
                let replies: Vec<(Vec<u8>, u64)> = (0..self.cores.len())
                    .map(|core| self.run_part(row, core, args))
                    .collect();
                let parts: Vec<Part<'_>> = (0..)
                    .zip(&replies)
                    .map(|(shard, (reply, count))| Part {
                        shard,
                        reply,
                        count: *count,
                    })
                    .collect();
                merge(row, &mut self.session_context(), args, &parts, reply);
            }
            (Run::Shard(_), _) => {
                let (bytes, _) = self.run_part(row, 0, args);
                reply.raw(&bytes);
            }
            (Run::Lane, _) => unreachable!("the lane's to run"),
            (Run::Wait(run), _) => {
                let mut resume = Resume::default();
                while run(&mut self.session_context(), args, &mut resume, reply) == Status::Again {
                    let due_ms = Wait::of(resume).due_ms.expect("no round is done meanwhile");
                    self.now.unix_us = due_ms * 1_000;
                }
            }
        }
    }

    fn run_part(&mut self, row: &Row, core: usize, args: Args<'_>) -> (Vec<u8>, u64) {
        let Run::Shard(run) = row.run else {
            panic!("{} runs on no shard", row.name)
        };
        let protocol = self.session().protocol;
        let (mut out, mut externs) = (Vec::new(), Vec::new());
        let mut resume = Resume::default();
        loop {
            let status = run(
                &mut Context {
                    shard: &mut self.shards[core],
                    core: &mut self.cores[core],
                    now: self.now,
                    probe: Probe::NONE,
                    resume: &mut resume,
                    caller: (core == 0).then_some(self.client),
                },
                args,
                &mut Reply::new(&mut out, &mut externs, protocol),
            );
            if status == Status::Done {
                return (out, resume.count);
            }
        }
    }

    fn session_context(&mut self) -> SessionContext<'_> {
        SessionContext {
            core: &mut self.cores[0],
            client: self.client,
            shard: &mut self.shards[0],
            now: self.now,
        }
    }
}

/// Words one after the other, and where each lies.
fn join(words: &[&[u8]]) -> (Vec<u8>, Vec<Span>) {
    let mut base = Vec::new();
    let mut spans = Vec::new();
    for word in words {
        spans.push(Span::new(base.len(), word.len()));
        base.extend_from_slice(word);
    }
    (base, spans)
}

fn merge_parts(row: &Row, parts: &[&str]) -> String {
    let mut cores = Cores::new(1);
    let parts: Vec<Part<'_>> = (0..)
        .zip(parts)
        .map(|(shard, reply)| Part {
            shard,
            reply: reply.as_bytes(),
            count: 0,
        })
        .collect();
    let (mut out, mut externs) = (Vec::new(), Vec::new());
    let mut reply = Reply::new(&mut out, &mut externs, Protocol::Resp2);
    merge(
        row,
        &mut cores.session_context(),
        Args::new(b"", &[]),
        &parts,
        &mut reply,
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn parts_merge_as_the_row_says() {
    let row = |merge| Row {
        merge,
        ..Row::BLANK
    };
    let error = "-OOM no\r\n";
    assert_eq!(
        merge_parts(&row(Merge::Sum), &[":3\r\n", ":0\r\n", ":39\r\n"]),
        ":42\r\n"
    );
    assert_eq!(merge_parts(&row(Merge::Sum), &[":3\r\n", error]), error);
    assert_eq!(
        merge_parts(&row(Merge::Ok), &["+OK\r\n", "+OK\r\n"]),
        "+OK\r\n"
    );
    assert_eq!(
        merge_parts(&row(Merge::Ok), &["+OK\r\n", error, "-ERR other\r\n"]),
        error
    );
    let in_order = merge_parts(&row(Merge::InOrder), &["$1\r\na\r\n", "$-1\r\n"]);
    assert_eq!(in_order, "*2\r\n$1\r\na\r\n$-1\r\n");
}

#[test]
fn key_positions_follow_the_row_and_the_count() {
    let positions = |keys: Keys, count| {
        let positions: Vec<usize> = keys.positions(count).collect();
        let one_by_one: Vec<_> = (0..).map_while(|key| keys.position(count, key)).collect();
        assert_eq!(positions, one_by_one);
        positions
    };
    assert_eq!(positions(Keys::NONE, 5), []);
    assert_eq!(positions(Keys::ONE, 2), [1]);
    assert_eq!(positions(Keys::TWO, 4), [1, 2]);
    assert_eq!(positions(Keys::SECOND, 3), [2]);
    assert_eq!(positions(Keys::ALL, 4), [1, 2, 3]);
    assert_eq!(positions(Keys::PAIRS, 5), [1, 3]);
    assert_eq!(positions(Keys::PAIRS, 4), [1, 3]);
    assert_eq!(positions(Keys::ALL, 1), []);
}

#[test]
fn only_the_handshake_runs_before_the_password() {
    let mut cores = Cores::new(1);
    cores.cores[0].settings.requirepass = "secret".to_owned();
    cores.session().is_authenticated = false;
    assert_eq!(cores.run("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(
        cores.run("CLIENT LIST"),
        "-NOAUTH Authentication required.\r\n"
    );
    // What a command is comes before who may run it.
    assert!(cores.run("nosuch").starts_with("-ERR unknown command"));
    assert!(
        cores
            .run("ECHO")
            .starts_with("-ERR wrong number of arguments")
    );
    assert_eq!(cores.run("RESET"), "+RESET\r\n");
    assert!(!request_limits(&cores.cores[0], &cores.cores[0].clients[0]).is_authenticated);
    assert_eq!(cores.run("AUTH secret"), "+OK\r\n");
    assert_eq!(cores.run("PING"), "+PONG\r\n");
    assert!(request_limits(&cores.cores[0], &cores.cores[0].clients[0]).is_authenticated);
}

#[test]
fn flags_have_the_names_of_redis() {
    let flags = Flags::WRITE.with(Flags::FAST).with(Flags::DENYOOM);
    assert_eq!(
        flags.names().collect::<Vec<_>>(),
        ["write", "denyoom", "fast"]
    );
    assert!(flags.contains(Flags::WRITE));
    assert!(!flags.contains(Flags::WRITE.with(Flags::READONLY)));
}
