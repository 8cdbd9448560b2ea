//! Whether a load is still, for scales that do not tell: inferred from what they show, and marked as such.

use std::time::Duration;

use super::{Shown, Source, Stability};

/// The value must stand for so long: what PD-II scales do themselves before they call a weight stable.
const STILL_FOR: Duration = Duration::from_millis(500);
/// And be seen so often: two frames alone could be the two turning points of a swing.
const FRAMES_MIN: u32 = 3;
/// A longer pause between two frames says nothing about what happened in between.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The run of equal values so far.
#[derive(Debug, Default)]
pub(super) struct Still {
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    value: Shown,
    began: Duration,
    last: Duration,
    frames: u32,
}

impl Still {
    /// What to say about a frame's value, and that nobody reported it.
    pub(super) fn judge(&mut self, now: Duration, value: Shown) -> (Stability, Source) {
        let continued =
            self.run.take().filter(|run| run.value == value && now.saturating_sub(run.last) <= PAUSE_MAX);
        let run = match continued {
            Some(run) => Run { last: now, frames: run.frames.saturating_add(1), ..run },
            None => Run { value, began: now, last: now, frames: 1 },
        };
        let still = run.frames >= FRAMES_MIN && now.saturating_sub(run.began) >= STILL_FOR;
        self.run = Some(run);
        (if still { Stability::Stable } else { Stability::Moving }, Source::Inferred)
    }

    /// A frame without a value ends the run.
    pub(super) fn forget(&mut self) {
        self.run = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frames: &[(u64, &str)], expected: &str) {
        let mut still = Still::default();
        let mut judge = |(ms, text): &(u64, &str)| {
            let (stability, source) = still.judge(Duration::from_millis(*ms), Shown::parse(text).unwrap());
            assert_eq!(source, Source::Inferred);
            if stability == Stability::Stable { 'S' } else { '-' }
        };
        assert_eq!(frames.iter().map(&mut judge).collect::<String>(), expected);
    }

    #[test]
    fn a_value_is_stable_when_it_stood_long_enough_and_was_seen_often_enough() {
        check(&[(0, "1.0"), (200, "1.0"), (400, "1.0"), (500, "1.0"), (600, "1.0")], "---SS");
        check(&[(0, "1.0"), (600, "1.0"), (700, "1.0")], "--S");
        check(&[(0, "1.0"), (300, "1.1"), (600, "1.0"), (900, "1.0"), (1_100, "1.0")], "----S");
        check(&[(0, "1.0"), (250, "1.00"), (500, "1.0")], "---");
    }

    #[test]
    fn a_pause_begins_anew() {
        check(
            &[(0, "1.0"), (250, "1.0"), (500, "1.0"), (1_501, "1.0"), (1_800, "1.0"), (2_001, "1.0")],
            "--S--S",
        );
        let mut still = Still::default();
        for ms in [0, 250, 500] {
            still.judge(Duration::from_millis(ms), Shown::parse("1.0").unwrap());
        }
        still.forget();
        let judged = still.judge(Duration::from_millis(600), Shown::parse("1.0").unwrap());
        assert_eq!(judged.0, Stability::Moving);
    }
}
