//! Rinstrum automatic output, format 2: ten frames a second.

use std::time::Duration;

use super::{Answer, Display, Model, Pace, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const FORMAT_2: Model = Model {
    name: "rinstrum",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Rinstrum { pace: Pace::times_a_second(10) }),
};

struct Rinstrum {
    pace: Pace,
}

impl VirtualScale for Rinstrum {
    fn handle_byte(&mut self, _display: &Display, _byte: u8) -> Option<Answer> {
        None
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        if !self.pace.is_due(now) {
            return None;
        }
        let net = display.net_g();
        let sign = if net < 0 { '-' } else { ' ' };
        let state = match display.range {
            Range::Over => 'O',
            Range::Under => 'U',
            Range::Within if display.is_net() => 'N',
            Range::Within => 'G',
        };
        let (motion, unit) = if display.moving { ('M', "") } else { (' ', " kg") };
        let zero = if display.is_zero() { 'Z' } else { ' ' };
        let digits = kilograms(net.abs());
        Some(format!("\x02{sign}{digits:>7}{state}{motion}{zero}-{unit:<3}\x03").into())
    }
}
