//! Ohaus: the layout of the Defender 3000 indicators.

use super::{Answer, Change, CommandLine, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const OHAUS: Model = Model {
    name: "ohaus",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Ohaus { command: CommandLine::default() }),
};

struct Ohaus {
    command: CommandLine,
}

/// Polarity, space, weight in 7, space, unit in 5, stability, legend in 3.
fn frame(display: &Display) -> String {
    let net = display.net_g();
    let (sign, stability) = (if net < 0 { '-' } else { ' ' }, if display.moving { '?' } else { ' ' });
    let legend = if display.is_net() { "NET" } else { "G  " };
    match display.range {
        Range::Over => "Err 8.3\r\n".into(),
        Range::Under => "Err 8.4\r\n".into(),
        Range::Within => format!("{sign} {:>7} {:<5}{stability}{legend}\r\n", kilograms(net.abs()), "kg"),
    }
}

impl VirtualScale for Ohaus {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        match self.command.push(byte)?.as_str() {
            "IP" => Answer::say(frame(display)),
            "P" | "SP" if !display.moving => Answer::say(frame(display)),
            "P" | "SP" => None,
            "Z" => Answer::change(Change::Zero, []),
            "T" => Answer::change(Change::Tare, []),
            _ => Answer::say(*b"ES\r\n"),
        }
    }
}
