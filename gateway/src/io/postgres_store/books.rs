//! Opening the books, and proving them.

use std::collections::{BTreeMap, HashSet};

use postgres::Row;
use sha2::{Digest as _, Sha256};
use stockwire_protocol::SiteId;

use super::catalogue::{Rows, index, refused};
use super::column::{count, disposition, disposition_text, get, lot_text, optional, text};
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, bump, ingest, instance};
use crate::catalogue::{ErpId, ItemNo, PlaceNo};
use crate::io::book_row::BookRow;
use crate::ledger::{BalanceKey, LedgerId, OpeningLine, Shelves, Transfer};
use crate::store::{BooksReport, StoreError};

const OPENING: &str = "booking the opening stock";
const VERIFYING: &str = "verifying the books";

impl PostgresStore {
    pub(super) fn put_opening(
        &mut self,
        at_ms: i64,
        erp: &ErpId,
        lines: &[OpeningLine],
    ) -> Result<bool, StoreError> {
        self.session.write(OPENING, Lock::Books, |tx| open(tx, at_ms, erp, lines))
    }
}

/// Whether the opening stock of an ERP's sites is booked.
pub(super) fn are_open(tx: &Tx<'_>, erp: &ErpId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT FROM erp WHERE erp = $1 AND opened_at IS NOT NULL)";
    get(&tx.one(OPENING, sql, &[&erp.as_str()])?, 0)
}

/// Books the opening stock of an ERP's sites, once.
fn open(tx: &Tx<'_>, at_ms: i64, erp: &ErpId, lines: &[OpeningLine]) -> Result<bool, StoreError> {
    let name = erp.as_str();
    match tx.optional(OPENING, "SELECT opened_at IS NOT NULL FROM erp WHERE erp = $1", &[&name])? {
        None => return refused(format!("{erp} has given no catalogue yet")),
        Some(row) if get(&row, 0)? => return Ok(false),
        Some(_) => {}
    }
    let mut own: HashSet<SiteId> = HashSet::new();
    for row in tx.query(OPENING, "SELECT site FROM site WHERE erp = $1", &[&name])? {
        own.insert(text(&row, 0)?);
    }
    if let Some(line) = lines.iter().find(|line| !own.contains(&line.site)) {
        return refused(format!("site {} is not one of {erp}'s", line.site));
    }
    // A count that was booked before would already hold what the opening is about to add.
    let sql = "SELECT EXISTS (SELECT FROM ledger JOIN place ON place.no = ledger.to_place
                   JOIN site ON site.no = place.site WHERE site.erp = $1)";
    if get(&tx.one(OPENING, sql, &[&name])?, 0)? {
        return refused(format!("sites of {erp} have movements already: the opening stock comes first"));
    }
    let instance = instance(tx)?;
    let index = index(tx, Rows::Active)?;
    let writes = crate::ingest::opening(&index, head(tx)?, at_ms, (&instance, erp), lines)
        .map_err(|reason| StoreError::Refused { reason: format!("opening stock: {reason}") })?;
    ingest::write_opening(tx, &writes)?;
    // The ERP has this stock: its cursor starts behind it.
    let head = head(tx)?.0.cast_signed();
    let sql = "UPDATE erp SET opened_at = $2, through = $3 WHERE erp = $1";
    tx.execute(OPENING, sql, &[&name, &at_ms, &head])?;
    bump(tx, Counter::Index)?;
    Ok(true)
}

/// Last row of the books.
pub(super) fn head(tx: &Tx<'_>) -> Result<LedgerId, StoreError> {
    let row = tx.one("reading the head of the books", "SELECT head FROM books", &[])?;
    count(&row, 0).map(LedgerId)
}

/// Rows from event bytes, balances from rows; both against what is stored.
pub(super) fn verify(tx: &Tx<'_>) -> Result<BooksReport, StoreError> {
    let index = index(tx, Rows::All)?;
    let mut findings = Vec::new();
    let mut find = |finding: String| {
        if findings.len() < BooksReport::FINDINGS_MAX {
            findings.push(finding);
        }
    };
    let events = verify_streams(tx, &mut find)?;

    let mut shelves = Shelves::default();
    let mut balances: BTreeMap<BalanceKey, i64> = BTreeMap::new();
    let mut hashes = [Sha256::new(), Sha256::new()];
    let mut rows_read: u64 = 0;
    let sql = "SELECT ledger.id, ledger.event, ledger.item, from_place, to_place, steps, lot, disposition, event.ledger,
                   coalesce(resolved.bytes, fact.bytes), site.site
               FROM ledger LEFT JOIN event ON event.site = ledger.site AND event.key = ledger.event
               LEFT JOIN fact ON fact.site = event.site AND fact.key = event.key
                   AND fact.received_at = event.received_at
               LEFT JOIN resolved ON resolved.event = event.key
               LEFT JOIN stream ON stream.no = event.key >> 40 LEFT JOIN site ON site.no = stream.site
               ORDER BY ledger.id";
    tx.each(VERIFYING, sql, &[], |row| {
        rows_read += 1;
        let stored = read_row(row)?;
        if stored.id.unsigned_abs() != rows_read {
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
        Ok(())
    })?;
    if head(tx)?.0 != rows_read {
        find(format!("the books say that they have {} rows, there are {rows_read}", head(tx)?.0));
    }
    balances.retain(|_, steps| *steps != 0);
    let stored = stored_balances(tx, &mut find)?;
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

/// Every stream holds exactly 1 to its watermark, each with its bytes, and every event's row is that event's.
fn verify_streams(tx: &Tx<'_>, find: &mut impl FnMut(String)) -> Result<u64, StoreError> {
    let mut events = 0;
    let sql = "SELECT agent, encode(epoch, 'hex'), watermark,
                   (SELECT count(*) FROM event WHERE event.site = stream.site
                       AND key > no << 40 AND key <= (no << 40) + watermark),
                   (SELECT count(*) FROM event JOIN fact USING (site, key, received_at)
                       WHERE event.site = stream.site AND key >= no << 40 AND key < (no + 1) << 40),
                   (SELECT count(*) FROM event WHERE key >> 40 = no)
               FROM stream ORDER BY no";
    for row in tx.query(VERIFYING, sql, &[])? {
        let (agent, epoch): (&str, &str) = (get(&row, 0)?, get(&row, 1)?);
        let (watermark, within) = (count(&row, 2)?, count(&row, 3)?);
        let (whole, all) = (count(&row, 4)?, count(&row, 5)?);
        events += all;
        if [within, whole, all] != [watermark; 3] {
            find(format!(
                "stream {agent}/{epoch} holds {within} events up to its watermark {watermark}, {whole} of them whole, \
                 and {all} in all"
            ));
        }
    }
    let sql = "SELECT event.key, event.ledger FROM event LEFT JOIN ledger ON ledger.id = event.ledger
               WHERE event.ledger IS NOT NULL
                   AND (ledger.event IS DISTINCT FROM event.key OR ledger.site IS DISTINCT FROM event.site)";
    for row in tx.query(VERIFYING, sql, &[])? {
        let (key, ledger): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
        find(format!("event {key} claims row {ledger} of the books, which is not its own"));
    }
    Ok(events)
}

fn read_row(row: &Row) -> Result<BookRow, StoreError> {
    let source = match get::<Option<Vec<u8>>>(row, 9)? {
        Some(bytes) => Some((text(row, 10)?, bytes, get(row, 8)?)),
        None => None,
    };
    let transfer = Transfer {
        item: ItemNo(get(row, 2)?),
        from: PlaceNo(get(row, 3)?),
        to: PlaceNo(get(row, 4)?),
        steps: get(row, 5)?,
        lot: optional(row, 6)?,
        disposition: disposition(row, 7)?,
    };
    Ok(BookRow { id: get(row, 0)?, event: get(row, 1)?, transfer, source })
}

fn stored_balances(
    tx: &Tx<'_>,
    find: &mut impl FnMut(String),
) -> Result<BTreeMap<BalanceKey, i64>, StoreError> {
    let mut balances = BTreeMap::new();
    let sql = "SELECT balance.item, balance.place, lot, disposition, steps, balance.site IS DISTINCT FROM place.site
               FROM balance LEFT JOIN place ON place.no = balance.place WHERE steps <> 0";
    tx.each(VERIFYING, sql, &[], |row| {
        let key = BalanceKey {
            item: ItemNo(get(row, 0)?),
            place: PlaceNo(get(row, 1)?),
            lot: optional(row, 2)?,
            disposition: disposition(row, 3)?,
        };
        if get(row, 5)? {
            find(format!("balance {key:?} stands under another site than its place's"));
        }
        balances.insert(key, get(row, 4)?);
        Ok(())
    })?;
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
