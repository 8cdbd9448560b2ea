//! Reservations and quotas in SQLite. The write lock is held from the first look to the commit, so what was checked
//! still holds when it is written.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};
use stockwire_protocol::{AccountId, ChannelId, ItemId, Quantity, SiteId, Uom};

use super::catalogue::channels;
use super::codes::{item_no, site_no};
use super::escrow::{count_taken, escrowed};
use super::{PLACE_AT, SqliteStore, database, optional, page_rows, snapshot, text, unreadable, uom};
use crate::order::Writes;
use crate::reservation::{
    self, End, Ended, Entry, Firmness, Known, OrderKey, Priority, Query, Quota, Refused, Request,
    Reservation, Resolution, SHORTAGES_MAX, Shelf, Shortage, Step,
};
use crate::store::{Page, StoreError};

const READING: &str = "reading reservations";
const RESERVING: &str = "reserving stock";
const RESOLVING: &str = "ending reservations";

/// Soft holds that are ended in one transaction: it bounds how long ingest waits after a sale's rush.
const DUE_MAX: i64 = 1_000;

/// What an order holds now, or why nothing changed.
type Answer = Result<Vec<Reservation>, Refused>;

impl SqliteStore {
    pub(super) fn reserve_stock(&mut self, now_ms: i64, request: &Request) -> Result<Answer, StoreError> {
        if let Err(refused) = reservation::check(request, now_ms) {
            return Ok(Err(refused));
        }
        self.write(RESERVING, |tx| {
            let mut request = request.clone();
            let mut numbers = BTreeMap::new();
            for (at, line) in request.lines.iter_mut().enumerate() {
                let (item, site) = (item_no(tx, &line.item)?, site_no(tx, &line.site)?);
                match line.quantity.to_uom(booked(tx, item)?) {
                    Ok(quantity) => line.quantity = quantity,
                    Err(fault) => {
                        let field = format!("lines[{at}].quantity");
                        return Ok(Err(Refused::Field { field, reason: fault.to_string() }));
                    }
                }
                numbers.insert((line.item.clone(), line.site.clone()), (item, site));
            }
            let mut known = Known::default();
            for (name, (item, site)) in &numbers {
                end_due(tx, now_ms, "item = ?2 AND site = ?3", params![now_ms, item, site])?;
                known.shelves.insert(name.clone(), shelf(tx, *item, *site)?);
            }
            let policies = channels(tx)?;
            let items: BTreeMap<&ItemId, i64> =
                numbers.iter().map(|((item, _), (no, _))| (item, *no)).collect();
            for (item, no) in items {
                let uom = booked(tx, no)?;
                known.escrow.extend(escrowed(
                    tx,
                    now_ms,
                    &request.order.channel,
                    (no, item, uom),
                    &policies,
                )?);
            }
            known.held = of_order(tx, &request.order)?;
            let fresh = match reservation::decide(&request, &known) {
                Ok(fresh) => fresh,
                Err(refused) => return Ok(Err(refused)),
            };
            hold(tx, now_ms, &request, &fresh, &numbers)?;
            of_order(tx, &request.order).map(Ok)
        })
    }

    pub(super) fn resolve_order(
        &mut self,
        now_ms: i64,
        resolution: &Resolution,
    ) -> Result<Answer, StoreError> {
        if let Err(refused) = reservation::check_resolution(resolution) {
            return Ok(Err(refused));
        }
        self.write(RESOLVING, |tx| {
            let (channel, order) = (resolution.order.channel.as_str(), resolution.order.order.as_str());
            // Whoever confirms a minute late must not find the hold only because nobody looked in between.
            let of_order_ids =
                "reservation IN (SELECT id FROM reservation WHERE channel = ?2 AND order_id = ?3)";
            end_due(tx, now_ms, of_order_ids, params![now_ms, channel, order])?;
            let held = of_order(tx, &resolution.order)?;
            let earlier = entries_of(tx, &resolution.order, &resolution.key)?;
            match reservation::resolve(resolution, &held, &earlier) {
                Err(refused) => Ok(Err(refused)),
                Ok(entries) => {
                    append(tx, now_ms, &resolution.key, &entries)?;
                    of_order(tx, &resolution.order).map(Ok)
                }
            }
        })
    }

    pub(super) fn expire_due(&mut self, now_ms: i64) -> Result<usize, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM pending WHERE until <= ?1)";
        let any: bool = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([now_ms], |row| row.get(0)))
            .map_err(database(RESOLVING))?;
        match any {
            // Asked every second, and it must not write every second.
            false => Ok(0),
            true => self.write(RESOLVING, |tx| end_due(tx, now_ms, "true", params![now_ms])),
        }
    }

    pub(super) fn set_quota(
        &mut self,
        now_ms: i64,
        account: &AccountId,
        (item, site): (&ItemId, &SiteId),
        quantity: Option<Quantity>,
    ) -> Result<bool, StoreError> {
        self.write(RESERVING, |tx| {
            let (item_no, site_no) = (item_no(tx, item)?, site_no(tx, site)?);
            let changed = match quantity {
                None => tx.execute(
                    "DELETE FROM quota WHERE item = ?1 AND site = ?2 AND account = ?3",
                    params![item_no, site_no, account.as_str()],
                ),
                Some(quantity) => {
                    let refused = |reason: String| StoreError::Refused { reason: format!("quantity: {reason}") };
                    let booked = quantity.to_uom(booked(tx, item_no)?).map_err(|fault| refused(fault.to_string()))?;
                    if !(1..=reservation::STEPS_MAX).contains(&booked.steps) {
                        return Err(refused(format!("expected more than 0, got {quantity}")));
                    }
                    // A new number counts from now: what the account has had before was of the old one.
                    tx.execute(
                        "INSERT INTO quota SELECT ?1, ?2, ?3, ?4, coalesce(max(id), 0) FROM reservation WHERE true
                         ON CONFLICT DO UPDATE SET steps = excluded.steps, since = excluded.since
                             WHERE steps <> excluded.steps",
                        params![item_no, site_no, account.as_str(), booked.steps],
                    )
                }
            };
            let changed = changed.map_err(database(RESERVING))? > 0;
            if changed {
                stale(tx, now_ms, item_no)?;
            }
            Ok(changed)
        })
    }
}

/// Numbers of items and sites.
type Numbers = BTreeMap<(ItemId, SiteId), (i64, i64)>;

fn hold(
    tx: &Connection,
    now_ms: i64,
    request: &Request,
    fresh: &[reservation::Line],
    numbers: &Numbers,
) -> Result<(), StoreError> {
    let until = match request.firmness {
        Firmness::Soft { until_ms } => Some(until_ms),
        Firmness::Hard => None,
    };
    let (channel, order) = (request.order.channel.as_str(), request.order.order.as_str());
    let account = request.account.as_ref().map(AccountId::as_str);
    let sql = "INSERT INTO reservation (channel, order_id, line, site, attempt, item, steps, account, priority, until, at)
               SELECT ?1, ?2, ?3, ?4, count(*), ?5, ?6, ?7, ?8, ?9, ?10 FROM reservation
               WHERE channel = ?1 AND order_id = ?2 AND line = ?3 AND site = ?4";
    let mut insert = tx.prepare_cached(sql).map_err(database(RESERVING))?;
    let sql = "INSERT INTO pending VALUES (last_insert_rowid(), ?1, ?2, ?3, ?4, ?5)";
    let mut hold = tx.prepare_cached(sql).map_err(database(RESERVING))?;
    for line in fresh {
        let (item, site) = numbers
            .get(&(line.item.clone(), line.site.clone()))
            .ok_or_else(|| StoreError::Corrupt { what: "a granted line was not asked for".into() })?;
        let (number, steps) = (line.line, line.quantity.steps);
        let priority = request.priority.get();
        insert
            .execute(params![channel, order, number, site, item, steps, account, priority, until, now_ms])
            .map_err(database(RESERVING))?;
        hold.execute(params![item, site, channel, steps, until]).map_err(database(RESERVING))?;
        count_taken(tx, *item, channel, steps)?;
        stale(tx, now_ms, *item)?;
    }
    Ok(())
}

/// What working on an order holds and ends, already decided by what [`current_shelf`] and [`of_order`] said.
pub(super) fn keep_of_order(
    tx: &Connection,
    now_ms: i64,
    order: &OrderKey,
    writes: &Writes,
) -> Result<(), StoreError> {
    if !writes.reserve.is_empty() {
        let mut numbers = Numbers::new();
        for line in &writes.reserve {
            let key = (line.item.clone(), line.site.clone());
            numbers.insert(key, (item_no(tx, &line.item)?, site_no(tx, &line.site)?));
        }
        let (order, account) = (order.clone(), writes.account.clone());
        let (priority, firmness, lines) = (Priority::ORDINARY, Firmness::Hard, writes.reserve.clone());
        hold(tx, now_ms, &Request { order, account, priority, firmness, lines }, &writes.reserve, &numbers)?;
    }
    if writes.ends.is_empty() {
        return Ok(());
    }
    let held = of_order(tx, order)?;
    for end in &writes.ends {
        let hold = held.iter().find(|held| {
            let is_it = held.line.line == end.number && held.line.site == end.site;
            is_it && end.steps <= held.pending()
        });
        let hold = hold.ok_or_else(|| StoreError::Corrupt {
            what: format!("allocation {} at {} does not hold what is to end", end.number, end.site),
        })?;
        let entry = Entry { reservation: hold.id, step: Step::End(end.end), steps: end.steps };
        append(tx, now_ms, &end.key, &[entry])?;
    }
    Ok(())
}

/// What an order is compared with; soft holds there whose time is up are ended first.
pub(super) fn current_shelf(tx: &Connection, now_ms: i64, item: i64, site: i64) -> Result<Shelf, StoreError> {
    end_due(tx, now_ms, "item = ?2 AND site = ?3", params![now_ms, item, site])?;
    shelf(tx, item, site)
}

/// The unit an item is booked in.
fn booked(connection: &Connection, item: i64) -> Result<Uom, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT uom FROM item WHERE no = ?1").map_err(database(READING))?;
    statement.query_row([item], |row| uom(row, 0)).map_err(database(READING))
}

/// What the promises of one item at one site are compared with.
fn shelf(connection: &Connection, item: i64, site: i64) -> Result<Shelf, StoreError> {
    let sql = "SELECT (SELECT coalesce(sum(balance.steps), 0) FROM balance JOIN place ON place.no = balance.place
                           WHERE balance.item = ?1 AND place.site = ?2 AND place.kind = ?3 AND balance.disposition = ''),
                      (SELECT coalesce(sum(steps), 0) FROM pending WHERE item = ?1 AND site = ?2)";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let (on_hand, reserved) = statement
        .query_row(params![item, site, PLACE_AT], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(database(READING))?;
    let of_item = quotas_where(connection, "WHERE quota.item = ?1 AND quota.site = ?2", params![item, site])?;
    let kept = of_item.into_iter().map(|quota| (quota.account.clone(), quota.kept())).collect();
    Ok(Shelf { on_hand, reserved, kept })
}

/// Of an item, by site: steps held for orders, by channel.
pub(super) fn reserved_by_site(
    connection: &Connection,
    item: i64,
) -> Result<BTreeMap<SiteId, Vec<(ChannelId, i64)>>, StoreError> {
    let sql = "SELECT site.site, channel, sum(steps) FROM pending JOIN site ON site.no = pending.site
               WHERE item = ?1 GROUP BY pending.site, channel ORDER BY channel";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let rows: Vec<(SiteId, ChannelId, i64)> = statement
        .query_map([item], |row| Ok((text(row, 0)?, text(row, 1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let mut reserved: BTreeMap<SiteId, Vec<(ChannelId, i64)>> = BTreeMap::new();
    for (site, channel, steps) in rows {
        reserved.entry(site).or_default().push((channel, steps));
    }
    Ok(reserved)
}

/// Of an item, by site: what is kept for accounts and not used by them, in steps.
pub(super) fn kept_by_site(connection: &Connection, item: i64) -> Result<BTreeMap<SiteId, i64>, StoreError> {
    let mut kept = BTreeMap::new();
    for quota in quotas_where(connection, "WHERE quota.item = ?1", [item])? {
        let steps = quota.kept();
        *kept.entry(quota.site).or_insert(0) += steps;
    }
    Ok(kept)
}

fn quotas_where(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Quota>, StoreError> {
    let sql = format!(
        "SELECT quota.account, item.item, site.site, quota.steps, item.uom,
             (SELECT coalesce(sum(reservation.steps), 0) FROM reservation
                  WHERE account = quota.account AND reservation.item = quota.item AND reservation.site = quota.site
                      AND reservation.id > quota.since)
             - (SELECT coalesce(sum(entry.steps), 0) FROM reservation JOIN reservation_entry AS entry
                        ON entry.reservation = reservation.id AND entry.step IN ('voided', 'expired')
                    WHERE account = quota.account AND reservation.item = quota.item AND reservation.site = quota.site
                        AND reservation.id > quota.since)
         FROM quota JOIN item ON item.no = quota.item JOIN site ON site.no = quota.site {condition}
         ORDER BY item.item, site.site, quota.account"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(database(READING))?;
    statement
        .query_map(values, |row| {
            Ok(Quota {
                account: text(row, 0)?,
                item: text(row, 1)?,
                site: text(row, 2)?,
                quantity: Quantity { steps: row.get(3)?, uom: uom(row, 4)? },
                used: row.get(5)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

pub(super) fn quotas(connection: &Connection) -> Result<Vec<Quota>, StoreError> {
    quotas_where(connection, "", [])
}

/// Ends soft holds whose time is up, among those that `condition` names (`?1` is now). Returns how many.
fn end_due(
    tx: &Connection,
    now_ms: i64,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    let ids = format!(
        "SELECT reservation FROM pending WHERE until <= ?1 AND {condition} ORDER BY until LIMIT {DUE_MAX}"
    );
    let held = select(tx, &format!("WHERE reservation.id IN ({ids}) ORDER BY reservation.id"), values)?;
    let entries = reservation::expire(&held, now_ms);
    append(tx, now_ms, "", &entries)?;
    Ok(entries.len())
}

/// Adds entries and brings the projection along.
fn append(tx: &Connection, now_ms: i64, key: &str, entries: &[Entry]) -> Result<(), StoreError> {
    let mut insert = tx
        .prepare_cached("INSERT INTO reservation_entry VALUES (?1, ?2, ?3, ?4, ?5)")
        .map_err(database(RESOLVING))?;
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        tx.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(database(RESOLVING))
    };
    let mut items = BTreeSet::new();
    for entry in entries {
        let id = entry.reservation as i64;
        insert
            .execute(params![id, key, step_name(entry.step), entry.steps, now_ms])
            .map_err(database(RESOLVING))?;
        match entry.step {
            Step::Confirm => run("UPDATE pending SET until = NULL WHERE reservation = ?1", &[&id])?,
            Step::End(_) => {
                // The check of the table would refuse a hold of nothing.
                run("DELETE FROM pending WHERE reservation = ?1 AND steps = ?2", &[&id, &entry.steps])?;
                run("UPDATE pending SET steps = steps - ?2 WHERE reservation = ?1", &[&id, &entry.steps])?
            }
        };
        let mut find = tx
            .prepare_cached("SELECT item, channel FROM reservation WHERE id = ?1")
            .map_err(database(RESOLVING))?;
        let (item, channel): (i64, String) =
            find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).map_err(database(RESOLVING))?;
        if let Step::End(End::Voided | End::Expired) = entry.step {
            count_taken(tx, item, &channel, -entry.steps)?;
        }
        items.insert(item);
    }
    items.into_iter().try_for_each(|item| stale(tx, now_ms, item))
}

/// The numbers that channels are told of an item are to be computed anew.
fn stale(tx: &Connection, now_ms: i64, item: i64) -> Result<(), StoreError> {
    let mut statement = tx
        .prepare_cached("INSERT INTO stale_item VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .map_err(database(RESERVING))?;
    statement.execute([item, now_ms]).map(drop).map_err(database(RESERVING))
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Confirm => "confirmed",
        Step::End(end) => end.as_str(),
    }
}

pub(super) fn of_order(connection: &Connection, order: &OrderKey) -> Result<Vec<Reservation>, StoreError> {
    let condition = "WHERE reservation.channel = ?1 AND reservation.order_id = ?2 ORDER BY reservation.id";
    select(connection, condition, params![order.channel.as_str(), order.order.as_str()])
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Reservation>, StoreError> {
    let sql = format!(
        "SELECT reservation.id, reservation.channel, order_id, line, item.item, site.site, reservation.steps, item.uom,
             account, priority, reservation.until, at,
             EXISTS (SELECT 1 FROM reservation_entry AS entry WHERE entry.reservation = reservation.id AND step = 'confirmed'),
             (SELECT coalesce(sum(steps), 0) FROM reservation_entry AS entry
                  WHERE entry.reservation = reservation.id AND step = 'posted'),
             (SELECT coalesce(sum(steps), 0) FROM reservation_entry AS entry
                  WHERE entry.reservation = reservation.id AND step = 'voided'),
             (SELECT coalesce(sum(steps), 0) FROM reservation_entry AS entry
                  WHERE entry.reservation = reservation.id AND step = 'expired')
         FROM reservation JOIN item ON item.no = reservation.item JOIN site ON site.no = reservation.site {condition}"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(database(READING))?;
    statement.query_map(values, read).and_then(Iterator::collect).map_err(database(READING))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Reservation> {
    let priority: u8 = row.get(9)?;
    let until: Option<i64> = row.get(10)?;
    let is_confirmed: bool = row.get(12)?;
    Ok(Reservation {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        order: OrderKey { channel: text(row, 1)?, order: text(row, 2)? },
        line: reservation::Line {
            line: row.get(3)?,
            item: text(row, 4)?,
            site: text(row, 5)?,
            quantity: Quantity { steps: row.get(6)?, uom: uom(row, 7)? },
        },
        account: optional(row, 8)?,
        priority: Priority::new(priority)
            .ok_or_else(|| unreadable(9, format!("no priority {priority}").into()))?,
        firmness: match until {
            Some(until_ms) if !is_confirmed => Firmness::Soft { until_ms },
            _ => Firmness::Hard,
        },
        at_ms: row.get(11)?,
        ended: Ended { posted: row.get(13)?, voided: row.get(14)?, expired: row.get(15)? },
    })
}

fn entries_of(connection: &Connection, order: &OrderKey, key: &str) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT entry.reservation, entry.step, entry.steps FROM reservation_entry AS entry
               JOIN reservation ON reservation.id = entry.reservation
               WHERE channel = ?1 AND order_id = ?2 AND key = ?3 ORDER BY entry.reservation";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map(params![order.channel.as_str(), order.order.as_str(), key], |row| {
            let name = row.get_ref(1)?.as_str()?;
            let step = match End::from_name(name) {
                Some(end) => Step::End(end),
                None if name == "confirmed" => Step::Confirm,
                None => return Err(unreadable(1, format!("no step {name:?}").into())),
            };
            let reservation = row.get::<_, i64>(0)?.cast_unsigned();
            Ok(Entry { reservation, step, steps: row.get(2)? })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

pub(super) fn list(connection: &Connection, query: &Query) -> Result<Page<Reservation>, StoreError> {
    let rows = page_rows(query.limit);
    let after = match &query.after {
        None => i64::MAX,
        Some(after) => after.parse().map_err(|_| StoreError::Refused {
            reason: format!("after: expected a number, got {after:?}"),
        })?,
    };
    let condition = "WHERE reservation.id < ?1 AND (?2 IS NULL OR reservation.channel = ?2)
             AND (?3 IS NULL OR order_id = ?3) AND (?4 IS NULL OR item.item = ?4)
             AND (?5 = 0 OR reservation.id IN (SELECT reservation FROM pending))
         ORDER BY reservation.id DESC LIMIT ?6";
    let values = params![
        after,
        query.channel.as_ref().map(|channel| channel.as_str()),
        query.order.as_ref().map(|order| order.as_str()),
        query.item.as_ref().map(|item| item.as_str()),
        query.pending_only,
        rows as i64 + 1
    ];
    let mut found = select(connection, condition, values)?;
    let more = found.len() > rows;
    found.truncate(rows);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { rows: found, next })
}

/// Where less is on hand than was promised.
pub(super) fn shortages(connection: &Connection) -> Result<Vec<Shortage>, StoreError> {
    let view = snapshot(connection)?;
    let sql =
        "SELECT pending.item, pending.site, item.item, site.site, item.uom, sum(pending.steps) AS reserved,
                   (SELECT coalesce(sum(balance.steps), 0) FROM balance JOIN place ON place.no = balance.place
                        WHERE balance.item = pending.item AND place.site = pending.site AND place.kind = ?1
                            AND balance.disposition = '') AS on_hand
               FROM pending JOIN item ON item.no = pending.item JOIN site ON site.no = pending.site
               GROUP BY pending.item, pending.site HAVING reserved > on_hand
               ORDER BY item.item, site.site LIMIT ?2";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let found: Vec<(i64, i64, Shortage)> = statement
        .query_map(params![PLACE_AT, SHORTAGES_MAX as i64], |row| {
            let quantity = |steps| Ok::<_, rusqlite::Error>(Quantity { steps, uom: uom(row, 4)? });
            let (reserved, on_hand) = (quantity(row.get(5)?)?, quantity(row.get(6)?)?);
            let (item, site) = (text(row, 2)?, text(row, 3)?);
            Ok((row.get(0)?, row.get(1)?, Shortage { item, site, on_hand, reserved, gives_way: Vec::new() }))
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let pending = "WHERE reservation.id IN (SELECT reservation FROM pending WHERE item = ?1 AND site = ?2)
         ORDER BY reservation.id";
    let mut shortages = Vec::with_capacity(found.len());
    for (item, site, mut shortage) in found {
        let held = select(&view, pending, [item, site])?;
        let missing = shortage.reserved.steps.saturating_sub(shortage.on_hand.steps);
        let losers = reservation::give_way(&held, missing);
        let named = |(id, steps): (u64, i64)| {
            held.iter().find(|hold| hold.id == id).map(|hold| (hold.clone(), steps))
        };
        shortage.gives_way = losers.into_iter().filter_map(named).collect();
        shortages.push(shortage);
    }
    Ok(shortages)
}
