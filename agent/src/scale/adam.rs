//! Adam Equipment: CPWplus floor scales, which tell what they are asked for, and CBD and AZextra, which print.
//!
//! ```text
//!  CPWplus   N CR LF  ->  N / W   +     12.345 kg CR LF          net      G gross      T tare
//!            by itself    1 S N G / W   +     12.345 kg CR LF    address, stable, no error, gross
//!  CBD       P CR LF  ->  [Net Wt ]     12.345kg CR LF           printed once for each load
//! ```
//!
//! **CPWplus.** Asked, it says nothing about stability, which is inferred from weights that do not change. By itself it
//! says `S` when it is stable; what stands there otherwise is not in the manual, so that anything else counts as moving.
//! What it sends for an overload is not in the manual either. Line: 9600 8N1, selectable.
//! **CBD.** `P` is the print key: a load is printed once, when it is new and not zero, and a repetition only beeps. So it
//! is asked when the operator says so (WEIGH) and never watched, neither until it stands still nor until it is empty: that the one weight it prints
//! is a stable one is concluded from this behaviour, no manual says it, and it is marked as inferred. Newer models write
//! `ST` or `US` before it. Totals, counts and unit weights of a longer print-out are no weights. Line: 4800 8N1.
//! Source: Adam CPWplus manual p.15-16 (2008, 2010); AZextra manual p.14, CBDa manual p.27, CBK p.20, HCB p.28, CBW p.19;
//! the behaviour of `P`: Odoo's driver for AZextra scales (S1).

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::still::Still;
use super::{FaultKind, Net, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability};
use crate::serial::LineSettings;

/// The row of the floor scales.
pub struct CpwPlus;

impl ScaleProtocol for CpwPlus {
    fn name(&self) -> &'static str {
        "adam-cpwplus"
    }

    fn title(&self) -> &'static str {
        "Adam CPWplus"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Told { options: *options, still: Still::default() }))
    }
}

struct Told {
    options: ScaleOptions,
    still: Still,
}

impl Grammar for Told {
    const FRAME_MAX: usize = 48;

    fn handle_frame(&mut self, now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let (head, reading) = told(frame, self.options)?;
        let (stability, stability_source) = match head.as_bytes() {
            [] => match reading.value {
                Some(value) => self.still.judge(now, value),
                None => (Stability::Unknown, Source::Nobody),
            },
            [address @ .., state, error] if !address.is_empty() && address.iter().all(u8::is_ascii_digit) => {
                if *error != b'N' {
                    return Err(FaultKind::Device { what: "an error of its own" });
                }
                let stable = *state == b'S';
                (if stable { Stability::Stable } else { Stability::Moving }, Source::Reported)
            }
            _ => return Err(FaultKind::Malformed { expected: TOLD }),
        };
        Ok(Some(Reading { stability, stability_source, ..reading }))
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        Some(b"N\r\n".to_vec())
    }
}

const TOLD: &str = "expected a line such as \"N/W +     12.345 kg\"";

/// What stands before the name of the value, and the value.
fn told(line: &[u8], options: ScaleOptions) -> Result<(String, Reading), FaultKind> {
    let malformed = || FaultKind::Malformed { expected: TOLD };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    if text.starts_with("add") {
        // The address, above a print-out.
        return Err(FaultKind::OtherReply);
    }
    let sign = text.find(['+', '-']).ok_or_else(malformed)?;
    let name = text[..sign].trim_matches(' ').trim_end_matches(':');
    let name = name.strip_suffix("/W").unwrap_or(name);
    let (head, net) = match name.as_bytes().last() {
        Some(b'G') => (&name[..name.len() - 1], Net::Gross),
        Some(b'N') => (&name[..name.len() - 1], Net::Net),
        Some(b'T') => return Err(FaultKind::OtherReply),
        _ => return Err(malformed()),
    };
    let (value, unit) = number_and_unit(&text[sign..]).ok_or_else(malformed)?;
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok((head.to_owned(), Reading { net, ..Reading::shown(value, unit, unit_source, line) }))
}

/// `+ 12.345 kg` or `12.345kg`.
fn number_and_unit(text: &str) -> Option<(Shown, &str)> {
    let text = text.trim_matches(' ');
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-' | ' ')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((Shown::parse(number.trim_end_matches(' '))?, unit))
}

/// The row of the scales that print.
pub struct Cbd;

impl ScaleProtocol for Cbd {
    fn name(&self) -> &'static str {
        "adam-cbd"
    }

    fn title(&self) -> &'static str {
        "Adam CBD, CBK, CBW, AZextra"
    }

    fn line(&self) -> LineSettings {
        LineSettings { baud: 4_800, ..LineSettings::DEFAULT }
    }

    fn prints(&self) -> bool {
        true
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Printed { options: *options, whole: false }))
    }
}

struct Printed {
    options: ScaleOptions,
    /// The line that comes is a whole one: it was asked for, or another came before it.
    whole: bool,
}

impl Grammar for Printed {
    const FRAME_MAX: usize = 64;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let reading = printed(frame, self.options);
        let whole = std::mem::replace(&mut self.whole, true);
        match reading {
            // Nothing tells where a bare number begins: the end of a longer one looks the same.
            Ok(reading) if !whole && reading.stability_source == Source::Inferred => Err(FaultKind::Noise),
            reading => reading.map(Some),
        }
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        self.whole = true;
        Some(b"P\r\n".to_vec())
    }
}

/// Other lines of a print-out.
const PRINTED_TOO: &[&str] =
    &["DATE", "TIME", "SCALE ID", "USER ID", "ID", "NO.", "TOTAL", "UNIT WT", "UNIT WT.", "PCS", "T", "TARE"];

fn printed(line: &[u8], options: ScaleOptions) -> Result<Reading, FaultKind> {
    const EXPECTED: &str = "expected a line such as \"   12.345kg\"";
    let malformed = || FaultKind::Malformed { expected: EXPECTED };
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    if text.starts_with("ER ") {
        return Err(FaultKind::Device { what: "unknown command (ER)" });
    }
    let start = text.find(|c: char| matches!(c, '0'..='9' | '+' | '-')).unwrap_or(text.len());
    let name = text[..start].trim_matches(' ').to_ascii_uppercase();
    if PRINTED_TOO.contains(&name.as_str()) {
        return Err(FaultKind::OtherReply);
    }
    let (stability, stability_source, name) = match name.split_once(',') {
        // Without the name of the value it is another maker's line.
        Some(("ST", name)) if !name.is_empty() => (Stability::Stable, Source::Reported, name),
        Some(("US", name)) if !name.is_empty() => (Stability::Moving, Source::Reported, name),
        Some(_) => return Err(malformed()),
        None => (Stability::Stable, Source::Inferred, name.as_str()),
    };
    let net = match name {
        "" => Net::Unknown,
        "G" | "GS" | "GROSS" | "GROSS WT" | "GROSS WT." => Net::Gross,
        "N" | "NT" | "NET" | "NET WT" | "NET WT." => Net::Net,
        _ => return Err(malformed()),
    };
    let (value, unit) = number_and_unit(&text[start..]).ok_or_else(malformed)?;
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading { stability, stability_source, net, ..Reading::shown(value, unit, unit_source, line) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, replies};
    use super::*;

    fn check(row: &dyn ScaleProtocol, bytes: &[u8], expected: &str) {
        testing::check(row, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn a_floor_scale_that_is_asked() {
        check(&CpwPlus, b"N/W + 2.00 kg\r\n", "2.00 kg moving* net");
        check(
            &CpwPlus,
            b"G + 2.00 kg\r\nG/W: -    0.250 lb\r\n",
            "2.00 kg moving* gross; -0.250 lb moving* gross",
        );
        check(&CpwPlus, b"T + 1.00 kg\r\nadd: 1\r\n", "other_reply; other_reply");
        let mut decoder = CpwPlus.decoder(&ScaleOptions::default());
        for ms in [0, 200, 400, 600] {
            decoder.handle_bytes(Duration::from_millis(ms), b"N/W + 2.00 kg\r\n");
        }
        assert_eq!(
            replies(&mut *decoder),
            "2.00 kg moving* net; 2.00 kg moving* net; 2.00 kg moving* net; 2.00 kg stable* net"
        );
    }

    #[test]
    fn a_floor_scale_that_sends_by_itself() {
        check(
            &CpwPlus,
            b"1SNG/W + 0.51 kg\r\n1UNG/W + 0.51 kg\r\n",
            "0.51 kg stable gross; 0.51 kg moving gross",
        );
        check(&CpwPlus, b"1SEG/W + 0.51 kg\r\n", "device");
        check(
            &CpwPlus,
            b"xxxN + 2.00 kg\r\nN 2.00 kg\r\nN + 2.00 stone\r\nN + kg\r\n",
            "malformed; malformed; unknown_unit; malformed",
        );
    }

    /// As answers, which they are.
    fn check_printed(bytes: &[u8], expected: &str) {
        let mut decoder = Cbd.decoder(&ScaleOptions::default());
        assert!(decoder.request().is_some());
        decoder.handle_bytes(Duration::ZERO, bytes);
        decoder.handle_end();
        assert_eq!(replies(&mut *decoder), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_scale_that_prints() {
        check_printed(b"   12.345kg\r\n", "12.345 kg stable*");
        check_printed(
            b"Net Wt 1.234 Kg\r\nGS     1.234 kg\r\n",
            "1.234 kg stable* net; 1.234 kg stable* gross",
        );
        check_printed(
            b"US,GROSS-     123.45 g \r\nST,NT      123.45 g \r\n",
            "-123.45 g moving gross; 123.45 g stable net",
        );
        check_printed(
            b"Date 12/09/2006\r\nTime 14:56:27\r\nUnit Wt. 123 g\r\nPCS 10 pcs\r\nNo.   1\r\nTotal 9.0 kg\r\n",
            &["other_reply"; 6].join("; "),
        );
        check_printed(
            b"ER XX\r\nBrutto 1.0 kg\r\n1.0 stone\r\n\r\n 7 lb\r\n",
            "device; malformed; unknown_unit; 7 lb stable*",
        );
    }

    #[test]
    fn what_nobody_asked_for_may_lack_its_beginning() {
        check(&Cbd, b"2.345kg\r\n12.345kg\r\n", "noise; 12.345 kg stable*");
    }
}
