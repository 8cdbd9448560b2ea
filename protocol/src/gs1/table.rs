//! The application identifiers, one row each, in reading order.
//!
//! A new identifier is a new row; nothing else knows them by number but the typed getters of `ElementString`.
//! Facts are those of the GS1 General Specifications; tests hold them against a second list.

use super::date::DayZero;

/// One application identifier.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) ai: Ai,
    /// In order; all but the last have a fixed length.
    pub(super) parts: &'static [Part],
    /// Alternatives between commas, each a sum of identifiers one of which must stand on the same item:
    /// `00+02,01`. `n` is any digit. Empty: none.
    pub(super) requires: &'static str,
    /// Identifiers between commas that must not stand on the same item.
    pub(super) excludes: &'static str,
    pub(super) title: &'static str,
}

/// The digits that identify.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Ai {
    One(&'static str),
    /// `stem` and a last digit from 0 to `max` that tells how many of the value's digits are decimals.
    Decimals {
        stem: &'static str,
        max: u8,
    },
}

/// A piece of a value.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) set: Set,
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) read: Read,
}

/// Which characters a part may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Set {
    /// Digits.
    N,
    /// GS1 character set 82.
    X,
}

/// How a part is understood, and with that how it is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    Text,
    Gtin,
    Sscc,
    Gln,
    Date(DayZero),
    Count,
    /// A number whose decimals are told by the identifier's last digit.
    Measure,
}

/// Exactly `length` digits.
const fn n(length: usize, read: Read) -> Part {
    Part { set: Set::N, min: length, max: length, read }
}

/// 1 to `max` digits.
const fn n_up_to(max: usize, read: Read) -> Part {
    Part { set: Set::N, min: 1, max, read }
}

/// 1 to `max` characters of set 82.
const fn x_up_to(max: usize) -> Part {
    Part { set: Set::X, min: 1, max, read: Read::Text }
}

const GTIN: &[Part] = &[n(14, Read::Gtin)];
const GLN: &[Part] = &[n(13, Read::Gln)];
const DATE: &[Part] = &[n(6, Read::Date(DayZero::LastOfMonth))];
const MEASURE: &[Part] = &[n(6, Read::Measure)];

/// The keys of a trade item, which most attributes belong to.
const OF_ITEM: &str = "01,02,03,8006,8026";

pub(super) static TABLE: &[Row] = &[
    row("00", &[n(18, Read::Sscc)], "", "", "SSCC"),
    row("01", GTIN, "", "255,37", "GTIN"),
    row("02", GTIN, "37", "01,03", "CONTENT"),
    row("10", &[x_up_to(20)], OF_ITEM, "", "BATCH/LOT"),
    row("11", DATE, OF_ITEM, "", "PROD DATE"),
    row("13", DATE, OF_ITEM, "", "PACK DATE"),
    row("15", DATE, OF_ITEM, "", "BEST BEFORE or BEST BY"),
    row("17", DATE, "01,02,03,255,8006,8026", "", "USE BY or EXPIRY"),
    row("21", &[x_up_to(20)], "01,03,8006", "235", "SERIAL"),
    row("254", &[x_up_to(20)], "414", "", "GLN EXTENSION COMPONENT"),
    measure("310", "01,02", "NET WEIGHT (kg)"),
    measure("330", "00,01", "GROSS WEIGHT (kg)"),
    row("37", &[n_up_to(8, Read::Count)], "00+02,00+8026", "", "COUNT"),
    row("400", &[x_up_to(30)], "", "", "ORDER NUMBER"),
    row("410", GLN, "", "", "SHIP TO LOC"),
    row("414", GLN, "", "", "LOC No."),
];

const fn row(
    ai: &'static str,
    parts: &'static [Part],
    requires: &'static str,
    excludes: &'static str,
    title: &'static str,
) -> Row {
    Row { ai: Ai::One(ai), parts, requires, excludes, title }
}

/// Six digits of which 0 to 5 are decimals. Two of them with different decimals contradict each other, which
/// parsing refuses, so they need not exclude themselves here.
const fn measure(stem: &'static str, requires: &'static str, title: &'static str) -> Row {
    Row { ai: Ai::Decimals { stem, max: 5 }, parts: MEASURE, requires, excludes: "", title }
}

/// Identifiers by their first two digits whose elements have a length known beforehand, identifier included, and
/// so need no GS behind them. The list is closed for all time; everything else needs GS even if its format is fixed.
pub(super) const PREDEFINED: &[(&str, usize)] = &[
    ("00", 20),
    ("01", 16),
    ("02", 16),
    ("03", 16),
    ("04", 18),
    ("11", 8),
    ("12", 8),
    ("13", 8),
    ("14", 8),
    ("15", 8),
    ("16", 8),
    ("17", 8),
    ("18", 8),
    ("19", 8),
    ("20", 4),
    ("31", 10),
    ("32", 10),
    ("33", 10),
    ("34", 10),
    ("35", 10),
    ("36", 10),
    ("41", 16),
];

/// The length of the value behind `ai`, when it is predefined.
pub(super) fn predefined_length(ai: &str) -> Option<usize> {
    let (_, total) = PREDEFINED.iter().find(|(prefix, _)| ai.starts_with(prefix))?;
    total.checked_sub(ai.len())
}

/// The row whose identifier `data` starts with, and that identifier.
pub(super) fn find(data: &str) -> Option<(&'static Row, &str)> {
    TABLE.iter().find_map(|row| Some((row, row.ai.at_start_of(data)?)))
}

impl Ai {
    fn at_start_of<'a>(&self, data: &'a str) -> Option<&'a str> {
        match self {
            Ai::One(ai) => data.starts_with(ai).then(|| &data[..ai.len()]),
            Ai::Decimals { stem, max } => {
                let last = data.strip_prefix(stem)?.as_bytes().first()?;
                (b'0'..=b'0' + max).contains(last).then(|| &data[..=stem.len()])
            }
        }
    }

    /// How many decimals `ai`, one of this row's identifiers, tells of.
    pub(super) fn decimals(&self, ai: &str) -> u8 {
        match self {
            Ai::One(_) => 0,
            Ai::Decimals { .. } => ai.as_bytes().last().map_or(0, |digit| digit - b'0'),
        }
    }
}

/// Whether an identifier is meant by a pattern such as `31nn`.
pub(super) fn matches_pattern(ai: &str, pattern: &str) -> bool {
    let mut pairs = ai.bytes().zip(pattern.bytes());
    ai.len() == pattern.len() && pairs.all(|(digit, wanted)| wanted == b'n' || digit == wanted)
}

impl Set {
    pub(super) fn contains(self, byte: u8) -> bool {
        match self {
            Set::N => byte.is_ascii_digit(),
            Set::X => byte.is_ascii_alphanumeric() || b"!\"%&'()*+,-./:;<=>?_".contains(&byte),
        }
    }

    /// In words, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Set::N => "digits",
            Set::X => "characters of GS1 set 82",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};

    use super::*;

    /// A second list of the same facts: format, whether predefined (`*`), what it requires and excludes, title.
    const EXPECTED: &[&str] = &[
        "00 * N18 csum [] [] SSCC",
        "01 * N14 csum [] [255,37] GTIN",
        "02 * N14 csum [37] [01,03] CONTENT",
        "10 X..20 [01,02,03,8006,8026] [] BATCH/LOT",
        "11 * N6 yymmd0 [01,02,03,8006,8026] [] PROD DATE",
        "13 * N6 yymmd0 [01,02,03,8006,8026] [] PACK DATE",
        "15 * N6 yymmd0 [01,02,03,8006,8026] [] BEST BEFORE or BEST BY",
        "17 * N6 yymmd0 [01,02,03,255,8006,8026] [] USE BY or EXPIRY",
        "21 X..20 [01,03,8006] [235] SERIAL",
        "254 X..20 [414] [] GLN EXTENSION COMPONENT",
        "3100-3105 * N6 [01,02] [310n] NET WEIGHT (kg)",
        "3300-3305 * N6 [00,01] [330n] GROSS WEIGHT (kg)",
        "37 N..8 [00+02,00+8026] [] COUNT",
        "400 X..30 [] [] ORDER NUMBER",
        "410 * N13 csum [] [] SHIP TO LOC",
        "414 * N13 csum [] [] LOC No.",
    ];

    fn describe(row: &Row) -> String {
        let (ai, first, own) = match row.ai {
            Ai::One(ai) => (ai.to_string(), ai.to_string(), String::new()),
            Ai::Decimals { stem, max } => {
                (format!("{stem}0-{stem}{max}"), format!("{stem}0"), format!("{stem}n"))
            }
        };
        let predefined = if predefined_length(&first).is_some() { " *" } else { "" };
        let mut parts = String::new();
        for part in row.parts {
            let set = if part.set == Set::N { "N" } else { "X" };
            let dots = if part.min == part.max { "" } else { ".." };
            let check = match part.read {
                Read::Gtin | Read::Sscc | Read::Gln => " csum",
                Read::Date(DayZero::LastOfMonth) => " yymmd0",
                Read::Date(DayZero::Refused) => " yymmdd",
                Read::Text | Read::Count | Read::Measure => "",
            };
            parts += &format!(" {set}{dots}{}{check}", part.max);
        }
        // A measure excludes itself with other decimals; parsing refuses that as a conflict.
        let excludes = if own.is_empty() { row.excludes.to_string() } else { own };
        format!("{ai}{predefined}{parts} [{}] [{excludes}] {}", row.requires, row.title)
    }

    #[test]
    fn every_row_agrees_with_the_second_list() {
        let described: alloc::vec::Vec<_> = TABLE.iter().map(describe).collect();
        assert_eq!(described, EXPECTED);
    }

    #[test]
    fn rows_are_sound() {
        for (at, row) in TABLE.iter().enumerate() {
            let sample = match row.ai {
                Ai::One(ai) => ai.to_string(),
                Ai::Decimals { stem, .. } => format!("{stem}0"),
            };
            let (found, ai) = find(&sample).unwrap();
            assert_eq!((found, ai), (row, sample.as_str()), "another row hides it");
            for other in &TABLE[at + 1..] {
                assert!(other.ai.at_start_of(&sample).is_none(), "{sample} begins two identifiers");
            }
            let (last, fixed) = row.parts.split_last().unwrap();
            assert!(last.min >= 1 && last.min <= last.max);
            assert!(fixed.iter().all(|part| part.min == part.max), "only the last part may vary");
            if let Some(length) = predefined_length(&sample) {
                assert_eq!(row.parts.iter().map(|part| part.max).sum::<usize>(), length, "{sample}");
                assert_eq!(last.min, last.max, "{sample}");
            }
        }
    }

    #[test]
    fn identifiers_are_found() {
        let check = |data: &str, expected| assert_eq!(find(data).map(|(_, ai)| ai), expected, "{data}");
        check("0109506000134352", Some("01"));
        check("3103001250", Some("3103"));
        check("3105001250", Some("3105"));
        check("3106001250", None);
        check("310", None);
        check("414", Some("414"));
        check("41", None);
        check("999", None);
        check("", None);
    }

    #[test]
    fn patterns() {
        for (ai, pattern, expected) in [
            ("3103", "310n", true),
            ("3103", "31nn", true),
            ("3103", "311n", false),
            ("310", "310n", false),
            ("01", "01", true),
        ] {
            assert_eq!(matches_pattern(ai, pattern), expected, "{ai} {pattern}");
        }
    }

    #[test]
    fn character_set_82_has_82_characters() {
        assert_eq!((0..=255).filter(|byte| Set::X.contains(*byte)).count(), 82);
    }
}
