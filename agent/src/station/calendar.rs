//! The calendar, as far as labels need it.

use stockwire_protocol::When;
use stockwire_protocol::gs1::Date;

/// This build's year: a box whose clock starts in 1970 must not read dates of labels into another century.
pub(crate) const YEAR_MIN: u16 = 2026;

/// The calendar year of a time, for the century of dates on labels: only a rough one is needed.
pub(super) fn year(when: When) -> u16 {
    const YEAR_MS: i64 = 31_556_952_000;
    let years = when.unix_ms().div_euclid(YEAR_MS);
    u16::try_from(1970 + years).unwrap_or(YEAR_MIN).max(YEAR_MIN)
}

/// The day of a time in UTC; `None` when the clock is not synchronised, because then nothing can be called expired.
///
/// The day where the goods are may be another for some hours. That is the difference between "expired yesterday" and
/// "expires today", and the operator looks at the goods anyway.
pub(super) fn day(when: When) -> Option<Date> {
    const DAY_MS: i64 = 86_400_000;
    if !when.is_synced() {
        return None;
    }
    // Counted from 0000-03-01, so that the leap day is the last of its year; 400 years are 146,097 days.
    let days = when.unix_ms().div_euclid(DAY_MS) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        let check = |unix_s: i64, expected: &str| {
            let day = day(When::Synced { unix_ms: unix_s * 1000 }).unwrap();
            assert_eq!(day.to_string(), expected);
        };
        check(0, "1970-01-01");
        check(-1, "1969-12-31");
        check(951_782_400, "2000-02-29");
        check(1_709_164_799, "2024-02-28");
        check(1_709_164_800, "2024-02-29");
        check(1_795_428_000, "2026-11-23");
        check(4_107_542_399, "2100-02-28");
        check(4_107_542_400, "2100-03-01");
        assert_eq!(day(When::Unsynced { unix_ms: 0, boot: 1, uptime_ms: 0 }), None);
        assert_eq!(day(When::Synced { unix_ms: i64::MAX }), None);
    }
}
