//! CAS: 22 bytes with everything, ten bytes with next to nothing, and the handshake of PD-II.

use std::time::Duration;

use super::{Answer, Display, Model, Pace, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const CAS_22: Model = Model {
    name: "cas-22",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Stream { frame: frame_22, pace: Pace::times_a_second(8) }),
};

pub(super) const CAS_10: Model = Model {
    name: "cas-10",
    config: "unit = \"kg\"\n",
    power_on: || Box::new(Stream { frame: frame_10, pace: Pace::times_a_second(8) }),
    ..CAS_22
};

struct Stream {
    frame: fn(&Display) -> Option<Vec<u8>>,
    pace: Pace,
}

impl VirtualScale for Stream {
    fn handle_byte(&mut self, _display: &Display, _byte: u8) -> Option<Answer> {
        None
    }

    fn stream(&mut self, now: Duration, display: &Display) -> Option<Vec<u8>> {
        if self.pace.is_due(now) { (self.frame)(display) } else { None }
    }
}

fn frame_22(display: &Display) -> Option<Vec<u8>> {
    let state = match display.range {
        Range::Over | Range::Under => "OL",
        Range::Within if display.moving => "US",
        Range::Within => "ST",
    };
    let net = display.is_net();
    let lamps = 0x80
        | u8::from(state == "ST") << 6
        | u8::from(!net) << 2
        | u8::from(net) << 1
        | u8::from(display.is_zero());
    let mut frame = format!("{state},{},1", if net { "NT" } else { "GS" }).into_bytes();
    frame.push(lamps);
    frame.extend(format!(",{:>8} kg\r\n", kilograms(display.net_g())).bytes());
    Some(frame)
}

/// No status at all; that it says nothing of a load it cannot weigh is an assumption.
fn frame_10(display: &Display) -> Option<Vec<u8>> {
    (display.range == Range::Within).then(|| format!("{:>8}\r\n", kilograms(display.net_g())).into())
}

pub(super) const PD_II: Model =
    Model { name: "cas-pd2", power_on: || Box::new(Handshake { acknowledged: false }), ..CAS_22 };

struct Handshake {
    acknowledged: bool,
}

impl VirtualScale for Handshake {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        match byte {
            // Not ready with a load it cannot weigh: the frame has no place to say so.
            0x05 if display.range == Range::Over => Answer::say([0x15]),
            0x05 => {
                self.acknowledged = true;
                Answer::say([0x06])
            }
            0x11 if std::mem::take(&mut self.acknowledged) => {
                let state = if display.moving { 'U' } else { 'S' };
                let net = display.net_g();
                let sign = if net < 0 { '-' } else { ' ' };
                let body = format!("{state}{sign}{:0>6}kg", kilograms(net.abs()));
                let check = body.bytes().fold(0, |check, byte| check ^ byte);
                Answer::say([b"\x01\x02", body.as_bytes(), &[check, 0x03, 0x04]].concat())
            }
            _ => None,
        }
    }
}
