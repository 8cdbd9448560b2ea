//! Messages set aside with their reason, byte for byte, until a person or a repaired catalogue takes them up again.
//!
//! The same content is kept once and counted. Replaying is safe at any time and any number of times: what takes
//! effect is guarded by the identity of the event or the ledger row, not by the letter.

use stockwire_protocol::{AgentId, MovementId, SiteId};

use sha2::{Digest as _, Sha256};

/// Number of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeadLetterId(pub i64);

/// Why a message was set aside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeadLetterClass {
    /// The bytes are no message of ours.
    Malformed,
    /// A wire version that this build does not read. Replay it after the update.
    Version,
    /// The payload names another agent than the topic, or the topic is none of ours.
    Identity,
    /// An identity came again with other bytes. Never applied; look at the box.
    Conflict,
    /// The event is held and its identity used up, but it names an item, a location or a unit that the catalogue
    /// does not have. Replay it after the catalogue is repaired.
    Unappliable,
    /// An ERP refused the ledger row.
    Posting,
    /// A channel refused the number.
    Publication,
    /// A channel has an order that cannot be one of ours. It is read again whenever it changes there.
    Order,
}

/// How a dead letter stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadLetterState {
    /// Waits for somebody.
    Open,
    /// Taken up again, with effect.
    Replayed,
    /// Closed without effect by a person.
    Discarded,
}

/// A message set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Its number.
    pub id: DeadLetterId,
    /// Why, for machines.
    pub class: DeadLetterClass,
    /// Why, for people.
    pub reason: String,
    /// Where it came from or was going: an MQTT topic, or the ERP's or channel's name.
    pub source: String,
    /// The message, byte for byte: a publish's payload, or an event's row, or the text of what was refused.
    pub bytes: Vec<u8>,
    /// Which agent, when known.
    pub agent: Option<(SiteId, AgentId)>,
    /// Which recorded fact, when it is about one.
    pub movement: Option<MovementId>,
    /// When it first came, unix milliseconds.
    pub first_at_ms: i64,
    /// When it last came.
    pub last_at_ms: i64,
    /// How often it came.
    pub times: u64,
    /// How it stands.
    pub state: DeadLetterState,
    /// When and by whom it was closed, and why.
    pub closed: Option<Closed>,
}

/// A message to be set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDeadLetter {
    /// Why, for machines.
    pub class: DeadLetterClass,
    /// Why, for people.
    pub reason: String,
    /// Where it came from or was going.
    pub source: String,
    /// The message, byte for byte.
    pub bytes: Vec<u8>,
    /// Which agent, when known.
    pub agent: Option<(SiteId, AgentId)>,
    /// Which recorded fact, when it is about one.
    pub movement: Option<MovementId>,
}

impl NewDeadLetter {
    /// Tells content apart: the same content is kept once. The reason is left out, so that a better worded build
    /// does not keep everything twice; lengths go in, so that no two contents run together.
    pub fn hash(&self) -> [u8; 32] {
        let movement = self.movement.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [self.class.as_str().as_bytes(), self.source.as_bytes(), movement.as_bytes(), &self.bytes]
        {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Classes by name, for configuration, metrics and the store.
const CLASSES: [(DeadLetterClass, &str); 8] = [
    (DeadLetterClass::Malformed, "malformed"),
    (DeadLetterClass::Version, "version"),
    (DeadLetterClass::Identity, "identity"),
    (DeadLetterClass::Conflict, "conflict"),
    (DeadLetterClass::Unappliable, "unappliable"),
    (DeadLetterClass::Posting, "posting"),
    (DeadLetterClass::Publication, "publication"),
    (DeadLetterClass::Order, "order"),
];

impl DeadLetterClass {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        CLASSES.iter().map(|row| row.0)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        CLASSES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        CLASSES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Whether it was refused unread: the agent still holds what is in it, so such letters may be limited.
    pub fn is_refused_unread(self) -> bool {
        matches!(self, Self::Malformed | Self::Version | Self::Identity)
    }
}

impl DeadLetterState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Replayed, Self::Discarded].into_iter().find(|state| state.as_str() == name)
    }
}

/// Letters of bytes that were refused unread, at most: enough to find the fault. Beyond it they are only counted,
/// because whoever sends garbage must not fill the disk, and their journal still holds what was in it.
pub const REFUSED_LETTERS_MAX: usize = 10_000;

/// How a dead letter was closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}
