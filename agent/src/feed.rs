//! What the gateway tells in revisions: a snapshot in parts, and changes since it.
//!
//! ```text
//!   part 0 of 2, part 1 of 2 ------> complete: this revision ----.
//!   changes since this revision ---------------------------------+--> complete: a newer revision
//!   changes since a snapshot not here yet --> kept until it is --'
//! ```
//! Only complete revisions are used, and an older never overwrites a newer. The last complete one survives restarts as
//! the bytes of its parts and of its changes, two files; writing them is the edge's job.

use std::collections::BTreeMap;
use std::sync::Arc;

use stockwire_protocol::SiteId;
use stockwire_protocol::cbor::{CATALOGUE_BYTES_MAX, DecodeError, Message};

/// Something that is told in revisions.
pub trait Book: Sized {
    /// One message of it.
    type Part: Message + Clone;

    /// Before the first revision has come.
    fn empty(site: SiteId) -> Self;

    /// Of which site.
    fn site(&self) -> &SiteId;

    /// Grows with every change; 0 before the first.
    fn revision(&self) -> u64;

    /// Where a message belongs.
    fn head(part: &Self::Part) -> Head<'_>;

    /// From all parts of one snapshot, in order.
    fn snapshot(site: SiteId, revision: u64, parts: Vec<Self::Part>) -> Self;

    /// The same with changes put onto it.
    fn changed(&self, changes: Self::Part) -> Self;
}

/// Where a message belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head<'a> {
    /// Of which revision.
    pub revision: u64,
    /// Which part of it.
    pub part: u32,
    /// Of how many.
    pub parts: u32,
    /// For which site.
    pub site: &'a SiteId,
    /// The snapshot that these are changes of; `None` for a part of a snapshot.
    pub since: Option<u64>,
}

/// Most parts of one revision: a quarter of a million items, more than an edge box should hold in memory.
pub const PARTS_MAX: u32 = 64;

/// Collects messages until a revision is complete.
#[derive(Debug)]
pub struct Assembler<B: Book> {
    current: Arc<B>,
    /// The snapshot that `current` is, or is made of.
    snapshot: u64,
    pending: Option<Pending<B::Part>>,
    /// The newest changes of a snapshot that has not come.
    ahead: Option<B::Part>,
}

/// A revision of which parts are missing.
#[derive(Debug)]
struct Pending<P> {
    revision: u64,
    of: u32,
    parts: BTreeMap<u32, P>,
}

/// What became of a message.
#[derive(Debug)]
pub enum Outcome<B> {
    /// A snapshot is complete and current now. Changes of it that came before are taken up by
    /// [`Assembler::handle_waiting`].
    Complete {
        /// For the stations.
        current: Arc<B>,
        /// For [`load`] after a restart: to be written as one file, atomically.
        durable: Vec<u8>,
    },
    /// Changes were put onto the snapshot.
    Changed {
        /// For the stations.
        current: Arc<B>,
        /// For [`Assembler::handle_stored_changes`] after a restart: to be written as a file of its own, atomically.
        durable: Vec<u8>,
    },
    /// More parts are needed, or the snapshot that was changed.
    Waiting {
        /// Parts here.
        have: u32,
        /// Parts in all.
        of: u32,
    },
    /// It belongs to a revision that is not newer than the one known.
    Stale {
        /// The newest revision known.
        have: u64,
    },
    /// It cannot be used.
    Refused(FeedError),
}

/// Why a message or a file of them cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FeedError {
    /// For another site.
    #[error("it is for site {got}, this box belongs to {expected}")]
    Site {
        /// Ours.
        expected: SiteId,
        /// What came.
        got: SiteId,
    },
    /// Its own numbering is impossible, or differs from other parts of the same revision.
    #[error("revision {revision}: part {part} of {parts} does not fit (at most {PARTS_MAX} parts)")]
    Numbering {
        /// Which revision.
        revision: u64,
        /// Which part.
        part: u32,
        /// Of how many.
        parts: u32,
    },
    /// The file ends in the middle of a part.
    #[error("the stored file is cut off")]
    CutOff,
    /// A stored part does not read back.
    #[error("the stored file does not read back")]
    Decode(#[source] DecodeError),
    /// The stored parts are no complete revision.
    #[error("the stored file is incomplete")]
    Incomplete,
}

impl<B: Book> Assembler<B> {
    /// Nothing known yet.
    pub fn new(site: SiteId) -> Self {
        Self { current: Arc::new(B::empty(site)), snapshot: 0, pending: None, ahead: None }
    }

    /// The newest complete revision.
    pub fn current(&self) -> &Arc<B> {
        &self.current
    }

    /// A message came, in any order and perhaps again.
    pub fn handle_part(&mut self, part: B::Part) -> Outcome<B> {
        let Head { revision, part: at, parts, site, since } = B::head(&part);
        if site != self.current.site() {
            let expected = self.current.site().clone();
            return Outcome::Refused(FeedError::Site { expected, got: site.clone() });
        }
        let numbering = FeedError::Numbering { revision, part: at, parts };
        if parts == 0 || parts > PARTS_MAX || at >= parts {
            return Outcome::Refused(numbering);
        }
        if let Some(since) = since {
            return self.handle_changes(revision, since, part);
        }
        // An older revision never overwrites a newer, not even half of one. The changes of a snapshot are newer than
        // the snapshot, but do not make up for it.
        let newest = self.pending.as_ref().map_or(0, |pending| pending.revision);
        if revision <= self.current.revision() || revision < newest {
            return Outcome::Stale { have: self.current.revision().max(newest) };
        }
        if revision > newest {
            self.pending = None;
        }
        let pending =
            self.pending.get_or_insert_with(|| Pending { revision, of: parts, parts: BTreeMap::new() });
        if pending.of != parts {
            return Outcome::Refused(numbering);
        }
        pending.parts.insert(at, part);
        let (have, of) = (pending.parts.len() as u32, pending.of);
        if have < of {
            return Outcome::Waiting { have, of };
        }
        let parts = self.pending.take().map(|pending| pending.parts).unwrap_or_default();
        let durable = store(parts.values());
        let site = self.current.site().clone();
        self.current = Arc::new(B::snapshot(site, revision, parts.into_values().collect()));
        self.snapshot = revision;
        Outcome::Complete { current: Arc::clone(&self.current), durable }
    }

    fn handle_changes(&mut self, revision: u64, since: u64, changes: B::Part) -> Outcome<B> {
        if since < self.snapshot || (since == self.snapshot && revision <= self.current.revision()) {
            return Outcome::Stale { have: self.current.revision() };
        }
        if since > self.snapshot {
            // At a new connection they may overtake their snapshot. Only the newest are worth keeping.
            let newer = self.ahead.as_ref().is_none_or(|ahead| B::head(ahead).revision < revision);
            if newer {
                self.ahead = Some(changes);
            }
            return Outcome::Waiting { have: 0, of: 1 };
        }
        let durable = changes.encode();
        self.current = Arc::new(self.current.changed(changes));
        Outcome::Changed { current: Arc::clone(&self.current), durable }
    }

    /// After [`Outcome::Complete`]: the changes that came before their snapshot.
    pub fn handle_waiting(&mut self) -> Option<Outcome<B>> {
        let since = B::head(self.ahead.as_ref()?).since?;
        if since > self.snapshot {
            return None;
        }
        self.ahead.take().map(|ahead| self.handle_part(ahead))
    }

    /// Reads back what [`Outcome::Changed`] gave to be written; of another snapshot they change nothing.
    ///
    /// # Errors
    /// When the file is damaged or belongs to another site.
    pub fn handle_stored_changes(&mut self, durable: &[u8]) -> Result<(), FeedError> {
        let changes = B::Part::decode(durable).map_err(FeedError::Decode)?;
        match self.handle_part(changes) {
            Outcome::Refused(error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// ```text
///  +------------+-----------------+------------+-----------------+
///  | length u32 | part 0, as CBOR | length u32 | part 1, as CBOR | ...   big endian
///  +------------+-----------------+------------+-----------------+
/// ```
fn store<'a, P: Message + 'a>(parts: impl Iterator<Item = &'a P>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let part = part.encode();
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&part);
    }
    bytes
}

/// Reads back what [`Outcome::Complete`] gave to be written.
///
/// # Errors
/// When the file is damaged or belongs to another site. It comes again from the gateway, so the agent can go on with
/// [`Assembler::new`].
pub fn load<B: Book>(site: SiteId, durable: &[u8]) -> Result<Assembler<B>, FeedError> {
    let mut assembler = Assembler::new(site);
    let mut rest = durable;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > CATALOGUE_BYTES_MAX || length > after.len() {
            return Err(FeedError::CutOff);
        }
        let (part, after) = after.split_at(length);
        rest = after;
        match assembler.handle_part(B::Part::decode(part).map_err(FeedError::Decode)?) {
            Outcome::Complete { .. } if rest.is_empty() => return Ok(assembler),
            Outcome::Waiting { .. } => {}
            Outcome::Refused(error) => return Err(error),
            Outcome::Complete { .. } | Outcome::Changed { .. } | Outcome::Stale { .. } => {
                return Err(FeedError::Incomplete);
            }
        }
    }
    Err(if rest.is_empty() { FeedError::Incomplete } else { FeedError::CutOff })
}
