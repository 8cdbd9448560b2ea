//! Gram K3, frame format PC0.

use super::{Answer, Change, Display, Model, Range, VirtualScale, kilograms};
use crate::device::uart::Line;

pub(super) const K3: Model = Model {
    name: "gram-k3",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    power_on: || Box::new(Indicator),
};

struct Indicator;

fn frame(display: &Display) -> Vec<u8> {
    let status = u8::from(!display.is_net())
        | u8::from(display.is_net()) << 1
        | u8::from(display.is_zero()) << 3
        | u8::from(!display.moving) << 6;
    let net = display.net_g();
    let sign = if net < 0 { '-' } else { ' ' };
    // What stands there for a load that cannot be weighed is an assumption: the display shows dashes.
    let digits = match display.range {
        Range::Within => kilograms(net.abs()),
        Range::Over | Range::Under => "-------".into(),
    };
    let mut frame = vec![0x02, status + 0x20];
    frame.extend(format!("{sign}{digits:>7}kg\r\x03").bytes());
    frame
}

impl VirtualScale for Indicator {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        match byte {
            b'$' => Answer::say(frame(display)),
            b'z' => Answer::change(Change::Zero, []),
            b't' => Answer::change(Change::Tare, []),
            // The next strength of its filter.
            b'f' => Answer::change(Change::Reset, []),
            b'v' => Answer::say(*b"GRAM K3 V1.00\r\n"),
            _ => None,
        }
    }
}
