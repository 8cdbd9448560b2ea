//! Ohaus balances and indicators: one line for each weight, asked for.
//!
//! ```text
//!  request   I P CR LF                                    print now, stable or not
//!  reply   +---+----+---------+----+-------+---+-----+----+----+
//!          |   | SP |  12.345 | SP | kg    |   | NET | CR | LF |   stable, net
//!          | - | SP |   0.250 | SP | kg    | ? | G   | CR | LF |   moving, gross
//!          +---+----+---------+----+-------+---+-----+----+----+
//!          polarity  7 columns       5       ?    3
//! ```
//!
//! The widths differ between models and units, and some put a space around the `?`, so lines are split at spaces and
//! never by column. What follows the unit is the stability, the legend (`G`, `B`, `NET`, or `T` for the tare), or the
//! time of an interval print. A print-out of several lines (`SCALE: 1`, `G ...`, `T ...`) is another grammar, refused.
//! `Err 8.3` and `Err 8.4` are above and below what can be weighed, as on the display; that they are sent too is not
//! confirmed by a manual, and neither is what else comes at overload.
//! Line: 9600 8N1 (factory setting by Ohaus' word for the Defender 3000).
//! Source: Ohaus RS232 interface manual p.5, Defender 3000 manual p.35, Ranger Count manual p.36, Explorer manual p.153.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Ohaus;

impl ScaleProtocol for Ohaus {
    fn name(&self) -> &'static str {
        "ohaus"
    }

    fn title(&self) -> &'static str {
        "Ohaus (Defender, Ranger, Navigator, Explorer)"
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
    /// An interval print has 40 characters with its time.
    const FRAME_MAX: usize = 64;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, self.options).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        // `P` and `SP` wait for a stable weight, on some models for 40 s; `IP` says whether it is.
        Some(b"IP\r\n".to_vec())
    }
}

/// Polarity, space and weight of the narrowest layout.
const COLUMNS_MIN: usize = 9;
/// First words of a print-out that the print key makes.
const PRINTED: &[&str] = &["SCALE:", "G", "B", "N", "T", "NET", "GROSS", "TARE"];

fn read(line: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    const EXPECTED: &str = "expected a line such as \"      12.73 kg    ?\"";
    let malformed = || FaultKind::Malformed { expected: EXPECTED };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let moving = text.contains('?');
    let text = text.replace('?', " ");
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let first = words.next().ok_or_else(malformed)?;
    let number = match first {
        "-" => format!("-{}", words.next().ok_or_else(malformed)?),
        "Err" => return error(words.next().unwrap_or(""), line),
        "ES" => return Err(FaultKind::Device { what: "unknown command, or never stable in time (ES)" }),
        "OK!" => return Err(FaultKind::OtherReply),
        printed if PRINTED.contains(&printed) => return Err(FaultKind::OtherReply),
        joined if joined.starts_with("Err") => return error(&joined[3..], line),
        number => number.to_owned(),
    };
    let value = Shown::parse(&number).ok_or_else(malformed)?;
    // Numbers are right-justified in all layouts: one that ends further left has lost its beginning, and with it a
    // sign or the first digits.
    let last = number.trim_start_matches('-');
    if text.find(last).is_none_or(|at| at + last.len() < COLUMNS_MIN) {
        return Err(malformed());
    }
    let mut rest = words.peekable();
    // `G` is a legend here and never grams: Ohaus writes units in small letters.
    let spelled = rest.next_if(|word| legend(word).is_none()).unwrap_or("");
    let (unit, unit_source) = options.unit_of(spelled)?;
    let mut reading = Reading {
        stability: if moving { Stability::Moving } else { Stability::Stable },
        stability_source: Source::Reported,
        ..Reading::shown(value, unit, unit_source, line)
    };
    for word in rest {
        match legend(word) {
            Some(Legend::Value(net)) => reading.net = net,
            Some(Legend::Zero) => reading.zero = Some(true),
            Some(Legend::Nothing) => {}
            Some(Legend::NoWeight) => return Err(FaultKind::OtherReply),
            None => return Err(malformed()),
        }
    }
    Ok(reading)
}

enum Legend {
    Value(Net),
    Zero,
    NoWeight,
    Nothing,
}

fn legend(word: &str) -> Option<Legend> {
    Some(match word {
        "G" | "B" => Legend::Value(Net::Gross),
        "N" | "NET" => Legend::Value(Net::Net),
        "Z" => Legend::Zero,
        "T" | "PT" | "TOTAL" => Legend::NoWeight,
        // hh:mm:ss of an interval print.
        time if time.len() == 8 && time.bytes().all(|b| b.is_ascii_digit() || b == b':') => Legend::Nothing,
        _ => return None,
    })
}

fn error(code: &str, line: &[u8]) -> Result<Reading, FaultKind> {
    match code {
        "8.1" | "8.2" => Ok(Reading::status(Stability::Unknown, Range::ZeroError, line)),
        "8.3" => Ok(Reading::status(Stability::Unknown, Range::Over, line)),
        "8.4" => Ok(Reading::status(Stability::Unknown, Range::Under, line)),
        _ => Err(FaultKind::Device { what: "an error of its own (Err)" }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Ohaus, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights_of_all_layouts() {
        check(b"       12.73 g    ?\r\n", "12.73 g moving");
        check(b"        0.00 g     \r\n", "0.00 g stable");
        check(b"     192.21 g ? 00:00:15\r\n", "192.21 g moving");
        check(b"-   0.250 kg    G  \r\n", "-0.250 kg stable gross");
        check(b"   12.345 kg   ?NET\r\n", "12.345 kg moving net");
        check(b"           3 PCS\r", "3 pcs stable");
    }

    #[test]
    fn what_is_no_weight() {
        check(b"Err 8.3\r\nErr8.4\r\nErr 8.1\r\n", "no weight over; no weight under; no weight zero_error");
        check(b"Err 4.5\r\nES\r\n", "device; device");
        check(
            b"SCALE: 1\r\nG   1.00 kg\r\n    1.000 kg T\r\n     20.0 g TOTAL\r\n",
            &["other_reply"; 4].join("; "),
        );
    }

    #[test]
    fn a_number_without_its_beginning_is_no_number() {
        check(b"2.345 kg     NET\r\n  12.345 kg\r\n", "malformed; malformed");
        check(b"   12.345 kg     NET\r\n", "12.345 kg stable net");
    }

    #[test]
    fn a_legend_is_no_unit() {
        check(b"   12.345 G\r\n", "missing_unit");
        let configured = ScaleOptions { unit: Some(Unit::Kilogram), ..ScaleOptions::default() };
        testing::check(&Ohaus, &configured, b"   12.345 G\r\n", "12.345 kg* stable gross");
        check(b"   12.345 stone\r\n", "unknown_unit");
        check(
            b"     12,5 kg\r\n        5 kg huh\r\n kg\r\n      1.0 kg\r\n",
            "malformed; malformed; malformed; 1.0 kg stable",
        );
    }
}
