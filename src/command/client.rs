//! CLIENT: who is connected, by what name, and closing them.
//!
//! LIST and KILL run on every core, each for the connections that live there; the core of the
//! caller puts the parts together.

use crate::resp::{Args, Protocol, Reply};

use super::connection::{BAD_CLIENT_NAME, DEFAULT_USER, is_printable};
use super::refusal::printed;
use super::{
    ClientIndex, Context, Flags, Merge, Now, Part, Row, Run, Scope, Session, SessionContext,
    Status, number, reply_help,
};

mod flow;

pub use flow::UNBLOCKED;
use flow::{pause, reply_mode, unblock, unpause};

pub(super) const ROWS: &[Row] = &[Row {
    name: "client",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "client|getname",
        arity: 2,
        run: Run::Session(name),
        ..PLAIN
    },
    Row {
        name: "client|help",
        arity: 2,
        flags: HELP,
        run: Run::Session(help),
        ..PLAIN
    },
    Row {
        name: "client|id",
        arity: 2,
        run: Run::Session(id),
        ..PLAIN
    },
    Row {
        name: "client|info",
        arity: 2,
        run: Run::Session(info),
        ..PLAIN
    },
    Row {
        name: "client|kill",
        arity: -3,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::With(merge_kill),
        run: Run::Shard(kill),
        ..PLAIN
    },
    Row {
        name: "client|list",
        arity: -2,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::With(merge_list),
        run: Run::Shard(list),
        ..PLAIN
    },
    Row {
        name: "client|no-evict",
        arity: 3,
        flags: OPERATOR,
        run: Run::Session(no_evict),
        ..PLAIN
    },
    Row {
        name: "client|no-touch",
        arity: 3,
        run: Run::Session(no_touch),
        ..PLAIN
    },
    Row {
        name: "client|pause",
        arity: -3,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::Ok,
        run: Run::Shard(pause),
        ..PLAIN
    },
    Row {
        name: "client|reply",
        arity: 3,
        scope: Scope::Disk,
        run: Run::Wait(reply_mode),
        ..PLAIN
    },
    Row {
        name: "client|setinfo",
        arity: 4,
        run: Run::Session(set_info),
        ..PLAIN
    },
    Row {
        name: "client|setname",
        arity: 3,
        run: Run::Session(set_name),
        ..PLAIN
    },
    Row {
        name: "client|unblock",
        arity: -3,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::Sum,
        run: Run::Shard(unblock),
        ..PLAIN
    },
    Row {
        name: "client|unpause",
        arity: 2,
        flags: OPERATOR,
        scope: Scope::AllShards,
        merge: Merge::Ok,
        run: Run::Shard(unpause),
        ..PLAIN
    },
];

const PLAIN: Row = Row {
    flags: HELP.with(Flags::NOSCRIPT),
    ..Row::BLANK
};
const HELP: Flags = Flags::LOADING.with(Flags::STALE);
const OPERATOR: Flags = HELP.with(Flags::NOSCRIPT).with(Flags::ADMIN);

fn id(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply.count(context.session().id);
}

fn name(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    match context.session().name.as_slice() {
        b"" => reply.null(),
        name => reply.bulk(name),
    }
}

fn set_name(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let name = args.get(2);
    if !is_printable(name) {
        return reply.error(BAD_CLIENT_NAME);
    }
    name.clone_into(&mut context.session().name);
    reply.ok();
}

fn set_info(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let (attribute, value) = (args.get(2), args.get(3));
    let session = context.session();
    let target = if attribute.eq_ignore_ascii_case(b"lib-name") {
        &mut session.library_name
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        &mut session.library_version
    } else {
        return reply.error_bytes(&[b"ERR Unrecognized option '", attribute, b"'"].concat());
    };
    if !is_printable(value) {
        let reason = b" cannot contain spaces, newlines or special characters.";
        return reply.error_bytes(&[b"ERR ", attribute, reason].concat());
    }
    value.clone_into(target);
    reply.ok();
}

fn no_evict(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let switch = parse_switch(args.get(2));
    set_switch(switch, &mut context.session().is_no_evict, reply);
}

fn no_touch(context: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    let switch = parse_switch(args.get(2));
    set_switch(switch, &mut context.session().is_no_touch, reply);
}

fn parse_switch(text: &[u8]) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case(b"on") => Some(true),
        _ if text.eq_ignore_ascii_case(b"off") => Some(false),
        _ => None,
    }
}

fn set_switch(switch: Option<bool>, target: &mut bool, reply: &mut Reply<'_>) {
    let Some(switch) = switch else {
        return reply.error(SYNTAX_ERROR);
    };
    *target = switch;
    reply.ok();
}

fn info(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    let now = context.now;
    reply.verbatim(describe(context.session(), now).as_bytes());
}

/// One connection as a line of CLIENT LIST.
fn describe(session: &Session, now: Now) -> String {
    let seconds_since = |ms: u64| now.ms().saturating_sub(ms) / 1_000;
    let text = String::from_utf8_lossy;
    let queue = session.queue.as_deref();
    let total_len_bytes = size_of::<Session>()
        + session.input_len_bytes
        + session.input_free_bytes
        + session.arguments_len_bytes
        + session.output_capacity_bytes;
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 \
         multi={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} \
         omem={} tot-mem={} events={} cmd={} user=default redir=-1 resp={} lib-name={} \
         lib-ver={}\n",
        session.id,
        session.address,
        session.local_address,
        session.fd,
        text(&session.name),
        seconds_since(session.created_at_ms),
        seconds_since(session.last_active_ms),
        describe_flags(session),
        queue.map_or(-1, |queue| i64::try_from(queue.len()).unwrap_or(i64::MAX)),
        session.input_len_bytes,
        session.input_free_bytes,
        session.arguments_len_bytes,
        queue.map_or(0, super::Queue::len_bytes),
        session.output_capacity_bytes,
        session.output_capacity_bytes,
        session.output_len_bytes,
        session.output_extern_count,
        session.output_len_bytes,
        total_len_bytes,
        if session.output_len_bytes > 0 {
            "rw"
        } else {
            "r"
        },
        session.last_command.map_or("NULL", |row| row.name),
        if session.protocol == Protocol::Resp3 {
            3
        } else {
            2
        },
        text(&session.library_name),
        text(&session.library_version),
    )
}

/// Redis's letters; `N` stands for none.
fn describe_flags(session: &Session) -> String {
    let letters = [
        (session.queue.is_some(), 'x'),
        (session.is_waiting(), 'b'),
        (session.close_after_reply, 'c'),
        (session.is_killed, 'A'),
        (session.is_unix, 'U'),
        (session.is_no_evict, 'e'),
        (session.is_no_touch, 'T'),
    ];
    let set: String = letters
        .iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, l)| *l)
        .collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// Which connections LIST lists.
enum Listed {
    All,
    None,
    /// Those with these numbers, in this order.
    Ids(Vec<u64>),
}

impl Listed {
    fn parse(args: Args<'_>) -> Result<Self, Vec<u8>> {
        if args.len() == 2 {
            return Ok(Self::All);
        }
        let option = args.get(2);
        if args.len() == 4 && option.eq_ignore_ascii_case(b"type") {
            return Ok(if is_normal_type(args.get(3))? {
                Self::All
            } else {
                Self::None
            });
        }
        if args.len() > 3 && option.eq_ignore_ascii_case(b"id") {
            let ids = args.slice(3..).iter().map(number::parse_i64);
            let ids = ids
                .map(|id| id.map(|id| u64::try_from(id).unwrap_or(0)))
                .collect();
            return Option::map(ids, Self::Ids).ok_or(b"ERR Invalid client ID".to_vec());
        }
        Err(SYNTAX_ERROR.into())
    }
}

/// Whether a connection type is the one that all connections here have.
fn is_normal_type(name: &[u8]) -> Result<bool, Vec<u8>> {
    let others: [&[u8]; 4] = [b"master", b"replica", b"slave", b"pubsub"];
    if name.eq_ignore_ascii_case(b"normal") {
        Ok(true)
    } else if others.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        Ok(false)
    } else {
        Err([b"ERR Unknown client type '", printed(name), b"'"].concat())
    }
}

/// The lines of this core's connections, so many a call; or an error.
fn list(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let listed = match Listed::parse(args) {
        Ok(listed) => listed,
        Err(error) => {
            reply.error_bytes(&error);
            return Status::Done;
        }
    };
    let is_listed = |session: &Session| match &listed {
        Listed::All => true,
        Listed::None => false,
        Listed::Ids(ids) => ids.contains(&session.id),
    };
    let clients = &context.core.clients;
    let start = usize::try_from(context.resume.cursor).unwrap_or(usize::MAX);
    let end = clients
        .index_end()
        .min(start.saturating_add(LISTED_PER_CALL_COUNT));
    for session in clients
        .within(start..end)
        .filter(|session| is_listed(session))
    {
        reply.raw(describe(session, context.now).as_bytes());
    }
    if end == clients.index_end() {
        return Status::Done;
    }
    context.resume.cursor = end as u64;
    Status::Again
}

/// All lines in the order in which the clients connected, or in the order they were asked for.
fn merge_list(
    _: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let listed = match Listed::parse(args) {
        Ok(listed) => listed,
        Err(error) => return reply.error_bytes(&error),
    };
    let lines = parts
        .iter()
        .flat_map(|part| part.reply.split_inclusive(|byte| *byte == b'\n'));
    let mut lines: Vec<(u64, &[u8])> = lines.map(|line| (line_id(line), line)).collect();
    lines.sort_unstable_by_key(|(id, _)| *id);
    let chosen: Vec<&[u8]> = match listed {
        Listed::All | Listed::None => lines.iter().map(|(_, line)| *line).collect(),
        Listed::Ids(ids) => {
            let find = |id: &u64| lines.binary_search_by_key(id, |(id, _)| *id).ok();
            ids.iter()
                .filter_map(find)
                .map(|index| lines[index].1)
                .collect()
        }
    };
    reply.verbatim(&chosen.concat());
}

/// The number in a line that [`describe`] wrote.
fn line_id(line: &[u8]) -> u64 {
    let digits = line.strip_prefix(b"id=").unwrap_or_default();
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |id, digit| id * 10 + u64::from(digit - b'0'))
}

/// Which connections KILL closes: those that all given conditions hold for.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    /// A type or user that no connection has.
    is_none: bool,
    includes_caller: bool,
    /// `CLIENT KILL address`, whose reply is not a count.
    is_old_form: bool,
}

impl<'a> Victims<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Vec<u8>> {
        if args.len() == 3 {
            let address = Some(args.get(2));
            return Ok(Self {
                address,
                includes_caller: true,
                is_old_form: true,
                ..Self::default()
            });
        }
        let mut victims = Self::default();
        let mut rest = args.slice(2..);
        while !rest.is_empty() {
            if rest.len() == 1 {
                return Err(SYNTAX_ERROR.into());
            }
            victims.narrow(rest.get(0), rest.get(1))?;
            rest = rest.slice(2..);
        }
        Ok(victims)
    }

    fn narrow(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), Vec<u8>> {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = number::parse_i64(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0);
                self.id = Some(id.ok_or(b"ERR client-id should be greater than 0".to_vec())?);
            }
            b"addr" => self.address = Some(value),
            b"laddr" => self.local_address = Some(value),
            b"type" => self.is_none |= !is_normal_type(value)?,
            b"user" if value == DEFAULT_USER => {}
            b"user" => return Err([b"ERR No such user '", printed(value), b"'"].concat()),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.includes_caller = false,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.includes_caller = true,
            _ => return Err(SYNTAX_ERROR.into()),
        }
        Ok(())
    }

    fn includes(&self, session: &Session, is_caller: bool) -> bool {
        !self.is_none
            && (!is_caller || self.includes_caller)
            && self.id.is_none_or(|id| id == session.id)
            && self
                .address
                .is_none_or(|address| address == session.address.as_bytes())
            && self
                .local_address
                .is_none_or(|address| address == session.local_address.as_bytes())
    }
}

/// Closes this core's victims and counts them. The caller gets its reply first.
fn kill(context: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Status {
    let victims = match Victims::parse(args) {
        Ok(victims) => victims,
        Err(error) => {
            reply.error_bytes(&error);
            return Status::Done;
        }
    };
    let clients = &mut context.core.clients;
    let chosen: Vec<ClientIndex> = clients
        .iter()
        .filter(|(index, session)| victims.includes(session, context.caller == Some(*index)))
        .map(|(index, _)| index)
        .collect();
    for index in &chosen {
        if context.caller == Some(*index) {
            clients[*index].close_after_reply = true;
        } else {
            clients.kill(*index);
        }
    }
    context.resume.count = chosen.len() as u64;
    Status::Done
}

fn merge_kill(
    _: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: &[Part<'_>],
    reply: &mut Reply<'_>,
) {
    let victims = match Victims::parse(args) {
        Ok(victims) => victims,
        Err(error) => return reply.error_bytes(&error),
    };
    let count = parts.iter().map(|part| part.count).sum();
    match (victims.is_old_form, count) {
        (true, 0) => reply.error("ERR No such client"),
        (true, _) => reply.ok(),
        (false, _) => reply.count(count),
    }
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "CLIENT", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "GETNAME",
    "    Return the name of this connection.",
    "ID",
    "    Return the number of this connection.",
    "INFO",
    "    Return the line of this connection in LIST.",
    "KILL <ip:port>",
    "    Close the connection from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections that all options hold for:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      From this address.",
    "    * ID <client-id>",
    "      With this number.",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      To this address of the server.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Of this type; all are NORMAL.",
    "    * USER <username>",
    "      Of this user; there is only 'default'.",
    "    * SKIPME (YES|NO)",
    "      Spare this connection (default: yes).",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [<client-id> ...]]",
    "    Return a line about each connection.",
    "NO-EVICT (ON|OFF)",
    "    Keep this connection when connections are closed to free memory.",
    "NO-TOUCH (ON|OFF)",
    "    Do not count reads of this connection as use of the keys.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Let commands wait for so many milliseconds: those that write, or all (default).",
    "REPLY (ON|OFF|SKIP)",
    "    Send replies, send none, or not that of the next command.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Note which client library this connection uses.",
    "SETNAME <name>",
    "    Give this connection a name.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End what a connection waits for, as if its time were over or with an error.",
    "UNPAUSE",
    "    End a pause.",
];

const SYNTAX_ERROR: &str = "ERR syntax error";
/// Connections LIST looks at before others get their turn: a fraction of a millisecond.
const LISTED_PER_CALL_COUNT: usize = 256;

#[cfg(test)]
mod tests;
