//! From counts to a weight.

use stockwire_protocol::link::{Unit, Weight};

/// A straight line through two points that were weighed, in whole units of 10^-decimals.
///
/// All integers: the same counts give the same weight on every board, with or without a floating point unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibration {
    low: CalibrationPoint,
    /// Other counts and another value than `low`, so that the line has a slope.
    high: CalibrationPoint,
    unit: Unit,
    /// At most `Weight::DECIMALS_MAX`.
    decimals: u8,
}

/// One known weight on the pan, and what the converter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationPoint {
    /// Filtered counts.
    pub raw: i32,
    /// The weight, in the calibration's unit and decimals.
    pub value: i32,
}

impl Calibration {
    /// For a cell nobody has calibrated: counts are counts, and say so by their unit.
    pub const NONE: Self = Self {
        low: CalibrationPoint { raw: 0, value: 0 },
        high: CalibrationPoint { raw: 1, value: 1 },
        unit: Unit::Counts,
        decimals: 0,
    };

    /// The line through `low` and `high`. A cell mounted upside down has falling counts; that is legal.
    pub fn two_point(
        low: CalibrationPoint,
        high: CalibrationPoint,
        unit: Unit,
        decimals: u8,
    ) -> Result<Self, CalibrationError> {
        if low.raw == high.raw {
            return Err(CalibrationError::SameCounts { raw: low.raw });
        }
        if low.value == high.value {
            return Err(CalibrationError::SameValue { value: low.value });
        }
        if decimals > Weight::DECIMALS_MAX {
            return Err(CalibrationError::Decimals { decimals });
        }
        Ok(Self { low, high, unit, decimals })
    }

    /// The unit of its values.
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// The decimals of its values.
    pub const fn decimals(&self) -> u8 {
        self.decimals
    }

    /// The weight for these counts, to the nearest unit, held at the ends of an `i32`.
    pub fn value(&self, raw: i32) -> i32 {
        let value = i128::from(self.low.value)
            + divide_nearest(i128::from(i64::from(raw) - i64::from(self.low.raw)) * self.rise(), self.run());
        value.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32
    }

    /// How many counts a change of `value` makes; at least one.
    pub fn counts_per(&self, value: i32) -> u32 {
        let counts = divide_nearest(i128::from(value) * self.run(), self.rise()).unsigned_abs();
        counts.clamp(1, u128::from(u32::MAX)) as u32
    }

    /// Whether more load gives more counts.
    pub fn is_rising(&self) -> bool {
        (self.rise() > 0) == (self.run() > 0)
    }

    fn rise(&self) -> i128 {
        i128::from(self.high.value) - i128::from(self.low.value)
    }

    fn run(&self) -> i128 {
        i128::from(self.high.raw) - i128::from(self.low.raw)
    }
}

/// To the nearest whole, halves away from zero: 2.5 kg must not show as 2 in one direction and 3 in the other.
pub(crate) fn divide_nearest(dividend: i128, divisor: i128) -> i128 {
    let (dividend, divisor) = if divisor < 0 { (-dividend, -divisor) } else { (dividend, divisor) };
    let half = if dividend < 0 { -(divisor / 2) } else { divisor / 2 };
    (dividend + half) / divisor
}

/// Why two points give no calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// The pan was not loaded, or the cell is not connected.
    #[error("both points have {raw} counts: was the weight on the pan, is the cell connected?")]
    SameCounts {
        /// Counts of both.
        raw: i32,
    },
    /// One weight cannot give a slope.
    #[error("both points have the value {value}: two different weights are needed")]
    SameValue {
        /// Value of both.
        value: i32,
    },
    /// More than an `i32` can use.
    #[error("{decimals} decimals; at most {} are possible", Weight::DECIMALS_MAX)]
    Decimals {
        /// As asked for.
        decimals: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(low: (i32, i32), high: (i32, i32)) -> Result<Calibration, CalibrationError> {
        let point = |(raw, value)| CalibrationPoint { raw, value };
        Calibration::two_point(point(low), point(high), Unit::Gram, 0)
    }

    #[track_caller]
    fn check(low: (i32, i32), high: (i32, i32), raw: i32, value: i32) {
        assert_eq!(line(low, high).unwrap().value(raw), value);
    }

    #[test]
    fn straight_lines() {
        check((1_000, 0), (201_000, 1_000), 1_000, 0);
        check((1_000, 0), (201_000, 1_000), 201_000, 1_000);
        check((1_000, 0), (201_000, 1_000), 101_000, 500);
        check((1_000, 0), (201_000, 1_000), 401_000, 2_000);
        check((1_000, 0), (201_000, 1_000), -199_000, -1_000);
    }

    #[test]
    fn rounds_to_nearest_in_both_directions() {
        check((0, 0), (200, 1), 99, 0);
        check((0, 0), (200, 1), 100, 1);
        check((0, 0), (200, 1), -99, 0);
        check((0, 0), (200, 1), -100, -1);
    }

    #[test]
    fn a_cell_upside_down() {
        check((1_000, 0), (-199_000, 1_000), -99_000, 500);
        assert_eq!(line((1_000, 0), (-199_000, 1_000)).unwrap().counts_per(1), 200);
    }

    #[test]
    fn the_ends_hold() {
        check((0, 0), (1, i32::MAX), i32::MAX, i32::MAX);
        check((i32::MIN, i32::MIN), (i32::MAX, i32::MAX), i32::MIN, i32::MIN);
    }

    #[test]
    fn refusals() {
        assert_eq!(line((5, 0), (5, 100)), Err(CalibrationError::SameCounts { raw: 5 }));
        assert_eq!(line((5, 7), (6, 7)), Err(CalibrationError::SameValue { value: 7 }));
    }
}
