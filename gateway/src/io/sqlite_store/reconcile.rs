//! The ledger's side of a reconciliation in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use stockwire_protocol::{ItemId, LocationId, MovementId, Quantity, Sequence, SiteId, Uom};

use super::postings::reference;
use super::queries::ItemRows;
use super::{books, database, epoch, event_parts, snapshot, text, uom};
use crate::catalogue::ErpId;
use crate::ledger::LedgerId;
use crate::reconcile::{KnownLine, Snapshot, SnapshotRow};
use crate::store::StoreError;

const READING: &str = "reading the ledger's side of a reconciliation";

/// One place and item: balance, unposted, in flight.
type Sums = BTreeMap<(SiteId, LocationId, ItemId), (Uom, [i64; 3])>;

pub(super) fn snapshot_of(connection: &Connection, erp: &ErpId) -> Result<Snapshot, StoreError> {
    let view = snapshot(connection)?;
    let cutoff = books::head(&view)?;
    let mut sums = Sums::new();
    let named = "SELECT site.site, place.location, item.item, item.uom";
    let sql = format!(
        "{named}, sum(balance.steps) FROM balance JOIN place ON place.no = balance.place
         JOIN site ON site.no = place.site JOIN item ON item.no = balance.item
         WHERE place.kind = 0 AND site.erp = ?1 GROUP BY balance.item, balance.place"
    );
    add(&view, &sql, erp, (0, &mut sums))?;
    // Two entries for each row, at its two places.
    let entries = |from: &str, place: &str, sign: &str, condition: &str| {
        format!(
            "{named}, {sign}ledger.steps FROM {from} JOIN place ON place.no = ledger.{place}
             JOIN site ON site.no = place.site JOIN item ON item.no = ledger.item
             WHERE place.kind = 0 AND site.erp = ?1 AND ledger.steps > 0 AND {condition}"
        )
    };
    let batches = "batch JOIN posting ON posting.batch = batch.id JOIN ledger ON ledger.id = posting.ledger";
    let letters = "dead_letter JOIN ledger ON ledger.id = dead_letter.ledger";
    let sources = [
        ("ledger", "ledger.id > (SELECT through FROM erp WHERE erp = ?1)", 1),
        (batches, "batch.erp = ?1 AND batch.state IN ('planned', 'retry')", 1),
        (letters, "dead_letter.erp = ?1 AND dead_letter.class = 'posting' AND dead_letter.state = 'open'", 1),
        (batches, "batch.erp = ?1 AND batch.state IN ('sent', 'unknown')", 2),
    ];
    for (from, condition, column) in sources {
        add(&view, &entries(from, "from_place", "-", condition), erp, (column, &mut sums))?;
        add(&view, &entries(from, "to_place", "", condition), erp, (column, &mut sums))?;
    }
    let mut watermarks = Vec::new();
    let sql = "SELECT agent, epoch, watermark FROM stream ORDER BY agent, no";
    super::catalogue::each(&view, sql, |row| {
        watermarks.push((text(row, 0)?, epoch(row, 1)?, Sequence::new(row.get::<_, i64>(2)? as u64)));
        Ok(())
    })?;
    let rows = sums.into_iter().filter(|(_, (_, sums))| *sums != [0; 3]);
    let rows = rows.map(|((site, location, item), (uom, [balance, unposted, in_flight]))| {
        let quantity = |steps| Quantity { steps, uom };
        let (balance, unposted, in_flight) = (quantity(balance), quantity(unposted), quantity(in_flight));
        SnapshotRow { site, location, item, balance, unposted, in_flight }
    });
    Ok(Snapshot { cutoff, watermarks, rows: rows.collect() })
}

fn add(
    view: &Connection,
    sql: &str,
    erp: &ErpId,
    (column, sums): (usize, &mut Sums),
) -> Result<(), StoreError> {
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let mut rows = statement.query([erp.as_str()]).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        let read = |row: &Row<'_>| -> rusqlite::Result<_> {
            Ok(((text(row, 0)?, text(row, 1)?, text(row, 2)?), uom(row, 3)?, row.get::<_, i64>(4)?))
        };
        let (key, uom, steps) = read(row).map_err(database(READING))?;
        sums.entry(key).or_insert((uom, [0; 3])).1[column] += steps;
    }
    Ok(())
}

pub(super) fn known_lines(
    connection: &Connection,
    erp: &ErpId,
    keys: &[(SiteId, LocationId, ItemId)],
    limit: usize,
) -> Result<Vec<KnownLine>, StoreError> {
    let view = snapshot(connection)?;
    let sql = "SELECT ledger.id, stream.agent, stream.epoch, ledger.event,
                   CASE WHEN ledger.to_place = place.no THEN ledger.steps ELSE -ledger.steps END,
                   (SELECT max(batch.id) FROM posting JOIN batch ON batch.id = posting.batch
                       WHERE posting.ledger = ledger.id AND batch.erp = ?1 AND batch.state = 'done'),
                   (SELECT value FROM meta WHERE key = 'instance')
               FROM ledger JOIN stream ON stream.no = ledger.event >> 40
               JOIN place ON place.no IN (ledger.from_place, ledger.to_place) AND place.kind = 0
               JOIN site ON site.no = place.site
               WHERE ledger.id = ?4 AND site.site = ?2 AND place.location = ?3 AND ledger.steps > 0";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let mut lines = Vec::new();
    for (site, location, item) in keys {
        let wanted = ItemRows { item, site: Some(site), location: Some(location), before: i64::MAX, limit };
        for id in wanted.find(&view)? {
            let read = |row: &Row<'_>| {
                let sequence = event_parts(row.get(3)?).1;
                let batch: Option<i64> = row.get(5)?;
                let instance: String = row.get(6)?;
                Ok(KnownLine {
                    ledger: LedgerId(row.get::<_, i64>(0)? as u64),
                    movement: MovementId { agent: text(row, 1)?, epoch: epoch(row, 2)?, sequence },
                    site: site.clone(),
                    location: location.clone(),
                    item: item.clone(),
                    steps: row.get(4)?,
                    reference: batch.map(|batch| reference(&instance, batch)),
                })
            };
            let values = params![erp.as_str(), site.as_str(), location.as_str(), id];
            lines.extend(statement.query_row(values, read).optional().map_err(database(READING))?);
        }
    }
    Ok(lines)
}
