//! What must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_agent::journal::{Journal as _, ReadLimit};
use stockwire_gateway::dead_letter::DeadLetterClass;
use stockwire_gateway::store::{DeadLetterQuery, Reader as _, StockQuery, StoreError};
use stockwire_protocol::{AgentId, MovementId, Sequence, SiteId, Uom};

use super::World;
use super::auditor::{Stock, differences};
use super::senders::Vendor;

/// What the ERP's connector says of movements that it has no document for: goods taken back to where they came from.
const NO_DOCUMENT: &str = "has no document for";

impl World {
    /// Nothing is on its way any more.
    pub(super) fn is_at_rest(&mut self) -> bool {
        let drained = self.boxes.iter().all(super::EdgeBox::is_drained);
        drained
            && matches!(self.cloud.vault.gauges(), Ok(gauges) if {
                let posted = gauges.unposted.iter().all(|(_, rows, _)| *rows == 0);
                posted && gauges.unpublished.iter().all(|(_, skus, _)| *skus == 0)
            })
            && self.cloud.is_idle()
    }

    /// For a world that does not come to rest.
    pub(super) fn state(&mut self) -> String {
        let mut state: Vec<String> = self.boxes.iter().map(super::EdgeBox::status).collect();
        state.push(format!("{:?}", self.cloud.vault.gauges()));
        state.extend(Vendor::ALL.map(|vendor| self.sender_status(vendor)));
        state.join("\n")
    }

    /// The ledger, the ERP and the shop agree with the auditor, and each with itself.
    pub(super) fn check_the_end(&mut self) -> Result<(), String> {
        let boxes: Vec<(AgentId, SiteId)> =
            self.boxes.iter().map(|edge| (edge.agent.clone(), edge.site.clone())).collect();
        let committed = &self.cloud.committed;
        self.auditor.check_committed(committed, &boxes)?;
        self.check_quarantine(&boxes)?;
        let expected = self.auditor.stock(committed, &boxes)?;
        self.check_books(&expected)?;
        let unposted = self.check_letters()?;
        let posted = self.auditor.stock_without(committed, &boxes, &unposted)?;
        self.check_erp(&posted)?;
        self.check_shop(&expected)
    }

    /// What of copied cards is not on the books lies in a journal that was put aside, where a person finds it.
    fn check_quarantine(&self, boxes: &[(AgentId, SiteId)]) -> Result<(), String> {
        for (at, epoch, sequence, fact) in self.auditor.missing(&self.cloud.committed, boxes) {
            let edge = &self.boxes[at];
            let in_use = edge.disk.epoch() == epoch && !edge.retired;
            let kept = edge.disk.journals().find(|journal| journal.epoch() == epoch);
            let after = Sequence::new(sequence - 1);
            let one = ReadLimit { events: 1, bytes: usize::MAX };
            let row = kept.and_then(|journal| journal.read(after, one).ok()?.into_iter().next());
            if in_use || !row.is_some_and(|event| self.auditor.says(&event, fact)) {
                return Err(format!(
                    "box {at} recorded {fact:?} as {epoch}/{sequence}: it is neither on the books nor in a journal put aside"
                ));
            }
        }
        Ok(())
    }

    fn check_books(&self, expected: &Stock) -> Result<(), String> {
        let failed = |fault: StoreError| format!("the books cannot be read: {fault}");
        let report = self.cloud.vault.verify_books().map_err(failed)?;
        if !report.is_right() {
            return Err(format!("verify_books: {:?}", report.findings));
        }
        let mut ledger = Stock::new();
        let mut query = StockQuery::default();
        loop {
            let page = self.cloud.vault.stock(&query).map_err(failed)?;
            for row in page.rows {
                let item = self.company.items.iter().position(|item| item.sku == row.item.as_str());
                let item =
                    item.ok_or_else(|| format!("the ledger holds {}, which nobody trades", row.item))?;
                let milli = match row.on_hand.uom {
                    Uom::Piece => row.on_hand.steps * 1_000,
                    _ => row.on_hand.steps / 1_000,
                };
                *ledger.entry((row.site.to_string(), row.location.to_string(), item)).or_default() += milli;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        match differences(["auditor", "ledger"], &self.company, expected, &ledger) {
            Some(table) => Err(format!("the ledger differs from what was done:\n{table}")),
            None => Ok(()),
        }
    }

    fn check_erp(&self, expected: &Stock) -> Result<(), String> {
        let mut erp = Stock::new();
        for ((place, sku), milli) in self.erp.door.stock() {
            let Some((site, bin)) = place.split_once('/') else { continue };
            let Some(item) = self.company.items.iter().position(|item| item.sku == sku) else { continue };
            erp.insert((site.into(), bin.into(), item), milli);
        }
        if let Some(table) = differences(["auditor", "ERP"], &self.company, expected, &erp) {
            return Err(format!("the ERP differs from what was done:\n{table}"));
        }
        // A document that arrived late may lie there as a draft for ever; it changes no stock. Two that are done would.
        let mut done: BTreeMap<String, u32> = BTreeMap::new();
        for (reference, state) in self.erp.door.documents() {
            *done.entry(reference).or_default() += u32::from(state == "done");
        }
        match done.iter().find(|(_, times)| **times > 1) {
            Some((reference, times)) => Err(format!("{reference} is booked {times} times at the ERP")),
            None => Ok(()),
        }
    }

    /// What the shop must show, by the rule as it is told to people: whole units of each site that has any, less what
    /// is held back, not below zero and not above the cap.
    fn check_shop(&self, expected: &Stock) -> Result<(), String> {
        let shown = self.shop.door.on_hand();
        for (number, item) in self.company.items.iter().enumerate() {
            let mut units = 0;
            for site in &self.company.sites {
                let cells = expected.iter().filter(|((at, _, what), _)| *at == site.code && *what == number);
                let milli: i64 = cells.map(|(_, milli)| milli).sum();
                units += milli.max(0) / 1_000;
            }
            let held_back = self.policy.safety_stock + self.policy.out_of_stock_threshold;
            let wanted = (units - held_back).max(0).min(self.policy.cap.unwrap_or(i64::MAX));
            let shows = shown.get(&item.sku).copied().unwrap_or_default();
            if shows != wanted {
                return Err(format!("the shop shows {shows} of {}, it should show {wanted}", item.sku));
            }
        }
        Ok(())
    }

    /// Nothing was set aside but what had to be. Returns the movements that the ERP has no document for.
    fn check_letters(&self) -> Result<BTreeSet<MovementId>, String> {
        let failed = |fault: StoreError| format!("the dead letters cannot be read: {fault}");
        let mut unposted = BTreeSet::new();
        let mut query = DeadLetterQuery::default();
        loop {
            let page = self.cloud.vault.dead_letters(&query).map_err(failed)?;
            for letter in page.rows {
                let expected = match letter.class {
                    DeadLetterClass::Malformed | DeadLetterClass::Version => {
                        self.garbage.contains(&letter.bytes)
                    }
                    DeadLetterClass::Conflict => self.auditor.is_contested(),
                    DeadLetterClass::Posting if letter.reason.contains(NO_DOCUMENT) => {
                        unposted.extend(letter.movement);
                        true
                    }
                    _ => false,
                };
                if !expected {
                    return Err(format!(
                        "a dead letter that should not be: {:?} {}",
                        letter.class, letter.reason
                    ));
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(unposted),
            }
        }
    }
}
