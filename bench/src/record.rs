//! What a comparison leaves behind: a folder with the whole story.

use std::path::{Path, PathBuf};

use crate::peers::Peer;
use crate::table::Table;
use crate::{clock, machine};

const ABOUT: &str = "about.txt";
const RAW: &str = "raw.csv";
const DURABLE: &str = "durable.csv";
const GOALS: &str = "goals.csv";
/// How a line of `about.txt` begins that names a server which was wanted and is not installed.
pub(crate) const ABSENT: &str = "absent: ";

/// A record as it lies in its folder, without what can be made from it again.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The command, the servers, who was absent, the machine: `about.txt`.
    pub(crate) about: Vec<String>,
    /// Every measurement of a server: `raw.csv`.
    pub(crate) raw: Table,
    /// Runs of servers short of memory or with a file, of `goals`: `durable.csv`.
    pub(crate) durable: Table,
    /// Where the project's promises stand: `goals.csv`.
    pub(crate) goals: Table,
}

/// A new folder `<date>-<name>` below `parent`; a second one of a day has a number.
pub(crate) fn create(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let first = parent.join(format!("{}-{name}", clock::today()));
    let numbered = |number: u32| parent.join(format!("{}-{name}-{number}", clock::today()));
    let others = (2..).map(numbered);
    let folder = std::iter::once(first)
        .chain(others)
        .find(|path| !path.exists())
        .expect("there is always a higher number");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

impl Record {
    /// Reads the record of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let text = |file: &str| std::fs::read_to_string(folder.join(file));
        let table = |file: &str| match text(file) {
            Ok(text) => Table::parse(&text).map_err(|error| format!("{file}: {error}")),
            Err(_) => Ok(Table::default()),
        };
        // The first records called it command.txt.
        let about = text(ABOUT).or_else(|_| text("command.txt"));
        let about = about.map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            about: about.lines().map(str::to_owned).collect(),
            raw: table(RAW)?,
            durable: table(DURABLE)?,
            goals: table(GOALS)?,
        })
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        write_file(folder, ABOUT, &(self.about.join("\n") + "\n"))?;
        let tables = [
            (RAW, &self.raw),
            (DURABLE, &self.durable),
            (GOALS, &self.goals),
        ];
        for (file, table) in tables {
            if !table.is_empty() {
                write_file(folder, file, &table.to_text())?;
            }
        }
        Ok(())
    }
}

/// Writes one file of a record.
pub(crate) fn write_file(folder: &Path, file: &str, text: &str) -> Result<(), String> {
    let path = folder.join(file);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a record says of how it was made: command, commit, servers, machine.
pub(crate) fn about(peers: &[Peer], absent: &[String]) -> Vec<String> {
    let mut program = std::env::args();
    let name = program.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    let arguments: Vec<String> = program.collect();
    let mut lines = vec![
        format!(
            "command: {} {}",
            name.to_string_lossy(),
            without_folders(&arguments.join(" "))
        ),
        format!(
            "commit: {}",
            machine::commit().as_deref().unwrap_or("unknown")
        ),
    ];
    for peer in peers {
        lines.push(format!("{}: {}", peer.name, peer.version));
        let command = without_folders(&peer.command());
        lines.push(format!("{} as started: {command}", peer.name));
    }
    lines.extend(absent.iter().map(|who| format!("{ABSENT}{who}")));
    lines.extend(machine::describe());
    lines
}

/// A text without the names of this machine's folders: the working directory and the home.
fn without_folders(text: &str) -> String {
    let folder = |path: PathBuf| format!("{}/", path.display());
    let here = std::env::current_dir().map(folder);
    let home = std::env::var("HOME").map(|home| folder(home.into()));
    let text = here.map_or(text.to_owned(), |here| text.replace(&here, ""));
    home.map_or(text.clone(), |home| text.replace(&home, "~/"))
}
