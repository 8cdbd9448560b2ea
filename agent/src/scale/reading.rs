//! What scales say, whatever their protocol: one model of a weight, and one of a frame that says none.

use std::fmt;

use stockwire_protocol::{Quantity, QuantityError, Uom};

/// What a scale said, in one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The number exactly as shown; `None` when the frame carries a status alone. Then no earlier value stands.
    pub value: Option<Shown>,
    /// The unit; `None` only together with `value`.
    pub unit: Option<Unit>,
    /// Who says so.
    pub unit_source: Source,
    /// Whether the load is still.
    pub stability: Stability,
    /// Who says so.
    pub stability_source: Source,
    /// Whether the load is one the scale can weigh.
    pub range: Range,
    /// What `value` is.
    pub net: Net,
    /// Whether the scale is at zero; `None` when the protocol does not tell.
    pub zero: Option<bool>,
    /// What was taken off, when the frame carries it; in `unit`.
    pub tare: Option<Shown>,
    /// How old the measurement already was when it arrived; 0 unless the device tells.
    pub age_ms: u32,
    /// The frame's bytes.
    pub raw: Vec<u8>,
}

impl Reading {
    /// A frame that carries a weight within the scale's range; everything else is still to be said.
    pub fn shown(value: Shown, unit: Unit, unit_source: Source, raw: &[u8]) -> Self {
        let status = Self::status(Stability::Unknown, Range::Ok, raw);
        Self { value: Some(value), unit: Some(unit), unit_source, ..status }
    }

    /// A frame that carries a status and no weight.
    pub fn status(stability: Stability, range: Range, raw: &[u8]) -> Self {
        Self {
            value: None,
            unit: None,
            unit_source: Source::Nobody,
            stability,
            stability_source: if stability == Stability::Unknown { Source::Nobody } else { Source::Reported },
            range,
            net: Net::Unknown,
            zero: None,
            tare: None,
            age_ms: 0,
            raw: raw.to_vec(),
        }
    }
}

/// A number exactly as a display shows it, with its decimals: 12.50 is not 12.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// In steps of `10^-decimals`.
    pub steps: i64,
    /// Digits after the point; at most [`Shown::DECIMALS_MAX`].
    pub decimals: u8,
}

impl Shown {
    /// The widest display has fewer digits; more is noise.
    pub const DIGITS_MAX: usize = 15;
    /// As many as digits, less the one before the point.
    pub const DECIMALS_MAX: u8 = 14;

    /// Reads `100.00`, `-0.680`, `+5` or, as some displays pad between sign and digits, `-  0.250`.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => (-1, text[1..].trim_start_matches(' ')),
            b'+' => (1, text[1..].trim_start_matches(' ')),
            _ => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || digits.ends_with('.') || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if whole.len() + fraction.len() > Self::DIGITS_MAX {
            return None;
        }
        let steps =
            whole.bytes().chain(fraction.bytes()).fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        Some(Self { steps: sign * steps, decimals: fraction.len() as u8 })
    }

    /// The exact amount in a unit of the books.
    ///
    /// # Errors
    /// When the display is finer than the unit's step or the number does not fit.
    pub fn quantity(self, uom: Uom) -> Result<Quantity, QuantityError> {
        Quantity::parse(&self.to_string(), uom)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        let digits = format!("{:0width$}", self.steps.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let sign = if self.steps < 0 { "-" } else { "" };
        let point = if decimals == 0 { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// Units that scales show. Those without a unit of the books are understood, but nothing can be booked in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// mg
    Milligram,
    /// g
    Gram,
    /// kg
    Kilogram,
    /// t
    Tonne,
    /// lb
    Pound,
    /// oz
    Ounce,
    /// ct
    Carat,
    /// Counted by the scale.
    Piece,
    /// Of a reference weight.
    Percent,
}

/// `(unit, name, other spellings, unit of the books)`.
#[rustfmt::skip]
static UNITS: &[(Unit, &str, &[&str], Option<Uom>)] = &[
    (Unit::Milligram, "mg",  &[],                    None),
    (Unit::Gram,      "g",   &["G"],                 Some(Uom::Gram)),
    (Unit::Kilogram,  "kg",  &["KG", "Kg"],          Some(Uom::Kilogram)),
    (Unit::Tonne,     "t",   &[],                    None),
    (Unit::Pound,     "lb",  &["LB", "lbs"],         Some(Uom::Pound)),
    (Unit::Ounce,     "oz",  &["OZ"],                None),
    (Unit::Carat,     "ct",  &[],                    None),
    (Unit::Piece,     "pcs", &["PCS", "PC", "pc"],   Some(Uom::Piece)),
    (Unit::Percent,   "%",   &[],                    None),
];

impl Unit {
    /// From a scale's spelling. `T` is not a tonne: on some scales it marks a tare.
    pub fn parse(text: &str) -> Option<Self> {
        UNITS.iter().find(|(_, name, others, _)| *name == text || others.contains(&text)).map(|row| row.0)
    }

    /// The usual spelling.
    pub fn as_str(self) -> &'static str {
        UNITS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// The unit in which it can be booked.
    pub fn uom(self) -> Option<Uom> {
        UNITS.iter().find(|row| row.0 == self).and_then(|row| row.3)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The stable word, for machines.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

words!(
    /// Who vouches for a property of a reading.
    Source {
        /// The scale said it.
        Reported = "reported",
        /// It stands in the configuration.
        Configured = "configured",
        /// We concluded it from other readings.
        Inferred = "inferred",
        /// Nobody: the property is unknown.
        Nobody = "none",
    }
);

words!(
    /// Whether the load is still.
    Stability {
        /// It is.
        Stable = "stable",
        /// It moves.
        Moving = "moving",
        /// The frame does not tell.
        Unknown = "unknown",
    }
);

words!(
    /// Whether the load is one the scale can weigh.
    Range {
        /// It is.
        Ok = "ok",
        /// Above capacity.
        Over = "over",
        /// Below zero, or below what an empty platform can give.
        Under = "under",
        /// Zero could not be set; no weight is to be believed.
        ZeroError = "zero_error",
        /// The frame does not tell.
        Unknown = "unknown",
    }
);

words!(
    /// What a value is.
    Net {
        /// Goods alone.
        Net = "net",
        /// With packaging.
        Gross = "gross",
        /// The frame does not tell.
        Unknown = "unknown",
    }
);

/// A frame that says no weight, and why. The link itself is not given up for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameFault {
    /// What is wrong with it.
    pub kind: FaultKind,
    /// Its bytes, as far as they were kept.
    pub raw: Vec<u8>,
    /// How many they were.
    pub bytes: usize,
}

/// What is wrong with a frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FaultKind {
    /// No end of frame within the protocol's limit.
    #[error("no end of frame within {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The line fell silent, or ended, in the middle of a frame.
    #[error("the frame breaks off")]
    Truncated,
    /// Bytes with the eighth bit set, where the protocol has ASCII alone.
    #[error("bytes with the eighth bit set: the parity or speed of the line does not match")]
    Parity,
    /// Bytes that belong to no frame.
    #[error("noise between the frames")]
    Noise,
    /// The check value does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// The next frame begins where the check value should stand.
    #[error("the frame ends without its checksum")]
    ChecksumMissing,
    /// Not of this protocol's grammar.
    #[error("not understood: {expected}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
    /// A unit that is not in the table.
    #[error("unknown unit {unit:?}")]
    UnknownUnit {
        /// As the scale spells it, cut to 8 characters.
        unit: String,
    },
    /// Neither the frame nor the configuration names a unit.
    #[error("the weight has no unit")]
    MissingUnit,
    /// The scale refused the request.
    #[error("the scale reports: {what}")]
    Device {
        /// Its complaint.
        what: &'static str,
    },
    /// A proper answer to something else, such as its greeting at power-on. Harmless.
    #[error("an answer to another command")]
    OtherReply,
}

impl FaultKind {
    /// Whether the bytes are at fault, and not what they say.
    pub fn is_damage(&self) -> bool {
        use FaultKind::{Checksum, Malformed, Noise, Parity, TooLong, Truncated};
        matches!(self, TooLong { .. } | Truncated | Parity | Noise | Checksum | Malformed { .. })
    }

    /// The stable word, for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            FaultKind::TooLong { .. } => "too_long",
            FaultKind::Truncated => "truncated",
            FaultKind::Parity => "parity",
            FaultKind::Noise => "noise",
            FaultKind::Checksum => "checksum",
            FaultKind::ChecksumMissing => "checksum_missing",
            FaultKind::Malformed { .. } => "malformed",
            FaultKind::UnknownUnit { .. } => "unknown_unit",
            FaultKind::MissingUnit => "missing_unit",
            FaultKind::Device { .. } => "device",
            FaultKind::OtherReply => "other_reply",
        }
    }

    /// What a technician checks.
    pub fn hint(&self) -> &'static str {
        match self {
            FaultKind::TooLong { .. } | FaultKind::Malformed { .. } => {
                "is the protocol the one the scale is set to? compare with `stockwire-agent decode scale`"
            }
            FaultKind::Truncated | FaultKind::Checksum | FaultKind::Noise => {
                "check the cable, its length and its shield"
            }
            FaultKind::ChecksumMissing => "set checksum = false for this device",
            FaultKind::Parity => "set the line settings of the scale's menu, for example line = \"9600 7E1\"",
            FaultKind::UnknownUnit { .. } => "switch the scale to kg, g or lb",
            FaultKind::MissingUnit => "set unit = \"kg\" (or the scale's unit) for this device",
            FaultKind::Device { .. } => "the scale does not know the request: is the protocol right?",
            FaultKind::OtherReply => "nothing to do",
        }
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_or_refused() {
        for (unit, name, others, _) in UNITS {
            assert_eq!((Unit::parse(name), unit.as_str()), (Some(*unit), *name));
            assert!(others.iter().all(|other| Unit::parse(other) == Some(*unit)));
        }
        for text in ["", "T", "kilo", "kg ", "lb:oz", "K"] {
            assert_eq!(Unit::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_kept_as_shown() {
        for (text, printed) in [
            ("100.00", "100.00"),
            ("-0.680", "-0.680"),
            ("- 0.250", "-0.250"),
            ("+5", "5"),
            ("000", "0"),
            ("-0.05", "-0.05"),
        ] {
            assert_eq!(Shown::parse(text).unwrap().to_string(), printed, "{text}");
        }
        for text in ["", "-", ".5", "5.", "1e3", "1,5", "1 2", "--1", "- -1", "1.2.3", "1234567890123456"] {
            assert_eq!(Shown::parse(text), None, "{text}");
        }
        assert_eq!(Shown::parse("1.250").unwrap().quantity(Uom::Kilogram).unwrap().to_string(), "1.25 KGM");
        assert!(Shown::parse("1.5").unwrap().quantity(Uom::Piece).is_err());
    }
}
