//! A load cell built with firmware-bridge, as far as a host can tell: it introduces itself and is asked.

use stockwire_protocol::link::{
    self, BAUD, BootNonce, Capabilities, Decoder, Hello, Identity, Message, Poll, Sequence, Unit, Weight,
};

use super::{Answer, Display, Model, Range, VirtualScale};
use crate::device::uart::Line;

pub(super) const LOAD_CELL: Model = Model {
    name: "link",
    variant: "",
    line: Line::eight(BAUD),
    config: "",
    power_on: || Box::new(LoadCell { line: Decoder::new() }),
};

struct LoadCell {
    line: Decoder,
}

fn hello() -> Option<Message> {
    Some(Message::Hello(Hello {
        boot_nonce: BootNonce(7),
        capabilities: Capabilities::LOAD_CELL,
        firmware: [1, 0, 0],
        identity: Identity::new("virtual").ok()?,
    }))
}

fn weight(display: &Display) -> Message {
    let range = match display.range {
        Range::Within => link::Range::Within,
        Range::Over => link::Range::Over,
        Range::Under => link::Range::Under,
    };
    Message::Weight(Weight {
        stable: !display.moving,
        range,
        at_zero: display.net_g() == 0,
        unit: Unit::Kilogram,
        decimals: 3,
        raw: display.gross_g as i32 * 10,
        net: display.net_g() as i32,
        tare: display.tare_g as i32,
        age_ms: 10,
    })
}

impl VirtualScale for LoadCell {
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer> {
        let frame = self.line.push(byte)?.ok()?;
        let (sequence, message) = match Message::parse(&frame).ok()? {
            Message::Poll(Poll::Hello) => (Sequence(1), hello()?),
            Message::Poll(Poll::Weight) => (Sequence(0), weight(display)),
            _ => return None,
        };
        Answer::say(message.to_wire(sequence).as_bytes())
    }
}
