//! A&D standard format: ten frames a second, and one more when asked.

use std::time::Duration;

use super::{Answer, Change, CommandLine, Display, Model, Pace, Range, VirtualScale, kilograms};
use crate::device::uart::{Line, Parity};

pub(super) const STANDARD: Model = Model {
    name: "and",
    variant: "",
    line: Line::seven(2_400, Parity::Even),
    config: "",
    power_on: || Box::new(And { command: CommandLine::default(), pace: Pace::times_a_second(10) }),
};

struct And {
    command: CommandLine,
    pace: Pace,
}

fn frame(display: &Display) -> Vec<u8> {
    let header = if display.moving { "US" } else { "ST" };
    let net = display.net_g();
    let sign = if net < 0 { '-' } else { '+' };
    let text = match display.range {
        Range::Over => "OL,+9999.999 kg\r\n".into(),
        Range::Under => "OL,-9999.999 kg\r\n".into(),
        Range::Within => format!("{header},{sign}{:0>8} kg\r\n", kilograms(net.abs())),
    };
    text.into_bytes()
}

impl VirtualScale for And {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        match self.command.push(byte)?.as_str() {
            "Q" | "SI" => Answer::say(frame(display)),
            "Z" | "R" => Answer::change(Change::Zero, []),
            "T" => Answer::change(Change::Tare, []),
            _ => Answer::say(*b"?\r\n"),
        }
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        self.pace.is_due(now).then(|| frame(display))
    }
}
