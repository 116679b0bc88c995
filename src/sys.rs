//! The edge to the kernel: address space, pages, room in files, how much memory there is, how a thread
//! is scheduled.
//!
//! Everything here is a plain call with plain results; policy lives with the callers.

#![expect(
    unsafe_code,
    reason = "giving pages back to the kernel changes memory under references"
)]

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A private anonymous reservation: address space whose pages appear when they are first touched.
#[derive(Debug)]
pub struct Reservation {
    map: memmap2::MmapRaw,
    /// Whether its pages are locked, which asks for another way to give them back.
    is_locked: bool,
}

impl Reservation {
    /// Reserves `len_bytes` of address space without reserving memory.
    ///
    /// # Errors
    /// What `mmap` says: no address space, or a limit on it.
    pub fn new(len_bytes: usize) -> io::Result<Self> {
        let map = memmap2::MmapOptions::new()
            .len(len_bytes)
            .no_reserve_swap()
            .map_anon()?;
        Ok(Self {
            map: map.into(),
            is_locked: false,
        })
    }

    /// The first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Asks for huge pages in a range, or for none. A kernel built without them says no, which
    /// costs speed and nothing else.
    pub fn prefer_huge_pages(&self, start: usize, len_bytes: usize, prefer: bool) {
        let advice = if prefer {
            memmap2::Advice::HugePage
        } else {
            memmap2::Advice::NoHugePage
        };
        let _ = self.map.advise_range(advice, start, len_bytes);
    }

    /// Gives the pages of a range back to the kernel; they read as zero afterwards.
    ///
    /// # Safety
    /// No reference into the range is alive, and nothing it holds is needed any more.
    ///
    /// # Panics
    /// If the range is not a range of whole pages of this reservation.
    pub unsafe fn release(&self, start: usize, len_bytes: usize) {
        let advice = if self.is_locked {
            libc::MADV_DONTNEED_LOCKED
        } else {
            libc::MADV_DONTNEED
        };
        // SAFETY: the caller holds no reference into the range.
        let released = unsafe { self.advise(start, len_bytes, advice) };
        released.expect("a range of whole private pages can always be released");
    }

    /// Keeps every page in memory from the moment it is first touched, whatever the kernel is short of.
    ///
    /// # Errors
    /// What `mlock2` says: the limit on locked memory, or a kernel that could not take locked pages
    /// back (before 5.18).
    pub fn lock(&mut self) -> io::Result<()> {
        let (start, len_bytes) = (self.as_ptr().cast::<libc::c_void>(), self.map.len());
        // SAFETY: the range is this reservation's, whose bytes do not change.
        if unsafe { libc::mlock2(start, len_bytes, libc::MLOCK_ONFAULT) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: an empty range has no bytes; the kernel says whether it knows the advice.
        unsafe { self.advise(0, 0, libc::MADV_DONTNEED_LOCKED)? };
        self.is_locked = true;
        Ok(())
    }
}

/// Has the C library give each long allocation back to the kernel as soon as it is freed. By default it
/// learns from the first that is freed to keep all of that length, up to 64 MiB for each thread, and there
/// they stay once others lie above them. What turns allocate over and over must not be long: the kernel
/// then clears its pages each time. To be called before there are threads; where there is another C
/// library it does nothing.
pub fn give_long_allocations_back() {
    // The replies of a turn are a quarter of it, or half while they grow.
    #[cfg(target_env = "gnu")]
    const MAPPED_LEN_BYTES_MIN: libc::c_int = 4 << 20;
    #[cfg(target_env = "gnu")]
    // What is free at the end of a heap stays up to there: the library stops adapting that, too.
    const KEPT_LEN_BYTES_MAX: libc::c_int = 2 * MAPPED_LEN_BYTES_MIN;
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, MAPPED_LEN_BYTES_MIN),
        (libc::M_TRIM_THRESHOLD, KEPT_LEN_BYTES_MAX),
    ] {
        // SAFETY: the call takes plain numbers. A refusal costs memory and nothing else.
        let _ = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Lets the calling thread's sleeps end within a microsecond of their time, where the kernel's choice
/// would be fifty. A kernel that refuses costs that.
pub fn wake_in_time() {
    const SLACK_NS: libc::c_ulong = 1_000;
    // SAFETY: the call takes plain numbers.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
}

/// Makes the calling thread one that does batch work: it gets its share of a CPU, but when it wakes
/// whoever runs there goes on. A kernel that refuses costs smoothness and nothing else.
pub fn wake_without_preempting() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the struct it is given; 0 is the calling thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
}

/// Microseconds on the clock that the kernel, and who manages services, call monotonic: a number that
/// another process can compare.
#[must_use]
pub fn monotonic_us() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC) / 1_000
}

/// CPU time of the calling thread, in nanoseconds; 0 where the kernel keeps none.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// What a clock of the kernel shows, in nanoseconds; 0 where it has no such clock.
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct it is given.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    u64::try_from(ns).ok().filter(|_| result == 0).unwrap_or(0)
}

/// Ends the process without a word when it writes to a pipe that nobody reads, as in `... | head`, like
/// any Unix tool; the runtime of Rust has it panic. Not for servers, which outlive their readers.
pub fn end_with_reader() {
    // SAFETY: the default action is no handler, so nothing of this process runs in one.
    let _ = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Keeps the calling thread off `cpus`, if it may use any others; else it stays as it is.
pub fn keep_off(cpus: &[usize]) {
    // SAFETY: a set of CPUs is plain bits, and no bits are the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let len_bytes = size_of_val(&allowed);
    // SAFETY: the call fills at most as many bytes as it is told; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, len_bytes, &raw mut allowed) } != 0 {
        return;
    }
    for &cpu in cpus.iter().filter(|&&cpu| cpu < 8 * len_bytes) {
        // SAFETY: the bit lies within the set.
        unsafe { libc::CPU_CLR(cpu, &mut allowed) };
    }
    // SAFETY: the call reads as many bytes as it is told. The kernel refuses an empty set.
    let _ = unsafe { libc::sched_setaffinity(0, len_bytes, &raw const allowed) };
}

/// How a file is seen through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// What is written to memory is in the file, also if the process is killed at once.
    Shared,
    /// What is written to memory stays there; the file is only read.
    Private,
}

impl Reservation {
    /// Puts a part of a file, by its offset in bytes, where the range from `start` was.
    ///
    /// # Safety
    /// 1. No reference into the range is alive, and nothing it holds is needed any more;
    /// 2. the file is not made shorter as long as the reservation lives.
    ///
    /// # Errors
    /// What `mmap` says.
    ///
    /// # Panics
    /// If the range is not a range of whole pages of this reservation.
    pub unsafe fn map_file(
        &self,
        start: usize,
        len_bytes: usize,
        file: &File,
        file_offset: u64,
        sharing: Sharing,
    ) -> io::Result<()> {
        let file_offset = i64::try_from(file_offset).map_err(io::Error::other)?;
        let address = self.range(start, len_bytes);
        let flags = match sharing {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Private => libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        };
        // SAFETY: the range is this reservation's, which unmaps it as a whole when it is dropped; that
        // nobody uses it is the caller's first duty.
        let mapped = unsafe {
            libc::mmap(
                address.cast(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_FIXED,
                file.as_raw_fd(),
                file_offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        debug_assert_eq!(mapped, address.cast());
        Ok(())
    }

    /// Backs a range with pages that can be written without the kernel's help. A kernel that cannot
    /// (before 5.14) says so.
    ///
    /// # Errors
    /// What `madvise` says.
    pub fn populate(&self, start: usize, len_bytes: usize) -> io::Result<()> {
        // SAFETY: it changes no byte.
        unsafe { self.advise(start, len_bytes, libc::MADV_POPULATE_WRITE) }
    }

    /// Forgets where the pages of a range are: the bytes are the file's, and the next access to a page
    /// finds it there. A kernel that refuses costs speed.
    ///
    /// # Safety
    /// The range shows a file, [shared](Sharing::Shared). Elsewhere its bytes would be lost.
    pub unsafe fn unmap_shared(&self, start: usize, len_bytes: usize) {
        // SAFETY: of what is shared it changes no byte.
        let _ = unsafe { self.advise(start, len_bytes, libc::MADV_DONTNEED) };
    }

    /// Reads a range of a mapped file into memory, to be read from there. It is a hint: where it
    /// fails, reading does the same.
    pub fn preload(&self, start: usize, len_bytes: usize) {
        // SAFETY: it changes no byte.
        let _ = unsafe { self.advise(start, len_bytes, libc::MADV_POPULATE_READ) };
    }

    /// # Safety
    /// No reference into the range is alive, and nothing it holds is needed any more, unless the advice
    /// changes no byte.
    unsafe fn advise(&self, start: usize, len_bytes: usize, advice: libc::c_int) -> io::Result<()> {
        let address = self.range(start, len_bytes);
        // SAFETY: the range is this reservation's; the caller knows what the advice does to it.
        match unsafe { libc::madvise(address.cast(), len_bytes, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn range(&self, start: usize, len_bytes: usize) -> *mut u8 {
        let end = start.checked_add(len_bytes);
        assert!(end.is_some_and(|end| end <= self.map.len()));
        // SAFETY: within the mapping, as just checked.
        unsafe { self.as_ptr().add(start) }
    }
}

/// Makes sure that a range of a file can be written without running out of space. The length of the
/// file stays as it is.
///
/// # Errors
/// A full disk, an exhausted quota, or a file system that cannot promise this.
pub fn allocate(file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
    fallocate(file, libc::FALLOC_FL_KEEP_SIZE, offset, len_bytes)
}

/// Gives the disk space of a range of a file back; it reads as zero afterwards.
///
/// # Errors
/// What the file system says.
pub fn punch(file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    fallocate(file, mode, offset, len_bytes)
}

/// Has the kernel forget what it has cached of a range of a file, but for what is mapped or not yet written.
/// It is a hint.
pub fn drop_cached(file: &File, offset: u64, len_bytes: u64) {
    advise_file(file, offset, len_bytes, libc::POSIX_FADV_DONTNEED);
}

/// Has the kernel cache a range of a file in single pages, as far as it has not cached it yet: what is first
/// met in a mapping is cached in larger pieces, and all of a piece is written for one changed byte. It is a hint.
pub fn cache_pages(file: &File, offset: u64, len_bytes: u64) {
    // The kernel silently cuts a longer hint to what the disk reads ahead or takes at once, of which the larger
    // counts (`force_page_cache_ra` in mm/readahead.c).
    const STEP_LEN_BYTES: u64 = 64 << 10;
    let end = offset.saturating_add(len_bytes);
    let mut from = offset;
    while from < end {
        let step_len_bytes = STEP_LEN_BYTES.min(end - from);
        advise_file(file, from, step_len_bytes, libc::POSIX_FADV_WILLNEED);
        from += step_len_bytes;
    }
}

fn advise_file(file: &File, offset: u64, len_bytes: u64, advice: libc::c_int) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len_bytes)) else {
        return;
    };
    // SAFETY: the descriptor is open, the others are plain numbers.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, len, advice) };
}

fn fallocate(file: &File, mode: libc::c_int, offset: u64, len_bytes: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len_bytes)) else {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    };
    loop {
        // SAFETY: the descriptor is open, the others are plain numbers.
        if unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The next range of a file, from an offset on, that may hold something else than zeros; `None` if
/// nothing does.
///
/// # Errors
/// What `lseek` says.
pub fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let seek = |from: u64, whence: libc::c_int| -> io::Result<u64> {
        let from = i64::try_from(from).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open, the others are plain numbers.
        let found = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    };
    match seek(offset, libc::SEEK_DATA) {
        Ok(start) => Ok(Some(start..seek(start, libc::SEEK_HOLE)?)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks a file for this process, until it is closed; false if another process holds it.
///
/// # Errors
/// If the file system has no locks.
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        return Ok(false);
    }
    Err(error)
}

/// The longest file this process may write, in bytes.
#[must_use]
pub fn file_len_limit_bytes() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the struct is ours and whole.
    match unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } {
        0 => limit.rlim_cur,
        _ => libc::RLIM_INFINITY,
    }
}

/// Bytes of memory this process may use: the host's, or the least of its control groups' limits.
#[must_use]
pub fn memory_limit_bytes() -> u64 {
    cgroup_limit_bytes()
        .map_or(u64::MAX, |limit| limit)
        .min(host_memory_bytes())
}

/// Bytes of memory of the host.
#[must_use]
pub fn host_memory_bytes() -> u64 {
    // SAFETY: sysconf takes and returns plain numbers.
    let page_count = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    // SAFETY: as above.
    let page_len_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(page_count).unwrap_or(0) * u64::try_from(page_len_bytes).unwrap_or(0)
}

/// The least memory limit among this process's control groups and their parents, if any is set.
#[must_use]
pub fn cgroup_limit_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    membership
        .lines()
        .filter_map(cgroup_limit_files)
        .flatten()
        .filter_map(|file| read_limit(&file))
        .min()
}

/// The files that may limit the memory of one line of `/proc/self/cgroup`
/// (`0::/path` under version 2, `n:memory:/path` under version 1).
fn cgroup_limit_files(line: &str) -> Option<Vec<PathBuf>> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        names if names.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let path = Path::new(path.trim_start_matches('/'));
    Some(
        path.ancestors()
            .map(|group| Path::new(root).join(group).join(file))
            .collect(),
    )
}

/// The number in a limit file; version 2 writes `max` for none.
fn read_limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_read_as_zero() {
        let reservation = Reservation::new(1 << 20).expect("a mebibyte of address space");
        // SAFETY: the byte lies within the reservation and nobody else knows it.
        let byte = unsafe { &mut *reservation.as_ptr().add(8192) };
        *byte = 7;
        // SAFETY: the reference above is not used again.
        unsafe { reservation.release(8192, 4096) };
        // SAFETY: as above.
        assert_eq!(unsafe { *reservation.as_ptr().add(8192) }, 0);
    }

    #[test]
    fn locked_pages_can_be_released_too() {
        let mut reservation = Reservation::new(64 << 10).expect("a little address space");
        if let Err(refusal) = reservation.lock() {
            assert!(!reservation.is_locked, "{refusal}"); // nothing may be locked here
            return;
        }
        reservation.populate(0, 64 << 10).expect("a little memory");
        // SAFETY: the byte lies within the reservation and nobody else knows it.
        unsafe { reservation.as_ptr().add(8192).write(7) };
        // SAFETY: no reference is alive.
        unsafe { reservation.release(8192, 4096) };
        // SAFETY: as above.
        assert_eq!(unsafe { reservation.as_ptr().add(8192).read() }, 0);
    }

    #[test]
    fn only_the_thread_that_asks_wakes_without_preempting() {
        let policy = || {
            let stat = fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
            // The 41st field; the second is a name in parentheses.
            let (_, fields) = stat.rsplit_once(") ").expect("a name");
            fields.split(' ').nth(38).map(str::to_owned)
        };
        let before = policy();
        let asked = std::thread::spawn(move || {
            wake_without_preempting();
            policy()
        });
        let batch = Some(libc::SCHED_BATCH.to_string());
        assert_eq!(asked.join().expect("it ends"), batch);
        assert_eq!(policy(), before);
    }

    #[test]
    fn a_thread_keeps_off_cpus_only_if_there_are_others() {
        let allowed = || -> Vec<usize> {
            let ids = core_affinity::get_core_ids().expect("some CPU");
            ids.into_iter().map(|core| core.id).collect()
        };
        let all = allowed();
        let left = std::thread::spawn(move || {
            keep_off(&allowed());
            let all_refused = allowed();
            keep_off(&all_refused[..1]);
            (all_refused, allowed())
        });
        let (all_refused, after) = left.join().expect("it ends");
        assert_eq!(all_refused, all);
        let others = if all.len() > 1 { &all[1..] } else { &all[..] };
        assert_eq!(after, others);
    }

    #[test]
    fn the_limit_is_never_above_the_host() {
        assert!(memory_limit_bytes() > 0);
        assert!(memory_limit_bytes() <= host_memory_bytes());
    }

    #[test]
    fn limits_of_a_group_and_its_parents_are_looked_at() {
        let files = cgroup_limit_files("0::/a/b").expect("version 2");
        let expected = ["a/b/memory.max", "a/memory.max", "memory.max"];
        assert_eq!(
            files,
            expected.map(|file| Path::new("/sys/fs/cgroup").join(file))
        );
        assert_eq!(
            cgroup_limit_files("5:memory:/x").expect("version 1").len(),
            2
        );
        assert!(cgroup_limit_files("4:cpu:/x").is_none());
    }
}
