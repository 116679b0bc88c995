//! Man pages, in the macros of man(7).

use std::fmt::Write as _;

use super::{Opt, Tool, settings};
use crate::config::{Field, Group};

const ENDS: &str = "0 clean, 1 could not run, 2 bad usage.";

/// Every page, with its path.
pub(super) fn pages(server: &Tool, tools: &[Tool]) -> Vec<(String, String)> {
    let mut pages = vec![
        ("man/coremap.1".to_owned(), of_server(server, tools)),
        ("man/coremap.conf.5".to_owned(), of_settings()),
    ];
    for tool in tools {
        pages.push((format!("man/coremap-{}.1", tool.name), of_tool(tool)));
    }
    pages
}

fn of_server(server: &Tool, tools: &[Tool]) -> String {
    let mut page = head("COREMAP", 1, "coremap", "a Redis-protocol key-value server");
    page += ".SH SYNOPSIS\n.B coremap\n[serve] [FILE] [\\-\\-NAME VALUE] ...\n.br\n\
             .B coremap\n.I COMMAND\n[ARGUMENT ...]\n";
    page += ".SH DESCRIPTION\nServes Redis's protocol with one pinned thread and one shard of the keys \
             per CPU. FILE has a setting a line, as\n.BR coremap.conf (5)\ndescribes; options win over \
             it.\n.SH COMMANDS\n";
    for tool in tools {
        let _ = writeln!(page, ".TP\n.BR coremap\\-{} (1)", tool.name);
        line(&mut page, &tool.summary);
    }
    page += ".SH OPTIONS\nEvery setting of\n.BR coremap.conf (5)\nis an option.\n";
    options(&mut page, &server.options);
    page += ".SH SIGNALS\n.TP\n.BR SIGTERM \", \" SIGINT\nStop accepting, finish what was received, \
             write what is to be kept, and exit with 0.\n";
    let others = tools
        .iter()
        .map(|tool| format!("coremap\\-{}(1)", tool.name));
    let others: Vec<String> = others.chain(["coremap.conf(5)".to_owned()]).collect();
    page + &tail(&others.join(", "))
}

fn of_tool(tool: &Tool) -> String {
    let name = format!("coremap-{}", tool.name);
    let first = tool.summary.split(". ").next().unwrap_or_default();
    let short = first.trim_end_matches('.');
    let mut page = head(&name.to_uppercase(), 1, &name, short);
    let _ = writeln!(page, ".SH SYNOPSIS\n.B coremap {}\n[OPTION ...]", tool.name);
    for (argument, _) in &tool.arguments {
        line(&mut page, argument);
    }
    page += ".SH DESCRIPTION\n";
    line(&mut page, &tool.summary);
    for (argument, what) in &tool.arguments {
        let _ = writeln!(page, ".TP\n.I {}", escaped(argument));
        line(&mut page, what);
    }
    page += ".SH OPTIONS\n";
    options(&mut page, &tool.options);
    page + &tail("coremap(1)")
}

fn of_settings() -> String {
    let mut page = head("COREMAP.CONF", 5, "coremap.conf", "settings of coremap");
    page += ".SH DESCRIPTION\nOne setting a line, its name and its value; lines that begin with # are \
             comments. Values with blanks are quoted. Sizes take kb, mb and gb. Names are those of \
             redis.conf wherever Redis has the setting; what Redis has and Coremap lacks is warned of \
             once, and refused where ignoring it would weaken safety.\n";
    for group in Group::ALL {
        let _ = writeln!(page, ".SH {}", group.heading().to_uppercase());
        for setting in settings().filter(|setting| setting.group == Some(group)) {
            let (name, value) = (escaped(setting.name), escaped(setting.placeholder));
            let _ = writeln!(page, ".TP\n.BR {name} \" {value}\"");
            line(&mut page, &format!("{}.", sentence(setting.help)));
            if let Field::Choice { choices, .. } = setting.field {
                line(&mut page, &format!("One of {}.", choices.join(", ")));
            }
            line(&mut page, &format!("Default: {}.", setting.default_text()));
            if setting.is_live {
                line(&mut page, "CONFIG SET changes it while the server runs.");
            }
        }
    }
    page + &tail("coremap(1)")
}

fn head(title: &str, section: u8, name: &str, what: &str) -> String {
    let mut page = format!(
        ".TH {} {section} \"\" \"coremap {}\"\n.SH NAME\n{} \\- ",
        escaped(title),
        env!("CARGO_PKG_VERSION"),
        escaped(name)
    );
    let mut letters = what.chars();
    let lower = letters.next().map(|first| first.to_lowercase().to_string());
    let _ = writeln!(
        page,
        "{}{}",
        lower.unwrap_or_default(),
        escaped(letters.as_str())
    );
    page
}

fn tail(others: &str) -> String {
    format!(".SH EXIT STATUS\n{ENDS}\n.SH SEE ALSO\n{others}\n")
}

fn options(page: &mut String, options: &[Opt]) {
    for option in options {
        page.push_str(".TP\n.B ");
        if let Some(short) = option.short {
            let _ = write!(page, "\\-{short}, ");
        }
        let _ = write!(page, "\\-\\-{}", escaped(&option.long));
        if let Some(value) = &option.placeholder {
            let _ = write!(page, " {}", escaped(value));
        }
        page.push('\n');
        line(page, &sentence(&option.help));
    }
}

/// Text as a line of its own.
fn line(page: &mut String, text: &str) {
    let text = escaped(text);
    // A line that begins with one of these would be a request.
    let guard = if text.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    let _ = writeln!(page, "{guard}{text}");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
