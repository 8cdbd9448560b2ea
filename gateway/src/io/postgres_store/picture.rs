//! The picture of a site that agents are told: what is to be done, what lies where, and how far their journals are in it.

use std::collections::BTreeMap;

use stockwire_protocol::{AgentId, AsOf, Bin, ItemId, LocationId, Quantity, SiteId};

use super::codes::find_site;
use super::column::{PLACE_AT, count, epoch, get, sequence, text, uom};
use super::tasks::{heads, row};
use super::{Counter, Tx, books, counter};
use crate::briefing::{BIN_LINES_MAX, CHANGES_LEDGER_MAX, CHANGES_ROWS_MAX, Delta, Mark, Marks, Picture};
use crate::store::StoreError;
use crate::task::TaskState;

const READING: &str = "reading what agents are told";

pub(super) fn marks(tx: &Tx<'_>) -> Result<Marks, StoreError> {
    let mut marks = Marks {
        catalogue: counter(tx, Counter::Catalogue)?.unsigned_abs(),
        ledger: books::head(tx)?.0,
        tasks: BTreeMap::new(),
    };
    for row in tx.query(READING, "SELECT site, task_change FROM site WHERE active", &[])? {
        marks.tasks.insert(text(&row, 0)?, count(&row, 1)?);
    }
    Ok(marks)
}

/// Tasks, stock and how far each agent's journal is in them; all, or what was touched since a mark.
pub(super) fn picture(tx: &Tx<'_>, site: &SiteId, since: Option<Mark>) -> Result<Delta<Picture>, StoreError> {
    let Some(no) = find_site(tx, site)? else { return Ok(Delta::Nothing) };
    let changes = tx.one(READING, "SELECT task_change FROM site WHERE no = $1", &[&no])?;
    let mark = Mark { tasks: count(&changes, 0)?, ledger: books::head(tx)?.0 };
    let mut picture = Picture { mark, ..Picture::default() };
    match since {
        None => {
            let condition = "WHERE task.site = $1 AND state = 'open' ORDER BY task.id, task.kind";
            for head in heads(tx, condition, &[&no])? {
                picture.tasks.push(row(tx, head)?.open());
            }
            picture.bins = all_bins(tx, no)?;
        }
        Some(since) => {
            if mark.ledger.saturating_sub(since.ledger) > CHANGES_LEDGER_MAX {
                return Ok(Delta::TooMany);
            }
            let limit = CHANGES_ROWS_MAX as i64 + 1;
            let condition = "WHERE task.site = $1 AND task.changed > $2 ORDER BY task.changed LIMIT $3";
            let touched = heads(tx, condition, &[&no, &since.tasks.cast_signed(), &limit])?;
            let places = touched_places(tx, no, since)?;
            if touched.len() + places.len() > CHANGES_ROWS_MAX {
                return Ok(Delta::TooMany);
            }
            if touched.is_empty() && places.is_empty() {
                return Ok(Delta::Nothing);
            }
            for head in touched {
                match head.state {
                    TaskState::Open => picture.tasks.push(row(tx, head)?.open()),
                    TaskState::Done | TaskState::Withdrawn => {
                        picture.gone.push((head.name.kind, head.name.id));
                    }
                }
            }
            picture.bins = some_bins(tx, no, &places)?;
        }
    }
    picture.agents = agents(tx, site)?;
    Ok(Delta::Changes(picture))
}

fn agents(tx: &Tx<'_>, site: &SiteId) -> Result<Vec<(AgentId, AsOf)>, StoreError> {
    let sql = "SELECT device.agent, device.epoch, coalesce(stream.watermark, 0) FROM device
               LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch
               WHERE device.site = $1 AND device.epoch IS NOT NULL ORDER BY device.agent";
    let agent = |row: &postgres::Row| {
        Ok((text(row, 0)?, AsOf { epoch: epoch(row, 1)?, watermark: sequence(row, 2)? }))
    };
    tx.query(READING, sql, &[&site.as_str()])?.iter().map(agent).collect()
}

/// What lies at places of a site, over lots and conditions; at most one line more than is told.
fn bin_lines(
    tx: &Tx<'_>,
    site: i64,
    places: Option<&[i64]>,
    mut take: impl FnMut(i64, LocationId, (ItemId, Quantity)),
) -> Result<(), StoreError> {
    let sql = "SELECT place.no, place.location, item.item, item.uom, sum(balance.steps)::bigint
               FROM place JOIN balance ON balance.site = place.site AND balance.place = place.no
               JOIN item ON item.no = balance.item
               WHERE place.site = $1 AND place.kind = $2 AND place.active
                   AND ($3::bigint[] IS NULL OR place.no = ANY($3))
               GROUP BY place.no, place.location, item.no, item.item, item.uom HAVING sum(balance.steps) <> 0
               ORDER BY place.location, item.item LIMIT $4";
    let limit = BIN_LINES_MAX as i64 + 1;
    for row in tx.query(READING, sql, &[&site, &PLACE_AT, &places, &limit])? {
        let quantity = Quantity { steps: get(&row, 4)?, uom: uom(&row, 3)? };
        take(get(&row, 0)?, text(&row, 1)?, (text(&row, 2)?, quantity));
    }
    Ok(())
}

/// Other names of places that can stand as a location.
fn other_names(tx: &Tx<'_>, site: i64) -> Result<BTreeMap<i64, Vec<LocationId>>, StoreError> {
    let mut names: BTreeMap<i64, Vec<LocationId>> = BTreeMap::new();
    let sql = "SELECT place, code FROM place_alias WHERE site = $1 AND active ORDER BY code";
    for row in tx.query(READING, sql, &[&site])? {
        names.entry(get(&row, 0)?).or_default().extend(LocationId::new(get::<&str>(&row, 1)?).ok());
    }
    Ok(names)
}

/// Everything that lies at a site, by its places' names and other names. `None`: more than agents are told.
fn all_bins(tx: &Tx<'_>, site: i64) -> Result<Option<Vec<Bin>>, StoreError> {
    let mut bins: BTreeMap<i64, Bin> = BTreeMap::new();
    let mut lines = 0;
    bin_lines(tx, site, None, |no, location, line| {
        lines += 1;
        bins.entry(no).or_insert_with(|| Bin { location, items: Vec::new() }).items.push(line);
    })?;
    if lines > BIN_LINES_MAX {
        return Ok(None);
    }
    let names = other_names(tx, site)?;
    let mut all: Vec<Bin> = Vec::with_capacity(bins.len());
    for (no, bin) in bins {
        let others = names.get(&no).into_iter().flatten();
        all.extend(others.map(|name| Bin { location: name.clone(), ..bin.clone() }));
        all.push(bin);
    }
    all.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(Some(all))
}

/// Places of a site that rows of the books have touched since a mark.
fn touched_places(tx: &Tx<'_>, site: i64, since: Mark) -> Result<Vec<(i64, LocationId)>, StoreError> {
    let sql = "SELECT place.no, place.location FROM (
                   SELECT from_place AS no FROM ledger WHERE id > $2 AND steps > 0
                   UNION SELECT to_place FROM ledger WHERE id > $2 AND steps > 0
               ) AS touched JOIN place ON place.no = touched.no
               WHERE place.site = $1 AND place.kind = $3 AND place.active ORDER BY place.location";
    let rows = tx.query(READING, sql, &[&site, &since.ledger.cast_signed(), &PLACE_AT])?;
    rows.iter().map(|row| Ok((get(row, 0)?, text(row, 1)?))).collect()
}

/// What lies at these places, the empty ones included. `None` when the site as a whole has more than is told.
fn some_bins(tx: &Tx<'_>, site: i64, places: &[(i64, LocationId)]) -> Result<Option<Vec<Bin>>, StoreError> {
    let sql =
        "SELECT count(*) FROM place JOIN balance ON balance.site = place.site AND balance.place = place.no
               WHERE place.site = $1 AND place.kind = 0 AND place.active AND balance.steps <> 0";
    let lines = count(&tx.one(READING, sql, &[&site])?, 0)?;
    // By lots and conditions there may be more balances than lines of bins; then the lines are counted.
    if lines > BIN_LINES_MAX as u64 && all_bins(tx, site)?.is_none() {
        return Ok(None);
    }
    let numbers: Vec<i64> = places.iter().map(|(no, _)| *no).collect();
    let mut there: BTreeMap<i64, Vec<(ItemId, Quantity)>> = BTreeMap::new();
    bin_lines(tx, site, Some(&numbers), |no, _, line| there.entry(no).or_default().push(line))?;
    let names = other_names(tx, site)?;
    let mut bins = Vec::with_capacity(places.len());
    for (no, location) in places {
        let items = there.remove(no).unwrap_or_default();
        let others = names.get(no).into_iter().flatten();
        bins.extend(others.map(|name| Bin { location: name.clone(), items: items.clone() }));
        bins.push(Bin { location: location.clone(), items });
    }
    Ok(Some(bins))
}
