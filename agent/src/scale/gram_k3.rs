//! Gram K3 and Z3, frame format PC0: fourteen bytes with a status, asked for.
//!
//! ```text
//!  request   $                                              one character, nothing after it
//!  reply   +-----+--------+------+---------+------+----+-----+
//!          | STX | status | sign | 12.345  | kg   | CR | ETX |
//!          +-----+--------+------+---------+------+----+-----+
//!             1      1        1       7       2      1     1
//!  status - 20h:   bit 0 gross, else net    1 a tare is set    3 at zero    6 stable      others 0
//! ```
//!
//! What stands in the weight's place when it cannot be weighed is not in the manual: whatever is no number is a status.
//! `z`, `t` and `f` would set it to zero, tare it and change its filter. Line: 9600 8N1 (not confirmed).
//! Source: Gram K3P manual p.34-37 (frames, status byte, commands), Z3 manual p.17-20.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct GramK3;

impl ScaleProtocol for GramK3 {
    fn name(&self) -> &'static str {
        "gram-k3"
    }

    fn title(&self) -> &'static str {
        "Gram K3, Z3"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Pc0 { options: *options }))
    }
}

struct Pc0 {
    options: ScaleOptions,
}

const STX: u8 = 0x02;
const FRAME: usize = 14;

impl Grammar for Pc0 {
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
        Some(b"$".to_vec())
    }
}

fn read(frame: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    let malformed = || FaultKind::Malformed { expected: "expected 14 bytes from STX to CR ETX" };
    let [STX, status, body @ .., b'\r', 0x03] = frame else { return Err(malformed()) };
    let bits = status.checked_sub(0x20).filter(|bits| bits & 0b1011_0100 == 0).ok_or_else(malformed)?;
    let body = std::str::from_utf8(body).map_err(|_| malformed())?;
    // Sign and weight in eight columns, the unit in two.
    let (number, unit) = body.split_at_checked(8).ok_or_else(malformed)?;
    let stability = if bits & 0x40 != 0 { Stability::Stable } else { Stability::Moving };
    let digits = number.trim_matches(' ');
    if digits.is_empty() || digits.bytes().all(|byte| matches!(byte, b'-' | b'_' | b'^' | b' ')) {
        return Ok(Reading::status(stability, Range::Unknown, frame));
    }
    let value = Shown::parse(digits).ok_or_else(malformed)?;
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        net: if bits & 0x01 != 0 { Net::Gross } else { Net::Net },
        zero: Some(bits & 0x08 != 0),
        ..Reading::shown(value, unit, unit_source, frame)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&GramK3, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        // The manual's own frame.
        check(b"\x02i   0.000kg\r\x03", "0.000 kg stable gross zero");
        check(b"\x02a  12.345kg\r\x03", "12.345 kg stable gross");
        check(b"\x02b-  0.250kg\r\x03", "-0.250 kg stable net");
        check(b"\x02!  12.34 lb\r\x03", "12.34 lb moving gross");
        check(b"\x02a   12345 g\r\x03", "12345 g stable gross");
    }

    #[test]
    fn what_is_no_number_is_a_status() {
        check(b"\x02a -------kg\r\x03\x02!        kg\r\x03", "no weight stable; no weight moving");
    }

    #[test]
    fn damaged_frames_do_not_hide_the_next() {
        let good = b"\x02a  12.345kg\r\x03";
        let line = [&good[..6], good, b"xx", good, &good[..3]].concat();
        check(&line, "malformed; 12.345 kg stable gross; noise; 12.345 kg stable gross; truncated");
        check(b"\x02\x7f  12.345kg\r\x03", "malformed");
        check(b"\x02a  12.345  \r\x03", "missing_unit");
    }
}
