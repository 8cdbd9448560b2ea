//! Trade item numbers without identifiers: EAN-13, EAN-8, UPC-A, UPC-E and ITF-14.
//!
//! All of them become GTIN-14; the scanned text stays in the scan.

use alloc::string::String;

use super::finding::{Code, Finding};
use super::key::{Gtin, KeyError, check_digit};
use super::scan::{ReadOut, describe};
use super::symbology::Symbology;

/// What `]E0` carries: 13 digits, as the standard says; or what scanners send that strip UPC's leading zero (12) or do
/// not expand UPC-E (8).
pub(super) fn ean_13(symbology: Symbology, digits: &str) -> Result<ReadOut, Finding> {
    if are_digits(digits) && digits.len() == 8 && digits.starts_with(['0', '1']) {
        return match expand_upc_e(digits).map(|digits| Gtin::parse(&digits)) {
            Some(Ok(gtin)) => Ok(ReadOut::ean(gtin, digits)),
            Some(Err(error)) => Err(Finding { code: Code::CheckDigit, message: describe(&error) }),
            None => Err(promise(symbology, "13 digits", digits)),
        };
    }
    gtin(symbology, digits, &[12, 13])
}

/// What `]E4` carries.
pub(super) fn ean_8(symbology: Symbology, digits: &str) -> Result<ReadOut, Finding> {
    gtin(symbology, digits, &[8])
}

/// What `]E3` carries: the number, and 2 or 5 digits that are no part of it.
pub(super) fn ean_13_with_add_on(symbology: Symbology, text: &str) -> Result<ReadOut, Finding> {
    // No two of these sums are equal.
    let length = match text.len() {
        15 | 18 => 13,
        14 | 17 => 12,
        _ => return Err(promise(symbology, "13 digits and 2 or 5 more", text)),
    };
    match text.split_at_checked(length) {
        Some((digits, add_on)) if are_digits(add_on) => {
            let message = alloc::format!("the add-on {add_on:?} is no part of the GTIN");
            Ok(gtin(symbology, digits, &[12, 13])?.with(Code::AddOnIgnored, message))
        }
        _ => Err(promise(symbology, "13 digits and 2 or 5 more", text)),
    }
}

/// Interleaved 2 of 5 is also used for other numbers, so one that does not check is text, not a fault.
pub(super) fn itf(text: String) -> Result<ReadOut, Finding> {
    if text.len() != 14 {
        return Ok(ReadOut::plain(text));
    }
    match Gtin::parse(&text) {
        Ok(gtin) => Ok(ReadOut::ean(gtin, &text)),
        Err(error) => Ok(ReadOut::plain(text).with(Code::NotGtin, describe(&error))),
    }
}

/// Digits that nobody vouches for: as long as a GTIN and with its check digit they are taken for one, with a warning.
/// `None` when they are as long as none.
pub(super) fn bare(text: &str) -> Option<ReadOut> {
    if !matches!(text.len(), 8 | 12 | 13 | 14) || !are_digits(text) {
        return None;
    }
    let upc_e = expand_upc_e(text).and_then(|digits| Gtin::parse(&digits).ok());
    Some(match (Gtin::parse(text), upc_e) {
        (Ok(gtin), Some(other)) if gtin != other => {
            let message = alloc::format!(
                "is EAN-8 {gtin} and UPC-E {other} at once: switch the scanner's AIM identifiers on"
            );
            ReadOut::plain(text.into()).with(Code::Ambiguous, message)
        }
        (Ok(gtin), _) | (Err(_), Some(gtin)) => {
            let message =
                "taken as a GTIN by its length and check digit: switch the scanner's AIM identifiers on";
            ReadOut::ean(gtin, text).with(Code::NoAimIdentifier, message)
        }
        (Err(error @ KeyError::CheckDigit { .. }), None) => {
            ReadOut::plain(text.into()).with(Code::NotGtin, describe(&error))
        }
        (Err(_), None) => ReadOut::plain(text.into()),
    })
}

fn gtin(symbology: Symbology, digits: &str, lengths: &[usize]) -> Result<ReadOut, Finding> {
    if !lengths.contains(&digits.len()) || !are_digits(digits) {
        // The last is what the symbology promises; before it stands what scanners send instead.
        let expected = lengths.last().copied().unwrap_or_default();
        return Err(promise(symbology, &alloc::format!("{expected} digits"), digits));
    }
    match Gtin::parse(digits) {
        Ok(gtin) => Ok(ReadOut::ean(gtin, digits)),
        Err(error) => Err(Finding { code: Code::CheckDigit, message: describe(&error) }),
    }
}

fn promise(symbology: Symbology, what: &str, got: &str) -> Finding {
    let message = alloc::format!("{symbology} promises {what}, got {:?}", cut(got));
    Finding { code: Code::Symbology, message }
}

/// The UPC-A that a UPC-E of number system, six digits and check digit stands for: its sixth digit says where the
/// zeros were. `None` for anything else. The check digit is taken over, not checked.
///
/// ```text
///  s abcde0 c, s abcde1 c, s abcde2 c  ->  s ab(0,1,2)00 00cde c
///  s abcde3 c  ->  s abc00 000de c
///  s abcde4 c  ->  s abcd0 0000e c
///  s abcdeX c  ->  s abcde 0000X c
/// ```
pub fn expand_upc_e(digits: &str) -> Option<String> {
    let &[system @ (b'0' | b'1'), a, b, c, d, e, last, check] = digits.as_bytes() else {
        return None;
    };
    if !are_digits(digits) {
        return None;
    }
    let (company, item) = match last {
        b'0'..=b'2' => ([a, b, last, b'0', b'0'], [b'0', b'0', c, d, e]),
        b'3' => ([a, b, c, b'0', b'0'], [b'0', b'0', b'0', d, e]),
        b'4' => ([a, b, c, d, b'0'], [b'0', b'0', b'0', b'0', e]),
        _ => ([a, b, c, d, e], [b'0', b'0', b'0', b'0', last]),
    };
    Some([system].iter().chain(&company).chain(&item).chain(&[check]).copied().map(char::from).collect())
}

/// Prefixes 02 and 20 to 29, or 0 and 2 of eight digits, are handed out by nobody.
pub(super) fn is_restricted(gtin: Gtin, digits: &str) -> bool {
    match digits.len() {
        // UPC-E is short for a number that somebody was given.
        8 if gtin.as_str14().ends_with(digits) => digits.starts_with(['0', '2']),
        _ => gtin.as_str14().starts_with("002") || gtin.as_str14().starts_with("02"),
    }
}

/// `payload` with its check digit.
pub(super) fn with_check_digit(payload: &str) -> String {
    let check = check_digit(payload.as_bytes()).map(char::from);
    payload.chars().chain(check).collect()
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// As much of a text as a message needs.
fn cut(text: &str) -> &str {
    text.char_indices().nth(32).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upc_e() {
        for (short, long) in [
            ("04252614", "042100005264"),
            ("01234505", "012000003455"),
            ("01278900", "012000007890"),
            ("01278911", "012100007891"),
            ("01278922", "012200007892"),
            ("01238935", "012300000895"),
            ("01248934", "012400000894"),
            ("01245714", "012100004574"),
            ("01258944", "012580000094"),
            ("01258955", "012589000055"),
            ("12345670", "123456000070"),
        ] {
            assert_eq!(expand_upc_e(short).as_deref(), Some(long), "{short}");
        }
        for digits in ["24252614", "0425261", "042526149", "0425261x", "", "٠٤٢٥"] {
            assert_eq!(expand_upc_e(digits), None, "{digits}");
        }
    }
}
