//! From raw conversions to counts one can weigh with.

/// A median of three throws out a single wild conversion (a clock pulse stretched by an interrupt, a spark) whole,
/// where an average would smear it over all its length.
pub const MEDIAN_LEN: usize = 3;

/// Conversions averaged behind the median: halves the noise twice over, and at 80 conversions a second follows a load
/// within a tenth of a second.
pub const AVERAGE_LEN: usize = 8;

/// A median of [`MEDIAN_LEN`], then a moving average of up to [`AVERAGE_LEN`].
#[derive(Debug, Clone, Default)]
pub struct Filter {
    recent: Ring<MEDIAN_LEN>,
    medians: Ring<AVERAGE_LEN>,
}

impl Filter {
    /// Knows no sample yet.
    pub const fn new() -> Self {
        Self { recent: Ring::new(), medians: Ring::new() }
    }

    /// Takes one conversion. `None` until the median has its three.
    pub fn push(&mut self, raw: i32) -> Option<i32> {
        self.recent.push(raw);
        if !self.recent.is_full() {
            return None;
        }
        let mut sorted = self.recent.values;
        sorted.sort_unstable();
        self.medians.push(sorted[MEDIAN_LEN / 2]);
        Some(self.medians.mean())
    }

    /// Forgets all samples, for a jump that is no load: saturation, or waking up.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

/// The last `N` values.
#[derive(Debug, Clone)]
struct Ring<const N: usize> {
    values: [i32; N],
    /// Where the next value goes.
    at: usize,
    /// How many of `values` are real, at most `N`.
    len: usize,
}

impl<const N: usize> Ring<N> {
    const fn new() -> Self {
        Self { values: [0; N], at: 0, len: 0 }
    }

    fn push(&mut self, value: i32) {
        self.values[self.at] = value;
        self.at = (self.at + 1) % N;
        self.len = N.min(self.len + 1);
    }

    fn is_full(&self) -> bool {
        self.len == N
    }

    /// Rounded towards zero: below a count there is only noise. Called with at least one value.
    fn mean(&self) -> i32 {
        let sum: i64 = self.values[..self.len].iter().map(|&value| i64::from(value)).sum();
        (sum / self.len as i64) as i32
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[track_caller]
    fn check(samples: &[i32], expected: &[Option<i32>]) {
        let mut filter = Filter::new();
        let seen: Vec<_> = samples.iter().map(|&raw| filter.push(raw)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn waits_for_three() {
        check(&[5, 5, 5, 5], &[None, None, Some(5), Some(5)]);
    }

    #[test]
    fn a_single_spike_leaves_no_trace() {
        check(&[5, 5, 5, 8_000_000, 5, 5], &[None, None, Some(5), Some(5), Some(5), Some(5)]);
    }

    #[test]
    fn a_step_arrives_within_its_length() {
        let mut filter = Filter::new();
        for _ in 0..20 {
            filter.push(0);
        }
        let steps: Vec<_> = (0..9).map(|_| filter.push(800).unwrap()).collect();
        assert_eq!(steps, [0, 100, 200, 300, 400, 500, 600, 700, 800]);
    }

    #[test]
    fn the_ends_of_a_converter_do_not_overflow() {
        let mut filter = Filter::new();
        for _ in 0..20 {
            filter.push(i32::MIN);
        }
        assert_eq!(filter.push(i32::MIN), Some(i32::MIN));
    }
}
