//! Scanners: one table, one file per protocol.
//!
//! A protocol turns bytes into reads: what the scanner saw, byte for byte, AIM identifier and GS included. What a read
//! means is decided later, by [`stockwire_protocol::gs1::interpret`].

pub mod line;

pub mod honeywell;

pub mod datalogic;

pub mod ssi;

pub mod layout;

pub mod keyboard;

pub mod learn;

use std::time::Duration;

use crate::feedback::Signal;
use crate::scanner::layout::Layout;
use crate::serial::{LineSettings, Parity};

/// The scanner protocols, in the order in which they are listed to people.
pub static SCANNERS: &[&dyn ScannerProtocol] =
    &[&line::Line, &honeywell::Honeywell, &datalogic::Datalogic, &ssi::Ssi, &keyboard::Keyboard];

/// The protocol of that name.
pub fn find(name: &str) -> Option<&'static dyn ScannerProtocol> {
    SCANNERS.iter().copied().find(|row| row.name() == name)
}

/// One row of [`SCANNERS`].
pub trait ScannerProtocol: Sync {
    /// For configuration and the command line: lower case with dashes.
    fn name(&self) -> &'static str;

    /// For people.
    fn title(&self) -> &'static str;

    /// How these scanners leave the factory.
    fn line(&self) -> LineSettings;

    /// Where its bytes come from.
    fn source(&self) -> Source {
        Source::Serial
    }

    /// The ways in which it can signal; the first one is the default.
    fn feedbacks(&self) -> &'static [Feedback] {
        &[Feedback::None, Feedback::Bell]
    }

    /// The pause that ends a read, unless the site sets another.
    fn gap(&self) -> Duration {
        IDLE_GAP_DEFAULT
    }

    /// Keys of the configuration that say nothing to this protocol.
    fn unused(&self) -> &'static [&'static str] {
        &["layout"]
    }

    /// A decoder for one port, to be thrown away when the port is lost.
    fn decoder(&self, options: &ScannerOptions) -> Box<dyn ScannerDecoder>;
}

/// Where the bytes of a scanner come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A serial port, or a USB scanner that is one.
    Serial,
    /// An input device of the kernel, taken away from everybody else: the scanner plays a keyboard.
    Keyboard,
}

/// What is written back to a scanner after each read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feedback {
    /// Nothing.
    None,
    /// BEL once for recorded, twice for understood, three times for anything else.
    Bell,
    /// The scanner's own commands for beeper, lamp and enabling, another one for each [`Signal`].
    Scanner,
}

impl Feedback {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Feedback::None => "none",
            Feedback::Bell => "bell",
            Feedback::Scanner => "scanner",
        }
    }
}

/// What a site can set about one scanner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannerOptions {
    /// Sent before each read; none by default.
    pub prefix: Vec<u8>,
    /// Sent after each read; CR by default. Empty: a pause of `gap` is the only delimiter.
    pub suffix: Vec<u8>,
    /// The pause that ends a read when there is no suffix.
    pub gap: Duration,
    /// What the scanner sends in place of GS (1D), when it cannot send that.
    pub gs_substitute: Option<u8>,
    /// Whether and how it signals.
    pub feedback: Feedback,
    /// The keyboard that it plays, if it plays one.
    pub layout: Layout,
}

/// Characters of one read follow each other within a few milliseconds, also through USB adapters that collect them
/// for 16 ms; two reads by hand are at least 100 ms apart.
pub const IDLE_GAP_DEFAULT: Duration = Duration::from_millis(50);
/// More is no prefix or suffix but a label that was configured by mistake.
pub const AFFIX_BYTES_MAX: usize = 16;

impl Default for ScannerOptions {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            suffix: b"\r".to_vec(),
            gap: IDLE_GAP_DEFAULT,
            gs_substitute: None,
            feedback: Feedback::None,
            layout: Layout::Us,
        }
    }
}

impl ScannerOptions {
    /// Whether reads can be told apart with these settings; for `check-config`.
    ///
    /// # Errors
    /// What is wrong, for a person to read.
    pub fn check(&self) -> Result<(), String> {
        for (name, affix) in [("prefix", &self.prefix), ("suffix", &self.suffix)] {
            if affix.len() > AFFIX_BYTES_MAX {
                return Err(format!(
                    "{name} has {} bytes, at most {AFFIX_BYTES_MAX} are allowed",
                    affix.len()
                ));
            }
        }
        if self.suffix.is_empty() && !(10..=2_000).contains(&self.gap.as_millis()) {
            return Err(format!("gap is {} ms, expected 10 to 2000", self.gap.as_millis()));
        }
        if let Some(substitute) = self.gs_substitute
            && (self.suffix.contains(&substitute) || self.prefix.contains(&substitute))
        {
            return Err("gs_substitute also stands in prefix or suffix".into());
        }
        if !self.suffix.is_empty() && self.prefix.windows(self.suffix.len()).any(|part| part == self.suffix) {
            return Err("the suffix stands within the prefix, so every read would end there".into());
        }
        Ok(())
    }
}

/// The conversation with one scanner: bytes in, reads out.
pub trait ScannerDecoder: Send {
    /// What came from the port, split anywhere.
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]);

    /// When [`ScannerDecoder::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Duration>;

    /// The line has been silent since.
    fn handle_timeout(&mut self, now: Duration);

    /// The next read, without prefix and suffix and with GS as 1D; or that something came which was none.
    fn poll_read(&mut self) -> Option<Result<Vec<u8>, ReadFault>>;

    /// Lets the operator know through the scanner itself, by bytes that [`ScannerDecoder::poll_transmit`] then gives.
    /// `false`: this one cannot, or was not asked to.
    fn handle_signal(&mut self, now: Duration, signal: Signal) -> bool;

    /// The next bytes to write back: acknowledgements, commands, signals. To be asked until `None` after every `handle_*`.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// For health and metrics.
    fn counts(&self) -> LineCounts;
}

/// Something came from a scanner that is no read. The operator is told, because a label was probably scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFault {
    /// Longer than any symbol.
    #[error("the scanner sent more than {max} characters without an end")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The configured prefix is missing.
    #[error("the read does not begin with the configured prefix")]
    WithoutPrefix,
    /// The line fell silent before the configured suffix.
    #[error("the read breaks off before the configured suffix")]
    WithoutSuffix,
    /// It breaks off, and each byte carries a parity bit.
    #[error("what came has seven data bits and {} parity, and is read with eight", .parity.word())]
    Parity {
        /// Which.
        parity: Parity,
    },
    /// It breaks off, and is mostly bytes that no label holds.
    #[error("what came is no text")]
    NotText,
    /// Text came where packets were expected.
    #[error("the scanner sends text and no SSI packets")]
    NotPackets,
    /// Something arrived whose checksum is wrong, or a part of it is missing; the scanner did not send it again whole.
    #[error("a read arrived damaged and was not counted")]
    Damaged,
    /// A key that has no character in the configured layout.
    #[error("key {code} has no character in the configured keyboard layout")]
    NoCharacter {
        /// The kernel's number of the key.
        code: u16,
    },
}

impl ReadFault {
    /// What a technician checks.
    pub fn hint(self) -> &'static str {
        match self {
            ReadFault::TooLong { .. } => "check the scanner's suffix and the line settings of its port",
            ReadFault::WithoutPrefix | ReadFault::WithoutSuffix => {
                "compare prefix and suffix with what the scanner sends: `stockwire-agent devices` shows the bytes, `devices --learn` finds the settings"
            }
            ReadFault::Parity { parity: Parity::Odd } => {
                "set line = \"9600 7O1\", with the speed of the scanner's menu"
            }
            ReadFault::Parity { .. } => "set line = \"9600 7E1\", with the speed of the scanner's menu",
            ReadFault::NotText => {
                "the speed is another: look it up in the scanner's menu (often 9600 or 115200) and set `line`"
            }
            ReadFault::NotPackets => {
                "it was told again to send packets: scan once more. If it stays so, choose SSI as its host and 'send packeted decode data' in its menu, or set protocol = \"line\""
            }
            ReadFault::Damaged => {
                "if it happens often: is its cable whole and shielded, and do the line settings match its menu?"
            }
            ReadFault::NoCharacter { .. } => {
                "set layout to the keyboard that the scanner is set to: `stockwire-agent devices --learn` finds it"
            }
        }
    }
}

/// What came over a scanner's line so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct LineCounts {
    /// Reads delivered.
    pub reads: u64,
    /// Reads refused, one [`ReadFault`] each.
    pub faults: u64,
    /// Control characters outside of any read: breaks, noise, flow control.
    pub garbage_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every signal there is.
    pub(super) const SIGNALS: [Signal; 6] =
        [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored];

    /// All that a decoder wants written.
    pub(super) fn transmitted(decoder: &mut dyn ScannerDecoder) -> Vec<u8> {
        std::iter::from_fn(|| decoder.poll_transmit()).flatten().collect()
    }

    #[test]
    fn the_default_feedback_is_possible_and_none_always_is() {
        for row in SCANNERS {
            assert!(row.feedbacks().contains(&Feedback::None), "{}", row.name());
            for feedback in row.feedbacks() {
                let options = ScannerOptions { feedback: *feedback, ..ScannerOptions::default() };
                let mut decoder = row.decoder(&options);
                let signals = decoder.handle_signal(Duration::ZERO, Signal::Good);
                assert_eq!(signals, *feedback != Feedback::None, "{} {feedback:?}", row.name());
            }
        }
    }

    #[test]
    fn rows_are_found_by_name_and_names_are_unique() {
        for (at, row) in SCANNERS.iter().enumerate() {
            assert_eq!(
                SCANNERS.iter().position(|other| other.name() == row.name()),
                Some(at),
                "{}",
                row.name()
            );
            assert!(find(row.name()).is_some() && !row.title().is_empty());
        }
        assert!(find("no-such-scanner").is_none());
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let good = ScannerOptions::default();
        assert_eq!(good.check(), Ok(()));
        for (bad, expected) in [
            (ScannerOptions { prefix: vec![b'x'; 17], ..good.clone() }, "prefix has 17 bytes"),
            (ScannerOptions { suffix: Vec::new(), gap: Duration::ZERO, ..good.clone() }, "gap is 0 ms"),
            (ScannerOptions { gs_substitute: Some(b'\r'), ..good.clone() }, "gs_substitute also stands"),
            (
                ScannerOptions { prefix: b"\x02\r".to_vec(), ..good.clone() },
                "the suffix stands within the prefix",
            ),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
