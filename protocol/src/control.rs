//! What is said about the stream of events: acknowledgements, state, commands, and the catalogue.

use alloc::string::String;
use alloc::vec::Vec;

use crate::gs1::Gtin;
use crate::{AgentId, Digest, Epoch, ItemId, LocationId, Lot, Quantity, Sequence, SiteId, Uom};

/// The gateway's word, sent after its database commit: everything up to the watermark is durable there.
///
/// It is cumulative. A watermark below what an agent has sent tells it to go back and send again from there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Of which journal life; an agent ignores any other.
    pub epoch: Epoch,
    /// Last committed sequence; 0 = none.
    pub watermark: Sequence,
    /// Of everything committed: an agent whose own events up to there have another digest must not forget any.
    pub digest: Digest,
    /// Why the gateway does not go further, when it does not.
    pub refusal: Option<Refusal>,
}

/// Why a batch was not taken. It is kept at the gateway as a dead letter and at the agent in its journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The batch starts above the watermark: events are missing, send from the watermark.
    Gap,
    /// The gateway cannot read this wire version; it needs an update.
    Version,
    /// The bytes are no valid batch.
    Malformed,
    /// An identity came again with other bytes: two boxes with one identity, or a restored journal.
    Conflict,
    /// The gateway does not know this agent's site. Nothing of it is taken, so that its journal can still begin at the
    /// right one.
    Unknown,
}

/// Retained at `up/state`: the birth message of an agent, or its last will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// Who.
    pub agent: AgentId,
    /// Alive or gone.
    pub kind: StateKind,
}

/// Whether the agent is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateKind {
    /// Connected, and how it stands.
    Online {
        /// Life of its journal.
        epoch: Epoch,
        /// Last sequence recorded.
        head: Sequence,
        /// Last sequence that it knows to be committed at the gateway.
        watermark: Sequence,
        /// Which start of the box, counted by the journal.
        boot: u32,
        /// Monotonic milliseconds since that start: with `unix_ms` it dates events of an unsynchronised clock.
        uptime_ms: u64,
        /// Wall clock, milliseconds since 1970-01-01 UTC.
        unix_ms: i64,
        /// Whether the wall clock is synchronised.
        clock_synced: bool,
        /// Software version of the agent.
        software: String,
    },
    /// Stopped cleanly.
    Stopped,
    /// The broker's word, from the last will: the connection broke.
    Lost,
}

/// A request to an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Chosen by the gateway; the reply repeats it.
    pub id: u64,
    /// What to do.
    pub body: CommandBody,
}

/// What an agent can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandBody {
    /// Answer, so that the way there and back is known to work.
    Ping,
    /// Send the journal again from after this sequence.
    Resend {
        /// Life of the journal.
        epoch: Epoch,
        /// Last sequence not to send.
        after: Sequence,
    },
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Of the command.
    pub id: u64,
    /// How it went.
    pub result: ReplyResult,
}

/// How a command went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplyResult {
    /// Done.
    Done,
    /// Refused, and why, for a person to read.
    Refused(String),
}

/// What an agent needs to know about goods and places: one part of a versioned snapshot.
///
/// A snapshot is complete when all parts of one revision have come; an older revision never overwrites a newer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalogue {
    /// Grows with every change.
    pub revision: u64,
    /// This part, counted from 0.
    pub part: u32,
    /// How many parts the revision has; at least 1.
    pub parts: u32,
    /// For which site.
    pub site: SiteId,
    /// Items, by id.
    pub items: Vec<CatalogueItem>,
    /// Locations of the site.
    pub locations: Vec<LocationId>,
    /// `None`: this is (part of) a snapshot.
    pub since: Option<CatalogueSince>,
}

/// What makes a [`Catalogue`] message changes, and what they take away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueSince {
    /// The snapshot's revision. The changes name every item and location touched since then, so they may be put onto
    /// that snapshot or onto any earlier changes of it.
    pub revision: u64,
    /// Items that are no longer there.
    pub items: Vec<ItemId>,
    /// Locations that are no longer there.
    pub locations: Vec<LocationId>,
}

/// One item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueItem {
    /// Our identity.
    pub id: ItemId,
    /// For the station's screen.
    pub name: String,
    /// The unit in which it is booked.
    pub uom: Uom,
    /// GTINs that mean one `uom` of it.
    pub gtins: Vec<Gtin>,
    /// Other codes that mean it, byte for byte.
    pub codes: Vec<String>,
    /// What must be asked and checked when it moves.
    pub rules: ItemRules,
}

/// What must be asked and checked when an item moves. The default asks nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ItemRules {
    /// Each movement must name its lot.
    pub lot: bool,
    /// Each movement must name its serial number.
    pub serial: bool,
    /// Each movement must name its last usable day.
    pub expiry: bool,
    /// What one piece weighs.
    pub piece_weight: Option<PieceWeight>,
    /// Lots that the maker has called back.
    pub recalled: Vec<Lot>,
    /// GTINs of packs: so many `uom` of it.
    pub packs: Vec<(Gtin, u32)>,
}

/// What one piece weighs, and how far it may be off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PieceWeight {
    /// Net; above zero, in kg, g or lb.
    pub expected: Quantity,
    /// Steps of the same unit above and below; zero or more.
    pub tolerance_steps: i64,
}
