//! Where the data is kept: the file system under `--dir`, and how long a sync takes there.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checks::{Finding, Unknown};
use super::host::Host;
use crate::cli::shell::pace::Stopwatch;
use crate::error::reason_text;
use crate::limits::PAGE_LEN_BYTES;

/// File systems that the project's tests run on, or that keep the same promises.
const GOOD: &[&str] = &["ext4", "xfs"];
/// Those that forget with the power.
const FORGETFUL: &[&str] = &["tmpfs", "ramfs"];
/// Those that are somebody else's computer.
const REMOTE: &[&str] = &[
    "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "fuse",
];
/// Options by which a file system does not wait for the disk's own cache.
const WITHOUT_BARRIERS: &[&str] = &["nobarrier", "barrier=0"];
/// Syncs that are timed; the median counts.
const SYNC_COUNT: usize = 9;
/// Longest sync that a write can wait for without being noticed among those over a network.
const SYNC_MAX: Duration = Duration::from_millis(10);

const NO_DIR: &str = "no --dir: the data is in memory only";

pub(super) fn file_system(host: &Host) -> Result<Finding, Unknown> {
    if host.settings.dir.is_empty() {
        return Ok(Finding::good(NO_DIR));
    }
    let path = resolved(host)?;
    let mounts = host.read_process("mountinfo")?;
    let mount = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| path.starts_with(&mount.point))
        // Of mounts on one point the last is the one that is seen.
        .max_by_key(|mount| mount.point.components().count())
        .ok_or_else(|| Unknown(format!("no mount holds {}", path.display())))?;
    let value = format!("{} at {}", mount.kind, mount.point.display());
    let kind = mount.kind.split('.').next().unwrap_or_default();
    let barrier = mount
        .options
        .iter()
        .find(|option| WITHOUT_BARRIERS.contains(&option.as_str()));
    let elsewhere = "# choose a --dir on ext4 or xfs on a disk of this host";
    Ok(if let Some(option) = barrier {
        let point = mount.point.display();
        Finding::bad(
            format!("{value}, {option}: a sync does not reach the disk"),
            format!("mount -o remount,barrier=1 {point}   # and in /etc/fstab"),
        )
    } else if GOOD.contains(&kind) {
        Finding::good(value)
    } else if FORGETFUL.contains(&kind) {
        Finding::bad(format!("{value}: memory, gone with the power"), elsewhere)
    } else if REMOTE.contains(&kind) {
        Finding::advice(
            format!("{value}: each sync asks another computer"),
            elsewhere,
        )
    } else if kind == "overlay" {
        Finding::advice(
            format!("{value}: gone with the container"),
            "docker run -v coremap-data:/var/lib/coremap ...   # a volume, and --dir on it",
        )
    } else {
        return Err(Unknown(format!(
            "{value}, on which this server was not tried"
        )));
    })
}

pub(super) fn sync(host: &Host) -> Result<Finding, Unknown> {
    if host.settings.dir.is_empty() {
        return Ok(Finding::good(NO_DIR));
    }
    if !host.is_here {
        return Err(Unknown("only tried where the server would run".to_owned()));
    }
    let path = PathBuf::from(&host.settings.dir);
    let took = time_sync(&path).map_err(|error| {
        Unknown(format!(
            "cannot try {}: {}",
            path.display(),
            reason_text(&error)
        ))
    })?;
    let value = format!(
        "{:.2} ms for a page, the median of {SYNC_COUNT}",
        1e3 * took.as_secs_f64()
    );
    Ok(if took > SYNC_MAX {
        let fix = "coremap cli CONFIG SET appendfsync everysec   # if a second may be lost; else a faster disk";
        Finding::advice(value, fix)
    } else {
        Finding::good(value)
    })
}

/// Times syncs of a file that has no name any more while it is written.
fn time_sync(folder: &Path) -> io::Result<Duration> {
    let name = folder.join(format!(".coremap-doctor-{}", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&name)?;
    fs::remove_file(&name)?;
    let mut times = Vec::with_capacity(SYNC_COUNT);
    for (number, fill) in (0_u64..).zip(1_u8..).take(SYNC_COUNT) {
        let page = vec![fill; usize::try_from(PAGE_LEN_BYTES).expect("a page is small")];
        file.write_all_at(&page, number * PAGE_LEN_BYTES)?;
        let watch = Stopwatch::start();
        file.sync_data()?;
        times.push(watch.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNC_COUNT / 2])
}

/// The directory, or if it is yet to be made the one in which it would be.
fn resolved(host: &Host) -> Result<PathBuf, Unknown> {
    let path = std::path::absolute(&host.settings.dir).map_err(|error| {
        Unknown(format!(
            "cannot find {}: {}",
            host.settings.dir,
            reason_text(&error)
        ))
    })?;
    if !host.is_here {
        return Ok(path);
    }
    let found = path
        .ancestors()
        .find_map(|path| fs::canonicalize(path).ok());
    found.ok_or_else(|| Unknown(format!("cannot find {}", path.display())))
}

/// A line of `mountinfo`.
#[derive(Debug)]
struct Mount {
    point: PathBuf,
    kind: String,
    /// Of the mount, and of the file system.
    options: Vec<String>,
}

impl Mount {
    /// `ID PARENT DEVICE ROOT POINT OPTIONS [FIELDS..] - KIND SOURCE OPTIONS` (proc(5)).
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let mut right = right.split(' ');
        let point = unescaped(left.next()?);
        let (of_mount, kind) = (left.next()?, right.next()?);
        let of_system = right.nth(1).unwrap_or_default();
        let options = of_mount.split(',').chain(of_system.split(','));
        Some(Self {
            point: point.into(),
            kind: kind.to_owned(),
            options: options.map(str::to_owned).collect(),
        })
    }
}

/// The kernel writes blanks and backslashes of paths in octal.
fn unescaped(path: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(path.to_owned(), |path, (escape, plain)| {
            path.replace(escape, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_what_their_names_escape() {
        let mount = Mount::parse(
            "40 27 0:31 / /mnt/a\\040b rw,noatime shared:5 - ext4 /dev/sdb1 rw,nobarrier",
        );
        let mount = mount.expect("it is one");
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!(mount.kind, "ext4");
        assert_eq!(mount.options, ["rw", "noatime", "rw", "nobarrier"]);
    }

    #[test]
    fn a_sync_is_timed_and_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("coremap-doctor-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it can be made");
        assert!(time_sync(&folder).expect("it can be written") > Duration::ZERO);
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0);
        fs::remove_dir(&folder).expect("it is empty");
    }
}
