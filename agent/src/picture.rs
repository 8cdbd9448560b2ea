//! What an agent knows of the stock by itself: what the gateway told, and what was recorded here since.
//!
//! It is a picture and not the books: other boxes of the site work on the same bins, so it warns and decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stockwire_protocol::{
    Act, Body, Content, Details, Epoch, Event, ItemId, LocationId, Place, Quantity, Reference, Sequence,
    SiteId, Task, TaskKind,
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
    own: VecDeque<(Sequence, Body)>,
    /// Something was forgotten that `tasks` does not contain.
    forgotten: bool,
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
            while self.own.front().is_some_and(|(sequence, _)| *sequence <= as_of.watermark) {
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
            let seen = self.own.back().map(|(sequence, _)| *sequence).max(known);
            if seen.is_some_and(|seen| sequence <= seen) {
                continue;
            }
            if self.own.len() >= OWN_MAX {
                self.own.pop_front();
                self.forgotten = true;
            }
            self.own.push_back((sequence, event.body.clone()));
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
        for (_, body) in &self.own {
            match body {
                Body::Movement(movement) if movement.item == *item => {
                    let moved = in_unit(movement.quantity)?;
                    if movement.from == here {
                        steps -= moved;
                    } else if movement.to == here {
                        steps += moved;
                    }
                }
                Body::Count(count) if count.item == *item && count.location == *location => {
                    steps = in_unit(count.counted)?;
                }
                _ => {}
            }
        }
        Some(steps)
    }

    /// What of each line of a task is still to be done, in steps of the line's unit.
    pub fn open(&self, task: &Task) -> Vec<i64> {
        let mut done: BTreeMap<(&ItemId, Option<&LocationId>), Vec<Quantity>> = BTreeMap::new();
        for (_, body) in &self.own {
            let (details, item, quantity, at) = match body {
                Body::Movement(movement) => {
                    let at = [&movement.from, &movement.to].into_iter().find_map(|place| match place {
                        Place::At(location) => Some(location),
                        _ => None,
                    });
                    (&movement.details, &movement.item, movement.quantity, at)
                }
                Body::Handling(handling) if handling.act == Act::Short => match &handling.content {
                    Some(Content::Goods { item, quantity }) => {
                        (&handling.details, item, *quantity, handling.location.as_ref())
                    }
                    _ => continue,
                },
                _ => continue,
            };
            if !is_for(task, details) {
                continue;
            }
            let sign = if details.corrects.is_some() { -1 } else { 1 };
            done.entry((item, at)).or_default().push(Quantity { steps: sign * quantity.steps, ..quantity });
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
        self.own.iter().any(|(_, body)| match body {
            Body::Count(count) => is_for(task, &count.details),
            _ => false,
        })
    }

    /// The open task of a kind and number, with what is still to be done of each line.
    pub fn task(&self, kind: TaskKind, id: &Reference) -> Option<(&Task, Vec<i64>)> {
        let task = self.tasks.find(kind, id)?;
        Some((task, self.open(task)))
    }
}

fn is_for(task: &Task, details: &Details) -> bool {
    match task.kind {
        TaskKind::Announced => {
            details.license_plate.is_some_and(|plate| plate.to_string() == task.id.as_str())
        }
        _ => details.reference.as_ref() == Some(&task.id),
    }
}
