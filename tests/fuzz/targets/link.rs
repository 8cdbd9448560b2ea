//! The agent's end of the link to microcontrollers, against whatever a cable gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockwire_protocol::link::{Event, Frame, Host, Kind, PAYLOAD_MAX, Sequence, WIRE_MAX};

fuzz_target!(|data: &[u8]| {
    let mut host = Host::new();
    host.greet();
    match data.split_first() {
        // No chance finds a check sum: whole frames whatever is in them, else nothing behind it is ever reached.
        Some((first, rest)) if first % 2 == 0 => frames(rest).for_each(|frame| hear(&mut host, &frame)),
        _ => hear(&mut host, data),
    }
});

/// Kind, sequence, length and as many bytes of payload: one frame each.
fn frames(mut data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let [kind, low, high, length, rest @ ..] = data else { return None };
        let length = usize::from(*length).min(PAYLOAD_MAX).min(rest.len());
        let (payload, behind) = rest.split_at(length);
        data = behind;
        let frame = Frame::new(Kind(*kind), Sequence(u16::from_le_bytes([*low, *high])), payload);
        let mut wire = [0; WIRE_MAX];
        let length = frame.encode_into(&mut wire).expect("a payload within its limit fits");
        Some(wire[..length].to_vec())
    })
}

fn hear(host: &mut Host, bytes: &[u8]) {
    for byte in bytes {
        if let Some(Event::Captured { sequence, .. }) = host.handle_byte(*byte) {
            host.acknowledge(sequence);
        }
        // One greeting, one answer and one question may be due; each is said once.
        for _ in 0..3 {
            host.poll_transmit();
        }
        assert!(host.poll_transmit().is_none(), "the host speaks without end");
    }
}
