//! DEBUG: for those who test clients. Off unless `enable-debug-command` says who may use it.
//!
//! SLEEP keeps the connection waiting and nobody else: a core that slept would stop the cores that wait
//! for it. JMAP and the like, which crash or change a Redis from within, have no counterpart.

use crate::resp::{Args, Reply};

use super::dump::serialized_len_bytes;
use super::key::object::encoding_of;
use super::refusal::Refusal;
use super::{
    Context, Flags, Keys, Merge, Part, Resume, Row, Run, Scope, SessionContext, Status, Wait,
    number, reply_help,
};

pub(super) const ROWS: &[Row] = &[Row {
    name: "debug",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "debug|help",
        arity: 2,
        run: Run::Session(help),
        ..OPERATOR
    },
    // Merged, because only the core of the connection knows whether it may ask.
    Row {
        name: "debug|object",
        arity: 3,
        keys: Keys::SECOND,
        scope: Scope::AllShards,
        merge: Merge::With(merge_object),
        run: Run::Shard(object),
        ..OPERATOR
    },
    Row {
        name: "debug|sleep",
        arity: 3,
        flags: OPERATOR.flags.with(Flags::PATIENT),
        scope: Scope::Disk,
        run: Run::Wait(sleep),
        ..OPERATOR
    },
];

const OPERATOR: Row = Row {
    flags: Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::LOADING)
        .with(Flags::STALE),
    ..Row::BLANK
};

/// Whether the client may use DEBUG; else it has been told why not.
fn is_allowed(context: &SessionContext<'_>, reply: &mut Reply<'_>) -> bool {
    let session = &context.core.clients[context.client];
    let is_local = session.is_unix
        || ["127.", "[::1]", "[::ffff:127."]
            .iter()
            .any(|start| session.address.starts_with(start));
    let is_allowed = match context.core.settings.enable_debug_command.as_str() {
        "yes" => true,
        "local" => is_local,
        _ => false,
    };
    if !is_allowed {
        reply.error(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
             you can run it from a local connection, otherwise you need to set this option in the \
             configuration file, and then restart the server.",
        );
    }
    is_allowed
}

/// A line about the key.
fn object(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let key = context.shard.key(args.get(2));
    match context.shard.find(key, context.now.ms()) {
        Some(value) => reply.simple(&format!(
            "Value at:0x0 refcount:1 encoding:{} serializedlength:{}",
            encoding_of(&value),
            serialized_len_bytes(value.bytes),
        )),
        None => Refusal::NO_SUCH_KEY.write(reply),
    }
    Status::Done
}

fn merge_object(
    context: &mut SessionContext<'_>,
    _: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    if !is_allowed(context, reply) {
        return;
    }
    reply.raw(parts[0].reply);
}

fn sleep(
    context: &mut SessionContext<'_>,
    args: Args<'_>,
    resume: &mut Resume,
    reply: &mut Reply<'_>,
) -> Status {
    if !is_allowed(context, reply) {
        return Status::Done;
    }
    let Some(seconds) = number::parse_seconds(args.get(2)) else {
        reply.error("ERR value is not a valid float");
        return Status::Done;
    };
    let now_ms = context.now.ms();
    let due_ms = *Wait::of(*resume).due_ms.get_or_insert_with(|| {
        now_ms.saturating_add(seconds.as_millis().try_into().unwrap_or(u64::MAX))
    });
    if due_ms > now_ms {
        let wait = Wait {
            round: None,
            due_ms: Some(due_ms),
        };
        wait.keep(resume);
        return Status::Again;
    }
    reply.ok();
    Status::Done
}

fn help(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    if is_allowed(context, reply) {
        reply_help(reply, "DEBUG", HELP_LINES);
    }
}

const HELP_LINES: &[&str] = &[
    "OBJECT <key>",
    "    Return how the value of <key> is kept.",
    "SLEEP <seconds>",
    "    Reply after so many seconds (decimals are taken).",
];

#[cfg(test)]
mod tests {
    use crate::command::tests::Cores;

    #[test]
    fn debug_is_for_those_whom_the_setting_names() {
        let mut cores = Cores::new(1);
        for command in ["DEBUG SLEEP 1", "DEBUG HELP", "DEBUG OBJECT k"] {
            assert!(
                cores
                    .run(command)
                    .starts_with("-ERR DEBUG command not allowed.")
            );
        }
        cores.cores[0].settings.enable_debug_command = "local".to_owned();
        assert!(cores.run("DEBUG HELP").starts_with("-ERR DEBUG"));
        cores.session().address = "127.0.0.1:5".to_owned();
        assert!(cores.run("DEBUG HELP").starts_with('*'));
        assert_eq!(cores.run("DEBUG OBJECT k"), "-ERR no such key\r\n");
        let before = cores.now.ms();
        assert_eq!(cores.run("DEBUG SLEEP 0.25"), "+OK\r\n");
        assert_eq!(cores.now.ms() - before, 250);
        assert_eq!(
            cores.run("DEBUG SLEEP x"),
            "-ERR value is not a valid float\r\n"
        );
    }
}
