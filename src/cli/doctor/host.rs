//! What the checks look at: a tree of system files, the server's settings, and the CPUs that its
//! shards would have.

use std::io;
use std::path::Path;

use super::checks::Unknown;
use super::is_own_root;
use crate::config::{Settings, parse_cpus};
use crate::error::reason_text;
use crate::limits::MAXMEMORY_DEFAULT_PERCENT;
use crate::server::host::{CpuQuota, Subject, cpu_quota, memory_bytes};

/// A host as a server with these settings would meet it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) subject: Subject,
    pub(super) settings: Settings,
    /// Whether the kernel can be asked too: the tree is its own, and so is the process.
    pub(super) is_here: bool,
    cpus: Result<Vec<usize>, Unknown>,
}

/// Of the system or the control group, whichever has less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) whole_bytes: u64,
    /// Which of the two that is.
    pub(super) limit_name: &'static str,
    pub(super) maxmemory_bytes: u64,
}

impl Host {
    pub(super) fn new(root: &Path, process: Option<u32>, settings: Settings) -> Self {
        let mut host = Self {
            subject: Subject::new(root, process),
            settings,
            is_here: is_own_root(root) && process.is_none(),
            cpus: Ok(Vec::new()),
        };
        host.cpus = host.choose_cpus();
        host
    }

    /// The CPUs that shards run on, each once and in order.
    pub(super) fn cpus(&self) -> Result<&[usize], Unknown> {
        self.cpus.as_deref().map_err(Clone::clone)
    }

    pub(super) fn shard_count(&self) -> Result<usize, Unknown> {
        match self.settings.shards {
            0 => Ok(self.cpus()?.len()),
            count => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        }
    }

    /// The memory there is, and how much of it keys and values may have.
    pub(super) fn memory(&self) -> Memory {
        let (whole_bytes, limit_name) = memory_bytes(&self.subject);
        Memory {
            whole_bytes,
            limit_name,
            maxmemory_bytes: match self.settings.maxmemory_bytes {
                0 => whole_bytes / 100 * MAXMEMORY_DEFAULT_PERCENT,
                bytes => bytes,
            },
        }
    }

    /// How many shards there would be, in words.
    pub(super) fn shards_text(&self) -> String {
        match self.shard_count() {
            Ok(1) => "1 shard".to_owned(),
            Ok(count) => format!("{count} shards"),
            Err(_) => "shards".to_owned(),
        }
    }

    /// The text of a file of the tree, trimmed. `path` has no leading slash.
    pub(super) fn read(&self, path: &str) -> Result<String, Unknown> {
        let text = std::fs::read_to_string(self.subject.path(path));
        trimmed(text, &format!("/{path}"))
    }

    /// The number that a file of the tree holds.
    pub(super) fn read_number(&self, path: &str) -> Result<u64, Unknown> {
        let text = self.read(path)?;
        let number = text.parse();
        number.map_err(|_| Unknown(format!("/{path} holds '{text}', which is no number")))
    }

    /// CPUs that a file of the tree lists.
    pub(super) fn read_cpus(&self, path: &str) -> Result<Vec<usize>, Unknown> {
        cpu_list(&self.read(path)?)
    }

    /// The text of a file of the process's folder in `/proc`.
    pub(super) fn read_process(&self, name: &str) -> Result<String, Unknown> {
        let text = self.subject.read_process(name);
        trimmed(text, &format!("/proc/PID/{name}"))
    }

    /// The names in a folder of the tree, in order; none if it is not there.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.subject.path(path));
        let entries = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    /// As the server chooses them: those named, or all allowed within the quota; as many as shards.
    fn choose_cpus(&self) -> Result<Vec<usize>, Unknown> {
        let mut cpus = self.settings.cpus.clone();
        if cpus.is_empty() {
            let status = self.read_process("status")?;
            let list = field(&status, "Cpus_allowed_list:")
                .ok_or_else(|| Unknown("/proc/PID/status has no Cpus_allowed_list".to_owned()))?;
            let quota = cpu_quota(&self.subject).map_or(usize::MAX, CpuQuota::whole_cpus);
            cpus = cpu_list(list)?;
            cpus.truncate(quota);
        }
        if self.settings.shards > 0 {
            cpus.truncate(usize::try_from(self.settings.shards).unwrap_or(usize::MAX));
        }
        cpus.sort_unstable();
        Ok(cpus)
    }
}

/// What follows `name` on the line that begins with it.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim())
}

/// CPUs as the kernel lists them.
fn cpu_list(text: &str) -> Result<Vec<usize>, Unknown> {
    parse_cpus(text).map_err(|_| Unknown(format!("'{text}' is no list of CPUs")))
}

/// CPUs as the kernel and `--cpus` list them: `0-3,8`.
pub(super) fn cpus_text(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let texts: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            _ => format!("{first}-{last}"),
        })
        .collect();
    texts.join(",")
}

fn trimmed(text: io::Result<String>, path: &str) -> Result<String, Unknown> {
    match text {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Unknown(format!("there is no {path}")))
        }
        Err(error) => Err(Unknown(format!(
            "cannot read {path}: {}",
            reason_text(&error)
        ))),
    }
}
