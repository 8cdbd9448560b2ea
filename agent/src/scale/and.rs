//! A&D standard format: lines of fixed width, polled or streaming.
//!
//! ```text
//!  request  Q CR LF                                                        weight now
//!  reply    +----+---+--------+---+----------------+--------+----+----+
//!           | ST | , | (OK)   | , | +00123.45      |   g    | CR | LF |   15 characters; 18 with the second header
//!           +----+---+--------+---+----------------+--------+----+----+
//!            2         2            sign and digits  unit
//!                                   9                3
//!
//!  ST stable   QT stable, counting   US unstable   OL out of range: its sign says whether above or below
//!  second header, of scales with a comparator: LO OK HI --
//! ```
//!
//! Zero is always `+`. What a good command answers, `<AK>` (06), may stand before a line. Line: 2400 7E1. Source: A&D
//! EK-L and EJ manuals (data format); A&D GC manual p.51; A&D AD-4212 and FX-i manuals (acknowledge).

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{FaultKind, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability};
use crate::serial::{LineSettings, Parity};

/// The row of the table.
pub struct And;

impl ScaleProtocol for And {
    fn name(&self) -> &'static str {
        "and"
    }

    fn title(&self) -> &'static str {
        "A&D standard format"
    }

    fn line(&self) -> LineSettings {
        LineSettings { baud: 2_400, data_bits: 7, parity: Parity::Even, stop_bits: 1 }
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Standard { options: *options }))
    }
}

const AK: u8 = 0x06;

struct Standard {
    options: ScaleOptions,
}

impl Grammar for Standard {
    /// With the second header and an acknowledgement; answers to other commands are shorter.
    const FRAME_MAX: usize = 32;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let line = frame.strip_prefix(&[AK]).unwrap_or(frame);
        let text = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
        match text.split(',').collect::<Vec<_>>()[..] {
            [""] => Err(FaultKind::OtherReply),
            ["EC", _] => Err(FaultKind::Device { what: "it refuses the command (EC)" }),
            [header, data] | [header, "LO" | "OK" | "HI" | "--", data] => {
                self.read(header, data, frame).map(Some)
            }
            _ => Err(MALFORMED),
        }
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        Some(b"Q\r\n".to_vec())
    }
}

const MALFORMED: FaultKind = FaultKind::Malformed { expected: "expected a line such as \"ST,+00123.45  g\"" };

impl Standard {
    fn read(&self, header: &str, data: &str, frame: &[u8]) -> Result<Reading, FaultKind> {
        // A character that was lost would make the number a smaller one.
        let (number, unit) = data.split_at_checked(9).filter(|(_, unit)| unit.len() == 3).ok_or(MALFORMED)?;
        let stability = match (header, number.as_bytes()[0]) {
            ("ST" | "QT", b'+' | b'-') => Stability::Stable,
            ("US", b'+' | b'-') => Stability::Moving,
            ("OL", b'+') => return Ok(Reading::status(Stability::Unknown, Range::Over, frame)),
            ("OL", b'-') => return Ok(Reading::status(Stability::Unknown, Range::Under, frame)),
            _ => return Err(MALFORMED),
        };
        let value = Shown::parse(number).ok_or(MALFORMED)?;
        let (unit, unit_source) = self.options.unit_of(unit)?;
        Ok(Reading {
            stability,
            stability_source: Source::Reported,
            zero: Some(value.steps == 0),
            ..Reading::shown(value, unit, unit_source, frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&And, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"ST,+00123.45  g\r\n", "123.45 g stable");
        check(b"US,-0001.234 kg\r\n", "-1.234 kg moving");
        check(b"QT,+00012345 PC\r\n", "12345 pcs stable");
        check(b"ST,OK,+0001.234 kg\r\nST,--,+0000.000 kg\r\n", "1.234 kg stable; 0.000 kg stable zero");
        check(b"\x06ST,+00123.45  g\r\n", "123.45 g stable");
    }

    #[test]
    fn out_of_range_is_a_status() {
        check(b"ST,+00123.45  g\r\nOL,+999999.9  g\r\n", "123.45 g stable; no weight over");
        check(b"OL,-99999999 PC\r\nOL,HI,+9999999E+19\r\n", "no weight under; no weight over");
    }

    #[test]
    fn other_answers_and_damage() {
        check(b"\x06\r\nEC,E01\r\n", "other_reply; device");
        check(b"ST,+00123.45mom\r\n", "unknown_unit");
        check(
            b"ST,+0123.45  g\r\nT,+00123.45  g\r\nST,NO,+00123.45  g\r\n",
            "malformed; malformed; malformed",
        );
        check(
            b"ST,+00123,45  g\r\nST, 00123.45  g\r\nXX,+00123.45  g\r\n",
            "malformed; malformed; malformed",
        );
        check(b"23.45  g\r\nST,+00123.45  g\r\nST,+001", "malformed; 123.45 g stable; truncated");
        check(b"\xd3\xd4,+00123.45  g\r\n", "parity");
    }
}
