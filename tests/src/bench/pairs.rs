//! In turns: a slice of the limit, a slice of ours, and again.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Slices of each side, at least: below that the tenth and ninetieth percentile mean nothing.
const PAIRS_MIN: usize = 15;
/// Shorter, and the scheduler's own slices of 4 ms show; longer, and the machine changes between two of them.
const SLICE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time for each row of the result.
    pub time: Duration,
    /// Time for which an idle program is watched.
    pub idle: Duration,
    /// Time for which a program is exposed to noise.
    pub soak: Duration,
}

impl Plan {
    /// With `seconds` for each row, else 12; idle programs are watched for a minute unless `seconds` is less,
    /// and noise lasts ten minutes unless `seconds` says otherwise.
    pub fn new(seconds: Option<u64>) -> Self {
        let given = seconds.map(Duration::from_secs);
        let minute = Duration::from_secs(60);
        Self {
            time: given.unwrap_or(Duration::from_secs(12)),
            idle: given.map_or(minute, |given| given.min(minute)),
            soak: given.unwrap_or(10 * minute),
        }
    }

    /// How many pairs, and how long each of the two slices is.
    pub fn slices(&self) -> (usize, Duration) {
        let slice = (self.time / (2 * PAIRS_MIN as u32)).clamp(*SLICE.start(), *SLICE.end());
        (self.pairs_of(2 * slice), slice)
    }

    /// How many pairs, when one takes about so long.
    pub fn pairs_of(&self, pair: Duration) -> usize {
        PAIRS_MIN.max((self.time.as_secs_f64() / pair.as_secs_f64().max(1e-6)) as usize)
    }
}

/// Measures both in turns. Each pair begins with the other side, so that what one leaves behind (a warm cache, a
/// filling log) meets both alike.
pub(super) fn interleave<T>(
    pairs: usize,
    mut limit: impl FnMut() -> Result<T>,
    mut ours: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    let mut measured = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let both = if pair % 2 == 0 {
            let limit = limit()?;
            (limit, ours()?)
        } else {
            let ours = ours()?;
            (limit()?, ours)
        };
        measured.push(both);
    }
    Ok(measured)
}

/// Repeats `step`, which tells how many things it did, for a slice; so many things in a second.
pub(super) fn rate(slice: Duration, mut step: impl FnMut() -> Result<usize>) -> Result<f64> {
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed() < slice {
        done += step()?;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Microseconds since then.
pub(super) fn micros_since(then: Instant) -> f64 {
    micros(then.elapsed())
}

/// In microseconds.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_little_time_is_given_there_are_enough_pairs() {
        for seconds in [1, 12, 60] {
            let (pairs, slice) = Plan::new(Some(seconds)).slices();
            assert!(pairs >= PAIRS_MIN && SLICE.contains(&slice), "{pairs} {slice:?}");
        }
        assert_eq!(Plan::new(Some(30)).slices(), (30, Duration::from_millis(500)));
    }

    #[test]
    fn sides_take_turns_in_beginning() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name: char| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(name)
            }
        };
        let pairs = interleave(3, side('L'), side('o')).unwrap();
        assert_eq!(order.into_inner(), "LooLLo");
        assert_eq!(pairs, [('L', 'o'); 3]);
    }
}
