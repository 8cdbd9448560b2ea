//! When a load stands still.

use core::time::Duration;

use crate::Uptime;

/// A load is stable when all values of the last [`Stability::HOLD`] lie within one band.
///
/// The band starts over at the first value that leaves it. That needs no history of samples, and errs to the safe side:
/// after a disturbance a full hold must pass.
#[derive(Debug, Clone)]
pub struct Stability {
    /// Widest spread of counts that still counts as standing still.
    band: u32,
    held: Option<Held>,
}

/// The band as it stands: every value since `since` lies in `low..=high`.
#[derive(Debug, Clone, Copy)]
struct Held {
    low: i32,
    high: i32,
    since: Uptime,
}

impl Stability {
    /// Half a second: longer than a hand trembles when it lets go, shorter than an operator's patience.
    pub const HOLD: Duration = Duration::from_millis(500);

    /// `band` in counts, usually one division of the scale.
    pub const fn new(band: u32) -> Self {
        Self { band, held: None }
    }

    /// Takes a filtered value and says whether the load stands still.
    pub fn push(&mut self, now: Uptime, counts: i32) -> bool {
        let held = match self.held {
            Some(held) => Held { low: held.low.min(counts), high: held.high.max(counts), ..held },
            None => Held { low: counts, high: counts, since: now },
        };
        let within = held.low.abs_diff(held.high) <= self.band;
        let held = if within { held } else { Held { low: counts, high: counts, since: now } };
        self.held = Some(held);
        now.saturating_sub(held.since) >= Self::HOLD
    }

    /// Nothing is known to stand still.
    pub fn reset(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values 100 ms apart; stable after which?
    #[track_caller]
    fn check(values: &[i32], stable_from: Option<usize>) {
        let mut stability = Stability::new(10);
        let found = values
            .iter()
            .enumerate()
            .map(|(n, &value)| stability.push(Duration::from_millis(100) * n as u32, value))
            .position(|stable| stable);
        assert_eq!(found, stable_from);
    }

    #[test]
    fn a_full_hold_must_pass() {
        check(&[7; 5], None);
        check(&[7; 6], Some(5));
    }

    #[test]
    fn the_band_is_a_spread_not_a_step() {
        check(&[0, 5, 10, 5, 0, 3], Some(5));
        // Each step is small, the way is not.
        check(&[0, 5, 10, 15, 20, 25, 30, 35, 40], None);
    }

    #[test]
    fn one_push_starts_the_hold_again() {
        check(&[0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0], Some(10));
    }

    #[test]
    fn the_whole_range_of_a_converter_is_a_spread() {
        check(&[i32::MIN, i32::MAX, i32::MIN, i32::MAX, i32::MIN, i32::MAX], None);
    }
}
