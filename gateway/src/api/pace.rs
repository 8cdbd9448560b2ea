//! How often a key may ask: a bucket for each, so that one program gone wild leaves the others their turn.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys remembered; one that has not asked for so long that its bucket is full again is forgotten first.
const KEYS_MAX: usize = 1_000;

/// A bucket for each key.
pub struct Pace {
    per_s: u32,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    /// Thousandths of a request.
    left: u64,
    at: Instant,
}

impl Pace {
    /// So many requests a second for each key, twice as many at once.
    pub fn new(per_s: u32) -> Self {
        Self { per_s, buckets: Mutex::default() }
    }

    fn full(&self) -> u64 {
        u64::from(self.per_s) * 2_000
    }

    /// Takes one request from the bucket of a key; how long to wait when it is empty.
    pub(super) fn take(&self, key: &str, now: Instant) -> Result<(), Duration> {
        let (full, per_s) = (self.full(), u64::from(self.per_s.max(1)));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < Duration::from_secs(2));
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { left: full, at: now });
        let since_ms = now.saturating_duration_since(bucket.at).as_millis();
        // A request a second is one thousandth a millisecond.
        let grown = u64::try_from(since_ms).unwrap_or(u64::MAX).saturating_mul(per_s);
        bucket.left = bucket.left.saturating_add(grown).min(full);
        bucket.at = now;
        match bucket.left.checked_sub(1_000) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err(Duration::from_millis((1_000 - bucket.left).div_ceil(per_s))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_own_bucket_that_fills_by_itself() {
        let (pace, start) = (Pace::new(5), Instant::now());
        let taken = |key: &str, now| (0..100).take_while(|_| pace.take(key, now).is_ok()).count();
        assert_eq!(taken("a", start), 10, "twice as many at once");
        assert_eq!(pace.take("a", start), Err(Duration::from_millis(200)));
        assert_eq!(taken("b", start), 10, "the other has its own");
        assert_eq!(taken("a", start + Duration::from_millis(400)), 2);
        assert_eq!(taken("a", start + Duration::from_secs(60)), 10, "never more than full");
    }

    #[test]
    fn keys_are_forgotten_when_there_are_many() {
        let (pace, start) = (Pace::new(5), Instant::now());
        for key in 0..KEYS_MAX {
            pace.take(&key.to_string(), start).unwrap();
        }
        pace.take("late", start + Duration::from_secs(3)).unwrap();
        assert_eq!(pace.buckets.lock().unwrap().len(), 1);
    }
}
