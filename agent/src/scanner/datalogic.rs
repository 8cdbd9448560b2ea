//! Datalogic and PSC scanners (Magellan, QuickScan, PowerScan): lines of text, and single bytes back.
//!
//! ```text
//!  scanner -> host   a line, as in `scanner/line.rs`
//!  host -> scanner   +------+
//!                    | byte |   45 E  read on          46 F  sound of "not on file"; some then want an E
//!                    +------+   44 D  read no more     01    beep, whatever the beeper is set to
//! ```
//!
//! 9600 8N1 here; 9600 7E1 on older ones. The scanner's own good-read beep must be off, so that a beep means
//! "recorded": 42 `B` obeys that setting and would then be silent, 01 is not. Never `R`: a reset leaves old ones deaf for
//! half a minute. Sources: Datalogic Magellan 9300i App. E, 800i App. F, PSC PowerScan guide p.143.

use super::line::{Decoder, Voice};
use super::{Feedback, ScannerDecoder, ScannerOptions, ScannerProtocol};
use crate::feedback::Signal;
use crate::serial::LineSettings;

/// The row of the table.
pub struct Datalogic;

/// Short beeps for what is well, the long "not on file" for what is not; `E` after each, for those that stop at it.
static VOICE: Voice = Voice {
    signal: |signal| match signal {
        Signal::Good => b"\x01",
        Signal::Heard => b"\x01\x01",
        Signal::Repeated => b"\x01\x01\x01",
        Signal::Unknown => b"FE",
        Signal::Refused => b"FEFE",
        // And no further reading until `HOLD` is over.
        Signal::NotStored => b"FEFEFED",
    },
    enable: b"E",
};

impl ScannerProtocol for Datalogic {
    fn name(&self) -> &'static str {
        "datalogic"
    }

    fn title(&self) -> &'static str {
        "Datalogic and PSC scanners: lines of text, beeps and enabling on command"
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
    use crate::scanner::line::HOLD;
    use crate::scanner::tests::{SIGNALS, transmitted};

    fn decoder(feedback: Feedback) -> Box<dyn ScannerDecoder> {
        Datalogic.decoder(&ScannerOptions { feedback, ..ScannerOptions::default() })
    }

    #[test]
    fn each_signal_has_its_own_command() {
        let mut decoder = decoder(Feedback::Scanner);
        assert_eq!(transmitted(decoder.as_mut()), b"E", "whoever left it switched off");
        let mut heard = Vec::new();
        for signal in SIGNALS {
            assert!(decoder.handle_signal(Duration::ZERO, signal));
            let bytes = transmitted(decoder.as_mut());
            assert!(!heard.contains(&bytes), "{signal:?} sounds like another");
            heard.push(bytes);
        }
    }

    #[test]
    fn what_could_not_be_stored_switches_it_off_for_a_while() {
        let mut decoder = decoder(Feedback::Scanner);
        assert_eq!(transmitted(decoder.as_mut()), b"E");
        let now = Duration::from_secs(9);
        assert!(decoder.handle_signal(now, Signal::NotStored));
        assert_eq!(transmitted(decoder.as_mut()).last(), Some(&b'D'));
        assert_eq!(decoder.poll_timeout(), Some(now + HOLD));
        // A read under way is not cut by it.
        decoder.handle_bytes(now + HOLD - Duration::from_millis(1), b"AB");
        decoder.handle_timeout(now + HOLD);
        assert_eq!(transmitted(decoder.as_mut()), b"E");
        decoder.handle_bytes(now + HOLD, b"C\r");
        assert_eq!(decoder.poll_read(), Some(Ok(b"ABC".to_vec())));
        assert_eq!(decoder.poll_timeout(), None);
    }

    #[test]
    fn it_is_left_alone_when_it_is_not_to_signal() {
        let mut decoder = decoder(Feedback::None);
        assert!(!decoder.handle_signal(Duration::ZERO, Signal::NotStored));
        assert_eq!((transmitted(decoder.as_mut()), decoder.poll_timeout()), (Vec::new(), None));
    }
}
