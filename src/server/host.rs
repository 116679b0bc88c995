//! What the host grants this process: which CPUs, how much of them, how much memory.
//!
//! A container sees the host's CPUs and memory; what it may use stands in its control group and
//! every group above it. Both generations of control groups are read; whatever cannot be read
//! does not limit.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::limits::KIB;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// The runtime reads the topology of the CPUs below it, and panics where there is none.
const TOPOLOGY: &str = "/sys/devices/system/cpu/online";

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
        let count = cpu_quota().map_or(allowed.len(), |quota| quota.min(allowed.len()));
        return Ok(allowed.into_iter().take(count.max(1)).collect());
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
pub(crate) fn memory_bytes() -> (u64, &'static str) {
    let host = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo_total_bytes(&text))
        .unwrap_or(u64::MAX);
    let group = group_values("memory.max", "memory", "memory.limit_in_bytes")
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

/// CPUs that the tightest control group pays for, rounded up; `None` when none limits.
fn cpu_quota() -> Option<usize> {
    let second = group_values("cpu.max", "cpu", "cpu.cfs_quota_us");
    let periods = group_values("cpu.max", "cpu", "cpu.cfs_period_us");
    second
        .iter()
        .zip(&periods)
        .filter_map(|(quota, period)| quota_cpus(quota, period))
        .min()
}

/// `quota` is "200000 100000" or "max 100000" (version 2), or a number with `period` beside it.
fn quota_cpus(quota: &str, period: &str) -> Option<usize> {
    let mut words = quota.split_whitespace();
    let quota_us: usize = words.next()?.parse().ok()?;
    let period_us: usize = words.next().unwrap_or(period.trim()).parse().ok()?;
    (period_us > 0).then(|| quota_us.div_ceil(period_us).max(1))
}

fn meminfo_total_bytes(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB as u64)
}

/// The texts of one limit in this process' control group and each group above it.
fn group_values(name_v2: &str, controller_v1: &str, name_v1: &str) -> Vec<String> {
    let Ok(membership) = std::fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = if controllers.is_empty() {
            (PathBuf::from(CGROUP_ROOT), name_v2)
        } else if controllers
            .split(',')
            .any(|controller| controller == controller_v1)
        {
            (Path::new(CGROUP_ROOT).join(controller_v1), name_v1)
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
        assert_eq!(quota_cpus("200000 100000", ""), Some(2));
        assert_eq!(quota_cpus("250000 100000\n", ""), Some(3));
        assert_eq!(quota_cpus("5000 100000", ""), Some(1));
        assert_eq!(quota_cpus("max 100000", ""), None);
        assert_eq!(quota_cpus("150000", "100000\n"), Some(2));
        assert_eq!(quota_cpus("-1", "100000"), None);
    }

    #[test]
    fn host_memory_is_read_in_bytes() {
        let text = "MemTotal:       24571788 kB\nMemFree: 1 kB\n";
        assert_eq!(meminfo_total_bytes(text), Some(24_571_788 * 1024));
        assert!(memory_bytes().0 > 0);
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
