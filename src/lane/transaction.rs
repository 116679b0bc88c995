//! Commands whose records survive the end of the process together or not at all.
//!
//! MSET, DEL of several keys, RENAME, FLUSHALL and their like write several records, maybe on several
//! shards. In a file each of these is a *member* of a transaction, and counts after a crash only if
//! the transaction's *commit* is there, which says how many members there are. The core of the
//! connection opens the transaction before the first part runs, and appends the commit to its own
//! log when all parts have replied, before the reply leaves.
//!
//! ```text
//!   all on one shard   open, run, commit: one call where the keys live
//!   on several         wait for all before it, open ─► parts, each with the number ─► all are back
//!                      ─► commit ─► reply
//! ```
//!
//! An open transaction holds back what the log can forget (`region::rounds`), so it must not wait for
//! a client: it begins only when the connection is owed nothing, its replies are short, and it is
//! finished although its client has gone.
//!
//! In memory there are no transactions, and nothing of this runs.

use super::parts::{Call, Parts};
use super::turn::Worker;
use crate::command::{Flags, Now, Resume, Row, Status, no_room};
use crate::limits::SHARD_COUNT_MAX;
use crate::resp::Reply;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    /// What its records carry: never the same twice in a file.
    pub(super) number: u64,
    /// The round that closes it.
    opened: u64,
    /// Records written so far.
    pub(super) member_count: u64,
}

/// Whether a command with so many arguments writes records that belong together.
#[inline]
pub(super) fn writes_several(row: &Row, argument_count: usize) -> bool {
    row.flags.contains(Flags::SEVERAL) && row.keys.positions(argument_count).len() != 1
}

impl Parts {
    /// Opens a transaction.
    pub(super) fn open_transaction(&mut self) -> Transaction {
        let rounds = self.region.rounds();
        // Above all numbers that are still in the file, and by core: no clock has a say in it.
        let floor = rounds.transaction_floor() / SHARD_COUNT_MAX as u64;
        self.transaction_count = self.transaction_count.max(floor) + 1;
        Transaction {
            number: self.transaction_count * SHARD_COUNT_MAX as u64 + u64::from(self.core.id),
            opened: rounds.open_transaction(self.core.id),
            member_count: 0,
        }
    }

    /// Makes a transaction whole, whose parts have all run; else the error reply: there is no room
    /// for its commit, and what it wrote is seen but survives only when all of it is settled.
    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<(), &'static str> {
        let Transaction {
            number,
            opened,
            member_count,
        } = transaction;
        let committed = if member_count > 0 {
            self.shard.append_commit(number, member_count)
        } else {
            Ok(())
        };
        let rounds = self.region.rounds();
        match committed {
            Ok(()) => rounds.close_transaction(self.core.id, opened),
            Err(_) => rounds.close_uncommitted(self.core.id, opened),
        }
        committed.map_err(no_room)
    }

    /// Runs a command of several keys that all live on this core's shard.
    #[cold]
    pub(super) fn run_whole(
        &mut self,
        call: Call<'_>,
        now: Now,
        resume: &mut Resume,
        reply: &mut Reply<'_>,
    ) -> Status {
        let mut transaction = self.open_transaction();
        let start = reply.len_bytes();
        let member = Call {
            transaction: Some(transaction.number),
            ..call
        };
        let status = self.run_member(member, now, resume, reply);
        transaction.member_count = self.take_member_count();
        debug_assert!(status == Status::Done || transaction.member_count == 0);
        if let Err(error) = self.commit(transaction) {
            reply.truncate(start);
            reply.error(error);
        }
        status
    }

    /// Runs one part of a transaction; [`Self::take_member_count`] says what it wrote.
    #[cold]
    pub(super) fn run_member(
        &mut self,
        call: Call<'_>,
        now: Now,
        resume: &mut Resume,
        reply: &mut Reply<'_>,
    ) -> Status {
        let number = call.transaction.expect("asked by the caller");
        self.shard.begin_transaction(number);
        let status = self.run_alone(call, now, resume, reply);
        self.member_count += self.shard.end_transaction();
        status
    }

    /// Records that members have written since the last call.
    pub(super) fn take_member_count(&mut self) -> u64 {
        std::mem::take(&mut self.member_count)
    }
}

impl Worker<'_> {
    /// Opens a transaction for a command that is to run in parts, if its records belong together.
    /// False: the connection waits for what came before.
    pub(super) fn begin_together(&mut self, row: &Row, argument_count: usize) -> bool {
        let is_in_one = self.connection.exec.is_some();
        if is_in_one || !writes_several(row, argument_count) || !self.parts.region.is_durable() {
            return true;
        }
        let is_owed_nothing = self.barrier();
        if is_owed_nothing {
            self.connection.transaction = Some(self.parts.open_transaction());
        }
        is_owed_nothing
    }

    /// The number of the transaction under way.
    pub(super) fn transaction_number(&self) -> Option<u64> {
        let transaction = self.connection.transaction.as_ref();
        transaction.map(|transaction| transaction.number)
    }

    /// The number of the transaction that all commands of an EXEC under way are parts of.
    pub(super) fn exec_transaction(&self) -> Option<u64> {
        self.connection.exec.as_ref().and(self.transaction_number())
    }

    /// Adds up what a part has written that ran here.
    pub(super) fn count_members(&mut self) {
        if let Some(transaction) = &mut self.connection.transaction {
            transaction.member_count += self.parts.take_member_count();
        }
    }

    /// Commits the transaction of the command whose parts have all run, if it has one; else the
    /// error reply. That of an EXEC is committed at its end.
    pub(super) fn commit(&mut self) -> Result<(), &'static str> {
        if self.connection.exec.is_some() {
            return Ok(());
        }
        let transaction = self.connection.transaction.take();
        transaction.map_or(Ok(()), |transaction| self.parts.commit(transaction))
    }
}
