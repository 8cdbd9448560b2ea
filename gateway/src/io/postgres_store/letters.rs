//! Dead letters in PostgreSQL.

use postgres::Row;
use stockwire_protocol::MovementId;

use super::column::{clean, count, epoch, event_sequence, find_event, get, optional, text, word};
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, bump, counter, offers, page_rows, postings};
use crate::dead_letter::{
    Closed, DeadLetter, DeadLetterClass, DeadLetterId, DeadLetterState, NewDeadLetter, REFUSED_LETTERS_MAX,
};
use crate::ledger::LedgerId;
use crate::store::{DeadLetterQuery, Page, StoreError};

const ADDING: &str = "setting a message aside";
const CLOSING: &str = "closing a dead letter";
const LISTING: &str = "listing dead letters";

/// Sets a message aside, or counts it when the same content is there. `None` = beyond the limit of such letters.
pub(super) fn add(
    tx: &Tx<'_>,
    at_ms: i64,
    letter: &NewDeadLetter,
) -> Result<Option<DeadLetterId>, StoreError> {
    let hash = letter.hash();
    let reason = clean(&letter.reason);
    // Whoever sends it again after it was closed has it open again: it came, and is not applied.
    let sql = "UPDATE dead_letter SET times = times + 1, last_at = $2, reason = $3,
                   state = CASE WHEN state = 'discarded' AND class <> 'conflict' THEN 'open' ELSE state END
               WHERE hash = $1 RETURNING id";
    if let Some(row) = tx.optional(ADDING, sql, &[&&hash[..], &at_ms, &reason])? {
        return get(&row, 0).map(|id| Some(DeadLetterId(id)));
    }
    if letter.class.is_refused_unread() {
        if counter(tx, Counter::RefusedLetters)?.unsigned_abs() >= REFUSED_LETTERS_MAX as u64 {
            return Ok(None);
        }
        bump(tx, Counter::RefusedLetters)?;
    }
    let event = match &letter.movement {
        Some(movement) => find_event(tx, movement)?.map(|(_, key)| key),
        None => None,
    };
    let sql =
        "INSERT INTO dead_letter (hash, class, reason, source, bytes, site, agent, event, first_at, last_at,
                   times, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1, 'open') RETURNING id";
    let (site, agent) = letter.agent.as_ref().map(|(site, agent)| (site.as_str(), agent.as_str())).unzip();
    let row = tx.one(
        ADDING,
        sql,
        &[
            &&hash[..],
            &letter.class.as_str(),
            &reason,
            &clean(&letter.source),
            &letter.bytes,
            &site,
            &agent,
            &event,
            &at_ms,
        ],
    )?;
    get(&row, 0).map(|id| Some(DeadLetterId(id)))
}

/// A ledger row that an ERP will not take.
pub(super) fn add_posting(
    tx: &Tx<'_>,
    at_ms: i64,
    erp: &str,
    ledger: LedgerId,
    reason: &str,
) -> Result<(), StoreError> {
    // One letter for each time: a row that was replayed and refused again is a new matter.
    let sql = "SELECT event.key, fact.bytes, site.site, stream.agent,
                   (SELECT count(*) FROM dead_letter WHERE class = 'posting' AND erp = $2 AND ledger = $1) FROM ledger
               JOIN event ON event.site = ledger.site AND event.key = ledger.event
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               JOIN stream ON stream.no = event.key >> 40 JOIN site ON site.no = stream.site WHERE ledger.id = $1";
    let ledger = ledger.0.cast_signed();
    let row = tx.one(ADDING, sql, &[&ledger, &erp])?;
    let (event, bytes): (i64, &[u8]) = (get(&row, 0)?, get(&row, 1)?);
    let (site, agent, times): (&str, &str, i64) = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?);
    let hash = named_hash(DeadLetterClass::Posting, erp, &format!("{ledger}/{times}"));
    let sql = "INSERT INTO dead_letter (hash, class, reason, source, bytes, site, agent, event, erp, ledger, first_at,
                   last_at, times, state) VALUES ($1, 'posting', $2, $3, $4, $5, $6, $7, $3, $8, $9, $9, 1, 'open')";
    tx.execute(
        ADDING,
        sql,
        &[&&hash[..], &clean(reason), &erp, &bytes, &site, &agent, &event, &ledger, &at_ms],
    )
    .map(drop)
}

/// A number that a channel will not take: one letter for each SKU and revision.
pub(super) fn add_publication(
    tx: &Tx<'_>,
    at_ms: i64,
    (channel, sku): (&str, &str),
    revision: i64,
    (number, reason): (i64, &str),
) -> Result<(), StoreError> {
    let hash = named_hash(DeadLetterClass::Publication, channel, &format!("{revision}/{sku}"));
    let bytes = format!("{sku} = {number}, revision {revision}").into_bytes();
    let sql = "INSERT INTO dead_letter AS held (hash, class, reason, source, bytes, channel, sku, first_at, last_at,
                   times, state) VALUES ($1, 'publication', $2, $3, $4, $3, $5, $6, $6, 1, 'open')
               ON CONFLICT (hash) DO UPDATE SET times = held.times + 1, last_at = $6, reason = $2, state = 'open'";
    tx.execute(ADDING, sql, &[&&hash[..], &clean(reason), &channel, &bytes, &sku, &at_ms]).map(drop)
}

fn named_hash(class: DeadLetterClass, source: &str, name: &str) -> [u8; 32] {
    let letter = NewDeadLetter {
        class,
        reason: String::new(),
        source: source.into(),
        bytes: name.as_bytes().to_vec(),
        agent: None,
        movement: None,
    };
    letter.hash()
}

/// How a letter is closed.
#[derive(Clone, Copy)]
pub(super) enum Closing<'a> {
    /// Its content has taken effect.
    Replayed {
        /// Who asked.
        by: &'a str,
    },
    /// Somebody decided that it never will.
    Discarded {
        /// Who.
        by: &'a str,
        /// Why.
        why: &'a str,
    },
}

/// Closes an open letter; `false` = it is not open.
pub(super) fn close(
    tx: &Tx<'_>,
    at_ms: i64,
    id: DeadLetterId,
    closing: Closing<'_>,
) -> Result<bool, StoreError> {
    let (state, by, why) = match closing {
        Closing::Replayed { by } => (DeadLetterState::Replayed, by, ""),
        Closing::Discarded { by, why } => (DeadLetterState::Discarded, by, why),
    };
    let sql = "UPDATE dead_letter SET state = $2, closed_at = $3, closed_by = $4, closed_why = $5
               WHERE id = $1 AND state = 'open'";
    let closed = tx.execute(CLOSING, sql, &[&id.0, &state.as_str(), &at_ms, &clean(by), &clean(why)])?;
    Ok(closed == 1)
}

impl PostgresStore {
    /// Puts the row or the number of a letter back to work.
    pub(super) fn requeue(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError> {
        self.session.write("replaying a dead letter", Lock::Books, |tx| {
            let sql = "SELECT erp, ledger, channel, sku FROM dead_letter WHERE id = $1";
            let target = tx.optional(CLOSING, sql, &[&id.0])?;
            if !close(tx, at_ms, id, Closing::Replayed { by })? {
                return Ok(false);
            }
            if let Some(row) = &target {
                let (erp, ledger): (Option<&str>, Option<i64>) = (get(row, 0)?, get(row, 1)?);
                if let Some((erp, ledger)) = erp.zip(ledger) {
                    postings::plan_again(tx, at_ms, erp, LedgerId(ledger.unsigned_abs()))?;
                    return Ok(true);
                }
                let (channel, sku): (Option<&str>, Option<&str>) = (get(row, 2)?, get(row, 3)?);
                if let Some((channel, sku)) = channel.zip(sku) {
                    offers::due_again(tx, at_ms, channel, sku)?;
                    return Ok(true);
                }
            }
            Err(StoreError::Refused { reason: format!("dead letter {} is no outgoing work", id.0) })
        })
    }

    pub(super) fn close_letter(
        &mut self,
        at_ms: i64,
        id: DeadLetterId,
        closing: Closing<'_>,
    ) -> Result<bool, StoreError> {
        self.session.write(CLOSING, Lock::Books, |tx| close(tx, at_ms, id, closing))
    }
}

const COLUMNS: &str =
    "dead_letter.id, class, reason, source, bytes, dead_letter.site, dead_letter.agent, event,
    stream.agent, stream.epoch, first_at, last_at, times, state, closed_at, closed_by, closed_why
    FROM dead_letter LEFT JOIN stream ON stream.no = event >> 40";

fn read(row: &Row) -> Result<DeadLetter, StoreError> {
    let movement = match get::<Option<i64>>(row, 7)? {
        Some(key) => {
            Some(MovementId { agent: text(row, 8)?, epoch: epoch(row, 9)?, sequence: event_sequence(key) })
        }
        None => None,
    };
    let closed = match get::<Option<i64>>(row, 14)? {
        Some(at_ms) => Some(Closed { at_ms, by: get(row, 15)?, why: get(row, 16)? }),
        None => None,
    };
    let (site, agent) = (optional(row, 5)?, optional(row, 6)?);
    Ok(DeadLetter {
        id: DeadLetterId(get(row, 0)?),
        class: word(row, 1, DeadLetterClass::from_name)?,
        reason: get(row, 2)?,
        source: get(row, 3)?,
        bytes: get(row, 4)?,
        agent: site.zip(agent),
        movement,
        first_at_ms: get(row, 10)?,
        last_at_ms: get(row, 11)?,
        times: count(row, 12)?,
        state: word(row, 13, DeadLetterState::from_name)?,
        closed,
    })
}

pub(super) fn list(tx: &Tx<'_>, query: &DeadLetterQuery) -> Result<Page<DeadLetter>, StoreError> {
    let limit = page_rows(query.limit);
    let after: i64 = query.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    // Said in the statement itself, so that what is open is found by its index among everything that ever was.
    let state = query.state.map(|state| format!("AND state = '{}'", state.as_str())).unwrap_or_default();
    let class = query.class.map(|class| format!("AND class = '{}'", class.as_str())).unwrap_or_default();
    let sql = format!(
        "SELECT {COLUMNS} WHERE dead_letter.id < $1 {state} {class} ORDER BY dead_letter.id DESC LIMIT $2"
    );
    let rows = tx.query(LISTING, &sql, &[&after, &(limit as i64)])?;
    let rows: Vec<DeadLetter> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let next = if rows.len() == limit { rows.last().map(|letter| letter.id.0.to_string()) } else { None };
    Ok(Page { rows, next })
}

pub(super) fn show(tx: &Tx<'_>, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
    let sql = format!("SELECT {COLUMNS} WHERE dead_letter.id = $1");
    tx.optional(LISTING, &sql, &[&id.0])?.as_ref().map(read).transpose()
}
