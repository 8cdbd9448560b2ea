//! Outgoing work for ERPs in PostgreSQL.

use postgres::Row;
use stockwire_protocol::{Place, Quantity, SiteId};

use super::column::{clean, count, event, get, movement, optional, place, text, unreadable, uom, word};
use super::session::Lock;
use super::{PostgresStore, Tx, instance, letters, page_rows};
use crate::catalogue::ErpId;
use crate::ledger::LedgerId;
use crate::posting::{
    BatchResult, BatchState, Candidate, PlannedBatch, PostingBatch, PostingKind, PostingLine,
    WINDOW_ROWS_MAX, plan,
};
use crate::store::StoreError;

const TAKING: &str = "taking a posting batch";
const RECORDING: &str = "recording what became of a posting batch";

impl PostgresStore {
    pub(super) fn take_batch(
        &mut self,
        now_ms: i64,
        erp: &ErpId,
        lines_max: usize,
    ) -> Result<Option<PostingBatch>, StoreError> {
        self.session.write(TAKING, Lock::Books, |tx| {
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
                "UPDATE batch SET state = 'sent', attempts = attempts + 1, changed_at = $2 WHERE id = $1";
            tx.execute(TAKING, sql, &[&id, &now_ms])?;
            Ok(Some(batch))
        })
    }

    pub(super) fn recover_batches(&mut self, now_ms: i64, erp: &ErpId) -> Result<usize, StoreError> {
        // Before the books are opened; afterwards ingest does it.
        self.look_at_partitions(now_ms);
        self.session.write("recovering what was in flight", Lock::Books, |tx| {
            let sql = "UPDATE batch SET state = 'unknown', next_at = 0, changed_at = $2
                       WHERE erp = $1 AND state = 'sent'";
            Ok(tx.execute(RECORDING, sql, &[&erp.as_str(), &now_ms])? as usize)
        })
    }

    pub(super) fn record_batch(
        &mut self,
        now_ms: i64,
        reference: &str,
        result: &BatchResult,
    ) -> Result<(), StoreError> {
        self.session.write(RECORDING, Lock::Books, |tx| {
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
                    let sql = "UPDATE batch SET document = $2, changed_at = $3 WHERE id = $1";
                    tx.execute(RECORDING, sql, &[&id, &clean(document), &now_ms]).map(drop)
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
    tx: &Tx<'_>,
    id: i64,
    now_ms: i64,
    state: BatchState,
    document: Option<&String>,
    fault: Option<&str>,
    next_at: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE batch SET state = $2, document = coalesce($3, document), fault = $4, next_at = $5, changed_at = $6
               WHERE id = $1";
    let (document, fault) = (document.map(|text| clean(text)), fault.map(clean));
    tx.execute(RECORDING, sql, &[&id, &state.as_str(), &document, &fault, &next_at, &now_ms]).map(drop)
}

/// Gives all lines up: each becomes a dead letter, from where it can be replayed.
fn bury(tx: &Tx<'_>, id: i64, now_ms: i64, lines: &[LedgerId], reason: &str) -> Result<(), StoreError> {
    let row = tx.one(RECORDING, "SELECT erp FROM batch WHERE id = $1", &[&id])?;
    let erp: &str = get(&row, 0)?;
    for line in lines {
        letters::add_posting(tx, now_ms, erp, *line, reason)?;
    }
    settle(tx, id, now_ms, BatchState::Dead, None, Some(reason), 0)
}

/// Two halves in the place of one, in its turn: after a few cuts the line at fault stands alone.
fn split(tx: &Tx<'_>, id: i64, now_ms: i64, lines: &[LedgerId], reason: &str) -> Result<(), StoreError> {
    let (first, second) = lines.split_at(lines.len() / 2);
    for half in [first, second] {
        let sql = "INSERT INTO batch (turn, erp, site, kind, state, attempts, next_at, created_at, changed_at)
                   SELECT turn, erp, site, kind, 'planned', 0, 0, $2, $2 FROM batch WHERE id = $1 RETURNING id";
        let row = tx.one(RECORDING, sql, &[&id, &now_ms])?;
        put_lines(tx, get(&row, 0)?, half)?;
    }
    settle(tx, id, now_ms, BatchState::Split, None, Some(reason), 0)
}

fn put_lines(tx: &Tx<'_>, batch: i64, lines: &[LedgerId]) -> Result<(), StoreError> {
    let lines: Vec<i64> = lines.iter().map(|line| line.0.cast_signed()).collect();
    let sql = "INSERT INTO posting (batch, ledger) SELECT $1, unnest($2::bigint[])";
    tx.execute(TAKING, sql, &[&batch, &lines]).map(drop)
}

fn line_numbers(tx: &Tx<'_>, batch: i64) -> Result<Vec<LedgerId>, StoreError> {
    let rows = tx.query(TAKING, "SELECT ledger FROM posting WHERE batch = $1 ORDER BY ledger", &[&batch])?;
    rows.iter().map(|row| count(row, 0).map(LedgerId)).collect()
}

/// The first batch that is not final, and when it may be tried.
fn open_batch(tx: &Tx<'_>, erp: &ErpId) -> Result<Option<(i64, i64)>, StoreError> {
    let sql =
        "SELECT id, next_at FROM batch WHERE erp = $1 AND state IN ('planned', 'sent', 'unknown', 'retry')
               ORDER BY turn, id LIMIT 1";
    let row = tx.optional(TAKING, sql, &[&erp.as_str()])?;
    row.map(|row| Ok((get(&row, 0)?, get(&row, 1)?))).transpose()
}

/// What a row of the books is for an ERP: its site, its places, and what the ERP calls them.
const CANDIDATES: &str =
    "SELECT ledger.id, site.no, f.kind, f.location, t.kind, t.location, ledger.steps, item.item,
        item.reference, f.reference, t.reference, item.erp
    FROM ledger JOIN place f ON f.no = ledger.from_place JOIN place t ON t.no = ledger.to_place
    JOIN site ON site.no = f.site JOIN item ON item.no = ledger.item";

/// A row as a candidate; `None` = nothing to post.
fn candidate(row: &Row, erp: &str) -> Result<Option<Candidate>, StoreError> {
    let (from, to, steps) = (place(row, 2)?, place(row, 4)?, get::<i64>(row, 6)?);
    let Some(kind) = PostingKind::of(&from, &to).filter(|_| steps != 0) else { return Ok(None) };
    let (item, item_erp): (&str, &str) = (get(row, 7)?, get(row, 11)?);
    let lacks = |place: &Place, at: usize| -> Result<Option<String>, StoreError> {
        match place {
            Place::At(location) if get::<Option<&str>>(row, at)?.is_none() => {
                Ok(Some(format!("location {location} has no reference at {erp}")))
            }
            _ => Ok(None),
        }
    };
    let fault = if item_erp != erp || get::<Option<&str>>(row, 8)?.is_none() {
        Some(format!("item {item} has no reference at {erp}"))
    } else {
        lacks(&from, 9)?.or(lacks(&to, 10)?)
    };
    Ok(Some(Candidate { ledger: LedgerId(count(row, 0)?), site: get(row, 1)?, kind, fault }))
}

/// Cuts the next stretch of the books into batches and moves the cursor behind it.
fn plan_window(tx: &Tx<'_>, now_ms: i64, erp: &ErpId, lines_max: usize) -> Result<(), StoreError> {
    let erp = erp.as_str();
    let sql = "SELECT through FROM erp WHERE erp = $1 AND opened_at IS NOT NULL";
    let Some(row) = tx.optional(TAKING, sql, &[&erp])? else { return Ok(()) };
    let mut through: i64 = get(&row, 0)?;
    // Rows of other ERPs' sites are passed over; so a window may come out empty with more behind it.
    loop {
        let sql = format!("{CANDIDATES} WHERE ledger.id > $1 AND site.erp = $2 ORDER BY ledger.id LIMIT $3");
        let rows = tx.query(TAKING, &sql, &[&through, &erp, &(WINDOW_ROWS_MAX as i64)])?;
        let Some(last) = rows.last() else { return Ok(()) };
        through = get(last, 0)?;
        let mut candidates = Vec::new();
        for row in &rows {
            candidates.extend(candidate(row, erp)?);
        }
        let planned = plan(&candidates, lines_max);
        for (ledger, reason) in &planned.refused {
            letters::add_posting(tx, now_ms, erp, *ledger, reason)?;
        }
        for batch in &planned.batches {
            put_batch(tx, now_ms, erp, batch)?;
        }
        tx.execute(TAKING, "UPDATE erp SET through = $2 WHERE erp = $1", &[&erp, &through])?;
        if !planned.batches.is_empty() || rows.len() < WINDOW_ROWS_MAX {
            return Ok(());
        }
    }
}

fn put_batch(tx: &Tx<'_>, now_ms: i64, erp: &str, batch: &PlannedBatch) -> Result<(), StoreError> {
    let sql = "INSERT INTO batch (turn, erp, site, kind, state, attempts, next_at, created_at, changed_at)
               VALUES ((SELECT coalesce(max(turn), 0) + 1 FROM batch), $1, $2, $3, 'planned', 0, 0, $4, $4)
               RETURNING id";
    let row = tx.one(TAKING, sql, &[&erp, &batch.site, &batch.kind.number(), &now_ms])?;
    put_lines(tx, get(&row, 0)?, &batch.lines)
}

/// One row of the books in a batch of its own: after a dead letter was replayed.
pub(super) fn plan_again(tx: &Tx<'_>, now_ms: i64, erp: &str, ledger: LedgerId) -> Result<(), StoreError> {
    let sql = format!("{CANDIDATES} WHERE ledger.id = $1");
    let found = tx.optional(TAKING, &sql, &[&ledger.0.cast_signed()])?;
    match found.map(|row| candidate(&row, erp)).transpose()?.flatten() {
        Some(Candidate { fault: Some(reason), .. }) => letters::add_posting(tx, now_ms, erp, ledger, &reason),
        Some(Candidate { site, kind, .. }) => {
            put_batch(tx, now_ms, erp, &PlannedBatch { site, kind, lines: vec![ledger] })
        }
        None => {
            Err(StoreError::Corrupt { what: format!("a dead letter names row {} of the books", ledger.0) })
        }
    }
}

/// `SW-{instance}-{id}`.
pub(super) fn reference(instance: &str, id: i64) -> String {
    format!("SW-{instance}-{id}")
}

fn find_batch(tx: &Tx<'_>, reference: &str) -> Result<(i64, BatchState), StoreError> {
    let unknown = || StoreError::Refused { reason: format!("there is no batch {reference}") };
    let prefix = format!("SW-{}-", instance(tx)?);
    let id: i64 = reference.strip_prefix(&prefix).and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
    let row = tx.optional(RECORDING, "SELECT state FROM batch WHERE id = $1", &[&id])?.ok_or_else(unknown)?;
    Ok((id, word(&row, 0, BatchState::from_name)?))
}

fn read_batch(tx: &Tx<'_>, id: i64) -> Result<PostingBatch, StoreError> {
    let instance = instance(tx)?;
    let sql =
        "SELECT batch.erp, site.site, site.reference, kind, attempts, document, state, created_at FROM batch
               JOIN site ON site.no = batch.site WHERE batch.id = $1";
    let row = tx.one(TAKING, sql, &[&id])?;
    let kind: i64 = get(&row, 3)?;
    let kind =
        PostingKind::from_number(kind).ok_or_else(|| unreadable(&row, 3, format!("no kind {kind}")))?;
    Ok(PostingBatch {
        id: id.unsigned_abs(),
        reference: reference(&instance, id),
        erp: erp_id(&row, 0)?,
        site: text::<SiteId>(&row, 1)?,
        site_reference: get(&row, 2)?,
        kind,
        lines: read_lines(tx, id)?,
        attempts: attempts(&row, 4)?,
        document: get(&row, 5)?,
        state: word(&row, 6, BatchState::from_name)?,
        created_at_ms: get(&row, 7)?,
    })
}

pub(super) fn attempts(row: &Row, at: usize) -> Result<u32, StoreError> {
    Ok(u32::try_from(count(row, at)?).unwrap_or(u32::MAX))
}

pub(super) fn erp_id(row: &Row, at: usize) -> Result<ErpId, StoreError> {
    word(row, at, |name| ErpId::new(name))
}

fn read_lines(tx: &Tx<'_>, batch: i64) -> Result<Vec<PostingLine>, StoreError> {
    let sql = "SELECT ledger.id, stream.agent, stream.epoch, event.key, item.item, item.uom, item.reference,
                   ledger.steps, f.kind, f.location, f.reference, t.kind, t.location, t.reference, ledger.lot,
                   fact.bytes
               FROM posting JOIN ledger ON ledger.id = posting.ledger
               JOIN event ON event.site = ledger.site AND event.key = ledger.event
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               JOIN stream ON stream.no = event.key >> 40 JOIN item ON item.no = ledger.item
               JOIN place f ON f.no = ledger.from_place JOIN place t ON t.no = ledger.to_place
               WHERE posting.batch = $1 ORDER BY ledger.id";
    let line = |row: &Row| {
        let (movement, event) = (movement(row, 1)?, event(row, 15)?);
        let details = event.body.details();
        Ok(PostingLine {
            ledger: LedgerId(count(row, 0)?),
            item: text(row, 4)?,
            // Planned with one; a later catalogue may have lost it, and then the ERP will say so.
            item_reference: get::<Option<String>>(row, 6)?.unwrap_or_default(),
            quantity: Quantity { steps: get(row, 7)?, uom: uom(row, 5)? },
            from: place(row, 8)?,
            from_reference: get(row, 10)?,
            to: place(row, 11)?,
            to_reference: get(row, 13)?,
            lot: optional(row, 14)?,
            document_reference: details.and_then(|details| details.reference.clone()),
            occurred_at: event.when,
            correlation: crate::trace::correlation(&movement, &event),
            movement,
        })
    };
    tx.query(TAKING, sql, &[&batch])?.iter().map(line).collect()
}

pub(super) fn recent(tx: &Tx<'_>, erp: &ErpId, limit: usize) -> Result<Vec<PostingBatch>, StoreError> {
    let sql = "SELECT id FROM batch WHERE erp = $1 ORDER BY id DESC LIMIT $2";
    let rows = tx.query(TAKING, sql, &[&erp.as_str(), &(page_rows(limit) as i64)])?;
    rows.iter().map(|row| read_batch(tx, get(row, 0)?)).collect()
}
