//! The same code again: a bouncing trigger, or a second piece?

use std::collections::VecDeque;
use std::time::Duration;

use stockwire_protocol::DeviceId;

/// A trigger that bounces and a scanner in presentation mode repeat within a tenth of a second or two; nobody presents
/// a second piece as fast as this.
pub const BOUNCE_DEFAULT: Duration = Duration::from_millis(400);
/// Codes remembered: a scanner that sees a sheet of labels reads several in turn.
const CODES_MAX: usize = 32;

/// What was read, and by which device.
pub(super) type Code = (DeviceId, Vec<u8>);

/// The codes last seen at a station.
#[derive(Debug, Default)]
pub(super) struct Bounce {
    /// When each was last seen, oldest first; at most `CODES_MAX`.
    seen: VecDeque<(Code, Duration)>,
}

impl Bounce {
    /// Whether the same code came from the same device within the window, counted from when it was last seen: a scanner
    /// that keeps reading one label gives one piece, however long it looks.
    pub(super) fn is_bounce(&mut self, now: Duration, window: Duration, code: &Code) -> bool {
        let before = self.seen.iter().position(|(seen, _)| seen == code).and_then(|at| self.seen.remove(at));
        if self.seen.len() >= CODES_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((code.clone(), now));
        before.is_some_and(|(_, last)| now.saturating_sub(last) < window)
    }

    /// It could not be recorded, so scanning it again is no bounce.
    pub(super) fn forget(&mut self, code: &Code) {
        self.seen.retain(|(seen, _)| seen != code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_keeps_the_latest() {
        let mut bounce = Bounce::default();
        let code = |number: u32| (DeviceId::new("scanner").unwrap(), number.to_be_bytes().to_vec());
        let window = Duration::from_secs(1);
        for number in 0..1_000 {
            assert!(!bounce.is_bounce(Duration::ZERO, window, &code(number)));
        }
        assert_eq!(bounce.seen.len(), CODES_MAX);
        assert!(bounce.is_bounce(Duration::ZERO, window, &code(999)));
        assert!(!bounce.is_bounce(Duration::ZERO, window, &code(0)));
    }
}
