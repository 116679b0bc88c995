//! What a run leaves behind: a CSV line, and for comparisons a folder with the whole story.

use std::path::{Path, PathBuf};

use crate::load::{Options, Outcome};
use crate::{clock, machine};

/// Columns of `raw.csv`. Empty fields were not measured.
pub(crate) const CSV_HEADER: &str = "server,operation,keys,key_len_bytes,value_len_bytes,connections,threads,\
pipeline,seconds,commands,commands_per_s,server_cpu_ns_per_command,server_rss_bytes,\
batch_p50_us,batch_p99_us,batch_p999_us,batch_max_us,misses,errors";

/// One run as a line under `CSV_HEADER`.
pub(crate) fn csv_line(server: &str, options: &Options, outcome: &Outcome) -> String {
    let Options {
        operation,
        keys,
        key_len,
        value_len,
        connections,
        threads,
        pipeline,
        ..
    } = options;
    let count = outcome.tally.reply_count();
    let latency = &outcome.batch_us;
    let text = |number: Option<String>| number.unwrap_or_default();
    format!(
        "{server},{operation},{keys},{key_len},{value_len},{connections},{threads},{pipeline},\
         {:.3},{count},{:.0},{},{},{},{},{},{},{},{}",
        outcome.seconds,
        outcome.commands_per_s(),
        text(outcome.cpu_ns_per_command().map(|ns| format!("{ns:.1}"))),
        text(outcome.server_rss_bytes.map(|bytes| bytes.to_string())),
        latency.value_at_quantile(0.5),
        latency.value_at_quantile(0.99),
        latency.value_at_quantile(0.999),
        latency.max(),
        outcome.tally.miss_count,
        outcome.tally.error_count,
    )
}

impl Outcome {
    /// Nanoseconds of the server's CPU per command, if its process is known.
    pub(crate) fn cpu_ns_per_command(&self) -> Option<f64> {
        self.server_cpu_ns
            .map(|ns| float(ns) / float(self.tally.reply_count()))
    }

    pub(crate) fn commands_per_s(&self) -> f64 {
        float(self.tally.reply_count()) / self.seconds
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times of a run are below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

/// Writes a record's folder, `<date>-<name>` below `parent`, and returns its path.
pub(crate) fn write(
    parent: &Path,
    name: &str,
    summary: &str,
    lines: &[String],
    servers: &[&Path],
) -> Result<PathBuf, String> {
    let folder = parent.join(format!("{}-{name}", clock::today()));
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let versions: Vec<_> = servers
        .iter()
        .map(|server| machine::version(server))
        .collect();
    let story = format!(
        "{command}\n\n{}\n\n{}\n",
        versions.join("\n"),
        machine::describe()
    );
    let raw = format!("{CSV_HEADER}\n{}\n", lines.join("\n"));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (file, text) in [
        ("summary.md", summary),
        ("raw.csv", &raw),
        ("command.txt", &story),
    ] {
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(folder)
}
