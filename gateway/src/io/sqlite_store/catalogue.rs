//! Items, places, listings and channels in SQLite.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ChannelId, ItemId, Place, SiteId};

use super::{
    PLACE_AT, SqliteStore, bump, database, meta, page_rows, place, place_kind, snapshot, text, unreadable,
    uom,
};
use crate::availability::{Basis, ChannelPolicy};
use crate::catalogue::{
    ErpId, Index, Item, ItemFacts, ItemNo, Listing, ListingsChange, PlaceNo, Site, SitePlaces, Snapshot,
};
use crate::io::selling_row::SellingRow;
use crate::ledger::OpeningLine;
use crate::store::StoreError;

const READING: &str = "reading the catalogue";
const WRITING: &str = "writing the catalogue";

const VIRTUAL: [Place; 4] = [Place::Supplier, Place::Customer, Place::Loss, Place::Transit];

impl SqliteStore {
    pub(super) fn put_catalogue(&mut self, erp: &ErpId, snapshot: &Snapshot) -> Result<u64, StoreError> {
        self.write(WRITING, |tx| {
            let before = (table_state(tx)?, meta(tx, "catalogue_revision")?);
            tx.execute(
                "INSERT INTO erp (erp, through) VALUES (?1, 0) ON CONFLICT DO NOTHING",
                [erp.as_str()],
            )
            .map_err(database(WRITING))?;
            let next = before.1 + 1;
            // Until the end: 2 was not active, 3 was; what is still so then is not in the snapshot.
            for sql in [
                "UPDATE site SET active = 0 WHERE erp = ?1",
                "UPDATE item SET active = active + 2 WHERE erp = ?1",
                "UPDATE place SET active = active + 2
                 WHERE kind = 0 AND site IN (SELECT no FROM site WHERE erp = ?1)",
            ] {
                tx.execute(sql, [erp.as_str()]).map_err(database(WRITING))?;
            }
            put_sites(tx, erp, snapshot, next)?;
            put_items(tx, erp, snapshot, next)?;
            for table in ["item", "place"] {
                let sql = format!(
                    "UPDATE {table} SET changed = CASE active WHEN 3 THEN ?1 ELSE changed END, active = 0
                     WHERE active >= 2"
                );
                tx.execute(&sql, [next]).map_err(database(WRITING))?;
            }
            if table_state(tx)? == before.0 {
                return Ok(before.1 as u64);
            }
            put_codes(tx, next)?;
            bump(tx, "index_revision")?;
            Ok(bump(tx, "catalogue_revision")? as u64)
        })
    }

    pub(super) fn put_listings(
        &mut self,
        channel: &ChannelId,
        listings: &[Listing],
    ) -> Result<ListingsChange, StoreError> {
        self.write("writing listings", |tx| {
            let mut change = ListingsChange { channel: channel.clone(), unknown_items: Vec::new(), active: 0 };
            tx.execute("UPDATE offer SET active = 0 WHERE channel = ?1", [channel.as_str()])
                .map_err(database(WRITING))?;
            let sql = "INSERT INTO offer (channel, sku, item, reference, active, revision, number, sites, through,
                           next_at, attempts, unresolved, adrift, change)
                       SELECT ?1, ?2, no, ?4, 1, 0, 0, '[]', 0, 0, 0, 0, '[]', 0 FROM item WHERE item = ?3
                       ON CONFLICT DO UPDATE SET item = excluded.item, reference = excluded.reference, active = 1";
            let mut upsert = tx.prepare_cached(sql).map_err(database(WRITING))?;
            for listing in listings {
                let Listing { sku, item, reference } = listing;
                let values = params![channel.as_str(), sku.as_str(), item.as_str(), reference];
                match upsert.execute(values).map_err(database(WRITING))? {
                    0 => change.unknown_items.push(listing.clone()),
                    _ => change.active += 1,
                }
            }
            // Every number of this channel is computed anew: its item may be another one now.
            stale_channel(tx, channel.as_str())?;
            bump(tx, "index_revision")?;
            Ok(change)
        })
    }

    pub(super) fn put_channels(&mut self, policies: &[ChannelPolicy]) -> Result<(), StoreError> {
        self.write("writing channels", |tx| {
            let before = channels(tx)?;
            tx.execute("UPDATE channel SET active = 0", []).map_err(database(WRITING))?;
            for policy in policies {
                let sites: Vec<&str> = policy.sites.iter().map(SiteId::as_str).collect();
                let basis = match policy.basis {
                    Basis::OnHand => "on_hand",
                    Basis::Net => "net",
                };
                let sql = "INSERT INTO channel (channel, sites, safety_stock, threshold, cap, basis, active, selling)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7) ON CONFLICT DO UPDATE SET sites = ?2,
                           safety_stock = ?3, threshold = ?4, cap = ?5, basis = ?6, active = 1, selling = ?7";
                let (safety_stock, threshold) = (policy.safety_stock, policy.out_of_stock_threshold);
                let (channel, selling) = (policy.channel.as_str(), json(&SellingRow::of(&policy.selling))?);
                let values =
                    params![channel, json(&sites)?, safety_stock, threshold, policy.cap, basis, selling];
                tx.execute(sql, values).map_err(database(WRITING))?;
                if before.get(&policy.channel) != Some(policy) {
                    stale_channel(tx, policy.channel.as_str())?;
                }
            }
            bump(tx, "index_revision")?;
            Ok(())
        })
    }

    pub(super) fn put_opening(
        &mut self,
        at_ms: i64,
        erp: &ErpId,
        lines: &[OpeningLine],
    ) -> Result<bool, StoreError> {
        self.write("booking the opening stock", |tx| super::books::open(tx, at_ms, erp, lines))
    }
}

/// The revision that marks all items of a channel as stale: their numbers are computed anew at the next take.
fn stale_channel(tx: &Connection, channel: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item (item, since) SELECT DISTINCT item, 0 FROM offer WHERE channel = ?1 AND active = 1
               ON CONFLICT DO NOTHING";
    tx.execute(sql, [channel]).map_err(database(WRITING))?;
    Ok(())
}

/// Everything in the catalogue as one text: whether a snapshot changed anything is seen by comparing it.
fn table_state(tx: &Connection) -> Result<[u8; 32], StoreError> {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for sql in [
        "SELECT concat_ws(char(31), site, erp, reference, active) FROM site ORDER BY no",
        "SELECT concat_ws(char(31), site, kind, location, reference, active) FROM place ORDER BY no",
        "SELECT concat_ws(char(31), item, name, uom, gtins, codes, erp, coalesce(reference, ''), active) FROM item ORDER BY no",
    ] {
        let mut statement = tx.prepare_cached(sql).map_err(database(READING))?;
        let mut rows = statement.query([]).map_err(database(READING))?;
        while let Some(row) = rows.next().map_err(database(READING))? {
            let line = row.get_ref(0).map_err(database(READING))?;
            hash.update(line.as_bytes().map_err(|fault| StoreError::Corrupt { what: fault.to_string() })?);
            hash.update([30]);
        }
    }
    Ok(hash.finalize().into())
}

fn put_sites(tx: &Transaction<'_>, erp: &ErpId, snapshot: &Snapshot, next: i64) -> Result<(), StoreError> {
    let mut upsert_site = tx
        .prepare_cached(
            "INSERT INTO site (site, erp, reference, active) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (site) DO UPDATE SET reference = ?3, active = 1 WHERE erp = ?2 RETURNING no",
        )
        .map_err(database(WRITING))?;
    let mut upsert_place = tx
        .prepare_cached(
            "INSERT INTO place (site, kind, location, reference, active, changed) VALUES (?1, ?2, ?3, ?4, 1, ?5)
             ON CONFLICT (site, kind, location) DO UPDATE SET reference = ?4, active = 1,
                 changed = CASE WHEN place.active IN (1, 3) THEN place.changed ELSE ?5 END",
        )
        .map_err(database(WRITING))?;
    let mut numbers: BTreeMap<&SiteId, i64> = BTreeMap::new();
    for Site { site, reference } in &snapshot.sites {
        let no: Option<i64> = upsert_site
            .query_row(params![site.as_str(), erp.as_str(), reference], |row| row.get(0))
            .optional()
            .map_err(database(WRITING))?;
        let no =
            no.ok_or_else(|| StoreError::Refused { reason: format!("site {site} belongs to another ERP") })?;
        numbers.insert(site, no);
        for place in &VIRTUAL {
            let (kind, location) = place_kind(place);
            upsert_place
                .execute(params![no, kind, location, None::<&str>, next])
                .map_err(database(WRITING))?;
        }
    }
    for location in &snapshot.locations {
        let no = numbers.get(&location.site).ok_or_else(|| StoreError::Refused {
            reason: format!(
                "location {} is at site {}, which the snapshot lacks",
                location.location, location.site
            ),
        })?;
        upsert_place
            .execute(params![no, PLACE_AT, location.location.as_str(), location.reference, next])
            .map_err(database(WRITING))?;
    }
    Ok(())
}

fn put_items(tx: &Transaction<'_>, erp: &ErpId, snapshot: &Snapshot, next: i64) -> Result<(), StoreError> {
    // Another unit is only accepted while nothing is booked in the old one.
    let mut upsert = tx
        .prepare_cached(
            "INSERT INTO item (item, name, uom, gtins, codes, erp, reference, active, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)
             ON CONFLICT (item) DO UPDATE SET name = ?2, uom = ?3, gtins = ?4, codes = ?5, reference = ?7, active = 1,
                 changed = CASE WHEN item.active = 3 AND name = ?2 AND uom = ?3 AND gtins = ?4 AND codes = ?5
                                THEN changed ELSE ?8 END
             WHERE erp = ?6 AND (uom = ?3 OR NOT EXISTS (SELECT 1 FROM balance WHERE balance.item = item.no))",
        )
        .map_err(database(WRITING))?;
    let mut seen = BTreeSet::new();
    for item in &snapshot.items {
        if !seen.insert(&item.id) {
            return Err(StoreError::Refused { reason: format!("the snapshot has item {} twice", item.id) });
        }
        let gtins: Vec<String> = item.gtins.iter().map(ToString::to_string).collect();
        let values = params![
            item.id.as_str(),
            item.name,
            item.uom.code(),
            json(&gtins)?,
            json(&item.codes)?,
            erp.as_str(),
            item.reference,
            next,
        ];
        if upsert.execute(values).map_err(database(WRITING))? == 0 {
            return Err(StoreError::Refused {
                reason: format!(
                    "item {} is booked in another unit than {}, or belongs to another ERP",
                    item.id, item.uom
                ),
            });
        }
    }
    Ok(())
}

/// The codes of the items that this revision changed, for look-ups.
fn put_codes(tx: &Connection, revision: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM item_code WHERE source = 0 AND item IN (SELECT no FROM item WHERE changed = ?1)";
    tx.execute(sql, [revision]).map_err(database(WRITING))?;
    for (kind, column) in [(0, "gtins"), (1, "codes")] {
        let sql = format!(
            "INSERT INTO item_code (kind, code, item, source, pieces)
             SELECT DISTINCT {kind}, code.value, item.no, 0, 1 FROM item, json_each(item.{column}) AS code
             WHERE item.changed = ?1 AND item.active = 1"
        );
        tx.execute(&sql, [revision]).map_err(database(WRITING))?;
    }
    Ok(())
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|fault| StoreError::Corrupt { what: fault.to_string() })
}

pub(super) fn list(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|fault| unreadable(at, Box::new(fault)))
}

pub(super) fn gtins(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<Gtin>> {
    let texts = list(row, at)?;
    texts
        .iter()
        .map(|text| Gtin::parse(text).map_err(|fault| unreadable(at, fault.to_string().into())))
        .collect()
}

/// The catalogue as ingest looks things up in it.
pub(super) fn index(connection: &Connection) -> Result<Index, StoreError> {
    index_of(connection, Rows::Active)
}

/// Which rows of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// What the last snapshots had.
    Active,
    /// Everything that was ever known, as the books name it.
    All,
}

pub(super) fn index_of(connection: &Connection, rows: Rows) -> Result<Index, StoreError> {
    // One statement sees one state; several need a transaction to see the same.
    let tx = snapshot(connection)?;
    let mut index = Index { revision: meta(&tx, "index_revision")? as u64, ..Index::default() };
    let all = if rows == Rows::All { "1" } else { "0" };
    let sql = format!("SELECT item, no, uom FROM item WHERE {all} OR active = 1");
    each(&tx, &sql, |row| {
        index.items.insert(text(row, 0)?, ItemFacts { no: ItemNo(row.get(1)?), uom: uom(row, 2)? });
        Ok(())
    })?;
    let sql = format!(
        "SELECT site.site, erp.opened_at IS NOT NULL, place.kind, place.location, place.no FROM place
         JOIN site ON site.no = place.site JOIN erp ON erp.erp = site.erp
         WHERE {all} OR (place.active = 1 AND site.active = 1)"
    );
    each(&tx, &sql, |row| {
        let site: &mut SitePlaces = index.sites.entry(text(row, 0)?).or_default();
        site.open = row.get(1)?;
        let no = PlaceNo(row.get(4)?);
        match place(row, 2)? {
            Place::At(location) => drop(site.at.insert(location, no)),
            place => {
                site.virtual_places.insert(place, no);
                index.virtual_places.insert(no);
            }
        }
        Ok(())
    })?;
    let sql = "SELECT site.site, place_alias.code, place.location FROM place_alias
               JOIN site ON site.no = place_alias.site JOIN place ON place.no = place_alias.place
               WHERE place_alias.active = 1 AND place.active = 1 AND site.active = 1";
    each(&tx, sql, |row| {
        let site: &mut SitePlaces = index.sites.entry(text(row, 0)?).or_default();
        site.aliases.insert(row.get(1)?, text(row, 2)?);
        Ok(())
    })?;
    let sql = "SELECT DISTINCT item FROM offer JOIN channel USING (channel) WHERE offer.active = 1 AND channel.active = 1";
    each(&tx, sql, |row| {
        index.listed.insert(ItemNo(row.get(0)?));
        Ok(())
    })?;
    Ok(index)
}

/// Runs a query without parameters over all its rows.
pub(super) fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let mut rows = statement.query([]).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        take(row).map_err(database(READING))?;
    }
    Ok(())
}

pub(super) fn sites(connection: &Connection) -> Result<Vec<Site>, StoreError> {
    let mut sites = Vec::new();
    each(connection, "SELECT site, reference FROM site WHERE active = 1 ORDER BY site", |row| {
        sites.push(Site { site: text(row, 0)?, reference: row.get(1)? });
        Ok(())
    })?;
    Ok(sites)
}

pub(super) fn items(
    connection: &Connection,
    search: &str,
    after: Option<&ItemId>,
    limit: usize,
) -> Result<Vec<Item>, StoreError> {
    let sql = "SELECT item, name, uom, gtins, codes, reference FROM item
               WHERE active = 1 AND item > ?1 AND (?2 = '' OR instr(lower(item), ?2) OR instr(lower(name), ?2)
                   OR instr(gtins, ?2) OR instr(lower(codes), ?2))
               ORDER BY item LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let after = after.map_or("", ItemId::as_str);
    statement
        .query_map(params![after, search.to_lowercase(), page_rows(limit) as i64], |row| {
            Ok(Item {
                id: text(row, 0)?,
                name: row.get(1)?,
                uom: uom(row, 2)?,
                gtins: gtins(row, 3)?,
                codes: list(row, 4)?,
                reference: row.get(5)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

/// Active channels.
pub(super) fn channels(connection: &Connection) -> Result<BTreeMap<ChannelId, ChannelPolicy>, StoreError> {
    let mut channels = BTreeMap::new();
    let sql =
        "SELECT channel, sites, safety_stock, threshold, cap, basis, selling FROM channel WHERE active = 1";
    each(connection, sql, |row| {
        let sites = list(row, 1)?;
        let site = |text: &String| SiteId::new(text.clone()).map_err(|fault| unreadable(1, Box::new(fault)));
        let basis = match row.get_ref(5)?.as_str()? {
            "on_hand" => Basis::OnHand,
            "net" => Basis::Net,
            word => return Err(unreadable(5, format!("no basis {word:?}").into())),
        };
        let channel: ChannelId = text(row, 0)?;
        let selling: SellingRow = serde_json::from_str(row.get_ref(6)?.as_str()?)
            .map_err(|fault| unreadable(6, Box::new(fault)))?;
        channels.insert(
            channel.clone(),
            ChannelPolicy {
                channel,
                sites: sites.iter().map(site).collect::<Result<_, _>>()?,
                safety_stock: row.get(2)?,
                out_of_stock_threshold: row.get(3)?,
                cap: row.get(4)?,
                basis,
                selling: selling.read(),
            },
        );
        Ok(())
    })?;
    Ok(channels)
}
