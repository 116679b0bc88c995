//! `coremap generate`: man pages and shell completions, made from the tables of options.
//!
//! ```text
//!   argh's tables of the tools ─┐                ┌─► manual: coremap.1, coremap-TOOL.1, coremap.conf.5
//!                               ├─► Tool, Opt ───┤
//!   the table of settings ──────┘                └─► completion: bash, zsh, fish
//! ```
//!
//! So what they name is what the program takes, and nobody keeps a second list. Nothing in them depends
//! on the machine or the time: the same sources give the same files.

mod completion;
mod manual;

use std::fs;
use std::path::PathBuf;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgs, Optionality};

use super::{backup, check, doctor, import, one_line, serve, shell};
use crate::config::{Field, SETTINGS, Setting};
use crate::error::Error;

/// Options whose values are paths.
const PATHS: &[&str] = &["config", "dir", "directory", "file", "root", "unixsocket"];

/// Write man pages and shell completions into a directory, for packages.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
pub(super) struct Generate {
    /// directory for them; made if it is not there
    #[argh(positional)]
    directory: PathBuf,
}

impl Generate {
    /// Writes them.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (server, tools) = (server(), tools());
        let pages = manual::pages(&server, &tools);
        let scripts = completion::scripts(&server, &tools);
        for (name, text) in pages.into_iter().chain(scripts) {
            let path = self.directory.join(name);
            let folder = path.parent().unwrap_or(&self.directory);
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
            written.map_err(|reason| {
                Error::failed(format_args!("cannot write {}", path.display()), &reason)
            })?;
        }
        Ok(())
    }
}

/// A command of the program as its table describes it.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    /// What it does, in sentences.
    summary: String,
    options: Vec<Opt>,
    /// What follows the options, as a synopsis has it, with what it is.
    arguments: Vec<(String, String)>,
}

/// An option.
#[derive(Debug)]
struct Opt {
    /// Without dashes.
    long: String,
    short: Option<char>,
    /// What stands for its value, if it takes one.
    placeholder: Option<String>,
    values: Values,
    help: String,
}

/// What values an option takes, for completion.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// What is not known here, or none.
    Any,
    Paths,
    Words(&'static [&'static str]),
}

/// The server itself: the settings, and what is only an option.
fn server() -> Tool {
    let mut server = tool("serve", serve::Serve::get_args_info());
    for (long, help) in [
        (
            "version",
            "print the version and how this was built, and exit",
        ),
        ("help", "print every option with its default, and exit"),
    ] {
        server.options.push(Opt {
            long: long.to_owned(),
            short: None,
            placeholder: None,
            values: Values::Any,
            help: help.to_owned(),
        });
    }
    server.options.extend(settings().map(|setting| Opt {
        long: setting.name.to_owned(),
        short: None,
        placeholder: Some(setting.placeholder.to_owned()),
        values: match setting.field {
            Field::Choice { choices, .. } => Values::Words(choices),
            Field::Bool(_) => Values::Words(&["yes", "no"]),
            _ => values_of(setting.name),
        },
        help: setting.help.to_owned(),
    }));
    server
}

/// The settings that leave something to choose.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.group.is_some())
}

fn tools() -> Vec<Tool> {
    vec![
        tool("backup", backup::Backup::get_args_info()),
        tool("check", check::Check::get_args_info()),
        tool("cli", shell::Shell::get_args_info()),
        tool("doctor", doctor::Doctor::get_args_info()),
        tool("generate", Generate::get_args_info()),
        tool("import", import::Import::get_args_info()),
    ]
}

fn tool(name: &'static str, info: CommandInfoWithArgs) -> Tool {
    let options = info.flags.iter().filter(|flag| !flag.hidden).map(|flag| {
        let long = flag.long.trim_start_matches('-').to_owned();
        Opt {
            short: flag.short,
            placeholder: match flag.kind {
                FlagInfoKind::Switch => None,
                FlagInfoKind::Option { arg_name } => Some(arg_name.to_uppercase()),
            },
            values: values_of(&long),
            help: one_line(flag.description),
            long,
        }
    });
    let arguments = info.positionals.iter().map(|argument| {
        let name = argument.name.to_uppercase();
        let synopsis = match argument.optionality {
            Optionality::Required => name,
            Optionality::Optional => format!("[{name}]"),
            Optionality::Repeating | Optionality::Greedy => format!("[{name} ...]"),
        };
        (synopsis, one_line(argument.description))
    });
    Tool {
        name,
        summary: one_line(info.description),
        options: options.collect(),
        arguments: arguments.collect(),
    }
}

fn values_of(option: &str) -> Values {
    if PATHS.contains(&option) {
        Values::Paths
    } else {
        Values::Any
    }
}

#[cfg(test)]
mod tests;
