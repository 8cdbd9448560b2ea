//! Dibal counter scales (G310): polled with a price, answered with a weight.
//!
//! ```text
//!  request  +----+-------+-----+----+----+
//!           | 98 | 00000 | chk | CR | LF |            98000001
//!           +----+-------+-----+----+----+
//!             2    price    1
//!  reply    +----+-------+--------+---------+-----+----+----+
//!           | 99 | state | 00316  | 0000000 | chk | CR | LF |   9900031600000004: 0.316 kg
//!           +----+-------+--------+---------+-----+----+----+
//!             2    1       weight   price      1
//!                          5        7
//!           chk: exclusive or of all characters before it, so also `:` to `?`
//! ```
//!
//! State 0 is a weight; what other states mean is not published, so they carry none. Neither the unit nor whether the
//! load is still is in the frame: the three decimals are those of a kilogram, which the configuration must confirm
//! (`unit = "kg"`), and stability is inferred from several answers. Other Dibal scales speak other dialects, which are
//! not read here. Line: 9600 8N1. Source: sbzsystems.com note on the Dibal G310.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::still::Still;
use super::{FaultKind, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Stability, Unit};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Dibal;

impl ScaleProtocol for Dibal {
    fn name(&self) -> &'static str {
        "dibal"
    }

    fn title(&self) -> &'static str {
        "Dibal G310 counter scales"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Counter { options: *options, still: Still::default() }))
    }
}

struct Counter {
    options: ScaleOptions,
    still: Still,
}

impl Grammar for Counter {
    const FRAME_MAX: usize = 16;

    fn handle_frame(&mut self, now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let answer = read(frame);
        let Ok(Some(value)) = answer else {
            self.still.forget();
            let status = |_| Some(Reading::status(Stability::Unknown, Range::Unknown, frame));
            return answer.map(status);
        };
        let (unit, unit_source) = match self.options.unit_of("")? {
            (Unit::Kilogram, source) => (Unit::Kilogram, source),
            (other, _) => return Err(FaultKind::UnknownUnit { unit: other.as_str().into() }),
        };
        let (stability, stability_source) = self.still.judge(now, value);
        Ok(Some(Reading {
            stability,
            stability_source,
            range: Range::Unknown,
            ..Reading::shown(value, unit, unit_source, frame)
        }))
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        let mut request = b"9800000".to_vec();
        request.push(check(&request));
        request.extend_from_slice(b"\r\n");
        Some(request)
    }
}

const MALFORMED: FaultKind =
    FaultKind::Malformed { expected: "expected 99, a state digit, 12 digits and a check" };

fn check(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// The weight; `None` when the state says that there is none.
fn read(frame: &[u8]) -> Result<Option<Shown>, FaultKind> {
    let [said @ .., chk] = frame else { return Err(MALFORMED) };
    let [b'9', b'9', state, digits @ ..] = said else { return Err(MALFORMED) };
    let text = std::str::from_utf8(digits).map_err(|_| MALFORMED)?;
    let all_digits = said.iter().all(u8::is_ascii_digit);
    let (weight, _price) = text.split_at_checked(5).filter(|(_, price)| price.len() == 7).ok_or(MALFORMED)?;
    let whole = Shown::parse(weight).filter(|_| all_digits).ok_or(MALFORMED)?;
    if check(said) != *chk {
        return Err(FaultKind::Checksum);
    }
    Ok((*state == b'0').then_some(Shown { decimals: 3, ..whole }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, replies};
    use super::*;

    fn options() -> ScaleOptions {
        ScaleOptions { unit: Some(Unit::Kilogram), ..ScaleOptions::default() }
    }

    #[test]
    fn published_frames() {
        let mut decoder = Dibal.decoder(&options());
        assert_eq!(decoder.request().unwrap(), b"\x39\x38\x30\x30\x30\x30\x30\x31\x0D\x0A");
        testing::check(&Dibal, &options(), b"9900031600000004\r\n", "0.316 kg* moving*");
    }

    #[test]
    fn stability_is_inferred() {
        let mut decoder = Dibal.decoder(&options());
        let mut at = |ms: u64, bytes: &[u8]| {
            decoder.handle_bytes(Duration::from_millis(ms), bytes);
            replies(&mut *decoder)
        };
        for ms in [0, 250] {
            assert_eq!(at(ms, b"9900031600000004\r\n"), "0.316 kg* moving*");
        }
        assert_eq!(at(500, b"9900031600000004\r\n"), "0.316 kg* stable*");
        assert_eq!(at(600, b"9910031600000005\r\n"), "no weight");
        assert_eq!(at(700, b"9900031600000004\r\n"), "0.316 kg* moving*");
    }

    #[test]
    fn units_are_confirmed() {
        testing::check(&Dibal, &ScaleOptions::default(), b"9900031600000004\r\n", "missing_unit");
        let gram = ScaleOptions { unit: Some(Unit::Gram), ..ScaleOptions::default() };
        testing::check(&Dibal, &gram, b"9900031600000004\r\n", "unknown_unit");
    }

    #[test]
    fn damage() {
        testing::check(&Dibal, &options(), b"9900031600000005\r\n", "checksum");
        testing::check(
            &Dibal,
            &options(),
            b"990031600000004\r\n980031600000004\r\n\r\n",
            "malformed; malformed",
        );
        testing::check(
            &Dibal,
            &options(),
            b"99-003160000000)\r\n9900a31600000004\r\n99",
            "malformed; malformed; truncated",
        );
        testing::check(
            &Dibal,
            &options(),
            b"99000316000000041\r\n9900031600000004\r\n",
            "too_long; 0.316 kg* moving*",
        );
        testing::check(&Dibal, &options(), b"\xb99000316\xb00000004\r\n", "parity");
    }
}
