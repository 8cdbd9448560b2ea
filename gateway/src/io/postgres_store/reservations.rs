//! Reservations and quotas in PostgreSQL. The lock on the books is held from the first look to the commit, so what was
//! checked still holds when it is written, whichever gateway writes it.

use std::collections::{BTreeMap, HashMap};

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::{AccountId, ChannelId, ItemId, Quantity, SiteId, Uom};

use super::catalogue::channels;
use super::catalogue::refused;
use super::codes::{item_no, site_no};
use super::column::{get, optional, text, unreadable, uom, word};
use super::escrow::escrowed;
use super::session::Lock;
use super::{PostgresStore, Tx, page_rows};
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
/// The kind of physical places.
const PLACE_AT: i64 = 0;

/// What an order holds now, or why nothing changed.
type Answer = Result<Vec<Reservation>, Refused>;
type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

impl PostgresStore {
    pub(super) fn reserve_stock(&mut self, now_ms: i64, request: &Request) -> Result<Answer, StoreError> {
        if let Err(refused) = reservation::check(request, now_ms) {
            return Ok(Err(refused));
        }
        self.session.write(RESERVING, Lock::Books, |tx| {
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
                end_due(tx, now_ms, "item = $2 AND site = $3", &[&now_ms, item, site])?;
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
            insert(tx, now_ms, &request, &fresh, &numbers)?;
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
        self.session.write(RESOLVING, Lock::Books, |tx| {
            let (channel, order) = (resolution.order.channel.as_str(), resolution.order.order.as_str());
            // Whoever confirms a minute late must not find the hold only because nobody looked in between.
            let ids = "reservation IN (SELECT id FROM reservation WHERE channel = $2 AND order_id = $3)";
            end_due(tx, now_ms, ids, &[&now_ms, &channel, &order])?;
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
        let any: bool = self.session.read(RESOLVING, |tx| {
            get(&tx.one(RESOLVING, "SELECT EXISTS (SELECT FROM pending WHERE until <= $1)", &[&now_ms])?, 0)
        })?;
        match any {
            // Asked every second, and it must not write every second.
            false => Ok(0),
            true => self.session.write(RESOLVING, Lock::Books, |tx| end_due(tx, now_ms, "true", &[&now_ms])),
        }
    }

    pub(super) fn set_quota(
        &mut self,
        now_ms: i64,
        account: &AccountId,
        (item, site): (&ItemId, &SiteId),
        quantity: Option<Quantity>,
    ) -> Result<bool, StoreError> {
        self.session.write(RESERVING, Lock::Books, |tx| {
            let (item_no, site_no) = (item_no(tx, item)?, site_no(tx, site)?);
            let changed = match quantity {
                None => tx.execute(
                    RESERVING,
                    "DELETE FROM quota WHERE item = $1 AND site = $2 AND account = $3",
                    &[&item_no, &site_no, &account.as_str()],
                )?,
                Some(quantity) => {
                    let booked = match quantity.to_uom(booked(tx, item_no)?) {
                        Ok(booked) if (1..=reservation::STEPS_MAX).contains(&booked.steps) => booked,
                        Ok(_) => return refused(format!("quantity: expected more than 0, got {quantity}")),
                        Err(fault) => return refused(format!("quantity: {fault}")),
                    };
                    // A new number counts from now: what the account has had before was of the old one.
                    tx.execute(
                        RESERVING,
                        "INSERT INTO quota (site, item, account, steps, since) SELECT $1, $2, $3, $4, coalesce(max(id), 0) FROM reservation
                         ON CONFLICT (site, item, account)
                             DO UPDATE SET steps = excluded.steps, since = excluded.since
                             WHERE quota.steps <> excluded.steps",
                        &[&site_no, &item_no, &account.as_str(), &booked.steps],
                    )?
                }
            };
            if changed > 0 {
                stale(tx, now_ms, &[item_no])?;
            }
            Ok(changed > 0)
        })
    }
}

/// The unit an item is booked in.
fn booked(tx: &Tx<'_>, item: i64) -> Result<Uom, StoreError> {
    uom(&tx.one(READING, "SELECT uom FROM item WHERE no = $1", &[&item])?, 0)
}

type Numbers = BTreeMap<(ItemId, SiteId), (i64, i64)>;

fn insert(
    tx: &Tx<'_>,
    now_ms: i64,
    request: &Request,
    fresh: &[reservation::Line],
    numbers: &Numbers,
) -> Result<(), StoreError> {
    let until = match request.firmness {
        Firmness::Soft { until_ms } => Some(until_ms),
        Firmness::Hard => None,
    };
    let (mut lines, mut sites, mut items, mut steps) = (vec![], vec![], vec![], vec![]);
    for line in fresh {
        let (item, site) = numbers
            .get(&(line.item.clone(), line.site.clone()))
            .ok_or_else(|| StoreError::Corrupt { what: "a granted line was not asked for".into() })?;
        lines.push(i64::from(line.line));
        sites.push(*site);
        items.push(*item);
        steps.push(line.quantity.steps);
    }
    let account = request.account.as_ref().map(AccountId::as_str);
    let priority = i64::from(request.priority.get());
    let sql = "WITH made AS (
                   INSERT INTO reservation
                       (channel, order_id, line, site, attempt, item, steps, account, priority, until, at)
                   SELECT $1, $2, new.line, new.site,
                       (SELECT count(*) FROM reservation AS earlier WHERE earlier.channel = $1
                            AND earlier.order_id = $2 AND earlier.line = new.line AND earlier.site = new.site),
                       new.item, new.steps, $7, $8, $9, $10
                   FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                       WITH ORDINALITY AS new (line, site, item, steps, at) ORDER BY new.at
                   RETURNING id, item, site, channel, steps, until)
               INSERT INTO pending (reservation, item, site, channel, steps, until) SELECT * FROM made";
    let counted = "INSERT INTO taken (item, channel, steps) SELECT item, $1, sum(steps)
                   FROM unnest($2::bigint[], $3::bigint[]) AS new (item, steps) GROUP BY item
               ON CONFLICT (item, channel) DO UPDATE SET steps = taken.steps + excluded.steps";
    let (channel, order) = (request.order.channel.as_str(), request.order.order.as_str());
    let values: [&(dyn ToSql + Sync); 10] =
        [&channel, &order, &lines, &sites, &items, &steps, &account, &priority, &until, &now_ms];
    tx.execute(RESERVING, sql, &values)?;
    tx.execute(RESERVING, counted, &[&channel, &items, &steps])?;
    stale(tx, now_ms, &items)
}

/// What working on an order holds and ends, already decided by what [`current_shelf`] and [`of_order`] said.
pub(super) fn keep_of_order(
    tx: &Tx<'_>,
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
        let request = Request { order, account, priority, firmness, lines };
        insert(tx, now_ms, &request, &writes.reserve, &numbers)?;
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
pub(super) fn current_shelf(tx: &Tx<'_>, now_ms: i64, item: i64, site: i64) -> Result<Shelf, StoreError> {
    end_due(tx, now_ms, "item = $2 AND site = $3", &[&now_ms, &item, &site])?;
    shelf(tx, item, site)
}

/// What the promises of one item at one site are compared with.
fn shelf(tx: &Tx<'_>, item: i64, site: i64) -> Result<Shelf, StoreError> {
    let sql =
        "SELECT (SELECT coalesce(sum(balance.steps), 0) FROM balance JOIN place ON place.no = balance.place
                           WHERE balance.item = $1 AND balance.site = $2 AND place.kind = $3
                               AND balance.disposition = '')::bigint,
                      (SELECT coalesce(sum(steps), 0) FROM pending WHERE item = $1 AND site = $2)::bigint";
    let row = tx.one(READING, sql, &[&item, &site, &PLACE_AT])?;
    let of_item = quotas_where(tx, "WHERE quota.item = $1 AND quota.site = $2", &[&item, &site])?;
    let kept = of_item.into_iter().map(|(_, quota)| (quota.account.clone(), quota.kept())).collect();
    Ok(Shelf { on_hand: get(&row, 0)?, reserved: get(&row, 1)?, kept })
}

/// Steps held for orders by channel, of an item at a site.
pub(super) type Reserved = HashMap<(i64, SiteId), Vec<(ChannelId, i64)>>;

/// Of items, by site: steps held for orders, by channel.
pub(super) fn reserved(tx: &Tx<'_>, items: &[i64]) -> Result<Reserved, StoreError> {
    let sql =
        "SELECT item, site.site, channel, sum(steps)::bigint FROM pending JOIN site ON site.no = pending.site
               WHERE item = ANY($1) GROUP BY item, site.site, channel ORDER BY channel";
    let mut reserved = Reserved::new();
    for row in tx.query(READING, sql, &[&items])? {
        let at = (get(&row, 0)?, text(&row, 1)?);
        reserved.entry(at).or_default().push((text(&row, 2)?, get(&row, 3)?));
    }
    Ok(reserved)
}

/// Of items, by site: what is kept for accounts and not used by them, in steps.
pub(super) fn kept(tx: &Tx<'_>, items: &[i64]) -> Result<HashMap<(i64, SiteId), i64>, StoreError> {
    let mut kept = HashMap::new();
    for (item, quota) in quotas_where(tx, "WHERE quota.item = ANY($1)", &[&items])? {
        let steps = quota.kept();
        *kept.entry((item, quota.site)).or_insert(0) += steps;
    }
    Ok(kept)
}

fn quotas_where(tx: &Tx<'_>, condition: &str, values: Values<'_>) -> Result<Vec<(i64, Quota)>, StoreError> {
    let sql = format!(
        "SELECT quota.item, quota.account, item.item, site.site, quota.steps, item.uom,
             ((SELECT coalesce(sum(reservation.steps), 0) FROM reservation
                   WHERE account = quota.account AND reservation.item = quota.item
                       AND reservation.site = quota.site AND reservation.id > quota.since)
              - (SELECT coalesce(sum(entry.steps), 0) FROM reservation
                     JOIN reservation_entry AS entry
                         ON entry.reservation = reservation.id AND entry.step IN ('voided', 'expired')
                     WHERE account = quota.account AND reservation.item = quota.item
                         AND reservation.site = quota.site AND reservation.id > quota.since))::bigint
         FROM quota JOIN item ON item.no = quota.item JOIN site ON site.no = quota.site {condition}
         ORDER BY item.item, site.site, quota.account"
    );
    let quota = |row: &Row| {
        let quantity = Quantity { steps: get(row, 4)?, uom: uom(row, 5)? };
        let (account, item, site) = (text(row, 1)?, text(row, 2)?, text(row, 3)?);
        Ok((get(row, 0)?, Quota { account, item, site, quantity, used: get(row, 6)? }))
    };
    tx.query(READING, &sql, values)?.iter().map(quota).collect()
}

pub(super) fn quotas(tx: &Tx<'_>) -> Result<Vec<Quota>, StoreError> {
    Ok(quotas_where(tx, "", &[])?.into_iter().map(|(_, quota)| quota).collect())
}

/// Ends soft holds whose time is up, among those that `condition` names (`$1` is now). Returns how many.
fn end_due(tx: &Tx<'_>, now_ms: i64, condition: &str, values: Values<'_>) -> Result<usize, StoreError> {
    let ids = format!(
        "SELECT reservation FROM pending WHERE until <= $1 AND {condition} ORDER BY until LIMIT {DUE_MAX}"
    );
    let held = select(tx, &format!("WHERE reservation.id IN ({ids}) ORDER BY reservation.id"), values)?;
    let entries = reservation::expire(&held, now_ms);
    append(tx, now_ms, "", &entries)?;
    Ok(entries.len())
}

/// Adds entries and brings the projection along.
fn append(tx: &Tx<'_>, now_ms: i64, key: &str, entries: &[Entry]) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = entries.iter().map(|entry| entry.reservation.cast_signed()).collect();
    let names: Vec<&str> = entries.iter().map(|entry| step_name(entry.step)).collect();
    let steps: Vec<i64> = entries.iter().map(|entry| entry.steps).collect();
    let sql = "INSERT INTO reservation_entry (reservation, key, step, steps, at)
               SELECT id, $2, step, steps, $5 FROM unnest($1::bigint[], $3::text[], $4::bigint[]) AS new (id, step, steps)";
    tx.execute(RESOLVING, sql, &[&ids, &key, &names, &steps, &now_ms])?;
    let new = "unnest($1::bigint[], $2::text[], $3::bigint[]) AS new (id, step, steps)";
    let values: Values<'_> = &[&ids, &names, &steps];
    let all = "pending.reservation = new.id";
    for sql in [
        format!("UPDATE pending SET until = NULL FROM {new} WHERE {all} AND new.step = 'confirmed'"),
        // The check of the table would refuse a hold of nothing.
        format!(
            "DELETE FROM pending USING {new} WHERE {all} AND new.step <> 'confirmed' AND pending.steps = new.steps"
        ),
        format!(
            "UPDATE pending SET steps = pending.steps - new.steps FROM {new} WHERE {all} AND new.step <> 'confirmed'"
        ),
    ] {
        tx.execute(RESOLVING, &sql, values)?;
    }
    let sql = format!(
        "UPDATE taken SET steps = taken.steps - back.steps, given_back = taken.given_back + back.steps FROM
             (SELECT reservation.item, reservation.channel, sum(new.steps) AS steps
                  FROM {new} JOIN reservation ON reservation.id = new.id AND new.step IN ('voided', 'expired')
                  GROUP BY reservation.item, reservation.channel) AS back
         WHERE taken.item = back.item AND taken.channel = back.channel"
    );
    tx.execute(RESOLVING, &sql, values)?;
    let mut items = Vec::new();
    for row in tx.query(RESOLVING, "SELECT DISTINCT item FROM reservation WHERE id = ANY($1)", &[&ids])? {
        items.push(get(&row, 0)?);
    }
    stale(tx, now_ms, &items)
}

/// The numbers that channels are told of these items are to be computed anew.
fn stale(tx: &Tx<'_>, now_ms: i64, items: &[i64]) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item (item, since) SELECT DISTINCT item, $2::bigint FROM unnest($1::bigint[]) AS new (item)
               ON CONFLICT DO NOTHING";
    tx.execute(RESERVING, sql, &[&items, &now_ms]).map(drop)
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Confirm => "confirmed",
        Step::End(end) => end.as_str(),
    }
}

fn step_from_name(name: &str) -> Option<Step> {
    if name == "confirmed" { Some(Step::Confirm) } else { End::from_name(name).map(Step::End) }
}

pub(super) fn of_order(tx: &Tx<'_>, order: &OrderKey) -> Result<Vec<Reservation>, StoreError> {
    let condition = "WHERE reservation.channel = $1 AND reservation.order_id = $2 ORDER BY reservation.id";
    select(tx, condition, &[&order.channel.as_str(), &order.order.as_str()])
}

fn select(tx: &Tx<'_>, condition: &str, values: Values<'_>) -> Result<Vec<Reservation>, StoreError> {
    let sql = format!(
        "SELECT reservation.id, reservation.channel, order_id, line, item.item, site.site, reservation.steps, item.uom,
             account, priority, reservation.until, at, coalesce(confirmed, false), coalesce(posted, 0)::bigint,
             coalesce(voided, 0)::bigint, coalesce(expired, 0)::bigint
         FROM reservation JOIN item ON item.no = reservation.item JOIN site ON site.no = reservation.site
         LEFT JOIN LATERAL (
             SELECT bool_or(step = 'confirmed') AS confirmed, sum(steps) FILTER (WHERE step = 'posted') AS posted,
                 sum(steps) FILTER (WHERE step = 'voided') AS voided,
                 sum(steps) FILTER (WHERE step = 'expired') AS expired
             FROM reservation_entry AS entry WHERE entry.reservation = reservation.id) AS ended ON true
         {condition}"
    );
    tx.query(READING, &sql, values)?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Reservation, StoreError> {
    let priority: i64 = get(row, 9)?;
    let number: i64 = get(row, 3)?;
    let until: Option<i64> = get(row, 10)?;
    let is_confirmed: bool = get(row, 12)?;
    Ok(Reservation {
        id: get::<i64>(row, 0)?.cast_unsigned(),
        order: OrderKey { channel: text(row, 1)?, order: text(row, 2)? },
        line: reservation::Line {
            line: number.try_into().map_err(|fault| unreadable(row, 3, fault))?,
            item: text(row, 4)?,
            site: text(row, 5)?,
            quantity: Quantity { steps: get(row, 6)?, uom: uom(row, 7)? },
        },
        account: optional(row, 8)?,
        priority: u8::try_from(priority)
            .ok()
            .and_then(Priority::new)
            .ok_or_else(|| unreadable(row, 9, format!("no priority {priority}")))?,
        firmness: match until {
            Some(until_ms) if !is_confirmed => Firmness::Soft { until_ms },
            _ => Firmness::Hard,
        },
        at_ms: get(row, 11)?,
        ended: Ended { posted: get(row, 13)?, voided: get(row, 14)?, expired: get(row, 15)? },
    })
}

fn entries_of(tx: &Tx<'_>, order: &OrderKey, key: &str) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT entry.reservation, entry.step, entry.steps FROM reservation_entry AS entry
               JOIN reservation ON reservation.id = entry.reservation
               WHERE channel = $1 AND order_id = $2 AND key = $3 ORDER BY entry.reservation";
    let entry = |row: &Row| {
        let reservation = get::<i64>(row, 0)?.cast_unsigned();
        Ok(Entry { reservation, step: word(row, 1, step_from_name)?, steps: get(row, 2)? })
    };
    let values: Values<'_> = &[&order.channel.as_str(), &order.order.as_str(), &key];
    tx.query(READING, sql, values)?.iter().map(entry).collect()
}

pub(super) fn list(tx: &Tx<'_>, query: &Query) -> Result<Page<Reservation>, StoreError> {
    let rows = page_rows(query.limit);
    let after = match &query.after {
        None => i64::MAX,
        Some(after) => match after.parse() {
            Ok(after) => after,
            Err(_) => return refused(format!("after: expected a number, got {after:?}")),
        },
    };
    let condition = "WHERE reservation.id < $1 AND ($2::text IS NULL OR reservation.channel = $2)
             AND ($3::text IS NULL OR order_id = $3) AND ($4::text IS NULL OR item.item = $4)
             AND (NOT $5 OR reservation.id IN (SELECT reservation FROM pending))
         ORDER BY reservation.id DESC LIMIT $6";
    let values: [&(dyn ToSql + Sync); 6] = [
        &after,
        &query.channel.as_ref().map(|channel| channel.as_str()),
        &query.order.as_ref().map(|order| order.as_str()),
        &query.item.as_ref().map(|item| item.as_str()),
        &query.pending_only,
        &(rows as i64 + 1),
    ];
    let mut found = select(tx, condition, &values)?;
    let more = found.len() > rows;
    found.truncate(rows);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { rows: found, next })
}

/// Where less is on hand than was promised.
pub(super) fn shortages(tx: &Tx<'_>) -> Result<Vec<Shortage>, StoreError> {
    let sql = "SELECT promised.item, promised.site, item.item, site.site, item.uom, promised.steps, coalesce(there.steps, 0)::bigint
               FROM (SELECT item, site, sum(steps)::bigint AS steps FROM pending GROUP BY item, site) AS promised
               JOIN item ON item.no = promised.item JOIN site ON site.no = promised.site
               LEFT JOIN LATERAL (
                   SELECT sum(balance.steps) AS steps FROM balance JOIN place ON place.no = balance.place
                   WHERE balance.item = promised.item AND balance.site = promised.site AND place.kind = $1
                       AND balance.disposition = '') AS there ON true
               WHERE promised.steps > coalesce(there.steps, 0) ORDER BY item.item, site.site LIMIT $2";
    let pending = "WHERE reservation.id IN (SELECT reservation FROM pending WHERE item = $1 AND site = $2)
         ORDER BY reservation.id";
    let mut shortages = Vec::new();
    for row in tx.query(READING, sql, &[&PLACE_AT, &(SHORTAGES_MAX as i64)])? {
        let unit = uom(&row, 4)?;
        let (reserved, on_hand): (i64, i64) = (get(&row, 5)?, get(&row, 6)?);
        let held = select(tx, pending, &[&get::<i64>(&row, 0)?, &get::<i64>(&row, 1)?])?;
        let losers = reservation::give_way(&held, reserved.saturating_sub(on_hand));
        let named = |(id, steps): (u64, i64)| {
            held.iter().find(|hold| hold.id == id).map(|hold| (hold.clone(), steps))
        };
        shortages.push(Shortage {
            item: text(&row, 2)?,
            site: text(&row, 3)?,
            on_hand: Quantity { steps: on_hand, uom: unit },
            reserved: Quantity { steps: reserved, uom: unit },
            gives_way: losers.into_iter().filter_map(named).collect(),
        });
    }
    Ok(shortages)
}
