//! The ledger's side of a reconciliation in PostgreSQL.

use std::collections::BTreeMap;

use stockwire_protocol::{ItemId, LocationId, Quantity, SiteId, Uom};

use super::column::{count, epoch, get, movement, sequence, text, uom};
use super::postings::reference;
use super::queries::ItemRows;
use super::{Tx, books, instance};
use crate::catalogue::ErpId;
use crate::ledger::LedgerId;
use crate::reconcile::{KnownLine, Snapshot, SnapshotRow};
use crate::store::StoreError;

const READING: &str = "reading the ledger's side of a reconciliation";

/// One place and item: balance, unposted, in flight.
type Sums = BTreeMap<(SiteId, LocationId, ItemId), (Uom, [i64; 3])>;

pub(super) fn snapshot_of(tx: &Tx<'_>, erp: &ErpId) -> Result<Snapshot, StoreError> {
    let cutoff = books::head(tx)?;
    let mut sums = Sums::new();
    let named = "SELECT site.site, place.location, item.item, item.uom";
    let sql = format!(
        "{named}, balance.steps FROM balance JOIN place ON place.no = balance.place
         JOIN site ON site.no = place.site JOIN item ON item.no = balance.item
         WHERE place.kind = 0 AND site.erp = $1"
    );
    add(tx, &sql, erp, (0, &mut sums))?;
    // Two entries for each row, at its two places.
    let entries = |from: &str, place: &str, sign: &str, condition: &str| {
        format!(
            "{named}, {sign}ledger.steps FROM {from} JOIN place ON place.no = ledger.{place}
             JOIN site ON site.no = place.site JOIN item ON item.no = ledger.item
             WHERE place.kind = 0 AND site.erp = $1 AND ledger.steps > 0 AND {condition}"
        )
    };
    let batches = "batch JOIN posting ON posting.batch = batch.id JOIN ledger ON ledger.id = posting.ledger";
    let letters = "dead_letter JOIN ledger ON ledger.id = dead_letter.ledger";
    let sources = [
        ("ledger", "ledger.id > (SELECT through FROM erp WHERE erp = $1)", 1),
        (batches, "batch.erp = $1 AND batch.state IN ('planned', 'retry')", 1),
        (letters, "dead_letter.erp = $1 AND dead_letter.class = 'posting' AND dead_letter.state = 'open'", 1),
        (batches, "batch.erp = $1 AND batch.state IN ('sent', 'unknown')", 2),
    ];
    for (from, condition, column) in sources {
        add(tx, &entries(from, "from_place", "-", condition), erp, (column, &mut sums))?;
        add(tx, &entries(from, "to_place", "", condition), erp, (column, &mut sums))?;
    }
    let mut watermarks = Vec::new();
    for row in tx.query(READING, "SELECT agent, epoch, watermark FROM stream ORDER BY agent, no", &[])? {
        watermarks.push((text(&row, 0)?, epoch(&row, 1)?, sequence(&row, 2)?));
    }
    let rows = sums.into_iter().filter(|(_, (_, sums))| *sums != [0; 3]);
    let rows = rows.map(|((site, location, item), (uom, [balance, unposted, in_flight]))| {
        let quantity = |steps| Quantity { steps, uom };
        let (balance, unposted, in_flight) = (quantity(balance), quantity(unposted), quantity(in_flight));
        SnapshotRow { site, location, item, balance, unposted, in_flight }
    });
    Ok(Snapshot { cutoff, watermarks, rows: rows.collect() })
}

fn add(tx: &Tx<'_>, sql: &str, erp: &ErpId, (column, sums): (usize, &mut Sums)) -> Result<(), StoreError> {
    tx.each(READING, sql, &[&erp.as_str()], |row| {
        let key = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
        sums.entry(key).or_insert((uom(row, 3)?, [0; 3])).1[column] += get::<i64>(row, 4)?;
        Ok(())
    })
}

pub(super) fn known_lines(
    tx: &Tx<'_>,
    erp: &ErpId,
    keys: &[(SiteId, LocationId, ItemId)],
    limit: usize,
) -> Result<Vec<KnownLine>, StoreError> {
    let instance = instance(tx)?;
    let sql = "SELECT ledger.id, stream.agent, stream.epoch, ledger.event,
                   CASE WHEN ledger.to_place = place.no THEN ledger.steps ELSE -ledger.steps END,
                   (SELECT max(batch.id) FROM posting JOIN batch ON batch.id = posting.batch
                       WHERE posting.ledger = ledger.id AND batch.erp = $1 AND batch.state = 'done')
               FROM ledger JOIN stream ON stream.no = ledger.event >> 40
               JOIN place ON place.no IN (ledger.from_place, ledger.to_place) AND place.kind = 0
               JOIN site ON site.no = place.site
               WHERE ledger.id = ANY($4) AND site.site = $2 AND place.location = $3 AND ledger.steps > 0
               ORDER BY ledger.id DESC";
    let mut lines = Vec::new();
    for (site, location, item) in keys {
        let wanted = ItemRows { item, site: Some(site), location: Some(location), before: i64::MAX, limit };
        let ids = wanted.find(tx)?;
        for row in tx.query(READING, sql, &[&erp.as_str(), &site.as_str(), &location.as_str(), &ids])? {
            let batch: Option<i64> = get(&row, 5)?;
            lines.push(KnownLine {
                ledger: LedgerId(count(&row, 0)?),
                movement: movement(&row, 1)?,
                site: site.clone(),
                location: location.clone(),
                item: item.clone(),
                steps: get(&row, 4)?,
                reference: batch.map(|batch| reference(&instance, batch)),
            });
        }
    }
    Ok(lines)
}
