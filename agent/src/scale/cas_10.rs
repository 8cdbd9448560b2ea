//! CAS 10-byte frames: a bare number, streaming.
//!
//! ```text
//! +------------+----+----+
//! |    12.345  | CR | LF |   8 characters
//! +------------+----+----+
//! ```
//!
//! Nothing tells the unit, the range, or whether the load is still. The unit stands in the configuration; a weight is
//! taken for stable when it has not changed for a while, and the reading says that this was inferred. Where the
//! indicator has another format, set it to the 22-byte one. Line: 9600 8N1. Source: CAS CI-600D manual p.74; CI-150A
//! p.54.

use std::time::Duration;

use super::frame::{Framed, Grammar};
use super::still::Still;
use super::{FaultKind, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Shown};
use crate::serial::LineSettings;

/// The row of the table.
pub struct Cas10;

impl ScaleProtocol for Cas10 {
    fn name(&self) -> &'static str {
        "cas-10"
    }

    fn title(&self) -> &'static str {
        "CAS 10-byte frames (a bare number)"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn pause_max(&self) -> Option<Duration> {
        // The rate is not in the manuals. Indicators send with each conversion, several times a second; at 1200 baud,
        // their slowest, a frame takes 83 ms.
        Some(Duration::from_secs(3))
    }

    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder> {
        Box::new(Framed::new(Bare { options: *options, still: Still::default() }))
    }
}

struct Bare {
    options: ScaleOptions,
    still: Still,
}

impl Grammar for Bare {
    const FRAME_MAX: usize = 8;

    fn handle_frame(&mut self, now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
        let Some(value) = read(frame) else {
            self.still.forget();
            return Err(FaultKind::Malformed { expected: "expected a number of 8 characters" });
        };
        let (unit, unit_source) = self.options.unit_of("")?;
        let (stability, stability_source) = self.still.judge(now, value);
        Ok(Some(Reading {
            stability,
            stability_source,
            range: Range::Unknown,
            ..Reading::shown(value, unit, unit_source, frame)
        }))
    }

    fn request(&mut self) -> Option<Vec<u8>> {
        None
    }
}

fn read(frame: &[u8]) -> Option<Shown> {
    // A character that was lost would make the number a smaller one.
    let text = std::str::from_utf8(frame).ok().filter(|text| text.len() == 8)?;
    Shown::parse(text.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::super::testing::{self, replies};
    use super::*;

    fn options() -> ScaleOptions {
        ScaleOptions { unit: Some(Unit::Kilogram), ..ScaleOptions::default() }
    }

    #[test]
    fn weights() {
        testing::check(
            &Cas10,
            &options(),
            b"  12.345\r\n-  0.250\r\n",
            "12.345 kg* moving*; -0.250 kg* moving*",
        );
        testing::check(&Cas10, &ScaleOptions::default(), b"  12.345\r\n", "missing_unit");
    }

    #[test]
    fn stability_is_inferred_and_anything_else_ends_it() {
        let mut decoder = Cas10.decoder(&options());
        let mut at = |ms: u64, bytes: &[u8]| {
            decoder.handle_bytes(Duration::from_millis(ms), bytes);
            replies(&mut *decoder)
        };
        for ms in [0, 200, 400] {
            assert_eq!(at(ms, b"  12.345\r\n"), "12.345 kg* moving*");
        }
        assert_eq!(at(600, b"  12.345\r\n"), "12.345 kg* stable*");
        assert_eq!(at(700, b"  ------\r\n"), "malformed");
        assert_eq!(at(800, b"  12.345\r\n"), "12.345 kg* moving*");
    }

    #[test]
    fn damage() {
        testing::check(
            &Cas10,
            &options(),
            b"2.345\r\n 12.345\r\n  12,345\r\n",
            "malformed; malformed; malformed",
        );
        testing::check(
            &Cas10,
            &options(),
            b"  12.3456\r\n  12.345\r\n  12.",
            "too_long; 12.345 kg* moving*; truncated",
        );
        testing::check(&Cas10, &options(), b"  \xb12.\xb3\xb45\r\n", "parity");
    }
}
