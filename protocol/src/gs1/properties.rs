//! What holds for all input: generated labels read back as printed, and nothing makes the reader panic.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::check::{Check, check_pair};
use super::row::{Part, Read, Row, Set, predefined_length};
use super::table::TABLE;
use super::*;

const GS: &str = "\x1d";

/// Identifiers with values, in any order.
type Label = Vec<(String, String)>;

/// A label as its maker meant it.
fn labels() -> impl Strategy<Value = Label> {
    let rows: Vec<&'static Row> = TABLE.iter().collect();
    // More is on no label, and would only be slow.
    prop::sample::subsequence(rows, 1..=12)
        .prop_shuffle()
        .prop_flat_map(|rows| rows.into_iter().map(element).collect::<Vec<_>>())
}

fn element(row: &'static Row) -> BoxedStrategy<(String, String)> {
    (prop::sample::select(row.identifiers().collect::<Vec<_>>()), value(row)).boxed()
}

fn value(row: &'static Row) -> BoxedStrategy<String> {
    let optional = row.parts().iter().filter(|part| part.optional).count();
    (0..=optional)
        .prop_flat_map(move |missing| {
            let mut whole = Just(String::new()).boxed();
            for part in &row.parts()[..row.parts().len() - missing] {
                whole = (whole, piece(part)).prop_map(|(whole, piece)| whole + &piece).boxed();
            }
            whole
        })
        .boxed()
}

fn piece(part: &Part) -> BoxedStrategy<String> {
    let (min, max) = (usize::from(part.min), usize::from(part.max));
    let date = "[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])";
    match part.read {
        Read::Gtin | Read::Sscc | Read::Gln => keys(max),
        Read::Date(_) => date.boxed(),
        Read::LongDate => prop::string::string_regex(&format!("(19|20){date}")).unwrap().boxed(),
        Read::Text | Read::Count | Read::Measure | Read::Amount => match part.checks[0] {
            Check::Nothing => characters(part.set, min, max),
            check => checked(check, part.set, min, max),
        },
    }
}

/// Text that passes a part's first check; the others, a company prefix and a letter, are seen to here as well.
fn checked(check: Check, set: Set, min: usize, max: usize) -> BoxedStrategy<String> {
    let regex = |pattern: &str| prop::string::string_regex(pattern).unwrap().boxed();
    match check {
        Check::Mod10 => keys(max),
        Check::Mod1021 => ("[0-9]{4}[a-z]", characters(set, 0, max - 7))
            .prop_map(|(start, rest)| {
                let payload = start + &rest;
                let pair = check_pair(payload.as_bytes()).unwrap();
                payload + core::str::from_utf8(&pair).unwrap()
            })
            .boxed(),
        Check::CompanyPrefix | Check::CompanyPrefixSecond => {
            ("[0-9]{5}", characters(set, 0, max - 5)).prop_map(|(start, rest)| start + &rest).boxed()
        }
        Check::Hour => regex("[01][0-9]|2[0-3]"),
        Check::Minute | Check::Second => regex("[0-5][0-9]"),
        Check::HourMinute => regex("([01][0-9]|2[0-3])[0-5][0-9]"),
        Check::Country => regex("276|004|894"),
        Check::CountryOr999 => regex("276|004|894|999"),
        Check::CountryAlpha2 => regex("DE|NO|ZW"),
        Check::Currency => regex("978|840|999"),
        Check::Sex => regex("[0129]"),
        Check::Zero => Just("0".repeat(max)).boxed(),
        Check::NonZero | Check::NoZeroPrefix => {
            characters(set, min - 1, max - 1).prop_map(|rest| String::from("7") + &rest).boxed()
        }
        Check::Hyphen => Just("-".repeat(max)).boxed(),
        Check::YesNo => regex("[01]"),
        Check::Winding => regex("[019]"),
        Check::Latitude | Check::Longitude => regex("1[0-7][0-9]{8}"),
        Check::PercentEncoded => regex("[A-Za-z]{1,10}(%[0-9A-Fa-f]{2}){0,5}"),
        Check::PieceOfTotal => regex("0[1-9][1-9][0-9]"),
        Check::PositionInSequence => regex("[1-4]/[4-9]"),
        Check::ImporterIndex => regex("[A-Za-z0-9_-]"),
        Check::MediaType => regex("0[1-9]|10|[89][0-9]"),
        Check::PackageType => regex("PAE|200|9|AA"),
        Check::Iban => regex("GB82WEST12345698765432|NO9386011117947"),
        Check::Coupon => regex("0[0-9]{6}[0-9]{6}1[0-9]1[0-9][0-49][0-9]{3}(3260731)?(50[0-9]{6})?"),
        Check::CouponOffer => regex("[01]0[0-9]{6}[0-9]{6}0[0-9]{6}"),
        Check::Nothing | Check::HasNonDigit => characters(set, min, max),
    }
}

/// Digits of which the last is the check digit.
fn keys(length: usize) -> BoxedStrategy<String> {
    characters(Set::N, length - 1, length - 1)
        .prop_map(|payload| {
            let check = check_digit(payload.as_bytes()).unwrap();
            payload + char::from(check).encode_utf8(&mut [0; 4])
        })
        .boxed()
}

fn characters(set: Set, min: usize, max: usize) -> BoxedStrategy<String> {
    // Padding of base 64 has rules of its own, which a value without it keeps.
    let members: Vec<char> = (0..=127)
        .filter(|byte| set.contains(*byte) && !(set == Set::Z && *byte == b'='))
        .map(char::from)
        .collect();
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

    /// What is printed as a Digital Link reads back as the same elements: the key, its qualifiers in order, the rest in
    /// the query.
    #[test]
    fn links_read_back(
        (key, attributes) in links(),
        stem in "(/[a-z]{1,8}){0,3}",
        upper: bool,
    ) {
        let row = super::row::find_exact(&key[0].0).unwrap();
        let mut url = format!("{}://id.example{stem}", if upper { "HTTPS" } else { "https" });
        for (ai, value) in &key {
            url += &format!("/{ai}/{}", encoded(value));
        }
        let query: Vec<String> =
            attributes.iter().map(|(ai, value)| format!("{ai}={}", encoded(value))).collect();
        if !query.is_empty() {
            url += &format!("?{}&lang=de", query.join("&"));
        }
        let scan = interpret(format!("]Q1{url}").as_bytes(), 2026);
        prop_assert!(!scan.is_refused(), "{url} {:?}", scan.findings());
        let got: Vec<_> =
            scan.elements().iter().map(|e| (e.ai().to_string(), e.value().to_string())).collect();
        let expected: Vec<_> = key.iter().chain(&attributes).cloned().collect();
        prop_assert_eq!(got, expected, "{} {:?}", url, row);
    }

    /// A number of variable measure says what its maker printed, by each country's own rules.
    #[test]
    fn variable_measures_name_one_item_whatever_it_weighs(payload in "2[0-9]{11}", other in "[0-9]{6}") {
        let number = |payload: &str| {
            let check = char::from(check_digit(payload.as_bytes()).unwrap());
            Gtin::parse(&format!("{payload}{check}")).unwrap()
        };
        for rules in VARIABLE_RULES {
            let read = |payload: &str| rules.read(number(payload)).and_then(Result::ok);
            // Only the last four digits differ: they belong to the measure everywhere.
            let heavier = format!("{}{}", &payload[..8], &other[..4]);
            if let (Some(one), Some(two)) = (read(&payload), read(&heavier)) {
                prop_assert_eq!(one.item == two.item, payload[..8] == heavier[..8] && one.item == two.item);
                prop_assert_eq!(rules.read(one.item).and_then(Result::ok).map(|zero| zero.item), Some(one.item));
            }
        }
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
    fn escaped_text_is_a_scan(text in "\\][Qd][1-6](\\\\0000(26|03)|\\\\|.|01095){0,12}") {
        look_at(text.as_bytes(), 2026);
    }

    #[test]
    fn command_like_text_is_a_scan(text in "(\\][A-Za-z][0-9])?(SW:)?(CMD|QTY|LOC|WF|OP)?:?.{0,60}") {
        look_at(text.as_bytes(), 2026);
    }

    #[test]
    fn link_like_text_is_a_scan(
        text in "(\\][A-Za-z][0-9])?https?://[a-z.]{0,6}(/(01|10|21|22|414|254|8010|x|09506000134352|%2[0-9A-F]|.{0,3})){0,6}(\\?.{0,20})?"
    ) {
        look_at(text.as_bytes(), 2026);
    }

    #[test]
    fn retail_like_digits_are_a_scan(text in "(\\](E[0-4]|I[013]|C[01]))?[0-9]{0,20}") {
        look_at(text.as_bytes(), 2026);
    }
}

/// A key with some of its qualifiers in order, and attributes that may stand in its query.
fn links() -> impl Strategy<Value = (Label, Label)> {
    let keys: Vec<&'static Row> = TABLE.iter().filter(|row| row.qualifiers().is_some()).collect();
    let attributes: Vec<&'static Row> = TABLE.iter().filter(|row| row.may_stand_in_query()).collect();
    let chosen = (
        prop::sample::select(keys),
        any::<prop::sample::Index>(),
        prop::sample::subsequence(attributes, 0..6),
        any::<u8>(),
    );
    chosen.prop_flat_map(|(key, alternative, attributes, taken)| {
        let sequences: Vec<&str> = key.qualifiers().unwrap().split('|').collect();
        let sequence = alternative.get(&sequences).split(',').filter(|ai| !ai.is_empty());
        let qualifiers = sequence.enumerate().filter(|(at, _)| taken & (1 << at) != 0);
        let path: Vec<&'static Row> = core::iter::once(key)
            .chain(qualifiers.map(|(_, ai)| super::row::find_exact(ai).unwrap()))
            .collect();
        let query: Vec<&'static Row> =
            attributes.into_iter().filter(|row| path.iter().all(|taken| taken != row)).collect();
        let elements = |rows: Vec<&'static Row>| rows.into_iter().map(element).collect::<Vec<_>>();
        (elements(path), elements(query))
    })
}

/// Percent-encoded as a URL needs it.
fn encoded(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) })
        .collect()
}

/// Calls everything there is on a scan, and holds it to what a scan promises.
fn look_at(raw: &[u8], year: u16) {
    let scan = interpret(raw, year);
    for rules in VARIABLE_RULES {
        let other = interpret_with(raw, Context { year, variable: Some(rules) });
        assert_eq!(other.kind(), scan.kind(), "rules say more, never something else");
        let item = other.variable().map(|variable| variable.item).or(scan.gtin());
        assert_eq!(other.gtin(), item);
    }
    assert_eq!(scan.raw(), raw);
    let has_error = scan.findings().iter().any(|finding| finding.severity() == Severity::Error);
    assert_eq!(has_error, scan.is_refused());
    if scan.is_refused() {
        assert!(scan.gtin().is_none() && scan.elements().is_empty());
    }
    if let Kind::Plain(text) | Kind::Url(text) = scan.kind() {
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
