//! `report`: what a record says, made from its raw data alone.
//!
//! `summary.md` and the plots are functions of `raw.csv`, `goals.csv` and `about.txt`, so they can be
//! made again when rendering improves, and nobody has to trust a table they cannot check.
//!
//! The tables: CPU time of a command, commands a second, latency of a batch, memory. A cell is the
//! median of the rounds with the smallest and largest behind it. Every case has its row, also where
//! another server wins.

mod charts;
mod summary;
pub(crate) mod view;

use std::path::{Path, PathBuf};

use argh::FromArgs;

pub(crate) use summary::{count, overhead_bytes};

use crate::record::{self, Record};
use crate::{soak, tune};

/// Make the pages and plots of records again from their raw data.
#[derive(FromArgs)]
#[argh(subcommand, name = "report")]
pub(crate) struct Options {
    /// folders of records
    #[argh(positional)]
    folders: Vec<PathBuf>,
}

pub(crate) fn main(options: &Options) -> Result<(), String> {
    if options.folders.is_empty() {
        return Err("name at least one folder of a record".to_owned());
    }
    for folder in &options.folders {
        let files = if tune::is_record(folder) {
            tune::write(folder)?
        } else if soak::is_record(folder) {
            soak::write(folder)?
        } else {
            write(folder)?
        };
        eprintln!("{}: {}", folder.display(), files.join(", "));
    }
    Ok(())
}

/// Writes what can be made from the record in `folder`; the names of the files.
pub(crate) fn write(folder: &Path) -> Result<Vec<String>, String> {
    let files = render(&Record::read(folder)?)?;
    for (name, text) in &files {
        record::write_file(folder, name, text)?;
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// `summary.md` and the plots it shows, as names and texts.
pub(crate) fn render(record: &Record) -> Result<Vec<(String, String)>, String> {
    let view = view::View::new(&record.raw);
    // What is measured for the goals is one point each: there is nothing to draw.
    let charts = match record.goals.is_empty() {
        true => charts::charts(&view)?,
        false => Vec::new(),
    };
    let mut files = vec![(
        "summary.md".to_owned(),
        summary::summary(record, &view, &charts),
    )];
    files.extend(charts.into_iter().map(|chart| (chart.file, chart.svg)));
    Ok(files)
}
