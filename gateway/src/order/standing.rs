//! How an order stands: what its rows come to.

use std::collections::BTreeMap;

use stockwire_protocol::{ItemId, Reference, SiteId};

use super::fact::{
    Allocation, AtSite, Door, Duty, Entry, Fact, ItemSteps, LineSteps, Mapped, Outcome, ShipmentRecord,
    Verdict,
};
use super::{LineId, Order};

/// How an order stands, folded from its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// As its channel says it now.
    pub order: Order,
    /// What it is called in the warehouse.
    pub reference: Reference,
    /// When it came, unix milliseconds.
    pub captured_at_ms: i64,
    /// Its lines as we know them; `None`: not validated, or not since they changed.
    pub mapped: Option<Vec<Mapped>>,
    /// What cannot be so in it, and when that was found.
    pub faults: Option<(Vec<String>, i64)>,
    /// Checks that have begun or decided.
    pub checks: BTreeMap<String, CheckState>,
    /// Why it rests.
    pub held: Option<String>,
    /// Holds that were ever made.
    pub allocations: Vec<Allocation>,
    /// Steps of allocations that are held and count no longer for the order.
    pub kept_back: BTreeMap<u32, i64>,
    /// What was missing at the last look, and when that was.
    pub missing: Option<(Vec<LineSteps>, i64)>,
    /// Steps outside that were begun.
    pub duties: BTreeMap<Duty, DutyState>,
    /// What each site is asked to pick in all.
    pub asked: BTreeMap<SiteId, Vec<ItemSteps>>,
    /// As told last.
    pub picked: Vec<AtSite>,
    /// As told last.
    pub short: Vec<AtSite>,
    /// As told last.
    pub returned: Vec<AtSite>,
    /// Parcels that have left.
    pub shipments: Vec<ShipmentRecord>,
    /// Why it was given up.
    pub cancelled: Option<String>,
    /// Returns that were announced, by key.
    pub returns: BTreeMap<String, Announced>,
    /// The invoice's number.
    pub invoice: Option<String>,
    /// The last row.
    pub sequence: u64,
    /// When it was written, unix milliseconds.
    pub changed_at_ms: i64,
}

/// How a check stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckState {
    /// It waits for a word.
    Waiting {
        /// When it decides by itself, unix milliseconds.
        until_ms: Option<i64>,
        /// Why it asks.
        reason: String,
    },
    /// It has decided.
    Decided(Verdict),
}

/// A return that is expected, or came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// What.
    pub lines: Vec<LineSteps>,
    /// Why.
    pub reason: String,
    /// What is paid back for it, in minor units.
    pub refund: i64,
    /// It is all there, and the refund is due.
    pub is_there: bool,
}

/// How a step outside stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DutyState {
    /// How often it was sent.
    pub attempts: u32,
    /// What the other side made, by its id.
    pub document: Option<String>,
    /// An attempt was never answered.
    pub unresolved: bool,
    /// What came of the last attempt; `None`: it is under way, or was when a gateway ended.
    pub last: Option<Outcome>,
}

impl DutyState {
    /// Whether nothing more is to be done about it.
    pub fn is_settled(&self) -> bool {
        matches!(self.last, Some(Outcome::Done { .. } | Outcome::Nothing | Outcome::Refused { .. }))
    }

    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        matches!(self.last, Some(Outcome::Done { .. }))
    }

    /// When it may be taken, unix milliseconds; `None`: never again.
    pub fn due_at_ms(&self) -> Option<i64> {
        match &self.last {
            None => Some(0),
            Some(
                Outcome::Later { at_ms } | Outcome::Retry { at_ms, .. } | Outcome::Unknown { at_ms, .. },
            ) => Some(*at_ms),
            Some(Outcome::Done { .. } | Outcome::Nothing | Outcome::Refused { .. }) => None,
        }
    }
}

/// How far an order is, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Something in it cannot be so.
    Faulted,
    /// Somebody keeps it back.
    Held,
    /// A check waits for a word.
    Checking,
    /// Stock is missing.
    Backordered,
    /// Everything is held for it.
    Reserved,
    /// The ERP is being told.
    Posting,
    /// The warehouse has it to pick.
    Picking,
    /// Everything is picked.
    Picked,
    /// Some of it has left.
    PartlyShipped,
    /// It has left.
    Shipped,
    /// It has left, and the channel knows.
    Done,
    /// It is given up; something is still to be undone.
    Cancelling,
    /// It is given up.
    Cancelled,
    /// Something of it has come back.
    Returned,
}

impl Stage {
    /// All, by name, in the order in which an order goes through them.
    pub const NAMES: [(&'static str, Self); 14] = [
        ("faulted", Self::Faulted),
        ("held", Self::Held),
        ("checking", Self::Checking),
        ("backordered", Self::Backordered),
        ("reserved", Self::Reserved),
        ("posting", Self::Posting),
        ("picking", Self::Picking),
        ("picked", Self::Picked),
        ("partly_shipped", Self::PartlyShipped),
        ("shipped", Self::Shipped),
        ("done", Self::Done),
        ("cancelling", Self::Cancelling),
        ("cancelled", Self::Cancelled),
        ("returned", Self::Returned),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|row| row.0 == name).map(|row| row.1)
    }
}

impl Standing {
    /// What rows come to; `None`: they do not begin with a capture.
    pub fn of(rows: &[Entry]) -> Option<Self> {
        let (first, rest) = rows.split_first()?;
        let Fact::Captured { order, reference } = &first.fact else { return None };
        let mut standing = Self {
            order: order.clone(),
            reference: reference.clone(),
            captured_at_ms: first.at_ms,
            mapped: None,
            faults: None,
            checks: BTreeMap::new(),
            held: None,
            allocations: Vec::new(),
            kept_back: BTreeMap::new(),
            missing: None,
            duties: BTreeMap::new(),
            asked: BTreeMap::new(),
            picked: Vec::new(),
            short: Vec::new(),
            returned: Vec::new(),
            shipments: Vec::new(),
            cancelled: None,
            returns: BTreeMap::new(),
            invoice: None,
            sequence: first.sequence,
            changed_at_ms: first.at_ms,
        };
        rest.iter().for_each(|row| standing.take(row));
        Some(standing)
    }

    /// Adds a row.
    pub fn take(&mut self, row: &Entry) {
        (self.sequence, self.changed_at_ms) = (row.sequence, row.at_ms);
        match &row.fact {
            // A second capture cannot be written; the first stands.
            Fact::Captured { .. } => {}
            Fact::Revised { order } => {
                if order.lines != self.order.lines {
                    self.mapped = None;
                }
                self.order = order.clone();
                self.faults = None;
            }
            Fact::Validated { lines } => {
                (self.mapped, self.faults, self.missing) = (Some(lines.clone()), None, None);
            }
            Fact::Faulted { reasons } => self.faults = Some((reasons.clone(), row.at_ms)),
            Fact::CheckBegan { check, reason, until_ms } => {
                let state = CheckState::Waiting { until_ms: *until_ms, reason: reason.clone() };
                self.checks.insert(check.clone(), state);
            }
            Fact::CheckEnded { check, verdict, .. } => {
                self.checks.insert(check.clone(), CheckState::Decided(*verdict));
            }
            Fact::Held { reason } => self.held = Some(reason.clone()),
            Fact::Released => {
                (self.held, self.faults) = (None, None);
                // What was refused is tried anew; what is done stays done.
                self.duties
                    .values_mut()
                    .filter(|duty| matches!(duty.last, Some(Outcome::Refused { .. })))
                    .for_each(|duty| duty.last = Some(Outcome::Later { at_ms: row.at_ms }));
            }
            Fact::Reserved { allocations, .. } => {
                self.allocations.extend(allocations.iter().cloned());
                self.missing = None;
            }
            Fact::Short { lines, .. } => self.missing = Some((lines.clone(), row.at_ms)),
            Fact::Freed { .. } | Fact::Left { .. } => {}
            Fact::KeptBack { allocations } => {
                for part in allocations {
                    let kept = self.kept_back.entry(part.number).or_default();
                    *kept = kept.saturating_add(part.steps);
                }
            }
            Fact::Due { duty } => {
                let state = self.duties.entry(*duty).or_default();
                // An attempt of unknown outcome stays one.
                state.last = Some(Outcome::Later { at_ms: row.at_ms });
            }
            Fact::Asked { site, items } => {
                self.asked.insert(site.clone(), items.clone());
            }
            Fact::Withdrawn { site } => {
                self.asked.remove(site);
            }
            Fact::Picked { picked } => self.picked.clone_from(picked),
            Fact::Missing { missing } => self.short.clone_from(missing),
            Fact::Returned { returned } => self.returned.clone_from(returned),
            Fact::Shipped { shipment } => self.shipments.push(shipment.clone()),
            Fact::Sent { duty } => {
                let state = self.duties.entry(*duty).or_default();
                state.attempts = state.attempts.saturating_add(1);
                state.last = None;
                state.unresolved = true;
            }
            Fact::Noted { duty, document } => {
                self.duties.entry(*duty).or_default().document = Some(document.clone());
            }
            Fact::Answered { duty, outcome } => self.answer(*duty, outcome),
            Fact::Cancelled { reason } => self.cancelled = Some(reason.clone()),
            Fact::ReturnAnnounced { key, lines, reason, refund } => {
                let announced = Announced {
                    lines: lines.clone(),
                    reason: reason.clone(),
                    refund: *refund,
                    is_there: false,
                };
                self.returns.insert(key.clone(), announced);
            }
            Fact::RefundDue { key, .. } => {
                if let Some(announced) = self.returns.get_mut(key) {
                    announced.is_there = true;
                }
            }
        }
    }

    fn answer(&mut self, duty: Duty, outcome: &Outcome) {
        let state = self.duties.entry(duty).or_default();
        state.last = Some(outcome.clone());
        match outcome {
            Outcome::Unknown { .. } => state.unresolved = true,
            Outcome::Done { .. } | Outcome::Refused { .. } | Outcome::Retry { .. } => {
                state.unresolved = false
            }
            Outcome::Later { .. } | Outcome::Nothing => {}
        }
        if let Outcome::Done { document: Some(document) } = outcome {
            match duty {
                Duty::ReadSale => self.invoice = Some(document.clone()),
                _ => state.document = Some(document.clone()),
            }
        }
    }

    /// The sale's id at the ERP.
    pub fn sale(&self) -> Option<&str> {
        self.duties.get(&Duty::PostSale)?.document.as_deref()
    }

    /// What a line is.
    pub fn item(&self, line: &LineId) -> Option<&ItemId> {
        self.mapped.as_ref()?.iter().find(|mapped| mapped.line == *line).map(|mapped| &mapped.item)
    }

    /// So much of a line has left in parcels.
    pub fn shipped(&self, line: &LineId) -> i64 {
        let parts = self.shipments.iter().flat_map(|shipment| &shipment.lines);
        parts.filter(|part| part.line == *line).fold(0, |sum, part| sum.saturating_add(part.steps))
    }

    /// The next step at a door outside, and when it may be taken, unix milliseconds.
    pub fn due(&self, door: Door) -> Option<(Duty, i64)> {
        let here = self.duties.iter().filter(|(duty, _)| {
            // A sale of an order that was given up is not posted any more, whatever became of an attempt.
            duty.door() == door && !(self.cancelled.is_some() && **duty == Duty::PostSale)
        });
        here.filter_map(|(duty, state)| Some((*duty, state.due_at_ms()?)))
            .min_by_key(|(duty, at_ms)| (*at_ms, *duty))
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        if self.cancelled.is_some() {
            let open = |duty: &Duty| self.duties.get(duty).is_some_and(|state| !state.is_settled());
            let undoing =
                [Duty::CancelSale, Duty::CancelAtChannel].iter().any(open) || !self.asked.is_empty();
            return if undoing { Stage::Cancelling } else { Stage::Cancelled };
        }
        if self.returned.iter().any(|returned| returned.steps > 0) {
            return Stage::Returned;
        }
        let mapped = self.mapped.as_deref().unwrap_or_default();
        if !mapped.is_empty() && mapped.iter().all(|line| self.shipped(&line.line) >= line.steps) {
            let told = |shipment: &ShipmentRecord| {
                let duty = self.duties.get(&Duty::Confirm { shipment: shipment.number });
                duty.is_none_or(DutyState::is_done)
            };
            return if self.shipments.iter().all(told) { Stage::Done } else { Stage::Shipped };
        }
        if self.held.is_some() {
            return Stage::Held;
        }
        if self.faults.is_some() || self.mapped.is_none() {
            return Stage::Faulted;
        }
        if !self.shipments.is_empty() {
            return Stage::PartlyShipped;
        }
        if self.checks.values().any(|check| matches!(check, CheckState::Waiting { .. })) {
            return Stage::Checking;
        }
        let picked = |item: &ItemId| {
            self.picked
                .iter()
                .filter(|picked| picked.item == *item)
                .fold(0_i64, |sum, picked| sum.saturating_add(picked.steps))
        };
        let wanted = |item: &ItemId| {
            mapped
                .iter()
                .filter(|line| line.item == *item)
                .fold(0_i64, |sum, line| sum.saturating_add(line.steps))
        };
        if mapped.iter().all(|line| picked(&line.item) >= wanted(&line.item)) {
            return Stage::Picked;
        }
        if self.missing.is_some() {
            return Stage::Backordered;
        }
        if !self.asked.is_empty() {
            return Stage::Picking;
        }
        match self.duties.get(&Duty::PostSale) {
            Some(duty) if !duty.is_done() => Stage::Posting,
            _ => Stage::Reserved,
        }
    }

    /// What a person must look at, in words.
    pub fn attention(&self) -> Option<String> {
        let refused = self.duties.iter().find_map(|(duty, state)| match &state.last {
            Some(Outcome::Refused { reason }) => Some(format!("{duty} was refused: {reason}")),
            _ => None,
        });
        let out = || {
            let out = self.picked.iter().any(|picked| picked.steps > 0) && self.shipments.is_empty();
            (self.cancelled.is_some() && out)
                .then(|| "it is given up, and goods are picked for it: put them back".into())
        };
        let check = || {
            self.checks.iter().find_map(|(name, state)| match state {
                CheckState::Waiting { reason, .. } if self.cancelled.is_none() => {
                    Some(format!("{name} waits for a word: {reason}"))
                }
                _ => None,
            })
        };
        refused
            .or_else(out)
            .or_else(|| self.held.clone())
            .or_else(|| self.faults.as_ref().map(|(reasons, _)| reasons.join("; ")))
            .or_else(check)
    }
}
