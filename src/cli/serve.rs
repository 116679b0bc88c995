//! `coremap serve`: options and a file become a [`Config`], which a server runs with.
//!
//! ```text
//!   arguments ──normalize──► argh ──► Config ──► Server::start ──► wait
//!                  │ --opt=value, several values, Redis's names
//! ```
//!
//! Options are Redis's: `--port 6379`, `--port=6379`, `--bind A B`, and whatever setting of Redis has
//! no meaning here is treated as in a configuration file.

use std::fmt::Write as _;
use std::path::Path;

use argh::{ArgsInfo, FromArgs};

use crate::config::{self, Applied, Config, Group, SETTINGS};
use crate::error::Error;
use crate::server::{self, Server};

use super::{Request, one_line};

/// Run the server.
#[derive(FromArgs, ArgsInfo)]
pub(super) struct Serve {
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

/// Runs a server until it is told to stop. `arguments` are those of `serve` that gave the configuration:
/// they and the file are read again at SIGHUP.
pub(super) fn run(
    config: Config,
    warnings: &[String],
    arguments: Vec<String>,
) -> Result<(), Error> {
    // Before any thread exists: signals are blocked in all of them.
    let process = server::take_over_process()?;
    let reread = move || match parse(&arguments)? {
        Request::Serve { config, warnings } => Ok((*config, warnings)),
        _ => Err(Error::Usage("the arguments ask for no server".to_owned())),
    };
    Server::start_as(config, warnings, process, Box::new(reread))?.wait()
}

/// What the arguments of `serve` ask for.
pub(super) fn parse(arguments: &[String]) -> Result<Request, Error> {
    let normal = normalize(arguments)?;
    let arguments: Vec<&str> = normal.arguments.iter().map(String::as_str).collect();
    let serve = Serve::from_args(&["coremap"], &arguments)
        .map_err(|exit| Error::Usage(one_line(&exit.output)))?;
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

/// Brings the arguments into argh's form: `--name=value` split, settings apart.
fn normalize(arguments: &[String]) -> Result<Normal, Error> {
    let mut rest = arguments.iter().peekable();
    let mut normal = Normal::default();
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

/// The settings in groups, each with its default.
pub(super) fn help() -> String {
    let mut text = String::from(
        "Usage: coremap [serve] [FILE] [--NAME VALUE]...\n\
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
           --help                             print this and exit\n",
    );
    text
}
