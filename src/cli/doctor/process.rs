//! What keeps a server from starting: the kernel's age, io_uring, and the limits of the process.

use std::io;

use super::checks::{Finding, Unknown};
use super::host::{Host, field};
use crate::error::reason_text;
use crate::limits::{
    DESCRIPTORS_OF_PROCESS, DESCRIPTORS_PER_CORE, KIB, RING_DEPTH_MAX, RING_DEPTH_MIN,
};
use crate::region::{Region, RegionOptions};
use crate::server::probe;

/// First version whose io_uring the runtime can use.
const KERNEL_NEEDED: (u32, u32) = (5, 8);
/// First version with `MADV_POPULATE_WRITE`, which the region uses under `--dir`.
const KERNEL_WANTED: (u32, u32) = (5, 14);
/// The capability to pass the limit of open files, as a bit of `CapEff`.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

pub(super) fn kernel(host: &Host) -> Result<Finding, Unknown> {
    let release = host.read("proc/sys/kernel/osrelease")?;
    let version = version(&release)
        .ok_or_else(|| Unknown(format!("'{release}' does not begin with a version")))?;
    let fix = "# boot a newer kernel; the project's own tests run on 6.18";
    Ok(if version < KERNEL_NEEDED {
        Finding::bad(release, fix)
    } else if version < KERNEL_WANTED {
        Finding::advice(release, fix)
    } else {
        Finding::good(release)
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn io_uring(host: &Host) -> Result<Finding, Unknown> {
    let switch = host.read("proc/sys/kernel/io_uring_disabled");
    if !host.is_here {
        // A tree cannot be tried, but it can say no.
        return match switch.as_deref() {
            Ok("2") => Ok(Finding::bad(
                "kernel.io_uring_disabled is 2",
                "sysctl -w kernel.io_uring_disabled=0",
            )),
            _ => Err(Unknown(
                "only a process itself can try it: run this where the server runs".to_owned(),
            )),
        };
    }
    Ok(match probe::try_ring(RING_DEPTH_MIN) {
        Ok(()) => Finding::good("a ring was made"),
        Err(refusal) => {
            let fix = match switch.as_deref() {
                Ok("1" | "2") => "sysctl -w kernel.io_uring_disabled=0".to_owned(),
                _ => format!("# {}", refusal.fix),
            };
            Finding::bad(refusal.cause, fix)
        }
    })
}

pub(super) fn memlock(host: &Host) -> Result<Finding, Unknown> {
    let limit_bytes = limit(host, "Max locked memory")?;
    let shard_count = host.shard_count()? as u64;
    let wanted_depth = u32::try_from(host.settings.ring_depth).unwrap_or(RING_DEPTH_MAX);
    // As deep as the kernel makes them.
    let wanted_depth = probe::ring_depth(shard_count, u64::MAX, wanted_depth);
    let wanted_bytes = probe::memlock_bytes_wanted(shard_count, wanted_depth);
    let wanted_kib = wanted_bytes.div_ceil(KIB as u64);
    let fix = format!(
        "ulimit -l {wanted_kib}\n\
         systemctl edit coremap.service   # [Service] LimitMEMLOCK={wanted_kib}K"
    );
    let depth = probe::ring_depth(shard_count, limit_bytes, wanted_depth);
    let value = match limit_bytes {
        u64::MAX => "unlimited".to_owned(),
        bytes => format!("{} KiB", bytes / KIB as u64),
    };
    Ok(if limit_bytes < probe::MEMLOCK_BYTES_MIN {
        let least_kib = probe::MEMLOCK_BYTES_MIN / KIB as u64;
        Finding::bad(format!("{value}, at least {least_kib} KiB are needed"), fix)
    } else if let Some(error) = lock_refusal(host, limit_bytes)? {
        let reason = reason_text(&error);
        Finding::bad(
            format!("{value}; lock-memory fails, for which all addresses count: {reason}"),
            match error.kind() {
                io::ErrorKind::InvalidInput => format!("# {}", probe::lock_fix(&error)),
                _ => "ulimit -l unlimited\n\
                      systemctl edit coremap.service   # [Service] LimitMEMLOCK=infinity"
                    .to_owned(),
            },
        )
    } else if depth < wanted_depth {
        Finding::advice(
            format!("{value}, enough for rings of {depth} entries of {wanted_depth}"),
            fix,
        )
    } else {
        Finding::good(format!("{value}, rings of {depth} entries"))
    })
}

/// Why the server may not lock its region, if it is to and may not.
fn lock_refusal(host: &Host, limit_bytes: u64) -> Result<Option<io::Error>, Unknown> {
    let settings = &host.settings;
    if !settings.lock_memory || !settings.dir.is_empty() {
        return Ok(None);
    }
    if !host.is_here {
        return match limit_bytes {
            u64::MAX => Ok(None),
            _ => Err(Unknown(
                "whether lock-memory may lock all addresses only a process itself can try"
                    .to_owned(),
            )),
        };
    }
    probe::raise_memlock();
    let options = RegionOptions {
        maxmemory_bytes: host.memory().maxmemory_bytes,
        shard_count: host.shard_count()?,
    };
    // Address space only: no page is touched.
    let region = Region::anonymous(options);
    let mut region = region.map_err(|error| Unknown(error.to_string()))?;
    Ok(region.lock().err())
}

pub(super) fn nofile(host: &Host) -> Result<Finding, Unknown> {
    let limit_count = limit(host, "Max open files")?;
    let maxclients = host.settings.maxclients;
    let needed_count =
        maxclients + DESCRIPTORS_OF_PROCESS + DESCRIPTORS_PER_CORE * host.shard_count()? as u64;
    let value = format!("{limit_count}, maxclients {maxclients} needs {needed_count}");
    if limit_count >= needed_count {
        return Ok(Finding::good(value));
    }
    // Who may pass the limit does, up to what the kernel allows anybody.
    let status = host.read_process("status")?;
    let capabilities = field(&status, "CapEff:");
    let capabilities = capabilities.and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let may_raise = capabilities.is_some_and(|bits| bits & CAP_SYS_RESOURCE != 0);
    if may_raise && host.read_number("proc/sys/fs/nr_open")? >= needed_count {
        return Ok(Finding::good(format!("{value}, which it may give itself")));
    }
    Ok(Finding::advice(
        value,
        format!(
            "ulimit -n {needed_count}\n\
             systemctl edit coremap.service   # [Service] LimitNOFILE={needed_count}"
        ),
    ))
}

/// The hard limit of that name: the server raises its own soft ones to it.
fn limit(host: &Host, name: &str) -> Result<u64, Unknown> {
    let limits = host.read_process("limits")?;
    let line = field(&limits, name);
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    match hard {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => number
            .parse()
            .map_err(|_| Unknown(format!("'{number}' is no number"))),
        None => Err(Unknown(format!("/proc/PID/limits has no '{name}'"))),
    }
}
