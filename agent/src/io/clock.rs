//! Time: a monotonic clock that orders, and a wall clock that is only data.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stockwire_protocol::When;

/// 2026-01-01. This program is younger, so a clock that says less is wrong, whatever anybody says about it: boxes
/// without a battery start in 1970, and some at the date of their image.
const FLOOR_UNIX_MS: i64 = 1_767_225_600_000;

/// The process's clocks.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Exists once the wall clock is synchronised; `None`: it always is.
    synchronized_file: Option<PathBuf>,
}

impl Clock {
    /// `now` counts from here.
    pub fn new(synchronized_file: Option<PathBuf>) -> Self {
        Self { start: Instant::now(), synchronized_file }
    }

    /// Monotonic time since the start: what cores are given as `now`.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment that `now` of a core's time-out means to the runtime.
    pub fn instant(&self, now: Duration) -> Instant {
        self.start + now
    }

    /// What the wall clock says, right or not.
    pub fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Whether the wall clock can be believed.
    pub fn is_synced(&self) -> bool {
        let told = self.synchronized_file.as_ref().is_none_or(|file| file.exists());
        told && self.unix_ms() >= FLOOR_UNIX_MS
    }

    /// The time of an event that happens now, in the boot that the journal counts.
    pub fn when(&self, boot: u32) -> When {
        let unix_ms = self.unix_ms();
        if self.is_synced() {
            When::Synced { unix_ms }
        } else {
            When::Unsynced { unix_ms, boot, uptime_ms: self.uptime_ms() }
        }
    }

    /// Milliseconds since the start.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// The current year, for the century of two-digit dates; never before this program's.
    pub fn year(&self) -> u16 {
        year_of(self.unix_ms().max(FLOOR_UNIX_MS))
    }
}

/// The Gregorian year of a time. Days are counted in years that begin in March, so that the leap day comes last.
fn year_of(unix_ms: i64) -> u16 {
    const DAYS_TO_1970: i64 = 719_468;
    const DAYS_PER_ERA: i64 = 146_097;
    let days = unix_ms.div_euclid(86_400_000) + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Day 306 from March on is the first of January.
    let year = era * 400 + year + i64::from(day_of_year >= 306);
    u16::try_from(year).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_turn_at_new_year() {
        for (unix_s, year) in [
            (0, 1970),
            (951_782_400, 2000), // 29 February
            (1_767_225_599, 2025),
            (1_767_225_600, 2026),
            (1_798_761_599, 2026),
            (1_798_761_600, 2027),
            (1_709_164_800, 2024), // 29 February
            (4_102_444_800, 2100),
            (4_133_980_800, 2101),
        ] {
            assert_eq!(year_of(unix_s * 1000), year, "{unix_s}");
        }
    }

    #[test]
    fn a_clock_is_synchronised_when_the_file_is_there() {
        let file = std::env::temp_dir().join(format!("stockwire-clock-{}", std::process::id()));
        let clock = Clock::new(Some(file.clone()));
        assert!(!clock.is_synced());
        assert!(matches!(clock.when(7), When::Unsynced { boot: 7, .. }));
        std::fs::write(&file, "").unwrap();
        assert!(clock.when(7).is_synced());
        std::fs::remove_file(&file).unwrap();
        assert!(Clock::new(None).is_synced());
    }
}
