//! Times as the log writes them.

use std::fmt;

/// Microseconds since 1970: a time in UTC, to the millisecond, as ISO 8601 has it.
pub(super) struct Timestamp(pub(super) u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / US_PER_S;
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let (hour, minute) = (seconds / SECONDS_PER_HOUR % 24, seconds / 60 % 60);
        let (second, ms) = (seconds % 60, self.0 / US_PER_MS % 1_000);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

/// Year, month and day, so many days after 1970 began: `civil_from_days` of Howard Hinnant's
/// "chrono-compatible low-level date algorithms". Years begin in March, so that a leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + DAYS_TO_1970;
    let era = since_march_0000 / DAYS_PER_ERA;
    let day_of_era = since_march_0000 % DAYS_PER_ERA;
    let leap_days = day_of_era / (DAYS_PER_4_YEARS - 1) - day_of_era / DAYS_PER_CENTURY
        + day_of_era / (DAYS_PER_ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

pub(super) const US_PER_S: u64 = 1_000_000;
const US_PER_MS: u64 = 1_000;
const SECONDS_PER_HOUR: u64 = 3_600;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days from the first of March of the year 0 to 1970.
const DAYS_TO_1970: u64 = 719_468;
/// Days of four years, the leap day included, and of a century without one at its end.
const DAYS_PER_4_YEARS: u64 = 1_461;
const DAYS_PER_CENTURY: u64 = 36_524;
/// Days of 400 years.
const DAYS_PER_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_276_327, "2026-11-21T15:52:07.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(unix_s * US_PER_S).to_string(), text);
        }
        assert_eq!(Timestamp(1_234_567).to_string(), "1970-01-01T00:00:01.234Z");
    }
}
