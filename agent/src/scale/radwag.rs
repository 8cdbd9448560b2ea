//! Radwag, and Kern scales that speak KLB: ASCII lines, asked for.
//!
//! ```text
//!  request   S I CR LF                                        weight now, in the basic unit
//!  reply   +-----+----+---+----+---+-----------+----+-----+----+----+
//!          | SI  | SP |   | SP |   |    12.345 | SP | kg  | CR | LF |   stable
//!          | SI  | SP | ? | SP | - |     0.250 | SP | kg  | CR | LF |   moving, negative
//!          | SI  | SP | ^ | SP |   |    31.000 | SP | kg  | CR | LF |   above range     v below
//!          +-----+----+---+----+---+-----------+----+-----+----+----+
//!          command     state    sign  9 columns      unit
//! ```
//!
//! Older indicators leave out the space behind the command. A command is answered in two steps (`S A`, then the weight
//! or `S E` when it never came to rest); `XX I` is "not now", `ES` an unknown command. Whether a weight is net is not
//! told. Line: 9600 8N1 (usual, not confirmed for every model).
//! Source: Radwag PUE C/31H manual p.58-59, PS p.82, WTC p.48, WLT/L p.80; Kern KLB-TM manual p.43.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{FaultKind, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Radwag;

impl ScaleProtocol for Radwag {
    fn name(&self) -> &'static str {
        "radwag"
    }

    fn title(&self) -> &'static str {
        "Radwag, Kern KLB"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Lines { options: *options }))
    }
}

struct Lines {
    options: ScaleOptions,
}

impl Grammar for Lines {
    /// The list of commands is the longest answer.
    const FRAME_MAX: usize = 128;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, self.options).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        // `S` waits for a stable weight; `SI` says whether it is.
        Some(b"SI\r\n".to_vec())
    }
}

/// The commands that are answered by a weight.
const WEIGHT: &[&str] = &["S", "SI", "SU", "SUI"];
/// Those that are not.
const OTHER: &[&str] = &["Z", "T", "OT", "UT", "C0", "C1", "CU0", "CU1", "NB", "PC", "K0", "K1"];

fn read(line: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    const EXPECTED: &str = "expected a line such as \"SI  ?       12.345 kg\"";
    let malformed = || FaultKind::Malformed { expected: EXPECTED };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    if text.trim_end_matches(' ') == "ES" {
        return Err(FaultKind::Device { what: "unknown command (ES)" });
    }
    // Three columns for the command, and the state may follow at once.
    let (command, rest) = text.split_at_checked(text.len().min(3)).ok_or_else(malformed)?;
    let (command, rest) = match command.split_once(' ') {
        // A short command; what followed its space belongs to the rest.
        Some((command, more)) => (command, format!("{more}{rest}")),
        None => (command, rest.to_owned()),
    };
    if OTHER.contains(&command) {
        return Err(FaultKind::OtherReply);
    }
    if !WEIGHT.contains(&command) {
        return Err(malformed());
    }
    let rest = rest.trim_matches(' ');
    let status = |range| Ok(Reading::status(Stability::Unknown, range, line));
    match rest {
        "A" | "D" => return Err(FaultKind::OtherReply),
        "E" | "I" => return status(Range::Unknown),
        _ => {}
    }
    let (stability, rest) = match rest.as_bytes().first() {
        Some(b'^') => return status(Range::Over),
        Some(b'v') => return status(Range::Under),
        Some(b'?') => (Stability::Moving, rest[1..].trim_start_matches(' ')),
        _ => (Stability::Stable, rest),
    };
    let (number, unit) = rest.rsplit_once(' ').ok_or_else(malformed)?;
    let value = Shown::parse(number.trim_end_matches(' ')).ok_or_else(malformed)?;
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        ..Reading::shown(value, unit, unit_source, line)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Radwag, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights_of_both_widths() {
        check(b"SI           12.345 kg \r\n", "12.345 kg stable");
        check(b"SI  ?        18.5   kg \r\n", "18.5 kg moving");
        check(b"SUI? -   58.237 kg \r\n", "-58.237 kg moving");
        check(b"SUI   -  172.135 g  \r\n", "-172.135 g stable");
        check(b"S    -      8.5 g  \r\n", "-8.5 g stable");
    }

    #[test]
    fn states_carry_no_weight() {
        check(b"SI  ^        31.000 kg \r\nSI  v -       0.100 kg \r\n", "no weight over; no weight under");
        check(b"S ^\r\nSU v\r\n", "no weight over; no weight under");
        check(b"S E\r\nSI I\r\n", "no weight; no weight");
        check(b"S A\r\nS       1.000 kg\r\n", "other_reply; 1.000 kg stable");
    }

    #[test]
    fn other_answers_and_rubbish() {
        check(b"Z A\r\nZ D\r\nES\r\n", "other_reply; other_reply; device");
        check(b"S S     100.00 g\r\n", "malformed");
        check(b"SI     12.345 N\r\nSI     12.345\r\n", "unknown_unit; malformed");
        check(b"SI\r\nX\r\nSI  ?\r\nSI  1.0 kg\r\n", "malformed; malformed; malformed; 1.0 kg stable");
    }
}
