//! What the system says of this process: memory and CPU time.

use std::fs;

use crate::command::ProcessUsage;

/// Bytes of a page; x86-64 and most of aarch64 have no other.
const PAGE_LEN_BYTES: u64 = 4096;
/// Microseconds of a clock tick of /proc (USER_HZ is 100 on every Linux).
const TICK_US: u64 = 10_000;

/// Resident memory and CPU time now; zeros where /proc cannot be read.
pub(super) fn usage() -> ProcessUsage {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (cpu_user_us, cpu_system_us) = cpu_us(&stat);
    ProcessUsage {
        resident_bytes: resident_bytes(&statm),
        cpu_user_us,
        cpu_system_us,
    }
}

fn resident_bytes(statm: &str) -> u64 {
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_LEN_BYTES
}

/// User and system time: fields 14 and 15, counted after the name, which may contain anything.
fn cpu_us(stat: &str) -> (u64, u64) {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut ticks = after_name
        .split(' ')
        .skip(11)
        .map(|field| field.parse::<u64>().unwrap_or(0));
    (
        ticks.next().unwrap_or(0) * TICK_US,
        ticks.next().unwrap_or(0) * TICK_US,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0 1";
        assert_eq!(cpu_us(stat), (1_200_000, 340_000));
        assert_eq!(cpu_us(""), (0, 0));
    }

    #[test]
    fn this_process_has_resident_memory() {
        assert_eq!(resident_bytes("9 5 1"), 5 * PAGE_LEN_BYTES);
        assert!(usage().resident_bytes > 0);
    }
}
