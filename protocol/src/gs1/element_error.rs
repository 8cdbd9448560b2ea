//! Why data are no element string.

use alloc::string::String;
use core::fmt;

use super::date::DateError;
use super::finding::Code;
use super::key::KeyError;

/// Why data are no element string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// No data at all.
    #[error("the code holds no data")]
    Empty,
    /// GS1 data are ASCII.
    #[error("{got:?} at position {at} is no ASCII character")]
    NotAscii {
        /// Position in bytes.
        at: usize,
        /// The character.
        got: char,
    },
    /// No identifier of our table starts here.
    #[error("no known application identifier at position {at}: {found:?}")]
    UnknownAi {
        /// Position in bytes.
        at: usize,
        /// The next four characters.
        found: String,
    },
    /// A separator without an element before it.
    #[error("separator at position {at} where an application identifier should be")]
    Separator {
        /// Position in bytes.
        at: usize,
    },
    /// Too few or too many characters; too many often means that the GS behind the value is missing.
    #[error("AI {ai} at position {at} needs {} characters, got {got}", Lengths(.min, .max))]
    Length {
        /// The identifier.
        ai: String,
        /// Position of the value.
        at: usize,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// A character that does not belong into this value.
    #[error("AI {ai} holds only {set}, got {got:?} at position {at}")]
    Character {
        /// The identifier.
        ai: String,
        /// Position in bytes.
        at: usize,
        /// The offending character.
        got: char,
        /// What may stand there, in words.
        set: &'static str,
    },
    /// The value is no key.
    #[error("AI {ai}")]
    Key {
        /// The identifier.
        ai: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The value is no date.
    #[error("AI {ai}")]
    Date {
        /// The identifier.
        ai: String,
        /// Why.
        #[source]
        source: DateError,
    },
    /// A part of the value is not what the identifier says.
    #[error("AI {ai}: {got:?} at position {at} is not {expected}")]
    Component {
        /// The identifier.
        ai: String,
        /// Position in bytes.
        at: usize,
        /// The part.
        got: String,
        /// What it should be, in words.
        expected: &'static str,
        /// How it is reported.
        code: Code,
    },
    /// Two values for one thing: which of them would be booked?
    #[error("AI {ai} {value:?} contradicts AI {first_ai} {first_value:?} on the same label")]
    Conflict {
        /// The earlier identifier.
        first_ai: String,
        /// Its value.
        first_value: String,
        /// The later identifier: the same, or one that differs in decimals only.
        ai: String,
        /// Its value.
        value: String,
    },
}

impl ElementError {
    /// How it is reported.
    pub fn code(&self) -> Code {
        match self {
            ElementError::Empty => Code::Empty,
            ElementError::NotAscii { .. } => Code::NotAscii,
            ElementError::UnknownAi { .. } => Code::UnknownAi,
            ElementError::Separator { .. } => Code::Separator,
            ElementError::Length { .. } => Code::Length,
            ElementError::Character { .. } => Code::Character,
            ElementError::Key { .. } => Code::CheckDigit,
            ElementError::Date { .. } => Code::Date,
            ElementError::Component { code, .. } => *code,
            ElementError::Conflict { .. } => Code::Conflict,
        }
    }
}

/// "14" or "1 to 20".
struct Lengths<'a>(&'a usize, &'a usize);

impl fmt::Display for Lengths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(min, max) = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min} to {max}") }
    }
}
