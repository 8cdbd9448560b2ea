//! The agent's durable, ordered record: the only copy of a movement until the gateway's own acknowledgement.
//!
//! This file is the contract. [`contract`] is the suite that every journal must pass, [`MemoryJournal`] the one for
//! tests and the simulated world; the one on disk is an edge (`io`).

pub mod contract;
mod memory;

use std::error::Error;

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Digest, Epoch, Event, Sequence};

pub use memory::MemoryJournal;

/// A journal: one epoch, one growing sequence, one watermark.
///
/// `kept_after <= watermark <= head` holds at every moment: nothing is forgotten before the gateway's word, and the
/// gateway cannot hold what was never recorded.
pub trait Journal: Send {
    /// Which life of the journal this is: random, made with it.
    fn epoch(&self) -> Epoch;

    /// How often the journal has been opened; the first time is 1.
    fn boot(&self) -> u32;

    /// The last sequence recorded; `NONE` while empty. A sequence once given is never given again.
    fn head(&self) -> Sequence;

    /// The last sequence known to be committed at the gateway.
    fn watermark(&self) -> Sequence;

    /// Of all events up to the watermark.
    fn digest(&self) -> Digest;

    /// Rows above this one can be read; `NONE` until something was forgotten.
    fn kept_after(&self) -> Sequence;

    /// Records the events under the sequences that follow the head, in this order, and returns the new head.
    ///
    /// All of them are durable when it returns `Ok`, none of them is there when it returns `Err`. No events: nothing
    /// happens.
    ///
    /// # Errors
    /// [`JournalError::Full`], [`JournalError::DiskFull`], [`JournalError::TooLarge`], [`JournalError::Exhausted`] leave the journal usable;
    /// [`JournalError::Io`] means that it must be opened again.
    fn append(&mut self, events: &[Event]) -> Result<Sequence, JournalError>;

    /// Consecutive events from `after + 1` on: at least one if there is one, then as many as fit into both limits.
    /// Nothing at or above the head.
    ///
    /// # Errors
    /// [`JournalError::Forgotten`] when `after` lies below [`Journal::kept_after`].
    fn read(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<Event>, JournalError>;

    /// The gateway holds everything up to `watermark`, and the caller has seen that it is the same as what is here:
    /// `digest` is that of both. A watermark not above the known one is ignored.
    ///
    /// It need not be durable at once: what lies above the durable watermark is sent again after a restart, and the
    /// gateway takes it once.
    ///
    /// # Errors
    /// [`JournalError::AckAboveHead`] when the gateway would hold what this journal never recorded.
    fn handle_ack(&mut self, watermark: Sequence, digest: Digest) -> Result<(), JournalError>;
}

/// The digest of the events up to `sequence`, which must not lie below the watermark or above the head.
///
/// # Errors
/// When the journal cannot be read.
pub fn digest_at(journal: &dyn Journal, sequence: Sequence) -> Result<Digest, JournalError> {
    assert!(sequence >= journal.watermark(), "below the watermark the chain is not kept");
    let (mut at, mut digest) = (journal.watermark().get(), journal.digest());
    while at < sequence.get() {
        let left = usize::try_from(sequence.get() - at).unwrap_or(usize::MAX);
        let limit = ReadLimit { events: DIGEST_STEP.min(left), bytes: usize::MAX };
        let events = journal.read(Sequence::new(at), limit)?;
        if events.is_empty() {
            return Err(JournalError::AckAboveHead { watermark: sequence, head: journal.head() });
        }
        at += events.len() as u64;
        digest = digest_of(digest, &events);
    }
    Ok(digest)
}

/// The chain, with these events added.
pub fn digest_of(before: Digest, events: &[Event]) -> Digest {
    events.iter().fold(before, |digest, event| digest.then(&event.encode()))
}

/// Events read at once for a digest: some 40 KiB of memory.
const DIGEST_STEP: usize = 512;

/// How much to read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimit {
    /// Most events.
    pub events: usize,
    /// Most bytes, counted as the sum of the events' own encodings.
    pub bytes: usize,
}

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The quota is used up. Nothing stored is overwritten; new scans are refused loudly.
    #[error("the journal is full: {used} of {quota} bytes hold events that the gateway has not acknowledged")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// The disk has no room although the quota has. As with [`JournalError::Full`] nothing stored is touched.
    #[error("the disk is full: the journal's {used} bytes cannot grow")]
    DiskFull {
        /// Bytes in use.
        used: u64,
    },
    /// One event is larger than any event may be.
    #[error("event {at} of the request has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Which one of the request, counted from 0.
        at: usize,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The store failed, and what it holds is known only after opening it again.
    #[error("the journal could not {doing}")]
    Io {
        /// What it was doing: `append`, `read` ...
        doing: &'static str,
        /// The store's own error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row does not read back as what was written.
    #[error("row {sequence} of the journal is damaged: {reason}")]
    Corrupt {
        /// Which row.
        sequence: Sequence,
        /// What is wrong with it.
        reason: String,
    },
    /// The rows asked for were acknowledged and are gone.
    #[error("rows after {after} were asked for, only those after {kept_after} are kept")]
    Forgotten {
        /// What was asked for.
        after: Sequence,
        /// What there is.
        kept_after: Sequence,
    },
    /// The gateway holds more than was ever recorded here.
    #[error("the gateway holds rows up to {watermark}, this journal ends at {head}")]
    AckAboveHead {
        /// The gateway's word.
        watermark: Sequence,
        /// Our last row.
        head: Sequence,
    },
    /// The counter has reached its end; a new epoch is needed.
    #[error("the sequence of this epoch is used up")]
    Exhausted,
}

impl JournalError {
    /// A failure of the store.
    pub fn io(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        JournalError::Io { doing, source: source.into() }
    }

    /// Whether nothing may be asked of this journal until it has been opened again: after a failed flush the kernel
    /// may have dropped the pages, so a second flush that succeeds proves nothing.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, JournalError::Io { .. } | JournalError::Corrupt { .. })
    }

    /// What a technician checks.
    pub fn hint(&self) -> &'static str {
        match self {
            JournalError::Full { .. } => {
                "check the link to the gateway and the room on the disk with `stockwire-agent doctor`: the journal empties as the gateway acknowledges"
            }
            JournalError::DiskFull { .. } => {
                "free room on the disk that holds the journal: `df -h` shows it, `journalctl --vacuum-size=50M` is a start"
            }
            JournalError::TooLarge { .. } => "an event outgrew its limit: keep the scan and report it",
            JournalError::Io { .. } => "check the disk: is it full, read-only or failing? `dmesg` tells",
            JournalError::Corrupt { .. } => {
                "keep the file and run `stockwire-agent journal verify`; the disk may be worn"
            }
            JournalError::Forgotten { .. } => "these rows are at the gateway; nothing to do at the edge",
            JournalError::AckAboveHead { .. } => {
                "the journal was restored from an old copy, or two boxes share one identity: see `stockwire-agent doctor`"
            }
            JournalError::Exhausted => "restart the agent with a new journal",
        }
    }
}
