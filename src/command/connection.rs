//! Commands about the connection itself: PING, HELLO, AUTH and their like.
//!
//! There is one user, `default`, whose password is the setting `requirepass`. A connection that
//! comes while there is none counts as authenticated and stays so when one is set.

use std::hint::black_box;

use crate::resp::{Args, Protocol, Reply};

use super::refusal::printed;
use super::{Core, Flags, Muting, Row, Run, Session, SessionContext, number};

/// Reply to a command that needs the password, before it was given.
pub const NOAUTH: &str = "NOAUTH Authentication required.";

/// Reply to a connection beyond `maxclients`, which is then closed.
pub const MAXCLIENTS_REACHED: &str = "ERR max number of clients reached";

/// Reply in protected mode to a connection from another host, which is then closed.
pub const DENIED: &str = "DENIED Coremap is running in protected mode: there is no password and no \
    address was bound on purpose, so only connections from this host are accepted. To connect from \
    others, set a password with 'CONFIG SET requirepass <password>' or the option '--requirepass', \
    or bind an address of this host with '--bind', or switch the protection off with \
    'CONFIG SET protected-mode no' from this host or the option '--protected-mode no', if no \
    stranger can reach this port.";

/// The version clients are told, which is what they derive features from.
pub const REDIS_VERSION: &str = "7.2.5";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "auth",
        arity: -2,
        flags: HANDSHAKE,
        run: Run::Session(auth),
        ..Row::BLANK
    },
    Row {
        name: "echo",
        arity: 2,
        flags: ANY_TIME,
        run: Run::Session(echo),
        ..Row::BLANK
    },
    Row {
        name: "exit",
        arity: -1,
        flags: HANDSHAKE,
        run: Run::Session(quit),
        ..Row::BLANK
    },
    Row {
        name: "hello",
        arity: -1,
        flags: HANDSHAKE,
        run: Run::Session(hello),
        ..Row::BLANK
    },
    Row {
        name: "ping",
        arity: -1,
        flags: Flags::FAST,
        run: Run::Session(ping),
        ..Row::BLANK
    },
    Row {
        name: "quit",
        arity: -1,
        flags: HANDSHAKE.with(Flags::IMMEDIATE),
        run: Run::Session(quit),
        ..Row::BLANK
    },
    Row {
        name: "reset",
        arity: 1,
        flags: HANDSHAKE.with(Flags::IMMEDIATE),
        run: Run::Session(reset),
        ..Row::BLANK
    },
    Row {
        name: "select",
        arity: 2,
        flags: ANY_TIME,
        run: Run::Session(select),
        ..Row::BLANK
    },
];

/// What an HTTP request looks like here: `POST` and `Host:` open its lines. A browser that was
/// lured into sending one must not get to the commands in its body, so the connection closes.
pub(super) const CROSS_PROTOCOL: Row = Row {
    name: "host:",
    arity: -1,
    flags: HANDSHAKE.with(Flags::HIDDEN),
    run: Run::Session(|context, _, _| context.session().close_after_reply = true),
    ..Row::BLANK
};

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE).with(Flags::FAST);
const HANDSHAKE: Flags = ANY_TIME
    .with(Flags::NOSCRIPT)
    .with(Flags::NO_AUTH)
    .with(Flags::ALLOW_BUSY);

/// Whether the connection still owes the password.
#[inline]
pub fn owes_password(core: &Core, session: &Session) -> bool {
    !session.is_authenticated && !core.settings.requirepass.is_empty()
}

fn ping(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match args.len() {
        1 => reply.raw(b"+PONG\r\n"),
        2 => reply.bulk(args.get(1)),
        _ => reply.error("ERR wrong number of arguments for 'ping' command"),
    }
}

fn echo(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    reply.bulk(args.get(1));
}

fn quit(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    context.session().close_after_reply = true;
    reply.ok();
}

fn select(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    match number::parse_i64(args.get(1)) {
        Some(0) => reply.ok(),
        None => reply.error("ERR value is not an integer or out of range"),
        Some(index) if i32::try_from(index).is_err() => {
            reply.error("ERR value is out of range, value must between -2147483648 and 2147483647");
        }
        Some(_) => reply.error("ERR DB index is out of range"),
    }
}

fn reset(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    super::transaction::forget(context.core, context.client);
    let has_no_password = context.core.settings.requirepass.is_empty();
    let session = context.session();
    session.name.clear();
    session.protocol = Protocol::Resp2;
    session.is_authenticated = has_no_password;
    session.is_no_evict = false;
    session.is_no_touch = false;
    session.muting = Muting::Off;
    reply.set_protocol(Protocol::Resp2);
    reply.simple("RESET");
}

fn auth(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (user, password) =
        match args.len() {
            2 if context.core.settings.requirepass.is_empty() => return reply.error(
                "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
            ),
            2 => (DEFAULT_USER, args.get(1)),
            3 => (args.get(1), args.get(2)),
            _ => return reply.error("ERR syntax error"),
        };
    if authenticate(context, user, password) {
        reply.ok();
    } else {
        reply.error(WRONGPASS);
    }
}

/// Lets the connection in if the password is right.
fn authenticate(context: &mut SessionContext<'_>, user: &[u8], password: &[u8]) -> bool {
    let expected = context.core.settings.requirepass.as_bytes();
    let is_right = user == DEFAULT_USER && (expected.is_empty() || is_same(password, expected));
    context.session().is_authenticated |= is_right;
    is_right
}

/// Compares in a time that depends on the length of `given` alone.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let differs = |byte: u8, index: usize| byte ^ expected[index % expected.len()];
    let difference = given
        .iter()
        .enumerate()
        .fold(0, |all, (i, byte)| black_box(all | differs(*byte, i)));
    difference == 0 && given.len() == expected.len()
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`. As in Redis 7.0, options that precede a
/// wrong one have had their effect; the version changes only if all of it holds.
fn hello(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let greeted = requested_protocol(args)
        .and_then(|protocol| apply_options(context, args).map(|()| protocol));
    let protocol = match greeted {
        Ok(protocol) => protocol,
        Err(error) => return reply.error_bytes(&error),
    };
    if owes_password(context.core, &context.core.clients[context.client]) {
        return reply.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO AUTH <user> <pass> option can be used to authenticate the client and select \
             the RESP protocol version at the same time",
        );
    }
    let session = context.session();
    session.protocol = protocol.unwrap_or(session.protocol);
    reply.set_protocol(session.protocol);
    welcome(session, reply);
}

/// The version that a HELLO asks for, if it does.
fn requested_protocol(args: Args<'_>) -> Result<Option<Protocol>, Vec<u8>> {
    if args.len() == 1 {
        return Ok(None);
    }
    match number::parse_i64(args.get(1)) {
        Some(2) => Ok(Some(Protocol::Resp2)),
        Some(3) => Ok(Some(Protocol::Resp3)),
        Some(_) => Err(b"NOPROTO unsupported protocol version".to_vec()),
        None => Err(b"ERR Protocol version is not an integer or out of range".to_vec()),
    }
}

/// Does what the options of a HELLO say, one after the other.
fn apply_options(context: &mut SessionContext<'_>, args: Args<'_>) -> Result<(), Vec<u8>> {
    let mut rest = args.slice(args.len().min(2)..);
    while !rest.is_empty() {
        let option = rest.get(0);
        let taken = if option.eq_ignore_ascii_case(b"auth") && rest.len() > 2 {
            if !authenticate(context, rest.get(1), rest.get(2)) {
                return Err(WRONGPASS.as_bytes().to_vec());
            }
            3
        } else if option.eq_ignore_ascii_case(b"setname") && rest.len() > 1 {
            if !is_printable(rest.get(1)) {
                return Err(BAD_CLIENT_NAME.as_bytes().to_vec());
            }
            rest.get(1).clone_into(&mut context.session().name);
            2
        } else {
            let option = printed(option);
            return Err([b"ERR Syntax error in HELLO option '", option, b"'"].concat());
        };
        rest = rest.slice(taken..);
    }
    Ok(())
}

fn welcome(session: &Session, reply: &mut Reply<'_>) {
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if session.protocol == Protocol::Resp3 {
        3
    } else {
        2
    });
    reply.bulk(b"id");
    reply.count(session.id);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// Whether a name can stand in a line of CLIENT LIST: no spaces, nothing that does not print.
pub(super) fn is_printable(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

pub(super) const BAD_CLIENT_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
/// The only user there is.
pub(super) const DEFAULT_USER: &[u8] = b"default";

#[cfg(test)]
mod tests;
