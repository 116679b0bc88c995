//! The command line of the binary.
//!
//! ```text
//!   arguments ──normalize──► argh ──► Config ──► Server::start ──► wait ──► exit code
//!                  │ --opt=value, several values, Redis's names
//! ```
//!
//! `coremap` alone is `coremap serve`. Options are Redis's: `--port 6379`, `--port=6379`, `--bind A B`, and
//! whatever setting of Redis has no meaning here is treated as in a configuration file. Errors are
//! one line on stderr that begins with `coremap: `; the exit code is 0, 1 (could not run) or
//! 2 (bad usage).

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use argh::FromArgs;

use crate::config::{self, Applied, Config, Group, SETTINGS};
use crate::error::Error;
use crate::server::{self, Server};

/// A Redis-protocol key-value server.
#[derive(FromArgs)]
struct Coremap {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Serve(Serve),
}

/// Run the server.
#[derive(FromArgs)]
#[argh(subcommand, name = "serve")]
struct Serve {
    /// configuration file
    #[argh(positional)]
    file: Option<String>,
    /// configuration file
    #[argh(option)]
    config: Option<String>,
    /// print what would be in force and exit
    #[argh(switch)]
    print_config: bool,
}

/// The arguments in argh's form, and the settings that were among them.
#[derive(Default)]
struct Normal {
    arguments: Vec<String>,
    /// Names in lower case, with their values, in the order given.
    settings: Vec<(String, Vec<String>)>,
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Serve {
        config: Box<Config>,
        warnings: Vec<String>,
    },
    Print(String),
}

/// Runs the binary with the arguments that follow its name; returns its exit code.
pub fn run(arguments: &[String]) -> ExitCode {
    let result = match parse(arguments) {
        Ok(Request::Print(text)) => {
            print!("{text}");
            Ok(())
        }
        Ok(Request::Serve { config, warnings }) => serve(*config, &warnings),
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

fn serve(config: Config, warnings: &[String]) -> Result<(), Error> {
    for warning in warnings {
        eprintln!("coremap: warning: {warning}");
    }
    // Before any thread exists: signals are blocked in all of them.
    let signals = server::take_over_process()?;
    Server::start_until(config, signals)?.wait()
}

fn parse(arguments: &[String]) -> Result<Request, Error> {
    match arguments.first().map(String::as_str) {
        Some("--version" | "-v" | "version") => {
            return Ok(Request::Print(format!(
                "coremap {}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        Some("--help" | "-h" | "help") => return Ok(Request::Print(help())),
        _ => {}
    }
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        return Ok(Request::Print(help()));
    }
    let normal = normalize(arguments)?;
    let arguments: Vec<&str> = normal.arguments.iter().map(String::as_str).collect();
    let parsed = Coremap::from_args(&["coremap"], &arguments)
        .map_err(|exit| Error::Usage(one_line(&exit.output)))?;
    let Command::Serve(serve) = parsed.command;
    configure(&serve, &normal.settings)
}

/// Defaults, then the file, then the options.
fn configure(serve: &Serve, settings: &[(String, Vec<String>)]) -> Result<Request, Error> {
    let mut config = Config {
        log: true,
        ..Config::default()
    };
    let mut warnings = Vec::new();
    match (&serve.file, &serve.config) {
        (Some(_), Some(_)) => {
            return Err(Error::Usage(
                "two configuration files, one is enough".to_owned(),
            ));
        }
        (Some(file), None) | (None, Some(file)) => warnings = config.read_file(Path::new(file))?,
        (None, None) => {}
    }
    for (name, values) in settings {
        if !config::is_known(name) {
            return Err(unknown_option(name));
        }
        match config.set(name, values) {
            Ok(Applied::Set) => {}
            Ok(Applied::Ignored(warning)) => warnings.push(format!("--{warning}")),
            Err(error) => return Err(Error::Usage(format!("--{error}"))),
        }
    }
    if serve.print_config {
        return Ok(Request::Print(config.to_string()));
    }
    Ok(Request::Serve {
        config: Box::new(config),
        warnings,
    })
}

/// Brings the arguments into argh's form: a subcommand first, `--name=value` split, settings apart.
fn normalize(arguments: &[String]) -> Result<Normal, Error> {
    let mut rest = arguments.iter().peekable();
    match rest.peek().map(|argument| argument.as_str()) {
        Some("serve") => _ = rest.next(),
        Some(word) if !word.starts_with('-') && !Path::new(word).is_file() => {
            return Err(Error::Usage(format!(
                "unknown command '{word}' (there is serve; see coremap --help)"
            )));
        }
        _ => {}
    }
    let mut normal = Normal {
        arguments: vec!["serve".to_owned()],
        ..Normal::default()
    };
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix("--") else {
            if argument.starts_with('-') {
                return Err(Error::Usage(format!("unknown option '{argument}'")));
            }
            normal.arguments.push(argument.clone());
            continue;
        };
        if option == "print-config" {
            normal.arguments.push(argument.clone());
            continue;
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value)),
            None => (option.to_ascii_lowercase(), None),
        };
        let mut values: Vec<String> = value.into_iter().map(str::to_owned).collect();
        if name == "config" {
            let file = values.pop().or_else(|| rest.next().cloned());
            let file = file.ok_or_else(|| Error::Usage("--config: needs a file".to_owned()))?;
            normal.arguments.extend(["--config".to_owned(), file]);
            continue;
        }
        if values.is_empty() {
            values.extend(
                std::iter::from_fn(|| rest.next_if(|next| !next.starts_with("--"))).cloned(),
            );
        }
        normal.settings.push((name, values));
    }
    Ok(normal)
}

fn unknown_option(name: &str) -> Error {
    Error::Usage(match config::nearest_name(name) {
        Some(nearest) => format!("unknown option '--{name}', did you mean '--{nearest}'?"),
        None => format!("unknown option '--{name}' (see coremap --help)"),
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn help() -> String {
    let mut text = String::from(
        "coremap: a Redis-protocol key-value server, one pinned thread and one shard per core\n\
         \n\
         Usage: coremap [serve] [FILE] [--NAME VALUE]...\n\
         \n\
         FILE has one \"NAME VALUE\" a line, as redis.conf. Options win over it.\n",
    );
    for group in Group::ALL {
        let _ = writeln!(text, "\n{}:", group.heading());
        let settings = SETTINGS.iter();
        for setting in settings.filter(|setting| setting.group == Some(group)) {
            let name = format!("--{} {}", setting.name, setting.placeholder);
            let default = setting.default_text();
            let _ = writeln!(text, "  {name:<34} {} [{default}]", setting.help);
        }
    }
    text.push_str(
        "\nOther:\n  \
           --config FILE                      the same as FILE\n  \
           --print-config                     print what would be in force and exit\n  \
           --version                          print the version and exit\n  \
           --help                             print this and exit\n\
         \n\
         Exit codes: 0 clean, 1 could not run, 2 bad usage.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Request, Error> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn config(line: &str) -> Config {
        match parse_words(line) {
            Ok(Request::Serve { config, .. }) => *config,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        let error = parse_words(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    }

    #[test]
    fn options_are_accepted_in_every_form_that_redis_users_type() {
        for line in [
            "--port 7000",
            "--port=7000",
            "serve --port 7000",
            "serve --PORT=7000",
        ] {
            assert_eq!(config(line).settings.port, 7000, "{line}");
        }
        let config = config("--bind 127.0.0.1 -::1 --save --appendonly no --shards 2");
        assert_eq!(config.settings.bind.len(), 2);
        assert_eq!(config.settings.shards, 2);
        assert!(config.log);
    }

    #[test]
    fn nothing_at_all_is_serve_with_the_defaults() {
        assert_eq!(
            config(""),
            Config {
                log: true,
                ..Config::default()
            }
        );
    }

    #[test]
    fn bad_usage_is_one_line_that_names_what_is_wrong() {
        for (line, message) in [
            (
                "--prot 7000",
                "unknown option '--prot', did you mean '--port'?",
            ),
            ("--port", "--port: needs a value"),
            (
                "--port many",
                "--port: 'many' is not a number from 0 to 65535",
            ),
            ("-p 7000", "unknown option '-p'"),
            ("frobnicate", "unknown command 'frobnicate'"),
            ("--dir", "--dir: needs a value"),
            (
                "--appendfsync sometimes",
                "--appendfsync: 'sometimes' is none of: always, everysec, no",
            ),
            ("--config", "--config: needs a file"),
            ("serve a.conf b.conf", "Unrecognized argument"),
            ("--quux a", "unknown option '--quux'"),
        ] {
            let refused = refusal(line);
            assert!(refused.starts_with(message), "{line}: {refused}");
        }
    }

    #[test]
    fn help_shows_every_setting_with_its_default() {
        let Ok(Request::Print(text)) = parse_words("serve --help") else {
            panic!("no help")
        };
        for setting in SETTINGS.iter().filter(|setting| setting.group.is_some()) {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("  --{} ", setting.name)));
            let line = line.expect(setting.name);
            assert!(line.contains(setting.help), "{line}");
            let default = format!(" [{}]", setting.default_text());
            assert!(line.ends_with(&default) && default != " []", "{line}");
        }
    }

    #[test]
    fn print_config_shows_what_would_be_in_force() {
        let Ok(Request::Print(text)) = parse_words("--print-config --port 7000") else {
            panic!("not printed")
        };
        assert!(
            text.contains("port 7000\n") && text.contains("maxclients 10000\n"),
            "{text}"
        );
    }
}
