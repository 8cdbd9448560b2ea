//! Honeywell scanners (Voyager, Xenon, Granit, Hyperion): lines of text, and escape commands back.
//!
//! ```text
//!  scanner -> host   a line, as in `scanner/line.rs`
//!  host -> scanner   +-----+-------+
//!                    | ESC | digit |   1 2 3 green lamp for 135 ms, 2 s, 5 s
//!                    +-----+-------+   4 5 6 one beep low, middle, high
//!                     1B    31..38     7 the sound of a good read, 8 that of an error
//! ```
//!
//! 9600 8N1 here; many leave the factory with 115200 8N1. "Host ACK on" must be set in the scanner's menu or it ignores the
//! commands, and "Beeper - Good Read off", so that a beep means "recorded". No command stops it from reading: `SYN U CR`
//! only ends a reading that `SYN T CR` began. Sources: Honeywell 1900 manual p.3-38, 2020 manual p.2-13, N86 user guide p.10-4.

use super::line::{Decoder, Voice};
use super::{Feedback, ScannerDecoder, ScannerOptions, ScannerProtocol};
use crate::feedback::Signal;
use crate::serial::LineSettings;

/// The row of the table.
pub struct Honeywell;

/// The longer and the lower, the worse, as in [`crate::feedback`]; the green lamp belongs to *good* alone.
static VOICE: Voice = Voice {
    signal: |signal| match signal {
        Signal::Good => b"\x1b7\x1b1",
        Signal::Heard => b"\x1b6",
        Signal::Repeated => b"\x1b6\x1b6",
        Signal::Unknown => b"\x1b4\x1b4",
        Signal::Refused => b"\x1b8",
        Signal::NotStored => b"\x1b8\x1b8\x1b8",
    },
    enable: b"",
};

impl ScannerProtocol for Honeywell {
    fn name(&self) -> &'static str {
        "honeywell"
    }

    fn title(&self) -> &'static str {
        "Honeywell scanners with Host ACK: lines of text, beeps and lamp on command"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn feedbacks(&self) -> &'static [Feedback] {
        &[Feedback::Scanner, Feedback::Bell, Feedback::None]
    }

    fn decoder(&self, options: &ScannerOptions) -> Box<dyn ScannerDecoder> {
        Box::new(Decoder::new(options, &VOICE))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scanner::tests::{SIGNALS, transmitted};

    #[test]
    fn each_signal_has_its_own_command() {
        let options = ScannerOptions { feedback: Feedback::Scanner, ..ScannerOptions::default() };
        let mut decoder = Honeywell.decoder(&options);
        assert_eq!(
            transmitted(decoder.as_mut()),
            b"",
            "it cannot be switched off, so nothing is to be undone"
        );
        let mut heard = Vec::new();
        for signal in SIGNALS {
            assert!(decoder.handle_signal(Duration::ZERO, signal));
            let bytes = transmitted(decoder.as_mut());
            assert!(bytes.chunks(2).all(|command| matches!(command, [0x1B, b'1'..=b'8'])), "{bytes:02x?}");
            assert!(!heard.contains(&bytes), "{signal:?} sounds like another");
            heard.push(bytes);
        }
        assert_eq!(decoder.poll_timeout(), None);
        decoder.handle_bytes(Duration::ZERO, b"]E04006381333931\r");
        assert_eq!(decoder.poll_read(), Some(Ok(b"]E04006381333931".to_vec())));
    }
}
