//! Quantities between our integers and Tryton's JSON floats, exactly.
//!
//! A decimal of at most 15 significant digits survives the way into an IEEE double and back to its shortest text.
//! Nothing longer is let through, in either direction, so no rounding can hide here.

use serde_json::{Number, Value};
use stockwire_protocol::{Quantity, Uom};

/// Decimal digits that any double keeps (`f64::DIGITS`).
const STEPS_MAX: u64 = 10u64.pow(f64::DIGITS);
/// Tryton adds in floats and then rounds to the unit's digits; what is left of that is far below this part of a step.
const NOISE_OF_STEP: f64 = 1e-3;
/// What writing, reading and scaling a number can add up to: below half a step for everything under `STEPS_MAX`.
const NOISE_OF_NUMBER: f64 = 2.0 * f64::EPSILON;

/// The JSON number for a quantity; `None` when a double does not hold it.
pub(super) fn to_json(quantity: Quantity) -> Option<Value> {
    if quantity.steps.unsigned_abs() >= STEPS_MAX {
        return None;
    }
    let number: f64 = quantity.decimal().parse().ok()?;
    Number::from_f64(number).map(Value::Number)
}

/// The steps of a JSON number in a unit that Tryton keeps with `digits` decimals; the reason when it is none.
pub(super) fn from_json(value: &Value, uom: Uom, digits: u32) -> Result<i64, String> {
    let number = value.as_f64().ok_or_else(|| format!("{value} is no number"))?;
    // Counted in Tryton's own digits first: a unit with three decimals there can not mean a millionth.
    let digits = digits.min(uom.decimals());
    let scaled = number * f64::from(10u32.pow(digits));
    let whole = scaled.round();
    if !scaled.is_finite() || whole.abs() >= STEPS_MAX as f64 {
        return Err(format!("{value} is too large to be exact"));
    }
    if (scaled - whole).abs() > NOISE_OF_STEP + scaled.abs() * NOISE_OF_NUMBER {
        return Err(format!("{value} {uom} has more than {digits} decimals"));
    }
    // Whole and below 10^15, so the conversion is exact.
    (whole as i64)
        .checked_mul(10i64.pow(uom.decimals() - digits))
        .ok_or_else(|| format!("{value} is too large to be exact"))
}

/// The minor units of a decimal such as `12.30`; `None` when it is none, or has more decimals than the currency.
pub(super) fn minor(text: &str, digits: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    // A sign or nothing before the point would pass for a number behind it.
    if !whole.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let missing = usize::try_from(digits).ok()?.checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()
}

/// Minor units as a decimal.
pub(super) fn amount(minor: i64, digits: u32) -> String {
    let scale = 10u64.pow(digits);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, fraction) = (minor.unsigned_abs() / scale, minor.unsigned_abs() % scale);
    match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction:0width$}", width = digits as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_printed_as_it_is() {
        let check = |steps, uom, expected: Option<&str>| {
            let json = to_json(Quantity { steps, uom }).map(|json| json.to_string());
            assert_eq!(json.as_deref(), expected, "{steps} {uom}");
        };
        check(10, Uom::Piece, Some("10.0"));
        check(1_234_567, Uom::Kilogram, Some("1.234567"));
        check(100_000, Uom::Kilogram, Some("0.1"));
        check(999_999_999_999_999, Uom::Kilogram, Some("999999999.999999"));
        check(999_999_999_999_999, Uom::Piece, Some("999999999999999.0"));
        check(1_000_000_000_000_000, Uom::Piece, None);
        check(i64::MIN, Uom::Piece, None);
    }

    #[test]
    fn what_is_read_is_exact_or_refused() {
        let check = |text: &str, uom, digits, expected: Result<i64, &str>| {
            let value: Value = serde_json::from_str(text).unwrap();
            let got = from_json(&value, uom, digits);
            assert_eq!(got.as_ref().map_err(String::as_str).copied(), expected, "{text}");
        };
        check("100.0", Uom::Piece, 0, Ok(100));
        check("-3", Uom::Piece, 0, Ok(-3));
        check("0.1", Uom::Kilogram, 3, Ok(100_000));
        check("0.30000000000000004", Uom::Kilogram, 3, Ok(300_000));
        check("-12.345", Uom::Kilogram, 3, Ok(-12_345_000));
        check("1.5", Uom::Piece, 0, Err("1.5 H87 has more than 0 decimals"));
        check("0.0005", Uom::Kilogram, 3, Err("0.0005 KGM has more than 3 decimals"));
        check("1e300", Uom::Piece, 0, Err("1e+300 is too large to be exact"));
        check("1e15", Uom::Piece, 0, Err("1000000000000000.0 is too large to be exact"));
        check("null", Uom::Piece, 0, Err("null is no number"));
    }

    #[test]
    fn there_and_back_is_the_identity() {
        // A walk over all magnitudes and many digit patterns.
        let mut steps: i64 = 1;
        for turn in 0..20_000_i64 {
            steps = (steps.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(turn)) % STEPS_MAX as i64;
            let short = steps / 10i64.pow((turn % 15) as u32);
            for (uom, digits) in [(Uom::Piece, 0), (Uom::Gram, 3), (Uom::Kilogram, 6)] {
                let json = to_json(Quantity { steps: short, uom }).unwrap();
                let read: Value = serde_json::from_str(&json.to_string()).unwrap();
                assert_eq!(from_json(&read, uom, digits), Ok(short));
            }
        }
    }

    #[test]
    fn money_is_read_and_written_exactly() {
        let read = |text, digits| minor(text, digits);
        assert_eq!(
            [read("12.30", 2), read("12.3000", 2), read("-0.05", 2), read("7", 2)],
            [Some(1230), Some(1230), Some(-5), Some(700)]
        );
        assert_eq!(
            [read("12.305", 2), read("", 2), read("1.2.3", 2), read("0.19", 4)],
            [None, None, None, Some(1900)]
        );
        assert_eq!([amount(1230, 2), amount(-5, 2), amount(7, 0)], ["12.30", "-0.05", "7"]);
    }
}
