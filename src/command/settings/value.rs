//! One setting's value: from text, and to text for CONFIG GET and for a file.

use std::fmt::Write as _;

use crate::command::number::parse_i64;

use super::{Misfit, Settings};

/// The two ways to a field of [`Settings`].
#[derive(Debug)]
pub struct Lens<T: 'static> {
    /// To read it.
    pub read: fn(&Settings) -> &T,
    /// To write it.
    pub write: fn(&mut Settings) -> &mut T,
}

impl<T> Clone for Lens<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Lens<T> {}

/// Where a value lives and what values it takes.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// `yes` or `no`.
    Bool(Lens<bool>),
    /// A number from `min` to `max`.
    Number {
        /// Where it lives.
        lens: Lens<u64>,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number from 0 on, or `-1` for one that nothing reaches.
    NumberOrNever(Lens<u64>),
    /// A number in octal.
    Octal {
        /// Where it lives.
        lens: Lens<u64>,
        /// The most.
        max: u64,
    },
    /// A number of bytes, with a unit or without.
    Bytes {
        /// Where it lives.
        lens: Lens<u64>,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// Whether 0 is a value besides, and leaves the choice to the host.
        is_zero_default: bool,
    },
    /// Any text.
    Text(Lens<String>),
    /// Addresses between spaces, at least one.
    Addresses(Lens<Vec<String>>),
    /// Numbers from 0 to 100 between spaces, or none.
    Percentiles(Lens<String>),
    /// CPUs as `0,2-5`, in the order given, each once; or none.
    Cpus(Lens<Vec<usize>>),
    /// One of some words.
    Choice {
        /// Where it lives.
        lens: Lens<String>,
        /// The words.
        choices: &'static [&'static str],
    },
}

impl Field {
    /// Reads `text` into `settings`; else why not.
    pub(super) fn set(self, settings: &mut Settings, text: &str) -> Result<(), Misfit> {
        match self {
            Self::Bool(lens) => *(lens.write)(settings) = parse_bool(text)?,
            Self::Number { lens, min, max } => {
                *(lens.write)(settings) = parse_number(text, min, max)?;
            }
            Self::NumberOrNever(lens) => *(lens.write)(settings) = parse_number_or_never(text)?,
            Self::Octal { lens, max } => *(lens.write)(settings) = parse_octal(text, max)?,
            Self::Bytes {
                lens,
                min,
                max,
                is_zero_default,
            } => {
                let bytes = parse_bytes(text).ok_or(Misfit::NotBytes)?;
                let is_default = is_zero_default && bytes == 0;
                if !is_default && !(min..=max).contains(&bytes) {
                    return Err(Misfit::BytesOutOfRange { bytes, min, max });
                }
                *(lens.write)(settings) = bytes;
            }
            Self::Text(lens) => text.clone_into((lens.write)(settings)),
            Self::Addresses(lens) => *(lens.write)(settings) = parse_addresses(text)?,
            Self::Percentiles(lens) => *(lens.write)(settings) = parse_percentiles(text)?,
            Self::Cpus(lens) => *(lens.write)(settings) = parse_cpus(text)?,
            Self::Choice { lens, choices } => {
                let choice = choices
                    .iter()
                    .find(|choice| choice.eq_ignore_ascii_case(text));
                let choice = choice.ok_or(Misfit::NotAChoice(choices))?;
                (*choice).clone_into((lens.write)(settings));
            }
        }
        Ok(())
    }

    /// The value as CONFIG GET prints it.
    pub(super) fn get(self, settings: &Settings) -> String {
        match self {
            Self::Bool(lens) => if *(lens.read)(settings) { "yes" } else { "no" }.to_owned(),
            Self::Number { lens, .. } | Self::Bytes { lens, .. } => {
                (lens.read)(settings).to_string()
            }
            Self::Octal { lens, .. } => format!("{:o}", (lens.read)(settings)),
            Self::NumberOrNever(lens) => (lens.read)(settings).cast_signed().to_string(),
            Self::Text(lens) | Self::Choice { lens, .. } | Self::Percentiles(lens) => {
                (lens.read)(settings).clone()
            }
            Self::Addresses(lens) => (lens.read)(settings).join(" "),
            Self::Cpus(lens) => {
                let cpus = (lens.read)(settings).iter().map(ToString::to_string);
                cpus.collect::<Vec<_>>().join(",")
            }
        }
    }

    /// The value as a file has it.
    pub(super) fn show(self, settings: &Settings) -> String {
        match self {
            Self::Bytes { lens, .. } => format_size(*(lens.read)(settings)),
            Self::Addresses(_) => self.get(settings),
            Self::Percentiles(lens) if !(lens.read)(settings).is_empty() => self.get(settings),
            _ => quoted(&self.get(settings)),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool, Misfit> {
    match text {
        _ if text.eq_ignore_ascii_case("yes") => Ok(true),
        _ if text.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(Misfit::NotBool),
    }
}

fn parse_number(text: &str, min: u64, max: u64) -> Result<u64, Misfit> {
    let number = parse_signed(text, min.cast_signed(), max.cast_signed())?;
    Ok(number.cast_unsigned())
}

/// `-1` becomes the largest number there is.
fn parse_number_or_never(text: &str) -> Result<u64, Misfit> {
    Ok(parse_signed(text, -1, i64::MAX)?.cast_unsigned())
}

fn parse_signed(text: &str, min: i64, max: i64) -> Result<i64, Misfit> {
    let number = parse_i64(text.as_bytes()).ok_or(Misfit::NotANumber { min, max })?;
    if !(min..=max).contains(&number) {
        return Err(Misfit::OutOfRange { min, max });
    }
    Ok(number)
}

fn parse_percentiles(text: &str) -> Result<String, Misfit> {
    let words: Vec<&str> = text.split_whitespace().collect();
    for word in &words {
        let percentile: f64 = word.parse().map_err(|_| Misfit::NotPercentiles)?;
        if !(0.0..=100.0).contains(&percentile) {
            return Err(Misfit::PercentileOutOfRange);
        }
    }
    Ok(words.join(" "))
}

fn parse_octal(text: &str, max: u64) -> Result<u64, Misfit> {
    let mode = u64::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= max);
    mode.ok_or(Misfit::NotOctal { max })
}

fn parse_addresses(text: &str) -> Result<Vec<String>, Misfit> {
    let addresses: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if addresses.is_empty() || addresses.iter().any(|address| address == "-") {
        return Err(Misfit::NotAddresses);
    }
    Ok(addresses)
}

/// CPUs as `0,2-5`, which is the kernel's form too; nothing is none.
///
/// # Errors
/// What is none, or names one twice.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, Misfit> {
    const CPU_MAX: usize = 8191;
    let parse = |text: &str| text.trim().parse().ok().filter(|cpu| *cpu <= CPU_MAX);
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (parse(low), parse(high));
        let (Some(low), Some(high)) = (low, high.filter(|_| low <= high)) else {
            return Err(Misfit::NotCpus);
        };
        for cpu in low..=high {
            if cpus.contains(&cpu) {
                return Err(Misfit::CpuTwice(cpu));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// Bytes with Redis's units in any case: `k` is 1,000 and `kb` 1,024, and so on; none: bytes.
/// `kib` and its like are accepted too.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit_bytes)
}

/// Bytes in the largest unit that divides them, which [`parse_bytes`] reads back.
pub(super) fn format_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Bytes for people, as INFO's `_human` fields: `1.50G`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (1 << 50, "P"),
        (1 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    match UNITS.iter().find(|(unit_bytes, _)| bytes >= *unit_bytes) {
        // Exact enough: two digits are printed.
        Some((unit_bytes, unit)) => format!("{:.2}{unit}", bytes as f64 / *unit_bytes as f64),
        None => format!("{bytes}B"),
    }
}

/// A value as it must be written in a file to be read as it is: quoted where needed.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => write!(quoted, "\\x{byte:02x}").expect("writing to a String cannot fail"),
        }
    }
    quoted.push('"');
    quoted
}
