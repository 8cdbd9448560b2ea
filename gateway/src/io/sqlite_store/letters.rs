//! Dead letters in SQLite.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use stockwire_protocol::MovementId;

use super::{
    SqliteStore, bump, database, epoch, event_parts, find_event, meta, optional, page_rows, text, unreadable,
};
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
    tx: &Connection,
    at_ms: i64,
    letter: &NewDeadLetter,
) -> Result<Option<DeadLetterId>, StoreError> {
    let hash = letter.hash();
    // Whoever sends it again after it was closed has it open again: it came, and is not applied.
    let sql = "UPDATE dead_letter SET times = times + 1, last_at = ?2, reason = ?3,
                   state = CASE WHEN state = 'discarded' AND class <> 'conflict' THEN 'open' ELSE state END
               WHERE hash = ?1 RETURNING id";
    let mut again = tx.prepare_cached(sql).map_err(database(ADDING))?;
    let found = again.query_row(params![hash, at_ms, letter.reason], |row| row.get(0)).optional();
    if let Some(id) = found.map_err(database(ADDING))? {
        return Ok(Some(DeadLetterId(id)));
    }
    if letter.class.is_refused_unread() && meta(tx, "refused_letters")? >= REFUSED_LETTERS_MAX as i64 {
        return Ok(None);
    }
    if letter.class.is_refused_unread() {
        bump(tx, "refused_letters")?;
    }
    let event = match &letter.movement {
        Some(movement) => find_event(tx, movement)?,
        None => None,
    };
    let sql =
        "INSERT INTO dead_letter (hash, class, reason, source, bytes, site, agent, event, first_at, last_at,
                   times, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 1, 'open')";
    let mut insert = tx.prepare_cached(sql).map_err(database(ADDING))?;
    let (site, agent) = letter.agent.as_ref().map(|(site, agent)| (site.as_str(), agent.as_str())).unzip();
    let values = params![
        hash,
        letter.class.as_str(),
        letter.reason,
        letter.source,
        letter.bytes,
        site,
        agent,
        event,
        at_ms
    ];
    insert.execute(values).map_err(database(ADDING))?;
    Ok(Some(DeadLetterId(tx.last_insert_rowid())))
}

/// A ledger row that an ERP will not take.
pub(super) fn add_posting(
    tx: &Connection,
    at_ms: i64,
    erp: &str,
    ledger: LedgerId,
    reason: &str,
) -> Result<(), StoreError> {
    // One letter for each time: a row that was replayed and refused again is a new matter.
    let sql = "SELECT event.key, event.bytes, stream.site, stream.agent,
                   (SELECT count(*) FROM dead_letter WHERE erp = ?2 AND ledger = ?1) FROM ledger
               JOIN event ON event.key = ledger.event JOIN stream ON stream.no = event.key >> 40 WHERE ledger.id = ?1";
    let mut find = tx.prepare_cached(sql).map_err(database(ADDING))?;
    let (event, bytes, site, agent, times): (i64, Vec<u8>, String, String, i64) = find
        .query_row(params![ledger.0 as i64, erp], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .map_err(database(ADDING))?;
    let hash = named_hash(DeadLetterClass::Posting, erp, &format!("{}/{times}", ledger.0));
    let sql = "INSERT INTO dead_letter (hash, class, reason, source, bytes, site, agent, event, erp, ledger, first_at,
                   last_at, times, state) VALUES (?1, 'posting', ?2, ?3, ?4, ?5, ?6, ?7, ?3, ?8, ?9, ?9, 1, 'open')";
    let mut insert = tx.prepare_cached(sql).map_err(database(ADDING))?;
    insert
        .execute(params![hash, reason, erp, bytes, site, agent, event, ledger.0 as i64, at_ms])
        .map_err(database(ADDING))?;
    Ok(())
}

/// A number that a channel will not take: one letter for each SKU and revision.
pub(super) fn add_publication(
    tx: &Connection,
    at_ms: i64,
    (channel, sku): (&str, &str),
    revision: i64,
    (number, reason): (i64, &str),
) -> Result<(), StoreError> {
    let hash = named_hash(DeadLetterClass::Publication, channel, &format!("{revision}/{sku}"));
    let bytes = format!("{sku} = {number}, revision {revision}");
    let sql =
        "INSERT INTO dead_letter (hash, class, reason, source, bytes, channel, sku, first_at, last_at, times,
                   state) VALUES (?1, 'publication', ?2, ?3, ?4, ?3, ?5, ?6, ?6, 1, 'open')
               ON CONFLICT (hash) DO UPDATE SET times = times + 1, last_at = ?6, reason = ?2, state = 'open'";
    let mut insert = tx.prepare_cached(sql).map_err(database(ADDING))?;
    insert
        .execute(params![hash, reason, channel, bytes.into_bytes(), sku, at_ms])
        .map_err(database(ADDING))?;
    Ok(())
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
    tx: &Connection,
    at_ms: i64,
    id: DeadLetterId,
    closing: Closing<'_>,
) -> Result<bool, StoreError> {
    let (state, by, why) = match closing {
        Closing::Replayed { by } => (DeadLetterState::Replayed, by, ""),
        Closing::Discarded { by, why } => (DeadLetterState::Discarded, by, why),
    };
    let sql = "UPDATE dead_letter SET state = ?2, closed_at = ?3, closed_by = ?4, closed_why = ?5
               WHERE id = ?1 AND state = 'open' RETURNING class";
    let mut update = tx.prepare_cached(sql).map_err(database(CLOSING))?;
    let class: Option<String> = update
        .query_row(params![id.0, state.as_str(), at_ms, by, why], |row| row.get(0))
        .optional()
        .map_err(database(CLOSING))?;
    Ok(class.is_some())
}

impl SqliteStore {
    /// Puts the row or the number of a letter back to work.
    pub(super) fn requeue(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError> {
        self.write("replaying a dead letter", |tx| {
            let sql = "SELECT class, erp, ledger, channel, sku FROM dead_letter WHERE id = ?1";
            let target = tx
                .query_row(sql, [id.0], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, Option<i64>>(2)?,
                        row.get::<_, Option<String>>(3)?,
                        row.get::<_, Option<String>>(4)?,
                    ))
                })
                .optional()
                .map_err(database(CLOSING))?;
            if !close(tx, at_ms, id, Closing::Replayed { by })? {
                return Ok(false);
            }
            match target {
                Some((_, Some(erp), Some(ledger), _, _)) => {
                    super::postings::plan_again(tx, at_ms, &erp, LedgerId(ledger as u64))?;
                }
                Some((_, _, _, Some(channel), Some(sku))) => {
                    super::offers::due_again(tx, at_ms, &channel, &sku)?
                }
                _ => {
                    return Err(StoreError::Refused {
                        reason: format!("dead letter {} is no outgoing work", id.0),
                    });
                }
            }
            Ok(true)
        })
    }

    pub(super) fn close_letter(
        &mut self,
        at_ms: i64,
        id: DeadLetterId,
        closing: Closing<'_>,
    ) -> Result<bool, StoreError> {
        self.write(CLOSING, |tx: &Transaction<'_>| close(tx, at_ms, id, closing))
    }
}

const COLUMNS: &str =
    "dead_letter.id, class, reason, source, bytes, dead_letter.site, dead_letter.agent, event,
    stream.agent, stream.epoch, first_at, last_at, times, state, closed_at, closed_by, closed_why";

fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let class: String = row.get(1)?;
    let state: String = row.get(13)?;
    let site = optional(row, 5)?;
    let agent = optional(row, 6)?;
    let movement = match row.get::<_, Option<i64>>(7)? {
        Some(key) => {
            Some(MovementId { agent: text(row, 8)?, epoch: epoch(row, 9)?, sequence: event_parts(key).1 })
        }
        None => None,
    };
    let closed = match row.get::<_, Option<i64>>(14)? {
        Some(at_ms) => Some(Closed { at_ms, by: row.get(15)?, why: row.get(16)? }),
        None => None,
    };
    Ok(DeadLetter {
        id: DeadLetterId(row.get(0)?),
        class: DeadLetterClass::from_name(&class).ok_or_else(|| unreadable(1, class.into()))?,
        reason: row.get(2)?,
        source: row.get(3)?,
        bytes: row.get(4)?,
        agent: site.zip(agent),
        movement,
        first_at_ms: row.get(10)?,
        last_at_ms: row.get(11)?,
        times: row.get::<_, i64>(12)? as u64,
        state: DeadLetterState::from_name(&state).ok_or_else(|| unreadable(13, state.into()))?,
        closed,
    })
}

pub(super) fn list(connection: &Connection, query: &DeadLetterQuery) -> Result<Page<DeadLetter>, StoreError> {
    let limit = page_rows(query.limit);
    let after: i64 = query.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    // Said in the statement itself, so that what is open is found by its index among everything that ever was.
    let state = query.state.map(|state| format!("AND state = '{}'", state.as_str())).unwrap_or_default();
    let class = query.class.map(|class| format!("AND class = '{}'", class.as_str())).unwrap_or_default();
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter LEFT JOIN stream ON stream.no = event >> 40
         WHERE dead_letter.id < ?1 {state} {class} ORDER BY dead_letter.id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(database(LISTING))?;
    let rows = statement
        .query_map(params![after, limit as i64], read)
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(database(LISTING))?;
    let next = if rows.len() == limit { rows.last().map(|letter| letter.id.0.to_string()) } else { None };
    Ok(Page { rows, next })
}

pub(super) fn show(connection: &Connection, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter LEFT JOIN stream ON stream.no = event >> 40 WHERE dead_letter.id = ?1"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(database(LISTING))?;
    statement.query_row([id.0], read).optional().map_err(database(LISTING))
}
