//! The command line of the binary: which command, and what it answers with.
//!
//! ```text
//!   serve    run the server; also what `coremap` alone does
//!   backup   copy the data of a running server
//!   check    verify a data directory that no server uses
//!   import   bring the strings of an RDB file into a running server
//!   cli      send commands to a running server
//!   doctor   look for what on this host limits the server
//!   generate write man pages and shell completions
//! ```
//!
//! Errors are one line on stderr that begins with `coremap: `; the exit code is 0, 1 (could not run)
//! or 2 (bad usage).

mod backup;
mod check;
mod client;
mod doctor;
mod generate;
mod import;
mod progress;
mod reply;
mod serve;
mod shell;
mod version;

use std::path::Path;
use std::process::ExitCode;

use argh::FromArgs;

use crate::config::Config;
use crate::error::Error;

/// What the arguments ask for.
#[derive(Debug, PartialEq)]
enum Request {
    Print(String),
    Serve {
        config: Box<Config>,
        warnings: Vec<String>,
    },
    Backup(backup::Backup),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Generate(generate::Generate),
    Import(import::Import),
    Shell(Box<shell::Shell>),
}

/// Runs the binary with the arguments that follow its name; returns its exit code.
pub fn run(arguments: &[String]) -> ExitCode {
    let request = parse(arguments);
    if !matches!(request, Ok(Request::Serve { .. })) {
        crate::sys::end_with_reader();
    }
    let result = match request {
        Ok(Request::Print(text)) => {
            print!("{text}");
            Ok(())
        }
        Ok(Request::Serve { config, warnings }) => {
            let of_serve = match arguments.split_first() {
                Some((first, rest)) if first == "serve" => rest,
                _ => arguments,
            };
            serve::run(*config, &warnings, of_serve.to_vec())
        }
        Ok(Request::Backup(backup)) => backup.run(),
        Ok(Request::Check(check)) => check.run(),
        Ok(Request::Doctor(doctor)) => doctor.run(),
        Ok(Request::Generate(generate)) => generate.run(),
        Ok(Request::Import(import)) => import.run(),
        Ok(Request::Shell(shell)) => shell.run(),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coremap: error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn parse(arguments: &[String]) -> Result<Request, Error> {
    let Some((first, rest)) = arguments.split_first() else {
        return serve::parse(arguments);
    };
    match first.as_str() {
        "--version" | "-v" | "version" => Ok(Request::Print(version::text())),
        "--help" | "-h" | "help" => Ok(Request::Print(help())),
        "backup" => Ok(tool(first, rest)?.map_or_else(Request::Print, Request::Backup)),
        "check" => Ok(tool(first, rest)?.map_or_else(Request::Print, Request::Check)),
        "doctor" => Ok(tool(first, rest)?.map_or_else(Request::Print, Request::Doctor)),
        "generate" => Ok(tool(first, rest)?.map_or_else(Request::Print, Request::Generate)),
        "import" => Ok(tool(first, rest)?.map_or_else(Request::Print, Request::Import)),
        "cli" => Ok(tool_as_given(first, rest)?
            .map_or_else(Request::Print, |shell| Request::Shell(Box::new(shell)))),
        "serve" => parse_serve(rest),
        word if word.starts_with('-') || Path::new(word).is_file() => parse_serve(arguments),
        word => Err(Error::Usage(format!(
            "'{word}' is neither a file nor a command (there are serve, backup, check, import, cli, doctor and generate; see coremap --help)"
        ))),
    }
}

fn parse_serve(arguments: &[String]) -> Result<Request, Error> {
    let mut words = arguments.iter().map(String::as_str);
    if words.any(|word| word == "--help" || word == "-h") {
        return Ok(Request::Print(help()));
    }
    serve::parse(arguments)
}

/// The arguments of a command other than `serve`, or its help if they ask for that.
fn tool<T: FromArgs>(name: &str, arguments: &[String]) -> Result<Result<T, String>, Error> {
    let words: Vec<String> = arguments
        .iter()
        .flat_map(|word| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name.into(), value.into()],
            _ => vec![word.clone()],
        })
        .collect();
    tool_as_given(name, &words)
}

/// The same where `--name=value` is not an option: an argument of a command may look so.
fn tool_as_given<T: FromArgs>(
    name: &str,
    arguments: &[String],
) -> Result<Result<T, String>, Error> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match T::from_args(&["coremap", name], &words) {
        Ok(tool) => Ok(Ok(tool)),
        Err(exit) if exit.status.is_ok() => Ok(Err(exit.output)),
        Err(exit) => Err(Error::Usage(one_line(&exit.output))),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn help() -> String {
    format!(
        "coremap: a Redis-protocol key-value server, one pinned thread and one shard per core\n\
         \n\
         {}\
         \n\
         Tools, each with --help:\n  \
           coremap backup DIRECTORY           copy the data of a running server\n  \
           coremap check DIRECTORY            verify a data directory that no server uses\n  \
           coremap import FILE.rdb            bring the strings of an RDB file into a running server\n  \
           coremap cli [COMMAND ...]          send commands to a running server, as redis-cli\n  \
           coremap doctor                     what on this host limits the server, and the fix for each\n  \
           coremap generate DIRECTORY         write man pages and shell completions\n\
         \n\
         Exit codes: 0 clean, 1 could not run, 2 bad usage.\n",
        serve::help()
    )
}

#[cfg(test)]
mod tests;
