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
//!
//!  request   TA CR LF                        the tare, before every weight
//!  reply     TA A      0.250 kg CR LF        ES, EL, TA L: it knows no such command, and is not asked again
//! ```
//!
//! The weight is what the display shows, which is net; only `TA` tells what was taken off.
//!
//! Two dialects are met: balances answer `S ...` to every weight request, other indicators echo the command (`SI S ...`,
//! `SIR S ...`). The width of the number differs too, so lines are split at spaces and never by column.
//! Line: 9600 8N1. `ES`, `ET`, `EL` refuse a request. Source: MT-SICS reference manuals for XPR/XSR and for the ITT and
//! T104 terminals (level 0 and 1).

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability, Unit,
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
            tare: Tare::Told(None),
            weigh: false,
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

/// A scale that does not know `TA` and keeps silent about it is not asked again after so many times; once may be chance.
const TARE_SILENT_MAX: u8 = 2;

struct Sics {
    options: ScaleOptions,
    tare: Tare,
    /// The question for the tare is answered, and that for the weight is to be sent.
    weigh: bool,
    /// A weight was asked for and has not come.
    asked: bool,
    stream: Stream,
    /// When the last frame came.
    now: Duration,
}

/// What was taken off the weight that comes next.
#[derive(Clone, Copy)]
enum Tare {
    /// The scale told it; `None`: not now, or nobody has asked.
    Told(Option<(Shown, Unit)>),
    /// It was asked for so often without an answer.
    Asked(u8),
    /// The scale does not know the question.
    Unsupported,
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
        let line = read(frame, self.options);
        if let (Tare::Asked(_), Some(tare)) = (self.tare, answer_to_tare(&line)) {
            self.tare = tare;
            self.weigh = true;
            return Ok(None);
        }
        if let Stream::Stopping(since) = self.stream {
            let old = matches!(line, Ok(Line::Weight(_))) && now.saturating_sub(since) < RESET_MAX;
            if old {
                return Ok(None);
            }
            self.stream = Stream::Settled;
        }
        match line? {
            Line::Weight(reading) => Ok(Some(self.handle_weight(reading))),
            Line::Tare(_) => Err(FaultKind::OtherReply),
        }
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        self.weigh = false;
        let dead = std::mem::take(&mut self.asked);
        self.tare = match self.tare {
            Tare::Told(_) => Tare::Asked(1),
            // The weight did not come either: whoever is plugged in next may know its tare.
            Tare::Unsupported if dead => Tare::Asked(1),
            Tare::Asked(times) if times < TARE_SILENT_MAX => Tare::Asked(times + 1),
            Tare::Asked(_) | Tare::Unsupported => {
                self.asked = true;
                self.tare = Tare::Unsupported;
                return Some(WEIGHT_NOW.to_vec());
            }
        };
        Some(b"TA\r\n".to_vec())
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        if matches!(self.stream, Stream::Stop) {
            self.stream = Stream::Stopping(self.now);
            return Some(b"@\r\n".to_vec());
        }
        std::mem::take(&mut self.weigh).then(|| {
            self.asked = true;
            WEIGHT_NOW.to_vec()
        })
    }
}

/// `S` would block inside the scale until the load is still; `SI` answers at once and says whether it is.
const WEIGHT_NOW: &[u8] = b"SI\r\n";

impl Sics {
    fn handle_weight(&mut self, mut reading: Reading) -> Reading {
        if std::mem::take(&mut self.asked) {
            if let Stream::Unasked(count) = &mut self.stream {
                *count = 0;
            }
            if let Tare::Told(Some((tare, unit))) = self.tare
                && reading.unit == Some(unit)
            {
                reading.net = Net::Net;
                reading.tare = Some(tare);
            }
        } else if let (Stream::Unasked(count), Some(_)) = (&self.stream, reading.value) {
            let count = count + 1;
            self.stream = if count < UNASKED_MAX { Stream::Unasked(count) } else { Stream::Stop };
        }
        reading
    }
}

/// What a line says about the tare that was asked for; `None` when it says something else.
fn answer_to_tare(line: &Result<Line, FaultKind>) -> Option<Tare> {
    match line {
        Ok(Line::Tare(tare)) => Some(Tare::Told(*tare)),
        Err(FaultKind::Device { what: UNKNOWN | IMPOSSIBLE }) => Some(Tare::Unsupported),
        _ => None,
    }
}

/// A good line.
enum Line {
    Weight(Reading),
    /// The answer to `TA`; `None`: not now.
    Tare(Option<(Shown, Unit)>),
}

const UNKNOWN: &str = "unknown command (ES)";
const IMPOSSIBLE: &str = "command not possible now (EL)";

/// The first word of a reply to any weight request, in both dialects.
const WEIGHT: &[&str] = &["S", "SI", "SIR", "SR", "SU", "SIU"];
/// Replies to requests that we or somebody else sent: zero, tare, inquiries, display.
const OTHER: &[&str] = &["@", "Z", "ZI", "T", "TI", "TAC", "D", "DW", "I0", "I1", "I2", "I3", "I4", "I5"];

const MALFORMED: FaultKind =
    FaultKind::Malformed { expected: "expected a line such as \"S S     100.00 g\"" };

fn read(line: &[u8], options: ScaleOptions) -> Result<Line, FaultKind> {
    let text = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let (stability, rest) = match words[..] {
        ["ES", ..] => return Err(FaultKind::Device { what: UNKNOWN }),
        ["ET", ..] => return Err(FaultKind::Device { what: "transmission error (ET)" }),
        ["EL", ..] => return Err(FaultKind::Device { what: IMPOSSIBLE }),
        ["TA", "A", ref rest @ ..] => {
            let (tare, unit, _) = number(rest, options)?;
            return Ok(Line::Tare(Some((tare, unit))));
        }
        ["TA", ..] => return Ok(Line::Tare(None)),
        [other, ..] if OTHER.contains(&other) => return Err(FaultKind::OtherReply),
        [first, state, ref rest @ ..] if WEIGHT.contains(&first) => match (state, rest) {
            ("S", [_, ..]) => (Stability::Stable, rest),
            ("D", [_, ..]) => (Stability::Moving, rest),
            ("I", []) => return Ok(status(Range::Unknown, line)),
            ("+", []) => return Ok(status(Range::Over, line)),
            ("-", []) => return Ok(status(Range::Under, line)),
            _ => return Err(MALFORMED),
        },
        _ => return Err(MALFORMED),
    };
    let (value, unit, unit_source) = number(rest, options)?;
    Ok(Line::Weight(Reading {
        stability,
        stability_source: Source::Reported,
        zero: Some(value.steps == 0),
        ..Reading::shown(value, unit, unit_source, line)
    }))
}

fn status(range: Range, line: &[u8]) -> Line {
    Line::Weight(Reading::status(Stability::Unknown, range, line))
}

fn number(words: &[&str], options: ScaleOptions) -> Result<(Shown, Unit, Source), FaultKind> {
    // A sign may stand apart from its digits.
    let (number, unit) = match words {
        [sign @ ("-" | "+"), digits, unit @ ..] => (format!("{sign}{digits}"), unit),
        [number, unit @ ..] => ((*number).to_string(), unit),
        [] => return Err(MALFORMED),
    };
    let value = Shown::parse(&number).ok_or(MALFORMED)?;
    let (unit, unit_source) = match unit {
        [] => options.unit_of("")?,
        [unit] => options.unit_of(unit)?,
        _ => return Err(MALFORMED),
    };
    Ok((value, unit, unit_source))
}

#[cfg(test)]
mod tests {
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

    /// Asked for a weight, the scale answers line by line; what is sent to it, and what it said at the end.
    fn talk(decoder: &mut dyn ScaleDecoder, answers: &[&str]) -> String {
        let mut sent = decoder.request().unwrap();
        for answer in answers {
            decoder.handle_bytes(Duration::ZERO, format!("{answer}\r\n").as_bytes());
            sent.extend(decoder.poll_transmit().unwrap_or_default());
        }
        format!("{} {}", String::from_utf8(sent).unwrap().replace("\r\n", " >"), replies(decoder))
    }

    #[test]
    fn the_tare_is_asked_for_before_every_weight() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        assert_eq!(
            talk(&mut *decoder, &["TA A      0.250 kg", "S S      1.000 kg"]),
            "TA >SI > 1.000 kg stable net tare 0.250"
        );
        assert_eq!(talk(&mut *decoder, &["TA I", "S S 1.000 kg"]), "TA >SI > 1.000 kg stable");
        assert_eq!(talk(&mut *decoder, &["TA A 250 g", "S S 1.000 kg"]), "TA >SI > 1.000 kg stable");
        assert_eq!(
            talk(&mut *decoder, &["TA A 0.000 kg", "S D 1.000 kg", "S S 1.000 kg"]),
            "TA >SI > 1.000 kg moving net tare 0.000; 1.000 kg stable",
            "who knows what was taken off the second one"
        );
        assert_eq!(talk(&mut *decoder, &["TA A 0.000 kg", "S +"]), "TA >SI > no weight over");
    }

    #[test]
    fn a_scale_that_cannot_tell_its_tare_is_not_asked_again() {
        for complaint in ["ES", "EL"] {
            let mut decoder = MtSics.decoder(&ScaleOptions::default());
            assert_eq!(talk(&mut *decoder, &[complaint, "S S 1 kg"]), "TA >SI > 1 kg stable");
            assert_eq!(talk(&mut *decoder, &["S S 1 kg"]), "SI > 1 kg stable");
            assert_eq!(talk(&mut *decoder, &["ES"]), "SI > device", "a complaint about the weight is told");
        }
        let mut silent = MtSics.decoder(&ScaleOptions::default());
        assert_eq!(talk(&mut *silent, &[]), "TA > ");
        assert_eq!(talk(&mut *silent, &[]), "TA > ");
        assert_eq!(talk(&mut *silent, &["S S 1 kg"]), "SI > 1 kg stable");
        assert_eq!(talk(&mut *silent, &[]), "SI > ");
        assert_eq!(talk(&mut *silent, &["TA A 0 kg", "S S 1 kg"]), "TA >SI > 1 kg stable net tare 0");
        let mut late = MtSics.decoder(&ScaleOptions::default());
        assert_eq!(talk(&mut *late, &[]), "TA > ");
        assert_eq!(talk(&mut *late, &["TA A 0 kg", "S S 1 kg"]), "TA >SI > 1 kg stable net tare 0");
    }

    #[test]
    fn answers_are_no_stream() {
        let mut decoder = MtSics.decoder(&ScaleOptions::default());
        for _ in 0..9 {
            let said = talk(&mut *decoder, &["TA A 0 kg", "S S 1 kg"]);
            assert_eq!(said, "TA >SI > 1 kg stable net tare 0");
        }
    }
}
