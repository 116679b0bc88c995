//! What a process has used: CPU time of each of its threads, and memory.
//!
//! CPU time comes from the scheduler's own account in nanoseconds (`/proc/PID/task/TID/schedstat`),
//! which the kernel brings up to date at every switch and every tick. Where the kernel keeps none,
//! it comes from `/proc/PID/stat`, in hundredths of a second.

use std::collections::BTreeMap;
use std::fs;

/// Linux reports process times in hundredths of a second to every program (USER_HZ).
const NS_PER_TICK: u64 = 10_000_000;
const BYTES_PER_KIB: u64 = 1 << 10;

/// CPU time of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadUsage {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) cpu_ns: u64,
    /// Time in which it could have run and another did.
    pub(crate) cpu_wait_ns: u64,
}

/// CPU time of a process so far, in user and kernel.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    /// The threads alive, in the order of their ids; none if the kernel keeps no account of them.
    pub(crate) threads: Vec<ThreadUsage>,
}

impl Usage {
    /// Asks the kernel about a process.
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let mut threads = threads(pid)?;
        threads.sort_by_key(|thread| thread.id);
        let cpu_ns = threads.iter().map(|thread| thread.cpu_ns).sum();
        if cpu_ns > 0 {
            return Ok(Self { cpu_ns, threads });
        }
        Ok(Self {
            cpu_ns: cpu_ns_in_ticks(pid)?,
            threads: Vec::new(),
        })
    }

    /// What was used since `earlier`. A thread that ended meanwhile is left out.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |id| {
            let thread = earlier.threads.iter().find(|thread| thread.id == id);
            thread.map_or(0, |thread| thread.cpu_ns)
        };
        let spent = |thread: &ThreadUsage| ThreadUsage {
            cpu_ns: thread.cpu_ns.saturating_sub(before(thread.id)),
            ..thread.clone()
        };
        let threads: Vec<_> = self.threads.iter().map(spent).collect();
        let cpu_ns = if threads.is_empty() {
            self.cpu_ns.saturating_sub(earlier.cpu_ns)
        } else {
            threads.iter().map(|thread| thread.cpu_ns).sum()
        };
        Self { cpu_ns, threads }
    }
}

/// CPU time of a process so far, in hundredths of a second, with that of threads that have ended.
pub(crate) fn cpu_ns_in_ticks(pid: u32) -> Result<u64, String> {
    ticks_ns(&read_proc(&format!("{pid}/stat"))?)
}

/// CPU time that all processes of the machine have had so far, and what its host took from it, in
/// hundredths of a second. Interrupts are left out: which process they served is not known.
pub(crate) fn machine_cpu_ns() -> Result<u64, String> {
    busy_ns(&read_proc("stat")?)
}

/// By thread of a process: how long it was ready to run and waited for a CPU so far; of those the kernel
/// tells of.
pub(crate) fn cpu_waits_ns(pid: u32) -> BTreeMap<u32, u64> {
    let threads = threads(pid).unwrap_or_default().into_iter();
    let waits = threads.map(|thread| (thread.id, thread.cpu_wait_ns));
    waits.collect()
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(pid: u32) -> Result<u64, String> {
    status_bytes(pid, "VmRSS:")
}

/// The part of the resident memory that is no page of a file: heap, stacks, tables.
pub(crate) fn anonymous_bytes(pid: u32) -> Result<u64, String> {
    status_bytes(pid, "RssAnon:")
}

fn status_bytes(pid: u32, field: &str) -> Result<u64, String> {
    let status = read_proc(&format!("{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * BYTES_PER_KIB)
        .ok_or_else(|| format!("process {pid} has no {field}"))
}

/// Open descriptors of a process.
pub(crate) fn descriptor_count(pid: u32) -> Result<usize, String> {
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    Ok(entries.count())
}

fn threads(pid: u32) -> Result<Vec<ThreadUsage>, String> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|id| id.parse().ok()));
    // A thread that ends while it is asked is no error.
    Ok(ids.filter_map(|id: u32| thread(pid, id)).collect())
}

fn thread(pid: u32, id: u32) -> Option<ThreadUsage> {
    let schedstat = read_proc(&format!("{pid}/task/{id}/schedstat")).ok()?;
    let name = read_proc(&format!("{pid}/task/{id}/comm")).ok()?;
    let mut times = schedstat.split(' ').map(str::parse);
    Some(ThreadUsage {
        id,
        name: name.trim().to_owned(),
        cpu_ns: times.next()?.ok()?,
        cpu_wait_ns: times.next()?.ok()?,
    })
}

/// User and system time of a `stat` file.
fn ticks_ns(stat: &str) -> Result<u64, String> {
    // The name, in parentheses, may hold spaces; times are the 14th and 15th field of the line.
    let ticks = stat.rsplit_once(") ").and_then(|(_, rest)| {
        let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    });
    ticks
        .map(|ticks| ticks * NS_PER_TICK)
        .ok_or_else(|| format!("cannot read times from {stat:?}"))
}

/// User, nice, system and stolen time of all CPUs in `/proc/stat`.
fn busy_ns(stat: &str) -> Result<u64, String> {
    let line = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let fields: Vec<u64> = line
        .unwrap_or_default()
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let counted = [0, 1, 2, 7].map(|place| fields.get(place));
    let ticks: Option<u64> = counted.into_iter().map(Option::<&u64>::copied).sum();
    ticks
        .map(|ticks| ticks * NS_PER_TICK)
        .ok_or_else(|| format!("cannot read times from {stat:?}"))
}

fn read_proc(file: &str) -> Result<String, String> {
    let path = format!("/proc/{file}");
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_asked_what_it_spent() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        assert!(rss_bytes(pid).unwrap() > BYTES_PER_KIB);
        assert!(Usage::of(0).is_err());
        // Long enough for the scheduler's next tick to see it, however fast the machine is.
        let mut spent = Usage::of(pid).unwrap().since(&before);
        while spent.cpu_ns == 0 {
            spent = Usage::of(pid).unwrap().since(&before);
        }
        assert!(spent.cpu_ns < 3_600_000_000_000, "{spent:?}");
    }

    #[test]
    fn a_name_with_spaces_does_not_shift_the_times() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194304 90 0 0 0 12 30 0 0 20 0 1 0 5 6 7\n";
        assert_eq!(ticks_ns(stat), Ok(42 * NS_PER_TICK));
        assert!(ticks_ns("7 (a) S 1").is_err());
    }

    #[test]
    fn the_machine_has_worked_where_it_did_not_wait_or_serve_interrupts() {
        let stat = "cpu  10 2 30 4000 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ns(stat), Ok(50 * NS_PER_TICK));
        assert!(busy_ns("cpu  1 2 3\n").is_err());
        assert!(machine_cpu_ns().is_ok_and(|ns| ns > 0));
    }

    #[test]
    fn only_what_came_later_is_counted() {
        let thread = |id, cpu_ns| ThreadUsage {
            id,
            name: String::new(),
            cpu_ns,
            cpu_wait_ns: 0,
        };
        let usage = |threads: Vec<ThreadUsage>| Usage {
            cpu_ns: threads.iter().map(|thread| thread.cpu_ns).sum(),
            threads,
        };
        let before = usage(vec![thread(1, 10), thread(2, 20)]);
        let spent = usage(vec![thread(2, 25), thread(3, 7)]).since(&before);
        assert_eq!(spent.threads, [thread(2, 5), thread(3, 7)]);
        assert_eq!(spent.cpu_ns, 12);
    }
}
