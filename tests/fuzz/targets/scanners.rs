//! Every scanner protocol, with its bytes in pieces of any size.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stockwire_agent::feedback::Signal;
use stockwire_agent::scanner::layout::LAYOUTS;
use stockwire_agent::scanner::{Feedback, SCANNERS, ScannerOptions};

/// No read of a proper scanner is longer; what a decoder gives out is bounded by what came.
const READ_BYTES_MAX: usize = 8 * 1024;

const SIGNALS: [Signal; 6] =
    [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored];

fuzz_target!(|data: &[u8]| {
    let [row, size, options, bytes @ ..] = data else { return };
    let protocol = SCANNERS[usize::from(*row) % SCANNERS.len()];
    let mut settings = ScannerOptions::default();
    if options & 1 == 1 {
        settings.prefix = vec![2];
    }
    if options & 2 == 2 {
        settings.suffix = Vec::new();
    }
    if options & 4 == 4 {
        settings.gs_substitute = Some(b'~');
    }
    settings.feedback = [Feedback::None, Feedback::Bell, Feedback::Scanner][usize::from(*options >> 3 & 3) % 3];
    settings.layout = LAYOUTS[usize::from(*options >> 5 & 3)];
    let mut decoder = protocol.decoder(&settings);
    let mut now = Duration::ZERO;
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        now += Duration::from_millis(u64::from(piece[0]));
        if decoder.poll_timeout().is_some_and(|due| due <= now) {
            decoder.handle_timeout(now);
        }
        decoder.handle_bytes(now, piece);
        // A signal comes whenever the journal answers, also in the middle of a read or of another signal.
        if options & 0x80 != 0 {
            decoder.handle_signal(now, SIGNALS[usize::from(piece[0]) % SIGNALS.len()]);
        }
        while let Some(read) = decoder.poll_read() {
            assert!(read.map_or(0, |read| read.len()) <= READ_BYTES_MAX);
        }
        while decoder.poll_transmit().is_some() {}
    }
});
