//! Opening the books, and proving them.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use sha2::{Digest as _, Sha256};
use stockwire_protocol::SiteId;

use super::catalogue::{Rows, index_of};
use super::{bump, database, disposition, disposition_text, ingest, lot_text, optional, snapshot, text};
use crate::catalogue::{ErpId, ItemNo, PlaceNo};
use crate::io::book_row::BookRow;
use crate::ledger::{BalanceKey, LedgerId, OpeningLine, Shelves, Transfer};
use crate::store::{BooksReport, StoreError};

const OPENING: &str = "booking the opening stock";
const VERIFYING: &str = "verifying the books";

/// Whether the opening stock of an ERP's sites is booked.
pub(super) fn are_open(connection: &Connection, erp: &ErpId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM erp WHERE erp = ?1 AND opened_at IS NOT NULL)";
    let mut statement = connection.prepare_cached(sql).map_err(database(OPENING))?;
    statement.query_row([erp.as_str()], |row| row.get(0)).map_err(database(OPENING))
}

/// Books the opening stock of an ERP's sites, once.
pub(super) fn open(
    tx: &Transaction<'_>,
    at_ms: i64,
    erp: &ErpId,
    lines: &[OpeningLine],
) -> Result<bool, StoreError> {
    let refused = |reason: String| Err(StoreError::Refused { reason });
    let opened: Option<Option<i64>> = tx
        .query_row("SELECT opened_at FROM erp WHERE erp = ?1", [erp.as_str()], |row| row.get(0))
        .optional()
        .map_err(database(OPENING))?;
    match opened {
        None => return refused(format!("{erp} has given no catalogue yet")),
        Some(Some(_)) => return Ok(false),
        Some(None) => {}
    }
    let own: HashSet<SiteId> = {
        let mut statement =
            tx.prepare_cached("SELECT site FROM site WHERE erp = ?1").map_err(database(OPENING))?;
        let rows = statement.query_map([erp.as_str()], |row| text(row, 0)).map_err(database(OPENING))?;
        rows.collect::<rusqlite::Result<_>>().map_err(database(OPENING))?
    };
    if let Some(line) = lines.iter().find(|line| !own.contains(&line.site)) {
        return refused(format!("site {} is not one of {erp}'s", line.site));
    }
    // A count that was booked before would already hold what the opening is about to add.
    let booked: bool = tx
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM ledger JOIN place ON place.no = ledger.to_place
                 JOIN site ON site.no = place.site WHERE site.erp = ?1)",
            [erp.as_str()],
            |row| row.get(0),
        )
        .map_err(database(OPENING))?;
    if booked {
        return refused(format!("sites of {erp} have movements already: the opening stock comes first"));
    }
    let instance: String = tx
        .query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))
        .map_err(database(OPENING))?;
    let index = index_of(tx, Rows::Active)?;
    let writes = crate::ingest::opening(&index, head(tx)?, at_ms, (&instance, erp), lines)
        .map_err(|reason| StoreError::Refused { reason: format!("opening stock: {reason}") })?;
    ingest::write(tx, &writes)?;
    // The ERP has this stock: its cursor starts behind it.
    tx.execute(
        "UPDATE erp SET opened_at = ?2, through = ?3 WHERE erp = ?1",
        params![erp.as_str(), at_ms, head(tx)?.0 as i64],
    )
    .map_err(database(OPENING))?;
    bump(tx, "index_revision")?;
    Ok(true)
}

/// Last row of the books.
pub(super) fn head(connection: &Connection) -> Result<LedgerId, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM ledger")
        .map_err(database("reading the head of the books"))?;
    let head: i64 =
        statement.query_row([], |row| row.get(0)).map_err(database("reading the head of the books"))?;
    Ok(LedgerId(head as u64))
}

/// Rows from event bytes, balances from rows; both against what is stored.
pub(super) fn verify(connection: &Connection) -> Result<BooksReport, StoreError> {
    let tx = snapshot(connection)?;
    let index = index_of(&tx, Rows::All)?;
    let mut findings = Vec::new();
    let mut find = |finding: String| {
        if findings.len() < BooksReport::FINDINGS_MAX {
            findings.push(finding);
        }
    };
    let events = verify_streams(&tx, &mut find)?;

    let mut shelves = Shelves::default();
    let mut balances: BTreeMap<BalanceKey, i64> = BTreeMap::new();
    let mut hashes = [Sha256::new(), Sha256::new()];
    let mut rows_read: u64 = 0;
    let sql = "SELECT ledger.id, ledger.event, ledger.item, from_place, to_place, steps, lot, disposition, event.ledger,
                   coalesce(resolved.bytes, event.bytes), stream.site
               FROM ledger LEFT JOIN event ON event.key = ledger.event LEFT JOIN stream ON stream.no = event.key >> 40
                   LEFT JOIN resolved ON resolved.event = event.key
               ORDER BY ledger.id";
    let mut statement = tx.prepare(sql).map_err(database(VERIFYING))?;
    let mut rows = statement.query([]).map_err(database(VERIFYING))?;
    while let Some(row) = rows.next().map_err(database(VERIFYING))? {
        rows_read += 1;
        let stored = read_row(row).map_err(database(VERIFYING))?;
        if stored.id != rows_read as i64 {
            find(format!("row {rows_read} of the books is missing, the next is {}", stored.id));
        }
        hashes[0].update(stored.line());
        let from_event = match stored.again(&index, &mut shelves) {
            Ok(transfer) => transfer,
            Err(reason) => {
                find(format!("row {} cannot be derived from its event: {reason}", stored.id));
                None
            }
        };
        match from_event {
            Some(transfer) => {
                let again = BookRow { transfer, ..stored.clone() };
                if again.transfer != stored.transfer {
                    find(format!(
                        "row {}: its event says {:?}, the books {:?}",
                        stored.id, again.transfer, stored.transfer
                    ));
                }
                hashes[1].update(again.line());
            }
            None => find(format!("row {} has no event that explains it", stored.id)),
        }
        for (key, steps) in stored.transfer.entries() {
            shelves.follow(key.item, key.place);
            shelves.add(&key, steps);
            let balance = balances.entry(key).or_default();
            *balance = balance
                .checked_add(steps)
                .ok_or_else(|| StoreError::Corrupt { what: "a balance overflows".into() })?;
        }
    }
    balances.retain(|_, steps| *steps != 0);
    let stored = stored_balances(&tx)?;
    for (key, steps) in &stored {
        if balances.get(key) != Some(steps) {
            find(format!(
                "balance {key:?} is {steps}, its entries sum to {}",
                balances.get(key).copied().unwrap_or(0)
            ));
        }
    }
    for (key, steps) in balances.iter().filter(|(key, _)| !stored.contains_key(key)) {
        find(format!("balance {key:?} is missing, its entries sum to {steps}"));
    }
    let [stored_rows, derived_rows] = hashes.map(|hash| hash.finalize().into());
    Ok(BooksReport {
        events,
        rows: rows_read,
        balances: stored.len() as u64,
        rows_hash: [stored_rows, derived_rows],
        balances_hash: [balances_hash(&stored), balances_hash(&balances)],
        findings,
    })
}

/// Every stream holds exactly 1 to its watermark, and every event's row in the books is that event's.
fn verify_streams(tx: &Connection, find: &mut impl FnMut(String)) -> Result<u64, StoreError> {
    let mut events = 0;
    let sql = "SELECT agent, hex(epoch), watermark, (SELECT count(*) FROM event WHERE key > no << 40 AND key <= (no << 40) + watermark),
                   (SELECT count(*) FROM event WHERE key >= no << 40 AND key < (no + 1) << 40) FROM stream";
    super::catalogue::each(tx, sql, |row| {
        let (agent, epoch): (String, String) = (row.get(0)?, row.get(1)?);
        let (watermark, within, all): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        events += all as u64;
        if within != watermark || all != watermark {
            find(format!(
                "stream {agent}/{epoch} holds {within} events up to its watermark {watermark}, and {all} in all"
            ));
        }
        Ok(())
    })?;
    let sql = "SELECT event.key, event.ledger FROM event LEFT JOIN ledger ON ledger.id = event.ledger
               WHERE event.ledger IS NOT NULL AND ledger.event IS NOT event.key";
    super::catalogue::each(tx, sql, |row| {
        let (key, ledger): (i64, i64) = (row.get(0)?, row.get(1)?);
        find(format!("event {key} claims row {ledger} of the books, which is not its own"));
        Ok(())
    })?;
    Ok(events)
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<BookRow> {
    let source = match row.get::<_, Option<Vec<u8>>>(9)? {
        Some(bytes) => Some((text(row, 10)?, bytes, row.get(8)?)),
        None => None,
    };
    let transfer = Transfer {
        item: ItemNo(row.get(2)?),
        from: PlaceNo(row.get(3)?),
        to: PlaceNo(row.get(4)?),
        steps: row.get(5)?,
        lot: optional(row, 6)?,
        disposition: disposition(row, 7)?,
    };
    Ok(BookRow { id: row.get(0)?, event: row.get(1)?, transfer, source })
}

fn stored_balances(tx: &Connection) -> Result<BTreeMap<BalanceKey, i64>, StoreError> {
    let mut balances = BTreeMap::new();
    super::catalogue::each(
        tx,
        "SELECT item, place, lot, disposition, steps FROM balance WHERE steps <> 0",
        |row| {
            let key = BalanceKey {
                item: ItemNo(row.get(0)?),
                place: PlaceNo(row.get(1)?),
                lot: optional(row, 2)?,
                disposition: disposition(row, 3)?,
            };
            balances.insert(key, row.get(4)?);
            Ok(())
        },
    )?;
    Ok(balances)
}

fn balances_hash(balances: &BTreeMap<BalanceKey, i64>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (key, steps) in balances {
        for number in [key.item.0, key.place.0, *steps] {
            hash.update(number.to_be_bytes());
        }
        for word in [lot_text(key.lot.as_ref()), disposition_text(key.disposition)] {
            hash.update((word.len() as u32).to_be_bytes());
            hash.update(word.as_bytes());
        }
    }
    hash.finalize().into()
}
