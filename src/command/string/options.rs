//! The options of SET, DELEX and GETEX, and what a time to live given as an argument means.

use crate::command::key::DEADLINE_MS_MAX;
use crate::command::number::parse_i64;
use crate::command::refusal::Refusal;
use crate::resp::Args;

use super::xxh3::xxh3;

/// When SET stores, and DELEX removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// `NX`
    IfAbsent,
    /// `XX`
    IfPresent,
    /// `IFEQ`, `IFNE`, `IFDEQ` or `IFDNE`
    If(Comparison),
}

/// A comparison of the value with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Where the argument is.
    pub(super) index: usize,
    /// Whether the argument is a digest.
    pub(super) is_of_digest: bool,
    /// Whether the two must differ.
    is_negated: bool,
}

impl Condition {
    /// The comparison called `name`, with what is at `index`.
    pub(super) fn parse_comparison(name: &[u8], index: usize) -> Option<Self> {
        const NAMES: [(&[u8], bool, bool); 4] = [
            (b"IFEQ", false, false),
            (b"IFNE", false, true),
            (b"IFDEQ", true, false),
            (b"IFDNE", true, true),
        ];
        let mut names = NAMES.iter().filter(|(known, ..)| is_option(name, known));
        names.next().map(|&(_, is_of_digest, is_negated)| {
            Self::If(Comparison {
                index,
                is_of_digest,
                is_negated,
            })
        })
    }

    /// What is compared, if anything is.
    pub(super) fn comparison(self) -> Option<Comparison> {
        match self {
            Self::If(comparison) => Some(comparison),
            Self::Always | Self::IfAbsent | Self::IfPresent => None,
        }
    }

    /// Whether it is met by a value, or by there being none. As in Redis 8.4: what is not there
    /// differs from everything, and only what is there makes a digest be looked at.
    pub(super) fn is_met(self, args: Args<'_>, value: Option<&[u8]>) -> Result<bool, Refusal> {
        Ok(match (self, value) {
            (Self::Always, _) => true,
            (Self::IfAbsent, found) => found.is_none(),
            (Self::IfPresent, found) => found.is_some(),
            (Self::If(comparison), None) => comparison.is_met(false),
            (Self::If(comparison), Some(value)) => comparison.is_met_by(value, args)?,
        })
    }
}

impl Comparison {
    /// Whether it is met by what is, or is not, the same.
    pub(super) const fn is_met(self, is_same: bool) -> bool {
        is_same != self.is_negated
    }

    fn is_met_by(self, value: &[u8], args: Args<'_>) -> Result<bool, Refusal> {
        let given = args.get(self.index);
        let is_same = if !self.is_of_digest {
            value == given
        } else if given.len() == DIGEST_LEN_BYTES {
            digest_of(xxh3(value)).eq_ignore_ascii_case(given)
        } else {
            return Err(Refusal::DIGEST_LENGTH);
        };
        Ok(self.is_met(is_same))
    }

    /// Whether the value must be read to compare it: its length does not decide.
    pub(super) fn must_read(self, value: &[u8], args: Args<'_>) -> bool {
        let given = args.get(self.index);
        if self.is_of_digest {
            given.len() == DIGEST_LEN_BYTES
        } else {
            given.len() == value.len()
        }
    }
}

/// Bytes of a digest's digits.
const DIGEST_LEN_BYTES: usize = 16;

/// A hash as DIGEST says it.
pub(super) fn digest_of(hash: u64) -> [u8; DIGEST_LEN_BYTES] {
    let text = format!("{hash:016x}").into_bytes();
    text.try_into().expect("a u64 has sixteen digits")
}

/// What becomes of the time to live; numbers are indices of the argument that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// No option: SET drops it, GETEX leaves it.
    None,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Persist,
    /// `EX`
    InSeconds(usize),
    /// `PX`
    InMillis(usize),
    /// `EXAT`
    AtSeconds(usize),
    /// `PXAT`
    AtMillis(usize),
}

impl Expiry {
    /// The deadline it sets, if it sets one.
    pub(super) fn deadline_ms(self, args: Args<'_>, now_ms: u64) -> Result<Option<u64>, Refusal> {
        let (index, unit_ms, is_relative) = match self {
            Self::None | Self::Keep | Self::Persist => return Ok(None),
            Self::InSeconds(index) => (index, 1000, true),
            Self::InMillis(index) => (index, 1, true),
            Self::AtSeconds(index) => (index, 1000, false),
            Self::AtMillis(index) => (index, 1, false),
        };
        let given = parse_i64(args.get(index)).ok_or(Refusal::NOT_AN_INTEGER)?;
        let base_ms = if is_relative { now_ms.cast_signed() } else { 0 };
        let sum_ms = given
            .checked_mul(unit_ms)
            .and_then(|given| given.checked_add(base_ms));
        match sum_ms {
            Some(deadline_ms) if given > 0 => {
                Ok(Some(deadline_ms.cast_unsigned().min(DEADLINE_MS_MAX)))
            }
            _ => Err(Refusal::expire_time(args)),
        }
    }
}

/// The options of SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) condition: Condition,
    pub(super) is_get: bool,
    pub(super) expiry: Expiry,
}

impl Options {
    /// Reads the options of SET, from its fourth argument on.
    pub(super) fn parse_set(args: Args<'_>) -> Result<Self, Refusal> {
        let none = Self {
            condition: Condition::Always,
            is_get: false,
            expiry: Expiry::None,
        };
        let mut options = none;
        let mut index = 3;
        while index < args.len() {
            let name = args.get(index);
            let condition = options.condition;
            let is_free = |own| condition == own || condition == Condition::Always;
            let comparison = Condition::parse_comparison(name, index + 1);
            if is_option(name, b"NX") && is_free(Condition::IfAbsent) {
                options.condition = Condition::IfAbsent;
            } else if is_option(name, b"XX") && is_free(Condition::IfPresent) {
                options.condition = Condition::IfPresent;
            } else if let Some(comparison) = comparison {
                if condition != Condition::Always || index + 1 == args.len() {
                    return Err(Refusal::SYNTAX);
                }
                options.condition = comparison;
                index += 1;
            } else if is_option(name, b"GET") {
                options.is_get = true;
            } else if is_option(name, b"KEEPTTL")
                && matches!(options.expiry, Expiry::None | Expiry::Keep)
            {
                options.expiry = Expiry::Keep;
            } else {
                index += 1;
                options.expiry = parse_time(name, index, args, options.expiry)?;
            }
            index += 1;
        }
        Ok(options)
    }

    /// Reads the options of GETEX, from its third argument on.
    pub(super) fn parse_getex(args: Args<'_>) -> Result<Expiry, Refusal> {
        let mut expiry = Expiry::None;
        let mut index = 2;
        while index < args.len() {
            let name = args.get(index);
            if is_option(name, b"PERSIST") && matches!(expiry, Expiry::None | Expiry::Persist) {
                expiry = Expiry::Persist;
            } else {
                index += 1;
                expiry = parse_time(name, index, args, expiry)?;
            }
            index += 1;
        }
        Ok(expiry)
    }
}

fn is_option(given: &[u8], name: &[u8]) -> bool {
    given.eq_ignore_ascii_case(name)
}

/// The time option `name` whose argument is at `index`. The same option may come again, and the
/// last one counts; after another one it is an error.
fn parse_time(
    name: &[u8],
    index: usize,
    args: Args<'_>,
    earlier: Expiry,
) -> Result<Expiry, Refusal> {
    let expiry = if is_option(name, b"EX") {
        Expiry::InSeconds(index)
    } else if is_option(name, b"PX") {
        Expiry::InMillis(index)
    } else if is_option(name, b"EXAT") {
        Expiry::AtSeconds(index)
    } else if is_option(name, b"PXAT") {
        Expiry::AtMillis(index)
    } else {
        return Err(Refusal::SYNTAX);
    };
    let is_same = std::mem::discriminant(&earlier) == std::mem::discriminant(&expiry);
    let is_free = earlier == Expiry::None || is_same;
    if is_free && index < args.len() {
        Ok(expiry)
    } else {
        Err(Refusal::SYNTAX)
    }
}
