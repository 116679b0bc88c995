//! `coremap check`: whether a data directory is what was stored, and what is in it.
//!
//! It is recovery without consequences: the file is mapped so that nothing reaches it, every record is
//! checked, and every byte of the large values as well, which a start does not read. What a
//! power loss leaves behind the last round is no damage and only counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::progress::Progress;
use crate::error::Error;
use crate::hash::Hasher;
use crate::region::{Found, Region};
use crate::shard::{self, Mode, Report};

/// Places of damage that are shown one by one.
const SHOWN_COUNT_MAX: usize = 100;
/// How often the bar is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Check every byte of a data directory that no server uses. Exits with 1 if it is damaged.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// the directory
    #[argh(positional)]
    directory: PathBuf,
}

impl Check {
    /// Checks, and says what was found.
    ///
    /// # Errors
    /// The directory is in use, holds no data file or a damaged one.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (region, found) = Region::inspect(&self.directory)?;
        let region = Arc::new(region);
        let report = self.look(&region, &found)?;
        print!("{}", summary(&found, &report));
        let damage = &report.damage;
        for place in damage.iter().take(SHOWN_COUNT_MAX) {
            println!(
                "damaged  {} bytes at offset {}: {}",
                place.len_bytes, place.offset, place.reason
            );
        }
        if damage.is_empty() {
            return Ok(());
        }
        let lost_bytes: u64 = damage.iter().map(|place| place.len_bytes).sum();
        Err(Error::Failed(format!(
            "{} is damaged in {} places, {lost_bytes} bytes",
            self.directory.display(),
            damage.len(),
        )))
    }

    /// Reads everything, with a bar.
    fn look(&self, region: &Arc<Region>, found: &Found) -> Result<Report, Error> {
        let mut seeds = [0; 4];
        for seed in &mut seeds {
            *seed = getrandom::u64()
                .map_err(|error| Error::Failed(format!("no random numbers: {error}")))?;
        }
        let hasher = Hasher::new(seeds);
        let recovery = shard::Progress::default();
        let (sender, ended) = channel();
        let outcome = std::thread::scope(|scope| {
            let recovery = &recovery;
            scope.spawn(move || {
                let outcome = shard::recover(region, found, &hasher, recovery, Mode::Inspect);
                // The shards are not needed, and the receiver waits for this.
                let _ = sender.send(outcome.map(|(_, report)| report));
            });
            let mut progress: Option<Progress> = None;
            loop {
                match ended.recv_timeout(LOOK_INTERVAL) {
                    Ok(outcome) => break Some(outcome),
                    Err(RecvTimeoutError::Disconnected) => break None,
                    Err(RecvTimeoutError::Timeout) => progress
                        .get_or_insert_with(|| Progress::new("checking", recovery.total_bytes()))
                        .show(recovery.done_bytes()),
                }
            }
        });
        let outcome = outcome.expect("a thread that panics ends the process");
        outcome.map_err(|error| Error::Failed(format!("{}: {error}", self.directory.display())))
    }
}

/// What a directory holds, a line each; what is not there has none.
fn summary(found: &Found, report: &Report) -> String {
    let shard_count = found
        .generations
        .last()
        .map_or(0, |generation| generation.shard_count);
    let end = if found.is_clean {
        "ended in order"
    } else {
        "was not ended in order"
    };
    let always = [
        (format!("shards, and {end}"), shard_count as u64),
        ("blocks".to_owned(), report.block_count),
        ("records".to_owned(), report.record_count),
        ("keys".to_owned(), report.key_count),
        ("large values".to_owned(), report.large_value_count),
        ("live bytes".to_owned(), report.live_bytes),
        ("dead bytes".to_owned(), report.dead_bytes),
        (
            "bytes of tombstones among the live".to_owned(),
            report.grave_bytes,
        ),
    ];
    let sometimes = [
        (
            "superblocks that are torn, as after a power loss",
            found.bad_superblock_count as u64,
        ),
        (
            "logs that end torn, as after a power loss",
            report.torn_count,
        ),
        ("blocks behind such an end", report.discarded_block_count),
        (
            "records of transactions that never became whole",
            report.void_count,
        ),
    ];
    let sometimes = sometimes
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| (what.to_owned(), count));
    always
        .into_iter()
        .chain(sometimes)
        .map(|(what, count)| format!("{count:>16} {what}\n"))
        .collect()
}
