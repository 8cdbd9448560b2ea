//! The values that pass between ingest and the store.

use stockwire_protocol::{
    Ack, AgentId, Digest, Epoch, ItemId, LocationId, MovementId, Quantity, Reference, Reply, Sequence,
    SiteId, StateKind,
};

use crate::catalogue::{ItemNo, PlaceNo};
use crate::code::{CodeKey, Codes};
use crate::dead_letter::{DeadLetterId, NewDeadLetter};
use crate::ledger::{BalanceKey, LedgerId, Transfer};
use crate::task::{KnownTask, Tally, TallyKey, TaskName, TaskState};

/// One MQTT publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The broker kept it from before: true of states, never of events.
    pub retained: bool,
}

/// What came of a group, after its commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// One for each agent and epoch of the group, in the order of arrival.
    pub acks: Vec<(SiteId, AgentId, Ack)>,
    /// Answers to commands.
    pub replies: Vec<(SiteId, AgentId, Reply)>,
    /// Agents that came online: they are to be given the catalogue.
    pub births: Vec<(SiteId, AgentId)>,
    /// For metrics.
    pub counts: Counts,
    /// What a person should hear of.
    pub alarms: Vec<Alarm>,
    /// Who has work now.
    pub affected: Affected,
}

impl Outcome {
    pub(super) fn append(&mut self, later: Outcome) {
        let Outcome { acks, replies, births, counts, alarms, affected } = later;
        self.acks.extend(acks);
        self.replies.extend(replies);
        self.births.extend(births);
        self.counts.add(&counts);
        self.alarms.extend(alarms);
        self.affected.postings |= affected.postings;
        self.affected.offers |= affected.offers;
    }
}

/// How many of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Events taken.
    pub events_new: u64,
    /// Events that were here already, byte for byte.
    pub events_duplicate: u64,
    /// Batches above the watermark.
    pub gaps: u64,
    /// Identities that came with other bytes.
    pub conflicts: u64,
    /// Publishes that are no message of ours, or not the publisher's.
    pub malformed: u64,
    /// Events held and not booked.
    pub unappliable: u64,
    /// Facts that agents had to drop.
    pub lost: u64,
    /// Batches left unanswered because the catalogue or the opening stock is not there yet.
    pub deferred: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.events_new += other.events_new;
        self.events_duplicate += other.events_duplicate;
        self.gaps += other.gaps;
        self.conflicts += other.conflicts;
        self.malformed += other.malformed;
        self.unappliable += other.unappliable;
        self.lost += other.lost;
        self.deferred += other.deferred;
    }
}

/// Who has work now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Affected {
    /// The ledger grew.
    pub postings: bool,
    /// Some channel's number may have changed.
    pub offers: bool,
}

/// What a person should hear of. Each is also kept: as a dead letter, or in the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// An identity came again with other bytes: two boxes with one identity, or a restored journal.
    Conflict {
        /// The identity.
        movement: MovementId,
    },
    /// A journal had to drop facts.
    Lost {
        /// Where it is told.
        movement: MovementId,
        /// How many.
        count: u64,
    },
    /// The books fell below zero: something left a shelf that nobody had put there.
    Negative(Negative),
    /// An event is held and not booked.
    Unappliable {
        /// Which.
        movement: MovementId,
        /// What the catalogue lacks.
        reason: String,
    },
    /// A publish was set aside.
    Refused {
        /// Where it came from.
        topic: String,
        /// Why.
        reason: String,
    },
}

/// A balance that fell below zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negative {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// Below zero.
    pub quantity: Quantity,
}

/// What came of a replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replay {
    /// It took effect now.
    Applied,
    /// It had taken effect before; the letter is closed.
    AlreadyApplied,
    /// Back among the work to be sent.
    Requeued,
    /// The letter was closed before.
    AlreadyClosed,
    /// Still not possible; the letter stays open.
    StillRefused {
        /// Why, for people.
        reason: String,
    },
}

/// One life of one journal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamKey {
    /// Whose.
    pub agent: AgentId,
    /// Which life.
    pub epoch: Epoch,
}

/// What ingest must know to decide.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Need {
    /// Streams in question, and which of their sequences have come.
    pub streams: Vec<StreamSpan>,
    /// Agents whose latest stream is wanted, because their bytes name none.
    pub latest: Vec<AgentId>,
    /// Balances, over all lots and dispositions, of counted items at counted places.
    pub shelves: Vec<(ItemNo, PlaceNo)>,
    /// An event to be looked at again.
    pub event: Option<MovementId>,
    /// Codes that an agent did not know.
    pub codes: Vec<CodeKey>,
    /// Numbers that events name: some of them are tasks.
    pub tasks: Vec<(SiteId, Reference)>,
}

/// A stretch of a stream, both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamSpan {
    /// Which stream.
    pub key: StreamKey,
    /// Lowest sequence that came.
    pub first: Sequence,
    /// Highest sequence that came.
    pub last: Sequence,
}

/// What the store knows, from within the transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// Of the catalogue; another than ingest has loaded means: decide nothing.
    pub catalogue_revision: u64,
    /// Last row of the books.
    pub ledger_head: LedgerId,
    /// As in [`Need::streams`].
    pub streams: Vec<KnownStream>,
    /// As in [`Need::latest`]; `None` = never heard.
    pub latest: Vec<Option<(Epoch, Sequence, Digest)>>,
    /// Of [`Need::shelves`]; what is missing is zero.
    pub balances: Vec<(BalanceKey, i64)>,
    /// Of [`Need::event`].
    pub event: Option<KnownEvent>,
    /// Of [`Need::codes`]; what is missing is not known here either.
    pub codes: Codes,
    /// Of [`Need::tasks`], whatever their state, and the purchase orders of announced plates among them.
    pub tasks: Vec<KnownTask>,
}

/// A stream, as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownStream {
    /// The site it belongs to, once it has begun: a journal does not change its site.
    pub site: Option<SiteId>,
    /// Last sequence held; 0 = the stream is new.
    pub watermark: Sequence,
    /// Of everything held.
    pub digest: Digest,
    /// A conflict is open: nothing more is taken from it.
    pub frozen: bool,
    /// The bytes held within the span, from its first sequence on, without holes.
    pub held: Vec<Vec<u8>>,
}

/// An event, as it is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownEvent {
    /// Where it was recorded.
    pub site: SiteId,
    /// Its row, byte for byte.
    pub bytes: Vec<u8>,
    /// Its row in the books; `None` = not applied.
    pub ledger: Option<LedgerId>,
    /// When it came here, unix milliseconds.
    pub received_at_ms: i64,
}

/// Everything that one transaction writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// Unix milliseconds.
    pub received_at_ms: i64,
    /// New or advanced streams.
    pub streams: Vec<StreamWrite>,
    /// New events, each once: the store's unique key refuses a second one, and with it the transaction.
    pub events: Vec<EventWrite>,
    /// An event held before that is applied now.
    pub applied: Option<AppliedWrite>,
    /// New rows of the books, numbered on from the head.
    pub rows: Vec<RowWrite>,
    /// What changes at each balance; summed per key, never zero, ordered by key.
    pub balances: Vec<BalanceWrite>,
    /// Items that some channel sells and whose stock changed.
    pub offers: Vec<ItemNo>,
    /// Tasks on which something was done.
    pub tasks: Vec<TaskWrite>,
    /// Words by which events are found.
    pub mentions: Vec<Mention>,
    /// Agents that were heard.
    pub devices: Vec<DeviceWrite>,
    /// Messages set aside.
    pub dead_letters: Vec<NewDeadLetter>,
    /// A dead letter that is settled by this, and by whom.
    pub close: Option<(DeadLetterId, String)>,
}

/// How a stream stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamWrite {
    /// Which.
    pub key: StreamKey,
    /// The site it began at.
    pub site: SiteId,
    /// Last sequence held.
    pub watermark: Sequence,
    /// Of everything held.
    pub digest: Digest,
}

/// An event to keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventWrite {
    /// Position in [`Writes::streams`].
    pub stream: usize,
    /// Its place there.
    pub sequence: Sequence,
    /// Its row, byte for byte as the journal holds it.
    pub bytes: Vec<u8>,
    /// Its row in the books; `None` = not applied.
    pub ledger: Option<LedgerId>,
    /// What it was taken for, when codes in it had to be resolved: the books are derived from this for ever, whatever
    /// the codes mean later.
    pub resolved: Option<Vec<u8>>,
}

/// An event held before that is applied now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppliedWrite {
    /// Which.
    pub movement: MovementId,
    /// Its row in the books.
    pub ledger: LedgerId,
    /// As in [`EventWrite::resolved`].
    pub resolved: Option<Vec<u8>>,
}

/// How a task stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskWrite {
    /// Which.
    pub name: TaskName,
    /// As it stands now.
    pub state: TaskState,
    /// What was added up, where it changed; as it is now.
    pub tallies: Vec<(TallyKey, Tally)>,
}

/// A row of the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowWrite {
    /// Its position.
    pub id: LedgerId,
    /// The fact behind it: a position in [`Writes::events`]; `None` = [`Writes::applied`].
    pub event: Option<usize>,
    /// What moves.
    pub transfer: Transfer,
}

/// What changes at a balance.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BalanceWrite {
    /// Which.
    pub key: BalanceKey,
    /// How much; not zero.
    pub steps: i64,
    /// Whether below zero is worth an alarm there.
    pub kind: PlaceKind,
}

/// Whether goods can lie at a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlaceKind {
    /// They can, so less than nothing is a mistake.
    Physical,
    /// Supplier, customer, loss, transit: the other leg of the books.
    Virtual,
}

/// A word by which an event is found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mention {
    /// The word.
    pub word: String,
    /// A position in [`Writes::events`].
    pub event: usize,
}

/// An agent that was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceWrite {
    /// Where.
    pub site: SiteId,
    /// Who.
    pub agent: AgentId,
    /// What it said about itself, if that; else it sent events.
    pub state: Option<StateKind>,
    /// The stream it sent events of.
    pub epoch: Option<Epoch>,
    /// Facts that it had to drop.
    pub lost: u64,
    /// Kept by the broker from before: it tells how the agent stands, not that it was heard now.
    pub retained: bool,
}
