//! Items, places, listings and channels in PostgreSQL.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use postgres::types::ToSql;
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ChannelId, ItemId, Place, SiteId};

use super::column::{PLACE_AT, clean, count, get, place, place_kind, text, unreadable, uom, word};
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, bump, counter, page_rows};
use crate::availability::{Basis, ChannelPolicy};
use crate::catalogue::{
    ErpId, Index, Item, ItemFacts, ItemNo, Listing, ListingsChange, PlaceNo, Site, SitePlaces, Snapshot,
};
use crate::io::selling_row::SellingRow;
use crate::store::StoreError;

const READING: &str = "reading the catalogue";
const WRITING: &str = "writing the catalogue";

const VIRTUAL: [Place; 4] = [Place::Supplier, Place::Customer, Place::Loss, Place::Transit];

impl PostgresStore {
    pub(super) fn put_catalogue(&mut self, erp: &ErpId, snapshot: &Snapshot) -> Result<u64, StoreError> {
        let mut seen = BTreeSet::new();
        if let Some(item) = snapshot.items.iter().find(|item| !seen.insert(&item.id)) {
            return refused(format!("the snapshot has item {} twice", item.id));
        }
        self.session.write(WRITING, Lock::Books, |tx| {
            let before = table_state(tx)?;
            let name = erp.as_str();
            let sql = "INSERT INTO erp (erp, through) VALUES ($1, 0) ON CONFLICT DO NOTHING";
            tx.execute(WRITING, sql, &[&name])?;
            let revision = counter(tx, Counter::Catalogue)?;
            put_sites(tx, erp, snapshot, revision + 1)?;
            put_items(tx, erp, snapshot, revision + 1)?;
            if table_state(tx)? == before {
                return Ok(revision.unsigned_abs());
            }
            put_codes(tx, revision + 1)?;
            bump(tx, Counter::Index)?;
            Ok(bump(tx, Counter::Catalogue)?.unsigned_abs())
        })
    }

    pub(super) fn put_listings(
        &mut self,
        channel: &ChannelId,
        listings: &[Listing],
    ) -> Result<ListingsChange, StoreError> {
        self.session.write("writing listings", Lock::Books, |tx| {
            let mut change = ListingsChange { channel: channel.clone(), unknown_items: Vec::new(), active: 0 };
            let name = channel.as_str();
            tx.execute(WRITING, "UPDATE offer SET active = false WHERE channel = $1 AND active", &[&name])?;
            // Of a SKU that is listed twice the last one counts.
            let last: BTreeMap<&str, &Listing> =
                listings.iter().map(|listing| (listing.sku.as_str(), listing)).collect();
            let skus: Vec<&str> = last.keys().copied().collect();
            let items: Vec<&str> = last.values().map(|listing| listing.item.as_str()).collect();
            let references: Vec<Option<&str>> =
                last.values().map(|listing| listing.reference.as_deref()).collect();
            let sql = "INSERT INTO offer (channel, sku, item, reference, active, revision, number, sites, through,
                           next_at, attempts, unresolved, adrift, change)
                       SELECT $1, new.sku, item.no, new.reference, true, 0, 0, '[]', 0, 0, 0, false, '[]', 0
                       FROM unnest($2::text[], $3::text[], $4::text[]) AS new (sku, item, reference)
                       JOIN item ON item.item = new.item
                       ON CONFLICT (channel, sku) DO UPDATE SET item = excluded.item, reference = excluded.reference,
                           active = true";
            tx.execute(WRITING, sql, &[&name, &skus, &items, &references])?;
            let named: Vec<&str> = listings.iter().map(|listing| listing.item.as_str()).collect();
            let sql = "SELECT item FROM item WHERE item = ANY($1)";
            let mut known: BTreeSet<ItemId> = BTreeSet::new();
            for row in tx.query(WRITING, sql, &[&named])? {
                known.insert(text(&row, 0)?);
            }
            for listing in listings {
                if known.contains(&listing.item) {
                    change.active += 1;
                } else {
                    change.unknown_items.push(listing.clone());
                }
            }
            // Every number of this channel is computed anew: its item may be another one now.
            stale_channel(tx, name)?;
            bump(tx, Counter::Index)?;
            Ok(change)
        })
    }

    pub(super) fn put_channels(&mut self, policies: &[ChannelPolicy]) -> Result<(), StoreError> {
        self.session.write("writing channels", Lock::Books, |tx| {
            let before = channels(tx)?;
            tx.execute(WRITING, "UPDATE channel SET active = false WHERE active", &[])?;
            for policy in policies {
                let sites: Vec<&str> = policy.sites.iter().map(SiteId::as_str).collect();
                let basis = match policy.basis {
                    Basis::OnHand => "on_hand",
                    Basis::Net => "net",
                };
                let sql =
                    "INSERT INTO channel (channel, sites, safety_stock, threshold, cap, basis, active, selling)
                           VALUES ($1, $2, $3, $4, $5, $6, true, $7) ON CONFLICT (channel) DO UPDATE SET sites = $2,
                           safety_stock = $3, threshold = $4, cap = $5, basis = $6, active = true, selling = $7";
                let (safety_stock, threshold) = (policy.safety_stock, policy.out_of_stock_threshold);
                let (channel, selling) = (policy.channel.as_str(), json(&SellingRow::of(&policy.selling))?);
                tx.execute(
                    WRITING,
                    sql,
                    &[&channel, &json(&sites)?, &safety_stock, &threshold, &policy.cap, &basis, &selling],
                )?;
                if before.get(&policy.channel) != Some(policy) {
                    stale_channel(tx, channel)?;
                }
            }
            bump(tx, Counter::Index)?;
            Ok(())
        })
    }
}

pub(super) fn refused<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Refused { reason })
}

/// Marks all items of a channel as stale: their numbers are computed anew at the next take.
fn stale_channel(tx: &Tx<'_>, channel: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item (item, since) SELECT DISTINCT item, 0 FROM offer WHERE channel = $1 AND active
               ORDER BY item ON CONFLICT DO NOTHING";
    tx.execute(WRITING, sql, &[&channel]).map(drop)
}

/// Everything in the catalogue as one number: whether a snapshot changed anything is seen by comparing it.
fn table_state(tx: &Tx<'_>) -> Result<String, StoreError> {
    // In the server, because a million items need not travel twice for a yes or no.
    let sql = "SELECT concat_ws('/',
        (SELECT md5(string_agg(md5(concat_ws(chr(31), site, erp, reference, active)), '' ORDER BY no)) FROM site),
        (SELECT md5(string_agg(md5(concat_ws(chr(31), site, kind, location, reference, active)), '' ORDER BY no))
             FROM place),
        (SELECT md5(string_agg(md5(concat_ws(chr(31), item, name, uom, gtins, codes, erp, coalesce(reference, ''),
             active)), '' ORDER BY no)) FROM item))";
    get(&tx.one(READING, sql, &[])?, 0)
}

fn put_sites(tx: &Tx<'_>, erp: &ErpId, snapshot: &Snapshot, next: i64) -> Result<(), StoreError> {
    let erp = erp.as_str();
    let names: Vec<&str> = snapshot.sites.iter().map(|site| site.site.as_str()).collect();
    let references: Vec<Option<&str>> = snapshot.sites.iter().map(|site| site.reference.as_deref()).collect();
    let sql = "SELECT site FROM site WHERE site = ANY($1) AND erp <> $2";
    if let Some(row) = tx.query(WRITING, sql, &[&names, &erp])?.first() {
        return refused(format!("site {} belongs to another ERP", get::<&str>(row, 0)?));
    }
    tx.execute(WRITING, "UPDATE site SET active = false WHERE erp = $1 AND active", &[&erp])?;
    let sql = "UPDATE site SET reference = new.reference, active = true
               FROM unnest($1::text[], $2::text[]) AS new (site, reference) WHERE site.site = new.site";
    tx.execute(WRITING, sql, &[&names, &references])?;
    // Numbers without holes and in the order of the snapshot, as in the other store.
    let sql = "INSERT INTO site (no, site, erp, reference, active)
               SELECT (SELECT coalesce(max(no), 0) FROM site) + row_number() OVER (ORDER BY at), new.site, $3,
                   new.reference, true
               FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS new (site, reference, at)
               WHERE NOT EXISTS (SELECT FROM site WHERE site.site = new.site)";
    tx.execute(WRITING, sql, &[&names, &references, &erp])?;

    let (mut sites, mut kinds, mut locations, mut references) = (vec![], vec![], vec![], vec![]);
    let mut add = |site: &'_ SiteId, kind: i64, location: &str, reference: Option<&str>| {
        sites.push(site.as_str().to_owned());
        kinds.push(kind);
        locations.push(location.to_owned());
        references.push(reference.map(str::to_owned));
    };
    for site in &snapshot.sites {
        for place in &VIRTUAL {
            let (kind, location) = place_kind(place);
            add(&site.site, kind, location, None);
        }
    }
    for location in &snapshot.locations {
        if !snapshot.sites.iter().any(|site| site.site == location.site) {
            return refused(format!(
                "location {} is at site {}, which the snapshot lacks",
                location.location, location.site
            ));
        }
        add(&location.site, PLACE_AT, location.location.as_str(), location.reference.as_deref());
    }
    let new = "unnest($1::text[], $2::bigint[], $3::text[], $4::text[])";
    let sql = format!(
        "UPDATE place SET active = false, changed = $6
         WHERE kind = 0 AND active AND site IN (SELECT no FROM site WHERE erp = $5) AND NOT EXISTS (
             SELECT FROM {new} AS new (site, kind, location, reference) JOIN site ON site.site = new.site
             WHERE place.site = site.no AND place.kind = new.kind AND place.location = new.location)"
    );
    tx.execute(WRITING, &sql, &[&sites, &kinds, &locations, &references, &erp, &next])?;
    let sql = format!(
        "UPDATE place SET reference = new.reference, active = true,
             changed = CASE WHEN place.active THEN place.changed ELSE $5 END
         FROM {new} AS new (site, kind, location, reference) JOIN site ON site.site = new.site
         WHERE place.site = site.no AND place.kind = new.kind AND place.location = new.location
             AND (place.reference, place.active) IS DISTINCT FROM (new.reference, true)"
    );
    let values: [&(dyn ToSql + Sync); 5] = [&sites, &kinds, &locations, &references, &next];
    tx.execute(WRITING, &sql, &values)?;
    let sql = format!(
        "INSERT INTO place (no, site, kind, location, reference, active, changed)
         SELECT (SELECT coalesce(max(no), 0) FROM place) + row_number() OVER (ORDER BY at), site.no, new.kind,
             new.location, new.reference, true, $5
         FROM {new} WITH ORDINALITY AS new (site, kind, location, reference, at)
         JOIN site ON site.site = new.site
         WHERE NOT EXISTS (SELECT FROM place WHERE place.site = site.no AND place.kind = new.kind
             AND place.location = new.location)"
    );
    tx.execute(WRITING, &sql, &values).map(drop)
}

fn put_items(tx: &Tx<'_>, erp: &ErpId, snapshot: &Snapshot, next: i64) -> Result<(), StoreError> {
    let erp = erp.as_str();
    let items: Vec<&str> = snapshot.items.iter().map(|item| item.id.as_str()).collect();
    let names: Vec<String> = snapshot.items.iter().map(|item| clean(&item.name).into_owned()).collect();
    let uoms: Vec<&str> = snapshot.items.iter().map(|item| item.uom.code()).collect();
    let mut gtins = Vec::with_capacity(items.len());
    let mut codes = Vec::with_capacity(items.len());
    for item in &snapshot.items {
        gtins.push(json(&item.gtins.iter().map(ToString::to_string).collect::<Vec<_>>())?);
        codes.push(json(&item.codes.iter().map(|code| clean(code)).collect::<Vec<_>>())?);
    }
    let references: Vec<Option<&str>> = snapshot.items.iter().map(|item| item.reference.as_deref()).collect();
    // Another unit is only accepted while nothing is booked in the old one.
    let sql = "SELECT item.item, new.uom FROM unnest($1::text[], $2::text[]) AS new (item, uom)
               JOIN item ON item.item = new.item
               WHERE item.erp <> $3 OR (item.uom <> new.uom
                   AND EXISTS (SELECT FROM balance WHERE balance.item = item.no)) LIMIT 1";
    if let Some(row) = tx.query(WRITING, sql, &[&items, &uoms, &erp])?.first() {
        let (item, uom): (&str, _) = (get(row, 0)?, uom(row, 1)?);
        return refused(format!(
            "item {item} is booked in another unit than {uom}, or belongs to another ERP"
        ));
    }
    let sql = "UPDATE item SET active = false, changed = $3 WHERE erp = $1 AND active AND item <> ALL($2)";
    tx.execute(WRITING, sql, &[&erp, &items, &next])?;
    let sql = "UPDATE item SET name = new.name, uom = new.uom, gtins = new.gtins, codes = new.codes,
                   reference = new.reference, active = true,
                   changed = CASE WHEN (item.name, item.uom, item.gtins, item.codes, item.active)
                       IS DISTINCT FROM (new.name, new.uom, new.gtins, new.codes, true) THEN $7 ELSE item.changed END
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                   AS new (item, name, uom, gtins, codes, reference)
               WHERE item.item = new.item
                   AND (item.name, item.uom, item.gtins, item.codes, item.reference, item.active)
                       IS DISTINCT FROM (new.name, new.uom, new.gtins, new.codes, new.reference, true)";
    tx.execute(WRITING, sql, &[&items, &names, &uoms, &gtins, &codes, &references, &next])?;
    let sql = "INSERT INTO item (no, item, name, uom, gtins, codes, erp, reference, active, changed)
               SELECT (SELECT coalesce(max(no), 0) FROM item) + row_number() OVER (ORDER BY at), new.item, new.name,
                   new.uom, new.gtins, new.codes, $7, new.reference, true, $8
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                   WITH ORDINALITY AS new (item, name, uom, gtins, codes, reference, at)
               WHERE NOT EXISTS (SELECT FROM item WHERE item.item = new.item)";
    tx.execute(WRITING, sql, &[&items, &names, &uoms, &gtins, &codes, &references, &erp, &next]).map(drop)
}

/// The codes of the items that this revision changed, for look-ups.
fn put_codes(tx: &Tx<'_>, revision: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM item_code WHERE source = 0 AND item IN (SELECT no FROM item WHERE changed = $1)";
    tx.execute(WRITING, sql, &[&revision])?;
    for (kind, column) in [(0_i64, "gtins"), (1, "codes")] {
        let sql = format!(
            "INSERT INTO item_code (kind, code, item, source, pieces)
             SELECT DISTINCT $2::bigint, code.value, item.no, 0, 1
             FROM item, json_array_elements_text(item.{column}::json) AS code (value)
             WHERE item.changed = $1 AND item.active"
        );
        tx.execute(WRITING, &sql, &[&revision, &kind])?;
    }
    Ok(())
}

pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|fault| StoreError::Corrupt { what: fault.to_string() })
}

pub(super) fn list(row: &postgres::Row, at: usize) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(get(row, at)?).map_err(|fault| unreadable(row, at, fault))
}

pub(super) fn gtins(row: &postgres::Row, at: usize) -> Result<Vec<Gtin>, StoreError> {
    let gtin = |text: &String| Gtin::parse(text).map_err(|fault| unreadable(row, at, fault));
    list(row, at)?.iter().map(gtin).collect()
}

/// Which rows of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// What the last snapshots had.
    Active,
    /// Everything that was ever known, as the books name it.
    All,
}

/// The catalogue as ingest looks things up in it.
pub(super) fn index(tx: &Tx<'_>, rows: Rows) -> Result<Index, StoreError> {
    let revision = counter(tx, Counter::Index)?.unsigned_abs();
    let mut index = Index { revision, ..Index::default() };
    let all = rows == Rows::All;
    tx.each(READING, "SELECT item, no, uom FROM item WHERE $1 OR active", &[&all], |row| {
        index.items.insert(text(row, 0)?, ItemFacts { no: ItemNo(get(row, 1)?), uom: uom(row, 2)? });
        Ok(())
    })?;
    let sql = "SELECT site.site, erp.opened_at IS NOT NULL, place.kind, place.location, place.no FROM place
               JOIN site ON site.no = place.site JOIN erp ON erp.erp = site.erp
               WHERE $1 OR (place.active AND site.active)";
    tx.each(READING, sql, &[&all], |row| {
        let site: &mut SitePlaces = index.sites.entry(text(row, 0)?).or_default();
        site.open = get(row, 1)?;
        let no = PlaceNo(get(row, 4)?);
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
               WHERE place_alias.active AND place.active AND site.active";
    tx.each(READING, sql, &[], |row| {
        let site: &mut SitePlaces = index.sites.entry(text(row, 0)?).or_default();
        site.aliases.insert(get(row, 1)?, text(row, 2)?);
        Ok(())
    })?;
    let sql =
        "SELECT DISTINCT item FROM offer JOIN channel USING (channel) WHERE offer.active AND channel.active";
    tx.each(READING, sql, &[], |row| {
        index.listed.insert(ItemNo(get(row, 0)?));
        Ok(())
    })?;
    Ok(index)
}

pub(super) fn sites(tx: &Tx<'_>) -> Result<Vec<Site>, StoreError> {
    let rows = tx.query(READING, "SELECT site, reference FROM site WHERE active ORDER BY site", &[])?;
    rows.iter().map(|row| Ok(Site { site: text(row, 0)?, reference: get(row, 1)? })).collect()
}

pub(super) fn items(
    tx: &Tx<'_>,
    search: &str,
    after: Option<&ItemId>,
    limit: usize,
) -> Result<Vec<Item>, StoreError> {
    let sql = "SELECT item, name, uom, gtins, codes, reference FROM item
               WHERE active AND item > $1 AND ($2 = '' OR strpos(lower(item), $2) > 0 OR strpos(lower(name), $2) > 0
                   OR strpos(gtins, $2) > 0 OR strpos(lower(codes), $2) > 0)
               ORDER BY item LIMIT $3";
    let search = clean(search).to_lowercase();
    let rows =
        tx.query(READING, sql, &[&after.map_or("", ItemId::as_str), &search, &(page_rows(limit) as i64)])?;
    rows.iter()
        .map(|row| {
            Ok(Item {
                id: text(row, 0)?,
                name: get(row, 1)?,
                uom: uom(row, 2)?,
                gtins: gtins(row, 3)?,
                codes: list(row, 4)?,
                reference: get(row, 5)?,
            })
        })
        .collect()
}

/// Active channels.
pub(super) fn channels(tx: &Tx<'_>) -> Result<HashMap<ChannelId, ChannelPolicy>, StoreError> {
    let sql = "SELECT channel, sites, safety_stock, threshold, cap, basis, selling FROM channel WHERE active";
    let policy = |row: &postgres::Row| {
        let site = |name: &String| SiteId::new(name.clone()).map_err(|fault| unreadable(row, 1, fault));
        let basis = |name: &str| match name {
            "on_hand" => Some(Basis::OnHand),
            "net" => Some(Basis::Net),
            _ => None,
        };
        let channel: ChannelId = text(row, 0)?;
        let selling: SellingRow =
            serde_json::from_str(get(row, 6)?).map_err(|fault| unreadable(row, 6, fault))?;
        let policy = ChannelPolicy {
            channel: channel.clone(),
            sites: list(row, 1)?.iter().map(site).collect::<Result<_, _>>()?,
            safety_stock: get(row, 2)?,
            out_of_stock_threshold: get(row, 3)?,
            cap: get(row, 4)?,
            basis: word(row, 5, basis)?,
            selling: selling.read(),
        };
        Ok((channel, policy))
    };
    tx.query(READING, sql, &[])?.iter().map(policy).collect()
}

/// Revision of the catalogue; 0 = none yet.
pub(super) fn revision(tx: &Tx<'_>) -> Result<u64, StoreError> {
    count(&tx.one(READING, "SELECT catalogue_revision FROM books", &[])?, 0)
}
