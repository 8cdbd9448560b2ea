//! What an order holds, and where it is to come from.

use std::collections::BTreeMap;

use stockwire_protocol::{Act, Body, Content, ItemId, Quantity, SiteId};

use super::{Desk, GATEWAY};
use crate::order::LineId;
use crate::order::fact::{Allocation, AllocationSteps, AtSite, Fact, Mapped};
use crate::order::policy::WhenShort;
use crate::order::source::{self, Want};
use crate::order::work::HoldEnd;
use crate::reservation::{self, End, Firmness, Priority, Request, Reservation};

/// How long stock must be missing before an order is given up for it. Between the booking of a pick and the end of its hold
/// a piece counts as gone and as held, which lasts until the next look at that order, a second or so.
pub(super) const GIVE_UP_MS: i64 = 5_000;
/// How long a site is not asked for an item that it has told missing: by then somebody has counted.
const MISSING_MS: i64 = 3_600_000;

impl Desk<'_> {
    /// Lays what was picked against the lines: first where stock was held for them, then wherever it is wanted; what is
    /// too much stays with the last line of its item.
    pub(super) fn laid(&self, picked: &[AtSite]) -> BTreeMap<(LineId, SiteId), i64> {
        let mapped = self.mapped();
        let mut open: BTreeMap<&LineId, i64> = mapped.iter().map(|line| (&line.line, line.steps)).collect();
        let mut laid: BTreeMap<(LineId, SiteId), i64> = BTreeMap::new();
        let held = |line: &LineId, site: &SiteId| {
            let here = self.standing.allocations.iter().filter(|a| a.line == *line && a.site == *site);
            here.fold(0_i64, |sum, allocation| sum.saturating_add(allocation.steps))
        };
        let mut rest: Vec<(&AtSite, i64)> = picked.iter().map(|row| (row, row.steps.max(0))).collect();
        for where_held in [true, false] {
            for (row, steps) in &mut rest {
                for line in mapped.iter().filter(|line| line.item == row.item) {
                    let Some(open) = open.get_mut(&line.line) else { continue };
                    let room = if where_held { held(&line.line, &row.site).min(*open) } else { *open };
                    let taken = room.min(*steps);
                    if taken > 0 {
                        *open -= taken;
                        *steps -= taken;
                        *laid.entry((line.line.clone(), row.site.clone())).or_default() += taken;
                    }
                }
            }
        }
        for (row, steps) in rest.into_iter().filter(|(_, steps)| *steps > 0) {
            if let Some(line) = mapped.iter().rfind(|line| line.item == row.item) {
                *laid.entry((line.line.clone(), row.site.clone())).or_default() += steps;
            }
        }
        laid
    }

    /// Ends as much of the holds as was picked since: where it was picked, as far as it was held there.
    pub(super) fn post_holds(&mut self, before: &BTreeMap<(LineId, SiteId), i64>) {
        let now = self.laid(&self.standing.picked);
        let mut left: Vec<AllocationSteps> = Vec::new();
        for line in self.mapped() {
            let mut grown: BTreeMap<&SiteId, i64> = BTreeMap::new();
            for ((_, site), steps) in now.iter().filter(|((id, _), _)| *id == line.line) {
                *grown.entry(site).or_default() += steps;
            }
            for ((_, site), steps) in before.iter().filter(|((id, _), _)| *id == line.line) {
                *grown.entry(site).or_default() -= steps;
            }
            let mut more: i64 = grown.values().sum();
            for where_picked in [true, false] {
                for allocation in self.standing.allocations.iter().filter(|a| a.line == line.line) {
                    let Some(pending) = self.pending.get_mut(&allocation.number) else { continue };
                    let here = grown.entry(&allocation.site).or_default();
                    let taken = if where_picked { more.min(*here) } else { more }.min(*pending);
                    if taken > 0 {
                        (*pending, *here, more) = (*pending - taken, *here - taken, more - taken);
                        left.push(AllocationSteps { number: allocation.number, steps: taken });
                    }
                }
            }
        }
        let left = merged(left);
        if !left.is_empty() {
            let sequence = self.note(GATEWAY, Fact::Left { allocations: left.clone() });
            self.end(&format!("left-{sequence}"), End::Posted, &left);
        }
    }

    fn end(&mut self, key: &str, end: End, parts: &[AllocationSteps]) {
        for part in parts {
            let allocation = self.standing.allocations.iter().find(|a| a.number == part.number);
            let Some(allocation) = allocation else { continue };
            let (number, site, steps) = (part.number, allocation.site.clone(), part.steps);
            self.writes.ends.push(HoldEnd { key: key.to_owned(), number, site, end, steps });
        }
    }

    pub(super) fn keep_missing_back(&mut self, before: &[AtSite]) {
        let mut kept = Vec::new();
        for row in self.standing.short.clone() {
            let known =
                before.iter().find(|b| b.item == row.item && b.site == row.site).map_or(0, |b| b.steps);
            let mut open = row.steps - known;
            for allocation in &self.standing.allocations {
                if allocation.site != row.site || self.standing.item(&allocation.line) != Some(&row.item) {
                    continue;
                }
                let counts = self.counts(allocation.number);
                let taken = open.min(counts);
                if taken > 0 {
                    open -= taken;
                    kept.push(AllocationSteps { number: allocation.number, steps: taken });
                }
            }
        }
        let kept = merged(kept);
        if !kept.is_empty() {
            self.note(GATEWAY, Fact::KeptBack { allocations: kept });
        }
    }

    /// Steps of an allocation that are held and can be picked.
    pub(super) fn counts(&self, number: u32) -> i64 {
        let pending = self.pending.get(&number).copied().unwrap_or_default();
        (pending - self.standing.kept_back.get(&number).copied().unwrap_or_default()).max(0)
    }

    /// What is neither picked nor held of each line; below zero when more is held than is wanted.
    fn needs(&self) -> Vec<(Mapped, i64)> {
        let laid = self.laid(&self.standing.picked);
        let need = |line: Mapped| {
            let picked: i64 =
                laid.iter().filter(|((id, _), _)| *id == line.line).map(|(_, steps)| *steps).sum();
            let here = self.standing.allocations.iter().filter(|allocation| allocation.line == line.line);
            let held: i64 = here.map(|allocation| self.counts(allocation.number)).sum();
            let need = line.steps - picked - held;
            (line, need)
        };
        self.mapped().into_iter().map(need).collect()
    }

    /// Whether everything is picked or held.
    pub(super) fn is_filled(&self) -> bool {
        self.standing.mapped.is_some() && self.needs().iter().all(|(_, need)| *need <= 0)
    }

    pub(super) fn reserve(&mut self) {
        if self.standing.mapped.is_none() || self.standing.held.is_some() {
            return;
        }
        self.give_back();
        let needs = self.needs();
        let wants: Vec<Want> = needs
            .iter()
            .filter(|(_, need)| *need > 0)
            .map(|(line, need)| Want { line: line.line.clone(), item: line.item.clone(), steps: *need })
            .collect();
        if wants.is_empty() {
            return;
        }
        // Holds that somebody made under this order's name before it came are its own: they are taken over.
        let foreign: Vec<Reservation> = self.foreign();
        let mut shelves = self.known.shelves.clone();
        for hold in &foreign {
            if let Some(shelf) = shelves.get_mut(&(hold.line.item.clone(), hold.line.site.clone())) {
                shelf.reserved -= hold.pending();
            }
        }
        // Its own channel has sold what it was told: that is what stands in escrow for it.
        let (held, escrow) = (self.known.held.clone(), self.known.escrow.clone());
        let known_stock = reservation::Known { held, shelves, escrow };
        let mut available = known_stock.available(self.standing.order.account.as_ref());
        available.retain(|key, _| !self.is_told_missing(key));
        let order = &self.standing.order;
        let selection = source::select(&wants, &self.policy.sources, &order.delivery, &available);
        let nothing_out = self.standing.picked.is_empty() && self.standing.allocations.is_empty();
        let gives_up = self.policy.when_short == WhenShort::Cancel && nothing_out;
        let short =
            Fact::Short { lines: selection.missing.clone(), considered: selection.considered.clone() };
        if gives_up && !selection.missing.is_empty() {
            let since = self.standing.missing.as_ref().map(|(_, at_ms)| *at_ms);
            if since.is_none() {
                self.note(GATEWAY, short);
            }
            if since.is_some_and(|since_ms| self.now_ms - since_ms >= GIVE_UP_MS) {
                self.note(GATEWAY, Fact::Cancelled { reason: "stock is missing".into() });
            }
            return;
        }
        if selection.takes.is_empty() {
            // Told once, and again only when something else is missing.
            if self.standing.missing.as_ref().is_none_or(|(lines, _)| *lines != selection.missing) {
                self.note(GATEWAY, short);
            }
            return;
        }
        let numbers = self.standing.allocations.iter().map(|allocation| allocation.number);
        let first = numbers.chain(self.known.held.iter().map(|hold| hold.line.line)).max().unwrap_or(0);
        let mut allocations = Vec::new();
        let mut lines = Vec::new();
        for (number, (line, item, site, steps)) in (first + 1..).zip(&selection.takes) {
            let Some(known) = self.known.items.get(item) else { continue };
            let quantity = Quantity { steps: *steps, uom: known.uom };
            lines.push(reservation::Line { line: number, item: item.clone(), site: site.clone(), quantity });
            allocations.push(Allocation { number, line: line.clone(), site: site.clone(), steps: *steps });
        }
        let request = Request {
            order: self.standing.order.key(),
            account: self.standing.order.account.clone(),
            priority: Priority::ORDINARY,
            firmness: Firmness::Hard,
            lines,
        };
        // The rule of all reservations has the last word: what is not there is held by nobody.
        let Ok(fresh) = reservation::decide(&request, &known_stock) else { return };
        for allocation in &allocations {
            self.pending.insert(allocation.number, allocation.steps);
        }
        self.note(GATEWAY, Fact::Reserved { allocations, considered: selection.considered });
        if !selection.missing.is_empty() {
            self.note(GATEWAY, short);
        }
        (self.writes.reserve, self.writes.account) = (fresh, request.account);
        if !foreign.is_empty() {
            let reason = "what was held before it came is taken over".to_owned();
            let sequence = self.note(GATEWAY, Fact::Freed { allocations: Vec::new(), reason });
            for hold in foreign {
                let (number, site, steps) = (hold.line.line, hold.line.site.clone(), hold.pending());
                let key = format!("over-{sequence}");
                self.writes.ends.push(HoldEnd { key, number, site, end: End::Voided, steps });
            }
        }
    }

    /// Pending holds of the order that are none of its allocations.
    fn foreign(&self) -> Vec<Reservation> {
        let own = |hold: &&Reservation| {
            let of = |a: &Allocation| (a.number, &a.site) == (hold.line.line, &hold.line.site);
            !self.standing.allocations.iter().any(of)
        };
        self.known.held.iter().filter(own).filter(|hold| hold.pending() > 0).cloned().collect()
    }

    /// Gives up what is held and not wanted any more: the order was changed.
    fn give_back(&mut self) {
        let mut freed = Vec::new();
        let needs = self.needs();
        let over =
            |line: &LineId| needs.iter().find(|(mapped, _)| mapped.line == *line).map(|(_, need)| -need);
        let mut open: BTreeMap<&LineId, i64> = BTreeMap::new();
        for allocation in self.standing.allocations.iter().rev() {
            let counts = self.counts(allocation.number);
            // A line that is not there any more wants nothing.
            let open =
                open.entry(&allocation.line).or_insert_with(|| over(&allocation.line).unwrap_or(i64::MAX));
            let taken = counts.min(*open);
            if taken > 0 {
                *open -= taken;
                freed.push(AllocationSteps { number: allocation.number, steps: taken });
            }
        }
        self.free(&freed, "the order wants less");
    }

    fn free(&mut self, parts: &[AllocationSteps], reason: &str) {
        if parts.is_empty() {
            return;
        }
        let fact = Fact::Freed { allocations: parts.to_vec(), reason: reason.to_owned() };
        let sequence = self.note(GATEWAY, fact);
        for part in parts {
            if let Some(pending) = self.pending.get_mut(&part.number) {
                *pending -= part.steps;
            }
        }
        self.end(&format!("freed-{sequence}"), End::Voided, parts);
    }

    fn is_told_missing(&self, (item, site): &(ItemId, SiteId)) -> bool {
        let told =
            self.standing.short.iter().any(|row| row.item == *item && row.site == *site && row.steps > 0);
        let last = self.known.facts.iter().filter(|fact| fact.site == *site).filter_map(|fact| {
            let Body::Handling(handling) = &fact.event.body else { return None };
            let is_it =
                matches!(&handling.content, Some(Content::Goods { item: missing, .. }) if missing == item);
            (handling.act == Act::Short && is_it).then_some(fact.received_at_ms)
        });
        told && last.max().is_some_and(|at_ms| self.now_ms - at_ms < MISSING_MS)
    }

    pub(super) fn free_all(&mut self, reason: &str) {
        let held = self.pending.iter().filter(|(_, steps)| **steps > 0);
        let parts: Vec<AllocationSteps> =
            held.map(|(number, steps)| AllocationSteps { number: *number, steps: *steps }).collect();
        self.free(&parts, reason);
    }
}

/// One entry for each allocation.
fn merged(parts: Vec<AllocationSteps>) -> Vec<AllocationSteps> {
    let mut sums: BTreeMap<u32, i64> = BTreeMap::new();
    for part in parts {
        *sums.entry(part.number).or_default() += part.steps;
    }
    sums.into_iter().map(|(number, steps)| AllocationSteps { number, steps }).collect()
}
