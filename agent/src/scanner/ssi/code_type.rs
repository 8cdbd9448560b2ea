//! What SSI calls a symbology, as the AIM identifier that everybody else calls it.

use std::borrow::Cow;

/// Add-ons of EAN and UPC: this bit says two digits, the next one five.
const TWO_DIGITS: u8 = 0x40;
const FIVE_DIGITS: u8 = 0x80;
const GS: u8 = 0x1D;

/// The read as a scanner would send it that has its AIM identifiers switched on. Data that bring an identifier along
/// keep that: it tells more than the type, for GS1 DataMatrix on older scanners all there is to know.
///
/// `None`: nothing was read, the scanner only says so.
pub(super) fn with_aim(code_type: u8, data: &[u8]) -> Option<Vec<u8>> {
    if code_type == 0 {
        return None;
    }
    if matches!(data, [b']', letter, modifier, ..] if letter.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric())
    {
        return Some(data.to_vec());
    }
    let (aim, data) = identify(code_type, data);
    Some([aim.as_bytes(), &data].concat())
}

/// Types of the SE 955 and PDT 6800 guides; C1 and C2 are in newer ones only. 23 to 25 are DataBar in one manual and
/// postal codes or MaxiCode in others: text, unless the scanner sends AIM identifiers.
fn identify(code_type: u8, data: &[u8]) -> (&'static str, Cow<'_, [u8]>) {
    let plain = Cow::Borrowed(data);
    match code_type {
        // FNC1 in front, which some send as GS.
        0x1B if data.first() == Some(&GS) => ("]d2", Cow::Borrowed(&data[1..])),
        0x1C if data.first() == Some(&GS) => ("]Q3", Cow::Borrowed(&data[1..])),
        0x01 | 0x13 | 0x20 => ("]A0", plain),
        0x02 => ("]F0", plain),
        0x03 | 0x19 => ("]C0", plain),
        0x06 => ("]I0", plain),
        0x07 => ("]G0", plain),
        // UPC with 12 digits, or 8 when it is a UPC-E: `gs1` knows both.
        0x08..=0x09 | 0x0B | 0x10 => ("]E0", plain),
        0x0A => ("]E4", plain),
        0x0C => ("]H0", plain),
        0x0F => ("]C1", plain),
        0x11 | 0x1A | 0x28 => ("]L0", plain),
        0x1B => ("]d1", plain),
        0x1C => ("]Q1", plain),
        0x2D => ("]z0", plain),
        // 14 digits may come without the AI 01 that the symbol implies.
        0x30 | 0x31 if data.len() == 14 => ("]e0", Cow::Owned([b"01", data].concat())),
        0x30..=0x32 => ("]e0", plain),
        0xC1 => ("]d2", plain),
        0xC2 => ("]Q3", plain),
        other if other & TWO_DIGITS != 0 => with_add_on(other & !TWO_DIGITS, data, 2),
        other if other & FIVE_DIGITS != 0 => with_add_on(other & !FIVE_DIGITS, data, 5),
        _ => ("]X0", plain),
    }
}

/// The add-on is no part of the number; of short numbers it is left out, since AIM has no identifier for both together.
fn with_add_on(code_type: u8, data: &[u8], digits: usize) -> (&'static str, Cow<'_, [u8]>) {
    let Some(cut) = data.len().checked_sub(digits) else { return ("]X0", Cow::Borrowed(data)) };
    match identify(code_type, &data[..cut]) {
        ("]E0", main) if main.len() > 8 => ("]E3", Cow::Borrowed(data)),
        (aim @ ("]E0" | "]E4"), main) => (aim, main),
        _ => ("]X0", Cow::Borrowed(data)),
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::gs1::{self, Kind};

    use super::*;

    fn check(code_type: u8, data: &str, expected: &str) {
        let read = with_aim(code_type, data.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), expected, "{code_type:02x} {data}");
    }

    #[test]
    fn types_become_identifiers() {
        check(0x0B, "5901234123457", "]E05901234123457");
        check(0x0F, "010950600013435210ABC123", "]C1010950600013435210ABC123");
        check(0x03, "ABC", "]C0ABC");
        check(0x08, "036000291452", "]E0036000291452");
        check(0x09, "04252614", "]E004252614");
        check(0x0A, "96385074", "]E496385074");
        check(0x4B, "590123412345712", "]E3590123412345712");
        check(0x8B, "590123412345712345", "]E3590123412345712345");
        check(0x48, "03600029145212", "]E303600029145212");
        check(0x49, "0425261412", "]E004252614");
        check(0x8A, "9638507412345", "]E496385074");
        check(0x30, "09506000134352", "]e00109506000134352");
        check(0x32, "010950600013435217261231", "]e0010950600013435217261231");
        check(0x1B, "ABC", "]d1ABC");
        check(0x1B, "\x1d0109506000134352", "]d20109506000134352");
        check(0x1C, "https://example.org/", "]Q1https://example.org/");
        check(0x23, "123", "]X0123");
        check(0xFF, "1", "]X01");
        // What the scanner itself says counts.
        check(0x1B, "]d20109506000134352", "]d20109506000134352");
        assert_eq!(with_aim(0, b"NR"), None);
    }

    #[test]
    fn numbers_are_understood_as_what_they_are() {
        for (code_type, data, gtin) in [
            (0x0B, "5901234123457", "05901234123457"),
            (0x08, "036000291452", "00036000291452"),
            (0x09, "04252614", "00042100005264"),
            (0x0A, "96385074", "00000096385074"),
            (0x0F, "010950600013435210ABC123", "09506000134352"),
            (0x30, "09506000134352", "09506000134352"),
            (0xC1, "010950600013435210A\x1d21B", "09506000134352"),
        ] {
            let scan = gs1::interpret(&with_aim(code_type, data.as_bytes()).unwrap(), 2026);
            assert_eq!(scan.gtin().map(|gtin| gtin.to_string()).as_deref(), Some(gtin), "{data}: {scan:?}");
        }
        let scan = gs1::interpret(&with_aim(0x01, b"A-01").unwrap(), 2026);
        assert!(matches!(scan.kind(), Kind::Plain(text) if text == "A-01"), "{scan:?}");
    }

    #[test]
    fn any_type_and_data_give_something() {
        for code_type in 1..=255 {
            for length in 0..16 {
                assert!(with_aim(code_type, &vec![b'1'; length]).is_some());
            }
        }
    }
}
