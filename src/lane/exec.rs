//! EXEC: what a connection has queued, run at one moment.
//!
//! ```text
//!   EXEC ──► owed nothing ──► hold all shards it needs ──► watched keys unchanged? ──► run ──► release
//!                                                              └─ changed: null, release
//! ```
//!
//! The queued commands go the ways that commands of a pipeline go: here, in batches, in parts. What
//! makes them one is that their shards are held meanwhile. All of one shard of another core travel
//! in one batch, with the hold and its release; those of this core's shard run as they
//! come, in as many turns as it takes.
//!
//! In a file, all their records are members of one transaction. It is committed at the end, before
//! the last reply leaves, and also when the client has gone.
//!
//! Each command stands for itself: one that fails is answered with its error, and the others run.
//! None of them waits: what would is told that its time is over.

use super::Turn;
use super::connection::{OwnedArguments, Progress};
use super::fanout::Fanout;
use super::forward::Place;
use super::turn::{Flow, Worker};
use crate::command::transaction::{CHECK, NOTE, check_exec};
use crate::command::{Now, Queue, Resume, Row, Run, Scope, SessionContext, Watching};
use crate::resp::{Args, Span};
use crate::shard::Probe;

/// The commands of an EXEC under way.
pub(super) struct Exec {
    /// The arguments of all, where batches may borrow them.
    arguments: OwnedArguments,
    commands: Vec<(&'static Row, Vec<Span>)>,
    /// How many were begun, once it is known that they may.
    begun: Option<usize>,
    /// What the connection has watched, until now.
    watching: Option<Watching>,
    /// Whether a watched key has changed.
    pub(super) is_off: bool,
}

impl Exec {
    fn new(queue: &Queue, watching: Option<Watching>) -> Self {
        let commands = queue.commands().map(|(row, spans)| (row, spans.to_vec()));
        Self {
            arguments: OwnedArguments::copy_of(Args::new(queue.bytes(), &[])),
            commands: commands.collect(),
            begun: None,
            watching,
            is_off: false,
        }
    }
}

impl Worker<'_> {
    /// Begins to run what MULTI has queued.
    pub(super) fn begin_exec(&mut self) -> Flow {
        let client = self.connection.client;
        if let Err(error) = check_exec(&mut self.parts.core, client) {
            self.write(false, |_, reply| reply.error(error));
            self.refresh_session();
            return Flow::Begun;
        }
        let shards = self.shards_of_exec();
        let is_ready = if shards.is_empty() {
            !self.must_leave() && self.barrier()
        } else {
            self.hold(shards)
        };
        if !is_ready {
            return Flow::Waits;
        }
        let session = &mut self.parts.core.clients[client];
        let queue = session.queue.take().expect("just looked at");
        let watching = session.watching.take();
        self.refresh_session();
        self.connection.exec = Some(Box::new(Exec::new(&queue, watching.clone())));
        if self.parts.region.is_durable() && queue.is_writing() {
            self.connection.transaction = Some(self.parts.open_transaction());
        }
        self.connection.progress = Some(Progress::Exec);
        if let Some(Watching { id, shards }) = watching {
            let arguments = OwnedArguments::made(&[CHECK.name.as_bytes(), &id.to_le_bytes()]);
            let parts = shards.iter().map(|shard| (*shard, arguments.clone()));
            let fanout = Fanout::check(&CHECK, parts);
            self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        }
        Flow::Begun
    }

    /// The shards of what is queued and of what is watched, ascending.
    fn shards_of_exec(&self) -> Vec<u16> {
        let session = &self.parts.core.clients[self.connection.client];
        let count = self.parts.placement.shard_count;
        let mut is_needed = vec![false; usize::from(count)];
        for shard in session
            .watching
            .iter()
            .flat_map(|watching| &watching.shards)
        {
            is_needed[usize::from(*shard)] = true;
        }
        let queue = session.queue.as_deref();
        for (row, spans) in queue.iter().flat_map(|queue| queue.commands()) {
            let args = Args::new(queue.map_or(&[], Queue::bytes), spans);
            match row.scope {
                Scope::AllShards => is_needed.fill(true),
                Scope::Cursor => {
                    let shard = crate::command::shard_of_cursor(args.get(1), count);
                    is_needed[usize::from(shard)] = true;
                }
                Scope::Owner | Scope::PerKey | Scope::Plan => {
                    self.note_owners(row, args, &mut is_needed);
                }
                Scope::Session | Scope::Disk | Scope::Exec | Scope::Watch => {}
            }
        }
        (0..count)
            .filter(|shard| is_needed[usize::from(*shard)])
            .collect()
    }

    /// Begins what can be begun of the commands; releases their shards at the end.
    pub(super) fn go_on_exec(&mut self) -> Option<Turn> {
        self.transaction = self.transaction_number();
        let turn = self.begin_queued();
        if turn.is_none() && self.connection.progress.is_none() {
            self.transaction = None;
            return self.end_exec();
        }
        turn
    }

    fn begin_queued(&mut self) -> Option<Turn> {
        loop {
            let exec = self.connection.exec.as_mut()?;
            if exec.is_off {
                self.write(false, |_, reply| reply.null_array());
                return None;
            }
            let count = exec.commands.len();
            let Some(begun) = exec.begun else {
                exec.begun = Some(0);
                self.write(false, |_, reply| reply.array(count));
                continue;
            };
            if begun == count {
                return None;
            }
            if let Some(turn) = self.obstacle() {
                return Some(turn);
            }
            let exec = self.connection.exec.as_mut()?;
            let row = exec.commands[begun].0;
            let spans = std::mem::take(&mut exec.commands[begun].1);
            let arguments = OwnedArguments {
                spans: Vec::new(),
                ..exec.arguments.clone()
            };
            let flow = self.begin_one(row, &arguments.place(), &spans);
            let exec = self.connection.exec.as_mut()?;
            if flow == Flow::Waits {
                exec.commands[begun].1 = spans;
                return Some(Turn::Waiting);
            }
            exec.begun = Some(begun + 1);
            self.count_command();
            if self.connection.progress.is_some() {
                return None;
            }
        }
    }

    fn begin_one(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        if row.scope == Scope::Disk {
            return self.run_impatiently(row, place.args(spans));
        }
        self.parts.core.stats.commands_processed += 1;
        self.parts.core.tally.count(row);
        let args = place.args(spans);
        let (owner, hash) = self.route_of(row, args);
        self.dispatch(row, owner, Probe::of(hash), place, spans)
    }

    /// Runs a command that waits for the disk as if its time were over.
    fn run_impatiently(&mut self, row: &'static Row, args: Args<'_>) -> Flow {
        let Run::Wait(run) = row.run else {
            unreachable!("only rows that wait are begun as such")
        };
        if !self.barrier() {
            return Flow::Waits;
        }
        let client = self.connection.client;
        let times = [self.now, Now { unix_us: u64::MAX }];
        self.write(false, |parts, reply| {
            let mut resume = Resume::default();
            let start = reply.len_bytes();
            for now in times {
                let mut context = SessionContext {
                    core: &mut parts.core,
                    client,
                    shard: &mut parts.shard,
                    now,
                };
                run(&mut context, args, &mut resume, reply);
                if reply.len_bytes() > start {
                    break;
                }
            }
        });
        Flow::Begun
    }

    /// All commands were begun: commits what they wrote, and ends the holds.
    fn end_exec(&mut self) -> Option<Turn> {
        if self.connection.transaction.is_some() && !self.barrier() {
            return Some(Turn::Waiting);
        }
        let exec = self.connection.exec.take();
        self.parts
            .core
            .unwatched
            .extend(exec.and_then(|exec| exec.watching));
        if self.commit().is_err() {
            // What was answered would not survive the end of the process.
            self.connection.is_closing = true;
        }
        if self.connection.is_closing {
            self.connection.discard_input();
        }
        self.end_hold();
        None
    }

    /// Notes the keys of WATCH where they live.
    pub(super) fn watch(&mut self, row: &'static Row, place: &Place<'_>, spans: &[Span]) -> Flow {
        let client = self.connection.client;
        if self.parts.core.clients[client].queue.is_some() {
            self.write(false, |_, reply| {
                reply.error("ERR WATCH inside MULTI is not allowed");
            });
            return Flow::Begun;
        }
        if self.must_leave() || !self.barrier() {
            return Flow::Waits;
        }
        let args = place.args(spans);
        let shards = self.owners_of(row, args);
        let id = Watching::of(&mut self.parts.core, client, &shards)
            .id
            .to_le_bytes();
        let part = |shard: u16| {
            let mut names = vec![NOTE.name.as_bytes(), &id];
            let is_its = |name: &&[u8]| self.parts.placement.owner(name) == shard;
            names.extend(args.slice(1..).iter().filter(is_its));
            (shard, OwnedArguments::made(&names))
        };
        let parts: Vec<_> = shards.iter().map(|shard| part(*shard)).collect();
        let fanout = Fanout::to_some(row, place.owned(spans), &NOTE, parts);
        self.connection.progress = Some(Progress::Fanout(Box::new(fanout)));
        Flow::Begun
    }
}
