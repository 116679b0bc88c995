//! What a server is told when it starts: the settings, where they come from, which source wins.
//!
//! Settings come from three places, the later ones winning: the defaults, a configuration file in
//! redis.conf's form (`file`), and the command line (`cli`). All three, and CONFIG, go through one
//! table ([`SETTINGS`]), so a name is spelled, parsed, checked and shown in one way. What Redis has
//! and this server has not is judged in `redis`.
//!
//! Not here: what the host grants (how many CPUs and how much memory an absent setting means) is
//! resolved when the server starts, and what CONFIG SET changes later is `command`'s.

use std::fmt;
use std::path::PathBuf;

mod file;
mod redis;

pub use crate::command::settings::{
    Field, Group, SETTINGS, Setting, Settings, format_bytes, parse_cpus,
};

use crate::command::settings;
use crate::error::Error;

/// What a server is told when it starts.
///
/// ```
/// let mut config = coremap::Config::default();
/// config.settings.port = 0; // any free port
/// config.settings.shards = 2;
/// config.settings.maxmemory_bytes = 64 << 20;
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The values of all settings.
    pub settings: Settings,
    /// Whether to write start, stop and trouble to stderr, one line each.
    pub log: bool,
    /// The file that was read, for INFO.
    pub config_file: Option<PathBuf>,
}

/// One address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindAddress {
    /// An address of this host or a name for one; `*` is every IPv4 address, `::` every IPv6 one.
    pub host: String,
    /// Whether to go on without it when the host has no such address (`-` in front, as in Redis).
    pub is_optional: bool,
}

impl Config {
    /// Sets one setting from text, as an option or a line of a file does. `name` is in lower case.
    /// Settings of Redis that are not settings here give a [`Applied::Ignored`] to warn of, or an
    /// error where ignoring them would give the user less safety than asked for.
    ///
    /// ```
    /// let mut config = coremap::Config::default();
    /// config.set("maxmemory", &["4gb".to_owned()])?;
    /// assert_eq!(config.settings.maxmemory_bytes, 4 << 30);
    /// # Ok::<(), coremap::Error>(())
    /// ```
    pub fn set(&mut self, name: &str, values: &[String]) -> Result<Applied, Error> {
        let Some(setting) = find(name) else {
            return redis::ignore(name, values);
        };
        let outcome = text(setting, values).and_then(|text| {
            let outcome = self.settings.set(setting, &text);
            outcome.map_err(|misfit| misfit.for_operator(&text))
        });
        outcome.map_err(|reason| Error::Usage(format!("{name}: {reason}")))?;
        Ok(Applied::Set)
    }

    /// Reads a configuration file: what it sets, and the warnings it gave. An error names the
    /// line.
    pub fn read_file(&mut self, path: &std::path::Path) -> Result<Vec<String>, Error> {
        file::read(self, path)
    }

    /// The value of a setting, as a file would have it; empty if there is no such setting.
    #[must_use]
    pub fn show(&self, name: &str) -> String {
        find(name).map_or_else(String::new, |setting| self.settings.show(setting))
    }

    /// Whether every value is one that its setting takes (a program may have written any), and no
    /// two promise what they cannot keep together.
    ///
    /// ```
    /// let mut config = coremap::Config::default();
    /// config.settings.port = 70_000;
    /// assert!(config.check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), Error> {
        let mut checked = self.settings.clone();
        for setting in SETTINGS {
            let text = checked.get(setting);
            let outcome = checked.set(setting, &text);
            outcome.map_err(|misfit| {
                Error::Usage(format!("{}: {}", setting.name, misfit.for_operator(&text)))
            })?;
        }
        let needs_dir = [
            ("appendonly", "yes", self.settings.appendonly),
            ("appendfsync", "always", checked.appendfsync == "always"),
        ];
        for (name, value, is_set) in needs_dir {
            if is_set && self.settings.dir.is_empty() {
                return Err(Error::Usage(format!(
                    "{name}: '{value}' needs dir, without which all data is in memory only"
                )));
            }
        }
        let needs_memory = [
            ("lock-memory", self.settings.lock_memory),
            ("prefault", self.settings.prefault),
        ];
        for (name, is_set) in needs_memory {
            if is_set && !self.settings.dir.is_empty() {
                return Err(Error::Usage(format!(
                    "{name}: 'yes' is for data in memory only; with dir the kernel keeps the file's pages"
                )));
            }
        }
        Ok(())
    }

    /// Every address to listen on.
    #[must_use]
    pub fn bind_addresses(&self) -> Vec<BindAddress> {
        addresses(&self.settings.bind)
    }

    /// Every address of the metrics port.
    #[must_use]
    pub fn metrics_bind_addresses(&self) -> Vec<BindAddress> {
        addresses(&self.settings.metrics_bind)
    }
}

fn addresses(texts: &[String]) -> Vec<BindAddress> {
    let address = |text: &String| {
        let host = text.strip_prefix('-');
        BindAddress {
            host: host.unwrap_or(text).to_owned(),
            is_optional: host.is_some(),
        }
    };
    texts.iter().map(address).collect()
}

/// The settings as a configuration file that gives the same configuration.
impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in choices() {
            writeln!(
                formatter,
                "{} {}",
                setting.name,
                self.settings.show(setting)
            )?;
        }
        Ok(())
    }
}

/// The settings that leave something to choose.
fn choices() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.group.is_some())
}

/// The setting of that name, if it leaves something to choose; `redis` judges the others.
fn find(name: &str) -> Option<&'static Setting> {
    settings::find(name).filter(|setting| setting.group.is_some())
}

/// The words after a name as one text: one word, but for addresses.
fn text(setting: &Setting, values: &[String]) -> Result<String, String> {
    match values {
        _ if matches!(setting.field, Field::Addresses(_) | Field::Percentiles(_)) => {
            Ok(values.join(" "))
        }
        [value] => Ok(value.clone()),
        [] => Err("needs a value".to_owned()),
        _ => Err(format!("takes one value, not {}", values.len())),
    }
}

/// What became of a setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It is in the configuration now.
    Set,
    /// Redis has it, this server does not; the line says so.
    Ignored(String),
}

/// The name nearest to a misspelt one among the settings, for the error.
#[must_use]
pub fn nearest_name(name: &str) -> Option<&'static str> {
    let (nearest, distance) = choices()
        .map(|setting| (setting.name, edit_distance(name, setting.name)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= 1 + name.len() / 4).then_some(nearest)
}

/// Whether a name is a setting, here or in Redis.
#[must_use]
pub fn is_known(name: &str) -> bool {
    find(name).is_some() || redis::is_known(name)
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn edit_distance(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;
