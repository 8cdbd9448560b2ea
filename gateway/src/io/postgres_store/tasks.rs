//! Tasks in PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::gs1::Date;
use stockwire_protocol::{Body, ItemId, LocationId, Quantity, Reference, SiteId, Task, TaskKind, TaskLine};

use super::catalogue::refused;
use super::codes::{item_no, place_no, site_no};
use super::column::{count, event, get, lot_text, optional, text, unreadable, uom, word};
use super::session::Lock;
use super::{PostgresStore, Tx, page_rows};
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

fn head(row: &Row) -> Result<Head, StoreError> {
    let kind = word(row, 3, task::kind_from_name)?;
    Ok(Head {
        site: get(row, 0)?,
        name: TaskName { site: text(row, 1)?, id: text(row, 2)?, kind },
        order: optional(row, 4)?,
        location: optional(row, 5)?,
        state: word(row, 6, TaskState::from_name)?,
        created_at_ms: get(row, 7)?,
        changed_at_ms: get(row, 8)?,
    })
}

pub(super) fn heads(
    tx: &Tx<'_>,
    condition: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Head>, StoreError> {
    let sql = format!(
        "SELECT task.site, site.site, task.id, task.kind, order_id, task.location, state, created_at, changed_at
         FROM task JOIN site ON site.no = task.site {condition}"
    );
    tx.query(READING, &sql, values)?.iter().map(head).collect()
}

fn find(tx: &Tx<'_>, name: &TaskName) -> Result<Option<Head>, StoreError> {
    let condition = "WHERE site.site = $1 AND task.id = $2 AND task.kind = $3";
    let found = heads(tx, condition, &[&name.site.as_str(), &name.id.as_str(), &name.kind.as_str()])?;
    Ok(found.into_iter().next())
}

/// A task with everything that belongs to it.
struct Whole {
    asked: Task,
    known: KnownTask,
    created_at_ms: i64,
    changed_at_ms: i64,
}

fn whole(tx: &Tx<'_>, head: Head) -> Result<Whole, StoreError> {
    let Head { site, name, order, location, state, created_at_ms, changed_at_ms } = head;
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    let key: [&(dyn ToSql + Sync); 3] = [&site, &id, &kind];
    let sql = "SELECT item.item, item.uom, task_line.item, steps, from_location, to_location, lot, expires_on
               FROM task_line JOIN item ON item.no = task_line.item
               WHERE task_line.site = $1 AND task_line.id = $2 AND task_line.kind = $3 ORDER BY line";
    let mut lines: Vec<(TaskLine, ItemNo)> = Vec::new();
    for row in tx.query(READING, sql, &key)? {
        let day = |number: i64| {
            let number = u32::try_from(number).map_err(|fault| unreadable(&row, 7, fault))?;
            Date::from_yyyymmdd(number).map_err(|fault| unreadable(&row, 7, fault))
        };
        let line = TaskLine {
            item: text(&row, 0)?,
            quantity: Quantity { steps: get(&row, 3)?, uom: uom(&row, 1)? },
            from: optional(&row, 4)?,
            to: optional(&row, 5)?,
            lot: optional(&row, 6)?,
            expires_on: get::<Option<i64>>(&row, 7)?.map(day).transpose()?,
        };
        lines.push((line, ItemNo(get(&row, 2)?)));
    }
    let sql =
        "SELECT item, lot, location, done, short FROM task_tally WHERE site = $1 AND id = $2 AND kind = $3";
    let mut tallies: BTreeMap<TallyKey, Tally> = BTreeMap::new();
    for row in tx.query(READING, sql, &key)? {
        let key =
            TallyKey { item: ItemNo(get(&row, 0)?), lot: optional(&row, 1)?, location: optional(&row, 2)? };
        tallies.insert(key, Tally { done: get(&row, 3)?, short: get(&row, 4)? });
    }
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

pub(super) fn row(tx: &Tx<'_>, head: Head) -> Result<TaskRow, StoreError> {
    let Whole { asked, known, created_at_ms, changed_at_ms } = whole(tx, head)?;
    let (lines, beyond) = task::lay(&known.asks, &known.tallies);
    let mut done = Vec::with_capacity(beyond.len());
    for (TallyKey { item: no, lot, location }, steps) in beyond {
        let row = tx.one(READING, "SELECT item, uom FROM item WHERE no = $1", &[&no.0])?;
        let (item, uom) = (text(&row, 0)?, uom(&row, 1)?);
        done.push(Done { item, lot, location, quantity: Quantity { steps, uom } });
    }
    let (site, state) = (known.name.site, known.state);
    Ok(TaskRow { site, asked, state, lines, beyond: done, created_at_ms, changed_at_ms })
}

/// Tasks of these numbers, and the purchase orders of the announced plates among them.
pub(super) fn load(tx: &Tx<'_>, names: &[(SiteId, Reference)]) -> Result<Vec<KnownTask>, StoreError> {
    let mut known: Vec<KnownTask> = Vec::new();
    let mut seen: BTreeSet<(SiteId, Reference)> = names.iter().cloned().collect();
    let mut wanted: Vec<(SiteId, Reference)> = names.to_vec();
    while !wanted.is_empty() {
        let sites: Vec<&str> = wanted.iter().map(|(site, _)| site.as_str()).collect();
        let ids: Vec<&str> = wanted.iter().map(|(_, id)| id.as_str()).collect();
        let condition = "JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (site, id, at)
                             ON wanted.site = site.site AND wanted.id = task.id ORDER BY wanted.at, task.kind";
        let mut orders = Vec::new();
        for head in heads(tx, condition, &[&sites, &ids])? {
            let task = whole(tx, head)?.known;
            if let Some(order) = task.order.clone().map(|order| (task.name.site.clone(), order))
                && seen.insert(order.clone())
            {
                orders.push(order);
            }
            known.push(task);
        }
        wanted = orders;
    }
    Ok(known)
}

/// What was done on tasks.
pub(super) fn write(tx: &Tx<'_>, at_ms: i64, writes: &[TaskWrite]) -> Result<(), StoreError> {
    for TaskWrite { name, state, tallies } in writes {
        let site = tx.one(READING, "SELECT no FROM site WHERE site = $1", &[&name.site.as_str()])?;
        let site = get(&site, 0)?;
        put_tallies(tx, site, name, tallies)?;
        settle(tx, at_ms, (site, name), *state)?;
    }
    Ok(())
}

fn put_tallies(
    tx: &Tx<'_>,
    site: i64,
    name: &TaskName,
    tallies: &[(TallyKey, Tally)],
) -> Result<(), StoreError> {
    let items: Vec<i64> = tallies.iter().map(|(key, _)| key.item.0).collect();
    let lots: Vec<&str> = tallies.iter().map(|(key, _)| lot_text(key.lot.as_ref())).collect();
    let location = |key: &TallyKey| key.location.as_ref().map(|l| l.as_str().to_owned()).unwrap_or_default();
    let locations: Vec<String> = tallies.iter().map(|(key, _)| location(key)).collect();
    let done: Vec<i64> = tallies.iter().map(|(_, tally)| tally.done).collect();
    let short: Vec<i64> = tallies.iter().map(|(_, tally)| tally.short).collect();
    let sql = "INSERT INTO task_tally (site, id, kind, item, lot, location, done, short)
               SELECT $1, $2, $3, item, lot, location, done, short
               FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
                   AS new (item, lot, location, done, short)
               ON CONFLICT (site, id, kind, item, lot, location)
                   DO UPDATE SET done = excluded.done, short = excluded.short";
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    tx.execute(WRITING, sql, &[&site, &id, &kind, &items, &lots, &locations, &done, &short]).map(drop)
}

/// Notes how a task stands, as the newest change of its site.
fn settle(
    tx: &Tx<'_>,
    at_ms: i64,
    (site, name): (i64, &TaskName),
    state: TaskState,
) -> Result<(), StoreError> {
    let sql =
        "WITH new AS (UPDATE site SET task_change = task_change + 1 WHERE no = $1 RETURNING task_change)
               UPDATE task SET state = $4, changed_at = $5, changed = new.task_change FROM new
               WHERE site = $1 AND id = $2 AND kind = $3";
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    tx.execute(WRITING, sql, &[&site, &id, &kind, &state.as_str(), &at_ms]).map(drop)
}

impl PostgresStore {
    pub(super) fn put_task_row(
        &mut self,
        at_ms: i64,
        site: &SiteId,
        task: &Task,
    ) -> Result<TaskRow, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| {
            put(tx, at_ms, site, task)?;
            let name = TaskName { site: site.clone(), id: task.id.clone(), kind: task.kind };
            row(tx, must(find(tx, &name)?)?)
        })
    }

    pub(super) fn withdraw(&mut self, at_ms: i64, name: &TaskName) -> Result<bool, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| take_back(tx, at_ms, name))
    }
}

/// Asks for a task within a transaction.
pub(super) fn put(tx: &Tx<'_>, at_ms: i64, site: &SiteId, task: &Task) -> Result<(), StoreError> {
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
        put_tallies(tx, no, &name, &earlier(tx, no, &name)?)?;
    }
    let now = whole(tx, must(find(tx, &name)?)?)?.known;
    let done = task::is_done(name.kind, &now.asks, &now.tallies);
    let state = if done { TaskState::Done } else { TaskState::Open };
    settle(tx, at_ms, (no, &name), state)?;
    check_room(tx, (no, site))
}

/// Withdraws a task within a transaction. `false` = there is none, or it was withdrawn before.
pub(super) fn take_back(tx: &Tx<'_>, at_ms: i64, name: &TaskName) -> Result<bool, StoreError> {
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
fn check_places(tx: &Tx<'_>, site: (i64, &SiteId), task: &Task) -> Result<Vec<(TaskLine, i64)>, StoreError> {
    if let Some(location) = &task.location {
        place_no(tx, site, location)?;
    }
    let mut lines = Vec::with_capacity(task.lines.len());
    for line in &task.lines {
        let ItemFacts { no, uom: own } = facts(tx, &line.item)?;
        let Ok(quantity) = line.quantity.to_uom(own) else {
            return refused(format!(
                "item {} is booked in {own}, the line says {}",
                line.item, line.quantity.uom
            ));
        };
        for location in line.from.iter().chain(&line.to) {
            place_no(tx, site, location)?;
        }
        lines.push((TaskLine { quantity, ..line.clone() }, no.0));
    }
    Ok(lines)
}

fn facts(tx: &Tx<'_>, item: &ItemId) -> Result<ItemFacts, StoreError> {
    let no = item_no(tx, item)?;
    let row = tx.one(READING, "SELECT uom FROM item WHERE no = $1", &[&no])?;
    Ok(ItemFacts { no: ItemNo(no), uom: uom(&row, 0)? })
}

fn put_lines(
    tx: &Tx<'_>,
    at_ms: i64,
    (site, name): (i64, &TaskName),
    asked: &Task,
    lines: &[(TaskLine, i64)],
) -> Result<(), StoreError> {
    let (id, kind) = (name.id.as_str(), name.kind.as_str());
    let sql = "INSERT INTO task (site, id, kind, order_id, location, state, created_at, changed_at, changed)
               VALUES ($1, $2, $3, $4, $5, 'open', $6, $6, 0)
               ON CONFLICT (site, id, kind) DO UPDATE SET order_id = $4, location = $5";
    let order = asked.order.as_ref().map(Reference::as_str);
    let location = asked.location.as_ref().map(LocationId::as_str);
    tx.execute(WRITING, sql, &[&site, &id, &kind, &order, &location, &at_ms])?;
    let sql = "DELETE FROM task_line WHERE site = $1 AND id = $2 AND kind = $3";
    tx.execute(WRITING, sql, &[&site, &id, &kind])?;
    let items: Vec<i64> = lines.iter().map(|(_, item)| *item).collect();
    let steps: Vec<i64> = lines.iter().map(|(line, _)| line.quantity.steps).collect();
    let from: Vec<Option<&str>> =
        lines.iter().map(|(line, _)| line.from.as_ref().map(LocationId::as_str)).collect();
    let to: Vec<Option<&str>> =
        lines.iter().map(|(line, _)| line.to.as_ref().map(LocationId::as_str)).collect();
    let lots: Vec<Option<&str>> =
        lines.iter().map(|(line, _)| line.lot.as_ref().map(|lot| lot.as_str())).collect();
    let days: Vec<Option<i64>> =
        lines.iter().map(|(line, _)| line.expires_on.map(|day| i64::from(Date::to_yyyymmdd(day)))).collect();
    let sql = "INSERT INTO task_line (site, id, kind, line, item, steps, from_location, to_location, lot, expires_on)
               SELECT $1, $2, $3, at - 1, item, steps, from_location, to_location, lot, expires_on
               FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[])
                   WITH ORDINALITY AS new (item, steps, from_location, to_location, lot, expires_on, at)";
    tx.execute(WRITING, sql, &[&site, &id, &kind, &items, &steps, &from, &to, &lots, &days]).map(drop)
}

/// What an edge box of the site would have to hold.
fn check_room(tx: &Tx<'_>, (no, site): (i64, &SiteId)) -> Result<(), StoreError> {
    let sql = "SELECT count(*) FROM task JOIN task_line USING (site, id, kind)
               WHERE task.site = $1 AND task.state = 'open'";
    let lines = count(&tx.one(READING, sql, &[&no])?, 0)?;
    if lines > OPEN_LINES_MAX as u64 {
        return refused(format!(
            "site {site} has {lines} open lines with this task, at most {OPEN_LINES_MAX} are kept; withdraw what is \
             not to be done any more"
        ));
    }
    Ok(())
}

/// What was done for a task before anybody asked: goods may be there before the paper.
fn earlier(tx: &Tx<'_>, site: i64, name: &TaskName) -> Result<Vec<(TallyKey, Tally)>, StoreError> {
    let mut plates: Vec<Reference> = Vec::new();
    if name.kind == TaskKind::Receive {
        let sql = "SELECT id FROM task WHERE site = $1 AND order_id = $2 AND kind = 'announced'";
        for row in tx.query(READING, sql, &[&site, &name.id.as_str()])? {
            plates.push(text(&row, 0)?);
        }
    }
    let words: Vec<&str> = plates.iter().chain([&name.id]).map(Reference::as_str).collect();
    let sql = "SELECT DISTINCT event.key, event.received_at, event.ledger IS NOT NULL,
                   coalesce(resolved.bytes, fact.bytes)
               FROM mention JOIN event ON event.site = $2 AND event.key = mention.event
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               LEFT JOIN resolved ON resolved.event = event.key
               WHERE mention.word = ANY($1) ORDER BY event.key LIMIT $3";
    let rows = tx.query(READING, sql, &[&words, &site, &(EARLIER_FACTS_MAX as i64 + 1)])?;
    if rows.len() > EARLIER_FACTS_MAX {
        return refused(format!(
            "more than {EARLIER_FACTS_MAX} facts name {}, which is more than one task is",
            name.id
        ));
    }
    let mut task = KnownTask {
        name: name.clone(),
        order: None,
        asks: Vec::new(),
        tallies: BTreeMap::new(),
        state: TaskState::Open,
    };
    for row in &rows {
        let (applied, event) = (get::<bool>(row, 2)?, event(row, 3)?);
        // What is set aside has not happened yet, as far as the books go.
        if !applied && !matches!(event.body, Body::Handling(_)) {
            continue;
        }
        let Some(effect) = task::effect(|item| facts(tx, item).ok(), &event) else { continue };
        let plated = effect.plate().is_some_and(|plate| plates.iter().any(|own| own.as_str() == plate));
        let announced = if plated { vec![name.id.clone()] } else { Vec::new() };
        task.take(&effect, &announced);
    }
    Ok(task.tallies.into_iter().collect())
}

pub(super) fn task(tx: &Tx<'_>, name: &TaskName) -> Result<Option<TaskRow>, StoreError> {
    find(tx, name)?.map(|head| row(tx, head)).transpose()
}

pub(super) fn list(tx: &Tx<'_>, query: &TaskQuery) -> Result<Page<TaskRow>, StoreError> {
    let limit = page_rows(query.limit);
    let mut after = query.after.as_deref().unwrap_or_default().splitn(3, SEPARATOR);
    let [site, id, kind] = [(); 3].map(|()| after.next().unwrap_or_default());
    let condition = "WHERE ($1::text IS NULL OR site.site = $1) AND ($2::text IS NULL OR task.kind = $2)
                         AND ($3::text IS NULL OR state = $3) AND (site.site, task.id, task.kind) > ($4, $5, $6)
                     ORDER BY site.site, task.id, task.kind LIMIT $7";
    let values: [&(dyn ToSql + Sync); 7] = [
        &query.site.as_ref().map(SiteId::as_str),
        &query.kind.map(TaskKind::as_str),
        &query.state.map(TaskState::as_str),
        &site,
        &id,
        &kind,
        &(limit as i64),
    ];
    let found = heads(tx, condition, &values)?;
    let next = found.last().filter(|_| found.len() == limit).map(|head| {
        let TaskName { site, id, kind } = &head.name;
        format!("{site}{SEPARATOR}{id}{SEPARATOR}{}", kind.as_str())
    });
    let rows = found.into_iter().map(|head| row(tx, head)).collect::<Result<_, _>>()?;
    Ok(Page { rows, next })
}
