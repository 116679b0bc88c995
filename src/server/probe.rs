//! Whether this host lets us run: io_uring, locked memory, descriptors.
//!
//! The runtime panics or exits when io_uring is blocked, with a message that names neither the
//! cause nor the fix. So a ring is made and dropped here before the first executor, and each way
//! in which that can fail becomes one line that says what to change.
#![expect(
    unsafe_code,
    reason = "io_uring_setup, getrlimit and setrlimit have no safe wrapper"
)]

use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{Error, reason_text};
use crate::limits::{KIB, RING_DEPTH_MIN};

/// Locked memory below which the runtime refuses to make an executor.
pub(crate) const MEMLOCK_BYTES_MIN: u64 = 512 * KIB as u64;
const MEMLOCK_FIX: &str = "raise `ulimit -l`, or LimitMEMLOCK= in the service file";
/// Rings of one executor.
const RINGS_PER_EXECUTOR: u64 = 3;
/// Bytes each ring locks besides its entries: the runtime's registered buffers (64 KiB) and what the
/// kernel keeps for them.
const RING_FIXED_BYTES: u64 = 72 * KIB as u64;
/// Bytes per ring entry. A submission takes 64; its index (4) and two completions (16 each), with the
/// ring's header, are rounded up to a power of two of pages, which makes as much again (`ring_pages` of
/// Linux up to 5.11; later kernels count rings as memory of the control group).
const RING_ENTRY_BYTES: u64 = 128;

/// Why there can be no ring, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) cause: String,
    pub(crate) fix: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot use io_uring: {}; {}",
            self.cause, self.fix
        )
    }
}

/// Fails with the line to print when no executor could be made; else the ring depth to use for
/// `executor_count` of them, `depth_max` if there is room for it.
pub(crate) fn io_uring(executor_count: usize, depth_max: u32) -> Result<u32, Error> {
    let memlock_bytes = raise_memlock();
    let refused = |refusal: Refusal| Error::Start(refusal.to_string());
    if memlock_bytes < MEMLOCK_BYTES_MIN {
        return Err(refused(memlock_refusal(memlock_bytes)));
    }
    let depth = ring_depth(executor_count as u64, memlock_bytes, depth_max);
    try_ring(depth).map_err(refused)?;
    Ok(depth)
}

/// Whether the kernel makes a ring of that depth for this process now.
pub(crate) fn try_ring(depth: u32) -> Result<(), Refusal> {
    match make_ring(depth) {
        Ok(_closed_again) => Ok(()),
        Err(error) => Err(ring_refusal(&error, io_uring_disabled().as_deref())),
    }
}

/// Raises this process's limit of open files to the hard limit, so that CONFIG SET can raise
/// `maxclients` later, and past it to `wanted` if the process may; returns the limit in force.
pub(crate) fn raise_descriptors(wanted: u64) -> u64 {
    let Ok(mut limit) = rlimit(libc::RLIMIT_NOFILE) else {
        return wanted;
    };
    let before = limit;
    let wanted = wanted.max(before.rlim_max);
    if before.rlim_cur >= wanted {
        return before.rlim_cur;
    }
    limit.rlim_cur = wanted;
    limit.rlim_max = limit.rlim_max.max(wanted);
    if set_rlimit(libc::RLIMIT_NOFILE, &limit).is_ok() {
        return wanted;
    }
    limit = libc::rlimit {
        rlim_cur: before.rlim_max.min(wanted),
        rlim_max: before.rlim_max,
    };
    match set_rlimit(libc::RLIMIT_NOFILE, &limit) {
        Ok(()) => limit.rlim_cur,
        Err(_) => before.rlim_cur,
    }
}

/// Locked memory that lets `executor_count` executors have rings of this depth.
pub(crate) fn memlock_bytes_wanted(executor_count: u64, depth: u32) -> u64 {
    let ring_bytes = u64::from(depth) * RING_ENTRY_BYTES + RING_FIXED_BYTES;
    (2 * executor_count * RINGS_PER_EXECUTOR * ring_bytes).max(MEMLOCK_BYTES_MIN)
}

/// The deepest ring of which `executor_count` executors fit into half of the locked memory; the
/// other half is for what else this user runs, since the allowance is the user's. A power of two: the
/// kernel rounds `depth_max` up to one.
pub(crate) fn ring_depth(executor_count: u64, memlock_bytes: u64, depth_max: u32) -> u32 {
    let mut depth = depth_max.next_power_of_two();
    while depth > RING_DEPTH_MIN && memlock_bytes_wanted(executor_count, depth) > memlock_bytes {
        depth /= 2;
    }
    depth.max(RING_DEPTH_MIN)
}

/// Why a ring could not be made. `disabled` is the text of the kernel's switch.
fn ring_refusal(error: &io::Error, disabled: Option<&str>) -> Refusal {
    let (cause, fix) = match (error.raw_os_error(), disabled.map(str::trim)) {
        (Some(libc::EPERM), Some("2")) => (
            "kernel.io_uring_disabled is 2",
            "run `sysctl kernel.io_uring_disabled=0`",
        ),
        (Some(libc::EPERM), Some("1")) => (
            "kernel.io_uring_disabled is 1",
            "run `sysctl kernel.io_uring_disabled=0`, or put the user in the group \
             kernel.io_uring_group",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            "a seccomp filter forbids it",
            "allow io_uring_setup, io_uring_enter and io_uring_register, in containers by \
             `--security-opt seccomp=FILE`",
        ),
        (Some(libc::ENOSYS), _) => (
            "the kernel does not have it, or a seccomp filter hides it",
            "Linux 5.8 or newer is needed, and in containers `--security-opt seccomp=FILE`",
        ),
        (Some(libc::ENOMEM), _) => ("not enough lockable memory left for this user", MEMLOCK_FIX),
        (Some(libc::EMFILE | libc::ENFILE), _) => ("too many open files", "raise `ulimit -n`"),
        _ => {
            return Refusal {
                cause: reason_text(error),
                fix: "see io_uring_setup(2)".to_owned(),
            };
        }
    };
    Refusal {
        cause: cause.to_owned(),
        fix: fix.to_owned(),
    }
}

fn memlock_refusal(memlock_bytes: u64) -> Refusal {
    Refusal {
        cause: format!(
            "{} KiB of lockable memory, {} KiB are needed",
            memlock_bytes / KIB as u64,
            MEMLOCK_BYTES_MIN / KIB as u64,
        ),
        fix: MEMLOCK_FIX.to_owned(),
    }
}

fn io_uring_disabled() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()
}

/// What helps where the kernel does not lock the region (`lock-memory`).
pub(crate) fn lock_fix(refusal: &io::Error) -> &'static str {
    match refusal.kind() {
        // It could not take locked pages back.
        io::ErrorKind::InvalidInput => "Linux 5.18 or newer is needed",
        _ => MEMLOCK_FIX,
    }
}

/// Makes one ring; dropping it closes it.
fn make_ring(depth: u32) -> io::Result<OwnedFd> {
    // `struct io_uring_params`: 120 bytes, all zero for no flags; the kernel fills it in.
    let mut params = [0_u64; 15];
    // SAFETY: the kernel reads and writes the 120 bytes of `params`, which outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, depth, params.as_mut_ptr()) };
    match i32::try_from(fd) {
        // SAFETY: the call has just returned `fd`; nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit of locked memory to the hard one and returns it.
pub(crate) fn raise_memlock() -> u64 {
    let Ok(mut limit) = rlimit(libc::RLIMIT_MEMLOCK) else {
        return u64::MAX;
    };
    let before_bytes = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    match set_rlimit(libc::RLIMIT_MEMLOCK, &limit) {
        Ok(()) => limit.rlim_cur,
        Err(_) => before_bytes,
    }
}

fn rlimit(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a `rlimit` that outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

fn set_rlimit(resource: libc::__rlimit_resource_t, limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: `limit` is a reference to a `rlimit`, read by the call.
    if unsafe { libc::setrlimit(resource, std::ptr::from_ref(limit)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RING_DEPTH_MAX;

    fn message(errno: i32, disabled: Option<&str>) -> String {
        ring_refusal(&io::Error::from_raw_os_error(errno), disabled).to_string()
    }

    #[test]
    fn each_way_to_be_refused_names_its_cause_and_its_fix() {
        for (errno, disabled, cause, fix) in [
            (
                libc::EPERM,
                Some("2\n"),
                "kernel.io_uring_disabled is 2",
                "sysctl",
            ),
            (
                libc::EPERM,
                Some("1\n"),
                "kernel.io_uring_disabled is 1",
                "io_uring_group",
            ),
            (libc::EPERM, Some("0\n"), "seccomp", "--security-opt"),
            (libc::EPERM, None, "seccomp", "--security-opt"),
            (libc::ENOSYS, None, "kernel does not have it", "5.8"),
            (
                libc::ENOSYS,
                None,
                "seccomp filter hides it",
                "--security-opt",
            ),
            (libc::ENOMEM, None, "lockable memory", "LimitMEMLOCK="),
            (libc::EMFILE, None, "too many open files", "ulimit -n"),
        ] {
            let line = message(errno, disabled);
            assert!(line.contains(cause) && line.contains(fix), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn too_little_lockable_memory_is_said_in_numbers() {
        let line = memlock_refusal(64 * 1024).to_string();
        assert!(line.contains("64 KiB of lockable memory, 512 KiB"));
    }

    #[test]
    fn rings_get_shallower_when_many_executors_share_little_memory() {
        assert_eq!(ring_depth(2, 8 << 20, RING_DEPTH_MAX), RING_DEPTH_MAX);
        assert_eq!(
            ring_depth(2, libc::RLIM_INFINITY, RING_DEPTH_MAX),
            RING_DEPTH_MAX
        );
        assert!(ring_depth(8, 8 << 20, RING_DEPTH_MAX) < RING_DEPTH_MAX);
        assert_eq!(ring_depth(500, 1 << 20, RING_DEPTH_MAX), RING_DEPTH_MIN);
        assert_eq!(ring_depth(2, libc::RLIM_INFINITY, 256), 256);
    }

    #[test]
    fn a_ring_takes_what_the_kernel_rounds_its_depth_up_to() {
        assert_eq!(ring_depth(2, libc::RLIM_INFINITY, 300), 512);
        let enough_bytes = memlock_bytes_wanted(2, 512);
        assert_eq!(ring_depth(2, enough_bytes, 300), 512);
        assert_eq!(ring_depth(2, enough_bytes - 1, 300), 256);
    }

    #[test]
    fn descriptors_are_never_lowered() {
        let now = raise_descriptors(0);
        assert!(now > 0);
        assert_eq!(raise_descriptors(now), now);
    }
}
