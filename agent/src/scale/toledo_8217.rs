//! Toledo 8217 and 8213: counter scales that are polled with one letter.
//!
//! ```text
//!  request   W                                    weight now, no terminator
//!  reply   +-----+-------------------+-----+----+
//!          | STX | 00.120  or 012.34 | (N) | CR |   stable and in range; N: net
//!          +-----+-------------------+-----+----+
//!          | STX | ?  | b            | CR       |   instead of a weight: moving, below zero, over capacity
//!          +-----+----+--------------+----------+
//!
//!  b   7      6     5     4         3                2            1          0
//!    parity   1    net   at zero   outside the      below zero   over       moving
//!                                  range for zero                capacity
//! ```
//!
//! Some makers set bit 5 always (`status_bits = "benchpro"`), so it is believed only where the configuration says that
//! the scale is of the other family (`status_bits = "8217"`). No frame carries a unit: it stands in the configuration.
//! There is neither an end mark nor a checksum; in the time of setting up, and when zero was not found at power-on, the
//! scale does not answer at all. Line: 9600 7E1. Source: Mettler DIVA service manual pp.35-45; Rice Lake BenchPro manual
//! p.26; Salter Brecknell 3700LP manual p.11; Mettler PS shipping scale manual, appendix.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability,
    StatusBits,
};
use crate::serial::{LineSettings, Parity};

/// The row of the table.
pub struct Toledo8217;

impl ScaleProtocol for Toledo8217 {
    fn name(&self) -> &'static str {
        "toledo-8217"
    }

    fn title(&self) -> &'static str {
        "Mettler-Toledo 8217 and 8213, and scales that speak like them"
    }

    fn line(&self) -> LineSettings {
        LineSettings { data_bits: 7, parity: Parity::Even, ..LineSettings::DEFAULT }
    }

    fn options(&self) -> &'static [&'static str] {
        &["status_bits"]
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Toledo { options: *options }))
    }
}

const STX: u8 = 0x02;
const CR: u8 = 0x0D;

const MOVING: u8 = 1 << 0;
const OVER: u8 = 1 << 1;
const UNDER: u8 = 1 << 2;
const AT_ZERO: u8 = 1 << 4;
const NET: u8 = 1 << 5;
const ALWAYS: u8 = 1 << 6;

struct Toledo {
    options: ScaleOptions,
}

impl Grammar for Toledo {
    /// STX, six digits of the high resolution with their point, N, CR.
    const FRAME_MAX: usize = 10;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        if let Some(skip) = skip_to(STX, bytes) {
            return skip;
        }
        // Nothing inside a frame looks like its beginning: the frame before broke off.
        if let Some(at) = bytes.iter().rposition(|byte| *byte == STX).filter(|at| *at > 0) {
            return Cut::Skip(at);
        }
        match bytes.iter().position(|byte| *byte == CR) {
            Some(at) => Cut::Frame { len: at + 1, end: 0 },
            None => Cut::More,
        }
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let said = &frame[1..frame.len() - 1];
        match said {
            [b'?', status] => self.status(*status, frame).map(Some),
            // The answers to the confidence and the echo test.
            [] | [b'E'] => Err(FaultKind::OtherReply),
            weight => self.weight(weight, frame).map(Some),
        }
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        Some(b"W".to_vec())
    }
}

const MALFORMED: FaultKind =
    FaultKind::Malformed { expected: "expected STX, a weight such as \"01.250\" or \"?\" and a status, CR" };

impl Toledo {
    fn weight(&self, said: &[u8], frame: &[u8]) -> Result<Reading, FaultKind> {
        let (digits, net) = match said {
            [digits @ .., b'N'] => (digits, Net::Net),
            // Whether the other family marks net weights is not known.
            digits if self.options.status_bits == StatusBits::Toledo => (digits, Net::Gross),
            digits => (digits, Net::Unknown),
        };
        let text = std::str::from_utf8(digits).map_err(|_| MALFORMED)?;
        // Below zero there is a status and no weight, so a sign is none of this protocol's.
        let value = Shown::parse(text).filter(|_| !text.starts_with(['+', '-'])).ok_or(MALFORMED)?;
        let (unit, unit_source) = self.options.unit_of("")?;
        Ok(Reading {
            stability: Stability::Stable,
            stability_source: Source::Reported,
            net,
            ..Reading::shown(value, unit, unit_source, frame)
        })
    }

    fn status(&self, status: u8, frame: &[u8]) -> Result<Reading, FaultKind> {
        let has = |bit| status & bit != 0;
        if !has(ALWAYS) {
            return Err(MALFORMED);
        }
        let range = match () {
            () if has(OVER) => Range::Over,
            () if has(UNDER) => Range::Under,
            // Bit 3 says only that Z would be refused now, as it is with goods on the platform.
            () => Range::Ok,
        };
        let net = match self.options.status_bits {
            StatusBits::Toledo if has(NET) => Net::Net,
            StatusBits::Toledo => Net::Gross,
            StatusBits::BenchPro => Net::Unknown,
        };
        let stability = if has(MOVING) { Stability::Moving } else { Stability::Stable };
        Ok(Reading { net, zero: Some(has(AT_ZERO)), ..Reading::status(stability, range, frame) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::super::testing;
    use super::*;

    const KILOGRAM: ScaleOptions =
        ScaleOptions { unit: Some(Unit::Kilogram), status_bits: StatusBits::Toledo, checksum: true };

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&Toledo8217, &KILOGRAM, bytes, expected);
    }

    #[test]
    fn weights() {
        check(b"\x0200.120\r", "0.120 kg* stable gross");
        check(b"\x0201.250N\r\x020012.34\r", "1.250 kg* stable net; 12.34 kg* stable gross");
        let gram = ScaleOptions { unit: Some(Unit::Gram), ..ScaleOptions::default() };
        testing::check(&Toledo8217, &gram, b"\x02001250\r", "1250 g* stable");
        testing::check(&Toledo8217, &ScaleOptions::default(), b"\x0200.120\r", "missing_unit");
    }

    #[test]
    fn a_status_replaces_the_weight() {
        check(b"\x0201.250\r\x02?A\r", "1.250 kg* stable gross; no weight moving gross");
        check(b"\x02?B\r\x02?D\r", "no weight stable over gross; no weight stable under gross");
        check(b"\x02?P\r\x02?q\r", "no weight stable gross zero; no weight moving net zero");
        check(b"\x02?H\r", "no weight stable gross");
    }

    #[test]
    fn bit_5_is_believed_of_one_family_alone() {
        let benchpro = ScaleOptions { status_bits: StatusBits::BenchPro, ..KILOGRAM };
        testing::check(
            &Toledo8217,
            &benchpro,
            b"\x02?a\r\x0201.250\r\x0201.250N\r",
            "no weight moving; 1.250 kg* stable; 1.250 kg* stable net",
        );
        check(b"\x02?a\r", "no weight moving net");
    }

    #[test]
    fn damage() {
        check(b"1.250\r\x0201.250\r", "noise; 1.250 kg* stable gross");
        check(b"\x0201.2\x0201.250\r", "noise; 1.250 kg* stable gross");
        check(b"\x02-1.250\r\x02 1.250\r\x02?\x01\r", "malformed; malformed; malformed");
        check(b"\x020123456789\r\x02?A\r", "too_long; no weight moving gross");
        // 7E1 read as 8N1.
        check(b"\x8200.\xb1\xb20\x8d", "parity");
        check(b"\x02\r\x02E\r\x02?A", "other_reply; other_reply; truncated");
    }
}
