//! The agent's end of the link to microcontrollers, against whatever a cable gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockwire_protocol::link::{Event, Host};

fuzz_target!(|data: &[u8]| {
    let mut host = Host::new();
    host.greet();
    for byte in data {
        if let Some(Event::Captured { sequence, .. }) = host.handle_byte(*byte) {
            host.acknowledge(sequence);
        }
        // One greeting, one answer and one question may be due; each is said once.
        for _ in 0..3 {
            host.poll_transmit();
        }
        assert!(host.poll_transmit().is_none(), "the host speaks without end");
    }
});
