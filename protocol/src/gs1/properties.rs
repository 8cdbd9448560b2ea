//! What holds for all input: generated labels read back as printed, and nothing makes the reader panic.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::table::{Ai, Read, Row, Set, TABLE, predefined_length};
use super::*;

const GS: &str = "\x1d";

/// A label as its maker meant it: identifiers with values, in any order.
fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let rows: Vec<&'static Row> = TABLE.iter().collect();
    let most = rows.len();
    prop::sample::subsequence(rows, 1..=most)
        .prop_shuffle()
        .prop_flat_map(|rows| rows.into_iter().map(element).collect::<Vec<_>>())
}

fn element(row: &'static Row) -> BoxedStrategy<(String, String)> {
    let value = value(row);
    match row.ai {
        Ai::One(ai) => value.prop_map(move |value| (ai.to_string(), value)).boxed(),
        Ai::Decimals { stem, max } => {
            (0..=max, value).prop_map(move |(last, value)| (format!("{stem}{last}"), value)).boxed()
        }
    }
}

fn value(row: &'static Row) -> BoxedStrategy<String> {
    let mut whole = Just(String::new()).boxed();
    for part in row.parts {
        let piece = match part.read {
            Read::Gtin | Read::Sscc | Read::Gln => characters(part.set, part.max - 1, part.max - 1)
                .prop_map(|payload| {
                    let check = check_digit(payload.as_bytes()).unwrap();
                    payload + char::from(check).encode_utf8(&mut [0; 4])
                })
                .boxed(),
            Read::Date(_) => {
                (0..100, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y:02}{m:02}{d:02}")).boxed()
            }
            Read::Text | Read::Count | Read::Measure => characters(part.set, part.min, part.max),
        };
        whole = (whole, piece).prop_map(|(whole, piece)| whole + &piece).boxed();
    }
    whole
}

fn characters(set: Set, min: usize, max: usize) -> BoxedStrategy<String> {
    let members: Vec<char> = (0..=127).filter(|byte| set.contains(*byte)).map(char::from).collect();
    prop::collection::vec(prop::sample::select(members), min..=max)
        .prop_map(|characters| characters.into_iter().collect())
        .boxed()
}

/// As a label printer writes it: `extra` separators after predefined lengths, and at the end, where they may stand.
fn print(label: &[(String, String)], extra: bool) -> String {
    let mut data = String::new();
    for (at, (ai, value)) in label.iter().enumerate() {
        let is_last = at + 1 == label.len();
        let needed = predefined_length(ai).is_none() && !is_last;
        data += &format!("{ai}{value}{}", if needed || extra { GS } else { "" });
    }
    data
}

proptest! {
    #[test]
    fn labels_read_back(label in labels(), extra: bool) {
        let elements = ElementString::parse(&print(&label, extra), 2026).unwrap();
        let got: Vec<_> =
            elements.elements().iter().map(|e| (e.ai().to_string(), e.value().to_string())).collect();
        prop_assert_eq!(&got, &label);
        prop_assert_eq!(elements.to_string(), print(&label, false));
        let scan = interpret(format!("]C1{}", print(&label, extra)).as_bytes(), 2026);
        prop_assert!(!scan.is_refused());
    }

    /// Each digit of a key is checked: no single misread passes.
    #[test]
    fn one_wrong_digit_is_noticed(payload in "[0-9]{17}", at in 0..18usize, by in 1..10u8) {
        let check = check_digit(payload.as_bytes()).unwrap();
        let mut digits: Vec<u8> = payload.bytes().chain([check]).collect();
        let parse = |digits: &[u8]| Sscc::parse(core::str::from_utf8(digits).unwrap());
        prop_assert!(parse(&digits).is_ok());
        digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
        prop_assert!(parse(&digits).is_err());
    }

    #[test]
    fn gtins_survive_as_numbers(payload in "[0-9]{7}|[0-9]{11,13}") {
        let check = char::from(check_digit(payload.as_bytes()).unwrap());
        let gtin = Gtin::parse(&format!("{payload}{check}")).unwrap();
        prop_assert_eq!(Gtin::from_u64(gtin.to_u64()), Ok(gtin));
        prop_assert_eq!(Gtin::parse(gtin.as_str14()), Ok(gtin));
    }

    /// The century rule puts a date nowhere but from 49 years back to 50 ahead.
    #[test]
    fn dates_are_near(yy in 0..100u8, year in 1900..2200u16) {
        let date = Date::from_yymmdd(&format!("{yy:02}0101"), year, DayZero::Refused).unwrap();
        prop_assert_eq!(date.year() % 100, u16::from(yy));
        prop_assert!((-50..=50).contains(&(i32::from(date.year()) - i32::from(year))));
    }

    #[test]
    fn any_bytes_are_a_scan(raw: Vec<u8>, year: u16) {
        look_at(&raw, year);
    }

    /// Nearly right input reaches deeper than noise does.
    #[test]
    fn damaged_labels_are_a_scan(label in labels(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), year: u16) {
        let mut raw = format!("]C1{}", print(&label, false)).into_bytes();
        for (at, byte) in damage {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        look_at(&raw, year);
    }

    #[test]
    fn command_like_text_is_a_scan(text in "(\\][A-Za-z][0-9])?(SW:)?(CMD|QTY|LOC|WF|OP)?:?.{0,60}") {
        look_at(text.as_bytes(), 2026);
    }
}

/// Calls everything there is on a scan, and holds it to what a scan promises.
fn look_at(raw: &[u8], year: u16) {
    let scan = interpret(raw, year);
    assert_eq!(scan.raw(), raw);
    let has_error = scan.findings().iter().any(|finding| finding.severity() == Severity::Error);
    assert_eq!(has_error, scan.is_refused());
    if scan.is_refused() {
        assert!(scan.gtin().is_none() && scan.elements().is_empty());
    }
    if let Kind::Plain(text) = scan.kind() {
        assert_eq!(*text, scan.data_text());
    }
    if !scan.elements().is_empty() {
        let printed = scan.element_string().to_string();
        assert_eq!(ElementString::parse(&printed, year).as_ref(), Ok(scan.element_string()));
    }
    assert!(
        scan.raw_text().chars().count() <= raw.len() && scan.aim().is_some() == scan.symbology().is_some()
    );
}
