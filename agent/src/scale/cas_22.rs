//! CAS 22-byte frames of weighing indicators (NT, CI, PDI): lines of fixed width, usually streaming.
//!
//! ```text
//! +----+---+----+---+----+------+---+------------+----+----+----+----+
//! | ST | , | GS | , | ID | lamp | , |    13.50   | SP | kg | CR | LF |
//! +----+---+----+---+----+------+---+------------+----+----+----+----+
//!  2         2        1    1          8                 2
//!
//!  ST stable  US unstable  OL out of range      GS gross  NT net      ID: 31h for the first device
//!
//!  lamp   7        6        5   4      3         2       1      0
//!         always   stable   -   hold   printer   gross   tare   at zero
//! ```
//!
//! The lamp byte has bit 7 set, so the line must have 8 data bits. Stability stands there twice: if the two disagree the
//! load moves. Line: 9600 8N1. Source: CAS NT-200 manual p.48; CI-600D p.74; CI-150A p.54; PDI p.37.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Cas22;

impl ScaleProtocol for Cas22 {
    fn name(&self) -> &'static str {
        "cas-22"
    }

    fn title(&self) -> &'static str {
        "CAS 22-byte frames (NT, CI, PDI indicators)"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn pause_max(&self) -> Option<Duration> {
        // The rate is not in the manuals. Indicators send with each conversion, several times a second; at 1200 baud,
        // their slowest, a frame takes 183 ms.
        Some(Duration::from_secs(3))
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Indicator { options: *options }))
    }
}

const AT_ZERO: u8 = 1 << 0;
const HOLD: u8 = 1 << 4;
const STABLE: u8 = 1 << 6;
const ALWAYS: u8 = 1 << 7;

struct Indicator {
    options: ScaleOptions,
}

impl Grammar for Indicator {
    /// Without CR LF.
    const FRAME_MAX: usize = 20;
    const SEVEN_BIT: bool = false;

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        read(frame, &self.options).map(Some).map_err(|kind| match kind {
            // Outside the lamp byte there are no bytes with the eighth bit set.
            FaultKind::Malformed { .. } if frame.iter().filter(|byte| !byte.is_ascii()).count() > 1 => {
                FaultKind::Parity
            }
            kind => kind,
        })
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        None
    }
}

const MALFORMED: FaultKind =
    FaultKind::Malformed { expected: "expected \"ST,GS,\", device and lamp byte, \",   13.50 kg\"" };
const SEVEN_BITS: FaultKind =
    FaultKind::Malformed { expected: "expected a lamp byte with bit 7 set: the line must have 8 data bits" };

fn read(frame: &[u8], options: &ScaleOptions) -> Result<Reading, FaultKind> {
    let [s0, s1, b',', g0, g1, b',', _id, lamp, b',', weight @ .., b' ', u0, u1] = frame else {
        return Err(MALFORMED);
    };
    let weight = std::str::from_utf8(weight).ok().filter(|text| text.len() == 8).ok_or(MALFORMED)?;
    if lamp & ALWAYS == 0 {
        return Err(SEVEN_BITS);
    }
    let has = |lit: u8| lamp & lit != 0;
    let net = match [*g0, *g1] {
        [b'G', b'S'] => Net::Gross,
        [b'N', b'T'] => Net::Net,
        _ => return Err(MALFORMED),
    };
    let stability = match [*s0, *s1] {
        [b'S', b'T'] if has(STABLE) => Stability::Stable,
        [b'S', b'T'] | [b'U', b'S'] => Stability::Moving,
        [b'O', b'L'] => {
            let range = if weight.contains('-') { Range::Under } else { Range::Over };
            return Ok(Reading { net, ..Reading::status(Stability::Unknown, range, frame) });
        }
        _ => return Err(MALFORMED),
    };
    if has(HOLD) {
        return Err(FaultKind::Device { what: "it holds a weight of earlier: release HOLD" });
    }
    let value = Shown::parse(weight.trim_matches(' ')).ok_or(MALFORMED)?;
    let unit = [*u0, *u1];
    let unit = std::str::from_utf8(&unit).map_err(|_| MALFORMED)?;
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        net,
        zero: Some(has(AT_ZERO)),
        ..Reading::shown(value, unit, unit_source, frame)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Cas22, &ScaleOptions::default(), bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"ST,GS,1\xC4,   13.50 kg\r\n", "13.50 kg stable gross");
        check(b"US,NT,=\x82,-  0.250 kg\r\n", "-0.250 kg moving net");
        check(b"ST,GS,1\xC5,    0.00 kg\r\n", "0.00 kg stable gross zero");
        check(b"ST,GS,1\xE4,   1.350  t\r\n", "1.350 t stable gross");
    }

    #[test]
    fn both_marks_of_stability_must_agree() {
        check(b"ST,GS,1\x84,   13.50 kg\r\n", "13.50 kg moving gross");
        check(b"US,GS,1\xC4,   13.50 kg\r\n", "13.50 kg moving gross");
    }

    #[test]
    fn out_of_range_is_a_status() {
        check(b"OL,GS,1\x84,   60.00 kg\r\n", "no weight over gross");
        check(
            b"OL,NT,1\x84,-  60.00 kg\r\nOL,GS,1\x84,         kg\r\n",
            "no weight under net; no weight over gross",
        );
    }

    #[test]
    fn complaints_and_damage() {
        check(b"ST,GS,1\xD4,   13.50 kg\r\n", "device");
        check(b"ST,GS,1D,   13.50 kg\r\n", "malformed");
        check(b"ST,GS,1\xC4,   13.50 st\r\nST,GS,1\xC4,   13.50   \r\n", "unknown_unit; missing_unit");
        check(b"ST,GS,1\xC4,  13.50 kg\r\nGS,1\xC4,   13.50 kg\r\n", "malformed; malformed");
        check(b"ST,XX,1\xC4,   13.50 kg\r\nST,GS,1\xC4,   1a.50 kg\r\n", "malformed; malformed");
        check(b"\xd3\xd4,\xc7S,1\xC4,   13.50 kg\r\nST,GS,1\xC4,", "parity; truncated");
    }
}
