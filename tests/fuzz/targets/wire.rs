//! Everything that comes over MQTT or out of a journal. What is read is written back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{Ack, Batch, Catalogue, Command, Event, Reply, State, Tasks, topic};

fn check<T: Message>(bytes: &[u8]) {
    if let Ok(message) = T::decode(bytes) {
        assert_eq!(message.encode(), bytes, "{} is not written as it was read", T::NAME);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    match kind % 9 {
        0 => check::<Batch>(bytes),
        1 => check::<Event>(bytes),
        2 => check::<Ack>(bytes),
        3 => check::<State>(bytes),
        4 => check::<Command>(bytes),
        5 => check::<Reply>(bytes),
        6 => check::<Catalogue>(bytes),
        7 => check::<Tasks>(bytes),
        _ => {
            if let Some((site, agent, subject)) = std::str::from_utf8(bytes).ok().and_then(topic::parse) {
                // Leading zeros of a part's number have gone, and nothing else.
                assert!(topic::topic(&site, &agent, subject).len() <= bytes.len());
            }
        }
    }
});
