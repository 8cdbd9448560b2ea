//! The independent auditor: what must be on the books, worked out from what operators did and heard.
//!
//! It knows nothing of batches, acks, streams or entries. A movement counts for it when an operator heard the good
//! signal; one that was on its way into the journal when the power went counts when the surviving journal holds it.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::{AgentId, Body, Epoch, Event, MovementId, Place, Sequence, SiteId, Uom};

use crate::real::World as Company;

/// One thing an operator did, in the auditor's own terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// Goods came (`milli` above zero) or went.
    Moved {
        /// Bin within the site.
        bin: String,
        /// Number of the item in the company, from 0.
        item: usize,
        /// Thousandths of the unit.
        milli: i64,
        /// Whether it takes an earlier one back.
        undo: bool,
    },
    /// Somebody looked.
    Counted {
        /// Bin within the site.
        bin: String,
        /// Number of the item in the company, from 0.
        item: usize,
        /// Thousandths of the unit.
        milli: i64,
    },
}

/// Site, bin, number of the item.
pub(super) type Cell = (String, String, usize);

/// What lies where, in thousandths of the unit; zeros may stand or be missing.
pub(super) type Stock = BTreeMap<Cell, i64>;

/// One life of one box's journal.
#[derive(Clone, Default)]
struct Life {
    /// What the n-th row must say.
    facts: Vec<Fact>,
    /// What stood in rows that a restored copy no longer has. Somebody heard good for each.
    overwritten: Vec<(u64, Fact)>,
    /// Another card with the same rows was or is in use: identities may clash, and must be quarantined then.
    contested: bool,
}

/// A row that the gateway has committed.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    /// Whose.
    pub(super) agent: AgentId,
    /// Which life.
    pub(super) epoch: Epoch,
    /// Its place.
    pub(super) sequence: u64,
    /// Its bytes, decoded.
    pub(super) event: Event,
}

/// What is wrong, for people.
pub(super) type Fault = String;

/// The books of somebody who was there.
pub(super) struct Auditor {
    company: Company,
    /// By box and epoch.
    lives: BTreeMap<(usize, Epoch), Life>,
}

impl Auditor {
    /// Before the first movement.
    pub(super) fn new(company: &Company) -> Self {
        Self { company: company.clone(), lives: BTreeMap::new() }
    }

    /// The operator at a box heard the good signal for this.
    pub(super) fn heard_good(
        &mut self,
        at: usize,
        epoch: Epoch,
        head: u64,
        facts: &[Fact],
    ) -> Result<(), Fault> {
        let life = self.lives.entry((at, epoch)).or_default();
        life.facts.extend_from_slice(facts);
        // Durable before beep: the journal as a power cut would leave it holds at least what was heard.
        if (life.facts.len() as u64) > head {
            return Err(format!(
                "box {at} beeped for row {}, and its journal ends at {head}",
                life.facts.len()
            ));
        }
        Ok(())
    }

    /// A box has started again. `doubt` is what its operator was waiting for, oldest first; the surviving journal's
    /// head says how much of it was recorded. Returns that number.
    pub(super) fn resolve<'a>(
        &mut self,
        at: usize,
        epoch: Epoch,
        head: u64,
        doubt: impl Iterator<Item = &'a [Fact]>,
    ) -> Result<usize, Fault> {
        let life = self.lives.entry((at, epoch)).or_default();
        let mut recorded = 0;
        for facts in doubt {
            if life.facts.len() as u64 >= head {
                break;
            }
            life.facts.extend_from_slice(facts);
            recorded += 1;
        }
        if life.facts.len() as u64 != head {
            return Err(format!(
                "box {at} started again with {head} rows, its operator knows of {} (with {recorded} in doubt)",
                life.facts.len()
            ));
        }
        Ok(recorded)
    }

    /// An old copy of its card, with so many rows, was put into a box.
    pub(super) fn restored(&mut self, at: usize, epoch: Epoch, head: u64) {
        let life = self.lives.entry((at, epoch)).or_default();
        life.contested = true;
        let gone = life.facts.split_off(life.facts.len().min(head as usize));
        life.overwritten.extend((head + 1..).zip(gone));
    }

    /// A card was copied, and the copy works in a second box.
    pub(super) fn cloned(&mut self, from: usize, to: usize, epoch: Epoch, head: u64) {
        let life = self.lives.entry((from, epoch)).or_default();
        life.contested = true;
        let mut copy = Life { facts: life.facts.clone(), ..life.clone() };
        copy.facts.truncate(head as usize);
        self.lives.insert((to, epoch), copy);
    }

    /// A box was taken away, with whatever is still on its card.
    pub(super) fn retired(&mut self, at: usize) {
        for (_, life) in
            self.lives.range_mut((at, Epoch::from_bytes([0; 16]))..=(at, Epoch::from_bytes([255; 16])))
        {
            life.contested = true;
        }
    }

    /// A journal was put aside, and its rows after `own_after` begin a new one.
    pub(super) fn moved(&mut self, at: usize, old: Epoch, new: Epoch, own_after: u64) {
        let life = self.lives.entry((at, old)).or_default();
        let own = life.facts.split_off(life.facts.len().min(own_after as usize));
        self.lives.insert((at, new), Life { facts: own, ..Life::default() });
    }

    /// How many movements were heard or found.
    pub(super) fn facts(&self) -> usize {
        self.lives.values().map(|life| life.facts.len()).sum()
    }

    /// Whether some journal's identities may clash.
    pub(super) fn is_contested(&self) -> bool {
        self.lives.values().any(|life| life.contested)
    }

    /// Every row that must have been committed was, once, in order, and says what the operator did. `at_of` gives the
    /// boxes of an agent.
    pub(super) fn check_committed(
        &self,
        committed: &[Committed],
        boxes: &[(AgentId, SiteId)],
    ) -> Result<(), Fault> {
        for (&(at, epoch), life) in &self.lives {
            let agent = &boxes[at].0;
            let rows: Vec<_> =
                committed.iter().filter(|row| row.agent == *agent && row.epoch == epoch).collect();
            if life.contested {
                // Which of two lives came first is chance; that each identity has one meaning is not.
                continue;
            }
            if rows.len() != life.facts.len() {
                return Err(format!(
                    "{agent}/{epoch}: the operator did {} things, the gateway holds {}",
                    life.facts.len(),
                    rows.len()
                ));
            }
            for ((row, fact), sequence) in rows.iter().zip(&life.facts).zip(1..) {
                if row.sequence != sequence || !self.says(&row.event, fact) {
                    return Err(format!("{agent}/{epoch}/{}: {:?} is not {fact:?}", row.sequence, row.event));
                }
            }
        }
        Ok(())
    }

    /// The stock that must be there: the opening, and every committed row in the order of the books, by what the
    /// operators say it was.
    pub(super) fn stock(&self, committed: &[Committed], boxes: &[(AgentId, SiteId)]) -> Result<Stock, Fault> {
        self.stock_without(committed, boxes, &BTreeSet::new())
    }

    /// The same where these movements did not arrive: what an ERP holds that has refused them.
    pub(super) fn stock_without(
        &self,
        committed: &[Committed],
        boxes: &[(AgentId, SiteId)],
        missing: &BTreeSet<MovementId>,
    ) -> Result<Stock, Fault> {
        let mut stock = opening(&self.company);
        let mut lacking = Stock::new();
        for row in committed {
            let (site, fact) = self.meaning(row, boxes)?;
            let (Fact::Moved { bin, item, .. } | Fact::Counted { bin, item, .. }) = fact;
            let key = (site.to_string(), bin.clone(), *item);
            let cell = stock.entry(key.clone()).or_default();
            let before = *cell;
            match fact {
                Fact::Moved { milli, .. } => *cell += milli,
                // The shelf is the truth.
                Fact::Counted { milli, .. } => *cell = *milli,
            }
            let (agent, epoch, sequence) = (row.agent.clone(), row.epoch, Sequence::new(row.sequence));
            if missing.contains(&MovementId { agent, epoch, sequence }) {
                *lacking.entry(key).or_default() += *cell - before;
            }
        }
        for (key, milli) in lacking {
            *stock.entry(key).or_default() -= milli;
        }
        Ok(stock)
    }

    /// What an operator did to cause this row; the bytes must say the same.
    fn meaning<'a>(
        &'a self,
        row: &Committed,
        boxes: &'a [(AgentId, SiteId)],
    ) -> Result<(&'a SiteId, &'a Fact), Fault> {
        for (&(at, epoch), life) in &self.lives {
            let (agent, site) = &boxes[at];
            if *agent != row.agent || epoch != row.epoch {
                continue;
            }
            let now = life.facts.get(row.sequence as usize - 1);
            let before = life.overwritten.iter().filter(|(sequence, _)| *sequence == row.sequence);
            let mut known = now.into_iter().chain(before.map(|(_, fact)| fact));
            if let Some(fact) = known.find(|fact| self.says(&row.event, fact)) {
                return Ok((site, fact));
            }
        }
        Err(format!(
            "{}/{}/{}: nobody did what the gateway holds: {:?}",
            row.agent, row.epoch, row.sequence, row.event
        ))
    }

    /// Every fact of contested journals that is not in the books, as (box, epoch, row, fact): each must be found in a
    /// quarantine.
    pub(super) fn missing<'a>(
        &'a self,
        committed: &'a [Committed],
        boxes: &'a [(AgentId, SiteId)],
    ) -> impl Iterator<Item = (usize, Epoch, u64, &'a Fact)> {
        self.lives.iter().filter(|(_, life)| life.contested).flat_map(move |(&(at, epoch), life)| {
            let rows = (1..).zip(&life.facts);
            rows.filter_map(move |(sequence, fact)| {
                let found = committed.iter().any(|row| {
                    row.agent == boxes[at].0
                        && row.epoch == epoch
                        && row.sequence == sequence
                        && self.says(&row.event, fact)
                });
                (!found).then_some((at, epoch, sequence, fact))
            })
        })
    }

    /// Whether an event is that fact.
    pub(super) fn says(&self, event: &Event, fact: &Fact) -> bool {
        let amount = |quantity: stockwire_protocol::Quantity| match quantity.uom {
            Uom::Piece => quantity.steps.checked_mul(1_000),
            Uom::Kilogram => (quantity.steps % 1_000 == 0).then_some(quantity.steps / 1_000),
            _ => None,
        };
        let named = |item: usize| self.company.items[item].sku.as_str();
        match (&event.body, fact) {
            (Body::Movement(movement), Fact::Moved { bin, item, milli, undo }) => {
                let place = match (&movement.from, &movement.to) {
                    (Place::Supplier | Place::Customer, Place::At(place)) if *milli > 0 => place,
                    (Place::At(place), Place::Supplier | Place::Customer) if *milli < 0 => place,
                    _ => return false,
                };
                place.as_str() == bin
                    && movement.item.as_str() == named(*item)
                    && amount(movement.quantity) == Some(milli.abs())
                    && movement.details.corrects.is_some() == *undo
            }
            (Body::Count(count), Fact::Counted { bin, item, milli }) => {
                count.location.as_str() == bin
                    && count.item.as_str() == named(*item)
                    && amount(count.counted) == Some(*milli)
            }
            _ => false,
        }
    }
}

/// What lay there before the first movement.
fn opening(company: &Company) -> Stock {
    let mut stock = Stock::new();
    for (number, item) in company.items.iter().enumerate() {
        for (place, quantity) in &item.opening {
            let Some((site, bin)) = place.split_once('/') else { continue };
            // Opening quantities of the company are whole numbers.
            let milli = quantity.parse::<i64>().map_or(0, |units| units * 1_000);
            stock.insert((site.into(), bin.into(), number), milli);
        }
    }
    stock
}

/// Two views of the stock side by side, where they differ; `None` when they agree.
pub(super) fn differences(
    names: [&str; 2],
    company: &Company,
    left: &Stock,
    right: &Stock,
) -> Option<String> {
    let mut table = String::new();
    let cells: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for cell in cells {
        let of = |stock: &Stock| stock.get(cell).copied().unwrap_or(0);
        if of(left) != of(right) {
            let (site, bin, item) = cell;
            let place = format!("{site}/{bin}");
            let sku = &company.items[*item].sku;
            table += &format!("  {place:<10} {sku:<9} {:>12} {:>12}\n", show(of(left)), show(of(right)));
        }
    }
    let head = format!("  {:<10} {:<9} {:>12} {:>12}\n", "place", "item", names[0], names[1]);
    (!table.is_empty()).then(|| head + &table)
}

fn show(milli: i64) -> String {
    let sign = if milli < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", milli.abs() / 1_000, milli.abs() % 1_000)
}
