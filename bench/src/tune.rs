//! `tune`: asks one question about one knob, and writes down what the rounds prove.
//!
//! ```text
//!   experiment.toml ──► A B A B ──► raw.csv, percentiles.csv ──► README.md, percentiles.svg
//!     question, knob,                 what was measured             the answer, and the
//!     values, load                                                  decision people made
//! ```
//!
//! A record is a numbered folder that says all of it and is not written again: a later finding is a new
//! question. Only its page is, by `report`, once the decision stands in its `experiment.toml`.

mod experiment;
mod page;
mod run;
mod verdict;

use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::peers;
use crate::record::{self, Record, write_file};
use crate::table::Table;
use experiment::Experiment;
use page::Sources;

/// The file by which a folder is known to be a record of `tune`.
const EXPERIMENT: &str = "experiment.toml";
const PERCENTILES: &str = "percentiles.csv";
const PAGE: &str = "README.md";
const PLOT: &str = "percentiles.svg";
/// Digits of a record's number.
const NUMBER_LEN: usize = 3;

/// Run an experiment file (a question, a knob and its values, a load) A B A B against the real server
/// and write a record: what was measured, and what it proves. Records hold their experiment, so that
/// `tune RECORD/experiment.toml` asks the same question of another host.
#[derive(FromArgs)]
#[argh(subcommand, name = "tune")]
pub(crate) struct Options {
    /// the experiment
    #[argh(positional)]
    file: PathBuf,
    /// the coremap binary (default: beside this one)
    #[argh(option)]
    coremap: Option<PathBuf>,
    /// where records are kept; a new one gets the next number (default tuning)
    #[argh(option, default = "PathBuf::from(\"tuning\")")]
    results: PathBuf,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    let text = read(&options.file)?;
    let named = |error| format!("{}: {error}", options.file.display());
    let experiment = Experiment::parse(&text).map_err(named)?;
    let program = options
        .coremap
        .clone()
        .map_or_else(peers::beside_this, Ok)?;
    let peers = run::peers(&experiment, &program)?;
    let mut measured = run::tables(&experiment);
    let outcome = run::run(&experiment, &program, &mut measured);
    if measured.raw.is_empty() {
        return outcome;
    }
    let folder = create(&options.results, &experiment.name)?;
    write_file(&folder, EXPERIMENT, &text)?;
    write_file(&folder, PERCENTILES, &measured.percentiles.to_text())?;
    let record = Record {
        about: record::about(&peers, &[]),
        raw: measured.raw,
        ..Record::default()
    };
    record.write(&folder)?;
    write(&folder)?;
    println!("record: {}", folder.display());
    outcome
}

/// Whether a folder is a record of this instrument.
pub(crate) fn is_record(folder: &Path) -> bool {
    folder.join(EXPERIMENT).exists()
}

/// Writes what can be made from the record in `folder`; the names of the files.
pub(crate) fn write(folder: &Path) -> Result<Vec<String>, String> {
    let files = render(folder)?;
    for (name, text) in &files {
        write_file(folder, name, text)?;
    }
    Ok(files.into_iter().map(|(name, _)| name.to_owned()).collect())
}

/// The page of a record and its plot, as names and texts.
fn render(folder: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let named = |file, error| format!("{}: {error}", folder.join(file).display());
    let experiment = Experiment::parse(&read(&folder.join(EXPERIMENT))?)
        .map_err(|error| named(EXPERIMENT, error))?;
    let percentiles = Table::parse(&read(&folder.join(PERCENTILES))?)
        .map_err(|error| named(PERCENTILES, error))?;
    let record = Record::read(folder)?;
    let sources = Sources {
        experiment: &experiment,
        raw: &record.raw,
        percentiles: &percentiles,
        about: &record.about,
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let number = name.split('-').next().unwrap_or_default();
    Ok(vec![(PAGE, sources.page(number)), (PLOT, sources.plot()?)])
}

/// A new folder with the number after the highest there is.
fn create(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| -> Option<u32> {
        let name = entry.file_name();
        name.to_str()?.get(..NUMBER_LEN)?.parse().ok()
    };
    let next = entries.filter_map(number).max().unwrap_or(0) + 1;
    let folder = parent.join(format!("{next:0NUMBER_LEN$}-{name}"));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Folder;

    #[test]
    fn a_record_gets_the_number_after_the_highest() {
        let parent = Folder::new("records").unwrap();
        let name = |folder: PathBuf| folder.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name(create(parent.path(), "a").unwrap()), "001-a");
        std::fs::create_dir(parent.path().join("011-b")).unwrap();
        std::fs::write(parent.path().join("README.md"), "").unwrap();
        assert_eq!(name(create(parent.path(), "a").unwrap()), "012-a");
    }

    #[test]
    fn every_page_that_is_kept_says_what_its_files_prove() {
        let tuning = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tuning");
        let index = read(&tuning.join(PAGE)).unwrap();
        let entries = std::fs::read_dir(&tuning).unwrap().flatten();
        for folder in entries
            .map(|entry| entry.path())
            .filter(|path| is_record(path))
        {
            for (name, text) in render(&folder).unwrap() {
                let kept = read(&folder.join(name)).unwrap();
                assert!(kept == text, "{}: run `report` on it", folder.display());
            }
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            assert!(
                index.contains(&format!("]({name}/README.md)")),
                "{name} has no row"
            );
        }
    }
}
