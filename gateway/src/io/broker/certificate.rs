//! The common name of an X.509 certificate, read from its DER bytes.
//!
//! The TLS library has verified the certificate before we look, and shows no names. A walk of five steps is less than
//! another certificate parser with its dependencies would be.
//!
//! ```text
//! Certificate [ TBSCertificate [ [0] version?, serial, algorithm, issuer, validity, subject [ name part ... ] ... ] ... ]
//!                                                                     name part: SET [ SEQUENCE [ OID, string ] ]
//! ```

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const EXPLICIT_0: u8 = 0xa0;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// `None` when there is no common name, more than one, or one in an encoding older than UTF-8. Two would be a choice,
/// and another reader of the same certificate might choose the other.
pub(super) fn common_name(der: &[u8]) -> Option<&str> {
    let mut certificate = expect(&mut { der }, SEQUENCE)?;
    let mut tbs = expect(&mut certificate, SEQUENCE)?;
    if tbs.first() == Some(&EXPLICIT_0) {
        element(&mut tbs)?;
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        element(&mut tbs)?;
    }
    let mut subject = expect(&mut tbs, SEQUENCE)?;
    let mut found = None;
    while !subject.is_empty() {
        let mut parts = expect(&mut subject, SET)?;
        while !parts.is_empty() {
            let mut part = expect(&mut parts, SEQUENCE)?;
            if expect(&mut part, OID)? != COMMON_NAME {
                continue;
            }
            let (tag, text) = element(&mut part)?;
            if !matches!(tag, UTF8_STRING | PRINTABLE_STRING) || found.is_some() {
                return None;
            }
            found = Some(std::str::from_utf8(text).ok()?);
        }
    }
    found
}

fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content) = element(input)?;
    (found == tag).then_some(content)
}

/// Takes one tag-length-value element off the front.
fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        // No certificate has an element of 2^32 bytes, and DER has no indefinite length.
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        rest = after;
        digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn text(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn the_common_name_is_found_wherever_it_stands() {
        let der = certificate(&[
            (DnType::OrganizationName, text("Example")),
            (DnType::CommonName, text("box-7")),
            (DnType::CountryName, text("DE")),
        ]);
        assert_eq!(common_name(&der), Some("box-7"));
        let printable = DnValue::PrintableString("box-8".try_into().unwrap());
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, printable)])), Some("box-8"));
    }

    #[test]
    fn without_one_there_is_none() {
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, text("box-7"))])), None);
        assert_eq!(common_name(&certificate(&[])), None);
        // An old two-byte encoding could hide what it says from whoever reads bytes.
        let wide = DnValue::BmpString("box-7".try_into().unwrap());
        assert_eq!(common_name(&certificate(&[(DnType::CommonName, wide)])), None);
    }

    #[test]
    fn two_common_names_are_no_name() {
        let der =
            certificate(&[(DnType::CommonName, text("box-7")), (DnType::OrganizationName, text("box-8"))]);
        // 2.5.4.10 (organisation) into 2.5.4.3.
        let organisation = [0x06, 0x03, 0x55, 0x04, 0x0a];
        let mut twice = der.clone();
        while let Some(at) = twice.windows(5).position(|bytes| bytes == organisation) {
            twice[at + 4] = 0x03;
        }
        assert_ne!(twice, der);
        assert_eq!(common_name(&twice), None);
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let der = certificate(&[(DnType::CommonName, text("box-7"))]);
        for end in 0..der.len() {
            common_name(&der[..end]);
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut damaged = der.clone();
                damaged[at] ^= 1 << bit;
                common_name(&damaged);
            }
        }
        assert_eq!(common_name(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
