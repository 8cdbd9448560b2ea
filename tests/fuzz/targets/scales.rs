//! Every scale protocol, with its bytes in pieces of any size.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stockwire_agent::decode;
use stockwire_agent::scale::{SCALES, ScaleOptions, Unit};

fuzz_target!(|data: &[u8]| {
    let [row, size, options, bytes @ ..] = data else { return };
    let protocol = SCALES[usize::from(*row) % SCALES.len()];
    let unit = (options & 1 == 1).then_some(Unit::Kilogram);
    let mut decoder =
        protocol.decoder(&ScaleOptions { unit, checksum: options & 2 == 0, ..ScaleOptions::default() });
    let mut now = Duration::ZERO;
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        now += Duration::from_millis(u64::from(piece[0]));
        decoder.request();
        decoder.handle_bytes(now, piece);
        while let Some(reply) = decoder.poll_reply() {
            if let Ok(reading) = &reply {
                assert!(
                    reading.value.is_none() || reading.unit.is_some(),
                    "a weight without a unit: {reading:?}"
                );
            }
            decode::reply(&reply);
        }
        while decoder.poll_transmit().is_some() {}
    }
    decoder.handle_end();
    while decoder.poll_reply().is_some() {}
});
