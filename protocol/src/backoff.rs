//! How long to wait before trying again: exponential, with full jitter.
//!
//! Pure arithmetic, so that the agent's link, the gateway's link and the simulated world share it. The caller brings the
//! random number and keeps the clock.

use core::time::Duration;

/// Waiting times that double from `first` up to `cap`, each drawn evenly from below its ceiling.
///
/// Full jitter, because a warehouse whose switch restarts brings all its boxes back in the same millisecond: waits that
/// are merely "about 8 s" would keep them together, waits anywhere below 8 s spread them over the whole of it.
///
/// ```
/// use core::time::Duration;
/// use stockwire_protocol::backoff::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
/// assert!(backoff.next_delay(42) <= Duration::from_millis(500));
/// assert!(backoff.next_delay(42) <= Duration::from_millis(1000));
/// backoff.reset();
/// assert!(backoff.next_delay(42) <= Duration::from_millis(500));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first_ms: u64,
    cap_ms: u64,
    attempts: u32,
}

impl Backoff {
    /// A wait of at most `first` to begin with, and never more than `cap`. Fractions of a millisecond are dropped;
    /// a zero counts as one millisecond, because a retry without any wait is a busy loop.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first_ms: whole_ms(first), cap_ms: whole_ms(cap), attempts: 0 }
    }

    /// The next wait: even over `1 ms ..= min(cap, first * 2^attempts)` when `random` is even over all of `u64`.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let ceiling_ms = self.ceiling_ms();
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_millis(1 + random % ceiling_ms)
    }

    /// It worked, and for long enough to believe it: begin at `first` again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Waits handed out since the beginning or the last reset.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    fn ceiling_ms(&self) -> u64 {
        // Beyond 2^63 the factor no longer fits; the cap has been reached long before.
        let factor = 1u64.checked_shl(self.attempts).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(factor).min(self.cap_ms)
    }
}

const fn whole_ms(duration: Duration) -> u64 {
    let ms = duration.as_millis();
    if ms == 0 {
        1
    } else if ms > u64::MAX as u128 {
        u64::MAX
    } else {
        ms as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(60))
    }

    #[test]
    fn ceilings_double_up_to_the_cap_and_stay_there() {
        let mut backoff = backoff();
        for ceiling_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            // The largest remainder a ceiling leaves is the ceiling less one, which makes the longest wait.
            assert_eq!(backoff.clone().next_delay(ceiling_ms - 1), Duration::from_millis(ceiling_ms));
            // And a multiple of it makes the shortest.
            assert_eq!(backoff.next_delay(ceiling_ms * 7), Duration::from_millis(1));
        }
        assert_eq!(backoff.attempts(), 9);
    }

    #[test]
    fn years_of_attempts_overflow_nothing() {
        let mut backoff = backoff();
        backoff.attempts = u32::MAX;
        assert!(backoff.next_delay(u64::MAX) <= Duration::from_secs(60));
        assert_eq!(backoff.attempts(), u32::MAX);
        let mut wide = Backoff::new(Duration::MAX, Duration::MAX);
        wide.attempts = 63;
        assert!(wide.next_delay(7) >= Duration::from_millis(1));
    }

    #[test]
    fn zero_is_never_a_wait() {
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(none.next_delay(0), Duration::from_millis(1));
        assert_eq!(none.next_delay(u64::MAX), Duration::from_millis(1));
    }

    #[test]
    fn reset_begins_again() {
        let mut backoff = backoff();
        for random in 0..10 {
            backoff.next_delay(random);
        }
        backoff.reset();
        assert_eq!(backoff, self::backoff());
    }

    #[test]
    fn waits_fill_the_whole_range() {
        // Every tenth of the range is met: jitter around a middle value would leave most of them empty.
        let mut tenths = [0u32; 10];
        let mut random = 1u64;
        for _ in 0..1_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let delay_ms = backoff().next_delay(random >> 16).as_millis() as usize;
            tenths[(delay_ms - 1) / 50] += 1;
        }
        assert!(tenths.iter().all(|&count| count > 50), "{tenths:?}");
    }
}
