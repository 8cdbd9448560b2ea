//! Outgoing work for ERPs in SQLite.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{Event, MovementId, Place, Quantity, SiteId};

use super::{SqliteStore, database, epoch, event_parts, letters, optional, place, text, unreadable, uom};
use crate::catalogue::ErpId;
use crate::ledger::LedgerId;
use crate::posting::{
    BatchResult, BatchState, Candidate, PlannedBatch, PostingBatch, PostingKind, PostingLine,
    WINDOW_ROWS_MAX, plan,
};
use crate::store::StoreError;

const TAKING: &str = "taking a posting batch";
const RECORDING: &str = "recording what became of a posting batch";

impl SqliteStore {
    pub(super) fn take_batch(
        &mut self,
        now_ms: i64,
        erp: &ErpId,
        lines_max: usize,
    ) -> Result<Option<PostingBatch>, StoreError> {
        self.write(TAKING, |tx| {
            let found = match open_batch(tx, erp)? {
                Some(found) => Some(found),
                None => {
                    plan_window(tx, now_ms, erp, lines_max)?;
                    open_batch(tx, erp)?
                }
            };
            let Some((id, next_at)) = found else { return Ok(None) };
            if next_at > now_ms {
                return Ok(None);
            }
            let batch = read_batch(tx, id)?;
            // Durable before anything is sent: whatever happens next, the same lines keep this reference.
            let sql =
                "UPDATE batch SET state = 'sent', attempts = attempts + 1, changed_at = ?2 WHERE id = ?1";
            tx.prepare_cached(sql).and_then(|mut s| s.execute((id, now_ms))).map_err(database(TAKING))?;
            Ok(Some(batch))
        })
    }

    pub(super) fn recover_batches(&mut self, now_ms: i64, erp: &ErpId) -> Result<usize, StoreError> {
        self.write("recovering what was in flight", |tx| {
            let sql = "UPDATE batch SET state = 'unknown', next_at = 0, changed_at = ?2
                       WHERE erp = ?1 AND state = 'sent'";
            tx.execute(sql, params![erp.as_str(), now_ms]).map_err(database(RECORDING))
        })
    }

    pub(super) fn record_batch(
        &mut self,
        now_ms: i64,
        reference: &str,
        result: &BatchResult,
    ) -> Result<(), StoreError> {
        self.write(RECORDING, |tx| {
            let (id, state) = find_batch(tx, reference)?;
            if state.is_final() {
                return match (state, result) {
                    (BatchState::Done, BatchResult::Done { .. }) => Ok(()),
                    _ => Err(StoreError::Refused {
                        reason: format!("{reference} is {} already", state.as_str()),
                    }),
                };
            }
            match result {
                BatchResult::Created { document } => {
                    let sql = "UPDATE batch SET document = ?2, changed_at = ?3 WHERE id = ?1";
                    tx.execute(sql, params![id, document, now_ms]).map_err(database(RECORDING))?;
                    Ok(())
                }
                BatchResult::Done { document } => {
                    settle(tx, id, now_ms, BatchState::Done, Some(document), None, 0)
                }
                BatchResult::Retry { at_ms, class, message } => {
                    let fault = format!("{class}: {message}");
                    settle(tx, id, now_ms, BatchState::Retry, None, Some(&fault), *at_ms)
                }
                BatchResult::Unknown { at_ms, message } => {
                    settle(tx, id, now_ms, BatchState::Unknown, None, Some(message), *at_ms)
                }
                BatchResult::Rejected { reason } => {
                    let lines = line_numbers(tx, id)?;
                    if lines.len() > 1 {
                        split(tx, id, now_ms, &lines, reason)
                    } else {
                        bury(tx, id, now_ms, &lines, reason)
                    }
                }
                BatchResult::Dead { reason } => bury(tx, id, now_ms, &line_numbers(tx, id)?, reason),
            }
        })
    }
}

fn settle(
    tx: &Connection,
    id: i64,
    now_ms: i64,
    state: BatchState,
    document: Option<&String>,
    fault: Option<&str>,
    next_at: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE batch SET state = ?2, document = coalesce(?3, document), fault = ?4, next_at = ?5, changed_at = ?6
               WHERE id = ?1";
    tx.execute(sql, params![id, state.as_str(), document, fault, next_at, now_ms])
        .map_err(database(RECORDING))?;
    Ok(())
}

/// Gives all lines up: each becomes a dead letter, from where it can be replayed.
fn bury(tx: &Connection, id: i64, now_ms: i64, lines: &[LedgerId], reason: &str) -> Result<(), StoreError> {
    let sql = "SELECT erp FROM batch WHERE id = ?1";
    let erp: String = tx.query_row(sql, [id], |row| row.get(0)).map_err(database(RECORDING))?;
    for line in lines {
        letters::add_posting(tx, now_ms, &erp, *line, reason)?;
    }
    settle(tx, id, now_ms, BatchState::Dead, None, Some(reason), 0)
}

/// Two halves in the place of one, in its turn: after a few cuts the line at fault stands alone.
fn split(tx: &Connection, id: i64, now_ms: i64, lines: &[LedgerId], reason: &str) -> Result<(), StoreError> {
    let (first, second) = lines.split_at(lines.len() / 2);
    for half in [first, second] {
        let sql =
            "INSERT INTO batch (turn, erp, site, kind, state, attempts, next_at, created_at, changed_at)
                   SELECT turn, erp, site, kind, 'planned', 0, 0, ?2, ?2 FROM batch WHERE id = ?1";
        tx.execute(sql, params![id, now_ms]).map_err(database(RECORDING))?;
        put_lines(tx, tx.last_insert_rowid(), half)?;
    }
    settle(tx, id, now_ms, BatchState::Split, None, Some(reason), 0)
}

fn put_lines(tx: &Connection, batch: i64, lines: &[LedgerId]) -> Result<(), StoreError> {
    let sql = "INSERT INTO posting (batch, ledger) VALUES (?1, ?2)";
    let mut insert = tx.prepare_cached(sql).map_err(database(TAKING))?;
    for line in lines {
        insert.execute((batch, line.0 as i64)).map_err(database(TAKING))?;
    }
    Ok(())
}

fn line_numbers(tx: &Connection, batch: i64) -> Result<Vec<LedgerId>, StoreError> {
    let sql = "SELECT ledger FROM posting WHERE batch = ?1 ORDER BY ledger";
    let mut statement = tx.prepare_cached(sql).map_err(database(TAKING))?;
    let rows = statement.query_map([batch], |row| Ok(LedgerId(row.get::<_, i64>(0)? as u64)));
    rows.and_then(Iterator::collect).map_err(database(TAKING))
}

/// The first batch that is not final, and when it may be tried.
fn open_batch(tx: &Connection, erp: &ErpId) -> Result<Option<(i64, i64)>, StoreError> {
    let sql =
        "SELECT id, next_at FROM batch WHERE erp = ?1 AND state IN ('planned', 'sent', 'unknown', 'retry')
               ORDER BY turn, id LIMIT 1";
    let mut statement = tx.prepare_cached(sql).map_err(database(TAKING))?;
    statement
        .query_row([erp.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(database(TAKING))
}

/// What a row of the books is for an ERP: its site, its places, and what the ERP calls them.
const CANDIDATES: &str =
    "SELECT ledger.id, site.no, f.kind, f.location, t.kind, t.location, ledger.steps, item.item,
        item.reference, f.reference, t.reference, item.erp
    FROM ledger JOIN place f ON f.no = ledger.from_place JOIN place t ON t.no = ledger.to_place
    JOIN site ON site.no = f.site JOIN item ON item.no = ledger.item";

/// A row as a candidate; `None` = nothing to post.
fn candidate(row: &Row<'_>, erp: &str) -> rusqlite::Result<Option<Candidate>> {
    let (from, to) = (place(row, 2)?, place(row, 4)?);
    let Some(kind) =
        PostingKind::of(&from, &to).filter(|_| row.get::<_, i64>(6).is_ok_and(|steps| steps != 0))
    else {
        return Ok(None);
    };
    let (item, item_erp): (String, String) = (row.get(7)?, row.get(11)?);
    let lacks = |place: &Place, at: usize| -> rusqlite::Result<Option<String>> {
        match place {
            Place::At(location) if row.get::<_, Option<String>>(at)?.is_none() => {
                Ok(Some(format!("location {location} has no reference at {erp}")))
            }
            _ => Ok(None),
        }
    };
    let fault = if item_erp != erp || row.get::<_, Option<String>>(8)?.is_none() {
        Some(format!("item {item} has no reference at {erp}"))
    } else {
        lacks(&from, 9)?.or(lacks(&to, 10)?)
    };
    Ok(Some(Candidate { ledger: LedgerId(row.get::<_, i64>(0)? as u64), site: row.get(1)?, kind, fault }))
}

/// Cuts the next stretch of the books into batches and moves the cursor behind it.
fn plan_window(tx: &Transaction<'_>, now_ms: i64, erp: &ErpId, lines_max: usize) -> Result<(), StoreError> {
    let sql = "SELECT through FROM erp WHERE erp = ?1 AND opened_at IS NOT NULL";
    let mut cursor = tx.prepare_cached(sql).map_err(database(TAKING))?;
    let cursor: Option<i64> =
        cursor.query_row([erp.as_str()], |row| row.get(0)).optional().map_err(database(TAKING))?;
    let Some(mut through) = cursor else { return Ok(()) };
    // Rows of other ERPs' sites are passed over; so a window may come out empty with more behind it.
    loop {
        let sql = format!("{CANDIDATES} WHERE ledger.id > ?1 AND site.erp = ?2 ORDER BY ledger.id LIMIT ?3");
        let mut statement = tx.prepare_cached(&sql).map_err(database(TAKING))?;
        let mut candidates = Vec::new();
        let (mut read, mut last) = (0, through);
        let mut rows = statement
            .query(params![through, erp.as_str(), WINDOW_ROWS_MAX as i64])
            .map_err(database(TAKING))?;
        while let Some(row) = rows.next().map_err(database(TAKING))? {
            read += 1;
            last = row.get(0).map_err(database(TAKING))?;
            candidates.extend(candidate(row, erp.as_str()).map_err(database(TAKING))?);
        }
        if read == 0 {
            return Ok(());
        }
        let planned = plan(&candidates, lines_max);
        for (ledger, reason) in &planned.refused {
            letters::add_posting(tx, now_ms, erp.as_str(), *ledger, reason)?;
        }
        for batch in &planned.batches {
            put_batch(tx, now_ms, erp.as_str(), batch)?;
        }
        tx.execute("UPDATE erp SET through = ?2 WHERE erp = ?1", params![erp.as_str(), last])
            .map_err(database(TAKING))?;
        through = last;
        if !planned.batches.is_empty() || read < WINDOW_ROWS_MAX {
            return Ok(());
        }
    }
}

fn put_batch(tx: &Connection, now_ms: i64, erp: &str, batch: &PlannedBatch) -> Result<(), StoreError> {
    let sql = "INSERT INTO batch (turn, erp, site, kind, state, attempts, next_at, created_at, changed_at)
               VALUES ((SELECT coalesce(max(turn), 0) + 1 FROM batch), ?1, ?2, ?3, 'planned', 0, 0, ?4, ?4)";
    tx.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params![erp, batch.site, batch.kind.number(), now_ms]))
        .map_err(database(TAKING))?;
    put_lines(tx, tx.last_insert_rowid(), &batch.lines)
}

/// One row of the books in a batch of its own: after a dead letter was replayed.
pub(super) fn plan_again(
    tx: &Connection,
    now_ms: i64,
    erp: &str,
    ledger: LedgerId,
) -> Result<(), StoreError> {
    let sql = format!("{CANDIDATES} WHERE ledger.id = ?1");
    let mut statement = tx.prepare_cached(&sql).map_err(database(TAKING))?;
    let found = statement
        .query_row([ledger.0 as i64], |row| candidate(row, erp))
        .optional()
        .map_err(database(TAKING))?
        .flatten();
    match found {
        Some(Candidate { fault: Some(reason), .. }) => letters::add_posting(tx, now_ms, erp, ledger, &reason),
        Some(Candidate { site, kind, .. }) => {
            put_batch(tx, now_ms, erp, &PlannedBatch { site, kind, lines: vec![ledger] })
        }
        None => {
            Err(StoreError::Corrupt { what: format!("a dead letter names row {} of the books", ledger.0) })
        }
    }
}

fn instance(connection: &Connection) -> Result<String, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'instance'")
        .map_err(database(TAKING))?;
    statement.query_row([], |row| row.get(0)).map_err(database(TAKING))
}

/// `SW-{instance}-{id}`.
pub(super) fn reference(instance: &str, id: i64) -> String {
    format!("SW-{instance}-{id}")
}

fn find_batch(tx: &Connection, reference: &str) -> Result<(i64, BatchState), StoreError> {
    let unknown = || StoreError::Refused { reason: format!("there is no batch {reference}") };
    let prefix = format!("SW-{}-", instance(tx)?);
    let id: i64 = reference.strip_prefix(&prefix).and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
    let state: Option<String> = tx
        .query_row("SELECT state FROM batch WHERE id = ?1", [id], |row| row.get(0))
        .optional()
        .map_err(database(RECORDING))?;
    let state = state.ok_or_else(unknown)?;
    let known = BatchState::from_name(&state);
    Ok((id, known.ok_or_else(|| StoreError::Corrupt { what: format!("batch {id} is {state}") })?))
}

pub(super) fn read_batch(connection: &Connection, id: i64) -> Result<PostingBatch, StoreError> {
    let instance = instance(connection)?;
    let sql =
        "SELECT batch.erp, site.site, site.reference, kind, attempts, document, state, created_at FROM batch
               JOIN site ON site.no = batch.site WHERE batch.id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(database(TAKING))?;
    let lines = read_lines(connection, id)?;
    statement
        .query_row([id], |row| {
            let kind: i64 = row.get(3)?;
            Ok(PostingBatch {
                id: id as u64,
                reference: reference(&instance, id),
                erp: erp_id(row, 0)?,
                site: text::<SiteId>(row, 1)?,
                site_reference: row.get(2)?,
                kind: PostingKind::from_number(kind)
                    .ok_or_else(|| unreadable(3, format!("kind {kind}").into()))?,
                lines,
                attempts: row.get(4)?,
                document: row.get(5)?,
                state: batch_state(row, 6)?,
                created_at_ms: row.get(7)?,
            })
        })
        .map_err(database(TAKING))
}

pub(super) fn erp_id(row: &Row<'_>, at: usize) -> rusqlite::Result<ErpId> {
    let name: String = row.get(at)?;
    ErpId::new(name.clone()).ok_or_else(|| unreadable(at, name.into()))
}

pub(super) fn batch_state(row: &Row<'_>, at: usize) -> rusqlite::Result<BatchState> {
    let name: String = row.get(at)?;
    BatchState::from_name(&name).ok_or_else(|| unreadable(at, name.into()))
}

fn read_lines(connection: &Connection, batch: i64) -> Result<Vec<PostingLine>, StoreError> {
    let sql = "SELECT ledger.id, stream.agent, stream.epoch, event.key, item.item, item.uom, item.reference,
                   ledger.steps, f.kind, f.location, f.reference, t.kind, t.location, t.reference, ledger.lot, event.bytes
               FROM posting JOIN ledger ON ledger.id = posting.ledger JOIN event ON event.key = ledger.event
               JOIN stream ON stream.no = event.key >> 40 JOIN item ON item.no = ledger.item
               JOIN place f ON f.no = ledger.from_place JOIN place t ON t.no = ledger.to_place
               WHERE posting.batch = ?1 ORDER BY ledger.id";
    let mut statement = connection.prepare_cached(sql).map_err(database(TAKING))?;
    statement
        .query_map([batch], |row| {
            let movement = MovementId {
                agent: text(row, 1)?,
                epoch: epoch(row, 2)?,
                sequence: event_parts(row.get(3)?).1,
            };
            let event = Event::decode(row.get_ref(15)?.as_blob()?)
                .map_err(|fault| unreadable(15, Box::new(fault)))?;
            let details = event.body.details();
            Ok(PostingLine {
                ledger: LedgerId(row.get::<_, i64>(0)? as u64),
                item: text(row, 4)?,
                // Planned with one; a later catalogue may have lost it, and then the ERP will say so.
                item_reference: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
                quantity: Quantity { steps: row.get(7)?, uom: uom(row, 5)? },
                from: place(row, 8)?,
                from_reference: row.get(10)?,
                to: place(row, 11)?,
                to_reference: row.get(13)?,
                lot: optional(row, 14)?,
                document_reference: details.and_then(|details| details.reference.clone()),
                occurred_at: event.when,
                correlation: crate::trace::correlation(&movement, &event),
                movement,
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(TAKING))
}

pub(super) fn recent(
    connection: &Connection,
    erp: &ErpId,
    limit: usize,
) -> Result<Vec<PostingBatch>, StoreError> {
    let view = super::snapshot(connection)?;
    let ids: Vec<i64> = {
        let sql = "SELECT id FROM batch WHERE erp = ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = view.prepare_cached(sql).map_err(database(TAKING))?;
        statement
            .query_map(params![erp.as_str(), super::page_rows(limit) as i64], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(database(TAKING))?
    };
    ids.into_iter().map(|id| read_batch(&view, id)).collect()
}
