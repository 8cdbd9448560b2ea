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
//! new. It begins occupied, because nobody knows what was weighed before a restart. Where a scale does not tell whether
//! the load is still, the same confirmation vouches for that.

use std::time::Duration;

use super::{Range, Reading, Stability};

/// An older measurement may be of what stood on the scale before.
pub const AGE_MAX: Duration = Duration::from_millis(1_000);

/// The judge of one scale's readings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    platform: Platform,
    /// The operator vouches for what lies there, until it is used or lifted.
    confirmed: bool,
    /// Only what was measured after this counts: the operator saw the question then.
    since: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Platform {
    /// What lies there may be in the books already.
    Occupied,
    /// It was empty since.
    Free,
}

/// What the operator vouched for, and the scale did not show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vouched {
    /// That what lies there is new: the platform was not seen empty before.
    pub platform: bool,
    /// That it stands still.
    pub stability: bool,
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
    /// Measured too long ago.
    Old,
    /// Measured before the question.
    Early,
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
            Wait::Early => "the weight is from before the question",
            Wait::Old => "the weight is old: lift the goods and put them back",
            Wait::Empty => "put the goods on the scale",
            Wait::Occupied => "the scale was not empty before this weight",
        }
    }

    /// What the operator should do now, where waiting does not help and WEIGH does.
    pub fn prompt(self) -> Option<&'static str> {
        match self {
            Wait::StabilityUnknown => Some("wait until the weight stands still, then scan WEIGH"),
            Wait::Occupied => Some("take the last goods off the scale, or scan WEIGH to confirm"),
            _ => None,
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self { platform: Platform::Occupied, confirmed: false, since: Duration::ZERO }
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
    pub fn handle_reading(&mut self, now: Duration, reading: &Reading) -> Result<Vouched, Wait> {
        if is_empty(reading) {
            (self.platform, self.confirmed) = (Platform::Free, false);
        }
        match reading.range {
            range @ (Range::Over | Range::Under | Range::ZeroError) => return Err(Wait::OutOfRange(range)),
            Range::Ok | Range::Unknown => {}
        }
        let value = reading.value.ok_or(Wait::NoWeight)?;
        if reading.stability == Stability::Moving {
            return Err(Wait::Moving);
        }
        let age = Duration::from_millis(u64::from(reading.age_ms));
        if age > AGE_MAX {
            return Err(Wait::Old);
        }
        if now.saturating_sub(age) < self.since {
            return Err(Wait::Early);
        }
        if value.steps <= 0 {
            return Err(Wait::Empty);
        }
        let vouched = Vouched {
            platform: self.platform == Platform::Occupied,
            stability: reading.stability == Stability::Unknown,
        };
        match vouched {
            Vouched { platform: true, .. } if !self.confirmed => Err(Wait::Occupied),
            Vouched { stability: true, .. } if !self.confirmed => Err(Wait::StabilityUnknown),
            vouched => Ok(vouched),
        }
    }

    /// A weight went into a movement. When that could not be stored, the state before is to be taken again.
    pub fn handle_used(&mut self) {
        (self.platform, self.confirmed) = (Platform::Occupied, false);
    }

    /// The operator says that what lies on the platform from now on is new and stands still.
    pub fn handle_confirmed(&mut self, now: Duration) {
        (self.confirmed, self.since) = (true, now);
    }

    /// No weight is wanted any more: a confirmation was for the one that was.
    pub fn handle_unwanted(&mut self) {
        self.confirmed = false;
    }

    /// Whether the operator's word stands.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
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

    /// Nobody had to vouch for anything.
    const SEEN: Result<Vouched, Wait> = Ok(Vouched { platform: false, stability: false });
    /// The operator vouched for the platform.
    const TOLD: Result<Vouched, Wait> = Ok(Vouched { platform: true, stability: false });

    fn moving(value: &str) -> Reading {
        Reading { stability: Stability::Moving, ..stable(value) }
    }

    fn status(range: Range) -> Reading {
        Reading::status(Stability::Stable, range, b"")
    }

    /// Readings, one a second, and what becomes of each; `Ok` ones are used.
    fn check(readings: &[Reading], expected: &[Result<Vouched, Wait>]) {
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
                SEEN,
                Err(Wait::Occupied),
                // More was put on top: it is not weighed alone.
                Err(Wait::Occupied),
                Err(Wait::Empty),
                SEEN,
            ],
        );
    }

    #[test]
    fn what_lies_there_at_the_start_may_be_in_the_books() {
        check(&[stable("1.000")], &[Err(Wait::Occupied)]);
        let mut capture = Capture::default();
        assert!(capture.wants_empty());
        capture.handle_confirmed(Duration::ZERO);
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), TOLD);
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), TOLD, "until it is used");
        capture.handle_used();
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), Err(Wait::Occupied));
        // The word was for what lay there.
        capture.handle_confirmed(Duration::ZERO);
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("0.000")), Err(Wait::Empty));
        assert!(!capture.is_confirmed() && !capture.wants_empty());
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), SEEN);
        // And for the question at hand.
        capture.handle_used();
        capture.handle_confirmed(Duration::ZERO);
        capture.handle_unwanted();
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("1.000")), Err(Wait::Occupied));
    }

    #[test]
    fn where_the_scale_does_not_tell_whether_it_is_still_the_operator_does() {
        let unknown = |value| Reading { stability: Stability::Unknown, ..stable(value) };
        let mut capture = Capture::default();
        let show = |capture: &mut Capture, value| capture.handle_reading(Duration::ZERO, &unknown(value));
        assert_eq!(show(&mut capture, "0.000"), Err(Wait::Empty));
        assert_eq!(show(&mut capture, "1.000"), Err(Wait::StabilityUnknown));
        capture.handle_confirmed(Duration::ZERO);
        assert_eq!(show(&mut capture, "1.000"), Ok(Vouched { platform: false, stability: true }));
        capture.handle_used();
        assert_eq!(show(&mut capture, "1.000"), Err(Wait::Occupied), "before anything else");
        capture.handle_confirmed(Duration::ZERO);
        assert_eq!(show(&mut capture, "1.000"), Ok(Vouched { platform: true, stability: true }));
        assert_eq!(capture.handle_reading(Duration::ZERO, &moving("1.000")), Err(Wait::Moving));
    }

    #[test]
    fn an_empty_platform_is_known_by_zero_by_less_than_zero_and_while_it_moves() {
        let at_zero = Reading { zero: Some(true), ..status(Range::Ok) };
        let one = || stable("1.000");
        check(&[moving("0.000"), one()], &[Err(Wait::Moving), SEEN]);
        check(&[stable("-0.250"), one()], &[Err(Wait::Empty), SEEN]);
        check(&[at_zero, one()], &[Err(Wait::NoWeight), SEEN]);
        check(&[status(Range::Under), one()], &[Err(Wait::OutOfRange(Range::Under)), SEEN]);
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
            (good.clone(), SEEN),
            (Reading { stability: Stability::Moving, ..good.clone() }, Err(Wait::Moving)),
            (Reading { stability: Stability::Unknown, ..good.clone() }, Err(Wait::StabilityUnknown)),
            (stable("-1.000"), Err(Wait::Empty)),
            (Reading { range: Range::Over, ..good.clone() }, Err(Wait::OutOfRange(Range::Over))),
            (Reading { range: Range::ZeroError, ..good.clone() }, Err(Wait::OutOfRange(Range::ZeroError))),
            (Reading { range: Range::Unknown, ..good.clone() }, SEEN),
            (Reading { age_ms: 1_000, ..good.clone() }, SEEN),
            (Reading { age_ms: 1_001, ..good.clone() }, Err(Wait::Old)),
            (status(Range::Ok), Err(Wait::NoWeight)),
        ];
        for (reading, expected) in cases {
            let mut capture = Capture::default();
            assert_eq!(capture.handle_reading(Duration::ZERO, &stable("0.000")), Err(Wait::Empty));
            assert_eq!(capture.handle_reading(Duration::from_secs(9), &reading), expected, "{reading:?}");
        }
    }

    #[test]
    fn what_was_measured_before_the_question_is_old() {
        let mut capture = Capture::default();
        assert_eq!(capture.handle_reading(Duration::ZERO, &stable("0.000")), Err(Wait::Empty));
        capture.handle_wanted(Duration::from_millis(5_000));
        let aged = Reading { age_ms: 200, ..stable("1.000") };
        assert_eq!(capture.handle_reading(Duration::from_millis(5_199), &aged), Err(Wait::Early));
        assert_eq!(capture.handle_reading(Duration::from_millis(5_200), &aged), SEEN);
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
            let (mut grams, mut cleared, mut confirmed) = (0, false, false);
            for event in events {
                match event {
                    Floor::Put(load) => grams = load,
                    Floor::Confirm => {
                        capture.handle_confirmed(Duration::ZERO);
                        confirmed = true;
                    }
                    Floor::Shown(stability, range) => {
                        let shown = Shown { steps: grams, decimals: 3 };
                        let weight = Reading::shown(shown, Unit::Kilogram, Source::Reported, b"");
                        let reading = match range {
                            Range::Ok | Range::Unknown => Reading { stability, range, ..weight },
                            _ => Reading::status(stability, range, b""),
                        };
                        if range == Range::Under || (grams == 0 && reading.value.is_some()) {
                            (cleared, confirmed) = (true, false);
                        }
                        if let Ok(vouched) = capture.handle_reading(Duration::ZERO, &reading) {
                            prop_assert!(grams > 0 && stability != Stability::Moving);
                            let still = stability == Stability::Stable;
                            prop_assert_eq!(vouched, Vouched { platform: !cleared, stability: !still });
                            prop_assert!(confirmed || (cleared && still));
                            capture.handle_used();
                            (cleared, confirmed) = (false, false);
                        }
                    }
                }
            }
        }
    }
}
