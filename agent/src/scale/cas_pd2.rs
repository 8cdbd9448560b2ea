//! CAS PD-II, AP and SW-II: a handshake, then one binary frame.
//!
//! ```text
//!  host   ENQ 05            DC1 11
//!  scale          ACK 06            SOH STX ... ETX EOT
//!                 NAK 15: not now
//!
//! +-----+-----+-----+------+--------+------+-----+-----+-----+
//! | SOH | STX | STA | SIGN | 12.345 | kg   | BCC | ETX | EOT |   15 bytes
//! +-----+-----+-----+------+--------+------+-----+-----+-----+
//!  01    02    1     1      6        2      1     03    04
//!             '----------- BCC: exclusive or ---'
//!
//!  STA  S stable for half a second or more   U not yet        SIGN  space or -
//! ```
//!
//! The scale says nothing about its range. Line: 9600 8N1. Source: CAS SW-II manual p.15; CAS AP-1 protocol note.

use std::time::Duration;

use super::frame::{Cut, Framed, Grammar};
use super::{FaultKind, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown, Source, Stability};
use crate::serial::LineSettings;

/// The row of the table.
pub struct CasPd2;

impl ScaleProtocol for CasPd2 {
    fn name(&self) -> &'static str {
        "cas-pd2"
    }

    fn title(&self) -> &'static str {
        "CAS PD-II, AP, SW-II (handshake with ENQ)"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Pd2 { options: *options, turn: Turn::Idle }))
    }
}

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ENQ: u8 = 0x05;
const ACK: u8 = 0x06;
const DC1: u8 = 0x11;
const NAK: u8 = 0x15;

/// A scale that says NAK is asked so often again, at once, before it counts as busy.
const NAK_MAX: u8 = 3;

struct Pd2 {
    options: ScaleOptions,
    turn: Turn,
}

/// Where the conversation stands.
enum Turn {
    /// Nothing was asked, or it was answered.
    Idle,
    /// ENQ was sent, and so many NAK have come.
    Asked(u8),
    /// This is to be sent now.
    Send { byte: u8, naks: u8 },
}

impl Grammar for Pd2 {
    const FRAME_MAX: usize = 15;
    const MARKED: bool = true;

    fn cut(&self, bytes: &[u8]) -> Cut {
        match bytes {
            [ACK | NAK, ..] => Cut::Frame { len: 1, end: 0 },
            [SOH] => Cut::More,
            [SOH, STX, ..] if bytes.len() < Self::FRAME_MAX => Cut::More,
            [SOH, STX, ..] => Cut::Frame { len: Self::FRAME_MAX, end: 0 },
            _ => Cut::Skip(1),
        }
    }

    fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        match (frame, &self.turn) {
            ([ACK], Turn::Asked(naks)) => {
                self.turn = Turn::Send { byte: DC1, naks: *naks };
                Ok(None)
            }
            ([NAK], Turn::Asked(naks)) if *naks < NAK_MAX => {
                self.turn = Turn::Send { byte: ENQ, naks: naks + 1 };
                Ok(None)
            }
            ([NAK], _) => {
                self.turn = Turn::Idle;
                Ok(Some(Reading::status(Stability::Unknown, Range::Unknown, frame)))
            }
            ([_], _) => Err(FaultKind::OtherReply),
            _ => {
                let reading = read(frame, &self.options);
                if !reading.as_ref().is_err_and(FaultKind::is_damage) {
                    self.turn = Turn::Idle;
                }
                reading.map(Some)
            }
        }
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        self.turn = Turn::Asked(0);
        Some(vec![ENQ])
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let Turn::Send { byte, naks } = self.turn else { return None };
        // After DC1 comes the frame, which is one whoever asked for it.
        self.turn = if byte == ENQ { Turn::Asked(naks) } else { Turn::Idle };
        Some(vec![byte])
    }
}

const MALFORMED: FaultKind = FaultKind::Malformed {
    expected: "expected SOH STX, S or U, sign, a weight such as 12.345, a unit, BCC, ETX EOT",
};

fn read(frame: &[u8], options: &ScaleOptions) -> Result<Reading, FaultKind> {
    let [SOH, STX, said @ .., bcc, ETX, EOT] = frame else { return Err(MALFORMED) };
    if said.iter().fold(0, |sum, byte| sum ^ byte) != *bcc {
        return Err(FaultKind::Checksum);
    }
    let [state, sign @ (b' ' | b'-'), rest @ ..] = said else { return Err(MALFORMED) };
    let stability = match state {
        b'S' => Stability::Stable,
        b'U' => Stability::Moving,
        _ => return Err(MALFORMED),
    };
    let text = std::str::from_utf8(rest).map_err(|_| MALFORMED)?;
    let (digits, unit) = text.split_at_checked(6).ok_or(MALFORMED)?;
    let value = Shown::parse(digits.trim_start_matches(' '))
        .filter(|value| value.decimals > 0 && !digits.contains(['+', '-']));
    let value = value.ok_or(MALFORMED)?;
    let steps = if *sign == b'-' { -value.steps } else { value.steps };
    let (unit, unit_source) = options.unit_of(unit)?;
    Ok(Reading {
        stability,
        stability_source: Source::Reported,
        range: Range::Unknown,
        ..Reading::shown(Shown { steps, ..value }, unit, unit_source, frame)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, replies};
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        testing::check(&CasPd2, &ScaleOptions::default(), bytes, expected);
    }

    const GOOD: &[u8] = b"\x01\x02S 12.345kg\x60\x03\x04";

    #[test]
    fn weights() {
        check(GOOD, "12.345 kg stable");
        check(b"\x01\x02S 00.120kg\x62\x03\x04", "0.120 kg stable");
        check(b"\x01\x02U-01.005kg\x6E\x03\x04", "-1.005 kg moving");
    }

    #[test]
    fn the_handshake() {
        let mut decoder = CasPd2.decoder(&ScaleOptions::default());
        let mut hears = |bytes: &[u8]| {
            decoder.handle_bytes(Duration::ZERO, bytes);
            (replies(&mut *decoder), decoder.poll_transmit())
        };
        assert_eq!(hears(&[ACK]), ("other_reply".into(), None), "nobody asked");
        assert_eq!(hears(&[NAK]), ("no weight".into(), None));
        let mut decoder = CasPd2.decoder(&ScaleOptions::default());
        assert_eq!(decoder.request(), Some(vec![ENQ]));
        assert_eq!(decoder.poll_transmit(), None);
        let mut hears = |bytes: &[u8]| {
            decoder.handle_bytes(Duration::ZERO, bytes);
            (replies(&mut *decoder), decoder.poll_transmit())
        };
        assert_eq!(hears(&[NAK]), (String::new(), Some(vec![ENQ])));
        assert_eq!(hears(&[ACK]), (String::new(), Some(vec![DC1])));
        assert_eq!(hears(GOOD), ("12.345 kg stable".into(), None));
    }

    #[test]
    fn a_busy_scale_is_not_asked_for_ever() {
        let mut decoder = CasPd2.decoder(&ScaleOptions::default());
        decoder.request();
        for _ in 0..NAK_MAX {
            decoder.handle_bytes(Duration::ZERO, &[NAK]);
            assert_eq!(decoder.poll_transmit(), Some(vec![ENQ]));
        }
        decoder.handle_bytes(Duration::ZERO, &[NAK]);
        assert_eq!((replies(&mut *decoder).as_str(), decoder.poll_transmit()), ("no weight", None));
    }

    #[test]
    fn damage() {
        check(&[&GOOD[..9], GOOD].concat(), "malformed; 12.345 kg stable");
        check(&[&GOOD[4..], GOOD].concat(), "noise; 12.345 kg stable");
        check(b"\x01\x02S 12.346kg\x60\x03\x04\x01\x02X 12.345kg\x6B\x03\x04", "checksum; malformed");
        check(b"\x01\x02S 12.345st\x6b\x03\x04\x01\x02S 12.345  \x6c\x03\x04", "unknown_unit; missing_unit");
        check(b"\x01\x02S 12", "truncated");
    }
}
