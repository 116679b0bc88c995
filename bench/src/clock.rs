//! The one place of this crate that reads clocks and waits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(
    clippy::disallowed_methods,
    reason = "measuring is what this crate is for"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since an instant.
pub(crate) fn ns_since(instant: Instant) -> u64 {
    u64::try_from(now().duration_since(instant).as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a phase of a measurement lasts a given time"
)]
pub(crate) fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

/// Today in UTC as `2026-03-31`.
#[expect(
    clippy::disallowed_methods,
    reason = "records are named after their day"
)]
pub(crate) fn today() -> String {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    date_of_day(since_epoch.as_secs() / (24 * 60 * 60))
}

/// The civil date of a day counted from 1970-01-01.
fn date_of_day(days_since_epoch: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut day = days_since_epoch;
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for len_days in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if day < len_days {
            break;
        }
        day -= len_days;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar_over_leap_years() {
        for (day, date) in [
            (0, "1970-01-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_178, "2025-03-31"),
        ] {
            assert_eq!(date_of_day(day), date);
        }
    }
}
