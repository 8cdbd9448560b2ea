//! Codes, aliases and item rules in PostgreSQL, and the catalogue as agents are told it.

use std::collections::HashMap;

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{Catalogue, CatalogueItem, CatalogueSince, ItemId, ItemRules, LocationId, SiteId};

use super::catalogue::{gtins, json, list, refused};
use super::column::{clean, count, get, text, unreadable, uom};
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, bump, counter, page_rows};
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
        CodeKey::Text(text) => (1, clean(text).into_owned()),
    }
}

fn key(row: &Row, at: usize) -> Result<CodeKey, StoreError> {
    let code: &str = get(row, at + 1)?;
    match get::<i64>(row, at)? {
        0 => Gtin::parse(code).map(CodeKey::Gtin).map_err(|fault| unreadable(row, at + 1, fault)),
        _ => Ok(CodeKey::Text(code.to_owned())),
    }
}

/// What codes mean to the active catalogue.
pub(super) fn load(tx: &Tx<'_>, keys: &[CodeKey]) -> Result<Codes, StoreError> {
    let mut codes = Codes::default();
    let (kinds, texts): (Vec<i64>, Vec<String>) = keys.iter().map(columns).unzip();
    let sql = "SELECT wanted.at, item.item, item_code.pieces
               FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS wanted (kind, code, at)
               JOIN item_code ON item_code.kind = wanted.kind AND item_code.code = wanted.code
               JOIN item ON item.no = item_code.item WHERE item.active";
    for row in tx.query(READING, sql, &[&kinds, &texts])? {
        let at: i64 = get(&row, 0)?;
        if let Some(key) = usize::try_from(at - 1).ok().and_then(|at| keys.get(at)) {
            codes.add(key.clone(), text(&row, 1)?, pieces(&row, 2)?);
        }
    }
    Ok(codes)
}

fn pieces(row: &Row, at: usize) -> Result<u32, StoreError> {
    u32::try_from(count(row, at)?).map_err(|fault| unreadable(row, at, fault))
}

/// Another active item that claims a code.
fn claimed(tx: &Tx<'_>, key: &CodeKey, but: i64) -> Result<Option<String>, StoreError> {
    let (kind, code) = columns(key);
    let sql = "SELECT item.item FROM item_code JOIN item ON item.no = item_code.item
               WHERE item_code.kind = $1 AND item_code.code = $2 AND item.active AND item.no <> $3 LIMIT 1";
    tx.optional(READING, sql, &[&kind, &code, &but])?.map(|row| get(&row, 0)).transpose()
}

pub(super) fn item_no(tx: &Tx<'_>, item: &ItemId) -> Result<i64, StoreError> {
    match tx.optional(READING, "SELECT no FROM item WHERE item = $1 AND active", &[&item.as_str()])? {
        Some(row) => get(&row, 0),
        None => refused(format!("item {item} is not in the catalogue")),
    }
}

/// The number of an active site.
pub(super) fn find_site(tx: &Tx<'_>, site: &SiteId) -> Result<Option<i64>, StoreError> {
    let row = tx.optional(READING, "SELECT no FROM site WHERE site = $1 AND active", &[&site.as_str()])?;
    row.map(|row| get(&row, 0)).transpose()
}

pub(super) fn site_no(tx: &Tx<'_>, site: &SiteId) -> Result<i64, StoreError> {
    find_site(tx, site)?.map_or_else(|| refused(format!("site {site} is not in the catalogue")), Ok)
}

fn find_place(tx: &Tx<'_>, site: i64, location: &LocationId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT no FROM place WHERE site = $1 AND kind = 0 AND location = $2 AND active";
    let row = tx.optional(READING, sql, &[&site, &location.as_str()])?;
    row.map(|row| get(&row, 0)).transpose()
}

pub(super) fn place_no(tx: &Tx<'_>, site: (i64, &SiteId), location: &LocationId) -> Result<i64, StoreError> {
    let found = find_place(tx, site.0, location)?;
    found.map_or_else(|| refused(format!("site {} has no location {location}", site.1)), Ok)
}

impl PostgresStore {
    pub(super) fn put_alias_row(
        &mut self,
        at_ms: i64,
        by: &str,
        key: &CodeKey,
        meaning: &Meaning,
    ) -> Result<bool, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| match meaning {
            Meaning::Item(item) => put_item_alias(tx, at_ms, by, key, item),
            Meaning::Place(site, location) => put_place_alias(tx, at_ms, by, key, (site, location)),
        })
    }

    pub(super) fn take_alias_back(
        &mut self,
        key: &CodeKey,
        site: Option<&SiteId>,
    ) -> Result<bool, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| match site {
            None => {
                let (kind, code) = columns(key);
                let sql =
                    "DELETE FROM item_code WHERE kind = $1 AND code = $2 AND source = $3 RETURNING item";
                let items = tx.query(WRITING, sql, &[&kind, &code, &BY_PERSON])?;
                for item in &items {
                    touch_item(tx, get(item, 0)?)?;
                }
                Ok(!items.is_empty())
            }
            Some(site) => {
                let sql = "UPDATE place_alias SET active = false, changed = $3
                           WHERE site = $1 AND code = $2 AND active";
                let next = counter(tx, Counter::Catalogue)? + 1;
                let code = clean(&key.as_text()).into_owned();
                let gone = tx.execute(WRITING, sql, &[&site_no(tx, site)?, &code, &next])? == 1;
                if gone {
                    bump(tx, Counter::Catalogue)?;
                    bump(tx, Counter::Index)?;
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
        self.session
            .write(WRITING, Lock::Books, |tx| super::escrow::put_mode(tx, now_ms, item_no(tx, item)?, strict))
    }

    pub(super) fn put_rules(&mut self, item: &ItemId, rules: &ItemRules) -> Result<bool, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| {
            let no = item_no(tx, item)?;
            for (gtin, _) in &rules.packs {
                if let Some(other) = claimed(tx, &CodeKey::Gtin(*gtin), no)? {
                    return refused(format!("GTIN {gtin} means item {other}"));
                }
                let sql = "SELECT EXISTS (SELECT FROM item_code
                               WHERE kind = 0 AND code = $1 AND item = $2 AND source <> $3)";
                if get(&tx.one(READING, sql, &[&gtin.to_string(), &no, &BY_PACK])?, 0)? {
                    return refused(format!("GTIN {gtin} means one of item {item}, so it is no pack of it"));
                }
            }
            if self::rules(tx, item)?.as_ref() == Some(rules) {
                return Ok(false);
            }
            let kept = (*rules != ItemRules::default()).then(|| json(&RulesRow::of(rules))).transpose()?;
            tx.execute(WRITING, "UPDATE item SET rules = $2 WHERE no = $1", &[&no, &kept])?;
            tx.execute(WRITING, "DELETE FROM item_code WHERE item = $1 AND source = $2", &[&no, &BY_PACK])?;
            let (gtins, pieces): (Vec<String>, Vec<i64>) =
                rules.packs.iter().map(|(gtin, pieces)| (gtin.to_string(), i64::from(*pieces))).unzip();
            let sql = "INSERT INTO item_code (kind, code, item, source, pieces)
                       SELECT 0, code, $1, $2, pieces FROM unnest($3::text[], $4::bigint[]) AS new (code, pieces)";
            tx.execute(WRITING, sql, &[&no, &BY_PACK, &gtins, &pieces])?;
            touch_item(tx, no)?;
            Ok(true)
        })
    }
}

fn put_item_alias(
    tx: &Tx<'_>,
    at_ms: i64,
    by: &str,
    key: &CodeKey,
    item: &ItemId,
) -> Result<bool, StoreError> {
    let no = item_no(tx, item)?;
    if let Some(other) = claimed(tx, key, no)? {
        let code = key.as_text();
        return refused(format!("code {code} means item {other}; take that back first, here or at the ERP"));
    }
    let (kind, code) = columns(key);
    let sql = "INSERT INTO item_code (kind, code, item, source, pieces, said_by, said_at)
               VALUES ($1, $2, $3, $4, 1, $5, $6) ON CONFLICT DO NOTHING";
    let new = tx.execute(WRITING, sql, &[&kind, &code, &no, &BY_PERSON, &clean(by), &at_ms])? == 1;
    if new {
        touch_item(tx, no)?;
    }
    Ok(new)
}

fn put_place_alias(
    tx: &Tx<'_>,
    at_ms: i64,
    by: &str,
    key: &CodeKey,
    (site, location): (&SiteId, &LocationId),
) -> Result<bool, StoreError> {
    let no = site_no(tx, site)?;
    let place = place_no(tx, (no, site), location)?;
    let code = clean(&key.as_text()).into_owned();
    if let Ok(own) = LocationId::new(code.as_str())
        && find_place(tx, no, &own)?.is_some()
    {
        return refused(format!("site {site} has a location {code} already"));
    }
    let sql = "SELECT place FROM place_alias WHERE site = $1 AND code = $2 AND active";
    let before: Option<i64> =
        tx.optional(READING, sql, &[&no, &code])?.map(|row| get(&row, 0)).transpose()?;
    match before {
        Some(before) if before == place => return Ok(false),
        Some(_) => {
            return refused(format!("code {code} means another location of {site}; take that back first"));
        }
        None => {}
    }
    let revision = bump(tx, Counter::Catalogue)?;
    let sql = "INSERT INTO place_alias (site, code, place, active, changed, said_by, said_at)
               VALUES ($1, $2, $3, true, $4, $5, $6)
               ON CONFLICT (site, code) DO UPDATE SET place = $3, active = true, changed = $4, said_by = $5,
                   said_at = $6";
    tx.execute(WRITING, sql, &[&no, &code, &place, &revision, &clean(by), &at_ms])?;
    bump(tx, Counter::Index)?;
    Ok(true)
}

/// An item is told to agents anew.
fn touch_item(tx: &Tx<'_>, no: i64) -> Result<(), StoreError> {
    let revision = bump(tx, Counter::Catalogue)?;
    tx.execute(WRITING, "UPDATE item SET changed = $2 WHERE no = $1", &[&no, &revision]).map(drop)
}

/// An item's rules; `None` = no such item.
pub(super) fn rules(tx: &Tx<'_>, item: &ItemId) -> Result<Option<ItemRules>, StoreError> {
    let sql = "SELECT rules FROM item WHERE item = $1 AND active";
    tx.optional(READING, sql, &[&item.as_str()])?.map(|row| read_rules(&row, 0)).transpose()
}

fn read_rules(row: &Row, at: usize) -> Result<ItemRules, StoreError> {
    let Some(kept) = get::<Option<&str>>(row, at)? else { return Ok(ItemRules::default()) };
    let kept: RulesRow = serde_json::from_str(kept).map_err(|fault| unreadable(row, at, fault))?;
    kept.read().map_err(|fault| unreadable(row, at, fault))
}

/// Aliases, those of items first, then by site.
pub(super) fn aliases(tx: &Tx<'_>, after: Option<&str>, limit: usize) -> Result<Page<Alias>, StoreError> {
    let limit = page_rows(limit);
    let mut after = after.unwrap_or_default().splitn(3, SEPARATOR);
    let (site, kind, code) =
        (after.next().unwrap_or(""), after.next().unwrap_or("-1"), after.next().unwrap_or(""));
    let kind: i64 = kind.parse().unwrap_or(-1);
    let sql = "SELECT site, kind, code, meaning, said_by, said_at FROM (
                   SELECT '' COLLATE \"C\" AS site, kind, code, item.item AS meaning, said_by, said_at FROM item_code
                   JOIN item ON item.no = item_code.item WHERE source = 1
                   UNION ALL
                   SELECT site.site, 1, code, place.location, said_by, said_at FROM place_alias
                   JOIN place ON place.no = place_alias.place JOIN site ON site.no = place_alias.site
                   WHERE place_alias.active
               ) AS alias WHERE (site, kind, code) > ($1, $2, $3) ORDER BY site, kind, code LIMIT $4";
    let alias = |row: &Row| {
        let meaning = match get::<&str>(row, 0)? {
            "" => Meaning::Item(text(row, 3)?),
            _ => Meaning::Place(text(row, 0)?, text(row, 3)?),
        };
        Ok(Alias { code: key(row, 1)?, meaning, by: get(row, 4)?, at_ms: get(row, 5)? })
    };
    let rows = tx.query(READING, sql, &[&site, &kind, &code, &(limit as i64)])?;
    let rows: Vec<Alias> = rows.iter().map(alias).collect::<Result<_, StoreError>>()?;
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

/// Items with their aliases; those that are not active apart.
fn read_items(
    tx: &Tx<'_>,
    condition: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<(Vec<CatalogueItem>, Vec<ItemId>), StoreError> {
    let mut more: HashMap<i64, Vec<CodeKey>> = HashMap::new();
    let sql = "SELECT item, kind, code FROM item_code WHERE source = $1 ORDER BY item, kind, code";
    for row in tx.query(READING, sql, &[&BY_PERSON])? {
        more.entry(get(&row, 0)?).or_default().push(key(&row, 1)?);
    }
    let (mut items, mut gone) = (Vec::new(), Vec::new());
    let sql = format!("SELECT no, item, name, uom, gtins, codes, rules, active FROM item {condition}");
    tx.each(READING, &sql, values, |row| {
        let mut item = CatalogueItem {
            id: text(row, 1)?,
            name: get(row, 2)?,
            uom: uom(row, 3)?,
            gtins: gtins(row, 4)?,
            codes: list(row, 5)?,
            rules: read_rules(row, 6)?,
        };
        if !get::<bool>(row, 7)? {
            gone.push(item.id);
            return Ok(());
        }
        for key in more.remove(&get(row, 0)?).into_iter().flatten() {
            match key {
                CodeKey::Gtin(gtin) if !item.gtins.contains(&gtin) => item.gtins.push(gtin),
                CodeKey::Text(text) if !item.codes.contains(&text) => item.codes.push(text),
                CodeKey::Gtin(_) | CodeKey::Text(_) => {}
            }
        }
        items.push(item);
        Ok(())
    })?;
    Ok((items, gone))
}

/// Names of places and their aliases, as far as they can stand as a location: those that are, and those that were.
fn read_places(tx: &Tx<'_>, site: i64, since: i64) -> Result<(Vec<LocationId>, Vec<LocationId>), StoreError> {
    let (mut now, mut gone) = (Vec::new(), Vec::new());
    // A place that is gone may live on as another one's alias, and the other way round.
    let sql = "WITH name AS (
                   SELECT location AS name, active, changed FROM place WHERE site = $1 AND kind = 0
                   UNION ALL
                   SELECT place_alias.code, place_alias.active AND place.active,
                       greatest(place_alias.changed, place.changed)
                   FROM place_alias JOIN place ON place.no = place_alias.place WHERE place_alias.site = $1)
               SELECT name, bool_or(active) FROM name GROUP BY name HAVING max(changed) > $2 ORDER BY name";
    for row in tx.query(READING, sql, &[&site, &since])? {
        // A scan that is no location code is understood here only.
        let Ok(name) = LocationId::new(get::<&str>(&row, 0)?) else { continue };
        match get::<bool>(&row, 1)? {
            true => now.push(name),
            false => gone.push(name),
        }
    }
    Ok((now, gone))
}

pub(super) fn catalogue_parts(tx: &Tx<'_>, site: &SiteId) -> Result<Vec<Catalogue>, StoreError> {
    let revision = counter(tx, Counter::Catalogue)?.unsigned_abs();
    let Some(no) = find_site(tx, site)? else { return Ok(Vec::new()) };
    let (locations, _) = read_places(tx, no, -1)?;
    let (items, _) = read_items(tx, "WHERE active", &[])?;
    Ok(parts(snapshot_revision(revision), site, &items, &locations))
}

pub(super) fn catalogue_changes(
    tx: &Tx<'_>,
    site: &SiteId,
    since: u64,
) -> Result<Delta<Catalogue>, StoreError> {
    let Some(no) = find_site(tx, site)? else { return Ok(Delta::Nothing) };
    let sql = "SELECT (SELECT count(*) FROM item WHERE changed > $2)
                   + (SELECT count(*) FROM place WHERE site = $1 AND changed > $2)
                   + (SELECT count(*) FROM place_alias WHERE site = $1 AND changed > $2),
               greatest(coalesce((SELECT max(changed) FROM item), 0),
                   coalesce((SELECT max(changed) FROM place WHERE site = $1), 0),
                   coalesce((SELECT max(changed) FROM place_alias WHERE site = $1), 0))";
    let since_row = since.cast_signed();
    let row = tx.one(READING, sql, &[&no, &since_row])?;
    match count(&row, 0)? {
        0 => return Ok(Delta::Nothing),
        rows if rows > CHANGES_ROWS_MAX as u64 => return Ok(Delta::TooMany),
        _ => {}
    }
    let newest = count(&row, 1)?;
    let (items, gone) = read_items(tx, "WHERE changed > $1 ORDER BY item", &[&since_row])?;
    let (locations, locations_gone) = read_places(tx, no, since_row)?;
    Ok(Delta::Changes(Catalogue {
        revision: changes_revision(newest),
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
