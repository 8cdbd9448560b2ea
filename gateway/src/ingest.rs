//! What agents publish becomes books: the rules of the one transaction behind every acknowledgement.
//!
//! [`Ingest`] reads a group of publishes, tells the store what it must know ([`Need`]), decides on one consistent
//! state ([`Known`]) and has everything written together ([`Writes`]): events, ledger rows, balances, watermarks,
//! outgoing work, dead letters. Only after that commit are there acks to send. A group is whatever has arrived
//! while the last one was being written: no timer, no waiting.

use stockwire_protocol::MovementId;

use crate::catalogue::Index;
use crate::code::Codes;
use crate::dead_letter::{DeadLetterClass, DeadLetterId, DeadLetterState};
use crate::store::{Store, StoreError};

mod decide;
mod desk;
mod opening;
mod overtaken;
mod types;

pub(crate) use opening::opening;
pub use overtaken::{OVERTAKEN_AGAIN, OVERTAKEN_MAX, OVERTAKEN_WAIT, Overtaken, Span};
pub use types::{
    Affected, Alarm, AppliedWrite, BalanceWrite, Counts, DeviceWrite, EventWrite, Known, KnownEvent,
    KnownStream, Mention, Need, Negative, Outcome, PlaceKind, Publish, Replay, RowWrite, StreamKey,
    StreamSpan, StreamWrite, TaskWrite, Writes,
};

/// Publishes in one transaction: two full batches reach the store's best rate, and more would only let the first
/// agent of the group wait longer for its ack.
pub const GROUP_PUBLISHES_MAX: usize = 64;
/// How often a group is decided anew because the catalogue changed under it. It changes by hand or by the ERP, so
/// once is usual and a third time means that something replaces it in a loop.
const CATALOGUE_RETRIES_MAX: usize = 3;

/// The rules of ingest, with the catalogue they look things up in.
#[derive(Debug, Default)]
pub struct Ingest {
    index: Index,
}

impl Ingest {
    /// Loads the catalogue at its first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one group in one transaction. At an error nothing has happened and nothing may be acknowledged: hand
    /// the same publishes in again, or let the agents send them again.
    ///
    /// # Errors
    /// [`StoreError`] of the transaction.
    pub fn handle_publishes(
        &mut self,
        store: &mut dyn Store,
        received_at_ms: i64,
        publishes: &[Publish<'_>],
    ) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        let mut rest = publishes;
        while !rest.is_empty() {
            let (group, later) = rest.split_at(rest.len().min(GROUP_PUBLISHES_MAX));
            rest = later;
            outcome.append(self.handle_group(store, received_at_ms, group)?);
        }
        Ok(outcome)
    }

    fn handle_group(
        &mut self,
        store: &mut dyn Store,
        received_at_ms: i64,
        publishes: &[Publish<'_>],
    ) -> Result<Outcome, StoreError> {
        let mut group = decide::Group::read(received_at_ms, publishes);
        for _ in 0..=CATALOGUE_RETRIES_MAX {
            let need = group.need(&self.index);
            let (mut decided, mut stale) = (None, false);
            let negative = store.ingest(&need, &mut |known| {
                stale = known.catalogue_revision != self.index.revision;
                // What codes mean tells which balances are needed; so it is asked first, when there are any.
                if stale || !group.learn(&known.codes) {
                    return None;
                }
                let (writes, outcome) = group.decide(&self.index, known);
                decided = Some(outcome);
                Some(writes)
            })?;
            match decided {
                // The transaction is committed here: only now may anybody hear of it.
                Some(mut outcome) => {
                    outcome.alarms.extend(negative.into_iter().map(Alarm::Negative));
                    return Ok(outcome);
                }
                None if stale => self.index = store.catalogue_index()?,
                None => {}
            }
        }
        Err(StoreError::Busy { doing: "reading a catalogue that keeps changing" })
    }

    /// Takes an open dead letter up again, with effect at most once, however often it is asked for.
    ///
    /// # Errors
    /// [`StoreError`] of the transaction, or when there is no such letter.
    pub fn replay(
        &mut self,
        store: &mut dyn Store,
        at_ms: i64,
        id: DeadLetterId,
        by: &str,
    ) -> Result<Replay, StoreError> {
        let letter = store
            .dead_letter(id)?
            .ok_or_else(|| StoreError::Refused { reason: format!("there is no dead letter {}", id.0) })?;
        if letter.state != DeadLetterState::Open {
            return Ok(Replay::AlreadyClosed);
        }
        match letter.class {
            DeadLetterClass::Unappliable => match &letter.movement {
                Some(movement) => self.replay_event(store, at_ms, id, movement.clone(), by),
                None => Ok(Replay::StillRefused { reason: "the letter names no event".into() }),
            },
            DeadLetterClass::Posting | DeadLetterClass::Publication => {
                let requeued = store.requeue_dead_letter(at_ms, id, by)?;
                Ok(if requeued { Replay::Requeued } else { Replay::AlreadyClosed })
            }
            DeadLetterClass::Malformed | DeadLetterClass::Version => {
                self.replay_publish(store, at_ms, id, &letter.source, &letter.bytes, by)
            }
            DeadLetterClass::Identity => Ok(Replay::StillRefused {
                reason: "the payload is not the publisher's: find out which box sent it, then discard".into(),
            }),
            DeadLetterClass::Order => Ok(Replay::StillRefused {
                reason: "mend the order at its channel, where it is read again when it changes; then discard"
                    .into(),
            }),
            DeadLetterClass::Conflict => Ok(Replay::StillRefused {
                reason: "an identity is never given to a second fact: look at the box, then discard".into(),
            }),
        }
    }

    /// The bytes of a publish once more, through the same door. The letter closes when they are now understood;
    /// what they say is applied by the same rules as ever, so a batch that came again meanwhile is a duplicate.
    fn replay_publish(
        &mut self,
        store: &mut dyn Store,
        at_ms: i64,
        id: DeadLetterId,
        topic: &str,
        bytes: &[u8],
        by: &str,
    ) -> Result<Replay, StoreError> {
        let outcome =
            self.handle_publishes(store, at_ms, &[Publish { topic, payload: bytes, retained: false }])?;
        if let Some((_, _, ack)) = outcome.acks.iter().find(|(_, _, ack)| ack.refusal.is_some()) {
            return Ok(Replay::StillRefused { reason: format!("refused again: {:?}", ack.refusal) });
        }
        if outcome.counts.malformed > 0 || outcome.counts.deferred > 0 {
            return Ok(Replay::StillRefused {
                reason: "still not readable, or not ready to be booked".into(),
            });
        }
        let applied = outcome.counts.events_new > 0;
        store.close_replayed(at_ms, id, by)?;
        Ok(if applied { Replay::Applied } else { Replay::AlreadyApplied })
    }

    fn replay_event(
        &mut self,
        store: &mut dyn Store,
        at_ms: i64,
        id: DeadLetterId,
        movement: MovementId,
        by: &str,
    ) -> Result<Replay, StoreError> {
        let mut codes = Codes::default();
        for _ in 0..=CATALOGUE_RETRIES_MAX {
            let event = store.event(&movement)?.ok_or_else(|| StoreError::Corrupt {
                what: format!("dead letter {} names event {movement}, which is not there", id.0),
            })?;
            let need = decide::replay_need(&self.index, &codes, at_ms, &movement, &event);
            let (mut decided, mut stale) = (None, false);
            store.ingest(&need, &mut |known| {
                stale = known.catalogue_revision != self.index.revision;
                if stale || known.codes != codes {
                    codes.clone_from(&known.codes);
                    return None;
                }
                let (writes, replay) = decide::replay(&self.index, known, at_ms, id, &movement, by);
                decided = Some(replay);
                writes
            })?;
            match decided {
                Some(replay) => return Ok(replay),
                None if stale => self.index = store.catalogue_index()?,
                None => {}
            }
        }
        Err(StoreError::Busy { doing: "reading a catalogue that keeps changing" })
    }
}
