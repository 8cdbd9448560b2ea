//! Codes, aliases and item rules in SQLite, and the catalogue as agents are told it.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{Catalogue, CatalogueItem, CatalogueSince, ItemId, ItemRules, LocationId, SiteId};

use super::catalogue::{gtins, json, list};
use super::{SqliteStore, bump, database, meta, page_rows, snapshot, text, unreadable, uom};
use crate::briefing::{CHANGES_ROWS_MAX, Delta};
use crate::catalogue::{changes_revision, parts, snapshot_revision};
use crate::code::{Alias, CodeKey, Codes, Meaning};
use crate::io::rules_row::RulesRow;
use crate::store::{Page, StoreError};

const READING: &str = "reading codes";
const WRITING: &str = "writing codes";

/// Between the columns of a page's cursor; no code may contain it as its last character before another column.
const SEPARATOR: char = '\u{1f}';

/// Who said what a code means; 0 is the ERP.
const BY_PERSON: i64 = 1;
const BY_PACK: i64 = 2;

fn columns(key: &CodeKey) -> (i64, String) {
    match key {
        CodeKey::Gtin(gtin) => (0, gtin.to_string()),
        CodeKey::Text(text) => (1, text.clone()),
    }
}

fn key(row: &Row<'_>, at: usize) -> rusqlite::Result<CodeKey> {
    let code: String = row.get(at + 1)?;
    match row.get::<_, i64>(at)? {
        0 => Gtin::parse(&code)
            .map(CodeKey::Gtin)
            .map_err(|fault| unreadable(at + 1, fault.to_string().into())),
        _ => Ok(CodeKey::Text(code)),
    }
}

fn refused<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Refused { reason })
}

/// What codes mean to the active catalogue.
pub(super) fn load(connection: &Connection, keys: &[CodeKey]) -> Result<Codes, StoreError> {
    let mut codes = Codes::default();
    let sql = "SELECT item.item, item_code.pieces FROM item_code JOIN item ON item.no = item_code.item
               WHERE item_code.kind = ?1 AND item_code.code = ?2 AND item.active = 1";
    let mut find = connection.prepare_cached(sql).map_err(database(READING))?;
    for key in keys {
        let mut rows = find.query(columns(key)).map_err(database(READING))?;
        while let Some(row) = rows.next().map_err(database(READING))? {
            let claim = |row: &Row<'_>| Ok((text(row, 0)?, row.get(1)?));
            let (item, pieces) = claim(row).map_err(database(READING))?;
            codes.add(key.clone(), item, pieces);
        }
    }
    Ok(codes)
}

/// Another active item that claims a code.
fn claimed(connection: &Connection, key: &CodeKey, but: i64) -> Result<Option<String>, StoreError> {
    let (kind, code) = columns(key);
    let sql = "SELECT item.item FROM item_code JOIN item ON item.no = item_code.item
               WHERE item_code.kind = ?1 AND item_code.code = ?2 AND item.active = 1 AND item.no <> ?3 LIMIT 1";
    let mut find = connection.prepare_cached(sql).map_err(database(READING))?;
    find.query_row(params![kind, code, but], |row| row.get(0)).optional().map_err(database(READING))
}

pub(super) fn item_no(connection: &Connection, item: &ItemId) -> Result<i64, StoreError> {
    let mut find = connection
        .prepare_cached("SELECT no FROM item WHERE item = ?1 AND active = 1")
        .map_err(database(READING))?;
    let found = find.query_row([item.as_str()], |row| row.get(0)).optional().map_err(database(READING))?;
    found.map_or_else(|| refused(format!("item {item} is not in the catalogue")), Ok)
}

pub(super) fn site_no(connection: &Connection, site: &SiteId) -> Result<i64, StoreError> {
    let mut find = connection
        .prepare_cached("SELECT no FROM site WHERE site = ?1 AND active = 1")
        .map_err(database(READING))?;
    let found = find.query_row([site.as_str()], |row| row.get(0)).optional().map_err(database(READING))?;
    found.map_or_else(|| refused(format!("site {site} is not in the catalogue")), Ok)
}

pub(super) fn place_no(
    connection: &Connection,
    site: (i64, &SiteId),
    location: &LocationId,
) -> Result<i64, StoreError> {
    let sql = "SELECT no FROM place WHERE site = ?1 AND kind = 0 AND location = ?2 AND active = 1";
    let mut find = connection.prepare_cached(sql).map_err(database(READING))?;
    let found = find
        .query_row((site.0, location.as_str()), |row| row.get(0))
        .optional()
        .map_err(database(READING))?;
    found.map_or_else(|| refused(format!("site {} has no location {location}", site.1)), Ok)
}

/// The next revision of the catalogue, for what is about to change.
fn revise(connection: &Connection) -> Result<i64, StoreError> {
    bump(connection, "catalogue_revision")
}

impl SqliteStore {
    pub(super) fn put_alias_row(
        &mut self,
        at_ms: i64,
        by: &str,
        key: &CodeKey,
        meaning: &Meaning,
    ) -> Result<bool, StoreError> {
        self.write(WRITING, |tx| match meaning {
            Meaning::Item(item) => {
                let no = item_no(tx, item)?;
                if let Some(other) = claimed(tx, key, no)? {
                    return refused(format!(
                        "code {} means item {other}; take that back first, here or at the ERP",
                        key.as_text()
                    ));
                }
                let (kind, code) = columns(key);
                let sql = "INSERT INTO item_code (kind, code, item, source, pieces, said_by, said_at)
                           VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) ON CONFLICT DO NOTHING";
                let values = params![kind, code, no, BY_PERSON, by, at_ms];
                let new = tx.execute(sql, values).map_err(database(WRITING))? == 1;
                if new {
                    touch_item(tx, no)?;
                }
                Ok(new)
            }
            Meaning::Place(site, location) => {
                let site_no = site_no(tx, site)?;
                let place = place_no(tx, (site_no, site), location)?;
                let code = key.as_text();
                let own = LocationId::new(code.as_str()).ok();
                if own.is_some_and(|own| place_no(tx, (site_no, site), &own).is_ok()) {
                    return refused(format!("site {site} has a location {code} already"));
                }
                let sql = "SELECT place FROM place_alias WHERE site = ?1 AND code = ?2 AND active = 1";
                let before: Option<i64> = tx
                    .query_row(sql, params![site_no, code], |row| row.get(0))
                    .optional()
                    .map_err(database(READING))?;
                match before {
                    Some(before) if before == place => return Ok(false),
                    Some(_) => {
                        return refused(format!("code {code} means another location of {site}; take that back first"));
                    }
                    None => {}
                }
                let sql = "INSERT INTO place_alias (site, code, place, active, changed, said_by, said_at)
                           VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6)
                           ON CONFLICT DO UPDATE SET place = ?3, active = 1, changed = ?4, said_by = ?5, said_at = ?6";
                tx.execute(sql, params![site_no, code, place, revise(tx)?, by, at_ms])
                    .map_err(database(WRITING))?;
                bump(tx, "index_revision")?;
                Ok(true)
            }
        })
    }

    pub(super) fn take_alias_back(
        &mut self,
        key: &CodeKey,
        site: Option<&SiteId>,
    ) -> Result<bool, StoreError> {
        self.write(WRITING, |tx| match site {
            None => {
                let (kind, code) = columns(key);
                let sql =
                    "DELETE FROM item_code WHERE kind = ?1 AND code = ?2 AND source = ?3 RETURNING item";
                let item: Option<i64> = tx
                    .query_row(sql, params![kind, code, BY_PERSON], |row| row.get(0))
                    .optional()
                    .map_err(database(WRITING))?;
                if let Some(item) = item {
                    touch_item(tx, item)?;
                }
                Ok(item.is_some())
            }
            Some(site) => {
                let sql = "UPDATE place_alias SET active = 0, changed = ?3
                           WHERE site = ?1 AND code = ?2 AND active = 1";
                let next = meta(tx, "catalogue_revision")? + 1;
                let values = params![site_no(tx, site)?, key.as_text(), next];
                let gone = tx.execute(sql, values).map_err(database(WRITING))? == 1;
                if gone {
                    revise(tx)?;
                    bump(tx, "index_revision")?;
                }
                Ok(gone)
            }
        })
    }

    pub(super) fn put_mode(
        &mut self,
        now_ms: i64,
        item: &ItemId,
        strict: Option<bool>,
    ) -> Result<bool, StoreError> {
        self.write(WRITING, |tx| super::escrow::put_mode(tx, now_ms, item_no(tx, item)?, strict))
    }

    pub(super) fn put_rules(&mut self, item: &ItemId, rules: &ItemRules) -> Result<bool, StoreError> {
        self.write(WRITING, |tx| {
            let no = item_no(tx, item)?;
            for (gtin, _) in &rules.packs {
                if let Some(other) = claimed(tx, &CodeKey::Gtin(*gtin), no)? {
                    return refused(format!("GTIN {gtin} means item {other}"));
                }
                let sql =
                    "SELECT 1 FROM item_code WHERE kind = 0 AND code = ?1 AND item = ?2 AND source <> ?3";
                let mut single = tx.prepare_cached(sql).map_err(database(READING))?;
                if single.exists(params![gtin.to_string(), no, BY_PACK]).map_err(database(READING))? {
                    return refused(format!("GTIN {gtin} means one of item {item}, so it is no pack of it"));
                }
            }
            if self::rules(tx, item)?.as_ref() == Some(rules) {
                return Ok(false);
            }
            let kept = (*rules != ItemRules::default()).then(|| json(&RulesRow::of(rules))).transpose()?;
            tx.execute("UPDATE item SET rules = ?2 WHERE no = ?1", params![no, kept])
                .map_err(database(WRITING))?;
            tx.execute("DELETE FROM item_code WHERE item = ?1 AND source = ?2", [no, BY_PACK])
                .map_err(database(WRITING))?;
            for (gtin, pieces) in &rules.packs {
                let sql =
                    "INSERT INTO item_code (kind, code, item, source, pieces) VALUES (0, ?1, ?2, ?3, ?4)";
                tx.execute(sql, params![gtin.to_string(), no, BY_PACK, pieces]).map_err(database(WRITING))?;
            }
            touch_item(tx, no)?;
            Ok(true)
        })
    }
}

/// An item is told to agents anew.
fn touch_item(tx: &Connection, no: i64) -> Result<(), StoreError> {
    let revision = revise(tx)?;
    tx.execute("UPDATE item SET changed = ?2 WHERE no = ?1", [no, revision])
        .map(drop)
        .map_err(database(WRITING))
}

/// An item's rules; `None` = no such item.
pub(super) fn rules(connection: &Connection, item: &ItemId) -> Result<Option<ItemRules>, StoreError> {
    let sql = "SELECT rules FROM item WHERE item = ?1 AND active = 1";
    let mut find = connection.prepare_cached(sql).map_err(database(READING))?;
    find.query_row([item.as_str()], |row| read_rules(row, 0)).optional().map_err(database(READING))
}

fn read_rules(row: &Row<'_>, at: usize) -> rusqlite::Result<ItemRules> {
    let Some(kept) = row.get::<_, Option<String>>(at)? else { return Ok(ItemRules::default()) };
    let kept: RulesRow = serde_json::from_str(&kept).map_err(|fault| unreadable(at, Box::new(fault)))?;
    kept.read().map_err(|fault| unreadable(at, fault.into()))
}

/// Aliases, those of items first, then by site.
pub(super) fn aliases(
    connection: &Connection,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Alias>, StoreError> {
    let limit = page_rows(limit);
    let mut after = after.unwrap_or_default().splitn(3, SEPARATOR);
    let (site, kind, code) =
        (after.next().unwrap_or(""), after.next().unwrap_or("-1"), after.next().unwrap_or(""));
    let kind: i64 = kind.parse().unwrap_or(-1);
    let sql = "SELECT site, kind, code, meaning, said_by, said_at FROM (
                   SELECT '' AS site, kind, code, item.item AS meaning, said_by, said_at FROM item_code
                   JOIN item ON item.no = item_code.item WHERE source = 1
                   UNION ALL
                   SELECT site.site, 1, code, place.location, said_by, said_at FROM place_alias
                   JOIN place ON place.no = place_alias.place JOIN site ON site.no = place_alias.site
                   WHERE place_alias.active = 1
               ) WHERE (site, kind, code) > (?1, ?2, ?3) ORDER BY site, kind, code LIMIT ?4";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let rows: Vec<Alias> = statement
        .query_map(params![site, kind, code, limit as i64], |row| {
            let meaning = match row.get_ref(0)?.as_str()? {
                "" => Meaning::Item(text(row, 3)?),
                _ => Meaning::Place(text(row, 0)?, text(row, 3)?),
            };
            Ok(Alias { code: key(row, 1)?, meaning, by: row.get(4)?, at_ms: row.get(5)? })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|alias| {
        let (kind, code) = columns(&alias.code);
        let site = match &alias.meaning {
            Meaning::Item(_) => "",
            Meaning::Place(site, _) => site.as_str(),
        };
        format!("{site}{SEPARATOR}{kind}{SEPARATOR}{code}")
    });
    Ok(Page { rows, next })
}

const ITEM: &str = "SELECT no, item, name, uom, gtins, codes, rules, active FROM item";

/// Items with their aliases; those that are not active apart.
fn read_items(
    view: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<(Vec<CatalogueItem>, Vec<ItemId>), StoreError> {
    let mut more: HashMap<i64, Vec<CodeKey>> = HashMap::new();
    let sql = format!(
        "SELECT item, kind, code FROM item_code WHERE source = {BY_PERSON} ORDER BY item, kind, code"
    );
    super::catalogue::each(view, &sql, |row| {
        more.entry(row.get(0)?).or_default().push(key(row, 1)?);
        Ok(())
    })?;
    let (mut items, mut gone) = (Vec::new(), Vec::new());
    let mut statement = view.prepare_cached(&format!("{ITEM} {condition}")).map_err(database(READING))?;
    let mut rows = statement.query(values).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        let read = |row: &Row<'_>| -> rusqlite::Result<_> {
            let item = CatalogueItem {
                id: text(row, 1)?,
                name: row.get(2)?,
                uom: uom(row, 3)?,
                gtins: gtins(row, 4)?,
                codes: list(row, 5)?,
                rules: read_rules(row, 6)?,
            };
            Ok((row.get::<_, i64>(0)?, item, row.get::<_, bool>(7)?))
        };
        let (no, mut item, active) = read(row).map_err(database(READING))?;
        if !active {
            gone.push(item.id);
            continue;
        }
        for key in more.remove(&no).into_iter().flatten() {
            match key {
                CodeKey::Gtin(gtin) if !item.gtins.contains(&gtin) => item.gtins.push(gtin),
                CodeKey::Text(text) if !item.codes.contains(&text) => item.codes.push(text),
                CodeKey::Gtin(_) | CodeKey::Text(_) => {}
            }
        }
        items.push(item);
    }
    Ok((items, gone))
}

/// Names of places and their aliases, as far as they can stand as a location: those that are, and those that were.
fn read_places(
    view: &Connection,
    site: i64,
    since: i64,
) -> Result<(Vec<LocationId>, Vec<LocationId>), StoreError> {
    let (mut now, mut gone) = (Vec::new(), Vec::new());
    let sql = "SELECT location, active FROM place WHERE site = ?1 AND kind = 0 AND changed > ?2
               UNION ALL
               SELECT place_alias.code, place_alias.active AND place.active FROM place_alias
               JOIN place ON place.no = place_alias.place
               WHERE place_alias.site = ?1 AND (place_alias.changed > ?2 OR place.changed > ?2)";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let mut rows = statement.query([site, since]).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        let name = row.get::<_, String>(0).map_err(database(READING))?;
        // A scan that is no location code is understood here only.
        let Ok(name) = LocationId::new(name) else { continue };
        match row.get::<_, bool>(1).map_err(database(READING))? {
            true => now.push(name),
            false => gone.push(name),
        }
    }
    // A place that is gone may live on as another one's alias, and the other way round.
    let sql = "SELECT EXISTS (SELECT 1 FROM place WHERE site = ?1 AND kind = 0 AND location = ?2 AND active = 1)
               OR EXISTS (SELECT 1 FROM place_alias JOIN place ON place.no = place_alias.place
                   WHERE place_alias.site = ?1 AND code = ?2 AND place_alias.active = 1 AND place.active = 1)";
    let mut lives = view.prepare_cached(sql).map_err(database(READING))?;
    let mut really_gone = Vec::new();
    for name in gone {
        if !lives.query_row(params![site, name.as_str()], |row| row.get(0)).map_err(database(READING))? {
            really_gone.push(name);
        }
    }
    Ok((now, really_gone))
}

pub(super) fn catalogue_parts(connection: &Connection, site: &SiteId) -> Result<Vec<Catalogue>, StoreError> {
    let view = snapshot(connection)?;
    let revision = meta(&view, "catalogue_revision")? as u64;
    let no = match site_no(&view, site) {
        Ok(no) => no,
        Err(StoreError::Refused { .. }) => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let (mut locations, _) = read_places(&view, no, -1)?;
    locations.sort();
    locations.dedup();
    let (items, _) = read_items(&view, "WHERE active = 1", [])?;
    Ok(parts(snapshot_revision(revision), site, &items, &locations))
}

pub(super) fn catalogue_changes(
    connection: &Connection,
    site: &SiteId,
    since: u64,
) -> Result<Delta<Catalogue>, StoreError> {
    let view = snapshot(connection)?;
    let no = match site_no(&view, site) {
        Ok(no) => no,
        Err(StoreError::Refused { .. }) => return Ok(Delta::Nothing),
        Err(fault) => return Err(fault),
    };
    let sql = "SELECT (SELECT count(*) FROM item WHERE changed > ?2)
                   + (SELECT count(*) FROM place WHERE site = ?1 AND changed > ?2)
                   + (SELECT count(*) FROM place_alias WHERE site = ?1 AND changed > ?2),
               max(coalesce((SELECT max(changed) FROM item), 0),
                   coalesce((SELECT max(changed) FROM place WHERE site = ?1), 0),
                   coalesce((SELECT max(changed) FROM place_alias WHERE site = ?1), 0))";
    let since_row = since as i64;
    let mut count = view.prepare_cached(sql).map_err(database(READING))?;
    let (rows, newest): (i64, i64) =
        count.query_row([no, since_row], |row| Ok((row.get(0)?, row.get(1)?))).map_err(database(READING))?;
    match rows {
        0 => return Ok(Delta::Nothing),
        rows if rows > CHANGES_ROWS_MAX as i64 => return Ok(Delta::TooMany),
        _ => {}
    }
    let (items, gone) = read_items(&view, "WHERE changed > ?1 ORDER BY item", [since_row])?;
    let (mut locations, mut locations_gone) = read_places(&view, no, since_row)?;
    locations.sort();
    locations.dedup();
    locations_gone.sort();
    locations_gone.dedup();
    Ok(Delta::Changes(Catalogue {
        revision: changes_revision(newest as u64),
        part: 0,
        parts: 1,
        site: site.clone(),
        items,
        locations,
        since: Some(CatalogueSince {
            revision: snapshot_revision(since),
            items: gone,
            locations: locations_gone,
        }),
    }))
}
