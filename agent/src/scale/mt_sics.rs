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

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
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
        Box::new(Framed::new(Sics {
            options: *options,
            asked: false,
            stream: Stream::Unasked(0),
            now: Duration::ZERO,
        }))
    }
}

/// So many weights that nobody asked for are a stream and no print key.
const UNASKED_MAX: u8 = 3;
/// A scale answers `@` within this time, or does not know it.
const RESET_MAX: Duration = Duration::from_secs(1);

struct Sics {
    options: ScaleOptions,
    /// A weight was asked for and has not come.
    asked: bool,
    stream: Stream,
    /// When the last frame came.
    now: Duration,
}

/// A scale that was left streaming is told to stop, once: it would keep the station awake and never say which weight
/// was measured after the question. `@` also clears the tare, so no other scale is sent it.
enum Stream {
    /// So many weights came unasked since the last one that was asked for.
    Unasked(u8),
    /// `@` is to be sent.
    Stop,
    /// It was sent then; what comes before its answer is old.
    Stopping(Duration),
    /// It was answered, or ignored: then the stream is taken as it is.
    Settled,
}

impl Grammar for Sics {
    /// The longest line of level 0 and 1, the list of versions, has about 80 characters.
    const FRAME_MAX: usize = 128;

    fn handle_frame(&mut self, now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        self.now = now;
        let reading = read(frame, self.options);
        if let Stream::Stopping(since) = self.stream {
            let old = reading.is_ok() && now.saturating_sub(since) < RESET_MAX;
            if old {
                return Ok(None);
            }
            self.stream = Stream::Settled;
        }
        let reading = reading?;
        if std::mem::take(&mut self.asked) {
            if let Stream::Unasked(count) = &mut self.stream {
                *count = 0;
            }
        } else if let Stream::Unasked(count) = self.stream {
            let count = count + 1;
            self.stream = if count < UNASKED_MAX { Stream::Unasked(count) } else { Stream::Stop };
        }
        Ok(Some(reading))
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        self.asked = true;
        // `S` would block inside the scale until the load is still; `SI` answers at once and says whether it is.
        Some(b"SI\r\n".to_vec())
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let stop = matches!(self.stream, Stream::Stop);
        stop.then(|| {
            self.stream = Stream::Stopping(self.now);
            b"@\r\n".to_vec()
        })
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
    let (unit, unit_source) = match unit {
        [] => options.unit_of("")?,
        [unit] => options.unit_of(unit)?,
        _ => return Err(malformed()),
    };
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        // The weight is what the display shows; whether a tare was taken off is told by `TA` alone.
        net: Net::Unknown,
        zero: Some(value.steps == 0),
        ..Reading::shown(value, unit, unit_source, line)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::super::testing::{self, replies};
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&MtSics, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights_of_both_dialects() {
        check(b"S S     100.00 g\r\n", "100.00 g stable");
        check(b"S D      -0.680 kg\r\n", "-0.680 kg moving");
        check(b"SI S 1.250 kg\r\n", "1.250 kg stable");
        check(b"SIR D   - 0.250 kg\r\n", "-0.250 kg moving");
        check(b"S S 0 pcs\r", "0 pcs stable zero");
        check(b"\nS S 5 lb\nSI D 6 lb\r\n\r\n", "5 lb stable; 6 lb moving");
    }

    #[test]
    fn a_status_carries_no_weight() {
        check(b"S I\r\n", "no weight");
        check(b"S +\r\n", "no weight over");
        check(b"SI -\r\n", "no weight under");
        // The order is what counts: the old weight does not stand behind the status.
        check(b"S S 5.0 kg\r\nS +\r\n", "5.0 kg stable; no weight over");
    }

    #[test]
    fn other_replies_and_complaints() {
        check(
            b"I4 A \"B021002593\"\r\nZ A\r\nT S      1.250 kg\r\n",
            "other_reply; other_reply; other_reply",
        );
        check(b"ES\r\nET\r\nEL\r\n", "device; device; device");
    }

    #[test]
    fn units_are_never_guessed() {
        check(b"S S 12:07.50 lb:oz\r\n", "malformed");
        check(b"S S 1.0 stone\r\n", "unknown_unit");
        check(b"S S 1.0\r\n", "missing_unit");
        let kilogram = ScaleOptions { unit: Some(Unit::Kilogram), ..ScaleOptions::default() };
        testing::check(&MtSics, &kilogram, b"S S 1.0\r\nS S 1.0 g\r\n", "1.0 kg* stable; 1.0 g stable");
    }

    #[test]
    fn garbage_is_told_and_the_next_frame_is_read() {
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
            check(format!("{garbage}\r\nS S 7 kg\r\n").as_bytes(), "malformed; 7 kg stable");
        }
        // 7E1 read as 8N1: the parity bit shows.
        check(b"\xD3 S 1\xB20.00 g\r\nS S 7 kg\r\n", "parity; 7 kg stable");
        let long = [vec![b'x'; 900], b"\r\nS S 7 kg\r\n".to_vec()].concat();
        check(&long, "too_long; 7 kg stable");
        check(b"S S 7 kg\r\nS S 12", "7 kg stable; truncated");
    }

    #[test]
    fn a_scale_left_streaming_is_stopped_once() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        let mut at = |ms: u64, bytes: &[u8]| {
            decoder.handle_bytes(Duration::from_millis(ms), bytes);
            let said = replies(&mut *decoder);
            let sent = decoder.poll_transmit().unwrap_or_default().escape_ascii().to_string();
            format!("{said} > {sent}")
        };
        assert_eq!(at(0, b"S S 1 kg\r\n"), "1 kg stable > ");
        assert_eq!(at(100, b"S S 2 kg\r\nS S 3 kg\r\n"), "2 kg stable; 3 kg stable > @\\r\\n");
        assert_eq!(at(200, b"S S 4 kg\r\nS D 5 kg\r\n"), " > ");
        assert_eq!(at(300, b"I4 A \"1\"\r\nS S 6 kg\r\n"), "other_reply; 6 kg stable > ");
        assert_eq!(
            at(400, b"S S 7 kg\r\nS S 8 kg\r\nS S 9 kg\r\n"),
            "7 kg stable; 8 kg stable; 9 kg stable > "
        );
    }

    #[test]
    fn a_stream_that_cannot_be_stopped_is_taken_as_it_is() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        decoder.handle_bytes(Duration::ZERO, b"S S 1 kg\r\nS S 2 kg\r\nS S 3 kg\r\n");
        assert!(decoder.poll_transmit().is_some());
        replies(&mut *decoder);
        decoder.handle_bytes(Duration::from_millis(999), b"S S 4 kg\r\n");
        assert_eq!(replies(&mut *decoder), "");
        decoder.handle_bytes(Duration::from_millis(1_000), b"S S 5 kg\r\n");
        assert_eq!(replies(&mut *decoder), "5 kg stable");
    }

    #[test]
    fn answers_are_no_stream() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        for _ in 0..9 {
            assert_eq!(decoder.request().as_deref(), Some(&b"SI\r\n"[..]));
            decoder.handle_bytes(Duration::ZERO, b"S S 1 kg\r\n");
            assert_eq!((replies(&mut *decoder).as_str(), decoder.poll_transmit()), ("1 kg stable", None));
        }
    }
}
