//! MT-SICS, in both dialects: the balance's own, and that of indicators which echo the command.

use std::time::Duration;

use super::{Answer, Change, CommandLine, Display, Model, Pace, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const MT_SICS: Model = Model {
    name: "mt-sics",
    variant: "balance",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Sics { echoes: false, command: CommandLine::default(), mode: Mode::Idle }),
};

pub(super) const ECHOING: Model = Model {
    variant: "echoing",
    power_on: || Box::new(Sics { echoes: true, command: CommandLine::default(), mode: Mode::Idle }),
    ..MT_SICS
};

struct Sics {
    echoes: bool,
    command: CommandLine,
    mode: Mode,
}

enum Mode {
    Idle,
    /// `S`: answers once the weight is stable, or gives up.
    Waiting(Option<Duration>),
    /// `SIR`
    Repeating(Pace),
}

/// `S` waits so long for a stable weight before it gives up, as the makers' default.
const STABLE_WAIT: Duration = Duration::from_secs(5);

impl Sics {
    fn weight(&self, command: &str, display: &Display) -> String {
        let first = if self.echoes { command } else { "S" };
        match display.range {
            Range::Over => format!("{first} +\r\n"),
            Range::Under => format!("{first} -\r\n"),
            Range::Within => {
                let state = if display.moving { 'D' } else { 'S' };
                let width = if self.echoes { 8 } else { 10 };
                format!("{first} {state} {:>width$} kg\r\n", kilograms(display.net_g()))
            }
        }
    }
}

impl VirtualScale for Sics {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let command = self.command.push(byte)?;
        self.mode = Mode::Idle;
        match command.as_str() {
            "S" => {
                self.mode = Mode::Waiting(None);
                None
            }
            "SI" => Answer::say(self.weight("SI", display)),
            "SIR" => {
                self.mode = Mode::Repeating(Pace::times_a_second(10));
                None
            }
            "Z" => Answer::change(Change::Zero, "Z A\r\n"),
            "T" => Answer::change(Change::Tare, format!("T S {:>10} kg\r\n", kilograms(display.gross_g))),
            "TA" => Answer::say(format!("TA A {:>10} kg\r\n", kilograms(display.tare_g))),
            "TAC" => Answer::change(Change::ClearTare, "TAC A\r\n"),
            "@" => Answer::change(Change::Reset, "I4 A \"VIRTUAL1\"\r\n"),
            "I4" => Answer::say("I4 A \"VIRTUAL1\"\r\n"),
            _ => Answer::say("ES\r\n"),
        }
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        match &mut self.mode {
            Mode::Idle => None,
            Mode::Waiting(until) => {
                let until = *until.get_or_insert(now + STABLE_WAIT);
                if display.moving && now < until {
                    return None;
                }
                self.mode = Mode::Idle;
                Some(if display.moving { "S I\r\n".into() } else { self.weight("S", display) }.into())
            }
            Mode::Repeating(pace) => pace.is_due(now).then(|| self.weight("SIR", display).into()),
        }
    }
}
