//! Sartorius and Minebea SBI: one line for each weight, with or without an identifier.
//!
//! ```text
//!  request   ESC P CR LF                                  print
//!  16      +---+------------+----+-----+----+----+
//!          | + |    253.0   | SP | g   | CR | LF |        stable
//!          | + |    253.0   | SP |     | CR | LF |        moving: the unit is blank
//!          |          H          |     | CR | LF |        overload       L underload       C calibrates
//!          +---+------------+----+-----+----+----+
//!  22      | G     | +    12.50  kg  | CR | LF |          the same 14 columns behind 6 with a name
//!          | N     |                                      G gross   N net   T tare   Qnt pieces
//!          | Stat  |       H                              a status instead of a weight
//! ```
//!
//! Two rows, since the end of a long line is a short one. Without a unit there is no weight, since nobody could say what it counts: a moving
//! reading is a status alone. Brackets mark a digit that is not verified; it is read like the others.
//! Line: 1200 7O1 (factory setting of the CP and LE series); newer balances 9600 8N1 or 8O1 (not confirmed).
//! Source: Sartorius LE2202S manual p.51, CP323S p.54-57, FB p.66, Master p.79, Combics 1 p.98; Cubis MSE p.71 and Minebea Puro p.53 for
//! commands.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::{LineSettings, Parity};

/// The row of the short format.
pub struct Sbi16;

/// The row of the long format.
pub struct Sbi22;

impl ScaleProtocol for Sbi16 {
    fn name(&self) -> &'static str {
        "sbi-16"
    }

    fn title(&self) -> &'static str {
        "Sartorius SBI, 16 characters"
    }

    fn line(&self) -> LineSettings {
        LINE
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Lines { name: 0, options: *options }))
    }
}

impl ScaleProtocol for Sbi22 {
    fn name(&self) -> &'static str {
        "sbi-22"
    }

    fn title(&self) -> &'static str {
        "Sartorius SBI, 22 characters"
    }

    fn line(&self) -> LineSettings {
        LINE
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Lines { name: NAME, options: *options }))
    }
}

const LINE: LineSettings = LineSettings { baud: 1_200, data_bits: 7, parity: Parity::Odd, stop_bits: 1 };

struct Lines {
    /// Columns before the field: none, or [`NAME`].
    name: usize,
    options: ScaleOptions,
}

/// The identifier of the long format.
const NAME: usize = 6;
/// Sign, number, space and unit.
const FIELD: usize = 14;

impl Grammar for Lines {
    const FRAME_MAX: usize = NAME + FIELD;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, self.name, self.options).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        Some(b"\x1bP\r\n".to_vec())
    }
}

fn read(line: &[u8], name: usize, options: ScaleOptions) -> Result<Reading, FaultKind> {
    const SHORT: &str = "expected 14 characters such as \"+    253.0 g  \"";
    const LONG: &str = "expected 20 characters such as \"G     +    253.0 g  \"";
    let malformed = || FaultKind::Malformed { expected: if name == 0 { SHORT } else { LONG } };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    if text == "OK!" {
        return Err(FaultKind::OtherReply);
    }
    if text.len() != name + FIELD {
        return Err(malformed());
    }
    let (name, field) = text.split_at_checked(name).ok_or_else(malformed)?;
    let status = |range| Ok(Reading::status(Stability::Unknown, range, line));
    match field.trim_matches(' ') {
        "H" | "HH" => return status(Range::Over),
        "L" | "LL" => return status(Range::Under),
        "" | "C" | "OFF" | "--" | "- -" => return status(Range::Unknown),
        error if error.to_ascii_uppercase().starts_with("ERR") => {
            return Err(FaultKind::Device { what: "an error of its own (Err)" });
        }
        _ => {}
    }
    let net = match name.trim_matches(' ') {
        "" | "Qnt" => Net::Unknown,
        "N" | "N1" => Net::Net,
        "G" | "G#" => Net::Gross,
        // Tare memories, references, totals, texts: nothing of it lies on the platform.
        _ => return Err(FaultKind::OtherReply),
    };
    let (number, unit) = field.split_at(FIELD - 3);
    let number: String = number.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    let value = Shown::parse(number.trim_matches(' ')).ok_or_else(malformed)?;
    if unit.trim_matches(' ').is_empty() {
        return Ok(Reading::status(Stability::Moving, Range::Ok, line));
    }
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability: Stability::Stable,
        stability_source: Source::Reported,
        net,
        ..Reading::shown(value, unit, unit_source, line)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(row: &dyn ScaleProtocol, bytes: &[u8], expected: &str) {
        testing::check(row, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn sixteen_characters() {
        check(&Sbi16, b"+    253.0 g  \r\n", "253.0 g stable");
        check(&Sbi16, b"-   12.345 kg \r\n", "-12.345 kg stable");
        check(&Sbi16, b"+  123.5[6]g  \r\n", "123.56 g stable");
        check(&Sbi16, b"+  123.5[6] g \r\n", "123.56 g stable");
        check(&Sbi16, b"       253 pcs\r\n", "253 pcs stable");
    }

    #[test]
    fn twenty_two_characters() {
        check(&Sbi22, b"G     +    12.50 kg \r\n", "12.50 kg stable gross");
        check(&Sbi22, b"N     -    0.250 kg \r\n", "-0.250 kg stable net");
        check(&Sbi22, b"T     +    1.000 kg \r\nnRef  +       10 pcs\r\n", "other_reply; other_reply");
        check(&Sbi22, b"Qnt   +       12 pcs\r\n", "12 pcs stable");
    }

    #[test]
    fn without_a_unit_it_moves() {
        check(&Sbi16, b"+    253.0    \r\n+    253.0 g  \r\n", "no weight moving; 253.0 g stable");
        check(&Sbi22, b"G     +    12.50    \r\n", "no weight moving");
        // A configured unit does not make it stand still.
        let configured = ScaleOptions { unit: Some(super::super::Unit::Gram), ..ScaleOptions::default() };
        testing::check(&Sbi16, &configured, b"+    253.0    \r\n", "no weight moving");
    }

    #[test]
    fn states_carry_no_weight() {
        check(&Sbi16, b"      H       \r\n      L       \r\n", "no weight over; no weight under");
        check(&Sbi22, b"Stat        HH      \r\nStat       OFF      \r\n", "no weight over; no weight");
        check(&Sbi16, b"   Err  02    \r\n", "device");
        check(&Sbi22, b"Stat     ERR  50    \r\n", "device");
        check(
            &Sbi16,
            b"+    253.0 kilo\r\n+    253.0 kq \r\nOK!\r\n",
            "malformed; unknown_unit; other_reply",
        );
    }
}
