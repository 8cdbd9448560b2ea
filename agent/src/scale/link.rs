//! Load cells built with firmware-bridge: binary frames, polled, and captures that are repeated until acknowledged.
//!
//! The frame is drawn on [`stockwire_protocol::link::Frame`], the weight on [`stockwire_protocol::link::Weight`].
//! Line: 115200 8N1.
//!
//! A capture is acknowledged when the station takes the reading, which is as much as any other scale's display is kept.
//! One that waited for its host says its age; what is too old for the scan at hand is for the station to say.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use stockwire_protocol::link::{
    self, BAUD, DELIMITER, Event, FRAME_MAX, FrameError, Host, MessageError, NackReason, Sequence, WIRE_MAX,
    Weight,
};

use super::{
    FaultKind, FrameFault, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source,
    Stability, Unit,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Link;

impl ScaleProtocol for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn title(&self) -> &'static str {
        "Stockwire load cell (firmware-bridge)"
    }

    fn line(&self) -> LineSettings {
        LineSettings { baud: BAUD, ..LineSettings::DEFAULT }
    }

    fn decoder(&self, _options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        // A weight always carries its unit, so there is nothing to set.
        Box::new(Decoder { host: Host::new(), introduced: false, raw: Vec::new(), replies: VecDeque::new() })
    }
}

struct Decoder {
    host: Host,
    /// Whether the load cell has said hello since the port was opened.
    introduced: bool,
    /// The bytes since the last delimiter; at most `WIRE_MAX`, of a longer frame the beginning.
    raw: Vec<u8>,
    replies: VecDeque<Reply>,
}

/// One reply, and what is to be acknowledged once it is taken.
struct Reply {
    reading: Result<Reading, FrameFault>,
    capture: Option<Sequence>,
}

impl ScaleDecoder for Decoder {
    fn request(&mut self) -> Option<Vec<u8>> {
        if !self.introduced {
            self.host.greet();
        }
        self.host.ask_weight();
        self.poll_transmit()
    }

    fn handle_bytes(&mut self, _now: Duration, bytes: &[u8]) {
        for &byte in bytes {
            if self.raw.len() < WIRE_MAX {
                self.raw.push(byte);
            }
            let event = self.host.handle_byte(byte);
            if byte == DELIMITER {
                let raw = mem::take(&mut self.raw);
                if let Some(event) = event {
                    self.handle_event(event, raw);
                }
            }
        }
    }

    fn poll_reply(&mut self) -> Option<Result<Reading, FrameFault>> {
        let reply = self.replies.pop_front()?;
        if let Some(sequence) = reply.capture {
            self.host.acknowledge(sequence);
        }
        Some(reply.reading)
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(wire) = self.host.poll_transmit() {
            bytes.extend_from_slice(wire.as_bytes());
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    fn handle_end(&mut self) {
        if !self.raw.is_empty() {
            let raw = mem::take(&mut self.raw);
            self.fault(FaultKind::Truncated, raw);
        }
    }

    fn buffered(&self) -> usize {
        self.raw.len()
    }
}

impl Decoder {
    fn handle_event(&mut self, event: Event, raw: Vec<u8>) {
        match event {
            Event::Live(weight) => self.weight(weight, None, raw),
            Event::Captured { sequence, weight, lost } => {
                if lost > 0 {
                    self.fault(
                        FaultKind::Device { what: "it had no room to keep all captured weights" },
                        raw.clone(),
                    );
                }
                self.weight(weight, Some(sequence), raw);
            }
            Event::Refused(nack) => match nack.reason {
                NackReason::NotReady => {
                    let status = Reading::status(Stability::Unknown, Range::Unknown, &raw);
                    self.replies.push_back(Reply { reading: Ok(status), capture: None });
                }
                NackReason::UnknownKind | NackReason::BadPayload => {
                    self.fault(FaultKind::Device { what: "it does not understand the request" }, raw);
                }
                NackReason::Unsupported => self.fault(FaultKind::Device { what: "it is no load cell" }, raw),
            },
            Event::Hello { .. } => {
                self.introduced = true;
                self.fault(FaultKind::OtherReply, raw);
            }
            // Handed out before, or to come again after the hello.
            Event::Repeated { .. } => {}
            Event::Early { .. } => self.fault(FaultKind::OtherReply, raw),
            Event::Unreadable { error: MessageError::UnknownKind { .. }, .. } => {
                self.fault(FaultKind::OtherReply, raw)
            }
            Event::Unreadable { error: MessageError::BadPayload { .. }, .. } => {
                self.fault(FaultKind::Malformed { expected: "expected a message of link version 1" }, raw);
            }
            Event::Garbled(error) => {
                let kind = match error {
                    FrameError::Torn => FaultKind::Truncated,
                    FrameError::Noisy { .. } => FaultKind::Checksum,
                    FrameError::TooLong => FaultKind::TooLong { max: FRAME_MAX },
                    FrameError::ForeignVersion { .. } => {
                        FaultKind::Malformed { expected: "expected link version 1" }
                    }
                };
                self.fault(kind, raw);
            }
        }
    }

    fn weight(&mut self, weight: Weight, capture: Option<Sequence>, raw: Vec<u8>) {
        let bytes = raw.len();
        let reading = read(&weight, &raw).map_err(|kind| FrameFault { kind, raw, bytes });
        self.replies.push_back(Reply { reading, capture });
    }

    fn fault(&mut self, kind: FaultKind, raw: Vec<u8>) {
        let bytes = raw.len();
        self.replies.push_back(Reply { reading: Err(FrameFault { kind, raw, bytes }), capture: None });
    }
}

fn read(weight: &Weight, raw: &[u8]) -> Result<Reading, FaultKind> {
    let range = match weight.range {
        link::Range::Within => Range::Ok,
        link::Range::Over => Range::Over,
        link::Range::Under => Range::Under,
    };
    let stability = if weight.stable { Stability::Stable } else { Stability::Moving };
    if range != Range::Ok {
        return Ok(Reading { age_ms: weight.age_ms, ..Reading::status(stability, range, raw) });
    }
    let unit = match weight.unit {
        link::Unit::Counts => return Err(FaultKind::Device { what: "it is not calibrated" }),
        link::Unit::Gram => Unit::Gram,
        link::Unit::Kilogram => Unit::Kilogram,
        link::Unit::Pound => Unit::Pound,
    };
    let shown = |steps| Shown { steps: i64::from(steps), decimals: weight.decimals };
    Ok(Reading {
        value: Some(shown(weight.net)),
        unit: Some(unit),
        unit_source: Source::Reported,
        stability,
        stability_source: Source::Reported,
        range,
        net: Net::Net,
        zero: Some(weight.at_zero),
        tare: Some(shown(weight.tare)),
        age_ms: weight.age_ms,
        raw: raw.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::link::{Ack, BootNonce, Capabilities, Hello, Identity, Message, Nack, Poll};

    use super::*;

    const NONCE: BootNonce = BootNonce(7);

    fn hello() -> Message {
        let identity = Identity::new("cell").unwrap();
        Message::Hello(Hello {
            boot_nonce: NONCE,
            capabilities: Capabilities::LOAD_CELL,
            firmware: [1, 0, 0],
            identity,
        })
    }

    fn weight(net: i32) -> Weight {
        Weight {
            stable: true,
            range: link::Range::Within,
            at_zero: false,
            unit: link::Unit::Kilogram,
            decimals: 3,
            raw: 1,
            net,
            tare: 0,
            age_ms: 40,
        }
    }

    fn bytes(sequence: u16, message: Message) -> Vec<u8> {
        message.to_wire(Sequence(sequence)).as_bytes().to_vec()
    }

    fn replies(decoder: &mut dyn ScaleDecoder) -> Vec<String> {
        let print = |reply: Result<Reading, FrameFault>| match reply {
            Ok(Reading { value: Some(value), unit: Some(unit), stability, age_ms, .. }) => {
                format!("{value} {} {}, {age_ms} ms", unit.as_str(), stability.as_str())
            }
            Ok(reading) => format!("no weight, {}, {}", reading.stability.as_str(), reading.range.as_str()),
            Err(fault) => fault.kind.as_str().to_string(),
        };
        std::iter::from_fn(|| decoder.poll_reply()).map(print).collect()
    }

    fn check(bytes: &[u8], expected: &[&str]) {
        let mut whole = Link.decoder(&ScaleOptions::default());
        whole.handle_bytes(Duration::ZERO, bytes);
        whole.handle_end();
        assert_eq!(replies(&mut *whole), expected);
        let mut split = Link.decoder(&ScaleOptions::default());
        bytes.iter().for_each(|byte| split.handle_bytes(Duration::ZERO, &[*byte]));
        split.handle_end();
        assert_eq!(replies(&mut *split), expected, "byte by byte");
    }

    /// What the decoder said, as a load cell reads it.
    fn said(bytes: Option<Vec<u8>>) -> Vec<Message> {
        let mut line: link::Decoder = link::Decoder::new();
        let mut messages = Vec::new();
        for byte in bytes.unwrap_or_default() {
            if let Some(frame) = line.push(byte) {
                messages.push(Message::parse(&frame.unwrap()).unwrap());
            }
        }
        messages
    }

    #[test]
    fn weights() {
        let live = |weight| bytes(0, Message::Weight(weight));
        check(&live(weight(1_250)), &["1.250 kg stable, 40 ms"]);
        check(&live(Weight { stable: false, ..weight(-5) }), &["-0.005 kg moving, 40 ms"]);
        check(
            &live(Weight { range: link::Range::Over, stable: false, ..weight(9) }),
            &["no weight, moving, over"],
        );
        check(
            &live(Weight { range: link::Range::Under, stable: false, ..weight(9) }),
            &["no weight, moving, under"],
        );
        check(&live(Weight { unit: link::Unit::Counts, ..weight(9) }), &["device"]);
        let refused =
            |reason| bytes(0, Message::Nack(Nack { boot_nonce: NONCE, sequence: Sequence(1), reason }));
        check(&refused(NackReason::NotReady), &["no weight, unknown, unknown"]);
        check(&refused(NackReason::Unsupported), &["device"]);
    }

    #[test]
    fn damage_is_told_and_the_next_frame_is_read() {
        let good = bytes(0, Message::Weight(weight(7)));
        let mut noisy = good.clone();
        noisy[7] ^= 1;
        let line = [&good[..5], &[0], &noisy, &[0x55; 400], &[0], &good[..], &good[..4]].concat();
        check(&line, &["truncated", "checksum", "too_long", "0.007 kg stable, 40 ms", "truncated"]);
    }

    #[test]
    fn it_greets_until_it_knows_who_is_there() {
        let mut decoder = Link.decoder(&ScaleOptions::default());
        let both = [Message::Poll(Poll::Hello), Message::Poll(Poll::Weight)];
        assert_eq!(said(decoder.request()), both);
        assert_eq!(said(decoder.request()), both);
        decoder.handle_bytes(Duration::ZERO, &bytes(0, hello()));
        assert_eq!(said(decoder.request()), [Message::Poll(Poll::Weight)]);
    }

    #[test]
    fn a_capture_is_read_once_and_acknowledged_when_taken() {
        let mut decoder = Link.decoder(&ScaleOptions::default());
        let capture = bytes(2, Message::Weight(weight(1_250)));
        decoder.handle_bytes(Duration::ZERO, &capture);
        assert_eq!(said(decoder.poll_transmit()), [Message::Poll(Poll::Hello)], "whose number 2 is that?");
        decoder.handle_bytes(Duration::ZERO, &bytes(1, hello()));
        let ack = |sequence| Message::Ack(Ack { boot_nonce: NONCE, sequence: Sequence(sequence) });
        assert_eq!(said(decoder.poll_transmit()), [ack(1)]);
        decoder.handle_bytes(Duration::ZERO, &capture);
        decoder.handle_bytes(Duration::ZERO, &capture);
        assert_eq!(said(decoder.poll_transmit()), []);
        assert_eq!(replies(&mut *decoder), ["other_reply", "other_reply", "1.250 kg stable, 40 ms"]);
        assert_eq!(said(decoder.poll_transmit()), [ack(2)]);
        decoder.handle_bytes(Duration::ZERO, &bytes(5, Message::Weight(weight(3))));
        assert_eq!(replies(&mut *decoder), ["device", "0.003 kg stable, 40 ms"], "two were lost");
    }
}
