//! Toledo continuous output: a stream of binary frames, about seven a second, that many makers' terminals can send.
//!
//! ```text
//!   1     1     1     1      6          6       1     1
//! +-----+-----+-----+-----+----------+--------+----+-------+
//! | STX | SWA | SWB | SWC | weight   | tare   | CR | (CHK) |   17 bytes, 18 with checksum
//! +-----+-----+-----+-----+----------+--------+----+-------+
//! | STX | SWA | SWB | SWC | weight   | CR     | (CHK) |        short form: 11, 12 with checksum
//! +-----+-----+-----+-----+----------+--------+-------+
//!
//!        7        6        5   4        3          2           1          0
//!  SWA   parity   0        1   increment           decimal point
//!  SWB   parity   zero     1   kg       moving     out of      negative   net
//!                 not found    (0: lb)             range
//!  SWC   parity   0        1   expanded print      unit: 000 by SWB, 001 grams
//!                              x 10     request
//! ```
//!
//! Digits carry no point, sign or unit: the status words do. The checksum makes the sum of all bytes zero in its seven
//! low bits and may itself be 02, 0A or 0D, so a frame ends by its length, never at a CR. Bits 5 and 6 of the status
//! words differ between makers and are no test of a frame. `checksum = false` for terminals that send none.
//! Line: 9600 7E1 or 8N1, as set in the terminal. Source: Mettler Wildcat manual pp.6-4, 6-5; Fairbanks FB3000 operator
//! manual p.55; Cardinal 225 manual p.118; Kern FTC/ITT interface description p.42; Rockwell 57C428 guide appendix D.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar, skip_to};
use super::{
    FaultKind, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability, Unit,
};
use crate::serial::{LineSettings, Parity};

/// The row of the table.
pub struct ToledoContinuous;

impl ScaleProtocol for ToledoContinuous {
    fn name(&self) -> &'static str {
        "toledo-continuous"
    }

    fn title(&self) -> &'static str {
        "Toledo continuous output (Mettler-Toledo, Rice Lake, Fairbanks, Kern, Cardinal)"
    }

    fn line(&self) -> LineSettings {
        LineSettings { data_bits: 7, parity: Parity::Even, ..LineSettings::DEFAULT }
    }

    fn pause_max(&self) -> Option<Duration> {
        // Seven frames a second; at 1200 baud, where a frame takes 165 ms, still ten within this time.
        Some(Duration::from_secs(2))
    }

    fn options(&self) -> &'static [&'static str] {
        &["checksum"]
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Continuous { checksum: options.checksum, unexpected: None }))
    }
}

const STX: u8 = 0x02;
const CR: u8 = 0x0D;
/// Up to and with CR.
const LONG: usize = 17;
const SHORT: usize = 11;

struct Continuous {
    checksum: bool,
    /// The checksum that may follow the last frame although the configuration says that none does.
    unexpected: Option<u8>,
}

impl Grammar for Continuous {
    const FRAME_MAX: usize = LONG + 1;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        // A checksum that nobody wants is no noise. One that looks like a beginning is taken for one, and found out.
        if self.unexpected == Some(bytes[0]) && bytes[0] != STX {
            return Cut::Frame { len: 0, end: 1 };
        }
        if let Some(skip) = skip_to(STX, bytes) {
            return skip;
        }
        // A tare has digits where the short form has its CR, so that cannot be anything else.
        let body = if bytes.get(SHORT - 1) == Some(&CR) { SHORT } else { LONG };
        if bytes.len() < body {
            return Cut::More;
        }
        match bytes.get(body) {
            _ if !self.checksum => Cut::Frame { len: body, end: 0 },
            // Told as such, and the next frame keeps its beginning.
            Some(&STX) if sum(&bytes[..=body]) != 0 => Cut::Frame { len: body, end: 0 },
            Some(_) => Cut::Frame { len: body + 1, end: 0 },
            // It is no frame, whatever comes.
            None if bytes[body - 1] != CR => Cut::Frame { len: body, end: 0 },
            None => Cut::More,
        }
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let checked = frame.len() == SHORT + 1 || frame.len() == LONG + 1;
        let body = &frame[..frame.len() - usize::from(checked)];
        if body.last() != Some(&CR) {
            return Err(MALFORMED);
        }
        if self.checksum && !checked {
            return Err(FaultKind::ChecksumMissing);
        }
        if self.checksum && sum(frame) != 0 {
            return Err(FaultKind::Checksum);
        }
        let reading = read(body, frame)?;
        self.unexpected = (!self.checksum).then(|| sum(body).wrapping_neg() & 0x7F);
        Ok(Some(reading))
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        None
    }
}

const MALFORMED: FaultKind =
    FaultKind::Malformed { expected: "expected STX, three status words, six or twelve digits and CR" };
const EXPANDED: FaultKind = FaultKind::Device { what: "its display is expanded by ten: switch that off" };

/// Of the seven low bits.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) & 0x7F
}

fn read(body: &[u8], raw: &[u8]) -> Result<Reading, FaultKind> {
    let [_, point, state, more, digits @ .., CR] = body else { return Err(MALFORMED) };
    let has = |word: &u8, bit: u8| word & (1 << bit) != 0;
    let (weight, tare) = digits.split_at(6);
    let weight = number(weight, *point).ok_or(MALFORMED)?;
    let tare = match tare {
        // The short form has none, and some terminals leave it blank.
        [] | [b' ', b' ', b' ', b' ', b' ', b' '] => None,
        tare => Some(number(tare, *point).ok_or(MALFORMED)?),
    };
    let negative = has(state, 1);
    let stability = if has(state, 3) { Stability::Moving } else { Stability::Stable };
    let net = if has(state, 0) { Net::Net } else { Net::Gross };
    let range = match () {
        () if has(state, 6) => Range::ZeroError,
        () if has(state, 2) && negative => Range::Under,
        () if has(state, 2) => Range::Over,
        () => Range::Ok,
    };
    if range != Range::Ok {
        return Ok(Reading { net, ..Reading::status(stability, range, raw) });
    }
    if has(more, 4) {
        return Err(EXPANDED);
    }
    let unit = match more & 0b111 {
        0 if has(state, 4) => Unit::Kilogram,
        0 => Unit::Pound,
        1 => Unit::Gram,
        code => return Err(FaultKind::UnknownUnit { unit: format!("code {code}") }),
    };
    let weight = if negative { Shown { steps: -weight.steps, ..weight } } else { weight };
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        net,
        tare,
        ..Reading::shown(weight, unit, Source::Reported, raw)
    })
}

/// Six digits, after leading spaces or zeros, with the point where SWA puts it.
fn number(digits: &[u8], point: u8) -> Option<Shown> {
    let digits = std::str::from_utf8(digits).ok()?.trim_start_matches(' ');
    let whole = Shown::parse(digits).filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(match point & 0b111 {
        0 => Shown { steps: whole.steps * 100, ..whole },
        1 => Shown { steps: whole.steps * 10, ..whole },
        decimals => Shown { decimals: decimals - 2, ..whole },
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    const NO_CHECKSUM: ScaleOptions =
        ScaleOptions { unit: None, status_bits: super::super::StatusBits::BenchPro, checksum: false };

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&ToledoContinuous, &ScaleOptions::default(), bytes, expected);
    }

    fn check_without(bytes: &[u8], expected: &str) {
        testing::check(&ToledoContinuous, &NO_CHECKSUM, bytes, expected);
    }

    /// With its checksum.
    fn frame(words: [u8; 3], digits: &str) -> Vec<u8> {
        let mut frame = [&[STX], &words[..], digits.as_bytes(), &[CR]].concat();
        frame.push(sum(&frame).wrapping_neg() & 0x7F);
        frame
    }

    #[test]
    fn weights() {
        check(&frame([0x2D, 0x30, 0x20], " 12345     0"), "12.345 kg stable gross tare 0.000");
        check(&frame([0x2D, 0x3B, 0x20], "   250  1000"), "-0.250 kg moving net tare 1.000");
        check(&frame([0x2D, 0x30, 0x20], "012345000000"), "12.345 kg stable gross tare 0.000");
        check(&frame([0x2C, 0x21, 0x20], "001234000100"), "12.34 lb stable net tare 1.00");
        check(&frame([0x22, 0x20, 0x21], "  1234      "), "1234 g stable gross");
        check(&frame([0x28, 0x30, 0x20], "    12"), "1200 kg stable gross");
        check(&frame([0x29, 0x30, 0x20], "    12"), "120 kg stable gross");
        check(&frame([0x2F, 0x30, 0x20], "123456"), "1.23456 kg stable gross");
    }

    #[test]
    fn a_weight_out_of_range_is_a_status() {
        check(&frame([0x2D, 0x34, 0x20], " 60000     0"), "no weight stable over gross");
        check(&frame([0x2D, 0x3E, 0x20], "   120     0"), "no weight moving under gross");
        check(&frame([0x2D, 0x70, 0x20], "     0     0"), "no weight stable zero_error gross");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        check(&frame([0x2D, 0x30, 0x22], " 12345     0"), "unknown_unit");
        check(&frame([0x2D, 0x30, 0x30], " 12345     0"), "device");
        check(&frame([0x2D, 0x30, 0x20], "            "), "malformed");
        check(&frame([0x2D, 0x30, 0x20], " 1 345     0"), "malformed");
    }

    #[test]
    fn any_checksum_is_only_a_checksum() {
        for weight in 0..400 {
            let bytes = frame([0x2D, 0x30, 0x20], &format!("{weight:06}000000"));
            let one = format!("{}.{:03} kg stable gross tare 0.000", weight / 1_000, weight % 1_000);
            check(&bytes.repeat(3), &[one.as_str(); 3].join("; "));
            // With the checksum sent and not wanted, weights are still right.
            let mut decoder = ToledoContinuous.decoder(&NO_CHECKSUM);
            decoder.handle_bytes(Duration::ZERO, &bytes.repeat(3));
            let said = testing::replies(&mut *decoder);
            assert!(said.starts_with(&one) && said.ends_with(&one), "{weight}: {said}");
            assert!(
                said.split("; ").all(|said| said == one || said == "noise" || said == "malformed"),
                "{said}"
            );
        }
    }

    #[test]
    fn frames_without_checksum() {
        let bytes = frame([0x2D, 0x30, 0x20], " 12345     0");
        let bare = &bytes[..LONG];
        let good = "12.345 kg stable gross tare 0.000";
        check_without(&bare.repeat(2), &[good; 2].join("; "));
        check_without(&bytes.repeat(2), &[good; 2].join("; "));
        check_without(
            &frame([0x28, 0x30, 0x20], "    12")[..SHORT].repeat(2),
            &["1200 kg stable gross"; 2].join("; "),
        );
        check(&bare.repeat(3), "checksum_missing; checksum_missing; truncated");
        check_without(&[b"345     0\r", bare].concat(), &format!("noise; {good}"));
    }

    #[test]
    fn damage() {
        let bytes = frame([0x2D, 0x30, 0x20], " 12345     0");
        let good = "12.345 kg stable gross tare 0.000";
        let mut noisy = bytes.clone();
        noisy[6] ^= 1;
        check(&[&noisy[..], &bytes[..]].concat(), &format!("checksum; {good}"));
        check(&[&bytes[..9], &bytes[..]].concat(), &format!("malformed; {good}"));
        check(&[&bytes[7..], &bytes[..]].concat(), &format!("noise; {good}"));
        check(&bytes[..17], "truncated");
        let parity: Vec<u8> = bytes.iter().map(|byte| byte | ((byte.count_ones() as u8 & 1) << 7)).collect();
        check(&parity, "parity");
    }
}
