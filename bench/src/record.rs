//! What a comparison leaves behind: a folder with the whole story.

use std::path::{Path, PathBuf};

pub(crate) use crate::load::{csv_header, csv_line};
use crate::{clock, machine};

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
    let raw = format!("{}\n{}\n", csv_header(), lines.join("\n"));
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
