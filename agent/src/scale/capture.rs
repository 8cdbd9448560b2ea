//! Which reading of a sequence may enter a movement.
//!
//! ```text
//!              nothing on the platform, or the operator confirms
//!   Occupied ----------------------------------------------------> Free
//!      ^                                                             |
//!      '-------------------------------------------------------------'
//!                           a weight was used
//! ```
//!
//! A scale shows the goods of the last movement until somebody lifts them. So a weight counts once: after it was used
//! the platform must have been seen empty before the next one is taken, or the operator says that what lies there is
//! new. It begins occupied, because nobody knows what was weighed before a restart.

use std::time::Duration;

use super::{Range, Reading, Stability};

/// An older measurement may be of what stood on the scale before.
pub const AGE_MAX: Duration = Duration::from_millis(1_000);

/// The judge of one scale's readings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    platform: Platform,
    /// Only what was measured after this counts: the operator saw the question then.
    since: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Platform {
    /// What lies there may be in the books already.
    Occupied,
    /// It was empty since, or the operator vouches for what lies there.
    Free,
}

/// Why a reading is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The scale cannot weigh this load.
    OutOfRange(Range),
    /// A status alone: no earlier weight stands for it.
    NoWeight,
    /// It moves.
    Moving,
    /// Nobody tells whether it is stable, and that will not change by waiting.
    StabilityUnknown,
    /// Measured too long ago, or before the question.
    Old,
    /// There is nothing on the platform.
    Empty,
    /// The goods of the last weight were not seen to leave. The operator may confirm.
    Occupied,
}

impl Wait {
    /// What the operator does about it.
    pub fn as_str(self) -> &'static str {
        match self {
            Wait::OutOfRange(Range::Over) => "too heavy for the scale",
            Wait::OutOfRange(Range::Under) => "the scale is below zero: clear it",
            Wait::OutOfRange(_) => "the scale cannot find zero: clear it and set it to zero",
            Wait::NoWeight => "the scale shows no weight",
            Wait::Moving => "the weight is not stable yet",
            Wait::StabilityUnknown => "the scale does not tell whether the weight is stable",
            Wait::Old => "the weight is old: lift the goods and put them back",
            Wait::Empty => "put the goods on the scale",
            Wait::Occupied => {
                "weighed before: lift the goods and put them back, or confirm that they are new"
            }
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self { platform: Platform::Occupied, since: Duration::ZERO }
    }
}

impl Capture {
    /// A weight is wanted from now on.
    pub fn handle_wanted(&mut self, now: Duration) {
        self.since = now;
    }

    /// Every reading is to be shown here, wanted or not: only so is an empty platform noticed.
    ///
    /// # Errors
    /// When it may not enter a movement.
    pub fn handle_reading(&mut self, now: Duration, reading: &Reading) -> Result<(), Wait> {
        if is_empty(reading) {
            self.platform = Platform::Free;
        }
        match reading.range {
            range @ (Range::Over | Range::Under | Range::ZeroError) => return Err(Wait::OutOfRange(range)),
            Range::Ok | Range::Unknown => {}
        }
        let value = reading.value.ok_or(Wait::NoWeight)?;
        match reading.stability {
            Stability::Stable => {}
            Stability::Moving => return Err(Wait::Moving),
            Stability::Unknown => return Err(Wait::StabilityUnknown),
        }
        let age = Duration::from_millis(u64::from(reading.age_ms));
        if age > AGE_MAX || now.saturating_sub(age) < self.since {
            return Err(Wait::Old);
        }
        if value.steps <= 0 {
            return Err(Wait::Empty);
        }
        match self.platform {
            Platform::Free => Ok(()),
            Platform::Occupied => Err(Wait::Occupied),
        }
    }

    /// A weight became part of a movement that is in the journal.
    pub fn handle_used(&mut self) {
        self.platform = Platform::Occupied;
    }

    /// The operator says that what lies on the platform is not in the books.
    pub fn handle_confirmed(&mut self) {
        self.platform = Platform::Free;
    }

    /// Whether the platform must still be seen empty: a scale that is polled is then asked although no weight is
    /// wanted, or the moment between two loads goes unnoticed.
    pub fn wants_empty(&self) -> bool {
        self.platform == Platform::Occupied
    }
}

/// Whether the reading shows that nothing lies there: zero, or less than zero where a tared container was lifted. A
/// load on its way down is as gone as one that stays away, so it need not be stable.
fn is_empty(reading: &Reading) -> bool {
    let below = reading.range == Range::Under;
    let in_range = matches!(reading.range, Range::Ok | Range::Unknown);
    let nothing = reading.zero == Some(true) || reading.value.is_some_and(|value| value.steps <= 0);
    below || (in_range && nothing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Shown, Source, Unit};
    use super::*;

    fn stable(value: &str) -> Reading {
        let value = Shown::parse(value).unwrap();
        let shown = Reading::shown(value, Unit::Kilogram, Source::Reported, b"");
        Reading { stability: Stability::Stable, stability_source: Source::Reported, ..shown }
    }

    fn moving(value: &str) -> Reading {
        Reading { stability: Stability::Moving, ..stable(value) }
    }

    fn status(range: Range) -> Reading {
        Reading::status(Stability::Stable, range, b"")
    }

    /// Readings, one a second, and what becomes of each; `Ok` ones are used.
    fn check(readings: &[Reading], expected: &[Result<(), Wait>]) {
        let mut capture = Capture::default();
        let seen = readings.iter().zip(1..).map(|(reading, s)| {
            let judged = capture.handle_reading(Duration::from_secs(s), reading);
            if judged.is_ok() {
                capture.handle_used();
            }
            judged
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_load_counts_once() {
        let (one, two, nothing) = (stable("1.000"), stable("2.000"), stable("0.000"));
        check(
            &[nothing.clone(), one.clone(), one.clone(), two.clone(), nothing, two],
            &[
                Err(Wait::Empty),
                Ok(()),
                Err(Wait::Occupied),
                // More was put on top: it is not weighed alone.
                Err(Wait::Occupied),
                Err(Wait::Empty),
                Ok(()),
            ],
        );
    }

    #[test]
    fn what_lies_there_at_the_start_may_be_in_the_books() {
        check(&[stable("1.000")], &[Err(Wait::Occupied)]);
        let mut capture = Capture::default();
        assert!(capture.wants_empty());
        capture.handle_confirmed();
        assert!(!capture.wants_empty());
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), Ok(()));
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), Ok(()), "until it is used");
        capture.handle_used();
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), Err(Wait::Occupied));
    }

    #[test]
    fn an_empty_platform_is_known_by_zero_by_less_than_zero_and_while_it_moves() {
        let at_zero = Reading { zero: Some(true), ..status(Range::Ok) };
        let one = || stable("1.000");
        check(&[moving("0.000"), one()], &[Err(Wait::Moving), Ok(())]);
        check(&[stable("-0.250"), one()], &[Err(Wait::Empty), Ok(())]);
        check(&[at_zero, one()], &[Err(Wait::NoWeight), Ok(())]);
        check(&[status(Range::Under), one()], &[Err(Wait::OutOfRange(Range::Under)), Ok(())]);
        // None of these says that anything was lifted.
        for other in [status(Range::Ok), status(Range::Over), status(Range::Unknown), moving("0.002")] {
            let mut capture = Capture::default();
            assert!(capture.handle_reading(Duration::ZERO, &other).is_err());
            assert_eq!(capture.handle_reading(Duration::ZERO, &one()), Err(Wait::Occupied), "{other:?}");
        }
    }

    #[test]
    fn only_stable_fresh_weights_in_range() {
        let good = stable("1.000");
        let cases = [
            (good.clone(), Ok(())),
            (Reading { stability: Stability::Moving, ..good.clone() }, Err(Wait::Moving)),
            (Reading { stability: Stability::Unknown, ..good.clone() }, Err(Wait::StabilityUnknown)),
            (Reading { range: Range::Over, ..good.clone() }, Err(Wait::OutOfRange(Range::Over))),
            (Reading { range: Range::ZeroError, ..good.clone() }, Err(Wait::OutOfRange(Range::ZeroError))),
            (Reading { range: Range::Unknown, ..good.clone() }, Ok(())),
            (Reading { age_ms: 1_000, ..good.clone() }, Ok(())),
            (Reading { age_ms: 1_001, ..good.clone() }, Err(Wait::Old)),
            (status(Range::Ok), Err(Wait::NoWeight)),
        ];
        for (reading, expected) in cases {
            let mut capture = Capture::default();
            capture.handle_confirmed();
            assert_eq!(capture.handle_reading(Duration::from_secs(9), &reading), expected, "{reading:?}");
        }
    }

    #[test]
    fn what_was_measured_before_the_question_is_old() {
        let mut capture = Capture::default();
        capture.handle_confirmed();
        capture.handle_wanted(Duration::from_millis(5_000));
        let aged = Reading { age_ms: 200, ..stable("1.000") };
        assert_eq!(capture.handle_reading(Duration::from_millis(5_199), &aged), Err(Wait::Old));
        assert_eq!(capture.handle_reading(Duration::from_millis(5_200), &aged), Ok(()));
    }

    /// What a platform and its operator do, without saying it to the judge.
    #[derive(Clone, Copy, Debug)]
    enum Floor {
        Put(i64),
        Shown(Stability, Range),
        Confirm,
    }

    fn floor() -> impl Strategy<Value = Floor> {
        let stability = prop::sample::select(vec![Stability::Stable, Stability::Moving, Stability::Unknown]);
        let range =
            prop::sample::select(vec![Range::Ok, Range::Ok, Range::Unknown, Range::Over, Range::Under]);
        prop_oneof![
            2 => prop::sample::select(vec![0i64, 0, 500, 1_000]).prop_map(Floor::Put),
            6 => (stability, range).prop_map(|(stability, range)| Floor::Shown(stability, range)),
            1 => Just(Floor::Confirm),
        ]
    }

    proptest! {
        /// However the readings come, between two used weights the platform was shown empty or the operator confirmed.
        #[test]
        fn no_load_is_used_twice(events in proptest::collection::vec(floor(), 0..60)) {
            let mut capture = Capture::default();
            let (mut grams, mut cleared) = (0, false);
            for event in events {
                match event {
                    Floor::Put(load) => grams = load,
                    Floor::Confirm => {
                        capture.handle_confirmed();
                        cleared = true;
                    }
                    Floor::Shown(stability, range) => {
                        let shown = Shown { steps: grams, decimals: 3 };
                        let weight = Reading::shown(shown, Unit::Kilogram, Source::Reported, b"");
                        let reading = match range {
                            Range::Ok | Range::Unknown => Reading { stability, range, ..weight },
                            _ => Reading::status(stability, range, b""),
                        };
                        cleared |= range == Range::Under;
                        cleared |= grams == 0 && reading.value.is_some();
                        if capture.handle_reading(Duration::ZERO, &reading).is_ok() {
                            prop_assert!(cleared && grams > 0 && stability == Stability::Stable);
                            capture.handle_used();
                            cleared = false;
                        }
                    }
                }
            }
        }
    }
}
