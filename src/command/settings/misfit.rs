//! Why a text is not a value of a setting, said twice: to a client that sent CONFIG SET in Redis's
//! words, and to whoever wrote it into a file or on a command line.

use super::value::format_size;

/// Why a text is not a value of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Neither `yes` nor `no`.
    NotBool,
    /// No number.
    NotANumber {
        /// The least there is.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number beyond what there is.
    OutOfRange {
        /// The least there is.
        min: i64,
        /// The most.
        max: i64,
    },
    /// No octal number, or one beyond what there is.
    NotOctal {
        /// The most there is.
        max: u64,
    },
    /// No number of bytes.
    NotBytes,
    /// More or fewer bytes than there may be.
    BytesOutOfRange {
        /// What was asked for.
        bytes: u64,
        /// The least there may be.
        min: u64,
        /// The most.
        max: u64,
    },
    /// None of the words there are.
    NotAChoice(&'static [&'static str]),
    /// No address, or one that is nothing but its `-`.
    NotAddresses,
    /// No list of CPUs.
    NotCpus,
    /// A CPU that is named twice.
    CpuTwice(usize),
    /// No list of numbers.
    NotPercentiles,
    /// A percentile beyond 0 or 100.
    PercentileOutOfRange,
}

impl Misfit {
    /// The reason in the words of CONFIG SET.
    #[must_use]
    pub fn for_client(self) -> String {
        match self {
            Self::NotBool => "argument must be 'yes' or 'no'".to_owned(),
            Self::NotANumber { .. } => "argument couldn't be parsed into an integer".to_owned(),
            Self::OutOfRange { min, max } => {
                format!("argument must be between {min} and {max} inclusive")
            }
            Self::BytesOutOfRange { min, max, .. } => {
                format!("argument must be between {min} and {max} inclusive")
            }
            Self::NotOctal { max } => format!("argument must be between 0 and {max:o} inclusive"),
            Self::NotBytes => "argument must be a memory value".to_owned(),
            Self::NotAChoice(choices) => {
                let choices = choices.join(", ");
                format!("argument(s) must be one of the following: {choices}")
            }
            Self::NotAddresses => "argument must be a list of addresses".to_owned(),
            Self::NotCpus | Self::CpuTwice(_) => "argument must be a list of CPUs".to_owned(),
            Self::NotPercentiles => {
                "Invalid latency-tracking-info-percentiles parameters".to_owned()
            }
            Self::PercentileOutOfRange => {
                "latency-tracking-info-percentiles parameters should sit \
                                           between [0.0,100.0]"
                    .to_owned()
            }
        }
    }

    /// The reason why `text` cannot stand in a file or on a command line, to be read after the
    /// setting's name and a colon.
    #[must_use]
    pub fn for_operator(self, text: &str) -> String {
        match self {
            Self::NotBool => format!("'{text}' is neither yes nor no"),
            Self::NotANumber { min, max } | Self::OutOfRange { min, max } => {
                format!("'{text}' is not a number from {min} to {max}")
            }
            Self::NotOctal { .. } => format!("'{text}' is not an octal permission such as 700"),
            Self::NotBytes => format!("'{text}' is not a size such as 512mb or 4gb"),
            Self::BytesOutOfRange { bytes, min, max } => {
                let [bytes, min, max] = [bytes, min, max].map(format_size);
                format!("{bytes} is not from {min} to {max}")
            }
            Self::NotAChoice(choices) => {
                format!("'{text}' is none of: {}", choices.join(", "))
            }
            Self::NotAddresses if text.trim().is_empty() => "needs an address".to_owned(),
            Self::NotAddresses => format!("'{text}' is not a list of addresses"),
            Self::NotCpus => format!("'{text}' is not a list of CPUs such as 0,2-5"),
            Self::CpuTwice(cpu) => format!("CPU {cpu} is named twice"),
            Self::NotPercentiles | Self::PercentileOutOfRange => {
                format!("'{text}' is not a list of percentiles such as 50 99.9")
            }
        }
    }
}
