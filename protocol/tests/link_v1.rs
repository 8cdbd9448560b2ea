//! Golden bytes of link version 1. Peripherals in the field speak them: if this fails, change the code, not the test.
#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do: loudly and at the line.

use stockwire_protocol::link::{
    Ack, BootNonce, Capabilities, Decoder, Frame, Hello, Identity, Kind, Message, Nack, NackReason, Poll,
    Range, Sequence, Unit, Weight, cobs_decode, cobs_encode,
};

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[track_caller]
fn check_cobs(plain: &[u8], stuffed: &[u8]) {
    let mut out = [0xAA; 1024];
    let len = cobs_encode(plain, &mut out).unwrap();
    assert_eq!(&out[..len], stuffed);
    let len = cobs_decode(stuffed, &mut out).unwrap();
    assert_eq!(&out[..len], plain);
}

#[test]
fn cobs_vectors() {
    check_cobs(&hex(""), &hex("01"));
    check_cobs(&hex("00"), &hex("01 01"));
    check_cobs(&hex("00 00"), &hex("01 01 01"));
    check_cobs(&hex("11 22 00 33"), &hex("03 11 22 02 33"));
    check_cobs(&hex("11 22 33 44"), &hex("05 11 22 33 44"));
    check_cobs(&hex("11 00 00 00"), &hex("02 11 01 01 01"));
}

#[test]
fn cobs_around_a_full_block() {
    let plain: Vec<u8> = (1..=255).collect();
    check_cobs(&plain[..253], &[&[0xFE], &plain[..253]].concat());
    check_cobs(&plain[..254], &[&[0xFF], &plain[..254], &[0x01]].concat());
    check_cobs(&plain, &[&[0xFF], &plain[..254], &[0x02, 0xFF]].concat());
    // The other dialect leaves the last 01 out. We read both.
    let mut out = [0; 512];
    let len = cobs_decode(&[&[0xFF], &plain[..254]].concat(), &mut out).unwrap();
    assert_eq!(out[..len], plain[..254]);
}

#[test]
fn cobs_refuses_what_does_not_fit() {
    for room in 0..5 {
        assert_eq!(cobs_encode(&hex("11 22 00 33"), &mut [0; 8][..room]), None, "room {room}");
    }
    for room in 0..4 {
        assert_eq!(cobs_decode(&hex("03 11 22 02 33"), &mut [0; 8][..room]), None, "room {room}");
    }
    assert_eq!(cobs_decode(&hex("05 11 22"), &mut [0; 8]), None, "torn");
    assert_eq!(cobs_decode(&hex("03 11 00"), &mut [0; 8]), None, "a zero inside");
}

/// Header, CRC and stuffing together; the CRC of these bytes is A53A.
#[test]
fn a_frame() {
    let frame = Frame::new(Kind(7), Sequence::LIVE, &[0x39, 0x30]);
    let wire = hex("03 01 07 01 05 39 30 3A A5 00");
    let mut out = [0; 16];
    let len = frame.encode_into(&mut out).unwrap();
    assert_eq!(out[..len], wire);

    let mut decoder: Decoder = Decoder::new();
    let (last, before) = wire.split_last().unwrap();
    assert!(before.iter().all(|&byte| decoder.push(byte).is_none()));
    assert_eq!(decoder.push(*last), Some(Ok(frame)));
}

#[track_caller]
fn check(sequence: Sequence, message: Message, wire: &str) {
    let wire = hex(wire);
    assert_eq!(message.to_wire(sequence).as_bytes(), wire, "{:02X?}", message.to_wire(sequence).as_bytes());
    let mut decoder: Decoder = Decoder::new();
    let mut read = Vec::new();
    for &byte in &wire {
        if let Some(frame) = decoder.push(byte) {
            let frame = frame.unwrap();
            read.push((frame.sequence, Message::parse(&frame).unwrap()));
        }
    }
    assert_eq!(read, [(sequence, message)]);
}

const NONCE: BootNonce = BootNonce(0xC0FF_EE01);

#[test]
fn hello() {
    let hello = Hello {
        boot_nonce: NONCE,
        capabilities: Capabilities::LOAD_CELL,
        firmware: [1, 2, 0],
        identity: Identity::new("load-cell-7").unwrap(),
    };
    check(
        Sequence(1),
        Message::Hello(hello),
        "04 01 01 01 06 01 EE FF C0 01 03 01 02 0E 6C 6F 61 64 2D 63 65 6C 6C 2D 37 3D 19 00",
    );
}

#[test]
fn weight() {
    let live = Weight {
        stable: true,
        range: Range::Within,
        at_zero: false,
        unit: Unit::Gram,
        decimals: 0,
        raw: 4_321_000,
        net: 1_250,
        tare: 85,
        age_ms: 12,
    };
    check(
        Sequence::LIVE,
        Message::Weight(live),
        "03 01 02 01 03 01 01 04 E8 EE 41 03 E2 04 01 02 55 01 01 02 0C 01 01 03 F0 45 00",
    );
    let over = Weight {
        stable: false,
        range: Range::Over,
        unit: Unit::Kilogram,
        decimals: 3,
        raw: 0x7F_FFFF,
        net: 0,
        tare: 0,
        age_ms: u32::MAX,
        ..live
    };
    check(
        Sequence(0x0102),
        Message::Weight(over),
        "0B 01 02 02 01 02 02 03 FF FF 7F 01 01 01 01 01 01 01 01 07 FF FF FF FF C6 83 00",
    );
    let empty = Weight { at_zero: true, unit: Unit::Counts, raw: -17, net: -1, tare: 0, age_ms: 0, ..live };
    check(
        Sequence(u16::MAX),
        Message::Weight(empty),
        "06 01 02 FF FF 09 01 09 EF FF FF FF FF FF FF FF 01 01 01 01 01 01 01 03 BF 84 00",
    );
}

#[test]
fn poll() {
    check(Sequence(1), Message::Poll(Poll::Hello), "04 01 10 01 01 03 CA 97 00");
    check(Sequence(2), Message::Poll(Poll::Weight), "04 01 10 02 04 01 BB DE 00");
}

#[test]
fn ack() {
    check(
        Sequence::LIVE,
        Message::Ack(Ack { boot_nonce: NONCE, sequence: Sequence(3) }),
        "03 01 20 01 06 01 EE FF C0 03 03 83 A0 00",
    );
}

#[test]
fn nack() {
    let reasons =
        [NackReason::UnknownKind, NackReason::BadPayload, NackReason::Unsupported, NackReason::NotReady];
    let wires = [
        "03 01 21 01 06 01 EE FF C0 09 04 01 4F 8E 00",
        "03 01 21 01 06 01 EE FF C0 09 04 02 2C BE 00",
        "03 01 21 01 06 01 EE FF C0 09 04 03 0D AE 00",
        "03 01 21 01 06 01 EE FF C0 09 04 04 EA DE 00",
    ];
    for (reason, wire) in reasons.into_iter().zip(wires) {
        let nack = Nack { boot_nonce: NONCE, sequence: Sequence(9), reason };
        check(Sequence::LIVE, Message::Nack(nack), wire);
    }
}

/// What a version 1 reader must refuse: reserved bits, unknown codes, lengths that are off by one.
#[test]
fn illegal_payloads() {
    let weight = hex("01 01 00 28 EF 41 00 E2 04 00 00 55 00 00 00 0C 00 00 00");
    let refused = |kind: Kind, payload: &[u8]| {
        Message::parse(&Frame::new(kind, Sequence::LIVE, payload)).is_err_and(|error| {
            error == stockwire_protocol::link::MessageError::BadPayload { kind, len: payload.len() }
        })
    };
    assert!(!refused(Kind::WEIGHT, &weight));
    assert!(refused(Kind::WEIGHT, &weight[..18]));
    assert!(refused(Kind::WEIGHT, &[weight.as_slice(), &[0]].concat()));
    for (at, illegal) in [(0, 0x10), (0, 0x80), (0, 0x06), (1, 4), (2, 10)] {
        let mut payload = weight.clone();
        payload[at] = illegal;
        assert!(refused(Kind::WEIGHT, &payload), "byte {at} = {illegal}");
    }
    assert!(refused(Kind::POLL, &[]));
    assert!(refused(Kind::POLL, &[2]));
    assert!(refused(Kind::POLL, &[0, 0]));
    assert!(refused(Kind::ACK, &[0; 5]));
    assert!(refused(Kind::ACK, &[0; 7]));
    assert!(refused(Kind::NACK, &[0; 7]), "reason 0");
    assert!(refused(Kind::HELLO, &[0; 9]), "no identity");
    assert!(refused(Kind::HELLO, &[&[0; 9], "a b".as_bytes()].concat()));
    assert!(refused(Kind::HELLO, &[&[0; 9], [b'a'; 33].as_slice()].concat()));
    assert!(!refused(Kind::HELLO, &[&[0; 9], [b'a'; 32].as_slice()].concat()));
}
