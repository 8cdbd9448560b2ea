//! Numbers of variable measure: EAN-13 from 20 to 29 that a shop's own scale printed, with weight, price or count
//! inside.
//!
//! ```text
//!  2 8 1 1 1 1 1 0 6 8 7 0 8      Germany
//!  ^^^   ^^^^^ ^ ^^^^^^^^^ ^
//!  kind  item  | weight    check digit of EAN-13
//!              check digit of the weight
//! ```
//!
//! Which prefix means what is each country's own matter, and within a country each shop's choice to follow it. So
//! nothing is read from such a number until the site names its rules; and the item is looked up by [`Variable::item`],
//! the same number with the measure set to zero, as the full number is another one for every piece.

use alloc::string::String;

use self::Kind::{Count, Price, Weight};
use super::decimal::Decimal;
use super::key::Gtin;
use super::retail::with_check_digit;

/// The rules of one country.
#[derive(PartialEq, Eq, Debug)]
pub struct VariableRules {
    /// Its code of two letters, as ISO 3166 has it, in lower case.
    pub country: &'static str,
    rows: &'static [Row],
}

/// What a number of variable measure says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variable {
    /// The number with its measure set to zero: the item, whatever a piece weighs.
    pub item: Gtin,
    /// What the piece weighs, costs or counts.
    pub measure: VariableMeasure,
}

/// What a variable part measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableMeasure {
    /// Kilograms.
    Weight(Decimal),
    /// In the currency of the country.
    Price(Decimal),
    /// Pieces.
    Count(u32),
}

/// The measure's own check digit does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the measure {measure:?} of {number} has check digit {got}, by the rules of {country:?} it is {expected}: \
     is the label printed by other rules?"
)]
pub struct VariableMeasureError {
    /// The scanned digits.
    pub number: String,
    /// Whose rules.
    pub country: &'static str,
    /// The digits of the measure.
    pub measure: String,
    /// Its check digit by the rules.
    pub expected: char,
    /// What stands there.
    pub got: char,
}

/// A country whose rules are not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rules of variable measure for {country:?}: there are de, dk, ee, fi, gb, lt, lv, no and se")]
pub struct UnknownRulesError {
    /// What was asked for.
    pub country: String,
}

/// One prefix of a country.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    /// From 20 to 29.
    prefix: u8,
    /// Where the measure begins, its own check digit included: what stands before is the prefix and the item.
    item_end: usize,
    /// Whether the measure has a check digit before it.
    is_checked: bool,
    kind: Kind,
    decimals: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Weight,
    Price,
    Count,
}

const fn row(prefix: u8, item_end: usize, is_checked: bool, kind: Kind, decimals: u8) -> Row {
    Row { prefix, item_end, is_checked, kind, decimals }
}

const DENMARK: &[Row] = &[
    row(21, 6, false, Price, 2),
    row(22, 6, false, Price, 2),
    row(23, 6, false, Price, 2),
    row(24, 6, false, Price, 2),
    row(26, 6, false, Weight, 3),
    row(27, 7, false, Weight, 3),
    row(28, 6, false, Weight, 3),
];
/// Estonia, Finland, Latvia and Lithuania agree.
const BALTIC: &[Row] =
    &[row(23, 8, false, Weight, 3), row(24, 8, false, Weight, 2), row(25, 8, false, Weight, 1)];
const GERMANY: &[Row] = &[
    row(22, 6, true, Price, 2),
    row(23, 6, true, Price, 2),
    row(25, 6, true, Count, 0),
    row(26, 6, true, Count, 0),
    row(28, 6, true, Weight, 3),
    row(29, 6, true, Weight, 3),
];
const GREAT_BRITAIN: &[Row] = &[row(20, 7, true, Price, 2)];
/// Sweden's rules, which Norway's labels follow too.
const SCANDINAVIAN: &[Row] = &[
    row(20, 8, false, Price, 2),
    row(21, 8, false, Price, 1),
    row(22, 8, false, Price, 0),
    row(23, 8, false, Weight, 3),
    row(24, 8, false, Weight, 2),
    row(25, 8, false, Weight, 1),
];

/// Every country whose rules are known, in the order of their codes.
pub static VARIABLE_RULES: &[VariableRules] = &[
    VariableRules { country: "de", rows: GERMANY },
    VariableRules { country: "dk", rows: DENMARK },
    VariableRules { country: "ee", rows: BALTIC },
    VariableRules { country: "fi", rows: BALTIC },
    VariableRules { country: "gb", rows: GREAT_BRITAIN },
    VariableRules { country: "lt", rows: BALTIC },
    VariableRules { country: "lv", rows: BALTIC },
    VariableRules { country: "no", rows: SCANDINAVIAN },
    VariableRules { country: "se", rows: SCANDINAVIAN },
];

impl VariableRules {
    /// The rules of a country, by its code of two letters.
    pub fn of(country: &str) -> Option<&'static Self> {
        VARIABLE_RULES.iter().find(|rules| rules.country == country)
    }

    /// The same from a configuration or a command line.
    ///
    /// # Errors
    /// When there are none; it names those that there are.
    pub fn parse(country: &str) -> Result<&'static Self, UnknownRulesError> {
        Self::of(country).ok_or_else(|| UnknownRulesError { country: country.chars().take(16).collect() })
    }

    /// Reads a number of 13 digits; `None` when its prefix has no variable measure in this country.
    ///
    /// # Errors
    /// When the measure's own check digit does not fit.
    pub fn read(&self, number: Gtin) -> Option<Result<Variable, VariableMeasureError>> {
        // A GTIN of 14 digits that is none of 13 names a packaging level, and those are never variable by such rules.
        let digits = number.as_str14().strip_prefix('0')?;
        let prefix: u8 = digits.get(..2)?.parse().ok()?;
        let row = self.rows.iter().find(|row| row.prefix == prefix)?;
        let (item, rest) = digits.get(..12)?.split_at_checked(row.item_end)?;
        let (check, measure) = if row.is_checked { rest.split_at_checked(1)? } else { ("", rest) };
        if let (Some(got), Some(expected)) = (check.chars().next(), measure_check_digit(measure))
            && got != expected
        {
            let (number, measure) = (digits.into(), measure.into());
            return Some(Err(VariableMeasureError { number, country: self.country, measure, expected, got }));
        }
        // The check digit of a measure of zeros is zero.
        let zeroed: String = item.chars().chain(rest.chars().map(|_| '0')).collect();
        let item = Gtin::parse(&with_check_digit(&zeroed)).ok()?;
        let value: u32 = measure.parse().ok()?;
        let decimal = Decimal { digits: value.into(), decimals: row.decimals };
        let measure = match row.kind {
            Weight => VariableMeasure::Weight(decimal),
            Price => VariableMeasure::Price(decimal),
            Count => VariableMeasure::Count(value),
        };
        Some(Ok(Variable { item, measure }))
    }
}

/// What a digit counts at a place weighted "2-", "3", "5+" and "5-": the tables of the General Specifications.
const TWO_MINUS: [u8; 10] = [0, 2, 4, 6, 8, 9, 1, 3, 5, 7];
const THREE: [u8; 10] = [0, 3, 6, 9, 2, 5, 8, 1, 4, 7];
const FIVE_PLUS: [u8; 10] = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9];
const FIVE_MINUS: [u8; 10] = [0, 5, 9, 4, 8, 3, 7, 2, 6, 1];

/// The check digit of a measure of four or five digits.
fn measure_check_digit(measure: &str) -> Option<char> {
    let sum = |weights: &[[u8; 10]]| {
        let digits = measure.bytes().zip(weights);
        digits
            .map(|(digit, weight)| weight.get(usize::from(digit.wrapping_sub(b'0'))).copied())
            .sum::<Option<u8>>()
    };
    let digit = match measure.len() {
        4 => sum(&[TWO_MINUS, TWO_MINUS, THREE, FIVE_MINUS])? * 3 % 10,
        5 => {
            let rest = (10 - sum(&[FIVE_PLUS, TWO_MINUS, FIVE_MINUS, FIVE_PLUS, TWO_MINUS])? % 10) % 10;
            FIVE_MINUS.iter().position(|weight| *weight == rest)? as u8
        }
        _ => return None,
    };
    Some(char::from(b'0' + digit))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn check_digits_of_measures() {
        for (measure, expected) in
            [("2875", Some('9')), ("14685", Some('6')), ("1234", Some('9')), ("12345", Some('8'))]
        {
            assert_eq!(measure_check_digit(measure), expected, "{measure}");
        }
        assert_eq!((measure_check_digit("0000"), measure_check_digit("00000")), (Some('0'), Some('0')));
        assert_eq!((measure_check_digit("123"), measure_check_digit("12x4")), (None, None));
    }

    fn check(country: &str, number: &str, expected: &str) {
        let read = VariableRules::of(country).unwrap().read(Gtin::parse(number).unwrap());
        let got = match read {
            None => "nothing".to_string(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(Variable { item, measure })) => {
                let measure = match measure {
                    VariableMeasure::Weight(kg) => format!("{kg} kg"),
                    VariableMeasure::Price(price) => format!("price {price}"),
                    VariableMeasure::Count(count) => format!("{count} pieces"),
                };
                format!("{} {measure}", &item.as_str14()[1..])
            }
        };
        assert_eq!(got, expected, "{country} {number}");
    }

    #[test]
    fn rules_of_each_country() {
        check("fi", "2388060112344", "2388060100006 1.234 kg");
        check("fi", "2488060112341", "2488060100003 12.34 kg");
        check("dk", "2623570001505", "2623570000003 0.150 kg");
        check("dk", "2135040039753", "2135040000005 price 39.75");
        check("de", "2811111068708", "2811110000006 6.870 kg");
        check(
            "de",
            "2811112068707",
            "the measure \"06870\" of 2811112068707 has check digit 2, by the rules of \"de\" it is 1: \
             is the label printed by other rules?",
        );
        for country in ["ee", "lv", "lt"] {
            check(country, "2311111112345", "2311111100007 1.234 kg");
        }
        check("de", "2411111112342", "nothing");
        check("gb", "2311111112345", "nothing");
        check("se", "5901234123457", "nothing");
        check("se", "96385074", "nothing");
        check("se", "22388060112348", "nothing");
        assert_eq!(VariableRules::of(""), None);
        let error = VariableRules::parse("xx").unwrap_err().to_string();
        for rules in VARIABLE_RULES {
            assert_eq!(VariableRules::parse(rules.country), Ok(rules));
            assert!(error.contains(rules.country), "{error}");
        }
    }

    #[test]
    fn rules_are_sound() {
        assert!(VARIABLE_RULES.is_sorted_by_key(|rules| rules.country));
        for rules in VARIABLE_RULES {
            assert!(rules.rows.is_sorted_by_key(|row| row.prefix));
            for row in rules.rows {
                assert!((20..=29).contains(&row.prefix), "{row:?}");
                let length = 12 - row.item_end - usize::from(row.is_checked);
                assert!((4..=6).contains(&length) && (!row.is_checked || length < 6), "{row:?}");
            }
        }
    }
}
