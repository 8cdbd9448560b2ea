//! Tasks: what the warehouse is asked to do, and what came of it.
//!
//! Integration engineers and order connectors say what is asked; what movements, counts and shortages name a task is
//! added up beside it. What is still to be done is always computed from both, so that asking anew keeps what was done,
//! and the order in which facts arrive does not matter.

use std::collections::BTreeMap;

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    Act, BizStep, Body, Content, Event, ItemId, LocationId, Lot, Place, Quantity, Reference, SiteId, Task,
    TaskKind, TaskLine,
};

use crate::catalogue::{ItemFacts, ItemNo};

/// Lines of one task: the largest of them still fits into one message to an agent.
pub const TASK_LINES_MAX: usize = 500;
/// Open lines of one site: about two megabytes at an edge box, and a week's work of a busy one.
pub const OPEN_LINES_MAX: usize = 20_000;
/// Facts that name a task before it is given, which are read once when it is; a task with more was never a task.
pub const EARLIER_FACTS_MAX: usize = 100_000;

/// All kinds, for names.
const KINDS: [TaskKind; 5] =
    [TaskKind::Pick, TaskKind::Receive, TaskKind::Announced, TaskKind::Count, TaskKind::Replenish];

/// The kind of that name.
pub fn kind_from_name(name: &str) -> Option<TaskKind> {
    KINDS.into_iter().find(|kind| kind.as_str() == name)
}

/// One task of a site, within the store and outside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskName {
    /// Where.
    pub site: SiteId,
    /// Its number.
    pub id: Reference,
    /// Of which kind.
    pub kind: TaskKind,
}

/// How a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// There is something to do.
    Open,
    /// Everything was done, or is missing for good.
    Done,
    /// Nobody asks for it any more.
    Withdrawn,
}

impl TaskState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Done, Self::Withdrawn].into_iter().find(|state| state.as_str() == name)
    }
}

/// A task with what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskRow {
    /// Where.
    pub site: SiteId,
    /// What is asked; the quantities of its lines are what is asked in all.
    pub asked: Task,
    /// How it stands.
    pub state: TaskState,
    /// What came of each line of `asked`, in its order.
    pub lines: Vec<LineOutcome>,
    /// What was done and no line asks for: another item, another lot; or what was counted.
    pub beyond: Vec<Done>,
    /// When it was first asked, unix milliseconds.
    pub created_at_ms: i64,
    /// When it was asked or worked on last.
    pub changed_at_ms: i64,
}

impl TaskRow {
    /// What agents are told: the lines with something to do, and how much of it.
    pub fn open(&self) -> Task {
        let line = |(line, outcome): (&TaskLine, &LineOutcome)| {
            let quantity = Quantity { steps: outcome.open(line.quantity.steps), ..line.quantity };
            (quantity.steps > 0).then(|| TaskLine { quantity, ..line.clone() })
        };
        let lines = self.asked.lines.iter().zip(&self.lines).filter_map(line).collect();
        Task { lines, ..self.asked.clone() }
    }
}

/// What came of one line, in steps of its item's unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LineOutcome {
    /// Done; more than asked when more was.
    pub done: i64,
    /// Missing for good.
    pub short: i64,
}

impl LineOutcome {
    /// What is still to be done of so much; never below zero.
    pub fn open(&self, asked: i64) -> i64 {
        asked.saturating_sub(self.done).saturating_sub(self.short).max(0)
    }
}

/// So much was done of something that no line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// What.
    pub item: ItemId,
    /// Its lot, when known.
    pub lot: Option<Lot>,
    /// Where, when known.
    pub location: Option<LocationId>,
    /// How much.
    pub quantity: Quantity,
}

/// What is added up under one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TallyKey {
    /// What.
    pub item: ItemNo,
    /// Lot, when known.
    pub lot: Option<Lot>,
    /// Where it was taken, or brought when it came from outside.
    pub location: Option<LocationId>,
}

/// What was done under one key, in steps of the item's unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Moved; of a count, what was counted last.
    pub done: i64,
    /// Told missing.
    pub short: i64,
}

/// One line, as tallies are laid against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// What.
    pub item: ItemNo,
    /// Only this lot.
    pub lot: Option<Lot>,
    /// Where, when the line says.
    pub location: Option<LocationId>,
    /// How much.
    pub steps: i64,
}

impl Ask {
    fn takes(&self, key: &TallyKey) -> bool {
        // Goods without a known lot are taken as the asked one: the station asks for lots where they matter.
        self.item == key.item && (self.lot.is_none() || key.lot.is_none() || self.lot == key.lot)
    }
}

/// Whether a task is whole.
///
/// # Errors
/// What it lacks, or has too much of.
pub fn check(task: &Task) -> Result<(), String> {
    let Task { kind, id, order, location, lines } = task;
    let word = kind.as_str();
    if *kind == TaskKind::Announced && Sscc::parse(id.as_str()).is_err() {
        return Err(format!("id: an announced plate has the 18 digits of its SSCC, got {id}"));
    }
    if order.is_some() && *kind != TaskKind::Announced {
        return Err(format!("order: only an announced plate has one, a {word} task has its own number"));
    }
    match kind {
        TaskKind::Count if location.is_none() => {
            Err("location: a count task names the location to count".into())
        }
        TaskKind::Count if !lines.is_empty() => Err("lines: a count is blind, so its task has none".into()),
        TaskKind::Count => Ok(()),
        _ if location.is_some() => Err(format!("location: a {word} task names its locations in its lines")),
        _ if lines.is_empty() => Err(format!("lines: a {word} task needs at least one")),
        _ if lines.len() > TASK_LINES_MAX => {
            Err(format!("lines: at most {TASK_LINES_MAX}, got {}", lines.len()))
        }
        _ => match lines.iter().position(|line| line.quantity.steps <= 0) {
            Some(at) => Err(format!("lines[{at}].quantity: expected more than nothing")),
            None => Ok(()),
        },
    }
}

/// The location that a line of a kind is about.
pub fn line_location(kind: TaskKind, line: &TaskLine) -> Option<&LocationId> {
    match kind {
        TaskKind::Pick => line.from.as_ref(),
        _ => line.to.as_ref(),
    }
}

/// Lays what was done against what is asked: first where the line says, then wherever it was done. What is too much
/// stays with the last line that takes it; what no line takes is left over.
pub fn lay(asks: &[Ask], tallies: &BTreeMap<TallyKey, Tally>) -> (Vec<LineOutcome>, Vec<(TallyKey, i64)>) {
    let mut lines = vec![LineOutcome::default(); asks.len()];
    // Of each key: what is not laid yet.
    let mut rest: Vec<(&TallyKey, Tally)> = tallies
        .iter()
        .map(|(key, tally)| (key, Tally { done: tally.done.max(0), short: tally.short.max(0) }))
        .collect();
    type Part = (fn(&mut Tally) -> &mut i64, fn(&mut LineOutcome) -> &mut i64);
    let parts: [Part; 2] = [
        (|tally| &mut tally.done, |line| &mut line.done),
        (|tally| &mut tally.short, |line| &mut line.short),
    ];
    for (of_tally, of_line) in parts {
        // How much of place and lot must agree: both, the place, none.
        for agree in [2, 1, 0] {
            for (key, tally) in &mut rest {
                for (ask, line) in asks.iter().zip(&mut lines) {
                    let elsewhere = agree >= 1 && ask.location != key.location;
                    let other_lot = agree == 2 && ask.lot != key.lot;
                    if !ask.takes(key) || elsewhere || other_lot {
                        continue;
                    }
                    let amount = of_tally(tally);
                    let taken = (*amount).min(line.open(ask.steps));
                    *amount -= taken;
                    *of_line(line) += taken;
                }
            }
        }
    }
    let mut beyond = Vec::new();
    // A count has no lines, and that there was none is a result.
    for (key, tally) in rest.into_iter().filter(|(_, tally)| tally.done > 0 || asks.is_empty()) {
        match asks.iter().rposition(|ask| ask.takes(key)) {
            Some(at) => lines[at].done += tally.done,
            None => beyond.push((key.clone(), tally.done)),
        }
    }
    (lines, beyond)
}

/// Whether nothing is left to do.
pub fn is_done(kind: TaskKind, asks: &[Ask], tallies: &BTreeMap<TallyKey, Tally>) -> bool {
    match kind {
        // A count is blind: whoever finished it has named it.
        TaskKind::Count => !tallies.is_empty(),
        _ => {
            let (lines, _) = lay(asks, tallies);
            asks.iter().zip(lines).all(|(ask, line)| line.open(ask.steps) == 0)
        }
    }
}

/// What one fact does to the tasks that it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect<'a> {
    /// The number it names, if any.
    reference: Option<&'a str>,
    /// The plate it names, if any, as 18 digits.
    plate: Option<String>,
    deed: Deed,
    key: TallyKey,
    steps: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Moved(BizStep),
    Counted,
    Short,
}

/// Numbers of tasks that an event may be for.
pub fn names(event: &Event) -> impl Iterator<Item = Reference> + use<> {
    let details = event.body.details();
    let reference = details.and_then(|details| details.reference.clone());
    let plate = details.and_then(|details| details.license_plate);
    // Eighteen digits are a reference.
    let plate = plate.and_then(|plate| Reference::new(plate.to_string()).ok());
    let plate = plate.filter(|plate| reference.as_ref() != Some(plate));
    reference.into_iter().chain(plate)
}

/// What an event, in the catalogue's words, does to tasks. `None`: nothing.
pub fn effect(facts: impl Fn(&ItemId) -> Option<ItemFacts>, event: &Event) -> Option<Effect<'_>> {
    let details = event.body.details()?;
    let undone = details.corrects.is_some();
    let (deed, item, quantity, location) = match &event.body {
        Body::Movement(movement) => {
            // An undo goes the other way round; it is about the same place.
            let (from, to) =
                if undone { (&movement.to, &movement.from) } else { (&movement.from, &movement.to) };
            let at = match (movement.step, from, to) {
                (BizStep::Picking, Place::At(from), _) => Some(from),
                (_, _, Place::At(to)) => Some(to),
                (_, Place::At(from), _) => Some(from),
                _ => None,
            };
            (Deed::Moved(movement.step), &movement.item, movement.quantity, at)
        }
        Body::Count(count) => (Deed::Counted, &count.item, count.counted, Some(&count.location)),
        Body::Handling(handling) => match (&handling.act, &handling.content) {
            (Act::Short, Some(Content::Goods { item, quantity })) => {
                (Deed::Short, item, *quantity, handling.location.as_ref())
            }
            _ => return None,
        },
        Body::Lost { .. } | Body::Unresolved(_) => return None,
    };
    let facts = facts(item)?;
    let steps = quantity.to_uom(facts.uom).ok()?.steps;
    let reference = details.reference.as_ref().map(Reference::as_str);
    let plate = details.license_plate.map(|plate| plate.to_string());
    let key = TallyKey { item: facts.no, lot: details.lot.clone(), location: location.cloned() };
    Some(Effect { reference, plate, deed, key, steps: if undone { -steps } else { steps } })
}

impl Effect<'_> {
    /// The plate it names, as 18 digits.
    pub fn plate(&self) -> Option<&str> {
        self.plate.as_deref()
    }

    /// Where it is added up.
    pub fn key(&self) -> &TallyKey {
        &self.key
    }
}

/// A task with its lines and tallies, as ingest works on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownTask {
    /// Which.
    pub name: TaskName,
    /// The purchase order of an announced plate.
    pub order: Option<Reference>,
    /// What is asked.
    pub asks: Vec<Ask>,
    /// What was done.
    pub tallies: BTreeMap<TallyKey, Tally>,
    /// How it stands.
    pub state: TaskState,
}

impl KnownTask {
    /// Adds a fact, when it is for this task. `announced`: the purchase orders of the plate that the fact names.
    pub fn take(&mut self, effect: &Effect<'_>, announced: &[Reference]) -> bool {
        let id = self.name.id.as_str();
        let named = effect.reference == Some(id);
        let plated = effect.plate.as_deref() == Some(id);
        let ordered = effect.reference.is_none() && announced.iter().any(|order| order.as_str() == id);
        let is_for = match (self.name.kind, effect.deed) {
            (TaskKind::Pick, Deed::Moved(BizStep::Picking)) => named,
            (TaskKind::Receive, Deed::Moved(BizStep::Receiving)) => named || ordered,
            (TaskKind::Announced, Deed::Moved(BizStep::Receiving) | Deed::Short) => named || plated,
            (TaskKind::Replenish, Deed::Moved(BizStep::Stocking)) => named,
            (TaskKind::Count, Deed::Counted) => named,
            (TaskKind::Pick | TaskKind::Receive | TaskKind::Replenish, Deed::Short) => named,
            _ => false,
        };
        if !is_for || self.state == TaskState::Withdrawn {
            return false;
        }
        let tally = self.tallies.entry(effect.key.clone()).or_default();
        match effect.deed {
            Deed::Moved(_) => tally.done = tally.done.saturating_add(effect.steps),
            Deed::Short => tally.short = tally.short.saturating_add(effect.steps),
            Deed::Counted => tally.done = effect.steps,
        }
        let done = is_done(self.name.kind, &self.asks, &self.tallies);
        self.state = if done { TaskState::Done } else { TaskState::Open };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(item: i64, lot: &str, location: &str, steps: i64) -> Ask {
        Ask { item: ItemNo(item), lot: lot.parse().ok(), location: location.parse().ok(), steps }
    }

    /// `item lot location done short`, separated by commas.
    fn tallies(text: &str) -> BTreeMap<TallyKey, Tally> {
        let row = |row: &str| {
            let [item, lot, location, done, short] = row.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            let key = TallyKey {
                item: ItemNo(item.parse().unwrap()),
                lot: lot.parse().ok().filter(|_| lot != "-"),
                location: location.parse().ok().filter(|_| location != "-"),
            };
            (key, Tally { done: done.parse().unwrap(), short: short.parse().unwrap() })
        };
        text.split(',').map(str::trim).filter(|row| !row.is_empty()).map(row).collect()
    }

    /// Of each line: done, short, open; then what is left over.
    #[track_caller]
    fn check(asks: &[Ask], done: &str, expected: &str) {
        let (lines, beyond) = lay(asks, &tallies(done));
        let line = |(ask, line): (&Ask, &LineOutcome)| {
            format!("{}/{}/{}", line.done, line.short, line.open(ask.steps))
        };
        let mut got: Vec<String> = asks.iter().zip(&lines).map(line).collect();
        got.extend(beyond.iter().map(|(key, steps)| format!("+{} of {}", steps, key.item.0)));
        assert_eq!(got.join(" "), expected, "{done}");
    }

    #[test]
    fn what_was_done_is_laid_where_it_was_asked_first() {
        let asks = [ask(1, "", "A-01", 5), ask(1, "", "B-02", 3)];
        check(&asks, "", "0/0/5 0/0/3");
        check(&asks, "1 - B-02 2 0", "0/0/5 2/0/1");
        check(&asks, "1 - B-02 4 0", "1/0/4 3/0/0");
        check(&asks, "1 - C-03 6 0", "5/0/0 1/0/2");
        check(&asks, "1 - A-01 2 3, 1 - B-02 3 0", "2/3/0 3/0/0");
    }

    #[test]
    fn too_much_is_never_less_than_nothing_to_do() {
        check(&[ask(1, "", "", 5)], "1 - A-01 9 0", "9/0/0");
        check(&[ask(1, "", "", 5)], "1 - A-01 -2 0", "0/0/5");
        check(&[ask(1, "", "", 5)], "1 - A-01 4 9", "4/1/0");
        check(&[ask(1, "", "", 5)], "2 - A-01 1 0", "0/0/5 +1 of 2");
        check(&[ask(1, "", "", 5), ask(1, "", "", 1)], "1 - - 9 0", "5/0/0 4/0/0");
    }

    #[test]
    fn a_line_of_a_lot_takes_that_lot_or_an_unknown_one() {
        let asks = [ask(1, "L1", "A-01", 5), ask(1, "L2", "A-01", 5)];
        check(&asks, "1 L2 A-01 5 0", "0/0/5 5/0/0");
        check(&asks, "1 L3 A-01 5 0", "0/0/5 0/0/5 +5 of 1");
        check(&asks, "1 - A-01 2 0", "2/0/3 0/0/5");
    }

    #[test]
    fn a_count_is_done_when_somebody_counted() {
        assert!(!is_done(TaskKind::Count, &[], &BTreeMap::new()));
        assert!(is_done(TaskKind::Count, &[], &tallies("1 - A-01 0 0")));
        assert!(!is_done(TaskKind::Pick, &[ask(1, "", "", 1)], &BTreeMap::new()));
        for kind in KINDS {
            assert_eq!(kind_from_name(kind.as_str()), Some(kind));
        }
    }
}
