//! Why a data command was refused, in Redis's words.
//!
//! Functions that read arguments or change a shard return a [`Refusal`]; [`answer`] turns it into
//! the error reply, so that no command writes half a reply and then an error.

use std::borrow::Cow;

use crate::resp::{Args, Reply};
use crate::shard::OutOfMemory;

use super::Status;

/// The text of an error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(Cow<'static, [u8]>);

impl Refusal {
    pub(super) const SYNTAX: Self = Self::new("ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Self =
        Self::new("ERR value is not an integer or out of range");
    pub(super) const NOT_A_DATABASE: Self =
        Self::new("ERR value is out of range, value must between -2147483648 and 2147483647");
    pub(super) const NOT_A_FLOAT: Self = Self::new("ERR value is not a valid float");
    pub(super) const NOT_FINITE: Self = Self::new("ERR increment would produce NaN or Infinity");
    pub(super) const OVERFLOW: Self = Self::new("ERR increment or decrement would overflow");
    pub(super) const DECREMENT_OVERFLOW: Self = Self::new("ERR decrement would overflow");
    pub(super) const OFFSET_OUT_OF_RANGE: Self = Self::new("ERR offset is out of range");
    pub(super) const TOO_LONG: Self =
        Self::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub(super) const GATHERED_TOO_LONG: Self = Self::new("ERR source values are too long together");
    pub(super) const NO_SUCH_KEY: Self = Self::new("ERR no such key");
    pub(super) const SAME_OBJECT: Self =
        Self::new("ERR source and destination objects are the same");
    pub(super) const DATABASE_OUT_OF_RANGE: Self = Self::new("ERR DB index is out of range");
    pub(super) const EXPIRE_NX_AND_OTHERS: Self =
        Self::new("ERR NX and XX, GT or LT options at the same time are not compatible");
    pub(super) const EXPIRE_GT_AND_LT: Self =
        Self::new("ERR GT and LT options at the same time are not compatible");
    pub(super) const NOT_ZERO_OR_ONE: Self =
        Self::new("ERR value is out of range, value must between 0 and 1");
    pub(super) const NOT_POSITIVE: Self = Self::new("ERR value is out of range, must be positive");
    pub(super) const TIMEOUT_NOT_AN_INTEGER: Self =
        Self::new("ERR timeout is not an integer or out of range");
    pub(super) const TIMEOUT_NEGATIVE: Self = Self::new("ERR timeout is negative");
    pub(super) const BIT_OFFSET: Self =
        Self::new("ERR bit offset is not an integer or out of range");
    pub(super) const NOT_A_BIT: Self = Self::new("ERR bit is not an integer or out of range");
    pub(super) const NO_SUCH_BIT: Self = Self::new("ERR The bit argument must be 1 or 0.");
    pub(super) const BITFIELD_TYPE: Self = Self::new(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    pub(super) const OVERFLOW_KIND: Self = Self::new("ERR Invalid OVERFLOW type specified");
    pub(super) const BITFIELD_READ_ONLY: Self =
        Self::new("ERR BITFIELD_RO only supports the GET subcommand");
    pub(super) const BITOP_NOT: Self =
        Self::new("ERR BITOP NOT must be called with a single source key.");
    pub(super) const NOT_A_SKETCH: Self =
        Self::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
    pub(super) const CORRUPT_SKETCH: Self = Self::new("INVALIDOBJ Corrupted HLL object detected");
    pub(super) const LCS_LENGTH_AND_INDEX: Self =
        Self::new("ERR If you want both the length and indexes, please just use IDX.");
    pub(super) const LCS_TOO_LARGE: Self =
        Self::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    pub(super) const LCS_OUT_OF_MEMORY: Self =
        Self::new("ERR Insufficient memory, failed allocating transient memory for LCS");
    pub(super) const NEGATIVE_TTL: Self = Self::new("ERR Invalid TTL value, must be >= 0");
    pub(super) const NEGATIVE_IDLETIME: Self =
        Self::new("ERR Invalid IDLETIME value, must be >= 0");
    pub(super) const FREQ_OUT_OF_RANGE: Self =
        Self::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
    pub(super) const BUSY_KEY: Self = Self::new("BUSYKEY Target key name already exists.");
    pub(super) const BAD_PAYLOAD: Self =
        Self::new("ERR DUMP payload version or checksum are wrong");
    pub(super) const BAD_FORMAT: Self = Self::new("ERR Bad data format");
    pub(super) const DIGEST_LENGTH: Self =
        Self::new("ERR must be exactly 16 hexadecimal characters");
    pub(super) const NOT_A_CONDITION: Self =
        Self::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
    pub(super) const FREQUENCY_UNKNOWN: Self = Self::new(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    pub(super) const IDLE_TIME_UNKNOWN: Self = Self::new(
        "ERR idle time is not tracked: eviction counts uses, which OBJECT FREQ shows under an LFU maxmemory policy",
    );
    pub(super) const WRONG_TYPE: Self =
        Self::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub(super) const SORT_INTO_ANOTHER_SHARD: Self = Self::new(
        "ERR SORT cannot STORE at a key of another shard: Coremap stores strings only so far, and there is nothing to sort",
    );
    pub(super) const INVALID_CURSOR: Self = Self::new("ERR invalid cursor");

    const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// A time to live that is no time, given to the command that `args` name.
    pub(super) fn expire_time(args: Args<'_>) -> Self {
        let name = args.get(0).to_ascii_lowercase();
        Self(Cow::Owned(
            [b"ERR invalid expire time in '", &name[..], b"' command"].concat(),
        ))
    }

    /// A number of arguments that the row cannot refuse, of the command that `args` name.
    pub(super) fn arity(args: Args<'_>) -> Self {
        let name = args.get(0).to_ascii_lowercase();
        Self(Cow::Owned(
            [
                b"ERR wrong number of arguments for '",
                &name[..],
                b"' command",
            ]
            .concat(),
        ))
    }

    /// A payload of RESTORE that holds what no key can have here.
    pub(super) fn unsupported_payload(name: &str) -> Self {
        let text = format!("ERR a {name} cannot be restored: Coremap stores strings only so far");
        Self(Cow::Owned(text.into_bytes()))
    }

    /// An option that EXPIRE and its kin do not know.
    pub(super) fn unsupported_option(option: &[u8]) -> Self {
        Self(Cow::Owned(
            [b"ERR Unsupported option ", printed(option)].concat(),
        ))
    }

    /// Writes the error reply.
    #[cold]
    pub(super) fn write(&self, reply: &mut Reply<'_>) {
        reply.error_bytes(&self.0);
    }
}

impl From<OutOfMemory> for Refusal {
    fn from(error: OutOfMemory) -> Self {
        Self::new(no_room(error))
    }
}

/// What Redis prints of an argument in an error: a C string.
pub(super) fn printed(argument: &[u8]) -> &[u8] {
    argument.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The error reply of a write for which there is no room.
pub const fn no_room(error: OutOfMemory) -> &'static str {
    match error {
        OutOfMemory::Budget => "OOM command not allowed when used memory > 'maxmemory'.",
        OutOfMemory::Disk => "MISCONF Errors writing to the AOF file: No space left on device",
        OutOfMemory::LongKey => "ERR key is too long to be kept in a file",
    }
}

/// Ends a command: its reply is written, or it was refused before it wrote any.
#[inline]
pub(super) fn answer(outcome: Result<(), Refusal>, reply: &mut Reply<'_>) -> Status {
    if let Err(refusal) = outcome {
        refusal.write(reply);
    }
    Status::Done
}

/// The same for a command that may take several calls.
#[inline]
pub(super) fn answer_slice(outcome: Result<Status, Refusal>, reply: &mut Reply<'_>) -> Status {
    outcome.unwrap_or_else(|refusal| {
        refusal.write(reply);
        Status::Done
    })
}
