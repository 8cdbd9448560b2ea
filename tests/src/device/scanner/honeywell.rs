//! Honeywell: lines out, ESC and a digit back. Set up as the manual of the agent says: "Host ACK" on, good-read beep off.

use std::time::Duration;

use super::{Io, Model, Sounds, VirtualScanner};
use crate::device::uart::Line;

/// A Xenon at its factory speed.
pub(super) static XENON: Model = Model {
    name: "honeywell",
    variant: "",
    line: Line::eight(115_200),
    config: "line = \"115200 8N1\"\n",
    sounds: &Sounds {
        good: &["good read"],
        heard: &["high"],
        unknown: &["low", "low"],
        refused: &["error"],
        repeated: &["high", "high"],
        not_stored: &["error", "error", "error"],
    },
    packets: false,
    can_be_switched_off: false,
    power_on: || Box::new(Xenon { escaped: false, lamp_off: None }),
};

struct Xenon {
    escaped: bool,
    lamp_off: Option<Duration>,
}

impl VirtualScanner for Xenon {
    fn scan(&mut self, _now: Duration, code: &str, io: &mut Io) {
        io.send(format!("{code}\r"));
    }

    fn handle_byte(&mut self, now: Duration, byte: u8, io: &mut Io) {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == 0x1b;
            return;
        }
        let lamp = |time_ms| Some(now + Duration::from_millis(time_ms));
        match byte {
            b'1' => self.lamp_off = lamp(135),
            b'2' => self.lamp_off = lamp(2_000),
            b'3' => self.lamp_off = lamp(5_000),
            b'4' => io.sound("low"),
            b'5' => io.sound("middle"),
            b'6' => io.sound("high"),
            b'7' => io.sound("good read"),
            b'8' => io.sound("error"),
            _ => {}
        }
        if matches!(byte, b'1'..=b'3') {
            io.set_lamp(true);
        }
    }

    fn handle_time(&mut self, now: Duration, io: &mut Io) {
        if self.lamp_off.take_if(|due| *due <= now).is_some() {
            io.set_lamp(false);
        }
    }
}
