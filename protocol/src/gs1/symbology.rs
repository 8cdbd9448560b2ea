//! AIM symbology identifiers (ISO/IEC 15424): `]`, a letter and a modifier before the data say what was scanned.

use alloc::vec::Vec;
use core::fmt;

/// The kind of symbol that was scanned, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Symbology {
    /// EAN-13, UPC-A and UPC-E, sent as 13 digits.
    Ean13,
    /// EAN-8.
    Ean8,
    /// A two- or five-digit add-on alone.
    EanAddOn,
    /// EAN-13 and its add-on in one.
    Ean13WithAddOn,
    /// GS1-128: Code 128 with FNC1 first.
    Gs1_128,
    /// Any other Code 128.
    Code128,
    /// GS1 DataMatrix.
    Gs1DataMatrix,
    /// Any other Data Matrix.
    DataMatrix,
    /// GS1 QR Code.
    Gs1Qr,
    /// Any other QR Code.
    Qr,
    /// GS1 DataBar, or a linear symbol with its composite part.
    Gs1DataBar,
    /// Other forms of composite symbols.
    Composite,
    /// GS1 DotCode.
    Gs1DotCode,
    /// Any other DotCode.
    DotCode,
    /// Interleaved 2 of 5; with 14 digits an ITF-14.
    Itf,
    /// Code 39.
    Code39,
    /// Codabar.
    Codabar,
    /// Code 93.
    Code93,
    /// Code 11.
    Code11,
    /// PDF417.
    Pdf417,
    /// MaxiCode.
    MaxiCode,
    /// Aztec Code.
    Aztec,
    /// No symbol: the scanner's own data.
    Other,
}

/// What a symbology promises about its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// GS1 element strings.
    ElementString,
    /// A GTIN of 13 digits.
    Ean13,
    /// A GTIN of 8 digits.
    Ean8,
    /// A GTIN of 13 digits and 2 or 5 digits that are no part of it.
    Ean13WithAddOn,
    /// A GTIN when it is 14 digits that check, else text.
    Itf14,
    /// Nothing.
    Text,
}

struct Row {
    letter: u8,
    /// Each character is one modifier.
    modifiers: &'static str,
    symbology: Symbology,
    content: Content,
    name: &'static str,
}

const fn row(
    letter: u8,
    modifiers: &'static str,
    symbology: Symbology,
    content: Content,
    name: &'static str,
) -> Row {
    Row { letter, modifiers, symbology, content, name }
}

static TABLE: &[Row] = &[
    row(b'E', "0", Symbology::Ean13, Content::Ean13, "EAN-13"),
    row(b'E', "4", Symbology::Ean8, Content::Ean8, "EAN-8"),
    row(b'E', "12", Symbology::EanAddOn, Content::Text, "EAN add-on"),
    row(b'E', "3", Symbology::Ean13WithAddOn, Content::Ean13WithAddOn, "EAN-13 with add-on"),
    row(b'C', "1", Symbology::Gs1_128, Content::ElementString, "GS1-128"),
    row(b'C', "024", Symbology::Code128, Content::Text, "Code 128"),
    // 5 is FNC1 in first or fifth position together with an ECI.
    row(b'd', "25", Symbology::Gs1DataMatrix, Content::ElementString, "GS1 DataMatrix"),
    row(b'd', "01346", Symbology::DataMatrix, Content::Text, "Data Matrix"),
    // 4 is FNC1 in first position together with an ECI.
    row(b'Q', "34", Symbology::Gs1Qr, Content::ElementString, "GS1 QR Code"),
    row(b'Q', "01256", Symbology::Qr, Content::Text, "QR Code"),
    row(b'e', "0", Symbology::Gs1DataBar, Content::ElementString, "GS1 DataBar"),
    row(b'e', "123", Symbology::Composite, Content::Text, "composite"),
    row(b'J', "1", Symbology::Gs1DotCode, Content::ElementString, "GS1 DotCode"),
    row(b'J', "0", Symbology::DotCode, Content::Text, "DotCode"),
    row(b'I', "013", Symbology::Itf, Content::Itf14, "ITF"),
    row(b'A', "0123457", Symbology::Code39, Content::Text, "Code 39"),
    row(b'F', "0124", Symbology::Codabar, Content::Text, "Codabar"),
    row(b'G', "0", Symbology::Code93, Content::Text, "Code 93"),
    row(b'H', "013", Symbology::Code11, Content::Text, "Code 11"),
    row(b'L', "012345", Symbology::Pdf417, Content::Text, "PDF417"),
    row(b'U', "0123", Symbology::MaxiCode, Content::Text, "MaxiCode"),
    // Aztec with FNC1 exists (1, 4), but it is no GS1 carrier.
    row(b'z', "0123456789ABC", Symbology::Aztec, Content::Text, "Aztec"),
    row(b'X', "0", Symbology::Other, Content::Text, "other"),
];

impl Symbology {
    /// Cuts the AIM identifier off; `None` and the bytes as they came when they start with none that we know.
    pub fn split(raw: &[u8]) -> (Option<Symbology>, &[u8]) {
        let [b']', letter, modifier, data @ ..] = raw else {
            return (None, raw);
        };
        let row =
            TABLE.iter().find(|row| row.letter == *letter && row.modifiers.as_bytes().contains(modifier));
        row.map_or((None, raw), |row| (Some(row.symbology), data))
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// What it promises about its data.
    pub fn content(self) -> Content {
        self.row().map_or(Content::Text, |row| row.content)
    }

    /// Whether its data are GS1 element strings.
    pub fn carries_gs1(self) -> bool {
        self.content() == Content::ElementString
    }

    /// Every variant has its row; a test looks at each.
    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.symbology == self)
    }
}

/// Data without the escapes by which a scanner tells the character set (ECI): behind an identifier that promises them
/// they are `\` and six digits, and `\` itself comes doubled. `None` when there are none, as with scanners that translate
/// the characters themselves; then nothing is taken for an escape.
pub(super) fn without_eci(raw: &[u8]) -> Option<Vec<u8>> {
    let data = match raw {
        [b']', b'Q', b'2' | b'4' | b'6', data @ ..] | [b']', b'd', b'4'..=b'6', data @ ..] => data,
        _ => return None,
    };
    let escape = |rest: &[u8]| {
        rest.first() == Some(&b'\\') && rest.get(1..7).is_some_and(|eci| eci.iter().all(u8::is_ascii_digit))
    };
    if !escape(data) {
        return None;
    }
    let (mut text, mut rest) = (Vec::with_capacity(data.len()), data);
    while let Some((first, behind)) = rest.split_first() {
        if escape(rest) {
            rest = &rest[7..];
            continue;
        }
        text.push(*first);
        rest = if rest.starts_with(b"\\\\") { &rest[2..] } else { behind };
    }
    Some(text)
}

/// Whether the bytes look like data behind an AIM identifier.
pub(super) fn looks_like_aim(raw: &[u8]) -> bool {
    matches!(raw, [b']', letter, modifier, ..] if letter.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric())
}

impl fmt::Display for Symbology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<(Symbology, Content)>) {
        let (symbology, data) = Symbology::split(raw.as_bytes());
        assert_eq!(symbology.map(|s| (s, s.content())), expected, "{raw}");
        let cut = if expected.is_some() { 3 } else { 0 };
        assert_eq!(data, &raw.as_bytes()[cut..], "{raw}");
    }

    #[test]
    fn identifiers() {
        check("]C10109506000134352", Some((Symbology::Gs1_128, Content::ElementString)));
        check("]C0ABC", Some((Symbology::Code128, Content::Text)));
        check("]E05901234123457", Some((Symbology::Ean13, Content::Ean13)));
        check("]E496385074", Some((Symbology::Ean8, Content::Ean8)));
        check("]d20109506000134352", Some((Symbology::Gs1DataMatrix, Content::ElementString)));
        check("]d5", Some((Symbology::Gs1DataMatrix, Content::ElementString)));
        check("]d1ABC", Some((Symbology::DataMatrix, Content::Text)));
        check("]Q3", Some((Symbology::Gs1Qr, Content::ElementString)));
        check("]Q4", Some((Symbology::Gs1Qr, Content::ElementString)));
        check("]Q1https://example.org/", Some((Symbology::Qr, Content::Text)));
        check("]e0", Some((Symbology::Gs1DataBar, Content::ElementString)));
        check("]J1", Some((Symbology::Gs1DotCode, Content::ElementString)));
        check("]I1", Some((Symbology::Itf, Content::Itf14)));
        check("]z1", Some((Symbology::Aztec, Content::Text)));
        for raw in ["", "]", "]C", "]c1", "]C9", "C1", " ]C1", "]  "] {
            check(raw, None);
        }
    }

    #[test]
    fn character_set_escapes() {
        let check = |raw: &str, expected: Option<&str>| {
            let got = without_eci(raw.as_bytes()).map(|text| alloc::string::String::from_utf8(text).unwrap());
            assert_eq!(got.as_deref(), expected, "{raw}");
        };
        check(r"]Q2\000026gr\\n", Some(r"gr\n"));
        check(r"]d5\0000030109506000134352", Some("0109506000134352"));
        check(r"]Q4\000026a\000003b", Some("ab"));
        check(r"]Q2\000026", Some(""));
        check(r"]Q2\000026\", Some(r"\"));
        check(r"]Q2C:\000026", None);
        check(r"]Q2\00002x", None);
        check(r"]Q2\0000", None);
        check(r"]Q1\000026a", None);
        check(r"\000026a", None);
    }

    #[test]
    fn no_identifier_means_two_things_and_no_symbology_has_two_rows() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.symbology.name(), row.name);
            for other in &TABLE[at + 1..] {
                assert_ne!(row.symbology, other.symbology);
                let shared = row.modifiers.chars().any(|modifier| other.modifiers.contains(modifier));
                assert!(row.letter != other.letter || !shared, "{} and {}", row.name, other.name);
            }
        }
    }
}
