//! GS1 Digital Links: element strings as a URL, and URLs that are none.
//!
//! ```text
//!  https://id.gs1.org/any/stem/01/09506000134352/10/ABC123/21/987?17=260731&3103=001250&other=kept#anything
//!  ^http or https     ^ignored ^primary key      ^qualifiers, in    ^attributes     ^ignored
//!                                                 the key's order
//! ```
//!
//! A QR Code with a URL is an everyday thing and no bad scan. So a URL is held to the rules of a Digital Link only
//! from where it has one's shape: behind a primary key a value of the right length and characters. Compressed links
//! and names such as `/gtin/` in place of numbers are ordinary URLs here.

use alloc::string::String;
use alloc::vec::Vec;

use super::check::Check;
use super::element::{Element, ElementString};
use super::element_error::ElementError;
use super::finding::{Code, Finding};
use super::row::{Row, find_exact};
use super::scan::{describe, finding_of};

/// What a URL is.
pub(super) enum Link {
    /// A Digital Link, and what there is to say about it.
    Gs1(ElementString, Vec<Finding>),
    /// Meant as a Digital Link, but not to be used.
    Bad(Finding),
    /// An ordinary one.
    Url(Option<Finding>),
}

/// `None`: no URL of the web.
pub(super) fn read(text: &str, year: u16) -> Option<Link> {
    let (scheme, rest) = text.split_once("://")?;
    let is_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if !is_web || host == 0 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    // The standard writes the scheme of a link in one case.
    if !["http", "https", "HTTP", "HTTPS"].contains(&scheme) {
        return Some(Link::Url(None));
    }
    let whole = &rest[host..];
    let whole = whole.split_once('#').map_or(whole, |(before, _)| before);
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    Some(link(path, query, scheme.len() + "://".len() + host, year))
}

/// One identifier with its value, still encoded.
struct Pair<'a> {
    ai: &'a str,
    row: &'static Row,
    value: &'a str,
    /// Position of the value in the URL.
    at: usize,
}

/// `at`: position of the path in the URL.
fn link(path: &str, query: &str, at: usize, year: u16) -> Link {
    let Some((key, qualifiers)) = pairs(path, at) else {
        return Link::Url(None);
    };
    let mut elements = ElementString::default();
    match key.element(Plus::Itself, year).and_then(|element| elements.add(element)) {
        Ok(()) => {}
        Err(error) if has_other_shape(&error) => {
            // A date such as /2026/01/15 in the path of a news page deserves no remark; half a key does.
            let is_near = key.value.len() >= 8 && key.value.bytes().all(|byte| byte.is_ascii_digit());
            let code = Code::NotDigitalLink;
            return Link::Url(is_near.then(|| Finding { code, message: describe(&error) }));
        }
        Err(error) => return Link::Bad(finding_of(&error)),
    }
    let allowed = key.row.qualifiers().unwrap_or_default();
    if !allowed.split('|').any(|sequence| is_in_order(&qualifiers, sequence)) {
        return Link::Bad(out_of_order(&key, &qualifiers, allowed));
    }
    for qualifier in &qualifiers {
        if let Err(error) = qualifier.element(Plus::Itself, year).and_then(|element| elements.add(element)) {
            return Link::Bad(finding_of(&error));
        }
    }
    let mut findings = Vec::new();
    let at = at + path.len() + "?".len();
    for attribute in attributes(query, at) {
        let added = attribute.and_then(|pair| {
            if !pair.row.may_stand_in_query() || belongs_into_path(&pair, &qualifiers, allowed) {
                let message =
                    alloc::format!("AI {} belongs into the path of the link, not into its query", pair.ai);
                findings.push(Finding { code: Code::MisplacedQualifier, message });
            }
            elements.add(pair.element(Plus::Space, year)?)
        });
        if let Err(error) = added {
            return Link::Bad(finding_of(&error));
        }
    }
    Link::Gs1(elements, findings)
}

/// The last primary key in a path, and the pairs behind it. Everything from there to the end must be identifiers that
/// we know with a value each.
fn pairs(path: &str, at: usize) -> Option<(Pair<'_>, Vec<Pair<'_>>)> {
    let mut segments = path.strip_prefix('/')?.rsplit('/');
    let mut end = at + path.len();
    let mut behind = Vec::new();
    loop {
        let (value, ai) = (segments.next()?, segments.next()?);
        let pair = Pair { ai, row: find_exact(ai)?, value, at: end - value.len() };
        end -= value.len() + ai.len() + 2;
        if pair.row.qualifiers().is_some() {
            behind.reverse();
            return Some((pair, behind));
        }
        behind.push(pair);
    }
}

/// The parameters of a query whose names are identifiers. Other names are somebody else's; a number that is no
/// identifier is a fault.
fn attributes(query: &str, at: usize) -> impl Iterator<Item = Result<Pair<'_>, ElementError>> {
    let mut next = at;
    query.split('&').filter_map(move |parameter| {
        let at = next;
        next += parameter.len() + "&".len();
        let (ai, value) = parameter.split_once('=')?;
        if ai.is_empty() || !ai.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let Some(row) = find_exact(ai) else {
            return Some(Err(ElementError::UnknownAi { at, found: ai.chars().take(8).collect() }));
        };
        Some(Ok(Pair { ai, row, value, at: at + ai.len() + "=".len() }))
    })
}

/// What `+` means: itself in a path, a space in a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Space,
}

impl Pair<'_> {
    fn element(&self, plus: Plus, year: u16) -> Result<Element, ElementError> {
        let value = decoded(self.value, plus);
        if let Some((offset, got)) = value.char_indices().find(|(_, c)| !c.is_ascii()) {
            return Err(ElementError::NotAscii { at: self.at + offset, got });
        }
        Element::new(self.row, self.ai, &value, self.at, year)
    }
}

/// Whether an error says that this was never meant as a key.
fn has_other_shape(error: &ElementError) -> bool {
    match error {
        ElementError::Length { .. } | ElementError::Character { .. } | ElementError::NotAscii { .. } => true,
        ElementError::Component { expected, .. } => *expected == Check::CompanyPrefix.expected(),
        _ => false,
    }
}

/// Whether the qualifiers are some of a sequence such as `22,10,21`, in its order.
fn is_in_order(qualifiers: &[Pair<'_>], sequence: &str) -> bool {
    let mut allowed = sequence.split(',');
    qualifiers.iter().all(|qualifier| allowed.any(|allowed| allowed == qualifier.ai))
}

/// Whether an attribute could be one more qualifier beside those in the path.
fn belongs_into_path(attribute: &Pair<'_>, qualifiers: &[Pair<'_>], allowed: &str) -> bool {
    allowed.split('|').any(|sequence| {
        is_in_order(qualifiers, sequence) && sequence.split(',').any(|allowed| allowed == attribute.ai)
    })
}

fn out_of_order(key: &Pair<'_>, qualifiers: &[Pair<'_>], allowed: &str) -> Finding {
    let got: Vec<&str> = qualifiers.iter().map(|qualifier| qualifier.ai).collect();
    let got = got.join(", ");
    let message = if allowed.is_empty() {
        alloc::format!("behind AI {} the path of a Digital Link ends, got AI {got}", key.ai)
    } else {
        let allowed = allowed.replace(',', ", ").replace('|', " or ");
        alloc::format!(
            "behind AI {} the path of a Digital Link has AI {allowed} in this order, got {got}",
            key.ai
        )
    };
    Finding { code: Code::DigitalLink, message }
}

/// Without percent-encoding. A `%` that starts none stays as it is.
fn decoded(text: &str, plus: Plus) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let encoded = behind.get(..2).and_then(|hex| core::str::from_utf8(hex).ok());
        let encoded = encoded.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = encoded.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = behind;
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (b'+', _) if plus == Plus::Space => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    // What is not UTF-8 becomes a character that no value may hold.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match read(text, 2026) {
            None => "text".into(),
            Some(Link::Url(None)) => "url".into(),
            Some(Link::Url(Some(finding))) => format!("url: {}", finding.message),
            Some(Link::Bad(finding)) => format!("{}: {}", finding.code, finding.message),
            Some(Link::Gs1(elements, findings)) => {
                let elements = elements.elements().iter();
                let elements: Vec<_> = elements.map(|e| format!("{}={}", e.ai(), e.value())).collect();
                let findings: String = findings.iter().map(|f| format!(" ?{}", f.code)).collect();
                elements.join(" ") + &findings
            }
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn links() {
        check("https://id.gs1.org/01/09506000134352", "01=09506000134352");
        check("HTTPS://ID.GS1.ORG/01/09506000134352", "01=09506000134352");
        check("http://a/01/09506000134352", "01=09506000134352");
        check("https://user@[::1]:8080/a/b/01/09506000134352", "01=09506000134352");
        check(
            "https://id.gs1.org/01/09506000134352/22/2A/10/ABC%2F1/21/9+8?17=260731&3103=001250#top",
            "01=09506000134352 22=2A 10=ABC/1 21=9+8 17=260731 3103=001250",
        );
        check("https://id.gs1.org/01/09506000134352/235/X?10=L", "01=09506000134352 235=X 10=L");
        check(
            "https://id.gs1.org/00/106141411234567897?02=09506000134352&37=25&10=A",
            "00=106141411234567897 02=09506000134352 37=25 10=A",
        );
        check("https://id.gs1.org/414/9506000111117/254/DOCK-1", "414=9506000111117 254=DOCK-1");
        check("https://id.gs1.org/8006/095060001343520102/21/7", "8006=095060001343520102 21=7");
        check("https://id.gs1.org/8010/9521AB/8011/12", "8010=9521AB 8011=12");
        // A key within the stem is none; the last one counts.
        check("https://a/01/x/01/09506000134352", "01=09506000134352");
        check("https://a/01/09506000134352?&&lang=de&flag&99=A&", "01=09506000134352 99=A");
        check("https://a/01/09506000134352?", "01=09506000134352");
        check("https://a/01/09506000134352#", "01=09506000134352");
        check("https://a/8004/9520614141234567?01=09506000134352", "8004=9520614141234567 01=09506000134352");
    }

    #[test]
    fn faults_of_links() {
        check(
            "https://a/01/09506000134353",
            "check_digit: AI 01: GTIN 9506000134353 ends in check digit 3, expected 2",
        );
        let order = "digital_link: behind AI 01 the path of a Digital Link has AI 22, 10, 21 or 235 in this order, got";
        check("https://a/01/09506000134352/21/S/10/L", &format!("{order} 21, 10"));
        check("https://a/01/09506000134352/10/L/10/L", &format!("{order} 10, 10"));
        check("https://a/01/09506000134352/10/L/235/X", &format!("{order} 10, 235"));
        check("https://a/01/09506000134352/17/260731", &format!("{order} 17"));
        check(
            "https://a/00/106141411234567897/10/L",
            "digital_link: behind AI 00 the path of a Digital Link ends, got AI 10",
        );
        check(
            "https://a/01/09506000134352/10/",
            "length: AI 10 at position 31 needs 1 to 20 characters, got 0",
        );
        check(
            "https://a/01/09506000134352/10/a%20b",
            "character: AI 10 holds only characters of GS1 set 82, got ' ' at position 32",
        );
        check("https://a/01/09506000134352/10/%C3%A4", "not_ascii: 'ä' at position 31 is no ASCII character");
        check(
            "https://a/01/09506000134352/10/%00",
            "character: AI 10 holds only characters of GS1 set 82, got '\\0' at position 31",
        );
        check("https://a/01/09506000134352?17=260732", "date: AI 17: 2026-07 has no day 32");
        check(
            "https://a/01/09506000134352?999=1",
            "unknown_ai: no known application identifier at position 28: \"999\"",
        );
        check(
            "https://a/01/09506000134352?a=b&98=",
            "length: AI 98 at position 35 needs 1 to 90 characters, got 0",
        );
        check(
            "https://a/01/09506000134352?99=a+b",
            "character: AI 99 holds only characters of GS1 set 82, got ' ' at position 32",
        );
        check(
            "https://a/01/09506000134352?99=a&99=b",
            "conflict: AI 99 \"b\" contradicts AI 99 \"a\" on the same label",
        );
    }

    /// Nothing about the value is in doubt, so the label stays of use.
    #[test]
    fn qualifiers_in_the_query_are_used_with_a_warning() {
        check("https://a/01/09506000134352?10=L", "01=09506000134352 10=L ?misplaced_qualifier");
        check("https://a/01/09506000134352/10/L?21=S", "01=09506000134352 10=L 21=S ?misplaced_qualifier");
        check("https://a/00/106141411234567897?21=S", "00=106141411234567897 21=S ?misplaced_qualifier");
    }

    #[test]
    fn ordinary_urls() {
        for url in [
            "https://example.com",
            "https://example.com/",
            "http://example.com?01=09506000134352",
            "https://example.com/product/4711?color=red#reviews",
            "https://example.com/2024/01/15",
            "https://example.com/2024/01/15/post",
            "https://example.com/401/no",
            "https://example.com/gtin/09506000134352",
            "https://a/01/09506000134352/",
            "https://a/01/09506000134352/reviews",
            "https://a/01/09506000134352/89/ABC",
            "https://a/01//09506000134352",
            "HtTps://id.gs1.org/01/09506000134352",
            "https://id.gs1.org/ARHKVAdpQg",
            "https://例え.jp/01",
        ] {
            check(url, "url");
        }
        check("https://a/01/9506000134352", "url: AI 01 at position 13 needs 14 characters, got 13");
    }

    #[test]
    fn what_is_no_url() {
        for text in [
            "",
            "https://",
            "https:///01/09506000134352",
            "ftp://a/b",
            "a://b",
            "://",
            "https:/a",
            "see https://a",
            "https://a b/",
        ] {
            check(text, "text");
        }
    }
}
