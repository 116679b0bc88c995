//! ACL: the one user there is, for clients that ask.
//!
//! Users and their rights are not there yet; the password of `default` is `requirepass`. What would
//! change users is refused by name (`unsupported`).

use crate::resp::{Args, Reply};

use super::connection::DEFAULT_USER;
use super::docs::{self, CATEGORIES};
use super::refusal::printed;
use super::table::tallied;
use super::{Flags, Row, Run, SessionContext, reply_help, subcommand_arity};

pub(super) const ROWS: &[Row] = &[Row {
    name: "acl",
    arity: -2,
    subcommands: SUBCOMMANDS,
    ..Row::BLANK
}];

const SUBCOMMANDS: &[Row] = &[
    Row {
        name: "acl|cat",
        arity: -2,
        run: Run::Session(categories),
        ..ANY_TIME
    },
    Row {
        name: "acl|help",
        arity: 2,
        run: Run::Session(help),
        ..ANY_TIME
    },
    Row {
        name: "acl|list",
        arity: 2,
        flags: OPERATOR,
        run: Run::Session(list),
        ..ANY_TIME
    },
    Row {
        name: "acl|users",
        arity: 2,
        flags: OPERATOR,
        run: Run::Session(|_, _, reply| {
            reply.array(1);
            reply.bulk(DEFAULT_USER);
        }),
        ..ANY_TIME
    },
    Row {
        name: "acl|whoami",
        arity: 2,
        run: Run::Session(|_, _, reply| reply.bulk(DEFAULT_USER)),
        ..ANY_TIME
    },
];

const ANY_TIME: Row = Row {
    flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE),
    ..Row::BLANK
};
const OPERATOR: Flags = ANY_TIME.flags.with(Flags::ADMIN);

/// The categories, or the commands of one.
fn categories(_: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 2 {
        reply.array(CATEGORIES.len());
        CATEGORIES
            .iter()
            .for_each(|name| reply.bulk(name.as_bytes()));
        return;
    }
    let wanted = args.get(2);
    let is_wanted = |name: &str| name.as_bytes().eq_ignore_ascii_case(wanted);
    if args.len() > 3 {
        return reply.error_bytes(&subcommand_arity(args));
    }
    if !CATEGORIES.iter().any(|name| is_wanted(name)) {
        return reply.error_bytes(&[b"ERR Unknown category '", printed(wanted), b"'"].concat());
    }
    let names: Vec<&str> = tallied()
        .filter(|row| docs::categories(row, docs::of(row.name)).any(is_wanted))
        .map(|row| row.name)
        .collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
}

fn list(context: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    // Redis shows a digest of the password; who may see the list may change it.
    let password = match context.core.settings.requirepass.as_str() {
        "" => "nopass",
        _ => "(requirepass)",
    };
    reply.array(1);
    reply.bulk(format!("user default on {password} ~* &* +@all").as_bytes());
}

fn help(_: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) {
    reply_help(reply, "ACL", HELP_LINES);
}

const HELP_LINES: &[&str] = &[
    "CAT [<category>]",
    "    Return the categories of commands, or the commands of one.",
    "LIST",
    "    Return the rules of all users: of 'default'.",
    "USERS",
    "    Return the names of all users.",
    "WHOAMI",
    "    Return the name of this connection's user.",
];

#[cfg(test)]
mod tests {
    use crate::command::tests::Cores;

    #[test]
    fn there_is_one_user_who_may_do_everything() {
        let mut cores = Cores::new(1);
        assert_eq!(cores.run("ACL WHOAMI"), "$7\r\ndefault\r\n");
        assert_eq!(cores.run("ACL USERS"), "*1\r\n$7\r\ndefault\r\n");
        let all = "*1\r\n$38\r\nuser default on nopass ~* &* +@all\r\n".replace("$38", "$34");
        assert_eq!(cores.run("ACL LIST"), all);
        let refused = cores.run("ACL SETUSER x");
        assert!(
            refused.starts_with("-ERR 'ACL SETUSER' is not supported: "),
            "{refused}"
        );
    }

    #[test]
    fn categories_have_the_commands_of_the_table() {
        let mut cores = Cores::new(1);
        assert!(cores.run("ACL CAT").contains("$8\r\nkeyspace\r\n"));
        assert!(cores.run("ACL CAT string").contains("$3\r\nget\r\n"));
        assert_eq!(
            cores.run("ACL CAT nosuch"),
            "-ERR Unknown category 'nosuch'\r\n"
        );
    }
}
