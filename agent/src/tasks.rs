//! What is to be done at this site, and what lay where when the gateway said so.

use std::collections::{BTreeMap, HashMap};

use stockwire_protocol::{
    AsOf, Bin, ItemId, LocationId, Quantity, Reference, SiteId, Task, TaskKind, Tasks as Part,
};

use crate::feed::{self, Book, Head};

/// One complete revision. It does not change; a newer revision is a new value.
#[derive(Clone, Debug)]
pub struct Tasks {
    site: SiteId,
    revision: u64,
    as_of: Option<AsOf>,
    open: BTreeMap<(TaskKind, Reference), Task>,
    bins: Option<Bins>,
}

/// What lay where.
#[derive(Clone, Debug, Default)]
struct Bins {
    by_location: HashMap<LocationId, Vec<(ItemId, Quantity)>>,
    lines: usize,
    /// Whether every bin of the snapshot is here: then one that is not named is empty.
    whole: bool,
}

/// Lines of bins that are kept: about a megabyte and a half. Of the others nothing is known, so nothing is warned of.
pub const BIN_LINES_MAX: usize = 16_384;

/// Collects parts of the tasks.
pub type Assembler = feed::Assembler<Tasks>;

impl Tasks {
    /// The open task of that number.
    pub fn find(&self, kind: TaskKind, id: &Reference) -> Option<&Task> {
        self.open.get(&(kind, id.clone()))
    }

    /// Open tasks of one kind, by their number.
    pub fn of(&self, kind: TaskKind) -> impl Iterator<Item = &Task> {
        self.open.values().filter(move |task| task.kind == kind)
    }

    /// Whether some task has that number.
    pub fn names(&self, id: &Reference) -> bool {
        self.open.keys().any(|(_, open)| open == id)
    }

    /// How far of our own journal the gateway knew.
    pub fn as_of(&self) -> Option<AsOf> {
        self.as_of
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How much of an item lay at a location; `None` when that is not known.
    pub fn lay(&self, location: &LocationId, item: &ItemId) -> Option<Quantity> {
        let bins = self.bins.as_ref()?;
        match bins.by_location.get(location) {
            Some(items) => {
                let line = items.iter().find(|(other, _)| other == item);
                line.map(|(_, quantity)| *quantity).or(Some(Quantity::pieces(0)))
            }
            None if bins.whole => Some(Quantity::pieces(0)),
            None => None,
        }
    }

    /// Whether the gateway tells what lies where.
    pub fn tells_bins(&self) -> bool {
        self.bins.is_some()
    }
}

impl Bins {
    fn put(&mut self, bin: Bin) {
        let before = self.by_location.remove(&bin.location).map_or(0, |items| items.len());
        self.lines -= before;
        if self.lines + bin.items.len() > BIN_LINES_MAX {
            self.whole = false;
            return;
        }
        self.lines += bin.items.len();
        if !bin.items.is_empty() || !self.whole {
            self.by_location.insert(bin.location, bin.items);
        }
    }
}

impl Book for Tasks {
    type Part = Part;

    fn empty(site: SiteId) -> Self {
        Self { site, revision: 0, as_of: None, open: BTreeMap::new(), bins: None }
    }

    fn site(&self) -> &SiteId {
        &self.site
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn head(part: &Part) -> Head<'_> {
        let since = part.since.as_ref().map(|since| since.revision);
        Head { revision: part.revision, part: part.part, parts: part.parts, site: &part.site, since }
    }

    fn snapshot(site: SiteId, revision: u64, parts: Vec<Part>) -> Self {
        let mut tasks = Self { revision, ..Self::empty(site) };
        for part in parts {
            tasks.as_of = part.as_of;
            tasks.open.extend(part.tasks.into_iter().map(|task| ((task.kind, task.id.clone()), task)));
            if let Some(bins) = part.bins {
                let all = tasks.bins.get_or_insert_with(|| Bins { whole: true, ..Bins::default() });
                bins.into_iter().for_each(|bin| all.put(bin));
            }
        }
        tasks
    }

    fn changed(&self, changes: Part) -> Self {
        let mut tasks = Self { revision: changes.revision, as_of: changes.as_of, ..self.clone() };
        for key in changes.since.into_iter().flat_map(|since| since.gone) {
            tasks.open.remove(&key);
        }
        tasks.open.extend(changes.tasks.into_iter().map(|task| ((task.kind, task.id.clone()), task)));
        if let (Some(all), Some(bins)) = (&mut tasks.bins, changes.bins) {
            bins.into_iter().for_each(|bin| all.put(bin));
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::TasksSince;

    use super::*;

    fn bin(location: &str, count: i64) -> Bin {
        let items = (count != 0).then(|| (ItemId::new("MUG").unwrap(), Quantity::pieces(count)));
        Bin { location: LocationId::new(location).unwrap(), items: items.into_iter().collect() }
    }

    fn part(revision: u64, ids: &[&str], bins: Vec<Bin>) -> Part {
        let task = |id: &&str| Task {
            kind: TaskKind::Pick,
            id: Reference::new(*id).unwrap(),
            order: None,
            location: None,
            lines: vec![],
        };
        Part {
            revision,
            part: 0,
            parts: 1,
            site: SiteId::new("HAM").unwrap(),
            as_of: None,
            tasks: ids.iter().map(task).collect(),
            bins: Some(bins),
            since: None,
        }
    }

    fn lay(tasks: &Tasks, location: &str) -> Option<i64> {
        let (location, item) = (LocationId::new(location).unwrap(), ItemId::new("MUG").unwrap());
        tasks.lay(&location, &item).map(|quantity| quantity.steps)
    }

    #[test]
    fn changes_add_and_take_away() {
        let mut assembler = Assembler::new(SiteId::new("HAM").unwrap());
        assert_eq!(lay(assembler.current(), "A-01"), None, "before anything is told nothing is known");
        assembler.handle_part(part(1, &["SO-1", "SO-2"], vec![bin("A-01", 3)]));
        assert_eq!((lay(assembler.current(), "A-01"), lay(assembler.current(), "A-02")), (Some(3), Some(0)));
        let gone = vec![(TaskKind::Pick, Reference::new("SO-1").unwrap())];
        let since = Some(TasksSince { revision: 1, gone });
        assembler.handle_part(Part { since, ..part(2, &["SO-3"], vec![bin("A-01", 0), bin("A-02", 4)]) });
        let tasks = assembler.current();
        let open: Vec<_> = tasks.of(TaskKind::Pick).map(|task| task.id.as_str()).collect();
        assert_eq!(open, ["SO-2", "SO-3"]);
        assert_eq!((lay(tasks, "A-01"), lay(tasks, "A-02")), (Some(0), Some(4)));
    }

    #[test]
    fn what_does_not_fit_is_not_known_rather_than_empty() {
        let many = (0..=BIN_LINES_MAX).map(|n| bin(&format!("B-{n}"), 1)).collect();
        let mut assembler = Assembler::new(SiteId::new("HAM").unwrap());
        assembler.handle_part(part(1, &[], many));
        let tasks = assembler.current();
        assert_eq!((lay(tasks, "B-0"), lay(tasks, &format!("B-{BIN_LINES_MAX}"))), (Some(1), None));
        assert_eq!(lay(tasks, "C-1"), None);
    }
}
