//! Radwag, and Kern scales that speak KLB.

use super::{Answer, Change, CommandLine, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const RADWAG: Model = Model {
    name: "radwag",
    variant: "22 characters",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Radwag { wide: true, command: CommandLine::default() }),
};

pub(super) const NARROW: Model = Model {
    variant: "21 characters",
    power_on: || Box::new(Radwag { wide: false, command: CommandLine::default() }),
    ..RADWAG
};

struct Radwag {
    /// Newer indicators have one more space, before the stability.
    wide: bool,
    command: CommandLine,
}

impl Radwag {
    fn frame(&self, command: &str, display: &Display) -> String {
        let stability = match display.range {
            Range::Over => '^',
            Range::Under => 'v',
            Range::Within if display.moving => '?',
            Range::Within => ' ',
        };
        let net = display.net_g();
        let (sign, space) = (if net < 0 { '-' } else { ' ' }, if self.wide { " " } else { "" });
        format!("{command:<3}{space}{stability} {sign}{:>9} {:<3}\r\n", kilograms(net.abs()), "kg")
    }
}

impl VirtualScale for Radwag {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let command = self.command.push(byte)?;
        match command.as_str() {
            "SI" | "SUI" => Answer::say(self.frame(&command, display)),
            "S" | "SU" if display.moving => Answer::say(format!("{command} A\r\n{command} E\r\n")),
            "S" | "SU" => Answer::say(format!("{command} A\r\n{}", self.frame(&command, display))),
            "Z" => Answer::change(Change::Zero, "Z A\r\nZ D\r\n"),
            "T" => Answer::change(Change::Tare, "T A\r\nT D\r\n"),
            _ => Answer::say(*b"ES\r\n"),
        }
    }
}
