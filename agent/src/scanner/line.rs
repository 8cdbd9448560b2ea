//! The line scanner: what most serial and USB-serial scanners send.
//!
//! ```text
//!  +--------+--------+--------------------------------+--------+
//!  | prefix |  ]C1   |  0109506000134352 10ABC GS ... | suffix |
//!  +--------+--------+--------------------------------+--------+
//!   if set   AIM id,   data; GS is data                CR, LF, CR LF, TAB, ETX ...
//!            if on                                     or nothing: a pause ends the read
//! ```
//!
//! 9600 8N1 from the factory. Sources: programming guides of the DS457, DS2208 and N86.
//!
//! [`Decoder`] is also that of the vendors whose scanners send lines and take commands back; their rows give it a
//! [`Voice`].

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use stockwire_protocol::gs1::SCAN_BYTES_MAX;

use super::{Feedback, LineCounts, ReadFault, ScannerDecoder, ScannerOptions, ScannerProtocol};
use crate::feedback::Signal;
use crate::scale::parity_of;
use crate::serial::LineSettings;

/// The row of the table.
pub struct Line;

impl ScannerProtocol for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn title(&self) -> &'static str {
        "any scanner that sends lines of text"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScannerOptions) -> Box<dyn ScannerDecoder> {
        // Without a voice of its own it has the bell at most.
        Box::new(Decoder::new(options, &BELL))
    }
}

/// What a scanner understands of its host.
pub(super) struct Voice {
    /// The bytes that sound and light a signal.
    pub(super) signal: fn(Signal) -> &'static [u8],
    /// Lets it read again, after it was switched off by [`Signal::NotStored`]; empty when it cannot be switched off.
    pub(super) enable: &'static [u8],
}

/// One BEL for recorded, two for understood, three for anything else: a bell cannot say more that an ear would count.
static BELL: Voice = Voice {
    signal: |signal| match signal {
        Signal::Good => b"\x07",
        Signal::Heard => b"\x07\x07",
        Signal::Unknown | Signal::Refused | Signal::Repeated | Signal::NotStored => b"\x07\x07\x07",
    },
    enable: b"",
};

/// How long a scanner is switched off when a scan could not be stored: nobody overlooks that, and nobody waits longer
/// for a disk that is merely slow.
pub(super) const HOLD: Duration = Duration::from_secs(2);
/// Writes that may wait for the port, one a signal; more are worth nothing.
const TRANSMITS_MAX: usize = 8;

/// A scanner sends a read in one go; the largest takes 7 s at 9600 baud but has no pause in it.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Fewer bytes are a spike on the cable and tell nothing about the speed.
const NOT_TEXT_BYTES_MIN: usize = 4;
const GS: u8 = 0x1D;
const RS: u8 = 0x1E;

pub(super) struct Decoder {
    options: ScannerOptions,
    /// `None`: it is not to signal.
    voice: Option<&'static Voice>,
    /// When it is to be switched on again; `None`: it is on.
    enable_at: Option<Duration>,
    /// At most `TRANSMITS_MAX`.
    transmits: VecDeque<Vec<u8>>,
    /// The read so far, prefix included.
    read: Vec<u8>,
    /// It was longer than any read; the rest up to its end is skipped.
    overflowed: bool,
    /// When the last byte came.
    heard: Duration,
    reads: VecDeque<Result<Vec<u8>, ReadFault>>,
    counts: LineCounts,
}

impl ScannerDecoder for Decoder {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        // The caller's timer may come after the bytes that it should have preceded.
        self.handle_timeout(now);
        if !bytes.is_empty() {
            self.heard = now;
        }
        for &byte in bytes {
            if self.read.is_empty() && !self.overflowed && !self.may_begin(byte) {
                // The LF behind a CR is no garbage, it is there after every read.
                self.counts.garbage_bytes += u64::from(!matches!(byte, b'\r' | b'\n'));
                continue;
            }
            self.read.push(byte);
            if !self.options.suffix.is_empty() && self.read.ends_with(&self.options.suffix) {
                self.read.truncate(self.read.len() - self.options.suffix.len());
                self.end_read();
            } else if self.read.len() > SCAN_BYTES_MAX + self.options.prefix.len() + self.options.suffix.len()
            {
                self.overflowed = true;
                // The end may lie across this cut.
                let keep = self.options.suffix.len().saturating_sub(1);
                self.read.drain(..self.read.len() - keep);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.silence_due().into_iter().chain(self.enable_at).min()
    }

    fn handle_timeout(&mut self, now: Duration) {
        if self.enable_at.take_if(|due| *due <= now).is_some() {
            self.enable();
        }
        if self.silence_due().is_none_or(|due| now < due) {
            return;
        }
        if self.options.suffix.is_empty() || self.overflowed {
            self.end_read();
        } else {
            let read = mem::take(&mut self.read);
            self.put(Err(why_without_suffix(&read)));
        }
    }

    fn poll_read(&mut self) -> Option<Result<Vec<u8>, ReadFault>> {
        self.reads.pop_front()
    }

    fn handle_signal(&mut self, now: Duration, signal: Signal) -> bool {
        let Some(voice) = self.voice else { return false };
        if signal == Signal::NotStored && !voice.enable.is_empty() {
            self.enable_at = Some(now + HOLD);
        }
        self.transmit((voice.signal)(signal));
        true
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    fn counts(&self) -> LineCounts {
        self.counts
    }
}

impl Decoder {
    /// `own` are the scanner's own commands; the site may have chosen the bell, or nothing.
    pub(super) fn new(options: &ScannerOptions, own: &'static Voice) -> Self {
        let mut decoder = Self {
            options: options.clone(),
            voice: match options.feedback {
                Feedback::None => None,
                Feedback::Bell => Some(&BELL),
                Feedback::Scanner => Some(own),
            },
            enable_at: None,
            transmits: VecDeque::new(),
            read: Vec::new(),
            overflowed: false,
            heard: Duration::ZERO,
            reads: VecDeque::new(),
            counts: LineCounts::default(),
        };
        // An agent that ended while the scanner was switched off must not leave it so.
        decoder.enable();
        decoder
    }

    fn enable(&mut self) {
        if let Some(voice) = self.voice.filter(|voice| !voice.enable.is_empty()) {
            self.transmit(voice.enable);
        }
    }

    fn transmit(&mut self, bytes: &[u8]) {
        if self.transmits.len() >= TRANSMITS_MAX {
            self.transmits.pop_front();
        }
        self.transmits.push_back(bytes.to_vec());
    }

    fn silence_due(&self) -> Option<Duration> {
        let silence = if self.options.suffix.is_empty() { self.options.gap } else { SILENCE_MAX };
        (!self.read.is_empty() || self.overflowed).then(|| self.heard + silence)
    }

    /// A control character begins no read, unless it is GS or RS (ISO 15434) or the beginning of the prefix; and not that
    /// of the suffix, which stands there when a read is empty.
    fn may_begin(&self, byte: u8) -> bool {
        let prefix = self.options.prefix.first() == Some(&byte);
        let suffix = self.options.suffix.first() == Some(&byte);
        let printable = byte >= b' ' && byte != 0x7F && byte != 0xFF;
        prefix || printable || !suffix && matches!(byte, GS | RS)
    }

    fn end_read(&mut self) {
        let mut read = mem::take(&mut self.read);
        if mem::take(&mut self.overflowed) {
            return self.put(Err(ReadFault::TooLong { max: SCAN_BYTES_MAX }));
        }
        if !read.starts_with(&self.options.prefix) {
            return self.put(Err(ReadFault::WithoutPrefix));
        }
        read.drain(..self.options.prefix.len());
        if let Some(substitute) = self.options.gs_substitute {
            read.iter_mut().filter(|byte| **byte == substitute).for_each(|byte| *byte = GS);
        }
        if !read.is_empty() {
            self.put(Ok(read));
        }
    }

    fn put(&mut self, read: Result<Vec<u8>, ReadFault>) {
        match read {
            Ok(_) => self.counts.reads += 1,
            Err(_) => self.counts.faults += 1,
        }
        self.reads.push_back(read);
    }
}

/// A line that is set wrongly shows it here first: its suffix comes as another byte.
fn why_without_suffix(read: &[u8]) -> ReadFault {
    let text = read.iter().filter(|byte| matches!(byte, b' '..=b'~')).count();
    match parity_of(read) {
        Some(parity) => ReadFault::Parity { parity },
        None if read.len() >= NOT_TEXT_BYTES_MIN && text * 2 < read.len() => ReadFault::NotText,
        None => ReadFault::WithoutSuffix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(10);

    fn options(prefix: &str, suffix: &str) -> ScannerOptions {
        ScannerOptions { prefix: prefix.into(), suffix: suffix.into(), ..ScannerOptions::default() }
    }

    fn finish(mut decoder: Box<dyn ScannerDecoder>) -> Vec<String> {
        decoder.handle_timeout(LATER);
        let reads = std::iter::from_fn(|| decoder.poll_read());
        reads
            .map(|read| {
                read.map_or_else(|fault| format!("{fault:?}"), |read| read.escape_ascii().to_string())
            })
            .collect()
    }

    /// The same bytes at once, byte by byte, and split at every position.
    fn check(options: &ScannerOptions, bytes: &[u8], expected: &[&str]) {
        let mut single = Line.decoder(options);
        bytes.iter().for_each(|byte| single.handle_bytes(Duration::ZERO, &[*byte]));
        assert_eq!(finish(single), expected, "byte by byte: {}", bytes.escape_ascii());
        for at in 0..bytes.len() {
            let mut split = Line.decoder(options);
            split.handle_bytes(Duration::ZERO, &bytes[..at]);
            split.handle_bytes(Duration::ZERO, &bytes[at..]);
            assert_eq!(finish(split), expected, "split at {at}: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn suffixes_prefixes_and_merged_reads() {
        check(&options("", "\r"), b"ABC\r]C10109\x1d10X\r", &["ABC", "]C10109\\x1d10X"]);
        check(&options("", "\r"), b"ABC\r\nDEF\r\n", &["ABC", "DEF"]);
        check(&options("", "\r\n"), b"ABC\r\nD\rEF\r\n", &["ABC", "D\\rEF"]);
        check(&options("\x02", "\x03"), b"\x02ABC\x03\x02]E0123\x03", &["ABC", "]E0123"]);
        check(&options("", "\t"), b"ABC\tDEF\t", &["ABC", "DEF"]);
        check(&options("", ""), b"ABC", &["ABC"]);
        check(&options("", "\r"), b"\r\r\n\r", &[]);
        // Letters as suffix may also begin a label.
        check(&options("", "END"), b"E123ENDENDEND4END", &["E123", "4"]);
        check(&options("", "#"), b"##1##2#", &["1", "2"]);
    }

    #[test]
    fn gs_is_data_and_its_substitute_becomes_gs() {
        check(&options("", "\r"), b"\x1dA\x1d\r", &["\\x1dA\\x1d"]);
        let substitute = ScannerOptions { gs_substitute: Some(b'~'), ..options("", "\r") };
        check(&substitute, b"]C110A~21B\r", &["]C110A\\x1d21B"]);
    }

    #[test]
    fn what_is_no_read_is_told() {
        check(&options("\x02", "\r"), b"ABC\r\x02DEF\r", &["WithoutPrefix", "DEF"]);
        check(&options("", "\r"), b"ABC\rDE", &["ABC", "WithoutSuffix"]);
        let long = [vec![b'x'; 20_000], b"\rABC\r".to_vec()].concat();
        let mut decoder = Line.decoder(&options("", "\r"));
        decoder.handle_bytes(Duration::ZERO, &long);
        assert_eq!(decoder.counts(), LineCounts { reads: 1, faults: 1, garbage_bytes: 0 });
        assert_eq!(finish(decoder), ["TooLong { max: 7092 }", "ABC"]);
    }

    #[test]
    fn a_suffix_across_the_length_cut_is_seen() {
        for extra in 0..8 {
            let long = [vec![b'x'; SCAN_BYTES_MAX + extra], b"\r\nABC\r\n".to_vec()].concat();
            let mut decoder = Line.decoder(&options("", "\r\n"));
            decoder.handle_bytes(Duration::ZERO, &long);
            assert_eq!(finish(decoder)[1], "ABC", "{extra} too many");
        }
    }

    #[test]
    fn noise_between_reads_is_counted() {
        let mut decoder = Line.decoder(&options("", "\r"));
        decoder.handle_bytes(Duration::ZERO, b"\x00\x00\xff\x11ABC\r\n");
        assert_eq!(decoder.counts(), LineCounts { reads: 1, faults: 0, garbage_bytes: 4 });
        assert_eq!(finish(decoder), ["ABC"]);
    }

    #[test]
    fn a_pause_ends_a_read_without_suffix() {
        let mut decoder = Line.decoder(&options("", ""));
        let ms = Duration::from_millis;
        decoder.handle_bytes(ms(100), b"AB");
        decoder.handle_bytes(ms(120), b"C");
        assert_eq!(decoder.poll_timeout(), Some(ms(170)));
        decoder.handle_timeout(ms(169));
        assert_eq!(decoder.poll_read(), None);
        // The timer is late and the next read comes first: still two reads.
        decoder.handle_bytes(ms(400), b"DEF");
        assert_eq!(decoder.poll_read(), Some(Ok(b"ABC".to_vec())));
        decoder.handle_timeout(ms(450));
        assert_eq!(decoder.poll_read(), Some(Ok(b"DEF".to_vec())));
        assert_eq!(decoder.poll_timeout(), None);
    }

    #[test]
    fn the_bell_tells_recorded_from_understood_from_the_rest() {
        let mut decoder = Line.decoder(&ScannerOptions { feedback: Feedback::Bell, ..options("", "\r") });
        assert_eq!(decoder.poll_transmit(), None, "nothing before the first signal");
        for (signal, bells) in
            [(Signal::Good, 1), (Signal::Heard, 2), (Signal::Unknown, 3), (Signal::NotStored, 3)]
        {
            assert!(decoder.handle_signal(Duration::ZERO, signal));
            assert_eq!(decoder.poll_transmit(), Some(vec![7; bells]), "{signal:?}");
            assert_eq!((decoder.poll_transmit(), decoder.poll_timeout()), (None, None));
        }
        let mut silent = Line.decoder(&options("", "\r"));
        assert!(!silent.handle_signal(Duration::ZERO, Signal::Good));
        assert_eq!(silent.poll_transmit(), None);
    }

    #[test]
    fn signals_that_nobody_fetches_do_not_pile_up() {
        let mut decoder =
            Decoder::new(&ScannerOptions { feedback: Feedback::Bell, ..options("", "\r") }, &BELL);
        (0..1_000).for_each(|_| assert!(decoder.handle_signal(Duration::ZERO, Signal::Good)));
        assert_eq!(decoder.transmits.len(), TRANSMITS_MAX);
    }
}
