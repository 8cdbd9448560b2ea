//! The way of a movement, item or mention through everything, in PostgreSQL.

use super::column::{epoch, event, event_sequence, find_event, get, movement as movement_id, text, word};
use super::offers::published;
use super::postings::{erp_id, reference};
use super::queries::{ItemRows, MOVEMENT, movement};
use super::{Tx, instance, page_rows};
use crate::posting::BatchState;
use crate::store::{Mentioned, StoreError};
use crate::trace::{Thread, TraceKey, TracePosting, TracePublication};
use stockwire_protocol::{Body, MovementId};

const READING: &str = "tracing";

pub(super) fn trace(tx: &Tx<'_>, key: &TraceKey, limit: usize) -> Result<Vec<Thread>, StoreError> {
    let limit = page_rows(limit);
    let keys: Vec<i64> = match key {
        TraceKey::Movement(movement) => find_event(tx, movement)?.map(|(_, key)| key).into_iter().collect(),
        TraceKey::Item(item) => {
            let rows = ItemRows { item, site: None, location: None, before: i64::MAX, limit }.find(tx)?;
            let sql = "SELECT event FROM ledger WHERE id = ANY($1) ORDER BY id DESC";
            tx.query(READING, sql, &[&rows])?.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?
        }
        TraceKey::Mention(word) => {
            let sql = "SELECT event FROM mention WHERE word = $1 ORDER BY event DESC LIMIT $2";
            let rows = tx.query(READING, sql, &[&super::column::clean(word), &(limit as i64)])?;
            rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?
        }
    };
    let mut threads = Vec::with_capacity(keys.len());
    for key in keys {
        threads.extend(thread(tx, key)?);
    }
    Ok(threads)
}

fn thread(tx: &Tx<'_>, key: i64) -> Result<Option<Thread>, StoreError> {
    let sql = "SELECT stream.agent, stream.epoch, fact.bytes, event.received_at, event.ledger, dead_letter.id,
                   dead_letter.reason
               FROM stream JOIN event ON event.site = stream.site AND event.key = $1
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               LEFT JOIN dead_letter ON dead_letter.event = event.key AND dead_letter.class = 'unappliable'
                   AND dead_letter.state <> 'replayed'
               WHERE stream.no = $1 >> 40 LIMIT 1";
    let Some(row) = tx.optional(READING, sql, &[&key])? else { return Ok(None) };
    let (letter, reason): (Option<i64>, Option<String>) = (get(&row, 5)?, get(&row, 6)?);
    let id = MovementId { agent: text(&row, 0)?, epoch: epoch(&row, 1)?, sequence: event_sequence(key) };
    let mut thread = Thread {
        movement: id,
        event: event(&row, 2)?,
        received_at_ms: get(&row, 3)?,
        applied: None,
        dead_letter: letter.zip(reason),
        postings: Vec::new(),
        publications: Vec::new(),
    };
    let Some(ledger) = get::<Option<i64>>(&row, 4)? else { return Ok(Some(thread)) };
    let sql = format!("{MOVEMENT} WHERE ledger.id = $1");
    thread.applied = tx.optional(READING, &sql, &[&ledger])?.as_ref().map(movement).transpose()?;
    thread.postings = postings(tx, ledger)?;
    // A number holds every row up to its own cut-off, so it tells of this one when that is not below it.
    let sql = "SELECT offer.channel, offer.sku, pub_number, pub_revision, pub_at, pub_through FROM offer
               JOIN ledger ON ledger.item = offer.item WHERE ledger.id = $1 AND offer.active
               ORDER BY offer.channel, offer.sku";
    for row in tx.query(READING, sql, &[&ledger])? {
        let published = published(&row, 2)?.filter(|number| number.through.0 >= ledger.unsigned_abs());
        let publication = TracePublication { channel: text(&row, 0)?, sku: text(&row, 1)?, published };
        thread.publications.push(publication);
    }
    Ok(Some(thread))
}

fn postings(tx: &Tx<'_>, ledger: i64) -> Result<Vec<TracePosting>, StoreError> {
    let sql = "SELECT batch.erp, batch.id, batch.document, batch.state, batch.changed_at
               FROM posting JOIN batch ON batch.id = posting.batch
               WHERE posting.ledger = $1 AND batch.state <> 'split' ORDER BY batch.id";
    let instance = instance(tx)?;
    let posting = |row: &postgres::Row| {
        Ok(TracePosting {
            erp: erp_id(row, 0)?,
            reference: reference(&instance, get(row, 1)?),
            document: get(row, 2)?,
            state: word(row, 3, BatchState::from_name)?,
            at_ms: get(row, 4)?,
        })
    };
    tx.query(READING, sql, &[&ledger])?.iter().map(posting).collect()
}

pub(super) fn mentioning(tx: &Tx<'_>, word: &str, limit: usize) -> Result<Vec<Mentioned>, StoreError> {
    let sql = "SELECT site.site, stream.agent, stream.epoch, event.key, coalesce(resolved.bytes, fact.bytes),
                   event.received_at, event.ledger IS NOT NULL FROM mention
               JOIN stream ON stream.no = mention.event >> 40 JOIN site ON site.no = stream.site
               JOIN event ON event.site = stream.site AND event.key = mention.event
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               LEFT JOIN resolved ON resolved.event = event.key
               WHERE mention.word = $1 ORDER BY event.received_at, event.key LIMIT $2";
    let mentioned = |row: &postgres::Row| {
        let event = event(row, 4)?;
        let applied = get::<bool>(row, 6)? || matches!(event.body, Body::Handling(_));
        let (site, movement, received_at_ms) = (text(row, 0)?, movement_id(row, 1)?, get(row, 5)?);
        Ok(Mentioned { site, movement, event, received_at_ms, applied })
    };
    let rows = tx.query(READING, sql, &[&super::column::clean(word), &(limit as i64)])?;
    rows.iter().map(mentioned).collect()
}
