//! `coremap doctor`: what on this host limits the server, and the fix for each.
//!
//! ```text
//!   options, file ──► Host: the tree below a root, what only the kernel can answer
//!                       │
//!   CHECKS, a row each: ├──► look ──► Finding: verdict, what was measured, the fix
//!                       │
//!                       └──► report: for people, or JSON
//! ```
//!
//! Nothing is guessed: what cannot be read is `unknown`, with the reason. Everything that stands in
//! files is read below a root, so that tests show each verdict on a tree of their own. The limits are
//! those of this process, as of a server started from the same shell, or with `--pid` those of a
//! server that runs.
//!
//! Not here: changing anything (`tuning/apply.sh`).

mod checks;
mod cpus;
mod disk;
mod host;
mod memory;
mod network;
mod process;
mod report;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};

use crate::config::{Applied, Config};
use crate::error::Error;

use checks::{CHECKS, Finding, Verdict};
use host::Host;

/// Look for what on this host limits the server, with the fix for each. Exits with 1 if something is bad.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
pub(super) struct Doctor {
    /// configuration file of the server, for dir, cpus, shards, maxmemory and other settings that ask something of the host
    #[argh(option)]
    config: Option<PathBuf>,
    /// directory of the server's data; its file system and disk are tried
    #[argh(option)]
    dir: Option<String>,
    /// CPUs of the server, as 0,2-5 (all allowed, within the quota)
    #[argh(option)]
    cpus: Option<String>,
    /// look at the limits of the running server with this number, instead of this shell's
    #[argh(option)]
    pid: Option<u32>,
    /// root of the tree that is read (/), as where a container sees its host's
    #[argh(option, default = "PathBuf::from(\"/\")")]
    root: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

impl Doctor {
    /// Looks, and says what was found.
    ///
    /// # Errors
    /// The options make no sense, or something is bad.
    pub(super) fn run(&self) -> Result<(), Error> {
        let host = Host::new(&self.root, self.pid, self.configure()?.settings);
        let findings: Vec<Finding> = CHECKS.iter().map(|check| check.run(&host)).collect();
        let text = if self.json {
            report::json(&host, &findings)
        } else {
            let is_colourful = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            report::text(&host, &findings, is_colourful)
        };
        let written = stdout().write_all(text.as_bytes());
        written.map_err(|reason| Error::failed("cannot write the report", &reason))?;
        let bad: Vec<&str> = CHECKS
            .iter()
            .zip(&findings)
            .filter(|(_, finding)| finding.verdict == Verdict::Bad)
            .map(|(check, _)| check.name)
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        Err(Error::Failed(format!("bad: {}", bad.join(", "))))
    }

    /// Defaults, then the file, then the options.
    fn configure(&self) -> Result<Config, Error> {
        let mut config = Config::default();
        if let Some(path) = &self.config {
            // Its warnings are for who starts the server.
            let _warnings = config.read_file(path)?;
        }
        for (name, value) in [("dir", &self.dir), ("cpus", &self.cpus)] {
            let Some(value) = value else { continue };
            match config.set(name, std::slice::from_ref(value)) {
                Ok(Applied::Set | Applied::Ignored(_)) => {}
                Err(error) => return Err(Error::Usage(format!("--{error}"))),
            }
        }
        Ok(config)
    }
}

/// Whether the tree is this host's own, so that its kernel can be asked.
fn is_own_root(root: &Path) -> bool {
    root == Path::new("/")
}

#[cfg(test)]
mod tests;
