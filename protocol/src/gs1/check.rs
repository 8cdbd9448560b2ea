//! What holds for a part of a value beyond its length and its characters.

use super::codes;
use super::coupon;
use super::finding::Code;
use super::key::check_digit;

/// One rule; the word in quotes is the dictionary's name for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// No rule.
    Nothing,
    /// "csum": the last digit is the check digit of those before.
    Mod10,
    /// "csumalpha": the last two characters are the check characters of those before.
    Mod1021,
    /// "gcppos1": starts with a GS1 company prefix.
    CompanyPrefix,
    /// "gcppos2": a GS1 company prefix stands behind the first digit.
    CompanyPrefixSecond,
    /// "hh".
    Hour,
    /// "mi".
    Minute,
    /// "ss".
    Second,
    /// "hhmi".
    HourMinute,
    /// "iso3166".
    Country,
    /// "iso3166999".
    CountryOr999,
    /// "iso3166alpha2".
    CountryAlpha2,
    /// "iso4217".
    Currency,
    /// "iso5218".
    Sex,
    /// "zero".
    Zero,
    /// "nonzero".
    NonZero,
    /// "nozeroprefix".
    NoZeroPrefix,
    /// "hasnondigit".
    HasNonDigit,
    /// "hyphen".
    Hyphen,
    /// "yesno".
    YesNo,
    /// "winding".
    Winding,
    /// "latitude".
    Latitude,
    /// "longitude".
    Longitude,
    /// "pcenc".
    PercentEncoded,
    /// "pieceoftotal".
    PieceOfTotal,
    /// "posinseqslash".
    PositionInSequence,
    /// "importeridx".
    ImporterIndex,
    /// "mediatype".
    MediaType,
    /// "packagetype".
    PackageType,
    /// "iban".
    Iban,
    /// "couponcode".
    Coupon,
    /// "couponposoffer".
    CouponOffer,
}

/// The shortest company prefix.
const COMPANY_PREFIX_MIN: usize = 4;
/// The longest account number of ISO 13616.
const IBAN_MAX: usize = 34;
/// Country, check digits and some account; the shortest in use, Norway's, has 15.
const IBAN_MIN: usize = 11;

impl Check {
    /// Whether it holds for ASCII text of the right length and characters; any other text is answered too.
    pub(super) fn holds(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Check::Nothing => true,
            Check::Mod10 => {
                bytes.split_last().is_some_and(|(last, before)| check_digit(before) == Some(*last))
            }
            Check::Mod1021 => ends_in_check_pair(bytes),
            Check::CompanyPrefix => bytes.get(..COMPANY_PREFIX_MIN).is_some_and(are_digits),
            Check::CompanyPrefixSecond => bytes.get(1..=COMPANY_PREFIX_MIN).is_some_and(are_digits),
            Check::Hour => is_below(bytes, 24),
            Check::Minute | Check::Second => is_below(bytes, 60),
            Check::HourMinute => match bytes {
                [hour @ .., _, _] if hour.len() == 2 => is_below(hour, 24) && is_below(&bytes[2..], 60),
                _ => false,
            },
            Check::Country => codes::is_country(text),
            Check::CountryOr999 => text == "999" || codes::is_country(text),
            Check::CountryAlpha2 => codes::is_country_alpha2(text),
            Check::Currency => codes::is_currency(text),
            Check::Sex => matches!(text, "0" | "1" | "2" | "9"),
            Check::Zero => bytes.iter().all(|byte| *byte == b'0'),
            Check::NonZero => bytes.iter().any(|byte| *byte != b'0'),
            Check::NoZeroPrefix => bytes.first() != Some(&b'0'),
            Check::HasNonDigit => !are_digits(bytes),
            Check::Hyphen => bytes.iter().all(|byte| *byte == b'-'),
            Check::YesNo => matches!(text, "0" | "1"),
            Check::Winding => matches!(text, "0" | "1" | "9"),
            Check::Latitude => text.parse::<u64>().is_ok_and(|value| value <= 180 * 10_000_000),
            Check::Longitude => text.parse::<u64>().is_ok_and(|value| value <= 360 * 10_000_000),
            Check::PercentEncoded => is_percent_encoded(bytes),
            Check::PieceOfTotal => {
                let (piece, total) = bytes.split_at(bytes.len() / 2);
                piece.len() == total.len() && piece <= total && piece.iter().any(|digit| *digit != b'0')
            }
            Check::PositionInSequence => is_position_in_sequence(text),
            Check::ImporterIndex => {
                matches!(bytes, [byte] if byte.is_ascii_alphanumeric() || b"-_".contains(byte))
            }
            // 01 to 10 are assigned, 80 to 99 are for use within a country.
            Check::MediaType => text.parse::<u8>().is_ok_and(|code| matches!(code, 1..=10 | 80..=99)),
            Check::PackageType => codes::is_package_type(text),
            Check::Iban => is_iban(bytes),
            Check::Coupon => coupon::is_coupon(text),
            Check::CouponOffer => coupon::is_coupon_offer(text),
        }
    }

    /// In words, for messages: "is not ...".
    pub(super) fn expected(self) -> &'static str {
        match self {
            Check::Nothing => "anything",
            Check::Mod10 => "a number that ends in its check digit",
            Check::Mod1021 => "a key that ends in its two check characters",
            Check::CompanyPrefix | Check::CompanyPrefixSecond => "a key with a company prefix of digits",
            Check::Hour => "an hour, 00 to 23",
            Check::Minute => "a minute, 00 to 59",
            Check::Second => "a second, 00 to 59",
            Check::HourMinute => "a time of day, 0000 to 2359",
            Check::Country => "a country number of ISO 3166",
            Check::CountryOr999 => "a country number of ISO 3166 or 999",
            Check::CountryAlpha2 => "a country code of two letters of ISO 3166",
            Check::Currency => "a currency number of ISO 4217",
            Check::Sex => "0, 1, 2 or 9 as ISO 5218 has them",
            Check::Zero => "zero",
            Check::NonZero => "a number above zero",
            Check::NoZeroPrefix => "a number without leading zeros",
            Check::HasNonDigit => "a key with a character that is no digit",
            Check::Hyphen => "a hyphen",
            Check::YesNo => "0 for no or 1 for yes",
            Check::Winding => "0, 1 or 9 for the winding direction",
            Check::Latitude => "a latitude, at most 1800000000",
            Check::Longitude => "a longitude, at most 3600000000",
            Check::PercentEncoded => "text in which each % starts two hexadecimal digits",
            Check::PieceOfTotal => "a piece and a total, the piece above zero and not above the total",
            Check::PositionInSequence => "a position and an end such as 1/3",
            Check::ImporterIndex => "an importer index: a letter, a digit, - or _",
            Check::MediaType => "a media type, 01 to 10 or 80 to 99",
            Check::PackageType => "a package type of GS1's list",
            Check::Iban => "an IBAN with its check digits",
            Check::Coupon => "a coupon code",
            Check::CouponOffer => "a coupon offer file code",
        }
    }

    /// How a value is reported for which it does not hold.
    pub(super) fn code(self) -> Code {
        match self {
            Check::Mod10 | Check::Mod1021 | Check::Iban => Code::CheckDigit,
            Check::Hour | Check::Minute | Check::Second | Check::HourMinute => Code::Date,
            _ => Code::Component,
        }
    }
}

fn are_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Two digits below `limit`.
fn is_below(bytes: &[u8], limit: u8) -> bool {
    matches!(bytes, [tens, ones] if are_digits(bytes) && (tens - b'0') * 10 + (ones - b'0') < limit)
}

/// Each `%` is followed by two hexadecimal digits.
fn is_percent_encoded(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match &rest[at + 1..] {
            [high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = behind,
            _ => return false,
        }
    }
    true
}

/// `2/3`: numbers without leading zeros, the first not above the second.
fn is_position_in_sequence(text: &str) -> bool {
    let Some((position, end)) = text.split_once('/') else {
        return false;
    };
    let is_number =
        |text: &str| text.starts_with(|c: char| ('1'..='9').contains(&c)) && are_digits(text.as_bytes());
    // Without leading zeros the longer number is the larger.
    is_number(position) && is_number(end) && (position.len(), position) <= (end.len(), end)
}

/// ISO 13616: moved to its end, the first four characters make the whole, read as a number, leave 1 by 97. Letters are
/// numbers from 10 on.
fn is_iban(bytes: &[u8]) -> bool {
    let country = bytes.get(..2).and_then(|country| core::str::from_utf8(country).ok());
    if !(IBAN_MIN..=IBAN_MAX).contains(&bytes.len()) || !country.is_some_and(codes::is_country_alpha2) {
        return false;
    }
    let (start, account) = bytes.split_at(4);
    let mut remainder = 0;
    for byte in account.iter().chain(start) {
        remainder = match byte {
            b'0'..=b'9' => remainder * 10 + u32::from(byte - b'0'),
            b'A'..=b'Z' => remainder * 100 + u32::from(byte - b'A') + 10,
            _ => return false,
        } % 97;
    }
    remainder == 1
}

/// What each character before the two check characters counts, from the right. Longer text than these has none.
const PRIMES: [u32; 23] =
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83];
/// The 32 characters that are not mistaken for one another.
const CHECK_CHARACTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

fn ends_in_check_pair(bytes: &[u8]) -> bool {
    matches!(bytes.split_last_chunk(), Some((before, pair)) if check_pair(before) == Some(*pair))
}

/// The two check characters of text in set 82; `None` for other characters, and where it is longer than any key that
/// has them.
pub fn check_pair(payload: &[u8]) -> Option<[u8; 2]> {
    if payload.len() > PRIMES.len() {
        return None;
    }
    let mut sum = 0;
    for (byte, prime) in payload.iter().rev().zip(PRIMES) {
        sum += set_82_value(*byte)? * prime;
    }
    let sum = sum % 1021;
    // Below 1021 and so below 32 * 32.
    Some([CHECK_CHARACTERS[(sum / 32) as usize], CHECK_CHARACTERS[(sum % 32) as usize]])
}

/// Its place in set 82, counted from 0.
fn set_82_value(byte: u8) -> Option<u32> {
    const SET_82: &[u8; 82] =
        b"!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    // In the order of ASCII, so this is a short way.
    SET_82.binary_search(&byte).ok().map(|place| place as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: Check, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(rule.holds(text), "{rule:?} holds for {text:?}");
        }
        for text in bad {
            assert!(!rule.holds(text), "{rule:?} does not hold for {text:?}");
        }
    }

    #[test]
    fn numbers_and_keys() {
        check(Check::Mod10, &["9506000134352", "0", "106141411234567897"], &["9506000134353", "", "95x2"]);
        check(
            Check::Mod1021,
            &["1987654Ad4X4bL5ttr2310c2K", "12345678901234567890123NT", "22"],
            &["1987654Ad4X4bL5ttr2310c2L", "2", "", "23", "1987654Ad4X4bL5ttr2310c#2K"],
        );
        check(Check::CompanyPrefix, &["9521", "9521ABC"], &["", "952", "952A1"]);
        check(Check::CompanyPrefixSecond, &["A9521"], &["", "9", "9521", "1952A1"]);
        check(Check::Zero, &["0", "000"], &["1", "010"]);
        check(Check::NonZero, &["1", "0001"], &["0", "000"]);
        check(Check::NoZeroPrefix, &["1", "10"], &["0", "01"]);
        check(Check::HasNonDigit, &["123A"], &["123"]);
        check(Check::PieceOfTotal, &["0101", "0102", "9999"], &["0001", "0100", "0201", "0000", "010", "00"]);
        check(
            Check::PositionInSequence,
            &["1/1", "1/3", "9/9", "9/10", "10/10", "99/100"],
            &[
                "", "/", "1", "1/", "/1", "0/1", "1/0", "2/1", "10/9", "01/2", "1/02", "1/2/3", "a/2", "1/b",
                "+1/2",
            ],
        );
    }

    #[test]
    fn times_places_and_lists() {
        check(Check::Hour, &["00", "23"], &["24", "99", "1", "", "1x"]);
        check(Check::Minute, &["00", "59"], &["60", "99"]);
        check(Check::Second, &["00", "59"], &["60"]);
        check(Check::HourMinute, &["0000", "2359"], &["2400", "0060", "9999", "000", "00000", "ab00"]);
        check(Check::Latitude, &["0000000000", "1800000000"], &["1800000001", "9999999999"]);
        check(Check::Longitude, &["3600000000"], &["3600000001"]);
        check(Check::Country, &["276"], &["999", "000"]);
        check(Check::CountryOr999, &["276", "999"], &["998"]);
        check(Check::CountryAlpha2, &["DE"], &["de", "ZZ"]);
        check(Check::Currency, &["978"], &["000"]);
        check(Check::MediaType, &["01", "10", "80", "99"], &["00", "11", "79"]);
        check(Check::PackageType, &["PAE", "200", "9"], &["QQQ"]);
    }

    #[test]
    fn single_characters_and_text() {
        check(Check::Nothing, &["", "anything"], &[]);
        check(Check::Sex, &["0", "1", "2", "9"], &["3", ""]);
        check(Check::Hyphen, &["-"], &["+"]);
        check(Check::YesNo, &["0", "1"], &["2"]);
        check(Check::Winding, &["0", "1", "9"], &["2"]);
        check(Check::ImporterIndex, &["-", "_", "a", "Z", "0"], &["", "/", "aa"]);
        check(Check::PercentEncoded, &["", "abc", "%41", "a%2fb%2F"], &["%", "%4", "a%4g", "%%41"]);
        check(
            Check::Iban,
            &["GB82WEST12345698765432", "NO9386011117947", "DE89370400440532013000"],
            &["GB82WEST12345698765433", "XX82WEST12345698765432", "GB82west12345698765432", "GB82", ""],
        );
    }

    #[test]
    fn no_rule_stumbles_over_any_text() {
        for text in
            ["", "ä", "%", "\0", "1", "9999999999999999999999999999999999999999999999", "-/-", "+1", "٣٣"]
        {
            for rule in [
                Check::Mod10,
                Check::Mod1021,
                Check::CompanyPrefix,
                Check::CompanyPrefixSecond,
                Check::Hour,
                Check::HourMinute,
                Check::Latitude,
                Check::PieceOfTotal,
                Check::PositionInSequence,
                Check::MediaType,
                Check::Iban,
                Check::Coupon,
                Check::CouponOffer,
            ] {
                rule.holds(text);
                assert!(!rule.expected().is_empty() && rule.code().severity().as_str() == "error");
            }
        }
    }
}
