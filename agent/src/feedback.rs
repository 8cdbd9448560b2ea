//! What the operator hears and sees after each scan.

use serde::Serialize;

/// The answer to one scan or weight. Each sounds and looks different, so that nobody has to read a screen to know
/// whether a piece counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// It is recorded: durable in the journal. Given after the commit and at no other time.
    Good,
    /// Understood; there was nothing to record.
    Heard,
    /// A proper barcode that the catalogue does not know.
    Unknown,
    /// Not accepted here, or not readable; the message says why.
    Refused,
    /// The same code again within the bounce window: not a second piece.
    Repeated,
    /// Understood, and it could not be recorded. Put the piece back or scan again.
    NotStored,
}

/// One tone and the pause after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tone {
    /// Sounding, in milliseconds.
    pub on_ms: u16,
    /// Silent after it, in milliseconds.
    pub off_ms: u16,
}

/// A lamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Light {
    /// Which one.
    pub colour: Colour,
    /// Blinking asks for the operator.
    pub blinking: bool,
}

/// Colours of a stack light.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Colour {
    Green,
    Blue,
    Amber,
    Red,
}

const SHORT: Tone = Tone { on_ms: 60, off_ms: 60 };
const MIDDLE: Tone = Tone { on_ms: 150, off_ms: 80 };
const LONG: Tone = Tone { on_ms: 500, off_ms: 120 };

const fn light(colour: Colour, blinking: bool) -> Light {
    Light { colour, blinking }
}

/// `(signal, word, tones, light)`: one short tone is good, the longer it sounds the worse it is.
#[rustfmt::skip]
static SIGNALS: &[(Signal, &str, &[Tone], Light)] = &[
    (Signal::Good,      "good",       &[SHORT],              light(Colour::Green, false)),
    (Signal::Heard,     "heard",      &[SHORT, SHORT],       light(Colour::Blue, false)),
    (Signal::Unknown,   "unknown",    &[MIDDLE, MIDDLE],     light(Colour::Amber, false)),
    (Signal::Refused,   "refused",    &[MIDDLE, MIDDLE, MIDDLE], light(Colour::Amber, true)),
    (Signal::Repeated,  "repeated",   &[SHORT, SHORT, SHORT], light(Colour::Blue, true)),
    (Signal::NotStored, "not_stored", &[LONG, LONG, LONG],   light(Colour::Red, true)),
];

impl Signal {
    fn row(self) -> &'static (Signal, &'static str, &'static [Tone], Light) {
        match self {
            Signal::Good => &SIGNALS[0],
            Signal::Heard => &SIGNALS[1],
            Signal::Unknown => &SIGNALS[2],
            Signal::Refused => &SIGNALS[3],
            Signal::Repeated => &SIGNALS[4],
            Signal::NotStored => &SIGNALS[5],
        }
    }

    /// The stable word, for machines.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// What to sound.
    pub fn tones(self) -> &'static [Tone] {
        self.row().2
    }

    /// What to light.
    pub fn light(self) -> Light {
        self.row().3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_sounds_and_looks_different() {
        for (at, row) in SIGNALS.iter().enumerate() {
            assert_eq!(row.0.row(), row);
            for other in &SIGNALS[at + 1..] {
                assert_ne!((row.1, row.2), (other.1, other.2));
                assert_ne!(row.2, other.2, "{} sounds like {}", row.1, other.1);
                assert_ne!(row.3, other.3, "{} looks like {}", row.1, other.1);
            }
        }
    }
}
