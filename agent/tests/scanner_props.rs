//! Every row of the scanner table under anything: bytes, pauses, signals, time-outs in any order.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use stockwire_agent::feedback::Signal;
use stockwire_agent::scanner::keyboard::type_text;
use stockwire_agent::scanner::layout::{LAYOUTS, Layout};
use stockwire_agent::scanner::{SCANNERS, ScannerDecoder, ScannerOptions};

/// The longest read and an AIM identifier put in front of it.
const READ_BYTES_MAX: usize = 7092 + 3;

#[derive(Clone, Debug)]
enum Step {
    Bytes(Vec<u8>),
    Pass(u64),
    Signal(Signal),
}

/// What real lines carry in pieces, mixed with anything.
fn step() -> impl Strategy<Value = Step> {
    let ssi = |bytes: &[u8]| bytes.to_vec();
    let known = vec![
        b"]E04006381333931\r".to_vec(),
        b"\x02]C110A\x1d21B\x03".to_vec(),
        ssi(b"\x12\xF3\x00\x00\x0B5901234123457\xFC\x52"),
        ssi(b"\x12\xF3\x00\x01\x0B5901234123457\xFC\x51"),
        ssi(b"\x12\xF3\x00\x02\x0B5901234123457\xFC\x50"),
        ssi(b"\x04\xD0\x00\x00\xFF\x2C"),
        ssi(b"\x05\xD1\x00\x00\x01\xFF\x29"),
        ssi(b"\x05\xF6\x00\x00\x03\xFF\x02"),
        ssi(b"\xFF\xF3\x00\x00"),
        type_text(Layout::Us, b"]C110A\x1d21B").unwrap_or_default(),
        vec![28, 0, 1, 28, 0, 0],
        vec![0xFF, 0xFF, 0],
    ];
    let signals =
        [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored];
    prop_oneof![
        4 => prop::sample::select(known).prop_map(Step::Bytes),
        2 => vec(any::<u8>(), 0..300).prop_map(Step::Bytes),
        2 => (0u64..4_000).prop_map(Step::Pass),
        1 => prop::sample::select(signals.to_vec()).prop_map(Step::Signal),
    ]
}

fn options() -> impl Strategy<Value = ScannerOptions> {
    (
        prop::sample::select(vec!["", "\x02", "B:"]),
        prop::sample::select(vec!["\r", "\r\n", "\x03", "END", ""]),
        prop::sample::select(vec![None, Some(b'~')]),
        prop::sample::select(LAYOUTS.to_vec()),
    )
        .prop_map(|(prefix, suffix, gs_substitute, layout)| ScannerOptions {
            prefix: prefix.into(),
            suffix: suffix.into(),
            gs_substitute,
            layout,
            ..ScannerOptions::default()
        })
}

/// Takes what there is; how many bytes were read.
fn drain(decoder: &mut dyn ScannerDecoder) -> usize {
    while decoder.poll_transmit().is_some() {}
    let reads = std::iter::from_fn(|| decoder.poll_read());
    reads
        .map(|read| read.map_or(0, |read| read.len()))
        .inspect(|length| assert!(*length <= READ_BYTES_MAX))
        .sum()
}

proptest! {
    /// No panic, no read longer than a symbol, no more read than came, and no timer that is always due.
    #[test]
    fn anything_may_come(options in options(), steps in vec(step(), 0..60)) {
        for row in SCANNERS {
            for feedback in row.feedbacks() {
                let mut decoder = row.decoder(&ScannerOptions { feedback: *feedback, ..options.clone() });
                let (mut now, mut came, mut read) = (Duration::ZERO, 0, 0);
                for step in &steps {
                    match step {
                        Step::Bytes(bytes) => {
                            came += bytes.len();
                            decoder.handle_bytes(now, bytes);
                        }
                        Step::Pass(ms) => {
                            now += Duration::from_millis(*ms);
                            decoder.handle_timeout(now);
                        }
                        Step::Signal(signal) => {
                            decoder.handle_signal(now, *signal);
                        }
                    }
                    read += drain(decoder.as_mut());
                    // Once it was told the time, nothing is due at it: or the loop around it would never sleep.
                    decoder.handle_timeout(now);
                    read += drain(decoder.as_mut());
                    prop_assert!(decoder.poll_timeout().is_none_or(|due| due > now), "{} after {step:?}", row.name());
                }
                // An AIM identifier may be put in front of each packet's text, and a key may give two bytes of three.
                prop_assert!(read <= came, "{}: {read} bytes read of {came}", row.name());
            }
        }
    }

    /// What a scanner set to a layout types is what was on the label, whichever ASCII that is.
    #[test]
    fn any_text_comes_through_any_layout(text in "[ -~\x1d\x1e\x04]{1,60}", cut in any::<prop::sample::Index>()) {
        for layout in LAYOUTS {
            let mut keys = type_text(layout, text.as_bytes()).unwrap_or_default();
            keys.extend([28, 0, 1, 28, 0, 0]);
            let row = SCANNERS.iter().find(|row| row.name() == "keyboard");
            let mut decoder = row.map(|row| row.decoder(&ScannerOptions { layout, ..ScannerOptions::default() }));
            let decoder = decoder.as_mut().ok_or_else(|| TestCaseError::fail("no keyboard row"))?;
            let cut = cut.index(keys.len());
            decoder.handle_bytes(Duration::ZERO, &keys[..cut]);
            decoder.handle_bytes(Duration::ZERO, &keys[cut..]);
            prop_assert_eq!(decoder.poll_read(), Some(Ok(text.clone().into_bytes())), "{}", layout);
            prop_assert_eq!(decoder.poll_read(), None);
        }
    }

    /// Left alone it comes to rest: a quiet line costs nothing.
    #[test]
    fn left_alone_nothing_is_due_any_more(steps in vec(step(), 0..30)) {
        for row in SCANNERS {
            let mut decoder = row.decoder(&ScannerOptions { feedback: row.feedbacks()[0], ..ScannerOptions::default() });
            let mut now = Duration::ZERO;
            for step in &steps {
                match step {
                    Step::Bytes(bytes) => decoder.handle_bytes(now, bytes),
                    Step::Pass(ms) => now += Duration::from_millis(*ms),
                    Step::Signal(signal) => {
                        decoder.handle_signal(now, *signal);
                    }
                }
                drain(decoder.as_mut());
            }
            let mut wakes = 0;
            while let Some(due) = decoder.poll_timeout() {
                now = now.max(due);
                decoder.handle_timeout(now);
                drain(decoder.as_mut());
                wakes += 1;
                prop_assert!(wakes < 100, "{}", row.name());
            }
            prop_assert!(now < Duration::from_secs(30 * 4 + 60), "{}: still busy at {now:?}", row.name());
        }
    }
}
