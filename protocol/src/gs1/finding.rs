//! What there is to say about a scan.

use alloc::string::String;
use core::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The scan must not be used.
    Error,
    /// The scan may be used; somebody should know.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of finding; stable names for machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Code {
    /// Nothing was read.
    Empty,
    /// More bytes than any symbol holds.
    TooLong,
    /// A GS1 carrier holds bytes that are not ASCII.
    NotAscii,
    /// No application identifier starts here.
    UnknownAi,
    /// A value is shorter or longer than its identifier allows.
    Length,
    /// A value holds a character outside its set.
    Character,
    /// A check digit does not fit.
    CheckDigit,
    /// There is no such date.
    Date,
    /// A separator where an application identifier should be.
    Separator,
    /// One identifier twice with different values.
    Conflict,
    /// The digits are not what the symbology promises.
    Symbology,
    /// A part of a value is not what its identifier says: no country, no currency, no IBAN.
    Component,
    /// A GS1 Digital Link whose parts do not belong together.
    DigitalLink,
    /// `SW:` that is none of our barcodes.
    Command,
    /// An identifier needs another one that is not on this label.
    MissingPair,
    /// Two identifiers that must not stand together.
    ForbiddenPair,
    /// Taken as a GTIN without an AIM identifier to vouch for it.
    NoAimIdentifier,
    /// As long as a GTIN, but its check digit does not fit: taken as plain text.
    NotGtin,
    /// Eight digits that are an EAN-8 and a UPC-E at once: taken as plain text.
    Ambiguous,
    /// A qualifier in the query of a GS1 Digital Link that belongs into its path.
    MisplacedQualifier,
    /// A URL that is nearly a GS1 Digital Link: taken as a URL.
    NotDigitalLink,
    /// A number of variable measure that the site's rules cannot read.
    VariableMeasure,
    /// `]` and two characters that are no AIM identifier we know: taken as plain text.
    UnknownAim,
    /// GS within a code that no AIM identifier marks as GS1.
    UnmarkedGs1,
    /// The two- or five-digit add-on was left aside.
    AddOnIgnored,
    /// A number for use inside one company or country.
    RestrictedCirculation,
}

impl Code {
    /// Each code has one severity, so that no two places disagree.
    pub fn severity(self) -> Severity {
        match self {
            Code::Empty
            | Code::TooLong
            | Code::NotAscii
            | Code::UnknownAi
            | Code::Length
            | Code::Character
            | Code::CheckDigit
            | Code::Date
            | Code::Separator
            | Code::Conflict
            | Code::Symbology
            | Code::Component
            | Code::DigitalLink
            | Code::Command => Severity::Error,
            Code::MissingPair
            | Code::ForbiddenPair
            | Code::NoAimIdentifier
            | Code::NotGtin
            | Code::Ambiguous
            | Code::MisplacedQualifier
            | Code::NotDigitalLink
            | Code::VariableMeasure
            | Code::UnknownAim
            | Code::UnmarkedGs1
            | Code::AddOnIgnored
            | Code::RestrictedCirculation => Severity::Warning,
        }
    }

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Empty => "empty",
            Code::TooLong => "too_long",
            Code::NotAscii => "not_ascii",
            Code::UnknownAi => "unknown_ai",
            Code::Length => "length",
            Code::Character => "character",
            Code::CheckDigit => "check_digit",
            Code::Date => "date",
            Code::Separator => "separator",
            Code::Conflict => "conflict",
            Code::Symbology => "symbology",
            Code::Component => "component",
            Code::DigitalLink => "digital_link",
            Code::Command => "command",
            Code::MissingPair => "missing_pair",
            Code::ForbiddenPair => "forbidden_pair",
            Code::NoAimIdentifier => "no_aim_identifier",
            Code::NotGtin => "not_gtin",
            Code::Ambiguous => "ambiguous",
            Code::MisplacedQualifier => "misplaced_qualifier",
            Code::NotDigitalLink => "not_digital_link",
            Code::VariableMeasure => "variable_measure",
            Code::UnknownAim => "unknown_aim",
            Code::UnmarkedGs1 => "unmarked_gs1",
            Code::AddOnIgnored => "add_on_ignored",
            Code::RestrictedCirculation => "restricted_circulation",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing to say about a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What kind; decides the severity.
    pub code: Code,
    /// For people: the facts, and where it helps what to do.
    pub message: String,
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}
