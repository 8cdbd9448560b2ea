//! Datalogic and PSC: lines out, single bytes back. This one is of the kind that stops at "not on file" until it is
//! enabled.

use std::time::Duration;

use super::{Io, Model, Sounds, VirtualScanner};
use crate::device::uart::Line;

/// A Magellan.
pub(super) static MAGELLAN: Model = Model {
    name: "datalogic",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    sounds: &Sounds {
        good: &["beep"],
        heard: &["beep", "beep"],
        unknown: &["not on file"],
        refused: &["not on file", "not on file"],
        repeated: &["beep", "beep", "beep"],
        not_stored: &["not on file", "not on file", "not on file"],
    },
    packets: false,
    can_be_switched_off: true,
    power_on: || Box::new(Magellan { reads: true }),
};

struct Magellan {
    reads: bool,
}

impl VirtualScanner for Magellan {
    fn scan(&mut self, _now: Duration, code: &str, io: &mut Io) {
        if self.reads {
            io.send(format!("{code}\r"));
        }
    }

    fn handle_byte(&mut self, _now: Duration, byte: u8, io: &mut Io) {
        match byte {
            b'E' => self.reads = true,
            b'D' => self.reads = false,
            b'F' => {
                self.reads = false;
                io.sound("not on file");
            }
            // Whatever the beeper is set to; `B` would be silent here.
            0x01 | 0x07 => io.sound("beep"),
            // Deaf for half a minute: an agent that sends it fails its test.
            b'R' => {
                self.reads = false;
                io.sound("reset");
            }
            _ => {}
        }
        io.set_reads(self.reads);
    }
}
