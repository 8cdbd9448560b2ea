//! The one source of chance: everything that happens in a world follows from its seed.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Splitmix64: eight lines, the same on every machine and in every version, which a dependency does not promise.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The same seed gives the same numbers for ever.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An own source for one concern, so that a change of one does not shuffle all others.
    #[must_use]
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// Even over all of `u64`.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even over `0..end`; 0 when that is empty.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Even over a range.
    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A time within a range of milliseconds, to the microsecond.
    pub(super) fn ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.within(range.start() * 1_000..=range.end() * 1_000))
    }

    /// True so often in a thousand.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// One of several; the slice is not empty.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        // From the reference implementation, seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn ranges_are_filled_and_kept() {
        let mut random = Random::new(1);
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[(random.within(3..=7) - 3) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 120), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert!(!random.chance(0) && random.chance(1_000));
    }
}
