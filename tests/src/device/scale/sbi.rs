//! Sartorius SBI, with and without the identifier of six characters.

use super::{Answer, Change, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::{Line, Parity};

pub(super) const SBI_16: Model = Model {
    name: "sbi-16",
    variant: "",
    line: Line::seven(1_200, Parity::Odd),
    config: "",
    power_on: || Box::new(Sbi { identifier: false, escaped: false }),
};

pub(super) const SBI_22: Model =
    Model { name: "sbi-22", power_on: || Box::new(Sbi { identifier: true, escaped: false }), ..SBI_16 };

struct Sbi {
    identifier: bool,
    escaped: bool,
}

impl Sbi {
    fn frame(&self, display: &Display) -> String {
        let net = display.net_g();
        let sign = if net < 0 { '-' } else { '+' };
        let (identifier, field) = match display.range {
            Range::Over => ("Stat", format!("{:>8}{:6}", 'H', "")),
            Range::Under => ("Stat", format!("{:>8}{:6}", 'L', "")),
            Range::Within => {
                let unit = if display.moving { "" } else { "kg" };
                let name = if display.is_net() { "N" } else { "G" };
                (name, format!("{sign}{:>9} {unit:<3}", kilograms(net.abs())))
            }
        };
        if self.identifier { format!("{identifier:<6}{field}\r\n") } else { format!("{field}\r\n") }
    }
}

impl VirtualScale for Sbi {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == 0x1b;
            return None;
        }
        match byte {
            b'P' => Answer::say(self.frame(display)),
            b'T' | b'U' => Answer::change(Change::Tare, []),
            b'V' => Answer::change(Change::Zero, []),
            _ => None,
        }
    }
}
