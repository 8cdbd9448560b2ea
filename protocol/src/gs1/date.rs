//! Calendar dates as labels carry them: YYMMDD.

use core::fmt;

/// A day of the calendar. It is no instant: an expiry date ends with the day where the goods are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// What day 00 means in a date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DayZero {
    /// The label gives no day: the last of the month (AIs 11 to 17).
    LastOfMonth,
    /// It is a fault (AIs that go on with a time).
    Refused,
}

/// Why digits are no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Not six digits.
    #[error("a date is six digits, YYMMDD")]
    NotDigits,
    /// Month 00 or above 12.
    #[error("there is no month {month:02}")]
    Month {
        /// What came.
        month: u8,
    },
    /// A day that the month does not have.
    #[error("{year}-{month:02} has no day {day:02}")]
    Day {
        /// The year, with its century.
        year: u16,
        /// The month.
        month: u8,
        /// What came.
        day: u8,
    },
    /// A year that is not four digits.
    #[error("year {year} is not between 1000 and 9999")]
    Year {
        /// What came.
        year: u32,
    },
}

impl Date {
    /// A day that exists.
    ///
    /// # Errors
    /// When the year is not four digits, or there is no such month or day.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, DateError> {
        if !(1000..=9999).contains(&year) {
            return Err(DateError::Year { year: year.into() });
        }
        let last = last_of_month(year, month).ok_or(DateError::Month { month })?;
        if day == 0 || day > last {
            return Err(DateError::Day { year, month, day });
        }
        Ok(Self { year, month, day })
    }

    /// Reads six digits. The century is the one that puts the year nearest to `current_year`: at most 50 years
    /// ahead and at most 49 back.
    ///
    /// # Errors
    /// When the text is not six digits, or there is no such month or day.
    pub fn from_yymmdd(text: &str, current_year: u16, day_zero: DayZero) -> Result<Self, DateError> {
        let digits: &[u8; 6] = text.as_bytes().try_into().map_err(|_| DateError::NotDigits)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(DateError::NotDigits);
        }
        let pair = |at: usize| (digits[at] - b'0') * 10 + (digits[at + 1] - b'0');
        let (year, month, day) = (full_year(pair(0), current_year), pair(2), pair(4));
        match (day, day_zero, last_of_month(year, month)) {
            (0, DayZero::LastOfMonth, Some(last)) => Self::new(year, month, last),
            _ => Self::new(year, month, day),
        }
    }

    /// From a number such as 20260731.
    ///
    /// # Errors
    /// When there is no such day.
    pub fn from_yyyymmdd(number: u32) -> Result<Self, DateError> {
        let year = number / 10_000;
        let fault = DateError::Year { year };
        // Both remainders are below 100.
        Self::new(u16::try_from(year).map_err(|_| fault)?, (number / 100 % 100) as u8, (number % 100) as u8)
    }

    /// As a number such as 20260731, which sorts like the date.
    pub fn to_yyyymmdd(self) -> u32 {
        u32::from(self.year) * 10_000 + u32::from(self.month) * 100 + u32::from(self.day)
    }

    /// The year, four digits.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }
}

fn full_year(yy: u8, current_year: u16) -> u16 {
    let century = current_year / 100 * 100;
    let year = century + u16::from(yy);
    match i32::from(yy) - i32::from(current_year % 100) {
        51..=99 => year.saturating_sub(100),
        -99..=-50 => year.saturating_add(100),
        _ => year,
    }
}

fn last_of_month(year: u16, month: u8) -> Option<u8> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({self})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    fn check(text: &str, current_year: u16, expected: Result<&str, &str>) {
        let got = Date::from_yymmdd(text, current_year, DayZero::LastOfMonth);
        let got = got.map(|date| date.to_string()).map_err(|error| error.to_string());
        assert_eq!(got, expected.map(String::from).map_err(String::from), "{text} in {current_year}");
    }

    #[test]
    fn centuries() {
        check("760101", 2026, Ok("2076-01-01"));
        check("770101", 2026, Ok("1977-01-01"));
        check("991231", 2026, Ok("1999-12-31"));
        check("000101", 2026, Ok("2000-01-01"));
        check("010101", 2099, Ok("2101-01-01"));
        check("490101", 2099, Ok("2149-01-01"));
        check("500101", 2099, Ok("2050-01-01"));
        check("500101", 2000, Ok("2050-01-01"));
        check("510101", 2000, Ok("1951-01-01"));
    }

    #[test]
    fn days() {
        check("260700", 2026, Ok("2026-07-31"));
        check("260200", 2026, Ok("2026-02-28"));
        check("280200", 2026, Ok("2028-02-29"));
        check("280229", 2026, Ok("2028-02-29"));
        check("260229", 2026, Err("2026-02 has no day 29"));
        check("260231", 2026, Err("2026-02 has no day 31"));
        check("260431", 2026, Err("2026-04 has no day 31"));
        check("261301", 2026, Err("there is no month 13"));
        check("260000", 2026, Err("there is no month 00"));
        check("26010", 2026, Err("a date is six digits, YYMMDD"));
        check("26010x", 2026, Err("a date is six digits, YYMMDD"));
        let refused = Date::from_yymmdd("260700", 2026, DayZero::Refused);
        assert_eq!(refused, Err(DateError::Day { year: 2026, month: 7, day: 0 }));
        // 1900 was no leap year, 2000 was one.
        assert!(Date::new(1900, 2, 29).is_err() && Date::new(2000, 2, 29).is_ok());
    }

    #[test]
    fn a_clock_without_battery_or_a_silly_year_does_no_harm() {
        check("260701", 1970, Ok("1926-07-01"));
        for year in [0, 49, 899, u16::MAX] {
            assert!(Date::from_yymmdd("260701", year, DayZero::Refused).is_err(), "{year}");
        }
    }

    #[test]
    fn dates_survive_as_numbers() {
        let date = Date::new(2026, 7, 31).unwrap();
        assert_eq!(date.to_yyyymmdd(), 20_260_731);
        assert_eq!(Date::from_yyyymmdd(20_260_731), Ok(date));
        for number in [0, 20_260_732, 20_261_301, u32::MAX] {
            assert!(Date::from_yyyymmdd(number).is_err(), "{number}");
        }
    }
}
