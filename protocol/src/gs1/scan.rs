//! One read of a scanner, understood.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::command::{self, Command, LocationCode, Ours};
use super::element::{Element, ElementError, ElementString};
use super::finding::{Code, Finding};
use super::key::{Gtin, KeyError};
use super::symbology::{self, Content, Symbology};

/// The largest symbol there is, a QR Code of 7089 digits, and its AIM identifier. More is noise on the line.
pub const SCAN_BYTES_MAX: usize = 7089 + 3;

/// What one read means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    raw: Vec<u8>,
    symbology: Option<Symbology>,
    read: ReadOut,
}

/// What the data were taken for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// GS1 element strings; see [`Scan::element_string`].
    Gs1,
    /// A GTIN alone: EAN-8, EAN-13, UPC-A, ITF-14.
    Ean(Gtin),
    /// Text that the catalogue may know; also any URL.
    Plain(String),
    /// One of our command barcodes.
    Command(Command),
    /// A place: one of our location barcodes, or AI 414 with 254.
    Location(LocationCode),
    /// Not to be used; the findings say why.
    Error,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct ReadOut {
    kind: Kind,
    /// Empty unless the carrier is GS1 and the data are in order.
    elements: ElementString,
    findings: Vec<Finding>,
}

/// Understands one read: the bytes between the scanner's configured prefix and suffix, control characters and AIM
/// identifier included. `year` is the current one, for the century of dates.
pub fn interpret(raw: &[u8], year: u16) -> Scan {
    let (symbology, data) = Symbology::split(raw);
    let read = read(raw, symbology, data, year).unwrap_or_else(|error| ReadOut {
        kind: Kind::Error,
        elements: ElementString::default(),
        findings: alloc::vec![error],
    });
    Scan { raw: raw.to_vec(), symbology, read }
}

impl Scan {
    /// The bytes as they came, AIM identifier included.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same for people and JSON: as UTF-8, else as Latin-1, so that no byte goes lost.
    pub fn raw_text(&self) -> String {
        text_of(&self.raw)
    }

    /// The text without its AIM identifier: what the catalogue is asked for.
    pub fn data_text(&self) -> String {
        text_of(Symbology::split(&self.raw).1)
    }

    /// What was scanned; `None` when the scanner sends no AIM identifier, or one that we do not know.
    pub fn symbology(&self) -> Option<Symbology> {
        self.symbology
    }

    /// The AIM identifier, such as `]C1`.
    pub fn aim(&self) -> Option<&str> {
        self.symbology.and_then(|_| core::str::from_utf8(self.raw.get(..3)?).ok())
    }

    /// What it was taken for.
    pub fn kind(&self) -> &Kind {
        &self.read.kind
    }

    /// Its elements; none unless it is GS1.
    pub fn elements(&self) -> &[Element] {
        self.read.elements.elements()
    }

    /// Its elements by name.
    pub fn element_string(&self) -> &ElementString {
        &self.read.elements
    }

    /// The trade item scanned. Not the content of a licence plate, which is
    /// [`ElementString::content_gtin`]; never set for a refused scan.
    pub fn gtin(&self) -> Option<Gtin> {
        match self.read.kind {
            Kind::Ean(gtin) => Some(gtin),
            _ => self.read.elements.gtin(),
        }
    }

    /// What there is to say about it. Exactly a refused scan has one of severity error.
    pub fn findings(&self) -> &[Finding] {
        &self.read.findings
    }

    /// Whether it must not be used.
    pub fn is_refused(&self) -> bool {
        self.read.kind == Kind::Error
    }
}

impl Kind {
    /// The stable name, for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Gs1 => "gs1",
            Kind::Ean(_) => "ean",
            Kind::Plain(_) => "plain",
            Kind::Command(_) => "command",
            Kind::Location(_) => "location",
            Kind::Error => "error",
        }
    }
}

impl ReadOut {
    fn plain(text: String) -> Self {
        Self { kind: Kind::Plain(text), elements: ElementString::default(), findings: Vec::new() }
    }

    fn ean(gtin: Gtin, digits: &str) -> Self {
        let this = Self { kind: Kind::Ean(gtin), elements: ElementString::default(), findings: Vec::new() };
        if !is_restricted(digits) {
            return this;
        }
        this.with(
            Code::RestrictedCirculation,
            "the number is for use inside one company or country: others use it for other things",
        )
    }

    fn with(mut self, code: Code, message: impl Into<String>) -> Self {
        self.findings.push(Finding { code, message: message.into() });
        self
    }
}

fn read(raw: &[u8], symbology: Option<Symbology>, data: &[u8], year: u16) -> Result<ReadOut, Finding> {
    if data.is_empty() {
        return Err(Finding { code: Code::Empty, message: "the code holds no data".into() });
    }
    if raw.len() > SCAN_BYTES_MAX {
        let message = alloc::format!("{} bytes are more than any symbol holds ({SCAN_BYTES_MAX})", raw.len());
        return Err(Finding { code: Code::TooLong, message });
    }
    let text = text_of(data);
    let Some(symbology) = symbology else {
        return bare(text, raw);
    };
    match symbology.content() {
        Content::ElementString => element_string(&text, year),
        Content::Ean13 => ean(symbology, &text, &[12, 13]),
        Content::Ean8 => ean(symbology, &text, &[8]),
        Content::Ean13WithAddOn => ean_with_add_on(symbology, &text),
        Content::Itf14 => itf(text),
        Content::Text => ours_or_plain(text),
    }
}

/// Nobody vouches for anything, so nothing is guessed but a GTIN, and that with a warning.
fn bare(text: String, raw: &[u8]) -> Result<ReadOut, Finding> {
    if matches!(text.len(), 8 | 12 | 13 | 14) {
        match Gtin::parse(&text) {
            Ok(gtin) => {
                let message =
                    "taken as a GTIN by its length and check digit: switch the scanner's AIM identifiers on";
                return Ok(ReadOut::ean(gtin, &text).with(Code::NoAimIdentifier, message));
            }
            Err(error @ KeyError::CheckDigit { .. }) => {
                return Ok(ReadOut::plain(text).with(Code::NotGtin, describe(&error)));
            }
            Err(_) => {}
        }
    }
    let mut read = ours_or_plain(text)?;
    if symbology::looks_like_aim(raw) {
        read = read
            .with(Code::UnknownAim, "starts like an AIM identifier, but is none that we know: taken as text");
    }
    if raw.contains(&0x1d) {
        let message =
            "holds GS, but no AIM identifier says that it is GS1: switch the scanner's AIM identifiers on";
        read = read.with(Code::UnmarkedGs1, message);
    }
    Ok(read)
}

fn ours_or_plain(text: String) -> Result<ReadOut, Finding> {
    let kind = match command::read(&text) {
        None => Kind::Plain(text),
        Some(Ok(Ours::Command(command))) => Kind::Command(command),
        Some(Ok(Ours::Location(location))) => Kind::Location(location),
        Some(Err(error)) => return Err(Finding { code: Code::Command, message: describe(&error) }),
    };
    Ok(ReadOut { kind, elements: ElementString::default(), findings: Vec::new() })
}

fn element_string(text: &str, year: u16) -> Result<ReadOut, Finding> {
    let elements = ElementString::parse(text, year)
        .map_err(|error| Finding { code: code_of(&error), message: describe(&error) })?;
    let findings = elements.pairing();
    let names_goods = ["00", "01", "02"].iter().any(|ai| elements.get(ai).is_some());
    let kind = match elements.location() {
        Some(gln) if !names_goods => {
            let code = elements.location_extension().map_or_else(|| gln.to_string(), String::from);
            Kind::Location(LocationCode { code, gln: Some(gln) })
        }
        _ => Kind::Gs1,
    };
    Ok(ReadOut { kind, elements, findings })
}

fn ean(symbology: Symbology, digits: &str, lengths: &[usize]) -> Result<ReadOut, Finding> {
    if !lengths.contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // The last is what the symbology promises; before it stands what scanners send instead.
        let expected = lengths.last().copied().unwrap_or_default();
        let message = alloc::format!("{symbology} promises {expected} digits, got {:?}", cut(digits));
        return Err(Finding { code: Code::Symbology, message });
    }
    match Gtin::parse(digits) {
        Ok(gtin) => Ok(ReadOut::ean(gtin, digits)),
        Err(error) => Err(Finding { code: Code::CheckDigit, message: describe(&error) }),
    }
}

fn ean_with_add_on(symbology: Symbology, text: &str) -> Result<ReadOut, Finding> {
    match (text.get(..13), text.get(13..)) {
        (Some(digits), Some(add_on)) if matches!(add_on.len(), 2 | 5) => {
            let message = alloc::format!("the add-on {add_on:?} is no part of the GTIN");
            Ok(ean(symbology, digits, &[13])?.with(Code::AddOnIgnored, message))
        }
        _ => {
            let message =
                alloc::format!("{symbology} promises 13 digits and 2 or 5 more, got {:?}", cut(text));
            Err(Finding { code: Code::Symbology, message })
        }
    }
}

/// Interleaved 2 of 5 is also used for other numbers, so one that does not check is text, not a fault.
fn itf(text: String) -> Result<ReadOut, Finding> {
    if text.len() != 14 {
        return ours_or_plain(text);
    }
    match Gtin::parse(&text) {
        Ok(gtin) => Ok(ReadOut::ean(gtin, &text)),
        Err(error) => Ok(ReadOut::plain(text).with(Code::NotGtin, describe(&error))),
    }
}

/// Prefixes 02 and 20 to 29, or 0 and 2 of eight digits, are handed out by nobody.
fn is_restricted(digits: &str) -> bool {
    match digits.len() {
        8 => digits.starts_with(['0', '2']),
        12 => digits.starts_with('2'),
        13 => digits.starts_with("02") || digits.starts_with('2'),
        _ => digits.starts_with("002") || digits.starts_with("02"),
    }
}

fn code_of(error: &ElementError) -> Code {
    match error {
        ElementError::Empty => Code::Empty,
        ElementError::NotAscii { .. } => Code::NotAscii,
        ElementError::UnknownAi { .. } => Code::UnknownAi,
        ElementError::Separator { .. } => Code::Separator,
        ElementError::Length { .. } => Code::Length,
        ElementError::Character { .. } => Code::Character,
        ElementError::Key { .. } => Code::CheckDigit,
        ElementError::Date { .. } => Code::Date,
        ElementError::Conflict { .. } => Code::Conflict,
    }
}

/// An error and its causes on one line.
fn describe(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

/// As much of a text as a message needs.
fn cut(text: &str) -> &str {
    text.char_indices().nth(32).map_or(text, |(at, _)| &text[..at])
}

fn text_of(bytes: &[u8]) -> String {
    match core::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        // What scanners send when a symbol declares nothing else.
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}
