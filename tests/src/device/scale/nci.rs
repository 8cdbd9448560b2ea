//! NCI SCP-01 and its variant for cash registers.

use super::{Answer, Change, CommandLine, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::{Line, Parity};

pub(super) const SCP_01: Model = Model {
    name: "nci",
    variant: "",
    line: Line::seven(9_600, Parity::Even),
    config: "",
    power_on: || Box::new(Nci { ecr: false, command: CommandLine::default() }),
};

pub(super) const ECR: Model = Model {
    name: "nci-ecr",
    power_on: || Box::new(Nci { ecr: true, command: CommandLine::default() }),
    ..SCP_01
};

struct Nci {
    ecr: bool,
    command: CommandLine,
}

impl Nci {
    /// Three bytes: the second says that a third follows, which has gross and net.
    fn status(&self, display: &Display) -> String {
        let first = u8::from(display.moving) | u8::from(display.is_zero()) << 1;
        let second =
            u8::from(display.range == Range::Under) | u8::from(display.range == Range::Over) << 1 | 1 << 6;
        let third = u8::from(display.is_net()) << 2;
        let mut text = String::from(if self.ecr { "\nS" } else { "\n" });
        text.extend([first, second, third].map(|bits| char::from(bits | 0x30)));
        text + "\r\x03"
    }

    fn weight(&self, display: &Display) -> String {
        let status = self.status(display);
        let bad = display.moving || display.range != Range::Within || display.net_g() < 0;
        match (self.ecr, display.range) {
            (true, _) if bad => status,
            (true, _) => format!("\n{:0>6}KG\r{status}", kilograms(display.net_g())),
            (false, _) if display.moving => status,
            (false, Range::Over) => format!("\n^^^^^^^kg\r{status}"),
            (false, Range::Under) => format!("\n_______kg\r{status}"),
            (false, Range::Within) => format!("\n{:>7}kg\r{status}", kilograms(display.net_g())),
        }
    }
}

impl VirtualScale for Nci {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let command = self.command.push(byte)?;
        match command.as_str() {
            "W" | "H" => Answer::say(self.weight(display)),
            "S" => Answer::say(self.status(display)),
            "Z" => Answer::change(Change::Zero, self.status(display)),
            "T" => Answer::change(Change::Tare, self.status(display)),
            _ => Answer::say(*b"\n?\r\x03"),
        }
    }
}
