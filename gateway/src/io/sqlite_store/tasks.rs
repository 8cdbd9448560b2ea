//! Tasks in SQLite.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::gs1::Date;
use stockwire_protocol::{
    Body, Event, ItemId, LocationId, Quantity, Reference, SiteId, Task, TaskKind, TaskLine, Uom,
};

use super::codes::{item_no, place_no, site_no};
use super::{SqliteStore, database, lot_text, optional, page_rows, snapshot, text, unreadable, uom};
use crate::catalogue::{ItemFacts, ItemNo};
use crate::ingest::TaskWrite;
use crate::store::{Page, StoreError, TaskQuery};
use crate::task::{
    self, Ask, Done, EARLIER_FACTS_MAX, KnownTask, OPEN_LINES_MAX, Tally, TallyKey, TaskName, TaskRow,
    TaskState,
};

const READING: &str = "reading tasks";
const WRITING: &str = "writing tasks";

/// Between the columns of a page's cursor; no id may contain it.
const SEPARATOR: char = '\u{1f}';

/// The head of a task, and its site's number.
pub(super) struct Head {
    site: i64,
    pub(super) name: TaskName,
    order: Option<Reference>,
    location: Option<LocationId>,
    pub(super) state: TaskState,
    created_at_ms: i64,
    changed_at_ms: i64,
}

const HEAD: &str =
    "SELECT task.site, site.site, task.id, task.kind, order_id, task.location, state, created_at, changed_at
    FROM task JOIN site ON site.no = task.site";

fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<TaskKind> {
    let name = row.get_ref(at)?.as_str()?;
    task::kind_from_name(name).ok_or_else(|| unreadable(at, format!("no kind of task {name:?}").into()))
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let state = row.get_ref(6)?.as_str()?;
    let state =
        TaskState::from_name(state).ok_or_else(|| unreadable(6, format!("no state {state:?}").into()))?;
    Ok(Head {
        site: row.get(0)?,
        name: TaskName { site: text(row, 1)?, id: text(row, 2)?, kind: kind(row, 3)? },
        order: optional(row, 4)?,
        location: optional(row, 5)?,
        state,
        created_at_ms: row.get(7)?,
        changed_at_ms: row.get(8)?,
    })
}

pub(super) fn heads(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Head>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{HEAD} {condition}")).map_err(database(READING))?;
    statement.query_map(values, head).and_then(Iterator::collect).map_err(database(READING))
}

fn find(connection: &Connection, name: &TaskName) -> Result<Option<Head>, StoreError> {
    let values = params![name.site.as_str(), name.id.as_str(), name.kind.as_str()];
    let found = heads(connection, "WHERE site.site = ?1 AND task.id = ?2 AND task.kind = ?3", values)?;
    Ok(found.into_iter().next())
}

/// A task with everything that belongs to it.
struct Whole {
    asked: Task,
    known: KnownTask,
    created_at_ms: i64,
    changed_at_ms: i64,
}

fn whole(connection: &Connection, head: Head) -> Result<Whole, StoreError> {
    let Head { site, name, order, location, state, created_at_ms, changed_at_ms } = head;
    let key = params![site, name.id.as_str(), name.kind.as_str()];
    let sql = "SELECT item.item, item.uom, task_line.item, steps, from_location, to_location, lot, expires_on
               FROM task_line JOIN item ON item.no = task_line.item
               WHERE task_line.site = ?1 AND task_line.id = ?2 AND task_line.kind = ?3 ORDER BY line";
    let mut lines = connection.prepare_cached(sql).map_err(database(READING))?;
    let lines: Vec<(TaskLine, ItemNo)> = lines
        .query_map(key, |row| {
            let day = |number| Date::from_yyyymmdd(number).map_err(|fault| unreadable(7, Box::new(fault)));
            let line = TaskLine {
                item: text(row, 0)?,
                quantity: Quantity { steps: row.get(3)?, uom: uom(row, 1)? },
                from: optional(row, 4)?,
                to: optional(row, 5)?,
                lot: optional(row, 6)?,
                expires_on: row.get::<_, Option<u32>>(7)?.map(day).transpose()?,
            };
            Ok((line, ItemNo(row.get(2)?)))
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let sql =
        "SELECT item, lot, location, done, short FROM task_tally WHERE site = ?1 AND id = ?2 AND kind = ?3";
    let mut tallies = connection.prepare_cached(sql).map_err(database(READING))?;
    let tallies: BTreeMap<TallyKey, Tally> = tallies
        .query_map(key, |row| {
            let key =
                TallyKey { item: ItemNo(row.get(0)?), lot: optional(row, 1)?, location: optional(row, 2)? };
            Ok((key, Tally { done: row.get(3)?, short: row.get(4)? }))
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let asks = lines
        .iter()
        .map(|(line, item)| Ask {
            item: *item,
            lot: line.lot.clone(),
            location: task::line_location(name.kind, line).cloned(),
            steps: line.quantity.steps,
        })
        .collect();
    let asked = Task {
        kind: name.kind,
        id: name.id.clone(),
        order: order.clone(),
        location,
        lines: lines.into_iter().map(|(line, _)| line).collect(),
    };
    Ok(Whole { asked, known: KnownTask { name, order, asks, tallies, state }, created_at_ms, changed_at_ms })
}

pub(super) fn row(connection: &Connection, head: Head) -> Result<TaskRow, StoreError> {
    let Whole { asked, known, created_at_ms, changed_at_ms } = whole(connection, head)?;
    let (lines, beyond) = task::lay(&known.asks, &known.tallies);
    let sql = "SELECT item, uom FROM item WHERE no = ?1";
    let mut item = connection.prepare_cached(sql).map_err(database(READING))?;
    let mut done = Vec::with_capacity(beyond.len());
    for (TallyKey { item: no, lot, location }, steps) in beyond {
        let (item, unit): (ItemId, Uom) =
            item.query_row([no.0], |row| Ok((text(row, 0)?, uom(row, 1)?))).map_err(database(READING))?;
        done.push(Done { item, lot, location, quantity: Quantity { steps, uom: unit } });
    }
    let (site, state) = (known.name.site, known.state);
    Ok(TaskRow { site, asked, state, lines, beyond: done, created_at_ms, changed_at_ms })
}

/// Tasks of these numbers, and the purchase orders of the announced plates among them.
pub(super) fn load(tx: &Connection, names: &[(SiteId, Reference)]) -> Result<Vec<KnownTask>, StoreError> {
    let mut known: Vec<KnownTask> = Vec::new();
    if names.is_empty() {
        return Ok(known);
    }
    // A site without tasks pays for none: this is in the way of every acknowledgement.
    let mut any = tx.prepare_cached("SELECT 1 FROM task LIMIT 1").map_err(database(READING))?;
    if !any.exists([]).map_err(database(READING))? {
        return Ok(known);
    }
    let mut wanted: Vec<(SiteId, Reference)> = names.to_vec();
    let mut at = 0;
    while let Some((site, id)) = wanted.get(at).cloned() {
        at += 1;
        for head in heads(tx, "WHERE site.site = ?1 AND task.id = ?2", (site.as_str(), id.as_str()))? {
            let task = whole(tx, head)?.known;
            let order = task.order.clone().map(|order| (site.clone(), order));
            wanted.extend(order.filter(|order| !wanted.contains(order)));
            known.push(task);
        }
    }
    Ok(known)
}

/// What was done on tasks.
pub(super) fn write(tx: &Connection, at_ms: i64, writes: &[TaskWrite]) -> Result<(), StoreError> {
    for TaskWrite { name, state, tallies } in writes {
        let site = site_row(tx, &name.site)?;
        put_tallies(tx, site, name, tallies.iter())?;
        settle(tx, at_ms, (site, name), *state)?;
    }
    Ok(())
}

/// A site's number, active or not.
fn site_row(tx: &Connection, site: &SiteId) -> Result<i64, StoreError> {
    let mut find = tx.prepare_cached("SELECT no FROM site WHERE site = ?1").map_err(database(READING))?;
    find.query_row([site.as_str()], |row| row.get(0)).map_err(database(READING))
}

fn put_tallies<'a>(
    tx: &Connection,
    site: i64,
    name: &TaskName,
    tallies: impl Iterator<Item = &'a (TallyKey, Tally)>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO task_tally (site, id, kind, item, lot, location, done, short)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET done = ?7, short = ?8";
    let mut upsert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    for (TallyKey { item, lot, location }, Tally { done, short }) in tallies {
        let location = location.as_ref().map_or("", LocationId::as_str);
        let (id, kind, lot) = (name.id.as_str(), name.kind.as_str(), lot_text(lot.as_ref()));
        upsert
            .execute(params![site, id, kind, item.0, lot, location, done, short])
            .map_err(database(WRITING))?;
    }
    Ok(())
}

/// Notes how a task stands, as the newest change of its site.
fn settle(
    tx: &Connection,
    at_ms: i64,
    (site, name): (i64, &TaskName),
    state: TaskState,
) -> Result<(), StoreError> {
    let sql = "UPDATE site SET task_change = task_change + 1 WHERE no = ?1 RETURNING task_change";
    let mut count = tx.prepare_cached(sql).map_err(database(WRITING))?;
    let change: i64 = count.query_row([site], |row| row.get(0)).map_err(database(WRITING))?;
    let sql =
        "UPDATE task SET state = ?4, changed_at = ?5, changed = ?6 WHERE site = ?1 AND id = ?2 AND kind = ?3";
    let mut update = tx.prepare_cached(sql).map_err(database(WRITING))?;
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    update
        .execute(params![site, id, kind, state.as_str(), at_ms, change])
        .map(drop)
        .map_err(database(WRITING))
}

fn refused<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Refused { reason })
}

impl SqliteStore {
    pub(super) fn put_task_row(
        &mut self,
        at_ms: i64,
        site: &SiteId,
        task: &Task,
    ) -> Result<TaskRow, StoreError> {
        self.write(WRITING, |tx| {
            put(tx, at_ms, site, task)?;
            let name = TaskName { site: site.clone(), id: task.id.clone(), kind: task.kind };
            row(tx, must(find(tx, &name)?)?)
        })
    }

    pub(super) fn withdraw(&mut self, at_ms: i64, name: &TaskName) -> Result<bool, StoreError> {
        self.write(WRITING, |tx| take_back(tx, at_ms, name))
    }
}

/// Asks for a task within a transaction.
pub(super) fn put(tx: &Connection, at_ms: i64, site: &SiteId, task: &Task) -> Result<(), StoreError> {
    task::check(task).map_err(|reason| StoreError::Refused { reason })?;
    let name = TaskName { site: site.clone(), id: task.id.clone(), kind: task.kind };
    let no = site_no(tx, site)?;
    let lines = check_places(tx, (no, site), task)?;
    let before = find(tx, &name)?.map(|head| whole(tx, head)).transpose()?;
    let asked = Task { lines: lines.iter().map(|(line, _)| line.clone()).collect(), ..task.clone() };
    let is_live = before.as_ref().is_some_and(|before| before.known.state != TaskState::Withdrawn);
    if is_live && before.as_ref().is_some_and(|before| before.asked == asked) {
        return Ok(());
    }
    put_lines(tx, at_ms, (no, &name), &asked, &lines)?;
    if !is_live {
        let tallies = earlier(tx, no, &name)?;
        put_tallies(tx, no, &name, tallies.iter())?;
    }
    let now = whole(tx, must(find(tx, &name)?)?)?.known;
    let done = task::is_done(name.kind, &now.asks, &now.tallies);
    let state = if done { TaskState::Done } else { TaskState::Open };
    settle(tx, at_ms, (no, &name), state)?;
    check_room(tx, (no, site))
}

/// Withdraws a task within a transaction. `false` = there is none, or it was withdrawn before.
pub(super) fn take_back(tx: &Connection, at_ms: i64, name: &TaskName) -> Result<bool, StoreError> {
    match find(tx, name)? {
        Some(head) if head.state != TaskState::Withdrawn => {
            settle(tx, at_ms, (head.site, name), TaskState::Withdrawn)?;
            Ok(true)
        }
        Some(_) | None => Ok(false),
    }
}

fn must(head: Option<Head>) -> Result<Head, StoreError> {
    head.ok_or_else(|| StoreError::Corrupt { what: "a task that was just written is not there".into() })
}

/// The lines in the items' own units, when the catalogue knows everything they name.
fn check_places(
    tx: &Connection,
    site: (i64, &SiteId),
    task: &Task,
) -> Result<Vec<(TaskLine, i64)>, StoreError> {
    if let Some(location) = &task.location {
        place_no(tx, site, location)?;
    }
    let mut unit = tx.prepare_cached("SELECT uom FROM item WHERE no = ?1").map_err(database(READING))?;
    let mut lines = Vec::with_capacity(task.lines.len());
    for line in &task.lines {
        let no = item_no(tx, &line.item)?;
        let own = unit.query_row([no], |row| uom(row, 0)).map_err(database(READING))?;
        let Ok(quantity) = line.quantity.to_uom(own) else {
            return refused(format!(
                "item {} is booked in {own}, the line says {}",
                line.item, line.quantity.uom
            ));
        };
        for location in line.from.iter().chain(&line.to) {
            place_no(tx, site, location)?;
        }
        lines.push((TaskLine { quantity, ..line.clone() }, no));
    }
    Ok(lines)
}

fn put_lines(
    tx: &Connection,
    at_ms: i64,
    (site, name): (i64, &TaskName),
    asked: &Task,
    lines: &[(TaskLine, i64)],
) -> Result<(), StoreError> {
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    let sql = "INSERT INTO task (site, id, kind, order_id, location, state, created_at, changed_at, changed)
               VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?6, 0) ON CONFLICT DO UPDATE SET order_id = ?4, location = ?5";
    let order = asked.order.as_ref().map(Reference::as_str);
    let location = asked.location.as_ref().map(LocationId::as_str);
    tx.execute(sql, params![site, id, kind, order, location, at_ms]).map_err(database(WRITING))?;
    let sql = "DELETE FROM task_line WHERE site = ?1 AND id = ?2 AND kind = ?3";
    tx.execute(sql, params![site, id, kind]).map_err(database(WRITING))?;
    let sql =
        "INSERT INTO task_line (site, id, kind, line, item, steps, from_location, to_location, lot, expires_on)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let mut insert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    for (at, (line, item)) in (0_i64..).zip(lines) {
        let TaskLine { quantity, from, to, lot, expires_on, .. } = line;
        let (from, to) = (from.as_ref().map(LocationId::as_str), to.as_ref().map(LocationId::as_str));
        let lot = lot.as_ref().map(|lot| lot.as_str());
        let day = expires_on.map(Date::to_yyyymmdd);
        insert
            .execute(params![site, id, kind, at, item, quantity.steps, from, to, lot, day])
            .map_err(database(WRITING))?;
    }
    Ok(())
}

/// What an edge box of the site would have to hold.
fn check_room(tx: &Connection, (no, site): (i64, &SiteId)) -> Result<(), StoreError> {
    let sql = "SELECT count(*) FROM task JOIN task_line USING (site, id, kind)
               WHERE task.site = ?1 AND task.state = 'open'";
    let mut count = tx.prepare_cached(sql).map_err(database(READING))?;
    let lines: i64 = count.query_row([no], |row| row.get(0)).map_err(database(READING))?;
    if lines > OPEN_LINES_MAX as i64 {
        return refused(format!(
            "site {site} has {lines} open lines with this task, at most {OPEN_LINES_MAX} are kept; withdraw what is \
             not to be done any more"
        ));
    }
    Ok(())
}

/// What was done for a task before anybody asked: goods may be there before the paper.
fn earlier(tx: &Connection, site: i64, name: &TaskName) -> Result<Vec<(TallyKey, Tally)>, StoreError> {
    let mut plates: Vec<Reference> = Vec::new();
    if name.kind == TaskKind::Receive {
        let sql = "SELECT id FROM task WHERE site = ?1 AND order_id = ?2 AND kind = 'announced'";
        let mut find = tx.prepare_cached(sql).map_err(database(READING))?;
        let rows = find.query_map(params![site, name.id.as_str()], |row| text(row, 0));
        plates = rows.and_then(Iterator::collect).map_err(database(READING))?;
    }
    let mut events: BTreeSet<i64> = BTreeSet::new();
    let sql = "SELECT mention.event FROM mention JOIN stream ON stream.no = mention.event >> 40
               WHERE mention.word = ?1 AND stream.site = ?2 ORDER BY mention.event LIMIT ?3";
    let mut find = tx.prepare_cached(sql).map_err(database(READING))?;
    for word in plates.iter().chain([&name.id]) {
        let limit = EARLIER_FACTS_MAX as i64 + 1;
        let rows = find.query_map(params![word.as_str(), name.site.as_str(), limit], |row| row.get(0));
        for row in rows.map_err(database(READING))? {
            events.insert(row.map_err(database(READING))?);
        }
    }
    if events.len() > EARLIER_FACTS_MAX {
        return refused(format!(
            "more than {EARLIER_FACTS_MAX} facts name {}, which is more than one task is",
            name.id
        ));
    }
    let facts = |item: &ItemId| {
        let no = item_no(tx, item).ok()?;
        let mut unit = tx.prepare_cached("SELECT uom FROM item WHERE no = ?1").ok()?;
        let uom = unit.query_row([no], |row| uom(row, 0)).ok()?;
        Some(ItemFacts { no: ItemNo(no), uom })
    };
    let sql = "SELECT coalesce(resolved.bytes, event.bytes), event.ledger IS NOT NULL FROM event
               LEFT JOIN resolved ON resolved.event = event.key WHERE event.key = ?1";
    let mut read = tx.prepare_cached(sql).map_err(database(READING))?;
    let mut task = KnownTask {
        name: name.clone(),
        order: None,
        asks: Vec::new(),
        tallies: BTreeMap::new(),
        state: TaskState::Open,
    };
    for key in events {
        let (event, applied): (Event, bool) = read
            .query_row([key], |row| {
                let event = Event::decode(row.get_ref(0)?.as_blob()?);
                Ok((event.map_err(|fault| unreadable(0, Box::new(fault)))?, row.get(1)?))
            })
            .map_err(database(READING))?;
        // What is set aside has not happened yet, as far as the books go.
        if !applied && !matches!(event.body, Body::Handling(_)) {
            continue;
        }
        let Some(effect) = task::effect(facts, &event) else { continue };
        let plated = effect.plate().is_some_and(|plate| plates.iter().any(|own| own.as_str() == plate));
        let announced = if plated { vec![name.id.clone()] } else { Vec::new() };
        task.take(&effect, &announced);
    }
    Ok(task.tallies.into_iter().collect())
}

pub(super) fn task(connection: &Connection, name: &TaskName) -> Result<Option<TaskRow>, StoreError> {
    let view = snapshot(connection)?;
    find(&view, name)?.map(|head| row(&view, head)).transpose()
}

pub(super) fn list(connection: &Connection, query: &TaskQuery) -> Result<Page<TaskRow>, StoreError> {
    let view = snapshot(connection)?;
    let limit = page_rows(query.limit);
    let mut after = query.after.as_deref().unwrap_or_default().splitn(3, SEPARATOR);
    let [site, id, kind] = [(); 3].map(|()| after.next().unwrap_or_default());
    let condition = "WHERE (?1 IS NULL OR site.site = ?1) AND (?2 IS NULL OR task.kind = ?2)
                         AND (?3 IS NULL OR state = ?3) AND (site.site, task.id, task.kind) > (?4, ?5, ?6)
                     ORDER BY site.site, task.id, task.kind LIMIT ?7";
    let values = params![
        query.site.as_ref().map(SiteId::as_str),
        query.kind.map(TaskKind::as_str),
        query.state.map(TaskState::as_str),
        site,
        id,
        kind,
        limit as i64,
    ];
    let found = heads(&view, condition, values)?;
    let next = found.last().filter(|_| found.len() == limit).map(|head| {
        let TaskName { site, id, kind } = &head.name;
        format!("{site}{SEPARATOR}{id}{SEPARATOR}{}", kind.as_str())
    });
    let rows = found.into_iter().map(|head| row(&view, head)).collect::<Result<_, _>>()?;
    Ok(Page { rows, next })
}
