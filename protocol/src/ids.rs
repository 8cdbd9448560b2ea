//! Names and counters: one newtype each, checked when made, so that no `Epoch` is a `Sequence` by accident.

use alloc::string::String;
use core::fmt;

/// Why a text is no valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Longer than the kind allows, or empty.
    #[error("{kind} must have {min} to {max} characters, got {got}")]
    Length {
        /// Which id was being made.
        kind: &'static str,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// How many came.
        got: usize,
    },
    /// A character outside the kind's set.
    #[error("{kind} may hold only {allowed}, got {got:?} at position {at}")]
    Character {
        /// Which id was being made.
        kind: &'static str,
        /// The set, in words.
        allowed: &'static str,
        /// The offending character.
        got: char,
        /// Its position, counted from 0.
        at: usize,
    },
    /// An epoch is 32 hexadecimal digits.
    #[error("an epoch is 32 hexadecimal digits, got {got:?}")]
    Epoch {
        /// What came.
        got: String,
    },
}

fn check(
    kind: &'static str,
    text: &str,
    (min, max): (usize, usize),
    allowed: (&'static str, fn(char) -> bool),
) -> Result<(), IdError> {
    let got = text.chars().count();
    if got < min || got > max {
        return Err(IdError::Length { kind, min, max, got });
    }
    match text.chars().enumerate().find(|(_, c)| !allowed.1(*c)) {
        Some((at, got)) => Err(IdError::Character { kind, allowed: allowed.0, got, at }),
        None => Ok(()),
    }
}

/// MQTT identity: no `+ # /` (wildcards and separators defeat access rules, CVE-2017-7650), no `.` (some brokers
/// map it to `/`), lower case only so that two boxes never differ by case.
const TOPIC_SAFE: (&str, fn(char) -> bool) =
    ("a-z, 0-9 and -", |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
/// A site also stands in topics; upper case is usual for warehouse codes.
const SITE_SAFE: (&str, fn(char) -> bool) =
    ("A-Z, a-z, 0-9, - and _", |c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
/// A code people print and scan: visible ASCII. `/` separates site from location in other systems' codes.
const CODE: (&str, fn(char) -> bool) = ("visible ASCII without /", |c| c.is_ascii_graphic() && c != '/');
/// Text keyed by others: no control characters, which would forge log lines and terminal commands.
const TEXT: (&str, fn(char) -> bool) = ("printable characters", |c| !c.is_control());

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $min:literal..=$max:literal, $set:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Most characters.
            pub const LENGTH_MAX: usize = $max;

            /// Checks length and characters.
            ///
            /// # Errors
            /// [`IdError`] says what was expected and what came.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check($kind, &text, ($min, $max), $set)?;
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// The program on one edge box; also its MQTT client identifier and certificate name.
    AgentId, "agent id", 3..=64, TOPIC_SAFE
);
text_id!(
    /// One warehouse or store.
    SiteId, "site", 1..=32, SITE_SAFE
);
text_id!(
    /// One operator's scanner, scale and lights.
    StationId, "station", 1..=48, CODE
);
text_id!(
    /// A scanner, scale or peripheral attached to an agent.
    DeviceId, "device", 1..=48, CODE
);
text_id!(
    /// A physical place within a site: a bin, a dock, a zone. The virtual ones are [`crate::Place`] variants.
    LocationId, "location", 1..=48, CODE
);
text_id!(
    /// Our stock-keeping identity; the catalogue maps barcodes to it and connectors map it to their own keys.
    ItemId, "item", 1..=64, CODE
);
text_id!(
    /// The seller's or channel's own code for an item.
    Sku, "SKU", 1..=64, TEXT
);
text_id!(
    /// A batch made together: AI 10, at most 20 characters.
    Lot, "lot", 1..=20, TEXT
);
text_id!(
    /// One single instance: AI 21, at most 20 characters.
    SerialNumber, "serial number", 1..=20, TEXT
);
text_id!(
    /// Who worked: a badge number or name.
    OperatorId, "operator", 1..=48, TEXT
);
text_id!(
    /// A document of another system: order, purchase order, delivery note.
    Reference, "reference", 1..=64, TEXT
);
text_id!(
    /// Why stock is adjusted, scrapped or returned: a word of the site's choice, as on its reason barcode.
    Reason, "reason", 1..=32, TEXT
);
text_id!(
    /// A marketplace, webshop or shop that sells.
    ChannelId, "channel", 1..=32, TOPIC_SAFE
);
text_id!(
    /// A customer for whom stock is kept apart: the key of the ERP or CRM.
    AccountId, "account", 1..=64, TEXT
);
text_id!(
    /// One thread from the first scan or order to the last acknowledgement.
    CorrelationId, "correlation id", 1..=128, TEXT
);

/// One life of a journal: 128 random bits, made with it and never reused. Not comparable for order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch([u8; 16]);

impl Epoch {
    /// From 16 bytes of the operating system's random source.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From 32 hexadecimal digits, as `Display` prints them.
    ///
    /// # Errors
    /// [`IdError::Epoch`] when the text is anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let fault = || IdError::Epoch { got: text.chars().take(64).collect() };
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fault());
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| fault())?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// Position in one epoch: 1, 2, 3 ... without holes; 0 = none yet. As a watermark: everything up to here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// No event yet.
    pub const NONE: Sequence = Sequence(0);

    /// Wraps a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after; `None` after 2^64 - 1, which at a million scans a second is half a million years away.
    pub const fn next(self) -> Option<Sequence> {
        match self.0.checked_add(1) {
            Some(number) => Some(Sequence(number)),
            None => None,
        }
    }

    /// `count` further on, or `None` past the end of the counter.
    pub const fn checked_add(self, count: u64) -> Option<Sequence> {
        match self.0.checked_add(count) {
            Some(number) => Some(Sequence(number)),
            None => None,
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence({})", self.0)
    }
}

/// The identity of a recorded fact, everywhere and for ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MovementId {
    /// Whose journal.
    pub agent: AgentId,
    /// Which life of it.
    pub epoch: Epoch,
    /// Which entry; never 0.
    pub sequence: Sequence,
}

impl MovementId {
    /// Reads `agent/epoch/sequence`, as `Display` prints it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let agent = AgentId::new(parts.next()?).ok()?;
        let epoch = Epoch::parse(parts.next()?).ok()?;
        let sequence = Sequence(parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self { agent, epoch, sequence })
    }
}

impl fmt::Display for MovementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.agent, self.epoch, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn identities_that_defeat_topic_rules_are_refused() {
        for text in ["#", "+", "a/b/c", "a.b.c", "Box-1", "$sys", "box\0", "bo", &"x".repeat(65), "böx"] {
            assert!(AgentId::new(text).is_err(), "{text:?}");
        }
        assert_eq!(AgentId::new("box-ham-01").map(|id| id.to_string()), Ok("box-ham-01".into()));
    }

    #[test]
    fn control_characters_never_enter_text() {
        assert_eq!(
            Reference::new("PO\n1").unwrap_err().to_string(),
            "reference may hold only printable characters, got '\\n' at position 2"
        );
    }

    #[test]
    fn movement_id_prints_and_reads_back() {
        let id = MovementId {
            agent: AgentId::new("box-ham-01").unwrap(),
            epoch: Epoch::from_bytes([0xab; 16]),
            sequence: Sequence::new(42),
        };
        assert_eq!(MovementId::parse(&id.to_string()), Some(id.clone()));
        assert_eq!(MovementId::parse("box-ham-01/xyz/1"), None);
        assert_eq!(MovementId::parse(&(id.to_string() + "/1")), None);
    }

    #[test]
    fn the_counter_ends_instead_of_wrapping() {
        assert_eq!(Sequence::new(u64::MAX - 1).next(), Some(Sequence::new(u64::MAX)));
        assert_eq!(Sequence::new(u64::MAX).next(), None);
    }
}
