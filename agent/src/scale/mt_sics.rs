//! Mettler-Toledo MT-SICS, levels 0 and 1: ASCII lines, polled or streaming.
//!
//! ```text
//!  request   S I CR LF                       weight now
//!  reply   +---+ +---+ +------------+ +------+----+----+
//!          | S | | S | |     100.00 | | g    | CR | LF |   stable
//!          | S | | D | |     -0.680 | | kg   | CR | LF |   dynamic: it moves
//!          | S | | + |                       | CR | LF |   overload       - underload
//!          | S | | I |                       | CR | LF |   not now: busy, or never stable in time
//!          +---+ +---+ +------------+ +------+----+----+
//!           echo  state  right-aligned  unit
//! ```
//!
//! Two dialects are met: balances answer `S ...` to every weight request, other indicators echo the command (`SI S ...`,
//! `SIR S ...`). The width of the number differs too, so lines are split at spaces and never by column.
//! Line: 9600 8N1. `ES`, `ET`, `EL` refuse a request. Source: MT-SICS reference manuals for XPR/XSR and for the ITT and
//! T104 terminals (level 0 and 1).

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::{
    FaultKind, FrameFault, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source,
    Stability, Unit,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct MtSics;

impl ScaleProtocol for MtSics {
    fn name(&self) -> &'static str {
        "mt-sics"
    }

    fn title(&self) -> &'static str {
        "Mettler-Toledo MT-SICS"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Decoder {
            options: *options,
            line: Vec::new(),
            overflowed: false,
            heard: None,
            replies: VecDeque::new(),
        })
    }
}

/// The longest line of level 0 and 1, the list of versions, has about 80 characters.
const LINE_BYTES_MAX: usize = 128;
/// A line is sent in one go: 128 characters take 1.1 s at 1200 baud, a pause within one is a break.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);

struct Decoder {
    options: ScaleOptions,
    /// The line so far, without its end; at most `LINE_BYTES_MAX`.
    line: Vec<u8>,
    /// The line was longer and what came after is being skipped.
    overflowed: bool,
    /// When the last byte came.
    heard: Option<Duration>,
    replies: VecDeque<Result<Reading, FrameFault>>,
}

impl ScaleDecoder for Decoder {
    fn request(&mut self) -> Option<Vec<u8>> {
        // `S` would block inside the scale until the load is still; `SI` answers at once and says whether it is.
        Some(b"SI\r\n".to_vec())
    }

    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        if self.heard.is_some_and(|heard| now.saturating_sub(heard) > SILENCE_MAX) {
            self.handle_end();
        }
        if !bytes.is_empty() {
            self.heard = Some(now);
        }
        for &byte in bytes {
            match byte {
                // Some firmware ends its lines with CR alone; the LF of the usual CR LF then ends an empty line.
                b'\r' | b'\n' => self.end_line(),
                _ if self.line.len() < LINE_BYTES_MAX => self.line.push(byte),
                _ => self.overflowed = true,
            }
        }
    }

    fn poll_reply(&mut self) -> Option<Result<Reading, FrameFault>> {
        self.replies.pop_front()
    }

    fn handle_end(&mut self) {
        if !self.line.is_empty() {
            self.overflowed = false;
            self.replies
                .push_back(Err(FrameFault { kind: FaultKind::Truncated, raw: mem::take(&mut self.line) }));
        }
    }
}

impl Decoder {
    fn end_line(&mut self) {
        let raw = mem::take(&mut self.line);
        let reply = if mem::take(&mut self.overflowed) {
            Err(FaultKind::TooLong { max: LINE_BYTES_MAX })
        } else if raw.is_empty() {
            return;
        } else {
            read(&raw, self.options)
        };
        self.replies.push_back(reply.map_err(|kind| FrameFault { kind, raw }));
    }
}

/// The first word of a reply to any weight request, in both dialects.
const WEIGHT: &[&str] = &["S", "SI", "SIR", "SR", "SU", "SIU"];
/// Replies to requests that we or somebody else sent: zero, tare, inquiries, display.
const OTHER: &[&str] =
    &["@", "Z", "ZI", "T", "TI", "TA", "TAC", "D", "DW", "I0", "I1", "I2", "I3", "I4", "I5"];

fn read(line: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    const EXPECTED: &str = "expected a line such as \"S S     100.00 g\"";
    let malformed = || FaultKind::Malformed { expected: EXPECTED };
    if line.iter().any(|byte| *byte >= 0x80) {
        return Err(FaultKind::Parity);
    }
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let first = words.next().ok_or_else(malformed)?;
    match first {
        "ES" => return Err(FaultKind::Device { what: "unknown command (ES)" }),
        "ET" => return Err(FaultKind::Device { what: "transmission error (ET)" }),
        "EL" => return Err(FaultKind::Device { what: "command not possible now (EL)" }),
        other if OTHER.contains(&other) => return Err(FaultKind::OtherReply),
        weight if WEIGHT.contains(&weight) => {}
        _ => return Err(malformed()),
    }
    let state = words.next().ok_or_else(malformed)?;
    let rest: Vec<&str> = words.collect();
    let status = |stability, range| Ok(Reading::status(stability, range, line));
    let stability = match (state, rest.as_slice()) {
        ("S", [_, ..]) => Stability::Stable,
        ("D", [_, ..]) => Stability::Moving,
        ("I", []) => return status(Stability::Unknown, Range::Unknown),
        ("+", []) => return status(Stability::Unknown, Range::Over),
        ("-", []) => return status(Stability::Unknown, Range::Under),
        _ => return Err(malformed()),
    };
    // A sign may stand apart from its digits.
    let (number, unit) = match rest.as_slice() {
        [sign @ ("-" | "+"), digits, unit @ ..] => (format!("{sign}{digits}"), unit),
        [number, unit @ ..] => ((*number).to_string(), unit),
        [] => return Err(malformed()),
    };
    let value = Shown::parse(&number).ok_or_else(malformed)?;
    let (unit, unit_source) = match (unit, options.unit) {
        ([unit], _) => {
            let known = Unit::parse(unit);
            (
                known.ok_or_else(|| FaultKind::UnknownUnit { unit: unit.chars().take(8).collect() })?,
                Source::Reported,
            )
        }
        ([], Some(unit)) => (unit, Source::Configured),
        ([], None) => return Err(FaultKind::MissingUnit),
        _ => return Err(malformed()),
    };
    Ok(Reading {
        value: Some(value),
        unit: Some(unit),
        unit_source,
        stability,
        stability_source: Source::Reported,
        range: Range::Ok,
        // The weight is what the display shows; whether a tare was taken off is told by `TA` alone.
        net: Net::Unknown,
        zero: Some(value.steps == 0),
        tare: None,
        age_ms: 0,
        raw: line.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(options: ScaleOptions, bytes: &[u8]) -> Vec<Result<Reading, FrameFault>> {
        let mut decoder = MtSics.decoder(&options);
        decoder.handle_bytes(Duration::ZERO, bytes);
        decoder.handle_end();
        std::iter::from_fn(|| decoder.poll_reply()).collect()
    }

    fn check(bytes: &[u8], expected: &str) {
        let printed: Vec<String> = decode(ScaleOptions::default(), bytes).iter().map(print).collect();
        assert_eq!(printed.join("; "), expected, "{}", bytes.escape_ascii());
    }

    fn print(reply: &Result<Reading, FrameFault>) -> String {
        match reply {
            Ok(Reading { value: Some(value), unit: Some(unit), stability, range, .. }) => {
                assert_eq!(*range, Range::Ok);
                format!("{value} {} {}", unit.as_str(), stability.as_str())
            }
            Ok(reading) => format!("no weight, {}, {}", reading.stability.as_str(), reading.range.as_str()),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn weights_of_both_dialects() {
        check(b"S S     100.00 g\r\n", "100.00 g stable");
        check(b"S D      -0.680 kg\r\n", "-0.680 kg moving");
        check(b"SI S 1.250 kg\r\n", "1.250 kg stable");
        check(b"SIR D   - 0.250 kg\r\n", "-0.250 kg moving");
        check(b"S S 0 pcs\r", "0 pcs stable");
        check(b"\nS S 5 lb\nSI D 6 lb\r\n\r\n", "5 lb stable; 6 lb moving");
    }

    #[test]
    fn a_status_carries_no_weight() {
        check(b"S I\r\n", "no weight, unknown, unknown");
        check(b"S +\r\n", "no weight, unknown, over");
        check(b"SI -\r\n", "no weight, unknown, under");
        // The order is what counts: the old weight does not stand behind the status.
        check(b"S S 5.0 kg\r\nS +\r\n", "5.0 kg stable; no weight, unknown, over");
    }

    #[test]
    fn other_replies_and_complaints() {
        check(
            b"I4 A \"B021002593\"\r\nZ A\r\nT S      1.250 kg\r\n",
            &["an answer to another command"; 3].join("; "),
        );
        check(b"ES\r\n", "the scale reports: unknown command (ES)");
        check(
            b"ET\r\nEL\r\n",
            "the scale reports: transmission error (ET); the scale reports: command not possible now (EL)",
        );
    }

    #[test]
    fn units_are_never_guessed() {
        check(b"S S 12:07.50 lb:oz\r\n", "not understood: expected a line such as \"S S     100.00 g\"");
        check(b"S S 1.0 stone\r\n", "unknown unit \"stone\"");
        check(b"S S 1.0\r\n", "the weight has no unit");
        let configured = decode(ScaleOptions { unit: Some(Unit::Kilogram) }, b"S S 1.0\r\nS S 1.0 g\r\n");
        let sources: Vec<_> = configured.iter().flatten().map(|r| (r.unit.unwrap(), r.unit_source)).collect();
        assert_eq!(sources, [(Unit::Kilogram, Source::Configured), (Unit::Gram, Source::Reported)]);
    }

    #[test]
    fn garbage_is_told_and_the_next_frame_is_read() {
        let refused = "not understood: expected a line such as \"S S     100.00 g\"";
        for garbage in [
            "0.00 g",
            "S",
            "S S",
            "S X 1.0 kg",
            "S S 1,0 kg",
            "S S 1.0 kg kg",
            "s s 1.0 kg",
            "S I 1.0 kg",
            "S S kg",
        ] {
            check(format!("{garbage}\r\nS S 7 kg\r\n").as_bytes(), &format!("{refused}; 7 kg stable"));
        }
        // 7E1 read as 8N1: the parity bit shows.
        check(
            b"\xD3 S 1\xB20.00 g\r\nS S 7 kg\r\n",
            "bytes with the eighth bit set: the parity or speed of the line does not match; 7 kg stable",
        );
        let long = [vec![b'x'; 5_000], b"\r\nS S 7 kg\r\n".to_vec()].concat();
        check(&long, "no end of frame within 128 bytes; 7 kg stable");
        check(b"S S 7 kg\r\nS S 12", "7 kg stable; the frame breaks off");
    }

    #[test]
    fn a_broken_off_line_is_not_glued_to_the_next() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        decoder.handle_bytes(Duration::ZERO, b"S S 1");
        decoder.handle_bytes(Duration::from_secs(9), b"2.0 kg\r\nS S 3 kg\r\n");
        let printed: Vec<_> =
            std::iter::from_fn(|| decoder.poll_reply()).map(|reply| print(&reply)).collect();
        assert_eq!(printed[0], "the frame breaks off");
        assert_eq!(printed[2], "3 kg stable", "{printed:?}");
        assert_eq!(printed.len(), 3);
    }

    #[test]
    fn any_split_gives_the_same() {
        let transcript: &[u8] =
            b"I4 A \"1\"\r\nS S     100.00 g\r\nSI D 1.5 kg\r\nS +\r\nrubbish\r\nS S -3 kg\r\n";
        let whole = decode(ScaleOptions::default(), transcript);
        for at in 0..transcript.len() {
            let mut decoder = MtSics.decoder(&ScaleOptions::default());
            decoder.handle_bytes(Duration::ZERO, &transcript[..at]);
            decoder.handle_bytes(Duration::ZERO, &transcript[at..]);
            assert_eq!(
                std::iter::from_fn(|| decoder.poll_reply()).collect::<Vec<_>>(),
                whole,
                "split at {at}"
            );
        }
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        transcript.iter().for_each(|byte| decoder.handle_bytes(Duration::ZERO, &[*byte]));
        assert_eq!(std::iter::from_fn(|| decoder.poll_reply()).collect::<Vec<_>>(), whole, "byte by byte");
    }
}
