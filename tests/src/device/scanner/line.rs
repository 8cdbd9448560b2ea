//! Scanners that send lines and know nothing of a host but its bell.

use std::time::Duration;

use super::{Io, Model, Sounds, VirtualScanner};
use crate::device::uart::Line;

static BELLS: Sounds = Sounds {
    good: &["bell"],
    heard: &["bell", "bell"],
    unknown: &["bell", "bell", "bell"],
    refused: &["bell", "bell", "bell"],
    repeated: &["bell", "bell", "bell"],
    not_stored: &["bell", "bell", "bell"],
};

const LINE: Model = Model {
    name: "line",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    sounds: &BELLS,
    packets: false,
    can_be_switched_off: false,
    power_on: || Firmware::boxed(b"", b"\r", b'\x1d'),
};

/// CR after each read.
pub(super) static PLAIN: Model = Model { variant: "CR", config: "feedback = \"bell\"\n", ..LINE };

/// Between STX and ETX, and at the speed of many USB scanners.
pub(super) static FRAMED: Model = Model {
    variant: "STX, ETX",
    line: Line::eight(115_200),
    config: "feedback = \"bell\"\nline = \"115200 8N1\"\nprefix = \"\\u0002\"\nsuffix = \"\\u0003\"\n",
    power_on: || Firmware::boxed(b"\x02", b"\x03", b'\x1d'),
    ..LINE
};

/// Nothing before and nothing after: the pause is the end.
pub(super) static PAUSING: Model = Model {
    variant: "a pause",
    config: "feedback = \"bell\"\nsuffix = \"\"\ngap_ms = 60\n",
    power_on: || Firmware::boxed(b"", b"", b'\x1d'),
    ..LINE
};

/// CR LF, and a tilde where GS should be.
pub(super) static SUBSTITUTING: Model = Model {
    variant: "CR LF, ~ for GS",
    config: "feedback = \"bell\"\nsuffix = \"\\r\\n\"\ngs_substitute = \"~\"\n",
    power_on: || Firmware::boxed(b"", b"\r\n", b'~'),
    ..LINE
};

/// What a read looks like, and whatever the host's bytes do.
pub(super) struct Firmware {
    prefix: &'static [u8],
    suffix: &'static [u8],
    gs: u8,
}

impl Firmware {
    fn boxed(prefix: &'static [u8], suffix: &'static [u8], gs: u8) -> Box<dyn VirtualScanner> {
        Box::new(Self { prefix, suffix, gs })
    }
}

impl VirtualScanner for Firmware {
    fn scan(&mut self, _now: Duration, code: &str, io: &mut Io) {
        let code = code.bytes().map(|byte| if byte == 0x1d { self.gs } else { byte });
        io.send([self.prefix, &code.collect::<Vec<_>>(), self.suffix].concat());
    }

    fn handle_byte(&mut self, _now: Duration, byte: u8, io: &mut Io) {
        if byte == 0x07 {
            io.sound("bell");
        }
    }
}
