//! The picture of a site that agents are told: what is to be done, what lies where, and how far their journals are in it.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};
use stockwire_protocol::{AgentId, AsOf, Bin, ItemId, LocationId, Quantity, Sequence, SiteId};

use super::catalogue::each;
use super::codes::site_no;
use super::tasks::{heads, row};
use super::{PLACE_AT, database, epoch, meta, snapshot, text, uom};
use crate::briefing::{BIN_LINES_MAX, CHANGES_LEDGER_MAX, CHANGES_ROWS_MAX, Delta, Mark, Marks, Picture};
use crate::store::StoreError;
use crate::task::TaskState;

const READING: &str = "reading what agents are told";

pub(super) fn marks(connection: &Connection) -> Result<Marks, StoreError> {
    let view = snapshot(connection)?;
    let mut marks = Marks {
        catalogue: meta(&view, "catalogue_revision")? as u64,
        ledger: super::books::head(&view)?.0,
        tasks: BTreeMap::new(),
    };
    each(&view, "SELECT site, task_change FROM site WHERE active = 1", |row| {
        marks.tasks.insert(text(row, 0)?, row.get::<_, i64>(1)? as u64);
        Ok(())
    })?;
    Ok(marks)
}

/// Tasks, stock and how far each agent's journal is in them; all, or what was touched since a mark.
pub(super) fn picture(
    connection: &Connection,
    site: &SiteId,
    since: Option<Mark>,
) -> Result<Delta<Picture>, StoreError> {
    let view = snapshot(connection)?;
    let no = match site_no(&view, site) {
        Ok(no) => no,
        Err(StoreError::Refused { .. }) => return Ok(Delta::Nothing),
        Err(fault) => return Err(fault),
    };
    let changes: i64 = view
        .query_row("SELECT task_change FROM site WHERE no = ?1", [no], |row| row.get(0))
        .map_err(database(READING))?;
    let mark = Mark { tasks: changes as u64, ledger: super::books::head(&view)?.0 };
    let mut picture = Picture { mark, ..Picture::default() };
    match since {
        None => {
            for head in
                heads(&view, "WHERE task.site = ?1 AND state = 'open' ORDER BY task.id, task.kind", [no])?
            {
                picture.tasks.push(row(&view, head)?.open());
            }
            picture.bins = all_bins(&view, no)?;
        }
        Some(since) => {
            if mark.ledger.saturating_sub(since.ledger) > CHANGES_LEDGER_MAX {
                return Ok(Delta::TooMany);
            }
            let limit = CHANGES_ROWS_MAX as i64 + 1;
            let condition = "WHERE task.site = ?1 AND task.changed > ?2 ORDER BY task.changed LIMIT ?3";
            let touched = heads(&view, condition, [no, since.tasks as i64, limit])?;
            let places = touched_places(&view, no, since)?;
            if touched.len() + places.len() > CHANGES_ROWS_MAX {
                return Ok(Delta::TooMany);
            }
            if touched.is_empty() && places.is_empty() {
                return Ok(Delta::Nothing);
            }
            for head in touched {
                match head.state {
                    TaskState::Open => picture.tasks.push(row(&view, head)?.open()),
                    TaskState::Done | TaskState::Withdrawn => {
                        picture.gone.push((head.name.kind, head.name.id))
                    }
                }
            }
            picture.bins = some_bins(&view, no, &places)?;
        }
    }
    picture.agents = agents(&view, site)?;
    Ok(Delta::Changes(picture))
}

fn agents(view: &Connection, site: &SiteId) -> Result<Vec<(AgentId, AsOf)>, StoreError> {
    let sql = "SELECT device.agent, device.epoch, coalesce(stream.watermark, 0) FROM device
               LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch
               WHERE device.site = ?1 AND device.epoch IS NOT NULL";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map([site.as_str()], |row| {
            let watermark = Sequence::new(row.get::<_, i64>(2)? as u64);
            Ok((text(row, 0)?, AsOf { epoch: epoch(row, 1)?, watermark }))
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

/// Over lots and conditions, since it is about what lies there.
const BINS: &str = "SELECT place.no, place.location, item.item, item.uom, sum(balance.steps) FROM place
    JOIN balance ON balance.place = place.no JOIN item ON item.no = balance.item";

fn bin_lines(
    view: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
    mut take: impl FnMut(i64, LocationId, (ItemId, Quantity)),
) -> Result<(), StoreError> {
    let sql = format!(
        "{BINS} {condition} GROUP BY place.no, item.no HAVING sum(balance.steps) <> 0
         ORDER BY place.location, item.item LIMIT {}",
        BIN_LINES_MAX + 1
    );
    let mut statement = view.prepare_cached(&sql).map_err(database(READING))?;
    let mut rows = statement.query(values).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        let line = |row: &Row<'_>| -> rusqlite::Result<_> {
            Ok((
                row.get(0)?,
                text(row, 1)?,
                (text(row, 2)?, Quantity { steps: row.get(4)?, uom: uom(row, 3)? }),
            ))
        };
        let (no, location, line) = line(row).map_err(database(READING))?;
        take(no, location, line);
    }
    Ok(())
}

/// Other names of places that can stand as a location.
fn other_names(view: &Connection, site: i64) -> Result<BTreeMap<i64, Vec<LocationId>>, StoreError> {
    let mut names: BTreeMap<i64, Vec<LocationId>> = BTreeMap::new();
    let sql = "SELECT place, code FROM place_alias WHERE site = ?1 AND active = 1 ORDER BY code";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let mut rows = statement.query([site]).map_err(database(READING))?;
    while let Some(row) = rows.next().map_err(database(READING))? {
        let (place, code): (i64, String) =
            row.get(0).and_then(|place| Ok((place, row.get(1)?))).map_err(database(READING))?;
        names.entry(place).or_default().extend(LocationId::new(code).ok());
    }
    Ok(names)
}

/// Everything that lies at a site, by its places' names and other names. `None`: more than agents are told.
fn all_bins(view: &Connection, site: i64) -> Result<Option<Vec<Bin>>, StoreError> {
    let mut bins: BTreeMap<i64, Bin> = BTreeMap::new();
    let mut lines = 0;
    let condition = format!("WHERE place.site = ?1 AND place.kind = {PLACE_AT} AND place.active = 1");
    bin_lines(view, &condition, [site], |no, location, line| {
        lines += 1;
        bins.entry(no).or_insert_with(|| Bin { location, items: Vec::new() }).items.push(line);
    })?;
    if lines > BIN_LINES_MAX {
        return Ok(None);
    }
    let names = other_names(view, site)?;
    let mut all: Vec<Bin> = Vec::with_capacity(bins.len());
    for (no, bin) in bins {
        all.extend(
            names.get(&no).into_iter().flatten().map(|name| Bin { location: name.clone(), ..bin.clone() }),
        );
        all.push(bin);
    }
    all.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(Some(all))
}

/// Places of a site that rows of the books have touched since a mark.
fn touched_places(view: &Connection, site: i64, since: Mark) -> Result<Vec<(i64, LocationId)>, StoreError> {
    let sql = format!(
        "SELECT place.no, place.location FROM (
             SELECT from_place AS no FROM ledger WHERE id > ?2 AND steps > 0
             UNION SELECT to_place FROM ledger WHERE id > ?2 AND steps > 0
         ) AS touched JOIN place ON place.no = touched.no
         WHERE place.site = ?1 AND place.kind = {PLACE_AT} AND place.active = 1 ORDER BY place.location"
    );
    let mut statement = view.prepare_cached(&sql).map_err(database(READING))?;
    statement
        .query_map([site, since.ledger as i64], |row| Ok((row.get(0)?, text(row, 1)?)))
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

/// What lies at these places, the empty ones included. `None` when the site as a whole has more than is told.
fn some_bins(
    view: &Connection,
    site: i64,
    places: &[(i64, LocationId)],
) -> Result<Option<Vec<Bin>>, StoreError> {
    let sql = "SELECT count(*) FROM place JOIN balance ON balance.place = place.no
               WHERE place.site = ?1 AND place.kind = 0 AND place.active = 1 AND balance.steps <> 0";
    let mut count = view.prepare_cached(sql).map_err(database(READING))?;
    let lines: i64 = count.query_row([site], |row| row.get(0)).map_err(database(READING))?;
    // By lots and conditions there may be more balances than lines of bins; then the lines are counted.
    if lines > BIN_LINES_MAX as i64 && all_bins(view, site)?.is_none() {
        return Ok(None);
    }
    let names = other_names(view, site)?;
    let mut bins = Vec::with_capacity(places.len());
    for (no, location) in places {
        let mut items = Vec::new();
        bin_lines(view, "WHERE place.no = ?1", [no], |_, _, line| items.push(line))?;
        bins.extend(
            names
                .get(no)
                .into_iter()
                .flatten()
                .map(|name| Bin { location: name.clone(), items: items.clone() }),
        );
        bins.push(Bin { location: location.clone(), items });
    }
    Ok(Some(bins))
}
