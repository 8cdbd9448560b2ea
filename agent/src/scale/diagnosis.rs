//! What is wrong with a scale's line, told from what it carried.
//!
//! ```text
//!  the port is not there                                          -> unplugged
//!  it is open, the scale was asked, and nothing came              -> silent
//!  it is open, the scale sends by itself, and it has stopped      -> silent
//!  bytes that another protocol understands                        -> another protocol, by name
//!  the eighth bit is a parity bit, or parity errors read as 00    -> parity mistake
//!  mostly bytes that no protocol uses (00, F8, FF ...)            -> wrong speed
//!  ordinary characters that no protocol understands               -> garbage
//! ```
//!
//! Each has another cause and another remedy, so that a technician is never left with "it does not work". Nothing here
//! opens a port: [`Evidence`] is handed what came, and [`judge`] says what that means.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{FaultKind, FrameFault, Reading, SCALES, ScaleOptions, ScaleProtocol, Unit, parity_of};
use crate::serial::{LineSettings, Parity};

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Diagnosis {
    /// Readings come.
    Working,
    /// Too little has come to tell, and not for long enough to call it silence.
    Unknown,
    /// The port is not there.
    Unplugged,
    /// The scale was asked, or sends by itself, and says nothing at all.
    Silent {
        /// Since it was first asked in vain, or last heard.
        waited: Duration,
    },
    /// Data bits or parity are set differently at the two ends.
    Parity {
        /// How the bytes look as if they were sent.
        sent: LineSettings,
        /// The protocols that understand them once they are read so.
        protocols: Vec<&'static str>,
    },
    /// The two ends have different speeds.
    WrongSpeed,
    /// It answers, but not in this protocol.
    Garbage {
        /// The protocols that understand it.
        protocols: Vec<&'static str>,
    },
}

impl Diagnosis {
    /// The stable word, for machines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Diagnosis::Working => "working",
            Diagnosis::Unknown => "unknown",
            Diagnosis::Unplugged => "unplugged",
            Diagnosis::Silent { .. } => "silent",
            Diagnosis::Parity { .. } => "parity",
            Diagnosis::WrongSpeed => "wrong_speed",
            Diagnosis::Garbage { .. } => "garbage",
        }
    }

    /// What is the matter, with `line` being how our end is set and `protocol` what it expects.
    pub fn message(&self, protocol: &str, line: LineSettings) -> String {
        match self {
            Diagnosis::Working => format!("answers in {protocol}"),
            Diagnosis::Unknown => "nothing has come that tells how it stands".into(),
            Diagnosis::Unplugged => "the port is not there".into(),
            Diagnosis::Silent { waited } => {
                format!("has not answered for {} s: connected, and silent", waited.as_secs())
            }
            Diagnosis::Parity { sent, .. } => format!(
                "its data bits or parity are others: it sends as with \"{sent}\" and is read with \"{line}\""
            ),
            Diagnosis::WrongSpeed => {
                format!("sends bytes that no scale uses: its speed is not {} baud", line.baud)
            }
            Diagnosis::Garbage { protocols } if protocols.is_empty() => {
                format!("answers, but neither in {protocol} nor in another known protocol")
            }
            Diagnosis::Garbage { protocols } => {
                format!("answers in {}, and not in {protocol}", protocols.join(" or "))
            }
        }
    }

    /// What to do next, for the scale at that port.
    pub fn hint(&self, port: &str) -> String {
        let probe = format!("`stockwire-agent devices --probe {port}` finds protocol and line settings");
        match self {
            Diagnosis::Working => String::new(),
            Diagnosis::Unknown => format!("wait a moment, or see what comes: {probe}"),
            Diagnosis::Unplugged => {
                "plug it in, or correct its port; `stockwire-agent devices` lists what is there".into()
            }
            Diagnosis::Silent { .. } => format!(
                "is it switched on, is the cable the right one (crossed or straight), and does its menu let it \
                 answer? then {probe}"
            ),
            Diagnosis::Parity { sent, protocols } => match protocols.as_slice() {
                [] => {
                    format!("set line = \"{sent}\" for this device, or the same in the scale's menu; {probe}")
                }
                [protocol, ..] => format!(
                    "set line = \"{sent}\" and protocol = \"{protocol}\" for this device; then `stockwire-agent check-config`"
                ),
            },
            Diagnosis::WrongSpeed => format!("compare line = with the speed in the scale's menu; {probe}"),
            Diagnosis::Garbage { protocols } => match protocols.as_slice() {
                [] => format!("which output format is set in its menu? {probe}"),
                [protocol, ..] => {
                    format!(
                        "set protocol = \"{protocol}\" for this device, then `stockwire-agent check-config`"
                    )
                }
            },
        }
    }
}

/// Bytes kept of a line: a second at 9600 baud, and dozens of frames.
pub const EVIDENCE_BYTES_MAX: usize = 1_024;
/// Fewer bytes look like anything.
const BYTES_MIN: usize = 12;
/// A weight has at least so many different characters; a line at the wrong speed repeats a few bytes.
const DIFFERENT_MIN: usize = 5;
/// A scale that was asked and says nothing for this long is not there, or was asked in another language.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);

/// What a port gave since it was opened, or since a reading came.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The port is open.
    open: bool,
    /// When it was first asked without anything having come since.
    asked: Option<Duration>,
    /// It sends by itself, and nothing has come since then, which is too long.
    fell_silent: Option<Duration>,
    /// The last thing that came was a reading.
    reading: bool,
    /// What came since the last reading; at most [`EVIDENCE_BYTES_MAX`].
    bytes: VecDeque<u8>,
}

impl Evidence {
    /// The port is open, and nothing of what came before counts.
    pub fn handle_opened(&mut self) {
        *self = Self { open: true, ..Self::default() };
    }

    /// The port is gone.
    pub fn handle_closed(&mut self) {
        *self = Self::default();
    }

    /// The scale was asked for a weight.
    pub fn handle_request(&mut self, now: Duration) {
        self.asked.get_or_insert(now);
    }

    /// It sends by itself, and has sent nothing since then: longer than it ever pauses.
    pub fn handle_silence(&mut self, since: Duration) {
        self.fell_silent = Some(since);
    }

    /// What came, before the decoder makes something of it.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            (self.asked, self.fell_silent) = (None, None);
        }
        let kept = &bytes[bytes.len().saturating_sub(EVIDENCE_BYTES_MAX)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(EVIDENCE_BYTES_MAX);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// What the decoder made of it.
    pub fn handle_reply(&mut self, reply: &Result<Reading, FrameFault>) {
        // A complaint of the scale itself is understood as well, as far as the line is concerned.
        self.reading = match reply {
            Ok(_) => true,
            Err(FrameFault { kind, .. }) => !kind.is_damage(),
        };
        if self.reading {
            self.bytes.clear();
        }
    }

    /// What all that means.
    pub fn diagnose(&self, now: Duration, protocol: &str, line: LineSettings) -> Diagnosis {
        if !self.open {
            return Diagnosis::Unplugged;
        }
        if let Some(waited) = self.asked.map(|asked| now.saturating_sub(asked))
            && waited >= SILENT_AFTER
        {
            return Diagnosis::Silent { waited };
        }
        if let Some(since) = self.fell_silent {
            return Diagnosis::Silent { waited: now.saturating_sub(since) };
        }
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        match self.reading {
            true => Diagnosis::Working,
            false if bytes.len() < BYTES_MIN => Diagnosis::Unknown,
            false => judge(&bytes, protocol, line),
        }
    }
}

/// What is wrong with bytes of which `protocol` has understood nothing, read with `line`.
pub fn judge(bytes: &[u8], protocol: &str, line: LineSettings) -> Diagnosis {
    let protocols = understood_by(bytes);
    if protocols.contains(&protocol) {
        return Diagnosis::Working;
    }
    if !protocols.is_empty() {
        return Diagnosis::Garbage { protocols };
    }
    if let Some((sent, bytes)) = misread(bytes, line) {
        return Diagnosis::Parity { sent, protocols: understood_by(&bytes) };
    }
    let strange = bytes.iter().filter(|byte| !is_used(**byte)).count();
    if strange * 4 > bytes.len() { Diagnosis::WrongSpeed } else { Diagnosis::Garbage { protocols } }
}

/// How the bytes were sent, when data bits or parity differ at the two ends, and what they were; parity errors, which
/// nobody can undo, are left out.
fn misread(bytes: &[u8], line: LineSettings) -> Option<(LineSettings, Vec<u8>)> {
    let plausible = |bytes: &[u8]| {
        let used = bytes.iter().filter(|byte| is_used(**byte)).count();
        let different: BTreeSet<_> = bytes.iter().collect();
        different.len() >= DIFFERENT_MIN && used * 10 >= bytes.len() * 9
    };
    if let Some(parity) = parity_of(bytes) {
        let data: Vec<u8> = bytes.iter().map(|byte| byte & 0x7f).collect();
        let sent = LineSettings { data_bits: 7, parity, ..line };
        return plausible(&data).then_some((sent, data));
    }
    // With a parity bit expected, a byte without the right one is read as 00.
    let (odd, other) = match line.parity {
        Parity::None => return None,
        Parity::Even => (false, Parity::Odd),
        Parity::Odd => (true, Parity::Even),
    };
    let good: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let errors = bytes.len() - good.len();
    if good.is_empty() {
        // Every single one is wrong: even and odd are exchanged.
        return Some((LineSettings { parity: other, ..line }, good));
    }
    let agree = good.iter().all(|byte| (byte.count_ones() % 2 == 1) == odd);
    let sent = LineSettings { data_bits: 8, parity: Parity::None, stop_bits: 1, ..line };
    (agree && errors * 5 > bytes.len() && plausible(&good)).then_some((sent, good))
}

/// Whether some text protocol uses that byte: characters, line ends, marks and handshakes.
fn is_used(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t' | 0x01..=0x06 | 0x15 | 0x1b)
}

/// The protocols that make readings of these bytes, the surest first.
pub fn understood_by(bytes: &[u8]) -> Vec<&'static str> {
    let understood = matches(bytes).into_iter().filter(|found| found.score.frames > 0);
    understood.map(|found| found.row.name()).collect()
}

/// All protocols that make something of these bytes, the surest first.
pub fn matches(bytes: &[u8]) -> Vec<Match> {
    let mut matches: Vec<Match> = SCALES.iter().filter_map(|row| Match::of(*row, bytes)).collect();
    matches.sort_by_key(|found| std::cmp::Reverse(found.score));
    if let Some(best) = matches.first().map(|found| found.score) {
        // A loose grammar finds something in many a frame of another; what leaves out more than a tenth of what the best
        // one reads is no second opinion.
        matches.retain(|found| {
            (found.score.frames > 0) == (best.frames > 0) && found.score.share * 10 >= best.share * 9
        });
    }
    matches
}

/// How well a protocol understands bytes.
#[derive(Clone, Copy)]
pub struct Match {
    /// The protocol.
    pub row: &'static dyn ScaleProtocol,
    /// With these options.
    pub options: ScaleOptions,
    /// Comparable between protocols.
    pub score: Score,
}

/// The order in which matches are believed: a checksum that holds beats any grammar, then more of what came is
/// understood, then more frames were seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Score {
    /// The frames carry a check value.
    pub checked: bool,
    /// Hundredths of the frames that were understood.
    pub share: usize,
    /// Frames that were understood; 0 when the scale only complained, in words of this protocol.
    pub frames: usize,
}

/// Protocols whose frames carry a check value.
const CHECKED: [&str; 4] = ["toledo-continuous", "cas-pd2", "dibal", "link"];

impl Match {
    /// `None` when less is understood than is not.
    fn of(row: &'static dyn ScaleProtocol, bytes: &[u8]) -> Option<Self> {
        let plain = ScaleOptions::default();
        // Where the frames have no unit the technician is asked for it later.
        let units = [plain, ScaleOptions { unit: Some(Unit::Kilogram), ..plain }];
        let bare = units.map(|options| ScaleOptions { checksum: false, ..options });
        let bare = bare.into_iter().filter(|_| row.options().contains(&"checksum"));
        units.into_iter().chain(bare).find_map(|options| Self::with(row, options, bytes))
    }

    fn with(row: &'static dyn ScaleProtocol, options: ScaleOptions, bytes: &[u8]) -> Option<Self> {
        let mut decoder = row.decoder(&options);
        decoder.handle_bytes(Duration::ZERO, bytes);
        let (mut frames, mut complaints, mut damaged) = (0, 0, 0usize);
        while let Some(reply) = decoder.poll_reply() {
            match reply {
                Ok(_) => frames += 1,
                Err(fault) if fault.kind.is_damage() => damaged += 1,
                Err(FrameFault { kind: FaultKind::MissingUnit, .. }) => return None,
                Err(FrameFault { kind: FaultKind::Device { .. }, .. }) => complaints += 1,
                Err(_) => {}
            }
        }
        // What stands at the beginning of the bytes may be half a frame.
        let damaged = damaged.saturating_sub(1);
        if damaged > frames || frames + complaints == 0 {
            return None;
        }
        let checked = frames > 0 && options.checksum && CHECKED.contains(&row.name());
        let share = if frames == 0 { 0 } else { 100 * frames / (frames + damaged) };
        Some(Self { row, options, score: Score { checked, share, frames } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: LineSettings = LineSettings::DEFAULT;
    const SEVEN: LineSettings = LineSettings { data_bits: 7, parity: Parity::Even, ..EIGHT };
    const ODD: LineSettings = LineSettings { parity: Parity::Odd, ..SEVEN };

    fn check(bytes: &[u8], protocol: &str, line: LineSettings, expected: &str) {
        let bytes = bytes.repeat(3);
        let diagnosis = judge(&bytes, protocol, line);
        let detail = match &diagnosis {
            Diagnosis::Parity { sent, protocols } => format!(" {sent} {}", protocols.join(" ")),
            Diagnosis::Garbage { protocols } => format!(" {}", protocols.join(" ")),
            _ => String::new(),
        };
        assert_eq!(
            format!("{}{detail}", diagnosis.as_str()).trim_end(),
            expected,
            "{}",
            bytes.escape_ascii()
        );
        assert!(!diagnosis.message(protocol, line).is_empty());
        assert_eq!(diagnosis.hint("/dev/x").is_empty(), diagnosis == Diagnosis::Working);
    }

    /// Seven bits with even parity, as eight bits show them.
    fn with_parity(text: &[u8]) -> Vec<u8> {
        text.iter().map(|byte| byte | (byte.count_ones() as u8 % 2) << 7).collect()
    }

    /// Eight bits, as a line that expects even parity reads them.
    fn without_parity(text: &[u8]) -> Vec<u8> {
        text.iter().map(|byte| if byte.count_ones() % 2 == 0 { *byte } else { 0 }).collect()
    }

    #[test]
    fn another_protocol_is_named() {
        check(b"S S     12.345 kg\r\n", "toledo-8217", EIGHT, "garbage mt-sics");
        check(b"$+0012.345 +0000.000 kg 0201\r\n", "mt-sics", EIGHT, "garbage bilanciai-d70");
        check(b"S S     12.345 kg\r\n", "mt-sics", EIGHT, "working");
        check(b"HELLO WORLD\r\n", "mt-sics", EIGHT, "garbage");
        check(b"ES\r\n", "toledo-8217", EIGHT, "garbage");
    }

    #[test]
    fn mistakes_of_parity_name_the_right_setting() {
        check(&with_parity(b"ST,+0012.345 kg\r\n"), "and", EIGHT, "parity 9600 7E1 and");
        check(&without_parity(b"S S     12.345 kg\r\n"), "mt-sics", SEVEN, "parity 9600 8N1");
        // Odd where even is expected: not one character is right.
        check(&[0; 17], "and", SEVEN, "parity 9600 7O1");
        check(&[0; 17], "and", ODD, "parity 9600 7E1");
    }

    #[test]
    fn another_speed_is_no_other_protocol() {
        // 2400 baud read at 9600, and 9600 read at 2400.
        check(b"\x80\x7f\xf8\x00\x78\xf8\x80\x07\x80\xf8\x00\x80\x78", "mt-sics", EIGHT, "wrong_speed");
        check(b"\xe5\x9c\xf1\x6b\xff\x8a\xd3\x17\xb9", "mt-sics", EIGHT, "wrong_speed");
        check(&[0; 30], "mt-sics", EIGHT, "wrong_speed");
    }

    #[test]
    fn evidence_becomes_a_diagnosis_in_time() {
        let seconds = Duration::from_secs;
        let judge = |evidence: &Evidence, now| evidence.diagnose(seconds(now), "mt-sics", EIGHT);
        let mut evidence = Evidence::default();
        assert_eq!(judge(&evidence, 0), Diagnosis::Unplugged);
        evidence.handle_opened();
        assert_eq!(judge(&evidence, 1), Diagnosis::Unknown);
        evidence.handle_request(seconds(1));
        evidence.handle_request(seconds(2));
        assert_eq!(judge(&evidence, 3), Diagnosis::Unknown);
        assert_eq!(judge(&evidence, 4), Diagnosis::Silent { waited: seconds(3) });
        evidence.handle_silence(seconds(3));
        assert_eq!(judge(&evidence, 4), Diagnosis::Silent { waited: seconds(3) }, "asked before that");
        let fault = Err(FrameFault { kind: FaultKind::Noise, raw: vec![], bytes: 0 });
        evidence.handle_bytes(&[0xf8; 5_000]);
        evidence.handle_reply(&fault);
        assert_eq!(evidence.bytes.len(), EVIDENCE_BYTES_MAX);
        assert_eq!(judge(&evidence, 5), Diagnosis::WrongSpeed);
        evidence.handle_bytes(b"S +\r\n");
        evidence.handle_reply(&Ok(Reading::status(
            super::super::Stability::Unknown,
            super::super::Range::Over,
            b"S +",
        )));
        assert_eq!(judge(&evidence, 5), Diagnosis::Working);
        evidence.handle_closed();
        assert_eq!(judge(&evidence, 6), Diagnosis::Unplugged);
    }

    #[test]
    fn what_is_said_to_be_checked_exists() {
        assert!(CHECKED.iter().all(|name| super::super::find(name).is_some()));
    }
}
