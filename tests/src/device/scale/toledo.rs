//! Toledo 8217, which is asked, and Toledo continuous, which never stops.

use std::time::Duration;

use super::{Answer, Change, Display, Model, Pace, Range, VirtualScale};
use crate::device::uart::{Line, Parity};

pub(super) const T8217: Model = Model {
    name: "toledo-8217",
    variant: "bit 5 tells net",
    line: Line::seven(9_600, Parity::Even),
    config: "unit = \"kg\"\nstatus_bits = \"8217\"\n",
    power_on: || Box::new(T8217 { bit_5_is_net: true, echoing: false }),
};

pub(super) const BENCH_PRO: Model = Model {
    variant: "bit 5 always set",
    config: "unit = \"kg\"\n",
    power_on: || Box::new(T8217 { bit_5_is_net: false, echoing: false }),
    ..T8217
};

struct T8217 {
    bit_5_is_net: bool,
    echoing: bool,
}

/// Zero, tare and clear are done only after this long.
const CHANGE_DELAY: Duration = Duration::from_millis(150);

impl T8217 {
    fn status(&self, display: &Display) -> Vec<u8> {
        let bits = u8::from(display.moving)
            | u8::from(display.range == Range::Over) << 1
            | u8::from(display.range == Range::Under) << 2
            | u8::from(display.is_zero()) << 4
            | u8::from(display.is_net() || !self.bit_5_is_net) << 5
            | 1 << 6;
        vec![0x02, b'?', bits, b'\r']
    }

    fn weight(&self, display: &Display) -> Vec<u8> {
        let net = display.net_g();
        if display.moving || display.range != Range::Within || net < 0 {
            return self.status(display);
        }
        let legend = if display.is_net() { "N" } else { "" };
        format!("\x02{:02}.{:03}{legend}\r", net / 1_000, net % 1_000).into()
    }
}

impl VirtualScale for T8217 {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        if self.echoing {
            self.echoing = byte != b'F';
            return Answer::say([byte]);
        }
        let change = match byte {
            b'W' => return Answer::say(self.weight(display)),
            b'A' => return Answer::say(*b"\x02\r"),
            b'B' => return Answer::say(*b"\x02?@\r"),
            b'E' => {
                self.echoing = true;
                return Answer::say(*b"\x02E\r");
            }
            b'Z' => Change::Zero,
            b'T' => Change::Tare,
            b'C' => Change::ClearTare,
            // Anything else is answered by the status.
            _ => return Answer::say(self.status(display)),
        };
        Some(Answer { after: CHANGE_DELAY, bytes: self.status(display), change: Some(change) })
    }
}

pub(super) const CONTINUOUS: Model = Model {
    name: "toledo-continuous",
    variant: "with checksum",
    line: Line::seven(9_600, Parity::Even),
    config: "",
    power_on: || Box::new(Continuous { checksum: true, pace: Pace::times_a_second(7) }),
};

pub(super) const CONTINUOUS_BARE: Model = Model {
    variant: "without checksum",
    config: "checksum = false\n",
    power_on: || Box::new(Continuous { checksum: false, pace: Pace::times_a_second(7) }),
    ..CONTINUOUS
};

struct Continuous {
    checksum: bool,
    pace: Pace,
}

impl VirtualScale for Continuous {
    fn handle_byte(&mut self, _display: &Display, byte: u8) -> Option<Answer> {
        match byte {
            b'Z' => Answer::change(Change::Zero, []),
            b'T' => Answer::change(Change::Tare, []),
            b'C' => Answer::change(Change::ClearTare, []),
            _ => None,
        }
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        if !self.pace.is_due(now) {
            return None;
        }
        // Three decimals, steps of one.
        let status_a = 0b010_1101;
        let status_b = u8::from(display.is_net())
            | u8::from(display.net_g() < 0) << 1
            | u8::from(display.range != Range::Within) << 2
            | u8::from(display.moving) << 3
            | 0b011_0000;
        let mut frame = vec![0x02, status_a, status_b, b' '];
        frame.extend(format!("{:>6}{:>6}\r", display.net_g().abs(), display.tare_g).bytes());
        if self.checksum {
            let sum = frame.iter().fold(0u8, |sum, byte| sum.wrapping_add(byte & 0x7f));
            frame.push(sum.wrapping_neg() & 0x7f);
        }
        Some(frame)
    }
}
