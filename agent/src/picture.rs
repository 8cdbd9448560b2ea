//! What an agent knows of the stock by itself: what the gateway told, and what was recorded here since.
//!
//! It is a picture and not the books: other boxes of the site work on the same bins, so it warns and decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    Act, Body, Content, Epoch, Event, ItemId, LocationId, Place, Quantity, Reference, Sequence, SiteId, Task,
    TaskKind,
};

use crate::feed::Book;
use crate::tasks::Tasks;

/// Facts of our own that are kept until the gateway's word contains them: a long day's work at one box. Then the oldest
/// are forgotten, and with them what is said about the stock.
pub const OWN_MAX: usize = 2_048;

/// What lies where, and what is still to be done.
#[derive(Clone, Debug)]
pub struct Picture {
    tasks: Arc<Tasks>,
    epoch: Option<Epoch>,
    /// What was recorded here and is not in `tasks`, oldest first; at most `OWN_MAX`.
    own: VecDeque<Own>,
    /// Something was forgotten that `tasks` does not contain.
    forgotten: bool,
}

/// What a fact of our own says about stock and tasks. The whole event is more than twice as large, and with thousands of
/// them that is a quarter of the memory of the agent.
#[derive(Clone, Debug)]
struct Own {
    sequence: Sequence,
    item: ItemId,
    quantity: Quantity,
    change: Change,
    /// It takes back an earlier one.
    corrects: bool,
    reference: Option<Reference>,
    license_plate: Option<Sscc>,
}

#[derive(Clone, Debug)]
enum Change {
    Moved {
        from: Place,
        to: Place,
    },
    Counted(LocationId),
    /// Could not be had there.
    Short(Option<LocationId>),
}

impl Own {
    /// `None`: it says nothing about either.
    fn new(sequence: Sequence, body: &Body) -> Option<Self> {
        let (item, quantity, details, change) = match body {
            Body::Movement(movement) => {
                let change = Change::Moved { from: movement.from.clone(), to: movement.to.clone() };
                (&movement.item, movement.quantity, &movement.details, change)
            }
            Body::Count(count) => {
                (&count.item, count.counted, &count.details, Change::Counted(count.location.clone()))
            }
            Body::Handling(handling) if handling.act == Act::Short => match &handling.content {
                Some(Content::Goods { item, quantity }) => {
                    (item, *quantity, &handling.details, Change::Short(handling.location.clone()))
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Self {
            sequence,
            item: item.clone(),
            quantity,
            change,
            corrects: details.corrects.is_some(),
            reference: details.reference.clone(),
            license_plate: details.license_plate,
        })
    }

    fn is_for(&self, task: &Task) -> bool {
        match task.kind {
            TaskKind::Announced => {
                self.license_plate.is_some_and(|plate| plate.to_string() == task.id.as_str())
            }
            _ => self.reference.as_ref() == Some(&task.id),
        }
    }
}

impl Picture {
    /// Nothing known.
    pub fn new(site: SiteId) -> Self {
        Self { tasks: Arc::new(Tasks::empty(site)), epoch: None, own: VecDeque::new(), forgotten: false }
    }

    /// What the gateway told last.
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// The gateway told anew.
    pub fn handle_tasks(&mut self, tasks: Arc<Tasks>) {
        if let Some(as_of) = tasks.as_of()
            && self.epoch == Some(as_of.epoch)
        {
            while self.own.front().is_some_and(|own| own.sequence <= as_of.watermark) {
                self.own.pop_front();
                // What was forgotten came before this one.
                self.forgotten = false;
            }
        }
        self.tasks = tasks;
    }

    /// These were recorded, the last one under this sequence.
    pub fn handle_recorded(&mut self, epoch: Epoch, last: Sequence, events: &[Event]) {
        if self.epoch != Some(epoch) {
            // A new life of the journal: how much of the old one the gateway has is not known.
            self.forgotten |= !self.own.is_empty();
            self.own.clear();
            self.epoch = Some(epoch);
        }
        let known = self.tasks.as_of().filter(|as_of| as_of.epoch == epoch).map(|as_of| as_of.watermark);
        let before = last.get().saturating_sub(events.len() as u64);
        for (sequence, event) in (before + 1..).map(Sequence::new).zip(events) {
            let seen = self.own.back().map(|own| own.sequence).max(known);
            if seen.is_some_and(|seen| sequence <= seen) {
                continue;
            }
            let Some(own) = Own::new(sequence, &event.body) else { continue };
            if self.own.len() >= OWN_MAX {
                self.own.pop_front();
                self.forgotten = true;
            }
            self.own.push_back(own);
        }
    }

    /// How many steps of an item's unit lie at a location; `None` when that is not known.
    pub fn on_hand(&self, location: &LocationId, item: &ItemId, unit: Quantity) -> Option<i64> {
        if self.forgotten {
            return None;
        }
        let lay = self.tasks.lay(location, item)?;
        let in_unit = |quantity: Quantity| quantity.to_uom(unit.uom).ok().map(|quantity| quantity.steps);
        let mut steps = if lay.steps == 0 { 0 } else { in_unit(lay)? };
        let here = Place::At(location.clone());
        for own in self.own.iter().filter(|own| own.item == *item) {
            match &own.change {
                Change::Moved { from, .. } if *from == here => steps -= in_unit(own.quantity)?,
                Change::Moved { to, .. } if *to == here => steps += in_unit(own.quantity)?,
                Change::Counted(at) if at == location => steps = in_unit(own.quantity)?,
                _ => {}
            }
        }
        Some(steps)
    }

    /// What of each line of a task is still to be done, in steps of the line's unit.
    pub fn open(&self, task: &Task) -> Vec<i64> {
        let mut done: BTreeMap<(&ItemId, Option<&LocationId>), Vec<Quantity>> = BTreeMap::new();
        for own in self.own.iter().filter(|own| own.is_for(task)) {
            let at = match &own.change {
                Change::Moved { from: Place::At(at), .. } | Change::Moved { to: Place::At(at), .. } => {
                    Some(at)
                }
                Change::Moved { .. } => None,
                Change::Short(at) => at.as_ref(),
                Change::Counted(_) => continue,
            };
            let sign = if own.corrects { -1 } else { 1 };
            let amount = Quantity { steps: sign * own.quantity.steps, ..own.quantity };
            done.entry((&own.item, at)).or_default().push(amount);
        }
        let mut open: Vec<i64> = task.lines.iter().map(|line| line.quantity.steps).collect();
        // First what was done where the line says, then the rest wherever it was done.
        for exact in [true, false] {
            for ((item, at), amounts) in &mut done {
                for (line, open) in task.lines.iter().zip(&mut open) {
                    if line.item != **item || (exact && line.from.as_ref() != *at) {
                        continue;
                    }
                    let steps = |q: &Quantity| q.to_uom(line.quantity.uom).map_or(0, |q| q.steps);
                    let total: i64 = amounts.iter().map(steps).sum();
                    let taken = total.clamp(0, *open);
                    *open -= taken;
                    *amounts = vec![Quantity { steps: total - taken, uom: line.quantity.uom }];
                }
            }
        }
        open
    }

    /// Whether something was counted for a task since the gateway told of it.
    pub fn is_counted(&self, task: &Task) -> bool {
        self.own.iter().any(|own| matches!(own.change, Change::Counted(_)) && own.is_for(task))
    }

    /// The open task of a kind and number, with what is still to be done of each line.
    pub fn task(&self, kind: TaskKind, id: &Reference) -> Option<(&Task, Vec<i64>)> {
        let task = self.tasks.find(kind, id)?;
        Some((task, self.open(task)))
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::{BizStep, Details, Movement, StationId, When};

    use super::*;

    fn received(quantity: i64) -> Event {
        let movement = Movement {
            step: BizStep::Receiving,
            item: ItemId::new("MUG").unwrap(),
            quantity: Quantity::pieces(quantity),
            from: Place::Supplier,
            to: Place::At(LocationId::new("A-01").unwrap()),
            station: StationId::new("dock").unwrap(),
            details: Details::default(),
        };
        Event { when: When::Synced { unix_ms: 0 }, body: Body::Movement(movement) }
    }

    #[test]
    fn a_day_of_facts_is_kept_in_little_memory() {
        let mut picture = Picture::new(SiteId::new("HAM").unwrap());
        let epoch = Epoch::from_bytes([1; 16]);
        for sequence in 1..=OWN_MAX as u64 {
            picture.handle_recorded(epoch, Sequence::new(sequence), &[received(1)]);
        }
        assert_eq!((picture.own.len(), picture.forgotten), (OWN_MAX, false));
        picture.handle_recorded(epoch, Sequence::new(OWN_MAX as u64 + 1), &[received(1)]);
        assert_eq!((picture.own.len(), picture.forgotten), (OWN_MAX, true));
        let bytes = OWN_MAX * size_of::<Own>();
        assert!(bytes <= 384 * 1024, "{bytes} bytes for {OWN_MAX} facts, texts not counted");
        assert!(size_of::<Own>() * 2 < size_of::<Body>(), "{} {}", size_of::<Own>(), size_of::<Body>());
    }
}
