//! Memory: how much there is, in pages of which size, and whether it stays where it is.

use super::checks::{Finding, Unknown};
use super::host::{Host, Memory};
use crate::config::format_bytes;
use crate::limits::{MAXMEMORY_DEFAULT_PERCENT, MIB};
use crate::server::host::{group_values, meminfo_bytes};

/// Swappiness at which the kernel swaps anonymous pages only to avoid running out of memory.
const SWAPPINESS_LEAST: u64 = 1;

pub(super) fn budget(host: &Host) -> Result<Finding, Unknown> {
    let meminfo = host.read("proc/meminfo")?;
    let free_bytes = meminfo_bytes(&meminfo, "MemAvailable:")
        .ok_or_else(|| Unknown("/proc/meminfo has no MemAvailable".to_owned()))?;
    let Memory {
        whole_bytes,
        limit_name,
        maxmemory_bytes,
    } = host.memory();
    // What a running server holds is part of its budget.
    let status = host.read_process("status")?;
    let held_bytes = meminfo_bytes(&status, "VmRSS:").unwrap_or(0);
    let value = format!(
        "maxmemory {} of {} ({limit_name}), {} available now",
        format_bytes(maxmemory_bytes),
        format_bytes(whole_bytes),
        format_bytes(free_bytes),
    );
    let fitting_mib =
        whole_bytes.min(free_bytes + held_bytes) / 100 * MAXMEMORY_DEFAULT_PERCENT / MIB as u64;
    let fix = format!("coremap cli CONFIG SET maxmemory {fitting_mib}mb   # and in coremap.conf");
    Ok(if maxmemory_bytes >= whole_bytes {
        Finding::bad(value, fix)
    } else if maxmemory_bytes > free_bytes + held_bytes {
        Finding::advice(value, fix)
    } else {
        Finding::good(value)
    })
}

pub(super) fn huge_pages(host: &Host) -> Result<Finding, Unknown> {
    const FOLDER: &str = "sys/kernel/mm/transparent_hugepage";
    let modes = host.read(&format!("{FOLDER}/enabled"))?;
    let mode = chosen(&modes).ok_or_else(|| Unknown(format!("'{modes}' has no mode in force")))?;
    Ok(match mode {
        _ if !host.settings.huge_pages => Finding::good(format!("{mode}, and none are asked for")),
        "never" => Finding::advice(mode, format!("echo madvise > /{FOLDER}/enabled")),
        _ => Finding::good(mode),
    })
}

/// The word in brackets.
fn chosen(modes: &str) -> Option<&str> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

pub(super) fn overcommit(host: &Host) -> Result<Finding, Unknown> {
    let mode = host.read("proc/sys/vm/overcommit_memory")?;
    if mode != "2" {
        return Ok(Finding::good(mode));
    }
    let meminfo = host.read("proc/meminfo")?;
    let number = |name: &str| meminfo_bytes(&meminfo, name);
    let (Some(limit), Some(used), Some(whole)) = (
        number("CommitLimit:"),
        number("Committed_AS:"),
        number("MemTotal:"),
    ) else {
        return Err(Unknown(
            "/proc/meminfo does not say how much may be committed".to_owned(),
        ));
    };
    let left_bytes = limit.saturating_sub(used);
    let value = format!(
        "2, {} may still be committed, {} are reserved",
        format_bytes(left_bytes),
        format_bytes(whole)
    );
    let fix = "sysctl -w vm.overcommit_memory=0";
    Ok(if left_bytes < whole {
        Finding::bad(value, fix)
    } else {
        Finding::good(value)
    })
}

pub(super) fn swap(host: &Host) -> Result<Finding, Unknown> {
    let swaps = host.read("proc/swaps")?;
    // The first line names the columns.
    let areas: Vec<&str> = swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if areas.is_empty() {
        return Ok(Finding::good("none"));
    }
    if host.settings.lock_memory {
        return Ok(Finding::good("lock-memory keeps keys and values in memory"));
    }
    let allowed = group_values(&host.subject, "memory.swap.max", "", "");
    if allowed.iter().any(|text| text.trim() == "0") {
        return Ok(Finding::good("none for this control group"));
    }
    let meminfo = host.read("proc/meminfo")?;
    let size_bytes = meminfo_bytes(&meminfo, "SwapTotal:").unwrap_or(0);
    let swappiness = host.read_number("proc/sys/vm/swappiness")?;
    let value = format!(
        "{} on {}, swappiness {swappiness}",
        format_bytes(size_bytes),
        areas.join(", ")
    );
    Ok(if swappiness <= SWAPPINESS_LEAST {
        Finding::good(value)
    } else {
        Finding::advice(
            value,
            "systemctl edit coremap.service   # [Service] MemorySwapMax=0\n\
             sysctl -w vm.swappiness=1        # or for the whole host",
        )
    })
}
