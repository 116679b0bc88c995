//! One setting's value: from text, to text, and the errors of CONFIG SET.

use super::Settings;

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
    /// `no`: what this server lacks.
    Never(Lens<bool>),
    /// A number from `min` to `max`.
    Number {
        /// Where it lives.
        lens: Lens<u64>,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
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
    },
    /// Any text.
    Text(Lens<String>),
    /// Words between spaces.
    Words(Lens<Vec<String>>),
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
    pub(super) fn set(self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match self {
            Self::Bool(lens) => *(lens.write)(settings) = parse_bool(text)?,
            Self::Never(lens) if !parse_bool(text)? => *(lens.write)(settings) = false,
            Self::Never(_) => {
                return Err("argument must be 'no': there is no such thing here".into());
            }
            Self::Number { lens, min, max } => {
                *(lens.write)(settings) = within(parse_number(text)?, min, max)?;
            }
            Self::Octal { lens, max } => *(lens.write)(settings) = parse_octal(text, max)?,
            Self::Bytes { lens, min, max } => {
                let bytes = parse_bytes(text).ok_or("argument must be a memory value")?;
                *(lens.write)(settings) = within(bytes.into(), min, max)?;
            }
            Self::Text(lens) => text.clone_into((lens.write)(settings)),
            Self::Words(lens) => {
                *(lens.write)(settings) = text.split_whitespace().map(str::to_owned).collect();
            }
            Self::Choice { lens, choices } => {
                let choice = choices
                    .iter()
                    .find(|choice| choice.eq_ignore_ascii_case(text));
                let choice = choice.ok_or_else(|| refuse_choice(choices))?;
                (*choice).clone_into((lens.write)(settings));
            }
        }
        Ok(())
    }

    /// The value as CONFIG GET prints it.
    pub(super) fn get(self, settings: &Settings) -> String {
        match self {
            Self::Bool(lens) | Self::Never(lens) => {
                if *(lens.read)(settings) { "yes" } else { "no" }.to_owned()
            }
            Self::Number { lens, .. } | Self::Bytes { lens, .. } => {
                (lens.read)(settings).to_string()
            }
            Self::Octal { lens, .. } => format!("{:o}", (lens.read)(settings)),
            Self::Text(lens) | Self::Choice { lens, .. } => (lens.read)(settings).clone(),
            Self::Words(lens) => (lens.read)(settings).join(" "),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        _ if text.eq_ignore_ascii_case("yes") => Ok(true),
        _ if text.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

fn parse_number(text: &str) -> Result<i128, String> {
    let number = text.parse::<i64>().map(i128::from);
    number.map_err(|_| "argument couldn't be parsed into an integer".to_owned())
}

fn parse_octal(text: &str, max: u64) -> Result<u64, String> {
    let mode = u64::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= max);
    mode.ok_or_else(|| format!("argument must be between 0 and {max:o} inclusive"))
}

fn within(number: i128, min: u64, max: u64) -> Result<u64, String> {
    let number = u64::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("argument must be between {min} and {max} inclusive"))
}

fn refuse_choice(choices: &[&str]) -> String {
    format!(
        "argument(s) must be one of the following: {}",
        choices.join(", ")
    )
}

/// Bytes with Redis's units in any case: `k` is 1,000 and `kb` 1,024, and so on; none: bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit_bytes)
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
