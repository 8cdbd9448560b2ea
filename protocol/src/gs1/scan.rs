//! One read of a scanner, understood.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::command::{self, Command, LocationCode, Ours};
use super::decimal::Decimal;
use super::digital_link::{self, Link};
use super::element::{Element, ElementString};
use super::element_error::ElementError;
use super::finding::{Code, Finding};
use super::key::Gtin;
use super::retail;
use super::symbology::{self, Content, Symbology};
use super::variable_measure::{Variable, VariableMeasure, VariableRules};

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
    /// The same in a URL; see [`Scan::element_string`].
    DigitalLink,
    /// A GTIN alone: EAN-8, EAN-13, UPC-A, UPC-E, ITF-14.
    Ean(Gtin),
    /// Text that the catalogue may know.
    Plain(String),
    /// A URL that is no GS1 Digital Link.
    Url(String),
    /// One of our command barcodes.
    Command(Command),
    /// A place: one of our location barcodes, or AI 414 with 254, in a label or a Digital Link.
    Location(LocationCode),
    /// Not to be used; the findings say why.
    Error,
}

/// What a scan alone does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The current one, for the century of dates.
    pub year: u16,
    /// By which rules numbers of variable measure are read; `None`: not at all, they are numbers like any other.
    pub variable: Option<&'static VariableRules>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ReadOut {
    kind: Kind,
    /// Empty unless the carrier is GS1 and the data are in order.
    elements: ElementString,
    variable: Option<Variable>,
    findings: Vec<Finding>,
}

/// Understands one read: the bytes between the scanner's configured prefix and suffix, control characters and AIM
/// identifier included. `year` is the current one, for the century of dates.
pub fn interpret(raw: &[u8], year: u16) -> Scan {
    interpret_with(raw, Context { year, variable: None })
}

/// The same for a site that has more to say.
pub fn interpret_with(raw: &[u8], context: Context) -> Scan {
    let (symbology, _) = Symbology::split(raw);
    let read = read(raw, symbology, context.year);
    let read = read.unwrap_or_else(|error| ReadOut::new(Kind::Error).and(error));
    Scan { raw: raw.to_vec(), symbology, read: read.with_variable(context.variable) }
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

    /// The text without its AIM identifier and without escapes for its character set: what the catalogue is asked for.
    pub fn data_text(&self) -> String {
        data_of(&self.raw)
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

    /// The trade item scanned; of a number of variable measure, the item that the piece is one of. Not the content of
    /// a licence plate, which is [`ElementString::content_gtin`]; never set for a refused scan.
    pub fn gtin(&self) -> Option<Gtin> {
        match (self.read.variable, &self.read.kind) {
            (Some(variable), _) => Some(variable.item),
            (None, Kind::Ean(gtin)) => Some(*gtin),
            (None, _) => self.read.elements.gtin(),
        }
    }

    /// What the piece weighs without its packaging: AI 310n, or inside a number of variable measure.
    pub fn net_weight_kg(&self) -> Option<Decimal> {
        match self.read.variable.map(|variable| variable.measure) {
            Some(VariableMeasure::Weight(kg)) => Some(kg),
            _ => self.read.elements.net_weight_kg(),
        }
    }

    /// How many pieces: AI 37, AI 30, or inside a number of variable measure.
    pub fn count(&self) -> Option<u32> {
        match self.read.variable.map(|variable| variable.measure) {
            Some(VariableMeasure::Count(count)) => Some(count),
            _ => self.read.elements.count().or_else(|| self.read.elements.variable_count()),
        }
    }

    /// What a number of variable measure says, when the context named the rules and they know its prefix.
    pub fn variable(&self) -> Option<Variable> {
        self.read.variable
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
            Kind::DigitalLink => "digital_link",
            Kind::Ean(_) => "ean",
            Kind::Plain(_) => "plain",
            Kind::Url(_) => "url",
            Kind::Command(_) => "command",
            Kind::Location(_) => "location",
            Kind::Error => "error",
        }
    }
}

impl ReadOut {
    fn new(kind: Kind) -> Self {
        Self { kind, elements: ElementString::default(), variable: None, findings: Vec::new() }
    }

    pub(super) fn plain(text: String) -> Self {
        Self::new(Kind::Plain(text))
    }

    /// `digits` as scanned, expanded or not.
    pub(super) fn ean(gtin: Gtin, digits: &str) -> Self {
        let this = Self::new(Kind::Ean(gtin));
        if !retail::is_restricted(gtin, digits) {
            return this;
        }
        this.with(
            Code::RestrictedCirculation,
            "the number is for use inside one company or country: others use it for other things",
        )
    }

    pub(super) fn with(self, code: Code, message: impl Into<String>) -> Self {
        self.and(Finding { code, message: message.into() })
    }

    fn and(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    fn with_variable(mut self, rules: Option<&VariableRules>) -> Self {
        let Kind::Ean(gtin) = self.kind else {
            return self;
        };
        match rules.and_then(|rules| rules.read(gtin)) {
            None => self,
            Some(Ok(variable)) => {
                self.variable = Some(variable);
                // Its circle is the one that the site's rules are for.
                self.findings.retain(|finding| finding.code != Code::RestrictedCirculation);
                self
            }
            Some(Err(error)) => self.with(Code::VariableMeasure, describe(&error)),
        }
    }
}

fn read(raw: &[u8], symbology: Option<Symbology>, year: u16) -> Result<ReadOut, Finding> {
    if raw.len() > SCAN_BYTES_MAX {
        let message = alloc::format!("{} bytes are more than any symbol holds ({SCAN_BYTES_MAX})", raw.len());
        return Err(Finding { code: Code::TooLong, message });
    }
    let text = data_of(raw);
    if text.is_empty() {
        return Err(Finding { code: Code::Empty, message: "the code holds no data".into() });
    }
    let Some(symbology) = symbology else {
        return bare(text, raw, year);
    };
    match symbology.content() {
        Content::ElementString => {
            let elements = ElementString::parse(&text, year).map_err(|error| finding_of(&error))?;
            Ok(gs1(elements, Kind::Gs1))
        }
        Content::Ean13 => retail::ean_13(symbology, &text),
        Content::Ean8 => retail::ean_8(symbology, &text),
        Content::Ean13WithAddOn => retail::ean_13_with_add_on(symbology, &text),
        Content::Itf14 => retail::itf(text),
        Content::Text => any_text(text, year),
    }
}

/// Nobody vouches for anything, so nothing is guessed but a GTIN, and that with a warning.
fn bare(text: String, raw: &[u8], year: u16) -> Result<ReadOut, Finding> {
    if let Some(read) = retail::bare(&text) {
        return Ok(read);
    }
    let mut read = any_text(text, year)?;
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

/// Text says itself what it is: one of our barcodes, a URL, or just text.
fn any_text(text: String, year: u16) -> Result<ReadOut, Finding> {
    match command::read(&text) {
        Some(Ok(Ours::Command(command))) => return Ok(ReadOut::new(Kind::Command(command))),
        Some(Ok(Ours::Location(location))) => return Ok(ReadOut::new(Kind::Location(location))),
        Some(Err(error)) => return Err(Finding { code: Code::Command, message: describe(&error) }),
        None => {}
    }
    match digital_link::read(&text, year) {
        None => Ok(ReadOut::plain(text)),
        Some(Link::Url(finding)) => {
            let read = ReadOut::new(Kind::Url(text));
            Ok(if let Some(finding) = finding { read.and(finding) } else { read })
        }
        Some(Link::Gs1(elements, findings)) => {
            let mut read = gs1(elements, Kind::DigitalLink);
            read.findings.splice(0..0, findings);
            Ok(read)
        }
        Some(Link::Bad(finding)) => Err(finding),
    }
}

fn gs1(elements: ElementString, kind: Kind) -> ReadOut {
    let names_goods = ["00", "01", "02", "03", "8006", "8026"].iter().any(|ai| elements.get(ai).is_some());
    let kind = match elements.location() {
        Some(gln) if !names_goods => {
            let code = elements.location_extension().map_or_else(|| gln.to_string(), String::from);
            Kind::Location(LocationCode { code, gln: Some(gln) })
        }
        _ => kind,
    };
    ReadOut { findings: elements.pairing(), elements, ..ReadOut::new(kind) }
}

/// What is wrong with an element, for a scan's findings.
pub(super) fn finding_of(error: &ElementError) -> Finding {
    Finding { code: error.code(), message: describe(error) }
}

/// An error and its causes on one line.
pub(super) fn describe(error: &dyn core::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

fn data_of(raw: &[u8]) -> String {
    match symbology::without_eci(raw) {
        Some(data) => text_of(&data),
        None => text_of(Symbology::split(raw).1),
    }
}

fn text_of(bytes: &[u8]) -> String {
    match core::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        // What scanners send when a symbol declares nothing else.
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}
