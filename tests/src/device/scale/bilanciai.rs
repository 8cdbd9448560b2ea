//! Bilanciai D70, the extended string, sent over and over with a pause of 300 ms.

use std::time::Duration;

use super::{Answer, Display, Model, Pace, Range, VirtualScale, kilograms};
use crate::device::uart::{Line, Parity};

pub(super) const D70: Model = Model {
    name: "bilanciai-d70",
    variant: "",
    line: Line { stop_bits: 2, ..Line::seven(4_800, Parity::Even) },
    config: "",
    // The pause and the 30 characters before it, each of eleven bits.
    power_on: || Box::new(D70 { pace: Pace { every: Duration::from_millis(369), due: Duration::ZERO } }),
};

struct D70 {
    pace: Pace,
}

impl VirtualScale for D70 {
    fn handle_byte(&mut self, _display: &Display, _byte: u8) -> Option<Answer> {
        None
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        if !self.pace.is_due(now) {
            return None;
        }
        let signed = |grams: i64| {
            let sign = if grams < 0 { '-' } else { '+' };
            format!("{sign}{:0>8}", kilograms(grams.abs()))
        };
        let zero = u8::from(display.is_zero()) << 3;
        let state = u8::from(!display.moving) << 1 | u8::from(display.range == Range::Over) << 2;
        let tare = u8::from(display.is_net()) | u8::from(display.range != Range::Within) << 2;
        let (net, taken) = (signed(display.net_g()), signed(display.tare_g));
        Some(format!("${net} {taken} kg {zero:X}{state:X}{tare:X}1\r\n").into())
    }
}
