//! Rinstrum indicators, automatic output in format 2 (R300 series) or B (C500 series): sent without being asked.
//!
//! ```text
//!          +-----+------+---------+----+----+----+----+-------+-----+
//!          | STX |      |  12.345 | G  |    |    | -  |    kg | ETX |   gross, stable
//!          | STX | -    |   0.250 | N  | M  |    | -  |       | ETX |   net, moving: the unit is blank
//!          +-----+------+---------+----+----+----+----+-------+-----+
//!             1    sign      7      S1   S2   S3   S4     3       1
//!  S1  G gross   N net   O overload   U underload   E error
//!  S2  M moves      S3  Z centre of zero      S4  - one range, 1 or 2 the range in use
//! ```
//!
//! Without a unit there is no weight, since nobody could say what it counts: a moving reading is a status alone.
//! Other formats of the same menu carry less and are refused. Line: 9600 8N1, selectable (factory setting not confirmed).
//! Source: Rinstrum R320 reference manual p.46, C530 manual p.53; MDPI Sensors 10-09337 table 1.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Rinstrum;

impl ScaleProtocol for Rinstrum {
    fn name(&self) -> &'static str {
        "rinstrum"
    }

    fn title(&self) -> &'static str {
        "Rinstrum automatic output, format 2 or B"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn pause_max(&self) -> Option<Duration> {
        // The rate is that of the display or slower by a setting of the menu, and not in the manuals; at 1200 baud a
        // frame takes 142 ms.
        Some(Duration::from_secs(3))
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Format2 { options: *options }))
    }
}

struct Format2 {
    options: ScaleOptions,
}

const STX: u8 = 0x02;
const FRAME: usize = 17;

impl Grammar for Format2 {
    const FRAME_MAX: usize = FRAME;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        let frame = if bytes.len() < FRAME { Cut::More } else { Cut::Frame { len: FRAME, end: 0 } };
        skip_to(STX, bytes).unwrap_or(frame)
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, self.options).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        None
    }
}

fn read(frame: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    let malformed = || FaultKind::Malformed { expected: "expected 17 bytes of format 2 from STX to ETX" };
    let [STX, body @ .., 0x03] = frame else { return Err(malformed()) };
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let (number, rest) = text.split_at_checked(8).ok_or_else(malformed)?;
    let [state, motion, zero, b'-' | b'1' | b'2', ..] = rest.as_bytes() else { return Err(malformed()) };
    let stability = match motion {
        b' ' => Stability::Stable,
        b'M' => Stability::Moving,
        _ => return Err(malformed()),
    };
    let zero = match zero {
        b' ' => false,
        b'Z' => true,
        _ => return Err(malformed()),
    };
    let net = match state {
        b'G' => Net::Gross,
        b'N' => Net::Net,
        b'O' => return Ok(Reading::status(stability, Range::Over, frame)),
        b'U' => return Ok(Reading::status(stability, Range::Under, frame)),
        b'E' => return Err(FaultKind::Device { what: "an error of its own (E)" }),
        _ => return Err(malformed()),
    };
    let value = Shown::parse(number.trim_matches(' ')).ok_or_else(malformed)?;
    let unit = rest.get(4..).ok_or_else(malformed)?;
    if unit.trim_matches(' ').is_empty() {
        return Ok(Reading::status(Stability::Moving, Range::Ok, frame));
    }
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        net,
        zero: Some(zero),
        ..Reading::shown(value, unit, unit_source, frame)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Rinstrum, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"\x02  12.345G  - kg\x03", "12.345 kg stable gross");
        check(b"\x02-  0.250N  1 kg\x03", "-0.250 kg stable net");
        check(b"\x02   0.000G Z-  t\x03", "0.000 t stable gross zero");
        check(b"\x02   12345G  - lb\x03", "12345 lb stable gross");
    }

    #[test]
    fn without_a_unit_it_moves() {
        check(b"\x02  12.345GM -   \x03", "no weight moving");
        check(b"\x02  12.345G  -   \x03", "no weight moving");
    }

    #[test]
    fn states_carry_no_weight() {
        check(
            b"\x02  31.000O  - kg\x03\x02- 31.000UM -   \x03",
            "no weight stable over; no weight moving under",
        );
        check(b"\x02   0.000E  - kg\x03", "device");
    }

    #[test]
    fn other_formats_and_damage_do_not_hide_the_next() {
        let good = b"\x02  12.345G  - kg\x03";
        // Format 1 has one status and no unit.
        let line = [b"\x02  12.345G\x03", &good[..], &good[..9], good, b"\r\n", good].concat();
        let read = "12.345 kg stable gross";
        check(&line, &format!("malformed; {read}; malformed; {read}; noise; {read}"));
        check(b"\x02  12.345G  - kq\x03\x02  12,345G  - kg\x03", "unknown_unit; malformed");
    }
}
