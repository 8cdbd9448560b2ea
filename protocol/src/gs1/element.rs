//! Element strings: application identifiers and their values, one after the other.
//!
//! ```text
//!  01 09506000134352 3103 001250 10 ABC123 GS 17 260700
//!  ^ai ^value, of a predefined length   ^of any length up to 20, so GS (1D) ends it; FNC1 in the symbol
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::date::{Date, DateError};
use super::decimal::Decimal;
use super::finding::{Code, Finding};
use super::key::{Gln, Gtin, KeyError, Sscc};
use super::table::{self, Part, Read, Row};

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
}

/// Why data are no element string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// No data at all.
    #[error("the code holds no data")]
    Empty,
    /// GS1 data are ASCII.
    #[error("{got:?} at position {at} is no ASCII character")]
    NotAscii {
        /// Position in bytes.
        at: usize,
        /// The character.
        got: char,
    },
    /// No identifier of our table starts here.
    #[error("no known application identifier at position {at}: {found:?}")]
    UnknownAi {
        /// Position in bytes.
        at: usize,
        /// The next four characters.
        found: String,
    },
    /// A separator without an element before it.
    #[error("separator at position {at} where an application identifier should be")]
    Separator {
        /// Position in bytes.
        at: usize,
    },
    /// Too few or too many characters; too many often means that the GS behind the value is missing.
    #[error("AI {ai} at position {at} needs {min} to {max} characters, got {got}")]
    Length {
        /// The identifier.
        ai: String,
        /// Position of the value.
        at: usize,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// A character that does not belong into this value.
    #[error("AI {ai} holds only {set}, got {got:?} at position {at}")]
    Character {
        /// The identifier.
        ai: String,
        /// Position in bytes.
        at: usize,
        /// The offending character.
        got: char,
        /// What may stand there, in words.
        set: &'static str,
    },
    /// The value is no key.
    #[error("AI {ai}")]
    Key {
        /// The identifier.
        ai: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The value is no date.
    #[error("AI {ai}")]
    Date {
        /// The identifier.
        ai: String,
        /// Why.
        #[source]
        source: DateError,
    },
    /// Two values for one thing: which of them would be booked?
    #[error("AI {ai} {value:?} contradicts AI {first_ai} {first_value:?} on the same label")]
    Conflict {
        /// The earlier identifier.
        first_ai: String,
        /// Its value.
        first_value: String,
        /// The later identifier: the same, or one that differs in decimals only.
        ai: String,
        /// Its value.
        value: String,
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

    fn add(&mut self, element: Element) -> Result<(), ElementError> {
        match self.elements.iter().find(|earlier| earlier.row == element.row) {
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

    /// AI 17: the last day on which it may be used.
    pub fn expires_on(&self) -> Option<Date> {
        self.date_of("17")
    }

    /// AI 37: how many trade items a logistic unit holds.
    pub fn count(&self) -> Option<u32> {
        match self.get("37")?.meaning {
            Meaning::Count(count) => Some(count),
            _ => None,
        }
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
        let has =
            |pattern: &str| self.elements.iter().any(|other| table::matches_pattern(&other.ai, pattern));
        let mut findings = Vec::new();
        for Element { ai, row, .. } in &self.elements {
            let is_met = |group: &str| group.split('+').all(has);
            if !row.requires.is_empty() && !row.requires.split(',').any(is_met) {
                let needed = row.requires.replace('+', " with ").replace(',', " or ");
                let message = alloc::format!("AI {ai} needs AI {needed} on the same item");
                findings.push(Finding { code: Code::MissingPair, message });
            }
            for excluded in row.excludes.split(',').filter(|pattern| has(pattern)) {
                let message = alloc::format!("AI {ai} must not stand together with AI {excluded}");
                findings.push(Finding { code: Code::ForbiddenPair, message });
            }
        }
        findings
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
        let element = self.elements.iter().find(|element| table::matches_pattern(&element.ai, pattern))?;
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
            if at + 1 < self.elements.len() && table::predefined_length(&element.ai).is_none() {
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
        let Some((row, ai)) = table::find(here) else {
            return Err(ElementError::UnknownAi { at, found: here.chars().take(4).collect() });
        };
        let rest = &here[ai.len()..];
        let field = rest.split_once(GS).map_or(rest, |(field, _)| field);
        let length = table::predefined_length(ai).map_or(field.len(), |length| length.min(field.len()));
        let value = &field[..length];
        let meaning = row.read(ai, value, at + ai.len(), year)?;
        Ok((Self { ai: ai.into(), value: value.into(), meaning, row }, ai.len() + length))
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
        self.row.title
    }

    /// The value understood.
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }
}

impl Row {
    /// Checks every part of an ASCII value; `at` is its position, for messages.
    fn read(&self, ai: &str, value: &str, at: usize, year: u16) -> Result<Meaning, ElementError> {
        let (min, max) = self.parts.iter().fold((0, 0), |(min, max), part| (min + part.min, max + part.max));
        if value.len() < min || value.len() > max {
            return Err(ElementError::Length { ai: ai.into(), at, min, max, got: value.len() });
        }
        let mut meaning = Meaning::Text;
        let mut from = 0;
        for (index, part) in self.parts.iter().enumerate() {
            // The parts before the last have a fixed length, and the sum was checked.
            let to = value.len().min(from + part.max);
            let read = self.read_part(part, ai, &value[from..to], at + from, year)?;
            if index == 0 {
                meaning = read;
            }
            from = to;
        }
        Ok(meaning)
    }

    fn read_part(
        &self,
        part: &Part,
        ai: &str,
        text: &str,
        at: usize,
        year: u16,
    ) -> Result<Meaning, ElementError> {
        if let Some((offset, byte)) = text.bytes().enumerate().find(|(_, byte)| !part.set.contains(*byte)) {
            let (got, set) = (char::from(byte), part.set.name());
            return Err(ElementError::Character { ai: ai.into(), at: at + offset, got, set });
        }
        let key_error = |source| ElementError::Key { ai: ai.into(), source };
        let number = || text.bytes().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        match part.read {
            Read::Text => Ok(Meaning::Text),
            Read::Gtin => Gtin::parse(text).map(Meaning::Gtin).map_err(key_error),
            Read::Sscc => Sscc::parse(text).map(Meaning::Sscc).map_err(key_error),
            Read::Gln => Gln::parse(text).map(Meaning::Gln).map_err(key_error),
            Read::Date(day_zero) => match Date::from_yymmdd(text, year, day_zero) {
                Ok(date) => Ok(Meaning::Date(date)),
                Err(source) => Err(ElementError::Date { ai: ai.into(), source }),
            },
            // Eight digits at most.
            Read::Count => Ok(Meaning::Count(number() as u32)),
            Read::Measure => {
                Ok(Meaning::Measure(Decimal { digits: number(), decimals: self.ai.decimals(ai) }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::gs1::date::DayZero;
    use crate::gs1::table::{Ai, Set};

    /// A value of two parts, such as a date and a time, is cut and checked part by part.
    #[test]
    fn values_of_several_parts() {
        static PARTS: [Part; 2] = [
            Part { set: Set::N, min: 6, max: 6, read: Read::Date(DayZero::Refused) },
            Part { set: Set::X, min: 1, max: 4, read: Read::Text },
        ];
        let row = Row { ai: Ai::One("7999"), parts: &PARTS, requires: "", excludes: "", title: "" };
        let read = |value| row.read("7999", value, 4, 2026).map_err(|error| error.to_string());
        let date = Date::new(2026, 7, 31).unwrap();
        assert_eq!(read("260731A"), Ok(Meaning::Date(date)));
        assert_eq!(read("260731A/_9"), Ok(Meaning::Date(date)));
        assert_eq!(read("260731"), Err("AI 7999 at position 4 needs 7 to 10 characters, got 6".into()));
        assert_eq!(read("260731ABCDE"), Err("AI 7999 at position 4 needs 7 to 10 characters, got 11".into()));
        assert_eq!(
            read("260731A B"),
            Err("AI 7999 holds only characters of GS1 set 82, got ' ' at position 11".into())
        );
        assert_eq!(read("2607X1AB"), Err("AI 7999 holds only digits, got 'X' at position 8".into()));
        assert_eq!(read("260700A"), Err("AI 7999".into()));
    }
}
