//! Why a server or an embedded shard could not start, or a tool could not do its work.
//!
//! One variant per exit code of the binary: what the user typed is wrong (2), or the world does
//! not allow what was typed (1). Messages are one line, lower-case, without a full stop, and say
//! what to do where that is known. Mistakes of a client are not here: they are replies.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A failure that ends the start of a server or of an embedded shard, or the work of a tool.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused the reservation of the region.
    CannotMapRegion {
        /// Bytes of address space asked for.
        len_bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The budget is too small for the number of shards.
    MaxmemoryTooSmall {
        /// Bytes asked for.
        maxmemory_bytes: u64,
        /// Least bytes that work.
        needed_bytes: u64,
    },
    /// The budget is larger than what was reserved at start.
    MaxmemoryTooLarge {
        /// Bytes asked for.
        maxmemory_bytes: u64,
        /// Most bytes that work.
        capacity_bytes: u64,
    },
    /// No shards, or more than cursors and batches can name.
    ShardCountOutOfRange {
        /// The count asked for.
        shard_count: usize,
    },
    /// What is stored is not what was stored.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there and what that costs.
        reason: String,
    },
    /// An option, a line of the configuration file or a combination of them makes no sense.
    Usage(String),
    /// The options are fine, the host refuses: a port in use, io_uring blocked.
    Start(String),
    /// A tool of the command line cannot do its work: a file is damaged, no server answers.
    Failed(String),
}

impl Error {
    /// A tool's failure with the system's reason behind it.
    pub(crate) fn failed(what: impl fmt::Display, reason: &io::Error) -> Self {
        Error::Failed(format!("{what}: {}", reason_text(reason)))
    }

    /// A start-up failure with the system's reason behind it.
    pub(crate) fn start(what: impl fmt::Display, reason: &io::Error) -> Self {
        Error::Start(format!("{what}: {}", reason_text(reason)))
    }

    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::MaxmemoryTooSmall { .. }
            | Self::MaxmemoryTooLarge { .. }
            | Self::ShardCountOutOfRange { .. } => 2,
            Self::Start(_)
            | Self::Failed(_)
            | Self::CannotMapRegion { .. }
            | Self::Damaged { .. } => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Start(message) | Self::Failed(message) => {
                f.write_str(message)
            }
            Self::Damaged {
                path,
                offset,
                reason,
            } => write!(
                f,
                "{} is damaged at offset {offset}: {reason}",
                path.display()
            ),
            Self::CannotMapRegion { len_bytes, source } => write!(
                f,
                "cannot reserve {len_bytes} bytes of address space: {source} \
                 (see `ulimit -v` and the sysctl vm.overcommit_memory)"
            ),
            Self::MaxmemoryTooSmall {
                maxmemory_bytes,
                needed_bytes,
            } => write!(
                f,
                "maxmemory is {maxmemory_bytes} bytes, these shards need at least {needed_bytes}"
            ),
            Self::MaxmemoryTooLarge {
                maxmemory_bytes,
                capacity_bytes,
            } => write!(
                f,
                "maxmemory is {maxmemory_bytes} bytes, at most {capacity_bytes} were reserved at start"
            ),
            Self::ShardCountOutOfRange { shard_count } => write!(
                f,
                "{shard_count} shards asked for, 1 to {} are possible",
                crate::limits::SHARD_COUNT_MAX
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::CannotMapRegion { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's words for an error, in this program's form: without "(os error 98)", lower-case.
pub(crate) fn reason_text(reason: &io::Error) -> String {
    let text = reason.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_error_reads_as_one_lower_case_line() {
        let reason = io::Error::from_raw_os_error(libc::EADDRINUSE);
        let error = Error::start("cannot listen on 127.0.0.1:6379", &reason);
        assert_eq!(
            error.to_string(),
            "cannot listen on 127.0.0.1:6379: address already in use"
        );
        assert_eq!(error.exit_code(), 1);
    }
}
