//! Values as users type them: sizes, switches, lists of CPUs. Each parser gives a reason that
//! reads after "name: "; each has its way back to text.

use std::fmt::Write as _;

/// A size as Redis reads it: `4gb`, `100mb`, `512kb` count in 1024s, `4g`, `100m`, `512k` in 1000s;
/// `4gib` is accepted too.
pub(super) fn size_bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_bytes: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gib" => 1 << 30,
        _ => return Err(not_a_size(text)),
    };
    let count: u64 = digits.parse().map_err(|_| not_a_size(text))?;
    count
        .checked_mul(unit_bytes)
        .ok_or_else(|| not_a_size(text))
}

fn not_a_size(text: &str) -> String {
    format!("'{text}' is not a size such as 512mb or 4gb")
}

/// A size in the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("'{text}' is neither yes nor no")),
    }
}

pub(super) fn switch_text(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A whole number within bounds.
pub(super) fn number<T>(text: &str, min: T, max: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => Err(format!("'{text}' is not a number from {min} to {max}")),
    }
}

/// Permission bits in octal, as `700`.
pub(super) fn permissions(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o777 => Ok(bits),
        _ => Err(format!("'{text}' is not an octal permission such as 700")),
    }
}

/// CPUs as `0,2-5`: in the order given, each once.
pub(super) fn cpus(text: &str) -> Result<Vec<usize>, String> {
    const CPU_MAX: usize = 8191;
    let bad = || format!("'{text}' is not a list of CPUs such as 0,2-5");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low: usize = low.trim().parse().map_err(|_| bad())?;
        let high: usize = high.trim().parse().map_err(|_| bad())?;
        if low > high || high > CPU_MAX {
            return Err(bad());
        }
        for cpu in low..=high {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

pub(super) fn cpus_text(cpus: &[usize]) -> String {
    let texts: Vec<_> = cpus.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// A value as it must be written in a file to be read as it is: quoted where needed.
pub(super) fn quoted(text: &str) -> String {
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
