//! Element strings: application identifiers and their values, one after the other.
//!
//! ```text
//!  01 09506000134352 3103 001250 10 ABC123 GS 17 260700
//!  ^ai ^value, of a predefined length   ^of any length up to 20, so GS (1D) ends it; FNC1 in the symbol
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::check::Check;
use super::date::Date;
use super::decimal::Decimal;
use super::element_error::ElementError;
use super::finding::{Code, Finding};
use super::key::{Gln, Gtin, Sscc};
use super::row::{self, Part, Read, Row, Set};

/// How FNC1 within a symbol arrives.
const GS: char = '\x1d';

/// The elements of one scan, each checked. Every identifier stands in it once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ElementString {
    elements: Vec<Element>,
}

/// One identifier with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    ai: String,
    value: String,
    meaning: Meaning,
    row: &'static Row,
}

/// What a value says; where it has several parts, the first.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Meaning {
    /// Nothing more than its characters.
    Text,
    /// A trade item.
    Gtin(Gtin),
    /// A licence plate.
    Sscc(Sscc),
    /// A site or party.
    Gln(Gln),
    /// A day.
    Date(Date),
    /// A whole number of pieces.
    Count(u32),
    /// A number with the decimals that the identifier implies; its title tells the unit.
    Measure(Decimal),
    /// An amount of money in a named currency.
    Money {
        /// Its number in ISO 4217.
        currency: u16,
        /// How much.
        amount: Decimal,
    },
}

impl ElementString {
    /// Reads data without AIM identifier. `year` is the current one, for the century of dates.
    ///
    /// A GS behind a value of predefined length, or behind the last, is tolerated, as printers do so; two in a row
    /// are not. An element that is there twice with one value is kept once.
    ///
    /// # Errors
    /// The first fault; nothing of a faulty label is used, as a lost byte shifts everything behind it.
    pub fn parse(data: &str, year: u16) -> Result<Self, ElementError> {
        if data.is_empty() {
            return Err(ElementError::Empty);
        }
        if let Some((at, got)) = data.char_indices().find(|(_, c)| !c.is_ascii()) {
            return Err(ElementError::NotAscii { at, got });
        }
        let mut this = Self::default();
        let mut at = 0;
        while at < data.len() {
            let (element, length) = Element::parse(data, at, year)?;
            at += length;
            if data[at..].starts_with(GS) {
                at += 1;
            }
            this.add(element)?;
        }
        Ok(this)
    }

    pub(super) fn add(&mut self, element: Element) -> Result<(), ElementError> {
        let is_same = |earlier: &&Element| {
            earlier.ai == element.ai || element.row.is_one_thing() && earlier.row == element.row
        };
        match self.elements.iter().find(is_same) {
            Some(earlier) if *earlier == element => Ok(()),
            Some(earlier) => Err(ElementError::Conflict {
                first_ai: earlier.ai.clone(),
                first_value: earlier.value.clone(),
                ai: element.ai,
                value: element.value,
            }),
            None => {
                self.elements.push(element);
                Ok(())
            }
        }
    }

    /// All of them, in the order of the label.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The element with exactly this identifier, such as `10` or `3103`.
    pub fn get(&self, ai: &str) -> Option<&Element> {
        self.elements.iter().find(|element| element.ai == ai)
    }

    /// The trade item, AI 01.
    pub fn gtin(&self) -> Option<Gtin> {
        self.gtin_of("01")
    }

    /// The trade item that a logistic unit holds [`Self::count`] of, AI 02.
    pub fn content_gtin(&self) -> Option<Gtin> {
        self.gtin_of("02")
    }

    /// The licence plate, AI 00.
    pub fn sscc(&self) -> Option<Sscc> {
        match self.get("00")?.meaning {
            Meaning::Sscc(sscc) => Some(sscc),
            _ => None,
        }
    }

    /// AI 10.
    pub fn lot(&self) -> Option<&str> {
        self.get("10").map(Element::value)
    }

    /// AI 21.
    pub fn serial(&self) -> Option<&str> {
        self.get("21").map(Element::value)
    }

    /// AI 11.
    pub fn produced_on(&self) -> Option<Date> {
        self.date_of("11")
    }

    /// AI 13.
    pub fn packed_on(&self) -> Option<Date> {
        self.date_of("13")
    }

    /// AI 15.
    pub fn best_before_on(&self) -> Option<Date> {
        self.date_of("15")
    }

    /// AI 17, else 7003, which adds a time: the last day on which it may be used.
    pub fn expires_on(&self) -> Option<Date> {
        self.date_of("17").or_else(|| self.date_of("7003"))
    }

    /// AI 37: how many trade items a logistic unit holds.
    pub fn count(&self) -> Option<u32> {
        self.count_of("37")
    }

    /// AI 30: how many pieces a trade item of variable measure holds.
    pub fn variable_count(&self) -> Option<u32> {
        self.count_of("30")
    }

    /// AI 310n, kilograms.
    pub fn net_weight_kg(&self) -> Option<Decimal> {
        self.measure_of("310n")
    }

    /// AI 330n, kilograms.
    pub fn gross_weight_kg(&self) -> Option<Decimal> {
        self.measure_of("330n")
    }

    /// The customer's order number, AI 400.
    pub fn order(&self) -> Option<&str> {
        self.get("400").map(Element::value)
    }

    /// Where it goes, AI 410.
    pub fn ship_to(&self) -> Option<Gln> {
        self.gln_of("410")
    }

    /// The site that the label hangs at, AI 414.
    pub fn location(&self) -> Option<Gln> {
        self.gln_of("414")
    }

    /// The place within that site, AI 254.
    pub fn location_extension(&self) -> Option<&str> {
        self.get("254").map(Element::value)
    }

    /// What is missing beside these elements, or must not stand beside them. Warnings, as another label on the
    /// same item may carry the rest.
    pub fn pairing(&self) -> Vec<Finding> {
        let has = |pattern: &str| self.elements.iter().any(|other| row::matches_pattern(&other.ai, pattern));
        let has_beside = |ai: &str, pattern: &str| {
            self.elements.iter().any(|other| other.ai != ai && row::matches_pattern(&other.ai, pattern))
        };
        let mut findings = Vec::new();
        for Element { ai, row, .. } in &self.elements {
            let is_met = |group: &str| group.split('+').all(has);
            let requires = row.requires();
            if !requires.is_empty() && !requires.split(',').any(is_met) {
                let needed = requires.replace('+', " with ").replace(',', " or ");
                let message = alloc::format!("AI {ai} needs AI {needed} on the same item");
                findings.push(Finding { code: Code::MissingPair, message });
            }
            // An identifier does not exclude itself, even where a pattern means it too.
            for excluded in row.excludes().split(',').filter(|pattern| has_beside(ai, pattern)) {
                let message = alloc::format!("AI {ai} must not stand together with AI {excluded}");
                findings.push(Finding { code: Code::ForbiddenPair, message });
            }
        }
        findings
    }

    fn count_of(&self, ai: &str) -> Option<u32> {
        match self.get(ai)?.meaning {
            Meaning::Count(count) => Some(count),
            _ => None,
        }
    }

    fn gtin_of(&self, ai: &str) -> Option<Gtin> {
        match self.get(ai)?.meaning {
            Meaning::Gtin(gtin) => Some(gtin),
            _ => None,
        }
    }

    fn gln_of(&self, ai: &str) -> Option<Gln> {
        match self.get(ai)?.meaning {
            Meaning::Gln(gln) => Some(gln),
            _ => None,
        }
    }

    fn date_of(&self, ai: &str) -> Option<Date> {
        match self.get(ai)?.meaning {
            Meaning::Date(date) => Some(date),
            _ => None,
        }
    }

    fn measure_of(&self, pattern: &str) -> Option<Decimal> {
        let element = self.elements.iter().find(|element| row::matches_pattern(&element.ai, pattern))?;
        match element.meaning {
            Meaning::Measure(decimal) => Some(decimal),
            _ => None,
        }
    }
}

impl fmt::Display for ElementString {
    /// As a scanner sends it: GS only where it is needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, element) in self.elements.iter().enumerate() {
            write!(f, "{}{}", element.ai, element.value)?;
            if at + 1 < self.elements.len() && row::predefined_length(&element.ai).is_none() {
                write!(f, "{GS}")?;
            }
        }
        Ok(())
    }
}

impl Element {
    /// The element of ASCII `data` at `at`, and how long it is.
    fn parse(data: &str, at: usize, year: u16) -> Result<(Self, usize), ElementError> {
        let here = &data[at..];
        if here.starts_with(GS) {
            return Err(ElementError::Separator { at });
        }
        let Some((row, ai)) = row::find(here) else {
            return Err(ElementError::UnknownAi { at, found: here.chars().take(4).collect() });
        };
        let rest = &here[ai.len()..];
        let field = rest.split_once(GS).map_or(rest, |(field, _)| field);
        let length = row::predefined_length(ai).map_or(field.len(), |length| length.min(field.len()));
        let value = &field[..length];
        Ok((Self::new(row, ai, value, at + ai.len(), year)?, ai.len() + length))
    }

    /// One identifier of `row` with an ASCII value; `at` is the value's position, for messages.
    pub(super) fn new(
        row: &'static Row,
        ai: &str,
        value: &str,
        at: usize,
        year: u16,
    ) -> Result<Self, ElementError> {
        let meaning = row.read(ai, value, at, year)?;
        Ok(Self { ai: ai.into(), value: value.into(), meaning, row })
    }

    /// The application identifier, digits only.
    pub fn ai(&self) -> &str {
        &self.ai
    }

    /// The value as scanned.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// GS1's short name of the identifier.
    pub fn title(&self) -> &'static str {
        self.row.title()
    }

    /// The value understood.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }
}

impl Row {
    /// Checks every part of an ASCII value.
    fn read(&self, ai: &str, value: &str, at: usize, year: u16) -> Result<Meaning, ElementError> {
        let length = |at, min, max, got| ElementError::Length { ai: ai.into(), at, min, max, got };
        let (min, max) = self.parts().iter().fold((0, 0), |(min, max), part| {
            (min + if part.optional { 0 } else { usize::from(part.min) }, max + usize::from(part.max))
        });
        if !(min..=max).contains(&value.len()) {
            return Err(length(at, min, max, value.len()));
        }
        let mut meaning = Meaning::Text;
        let mut from = 0;
        for part in self.parts() {
            if part.optional && from == value.len() {
                break;
            }
            let to = value.len().min(from + usize::from(part.max));
            if to - from < usize::from(part.min) {
                return Err(length(at + from, part.min.into(), part.max.into(), to - from));
            }
            let read = self.read_part(part, ai, (&value[from..to], at + from), value, year)?;
            if meaning == Meaning::Text {
                meaning = read;
            }
            from = to;
        }
        Ok(meaning)
    }

    /// `text` and its position, and the whole value.
    fn read_part(
        &self,
        part: &Part,
        ai: &str,
        (text, at): (&str, usize),
        value: &str,
        year: u16,
    ) -> Result<Meaning, ElementError> {
        if let Some((offset, byte)) = text.bytes().enumerate().find(|(_, byte)| !part.set.contains(*byte)) {
            let (got, set) = (char::from(byte), part.set.name());
            return Err(ElementError::Character { ai: ai.into(), at: at + offset, got, set });
        }
        let component = |expected, code| {
            Err(ElementError::Component { ai: ai.into(), at, got: text.into(), expected, code })
        };
        if part.set == Set::Z && !is_padded_right(text) {
            return component("base 64 with its padding at the end", Code::Character);
        }
        let key_error = |source| ElementError::Key { ai: ai.into(), source };
        let date_error = |source| ElementError::Date { ai: ai.into(), source };
        let decimal = || Decimal { digits: number(text), decimals: decimals(ai) };
        let meaning = match part.read {
            Read::Text => Meaning::Text,
            Read::Gtin => Gtin::parse(text).map(Meaning::Gtin).map_err(key_error)?,
            Read::Sscc => Sscc::parse(text).map(Meaning::Sscc).map_err(key_error)?,
            Read::Gln => Gln::parse(text).map(Meaning::Gln).map_err(key_error)?,
            Read::Date(day_zero) => {
                Date::from_yymmdd(text, year, day_zero).map(Meaning::Date).map_err(date_error)?
            }
            // Eight digits, both of them.
            Read::LongDate => {
                Date::from_yyyymmdd(number(text) as u32).map(Meaning::Date).map_err(date_error)?
            }
            Read::Count => Meaning::Count(number(text) as u32),
            Read::Measure => Meaning::Measure(decimal()),
            // Three digits before it.
            Read::Amount => Meaning::Money { currency: number(&value[..3]) as u16, amount: decimal() },
        };
        match part.checks.into_iter().find(|check| *check != Check::Nothing && !check.holds(text)) {
            Some(check) => component(check.expected(), check.code()),
            None => Ok(meaning),
        }
    }
}

/// At most 15 digits.
fn number(digits: &str) -> u64 {
    digits.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// How many decimals an identifier tells of by its last digit.
fn decimals(ai: &str) -> u8 {
    ai.as_bytes().last().map_or(0, |digit| digit - b'0')
}

/// At most two `=`, at the end only, and with them a multiple of four characters, as RFC 4648 has it, or of three, as
/// GS1's own reference has it.
fn is_padded_right(text: &str) -> bool {
    let data = text.trim_end_matches('=');
    let padding = text.len() - data.len();
    !data.contains('=')
        && (padding == 0 || padding <= 2 && (text.len().is_multiple_of(4) || text.len().is_multiple_of(3)))
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    fn check(element: &str, expected: Result<Meaning, &str>) {
        let got = ElementString::parse(element, 2026).map_err(|error| match &error {
            ElementError::Date { source, .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        });
        let got = got.map(|elements| elements.elements()[0].meaning().clone());
        assert_eq!(got, expected.map_err(String::from), "{element}");
    }

    fn date(year: u16, month: u8, day: u8) -> Meaning {
        Meaning::Date(Date::new(year, month, day).unwrap())
    }

    /// Each part is cut off and checked by itself; optional ones may be missing from the right.
    #[test]
    fn values_of_several_parts() {
        check("70032607311200", Ok(date(2026, 7, 31)));
        check("7003260731120", Err("AI 7003 at position 4 needs 10 characters, got 9"));
        check("7003260731120A", Err("AI 7003 holds only digits, got 'A' at position 13"));
        check("70032607312400", Err("AI 7003: \"2400\" at position 10 is not a time of day, 0000 to 2359"));
        check("70032607001200", Err("AI 7003: 2026-07 has no day 00"));
        check("43242607009999", Err("AI 4324: \"9999\" at position 10 is not a time of day, 0000 to 2359"));
        check("43242607002359", Ok(date(2026, 7, 31)));
        check("7007260731", Ok(date(2026, 7, 31)));
        check("7007260731260801", Ok(date(2026, 7, 31)));
        check("7007260731260832", Err("AI 7007: 2026-08 has no day 32"));
        check("70072607312608", Err("AI 7007 at position 10 needs 6 characters, got 4"));
        check("800826073112", Ok(date(2026, 7, 31)));
        check("8008260731125959", Ok(date(2026, 7, 31)));
        check("80082607311260", Err("AI 8008: \"60\" at position 12 is not a minute, 00 to 59"));
        check("423276", Ok(Meaning::Text));
        check("423276004894", Ok(Meaning::Text));
        check("4232760", Err("AI 423 at position 6 needs 3 characters, got 1"));
        check("423276999", Err("AI 423: \"999\" at position 6 is not a country number of ISO 3166"));
        check("72502009", Err("AI 7250 at position 4 needs 8 characters, got 4"));
        check("725020091231", Ok(date(2009, 12, 31)));
        check("725020091331", Err("AI 7250: there is no month 13"));
        check("80030950600013435", Err("AI 8003 at position 4 needs 14 to 30 characters, got 13"));
        check("80031950600013435200", Err("AI 8003: \"1\" at position 4 is not zero"));
        check("800309506000134352", Ok(Meaning::Text));
        check("800309506000134352S/1", Ok(Meaning::Text));
    }

    #[test]
    fn numbers_of_every_kind() {
        let decimal = |digits, decimals| Decimal { digits, decimals };
        check("39021250", Ok(Meaning::Measure(decimal(1250, 2))));
        check("3909999999999999999", Ok(Meaning::Measure(decimal(999_999_999_999_999, 9))));
        check("39129781250", Ok(Meaning::Money { currency: 978, amount: decimal(1250, 2) }));
        check("39120001250", Err("AI 3912: \"000\" at position 4 is not a currency number of ISO 4217"));
        check("3912978", Err("AI 3912 at position 4 needs 4 to 18 characters, got 3"));
        check("39411005", Ok(Meaning::Measure(decimal(1005, 1))));
        check("3953001250", Ok(Meaning::Measure(decimal(1250, 3))));
        check("3012", Ok(Meaning::Count(12)));
        check("8005001250", Ok(Meaning::Text));
    }

    #[test]
    fn padding_of_base_64() {
        for (text, expected) in [
            ("AB-_", true),
            ("A", true),
            ("ABC=", true),
            ("AB==", true),
            ("AB=", true),
            ("A===", false),
            ("A=B=", false),
            ("=ABC", false),
            ("ABCD=", false),
        ] {
            assert_eq!(is_padded_right(text), expected, "{text}");
        }
        check("8030AB==", Ok(Meaning::Text));
        check("8030A=B=", Err("AI 8030: \"A=B=\" at position 4 is not base 64 with its padding at the end"));
        check("8030AB+/", Err("AI 8030 holds only characters of GS1 set 64, got '+' at position 6"));
    }

    /// Numbers that differ in their last digit only are different things, unless the digit tells the decimals.
    #[test]
    fn only_measures_contradict_their_neighbours() {
        assert!(ElementString::parse("91A\x1d92B", 2026).is_ok());
        assert!(ElementString::parse("7030276A\x1d7031276B", 2026).is_ok());
        assert!(ElementString::parse("39021250\x1d39011250", 2026).is_err());
    }
}
