//! Properties of the serial link: however the bytes are cut, mixed with noise or bent, the frames are the same or
//! missing, never others; and what was sent with a number arrives once.
#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do: loudly and at the line.

use proptest::collection::vec;
use proptest::prelude::*;
use stockwire_protocol::link::{
    Ack, Arrival, BootNonce, Capabilities, Counters, DELIMITER, Decoder, Event, FRAME_MAX, Frame, FrameError,
    Hello, Host, Identity, Kind, Message, NackReason, PAYLOAD_MAX, Poll, Range, Sequence, Unit, VERSION,
    WIRE_MAX, Weight, cobs_decode, cobs_encode,
};

/// A frame without borrowed parts, as the tests compare it.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    kind: u8,
    sequence: u16,
    payload: Vec<u8>,
}

impl Sent {
    fn wire(&self) -> Vec<u8> {
        let mut out = [0; WIRE_MAX];
        let frame = Frame::new(Kind(self.kind), Sequence(self.sequence), &self.payload);
        let len = frame.encode_into(&mut out).unwrap();
        out[..len].to_vec()
    }
}

/// Everything a line decodes to, and its counters.
fn decode<const N: usize>(bytes: &[u8]) -> (Vec<Result<Sent, FrameError>>, Counters) {
    let mut decoder = Decoder::<N>::new();
    let mut seen = Vec::new();
    for &byte in bytes {
        if let Some(verdict) = decoder.push(byte) {
            seen.push(verdict.map(|frame| Sent {
                kind: frame.kind.0,
                sequence: frame.sequence.0,
                payload: frame.payload.to_vec(),
            }));
        }
    }
    (seen, decoder.counters())
}

fn sound<const N: usize>(bytes: &[u8]) -> Vec<Sent> {
    decode::<N>(bytes).0.into_iter().flatten().collect()
}

prop_compose! {
    fn any_frame()(kind: u8, sequence: u16, payload in vec(prop_oneof![Just(0), any::<u8>()], 0..=PAYLOAD_MAX)) -> Sent {
        Sent { kind, sequence, payload }
    }
}

proptest! {
    #[test]
    fn cobs_comes_back_and_holds_no_zero(plain in vec(prop_oneof![Just(0), any::<u8>()], 0..1000)) {
        let mut stuffed = vec![0; plain.len() + plain.len() / 254 + 1];
        let len = cobs_encode(&plain, &mut stuffed).unwrap();
        prop_assert!(!stuffed[..len].contains(&DELIMITER));
        let mut back = vec![0; plain.len()];
        prop_assert_eq!(cobs_decode(&stuffed[..len], &mut back), Some(plain.len()));
        prop_assert_eq!(back, plain);
    }

    #[test]
    fn frames_come_back_in_order(frames in vec(any_frame(), 0..8), flushes in vec(0usize..3, 8)) {
        let mut line = Vec::new();
        for (frame, &flush) in frames.iter().zip(&flushes) {
            line.extend(std::iter::repeat_n(DELIMITER, flush));
            line.extend(frame.wire());
        }
        let (seen, counters) = decode::<FRAME_MAX>(&line);
        prop_assert_eq!(counters, Counters { sound: frames.len() as u32, ..Counters::default() });
        prop_assert_eq!(seen, frames.into_iter().map(Ok).collect::<Vec<_>>());
    }

    /// A byte lost between two frames' delimiters costs that frame and no other.
    #[test]
    fn a_lost_byte_costs_one_frame(frames in vec(any_frame(), 3), at: prop::sample::Index) {
        let mut middle = frames[1].wire();
        middle.remove(at.index(middle.len() - 1));
        let line = [frames[0].wire(), middle, frames[2].wire()].concat();
        let (seen, counters) = decode::<FRAME_MAX>(&line);
        prop_assert_eq!(seen.len(), 3);
        prop_assert_eq!(seen[0].as_ref(), Ok(&frames[0]));
        prop_assert_eq!(seen[2].as_ref(), Ok(&frames[2]));
        // Removing a byte shifts the rest: the CRC tells it, but for the odds that `a_flipped_bit` measures.
        prop_assert_eq!(counters.lost() + counters.sound, 3);
    }

    #[test]
    fn half_a_frame_before_a_flush_costs_nothing_else(half in any_frame(), whole in any_frame(), cut: prop::sample::Index) {
        let half = half.wire();
        let line = [&half[..cut.index(half.len())], &[DELIMITER], &whole.wire()[..]].concat();
        prop_assert_eq!(sound::<FRAME_MAX>(&line).pop(), Some(whole));
    }

    #[test]
    fn noise_never_panics_and_is_counted(noise in vec(any::<u8>(), 0..2000), frame in any_frame()) {
        let line = [&noise[..], &[DELIMITER], &frame.wire()[..]].concat();
        let (seen, counters) = decode::<FRAME_MAX>(&line);
        prop_assert_eq!(seen.last(), Some(&Ok(frame)));
        prop_assert_eq!(seen.len(), (counters.sound + counters.lost()) as usize);
        // A short decoder meets the same bytes: nothing is written past its end.
        prop_assert!(sound::<8>(&line).iter().all(|frame| frame.payload.len() <= 2));
        let mut host = Host::new();
        for &byte in &line {
            host.handle_byte(byte);
            while host.poll_transmit().is_some() {}
        }
    }

    #[test]
    fn any_payload_parses_or_is_refused(frame in any_frame(), kind in prop_oneof![Just(1u8), Just(2), Just(16), Just(32), Just(33)]) {
        let frame = Frame::new(Kind(kind), Sequence(frame.sequence), &frame.payload);
        if let Ok(message) = Message::parse(&frame) {
            let wire = message.to_wire(frame.sequence);
            let again = sound::<FRAME_MAX>(wire.as_bytes());
            prop_assert_eq!(again[0].payload.as_slice(), frame.payload, "what was read is what was written");
        }
    }

    #[test]
    fn sequences_step_over_live_and_count_across_the_wrap(start in 1u16.., steps in 0u16..300) {
        let from = Sequence(start);
        let to = (0..steps).fold(from, |sequence, _| sequence.next());
        prop_assert!(to.is_numbered());
        prop_assert_eq!(to.steps_after(from), steps);
    }
}

/// Every single bit of a frame flipped, on some thousand frames: what comes out is a frame that was sent, or none.
/// Only a flip in a COBS code byte moves other bytes, and then one in 65,536 may pass the CRC; with this fixed seed
/// none does.
#[test]
fn a_flipped_bit_is_always_noticed() {
    let mut random = 0x5EED_0001_u64;
    let mut flips = 0;
    for round in 0..1_000 {
        let payload: Vec<u8> = (0..round % 33).map(|_| next(&mut random) as u8 & 0x3F).collect();
        let sent = Sent { kind: 2, sequence: next(&mut random) as u16, payload };
        let after = Sent { kind: 7, sequence: 0, payload: vec![0x39, 0x30] };
        let line = [sent.wire(), after.wire(), after.wire()].concat();
        for bit in 0..sent.wire().len() * 8 {
            let mut bent = line.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let frames = sound::<FRAME_MAX>(&bent);
            assert!(
                frames.iter().all(|frame| *frame == sent || *frame == after),
                "seed frame {round}, bit {bit}"
            );
            assert_ne!(frames.first(), Some(&sent), "seed frame {round}, bit {bit}");
            assert_eq!(frames.last(), Some(&after), "the line recovers");
            flips += 1;
        }
    }
    assert!(flips > 150_000);
}

/// Xorshift: the same frames on every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn each_loss_has_its_counter() {
    let good = Sent { kind: 7, sequence: 0, payload: vec![0x39, 0x30] }.wire();
    let mut line = Vec::new();
    line.extend(&good);
    line.extend(&good[..4]);
    line.push(0); // torn inside a block
    line.extend([0x03, 0x01, 0x02, 0x00]); // torn: no room for a CRC
    let mut noisy = good.clone();
    noisy[5] ^= 1;
    line.extend(&noisy);
    line.extend([0x55; 300]); // too long
    line.push(0);
    line.extend([0, 0, 0]); // flushes count as nothing
    let foreign = Frame { version: VERSION + 1, kind: Kind(7), sequence: Sequence::LIVE, payload: &[] };
    let mut out = [0; WIRE_MAX];
    let len = foreign.encode_into(&mut out).unwrap();
    line.extend(&out[..len]);
    let (seen, counters) = decode::<FRAME_MAX>(&line);
    assert_eq!(counters, Counters { sound: 1, torn: 2, noisy: 1, too_long: 1, foreign_version: 1 });
    assert_eq!(counters.lost(), 5);
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[4], Err(FrameError::TooLong));
    assert_eq!(seen[5], Err(FrameError::ForeignVersion { version: 2 }));
}

#[test]
fn a_frame_that_fits_no_buffer_is_refused() {
    let payload = [1; PAYLOAD_MAX + 1];
    let mut out = [0; WIRE_MAX];
    assert!(Frame::new(Kind(7), Sequence::LIVE, &payload).encode_into(&mut out).is_err());
    let largest = Frame::new(Kind(7), Sequence(0x0101), &payload[1..]);
    let len = largest.encode_into(&mut out).unwrap();
    assert_eq!(len, WIRE_MAX);
    assert!(largest.encode_into(&mut out[..WIRE_MAX - 1]).is_err());
}

// ---- The host end, played through as a script.

const NONCE: BootNonce = BootNonce(7);

fn hello(boot_nonce: BootNonce) -> Message {
    let identity = Identity::new("cell").unwrap();
    Message::Hello(Hello { boot_nonce, capabilities: Capabilities::LOAD_CELL, firmware: [0, 1, 0], identity })
}

fn grams(net: i32) -> Weight {
    let unit = Unit::Gram;
    Weight {
        stable: true,
        range: Range::Within,
        at_zero: false,
        unit,
        decimals: 0,
        raw: 0,
        net,
        tare: 0,
        age_ms: 0,
    }
}

#[track_caller]
fn hears(host: &mut Host, sequence: u16, message: Message) -> Event {
    let wire = message.to_wire(Sequence(sequence));
    let mut events = wire.as_bytes().iter().filter_map(|&byte| host.handle_byte(byte));
    let event = events.next().unwrap();
    assert_eq!(events.next(), None);
    event
}

#[track_caller]
fn says(host: &mut Host) -> Vec<Message> {
    let mut said = Vec::new();
    while let Some(wire) = host.poll_transmit() {
        let mut decoder: Decoder = Decoder::new();
        for &byte in wire.as_bytes() {
            if let Some(frame) = decoder.push(byte) {
                said.push(Message::parse(&frame.unwrap()).unwrap());
            }
        }
    }
    said
}

fn ack(boot_nonce: BootNonce, sequence: u16) -> Message {
    Message::Ack(Ack { boot_nonce, sequence: Sequence(sequence) })
}

#[test]
fn a_capture_is_handed_out_once_and_acknowledged_when_it_is_safe() {
    let mut host = Host::new();
    assert_eq!(says(&mut host), []);
    host.greet();
    assert_eq!(host.poll_transmit().unwrap().as_bytes()[0], DELIMITER, "ends a half frame in the peripheral");
    assert!(matches!(hears(&mut host, 1, hello(NONCE)), Event::Hello { arrival: Arrival::First, .. }));
    assert_eq!(says(&mut host), [ack(NONCE, 1)]);

    let weight = grams(1250);
    let captured = Event::Captured { sequence: Sequence(2), weight, lost: 0 };
    assert_eq!(hears(&mut host, 2, Message::Weight(weight)), captured);
    assert_eq!(says(&mut host), [], "not before it is in the journal");
    assert_eq!(hears(&mut host, 2, Message::Weight(weight)), Event::Repeated { sequence: Sequence(2) });
    assert_eq!(says(&mut host), []);
    host.acknowledge(Sequence(2));
    assert_eq!(says(&mut host), [ack(NONCE, 2)]);
    // The acknowledgement was lost on the line.
    assert_eq!(hears(&mut host, 2, Message::Weight(weight)), Event::Repeated { sequence: Sequence(2) });
    assert_eq!(says(&mut host), [ack(NONCE, 2)]);
    // Two facts had no room.
    assert!(matches!(hears(&mut host, 5, Message::Weight(weight)), Event::Captured { lost: 2, .. }));
}

#[test]
fn a_restart_starts_the_numbers_over() {
    let mut host = Host::new();
    hears(&mut host, 1, hello(NONCE));
    hears(&mut host, 2, Message::Weight(grams(1)));
    let reborn = BootNonce(8);
    assert!(matches!(hears(&mut host, 1, hello(reborn)), Event::Hello { arrival: Arrival::Restarted, .. }));
    // The journal took its time: the number belongs to a life that is over.
    host.acknowledge(Sequence(2));
    assert_eq!(says(&mut host), [ack(reborn, 1)]);
    let event = hears(&mut host, 2, Message::Weight(grams(2)));
    assert_eq!(event, Event::Captured { sequence: Sequence(2), weight: grams(2), lost: 0 });
    assert!(matches!(hears(&mut host, 1, hello(reborn)), Event::Hello { arrival: Arrival::Again, .. }));
    assert!(
        matches!(hears(&mut host, 2, Message::Weight(grams(2))), Event::Repeated { .. }),
        "not turned back"
    );
}

#[test]
fn a_host_that_joins_late_asks_before_it_believes() {
    let mut host = Host::new();
    assert_eq!(hears(&mut host, 9, Message::Weight(grams(3))), Event::Early { sequence: Sequence(9) });
    assert_eq!(says(&mut host), [Message::Poll(Poll::Hello)]);
    assert!(matches!(hears(&mut host, 0, hello(NONCE)), Event::Hello { arrival: Arrival::First, .. }));
    assert_eq!(says(&mut host), [], "a hello that was asked for needs no answer");
    assert!(matches!(hears(&mut host, 9, Message::Weight(grams(3))), Event::Captured { lost: 0, .. }));
}

#[test]
fn live_weights_are_asked_for_and_need_no_answer() {
    let mut host = Host::new();
    host.ask_weight();
    host.ask_weight();
    assert_eq!(says(&mut host), [Message::Poll(Poll::Weight)]);
    assert_eq!(hears(&mut host, 0, Message::Weight(grams(4))), Event::Live(grams(4)));
    assert_eq!(says(&mut host), []);
}

#[test]
fn a_fact_nobody_can_read_does_not_block_the_line() {
    let mut host = Host::new();
    hears(&mut host, 1, hello(NONCE));
    says(&mut host);
    let newer = Sent { kind: 0x7E, sequence: 2, payload: vec![1] }.wire();
    assert!(
        newer
            .iter()
            .filter_map(|&byte| host.handle_byte(byte))
            .any(|e| matches!(e, Event::Unreadable { .. }))
    );
    let said = says(&mut host);
    assert!(
        matches!(said[..], [Message::Nack(nack)] if nack.sequence == Sequence(2) && nack.reason == NackReason::UnknownKind),
        "{said:?}"
    );
    assert!(matches!(hears(&mut host, 3, Message::Weight(grams(5))), Event::Captured { lost: 0, .. }));
}
