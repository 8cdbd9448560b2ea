//! Dibal point-of-sale scales, the short dialect: asked with a price, answered in grams.

use super::{Answer, CommandLine, Display, Model, Range, VirtualScale};
use crate::device::uart::Line;

pub(super) const DIBAL: Model = Model {
    name: "dibal",
    variant: "",
    line: Line::eight(9_600),
    config: "unit = \"kg\"\n",
    power_on: || Box::new(Dibal { command: CommandLine::default() }),
};

struct Dibal {
    command: CommandLine,
}

/// The last character: all before it, XORed.
fn check(text: &str) -> char {
    char::from(text.bytes().fold(0, |check, byte| check ^ byte))
}

impl VirtualScale for Dibal {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let command = self.command.push(byte)?;
        let (body, sum) = command.split_at_checked(command.len().checked_sub(1)?)?;
        if !body.starts_with("98") || body.len() != 7 || sum != check(body).to_string() {
            return None;
        }
        let net = display.net_g();
        let good = !display.moving && display.range == Range::Within && net >= 0;
        let text = if good { format!("990{net:05}0000000") } else { "991000000000000".into() };
        Answer::say(format!("{text}{}\r\n", check(&text)))
    }
}
