//! `soak`: keeps a server busy for long, with everything around it that a server meets in service, and
//! says whether anything failed or grew.
//!
//! ```text
//!   real server on a file ◄── open loop at a share of capacity, every reply checked ──► latency.csv
//!       ▲  ▲  ▲  ▲  ▲
//!       │  │  │  │  └ sampled: memory, descriptors, clients, waits                  ──► samples.csv
//!       │  │  │  └ copied and the copy verified         `coremap backup`, `coremap check`
//!       │  │  └ scraped                                 /metrics
//!       │  └ told to read its settings again            SIGHUP, and seen to have done so
//!       └ clients that vanish in the middle             `victims`
//! ```
//!
//! `run` keeps the phases, `jobs` and `victims` are what goes on beside the load, `checks` is what must
//! hold. The page and the plots are functions of the record's files (`page`), so `report` makes them again.

mod checks;
mod client;
mod jobs;
mod page;
mod run;
mod victims;

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;

use crate::load::ValueLens;
use crate::record::{self, Record, write_file};
use crate::table::Table;
use crate::{machine, peers, process};

const LATENCY: &str = "latency.csv";
/// The file by which a folder is known to be a record of `soak`.
const SAMPLES: &str = "samples.csv";
const CHECKS: &str = "checks.csv";
/// Small values, and a few that are stored apart from the log for their size.
const VALUE_LENS: &str = "16..256:999+20000..100000:1";

/// Keep a server busy for long: an open loop of GETs and SETs at a share of its capacity, while clients
/// are killed, settings read again, metrics scraped and backups made and verified. Exits with 1 if
/// there was an error, or memory or descriptors grew.
#[derive(FromArgs)]
#[argh(subcommand, name = "soak")]
pub(crate) struct Options {
    /// length, after the preparation (default 40)
    #[argh(option, default = "40.0")]
    minutes: f64,
    /// load, as a share of what the server did in a closed loop before (default 0.7)
    #[argh(option, default = "0.7")]
    share: f64,
    /// shards of the server (default 2)
    #[argh(option, default = "2")]
    shards: usize,
    /// the server's CPUs, one for each shard (default: the first ones)
    #[argh(option)]
    server_cpus: Option<String>,
    /// the client's CPUs, a thread on each (default: one thread wherever the system puts it)
    #[argh(option)]
    client_cpus: Option<String>,
    /// number of keys (default 250000)
    #[argh(option, default = "250_000")]
    keys: u64,
    /// bytes of a value, as `load` takes them (default 16..256:999+20000..100000:1)
    #[argh(option, default = "VALUE_LENS.parse().expect(\"a sum of ranges\")")]
    value_len: ValueLens,
    /// number of connections of the load (default 50)
    #[argh(option, default = "50")]
    connections: usize,
    /// the coremap binary (default: beside this one)
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// where the server's files and the backups lie meanwhile (default: the place for temporary files)
    #[argh(option, default = "std::env::temp_dir()")]
    dir: PathBuf,
    /// last part of the record's name (default soak)
    #[argh(option, default = "String::from(\"soak\")")]
    name: String,
    /// where records are kept (default bench/results)
    #[argh(option, default = "PathBuf::from(\"bench/results\")")]
    results: PathBuf,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let plan = options.plan()?;
    let measured = run::run(&plan)?;
    let folder = record::create(&options.results, &options.name)?;
    let mut about = record::about(&[], &[]);
    about.push(format!("coremap: {}", plan.version));
    about.extend(plan.setting_lines());
    write_file(&folder, LATENCY, &measured.latency)?;
    write_file(&folder, SAMPLES, &measured.samples.to_text())?;
    write_file(&folder, CHECKS, &checks::table(&measured.checks).to_text())?;
    let record = Record {
        about,
        raw: measured.raw,
        ..Record::default()
    };
    record.write(&folder)?;
    write(&folder)?;
    println!("record: {}", folder.display());
    checks::verdict(&measured.checks)
}

impl Options {
    /// What is to be done, or why it makes no sense.
    fn plan(&self) -> Result<run::Plan, String> {
        let length = Duration::try_from_secs_f64(self.minutes * run::S_PER_MINUTE);
        let seconds = length.map_or(0, |length| length.as_secs());
        if seconds == 0 {
            return Err("--minutes wants a time, of a second at least".to_owned());
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err("--share wants a part of the capacity, above 0 and up to 1".to_owned());
        }
        let server_cpus = match &self.server_cpus {
            Some(text) => process::cpu_list(text)?,
            None => (0..self.shards).collect(),
        };
        if self.shards == 0 || server_cpus.len() != self.shards {
            return Err(format!("{} shards want as many CPUs", self.shards));
        }
        let client_cpus = self.client_cpus.as_deref().map(process::cpu_list);
        let program = self.coremap.clone().map_or_else(peers::beside_this, Ok)?;
        let version = machine::version(&program);
        Ok(run::Plan {
            version: version.ok_or(format!("{} is not there", program.display()))?,
            program,
            // Whoever copies the server's data does so from elsewhere.
            parent: std::path::absolute(&self.dir).map_err(|error| error.to_string())?,
            seconds,
            share: self.share,
            server_cpus,
            client_threads: client_cpus.transpose()?.map_or(1, |cpus| cpus.len()),
            client_cpus: self.client_cpus.clone(),
            key_count: self.keys,
            value_len: self.value_len.clone(),
            connections: self.connections,
        })
    }
}

/// Whether a folder is a record of this instrument.
pub(crate) fn is_record(folder: &Path) -> bool {
    folder.join(SAMPLES).exists()
}

/// Writes what can be made from the record in `folder`; the names of the files.
pub(crate) fn write(folder: &Path) -> Result<Vec<String>, String> {
    let read = |file: &str| {
        let named = |error: String| format!("{}: {error}", folder.join(file).display());
        let text = std::fs::read_to_string(folder.join(file));
        let text = text.map_err(|error| named(error.to_string()))?;
        Table::parse(&text).map_err(named)
    };
    let sources = page::Sources {
        record: Record::read(folder)?,
        latency: read(LATENCY)?,
        samples: read(SAMPLES)?,
        checks: read(CHECKS)?,
    };
    let files = sources.render()?;
    for (name, text) in &files {
        write_file(folder, name, text)?;
    }
    Ok(files.into_iter().map(|(name, _)| name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (arguments, reason) in [
            (["--minutes", "0"], "--minutes"),
            (["--minutes", "inf"], "--minutes"),
            (["--share", "1.5"], "--share"),
            (["--shards", "0"], "shards"),
            (["--server-cpus", "0"], "as many CPUs"),
            (["--coremap", "/not/there"], "is not there"),
        ] {
            let options = Options::from_args(&["soak"], &arguments).unwrap();
            let Err(refusal) = options.plan() else {
                panic!("{arguments:?}");
            };
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
