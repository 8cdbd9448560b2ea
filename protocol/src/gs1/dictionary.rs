//! Every row of our table against the GS1 Barcode Syntax Dictionary, which lies under `tests/data` as its makers
//! publish it (Apache-2.0, its own header says so).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::check::Check;
use super::date::DayZero;
use super::row::{Part, Read, Row, Set, predefined_length};
use super::table::TABLE;

const DICTIONARY: &str = include_str!("../../tests/data/gs1-syntax-dictionary.txt");

/// An entry of the dictionary as one line: identifiers, flags, parts, attributes and title.
fn entry(line: &str) -> String {
    // Titles hold spaces, and one ends in a number sign and a digit.
    let (facts, title) = line.split_once(" # ").unwrap_or((line, ""));
    let mut facts = facts.split_whitespace();
    let ai = facts.next().unwrap();
    let (mut flags, mut parts, mut requires, mut excludes, mut key) = ("", Vec::new(), "", "", None);
    for fact in facts {
        match fact.split_once('=') {
            _ if fact.starts_with(['*', '?']) => flags = fact,
            Some(("req", value)) => requires = value,
            Some(("ex", value)) => excludes = value,
            Some(("dlpkey", value)) => key = Some(value),
            None if fact == "dlpkey" => key = Some(""),
            None => parts.push(fact.to_string()),
            Some((other, _)) => panic!("{line}: what is {other}?"),
        }
    }
    print(ai, flags, &parts, requires, excludes, key, title.trim())
}

fn print(
    ai: &str,
    flags: &str,
    parts: &[String],
    requires: &str,
    excludes: &str,
    key: Option<&str>,
    title: &str,
) -> String {
    let mut excludes: Vec<_> = excludes.split(',').filter(|pattern| !pattern.is_empty()).collect();
    excludes.sort_unstable();
    format!("{ai} {flags} {} req={requires} ex={} key={key:?} # {title}", parts.join(" "), excludes.join(","))
}

/// One of our rows in the same form.
fn ours(row: &Row) -> String {
    let identifiers: Vec<String> = row.identifiers().collect();
    let (first, last) = (identifiers.first().unwrap(), identifiers.last().unwrap());
    let ai = if first == last { first.clone() } else { format!("{first}-{last}") };
    let predefined = if predefined_length(first).is_some() { "*" } else { "" };
    let query = if row.may_stand_in_query() { "?" } else { "" };
    let parts: Vec<String> = row.parts().iter().map(part).collect();
    // A measure excludes itself with other decimals; parsing refuses that as a conflict.
    let own = if row.is_one_thing() { format!(",{}n", &first[..3]) } else { String::new() };
    let excludes = format!("{}{own}", row.excludes());
    let flags = format!("{predefined}{query}");
    print(&ai, &flags, &parts, row.requires(), &excludes, row.qualifiers(), row.title())
}

fn part(part: &Part) -> String {
    let set = match part.set {
        Set::N => "N",
        Set::X => "X",
        Set::Y => "Y",
        Set::Z => "Z",
    };
    let dots = if part.min == part.max { "" } else { ".." };
    let mut text = format!("{set}{dots}{}", part.max);
    if part.optional {
        text = format!("[{text}]");
    }
    let implied = match part.read {
        Read::Gtin | Read::Sscc | Read::Gln => Some("csum"),
        Read::Date(DayZero::LastOfMonth) => Some("yymmd0"),
        Read::Date(DayZero::Refused) => Some("yymmdd"),
        Read::LongDate => Some("yyyymmdd"),
        Read::Text | Read::Count | Read::Measure | Read::Amount => None,
    };
    for linter in implied.into_iter().chain(part.checks.into_iter().filter_map(linter)) {
        text = format!("{text},{linter}");
    }
    text
}

fn linter(check: Check) -> Option<&'static str> {
    Some(match check {
        Check::Nothing => return None,
        Check::Mod10 => "csum",
        Check::Mod1021 => "csumalpha",
        Check::CompanyPrefix => "gcppos1",
        Check::CompanyPrefixSecond => "gcppos2",
        Check::Hour => "hh",
        Check::Minute => "mi",
        Check::Second => "ss",
        Check::HourMinute => "hhmi",
        Check::Country => "iso3166",
        Check::CountryOr999 => "iso3166999",
        Check::CountryAlpha2 => "iso3166alpha2",
        Check::Currency => "iso4217",
        Check::Sex => "iso5218",
        Check::Zero => "zero",
        Check::NonZero => "nonzero",
        Check::NoZeroPrefix => "nozeroprefix",
        Check::HasNonDigit => "hasnondigit",
        Check::Hyphen => "hyphen",
        Check::YesNo => "yesno",
        Check::Winding => "winding",
        Check::Latitude => "latitude",
        Check::Longitude => "longitude",
        Check::PercentEncoded => "pcenc",
        Check::PieceOfTotal => "pieceoftotal",
        Check::PositionInSequence => "posinseqslash",
        Check::ImporterIndex => "importeridx",
        Check::MediaType => "mediatype",
        Check::PackageType => "packagetype",
        Check::Iban => "iban",
        Check::Coupon => "couponcode",
        Check::CouponOffer => "couponposoffer",
    })
}

#[test]
fn every_row_is_as_the_dictionary_has_it() {
    let lines = DICTIONARY.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let expected: Vec<String> = lines.map(entry).collect();
    assert_eq!(expected.len(), 224);
    let got: Vec<String> = TABLE.iter().map(ours).collect();
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert_eq!(got.len(), expected.len());
}
