//! CLIENT PAUSE, REPLY and UNBLOCK: who waits, who is answered, and until when.
//!
//! What is said here a lane does (`lane::pause`).

use crate::command::{
    ClientIndex, Context, Flags, Muting, Pause, Resume, Session, SessionContext, Status, number,
    subcommand_arity,
};
use crate::resp::{Args, Reply};

use super::SYNTAX_ERROR;

/// Reply to a command that waits and that another client ended.
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// Lets commands wait, on this core.
pub(super) fn pause(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let is_of_all = match args.len() {
        3 => true,
        4 if args.get(3).eq_ignore_ascii_case(b"all") => true,
        4 if args.get(3).eq_ignore_ascii_case(b"write") => false,
        4 => {
            reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
            return Status::Done;
        }
        _ => {
            reply.error_bytes(&subcommand_arity(args));
            return Status::Done;
        }
    };
    match number::parse_i64(args.get(2)).map(u64::try_from) {
        Some(Ok(timeout_ms)) => {
            let until_ms = context.now.ms().saturating_add(timeout_ms);
            context.core.pause = Some(Pause {
                until_ms,
                is_of_all,
            });
            // Those that wait find out anew until when.
            wake_paused(context);
            reply.ok();
        }
        Some(Err(_)) => reply.error("ERR timeout is negative"),
        None => reply.error("ERR timeout is not an integer or out of range"),
    }
    Status::Done
}

pub(super) fn unpause(context: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Status {
    context.core.pause = None;
    wake_paused(context);
    reply.ok();
    Status::Done
}

fn wake_paused(context: &mut Context<'_>) {
    let clients = &mut context.core.clients;
    let paused: Vec<ClientIndex> = clients
        .iter()
        .filter(|(_, session)| session.paused_until_ms > 0)
        .map(|(index, _)| index)
        .collect();
    paused.into_iter().for_each(|index| clients.wake(index));
}

/// Says which replies are sent from now on. All before it has been replied.
pub(super) fn reply_mode(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    _: &mut Resume,
    reply: &mut Reply<'_>,
) -> Status {
    let session = context.session();
    match args.get(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            session.muting = Muting::Off;
            reply.ok();
        }
        b"off" => session.muting = Muting::All,
        b"skip" if session.muting == Muting::All => {}
        b"skip" => session.muting = Muting::Next,
        _ => reply.error(SYNTAX_ERROR),
    }
    Status::Done
}

/// Ends what a client of this core waits for.
pub(super) fn unblock(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let is_error = match args.len() {
        3 => Some(false),
        4 if args.get(3).eq_ignore_ascii_case(b"timeout") => Some(false),
        4 if args.get(3).eq_ignore_ascii_case(b"error") => Some(true),
        4 => None,
        _ => {
            reply.error_bytes(&subcommand_arity(args));
            return Status::Done;
        }
    };
    let Some(is_error) = is_error else {
        reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return Status::Done;
    };
    let Some(id) = number::parse_i64(args.get(2)) else {
        reply.error("ERR value is not an integer or out of range");
        return Status::Done;
    };
    let waits = |session: &Session| {
        let is_it = u64::try_from(id) == Ok(session.id);
        let command = session.last_command.map_or(Flags::NONE, |row| row.flags);
        is_it && session.is_blocked && command.contains(Flags::PATIENT)
    };
    let clients = &mut context.core.clients;
    let found = clients.iter().find(|(_, session)| waits(session));
    let found = found.map(|(index, _)| index);
    if let Some(index) = found {
        clients[index].unblocked = Some(is_error);
        clients.wake(index);
    }
    reply.count(found.is_some().into());
    Status::Done
}
