//! Commands whose keys live on different shards and whose parts depend on each other: MSETNX,
//! RENAME, RENAMENX and COPY, as steps that each run on one shard.
//!
//! A plan is told what its steps replied and says what comes next; it knows neither shards nor
//! how steps travel. RENAME and COPY take a value from one shard to the other:
//!
//! ```text
//!   fetch source ──► store at target ──► finish source: remove it, unpin what was fetched
//!        │                 │
//!        └─ absent: error  └─ no memory, or target taken: finish without removing
//! ```
//!
//! The source goes last, so that a value is never lost; for a moment both keys have it. A large
//! value is not carried along: it stays pinned at the source and the target's shard copies it
//! from there in slices.
//!
//! The shards of its keys are held meanwhile, so nobody sees or writes between the steps. A plan once
//! begun must be followed to [`Next::Done`], also when its client has gone: what it fetched is pinned
//! until then.

mod gather;
pub(super) mod transfer;

use std::ops::Range;

use crate::resp::{Args, Reply, Span};

use super::key::{DEL, EXISTS, parse_copy};
use super::refusal::Refusal;
use super::string::SET;
use super::{Part, Row};
use transfer::{FETCH, FINISH, STORE};

/// A command under way over several shards.
#[derive(Debug)]
pub struct Plan {
    phase: Phase,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Run these, all at once or one after the other but those of one shard in this order, and
    /// come back with what each replied, in this order.
    Steps(Vec<Step>),
    /// The reply is written.
    Done,
}

/// A command on one key, to run on that key's shard.
#[derive(Debug)]
pub struct Step {
    /// What to run; not a row that clients can name.
    pub row: &'static Row,
    arguments: Arguments,
}

#[derive(Debug)]
enum Arguments {
    /// The name and some arguments of the client's command.
    Given(Range<usize>),
    /// The plan's own.
    Made { bytes: Vec<u8>, spans: Vec<Span> },
}

impl Step {
    fn given(row: &'static Row, range: Range<usize>) -> Self {
        Self {
            row,
            arguments: Arguments::Given(range),
        }
    }

    fn made(row: &'static Row, arguments: &[&[u8]]) -> Self {
        let mut bytes = Vec::with_capacity(arguments.iter().map(|argument| argument.len()).sum());
        let mut spans = Vec::with_capacity(arguments.len());
        for argument in arguments {
            spans.push(Span::new(bytes.len(), argument.len()));
            bytes.extend_from_slice(argument);
        }
        Self {
            row,
            arguments: Arguments::Made { bytes, spans },
        }
    }

    /// The arguments: a name, the key, and what follows. `command` is the client's command and
    /// `spans` room for a few of its spans.
    pub fn args<'a>(&'a self, command: Args<'a>, spans: &'a mut Vec<Span>) -> Args<'a> {
        match &self.arguments {
            Arguments::Given(range) => {
                spans.clear();
                spans.push(command.spans()[0]);
                spans.extend_from_slice(&command.spans()[range.clone()]);
                Args::new(command.base(), spans)
            }
            Arguments::Made { bytes, spans } => Args::new(bytes, spans),
        }
    }
}

/// Which step comes next, and what it needs to know.
#[derive(Debug)]
enum Phase {
    Refused(Refusal),
    Gather(gather::Plan),
    Transfer(Transfer),
    Fetched(Transfer),
    Stored(Transfer, Vec<u8>),
    Finished(Transfer, Outcome),
    PairsBegin,
    PairsAsked,
    PairsStored,
    PairsRemoved(Vec<u8>),
    Over,
}

/// The commands that take a value to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    Rename,
    RenameNx,
    Copy { is_replacing: bool },
}

impl Transfer {
    fn is_replacing(self) -> bool {
        match self {
            Self::Rename => true,
            Self::RenameNx => false,
            Self::Copy { is_replacing } => is_replacing,
        }
    }

    fn is_copy(self) -> bool {
        matches!(self, Self::Copy { .. })
    }
}

/// How the step at the target went.
#[derive(Debug)]
enum Outcome {
    Stored,
    Taken,
    /// Its error reply.
    Failed(Vec<u8>),
}

impl Plan {
    /// The plan of the command of `row` with these arguments.
    ///
    /// # Panics
    ///
    /// If the scope of `row` is not [`Scope::Plan`](super::Scope::Plan).
    pub fn start(row: &Row, args: Args<'_>) -> Self {
        let phase = match row.name {
            "rename" => Phase::Transfer(Transfer::Rename),
            "renamenx" => Phase::Transfer(Transfer::RenameNx),
            "copy" => match parse_copy(args) {
                Ok(is_replacing) => Phase::Transfer(Transfer::Copy { is_replacing }),
                Err(refusal) => Phase::Refused(refusal),
            },
            "msetnx" if args.len().is_multiple_of(2) => Phase::Refused(Refusal::arity(args)),
            "msetnx" => Phase::PairsBegin,
            name => match gather::Plan::of(row) {
                Some(plan) => Phase::Gather(plan),
                None => panic!("{name} is not run in steps"),
            },
        };
        Self { phase }
    }

    /// Goes on, given what the steps of the last call replied (nothing before the first). `args`
    /// are the client's; the command's reply is written when it is done.
    pub fn next(&mut self, args: Args<'_>, replies: &[Part<'_>], reply: &mut Reply<'_>) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Refused(refusal) => {
                refusal.write(reply);
                Next::Done
            }
            Phase::Gather(mut plan) => {
                let next = plan.next(args, replies, reply);
                self.phase = Phase::Gather(plan);
                next
            }
            Phase::Transfer(transfer) => {
                self.phase = Phase::Fetched(transfer);
                Next::Steps(vec![Step::given(&FETCH, 1..2)])
            }
            Phase::Fetched(transfer) => self.store(transfer, args, replies[0].reply, reply),
            Phase::Stored(transfer, fetched) => {
                self.finish(transfer, args, &fetched, replies[0].reply, reply)
            }
            Phase::Finished(transfer, outcome) => reply_transfer(transfer, &outcome, reply),
            Phase::PairsBegin => {
                self.phase = Phase::PairsAsked;
                Next::Steps(
                    keys(args)
                        .map(|key| Step::given(&EXISTS, key..key + 1))
                        .collect(),
                )
            }
            Phase::PairsAsked => self.store_pairs(args, replies, reply),
            Phase::PairsStored => self.finish_pairs(args, replies, reply),
            Phase::PairsRemoved(error) => {
                reply.raw(&error);
                Next::Done
            }
            Phase::Over => Next::Done,
        }
    }

    fn store(
        &mut self,
        transfer: Transfer,
        args: Args<'_>,
        fetched: &[u8],
        reply: &mut Reply<'_>,
    ) -> Next {
        if transfer::is_absent(fetched) {
            if transfer.is_copy() {
                reply.integer(0);
            } else {
                Refusal::NO_SUCH_KEY.write(reply);
            }
            return Next::Done;
        }
        let condition: &[u8] = if transfer.is_replacing() {
            transfer::ALWAYS
        } else {
            transfer::IF_ABSENT
        };
        let arguments = [STORE.name.as_bytes(), args.get(2), condition, fetched];
        self.phase = Phase::Stored(transfer, transfer::without_value(fetched).to_vec());
        Next::Steps(vec![Step::made(&STORE, &arguments)])
    }

    fn finish(
        &mut self,
        transfer: Transfer,
        args: Args<'_>,
        fetched: &[u8],
        stored: &[u8],
        reply: &mut Reply<'_>,
    ) -> Next {
        let outcome = match stored.first() {
            Some(b'-') => Outcome::Failed(stored.to_vec()),
            _ if stored == b":0\r\n" => Outcome::Taken,
            _ => Outcome::Stored,
        };
        let is_removed = matches!(outcome, Outcome::Stored) && !transfer.is_copy();
        if !is_removed && !transfer::is_pinned(fetched) {
            return reply_transfer(transfer, &outcome, reply);
        }
        let fate: &[u8] = if is_removed {
            transfer::REMOVE
        } else {
            transfer::KEEP
        };
        let arguments = [FINISH.name.as_bytes(), args.get(1), fate, fetched];
        self.phase = Phase::Finished(transfer, outcome);
        Next::Steps(vec![Step::made(&FINISH, &arguments)])
    }

    fn store_pairs(&mut self, args: Args<'_>, replies: &[Part<'_>], reply: &mut Reply<'_>) -> Next {
        if replies.iter().any(|part| part.reply != b":0\r\n") {
            reply.integer(0);
            return Next::Done;
        }
        self.phase = Phase::PairsStored;
        Next::Steps(
            keys(args)
                .map(|key| Step::given(&SET, key..key + 2))
                .collect(),
        )
    }

    fn finish_pairs(
        &mut self,
        args: Args<'_>,
        replies: &[Part<'_>],
        reply: &mut Reply<'_>,
    ) -> Next {
        let is_error = |part: &Part<'_>| part.reply.first() == Some(&b'-');
        let Some(error) = replies.iter().find(|part| is_error(part)) else {
            reply.integer(1);
            return Next::Done;
        };
        // None of the keys existed: to remove those that were stored is to restore.
        let stored = keys(args).zip(replies).filter(|(_, part)| !is_error(part));
        let steps: Vec<Step> = stored
            .map(|(key, _)| Step::given(&DEL, key..key + 1))
            .collect();
        self.phase = Phase::PairsRemoved(error.reply.to_vec());
        if steps.is_empty() {
            self.next(args, &[], reply)
        } else {
            Next::Steps(steps)
        }
    }
}

/// Where the keys of MSETNX are.
fn keys(args: Args<'_>) -> impl Iterator<Item = usize> {
    (1..args.len()).step_by(2)
}

fn reply_transfer(transfer: Transfer, outcome: &Outcome, reply: &mut Reply<'_>) -> Next {
    match outcome {
        Outcome::Failed(error) => reply.raw(error),
        Outcome::Taken => reply.integer(0),
        Outcome::Stored if transfer == Transfer::Rename => reply.ok(),
        Outcome::Stored => reply.integer(1),
    }
    Next::Done
}

#[cfg(test)]
mod tests;
