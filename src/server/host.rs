//! What the host grants this process: which CPUs, how much of them, how much memory.
//!
//! A container sees the host's CPUs and memory; what it may use stands in its control group and
//! every group above it. Both generations of control groups are read; whatever cannot be read
//! does not limit.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::limits::KIB;

/// The runtime reads the topology of the CPUs below it, and panics where there is none.
const TOPOLOGY: &str = "/sys/devices/system/cpu/online";

/// Whose grants are asked for: the process, and the root of the tree that tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    root: PathBuf,
    /// Its number, or `self`.
    process: String,
}

impl Default for Subject {
    /// This process, as the system shows it.
    fn default() -> Self {
        Self::new(Path::new("/"), None)
    }
}

impl Subject {
    /// A process, this one if there is no number, as the tree below `root` tells of it.
    pub(crate) fn new(root: &Path, process: Option<u32>) -> Self {
        Self {
            root: root.to_owned(),
            process: process.map_or_else(|| "self".to_owned(), |number| number.to_string()),
        }
    }

    /// A path of the tree, given without the leading slash.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// What a file of `/proc/PID` says.
    pub(crate) fn read_process(&self, name: &str) -> io::Result<String> {
        let folder = self.path("proc").join(&self.process);
        std::fs::read_to_string(folder.join(name))
    }
}

/// The tightest quota of CPU time among a process's control group and those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuQuota {
    /// Time that the group may run in each period, over all CPUs.
    pub(crate) quota_us: u64,
    pub(crate) period_us: u64,
}

impl CpuQuota {
    /// CPUs that the quota pays for, rounded up.
    pub(crate) fn whole_cpus(self) -> usize {
        let cpus = self.quota_us.div_ceil(self.period_us).max(1);
        usize::try_from(cpus).unwrap_or(usize::MAX)
    }
}

/// The CPUs that get executors: those of `wanted` (all when absent) that this process may use,
/// at most as many as the control group's quota pays for, rounded up, unless they were named.
pub(crate) fn cpus(wanted: Option<&[usize]>) -> Result<Vec<usize>, Error> {
    std::fs::metadata(TOPOLOGY).map_err(|error| {
        let what = format!("cannot read {TOPOLOGY}, mount /sys (read-only is enough)");
        Error::start(what, &error)
    })?;
    let allowed: BTreeSet<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    if allowed.is_empty() {
        return Err(Error::Start(
            "cannot tell which CPUs this process may use".to_owned(),
        ));
    }
    let Some(wanted) = wanted else {
        let quota = cpu_quota(&Subject::default()).map_or(usize::MAX, CpuQuota::whole_cpus);
        return Ok(allowed.into_iter().take(quota).collect());
    };
    if let Some(refused) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        return Err(Error::Usage(format!(
            "cpus: CPU {refused} is not among those this process may use ({})",
            allowed.join(",")
        )));
    }
    Ok(wanted.to_vec())
}

/// Bytes of memory this process may use: the host's, or its control group's if that is less,
/// with the name of what limits.
pub(crate) fn memory_bytes(subject: &Subject) -> (u64, &'static str) {
    let host = std::fs::read_to_string(subject.path("proc/meminfo"))
        .ok()
        .and_then(|text| meminfo_bytes(&text, "MemTotal:"))
        .unwrap_or(u64::MAX);
    let group = group_values(subject, "memory.max", "memory", "memory.limit_in_bytes")
        .iter()
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    match group {
        Some(group) if group < host => (group, "the control group's memory"),
        _ => (host, "the host's memory"),
    }
}

/// Kernel name, release and machine, as `uname -srm`.
pub(crate) fn operating_system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {} {}", release.trim(), std::env::consts::ARCH)
}

/// The tightest quota of CPU time; `None` when none limits.
pub(crate) fn cpu_quota(subject: &Subject) -> Option<CpuQuota> {
    let quotas = group_values(subject, "cpu.max", "cpu", "cpu.cfs_quota_us");
    let periods = group_values(subject, "cpu.max", "cpu", "cpu.cfs_period_us");
    let quotas = quotas.iter().zip(&periods);
    quotas
        .filter_map(|(quota, period)| parse_quota(quota, period))
        .min_by(|one, other| {
            // Compared as fractions, multiplied out.
            let left = u128::from(one.quota_us) * u128::from(other.period_us);
            left.cmp(&(u128::from(other.quota_us) * u128::from(one.period_us)))
        })
}

/// `quota` is "200000 100000" or "max 100000" (version 2), or a number with `period` beside it.
fn parse_quota(quota: &str, period: &str) -> Option<CpuQuota> {
    let mut words = quota.split_whitespace();
    let quota_us: u64 = words.next()?.parse().ok()?;
    let period_us: u64 = words.next().unwrap_or(period.trim()).parse().ok()?;
    (period_us > 0).then_some(CpuQuota {
        quota_us,
        period_us,
    })
}

/// A number of `/proc/meminfo`, by the name it has there.
pub(crate) fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB as u64)
}

/// The texts of one file in a process's control group and each group above it, the innermost first.
/// Without a name for version 1 only version 2 is looked at.
pub(crate) fn group_values(
    subject: &Subject,
    name_v2: &str,
    controller_v1: &str,
    name_v1: &str,
) -> Vec<String> {
    let Ok(membership) = subject.read_process("cgroup") else {
        return Vec::new();
    };
    let mount = subject.path("sys/fs/cgroup");
    let mut texts = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = if controllers.is_empty() {
            (mount.clone(), name_v2)
        } else if controllers
            .split(',')
            .any(|controller| controller == controller_v1)
        {
            (mount.join(controller_v1), name_v1)
        } else {
            continue;
        };
        let mut group = Some(Path::new(path));
        while let Some(path) = group {
            let file = root.join(path.strip_prefix("/").unwrap_or(path)).join(name);
            texts.extend(std::fs::read_to_string(file));
            group = path.parent();
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_to_whole_cpus() {
        let cpus = |quota, period| parse_quota(quota, period).map(CpuQuota::whole_cpus);
        assert_eq!(cpus("200000 100000", ""), Some(2));
        assert_eq!(cpus("250000 100000\n", ""), Some(3));
        assert_eq!(cpus("5000 100000", ""), Some(1));
        assert_eq!(cpus("max 100000", ""), None);
        assert_eq!(cpus("150000", "100000\n"), Some(2));
        assert_eq!(cpus("-1", "100000"), None);
    }

    #[test]
    fn host_memory_is_read_in_bytes() {
        let text = "MemTotal:       24571788 kB\nMemFree: 1 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal:"), Some(24_571_788 * 1024));
        assert!(memory_bytes(&Subject::default()).0 > 0);
    }

    #[test]
    fn a_cpu_that_is_not_ours_is_refused_by_name() {
        let error = cpus(Some(&[100_000])).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cpus: CPU 100000 is not among"),
            "{error}"
        );
        assert!(!cpus(None).unwrap().is_empty());
    }
}
