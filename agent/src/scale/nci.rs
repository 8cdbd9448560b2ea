//! NCI (Weigh-Tronix) SCP-01, and its variant for cash registers, NCI-ECR: polled with one letter and CR.
//!
//! ```text
//!  request  W CR
//!  SCP-01   +----+-----------+----+----+----+----+----+----------+----+-----+
//!           | LF |   12.34   | lb | CR | LF | h1 | h2 | (h3, h4) | CR | ETX |   weight and status
//!           +----+-----------+----+----+----+----+----+----------+----+-----+
//!           | LF |  h1 | h2 | (h3, h4) | CR | ETX |                             status alone: it moves
//!           | LF |  ?  | CR | ETX |                                             unknown command
//!  ECR      the same with the unit in capitals and an S before h1; moving, below zero or above capacity there is
//!           never a weight
//!
//!       7        6        5  4  3              2             1                0
//!  h1   parity   0        1  1  EEPROM error   RAM error     at zero          moving
//!  h2   parity   h3 next  1  1  calibration    ROM error     over capacity    under capacity
//!  h3   parity   h4 next  1  1  zero error     net           - differs between makers -
//!  h4   parity   0        1  1  - differs between makers -
//! ```
//!
//! Above capacity the digits are `^`, below it `_`, and without a zero `-`. Line: 9600 7E1. Source: Avery Weigh-Tronix
//! 7821 manual p.25; NCI 6702 manual p.14; Ohaus Aviator 7000 service manual pp.47-49; Mettler DIVA service manual
//! pp.35-45 (ECR); Adam MDW manual pp.13-15 (three status bytes).

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::{LineSettings, Parity};

/// The row of the standard protocol.
pub struct Nci;

/// The row of the variant for cash registers.
pub struct NciEcr;

impl ScaleProtocol for Nci {
    fn name(&self) -> &'static str {
        "nci"
    }

    fn title(&self) -> &'static str {
        "NCI SCP-01 (Weigh-Tronix, Avery Berkel, Adam MDW)"
    }

    fn line(&self) -> LineSettings {
        LINE
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Scp { options: *options, ecr: false }))
    }
}

impl ScaleProtocol for NciEcr {
    fn name(&self) -> &'static str {
        "nci-ecr"
    }

    fn title(&self) -> &'static str {
        "NCI-ECR (cash register scales)"
    }

    fn line(&self) -> LineSettings {
        LINE
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Scp { options: *options, ecr: true }))
    }
}

const LINE: LineSettings = LineSettings { data_bits: 7, parity: Parity::Even, ..LineSettings::DEFAULT };

const LF: u8 = 0x0A;
const ETX: u8 = 0x03;

struct Scp {
    options: ScaleOptions,
    /// Status bytes come after an S.
    ecr: bool,
}

impl Grammar for Scp {
    /// LF, a weight of at most 12 characters with its unit, CR LF, S and four status bytes, CR ETX make 22.
    const FRAME_MAX: usize = 24;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        skip_to(LF, bytes).unwrap_or_else(|| match bytes.iter().position(|byte| *byte == ETX) {
            Some(at) => Cut::Frame { len: at + 1, end: 0 },
            None => Cut::More,
        })
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let said = frame.strip_prefix(b"\n").and_then(|rest| rest.strip_suffix(b"\r\x03"));
        let text = said.and_then(|said| std::str::from_utf8(said).ok()).ok_or(MALFORMED)?;
        if text == "?" {
            return Err(FaultKind::Device { what: "unknown command (?)" });
        }
        let (weight, status) = match text.split_once("\r\n") {
            Some((weight, status)) => (Some(weight), status),
            None => (None, text),
        };
        let status = Status::read(status, self.ecr).ok_or(MALFORMED)?;
        self.read(weight, &status, frame).map(Some)
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        Some(b"W\r".to_vec())
    }
}

const MALFORMED: FaultKind = FaultKind::Malformed {
    expected: "expected LF, a weight, CR LF, status bytes (after an S for nci-ecr), CR ETX",
};

impl Scp {
    fn read(&self, weight: Option<&str>, status: &Status, frame: &[u8]) -> Result<Reading, FaultKind> {
        if let Some(what) = status.broken() {
            return Err(FaultKind::Device { what });
        }
        let (number, unit) = weight.map_or(("", ""), |weight| {
            let unit = weight.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
            (unit.trim_matches(' '), &weight[unit.len()..])
        });
        let shows = |mark: char| !number.is_empty() && number.chars().all(|shown| shown == mark);
        let range = match () {
            () if status.has(3, 3) || shows('-') => Range::ZeroError,
            () if status.has(2, 1) || shows('^') => Range::Over,
            () if status.has(2, 0) || shows('_') => Range::Under,
            () => Range::Ok,
        };
        let stability = if status.has(1, 0) { Stability::Moving } else { Stability::Stable };
        let (net, zero) = (status.net(), Some(status.has(1, 1)));
        if range != Range::Ok || weight.is_none() {
            return Ok(Reading { net, zero, ..Reading::status(stability, range, frame) });
        }
        let value = Shown::parse(number).ok_or(MALFORMED)?;
        let (unit, unit_source) = self.options.unit_of(unit)?;
        Ok(Reading {
            stability,
            stability_source: Source::Reported,
            net,
            zero,
            ..Reading::shown(value, unit, unit_source, frame)
        })
    }
}

/// Two to four status bytes.
struct Status<'a>(&'a [u8]);

impl<'a> Status<'a> {
    fn read(text: &'a str, ecr: bool) -> Option<Self> {
        let bytes = if ecr { text.strip_prefix('S')? } else { text }.as_bytes();
        let marked = bytes.iter().all(|byte| byte & 0x30 == 0x30);
        // The last one must not promise another. That those before it do is not asked: some makers' do not.
        let complete = bytes.first().is_some_and(|first| first & 0x40 == 0)
            && bytes.last().is_some_and(|last| last & 0x40 == 0);
        ((2..=4).contains(&bytes.len()) && marked && complete).then_some(Self(bytes))
    }

    /// Bytes count from 1, as in the drawing; one that was not sent has no bits.
    fn has(&self, byte: usize, bit: u8) -> bool {
        self.0.get(byte - 1).is_some_and(|byte| byte & (1 << bit) != 0)
    }

    fn net(&self) -> Net {
        match self.0.len() {
            2 => Net::Unknown,
            _ if self.has(3, 2) => Net::Net,
            _ => Net::Gross,
        }
    }

    fn broken(&self) -> Option<&'static str> {
        match () {
            () if self.has(1, 2) || self.has(1, 3) || self.has(2, 2) => Some("its memory is broken"),
            () if self.has(2, 3) => Some("its calibration is faulty"),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Nci, &ScaleOptions::default(), bytes, expected);
    }

    fn check_ecr(bytes: &[u8], expected: &str) {
        testing::check(&NciEcr, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"\n  12.34lb\r\n00\r\x03", "12.34 lb stable");
        check(b"\n  12.34lb\r\n10\r\x03", "12.34 lb moving");
        check(b"\n   0.000kg\r\n20\r\x03", "0.000 kg stable zero");
        check(b"\n- 0.250kg\r\n0p0\r\x03", "-0.250 kg stable gross");
        check(b"\n  1.000kg\r\n0p4\r\x03", "1.000 kg stable net");
        check(b"\n  1.000kg\r\n0pp0\r\x03", "1.000 kg stable gross");
        check(b"\n  1.000kg\r\n0003\r\x03", "1.000 kg stable gross");
        check_ecr(b"\n00.120KG\r\nS00\r\x03", "0.120 kg stable");
        check(b"\n  1.0 stone\r\n00\r\x03\n  1.0\r\n00\r\x03", "unknown_unit; missing_unit");
        let kilogram = ScaleOptions { unit: Some(Unit::Kilogram), ..ScaleOptions::default() };
        testing::check(&Nci, &kilogram, b"\n  1.0\r\n00\r\x03", "1.0 kg* stable");
    }

    #[test]
    fn a_status_carries_no_weight() {
        check(b"\n 5.00lb\r\n00\r\x03\n10\r\x03", "5.00 lb stable; no weight moving");
        check(b"\n^^^^^^^lb\r\n02\r\x03", "no weight stable over");
        check(b"\n^^^^^^^lb\r\n00\r\x03", "no weight stable over");
        check(b"\n_______lb\r\n00\r\x03", "no weight stable under");
        check(b"\n-------lb\r\n00\r\x03", "no weight stable zero_error");
        check(b"\n  1.000kg\r\n0p8\r\x03", "no weight stable zero_error gross");
        check(b"\n  1.000kg\r\n01\r\x03", "no weight stable under");
        check_ecr(b"\nS10\r\x03\nS02\r\x03", "no weight moving; no weight stable over");
    }

    #[test]
    fn complaints_and_the_other_variant() {
        check(b"\n?\r\x03\n40\r\x03\n08\r\x03", "device; device; device");
        check(b"\n00.120KG\r\nS00\r\x03", "malformed; malformed");
        check_ecr(b"\n  12.34lb\r\n00\r\x03", "malformed; malformed");
    }

    #[test]
    fn damage() {
        let good = b"\n 5.00lb\r\n00\r\x03";
        check(&[b"00lb\r\n0", &good[..]].concat(), "noise; malformed; 5.00 lb stable");
        check(&[&good[..6], &good[..]].concat(), "malformed; 5.00 lb stable");
        check(&[b"\n 5.0", &[b'0'; 30][..], &good[..]].concat(), "too_long; 5.00 lb stable");
        check(b"\n 5.00lb\r\n0", "truncated");
        check(b"\n00\x03\n0@\r\x03\n 5,0lb\r\n00\r\x03", "malformed; malformed; malformed; no weight stable");
        check(b"\n \xb5.00\xEC\xE2\x8D\n00\x8D\x03", "parity; parity");
    }
}
