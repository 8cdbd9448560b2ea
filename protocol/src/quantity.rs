//! Exact quantities: an integer number of the unit's smallest step, never a float.

use alloc::string::{String, ToString};
use core::fmt;

/// Unit of measure, by its UN/ECE Recommendation 20 code.
///
/// Each unit has a fixed number of decimals, chosen so that every value a scale or an ERP shows is exact:
/// one step of a kilogram is a milligram, as is one step of a gram, so the two convert without rounding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Uom {
    /// `H87`, piece.
    Piece,
    /// `KGM`, kilogram; step 1 mg.
    Kilogram,
    /// `GRM`, gram; step 1 mg.
    Gram,
    /// `LBR`, pound; step a millionth.
    Pound,
    /// `LTR`, litre; step 1 microlitre.
    Litre,
    /// `MTR`, metre; step 1 micrometre.
    Metre,
}

/// `(unit, Rec 20 code, wire number, decimals)`. Wire numbers are frozen with wire version 1.
const UNITS: [(Uom, &str, u8, u32); 6] = [
    (Uom::Piece, "H87", 0, 0),
    (Uom::Kilogram, "KGM", 1, 6),
    (Uom::Gram, "GRM", 2, 3),
    (Uom::Pound, "LBR", 3, 6),
    (Uom::Litre, "LTR", 4, 6),
    (Uom::Metre, "MTR", 5, 6),
];

impl Uom {
    fn row(self) -> &'static (Uom, &'static str, u8, u32) {
        match self {
            Uom::Piece => &UNITS[0],
            Uom::Kilogram => &UNITS[1],
            Uom::Gram => &UNITS[2],
            Uom::Pound => &UNITS[3],
            Uom::Litre => &UNITS[4],
            Uom::Metre => &UNITS[5],
        }
    }

    /// The Rec 20 code.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// From a Rec 20 code; `EA` (each) is the trade's other word for a piece.
    pub fn from_code(code: &str) -> Option<Self> {
        if code == "EA" {
            return Some(Uom::Piece);
        }
        UNITS.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// How many decimals one unit is divided into: the step is 10 to the power of minus this.
    pub fn decimals(self) -> u32 {
        self.row().3
    }

    pub(crate) fn wire(self) -> u8 {
        self.row().2
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        UNITS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

impl fmt::Display for Uom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Why a text or a sum is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a decimal number.
    #[error("expected a decimal number such as 12.345, got {got:?}")]
    NotDecimal {
        /// What came, cut to 32 characters.
        got: String,
    },
    /// More decimals than the unit has.
    #[error("{uom} has {decimals} decimals, {got:?} has more")]
    TooPrecise {
        /// The unit.
        uom: Uom,
        /// Its decimals.
        decimals: u32,
        /// What came.
        got: String,
    },
    /// Beyond 64 bits of the unit's steps.
    #[error("the number is too large")]
    TooLarge,
    /// Two units that do not convert exactly.
    #[error("{from} does not convert exactly to {to}")]
    Unit {
        /// What we have.
        from: Uom,
        /// What was asked for.
        to: Uom,
    },
}

/// An exact amount with its unit; may be negative as a difference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quantity {
    /// Number of steps of `10^-uom.decimals()`.
    pub steps: i64,
    /// The unit.
    pub uom: Uom,
}

impl Quantity {
    /// So many whole pieces.
    pub const fn pieces(count: i64) -> Self {
        Self { steps: count, uom: Uom::Piece }
    }

    /// Reads a decimal such as `12`, `-0.250` or `+3.5`.
    ///
    /// # Errors
    /// When the text is no decimal, is finer than the unit's step or does not fit.
    pub fn parse(text: &str, uom: Uom) -> Result<Self, QuantityError> {
        let fault = || QuantityError::NotDecimal { got: text.chars().take(32).collect() };
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(fault());
        }
        let decimals = uom.decimals() as usize;
        let (kept, rest) = fraction.split_at(fraction.len().min(decimals));
        if rest.bytes().any(|b| b != b'0') {
            return Err(QuantityError::TooPrecise { uom, decimals: uom.decimals(), got: text.to_string() });
        }
        let mut steps: i64 = 0;
        let padding = core::iter::repeat_n(b'0', decimals - kept.len());
        for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
            let value = i64::from(digit - b'0');
            steps = steps
                .checked_mul(10)
                .and_then(|n| if negative { n.checked_sub(value) } else { n.checked_add(value) })
                .ok_or(QuantityError::TooLarge)?;
        }
        Ok(Self { steps, uom })
    }

    /// The number alone, without superfluous zeros: `12.345`, `-3`.
    pub fn decimal(&self) -> String {
        let decimals = self.uom.decimals() as usize;
        let digits = alloc::format!("{:0width$}", self.steps.unsigned_abs(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.steps < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        alloc::format!("{sign}{whole}{point}{fraction}")
    }

    /// The same amount in another unit, when that is exact.
    ///
    /// # Errors
    /// [`QuantityError::Unit`] when the units do not convert or the step would be split.
    pub fn to_uom(self, to: Uom) -> Result<Self, QuantityError> {
        match (self.uom, to) {
            (a, b) if a == b => Ok(self),
            // Both count milligrams.
            (Uom::Kilogram, Uom::Gram) | (Uom::Gram, Uom::Kilogram) => {
                Ok(Self { steps: self.steps, uom: to })
            }
            (from, to) => Err(QuantityError::Unit { from, to }),
        }
    }

    /// Sum of two amounts, `other` converted to this unit.
    ///
    /// # Errors
    /// When the units do not convert exactly or the sum does not fit.
    pub fn checked_add(self, other: Quantity) -> Result<Self, QuantityError> {
        let steps = self.steps.checked_add(other.to_uom(self.uom)?.steps).ok_or(QuantityError::TooLarge)?;
        Ok(Self { steps, uom: self.uom })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.uom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, uom: Uom, expected: Result<i64, &str>) {
        let got = Quantity::parse(text, uom).map(|q| q.steps).map_err(|e| e.to_string());
        assert_eq!(got, expected.map_err(String::from), "{text}");
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        check("12", Uom::Piece, Ok(12));
        check("12.0", Uom::Piece, Ok(12));
        check("12.5", Uom::Piece, Err("H87 has 0 decimals, \"12.5\" has more"));
        check("12.345", Uom::Kilogram, Ok(12_345_000));
        check("-0.250", Uom::Kilogram, Ok(-250_000));
        check("0.0000001", Uom::Kilogram, Err("KGM has 6 decimals, \"0.0000001\" has more"));
        check("1.5", Uom::Gram, Ok(1_500));
        check("9223372036854775807", Uom::Piece, Ok(i64::MAX));
        check("-9223372036854775808", Uom::Piece, Ok(i64::MIN));
        check("9223372036854775808", Uom::Piece, Err("the number is too large"));
        for text in ["", "-", ".5", "5.", "1e3", "1,5", " 1", "NaN", "٣"] {
            assert!(
                matches!(Quantity::parse(text, Uom::Gram), Err(QuantityError::NotDecimal { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["0", "12.345", "-0.25", "0.000001", "1000"] {
            assert_eq!(Quantity::parse(text, Uom::Kilogram).unwrap().decimal(), text);
        }
    }

    #[test]
    fn grams_and_kilograms_are_one_scale() {
        let sum = Quantity::parse("1.5", Uom::Kilogram)
            .unwrap()
            .checked_add(Quantity::parse("250", Uom::Gram).unwrap());
        assert_eq!(sum.unwrap().decimal(), "1.75");
        assert!(Quantity::pieces(1).checked_add(Quantity::parse("1", Uom::Gram).unwrap()).is_err());
    }
}
