//! Brings an order as far as it can go now: one look at everything that is known, and everything that follows from it.
//!
//! Each step asks how things stand and not what happened last, so taking it twice is taking it once, and an answer that
//! was lost is asked for again.

mod stock;

use std::collections::BTreeMap;

use stockwire_protocol::{ItemId, LocationId, Quantity, SiteId, Task, TaskKind, TaskLine};

use super::LineId;
use super::fact::{
    AtSite, Door, Duty, Entry, Fact, ItemSteps, LineSteps, Mapped, Outcome, ShipmentRecord, Verdict,
};
use super::floor::{self, FACTS_MAX, Floor};
use super::policy::{Leaves, Policy, WhenShort};
use super::price;
use super::standing::{CheckState, Standing};
use super::work::{Head, Known, Writes};
use crate::task::TaskName;

/// How often stock is looked for that was missing: as soon as a person would notice, and seldom enough for thousands.
const SHORT_LOOK_MS: i64 = 30_000;
/// How often an order with a fault is looked at again: a listing or an item may have come.
const FAULT_LOOK_MS: i64 = 60_000;

/// Who writes rows that nobody asked for.
pub(super) const GATEWAY: &str = "gateway";
const WAREHOUSE: &str = "warehouse";

/// One order on the desk.
pub(super) struct Desk<'a> {
    pub(super) policy: &'a Policy,
    pub(super) known: &'a Known,
    pub(super) now_ms: i64,
    pub(super) standing: Standing,
    pub(super) writes: Writes,
    /// Steps still held, by allocation.
    pending: BTreeMap<u32, i64>,
}

impl<'a> Desk<'a> {
    /// An order as it stands; `first` is its capture when it is new. `None`: there is no such order.
    pub(super) fn open(
        policy: &'a Policy,
        known: &'a Known,
        now_ms: i64,
        first: Option<(&str, Fact)>,
    ) -> Option<Self> {
        let mut writes = Writes::default();
        let standing = match (Standing::of(&known.rows), first) {
            (Some(standing), _) => standing,
            (None, Some((by, fact))) => {
                writes.rows.push(Entry { sequence: 1, at_ms: now_ms, by: by.to_owned(), fact });
                Standing::of(&writes.rows)?
            }
            (None, None) => return None,
        };
        let mut pending = BTreeMap::new();
        let is_own = |held: &&crate::reservation::Reservation| {
            standing.allocations.iter().any(|a| (a.number, &a.site) == (held.line.line, &held.line.site))
        };
        for held in known.held.iter().filter(is_own) {
            *pending.entry(held.line.line).or_default() += held.pending();
        }
        Some(Self { policy, known, now_ms, standing, writes, pending })
    }

    /// Writes a row.
    pub(super) fn note(&mut self, by: &str, fact: Fact) -> u64 {
        let sequence = self.standing.sequence + 1;
        let entry = Entry { sequence, at_ms: self.now_ms, by: by.to_owned(), fact };
        self.standing.take(&entry);
        self.writes.rows.push(entry);
        sequence
    }

    /// Does everything that can be done now, and closes the desk.
    pub(super) fn finish(mut self) -> Writes {
        if self.standing.cancelled.is_none() {
            self.validate();
        }
        self.look_at_floor();
        if self.standing.order.cancelled && self.standing.cancelled.is_none() {
            self.note("channel", Fact::Cancelled { reason: "the channel gave it up".into() });
        }
        if self.standing.cancelled.is_none() {
            self.reserve();
        }
        if self.standing.cancelled.is_none() {
            self.check();
        }
        if self.standing.cancelled.is_none() {
            self.post_sale();
            self.ask();
            self.ship();
        } else {
            self.undo();
        }
        self.confirm();
        self.returns();
        self.settle();
        self.out();
        self.head();
        self.writes
    }

    fn validate(&mut self) {
        if self.standing.mapped.is_some() {
            return;
        }
        let mut reasons = price::check(&self.standing.order);
        let mut lines = Vec::new();
        for (at, line) in self.standing.order.lines.iter().enumerate() {
            let found = self.known.skus.get(&line.sku);
            let Some((item, known)) = found.and_then(|item| Some((item, self.known.items.get(item)?))) else {
                reasons.push(format!("lines[{at}].sku: no item is sold as {}", line.sku));
                continue;
            };
            if !known.active {
                reasons.push(format!("lines[{at}].sku: {item} is not in the catalogue any more"));
            }
            match line.quantity.to_uom(known.uom) {
                Ok(own) => lines.push(Mapped { line: line.id.clone(), item: item.clone(), steps: own.steps }),
                Err(fault) => reasons.push(format!("lines[{at}].quantity: {fault}")),
            }
        }
        reasons.truncate(price::FAULTS_MAX);
        if reasons.is_empty() {
            self.note(GATEWAY, Fact::Validated { lines });
        } else if self.standing.faults.as_ref().is_none_or(|(known, _)| *known != reasons) {
            self.note(GATEWAY, Fact::Faulted { reasons });
        }
    }

    fn mapped(&self) -> Vec<Mapped> {
        self.standing.mapped.clone().unwrap_or_default()
    }

    /// Takes what the warehouse has done, and ends the holds of what has left the shelf: in the books it left with the
    /// pick, so a hold that stayed would be counted twice.
    fn look_at_floor(&mut self) {
        if self.standing.mapped.is_none() {
            return;
        }
        if self.known.facts.len() >= FACTS_MAX && self.standing.held.is_none() {
            let reason = format!("{FACTS_MAX} facts or more name it, which is more than one order is");
            self.note(GATEWAY, Fact::Held { reason });
        }
        let uom = |item: &ItemId| self.known.items.get(item).map(|item| item.uom);
        let floor = floor::read(&self.standing.reference, &self.known.facts, &uom);
        self.writes.words = floor::words(&self.standing.reference, &self.known.facts);
        let picked = rows(floor.picked.iter().map(|(key, steps)| (key, *steps)));
        if picked != self.standing.picked {
            let before = self.laid(&self.standing.picked);
            self.note(WAREHOUSE, Fact::Picked { picked });
            self.post_holds(&before);
        }
        let missing = rows(floor.missing.iter().map(|(key, (steps, _))| (key, *steps)));
        if missing != self.standing.short {
            let before = std::mem::take(&mut self.standing.short);
            self.note(WAREHOUSE, Fact::Missing { missing });
            self.keep_missing_back(&before);
        }
        let returned = rows(floor.returned.iter().map(|(key, steps)| (key, *steps)));
        if returned != self.standing.returned {
            self.note(WAREHOUSE, Fact::Returned { returned });
        }
        self.plates(&floor);
    }

    fn check(&mut self) {
        for check in &self.policy.checks {
            let asks = check.asks(&self.standing.order);
            let name = check.name.clone();
            let ended = |verdict, reason: String| Fact::CheckEnded { check: name.clone(), verdict, reason };
            match (self.standing.checks.get(&check.name), asks) {
                (None, Some(reason)) => {
                    let until_ms = check.wait_ms.map(|wait| self.now_ms.saturating_add(wait));
                    self.note(GATEWAY, Fact::CheckBegan { check: name, reason, until_ms });
                }
                (Some(CheckState::Waiting { .. }), None) => {
                    self.note(GATEWAY, ended(Verdict::Pass, "there is nothing to ask any more".into()));
                }
                (Some(CheckState::Waiting { until_ms: Some(until_ms), .. }), Some(_))
                    if *until_ms <= self.now_ms =>
                {
                    self.note(GATEWAY, ended(check.otherwise, "nobody answered in time".into()));
                }
                _ => {}
            }
        }
        let rejected =
            self.standing.checks.iter().find(|(_, state)| **state == CheckState::Decided(Verdict::Reject));
        if let Some(reason) = rejected.map(|(name, _)| format!("{name} rejected it")) {
            self.note(GATEWAY, Fact::Cancelled { reason });
        }
    }

    /// Whether it may go out, as far as stock, checks and people are concerned.
    fn may_go(&self) -> bool {
        let passed = self.standing.checks.values().all(|state| *state == CheckState::Decided(Verdict::Pass));
        let something = self.standing.allocations.iter().any(|allocation| self.counts(allocation.number) > 0)
            || !self.standing.picked.is_empty();
        let filled = self.is_filled() || (self.policy.when_short == WhenShort::Partial && something);
        passed && filled && self.standing.held.is_none() && self.standing.faults.is_none()
    }

    fn due(&mut self, duty: Duty) {
        self.note(GATEWAY, Fact::Due { duty });
    }

    fn post_sale(&mut self) {
        if self.policy.posts_sales && self.may_go() && !self.standing.duties.contains_key(&Duty::PostSale) {
            self.due(Duty::PostSale);
        }
    }

    /// Asks the sites for what is to be picked, and for nothing while the order may not go out.
    fn ask(&mut self) {
        let posted = self.standing.duties.get(&Duty::PostSale).is_some_and(|duty| duty.is_done());
        if !self.may_go() || (self.policy.posts_sales && !posted) {
            if self.standing.held.is_some() || self.standing.faults.is_some() {
                self.withdraw();
            }
            return;
        }
        let mut asked: BTreeMap<SiteId, BTreeMap<ItemId, (i64, i64)>> = BTreeMap::new();
        for allocation in &self.standing.allocations {
            let Some(item) = self.standing.item(&allocation.line) else { continue };
            let counts = self.counts(allocation.number);
            let sums = asked.entry(allocation.site.clone()).or_default().entry(item.clone()).or_default();
            sums.0 += counts;
        }
        // What is asked in all has in it what was done, so that asking anew asks for the rest.
        for row in self.standing.picked.iter().chain(&self.standing.short) {
            if let Some(sums) = asked.get_mut(&row.site).and_then(|items| items.get_mut(&row.item)) {
                sums.1 += row.steps.max(0);
            }
        }
        for (site, items) in asked {
            let is_asked = self.standing.asked.contains_key(&site);
            let open = items.values().any(|(open, _)| *open > 0);
            let all: Vec<ItemSteps> = items
                .iter()
                .filter(|(_, (open, done))| open + done > 0)
                .map(|(item, (open, done))| ItemSteps { item: item.clone(), steps: open + done })
                .collect();
            if (!is_asked && !open) || all.is_empty() || self.standing.asked.get(&site) == Some(&all) {
                continue;
            }
            let lines = all.iter().filter_map(|row| {
                let uom = self.known.items.get(&row.item)?.uom;
                Some(TaskLine {
                    item: row.item.clone(),
                    quantity: Quantity { steps: row.steps, uom },
                    from: self.spot(&row.item, &site),
                    to: None,
                    lot: None,
                    expires_on: None,
                })
            });
            let (kind, id) = (TaskKind::Pick, self.standing.reference.clone());
            let task = Task { kind, id, order: None, location: None, lines: lines.collect() };
            self.writes.tasks.push((site.clone(), task));
            self.note(GATEWAY, Fact::Asked { site, items: all });
        }
    }

    /// Where to pick so much: where the most lies.
    fn spot(&self, item: &ItemId, site: &SiteId) -> Option<LocationId> {
        let spots = self.known.spots.get(&(item.clone(), site.clone()))?;
        spots.first().filter(|(_, steps)| *steps > 0).map(|(location, _)| location.clone())
    }

    fn withdraw(&mut self) {
        for site in self.standing.asked.keys().cloned().collect::<Vec<_>>() {
            let (id, kind) = (self.standing.reference.clone(), TaskKind::Pick);
            self.writes.withdraw.push(TaskName { site: site.clone(), id, kind });
            self.note(GATEWAY, Fact::Withdrawn { site });
        }
    }

    /// Parcels that left as plates.
    fn plates(&mut self, floor: &Floor) {
        if self.policy.leaves != Leaves::WhenShipped {
            return;
        }
        for (plate, parcel) in &floor.left {
            let key = format!("plate:{plate}");
            if self.standing.shipments.iter().any(|shipment| shipment.key == key) {
                continue;
            }
            let mut lines = Vec::new();
            for (item, steps) in &parcel.goods {
                let mut open = *steps;
                for mapped in self.mapped().into_iter().filter(|mapped| mapped.item == *item) {
                    let taken = open.min(mapped.steps - self.standing.shipped(&mapped.line));
                    if taken > 0 {
                        open -= taken;
                        lines.push(LineSteps { line: mapped.line, steps: taken });
                    }
                }
            }
            if !lines.is_empty() {
                self.ship_lines(WAREHOUSE, key, (None, Some(plate.to_string())), lines);
            }
        }
    }

    pub(super) fn ship_lines(
        &mut self,
        by: &str,
        key: String,
        (carrier, tracking): (Option<String>, Option<String>),
        lines: Vec<LineSteps>,
    ) {
        let number = self.standing.shipments.iter().map(|shipment| shipment.number).max().unwrap_or(0) + 1;
        let shipment = ShipmentRecord { number, key, carrier, tracking, lines };
        self.note(by, Fact::Shipped { shipment });
    }

    /// What is picked and has not left yet, by line.
    pub(super) fn waiting(&self) -> Vec<LineSteps> {
        let laid = self.laid(&self.standing.picked);
        let waiting = |line: Mapped| {
            let picked: i64 =
                laid.iter().filter(|((id, _), _)| *id == line.line).map(|(_, steps)| *steps).sum();
            let steps = picked.min(line.steps) - self.standing.shipped(&line.line);
            (steps > 0).then_some(LineSteps { line: line.line, steps })
        };
        self.mapped().into_iter().filter_map(waiting).collect()
    }

    /// Parcels that leave with the pick.
    fn ship(&mut self) {
        if self.policy.leaves != Leaves::WhenPicked {
            return;
        }
        for site in self.standing.asked.keys().cloned().collect::<Vec<_>>() {
            let here = self.standing.allocations.iter().filter(|allocation| allocation.site == site);
            if here.map(|allocation| self.counts(allocation.number)).sum::<i64>() > 0 {
                continue;
            }
            let laid = self.laid(&self.standing.picked);
            let lines: Vec<LineSteps> = self
                .waiting()
                .into_iter()
                .filter_map(|part| {
                    let here = laid.get(&(part.line.clone(), site.clone())).copied().unwrap_or_default();
                    let steps = part.steps.min(here);
                    (steps > 0).then_some(LineSteps { line: part.line, steps })
                })
                .collect();
            if !lines.is_empty() {
                let key = format!("site:{site}:{}", self.standing.shipments.len() + 1);
                self.ship_lines(WAREHOUSE, key, (None, None), lines);
            }
        }
    }

    /// Takes back what was begun for an order that is given up.
    fn undo(&mut self) {
        self.free_all("the order is given up");
        self.withdraw();
        let posted = self.standing.duties.get(&Duty::PostSale).cloned().unwrap_or_default();
        let taken_back = self.standing.duties.get(&Duty::CancelSale);
        let anew = taken_back.is_none_or(|duty| {
            // It came after all: an answer that was late.
            matches!(duty.last, Some(super::fact::Outcome::Nothing)) && posted.document.is_some()
        });
        if posted.attempts > 0 && anew && self.standing.shipments.is_empty() {
            self.due(Duty::CancelSale);
        }
        let told = self.standing.duties.contains_key(&Duty::CancelAtChannel) || self.standing.order.cancelled;
        if self.policy.tells_channel && !told {
            self.due(Duty::CancelAtChannel);
        }
    }

    /// Has the channel told of parcels, and the ERP asked for the invoice.
    fn confirm(&mut self) {
        let numbers: Vec<u32> = self.standing.shipments.iter().map(|shipment| shipment.number).collect();
        for shipment in numbers {
            let duty = Duty::Confirm { shipment };
            if self.policy.tells_channel && !self.standing.duties.contains_key(&duty) {
                self.due(duty);
            }
        }
        let posted = self.standing.duties.get(&Duty::PostSale).is_some_and(|duty| duty.is_done());
        let left = !self.standing.shipments.is_empty();
        if posted && left && !self.standing.duties.contains_key(&Duty::ReadSale) {
            self.due(Duty::ReadSale);
        }
    }

    /// Refunds fall due when everything that a return announced is there, in the order of the announcements' keys.
    fn returns(&mut self) {
        let mut there: BTreeMap<ItemId, i64> = BTreeMap::new();
        for row in &self.standing.returned {
            *there.entry(row.item.clone()).or_default() += row.steps;
        }
        let mut due = Vec::new();
        for (key, announced) in &self.standing.returns {
            let mut whole = true;
            for part in &announced.lines {
                let Some(item) = self.standing.item(&part.line) else { continue };
                let steps = there.entry(item.clone()).or_default();
                whole &= *steps >= part.steps;
                *steps = (*steps - part.steps).max(0);
            }
            if whole && !announced.is_there {
                due.push(Fact::RefundDue { key: key.clone(), amount: announced.refund });
            }
        }
        for fact in due {
            self.note(GATEWAY, fact);
        }
    }

    /// Lets go of what is held back still when everything has left.
    fn settle(&mut self) {
        let mapped = self.mapped();
        let out =
            !mapped.is_empty() && mapped.iter().all(|line| self.standing.shipped(&line.line) >= line.steps);
        if out && self.standing.cancelled.is_none() {
            self.free_all("everything has left");
        }
    }

    /// What has left its shelf while the channel still counts it among what it has sold and not shipped. A parcel counts
    /// until the channel holds it as shipped; one of which nobody knows whether it does counts no more, for the channel
    /// may have counted down by itself, and a number that is too high sells what is not there.
    fn out(&mut self) {
        let done = |duty: &Duty| self.standing.duties.get(duty).is_some_and(|state| state.is_done());
        let told = |fact: &Fact| {
            matches!(
                fact,
                Fact::Answered {
                    duty: Duty::Confirm { .. } | Duty::CancelAtChannel,
                    outcome: Outcome::Done { .. }
                }
            )
        };
        if self.writes.rows.iter().any(|row| told(&row.fact)) {
            self.writes.told = self.standing.order.lines.iter().map(|line| line.sku.clone()).collect();
        }
        let given_up = self.standing.cancelled.is_some()
            && (self.standing.order.cancelled || done(&Duty::CancelAtChannel));
        if !self.policy.tells_channel || given_up {
            return;
        }
        let mut known: BTreeMap<LineId, i64> = BTreeMap::new();
        for shipment in &self.standing.shipments {
            let state = self.standing.duties.get(&Duty::Confirm { shipment: shipment.number });
            let is_known = state
                .is_some_and(|state| state.is_done() || matches!(state.last, Some(Outcome::Unknown { .. })));
            for part in shipment.lines.iter().filter(|_| is_known) {
                *known.entry(part.line.clone()).or_default() += part.steps;
            }
        }
        let mapped = self.mapped();
        let mut open: BTreeMap<&LineId, i64> = mapped.iter().map(|line| (&line.line, line.steps)).collect();
        for ((line, site), steps) in self.laid(&self.standing.picked) {
            let Some(item) = self.standing.item(&line).cloned() else { continue };
            // More than was ordered is not the channel's, and what it knows of has gone there too.
            let Some(room) = open.get_mut(&line) else { continue };
            let mut out = steps.min(*room);
            *room -= out;
            if let Some(known) = known.get_mut(&line) {
                let gone = out.min(*known);
                (out, *known) = (out - gone, *known - gone);
            }
            if out > 0 {
                *self.writes.out.entry((item, site)).or_default() += out;
            }
        }
    }

    fn short_look_ms(&self) -> i64 {
        match self.policy.when_short {
            WhenShort::Cancel => stock::GIVE_UP_MS,
            WhenShort::Backorder | WhenShort::Partial => SHORT_LOOK_MS,
        }
    }

    fn head(&mut self) {
        let standing = &self.standing;
        let mut looks: Vec<i64> = Vec::new();
        if standing.cancelled.is_none() {
            if standing.mapped.is_none() {
                looks.push(self.now_ms + FAULT_LOOK_MS);
            } else if standing.held.is_none() && !self.is_filled() {
                looks.push(self.now_ms + self.short_look_ms());
            }
            looks.extend(standing.checks.values().filter_map(|state| match state {
                CheckState::Waiting { until_ms, .. } => *until_ms,
                CheckState::Decided(_) => None,
            }));
        }
        self.writes.words.insert(standing.reference.to_string());
        self.writes.head = Some(Head {
            order: standing.order.key(),
            code: standing.order.code.clone(),
            reference: standing.reference.clone(),
            stage: standing.stage(),
            attention: standing.attention(),
            placed_at_ms: standing.order.placed_at_ms,
            changed_at_ms: standing.changed_at_ms,
            currency: standing.order.currency,
            gross: standing.order.total.gross(),
            desk_due_ms: looks.into_iter().min(),
            erp_due_ms: standing.due(Door::Erp).map(|(_, at_ms)| at_ms),
            channel_due_ms: standing.due(Door::Channel).map(|(_, at_ms)| at_ms),
        });
    }
}

fn rows<'k>(sums: impl Iterator<Item = (&'k (ItemId, SiteId), i64)>) -> Vec<AtSite> {
    sums.map(|((item, site), steps)| AtSite { item: item.clone(), site: site.clone(), steps }).collect()
}
