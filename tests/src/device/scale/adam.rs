//! Adam Equipment: CPWplus, which tells what it is asked for, and CBD, which prints each load once.

use std::time::Duration;

use super::{Answer, Change, CommandLine, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const CPW_PLUS: Model = Model {
    name: "adam-cpwplus",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(CpwPlus { command: CommandLine::default() }),
};

struct CpwPlus {
    command: CommandLine,
}

fn weight(name: &str, display: &Display, grams: i64) -> Option<Answer> {
    // What it says of a load that it cannot weigh is not in the manual: nothing, here.
    if display.range != Range::Within {
        return None;
    }
    let sign = if grams < 0 { '-' } else { '+' };
    Answer::say(format!("{name} {sign}{:>8} kg\r\n", kilograms(grams.abs())))
}

impl VirtualScale for CpwPlus {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        match self.command.push(byte)?.as_str() {
            "G" => weight("G/W", display, display.gross_g),
            "N" => weight("N/W", display, display.net_g()),
            "T" => weight("T/W", display, display.tare_g),
            "Z" => Answer::change(Change::Tare, []),
            _ => None,
        }
    }
}

pub(super) const CBD: Model = Model {
    name: "adam-cbd",
    line: Line::eight(4_800),
    power_on: || Box::new(Cbd { command: CommandLine::default(), printed_g: None }),
    ..CPW_PLUS
};

struct Cbd {
    command: CommandLine,
    /// The load that was printed; a repetition makes it beep and print nothing.
    printed_g: Option<i64>,
}

impl VirtualScale for Cbd {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let command = self.command.push(byte)?;
        match command.as_str() {
            "P" => {
                let net = display.net_g();
                let once = self.printed_g == Some(net) || display.is_zero();
                if display.moving || display.range != Range::Within || once {
                    return None;
                }
                self.printed_g = Some(net);
                Answer::say(format!("{:>9}kg\r\n", kilograms(net)))
            }
            "Z" => Answer::change(Change::Zero, []),
            "T" => Answer::change(Change::Tare, []),
            unknown => Answer::say(format!("ER {unknown}\r\n")),
        }
    }

    fn stream(&mut self, _now: Duration, display: &Display) -> Option<Vec<u8>> {
        if display.is_zero() {
            // The next load is a new one, even when it weighs the same.
            self.printed_g = None;
        }
        None
    }
}
