//! Bilanciai D70 and DD700, extended string: sent over and over, with a pause of 300 ms.
//!
//! ```text
//!          +---+-----------+----+-----------+----+----+----+----+----+----+----+----+----+
//!          | $ | +0012.345 | SP | +0000.000 | SP | kg | SP | s1 | s2 | s3 | s4 | CR | LF |
//!          +---+-----------+----+-----------+----+----+----+----+----+----+----+----+----+
//!            1   net: 9      1    tare: 9     1    2    1    1    1    1    1    1    1
//!  s1   bit 0 minimum weight    1 tare locked        2 tare preset         3 centre of zero
//!  s2   bit 1 stable            2 overload           0, 3 extended weighing (ME only)
//!  s3   bit 0 tare entered      1 tare lock undone   2 weight not valid    3 printing
//!  s4   bit 0 type approved     1 converter fault    2 configuration error
//! ```
//!
//! The four states are hexadecimal digits. The weight is net; without a tare that is the gross. The manual shows no
//! whole string: whether the fields are filled with zeros or with spaces is not confirmed, and both are read. The
//! shorter strings of the same menu (Cb, Visual, Idea) are refused: they carry no unit and cut digits off.
//! Line: 4800 7E2. Source: Bilanciai D70 manual p.1-63 and 1-64, DD700 advanced manual p.7-8.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, line, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::{LineSettings, Parity};

/// The row of the table.
pub struct D70;

impl ScaleProtocol for D70 {
    fn name(&self) -> &'static str {
        "bilanciai-d70"
    }

    fn title(&self) -> &'static str {
        "Bilanciai D70, DD700, extended string"
    }

    fn line(&self) -> LineSettings {
        LineSettings { baud: 4_800, data_bits: 7, parity: Parity::Even, stop_bits: 2 }
    }

    fn pause_max(&self) -> Option<Duration> {
        // A string every 400 ms at 4800 baud, its pause of 300 ms included: five of them are missing then.
        Some(Duration::from_secs(2))
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Extended { options: *options }))
    }
}

struct Extended {
    options: ScaleOptions,
}

/// Without CR LF.
const FRAME: usize = 28;

impl Grammar for Extended {
    const FRAME_MAX: usize = FRAME;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        // The line feed of the last string is no noise.
        match bytes {
            [b'\r' | b'\n', ..] => Cut::Frame { len: 0, end: 1 },
            [b'$', rest @ ..] => match rest.iter().position(|byte| *byte == b'$') {
                // The next string has begun: this one broke off.
                Some(at) => Cut::Frame { len: at + 1, end: 0 },
                None => line(bytes),
            },
            _ => skip_to(b'$', bytes).unwrap_or(Cut::More),
        }
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, self.options).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        None
    }
}

fn read(frame: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    const EXPECTED: &str = "expected 28 characters such as \"$+0012.345 +0000.000 kg 0201\"";
    let malformed = || FaultKind::Malformed { expected: EXPECTED };
    let text = std::str::from_utf8(frame).map_err(|_| malformed())?;
    if text.len() != FRAME || ![10, 20, 23].iter().all(|at| frame[*at] == b' ') {
        return Err(malformed());
    }
    let number = |field: &str| Shown::parse(field.trim_matches(' ')).ok_or_else(malformed);
    let (net, tare) = (&text[1..10], &text[11..20]);
    let mut states = [0; 4];
    for (state, digit) in states.iter_mut().zip(text[24..].chars()) {
        *state = digit.to_digit(16).ok_or_else(malformed)?;
    }
    let [s1, s2, s3, s4] = states;
    if s4 & 0b0010 != 0 {
        return Err(FaultKind::Device { what: "a fault of its converter" });
    }
    if s4 & 0b0100 != 0 {
        return Err(FaultKind::Device { what: "an error in its configuration" });
    }
    let stability = if s2 & 0b0010 != 0 { Stability::Stable } else { Stability::Moving };
    if s2 & 0b0100 != 0 {
        return Ok(Reading::status(stability, Range::Over, frame));
    }
    if s3 & 0b0100 != 0 {
        return Ok(Reading::status(stability, Range::Unknown, frame));
    }
    let (value, tare) = (number(net)?, number(tare)?);
    let (unit, unit_source) = options.unit_of(&text[21..23])?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        net: Net::Net,
        zero: Some(s1 & 0b1000 != 0),
        tare: Some(tare),
        ..Reading::shown(value, unit, unit_source, frame)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&D70, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"$+0012.345 +0000.000 kg 0201\r\n", "12.345 kg stable net tare 0.000");
        check(b"$   -0.250     1.000 kg 0011\r\n", "-0.250 kg moving net tare 1.000");
        check(b"$    0.000     0.000 kg 8201\r\n", "0.000 kg stable net zero tare 0.000");
        check(b"$    12345         0 kg 0200\r", "12345 kg stable net tare 0");
    }

    #[test]
    fn states_carry_no_weight() {
        check(b"$+0031.000 +0000.000 kg 0601\r\n", "no weight stable over");
        check(b"$-0000.500 +0000.000 kg 0241\r\n", "no weight stable");
        check(b"$+0001.000 +0000.000 kg 0203\r\n$+0001.000 +0000.000 kg 0205\r\n", "device; device");
    }

    #[test]
    fn other_strings_and_damage_do_not_hide_the_next() {
        let good = b"$+0012.345 +0000.000 kg 0201\r\n";
        let read = "12.345 kg stable net tare 0.000";
        check(b"$0012345\r\n", "malformed");
        check(
            &[&good[..9], good, b"noise", good, &good[..4]].concat(),
            &format!("malformed; {read}; noise; {read}; truncated"),
        );
        check(b"$+0012.345 +0000.000 kg 02G1\r\n$+0012.345 +0000.000 kq 0201\r\n", "malformed; unknown_unit");
    }
}
